"""A function space over a mesh: nodes that are lattice sites, and the shape functions between.

Displacements are given at nodes; local degrees of freedom are those of the elements. Where a node
of an element is no lattice site - the middle of an edge of one lattice cell, say - there is none,
and its degree of freedom follows the corners linearly. As all elements at that edge agree on this,
functions stay continuous, and the space holds that of linear elements.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from qc.crystal.site_index import SiteIndex
from qc.mesh.elements import Element, get_element
from qc.mesh.simplex_mesh import SimplexMesh, facet_table

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]

#: Lattice coordinates that differ by less are the same site: they are multiples of small fractions.
CLOSE = 1e-6


class Space:
    """Lagrange elements on a mesh.

    Parameters
    ----------
    mesh : SimplexMesh
    element : int or Element
        An order, or an element of one's own.

    Attributes
    ----------
    lattice : (n_nodes, 3) int64
        Lattice coordinates of the nodes: the mesh's vertices, then others.
    connectivity : (n_e, k) int64
        Local degrees of freedom of each element: the nodes by their numbers, then those that
        follow.
    expand : (n_local, n_nodes) csr_matrix or None
        Local degrees of freedom from nodes; None where they are the nodes.
    """

    def __init__(self, mesh: SimplexMesh, element: int | Element = 1) -> None:
        self.mesh, self.element = mesh, get_element(element)
        d = mesh.dim
        inner = self.element.nodes(d)[d + 1 :]
        self.lattice, self.connectivity = mesh.lattice, mesh.elements
        self.expand: sp.csr_matrix | None = None
        #: Elements whose gradient varies: those with a node besides their corners.
        self.varying: Mask = np.zeros(len(mesh.elements), dtype=bool)
        if len(inner):
            self._add(inner)

    def _add(self, inner: Array) -> None:
        """Give numbers to the nodes besides the corners, and to those that are none."""
        mesh, d, n = self.mesh, self.mesh.dim, self.mesh.n_vertices
        count = len(inner)
        x = np.einsum("ja,eac->ejc", inner, mesh.lattice[mesh.elements].astype(np.float64))
        site = np.rint(x)
        there = (np.abs(x - site).max(axis=2) < CLOSE).ravel()
        self.varying = there.reshape(-1, count).any(axis=1)
        flat = site.reshape(-1, 3).astype(np.int64)
        new, number = np.unique(flat[there], axis=0, return_inverse=True)
        local = np.empty(len(flat), dtype=np.int64)
        local[there] = n + number.ravel()
        # The others are told apart by the corners that they follow.
        corners = np.repeat(mesh.elements, count, axis=0)
        weight = np.tile(inner, (len(mesh.elements), 1))
        rest = np.flatnonzero(~there)
        parts = np.where(weight[rest] > 0, corners[rest], -1), np.rint(weight[rest] / CLOSE)
        order = np.argsort(parts[0], axis=1, kind="stable")
        key = np.hstack([np.take_along_axis(part, order, axis=1) for part in parts])
        _, first, number = np.unique(key, axis=0, return_index=True, return_inverse=True)
        n_nodes = n + len(new)
        local[rest] = n_nodes + number.ravel()
        self.lattice = np.vstack([mesh.lattice, new])
        self.connectivity = np.hstack([mesh.elements, local.reshape(-1, count)])
        followed = rest[first]
        if len(followed):
            rows = np.repeat(np.arange(len(followed)), d + 1)
            follow = sp.csr_matrix(
                (weight[followed].ravel(), (rows, corners[followed].ravel())),
                (len(followed), n_nodes),
            )
            self.expand = sp.vstack([sp.identity(n_nodes), follow], format="csr")
            self.expand.eliminate_zeros()

    @cached_property
    def _hull(self) -> tuple[IntArray, IntArray, Array]:
        """Facets of the hull: element (n,), corner that it leaves out (n,), area (n,)."""
        mesh, d = self.mesh, self.mesh.dim
        facets, index, counts = np.unique(
            facet_table(mesh.elements), axis=0, return_index=True, return_counts=True
        )
        element, left_out = np.divmod(index[counts == 1], d + 1)
        x = mesh.positions[facets[counts == 1]]
        if d == 3:
            areas = 0.5 * np.linalg.norm(np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]), axis=1)
        else:
            height = mesh.crystal.volume / abs(np.linalg.det(mesh.crystal.cell[:2, :2]))
            areas = height * np.linalg.norm((x[:, 1] - x[:, 0])[:, :2], axis=1)
        return element, left_out, areas

    @cached_property
    def hull_facets(self) -> IntArray:
        """(n_f, k_f) int64: nodes of each facet on the hull, a corner for those that are none."""
        if self.n_nodes == self.mesh.n_vertices:
            return self.mesh.hull_facets
        element, left_out, _ = self._hull
        on = self.element.nodes(self.mesh.dim)[:, left_out].T == 0.0
        nodes = self.connectivity[element][on].reshape(len(element), -1)
        return np.where(nodes < self.n_nodes, nodes, nodes[:, :1])

    @cached_property
    def free(self) -> Mask:
        """(n_nodes, 3) bool: components of the nodes that nothing on the hull holds."""
        return self.mesh.hull.free(self.lattice, self.hull_facets)

    @property
    def held_at(self) -> Array | None:
        """Where held nodes are, (n_nodes, 3) Angstrom; None for at the predictor."""
        return self.mesh.hull.displacement(self.lattice, self.hull_facets)

    @property
    def ties(self) -> tuple[IntArray, IntArray]:
        """Nodes (m,) that follow others on opposite faces, and these (m,)."""
        image = self.mesh.hull.image(self.lattice)
        follower = np.nonzero((image != self.lattice).any(axis=1))[0]
        return follower, self.node_at(image[follower])

    def tractions(self) -> Array:
        """Return the work-equivalent forces of the hull's tractions, (n_nodes, 3) eV/Angstrom."""
        pulled = [face for face in self.mesh.hull.faces if any(face.traction)]
        if not pulled:
            return np.zeros((self.n_nodes, 3))
        element, left_out, areas = self._hull
        size = self.n_nodes if self.expand is None else self.expand.shape[0]
        out, d = np.zeros((size, 3)), self.mesh.dim
        points, weights = facet_rule(d, self.element.order + 1)
        for face in pulled:
            mine = self.mesh.hull.on(face, self.lattice, self.hull_facets)
            for k in range(d + 1):
                rows = mine & (left_out == k)
                share = weights @ self.element.values(np.insert(points, k, 0.0, axis=1))
                forces = areas[rows, None, None] * share[:, None] * np.asarray(face.traction)
                np.add.at(out, self.connectivity[element[rows]], forces)
        return self.nodal(out)

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return len(self.lattice)

    @cached_property
    def positions(self) -> Array:
        """Reference positions of the nodes, (n_nodes, 3) Angstrom."""
        if self.n_nodes == self.mesh.n_vertices:
            return self.mesh.positions
        more = self.mesh.crystal.positions(self.lattice[self.mesh.n_vertices :])
        return np.vstack([self.mesh.positions, more])

    @cached_property
    def _sites(self) -> SiteIndex:
        return SiteIndex(self.lattice[:, : self.mesh.dim])

    @cached_property
    def _home(self) -> IntArray:
        """One element of each node and each local degree of freedom besides."""
        home = np.empty(int(self.connectivity.max()) + 1, dtype=np.int64)
        home[self.connectivity] = np.arange(len(self.connectivity))[:, None]
        return home

    def node_at(self, lattice: IntArray) -> IntArray:
        """Node at each lattice site (n, 3), -1 where there is none."""
        if self.n_nodes == self.mesh.n_vertices:
            return self.mesh.vertex_at(lattice)
        return self._sites.find(np.asarray(lattice)[:, : self.mesh.dim])

    def locate(self, lattice: IntArray) -> tuple[IntArray, Array]:
        """Find the element of each lattice site (n, 3), and its shape functions there.

        Returns
        -------
        element : (n,) int64
            -1 outside the mesh.
        values : (n, k) float64
            In the order of `connectivity`; zero outside.
        """
        element, barycentric = self.mesh.locate(lattice)
        if self.n_nodes == self.mesh.n_vertices:
            return element, self.element.values(barycentric)
        values = np.where(element[:, None] >= 0, self.element.values(barycentric), 0.0)
        # A node on the hull may have been found in a simplex that was left outside.
        lost = np.nonzero(element < 0)[0]
        node = self.node_at(np.asarray(lattice)[lost])
        lost, node = lost[node >= 0], node[node >= 0]
        element[lost] = self._home[node]
        values[lost] = self.connectivity[element[lost]] == node[:, None]
        return element, values

    def interpolation(self, lattice: IntArray) -> sp.csr_matrix:
        """Return the matrix that takes nodal values to lattice sites (n, 3), (n, n_nodes).

        Rows of sites outside the mesh are empty.
        """
        element, values = self.locate(lattice)
        n, k = values.shape
        columns = np.where(values != 0.0, self.connectivity[element], 0)
        size = self.n_nodes if self.expand is None else self.expand.shape[0]
        matrix = sp.csr_matrix(
            (values.ravel(), (np.repeat(np.arange(n), k), columns.ravel())), (n, size)
        )
        if self.expand is not None:
            matrix = matrix @ self.expand
        matrix.eliminate_zeros()
        matrix.sort_indices()
        return matrix

    def local(self, values: Array) -> Array:
        """Local degrees of freedom (n_local, ...) of nodal values (n_nodes, ...)."""
        return values if self.expand is None else np.asarray(self.expand @ values)

    def nodal(self, values: Array) -> Array:
        """Hand what local degrees of freedom carry to the nodes: the transpose of `local`."""
        return values if self.expand is None else np.asarray(self.expand.T @ values)

    def gradients(self, corner_gradients: Array, barycentric: Array) -> Array:
        """Gradients of the shape functions at points, (n, k, 3) 1/Angstrom.

        Parameters
        ----------
        corner_gradients : (n, d + 1, 3) float64
            Of the barycentric coordinates of each point's element.
        barycentric : (n, d + 1) float64
        """
        return np.einsum("nka,nac->nkc", self.element.derivatives(barycentric), corner_gradients)

    def mean(self, values: Array) -> Array:
        """Mean of nodal values (n_nodes, ...) over the corners of each element, (n_e, ...)."""
        return np.asarray(values[self.mesh.elements].mean(axis=1))

    def lump(self, values: Array, per: float = 1.0) -> Array:
        """Share out what elements have, (n_e,), to their local degrees of freedom, (n_e, k).

        Parameters
        ----------
        values : (n_e,) float64
        per : float
            Unit that the shares are counted in.
        """
        return np.asarray(values[:, None] / (self.element.sharing(self.mesh.dim) * per))


def facet_rule(d: int, n: int) -> tuple[Array, Array]:
    """Gauss points of a facet of a d-simplex: barycentric (m, d), and weights (m,) of sum one."""
    x, w = np.polynomial.legendre.leggauss(n)
    x, w = 0.5 * (1.0 + x), 0.5 * w
    if d == 2:
        return np.stack([1.0 - x, x], axis=1), w
    u, v = (one.ravel() for one in np.meshgrid(x, x, indexing="ij"))
    return np.stack([1.0 - u, u * (1.0 - v), u * v], axis=1), np.outer(2.0 * w * x, w).ravel()
