"""What elements are made of: the Cauchy-Born rule of a potential, at rest and at temperature."""

from qc.materials.cauchy_born import CauchyBorn
from qc.materials.elastic import Elasticity, elasticity
from qc.materials.equilibrium import (
    equilibrium_crystal,
    equilibrium_lattice_constant,
    lattice_constants,
)
from qc.materials.free_energy import FreeEnergyExpansion, expand_free_energy
from qc.materials.linear import LinearElastic
from qc.materials.material import Material, Response
from qc.materials.stability import acoustic_stability
from qc.materials.thermal_lattice import ThermalLattice, thermal_lattice
from qc.materials.vibration import LatticeVibrations

__all__ = [
    "CauchyBorn",
    "Elasticity",
    "FreeEnergyExpansion",
    "LatticeVibrations",
    "LinearElastic",
    "Material",
    "Response",
    "ThermalLattice",
    "acoustic_stability",
    "elasticity",
    "equilibrium_crystal",
    "equilibrium_lattice_constant",
    "expand_free_energy",
    "lattice_constants",
    "thermal_lattice",
]
