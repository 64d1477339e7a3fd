"""The heat field: what it covers, what it holds, what it exchanges, what it refuses."""

from functools import cache

import numpy as np
import pytest
from ase import units
from ase.data import atomic_masses, atomic_numbers

from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import diamond, fcc, triangular
from qc.dynamics.heat.field import HeatField, conductivity_from_SI
from qc.dynamics.heat.mesh import HeatMesh, cover
from qc.dynamics.heat.model import site_shares
from qc.errors import CheckpointError, InputError, MeshError, NonFiniteError
from qc.mesh import Ball, CoreSet, LatticeBlock, PowerGrading, graded_mesh
from qc.potentials import LennardJones, stillinger1985

A = 5.26
SIZES = {"core": 2.0 * A, "blend": 1.5 * A}


@cache
def model(kind="columns", scheme="bgfc", defects=None):
    lj = LennardJones("Ar", 0.0103, 3.4, cutoff=6.5)
    crystal = fcc("Ar", A)
    if kind == "3d":
        size = SIZES | {"outer": 9 * A}
        return QuasiContinuum(crystal, lj, scheme=scheme, defects=defects, **size)
    if kind == "columns":
        size = SIZES | {"outer": (8 if scheme == "atomistic" else 30) * A}
        return QuasiContinuum(crystal.as_columns(), lj, scheme=scheme, defects=defects, **size)
    if kind == "monolayer":
        sheet = triangular("Ar", 3.8)
        return QuasiContinuum(sheet, lj, core=12.0, blend=12.0, outer=120.0)
    silicon = stillinger1985("Si")
    return QuasiContinuum(
        diamond("Si", 5.431).as_columns(), silicon, core=11.0, blend=11.0, outer=90.0
    )


def two_triangles(**options):
    x = [[0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0.0]]
    mesh = HeatMesh.from_simplices(x, [[0, 1, 2], [0, 2, 3]])
    weights = [[1, 0, 0, 0], [0.25, 0.75, 0, 0], [0, 0, 0, 0], [0.2, 0.3, 0.1, 0.4]]
    given = {"capacity": np.array([1.0, 2.0, 3.0, 4.0]) * 100 * units.kB, "weights": weights}
    return HeatField(mesh, **(given | options))


# -- meshes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fcc", "columns", "sheet"])
@pytest.mark.parametrize("shape", ["ball", "block", "full block"])
def test_cover_is_a_partition_of_unity_over_the_lattice_mesh(kind, shape):
    crystal = triangular("Ar", 3.8) if kind == "sheet" else fcc("Ar", A)
    crystal = crystal.as_columns() if kind == "columns" else crystal
    d, spacing = crystal.dim, crystal.nearest_neighbour
    core = CoreSet(np.zeros((1, 3)), planar=d == 2)
    full = 1e9 if shape == "full block" else 3 * spacing
    size = PowerGrading(core.distance, full, spacing, 1.5)
    reach = 16 if shape == "ball" else 8
    region = Ball(reach * spacing, planar=d == 2)
    if shape != "ball":
        low, high = (-8,) * d, ((8,) * d if shape == "block" else (7, 8, 9)[:d])
        region = LatticeBlock(low, high).bind(crystal)
    mesh = graded_mesh(crystal, size, region)
    for edge in (1, 2, 4, 8):
        laid = cover(mesh, edge * spacing)
        coarse, n = laid.mesh, laid.weights
        np.testing.assert_allclose(np.asarray(n.sum(axis=1)).ravel(), 1.0, rtol=0, atol=1e-15)
        assert n.data.min() > 0.0
        # Shape functions carry linear functions, here positions, exactly.
        np.testing.assert_allclose((n @ coarse.positions)[:, :d], mesh.positions[:, :d], atol=1e-11)
        assert coarse.volumes.sum() == pytest.approx(mesh.volumes.sum(), rel=1e-12)
        held = np.bincount(laid.element, mesh.volumes, len(coarse.elements))
        np.testing.assert_allclose(coarse.volumes, held, rtol=1e-12)
        corners = coarse.positions[coarse.elements][..., :d]
        whole = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])) / (2 if d == 2 else 6)
        whole *= coarse.thickness
        least = crystal.volume / (2 if d == 2 else 6) * edge**d
        assert whole.min() >= 0.5 * least * (1 - 1e-9)
        assert whole.min() >= least * (1 - 1e-9) or edge == 1
        assert (coarse.volumes <= whole * (1 + 1e-9)).all() or shape == "full block"
        if shape == "block" or edge == 1:
            np.testing.assert_allclose(coarse.volumes, whole, rtol=1e-9)
        # No hanging vertices: every facet belongs to one or two elements.
        facets = np.sort(
            np.concatenate([np.delete(coarse.elements, k, axis=1) for k in range(d + 1)]), axis=1
        )
        assert np.unique(facets, axis=0, return_counts=True)[1].max() <= 2
    assert len(cover(mesh, 1e3 * spacing).mesh.elements) <= 2 * (2 if d == 2 else 6) * 2**d


def test_facets_have_areas():
    x = [[0, 0, 0], [3, 0, 0], [0, 4, 0], [0, 0, 5.0]]
    tetrahedron = HeatMesh.from_simplices(x, [[0, 1, 2, 3]])
    areas = np.sort(tetrahedron.facet_areas(tetrahedron.facets))
    slanted = 0.5 * np.linalg.norm([20, 15, 12])
    np.testing.assert_allclose(areas, np.sort([6.0, 7.5, 10.0, slanted]))
    triangle = HeatMesh.from_simplices(x[:3], [[0, 1, 2]], thickness=2.0)
    np.testing.assert_allclose(np.sort(triangle.facet_areas(triangle.facets)), [6.0, 8.0, 10.0])
    assert triangle.volumes == pytest.approx([12.0])


# -- fields of models -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["columns", "3d", "monolayer", "silicon"])
def test_capacity_is_what_the_nodes_do_not_carry(kind):
    m = model(kind)
    field = HeatField.of_model(m, where="continuum")
    symbol = "Si" if kind == "silicon" else "Ar"
    sites = m.node_masses().sum() / atomic_masses[atomic_numbers[symbol]]
    wanted = units.kB * ((2 if kind == "monolayer" else 3) * sites - m.layout.free.sum())
    assert field.capacity.sum() == pytest.approx(wanted, rel=1e-9)
    assert field.capacity.min() >= 30 * units.kB
    everywhere = HeatField.of_model(m, where="everywhere", capacity=2e-4)
    assert everywhere.capacity.sum() == pytest.approx(2e-4 * sites, rel=1e-9)
    assert sites == pytest.approx(m.n_sites, rel=1e-9)
    assert everywhere.coupled.all()
    beta = m.layout.beta_nodes
    assert np.array_equal(field.coupled, beta > 0)
    assert HeatField.of_model(m, couple_core=True).coupled.all()
    for one in (field, everywhere):
        sums = np.asarray(one.weights.sum(axis=1)).ravel()
        np.testing.assert_allclose(sums[one.coupled], 1.0, atol=1e-14)
        assert not sums[~one.coupled].any()
        assert (one.node_temperatures()[one.coupled] == pytest.approx(300.0)) is True
        assert np.isnan(one.node_temperatures()[~one.coupled]).all()
    # Where every site is a node there is nothing to conduct; far out nearly everything.
    kappa = HeatField.of_model(m, conductivity=1.0)._kappa
    middles = field.mesh.positions[field.mesh.elements].mean(axis=1)[:, : m.crystal.dim]
    r = np.linalg.norm(middles, axis=1)
    assert kappa[r.argmin()] < 0.15
    assert kappa[r > 0.7 * r.max()].min() > 0.7
    assert kappa.max() <= 1.0


@pytest.mark.parametrize("scheme", ["bqcf", "scgfc", "qce", "cauchy-born", "atomistic"])
def test_every_scheme_shares_all_sites(scheme):
    m = model(scheme=scheme)
    sites, carried = site_shares(m)
    assert sites.sum() == pytest.approx(m.node_masses().sum() / atomic_masses[18], rel=1e-12)
    assert np.array_equal(carried, m.layout.free[:, 0])
    if scheme == "atomistic":
        # Atoms on the surface are whole, their cells are not.
        assert sites.sum() == m.mesh.n_vertices
        return
    # Blended forces have no energy to weight, and no weights that count exactly.
    assert sites.sum() == pytest.approx(m.mesh.volumes.sum() / m.crystal.site_volume, rel=1e-3)
    wanted = 3 * units.kB * (sites.sum() - carried.sum())
    assert HeatField.of_model(m).capacity.sum() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("kind", ["columns", "3d"])
def test_nodes_feel_the_field_where_they_are(kind):
    m = model(kind)
    size = (8 if kind == "columns" else 4) * m.crystal.nearest_neighbour
    x = m.layout.node_positions

    def inverse(x):
        return 900.0 + x[:, 0] - 2.0 * x[:, 1]

    for where in ("continuum", "everywhere"):
        # What is interpolated is 1 / T: a heat node's share of what a node takes costs the entropy
        # of its own temperature.
        field = HeatField.of_model(
            m, where=where, couple_core=True, temperature=lambda x: 1e6 / inverse(x)
        )
        gap = 1e6 / field.node_temperatures() - inverse(x)
        if where == "everywhere" and len(field.positions) == len(field.mesh.positions):
            np.testing.assert_allclose(gap, 0.0, atol=1e-9)
        # Heat of the core goes to the nearest heat nodes around it.
        reach = np.abs(gap) / np.sqrt(5.0)
        assert reach.max() < 2.5 * size
        far = np.linalg.norm(x[:, : m.crystal.dim], axis=1) > (15 if kind == "columns" else 5) * A
        assert np.median(np.abs(gap[far])) < 1e-9


def test_point_defects_are_counted():
    hole = PointDefects(vacant=((0, 0, 0),))
    perfect, vacant = model(), model(defects=hole)
    fields = [HeatField.of_model(m, where="everywhere") for m in (perfect, vacant)]
    lost = fields[0].capacity.sum() - fields[1].capacity.sum()
    assert lost == pytest.approx(3 * units.kB, rel=1e-6)
    # The vacancy is no node either: the continuum holds the same with it.
    fields = [HeatField.of_model(m, where="continuum") for m in (perfect, vacant)]
    assert fields[0].capacity.sum() == pytest.approx(fields[1].capacity.sum(), rel=1e-12)
    pair = PointDefects(extra=(("Ar", (1.7, 1.1, 0.0)),))
    m = model(defects=pair)
    field = HeatField.of_model(m, where="everywhere", temperature=lambda x: 300.0 + x[:, 0])
    assert field.coupled.all()
    assert field.node_temperatures()[-1] == pytest.approx(301.7, abs=A)


def test_a_model_whose_sites_are_all_nodes_has_no_continuum():
    m = model("columns")
    with pytest.raises(InputError, match="larger size"):
        HeatField.of_model(m, capacity=1e-8, where="everywhere")
    for options, message in (
        ({"where": "nowhere"}, "where"),
        ({"capacity": -1.0}, "capacity"),
        ({"capacity": np.nan}, "capacity"),
        ({"capacity": "much"}, "capacity"),
        ({"conductivity": [1.0]}, "conductivity"),
        ({"conductivity": -1.0}, "conductivity"),
        ({"size": 0.0}, "size"),
        ({"temperature": 0.0}, "heat node 0"),
    ):
        with pytest.raises(InputError, match=message):
            HeatField.of_model(m, **options)


# -- exchange -------------------------------------------------------------------------------------


def test_ten_thousand_exchanges_lose_nothing():
    m = model()
    field = HeatField.of_model(m, conductivity=0.01, temperature=200.0)
    rng = np.random.default_rng(0)
    n = len(field.coupled)
    kinetic = np.full(n, 0.05) * field.coupled
    start = field.total_energy() + kinetic.sum()
    entropy = field.entropy()
    for step in range(10_000):
        # Kinetic energies that wander like those of a bath.
        heat = (0.05 * rng.exponential(size=n) - kinetic) * field.coupled * 0.3
        entropy += field.receive(heat)
        kinetic += heat
        if step % 100 == 0:
            entropy += field.conduct(5.0).entropy_change
    assert field.total_energy() + kinetic.sum() == pytest.approx(start, rel=1e-13)
    assert field.entropy() == pytest.approx(entropy, rel=1e-11)


def test_heat_goes_where_the_weights_say():
    field = two_triangles()
    before, entropy = field.state(), field.entropy()
    change = field.receive(np.array([0.1, -0.2, 0.0, 0.5]))
    wanted = [-0.1 + 0.05 - 0.1, 0.15 - 0.15, -0.05, -0.2]
    np.testing.assert_allclose(field.energy - before, wanted, atol=1e-15)
    assert change == pytest.approx(field.entropy() - entropy, rel=1e-12)
    assert change == pytest.approx(-0.4 / 300.0, rel=0.2)
    np.testing.assert_array_equal(field.coupled, [True, True, False, True])
    field.set_temperature([100.0, 200.0, 300.0, 400.0])
    felt = field.node_temperatures()
    np.testing.assert_allclose(felt[[0, 1, 3]], [100.0, 160.0, 1e3 / (29.0 / 6.0)])
    assert np.isnan(felt[2])
    # In proportion to capacity: the same rise everywhere.
    field.deposit(1.0)
    np.testing.assert_allclose(
        field.temperature - [100, 200, 300, 400], 1e-3 / units.kB, rtol=1e-9
    )
    before = field.state()
    field.deposit([0.1, 0.0, 0.0, -0.1])
    np.testing.assert_allclose(field.energy - before, [0.1, 0.0, 0.0, -0.1], atol=1e-15)


def test_particles_and_field_share_one_temperature():
    # Free particles whose friction and noise feel the field: in the mean K = 3/2 N k T_field, up to
    # k_B / C, from a start with nothing in it.
    rng = np.random.default_rng(4)
    n = 100
    weights = rng.dirichlet(np.ones(4), n)
    capacity = np.array([1.0, 2.0, 3.0, 4.0]) * 1000 * units.kB
    field = two_triangles(weights=weights, capacity=capacity, temperature=300.0)
    v, kinetic, total = np.zeros((n, 3)), np.zeros(n), field.total_energy()
    ratio = []
    for step in range(4000):
        t = field.node_temperatures()
        v = 0.5 * v + np.sqrt(0.75 * units.kB * t)[:, None] * rng.standard_normal((n, 3))
        new = 0.5 * (v**2).sum(axis=1)
        field.receive(new - kinetic)
        kinetic = new
        if step >= 500:
            ratio.append(kinetic.sum() / (1.5 * units.kB * field.node_temperatures().sum()))
    assert np.mean(ratio) == pytest.approx(1.0, abs=4e-3)
    assert field.total_energy() + kinetic.sum() == pytest.approx(total, rel=1e-13)
    assert field.total_energy() / field.capacity.sum() == pytest.approx(
        300.0 * 10_000 / (10_000 + 150), rel=2e-3
    )


def test_vertices_may_share_a_heat_node():
    x = [[0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0.0]]
    mesh = HeatMesh.from_simplices(x, [[0, 1, 2], [0, 2, 3]])
    field = HeatField(
        mesh, [1.0, 2.0, 4.0], np.eye(3), 0.1, lambda x: 300.0 + x[:, 0], owner=[0, 1, 1, 3]
    )
    np.testing.assert_array_equal(field.temperature, [300.0, 310.0, 300.0])
    np.testing.assert_array_equal(field.vertex_temperatures(), [300.0, 310.0, 310.0, 300.0])
    energy = field.total_energy()
    done = field.conduct(1e10)
    assert done.entropy_production > 0.0
    assert field.total_energy() == pytest.approx(energy, rel=1e-15)
    np.testing.assert_allclose(field.temperature, energy / 7.0, rtol=1e-9)
    for owner in ([0, 1, 1], [1, 0, 2, 3], [0, 1, 2, 9]):
        with pytest.raises(InputError, match="own"):
            HeatField(mesh, [1.0, 2.0, 4.0], np.eye(3), owner=owner)


# -- states and prescriptions ---------------------------------------------------------------------


def test_states_come_back_bit_by_bit():
    m = model()
    one = HeatField.of_model(m, conductivity=0.01, temperature=lambda x: 300.0 + x[:, 0])
    one.conduct(10.0)
    other = HeatField.of_model(m, conductivity=0.01)
    other.set_state(np.array(one.state()))
    for _ in range(3):
        assert one.conduct(7.0) == other.conduct(7.0)
    assert np.array_equal(one.energy, other.energy)
    assert one.fingerprint() == other.fingerprint()
    assert one.fingerprint() != HeatField.of_model(m, conductivity=0.02).fingerprint()
    assert one.fingerprint() != HeatField.of_model(m, conductivity=0.01, size=40).fingerprint()
    for state in (one.state()[1:], np.where(np.arange(len(one.energy)) == 3, -1.0, one.energy)):
        with pytest.raises(CheckpointError, match="heat"):
            other.set_state(state)


def test_prescriptions_are_selected_in_many_ways():
    field = two_triangles(conductivity=0.01)
    left = Ball(5.1, (0.0, 5.0, 0.0))
    for where in (lambda x: x[:, 0] < 5, [0, 3], np.array([True, False, False, True]), left):
        field.release()
        field.prescribe_temperature(where, lambda x: 310.0 + x[:, 1])
        done = field.conduct(1.0)
        assert done.heat_through_temperatures != 0.0
        np.testing.assert_allclose(field.temperature[[0, 3]], [310.0, 320.0], rtol=1e-14)
        assert (field.temperature[[1, 2]] < 310.0).all()
    field.release()
    field.prescribe_flux(Ball(1.0, (0.0, 5.0, 0.0)), 2e-3)
    field.prescribe_flux(Ball(1.0, (0.0, 5.0, 0.0)), 1e-3)
    assert field.conduct(2.0).heat_through_fluxes == pytest.approx(1e-3 * 10.0 * 2.0)
    assert field.boundary.all()
    assert two_triangles().conduct(5.0).entropy_production == 0.0
    for where, message in (
        (lambda x: x[:, 0] > 99, "no heat nodes"), ([7], "0 to 3"), ([-1], "0 to 3"),
        ([0.5], "mask"), (np.array([True]), "mask of shape"), ([], "no heat nodes"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            field.prescribe_temperature(where, 300.0)
    with pytest.raises(InputError, match="heat node 1 at"):
        field.prescribe_temperature([1], -5.0)
    with pytest.raises(InputError, match="flux"):
        field.prescribe_flux([0], np.inf)


# -- bad input ------------------------------------------------------------------------------------


def test_more_heat_than_there_is_is_refused_and_changes_nothing():
    field = two_triangles(temperature=10.0)
    before = field.state()
    with pytest.raises(NonFiniteError, match=r"heat node 0 at \(0.0, 0.0, 0.0\).*larger size"):
        field.receive(np.array([0.1, 0.0, 0.0, 0.0]))
    with pytest.raises(NonFiniteError, match="node 3 is not finite"):
        field.receive(np.array([0.0, 0.0, 0.0, np.nan]))
    with pytest.raises(InputError, match="node 2 exchanges heat but is not coupled"):
        field.receive(np.array([0.0, 0.0, 1e-9, 0.0]))
    with pytest.raises(InputError, match="shape"):
        field.receive(np.zeros(3))
    with pytest.raises(NonFiniteError):
        field.deposit(-1.0)
    with pytest.raises(NonFiniteError):
        field.deposit(np.inf)
    with pytest.raises(InputError, match="shape"):
        field.deposit(np.zeros(3))
    for dt in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="time"):
            field.conduct(dt)
    assert np.array_equal(field.energy, before)


def test_bad_fields_are_refused_by_name():
    good = np.array([1.0, 2.0, 3.0, 4.0])
    for bad in (np.nan, 0.0, -1.0, np.inf):
        values = np.where(np.arange(4) == 2, bad, good)
        with pytest.raises(InputError, match="capacity of heat node 2"):
            two_triangles(capacity=values)
        with pytest.raises(InputError, match="temperature of heat node 2"):
            two_triangles(temperature=values)
    for options, message in (
        ({"capacity": good[:3]}, "capacities of shape"),
        ({"temperature": good[:3]}, "temperature of shape"),
        ({"temperature": "warm"}, "temperature"),
        ({"capacity": ["a"] * 4}, "capacity"),
        ({"weights": np.eye(3)}, "weights of shape"),
        ({"weights": "none"}, "weights"),
        ({"weights": [[0.5, 0.4, 0, 0]]}, "row 0 .* sum to 0.9"),
        ({"weights": [[1, 0, 0, 0], [1.5, -0.5, 0, 0]]}, "row 1"),
        ({"weights": [[np.nan, 0, 0, 0]]}, "row 0"),
        ({"conductivity": [1.0, -1.0]}, "element 1"),
        ({"conductivity": np.nan}, "element 0"),
        ({"conductivity": np.ones(3)}, "2 elements"),
    ):
        with pytest.raises(InputError, match=message):
            two_triangles(**options)
    with pytest.raises(InputError, match="SimplexMesh"):
        HeatField("mesh", good, np.eye(4))
    x = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0.0]])
    with pytest.raises(MeshError, match="element 0"):
        HeatMesh.from_simplices(x, [[0, 1, 2]])
    for positions, elements in (
        (x[:, :2], [[0, 1, 2]]), (x * np.nan, [[0, 1, 2]]), (x, [[0, 1, 3]]), (x, [[0, 1]]),
    ):  # fmt: skip
        with pytest.raises(InputError, match="heat mesh"):
            HeatMesh.from_simplices(positions, elements)


def test_conductivity_of_copper():
    # 401 W/(m K): through 1 Angstrom^2 at 1 K/Angstrom 4.01e-8 W, or 2.503e11 eV/s.
    per_second = 401.0 * 1e10 * 1e-20 / 1.602176634e-19
    unit = 1e-10 * np.sqrt(1.66053907e-27 / 1.602176634e-19)  # Angstrom sqrt(u / eV), s
    assert conductivity_from_SI(401.0) == pytest.approx(per_second * unit, rel=1e-6)


def test_what_leaves_the_field_takes_the_entropy_of_the_temperature_that_nodes_feel():
    """Between heat nodes of unequal temperature too: dS = -heat / T_I."""
    field = two_triangles(temperature=[100.0, 300.0, 200.0, 50.0])
    for node in (0, 1, 3):
        feels = field.node_temperatures()[node]
        heat = np.zeros(4)
        heat[node] = 1e-9
        assert field.receive(heat) == pytest.approx(-1e-9 / feels, rel=1e-6)
