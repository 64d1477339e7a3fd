"""Crystals: geometry, Miller orientation, columns, stars, ASE cells."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from qc.crystal import Crystal, bcc, diamond, fcc, from_ase, hcp, triangular
from qc.errors import CrystalError

TRIADS = [
    {"x": [1, 1, 0], "y": [0, 0, 1], "z": [1, -1, 0]},
    {"x": [1, 1, -2], "y": [1, 1, 1], "z": [1, -1, 0]},
    {"x": [1, 1, 1], "z": [1, 1, -2]},
    {"y": [7, -3, 0], "z": [3, 7, 11]},
    {"x": [2, -1, 0], "y": [1, 2, 0]},
    {},
]


def is_unimodular(t):
    return np.allclose(t, np.round(t), atol=1e-7) and round(np.linalg.det(t)) == 1


@pytest.mark.parametrize("triad", TRIADS)
@pytest.mark.parametrize("make", [fcc, bcc, diamond])
def test_miller_directions_lie_along_the_axes(make, triad):
    crystal = make("Si", 5.0, **triad)
    for axis, direction in triad.items():
        v = crystal.vector(direction)
        k = "xyz".index(axis)
        assert v[k] > 0
        assert np.delete(v, k) == pytest.approx([0, 0], abs=1e-9)
    assert np.linalg.det(crystal.rotation) == pytest.approx(1)


@pytest.mark.parametrize("triad", TRIADS)
@pytest.mark.parametrize("make", [fcc, bcc, diamond])
def test_columns_are_a_unimodular_basis_with_the_shortest_period(make, triad):
    crystal = make("Si", 5.0, **triad)
    columns = crystal.as_columns()
    assert columns.mode == "columns"
    assert columns.dim == 2
    assert is_unimodular(columns.cell @ crystal.inverse_cell)
    assert columns.cell[2, :2] == pytest.approx([0, 0], abs=1e-12)
    # The shortest lattice vector along z, from all lattice vectors up to that length.
    star = crystal.star(columns.cell[2, 2] + 0.01) if columns.cell[2, 2] < 20 else np.zeros((0, 3))
    lattice = replace(crystal, basis=np.zeros((1, 3)), symbols=("Si",), name="bravais")
    star = lattice.star(columns.cell[2, 2] + 0.01) if columns.cell[2, 2] < 20 else star
    along = star[(np.abs(star[:, :2]).max(axis=1) < 1e-6) & (star[:, 2] > 0)]
    if len(star):
        assert along[:, 2].min() == pytest.approx(columns.cell[2, 2])
    # The in-plane cell is compact: no lattice column is nearer than the reduced vectors allow.
    plane = columns.cell[:2, :2]
    area = abs(np.linalg.det(plane))
    assert np.prod(np.linalg.norm(plane, axis=1)) < 2.5 * area


def test_lomer_orientation_gives_the_textbook_columns():
    a = 4.05
    columns = fcc("Al", a, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns(line=[1, -1, 0])
    assert columns.cell[0] == pytest.approx([a / np.sqrt(2), 0, 0], abs=1e-12)
    assert columns.cell[1, :2] == pytest.approx([a / np.sqrt(8), a / 2])
    assert columns.cell[2] == pytest.approx([0, 0, a / np.sqrt(2)], abs=1e-12)


def test_columns_refuse_an_irrational_line_and_a_wrong_one():
    angle = 0.123456
    turn = np.array(
        [
            [1, 0, 0],
            [0, np.cos(angle), -np.sin(angle)],
            [0, np.sin(angle), np.cos(angle)],
        ]
    )
    crystal = fcc("Al", 4.05)
    tilted = replace(crystal, cell=crystal.cell @ turn.T, rotation=turn)
    with pytest.raises(CrystalError, match="no lattice vector lies along z"):
        tilted.as_columns()
    with pytest.raises(CrystalError, match="not along z"):
        crystal.as_columns(line=[1, 1, 0])
    with pytest.raises(CrystalError, match="monolayer"):
        triangular("Cu", 2.5).as_columns()


@settings(max_examples=60, deadline=None)
@given(
    z=st.tuples(*[st.integers(-9, 9)] * 3).filter(any),
    seed=st.tuples(*[st.integers(-5, 5)] * 3),
    make=st.sampled_from([fcc, bcc]),
)
def test_any_miller_triad_gives_valid_columns(z, seed, make):
    x = np.cross(z, seed)
    if not x.any():
        return
    crystal = make("Fe", 2.87, x=x, z=z)
    columns = crystal.as_columns()
    assert is_unimodular(columns.cell @ crystal.inverse_cell)
    assert columns.cell[2, 2] > 0
    assert -0.5 - 1e-5 <= columns.cell[0, 2] / columns.cell[2, 2] <= 0.5 + 1e-5


@pytest.mark.parametrize(
    ("crystal", "shells"),
    [
        (fcc("Al", 4.0), [(12, np.sqrt(0.5)), (6, 1), (24, np.sqrt(1.5)), (12, np.sqrt(2))]),
        (bcc("Fe", 4.0), [(8, np.sqrt(0.75)), (6, 1), (12, np.sqrt(2)), (24, np.sqrt(2.75))]),
        (diamond("Si", 4.0), [(4, np.sqrt(3) / 4), (12, np.sqrt(0.5)), (12, np.sqrt(11) / 4)]),
        (hcp("Mg", 4.0, 4.0 * np.sqrt(8 / 3)), [(12, 1), (6, np.sqrt(2)), (2, np.sqrt(8 / 3))]),
        (triangular("Cu", 4.0), [(6, 1), (6, np.sqrt(3)), (6, 2)]),
    ],
    ids=lambda c: getattr(c, "name", ""),
)
def test_star_has_the_textbook_shells(crystal, shells):
    for s in range(crystal.n_sublattices):
        star = crystal.star(4.0 * shells[-1][1], s)
        lengths = np.linalg.norm(star, axis=1)
        assert len(star) == sum(n for n, _ in shells)
        expected = np.repeat([4 * r for _, r in shells], [n for n, _ in shells])
        assert lengths == pytest.approx(expected)
        if crystal.is_bravais:
            assert np.abs(star.sum(axis=0)).max() < 1e-9
    assert crystal.nearest_neighbour == pytest.approx(4 * shells[0][1])


def test_star_sites_agree_with_positions():
    crystal = hcp("Mg", 3.2, 5.2, z=[1, 0, -1, 0], x=[0, 0, 0, 1])
    for s in range(2):
        vectors, m, s_far = crystal.star_sites(7.0, s)
        assert crystal.positions(m, s_far) - crystal.basis[s] == pytest.approx(vectors)
    assert len(crystal.star(7.0)) == len(crystal.as_columns().star(7.0))


@pytest.mark.parametrize(
    "crystal",
    [
        fcc("Al", 4.05).as_columns(),
        fcc("Al", 4.05, y=[7, -3, 0], z=[3, 7, 11]).as_columns(),
        diamond("Si", 5.43),
        hcp("Mg", 3.2, 5.2),
        triangular("Cu", 2.5),
    ],
    ids=["columns", "skew", "diamond", "hcp", "triangular"],
)
def test_integer_coordinates_are_the_nearest_site(crystal):
    rng = np.random.default_rng(1)
    X = rng.uniform(-30, 30, (500, 3))
    if crystal.mode == "monolayer":
        X[:, 2] = 0
    m, s, d = crystal.integer_coordinates(X)
    X_site = crystal.positions(m, s)
    assert np.linalg.norm(X - X_site, axis=1) == pytest.approx(d)
    for k in range(len(X)):
        around = crystal.star(2 * crystal.nearest_neighbour, s[k]) + X_site[k]
        assert d[k] <= np.linalg.norm(X[k] - around, axis=1).min() + 1e-9
    back_m, back_s, back_d = crystal.integer_coordinates(X_site)
    assert (back_m == m).all()
    assert (back_s == s).all()
    assert back_d.max() < 1e-9


def test_volumes_and_neighbours():
    assert fcc("Al", 4).site_volume == pytest.approx(16)
    assert bcc("Fe", 4).site_volume == pytest.approx(32)
    assert diamond("Si", 4).site_volume == pytest.approx(8)
    assert triangular("Cu", 2).volume == pytest.approx(2 * np.sqrt(3))
    assert hcp("Mg", 2, 3).volume == pytest.approx(np.sqrt(3) / 2 * 4 * 3)


def test_bravais_is_required_by_name():
    fcc("Al", 4.05).require_bravais("Cauchy-Born")
    with pytest.raises(CrystalError, match=r"Cauchy-Born: hcp Mg-Mg .*needs sublattice shifts"):
        hcp("Mg", 3.2, 5.2).require_bravais("Cauchy-Born")


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"x": [1, 0, 0], "y": [1, 1, 0]}, "not orthogonal"),
        ({"x": [0, 0, 0], "y": [1, 1, 0]}, "zeros"),
        ({"x": [1, 0, 0], "y": [0, 1, 0], "z": [0, 0, -1]}, "left-handed"),
        ({"x": [1, 0, 0]}, "only x"),
        ({"x": [1, 0], "y": [0, 1, 0]}, "3 or 4 integers"),
        ({"x": [1.5, 0, 0], "y": [0, 1, 0]}, "must be integers"),
        ({"x": "abc", "y": [0, 1, 0]}, "not a list of integers"),
        ({"x": [1, 0, 0, 0], "y": [0, 0, 0, 1]}, "u \\+ v \\+ t = 0"),
        ({"x": [np.nan, 0, 0], "y": [0, 0, 1]}, "not finite"),
    ],
)
def test_bad_miller_input_is_refused(axes, message):
    with pytest.raises(CrystalError, match=message):
        fcc("Al", 4.05, **axes)


@pytest.mark.parametrize("a", [0, -1, np.nan, np.inf, "x", None])
def test_bad_lattice_constant_is_refused(a):
    with pytest.raises(CrystalError, match="lattice constant"):
        fcc("Al", a)


def test_bad_symbol_gets_a_suggestion():
    with pytest.raises(CrystalError, match="'Alu' is not a chemical symbol"):
        fcc("Alu", 4.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": np.diag([1, 1, -1.0])}, "left-handed"),
        ({"cell": np.ones((3, 3))}, "linearly dependent"),
        ({"cell": np.full((3, 3), np.nan)}, "NaN"),
        ({"basis": np.ones((1, 3))}, "basis\\[0\\]"),
        ({"symbols": ("Al", "Al")}, "symbols"),
        ({"mode": "colums"}, "did you mean 'columns'"),
        ({"mode": "columns"}, "along \\+z"),
        ({"mode": "monolayer"}, "z = 0"),
        ({"rotation": 2 * np.eye(3)}, "not orthogonal"),
        ({"basis": np.array([[0, 0, 0], [2.025, 2.025, 0]]), "symbols": ("Al", "Al")}, "coincides"),
    ],
)
def test_inconsistent_crystals_are_refused(change, message):
    with pytest.raises(CrystalError, match=message):
        replace(fcc("Al", 4.05), **change)


def test_a_crystal_cannot_be_altered():
    crystal = fcc("Al", 4.05)
    with pytest.raises(ValueError, match="read-only"):
        crystal.cell[0, 0] = 1.0


def rotation_matrix(seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q if np.linalg.det(q) > 0 else -q


@pytest.mark.parametrize(
    ("atoms", "name", "n_s"),
    [
        (bulk("Al", cubic=True), "fcc", 1),
        (bulk("Al"), "fcc", 1),
        (bulk("Fe", cubic=True) * (2, 1, 1), "bcc", 1),
        (bulk("Si", cubic=True), "diamond", 2),
        (bulk("Si") * (1, 2, 2), "diamond", 2),
        (bulk("Mg") * (2, 2, 1), "hcp", 2),
        (bulk("NaCl", "rocksalt", a=5.6, cubic=True), "multilattice", 2),
        (bulk("Po", "sc", a=3.3) * 2, "bravais", 1),
    ],
    ids=lambda v: v.get_chemical_formula() if isinstance(v, Atoms) else None,
)
def test_from_ase_finds_the_primitive_cell(atoms, name, n_s):
    turned = atoms.copy()
    q = rotation_matrix(3)
    turned.set_cell(turned.cell[:] @ q.T)
    turned.positions = turned.positions @ q.T + [0.3, -7.0, 1.1]
    for structure in (atoms, turned):
        crystal = from_ase(structure)
        assert crystal.name == name
        assert crystal.n_sublattices == n_s
        assert crystal.site_volume == pytest.approx(structure.get_volume() / len(structure))
        # Every atom of the input is a site, and symbols agree.
        _, s, d = crystal.integer_coordinates(structure.positions - structure.positions[0])
        assert d.max() < 1e-6
        assert [crystal.symbols[k] for k in s] == list(structure.symbols)
        cell_m = structure.cell[:] @ crystal.inverse_cell
        assert np.allclose(cell_m, np.round(cell_m), atol=1e-6)
    if name in ("fcc", "bcc", "diamond"):
        assert crystal.vector([1, 0, 0]) @ crystal.vector([0, 1, 0]) == pytest.approx(0, abs=1e-6)
        assert np.linalg.norm(crystal.vector([1, 0, 0])) == pytest.approx(crystal.a)


def test_from_ase_takes_a_left_handed_cell_and_atoms_outside():
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell[[1, 0, 2]])
    atoms.positions[1] += 3 * atoms.cell[0]
    assert from_ase(atoms).name == "fcc"


def test_from_ase_monolayer():
    a = 2.5
    cell = [[a, 0, 0], [0, a * np.sqrt(3), 0], [0, 0, 20]]
    atoms = Atoms("Cu2", [[0, 0, 5], [a / 2, a * np.sqrt(3) / 2, 5]], cell=cell, pbc=[1, 1, 0])
    crystal = from_ase(atoms)
    assert crystal.mode == "monolayer"
    assert crystal.volume == pytest.approx(a * a * np.sqrt(3) / 2)
    assert len(crystal.star(1.1 * a)) == 6


def test_from_ase_distorted_cube_is_not_called_fcc():
    atoms = bulk("Al", cubic=True)
    atoms.set_cell(atoms.cell[:] * [[1.0], [1.0], [1.02]], scale_atoms=True)
    assert from_ase(atoms).name == "bravais"


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms(), "no atoms"),
        (Atoms("Al", cell=np.eye(3) * 3, pbc=False), "pbc"),
        (Atoms("Al", cell=np.ones((3, 3)), pbc=True), "singular"),
        (Atoms("Al", cell=np.zeros((3, 3)), pbc=True), "singular"),
        (Atoms("Al", [[np.nan, 0, 0]], cell=np.eye(3), pbc=True), "NaN"),
        (Atoms("Al2", np.zeros((2, 3)), cell=np.eye(3) * 3, pbc=True), "coincide"),
        (Atoms("AlCu", np.zeros((2, 3)), cell=np.eye(3) * 3, pbc=True), "coincide"),
    ],
)
def test_from_ase_refuses(atoms, message):
    with pytest.raises(CrystalError, match=message):
        from_ase(atoms)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_from_ase_on_garbage_raises_only_typed_errors(data):
    n = data.draw(st.integers(0, 5))
    number = st.floats(-10, 10) | st.sampled_from([0.0, np.nan, np.inf, 1e300])
    positions = np.array(data.draw(st.lists(number, min_size=3 * n, max_size=3 * n))).reshape(n, 3)
    cell = np.array(data.draw(st.lists(number, min_size=9, max_size=9))).reshape(3, 3)
    pbc = data.draw(st.tuples(*[st.booleans()] * 3))
    try:
        atoms = Atoms("Al" * n, positions, cell=cell, pbc=pbc)
    except ValueError:
        return
    try:
        crystal = from_ase(atoms)
    except CrystalError:
        return
    assert isinstance(crystal, Crystal)


def test_to_ase_repeats_the_cell():
    atoms = diamond("Si", 5.43).to_ase((2, 3, 4))
    assert len(atoms) == 48
    assert from_ase(atoms).name == "diamond"
    assert len(triangular("Cu", 2.5).to_ase(3)) == 9


def test_sublattices_all_positive_definite_steps():
    # Completing every small primitive vector must give determinant one.
    from qc.crystal.lattice import unimodular_completion

    for v in product(range(-4, 5), repeat=3):
        if np.gcd.reduce(v) == 1:
            t = unimodular_completion(v)
            assert round(np.linalg.det(t.astype(float))) == 1
            assert tuple(t[2]) == v
