"""Deformed cells of crystals with a basis under an embedded-atom potential: bonds into classes.

A cell with sublattices s has bonds ``d = F R + p_t - p_s``. With ``v = (R, 1)`` and the 3x4 matrix
``Y = (F, p_t - p_s)``, which all bonds of one pair of sublattices share, ``d = Y v``; of an energy
of the lengths r with slope a r and ``c = (second derivative - a)/r^2``

    dE/dY = Y sum a v v                 d2E/dY dY = sum a v v (x) 1 + (Y)(Y) sum c v v v v

so a bond adds to 10 and 35 numbers, whatever the state. A bond and its reverse have one length, and
bonds within a sublattice are the same on all of them, so each is looked up once. Classes are sets
of bonds with the same ends and species, which count in the same site energies.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations_with_replacement, product
from typing import NamedTuple

import numba
import numpy as np

from ..base import Array, IntArray, Order, Potential
from ..cell_checks import check_cell, check_cell_apart
from . import cell_kernels as kernels

#: Decimals (Angstrom) to which equal bonds agree; others are merely looked up on their own.
DECIMALS = 9


def _orders() -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Sorted index pairs, triples and quadruples of v = (x, y, z, 1), in storage order.

    The kernels take ranges: pairs and triples without the 1 first, quadruples by falling number
    of ones.
    """
    pairs, triples, quadruples = (
        tuple(combinations_with_replacement(range(4), size)) for size in (2, 3, 4)
    )
    return (
        tuple(sorted(pairs, key=lambda i: i.count(3))),
        tuple(sorted(triples, key=lambda i: i.count(3))),
        tuple(sorted(quadruples, key=lambda i: -i.count(3))),
    )


PAIRS, TRIPLES, QUADRUPLES = _orders()


def _places(stored: tuple[tuple[int, ...], ...]) -> IntArray:
    """Where every index tuple, in any order, is stored."""
    size = len(stored[0])
    place = np.empty((4,) * size, dtype=np.int64)
    for index in product(range(4), repeat=size):
        place[index] = stored.index(tuple(sorted(index)))
    return place


QUADRUPLE_OF = _places(QUADRUPLES)
#: A pair is stored as the quadruple of it and two ones: the first ten.
PAIR_OF = np.ascontiguousarray(QUADRUPLE_OF[:, :, 3, 3])
TRIPLE_OF = _places(TRIPLES)
PAIR_LIST = np.array(PAIRS, dtype=np.int64)
TRIPLE_LIST = np.array(TRIPLES, dtype=np.int64)


class Classes(NamedTuple):
    """Bonds of a cell in classes; see `EAM.deformed_cell`.

    Attributes
    ----------
    vectors : (k, 3) float64, Angstrom
        By class and length; every class fills whole groups of four, the rest of the last is zero.
    monomials : (k, 35) float64
        Quartic monomials of (R, 1) in the order of `QUADRUPLES`.
    first, last : (n_c,) int64
        Where the bonds of a class begin and, without the filling, end.
    ends : (n_c, 2) int64
        Sublattices s <= t; equal for the bonds within sublattices.
    rows : (n_c, 2) int64
        Rows of the radial tables for the density at s and, if that at t is another and counts,
        at t; else -1.
    pair_weights : (n_c, n_s) float64
        How often the pair energy counts in each site energy.
    density_weights : (n_c, 2, n_s) float64
        How often the densities of both rows count at each site.
    """

    vectors: Array
    monomials: Array
    first: IntArray
    last: IntArray
    ends: IntArray
    rows: IntArray
    pair_weights: Array
    density_weights: Array


# A solver asks for the same few sets of bonds again and again.
@lru_cache(maxsize=64)
def _classes(vectors: bytes, source: bytes, target: bytes, types: bytes, n_species: int) -> Classes:
    r = np.frombuffer(vectors).reshape(-1, 3)
    s, t = np.frombuffer(source, dtype=np.int64), np.frombuffer(target, dtype=np.int64)
    species = np.frombuffer(types, dtype=np.int64)
    ns = len(species)
    rounded = np.round(r, DECIMALS)
    # The first coordinate that is not zero, of a bond within a sublattice, becomes positive.
    ahead = np.sign(rounded[np.arange(len(r)), np.argmax(rounded != 0.0, axis=1)]) >= 0.0
    turn = (s > t) | ((s == t) & ~ahead)
    sign = np.where(turn, -1.0, 1.0)[:, None]
    low, high = np.minimum(s, t), np.maximum(s, t)
    # Bonds within sublattices are the same for all of one species: the first stands for them.
    stands = np.array([int(np.argmax(species == a)) for a in species])
    inner = s == t
    low, high = np.where(inner, stands[low], low), np.where(inner, stands[high], high)
    keys = np.column_stack([low, high, sign * rounded]) + 0.0
    _, one, unique = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    counts = np.zeros((len(one), ns))
    np.add.at(counts, (unique.ravel(), s), 1.0)
    kinds, kind = np.unique(
        np.column_stack([low[one], high[one], counts]), axis=0, return_inverse=True
    )
    bonds = (sign * r)[one]
    ends = kinds[:, :2].astype(np.int64)
    a, b = species[ends[:, 0]], species[ends[:, 1]]
    weights = np.zeros((len(kinds), 2, ns))
    weights[:, 0] = kinds[:, 2:]
    rows = np.column_stack([a * n_species + b, b * n_species + a])
    for c in np.flatnonzero(a != b):
        weights[c, 1, ends[c, 1]] = weights[c, 0, ends[c, 1]]
        weights[c, 0, ends[c, 1]] = 0.0
    rows[~weights[:, 1].any(axis=1), 1] = -1
    pieces = []
    for label in range(len(kinds)):
        own = bonds[kind.ravel() == label]
        own = own[np.argsort(np.einsum("bi,bi->b", own, own), kind="stable")]
        pieces.append(np.concatenate([own, np.zeros((-len(own) % 4, 3))]))
    first = np.cumsum([0] + [len(own) for own in pieces[:-1]])
    filled = np.concatenate(pieces)
    v = np.column_stack([filled, np.ones(len(filled))])
    found = Classes(
        filled,
        np.ascontiguousarray(v[:, np.array(QUADRUPLES)].prod(axis=2)),
        first.astype(np.int64),
        (first + np.bincount(kind.ravel())).astype(np.int64),
        np.ascontiguousarray(ends),
        np.ascontiguousarray(rows),
        0.5 * kinds[:, 2:],
        weights,
    )
    for array in found:
        array.flags.writeable = False
    return found


def deformed_cell(
    potential: Potential,
    tables: tuple[float, float, Array, float, Array],
    star_rows: Array,
    F: Array,
    shifts: Array,
    vectors: Array,
    source: IntArray,
    target: IntArray,
    types: IntArray,
    order: Order,
) -> tuple[Array, Array, Array, Array | None]:
    """Return site energies, dE/dF, dE/dp and a Hessian; see `EAM.deformed_cell`."""
    f, p, r, s, t, a = check_cell(potential, F, shifts, vectors, source, target, types)
    n, ns = len(f), len(a)
    width = {"gradient": 0, "shifts": 3 * (ns - 1), "full": 9 + 3 * (ns - 1)}[order]
    second = {"gradient": 0, "shifts": 1, "full": 2}[order]
    sites, df, dp = np.empty((n, ns)), np.empty((n, 9)), np.empty((n, ns, 3))
    hessian = np.empty((n, width, width))
    reach, rdr, _, rdrho, embed = tables
    if len(r):
        classes = _classes(
            r.tobytes(), s.tobytes(), t.tobytes(), a.tobytes(), len(potential.species)
        )
        threads, lanes, k = numba.get_num_threads(), kernels.LANES, len(classes.vectors)
        kinds = 6 if (classes.rows[:, 1] >= 0).any() else 4
        kernels.deformed_cell(
            f, p, *classes, a, reach, rdr, star_rows, rdrho, embed,
            second, PAIR_OF, TRIPLE_OF, QUADRUPLE_OF, PAIR_LIST, TRIPLE_LIST,
            np.empty((threads, kernels.rows(ns), lanes)),
            np.empty((threads, lanes), dtype=np.int32),
            np.zeros((threads, kinds, k, lanes)),
            np.empty((threads, k // 4 + len(classes.first)), dtype=np.int64),
            sites, df, dp, hessian,
        )  # fmt: skip
    else:
        sites[:], df[:], dp[:], hessian[:] = embed[a, 0, 0], 0.0, 0.0, 0.0
    if not np.isfinite(sites.sum()):
        check_cell_apart(f, p, r, s, t)
    return sites, df.reshape(n, 3, 3), dp, hessian if width else None
