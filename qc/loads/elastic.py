"""Elastic tensors: checks, Voigt notation and the common symmetries."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from qc.errors import InputError
from qc.loads.farfield import Array, check_finite

#: Tensor index pairs in Voigt order xx yy zz yz xz xy.
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))

# Tangents obtained by differences carry asymmetries of about this relative size.
_SYMMETRY_TOLERANCE = 1e-6


def elastic_tensor(elastic: ArrayLike) -> Array:
    """Return a checked, exactly symmetric elastic tensor.

    Parameters
    ----------
    elastic : (3, 3, 3, 3) or (6, 6) array_like, eV/Angstrom^3
        Stiffness in Cartesian axes; a matrix is in Voigt order xx yy zz yz xz xy. For a monolayer
        (eV/Angstrom^2) every component with an index z is zero.

    Returns
    -------
    (3, 3, 3, 3) ndarray

    Raises
    ------
    InputError
        Wrong shape, NaN, a missing minor or major symmetry, or a tensor that is not positive
        definite on strains (in-plane strains for a monolayer).
    """
    values = check_finite(elastic, "elastic tensor")
    if values.shape == (6, 6):
        values = from_voigt(values)
    if values.shape != (3, 3, 3, 3):
        raise InputError(
            f"elastic tensor must have shape (3, 3, 3, 3) or (6, 6), not {values.shape}"
        )
    symmetric = values
    for name, axes in (("C_ijkl = C_jikl", "ijkl->jikl"), ("C_ijkl = C_klij", "ijkl->klij")):
        swapped = np.einsum(axes, symmetric)
        if np.abs(symmetric - swapped).max() > _SYMMETRY_TOLERANCE * np.abs(values).max():
            raise InputError(f"elastic tensor lacks the symmetry {name}")
        symmetric = 0.5 * (symmetric + swapped)
    # Averaging over the major symmetry carries the minor symmetry over to the second pair.
    symmetric = 0.5 * (symmetric + np.einsum("ijkl->jikl", symmetric))
    matrix = to_voigt(symmetric)
    kept = [0, 1, 5] if is_monolayer(symmetric) else list(range(6))
    lowest = float(np.linalg.eigvalsh(matrix[np.ix_(kept, kept)])[0])
    if not lowest > 1e-12 * np.abs(matrix).max():
        raise InputError(f"elastic tensor is not positive definite: lowest eigenvalue {lowest:.3g}")
    return symmetric


def is_monolayer(tensor: Array) -> bool:
    """Return whether no component of a (3, 3, 3, 3) tensor couples to z at all."""
    in_plane = np.zeros_like(tensor)
    in_plane[:2, :2, :2, :2] = tensor[:2, :2, :2, :2]
    return bool(np.any(in_plane)) and not np.any(tensor - in_plane)


def to_voigt(tensor: Array) -> Array:
    """Return the (6, 6) Voigt matrix of a (3, 3, 3, 3) stiffness."""
    return np.array([[tensor[*left, *right] for right in VOIGT] for left in VOIGT])


def from_voigt(matrix: Array) -> Array:
    """Return the (3, 3, 3, 3) stiffness of a (6, 6) Voigt matrix."""
    tensor = np.empty((3, 3, 3, 3))
    for row, (i, j) in enumerate(VOIGT):
        for column, (m, n) in enumerate(VOIGT):
            for left in ((i, j), (j, i)):
                for right in ((m, n), (n, m)):
                    tensor[*left, *right] = matrix[row, column]
    return tensor


def cubic_elastic(c11: float, c12: float, c44: float, rotation: ArrayLike | None = None) -> Array:
    """Return the stiffness of a cubic crystal.

    Parameters
    ----------
    c11, c12, c44 : float, eV/Angstrom^3
        Elastic constants on the cube axes.
    rotation : (3, 3) array_like, optional
        Proper rotation that takes components on the cube axes to Cartesian components.

    Returns
    -------
    (3, 3, 3, 3) ndarray

    Raises
    ------
    InputError
        The constants are not finite or not positive definite, or ``rotation`` is not a rotation.
    """
    matrix = np.diag([c11 - c12] * 3 + [c44] * 3).astype(float)
    matrix[:3, :3] += c12
    tensor = elastic_tensor(matrix)
    if rotation is None:
        return tensor
    turn = check_finite(rotation, "rotation")
    if turn.shape != (3, 3) or np.abs(turn @ turn.T - np.eye(3)).max() > 1e-8:
        raise InputError("rotation must be an orthogonal (3, 3) matrix")
    return np.einsum("ia,jb,kc,ld,abcd->ijkl", turn, turn, turn, turn, tensor, optimize=True)


def isotropic_elastic(shear_modulus: float, poisson_ratio: float) -> Array:
    """Return the stiffness of an isotropic solid, (3, 3, 3, 3) in the unit of the shear modulus.

    Raises
    ------
    InputError
        The constants do not make a positive definite tensor.
    """
    if poisson_ratio == 0.5:
        raise InputError("poisson_ratio 0.5 is incompressible: the stiffness is infinite")
    lame = 2.0 * shear_modulus * poisson_ratio / (1.0 - 2.0 * poisson_ratio)
    return cubic_elastic(lame + 2.0 * shear_modulus, lame, shear_modulus)
