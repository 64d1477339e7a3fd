"""Integer lattice arithmetic, site grids and bond lists against plain enumeration."""

import numpy as np
import pytest
from ase import Atoms
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from matscipy.neighbours import neighbour_list

from qc.crystal.bonds import bond_list, checked_structure, segment_sum, take_rows
from qc.crystal.lattice import (
    gauss_reduce,
    hermite_basis,
    lattice_points_in_ball,
    minkowski_transform,
    smith_normal_form,
)
from qc.crystal.recognition.images import image_jumps
from qc.crystal.recognition.sites import SiteGrid
from qc.errors import CrystalError

small_rows = st.lists(st.lists(st.integers(-6, 6), min_size=3, max_size=3), min_size=1, max_size=5)


def same_lattice(p, q):
    """Return whether the rows of two square integer matrices generate the same lattice."""
    t = np.linalg.solve(np.asarray(q, float).T, np.asarray(p, float).T).T
    return np.allclose(t, np.round(t), atol=1e-6) and abs(abs(np.linalg.det(t)) - 1) < 1e-6


@settings(max_examples=80, deadline=None)
@given(small_rows)
def test_hermite_basis_generates_the_rows(rows):
    rows = np.array(rows)
    assume(np.linalg.matrix_rank(rows) == 3)
    basis = hermite_basis(rows)
    coefficients = np.linalg.solve(basis.T.astype(float), rows.T.astype(float)).T
    assert np.allclose(coefficients, np.round(coefficients), atol=1e-7)
    # Its volume is the greatest common divisor of all 3 x 3 minors.
    n = len(rows)
    minors = [
        round(np.linalg.det(rows[[i, j, k]].astype(float)))
        for i in range(n)
        for j in range(i)
        for k in range(j)
    ]
    assert abs(round(np.linalg.det(basis.astype(float)))) == np.gcd.reduce(minors)


@settings(max_examples=80, deadline=None)
@given(small_rows.filter(lambda r: len(r) <= 3))
def test_smith_normal_form(rows):
    rows = np.array(rows)
    k = len(rows)
    assume(np.linalg.matrix_rank(rows) == k)
    d, v = smith_normal_form(rows)
    assert all(x > 0 for x in d)
    assert abs(round(np.linalg.det(v.astype(float)))) == 1
    image = rows @ v
    assert (image[:, k:] == 0).all()
    assert same_lattice(image[:, :k], np.diag(d))


@settings(max_examples=60, deadline=None)
@given(small_rows.filter(lambda r: len(r) <= 3), st.integers(0, 10**6))
def test_sites_are_equal_exactly_if_they_differ_by_periods(rows, seed):
    rows = np.array(rows)
    assume(np.linalg.matrix_rank(rows) == len(rows))
    rng = np.random.default_rng(seed)
    m = rng.integers(-8, 9, (30, 3))
    s = rng.integers(0, 2, 30)
    grid = SiteGrid(rows, 2, m)
    flat = grid.index(m, s)
    assert (flat >= 0).all()
    shifted = m + rng.integers(-3, 4, (30, len(rows))) @ rows
    assert (grid.index(shifted, s) == flat).all()
    back_m, back_s = grid.sites(flat)
    assert (back_s == s).all()
    assert (grid.index(back_m, back_s) == flat).all()
    # Distinct modulo the periods means distinct indices.
    for i in range(10):
        for j in range(i):
            c, *_ = np.linalg.lstsq(rows.T.astype(float), (m[i] - m[j]).astype(float))
            equivalent = np.allclose(rows.T @ np.round(c), m[i] - m[j]) and s[i] == s[j]
            assert (flat[i] == flat[j]) == equivalent


def test_a_grid_without_periods_ends_somewhere():
    grid = SiteGrid(np.zeros((0, 3), dtype=int), 1, np.array([[0, 0, 0], [2, 3, 4]]))
    assert grid.n_sites == 5 * 6 * 7
    assert grid.index(np.array([[-2, 0, 0], [0, 5, 0], [1, 1, 1]]))[:2].tolist() == [-1, -1]
    with pytest.raises(CrystalError, match="lattice sites"):
        SiteGrid(np.zeros((0, 3), dtype=int), 1, np.array([[0, 0, 0], [10**4, 10**4, 10**4]]))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6))
def test_minkowski_reduction_finds_the_shortest_vectors(seed):
    rng = np.random.default_rng(seed)
    cell = rng.normal(size=(3, 3))
    assume(abs(np.linalg.det(cell)) > 0.05)
    mixed = np.array([[1, 3, -2], [0, 1, 4], [0, 0, 1]]) @ cell
    t = minkowski_transform(mixed)
    assert round(np.linalg.det(t.astype(float))) == 1
    reduced = t @ mixed
    steps = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    lengths = np.sort(np.linalg.norm(steps @ reduced, axis=1))
    ordered = np.sort(np.linalg.norm(reduced, axis=1))
    assert ordered[0] == pytest.approx(lengths[1])
    # No vector can be shortened by the others.
    around = np.stack(np.meshgrid(*[[-1, 0, 1]] * 2, indexing="ij"), -1).reshape(-1, 2)
    for k in range(3):
        others = np.delete(reduced, k, axis=0)
        trial = np.linalg.norm(reduced[k] + around @ others, axis=1)
        if np.linalg.norm(reduced[k]) >= ordered[2] - 1e-12:
            assert trial.min() >= np.linalg.norm(reduced[k]) - 1e-9


def test_gauss_reduction():
    t = gauss_reduce(np.array([1.0, 0.0]), np.array([7.3, 0.9]))
    reduced = t @ np.array([[1.0, 0.0], [7.3, 0.9]])
    assert np.linalg.norm(reduced, axis=1) == pytest.approx([np.hypot(0.3, 0.9), 1.0])


def test_lattice_points_in_a_ball():
    rng = np.random.default_rng(0)
    cell = rng.normal(size=(3, 3)) + 2 * np.eye(3)
    centre = rng.normal(size=3)
    grid = np.stack(np.meshgrid(*[np.arange(-12, 13)] * 3, indexing="ij"), -1).reshape(-1, 3)
    expected = grid[np.linalg.norm(grid @ cell - centre, axis=1) <= 4.0]
    assert lattice_points_in_ball(cell, 4.0, centre).tolist() == expected.tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_bonds_agree_with_matscipy(seed, pbc):
    rng = np.random.default_rng(seed)
    cell = rng.normal(size=(3, 3)) * 3
    assume(abs(np.linalg.det(cell)) > 8)
    positions = rng.normal(size=(6, 3)) * 6
    bonds = bond_list(checked_structure(Atoms("Al6", positions, cell=cell, pbc=pbc)), 4.0)
    i, j, S, D = neighbour_list(
        "ijSD", cutoff=4.0, positions=positions, cell=cell, pbc=np.array(pbc)
    )
    ours = sorted(zip(bonds.sites, bonds.neighbours, *bonds.shifts.T, strict=True))
    theirs = sorted(zip(i, j, *S.T, strict=True))
    assert ours == theirs
    assert np.sort(np.linalg.norm(bonds.vectors, axis=1)) == pytest.approx(
        np.sort(np.linalg.norm(D, axis=1))
    )


def test_far_outliers_do_not_cost_memory():
    positions = [[0, 0, 0], [2, 0, 0], [1e6, 0, 0]]
    bonds = bond_list(checked_structure(Atoms("Al3", positions)), 3.0)
    assert bonds.neighbours.tolist() == [1, 0]


def test_crowded_atoms_are_refused():
    rng = np.random.default_rng(0)
    atoms = Atoms("Al5000", rng.uniform(0, 1, (5000, 3)))
    with pytest.raises(CrystalError, match="within a box"):
        bond_list(checked_structure(atoms), 3.0)
    atoms = Atoms("Al", cell=np.eye(3) * 0.1, pbc=True)
    with pytest.raises(CrystalError, match="overlap"):
        bond_list(checked_structure(atoms), 3.0)


def test_segments_with_empty_rows():
    start = np.array([0, 0, 2, 2, 3, 3])
    values = np.array([[1.0], [2.0], [5.0]])
    assert segment_sum(values, start).ravel().tolist() == [0, 3, 0, 5, 0]
    new, bonds = take_rows(start, np.array([3, 1, 0]))
    assert new.tolist() == [0, 1, 3, 3]
    assert bonds.tolist() == [2, 0, 1]


@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_image_jumps_bring_points_near(k):
    rng = np.random.default_rng(k)
    cell = (np.array([[5.0, 0, 0], [14.0, 5, 0], [-9.0, 2, 6]]))[:k]
    d = rng.uniform(-40, 40, (200, 3))
    near = d - image_jumps(d, cell) @ cell
    for step in np.eye(k, dtype=int):
        # No single period brings a point much nearer than the reduced cell allows.
        for sign in (-1, 1):
            moved = np.linalg.norm(near + sign * step @ cell, axis=1)
            assert (np.linalg.norm(near, axis=1) <= moved + 5.0).all()
    if k == 3:
        assert np.linalg.norm(near, axis=1).max() < 8
