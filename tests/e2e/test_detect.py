"""``qc detect``: any file of atoms in, the atoms that are not affine out."""

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qc.cli.main import main
from qc.errors import InputError, QCError
from qc.io.structures import read_structure

A = 3.615


def copper(n=5):
    return bulk("Cu", cubic=True, a=A) * (n, n, n)


def vacancy():
    atoms = copper()
    position = atoms.positions[123].copy()
    del atoms[123]
    atoms.rattle(0.02, seed=3)
    return atoms, position


def neighbours(atoms, position, reach):
    far = atoms.positions - position
    far -= np.round(far / atoms.cell.lengths()) * atoms.cell.lengths()
    return set(np.flatnonzero(np.linalg.norm(far, axis=1) < reach).tolist())


@pytest.mark.parametrize(
    "name", ["a.extxyz", "a.xyz", "POSCAR", "a.traj", "a.cif", "a.lammps-data"]
)
def test_the_neighbours_of_a_vacancy_in_many_formats(name, work, capsys):
    atoms, position = vacancy()
    format = {"a.lammps-data": "lammps-data", "POSCAR": "vasp", "a.xyz": "extxyz"}.get(name)
    options = {"masses": True} if format == "lammps-data" else {}
    ase.io.write(name, atoms, format=format, **options)
    arguments = ["detect", name, "--json", *(["--format", format] if format else [])]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["crystal"].startswith(f"fcc, a = {A:.4f}"[:12])
    assert found["verdict"] == "1 vacant site; 12 non-affine atoms"
    (vacant,) = found["vacant_sites"]
    gap = np.array(vacant) - position
    gap -= np.round(gap / atoms.cell.lengths()) * atoms.cell.lengths()
    assert np.linalg.norm(gap) < 0.02
    wanted = neighbours(atoms, position, 0.8 * A)
    assert len(wanted) == 12
    listed = {entry["index"] for entry in found["non_affine"]}
    # Some formats sort or wrap the atoms; the set of places is the same.
    again = read_structure(name, format=format)
    assert len(listed) == 12
    assert listed == neighbours(again, position, 0.8 * A)


def test_the_table_and_the_file(work, capsys):
    atoms, position = vacancy()
    atoms.write("block.extxyz")
    assert main(["detect", "block.extxyz", "--rows", "5"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "block.extxyz: 499 atoms (Cu499)"
    assert "non-affine 12 of 499 atoms" in out
    assert "... and 7 more" in out
    rows = [line.split() for line in lines if line.endswith("  non-affine")]
    assert len(rows) == 5
    written = ase.io.read("block.nonaffine.extxyz")
    d2 = written.arrays["nonaffinity"]
    assert set(np.flatnonzero(written.arrays["defect"]).tolist()) == neighbours(
        atoms, position, 0.8 * A
    )
    for row in rows:
        index = int(row[0])
        assert float(row[5]) == pytest.approx(d2[index], abs=1e-4)
        assert int(row[6]) == written.arrays["missing"][index] == 1
    np.testing.assert_allclose(written.positions, atoms.positions, atol=1e-7)


def test_a_perfect_strained_crystal_has_none(work, capsys):
    atoms = copper()
    strain = np.array([[1.02, 0.01, 0], [0, 0.99, 0.01], [0, 0, 1.01]])
    atoms.set_cell(atoms.cell[:] @ strain.T, scale_atoms=True)
    atoms.write("perfect.extxyz")
    assert main(["detect", "perfect.extxyz"]) == 0
    out = capsys.readouterr().out
    assert "perfect crystal" in out
    assert "non-affine 0 of 500 atoms" in out
    assert "strained by up to" in out


def test_kinds_of_defect_and_energies_with_a_potential(work, capsys):
    atoms = copper()
    atoms.symbols[7] = "Ni"
    middle = atoms.positions[250] + np.array([A / 2, 0, 0])
    atoms += Atoms("Cu", positions=[middle])
    atoms.write("alloy.extxyz")
    assert main(["detect", "alloy.extxyz", "--json", "--structure", "fcc",
                 "--potential", "zhou2004:Cu,Ni"]) == 0  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    kinds = {entry["index"]: entry["kind"] for entry in found["non_affine"]}
    assert kinds[7] == "foreign"
    assert kinds[500] == "extra"
    excess = {e["index"]: e["excess_energy"] for e in found["non_affine"]}
    assert abs(excess[500]) > 0.5
    written = ase.io.read("alloy.nonaffine.extxyz")
    assert abs(np.median(written.arrays["excess_energy"])) < 1e-6


def test_a_surface_is_said_to_be_one(work, capsys):
    atoms = copper()
    atoms.pbc = False
    atoms.center(vacuum=4.0)
    atoms.write("free.extxyz")
    assert main(["detect", "free.extxyz", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "perfect crystal"
    kinds = {entry["kind"] for entry in found["non_affine"]}
    assert kinds == {"surface"}
    outer = np.abs(atoms.positions - atoms.positions.mean(axis=0)).max(axis=1)
    inner = set(np.flatnonzero(outer < outer.max() - 0.6 * A).tolist())
    assert not inner & {entry["index"] for entry in found["non_affine"]}


def test_a_stacking_fault_is_found_though_it_is_no_point_defect(work, capsys):
    from ase.build import fcc111

    slab = fcc111("Cu", (6, 6, 12), a=A, vacuum=0.0, periodic=True)
    slab.cell[2, 2] += A / np.sqrt(3)
    upper = slab.positions[:, 2] > slab.positions[:, 2].mean()
    partial = (slab.cell[0] / 6 + slab.cell[1] / 6) / 3
    slab.positions[upper] += 2 * partial
    slab.info = {}
    slab.write("fault.extxyz")
    assert main(["detect", "fault.extxyz", "--json", "--structure", "fcc",
                 "--potential", "zhou2004:Cu"]) == 0  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"].startswith(("not point defects alone", "no single lattice"))
    heights = {round(entry["position"][2], 2) for entry in found["non_affine"]}
    middle = slab.positions[:, 2].mean()
    assert min(abs(z - middle) for z in heights) < 1.5


def test_frames_and_output(work, capsys):
    atoms, _ = vacancy()
    ase.io.write("two.extxyz", [copper(), atoms])
    assert main(["detect", "two.extxyz", "--frame", "0", "--output", "first.extxyz"]) == 0
    assert "non-affine 0 of 500" in capsys.readouterr().out
    assert main(["detect", "two.extxyz", "--output", "last.extxyz"]) == 0
    assert "non-affine 12 of 499" in capsys.readouterr().out
    assert len(ase.io.read("first.extxyz")) == 500
    before = Path("two.extxyz").read_bytes()
    assert main(["detect", "two.extxyz", "--output", "two.extxyz"]) == 2
    assert "would overwrite the input" in capsys.readouterr().err
    assert Path("two.extxyz").read_bytes() == before


def test_the_threshold_is_the_users(work, capsys):
    atoms, _ = vacancy()
    atoms.write("block.extxyz")
    counts = []
    for threshold in ("0.0001", "0.05", "0.5"):
        assert main(["detect", "block.extxyz", "--json", "--threshold", threshold]) == 0
        counts.append(len(json.loads(capsys.readouterr().out)["non_affine"]))
    assert counts[0] > counts[1] == 12 > counts[2] == 0


def write_nan(path):
    atoms = copper(3)
    atoms.positions[5, 1] = np.nan
    atoms.write(path)


BAD = {
    "missing.xyz": (None, "No such file"),
    "empty.xyz": (lambda p: p.write_text(""), "empty.xyz: the file is empty"),
    "binary.xyz": (lambda p: p.write_bytes(bytes(range(256)) * 4), "binary.xyz: "),
    "words.txt": (lambda p: p.write_text("no atoms here\n" * 9), "words.txt: cannot be read"),
    "short.xyz": (lambda p: p.write_text("500\n\nCu 0 0 0\n"), "short.xyz: "),
    "huge.xyz": (lambda p: p.write_text("999999999999\n\nCu 0 0 0\n"), "huge.xyz: "),
    "huge.lammpstrj": (
        lambda p: p.write_text(
            "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n999999999999\n"
            "ITEM: BOX BOUNDS pp pp pp\n0 1\n0 1\n0 1\nITEM: ATOMS id type x y z\n1 1 0 0 0\n"
        ),
        "huge.lammpstrj: 999999999999 atoms are declared",
    ),
    "second.xyz": (
        lambda p: p.write_text("1\n\nCu 0 0 0\n" + "9" * 5000 + "\n\nCu 0 0 0\n"),
        "atoms are declared, but only 1 lines follow",
    ),
    "POSCAR": (
        lambda p: p.write_text("Cu\n1.0\n1 0 0\n0 1 0\n0 0 1\nCu\n999999999999\nDirect\n0 0 0\n"),
        "POSCAR: 999999999999 atoms are declared",
    ),
    "nan.extxyz": (write_nan, "nan.extxyz: the position of atom 5 is NaN"),
    "none.xyz": (lambda p: p.write_text("0\n\n"), "none.xyz: "),
    "pickle.traj": (lambda p: p.write_bytes(b"\x80\x04\x95\x00c__main__"), "pickle.traj: "),
    "one.extxyz": (lambda p: Atoms("Cu", [(0, 0, 0)]).write(p), "atom"),
    "twice.extxyz": (lambda p: Atoms("Cu2", np.zeros((2, 3))).write(p), "coincide"),
    "gas.extxyz": (
        lambda p: Atoms("Cu40", np.random.default_rng(0).uniform(0, 90, (40, 3))).write(p),
        "",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_line(name, work, capsys):
    make, message = BAD[name]
    if make is not None:
        make(work / name)
    assert main(["detect", name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("qc detect: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not list(work.glob("*.nonaffine.extxyz"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frame", "7"], "no frame 7"),
        (["--format", "nonsense"], "cannot be read as atoms"),
        (["--threshold", "nan"], "--threshold nan: must be positive"),
        (["--threshold", "-1"], "--threshold -1.0: must be positive"),
        (["--rows", "-3"], "--rows -3: must not be negative"),
        (["--structure", "fc"], "invalid choice: 'fc'"),
        (["--potential", "zhou2004:Al"], "'Cu'"),
        (["--potential", "nothing.eam"], "nothing.eam"),
        (["--structre", "fcc"], "unknown option --structre; did you mean '--structure'?"),
        (["--structure", "bcc"], "bcc"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message, work, capsys):
    copper(3).write("block.extxyz")
    assert main(["detect", "block.extxyz", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["a.xyz", "a.extxyz", "POSCAR", "a.cif", "a.traj", "a.json", "a"]),
    raw=st.binary(max_size=200),
    head=st.sampled_from([b"", b"3\n\n", b"1\nPbc=T\n", b"- of Ulm", b"ITEM: TIMESTEP\n"]),
)  # fmt: skip
def test_any_bytes_are_refused_or_atoms(name, raw, head, tmp_path):
    path = tmp_path / name
    path.write_bytes(head + raw)
    try:
        atoms = read_structure(path)
    except InputError:
        return
    assert len(atoms) > 0
    assert np.isfinite(atoms.positions).all()


def test_one_or_two_atoms_have_a_defined_answer(work, capsys):
    bulk("Cu", a=A).write("cell.extxyz")
    code = main(["detect", "cell.extxyz"])
    out, err = capsys.readouterr()
    assert code in (0, 2)
    assert ("perfect crystal" in out) if code == 0 else err.startswith("qc detect: error: ")
    assert issubclass(InputError, QCError)
