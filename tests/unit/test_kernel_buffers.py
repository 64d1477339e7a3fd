"""Kernels that write into buffers of a given size: none writes past the end of one.

Arrays lie between canaries here. Bounds checking by numba does not see what the kernels write
through pointers of their own, eight numbers at a time, nor what a thread but the first does.
"""

import itertools

import numba
import numpy as np
import pytest

from qc.atomistic import pair_kernels, pairs
from qc.atomistic.neighbours import neighbour_list
from qc.atomistic.pairs import PairList
from qc.crystal import diamond, fcc, hcp
from qc.numerics.jit import kernel
from qc.potentials import (
    LennardJones,
    Morse,
    PairFunction,
    Pairs,
    PairTable,
    pair_checks,
    stillinger1985,
    tersoff1989,
    zhou2004,
)
from qc.potentials.eam import eam
from qc.potentials.pair import fit as pair_fit
from qc.potentials.threebody import common as manybody

pytestmark = pytest.mark.kernels

#: Numbers on either side of a guarded array, and their bytes.
MARGIN, CANARY = 4096, 0xA5


class Guard:
    """Hands out arrays that lie between canaries, filled with canaries themselves."""

    def __init__(self):
        self.given = []

    def empty(self, shape, dtype=float, order="C"):
        size = int(np.prod(shape))
        raw = np.frombuffer(
            bytearray([CANARY]) * ((size + 2 * MARGIN) * np.dtype(dtype).itemsize), dtype
        )
        self.given.append((raw, size))
        return raw[MARGIN : MARGIN + size].reshape(shape, order=order)

    def untouched(self):
        """Whether every canary outside is what it was."""
        return all(
            clean(raw[:MARGIN]) and clean(raw[MARGIN + size :]) for raw, size in self.given
        )


def clean(array):
    """Whether nobody has written to an array of a guard."""
    return bool((np.ascontiguousarray(array).view(np.uint8) == CANARY).all())


@pytest.fixture
def guard(monkeypatch):
    """Guard all that numpy gives out, and scratch to its last number; check at the end."""
    found = Guard()

    def zeros(shape, dtype=float, order="C"):
        out = found.empty(shape, dtype, order)
        out[...] = 0
        return out

    monkeypatch.setattr(np, "empty", found.empty)
    monkeypatch.setattr(np, "zeros", zeros)
    monkeypatch.setattr(pair_checks.Scratch, "floats", lambda _, name, *shape: found.empty(shape))
    monkeypatch.setattr(
        pair_checks.Scratch, "ints", lambda _, name, size: found.empty(size, np.int32)
    )
    yield found
    assert found.given
    assert found.untouched()


@pytest.fixture
def threads(monkeypatch):
    """Set how many parts work is cut into, whatever the number of threads that do it."""

    def cut(parts):
        monkeypatch.setattr(numba, "get_num_threads", lambda: parts)
        monkeypatch.setattr(pairs, "SMALLEST_SHARE", 1)
        monkeypatch.setattr(pair_checks, "SMALLEST_SHARE", 1)
        monkeypatch.setattr(manybody, "MINIMUM_SHARE", 1)

    return cut


def test_canaries_see_a_write_too_far():
    """Negative control."""
    for place in (-1, 10):
        found = Guard()
        found.empty(10)
        assert found.untouched()
        found.given[0][0][MARGIN + place] = 0.0
        assert not found.untouched()


@kernel()
def _beyond(x, k):
    x[k] = 1.0


@pytest.mark.skipif(not numba.config.BOUNDSCHECK, reason="needs NUMBA_BOUNDSCHECK=1")
def test_bounds_are_checked():
    """Negative control of a run with bounds checks, which a cache made without would pass."""
    with pytest.raises(IndexError):
        _beyond(np.zeros(100)[:4], 4)


# -- rows of a neighbour list -----------------------------------------------------------------


def clusters(more, kind, monkeypatch):
    """Arguments of `fill` for three clusters of 15 atoms, far apart; one has more pairs."""
    rng = np.random.default_rng(2)
    one = rng.uniform(0, 4.0, (15, 3))
    y = np.concatenate([one + np.array([40.0 * k, 0, 0]) for k in range(3)])
    y[15 * more : 15 * (more + 1)] = 0.93 * one + [40.0 * more, 0, 0]
    seen = []
    with monkeypatch.context() as patch:
        fill = pair_kernels.fill
        patch.setattr(pair_kernels, "fill", lambda *args: (seen.append(args), fill(*args)))
        patch.setattr(numba, "get_num_threads", lambda: 1)
        found = PairList(kind, 3.0, 0.0)
        found.update(y)
    return list(seen[-1]), found.pairs


def filled(args, parts, capacity):
    """Run `fill` with that many parts and entries; return counts, start, neighbours, the guard."""
    guard = Guard()
    n, row, runs = len(args[17]) - 1, args[15], args[14]
    new = {
        0: parts,
        13: np.zeros(parts, np.int64),
        14: np.tile(runs[:1], (parts, 1)),
        15: np.tile(row[:1], (parts, 1)),
        16: np.zeros(parts, np.int64),
        17: guard.empty(n + 1, np.int64),
        18: guard.empty(capacity, np.int32),
    }
    pair_kernels.fill(*[new.get(k, value) for k, value in enumerate(args)])
    return new[16], new[17], new[18], guard


@pytest.mark.parametrize("kind", ["half", "full"])
@pytest.mark.parametrize("more", [0, 1, 2])
def test_a_part_that_does_not_fit_moves_nothing(more, kind, monkeypatch):
    """One part alone is too long: counts tell, and no entry is written beyond the end."""
    args, expected = clusters(more, kind, monkeypatch)
    counts, start, neighbours, guard = filled(args, 3, 3 * len(expected.neighbours))
    assert counts.sum() == len(expected.neighbours)
    assert counts.argmax() == more
    assert np.sort(counts)[1] < counts.max()
    assert np.array_equal(start, expected.start)
    assert np.array_equal(neighbours[: counts.sum()], expected.neighbours)
    share = int(counts.max())
    for short in (1, share // 2, share):
        again, _, neighbours, guard = filled(args, 3, 3 * (share - short))
        assert np.array_equal(again, counts)
        assert guard.untouched()
        parts = neighbours.reshape(3, share - short)
        for part, count in zip(parts, counts, strict=True):
            assert count > len(part) or clean(part[count:])
    again, start, neighbours, guard = filled(args, 3, 3 * share)
    assert np.array_equal(start, expected.start)
    assert np.array_equal(neighbours[: again.sum()], expected.neighbours)
    assert guard.untouched()


@pytest.mark.parametrize("kind", ["half", "full"])
@pytest.mark.parametrize("side", [0, 1])
def test_a_list_that_outgrows_its_buffer(kind, side, threads, monkeypatch):
    """One half of 1,152 atoms is disturbed after the buffer was sized, by two threads if any."""
    fill, guard = pair_kernels.fill, Guard()

    def guarded(*args):
        neighbours = args[-1]
        copy = guard.empty(len(neighbours), np.int32)
        fill(*args[:-1], copy)
        neighbours[:] = copy

    rng = np.random.default_rng(0)
    cube = fcc("Cu", 3.615)
    spans = [range(-24, 24), range(-4, 4), range(-3, 3)]
    sites = np.array([s for s in itertools.product(*spans) if sum(s) % 2 == 0])
    y = 0.5 * cube.a * sites
    assert len(y) == 1152
    threads(2)
    monkeypatch.setattr(pair_kernels, "fill", guarded)
    # The fifth shell is just beyond the reach.
    found = PairList(kind, 5.3, 0.4)
    found.update(y)
    calls = len(guard.given)
    half = (sites[:, 0] < 0) == bool(side)
    y[half] += 0.15 * rng.normal(size=(half.sum(), 3))
    found.update(y)
    assert len(guard.given) == calls + 2
    assert guard.untouched()
    # The same pairs, by their lengths; a half list has each once.
    full = neighbour_list(y, 5.7)
    lengths = np.repeat(np.arange(len(y)), np.diff(found.pairs.start))
    r = found.positions[found.pairs.neighbours] - found.positions[lengths]
    expected = np.sort(np.linalg.norm(full.vectors(y), axis=1))
    copies = 2 if kind == "half" else 1
    assert np.allclose(np.sort(np.repeat(np.linalg.norm(r, axis=1), copies)), expected)


@pytest.mark.parametrize("half", [False, True])
def test_images_that_do_not_fit_are_counted(half):
    rng = np.random.default_rng(1)
    fractional, periodic = rng.random((5, 3)), np.array([True, False, True])
    low, high = np.full(3, -1.2), np.full(3, 2.2)
    found = pair_kernels.images(
        fractional, periodic, low, high, half, np.empty(0, np.int64), np.empty((0, 3))
    )
    assert found > 20
    for room in (0, 1, found - 1, found, found + 3):
        guard = Guard()
        owners, shifts = guard.empty(room, np.int64), guard.empty((room, 3))
        args = (fractional, periodic, low, high, half, owners, shifts)
        assert pair_kernels.images(*args) == found
        assert guard.untouched()
        assert clean(owners[found:])
        assert clean(shifts[found:])


# -- scratch of the fused kernels -----------------------------------------------------------------


def table():
    """Two species on uneven grids."""
    r = np.concatenate([np.linspace(0.05, 3.0, 40), np.linspace(3.1, 9.0, 25)])
    both = {pair: PairFunction(r, k * (9.0 - r) ** 4) for k, pair in enumerate(
        ((("A", "A")), ("A", "B"), ("B", "B")), 1)}  # fmt: skip
    return PairTable(["A", "B"], both)


FUSED = {
    "even, squared": lambda: LennardJones("Ar", 0.0104, 3.4, cutoff=9.0),
    "even": lambda: Morse("Cu", 0.343, 1.359, 2.866, cutoff=9.0),
    "uneven": table,
    "metal": lambda: zhou2004("Cu"),
    "alloy": lambda: zhou2004("Cu", "Ni"),
    "angles": stillinger1985,
    "bond order": lambda: tersoff1989("Si", "C"),
}


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("name", FUSED)
def test_scratch_is_enough_when_all_are_neighbours(name, parts, guard, threads):
    """Rows of every length up to twice eight and more, all of them inside the cutoff."""
    potential = FUSED[name]()
    threads(parts)
    half = potential.pair_list == "half"
    for n in (2, 9, 18, 20):
        rng = np.random.default_rng(n)
        y = 0.9 * potential.cutoff / np.sqrt(3.0) * rng.random((n, 3))
        ends = [np.arange(i + 1, n) if half else np.delete(np.arange(n), i) for i in range(n)]
        pairs = Pairs(
            np.concatenate([[0], np.cumsum([len(e) for e in ends])]).astype(np.int64),
            np.concatenate(ends).astype(np.int32), np.arange(n, dtype=np.int32), half,
        )  # fmt: skip
        types = rng.integers(len(potential.species), size=n)
        potential.energy_forces(y, types, np.ones(n), pairs)
        assert guard.untouched()


def test_a_row_longer_than_a_batch_of_the_pair_kernel(guard, threads):
    potential, n = FUSED["even, squared"](), 1031
    y = np.concatenate([[[0, 0, 0]], 4.0 + np.random.default_rng(1).random((n, 3))])
    pairs = Pairs(
        np.array([0, *[n] * (n + 1)]), np.arange(1, n + 1, dtype=np.int32),
        np.arange(n + 1, dtype=np.int32), True,
    )  # fmt: skip
    threads(2)
    potential.energy_forces(y, np.zeros(n + 1, int), np.ones(n + 1), pairs)


@pytest.mark.parametrize("name", ["metal", "alloy"])
def test_a_part_of_the_embedded_atom_kernel_keeps_to_its_places(name, guard, monkeypatch):
    """Of two parts, the second without rows, the first leaves the second's places alone."""
    potential, n = FUSED[name](), 20
    rng = np.random.default_rng(3)
    y = 3.0 * rng.random((n, 3))
    ends = [np.arange(i + 1, n) for i in range(n)]
    pairs = Pairs(
        np.concatenate([[0], np.cumsum([len(e) for e in ends])]).astype(np.int64),
        np.concatenate(ends).astype(np.int32), np.arange(n, dtype=np.int32), True,
    )  # fmt: skip
    monkeypatch.setattr(eam, "shares", lambda start, threads: np.array([0, n, n]))
    taken = {}
    for kind in ("floats", "ints"):
        give = getattr(pair_checks.Scratch, kind)

        def keep(self, name, *shape, give=give):
            taken[name] = give(self, name, *shape)
            return taken[name]

        monkeypatch.setattr(pair_checks.Scratch, kind, keep)
    potential.energy_forces(y, np.arange(n) % len(potential.species), np.ones(n), pairs)
    first = len(pairs.neighbours) + eam.eam_pair_kernels.LANES
    assert clean(taken["partner"][first:])
    for row in taken["slopes"]:
        assert clean(row[first:])
        assert not clean(row[: len(pairs.neighbours)])


def test_no_scratch_of_a_pair_kernel_is_shared_by_two_parts(monkeypatch, threads):
    """Parts have rows of their own: their number is the first axis of what they write to."""
    seen = []
    run = pair_fit.pair_kernels.energy_forces
    monkeypatch.setattr(
        pair_fit.pair_kernels, "energy_forces", lambda *args: (seen.append(args), run(*args))
    )
    threads(3)
    potential, n = FUSED["even"](), 9
    pairs = Pairs(
        np.arange(n + 1).clip(max=n - 1), np.arange(1, n, dtype=np.int32),
        np.arange(n, dtype=np.int32), True,
    )  # fmt: skip
    y = 2.5 * np.arange(3 * n).reshape(n, 3)
    potential.energy_forces(y, np.zeros(n, int), np.ones(n), pairs)
    assert [len(a) for a in seen[0][16:26]] == [3] * 10


# -- deformed stars and cells ---------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("n", [1, 63, 64, 65, 129])
def test_stars_in_every_size_of_batch(n, parts, guard, threads):
    potential = zhou2004("Cu")
    bonds = fcc("Cu", 3.615).star(6.5)
    f = np.eye(3) + 0.03 * np.random.default_rng(n).normal(size=(n, 3, 3))
    threads(parts)
    potential.deformed_star(f, bonds, 0, np.full(len(bonds), 0), True)


CELLS = {
    "embedded atom": lambda: (zhou2004("Mg"), hcp("Mg", 3.2, 5.2)),
    "angles": lambda: (stillinger1985(), diamond("Si", 5.431)),
}


@pytest.mark.parametrize("order", ["gradient", "shifts", "full"])
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("name", CELLS)
def test_cells_in_every_size_of_batch(name, parts, order, guard, threads):
    potential, crystal = CELLS[name]()
    stars = [crystal.star_sites(1.1 * potential.cutoff, s) for s in range(2)]
    bonds = (
        np.concatenate([v for v, _, _ in stars]),
        np.repeat(np.arange(2), [len(v) for v, _, _ in stars]),
        np.concatenate([t for _, _, t in stars]),
    )
    threads(parts)
    for n in (1, 65):
        rng = np.random.default_rng(n)
        f = np.eye(3) + 0.03 * rng.normal(size=(n, 3, 3))
        p = 0.05 * rng.normal(size=(n, 2, 3))
        p[:, 0] = 0.0
        potential.deformed_cell(f, p, *bonds, np.full(2, 0), order)
        assert guard.untouched()
