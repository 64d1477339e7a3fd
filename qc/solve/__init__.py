"""Solvers: systems, relaxation with a preconditioned solver, and load paths."""

from qc.solve.mean_forces import MeanForce, mean_force
from qc.solve.model_system import ModelSystem, as_system, scaled_masses
from qc.solve.path import LoadPath, LoadStep, follow
from qc.solve.precondition import Preconditioner
from qc.solve.relax import relax
from qc.solve.result import DefectResult, Iteration, Result
from qc.solve.system import AtomsSystem, System

__all__ = [
    "AtomsSystem",
    "DefectResult",
    "Iteration",
    "LoadPath",
    "LoadStep",
    "MeanForce",
    "ModelSystem",
    "Preconditioner",
    "Result",
    "System",
    "as_system",
    "follow",
    "mean_force",
    "relax",
    "scaled_masses",
]
