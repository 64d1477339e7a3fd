"""Function spaces: elements as data, nodes that are sites, models of second order."""

import numpy as np
import pytest

from qc.coupling import PointDefects, QuasiContinuum
from qc.coupling.fields import element_fields
from qc.crystal import diamond, fcc, triangular
from qc.errors import CapabilityError, InputError
from qc.materials import LinearElastic, Material, Response
from qc.mesh import ELEMENTS, Ball, CoreSet, PowerGrading, Space, graded_mesh
from qc.potentials import LennardJones, stillinger1985
from qc.solve import relax

LJ = LennardJones("Ar", 0.0104, 3.4, cutoff=7.0)


def mesh_of(crystal, full=2.5, outer=22.0):
    nn = crystal.nearest_neighbour
    core = CoreSet(np.zeros((1, 3)), planar=crystal.dim == 2)
    field = PowerGrading(core.distance, full=full * nn, spacing=nn, exponent=1.5)
    return graded_mesh(crystal, field, Ball(outer * nn, planar=crystal.dim == 2))


@pytest.fixture(scope="module", params=["plane", "space"])
def mesh(request):
    if request.param == "plane":
        return mesh_of(triangular("Ar", 3.8))
    return mesh_of(fcc("Ar", 5.3), outer=9.0)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("order", list(ELEMENTS))
def test_shape_functions_of_every_element(order, d):
    element = ELEMENTS[order]
    nodes = element.nodes(d)
    np.testing.assert_allclose(element.values(nodes), np.eye(len(nodes)), atol=1e-14)
    b = np.random.default_rng(0).dirichlet(np.ones(d + 1), 7)
    np.testing.assert_allclose(element.values(b).sum(axis=1), 1.0)
    assert (1.0 / element.sharing(d)).sum() == pytest.approx(1.0)
    assert (element.sharing(d) > 0).all()
    # Derivatives along the simplex, where barycentric coordinates add up to one.
    for step in np.eye(d + 1)[1:] - np.eye(d + 1)[0]:
        h = 1e-5
        change = (element.values(b + h * step) - element.values(b - h * step)) / (2 * h)
        np.testing.assert_allclose(element.derivatives(b) @ step, change, atol=1e-9)


@pytest.mark.parametrize("order", list(ELEMENTS))
def test_nodes_are_sites_and_fields_are_continuous(mesh, order):
    space = Space(mesh, order)
    d = mesh.dim
    assert len(np.unique(space.lattice, axis=0)) == space.n_nodes
    np.testing.assert_array_equal(space.node_at(space.lattice), np.arange(space.n_nodes))
    # Interpolation is the identity at nodes, and exact for linear fields everywhere.
    at_nodes = space.interpolation(space.lattice)
    assert abs(at_nodes - np.eye(space.n_nodes)).max() < 1e-13
    box = mesh.lattice[:, :d].min(axis=0), mesh.lattice[:, :d].max(axis=0)
    rng = np.random.default_rng(1)
    sites = np.zeros((4000, 3), dtype=np.int64)
    sites[:, :d] = rng.integers(box[0], box[1] + 1, size=(4000, d))
    sites = np.unique(sites[mesh.locate(sites)[0] >= 0], axis=0)
    slope = rng.normal(size=(3, 2))
    x = mesh.crystal.positions(sites)
    matrix = space.interpolation(sites)
    np.testing.assert_allclose(matrix @ (space.positions @ slope), x @ slope, atol=1e-9)
    if order == 1:
        assert space.n_nodes == mesh.n_vertices
        return
    assert space.n_nodes > mesh.n_vertices
    # Within an element all of whose nodes are sites a quadratic field is exact too.
    element = mesh.locate(sites)[0]
    whole = (space.connectivity[element] < space.n_nodes).all(axis=1)
    assert whole.any()
    form = rng.normal(size=(3, 3))
    quadratic = np.einsum("ni,ij,nj->n", space.positions, form, space.positions)
    exact = np.einsum("ni,ij,nj->n", x, form, x)
    np.testing.assert_allclose((matrix @ quadratic)[whole], exact[whole], rtol=1e-9, atol=1e-7)
    assert (space.free[: mesh.n_vertices] == mesh.free).all()
    assert (~space.free[mesh.n_vertices :]).any()


def model(order, dim=2, **options):
    options = {"scheme": "bgfc", "defects": PointDefects(vacant=[(0, 0, 0)])} | options
    if dim == 2:
        return QuasiContinuum(
            triangular("Ar", 3.9), LJ, core=9.0, blend=8.0, outer=70.0, order=order, **options
        )
    return QuasiContinuum(
        fcc("Ar", 5.4), LJ, core=7.5, blend=8.0, outer=32.0, order=order, **options
    )


@pytest.mark.parametrize("dim", [2, 3])
def test_forces_of_second_order_are_minus_the_gradient(dim):
    m = model(2, dim)
    assert m.layout.space.n_nodes > m.mesh.n_vertices
    rng = np.random.default_rng(2)
    u = np.where(m.layout.free, 0.02 * rng.uniform(-1, 1, m.U.shape), 0.0)
    v = np.where(m.layout.free, rng.uniform(-1, 1, m.U.shape), 0.0)
    slope, errors = -float(np.vdot(m.forces(u), v)), []
    for h in (1e-3, 1e-4, 1e-5):
        change = (m.energy(u + h * v) - m.energy(u - h * v)) / (2 * h)
        errors.append(abs(change - slope) / abs(slope))
    assert min(errors) < 1e-7
    assert errors[0] > 10 * min(errors)
    h = 1e-5
    bend = (m.forces(u - h * v) - m.forces(u + h * v)) / (2 * h)
    np.testing.assert_allclose(m.hessian_product(u, v), bend, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", [2, 3])
def test_a_homogeneous_strain_is_held_exactly(dim):
    m = model(2, dim, scheme="bqce", defects=None)
    f = np.eye(3)
    f[:dim, :dim] += 0.01 * np.random.default_rng(3).normal(size=(dim, dim))
    x = m.layout.node_positions
    u = x @ (f - np.eye(3)).T
    strained = m.with_strain(f)
    # The same state, once in the unknowns and once in the predictor.
    inside = np.linalg.norm(x, axis=1) < 0.5 * np.linalg.norm(x, axis=1).max()
    inside &= m.layout.free.any(axis=1)
    continuum = m.coupling.blended.continuum
    assert np.abs(continuum.deformation(u) - f).max() < 1e-12
    there = strained.coupling.blended.forces(0 * u)
    np.testing.assert_allclose(m.coupling.blended.forces(u)[inside], there[inside], atol=1e-10)


def test_masses_add_up_whatever_the_order():
    for dim in (2, 3):
        total = [model(order, dim).node_masses().sum() for order in (1, 2)]
        assert total[0] == pytest.approx(total[1], rel=1e-12)
        assert (model(2, dim).node_masses()[model(2, dim).layout.free.any(axis=1)] > 0).all()


def test_second_order_is_nearer_to_the_lattice():
    models = {order: model(order) for order in (1, 2)}
    exact = relax(model(1, scheme="atomistic"), fmax=1e-7).defect_energy
    error = {o: abs(relax(m, fmax=1e-7).defect_energy - exact) for o, m in models.items()}
    assert error[2] < error[1]


def test_a_material_of_its_own_in_the_elements():
    plain = model(1)
    material = LinearElastic(
        plain.rule.elastic_constants(),
        plain.rule.evaluate(np.eye(3)[None])[1][0],
        plain.rule.evaluate(np.eye(3)[None])[0][0],
    )
    m = model(1, material=material)
    rng = np.random.default_rng(4)
    u = np.where(m.layout.free, 0.02 * rng.uniform(-1, 1, m.U.shape), 0.0)
    v = np.where(m.layout.free, rng.uniform(-1, 1, m.U.shape), 0.0)
    h = 1e-5
    change = (m.energy(u + h * v) - m.energy(u - h * v)) / (2 * h)
    assert change == pytest.approx(-float(np.vdot(m.forces(u), v)), rel=1e-6)
    # To first order it is the crystal.
    np.testing.assert_allclose(m.forces(0 * u), plain.forces(0 * u), atol=1e-12)
    assert m.rebuilt(core=10.0).coupling.material is material


class TwoSprings(Material):
    """A linear material in series with itself: the inner strain is relaxed step by step."""

    internal_shape = (3, 3)

    def __init__(self, moduli):
        self.moduli = moduli

    def response(self, f, internal=None, tangent=False, points=None):
        h = f - np.eye(3)
        start = np.zeros_like(h) if internal is None else internal
        inner = h / 2 + 1e-3 * (start - h / 2)
        stress = np.einsum("ijkl,nkl->nij", self.moduli, h)
        energy = 0.5 * np.einsum("nij,nij->n", stress, h)
        a = np.broadcast_to(self.moduli, (len(h), 3, 3, 3, 3)) if tangent else None
        return Response(energy, stress, a, inner)

    def fingerprint(self):
        return "two springs"


def test_internal_variables_are_kept_and_remembered():
    moduli = model(1).rule.elastic_constants()
    m = model(1, material=TwoSprings(moduli), scheme="bqce")
    u = np.where(m.layout.free, 0.01 * np.random.default_rng(5).normal(size=m.U.shape), 0.0)
    m.forces(u)
    memory = m.coupling.memory()
    half = 0.5 * (m.coupling.parts.continuum.deformation(u) - np.eye(3))
    np.testing.assert_allclose(memory["shifts"], half, rtol=2e-3, atol=1e-12)
    other = model(1, material=TwoSprings(moduli), scheme="bqce")
    other.coupling.remember(memory)
    m.hessian_product(u, u)
    other.hessian_product(u, u)
    kept = [one.coupling.parts.continuum.kept_shifts for one in (m, other)]
    np.testing.assert_array_equal(*kept)
    assert not model(1).coupling.memory().keys() & {"shifts"}
    # The fields of elements are those of what they are made of.
    m.U = u
    fields, continuum = element_fields(m), m.coupling.parts.continuum
    np.testing.assert_allclose(
        fields.first_piola_kirchhoff[continuum.active],
        np.einsum("ijkl,nkl->nij", moduli, fields.deformation[continuum.active] - np.eye(3)),
        atol=1e-12,
    )


def test_what_is_not_there_is_said():
    with pytest.raises(InputError, match="no elements of order 7"):
        model(7)
    silicon = stillinger1985("Si")
    for option in ({"order": 2}, {"material": LinearElastic(np.zeros((3, 3, 3, 3)))}):
        with pytest.raises(CapabilityError, match="only in Bravais lattices"):
            QuasiContinuum(diamond("Si", 5.43), silicon, **option)
    with pytest.raises(CapabilityError, match="no free energy"):
        QuasiContinuum(triangular("Ar", 3.9), LJ, order=2, temperature=20.0)
    with pytest.raises(InputError, match="moduli must have shape"):
        LinearElastic(np.eye(6))
