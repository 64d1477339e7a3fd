"""Pair lists of the fused kernels against the full lists, which are checked by brute force."""

import itertools
import math

import numpy as np
import pytest
from ase.build import bulk

from qc.atomistic.neighbours import neighbour_list
from qc.atomistic.pairs import PairList
from qc.errors import InputError

pytestmark = pytest.mark.kernels

CELLS = {
    "cube": np.eye(3) * 7.3,
    "sheared": np.array([[6.0, 0, 0], [4.5, 5.0, 0], [-2.0, 3.0, 7.0]]),
    "left-handed": np.array([[0, 6.0, 0], [6.5, 0, 0], [0, 0, 7.0]]),
    "thin": np.array([[9.0, 0, 0], [0, 8.0, 0], [0, 0, 2.86]]),
    "thin and sheared": np.array([[9.0, 0.5, 0], [4.0, 3.0, 0.3], [0.2, 0, 2.86]]),
}


def directed(found):
    """Return (i, j, rounded R) of every bond, both ways, in the caller's numbers, sorted."""
    pairs = found.pairs
    i = np.repeat(np.arange(pairs.n_sites), np.diff(pairs.start))
    j = pairs.neighbours
    r = found.positions[j] - found.positions[i]
    a, b = found.order[i], found.order[pairs.owners[j]]
    if pairs.half:
        a, b, r = np.concatenate([a, b]), np.concatenate([b, a]), np.concatenate([r, -r])
    return sorted(zip(a.tolist(), b.tolist(), *(np.round(r, 6) + 0.0).T.tolist(), strict=True))


def expected(y, reach, cell=None, pbc=False, rows=None):
    full = neighbour_list(y, reach, cell, pbc, rows)
    r = np.round(full.vectors(y), 6) + 0.0
    ends = full.sites.tolist(), full.neighbours.tolist()
    return sorted(zip(*ends, *r.T.tolist(), strict=True))


@pytest.mark.parametrize("kind", ["half", "full"])
@pytest.mark.parametrize("name", CELLS)
def test_any_cell(name, kind):
    cell = CELLS[name]
    for pbc in itertools.product((False, True), repeat=3):
        rng = np.random.default_rng(len(name))
        y = rng.uniform(-1.3, 1.7, (9, 3)) @ cell
        found = PairList(kind, 6.0, 0.5, cell, pbc)
        assert found.update(y)
        assert directed(found) == expected(y, 6.5, cell, pbc)
        # Atoms that were moved by periods, all at once, are where they were.
        assert not found.update(y + rng.integers(-3, 4, y.shape) * np.array(pbc) @ cell)
        assert directed(found) == expected(y, 6.5, cell, pbc)


@pytest.mark.parametrize("kind", ["half", "full"])
def test_no_pair_of_two_atoms_without_weight(kind):
    atoms = bulk("Cu", cubic=True) * (3, 2, 2)
    atoms.rattle(0.1, seed=1)
    weighted = np.random.default_rng(3).random(len(atoms)) < 0.3
    found = PairList(kind, 4.5, 0.4, atoms.cell[:], True, weighted)
    found.update(atoms.positions)
    every = expected(atoms.positions, 4.9, atoms.cell[:], True)
    wanted = [b for b in every if weighted[b[0]] or (kind == "half" and weighted[b[1]])]
    assert directed(found) == wanted
    assert len(wanted) < len(every)


@pytest.mark.parametrize("kind", ["half", "full"])
def test_atoms_very_far_apart_need_no_memory(kind):
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.uniform(0, 6, (12, 3)), rng.uniform(0, 6, (12, 3)) + 1e9])
    y = np.append(y, [[1e12, -1e12, 0]], axis=0)
    found = PairList(kind, 3.0, 0.2)
    found.update(y)
    i = np.repeat(np.arange(len(y)), np.diff(found.pairs.start))
    full = neighbour_list(y, 3.2)
    assert len(i) == len(full.neighbours) // (2 if kind == "half" else 1)
    assert len(i) > 10


def test_no_atom_and_one_atom():
    for cell, pbc in ((None, False), (np.eye(3) * 3, True)):
        found = PairList("half", 3.0, 0.1, cell, pbc)
        assert found.update(np.empty((0, 3)))
        assert found.pairs.n_sites == 0
        assert found.update(np.full((1, 3), 7.7))
        assert len(found.pairs.neighbours) == (3 if pbc else 0)


def test_rows_are_repeatable_whatever_was_there_before():
    atoms = bulk("Cu", cubic=True) * (4, 4, 4)
    fresh, used = (PairList("half", 4.0, 0.5, atoms.cell[:], True) for _ in range(2))
    used.update(atoms.positions[::-1] * 1.01)
    used.update(atoms.positions)
    fresh.update(atoms.positions)
    np.testing.assert_array_equal(fresh.pairs.start, used.pairs.start)
    np.testing.assert_array_equal(fresh.pairs.neighbours, used.pairs.neighbours)
    np.testing.assert_array_equal(fresh.order, used.order)


class TestSkin:
    cell = np.eye(3) * 9.0

    @pytest.fixture
    def y(self):
        return bulk("Cu", cubic=True, a=3.0).repeat(3).positions

    def test_it_is_rebuilt_only_past_half_the_skin(self, y):
        found = PairList("half", 4.0, 0.4, self.cell, True)
        assert found.update(y)
        y[5] += [0.19, 0, 0]
        assert not found.update(y)
        assert found.positions[np.nonzero(found.order == 5)[0][0]] == pytest.approx(y[5])
        y[5] += [0.02, 0, 0]
        assert found.update(y)
        assert found.rebuilds == 2

    @pytest.mark.parametrize("kind", ["half", "full"])
    def test_a_fast_mover_among_atoms_that_are_wrapped(self, y, kind):
        """One atom crosses the cell, all drift and are wrapped back: never a bond missing."""
        rng = np.random.default_rng(4)
        found = PairList(kind, 4.0, 0.5, self.cell, True)
        rebuilt, jumps = [], 0
        for _ in range(40):
            y = y + rng.uniform(-0.02, 0.03, y.shape)
            y[7] += [0.4, 0.3, -0.35]
            wrapped = y % 9.0
            jumps += int((np.abs(wrapped - y) > 1).any())
            y = wrapped
            rebuilt.append(found.update(y))
            short = [b for b in directed(found) if math.hypot(*b[2:]) <= 4.0]
            fresh = expected(y, 4.0, self.cell, True)
            if rebuilt[-1]:
                assert directed(found) == expected(y, 4.5, self.cell, True)
            assert [b[:2] for b in short] == [b[:2] for b in fresh]
            np.testing.assert_allclose([b[2:] for b in short], [b[2:] for b in fresh], atol=2e-6)
        assert jumps > 20
        assert 20 < sum(rebuilt) < 41

    def test_wrapping_alone_costs_no_rebuild(self, y):
        found = PairList("half", 4.0, 0.5, self.cell, True)
        for _ in range(20):
            y = (y + 0.007) % 9.0
            found.update(y)
        assert found.rebuilds == 1

    def test_a_jump_that_is_no_period_rebuilds(self, y):
        found = PairList("half", 4.0, 0.5, self.cell, (True, True, False))
        found.update(y)
        y[3] += [9.0, 0, 0]
        assert not found.update(y)
        y[3] += [0, 0, 9.0]
        assert found.update(y)

    def test_a_new_cell_or_number_of_atoms_rebuilds(self, y):
        found = PairList("half", 4.0, 0.5, self.cell, True)
        found.update(y)
        assert found.update(y, self.cell * 1.01)
        assert not found.update(y, self.cell * 1.01)
        assert found.update(y, self.cell * 1.01, (True, True, False))
        assert found.update(y[:-1])
        assert not found.update(y[:-1])

    def test_bad_positions_are_named_and_leave_it_usable(self, y):
        found = PairList("half", 4.0, 0.5, self.cell, True)
        found.update(y)
        for bad in (np.nan, np.inf):
            broken = y.copy()
            broken[1, 2] = bad
            with pytest.raises(InputError, match="atom 1"):
                found.update(broken)
        assert found.update(y)
        assert directed(found) == expected(y, 4.5, self.cell, True)

    def test_the_caller_may_move_the_array_it_handed_in(self, y):
        found = PairList("half", 4.0, 0.4, self.cell, True)
        found.update(y)
        y += 0.3
        assert found.update(y)


@pytest.mark.parametrize("kind", ["half", "full"])
@pytest.mark.parametrize(
    ("second", "pbc"), [((0.0, 0, 0), False), ((5.0, 0, 0), True), ((5.0, -10.0, 5.0), True)]
)
def test_coincident_atoms_are_named(second, pbc, kind):
    y = np.array([[2.0, 2, 2], [0.0, 0, 0], [3.0, 1, 2], second])
    with pytest.raises(InputError, match="atoms 1 and 3 coincide"):
        PairList(kind, 3.0, 0.1, np.eye(3) * 5, pbc).update(y)


def test_absurd_sizes_are_refused_before_memory_is_taken():
    with pytest.raises(InputError, match="too thin"):
        PairList("half", 6.0, 0.1, np.eye(3) * 1e-3, True).update(np.zeros((1, 3)))
    dense = np.random.default_rng(0).uniform(0, 1, (400_000, 3))
    with pytest.raises(InputError, match="too many"):
        PairList("half", 6.0, 0.1).update(dense)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cutoff": 0.0}, "cutoff"),
        ({"cutoff": np.nan}, "cutoff"),
        ({"skin": -0.1}, "skin"),
        ({"kind": "none"}, "half or full"),
        ({"cell": np.zeros((3, 3)), "pbc": True}, "singular"),
    ],
)
def test_impossible_arguments_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        PairList(**{"kind": "half", "cutoff": 3.0, "skin": 0.3, **changes})


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="weights"):
        PairList("half", 3.0, weighted=np.ones(3, dtype=bool)).update(np.eye(4)[:, :3])
