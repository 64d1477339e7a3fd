"""Preconditioned conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qc.numerics.products import inner

Array = NDArray[np.float64]


def conjugate_gradients(
    product: Callable[[Array], Array],
    b: Array,
    precondition: Callable[[Array], Array],
    tolerance: float,
    max_products: int = 200,
) -> tuple[Array, bool]:
    """Solve ``K x = b`` until the residual has fallen by a factor; stop at negative curvature.

    Parameters
    ----------
    product : callable
        ``K v`` for v of the shape of b.
    b : (n, k) float64
    precondition : callable
        Approximate inverse of K.
    tolerance : float
        Of the residual in the norm of the preconditioner, over that of b.
    max_products : int

    Returns
    -------
    x : (n, k) float64
    negative : bool
        A direction of negative curvature was met; x is what was found before, or that direction
        if it is the first.

    Source: T. Steihaug, SIAM J. Numer. Anal. 20 (1983) 626.
    """
    x = np.zeros_like(b)
    r = b.copy()
    z = precondition(r)
    p = z.copy()
    rz = inner(r, z)
    stop = tolerance**2 * rz
    if rz == 0.0:
        return x, False
    for k in range(max_products):
        hp = product(p)
        bend = inner(p, hp)
        if bend <= 0:
            return (p if k == 0 else x), True
        alpha = rz / bend
        x += alpha * p
        r -= alpha * hp
        z = precondition(r)
        new = inner(r, z)
        if new <= stop:
            break
        p = z + (new / rz) * p
        rz = new
    return x, False
