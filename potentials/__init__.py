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
    from .ase.potential import ASEPotential
    from .base import BondHessians, Bonds, Pairs, Potential
    from .eam.eam import EAM
    from .eam.write import write_setfl
    from .eam.zhou import zhou2004
    from .pair.analytic import LennardJones, Morse
    from .pair.central import CentralPotential, Jet
    from .pair.function import PairFunction
    from .pair.table import PairTable
    from .pair.toy import ToyEAM
    from .pair.write import write_pair_table
    from .threebody.published import (
        balamane1992,
        holland1998,
        stillinger1985,
        tersoff1988,
        tersoff1989,
    )
    from .threebody.stillinger_weber import StillingerWeber
    from .threebody.tersoff import Tersoff

_HOME = {
    "ASEPotential": "ase.potential",
    "BondHessians": "base",
    "Bonds": "base",
    "CentralPotential": "pair.central",
    "EAM": "eam.eam",
    "Jet": "pair.central",
    "LennardJones": "pair.analytic",
    "Morse": "pair.analytic",
    "PairFunction": "pair.function",
    "PairTable": "pair.table",
    "Pairs": "base",
    "Potential": "base",
    "StillingerWeber": "threebody.stillinger_weber",
    "Tersoff": "threebody.tersoff",
    "ToyEAM": "pair.toy",
    "balamane1992": "threebody.published",
    "holland1998": "threebody.published",
    "stillinger1985": "threebody.published",
    "tersoff1988": "threebody.published",
    "tersoff1989": "threebody.published",
    "write_pair_table": "pair.write",
    "write_setfl": "eam.write",
    "zhou2004": "eam.zhou",
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
