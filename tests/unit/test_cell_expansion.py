"""Responses of many cells from expansions: right, consistent, few calls; none where they fail."""

import numpy as np
import pytest
from ase.calculators.calculator import all_changes

from qc import crystal
from qc.adapters.ase import PotentialCalculator
from qc.potentials import ASEPotential, Morse, stillinger1985
from qc.potentials.ase.cell_expansion import cost

TOLERANCE = 1e-5


class Counting(PotentialCalculator):
    """Counts, and adds noise to forces and stress as a network in single precision has it."""

    calls, noise = 0, 0.0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if "stress" in properties:
            self.calls += 1
            rng = np.random.default_rng(self.calls)
            self.results["stress"] = self.results["stress"] + self.noise * rng.normal(size=6)


@pytest.fixture(scope="module")
def morse():
    return Morse("Cu", depth=0.34, stiffness=1.4, distance=2.87, cutoff=5.0)


def wrapped(potential, noise=0.0, **options):
    calculator = Counting(potential)
    calculator.noise = noise
    return ASEPotential(calculator, potential.species, potential.cutoff, **options)


def states(n, n_s=1, size=1e-3, shift=0.02, seed=0):
    """States that are strained a little, turned and moved a lot, around one that is not perfect."""
    rng = np.random.default_rng(seed)
    f = np.eye(3) + size * rng.uniform(-1, 1, (n, 3, 3))
    f = f @ [[1.01, 0.02, 0.0], [0.0, 0.99, 0.0], [0.01, 0.0, 1.0]]
    p = np.zeros((n, n_s, 3))
    p[:, 1:] = 0.03 + shift * rng.uniform(-1, 1, (n, n_s - 1, 3))
    turn = np.linalg.qr(np.eye(3) + 0.3 * rng.normal(size=(n, 3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))[:, None, None]
    return turn @ f, np.einsum("nij,nsj->nsi", turn, p) + rng.normal(size=(n, 1, 3))


def response(potential, lattice, f, p, second=False):
    types = np.zeros(lattice.n_sublattices, dtype=int)
    return potential.cell_response(f, p, lattice.cell, lattice.basis, types, second)


def test_many_states_cost_few_calls_and_are_right(morse):
    lattice = crystal.fcc("Cu", 3.6)
    f, p = states(400, size=5e-4)
    potential = wrapped(morse, tolerance=TOLERANCE)
    found = response(potential, lattice, f, p)
    assert potential.calculator.calls <= 2 * cost(1)
    exact = response(wrapped(morse, tolerance=0.0), lattice, f, p)
    for a, b in zip(found[:3], exact[:3], strict=True):
        np.testing.assert_allclose(a, b, atol=TOLERANCE)
    assert np.abs(exact[1]).max() > 0.01
    # The next states cost nothing.
    before = potential.calculator.calls
    response(potential, lattice, *states(50, size=3e-4, seed=1))
    assert potential.calculator.calls == before
    potential.forget()
    response(potential, lattice, *states(50, seed=1))
    assert potential.calculator.calls == before + 50


def test_no_states_at_all(morse):
    none = np.empty((0, 3, 3)), np.empty((0, 1, 3))
    empty = response(wrapped(morse), crystal.fcc("Cu", 3.6), *none)
    assert [part.shape for part in empty[:3]] == [(0,), (0, 3, 3), (0, 1, 3)]


def test_shifts_and_their_second_derivatives():
    lattice = crystal.diamond("Si", 5.43)
    inner = stillinger1985()
    potential = wrapped(inner, tolerance=1e-4)
    f, p = states(400, n_s=2, size=3e-4, shift=2e-3)
    found = response(potential, lattice, f, p, "shifts")
    assert potential.calculator.calls <= 2 * cost(2)
    few = slice(0, 12)
    exact = response(wrapped(inner), lattice, f[few], p[few], "shifts")
    for a, b in zip(found[:3], exact[:3], strict=True):
        np.testing.assert_allclose(a[few], b, atol=1e-4)
    hessian = found[3][few, 9:, 9:]
    np.testing.assert_allclose(hessian, exact[3][:, 9:, 9:], atol=1e-2)
    assert np.abs(hessian).max() > 10
    np.testing.assert_allclose(hessian, hessian.transpose(0, 2, 1), atol=1e-9)


@pytest.mark.parametrize("n_s", [1, 2])
def test_derivatives_are_those_of_the_energy(morse, n_s):
    lattice = crystal.fcc("Cu", 3.6) if n_s == 1 else crystal.diamond("Si", 5.43)
    potential = wrapped(morse if n_s == 1 else stillinger1985(), tolerance=1e-3)
    f, p = states(300, n_s, size=3e-4, shift=2e-3)
    response(potential, lattice, f, p)
    rng = np.random.default_rng(4)
    df, dp = 1e-3 * rng.normal(size=(4, 3, 3)), 1e-3 * rng.normal(size=(4, n_s, 3))
    calls = potential.calculator.calls
    ahead, back = (
        response(potential, lattice, f[:4] + s * df, p[:4] + s * dp) for s in (0.01, -0.01)
    )
    _, stress, pull, _ = response(potential, lattice, f[:4], p[:4])
    assert potential.calculator.calls == calls
    slope = np.einsum("nij,nij->n", stress, df) + np.einsum("nsi,nsi->n", pull, dp)
    np.testing.assert_allclose((ahead[0] - back[0]) / 0.02, slope, rtol=1e-6, atol=1e-9)
    assert np.abs(slope).max() > 1e-5


def test_what_an_expansion_cannot_follow_is_asked_for(morse):
    lattice = crystal.fcc("Cu", 3.6)
    f, p = states(200, size=0.05)
    noisy = states(200)
    for potential, case in (
        (wrapped(morse, tolerance=1e-9), (f, p)),
        (wrapped(morse, noise=1e-4, tolerance=TOLERANCE), noisy),
    ):
        found = response(potential, lattice, *case)
        # The trial was in vain, and is not made again for as many.
        assert potential.calculator.calls <= 200 + cost(1)
        again = response(potential, lattice, *case)
        assert potential.calculator.calls <= 200 + cost(1)
        assert np.array_equal(found[1], again[1])
    exact = response(wrapped(morse, tolerance=0.0), lattice, f, p)
    potential = wrapped(morse, tolerance=1e-9)
    assert np.array_equal(response(potential, lattice, f, p)[1], exact[1])
