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

#: Where each public name lives: (module, attribute), or (module, None) for the module itself.
_PUBLIC: dict[str, tuple[str, str | None]] = {
    "PotentialCalculator": ("qc.adapters.ase", "PotentialCalculator"),
    "Progress": ("qc.numerics.progress", "Progress"),
    "QCCalculator": ("qc.adapters.ase_qc", "QCCalculator"),
    "QuasiContinuum": ("qc.coupling", "QuasiContinuum"),
    "adapters": ("qc.adapters", None),
    "atomistic": ("qc.atomistic", None),
    "bulk": ("qc.bulk", None),
    "continuum": ("qc.continuum", None),
    "coupling": ("qc.coupling", None),
    "crystal": ("qc.crystal", None),
    "dynamics": ("qc.dynamics", None),
    "errors": ("qc.errors", None),
    "farfield": ("qc.farfield", None),
    "io": ("qc.io", None),
    "loads": ("qc.loads", None),
    "materials": ("qc.materials", None),
    "mesh": ("qc.mesh", None),
    "nonaffinity": ("qc.crystal.nonaffinity", "nonaffinity"),
    "plot": ("qc.io.axes", "plot"),
    "potentials": ("qc.potentials", None),
    "relax": ("qc.solve", "relax"),
    "solve": ("qc.solve", None),
    "verify": ("qc.verify", None),
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
    elif name in _PUBLIC:
        module, attribute = _PUBLIC[name]
        value = importlib.import_module(module)
        if attribute is not None:
            value = getattr(value, attribute)
    else:
        raise AttributeError(f"module 'qc' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
