"""Heat of what the nodes do not carry: a temperature field on the mesh, and its conduction."""

from qc.dynamics.heat.conduction import Conduction
from qc.dynamics.heat.field import HeatField, conductivity_from_SI
from qc.dynamics.heat.mesh import HeatMesh

__all__ = ["Conduction", "HeatField", "HeatMesh", "conductivity_from_SI"]
