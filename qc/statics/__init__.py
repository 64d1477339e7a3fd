"""Statics: relaxation with a preconditioned solver, and load paths."""

from qc.statics.precondition import Preconditioner
from qc.statics.relax import relax
from qc.statics.result import Iteration, Result
from qc.statics.thermal_load import ThermalLoad, thermal_dead_load

__all__ = [
    "Iteration",
    "Preconditioner",
    "Result",
    "ThermalLoad",
    "relax",
    "thermal_dead_load",
]
