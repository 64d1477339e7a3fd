"""What a boundary is: something said of faces of the outer region, whatever the crystal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qc.crystal import Crystal
from qc.errors import InputError, RegionError
from qc.mesh.boundaries.face import Face
from qc.mesh.boundaries.hull import Hull
from qc.mesh.region import Region
from qc.numerics.checks import kind, numbers, real


class Boundary(ABC):
    """What happens at some faces of the outer region; faces that no boundary names are held."""

    @abstractmethod
    def faces(self, crystal: Crystal, region: Region) -> Sequence[Face]:
        """Return the faces in a crystal, as data.

        Raises
        ------
        InputError, RegionError
            No lattice plane of the crystal, or no face of the region.
        """


@dataclass(frozen=True)
class PlaneBoundary(Boundary):
    """A boundary on one lattice plane.

    Parameters
    ----------
    normal : (3,) float
        Outward, of any length, in the Cartesian axes of the crystal; the normal of a lattice
        plane. In the plane and in 2.5D without a z component.
    height : float or None, Angstrom
        Of the plane along the normal, from the origin. The face is the highest lattice plane that
        is not above it. With a basis, a cell is there with all its sites or not at all, and the
        height is that of its sublattice 0. None: where the outer block ends.

    Raises
    ------
    InputError
        The normal is zero, or a value is not finite.
    """

    normal: Sequence[float]
    height: float | None = 0.0

    def __post_init__(self) -> None:
        n = numbers("surface normal", self.normal)
        if n.shape != (3,) or not np.isfinite(n).all() or not n.any():
            raise InputError(f"surface normal {self.normal} must be a finite non-zero vector")
        object.__setattr__(self, "normal", tuple((n / np.linalg.norm(n)).tolist()))
        if self.height is None:
            return
        if not np.isfinite(real("surface height", self.height)):
            raise InputError(f"surface height must be finite, got {self.height}")
        object.__setattr__(self, "height", float(self.height))

    def plane(self, crystal: Crystal, region: Region) -> Face:
        """Return the plane's face, which holds its nodes.

        Raises
        ------
        InputError
            The normal is that of no lattice plane of small indices.
        RegionError
            The height is where the region ends, and it has no face there.
        """
        face = Face.across(np.array(self.normal), self.height or 0.0, crystal)
        if self.height is not None:
            return face
        basis = region.mesh_basis(crystal)
        box = None if basis is None else region.lattice_box(crystal, basis)
        if basis is None or box is None:
            raise RegionError(
                f"a region of kind {type(region).__name__} has no faces: say where the boundary "
                "is (height), or make the region a LatticeBlock"
            )
        k, sign = face.axis(basis)
        lower, upper = box
        return face.but(level=int(upper[k] if sign > 0 else -lower[k]))


def make_hull(boundary: Boundary | Sequence[Boundary], crystal: Crystal, region: Region) -> Hull:
    """Return the hull of boundaries in a crystal and a region.

    Raises
    ------
    InputError
        One of them is no boundary, or two speak of one face.
    """
    found: list[Face] = []
    for one in [boundary] if isinstance(boundary, Boundary) else boundary:
        kind("boundary", one, Boundary)
        found += one.faces(crystal, region)
    named = [(tuple(face.plane.tolist()), face.level) for face in found]
    for plane, level in named:
        if named.count((plane, level)) > 1:
            raise InputError(f"two boundaries for the face in layer {level} of plane {plane}")
    return Hull(tuple(found))
