"""Fluctuation-dissipation itself: what a force does and what equilibrium does by itself agree.

For a coordinate A with the force h(t) along it, ``<A>(w) = chi(w) h(w)`` and, classically,

    S(w) = integral <A(t) A(0)> exp(i w t) dt = 2 kT chi''(w) / w.

The response is measured as half the difference of two runs with opposite forces and the same
noise, in which nearly all of the noise cancels; the spectrum from a run without any force.

Source: R. Kubo, Rep. Prog. Phys. 29 (1966) 255.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from ase.units import fs, kB

from qc.dynamics import Drive, Dynamics, Langevin, ModelSystem
from tests.physics.energy_conservation.models import build
from tests.physics.energy_conservation.test_langevin_models import REGIONS, regions

pytestmark = pytest.mark.physics


class Forced(ModelSystem, Drive):
    """A model under nodal forces that change in time."""

    name = "force"

    def __init__(self, model, pattern, frequencies, size):
        super().__init__(model)
        self.pattern, self.frequencies, self.size = pattern, frequencies, size
        self.load = np.zeros_like(model.U)

    def energy_forces(self, x):
        energy, forces = super().energy_forces(x)
        return energy - float((self.load * x).sum()), forces + self.load

    def advance(self, system, x, time):
        """Give every region its own frequencies; return the work at fixed positions."""
        before = float((self.load * x).sum())
        waves = np.cos(self.frequencies * time).sum(axis=1)
        self.load = self.size * np.einsum("r,rni->ni", waves, self.pattern)
        return before - float((self.load * x).sum())


def coordinates(model, seed=0):
    """Return one collective coordinate for each region: signs on its nodes, in the plane."""
    rng = np.random.default_rng(seed)
    pattern = np.zeros((len(REGIONS), *model.U.shape))
    for row, nodes in zip(pattern, regions(model).values(), strict=True):
        row[nodes, :2] = rng.choice([-1.0, 1.0], (int(nodes.sum()), 2))
    return pattern


def run(model, step, temperature, friction, steps, warm, drive=None, fault=0.0):
    """Return the collective coordinates at every step, (3, steps)."""
    pattern = coordinates(model)
    system = drive or ModelSystem(model)
    # The fault: noise that is too strong for its friction.
    kelvin = temperature * (1.0 + fault)
    dynamics = Dynamics(
        system, step, baths=[Langevin(kelvin, friction)], drives=[drive] if drive else [], seed=7,
        check_timestep=False,
    )  # fmt: skip
    dynamics.set_temperature(2.0 * temperature)
    dynamics.run(warm)
    out = np.empty((len(pattern), steps))
    weights = pattern.reshape(len(pattern), -1)

    def note(d):
        out[:, d.step - warm - 1] = weights @ d.x.ravel()

    dynamics.run(steps, note)
    return out


@dataclass(frozen=True)
class Setting:
    """What is compared: lengths of the runs in steps, highest frequency, width of the averages."""

    steps: int
    driven: int
    top: float = 2.0 * np.pi * 7e-3 / fs
    band: float = 2.0 * np.pi * 0.7e-3 / fs
    step: float = 2.0 * fs
    temperature: float = 300.0
    friction: float = 0.03 / fs


def response(model, how: Setting):
    """Return 2 kT chi'' / w, (3, 5), at frequencies (3, 5) of the three regions."""
    start, warm = model.U.copy(), how.driven // 10
    base = 2.0 * np.pi / (how.driven * how.step)
    wanted = np.linspace(0.15, 1.0, 5) * how.top
    # Whole periods in the run, and no frequency twice.
    lines = np.array([[round(w / base) + r for w in wanted] for r in range(len(REGIONS))])
    frequencies = lines * base
    moved, size = [], 2e-3
    for sign in (1.0, -1.0):
        system = Forced(model, coordinates(model), frequencies, sign * size)
        moved.append(
            run(model, how.step, how.temperature, how.friction, how.driven, warm, system)
        )
        model.U = start
    change = 0.5 * (moved[0] - moved[1])
    times = (warm + 1 + np.arange(how.driven)) * how.step
    waves = np.exp(1j * frequencies[:, :, None] * times)
    # x(t) = Re[chi h exp(-i w t)]
    chi = 2.0 / how.driven * np.einsum("rt,rkt->rk", change, waves) / size
    return frequencies, 2.0 * kB * how.temperature / frequencies * chi.imag


def fluctuations(model, how: Setting, frequencies, fault=0.0):
    """Return the spectra of equilibrium near frequencies (3, 5), and their relative errors."""
    start = model.U.copy()
    free = run(
        model, how.step, how.temperature, how.friction, how.steps, how.steps // 10, fault=fault
    )
    model.U = start
    spectrum = np.abs(np.fft.rfft(free, axis=1)) ** 2 * how.step / how.steps
    grid = 2.0 * np.pi / (how.steps * how.step) * np.arange(spectrum.shape[1])
    found, error = np.empty((2, *frequencies.shape))
    for r, row in enumerate(frequencies):
        for k, w in enumerate(row):
            near = spectrum[r, (np.abs(grid - w) <= how.band) & (grid > 0.0)]
            found[r, k], error[r, k] = near.mean(), 1.0 / np.sqrt(len(near))
    return found, error


def judge(equilibrium, error, driven):
    """Return deviations in standard errors, (3, 5), and the mean ratio with its error."""
    ratio = equilibrium / driven
    weights = 1.0 / error**2
    mean = float((weights * ratio).sum() / weights.sum())
    return (ratio - 1.0) / error, mean, float(1.0 / np.sqrt(weights.sum()))


SHORT = Setting(steps=8000, driven=4000)


@pytest.fixture(scope="module")
def copper():
    return build("eam", "columns")


@pytest.fixture(scope="module")
def driven(copper):
    return response(copper, SHORT)


def test_response_and_fluctuations_agree(copper, driven):
    off, mean, error = judge(*fluctuations(copper, SHORT, driven[0]), driven[1])
    assert error < 0.06
    assert np.abs(off).max() < 4.0, off
    assert np.sqrt((off**2).mean()) < 1.5, off
    assert mean == pytest.approx(1.0, abs=3.5 * error)


def test_noise_too_strong_for_its_friction_is_caught(copper, driven):
    _, mean, error = judge(*fluctuations(copper, SHORT, driven[0], fault=0.3), driven[1])
    assert mean - 1.0 > 3.5 * error


@pytest.mark.long
def test_response_and_fluctuations_agree_over_a_long_run(copper, figures):
    how = Setting(steps=100_000, driven=10_000, band=2.0 * np.pi * 0.3e-3 / fs)
    frequencies, moved = response(copper, how)
    off, mean, error = judge(*fluctuations(copper, how, frequencies), moved)
    figures(
        "response", mean_ratio=mean, error=error, largest=np.abs(off).max(),
        **{f"rms {r}": np.sqrt((row**2).mean()) for r, row in zip(REGIONS, off, strict=True)},
    )  # fmt: skip
    assert np.abs(off).max() < 4.0, off
    assert mean == pytest.approx(1.0, abs=3.5 * error)
