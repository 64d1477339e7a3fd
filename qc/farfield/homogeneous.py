"""Homogeneous strain as a far field, and deformation gradients of common loads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from qc.errors import InputError
from qc.farfield.field import Array, FarField
from qc.numerics.checks import check_deformation, check_finite, check_points
from qc.numerics.fingerprint import fingerprint


class HomogeneousStrain(FarField):
    """A homogeneous deformation of the whole crystal, ``y0 = F X``.

    Parameters
    ----------
    deformation : (3, 3) array_like, optional
        Deformation gradient F; the identity by default.

    Raises
    ------
    InputError
        ``deformation`` is not a finite (3, 3) matrix with a positive determinant.
    """

    is_homogeneous = True

    def __init__(self, deformation: ArrayLike | None = None):
        matrix = np.eye(3) if deformation is None else deformation
        self._deformation = check_deformation(matrix, "deformation")

    def __repr__(self) -> str:
        return f"HomogeneousStrain({self._deformation.tolist()})"

    @property
    def mean_deformation(self) -> Array:
        """(3, 3): the deformation gradient, read-only."""
        return self._deformation

    def displacement(self, positions: ArrayLike) -> Array:
        """Return ``(F - I) X``, (n, 3) Angstrom."""
        return check_points(positions, "positions") @ (self._deformation - np.eye(3)).T

    def gradient(self, positions: ArrayLike) -> Array:
        """Return ``F - I`` for each reference position, (n, 3, 3)."""
        points = check_points(positions, "positions")
        return np.tile(self._deformation - np.eye(3), (len(points), 1, 1))

    def gradient_at(self, current: ArrayLike) -> Array:
        """Return ``F - I`` for each current position, (n, 3, 3)."""
        return self.gradient(check_points(current, "current positions"))

    def slip(self, start: ArrayLike, end: ArrayLike) -> Array:
        """Return zeros (n, 3): nothing is cut."""
        check_points(end, "end")
        return np.zeros_like(check_points(start, "start"))

    def with_mean_deformation(self, deformation: ArrayLike) -> HomogeneousStrain:
        """Return the field with another deformation gradient."""
        return HomogeneousStrain(deformation)

    def fingerprint(self) -> str:
        """Return a hash of the deformation gradient."""
        return fingerprint("HomogeneousStrain", [self._deformation])


def simple_shear(
    gamma: float, direction: Sequence[float] = (1, 0, 0), normal: Sequence[float] = (0, 1, 0)
) -> Array:
    """Return the deformation gradient of simple shear, ``I + gamma s (x) n``.

    Parameters
    ----------
    gamma : float
        Engineering shear strain.
    direction, normal : (3,) array_like
        Shear direction s and normal n of the shear plane, of any length, orthogonal.

    Returns
    -------
    (3, 3) ndarray

    Raises
    ------
    InputError
        A vector is zero or not finite, or the two are not orthogonal.
    """
    s, n = _unit(direction, "direction"), _unit(normal, "normal")
    if abs(s @ n) > 1e-8:
        raise InputError(
            f"direction and normal of a shear must be orthogonal; their cosine is {s @ n:.3g}"
        )
    return np.eye(3) + float(check_finite(gamma, "gamma")) * np.outer(s, n)


def uniaxial_strain(strain: float, direction: Sequence[float]) -> Array:
    """Return the deformation gradient of uniaxial strain, ``I + strain d (x) d``.

    Parameters
    ----------
    strain : float
        Nominal strain along ``direction``, above -1; lateral lengths stay.
    direction : (3,) array_like
        Of any length.

    Returns
    -------
    (3, 3) ndarray

    Raises
    ------
    InputError
        The direction is zero or not finite, or the strain is not above -1.
    """
    d = _unit(direction, "direction")
    return check_deformation(
        np.eye(3) + float(check_finite(strain, "strain")) * np.outer(d, d), "uniaxial strain"
    )


def _unit(vector: Sequence[float], name: str) -> Array:
    values = check_finite(vector, name)
    if values.shape != (3,) or not np.any(values):
        raise InputError(f"{name} must be a non-zero vector of shape (3,), not {vector!r}")
    return values / np.linalg.norm(values)
