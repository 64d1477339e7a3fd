"""The command qc bulk: its options, its output and what it says about bad input."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk as ase_bulk

from qc.bulk.properties import BulkProperties
from qc.cli.bulk import choose_crystal, choose_element, choose_structure, load_potential
from qc.cli.bulk_text import as_text, branches
from qc.cli.main import main
from qc.crystal import standard_crystal
from qc.errors import InputError
from qc.io.potentials import BUILT_IN
from qc.materials import elasticity
from qc.materials.phonons import ZonePoint
from qc.potentials import LennardJones, StillingerWeber, write_setfl, zhou2004

TOP = {
    "element", "structure", "potential", "units", "a", "c", "c_over_a", "cell", "basis", "symbols",
    "volume_per_atom", "cohesive_energy", "bulk_modulus", "elastic_constants",
    "elastic_constants_clamped", "inner_displacements", "kleinman", "phonons", "vacancy",
    "surfaces", "faults", "growth_fault", "unstable", "not_applicable", "failures", "remarks",
}  # fmt: skip


def test_a_whole_run_with_a_picture(tmp_path, capsys):
    target = tmp_path / "new" / "gamma.png"
    assert main(["bulk", "zhou2004:Cu", "--gamma-plot", str(target)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.startswith("Cu fcc\n")
    rows = dict(line.strip().split("  ", 1) for line in captured.out.splitlines()[1:])
    assert set(rows) >= {
        "lattice constant", "cohesive energy", "bulk modulus", "C11", "C12", "C44",
        "inner displacement", "vacancy formation", "surface (100)", "surface (110)",
        "surface (111)", "{111}<112> unstable", "{111}<112> intrinsic", "{111}<110> unstable",
        "phonons X", "phonons L", "phonons W", "phonons K",
    }  # fmt: skip
    assert "not applicable: one atom" in rows["inner displacement"]
    for name, unit in (("C44", "GPa"), ("surface (111)", "mJ/m^2"), ("phonons X", "THz")):
        assert unit in rows[name]
    assert target.read_bytes().startswith(b"\x89PNG")


def test_json_is_complete_and_names_its_units(tmp_path, capsys):
    path = tmp_path / "MgTi.eam.alloy"
    write_setfl(zhou2004("Mg", "Ti"), path)
    assert main(["bulk", str(path), "--element", "Mg", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == TOP
    assert found["structure"] == "hcp"
    assert found["c_over_a"] == pytest.approx(1.63, abs=0.02)
    assert found["c"] == pytest.approx(found["c_over_a"] * found["a"], rel=1e-12)
    assert np.array(found["elastic_constants"]).shape == (6, 6)
    assert np.array(found["inner_displacements"]).shape == (2, 3, 6)
    assert found["vacancy"]["relaxed"] < found["vacancy"]["unrelaxed"]
    assert [s["name"] for s in found["surfaces"]] == [
        "basal (0001)", "prismatic (10-10)", "prismatic (11-20)",
    ]  # fmt: skip
    basal = found["faults"][0]
    assert basal["stable"]["name"] == "intrinsic I2"
    assert len(basal["fractions"]) == len(basal["relaxed"]) == len(basal["unrelaxed"])
    assert [p["name"] for p in found["phonons"]] == ["Gamma", "A", "M", "K"]
    assert found["phonons"][0]["longitudinal"] is None
    assert found["kleinman"] is None
    assert found["failures"] == found["not_applicable"] == {}
    assert set(found["units"]) <= TOP | {"displacement", "opening", "q", "frequencies"}


@pytest.mark.parametrize(
    ("options", "present", "absent"),
    [
        (["--only", "elastic"], "C44", "vacancy"),
        (["--only", "elastic, phonons"], "phonons X", "surface"),
        (["--skip", "vacancy,faults,surfaces,phonons"], "C44", "vacancy"),
    ],
)
def test_groups_can_be_chosen(options, present, absent, capsys):
    assert main(["bulk", "zhou2004:Ag", *options]) == 0
    out = capsys.readouterr().out
    assert present in out
    assert absent not in out
    assert "lattice constant" in out


def test_a_compound_from_a_file(tmp_path, capsys):
    cell = Atoms("NiAl", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[3.1] * 3, pbc=True)
    cell.write(tmp_path / "B2.extxyz")
    arguments = ["bulk", "zhou2004:Ni,Al", "--cell", str(tmp_path / "B2.extxyz")]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("NiAl multilattice\n")
    assert "C44" in out
    assert "C66" not in out
    for text in ("chemical potentials", "planes are known", "phonons b1/2", "Al at"):
        assert text in out
    # The cell has moved to zero stress.
    assert f"{3.1:10.5f}" not in out


def test_a_cell_in_other_axes_gets_the_whole_matrix(tmp_path, capsys):
    cell = Atoms("NiAl", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[3.1] * 3, pbc=True)
    cell.rotate(30, (1, 2, 3), rotate_cell=True)
    cell.write(tmp_path / "turned.extxyz")
    arguments = ["bulk", "zhou2004:Ni,Al", "--cell", str(tmp_path / "turned.extxyz")]
    assert main([*arguments, "--only", "elastic"]) == 0
    out = capsys.readouterr().out
    assert "C row 6" in out
    assert "-0.00 " not in out
    assert main([*arguments, "--gamma-plot", str(tmp_path / "g.png")]) == 2
    assert "planes are known for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zhou2004:Xx"], "no parameters for 'Xx'"),
        (["zhou2004:"], "no parameters for ''"),
        (["zhou2004"], "name at least one of Cu"),
        (["zhuo2004:Cu"], "no built-in potential and no file 'zhuo2004:Cu'; did you mean 'zhou"),
        (["stillinger1958"], "did you mean 'stillinger1985'?"),
        (["stillinger1985:Ge"], "no parameters for 'Ge'; it supports Si"),
        (["stillinger1985:Si,Ge"], "takes one element, not 2"),
        (["nowhere.eam.alloy"], "nowhere.eam.alloy"),
        (["nowhere.sw"], "nowhere.sw"),
        (["zhou2004:Cu,Ni"], "choose one of Cu, Ni with --element"),
        (["zhou2004:Cu", "--element", "Cuu"], "no element 'Cuu', only Cu; did you mean 'Cu'?"),
        (["zhou2004:Cu", "--structure", "fc"], "invalid choice: 'fc'"),
        (["zhou2004:Cu", "--structrue", "fcc"], "did you mean '--structure'?"),
        (["zhou2004:Cu", "--only", "elastics"], "unknown group 'elastics'; did you mean 'elastic'"),
        (["zhou2004:Cu", "--skip", ""], "unknown group ''"),
        (["zhou2004:Cu", "--gamma-plot", "g.txt"], "must end in .png, .pdf, .svg"),
        (["zhou2004:Cu", "--gamma-plot", "g.png", "--skip", "faults"], "needs the group 'faults'"),
        (["zhou2004:Cu", "--cell", "nowhere.cif"], "nowhere.cif"),
        (["zhou2004:Cu", "--cell", "x", "--structure", "fcc"], "exclude each other"),
        ([], "POTENTIAL"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys):
    assert main(["bulk", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("qc bulk: error: ")


def test_bad_cells_are_one_line(tmp_path, capsys):
    ase_bulk("Cu", cubic=True).write(tmp_path / "Cu.extxyz")
    Atoms("Ni", positions=[[0, 0, 0]]).write(tmp_path / "open.extxyz")
    (tmp_path / "empty.sw").write_text("")
    for arguments, message in (
        (["zhou2004:Ni", "--cell", "Cu.extxyz"], "no parameters for 'Cu'"),
        (["zhou2004:Ni", "--cell", "open.extxyz"], "pbc"),
        (["empty.sw"], "empty.sw"),
    ):
        named = [str(tmp_path / a) if "." in a else a for a in arguments]
        assert main(["bulk", *named]) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.count("\n") == 1


def test_what_fails_is_said_and_the_rest_is_printed(monkeypatch, capsys):
    monkeypatch.setattr("qc.bulk.cell.FORCE_TOLERANCE", 1e-30)
    assert main(["bulk", "zhou2004:Cu", "--only", "elastic,surfaces"]) == 1
    out = capsys.readouterr().out
    assert "C44" in out
    assert out.count("FAILED: ") == 3
    assert "surface (110) did not relax" in out


def test_a_picture_of_nothing_is_not_drawn(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("qc.bulk.cell.FORCE_TOLERANCE", 1e-30)
    target = tmp_path / "g.png"
    assert main(["bulk", "zhou2004:Cu", "--only", "faults", "--gamma-plot", str(target)]) == 1
    assert capsys.readouterr().out.count("FAILED: ") == 2
    assert not target.exists()


def test_an_unstable_crystal_is_called_so(capsys):
    assert main(["bulk", "zhou2004:Cu", "--structure", "bcc", "--only", "elastic,phonons"]) == 0
    out = capsys.readouterr().out
    assert "UNSTABLE  " in out
    assert "the stiffness has an eigenvalue -" in out
    # Said before any number that means little then.
    assert out.index("UNSTABLE") < out.index("C44")


def test_a_file_of_another_suffix_is_read_by_its_family(tmp_path):
    line = "Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333333333 7.049556277 0.6022245584 4 0 0\n"
    (tmp_path / "Si.SW").write_text(line)
    assert isinstance(load_potential(str(tmp_path / "Si.SW")), StillingerWeber)


def test_choices():
    assert load_potential("zhou2004:Cu,Ni").species == ("Cu", "Ni")
    assert load_potential("stillinger1985").species == ("Si",)
    assert choose_element(zhou2004("Fe"), None) == "Fe"
    assert choose_structure(zhou2004("Fe", "Cu"), "Cu") == "fcc"
    argon = LennardJones(("Ar", "In"), epsilon=0.01, sigma=3.4, cutoff=8.0)
    assert choose_structure(argon, "Ar") == "fcc"
    assert choose_crystal(argon, "Ar", None, None).name == "fcc"
    with pytest.raises(InputError, match="choose one with --structure"):
        choose_structure(argon, "In")


def test_branches_of_phonons():
    point = ZonePoint(
        "X",
        np.array([0.0, 0.0, 1.0]),
        np.array([-1.25, -1e-9, 2.0, 2.0, 3.0, 4.0]),
        np.array([0.0, 0.0, 1.0, 1.0, 0.4, np.nan]),
    )
    assert branches(point) == "1.250i T, 0.000 T, 2.000 L x2, 3.000, 4.000"


def test_a_table_without_groups():
    crystal = standard_crystal("Cu", "fcc", 3.6)
    text = as_text(BulkProperties(crystal, -3.5))
    assert text.splitlines() == [
        "Cu fcc",
        "  lattice constant  3.60000 Angstrom",
        "  cohesive energy   -3.5000 eV/atom",
    ]
    bare = BulkProperties(crystal, -3.5, elasticity=elasticity(crystal, zhou2004("Cu")))
    assert "C44" in as_text(bare)


def test_the_page_is_true(capsys):
    """docs/bulk.md: its example runs, its table is the command's, every key is explained."""
    page = (Path(__file__).parents[2] / "docs" / "bulk.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(code, {})
    assert [float(x) for x in capsys.readouterr().out.split()] == pytest.approx(
        [5.43095, 0.35235, 0.62895], abs=1e-4
    )
    (shown,) = re.findall(r"```\n(Si diamond\n.*?)```", page, re.DOTALL)
    assert main(["bulk", "stillinger1985:Si"]) == 0
    printed = capsys.readouterr().out
    number = r"-?\d+\.\d+"
    assert re.sub(number, "#", printed) == re.sub(number, "#", shown)
    pairs = zip(re.findall(number, printed), re.findall(number, shown), strict=True)
    for new, old in pairs:
        # The vacancy starts off symmetry, and ends where it does to a tenth of a millielectronvolt.
        assert float(new) == pytest.approx(float(old), rel=1e-4, abs=2e-3)
    assert {key for key in TOP if f"`{key}`" not in page} == set()
    assert {name for name in BUILT_IN if f"`{name}" not in page} == set()
