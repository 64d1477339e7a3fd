"""Cubic splines on uniform grids, as coefficient tables that a kernel can evaluate.

Interval ``k`` of a table with spacing ``h`` starts at ``k h``; with ``t = x / h - k`` the value is
``c[k, 0] + c[k, 1] t + c[k, 2] t^2 + c[k, 3] t^3``. The last row stands for everything beyond the
grid and continues it with the slope of its end.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qc.errors import PotentialError

Array = NDArray[np.float64]

#: A not-a-knot condition at both ends and one interior equation need this many values.
MINIMUM_KNOTS = 4


#: A table of fewer values is none.
MINIMUM_VALUES = 5


def cubic_coefficients(
    values: Array, end_slope: float | None = None, slopes: Array | None = None
) -> Array:
    """Return the coefficients of cubics through values at 0, h, 2h, ...: of the C2 spline.

    Parameters
    ----------
    values : (n,) float64
        At least four finite values.
    end_slope : float, optional
        Slope at the last knot per grid spacing; without it the last two intervals share one
        cubic (not-a-knot), as the first two always do.
    slopes : (n,) float64, optional
        Slopes at all knots per grid spacing, instead of those of the C2 spline.

    Returns
    -------
    (n, 4) float64
        Coefficients in the local coordinate of each interval; the last row is linear.

    Raises
    ------
    PotentialError
        Fewer than four values, or one that is not finite.
    """
    f = np.asarray(values, dtype=np.float64)
    if f.ndim != 1 or len(f) < MINIMUM_KNOTS:
        raise PotentialError(f"a spline needs at least {MINIMUM_KNOTS} values, not {f.shape}")
    if not np.isfinite(f).all():
        raise PotentialError(f"value {int(np.argmin(np.isfinite(f)))} of a table is not finite")
    slope = spline_slopes(f, end_slope) if slopes is None else slopes
    rise = np.diff(f)
    table = np.zeros((len(f), 4))
    table[:, 0] = f
    table[:, 1] = slope
    table[:-1, 2] = 3.0 * rise - 2.0 * slope[:-1] - slope[1:]
    table[:-1, 3] = slope[:-1] + slope[1:] - 2.0 * rise
    return table


def spline_slopes(f: Array, end_slope: float | None = None, given: Array | None = None) -> Array:
    """Return knot slopes per spacing: ``s[k-1] + 4 s[k] + s[k+1] = 3 (f[k+1] - f[k-1])``.

    Parameters
    ----------
    f : (n,) float64
        At least four finite values.
    end_slope : float, optional
        As `cubic_coefficients`.
    given : (n,) float64, optional
        Slopes to keep, NaN where there is none: the second derivative may jump at these knots.
    """
    n = len(f)
    right = np.empty(n)
    right[1:-1] = 3.0 * (f[2:] - f[:-2])
    right[0] = 0.5 * (-5.0 * f[0] + 4.0 * f[1] + f[2])
    lower = np.ones(n)
    upper = np.ones(n)
    diagonal = np.full(n, 4.0)
    diagonal[0] = diagonal[-1] = 1.0
    upper[0] = 2.0
    if end_slope is None:
        right[-1] = 0.5 * (5.0 * f[-1] - 4.0 * f[-2] - f[-3])
        lower[-1] = 2.0
    else:
        right[-1] = end_slope
        lower[-1] = 0.0
    if given is not None:
        kept = np.isfinite(given)
        right[kept], diagonal[kept], lower[kept], upper[kept] = given[kept], 1.0, 0.0, 0.0
    # Thomas elimination; plain floats, because numpy scalars are ten times slower in a loop.
    r, low, diag, up = right.tolist(), lower.tolist(), diagonal.tolist(), upper.tolist()
    ratio = up[:1] + [0.0] * (n - 1)
    for k in range(1, n):
        pivot = diag[k] - low[k] * ratio[k - 1]
        ratio[k] = up[k] / pivot
        r[k] = (r[k] - low[k] * r[k - 1]) / pivot
    for k in range(n - 2, -1, -1):
        r[k] -= ratio[k] * r[k + 1]
    return np.array(r)


def evaluate(table: Array, spacing: float, x: Array, derivative: int = 0) -> Array:
    """Return a spline or its first or second derivative at ``x >= 0``, for checks and plots.

    Parameters
    ----------
    table : (n, 4) float64
        From `cubic_coefficients`.
    spacing : float
        Distance of the knots.
    x : array of float64
        Arguments; beyond the last knot the spline is linear.
    derivative : int
        0, 1 or 2.
    """
    p = np.asarray(x, dtype=np.float64) / spacing
    k = np.clip(p, 0, len(table) - 1).astype(np.int64)
    t = p - k
    c = table[k]
    if derivative == 0:
        return c[..., 0] + t * (c[..., 1] + t * (c[..., 2] + t * c[..., 3]))
    if derivative == 1:
        return (c[..., 1] + t * (2.0 * c[..., 2] + t * 3.0 * c[..., 3])) / spacing
    return (2.0 * c[..., 2] + t * 6.0 * c[..., 3]) / spacing**2
