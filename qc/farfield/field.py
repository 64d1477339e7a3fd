"""The far field: the predictor that a quasicontinuum model corrects."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class FarField(ABC):
    """A far field ``y0 = X + u0(X)`` of an infinite crystal, with its slip.

    Every method is vectorised over points. A far field that is not homogeneous may jump across
    cuts of the reference crystal; its gradient never does, and `slip` says by which lattice
    vector the neighbourhood of a site continues on the other side of a cut. One of one's own has
    the abstract methods, and overrides the others where their defaults are not true of it.
    """

    #: Whether it is a homogeneous deformation and nothing else: no gradient, no cuts, and ghost
    #: forces of a perfect crystal are all there is at the predictor.
    is_homogeneous: ClassVar[bool] = False

    @property
    def mean_deformation(self) -> Array:
        """(3, 3): the homogeneous part, outermost; it also carries the period along z."""
        return np.eye(3)

    @abstractmethod
    def with_mean_deformation(self, deformation: ArrayLike) -> FarField:
        """Return the same field under another homogeneous deformation, a load step."""

    @abstractmethod
    def displacement(self, positions: ArrayLike) -> Array:
        """Return ``u0`` at reference positions, (n, 3) Angstrom."""

    @abstractmethod
    def gradient(self, positions: ArrayLike) -> Array:
        """Return ``F0 - I`` at reference positions, (n, 3, 3), index order ``[n, i, J]``."""

    @abstractmethod
    def gradient_at(self, current: ArrayLike) -> Array:
        """Return ``F0 - I`` where the current position is ``current`` (n, 3); (n, 3, 3)."""

    def slip(self, start: ArrayLike, end: ArrayLike) -> Array:
        """Return the lattice vectors (n, 3) by which reference edges are extended.

        The reference edge of the slipped crystal is ``end - start + slip(start, end)``; zero where
        nothing is cut, as by default.
        """
        return np.zeros_like(np.asarray(start, dtype=np.float64))

    @property
    def cores(self) -> Array:
        """(k, 3) Angstrom: reference positions that the atomistic core is drawn around."""
        return np.zeros((0, 3))

    @property
    def glide(self) -> Array | None:
        """(3,) Angstrom: a lattice vector along its cuts, which an axis of the mesh follows."""
        return None

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of everything the field depends on."""
