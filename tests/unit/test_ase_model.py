"""A model's atoms in ASE's hands: their box, what is held, and the way back."""

from functools import cache

import numpy as np
import pytest
from ase import units
from ase.build import bulk, make_supercell
from ase.calculators.calculator import PropertyNotImplementedError
from ase.constraints import FixAtoms, FixCartesian
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.neighborlist import neighbor_list
from ase.optimize import LBFGS
from scipy.spatial import cKDTree

from qc.adapters.ase_qc import QCCalculator
from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import fcc, triangular
from qc.errors import InputError
from qc.farfield import HomogeneousStrain
from qc.potentials import ToyEAM, zhou2004

A = 3.6149603
HOLE = PointDefects(vacant=[(0, 0, 0)])
TILT = np.array([[1.01, 0.02, 0.03], [0.0, 0.995, -0.02], [0.0, 0.0, 1.003]])
KINDS = ("3d", "columns", "tilted columns", "monolayer")


@cache
def potential():
    return zhou2004("Cu")


def model(kind="columns", **options):
    if kind == "monolayer":
        given = {"core": 3, "blend": 3, "outer": 10, "defects": HOLE} | options
        return QuasiContinuum(triangular("X", 0.976), ToyEAM(), **given)
    crystal = fcc("Cu", A)
    if kind != "3d":
        crystal = fcc("Cu", A, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns()
    if kind == "tilted columns":
        options["far_field"] = HomogeneousStrain(TILT)
    size = {"core": 1.75 * A, "blend": 1.5 * A, "outer": (5 if kind == "3d" else 12) * A}
    return QuasiContinuum(crystal, potential(), defects=HOLE, **(size | options))


def shaken(m, size=0.05, seed=0):
    move = np.random.default_rng(seed).uniform(-size, size, m.U.shape)
    return np.where(m.layout.free, move, 0.0)


# -- the box --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_atoms_lie_in_their_cell_with_a_cutoff_around_them(kind):
    m = model(kind)
    m.U = shaken(m)
    for atoms in (m.to_ase(), m.all_atoms(), m.all_atoms(2.5 * m.crystal.a)):
        scaled = atoms.get_scaled_positions(wrap=False)
        assert scaled.min() >= 0.0
        assert scaled.max() < 1.0
        open_ends = ~atoms.pbc
        height = np.ptp(scaled, axis=0)[open_ends]
        gap = (1.0 - height) * atoms.cell.lengths()[open_ends]
        np.testing.assert_allclose(gap, 2.0 * m.potential.cutoff, atol=0.2)
        # Neighbours are those of the positions in the open, with images along the line.
        reach = 1.2 * m.crystal.nearest_neighbour
        images = atoms.positions
        if atoms.pbc[2]:
            near = range(-3, 4)
            images = np.vstack([images + k * atoms.cell[2] for k in near])
        ends = cKDTree(images).query_ball_point(atoms.positions, reach, return_length=True)
        assert len(neighbor_list("i", atoms, reach)) == ends.sum() - len(atoms)


def test_a_wide_patch_of_columns_goes_through_a_neighbour_list_of_ase():
    # Unwrapped or off the box, the list asks for tens of gigabytes.
    crystal = fcc("Cu", A, x=[1, 1, -2], y=[1, 1, 1], z=[1, -1, 0]).as_columns()
    m = QuasiContinuum(crystal, potential(), core=66.0, blend=10.0, outer=120.0)
    atoms = m.all_atoms()
    assert len(atoms) > 3000
    pairs = len(neighbor_list("i", atoms, 3.0))
    assert 11.0 < pairs / len(atoms) < 12.0


def test_sites_in_one_plane_stay_in_one_plane():
    for kind in ("columns", "tilted columns"):
        m = model(kind)
        z = m.all_atoms().get_scaled_positions(wrap=False)[:, 2]
        assert len(np.unique(np.round(z, 6))) == 2


# -- what is held ---------------------------------------------------------------------------------


def test_the_held_boundary_comes_as_constraints():
    m = model("3d")
    atoms = m.to_ase()
    held = ~m.layout.free[m.occupied]
    assert held.any()
    (constraint,) = atoms.constraints
    assert isinstance(constraint, FixAtoms)
    assert constraint.index.tolist() == np.flatnonzero(held.all(axis=1)).tolist()
    assert atoms.get_number_of_degrees_of_freedom() == m.n_unknowns
    flat = model("monolayer")
    atoms = flat.to_ase()
    assert [type(c) for c in atoms.constraints] == [FixCartesian, FixAtoms]
    assert atoms.get_number_of_degrees_of_freedom() == flat.n_unknowns
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(0))
    moving = atoms.get_momenta() != 0.0
    assert (moving == flat.layout.free[flat.occupied]).all()


@pytest.mark.parametrize("scheme", ["bgfc", "atomistic"])
def test_ase_dynamics_keeps_the_boundary_and_the_energy(scheme):
    m = model("columns", scheme=scheme, outer=(6 if scheme == "atomistic" else 12) * A)
    atoms = m.to_ase()
    atoms.calc = QCCalculator(m)
    start = atoms.positions.copy()
    held = ~m.layout.free.any(axis=1)[m.occupied]
    rng = np.random.default_rng(1)
    thermalize_momenta(atoms, temperature_K=300, exact_temperature=True, rng=rng)
    assert atoms.get_temperature() == pytest.approx(300)
    first, totals = atoms.get_total_energy(), []
    kinetic = atoms.get_kinetic_energy()
    verlet = VelocityVerlet(atoms, 2.0 * units.fs)
    verlet.attach(lambda: totals.append(atoms.get_total_energy()))
    verlet.run(150)
    assert np.array_equal(atoms.positions[held], start[held])
    assert np.abs(np.array(totals) - first).max() < 2e-3 * kinetic
    friction = 0.01 / units.fs
    Langevin(atoms, 2.0 * units.fs, temperature_K=300, friction=friction, rng=rng).run(150)
    assert np.array_equal(atoms.positions[held], start[held])
    assert not atoms.get_momenta()[held].any()
    assert 200 < atoms.get_temperature() < 400


# -- and back -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_calculator_finds_the_state_that_the_atoms_show(kind):
    m = model(kind)
    m.U = u = shaken(m)
    energy, forces = m.energy_forces(u)
    atoms = m.to_ase()
    atoms.calc = QCCalculator(m)
    wrapped = atoms.copy()
    wrapped.wrap(eps=0.0)
    # Along the line every image is as good.
    turns = np.random.default_rng(3).integers(-2, 3, len(atoms))
    wrapped.positions += np.outer(turns * atoms.pbc[2], atoms.cell[2])
    for case in (atoms, wrapped):
        case.calc = QCCalculator(m)
        assert case.get_potential_energy() == pytest.approx(energy, abs=1e-9)
        np.testing.assert_allclose(m.U, u, atol=1e-11)
        got = case.get_forces(apply_constraint=False)
        np.testing.assert_allclose(got, forces[m.occupied], atol=1e-9)


def test_an_atom_is_followed_into_the_next_period():
    m = model("columns")
    atoms = m.to_ase()
    atoms.calc = QCCalculator(m)
    column = int(np.flatnonzero(m.layout.free.all(axis=1)[m.occupied])[0])
    node = np.flatnonzero(m.occupied)[column]
    period = atoms.cell[2, 2]
    for k in range(1, 11):
        atoms.positions[column, 2] += 0.1 * period
        atoms.wrap()
        atoms.get_forces()
        assert m.U[node, 2] == pytest.approx(0.1 * k * period, abs=1e-9)


def test_a_held_atom_that_moved_is_named():
    m = model("3d")
    atoms = m.to_ase()
    atoms.calc = QCCalculator(m)
    at = int(atoms.constraints[0].index[3])
    before = atoms.get_potential_energy()
    atoms.set_constraint()
    # What a text file rounds off is no move.
    atoms.positions = np.round(atoms.positions, 6)
    assert atoms.get_potential_energy() == pytest.approx(before, abs=1e-6)
    atoms.positions[at, 1] += 0.01
    with pytest.raises(InputError, match=rf"atom {at} is held by the model and has moved by 0\.01"):
        atoms.get_forces()


# -- where it was ---------------------------------------------------------------------------------


def supercells():
    cube = bulk("Cu", a=A, cubic=True) * (4, 4, 4)
    centred = cube.copy()
    centred.positions -= 1.5 * A
    scattered = cube.copy()
    rng = np.random.default_rng(5)
    far = rng.random(len(cube)) < 0.1
    scattered.positions[far] += rng.integers(-1, 2, (far.sum(), 3)) @ cube.cell[:]
    skew = bulk("Cu", a=A) * (6, 6, 6)
    skew.set_cell(skew.cell[:] @ (np.eye(3) + 0.02 * rng.normal(size=(3, 3))), scale_atoms=True)
    long = make_supercell(bulk("Cu", a=A, cubic=True), [[4, 0, 0], [1, 4, 0], [0, -1, 5]])
    return {"cube": cube, "centred": centred, "scattered": scattered, "skew": skew, "long": long}


@pytest.mark.parametrize("name", list(supercells()))
def test_a_defect_comes_back_where_it_was(name):
    perfect = supercells()[name]
    size = {"core": 1.75 * A, "blend": 1.5 * A, "outer": 5 * A}
    for site in (0, 17, 101, len(perfect) - 1):
        atoms = perfect.copy()
        place = atoms.positions[site].copy()
        del atoms[site]
        m = QuasiContinuum.from_atoms(atoms, potential(), **size)
        hole = m.crystal.positions(np.array([m.defects.vacant[0][:3]]))[0]
        np.testing.assert_allclose(m.predict(hole[None])[0] + m.offset, place, atol=1e-6)
        for out in (m.all_atoms(), m.to_ase()):
            distance, _ = cKDTree(out.positions).query(place, k=2)
            # An empty site among its neighbours.
            assert 0.6 * A < distance[0] < 0.8 * A
            seen = (out.positions - out.get_celldisp()) @ np.linalg.inv(out.cell[:])
            assert 0.0 <= seen.min() <= seen.max() < 1.0
    atoms = perfect.copy()
    place = atoms.positions[101] + [0.5 * A, 0.02, 0.01]
    atoms.append("Cu")
    atoms.positions[-1] = place
    m = QuasiContinuum.from_atoms(atoms, potential(), **size)
    assert len(m.defects.extra) == 1
    out = m.all_atoms()
    np.testing.assert_allclose(out.positions[-1], place, atol=1e-6)


# -- two energies ---------------------------------------------------------------------------------


def barrier(**options):
    """Migration barrier of a vacancy, by the functional and by `defect_energy`: two numbers."""
    crystal = fcc("Cu", A)
    hop = crystal.cell[0]
    m = QuasiContinuum(
        crystal, potential(), defects=HOLE, centres=[np.zeros(3), hop], outer=5 * A, **options
    )
    found = []
    for share in (0.0, 0.5):
        m.U = np.zeros_like(m.U)
        atoms = m.to_ase()
        jumper = int(np.linalg.norm(atoms.positions - m.offset - hop, axis=1).argmin())
        if share:
            # Half way it is at rest by symmetry.
            atoms.positions[jumper] -= share * hop
            atoms.set_constraint([*atoms.constraints, FixAtoms([jumper])])
        atoms.calc = QCCalculator(m)
        assert LBFGS(atoms, logfile=None).run(fmax=5e-3, steps=150)
        better = atoms.calc.get_property("defect_energy", atoms)
        found.append((atoms.get_potential_energy(), better))
        assert better == m.defect_energy()
    return np.subtract(found[1], found[0])


def test_barriers_by_the_defect_energy():
    exact, same = barrier(scheme="atomistic")
    assert exact == pytest.approx(same, abs=1e-9)
    functional, better = barrier(core=1.75 * A, blend=1.75 * A)
    assert abs(functional - exact) > 3e-3
    assert abs(better - exact) < 0.25 * abs(functional - exact)
    assert abs(better - exact) < 1.5e-3


def test_the_defect_energy_is_computed_where_it_is_asked_for(tmp_path):
    m = model()
    atoms = m.to_ase()
    atoms.calc = QCCalculator(m)
    energy = atoms.get_potential_energy()
    assert "defect_energy" not in atoms.calc.results
    assert atoms.calc.get_property("defect_energy", atoms) == m.defect_energy()
    assert atoms.get_potential_energy() == energy
    # ASE does not know it and takes the rest.
    assert set(atoms.calc.export_properties()) >= {"energy", "forces"}
    for suffix in ("extxyz", "traj"):
        write(tmp_path / f"atoms.{suffix}", atoms)
        assert read(tmp_path / f"atoms.{suffix}").get_potential_energy() == pytest.approx(energy)
    other = QCCalculator(model(scheme="bqcf"))
    atoms = other.model.to_ase()
    # Blended forces have no energy, but this.
    assert np.isfinite(other.get_property("defect_energy", atoms))
    # Asked for the energy of its forces, it says so and forgets nothing.
    known = dict(other.results)
    assert "forces" in known
    with pytest.raises(PropertyNotImplementedError, match="no energy"):
        other.get_property("energy", atoms)
    assert other.results == known
