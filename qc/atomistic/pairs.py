"""Pair lists for fused kernels: atoms sorted in space, periodic images as atoms of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from qc.atomistic import pair_kernels
from qc.atomistic.neighbours import COINCIDENT, check_cell, check_positions
from qc.errors import InputError
from qc.numerics.checks import not_negative, positive, refuse_images
from qc.potentials import Pairs

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Entries, of 4 bytes each, above which a list is refused instead of filling the memory.
MOST_PAIRS = 4_000_000_000

#: Bins per point above which space is so empty that a tree finds the pairs.
MOST_BINS = 64

#: Fewer rows than this are not worth a thread of their own.
SMALLEST_SHARE = 500

#: Bins in the reach of the list, along x, y and z; finer along z, where bins need no loop.
_DEPTH = np.array([2, 2, 6], dtype=np.int64)


class PairList:
    """A `Pairs` list with skin, rebuilt only when an atom has moved more than half of it.

    Positions come and results go in the caller's order of atoms; inside, atoms are sorted in
    space. Cells may have any shape, thickness and periodicity, and atoms may lie outside. An atom
    that is moved by whole periods is where it was, and costs no rebuild.

    Parameters
    ----------
    kind : {"half", "full"}
        As `Potential.pair_list` names it.
    cutoff : float, Angstrom
        Pairs up to this distance are always in the list.
    skin : float, Angstrom
        Extra reach of the list; 0 rebuilds it at every change.
    cell : (3, 3) float, Angstrom, optional
        Rows are the cell vectors; only those of periodic directions matter.
    pbc : bool or three bools
    weighted : (n,) bool, optional
        Which atoms have weight; pairs of two others are left out, and in a full list the rows of
        the others. All by default.

    Attributes
    ----------
    pairs : Pairs
        The list now, out to ``cutoff + skin``; set by `update`, valid until the next one.
    order : (n,) int64
        The caller's atom in each row of the list.
    positions : (n_all, 3) float64, Angstrom
        Of the sorted atoms and their images; owned by the list.
    rebuilds : int
        Number of times the list was made.
    made_at : (n, 3) float64 or None, Angstrom
        Positions at which it was made; None if the next `update` makes it.

    Raises
    ------
    InputError
        A cutoff that is not positive and finite, a negative skin, a singular cell.
    """

    pairs: Pairs
    order: IntArray
    positions: Array

    def __init__(
        self,
        kind: Literal["half", "full"],
        cutoff: float,
        skin: float = 0.5,
        cell: ArrayLike | None = None,
        pbc: bool | Sequence[bool] | NDArray[np.bool_] = False,
        weighted: NDArray[np.bool_] | None = None,
    ) -> None:
        if kind not in ("half", "full"):
            raise InputError(f"a pair list is half or full, not {kind!r}")
        self.half = kind == "half"
        self.cutoff, self.skin = positive("cutoff", cutoff), not_negative("skin", skin)
        self.rebuilds = 0
        self._pbc = np.array(np.broadcast_to(np.asarray(pbc, dtype=bool), (3,)))
        self._cell = check_cell(cell, self._pbc)
        self._weighted = None if weighted is None else np.array(weighted, dtype=bool)
        self._buffer = np.empty(0, dtype=np.int32)
        self.made_at: Array | None = None

    def __copy__(self) -> PairList:
        """Return a list that is made anew by itself; until then it is the same one."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        if self.made_at is not None:
            other.positions, other._base = self.positions.copy(), self._base.copy()
            # Both read the rows that are there; the next ones go to memory of their own.
            other._buffer = np.empty_like(self._buffer)
            self._buffer = np.empty_like(self._buffer)
        return other

    def update(
        self,
        positions: ArrayLike,
        cell: ArrayLike | None = None,
        pbc: bool | Sequence[bool] | NDArray[np.bool_] | None = None,
    ) -> bool:
        """Bring list and `positions` to these positions (n, 3); return whether it was rebuilt.

        A new cell, periodicity or number of atoms always rebuilds; None keeps what was there.

        Raises
        ------
        InputError
            A coordinate or cell that is not finite, a singular cell, two atoms at one place (the
            message names the pair), a number of atoms that does not fit the weights, or a cutoff
            so long that the list would not fit in memory.
        """
        y = np.ascontiguousarray(positions, dtype=np.float64)
        if cell is not None or pbc is not None:
            new_pbc = self._pbc if pbc is None else np.array(np.broadcast_to(pbc, (3,)), dtype=bool)
            new_cell = check_cell(self._cell if cell is None else cell, new_pbc)
            if not (np.array_equal(new_cell, self._cell) and np.array_equal(new_pbc, self._pbc)):
                self._cell, self._pbc, self.made_at = new_cell, new_pbc, None
        made = self.made_at
        if made is not None and y.shape == made.shape and not self._gather(y):
            return False
        self.made_at = None
        y = check_positions(y)
        if self._weighted is not None and len(self._weighted) != len(y):
            raise InputError(f"{len(y)} positions for {len(self._weighted)} weights")
        self._build(y)
        self.made_at = y.copy()
        self.rebuilds += 1
        return True

    def reset(self) -> None:
        """Make the list anew at the next `update`, whatever has moved."""
        self.made_at = None

    def check_distinct(self) -> None:
        """Raise `InputError` naming the pair if two atoms of a pair are at one place now."""
        rows = np.repeat(np.arange(self.pairs.n_sites), np.diff(self.pairs.start))
        apart = self.positions[self.pairs.neighbours] - self.positions[rows]
        squared = (apart**2).sum(axis=1)
        b = int(squared.argmin()) if len(squared) else 0
        if len(squared) and squared[b] < COINCIDENT**2:
            ends = self.order[[rows[b], self.pairs.owners[self.pairs.neighbours[b]]]]
            raise _coincident(int(ends[0]), int(ends[1]), float(np.sqrt(squared[b])))

    def _gather(self, y: Array) -> bool:
        """Fill `positions`; return whether an atom has moved too far for the list."""
        periodic = np.where(self._pbc[:, None], self._cell, 0.0)
        inverse = np.where(self._pbc, np.linalg.inv(self._cell), 0.0)
        limit = (0.5 * self.skin) ** 2
        stale: int = pair_kernels.gather(
            y, self.order, self.pairs.owners, self._shifts, self._reference, limit,
            periodic, inverse, self._base, self.positions,
        )  # fmt: skip
        return stale != 0

    def _build(self, y: Array) -> None:
        n = len(y)
        inverse = np.linalg.inv(self._cell)
        wraps = np.where(self._pbc, np.floor(y @ inverse), 0.0)
        base = -(wraps @ self._cell)
        inside = y + base
        extent = float(np.abs(inside).max(initial=0.0)) + float(np.abs(self._cell).max())
        reach = self.cutoff + self.skin
        reach += 1e-9 * reach + 1e-14 * extent
        images, shifts = _images(
            inside @ inverse, self._pbc, reach * np.linalg.norm(inverse, axis=0), self.half
        )
        translations = shifts @ self._cell
        weighted = np.ones(n, dtype=bool) if self._weighted is None else self._weighted
        points = np.concatenate([inside, inside[images] + translations])
        _check_size(points, n, reach)
        if n == 0:
            order = rows = np.empty(0, dtype=np.int64)
            start, neighbours = np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.int32)
        else:
            order, rows, start, neighbours = self._search(
                points, n, np.concatenate([weighted, weighted[images]]), reach, images
            )
        # Rows of sorted atoms, then of sorted images.
        place = np.empty(n, dtype=np.int64)
        place[order] = np.arange(n)
        sorted_images = rows[n:] - n
        owners = np.concatenate([np.arange(n), place[images[sorted_images]]]).astype(np.int32)
        self.pairs = Pairs(start, neighbours, owners, self.half)
        self.order = order
        self.positions = points[rows]
        self._base = base[order]
        self._shifts = translations[sorted_images]
        self._reference = self.positions[:n].copy()

    def _search(
        self, points: Array, n: int, weighted: NDArray[np.bool_], reach: float, images: IntArray
    ) -> tuple[IntArray, IntArray, IntArray, NDArray[np.int32]]:
        """Return the caller's atoms and all points in sorted order, and the rows."""
        low, high = _box(points)
        per_length = _DEPTH / reach
        sizes = np.floor((high - low) * per_length) + 1.0
        if np.prod(sizes) > MOST_BINS * len(points) + 4096:
            return self._search_tree(points, n, weighted, reach, images)
        dims = sizes.astype(np.int64)
        bins = np.empty(len(points), dtype=np.int64)
        first, first_image = np.zeros((2, int(np.prod(dims)) + 1), dtype=np.int64)
        rows = np.empty(len(points), dtype=np.int64)
        for part, begins in ((slice(0, n), first), (slice(n, None), first_image)):
            pair_kernels.bin_points(
                points[part], low, per_length, dims, bins[part], begins, rows[part]
            )
        rows[n:] += n
        points, weighted = points[rows], weighted[rows]
        parts = max(1, min(numba.get_num_threads(), n // SMALLEST_SHARE))
        start, (counts, close) = np.empty(n + 1, np.int64), np.empty((2, parts), np.int64)
        row = np.empty((parts, len(points) + 1), dtype=np.int32)
        # Three runs in a column of bins at most, two ends each.
        runs = np.empty((parts, 6 * int(np.prod(2 * _DEPTH[:2] + 1))), dtype=np.int64)
        while True:
            pair_kernels.fill(
                parts, points.reshape(-1), bool(weighted.all()), weighted, low, per_length, dims,
                _DEPTH, first, first_image, reach, self.half, COINCIDENT**2, close, runs, row,
                counts, start, self._buffer,
            )  # fmt: skip
            if close.any():
                raise _coincident_among(points, rows, images, n)
            found = int(counts.sum())
            if counts.max() <= len(self._buffer) // parts:
                return rows[:n].copy(), rows, start, self._buffer[:found]
            if found > MOST_PAIRS:
                raise InputError(f"the cutoff reaches {found:.3g} pairs: too many")
            share = int(counts.max())
            self._buffer = np.empty(parts * (share + share // 50 + 1), dtype=np.int32)

    def _search_tree(
        self, points: Array, n: int, weighted: NDArray[np.bool_], reach: float, images: IntArray
    ) -> tuple[IntArray, IntArray, IntArray, NDArray[np.int32]]:
        """Find the pairs where bins would be empty; atoms stay in the caller's order."""
        found = cKDTree(points).query_pairs(reach, output_type="ndarray")
        i, j = found.min(axis=1), found.max(axis=1)
        keep = (i < n) & (weighted[i] | weighted[j])
        i, j = i[keep], j[keep]
        rows = np.arange(len(points))
        if len(i) and ((points[i] - points[j]) ** 2).sum(axis=1).min() < COINCIDENT**2:
            raise _coincident_among(points, rows, images, n)
        if not self.half:
            owned = j < n
            i, j = np.concatenate([i, j[owned]]), np.concatenate([j, i[owned]])
            keep = weighted[i]
            i, j = i[keep], j[keep]
        by_row = np.lexsort((j, i))
        start = np.zeros(n + 1, dtype=np.int64)
        np.cumsum(np.bincount(i, minlength=n), out=start[1:])
        return rows[:n].copy(), rows, start, j[by_row].astype(np.int32)


def _box(points: Array) -> tuple[Array, Array]:
    """Return the smallest and the largest coordinates, (3,) each."""
    low, high = np.empty(3), np.empty(3)
    pair_kernels.box(points, low, high)
    return low, high


def _images(
    fractional: Array, periodic: NDArray[np.bool_], margins: Array, half: bool
) -> tuple[IntArray, Array]:
    """Return owner (m,) and lattice shift (m, 3) of every image within the margins of the atoms.

    The margins are the reach in fractions of the cell's height along each direction. For a half
    list only shifts whose first component that is not zero is positive: each pair of an atom and
    an image has a mirror image of the opposite shift.
    """
    n = len(fractional)
    refuse_images(n, margins[periodic])
    if n == 0:
        return np.empty(0, dtype=np.int64), np.empty((0, 3))
    low, high = _box(fractional)
    low, high = low - margins, high + margins
    room = n // 2 + 64
    while True:
        owners, shifts = np.empty(room, dtype=np.int64), np.empty((room, 3))
        found: int = pair_kernels.images(fractional, periodic, low, high, half, owners, shifts)
        if found <= room:
            return owners[:found], shifts[:found]
        room = found


def _check_size(points: Array, n: int, reach: float) -> None:
    """Refuse a list that would not fit, before any of it is made."""
    if len(points) == 0:
        return
    low, high = _box(points)
    box = np.prod(np.maximum(high - low, reach))
    expected = n * len(points) * min(1.0, 4.2 * reach**3 / box)
    if expected > 8 * MOST_PAIRS or len(points) > np.iinfo(np.int32).max:
        raise InputError(
            f"the cutoff {reach:.3g} reaches about {expected:.3g} pairs of {n} atoms: too many"
        )


def _coincident_among(points: Array, rows: IntArray, images: IntArray, n: int) -> InputError:
    """Return the error that names two atoms at one place, in the caller's numbers."""
    i, j = cKDTree(points).query_pairs(COINCIDENT, output_type="ndarray").T
    distance = np.sqrt(((points[i] - points[j]) ** 2).sum(axis=1))
    caller = np.concatenate([np.arange(n), images])[rows]
    b = int(distance.argmin())
    return _coincident(int(caller[i[b]]), int(caller[j[b]]), float(distance[b]))


def _coincident(one: int, two: int, distance: float) -> InputError:
    return InputError(
        f"atoms {min(one, two)} and {max(one, two)} coincide: they are {distance:.3g} Angstrom "
        "apart"
    )
