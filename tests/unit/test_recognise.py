"""Recognition of a crystal in atoms: structure, lattice constant, strain, rotation, sites."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from qc.crystal import Crystal, from_ase
from qc.crystal.nonaffinity import nonaffinity
from qc.crystal.recognition.defects import find_defects
from qc.crystal.recognition.recognise import recognise
from qc.errors import CrystalError

CELLS = {
    "Cu": (bulk("Cu", a=3.6, cubic=True), "fcc"),
    "Al": (bulk("Al", a=4.05), "fcc"),
    "Fe": (bulk("Fe", a=2.87, cubic=True), "bcc"),
    "Si": (bulk("Si", a=5.43, cubic=True), "diamond"),
    "Mg": (bulk("Mg", a=3.2, c=5.2), "hcp"),
}
CONSTANTS = {"Cu": 3.6, "Al": 4.05, "Fe": 2.87, "Si": 5.43, "Mg": (3.2, 5.2)}
REPEATS = {"Cu": 5, "Al": 6, "Fe": 6, "Si": 4, "Mg": 6}


def random_rotation(rng):
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else q[:, ::-1]


def random_stretch(rng, size=0.05):
    E = rng.uniform(-1, 1, (3, 3))
    E = E + E.T
    return np.eye(3) + size * E / np.abs(np.linalg.eigvalsh(E)).max()


def deformed(atoms, G, shift=0.0):
    new = atoms.copy()
    new.set_cell(new.cell[:] @ G.T)
    new.positions = new.positions @ G.T + shift
    return new


def ball(cell, radius):
    n = int(np.ceil(2.6 * radius / np.linalg.norm(cell.cell[:], axis=1).min()))
    atoms = cell * n
    centre = 0.5 * atoms.cell[:].sum(axis=0)
    atoms = atoms[np.linalg.norm(atoms.positions - centre, axis=1) < radius]
    atoms.pbc = False
    atoms.cell = None
    return atoms


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("symbol", CELLS)
def test_periodic_crystals_strained_and_rotated(symbol, seed):
    rng = np.random.default_rng(seed)
    cell, name = CELLS[symbol]
    perfect = cell * REPEATS[symbol]
    Q, U = random_rotation(rng), random_stretch(rng)
    atoms = deformed(perfect, Q @ U, shift=rng.normal(size=3) * 10)
    atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
    found = recognise(atoms, a={name: CONSTANTS[symbol]})
    assert found.structure == name
    assert found.crystal.symbols[0] == symbol
    assert found.quality == 1.0
    # F is exact, up to the point group of the lattice: right Cauchy-Green invariants agree.
    given, expected = np.linalg.svd(found.F)[1], np.linalg.svd(U)[1]
    assert given == pytest.approx(expected, abs=1e-9)
    assert found.rotation @ found.stretch == pytest.approx(found.F)
    # The supercell closes on integers.
    assert found.periods @ found.crystal.cell @ found.F.T == pytest.approx(atoms.cell[:])
    n_sites = abs(round(np.linalg.det(found.periods.astype(float))))
    assert n_sites * found.crystal.n_sublattices == len(atoms)
    # Every atom has a site of its own, and only noise sets them apart.
    rest = atoms.positions - found.positions(found.m, found.s)
    assert np.sqrt((rest**2).mean()) == pytest.approx(0.1, rel=0.1)
    assert found.reference_positions(atoms.positions) - found.crystal.positions(
        found.m, found.s
    ) == pytest.approx(np.linalg.solve(found.F, rest.T).T + found.shifts[found.s])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("symbol", CELLS)
def test_free_standing_balls(symbol, seed):
    rng = np.random.default_rng(10 + seed)
    cell, name = CELLS[symbol]
    Q, U = random_rotation(rng), random_stretch(rng)
    atoms = deformed(ball(cell, 11.0), Q @ U, shift=rng.normal(size=3) * 10)
    clean = recognise(atoms, a={name: CONSTANTS[symbol]})
    assert clean.structure == name
    assert clean.periods.shape == (0, 3)
    assert np.linalg.svd(clean.F)[1] == pytest.approx(np.linalg.svd(U)[1], abs=1e-8)
    assert clean.distance.max() < 1e-7
    atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
    noisy = recognise(atoms, a={name: CONSTANTS[symbol]})
    assert noisy.quality == 1.0
    assert np.linalg.svd(noisy.F)[1] == pytest.approx(np.linalg.svd(U)[1], abs=0.01)


@pytest.mark.parametrize("symbol", CELLS)
def test_lattice_constant_is_found_when_not_given(symbol):
    cell, name = CELLS[symbol]
    found = recognise(cell * REPEATS[symbol])
    assert found.structure == name
    assert found.crystal.a == pytest.approx(np.ravel(CONSTANTS[symbol])[0], rel=0.01)
    if name != "hcp":
        assert found.crystal.a == pytest.approx(CONSTANTS[symbol], rel=1e-9)
        assert found.F == pytest.approx(np.eye(3), abs=1e-9)
    assert np.linalg.det(found.F) == pytest.approx(1)


@pytest.mark.parametrize("symbol", ["Cu", "Fe", "Si"])
def test_an_unrotated_crystal_is_found_unrotated(symbol):
    cell, _ = CELLS[symbol]
    found = recognise(deformed(cell * REPEATS[symbol], random_stretch(np.random.default_rng(7))))
    assert np.trace(found.rotation) > 3 - 1e-3


def test_strain_against_the_potentials_own_lattice_constant():
    atoms = CELLS["Cu"][0] * 4
    found = recognise(atoms, a={"fcc": 3.55})
    assert found.crystal.a == 3.55
    assert found.F == pytest.approx(np.eye(3) * 3.6 / 3.55)
    assert recognise(atoms, structures=("fcc",), a=3.55).F == pytest.approx(found.F)
    with pytest.raises(CrystalError, match=r"fcc \(a = 4.2\).*lattice constant"):
        recognise(atoms, structures=("fcc",), a=4.2)


@pytest.mark.parametrize("pbc", [(1, 0, 0), (0, 1, 1), (1, 1, 0)])
def test_mixed_periodicity(pbc):
    rng = np.random.default_rng(4)
    U = random_stretch(rng, 0.03)
    atoms = deformed(CELLS["Fe"][0] * 7, random_rotation(rng) @ U)
    atoms.pbc = pbc
    atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    found = recognise(atoms, a={"bcc": 2.87})
    axes = np.flatnonzero(pbc)
    assert found.axes == tuple(axes)
    assert found.periods @ found.crystal.cell @ found.F.T == pytest.approx(atoms.cell[axes])
    assert np.linalg.svd(found.F)[1] == pytest.approx(np.linalg.svd(U)[1], abs=0.005)
    assert found.quality == 1.0


def test_vacuum_along_a_periodic_direction_is_not_strain():
    slab = CELLS["Cu"][0] * (4, 4, 6)
    slab.center(vacuum=7.0, axis=2)
    found = recognise(slab)
    assert found.axes == (0, 1)
    assert found.F == pytest.approx(np.eye(3), abs=1e-9)


def test_skew_left_handed_cell_and_atoms_outside():
    atoms = CELLS["Cu"][0] * 4
    rng = np.random.default_rng(1)
    other = atoms.copy()
    other.set_cell(np.array([[0, 1, 0], [1, 0, 0], [1, 2, 1]]) @ atoms.cell[:])
    other.positions += rng.integers(-3, 4, (len(atoms), 3)) @ atoms.cell[:]
    found = recognise(other)
    assert found.structure == "fcc"
    assert found.quality == 1.0
    assert found.F == pytest.approx(np.eye(3), abs=1e-9)


def test_order_of_atoms_does_not_matter():
    rng = np.random.default_rng(8)
    atoms = deformed(CELLS["Mg"][0] * 6, random_rotation(rng) @ random_stretch(rng))
    atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    order = rng.permutation(len(atoms))
    one, two = recognise(atoms), recognise(atoms[order])
    assert two.F == pytest.approx(one.F, abs=1e-9)
    offset = two.m - one.m[order]
    assert (offset == offset[0]).all()


def test_strained_bcc_is_not_taken_for_hcp():
    # bcc is an affine image of hcp but for a shuffle of the basal planes (Burgers path).
    for seed in range(6):
        rng = np.random.default_rng(seed)
        atoms = deformed(CELLS["Fe"][0] * 5, random_stretch(rng))
        assert recognise(atoms).structure == "bcc"


def test_a_large_rotated_crystal_is_oriented_by_nonaffinity():
    rng = np.random.default_rng(3)
    atoms = CELLS["Fe"][0] * 6
    crystal = from_ase(CELLS["Fe"][0])
    turned = deformed(atoms, random_rotation(rng) @ random_stretch(rng, 0.03))
    assert nonaffinity(turned, crystal).max() < 1e-20
    assert nonaffinity(turned).max() < 1e-20


@pytest.mark.parametrize("name", ["fcc", "bcc", "hcp"])
def test_a_structure_that_is_not_asked_for_is_not_forced(name):
    with pytest.raises(CrystalError, match="no lattice"):
        recognise(CELLS["Si"][0] * 4, structures=(name,))
    wrong = {"fcc": "Mg", "bcc": "Cu", "hcp": "Al"}[name]
    with pytest.raises(CrystalError, match=r"lattice fits|no lattice"):
        recognise(CELLS[wrong][0] * 6, structures=(name,))


def test_disorder_is_refused():
    rng = np.random.default_rng(0)
    atoms = Atoms("Cu400", rng.uniform(0, 17, (400, 3)), cell=np.eye(3) * 17, pbc=True)
    with pytest.raises(CrystalError, match=r"no lattice .*disordered"):
        recognise(atoms)


def test_two_grains_are_refused():
    one = CELLS["Cu"][0] * (6, 6, 3)
    two = one.copy()
    two.rotate(33, (1, 2, 3), center="COM")
    two.positions[:, 2] += 14
    both = one + two
    both.pbc = False
    with pytest.raises(CrystalError, match=r"lattice|grain"):
        recognise(both)


def test_too_few_atoms_are_refused():
    for atoms in (Atoms("Cu"), Atoms("Cu2", [[0, 0, 0], [2.5, 0, 0]]), ball(CELLS["Cu"][0], 3.0)):
        with pytest.raises(CrystalError, match=r"neighbours|too few"):
            recognise(atoms)
    with pytest.raises(CrystalError, match="no atoms"):
        recognise(Atoms())


def test_one_atom_in_a_periodic_cell_is_a_crystal():
    found = recognise(bulk("Al", a=4.05))
    assert found.structure == "fcc"
    assert found.crystal.a == pytest.approx(4.05)


def test_a_supercell_that_does_not_close_is_refused():
    atoms = CELLS["Cu"][0] * 6
    cell = atoms.cell[:].copy()
    cell[0, 1] += 0.5 * 1.8
    atoms.set_cell(cell)
    with pytest.raises(CrystalError, match="does not close: cell vector 0"):
        recognise(atoms)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_bad_positions_and_cells_are_refused(value):
    atoms = CELLS["Cu"][0] * 3
    atoms.positions[5, 2] = value
    with pytest.raises(CrystalError, match="atom 5"):
        recognise(atoms)
    atoms = CELLS["Cu"][0] * 3
    cell = atoms.cell[:].copy()
    cell[1, 1] = value
    atoms.set_cell(cell)
    with pytest.raises(CrystalError, match="cell"):
        recognise(atoms)


def test_coincident_atoms_are_refused_by_pair():
    atoms = CELLS["Cu"][0] * 3
    atoms.positions[20] = atoms.positions[11] + atoms.cell[0]
    with pytest.raises(CrystalError, match="atoms 11 and 20 coincide"):
        recognise(atoms)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"structures": ("fc",)}, "did you mean 'fcc'"),
        ({"structures": ()}, "no structures"),
        ({"a": {"fccc": 4.0}}, "did you mean 'fcc'"),
        ({"a": {"fcc": -1.0}}, "positive"),
        ({"a": {"fcc": (1.0, 2.0)}}, "one lattice constant"),
    ],
)
def test_bad_options_are_refused(keywords, message):
    with pytest.raises(CrystalError, match=message):
        recognise(CELLS["Cu"][0] * 3, **keywords)


coordinate = st.floats(-20, 20) | st.sampled_from([0.0, 1.0, 1e-9, 1e6, np.nan, -np.inf])


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_garbage_raises_only_typed_errors(data):
    n = data.draw(st.integers(0, 25))
    raw = data.draw(st.lists(coordinate, min_size=3 * n, max_size=3 * n))
    cell = np.array(data.draw(st.lists(coordinate, min_size=9, max_size=9))).reshape(3, 3)
    if data.draw(st.booleans()):
        cell = np.diag(np.nan_to_num(np.abs(np.diag(cell)), posinf=5.0) + 0.5)
    pbc = data.draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    atoms = Atoms("Cu" * n, np.array(raw).reshape(n, 3), cell=cell, pbc=pbc)
    try:
        found = recognise(atoms)
        find_defects(atoms, found)
    except CrystalError:
        return
    assert isinstance(found.crystal, Crystal)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0, 1.2), share=st.floats(0, 0.6))
def test_ever_more_broken_crystals_never_crash(seed, scale, share):
    rng = np.random.default_rng(seed)
    atoms = CELLS["Fe"][0] * 4
    atoms.positions += rng.normal(scale=scale, size=atoms.positions.shape)
    atoms = atoms[rng.random(len(atoms)) > share]
    atoms.pbc = rng.random(3) < 0.7
    try:
        find_defects(atoms)
    except CrystalError:
        pass
