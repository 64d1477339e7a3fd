"""Remeshing in motion: refining keeps energy and momentum, coarsening books what it removes."""

from __future__ import annotations

import numpy as np
import pytest
from ase.units import fs, kB

from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import fcc
from qc.dynamics import (
    Dynamics,
    FieldBath,
    HeatField,
    Langevin,
    ModelSystem,
    MovingLoad,
    continuum_only,
    remeshed,
    scaled_masses,
)
from qc.errors import InputError
from qc.loads import CylindricalIndenter, DeadLoad
from qc.mesh import LatticeBlock
from tests.physics.energy_conservation.models import build, material

pytestmark = pytest.mark.physics

STEP = 2.0 * fs


def moving(model, temperature=300.0, steps=250):
    """Return a run without a bath, from a state of thermal equilibrium."""
    warm = Dynamics(
        ModelSystem(model), STEP, baths=[Langevin(temperature, 0.03 / fs)], check_timestep=False
    )
    warm.set_temperature(2.0 * temperature)
    warm.run(steps)
    run = Dynamics(ModelSystem(model), STEP, seed=3, check_timestep=False)
    run.set_state(x=warm.x, v=warm.v)
    return run


@pytest.fixture(scope="module")
def copper():
    return moving(build("eam", "columns"))


@pytest.fixture(scope="module")
def wide():
    """The same with a large core."""
    model = build("eam", "columns").rebuilt(core=12.0, blend=9.0)
    return moving(model)


@pytest.fixture(scope="module")
def silicon():
    return moving(build("sw", "columns"), steps=60)


def kept(run, regions, **options):
    return remeshed(run, run.system.model.rebuilt(**regions), **options)


@pytest.mark.parametrize(
    "regions", [{"core": 9.0}, {"core": 9.0, "blend": 9.0}, {"grading": 1.2}, {"blend": 8.0}]
)
def test_refining_keeps_energy_and_momentum(copper, regions):
    new = kept(copper, regions)
    assert new.system.model.n_unknowns > copper.system.model.n_unknowns
    scale = copper.kinetic
    assert abs(new.ledger.total - copper.ledger.total) < 1e-12 * scale
    assert abs(new.ledger.account("remeshing")) < 1e-12 * scale
    assert np.abs(new.momentum - copper.momentum).max() < 1e-12 * np.sqrt(
        2.0 * scale * copper.system.masses.sum()
    )
    assert abs(new.ledger.closure) < 1e-12 * scale
    # Where both have a node, it is where it was.
    model, old = new.system.model, copper.system.model
    at = old.mesh.vertex_at(model.mesh.lattice)
    np.testing.assert_allclose(
        new.x[: len(at)][at >= 0], copper.x[at[at >= 0]], atol=1e-15, rtol=0.0
    )
    assert (at < 0).any()


def test_a_refined_continuum_has_the_same_potential_energy():
    """Nested meshes of one block have the same displacements."""
    crystal, potential = material("eam")
    model = QuasiContinuum(
        fcc("Cu", crystal.a, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns(), potential,
        core=6.3, blend=5.2, outer=LatticeBlock((-16, -16), (16, 16)),
    )  # fmt: skip
    fine = model.rebuilt(grading=1.1, largest=0.3)
    assert fine.n_unknowns > 1.1 * model.n_unknowns
    u = np.where(model.layout.free, np.random.default_rng(0).normal(size=model.U.shape), 0.0) * 0.05
    assert fine.energy(model.carried(fine, u)) == pytest.approx(model.energy(u), rel=1e-12)


def test_a_dead_load_goes_on_pushing(copper):
    """Without it the energy of the run would jump by the work it has done, and be booked so."""
    model = copper.system.model
    forces = np.where(model.layout.free, np.array([0.0, 0.01, 0.0]), 0.0)
    load = DeadLoad(forces, model.predictor())
    loaded = Dynamics(ModelSystem(model.with_loads(load)), STEP, check_timestep=False)
    loaded.set_state(x=copper.x, v=copper.v)
    loaded.run(50)
    new = kept(loaded, {"core": 9.0})
    pushed = new.system.model.loads[0]
    assert np.asarray(pushed.forces).sum(axis=0) == pytest.approx(forces.sum(axis=0), abs=1e-10)
    assert abs(new.system.model.load_energy(new.x)) > 1e-3
    assert abs(new.ledger.total - loaded.ledger.total) < 1e-12 * loaded.kinetic
    assert np.abs(new.momentum - loaded.momentum).max() < 1e-10
    new.run(50)
    assert abs(new.ledger.closure) < 1e-11


def test_coarsening_books_what_it_removes(wide):
    model = wide.system.model
    coarse = model.rebuilt(core=6.3, blend=5.2)
    new = remeshed(wide, coarse)
    booked = new.ledger.account("remeshing")
    assert new.ledger.total - wide.ledger.total == pytest.approx(booked, abs=1e-12)
    assert np.abs(new.momentum - wide.momentum).max() < 1e-10
    # Half kT of kinetic and of potential energy for every unknown that is gone, roughly.
    gone = model.n_unknowns - coarse.n_unknowns
    assert gone > 100
    assert -booked / (gone * kB * wide.temperature()) == pytest.approx(1.0, abs=0.25)


def test_there_and_back_the_books_close(copper):
    run = copper
    start = run.ledger.total
    for k in range(6):
        regions = {"core": 9.0, "blend": 8.0} if k % 2 == 0 else {"core": 6.3, "blend": 5.2}
        run = kept(run, regions)
        run.run(20)
        assert abs(run.ledger.closure) < 1e-11
    ledger = run.ledger
    assert run.step == copper.step + 120
    assert ledger.account("remeshing") < -1.0
    expected = start + ledger.account("remeshing") + ledger.account("integrator")
    assert ledger.total == pytest.approx(expected, abs=1e-11)
    assert abs(ledger.account("integrator")) < 0.02


def test_a_core_that_moves(copper):
    run = copper
    a = run.system.model.crystal.a
    for k in (1, 2, 3):
        new = kept(run, {"centres": [[k * 0.5 * a, 0.0, 0.0]]})
        scale = run.kinetic
        momentum = np.abs(new.momentum - run.momentum).max()
        assert momentum < 1e-11 * np.sqrt(2.0 * scale * run.system.masses.sum())
        assert abs(new.ledger.closure) < 1e-11
        # Refined ahead, coarsened behind: the second only takes.
        removed = run.ledger.total - new.ledger.total
        assert 0.0 < removed < 0.25 * scale
        run = new
        run.run(20)


def test_new_nodes_are_not_cold(copper):
    """What interpolation takes from them they get back, and the rest comes from around them."""
    new = kept(copper, {"core": 9.0, "blend": 9.0})
    old = copper.system.model.mesh.vertex_at(new.system.model.mesh.lattice)
    fresh = np.zeros(len(new.x), dtype=bool)
    fresh[: len(old)] = old < 0
    fresh &= new.system.free.any(axis=1)
    assert fresh.sum() > 30
    # Their potential energy has still to come from around them.
    assert new.temperature(fresh) > 0.15 * new.temperature()
    inside, all_of_it = [], []

    def note(d):
        inside.append(d.temperature(fresh))
        all_of_it.append(d.temperature())

    new.run(300)
    new.run(500, note)
    assert np.mean(inside) > 0.65 * np.mean(all_of_it)


def test_crystals_with_a_basis(silicon):
    finer = kept(silicon, {"core": 8.5})
    scale = silicon.kinetic
    assert abs(finer.ledger.total - silicon.ledger.total) < 1e-11 * scale
    coarser = kept(finer, {"core": 5.6})
    # There and back nothing is gained; silicon's shifts relax where nodes are gone.
    assert coarser.ledger.account("remeshing") < 0.0
    for run in (finer, coarser):
        assert np.abs(run.momentum - silicon.momentum).max() < 1e-9
        run.run(5)
        assert abs(run.ledger.closure) < 1e-10


def rim_heat(field, old, new):
    """Heat of the sites by which coarse elements stick out of the round rim."""
    sites = [m.mesh.volumes.sum() / m.crystal.volume for m in (old, new)]
    return 3.0 * kB * field.temperature[field.boundary].mean() * (sites[1] - sites[0])


def test_heat_enters_the_field(wide):
    model = wide.system.model

    def field(of):
        return HeatField.of_model(of, size=12.0, where="everywhere", temperature=280.0)

    run = Dynamics(
        wide.system, STEP, baths=[FieldBath(field(model), continuum_only(model, 0.01 / fs))],
        check_timestep=False,
    )  # fmt: skip
    run.set_state(x=wide.x, v=wide.v)
    run.run(20)
    coarse = model.rebuilt(core=6.3, blend=5.2)
    other = field(coarse)
    new = remeshed(
        run, coarse, field=other,
        baths=[FieldBath(other, continuum_only(coarse, 0.01 / fs))],
    )  # fmt: skip
    scale = run.field.total_energy()
    rim = rim_heat(run.field, model, coarse)
    assert new.ledger.total - run.ledger.total == pytest.approx(rim, rel=1e-9, abs=1e-12 * scale)
    assert new.ledger.account("remeshing") == pytest.approx(rim, rel=1e-9)
    assert other.total_energy() > run.field.total_energy() + max(rim, 0.0) + 1.0
    new.run(20)
    assert abs(new.ledger.closure) < 1e-12 * scale
    with pytest.raises(InputError, match="give a heat field"):
        remeshed(run, coarse, baths=new.baths)


def test_sites_that_become_nodes_take_their_heat_with_them():
    """Neither does the field get hotter nor are the new nodes cold."""
    model = build("eam", "columns", outer=16.0)

    def parts(of):
        field = HeatField.of_model(of, temperature=300.0, size=12.0)
        return field, [FieldBath(field, continuum_only(of, 0.02 / fs))]

    field, baths = parts(model)
    run = Dynamics(ModelSystem(model), STEP, baths=baths, check_timestep=False)
    run.set_temperature(600.0)
    run.run(400)
    fine = model.rebuilt(core=25.0)
    other, more = parts(fine)
    assert other.capacity.sum() < 0.7 * field.capacity.sum()
    new = remeshed(run, fine, field=other, baths=more)
    rim = rim_heat(field, model, fine)
    assert new.ledger.account("remeshing") == pytest.approx(rim, rel=1e-9)
    assert new.ledger.total - run.ledger.total == pytest.approx(rim, rel=1e-9)
    temperatures = []
    new.run(100)
    new.run(200, lambda d: temperatures.append(d.temperature()))
    assert np.mean(temperatures) == pytest.approx(300.0, rel=0.06)
    assert abs(new.ledger.closure) < 1e-11 * abs(new.ledger.total)


def test_an_indenter_goes_on_from_where_it_is():
    model = build("eam", "columns")
    start = CylindricalIndenter(4.0, (0.0, 8.0, 0.0), 1.0)
    drive = MovingLoad(lambda t: start.moved((0.0, -0.05 * t, 0.0)), "tip")
    run = Dynamics(
        ModelSystem(model.with_loads(start)), STEP, drives=[drive], check_timestep=False
    )
    run.run(50)
    new = kept(run, {"core": 9.0})
    tips = [d.system.model.loads[0].centre[1] for d in (run, new)]
    assert tips[0] == tips[1] == pytest.approx(8.0 - 0.05 * run.time)
    assert abs(new.ledger.total - run.ledger.total) < 1e-9
    assert new.ledger.account("work", "tip") == run.ledger.account("work", "tip")


def test_masses_of_its_own_are_asked_for(copper):
    model = copper.system.model
    run = Dynamics(
        ModelSystem(model, masses=scaled_masses(model)), STEP, check_timestep=False
    )
    fine = model.rebuilt(core=9.0)
    with pytest.raises(InputError, match="masses of its own"):
        remeshed(run, fine)
    masses = scaled_masses(fine)
    assert np.array_equal(remeshed(run, fine, masses=masses).system.masses, masses)


def test_only_regions_may_differ(copper):
    model = copper.system.model
    regions = {"core": 9.0, "blend": 6.0, "outer": 22.0}
    for options, name in (
        ({"defects": PointDefects(vacant=[(0, 0, 0)])}, "set of point defects"),
        ({"scheme": "bqce"}, "scheme"),
        ({"loads": [CylindricalIndenter(4.0, (0.0, 8.0, 0.0), 1.0)]}, "set of loads"),
    ):
        other = QuasiContinuum(model.crystal, model.potential, **regions, **options)
        with pytest.raises(InputError, match=f"another {name}"):
            remeshed(copper, other)


def test_bad_input(copper):
    model = copper.system.model
    with pytest.raises(InputError, match="no option 'cores'; did you mean 'core'"):
        model.rebuilt(cores=8.0)
    with pytest.raises(InputError, match="crystal"):
        remeshed(copper, build("pair", "columns"))
    local = Dynamics(
        model, STEP, baths=[Langevin(300.0, continuum_only(model, 0.01))], check_timestep=False
    )
    with pytest.raises(InputError, match="give new baths"):
        remeshed(local, model.rebuilt(core=9.0))
    with pytest.raises(InputError, match="baths"):
        remeshed(copper, model.rebuilt(core=9.0), baths=[Langevin(300.0, 1.0)])
