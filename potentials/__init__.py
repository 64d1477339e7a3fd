"""Interatomic potentials: site energies, bond gradients and bond Hessians over CSR bonds.

Importing this package is light; a family and its compiled kernels load when first named.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if __name__ != "qc.potentials":
    raise ImportError(
        "these potentials are imported as qc.potentials; a top-level 'potentials' package is "
        "another project's"
    )

if TYPE_CHECKING:
    from .ase_potential import ASEPotential
    from .base import BondHessians, Bonds, Pairs, Potential
    from .central import CentralPotential, Jet
    from .eam import EAM
    from .manybody_published import (
        balamane1992,
        holland1998,
        stillinger1985,
        tersoff1988,
        tersoff1989,
    )
    from .pair import LennardJones, Morse
    from .pair_table import PairFunction, PairTable
    from .pair_table_files import write_pair_table
    from .setfl import write_setfl
    from .stillinger_weber import StillingerWeber
    from .tersoff import Tersoff
    from .toy import ToyEAM
    from .zhou import zhou2004

_HOME = {
    "ASEPotential": "ase_potential",
    "BondHessians": "base",
    "Bonds": "base",
    "CentralPotential": "central",
    "EAM": "eam",
    "Jet": "central",
    "LennardJones": "pair",
    "Morse": "pair",
    "PairFunction": "pair_table",
    "PairTable": "pair_table",
    "Pairs": "base",
    "Potential": "base",
    "StillingerWeber": "stillinger_weber",
    "Tersoff": "tersoff",
    "ToyEAM": "toy",
    "balamane1992": "manybody_published",
    "holland1998": "manybody_published",
    "stillinger1985": "manybody_published",
    "tersoff1988": "manybody_published",
    "tersoff1989": "manybody_published",
    "write_pair_table": "pair_table_files",
    "write_setfl": "setfl",
    "zhou2004": "zhou",
}

__all__ = [
    "EAM",
    "ASEPotential",
    "BondHessians",
    "Bonds",
    "CentralPotential",
    "Jet",
    "LennardJones",
    "Morse",
    "PairFunction",
    "PairTable",
    "Pairs",
    "Potential",
    "StillingerWeber",
    "Tersoff",
    "ToyEAM",
    "balamane1992",
    "holland1998",
    "stillinger1985",
    "tersoff1988",
    "tersoff1989",
    "write_pair_table",
    "write_setfl",
    "zhou2004",
]


def __getattr__(name: str) -> Any:
    """Load the module that defines a public name."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(set(globals()) | set(__all__))
