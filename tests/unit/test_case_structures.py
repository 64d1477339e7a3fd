"""Case files of silicon and hexagonal metals, and of potentials by name and suffix."""

import numpy as np
import pytest

from qc.errors import CaseError, PotentialFileError
from qc.io.cases.base import Case
from qc.io.cases.case import load_case, parse_case
from qc.io.cases.crystals import build_potential
from qc.io.cases.resolve import resolved
from qc.io.cases.schema import Length
from qc.io.cases.setup import set_up
from qc.io.potentials import elements
from qc.io.runs.identity import fingerprints
from qc.potentials import LennardJones, PairTable, StillingerWeber, write_pair_table

SILICON = """
[crystal]
structure = "diamond"
element = "Si"

[potential]
name = "stillinger1985"

[defects]
vacancies = [["1/4", "1/4", "1/4"]]
inwards = "0.04 nm"

[model]
core = "1.2 a"
blend = "0.9 a"
outer = "3.5 a"
"""

SCREW = """
[crystal]
structure = "hcp"
element = "Co"
lattice_constant = 2.5117
c = 4.0754
x = [0, 1, -1, 0]
y = [0, 0, 0, 1]
z = [2, -1, -1, 0]
columns = true

[potential]
name = "zhou2004"

[[dislocations]]
burgers = [1, 0, 0]
position = [0.725, 1.019]

[model]
core = 8
blend = 6
outer = 24

[load]
kind = "shear"
plane = [0, 0, 0, 1]
direction = [2, -1, -1, 0]
values = [0.0, 0.01]
"""


def parse(text: str) -> Case:
    return parse_case(text.encode())


def edited(text: str, old: str, new: str) -> str:
    assert text.count(old) >= 1, old
    return text.replace(old, new, 1)


def test_silicon_is_built():
    model = set_up(parse(SILICON)).model
    crystal, layout = model.crystal, model.layout
    assert crystal.name == "diamond"
    assert crystal.a == pytest.approx(5.43095, abs=1e-5)
    (gone,) = np.flatnonzero(layout.vacant)
    assert layout.sublattice[gone] == 1
    np.testing.assert_allclose(layout.positions[gone], 3 * [crystal.a / 4], atol=1e-9)
    # Its four neighbours, of the other sublattice, start on their way.
    (moved,) = np.nonzero(model.U.any(axis=1))
    assert layout.node_sublattices[moved].tolist() == [0, 0, 0, 0]
    away = layout.node_positions[moved] - layout.positions[gone]
    np.testing.assert_allclose(np.linalg.norm(away, axis=1), np.sqrt(3) / 4 * crystal.a)
    after = np.linalg.norm(away + model.U[moved], axis=1)
    np.testing.assert_allclose(after, np.sqrt(3) / 4 * crystal.a - 0.4)


def test_the_hexagonal_screw_is_built():
    setup = set_up(parse(SCREW))
    crystal, field = setup.model.crystal, setup.model.far_field
    assert setup.case.crystal.c == Length(4.0754)
    np.testing.assert_allclose(crystal.conventional[2], [0, 4.0754, 0], atol=1e-12)
    np.testing.assert_allclose(field.dislocations[0].burgers, [0, 0, 2.5117], atol=1e-12)
    # Shear of the basal plane along the line.
    expected = np.eye(3)
    expected[2, 1] = 0.01
    np.testing.assert_allclose(setup.deformations[1], expected, atol=1e-12)
    # Atoms on both sublattices, one of them half a cell higher.
    heights = setup.model.layout.positions[:, 1] / 4.0754
    assert set(np.unique(np.round(2 * heights % 2))) == {0.0, 1.0}


@pytest.mark.parametrize("columns", [False, True])
def test_neighbours_of_a_hexagonal_vacancy_are_drawn_in(columns):
    text = edited(SCREW, "columns = true", f"columns = {str(columns).lower()}")
    start, end = text.index("[[dislocations]]"), text.index("[model]")
    sites = '[defects]\nvacancies = [["1/3", "2/3", "1/2"]]\ninwards = 0.1\n'
    model = set_up(parse(text[:start] + sites + text[end:])).model
    (gone,) = np.flatnonzero(model.layout.vacant)
    assert model.layout.sublattice[gone] == 1
    (moved,) = np.nonzero(model.U.any(axis=1))
    # Along the line the neighbours are the column itself; those above each other move as one.
    assert len(moved) == (6 if columns else 12)
    np.testing.assert_allclose(np.linalg.norm(model.U[moved], axis=1), 0.1)
    towards = model.layout.positions[gone] - model.layout.node_positions[moved]
    towards[:, 2] *= not columns
    assert (np.einsum("ni,ni->n", towards, model.U[moved]) > 0).all()


@pytest.mark.parametrize("name", ["balamane1992", "holland1998", "tersoff1988", "tersoff1989"])
def test_every_built_in_potential_has_its_name(name):
    potential = build_potential(parse(edited(SILICON, "stillinger1985", name)))
    assert potential.species == ("Si",)
    assert "Si" in elements()[name]


def test_the_suffix_of_a_file_names_its_family(tmp_path):
    entry = "1.93 2.181 1.80 31.0 1.20 -0.333333333333 7.049556277 0.6022245584 4 0 0\n"
    (tmp_path / "Ge.sw").write_text("Ge Ge Ge " + entry)
    text = edited(SILICON, 'name = "stillinger1985"', 'file = "Ge.sw"')
    case = tmp_path / "case.toml"
    case.write_text(edited(text, '"Si"', '"Ge"'))
    assert isinstance(build_potential(load_case(case)), StillingerWeber)
    # Silicon is not in the file.
    case.write_text(text)
    with pytest.raises(CaseError, match=r"potential: Ge\.sw has no entry for 'Si', only for Ge"):
        set_up(load_case(case))
    (tmp_path / "Ge.sw").write_text("Ge Ge Ge 1.93")
    with pytest.raises(PotentialFileError, match=r"Ge\.sw:1"):
        set_up(load_case(case))
    write_pair_table(LennardJones("Si", 0.1, 2.0, 6.0), tmp_path / "Si.table", points=200)
    case.write_text(edited(text, "Ge.sw", "Si.table"))
    found = build_potential(load_case(case))
    assert isinstance(found, PairTable)
    assert found.cutoff == pytest.approx(6.0)
    case.write_text(edited(text, '"Ge.sw"', '"Si.table"\ncutoff = "0.5 nm"'))
    assert build_potential(load_case(case)).cutoff == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (SILICON, '"1/4"]]', '"1/2"]]', r"vacancies\[0\]: .* is no lattice site; the nearest, "
         r"1\.358 Angstrom away, is \[0\.25, 0\.25, 0\.25\]"),
        (SILICON, '"1/4"]]', '"1/4", 1]]', r"vacancies\[0\]: expected 3 entries, not 4"),
        (SILICON, 'vacancies = [["1/4", "1/4", "1/4"]]', "", r"inwards: there is no vacancy"),
        (SILICON, 'element = "Si"', 'element = "Si"\nc = 5.4', r"crystal\.c: diamond has no se"),
        (SILICON, '"stillinger1985"', '"stilinger1985"', r"did you mean 'stillinger1985'\?"),
        (SILICON, '"Si"', '"Ge"', r"potential: stillinger1985 has no parameters for 'Ge'; it supp"),
        (SILICON, '"stillinger1985"', '"stillinger1985"\nelements = ["Si", "C"]',
         r"potential: stillinger1985 takes one element, not 2"),
        (SILICON, 'name = "stillinger1985"', 'file = "a.sw"\ncutoff = 4', r"a \.sw file has no"),
        (SILICON, 'name = "stillinger1985"', 'file = "a.table"\nsigma = 4', r"a \.table file has"),
        (SCREW, "burgers = [1, 0, 0]", 'burgers = ["1/3", "2/3", "1/2"]',
         r"burgers: .* is no lattice vector; the nearest is \["),
        (SCREW, "lattice_constant = 2.5117\n", "", r"crystal\.c: at rest the crystal has a c"),
        (SCREW, "x = [0, 1, -1, 0]", "x = [0, 1, 1, 0]", r"crystal: x: \(0, 1, 1, 0\) needs u"),
        (SCREW, "plane = [0, 0, 0, 1]", "plane = [0, 0, 1, 1]", r"load\.plane: .*u \+ v \+ t"),
    ],
)  # fmt: skip
def test_what_does_not_fit_a_crystal_with_a_basis_is_named(text, old, new, message):
    with pytest.raises(CaseError, match=message) as caught:
        set_up(parse(edited(text, old, new)))
    assert str(caught.value).startswith("case.toml: ")


@pytest.mark.parametrize("text", [SILICON, SCREW])
def test_the_resolved_copy_builds_the_very_same_model(text, tmp_path):
    setup = set_up(parse(text))
    copy = resolved(setup, tmp_path)
    again = set_up(parse_case(copy.encode(), tmp_path / "case.toml"))
    one, two = setup.model, again.model
    assert setup.case.crystal == again.case.crystal
    assert fingerprints(one) == fingerprints(two)
    np.testing.assert_array_equal(one.predictor(), two.predictor())
    np.testing.assert_array_equal(one.U, two.U)
    np.testing.assert_array_equal(one.shifts, two.shifts)
    np.testing.assert_array_equal(one.forces(), two.forces())
    np.testing.assert_array_equal(setup.deformations, again.deformations)
    body = [line for line in resolved(again, tmp_path).splitlines() if line[:1] != "#"]
    assert body == [line for line in copy.splitlines() if line[:1] != "#"]
