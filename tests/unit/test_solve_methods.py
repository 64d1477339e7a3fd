"""The solvers on functions of a few variables: line search, quasi-Newton, Newton-Krylov."""

import numpy as np
import pytest

from qc.errors import InvertedElementError, NonFiniteError
from qc.numerics.solvers.lbfgs import lbfgs
from qc.numerics.solvers.linesearch import search
from qc.numerics.solvers.newton import newton


def identity(f):
    return f.copy()


def quadratic(stiffness):
    return lambda x: -stiffness * x


STIFF = np.array([[1.0, 4.0, 9.0], [16.0, 25.0, 100.0]])


def rosenbrock(x):
    a, b = x[0, 0], x[0, 1]
    return np.array([[2 * (1 - a) + 400 * a * (b - a**2), -200 * (b - a**2), 0.0]])


def rosenbrock_product(x, d):
    a, b = x[0, 0], x[0, 1]
    h = np.array([[2 - 400 * (b - 3 * a**2), -400 * a], [-400 * a, 200.0]])
    return np.array([[*(h @ d[0, :2]), d[0, 2]]])


# -- line search ----------------------------------------------------------------------------------


def test_step_that_lowers_the_slope_is_taken_at_once():
    x = np.array([[1.0, 0, 0]])
    step = search(quadratic(1.0), x, -x, slope=1.0)
    assert step.length == 1.0
    assert step.state == pytest.approx(np.zeros((1, 3)))


def test_short_first_step_is_lengthened():
    x = np.array([[1.0, 0, 0]])
    step = search(quadratic(1.0), x, -x, slope=1.0, first=1e-3)
    assert step.length > 0.05


def test_step_too_long_is_shortened():
    x = np.array([[1.0, 0, 0]])
    step = search(quadratic(1.0), x, -x, slope=1.0, first=8.0)
    assert 0.1 < step.length < 2.0
    assert abs(float(np.vdot(step.forces, -x))) <= 0.9


@pytest.mark.parametrize("error", [InvertedElementError, NonFiniteError])
def test_search_backs_off_from_states_out_of_bounds(error):
    calls = []

    def forces(x):
        calls.append(float(x[0, 0]))
        if x[0, 0] < 0.4:
            raise error("too far")
        return -x

    x = np.array([[1.0, 0, 0]])
    step = search(forces, x, -x, slope=1.0, first=4.0)
    assert step is not None
    assert step.state[0, 0] >= 0.4
    assert min(calls) < 0.4


def test_search_that_finds_nothing_says_so():
    def never(x):
        raise InvertedElementError("everywhere")

    x = np.array([[1.0, 0, 0]])
    assert search(never, x, -x, slope=1.0) is None
    # The slope only grows: no step is better than none.
    assert search(lambda y: 2.0 * y, x, x, slope=2.0) is None


def test_other_errors_are_not_swallowed():
    def broken(x):
        raise ZeroDivisionError

    x = np.array([[1.0, 0, 0]])
    with pytest.raises(ZeroDivisionError):
        search(broken, x, -x, slope=1.0)


# -- quasi-Newton ---------------------------------------------------------------------------------


def test_lbfgs_solves_a_quadratic():
    start = np.ones_like(STIFF)
    x, f, reason = lbfgs(quadratic(STIFF), start, identity, fmax=1e-10, max_steps=60, longest=1.0)
    assert reason == "converged"
    assert np.abs(x).max() < 1e-10
    assert np.array_equal(f, -STIFF * x)


def test_lbfgs_with_the_exact_inverse_takes_one_step():
    start = np.ones_like(STIFF)
    steps = []
    _, _, reason = lbfgs(
        quadratic(STIFF),
        start,
        lambda f: f / STIFF,
        fmax=1e-10,
        max_steps=10,
        longest=10.0,
        report=lambda top, length: bool(steps.append(length)),
    )
    assert reason == "converged"
    assert steps == [1.0]


def test_lbfgs_follows_a_curved_valley():
    x, _, reason = lbfgs(
        rosenbrock, np.array([[-1.2, 1.0, 0.0]]), identity, fmax=1e-8, max_steps=500, longest=0.5
    )
    assert reason == "converged"
    assert x[0, :2] == pytest.approx([1.0, 1.0], abs=1e-6)


def test_lbfgs_says_why_it_stopped():
    options = {"fmax": 1e-12, "longest": 0.5}
    start = np.array([[-1.2, 1.0, 0.0]])
    assert lbfgs(rosenbrock, start, identity, max_steps=2, **options)[2] == "step limit"
    stop = lbfgs(rosenbrock, start, identity, max_steps=9, report=lambda *_: True, **options)
    assert stop[2] == "stopped"
    # Preconditioner of the wrong sign: no descent, and no endless loop.
    uphill = lbfgs(rosenbrock, start, lambda f: -f, max_steps=9, **options)
    assert uphill[2] == "no descent"
    assert np.array_equal(uphill[0], start)


def test_steps_are_no_longer_than_asked():
    seen = []

    def forces(x):
        seen.append(x.copy())
        return -x

    lbfgs(forces, np.full((1, 3), 30.0), identity, fmax=1e-6, max_steps=3, longest=0.5)
    first = np.linalg.norm(seen[1] - seen[0])
    assert first <= 0.5 * (1 + 1e-12)


# -- Newton-Krylov --------------------------------------------------------------------------------


@pytest.mark.parametrize("symmetric", [True, False])
def test_newton_converges_fast(symmetric):
    tops = []
    x, _, reason = newton(
        rosenbrock,
        rosenbrock_product,
        np.array([[1.3, 1.5, 0.0]]),
        identity,
        symmetric=symmetric,
        fmax=1e-11,
        max_steps=40,
        longest=1.0,
        report=lambda top, length: bool(tops.append(top)),
    )
    assert reason == "converged"
    assert x[0, :2] == pytest.approx([1.0, 1.0], abs=1e-10)
    assert len(tops) < 20
    assert tops[-1] < 1e-2 * tops[-2] < 1e-2 * tops[-3]


def test_newton_without_symmetry():
    # No energy: the stiffness is not symmetric.
    k = np.array([[3.0, 1.0, 0.0], [-1.0, 2.0, 0.5], [0.0, 0.2, 1.0]])
    x, _, reason = newton(
        lambda x: 1.0 - x @ k.T,
        lambda x, d: d @ k.T,
        np.zeros((2, 3)),
        identity,
        symmetric=False,
        fmax=1e-10,
        max_steps=20,
        longest=10.0,
    )
    assert reason == "converged"
    np.testing.assert_allclose(x @ k.T, 1.0, atol=1e-10)


def test_newton_meets_negative_curvature_and_goes_on():
    # (x^2 - 1)^2 from near its maximum: the Newton step would climb it.
    def forces(x):
        return -4.0 * x * (x**2 - 1.0)

    def product(x, d):
        return (12.0 * x**2 - 4.0) * d

    told = []
    x, _, reason = newton(
        forces,
        product,
        np.full((1, 3), 0.1),
        identity,
        symmetric=True,
        fmax=1e-9,
        max_steps=50,
        longest=0.5,
        warn=told.append,
    )
    assert reason == "converged"
    assert x == pytest.approx(np.ones((1, 3)))
    assert told
    assert "negative curvature" in told[0]


def test_newton_falls_back_from_an_uphill_direction():
    # GMRES solves what it is given: an indefinite Hessian gives a direction against the force.
    told = []
    x, _, reason = newton(
        lambda x: -x,
        lambda x, d: -d if np.abs(x).max() > 0.5 else d,
        np.ones((1, 3)),
        identity,
        symmetric=False,
        fmax=1e-9,
        max_steps=50,
        longest=0.5,
        warn=told.append,
    )
    assert reason == "converged"
    assert np.abs(x).max() < 1e-9
    assert any("uphill" in message for message in told)
