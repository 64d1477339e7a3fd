"""The fused kernel of pair potentials over half lists; every helper it calls lives in this file.

Half a pair function is a piecewise quintic in x, the squared distance or the distance itself:
``rows`` (nk, 8) holds six coefficients in powers of the way from the interval's begin, then begin
and end.
An interval is found in one of two ways. On an even grid, which all pairs of species share, by
arithmetic: ``grid`` holds begin, intervals per unit and spacing of an inner zone, then the same of
an outer one and the number of inner intervals; ``first`` (ns ns, 1) is then the row each pair of
species begins with. On uneven grids ``first`` (ns ns, nb) gives the interval of each bucket of
distances, or the one before; ``buckets`` (ns ns, 2) where buckets begin and how many there are to
a unit.

Work goes over static chunks of rows, each with accumulators of its own that are summed in order,
so that results depend on the number of chunks and not on scheduling. Rows are taken in batches:
pairs inside the cutoff are compacted without branches, their intervals found in long loops, then
each pair is one look-up, one cache line. Indices are cast to unsigned ones, which are not tested
for being negative.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core.types import float64, void
from numba.extending import intrinsic

from qc.numerics.jit import kernel

#: Pairs evaluated at once; a row of the table has as many numbers.
LANES = 8

#: Pairs worked on at once, unless a single row is longer.
BATCH = 1024


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a b + c, rounded once: one instruction instead of two, the same everywhere."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return float64(float64, float64, float64), generate


@intrinsic
def _evaluate_lanes(
    typing_context: Any, rows: Any, interval: Any, x: Any, energy: Any, slope: Any, k: Any
) -> Any:
    """Evaluate the quintics of pairs ``k`` to ``k + 8`` and their slopes, by Horner.

    Eight rows are loaded whole and transposed in registers, which numba has no word for: numbers
    of one kind, one for each pair, then lie side by side.
    """
    vector = ir.VectorType(ir.DoubleType(), LANES)
    word = ir.IntType(64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def data(n: int) -> Any:
            return context.make_array(signature.args[n])(context, builder, arguments[n]).data

        def place(n: int, index: Any) -> Any:
            return builder.bitcast(builder.gep(data(n), [index]), vector.as_pointer())

        def load(n: int, index: Any) -> Any:
            loaded = builder.load(place(n, index))
            loaded.align = 8
            return loaded

        def store(n: int, value: Any) -> None:
            builder.store(value, place(n, first)).align = 8

        def step(b: Any, c: Any) -> Any:
            # One instruction where the machine has it.
            product = builder.fmul(t, b, flags=("contract",))
            return builder.fadd(product, c, flags=("contract",))

        first = arguments[5]
        c = []
        for lane in range(LANES):
            at = builder.add(first, ir.Constant(word, lane))
            row = builder.zext(builder.load(builder.gep(data(1), [at])), word)
            c.append(load(0, builder.mul(row, ir.Constant(word, LANES))))
        # Numbers whose places differ in one bit change sides, bit by bit.
        for bit in (1, 2, 4):
            for a in range(LANES):
                if not a & bit:
                    one, two = c[a], c[a | bit]
                    for keep, into in ((0, a), (bit, a | bit)):
                        order = [
                            (i & ~bit) | keep | (LANES if i & bit else 0) for i in range(LANES)
                        ]
                        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), order)
                        c[into] = builder.shuffle_vector(one, two, mask)
        t = load(2, first)
        b = [c[5]]
        for k in (4, 3, 2, 1):
            b.append(step(b[-1], c[k]))
        store(3, step(b[-1], c[0]))
        d = b[0]
        for k in (1, 2, 3, 4):
            d = step(d, b[k])
        store(4, d)
        return context.get_dummy_value()

    return void(rows, interval, x, energy, slope, k), generate


@kernel()
def _compact(first, last, points, start, neighbours, reach, partner, squared, ends):
    """Collect the pairs inside the cutoff of some rows; ``ends`` says where each row's end."""
    m = 0
    for i in range(first, last):
        xi = points[i, 0]
        yi = points[i, 1]
        zi = points[i, 2]
        row = neighbours[start[i] : start[i + 1]]
        for b in range(len(row)):
            j = np.uint32(row[b])
            x = points[j, 0] - xi
            y = points[j, 1] - yi
            z = points[j, 2] - zi
            r2 = fma(z, z, fma(y, y, x * x))
            place = np.uint32(m)
            partner[place] = j
            squared[place] = r2
            if r2 < reach:
                m += 1
        ends[i - first] = m
    return m


@kernel()
def _find_even(m, near, grid, x, interval):
    """Intervals on the even grid; ``x`` becomes the way into them. Returns how many are too near.

    What is nearer than the grid begins is clamped to its begin.
    """
    begin, scale, spacing = grid[0], grid[1], grid[2]
    outer, outer_scale, outer_spacing, count = grid[3], grid[4], grid[5], grid[6]
    close = 0
    for k in range(m):
        close += x[k] < near
        far = x[k] >= outer
        p = (x[k] - outer) * outer_scale + count if far else max(x[k] - begin, 0.0) * scale
        row = np.int32(p)
        x[k] = (p - row) * (outer_spacing if far else spacing)
        interval[k] = row
    return close


@kernel()
def _find_uneven(m, pair, near, buckets, first, rows, x, interval):
    """Find intervals by buckets, as `_find_even` does by arithmetic."""
    close = 0
    for k in range(m):
        q = pair[k]
        if x[k] < near[q]:
            close += 1
            x[k] = near[q]
        row = first[q, int((x[k] - buckets[q, 0]) * buckets[q, 1])]
        row += x[k] >= rows[row, 7]
        interval[k] = row
        x[k] -= rows[row, 6]
    return close


@kernel()
def _evaluate(m, interval, rows, x, energy, slope):
    """Half pair energies and their slopes with respect to x."""
    padded = (m + LANES - 1) // LANES * LANES
    for k in range(m, padded):
        interval[k] = 0
        x[k] = 0.0
    for k in range(0, padded, LANES):
        _evaluate_lanes(rows, interval, x, energy, slope, k)


@kernel()
def _scatter(first, last, points, partner, energy, pull, ends, halves, forces):
    """Add half energies and forces of compacted pairs to both atoms."""
    low = 0
    for i in range(first, last):
        xi = points[i, 0]
        yi = points[i, 1]
        zi = points[i, 2]
        wi = points[i, 3]
        fx = 0.0
        fy = 0.0
        fz = 0.0
        total = 0.0
        high = ends[i - first]
        for k in range(low, high):
            place = np.uint32(k)
            j = np.uint32(partner[place])
            f = (wi + points[j, 3]) * pull[place]
            x = points[j, 0] - xi
            y = points[j, 1] - yi
            z = points[j, 2] - zi
            fx = fma(f, x, fx)
            fy = fma(f, y, fy)
            fz = fma(f, z, fz)
            forces[j, 0] = fma(-f, x, forces[j, 0])
            forces[j, 1] = fma(-f, y, forces[j, 1])
            forces[j, 2] = fma(-f, z, forces[j, 2])
            e = energy[place]
            total += e
            halves[j] += e
        low = high
        forces[i, 0] += fx
        forces[i, 1] += fy
        forces[i, 2] += fz
        halves[i] += total


@kernel()
def _chunk(
    begin, end, points, types, start, neighbours,
    reach, near, squared, even, grid, buckets, first, rows,
    partner, pair, interval, ends, x, inverse, energy, pull, halves, forces,
):  # fmt: skip
    """Rows ``begin`` to ``end``; returns how many pairs were too near for the table."""
    ns = int(np.sqrt(len(near)) + 0.5)
    close = 0
    here = begin
    while here < end:
        stop = here + 1
        while stop < end and start[stop + 1] - start[here] <= BATCH and stop - here < BATCH:
            stop += 1
        m = _compact(here, stop, points, start, neighbours, reach, partner, x, ends)
        if not squared:
            for k in range(m):
                x[k] = np.sqrt(x[k])
                inverse[k] = 1.0 / x[k]
        if ns > 1 or not even:
            low = 0
            for i in range(here, stop):
                for k in range(low, ends[i - here]):
                    pair[k] = types[i] * ns + types[partner[k]]
                low = ends[i - here]
        if even:
            close += _find_even(m, near[0], grid, x, interval)
            if ns > 1:
                for k in range(m):
                    interval[k] += first[pair[k], 0]
        else:
            close += _find_uneven(m, pair, near, buckets, first, rows, x, interval)
        _evaluate(m, interval, rows, x, energy, pull)
        if not squared:
            for k in range(m):
                pull[k] *= inverse[k]
        _scatter(here, stop, points, partner, energy, pull, ends, halves, forces)
        here = stop
    return close


@kernel(parallel=True)
def energy_forces(
    positions, types, weights, start, neighbours, owners, bounds,
    reach, near, squared, even, grid, buckets, first, rows,
    points, partner, pair, interval, ends, x, inverse, energy, pull, close, halves, pulls,
    energies, forces,
):  # fmt: skip
    """Site energies (n,) and forces (n, 3) of a weighted sum.

    ``bounds`` (parts + 1,) are the rows of each chunk, ``close`` (parts,) counts the pairs nearer
    than ``near`` (ns ns,), in x, whose terms mean nothing. ``points`` (n_all, 4), ``halves``
    (parts, n_all), ``pulls`` (parts, n_all, 3) and what is between are scratch.
    """
    n = len(energies)
    n_all = len(positions)
    parts = len(bounds) - 1
    # A slope with respect to the squared distance counts twice.
    factor = 2.0 if squared else 1.0
    for k in range(n_all):
        points[k, 0] = positions[k, 0]
        points[k, 1] = positions[k, 1]
        points[k, 2] = positions[k, 2]
        points[k, 3] = factor * weights[k]
    for c in numba.prange(parts):
        halves[c, :] = 0.0
        pulls[c, :, :] = 0.0
        close[c] = _chunk(
            bounds[c], bounds[c + 1], points, types, start, neighbours,
            reach, near, squared, even, grid, buckets, first, rows,
            partner[c], pair[c], interval[c], ends[c], x[c], inverse[c], energy[c], pull[c],
            halves[c], pulls[c],
        )  # fmt: skip
    for c in range(1, parts):
        for k in range(n_all):
            halves[0, k] += halves[c, k]
            for a in range(3):
                pulls[0, k, a] += pulls[c, k, a]
    for k in range(n, n_all):
        halves[0, owners[k]] += halves[0, k]
        for a in range(3):
            pulls[0, owners[k], a] += pulls[0, k, a]
    for i in range(n):
        energies[i] = halves[0, i] if weights[i] != 0.0 else 0.0
        for a in range(3):
            # The pull on i is along y_j - y_i, which the pair function's slope multiplies.
            forces[i, a] = pulls[0, i, a]
