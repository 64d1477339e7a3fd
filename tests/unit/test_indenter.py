"""External loads: indenters and dead loads, alone and on a model."""

from functools import cache

import numpy as np
import pytest

from qc.coupling import SCHEMES, PointDefects, QuasiContinuum
from qc.crystal import fcc, triangular
from qc.errors import InputError, NonFiniteError
from qc.loads import CylindricalIndenter, DeadLoad, Load, SphericalIndenter
from qc.potentials import ToyEAM, zhou2004
from qc.solve import relax
from qc.verify import check_coupling

A = 3.6149603
SPHERE = SphericalIndenter(3.0, (0.5, -0.2, 3.1), 2.5)
TILTED = CylindricalIndenter(2.5, (0.1, 0.3, 1.0), 4.0, axis=(1.0, 2.0, -1.0))
STEPS = [10.0**-k for k in range(2, 8)]


def cloud(n=60, seed=0):
    """Points around the origin and how many sites each stands for."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-4.0, 4.0, (n, 3)), rng.uniform(0.0, 3.0, n)


@cache
def flat():
    """A small model in the plane with a vacancy, so that a run takes a moment."""
    return QuasiContinuum(
        triangular("X", 1.0),
        ToyEAM(),
        core=4.0,
        blend=3.0,
        outer=16.0,
        defects=PointDefects(vacant=[(2, 0, 0)]),
    )


# -- one load -------------------------------------------------------------------------------------


def test_energy_and_force_of_one_atom():
    # k/3 (R - r)^3 and k (R - r)^2 outwards, three times for a node of three sites.
    sphere = SphericalIndenter(5.0, (1.0, 2.0, 3.0), 6.0)
    y = np.array([[1.0, 2.0, -1.0], [1.0, 2.0, -2.5]])
    energy, forces = sphere.energy_forces(y, np.array([3.0, 1.0]))
    assert energy == pytest.approx(3.0 * 2.0 * 1.0)
    assert forces.tolist() == [[0.0, 0.0, -18.0], [0.0, 0.0, 0.0]]
    assert sphere.touches(y).tolist() == [True, False]
    cylinder = CylindricalIndenter(5.0, (1.0, 2.0, 77.0), 6.0)
    energy, forces = cylinder.energy_forces(np.array([[4.0, 2.0, -9.0]]), np.ones(1))
    assert energy == pytest.approx(16.0)
    assert forces.tolist() == [[24.0, 0.0, 0.0]]


@pytest.mark.parametrize("load", [SPHERE, TILTED])
def test_derivatives(load):
    y, w = cloud()
    rng = np.random.default_rng(1)
    v = rng.uniform(-1.0, 1.0, y.shape)
    energy, forces = load.energy_forces(y, w)
    assert energy > 1.0
    product = load.hessian_product(y, w, v)
    first, second = [], []
    for h in STEPS:
        (e1, f1), (e0, f0) = (load.energy_forces(y + s * h * v, w) for s in (1.0, -1.0))
        first.append(abs((e1 - e0) / (2 * h) + np.vdot(forces, v)) / energy)
        second.append(np.linalg.norm((f0 - f1) / (2 * h) - product) / np.linalg.norm(product))
    assert min(first) < 1e-8
    assert min(first) < 1e-3 * first[0]
    assert min(second) < 1e-8
    assert min(second) < 1e-3 * second[0]
    u = rng.uniform(-1.0, 1.0, y.shape)
    assert np.vdot(u, product) == pytest.approx(np.vdot(v, load.hessian_product(y, w, u)))


@pytest.mark.parametrize("load", [SPHERE, TILTED])
def test_reaction_is_what_moving_the_indenter_costs(load):
    # At fixed atoms, dE / d centre is minus the force on the indenter.
    y, w = cloud()
    reaction = -load.energy_forces(y, w)[1].sum(axis=0)
    for step in 1e-5 * np.eye(3):
        work = load.moved(step).energy_forces(y, w)[0] - load.moved(-step).energy_forces(y, w)[0]
        assert -work / 2e-5 == pytest.approx(reaction @ step / 1e-5, abs=1e-6)
    assert load.moved((0, 0, 0)) == load


def test_cylinder_along_z_sees_the_plane_only():
    y, w = cloud()
    cylinder = CylindricalIndenter(2.5, (0.1, 0.3, 1.0), 4.0)
    energy, forces = cylinder.energy_forces(y, w)
    flat = y * [1.0, 1.0, 0.0]
    assert energy == pytest.approx(cylinder.energy_forces(flat, w)[0], rel=1e-14)
    assert not forces[:, 2].any()
    assert cylinder.moved((0.0, 0.0, 5.0)).energy_forces(y, w)[0] == pytest.approx(energy)


def test_atom_in_the_very_centre_is_left_alone():
    energy, forces = SPHERE.energy_forces(np.array([SPHERE.centre]), np.ones(1))
    assert energy == pytest.approx(2.5 / 3 * 27)
    assert np.isfinite(forces).all()
    assert not forces.any()


def test_dead_load_is_linear():
    f = np.random.default_rng(2).uniform(-1, 1, (4, 3))
    reference = np.ones((4, 3))
    load = DeadLoad(f, reference)
    energy, forces = load.energy_forces(reference + 0.5, np.ones(4))
    assert energy == pytest.approx(-0.5 * f.sum())
    assert (forces == f).all()
    twice = load.scaled(2.0)
    assert twice.energy_forces(reference + 0.5, np.ones(4))[0] == pytest.approx(2 * energy)
    assert not load.hessian_product(reference, np.ones(4), f).any()


@pytest.mark.parametrize("one", [SPHERE, TILTED, DeadLoad(np.zeros((2, 3)))])
def test_loads_are_loads(one):
    assert isinstance(one, Load)


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SphericalIndenter(-1.0, (0, 0, 0), 1.0), "indenter radius must be positive"),
        (lambda: SphericalIndenter(1.0, (0, 0, 0), np.nan), "indenter stiffness .* got nan"),
        (lambda: SphericalIndenter(1.0, (0, 0), 1.0), "indenter centre must be three numbers"),
        (lambda: SphericalIndenter(1.0, (0, 0, np.inf), 1.0), "index \\(2,\\)"),
        (lambda: CylindricalIndenter(1.0, (0, 0, 0), 1.0, (0, 0, 0)), "must not be zero"),
        (lambda: SPHERE.moved(1.0), "displacement of an indenter"),
        (lambda: DeadLoad(np.zeros(3)), "shape \\(n, 3\\)"),
        (lambda: DeadLoad(np.zeros((2, 3)), np.zeros((3, 3))), "reference of a dead load"),
        (lambda: flat().with_loads(DeadLoad(np.zeros((2, 3)))).energy(), "dead load on 2 nodes"),
        (lambda: flat().with_loads("sphere"), "str is no load"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_load_that_is_not_finite_is_named():
    class Broken(Load):
        def energy_forces(self, positions, weights):
            forces = np.zeros_like(positions)
            forces[7] = np.nan
            return 0.0, forces

        def hessian_product(self, positions, weights, change):
            return change

    with pytest.raises(NonFiniteError, match="force of Broken on node 7"):
        flat().with_loads(Broken()).forces()


# -- on a model -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_energies_forces_and_products_of_a_loaded_model(scheme):
    options = {"defects": PointDefects(vacant=[(2, 0, 0)])} if scheme != "cauchy-born" else {}
    size = {"outer": 6.0} if scheme == "atomistic" else {"outer": 14.0}
    bare = QuasiContinuum(
        triangular("X", 1.0), ToyEAM(), scheme=scheme, core=4.0, blend=3.0, **size, **options
    )
    rng = np.random.default_rng(3)
    move = np.where(bare.layout.free, rng.uniform(-0.05, 0.05, bare.U.shape), 0.0)
    dead = DeadLoad(rng.uniform(-0.1, 0.1, bare.U.shape), bare.predictor())
    loads = (CylindricalIndenter(2.0, (0.2, 0.4, 0.0), 0.5), dead)
    model = bare.with_loads(*loads)
    assert model.loads == loads
    assert not bare.loads
    weights = model.coupling.node_sites[1]
    parts = [one.energy_forces(model.predictor() + move, weights) for one in loads]
    energy = sum(e for e, _ in parts)
    forces = np.where(model.layout.free, sum(f for _, f in parts), 0.0)
    assert model.load_energy(move) == pytest.approx(energy, rel=1e-13)
    assert np.abs(model.forces(move) - bare.forces(move) - forces).max() < 1e-13
    assert np.abs(model.energy_forces(move)[1] - model.forces(move)).max() < 1e-13
    assert model.reactions(move) == pytest.approx(np.array([-f.sum(axis=0) for _, f in parts]))
    change = model.coupling.defect_energy(move) - bare.coupling.defect_energy(move)
    assert change == pytest.approx(energy, rel=1e-11)
    if bare.coupling.conservative:
        assert model.energy(move) - bare.energy(move) == pytest.approx(energy, rel=1e-11)
        assert model.energy_forces(move)[0] == pytest.approx(model.energy(move), rel=1e-11)
    v = np.where(bare.layout.free, rng.uniform(-1.0, 1.0, bare.U.shape), 0.0)
    product = sum(one.hessian_product(model.predictor() + move, weights, v) for one in loads)
    change = model.hessian_product(move, v) - bare.hessian_product(move, v)
    assert np.abs(product).max() > 0.1
    assert np.abs(change - np.where(bare.layout.free, product, 0.0)).max() < 1e-11


@pytest.mark.parametrize("mode", ["plane", "columns"])
def test_a_node_stands_for_its_sites(mode):
    if mode == "plane":
        model = flat()
    else:
        crystal = fcc("Cu", A).as_columns()
        model = QuasiContinuum(crystal, zhou2004("Cu"), core=8.0, blend=6.0, outer=30.0)
    weights = model.coupling.node_sites[1]
    core = model.layout.blend.centres.distance(model.layout.node_positions)
    atoms = core < model.layout.blend.core - 2.0 * model.crystal.nearest_neighbour
    assert atoms.sum() > 5
    # The vacancy is no atom; in 2.5D a column is one atom in each period.
    assert (weights[atoms] == np.where(model.occupied[atoms], 1.0, 0.0)).all()
    assert weights.sum() == pytest.approx(model.n_sites, rel=1e-12)


def test_conformance_kit_looks_at_loads():
    # In contact on a slope of the blend, where weights are neither one nor an element's share.
    model = flat().with_loads(CylindricalIndenter(3.0, (4.5, 0.0, 0.0), 0.5))
    report = check_coupling(model)
    assert report.passed, str(report)
    assert "forces: loads and ghost correction" in {check.name for check in report.checks}

    class Wrong(CylindricalIndenter):
        def energy_forces(self, positions, weights):
            energy, forces = super().energy_forces(positions, weights)
            return energy, 1.001 * forces

    wrong = flat().with_loads(Wrong(3.0, (4.5, 0.0, 0.0), 0.5))
    assert not check_coupling(wrong).passed


def test_relaxation_balances_the_indenter():
    # In equilibrium the frame holds what the indenter pushes.
    model = flat().with_loads(CylindricalIndenter(2.0, (0.0, 1.0, 0.0), 0.5))
    before = model.energy()
    result = relax(model, fmax=1e-6)
    assert result.converged
    assert result.defect_energy < before
    assert result.energy == pytest.approx(model.energy(), abs=1e-12)
    held = ~model.layout.free[:, 0]
    frame = model.coupling.blended.forces(model.U)[held] - model.coupling.ghost[held]
    assert np.abs(model.reactions()[0, :2] + frame[:, :2].sum(axis=0)).max() < 1e-5
    assert np.abs(model.reactions()[0, :2]).max() > 0.05


def test_loads_go_along_to_other_states():
    loaded = flat().with_loads(CylindricalIndenter(2.0, (0.0, 1.0, 0.0), 0.5))
    strained = loaded.with_strain(np.diag([1.01, 1.0, 1.0]))
    assert strained.loads == loaded.loads
    # The load sees the strained positions.
    y = strained.predictor()
    expected = loaded.loads[0].energy_forces(y, strained.coupling.node_sites[1])[0]
    assert strained.load_energy() == pytest.approx(expected) != loaded.load_energy()
    assert loaded.rebuilt(core=5.0).loads == loaded.loads
    assert loaded.without_mean_force(np.zeros_like(loaded.U)).loads == loaded.loads
    assert loaded.with_loads().load_energy() == 0.0
    larger = loaded.rebuilt(core=5.0)
    dead = DeadLoad(np.ones_like(larger.U))
    assert loaded.rebuilt(core=5.0, loads=[dead]).loads == (dead,)


def test_setting_loads_moves_them_in_place():
    model = flat().with_loads(SphericalIndenter(2.0, (0.0, 1.0, 0.0), 0.5))
    start = model.energy()
    work = -model.load_energy()
    model.loads = [model.loads[0].moved((0.0, -0.1, 0.0))]
    work += model.load_energy()
    assert work != 0.0
    assert model.energy() - start == pytest.approx(work, rel=1e-10)
    assert not flat().loads
