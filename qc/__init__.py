"""Quasicontinuum: atoms where a crystal's defects need them, finite elements elsewhere.

The public names below are loaded when first used, so that ``import qc`` stays quick.
Units are eV and Angstrom throughout.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qc import (
        adapters,
        atomistic,
        bulk,
        continuum,
        coupling,
        crystal,
        dynamics,
        errors,
        farfield,
        io,
        loads,
        materials,
        mesh,
        potentials,
        solve,
        verify,
    )
    from qc.adapters.ase import PotentialCalculator
    from qc.adapters.ase_qc import QCCalculator
    from qc.coupling import QuasiContinuum
    from qc.crystal.nonaffinity import nonaffinity
    from qc.io.axes import plot
    from qc.numerics.progress import Progress
    from qc.solve import relax

    __version__: str

#: Packages and modules that are names of the package themselves.
_ROOMS = (
    "adapters", "atomistic", "bulk", "continuum", "coupling", "crystal", "dynamics", "errors",
    "farfield", "io", "loads", "materials", "mesh", "potentials", "solve", "verify",
)  # fmt: skip

#: The module that each other public name is taken from.
_NAMES = {
    "PotentialCalculator": "qc.adapters.ase",
    "Progress": "qc.numerics.progress",
    "QCCalculator": "qc.adapters.ase_qc",
    "QuasiContinuum": "qc.coupling",
    "nonaffinity": "qc.crystal.nonaffinity",
    "plot": "qc.io.axes",
    "relax": "qc.solve",
}

__all__ = [
    "PotentialCalculator",
    "Progress",
    "QCCalculator",
    "QuasiContinuum",
    "__version__",
    "adapters",
    "atomistic",
    "bulk",
    "continuum",
    "coupling",
    "crystal",
    "dynamics",
    "errors",
    "farfield",
    "io",
    "loads",
    "materials",
    "mesh",
    "nonaffinity",
    "plot",
    "potentials",
    "relax",
    "solve",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from qc.version import version

        value: Any = version()
    elif name in _ROOMS:
        value = importlib.import_module(f"qc.{name}")
    elif name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    else:
        raise AttributeError(f"module 'qc' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
