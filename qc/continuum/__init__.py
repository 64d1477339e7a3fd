"""The Cauchy-Born continuum: energy density, stress, tangent, and the finite-element term."""

from qc.continuum.cauchy_born import CauchyBorn, acoustic_stability, equilibrium_lattice_constant
from qc.continuum.term import ContinuumTerm, slipped_edges, stiffness_matrix

__all__ = [
    "CauchyBorn",
    "ContinuumTerm",
    "acoustic_stability",
    "equilibrium_lattice_constant",
    "slipped_edges",
    "stiffness_matrix",
]
