"""Kernel of embedded-atom cells with a basis under many states, several elements at a time.

Elements are taken in batches whose arrays have one element per column, as in the kernel of deformed
stars, and the columns never meet. Bonds come in groups of four by length; a group beyond the cutoff
in every column of a batch is skipped, which leaves out zeros only: neither the number of threads
nor the place of an element in the batch changes a bit of the result. The formulas stand in
`eam_cell`.
"""

from __future__ import annotations

import numba
import numpy as np

from qc.numerics.jit import apart, keep, kernel

#: Elements in a batch: its scratch should stay in the first two levels of cache.
LANES = 64

# A helper is compiled anew for every plain number it is given, but not for numbers of a type. That
# pays where it unrolls a loop, as in `_add`.
_0, _1, _10 = np.int64(0), np.int64(1), np.int64(10)

# Rows of scratch: (F, p_t - p_s) with F row by row first, place in the tables, values, slopes and
# halved second derivatives there, sums over the bonds of a class, weights of its two densities,
# moments, products of Y and moments, sums of F-F blocks.
_F, _APART = 0, 9
_FRAC, _INVERSE, _VALUE, _SLOPE, _BEND = 12, 13, 14, 17, 20
_PAIR_SUM, _DENSITY_SUM, _WEIGHT = (np.int64(row) for row in (23, 24, 26))
_PULL, _DRAG, _QUARTIC = (np.int64(row) for row in (28, 38, 48))
_TURNED, _HALF, _BLOCK, _STRESS, _STIFF = (np.int64(row) for row in (83, 95, 155, 161, 170))
# Then, for every sublattice, density, pair energy, two derivatives of the embedding function, three
# components of p and of dE/dp, and the gradient of the density; then the Hessian.
_SITES = np.int64(206)

#: Kinds of terms of a bond: pulls and bends of the pair energy and of the densities.
_PAIR_PULL, _DENSITY_PULL, _PAIR_BEND, _DENSITY_BEND, _OTHER_PULL, _OTHER_BEND = 0, 1, 2, 3, 4, 5

#: Six index pairs of a symmetric 3x3 block.
_UPPER = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def rows(n_sublattices: int) -> int:
    """Rows of scratch that the kernel needs for so many sublattices."""
    width = 9 + 3 * (n_sublattices - 1)
    return int(_SITES) + n_sublattices * (10 + width) + width * width


@kernel(inner=True)
def _set_up(gradients, shifts, first, n, sites, work):
    """Transpose F and p into columns and clear the sums.

    The last element fills what a batch has left over: loops of a known length compile to less.
    """
    ns = shifts.shape[1]
    for e in range(LANES):
        source = first + min(e, n - 1)
        for i in range(3):
            for j in range(3):
                work[_F + 3 * i + j, e] = gradients[source, i, j]
        for s in range(ns):
            for i in range(3):
                work[sites + 4 * ns + 3 * s + i, e] = shifts[source, s, i]
    work[sites : sites + 4 * ns] = 0.0
    work[sites + 7 * ns : sites + 10 * ns] = 0.0
    work[_STRESS : _STRESS + 9] = 0.0


@kernel(inner=True)
def _separate(place, s, t, work):
    """Put ``p_t - p_s`` beside F."""
    for i in range(3):
        one, other, out = work[place + 3 * s + i], work[place + 3 * t + i], work[_APART + i]
        for e in range(LANES):
            out[e] = other[e] - one[e]


@kernel(inner=True)
def _find(r, reach, rdr, outside, work, interval):
    """Place of one bond in the tables for every column; return whether any is inside the cutoff.

    Beyond the cutoff it is the row of zeros.
    """
    r0, r1, r2 = r[0], r[1], r[2]
    f0, f1, f2, f3, f4 = work[0], work[1], work[2], work[3], work[4]
    f5, f6, f7, f8 = work[5], work[6], work[7], work[8]
    q0, q1, q2 = work[_APART], work[_APART + 1], work[_APART + 2]
    frac, inverse = work[_FRAC], work[_INVERSE]
    inside = 0
    for e in range(LANES):
        x = f0[e] * r0 + f1[e] * r1 + f2[e] * r2 + q0[e]
        y = f3[e] * r0 + f4[e] * r1 + f5[e] * r2 + q1[e]
        z = f6[e] * r0 + f7[e] * r1 + f8[e] * r2 + q2[e]
        square = x * x + y * y + z * z
        length = np.sqrt(square)
        at = length * rdr if square < reach else outside
        k = np.int32(at)
        interval[e] = k
        frac[e] = at - k
        inverse[e] = 1.0 / length
        inside += np.int32(square < reach)
    return inside > 0


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
def _look_up_density(table, work, interval):
    """Look the density of another row up, alone."""
    frac = work[_FRAC]
    for e in range(LANES):
        t = frac[e]
        c = table[np.uint32(interval[e])]
        rho_2 = c[6] + t * c[7]
        rho_1 = c[5] + t * rho_2
        rho_d = rho_2 + t * c[7]
        work[_VALUE + 2, e] = c[4] + t * rho_1
        work[_SLOPE + 2, e] = rho_1 + t * rho_d
        work[_BEND + 2, e] = rho_d + t * c[7]


@kernel(inner=True)
def _pair_terms(rdr, bend, work, pulls, bends):
    """Add a bond to the pair energy; keep its pull and, if asked for, its bend."""
    inverse, value, slope = work[_INVERSE], work[_VALUE], work[_SLOPE]
    second, total = work[_BEND], work[_PAIR_SUM]
    for e in range(LANES):
        i = inverse[e]
        phi = value[e] * i
        total[e] += phi
        pulls[e] = (slope[e] * rdr - phi) * i * i
    if bend:
        twice = 2.0 * rdr * rdr
        for e in range(LANES):
            i = inverse[e]
            d_pair = (slope[e] * rdr - value[e] * i) * i
            dd_pair = (second[e] * twice - 2.0 * d_pair) * i
            bends[e] = (dd_pair - pulls[e]) * i * i


@kernel(inner=True)
def _density_terms(which, rdr, bend, work, pulls, bends):
    """Add a bond to the density at one end; keep its pull and, if asked for, its bend."""
    inverse, value, slope = work[_INVERSE], work[_VALUE + 1 + which], work[_SLOPE + 1 + which]
    second, total = work[_BEND + 1 + which], work[_DENSITY_SUM + which]
    for e in range(LANES):
        total[e] += value[e]
        pulls[e] = slope[e] * rdr * inverse[e]
    if bend:
        twice = 2.0 * rdr * rdr
        for e in range(LANES):
            bends[e] = (second[e] * twice - pulls[e]) * inverse[e] * inverse[e]


@kernel(inner=True)
def _bonds(
    vectors, first, last, rows, reach, rdr, radial, bend, work, interval, terms, groups
):  # fmt: skip
    """Terms of the bonds of one class and their sums; return how many groups of four count."""
    outside = float(radial.shape[1] - 1)
    work[_PAIR_SUM : _DENSITY_SUM + 2] = 0.0
    found = 0
    for group in range(first, last, 4):
        counts = False
        for b in range(group, min(group + 4, last)):
            if _find(vectors[b], reach, rdr, outside, work, interval):
                counts = True
                _look_up(radial[rows[0]], bend, work, interval)
                _pair_terms(rdr, bend, work, terms[_PAIR_PULL, b], terms[_PAIR_BEND, b])
                pulls, bends = terms[_DENSITY_PULL, b], terms[_DENSITY_BEND, b]
                _density_terms(0, rdr, bend, work, pulls, bends)
                if rows[1] >= 0:
                    _look_up_density(radial[rows[1]], work, interval)
                    pulls, bends = terms[_OTHER_PULL, b], terms[_OTHER_BEND, b]
                    _density_terms(1, rdr, bend, work, pulls, bends)
            else:
                for kind in range(len(terms)):
                    terms[kind, b] = 0.0
        if counts:
            groups[found] = group
            found += 1
    return found


@kernel(inner=True)
def _add(source, target, factor, n, work):
    """Add ``factor`` times some rows to others."""
    for a in range(n):
        one, out = work[source + a], work[target + a]
        for e in range(LANES):
            out[e] += factor * one[e]


@kernel(inner=True)
def _embed(table, rdrho, site, step, work):
    """Embedding energy onto the pair energy, and its derivatives, of one site."""
    last = len(table) - 1
    for e in range(LANES):
        p = work[site, e] * rdrho
        k = last
        if p < last:
            k = max(0, int(p))
        t = p - k
        c = table[k]
        work[site + step, e] += c[0] + t * (c[1] + t * (c[2] + t * c[3]))
        work[site + 2 * step, e] = (c[1] + t * (2.0 * c[2] + t * 3.0 * c[3])) * rdrho
        work[site + 3 * step, e] = (2.0 * c[2] + t * 6.0 * c[3]) * rdrho * rdrho


@kernel(inner=True)
def _weigh(pair, density, other, two, factor, groups, work):
    """Sum pair and density parts of the terms of a class, onto the pair part."""
    one, two_weight = work[_WEIGHT], work[_WEIGHT + 1]
    for g in range(len(groups)):
        for b in range(groups[g], groups[g] + 4):
            out, rho = pair[b], density[b]
            for e in range(LANES):
                out[e] = factor * out[e] + one[e] * rho[e]
            if two:
                rho = other[b]
                for e in range(LANES):
                    out[e] += two_weight[e] * rho[e]


@kernel(inner=True)
def _moments(monomials, begin, end, terms, groups, work, row):
    """Sum terms times monomials over bonds, four at a time to spare loads and stores."""
    for a in range(begin, end):
        out = work[row + a]
        for e in range(LANES):
            out[e] = 0.0
        for g in range(len(groups)):
            b = groups[g]
            q0, q1 = monomials[b, a], monomials[b + 1, a]
            q2, q3 = monomials[b + 2, a], monomials[b + 3, a]
            t0, t1, t2, t3 = terms[b], terms[b + 1], terms[b + 2], terms[b + 3]
            for e in range(LANES):
                out[e] += (q0 * t0[e] + q1 * t1[e]) + (q2 * t2[e] + q3 * t3[e])


@kernel(inner=True)
def _times_y(i, m0, m1, m2, m3, inner, out, work):
    """Row i of Y = (F, p_t - p_s) times four rows of work; within a sublattice times three."""
    f0, f1, f2 = work[_F + 3 * i], work[_F + 3 * i + 1], work[_F + 3 * i + 2]
    a0, a1, a2, a3 = work[m0], work[m1], work[m2], work[m3]
    apart = work[_APART + i]
    if inner:
        for e in range(LANES):
            out[e] = f0[e] * a0[e] + f1[e] * a1[e] + f2[e] * a2[e]
    else:
        for e in range(LANES):
            out[e] = f0[e] * a0[e] + f1[e] * a1[e] + f2[e] * a2[e] + apart[e] * a3[e]


@kernel(inner=True)
def _turn(pair_of, moment, begin, inner, work):
    """``Y`` times a moment v v, columns from ``begin``: columns of F (9), then of the shift (3)."""
    for j in range(begin, 3 if inner else 4):
        m0, m1 = moment + pair_of[0, j], moment + pair_of[1, j]
        m2, m3 = moment + pair_of[2, j], moment + pair_of[3, j]
        for i in range(3):
            out = work[_TURNED + (9 + i if j == 3 else 3 * i + j)]
            _times_y(i, m0, m1, m2, m3, inner, out, work)


@kernel(inner=True)
def _scatter(s, t, inner, whole, factor, on_f, on_p, skip, work):
    """Add the product of `_turn` to derivatives by F and by the shifts of both ends.

    ``on_p`` is the row of the first shift, which is that of sublattice ``skip``.
    """
    if whole:
        _add(_TURNED, on_f, factor, 9, work)
    if not inner:
        _add(_TURNED + 9, on_p + 3 * (t - skip), factor, 3, work)
        if s >= skip:
            _add(_TURNED + 9, on_p + 3 * (s - skip), -factor, 3, work)


@kernel(inner=True)
def _stiffness(
    s, t, inner, whole, pair_of, triple_of, quadruple_of, pairs, triples, hessian, width, work
):  # fmt: skip
    """Add the second derivatives of a class at fixed embedding to the sums F-F and the Hessian."""
    begin, end = (0, 10 if inner else 20) if whole else (16, 20)
    for a in range(begin, end):
        j, k, m = triples[a, 0], triples[a, 1], triples[a, 2]
        q0, q1 = _QUARTIC + quadruple_of[0, j, k, m], _QUARTIC + quadruple_of[1, j, k, m]
        q2, q3 = _QUARTIC + quadruple_of[2, j, k, m], _QUARTIC + quadruple_of[3, j, k, m]
        for i in range(3):
            _times_y(i, q0, q1, q2, q3, inner, work[_HALF + 20 * i + a], work)
    for a in range(0 if whole else 9, 6 if inner else 10):
        j, m = pairs[a, 0], pairs[a, 1]
        straight = _PULL + pair_of[j, m]
        half = _HALF + triple_of[j, m, 0], _HALF + triple_of[j, m, 1], _HALF + triple_of[j, m, 2]
        last = _HALF + triple_of[j, m, 3]
        for c in range(6):
            i, k = _UPPER[c]
            place = _BLOCK + c
            at = 20 * i
            _times_y(k, half[0] + at, half[1] + at, half[2] + at, last + at, inner,
                     work[place], work)  # fmt: skip
            if i == k:
                _add(straight, place, 1.0, 1, work)
            if m < 3:
                _add(place, _STIFF + 6 * a + c, 1.0, 1, work)
                continue
            for swap in range(1 if i == k else 2):
                x, y = (k, i) if swap else (i, k)
                on_t, on_s = 9 + 3 * (t - 1), 9 + 3 * (s - 1)
                if j < 3:
                    row = hessian + (3 * x + j) * width
                    _add(place, row + on_t + y, 1.0, 1, work)
                    if s:
                        _add(place, row + on_s + y, -1.0, 1, work)
                    continue
                if not swap:
                    _add(place, hessian + (on_t + x) * width + on_t + y, 1.0, 1, work)
                    if s:
                        _add(place, hessian + (on_s + x) * width + on_s + y, 1.0, 1, work)
                if s:
                    _add(place, hessian + (on_s + x) * width + on_t + y, -1.0, 1, work)


@kernel(inner=True)
def _finish(pairs, whole, ns, curvature, slopes, hessian, width, work):
    """Spread the sums F-F, and add the curvature of the embedding functions."""
    if whole:
        for a in range(6):
            j, m = pairs[a, 0], pairs[a, 1]
            for c in range(6):
                i, k = _UPPER[c]
                for swap in range(1 if i == k else 2):
                    x, y = (k, i) if swap else (i, k)
                    for flip in range(1 if j == m else 2):
                        one, two = (3 * x + m, 3 * y + j) if flip else (3 * x + j, 3 * y + m)
                        if one <= two:
                            _add(_STIFF + 6 * a + c, hessian + one * width + two, 1.0, 1, work)
    for one in range(0 if whole else 9, width):
        for two in range(one, width):
            out = work[hessian + one * width + two]
            for s in range(ns):
                bend = work[curvature + s]
                a, b = work[slopes + s * width + one], work[slopes + s * width + two]
                for e in range(LANES):
                    out[e] += bend[e] * a[e] * b[e]


@kernel(inner=True)
def _share(
    thread, gradients, shifts, vectors, monomials, first, last, ends, rows,
    pair_weights, density_weights, species, reach, rdr, radial, rdrho, embed,
    second, pair_of, triple_of, quadruple_of, pairs, triples,
    all_work, intervals, all_terms, all_groups, sites, df, dp, hessians,
):  # fmt: skip
    """Do one thread's share of the batches, one after the other."""
    work, interval = all_work[thread], intervals[thread]
    terms, groups = all_terms[thread], all_groups[thread]
    ns, classes = shifts.shape[1], len(first)
    width, whole = 9 + 3 * (ns - 1), second == 2
    density, place, on_p = _SITES, _SITES + 4 * ns, _SITES + 7 * ns
    slopes = _SITES + 10 * ns
    hessian = slopes + ns * width
    lead = len(groups) - classes
    threads, batches = len(all_work), (len(gradients) + LANES - 1) // LANES
    for batch in range(thread * batches // threads, (thread + 1) * batches // threads):
        start = batch * LANES
        n = min(LANES, len(gradients) - start)
        _set_up(gradients, shifts, start, n, _SITES, work)
        for c in range(classes):
            _separate(place, ends[c, 0], ends[c, 1], work)
            at = first[c] // 4
            bend = whole or (second == 1 and ends[c, 0] != ends[c, 1])
            groups[lead + c] = _bonds(
                vectors, first[c], last[c], rows[c], reach, rdr, radial, bend,
                work, interval, terms, groups[at:],
            )  # fmt: skip
            for s in range(ns):
                if pair_weights[c, s] != 0.0:
                    _add(_PAIR_SUM, density + ns + s, pair_weights[c, s], 1, work)
                for which in range(2):
                    weight = density_weights[c, which, s]
                    if weight != 0.0:
                        _add(_DENSITY_SUM + which, density + s, weight, 1, work)
        for s in range(ns):
            _embed(embed[species[s]], rdrho, density + s, ns, work)
        if second:
            work[_STIFF : _STIFF + 36] = 0.0
            work[slopes : hessian + width * width] = 0.0
        for c in range(classes):
            s, t = ends[c, 0], ends[c, 1]
            inner, two = s == t, rows[c, 1] >= 0
            other = _OTHER_PULL if two else _DENSITY_PULL
            _separate(place, s, t, work)
            at = first[c] // 4
            own = groups[at : at + groups[lead + c]]
            factor = 0.0
            work[_WEIGHT : _WEIGHT + 2] = 0.0
            for u in range(ns):
                factor += pair_weights[c, u]
                for which in range(2):
                    weight = density_weights[c, which, u]
                    if weight != 0.0:
                        _add(density + 2 * ns + u, _WEIGHT + which, weight, 1, work)
            # The monomials of R alone are the only ones within a sublattice.
            low = 4 if inner else 0
            _weigh(terms[_PAIR_PULL], terms[_DENSITY_PULL], terms[other], two, factor, own, work)
            _moments(monomials, low, _10, terms[_PAIR_PULL], own, work, _PULL)
            _turn(pair_of, _PULL, _0, inner, work)
            _scatter(s, t, inner, True, 1.0, _STRESS, on_p, _0, work)
            if second == 0 or (inner and not whole):
                continue
            for which in range(2 if two else 1):
                kind = other if which else _DENSITY_PULL
                _moments(monomials, low, 10 if whole else 4, terms[kind], own, work, _DRAG)
                _turn(pair_of, _DRAG, 0 if whole else 3, inner, work)
                for u in range(ns):
                    weight = density_weights[c, which, u]
                    if weight != 0.0:
                        on = slopes + u * width
                        _scatter(s, t, inner, whole, weight, on, on + 9, _1, work)
            other = _OTHER_BEND if two else _DENSITY_BEND
            _weigh(terms[_PAIR_BEND], terms[_DENSITY_BEND], terms[other], two, factor, own, work)
            _moments(
                monomials, 20 if inner else 0, 35 if whole else 10, terms[_PAIR_BEND], own, work,
                _QUARTIC,
            )  # fmt: skip
            _stiffness(
                s, t, inner, whole, pair_of, triple_of, quadruple_of, pairs, triples,
                hessian, width, work,
            )  # fmt: skip
        if second:
            _finish(pairs, whole, ns, density + 3 * ns, slopes, hessian, width, work)
        skip = 0 if whole else 9
        for e in range(n):
            for s in range(ns):
                sites[start + e, s] = work[density + ns + s, e]
                for i in range(3):
                    dp[start + e, s, i] = work[on_p + 3 * s + i, e]
            for a in range(9):
                df[start + e, a] = work[_STRESS + a, e]
            if second:
                out = hessians[start + e]
                for a in range(skip, width):
                    for b in range(a, width):
                        value = work[hessian + a * width + b, e]
                        out[a - skip, b - skip] = value
                        out[b - skip, a - skip] = value


@kernel(parallel=True)
def deformed_cell(
    gradients, shifts, vectors, monomials, first, last, ends, rows,
    pair_weights, density_weights, species, reach, rdr, radial, rdrho, embed,
    second, pair_of, triple_of, quadruple_of, pairs, triples,
    work, interval, terms, groups, sites, df, dp, hessians,
):  # fmt: skip
    """Site energies (n, n_s), dE/dF (n, 9), dE/dp (n, n_s, 3) and a Hessian of many states.

    ``second`` is 0 for no Hessian, 1 for that over the shifts, 2 for all of it. Bonds as
    `eam_cell.Classes`; ``radial`` (pairs of species, nr + 1, 8) has a last interval of zeros.
    ``work`` (threads, rows, LANES), ``interval`` (threads, LANES), ``terms`` (threads, 6 or 4, k,
    LANES), zero at first, and ``groups`` (threads, k / 4 + classes) are scratch.
    """
    everything = (
        gradients, shifts, vectors, monomials, first, last, ends, rows,
        pair_weights, density_weights, species, reach, rdr, radial, rdrho, embed,
        second, pair_of, triple_of, quadruple_of, pairs, triples,
        work, interval, terms, groups, sites, df, dp, hessians,
    )  # fmt: skip
    for thread in numba.prange(len(work)):
        apart(_share, thread, everything)
    keep(_share, everything)
