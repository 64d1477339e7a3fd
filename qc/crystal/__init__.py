"""Crystals: lattices, orientation, recognition from atoms, and where they are defective."""

from qc.crystal.crystal import Crystal
from qc.crystal.nonaffinity import nonaffinity
from qc.crystal.structures import bcc, diamond, fcc, from_ase, hcp, triangular

__all__ = ["Crystal", "bcc", "diamond", "fcc", "from_ase", "hcp", "nonaffinity", "triangular"]
