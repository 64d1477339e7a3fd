"""Limited-memory BFGS for the few unknowns of small cells.

Plain vector operations on purpose: a linear-algebra library that wakes its threads for a vector of
a hundred numbers costs more than the energies do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Function = Callable[[Array], tuple[float, Array]]

#: Angstrom; the largest change of an unknown in one step.
_LONGEST = 0.2

#: Angstrom^2/eV; guess of the inverse stiffness before there is a better one.
_SOFTNESS = 0.03

#: Decrease and curvature asked of a step.
_ARMIJO, _WOLFE = 1e-4, 0.9

#: eV; energies closer than this, relative to 1 and to themselves, may differ by round-off only.
_NOISE = 1e-11

_MEMORY = 20

#: Steps without less energy or force after which round-off has taken over.
_IDLE = 30


class Minimum(NamedTuple):
    """Where a minimisation ended: unknowns, energy, gradient, and why it ended."""

    x: Array
    energy: float
    gradient: Array
    reason: str


def minimise(function: Function, start: Array, tolerance: float, steps: int = 1000) -> Minimum:
    """Minimise until the largest component of the gradient is below a tolerance.

    Parameters
    ----------
    function : callable
        Unknowns (n,), Angstrom, to energy, eV, and gradient (n,).
    start : (n,) float64
    tolerance : float, eV/Angstrom
    steps : int
        Most steps.

    Source: J. Nocedal and S. J. Wright, Numerical Optimization (2006), algorithms 7.4 and 3.5.
    """
    x = start.copy()
    energy, g = function(x)
    pairs: deque[tuple[Array, Array, float]] = deque(maxlen=_MEMORY)
    least, before, idle = np.inf, energy, 0
    for _ in range(steps):
        top = float(np.abs(g).max())
        if top <= tolerance:
            return Minimum(x, energy, g, "converged")
        if top < 0.9 * least or energy < before - 10.0 * _NOISE * (1.0 + abs(energy)):
            least, before, idle = min(top, least), energy, 0
        elif (idle := idle + 1) > _IDLE:
            return Minimum(x, energy, g, "round-off leaves no more progress")
        direction = -_two_loop(g, pairs)
        slope = float(g @ direction)
        if not slope < 0.0:
            pairs.clear()
            direction, slope = -_SOFTNESS * g, -_SOFTNESS * float(g @ g)
        found = _line_search(function, x, energy, direction, slope)
        if found is None:
            if not pairs:
                return Minimum(x, energy, g, "no step lowers the energy")
            pairs.clear()
            continue
        moved, energy, new = found
        dx, dg = moved - x, new - g
        product = float(dx @ dg)
        if product > 1e-10 * float(dx @ dx):
            pairs.append((dx, dg, 1.0 / product))
        x, g = moved, new
    reason = "converged" if np.abs(g).max() <= tolerance else f"{steps} steps were not enough"
    return Minimum(x, energy, g, reason)


def _two_loop(g: Array, pairs: deque[tuple[Array, Array, float]]) -> Array:
    q = g.copy()
    kept = []
    for dx, dg, rho in reversed(pairs):
        alpha = rho * float(dx @ q)
        q -= alpha * dg
        kept.append(alpha)
    if pairs:
        _, dg, rho = pairs[-1]
        q /= rho * float(dg @ dg)
    else:
        q *= _SOFTNESS
    for (dx, dg, rho), alpha in zip(pairs, reversed(kept), strict=True):
        q += dx * (alpha - rho * float(dg @ q))
    return q


def _line_search(
    function: Function, x: Array, energy: float, direction: Array, slope: float
) -> tuple[Array, float, Array] | None:
    """Return a point with less energy and a flatter slope, its energy and gradient, or None."""
    longest = _LONGEST / np.abs(direction).max()
    low, low_slope, high = 0.0, slope, np.inf
    step = min(1.0, longest)
    noise = _NOISE * (1.0 + abs(energy))
    best: tuple[Array, float, Array] | None = None
    for _ in range(25):
        y = x + step * direction
        e, g = function(y)
        along = float(g @ direction)
        if not e <= energy + _ARMIJO * step * slope + noise:
            high = step
        elif along < _WOLFE * slope and step < longest:
            # Still steep: the minimum lies further on.
            best = y, e, g
            low, low_slope = step, along
        elif along > -_WOLFE * slope:
            best = y, e, g
            high = step
        else:
            return y, e, g
        if np.isfinite(high):
            # The secant of the slopes where it is inside, bisection otherwise.
            middle = 0.5 * (low + high)
            if along > low_slope and step == high:
                secant = low - low_slope * (high - low) / (along - low_slope)
                inside = low + 0.1 * (high - low) < secant < high - 0.1 * (high - low)
                middle = secant if inside else middle
            step = middle
        else:
            step = min(2.0 * step, longest)
        if high - low < 1e-10 * high:
            break
    return best
