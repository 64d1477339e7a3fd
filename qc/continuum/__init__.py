"""The continuum: the sum over elements, and its stiffness."""

from qc.continuum.stiffness import crystal_stiffness, stiffness_matrix
from qc.continuum.term import ContinuumTerm, slipped_edges, starting_shifts

__all__ = [
    "ContinuumTerm",
    "crystal_stiffness",
    "slipped_edges",
    "starting_shifts",
    "stiffness_matrix",
]
