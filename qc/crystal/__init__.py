"""Crystals: lattices, orientation, recognition from atoms, and where they are defective."""

from qc.crystal.crystal import Crystal
from qc.crystal.nonaffinity import nonaffinity
from qc.crystal.recognition.defects import Defects, find_defects
from qc.crystal.recognition.recognise import Recognition, recognise
from qc.crystal.structures import bcc, diamond, fcc, from_ase, hcp, triangular

__all__ = [
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
    "triangular",
]
