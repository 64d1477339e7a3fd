"""Solvers: systems, relaxation with a preconditioned solver, and load paths."""

from qc.solve.model_system import ModelSystem, as_system, scaled_masses
from qc.solve.path import LoadPath, LoadStep, follow
from qc.solve.precondition import Preconditioner
from qc.solve.relax import relax
from qc.solve.result import DefectResult, Iteration, Result
from qc.solve.system import AtomsSystem, System
from qc.solve.thermal_load import ThermalLoad, thermal_dead_load

__all__ = [
    "AtomsSystem",
    "DefectResult",
    "Iteration",
    "LoadPath",
    "LoadStep",
    "ModelSystem",
    "Preconditioner",
    "Result",
    "System",
    "ThermalLoad",
    "as_system",
    "follow",
    "relax",
    "scaled_masses",
    "thermal_dead_load",
]
