"""Tersoff: the law of all potentials, each term alone, smoothness as documented, refusals."""

import numpy as np
import pytest

from qc.errors import InputError, PotentialError, UnknownSpeciesError
from qc.potentials import Bonds, Tersoff, tersoff1988, tersoff1989
from qc.verify import check_potential

SILICON = {
    "A": 1830.8, "B": 471.18, "lambda1": 2.4799, "lambda2": 1.7322, "lambda3": 1.7322,
    "beta": 1.0999e-6, "n": 0.78734, "c": 1.0039e5, "d": 16.218, "costheta0": -0.59826,
    "R": 2.85, "D": 0.15,
}  # fmt: skip


def every_number_counts():
    rng = np.random.default_rng(4)
    shape = (2, 2, 2)
    return Tersoff(
        ["Si", "C"], A=1800.0, B=rng.uniform(100, 200, shape), lambda1=2.5, lambda2=1.5,
        lambda3=rng.uniform(0.3, 1.0, shape), m=rng.choice([1.0, 3.0], shape),
        beta=rng.uniform(0.1, 0.4, shape), n=rng.uniform(0.8, 2, shape),
        c=rng.uniform(2, 5, shape), d=rng.uniform(1, 2, shape),
        costheta0=rng.uniform(-0.6, 0, shape), gamma=rng.uniform(0.5, 1.5, shape),
        R=rng.uniform(2.6, 3.0, shape), D=rng.uniform(0.1, 0.3, shape),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "spacing"),
    [
        (lambda: tersoff1988("Si"), 2.35),
        (lambda: tersoff1988("Si"), 2.15),
        (lambda: tersoff1988("C"), 1.55),
        (lambda: tersoff1989("Si", "C"), 1.9),
        (every_number_counts, 2.2),
    ],
)
def test_conformance(build, spacing):
    report = check_potential(build(), spacing=spacing)
    assert report.passed, str(report)


# --- each term alone --------------------------------------------------------------------------


def star(rng, n=4, distance=2.4, spread=(0.9, 1.2)):
    d = rng.normal(size=(n, 3))
    return distance * d / np.linalg.norm(d, axis=1)[:, None] * rng.uniform(*spread, (n, 1))


def one_site(vectors, types=None):
    n = len(vectors)
    types = np.zeros(n, int) if types is None else types
    return Bonds(np.array([0, n]), vectors, np.zeros(1, int), types)


TERMS = {
    "repulsion": {"B": 0.0},
    "attraction without order": {"A": 0.0, "beta": 0.0},
    "bond order without lambda3": {"A": 0.0, "lambda3": 0.0},
    "bond order, cubic": {"A": 0.0},
    "bond order, linear": {"A": 0.0, "m": 1.0},
    "bond order with beta zeta beyond 1": {"A": 0.0, "beta": 1.0, "n": 2.0},
    "no angles": {"A": 0.0, "c": 0.0, "beta": 0.5},
    "everything": {},
}


@pytest.mark.parametrize("terms", TERMS)
def test_term_by_differences_with_the_step_swept(terms):
    """Gradients of energies and Hessian products of gradients, for each term alone."""
    potential = Tersoff("Si", **{**SILICON, **TERMS[terms]})
    rng = np.random.default_rng(5)
    # Lengths stay clear of 2.7 and 3.0, where the second derivative jumps, but lie on both sides.
    vectors = star(rng, 5) / 2.4
    lengths = np.array([2.3, 2.45, 2.5, 2.85, 2.8])
    vectors *= (lengths / np.linalg.norm(vectors, axis=1))[:, None]
    direction = 0.3 * rng.normal(size=vectors.shape)
    _, gradient = potential.bond_gradients(one_site(vectors))
    product = potential.bond_hessian_product(one_site(vectors), direction)
    assert np.abs(gradient).max() > 0.01
    first, second = [], []
    for h in 10.0 ** np.arange(-2, -7, -1.0):
        up, down = (
            potential.bond_gradients(one_site(vectors + s * h * direction)) for s in (1, -1)
        )
        first.append(abs((up[0] - down[0])[0] / (2 * h) - (gradient * direction).sum()))
        second.append(np.abs((up[1] - down[1]) / (2 * h) - product).max())
    for errors, scale in ((first, np.abs(gradient).max()), (second, np.abs(product).max())):
        # The square of the step at first, round-off in the end.
        assert errors[0] / errors[1] == pytest.approx(100, rel=0.2)
        assert min(errors) < 1e-8 * scale


def test_dimer_by_hand():
    """Without a third atom the bond order is one."""
    potential = tersoff1988("Si")
    for r in (1.9, 2.35, 2.65, 2.8, 2.95):
        f = 1.0 if r < 2.7 else 0.5 - 0.5 * np.sin(np.pi / 2 * (r - 2.85) / 0.15)
        expected = 0.5 * f * (1830.8 * np.exp(-2.4799 * r) - 471.18 * np.exp(-1.7322 * r))
        energies = potential.site_energies(one_site(np.array([[0, 0, r]])))
        assert energies == pytest.approx([expected], rel=1e-12)


def test_trimer_by_hand():
    potential = tersoff1988("Si")
    r = np.array([2.3, 2.5])
    cosine = np.cos(2.0)
    vectors = r[:, None] * np.array([[1.0, 0, 0], [cosine, np.sin(2.0), 0]])
    ratio = (1.0039e5 / 16.218) ** 2
    g = 1 + ratio - 1.0039e5**2 / (16.218**2 + (cosine + 0.59826) ** 2)
    expected = 0.0
    for j, k in ((0, 1), (1, 0)):
        zeta = g * np.exp((1.7322 * (r[j] - r[k])) ** 3)
        order = (1 + (1.0999e-6 * zeta) ** 0.78734) ** (-0.5 / 0.78734)
        expected += 0.5 * 1830.8 * np.exp(-2.4799 * r[j])
        expected -= 0.5 * order * 471.18 * np.exp(-1.7322 * r[j])
    # The textbook form of g loses digits to cancellation.
    assert potential.site_energies(one_site(vectors)) == pytest.approx([expected], rel=1e-11)


def test_bond_order_has_no_seam_at_beta_zeta_one():
    """Two formulas meet there; values and two derivatives agree across."""
    values = {**SILICON, "beta": 1.0, "n": 0.7, "c": 0.0, "lambda3": 0.0, "A": 0.0}
    potential = Tersoff("Si", **values)
    # One third atom at full strength has zeta = 1.
    vectors = np.array([[2.3, 0, 0], [0, 2.84, 0], [0, 0, 2.86]])
    # f(2.84) + f(2.86) = 1.
    found = []
    for shift in (-1e-7, 1e-7):
        moved = vectors.copy()
        moved[1, 1] += shift
        product = potential.bond_hessian_product(one_site(moved), np.ones((3, 3)))
        found.append((*potential.bond_gradients(one_site(moved)), product))
    for low, high in zip(*found, strict=True):
        np.testing.assert_allclose(low, high, rtol=0, atol=1e-4)


def test_huge_zeta_does_not_overflow():
    potential = Tersoff("Si", **{**SILICON, "n": 22.956, "beta": 0.33675, "lambda3": 1.3258})
    vectors = np.array([[0, 0, 2.95], [0.05, 0, 0], [0, 2.5, 0]])
    energies, gradients = potential.bond_gradients(one_site(vectors))
    assert np.isfinite(energies).all()
    assert np.isfinite(gradients).all()


# --- smoothness, as the class says it ---------------------------------------------------------


def test_second_derivative_jumps_at_both_ends_of_the_cutoff_interval():
    potential = tersoff1988("Si")
    h, D = 1e-7, 0.15

    def curvature(r):
        unit = np.array([[0.0, 0.0, 1.0]])
        return potential.bond_hessian_product(one_site(r * unit), unit)[0, 2]

    for r in (2.7, 3.0):
        pair = 0.5 * (1830.8 * np.exp(-2.4799 * r) - 471.18 * np.exp(-1.7322 * r))
        jump = curvature(r + h) - curvature(r - h)
        # f'' drops from 0 at the lower end, and to 0 from its largest value at the upper.
        assert jump == pytest.approx(-pair * np.pi**2 / (8 * D**2), rel=1e-4)
        energies, gradients = zip(
            *(potential.bond_gradients(one_site(np.array([[0, 0, r + s * h]]))) for s in (-1, 1)),
            strict=True,
        )
        assert abs(energies[1] - energies[0]) < 1e-6
        assert np.abs(gradients[1] - gradients[0]).max() < 1e-4


def test_cutoff_without_width():
    potential = Tersoff("Si", **{**SILICON, "D": 0.0})
    inside, outside = (
        potential.site_energies(one_site(np.array([[0, 0, r]])))[0] for r in (2.8499, 2.8501)
    )
    assert inside < -0.5
    assert outside == 0.0


# --- several species --------------------------------------------------------------------------


def test_mixing_rule_of_1989():
    potential = tersoff1989("Si", "C")
    e = {name: value[0, 1, 1] for name, value in potential.entries.items()}
    assert e["A"] == pytest.approx(np.sqrt(1830.8 * 1393.6), rel=1e-14)
    assert e["B"] == pytest.approx(0.9776 * np.sqrt(471.18 * 346.74), rel=1e-14)
    assert e["lambda1"] == pytest.approx((2.4799 + 3.4879) / 2, rel=1e-14)
    assert e["R"] + e["D"] == pytest.approx(np.sqrt(3.0 * 2.1), rel=1e-14)
    assert e["R"] - e["D"] == pytest.approx(np.sqrt(2.7 * 1.8), rel=1e-14)
    assert (e["beta"], e["n"], e["c"]) == (1.1e-6, 0.78734, 100390.0)
    assert potential.entries["c"][1, 0, 0] == 38049.0
    # The cutoff of the third atom is that of its own bond to the centre.
    assert potential.entries["R"][0, 1, 0] == potential.entries["R"][0, 0, 0]
    # LAMMPS's SiCGe.tersoff, rounded there to the digits of this comparison.
    assert (round(e["B"], 4), round(e["A"], 3)) == (395.1451, 1597.311)
    assert (round(e["R"], 4), round(e["D"], 4)) == (2.3573, 0.1527)


def test_an_element_alone_and_among_others_is_the_same():
    vectors = star(np.random.default_rng(2))
    one = tersoff1989("Si").site_energies(one_site(vectors))
    two = tersoff1989("C", "Si").site_energies(
        Bonds(np.array([0, 4]), vectors, np.array([1]), np.ones(4, int))
    )
    assert one == pytest.approx(two, rel=1e-14)


def test_pair_parameters_of_unlike_triples_are_not_used():
    potential = every_number_counts()
    entries = {k: v.copy() for k, v in potential.entries.items()}
    for name in ("A", "B", "lambda1", "lambda2", "beta", "n"):
        entries[name][:, [0, 1], [1, 0]] = 0.0
    assert Tersoff(["Si", "C"], **entries).fingerprint() == potential.fingerprint()
    entries["costheta0"][0, 0, 1] += 0.1
    assert Tersoff(["Si", "C"], **entries).fingerprint() != potential.fingerprint()


def test_a_third_atom_beyond_its_own_bond_still_counts():
    """The cutoff of (i, j, k) may reach farther than that of (i, k, k)."""
    R = np.full((2, 2, 2), 2.5)
    R[0, 0, 1] = 3.5
    values = {**SILICON, "R": R}
    potential = Tersoff(["Si", "C"], **values)
    assert potential.cutoff == pytest.approx(3.65)
    vectors = np.array([[2.3, 0, 0], [0, 3.3, 0]])
    with_it = potential.site_energies(one_site(vectors, np.array([0, 1])))
    without = potential.site_energies(one_site(vectors[:1], np.array([0])))
    assert with_it - without > 1e-6


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"species": ["Si", "Si"]}, "distinct"),
        ({"A": np.nan}, "A of Si Si Si must be finite"),
        ({"B": -1.0}, "B of Si Si Si must be finite and at least 0"),
        ({"beta": -1e-9}, "beta of Si Si Si"),
        ({"R": np.ones((3, 3, 3))}, "R must be a number or have shape"),
        ({"m": 2.0}, "m must be 1 or 3, in Si Si Si"),
        ({"D": 3.0}, "D must not exceed R"),
        ({"d": 0.0}, "d must not be zero"),
        ({"n": 0.0}, "n must not be zero"),
        ({"R": 0.0, "D": 0.0}, "cutoff must be positive"),
        ({"R": 1e7}, "cutoff must be positive and at most"),
        ({"c": 1e200, "d": 1e-100}, "the angle terms of Si Si Si overflow"),
        ({"D": 1e-320}, "the bond terms|the angle terms"),
    ],
)
def test_refused_parameters(change, message):
    good = {"species": ["Si", "C"], **SILICON}
    Tersoff(**good)
    with pytest.raises(PotentialError, match=message):
        Tersoff(**{**good, **change})


def test_published_names_what_it_supports():
    with pytest.raises(UnknownSpeciesError, match=r"tersoff1988 .*'Ge'.*supports Si, C"):
        tersoff1988("Ge")
    with pytest.raises(UnknownSpeciesError, match=r"tersoff1989 .*'Sn'.*supports C, Si, Ge"):
        tersoff1989("Si", "Sn")
    with pytest.raises(PotentialError, match="no parameters for C with Ge"):
        tersoff1989("C", "Si", "Ge")
    with pytest.raises(PotentialError, match="distinct"):
        tersoff1989("C", "C")
    with pytest.raises(PotentialError, match="at least one"):
        tersoff1989()
    assert "5566" in tersoff1989("Si", "Ge").source


def test_bonds_with_a_fault():
    potential = tersoff1988("Si")
    vectors = star(np.random.default_rng(3))
    with pytest.raises(InputError, match="dvectors has shape"):
        potential.bond_hessian_product(one_site(vectors), vectors[:2])
    vectors[1] = 0.0
    with pytest.raises(InputError, match="bond 1 of site 0 has zero length"):
        potential.bond_gradients(one_site(vectors))
    vectors[1, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        potential.bond_hessian_product(one_site(vectors), vectors)
