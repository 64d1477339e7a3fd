"""Free surfaces: a lattice plane beyond which no site exists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qc.crystal import Crystal
from qc.mesh.boundaries.boundary import PlaneBoundary
from qc.mesh.boundaries.face import FREE, Face
from qc.mesh.region import Region


@dataclass(frozen=True)
class FreeSurface(PlaneBoundary):
    """A plane where the crystal ends: lattice sites with ``normal . X <= height`` exist.

    Nodes on it move freely. Its layers are relaxed in the predictor; only the atomistic part has
    a surface energy and stress. See `PlaneBoundary` for its parameters.
    """

    def faces(self, crystal: Crystal, region: Region) -> Sequence[Face]:
        """Return the one face; see `Boundary`."""
        return [self.plane(crystal, region).but(free=FREE, ends=True)]
