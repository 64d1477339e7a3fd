"""Crystals: lattices, orientation, recognition from atoms, and where they are defective."""

from qc.crystal.crystal import Crystal
from qc.crystal.nonaffinity import nonaffinity
from qc.crystal.recognition.defects import Defects, find_defects
from qc.crystal.recognition.recognise import Recognition, recognise
from qc.crystal.structures import (
    STRUCTURES,
    bcc,
    diamond,
    fcc,
    from_ase,
    hcp,
    standard_crystal,
    triangular,
)

__all__ = [
    "STRUCTURES",
    "Crystal",
    "Defects",
    "Recognition",
    "bcc",
    "diamond",
    "fcc",
    "find_defects",
    "from_ase",
    "hcp",
    "nonaffinity",
    "recognise",
    "standard_crystal",
    "triangular",
]
