"""Files without an end and sizes without measure are refused before any work is done."""

import gzip
import os
import time

import numpy as np
import pytest
from ase.build import bulk

import qc
from qc.atomistic.neighbours import neighbour_list
from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import fcc, from_ase
from qc.errors import (
    CaseError,
    CheckpointError,
    CrystalError,
    InputError,
    MeshError,
    PotentialFileError,
    QCError,
    RegionError,
)
from qc.io import read_checkpoint, read_dynamics, read_history, read_structure
from qc.io.cases.case import load_case
from qc.io.potentials import read_potential
from qc.materials import CauchyBorn, equilibrium_crystal
from qc.mesh import LatticeBlock
from qc.potentials import LennardJones, zhou2004

#: Seconds that a refusal may take, on a slow machine.
AT_ONCE = 2.0

READERS = {
    read_structure: InputError, read_history: InputError, read_checkpoint: CheckpointError,
    read_dynamics: CheckpointError, load_case: CaseError, read_potential: PotentialFileError,
}  # fmt: skip

COLUMNS = fcc("Cu", 3.615, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns()


@pytest.mark.parametrize("reader", READERS, ids=lambda r: r.__name__)
@pytest.mark.parametrize("what", ["device", "pipe"])
def test_only_regular_files_are_read(reader, what, tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(READERS[reader], match="not a regular file"):
        reader("/dev/zero" if what == "device" else path)


def test_a_case_whose_potential_is_a_device_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "case.toml").write_text(
        '[crystal]\nstructure = "fcc"\nelement = "Cu"\n[potential]\nfile = "/dev/zero"\n'
    )
    from qc.cli.main import main

    assert main(["run", "case.toml"]) == 2
    assert "/dev/zero: a device, pipe or socket" in capsys.readouterr().err


FILES = {
    "wide.xyz": (
        "1\nProperties=species:S:1:pos:R:300000000\nCu 0 0 0\n",
        "300000001 columns are declared, but the first atom has 4",
    ),
    "long.xyz": ("1\n" + "a=1 " * 300_000 + "\nCu 0 0 0\n", "a line of more than 1048576 bytes"),
    "POSCAR": (
        "x\n1.0\n4 0 0\n0 4 0\n0 0 4\nCu\n999999999\nDirect\n0 0 0\n",
        "POSCAR: 999999999 atoms are declared in a file of 50 bytes",
    ),
    "CONTCAR": ("Cu\n1\n9 0 0\n0 9 0\n0 0 9\n5 99999999\nDirect\n0 0 0\n", "100000004 atoms are"),
    "a.gro": ("x\n 999999999\n    1COPP  Cu    1   0.0 0.0 0.0\n 1 1 1\n", "999999999 atoms"),
    "a.gen": ("999999999 C\n Cu\n 1 1 0 0 0\n", "999999999 atoms"),
    "a.cube": ("c\nc\n1 0 0 0\n99999 1 0 0\n99999 0 1 0\n99999 0 0 1\n", "99999 atoms"),
    "a.xsf": ("CRYSTAL\nPRIMVEC\n4 0 0\n0 4 0\n0 0 4\nPRIMCOORD\n9999999 1\n29 0 0 0\n", "9999999"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_a_structure_file_declares_is_compared_with_what_it_holds(name, tmp_path):
    text, message = FILES[name]
    path = tmp_path / name
    path.write_text(text)
    begin = time.monotonic()
    with pytest.raises(InputError, match=message):
        read_structure(path)
    assert time.monotonic() - begin < AT_ONCE


def test_a_small_packed_file_does_not_unpack_without_end(tmp_path):
    path = tmp_path / "bomb.xyz.gz"
    with gzip.open(path, "wb") as file:
        file.write(b"1\n" + b"a" * 100_000_000)
    with pytest.raises(InputError, match="bytes unpack to more than"):
        read_structure(path)


@pytest.mark.parametrize("suffix", ["xyz", "xyz.gz", "vasp", "gen", "gro", "xsf", "cube", "json"])
def test_honest_files_are_read(suffix, tmp_path):
    atoms = bulk("Cu", cubic=True) * 3
    if suffix == "json":
        # One line, longer than a line of text may be.
        atoms = bulk("Cu", cubic=True) * 15
        atoms.new_array("more", np.ones((len(atoms), 8)) / 3.0)
    path = tmp_path / f"a.{suffix}"
    atoms.write(path)
    assert len(read_structure(path)) == len(atoms)


def vacancy(crystal=None, potential=None, **options):
    crystal = fcc("Cu", 3.615) if crystal is None else crystal
    return QuasiContinuum(
        crystal, potential or zhou2004("Cu"), defects=PointDefects(vacant=[(0, 0, 0)]), **options
    )


def long_range(cutoff):
    return LennardJones("Cu", 0.1, 2.3, cutoff)


GIANTS = {
    "cutoff": (lambda: vacancy(potential=long_range(1000.0)), InputError, "cutoff of 1000"),
    "cutoff at rest": (
        lambda: equilibrium_crystal(fcc("Cu", 3.6), long_range(1000.0)), InputError, "neighbours"
    ),
    "bonds": (lambda: vacancy(potential=long_range(30.0)), RegionError, "cutoff shorter"),
    "lattice constant": (lambda: vacancy(fcc("Cu", 0.5)), InputError, "constant of 0.5 Angstrom"),
    "star": (lambda: fcc("Cu", 1e-3).star(3.0), CrystalError, "lattice points lie within 3 "),
    "blend": (lambda: vacancy(blend=1e4), RegionError, "core and blend would hold"),
    "blend in columns": (lambda: vacancy(COLUMNS, blend=1e4, outer=3e4), RegionError, "hold about"),
    "blend beyond": (lambda: vacancy(blend=1e300), RegionError, "core and blend would hold"),
    "core": (lambda: vacancy(core=1e4), RegionError, "core and blend would hold"),
    "outer": (lambda: vacancy(outer=1e300), RegionError, "the outer region reaches to 1e"),
    "atomistic": (
        lambda: vacancy(scheme="atomistic", outer=1e3), RegionError, "outer region would hold"
    ),
    "grading": (lambda: vacancy(outer=1e3, grading=1e-9), RegionError, "mesh would have about"),
    "largest": (lambda: vacancy(outer=1e3, largest=1e-9), RegionError, "mesh would have about"),
    "block": (
        lambda: vacancy(outer=LatticeBlock((-(10**5) - 1,) * 3, (10**5,) * 3)),
        MeshError, "a large power of two",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GIANTS)
def test_giants_are_refused_before_they_are_built(name):
    build, error, message = GIANTS[name]
    zhou2004("Cu")
    begin = time.monotonic()
    with pytest.raises(error, match=message):
        build()
    assert time.monotonic() - begin < AT_ONCE


def test_a_calculator_refuses_images_out_of_proportion():
    atoms = bulk("Cu", cubic=True)
    atoms.calc = qc.PotentialCalculator(long_range(500.0))
    with pytest.raises(InputError, match="images of the atoms"):
        atoms.get_potential_energy()


@pytest.mark.parametrize("outer", [1e5, 1e8])
def test_large_models_that_are_cheap_are_built(outer):
    model = QuasiContinuum(COLUMNS, zhou2004("Cu"), outer=outer, core=7.0, blend=6.0)
    assert model.n_unknowns < 10_000


def test_a_limit_may_be_raised(monkeypatch):
    monkeypatch.setattr("qc.coupling.regions.MOST_ATOMS", 100)
    with pytest.raises(RegionError, match="the most is 1e\\+02"):
        vacancy()
    monkeypatch.setattr("qc.materials.cauchy_born.MOST_NEIGHBOURS", 10)
    with pytest.raises(QCError, match="the most is 10:"):
        CauchyBorn(fcc("Cu", 3.6), zhou2004("Cu"))


SHEARED = {
    "sheared": [[7.22, 0, 0], [1e6, 7.22, 0], [0, 0, 7.22]],
    "one entry of another unit": [[7.22, 0, 0], [0, 7.22, 1e5], [0, 0, 7.22]],
    "flat": [[7.22, 0, 0], [0.495, 0.0087, 0.5036], [0, 0, 7.22]],
}


@pytest.mark.parametrize("name", SHEARED)
def test_a_cell_out_of_all_shape_is_refused_at_once(name):
    atoms = bulk("Cu", a=3.61, cubic=True) * 2
    atoms.rattle(0.05, seed=1)
    atoms.set_cell(SHEARED[name])
    for use in (qc.nonaffinity, lambda a: neighbour_list(a.positions, 6.0, a.cell, True)):
        begin = time.perf_counter()
        with pytest.raises(InputError, match=r"overlap|coincide|too thin, or too much sheared"):
            use(atoms)
        assert time.perf_counter() - begin < AT_ONCE


def test_a_single_atom_in_a_sheared_cell_is_refused_at_once():
    cell, begin = [[7, 0, 0], [3e6, 7, 0], [0, 0, 7]], time.perf_counter()
    with pytest.raises(InputError, match="too much sheared"):
        neighbour_list(np.zeros((1, 3)), 6.0, cell, True)
    assert time.perf_counter() - begin < AT_ONCE


def test_a_crystal_of_many_sublattices_is_made_in_a_moment():
    atoms, begin = bulk("Cu", cubic=True) * 4, time.perf_counter()
    del atoms[0]
    assert from_ase(atoms).n_sublattices == 255
    assert time.perf_counter() - begin < 2 * AT_ONCE
