"""Conservation of energy by coupled models: drift, order, reversal, and planted errors caught.

The short runs are in the default suite; ``pytest -m long`` does 1e5 steps of 2 fs.
"""

from __future__ import annotations

import numpy as np
import pytest
from ase.units import fs

from qc.dynamics import Dynamics, Langevin, ModelSystem, System
from tests.physics.energy_conservation.models import (
    MODES,
    POTENTIALS,
    TEMPERATURE,
    Planted,
    build,
    slope,
)

pytestmark = pytest.mark.physics

STEP = 2.0 * fs

#: Bounds: eV per atom per step; drift over the standard deviation of the kinetic energy.
SLOPE, DRIFT, REVERSAL = 1e-8, 1e-2, 1e-8


def equilibrated(system: System, temperature: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a state of thermal equilibrium: positions and velocities."""
    warm = Dynamics(
        system, STEP, baths=[Langevin(temperature, 0.02 / fs)], seed=1, check_timestep=False
    )
    warm.set_temperature(2.0 * temperature)
    warm.run(steps)
    return warm.x.copy(), warm.v.copy()


def series(system: System, x, v, step: float, steps: int, every: int = 1):
    """Run without a bath; return the dynamics, and total and kinetic energies."""
    dynamics = Dynamics(system, step, check_timestep=False)
    dynamics.set_state(x=x, v=v)
    rows = []
    dynamics.run(steps, lambda d: rows.append((d.ledger.total, d.ledger.kinetic)) and None, every)
    total, kinetic = np.array(rows).T
    return dynamics, total, kinetic


def fluctuation_order(system: System, x, v, length: float) -> float:
    """Return the exponent with which the fluctuation of the energy falls with the time step.

    The time (fs) must hold many beats: of silicon in 3D, windows of 400 fs have standard deviations
    that differ by a quarter.
    """
    steps = np.array([4.0, 2.0, 1.0]) * fs
    spreads = [series(system, x, v, h, round(length * fs / h))[1].std() for h in steps]
    return float(np.polyfit(np.log(steps), np.log(spreads), 1)[0])


def conserves(
    system: System, temperature: float, steps: int, warm: int = 400, length: float = 400.0
) -> dict[str, float]:
    """Return the figures of conservation of a system."""
    x, v = equilibrated(system, temperature, warm)
    every = max(steps // 2000, 1)
    dynamics, total, kinetic = series(system, x, v, STEP, steps, every)
    sites = float(system.model.n_sites)
    rise, error = slope(np.arange(1, len(total) + 1) * every, total)
    there = Dynamics(system, STEP, check_timestep=False)
    there.set_state(x=x, v=v)
    there.run(min(steps, 1000))
    there.reverse()
    there.run(min(steps, 1000))
    return {
        "temperature": dynamics.temperature(),
        "slope": rise / sites,
        "slope error": error / sites,
        # The fitted line over the run: its ends alone would only show the fluctuation.
        "drift": abs(rise) * steps / kinetic.std(),
        "fluctuation": total.std() / sites,
        "order": fluctuation_order(system, x, v, length),
        "reversal": float(np.abs(there.x - x).max()),
        "closure": abs(dynamics.ledger.closure) / np.abs(kinetic).max(),
    }


def judge(found: dict[str, float]) -> list[str]:
    """Return the names of the figures that break their bounds."""
    return [
        name
        for name, bad in (
            ("slope", abs(found["slope"]) > SLOPE),
            ("drift", found["drift"] > DRIFT),
            ("order", abs(found["order"] - 2.0) > 0.1),
            ("reversal", found["reversal"] > REVERSAL),
            ("closure", found["closure"] > 1e-12),
        )
        if bad
    ]


# In three dimensions silicon and argon wait for the long runs.
SHORT = [
    *((p, "columns", s) for p in POTENTIALS for s in ("bgfc", "bqce")),
    ("eam", "3d", "bgfc"),
]


@pytest.mark.parametrize(("name", "mode", "scheme"), SHORT)
def test_models_conserve_energy(name, mode, scheme):
    steps = 3000 if mode == "columns" and name != "sw" else 1200
    found = conserves(ModelSystem(build(name, mode, scheme)), TEMPERATURE[name], steps)
    assert not judge(found), found
    assert found["temperature"] > 0.7 * TEMPERATURE[name]


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["bgfc", "bqce"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", POTENTIALS)
def test_models_conserve_energy_over_1e5_steps(name, mode, scheme, figures):
    model = build(name, mode, scheme)
    found = conserves(ModelSystem(model), TEMPERATURE[name], 100_000, 20_000, 20_000.0)
    figures(f"nve {name} {mode} {scheme}", unknowns=model.n_unknowns, **found)
    assert not judge(found), found


def faulty(fault: str) -> ModelSystem:
    """Return a system with blended forces, or with forces one percent off on its atoms."""
    if fault == "planted":
        return Planted(build("eam", "columns"))
    return ModelSystem(build("eam", "columns", "bqcf"), allow_nonconservative=True)


@pytest.mark.parametrize(("fault", "steps"), [("blended forces", 300), ("planted", 1000)])
def test_errors_are_caught(fault, steps):
    caught = judge(found := conserves(faulty(fault), TEMPERATURE["eam"], steps, 200))
    assert {"drift", "order"} <= set(caught), found


# Blended forces heat the crystal until it melts; by then they have long been caught.
@pytest.mark.long
@pytest.mark.parametrize(("fault", "steps"), [("blended forces", 4000), ("planted", 100_000)])
def test_errors_are_caught_over_many_steps(fault, steps, figures):
    found = conserves(faulty(fault), TEMPERATURE["eam"], steps, 20_000)
    figures(f"nve fault {fault}", **found)
    assert {"drift", "order"} <= set(judge(found)), found
