"""Kernels of the Stillinger-Weber family; a kernel and every helper it calls live in this file.

Every kernel takes the same tables: ``pair`` (ns ns, 8), row ``s ns + t`` for a neighbour of
species t at a site of species s, and ``angle`` (ns ns ns, 2), the strength lambda epsilon and
cos theta0 of each triple, both symmetric in the last two species.

Three-body terms, with ``g_j = exp(gamma sigma / (r_j - a sigma))``, the unit vector ``u_j`` and
``c = u_j u_k``: ``V = sum_(j<k) S g_j g_k (c - c0)^2``. The generic kernels sum over pairs of
neighbours. The fused kernel expands the square: ``V = 1/2 sum_jk S g_j g_k (c^2 - 2 c0 c + c0^2)``
less the terms j = k, and ``sum_k g_k c^2 = u_j T u_j`` with ``T = sum_k g_k u_k u_k``, and so on:
its cost is linear in the number of neighbours.
"""

from __future__ import annotations

import numba
import numpy as np

from qc.numerics.jit import apart, keep, kernel

#: Columns of ``pair``: squared distance beyond which every term is below 1e-19, a sigma, sigma,
#: gamma sigma, A epsilon B sigma^p, A epsilon sigma^q, p, q.
REACH, CUT, SIGMA, DECAY, REPEL, ATTRACT, P, Q = range(8)

#: Columns of ``angle``.
STRENGTH, COSINE = 0, 1

#: Numbers of scratch for each bond of the generic kernels, and for each neighbour of the fused.
WIDTH = 12
ROW = 10


@kernel(inner=True)
def _inverse_power(inverse, power):
    """Return ``inverse ** power``; the usual exponents 4 and 0 without a call."""
    if power == 4.0:
        square = inverse * inverse
        return square * square
    if power == 0.0:
        return 1.0
    return inverse**power


@kernel(inner=True)
def _gather(i, start, vectors, bond_types, pair, ns, s, work, near):
    """List the bonds within reach: unit vector, length, and g with two derivatives.

    ``work`` rows are x, y, z, r, g, g', g'' and five numbers left to the caller.
    """
    m = start[i]
    for b in range(start[i], start[i + 1]):
        x = vectors[b, 0]
        y = vectors[b, 1]
        z = vectors[b, 2]
        r2 = x * x + y * y + z * z
        row = s * ns + bond_types[b]
        if r2 < pair[row, REACH]:
            r = np.sqrt(r2)
            decay = pair[row, DECAY]
            inverse = 1.0 / (r - pair[row, CUT])
            g = np.exp(decay * inverse)
            slope = -decay * inverse * inverse
            near[m] = b
            work[m, 0] = x / r
            work[m, 1] = y / r
            work[m, 2] = z / r
            work[m, 3] = r
            work[m, 4] = g
            work[m, 5] = slope * g
            work[m, 6] = (slope * slope - 2.0 * slope * inverse) * g
            m += 1
    return m


@kernel(inner=True)
def _two_body(r, pair, row):
    """Return the pair energy and its two derivatives."""
    inverse = 1.0 / r
    repel = pair[row, REPEL] * _inverse_power(inverse, pair[row, P])
    attract = pair[row, ATTRACT] * _inverse_power(inverse, pair[row, Q])
    p = pair[row, P]
    q = pair[row, Q]
    value = repel - attract
    slope = (q * attract - p * repel) * inverse
    bend = (p * (p + 1.0) * repel - q * (q + 1.0) * attract) * inverse * inverse
    x = 1.0 / (r - pair[row, CUT])
    e = np.exp(pair[row, SIGMA] * x)
    w = -pair[row, SIGMA] * x * x
    dw = -2.0 * w * x
    return value * e, (slope + value * w) * e, (bend + 2.0 * slope * w + value * (w * w + dw)) * e


@kernel(inner=True)
def _site(i, start, vectors, site_types, bond_types, pair, angle, ns, work, near, gradients):
    """Return a site's energy; fill its gradients if there is room for them."""
    s = site_types[i]
    wanted = len(gradients) > 0
    first = start[i]
    last = _gather(i, start, vectors, bond_types, pair, ns, s, work, near)
    energy = 0.0
    if wanted:
        for b in range(start[i], start[i + 1]):
            for c in range(3):
                gradients[b, c] = 0.0
    for a in range(first, last):
        value, slope, _ = _two_body(work[a, 3], pair, s * ns + bond_types[near[a]])
        energy += 0.5 * value
        if wanted:
            for c in range(3):
                gradients[near[a], c] += 0.5 * slope * work[a, c]
    for a in range(first, last):
        j = near[a]
        for b in range(a + 1, last):
            k = near[b]
            row = (s * ns + bond_types[j]) * ns + bond_types[k]
            strength = angle[row, STRENGTH]
            cosine = work[a, 0] * work[b, 0] + work[a, 1] * work[b, 1] + work[a, 2] * work[b, 2]
            x = cosine - angle[row, COSINE]
            energy += strength * work[a, 4] * work[b, 4] * x * x
            if wanted:
                along_j = strength * work[a, 5] * work[b, 4] * x * x
                along_k = strength * work[a, 4] * work[b, 5] * x * x
                turn = 2.0 * strength * work[a, 4] * work[b, 4] * x
                for c in range(3):
                    u, v = work[a, c], work[b, c]
                    gradients[j, c] += along_j * u + turn * (v - cosine * u) / work[a, 3]
                    gradients[k, c] += along_k * v + turn * (u - cosine * v) / work[b, 3]
    return energy


@kernel(inner=True)
def _site_product(
    i, start, vectors, dvectors, site_types, bond_types, pair, angle, ns, work, near, products
):
    """Change of one site's bond gradients: the derivative of `_site` along ``dvectors``."""
    s = site_types[i]
    first = start[i]
    last = _gather(i, start, vectors, bond_types, pair, ns, s, work, near)
    for b in range(start[i], start[i + 1]):
        for c in range(3):
            products[b, c] = 0.0
    # Scratch: 7 change of length, 8 to 10 change of the unit vector.
    for a in range(first, last):
        j = near[a]
        r = work[a, 3]
        stretch = 0.0
        for c in range(3):
            stretch += work[a, c] * dvectors[j, c]
        work[a, 7] = stretch
        _, slope, bend = _two_body(r, pair, s * ns + bond_types[j])
        for c in range(3):
            work[a, 8 + c] = (dvectors[j, c] - work[a, c] * stretch) / r
            products[j, c] += 0.5 * (bend * stretch * work[a, c] + slope * work[a, 8 + c])
    for a in range(first, last):
        j = near[a]
        rj, gj, gj1, gj2, dj = work[a, 3], work[a, 4], work[a, 5], work[a, 6], work[a, 7]
        for b in range(a + 1, last):
            k = near[b]
            rk, gk, gk1, gk2, dk = work[b, 3], work[b, 4], work[b, 5], work[b, 6], work[b, 7]
            row = (s * ns + bond_types[j]) * ns + bond_types[k]
            strength = angle[row, STRENGTH]
            cosine = 0.0
            dcosine = 0.0
            for c in range(3):
                cosine += work[a, c] * work[b, c]
                dcosine += work[a, 8 + c] * work[b, c] + work[a, c] * work[b, 8 + c]
            x = cosine - angle[row, COSINE]
            pj = strength * gj1 * gk * x * x
            pk = strength * gj * gk1 * x * x
            dpj = strength * x * ((gj2 * dj * gk + gj1 * gk1 * dk) * x + 2.0 * gj1 * gk * dcosine)
            dpk = strength * x * ((gk2 * dk * gj + gk1 * gj1 * dj) * x + 2.0 * gk1 * gj * dcosine)
            turn = 2.0 * strength * gj * gk * x
            dturn = 2.0 * strength * ((gj1 * dj * gk + gj * gk1 * dk) * x + gj * gk * dcosine)
            for c in range(3):
                u, v, du, dv = work[a, c], work[b, c], work[a, 8 + c], work[b, 8 + c]
                tj = v - cosine * u
                tk = u - cosine * v
                dtj = dv - dcosine * u - cosine * du
                dtk = du - dcosine * v - cosine * dv
                products[j, c] += dpj * u + pj * du
                products[j, c] += ((dturn - turn * dj / rj) * tj + turn * dtj) / rj
                products[k, c] += dpk * v + pk * dv
                products[k, c] += ((dturn - turn * dk / rk) * tk + turn * dtk) / rk


@kernel(parallel=True)
def bond_terms(
    start, vectors, dvectors, site_types, bond_types, pair, angle, ns, work, near,
    energies, gradients, products,
):  # fmt: skip
    """Energies (n,) and bond gradients (nb, 3), or Hessian products (nb, 3).

    What is empty is not wanted; if ``products`` is not empty, it alone is filled. ``work``
    (nb, WIDTH) and ``near`` (nb,) are scratch.
    """
    alone = (
        start, vectors, dvectors, site_types, bond_types, pair, angle, ns, work, near, products
    )  # fmt: skip
    both = (start, vectors, site_types, bond_types, pair, angle, ns, work, near, gradients)
    for i in numba.prange(len(start) - 1):
        if len(products) > 0:
            apart(_site_product, i, alone)
        else:
            energies[i] = apart(_site, i, both)
    keep(_site_product, alone)
    keep(_site, both)


@kernel(inner=True)
def _rows(
    thread, positions, types, weights, start, neighbours, owners, pair, angle, ns,
    all_work, all_moments, all_near, energies, all_forces,
):  # fmt: skip
    """Energies of a thread's share of the rows; their weighted pull is added to its forces.

    Scratch: ``work`` (ROW, longest row), ``moments`` (2 ns, 10): six components of T, three of
    ``sum g u`` and ``sum g`` of the neighbours of each species, and the same as those of another
    species see them; ``near`` (2, longest row) atom and species of each neighbour.
    """
    work, moments, near = all_work[thread], all_moments[thread], all_near[thread]
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
            m += r2 < pair[s * ns + t, REACH]
        for t in range(ns):
            for c in range(10):
                moments[t, c] = 0.0
        energy = 0.0
        for a in range(m):
            t = near[1, a]
            row = s * ns + t
            r2 = work[3, a]
            inverse = 1.0 / np.sqrt(r2)
            r = r2 * inverse
            x = 1.0 / (r - pair[row, CUT])
            p = pair[row, P]
            q = pair[row, Q]
            repel = pair[row, REPEL] * _inverse_power(inverse, p)
            attract = pair[row, ATTRACT] * _inverse_power(inverse, q)
            e = np.exp(pair[row, SIGMA] * x)
            g = np.exp(pair[row, DECAY] * x)
            value = (repel - attract) * e
            energy += value
            slope = (q * attract - p * repel) * inverse * e - pair[row, SIGMA] * x * x * value
            ux = work[0, a] * inverse
            uy = work[1, a] * inverse
            uz = work[2, a] * inverse
            work[0, a] = ux
            work[1, a] = uy
            work[2, a] = uz
            work[3, a] = inverse
            work[4, a] = g
            work[5, a] = -pair[row, DECAY] * x * x * g
            work[6, a] = 0.5 * slope
            gx = g * ux
            gy = g * uy
            gz = g * uz
            moments[t, 0] += gx * ux
            moments[t, 1] += gy * uy
            moments[t, 2] += gz * uz
            moments[t, 3] += gy * uz
            moments[t, 4] += gx * uz
            moments[t, 5] += gx * uy
            moments[t, 6] += gx
            moments[t, 7] += gy
            moments[t, 8] += gz
            moments[t, 9] += g
        for t in range(ns):
            for c in range(10):
                moments[ns + t, c] = 0.0
            for other in range(ns):
                row = (s * ns + t) * ns + other
                strength = angle[row, STRENGTH]
                cosine = angle[row, COSINE]
                for c in range(6):
                    moments[ns + t, c] += strength * moments[other, c]
                for c in range(6, 9):
                    moments[ns + t, c] += strength * cosine * moments[other, c]
                moments[ns + t, 9] += strength * cosine * cosine * moments[other, 9]
        bend = 0.0
        fx = 0.0
        fy = 0.0
        fz = 0.0
        for a in range(m):
            t = near[1, a]
            row = (s * ns + t) * ns + t
            k = ns + t
            ux = work[0, a]
            uy = work[1, a]
            uz = work[2, a]
            g = work[4, a]
            own = 1.0 - angle[row, COSINE]
            # T u - c0 sum g u, along and across the bond.
            tx = moments[k, 0] * ux + moments[k, 5] * uy + moments[k, 4] * uz
            ty = moments[k, 5] * ux + moments[k, 1] * uy + moments[k, 3] * uz
            tz = moments[k, 4] * ux + moments[k, 3] * uy + moments[k, 2] * uz
            square = tx * ux + ty * uy + tz * uz
            linear = moments[k, 6] * ux + moments[k, 7] * uy + moments[k, 8] * uz
            partner = square - 2.0 * linear + moments[k, 9]
            partner -= angle[row, STRENGTH] * own * own * g
            bend += g * partner
            turn = 2.0 * g * work[3, a]
            along = work[6, a] + work[5, a] * partner - turn * (square - linear)
            px = weight * (along * ux + turn * (tx - moments[k, 6]))
            py = weight * (along * uy + turn * (ty - moments[k, 7]))
            pz = weight * (along * uz + turn * (tz - moments[k, 8]))
            fx += px
            fy += py
            fz += pz
            j = owners[near[0, a]]
            forces[j, 0] -= px
            forces[j, 1] -= py
            forces[j, 2] -= pz
        energies[i] = 0.5 * (energy + bend)
        forces[i, 0] += fx
        forces[i, 1] += fy
        forces[i, 2] += fz


@kernel(parallel=True)
def weighted(
    positions, types, weights, start, neighbours, owners, pair, angle, ns,
    work, moments, near, energies, forces,
):  # fmt: skip
    """Energies (n,) of the weighted sites and, for each thread, forces (n, 3) it has summed up.

    The first axis of scratch and ``forces`` counts the threads; each has a static share of rows.
    """
    everything = (
        positions, types, weights, start, neighbours, owners, pair, angle, ns,
        work, moments, near, energies, forces,
    )  # fmt: skip
    for thread in numba.prange(len(forces)):
        apart(_rows, thread, everything)
    keep(_rows, everything)
