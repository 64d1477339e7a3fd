"""Kernel of embedded-atom stars under many deformation gradients; helpers are copies.

A kernel and every helper it calls live in one file. The table arguments are those of
`eam_kernels`: ``reach``, ``rdr``, ``radial``, ``rdrho``, ``embed``.
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
def deformed_star(
    gradients, quadratic, site_type, star_types,
    reach, rdr, radial, rdrho, embed,
    with_tangent, energies, second, fourth, rank_one, embed_curvature,
):  # fmt: skip
    """Energies of a star under many F, and the moments its stress and tangent are made of.

    ``quadratic`` (k, 6) holds the monomials of `star.QUADRATIC` of the reference star, so that a
    deformed length costs six products. The moments are those of `star.stress_and_tangent`.
    """
    s = site_type
    ns = len(embed)
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
            m = quadratic[b]
            r2 = c0 * m[0] + c1 * m[1] + c2 * m[2] + c3 * m[3] + c4 * m[4] + c5 * m[5]
            if r2 < reach:
                r = np.sqrt(r2)
                k = int(r * rdr)
                t = r * rdr - k
                q = s * ns + star_types[b]
                density += _value(radial, q, k, RHO, t)
                twice_pair += _value(radial, q, k, PAIR, t) / r
        k = _interval(density * rdrho, embed.shape[1])
        t = density * rdrho - k
        energies[e] = _value(embed, s, k, 0, t) + 0.5 * twice_pair
        d_embed = _slope(embed, s, k, 0, t) * rdrho
        embed_curvature[e] = _curvature(embed, s, k, 0, t) * rdrho * rdrho
        for a in range(6):
            second[e, a] = 0.0
            rank_one[e, a] = 0.0
        for a in range(15):
            fourth[e, a] = 0.0
        for b in range(len(quadratic)):
            m = quadratic[b]
            r2 = c0 * m[0] + c1 * m[1] + c2 * m[2] + c3 * m[3] + c4 * m[4] + c5 * m[5]
            if r2 < reach:
                r = np.sqrt(r2)
                k = int(r * rdr)
                t = r * rdr - k
                q = s * ns + star_types[b]
                d_rho = _slope(radial, q, k, RHO, t) * rdr
                phi = _value(radial, q, k, PAIR, t) / r
                d_pair = (_slope(radial, q, k, PAIR, t) * rdr - phi) / r
                across = (0.5 * d_pair + d_embed * d_rho) / r
                for a in range(6):
                    second[e, a] += across * m[a]
                if with_tangent:
                    dd_pair = (_curvature(radial, q, k, PAIR, t) * rdr * rdr - 2.0 * d_pair) / r
                    dd_rho = _curvature(radial, q, k, RHO, t) * rdr * rdr
                    along = (0.5 * dd_pair + d_embed * dd_rho - across) / r2
                    place = 0
                    for a in range(3):
                        rank_one[e, a] += d_rho / r * m[a]
                        rank_one[e, a + 3] += d_rho / r * m[a + 3]
                        for other in range(a, 6):
                            fourth[e, place] += along * m[a] * m[other]
                            place += 1
