"""Arguments of the wrong kind, size or range at the public entry points: typed errors, in words."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT

import qc
from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import fcc, find_defects, from_ase, recognise
from qc.dynamics import Dynamics
from qc.errors import InputError, NonFiniteError, PotentialError, QCError
from qc.farfield import HomogeneousStrain, isotropic_elastic
from qc.mesh import best_basis
from qc.potentials import (
    EAM,
    LennardJones,
    Morse,
    PairTable,
    Tersoff,
    stillinger1985,
    write_pair_table,
    write_setfl,
    zhou2004,
)
from qc.solve import relax
from qc.solve.path import follow

COPPER = zhou2004("Cu")
COLUMNS = fcc("Cu", 3.615, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns()
VACANCY = PointDefects(vacant=[(0, 0, 0)])


@pytest.fixture(scope="module")
def model():
    return QuasiContinuum(COLUMNS, COPPER, core=7.0, blend=6.0, outer=20.0, defects=VACANCY)


@pytest.fixture(scope="module")
def atoms():
    found = bulk("Cu", cubic=True) * 4
    del found[0]
    return found


def build(**options):
    return QuasiContinuum(COLUMNS, COPPER, **{"core": 7.0, "blend": 6.0, "outer": 20.0} | options)


def with_number(atoms, z):
    changed = atoms.copy()
    changed.numbers[3] = z
    return changed


def moved(atoms, x):
    changed = atoms.copy()
    changed.positions[3, 0] = x
    return changed


def energy(atoms):
    atoms.calc = qc.PotentialCalculator(COPPER)
    return atoms.get_potential_energy()


FROM_ATOMS = [None, "file.xyz", 5, [1, 2], COPPER, EMT(), Atoms]


@pytest.mark.parametrize("given", FROM_ATOMS, ids=[type(g).__name__ for g in FROM_ATOMS])
def test_what_is_no_set_of_atoms_is_refused(given):
    for use in (lambda: QuasiContinuum.from_atoms(given, COPPER), lambda: qc.nonaffinity(given)):
        with pytest.raises(InputError, match="atoms must be an Atoms, got"):
            use()


@pytest.mark.parametrize("z", [-1, 119, 200, 10**6])
def test_atomic_numbers_of_no_element_are_named(z, atoms):
    strange = with_number(atoms, z)
    for use in (energy, lambda a: QuasiContinuum.from_atoms(a, COPPER), qc.nonaffinity):
        with pytest.raises(InputError, match=f"atom 3 has the atomic number {z}"):
            use(strange)


@pytest.mark.parametrize("x", [1e308, -1e20])
def test_coordinates_without_digits_are_named(x, atoms):
    with pytest.raises(InputError, match="atom 3"):
        energy(moved(atoms, x))
    with pytest.raises(InputError, match="atom 3"):
        QuasiContinuum.from_atoms(moved(atoms, x), COPPER)
    for defects in (
        {"extra": [("Cu", (x, 0, 0))]}, {"vacant": [(2**63, 0, 0)]}, {"vacant": [(10**400, 0, 0)]}
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"extra Cu atom|vacant site"):
            PointDefects(**defects)
    with pytest.raises(InputError, match="centres"):
        build(centres=[[x, 0, 0]])


WRONG = {
    "relax atoms": lambda m, a: relax(a),
    "relax callback": lambda m, a: relax(m, callback=3),
    "relax preconditioner": lambda m, a: relax(m, preconditioner=3),
    "relax fmax": lambda m, a: relax(m, fmax="x"),
    "follow atoms": lambda m, a: follow(a, np.eye(3)),
    "follow callback": lambda m, a: follow(m, np.eye(3), callback=3),
    "follow iteration": lambda m, a: follow(m, np.eye(3), iteration=3),
    "follow option": lambda m, a: follow(m, np.eye(3), fnax=1e-3),
    "follow start": lambda m, a: follow(m, np.eye(3), start="x"),
    "far field": lambda m, a: m.with_far_field("x"),
    "far field class": lambda m, a: m.with_far_field(HomogeneousStrain),
    "strain": lambda m, a: m.with_strain("x"),
    "predict": lambda m, a: m.predict(None),
    "interpolate": lambda m, a: m.interpolate([[0.5, 0, 0]]),
    "all_atoms": lambda m, a: m.all_atoms("x"),
    "all_atoms far": lambda m, a: m.all_atoms(1e300),
    "built with far field": lambda m, a: build(far_field=5),
    "built with defects": lambda m, a: build(defects=[(0, 0, 0)]),
    "built with boundary": lambda m, a: build(boundary="top"),
    "built with scheme": lambda m, a: build(scheme=["bgfc"]),
    "defects": lambda m, a: PointDefects(vacant=5),
    "extra": lambda m, a: PointDefects(extra=[("Cu",)]),
    "substitutions": lambda m, a: PointDefects(substitutions=[(0, 0, 0)]),
    "element": lambda m, a: fcc(["Cu"], 3.6),
    "star": lambda m, a: COLUMNS.star(3.0, 7),
    "sublattice": lambda m, a: COLUMNS.positions([[0, 0, 0]], 9),
    "sites": lambda m, a: COLUMNS.positions("x"),
    "nearest": lambda m, a: COLUMNS.integer_coordinates("x"),
    "zhou2004 list": lambda m, a: zhou2004(["Cu", "Ni"]),
    "stillinger1985 list": lambda m, a: stillinger1985(["Si"]),
    "species": lambda m, a: LennardJones(5, 0.1, 2.3),
    "epsilon": lambda m, a: LennardJones("Cu", "0.1", 2.3),
    "sigma": lambda m, a: LennardJones("Cu", 0.1, None),
    "cutoff": lambda m, a: Morse("Cu", 0.1, 1.5, 2.5, "6"),
    "eam": lambda m, a: EAM.from_file(5),
    "table": lambda m, a: PairTable.from_file(None),
    "tersoff": lambda m, a: Tersoff.from_file([]),
    "read_structure": lambda m, a: qc.io.read_structure(5),
    "load_case": lambda m, a: qc.io.load_case(b"x"),
    "write_vtu": lambda m, a: qc.io.write_vtu(5, m),
    "write_vtu atoms": lambda m, a: qc.io.write_vtu("x.vtu", a),
    "write_extxyz atoms": lambda m, a: qc.io.write_extxyz("x", a),
    "cutoff of unequal lists": lambda m, a: LennardJones("Cu", 0.1, 2.3, cutoff=[[1, 2], [3]]),
    "write_vtu nowhere": lambda m, a: qc.io.write_vtu("", m),
    "write_vtu data": lambda m, a: qc.io.write_vtu("x.vtu", m, point_data="x"),
    "write_extxyz info": lambda m, a: qc.io.write_extxyz("x", m, info="x"),
    "write_extxyz fields": lambda m, a: qc.io.write_extxyz("x", m, fields="x"),
    "write_pvd": lambda m, a: qc.io.write_pvd(None, ["x.vtu"]),
    "write_pvd files": lambda m, a: qc.io.write_pvd("x.pvd", [5]),
    "write_pvd times": lambda m, a: qc.io.write_pvd("x.pvd", ["x.vtu"], "x"),
    "write_result": lambda m, a: qc.io.write_result("x", a, [], status="", reason=""),
    "write_result title": lambda m, a: qc.io.write_result(
        "x", m, [], status="", reason="", title=b"x"
    ),
    "write_checkpoint path": lambda m, a: qc.io.write_checkpoint("x", m, "x"),
    "write_checkpoint records": lambda m, a: qc.io.write_checkpoint("x", m, records=[{"a": a}]),
    "write_dynamics": lambda m, a: qc.io.write_dynamics("x", m),
    "restore": lambda m, a: qc.io.restore("x", m),
    "restore_dynamics": lambda m, a: qc.io.restore_dynamics("x", m),
    "set_up": lambda m, a: qc.io.set_up("case.toml"),
    "draw_ledger": lambda m, a: qc.io.draw_ledger("x.png", [1, 2]),
    "elements": lambda m, a: qc.io.read_structure("x", elements=5),
    "write_setfl": lambda m, a: write_setfl(a, "x"),
    "write_setfl path": lambda m, a: write_setfl(COPPER, None),
    "write_setfl folder": lambda m, a: write_setfl(COPPER, "/dev/null/x"),
    "write_pair_table": lambda m, a: write_pair_table(COPPER, "x"),
    "write_pair_table points": lambda m, a: write_pair_table(
        LennardJones("Cu", 0.1, 2.3), "x", points="x"
    ),
    "write_pair_table folder": lambda m, a: write_pair_table(
        LennardJones("Cu", 0.1, 2.3), "/dev/null/x"
    ),
    "from_ase": lambda m, a: from_ase("x"),
    "from_ase tolerance": lambda m, a: from_ase(a, None),
    "find_defects": lambda m, a: find_defects(a, "x"),
    "find_defects threshold": lambda m, a: find_defects(a, threshold="x"),
    "recognise": lambda m, a: recognise(a, 5),
    "isotropic": lambda m, a: isotropic_elastic(None, 0.3),
    "best_basis": lambda m, a: best_basis("x"),
    "snapshot": lambda m, a: Dynamics(m, 0.1, check_timestep=False).restore("x"),
    "write_checkpoint atoms": lambda m, a: qc.io.write_checkpoint("x", a),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_argument_of_another_kind_is_an_input_error(name, model, atoms, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QCError) as caught:
        WRONG[name](model, atoms)
    assert str(caught.value)


STATES = [np.zeros((3, 3)), np.zeros(5), "x", 5, np.zeros((277, 3)) * 1j, np.zeros((277, 4))]


@pytest.mark.parametrize("u", STATES, ids=lambda u: str(np.shape(u)))
def test_a_state_of_another_shape_is_refused(u, model):
    for use in (
        lambda: setattr(model, "U", u), lambda: model.energy(u), lambda: model.forces(u),
        lambda: model.energy_forces(u), lambda: model.hessian_product(model.U, u),
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"U must (have shape \(277, 3\)|be real numbers)"):
            use()


def test_a_state_is_kept_as_it_is_and_may_be_changed_in_place(model):
    u = np.zeros((277, 3))
    model.U = u
    assert model.U is u
    model.U = u.astype(np.float32)
    assert model.U.dtype == np.float64


def test_another_species_or_mass_under_the_calculator_is_refused(model):
    representative = model.to_ase()
    representative.calc = qc.QCCalculator(model)
    representative.get_forces()
    representative.numbers[2] = 28
    with pytest.raises(InputError, match="representative atom 2 is Cu in the model, not Ni"):
        representative.get_forces()
    representative.numbers[2] = 200
    with pytest.raises(InputError, match="atom 2 has the atomic number 200"):
        representative.get_forces()
    representative.numbers[2] = 29
    masses = representative.get_masses()
    masses[4] = -1.0
    representative.arrays["masses"] = masses
    representative.rattle(1e-12)
    with pytest.raises(InputError, match="mass of atom 4 must be positive"):
        representative.get_forces()


class Complex(Calculator):
    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        n = len(self.atoms)
        self.results = {"energy": 0.0, "forces": np.full((n, 3), 1e-3j), "stress": np.zeros(6)}


def test_complex_forces_are_not_cast(atoms):
    from ase.units import fs

    potential = qc.potentials.ASEPotential(Complex(), "Cu", cutoff=4.0)
    with pytest.raises(PotentialError, match="forces that are complex"):
        QuasiContinuum(COLUMNS, potential, scheme="bqcf", core=7.0, blend=6.0, outer=20.0).forces()
    wild = atoms.copy()
    wild.calc = Complex()
    with pytest.raises((InputError, NonFiniteError), match="complex"):
        qc.dynamics.Dynamics(wild, 1 * fs, check_timestep=False).run(1)


MORE = {
    "sum of dislocations": lambda: qc.farfield.DislocationSum(5),
    "cubic moduli": lambda: qc.farfield.cubic_elastic(1.0, "x", 0.4),
    "surface normal": lambda: qc.mesh.FreeSurface("x"),
    "ball": lambda: qc.mesh.Ball(5.0, "x"),
    "ball in the plane": lambda: qc.mesh.Ball(5.0, (1.0, 2.0)),
    "block": lambda: qc.mesh.LatticeBlock(["a"] * 3, [3] * 3),
    "block of halves": lambda: qc.mesh.LatticeBlock([-3.5] * 3, [3] * 3),
    "block far": lambda: qc.mesh.LatticeBlock([-(2**70)] * 3, [2**70] * 3),
    "block axes": lambda: qc.mesh.LatticeBlock([-3] * 3, [3] * 3, 5),
    "check_potential": lambda: qc.verify.check_potential(None),
    "check_coupling": lambda: qc.verify.check_coupling("x"),
    "W of F": lambda: qc.materials.CauchyBorn(COLUMNS, COPPER).evaluate(np.eye(2)),
    "moduli of F": lambda: qc.materials.CauchyBorn(COLUMNS, COPPER).elastic_constants("x"),
    "species of a calculator": lambda: qc.potentials.ASEPotential(EMT(), 5, 4.0),
}


@pytest.mark.parametrize("name", MORE)
def test_parts_are_checked_where_they_are_made(name):
    with pytest.raises(InputError):
        MORE[name]()


def test_dynamics_goes_through_pickle(model):
    from ase.units import fs

    from qc.dynamics import Dynamics, Langevin

    run = Dynamics(model, 1 * fs, baths=[Langevin(300.0, 0.01 / fs)], check_timestep=False)
    run.set_temperature(300.0)
    other = pickle.loads(pickle.dumps(run))
    for one in (run, other):
        one.run(3)
    np.testing.assert_array_equal(run.x, other.x)
    assert other.system.model is not run.system.model


def test_a_damaged_cache_names_the_folder_to_delete(tmp_path):
    (tmp_path / "small.py").write_text(
        "from qc.numerics.jit import kernel\n\n@kernel()\ndef f(x):\n    return x + 1\n"
    )
    command = [sys.executable, "-c", "import small; print(small.f(1))"]
    options = {
        "cwd": tmp_path, "capture_output": True, "text": True,
        "env": os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")},
    }  # fmt: skip
    assert subprocess.run(command, check=True, **options).stdout == "2\n"
    (index,) = (tmp_path / "cache").rglob("*.nbi")
    index.write_bytes(index.read_bytes()[:-20])
    failed = subprocess.run(command, check=False, **options)
    assert f"CacheError: numba's cache of small is damaged: delete {index.parent}" in failed.stderr
