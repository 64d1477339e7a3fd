"""Solvers of functions of arrays: quasi-Newton without a preconditioner, conjugate gradients."""

import numpy as np
import pytest

from qc.numerics.solvers import RoundOff, conjugate_gradients, lbfgs


def quadratic(stiffness, centre):
    return lambda x: -stiffness[:, None] * (x - centre[:, None])


def minimise(forces, start, fmax, steps=1000, floor=None):
    return lbfgs(forces, start[:, None], fmax=fmax, max_steps=steps, longest=0.2, floor=floor)


def test_a_quadratic_is_found_to_the_tolerance():
    rng = np.random.default_rng(0)
    centre = rng.normal(size=60)
    x, f, reason = minimise(quadratic(np.geomspace(0.1, 30.0, 60), centre), np.zeros(60), 1e-9)
    assert reason == "converged"
    assert np.abs(f).max() <= 1e-9
    np.testing.assert_allclose(x[:, 0], centre, atol=1e-7)


def test_a_curved_valley():
    """Source: H. H. Rosenbrock, Comput. J. 3 (1960) 175."""

    def forces(z):
        x = z[:, 0]
        a, b = 1.0 - x[:-1], x[1:] - x[:-1] ** 2
        g = np.zeros_like(x)
        g[:-1] = -2.0 * a - 400.0 * x[:-1] * b
        g[1:] += 200.0 * b
        return -g[:, None]

    x, _, reason = minimise(forces, np.full(8, -0.5), 1e-8)
    assert reason == "converged"
    np.testing.assert_allclose(x, 1.0, atol=1e-6)


def test_no_unknown_moves_far_in_one_step():
    steps = []

    def report(top, step):
        steps.append(step)
        return False

    x, _, _ = lbfgs(
        lambda x: -np.sinh(x - 5.0), np.zeros((3, 1)), fmax=1e-8, max_steps=200, longest=0.2,
        report=report,
    )  # fmt: skip
    np.testing.assert_allclose(x, 5.0, atol=1e-7)
    # Twenty steps and more: none is longer than it may be, unless the slope asks to go on.
    assert len(steps) >= 10


def test_round_off_ends_what_cannot_be_reached():
    x, f, _ = minimise(quadratic(np.array([1.0, 7.0]), np.array([0.3, 0.1])), np.zeros(2), 0.0)
    assert np.abs(f).max() < 1e-8
    rng = np.random.default_rng(1)
    x, f, reason = minimise(
        lambda x: -x + 1e-6 * rng.normal(size=x.shape), np.ones(5), 1e-12,
        floor=RoundOff(np.ones((5, 3)), 1e10),
    )  # fmt: skip
    assert reason != "converged"
    assert np.abs(x).max() < 1e-4


def test_a_slope_that_never_ends():
    _, f, reason = minimise(lambda x: np.ones_like(x), np.zeros(1), 1e-6, steps=40)
    assert reason in ("step limit", "no descent")
    assert f[0, 0] == 1.0


def test_what_the_function_raises_comes_through():
    def forces(x):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        minimise(forces, np.zeros(2), 1e-6)


def test_conjugate_gradients_solve_and_find_negative_curvature():
    rng = np.random.default_rng(2)
    a = rng.normal(size=(30, 30))
    k = a @ a.T + 30.0 * np.eye(30)
    b = rng.normal(size=(30, 1))
    x, negative = conjugate_gradients(lambda v: k @ v, b, lambda r: r / 30.0, 1e-10)
    assert not negative
    np.testing.assert_allclose(k @ x, b, atol=1e-7)
    x, negative = conjugate_gradients(lambda v: -k @ v, b, lambda r: r, 1e-10)
    assert negative
    np.testing.assert_array_equal(x, b)
    assert not conjugate_gradients(lambda v: k @ v, 0.0 * b, lambda r: r, 1e-3)[0].any()
