"""Quality of simplices and of the classes that bisection makes of a lattice cell."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def simplex_quality(corners: Array) -> Array:
    """Mean-ratio quality of simplices, (n, d + 1, d) -> (n,), 1 regular and 0 flat.

    Source: A. Liu & B. Joe, BIT 34 (1994) 268, the mean ratio ``eta``.
    """
    d = corners.shape[-1]
    edges = corners[:, 1:] - corners[:, :1]
    volume = np.abs(np.linalg.det(edges)) / math.factorial(d)
    pairs = np.array(list(itertools.combinations(range(d + 1), 2)))
    square = ((corners[:, pairs[:, 0]] - corners[:, pairs[:, 1]]) ** 2).sum(axis=(1, 2))
    if d == 2:
        return 4.0 * np.sqrt(3.0) * volume / square
    return 12.0 * (3.0 * volume) ** (2.0 / 3.0) / square


def worst_class(vectors: Array) -> float:
    """Worst quality over the Kuhn simplices of a cell and their bisection classes, (d, d) rows.

    Bisection turns the diagonals of a cell into those of its mirror images, which in a skew lattice
    have other shapes; they are counted.
    """
    d = len(vectors)
    mirrors = np.array(list(itertools.product([1.0], *[[1.0, -1.0]] * (d - 1))))
    cells = mirrors[:, :, None] * vectors
    perms = list(itertools.permutations(range(d)))
    paths = np.zeros((len(cells), len(perms), d + 1, d))
    for k, p in enumerate(perms):
        paths[:, k, 1:] = np.cumsum(cells[:, list(p)], axis=1)
    simplices = paths.reshape(-1, d + 1, d)
    worst = np.inf
    for tag in range(d, 0, -1):
        worst = min(worst, float(simplex_quality(simplices).min()))
        middle = 0.5 * (simplices[:, 0] + simplices[:, tag])
        lower, upper = simplices.copy(), simplices.copy()
        lower[:, tag] = middle
        upper[:, :tag] = simplices[:, 1 : tag + 1]
        upper[:, tag] = middle
        simplices = np.concatenate([lower, upper])
    return worst
