"""Solvers of ``f(x) = 0`` for functions of arrays: they know nothing of models or atoms."""

from qc.numerics.solvers.krylov import conjugate_gradients
from qc.numerics.solvers.lbfgs import lbfgs
from qc.numerics.solvers.newton import newton
from qc.numerics.solvers.roundoff import RoundOff

__all__ = ["RoundOff", "conjugate_gradients", "lbfgs", "newton"]
