"""``[[boundary]]``: where the crystal ends, by kind; elsewhere its outer rim is held."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Annotated

from qc.crystal import Crystal
from qc.errors import CaseError
from qc.io.cases import schema
from qc.io.cases.schema import Length
from qc.io.cases.strains import plane_normal
from qc.mesh import FreeSurface


class BoundaryCase(schema.OfKind):
    """A face of the crystal; a kind is a dataclass of its keys."""

    @abstractmethod
    def build(self, crystal: Crystal) -> FreeSurface:
        """Return what a model takes."""


@dataclass(frozen=True)
class FreeFace(BoundaryCase):
    """A lattice plane beyond which there are no atoms, outward indices, and its height."""

    plane: Annotated[tuple[int, ...], schema.direction]
    height: Annotated[Length, schema.length(positive=False)] = field(default=Length(0.0))
    kind = "free"

    def build(self, crystal: Crystal) -> FreeSurface:
        """Return the free surface."""
        normal = plane_normal(crystal, self.plane).tolist()
        return FreeSurface(normal, self.height.in_crystal(crystal))


#: Kinds of ``[[boundary]]``; a new one is an entry here.
BOUNDARIES = schema.registry(FreeFace)


def build_surface(boundary: tuple[BoundaryCase, ...], crystal: Crystal) -> FreeSurface | None:
    """Return the free surface of a crystal, if there is one.

    Raises
    ------
    CaseError
        More than one, or one that does not fit the crystal.
    """
    if len(boundary) > 1:
        raise CaseError("boundary[1]: a crystal has one free surface at most")
    with schema.at("boundary[0]"):
        return boundary[0].build(crystal) if boundary else None
