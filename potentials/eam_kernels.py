"""Kernels of the embedded-atom family; a kernel and every helper it calls live in this file.

Every kernel takes the same table arguments: ``reach`` squared cutoff, ``rdr`` 1/dr, ``pair``
(n_pairs, nr, 4) splines of r phi(r), ``pair_of`` (ns, ns), ``rho`` (n_densities, nr, 4) splines of
the density, ``rho_of`` (ns, ns) with the centre's species first, ``rdrho`` 1/drho, ``embed``
(ns, nrho, 4). Sums run in the order of the bond list, so the number of threads changes nothing.
"""

from __future__ import annotations

import numba
import numpy as np

from qc.numerics.jit import kernel


@kernel()
def _value(c, k, t):
    return c[k, 0] + t * (c[k, 1] + t * (c[k, 2] + t * c[k, 3]))


@kernel()
def _slope(c, k, t):
    return c[k, 1] + t * (2.0 * c[k, 2] + t * 3.0 * c[k, 3])


@kernel()
def _curvature(c, k, t):
    return 2.0 * c[k, 2] + t * 6.0 * c[k, 3]


@kernel()
def _knot(p, n):
    """Interval of a non-negative argument in units of the spacing; the last row is open."""
    if p >= n - 1:
        return n - 1
    return max(0, int(p))


@kernel(parallel=True)
def bond_terms(
    start, vectors, site_types, bond_types,
    reach, rdr, pair, pair_of, rho, rho_of, rdrho, embed,
    with_gradients, energies, gradients,
):  # fmt: skip
    """Site energies (n,) and, if asked for, their bond gradients (nb, 3)."""
    nr = pair.shape[1]
    for i in numba.prange(len(start) - 1):
        s = site_types[i]
        density = 0.0
        twice_pair = 0.0
        for b in range(start[i], start[i + 1]):
            r2 = vectors[b, 0] ** 2 + vectors[b, 1] ** 2 + vectors[b, 2] ** 2
            if r2 < reach:
                r = np.sqrt(r2)
                p = r * rdr
                k = _knot(p, nr)
                density += _value(rho[rho_of[s, bond_types[b]]], k, p - k)
                twice_pair += _value(pair[pair_of[s, bond_types[b]]], k, p - k) / r
        p = density * rdrho
        k = _knot(p, embed.shape[1])
        energies[i] = _value(embed[s], k, p - k) + 0.5 * twice_pair
        if with_gradients:
            d_embed = _slope(embed[s], k, p - k) * rdrho
            for b in range(start[i], start[i + 1]):
                r2 = vectors[b, 0] ** 2 + vectors[b, 1] ** 2 + vectors[b, 2] ** 2
                pull = 0.0
                if r2 < reach:
                    r = np.sqrt(r2)
                    p = r * rdr
                    k = _knot(p, nr)
                    z = pair[pair_of[s, bond_types[b]]]
                    d_pair = (_slope(z, k, p - k) * rdr - _value(z, k, p - k) / r) / r
                    d_rho = _slope(rho[rho_of[s, bond_types[b]]], k, p - k) * rdr
                    pull = (0.5 * d_pair + d_embed * d_rho) / r
                for c in range(3):
                    gradients[b, c] = pull * vectors[b, c]


@kernel(parallel=True)
def hessian_product(
    start, vectors, dvectors, site_types, bond_types,
    reach, rdr, pair, pair_of, rho, rho_of, rdrho, embed,
    products,
):  # fmt: skip
    """Change (nb, 3) of the bond gradients for changes ``dvectors`` (nb, 3) of the bonds."""
    nr = pair.shape[1]
    for i in numba.prange(len(start) - 1):
        s = site_types[i]
        density = 0.0
        d_density = 0.0
        for b in range(start[i], start[i + 1]):
            r2 = vectors[b, 0] ** 2 + vectors[b, 1] ** 2 + vectors[b, 2] ** 2
            if r2 < reach:
                r = np.sqrt(r2)
                p = r * rdr
                k = _knot(p, nr)
                table = rho[rho_of[s, bond_types[b]]]
                density += _value(table, k, p - k)
                stretch = (
                    vectors[b, 0] * dvectors[b, 0]
                    + vectors[b, 1] * dvectors[b, 1]
                    + vectors[b, 2] * dvectors[b, 2]
                ) / r
                d_density += _slope(table, k, p - k) * rdr * stretch
        p = density * rdrho
        k = _knot(p, embed.shape[1])
        d_embed = _slope(embed[s], k, p - k) * rdrho
        dd_embed = _curvature(embed[s], k, p - k) * rdrho * rdrho * d_density
        for b in range(start[i], start[i + 1]):
            r2 = vectors[b, 0] ** 2 + vectors[b, 1] ** 2 + vectors[b, 2] ** 2
            along = 0.0
            across = 0.0
            if r2 < reach:
                r = np.sqrt(r2)
                p = r * rdr
                k = _knot(p, nr)
                t = p - k
                table = rho[rho_of[s, bond_types[b]]]
                d_rho = _slope(table, k, t) * rdr
                dd_rho = _curvature(table, k, t) * rdr * rdr
                table = pair[pair_of[s, bond_types[b]]]
                d_pair = (_slope(table, k, t) * rdr - _value(table, k, t) / r) / r
                dd_pair = (_curvature(table, k, t) * rdr * rdr - 2.0 * d_pair) / r
                across = (0.5 * d_pair + d_embed * d_rho) / r
                stretch = (
                    vectors[b, 0] * dvectors[b, 0]
                    + vectors[b, 1] * dvectors[b, 1]
                    + vectors[b, 2] * dvectors[b, 2]
                ) / r
                along = (0.5 * dd_pair + d_embed * dd_rho - across) * stretch + dd_embed * d_rho
                along /= r
            for c in range(3):
                products[b, c] = along * vectors[b, c] + across * dvectors[b, c]


@kernel(parallel=True)
def weighted(
    positions, types, weights, start, neighbours, offsets,
    reach, rdr, pair, pair_of, rho, rho_of, rdrho, embed,
    pressure, energies, forces,
):  # fmt: skip
    """Energies (n,) of the weighted sites and forces (n, 3) of the weighted sum.

    ``pressure`` (n,) is scratch: the weighted slope of each site's embedding function.
    """
    n = len(types)
    nr = pair.shape[1]
    for i in numba.prange(n):
        energies[i] = 0.0
        pressure[i] = 0.0
        if weights[i] != 0.0:
            s = types[i]
            density = 0.0
            twice_pair = 0.0
            for b in range(start[i], start[i + 1]):
                j = neighbours[b]
                x = positions[j, 0] - positions[i, 0] + offsets[b, 0]
                y = positions[j, 1] - positions[i, 1] + offsets[b, 1]
                z = positions[j, 2] - positions[i, 2] + offsets[b, 2]
                r2 = x * x + y * y + z * z
                if r2 < reach:
                    r = np.sqrt(r2)
                    p = r * rdr
                    k = _knot(p, nr)
                    density += _value(rho[rho_of[s, types[j]]], k, p - k)
                    twice_pair += _value(pair[pair_of[s, types[j]]], k, p - k) / r
            p = density * rdrho
            k = _knot(p, embed.shape[1])
            energies[i] = _value(embed[s], k, p - k) + 0.5 * twice_pair
            pressure[i] = weights[i] * _slope(embed[s], k, p - k) * rdrho
    for i in numba.prange(n):
        s = types[i]
        fx = 0.0
        fy = 0.0
        fz = 0.0
        for b in range(start[i], start[i + 1]):
            j = neighbours[b]
            shared = 0.5 * (weights[i] + weights[j])
            if weights[i] != 0.0 or weights[j] != 0.0:
                x = positions[j, 0] - positions[i, 0] + offsets[b, 0]
                y = positions[j, 1] - positions[i, 1] + offsets[b, 1]
                z = positions[j, 2] - positions[i, 2] + offsets[b, 2]
                r2 = x * x + y * y + z * z
                if r2 < reach:
                    r = np.sqrt(r2)
                    p = r * rdr
                    k = _knot(p, nr)
                    t = p - k
                    table = pair[pair_of[s, types[j]]]
                    pull = shared * (_slope(table, k, t) * rdr - _value(table, k, t) / r) / r
                    here = _slope(rho[rho_of[s, types[j]]], k, t)
                    there = here
                    if s != types[j]:
                        there = _slope(rho[rho_of[types[j], s]], k, t)
                    pull += (pressure[i] * here + pressure[j] * there) * rdr
                    pull /= r
                    fx += pull * x
                    fy += pull * y
                    fz += pull * z
        forces[i, 0] = fx
        forces[i, 1] = fy
        forces[i, 2] = fz


@kernel(parallel=True)
def deformed_star(
    gradients, quadratic, site_type, star_types,
    reach, rdr, pair, pair_of, rho, rho_of, rdrho, embed,
    with_tangent, energies, second, fourth, rank_one, embed_curvature,
):  # fmt: skip
    """Energies of a star under many F, and the moments its stress and tangent are made of.

    ``quadratic`` (k, 6) holds the monomials of `star.QUADRATIC` of the reference star, so that a
    deformed length costs six products. The moments are those of `star.stress_and_tangent`.
    """
    nr = pair.shape[1]
    s = site_type
    for e in numba.prange(len(gradients)):
        f = gradients[e]
        c0 = f[0, 0] * f[0, 0] + f[1, 0] * f[1, 0] + f[2, 0] * f[2, 0]
        c1 = f[0, 1] * f[0, 1] + f[1, 1] * f[1, 1] + f[2, 1] * f[2, 1]
        c2 = f[0, 2] * f[0, 2] + f[1, 2] * f[1, 2] + f[2, 2] * f[2, 2]
        c3 = 2.0 * (f[0, 1] * f[0, 2] + f[1, 1] * f[1, 2] + f[2, 1] * f[2, 2])
        c4 = 2.0 * (f[0, 0] * f[0, 2] + f[1, 0] * f[1, 2] + f[2, 0] * f[2, 2])
        c5 = 2.0 * (f[0, 0] * f[0, 1] + f[1, 0] * f[1, 1] + f[2, 0] * f[2, 1])
        density = 0.0
        twice_pair = 0.0
        for b in range(len(quadratic)):
            q = quadratic[b]
            r2 = c0 * q[0] + c1 * q[1] + c2 * q[2] + c3 * q[3] + c4 * q[4] + c5 * q[5]
            if r2 < reach:
                r = np.sqrt(r2)
                p = r * rdr
                k = _knot(p, nr)
                density += _value(rho[rho_of[s, star_types[b]]], k, p - k)
                twice_pair += _value(pair[pair_of[s, star_types[b]]], k, p - k) / r
        p = density * rdrho
        k = _knot(p, embed.shape[1])
        energies[e] = _value(embed[s], k, p - k) + 0.5 * twice_pair
        d_embed = _slope(embed[s], k, p - k) * rdrho
        embed_curvature[e] = _curvature(embed[s], k, p - k) * rdrho * rdrho
        for m in range(6):
            second[e, m] = 0.0
            rank_one[e, m] = 0.0
        for m in range(15):
            fourth[e, m] = 0.0
        for b in range(len(quadratic)):
            q = quadratic[b]
            r2 = c0 * q[0] + c1 * q[1] + c2 * q[2] + c3 * q[3] + c4 * q[4] + c5 * q[5]
            if r2 < reach:
                r = np.sqrt(r2)
                p = r * rdr
                k = _knot(p, nr)
                t = p - k
                table = rho[rho_of[s, star_types[b]]]
                z = pair[pair_of[s, star_types[b]]]
                d_rho = _slope(table, k, t) * rdr
                d_pair = (_slope(z, k, t) * rdr - _value(z, k, t) / r) / r
                across = (0.5 * d_pair + d_embed * d_rho) / r
                for m in range(6):
                    second[e, m] += across * q[m]
                if with_tangent:
                    for m in range(6):
                        rank_one[e, m] += d_rho / r * q[m]
                    dd_pair = (_curvature(z, k, t) * rdr * rdr - 2.0 * d_pair) / r
                    dd_rho = _curvature(table, k, t) * rdr * rdr
                    along = (0.5 * dd_pair + d_embed * dd_rho - across) / r2
                    m = 0
                    for first in range(3):
                        for other in range(first, 6):
                            fourth[e, m] += along * q[first] * q[other]
                            m += 1
