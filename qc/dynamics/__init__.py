"""Molecular dynamics of models and atoms: Hamiltonian, Langevin, with heat and a ledger."""

from qc.dynamics.conduction import Conduction
from qc.dynamics.drives import MovingLoad
from qc.dynamics.dynamics import Drive, Dynamics, Snapshot
from qc.dynamics.friction import atoms_only, continuum_only, stadium
from qc.dynamics.heat import HeatField, conductivity_from_SI
from qc.dynamics.heat_mesh import HeatMesh
from qc.dynamics.langevin import FieldBath, Langevin
from qc.dynamics.lattice import SampledLattice, sampled_lattice
from qc.dynamics.ledger import EnergyLedger
from qc.dynamics.noise import NoiseStream
from qc.dynamics.remesh import remeshed
from qc.dynamics.system import AtomsSystem, ModelSystem, System, as_system, scaled_masses
from qc.dynamics.timestep import largest_frequency, timestep_bound
from qc.dynamics.wavepackets import WavePacket, reflection

__all__ = [
    "AtomsSystem",
    "Conduction",
    "Drive",
    "Dynamics",
    "EnergyLedger",
    "FieldBath",
    "HeatField",
    "HeatMesh",
    "Langevin",
    "ModelSystem",
    "MovingLoad",
    "NoiseStream",
    "SampledLattice",
    "Snapshot",
    "System",
    "WavePacket",
    "as_system",
    "atoms_only",
    "conductivity_from_SI",
    "continuum_only",
    "largest_frequency",
    "reflection",
    "remeshed",
    "sampled_lattice",
    "scaled_masses",
    "stadium",
    "timestep_bound",
]
