"""Inner products without threads: the arrays are too short for a thread pool to pay."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def inner(a: Array, b: Array) -> float:
    """Return the sum of products of two (n, 3) arrays.

    ``numpy.vdot`` hands arrays of this size to a threaded BLAS, which waits for its threads longer
    than it computes when cores are shared.
    """
    return float(np.einsum("ij,ij->", a, b))


def norm(a: Array) -> float:
    """Return the Euclidean norm of an (n, 3) array."""
    return float(np.sqrt(inner(a, a)))
