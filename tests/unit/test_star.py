"""Deformed stars in batches: folding, every size of batch, general stars, symmetry, threads."""

import numba
import numpy as np
import pytest

from qc.crystal import bcc, fcc
from qc.errors import NonFiniteError
from qc.materials import CauchyBorn
from qc.potentials import Bonds, LennardJones, Morse, star, zhou2004
from qc.potentials.eam.star_kernels import LANES

pytestmark = pytest.mark.kernels


def by_bonds(potential, f, bonds, site, types):
    """Energy, dE/dF and d2E/dF2 from bond gradients and Hessian products."""
    n, k = len(f), len(bonds)
    vectors = np.einsum("nij,bj->nbi", f, bonds).reshape(-1, 3)
    whole = Bonds(
        k * np.arange(n + 1, dtype=np.int64), vectors, np.full(n, site), np.tile(types, n)
    )
    energy, gradients = potential.bond_gradients(whole)
    stress = np.einsum("nbi,bj->nij", gradients.reshape(n, k, 3), bonds)
    tangent = np.empty((n, 3, 3, 3, 3))
    for i in range(3):
        for j in range(3):
            change = np.zeros((n, k, 3))
            change[:, :, i] = bonds[:, j]
            product = potential.bond_hessian_product(whole, change.reshape(-1, 3))
            tangent[:, :, :, i, j] = np.einsum("nbk,bl->nkl", product.reshape(n, k, 3), bonds)
    return energy, stress, tangent


def states(n, size=0.04, seed=0):
    return np.eye(3) + size * np.random.default_rng(seed).normal(size=(n, 3, 3))


def assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max(initial=0.0) <= 1e-12 * np.abs(other).max(initial=0.0)


def stars():
    """Half of it, a lopsided one, one whose opposite bonds differ in species, and plain ones."""
    rng = np.random.default_rng(4)
    perfect = fcc("Cu", 3.615).star(6.9)
    lopsided = rng.normal(size=(45, 3)) * 2.5
    lopsided = lopsided[np.linalg.norm(lopsided, axis=1) > 1.8]
    doubled = np.concatenate([perfect[:12], perfect[:5]])
    return {
        "fcc": (perfect, np.zeros(len(perfect), dtype=np.int64)),
        "bcc": (bcc("Cu", 2.87).star(6.5), None),
        "half": (perfect[:30][::2], None),
        "lopsided": (lopsided, rng.integers(2, size=len(lopsided))),
        "mixed": (perfect, rng.integers(2, size=len(perfect))),
        "a bond twice": (doubled, None),
        "one bond": (perfect[:1], None),
    }


@pytest.mark.parametrize("name", stars())
@pytest.mark.parametrize(
    "potential",
    [zhou2004("Cu", "Ni"), Morse(["Cu", "Ni"], [[0.3, 0.4], [0.4, 0.5]], 1.36, 2.8, 6.0)],
    ids=["eam", "morse"],
)
def test_general_stars(name, potential):
    bonds, types = stars()[name]
    types = np.zeros(len(bonds), dtype=np.int64) if types is None else types
    f = states(5)
    for site in (0, 1):
        found = potential.deformed_star(f, bonds, site, types, True)
        assert_close(found, by_bonds(potential, f, bonds, site, types))
        lean = potential.deformed_star(f, bonds, site, types)
        assert np.array_equal(lean[0], found[0])
        assert np.array_equal(lean[1], found[1])


@pytest.mark.parametrize("n", [0, 1, LANES - 1, LANES, LANES + 1, 3 * LANES + 5])
def test_every_size_of_batch(n):
    """The place of an element in a batch changes no bit."""
    potential = zhou2004("Cu")
    bonds = fcc("Cu", 3.615).star(6.5)
    types = np.zeros(len(bonds), dtype=np.int64)
    f = states(n)
    found = potential.deformed_star(f, bonds, 0, types, True)
    assert [len(a) for a in found] == [n] * 3
    alone = [potential.deformed_star(f[k : k + 1], bonds, 0, types, True) for k in range(n)]
    for a, b in zip(found, zip(*alone, strict=True) if n else found, strict=True):
        assert np.array_equal(a, np.concatenate(b) if n else b)
    assert np.array_equal(found[2], found[2].transpose(0, 3, 4, 1, 2))


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS == 1, reason="one thread only")
def test_threads_change_no_bit():
    potential = zhou2004("Cu")
    bonds = fcc("Cu", 3.615).star(6.5)
    types, f = np.zeros(len(bonds), dtype=np.int64), states(5 * LANES)
    many = potential.deformed_star(f, bonds, 0, types, True)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = potential.deformed_star(f, bonds, 0, types, True)
    finally:
        numba.set_num_threads(before)
    for a, b in zip(one, many, strict=True):
        assert np.array_equal(a, b)


def test_bonds_that_cross_the_cutoff():
    """States so different that some bonds are inside for some of a batch only."""
    potential = zhou2004("Cu")
    bonds = fcc("Cu", 3.615).star(9.0)
    types = np.zeros(len(bonds), dtype=np.int64)
    f = np.linspace(0.75, 1.4, 30)[:, None, None] * states(30)
    assert_close(
        potential.deformed_star(f, bonds, 0, types, True), by_bonds(potential, f, bonds, 0, types)
    )


def test_star_without_bonds():
    for potential in (zhou2004("Cu"), LennardJones("Cu", 0.4, 2.3)):
        energy, stress, tangent = potential.deformed_star(
            states(3), np.empty((0, 3)), 0, np.empty(0, dtype=np.int64), True
        )
        alone = Bonds(np.zeros(2, np.int64), np.empty((0, 3)), np.zeros(1, int), np.empty(0, int))
        assert energy == pytest.approx(np.repeat(potential.site_energies(alone), 3))
        assert not stress.any()
        assert not tangent.any()


def test_folding():
    bonds = fcc("Cu", 3.615).star(4.0)
    types = np.zeros(len(bonds), dtype=np.int64)
    folded = star.fold(bonds, types)
    assert folded.weights.tolist() == [2.0] * 9 + [0.0] * 3
    # Opposite bonds of different species stay apart.
    types[bonds[:, 2] > 0.1] = 1
    split = star.fold(bonds, types)
    assert split.weights.sum() == len(bonds)
    assert set(split.weights.tolist()) <= {0.0, 1.0, 2.0}
    assert len(split.types) > len(folded.types)
    with pytest.raises(ValueError, match="read-only"):
        split.weights[0] = 3.0


def test_an_enormous_shear_reads_no_memory_of_others():
    # Squared lengths from the metric are small differences of large numbers, and fall below zero.
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(200, 3)), rng.normal(size=(200, 3))
    b[:, 1] = b[:, 0]
    F = np.eye(3) + 1e9 * a[:, :, None] * b[:, None]
    with pytest.raises(NonFiniteError, match="not finite"):
        CauchyBorn(fcc("Cu", 3.615), zhou2004("Cu")).evaluate(F)
