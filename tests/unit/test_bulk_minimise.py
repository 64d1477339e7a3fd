"""The small minimiser of qc bulk."""

import numpy as np
import pytest

from qc.numerics.minimise import minimise


def quadratic(stiffness, centre):
    def function(x):
        d = x - centre
        return 0.5 * d @ (stiffness * d), stiffness * d

    return function


def test_a_quadratic_is_found_to_the_tolerance():
    rng = np.random.default_rng(0)
    centre = rng.normal(size=60)
    found = minimise(quadratic(np.geomspace(0.1, 30.0, 60), centre), np.zeros(60), 1e-9)
    assert found.reason == "converged"
    assert np.abs(found.gradient).max() <= 1e-9
    np.testing.assert_allclose(found.x, centre, atol=1e-7)


def test_a_curved_valley():
    """Source: H. H. Rosenbrock, Comput. J. 3 (1960) 175."""

    def function(x):
        a, b = 1.0 - x[:-1], x[1:] - x[:-1] ** 2
        g = np.zeros_like(x)
        g[:-1] = -2.0 * a - 400.0 * x[:-1] * b
        g[1:] += 200.0 * b
        return float((a**2 + 100.0 * b**2).sum()), g

    found = minimise(function, np.full(8, -0.5), 1e-8)
    assert found.reason == "converged"
    np.testing.assert_allclose(found.x, 1.0, atol=1e-6)


def test_no_unknown_moves_far_in_one_step():
    seen = []

    def function(x):
        seen.append(x.copy())
        return float(np.cosh(x - 5.0).sum()), np.sinh(x - 5.0)

    found = minimise(function, np.zeros(3), 1e-8)
    np.testing.assert_allclose(found.x, 5.0, atol=1e-7)
    assert np.abs(np.diff(seen, axis=0)).max() <= 0.2 + 1e-12


def test_round_off_ends_what_cannot_be_reached():
    found = minimise(quadratic(np.array([1.0, 7.0]), np.array([0.3, 0.1])), np.zeros(2), 0.0)
    assert np.abs(found.gradient).max() < 1e-8
    rng = np.random.default_rng(1)

    def noisy(x):
        return 0.5 * float(x @ x), x + 1e-6 * rng.normal(size=len(x))

    found = minimise(noisy, np.ones(5), 1e-12)
    assert found.reason != "converged"
    assert np.abs(found.x).max() < 1e-4


def test_a_slope_that_never_ends():
    found = minimise(lambda x: (float(-x[0]), np.array([-1.0])), np.zeros(1), 1e-6, steps=40)
    assert found.reason == "40 steps were not enough"
    assert found.energy < -1.0


def test_what_the_function_raises_comes_through():
    def function(x):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        minimise(function, np.zeros(2), 1e-6)
