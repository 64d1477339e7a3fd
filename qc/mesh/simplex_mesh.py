"""The mesh: simplices whose vertices are lattice sites, and the checks every mesh must pass."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from qc.crystal import Crystal
from qc.crystal.site_index import SiteIndex
from qc.errors import MeshError
from qc.mesh.bisection import Forest
from qc.mesh.boundaries.hull import Hull
from qc.mesh.quality import simplex_quality

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SimplexMesh:
    """A conforming simplicial mesh over sites of a crystal.

    Attributes
    ----------
    crystal : Crystal
    lattice : (n_n, 3) int64
        Lattice coordinates of the vertices.
    positions : (n_n, 3) float64, Angstrom
        Reference positions of the vertices.
    elements : (n_e, d + 1) int64
        Vertices of each element, positively oriented.
    volumes : (n_e,) float64, Angstrom^3
        In 2.5D the volume of one period along the line; in 2D an area.
    gradients : (n_e, d + 1, 3) float64, 1/Angstrom
        Shape-function gradients on the reference lattice.
    boundary : (n_n,) bool
        Vertices on the hull of the mesh.
    hull : Hull
        What happens at the faces of the mesh.
    hull_facets : (n_f, d) int64
        Vertices of the facets on the hull.
    forest : Forest
        The bisection forest behind the mesh, for locating sites.
    basis : (d, d) int64
        Lattice coordinates (first d) are ``q @ basis`` for mesh coordinates ``q``.
    """

    crystal: Crystal
    lattice: IntArray
    positions: Array
    elements: IntArray
    volumes: Array
    gradients: Array
    boundary: NDArray[np.bool_]
    hull_facets: IntArray
    forest: Forest = field(repr=False)
    basis: IntArray = field(repr=False)
    _leaf_element: IntArray = field(repr=False)
    _flipped: NDArray[np.bool_] = field(repr=False)
    hull: Hull = field(default_factory=Hull)

    @property
    def dim(self) -> int:
        """Dimension of the simplices."""
        return self.elements.shape[1] - 1

    @property
    def n_vertices(self) -> int:
        """Number of vertices."""
        return len(self.positions)

    @cached_property
    def free(self) -> NDArray[np.bool_]:
        """(n_n, 3) bool: components of the vertices that nothing on the hull holds."""
        return self.hull.free(self.lattice, self.hull_facets)

    @property
    def held(self) -> NDArray[np.bool_]:
        """(n_n,) bool: vertices that the hull holds wholly."""
        return np.asarray(~self.free.any(axis=1))

    @property
    def rim(self) -> NDArray[np.bool_]:
        """(n_n,) bool: vertices on the hull beyond which the crystal goes on."""
        out = np.zeros(self.n_vertices, dtype=bool)
        out[self.hull.rest(self.lattice, self.hull_facets, lambda face: face.ends)] = True
        return out

    def locate(self, lattice: IntArray) -> tuple[IntArray, Array]:
        """Find the element of each lattice site.

        Parameters
        ----------
        lattice : (n, 3) int64
            Lattice coordinates; in 2.5D the third does not matter.

        Returns
        -------
        element : (n,) int64
            Element index, -1 outside the mesh. Beyond periodic faces that of the image.
        weights : (n, d + 1) float64
            Barycentric coordinates in the order of ``elements``.
        """
        d = self.dim
        inverse = np.rint(np.linalg.inv(self.basis)).astype(np.int64)
        lattice = self.hull.image(np.asarray(lattice)[:, :d])
        leaf, weights = self.forest.locate(lattice @ inverse)
        element = np.where(leaf >= 0, self._leaf_element[leaf], -1)
        swap = (element >= 0) & self._flipped[element]
        weights[swap, -2:] = weights[swap, :-3:-1]
        weights[element < 0] = 0.0
        # A vertex on the surface may have been found in a leaf that was left outside.
        lost = np.nonzero(element < 0)[0]
        vertex = self.vertex_at(lattice[lost])
        lost, vertex = lost[vertex >= 0], vertex[vertex >= 0]
        home = self._home[vertex]
        element[lost] = home
        weights[lost] = self.elements[home] == vertex[:, None]
        return element, weights

    def vertex_at(self, lattice: IntArray) -> IntArray:
        """Vertex at each lattice site (n, 3), -1 where there is none."""
        return self._sites.find(np.asarray(lattice)[:, : self.dim])

    @cached_property
    def _sites(self) -> SiteIndex:
        return SiteIndex(self.lattice[:, : self.dim])

    @cached_property
    def _home(self) -> IntArray:
        """One element of each vertex."""
        home = np.empty(self.n_vertices, dtype=np.int64)
        home[self.elements] = np.arange(len(self.elements))[:, None]
        return home

    def quality(self) -> Array:
        """Mean-ratio quality of each element on the reference lattice, 1 for a regular simplex."""
        return simplex_quality(self.positions[self.elements][..., : max(self.dim, 2)])


def check_mesh(mesh: SimplexMesh, min_quality: float = 0.05) -> None:
    """Check a mesh for lattice vertices, conformity, volume, orientation and quality.

    Raises
    ------
    MeshError
        Naming the vertex or element at fault.
    """
    crystal, d = mesh.crystal, mesh.dim
    _, s, distance = crystal.integer_coordinates(mesh.positions)
    bad = np.nonzero((distance > 1e-6) | (s != 0))[0]
    if len(bad):
        raise MeshError(
            f"vertex {bad[0]} is {distance[bad[0]]:.3g} Angstrom off the lattice of sublattice 0"
        )
    corners = mesh.positions[mesh.elements][..., :d]
    edges = corners[:, 1:] - corners[:, :1]
    signed = np.linalg.det(edges) / math.factorial(d)
    height = crystal.volume / abs(np.linalg.det(crystal.cell[:d, :d])) if d == 2 else 1.0
    tiny = 0.5 * crystal.volume / math.factorial(d)
    bad = np.nonzero(signed * height < tiny)[0]
    if len(bad):
        raise MeshError(f"element {bad[0]} is inverted or flat: volume {signed[bad[0]]:.3g}")
    if not np.allclose(signed * height, mesh.volumes, rtol=1e-10):
        raise MeshError("stored element volumes do not match the vertices")
    quality = mesh.quality()
    if quality.min() < min_quality:
        raise MeshError(
            f"element {int(quality.argmin())} has quality {quality.min():.3g} < {min_quality}"
        )
    facets = facet_table(mesh.elements)
    keys, counts = np.unique(facets, axis=0, return_counts=True)
    if counts.max() > 2:
        shared = keys[counts.argmax()].tolist()
        raise MeshError(f"facet {shared} is shared by {counts.max()} elements")
    surface = keys[counts == 1]
    if not np.array_equal(np.unique(surface), np.nonzero(mesh.boundary)[0]):
        raise MeshError("boundary vertices do not match the surface facets")
    beyond = ~mesh.hull.exists(mesh.lattice)
    if beyond.any():
        raise MeshError(f"vertex {int(beyond.argmax())} lies beyond a free surface")
    image = mesh.vertex_at(mesh.hull.image(mesh.lattice))
    if image.min() < 0:
        raise MeshError(f"vertex {int(image.argmin())} has no image on the opposite face")
    used = np.zeros(mesh.n_vertices, dtype=bool)
    used[mesh.elements] = True
    if not used.all():
        raise MeshError(f"vertex {int(np.argmin(used))} belongs to no element")
    pairs = (mesh.elements[:, :1].repeat(d, axis=1).ravel(), mesh.elements[:, 1:].ravel())
    graph = sp.coo_matrix((np.ones(len(pairs[0])), pairs), (mesh.n_vertices,) * 2)
    parts, part = connected_components(graph, directed=False)
    if parts > 1:
        lost = int(np.argmax(part != np.bincount(part).argmax()))
        raise MeshError(f"the mesh falls into {parts} parts: vertex {lost} belongs to an orphan")
    # A vertex in the middle of a surface facet of its neighbour would be a hanging node: every
    # facet of a conforming mesh is either shared or on the hull, so a hanging node shows as a
    # surface vertex inside the domain. Located sites must sit at vertices.
    element, weights = mesh.locate(mesh.lattice)
    exact = (element >= 0) & (weights.max(axis=1) == 1.0)
    if not exact.all():
        raise MeshError(f"vertex {int(np.argmin(exact))} hangs inside element or facet")
    if not np.array_equal(surface, mesh.hull_facets):
        raise MeshError("the facets of the hull are not those that one element has")


def facet_table(elements: IntArray) -> IntArray:
    """All facets of all elements, sorted vertex ids, (n_e * (d + 1), d)."""
    d = elements.shape[1] - 1
    parts = [np.delete(elements, k, axis=1) for k in range(d + 1)]
    return np.sort(np.stack(parts, axis=1).reshape(-1, d), axis=1)
