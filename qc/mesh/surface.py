"""Free surfaces: a lattice plane beyond which no site exists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.crystal import Crystal
from qc.errors import InputError, RegionError
from qc.numerics.checks import numbers, real

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Largest index of a lattice plane, in terms of the primitive cell.
LARGEST_INDEX = 24


@dataclass(frozen=True)
class FreeSurface:
    """A plane with outward normal; lattice sites with ``normal . X <= height`` exist.

    Parameters
    ----------
    normal : (3,) float
        Outward, of any length, in the Cartesian axes of the crystal; the normal of a lattice
        plane. In the plane and in 2.5D without a z component.
    height : float, Angstrom
        Of the plane along the normal, from the origin. The surface is the highest lattice plane
        that is not above it. With a basis, a cell is there with all its sites or not at all, and
        the height is that of its sublattice 0.

    Raises
    ------
    InputError
        The normal is zero, or a value is not finite.
    """

    normal: Sequence[float]
    height: float = 0.0

    def __post_init__(self) -> None:
        n = numbers("surface normal", self.normal)
        if n.shape != (3,) or not np.isfinite(n).all() or not n.any():
            raise InputError(f"surface normal {self.normal} must be a finite non-zero vector")
        if not np.isfinite(real("surface height", self.height)):
            raise InputError(f"surface height must be finite, got {self.height}")
        object.__setattr__(self, "normal", tuple((n / np.linalg.norm(n)).tolist()))
        object.__setattr__(self, "height", float(self.height))

    def bind(self, crystal: Crystal) -> LatticeSurface:
        """Return the surface as a lattice plane of a given crystal.

        Raises
        ------
        InputError
            The normal is that of no lattice plane of small indices.
        """
        n, d = np.asarray(self.normal), crystal.dim
        if d == 2 and abs(n[2]) > 1e-9:
            raise InputError(f"surface normal {self.normal} must lie in the plane of the mesh")
        rise = crystal.cell[:d] @ n
        for index in range(1, LARGEST_INDEX + 1):
            scaled = rise * (index / np.abs(rise).max())
            plane = np.rint(scaled).astype(np.int64)
            if np.abs(scaled - plane).max() < 1e-6 * index:
                spacing = float(np.abs(rise).max()) / index
                level = int(np.floor(self.height / spacing + 1e-6))
                return LatticeSurface(self, plane, level, spacing)
        raise InputError(
            f"surface normal {self.normal} is that of no lattice plane of {crystal.name}"
        )


@dataclass(frozen=True, eq=False)
class LatticeSurface:
    """A `FreeSurface` of a particular crystal.

    Attributes
    ----------
    surface : FreeSurface
    plane : (d,) int64
        Indices of the plane without a common divisor: lattice points ``m`` lie in layer
        ``plane . m``.
    level : int
        Layer of the surface.
    spacing : float, Angstrom
        Distance between layers.
    """

    surface: FreeSurface
    plane: IntArray
    level: int
    spacing: float

    def layers_below(self, lattice: IntArray) -> IntArray:
        """Return how many layers below the surface cells (n, 2 or 3) lie, (n,); negative above."""
        return self.level - np.asarray(lattice)[:, : len(self.plane)] @ self.plane

    def depth(self, x: Array) -> Array:
        """Return how far below the surface positions (n, 3) lie, (n,) Angstrom."""
        return self.level * self.spacing - x @ np.asarray(self.surface.normal)

    def project(self, x: Array) -> Array:
        """Return positions (n, 3), those above the surface moved down onto it."""
        above = np.maximum(-self.depth(x), 0.0)
        return x - above[:, None] * np.asarray(self.surface.normal)

    def axis(self, basis: IntArray) -> int:
        """Return the mesh axis that leads one layer up, the others lying in the plane.

        Raises
        ------
        RegionError
            There is none.
        """
        steps = basis @ self.plane
        k = int(steps.argmax())
        if steps[k] != 1 or np.count_nonzero(steps) != 1:
            raise RegionError(
                "the outer region has no upper face on the free surface: one of its axes must lead "
                "up to the next lattice plane, the others lie in the surface"
            )
        return k
