"""Integrators, baths, noise, time step and ledger, on systems whose answer is known."""

import logging
from itertools import pairwise

import numpy as np
import pytest
from ase.units import kB

from qc.bulk import sampled_lattice
from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import fcc, triangular
from qc.dynamics import (
    Drive,
    Dynamics,
    EnergyLedger,
    FieldBath,
    HeatField,
    Langevin,
    ModelSystem,
    MovingLoad,
    NoiseStream,
    atoms_only,
    conductivity_from_SI,
    continuum_only,
    largest_frequency,
    remeshed,
    scaled_masses,
    stadium,
    timestep_bound,
)
from qc.dynamics.ledger import Sum
from qc.errors import (
    CapabilityError,
    CheckpointError,
    InputError,
    InvertedElementError,
    NonFiniteError,
)
from qc.io import read_dynamics, read_history
from qc.loads import CylindricalIndenter
from qc.materials import thermal_lattice
from qc.potentials import ToyEAM
from qc.solve import System, mean_force, relax


class Springs(System):
    """Independent harmonic oscillators: ``E = k x^2 / 2`` for every free component."""

    def __init__(self, stiffness, masses):
        self.stiffness = np.asarray(stiffness, dtype=float)[:, None]
        self.masses = np.asarray(masses, dtype=float)
        self.coordinates = np.zeros((len(self.masses), 3))
        self.fail_after = None

    def energy_forces(self, x):
        if self.fail_after is not None:
            self.fail_after -= 1
            if self.fail_after < 0:
                raise NonFiniteError("planted")
        return float(0.5 * (self.stiffness * x * x).sum()), -self.stiffness * x

    def hessian_product(self, x, dx):
        return self.stiffness * dx


class Chain(Springs):
    """A ring of equal masses and springs, along x only."""

    def __init__(self, n, stiffness, mass):
        super().__init__(np.full(n, stiffness), np.full(n, mass))
        self.free[:, 1:] = False

    def energy_forces(self, x):
        stretch = np.roll(x, -1, axis=0) - x
        pull = self.stiffness * stretch
        f = pull - np.roll(pull, 1, axis=0)
        return float(0.5 * (pull * stretch).sum()), np.where(self.free, f, 0.0)

    def hessian_product(self, x, dx):
        return -self.energy_forces(dx)[1]


@pytest.fixture(scope="module")
def model():
    potential = ToyEAM()
    model = QuasiContinuum(
        triangular(potential.species[0], 1.0), potential, core=4.0, blend=3.0, outer=20.0,
        defects=PointDefects(vacant=[(0, 0, 0)]),
    )  # fmt: skip
    assert relax(model, fmax=1e-10).converged
    return model


# -- time step ------------------------------------------------------------------------------------


def test_the_bound_of_a_chain_is_the_analytic_one():
    chain = Chain(50, 3.0, 2.0)
    assert largest_frequency(chain) == pytest.approx(2.0 * np.sqrt(3.0 / 2.0), rel=2e-3)
    assert timestep_bound(chain) == pytest.approx(np.sqrt(2.0 / 3.0), rel=2e-3)


def test_few_unknowns_and_none():
    assert largest_frequency(Springs([4.0], [1.0])) == pytest.approx(2.0)
    still = Springs([4.0], [1.0])
    still.free[:] = False
    assert timestep_bound(still) == np.inf
    dynamics = Dynamics(still, 1.0)
    dynamics.run(3)
    assert dynamics.temperature() == 0.0


def test_a_step_beyond_the_bound_is_refused_with_the_bound():
    springs = Springs([1.0, 100.0], [1.0, 1.0])
    with pytest.raises(InputError, match=r"stability bound of \d"):
        Dynamics(springs, 0.201)
    # The bound is sharp: just below it the motion stays bounded, just above it does not.
    for step, grows in ((0.199, False), (0.201, True)):
        dynamics = Dynamics(springs, step, check_timestep=False)
        dynamics.set_state(x=np.full((2, 3), 0.1))
        dynamics.run(200)
        assert bool(np.abs(dynamics.x).max() > 10.0) is grows


def test_a_step_close_to_the_bound_is_warned_about(caplog):
    with caplog.at_level(logging.WARNING):
        Dynamics(Springs([100.0], [1.0]), 0.15)
    assert "close to the stability bound" in caplog.text


def test_the_bound_of_a_model_is_where_it_becomes_unstable(model):
    system = ModelSystem(model)
    bound = timestep_bound(system)
    start = model.U.copy()
    tops = []
    for share in (0.97, 1.03):
        dynamics = Dynamics(system, share * bound, check_timestep=False)
        kick = 1e-9 * np.random.default_rng(0).standard_normal(dynamics.v.shape)
        dynamics.set_state(v=kick / bound)
        try:
            dynamics.run(150)
        except InvertedElementError:
            tops.append(np.inf)
        else:
            tops.append(np.abs(dynamics.x - start).max())
        model.U = start
    assert tops[0] < 1e-7
    assert tops[1] > 1e-4


# -- velocity Verlet ------------------------------------------------------------------------------


def test_verlet_keeps_the_modified_energy_of_an_oscillator_exactly():
    """Velocity Verlet conserves p^2/2m + k x^2/2 (1 - (omega dt)^2 / 4) to round-off."""
    k, m, h = 2.0, 3.0, 0.7
    dynamics = Dynamics(Springs([k], [m]), h)
    dynamics.set_state(x=[[0.3, 0.0, 0.1]], v=[[0.0, 0.2, 0.1]])
    kept = []
    dynamics.run(
        500,
        lambda d: kept.append(
            0.5 * m * (d.v**2).sum() + 0.5 * k * (d.x**2).sum() * (1 - k / m * h * h / 4)
        ),
    )
    assert np.ptp(kept) < 1e-13


def test_it_is_reversible_and_of_second_order():
    chain = Chain(8, 1.0, 1.0)
    rng = np.random.default_rng(1)
    x0, v0 = rng.normal(size=(2, 8, 3)) * [1.0, 0.0, 0.0]
    ends = []
    for h in (0.2, 0.1, 0.05, 0.025):
        dynamics = Dynamics(chain, h)
        dynamics.set_state(x=x0, v=v0)
        dynamics.run(round(4.0 / h))
        ends.append(dynamics.x.copy())
        dynamics.reverse()
        dynamics.run(round(4.0 / h))
        np.testing.assert_allclose(dynamics.x, x0, atol=1e-12)
        np.testing.assert_allclose(dynamics.v, -v0, atol=1e-12)
    errors = [np.abs(a - b).max() for a, b in pairwise(ends)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.1)
    assert np.log2(errors[1] / errors[2]) == pytest.approx(2.0, abs=0.05)


def test_held_components_stay():
    springs = Springs([1.0, 1.0], [1.0, 1.0])
    springs.free[0] = [True, False, True]
    dynamics = Dynamics(springs, 0.1, baths=[Langevin(500.0, 1.0)])
    dynamics.set_state(x=[[0.1, 0.2, 0.3], [0.1, 0.1, 0.1]])
    dynamics.set_temperature(300.0)
    dynamics.run(20)
    assert dynamics.x[0, 1] == 0.2
    assert dynamics.v[0, 1] == 0.0
    assert (dynamics.x[0, [0, 2]] != [0.1, 0.3]).all()


# -- Langevin -------------------------------------------------------------------------------------


def test_baoab_samples_positions_of_an_oscillator_exactly_at_any_step():
    """Its marginal in x is exact for quadratic energies; its kinetic one falls short by a known

    factor, 1 - (omega dt)^2 / 4, at the end of a step. Leimkuhler & Matthews (2015), section 7.4.
    In the middle it is exact. Z. Zhang et al., J. Phys. Chem. A 123 (2019) 6056.
    """
    n, k, m, temperature = 4000, 2.0, 1.5, 700.0
    omega = np.sqrt(k / m)
    step = 1.2 / omega  # 60 % of the stability bound
    dynamics = Dynamics(
        Springs(np.full(n, k), np.full(n, m)), step, baths=[Langevin(temperature, 0.5 * omega)],
        seed=3,
    )  # fmt: skip
    dynamics.run(60)
    squares, speeds, middle = [], [], []

    def measure(d):
        squares.append((d.x**2).mean())
        speeds.append((d.v**2).mean())
        middle.append((d.middle_velocities() ** 2).mean())

    dynamics.run(2000, measure, every=4)
    expected = kB * temperature / k
    error = expected * np.sqrt(2.0 / (3 * n * len(squares))) * 2.0
    assert np.mean(squares) == pytest.approx(expected, abs=4 * error)
    assert error < 2e-3 * expected
    kinetic = kB * temperature / m * (1.0 - (omega * step) ** 2 / 4.0)
    assert np.mean(speeds) == pytest.approx(kinetic, rel=4e-3)
    assert np.mean(middle) == pytest.approx(kB * temperature / m, rel=4e-3)
    assert dynamics.middle_kinetic == pytest.approx(0.5 * m * 3 * n * middle[-1], rel=1e-12)


def test_velocities_in_the_middle_of_a_verlet_step_are_what_it_moved_by():
    dynamics = Dynamics(Springs([2.0, 5.0], [1.0, 3.0]), 0.3, seed=1)
    dynamics.set_temperature(300.0)
    for _ in range(3):
        before = dynamics.x
        dynamics.run(1)
        np.testing.assert_allclose(
            dynamics.middle_velocities(), (dynamics.x - before) / 0.3, rtol=1e-12, atol=1e-14
        )


def test_several_temperatures_and_friction_fields():
    n = 3000
    gamma = np.where(np.arange(n) < 2 * n // 3, 0.5, 0.0)
    kelvin = np.where(np.arange(n) < n // 3, 300.0, 900.0)
    dynamics = Dynamics(
        Springs(np.ones(n), np.ones(n)), 0.1, baths=[Langevin(kelvin, gamma)], seed=5
    )
    dynamics.run(600)
    temperatures = []
    dynamics.run(
        600,
        lambda d: temperatures.append(
            [d.temperature(np.arange(k * n // 3, (k + 1) * n // 3)) for k in range(3)]
        ),
        every=10,
    )
    cold, hot, free = np.mean(temperatures, axis=0)
    assert cold == pytest.approx(300.0, rel=0.02)
    assert hot == pytest.approx(900.0, rel=0.02)
    assert free == 0.0
    np.testing.assert_array_equal(dynamics.v[2 * n // 3 :], 0.0)


def test_two_baths_share_the_work_and_the_books_say_how():
    n = 3000
    baths = [Langevin(200.0, 0.1, name="cold"), Langevin(800.0, 0.2, name="hot")]
    dynamics = Dynamics(Springs(np.ones(n), np.ones(n)), 0.2, baths=baths, seed=2)
    dynamics.set_temperature(600.0)
    dynamics.run(300)
    dynamics.open_ledger()
    temperatures = []
    dynamics.run(1000, lambda d: temperatures.append(d.temperature()))
    # (0.1 * 200 + 0.2 * 800) / 0.3
    assert np.mean(temperatures) == pytest.approx(600.0, rel=0.01)
    ledger = dynamics.ledger
    flow = ledger.account("heat", "hot") / dynamics.timestep / 1000
    # The hot bath feeds 3 n kB gamma (T_hot - T) a unit of time.
    assert flow == pytest.approx(3 * n * kB * 0.2 * 200.0, rel=0.03)
    assert ledger.account("heat", "cold") == pytest.approx(-ledger.account("heat", "hot"), rel=0.03)
    assert ledger.entropy_production > 0.0
    assert ledger.entropy_production == pytest.approx(
        -ledger.account("heat", "hot") / 800 - ledger.account("heat", "cold") / 200
    )
    assert abs(ledger.closure) < 1e-11


def test_friction_without_noise_only_takes():
    dynamics = Dynamics(
        Springs(np.ones(50), np.ones(50)), 0.1, baths=[Langevin(300.0, 0.3, noise=False)]
    )
    dynamics.set_state(x=np.random.default_rng(0).normal(size=(50, 3)))
    produced = [0.0]
    dynamics.run(200, lambda d: produced.append(d.ledger.entropy_production))
    assert (np.diff(produced) >= 0.0).all()
    assert dynamics.kinetic + dynamics.potential < 5e-3 * dynamics.ledger.start


# -- noise ----------------------------------------------------------------------------------------


def test_noise_is_a_function_of_seed_stream_and_step():
    stream = NoiseStream(7, 1)
    np.testing.assert_array_equal(stream.normal(12, (5, 3)), NoiseStream(7, 1).normal(12, (5, 3)))
    np.testing.assert_array_equal(stream.normal(12, (5, 3))[:2], stream.normal(12, (2, 3)))
    drawn = [
        NoiseStream(s, k).normal(step, (500,)) for s in (0, 1) for k in (0, 1) for step in (0, 1, 2)
    ]
    correlation = np.corrcoef(drawn) - np.eye(len(drawn))
    assert np.abs(correlation).max() < 4.5 / np.sqrt(500)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True])
def test_impossible_seeds_are_refused(seed):
    with pytest.raises(InputError, match="seed must be an integer"):
        NoiseStream(seed)


# -- ledger ---------------------------------------------------------------------------------------


def test_the_ledger_comes_back_to_the_last_bit():
    dynamics = Dynamics(Springs([1.0], [1.0]), 0.3, baths=[Langevin(300.0, 0.2)])
    dynamics.set_temperature(300.0)
    dynamics.run(50)
    again = EnergyLedger.load(dynamics.ledger.dump())
    assert again.row() == dynamics.ledger.row()
    assert "closure" in str(again)
    for damaged in ({}, {**again.dump(), "accounts": [["gift", "me", 1.0, 0.0]]},
                    {**again.dump(), "start": float("nan")}):  # fmt: skip
        with pytest.raises(CheckpointError):
            EnergyLedger.load(damaged)


def test_sums_keep_what_plain_addition_loses():
    total = Sum()
    for _ in range(1000):
        total.add(1e16)
        total.add(1.0)
        total.add(-1e16)
    assert total.value == 1000.0


class Grip(Drive):
    """A drive that stiffens springs as time goes on."""

    name = "grip"

    def advance(self, system, x, time):
        before = system.energy_forces(x)[0]
        system.stiffness = np.full_like(system.stiffness, 1.0 + 0.05 * time)
        return system.energy_forces(x)[0] - before


def test_work_of_a_drive_is_booked():
    springs = Springs(np.ones(20), np.ones(20))
    dynamics = Dynamics(springs, 0.05, drives=[Grip()])
    dynamics.set_state(x=np.random.default_rng(0).normal(size=(20, 3)))
    dynamics.run(1000)
    ledger = dynamics.ledger
    assert abs(ledger.closure) < 1e-11
    # Slow stiffening from 1 to 3.5: the action E / omega is kept.
    assert ledger.total / ledger.start == pytest.approx(np.sqrt(3.5), rel=0.02)
    assert ledger.account("work") == pytest.approx(ledger.total - ledger.start, rel=4e-3)


def test_a_failed_step_leaves_the_last_good_state():
    springs = Springs(np.ones(5), np.ones(5))
    dynamics = Dynamics(springs, 0.1, baths=[Langevin(300.0, 0.1)], seed=1)
    dynamics.set_temperature(300.0)
    dynamics.run(10)
    before, books = dynamics.snapshot(), dynamics.ledger.row()
    springs.fail_after = 0
    with pytest.raises(NonFiniteError, match="planted"):
        dynamics.run(5)
    np.testing.assert_array_equal(dynamics.x, before.x)
    np.testing.assert_array_equal(dynamics.v, before.v)
    assert dynamics.step == 10
    assert dynamics.ledger.row() == books
    # It goes on from there as if nothing had happened.
    springs.fail_after = None
    dynamics.run(5)
    other = Dynamics(springs, 0.1, baths=[Langevin(300.0, 0.1)], seed=1)
    other.set_temperature(300.0)
    other.set_state(x=np.zeros((5, 3)))
    other.run(15)
    np.testing.assert_array_equal(other.x, dynamics.x)


# -- models ---------------------------------------------------------------------------------------


def test_masses_add_up_and_are_where_the_energy_is(model):
    """Each node carries its own atom's weight and its corners' shares of the elements'."""
    masses, terms = model.node_masses(), model.coupling.blended
    one = masses[model.layout.beta_nodes == 0.0].min()
    # The vacant site has a node and no atom.
    assert masses.sum() / one == pytest.approx(model.n_sites + 1, rel=1e-12)
    owned = np.zeros(len(masses))
    np.add.at(owned, model.layout.node[~model.layout.vacant], terms.atoms.weights)
    mesh = model.mesh
    share = terms.continuum.weights * mesh.volumes / mesh.crystal.volume / 3.0
    np.add.at(owned, mesh.elements.ravel(), np.repeat(share, 3))
    moving = model.layout.free.any(axis=1)
    np.testing.assert_allclose(masses[moving], one * owned[moving], rtol=1e-12)


def test_blended_forces_are_refused_unless_asked_for(caplog):
    potential = ToyEAM()
    model = QuasiContinuum(
        triangular(potential.species[0], 1.0), potential, scheme="bqcf", core=4.0, blend=3.0,
        outer=12.0,
    )  # fmt: skip
    with pytest.raises(CapabilityError, match="'bqcf' blends forces"):
        Dynamics(model, 0.01)
    with caplog.at_level(logging.WARNING):
        dynamics = Dynamics(ModelSystem(model, allow_nonconservative=True), 0.01)
    assert "ledger cannot close" in caplog.text or "no energy" in caplog.text
    dynamics.run(2)


def test_friction_fields(model):
    beta = model.layout.beta_nodes
    np.testing.assert_allclose(atoms_only(model, 2.0), 2.0 * (1.0 - beta))
    np.testing.assert_allclose(continuum_only(model, 2.0), 2.0 * beta)
    field = stadium(model, 3.0)
    inside = model.layout.blend.centres.distance(model.layout.node_positions)
    assert (field[inside <= model.layout.blend.core] < 1e-12).all()
    assert field[inside <= model.layout.blend.outer].max() > 0.0
    np.testing.assert_allclose(field[: model.mesh.n_vertices][model.mesh.boundary], 3.0)
    assert field.max() == 3.0
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="friction"):
            stadium(model, bad)
    with pytest.raises(InputError, match="width"):
        stadium(model, 1.0, width=0.0)


def test_scaled_masses_keep_the_bound_and_speed_up_coarse_nodes(model):
    lumped, scaled = model.node_masses(), scaled_masses(model)
    coarse = model.layout.beta_nodes >= 1.0
    assert (scaled[coarse] > 0.0).all()
    np.testing.assert_array_equal(scaled[~coarse], lumped[~coarse])
    assert scaled[coarse].max() < lumped.max()
    bounds = [timestep_bound(ModelSystem(model, masses=m)) for m in (lumped, scaled)]
    assert bounds[1] > 0.8 * bounds[0]


@pytest.mark.parametrize("change", ["nan", "negative", "short"])
def test_impossible_masses_are_refused(model, change):
    masses = model.node_masses()
    node = int(np.nonzero(model.layout.free.any(axis=1))[0][5])
    if change == "short":
        masses = masses[:-1]
    else:
        masses[node] = np.nan if change == "nan" else -1.0
    with pytest.raises(InputError, match="shape" if change == "short" else f"node {node}"):
        ModelSystem(model, masses=masses)


def test_impossible_settings_are_refused(model):
    for keywords, message in (
        ({"timestep": 0.0}, "timestep"),
        ({"timestep": np.nan}, "timestep"),
        ({"conduct_every": 0}, "conduct_every"),
        ({"velocities": np.full_like(model.U, np.nan)}, "velocities"),
        ({"velocities": np.zeros((2, 3))}, "velocities"),
        ({"baths": [Langevin(1.0, 1.0), Langevin(2.0, 1.0)]}, "share a name"),
        ({"baths": [Langevin(1.0, np.ones(3))]}, "friction of shape"),
        ({"baths": [Langevin(np.ones(3), 1.0)]}, "temperature of shape"),
    ):
        given = {"timestep": 0.01, "check_timestep": False, **keywords}
        with pytest.raises(InputError, match=message):
            Dynamics(model, given.pop("timestep"), **given)
    with pytest.raises(InputError, match="a str is no system"):
        Dynamics("model", 1.0)
    for bad in (-1.0, np.nan, "hot"):
        with pytest.raises(InputError, match="temperature"):
            Langevin(bad, 1.0)
    dynamics = Dynamics(model, 0.01, check_timestep=False)
    with pytest.raises(InputError):
        dynamics.set_temperature(-5.0)
    with pytest.raises(InputError):
        dynamics.run(-1)


def test_a_crystal_is_no_system():
    with pytest.raises(InputError, match="a Crystal is no system"):
        Dynamics(fcc("Cu", 3.6), 1.0)


# -- loads ----------------------------------------------------------------------------------------


def test_a_moving_indenter_does_the_work_that_the_ledger_says(model):
    start = CylindricalIndenter(radius=3.0, centre=(0.0, 6.0, 0.0), stiffness=2.0)
    speed = 0.4
    drive = MovingLoad(lambda t: start.moved((0.0, -speed * t, 0.0)), "indenter")
    dynamics = Dynamics(model.with_loads(start), 0.01, drives=[drive], check_timestep=False)
    work = []

    def note(d):
        # Force of the crystal against the motion, as the indenter feels it.
        work.append(d.system.model.reactions(d.x)[0, 1] * speed * d.timestep)

    dynamics.run(300, note)
    ledger = dynamics.ledger
    assert abs(ledger.closure) < 1e-12 * max(ledger.total, 1.0)
    booked = ledger.account("work", "indenter")
    assert booked > 0.01
    assert booked == pytest.approx(sum(work), rel=0.02)
    assert ledger.total - ledger.start == pytest.approx(booked, rel=3e-3)
    assert not model.loads


def test_impossible_drives_are_refused(model):
    with pytest.raises(InputError, match="function of time"):
        MovingLoad(3.0)
    with pytest.raises(InputError, match="gave a int, not a load"):
        Dynamics(model, 0.01, drives=[MovingLoad(lambda t: 3)], check_timestep=False)
    load = CylindricalIndenter(radius=3.0, centre=(0.0, 60.0, 0.0), stiffness=2.0)
    drive = MovingLoad(lambda t: load, index=4)
    with pytest.raises(InputError, match="load 4 of a model with 0"):
        Dynamics(model, 0.01, drives=[drive], check_timestep=False)
    with pytest.raises(CapabilityError, match="only models"):
        Dynamics(Springs([1.0], [1.0]), 0.1, drives=[MovingLoad(lambda t: load)])


def test_numbers_that_are_text_or_floats_are_input_errors():
    chain = Chain(8, 1.0, 1.0)
    with pytest.raises(InputError, match="timestep must be a number"):
        Dynamics(chain, "2 fs")
    with pytest.raises(InputError, match="steps must be a whole number"):
        Dynamics(chain, 0.01).run(1e3)


def test_forces_that_are_not_finite_stop_the_run():
    springs = Springs([1.0], [1.0])
    run = Dynamics(springs, 0.1, velocities=[[1.0, 0.0, 0.0]])
    run.run(3)
    good = springs.energy_forces
    springs.energy_forces = lambda x: (good(x)[0], np.full((1, 3), np.nan))
    with pytest.raises(NonFiniteError, match="force on node 0 is not finite after 3 steps"):
        run.run(1)
    assert run.step == 3
    assert np.array_equal(springs.coordinates, run.x)
    for state in ({"v": [[np.nan, 0, 0]]}, {"x": [[0, 0]]}, {"x": "there"}):
        with pytest.raises(InputError, match=r"velocities must|positions must"):
            run.set_state(**state)


def test_callbacks_see_the_model_where_the_run_is(model):
    run = Dynamics(model, 0.02, check_timestep=False)
    run.set_temperature(10.0)
    seen = []
    run.run(4, lambda d: seen.append(np.abs(model.U - d.x).max()), every=2)
    assert seen == [0.0, 0.0]
    model.U = np.zeros_like(model.U)


def test_loads_that_are_set_between_steps_have_done_work(model):
    push = CylindricalIndenter(3.0, (0.0, 1.0, 0.0), 0.5)
    loaded = model.with_loads(push)
    run = Dynamics(loaded, 0.02, check_timestep=False)
    run.set_temperature(10.0)
    columns = list(run.ledger.row())

    def press(d):
        if d.step == 5:
            loaded.loads = [push.moved((0.0, -0.2, 0.0))]

    run.run(10, press)
    work = run.ledger.account("work", "loads")
    assert abs(work) > 1e-3
    assert abs(run.ledger.account("integrator")) < 0.1 * abs(work)
    assert abs(run.ledger.closure) < 1e-12
    assert list(run.ledger.row()) == columns


def test_two_drives_of_one_load_are_refused(model):
    push = CylindricalIndenter(3.0, (0.0, 1.0, 0.0), 0.5)
    drives = [MovingLoad(lambda t: push, name) for name in "ab"]
    with pytest.raises(InputError, match="two drives move one load"):
        Dynamics(model.with_loads(push), 0.02, drives=drives, check_timestep=False)
    with pytest.raises(InputError, match="index must be a whole number"):
        MovingLoad(lambda t: push, "a", 0.7)
    with pytest.raises(InputError, match="seed must be a whole number"):
        Dynamics(model, 0.02, seed=1.9, check_timestep=False)


def test_a_stadium_without_room_is_refused(model):
    full = QuasiContinuum(model.crystal, model.potential, scheme="atomistic", outer=8.0)
    with pytest.raises(InputError, match="give the stadium a width"):
        stadium(full, 1.0)
    assert np.isfinite(stadium(full, 1.0, width=3.0)).all()


def test_parts_of_another_kind_are_refused():
    chain = Chain(8, 1.0, 1.0)
    for options, match in (
        ({"baths": Langevin(1.0, 1.0)}, "baths must be a sequence, not a Langevin"),
        ({"baths": ["a"]}, "'a' is none of the baths"),
        ({"drives": ["a"]}, "'a' is none of the drives"),
        ({"field": "hot"}, "field must be a HeatField, not a str"),
        ({"velocities": "fast"}, "velocities must be real numbers"),
    ):
        with pytest.raises(InputError, match=match):
            Dynamics(chain, 0.01, **options)
    with pytest.raises(InputError, match="temperature must be real numbers"):
        Dynamics(chain, 0.01).set_temperature("hot")


def test_models_and_runs_of_another_kind_are_refused(model):
    potential = model.potential
    calls = (
        (lambda: stadium(None, 1.0), "model must be a QuasiContinuum, got NoneType"),
        (lambda: atoms_only("m", 1.0), "model must be a QuasiContinuum, got str"),
        (lambda: continuum_only(None, 1.0), "model must be a QuasiContinuum"),
        (lambda: scaled_masses(potential), "model must be a QuasiContinuum"),
        (lambda: HeatField.of_model(None), "model must be a QuasiContinuum"),
        (lambda: remeshed(model, model), "dynamics must be a Dynamics, got QuasiContinuum"),
        (lambda: mean_force(None, 10.0), "model must be a QuasiContinuum"),
        (lambda: thermal_lattice(None, potential, 10.0), "crystal must be a Crystal"),
        (lambda: thermal_lattice(model.crystal, "EAM", 10.0), "potential must be a Potential"),
        (lambda: sampled_lattice(None, potential, 10.0), "crystal must be a Crystal"),
        (lambda: QuasiContinuum(None, potential), "crystal must be a Crystal"),
        (lambda: timestep_bound("model"), "a str is no system"),
        (lambda: timestep_bound(model, np.zeros((2, 3))), r"x of shape \(2, 3\)"),
        (lambda: FieldBath(None, 0.1), "field must be a HeatField, got NoneType"),
        (lambda: conductivity_from_SI(-1.0), "conductivity must be finite and not negative"),
        (lambda: Dynamics(model, 0.02).temperature("core"), "nodes must be indices or a mask"),
        (lambda: Dynamics(model, 0.02).run(2, callback=5), "callback must be a function"),
        (lambda: read_history(None), "path must be a str or PathLike"),
        (lambda: read_dynamics(3), "path must be a str or PathLike, got int"),
    )
    for call, message in calls:
        with pytest.raises(InputError, match=message):
            call()
    run = Dynamics(model, 0.02, check_timestep=False)
    assert repr(run).startswith("Dynamics(step 0, 0.2036 fs a step")
    assert f"{model.n_unknowns} unknowns for" in repr(model)
    # What can be integrated has a bound.
    assert timestep_bound(model) == timestep_bound(ModelSystem(model))
