"""Which vibrations of a model are explicit, and which are slaved to them.

An element's atoms are partly nodes, which vibrate, and partly slaved to them; the vibrations of
these are integrated out and enter as a free energy:

    W_e = W(F) + s_e f_vib(F, T) / Omega,     s_e = 1 - (nodes of e) / (atoms of e)

The atoms of an element are ``v_e / Omega_site``. Its nodes are counted like the sites of a crystal
in a cell: a vertex belongs to the elements around it in the ratio of their solid angles, measured
in the coordinates of the mesh, in which lattice cells are cubes. Every simplex of a fully refined
mesh is then 1/d! of a cube with exactly 1/d! of a node, so that s_e = 0 there, whatever the number
of simplices at a vertex, and s_e counts the sites inside any coarser element that are no nodes.
The sum is exact: slaved atoms plus nodes are all sites.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qc.coupling.layout import Layout
from qc.errors import InputError
from qc.materials.thermal import QuasiStatic

Array = NDArray[np.float64]


def vibrating(layout: Layout, quasi_static: QuasiStatic | None = None) -> NDArray[np.bool_]:
    """Return which components of the nodes vibrate, (n_nodes, 3): free ones, not quasi-static.

    Raises
    ------
    InputError
        ``quasi_static`` does not return one boolean for each node.
    """
    moving = layout.free.copy()
    if quasi_static is not None:
        still = np.asarray(quasi_static(layout.node_positions))
        if still.shape != (layout.n_nodes,) or still.dtype != bool:
            raise InputError(
                f"quasi_static must return {layout.n_nodes} booleans, one for each node"
            )
        moving[still] = False
    return moving


def slaved_fractions(layout: Layout, quasi_static: QuasiStatic | None = None) -> Array:
    """Return the part s_e of each element's atoms whose vibration is not explicit, (n_e,).

    Parameters
    ----------
    layout : Layout
    quasi_static : callable, optional
        Nodes that do not vibrate. Held nodes never do.

    Returns
    -------
    (n_e,) float64
        Between 0, where every site is a node, and 1. Where a vertex stands for a cell of n_s
        sites it counts for one of them.

    Raises
    ------
    InputError
        ``quasi_static`` does not return one boolean for each node.
    """
    mesh = layout.mesh
    crystal = mesh.crystal
    moving = vibrating(layout, quasi_static)
    components = crystal.dim_lattice
    explicit = np.zeros(mesh.n_vertices)
    for nodes in layout.sublattice_nodes.T:
        has = nodes >= 0
        explicit[has] += moving[nodes[has]].sum(axis=1)
    explicit /= components * crystal.n_sublattices
    inverse = np.rint(np.linalg.inv(mesh.basis)).astype(np.int64)
    corners = (mesh.lattice[:, : mesh.dim] @ inverse)[mesh.elements].astype(float)
    nodes = (solid_angles(corners) * explicit[mesh.elements]).sum(axis=1)
    slaved = 1.0 - nodes / (mesh.volumes / crystal.volume)
    # Round-off in fully refined elements is nothing to evaluate a free energy for.
    return np.where(slaved > 1e-9, np.minimum(slaved, 1.0), 0.0)


def solid_angles(corners: Array) -> Array:
    """Return the angles at the corners of simplices as parts of the full angle, (n, d + 1).

    Parameters
    ----------
    corners : (n, d + 1, d) float64

    Source: A. van Oosterom & J. Strackee, IEEE Trans. Biomed. Eng. 30 (1983) 125.
    """
    n, count, d = corners.shape
    out = np.empty((n, count))
    for k in range(count):
        edges = np.delete(corners, k, axis=1) - corners[:, k : k + 1]
        length = np.linalg.norm(edges, axis=2)
        volume = np.abs(np.linalg.det(edges))
        if d == 2:
            along = np.einsum("ni,ni->n", edges[:, 0], edges[:, 1])
            out[:, k] = np.arctan2(volume, along) / (2.0 * math.pi)
            continue
        a, b, c = length.T
        ab, ac, bc = (
            np.einsum("ni,ni->n", edges[:, i], edges[:, j]) for i, j in ((0, 1), (0, 2), (1, 2))
        )
        out[:, k] = np.arctan2(volume, a * b * c + ab * c + ac * b + bc * a) / (2.0 * math.pi)
    return out
