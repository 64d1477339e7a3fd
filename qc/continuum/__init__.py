"""The Cauchy-Born continuum: energy density, stress, tangent, and the finite-element term."""

from qc.continuum.cauchy_born import CauchyBorn, acoustic_stability
from qc.continuum.equilibrium import equilibrium_crystal, equilibrium_lattice_constant
from qc.continuum.stiffness import crystal_stiffness, stiffness_matrix
from qc.continuum.term import ContinuumTerm, slipped_edges, starting_shifts

__all__ = [
    "CauchyBorn",
    "ContinuumTerm",
    "acoustic_stability",
    "crystal_stiffness",
    "equilibrium_crystal",
    "equilibrium_lattice_constant",
    "slipped_edges",
    "starting_shifts",
    "stiffness_matrix",
]
