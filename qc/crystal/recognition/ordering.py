"""Ordered compounds: which sublattices of a recognised lattice which elements hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.crystal.crystal import Crystal
from qc.crystal.structures import BCC_CELL, FCC_CELL

IntArray = NDArray[np.int64]

#: A larger share of atoms of other elements is a compound or an alloy, not a set of defects.
MOST_FOREIGN = 0.2
#: Least share of one element on a sublattice for it to be that element's.
_LEAST_ORDER = 0.8


@dataclass(frozen=True)
class _Compound:
    """A structure whose sites are those of a parent lattice.

    ``cells`` are its primitive cells (rows) in edges of the parent's cube, one for each direction
    that it can lie in; ``counts`` is how often each element is in the cell, sorted.
    """

    name: str
    parent: str
    cells: tuple[NDArray[np.float64], ...]
    counts: tuple[int, ...]


_TETRAGONAL = np.array([[0.5, 0.5, 0.0], [-0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])

#: The smaller cells of a parent come first.
COMPOUNDS = (
    _Compound("zincblende", "diamond", (FCC_CELL,), (1, 1)),
    _Compound("B2", "bcc", (np.eye(3),), (1, 1)),
    _Compound("D0_3", "bcc", (2.0 * FCC_CELL,), (1, 3)),
    _Compound(
        "L1_0", "fcc", tuple(np.roll(_TETRAGONAL, k, axis=1) for k in range(3)), (1, 1)
    ),
    _Compound("L1_2", "fcc", (np.eye(3),), (1, 3)),
)  # fmt: skip
_PRIMITIVE = {"fcc": FCC_CELL, "bcc": BCC_CELL, "diamond": FCC_CELL}

NAMES = ", ".join(compound.name for compound in COMPOUNDS)


@dataclass(frozen=True, eq=False)
class Order:
    """A compound found on the sites of a parent crystal.

    Attributes
    ----------
    crystal : Crystal
        With a basis of several elements.
    transform : (3, 3) int64
        Its cell in lattice vectors of the parent.
    offsets : (n_s, 3) int64
        Integer coordinates in the parent of the site of each sublattice.
    sublattices : (n_s,) int64
        Sublattice of the parent that each sublattice is on.
    """

    crystal: Crystal
    transform: IntArray
    offsets: IntArray
    sublattices: IntArray

    def sites(self, m: IntArray, s: IntArray) -> tuple[IntArray, IntArray]:
        """Return integer coordinates and sublattices, in the compound, of sites of the parent."""
        cells = _cells(m, self.transform)
        rest = m - cells @ self.transform
        same = (rest[:, None] == self.offsets).all(axis=2) & (s[:, None] == self.sublattices)
        return cells, same.argmax(axis=1)


def has_compound(symbols: Sequence[str] | NDArray[np.str_]) -> bool:
    """Say whether atoms of these elements are more than a crystal of one with foreign atoms."""
    _, counts = np.unique(np.asarray(symbols), return_counts=True)
    return bool(counts.max() < (1.0 - MOST_FOREIGN) * counts.sum())


def find_order(
    symbols: NDArray[np.str_], parent: Crystal, m: IntArray, s: IntArray
) -> Order | None:
    """Return the compound whose sublattices hold one element each, antisites aside.

    Parameters
    ----------
    symbols : (n,) array of str
    parent : Crystal
        The lattice of the sites, whatever stands on them.
    m : (n, 3) int64
    s : (n,) int64
        The site of each atom.
    """
    for compound in COMPOUNDS:
        if compound.parent != parent.name:
            continue
        for cell in compound.cells:
            transform = np.round(cell @ np.linalg.inv(_PRIMITIVE[parent.name])).astype(np.int64)
            order = _ordered(compound, transform, symbols, parent, m, s)
            if order is not None:
                return order
    return None


def _cells(m: IntArray, transform: IntArray) -> IntArray:
    """Return the cell of the superlattice that each parent cell is in."""
    return np.floor(m @ np.linalg.inv(transform) + 1e-9).astype(np.int64)


def _ordered(
    compound: _Compound,
    transform: IntArray,
    symbols: NDArray[np.str_],
    parent: Crystal,
    m: IntArray,
    s: IntArray,
) -> Order | None:
    rest = m - _cells(m, transform) @ transform
    classes, place = np.unique(np.column_stack([rest, s]), axis=0, return_inverse=True)
    place = place.ravel()
    n_sites = round(abs(np.linalg.det(transform))) * parent.n_sublattices
    if len(classes) != n_sites:
        return None
    elements = []
    for k in range(n_sites):
        names, counts = np.unique(symbols[place == k], return_counts=True)
        if counts.max() < _LEAST_ORDER * counts.sum():
            return None
        elements.append(str(names[counts.argmax()]))
    if tuple(sorted(elements.count(name) for name in set(elements))) != compound.counts:
        return None
    # The site at the origin is the first.
    origin = int(np.flatnonzero(~classes.any(axis=1))[0])
    order = np.concatenate([[origin], np.setdiff1d(np.arange(n_sites), origin)])
    offsets, sublattices = classes[order, :3], classes[order, 3]
    crystal = Crystal(
        cell=transform @ parent.cell,
        basis=parent.positions(offsets, sublattices),
        symbols=tuple(elements[k] for k in order),
        name=compound.name,
        a=parent.a,
        rotation=parent.rotation,
    )
    return Order(crystal, transform, offsets, sublattices)
