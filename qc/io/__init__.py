"""Files and pictures: VTU, extended XYZ, checkpoints, case files, results."""

from __future__ import annotations

from qc.io.case import load_case
from qc.io.checkpoint import Checkpoint, read_checkpoint, restore, write_checkpoint
from qc.io.extxyz import write_extxyz
from qc.io.result import write_result
from qc.io.setup import set_up
from qc.io.structures import read_structure
from qc.io.vtk import write_pvd, write_vtu

__all__ = [
    "Checkpoint",
    "load_case",
    "read_checkpoint",
    "read_structure",
    "restore",
    "set_up",
    "write_checkpoint",
    "write_extxyz",
    "write_pvd",
    "write_result",
    "write_vtu",
]
