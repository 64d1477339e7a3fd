"""Meshes of heat nodes: simplices of any origin, or coarse ones laid over the mesh of a model."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from qc.errors import InputError, MeshError
from qc.mesh import SimplexMesh
from qc.mesh.bisection import Forest, grow_forest
from qc.mesh.build import shape_gradients
from qc.mesh.simplex_mesh import facet_table
from qc.numerics.checks import positive

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class HeatMesh:
    """Simplices that carry temperatures at their vertices.

    Attributes
    ----------
    positions : (n_v, 3) float64, Angstrom
    elements : (n_e, d + 1) int64
    volumes : (n_e,) float64, Angstrom^3
        What the elements hold of the body; less than the simplex where it sticks out. Per period
        in 2.5D, an area for a monolayer.
    gradients : (n_e, d + 1, 3) float64, 1/Angstrom
        Of the shape functions.
    thickness : float, Angstrom
        Of a plane mesh: the period in 2.5D, 1 for a monolayer, and 1 in 3D.
    """

    positions: Array
    elements: IntArray
    volumes: Array
    gradients: Array
    thickness: float = 1.0

    @classmethod
    def from_simplices(
        cls, positions: ArrayLike, elements: ArrayLike, thickness: float = 1.0
    ) -> HeatMesh:
        """Build from vertices (n_v, 3) and triangles or tetrahedra (n_e, 3 or 4).

        Raises
        ------
        InputError
            Shapes that do not fit, positions that are not finite, vertices that do not exist.
        MeshError
            A flat element; the message names it.
        """
        x = np.array(positions, dtype=np.float64)
        el = np.array(elements, dtype=np.int64)
        if x.ndim != 2 or x.shape[1] != 3 or not np.isfinite(x).all():
            raise InputError("vertices of a heat mesh must be finite and of shape (n, 3)")
        if el.ndim != 2 or el.shape[1] not in (3, 4) or not len(el):
            raise InputError("elements of a heat mesh must be of shape (n, 3) or (n, 4)")
        if el.min() < 0 or el.max() >= len(x):
            raise InputError(f"elements of a heat mesh name vertices outside 0 .. {len(x) - 1}")
        positive("thickness", thickness)
        d = el.shape[1] - 1
        edges = x[el] - x[el[:, :1]]
        volume = np.abs(np.linalg.det(edges[:, 1:, :d])) / math.factorial(d)
        size = np.linalg.norm(edges[:, 1:, :d], axis=2).max(axis=1)
        flat = np.nonzero(volume < 1e-9 * size**d)[0]
        if len(flat):
            raise MeshError(f"element {flat[0]} of the heat mesh is flat")
        height = thickness if d == 2 else 1.0
        return cls(x, el, volume * height, shape_gradients(edges, d), float(height))

    @classmethod
    def of(cls, mesh: HeatMesh | SimplexMesh) -> HeatMesh:
        """Return a lattice mesh as a mesh of heat nodes."""
        if isinstance(mesh, HeatMesh):
            return mesh
        if not isinstance(mesh, SimplexMesh):
            raise InputError(f"expected a HeatMesh or SimplexMesh, got {type(mesh).__name__}")
        return cls(mesh.positions, mesh.elements, mesh.volumes, mesh.gradients, _thickness(mesh))

    @property
    def dim(self) -> int:
        """Dimension of the simplices."""
        return self.elements.shape[1] - 1

    @property
    def facets(self) -> IntArray:
        """Vertices of the facets on the surface, (n_f, d)."""
        facets, counts = np.unique(facet_table(self.elements), axis=0, return_counts=True)
        return facets[counts == 1]

    def facet_areas(self, facets: IntArray) -> Array:
        """Areas of facets (n_f, d), Angstrom^2; of a strip of the thickness in the plane."""
        x = self.positions[facets]
        if self.dim == 2:
            return np.asarray(np.linalg.norm((x[:, 1] - x[:, 0])[:, :2], axis=1) * self.thickness)
        return np.asarray(
            0.5 * np.linalg.norm(np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]), axis=1)
        )


@dataclass(frozen=True, eq=False)
class Cover:
    """A coarse mesh over a lattice mesh.

    Attributes
    ----------
    mesh : HeatMesh
    weights : (n_vertices, n_v) csr_matrix
        Shape functions of the coarse vertices at the fine ones; rows sum to one.
    element : (n_e of the fine mesh,) int64
        Coarse element that holds each fine one, or its middle.
    """

    mesh: HeatMesh
    weights: sp.csr_matrix
    element: IntArray


def cover(mesh: SimplexMesh, size: float) -> Cover:
    """Lay a mesh with elements no smaller than ``size`` over a lattice mesh.

    Where the lattice mesh is made of large cells it is coarsened: every new element is a union of
    old ones, or an old one where these are large enough. Where its cells are smaller than
    ``size``, new cells are laid over it. Elements that stick out of the lattice mesh hold only
    what is inside, and since gradients are constant in an element the stiffness that belongs to
    it is exact all the same.

    Parameters
    ----------
    mesh : SimplexMesh
    size : float, Angstrom
        Edge of the cells; an element of one lattice cell is one nearest-neighbour distance large.

    Raises
    ------
    InputError
        The size is not positive and finite.
    """
    positive("size of heat elements", size)
    d, old = mesh.dim, mesh.forest
    edge = max(float(size) / mesh.crystal.nearest_neighbour * (1.0 - 1e-9), 1.0)
    inverse = np.rint(np.linalg.inv(mesh.basis)).astype(np.int64)
    q = mesh.lattice[:, :d] @ inverse
    if old.edge >= edge:
        forest = _coarsened(old, edge)
    else:
        # Lattice cells smaller than this everywhere: one grid of equal cells.
        cell = 2 ** math.ceil(math.log2(edge))
        cells = np.maximum(-((old.lower - q.max(axis=0)) // cell), 1)
        forest = grow_forest(old.lower, cells, cell, lambda s: np.zeros(len(s), dtype=bool))
    leaf, bary = forest.locate(q)
    # Middles of elements are integer in a lattice d + 1 times finer.
    fine = replace(forest, lower=forest.lower * (d + 1), edge=forest.edge * (d + 1))
    home, _ = fine.locate(q[mesh.elements].sum(axis=1))
    filled = np.bincount(home, mesh.volumes, minlength=len(forest.simplices))
    kept = filled > 0.0
    used = np.zeros(len(forest.vertices), dtype=bool)
    used[forest.simplices[kept]] = True
    # A vertex on a facet may be found on the side where there is no body.
    stray = ((bary > 0.0) & ~used[forest.simplices[leaf]]).any(axis=1)
    kept[leaf[stray]] = True
    used[forest.simplices[kept]] = True
    number = np.cumsum(used) - 1
    elements = number[forest.simplices[kept]]
    positions = np.asarray(
        forest.vertices[used] @ (mesh.basis @ mesh.crystal.cell[:d]), dtype=np.float64
    )
    gradients = shape_gradients(positions[elements] - positions[elements[:, :1]], d)
    inside = np.asarray(filled[kept], dtype=np.float64)
    coarse = HeatMesh(positions, elements, inside, gradients, _thickness(mesh))
    rows = np.repeat(np.arange(len(q)), d + 1)
    columns = np.where(bary > 0.0, number[forest.simplices[leaf]], 0).ravel()
    weights = sp.coo_matrix((bary.ravel(), (rows, columns)), (len(q), len(positions))).tocsr()
    weights.eliminate_zeros()
    return Cover(coarse, weights, (np.cumsum(kept) - 1)[home])


def _coarsened(old: Forest, edge: float) -> Forest:
    """Return a forest that bisects as the old one does, but no further than a size."""
    d = old.vertices.shape[1]
    span = tuple(int(s) for s in old.cells * old.edge + 1)
    known = np.sort(np.ravel_multi_index(tuple((old.vertices - old.lower).T), span))
    first, second = np.triu_indices(d + 1, 1)

    def too_coarse(simplices: IntArray) -> NDArray[np.bool_]:
        measure = np.abs(np.linalg.det((simplices[:, 1:] - simplices[:, :1]).astype(float)))
        large = 0.5 * measure >= edge**d
        # A conforming forest has bisected a simplex exactly if it has the middle of an edge.
        ends = simplices[:, first] + simplices[:, second] - 2 * old.lower
        key = np.ravel_multi_index(tuple(np.moveaxis(ends // 2, -1, 0)), span)
        at = np.minimum(np.searchsorted(known, key), len(known) - 1)
        halved = ((ends % 2 == 0).all(axis=-1) & (known[at] == key)).any(axis=1)
        return np.asarray(large & halved)

    return grow_forest(old.lower, old.cells, old.edge, too_coarse)


def _thickness(mesh: SimplexMesh) -> float:
    crystal, d = mesh.crystal, mesh.dim
    return float(crystal.volume / abs(np.linalg.det(crystal.cell[:2, :2]))) if d == 2 else 1.0
