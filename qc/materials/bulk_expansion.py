"""Slightly strained elements against the strained bulk: differences that keep their digits.

``W(F_0 + H) - W(F_0)`` is quadratic in H where the bulk is without stress, and taken as a
difference it has an error of ``eps |W|`` whatever H: in a large element far from a defect more than
it stores. With ``p(t) = P(F_0 + t H) : H`` it is the integral of p over (0, 1). The quadratic with
the right p(0), p'(0) and p(1) gives

    W(F_0 + H) - W(F_0) = [2 P_0 + P(F_0 + H)] : H / 3 + H : A_0 : H / 6 + O(H^4)

whose error is below the round-off of the difference up to `SMALL`. Below `TINY` the same goes for
the stress, ``P_0 + A_0 : H``: the faces of a large element multiply the round-off of P.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Frobenius norm of H up to which energies are integrals. The error of the quadratic, of fourth
#: order, is below 1e-17 of W here; of third order, where a bond passes the knot of a spline, it is
#: 1e-14 of W, and 1e-5 of the energy of such an element.
SMALL = 1e-5

#: Primitive cells from which on a quadrature point stands for so many that this is worth its time.
LARGE = 100.0

#: Norm of H up to which the stress is linear; what is left out is 1e-16 of the moduli.
TINY = 1e-10


class BulkExpansion:
    """Stress and moduli of the strained bulk at every quadrature point.

    They are a sum of parts, each of which is the same everywhere but for a factor.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[Array | None, Array, Array]] = []

    def add(self, stress: Array, moduli: Array, factor: Array | None = None) -> None:
        """Add a part.

        Parameters
        ----------
        stress : (3, 3) float64, eV/Angstrom^3
        moduli : (3, 3, 3, 3) float64, eV/Angstrom^3
        factor : (n_q,) float64, optional
            What each point has of it; one by default.
        """
        self._parts.append((factor, stress.reshape(9), moduli.reshape(9, 9).T))

    def _linear(self, h: Array, rows: IntArray) -> tuple[Array, Array]:
        """``P_0`` and ``A_0 : H`` of some points, (n, 9) each."""
        first, change = np.zeros_like(h), np.zeros_like(h)
        for factor, stress, moduli in self._parts:
            own = 1.0 if factor is None else factor[rows, None]
            first += own * stress
            change += own * (h @ moduli)
        return first, change

    def stress(self, h: Array, rows: IntArray) -> Array:
        """``P_0 + A_0 : H`` for H (n, 3, 3) at points ``rows`` (n,), eV/Angstrom^3."""
        first, change = self._linear(h.reshape(-1, 9), rows)
        return (first + change).reshape(-1, 3, 3)

    def excess(self, h: Array, stress: Array, rows: IntArray) -> Array:
        """Energy density over that of the bulk, (n,) eV/Angstrom^3.

        Parameters
        ----------
        h : (n, 3, 3) float64
            Deformation gradient less that of the bulk.
        stress : (n, 3, 3) float64, eV/Angstrom^3
            There.
        rows : (n,) int64
            The points.
        """
        flat = h.reshape(-1, 9)
        first, change = self._linear(flat, rows)
        mean = (2.0 * first + stress.reshape(-1, 9)) / 3.0 + change / 6.0
        return np.einsum("qi,qi->q", mean, flat)
