"""Neighbour lists: full, symmetric CSR lists in cells of any shape, thickness and periodicity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from qc.errors import InputError
from qc.numerics.checks import FARTHEST, not_negative, positive, refuse_images

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Angstrom; atoms closer than this are one atom entered twice.
COINCIDENT = 1e-4


@dataclass(frozen=True)
class NeighbourList:
    """Who is within the cutoff of whom, as CSR rows.

    A full list: a pair inside the cutoff stands in both rows, unless one of them is not asked
    for. Rows are sorted by neighbour, then by image, so that sums over them do not depend on how
    they were found. The bond vector is ``R_b = (y[j] - y[i]) + offset_b``.

    Parameters
    ----------
    start : (n + 1,) int64
        Bonds of site ``i`` are ``start[i]:start[i + 1]``.
    neighbours : (nb,) int64
        Site at the far end of each bond.
    offsets : (nb, 3) float64, Angstrom
        Cartesian translation of the neighbour's image.
    cutoff : float, Angstrom
        Longest bond in the list when it was made.
    """

    start: IntArray
    neighbours: IntArray
    offsets: Array
    cutoff: float

    @property
    def n_sites(self) -> int:
        """Number of rows."""
        return len(self.start) - 1

    @property
    def sites(self) -> IntArray:
        """(nb,) int64: the site that each bond belongs to."""
        return np.repeat(np.arange(self.n_sites, dtype=np.int64), np.diff(self.start))

    def vectors(self, positions: Array) -> Array:
        """Return the bond vectors at the given positions, (nb, 3), Angstrom."""
        return (positions[self.neighbours] - positions[self.sites]) + self.offsets


def check_positions(positions: ArrayLike, what: str = "position") -> Array:
    """Return positions as a C-contiguous (n, 3) float64 array.

    Raises
    ------
    InputError
        Wrong shape, or a NaN or infinite component; the message names the atom.
    """
    if np.iscomplexobj(positions):
        raise InputError(f"{what}s must be real numbers")
    try:
        y = np.ascontiguousarray(positions, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as reason:
        raise InputError(f"{what}s must be real numbers: {reason}") from reason
    if y.ndim != 2 or y.shape[1] != 3:
        raise InputError(f"{what}s must have shape (n, 3), got {y.shape}")
    # Written so that NaN is too far: one look at the numbers does where all is well.
    if len(y) and not (y.max() <= FARTHEST and y.min() >= -FARTHEST):
        if not np.isfinite(y).all():
            atom = int(np.nonzero(~np.isfinite(y).all(axis=1))[0][0])
            raise InputError(f"{what} of atom {atom} is not finite: {y[atom].tolist()}")
        atom = int(np.abs(y).max(axis=1).argmax())
        raise InputError(f"{what} of atom {atom} is beyond {FARTHEST:g}: {y[atom].tolist()}")
    return y


def check_cell(cell: ArrayLike | None, pbc: bool | Sequence[bool] | NDArray[np.bool_]) -> Array:
    """Return a (3, 3) cell whose periodic rows are those given and whose others complete them.

    Directions that are not periodic get unit vectors orthogonal to the periodic ones, whatever
    the cell says about them: it has no say there.

    Raises
    ------
    InputError
        Wrong shape, a component that is not finite, a periodic vector missing or dependent on
        the other periodic ones.
    """
    periodic = np.broadcast_to(np.asarray(pbc, dtype=bool), (3,))
    given = np.zeros((3, 3)) if cell is None else np.array(cell, dtype=np.float64)
    if given.shape == (3,):
        given = np.diag(given)
    if given.shape != (3, 3):
        raise InputError(f"cell must have shape (3, 3), got {given.shape}")
    if not np.isfinite(given).all():
        raise InputError(f"cell is not finite: {given.tolist()}")
    full = np.zeros((3, 3))
    axes = np.nonzero(periodic)[0]
    lengths = np.linalg.norm(given[axes], axis=1)
    if np.any(lengths <= COINCIDENT):
        axis = int(axes[np.argmin(lengths)])
        raise InputError(
            f"cell is singular: direction {axis} is periodic but its vector has length "
            f"{lengths.min():.3g} Angstrom"
        )
    _, singular, right = np.linalg.svd(given[axes] / lengths[:, None], full_matrices=True)
    if len(axes) and singular.min() < 1e-6:
        raise InputError(
            f"cell is singular: its periodic vectors {given[axes].tolist()} are not independent"
        )
    full[axes] = given[axes]
    full[~periodic] = right[len(axes) :]
    return full


def neighbour_list(
    positions: ArrayLike,
    cutoff: float,
    cell: ArrayLike | None = None,
    pbc: bool | Sequence[bool] | NDArray[np.bool_] = False,
    rows: NDArray[np.bool_] | None = None,
) -> NeighbourList:
    """Find all neighbours within a cutoff.

    Atoms may lie outside the cell, the cell may be left-handed, thinner than the cutoff (every
    image is then a bond of its own, images of the atom itself included) or periodic in some
    directions only.

    Parameters
    ----------
    positions : (n, 3) float, Angstrom
    cutoff : float, Angstrom
    cell : (3, 3) float, Angstrom, optional
        Rows are the cell vectors; only those of periodic directions matter.
    pbc : bool or three bools
        Periodic directions.
    rows : (n,) bool, optional
        Sites whose neighbours are wanted; other rows stay empty. All by default.

    Raises
    ------
    InputError
        A coordinate that is not finite, a singular cell, a cutoff that is not positive and
        finite, two atoms at one place (the message names the pair), or a cutoff so much longer
        than the cell that the images would not fit in memory.
    """
    y = check_positions(positions)
    positive("cutoff", cutoff)
    full = check_cell(cell, pbc)
    periodic = np.broadcast_to(np.asarray(pbc, dtype=bool), (3,))
    n = len(y)
    wanted = np.arange(n) if rows is None else np.nonzero(np.broadcast_to(rows, (n,)))[0]
    if n == 0 or len(wanted) == 0:
        return NeighbourList(
            np.zeros(n + 1, np.int64), np.empty(0, np.int64), np.empty((0, 3)), float(cutoff)
        )

    inverse = np.linalg.inv(full)
    wraps = np.where(periodic, np.floor(y @ inverse), 0.0)
    inside = y - _translations(wraps, full)
    # The search is a hair wider than the cutoff, and the bonds are then measured in a way that is
    # exactly antisymmetric, so that round-off never leaves a pair in one row only.
    extent = float(np.abs(inside).max()) + float(np.abs(full).max())
    reach = cutoff + 1e-9 * cutoff + 1e-14 * extent
    owners, shifts = _images(inside @ inverse, periodic, reach * np.linalg.norm(inverse, axis=0))

    points = cKDTree(inside[owners] + _translations(shifts, full))
    found = cKDTree(inside[wanted]).sparse_distance_matrix(points, reach, output_type="ndarray")
    i, point = wanted[found["i"]], found["j"]
    order = np.argsort(i * len(owners) + point)
    i, point = i[order], point[order]
    j, shift = owners[point], shifts[point]
    if wraps.any():
        shift += wraps[i] - wraps[j]
    offsets = _translations(shift, full)
    r = (y[j] - y[i]) + offsets
    squared = r[:, 0] ** 2 + r[:, 1] ** 2 + r[:, 2] ** 2
    keep = (squared <= cutoff**2) & ((i != j) | (squared >= COINCIDENT**2))
    i, j, offsets, squared = i[keep], j[keep], offsets[keep], squared[keep]
    if len(squared) and squared.min() < COINCIDENT**2:
        b = int(squared.argmin())
        raise InputError(
            f"atoms {min(i[b], j[b])} and {max(i[b], j[b])} coincide: they are "
            f"{np.sqrt(squared[b]):.3g} Angstrom apart"
        )
    start = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(i, minlength=n), out=start[1:])
    return NeighbourList(start, j, offsets, float(cutoff))


def _translations(shifts: Array, cell: Array) -> Array:
    """Return ``shifts @ cell`` summed in a fixed order, so that -shifts give exactly the negative.

    A library's matrix product may treat rows differently.
    """
    return (
        shifts[:, 0, None] * cell[0] + shifts[:, 1, None] * cell[1] + shifts[:, 2, None] * cell[2]
    )


def _images(
    fractional: Array, periodic: NDArray[np.bool_], margins: Array
) -> tuple[IntArray, Array]:
    """Return owner (m,) and lattice shift (m, 3) of every image within the margins of the cell.

    The margins are the search reach in fractions of the cell's height along each direction.
    Images are sorted by owner, then by shift.
    """
    refuse_images(len(fractional), margins[periodic])
    owners = np.arange(len(fractional), dtype=np.int64)
    shifts = np.zeros((len(fractional), 3))
    for axis in np.nonzero(periodic)[0]:
        deep = int(np.ceil(margins[axis]))
        parts = []
        for k in range(-deep, deep + 1):
            s = fractional[owners, axis] + k
            inside = np.nonzero((s >= -margins[axis]) & (s <= 1 + margins[axis]))[0]
            moved = shifts[inside]
            moved[:, axis] = k
            parts.append((owners[inside], moved))
        owners = np.concatenate([part[0] for part in parts])
        shifts = np.concatenate([part[1] for part in parts])
    order = np.lexsort((shifts[:, 2], shifts[:, 1], shifts[:, 0], owners))
    return owners[order], shifts[order]


class VerletList:
    """A neighbour list that is rebuilt only when an atom has moved more than half the skin.

    Parameters
    ----------
    cutoff : float, Angstrom
        Bonds up to this length are always in the list.
    skin : float, Angstrom
        Extra reach of the list; 0 rebuilds it at every change.
    cell, pbc, rows
        As in `neighbour_list`.

    Attributes
    ----------
    list : NeighbourList
        The list now, out to ``cutoff + skin``; set by the first `update`.
    rebuilds : int
        Number of times the list was made.
    made_at : (n, 3) float64 or None, Angstrom
        Positions at which it was made; None if the next `update` makes it.
    """

    list: NeighbourList

    def __init__(
        self,
        cutoff: float,
        skin: float = 0.3,
        cell: ArrayLike | None = None,
        pbc: bool | Sequence[bool] | NDArray[np.bool_] = False,
        rows: NDArray[np.bool_] | None = None,
    ) -> None:
        self.cutoff = positive("cutoff", cutoff)
        self.skin = not_negative("skin", skin)
        self.rebuilds = 0
        self._pbc = np.array(np.broadcast_to(np.asarray(pbc, dtype=bool), (3,)))
        self._cell = check_cell(cell, self._pbc)
        self._rows = None if rows is None else np.array(rows, dtype=bool)
        self.made_at: Array | None = None

    def update(
        self,
        positions: ArrayLike,
        cell: ArrayLike | None = None,
        pbc: bool | Sequence[bool] | NDArray[np.bool_] | None = None,
    ) -> bool:
        """Make the list valid at these positions; return whether it was rebuilt.

        A new cell, periodicity or number of atoms always rebuilds; None keeps what was there.

        Raises
        ------
        InputError
            As `neighbour_list`.
        """
        y = check_positions(positions)
        old = self.made_at
        new_pbc = self._pbc if pbc is None else np.array(np.broadcast_to(pbc, (3,)), dtype=bool)
        new_cell = check_cell(self._cell if cell is None else cell, new_pbc)
        if (
            old is not None
            and old.shape == y.shape
            and np.array_equal(new_cell, self._cell)
            and np.array_equal(new_pbc, self._pbc)
        ):
            moved = float(((y - old) ** 2).sum(axis=1).max(initial=0.0))
            if moved <= (0.5 * self.skin) ** 2:
                return False
        self.made_at = None
        self.list = neighbour_list(y, self.cutoff + self.skin, new_cell, new_pbc, self._rows)
        self._cell, self._pbc, self.made_at = new_cell, new_pbc, y.copy()
        self.rebuilds += 1
        return True

    def reset(self) -> None:
        """Make the list anew at the next `update`, whatever has moved."""
        self.made_at = None
