"""Potential files: what is written comes back, what is broken is refused by file and line."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qc.errors import OutputError, PotentialError, PotentialFileError
from qc.potentials import EAM, Bonds, write_setfl, zhou2004

COARSE = {"knots_per_length": 300, "knots_per_density": 300}


def small(species=("Cu", "Ni"), fs=False, nr=9, nrho=7):
    """Tables of a few random numbers: no physics, every digit significant."""
    rng = np.random.default_rng(8)
    ns = len(species)
    rphi = rng.normal(size=(ns, ns, nr))
    return EAM(
        species,
        dr=0.6180339887498949,
        rphi=rphi + rphi.swapaxes(0, 1),
        density=rng.normal(size=(ns, ns, nr) if fs else (ns, nr)),
        drho=0.1 + 0.2,
        embedding=rng.normal(size=(ns, nrho)),
        numbers=range(29, 29 + ns),
        masses=63.546 + np.arange(ns) / 3,
        lattice_constants=[3.615] * ns,
        structures=["fcc"] * ns,
        source="made up",
    )


def assert_same(one, two):
    assert one.species == two.species
    for name in ("rphi", "density", "embedding"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    for name in ("dr", "drho", "cutoff", "numbers", "masses", "lattice_constants", "structures"):
        assert getattr(one, name) == getattr(two, name)


@pytest.mark.parametrize("ns", [1, 2, 3])
@pytest.mark.parametrize("fs", [False, True])
def test_round_trip_is_exact(tmp_path, ns, fs):
    potential = small(("Cu", "Ni", "Al")[:ns], fs)
    path = tmp_path / ("x.eam.fs" if fs else "x.eam.alloy")
    write_setfl(potential, path, comment="a test")
    read = EAM.from_file(path)
    if ns == 1 and fs:
        # One element is written the same way in both forms.
        assert np.array_equal(read.density[None], potential.density)
        read = EAM.from_file(path, format="fs")
    assert_same(read, potential)
    assert read.fingerprint() == potential.fingerprint()
    assert "made up" in read.source
    assert "a test" in read.source


@pytest.mark.parametrize("symbols", [("Cu",), ("Ni", "Al")])
def test_round_trip_of_published_potentials(tmp_path, symbols):
    potential = zhou2004(*symbols, **COARSE)
    write_setfl(potential, tmp_path / "x")
    read = EAM.from_file(tmp_path / "x")
    assert_same(read, potential)
    vectors = np.random.default_rng(1).normal(size=(40, 3)) * 3 + [2, 0, 0]
    bonds = Bonds(np.array([0, 40]), vectors, np.zeros(1, int), np.arange(40) % len(symbols))
    assert read.site_energies(bonds) == pytest.approx(potential.site_energies(bonds), rel=1e-12)


def test_nothing_is_left_behind_when_writing_fails(tmp_path):
    (tmp_path / "target").mkdir()
    with pytest.raises(OutputError, match="target"):
        write_setfl(small(), tmp_path / "target")
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_writer_refuses_what_a_reader_could_not_read(tmp_path):
    with pytest.raises(PotentialError, match="one line"):
        write_setfl(small(), tmp_path / "x", comment="two\nlines")
    with pytest.raises(PotentialError, match="printable word"):
        write_setfl(small(("Cu", "N i")), tmp_path / "x")
    assert not list(tmp_path.iterdir())


def funcfl(number=29, charge=(3.0, 2.0, 1.0, 0.5, 0.0), cutoff=2.0):
    tables = (np.linspace(0, -1, 6), charge, np.linspace(1, 0, 5))
    rows = [" ".join(map(repr, map(float, t[k : k + 4]))) for t in tables for k in (0, 4)]
    head = ["a comment", f"{number} 63.55 3.615 FCC", f"6 0.1 5 0.5 {cutoff}"]
    return "\n".join([*head, *rows]) + "\n"


def test_funcfl(tmp_path):
    path = tmp_path / "Cu_test.eam"
    path.write_text(funcfl())
    potential = EAM.from_file(path)
    assert potential.species == ("Cu",)
    assert potential.masses == (63.55,)
    assert potential.structures == ("FCC",)
    # Z^2 in units of Hartree Bohr: 27.2 eV times 0.529 Angstrom.
    charge = np.array([3.0, 2.0, 1.0, 0.5, 0.0])
    assert potential.rphi[0, 0] == pytest.approx(14.3888 * charge**2, rel=1e-14)
    vectors = np.array([[0.0, 1.0, 0.0]])
    bonds = Bonds(np.array([0, 1]), vectors, np.zeros(1, int), np.zeros(1, int))
    rho = 0.5
    expected = -rho / 0.5 + 0.5 * 14.3888 * 1.0**2 / 1.0
    assert potential.site_energies(bonds) == pytest.approx([expected], rel=1e-12)
    assert EAM.from_file(path, format="funcfl").fingerprint() == potential.fingerprint()


def test_fortran_exponents(tmp_path):
    write_setfl(small(), tmp_path / "x")
    text = (tmp_path / "x").read_text()
    fortran = re.sub(r"(\d)e([+-]\d+)", r"\1D\2", text)
    assert fortran != text
    (tmp_path / "y").write_text(fortran)
    assert_same(EAM.from_file(tmp_path / "y"), EAM.from_file(tmp_path / "x"))


def test_cutoff_beyond_the_table_is_taken_back(tmp_path):
    path = tmp_path / "x"
    path.write_text(funcfl(cutoff=2.5))
    assert EAM.from_file(path).cutoff == 2.0


def test_cutoff_within_the_table_is_kept(tmp_path):
    path = tmp_path / "x"
    path.write_text(funcfl(cutoff=1.75))
    assert EAM.from_file(path).cutoff == 1.75


# --- broken files -----------------------------------------------------------------------------


@pytest.fixture
def lines(tmp_path):
    write_setfl(small(), tmp_path / "good.eam.alloy")
    return (tmp_path / "good.eam.alloy").read_text().splitlines()


def read(tmp_path, lines, **options):
    path = tmp_path / "bad.eam.alloy"
    path.write_text("\n".join(lines) + "\n")
    return EAM.from_file(path, **options)


def test_truncated_anywhere(tmp_path, lines):
    """Whichever line the file ends at, the message has the file and a line in it."""
    for count in range(1, len(lines)):
        with pytest.raises(PotentialFileError, match=r"bad\.eam\.alloy:\d+: ") as info:
            read(tmp_path, lines[:count])
        line = int(re.search(r"alloy:(\d+):", str(info.value))[1])
        assert line <= count


def test_truncated_table_says_which_and_how_far(tmp_path, lines):
    # Line 6 begins Cu; two lines of embedding, two of density.
    with pytest.raises(PotentialFileError, match=r":9: .*5 of 9 values of the density of Cu"):
        read(tmp_path, lines[:9], format="alloy")


def test_truncated_in_the_middle_of_a_line(tmp_path, lines):
    short = [*lines[:8], " ".join(lines[8].split()[:3])]
    with pytest.raises(PotentialFileError, match=r":9: .*3 of 9 values of the density of Cu"):
        read(tmp_path, short, format="alloy")


CHANGES = {
    "nan": (9, "0.5 nan 0.5 0.5 0.5", r":9: .*finite number, not 'nan'"),
    "infinity": (9, "0.5 inf 0.5 0.5 0.5", r":9: .*finite number, not 'inf'"),
    "overflow": (9, "0.5 1e999 0.5 0.5 0.5", r":9: .*beyond"),
    "huge": (9, "0.5 1e200 0.5 0.5 0.5", r":9: .*beyond"),
    "word": (9, "0.5 O.5 0.5 0.5 0.5", r":9: .*finite number, not 'O.5'"),
    "expression": (9, "0.5 1+1 0.5 0.5 0.5", r":9: .*finite number, not '1\+1'"),
    "underscore": (9, "0.5 1_0 0.5 0.5 0.5", r":9: .*finite number, not '1_0'"),
    "no species": (4, "0", ":4: .*number of elements"),
    "negative species": (4, "-1 Cu", ":4: .*number of elements"),
    "species missing": (4, "3 Cu Ni", ":4: .*number of elements"),
    "species twice": (4, "2 Cu Cu", ":4: .*twice"),
    "species a number": (4, "2 Cu 7", ":4: element 2 should be a chemical symbol"),
    "grid short": (5, "7 0.3 9 0.6", ":5: .*nrho, drho, nr, dr"),
    "grid not integer": (5, "7.5 0.3 9 0.6 4.8", ":5: nrho should be an integer"),
    "zero spacing": (5, "7 0.3 9 0.0 4.8", ":5: dr must be between"),
    "negative spacing": (5, "7 -0.3 9 0.6 4.8", ":5: drho must be between"),
    "negative cutoff": (5, "7 0.3 9 0.6 -4.8", ":5: the cutoff must be between"),
    "tiny table": (5, "7 0.3 4 0.6 4.8", ":5: nr must be at least 5"),
    "negative count": (5, "-7 0.3 9 0.6 4.8", ":5: nrho must be at least 5"),
    "absurd count": (5, "7 0.3 900000000000 0.6 4.8", ":5: .*more than the file can hold"),
    "unreadable count": (5, "9" * 400 + " 0.3 9 0.6 4.8", ":5: nrho should be an integer"),
    "negative densities": (5, "7 0.3 9 0.6 4.8 1.0", ":5: .*eam/he"),
    "no mass": (6, "29", ":6: .*atomic number, mass"),
    "zero mass": (6, "29 0.0 3.6 fcc", ":6: the mass of Cu must be positive"),
    "negative mass": (6, "29 -63.5 3.6 fcc", ":6: the mass of Cu must be positive"),
    "nan mass": (6, "29 nan 3.6 fcc", ":6: the mass of Cu should be a finite number"),
    "not an element": (6, "Cu 63.5 3.6 fcc", ":6: the atomic number of Cu should be an integer"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_line_broken(tmp_path, lines, change):
    number, text, message = CHANGES[change]
    lines[number - 1] = text
    with pytest.raises(PotentialFileError, match=r"bad\.eam\.alloy" + message):
        read(tmp_path, lines, format="alloy")


ACCEPTED = {
    "comment line behind the header": lambda rows: [*rows[:3], "# a comment", *rows[3:]],
    "blank line behind the header": lambda rows: [*rows[:3], "", *rows[3:]],
    "blank header line": lambda rows: [rows[0], "", *rows[2:]],
    "comments behind values": lambda rows: [*rows[:3], *(f"{row} # 1 2 3" for row in rows[3:])],
    "comments between tables": lambda rows: [*rows[:8], "# 7 8", " ", *rows[8:]],
}


@pytest.mark.parametrize("change", ACCEPTED)
@pytest.mark.parametrize("format", ["alloy", None])
def test_what_lammps_accepts_is_the_same_potential(tmp_path, lines, change, format):
    """LAMMPS gives the same energies for these files, as was tried."""
    found = read(tmp_path, ACCEPTED[change](lines), format=format)
    for name in ("rphi", "density", "embedding"):
        np.testing.assert_array_equal(getattr(found, name), getattr(small(), name))
    assert found.notes == ()


def test_comments_in_funcfl(tmp_path):
    head, *rows = funcfl().splitlines()
    path = tmp_path / "Cu_test.eam"
    path.write_text("\n".join([head, "", *(f"{row} # comment" for row in rows)]))
    (tmp_path / "x").write_text(funcfl())
    assert EAM.from_file(path).fingerprint() == EAM.from_file(tmp_path / "x").fingerprint()


def test_a_value_too_many_is_passed_over_and_said(tmp_path, lines):
    """As in LAMMPS, which says nothing."""
    lines[9] += " 0.25"
    found = read(tmp_path, lines, format="alloy")
    np.testing.assert_array_equal(found.density, small().density)
    assert found.notes == ("line 10: 1 value beyond the 9 of the density of Cu at Cu, passed over",)
    alone = Bonds(np.zeros(2, int), np.empty((0, 3)), np.zeros(1, int), np.empty(0, int))
    assert found.notes[0] in found.remarks(alone)


FOREIGN = {
    "library.meam": ("# meam data\n'Si'  'dia'   4.  14  28.086\n4.87 4.4 5.5 5.5 5.5", "MEAM lib"),
    "mylibrary": ("# meam data\n'Si'  'dia'   4.  14  28.086\n4.87 4.4 5.5 5.5 5.5", "MEAM lib"),
    "SiC.meam": ("# x\nlattce(1,2) = 'dia'\nEc(1,2) = 6.4\nrc = 4.0", "MEAM parameter"),
    "parameters": ("# x\nlattce(1,2) = 'dia'\nEc(1,2) = 6.4\nrc = 4.0", "MEAM parameter"),
    "W.snapcoeff": ("# x\n\n2 31\nW 0.5 1\n0.78\n", "a SNAP potential"),
    "W.snap": ("# x\npair_style snap\npair_coeff * * W.snapcoeff W.snapparam W", "a SNAP"),
    "in.tungsten": ("# x\npair_style snap\npair_coeff * * a b W", "input script"),
    "GaN.poly": ("# x\n 2 0\n31 69.7 Ga\n7 14.0 N\n2000 2000 10 1e4", "polymorphic"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_other_kinds_are_named(tmp_path, name):
    content, message = FOREIGN[name]
    (tmp_path / name).write_text(content + "\n")
    with pytest.raises(PotentialFileError, match=message) as info:
        EAM.from_file(tmp_path / name)
    assert "LAMMPSlib" in str(info.value)
    assert "\n" not in str(info.value)


def test_angular_dependent_potential_is_named(tmp_path, lines):
    extra = 2 * 3 * 9
    with pytest.raises(PotentialFileError, match=r"angular-dependent.*LAMMPSlib"):
        read(tmp_path, [*lines, *["0.1 0.2 0.3"] * (extra // 3)])


def test_elements_on_another_line(tmp_path, lines):
    with pytest.raises(PotentialFileError, match=r":5: this line seems to list the elements"):
        read(tmp_path, ["one more line", *lines])


def test_neither_setfl_nor_funcfl(tmp_path):
    with pytest.raises(PotentialFileError, match=r"neither setfl.*nor funcfl"):
        read(tmp_path, ["# Johnson", "a Johnson potential", "of 1988", "and some prose", "more"])


def test_leftovers_are_refused(tmp_path, lines):
    """More than a table, or what is no number; with one value a line, any."""
    for extra in ("0.1 " * 9, "0.1 fcc"):
        with pytest.raises(PotentialFileError, match=rf":{len(lines) + 1}: something follows"):
            read(tmp_path, [*lines, extra], format="alloy")
    found = read(tmp_path, [*lines, "0.1 0.2 0.3"], format="alloy")
    assert found.notes == (f"line {len(lines) + 1}: 3 values behind the last table, passed over",)
    single = [*lines[:5]]
    for row in lines[5:]:
        single += [row] if row.endswith("fcc") else row.split()
    np.testing.assert_array_equal(read(tmp_path, single).rphi, small().rphi)
    with pytest.raises(PotentialFileError, match="would shift"):
        read(tmp_path, [*single, "0.1"])
    read(tmp_path, [*lines, "", "   "])


def test_finnis_sinclair_read_as_alloy_is_refused(tmp_path):
    write_setfl(small(fs=True), tmp_path / "x.eam.fs")
    with pytest.raises(PotentialFileError):
        EAM.from_file(tmp_path / "x.eam.fs", format="alloy")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (b"\x7fELF\x00\x01\x02", "binary"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "binary"),
        (b"<html>\n<body>not found\n</body>\n</html>\n", "a page of HTML"),
        (b"one line only", "ends before"),
    ],
)
def test_not_a_potential(tmp_path, content, message):
    path = tmp_path / "x.eam.alloy"
    path.write_bytes(content)
    with pytest.raises(PotentialFileError, match=message):
        EAM.from_file(path)


def test_missing_and_unreadable(tmp_path):
    with pytest.raises(PotentialFileError, match=r"nowhere: cannot be read: No such file"):
        EAM.from_file(tmp_path / "nowhere")
    with pytest.raises(PotentialFileError, match="directory"):
        EAM.from_file(tmp_path)
    with pytest.raises(PotentialFileError, match="cannot be read"):
        EAM.from_file("a\0b")


def test_unknown_format(tmp_path):
    with pytest.raises(PotentialError, match=r"'funcf'; did you mean 'funcfl'"):
        EAM.from_file(tmp_path, format="funcf")


def test_no_such_element(tmp_path):
    path = tmp_path / "x.eam"
    path.write_text(funcfl(number=999))
    with pytest.raises(PotentialFileError, match=r":2: there is no element of atomic number 999"):
        EAM.from_file(path)


# --- fuzz: whatever the bytes, a typed error or a valid object --------------------------------


def attempt(path, content, format=None):
    path.write_bytes(content)
    try:
        potential = EAM.from_file(path, format)
    except PotentialFileError:
        return
    vectors = np.array([[0.3 * potential.cutoff, 0.0, 0.1 * potential.cutoff]])
    bonds = Bonds(np.array([0, 1]), vectors, np.zeros(1, int), np.zeros(1, int))
    energies, gradients = potential.bond_gradients(bonds)
    assert np.isfinite(energies).all()
    assert np.isfinite(gradients).all()


FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
FORMATS = st.sampled_from([None, "alloy", "fs", "funcfl"])


@FUZZ
@given(content=st.binary(max_size=400), format=FORMATS)
def test_fuzz_any_bytes(tmp_path, content, format):
    attempt(tmp_path / "fuzz", content, format)


WORDS = st.sampled_from(
    "0 1 2 5 7 9 -1 1e5 1e-300 1e59 1e61 -1e60 nan 0.5 .5 5. 1d3 Cu Ni fcc 99999999999 1e".split()
)


@FUZZ
@given(rows=st.lists(st.lists(WORDS, max_size=7), max_size=14), format=FORMATS)
def test_fuzz_lines_of_numbers(tmp_path, rows, format):
    attempt(tmp_path / "fuzz", "\n".join(map(" ".join, rows)).encode(), format)


def good_files():
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        for potential in (small(("Cu",)), small(), small(fs=True)):
            write_setfl(potential, path)
            yield path.read_bytes()
    yield funcfl().encode()


GOOD = list(good_files())


@FUZZ
@given(data=st.data(), format=FORMATS)
def test_fuzz_damaged_files(tmp_path, data, format):
    """A good file with words replaced, lines dropped, or bytes changed."""
    content = data.draw(st.sampled_from(GOOD))
    kind = data.draw(st.sampled_from(["word", "line", "byte", "cut"]))
    at = data.draw(st.integers(0, len(content) - 1))
    if kind == "word":
        words = re.split(rb"(\s+)", content)
        words[2 * (at % (len(words) // 2))] = data.draw(WORDS).encode()
        content = b"".join(words)
    elif kind == "line":
        rows = content.splitlines()
        del rows[at % len(rows)]
        content = b"\n".join(rows)
    elif kind == "byte":
        content = content[:at] + data.draw(st.binary(min_size=1, max_size=3)) + content[at + 1 :]
    else:
        content = content[:at]
    attempt(tmp_path / "fuzz", content, format)


def test_fuzz_starts_from_files_that_are_read(tmp_path):
    for content in GOOD:
        (tmp_path / "x").write_bytes(content)
        EAM.from_file(tmp_path / "x")
