"""From one model of a crystal to another with other regions: nodes, displacements, dead loads."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from qc.coupling.layout import Layout
from qc.loads import DeadLoad

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


def matching_nodes(one: Layout, other: Layout) -> IntArray:
    """For every node of one layout the same node of the other, or -1; (n_one,) int64."""
    vertex, s = one.site_nodes.T
    at = other.space.node_at(one.space.lattice[vertex])
    found = np.where(at >= 0, other.sublattice_nodes[at, s], -1)
    # A vertex that stands for its cell is not the node of a sublattice.
    if not one.mesh.crystal.is_bravais:
        here = one.whole_cells[: len(vertex)]
        there = np.where(found >= 0, other.whole_cells[found], here)
        found = np.where(here == there, found, -1)
    return np.concatenate([found, _extra(one, other)]).astype(np.int64)


def interpolation(one: Layout, other: Layout) -> sp.csr_matrix:
    """Linear interpolation of the other layout's nodes at the nodes of one, (n_one, n_other).

    Sublattices that a corner does not carry go with its cell; outside the other mesh rows are zero.
    """
    vertex, s = one.site_nodes.T
    inside = other.space.interpolation(one.space.lattice[vertex]).tocoo()
    nodes = other.sublattice_nodes[inside.col, s[inside.row]]
    nodes = np.where(nodes >= 0, nodes, inside.col)
    shape = (one.n_nodes, other.n_nodes)
    matrix = sp.csr_matrix((inside.data, (inside.row, nodes)), shape)
    extra = np.arange(len(vertex), one.n_nodes)
    ones = sp.csr_matrix((np.ones(len(extra)), (extra, _extra(one, other))), shape)
    return matrix + ones


def carried_load(load: DeadLoad, weights: sp.csr_matrix, at_old: Array, at_new: Array) -> DeadLoad:
    """Return a dead load on the nodes of another layout.

    Parameters
    ----------
    load : DeadLoad
    weights : (n_old, n_new) sparse
        `interpolation` of the new nodes at the old ones; the new mesh covers the old one.
    at_old, at_new : (n, 3) float64, Angstrom
        Predictors of the two.

    Returns
    -------
    DeadLoad
        Forces ``N^T f``, N interpolating the new nodes at the old ones, which do the work of the
        old forces in every displacement of the new nodes; so the resultant is the same. The
        energy too is the same at displacements that both meshes have.
    """
    f = np.asarray(load.forces)
    forces = np.asarray(weights.T @ f)
    level = float(np.einsum("ni,ni->", f, at_old - np.asarray(load.reference)))
    size = float(np.einsum("ni,ni->", forces, forces))
    shift = forces * (level / size) if size > 0.0 else np.zeros_like(forces)
    return DeadLoad(forces, at_new - shift)


def _extra(one: Layout, other: Layout) -> IntArray:
    return np.arange(one.n_extra, dtype=np.int64) + (other.n_nodes - other.n_extra)
