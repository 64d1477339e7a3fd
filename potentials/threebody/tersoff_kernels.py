"""Kernels of the Tersoff family; a kernel and every helper it calls live in this file.

Every kernel takes the same tables: ``bond`` (ns ns, 12), row ``s ns + t`` for a neighbour of
species t at a site of species s, and ``angle`` (ns ns ns, 11), row ``(s ns + t) ns + u`` for what
a neighbour of species u does to the bond from s to t.

``V = 1/2 sum_j f(r_j) [A exp(-lambda1 r_j) - b(zeta_j) B exp(-lambda2 r_j)]`` and
``zeta_j = sum_k f(r_k) g(c_jk) e(r_j - r_k)``. With the unit vectors u, the gradients of a term
of zeta_j are ``a_j u_j + q (u_k - c u_j) / r_j`` and ``a_k u_k + q (u_j - c u_k) / r_k``, where
``a_j = f g e'``, ``a_k = f' g e - a_j`` and ``q = f g' e``.
"""

from __future__ import annotations

import numba
import numpy as np

from qc.numerics.jit import apart, keep, kernel

#: Columns of ``bond``: square of the largest distance at which a neighbour matters, cutoff
#: function, and the pair parameters.
REACH, INNER, OUTER, MIDDLE, SCALE, A, LAMBDA1, B, LAMBDA2, BETA, N = range(11)

#: Columns of ``angle``: cutoff function as in ``bond``, lambda3^m, m, and of the angular function
#: gamma, gamma c^2/d^2, d^2, cos theta0; whether all but the cutoff is the same with the last two
#: species exchanged.
LAMBDA3, M, GAMMA, RATIO, D2, COSINE, SAME = 0, 5, 6, 7, 8, 9, 10

#: Numbers of scratch for each bond of the generic kernels.
WIDTH = 9

#: Rows of scratch of the fused kernel, before two for each species; and rows for pairs.
ROWS = 8
SQUARE = 4


@kernel(inner=True)
def _cutoff(r, table, row):
    """Return the cutoff function and its two derivatives."""
    if r < table[row, INNER]:
        return 1.0, 0.0, 0.0
    if r >= table[row, OUTER]:
        return 0.0, 0.0, 0.0
    scale = table[row, SCALE]
    x = scale * (r - table[row, MIDDLE])
    sine = np.sin(x)
    return 0.5 - 0.5 * sine, -0.5 * scale * np.cos(x), 0.5 * scale * scale * sine


@kernel(inner=True)
def _bend(cosine, angle, row):
    """Return the angular function and its two derivatives by the cosine."""
    x = angle[row, COSINE] - cosine
    d2 = angle[row, D2]
    ratio = angle[row, RATIO]
    inverse = 1.0 / (d2 + x * x)
    value = angle[row, GAMMA] + ratio * x * x * inverse
    slope = -2.0 * ratio * d2 * x * inverse * inverse
    second = 2.0 * ratio * d2 * (d2 - 3.0 * x * x) * inverse * inverse * inverse
    return value, slope, second


@kernel(inner=True)
def _spread(s, angle, row):
    """Return ``exp(lambda3^m s^m)`` and its two derivatives by s."""
    factor = angle[row, LAMBDA3]
    if factor == 0.0:
        return 1.0, 0.0, 0.0
    if angle[row, M] == 1.0:
        e = np.exp(factor * s)
        return e, factor * e, factor * factor * e
    e = np.exp(factor * s * s * s)
    slope = 3.0 * factor * s * s
    return e, slope * e, (6.0 * factor * s + slope * slope) * e


@kernel(inner=True)
def _order(zeta, beta, n):
    """Return the bond order ``(1 + (beta zeta)^n)^(-1/(2n))`` and its two derivatives."""
    x = beta * zeta
    if not x > 0.0:
        return 1.0, 0.0, 0.0
    if x <= 1.0:
        t = x**n
        b = (1.0 + t) ** (-0.5 / n)
        share = t / (1.0 + t)
    else:
        # The same in powers that cannot overflow.
        t = x**-n
        b = (1.0 + t) ** (-0.5 / n) / np.sqrt(x)
        share = 1.0 / (1.0 + t)
    slope = -0.5 * b * share / zeta
    return b, slope, slope * (n * (1.0 - share) - 1.0 - 0.5 * share) / zeta


@kernel(inner=True)
def _gather(i, start, vectors, bond_types, bond, ns, s, work, near):
    """List the bonds within reach: unit vector and length in ``work``."""
    m = start[i]
    for b in range(start[i], start[i + 1]):
        x = vectors[b, 0]
        y = vectors[b, 1]
        z = vectors[b, 2]
        r2 = x * x + y * y + z * z
        if r2 < bond[s * ns + bond_types[b], REACH]:
            r = np.sqrt(r2)
            near[m] = b
            work[m, 0] = x / r
            work[m, 1] = y / r
            work[m, 2] = z / r
            work[m, 3] = r
            m += 1
    return m


@kernel(inner=True)
def _dot(work, a, b):
    return work[a, 0] * work[b, 0] + work[a, 1] * work[b, 1] + work[a, 2] * work[b, 2]


@kernel(inner=True)
def _zeta(a, first, last, s, bond_types, angle, ns, work, near):
    """Return zeta of one bond."""
    zeta = 0.0
    row_j = (s * ns + bond_types[near[a]]) * ns
    for b in range(first, last):
        row = row_j + bond_types[near[b]]
        f, _, _ = _cutoff(work[b, 3], angle, row)
        if b != a and f > 0.0:
            g, _, _ = _bend(_dot(work, a, b), angle, row)
            e, _, _ = _spread(work[a, 3] - work[b, 3], angle, row)
            zeta += f * g * e
    return zeta


@kernel(inner=True)
def _site(i, start, vectors, site_types, bond_types, bond, angle, ns, work, near, gradients):
    """Return a site's energy; fill its gradients if there is room for them."""
    s = site_types[i]
    wanted = len(gradients) > 0
    first = start[i]
    last = _gather(i, start, vectors, bond_types, bond, ns, s, work, near)
    if wanted:
        for b in range(start[i], start[i + 1]):
            for c in range(3):
                gradients[b, c] = 0.0
    energy = 0.0
    for a in range(first, last):
        j = near[a]
        row = s * ns + bond_types[j]
        r = work[a, 3]
        f, df, _ = _cutoff(r, bond, row)
        if f == 0.0:
            continue
        repel = bond[row, A] * np.exp(-bond[row, LAMBDA1] * r)
        attract = bond[row, B] * np.exp(-bond[row, LAMBDA2] * r)
        zeta = _zeta(a, first, last, s, bond_types, angle, ns, work, near)
        order, d_order, _ = _order(zeta, bond[row, BETA], bond[row, N])
        energy += 0.5 * f * (repel - order * attract)
        if not wanted:
            continue
        pull = 0.5 * (df - bond[row, LAMBDA1] * f) * repel
        pull -= 0.5 * (df - bond[row, LAMBDA2] * f) * attract * order
        for c in range(3):
            gradients[j, c] += pull * work[a, c]
        weight = -0.5 * f * attract * d_order
        for b in range(first, last):
            k = near[b]
            row = (s * ns + bond_types[j]) * ns + bond_types[k]
            fk, dfk, _ = _cutoff(work[b, 3], angle, row)
            if b == a or fk == 0.0:
                continue
            cosine = _dot(work, a, b)
            g, dg, _ = _bend(cosine, angle, row)
            e, de, _ = _spread(r - work[b, 3], angle, row)
            along_j = weight * fk * g * de
            along_k = weight * dfk * g * e - along_j
            turn = weight * fk * dg * e
            for c in range(3):
                u, v = work[a, c], work[b, c]
                gradients[j, c] += along_j * u + turn * (v - cosine * u) / r
                gradients[k, c] += along_k * v + turn * (u - cosine * v) / work[b, 3]
    return energy


@kernel(inner=True)
def _site_product(
    i, start, vectors, dvectors, site_types, bond_types, bond, angle, ns, work, near, products
):
    """Change of one site's bond gradients: the derivative of `_site` along ``dvectors``."""
    s = site_types[i]
    first = start[i]
    last = _gather(i, start, vectors, bond_types, bond, ns, s, work, near)
    for b in range(start[i], start[i + 1]):
        for c in range(3):
            products[b, c] = 0.0
    # Scratch: 4 change of length, 5 to 7 change of the unit vector.
    for a in range(first, last):
        stretch = 0.0
        for c in range(3):
            stretch += work[a, c] * dvectors[near[a], c]
        work[a, 4] = stretch
        for c in range(3):
            work[a, 5 + c] = (dvectors[near[a], c] - work[a, c] * stretch) / work[a, 3]
    for a in range(first, last):
        j = near[a]
        row = s * ns + bond_types[j]
        r, dr = work[a, 3], work[a, 4]
        f, df, ddf = _cutoff(r, bond, row)
        if f == 0.0:
            continue
        # First the change of zeta, on which the weights of all its terms depend.
        zeta = 0.0
        dzeta = 0.0
        for b in range(first, last):
            angles = (s * ns + bond_types[j]) * ns + bond_types[near[b]]
            fk, dfk, _ = _cutoff(work[b, 3], angle, angles)
            if b == a or fk == 0.0:
                continue
            dcosine = 0.0
            for c in range(3):
                dcosine += work[a, 5 + c] * work[b, c] + work[a, c] * work[b, 5 + c]
            g, dg, _ = _bend(_dot(work, a, b), angle, angles)
            e, de, _ = _spread(r - work[b, 3], angle, angles)
            zeta += fk * g * e
            dzeta += dfk * work[b, 4] * g * e + fk * dg * dcosine * e
            dzeta += fk * g * de * (dr - work[b, 4])
        order, d_order, dd_order = _order(zeta, bond[row, BETA], bond[row, N])
        l1, l2 = bond[row, LAMBDA1], bond[row, LAMBDA2]
        repel = bond[row, A] * np.exp(-l1 * r)
        attract = bond[row, B] * np.exp(-l2 * r)
        d_repel = (df - l1 * f) * repel
        d_attract = (df - l2 * f) * attract
        dd_repel = (ddf - 2.0 * l1 * df + l1 * l1 * f) * repel
        dd_attract = (ddf - 2.0 * l2 * df + l2 * l2 * f) * attract
        pull = 0.5 * (d_repel - d_attract * order)
        dpull = 0.5 * ((dd_repel - dd_attract * order) * dr - d_attract * d_order * dzeta)
        for c in range(3):
            products[j, c] += dpull * work[a, c] + pull * work[a, 5 + c]
        weight = -0.5 * f * attract * d_order
        dweight = -0.5 * (d_attract * dr * d_order + f * attract * dd_order * dzeta)
        for b in range(first, last):
            k = near[b]
            angles = (s * ns + bond_types[j]) * ns + bond_types[k]
            rk, drk = work[b, 3], work[b, 4]
            fk, dfk, ddfk = _cutoff(rk, angle, angles)
            if b == a or fk == 0.0:
                continue
            cosine = _dot(work, a, b)
            dcosine = 0.0
            for c in range(3):
                dcosine += work[a, 5 + c] * work[b, c] + work[a, c] * work[b, 5 + c]
            g, dg, ddg = _bend(cosine, angle, angles)
            e, de, dde = _spread(r - rk, angle, angles)
            ds = dr - drk
            along_j = fk * g * de
            change_j = dfk * drk * g * de + fk * (dg * dcosine * de + g * dde * ds)
            along_k = dfk * g * e - along_j
            change_k = ddfk * drk * g * e + dfk * (dg * dcosine * e + g * de * ds) - change_j
            turn = fk * dg * e
            change = dfk * drk * dg * e + fk * (ddg * dcosine * e + dg * de * ds)
            change_j = weight * change_j + dweight * along_j
            change_k = weight * change_k + dweight * along_k
            change = weight * change + dweight * turn
            along_j *= weight
            along_k *= weight
            turn *= weight
            for c in range(3):
                u, v, du, dv = work[a, c], work[b, c], work[a, 5 + c], work[b, 5 + c]
                tj = v - cosine * u
                tk = u - cosine * v
                dtj = dv - dcosine * u - cosine * du
                dtk = du - dcosine * v - cosine * dv
                products[j, c] += change_j * u + along_j * du
                products[j, c] += ((change - turn * dr / r) * tj + turn * dtj) / r
                products[k, c] += change_k * v + along_k * dv
                products[k, c] += ((change - turn * drk / rk) * tk + turn * dtk) / rk


@kernel(parallel=True)
def bond_terms(
    start, vectors, dvectors, site_types, bond_types, bond, angle, ns, work, near,
    energies, gradients, products,
):  # fmt: skip
    """Energies (n,) and bond gradients (nb, 3), or Hessian products (nb, 3).

    What is empty is not wanted; if ``products`` is not empty, it alone is filled. ``work``
    (nb, WIDTH) and ``near`` (nb,) are scratch.
    """
    alone = (
        start, vectors, dvectors, site_types, bond_types, bond, angle, ns, work, near, products
    )  # fmt: skip
    both = (start, vectors, site_types, bond_types, bond, angle, ns, work, near, gradients)
    for i in numba.prange(len(start) - 1):
        if len(products) > 0:
            apart(_site_product, i, alone)
        else:
            energies[i] = apart(_site, i, both)
    keep(_site_product, alone)
    keep(_site, both)


@kernel(inner=True)
def _pairs_of(m, s, angle, ns, work, square, near):
    """Fill, for every ordered pair of neighbours, cosine, g e, g' e and the slope of log e.

    What both orders have in common is computed once; the exponential of one is the inverse of
    the other's.
    """
    for a in range(m):
        for b in range(a + 1, m):
            cosine = work[0, a] * work[0, b] + work[1, a] * work[1, b] + work[2, a] * work[2, b]
            row = (s * ns + near[1, a]) * ns + near[1, b]
            g, dg, _ = _bend(cosine, angle, row)
            distance = work[4, a] - work[4, b]
            e, pull, _ = _spread(distance, angle, row)
            place = a * m + b
            other = b * m + a
            square[0, place] = cosine
            square[0, other] = cosine
            square[1, place] = g * e
            square[2, place] = dg * e
            square[3, place] = pull / e
            if angle[row, SAME] == 0.0:
                row = (s * ns + near[1, b]) * ns + near[1, a]
                g, dg, _ = _bend(cosine, angle, row)
                e, pull, _ = _spread(-distance, angle, row)
                square[1, other] = g * e
                square[2, other] = dg * e
                square[3, other] = pull / e
            elif angle[row, LAMBDA3] == 0.0:
                square[1, other] = g
                square[2, other] = dg
                square[3, other] = 0.0
            else:
                square[1, other] = g / e
                square[2, other] = dg / e
                square[3, other] = pull / e


@kernel(inner=True)
def _rows(
    thread, positions, types, weights, start, neighbours, owners, bond, angle, ns,
    all_work, all_square, all_near, energies, all_forces,
):  # fmt: skip
    """Energies of a thread's share of the rows; their weighted pull is added to its forces.

    Scratch: ``work`` (ROWS + 2 ns, longest row): unit vector, 1/r, r, gradient, and for a bond
    to each species the cutoff function and its slope; ``square`` (SQUARE, longest row squared);
    ``near`` (2, longest row) atom and species of each neighbour.
    """
    work, square, near = all_work[thread], all_square[thread], all_near[thread]
    forces = all_forces[thread]
    n, threads = len(start) - 1, len(all_forces)
    for i in range(n * thread // threads, n * (thread + 1) // threads):
        energies[i] = 0.0
        weight = weights[i]
        if weight == 0.0:
            continue
        s = types[i]
        xi = positions[i, 0]
        yi = positions[i, 1]
        zi = positions[i, 2]
        m = 0
        for b in range(start[i], start[i + 1]):
            j = neighbours[b]
            t = types[j]
            x = positions[j, 0] - xi
            y = positions[j, 1] - yi
            z = positions[j, 2] - zi
            r2 = x * x + y * y + z * z
            # Written in any case and kept by counting on: a branch would be guessed wrong often.
            work[0, m] = x
            work[1, m] = y
            work[2, m] = z
            work[3, m] = r2
            near[0, m] = j
            near[1, m] = t
            m += r2 < bond[s * ns + t, REACH]
        for a in range(m):
            r = np.sqrt(work[3, a])
            inverse = 1.0 / r
            work[0, a] *= inverse
            work[1, a] *= inverse
            work[2, a] *= inverse
            work[3, a] = inverse
            work[4, a] = r
            work[5, a] = 0.0
            work[6, a] = 0.0
            work[7, a] = 0.0
            for t in range(ns):
                f, df, _ = _cutoff(r, angle, (s * ns + t) * ns + near[1, a])
                work[ROWS + 2 * t, a] = f
                work[ROWS + 2 * t + 1, a] = df
        _pairs_of(m, s, angle, ns, work, square, near)
        energy = 0.0
        for a in range(m):
            t = near[1, a]
            row = s * ns + t
            r = work[4, a]
            f, df, _ = _cutoff(r, bond, row)
            if f == 0.0:
                continue
            cut = ROWS + 2 * t
            zeta = 0.0
            for b in range(m):
                if b != a:
                    zeta += work[cut, b] * square[1, a * m + b]
            order, d_order, _ = _order(zeta, bond[row, BETA], bond[row, N])
            repel = bond[row, A] * np.exp(-bond[row, LAMBDA1] * r)
            attract = bond[row, B] * np.exp(-bond[row, LAMBDA2] * r)
            energy += f * (repel - order * attract)
            along = 0.5 * weight * (df - bond[row, LAMBDA1] * f) * repel
            along -= 0.5 * weight * (df - bond[row, LAMBDA2] * f) * attract * order
            change = -0.5 * weight * f * attract * d_order
            ux = work[0, a]
            uy = work[1, a]
            uz = work[2, a]
            tx = 0.0
            ty = 0.0
            tz = 0.0
            for b in range(m):
                fk = change * work[cut, b]
                if b == a or fk == 0.0:
                    continue
                place = a * m + b
                ge = square[1, place]
                cosine = square[0, place]
                turn = fk * square[2, place]
                along_j = fk * ge * square[3, place]
                along_k = change * work[cut + 1, b] * ge - along_j
                vx = work[0, b]
                vy = work[1, b]
                vz = work[2, b]
                along += along_j - turn * cosine * work[3, a]
                tx += turn * vx
                ty += turn * vy
                tz += turn * vz
                turn *= work[3, b]
                along_k -= turn * cosine
                work[5, b] += along_k * vx + turn * ux
                work[6, b] += along_k * vy + turn * uy
                work[7, b] += along_k * vz + turn * uz
            work[5, a] += along * ux + tx * work[3, a]
            work[6, a] += along * uy + ty * work[3, a]
            work[7, a] += along * uz + tz * work[3, a]
        energies[i] = 0.5 * energy
        fx = 0.0
        fy = 0.0
        fz = 0.0
        for a in range(m):
            j = owners[near[0, a]]
            fx += work[5, a]
            fy += work[6, a]
            fz += work[7, a]
            forces[j, 0] -= work[5, a]
            forces[j, 1] -= work[6, a]
            forces[j, 2] -= work[7, a]
        forces[i, 0] += fx
        forces[i, 1] += fy
        forces[i, 2] += fz


@kernel(parallel=True)
def weighted(
    positions, types, weights, start, neighbours, owners, bond, angle, ns,
    work, square, near, energies, forces,
):  # fmt: skip
    """Energies (n,) of the weighted sites and, for each thread, forces (n, 3) it has summed up.

    The first axis of scratch and ``forces`` counts the threads; each has a static share of rows.
    """
    everything = (
        positions, types, weights, start, neighbours, owners, bond, angle, ns,
        work, square, near, energies, forces,
    )  # fmt: skip
    for thread in numba.prange(len(forces)):
        apart(_rows, thread, everything)
    keep(_rows, everything)
