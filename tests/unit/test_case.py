"""Case files: what is read, what is refused and with which words, and what is built."""

import dataclasses
import tomllib
from pathlib import Path

import numpy as np
import pytest
from ase.units import GPa
from hypothesis import given, settings
from hypothesis import strategies as st

from qc.coupling.spec import OPTIONS
from qc.errors import CaseError, OutputError, PotentialFileError, UnknownSpeciesError
from qc.farfield import simple_shear
from qc.io.cases.base import Case
from qc.io.cases.baths import BATHS, PLACES
from qc.io.cases.boundaries import BOUNDARIES
from qc.io.cases.case import LONGEST, load_case, parse_case
from qc.io.cases.dynamics import build_dynamics
from qc.io.cases.kinds import KINDS
from qc.io.cases.loads import LOADS
from qc.io.cases.resolve import resolved, to_toml
from qc.io.cases.schema import Length, OfKind, read_table
from qc.io.cases.setup import block_around, set_up
from qc.io.cases.strains import STRAINS
from qc.io.cases.tables import MATERIALS, ModelCase
from qc.io.runs.folder import output_folder
from qc.io.runs.identity import fingerprints
from qc.materials import LinearElastic

LOMER = """
title = "Lomer dipole"
seed = 7

[crystal]
structure = "fcc"
element = "Al"
x = [1, 1, 0]
y = [0, 0, 1]
z = [1, -1, 0]
columns = true

[potential]
name = "zhou2004"

[[dislocations]]
burgers = [0.5, 0.5, 0.0]
position = ["7.1 nn", "0.25 a"]

[[dislocations]]
burgers = [-0.5, -0.5, 0.0]
position = ["-6.9 nn", "0.25 a"]

[model]
core = "2 a"
blend = 8
rectangle = ["15 nm", 75]

[load]
kind = "shear"
plane = [0, 0, 1]
direction = [1, 1, 0]
values = [0.0, "0.5 %", 0.01]

[solver]
fmax = "0.2 meV/Angstrom"
"""

VACANCY = """
[crystal]
structure = "fcc"
element = "Cu"
lattice_constant = "0.3615 nm"

[potential]
name = "zhou2004"

[defects]
vacancies = [[0, 0, 0], [0.5, 0.5, 0]]

[model]
core = "2 a"
blend = "2 a"
outer = "8 a"
"""


def parse(text: str) -> Case:
    return parse_case(text.encode())


def edited(text: str, old: str, new: str) -> str:
    assert text.count(old) >= 1, old
    return text.replace(old, new, 1)


@pytest.fixture(scope="module")
def lomer():
    return set_up(parse(LOMER))


def test_the_dipole_is_read():
    case = parse(LOMER)
    assert case.title == "Lomer dipole"
    assert case.seed == 7
    assert case.crystal.lattice_constant == "equilibrium"
    assert case.model.core == Length(2.0, "a")
    assert case.model.rectangle == (Length(15.0, "nm"), Length(75.0, "Angstrom"))
    assert case.load.values == (0.0, 0.005, 0.01)
    assert case.solver.fmax == pytest.approx(2e-4)
    assert case.output.vtu
    assert len(case.digest) == 64
    with pytest.raises(dataclasses.FrozenInstanceError):
        case.title = "other"


def test_the_dipole_is_built(lomer):
    model = lomer.model
    crystal, a = model.crystal, model.crystal.a
    assert crystal.mode == "columns"
    assert a == pytest.approx(4.0502, abs=1e-4)
    field = model.far_field
    first, second = field.dislocations
    np.testing.assert_allclose(first.burgers, [a / np.sqrt(2), 0, 0], atol=1e-12)
    np.testing.assert_allclose(second.burgers, -first.burgers, atol=1e-12)
    np.testing.assert_allclose(first.position, [7.1 * a / np.sqrt(2), a / 4])
    # Both cuts run the same way, so that their slips cancel beyond the second core.
    np.testing.assert_allclose(first.cut_direction, [-1, 0])
    np.testing.assert_allclose(second.cut_direction, [-1, 0])
    far = np.array([[-60.0, -3.0, 0.0]]), np.array([[-60.0, 3.0, 0.0]])
    between = np.array([[0.0, -3.0, 0.0]]), np.array([[0.0, 3.0, 0.0]])
    np.testing.assert_allclose(field.slip(*far), 0.0, atol=1e-12)
    assert np.abs(field.slip(*between)).max() == pytest.approx(a / np.sqrt(2))
    assert model.layout.blend.core == pytest.approx(2 * a)
    assert model.layout.blend.width == 8.0
    assert lomer.value_name == "shear"
    np.testing.assert_allclose(
        lomer.deformations, [simple_shear(g) for g in (0, 0.005, 0.01)], atol=1e-14
    )


def test_the_rectangle_lies_in_the_block(lomer):
    crystal = lomer.model.crystal
    block = block_around(crystal, 150.0, 75.0).bind(crystal)
    x, y = np.meshgrid(np.linspace(-75, 75, 31), np.linspace(-37.5, 37.5, 31))
    points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    assert block.contains(points).all()
    sides = np.array(block.block.upper) - np.array(block.block.lower)
    assert (sides % 8 == 0).all()
    # Negative control: one unit less would cut a corner off.
    i, j = block.block.upper
    smaller = dataclasses.replace(block.block, upper=(i - 8, j))
    assert not smaller.bind(crystal).contains(points).all()
    inside = lomer.model.mesh.positions
    assert inside[:, 0].max() > 75
    assert inside[:, 1].max() > 37.5


def test_the_vacancies_are_built():
    setup = set_up(parse(VACANCY))
    model = setup.model
    assert model.crystal.a == pytest.approx(3.615)
    assert model.crystal.mode == "3d"
    gone = model.layout.positions[model.layout.vacant]
    np.testing.assert_allclose(
        gone[np.argsort(gone[:, 0])], [[0, 0, 0], [3.615 / 2, 3.615 / 2, 0]], atol=1e-12
    )
    assert setup.deformations.shape == (1, 3, 3)
    assert setup.values == (0.0,)


def test_interstitials_and_foreign_atoms_are_built():
    text = (
        VACANCY
        + """
[[defects.interstitials]]
element = "Ni"
position = ["0.5 a", 0, 0]

[[defects.substitutions]]
site = [0.5, 0, 0.5]
element = "Ag"
"""
    )
    model = set_up(parse(text)).model
    assert model.potential.species == ("Cu", "Ag", "Ni")
    assert model.layout.extra.sum() == 1
    np.testing.assert_allclose(model.layout.positions[model.layout.extra], [[3.615 / 2, 0, 0]])
    symbols = [model.potential.species[t] for t in model.layout.types]
    assert symbols.count("Ag") == 1
    assert symbols.count("Ni") == 1


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        ('kind = "uniaxial"\ndirection = [0, 0, 1]\nvalues = [0.01]', np.diag([1, 1, 1.01])),
        (
            'kind = "deformation"\nsteps = [[[1, 0.02, 0], [0, 1, 0], [0, 0, 1]]]',
            [[1, 0.02, 0], [0, 1, 0], [0, 0, 1]],
        ),
        (
            'kind = "shear"\nplane = [1, 1, 1]\ndirection = [1, -1, 0]\nvalues = [0.01]',
            np.eye(3) + 0.01 / np.sqrt(6) * np.outer([1, -1, 0], [1, 1, 1]),
        ),
    ],
)
def test_loads(load, expected):
    setup = set_up(parse(VACANCY + "[load]\n" + load))
    np.testing.assert_allclose(setup.deformations[0], expected, atol=1e-14)
    np.testing.assert_allclose(setup.model.far_field.mean_deformation, expected, atol=1e-14)


def test_potentials_with_parameters():
    text = edited(VACANCY, 'name = "zhou2004"',
                  'name = "lennard-jones"\nepsilon = "10 meV"\nsigma = "0.23 nm"')  # fmt: skip
    text = edited(text, '"0.3615 nm"', '"equilibrium"')
    model = set_up(parse(text)).model
    assert model.potential.epsilon[0, 0] == pytest.approx(0.01)
    assert model.potential.cutoff == pytest.approx(2.5 * 2.3)
    # The nearest neighbours of a Lennard-Jones fcc crystal sit at 1.09 sigma.
    assert model.crystal.nearest_neighbour == pytest.approx(1.09 * 2.3, rel=0.01)
    text = edited(VACANCY, 'name = "zhou2004"',
                  'name = "morse"\ndepth = 0.34\nstiffness = 1.36\ndistance = 2.87\n'
                  "cutoff = 6.5")  # fmt: skip
    assert set_up(parse(text)).model.potential.cutoff == 6.5


def test_a_potential_file_is_relative_to_the_case(tmp_path):
    from qc.potentials import write_setfl, zhou2004

    write_setfl(zhou2004("Cu", knots_per_length=400, knots_per_density=400), tmp_path / "Cu.eam")
    text = edited(VACANCY, 'name = "zhou2004"', 'file = "Cu.eam"')
    (tmp_path / "case.toml").write_text(text)
    setup = set_up(load_case(tmp_path / "case.toml"))
    again = parse_case(resolved(setup, tmp_path / "runs").encode(), tmp_path / "runs" / "case.toml")
    assert again.potential.file == "../Cu.eam"
    (tmp_path / "Cu.eam").write_text("nothing")
    with pytest.raises(PotentialFileError, match=r"Cu\.eam"):
        set_up(load_case(tmp_path / "case.toml"))


def test_a_perturbation_repeats_with_its_seed():
    text = VACANCY + "[solver]\nperturbation = 0.01\n"
    one, two = set_up(parse(text)).model, set_up(parse(text)).model
    other = set_up(parse("seed = 1\n" + text)).model
    assert 0.005 < np.abs(one.U).max() <= 0.01
    assert not one.U[~one.layout.free].any()
    np.testing.assert_array_equal(one.U, two.U)
    assert (one.U != other.U).any()


SPLIT = """
partials = [
    { burgers = ["1/6", "1/6", "-1/3"], direction = [1, 1, -2], distance = "2 a" },
    { burgers = ["1/6", "1/6", "1/3"], direction = [-1, -1, -2], distance = "2 a" },
]
"""


def test_partials_start_on_their_way(lomer):
    text = edited(
        LOMER, 'position = ["7.1 nn", "0.25 a"]\n', 'position = ["7.1 nn", "0.25 a"]' + SPLIT
    )
    case = parse(text)
    assert case.dislocations[0].partials[0].burgers == (1 / 6, 1 / 6, -1 / 3)
    model = set_up(case).model
    a, apex = model.crystal.a, model.far_field.dislocations[0].position
    x = model.layout.node_positions[:, :2] - apex
    size = np.linalg.norm(model.U, axis=1)
    # Between an arm and the apex the two sides of the fault are apart by a partial.
    assert size.max() == pytest.approx(0.5 * a / np.sqrt(6), rel=0.2)
    assert np.linalg.norm(x[size.argmax()]) < 2.1 * a
    assert x[size.argmax(), 1] < 0
    # No site beyond the strips is torn out of its surroundings.
    corners = model.mesh.elements[(np.linalg.norm(x, axis=1) > 4 * a)[model.mesh.elements].all(1)]
    steps = np.linalg.norm(model.U[corners] - np.roll(model.U[corners], 1, axis=1), axis=2)
    assert steps.max() < 0.2
    assert not lomer.model.U.any()
    # The predictor is that of the whole dislocation.
    np.testing.assert_array_equal(model.predictor(), lomer.model.predictor())
    again = set_up(parse_case(resolved(set_up(case), "runs").encode())).model
    np.testing.assert_array_equal(again.U, model.U)


# -- refusals ---------------------------------------------------------------------------------

BAD = [
    # unknown and misspelt keys, with the path and a suggestion
    (
        "[crystal]",
        "[crystal]\nstrcture = 1",
        r"crystal\.strcture: unknown key; did you mean 'structure'",
    ),
    ("[model]", "[modell]\n[model]", r"modell: unknown key; did you mean 'model'"),
    ("[model]", "[model]\nxyzzy = 3", r"model\.xyzzy: unknown key; known keys: scheme, core"),
    ("[solver]\nfmax", "[solver]\nf_max", r"solver\.f_max: unknown key; did you mean 'fmax'"),
    ("burgers", "burger", r"dislocations\[0\]\.burger: unknown key; did you mean 'burgers'"),
    # missing keys
    ('element = "Al"\n', "", r"crystal\.element: this key is required"),
    ('name = "zhou2004"', "", r"potential: give either a name or a file"),
    ('position = ["7.1 nn", "0.25 a"]\n', "", r"dislocations\[0\]\.position: this key is required"),
    ("plane = [0, 0, 1]\n", "", r"load\.plane: kind 'shear' needs this key"),
    # wrong types
    ("seed = 7", 'seed = "seven"', r"seed: expected an integer, not 'seven'"),
    ("seed = 7", "seed = true", r"seed: expected an integer, not True"),
    ("seed = 7", "seed = -1", r"seed: -1 is not between 0"),
    ("columns = true", "columns = 1", r"crystal\.columns: expected true or false, not 1"),
    (
        'core = "2 a"',
        "core = [2]",
        r"model\.core: expected a length, a number in Angstrom, not \[2\]",
    ),
    ('core = "2 a"', "core = true", r"model\.core: expected a length"),
    (
        "blend = 8",
        'blend = "wide"',
        r"model\.blend: 'wide' is no length; write a number in Angstrom",
    ),
    ("x = [1, 1, 0]", "x = [1, 1]", r"crystal\.x: 2 entries; expected 3 to 4"),
    ("x = [1, 1, 0]", "x = [1.5, 1, 0]", r"crystal\.x\[0\]: expected an integer, not 1.5"),
    ("x = [1, 1, 0]", "x = [0, 0, 0]", r"crystal\.x: a direction must not be zero"),
    ('values = [0.0, "0.5 %", 0.01]', "values = 0.01", r"load\.values: expected an array"),
    ('values = [0.0, "0.5 %", 0.01]', "values = []", r"load\.values: 0 entries"),
    (
        "[[dislocations]]\nburgers = [0.5, 0.5, 0.0]",
        "[[dislocations]]\nburgers = [0.5, 0.5]",
        r"dislocations\[0\]\.burgers: expected 3 entries, not 2",
    ),
    ("[load]", "[load.kind]\n[load]", r"no valid TOML|load"),
    # wrong units
    (
        'core = "2 a"',
        'core = "2 eV"',
        r"model\.core: 'eV' is no unit of length; known units: Angstrom",
    ),
    ('core = "2 a"', 'core = "2 Angstroms"', r"did you mean 'Angstrom'"),
    ('fmax = "0.2 meV/Angstrom"', 'fmax = "1e-4 eV"', r"solver\.fmax: 'eV' is no unit of force"),
    ('"0.5 %"', '"0.5 deg"', r"load\.values\[1\]: '0.5 deg' is no strain such as 0.03 or '3 %'"),
    (
        "burgers = [0.5, 0.5, 0.0]",
        'burgers = ["1/2", "1/0", 0]',
        r"'1/0' is no number",
    ),
    # out of range
    ('core = "2 a"', "core = -3", r"model\.core: -3 Angstrom must be greater than 0"),
    ('core = "2 a"', "core = nan", r"model\.core: nan is not finite"),
    ("blend = 8", "blend = inf", r"model\.blend: inf is not finite"),
    ("blend = 8", "blend = 1e300", r"model\.blend: 1e\+300 Angstrom must be at most"),
    (
        'fmax = "0.2 meV/Angstrom"',
        "fmax = 0",
        r"solver\.fmax: 0 eV/Angstrom must be greater than 0",
    ),
    ('"0.5 %"', "3", r"load\.values\[1\]: 3 must be at most 0.5 \(3 % is 0.03\)"),
    # wrong words
    ('"fcc"', '"fccc"', r"crystal\.structure: 'fccc' is not one of fcc.*did you mean 'fcc'"),
    ("[model]", '[model]\nscheme = "bgcf"', r"model\.scheme: 'bgcf' is not one of .*did you mean"),
    ('"zhou2004"', '"zhou"', r"potential\.name: 'zhou' is not one of zhou2004"),
    (
        "[model]",
        '[output]\nfields = ["strain"]\n[model]',
        r"output\.fields\[0\]: 'strain' is not one",
    ),
    ("[crystal]", '[crystal]\nlattice_constant = "equilibrum"', r"did you mean 'equilibrium'"),
    ("[crystal]", '[crystal]\nlattice_constant = "1 a"', r"cannot be measured by itself"),
    # keys that contradict each other
    (
        "rectangle",
        "outer = 3\nrectangle",
        r"model\.rectangle: the outer region is already given by outer",
    ),
    ("columns = true", "columns = false", r"model\.rectangle: only for columns"),
    ("y = [0, 0, 1]\nz = [1, -1, 0]\n", "", r"crystal\.x: give two or three directions"),
    (
        'name = "zhou2004"',
        'name = "zhou2004"\nsigma = 2',
        r"potential\.sigma: zhou2004 has no such",
    ),
    ('kind = "shear"', 'kind = "none"', r"load\.plane: unknown key of kind 'none'"),
    (
        "[model]",
        "[model.block]\nlower = [0]\nupper = [1, 2]\n[model]",
        r"model\.block\.lower: 1 entries",
    ),
    ("[crystal]", "[crystal]\nc = 5", r"crystal\.c: fcc has no second lattice constant"),
]


@pytest.mark.parametrize(("old", "new", "message"), BAD, ids=[m[2][:40] for m in BAD])
def test_a_bad_key_is_named(old, new, message):
    with pytest.raises(CaseError, match=message) as caught:
        parse(edited(LOMER, old, new))
    assert str(caught.value).startswith("case.toml: ")


LATE = [
    ("x = [1, 1, 0]", "x = [1, 0, 0]", r"^case\.toml: crystal: "),
    (
        "burgers = [0.5, 0.5, 0.0]",
        "burgers = [0.5, 0.4, 0.0]",
        r"^case\.toml: dislocations\[0\]\.burgers: \[0.5, 0.4, 0.0\] is no lattice vector",
    ),
    (
        "burgers = [0.5, 0.5, 0.0]",
        "burgers = [0.0, 0.0, 0.0]",
        r"^case\.toml: dislocations\[0\]: burgers must not",
    ),
    (
        "burgers = [0.5, 0.5, 0.0]",
        "cut = [0, 1]\nburgers = [0.5, 0.5, 0.0]",
        r"^case\.toml: dislocations\[0\]: cut_direction .* is not in the glide plane",
    ),
    ('["-6.9 nn", "0.25 a"]', '["7.1 nn", "0.25 a"]', r"^case\.toml: dislocations: "),
    ('core = "2 a"', "core = 2", r"^case\.toml: model: core radius .* the minimum"),
    ("blend = 8", "blend = 0.5", r"^case\.toml: model: blend .* minimum"),
    ('core = "2 a"', 'core = "1 a"\ngrading = 0.01', r"model\.grading: 0.01 must be at least"),
    (
        'core = "2 a"',
        "core = 1e6",
        r"^case\.toml: model: core and blend would hold .* atoms; the most is",
    ),
    (
        "direction = [1, 1, 0]",
        "direction = [1, 1, 1]",
        r"^case\.toml: load\.plane: direction and normal",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), LATE, ids=[m[2][:40] for m in LATE])
def test_what_only_shows_when_building_is_named_too(old, new, message):
    with pytest.raises(CaseError, match=message):
        set_up(parse(edited(LOMER, old, new)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[0.5, 0.5, 0]]",
            "[0.5, 0.4, 0]]",
            r"^case\.toml: defects\.vacancies\[1\]: .* is no lattice site; the nea",
        ),
        ("[0.5, 0.5, 0]]", "[0, 0, 0]]", r"^case\.toml: defects\.vacancies: a site is named twice"),
        ("[0.5, 0.5, 0]]", "[9, 0, 0]]", r"outside the core|outer boundary"),
        ('outer = "8 a"', 'outer = "3 a"', r"^case\.toml: model: the outer boundary comes within"),
    ],
)
def test_what_does_not_fit_the_crystal_is_named(old, new, message):
    with pytest.raises(CaseError, match=message):
        set_up(parse(edited(VACANCY, old, new)))


def test_an_unknown_element_lists_the_known_ones():
    with pytest.raises((CaseError, UnknownSpeciesError), match=r"'Xx'.*Cu, Ag"):
        set_up(parse(edited(VACANCY, '"Cu"', '"Xx"')))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", r"crystal: this key is required"),
        (b"\xff\xfe", r"not UTF-8 text, at byte 0"),
        (b"a = ", r"no valid TOML"),
        (b"a = 1\na = 2", r"no valid TOML"),
        (b"[[[[", r"no valid TOML"),
        (b"a = " + b"[" * 5000, r"no valid TOML"),
        (b"seed = " + b"9" * 6000, r"no valid TOML|expected|out of range"),
        (b"#" * (LONGEST + 1), r"longer than"),
        (b"crystal = 3", r"crystal: expected a table, not 3"),
        (b"[[crystal]]", r"crystal: expected a table"),
        (b"\x00\x01\x02", r"no valid TOML"),
    ],
)
def test_what_is_no_case_file_is_refused(raw, message):
    with pytest.raises(CaseError, match=message):
        parse_case(raw)


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_case(tmp_path / "none.toml")
    with pytest.raises(CaseError, match="file name"):
        load_case("a\0b")


@settings(max_examples=300)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_case_error(raw):
    with pytest.raises(CaseError):
        parse_case(raw)


VALUES = st.recursive(
    st.none().map(lambda _: "") | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def paths(values, prefix=()):
    for name, value in values.items():
        yield (*prefix, name)
        if isinstance(value, dict):
            yield from paths(value, (*prefix, name))


@settings(max_examples=400)
@given(st.data())
def test_any_value_in_any_place_is_read_or_refused(data):
    values = tomllib.loads(LOMER)
    path = data.draw(st.sampled_from(sorted(paths(values))))
    table = values
    for name in path[:-1]:
        table = table[name]
    table[path[-1]] = data.draw(VALUES)
    try:
        case: Case | str = read_table(KINDS["statics"], values, "")
    except CaseError as error:
        case = str(error)
    assert isinstance(case, Case) or case.startswith(path[0])


# -- the resolved copy ------------------------------------------------------------------------


@pytest.mark.parametrize("text", [LOMER, VACANCY])
def test_the_resolved_copy_builds_the_same_model(text, tmp_path):
    setup = set_up(parse(text))
    copy = resolved(setup, tmp_path)
    again = set_up(parse_case(copy.encode(), tmp_path / "case.toml"))
    one, two = setup.model, again.model
    np.testing.assert_array_equal(one.mesh.elements, two.mesh.elements)
    np.testing.assert_array_equal(one.predictor(), two.predictor())
    np.testing.assert_array_equal(one.forces(), two.forces())
    np.testing.assert_array_equal(setup.deformations, again.deformations)
    assert one.potential.fingerprint() == two.potential.fingerprint()
    # Resolving what is resolved changes nothing but the line that names the source.
    body = [line for line in resolved(again, tmp_path).splitlines() if line[:1] != "#"]
    assert body == [line for line in copy.splitlines() if line[:1] != "#"]
    # Every default is there to be seen.
    assert "fmax = " in copy
    assert "largest = 0.5" in copy


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,6}", fullmatch=True),
        st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
        | st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4),
        max_size=5,
    )
)
def test_toml_is_read_back_as_it_was_written(values):
    nested = {**values, "table": {**values, "inner": [dict(values), dict(values)]}}
    back = tomllib.loads(to_toml(nested))
    assert back == nested


# -- where output goes ------------------------------------------------------------------------


def test_output_stays_in_the_working_folder(tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    assert output_folder(None, None, "lomer") == Path("runs/lomer")
    assert output_folder(None, "results/a", "lomer") == Path("results/a")
    for outside in ("../other", str(tmp_path / "other"), "a/../../b"):
        with pytest.raises(OutputError, match=r"output\.directory: .* leads out of"):
            output_folder(None, outside, "lomer")
    (work / "link").symlink_to(tmp_path)
    with pytest.raises(OutputError, match="leads out of"):
        output_folder(None, "link/other", "lomer")
    # What the user types on the command line is the user's own business.
    assert output_folder(str(tmp_path / "other"), "a", "lomer") == tmp_path / "other"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("")
    with pytest.raises(CaseError.__mro__[1], match="'taken' is a file"):
        output_folder(None, "taken", "lomer")


# -- documentation ----------------------------------------------------------------------------

DOCS = Path(__file__).resolve().parents[2] / "docs" / "case-files.md"


def keys(cls):
    """Every key of a table and of the tables in it, of whatever kind."""
    import typing

    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        if typing.get_origin(hint) is typing.Annotated:
            yield name
            for inner in (hint.__origin__, *typing.get_args(hint.__origin__)):
                for one in kinds_of(inner):
                    yield from keys(one)


def kinds_of(cls):
    """The tables that a type stands for."""
    if not isinstance(cls, type):
        return []
    own = [cls] if dataclasses.is_dataclass(cls) and cls is not Length else []
    if not own and not issubclass(cls, OfKind):
        return []
    return own + [one for below in cls.__subclasses__() for one in kinds_of(below)]


def test_every_key_is_documented():
    documented = DOCS.read_text()
    found = {key for case in KINDS.values() for key in keys(case)}
    assert {"burgers", "vacancies", "rectangle", "distance", "upper", "fmax"} <= found
    assert {"depths", "factors", "plane", "friction", "spots", "warm_up", "frames"} <= found
    # Tables are documented by their heading, keys by their name.
    forms = ("`{}`", "`[{}]`", "`[[{}]]`", ".{}]`", ".{}]]`")
    assert [k for k in sorted(found) if not any(f.format(k) in documented for f in forms)] == []


def test_every_kind_is_documented():
    documented = DOCS.read_text()
    for kinds in (KINDS, LOADS, BOUNDARIES, STRAINS, BATHS, PLACES, MATERIALS):
        assert [name for name in kinds if f'`"{name}"`' not in documented] == []


def test_every_option_of_a_model_can_be_given():
    elsewhere = {"crystal", "potential", "far_field", "defects", "loads", "boundary", "terms"}
    own = {one.name for one in dataclasses.fields(ModelCase)}
    assert set(OPTIONS) - elsewhere <= own
    # What elements are made of is named there.
    for name in own & set(OPTIONS) - {"material"}:
        assert ModelCase.__dataclass_fields__[name].default == OPTIONS[name].default


def test_the_documented_example_is_built():
    statics, dynamics = (t.split("```")[0] for t in DOCS.read_text().split("```toml")[1:])
    run = build_dynamics(set_up(parse(dynamics)))
    assert run.baths[0].friction.max() > 0
    setup = set_up(parse(statics))
    assert setup.values == (0.0, 0.01)
    assert setup.model.layout.vacant.sum() == 1


def test_elements_of_second_order_and_linear_ones(tmp_path):
    text = edited(LOMER, "[model]", '[model]\norder = 2\nmaterial = "linear"')
    setup = set_up(parse(text))
    assert setup.model.spec.order.order == 2
    assert isinstance(setup.model.spec.material, LinearElastic)
    again = set_up(parse_case(resolved(setup, tmp_path).encode(), tmp_path / "case.toml"))
    assert fingerprints(again.model) == fingerprints(setup.model)
    assert fingerprints(set_up(parse(LOMER)).model) != fingerprints(setup.model)
    with pytest.raises(CaseError, match=r"model\.order: no elements of order 7; there are"):
        parse(edited(LOMER, "[model]", "[model]\norder = 7"))


def test_boundaries_of_a_block():
    text = """
[crystal]
structure = "fcc"
element = "Cu"

[potential]
name = "zhou2004"

[model]
scheme = "cauchy-born"
block = { lower = [-4, -4, -4], upper = [4, 4, 4] }

[[boundary]]
kind = "periodic"
axes = [0, 1]

[[boundary]]
kind = "traction"
plane = [1, 1, -1]
traction = ["10 MPa", 0.0, 0.0]

[[boundary]]
kind = "held"
plane = [-1, -1, 1]
displacement = [0.0, "0.1 a", 0.0]
"""
    model = set_up(parse_case(text.encode())).model
    layout = model.layout
    pulled, held = model.mesh.hull.faces[4:]
    assert len(model.mesh.hull.repeats) == 2
    assert pulled.ends
    assert not held.ends
    area = 64 * model.crystal.volume / pulled.spacing
    assert layout.tractions().sum(axis=0) == pytest.approx([1e-2 * GPa * area, 0, 0])
    assert layout.constraint.start()[:, 1].max() == pytest.approx(0.1 * model.crystal.a)
    # Another traction is another model.
    other = set_up(parse_case(text.replace("10 MPa", "20 MPa").encode())).model
    assert fingerprints(model)["mesh"] != fingerprints(other)["mesh"]
