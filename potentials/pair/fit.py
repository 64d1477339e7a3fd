"""Pair functions as piecewise polynomials for the fused kernel, whatever their formula.

On each interval the slope is the quartic that has the function's slope and curvature at both ends
and its slope in the middle; the energy is the integral of it from the function's value at the
begin. Slope and curvature are continuous, forces the exact gradient of the energy, and both follow
a smooth function so closely (to the fifth power of the interval) that they cannot be told apart
from it in double precision. A quintic through the values at both ends would divide their round-off
by the interval.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

from ..base import Array, IntArray, Pairs, Potential
from ..pair_checks import Scratch, aligned, shares
from ..virial_kernels import sum_virial
from . import kernels as pair_kernels

#: Largest error of value and slope, relative to the function's own size at that distance.
TOLERANCE = 3e-13

#: Nearer than this part of the cutoff atoms never come; the formula itself is evaluated there.
NEAR = 0.28

#: A function that comes to its formula only beyond this part of the cutoff gets no table.
_WORST_NEAR = 0.6

#: Intervals of an even grid: the fewest, and the most before `NEAR` is given up.
_FEWEST, _MOST = 128, 8192

#: Buckets of an uneven grid: no more than this many for each pair of species.
MOST_BUCKETS = 1 << 16

#: Where a quintic is compared with the function, in parts of an interval.
_PROBES = np.array([0.17, 0.5, 0.83])

#: Value, first and second derivative of a pair function of (r, s, t).
Function = Callable[[Array, IntArray, IntArray], Any]


class Pieces(NamedTuple):
    """Tables of the kernel, in its order; what they hold is said there."""

    reach: float
    near: Array
    squared: bool
    even: bool
    grid: Array
    buckets: Array
    first: np.ndarray
    rows: Array


def fit_even(function: Function, ns: int, cutoff: float, joint: float) -> Pieces | None:
    """Return pieces of smooth pair functions on an even grid in the squared distance.

    Parameters
    ----------
    function : callable
        Value, first and second derivative with respect to r, for r below the cutoff.
    ns : int
        Number of species.
    cutoff, joint : float, Angstrom
        At ``joint`` higher derivatives may jump: it is a knot.

    Returns
    -------
    Pieces or None
        None if no grid of a reasonable size follows the function.
    """
    kinds = [(s, t) for s in range(ns) for t in range(s + 1)]
    # The squared cutoff itself lies outside the function's range.
    inside = cutoff**2 * (1.0 - 1e-15)
    zones, near = [], 0.0
    for low, high in ((NEAR * cutoff) ** 2, joint**2), (joint**2, inside):
        count = _FEWEST
        while True:
            knots = np.linspace(low, high, count + 1)
            tables, worst = [], 0.0
            for s, t in kinds:
                rows, good = _quintics(function, knots, s, t, cutoff, squared=True)
                tables.append(rows)
                if not good.all():
                    worst = max(worst, float(knots[np.nonzero(~good)[0][-1] + 1]))
            if worst == 0.0 or count == _MOST:
                break
            count *= 2
        if worst > (_WORST_NEAR * cutoff) ** 2:
            return None
        near = max(near, worst)
        zones.append((low, count / (high - low), (high - low) / count, tables))
    inner, outer = zones
    count = len(inner[3][0])
    # Rounding may find the interval after the last.
    size = count + len(outer[3][0]) + 1
    rows = np.zeros((len(kinds), size, 8))
    first = np.empty((ns * ns, 1), dtype=np.int32)
    for k, (s, t) in enumerate(kinds):
        rows[k, :-1] = np.concatenate([inner[3][k], outer[3][k]])
        rows[k, -1] = rows[k, -2]
        first[s * ns + t] = first[t * ns + s] = k * size
    return Pieces(
        cutoff**2,
        np.full(ns * ns, max(near, inner[0])),
        True,
        True,
        np.array([*inner[:3], *outer[:3], count]),
        np.zeros((ns * ns, 2)),
        first,
        _in_lines(np.nan_to_num(rows.reshape(-1, 8), posinf=0.0, neginf=0.0)),
    )


def fit_knots(function: Function, knots: list[list[Array]], cutoff: float) -> Pieces | None:
    """Return pieces of pair functions whose higher derivatives jump at known distances.

    Parameters
    ----------
    function : callable
        As for `fit_even`.
    knots : ns lists of ns arrays, Angstrom
        Of each pair of species, rising; the last is where the function ends. Intervals on which
        no quintic follows the function are halved.
    cutoff : float, Angstrom
        The largest of the last knots.

    Returns
    -------
    Pieces or None
        None if intervals are too uneven for a table.
    """
    ns = len(knots)
    parts: dict[tuple[int, int], tuple[Array, Array]] = {}
    for s in range(ns):
        for t in range(s + 1):
            x = knots[s][t]
            for _ in range(8):
                rows, good = _quintics(function, x, s, t, cutoff, squared=False)
                if good.all():
                    break
                x = np.sort(np.concatenate([x, 0.5 * (x[:-1] + x[1:])[~good]]))
            else:
                return None
            parts[s, t] = parts[t, s] = x, rows
    even = _even_grid([x for x, _ in parts.values()])
    counts = [
        1 if even is not None else int(np.ceil((cutoff - x[0]) / np.diff(x).min())) + 2
        for x, _ in parts.values()
    ]
    if max(counts) > MOST_BUCKETS:
        return None
    near, buckets = np.empty(ns * ns), np.zeros((ns * ns, 2))
    first = np.zeros((ns * ns, max(counts)), dtype=np.int32)
    table: list[Array] = []
    total = 0
    for s in range(ns):
        for t in range(s + 1):
            x, rows = parts[s, t]
            for q in {s * ns + t, t * ns + s}:
                near[q] = x[0]
                if even is None:
                    buckets[q] = x[0], (len(first[q]) - 1) / (cutoff - x[0])
                    begins = x[0] + np.arange(len(first[q])) / buckets[q, 1]
                    # A hair early: a bucket may hold the end of the interval before its own.
                    place = np.searchsorted(x, begins - 1e-9 / buckets[q, 1], side="right") - 1
                    first[q] = total + np.clip(place, 0, len(x) - 1)
                else:
                    first[q] = total
            # Beyond its last knot a function is zero.
            last = np.zeros((1, 8))
            last[0, 6:] = x[-1], np.inf
            table += [rows, last]
            total += len(rows) + 1
    grid = np.array([0.0, 1.0, 1.0, np.inf, 0.0, 0.0, 0.0]) if even is None else even
    rows = _in_lines(np.concatenate(table))
    return Pieces(cutoff**2, near, False, even is not None, grid, buckets, first, rows)


def _in_lines(rows: Array) -> Array:
    """Return a copy of the rows in which each fills one cache line."""
    copy = aligned(rows.shape)
    copy[:] = rows
    return copy


def _even_grid(all_knots: list[Array]) -> Array | None:
    """Return the grid that all functions share and whose spacing is even, if there is one."""
    x = all_knots[0]
    spacing = (x[-1] - x[0]) / (len(x) - 1)
    even = x[0] + spacing * np.arange(len(x))
    for other in all_knots:
        if len(other) != len(x) or np.abs(other - even).max() > 1e-13 * x[-1]:
            return None
    return np.array([x[0], 1.0 / spacing, spacing, np.inf, 0.0, 0.0, 0.0])


def _quintics(
    function: Function, knots: Array, s: int, t: int, cutoff: float, squared: bool
) -> tuple[Array, np.ndarray]:
    """Return rows of half a pair function and which of them follow it."""

    def jet(x: Array) -> tuple[Array, Array, Array]:
        r = np.sqrt(x) if squared else x
        f, d, dd = (
            np.broadcast_to(np.asarray(c, dtype=np.float64), r.shape)
            for c in function(r, np.array(s), np.array(t))
        )
        if squared:
            d, dd = d / (2.0 * r), (dd - d / r) / (4.0 * x)
        return 0.5 * f, 0.5 * d, 0.5 * dd

    h = np.diff(knots)
    edge, end = (0.0, cutoff) if squared else (knots[0], knots[-1])
    with np.errstate(all="ignore"):
        f, d, dd = jet(knots)
        middle = jet(knots[:-1] + 0.5 * h)[1] * h
        begin, bend = d[:-1] * h, dd[:-1] * h**2
        u = d[1:] * h - begin - bend
        v = dd[1:] * h**2 - bend
        w = 16.0 * (middle - begin - 0.5 * bend)
        rows = np.stack(
            [
                f[:-1], begin / h, bend / (2.0 * h**2), (w - 5.0 * u + v) / (3.0 * h**3),
                (14.0 * u - 3.0 * v - 2.0 * w) / (4.0 * h**4),
                (w - 8.0 * u + 2.0 * v) / (5.0 * h**5),
                knots[:-1], knots[1:],
            ],
            axis=1,
        )  # fmt: skip
        way = _PROBES * h[:, None]
        x = knots[:-1, None] + way
        value, slope = rows[:, 5, None], np.zeros_like(way)
        for c in range(4, -1, -1):
            slope = value + way * slope
            value = rows[:, c, None] + way * value
        exact, d_exact, _ = jet(x)
        off = np.abs(value - exact) + x * np.abs(slope - d_exact)
        size = np.abs(f) + knots * np.abs(d)
        # At the end of its range a function is nothing; what counts there is its usual size.
        usual = cutoff * np.linspace(0.5, 1.0, 65)[:-1]
        usual = usual[(usual >= edge) & (usual <= end)]
        f, d, _ = jet(usual**2 if squared else usual)
        floor = np.max(np.abs(f) + (usual**2 if squared else usual) * np.abs(d), initial=0.0)
        good = off.max(axis=1) <= TOLERANCE * np.maximum(np.maximum(size[1:], size[:-1]), floor)
    return rows, good & np.isfinite(rows).all(axis=1)


def energy_forces(
    potential: Potential,
    pieces: Pieces,
    positions: Array,
    types: IntArray,
    weights: Array,
    pairs: Pairs,
    virial: Array | None = None,
) -> tuple[Array, Array, bool]:
    """Run the kernel on checked arrays.

    Returns
    -------
    energies : (n,) float64, eV
    forces : (n, 3) float64, eV/Angstrom
    complete : bool
        False if atoms are nearer to each other than the pieces reach.
    """
    n, n_all = pairs.n_sites, len(positions)
    bounds = shares(pairs.start, numba.get_num_threads())
    parts = len(bounds) - 1
    room = max(pair_kernels.BATCH, int(np.diff(pairs.start).max(initial=0))) + 8
    scratch = Scratch.take(potential)
    work = scratch.floats("work", 4, parts, room)
    energies, forces, close = np.empty(n), np.empty((n, 3)), np.zeros(parts, dtype=np.int64)
    sums = scratch.floats("sums", parts, n_all, 4)
    pair_kernels.energy_forces(
        positions, types, weights, pairs.start, pairs.neighbours, pairs.owners, bounds, *pieces,
        scratch.floats("points", n_all, 4),
        scratch.ints("partner", parts * room).reshape(parts, room),
        scratch.ints("pair", parts * room).reshape(parts, room),
        scratch.ints("interval", parts * room).reshape(parts, room),
        scratch.ints("ends", parts * room).reshape(parts, room),
        work[0], work[1], work[2], work[3], close,
        sums, energies, forces,
    )  # fmt: skip
    if virial is not None:
        # The first part's sums are those of all, also on images.
        sum_virial(positions, forces, sums[0, n:], pairs.owners, virial)
    scratch.give_back(potential)
    return energies, forces, not close.any()
