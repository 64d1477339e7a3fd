"""Heat between the atoms and the field: both laws, at every step."""

from __future__ import annotations

import numpy as np
import pytest
from ase.units import fs, kB

from qc.dynamics import (
    Dynamics,
    FieldBath,
    HeatField,
    ModelSystem,
    conductivity_from_SI,
    continuum_only,
    stadium,
)
from qc.errors import InputError
from tests.physics.energy_conservation.models import build

pytestmark = pytest.mark.physics

CONDUCTIVITY = conductivity_from_SI(20.0)


@pytest.fixture(scope="module")
def copper():
    return build("eam", "columns")


def coupled(model, *, noise=True, friction=0.02, atoms=600.0, field=300.0, where="everywhere",
            seed=1, every=1):  # fmt: skip
    """Return dynamics of a model and a heat field of another temperature."""
    heat = HeatField.of_model(
        model, conductivity=CONDUCTIVITY, size=12.0, where=where, temperature=field
    )
    rate = friction / fs if where == "everywhere" else continuum_only(model, friction / fs)
    dynamics = Dynamics(
        ModelSystem(model), 2 * fs, baths=[FieldBath(heat, rate, noise=noise)], seed=seed,
        conduct_every=every, check_timestep=False,
    )  # fmt: skip
    dynamics.set_temperature(2.0 * atoms)
    return dynamics


def kept(dynamics, steps):
    """Return total energies, closures and entropies of every step."""
    rows = []

    def note(d):
        rows.append((d.ledger.total, d.ledger.closure, d.ledger.entropy_production))

    dynamics.run(steps, note)
    return np.array(rows).T


@pytest.mark.parametrize("where", ["everywhere", "continuum"])
def test_energy_is_constant_to_round_off(copper, where):
    dynamics = coupled(copper, where=where, every=3)
    scale = dynamics.field.total_energy() + dynamics.kinetic
    total, closure, _ = kept(dynamics, 1500)
    assert np.abs(np.diff(total)).max() < 1e-13 * scale
    assert np.abs(total - dynamics.ledger.start).max() < 1e-10 * scale
    assert np.abs(closure).max() < 1e-11 * scale
    # Heat did flow, and the integrator's error did go to the field.
    assert dynamics.field.total_energy() > 1.0001 * dynamics.field.capacity.sum() * 300.0
    assert dynamics.ledger.account("integrator", "field") != 0.0


@pytest.mark.long
@pytest.mark.parametrize("where", ["everywhere", "continuum"])
def test_energy_is_constant_over_1e5_steps(copper, where, figures):
    dynamics = coupled(copper, where=where, every=5)
    scale = dynamics.field.total_energy() + dynamics.kinetic
    total, closure, _ = kept(dynamics, 100_000)
    found = {
        "largest change in a step": np.abs(np.diff(total)).max() / scale,
        "largest change at all": np.abs(total - dynamics.ledger.start).max() / scale,
        "closure": np.abs(closure).max() / scale,
        "mechanical": dynamics.temperature(),
        "field": float(dynamics.field.total_energy() / dynamics.field.capacity.sum()),
    }
    figures(f"heat {where}", **found)
    assert found["largest change in a step"] < 1e-10
    assert found["largest change at all"] < 1e-10


def test_without_noise_entropy_never_falls(copper):
    dynamics = coupled(copper, noise=False, atoms=500.0)
    dynamics.field.set_temperature(
        lambda x: 300.0 + 100.0 * np.tanh(x[:, 0] / 10.0)
    )
    dynamics.close_field = False
    dynamics.open_ledger()
    _, _, entropy = kept(dynamics, 800)
    assert (np.diff(entropy, prepend=0.0) >= -1e-15 * entropy[-1]).all()
    assert entropy[-1] > 1.0 * kB


def test_with_noise_entropy_rises_on_average_and_both_end_at_one_temperature(copper):
    dynamics = coupled(copper, friction=0.05)
    capacity, n = dynamics.field.capacity.sum(), int(dynamics.system.free.sum())
    _, _, entropy = kept(dynamics, 2500)
    assert entropy[500] > 10.0 * kB
    assert (np.diff(entropy) < 0.0).any(), "with noise single steps do fall"
    field = dynamics.field.total_energy() / capacity
    # Potential and kinetic energy of the nodes came from 600 K.
    expected = (capacity * 300.0 + n * kB * 600.0) / (capacity + n * kB)
    assert field == pytest.approx(expected, rel=0.02)
    temperatures = []
    dynamics.run(600, lambda d: temperatures.append(d.temperature()))
    assert np.mean(temperatures) == pytest.approx(field, rel=0.03)


def test_a_reservoir_is_booked(copper):
    dynamics = coupled(copper, field=300.0, atoms=300.0, friction=0.02)
    dynamics.field.prescribe_temperature(dynamics.field.boundary, 350.0)
    dynamics.open_ledger()
    start = dynamics.ledger.total
    kept(dynamics, 400)
    booked = dynamics.ledger.account("boundary", "temperature")
    assert booked > 0.03
    assert dynamics.ledger.total - start == pytest.approx(booked, rel=1e-10)


def test_heat_exchange_obeys_its_fluctuation_theorem():
    """<exp(-(1/k T_field - 1/k T_nodes) Q)> = 1 for heat Q from nodes at T_nodes to a large field.

    C. Jarzynski & D. K. Wojcik, Phys. Rev. Lett. 92 (2004) 230602. Free particles, whose
    friction-noise step is exact, in many independent copies.
    """

    from qc.dynamics import Langevin, System

    class Free(System):
        def __init__(self, n):
            self.masses, self.coordinates = np.ones(n), np.zeros((n, 3))

        def energy_forces(self, x):
            return 0.0, np.zeros_like(x)

        def hessian_product(self, x, dx):
            return np.zeros_like(x)

    n, nodes, bath = 40_000, 500.0, 300.0
    dynamics = Dynamics(Free(n), 1.0, baths=[Langevin(bath, 0.3)], seed=4)
    dynamics.set_temperature(nodes)
    before = 0.5 * (dynamics.v**2).sum(axis=1)
    dynamics.run(4)
    heat = before - 0.5 * (dynamics.v**2).sum(axis=1)
    produced = heat * (1.0 / bath - 1.0 / nodes) / kB
    assert produced.mean() > 0.1
    average = np.exp(-produced)
    error = average.std() / np.sqrt(n)
    assert error < 0.01
    assert average.mean() == pytest.approx(1.0, abs=3.5 * error)
    # Had the bath another temperature, it would not hold.
    wrong = np.exp(-heat * (1.0 / 280.0 - 1.0 / nodes) / kB)
    assert abs(wrong.mean() - 1.0) > 3.5 * error


def test_friction_where_the_field_is_not_is_refused(copper):
    heat = HeatField.of_model(copper, size=12.0, where="continuum")
    with pytest.raises(InputError, match="the heat field does not reach it"):
        Dynamics(copper, 2 * fs, baths=[FieldBath(heat, 0.01)], check_timestep=False)
    other, rate = HeatField.of_model(copper, size=12.0), stadium(copper, 0.01)
    both = [FieldBath(heat, rate), FieldBath(other, rate, name="other")]
    with pytest.raises(InputError, match="two heat fields"):
        Dynamics(copper, 2 * fs, baths=both, check_timestep=False)
