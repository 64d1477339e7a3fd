"""Files and pictures: VTU, extended XYZ, checkpoints, case files, results.

The public names below are loaded when first used: the names of potentials, which are at home here
too, need none of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qc.io.cases.case import load_case
    from qc.io.cases.dynamics import build_dynamics
    from qc.io.cases.setup import set_up
    from qc.io.extxyz import write_extxyz
    from qc.io.plots import draw_ledger
    from qc.io.runs.checkpoint import Checkpoint, read_checkpoint, restore, write_checkpoint
    from qc.io.runs.dynamics import Outcome, Recorder, read_history, run_dynamics
    from qc.io.runs.dynamics_checkpoint import read_dynamics, restore_dynamics, write_dynamics
    from qc.io.runs.result import write_result
    from qc.io.structures import read_structure
    from qc.io.vtk import write_pvd, write_vtu

_HOME = {
    "Checkpoint": "runs.checkpoint",
    "Outcome": "runs.dynamics",
    "Recorder": "runs.dynamics",
    "build_dynamics": "cases.dynamics",
    "draw_ledger": "plots",
    "load_case": "cases.case",
    "read_checkpoint": "runs.checkpoint",
    "read_dynamics": "runs.dynamics_checkpoint",
    "read_history": "runs.dynamics",
    "read_structure": "structures",
    "restore": "runs.checkpoint",
    "restore_dynamics": "runs.dynamics_checkpoint",
    "run_dynamics": "runs.dynamics",
    "set_up": "cases.setup",
    "write_checkpoint": "runs.checkpoint",
    "write_dynamics": "runs.dynamics_checkpoint",
    "write_extxyz": "extxyz",
    "write_pvd": "vtk",
    "write_result": "runs.result",
    "write_vtu": "vtk",
}

__all__ = [
    "Checkpoint",
    "Outcome",
    "Recorder",
    "build_dynamics",
    "draw_ledger",
    "load_case",
    "read_checkpoint",
    "read_dynamics",
    "read_history",
    "read_structure",
    "restore",
    "restore_dynamics",
    "run_dynamics",
    "set_up",
    "write_checkpoint",
    "write_dynamics",
    "write_extxyz",
    "write_pvd",
    "write_result",
    "write_vtu",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'qc.io' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"qc.io.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
