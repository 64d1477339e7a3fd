"""The model: what it counts, what it hands to ASE, its states, its schemes."""

from functools import cache

import numba
import numpy as np
import pytest

from qc.adapters.ase import PotentialCalculator
from qc.coupling import SCHEMES, PointDefects, QuasiContinuum
from qc.coupling.blend import Blend
from qc.coupling.layout import patch_sites
from qc.crystal import fcc, triangular
from qc.farfield import HomogeneousStrain, VolterraDislocation
from qc.materials import CauchyBorn
from qc.mesh import Ball, CoreSet, LatticeBlock
from qc.potentials import LennardJones, ToyEAM, zhou2004

A = 3.6149603
HOLE = PointDefects(vacant=[(0, 0, 0)])


@cache
def copper(mode="columns"):
    crystal = fcc("Cu", A)
    return zhou2004("Cu"), crystal.as_columns() if mode == "columns" else crystal


def model(scheme="bgfc", mode="columns", **options):
    potential, crystal = copper(mode)
    size = {"core": 1.75 * A, "blend": 1.5 * A, "outer": 7 * A}
    if scheme == "atomistic":
        size["outer"] = 3 * A
    return QuasiContinuum(crystal, potential, scheme=scheme, **(size | options))


def shaken(m, size=0.05, seed=0):
    move = np.random.default_rng(seed).uniform(-size, size, m.U.shape)
    return np.where(m.layout.free, move, 0.0)


# -- blending function ----------------------------------------------------------------------------


def test_blend_goes_smoothly_from_core_to_continuum():
    blend = Blend(CoreSet(np.zeros((1, 3))), core=2.0, width=3.0)
    r = np.linspace(0.0, 7.0, 7001)
    beta = blend.beta(np.stack([r, 0 * r, 0 * r], axis=1))
    assert not beta[r <= 2.0].any()
    assert (beta[r >= 5.0] == 1.0).all()
    assert (np.diff(beta) >= 0).all()
    assert beta[np.argmin(np.abs(r - 3.5))] == pytest.approx(0.5)
    # Twice continuously differentiable: the second difference has no jump.
    second = np.diff(beta, 2) / 1e-6
    assert np.abs(second).max() < 10 / np.sqrt(3) / 9 * 1.001
    assert np.abs(np.diff(second)).max() < 0.01


def test_blend_measures_from_the_nearest_centre():
    blend = Blend(CoreSet(np.array([[0.0, 0, 0], [20.0, 0, 0]])), 2.0, 3.0)
    x = np.array([[1.0, 0, 0], [10.0, 0, 0], [19.0, 1.0, 0]])
    assert blend.beta(x) == pytest.approx([0.0, 1.0, 0.0])
    # In 2.5D the distance along the line does not count.
    planar = Blend(CoreSet(np.zeros((1, 3)), planar=True), 2.0, 3.0)
    assert planar.beta(np.array([[1.0, 0, 50.0]]))[0] == 0.0


# -- books ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["3d", "columns"])
def test_patch_holds_every_site_within_reach(mode):
    crystal = copper(mode)[1]
    centres = CoreSet(np.array([[0.3, 0.2, 0.1], [5.0, 1.0, 0.0]]), planar=crystal.dim == 2)
    found = patch_sites(crystal, Blend(centres, 3.0, 3.0), 8.0)[0]
    grid = np.stack(np.meshgrid(*[np.arange(-9, 10)] * crystal.dim, indexing="ij"), -1)
    every = np.zeros((grid[..., 0].size, 3), dtype=int)
    every[:, : crystal.dim] = grid.reshape(-1, crystal.dim)
    inside = every[centres.distance(crystal.positions(every)) <= 8.0]
    assert {tuple(m) for m in found.tolist()} == {tuple(m) for m in inside.tolist()}
    assert len(found) == len(inside)


@pytest.mark.parametrize("scheme", ["qce", "bqce", "bgfc", "scgfc"])
def test_sites_are_counted_once(scheme):
    block = LatticeBlock((-16, -16), (16, 16))
    assert model(scheme, outer=block).n_sites == pytest.approx(32 * 32, rel=1e-12)
    # A vacancy takes one site away, an extra atom adds one.
    assert model(scheme, outer=block, defects=HOLE).n_sites == pytest.approx(1023, rel=1e-12)
    more = PointDefects(extra=[("Cu", (0.9, 0.9, 0.5))])
    assert model(scheme, outer=block, defects=more).n_sites == pytest.approx(1025, rel=1e-12)


def test_unknowns_are_the_inner_vertices_and_extra_atoms():
    perfect, hole = model(), model(defects=HOLE)
    inner = int((~perfect.mesh.boundary).sum())
    assert perfect.n_unknowns == 3 * inner
    assert hole.n_unknowns == 3 * (inner - 1)
    extra = model(defects=PointDefects(extra=[("Cu", (0.9, 0.9, 0.5))]))
    assert extra.n_unknowns == 3 * (inner + 1)
    flat = QuasiContinuum(triangular("X", 0.976), ToyEAM(), core=3, blend=3, outer=10)
    assert flat.n_unknowns == 2 * int((~flat.mesh.boundary).sum())


def test_every_atom_of_core_and_blend_is_a_node():
    m = model(mode="3d", outer=6 * A)
    layout = m.layout
    distance = layout.blend.centres.distance(layout.positions)
    near = distance <= layout.blend.outer
    assert (layout.node[near] >= 0).all()
    assert (layout.node[~near] < 0).any()
    # A constrained atom sits at the shape functions' mean of its element, the nodes at one.
    row = layout.interpolation.sum(axis=1)
    assert row.max() == 1.0
    x = layout.interpolation @ layout.node_positions
    covered = np.asarray(row).ravel() == 1.0
    np.testing.assert_allclose(x[covered], layout.positions[covered], atol=1e-10)


# -- ASE ------------------------------------------------------------------------------------------


def test_representative_atoms():
    m = model(defects=HOLE)
    m.U = shaken(m)
    atoms = m.to_ase()
    assert len(atoms) == m.layout.n_nodes - 1
    assert set(atoms.get_chemical_symbols()) == {"Cu"}
    assert atoms.pbc.tolist() == [False, False, True]
    assert atoms.cell[2] == pytest.approx(m.crystal.cell[2])
    keep = m.occupied
    apart = atoms.positions - m.offset - (m.layout.node_positions + m.U)[keep]
    apart -= np.round(apart[:, 2:] / atoms.cell[2, 2]) * atoms.cell[2]
    np.testing.assert_allclose(apart, 0.0, atol=1e-12)


def test_all_atoms_of_a_region():
    m = model(defects=HOLE)
    m.U = shaken(m)
    crystal = m.crystal
    radius = 5.5 * A
    atoms = m.all_atoms(radius)
    grid = np.stack(np.meshgrid(np.arange(-30, 31), np.arange(-30, 31), [0], indexing="ij"), -1)
    x = crystal.positions(grid.reshape(-1, 3))
    count = int((np.linalg.norm(x[:, :2], axis=1) < radius).sum())
    assert len(atoms) == count - 1
    # The patch, by default: the same atoms where they are nodes.
    patch = m.all_atoms()
    assert len(patch) == len(m.layout.positions) - 1
    here, there = (b.positions[:, :2] - b.info["offset"][:2] for b in (patch, atoms))
    near = np.linalg.norm(here[:, None] - there[None], axis=2)
    core = np.linalg.norm(here, axis=1) < 1.7 * A
    assert near.min(axis=1)[core].max() < 1e-12


def test_interpolated_atoms_follow_an_affine_field():
    m = model(mode="3d", outer=6 * A)
    h = np.random.default_rng(1).uniform(-0.02, 0.02, (3, 3))
    m.U = m.layout.node_positions @ h.T
    atoms = m.all_atoms(Ball(4.5 * A))
    x = np.linalg.solve(np.eye(3) + h, (atoms.positions - atoms.info["offset"]).T).T
    _, _, off = m.crystal.integer_coordinates(x)
    assert off.max() < 1e-10
    outside = np.array([[400, 0, 0]])
    assert not m.interpolate(outside).any()


def test_foreign_and_extra_atoms_keep_their_species():
    potential = LennardJones(["Ar", "Kr"], [[0.0104, 0.0119], [0.0119, 0.014]], 3.4, 6.0)
    crystal = fcc("Ar", 5.28).as_columns()
    defects = PointDefects(substitutions={(0, 0, 0): "Kr"}, extra=[("Kr", (1.9, 1.9, 1.0))])
    m = QuasiContinuum(crystal, potential, core=9, blend=9, outer=40, defects=defects)
    for atoms in (m.to_ase(), m.all_atoms()):
        assert sorted(set(atoms.get_chemical_symbols())) == ["Ar", "Kr"]
        assert atoms.get_chemical_symbols().count("Kr") == 2
    assert np.isfinite(m.energy())
    assert np.abs(m.forces()).max() > 0.01


# -- energies and forces --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["3d", "columns"])
def test_atomistic_scheme_is_a_plain_calculation(mode):
    # Every atom of a large enough piece handed to ASE: forces on the free ones agree.
    m = model("atomistic", mode, outer=2.0 * A, defects=HOLE)
    m.U = shaken(m)
    atoms = m.all_atoms()
    atoms.calc = PotentialCalculator(m.potential)
    expected = atoms.get_forces()
    layout = m.layout
    node = layout.node[~layout.vacant]
    got, free = m.forces(), m.layout.free
    own = np.nonzero((node >= 0) & free.any(axis=1)[node])[0]
    assert len(own) > 15
    np.testing.assert_allclose(expected[own], got[node[own]], atol=1e-12)
    # And so do energy differences, the free surface of the piece being the same in both.
    before = atoms.get_potential_energy()
    old = m.energy()
    m.U = shaken(m, seed=5)
    atoms.positions[:] = m.all_atoms().positions
    after = atoms.get_potential_energy()
    assert m.energy() - old == pytest.approx(after - before, abs=1e-9)
    assert abs(after - before) > 1e-3


@pytest.mark.parametrize("scheme", SCHEMES)
def test_load_step_is_a_fresh_model_at_that_strain(scheme):
    f = np.eye(3) + np.random.default_rng(3).uniform(-0.02, 0.02, (3, 3))
    old = model(scheme)
    old.U = shaken(old)
    moved = old.with_strain(f)
    fresh = model(scheme, far_field=HomogeneousStrain(f))
    assert np.array_equal(moved.U, old.U)
    u = moved.U
    np.testing.assert_allclose(moved.forces(u), fresh.forces(u), atol=1e-12)
    if moved.coupling.conservative:
        assert moved.energy(u) == pytest.approx(fresh.energy(u), rel=1e-10)
    # The old model did not change.
    assert old.far_field.mean_deformation.tolist() == np.eye(3).tolist()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_forces_vanish_where_nodes_are_held(scheme):
    m = model(scheme, **({} if scheme == "cauchy-born" else {"defects": HOLE}))
    f = m.forces(shaken(m))
    assert not f[~m.layout.free].any()
    assert np.abs(f).max() > 0.01
    du = np.random.default_rng(7).normal(size=f.shape)
    assert not m.hessian_product(m.U, du)[~m.layout.free].any()


def test_rigid_translation_costs_nothing():
    m = model("bqce", defects=HOLE)
    u = shaken(m)
    shift = np.array([0.3, -0.2, 0.7])
    everywhere = np.ones_like(u) * shift
    assert m.energy(u + everywhere) == pytest.approx(m.energy(u), abs=1e-9)
    total = m.coupling.blended.forces(u).sum(axis=0)
    assert np.abs(total).max() < 1e-11


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
@pytest.mark.parametrize("scheme", ["bgfc", "bqcf"])
def test_number_of_threads_does_not_matter(scheme):
    m = model(scheme, mode="3d", outer=6 * A, defects=HOLE)
    u = shaken(m)
    answers = []
    before = numba.get_num_threads()
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            answers.append((m.forces(u), m.hessian_product(u, u)))
    finally:
        numba.set_num_threads(before)
    for one, two in zip(*answers, strict=True):
        assert np.array_equal(one, two)


# -- degenerate sizes -----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["atomistic", "cauchy-born"])
def test_one_free_site(scheme):
    potential, crystal = copper("3d")
    m = QuasiContinuum(crystal, potential, scheme=scheme, outer=0.3 * A)
    assert m.n_unknowns == 3
    assert m.energy() == pytest.approx(0.0, abs=1e-11)
    assert np.abs(m.forces()).max() < 1e-12
    u = np.where(m.layout.free, 0.1, 0.0)
    # It is pushed back.
    assert m.energy(u) > 0
    assert np.vdot(m.forces(u), u) < 0


def test_no_atoms_at_all():
    m = model("cauchy-born")
    assert len(m.layout.positions) == 0
    assert len(m.all_atoms()) == 0
    assert m.energy() == 0.0
    assert len(m.to_ase()) == m.mesh.n_vertices


def test_predictor_is_the_far_field():
    f = np.eye(3) + 0.01 * np.ones((3, 3))
    m = model(far_field=HomogeneousStrain(f))
    np.testing.assert_allclose(m.predictor(), m.layout.node_positions @ f.T, atol=1e-12)
    cell = m.to_ase().cell
    assert cell[2] == pytest.approx(f @ m.crystal.cell[2])


def held_and_free(m):
    """Which of the sites with an energy are held."""
    atoms, layout = m.coupling.blended.atoms, m.layout
    node = layout.node[~layout.vacant][atoms.active]
    return ~((node >= 0) & layout.free[node].any(axis=1))


def test_a_block_of_atoms_counts_what_is_free():
    """Around a dislocation the held rim stores energy that is none of the block's."""
    potential, crystal = copper()
    moduli = CauchyBorn(crystal, potential).elastic_constants()
    screw = VolterraDislocation(moduli, (0, 0, crystal.cell[2, 2]), (0.7, 0.9))
    place = {"far_field": screw, "centres": [(0.7, 0.9, 0.0)]}
    m = model("atomistic", **place)
    held = held_and_free(m)
    excess = m.coupling.blended.atoms.site_energies(m.U)
    excess -= CauchyBorn(crystal, potential).site_energy(np.eye(3)[None])[0]
    assert m.energy() == pytest.approx(excess[~held].sum(), abs=1e-12)
    assert excess[held].sum() > 0.1
    assert m.n_sites == (~held).sum()
    # A vacancy changes what is there, not what the rim would store without it.
    hole = model("atomistic", defects=HOLE, **place)
    rim = [one.coupling.blended.atoms.reference[held_and_free(one)] for one in (m, hole)]
    np.testing.assert_array_equal(*rim)
    assert hole.n_sites == m.n_sites - 1
    u, move = shaken(m), shaken(m, seed=1)
    step = 1e-5
    slope = (m.energy(u + step * move) - m.energy(u - step * move)) / (2 * step)
    assert slope == pytest.approx(-np.vdot(m.forces(u), move), rel=1e-7)


def test_a_point_defect_in_a_block_of_atoms_keeps_its_whole_energy():
    """Held neighbours count by what the defect changes in them, at any strain."""
    f = np.eye(3) + 0.02 * np.array([[1.0, 0.5, 0], [0.5, 0, 0], [0, 0, -1.0]])
    m = model("atomistic", defects=HOLE, far_field=HomogeneousStrain(f))
    u = shaken(m)
    atoms, rule = m.coupling.blended.atoms, CauchyBorn(m.crystal, m.potential)
    bulk = rule.site_energy(f[None])[0]
    assert m.energy(u) == pytest.approx((atoms.site_energies(u) - bulk).sum(), abs=1e-10)
