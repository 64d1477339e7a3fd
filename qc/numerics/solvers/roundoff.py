"""When a relaxation has come as far as double precision goes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: A step is lost in round-off when no node moves by more than this part of its distance from the
#: origin, which is some forty times what the last digit of its position stands for.
LOST = 1e-14

#: Lost steps in a row, none of which lowers the largest force by a tenth, after which it is over.
PATIENCE = 5


class RoundOff:
    """Tells when the forces that are left are those of round-off.

    Forces come from differences of positions, and a position far from the origin has few digits
    left behind the point: forces below ``eps |y|`` times the stiffness are noise, and the steps
    that answer them move atoms by no more than their last digits. So steps are looked at, which
    needs no estimate of the stiffness.

    Parameters
    ----------
    positions : (n, 3) float64, Angstrom
        Of the nodes.
    spacing : float, Angstrom
        Distance of neighbours, for nodes at the origin.
    """

    def __init__(self, positions: Array, spacing: float) -> None:
        self._scale = LOST * (np.linalg.norm(positions, axis=1, keepdims=True) + spacing)
        self._best = np.inf
        self._lost = 0

    def lost(self, step: Array) -> bool:
        """Whether a step, (n, 3) Angstrom, changes nothing but last digits."""
        return bool((np.abs(step) <= self._scale).all())

    def reached(self, step: Array, top: float) -> bool:
        """Take note of a step and the largest force after it; return whether it is over."""
        if not self.lost(step) or top < 0.9 * self._best:
            self._lost = 0
        else:
            self._lost += 1
        self._best = min(self._best, top)
        return self._lost >= PATIENCE
