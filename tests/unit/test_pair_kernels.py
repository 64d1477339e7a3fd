"""The fused kernel of pair potentials against bond gradients, and where formulas take over."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from half_pairs import assert_same, generic, sample

from qc.errors import InputError
from qc.potentials import (
    CentralPotential,
    Jet,
    LennardJones,
    Morse,
    Pairs,
    ToyEAM,
    pair_fit,
)


class Buckingham(CentralPotential):
    """A user's pair potential, which knows nothing of kernels."""

    def __init__(self, cutoff=8.0, **options):
        super().__init__("Ar", cutoff, **options)

    def pair(self, r, s, t):
        x, y = 3000.0 * np.exp(-3.2 * r), 60.0 / r**6
        return Jet(x - y, -3.2 * x + 6 * y / r, 3.2**2 * x - 42 * y / r**2)

    def parameters(self):
        return ()


class Kinked(CentralPotential):
    """Linear on either side of 4.5 Angstrom, which no polynomial across it follows."""

    def __init__(self):
        super().__init__("Ar", 6.0)

    def pair(self, r, s, t):
        far = r > 4.5
        return Jet(np.where(far, 9.0 - 2.0 * r, 4.5 - r), np.where(far, -2.0, -1.0), 0.0 * r)

    def parameters(self):
        return ()


BINARY = {
    "epsilon": [[0.010, 0.012], [0.012, 0.014]],
    "sigma": [[3.4, 3.45], [3.45, 3.6]],
    "cutoff": 8.5,
}
POTENTIALS = {
    "lennard-jones": lambda: LennardJones("Ar", 0.0104, 3.4),
    "shifted": lambda: LennardJones("Ar", 0.0104, 3.4, truncation="shift_force"),
    "binary": lambda: LennardJones(["Ar", "Kr"], **BINARY),
    "morse": lambda: Morse("Cu", 0.343, 1.359, 2.866, cutoff=7.5),
    "short morse": lambda: Morse("Cu", 0.343, 1.359, 2.866, cutoff=4.2, switch=0.63),
    "user": Buckingham,
    "user shifted": lambda: Buckingham(truncation="shift_force"),
    "inert pair": lambda: LennardJones(["Ar", "Kr"], [[0.01, 0.0], [0.0, 0.01]], 3.4),
    "kinked": Kinked,
    "many-body": lambda: ToyEAM(cutoff=5.0, inner=4.2),
}


@pytest.mark.parametrize("name", POTENTIALS)
def test_kernel_agrees_with_bond_gradients(name):
    potential = POTENTIALS[name]()
    arrays = sample(potential)
    found = potential.energy_forces(*arrays)
    assert_same(found, generic(potential, *arrays))
    assert (found[0][arrays[2][: len(found[0])] == 0] == 0).all()
    # The reading of the whole that a list of pairs cannot get wrong: no net force.
    assert np.abs(found[1].sum(axis=0)).max() < 1e-12 * np.abs(found[1]).sum()


@pytest.mark.parametrize("name", POTENTIALS)
def test_who_gets_a_table(name):
    potential = POTENTIALS[name]()
    if name in ("kinked",):
        assert potential._pieces is None
    elif name != "many-body":
        assert potential._pieces.even
        assert len(potential._pieces.rows) < 20000


def test_table_is_missed_by_the_agreement_test():
    """Negative control: one coefficient off by a billionth shows."""
    potential = POTENTIALS["lennard-jones"]()
    arrays = sample(potential)
    expected = generic(potential, *arrays)
    potential._pieces.rows[:, 1] *= 1 + 1e-9
    with pytest.raises(AssertionError):
        assert_same(potential.energy_forces(*arrays), expected)


def test_forces_are_the_gradient_of_the_weighted_energy():
    potential = POTENTIALS["binary"]()
    points, types, weights, pairs = sample(potential)
    direction = np.random.default_rng(5).normal(size=(pairs.n_sites, 3))[pairs.owners]
    forces = potential.energy_forces(points, types, weights, pairs)[1]
    slope = -np.sum(forces * direction[: pairs.n_sites])
    errors = []
    for h in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        up, down = (
            np.dot(
                weights[: pairs.n_sites],
                potential.energy_forces(points + k * direction, types, weights, pairs)[0],
            )
            for k in (h, -h)
        )
        errors.append(abs((up - down) / (2 * h) - slope) / abs(slope))
    assert min(errors) < 1e-8
    assert min(errors) < 1e-3 * errors[0]


@pytest.mark.parametrize("parts", [2, 5])
@pytest.mark.parametrize("name", ["lennard-jones", "binary"])
def test_shares_of_the_work(name, parts, monkeypatch):
    """Other shares sum in another order; the same shares give the same bits."""
    potential = POTENTIALS[name]()
    arrays = sample(potential)
    one = potential.energy_forces(*arrays)
    n = arrays[3].n_sites
    cuts = np.linspace(0, n, parts + 1).astype(np.int64)
    monkeypatch.setattr(pair_fit, "shares", lambda start, threads: cuts)
    many, again = potential.energy_forces(*arrays), potential.energy_forces(*arrays)
    assert_same(many, one, 1e-13)
    for a, b in zip(many, again, strict=True):
        assert np.array_equal(a, b)


def test_rows_longer_than_a_batch(monkeypatch):
    potential = LennardJones("Ar", 0.0104, 1.0, cutoff=30.0)
    rng = np.random.default_rng(2)
    n = 1300
    points = np.concatenate([[[0.0, 0.0, 0.0]], rng.normal(size=(n, 3)) * 6 + [15.0, 0, 0]])
    pairs = Pairs(
        np.array([0, *[n] * (n + 1)]), np.arange(1, n + 1, dtype=np.int32),
        np.arange(n + 1, dtype=np.int32), True,
    )  # fmt: skip
    arrays = (points, np.zeros(n + 1, int), np.ones(n + 1), pairs)
    assert_same(potential.energy_forces(*arrays), generic(potential, *arrays))


@pytest.mark.parametrize("gap", [0.5, 2.0, 2.379, 2.381])
def test_atoms_nearer_than_the_table(gap):
    """0.28 of the cutoff is 2.38: nearer pairs go by the formula, and nothing jumps."""
    potential = POTENTIALS["lennard-jones"]()
    points, types, weights, pairs = sample(potential, periodic=False)
    b = int(pairs.start[40])
    points[pairs.neighbours[b]] = points[40] + [0.0, gap, 0.0]
    arrays = (points, types, np.ones_like(weights), pairs)
    assert_same(potential.energy_forces(*arrays), generic(potential, *arrays))


def test_coincident_atoms_are_named():
    potential = POTENTIALS["morse"]()
    points, types, weights, pairs = sample(potential, periodic=False)
    j = int(pairs.neighbours[pairs.start[7]])
    points[j] = points[7]
    with pytest.raises(InputError, match=f"atoms 7 and {j} are at the same place"):
        potential.energy_forces(points, types, weights, pairs)


@pytest.mark.parametrize(
    ("which", "value", "message"),
    [(0, np.nan, "position of atom 3 is not finite"), (2, np.inf, "weight of atom 3")],
)
def test_values_that_are_not_finite(which, value, message):
    potential = POTENTIALS["lennard-jones"]()
    arrays = sample(potential)
    arrays[which][3] = value
    with pytest.raises(InputError, match=message):
        potential.energy_forces(*arrays)


def test_no_atoms_and_lonely_ones():
    potential = POTENTIALS["lennard-jones"]()
    for n in (0, 1, 3):
        pairs = Pairs(
            np.zeros(n + 1, np.int64), np.empty(0, np.int32), np.arange(n, dtype=np.int32), True
        )
        energies, forces = potential.energy_forces(
            20.0 * np.arange(3 * n).reshape(n, 3), np.zeros(n, int), np.ones(n), pairs
        )
        assert energies.tolist() == [0.0] * n
        assert (forces == 0).all()
        assert forces.shape == (n, 3)


def test_full_list_is_refused():
    potential = POTENTIALS["lennard-jones"]()
    points, types, weights, pairs = sample(potential)
    full = Pairs(pairs.start, pairs.neighbours, pairs.owners, False)
    with pytest.raises(InputError, match="takes a half list"):
        potential.energy_forces(points, types, weights, full)
