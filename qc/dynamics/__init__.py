"""Molecular dynamics of models and atoms: Hamiltonian, Langevin, with heat and a ledger."""

from qc.dynamics.drives import MovingLoad
from qc.dynamics.dynamics import Drive, Dynamics, Snapshot
from qc.dynamics.friction import atoms_only, continuum_only, stadium
from qc.dynamics.heat.conduction import Conduction
from qc.dynamics.heat.field import HeatField, conductivity_from_SI
from qc.dynamics.heat.mesh import HeatMesh
from qc.dynamics.langevin import Bath, FieldBath, Langevin
from qc.dynamics.ledger import EnergyLedger
from qc.dynamics.noise import NoiseStream
from qc.dynamics.remesh import remeshed
from qc.dynamics.timestep import largest_frequency, timestep_bound
from qc.dynamics.wavepackets import WavePacket, reflection
from qc.solve.model_system import ModelSystem, as_system, scaled_masses
from qc.solve.system import AtomsSystem, System

__all__ = [
    "AtomsSystem",
    "Bath",
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
    "scaled_masses",
    "stadium",
    "timestep_bound",
]
