"""Deformed cells of crystals with a basis under Stillinger-Weber potentials, many states at once.

A bond from sublattice s to t is ``d = F R + p_t - p_s``, of length r and direction u. Angles are
not enumerated. With ``m(u) = (u_x^2, u_y^2, u_z^2, u_y u_z, u_x u_z, u_x u_y, u_x, u_y, u_z, 1)``
and the diagonal matrix ``D = S diag(1, 1, 1, 2, 2, 2, -2 c0, -2 c0, -2 c0, c0^2)``,

    S (u v - c0)^2 = m(u) D m(v)

so with the sums ``M_t = sum g m(u)`` over the neighbours of species t, and the angles of a bond
with itself taken off, the energy of a site is

    V = sum_b [phi(r)/2 - S (1 - c0)^2 g^2/2] + 1/2 sum_tt' M_t D_tt' M_t'

While the fields ``N_t = sum_t' D_tt' M_t'`` are held, V changes as the sum over bonds of
``h(d) = phi/2 - S (1 - c0)^2 g^2/2 + g N_t m(u)`` does: a bond has three numbers and six second
derivatives, whatever the number of its partners. The second derivatives of V are those of h and
``sum_tt' dM_t D_tt' dM_t'``. Phi, g, S and c0 as in `stillinger_weber_kernels`.

Every kernel takes the tables ``pair`` (ns ns, 9), row ``s ns + t`` as there with a ninth column
``S (1 - c0)^2`` of two neighbours of species t, and ``metric`` (ns ns ns, 10), the diagonals of D.
A kernel and every helper it calls live in this file.
"""

from __future__ import annotations

import numba
import numpy as np

from qc.numerics.jit import apart, keep, kernel

#: Columns of ``pair``; the first eight as in `stillinger_weber_kernels`.
REACH, CUT, SIGMA, DECAY, REPEL, ATTRACT, P, Q, OWN = range(9)

#: Numbers of scratch for each bond of a row: direction, 1/r, g, g', g'', and first and second
#: derivative of the radial part of h.
WIDTH = 9

#: Where a symmetric matrix has its entries: xx, yy, zz, yz, xz, xy.
_AT = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])


@kernel(inline=True)
def _power(inverse, power):
    """Return ``inverse ** power``; the usual exponents 4 and 0 without a call."""
    if power == 4.0:
        square = inverse * inverse
        return square * square
    if power == 0.0:
        return 1.0
    return inverse**power


@kernel(inline=True)
def _gather(e, s, f, p, vectors, start, target, types, pair, ns, near, bond, moments):
    """List the bonds of sublattice s within reach and sum their moments.

    Returns how many there are and their radial energy, angles of a bond with itself taken off.
    """
    m = 0
    energy = 0.0
    for b in range(start[s], start[s + 1]):
        t = target[b]
        rx = vectors[b, 0]
        ry = vectors[b, 1]
        rz = vectors[b, 2]
        x = f[e, 0, 0] * rx + f[e, 0, 1] * ry + f[e, 0, 2] * rz + p[e, t, 0] - p[e, s, 0]
        y = f[e, 1, 0] * rx + f[e, 1, 1] * ry + f[e, 1, 2] * rz + p[e, t, 1] - p[e, s, 1]
        z = f[e, 2, 0] * rx + f[e, 2, 1] * ry + f[e, 2, 2] * rz + p[e, t, 2] - p[e, s, 2]
        r2 = x * x + y * y + z * z
        a = types[t]
        row = types[s] * ns + a
        if r2 >= pair[row, REACH]:
            continue
        inverse = 1.0 / np.sqrt(r2)
        ux = x * inverse
        uy = y * inverse
        uz = z * inverse
        px = pair[row, P]
        qx = pair[row, Q]
        repel = pair[row, REPEL] * _power(inverse, px)
        attract = pair[row, ATTRACT] * _power(inverse, qx)
        value = repel - attract
        slope = (qx * attract - px * repel) * inverse
        bend = (px * (px + 1.0) * repel - qx * (qx + 1.0) * attract) * inverse * inverse
        x = 1.0 / (r2 * inverse - pair[row, CUT])
        w = -pair[row, SIGMA] * x * x
        half = 0.5 * np.exp(pair[row, SIGMA] * x)
        v = -pair[row, DECAY] * x * x
        g = np.exp(pair[row, DECAY] * x)
        g1 = v * g
        g2 = (v * v - 2.0 * v * x) * g
        own = pair[row, OWN]
        energy += value * half - 0.5 * own * g * g
        near[m] = b
        bond[m, 0] = ux
        bond[m, 1] = uy
        bond[m, 2] = uz
        bond[m, 3] = inverse
        bond[m, 4] = g
        bond[m, 5] = g1
        bond[m, 6] = g2
        bond[m, 7] = (slope + value * w) * half - own * g * g1
        bond[m, 8] = (bend + 2.0 * slope * w + value * (w * w - 2.0 * w * x)) * half - own * (
            g1 * g1 + g * g2
        )
        moments[a, 0] += g * ux * ux
        moments[a, 1] += g * uy * uy
        moments[a, 2] += g * uz * uz
        moments[a, 3] += g * uy * uz
        moments[a, 4] += g * ux * uz
        moments[a, 5] += g * ux * uy
        moments[a, 6] += g * ux
        moments[a, 7] += g * uy
        moments[a, 8] += g * uz
        moments[a, 9] += g
        m += 1
    return m, energy


@kernel(inline=True)
def _fields(s, metric, ns, moments, fields):
    """Fields N_t of a site of species s from its moments; returns 1/2 sum N_t M_t."""
    energy = 0.0
    for a in range(ns):
        for c in range(10):
            fields[a, c] = 0.0
        for b in range(ns):
            row = (s * ns + a) * ns + b
            for c in range(10):
                fields[a, c] += metric[row, c] * moments[b, c]
        for c in range(10):
            energy += fields[a, c] * moments[a, c]
    return 0.5 * energy


@kernel(inline=True)
def _move(ux, uy, uz, inverse, g, slope, out):
    """Fill in the derivatives of g m(u) by d, ten rows of three."""
    turn = g * inverse
    bend = slope - 2.0 * turn
    xx = bend * ux * ux
    yy = bend * uy * uy
    zz = bend * uz * uz
    xyz = bend * ux * uy * uz
    out[0] = xx * ux + 2.0 * turn * ux
    out[1] = xx * uy
    out[2] = xx * uz
    out[3] = yy * ux
    out[4] = yy * uy + 2.0 * turn * uy
    out[5] = yy * uz
    out[6] = zz * ux
    out[7] = zz * uy
    out[8] = zz * uz + 2.0 * turn * uz
    out[9] = xyz
    out[10] = yy * uz + turn * uz
    out[11] = zz * uy + turn * uy
    out[12] = xx * uz + turn * uz
    out[13] = xyz
    out[14] = zz * ux + turn * ux
    out[15] = xx * uy + turn * uy
    out[16] = yy * ux + turn * ux
    out[17] = xyz
    bend = slope - turn
    out[18] = bend * ux * ux + turn
    out[19] = bend * ux * uy
    out[20] = bend * ux * uz
    out[21] = out[19]
    out[22] = bend * uy * uy + turn
    out[23] = bend * uy * uz
    out[24] = out[20]
    out[25] = out[23]
    out[26] = bend * uz * uz + turn
    out[27] = slope * ux
    out[28] = slope * uy
    out[29] = slope * uz


@kernel(inline=True)
def _curve(ux, uy, uz, round_, twist, across, zx, zy, zz, n, out):
    """Second derivatives ``round 1 + twist 2T + across u u + u z + z u``; 2T from the field n."""
    out[0] = round_ + 2.0 * twist * n[0] + across * ux * ux + 2.0 * ux * zx
    out[1] = round_ + 2.0 * twist * n[1] + across * uy * uy + 2.0 * uy * zy
    out[2] = round_ + 2.0 * twist * n[2] + across * uz * uz + 2.0 * uz * zz
    out[3] = twist * n[3] + across * uy * uz + uy * zz + uz * zy
    out[4] = twist * n[4] + across * ux * uz + ux * zz + uz * zx
    out[5] = twist * n[5] + across * ux * uy + ux * zy + uy * zx


@kernel(inline=True)
def _clear(whole, n_s, ns, moved, curves, mixed, strained):
    """Nothing summed yet of what `_bonds` sums up for a site."""
    for u in range(n_s):
        for c in range(30):
            moved[u, c] = 0.0
        for c in range(7):
            curves[u, c] = 0.0
    if whole:
        for u in range(n_s):
            for c in range(18):
                mixed[u, c] = 0.0
        for a in range(ns):
            for c in range(90):
                strained[a, c] = 0.0


@kernel(inline=True)
def _bonds(
    e, s, m, second, vectors, target, types, near, bond, fields,
    move, curve, moved, curves, mixed, strained, moduli, df, dp,
):  # fmt: skip
    """Add the gradients of the m bonds of a site; sum up what its second derivatives are made of.

    For every other sublattice ``moved`` (30) derivatives of the moments, ``curves`` (7) second
    derivatives of h and the number of bonds, ``mixed`` (6, 3) the former times R; for every
    species of neighbours ``strained`` (3, 30) derivatives of the moments times R. ``moduli`` (6, 6)
    are second derivatives of h times R R.
    """
    whole = second == 2
    for k in range(m):
        b = near[k]
        t = target[b]
        a = types[t]
        ux = bond[k, 0]
        uy = bond[k, 1]
        uz = bond[k, 2]
        inverse = bond[k, 3]
        g = bond[k, 4]
        g1 = bond[k, 5]
        # q = N m(u), y = 2 T u with the quadratic part T of q; its gradient by u is y + l, with
        # the part ``across`` the bond tx, ty, tz.
        yx = 2.0 * fields[a, 0] * ux + fields[a, 5] * uy + fields[a, 4] * uz
        yy = fields[a, 5] * ux + 2.0 * fields[a, 1] * uy + fields[a, 3] * uz
        yz = fields[a, 4] * ux + fields[a, 3] * uy + 2.0 * fields[a, 2] * uz
        square = yx * ux + yy * uy + yz * uz
        linear = fields[a, 6] * ux + fields[a, 7] * uy + fields[a, 8] * uz
        q = 0.5 * square + linear + fields[a, 9]
        along = square + linear
        tx = yx + fields[a, 6] - along * ux
        ty = yy + fields[a, 7] - along * uy
        tz = yz + fields[a, 8] - along * uz
        turn = g * inverse
        pull = bond[k, 7] + g1 * q
        gx = pull * ux + turn * tx
        gy = pull * uy + turn * ty
        gz = pull * uz + turn * tz
        rx = vectors[b, 0]
        ry = vectors[b, 1]
        rz = vectors[b, 2]
        df[e, 0] += gx * rx
        df[e, 1] += gx * ry
        df[e, 2] += gx * rz
        df[e, 3] += gy * rx
        df[e, 4] += gy * ry
        df[e, 5] += gy * rz
        df[e, 6] += gz * rx
        df[e, 7] += gz * ry
        df[e, 8] += gz * rz
        if s != t:
            dp[e, t, 0] += gx
            dp[e, t, 1] += gy
            dp[e, t, 2] += gz
            dp[e, s, 0] -= gx
            dp[e, s, 1] -= gy
            dp[e, s, 2] -= gz
        if second == 0 or (s == t and not whole):
            continue
        twist = turn * inverse
        round_ = pull * inverse - twist * along
        across = bond[k, 8] + bond[k, 6] * q - round_ + twist * square
        lean = (g1 - turn) * inverse
        _curve(
            ux, uy, uz, round_, twist, across,
            lean * tx - twist * yx, lean * ty - twist * yy, lean * tz - twist * yz,
            fields[a], curve,
        )  # fmt: skip
        _move(ux, uy, uz, inverse, g, g1, move)
        if s != t:
            for c in range(30):
                moved[t, c] += move[c]
            for c in range(6):
                curves[t, c] += curve[c]
            curves[t, 6] += 1.0
        if not whole:
            continue
        for c in range(30):
            strained[a, c] += move[c] * rx
            strained[a, 30 + c] += move[c] * ry
            strained[a, 60 + c] += move[c] * rz
        for c in range(6):
            hx = curve[c] * rx
            hy = curve[c] * ry
            hz = curve[c] * rz
            moduli[c, 0] += hx * rx
            moduli[c, 1] += hy * ry
            moduli[c, 2] += hz * rz
            moduli[c, 3] += hy * rz
            moduli[c, 4] += hx * rz
            moduli[c, 5] += hx * ry
            if s != t:
                mixed[t, 3 * c] += hx
                mixed[t, 3 * c + 1] += hy
                mixed[t, 3 * c + 2] += hz


@kernel(inline=True)
def _product(row, left, right, i, j):
    """Entry (i, j) of ``X D Y`` for derivatives X, Y of the moments (10, 3)."""
    value = 0.0
    for c in range(10):
        value += row[c] * left[3 * c + i] * right[3 * c + j]
    return value


@kernel(inline=True)
def _shift_block(e, skip, s, u, v, i, j, value, out):
    """Add a second derivative by ``p_u - p_s`` and ``p_v - p_s``, u <= v, in the upper triangle."""
    low, high = min(i, j), max(i, j)
    at_s, at_u, at_v = skip + 3 * s - 3, skip + 3 * u - 3, skip + 3 * v - 3
    if u > 0 and (u < v or i <= j):
        out[e, at_u + i, at_v + j] += value
    if s > 0 and (u < v or i <= j):
        out[e, at_s + low, at_s + high] += 2.0 * value if u < v and i == j else value
    if s > 0 and u > 0:
        out[e, min(at_u + i, at_s + j), max(at_u + i, at_s + j)] -= value
    if s > 0 and v > 0 and u < v:
        out[e, min(at_v + j, at_s + i), max(at_v + j, at_s + i)] -= value


@kernel(inline=True)
def _shift_terms(e, skip, s, metric, types, ns, moved, curves, out):
    """Second derivatives of one site by shifts."""
    n_s = len(types)
    for u in range(n_s):
        if u == s or curves[u, 6] == 0.0:
            continue
        for v in range(u, n_s):
            if v == s or curves[v, 6] == 0.0:
                continue
            row = metric[(types[s] * ns + types[u]) * ns + types[v]]
            for i in range(3):
                for j in range(3):
                    value = _product(row, moved[u], moved[v], i, j)
                    if u == v:
                        value += curves[u, _AT[i, j]]
                    _shift_block(e, skip, s, u, v, i, j, value, out)


@kernel(inline=True)
def _strain_terms(
    e, s, metric, types, ns, moved, curves, mixed, strained, stiffness, line, out
):
    """Second derivatives of one site by F, in ``stiffness`` (J, i; L, k), and by F and shifts."""
    for a in range(ns):
        for c in range(10):
            for x in range(9):
                line[x] = 0.0
            for b in range(ns):
                factor = metric[(types[s] * ns + a) * ns + b, c]
                for j in range(3):
                    for i in range(3):
                        line[3 * j + i] += factor * strained[b, 30 * j + 3 * c + i]
            for j in range(3):
                for i in range(3):
                    value = strained[a, 30 * j + 3 * c + i]
                    for x in range(9):
                        stiffness[3 * j + i, x] += value * line[x]
    for u in range(len(types)):
        if u == s or curves[u, 6] == 0.0:
            continue
        for i in range(3):
            for j in range(3):
                for k in range(3):
                    value = mixed[u, 3 * _AT[i, k] + j]
                    for b in range(ns):
                        row = metric[(types[s] * ns + b) * ns + types[u]]
                        value += _product(row, strained[b, 30 * j : 30 * j + 30], moved[u], i, k)
                    if u > 0:
                        out[e, 3 * i + j, 6 + 3 * u + k] += value
                    if s > 0:
                        out[e, 3 * i + j, 6 + 3 * s + k] -= value


@kernel(inline=True)
def _finish(e, whole, stiffness, moduli, out):
    """Add the second derivatives by F and fill the lower triangle."""
    width = out.shape[1]
    if whole:
        for i in range(3):
            for j in range(3):
                for k in range(3):
                    for m in range(3):
                        out[e, 3 * i + j, 3 * k + m] = (
                            moduli[_AT[i, k], _AT[j, m]] + stiffness[3 * j + i, 3 * m + k]
                        )
    for i in range(width):
        for j in range(i):
            out[e, i, j] = out[e, j, i]


@kernel(inner=True)
def _share(
    thread, f, p, vectors, start, target, types, pair, metric, ns, second,
    nears, bond_rows, all_moments, all_fields, moves, bends, all_moved, all_curves, all_mixed,
    all_strained, all_moduli, all_stiffness, lines, sites, df, dp, hessians,
):  # fmt: skip
    """Evaluate one thread's share of the cells; see `deformed_cell`."""
    near, bond, moments, fields = (
        nears[thread], bond_rows[thread], all_moments[thread], all_fields[thread]
    )  # fmt: skip
    move, curve, moved, curves = moves[thread], bends[thread], all_moved[thread], all_curves[thread]
    mixed, strained, moduli = all_mixed[thread], all_strained[thread], all_moduli[thread]
    stiffness, line = all_stiffness[thread], lines[thread]
    n, threads = len(f), len(nears)
    n_s = len(types)
    width = hessians.shape[1]
    whole = second == 2
    for e in range(n * thread // threads, n * (thread + 1) // threads):
        for c in range(9):
            df[e, c] = 0.0
        for s in range(n_s):
            for c in range(3):
                dp[e, s, c] = 0.0
        for i in range(width):
            for j in range(width):
                hessians[e, i, j] = 0.0
        if whole:
            for c in range(6):
                for i in range(6):
                    moduli[c, i] = 0.0
            for x in range(9):
                for y in range(9):
                    stiffness[x, y] = 0.0
        for s in range(n_s):
            for a in range(ns):
                for c in range(10):
                    moments[a, c] = 0.0
            m, radial = _gather(
                e, s, f, p, vectors, start, target, types, pair, ns, near, bond, moments
            )
            sites[e, s] = radial + _fields(types[s], metric, ns, moments, fields)
            if second:
                _clear(whole, n_s, ns, moved, curves, mixed, strained)
            _bonds(
                e, s, m, second, vectors, target, types, near, bond, fields,
                move, curve, moved, curves, mixed, strained, moduli, df, dp,
            )  # fmt: skip
            if second:
                _shift_terms(e, 9 if whole else 0, s, metric, types, ns, moved, curves, hessians)
            if whole:
                _strain_terms(
                    e, s, metric, types, ns, moved, curves, mixed, strained, stiffness, line,
                    hessians,
                )  # fmt: skip
        if second:
            _finish(e, whole, stiffness, moduli, hessians)


@kernel(parallel=True)
def deformed_cell(
    f, p, vectors, start, target, types, pair, metric, ns, second,
    near, bond, moments, fields, move, curve, moved, curves, mixed, strained, moduli, stiffness,
    line, sites, df, dp, hessians,
):  # fmt: skip
    """Site energies (n, n_s), dE/dF (n, 9), dE/dp (n, n_s, 3) and a Hessian of many states.

    Bonds in rows, that of sublattice s from ``start[s]`` to ``start[s + 1]``. ``second`` is 0 for
    no Hessian, 1 for that over the shifts, 2 for all of it. The first axis of scratch counts the
    threads, each with a static share of the cells: ``near`` (k), ``bond`` (k, WIDTH), ``moments``
    and ``fields`` (ns, 10), ``move`` (30), ``curve`` (6), ``moved`` (n_s, 30), ``curves`` (n_s, 7),
    ``mixed`` (n_s, 18), ``strained`` (ns, 90), ``moduli`` (6, 6), ``stiffness`` (9, 9), ``line``
    (9).
    """
    everything = (
        f, p, vectors, start, target, types, pair, metric, ns, second,
        near, bond, moments, fields, move, curve, moved, curves, mixed, strained, moduli,
        stiffness, line, sites, df, dp, hessians,
    )  # fmt: skip
    for thread in numba.prange(len(near)):
        apart(_share, thread, everything)
    keep(_share, everything)
