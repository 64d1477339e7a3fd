"""Faces of a mesh: lattice planes that bound it, and what happens at them, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qc.crystal import Crystal
from qc.errors import InputError, RegionError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Largest index of a lattice plane, in terms of the primitive cell.
LARGEST_INDEX = 24

#: Components of nodes that move freely, or that all are held.
FREE, HELD = (True, True, True), (False, False, False)


@dataclass(frozen=True, eq=False)
class Face:
    """A lattice plane that bounds the mesh. By itself it holds its nodes at the predictor.

    Attributes
    ----------
    normal : (3,) float64
        Outward unit vector.
    plane : (d,) int64
        Indices of the plane without a common divisor: lattice points ``m`` lie in layer
        ``plane . m``, which grows outwards.
    level : int
        Layer of the face.
    spacing : float, Angstrom
        Distance between layers.
    free : (3,) bool
        Components of its nodes that are unknowns.
    ends : bool
        Whether the crystal ends there: beyond it there are no sites.
    period : (d,) int64 or None
        Lattice vector to this face from the opposite one, whose nodes those of this one follow.
    displacement : (3,) float64, Angstrom
        Where held components are, from the predictor.
    traction : (3,) float64, eV/Angstrom^3
        Force per area of the reference crystal (per length in a monolayer: eV/Angstrom^2).
    """

    normal: Array
    plane: IntArray
    level: int
    spacing: float
    free: tuple[bool, bool, bool] = HELD
    ends: bool = False
    period: IntArray | None = None
    displacement: tuple[float, ...] = (0.0, 0.0, 0.0)
    traction: tuple[float, ...] = (0.0, 0.0, 0.0)

    @classmethod
    def across(cls, normal: Array, height: float, crystal: Crystal) -> Face:
        """Return the highest lattice plane with a normal (3,) that is not above a height.

        Raises
        ------
        InputError
            The normal is that of no lattice plane of small indices.
        """
        shown, d = tuple(normal.tolist()), crystal.dim
        if d == 2 and abs(normal[2]) > 1e-9:
            raise InputError(f"surface normal {shown} must lie in the plane of the mesh")
        rise = crystal.cell[:d] @ normal
        for index in range(1, LARGEST_INDEX + 1):
            scaled = rise * (index / np.abs(rise).max())
            plane = np.rint(scaled).astype(np.int64)
            if np.abs(scaled - plane).max() < 1e-6 * index:
                spacing = float(np.abs(rise).max()) / index
                level = int(np.floor(height / spacing + 1e-6))
                return cls(normal, plane, level, spacing)
        raise InputError(f"surface normal {shown} is that of no lattice plane of {crystal.name}")

    def but(self, **what: Any) -> Self:
        """Return the face with some of what happens at it changed."""
        return replace(self, **what)

    def layers_below(self, lattice: IntArray) -> IntArray:
        """Return how many layers below the face cells (n, 2 or 3) lie, (n,); negative above."""
        return self.level - np.asarray(lattice)[:, : len(self.plane)] @ self.plane

    def depth(self, x: Array) -> Array:
        """Return how far below the face positions (n, 3) lie, (n,) Angstrom."""
        return self.level * self.spacing - x @ self.normal

    def project(self, x: Array) -> Array:
        """Return positions (n, 3), those above the face moved down onto it."""
        above = np.maximum(-self.depth(x), 0.0)
        return x - above[:, None] * self.normal

    def axis(self, basis: IntArray) -> tuple[int, int]:
        """Return the mesh axis that leads one layer up (1) or down (-1), and which of them.

        Raises
        ------
        RegionError
            There is none: the other axes do not lie in the plane.
        """
        steps = basis @ self.plane
        k = int(np.abs(steps).argmax())
        if abs(steps[k]) != 1 or np.count_nonzero(steps) != 1:
            raise RegionError(
                f"the outer region has no face on the lattice plane {tuple(self.plane.tolist())}: "
                "one of its axes must lead to the next plane, the others lie in it"
            )
        return k, int(steps[k])
