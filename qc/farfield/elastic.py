"""Elastic tensors: checks, Voigt notation and the common symmetries."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from qc.errors import InputError
from qc.farfield.field import Array
from qc.numerics.checks import check_finite, real

#: Tensor index pairs in Voigt order xx yy zz yz xz xy.
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))

# Tangents obtained by differences carry asymmetries of about this relative size.
_SYMMETRY_TOLERANCE = 1e-6

#: Stress over the largest modulus up to which a crystal counts as one without stress: by as much
#: its elastic fields are off.
_STRESS_TOLERANCE = 1e-3


def elastic_tensor(elastic: ArrayLike) -> Array:
    """Return a checked, exactly symmetric elastic tensor.

    Parameters
    ----------
    elastic : (3, 3, 3, 3) or (6, 6) array_like, eV/Angstrom^3
        Stiffness in Cartesian axes; a matrix is in Voigt order xx yy zz yz xz xy. For a monolayer
        (eV/Angstrom^2) every component with an index z is zero. A tangent ``dP/dF`` of a crystal
        under little stress, at most a thousandth of its largest modulus, is taken without it.

    Returns
    -------
    (3, 3, 3, 3) ndarray

    Raises
    ------
    InputError
        Wrong shape, NaN, a missing minor or major symmetry, a crystal under more stress, or a
        tensor that is not positive definite on strains (in-plane strains for a monolayer).
    """
    values = check_finite(elastic, "elastic tensor")
    if values.shape == (6, 6):
        values = from_voigt(values)
    if values.shape != (3, 3, 3, 3):
        raise InputError(
            f"elastic tensor must have shape (3, 3, 3, 3) or (6, 6), not {values.shape}"
        )
    size = float(np.abs(values).max())
    lacking = _lacking(values)
    if lacking:
        unstressed, stress = without_stress(values)
        if _lacking(unstressed):
            raise InputError(f"elastic tensor lacks the symmetry {lacking}")
        if np.abs(stress).max() > _STRESS_TOLERANCE * size:
            raise InputError(_under_stress(unstressed, stress))
        values = unstressed
    symmetric = _symmetric(values)
    matrix = to_voigt(symmetric)
    kept = [0, 1, 5] if is_monolayer(symmetric) else list(range(6))
    lowest = float(np.linalg.eigvalsh(matrix[np.ix_(kept, kept)])[0])
    if not lowest > 1e-12 * np.abs(matrix).max():
        raise InputError(f"elastic tensor is not positive definite: lowest eigenvalue {lowest:.3g}")
    return symmetric


_SYMMETRIES = {"C_ijkl = C_jikl": "ijkl->jikl", "C_ijkl = C_klij": "ijkl->klij"}


def _lacking(tensor: Array) -> str:
    """Return the first symmetry that a tensor lacks, or nothing."""
    tolerance = _SYMMETRY_TOLERANCE * float(np.abs(tensor).max())
    for name, axes in _SYMMETRIES.items():
        if np.abs(tensor - np.einsum(axes, tensor)).max() > tolerance:
            return name
    return ""


def _symmetric(tensor: Array) -> Array:
    """Return the tensor, averaged over its symmetries, without noise off a monolayer's plane."""
    for axes in _SYMMETRIES.values():
        tensor = 0.5 * (tensor + np.einsum(axes, tensor))
    # Averaging over the major symmetry carries the minor symmetry over to the second pair.
    tensor = 0.5 * (tensor + np.einsum("ijkl->jikl", tensor))
    flat = np.zeros_like(tensor)
    flat[:2, :2, :2, :2] = tensor[:2, :2, :2, :2]
    noise = np.abs(tensor - flat).max() <= _SYMMETRY_TOLERANCE * np.abs(flat).max()
    return flat if noise else tensor


def without_stress(tangent: Array) -> tuple[Array, Array]:
    """Split the tangent ``dP/dF`` of a crystal into elastic moduli and stress.

    At F = I the derivative of ``P = F S`` is ``A_ijkl = C_ijkl + delta_ik sigma_jl``, where C has
    all symmetries of elastic moduli, so that ``sigma_jl = (A_ijil - A_jiil) / 2``.

    Parameters
    ----------
    tangent : (3, 3, 3, 3) float64, eV/Angstrom^3

    Returns
    -------
    moduli : (3, 3, 3, 3) float64, eV/Angstrom^3
        C, as far as the tangent is one.
    stress : (3, 3) float64, eV/Angstrom^3

    Notes
    -----
    Source: D. C. Wallace, Thermodynamics of Crystals (1972), section 2.
    """
    stress = 0.5 * (np.einsum("ijil->jl", tangent) - np.einsum("jiil->jl", tangent))
    stress = 0.5 * (stress + stress.T)
    return tangent - np.einsum("ik,jl->ijkl", np.eye(3), stress), stress


def _under_stress(moduli: Array, stress: Array) -> str:
    """Say how large a stress is, and by how much the lattice without it is longer or shorter."""
    matrix = to_voigt(_symmetric(moduli))
    kept = [k for k in range(6) if matrix[k, k] > 0.0]
    voigt = np.array([stress[pair] for pair in VOIGT])[kept]
    strain = -np.linalg.lstsq(matrix[np.ix_(kept, kept)], voigt, rcond=None)[0]
    axes = [k for k, v in enumerate(kept) if v < 3]
    mean = 100.0 * float(strain[axes].mean())
    largest = float(stress.ravel()[np.abs(stress).argmax()])
    return (
        f"the crystal is under stress: {largest:.3g} in the unit of its moduli, "
        f"{100.0 * abs(largest) / np.abs(moduli).max():.2g} % of the largest; fields of "
        f"dislocations need moduli of the lattice without stress, which is about {abs(mean):.2g} % "
        f"{'longer' if mean > 0 else 'shorter'}: see qc.materials.equilibrium_crystal"
    )


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
    c11, c12, c44 = (real(n, v) for n, v in (("c11", c11), ("c12", c12), ("c44", c44)))
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
    shear_modulus = real("shear_modulus", shear_modulus)
    poisson_ratio = real("poisson_ratio", poisson_ratio)
    if poisson_ratio == 0.5:
        raise InputError("poisson_ratio 0.5 is incompressible: the stiffness is infinite")
    lame = 2.0 * shear_modulus * poisson_ratio / (1.0 - 2.0 * poisson_ratio)
    return cubic_elastic(lame + 2.0 * shear_modulus, lame, shear_modulus)
