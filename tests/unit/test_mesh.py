"""Meshes of lattice sites: conformity, volume, quality, location, nestedness."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qc.crystal import bcc, diamond, fcc, triangular
from qc.errors import InputError, MeshError
from qc.mesh import (
    Ball,
    CoreSet,
    LatticeBlock,
    PowerGrading,
    best_basis,
    check_mesh,
    graded_mesh,
)
from qc.mesh.bisection import grow_forest
from qc.mesh.quality import simplex_quality, worst_class

LOMER = {"x": [1, 1, 0], "y": [0, 0, 1], "z": [1, -1, 0]}
SCREW = {"x": [1, 1, -2], "y": [-1, 1, 0], "z": [1, 1, 1]}
EDGE = {"x": [1, -1, 0], "y": [1, 1, 1], "z": [-1, -1, 2]}

CRYSTALS = {
    "fcc": fcc("Cu", 3.6),
    "bcc": bcc("Fe", 2.87),
    "bcc turned": bcc("W", 3.16, **SCREW),
    "fcc columns": fcc("Cu", 3.6).as_columns(),
    "bcc columns": bcc("Fe", 2.87).as_columns(),
    "lomer columns": fcc("Al", 4.05, **LOMER).as_columns(),
    "screw columns": bcc("W", 3.16, **SCREW).as_columns(),
    "edge columns": fcc("Cu", 3.6, **EDGE).as_columns(),
    "triangular": triangular("X", 1.0),
    "diamond": diamond("Si", 5.43),
}

# Mean-ratio quality of the worst simplex. The plane ones follow from the lattice: bisection
# makes the triangle of sides 1, 1, sqrt(3) of a hexagonal net (3/5).
QUALITY = {"triangular": 0.6, "screw columns": 0.6, "fcc": 0.4, "bcc": 0.5}


def sizes(crystal, full=3.0, exponent=1.6, centre=(0.0, 0.0, 0.0), largest=0.5):
    spacing = crystal.nearest_neighbour
    core = CoreSet(np.array([centre]), planar=crystal.dim == 2)
    return PowerGrading(core.distance, full * spacing, spacing, exponent, largest)


@cache
def ball_mesh(name, full=3.0, exponent=1.6):
    crystal = CRYSTALS[name]
    region = Ball(12 * crystal.nearest_neighbour, planar=crystal.dim == 2)
    return graded_mesh(crystal, sizes(crystal, full, exponent), region)


def random_sites(mesh, n, seed=0, reach=14):
    rng = np.random.default_rng(seed)
    d = mesh.dim
    q = mesh.crystal.nearest_neighbour * rng.uniform(-reach, reach, (n, 3))
    m = np.rint(q @ mesh.crystal.inverse_cell).astype(np.int64)
    if d == 2:
        m[:, 2] = 0
    return m


@pytest.mark.parametrize("name", CRYSTALS)
def test_mesh_passes_its_checks(name):
    mesh = ball_mesh(name)
    check_mesh(mesh)
    # Coarser than the lattice, or nothing was tested.
    cell = mesh.crystal.volume / (6 if mesh.dim == 3 else 2)
    assert mesh.volumes.max() > 3.9 * cell
    assert mesh.volumes.min() == pytest.approx(cell)


@pytest.mark.parametrize("name", CRYSTALS)
def test_facets_are_shared_by_two_or_lie_on_the_surface(name):
    mesh = ball_mesh(name)
    count = {}
    for element in mesh.elements.tolist():
        for k in range(mesh.dim + 1):
            facet = frozenset(element[:k] + element[k + 1 :])
            count[facet] = count.get(facet, 0) + 1
    assert set(count.values()) == {1, 2}
    surface = {v for facet, c in count.items() if c == 1 for v in facet}
    assert surface == set(np.nonzero(mesh.boundary)[0].tolist())
    # The surface is where the region ends, not somewhere inside.
    gap = np.linalg.norm(mesh.positions[mesh.boundary][:, : mesh.dim], axis=1)
    assert gap.min() > 11.9 * mesh.crystal.nearest_neighbour


@pytest.mark.parametrize("name", CRYSTALS)
def test_volumes_and_orientation(name):
    mesh = ball_mesh(name)
    d = mesh.dim
    corners = mesh.positions[mesh.elements]
    edges = (corners[:, 1:] - corners[:, :1])[..., :d]
    if d == 3:
        signed = np.einsum("ei,ei->e", edges[:, 0], np.cross(edges[:, 1], edges[:, 2])) / 6
    else:
        signed = 0.5 * (edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0])
        # One period along the line; a monolayer has height one.
        signed = signed * mesh.crystal.cell[2, 2]
    np.testing.assert_allclose(mesh.volumes, signed, rtol=1e-12)
    # Every site is counted: a vertex's share of volume in the fully refined core is one cell.
    share = np.zeros(mesh.n_vertices)
    for k in range(d + 1):
        share += np.bincount(mesh.elements[:, k], mesh.volumes / (d + 1), mesh.n_vertices)
    core = np.linalg.norm(mesh.positions[:, :d], axis=1) < 2 * mesh.crystal.nearest_neighbour
    assert share[core].mean() == pytest.approx(mesh.crystal.volume, rel=0.2)


@pytest.mark.parametrize("name", CRYSTALS)
def test_shape_functions_are_linear_and_sum_to_one(name):
    mesh = ball_mesh(name)
    d = mesh.dim
    corners = mesh.positions[mesh.elements]
    gradient = np.einsum("eai,eaj->eij", corners[..., :d], mesh.gradients[..., :d])
    np.testing.assert_allclose(gradient, np.broadcast_to(np.eye(d), gradient.shape), atol=1e-12)
    np.testing.assert_allclose(mesh.gradients.sum(axis=1), 0.0, atol=1e-12)
    assert not mesh.gradients[..., d:].any()


@pytest.mark.parametrize("name", CRYSTALS)
def test_quality_is_bounded_by_the_crystal(name):
    mesh = ball_mesh(name)
    crystal, d = mesh.crystal, mesh.dim
    worst = worst_class(mesh.basis @ crystal.cell[:d, :d])
    assert mesh.quality().min() >= worst - 1e-9
    assert worst >= QUALITY.get(name, 0.39) - 1e-9


def test_quality_of_known_simplices():
    regular = np.array([[[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]]])
    assert simplex_quality(regular) == pytest.approx([1.0])
    triangle = np.array([[[0, 0], [1, 0], [0.5, np.sqrt(3) / 2]], [[0, 0], [1, 0], [2, 0.0]]])
    assert simplex_quality(triangle) == pytest.approx([1.0, 0.0])
    # Sides 1, 1, sqrt(3).
    flat = np.array([[[0, 0], [np.sqrt(3), 0], [np.sqrt(3) / 2, 0.5]]])
    assert simplex_quality(flat) == pytest.approx([0.6])


@pytest.mark.parametrize("name", ["lomer columns", "edge columns"])
def test_mesh_axes_of_columns_are_chosen_in_the_plane(name):
    # Sites of a column may lie anywhere along the line; that must not change the triangles.
    crystal = CRYSTALS[name]
    plane = crystal.cell[:2, :2]
    chosen = worst_class(best_basis(crystal) @ plane)
    others = [
        worst_class(np.array(basis) @ plane)
        for basis in ([[1, 0], [0, 1]], [[1, 0], [1, 1]], [[1, 0], [-1, 1]], [[1, 1], [0, 1]])
    ]
    assert chosen >= max(others) - 1e-9


@pytest.mark.parametrize("name", CRYSTALS)
def test_every_site_of_the_full_region_is_a_vertex(name):
    mesh = ball_mesh(name)
    sites = random_sites(mesh, 4000, reach=4)
    d = mesh.dim
    distance = np.linalg.norm(mesh.crystal.positions(sites)[:, :d], axis=1)
    full = distance <= 3.0 * mesh.crystal.nearest_neighbour
    assert full.sum() > 50
    vertex = mesh.vertex_at(sites)
    assert (vertex[full] >= 0).all()
    found = vertex >= 0
    assert np.array_equal(mesh.lattice[vertex[found]][:, :d], sites[found][:, :d])
    # Further out there are sites without a vertex.
    assert (mesh.vertex_at(random_sites(mesh, 500)) < 0).any()


@pytest.mark.parametrize("name", CRYSTALS)
def test_locate_is_exact(name):
    mesh = ball_mesh(name)
    d = mesh.dim
    sites = random_sites(mesh, 3000)
    element, weights = mesh.locate(sites)
    inside = element >= 0
    radius = np.linalg.norm(mesh.crystal.positions(sites)[:, :d], axis=1)
    # The surface is jagged: a coarse element without a vertex inside the ball is left out.
    assert inside[radius < 9 * mesh.crystal.nearest_neighbour].all()
    assert not inside.all()
    assert not weights[~inside].any()
    assert weights.min() == 0.0
    assert (weights[inside].sum(axis=1) == 1.0).all()
    # Barycentric coordinates are dyadic rationals: the integer coordinates come back exactly.
    corners = mesh.lattice[mesh.elements[element[inside]]][..., :d]
    back = np.einsum("na,nai->ni", weights[inside], corners)
    assert np.array_equal(back, sites[inside][:, :d])


def test_locate_finds_vertices_on_the_surface():
    mesh = ball_mesh("fcc")
    element, weights = mesh.locate(mesh.lattice)
    assert (element >= 0).all()
    assert (weights.max(axis=1) == 1.0).all()
    at = mesh.elements[element, weights.argmax(axis=1)]
    assert np.array_equal(at, np.arange(mesh.n_vertices))


@pytest.mark.parametrize("name", ["fcc", "lomer columns", "triangular"])
def test_finer_mesh_is_nested(name):
    crystal = CRYSTALS[name]
    d = crystal.dim
    block = LatticeBlock((-16,) * d, (16,) * d).bind(crystal)
    coarse, fine = (graded_mesh(crystal, sizes(crystal, n), block) for n in (1.5, 3.0))
    assert coarse.forest.edge == fine.forest.edge
    assert fine.n_vertices > 1.2 * coarse.n_vertices
    assert (fine.vertex_at(coarse.lattice) >= 0).all()
    # A field that is linear on the coarse elements is linear on the fine ones: a fine element has
    # the gradient of the coarse one that holds it, so refining changes no energy.
    u = np.random.default_rng(1).normal(size=(coarse.n_vertices, 3))
    element, weights = coarse.locate(fine.lattice)
    v = np.einsum("na,nai->ni", weights, u[coarse.elements[element]])
    assert np.array_equal(v[fine.vertex_at(coarse.lattice)], u)
    h_coarse = np.einsum("eai,eaj->eij", u[coarse.elements], coarse.gradients)
    h_fine = np.einsum("eai,eaj->eij", v[fine.elements], fine.gradients)
    some = np.random.default_rng(2).choice(len(fine.elements), 150, replace=False)
    parent = np.array([element_around(coarse, fine.positions[fine.elements[e]]) for e in some])
    np.testing.assert_allclose(h_fine[some], h_coarse[parent], atol=1e-10)
    np.testing.assert_allclose(
        np.einsum("e,eij->ij", fine.volumes, h_fine),
        np.einsum("e,eij->ij", coarse.volumes, h_coarse),
        atol=1e-8,
    )


def element_around(mesh, points):
    """The one element that holds the centre of some points in its interior."""
    d = mesh.dim
    corners = mesh.positions[mesh.elements][..., :d]
    inverse = np.linalg.inv(corners[:, 1:] - corners[:, :1])
    inner = np.einsum("ei,eij->ej", points.mean(axis=0)[:d] - corners[:, 0], inverse)
    bary = np.concatenate([1 - inner.sum(axis=1, keepdims=True), inner], axis=1)
    (hit,) = np.nonzero(bary.min(axis=1) > 1e-9)[0]
    return hit


@pytest.mark.parametrize("upper", [(16, 16, 16), (9, 7, 5), (20, 12, 24)])
@pytest.mark.parametrize("name", ["fcc", "bcc", "lomer columns", "triangular"])
def test_block_has_its_exact_volume(name, upper):
    crystal = CRYSTALS[name]
    d = crystal.dim
    upper = upper[:d]
    block = LatticeBlock((0,) * d, upper).bind(crystal)
    centre = np.array([*upper, 0, 0][:3]) / 2 * ([1, 1, 1] if d == 3 else [1, 1, 0])
    mesh = graded_mesh(crystal, sizes(crystal, 2.0, centre=centre @ crystal.cell), block)
    check_mesh(mesh)
    cells = np.prod(upper)
    assert mesh.volumes.sum() == pytest.approx(cells * crystal.volume, rel=1e-12)
    lower_face = (mesh.lattice[:, :d] == 0).any(axis=1)
    upper_face = (mesh.lattice[:, :d] == np.array(upper)).any(axis=1)
    assert np.array_equal(mesh.boundary, lower_face | upper_face)


def test_block_with_faces_on_chosen_planes():
    crystal = CRYSTALS["fcc"]
    axes = ((1, 0, 0), (0, 1, 0), (-1, 1, 1))
    block = LatticeBlock((-8, -8, -4), (8, 8, 4), axes).bind(crystal)
    mesh = graded_mesh(crystal, sizes(crystal, 2.0), block)
    check_mesh(mesh)
    assert mesh.volumes.sum() == pytest.approx(16 * 16 * 8 * crystal.volume, rel=1e-12)
    q = mesh.lattice @ np.rint(np.linalg.inv(np.array(axes))).astype(int)
    assert q.min(axis=0).tolist() == [-8, -8, -4]
    assert q.max(axis=0).tolist() == [8, 8, 4]


@pytest.mark.parametrize("name", ["fcc", "lomer columns"])
def test_elements_keep_to_the_size_field(name):
    mesh = ball_mesh(name)
    crystal, d = mesh.crystal, mesh.dim
    field = sizes(crystal)
    cells = mesh.volumes / crystal.volume * (6 if d == 3 else 2)
    size = crystal.nearest_neighbour * cells ** (1 / d)
    centre = mesh.positions[mesh.elements].mean(axis=1)
    allowed = field.size(field.distance(centre))
    assert ((cells < 1.5) | (size <= allowed * (1 + 1e-9))).all()


@pytest.mark.parametrize("name", ["fcc", "lomer columns"])
def test_elements_can_be_singled_out_for_refinement(name):
    crystal = CRYSTALS[name]
    nn = crystal.nearest_neighbour
    region = Ball(8 * nn, planar=crystal.dim == 2)

    def in_band(corners):
        return np.abs(corners[..., 1].mean(axis=1)) < nn

    mesh = graded_mesh(crystal, sizes(crystal, 1.5), region, refine=in_band)
    check_mesh(mesh)
    cell = crystal.volume / (6 if crystal.dim == 3 else 2)
    band = in_band(mesh.positions[mesh.elements])
    assert mesh.volumes[band].max() == pytest.approx(cell)
    assert mesh.volumes[~band].max() > 1.9 * cell


def test_meshes_are_reproducible():
    crystal = CRYSTALS["lomer columns"]
    first, second = (
        graded_mesh(crystal, sizes(crystal), Ball(30.0, planar=True)) for _ in range(2)
    )
    assert np.array_equal(first.elements, second.elements)
    assert np.array_equal(first.lattice, second.lattice)


@settings(max_examples=15)
@given(
    name=st.sampled_from(["fcc", "bcc columns", "triangular"]),
    full=st.floats(1.0, 4.0),
    exponent=st.floats(1.0, 3.0),
    x=st.floats(-5.0, 5.0),
    y=st.floats(-5.0, 5.0),
    radius=st.floats(6.0, 11.0),
)
def test_any_size_field_gives_a_sound_mesh(name, full, exponent, x, y, radius):
    crystal = CRYSTALS[name]
    nn = crystal.nearest_neighbour
    field = sizes(crystal, full, exponent, centre=(x, y, 0.0))
    mesh = graded_mesh(crystal, field, Ball(radius * nn, (x, y, 0.0), planar=crystal.dim == 2))
    check_mesh(mesh)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ball(np.nan), "outer radius"),
        (lambda: Ball(-1.0), "outer radius"),
        (lambda: LatticeBlock((0, 0), (1, 5)), "no free site"),
        (lambda: LatticeBlock((0, 0), (5, 5)).bind(fcc("Cu", 3.6)), "2 axes, but .* has 3"),
        (lambda: LatticeBlock((0, 0), (4, 4, 4)), "no free site"),
        (lambda: LatticeBlock((0, 0), (4, 4), ((2, 0), (0, 1))), "unimodular"),
        (lambda: CoreSet(np.full((1, 3), np.nan)), "finite"),
        (lambda: CoreSet(np.zeros((0, 3))), "at least one row"),
        (lambda: PowerGrading(np.ones_like, np.nan, 1.0, 1.5), "full"),
        (lambda: PowerGrading(np.ones_like, 1.0, 1.0, -1.5), "exponent"),
    ],
)
def test_bad_regions_and_sizes_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_impossible_meshes_are_refused():
    crystal = CRYSTALS["fcc"]
    with pytest.raises(MeshError, match="no lattice cell"):
        graded_mesh(crystal, sizes(crystal), Ball(0.01, (0.9, 0.9, 0.9)))
    with pytest.raises(MeshError, match="exceed 10 vertices"):
        graded_mesh(crystal, sizes(crystal), Ball(30.0), max_vertices=10)
    unit = np.ones(3, dtype=np.int64)
    with pytest.raises(MeshError, match="power of two"):
        grow_forest(0 * unit, unit, 3, lambda s: np.zeros(len(s), bool))
    with pytest.raises(MeshError, match="empty"):
        grow_forest(0 * unit, 0 * unit, 4, lambda s: np.zeros(len(s), bool))
    with pytest.raises(MeshError, match="overflow"):
        grow_forest(0 * unit, unit << 19, 1 << 20, lambda s: np.zeros(len(s), bool))
