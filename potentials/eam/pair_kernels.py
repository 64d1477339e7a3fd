"""The fused embedded-atom kernel over half lists; it and every helper it calls live in this file.

Rows are cut into parts, a thread each, with accumulators of their own that are summed in order:
results depend on the number of parts and not on scheduling. A row is treated in sweeps over
short contiguous work arrays: positions are gathered and the pairs inside the cutoff moved together
without branches, square roots and intervals taken, the splines evaluated eight pairs at a time,
densities scattered. The pairs and slopes that the second pass needs are stored one after the
other, as that pass reads them.

Indices are unsigned and arrays flat: numba checks signed indices for negative values, and
multiplies by strides that it does not know.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.core import cgutils
from numba.extending import intrinsic

from qc.numerics.jit import apart, keep, kernel

#: The builder that numba itself uses; naming its package would make it a requirement.
ir = cgutils.ir

#: Pairs whose splines are evaluated at once; a line of the table has as many coefficients.
LANES = 8

#: Rows of the work array of a part: squared distance, then fraction of the interval; 1/r; values
#: of r phi and density, slopes of both; the same four as the other atom sees them, for alloys.
WORK_ROWS = 10

_0, _1, _2, _3, _4, _5, _6, _7, _8, _9 = (np.uint64(k) for k in range(10))


@intrinsic
def _splines(
    typingctx: Any, table: Any, lines: Any, which: Any, k: Any, work: Any, width: Any, out: Any
) -> Any:
    """Evaluate the two splines of eight lines of the table.

    The lines are those of ``lines[k:k + 8]`` in row ``which``; fractions are read from
    ``work[k:]``, values and slopes written to four rows of ``work`` from row ``out`` on; all rows
    are ``width`` long. Lines become columns in registers; numba has no word for that. Products
    and sums may be contracted into one instruction, which changes their last bit only.
    """
    vector = ir.VectorType(ir.DoubleType(), LANES)
    word = ir.IntType(64)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def data(n: int) -> Any:
            return context.make_array(signature.args[n])(context, builder, arguments[n]).data

        def at(base: Any, place: Any) -> Any:
            return builder.bitcast(builder.gep(base, [place]), vector.as_pointer())

        def fetch(base: Any, place: Any, align: int) -> Any:
            loaded = builder.load(at(base, place))
            loaded.align = align
            return loaded

        def shuffle(one: Any, two: Any, *order: int) -> Any:
            mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), order)
            return builder.shuffle_vector(one, two, mask)

        def times(one: Any, two: Any) -> Any:
            return builder.fmul(one, two, flags=("contract",))

        def plus(one: Any, two: Any) -> Any:
            return builder.fadd(one, two, flags=("contract",))

        def number(value: float) -> Any:
            return ir.Constant(vector, [ir.Constant(ir.DoubleType(), value)] * LANES)

        table, lines, work = data(0), data(1), data(4)
        which, k, width, out = arguments[2], arguments[3], arguments[5], arguments[6]
        own = builder.add(builder.mul(which, width), k)
        c = []
        for lane in range(LANES):
            line = builder.load(builder.gep(lines, [builder.add(own, ir.Constant(word, lane))]))
            first = builder.mul(builder.zext(line, word), ir.Constant(word, LANES))
            c.append(fetch(table, first, 8))
        # Transpose in three steps: blocks of one, two and four columns change places.
        for near, order in (
            (1, ((0, 8, 2, 10, 4, 12, 6, 14), (1, 9, 3, 11, 5, 13, 7, 15))),
            (2, ((0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15))),
            (4, ((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15))),
        ):
            for a in range(LANES):
                if not a & near:
                    one, two = c[a], c[a + near]
                    c[a], c[a + near] = (shuffle(one, two, *which) for which in order)
        t = fetch(work, k, 8)
        twice, thrice = number(2.0), times(t, number(3.0))
        results = []
        for f in (0, 1):
            cubic = plus(c[f + 4], times(t, c[f + 6]))
            results.append(plus(c[f], times(t, plus(c[f + 2], times(t, cubic)))))
        for f in (0, 1):
            square = plus(times(twice, c[f + 4]), times(thrice, c[f + 6]))
            results.append(plus(c[f + 2], times(t, square)))
        for row, result in enumerate(results):
            place = builder.mul(builder.add(out, ir.Constant(word, row)), width)
            builder.store(result, at(work, builder.add(place, k))).align = 8
        return context.get_dummy_value()

    return numba.types.void(table, lines, which, k, work, width, out), codegen


@kernel(inner=True)
def _densities(
    c, bounds, positions, types, start, neighbours, reach, rdr, radial, intervals, ns,
    inside, partner, slopes, room, all_lines, all_work, all_sums,
):  # fmt: skip
    """Add density and pair energy of the pairs of the rows of part ``c`` to its ``sums``.

    ``inside`` counts the pairs inside the cutoff, whose ``partner`` and ``slopes`` (2 or 3 rows
    of length ``room``) are kept from the part's place on.
    """
    first, last = np.uint64(bounds[c]), np.uint64(bounds[c + 1])
    place = np.uint64(start[bounds[c]] + LANES * c)
    lines, work, sums = all_lines[c], all_work[c], all_sums[c]
    width = np.uint64(all_lines.shape[1] // 2)
    there = _7 * width if ns > _1 else _3 * width
    for i in range(first, last):
        x_i = positions[_3 * i]
        y_i = positions[_3 * i + _1]
        z_i = positions[_3 * i + _2]
        m = _0
        for b in range(np.uint64(start[i]), np.uint64(start[i + _1])):
            j = np.uint64(neighbours[b])
            x = positions[_3 * j] - x_i
            y = positions[_3 * j + _1] - y_i
            z = positions[_3 * j + _2] - z_i
            r2 = x * x + y * y + z * z
            partner[place + m] = j
            work[m] = r2
            m += np.uint64(r2 < reach)
        inside[i] = m
        padded = (m + _7) // _8 * _8
        for k in range(m, padded):
            work[k] = reach
        for k in range(padded):
            r = np.sqrt(work[k])
            p = r * rdr
            line = np.int32(p)
            lines[k] = line
            work[k] = p - line
            work[width + k] = 1.0 / r
        if ns > _1:
            s = np.uint64(types[i])
            for k in range(m):
                t = np.uint64(types[np.uint64(partner[place + k])])
                line = np.uint64(lines[k])
                lines[k] = line + (s * ns + t) * intervals
                lines[width + k] = line + (t * ns + s) * intervals
            for k in range(m, padded):
                lines[width + k] = 0
            for k in range(_0, padded, _8):
                _splines(radial, lines, _1, k, work, width, _6)
        for k in range(_0, padded, _8):
            _splines(radial, lines, _0, k, work, width, _2)
        for k in range(padded):
            inverse = work[width + k]
            half_phi = 0.5 * work[_2 * width + k] * inverse
            work[_2 * width + k] = half_phi
            d_phi = 0.5 * rdr * work[_4 * width + k] - half_phi
            slopes[place + k] = d_phi * inverse * inverse
            slopes[room + place + k] = rdr * work[_5 * width + k] * inverse
        if ns > _1:
            for k in range(padded):
                slopes[_2 * room + place + k] = rdr * work[_9 * width + k] * work[width + k]
        for k in range(m):
            j = _2 * np.uint64(partner[place + k])
            sums[j] += work[there + k]
            sums[j + _1] += work[_2 * width + k]
        # Four partial sums each: one would wait for itself.
        for k in range(m, padded):
            work[_2 * width + k] = 0.0
            work[_3 * width + k] = 0.0
        a0 = a1 = a2 = a3 = 0.0
        b0 = b1 = b2 = b3 = 0.0
        for k in range(_0, padded, _4):
            a0 += work[_3 * width + k]
            a1 += work[_3 * width + k + _1]
            a2 += work[_3 * width + k + _2]
            a3 += work[_3 * width + k + _3]
            b0 += work[_2 * width + k]
            b1 += work[_2 * width + k + _1]
            b2 += work[_2 * width + k + _2]
            b3 += work[_2 * width + k + _3]
        sums[_2 * i] += (a0 + a1) + (a2 + a3)
        sums[_2 * i + _1] += (b0 + b1) + (b2 + b3)
        place += m


@kernel(inner=True)
def _pulls(
    c, bounds, start, positions, inside, partner, slopes, room, there, loads, all_forces
):  # fmt: skip
    """Add the forces of the pairs of the rows of part ``c`` to its forces.

    ``there`` is the row of ``slopes`` with the slope of the density that the other atom gets.
    """
    first, last = np.uint64(bounds[c]), np.uint64(bounds[c + 1])
    place = np.uint64(start[bounds[c]] + LANES * c)
    forces = all_forces[c]
    for i in range(first, last):
        x_i = positions[_3 * i]
        y_i = positions[_3 * i + _1]
        z_i = positions[_3 * i + _2]
        p_i = loads[_2 * i]
        w_i = loads[_2 * i + _1]
        fx = 0.0
        fy = 0.0
        fz = 0.0
        end = place + np.uint64(inside[i])
        for k in range(place, end):
            j = np.uint64(partner[k])
            pull = (w_i + loads[_2 * j + _1]) * slopes[k]
            pull += p_i * slopes[room + k] + loads[_2 * j] * slopes[there * room + k]
            x = pull * (positions[_3 * j] - x_i)
            y = pull * (positions[_3 * j + _1] - y_i)
            z = pull * (positions[_3 * j + _2] - z_i)
            fx += x
            fy += y
            fz += z
            forces[_3 * j] -= x
            forces[_3 * j + _1] -= y
            forces[_3 * j + _2] -= z
        forces[_3 * i] += fx
        forces[_3 * i + _1] += fy
        forces[_3 * i + _2] += fz
        place = end


@kernel(inner=True)
def _embed(first, last, types, weights, rdrho, embed, sums, loads, energies):
    """Turn densities into energies and the weighted slopes of the embedding function."""
    intervals = embed.shape[1]
    for i in range(first, last):
        s = types[i]
        p = sums[2 * i] * rdrho
        # The first and the last interval are open.
        k = intervals - 1 if p >= intervals - 1 else max(0, int(p))
        t = p - k
        c0 = embed[s, k, 0]
        c1 = embed[s, k, 1]
        c2 = embed[s, k, 2]
        c3 = embed[s, k, 3]
        w = weights[i]
        energies[i] = 0.0
        if w != 0.0:
            energies[i] = sums[2 * i + 1] + c0 + t * (c1 + t * (c2 + t * c3))
        loads[2 * i] = w * (c1 + t * (2.0 * c2 + t * 3.0 * c3)) * rdrho
        loads[2 * i + 1] = w


@kernel(inner=True)
def _gather_parts(first, last, width, parts):
    """Add up entries ``first`` to ``last`` of every part into the first one, in order."""
    for c in range(1, len(parts)):
        for k in range(width * first, width * last):
            parts[0, k] += parts[c, k]


@kernel(parallel=True)
def energy_forces(
    positions, types, weights, start, neighbours, owners, bounds,
    reach, rdr, radial, intervals, rdrho, embed,
    inside, partner, slopes, lines, work, sums, loads, pulls, energies, forces,
):  # fmt: skip
    """Energies (n,) of the weighted sites and forces (n, 3) of the weighted sum.

    Part ``c`` has rows ``bounds[c]`` to ``bounds[c + 1]`` of the list and rows ``c`` of
    ``lines``, ``work``, ``sums`` and ``pulls``; before its entries in ``slopes`` there is a place
    to spare for each lane of the parts before it.
    """
    n = len(start) - 1
    n_all = len(owners)
    ns = np.uint64(len(embed))
    parts = len(bounds) - 1
    room = np.uint64(slopes.shape[1])
    there = _2 if ns > _1 else _1
    flat = slopes.reshape(slopes.size)
    gathered = (
        bounds, positions, types, start, neighbours, reach, rdr, radial, np.uint64(intervals), ns,
        inside, partner, flat, room, lines, work, sums,
    )  # fmt: skip
    for c in numba.prange(parts):
        sums[c, :] = 0.0
        pulls[c, :] = 0.0
        apart(_densities, c, gathered)
    keep(_densities, gathered)
    for c in numba.prange(parts):
        _gather_parts(n_all * c // parts, n_all * (c + 1) // parts, 2, sums)
    for k in range(n, n_all):
        sums[0, 2 * owners[k]] += sums[0, 2 * k]
        sums[0, 2 * owners[k] + 1] += sums[0, 2 * k + 1]
    for c in numba.prange(parts):
        _embed(bounds[c], bounds[c + 1], types, weights, rdrho, embed, sums[0], loads, energies)
    for k in range(n, n_all):
        loads[2 * k] = loads[2 * owners[k]]
        loads[2 * k + 1] = loads[2 * owners[k] + 1]
    spread = (
        bounds, start, positions, inside, partner, flat, room, there, loads, pulls
    )  # fmt: skip
    for c in numba.prange(parts):
        apart(_pulls, c, spread)
    keep(_pulls, spread)
    for c in numba.prange(parts):
        _gather_parts(n_all * c // parts, n_all * (c + 1) // parts, 3, pulls)
    for k in range(n, n_all):
        for c in range(3):
            pulls[0, 3 * owners[k] + c] += pulls[0, 3 * k + c]
    for k in numba.prange(3 * n):
        forces[k] = pulls[0, k]
