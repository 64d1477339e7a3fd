"""Point defects found in a crystal: what, where, and when to refuse."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.optimize import FIRE

from qc.crystal import bcc, fcc
from qc.crystal.recognition.defects import find_defects
from qc.crystal.recognition.recognise import recognise
from qc.errors import CrystalError

CELLS = {
    "Cu": (bulk("Cu", a=3.6, cubic=True), 3.6 / np.sqrt(2)),
    "Al": (bulk("Al", a=4.05), 4.05 / np.sqrt(2)),
    "Fe": (bulk("Fe", a=2.87, cubic=True), 2.87 * np.sqrt(0.75)),
    "Si": (bulk("Si", a=5.43, cubic=True), 5.43 * np.sqrt(3) / 4),
    "Mg": (bulk("Mg", a=3.2, c=5.2), 3.2),
}
PERIODIC = {"Cu": 5, "Al": 6, "Fe": 6, "Si": 4, "Mg": 6}
KINDS = ["vacancy", "divacancy", "foreign", "void", "dumbbell", "octahedral"]


def random_deformation(rng):
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    q = q if np.linalg.det(q) > 0 else q[:, ::-1]
    E = rng.uniform(-1, 1, (3, 3))
    E = E + E.T
    return q @ (np.eye(3) + 0.05 * E / np.abs(np.linalg.eigvalsh(E)).max())


def sample(symbol, free):
    cell, nn = CELLS[symbol]
    if not free:
        return cell * PERIODIC[symbol], nn
    radius = 6.2 * nn
    n = int(np.ceil(2.6 * radius / np.linalg.norm(cell.cell[:], axis=1).min()))
    atoms = cell * n
    centre = 0.5 * atoms.cell[:].sum(axis=0)
    atoms = atoms[np.linalg.norm(atoms.positions - centre, axis=1) < radius]
    atoms.pbc = False
    atoms.cell = None
    return atoms, nn


def with_defect(atoms, nn, kind, k):
    """Return the atoms with a defect at atom k, its place, and the expected counts."""
    d = atoms.get_distances(k, range(len(atoms)), mic=atoms.pbc.any())
    near = np.argsort(np.round(d, 6), kind="stable")
    place = atoms.positions[k].copy()
    atoms = atoms.copy()
    symbol = str(atoms.symbols[k])
    if kind == "vacancy":
        del atoms[int(k)]
        return atoms, place, (1, 0, 0)
    if kind == "divacancy":
        del atoms[[int(k), int(near[1])]]
        return atoms, place, (2, 0, 0)
    if kind == "foreign":
        atoms.symbols[k] = "Ag"
        return atoms, place, (0, 0, 1)
    if kind == "void":
        del atoms[[int(i) for i in near[:15]]]
        return atoms, place, (15, 0, 0)
    half = np.array([0.41 * nn, 0.02, 0.01])
    if kind == "dumbbell":
        atoms.positions[k] = place + half
        atoms += Atoms(symbol, [place - half])
        return atoms, place, (0, 1, 0)
    atoms += Atoms(symbol, [place + np.array([0.70 * nn, 0.05, -0.1])])
    return atoms, place, (0, 1, 0)


def counts(found):
    return len(found.vacant_m), len(found.extra), len(found.substitutional)


@pytest.mark.parametrize(
    ("symbol", "free"),
    [*((symbol, False) for symbol in CELLS), ("Cu", True), ("Fe", True), ("Si", True)],
    ids=lambda v: v if isinstance(v, str) else ("free" if v else "periodic"),
)
@pytest.mark.parametrize("kind", KINDS)
def test_point_defects_are_found_in_place(symbol, kind, free):
    rng = np.random.default_rng(KINDS.index(kind) + 10 * free)
    atoms, nn = sample(symbol, free)
    if free:
        middle = atoms.positions.mean(axis=0)
        k = int(np.argmin(np.linalg.norm(atoms.positions - middle, axis=1)))
    else:
        k = int(rng.integers(len(atoms)))
    atoms, place, expected = with_defect(atoms, nn, kind, k)
    G = random_deformation(rng)
    shift = rng.normal(size=3) * 10
    atoms.set_cell(atoms.cell[:] @ G.T)
    atoms.positions = atoms.positions @ G.T + shift
    atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)

    found = find_defects(atoms)
    assert counts(found) == expected
    assert not found.is_empty
    # The centre, carried into the current frame, is where the defect was put.
    recognition = found.recognition
    centre = recognition.F @ found.centre + recognition.origin
    offset = centre - (G @ place + shift)
    if not free:
        f = np.linalg.solve(atoms.cell[:].T, offset)
        offset = (f - np.round(f)) @ atoms.cell[:]
    assert np.linalg.norm(offset) < 0.85 * nn
    # Radii in nearest-neighbour distances: one site and its star, or three sites across.
    assert found.radius < (4.0 if kind == "void" else 2.6) * nn
    assert len(found.centres) == 1
    # Positions and sites refer to the same images.
    rest = found.positions - recognition.positions(found.m, found.s)
    held = np.setdiff1d(np.arange(len(atoms)), found.extra)
    assert np.abs(rest[held]).max() < 0.5 * nn
    if kind == "foreign":
        assert found.substitutional.tolist() == [k]
    if kind == "dumbbell":
        assert found.extra[0] in (k, len(atoms) - 1)
        assert {k, len(atoms) - 1} <= set(found.non_affine.tolist())


@pytest.mark.parametrize("free", [False, True], ids=["periodic", "free"])
@pytest.mark.parametrize("symbol", CELLS)
def test_a_perfect_crystal_has_none(symbol, free):
    atoms, _ = sample(symbol, free)
    atoms.positions += np.random.default_rng(0).normal(scale=0.1, size=atoms.positions.shape)
    found = find_defects(atoms)
    assert found.is_empty
    assert counts(found) == (0, 0, 0)
    assert found.summary == "perfect crystal"
    assert found.radius == 0
    assert (len(found.surface) > 0) == free


def test_neighbours_of_a_vacancy_are_the_non_affine_atoms():
    atoms, _ = sample("Cu", False)
    d = atoms.get_distances(77, range(len(atoms)), mic=True)
    first_shell = np.flatnonzero((d > 0) & (d < 2.6))
    del atoms[77]
    found = find_defects(atoms)
    assert len(first_shell) == 12
    assert found.non_affine.tolist() == [i - (i > 77) for i in first_shell]
    assert found.summary == "1 vacant site; 12 non-affine atoms"


def test_a_defect_across_the_boundary_stays_together():
    cell, nn = CELLS["Cu"]
    atoms = cell * 6
    near = np.argsort(atoms.get_distances(0, range(len(atoms)), mic=True), kind="stable")
    del atoms[[int(i) for i in near[:13]]]
    found = find_defects(atoms)
    X = found.recognition.crystal.positions(found.vacant_m, found.vacant_s)
    # Atom 0 and its twelve neighbours.
    assert np.linalg.norm(X - found.centre, axis=1).max() == pytest.approx(nn)
    # All atoms lie in the images nearest to the centre.
    d = found.recognition.crystal.positions(found.m, found.s) - found.centre
    assert np.abs(d).max() < 0.5 * 6 * 3.6 + 1e-6
    assert np.ptp(found.positions, axis=0).max() < 6 * 3.6
    # An equivalent crystal moved by half a cell gives the same picture.
    moved = atoms.copy()
    moved.positions += 0.5 * atoms.cell.lengths()
    moved.wrap()
    again = find_defects(moved)
    assert again.radius == pytest.approx(found.radius)
    assert sorted(map(tuple, again.vacant_m - again.vacant_m.min(axis=0))) == sorted(
        map(tuple, found.vacant_m - found.vacant_m.min(axis=0))
    )


def test_a_void_nearly_meeting_its_image_keeps_its_size():
    cell, nn = CELLS["Cu"]
    atoms = cell * 4
    near = np.argsort(atoms.get_distances(9, range(len(atoms)), mic=True), kind="stable")
    del atoms[[int(i) for i in near[:15]]]
    found = find_defects(atoms)
    X = found.recognition.crystal.positions(found.vacant_m, found.vacant_s)
    assert np.linalg.norm(X - found.centre, axis=1).max() < 1.6 * nn
    assert found.radius < 2.7 * nn


@pytest.mark.parametrize("kind", ["vacancy", "dumbbell", "octahedral", "void"])
def test_relaxed_defects(kind):
    atoms, _, expected = with_defect(CELLS["Cu"][0] * 4, CELLS["Cu"][1], kind, 42)
    atoms.calc = EMT()
    FIRE(atoms, logfile=None).run(fmax=0.03, steps=60)
    assert atoms.get_forces().max() < 0.2
    found = find_defects(atoms, recognise(atoms, a={"fcc": 3.6}))
    assert counts(found) == expected
    assert found.radius < 2.7 * CELLS["Cu"][1]


def test_separate_defects_have_separate_centres():
    atoms = CELLS["Fe"][0] * 10
    far = [0, 5 * 2 * (1 + 10 + 100)]
    place = atoms.positions[far]
    del atoms[far]
    near = np.argsort(np.linalg.norm(atoms.positions - place[1], axis=1))[0]
    del atoms[int(near)]
    found = find_defects(atoms)
    assert counts(found) == (3, 0, 0)
    assert len(found.centres) == 2
    # The larger one first.
    assert found.radii[0] > found.radii[1]


def test_a_frenkel_pair_is_a_vacancy_and_an_interstitial():
    atoms = CELLS["Cu"][0] * 5
    atoms += Atoms("Cu", [atoms.positions[200] + [1.8, 0.1, 0]])
    del atoms[30]
    assert counts(find_defects(atoms)) == (1, 1, 0)


def test_a_foreign_interstitial_is_an_extra_atom():
    atoms = CELLS["Fe"][0] * 5
    atoms += Atoms("C", [atoms.positions[100] + [1.435, 0, 0]])
    found = find_defects(atoms)
    assert counts(found) == (0, 1, 0)
    assert found.extra.tolist() == [250]


def test_dumbbell_is_decided_the_same_way_every_time():
    atoms = CELLS["Cu"][0] * 4
    place = atoms.positions[50].copy()
    atoms.positions[50] = place + np.array([1.05, 0, 0])
    atoms += Atoms("Cu", [place - np.array([1.05, 0, 0])])
    found = find_defects(atoms)
    assert found.extra.tolist() == [256]
    swapped = atoms.copy()
    swapped.positions[[50, 256]] = atoms.positions[[256, 50]]
    assert find_defects(swapped).extra.tolist() == [256]


def test_vacancy_in_a_slab_with_vacuum():
    atoms = CELLS["Cu"][0] * (4, 4, 8)
    del atoms[int(np.argmin(np.linalg.norm(atoms.positions - [7, 7, 14.4], axis=1)))]
    atoms.center(vacuum=8.0, axis=2)
    for pbc in ((1, 1, 1), (1, 1, 0)):
        atoms.pbc = pbc
        found = find_defects(atoms)
        assert counts(found) == (1, 0, 0)
        assert len(found.surface) == 4 * 32


def test_a_defect_at_the_surface_is_refused():
    atoms, _ = sample("Cu", True)
    middle = atoms.positions.mean(axis=0)
    r = np.linalg.norm(atoms.positions - middle, axis=1)
    foreign = atoms.copy()
    foreign.symbols[int(np.argmax(r))] = "Ag"
    with pytest.raises(CrystalError, match="touches the surface: foreign atom"):
        find_defects(foreign)
    # A vacant site one layer below the outermost atoms.
    holed = atoms.copy()
    k = int(np.argmin(np.abs(r - (r.max() - 3.6))))
    del holed[k]
    with pytest.raises(CrystalError, match="touches the surface: the vacant site"):
        find_defects(holed)
    # An atom in the open octahedral hollow beside the outermost atom is on no lattice site.
    outermost = atoms.positions[np.argmax(atoms.positions[:, 0])]
    stuck = atoms + Atoms("Cu", [outermost + np.array([1.8, 0, 0])])
    with pytest.raises(CrystalError, match="touches the surface: extra atom"):
        find_defects(stuck)


def test_an_alloy_is_not_a_set_of_foreign_atoms():
    atoms = CELLS["Cu"][0] * 4
    atoms.symbols[::3] = "Ni"
    with pytest.raises(CrystalError, match="an alloy or a compound"):
        find_defects(atoms)


def slab_111(n):
    """Periodic fcc crystal with its third axis along [111]."""
    crystal = fcc("Cu", 3.6, x=[1, -1, 0], y=[1, 1, -2], z=[1, 1, 1])
    corner = [crystal.vector(v) for v in ([1, -1, 0], [1, 1, -2], [1, 1, 1])]
    box = np.array([corner[0][0], corner[1][1], corner[2][2]]) * n
    grid = np.stack(np.meshgrid(*[np.arange(-40, 41)] * 3, indexing="ij"), -1).reshape(-1, 3)
    X = grid @ crystal.cell
    X = X[((X > -1e-6) & (X < box - 1e-6)).all(axis=1)]
    return crystal, Atoms(f"Cu{len(X)}", X, cell=box, pbc=True)


def test_slip_by_a_lattice_vector_leaves_a_perfect_crystal():
    crystal, atoms = slab_111([4, 2, 3])
    upper = atoms.positions[:, 2] > 0.5 * atoms.cell[2, 2]
    atoms.positions[upper] += 0.5 * crystal.vector([1, -1, 0])
    assert find_defects(atoms).is_empty


def test_a_stacking_fault_is_refused():
    crystal, atoms = slab_111([4, 2, 4])
    upper = atoms.positions[:, 2] > 0.5 * atoms.cell[2, 2]
    atoms.positions[upper] += crystal.vector([1, 1, -2]) / 6
    with pytest.raises(CrystalError, match="dislocations or faults"):
        find_defects(atoms)


@pytest.mark.parametrize(
    ("crystal", "message"),
    [
        (fcc("Al", 4.05, x=[1, 1, 0], z=[1, -1, 0]), "does not close: cell vector 2"),
        # The slip across the cut is just the period along the line.
        (bcc("Fe", 2.87, x=[1, -1, 0], z=[1, 1, 1]), "slipped, dislocated or bent"),
    ],
    ids=["fcc", "bcc"],
)
def test_a_screw_dislocation_is_refused(crystal, message):
    columns = crystal.as_columns()
    grid = np.stack(np.meshgrid(*[np.arange(-40, 41)] * 2, [0], indexing="ij"), -1)
    X = grid.reshape(-1, 3) @ columns.cell
    X = X[np.linalg.norm(X[:, :2], axis=1) < 25]
    b = columns.cell[2, 2]
    angle = np.arctan2(X[:, 1] - 0.3, X[:, 0] - 0.2)
    y = X + np.outer(angle * b / (2 * np.pi), [0, 0, 1])
    atoms = Atoms(f"{crystal.symbols[0]}{len(y)}", y, cell=[0, 0, b], pbc=(0, 0, 1))
    with pytest.raises(CrystalError, match=message):
        find_defects(atoms)


def test_a_partly_slipped_crystal_is_refused():
    atoms = CELLS["Cu"][0] * 10
    p = atoms.positions - atoms.positions[4 * (5 + 50 + 500)]
    height = p @ np.array([1, 1, 1]) / np.sqrt(3)
    aside = np.linalg.norm(p - np.outer(height, [1, 1, 1]) / np.sqrt(3), axis=1)
    plug = (height > 0.1) & (height < 8) & (aside < 9)
    atoms.positions[plug] += 0.5 * 1.8 * np.array([1, -1, 0])
    with pytest.raises(CrystalError, match=r"atoms are non-affine .* no vacant site"):
        find_defects(atoms)


def bent_bar(degrees):
    atoms = CELLS["Cu"][0] * (24, 6, 6)
    atoms.pbc = False
    x, y = atoms.positions[:, 0].copy(), atoms.positions[:, 1].copy()
    radius = x.max() / np.radians(degrees)
    atoms.positions[:, 0] = (radius + y) * np.sin(x / radius)
    atoms.positions[:, 1] = (radius + y) * np.cos(x / radius)
    return atoms


def test_a_bent_bar_is_refused_when_sites_can_no_longer_be_told():
    assert find_defects(bent_bar(2)).is_empty
    with pytest.raises(CrystalError, match="slipped, dislocated or bent"):
        find_defects(bent_bar(15))


def test_a_recognition_of_other_atoms_is_refused():
    atoms = CELLS["Cu"][0] * 4
    found = recognise(atoms)
    with pytest.raises(CrystalError, match="256 atoms, not of 255"):
        find_defects(atoms[:-1], found)
