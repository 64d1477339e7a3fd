"""The fused kernel of pair potentials against bond gradients, and where formulas take over."""

import numpy as np
import pytest

from qc.errors import InputError
from qc.potentials import (
    Bonds,
    CentralPotential,
    Jet,
    LennardJones,
    Morse,
    PairFunction,
    Pairs,
    PairTable,
    ToyEAM,
)
from qc.potentials.pair import fit as pair_fit

pytestmark = pytest.mark.kernels


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


def sample(potential, seed=0, n=5, periodic=True, disorder=0.05):
    """Half pairs of a disordered crystal with images, by looking at everything."""
    rng = np.random.default_rng(seed)
    spacing = max(potential.cutoff / 2.2, 1.0)
    spacing = 1.0 if isinstance(potential, ToyEAM) else spacing
    grid = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    y = spacing * (grid + disorder * rng.normal(size=grid.shape))
    count, box = len(y), n * spacing
    reach = 1.05 * potential.cutoff
    owners, points = [np.arange(count)], [y]
    layers = int(np.ceil(reach / box)) if periodic else 0
    span = np.arange(-layers, layers + 1)
    for shift in np.stack(np.meshgrid(span, span, span, indexing="ij"), axis=-1).reshape(-1, 3):
        if not shift.any():
            continue
        moved = y + box * shift
        near = ((moved > -reach) & (moved < box + reach)).all(axis=1)
        owners.append(np.nonzero(near)[0])
        points.append(moved[near])
    owners, points = np.concatenate(owners), np.concatenate(points)
    gaps = np.linalg.norm(points[None] - points[:count, None], axis=2)
    sites, ends = np.nonzero(gaps < reach)
    # One of two owned atoms keeps the pair, at random; of a pair with an image half the copies.
    own = ends < count
    keep = own & ((sites < ends) ^ ((sites + ends) % 3 == 0)) & (sites != ends)
    shift = np.rint((points[ends] - y[owners[ends]]) / box)
    first = np.where(shift[:, 0] != 0, shift[:, 0], np.where(shift[:, 1], shift[:, 1], shift[:, 2]))
    keep |= ~own & (first > 0)
    sites, ends = sites[keep], ends[keep]
    pairs = Pairs(
        np.searchsorted(sites, np.arange(count + 1)).astype(np.int64),
        ends.astype(np.int32),
        owners.astype(np.int32),
        True,
    )
    types = rng.integers(len(potential.species), size=count)
    weights = rng.uniform(0.2, 1.0, count)
    weights[rng.permutation(count)[: count // 4]] = 0.0
    return points, types[owners], weights[owners], pairs


def generic(potential, points, types, weights, pairs):
    """The same from bond gradients of both directions of every pair."""
    n = pairs.n_sites
    i = np.repeat(np.arange(n), np.diff(pairs.start))
    j = pairs.owners[pairs.neighbours]
    vectors = points[pairs.neighbours] - points[i]
    order = np.argsort(np.concatenate([i, j]), kind="stable")
    sites, ends = np.concatenate([i, j])[order], np.concatenate([j, i])[order]
    bonds = Bonds(
        np.searchsorted(sites, np.arange(n + 1)).astype(np.int64),
        np.concatenate([vectors, -vectors])[order],
        types[:n],
        types[ends],
    )
    energies, gradients = potential.bond_gradients(bonds)
    pulls = weights[sites, None] * gradients
    forces = np.zeros((n, 3))
    np.add.at(forces, sites, pulls)
    np.add.at(forces, ends, -pulls)
    return np.where(weights[:n] != 0, energies, 0.0), forces


def assert_same(found, expected, bound=1e-12):
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() <= bound * max(np.abs(other).max(), 1e-300)


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


def test_tables_of_different_reach():
    """A pair whose table ends early feels nothing beyond."""
    tables = {}
    for pair, end, points in ((("A", "A"), 4.0, 60), (("B", "A"), 6.0, 75), (("B", "B"), 5.0, 41)):
        r = np.linspace(1.4, end, points)
        tables[pair] = PairFunction(r, np.exp(-r) * (r - end) ** 4)
    potential = PairTable(["A", "B"], tables)
    assert potential.cutoff == 6.0
    assert not potential._pieces.even
    arrays = sample(potential)
    assert_same(potential.energy_forces(*arrays), generic(potential, *arrays))
    r, one = np.array([4.5, 4.5, 4.5]), np.array([0, 0, 1])
    value = potential.pair(r, one, np.array([0, 1, 1])).value
    assert value[0] == 0.0
    assert (value[1:] > 0).all()


def test_too_near_is_an_error_that_says_how_near():
    r = np.linspace(2.0, 8.5, 60)
    potential = PairTable("Ar", {("Ar", "Ar"): PairFunction(r, (8.5 - r) ** 4)})
    points, types, weights, pairs = sample(potential, periodic=False)
    points[pairs.neighbours[pairs.start[40]]] = points[40] + [0.0, 1.5, 0.0]
    with pytest.raises(InputError, match=r"Ar-Ar at a distance of 1\.5 Angstrom, below .* 2$"):
        potential.energy_forces(points, types, weights, pairs)
