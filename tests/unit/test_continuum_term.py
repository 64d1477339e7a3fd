"""The finite-element term: quadrature, energies, forces, slip, inverted elements."""

import math
from functools import cache

import numpy as np
import pytest

from qc.continuum import ContinuumTerm, slipped_edges, stiffness_matrix
from qc.continuum.term import RULES
from qc.crystal import fcc
from qc.errors import InvertedElementError, NonFiniteError
from qc.farfield import HomogeneousStrain, VolterraDislocation, isotropic_elastic
from qc.materials import CauchyBorn, equilibrium_lattice_constant
from qc.mesh import Ball, CoreSet, PowerGrading, Space, best_basis, check_mesh, graded_mesh
from qc.potentials import LennardJones

LOMER = {"x": [1, 1, 0], "y": [0, 0, 1], "z": [1, -1, 0]}


@cache
def setting(mode):
    potential = LennardJones("Al", 0.2, 2.56, 5.2)
    a = equilibrium_lattice_constant(fcc("Al", 4.0), potential)
    crystal = fcc("Al", a, **LOMER)
    if mode == "columns":
        crystal = crystal.as_columns()
    planar = crystal.dim == 2
    nn = crystal.nearest_neighbour
    core = CoreSet(np.zeros((1, 3)), planar=planar)
    mesh = graded_mesh(
        crystal, PowerGrading(core.distance, 2 * nn, nn, 1.6), Ball(8 * nn, planar=planar)
    )
    return mesh, CauchyBorn(crystal, potential)


def term(mode, far_field=None, weights=None, extra=0):
    mesh, rule = setting(mode)
    w = np.ones(len(mesh.elements)) if weights is None else weights
    field = HomogeneousStrain() if far_field is None else far_field
    return ContinuumTerm(Space(mesh), rule, field, w, mesh.n_vertices + extra)


@pytest.mark.parametrize(("d", "degree"), list(RULES))
def test_quadrature_is_exact_for_its_degree(d, degree):
    points, shares = RULES[d, degree]
    assert shares.sum() == pytest.approx(1.0)
    assert points.sum(axis=1) == pytest.approx(np.ones(len(points)))
    # Mean of a product of barycentric coordinates: d! prod(a!) / (d + |a|)!, here over 1/d!.
    for i in range(d + 1):
        assert shares @ points[:, i] == pytest.approx(1 / (d + 1))
        if degree == 2:
            for j in range(d + 1):
                exact = math.factorial(d) * (2 if i == j else 1) / math.factorial(d + 2)
                assert shares @ (points[:, i] * points[:, j]) == pytest.approx(exact)


@pytest.mark.parametrize("mode", ["3d", "columns"])
def test_affine_displacement_has_the_energy_of_the_bulk(mode):
    mesh, rule = setting(mode)
    h = np.zeros((3, 3))
    h[:, : mesh.dim] = np.random.default_rng(0).uniform(-0.03, 0.03, (3, mesh.dim))
    u = mesh.positions @ h.T
    t = term(mode)
    w = rule.evaluate(np.stack([np.eye(3) + h, np.eye(3)]))[0]
    assert t.energy(u) == pytest.approx(mesh.volumes.sum() * (w[0] - w[1]), rel=1e-12)
    # The interior feels nothing; the surface feels the tractions, which balance.
    f = t.forces(u)
    assert np.abs(f[~mesh.boundary]).max() < 1e-13
    assert np.abs(f).max() > 1e-3
    assert np.abs(f.sum(axis=0)).max() < 1e-12
    stress = rule.evaluate((np.eye(3) + h)[None])[1][0]
    virial = -np.einsum("ni,nj->ij", f, mesh.positions)[:, : mesh.dim]
    np.testing.assert_allclose(virial, mesh.volumes.sum() * stress[:, : mesh.dim], atol=1e-10)
    np.testing.assert_allclose(t.stress(u), np.broadcast_to(stress, (len(mesh.elements), 3, 3)))


@pytest.mark.parametrize("mode", ["3d", "columns"])
def test_predictor_and_unknowns_add_up(mode):
    mesh, _ = setting(mode)
    rng = np.random.default_rng(1)
    f = np.eye(3) + rng.uniform(-0.02, 0.02, (3, 3))
    if mode == "columns":
        f[:, 2] = [0, 0, 1]
    u = rng.uniform(-0.05, 0.05, mesh.positions.shape)
    one = term(mode, HomogeneousStrain(f))
    other = term(mode)
    v = u + mesh.positions @ (f - np.eye(3)).T
    np.testing.assert_allclose(one.forces(u), other.forces(v), atol=1e-13)
    shift = (one.reference - other.reference) * mesh.volumes.sum()
    assert one.energy(u) + shift == pytest.approx(other.energy(v), rel=1e-11)


@pytest.mark.parametrize("mode", ["3d", "columns"])
def test_elements_without_weight_do_not_count(mode):
    mesh, _ = setting(mode)
    u = np.random.default_rng(2).uniform(-0.05, 0.05, mesh.positions.shape)
    half = (np.arange(len(mesh.elements)) % 2).astype(float)
    full, odd, even = term(mode), term(mode, weights=half), term(mode, weights=1 - half)
    assert odd.energy(u) + even.energy(u) == pytest.approx(full.energy(u), rel=1e-12)
    np.testing.assert_allclose(odd.forces(u) + even.forces(u), full.forces(u), atol=1e-13)
    nothing = term(mode, weights=0 * half)
    assert nothing.energy(u) == 0.0
    assert not nothing.forces(u).any()
    assert not nothing.hessian_product(u, u).any()


@pytest.mark.parametrize("mode", ["3d", "columns"])
def test_stiffness_matrix_is_the_hessian_of_the_perfect_crystal(mode):
    mesh, rule = setting(mode)
    t = term(mode, extra=2)
    k = stiffness_matrix(Space(mesh), rule.elastic_constants(), t.n_nodes)
    du = np.random.default_rng(3).normal(size=(t.n_nodes, 3))
    product = t.hessian_product(np.zeros_like(du), du)
    np.testing.assert_allclose((k @ du.ravel()).reshape(-1, 3), product, atol=1e-11)
    assert abs(k - k.T).max() < 1e-12 * abs(k).max()
    # Rigid motion costs nothing; nodes beyond the vertices have empty rows.
    assert np.abs(k @ np.tile([1.0, 2.0, 3.0], t.n_nodes)).max() < 1e-11
    assert not product[mesh.n_vertices :].any()


@pytest.mark.parametrize("mode", ["3d", "columns"])
def test_inverted_element_is_named(mode):
    mesh, _ = setting(mode)
    u = np.zeros_like(mesh.positions)
    element = int(np.argmin(mesh.boundary[mesh.elements].sum(axis=1)))
    first, *rest = mesh.elements[element]
    # The first corner is pushed through the opposite face.
    u[first] = 2.2 * (mesh.positions[rest].mean(axis=0) - mesh.positions[first])
    u[first, 2] *= mesh.dim == 3
    weights = np.zeros(len(mesh.elements))
    weights[element] = 1.0
    t = term(mode, weights=weights)
    with pytest.raises(InvertedElementError, match=f"element {element} is inverted or flat"):
        t.energy(u)
    with pytest.raises(InvertedElementError, match=f"element {element} is inverted or flat"):
        t.forces(u)
    t.forces(0.4 * u)


def test_not_a_number_is_caught_before_the_potential():
    mesh, _ = setting("3d")
    u = np.zeros_like(mesh.positions)
    u[5, 0] = np.nan
    with pytest.raises(NonFiniteError, match="displacement of node 5 is not finite"):
        term("3d").forces(u)


# -- slip -----------------------------------------------------------------------------------------


def lomer_field(crystal, position=(0.3, 0.5)):
    return VolterraDislocation(isotropic_elastic(0.6, 0.25), crystal.cell[0], position)


def cut_mesh(crystal, field, radius=14):
    """A mesh of a crystal with a dislocation, its elements ordinary on both sides of the cut."""
    nn = crystal.nearest_neighbour
    core = CoreSet(np.array([[*field.position, 0.0]]), planar=True)
    sizes = PowerGrading(core.distance, 4 * nn, nn, 1.5)

    def distorted(corners):
        ratio = slipped_edges(corners, field)[1]
        return ~np.isnan(ratio) & (np.abs(ratio - 1.0) > 0.6)

    region = Ball(radius * nn, planar=True)
    return graded_mesh(crystal, sizes, region, along=field.burgers, refine=distorted)


def test_mesh_axis_follows_the_glide_direction():
    crystal = setting("columns")[0].crystal
    for direction in (crystal.cell[0], -2 * crystal.cell[0] + 3 * crystal.cell[2], crystal.cell[1]):
        basis = best_basis(crystal, direction)
        axis = basis[0] @ crystal.cell[:2, :2]
        assert abs(round(np.linalg.det(basis))) == 1
        assert np.cross([*axis, 0], [*direction[:2], 0])[2] == pytest.approx(0, abs=1e-9)


def test_slipped_elements_are_ordinary_away_from_the_core():
    mesh, rule = setting("columns")
    crystal = mesh.crystal
    field = lomer_field(crystal)
    mesh = cut_mesh(crystal, field)
    check_mesh(mesh)
    edges, ratio = slipped_edges(mesh.positions[mesh.elements], field)
    cut = ~np.isnan(ratio)
    centre = mesh.positions[mesh.elements].mean(axis=1)
    away = np.linalg.norm(centre[:, :2] - field.position, axis=1) > 2.5 * crystal.nearest_neighbour
    assert (cut & away).sum() > 5
    assert np.abs(ratio[cut & away] - 1.0).max() <= 0.6
    # Every edge of a slipped element is a lattice vector still.
    m = edges[cut & away].reshape(-1, 3) @ crystal.inverse_cell
    assert np.abs(m - np.rint(m)).max() < 1e-9
    # Volumes and gradients are those of the slipped edges.
    own = ContinuumTerm(Space(mesh), rule, field, away.astype(float), mesh.n_vertices)
    which, e = own.active, edges[own.active]
    height = crystal.cell[2, 2]
    np.testing.assert_allclose(
        own.element_volumes, 0.5 * height * np.linalg.det(e[:, 1:, :2]), rtol=1e-10
    )
    one = np.einsum("eai,eaj->eij", e[..., :2], own.gradients[..., :2])
    np.testing.assert_allclose(one, np.broadcast_to(np.eye(2), one.shape), atol=1e-12)
    assert np.abs(ratio[which][cut[which]] - 1.0).max() > 0.3
    # In the wake the deformation is elastic: nothing is left of the whole Burgers vector.
    t = own
    far = cut[t.active] & (np.linalg.norm(centre[t.active][:, :2], axis=1) > 18.0)
    far = far[t.point_element]
    f = t.deformation(np.zeros_like(mesh.positions))
    assert far.sum() > 5
    assert np.abs(f[far] - np.eye(3)).max() < 0.06


def test_slip_makes_relative_displacements_elastic():
    # Nodal corrections that undo the predictor on one side of the cut: with plain edges a cut
    # element would see a jump of a whole Burgers vector over its height.
    crystal = setting("columns")[0].crystal
    field = lomer_field(crystal)
    mesh = cut_mesh(crystal, field)
    x = mesh.positions
    y = x + field.displacement(x)
    corners = mesh.elements
    edges, ratio = slipped_edges(x[corners], field)
    centre = x[corners].mean(axis=1)
    far = ~np.isnan(ratio) & (np.linalg.norm(centre[:, :2] - field.position, axis=1) > 18.0)
    now = (y[corners] - y[corners][:, :1])[far, 1:, :2]
    slipped = now.transpose(0, 2, 1) @ np.linalg.inv(edges[far, 1:, :2]).transpose(0, 2, 1)
    plain_edges = (x[corners] - x[corners][:, :1])[far, 1:, :2]
    plain = now.transpose(0, 2, 1) @ np.linalg.inv(plain_edges).transpose(0, 2, 1)
    assert np.abs(slipped - np.eye(2)).max() < 0.08
    assert np.abs(plain - np.eye(2)).max() > 0.2


def test_element_that_the_slip_flattens_is_named():
    mesh, rule = setting("columns")
    crystal = mesh.crystal
    field = lomer_field(crystal)
    coarse = cut_mesh(crystal, field)
    w = np.ones(len(coarse.elements))
    with pytest.raises(
        InvertedElementError, match=r"element \d+ is flat .* core; enlarge the core"
    ):
        ContinuumTerm(Space(coarse), rule, field, w, coarse.n_vertices)
