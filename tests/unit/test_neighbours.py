"""Neighbour lists against brute force and against matscipy."""

import itertools

import matscipy.neighbours
import numpy as np
import pytest
from ase.build import bulk
from ase.lattice.cubic import FaceCenteredCubic
from hypothesis import given
from hypothesis import strategies as st

from qc.atomistic.neighbours import VerletList, neighbour_list
from qc.errors import InputError
from qc.numerics.checks import MOST_POINTS


def brute_force(y, cutoff, cell, pbc, deep=5):
    """(i, j, rounded R) of every bond, image by image."""
    bonds = set()
    ranges = [range(-deep, deep + 1) if p else (0,) for p in pbc]
    for k in itertools.product(*ranges):
        shift = np.array(k) @ cell
        vectors = y[None, :, :] + shift - y[:, None, :]
        for i, j in np.argwhere((vectors**2).sum(-1) <= cutoff**2):
            if i != j or any(k):
                bonds.add((int(i), int(j), *np.round(vectors[i, j], 6) + 0.0))
    return bonds


def as_set(found, y):
    vectors = np.round(found.vectors(y), 6) + 0.0
    return {
        (int(i), int(j), *r) for i, j, r in zip(found.sites, found.neighbours, vectors, strict=True)
    }


def assert_symmetric(found, y):
    def key(i, j, r):
        return sorted(zip(i.tolist(), j.tolist(), *(r + 0.0).T.tolist(), strict=True))

    r = found.vectors(y)
    assert key(found.sites, found.neighbours, r) == key(found.neighbours, found.sites, -r)


def random_atoms(rng, n, cell):
    return rng.uniform(-1.3, 1.7, (n, 3)) @ cell


CELLS = {
    "cube": np.eye(3) * 7.3,
    "sheared": np.array([[6.0, 0, 0], [4.5, 5.0, 0], [-2.0, 3.0, 7.0]]),
    "left-handed": np.array([[0, 6.0, 0], [6.5, 0, 0], [0, 0, 7.0]]),
    "thin": np.array([[9.0, 0, 0], [0, 8.0, 0], [0, 0, 2.86]]),
    "thin and sheared": np.array([[9.0, 0.5, 0], [4.0, 3.0, 0.3], [0.2, 0, 2.86]]),
}


@pytest.mark.parametrize("pbc", list(itertools.product((False, True), repeat=3)))
@pytest.mark.parametrize("name", CELLS)
def test_against_brute_force(name, pbc):
    cell = CELLS[name]
    y = random_atoms(np.random.default_rng(len(name)), 7, cell)
    found = neighbour_list(y, 6.5, cell, pbc)
    assert as_set(found, y) == brute_force(y, 6.5, cell, pbc)
    assert_symmetric(found, y)
    assert len(found.neighbours) > 0


@given(
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.floats(0.5, 7.0),
)
def test_random_cells_against_matscipy(n, seed, pbc, cutoff):
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(3, 8, 3)) + rng.uniform(-1.5, 1.5, (3, 3))
    y = random_atoms(rng, n, cell)
    distances = np.sqrt(((y[:, None] - y[None]) ** 2).sum(-1))
    if n > 1 and distances[~np.eye(n, dtype=bool)].min() < 1e-3:
        return
    i, j, shift = matscipy.neighbours.neighbour_list(
        "ijS", positions=y, cell=cell, pbc=pbc, cutoff=cutoff
    )
    vectors = np.round(y[j] + shift @ cell - y[i], 6) + 0.0
    expected = {(int(a), int(b), *r) for a, b, r in zip(i, j, vectors, strict=True)}
    assert as_set(neighbour_list(y, cutoff, cell, pbc), y) == expected


@pytest.mark.parametrize("cutoff", [6.0, 7.0])
def test_a_period_of_one_burgers_vector(cutoff):
    """One fcc cell of columns along <110>, period 2.86 Angstrom, holds the bulk's bonds."""
    axes = [[1, 1, 0], [0, 0, 1], [1, -1, 0]]
    atoms = FaceCenteredCubic("Al", directions=axes, size=(3, 3, 1), latticeconstant=4.05)
    assert atoms.cell[2, 2] == pytest.approx(4.05 / np.sqrt(2))
    found = neighbour_list(atoms.positions, cutoff, atoms.cell[:], True)
    grid = np.array(list(itertools.product(range(-6, 7), repeat=3))) @ bulk("Al", a=4.05).cell[:]
    length = np.linalg.norm(grid, axis=1)
    expected = np.sort(length[(length > 0) & (length <= cutoff)])
    for i in range(len(atoms)):
        rows = slice(found.start[i], found.start[i + 1])
        got = np.linalg.norm(found.vectors(atoms.positions)[rows], axis=1)
        np.testing.assert_allclose(np.sort(got), expected, atol=1e-9)


def test_a_perfect_lattice_at_a_shell_radius_stays_symmetric():
    """Bonds exactly as long as the cutoff are all in or all out, row by row."""
    atoms = bulk("Cu", "fcc", 3.615, cubic=True) * (3, 3, 3)
    atoms.rotate(37, (1, 2, 3), rotate_cell=True)
    for cutoff in (3.615, 3.615 / np.sqrt(2), 3.615 * np.sqrt(1.5)):
        found = neighbour_list(atoms.positions, cutoff, atoms.cell[:], True)
        assert_symmetric(found, atoms.positions)


def test_wrapped_atoms_have_the_same_bonds_in_the_same_order():
    atoms = bulk("Cu", "fcc", 3.615, cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=3)
    moved = atoms.positions + np.random.default_rng(1).integers(-3, 4, (32, 3)) @ atoms.cell[:]
    one = neighbour_list(atoms.positions, 6.0, atoms.cell[:], True)
    two = neighbour_list(moved, 6.0, atoms.cell[:], True)
    np.testing.assert_array_equal(one.start, two.start)
    np.testing.assert_array_equal(one.neighbours, two.neighbours)
    np.testing.assert_allclose(one.vectors(atoms.positions), two.vectors(moved), atol=1e-10)


def test_the_cell_has_no_say_in_directions_that_are_not_periodic():
    y = np.random.default_rng(2).uniform(0, 6, (9, 3))
    cell = np.diag([5.0, 0.0, 0.0])
    long = np.diag([5.0, 1.0, 99.0])
    one = neighbour_list(y, 4.0, cell, (True, False, False))
    two = neighbour_list(y, 4.0, long, (True, False, False))
    assert as_set(one, y) == as_set(two, y) == brute_force(y, 4.0, long, (True, False, False))
    open_list = neighbour_list(y, 4.0)
    assert as_set(open_list, y) == brute_force(y, 4.0, np.eye(3), (False,) * 3)


def test_atoms_very_far_apart_need_no_memory():
    y = np.array([[0, 0, 0], [1.0, 0, 0], [1e9, -1e9, 1e9]])
    assert neighbour_list(y, 5.0).start.tolist() == [0, 1, 2, 2]
    periodic = neighbour_list(y, 5.0, np.eye(3) * 1e10, True)
    assert periodic.start.tolist() == [0, 1, 2, 2]


def test_rows_are_sorted_and_repeatable():
    atoms = bulk("Cu", cubic=True) * (2, 2, 1)
    one = neighbour_list(atoms.positions, 7.0, atoms.cell[:], True)
    for i in range(len(atoms)):
        row = one.neighbours[one.start[i] : one.start[i + 1]]
        assert np.all(np.diff(row) >= 0)
    two = neighbour_list(atoms.positions, 7.0, atoms.cell[:], True)
    np.testing.assert_array_equal(one.offsets, two.offsets)


def test_rows_can_be_left_out():
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    rows = np.zeros(len(atoms), dtype=bool)
    rows[[3, 17]] = True
    full = neighbour_list(atoms.positions, 5.0, atoms.cell[:], True)
    some = neighbour_list(atoms.positions, 5.0, atoms.cell[:], True, rows)
    assert set(some.sites) == {3, 17}
    for i in (3, 17):
        a, b = slice(*full.start[i : i + 2]), slice(*some.start[i : i + 2])
        np.testing.assert_array_equal(full.neighbours[a], some.neighbours[b])
        np.testing.assert_array_equal(full.offsets[a], some.offsets[b])
    none = neighbour_list(atoms.positions, 5.0, atoms.cell[:], True, ~rows & rows)
    assert none.n_sites == len(atoms)
    assert len(none.neighbours) == 0


def test_no_atom_and_one_atom():
    assert neighbour_list(np.empty((0, 3)), 5.0).n_sites == 0
    assert neighbour_list(np.empty((0, 3)), 5.0, np.eye(3), True).start.tolist() == [0]
    one = neighbour_list([[1e3, 0, 0]], 5.0)
    assert one.n_sites == 1
    assert len(one.neighbours) == 0
    simple_cubic = neighbour_list([[0.4, 0.1, -7]], 3.1, np.eye(3) * 3, True)
    assert simple_cubic.neighbours.tolist() == [0] * 6


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_coordinate_that_is_not_finite_names_the_atom(bad):
    y = np.random.default_rng(0).uniform(0, 5, (4, 3))
    y[2, 1] = bad
    with pytest.raises(InputError, match="atom 2"):
        neighbour_list(y, 3.0)
    cell = np.eye(3) * 5
    cell[0, 1] = bad
    with pytest.raises(InputError, match="cell is not finite"):
        neighbour_list(np.zeros((1, 3)), 3.0, cell, True)


@pytest.mark.parametrize(
    ("second", "pbc"), [((0.0, 0, 0), False), ((5.0, 0, 0), True), ((5.0, -10.0, 5.0), True)]
)
def test_coincident_atoms_are_named(second, pbc):
    y = np.array([[2.0, 2, 2], [0.0, 0, 0], [3.0, 1, 2], second])
    with pytest.raises(InputError, match="atoms 1 and 3 coincide"):
        neighbour_list(y, 3.0, np.eye(3) * 5, pbc)


def test_a_singular_cell_is_refused():
    y = np.zeros((1, 3))
    with pytest.raises(InputError, match="direction 2 is periodic but its vector has length 0"):
        neighbour_list(y, 3.0, np.diag([1.0, 1, 0]), True)
    with pytest.raises(InputError, match="not independent"):
        neighbour_list(y, 3.0, [[1, 0, 0], [0, 1, 0], [1, 1, 0]], True)
    with pytest.raises(InputError, match="periodic but its vector has length 0"):
        neighbour_list(y, 3.0, None, (False, True, False))


@pytest.mark.parametrize("cutoff", [0.0, -1.0, np.nan, np.inf])
def test_an_impossible_cutoff_is_refused(cutoff):
    with pytest.raises(InputError, match="cutoff"):
        neighbour_list(np.zeros((1, 3)), cutoff)


def test_a_hopelessly_thin_cell_is_refused_before_memory_is_taken():
    assert (2 * 6.0 / 1e-3) ** 3 > MOST_POINTS
    with pytest.raises(InputError, match="too thin"):
        neighbour_list(np.zeros((1, 3)), 6.0, np.eye(3) * 1e-3, True)


@pytest.mark.parametrize("shape", [(3,), (2, 2), (1, 3, 3)])
def test_a_wrong_shape_is_refused(shape):
    with pytest.raises(InputError, match="shape"):
        neighbour_list(np.zeros(shape), 3.0)


class TestVerletList:
    cell = np.eye(3) * 9.0

    @pytest.fixture
    def y(self):
        return bulk("Cu", cubic=True, a=3.0).repeat(3).positions

    def test_it_is_rebuilt_only_past_half_the_skin(self, y):
        verlet = VerletList(4.0, 0.4, self.cell, True)
        assert verlet.update(y)
        assert not verlet.update(y)
        y[5] += [0.19, 0, 0]
        assert not verlet.update(y)
        y[5] += [0.02, 0, 0]
        assert verlet.update(y)
        assert verlet.rebuilds == 2

    def test_the_caller_may_move_the_array_it_handed_in(self, y):
        verlet = VerletList(4.0, 0.4, self.cell, True)
        verlet.update(y)
        y += 1.0
        assert verlet.update(y)

    def test_it_holds_every_bond_of_a_random_walk(self, y):
        rng = np.random.default_rng(4)
        verlet = VerletList(4.0, 0.5, self.cell, True)
        rebuilt = []
        for _ in range(12):
            rebuilt.append(verlet.update(y))
            r = verlet.list.vectors(y)
            short = (r**2).sum(1) <= 16.0
            fresh = neighbour_list(y, 4.0, self.cell, True)
            np.testing.assert_array_equal(verlet.list.sites[short], fresh.sites)
            np.testing.assert_array_equal(verlet.list.neighbours[short], fresh.neighbours)
            y += rng.uniform(-0.06, 0.06, y.shape)
        assert 1 < sum(rebuilt) < 12

    def test_a_stale_list_would_be_noticed(self, y):
        """Negative control of the walk: without the rebuild, bonds go missing."""
        verlet = VerletList(4.0, 0.5, self.cell, True)
        verlet.update(y)
        stale = verlet.list
        y[0] += [1.0, 0.7, 0.2]
        r = stale.vectors(y)
        fresh = neighbour_list(y, 4.0, self.cell, True)
        assert ((r**2).sum(1) <= 16.0).sum() != len(fresh.neighbours)

    def test_a_new_cell_or_number_of_atoms_rebuilds(self, y):
        verlet = VerletList(4.0, 0.5, self.cell, True)
        verlet.update(y)
        assert verlet.update(y, self.cell * 1.01)
        assert not verlet.update(y, self.cell * 1.01)
        assert verlet.update(y, self.cell * 1.01, (True, True, False))
        assert verlet.update(y[:-1])

    def test_bad_positions_leave_it_usable(self, y):
        verlet = VerletList(4.0, 0.5, self.cell, True)
        verlet.update(y)
        with pytest.raises(InputError, match="atom 1"):
            verlet.update(np.where(np.arange(len(y))[:, None] == 1, np.nan, y))
        assert not verlet.update(y)

    def test_a_negative_skin_is_refused(self):
        with pytest.raises(InputError, match="skin"):
            VerletList(4.0, -0.1)
