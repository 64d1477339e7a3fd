"""LAMMPS .sw and .tersoff files: what is written comes back, what is broken is refused."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qc.errors import PotentialError, PotentialFileError, UnknownSpeciesError
from qc.potentials import (
    Bonds,
    StillingerWeber,
    Tersoff,
    holland1998,
    stillinger1985,
    tersoff1988,
    tersoff1989,
)
from qc.potentials.threebody.stillinger_weber import COLUMNS as SW
from qc.potentials.threebody.tersoff import COLUMNS as TERSOFF


def text(potential, head="# a comment", per_line=20):
    """A file with every digit, ``per_line`` words a line."""
    columns = SW if isinstance(potential, StillingerWeber) else TERSOFF
    lines = [head]
    for index in itertools.product(range(len(potential.species)), repeat=3):
        words = [potential.species[k] for k in index]
        for name in columns:
            value = 0.0 if name == "tol" else potential.entries[name][index]
            words.append(repr(float(value)))
        lines += [" ".join(words[k : k + per_line]) for k in range(0, len(words), per_line)]
    return "\n".join(lines) + "\n"


def write(tmp_path, content, name="x.sw"):
    path = tmp_path / name
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    "potential", [stillinger1985(), holland1998(), tersoff1988("C"), tersoff1989("Si", "C")]
)
@pytest.mark.parametrize("per_line", [20, 7, 1])
def test_round_trip_is_exact(tmp_path, potential, per_line):
    path = write(tmp_path, text(potential, per_line=per_line))
    read = type(potential).from_file(path)
    assert read.species == potential.species
    assert read.fingerprint() == potential.fingerprint()
    assert read.cutoff == potential.cutoff
    assert read.source == "x.sw: a comment"


#: Entries as people write them: comments, continuation, an element that is not wanted.
MIXED = """\
# DATE: 2007-06-11 UNITS: metal CONTRIBUTOR: nobody
# a second line

Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333333333   # goes on
         7.049556277 0.6022245584 4.0 0.0 0.0

   # an indented comment
Xx Xx Xx not a number at all 1 2 3 4 5 6
Ge Ge Ge 1.93D0 2.181 1.80 31.0 1.20 -0.333333333333 7.049556277 0.6022245584 4.0 0.0 0.01
"""


def test_comments_continuation_and_elements_not_wanted(tmp_path):
    path = write(tmp_path, MIXED)
    read = StillingerWeber.from_file(path, ["Si"])
    assert read.entries["epsilon"] == 2.1683
    assert read.entries["B"] == 0.6022245584
    ge = StillingerWeber.from_file(path, species=["Ge"])
    assert ge.entries["epsilon"] == 1.93
    assert "nobody" in ge.source


def test_a_species_by_another_name(tmp_path):
    content = text(tersoff1989("Si", "C")).replace("Si", "Si(D)")
    path = write(tmp_path, content)
    read = Tersoff.from_file(path, {"C": "C", "Si": "Si(D)"})
    assert read.species == ("C", "Si")
    assert read.fingerprint() == tersoff1989("C", "Si").fingerprint()
    assert Tersoff.from_file(path).species == ("Si(D)", "C")
    assert Tersoff.from_file(path, ["C"]).fingerprint() == tersoff1989("C").fingerprint()


def test_the_order_of_species_is_the_callers(tmp_path):
    path = write(tmp_path, text(tersoff1989("Si", "C")))
    read = Tersoff.from_file(path, ["C", "Si"])
    assert read.fingerprint() == tersoff1989("C", "Si").fingerprint()
    assert read.fingerprint() != tersoff1989("Si", "C").fingerprint()


def test_a_triple_without_entry(tmp_path):
    lines = text(tersoff1989("Si", "C")).splitlines()
    for k in range(1, 9):
        triple = " ".join(lines[k].split()[:3])
        path = write(tmp_path, "\n".join(lines[:k] + lines[k + 1 :]), "bad.tersoff")
        with pytest.raises(
            PotentialFileError, match=rf"bad\.tersoff: there is no entry for {triple}$"
        ):
            Tersoff.from_file(path, ["Si", "C"])


def test_species_that_are_not_there(tmp_path):
    path = write(tmp_path, MIXED)
    with pytest.raises(UnknownSpeciesError, match=r"x\.sw has no entry for 'C'; it has Si, Xx, Ge"):
        StillingerWeber.from_file(path, ["Si", "C"])
    with pytest.raises(PotentialError, match="asked for twice"):
        StillingerWeber.from_file(path, ["Si", "Si"])
    with pytest.raises(PotentialError, match="at least one"):
        StillingerWeber.from_file(path, [])
    with pytest.raises(PotentialFileError, match="no entry for Si Si Ge"):
        StillingerWeber.from_file(path, ["Si", "Ge"])


CHANGES = {
    "word": ("2.0951", "2.O951", r":2: sigma of Si Si Si should be a finite number, not '2.O951'"),
    "nan": ("21.0", "nan", r":2: lambda of Si Si Si should be a finite number, not 'nan'"),
    "infinity": ("4.0", "inf", r":2: p of Si Si Si should be a finite number"),
    "huge": ("4.0", "1e99", r":2: p of Si Si Si is '1e99', beyond"),
    "expression": ("21.0", "2*21", r":2: lambda of"),
    "too few": (" 21.0", "", r":2: the file ends in an entry of 13 words that begins on line 2"),
    "too many": ("21.0", "21.0 5.0", r":2: .*three elements and 11 numbers, .* line 2, has 12"),
    "no name": ("Si Si Si", "Si 14 Si", r":2: the name of an element should be"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_entry_with_a_fault(tmp_path, change):
    old, new, message = CHANGES[change]
    content = text(stillinger1985())
    assert old in content
    path = write(tmp_path, content.replace(old, new, 1), "bad.sw")
    with pytest.raises(PotentialFileError, match=r"bad\.sw" + message):
        StillingerWeber.from_file(path)


def test_a_missing_word_does_not_swallow_the_next_entry(tmp_path):
    content = text(tersoff1989("Si", "C"), per_line=9).splitlines()
    del content[2]
    with pytest.raises(PotentialFileError, match=r":\d+: "):
        Tersoff.from_file(write(tmp_path, "\n".join(content)))


def test_an_entry_given_twice(tmp_path):
    content = text(stillinger1985()) + text(stillinger1985())
    with pytest.raises(PotentialFileError, match=r":4: Si Si Si was given on line 2 already"):
        StillingerWeber.from_file(write(tmp_path, content))


def test_other_units_are_refused(tmp_path):
    content = text(stillinger1985(), head="# DATE: 2011-01-01 UNITS: real CONTRIBUTOR: x")
    with pytest.raises(PotentialFileError, match=r":1: the file is in units 'real'"):
        StillingerWeber.from_file(write(tmp_path, content))


def test_one_family_read_as_the_other(tmp_path):
    with pytest.raises(PotentialFileError):
        StillingerWeber.from_file(write(tmp_path, text(tersoff1988("Si"))))
    with pytest.raises(PotentialFileError):
        Tersoff.from_file(write(tmp_path, text(stillinger1985())))


def test_parameters_out_of_range_are_refused_by_triple(tmp_path):
    content = text(tersoff1988("Si")).replace("2.85", "-2.85")
    with pytest.raises(PotentialError, match="R of Si Si Si must be finite and at least 0"):
        Tersoff.from_file(write(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (b"# only a comment\n", "no entry in the file"),
        (b"\x7fELF\x00\x01\x02", "binary"),
        (b"<html>\n<body>not found\n</body>\n</html>\n", "ends in an entry"),
    ],
)
def test_not_a_potential(tmp_path, content, message):
    path = tmp_path / "x.sw"
    path.write_bytes(content)
    for family in (StillingerWeber, Tersoff):
        with pytest.raises(PotentialFileError, match=message):
            family.from_file(path)


def test_missing_and_unreadable(tmp_path):
    with pytest.raises(PotentialFileError, match=r"nowhere: cannot be read: No such file"):
        StillingerWeber.from_file(tmp_path / "nowhere")
    with pytest.raises(PotentialFileError, match="directory"):
        Tersoff.from_file(tmp_path)


def test_absurd_numbers_of_elements_and_entries(tmp_path):
    row = " ".join(["1.0"] * 14)
    many = "".join(f"E{k} E{k} E{k} {row}\n" for k in range(40))
    with pytest.raises(PotentialFileError, match="40 species are too many, at most 32"):
        Tersoff.from_file(write(tmp_path, many))
    short = " ".join(["1"] * 14)
    path = write(tmp_path, f"A B C {short}\n" * 100_001)
    with pytest.raises(PotentialFileError, match="more than 100000 entries"):
        Tersoff.from_file(path, ["A"])


# --- fuzz: whatever the bytes, a typed error or a valid object --------------------------------


def attempt(family, path, content, species=None):
    path.write_bytes(content)
    try:
        potential = family.from_file(path, species)
    except PotentialError:
        return
    assert 0.0 < potential.cutoff <= 1e3
    assert np.isfinite(potential.entries["A"]).all()
    assert len(potential.fingerprint()) == 64
    # Absurd exponents overflow; the result is then not finite, and nothing else happens.
    vectors = np.array([[0.6, 0.0, 0.1], [0.0, 0.7, 0.0]]) * potential.cutoff
    bonds = Bonds(np.array([0, 2]), vectors, np.zeros(1, int), np.zeros(2, int))
    energies, gradients = potential.bond_gradients(bonds)
    assert energies.shape == (1,)
    assert gradients.shape == (2, 3)


FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120)
FAMILY = st.sampled_from([StillingerWeber, Tersoff])


@FUZZ
@given(family=FAMILY, content=st.binary(max_size=300))
def test_fuzz_any_bytes(tmp_path, family, content):
    attempt(family, tmp_path / "fuzz", content)


WORDS = st.sampled_from(
    "Si C # 0 1 2.5 3 3.0 -1 1e5 1e-300 1e59 1e61 nan 0.5 .5 5. 1d3 -0.33 4 0.1 1e".split()
)


@FUZZ
@given(family=FAMILY, rows=st.lists(st.lists(WORDS, min_size=8, max_size=18), max_size=6))
def test_fuzz_lines_of_words(tmp_path, family, rows):
    attempt(family, tmp_path / "fuzz", "\n".join(map(" ".join, rows)).encode())


@FUZZ
@given(
    family=FAMILY,
    numbers=st.lists(st.sampled_from("0 1 3 0.2 1.5 2.5 25 1e4 1e30 1e-30 -0.5".split()),
                     min_size=14, max_size=14),
)  # fmt: skip
def test_fuzz_well_formed_entries(tmp_path, family, numbers):
    count = len(SW) if family is StillingerWeber else len(TERSOFF)
    attempt(family, tmp_path / "fuzz", ("Si Si Si " + " ".join(numbers[:count])).encode())


GOOD = [
    (StillingerWeber, text(stillinger1985()).encode()),
    (StillingerWeber, MIXED.encode()),
    (Tersoff, text(tersoff1988("Si")).encode()),
    (Tersoff, text(tersoff1989("Si", "C"), per_line=8).encode()),
]


@FUZZ
@given(data=st.data(), species=st.sampled_from([None, ["Si"]]))
def test_fuzz_damaged_files(tmp_path, data, species):
    """A good file with words replaced, lines dropped, or bytes changed."""
    family, content = data.draw(st.sampled_from(GOOD))
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
    attempt(family, tmp_path / "fuzz", content, species)


def test_fuzz_starts_from_files_that_are_read(tmp_path):
    for family, content in GOOD:
        (tmp_path / "x").write_bytes(content)
        family.from_file(tmp_path / "x", ["Si"])
