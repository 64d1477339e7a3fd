"""Kernels of the embedded-atom family; a kernel and every helper it calls live in this file.

Every kernel takes the same table arguments: ``reach`` squared cutoff, ``rdr`` 1/dr, ``radial``
(ns ns, nr, 8) splines of r phi(r) and of the density at a site of species s from a neighbour of
species t in row ``s ns + t``, one cache line per interval, ``rdrho`` 1/drho, ``embed`` (ns, nrho,
4). Sums run in the order of the bond list, so the number of threads changes nothing.
"""

from __future__ import annotations

import numba
import numpy as np

from qc.numerics.jit import kernel

#: Columns where the coefficients of r phi(r) and of the density begin.
PAIR, RHO = 0, 4


@kernel()
def _value(table, q, k, c, t):
    return table[q, k, c] + t * (
        table[q, k, c + 1] + t * (table[q, k, c + 2] + t * table[q, k, c + 3])
    )


@kernel()
def _slope(table, q, k, c, t):
    return table[q, k, c + 1] + t * (2.0 * table[q, k, c + 2] + t * 3.0 * table[q, k, c + 3])


@kernel()
def _curvature(table, q, k, c, t):
    return 2.0 * table[q, k, c + 2] + t * 6.0 * table[q, k, c + 3]


@kernel()
def _interval(p, n):
    """Interval of a density in units of the spacing; the first and last are open."""
    if p >= n - 1:
        return n - 1
    return max(0, int(p))


@kernel(parallel=True)
def bond_terms(
    start, vectors, site_types, bond_types,
    reach, rdr, radial, rdrho, embed,
    with_gradients, energies, gradients,
):  # fmt: skip
    """Site energies (n,) and, if asked for, their bond gradients (nb, 3)."""
    ns = len(embed)
    for i in numba.prange(len(start) - 1):
        s = site_types[i]
        density = 0.0
        twice_pair = 0.0
        for b in range(start[i], start[i + 1]):
            r2 = vectors[b, 0] ** 2 + vectors[b, 1] ** 2 + vectors[b, 2] ** 2
            if r2 < reach:
                r = np.sqrt(r2)
                k = int(r * rdr)
                t = r * rdr - k
                q = s * ns + bond_types[b]
                density += _value(radial, q, k, RHO, t)
                twice_pair += _value(radial, q, k, PAIR, t) / r
        k = _interval(density * rdrho, embed.shape[1])
        t = density * rdrho - k
        energies[i] = _value(embed, s, k, 0, t) + 0.5 * twice_pair
        if with_gradients:
            d_embed = _slope(embed, s, k, 0, t) * rdrho
            for b in range(start[i], start[i + 1]):
                r2 = vectors[b, 0] ** 2 + vectors[b, 1] ** 2 + vectors[b, 2] ** 2
                pull = 0.0
                if r2 < reach:
                    r = np.sqrt(r2)
                    k = int(r * rdr)
                    t = r * rdr - k
                    q = s * ns + bond_types[b]
                    d_rho = _slope(radial, q, k, RHO, t) * rdr
                    phi = _value(radial, q, k, PAIR, t) / r
                    d_pair = (_slope(radial, q, k, PAIR, t) * rdr - phi) / r
                    pull = (0.5 * d_pair + d_embed * d_rho) / r
                for c in range(3):
                    gradients[b, c] = pull * vectors[b, c]


@kernel(parallel=True)
def hessian_product(
    start, vectors, dvectors, site_types, bond_types,
    reach, rdr, radial, rdrho, embed,
    products,
):  # fmt: skip
    """Change (nb, 3) of the bond gradients for changes ``dvectors`` (nb, 3) of the bonds."""
    ns = len(embed)
    for i in numba.prange(len(start) - 1):
        s = site_types[i]
        density = 0.0
        d_density = 0.0
        for b in range(start[i], start[i + 1]):
            r2 = vectors[b, 0] ** 2 + vectors[b, 1] ** 2 + vectors[b, 2] ** 2
            if r2 < reach:
                r = np.sqrt(r2)
                k = int(r * rdr)
                t = r * rdr - k
                q = s * ns + bond_types[b]
                stretch = (
                    vectors[b, 0] * dvectors[b, 0]
                    + vectors[b, 1] * dvectors[b, 1]
                    + vectors[b, 2] * dvectors[b, 2]
                ) / r
                density += _value(radial, q, k, RHO, t)
                d_density += _slope(radial, q, k, RHO, t) * rdr * stretch
        k = _interval(density * rdrho, embed.shape[1])
        t = density * rdrho - k
        d_embed = _slope(embed, s, k, 0, t) * rdrho
        dd_embed = _curvature(embed, s, k, 0, t) * rdrho * rdrho * d_density
        for b in range(start[i], start[i + 1]):
            r2 = vectors[b, 0] ** 2 + vectors[b, 1] ** 2 + vectors[b, 2] ** 2
            along = 0.0
            across = 0.0
            if r2 < reach:
                r = np.sqrt(r2)
                k = int(r * rdr)
                t = r * rdr - k
                q = s * ns + bond_types[b]
                d_rho = _slope(radial, q, k, RHO, t) * rdr
                dd_rho = _curvature(radial, q, k, RHO, t) * rdr * rdr
                phi = _value(radial, q, k, PAIR, t) / r
                d_pair = (_slope(radial, q, k, PAIR, t) * rdr - phi) / r
                dd_pair = (_curvature(radial, q, k, PAIR, t) * rdr * rdr - 2.0 * d_pair) / r
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
