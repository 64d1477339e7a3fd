"""A line search on forces: raw energy differences drown in round-off in large models."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qc.errors import InvertedElementError, NonFiniteError
from qc.numerics.products import inner

Array = NDArray[np.float64]


class Step(NamedTuple):
    """An accepted step: length, new state and its forces."""

    length: float
    state: Array
    forces: Array


def search(
    forces: Callable[[Array], Array],
    state: Array,
    direction: Array,
    slope: float,
    *,
    first: float = 1.0,
    curvature: float = 0.9,
    tries: int = 12,
) -> Step | None:
    """Find a step along ``direction`` where the slope has fallen to ``curvature`` of its start.

    The strong curvature condition on ``f . p`` alone; the zero of the slope is bracketed and then
    approached by secants. Source: J. Nocedal & S. J. Wright, Numerical Optimization (2006),
    section 3.5, with energies left out.

    Parameters
    ----------
    forces : callable
        Forces at a state; may raise for states out of bounds, which shortens the step.
    state, direction : (n, 3) float64
    slope : float
        ``f . p`` at the state, positive.
    first : float
        First trial length.
    curvature, tries

    Returns
    -------
    Step or None
        None when no acceptable length was found.
    """
    low, low_slope = 0.0, slope
    high: float | None = None
    high_slope = 0.0
    length = first
    best: Step | None = None
    best_slope = np.inf
    for _ in range(tries):
        trial = state + length * direction
        try:
            f = forces(trial)
        except (InvertedElementError, NonFiniteError):
            high, high_slope = length, -abs(slope)
            length = 0.5 * (low + length)
            continue
        s = inner(f, direction)
        if abs(s) < best_slope:
            best, best_slope = Step(length, trial, f), abs(s)
        if abs(s) <= curvature * abs(slope):
            return Step(length, trial, f)
        if s > 0:
            low, low_slope = length, s
        else:
            high, high_slope = length, s
        if high is None:
            flat = low_slope >= slope
            length *= 2.0 if flat else min(2.0, slope / max(slope - low_slope, 1e-300))
        else:
            share = low_slope / (low_slope - high_slope)
            length = low + (high - low) * min(max(share, 0.1), 0.9)
    return best if best is not None and best_slope < abs(slope) else None
