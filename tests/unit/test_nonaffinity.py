"""Non-affinity in both forms: what it must see and what it must not."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from qc.crystal import bcc, diamond, fcc, hcp, triangular
from qc.crystal.affine import falk_langer, lattice_matched, star_reach
from qc.crystal.nonaffinity import lattice_fit, nonaffinity
from qc.errors import CrystalError

CASES = {
    "fcc": (bulk("Cu", a=3.6, cubic=True) * 4, fcc("Cu", 3.6)),
    "bcc": (bulk("Fe", a=2.87, cubic=True) * 5, bcc("Fe", 2.87)),
    "diamond": (bulk("Si", a=5.43, cubic=True) * 3, diamond("Si", 5.43)),
    "hcp": (bulk("Mg", a=3.2, c=5.2) * 5, hcp("Mg", 3.2, 5.2)),
}


def random_rotation(rng):
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else q[:, ::-1]


def deformed(atoms, G):
    new = atoms.copy()
    new.set_cell(new.cell[:] @ G.T, scale_atoms=False)
    new.positions = new.positions @ G.T
    return new


@pytest.mark.parametrize("name", CASES)
def test_homogeneous_deformation_is_affine(name):
    atoms, crystal = CASES[name]
    rng = np.random.default_rng(5)
    G = np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3))
    strained = deformed(atoms, G)
    assert nonaffinity(strained, crystal).max() < 1e-22
    assert nonaffinity(strained, reference=atoms).max() < 1e-22
    fit, _ = lattice_fit(strained, crystal)
    assert np.abs(fit.F - G).max() < 1e-9
    assert fit.missing.max() == 0
    assert fit.extra.max() == 0


@pytest.mark.parametrize("name", ["diamond", "hcp"])
def test_a_relaxed_internal_shift_is_affine(name):
    atoms, crystal = CASES[name]
    shifted = atoms.copy()
    s = crystal.integer_coordinates(atoms.positions)[1]
    shifted.positions[s == 1] += [0.08, -0.05, 0.1]
    assert nonaffinity(shifted, crystal).max() < 1e-22
    # The control: the same displacement of every other pair of atoms is not affine.
    wrong = atoms.copy()
    wrong.positions[::4] += [0.08, -0.05, 0.1]
    assert nonaffinity(wrong, crystal).max() > 1e-4


@pytest.mark.parametrize("name", CASES)
def test_vacancy_and_surface_neighbours_are_flagged_and_no_others(name):
    atoms, crystal = CASES[name]
    bonds_per_atom = len(crystal.star(crystal.star_radius))
    holed = atoms.copy()
    del holed[len(atoms) // 2]
    d2 = nonaffinity(holed, crystal)
    flagged = d2 > 1e-6
    assert flagged.sum() == bonds_per_atom
    assert d2[flagged] == pytest.approx(1 / bonds_per_atom)
    free = atoms.copy()
    free.pbc = False
    assert (nonaffinity(free, crystal) > 0.05).sum() > len(atoms) // 4


def test_interstitial_is_flagged_with_its_neighbours():
    atoms, crystal = CASES["fcc"]
    site = atoms.positions[100]
    with_extra = atoms + Atoms("Cu", site[None] + [[1.8, 0, 0]])
    d2 = nonaffinity(with_extra, crystal)
    near = (
        np.linalg.norm(
            atoms.get_distances(100, range(len(atoms)), mic=True, vector=True)
            - np.array([1.8, 0, 0]),
            axis=1,
        )
        < 2.0
    )
    assert d2[-1] > 0.05
    assert (d2[:-1][near] > 0.02).all()
    assert (d2[:-1] > 1e-6).sum() < 60


def test_slip_is_seen_against_the_reference_but_not_against_the_lattice():
    crystal = fcc("Cu", 3.6, x=[1, -1, 0], y=[1, 1, -2], z=[1, 1, 1])
    cell = (
        crystal.vector([1, -1, 0])[0],
        crystal.vector([1, 1, -2])[1],
        crystal.vector([1, 1, 1])[2],
    )
    grid = np.stack(np.meshgrid(*[np.arange(-30, 31)] * 3, indexing="ij"), -1).reshape(-1, 3)
    X = grid @ crystal.cell
    box = np.array([3, 2, 3]) * cell
    inside = ((X > -1e-6) & (X < box - 1e-6)).all(axis=1)
    atoms = Atoms(f"Cu{inside.sum()}", X[inside], cell=box, pbc=True)
    assert len(atoms) == round(np.prod(box) / crystal.volume)

    slipped = atoms.copy()
    upper = atoms.positions[:, 2] > 0.5 * box[2]
    slipped.positions[upper] += 0.5 * crystal.vector([1, -1, 0])
    assert nonaffinity(slipped, crystal).max() < 1e-20
    against = nonaffinity(slipped, reference=atoms)
    assert against.max() > 0.05
    assert np.median(against[np.abs(atoms.positions[:, 2] - 0.25 * box[2]) < 2]) < 1e-20

    # A partial slip leaves a stacking fault, which is a defect in both forms.
    faulted = atoms.copy()
    faulted.positions[upper] += crystal.vector([1, 1, -2]) / 6
    assert (nonaffinity(faulted, crystal) > 0.05).sum() >= 2 * (len(atoms) // 9)


def test_wrapping_does_not_matter():
    atoms, crystal = CASES["bcc"]
    rng = np.random.default_rng(2)
    noisy = atoms.copy()
    noisy.positions += rng.normal(scale=0.05, size=noisy.positions.shape)
    moved = noisy.copy()
    moved.positions += rng.integers(-2, 3, size=(len(atoms), 3)) @ atoms.cell[:]
    assert nonaffinity(moved, crystal) == pytest.approx(nonaffinity(noisy, crystal))
    expected = nonaffinity(noisy, reference=atoms)
    assert nonaffinity(moved, reference=atoms) == pytest.approx(expected)


@pytest.mark.parametrize("pbc", [(0, 0, 0), (1, 0, 0), (1, 0, 1), (1, 1, 1)])
def test_mixed_periodicity_flags_free_faces_only(pbc):
    atoms, crystal = CASES["bcc"]
    atoms = atoms.copy()
    atoms.pbc = pbc
    flagged = nonaffinity(atoms, crystal) > 0.01
    inner = np.ones(len(atoms), dtype=bool)
    for k in range(3):
        if not pbc[k]:
            x = atoms.positions[:, k]
            inner &= (x > 1.1 * 2.87) & (x < x.max() - 1.1 * 2.87)
    assert not flagged[inner].any()
    assert flagged.any() == (not all(pbc))


def test_slow_lattice_rotation_is_followed():
    # A bar bent through 80 degrees: no single orientation fits it.
    crystal = fcc("Al", 4.05)
    atoms = bulk("Al", a=4.05, cubic=True) * (30, 4, 4)
    atoms.pbc = (False, False, True)
    x, y = atoms.positions[:, 0], atoms.positions[:, 1]
    radius = x.max() / np.radians(80)
    angle = x / radius
    bent = atoms.copy()
    bent.positions[:, 0] = (radius + y - 8) * np.sin(angle)
    bent.positions[:, 1] = (radius + y - 8) * np.cos(angle)
    inner = (x > 4.1) & (x < x.max() - 4.1) & (y > 4.1) & (y < y.max() - 4.1)
    d2 = nonaffinity(bent, crystal)
    assert d2[inner].max() < 1e-3


def test_monolayer():
    crystal = triangular("Cu", 2.5)
    atoms = crystal.to_ase(8)
    G = np.array([[1.03, 0.02, 0], [0.01, 0.97, 0], [0, 0, 1]])
    assert nonaffinity(deformed(atoms, G), crystal).max() < 1e-22
    del atoms[30]
    assert (nonaffinity(atoms, crystal) > 1e-6).sum() == 6


def screw(crystal, radius):
    """Isotropic screw dislocation along z: u_z = b theta / 2 pi."""
    cell = crystal.cell
    grid = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in (60, 60, 0)], indexing="ij"), -1)
    X = grid.reshape(-1, 3) @ cell
    core = np.array([0.31, 0.23])
    X = X[np.linalg.norm(X[:, :2] - core, axis=1) < radius]
    theta = np.arctan2(X[:, 1] - core[1], X[:, 0] - core[0])
    b = cell[2, 2]
    y = X + np.outer(theta * b / (2 * np.pi), [0, 0, 1])
    atoms = Atoms(f"{crystal.symbols[0]}{len(X)}", y, cell=[0, 0, b], pbc=(0, 0, 1))
    return atoms, np.linalg.norm(X[:, :2] - core, axis=1)


def edge(crystal, radius, nu=0.34):
    """Isotropic edge dislocation, b along x, line along z, as a function of current positions.

    Source: Hirth & Lothe, Theory of Dislocations (1982), eq. 3-45.
    """
    cell = crystal.cell
    b = cell[0, 0]
    grid = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in (60, 60, 0)], indexing="ij"), -1)
    X = grid.reshape(-1, 3) @ cell
    core = np.array([0.4 * b, 0.13 * b])
    X = X[np.linalg.norm(X[:, :2] - core, axis=1) < radius]
    X0 = X[:, :2] - core
    reference_angle = np.arctan2(X0[:, 1], X0[:, 0])
    p = X0.copy()
    for _ in range(200):
        r2 = (p**2).sum(axis=1)
        angle = np.arctan2(p[:, 1], p[:, 0])
        angle += 2 * np.pi * np.round((reference_angle - angle) / (2 * np.pi))
        ux = b / (2 * np.pi) * (angle + p[:, 0] * p[:, 1] / (2 * (1 - nu) * r2))
        uy = (
            -b
            / (2 * np.pi)
            * (
                (1 - 2 * nu) / (4 * (1 - nu)) * np.log(r2 / b**2)
                + (p[:, 0] ** 2 - p[:, 1] ** 2) / (4 * (1 - nu) * r2)
            )
        )
        p = 0.5 * p + 0.5 * (X0 + np.stack([ux, uy], axis=1))
    y = X.copy()
    y[:, :2] = p + core
    atoms = Atoms(f"{crystal.symbols[0]}{len(X)}", y, cell=[0, 0, cell[2, 2]], pbc=(0, 0, 1))
    return atoms, np.linalg.norm(p, axis=1)


def slope(r, d2, lo, hi):
    keep = (r > lo) & (r < hi)
    bins = np.geomspace(lo, hi, 9)
    which = np.digitize(r[keep], bins)
    points = [
        (np.log(r[keep][which == k]).mean(), np.log(d2[keep][which == k].mean()))
        for k in range(1, 9)
        if (which == k).sum() > 3
    ]
    return np.polyfit(*np.transpose(points), 1)[0]


@pytest.mark.physics
@pytest.mark.parametrize(
    ("make", "crystal"),
    [
        (screw, bcc("Fe", 2.87, x=[1, -1, 0], z=[1, 1, 1]).as_columns()),
        (screw, fcc("Al", 4.05, y=[0, 0, 1], z=[1, -1, 0]).as_columns()),
        (edge, fcc("Al", 4.05, x=[1, 1, 0], z=[1, -1, 0]).as_columns()),
    ],
    ids=["bcc screw", "fcc screw", "fcc edge"],
)
def test_non_affinity_decays_as_the_inverse_fourth_power(make, crystal):
    atoms, r = make(crystal, 60.0)
    d2 = nonaffinity(atoms, crystal)
    # Displacements are non-affine by nn^2 grad^2 u / 2 ~ 1/r^2, hence D2 ~ 1/r^4.
    assert slope(r, d2, 12.0, 50.0) == pytest.approx(-4.0, abs=0.25)
    assert d2[r < 3].max() > 50 * d2[(r > 12) & (r < 50)].max()
    # No trace of the cut: atoms on it are like the others at the same distance.
    ring = (r > 20) & (r < 24)
    assert d2[ring].max() < 6 * np.median(d2[ring])


def test_core_functions_take_bare_arrays():
    crystal = fcc("Al", 4.05)
    G = np.array([[1.02, 0.03, 0], [0, 0.99, 0.01], [0.02, 0, 1.01]])
    star = crystal.star(1.1 * star_reach(crystal))
    y = np.vstack([star @ G.T, star])
    start = [0, len(star), 2 * len(star)]
    fit = lattice_matched(start, y, crystal)
    assert fit.d2.max() < 1e-24
    assert fit.F == pytest.approx(np.array([G, np.eye(3)]))
    assert fit.match[:12].tolist() == list(range(12))
    d2, F = falk_langer([0, 0, 12], crystal.star(3.0), crystal.star(3.0) @ G.T, 2.86)
    assert d2 == pytest.approx([0, 0], abs=1e-24)
    assert F == pytest.approx(np.array([np.eye(3), G]))


def test_falk_langer_against_least_squares():
    rng = np.random.default_rng(11)
    R, y = rng.normal(size=(2, 20, 3))
    solution, residual, *_ = np.linalg.lstsq(R, y, rcond=None)
    d2, F = falk_langer([0, 20], R, y, 2.0)
    assert F[0] == pytest.approx(solution.T)
    assert d2[0] == pytest.approx(residual.sum() / 20 / 4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_positions_are_refused_by_atom(value):
    atoms, crystal = CASES["fcc"]
    atoms = atoms.copy()
    atoms.positions[7, 1] = value
    with pytest.raises(CrystalError, match="atom 7 has a NaN"):
        nonaffinity(atoms, crystal)


def test_bad_structures_are_refused():
    crystal = fcc("Cu", 3.6)
    with pytest.raises(CrystalError, match="no atoms"):
        nonaffinity(Atoms(), crystal)
    twice = CASES["fcc"][0].copy()
    twice.positions[9] = twice.positions[4]
    with pytest.raises(CrystalError, match="atoms 4 and 9 coincide"):
        nonaffinity(twice, crystal)
    flat = Atoms("Cu", cell=np.ones((3, 3)), pbc=True)
    with pytest.raises(CrystalError, match="singular"):
        nonaffinity(flat, crystal)
    nan_cell = Atoms("Cu", cell=np.full((3, 3), np.nan), pbc=False)
    with pytest.raises(CrystalError, match="cell"):
        nonaffinity(nan_cell, crystal)
    with pytest.raises(CrystalError, match="no length"):
        nonaffinity(Atoms("Cu", pbc=(1, 0, 0)), crystal)


def test_one_atom_has_a_defined_answer():
    crystal = fcc("Cu", 3.6)
    assert nonaffinity(Atoms("Cu"), crystal) == pytest.approx([1.0])
    assert nonaffinity(bulk("Cu", a=3.6), crystal) == pytest.approx([0.0], abs=1e-20)


def test_a_reference_that_does_not_fit_is_refused():
    atoms = CASES["fcc"][0]
    with pytest.raises(CrystalError, match="255 atoms"):
        nonaffinity(atoms, reference=atoms[:-1])
    other = atoms.copy()
    other.symbols[3] = "Ni"
    with pytest.raises(CrystalError, match="atom 3"):
        nonaffinity(atoms, reference=other)
    other = atoms.copy()
    other.pbc = (1, 1, 0)
    with pytest.raises(CrystalError, match="pbc"):
        nonaffinity(atoms, reference=other)


def test_a_left_handed_and_a_thin_cell():
    crystal = fcc("Cu", 3.6)
    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.set_cell(atoms.cell[[1, 0, 2]])
    assert nonaffinity(atoms, crystal).max() < 1e-20
