"""A deformed star: from moments of the reference bonds to the Cauchy-Born stress and tangent.

A central-force energy E(F) of bonds R' = F R has, with r = |R'|, s = dE/dr of one bond and t its
own second derivative,

    dE/dF_ij            = F_im M_mj                                  M = sum (s/r) R R
    d2E/dF_ij dF_kl     = F_im F_kp Q_mjpl + delta_ik M_jl           Q = sum (t - s/r)/r^2 R R R R
                          + c (F_im D_mj) (F_kp D_pl)                D = sum (rho'/r) R R, c = F''

so a bond adds to 6, 15 and 6 numbers, whatever the deformation.
"""

from __future__ import annotations

from itertools import product

import numba
import numpy as np
from numpy.typing import NDArray

from qc.numerics.jit import kernel

Array = NDArray[np.float64]

#: Component pairs of a symmetric second moment, in storage order: xx, yy, zz, yz, xz, xy.
QUADRATIC = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))

#: Pairs of quadratic monomials whose products are the 15 quartic ones, in storage order.
QUARTIC = tuple((a, b) for a in range(3) for b in range(a, 6))


def _tables() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where a component pair and a component quadruple are stored."""
    second = np.empty((3, 3), dtype=np.int64)
    for k, (i, j) in enumerate(QUADRATIC):
        second[i, j] = second[j, i] = k
    place = {tuple(sorted(QUADRATIC[a] + QUADRATIC[b])): k for k, (a, b) in enumerate(QUARTIC)}
    fourth = np.empty((3, 3, 3, 3), dtype=np.int64)
    for index in product(range(3), repeat=4):
        fourth[index] = place[tuple(sorted(index))]
    return second, fourth


SECOND_OF, FOURTH_OF = _tables()


def quadratic_monomials(star: Array) -> Array:
    """Return the six monomials of each bond of a star, (k, 6), in the order of `QUADRATIC`."""
    return np.ascontiguousarray(np.stack([star[:, i] * star[:, j] for i, j in QUADRATIC], axis=1))


@kernel(parallel=True)
def _assemble(gradients, second, fourth, rank_one, curvature, second_of, fourth_of, tangents):
    for e in numba.prange(len(gradients)):
        f = gradients[e]
        out = tangents[e]
        for j in range(3):
            for p in range(3):
                for q in range(3):
                    for i in range(3):
                        total = 0.0
                        for m in range(3):
                            total += f[i, m] * fourth[e, fourth_of[m, j, p, q]]
                        out[i, j, p, q] = total
        for i in range(3):
            for j in range(3):
                d_ij = 0.0
                for m in range(3):
                    d_ij += f[i, m] * rank_one[e, second_of[m, j]]
                d_ij *= curvature[e]
                for q in range(3):
                    q0 = out[i, j, 0, q] + d_ij * rank_one[e, second_of[0, q]]
                    q1 = out[i, j, 1, q] + d_ij * rank_one[e, second_of[1, q]]
                    q2 = out[i, j, 2, q] + d_ij * rank_one[e, second_of[2, q]]
                    for k in range(3):
                        out[i, j, k, q] = f[k, 0] * q0 + f[k, 1] * q1 + f[k, 2] * q2
                    out[i, j, i, q] += second[e, second_of[j, q]]


def stress_and_tangent(
    gradients: Array,
    second: Array,
    fourth: Array | None = None,
    rank_one: Array | None = None,
    curvature: Array | None = None,
) -> tuple[Array, Array | None]:
    """Return dE/dF and, given the fourth moment, d2E/dF2.

    Parameters
    ----------
    gradients : (n, 3, 3) float64
        Deformation gradients F.
    second, fourth, rank_one : (n, 6), (n, 15), (n, 6) float64
        The moments M, Q and D of the module's formula.
    curvature : (n,) float64
        c, the second derivative of the embedding function; pair potentials leave it out.

    Returns
    -------
    stresses : (n, 3, 3) float64, eV
    tangents : (n, 3, 3, 3, 3) float64 or None
        Index order ``[n, i, j, k, l]`` = d2E / dF_ij dF_kl.
    """
    stresses = np.matmul(gradients, second[:, SECOND_OF])
    if fourth is None:
        return stresses, None
    if rank_one is None or curvature is None:
        rank_one, curvature = np.zeros_like(second), np.zeros(len(second))
    tangents = np.empty((len(gradients), 3, 3, 3, 3))
    _assemble(gradients, second, fourth, rank_one, curvature, SECOND_OF, FOURTH_OF, tangents)
    return stresses, tangents
