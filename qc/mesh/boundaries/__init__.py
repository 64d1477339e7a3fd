"""What happens at the faces of a mesh: held, free, pulled at or periodic."""

from qc.mesh.boundaries.boundary import Boundary, PlaneBoundary, make_hull
from qc.mesh.boundaries.face import FREE, HELD, Face
from qc.mesh.boundaries.free import FreeSurface
from qc.mesh.boundaries.held import Held
from qc.mesh.boundaries.hull import Hull
from qc.mesh.boundaries.periodic import Periodic
from qc.mesh.boundaries.traction import Traction

__all__ = [
    "FREE",
    "HELD",
    "Boundary",
    "Face",
    "FreeSurface",
    "Held",
    "Hull",
    "Periodic",
    "PlaneBoundary",
    "Traction",
    "make_hull",
]
