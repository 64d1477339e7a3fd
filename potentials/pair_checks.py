"""What arrays must satisfy before they reach a fused kernel, and the memory such a kernel uses."""

from __future__ import annotations

from typing import ClassVar
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from qc.errors import InputError
from qc.numerics.jit import plain

from .base import Array, IntArray, Pairs, Potential
from .checks import check_types

#: float64 numbers in a cache line.
_LINE = 8

#: Fewer rows than this are not worth a thread of their own.
SMALLEST_SHARE = 64

#: Lists that have been looked through, by identity: once for each list, not at each call.
_seen: WeakValueDictionary[int, Pairs] = WeakValueDictionary()


def check_pairs(
    potential: Potential, positions: Array, types: IntArray, weights: Array, pairs: Pairs
) -> tuple[Array, IntArray, Array]:
    """Return contiguous positions, types and weights that fit each other and the list.

    A list is looked through when it is first seen; its arrays must not change afterwards.

    Raises
    ------
    InputError
        Shapes that do not fit, a NaN or infinite position or weight, a neighbour that does not
        exist, a list of the other kind; the message names the row.
    UnknownSpeciesError
        A type index outside the potential's species.
    """
    y = plain(positions)
    t = plain(types, np.int64)
    w = plain(weights)
    if _seen.get(id(pairs)) is not pairs:
        _check_list(pairs)
        _seen[id(pairs)] = pairs
    kind = "half" if pairs.half else "full"
    if kind != potential.pair_list:
        raise InputError(f"{type(potential).__name__} takes a {potential.pair_list} list, not a "
                         f"{kind} one")  # fmt: skip
    n_all = len(pairs.owners)
    if y.shape != (n_all, 3) or t.shape != (n_all,) or w.shape != (n_all,):
        raise InputError(
            f"positions {y.shape}, types {t.shape} and weights {w.shape} do not fit "
            f"{n_all} atoms and images"
        )
    check_types(potential, t, "atom")
    for name, values in (("position", y), ("weight", w)):
        # A cheap test first: a sum is finite unless a term is not, or a finite one is absurd.
        if not np.isfinite(values.sum()) and not np.isfinite(values).all():
            bad = int(np.argmin(np.isfinite(values).reshape(n_all, -1).all(axis=1)))
            raise InputError(f"{name} of atom {bad} is not finite: {values[bad]}")
    return y, t, w


def _check_list(pairs: Pairs) -> None:
    start, neighbours, owners = pairs.start, pairs.neighbours, pairs.owners
    for name, array, kind in (
        ("start", start, np.int64),
        ("neighbours", neighbours, np.int32),
        ("owners", owners, np.int32),
    ):
        if array.ndim != 1 or array.dtype != kind or not array.flags.c_contiguous:
            raise InputError(f"{name} must be a contiguous row of {np.dtype(kind).name}")
    n, n_all = len(start) - 1, len(owners)
    if n < 0 or start[0] != 0 or start[-1] != len(neighbours) or (np.diff(start) < 0).any():
        raise InputError(f"start must rise from 0 to the number of pairs, {len(neighbours)}")
    if n_all < n or (n_all and (owners.min() < 0 or owners.max() >= n)):
        raise InputError(f"owners must name {n} atoms")
    if not np.array_equal(owners[:n], np.arange(n)):
        raise InputError("the first rows must be the owned atoms")
    if len(neighbours) and (neighbours.min() < 0 or neighbours.max() >= n_all):
        raise InputError(f"the list names atom {int(neighbours.max())}, there are {n_all}")


def shares(start: IntArray, threads: int) -> IntArray:
    """Return where to cut the rows so that each thread gets as many pairs, (parts + 1,) int64."""
    n = len(start) - 1
    parts = max(1, min(threads, n // SMALLEST_SHARE))
    cuts = np.searchsorted(start, start[-1] * np.arange(1, parts) // parts)
    return np.concatenate([[0], cuts, [n]]).astype(np.int64)


def check_apart(positions: Array, pairs: Pairs) -> None:
    """Raise `InputError` with the pair if two neighbours are at the same place."""
    sites = np.repeat(np.arange(pairs.n_sites), np.diff(pairs.start))
    apart = positions[pairs.neighbours] - positions[sites]
    same = np.nonzero(~apart.any(axis=1))[0]
    if len(same):
        b = int(same[0])
        other = int(pairs.owners[pairs.neighbours[b]])
        raise InputError(f"atoms {sites[b]} and {other} are at the same place")


def aligned(shape: tuple[int, ...]) -> Array:
    """Return an array of float64, not initialised, whose first element begins a cache line."""
    size = int(np.prod(shape))
    raw = np.empty(size + _LINE)
    first = (-(raw.ctypes.data // raw.itemsize)) % _LINE
    return raw[first : first + size].reshape(shape)


class Scratch:
    """Arrays that a kernel works in, kept from call to call: fresh pages cost as much as a pass.

    Kept for each potential, and forgotten with it. A second thread in the same potential gets
    arrays of its own.
    """

    _kept: ClassVar[WeakKeyDictionary[Potential, Scratch]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._floats: dict[str, Array] = {}
        self._ints: dict[str, np.ndarray] = {}

    @classmethod
    def take(cls, potential: Potential) -> Scratch:
        """Return the potential's scratch, or a new one while another thread holds it."""
        return cls._kept.pop(potential, None) or cls()

    def give_back(self, potential: Potential) -> None:
        """Keep the arrays for the next call."""
        self._kept[potential] = self

    def floats(self, name: str, *shape: int) -> Array:
        """Return a float64 array of that shape, not initialised."""
        size = int(np.prod(shape))
        kept = self._floats.get(name)
        if kept is None or not size <= len(kept) <= 2 * size + 4096:
            self._floats.pop(name, None)
            kept = self._floats[name] = aligned((size + size // 50,))
        return kept[:size].reshape(shape)

    def ints(self, name: str, size: int) -> np.ndarray:
        """Return an int32 array of that size, not initialised."""
        kept = self._ints.get(name)
        if kept is None or not size <= len(kept) <= 2 * size + 4096:
            self._ints.pop(name, None)
            kept = self._ints[name] = np.empty(size + size // 50, dtype=np.int32)
        return kept[:size]
