"""Stillinger-Weber: the law of all potentials, each term alone, parameters that are refused."""

import numpy as np
import pytest

from qc.errors import InputError, PotentialError, UnknownSpeciesError
from qc.potentials import (
    Bonds,
    StillingerWeber,
    balamane1992,
    holland1998,
    stillinger1985,
)
from qc.verify import check_potential

SILICON = {
    "epsilon": 2.1682, "sigma": 2.0951, "a": 1.8, "lam": 21.0, "gamma": 1.2, "costheta0": -1 / 3,
    "A": 7.049556277, "B": 0.6022245584, "p": 4, "q": 0,
}  # fmt: skip


def binary():
    pairwise = np.array([[1.0, 0.9], [0.9, 1.1]])[:, :, None]
    triple = np.array([[[1.0, 1.2], [1.2, 0.8]], [[0.9, 1.1], [1.1, 1.3]]])
    return StillingerWeber(
        ["Si", "C"], epsilon=2.0, sigma=2.1 * pairwise, a=1.8, lam=21.0 * triple,
        gamma=np.array([[1.2, 1.0], [0.8, 1.3]])[:, :, None], costheta0=-0.3 * triple,
        A=7.0, B=0.6, p=4.5, q=0.5,
    )  # fmt: skip


@pytest.mark.parametrize("build", [stillinger1985, balamane1992, holland1998, binary])
@pytest.mark.parametrize("spacing", [2.1, 2.35, 2.6])
def test_conformance(build, spacing):
    report = check_potential(build(), spacing=spacing)
    assert report.passed, str(report)


# --- each term alone --------------------------------------------------------------------------


def star(rng, n=4, distance=2.4):
    d = rng.normal(size=(n, 3))
    return distance * d / np.linalg.norm(d, axis=1)[:, None] * rng.uniform(0.9, 1.4, (n, 1))


def one_site(vectors):
    n = len(vectors)
    return Bonds(np.array([0, n]), vectors, np.zeros(1, int), np.zeros(n, int))


@pytest.mark.parametrize("terms", ["pair", "angle", "both"])
def test_term_by_differences_with_the_step_swept(terms):
    """Gradients of energies and Hessian products of gradients, for each term alone."""
    change = {"pair": {"lam": 0.0}, "angle": {"A": 0.0}, "both": {}}[terms]
    potential = StillingerWeber("Si", **{**SILICON, **change})
    rng = np.random.default_rng(5)
    vectors = star(rng)
    direction = rng.normal(size=vectors.shape)
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


def test_pair_term_by_hand():
    """phi2 of the paper in reduced units, shared by two sites: f2(2^(1/6)) = -1."""
    potential = StillingerWeber("Si", **{**SILICON, "lam": 0.0})
    r = 2.0951 * 2 ** (1 / 6)
    energies, gradients = potential.bond_gradients(one_site(np.array([[0.0, r, 0.0]])))
    # A and B of the paper place the minimum of depth 1 there.
    assert energies[0] == pytest.approx(-0.5 * 2.1682, rel=1e-8)
    assert np.abs(gradients).max() < 1e-7


def test_angle_term_by_hand():
    potential = StillingerWeber("Si", **{**SILICON, "A": 0.0})
    r = 2.5
    for degrees in (60.0, 90.0, 150.0, 180.0):
        t = np.deg2rad(degrees)
        vectors = r * np.array([[1.0, 0, 0], [np.cos(t), np.sin(t), 0]])
        expected = 21.0 * 2.1682 * (np.cos(t) + 1 / 3) ** 2
        expected *= np.exp(2 * 1.2 / (r / 2.0951 - 1.8))
        assert potential.site_energies(one_site(vectors)) == pytest.approx([expected], rel=1e-13)


def test_all_derivatives_vanish_at_the_cutoff():
    potential = stillinger1985()
    others = star(np.random.default_rng(1), 3)
    before = potential.site_energies(one_site(others))[0]
    for gap, bound in ((0.2, 1e-2), (0.1, 1e-6), (0.06, 1e-11), (0.03, 0.0), (0.0, 0.0)):
        r = potential.cutoff - gap
        vectors = np.vstack([others, [[0, 0, r]]])
        energy, gradient = potential.bond_gradients(one_site(vectors))
        product = potential.bond_hessian_product(one_site(vectors), np.ones((4, 3)))
        assert abs(energy[0] - before) <= max(bound, 1e-14)
        assert np.abs(gradient[3]).max() <= bound * 1e2
        assert np.abs(product[3]).max() <= bound * 1e4


def test_perfect_crystal_has_no_angle_energy():
    d = 5.431 / 4 * np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    potential = StillingerWeber("Si", **{**SILICON, "A": 0.0})
    energies, gradients = potential.bond_gradients(one_site(d))
    assert abs(energies[0]) < 1e-14
    assert np.abs(gradients).max() < 1e-14


def test_entries_of_unlike_neighbours_give_the_angle_only():
    """The numbers of (i, j, k) with j other than k that LAMMPS does not use change nothing."""
    potential = binary()
    entries = {"lam" if k == "lambda" else k: v.copy() for k, v in potential.entries.items()}
    for name in ("sigma", "a", "gamma", "A", "B", "p", "q"):
        entries[name][:, [0, 1], [1, 0]] = 7.7
    assert StillingerWeber(["Si", "C"], **entries).fingerprint() == potential.fingerprint()
    entries["lam"][:, [0, 1], [1, 0]] = 7.7
    assert StillingerWeber(["Si", "C"], **entries).fingerprint() != potential.fingerprint()


# --- what is refused --------------------------------------------------------------------------


def triple(*changes):
    value = np.full((2, 2, 2), 1.0)
    for where, x in changes:
        value[where] = x
    return value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"species": ["Si", "Si"]}, "distinct"),
        ({"species": []}, "at least one"),
        ({"epsilon": np.nan}, "epsilon of Si Si Si must be finite"),
        ({"lam": np.inf}, "lambda of Si Si Si must be finite"),
        ({"epsilon": -1.0}, "epsilon of Si Si Si must be finite and at least 0, not -1"),
        ({"sigma": triple(((1, 0, 1), -2.0))}, "sigma of C Si C must be"),
        ({"sigma": np.ones(3)}, "sigma must be a number or have shape"),
        ({"sigma": "wide"}, "sigma must be a number"),
        ({"a": 0.0}, "cutoff must be positive"),
        ({"a": 1e9}, "cutoff must be positive and at most"),
        ({"sigma": 100.0, "p": 1000.0}, "the pair energy of Si and Si overflows"),
        ({"A": triple(((0, 1, 1), 2.0))}, "A epsilon must be the same for the pairs Si C and C Si"),
        ({"p": triple(((1, 0, 0), 4.0))}, "p must be the same for the pairs"),
        ({"lam": triple(((0, 0, 1), 2.0))}, "lambda epsilon must be the same for the triples"),
        ({"costheta0": triple(((1, 1, 0), 0.5))}, "costheta0 must be the same for the triples"),
    ],
)
def test_refused_parameters(change, message):
    good = {"species": ["Si", "C"], **SILICON}
    StillingerWeber(**good)
    with pytest.raises(PotentialError, match=message):
        StillingerWeber(**{**good, **change})


def test_published_names_what_it_supports():
    for build in (stillinger1985, balamane1992, holland1998):
        assert build("Si").species == ("Si",)
        with pytest.raises(UnknownSpeciesError, match=rf"{build.__name__} .*'Ge'.*supports Si"):
            build("Ge")


def test_published_parameters_differ():
    prints = {build().fingerprint() for build in (stillinger1985, balamane1992, holland1998)}
    assert len(prints) == 3
    assert "5262" in stillinger1985().source
    assert stillinger1985().cutoff == pytest.approx(3.77118, abs=1e-12)


def test_bonds_with_a_fault():
    potential = stillinger1985()
    vectors = star(np.random.default_rng(3))
    with pytest.raises(InputError, match="dvectors has shape"):
        potential.bond_hessian_product(one_site(vectors), vectors[:2])
    vectors[1] = 0.0
    with pytest.raises(InputError, match="bond 1 of site 0 has zero length"):
        potential.bond_gradients(one_site(vectors))
    vectors[1, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        potential.bond_hessian_product(one_site(vectors), vectors)
    bonds = one_site(star(np.random.default_rng(3)))
    bonds.bond_types[2] = 1
    with pytest.raises(UnknownSpeciesError, match="bond 2 has type 1"):
        potential.site_energies(bonds)
