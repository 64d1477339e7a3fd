"""Tabulated pair potentials: the spline, the files, what is refused and how it is named."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qc.errors import PotentialError, PotentialFileError
from qc.potentials import (
    LennardJones,
    Morse,
    PairFunction,
    PairTable,
    ToyEAM,
    write_pair_table,
    zhou2004,
)
from qc.verify import check_potential

NI = np.zeros((), dtype=np.int64)


def binary(cutoff=6.5):
    depth, distance = [[0.343, 0.35], [0.35, 0.36]], [[2.866, 2.8], [2.8, 2.75]]
    return Morse(["Cu", "Ni"], depth, 1.359, distance, cutoff=cutoff)


def tabulated(knots, potential=None, **options):
    """A table of the shifted Lennard-Jones function with exact end slopes."""
    potential = potential or LennardJones("Ar", 0.0104, 3.4, truncation="shift_force")
    energy, slope, _ = potential.truncated_pair(knots, NI, NI)
    table = PairFunction(knots, energy, (slope[0], slope[-1]))
    return PairTable("Ar", {("Ar", "Ar"): table}, **options)


KNOTS = {
    "even": np.linspace(2.0, 8.5, 700),
    "even in the square": np.sqrt(np.linspace(4.0, 8.5**2, 900)),
    "uneven": np.geomspace(2.0, 8.5, 400),
}


@pytest.mark.parametrize("knots", KNOTS)
def test_error_falls_with_the_fourth_power_of_the_spacing(knots):
    exact = LennardJones("Ar", 0.0104, 3.4, truncation="shift_force")
    r = np.linspace(3.0, 8.4, 1001)
    errors = []
    for part in (4, 2, 1):
        table = tabulated(KNOTS[knots][::part][: 1 + (len(KNOTS[knots]) - 1) // part])
        r = r[r < table.cutoff]
        found, expected = table.pair(r, NI, NI), exact.truncated_pair(r, NI, NI)
        errors.append([np.abs(a - b).max() for a, b in zip(found, expected, strict=True)])
    rates = np.log2(np.array(errors)[:-1] / np.array(errors)[1:])
    # Value, slope and curvature: orders 4, 3 and 2.
    assert (rates > np.array([3.6, 2.7, 1.8])).all()


def test_second_derivative_is_continuous():
    table = tabulated(KNOTS["uneven"])
    knots = KNOTS["uneven"][1:-1]
    below, above = (table.pair(knots * (1 + h), NI, NI) for h in (-1e-13, 1e-13))
    for one, other in zip(below, above, strict=True):
        assert np.abs(one - other).max() < 1e-9 * np.abs(one).max()


def test_cubics_come_back():
    """A cubic is its own spline, with end slopes given or estimated."""
    r = np.array([1.0, 1.3, 2.0, 2.2, 3.0, 3.7])
    f, d = 2.0 - r + 0.5 * r**2 - 0.3 * r**3, -1.0 + r - 0.9 * r**2
    x = np.linspace(1.0, 3.7, 50)
    for slopes in (None, (d[0], d[-1])):
        table = PairTable("Ar", {("Ar", "Ar"): PairFunction(r, f, slopes)})
        value, first, second = table.pair(x, NI, NI)
        assert value == pytest.approx(2.0 - x + 0.5 * x**2 - 0.3 * x**3, abs=1e-13)
        assert first == pytest.approx(-1.0 + x - 0.9 * x**2, abs=1e-12)
        assert second == pytest.approx(1.0 - 1.8 * x, abs=1e-11)


@pytest.mark.parametrize("knots", KNOTS)
@pytest.mark.parametrize("truncation", ["none", "smooth", "shift_force"])
def test_conformance(knots, truncation):
    potential = tabulated(KNOTS[knots], truncation=truncation)
    assert potential._pieces.even == (knots == "even" and truncation != "smooth")
    report = check_potential(potential)
    assert report.passed, str(report)


def test_conformance_of_a_binary(tmp_path):
    write_pair_table(binary(), tmp_path / "t", first=1.5)
    potential = PairTable.from_file(tmp_path / "t")
    assert potential.species == ("Cu", "Ni")
    assert check_potential(potential).passed


def test_a_table_that_does_not_end_at_zero_is_cut_there():
    r = np.linspace(2.0, 5.0, 50)
    potential = PairTable("Ar", {("Ar", "Ar"): PairFunction(r, 1.0 / r)})
    inside, outside = potential.pair(np.array([4.999999, 5.000001]), NI, NI).value
    assert inside == pytest.approx(0.2, rel=1e-5)
    assert outside == 0.0
    assert "at cutoff: energy" in check_potential(potential, spacing=2.6).failed
    smooth = PairTable("Ar", {("Ar", "Ar"): PairFunction(r, 1.0 / r)}, truncation="smooth")
    assert check_potential(smooth, spacing=2.6).passed


# --- files ------------------------------------------------------------------------------------


def test_round_trip_is_exact(tmp_path):
    one = PairTable(
        ["Cu", "Ni"],
        {
            pair: PairFunction(np.geomspace(1.5, end, 60), np.geomspace(9.0, 0.1, 60) / 3)
            for pair, end in ((("Cu", "Cu"), 5.0), (("Ni", "Cu"), 5.5), (("Ni", "Ni"), 6.1))
        },
    )
    write_pair_table(one, tmp_path / "t", comment="a test")
    two = PairTable.from_file(tmp_path / "t")
    assert two.fingerprint() == one.fingerprint()
    assert "# a test" in (tmp_path / "t").read_text()


def test_analytic_function_through_a_file(tmp_path):
    potential = binary()
    write_pair_table(potential, tmp_path / "t", points=3001, first=1.8)
    table = PairTable.from_file(tmp_path / "t")
    r = np.linspace(2.2, 6.49, 800)
    for s, t in ((0, 0), (1, 0), (1, 1)):
        found = table.pair(r, np.array(s), np.array(t))
        expected = potential.truncated_pair(r, np.array(s), np.array(t))
        assert np.abs(found.value - expected.value).max() < 1e-10
        assert np.abs(found.first - expected.first).max() < 1e-7


ROWS = [(1, 2.0, 1.0, 3.0), (2, 2.5, 0.5, 0.5), (3, 3.0, 0.25, 0.25), (4, 3.5, 0.1, 0.2),
        (5, 4.0, 0.0, 0.0)]  # fmt: skip


def text(header="N 5", rows=ROWS, keyword="Ar_Ar", top="# UNITS: metal\n"):
    body = "\n".join(" ".join(map(str, row)) for row in rows)
    return f"{top}\n{keyword}\n{header}\n\n{body}\n"


def read(tmp_path, content, keywords=None):
    path = tmp_path / "x.table"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return PairTable.from_file(path, keywords)


def test_a_small_file(tmp_path):
    for content in (
        text(),
        text("N 5 FPRIME -1.0 0.0"),
        text("N 5 R 2.0 4.0 FP -1.0 0.0 # even"),
        text(top="# DATE: 2017-02-20 UNITS: metal CONTRIBUTOR: somebody\n# more\n"),
        text(top=""),
        text() + "\n# the end\n",
    ):
        potential = read(tmp_path, content)
        r, energy, slopes = potential.knots("Ar", "Ar")
        assert r.tolist() == [2.0, 2.5, 3.0, 3.5, 4.0]
        assert energy.tolist() == [1.0, 0.5, 0.25, 0.1, 0.0]
        assert (slopes[0], slopes[-1]) == (-3.0, 0.0)


def test_grids_of_the_header_replace_rounded_distances(tmp_path):
    exact = np.sqrt(np.linspace(4.0, 16.0, 5))
    rows = [
        (k + 1, f"{r:.3f}", e, f)
        for k, (r, (_, _, e, f)) in enumerate(zip(exact, ROWS, strict=True))
    ]
    potential = read(tmp_path, text("N 5 RSQ 2.0 4.0", rows))
    assert potential.knots("Ar", "Ar")[0] == pytest.approx(exact, abs=1e-15)


def test_sections_are_chosen_by_keyword(tmp_path):
    content = text(keyword="FIRST") + text(
        keyword="SECOND", rows=[(*r[:2], 2 * r[2], r[3]) for r in ROWS]
    )
    potential = read(
        tmp_path, content, {("Kr", "Ar"): "SECOND", ("Ar", "Ar"): "FIRST", ("Kr", "Kr"): "FIRST"}
    )
    assert potential.species == ("Kr", "Ar")
    assert potential.knots("Ar", "Kr")[1][0] == 2.0
    assert potential.knots("Kr", "Kr")[1][0] == 1.0
    with pytest.raises(PotentialFileError, match=r"no section 'FRIST', only FIRST.*mean 'FIRST'"):
        read(tmp_path, content, {("Ar", "Ar"): "FRIST"})
    with pytest.raises(PotentialFileError, match=r"'FIRST' does not say which species.*keywords"):
        read(tmp_path, content)
    with pytest.raises(PotentialError, match="no table of Kr-Ar"):
        read(tmp_path, content, {("Ar", "Ar"): "FIRST", ("Kr", "Kr"): "SECOND"})


def swap(k, column, value):
    rows = [list(row) for row in ROWS]
    rows[k][column] = value
    return rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        (b"\x00\x01\x02", "binary"),
        ("# only a comment\n", "holds no section"),
        ("Ar_Ar\n", "ends before the parameters of section 'Ar_Ar'"),
        (text("5"), r":4: unknown parameter '5'"),
        (text("M 5"), r":4: unknown parameter 'M'"),
        (text("N"), r":4: N should be followed by 1 number"),
        (text("N five"), r":4: N should be an integer"),
        (text("N 4"), r":4: N must be at least 5"),
        (text("N -5"), r":4: N must be at least 5"),
        (text("N 1000000000000"), r":4: N declares 1000000000000 rows, and 6 lines follow"),
        (text("N 5 R 2.0"), r":4: R should be followed by 2 numbers"),
        (text("N 5 R 4.0 2.0"), "two rising positive distances"),
        (text("N 5 R 0.0 4.0"), "two rising positive distances"),
        (text("N 5 R 2.0 8.0"), r"distance 5 of section 'Ar_Ar' is 4, but R 2 8 makes it 8"),
        (text("N 5 BITMAP 2.0 4.0"), r":4: BITMAP tables are not read"),
        (text("N 5 FPRIM 1.0 2.0"), "unknown parameter 'FPRIM'; did you mean 'FPRIME'"),
        (text(rows=ROWS[:4]), r"N declares 5 rows|ends before"),
        (text(rows=ROWS[:3]) + "\n\n\n", r"ends before the end of section 'Ar_Ar', 3 of 5 rows"),
        (text(rows=swap(2, 2, "nan")), r":8: the energy should be a finite number, not 'nan'"),
        (text(rows=swap(1, 3, "inf")), r":7: the force should be a finite number"),
        (text(rows=swap(1, 2, "1e400")), r":7: the energy is '1e400', beyond"),
        (text(rows=swap(3, 1, 2.9)), r":9: distances must rise, 2\.9 follows 3"),
        (text(rows=swap(3, 1, 3.0)), r":9: distances must rise"),
        (text(rows=swap(0, 1, -2.0)), r":6: the distance must be positive, not -2"),
        (text(rows=swap(0, 0, "x")), r":6: the index should be an integer"),
        (text(rows=[r[1:] for r in ROWS]), r":6: row 1 of 5 .* not 3 words"),
        (text() + text(), r"section 'Ar_Ar' is given twice"),
        (text() + "6 4.5 0.0 0.0\n", r"ends before the parameters of section '6'"),
        (text(top="# UNITS: real\n"), r":1: the file is in units real; only metal"),
    ],
)  # fmt: skip
def test_broken_files(tmp_path, content, message):
    with pytest.raises(PotentialFileError, match=message) as info:
        read(tmp_path, content)
    assert str(info.value).startswith(str(tmp_path))
    assert "\n" not in str(info.value)


def test_no_such_file(tmp_path):
    with pytest.raises(PotentialFileError, match="cannot be read"):
        PairTable.from_file(tmp_path / "nothing")


WORD = st.one_of(
    st.sampled_from(["N", "5", "R", "RSQ", "FPRIME", "Ar_Ar", "#", "UNITS:", "nan", "-1", "1e300"]),
    st.floats(allow_nan=True).map(str),
    st.integers(-(10**20), 10**20).map(str),
)
LINE = st.lists(WORD, max_size=6).map(" ".join)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.lists(LINE, max_size=12).map("\n".join).map(str.encode),
        st.tuples(
            st.integers(0, len(text())), st.integers(0, len(text())), st.binary(max_size=6)
        ).map(lambda c: text().encode()[: c[0]] + c[2] + text().encode()[c[1] :]),
    )
)
def test_any_bytes_give_a_potential_or_a_typed_error(tmp_path, content):
    try:
        potential = read(tmp_path, content, {("Ar", "Ar"): "Ar_Ar"})
    except PotentialError:
        return
    assert np.isfinite(potential.pair(potential.knots("Ar", "Ar")[0], NI, NI).value).all()


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({}, "no table of Ar-Ar"),
        ({("Ar", "Kr"): None}, "a table of Ar-Kr, but species are Ar"),
        ({("Ar", "Ar"): ([1, 2, 3], [1, 2, 3])}, "at least 5"),
        ({("Ar", "Ar"): (np.arange(5), np.arange(5))}, "first distance must be positive"),
        ({("Ar", "Ar"): (1 + np.arange(5), np.arange(6))}, r"\(5,\) distances and \(6,\)"),
        ({("Ar", "Ar"): ([1, 2, 3, 3, 4], np.ones(5))}, "number 4, 3, follows 3"),
        ({("Ar", "Ar"): ([1, 2, 3, 4, 5], [1, 2, np.nan, 3, 4])}, "energy 3 is not finite"),
        ({("Ar", "Ar"): ([1, 2, 3, 4, 5], np.ones(5), (np.inf, 0.0))}, "too steep"),
    ],
)  # fmt: skip
def test_tables_that_are_refused(tables, message):
    with pytest.raises(PotentialError, match=message):
        PairTable("Ar", tables)


def test_other_refusals(tmp_path):
    with pytest.raises(PotentialError, match=r"cutoff 9 lies beyond the tables' end 8\.5"):
        tabulated(KNOTS["even"], cutoff=9.0)
    with pytest.raises(PotentialError, match="none, smooth, shift_force"):
        tabulated(KNOTS["even"], truncation="sharp")
    both = {("A", "B"): PairFunction([1, 2, 3, 4, 5], np.ones(5))}
    with pytest.raises(PotentialError, match="two tables of B-A"):
        PairTable(["A", "B"], {**both, ("B", "A"): both["A", "B"]})
    with pytest.raises(PotentialError, match="ToyEAM is not a pair potential"):
        write_pair_table(ToyEAM(), tmp_path / "t")
    with pytest.raises(PotentialError, match="one line"):
        write_pair_table(binary(), tmp_path / "t", comment="a\nb")
    for options in ({"points": 3}, {"first": 9.0}, {"first": 0.0}):
        with pytest.raises(PotentialError, match="a table needs 5 points"):
            write_pair_table(binary(), tmp_path / "t", **options)
    assert not list(tmp_path.iterdir())


def test_other_families_do_not_take_none():
    with pytest.raises(PotentialError, match="smooth, shift_force"):
        LennardJones("Ar", 0.01, 3.4, truncation="none")
    assert zhou2004("Cu").cutoff > 0
