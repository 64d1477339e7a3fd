"""``[[boundary]]``: what happens at faces of the outer region, by kind; elsewhere it is held."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Annotated

from qc.crystal import Crystal
from qc.io.cases import schema
from qc.io.cases.schema import Length
from qc.io.cases.strains import plane_normal
from qc.mesh import Boundary, FreeSurface, Held, Periodic, Traction

_height = schema.length(positive=False)
_stress = schema.sequence(schema.quantity(schema.STRESSES, "stress"), 3)


class BoundaryCase(schema.OfKind):
    """What happens at a face; a kind is a dataclass of its keys."""

    @abstractmethod
    def build(self, crystal: Crystal) -> Boundary:
        """Return what a model takes."""


@dataclass(frozen=True)
class FreeFace(BoundaryCase):
    """A lattice plane beyond which there are no atoms, outward indices, and its height."""

    plane: Annotated[tuple[int, ...], schema.direction]
    height: Annotated[Length, _height] = field(default=Length(0.0))
    kind = "free"

    def build(self, crystal: Crystal) -> FreeSurface:
        """Return the free surface."""
        normal = plane_normal(crystal, self.plane).tolist()
        return FreeSurface(normal, self.height.in_crystal(crystal))


@dataclass(frozen=True)
class PulledFace(BoundaryCase):
    """A free surface under a force per area; where the outer block ends by default."""

    plane: Annotated[tuple[int, ...], schema.direction]
    traction: Annotated[tuple[float, ...], _stress]
    height: Annotated[Length | None, _height] = None
    kind = "traction"

    def build(self, crystal: Crystal) -> Traction:
        """Return the traction."""
        normal = plane_normal(crystal, self.plane).tolist()
        height = None if self.height is None else self.height.in_crystal(crystal)
        return Traction(normal, height, self.traction)


@dataclass(frozen=True)
class HeldFace(BoundaryCase):
    """A face of the outer block, displaced."""

    plane: Annotated[tuple[int, ...], schema.direction]
    displacement: Annotated[tuple[Length, ...], schema.sequence(_height, 3)]
    kind = "held"

    def build(self, crystal: Crystal) -> Held:
        """Return the held face."""
        normal = plane_normal(crystal, self.plane).tolist()
        return Held(normal, None, [one.in_crystal(crystal) for one in self.displacement])


@dataclass(frozen=True)
class Repeated(BoundaryCase):
    """Opposite faces of the outer block; those of all its axes by default."""

    axes: Annotated[
        tuple[int, ...] | None, schema.sequence(schema.integer(0, 2), least=1, most=3)
    ] = None
    kind = "periodic"

    def build(self, crystal: Crystal) -> Periodic:
        """Return the periodic faces."""
        return Periodic(self.axes)


#: Kinds of ``[[boundary]]``; a new one is an entry here.
BOUNDARIES = schema.registry(FreeFace, PulledFace, HeldFace, Repeated)
