"""Heat between atoms and continuum: a hot spot cools as Fourier has it, a gradient is smooth.

Copper in columns with square axes, so that the outer boundary is a rectangle. The independent
solution is an expansion in cosines, which knows the field's capacity and conductivity, where the
nodes are, and that each of their components holds k_B; of heat elements it knows nothing.
"""

from __future__ import annotations

import numpy as np
import pytest
from ase.units import fs

from qc.dynamics import Dynamics, FieldBath, HeatField, ModelSystem
from tests.physics.energy_conservation.conduction import (
    MEAN,
    RISE,
    SI,
    TIMESTEP,
    Rings,
    Steady,
    conduction_of_nodes,
    copper,
    fitted,
    heat_field,
    jumps,
    solution,
    spot,
    warm,
)

pytestmark = pytest.mark.physics

# -- a hot spot -----------------------------------------------------------------------------------


def cool(model, make, friction, steps, seeds, rings, every=20, bath=FieldBath,
         settle=150):  # fmt: skip
    """Return rings' temperatures (seeds, n_t, n_r), times and the worst ledger."""
    curves, worst = [], 0.0
    for seed in seeds:
        field = make()
        x, v = warm(model, field.node_temperatures(), seed, steps=settle)
        dynamics = Dynamics(
            ModelSystem(model), TIMESTEP, baths=[bath(field, friction / fs)], seed=seed,
            conduct_every=5, check_timestep=False,
        )  # fmt: skip
        dynamics.set_state(x, v)
        rows = [rings(field.temperature)]

        def note(d, rows=rows, field=field):
            rows.append(rings(field.temperature))

        dynamics.run(steps, note, every)
        curves.append(rows)
        ledger = dynamics.ledger
        worst = max(worst, abs(ledger.closure), abs(ledger.total - ledger.start))
    return np.array(curves), TIMESTEP * every * np.arange(len(rows)), worst


KAPPA, WIDTH = 20.0, 20.0


@pytest.fixture(scope="module")
def small():
    return copper((32, 32), 6.5, 6.0, 1.25)


def deviation(small, steps=500, seeds=(1, 2, 3), planted=1.0, factor=None, bath=FieldBath):
    """Field less independent solution, of a mean over seeds, and its standard error."""

    def make():
        return heat_field(small, planted * KAPPA, spot(WIDTH), factor=factor)

    field = make()
    rings = Rings(field, 8.0, 57.0)
    curves, times, books = cool(small, make, 0.02, steps, seeds, rings, bath=bath)
    exact = solution(small, field, WIDTH)
    mean, error = curves.mean(axis=0), curves.std(axis=0, ddof=1) / np.sqrt(len(curves))
    off = mean - rings(exact(KAPPA, 0.0, times))
    best = fitted(lambda k: rings(exact(k, 0.0, times)), mean, rings.weights, KAPPA)
    return off, error, best, books


def rms(values):
    return float(np.sqrt((values**2).mean()))


def allowed(error):
    """Root mean square that noise explains, and a thousandth for the coarseness of elements."""
    return 2.0 * rms(error) + 1e-3 * RISE


def test_hot_spot_cools_as_the_heat_equation_says(small):
    off, error, best, books = deviation(small)
    assert books < 1e-10
    assert rms(error) < 0.01 * RISE
    assert rms(off) < allowed(error)
    assert best == pytest.approx(KAPPA, rel=0.1)


def test_wrong_conduction_is_noticed(small):
    def wall(x):
        r = np.linalg.norm(x[:, :2], axis=1)
        return np.where((r > 12.0) & (r < 22.0), 0.25, 1.0)

    for planted, factor in ((2.0, None), (1.0, wall)):
        off, error, _, books = deviation(small, seeds=(1, 2), planted=planted, factor=factor)
        assert books < 1e-10
        assert rms(off) > 1.5 * allowed(error)


def test_lost_heat_is_noticed(small):
    class Lossy(HeatField):
        def receive(self, heat):
            return super().receive(0.99 * heat)

    def make():
        whole = heat_field(small, KAPPA, spot(WIDTH))
        return Lossy(
            whole.mesh, whole.capacity, whole.weights, 0.0, whole.temperature,
            np.unique(whole.nodes, return_index=True)[1][whole.nodes],
        )  # fmt: skip

    *_, books = cool(small, make, 0.02, 20, (1,), Rings(make(), 8.0, 57.0))
    assert books > 1e-5


@pytest.mark.long
def test_hot_spot_at_length(figures):
    """The whole curve, and the part of the conductivity that is the vibrating nodes'."""
    model = copper((40, 40), 16.0, 8.0, 1.25)
    kappa, friction, width = 2.0, 0.02, 13.0

    def make():
        return heat_field(model, kappa, spot(width))

    field = make()
    rings = Rings(field, 6.0, 70.0)
    seeds = (1, 2, 3, 4)
    curves, times, books = cool(model, make, friction, 4000, seeds, rings, every=40, settle=500)
    exact = solution(model, field, width)
    mean, error = curves.mean(axis=0), curves.std(axis=0, ddof=1) / np.sqrt(len(curves))

    def nodes(data):
        return fitted(lambda k: rings(exact(kappa, k, times)), data, rings.weights, 1.0)

    single = [nodes(run) for run in curves]
    found, theory = nodes(mean), conduction_of_nodes(friction)
    spread = float(np.std(single, ddof=1) / np.sqrt(len(single)))
    off = mean - rings(exact(kappa, found, times))
    uniform = fitted(lambda k: rings(exact(k, 0.0, times)), mean, rings.weights, kappa)
    figures(
        "hot spot", **{
            "given": kappa, "fitted": uniform, "nodes' own, fitted": found,
            "its error": spread, "nodes' own, theory": theory,
            "deviation, K": rms(off), "statistical error, K": rms(error), "books, eV": books,
            "without nodes' own, K": rms(mean - rings(exact(kappa, 0.0, times))),
        },
    )  # fmt: skip
    assert books < 1e-10
    assert rms(off) < allowed(error)
    # Waves that are overdamped, anharmonic or about to leave the atoms: a tenth for the theory.
    assert abs(found - theory) < 3.0 * spread + 0.1 * theory
    assert found > 3.0 * spread
    assert rms(mean - rings(exact(kappa, 0.0, times))) > 3.0 * rms(off)


# -- a steady gradient ----------------------------------------------------------------------------

@pytest.fixture(scope="module")
def strip():
    return copper((48, 32), 12.0, 6.0, 2.0)


def test_gradient_passes_from_continuum_to_atoms(strip):
    found = Steady(strip, swing=50.0, friction=0.02, steps=2500)
    assert found.worst_of_field() < 4.0
    bins = found.bins()
    assert max(error for _, error in bins.values()) < 0.02 * MEAN
    for name, (off, error) in (bins | jumps(bins)).items():
        assert abs(off) < 5.0 * error + 0.005 * MEAN, name


def test_atoms_at_another_temperature_are_noticed(strip):
    class Apart(HeatField):
        def node_temperatures(self):
            out = super().node_temperatures()
            out[strip.layout.beta_nodes == 0.0] *= 1.1
            return out

    def make(model, *args, **kwargs):
        whole = heat_field(model, *args, **kwargs)
        owner = np.unique(whole.nodes, return_index=True)[1][whole.nodes]
        kappa = 100.0 * SI
        return Apart(whole.mesh, whole.capacity, whole.weights, kappa, args[1], owner)

    found = Steady(strip, swing=50.0, friction=0.02, steps=1000, make=make)
    off, error = found.bins()["core +"]
    assert off > 4.0 * error + 0.005 * MEAN


@pytest.mark.long
def test_gradient_at_length(strip, figures):
    """No jump of one percent anywhere, where the field is everywhere."""
    found = Steady(strip, swing=50.0, friction=0.02, steps=40_000)
    bins = found.bins()
    steps = jumps(bins)
    figures("gradient everywhere, bins", **{k: 100.0 * v / MEAN for k, (v, _) in bins.items()})
    figures("their errors, %", **{k: 100.0 * e / MEAN for k, (_, e) in bins.items()})
    figures("gradient everywhere, jumps, %", **{k: 100.0 * v / MEAN for k, (v, _) in steps.items()})
    figures("their errors, %", **{k: 100.0 * e / MEAN for k, (_, e) in steps.items()})
    figures("slopes", **{name: found.tilt(name)[0] for name in found.regions})
    assert found.worst_of_field() < 2.0
    assert max(error for _, error in bins.values()) < 0.005 * MEAN
    assert max(error for _, error in steps.values()) < 0.004 * MEAN
    for name, (off, _) in (bins | steps).items():
        assert abs(off) < 0.01 * MEAN, name


@pytest.mark.long
@pytest.mark.parametrize(
    ("friction", "couple_core"), [(0.002, False), (0.01, False), (0.05, False), (0.02, True)]
)
def test_gradient_of_a_field_in_the_continuum_alone(strip, friction, couple_core, figures):
    """Heat then crosses the atoms by waves: the jump is measured, and goes with the gradient."""
    found = Steady(
        strip, swing=150.0, friction=friction, steps=12_000, settle=2000, where="continuum",
        couple_core=couple_core,
    )  # fmt: skip
    tilts = {name: found.tilt(name) for name in found.regions}
    inner = {name: v[0] for name, v in tilts.items()}
    figures(
        f"gradient continuum, friction {friction}, core coupled {couple_core}", **inner,
        **{f"error of {name}": v[1] for name, v in tilts.items()},
        **{"core, mean, K": float(np.mean([found.bins()[f"core {s}"][0] for s in "-+"]))},
        **{"jump at the core, A": (inner["blend"] - inner["core"]) * found.edges[0]},
        **{"jump at the blend's end, A": (inner["near"] - inner["blend"]) * found.edges[1]},
    )  # fmt: skip
