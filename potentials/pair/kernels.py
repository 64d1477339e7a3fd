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
from numba.core import cgutils
from numba.core.types import float64, int64, void
from numba.extending import intrinsic

from qc.numerics.jit import apart, keep, kernel

#: The names of LLVM's types, as numba has them.
ir = cgutils.ir

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


@intrinsic
def _scatter_row(
    typing_context: Any, points: Any, partner: Any, energy: Any, pull: Any, sums: Any,
    i: Any, low: Any, high: Any,
) -> Any:  # fmt: skip
    """Add half energies and forces of the pairs ``low`` to ``high`` of atom i to both atoms.

    A row of ``points``, three coordinates and a weight, is one vector, and so is one of ``sums``,
    force and energy.
    """
    vector = ir.VectorType(ir.DoubleType(), 4)
    word, short = ir.IntType(64), ir.IntType(32)
    last = ir.Constant(short, 3)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        points, partner, energy, pull, sums = (
            context.make_array(signature.args[n])(context, builder, arguments[n]).data
            for n in range(5)
        )
        i, low, high = (
            context.cast(builder, arguments[n], signature.args[n], int64) for n in (5, 6, 7)
        )

        def place(base: Any, row: Any) -> Any:
            first = builder.gep(base, [builder.mul(row, ir.Constant(word, 4))])
            return builder.bitcast(first, vector.as_pointer())

        def load(pointer: Any) -> Any:
            loaded = builder.load(pointer)
            loaded.align = 8
            return loaded

        def number(base: Any, k: Any) -> Any:
            return builder.load(builder.gep(base, [k]))

        # Weights are added where coordinates are subtracted.
        own = load(place(points, i))
        weight = builder.fneg(builder.extract_element(own, last))
        own = builder.insert_element(own, weight, last)
        everywhere = ir.Constant(ir.VectorType(short, 4), [0] * 4)
        empty = ir.Constant(vector, ir.Undefined)
        signs = ir.Constant(vector, [ir.Constant(ir.DoubleType(), v) for v in (-1, -1, -1, 1)])
        total = cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * 4))
        with cgutils.for_range_slice(builder, low, high, ir.Constant(word, 1), word) as (k, _):
            there = builder.zext(number(partner, k), word)
            way = builder.fsub(load(place(points, there)), own)
            f = builder.fmul(builder.extract_element(way, last), number(pull, k))
            f = builder.insert_element(empty, f, ir.Constant(short, 0))
            f = builder.fmul(way, builder.shuffle_vector(f, empty, everywhere))
            f = builder.insert_element(f, number(energy, k), last)
            builder.store(builder.fadd(builder.load(total), f), total)
            theirs = builder.fmul(f, signs, flags=("contract",))
            theirs = builder.fadd(theirs, load(place(sums, there)), flags=("contract",))
            builder.store(theirs, place(sums, there)).align = 8
        whole = builder.fadd(builder.load(total), load(place(sums, i)))
        builder.store(whole, place(sums, i)).align = 8
        return context.get_dummy_value()

    return void(points, partner, energy, pull, sums, i, low, high), generate


@kernel(inner=True)
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


@kernel(inner=True)
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


@kernel(inner=True)
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


@kernel(inner=True)
def _evaluate(m, interval, rows, x, energy, slope):
    """Half pair energies and their slopes with respect to x."""
    padded = (m + LANES - 1) // LANES * LANES
    for k in range(m, padded):
        interval[k] = 0
        x[k] = 0.0
    for k in range(0, padded, LANES):
        _evaluate_lanes(rows, interval, x, energy, slope, k)


@kernel(inner=True)
def _scatter(first, last, points, partner, energy, pull, ends, sums):
    """Add half energies and forces of compacted pairs to both atoms."""
    low = 0
    for i in range(first, last):
        _scatter_row(points, partner, energy, pull, sums, i, low, ends[i - first])
        low = ends[i - first]


@kernel(inner=True)
def _chunk(
    c, bounds, points, types, start, neighbours,
    reach, near, squared, even, grid, buckets, first, rows,
    partners, pairs, intervals, all_ends, places, inverses, energies, pulls, all_sums,
):  # fmt: skip
    """Rows of chunk ``c``; returns how many pairs were too near for the table."""
    begin, end = bounds[c], bounds[c + 1]
    partner, pair, interval, ends = partners[c], pairs[c], intervals[c], all_ends[c]
    x, inverse, energy, pull, sums = places[c], inverses[c], energies[c], pulls[c], all_sums[c]
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
        _scatter(here, stop, points, partner, energy, pull, ends, sums)
        here = stop
    return close


@kernel(parallel=True)
def energy_forces(
    positions, types, weights, start, neighbours, owners, bounds,
    reach, near, squared, even, grid, buckets, first, rows,
    points, partner, pair, interval, ends, x, inverse, energy, pull, close, sums,
    energies, forces,
):  # fmt: skip
    """Site energies (n,) and forces (n, 3) of a weighted sum.

    ``bounds`` (parts + 1,) are the rows of each chunk, ``close`` (parts,) counts the pairs nearer
    than ``near`` (ns ns,), in x, whose terms mean nothing. ``points`` (n_all, 4), ``sums`` (parts,
    n_all, 4) and what is between are scratch.
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
    everything = (
        bounds, points, types, start, neighbours,
        reach, near, squared, even, grid, buckets, first, rows,
        partner, pair, interval, ends, x, inverse, energy, pull, sums,
    )  # fmt: skip
    for c in numba.prange(parts):
        sums[c, :, :] = 0.0
        close[c] = apart(_chunk, c, everything)
    keep(_chunk, everything)
    for c in range(1, parts):
        for k in range(n_all):
            for a in range(4):
                sums[0, k, a] += sums[c, k, a]
    for k in range(n, n_all):
        for a in range(4):
            sums[0, owners[k], a] += sums[0, k, a]
    for i in range(n):
        energies[i] = sums[0, i, 3] if weights[i] != 0.0 else 0.0
        for a in range(3):
            forces[i, a] = sums[0, i, a]
