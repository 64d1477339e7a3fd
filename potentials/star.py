"""A deformed star: from moments of the reference bonds to the Cauchy-Born stress and tangent.

A central-force energy E(F) of bonds R' = F R has, with r = |R'|, s = dE/dr of one bond and t its
own second derivative,

    dE/dF_ij            = F_im M_mj                                  M = sum (s/r) R R
    d2E/dF_ij dF_kl     = F_im F_kp Q_mjpl + delta_ik M_jl           Q = sum (t - s/r)/r^2 R R R R
                          + c (F_im D_mj) (F_kp D_pl)                D = sum (rho'/r) R R, c = F''

so a bond adds to 6, 15 and 6 numbers, whatever the deformation. R and -R add the same, so in a
Bravais lattice half of the star is enough. Of the 81 entries of d2E/dF2 45 differ.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations_with_replacement, product
from typing import NamedTuple

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


def _symmetry() -> tuple[NDArray[np.int64], ...]:
    """Return the sorted index triples and pairs of index pairs, and where each is stored."""
    triples = list(combinations_with_replacement(range(3), 3))
    triple_of = np.empty((3, 3, 3), dtype=np.int64)
    for index in product(range(3), repeat=3):
        i, j, k = sorted(index)
        triple_of[index] = triples.index((i, j, k))
    pairs = list(combinations_with_replacement(range(9), 2))
    upper = np.array([(*divmod(a, 3), *divmod(b, 3)) for a, b in pairs], dtype=np.int64)
    place = np.array([pairs.index((min(p), max(p))) for p in product(range(9), repeat=2)])
    return np.array(triples, dtype=np.int64), triple_of, upper, place.astype(np.int64)


#: Sorted triples (10, 3) and where a triple is stored; the entries ijkl (45, 4) of a tensor with
#: major symmetry and where each of its 81 entries is stored among them.
TRIPLES, TRIPLE_OF, UPPER, PLACE = _symmetry()


class FoldedStar(NamedTuple):
    """The bonds of a star up to their sign, each with how often it occurs.

    ``quadratic`` (k, 6) and ``quartic`` (k, 15) are monomials in the orders of `QUADRATIC` and
    `QUARTIC`; ``types`` (k,) are species, ``weights`` (k,) numbers of bonds. k is a multiple of
    four: bonds that occur no times fill the rest.
    """

    quadratic: Array
    quartic: Array
    types: NDArray[np.int64]
    weights: Array


def fold(star: Array, types: NDArray[np.int64]) -> FoldedStar:
    """Return a star, bonds (k, 3) and species (k,), with R and -R of one species made one."""
    return _folded(star.tobytes(), types.tobytes())


# A solver asks for the same few stars again and again.
@lru_cache(maxsize=16)
def _folded(star: bytes, types: bytes) -> FoldedStar:
    bonds = np.frombuffer(star).reshape(-1, 3)
    species = np.frombuffer(types, dtype=np.int64)
    # The six products tell a bond but for its sign; adding zero makes negative zeros positive.
    rows = np.column_stack([species, *(bonds[:, i] * bonds[:, j] for i, j in QUADRATIC)]) + 0.0
    rows, counts = np.unique(rows, axis=0, return_counts=True)
    fill = -len(rows) % 4
    rows = np.concatenate([rows, np.repeat(rows[:1], fill, axis=0)])
    q = np.ascontiguousarray(rows[:, 1:])
    folded = FoldedStar(
        q,
        np.ascontiguousarray(np.stack([q[:, a] * q[:, b] for a, b in QUARTIC], axis=1)),
        rows[:, 0].astype(np.int64),
        np.concatenate([counts, np.zeros(fill)]),
    )
    for array in folded:
        array.flags.writeable = False
    return folded


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
