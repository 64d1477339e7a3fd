"""Kernel of embedded-atom stars under many deformation gradients, several elements at a time.

Elements are taken in batches whose arrays have one element per column, so that every step but the
look-up in the tables is one operation on a short contiguous row, which compilers turn into vector
instructions without reordering a sum. A batch's columns never meet: neither the number of threads
nor the place of an element in the batch changes a bit of the result.
"""

from __future__ import annotations

import numba
import numpy as np

from qc.numerics.jit import apart, keep, kernel

#: Elements in a batch: its scratch should stay in the first two levels of cache.
LANES = 64

#: Rows of scratch besides four per bond.
ROWS = 160

# Rows of scratch: F, F^T F, lengths, table values, sums over bonds, moments, tangent. Those that
# are handed on are int64, since a helper is compiled anew for every plain number it is given.
_F, _METRIC = 0, 9
_FRAC, _INVERSE, _VALUE, _SLOPE, _BEND = 15, 16, 17, 19, 21
_DENSITY, _PAIR, _D_EMBED, _DD_EMBED = 23, 24, 25, 26
_SECOND, _RANK_ONE, _FOURTH = np.int64(27), np.int64(33), np.int64(39)
_STRESS, _DRAG = np.int64(54), np.int64(63)
_HALF, _TANGENT = 72, 102

# Kinds of terms of a bond: pulls and bends of the pair energy, each followed by the density's.
_PULL, _PULL_DENSITY, _BEND_PAIR = np.int64(0), np.int64(1), np.int64(2)


@kernel(inner=True)
def _set_up(gradients, first, n, work):
    """Transpose F into columns and form the metric, off-diagonal entries doubled.

    The last element fills what a batch has left over: loops of a known length compile to less.
    """
    for e in range(LANES):
        source = first + min(e, n - 1)
        for i in range(3):
            for j in range(3):
                work[_F + 3 * i + j, e] = gradients[source, i, j]
    for a in range(6):
        if a < 3:
            i, j, factor = a, a, 1.0
        elif a == 3:
            i, j, factor = 1, 2, 2.0
        elif a == 4:
            i, j, factor = 0, 2, 2.0
        else:
            i, j, factor = 0, 1, 2.0
        for e in range(LANES):
            work[_METRIC + a, e] = factor * (
                work[_F + i, e] * work[_F + j, e]
                + work[_F + 3 + i, e] * work[_F + 3 + j, e]
                + work[_F + 6 + i, e] * work[_F + 6 + j, e]
            )


@kernel(inner=True)
def _find(monomials, reach, rdr, outside, work, interval):
    """Place of one bond in the tables for every column; beyond the cutoff the row of zeros."""
    m0, m1, m2 = monomials[0], monomials[1], monomials[2]
    m3, m4, m5 = monomials[3], monomials[4], monomials[5]
    c0, c1, c2 = work[_METRIC], work[_METRIC + 1], work[_METRIC + 2]
    c3, c4, c5 = work[_METRIC + 3], work[_METRIC + 4], work[_METRIC + 5]
    frac, inverse = work[_FRAC], work[_INVERSE]
    for e in range(LANES):
        r2 = c0[e] * m0 + c1[e] * m1 + c2[e] * m2 + c3[e] * m3 + c4[e] * m4 + c5[e] * m5
        # Below zero by cancellation in an enormous shear: no root, and no place in the table.
        r2 = max(r2, 0.0)
        r = np.sqrt(r2)
        x = r * rdr if r2 < reach else outside
        k = np.int32(x)
        interval[e] = k
        frac[e] = x - k
        inverse[e] = 1.0 / r


@kernel(inner=True)
def _look_up(table, bend, work, interval):
    """Values, slopes and, if asked for, halved second derivatives of r phi and rho, by Horner."""
    frac = work[_FRAC]
    for e in range(LANES):
        t = frac[e]
        c = table[np.uint32(interval[e])]
        pair_2 = c[2] + t * c[3]
        pair_1 = c[1] + t * pair_2
        rho_2 = c[6] + t * c[7]
        rho_1 = c[5] + t * rho_2
        work[_VALUE, e] = c[0] + t * pair_1
        work[_VALUE + 1, e] = c[4] + t * rho_1
        pair_d = pair_2 + t * c[3]
        rho_d = rho_2 + t * c[7]
        work[_SLOPE, e] = pair_1 + t * pair_d
        work[_SLOPE + 1, e] = rho_1 + t * rho_d
        if bend:
            work[_BEND, e] = pair_d + t * c[3]
            work[_BEND + 1, e] = rho_d + t * c[7]


@kernel(inner=True)
def _bond_terms(weight, rdr, bend, work, terms):
    """Add a bond to density and pair energy; keep its pulls and bends, pair and density apart."""
    inverse = work[_INVERSE]
    value_pair, value_rho = work[_VALUE], work[_VALUE + 1]
    slope_pair, slope_rho = work[_SLOPE], work[_SLOPE + 1]
    bend_pair, bend_rho = work[_BEND], work[_BEND + 1]
    density, pair = work[_DENSITY], work[_PAIR]
    pull_pair, pull_rho = terms[0], terms[1]
    half = 0.5 * weight
    for e in range(LANES):
        i = inverse[e]
        phi = value_pair[e] * i
        d_pair = (slope_pair[e] * rdr - phi) * i
        density[e] += weight * value_rho[e]
        pair[e] += half * phi
        pull_pair[e] = half * d_pair * i
        pull_rho[e] = weight * slope_rho[e] * rdr * i
    if bend:
        out_pair, out_rho = terms[2], terms[3]
        twice = 2.0 * rdr * rdr
        for e in range(LANES):
            i = inverse[e]
            d_pair = (slope_pair[e] * rdr - value_pair[e] * i) * i
            dd_pair = (bend_pair[e] * twice - 2.0 * d_pair) * i
            out_pair[e] = (half * dd_pair - pull_pair[e]) * i * i
            out_rho[e] = (weight * bend_rho[e] * twice - pull_rho[e]) * i * i


@kernel(inner=True)
def _embed(table, rdrho, work):
    """Embedding energy into the place of the density, and its two derivatives."""
    last = len(table) - 1
    for e in range(LANES):
        p = work[_DENSITY, e] * rdrho
        k = last
        if p < last:
            k = max(0, int(p))
        t = p - k
        c = table[k]
        work[_DENSITY, e] = c[0] + t * (c[1] + t * (c[2] + t * c[3]))
        work[_D_EMBED, e] = (c[1] + t * (2.0 * c[2] + t * 3.0 * c[3])) * rdrho
        work[_DD_EMBED, e] = (2.0 * c[2] + t * 6.0 * c[3]) * rdrho * rdrho


@kernel(inner=True)
def _weigh(terms, which, work):
    """Let the embedding function's slope weigh the density parts of all pulls or bends."""
    d_embed = work[_D_EMBED]
    for b in range(len(terms)):
        pair, rho = terms[b, which], terms[b, which + 1]
        for e in range(LANES):
            pair[e] += d_embed[e] * rho[e]


@kernel(inner=True)
def _moments(monomials, terms, which, work, row):
    """Sum terms times monomials over bonds, four at a time to spare loads and stores."""
    for a in range(monomials.shape[1]):
        out = work[row + a]
        for e in range(LANES):
            out[e] = 0.0
        for b in range(0, len(terms), 4):
            q0, q1 = monomials[b, a], monomials[b + 1, a]
            q2, q3 = monomials[b + 2, a], monomials[b + 3, a]
            t0, t1 = terms[b, which], terms[b + 1, which]
            t2, t3 = terms[b + 2, which], terms[b + 3, which]
            for e in range(LANES):
                out[e] += (q0 * t0[e] + q1 * t1[e]) + (q2 * t2[e] + q3 * t3[e])


@kernel(inner=True)
def _rotate(second_of, work, moment, row):
    """F times a symmetric moment, nine rows."""
    for i in range(3):
        f0, f1, f2 = work[_F + 3 * i], work[_F + 3 * i + 1], work[_F + 3 * i + 2]
        for j in range(3):
            m0, m1 = work[moment + second_of[0, j]], work[moment + second_of[1, j]]
            m2 = work[moment + second_of[2, j]]
            out = work[row + 3 * i + j]
            for e in range(LANES):
                out[e] = f0[e] * m0[e] + f1[e] * m1[e] + f2[e] * m2[e]


@kernel(inner=True)
def _tangent(second_of, fourth_of, triple, triple_of, upper, work):
    """Form the 45 entries of d2E/dF2 that its symmetry leaves, in the order of ``upper``."""
    for i in range(3):
        f0, f1, f2 = work[_F + 3 * i], work[_F + 3 * i + 1], work[_F + 3 * i + 2]
        for a in range(10):
            j, p, q = triple[a, 0], triple[a, 1], triple[a, 2]
            q0 = work[_FOURTH + fourth_of[0, j, p, q]]
            q1 = work[_FOURTH + fourth_of[1, j, p, q]]
            q2 = work[_FOURTH + fourth_of[2, j, p, q]]
            out = work[_HALF + 10 * i + a]
            for e in range(LANES):
                out[e] = f0[e] * q0[e] + f1[e] * q1[e] + f2[e] * q2[e]
    curvature = work[_DD_EMBED]
    for u in range(45):
        i, j, k, q = upper[u, 0], upper[u, 1], upper[u, 2], upper[u, 3]
        f0, f1, f2 = work[_F + 3 * k], work[_F + 3 * k + 1], work[_F + 3 * k + 2]
        t0 = work[_HALF + 10 * i + triple_of[j, 0, q]]
        t1 = work[_HALF + 10 * i + triple_of[j, 1, q]]
        t2 = work[_HALF + 10 * i + triple_of[j, 2, q]]
        d0, d1 = work[_DRAG + 3 * i + j], work[_DRAG + 3 * k + q]
        out = work[_TANGENT + u]
        for e in range(LANES):
            out[e] = f0[e] * t0[e] + f1[e] * t1[e] + f2[e] * t2[e] + curvature[e] * d0[e] * d1[e]
        if i == k:
            m = work[_SECOND + second_of[j, q]]
            for e in range(LANES):
                out[e] += m[e]


@kernel(inner=True)
def _share(
    thread, gradients, quadratic, quartic, weights, table_rows, reach, rdr, radial, rdrho, embed,
    with_tangent, second_of, fourth_of, triple, triple_of, upper, place,
    all_work, intervals, all_terms, energies, stresses, tangents,
):  # fmt: skip
    """Do one thread's share of the batches, one after the other."""
    work, interval, terms = all_work[thread], intervals[thread], all_terms[thread]
    outside = float(radial.shape[1] - 1)
    threads, batches = len(all_work), (len(gradients) + LANES - 1) // LANES
    for batch in range(thread * batches // threads, (thread + 1) * batches // threads):
        first = batch * LANES
        n = min(LANES, len(gradients) - first)
        _set_up(gradients, first, n, work)
        for e in range(LANES):
            work[_DENSITY, e] = 0.0
            work[_PAIR, e] = 0.0
        for b in range(len(quadratic)):
            _find(quadratic[b], reach, rdr, outside, work, interval)
            _look_up(radial[table_rows[b]], with_tangent, work, interval)
            _bond_terms(weights[b], rdr, with_tangent, work, terms[b])
        _embed(embed, rdrho, work)
        _weigh(terms, _PULL, work)
        _moments(quadratic, terms, _PULL, work, _SECOND)
        _rotate(second_of, work, _SECOND, _STRESS)
        for e in range(n):
            energies[first + e] = work[_DENSITY, e] + work[_PAIR, e]
            for a in range(9):
                stresses[first + e, a] = work[_STRESS + a, e]
        if with_tangent:
            _weigh(terms, _BEND_PAIR, work)
            _moments(quadratic, terms, _PULL_DENSITY, work, _RANK_ONE)
            _moments(quartic, terms, _BEND_PAIR, work, _FOURTH)
            _rotate(second_of, work, _RANK_ONE, _DRAG)
            _tangent(second_of, fourth_of, triple, triple_of, upper, work)
            for e in range(n):
                for a in range(81):
                    tangents[first + e, a] = work[_TANGENT + place[a], e]


@kernel(parallel=True)
def deformed_star(
    gradients, quadratic, quartic, weights, table_rows, reach, rdr, radial, rdrho, embed,
    with_tangent, second_of, fourth_of, triple, triple_of, upper, place,
    work, interval, terms, energies, stresses, tangents,
):  # fmt: skip
    """Energies (n,), dE/dF (n, 9) and, if asked for, d2E/dF2 (n, 81) of a star under many F.

    ``quadratic`` (k, 6) and ``quartic`` (k, 15) hold the monomials of the reference bonds,
    ``weights`` (k,) how often each counts and ``table_rows`` (k,) its row of ``radial`` (pairs of
    species, nr + 1, 8), whose last interval is zero; k is a multiple of four. ``work`` (threads,
    ROWS, LANES), ``interval`` (threads, LANES) and ``terms`` (threads, k, 4, LANES) are scratch.
    """
    everything = (
        gradients, quadratic, quartic, weights, table_rows, reach, rdr, radial, rdrho, embed,
        with_tangent, second_of, fourth_of, triple, triple_of, upper, place,
        work, interval, terms, energies, stresses, tangents,
    )  # fmt: skip
    for thread in numba.prange(len(work)):
        apart(_share, thread, everything)
    keep(_share, everything)
