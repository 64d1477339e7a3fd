"""Periodic images: keep what belongs together in one place."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from ase.geometry import complete_cell
from numpy.typing import NDArray

from qc.crystal.bonds import BondList, Structure, bond_list
from qc.crystal.lattice import gauss_reduce, minkowski_transform

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def image_jumps(d: Array, cell: Array) -> IntArray:
    """Return the integer periods (n, k) to subtract from vectors to bring them near zero."""
    k = len(cell)
    t = np.eye(k, dtype=np.int64)
    if k == 3:
        t = minkowski_transform(cell)
    elif k == 2:
        t = gauss_reduce(cell[0], cell[1])
    if k == 0:
        return np.zeros((len(d), 0), dtype=np.int64)
    # The tiny bias decides ties at half a period the same way for all atoms.
    return np.round(d @ np.linalg.pinv(t @ cell) - 1e-7).astype(np.int64) @ t


def unwrapped_clusters(
    points: Array, item: BoolArray, cell: Array, link: float
) -> tuple[Array, IntArray]:
    """Return the points in images that keep each linked cluster together, and their labels.

    Clusters are placed in the images nearest to the one with the most items.
    """
    k = len(cell)
    full = np.zeros((3, 3))
    full[:k] = cell
    pbc = (k > 0, k > 1, k > 2)
    where = Structure(points, complete_cell(full), pbc, np.full(len(points), "X"))
    bonds = bond_list(where, link, "defects")
    image = np.zeros((len(points), 3), dtype=np.int64)
    label = np.full(len(points), -1, dtype=np.int64)
    n_clusters = 0
    for first in np.flatnonzero(item).tolist():
        if label[first] < 0:
            label[first] = n_clusters
            _grow_tree([first], item, bonds, image, label)
            n_clusters += 1
    _grow_tree(np.flatnonzero(item), np.ones(len(points), dtype=bool), bonds, image, label)
    # What no link reaches stays where it is, in the first cluster.
    label[label < 0] = 0
    points = points + image[:, :k] @ cell
    size = np.bincount(label[item], minlength=n_clusters)
    main = points[item & (label == np.argmax(size))].mean(axis=0)
    for c in range(n_clusters):
        mean = points[label == c].mean(axis=0)
        points[label == c] -= (image_jumps((mean - main)[None], cell) @ cell)[0]
    return points, label


def _grow_tree(
    seeds: Sequence[int] | IntArray,
    allowed: BoolArray,
    bonds: BondList,
    image: IntArray,
    label: IntArray,
) -> None:
    """Attach linked points to labelled ones, in place, shortest link first (Prim's algorithm).

    Short links first keep a cluster compact even where it nearly meets its own periodic image.
    """
    length = np.linalg.norm(bonds.vectors, axis=1)
    heap: list[tuple[float, int, int]] = []

    def push(p: int) -> None:
        for b in range(bonds.start[p], bonds.start[p + 1]):
            q = int(bonds.neighbours[b])
            if allowed[q] and label[q] < 0:
                heapq.heappush(heap, (float(length[b]), b, p))

    for p in seeds:
        push(int(p))
    while heap:
        _, b, p = heapq.heappop(heap)
        q = int(bonds.neighbours[b])
        if label[q] < 0:
            label[q] = label[p]
            image[q] = image[p] + bonds.shifts[b]
            push(q)
