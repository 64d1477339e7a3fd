"""The far-field protocol: the predictor that a quasicontinuum model corrects."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@runtime_checkable
class FarField(Protocol):
    """A far field ``y0 = X + u0(X)`` of an infinite crystal, with its slip.

    Every method is vectorised over points. A far field that is not homogeneous may jump across
    cuts of the reference crystal; its gradient never does, and `slip` says by which lattice
    vector the neighbourhood of a site continues on the other side of a cut.
    """

    @property
    def mean_deformation(self) -> Array:
        """(3, 3): the homogeneous part, outermost; it also carries the period along z."""

    def displacement(self, positions: ArrayLike) -> Array:
        """Return ``u0`` at reference positions, (n, 3) Angstrom."""

    def gradient(self, positions: ArrayLike) -> Array:
        """Return ``F0 - I`` at reference positions, (n, 3, 3), index order ``[n, i, J]``."""

    def gradient_at(self, current: ArrayLike) -> Array:
        """Return ``F0 - I`` where the current position is ``current`` (n, 3); (n, 3, 3)."""

    def slip(self, start: ArrayLike, end: ArrayLike) -> Array:
        """Return the lattice vectors (n, 3) by which reference edges are extended.

        The reference edge of the slipped crystal is ``end - start + slip(start, end)``.
        """

    def fingerprint(self) -> str:
        """Return a hash of everything the field depends on."""
