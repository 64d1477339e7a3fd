"""The anisotropic elastic field of a straight dislocation by Stroh's sextic formalism.

The line lies along z. In a frame whose first axis points away from the cut, every function of the
solution depends on position through the three complex variables ``z_a = x + p_a y``, and the
principal branch of each ``log z_a`` jumps on the same half line, ``y = 0, x < 0``: the cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qc.errors import InputError
from qc.farfield.elastic import elastic_tensor, from_voigt, is_monolayer
from qc.farfield.field import Array

ComplexArray = NDArray[np.complex128]

# A degenerate tensor (an isotropic one above all) has too few Stroh eigenvectors. Perturbed by a
# relative eps, eigenvalues split by sqrt(eps), and the mean of the solutions for +eps and -eps is
# wrong by about eps^2 + round-off / eps: 5e-11 of b at the value below.
_PERTURBATION = 3e-5
_CLOSURE_REGULAR = 1e-10
_CLOSURE_PERTURBED = 1e-8

# Any fixed matrix without symmetry serves, as long as it splits every multiple eigenvalue.
_GENERIC = np.array(
    [
        [1.00, 0.17, -0.23, 0.11, 0.05, -0.31],
        [0.17, 0.61, 0.29, -0.07, 0.19, 0.13],
        [-0.23, 0.29, 0.83, 0.03, -0.37, 0.02],
        [0.11, -0.07, 0.03, 0.41, 0.09, 0.22],
        [0.05, 0.19, -0.37, 0.09, 0.72, -0.15],
        [-0.31, 0.13, 0.02, 0.22, -0.15, 0.53],
    ]
)


@dataclass(frozen=True, eq=False)
class StrohSolution:
    """Eigenvalues and eigenvectors of the sextic problem for a line along z.

    Attributes
    ----------
    frame : (3, 3) float64
        Rows e1, e2, e3 in Cartesian components; e1 points away from the cut, e3 is +z.
    p : (m,) complex128
        Eigenvalues with positive imaginary part; m = 3, or 6 for a degenerate tensor.
    a, s : (3, m) complex128
        Displacement and stress eigenvectors (A and L in the literature) in the frame, one column
        per eigenvalue, normalised to ``2 a . s = 3 / m``.

    Notes
    -----
    Source: A. N. Stroh, Phil. Mag. 3 (1958) 625 and J. Math. Phys. 41 (1962) 77; D. M. Barnett
    and J. Lothe, Phys. Norv. 7 (1973) 13; J. P. Hirth and J. Lothe, Theory of Dislocations, 2nd
    ed. (1982), ch. 13; D. J. Bacon, D. M. Barnett, R. O. Scattergood, Prog. Mater. Sci. 23 (1979)
    51.
    """

    frame: Array
    p: ComplexArray
    a: ComplexArray
    s: ComplexArray

    def amplitudes(self, burgers: Array) -> ComplexArray:
        """Return ``D`` with ``u_i = Im sum_a D_ia log z_a`` in Cartesian components, (3, m).

        Around the line, counterclockwise about +z, ``u`` grows by exactly ``burgers``.
        """
        d = self.a * (self.s.T @ (self.frame @ burgers)) / np.pi
        d = self.frame.T @ d
        # The jump 2 pi Re sum_a D_ia closes to the accuracy of the eigenvectors only; neighbours
        # across the wake must see b exactly.
        return d + ((burgers / (2.0 * np.pi) - d.real.sum(axis=1)) / len(self.p))[:, None]

    def energy_tensor(self) -> Array:
        """Return the Barnett-Lothe tensor ``L`` (3, 3) in Cartesian components.

        The elastic energy per length between radii r and R is ``b . L . b log(R / r) / (4 pi)``.
        """
        tensor = (-2.0j * self.s @ self.s.T).real
        return self.frame.T @ tensor @ self.frame


def solve_stroh(elastic: Any, cut_direction: Array) -> StrohSolution:
    """Solve the sextic eigenvalue problem for a straight line along z.

    Parameters
    ----------
    elastic : (3, 3, 3, 3) or (6, 6) array_like
        See `qc.farfield.elastic.elastic_tensor`. The out-of-plane components that a monolayer lacks
        are filled in; they do not act on in-plane Burgers vectors.
    cut_direction : (2,) ndarray
        In-plane unit vector along the half line on which the displacement jumps.

    Returns
    -------
    StrohSolution

    Raises
    ------
    InputError
        The tensor is unusable, or so degenerate that the tiny perturbation did not split it.

    Notes
    -----
    A degenerate tensor is perturbed by +-3e-5 of its mean diagonal and the two solutions are
    averaged, which leaves about ten correct digits in the field.
    """
    tensor = elastic_tensor(elastic)
    scale = float(np.einsum("ijij", tensor)) / 9.0
    generic = from_voigt(_GENERIC)
    monolayer = is_monolayer(tensor)
    if monolayer:
        generic[2] = generic[:, 2] = generic[:, :, 2] = generic[..., 2] = 0.0
        # Anti-plane moduli unlike any in-plane one, so that no eigenvalue is shared.
        for k, modulus in ((0, 0.7 * scale), (1, 1.1 * scale)):
            tensor[k, 2, k, 2] = tensor[2, k, k, 2] = modulus
            tensor[k, 2, 2, k] = tensor[2, k, 2, k] = modulus
        tensor[2, 2, 2, 2] = scale
    e1 = np.array([-cut_direction[0], -cut_direction[1], 0.0])
    e3 = np.array([0.0, 0.0, 1.0])
    frame = np.array([e1, np.cross(e3, e1), e3])
    local = np.einsum("ia,jb,kc,ld,abcd->ijkl", frame, frame, frame, frame, tensor, optimize=True)
    local /= scale

    p, a, s, closure = _eigenvectors(local)
    if not closure < _CLOSURE_REGULAR:
        shift = _PERTURBATION * generic
        pairs = [_eigenvectors(local + shift), _eigenvectors(local - shift)]
        p = np.concatenate([pair[0] for pair in pairs])
        a, s = (np.hstack([pair[k] for pair in pairs]) / np.sqrt(2.0) for k in (1, 2))
        closure = max(pair[3] for pair in pairs)
        if not closure < _CLOSURE_PERTURBED:
            raise InputError(
                f"elastic tensor is degenerate for a line along z: its Stroh eigenvectors close "
                f"to {closure:.1e} only"
            )
    if monolayer:
        a[2] = s[2] = 0.0
    return StrohSolution(frame, p, a / np.sqrt(scale), s * np.sqrt(scale))


def _eigenvectors(c: Array) -> tuple[ComplexArray, ComplexArray, ComplexArray, float]:
    """Return p, a, s and by how much the completeness relations of a and s fail."""
    q, r, t = c[:, 0, :, 0], c[:, 0, :, 1], c[:, 1, :, 1]
    inverse = np.linalg.inv(t)
    matrix = np.block([[-inverse @ r.T, inverse], [r @ inverse @ r.T - q, -r @ inverse]])
    values, vectors = np.linalg.eig(matrix)
    keep = np.argsort(-values.imag)[:3]
    p = values[keep].astype(np.complex128)
    a, s = vectors[:3, keep], vectors[3:, keep]
    with np.errstate(all="ignore"):
        norm = np.sqrt(2.0 * np.einsum("ia,ia->a", a, s) + 0j)
        a, s = a / norm, s / norm
        closure = max(
            np.abs(2.0 * (a @ s.T).real - np.eye(3)).max(),
            np.abs(2.0 * (a @ a.T).real).max(),
            np.abs(2.0 * (s @ s.T).real).max(),
        )
    return p, a, s, float(closure) if np.isfinite(closure) else np.inf
