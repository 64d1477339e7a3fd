"""Build graded meshes of lattice sites: `graded_mesh(crystal, size_field, region)`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from qc.crystal import Crystal
from qc.errors import MeshError, RegionError
from qc.mesh.bisection import Forest, grow_forest
from qc.mesh.boundaries import Boundary, Hull, make_hull
from qc.mesh.quality import worst_class
from qc.mesh.region import Region
from qc.mesh.simplex_mesh import SimplexMesh, facet_table
from qc.mesh.size import PowerGrading
from qc.numerics.checks import kind

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


def graded_mesh(
    crystal: Crystal,
    size_field: PowerGrading,
    region: Region,
    *,
    along: Array | None = None,
    refine: Callable[[Array], NDArray[np.bool_]] | None = None,
    boundary: Boundary | Sequence[Boundary] = (),
    max_vertices: int = 5_000_000,
) -> SimplexMesh:
    """Mesh a region of a crystal with vertices on lattice sites.

    Parameters
    ----------
    crystal : Crystal
        A 3D crystal gives tetrahedra; "columns" and "monolayer" give triangles.
    size_field : PowerGrading
        Largest allowed element size over the region.
    region : Region
        A `LatticeBlock` is filled exactly; of any other region the elements with a vertex inside.
    along : (3,) float64, Angstrom, optional
        A lattice vector that one mesh axis shall follow, where the region leaves the axes free.
    refine : callable, optional
        Takes the corners of elements, (n, d + 1, 3) Angstrom, and returns those to refine whatever
        their size, (n,) bool; single lattice cells are as fine as it gets.
    boundary : Boundary or sequence of Boundary, optional
        What happens at faces of the mesh; the rest of its hull is held. Nothing is meshed beyond
        them: a `LatticeBlock` must have faces there. Other regions have them on one lattice plane,
        or two that are parallel.
    max_vertices : int
        Refuse to grow beyond this.

    Returns
    -------
    SimplexMesh

    Raises
    ------
    MeshError
        The region holds no lattice cell, or the mesh would be too large.
    RegionError
        The region has no face where a boundary is.
    """
    d = crystal.dim
    hull = make_hull(boundary, crystal, region)
    basis = region.mesh_basis(crystal)
    if basis is None:
        basis = best_basis(crystal, along, hull.faces[0].plane if hull.faces else None)
    vectors = basis @ crystal.cell[:d]  # rows: mesh axes in space
    # Sites of a multilattice other than sublattice 0 are carried by the elements' shifts.
    lower_x, upper_x = region.bounds(crystal)
    edge = _macro_edge(vectors, size_field, region, lower_x, upper_x)
    corners = np.array(list(itertools.product(*zip(lower_x[:d], upper_x[:d], strict=True))))
    q = corners @ np.linalg.inv(vectors[:, :d])
    exact = region.lattice_box(crystal, basis)
    if exact is not None:
        lower, upper = exact
        _require_faces(hull, basis, lower, upper)
        extent = upper - lower
        edge = min(edge, int(np.gcd.reduce(extent & -extent)))
        cells = extent // edge
    else:
        lower, cells, edge = _grid(hull, basis, edge, q)
    macro = math.factorial(d) * float(np.prod(cells.astype(np.float64)))
    if macro > 40 * max_vertices:
        raise MeshError(
            f"the region would be {macro:.2g} elements of {edge} lattice cells before any is "
            "refined; give a block sides that a large power of two divides"
        )
    made = 0

    def too_coarse(simplices: IntArray) -> NDArray[np.bool_]:
        nonlocal made
        made += len(simplices)
        if made > 40 * max_vertices:
            raise MeshError(f"mesh would exceed {max_vertices} vertices; enlarge the size field")
        x = np.asarray(simplices @ vectors, dtype=np.float64)
        centre = x.mean(axis=1)
        radius = np.sqrt(((x - centre[:, None])[..., :d] ** 2).sum(-1)).max(axis=1)
        edges = (simplices[:, 1:] - simplices[:, :1]).astype(float)
        # A simplex of one lattice cell counts as one spacing.
        size = size_field.spacing * np.abs(np.linalg.det(edges)) ** (1.0 / d)
        d_centre = size_field.distance(centre)
        # A simplex that may reach into the fully refined set is refined whatever its size.
        coarse = (d_centre - radius < size_field.full) | (size > size_field.size(d_centre))
        coarse &= region.touches(centre, radius)
        return coarse if refine is None else coarse | refine(x)

    periodic = [face.axis(basis)[0] for face in hull.repeats]
    forest = grow_forest(lower, cells, edge, too_coarse, periodic)
    return mesh_of_forest(crystal, forest, basis, region, hull)


def _require_faces(hull: Hull, basis: IntArray, lower: IntArray, upper: IntArray) -> None:
    """Refuse faces that a block does not have."""
    for face in hull.faces:
        k, sign = face.axis(basis)
        end, wanted = (upper[k] if sign > 0 else lower[k]), sign * face.level
        if end != wanted:
            raise RegionError(
                f"the outer block ends at {end} along its axis {k}, but the face of a boundary is "
                f"at {wanted}"
            )


def _grid(hull: Hull, basis: IntArray, edge: int, q: Array) -> tuple[IntArray, IntArray, int]:
    """Whole macro cells over mesh coordinates (n, d), down from a face: lower corner, number, edge.

    Between two faces the edge is one that divides their distance.
    """
    ends = {face.axis(basis): face.axis(basis)[1] * face.level for face in hull.faces}
    if len({k for k, _ in ends}) > 1:
        raise RegionError("only a LatticeBlock has faces that are not parallel")
    for k, sign in ends:
        if sign < 0:
            thickness = max(ends[k, 1] - ends[k, -1], 0)
            edge = min(edge, thickness & -thickness)
            if not edge:
                raise RegionError("the faces of the boundary have nothing between them")
    lower = np.floor(q.min(axis=0) / edge - 1e-9).astype(np.int64) * edge
    cells = np.ceil((q.max(axis=0) - lower) / edge + 1e-9).astype(np.int64)
    for (k, sign), level in ends.items():
        if sign > 0:
            cells[k] = np.ceil((level - q[:, k].min()) / edge + 1e-9)
            if (k, -1) in ends:
                cells[k] = (level - ends[k, -1]) // edge
            lower[k] = level - cells[k] * edge
        if cells[k] < 1:
            raise RegionError("the outer region lies beyond a face of the boundary")
    return lower, cells, edge


def mesh_of_forest(
    crystal: Crystal,
    forest: Forest,
    basis: IntArray,
    region: Region,
    hull: Hull | None = None,
) -> SimplexMesh:
    """Extract the leaves that touch a region as a `SimplexMesh`."""
    d = crystal.dim
    vectors = basis @ crystal.cell[:d]
    leaves = forest.leaves
    x_all = forest.vertices @ vectors
    # A block is filled to its edges; elsewhere the surface follows the sites that are inside.
    if region.lattice_box(crystal, basis) is None:
        inside = region.contains(x_all)
        leaves = leaves[inside[forest.simplices[leaves]].any(axis=1)]
    if not len(leaves):
        raise MeshError("the region holds no lattice cell")
    elements = forest.simplices[leaves]
    used = np.unique(elements)
    renumber = np.full(len(forest.vertices), -1, dtype=np.int64)
    renumber[used] = np.arange(len(used))
    elements = renumber[elements]
    positions = x_all[used]
    q = forest.vertices[used]
    lattice = np.zeros((len(used), 3), dtype=np.int64)
    lattice[:, :d] = q @ basis
    edges = (positions[elements[:, 1:]] - positions[elements[:, :1]])[..., :d]
    signed = np.linalg.det(edges) / math.factorial(d)
    flipped = signed < 0
    elements[flipped, -2:] = elements[flipped, :-3:-1]
    height = crystal.volume / abs(np.linalg.det(crystal.cell[:d, :d])) if d == 2 else 1.0
    facets, counts = np.unique(facet_table(elements), axis=0, return_counts=True)
    boundary = np.zeros(len(used), dtype=bool)
    boundary[facets[counts == 1]] = True
    leaf_element = np.full(len(forest.simplices), -1, dtype=np.int64)
    leaf_element[leaves] = np.arange(len(leaves))
    return SimplexMesh(
        crystal=crystal,
        lattice=lattice,
        positions=positions,
        elements=elements,
        volumes=np.abs(signed) * height,
        gradients=shape_gradients(positions[elements] - positions[elements[:, :1]], d),
        boundary=boundary,
        hull=hull or Hull(),
        hull_facets=facets[counts == 1],
        forest=forest,
        basis=basis,
        _leaf_element=leaf_element,
        _flipped=flipped,
    )


def shape_gradients(edges: Array, d: int) -> Array:
    """Shape-function gradients from vertex positions relative to vertex 0.

    Parameters
    ----------
    edges : (n_e, d + 1, 3) float64
        ``X_k - X_0`` (plus the slip of a cut, where one is crossed); the first row is zero.
    d : int
        Dimension of the simplex; in 2D only x and y are used.

    Returns
    -------
    (n_e, d + 1, 3) float64, 1/Angstrom
    """
    inverse = np.linalg.inv(edges[:, 1:, :d])  # columns: gradients of phi_1..phi_d
    out = np.zeros(edges.shape)
    out[:, 1:, :d] = np.swapaxes(inverse, 1, 2)
    out[:, 0] = -out[:, 1:].sum(axis=1)
    return out


def best_basis(
    crystal: Crystal, along: Array | None = None, plane: IntArray | None = None
) -> IntArray:
    """Mesh axes for a crystal: the unimodular basis whose worst bisection class is best.

    Parameters
    ----------
    crystal : Crystal
    along : (3,) float64, Angstrom, optional
        A lattice vector; one axis follows it, unless it would leave the plane.
    plane : (d,) int64, optional
        Indices of a lattice plane; all axes but one lie in it, and that one leads one layer up.

    Returns
    -------
    (d, d) int64
        Rows are mesh axes in lattice coordinates.
    """
    kind("crystal", crystal, Crystal)
    d = crystal.dim
    # Columns are meshed in the plane; where along the line a column's site lies is no matter.
    axes = crystal.cell[:d, :d]
    gram = np.round(axes @ axes.T / crystal.nearest_neighbour**2, 9)
    fixed = None
    if along is not None:
        q = np.rint(np.asarray(along)[:d] @ np.linalg.inv(axes)).astype(np.int64)
        fixed = tuple(int(v) for v in q // max(int(np.gcd.reduce(q)), 1))
    if plane is not None:
        face = tuple(int(v) for v in plane)
        if fixed is not None and np.dot(fixed, plane) != 0:
            fixed = None
        return np.array(_plane_basis(d, tuple(gram.ravel()), face, fixed), dtype=np.int64)
    return np.array(_best_basis(d, tuple(gram.ravel()), fixed), dtype=np.int64)


@lru_cache(maxsize=64)
def _best_basis(
    d: int, gram: tuple[float, ...], fixed: tuple[int, ...] | None = None
) -> tuple[tuple[int, ...], ...]:
    metric = np.array(gram).reshape(d, d)
    frame = np.linalg.cholesky(metric)  # rows: lattice vectors in some Cartesian frame
    # Bisection makes a cell's mirror images too, so the sign of an axis is no matter.
    short = np.array([v for v in itertools.product(range(-2, 3), repeat=d) if v > (0,) * d])
    length = np.einsum("ni,ij,nj->n", short, metric, short)
    order = np.argsort(length, kind="stable")
    short = short[order][: 2 * d * d + 1]
    first = np.zeros((0, d), dtype=np.int64) if fixed is None else np.array([fixed])
    candidates = (
        np.vstack([first, short[list(combo)]])
        for combo in itertools.combinations(range(len(short)), d - len(first))
    )
    best = _best_shaped(candidates, frame)
    if best is None:
        raise MeshError("no unimodular basis of short lattice vectors found")
    return best


def _best_shaped(
    candidates: Iterable[IntArray], frame: Array
) -> tuple[tuple[int, ...], ...] | None:
    """Return the first of the unimodular bases whose worst shape under bisection is best."""
    best, best_quality = None, -1.0
    for candidate in candidates:
        if abs(round(float(np.linalg.det(candidate)))) != 1:
            continue
        worst = worst_class(candidate @ frame)
        if worst > best_quality + 1e-9:
            best, best_quality = candidate, worst
    return None if best is None else tuple(tuple(int(v) for v in row) for row in best)


@lru_cache(maxsize=64)
def _plane_basis(
    d: int, gram: tuple[float, ...], plane: tuple[int, ...], fixed: tuple[int, ...] | None
) -> tuple[tuple[int, ...], ...]:
    metric = np.array(gram).reshape(d, d)
    frame = np.linalg.cholesky(metric)
    reach = 2 + max(abs(k) for k in plane)
    every = np.array(list(itertools.product(range(-reach, reach + 1), repeat=d)))
    length = np.einsum("ni,ij,nj->n", every, metric, every)
    every = every[np.argsort(length, kind="stable")]
    rise = every @ np.array(plane)
    within = np.array([v for v in every[rise == 0] if tuple(v) > (0,) * d])[: 4 * d]
    upwards = every[rise == 1][: 6 * d]
    first = np.zeros((0, d), dtype=np.int64) if fixed is None else np.array([fixed])
    candidates = (
        np.vstack([first, within[list(combo)], up[None]])
        for combo in itertools.combinations(range(len(within)), d - 1 - len(first))
        for up in upwards
    )
    best = _best_shaped(candidates, frame)
    if best is None:
        raise MeshError(f"no mesh axes with a face on the lattice plane {plane} found")
    return best


def _macro_edge(
    vectors: Array, size_field: PowerGrading, region: Region, lower: Array, upper: Array
) -> int:
    """Largest power of two whose cell is no coarser than the size field anywhere in the region."""
    d = len(vectors)
    far = float(np.linalg.norm(upper[:d] - lower[:d]))
    allowed = float(size_field.size(np.array([far]))[0]) / size_field.spacing
    return 2 ** max(0, math.floor(math.log2(max(allowed, 1.0))))
