"""Kernel of the free energy's polynomial: value, gradient and tangent for many states."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from qc.numerics.jit import kernel

#: Rows of the room that a thread works in, 6 wide: where each array begins.
_E, _Z, _P, _BE, _BD, _A, _S, _BEND, _D, _SIZE = 0, 1, 2, 3, 4, 5, 8, 11, 17, 26


def room() -> NDArray[np.float64]:
    """Return the room that `polynomial` works in: some arrays for every thread."""
    return np.empty((numba.get_num_threads(), _SIZE, 6))


@kernel(parallel=True)
def polynomial(
    f, inverse, thermal, offset, value, first, second, third, radius, work, energy, gradient,
    tangent,
):  # fmt: skip
    """Evaluate ``thermal (value + offset + polynomial)`` and its derivatives by F.

    ``inverse`` is that of the reference; the second derivative is left out where ``tangent`` has
    no rows.
    """
    parts, n = len(work), len(f)
    for part in numba.prange(parts):
        w = work[part]
        for k in range(part * n // parts, (part + 1) * n // parts):
            r = _strain(f[k], inverse, w)
            h, h1, h2 = _map(r, radius)
            g = value + offset[k] + _derivatives(first, second, third, h, w)
            energy[k] = thermal[k] * g
            _gradient(inverse, h, h1, r, radius, thermal[k], w, gradient[k])
            if len(tangent):
                if r > radius:
                    _bend(h, h1, h2, r, w)
                _tangent(inverse, thermal[k], w, tangent[k])


@kernel()
def _strain(f, inverse, w):
    """Put A = F F_ref^-1 and the Mandel vector of its Green strain; return its norm."""
    root = math.sqrt(2.0)
    for i in range(3):
        for j in range(3):
            w[_A + i, j] = (
                f[i, 0] * inverse[0, j] + f[i, 1] * inverse[1, j] + f[i, 2] * inverse[2, j]
            )
    a = w[_A : _A + 3]
    e = w[_E]
    for i in range(3):
        e[i] = 0.5 * (a[0, i] ** 2 + a[1, i] ** 2 + a[2, i] ** 2 - 1.0)
    e[3] = (a[0, 1] * a[0, 2] + a[1, 1] * a[1, 2] + a[2, 1] * a[2, 2]) / root
    e[4] = (a[0, 0] * a[0, 2] + a[1, 0] * a[1, 2] + a[2, 0] * a[2, 2]) / root
    e[5] = (a[0, 0] * a[0, 1] + a[1, 0] * a[1, 1] + a[2, 0] * a[2, 1]) / root
    r = 0.0
    for i in range(6):
        r += e[i] * e[i]
    return math.sqrt(r)


@kernel()
def _map(r, radius):
    """Return ``h = rho / r`` of the argument ``z = h e``, and its first two derivatives by r."""
    if r <= radius:
        return 1.0, 0.0, 0.0
    t = math.tanh((r - radius) / radius)
    slope = 1.0 - t * t
    h = (radius + radius * t) / r
    h1 = (slope - h) / r
    return h, h1, (-2.0 * t * slope / radius - 2.0 * h1) / r


@kernel()
def _derivatives(first, second, third, h, w):
    """Polynomial at ``z = h e``, returned without its constant, with dg/dz and d2g/dz2."""
    e, z, p = w[_E], w[_Z], w[_P]
    for i in range(6):
        z[i] = h * e[i]
    total = 0.0
    for i in range(6):
        line = 0.0
        line2 = 0.0
        for j in range(6):
            t = 0.0
            for k in range(6):
                t += third[i, j, k] * z[k]
            w[_BEND + i, j] = second[i, j] + t
            line += second[i, j] * z[j]
            line2 += t * z[j]
        p[i] = first[i] + line + 0.5 * line2
        total += z[i] * (first[i] + 0.5 * line + line2 / 6.0)
    return total


@kernel()
def _gradient(inverse, h, h1, r, radius, thermal, w, gradient):
    """Put ``A S F_ref^-T`` with S the derivative by E, ``J^T p``, J = h 1 + (h1 / r) e e."""
    root = math.sqrt(2.0)
    e, p, a = w[_E], w[_P], w[_A : _A + 3]
    more = 0.0
    if r > radius:
        for i in range(6):
            more += p[i] * e[i]
        more *= h1 / r
    s = w[_S : _S + 3]
    for i in range(3):
        s[i, i] = h * p[i] + more * e[i]
    s[1, 2] = s[2, 1] = (h * p[3] + more * e[3]) / root
    s[0, 2] = s[2, 0] = (h * p[4] + more * e[4]) / root
    s[0, 1] = s[1, 0] = (h * p[5] + more * e[5]) / root
    for i in range(3):
        b0 = a[i, 0] * s[0, 0] + a[i, 1] * s[1, 0] + a[i, 2] * s[2, 0]
        b1 = a[i, 0] * s[0, 1] + a[i, 1] * s[1, 1] + a[i, 2] * s[2, 1]
        b2 = a[i, 0] * s[0, 2] + a[i, 1] * s[1, 2] + a[i, 2] * s[2, 2]
        for j in range(3):
            gradient[i, j] = thermal * (
                b0 * inverse[j, 0] + b1 * inverse[j, 1] + b2 * inverse[j, 2]
            )


@kernel()
def _bend(h, h1, h2, r, w):
    """Second derivative by e where z is not e.

    ``J^T (d2g/dz2) J + c (p e + e p + (p.e) 1) + (h2 - c) / r^2 (p.e) e e`` with c = h1 / r.
    """
    e, p, be, bend = w[_E], w[_P], w[_BE], w[_BEND : _BEND + 6]
    ebe, pe = 0.0, 0.0
    for i in range(6):
        be[i] = 0.0
        for j in range(6):
            be[i] += bend[i, j] * e[j]
        ebe += e[i] * be[i]
        pe += e[i] * p[i]
    c = h1 / r
    both = c * c * ebe + (h2 - c) / (r * r) * pe
    for i in range(6):
        for j in range(6):
            bend[i, j] = (
                h * h * bend[i, j]
                + e[j] * (h * c * be[i] + c * p[i])
                + e[i] * (h * c * be[j] + c * p[j])
                + both * e[i] * e[j]
            )
        bend[i, i] += c * pe


@kernel()
def _tangent(inverse, thermal, w, tangent):
    """``d^T (d2g/de2) d + delta_ik (F_ref^-1 S F_ref^-T)_JL`` with d = de/dF."""
    root = math.sqrt(2.0)
    a, s, bend = w[_A : _A + 3], w[_S : _S + 3], w[_BEND : _BEND + 6]
    d, bd = w[_D : _D + 9], w[_BD]
    for i in range(3):
        for j in range(3):
            row = d[3 * i + j]
            for k in range(3):
                row[k] = a[i, k] * inverse[j, k]
            row[3] = (a[i, 1] * inverse[j, 2] + a[i, 2] * inverse[j, 1]) / root
            row[4] = (a[i, 0] * inverse[j, 2] + a[i, 2] * inverse[j, 0]) / root
            row[5] = (a[i, 0] * inverse[j, 1] + a[i, 1] * inverse[j, 0]) / root
    for m in range(9):
        for i in range(6):
            bd[i] = 0.0
            for j in range(6):
                bd[i] += bend[i, j] * d[m, j]
        for o in range(9):
            total = 0.0
            for i in range(6):
                total += bd[i] * d[o, i]
            if m // 3 == o // 3:
                for k in range(3):
                    for q in range(3):
                        total += inverse[m % 3, k] * s[k, q] * inverse[o % 3, q]
            tangent[m // 3, m % 3, o // 3, o % 3] = thermal * total
