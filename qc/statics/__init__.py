"""Statics: relaxation with a preconditioned solver, and load paths."""

from qc.statics.precondition import Preconditioner
from qc.statics.relax import relax
from qc.statics.result import Iteration, Result

__all__ = ["Iteration", "Preconditioner", "Result", "relax"]
