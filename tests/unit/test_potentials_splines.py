"""Splines, and what they are put through: the published functions of zhou2004."""

import numpy as np
import pytest

from qc.errors import PotentialError
from qc.potentials import zhou2004
from qc.potentials.eam.zhou import TAPER, density, embedding, pair, zhou2004_table
from qc.potentials.pair.central import smooth_step
from qc.potentials.splines import cubic_coefficients, evaluate

ELEMENTS = "Cu Ag Au Ni Pd Pt Al Pb Fe Mo Ta W Mg Co Ti Zr".split()


@pytest.mark.parametrize("n", [4, 5, 17])
def test_cubic_polynomial_is_reproduced(n):
    h = 0.3
    p = np.polynomial.Polynomial([0.3, -1.0, 2.0, -0.7])
    table = cubic_coefficients(p(h * np.arange(n)))
    x = np.linspace(0, (n - 1) * h, 101)[:-1]
    for k in range(3):
        expected = p.deriv(k)(x) if k else p(x)
        assert evaluate(table, h, x, k) == pytest.approx(expected, abs=1e-11)


def test_order_of_convergence():
    """Value, slope and curvature converge as the fourth, third and second power."""
    errors = []
    for n in (40, 80, 160, 320):
        h = 3.0 / n
        table = cubic_coefficients(np.sin(h * np.arange(n + 1)))
        # Away from the ends, where the not-a-knot condition converges at its own pace.
        x = np.linspace(0.5, 2.5, 5001)
        exact = (np.sin(x), np.cos(x), -np.sin(x))
        errors.append([np.abs(evaluate(table, h, x, k) - exact[k]).max() for k in range(3)])
    slopes = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert slopes[-1] == pytest.approx([4.0, 3.0, 2.0], abs=0.15)


def test_two_derivatives_are_continuous_and_the_third_is_not():
    table = cubic_coefficients(np.random.default_rng(2).normal(size=12))
    knots = np.arange(1.0, 11.0)
    before, after = knots - 1e-9, knots + 1e-9
    for k in range(3):
        gap = evaluate(table, 1.0, after, k) - evaluate(table, 1.0, before, k)
        assert np.abs(gap).max() < 1e-6
    # Not-a-knot: the first two and the last two intervals share one cubic, the others do not.
    third = np.diff(table[:-1, 3])
    assert np.abs(third[[0, -1]]).max() < 1e-12
    assert np.abs(third[1:-1]).min() > 1e-3


def test_end_slope_is_kept():
    table = cubic_coefficients(np.exp(-np.arange(10.0)), end_slope=0.25)
    assert evaluate(table, 2.0, np.array([18.0]), 1) == pytest.approx([0.125], rel=1e-14)


def test_beyond_the_last_knot_is_the_tangent():
    h = 0.1
    x = h * np.arange(21)
    table = cubic_coefficients(x**3)
    beyond = np.array([2.5, 7.0])
    assert evaluate(table, h, beyond) == pytest.approx(8.0 + 12.0 * (beyond - 2.0), rel=1e-12)
    assert evaluate(table, h, beyond, 2) == pytest.approx([0.0, 0.0], abs=1e-12)


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0], [0, 1, np.nan, 3], [0, 1, np.inf, 3], [[1.0]]])
def test_unusable_values(values):
    with pytest.raises(PotentialError):
        cubic_coefficients(np.array(values, dtype=float))


# --- the published functions ------------------------------------------------------------------


def test_table_holds_the_sixteen_elements():
    assert list(zhou2004_table()) == ELEMENTS


@pytest.mark.parametrize("symbol", ELEMENTS)
def test_splines_match_the_analytic_functions(symbol):
    element, potential = zhou2004_table()[symbol], zhou2004(symbol)
    rng = np.random.default_rng(5)
    r = rng.uniform(0.5 * element["r_e"], potential.cutoff, 20000)
    start, end = (t * element["r_e"] for t in TAPER)
    taper = 1.0 - smooth_step((r - start) / (end - start)).value
    z = evaluate(cubic_coefficients(potential.rphi[0, 0], 0.0), potential.dr, r)
    assert np.abs(z / r - pair(element, r) * taper).max() < 1e-10
    rho = evaluate(cubic_coefficients(potential.density[0], 0.0), potential.dr, r)
    assert np.abs(rho - density(element, r) * taper).max() < 1e-10 * element["rho_e"]
    x = rng.uniform(0.0, 6.0, 20000) * element["rho_e"]
    table = cubic_coefficients(potential.embedding[0])
    error = np.abs(evaluate(table, potential.drho, x) - embedding(element, x))
    # Where the repaired joint bends the function within 0.03 rho_e, knots resolve it less well.
    bend = np.abs(x / element["rho_e"] - element["upper_joint"] - 0.015) < 0.017
    assert error[~bend].max() < 1e-10
    assert error[bend].max() < 5e-10


def published_embedding(e, x):
    """Piecewise as printed, x = rho / rho_e."""
    low, high = e["lower_joint"], e["upper_joint"]
    d, m = x / low - 1, x - 1
    u = np.maximum(x, high) * e["rho_e"] / e["rho_s"]
    outer = e["F_e"] * (1 - e["eta"] * np.log(u)) * u ** e["eta"]
    first = sum(f * d**k for k, f in enumerate(e["F_n"]))
    middle = sum(f * m**k for k, f in enumerate(e["F"]))
    return np.where(x < low, first, np.where(x < high, middle, outer))


def jump(function, joint):
    """Jumps of value and two derivatives in x, from quintics through points on either side."""
    jets = []
    for side in (1.0, -1.0):
        d = side * 1e-4 * np.arange(1, 7)
        p = np.polynomial.Polynomial.fit(d, function(joint + d), 5).convert()
        jets.append([p(0.0), p.deriv(1)(0.0), p.deriv(2)(0.0)])
    return np.abs(np.subtract(*jets))


@pytest.mark.parametrize("symbol", ELEMENTS)
def test_embedding_has_no_jump_at_its_joints(symbol):
    element = zhou2004_table()[symbol]
    bounds = np.array([1e-12, 1e-8, 2e-4])
    for name in ("lower_joint", "upper_joint"):
        joint = element[name]
        assert (jump(lambda x: embedding(element, x * element["rho_e"]), joint) < bounds).all()
        # The estimate is sharp enough to see the jumps that the published digits leave.
        assert (jump(lambda x: published_embedding(element, x), joint) > bounds)[:2].all()


@pytest.mark.parametrize("symbol", ELEMENTS)
def test_embedding_stays_close_to_the_published_one(symbol):
    element = zhou2004_table()[symbol]
    x = np.linspace(0, 4, 80001)
    change = np.abs(embedding(element, x * element["rho_e"]) - published_embedding(element, x))
    low, high = element["lower_joint"], element["upper_joint"]
    assert change[(x >= low) & (x < high)].max() < 1e-14
    assert change[x < low].max() < 1e-6
    assert change.max() < 2.5e-4
    assert change[x > high + 0.2].max() < 1e-14
    assert abs(embedding(element, np.zeros(1))[0]) < 2e-6


@pytest.mark.parametrize("symbol", ELEMENTS)
def test_published_digits_join(symbol):
    """The joints as printed: this is what tells a misprint from a parameter."""
    e = zhou2004_table()[symbol]
    tiny = 1e-12
    for joint in (e["lower_joint"], e["upper_joint"]):
        sides = published_embedding(e, np.array([joint - tiny, joint + tiny]))
        assert abs(sides[1] - sides[0]) < 1e-6


@pytest.mark.parametrize(
    ("symbol", "key", "misprint"),
    [("W", "eta", -0.582714), ("Pt", "lower_joint", 0.85)],
)
def test_misprints_would_not_join(symbol, key, misprint):
    e = {**zhou2004_table()[symbol], key: misprint}
    joint = e["lower_joint" if key == "lower_joint" else "upper_joint"]
    sides = published_embedding(e, np.array([joint - 1e-12, joint + 1e-12]))
    assert abs(sides[1] - sides[0]) > 1e-3


def test_cross_pair_is_the_density_weighted_mean():
    table = zhou2004_table()
    potential = zhou2004("Ni", "Al")
    k = np.arange(600, potential.rphi.shape[-1] * 2 // 3, 50)
    r = potential.dr * k
    ni, al = table["Ni"], table["Al"]
    expected = 0.5 * (
        density(al, r) / density(ni, r) * pair(ni, r)
        + density(ni, r) / density(al, r) * pair(al, r)
    )
    assert potential.rphi[0, 1, k] / r == pytest.approx(expected, rel=1e-13)


def test_smooth_step_derivatives():
    x = np.linspace(-0.2, 1.2, 1401)
    h = 1e-5
    up, down, here = smooth_step(x + h), smooth_step(x - h), smooth_step(x)
    assert here.first == pytest.approx((up.value - down.value) / (2 * h), abs=1e-8)
    assert here.second == pytest.approx((up.first - down.first) / (2 * h), abs=1e-7)
    assert smooth_step(np.array([-1.0, 0.0, 0.5, 1.0, 2.0])).value == pytest.approx(
        [0, 0, 0.5, 1, 1]
    )
