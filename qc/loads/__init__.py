"""External loads: what pushes and pulls at the nodes from outside."""

from qc.loads.indenter import CylindricalIndenter, SphericalIndenter
from qc.loads.load import DeadLoad, Load

__all__ = ["CylindricalIndenter", "DeadLoad", "Load", "SphericalIndenter"]
