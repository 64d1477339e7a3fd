"""Integer and reduced-basis arithmetic of three-dimensional lattices."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.errors import CrystalError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Points of a lattice, those of the box around a ball, beyond which a search is refused.
MOST_POINTS = 10_000_000


def hermite_basis(rows: ArrayLike) -> IntArray:
    """Return a basis (3, 3) int64 of the lattice that integer row vectors generate.

    Row-style Hermite normal form by exact integer elimination. The rows must have rank 3.
    """
    work = [[int(v) for v in row] for row in np.asarray(rows)]
    basis: list[list[int]] = []
    for column in range(3):
        while True:
            live = [row for row in work if row[column] != 0]
            if len(live) <= 1:
                break
            pivot = min(live, key=lambda row: abs(row[column]))
            for row in live:
                if row is pivot:
                    continue
                q = row[column] // pivot[column]
                for k in range(3):
                    row[k] -= q * pivot[k]
        if not live:
            raise ValueError("the rows do not have rank 3")
        pivot = live[0]
        work = [row for row in work if row is not pivot]
        basis.append([-v for v in pivot] if pivot[column] < 0 else pivot)
    return np.array(basis, dtype=np.int64)


def _bezout(p: int, q: int) -> tuple[int, int, int]:
    """Return ``(g, u, v)`` with ``u p + v q = g = gcd(p, q) >= 0``."""
    r0, u0, v0, r1, u1, v1 = p, 1, 0, q, 0, 1
    while r1:
        k = r0 // r1
        r0, u0, v0, r1, u1, v1 = r1, u1, v1, r0 - k * r1, u0 - k * u1, v0 - k * v1
    return (r0, u0, v0) if r0 >= 0 else (-r0, -u0, -v0)


def unimodular_completion(m: ArrayLike) -> IntArray:
    """Complete a primitive integer vector to a unimodular matrix (3, 3) whose last row it is.

    The determinant is +1. ``m`` must have greatest common divisor 1.
    """
    p, q, r = (int(v) for v in np.asarray(m))
    if math.gcd(p, q, r) != 1:
        raise ValueError(f"({p}, {q}, {r}) is not primitive")
    g, u, v = _bezout(p, q)
    if g == 0:
        return np.array([[1, 0, 0], [0, r, 0], [0, 0, r]], dtype=np.int64)
    # (p, q, r) = g (p/g, q/g, 0) + r (0, 0, 1), and u (p/g) + v (q/g) = 1.
    _, s, t = _bezout(g, r)
    first = [-v, u, 0]
    second = [-t * p // g, -t * q // g, s]
    out = np.array([first, second, [p, q, r]], dtype=np.int64)
    if round(float(np.linalg.det(out.astype(float)))) < 0:
        out[0] *= -1
    return out


def gauss_reduce(u: Array, v: Array) -> IntArray:
    """Return the (2, 2) integer matrix that reduces a two-dimensional basis (Lagrange-Gauss).

    Row 0 of ``matrix @ [u, v]`` is a shortest vector, row 1 a shortest one completing it.
    """
    t = np.eye(2, dtype=np.int64)
    pair = np.array([u, v], dtype=float)
    for _ in range(1000):
        if pair[0] @ pair[0] > pair[1] @ pair[1] * (1 + 1e-12):
            pair, t = pair[::-1].copy(), t[::-1].copy()
        k = round(float(pair[0] @ pair[1] / (pair[0] @ pair[0])) * (1 - 1e-12))
        if k == 0:
            break
        pair[1] -= k * pair[0]
        t[1] -= k * t[0]
    return t


def minkowski_transform(cell: Array) -> IntArray:
    """Return the unimodular integer matrix ``t`` for which ``t @ cell`` is Minkowski reduced.

    The determinant of ``t`` is +1, so handedness is kept.

    Source: Semaev, "A 3-dimensional lattice reduction algorithm" (2001): pairwise Gauss
    reduction, then the third vector by the nearest of the four nearby plane-lattice points.
    """
    t = np.eye(3, dtype=np.int64)
    for _ in range(1000):
        vectors = t @ cell
        order = np.argsort(np.einsum("ij,ij->i", vectors, vectors), kind="stable")
        t = t[order]
        t[:2] = gauss_reduce(t[0] @ cell, t[1] @ cell) @ t[:2]
        vectors = t @ cell
        plane = vectors[:2]
        coefficient = np.linalg.solve(plane @ plane.T, plane @ vectors[2])
        base = np.floor(coefficient).astype(np.int64)
        best, shift = vectors[2] @ vectors[2] * (1 - 1e-10), None
        for i in (0, 1):
            for j in (0, 1):
                k = base + np.array([i, j])
                trial = vectors[2] - k @ plane
                if trial @ trial < best:
                    best, shift = trial @ trial, k
        if shift is None:
            break
        t[2] -= shift @ t[:2]
    if round(float(np.linalg.det(t.astype(float)))) < 0:
        t = -t
    return t


def rational_direction(w: ArrayLike, limit: int = 2000, tolerance: float = 1e-6) -> IntArray | None:
    """Return the primitive integer vector along ``w``, or None if none is as short as ``limit``.

    ``tolerance`` bounds the deviation of every component of the scaled vector from an integer.
    """
    w = np.asarray(w, dtype=float)
    ratio = w / np.abs(w).max()
    q = np.arange(1, limit + 1)
    scaled = q[:, None] * ratio
    good = np.flatnonzero(np.abs(scaled - np.round(scaled)).max(axis=1) < tolerance)
    if not len(good):
        return None
    m = np.round(scaled[good[0]]).astype(np.int64)
    return m // math.gcd(*(int(v) for v in m))


def lattice_points_in_ball(cell: Array, radius: float, centre: ArrayLike = (0, 0, 0)) -> IntArray:
    """Return all integer coordinates (n, 3) with ``|m @ cell - centre| <= radius``.

    In lexicographic order of ``m``.

    Raises
    ------
    CrystalError
        The box around the ball holds more than `MOST_POINTS`.
    """
    inverse = np.linalg.inv(cell)
    middle = np.asarray(centre, dtype=float) @ inverse
    reach = radius * np.linalg.norm(inverse, axis=0) + 1e-9
    count = float(np.prod(2.0 * np.minimum(reach, 1e15) + 1.0))
    if not count <= MOST_POINTS:
        raise CrystalError(
            f"about {count:.2g} lattice points lie within {radius:.4g} Angstrom of another: too "
            "many; are lattice constant and cutoff in Angstrom?"
        )
    axes = [
        np.arange(math.ceil(c - r), math.floor(c + r) + 1, dtype=np.int64)
        for c, r in zip(middle, reach, strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    d = grid @ cell - np.asarray(centre, dtype=float)
    return grid[np.einsum("ij,ij->i", d, d) <= radius * radius]


def smith_normal_form(rows: ArrayLike) -> tuple[list[int], IntArray]:
    """Diagonalise the lattice that k independent integer rows of length 3 generate.

    Returns
    -------
    d : list of k positive int
    v : (3, 3) int64, unimodular
        The rows of ``rows @ v`` generate the same lattice as the rows of ``diag(d)``: two
        integer vectors are equivalent modulo ``rows`` if ``m @ v`` agree modulo ``d`` in the
        first k entries and exactly in the others.
    """
    a = [[int(x) for x in row] for row in np.asarray(rows).reshape(-1, 3)]
    v = [[int(i == j) for j in range(3)] for i in range(3)]
    k = len(a)
    for t in range(k):
        while True:
            pivots = [(abs(a[i][j]), i, j) for i in range(t, k) for j in range(t, 3) if a[i][j]]
            if not pivots:
                raise ValueError("the rows are not independent")
            _, i, j = min(pivots)
            a[t], a[i] = a[i], a[t]
            for row in (*a, *v):
                row[t], row[j] = row[j], row[t]
            clean = True
            for i in range(t + 1, k):
                q = a[i][t] // a[t][t]
                a[i] = [x - q * y for x, y in zip(a[i], a[t], strict=True)]
                clean &= a[i][t] == 0
            for j in range(t + 1, 3):
                q = a[t][j] // a[t][t]
                for row in (*a, *v):
                    row[j] -= q * row[t]
                clean &= a[t][j] == 0
            if clean:
                break
    return [abs(a[t][t]) for t in range(k)], np.array(v, dtype=np.int64)
