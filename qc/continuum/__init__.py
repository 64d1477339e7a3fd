"""The Cauchy-Born continuum: energy density, stress, tangent, and the finite-element term."""

from qc.continuum.cauchy_born import CauchyBorn, acoustic_stability
from qc.continuum.equilibrium import equilibrium_crystal, equilibrium_lattice_constant
from qc.continuum.free_energy import FreeEnergyExpansion, expand_free_energy
from qc.continuum.stiffness import crystal_stiffness, stiffness_matrix
from qc.continuum.term import ContinuumTerm, slipped_edges, starting_shifts
from qc.continuum.thermal_lattice import ThermalLattice, thermal_lattice
from qc.continuum.vibration import LatticeVibrations

__all__ = [
    "CauchyBorn",
    "ContinuumTerm",
    "FreeEnergyExpansion",
    "LatticeVibrations",
    "ThermalLattice",
    "acoustic_stability",
    "crystal_stiffness",
    "equilibrium_crystal",
    "equilibrium_lattice_constant",
    "expand_free_energy",
    "slipped_edges",
    "starting_shifts",
    "stiffness_matrix",
    "thermal_lattice",
]
