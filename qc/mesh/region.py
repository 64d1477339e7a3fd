"""Regions of the reference crystal: balls, cylinders, blocks, and sets of points with a radius."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from qc.errors import InputError
from qc.numerics.checks import FARTHEST, coordinates, numbers, positive

if TYPE_CHECKING:
    from qc.crystal import Crystal

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@runtime_checkable
class Region(Protocol):
    """A bounded part of the reference crystal."""

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Return which positions (n, 3) lie inside."""

    def touches(self, centre: Array, radius: Array) -> NDArray[np.bool_]:
        """Return which balls may overlap the region."""

    def bounds(self, crystal: Crystal) -> tuple[Array, Array]:
        """Return lower and upper corners of a bounding box, Angstrom."""

    def mesh_basis(self, crystal: Crystal) -> IntArray | None:
        """Return mesh axes the region prescribes, (d, d), or None."""

    def lattice_box(self, crystal: Crystal, basis: IntArray) -> tuple[IntArray, IntArray] | None:
        """Return the region as an exact box in mesh coordinates, or None."""


@dataclass(frozen=True)
class Ball:
    """Positions within ``radius`` of ``centre``; a cylinder along the line in 2.5D.

    Parameters
    ----------
    radius : float, Angstrom
    centre : (3,) float, Angstrom
    """

    radius: float
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    planar: bool = False

    def __post_init__(self) -> None:
        positive("outer radius", self.radius)
        if coordinates("centre of a ball", self.centre).shape != (3,):
            raise InputError(f"centre of a ball must be three numbers, got {self.centre!r}")

    def _distance(self, x: Array) -> Array:
        k = 2 if self.planar else 3
        return np.linalg.norm(x[..., :k] - np.asarray(self.centre)[:k], axis=-1)

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Return which positions (n, 3) lie inside."""
        return self._distance(x) < self.radius

    def touches(self, centre: Array, radius: Array) -> NDArray[np.bool_]:
        """Return which balls may overlap the region."""
        return self._distance(centre) < self.radius + radius

    def bounds(self, crystal: Crystal) -> tuple[Array, Array]:
        """Return lower and upper corners of a bounding box, Angstrom."""
        c = np.asarray(self.centre)
        return c - self.radius, c + self.radius

    def mesh_basis(self, crystal: Crystal) -> IntArray | None:
        """Leave the mesh axes free."""
        return None

    def lattice_box(self, crystal: Crystal, basis: IntArray) -> tuple[IntArray, IntArray] | None:
        """Return None: a ball is no box."""
        return None


@dataclass(frozen=True)
class LatticeBlock:
    """A parallelepiped with faces on lattice planes, in lattice coordinates.

    Parameters
    ----------
    lower, upper : tuple of int
        Corners along the axes; the sites strictly between are inside. Sides divisible by a power of
        two allow elements of that size.
    axes : tuple of tuples of int, optional
        Edge directions as lattice vectors; together they must be a unimodular basis. Default: the
        crystal's own primitive vectors.
    """

    lower: tuple[int, ...]
    upper: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        low, high = numbers("block", self.lower), numbers("block", self.upper)
        if low.ndim != 1 or not (
            np.array_equal(low, np.rint(low)) and np.array_equal(high, np.rint(high))
        ):
            raise InputError(f"block from {self.lower} to {self.upper} must be whole numbers")
        if max(np.abs(low).max(initial=0.0), np.abs(high).max(initial=0.0)) > FARTHEST:
            raise InputError(
                f"block from {self.lower} to {self.upper} is beyond {FARTHEST:g} cells"
            )
        if low.shape != high.shape or np.any(high - low < 2):
            raise InputError(f"block from {self.lower} to {self.upper} holds no free site")
        if self.axes is not None and numbers("block axes", self.axes).shape != (low.size,) * 2:
            raise InputError(f"block axes {self.axes} must be {low.size} vectors of the lattice")
        if self.axes is not None and abs(round(float(np.linalg.det(np.array(self.axes))))) != 1:
            raise InputError(f"block axes {self.axes} are not a unimodular basis of the lattice")

    def _axes(self, d: int) -> IntArray:
        return np.eye(d, dtype=np.int64) if self.axes is None else np.array(self.axes)

    def _coordinates(self, x: Array, crystal: Crystal) -> Array:
        d = crystal.dim
        vectors = self._axes(d) @ crystal.cell[:d]
        return x[..., :d] @ np.linalg.inv(vectors[:, :d])

    def bind(self, crystal: Crystal) -> BoundBlock:
        """Return the block as a region of a given crystal.

        Raises
        ------
        InputError
            The crystal's mesh has another number of axes.
        """
        if len(self.lower) != crystal.dim:
            raise InputError(
                f"block from {self.lower} to {self.upper} has {len(self.lower)} axes, but the mesh "
                f"of the crystal has {crystal.dim}"
            )
        return BoundBlock(self, crystal)


@dataclass(frozen=True)
class BoundBlock:
    """A `LatticeBlock` of a particular crystal."""

    block: LatticeBlock
    crystal: Crystal

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Return which positions (n, 3) lie strictly inside."""
        c = self.block._coordinates(x, self.crystal)
        low, high = np.array(self.block.lower), np.array(self.block.upper)
        return np.all((c > low + 1e-6) & (c < high - 1e-6), axis=-1)

    def touches(self, centre: Array, radius: Array) -> NDArray[np.bool_]:
        """Return True everywhere: the mesh never leaves the block."""
        return np.ones(len(centre), dtype=bool)

    def bounds(self, crystal: Crystal) -> tuple[Array, Array]:
        """Return lower and upper corners of a bounding box, Angstrom."""
        d = crystal.dim
        vectors = self.block._axes(d) @ crystal.cell[:d]
        low, high = np.array(self.block.lower), np.array(self.block.upper)
        grid = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(d, -1).T
        corners = grid @ vectors
        return corners.min(axis=0), corners.max(axis=0)

    def mesh_basis(self, crystal: Crystal) -> IntArray | None:
        """Return the block's own axes."""
        return self.block._axes(crystal.dim)

    def lattice_box(self, crystal: Crystal, basis: IntArray) -> tuple[IntArray, IntArray] | None:
        """Return the block in mesh coordinates."""
        return np.array(self.block.lower), np.array(self.block.upper)


@dataclass(frozen=True)
class CoreSet:
    """A set of points of the reference crystal; distances to it define core, blend and grading.

    Parameters
    ----------
    points : (n, 3) float64, Angstrom
    planar : bool
        Measure distances in the plane normal to the line (2.5D).
    """

    points: Array
    planar: bool = False

    def __post_init__(self) -> None:
        p = np.atleast_2d(np.asarray(self.points, dtype=float))
        if p.shape[1] != 3 or not len(p) or not np.isfinite(p).all():
            raise InputError("core points must be a finite (n, 3) array with at least one row")
        object.__setattr__(self, "points", p)
        k = 2 if self.planar else 3
        object.__setattr__(self, "_tree", cKDTree(p[:, :k]))

    def distance(self, x: Array) -> Array:
        """Distance of positions (n, 3) to the nearest point, Angstrom."""
        k = 2 if self.planar else 3
        return np.asarray(self._tree.query(np.asarray(x)[..., :k])[0])  # type: ignore[attr-defined]
