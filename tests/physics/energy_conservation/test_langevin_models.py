"""Langevin dynamics of coupled models: what is sampled is the canonical distribution.

Judged by `physical_validation` (P. T. Merz & M. R. Shirts, PLoS ONE 13 (2018) e0202764).
"""

from __future__ import annotations

import numpy as np
import physical_validation as pv
import pytest
from ase.units import fs, kB

from qc.dynamics import Dynamics, Langevin, ModelSystem
from tests.physics.energy_conservation.models import TEMPERATURE, build
from tests.physics.energy_conservation.test_nve_models import equilibrated, series

pytestmark = pytest.mark.physics

UNITS = pv.data.UnitData(
    kb=kB, energy_conversion=96.485, length_conversion=0.1, volume_conversion=1e-3,
    temperature_conversion=1.0, pressure_conversion=1.602e6, time_conversion=10.18e-3,
)  # fmt: skip

REGIONS = ("core", "blend", "continuum")


def regions(model) -> dict[str, np.ndarray]:
    """Return the moving nodes of each region."""
    beta, free = model.layout.beta_nodes, model.layout.free.any(axis=1)
    return {
        "core": free & (beta == 0.0),
        "blend": free & (beta > 0.0) & (beta < 1.0),
        "continuum": free & (beta >= 1.0),
    }


def sample(
    model, temperature: float, steps: int, *, step: float = 2.0, every: int = 20, seed: int = 1,
    friction: float = 0.03, fault: float = 0.0,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return kinetic energies, of all and of regions, in the middle of steps; and potentials."""
    groups = regions(model)
    kelvin = np.full(len(model.U), temperature)
    kelvin[groups["core"]] *= (1.0 + fault) ** 2
    dynamics = Dynamics(
        ModelSystem(model), step * fs, baths=[Langevin(kelvin, friction / fs)], seed=seed,
        check_timestep=False,
    )  # fmt: skip
    dynamics.set_temperature(2.0 * temperature)
    dynamics.run(round(1000 / step))
    masses = dynamics.system.masses
    rows = []

    def measure(d):
        v = d.middle_velocities()
        energies = 0.5 * masses * np.einsum("ni,ni->n", v, v)
        rows.append((energies.sum(), d.potential, *(energies[g].sum() for g in groups.values())))

    dynamics.run(steps, measure, every)
    assert abs(dynamics.ledger.closure) < 1e-10
    table = np.array(rows).T
    return {"kinetic": table[0], "potential": table[1]} | dict(
        zip(REGIONS, table[2:], strict=True)
    )


def simulation(kinetic, nodes: int, temperature: float, potential=None):
    """Return the data of a run as `physical_validation` wants it."""
    kinetic = np.asarray(kinetic)
    potential = np.zeros_like(kinetic) if potential is None else potential
    return pv.data.SimulationData(
        units=UNITS,
        ensemble=pv.data.EnsembleData("NVT", natoms=nodes, volume=1.0, temperature=temperature),
        system=pv.data.SystemData(
            natoms=nodes, nconstraints=0, ndof_reduction_tra=0, ndof_reduction_rot=0,
            mass=np.ones(nodes),
        ),
        observables=pv.data.ObservableData(
            kinetic_energy=kinetic, potential_energy=potential, total_energy=kinetic + potential
        ),
    )  # fmt: skip


def p_value(kinetic, nodes: int, temperature: float) -> float:
    """Return the probability of so unlike a sample of the Maxwell-Boltzmann distribution."""
    data = simulation(kinetic, nodes, temperature)
    return float(pv.kinetic_energy.distribution(data, strict=True, verbosity=0))


def off_by(kinetic, nodes: int, temperature: float) -> float:
    """Return by how many standard errors the temperature of the mean is off."""
    data = simulation(kinetic, nodes, temperature)
    return float(
        np.max(pv.kinetic_energy.distribution(data, strict=False, verbosity=0, bootstrap_seed=1)[0])
    )


@pytest.fixture(scope="module")
def copper():
    return build("eam", "columns")


@pytest.fixture(scope="module")
def equilibrium(copper):
    """Samples of one model at two temperatures whose energies overlap."""
    return {t: sample(copper, t, 12_000, seed=int(t)) for t in (280.0, 300.0)}


def counts(model) -> dict[str, int]:
    found = {name: int(nodes.sum()) for name, nodes in regions(model).items()}
    return found | {"kinetic": sum(found.values())}


def test_kinetic_energies_are_maxwell_boltzmann(copper, equilibrium):
    n = counts(copper)["kinetic"]
    for kelvin, run in equilibrium.items():
        assert p_value(run["kinetic"], n, kelvin) > 0.01
        # The test has the power to tell temperatures apart by two percent.
        assert p_value(run["kinetic"], n, 1.02 * kelvin) < 0.01


def test_core_blend_and_continuum_share_equally(copper, equilibrium):
    number = counts(copper)
    for kelvin, run in equilibrium.items():
        for name in REGIONS:
            assert number[name] > 20
            assert p_value(run[name], number[name], kelvin) > 0.01, name
            assert off_by(run[name], number[name], kelvin) < 3.5, name
            mean = 2.0 * run[name].mean() / (3 * number[name] * kB)
            assert mean == pytest.approx(kelvin, rel=0.03), name


def test_energies_of_two_temperatures_have_boltzmanns_ratio(copper, equilibrium):
    cold, hot = (
        simulation(run["kinetic"], counts(copper)["kinetic"], kelvin, run["potential"])
        for kelvin, run in equilibrium.items()
    )
    quantiles = pv.ensemble.check(cold, hot, verbosity=0)
    assert np.max(np.abs(quantiles)) < 3.0
    # A run whose temperature is another than it says is found out.
    wrong = simulation(
        equilibrium[300.0]["kinetic"], counts(copper)["kinetic"], 286.0,
        equilibrium[300.0]["potential"],
    )  # fmt: skip
    assert np.max(np.abs(pv.ensemble.check(cold, wrong, verbosity=0))) > 3.0


def test_a_bath_too_strong_on_the_atoms_is_caught(copper):
    run = sample(copper, 300.0, 8000, fault=0.06)
    assert p_value(run["core"], counts(copper)["core"], 300.0) < 0.01


def test_the_integrator_converges_as_it_should(copper):
    system = ModelSystem(copper)
    x, v = equilibrated(system, TEMPERATURE["eam"], 400)
    runs = []
    for step in (4.0, 2.0, 1.0):
        _, total, kinetic = series(system, x, v, step * fs, round(800 / step))
        data = simulation(kinetic, counts(copper)["kinetic"], 300.0, total - kinetic)
        data.observables.constant_of_motion = total
        data.dt = step
        runs.append(data)
    assert pv.integrator.convergence(runs, verbose=False) < 0.1


class Late(ModelSystem):
    """A model a hundredth of whose forces come a step late."""

    last: np.ndarray | float = 0.0

    def energy_forces(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        energy, forces = super().energy_forces(x)
        before, self.last = self.last, forces
        return energy, 0.99 * forces + 0.01 * before


def net_work(system: ModelSystem, steps: int) -> tuple[float, float]:
    """Return by how much discrete steps keep a bath's motion off its temperature, and the scatter.

    In a steady state the bath takes what the steps create: its heat ``(1 - c^2) (kT/2 - K)`` for
    each degree of freedom, in the mean, is minus their shadow work. ``integrator`` in the ledger
    knows that to round-off, while kinetic energies themselves scatter a thousand times as much.
    """
    step, friction, kelvin = 2.0 * fs, 0.03 / fs, 300.0
    run = Dynamics(system, step, baths=[Langevin(kelvin, friction)], seed=4, check_timestep=False)
    run.set_temperature(2.0 * kelvin)
    run.run(1000)
    work = []
    run.run(steps, lambda d: work.append(d.ledger.account("integrator")), 10)
    parts = np.array(work)[: len(work) // 8 * 8].reshape(8, -1).mean(axis=1)
    rate = np.diff(parts) / (10 * (len(work) // 8))
    taken = -np.expm1(-2.0 * friction * step) * 0.5 * kB * kelvin * system.free.sum()
    # Of neighbouring differences every second is independent of the others.
    return float(rate.mean() / taken), float(rate.std() / taken / np.sqrt(len(rate) / 2))


def test_discrete_steps_do_no_net_work_in_a_bath(copper):
    """So kinetic energies in the middle of steps have the bath's temperature, to 1e-6 of it."""
    off, scatter = net_work(ModelSystem(copper), 4000)
    assert scatter < 1e-5
    assert abs(off) < 4.0 * scatter + 1e-6
    # Forces that come late do, and every mean temperature with them is wrong.
    off, scatter = net_work(Late(copper), 2000)
    assert abs(off) > 20.0 * scatter
    assert abs(off) > 1e-4


@pytest.mark.long
@pytest.mark.parametrize(("name", "mode"), [("eam", "3d"), ("sw", "columns"), ("pair", "columns")])
def test_other_models_sample_the_canonical_distribution(name, mode, figures):
    model = build(name, mode)
    number, kelvin = counts(model), TEMPERATURE[name]
    # Two temperatures a standard deviation of the energy apart.
    other = kelvin * (1.0 + np.sqrt(2.0 / (3 * number["kinetic"])))
    # Argon is five times as slow; under the friction of the others its modes would be overdamped
    # and its potential energies the same for picoseconds.
    step = 5.0 if name == "pair" else 1.0
    # Rows 100 steps apart: energies of copper 20 fs apart are correlated by 0.1 and for long, and
    # what `physical_validation` leaves of that when it thins them out makes p too small.
    runs = {
        t: sample(model, t, 40_000, step=step, every=100, seed=k, friction=0.03 / step)
        for k, t in enumerate((kelvin, other), 1)
    }
    found = {}
    for t, run in runs.items():
        found |= {f"p {n} {t:.0f}": p_value(run[n], k, t) for n, k in number.items()}
    cold, hot = (
        simulation(r["kinetic"], number["kinetic"], t, r["potential"]) for t, r in runs.items()
    )
    found["ensemble"] = float(np.max(np.abs(pv.ensemble.check(cold, hot, verbosity=0))))
    figures(f"langevin {name} {mode}", **found)
    assert min(v for k, v in found.items() if k.startswith("p ")) > 0.01, found
    assert found["ensemble"] < 3.0
