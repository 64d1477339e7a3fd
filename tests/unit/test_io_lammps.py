"""Atoms from LAMMPS: what each type is, and every way in which positions are written.

The files are as LAMMPS (22 Jul 2025) writes them. Against files of LAMMPS itself positions agreed
to the digits written for every variant below.
"""

import gzip
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from qc.cli.main import main
from qc.coupling import QuasiContinuum
from qc.errors import CrystalError, InputError
from qc.io import read_structure
from qc.potentials import PairTable

A = 3.52
#: A tilted box of LAMMPS, origin elsewhere.
CELL = np.array([[7.0, 0.0, 0.0], [1.5, 6.0, 0.0], [-0.8, -2.0, 8.0]])
ORIGIN = np.array([-1.0, 2.0, 0.5])
FRACTIONS = np.array([[0.1, 0.2, 0.3], [0.9, 0.5, 0.7], [0.4, 0.8, 0.05]])
POSITIONS = ORIGIN + FRACTIONS @ CELL


def dump(columns, rows, *, cell=CELL, origin=ORIGIN, step=0, flags="pp pp ff", count=None, head=""):
    """Return one frame, with the bounds of LAMMPS around a tilted cell."""
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) @ cell + origin
    low, high = corners.min(axis=0), corners.max(axis=0)
    tilt = (cell[1, 0], cell[2, 0], cell[2, 1])
    tilted = any(tilt)
    lines = [
        f"{head}ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS",
        str(len(rows) if count is None else count),
        f"ITEM: BOX BOUNDS {'xy xz yz ' if tilted else ''}{flags}",
        *(" ".join(f"{v:.16e}" for v in (low[k], high[k], *(tilt[k : k + 1] * tilted)))
          for k in range(3)),
        f"ITEM: ATOMS {columns}", *rows,
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def rows(pattern, positions=POSITIONS, types=(1, 2, 1)):
    """Return the rows of three atoms whose ids are 7, 3 and 5."""
    return [
        pattern.format(id=i, type=t, x=" ".join(f"{v:.12g}" for v in p))
        for i, t, p in zip((7, 3, 5), types, positions, strict=True)
    ]


def check(path, symbols=("Al", "Ni", "Ni"), elements=("Ni", "Al"), **options):
    """Check elements and positions in the order of the ids, 3, 5, 7."""
    atoms = read_structure(path, elements=elements, **options)
    assert tuple(atoms.symbols) == symbols
    np.testing.assert_allclose(atoms.positions, POSITIONS[[1, 2, 0]], atol=1e-9)
    np.testing.assert_allclose(atoms.cell[:], CELL, atol=1e-12)
    assert atoms.arrays["id"].tolist() == [3, 5, 7]
    return atoms


DUMPS = {
    "plain": ("id type x y z", rows("{id} {type} {x}"), True),
    "scaled": ("id type xs ys zs", rows("{id} {type} {x}", FRACTIONS), True),
    "unwrapped": ("id type xu yu zu ix iy iz", rows("{id} {type} {x} 0 1 0"), True),
    "scaled unwrapped": ("id type xsu ysu zsu", rows("{id} {type} {x}", FRACTIONS), True),
    "molecules": ("id mol type x y z q", rows("{id} 4 {type} {x} 0.5"), True),
    "more columns": ("id type proc x y z c_pe vx fx", rows("{id} {type} 0 {x} -4 0.1 2"), True),
    "masses and types": ("id type mass x y z", rows("{id} {type} 999 {x}"), True),
    "elements": ("id element x y z", rows("{id} {type} {x}", types=("Ni", "Al", "Ni")), False),
    "labels": ("id typelabel x y z", rows("{id} {type} {x}", types=("Ni", "Al", "Ni")), False),
    "types as labels": ("id type x y z", rows("{id} {type} {x}", types=("Ni", "Al", "Ni")), False),
    "masses": ("id mass x y z", rows("{id} {type} {x}", types=(58.71, 26.982, 58.71)), False),
}


@pytest.mark.parametrize("name", DUMPS)
def test_dumps_of_every_kind(name, tmp_path):
    columns, lines, numbered = DUMPS[name]
    path = tmp_path / "a.txt"
    path.write_text(dump(columns, lines))
    atoms = check(path, elements=("Ni", "Al") if numbered else None)
    assert atoms.pbc.tolist() == [True, True, False]
    if not numbered:
        return
    with pytest.raises(InputError, match="names types 1, 2 but no elements; give elements") as no:
        read_structure(path)
    assert "--elements Ni,Al" in str(no.value)


def test_a_box_of_three_vectors(tmp_path):
    path = tmp_path / "general"
    text = dump("id type x y z", rows("{id} {type} {x}"))
    bounds = "\n".join(" ".join(map(str, row)) for row in np.column_stack([CELL, ORIGIN]))
    before, _, rest = text.partition("ITEM: BOX BOUNDS xy xz yz pp pp ff\n")
    path.write_text(
        f"{before}ITEM: BOX BOUNDS abc origin pp pp ff\n{bounds}\n{rest.split(chr(10), 3)[3]}"
    )
    check(path)


def test_frames_line_ends_and_compression(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = dump("id type x y z", rows("{id} {type} {x}", POSITIONS + 1.0), step=0,
                 head="ITEM: UNITS\nmetal\nITEM: TIME\n0\n")  # fmt: skip
    last = dump("id type x y z", rows("{id} {type} {x}"), step=500, head="ITEM: TIME\n0.5\n")
    Path("two.dump").write_text(first + last)
    Path("dos.dump").write_bytes((first + last).replace("\n", "\r\n").encode())
    Path("two.dump.gz").write_bytes(gzip.compress((first + last).encode()))
    for name in ("two.dump", "dos.dump", "two.dump.gz"):
        assert check(name).info == {
            "elements": "given for the types", "timestep": 500, "frame": 1, "frames": 2,
        }  # fmt: skip
        assert read_structure(name, 0, elements="Ni,Al").positions[0] == pytest.approx(
            POSITIONS[1] + 1.0
        )
    with pytest.raises(InputError, match="no frame 2; there are 2"):
        read_structure("two.dump", 2, elements="Ni,Al")


def test_c_for_every_type_is_no_element(tmp_path, caplog):
    path = tmp_path / "a.dump"
    path.write_text(dump("id type element x y z", rows("{id} {type} C {x}")))
    with pytest.raises(InputError, match="which LAMMPS writes unless 'dump_modify"):
        read_structure(path)
    check(path)
    path.write_text(dump("id element x y z", rows("{id} C {x}")))
    assert set(read_structure(path).symbols) == {"C"}
    assert "which LAMMPS writes unless" in caplog.text


WRONG = {
    "too few elements": (
        dump("id type x y z", rows("{id} {type} {x}")), "Ni", "type 2 is there, but only 1 element",
    ),
    "no element": (
        dump("id type x y z", rows("{id} {type} {x}")), "Ni,Alu", "'Alu' is no element",
    ),
    "no element in the file": (
        dump("id element x y z", rows("{id} Q {x}")), None, "'Q' is no element",
    ),
    "no types": (dump("id x y z", rows("{id} {x}")), None, "neither types nor elements"),
    "no positions": (dump("id type vx", rows("{id} {type} 0")), "Ni,Al", "no positions"),
    "mass of two": (
        dump("id mass x y z", rows("{id} 40.0 {x}")), None, "neither types nor elements",
    ),
    "no atoms": (dump("id type x y z", []), "Ni", "holds no atoms"),
    "cut off": (
        dump("id type x y z", rows("{id} {type} {x}")[:2], count=3), "Ni,Al",
        "3 atoms are declared, but only 2 lines follow in frame 0: the file is cut off",
    ),
    "cut off in the last number": (
        dump("id type x y z", rows("{id} {type} {x}"))[:-3], "Ni,Al", "cut off",
    ),
    "too many": (
        dump("id type x y z", rows("{id} {type} {x}"), count=2), "Ni,Al", "more lines",
    ),
    "word": (dump("id type x y z", rows("{id} {type} 1 2 x")), "Ni,Al", "column z"),
    "short line": (dump("id type x y z", rows("{id} {type} 1 2")), "Ni,Al", "no column z"),
    "twice": (
        dump("id type x y z", ["1 1 0 0 0", "1 1 2 2 2"]), "Ni", "id 1 is there twice",
    ),
    "units": (
        dump("id type x y z", rows("{id} {type} {x}"), head="ITEM: UNITS\nlj\n"), "Ni,Al",
        "units lj",
    ),
    "type 0": (dump("id type x y z", ["1 0 0 0 0"]), "Ni", "'0' is no number"),
    "style xyz": ("2\n Atoms. Timestep: 0\n1 0 0 0\n2 1 1 1\n", "Ni,Al", "style xyz"),
    "no LAMMPS": ("1\n\nNi 0 0 0\n", "Ni", "files of LAMMPS only"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_dumps_say_what_is_wrong(name, tmp_path):
    text, elements, message = WRONG[name]
    path = tmp_path / ("a.xyz" if name == "no LAMMPS" else "a.dump")
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_structure(path, elements=elements)


def test_a_binary_dump_is_refused(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes((-10).to_bytes(8, "little", signed=True) + b"DUMPCUSTOM" + bytes(100))
    with pytest.raises(InputError, match="binary LAMMPS dump"):
        read_structure(path)


def data(atoms, *, style=" # atomic", sections="Masses\n\n1 58.693\n2 26.982\n"):
    """Return a data file as write_data writes it; ``atoms`` are the lines of the section."""
    lines = ["LAMMPS data file via write_data, version 22 Jul 2025, timestep = 0, units = metal",
             "", f"{len(atoms)} atoms", "2 atom types", ""]  # fmt: skip
    lines += [f"{ORIGIN[k]} {ORIGIN[k] + CELL[k, k]} {c}lo {c}hi" for k, c in enumerate("xyz")]
    lines += ["1.5 -0.8 -2.0 xy xz yz"]
    lines += ["", *sections.splitlines(), "", f"Atoms{style}", "", *atoms]
    return "\n".join([*lines, "", "Velocities", "", *(f"{i} 0 0 0" for i in (7, 3, 5)), ""])


DATA = {
    "atomic": (rows("{id} {type} {x} 0 0 0"), " # atomic"),
    "charge": (rows("{id} {type} -0.5 {x}"), " # charge"),
    "full": (rows("{id} 1 {type} 0.5 {x} 0 0 0"), " # full"),
    "molecular": (rows("{id} 1 {type} {x}"), " # molecular"),
    "atomic without hint": (rows("{id} {type} {x}"), ""),
    "full without hint": (rows("{id} 1 {type} 0.5 {x}"), ""),
}


@pytest.mark.parametrize("name", DATA)
def test_data_files_of_every_style(name, tmp_path, caplog):
    lines, style = DATA[name]
    path = tmp_path / "a.data"
    path.write_text(data(lines, style=style))
    assert check(path, elements=None).info["elements"].startswith("guessed from the masses")
    assert "guessed from the masses: type 1 of mass 58.693 Ni" in caplog.text
    check(path, symbols=("Si", "Cu", "Cu"), elements=("Cu", "Si"))
    path.write_bytes(data(lines, style=style).replace("\n", "\r\n").encode())
    check(path)


def test_labels_of_data_files_stay_with_their_atoms(tmp_path):
    # ASE sorts ids and positions but not the labels.
    path = tmp_path / "a.data"
    text = data(rows("{id} {type} {x}", types=("Ni", "Al", "Ni")),
                sections="Atom Type Labels\n\n1 Ni\n2 Al\n\nMasses\n\n1 1.0\n2 1.0\n")  # fmt: skip
    path.write_text(text)
    assert check(path, elements=None).info["elements"] == "named in the file"


def test_the_element_behind_a_mass(tmp_path):
    path = tmp_path / "a.data"
    atoms = bulk("Ni", cubic=True, a=A)
    ase.io.write(path, atoms, format="lammps-data", masses=True, specorder=["Ni", "Al"])
    assert read_structure(path).info["elements"] == "named in the file"


WRONG_DATA = {
    "no masses": (data(rows("{id} {type} {x}"), sections=""), None, "names types 1, 2 but no"),
    "a mass of two": (
        data(rows("{id} {type} {x}"), sections="Masses\n\n1 40.0\n2 26.982\n"), None, "no elements",
    ),
    "count": (data(rows("{id} {type} {x}")), "Ni", "1 elements are given"),
    "charge or molecular": (data(rows("{id} {type} 1 {x}"), style=""), None, "no style"),
    "style": (data(rows("{id} {type} 1 {x}"), style=" # sphere"), None, "style 'sphere'"),
    "width": (data(rows("{id} {type} 1 1 {x}"), style=" # atomic"), None, "not those of"),
    "cut off": (
        data(rows("{id} {type} {x}")).replace("3 atoms", "300 atoms"), "Ni,Al", "300 atoms are",
    ),
    "no section": (data([]).split("Atoms")[0], "Ni,Al", "without a section Atoms"),
    "units": (data(rows("{id} {type} {x}")).replace("metal", "lj"), "Ni,Al", "units lj"),
    "type": (data(rows("{id} 3 {x}")), "Ni,Al", "type 3 is not one of the 2"),
    "frame": (data(rows("{id} {type} {x}")), "Ni,Al", "no frame 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_DATA)
def test_wrong_data_files_say_what_is_wrong(name, tmp_path):
    text, elements, message = WRONG_DATA[name]
    path = tmp_path / "a.data"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_structure(path, 1 if name == "frame" else -1, elements=elements)


def nickel_dump(path):
    atoms = bulk("Ni", cubic=True, a=A) * 4
    del atoms[77]
    lines = [f"{i + 1} 1 {x:.10f} {y:.10f} {z:.10f}" for i, (x, y, z) in enumerate(atoms.positions)]
    path.write_text(dump("id type x y z", lines, cell=atoms.cell[:], origin=np.zeros(3),
                         flags="pp pp pp", step=20))  # fmt: skip
    return atoms


def test_detect_takes_elements_and_says_what_it_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    nickel_dump(Path("dump.lammpstrj"))
    assert main(["detect", "dump.lammpstrj"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "names type 1 but no elements; give elements" in err
    assert err.count("\n") == 1
    assert main(["detect", "dump.lammpstrj", "--elements", "Ni"]) == 0
    out = capsys.readouterr().out
    assert "255 atoms (Ni255)" in out
    assert "frame 0 of 0 to 0, timestep 20, elements given for the types" in out
    assert "1 vacant site" in out


def test_bulk_takes_elements_of_a_cell(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ase.io.write("cell.data", bulk("Cu", cubic=True, a=3.6), format="lammps-data")
    arguments = ["bulk", "zhou2004:Cu", "--only", "lattice", "--json", "--cell", "cell.data"]
    assert main(arguments) == 2
    assert "names type 1 but no elements" in capsys.readouterr().err
    assert main(["bulk", "zhou2004:Cu", "--elements", "Cu"]) == 2
    assert "--elements" in capsys.readouterr().err


def test_a_host_that_the_potential_does_not_bind(tmp_path):
    atoms = nickel_dump(tmp_path / "dump")
    r = np.linspace(0.5, 5.0, 60)
    energies = np.exp(-r) * (1 - r / 5.0) ** 3
    repulsive = PairTable(["Ni"], {("Ni", "Ni"): (r, energies)})
    with pytest.raises(CrystalError, match="fcc Ni, which the potential does not bind"):
        QuasiContinuum.from_atoms(Atoms(atoms), repulsive)
