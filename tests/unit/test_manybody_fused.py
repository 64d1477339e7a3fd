"""The fused kernels of Stillinger-Weber and Tersoff: agreement with the site energies, faults."""

import itertools

import numba
import numpy as np
import pytest

from qc.errors import InputError, UnknownSpeciesError
from qc.potentials import (
    Bonds,
    Pairs,
    StillingerWeber,
    Tersoff,
    stillinger1985,
    tersoff1988,
    tersoff1989,
)

pytestmark = pytest.mark.kernels


def binary_sw():
    """Two species, every parameter its own."""
    pairwise = np.array([[1.0, 0.9], [0.9, 1.1]])[:, :, None]
    triple = np.array([[[1.0, 1.2], [1.2, 0.8]], [[0.9, 1.1], [1.1, 1.3]]])
    return StillingerWeber(
        ["Si", "C"], epsilon=2.0, sigma=2.1 * pairwise, a=1.8, lam=21.0 * triple,
        gamma=np.array([[1.2, 1.0], [0.8, 1.3]])[:, :, None], costheta0=-0.3 * triple,
        A=7.0, B=0.6, p=4.5, q=0.5,
    )  # fmt: skip


def binary_tersoff():
    """Two species; cutoffs and angular functions differ from triple to triple, m is 1 and 3."""
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


POTENTIALS = {
    "Stillinger-Weber": stillinger1985,
    "Stillinger-Weber, two species": binary_sw,
    "Tersoff, 1988": lambda: tersoff1988("Si"),
    "Tersoff, carbon": lambda: tersoff1988("C"),
    "Tersoff, SiC": lambda: tersoff1989("Si", "C"),
    "Tersoff, CSi": lambda: tersoff1989("C", "Si"),
    "Tersoff, two species": binary_tersoff,
}


@pytest.fixture(params=POTENTIALS)
def potential(request):
    return POTENTIALS[request.param]()


def build(x, box, reach, layers=1):
    """Full list with images by brute force; ``box`` (3,) lengths, infinite if open."""
    spans = [range(-layers, layers + 1) if np.isfinite(b) else (0,) for b in box]
    shifts = [s for s in itertools.product(*spans) if any(s)]
    lengths = np.where(np.isfinite(box), box, 0.0)
    y = np.concatenate([x, *(x + np.array(s) * lengths for s in shifts)])
    owners = np.tile(np.arange(len(x), dtype=np.int32), len(shifts) + 1)
    apart = np.linalg.norm(y[None] - x[:, None], axis=2)
    near = (apart < reach) & (np.arange(len(y)) != np.arange(len(x))[:, None])
    start = np.concatenate([[0], np.cumsum(near.sum(axis=1))])
    return y, Pairs(start, np.nonzero(near)[1].astype(np.int32), owners, half=False)


def sample(potential, n=40, seed=0, skin=0.7):
    """A disordered block, mixed species, weights of which some are zero."""
    rng = np.random.default_rng(seed)
    scale = potential.cutoff / 3.0
    x = np.empty((0, 3))
    side = 7.2 * scale * (n / 40) ** (1 / 3)
    while len(x) < n:
        trial = rng.uniform(0, side, 3)
        d = x - trial
        d -= side * np.round(d / side)
        if len(x) == 0 or np.linalg.norm(d, axis=1).min() > 1.5 * scale:
            x = np.vstack([x, trial])
    types = rng.integers(0, len(potential.species), n)
    weights = rng.uniform(0.2, 1.0, n)
    weights[rng.random(n) < 0.25] = 0.0
    y, pairs = build(x, np.full(3, side), potential.cutoff + skin)
    return y, types[pairs.owners], weights[pairs.owners], pairs


def generic(potential, y, types, weights, pairs):
    n = pairs.n_sites
    i = np.repeat(np.arange(n), np.diff(pairs.start))
    j = pairs.neighbours
    bonds = Bonds(pairs.start, y[j] - y[i], types[:n], types[j])
    energies, gradients = potential.bond_gradients(bonds)
    gradients = gradients * weights[i, None]
    forces = np.zeros((n, 3))
    np.add.at(forces, i, gradients)
    np.add.at(forces, pairs.owners[j], -gradients)
    return np.where(weights[:n] != 0.0, energies, 0.0), forces


def test_agrees_with_the_site_energies(potential):
    arrays = sample(potential)
    energies, forces = potential.energy_forces(*arrays)
    expected, pulls = generic(potential, *arrays)
    assert np.abs(pulls).max() > 0.1
    np.testing.assert_allclose(energies, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_allclose(forces, pulls, rtol=0, atol=1e-12 * np.abs(pulls).max())
    assert np.abs(forces.sum(axis=0)).max() < 1e-12 * np.abs(forces).sum()


def test_forces_are_the_gradient_of_the_energy(potential):
    """With the step swept: the error falls with its square, then rises with round-off."""
    y, types, weights, pairs = sample(potential, n=24)
    rng = np.random.default_rng(1)
    direction = rng.normal(size=(pairs.n_sites, 3))
    move = direction[pairs.owners]
    slope = -np.sum(potential.energy_forces(y, types, weights, pairs)[1] * direction)

    def energy(h):
        each = potential.energy_forces(y + h * move, types, weights, pairs)[0]
        return weights[: pairs.n_sites] @ each

    steps = 10.0 ** np.arange(-2, -8, -1.0)
    errors = [abs((energy(h) - energy(-h)) / (2 * h) - slope) for h in steps]
    assert min(errors) < 1e-7 * np.abs(slope)
    assert min(errors) < 1e-3 * errors[0]


def test_rows_of_sites_without_weight_may_be_empty(potential):
    y, types, weights, pairs = sample(potential)
    keep = np.repeat(weights[: pairs.n_sites] != 0.0, np.diff(pairs.start))
    counts = np.where(weights[: pairs.n_sites] != 0.0, np.diff(pairs.start), 0)
    fewer = Pairs(
        np.concatenate([[0], np.cumsum(counts)]), pairs.neighbours[keep], pairs.owners, half=False
    )
    assert len(fewer.neighbours) < len(pairs.neighbours)
    one = potential.energy_forces(y, types, weights, pairs)
    two = potential.energy_forces(y, types, weights, fewer)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_atom_among_its_own_images(potential):
    """A cell thinner than the cutoff: an atom is its own neighbour, many times."""
    cell = np.array([0.9, 1.0, 1.1]) * 0.8 * potential.cutoff
    x = np.array([[0.1, 0.2, 0.3], [0.4, 0.45, 0.6]]) * cell
    y, pairs = build(x, cell, potential.cutoff + 0.1, layers=2)
    assert (pairs.owners[pairs.neighbours[: pairs.start[1]]] == 0).any()
    types = (pairs.owners % len(potential.species)).astype(np.int64)
    weights = np.array([0.5, 1.0])[pairs.owners]
    energies, forces = potential.energy_forces(y, types, weights, pairs)
    expected, pulls = generic(potential, y, types, weights, pairs)
    np.testing.assert_allclose(energies, expected, rtol=1e-12)
    np.testing.assert_allclose(forces, pulls, rtol=0, atol=1e-12 * np.abs(pulls).max())


def test_the_same_bits_for_one_number_of_threads(potential):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one thread only")
    y, types, weights, pairs = sample(potential, n=200)
    before = numba.get_num_threads()
    found = {}
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            found[threads] = potential.energy_forces(y, types, weights, pairs)
            again = potential.energy_forces(y, types, weights, pairs)
            for a, b in zip(found[threads], again, strict=True):
                np.testing.assert_array_equal(a, b)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(found[1][0], found[2][0])
    scale = np.abs(found[1][1]).max()
    np.testing.assert_allclose(found[1][1], found[2][1], rtol=0, atol=1e-13 * scale)


# --- faults -----------------------------------------------------------------------------------


def dimer():
    y = np.array([[0.0, 0, 0], [0, 0, 2.0]])
    pairs = Pairs(
        np.array([0, 1, 2]), np.array([1, 0], np.int32), np.arange(2, dtype=np.int32), False
    )
    return [y, np.zeros(2, int), np.ones(2), pairs]


def test_half_list_is_refused(potential):
    arrays = dimer()
    arrays[3] = Pairs(np.array([0, 1, 1]), np.array([1], np.int32), arrays[3].owners, half=True)
    with pytest.raises(InputError, match="needs a full list"):
        potential.energy_forces(*arrays)


def test_coincident_atoms_name_the_pair(potential):
    arrays = dimer()
    arrays[0][1] = arrays[0][0]
    with pytest.raises(InputError, match="atoms 0 and 1 are at the same place"):
        potential.energy_forces(*arrays)


@pytest.mark.parametrize(
    ("which", "value", "error", "message"),
    [
        (0, np.array([[0.0, 0, 0], [0, np.nan, 2.0]]), InputError, "position of atom 1"),
        (0, np.zeros((2, 2)), InputError, "shape"),
        (0, np.zeros((3, 3)), InputError, "do not fit 3"),
        (1, np.array([0, 7]), UnknownSpeciesError, "atom 1 has type 7"),
        (1, np.zeros(3, int), InputError, "do not fit"),
        (2, np.array([np.inf, 1.0]), InputError, "weight of atom 0"),
    ],
)
def test_arrays_with_a_fault(potential, which, value, error, message):
    arrays = dimer()
    arrays[which] = value
    with pytest.raises(error, match=message):
        potential.energy_forces(*arrays)


@pytest.mark.parametrize(
    ("start", "neighbours", "owners", "message"),
    [
        ([0, 1, 3], [1, 0], [0, 1], "start must rise"),
        ([0, 2, 1], [1, 0], [0, 1], "start must rise"),
        ([0, 1, 2], [1, 2], [0, 1], "neighbour 2 is named"),
        ([0, 1, 2], [1, -1], [0, 1], "neighbour"),
        ([0, 1, 2], [1, 0], [0, 2], "owner 2 is named"),
        ([0, 1, 2], [1, 0], [0], "do not fit"),
        ([], [], [0, 1], "do not fit"),
    ],
)
def test_lists_with_a_fault(start, neighbours, owners, message):
    potential = stillinger1985()
    arrays = dimer()
    arrays[3] = Pairs(
        np.array(start, int), np.array(neighbours, np.int32), np.array(owners, np.int32), False
    )
    with pytest.raises(InputError, match=message):
        potential.energy_forces(*arrays)


def test_no_atoms_and_no_pairs(potential):
    none = np.empty(0, np.int32)
    energies, forces = potential.energy_forces(
        np.empty((0, 3)), np.empty(0, int), np.empty(0), Pairs(np.array([0]), none, none, False)
    )
    assert energies.shape == (0,)
    assert forces.shape == (0, 3)
    alone = Pairs(np.array([0, 0]), none, np.zeros(1, np.int32), False)
    energies, forces = potential.energy_forces(np.zeros((1, 3)), [0], [1.0], alone)
    assert energies == [0.0]
    assert (forces == 0.0).all()
