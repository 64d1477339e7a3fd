"""The fused embedded-atom kernel over half lists; it and every helper it calls live in this file.

Work goes over ``parts`` static chunks of rows, each with accumulators of its own that are summed
in order, so results depend on the number of parts and not on scheduling. A row is treated in
three sweeps: positions are gathered and pairs inside the cutoff compacted without branches, the
square roots taken, and the splines evaluated, one cache line each. What the second pass over the
pairs needs is stored at the place of the row.
"""

from __future__ import annotations

import numpy as np

from qc.numerics.jit import kernel


@kernel()
def _densities(
    first, last, positions, types, start, neighbours, reach, rdr, radial, ns,
    inside, partner, slopes, room, sums,
):  # fmt: skip
    """Add density and pair energy of the pairs of rows ``first`` to ``last`` to ``sums``.

    ``inside`` counts the pairs inside the cutoff, whose ``partner`` and ``slopes`` are kept.
    """
    for i in range(first, last):
        xi = positions[i, 0]
        yi = positions[i, 1]
        zi = positions[i, 2]
        s = types[i]
        begin = start[i]
        m = 0
        for b in range(begin, start[i + 1]):
            j = neighbours[b]
            x = positions[j, 0] - xi
            y = positions[j, 1] - yi
            z = positions[j, 2] - zi
            r2 = x * x + y * y + z * z
            partner[begin + m] = j
            room[0, m] = r2
            m += r2 < reach
        inside[i] = m
        density = 0.0
        energy = 0.0
        for k in range(m):
            room[1, k] = np.sqrt(room[0, k])
        for k in range(m):
            r = room[1, k]
            j = partner[begin + k]
            p = r * rdr
            row = int(p)
            t = p - row
            q = s * ns + types[j]
            c = radial[q, row]
            pair = c[0] + t * (c[2] + t * (c[4] + t * c[6]))
            rho = c[1] + t * (c[3] + t * (c[5] + t * c[7]))
            d_pair = (c[2] + t * (2.0 * c[4] + t * 3.0 * c[6])) * rdr
            d_rho = (c[3] + t * (2.0 * c[5] + t * 3.0 * c[7])) * rdr
            inverse = 1.0 / r
            half_phi = 0.5 * pair * inverse
            density += rho
            energy += half_phi
            slopes[begin + k, 0] = (0.5 * d_pair - half_phi) * inverse * inverse
            slopes[begin + k, 1] = d_rho * inverse
            if ns > 1:
                # What this atom gives its neighbour, where that differs from what it gets.
                c = radial[types[j] * ns + s, row]
                rho = c[1] + t * (c[3] + t * (c[5] + t * c[7]))
                d_rho = (c[3] + t * (2.0 * c[5] + t * 3.0 * c[7])) * rdr
                slopes[begin + k, 2] = d_rho * inverse
            sums[j, 0] += rho
            sums[j, 1] += half_phi
        sums[i, 0] += density
        sums[i, 1] += energy


@kernel()
def _pulls(first, last, positions, start, inside, partner, slopes, loads, many, forces):
    """Add the forces of the pairs of rows ``first`` to ``last`` to ``forces``."""
    for i in range(first, last):
        xi = positions[i, 0]
        yi = positions[i, 1]
        zi = positions[i, 2]
        pi = loads[i, 0]
        wi = loads[i, 1]
        fx = 0.0
        fy = 0.0
        fz = 0.0
        begin = start[i]
        for b in range(begin, begin + inside[i]):
            j = partner[b]
            given = slopes[b, 2] if many else slopes[b, 1]
            pull = (wi + loads[j, 1]) * slopes[b, 0] + pi * slopes[b, 1] + loads[j, 0] * given
            x = pull * (positions[j, 0] - xi)
            y = pull * (positions[j, 1] - yi)
            z = pull * (positions[j, 2] - zi)
            fx += x
            fy += y
            fz += z
            forces[j, 0] -= x
            forces[j, 1] -= y
            forces[j, 2] -= z
        forces[i, 0] += fx
        forces[i, 1] += fy
        forces[i, 2] += fz


@kernel()
def _interval(p, n):
    """Interval of a density in units of the spacing; the first and last are open."""
    if p >= n - 1:
        return n - 1
    return max(0, int(p))


@kernel()
def energy_forces(
    positions, types, weights, start, neighbours, owners, bounds,
    reach, rdr, radial, rdrho, embed,
    inside, partner, slopes, rows, sums, loads, pulls, energies, forces,
):  # fmt: skip
    """Energies (n,) of the weighted sites and forces (n, 3) of the weighted sum."""
    n = len(start) - 1
    ns = len(embed)
    parts = len(bounds) - 1
    for c in range(parts):
        sums[c, :, :] = 0.0
        _densities(
            bounds[c], bounds[c + 1], positions, types, start, neighbours, reach, rdr, radial, ns,
            inside, partner, slopes, rows[c], sums[c],
        )  # fmt: skip
    for c in range(1, parts):
        sums[0] += sums[c]
    for k in range(n, len(owners)):
        sums[0, owners[k], 0] += sums[0, k, 0]
        sums[0, owners[k], 1] += sums[0, k, 1]
    for i in range(n):
        s = types[i]
        p = sums[0, i, 0] * rdrho
        k = _interval(p, embed.shape[1])
        t = p - k
        f = embed[s, k]
        w = weights[i]
        energies[i] = 0.0
        if w != 0.0:
            energies[i] = sums[0, i, 1] + f[0] + t * (f[1] + t * (f[2] + t * f[3]))
        loads[i, 0] = w * (f[1] + t * (2.0 * f[2] + t * 3.0 * f[3])) * rdrho
        loads[i, 1] = w
    for k in range(n, len(owners)):
        loads[k, 0] = loads[owners[k], 0]
        loads[k, 1] = loads[owners[k], 1]
    for c in range(parts):
        pulls[c, :, :] = 0.0
        _pulls(
            bounds[c], bounds[c + 1], positions, start, inside, partner, slopes, loads, ns > 1,
            pulls[c],
        )  # fmt: skip
    for c in range(1, parts):
        pulls[0] += pulls[c]
    for k in range(n, len(owners)):
        for c in range(3):
            pulls[0, owners[k], c] += pulls[0, k, c]
    for i in range(n):
        for c in range(3):
            forces[i, c] = pulls[0, i, c]
