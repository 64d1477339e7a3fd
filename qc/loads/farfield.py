"""The far-field protocol: the predictor that a quasicontinuum model corrects."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.errors import InputError
from qc.numerics.checks import numbers

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


def check_points(points: ArrayLike, name: str) -> Array:
    """Return ``points`` as (n, 3) float64.

    Raises
    ------
    InputError
        The shape is not (n, 3), or an entry is NaN or infinite.
    """
    values = check_finite(points, name)
    if values.ndim != 2 or values.shape[1] != 3:
        raise InputError(f"{name} must have shape (n, 3), not {values.shape}")
    return values


def check_finite(given: ArrayLike, name: str) -> Array:
    """Return numbers as a new float64 array.

    Raises
    ------
    InputError
        They are not real numbers, or one is NaN or infinite; the message gives its index.
    """
    values = numbers(name, given)
    finite = np.isfinite(values)
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InputError(f"{name} holds {values[index]} at index {index}")
    return values


def check_deformation(deformation: ArrayLike, name: str) -> Array:
    """Return a deformation gradient as a read-only (3, 3) float64 array.

    Raises
    ------
    InputError
        The shape is not (3, 3), an entry is not finite or the determinant is not positive.
    """
    matrix = check_finite(deformation, name)
    if matrix.shape != (3, 3):
        raise InputError(f"{name} must have shape (3, 3), not {matrix.shape}")
    determinant = float(np.linalg.det(matrix))
    if not determinant > 0.0:
        raise InputError(f"{name} must have a positive determinant, not {determinant:.3g}")
    matrix.setflags(write=False)
    return matrix
