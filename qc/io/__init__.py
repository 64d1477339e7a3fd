"""Files and pictures: VTU, extended XYZ, checkpoints, case files, results."""

from __future__ import annotations

from qc.io.checkpoint import Checkpoint, read_checkpoint, restore, write_checkpoint
from qc.io.extxyz import write_extxyz
from qc.io.vtk import write_pvd, write_vtu

__all__ = [
    "Checkpoint",
    "read_checkpoint",
    "restore",
    "write_checkpoint",
    "write_extxyz",
    "write_pvd",
    "write_vtu",
]
