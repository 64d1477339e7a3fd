"""The examples at their small size: each must come out with the right physics, not just run."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import signal
import sys
from pathlib import Path
from types import ModuleType

import ase.io
import numpy as np
import pytest

from qc.cli.main import main
from qc.io import read_history
from qc.io.cases.case import load_case
from qc.io.cases.setup import set_up

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NAMES = (
    "ase_calculator",
    "dislocation_at_temperature",
    "edge_dislocation",
    "from_ase_atoms",
    "heat_conduction",
    "hot_indentation",
    "langevin_equilibrium",
    "lomer_dipole",
    "nve_vacancy",
    "phonon_reflection",
    "readme_pictures",
    "screw_dislocation",
    "silicon_vacancy",
    "thermal_expansion",
    "vacancy_3d",
)

#: Formation energy of a vacancy in Cu on the full lattice, every atom relaxed by LAMMPS, eV.
VACANCY = json.loads((ROOT / "tests/reference/vacancy_3d_Cu.json").read_text())


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up while the class is made.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_example_is_run_here():
    assert sorted(p.stem for p in EXAMPLES.glob("*.py")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_help(name, capsys):
    module = load(name)
    with pytest.raises(SystemExit) as leave:
        module.main(["--help"])
    assert leave.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert module.__doc__.splitlines()[0] in text
    assert "--small" in text
    assert "--output" in text


def test_vacancy_agrees_with_the_full_lattice(tmp_path, capsys):
    module = load("vacancy_3d")
    assert pytest.approx(VACANCY["defect_energy"], abs=1e-6) == module.FULL_LATTICE_ENERGY
    first = VACANCY["displacements"][0]
    assert first[:3] == [1, 1, 0]
    assert pytest.approx(np.linalg.norm(first[3:]), abs=1e-6) == module.FULL_LATTICE_INWARD

    rows = module.main(["--small", "--output", str(tmp_path / "out")])
    errors = [abs(r.energy - VACANCY["defect_energy"]) for r in rows]
    shifts = [abs(r.inward / module.FULL_LATTICE_INWARD - 1.0) for r in rows]
    assert all(r.converged for r in rows)
    assert errors[-1] < errors[0] < 1e-3
    assert shifts[-1] < shifts[0] < 0.02
    # The unrelaxed energy is what a model gives that never moves.
    assert VACANCY["unrelaxed_defect_energy"] - rows[0].energy > 0.1
    assert f"{rows[-1].energy:.5f}" in capsys.readouterr().out
    written = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert written == ["regions.png", "relaxation.png", "vacancy.extxyz", "vacancy.vtu"]


def test_edge_dislocation_converges_to_the_full_lattice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    full, *rows = load("edge_dislocation").main(["--small"])
    assert all(r.converged for r in (full, *rows))
    assert full.width > 20.0, "the dislocation has not split into partials"
    errors = [r.rms_error for r in rows]
    assert errors[-1] < errors[0] < 0.01
    assert rows[-1].largest_error < rows[0].largest_error
    for r in rows:
        assert r.gain == pytest.approx(full.gain, rel=5e-3)
        assert r.width == pytest.approx(full.width, abs=0.2)
        assert r.unknowns < full.unknowns
    assert not list(tmp_path.iterdir()), "nothing is written unless asked for"


def test_screw_dislocation_has_its_elastic_energy():
    found = load("screw_dislocation").main(["--small"])
    sizes = sorted(found.energies)
    steps = np.diff([found.energies[s] for s in sizes])
    assert len(steps) == 2
    np.testing.assert_allclose(steps, found.prefactor * np.log(2.0), rtol=1e-3)
    cores = sorted(found.errors)
    assert found.errors[cores[-1]] < found.errors[cores[0]] < 0.015
    for core in cores:
        assert found.gains[core] == pytest.approx(found.gains[None], rel=2e-3)


def test_lomer_dipole_follows_the_full_lattice(tmp_path):
    module = load("lomer_dipole")
    stored = json.loads((ROOT / "tests/reference/lomer_dipole_Al.json").read_text())
    for step in stored["steps"]:
        energy = module.FULL_LATTICE[round(step["shear"], 3)]
        assert energy == pytest.approx(step["block_energy"], abs=1e-5)
    assert len(stored["steps"]) == len(module.FULL_LATTICE)

    rows = module.main(["--small", "--output", str(tmp_path / "out")])
    assert len(rows) == 2
    for row in rows:
        assert row.converged
        assert row.error < 0.005
        # Both dislocations have split, and both are still there.
        assert all(5.0 < s < 20.0 for s in row.split)
    assert rows[1].energy > rows[0].energy + 0.05
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"shear_0.vtu", "shear_6.vtu", "shear_6.extxyz", "nonaffinity.png"} <= names


def test_lomer_case_file_and_script_are_the_same_model():
    case = set_up(load_case(EXAMPLES / "lomer_dipole.toml"))
    module = load("lomer_dipole")
    model = module.lomer_model(module.FULL)
    assert case.values == tuple(module.FULL_LATTICE)
    np.testing.assert_array_equal(case.model.mesh.lattice, model.mesh.lattice)
    np.testing.assert_array_equal(case.model.mesh.elements, model.mesh.elements)
    np.testing.assert_allclose(case.model.layout.beta_nodes, model.layout.beta_nodes, atol=1e-9)
    np.testing.assert_allclose(case.model.predictor(), model.predictor(), atol=1e-6)
    np.testing.assert_allclose(case.model.U, model.U, atol=1e-6)


def test_silicon_vacancy_has_two_minima(tmp_path, capsys):
    module = load("silicon_vacancy")
    stored = json.loads((ROOT / "tests/reference/vacancy_3d_Si.json").read_text())
    assert pytest.approx(stored["defect_energy"], abs=1e-6) == module.BONDED
    assert pytest.approx(stored["unrelaxed_defect_energy"], abs=1e-6) == module.ON_SITES
    first = stored["displacements"][0]
    assert first[:3] == [1, 1, 1]
    assert pytest.approx(np.linalg.norm(first[3:]), abs=1e-6) == module.INWARD

    left, bonded = module.main(["--small", "--output", str(tmp_path / "out")])
    assert left.converged
    assert bonded.converged
    assert left.evaluations == 1
    assert left.inward == 0.0
    assert left.energy == pytest.approx(module.ON_SITES, abs=1e-6)
    assert bonded.energy == pytest.approx(module.BONDED, abs=0.03)
    assert bonded.inward == pytest.approx(module.INWARD, rel=0.03)
    assert f"{bonded.energy:.5f}" in capsys.readouterr().out
    written = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert written == ["nonaffinity.png", "relaxation.png", "vacancy.extxyz", "vacancy.vtu"]


def test_basal_screw_case_file_splits(tmp_path):
    text = (EXAMPLES / "basal_screw_cobalt.toml").read_text()
    stored = json.loads((ROOT / "tests/reference/dislocation_basal_screw_Co.json").read_text())
    for old, new in (("core = 30 ", "core = 14 "), ("outer = 160", "outer = 40"),
                     ("blend = 12 ", "blend = 8 "), ("[output]", "[solver]\nfmax = 2e-3\n[output]"),
                     ('["stress_yz", "energy_density"]', "[]")):  # fmt: skip
        assert text.count(old) == 1
        text = text.replace(old, new)
    case = tmp_path / "screw.toml"
    case.write_text(text)
    assert main(["run", str(case), "--output", str(tmp_path / "out"), "--quiet"]) == 0
    atoms = ase.io.read(tmp_path / "out" / "atoms" / "step_000.extxyz")
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    crystal = result["crystal"]
    assert crystal["lattice_constant"] == pytest.approx(stored["crystal"]["a"], abs=1e-5)
    assert crystal["c"] == pytest.approx(stored["crystal"]["c"], abs=1e-5)
    assert crystal["sublattices"] == ["Co", "Co"]
    assert np.isfinite(atoms.get_array("site_energy")).all()
    # Slip across the glide plane, between the two kinds of basal planes, in units of b.
    u = atoms.get_array("displacement")
    x = atoms.positions - u - atoms.info["offset"]
    grid = np.linspace(-25.0, 25.0, 2001)
    sides = []
    for height in (0.0, 0.5 * crystal["c"]):
        row = np.flatnonzero(np.abs(x[:, 1] - height) < 0.1)
        row = row[np.argsort(x[row, 0])]
        b = crystal["lattice_constant"]
        sides.append(np.interp(grid, x[row, 0], np.unwrap(u[row, 2], period=b)) / b)
    slip = np.abs(sides[1] - sides[0])
    slip = np.abs(slip - np.round(slip[-1]))
    places = [grid[np.argmin(np.abs(slip - share))] for share in (0.75, 0.25)]
    # The core is as small as it can be: the partials are held together a little.
    wide = stored["dissociation"]["separation"]
    assert 0.75 * wide < places[1] - places[0] < 1.1 * wide
    pictures = {p.name for p in (tmp_path / "out" / "pictures").iterdir()}
    assert pictures == {"mesh.png", "regions.png", "nonaffinity.png"}


def test_defects_are_found_in_atoms_and_relaxed():
    found = load("from_ase_atoms").main(["--small"])
    assert all(f.converged for f in found.values())
    assert "1 vacant site" in found["vacancy"].defect
    assert "1 extra atom" in found["dumbbell"].defect
    assert "2 vacant sites" in found["divacancy"].defect
    alone = VACANCY["defect_energy"]
    assert found["vacancy"].energy == pytest.approx(alone, abs=1e-3)
    for name, stretches in {"dumbbell": (1.0, 1.0, 1.0), "divacancy": (1.01, 1.0, 1.0)}.items():
        # In units of the crystal at rest, from which 3.615 Angstrom differs by 1e-5.
        assert found[name].stretches == pytest.approx(stretches, abs=2e-4)
    # Vacancies attract each other, and stretching the crystal does not change that.
    assert 0.0 < 2.0 * alone - found["divacancy"].energy < 0.3
    dumbbell = json.loads((ROOT / "tests/reference/dumbbell_3d_Cu.json").read_text())
    # The small model is held only 17 Angstrom from a defect that pushes hard.
    assert found["dumbbell"].energy == pytest.approx(dumbbell["defect_energy"], abs=0.03)


def test_ase_drives_both_calculators():
    found = load("ase_calculator").main(["--small"])
    assert set(found.atoms) == {"BFGS", "FIRE", "LBFGS"}
    assert np.ptp(list(found.atoms.values())) < 1e-3
    assert set(found.model) == {"FIRE", "LBFGS", "PreconLBFGS"}
    assert np.ptp(list(found.model.values())) < 1e-3
    # A cell of 108 sites and a ball of four lattice constants, against the infinite crystal.
    for energy in (*found.atoms.values(), *found.model.values()):
        assert energy == pytest.approx(VACANCY["defect_energy"], abs=8e-3)
    assert found.steps["PreconLBFGS"] < found.steps["LBFGS"] < found.steps["FIRE"]
    assert max(found.drift.values()) < 0.01
    assert min(found.drift.values()) > 0.0


def test_hot_spot_cools_as_the_heat_equation_says_and_goes_on_after_a_stop(
    tmp_path, monkeypatch, capsys
):
    module = load("heat_conduction")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    found = module.main(["--small", "--output", str(whole)])
    assert f"{found.fitted:.2f}" in capsys.readouterr().out
    assert max(found.closure, found.drift) < 1e-10
    # The field's own elements are known to a percent, the runs to their noise.
    assert found.alone == pytest.approx(found.given, rel=0.015)
    assert found.noise < 0.01 * module.RISE
    assert found.deviation < 2.0 * found.noise + found.elements
    assert found.fitted == pytest.approx(found.given, rel=0.2)
    assert found.field[0, 0] - found.field[-1, 0] > 0.15 * module.RISE
    # What it is compared with does solve the heat equation: a Gaussian becomes a wider one.
    equation = module.HeatEquation(160.0, 64, 3.0, 0.003, np.zeros((1, 2)), np.zeros(1))
    times, at = np.linspace(0.0, 15.0, 31), np.array([[0.0, 0.0], [11.0, -7.0], [25.0, 0.0]])
    solved = equation.solve(module.hot_spot(16.0)(equation.grid()), 0.02, times, at)
    width = 16.0**2 + 2.0 * 0.02 / 0.003 * times[:, None]
    exact = module.RISE * 16.0**2 / width * np.exp(-0.5 * (at**2).sum(axis=1) / width)
    np.testing.assert_allclose(solved - module.COLD, exact, atol=2e-3 * module.RISE)

    sizes = module.SMALL
    monkeypatch.setattr(module, "SMALL", dataclasses.replace(sizes, steps=200))
    module.main(["--small", "--output", str(parts)])
    monkeypatch.setattr(module, "SMALL", sizes)
    again = module.main(["--small", "--output", str(parts), "--resume"])
    for seed in sizes.seeds:
        names = {p.name for p in (parts / f"run_{seed}").iterdir()}
        assert names == {"history.csv", "checkpoint.npz", "result.json", "ledger.png"}
        ends = [(home / f"run_{seed}" / "history.csv").read_text() for home in (whole, parts)]
        assert ends[0] == ends[1]
    assert again.fitted == found.fitted
    assert (parts / "profiles.png").exists()
    with pytest.raises(SystemExit):
        module.main(["--small", "--resume"])


def test_hot_indentation_pushes_back_and_closes_its_books(tmp_path):
    found = load("hot_indentation").main(["--small", "--output", str(tmp_path / "out")])
    assert found.complete
    assert (np.diff(found.static_force) > 0.0).all()
    assert found.force[-1] > 0.5 * found.static_force[-1]
    assert found.force[-1] < 2.0 * found.static_force[-1]
    # Force times way, within what heat does to the force.
    way = np.trapezoid(np.append(0.0, found.static_force), np.append(0.0, found.depth))
    assert 0.5 * way < found.work < 3.0 * way
    assert found.closure < 1e-11
    assert found.temperature == pytest.approx(300.0, rel=0.1)
    written = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"force.png", "regions.png", "ledger.png", "history.csv", "contact.extxyz"} <= written


def test_indentation_by_case_files_cold_and_hot(tmp_path):
    found = {}
    small = {"core = 16 ": "core = 10 ", "outer = 90": "outer = 45"}
    for name, more in (
        ("indentation", {", 1.5, 2.0, 2.5, 3.0]": "]"}),
        ("hot_indentation", {"steps = 3500": "steps = 1000", "steps = 900": "steps = 300"}),
    ):
        text = (EXAMPLES / f"{name}.toml").read_text()
        for old, new in (small | more).items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (tmp_path / "case.toml").write_text(text)
        out = tmp_path / name
        assert main(["run", str(tmp_path / "case.toml"), "--output", str(out), "--quiet"]) == 0
        found[name] = json.loads((out / "result.json").read_text())
    cold = [step["reactions"][0][1] for step in found["indentation"]["steps"]]
    assert cold[0] < 0.01
    assert (np.diff(cold) > 0.1).all()
    rows = read_history(tmp_path / "hot_indentation" / "history.csv")
    # Half an Angstrom deep below the cold surface; the hot one stands a little higher.
    hot = np.mean([row["force_y:cylinder"] for row in rows[-20:]])
    assert 0.5 * cold[1] < hot < 2.0 * cold[2]
    ledger = found["hot_indentation"]["ledger"]
    assert 0.0 < ledger["work:cylinder"] < cold[2]
    assert abs(ledger["closure"]) < 1e-11
    assert np.mean([row["temperature"] for row in rows[50:]]) == pytest.approx(300.0, rel=0.1)
    assert [f["step"] for f in found["hot_indentation"]["frames"]] == [0, 500, 1000]


def test_a_vibrating_vacancy_keeps_its_energy(tmp_path):
    module = load("nve_vacancy")
    found = module.main(["--small", "--output", str(tmp_path)])
    assert found.complete
    assert abs(found.slope) < 1e-8
    assert found.drift < 0.05
    assert found.order == pytest.approx(2.0, abs=0.15)
    assert found.reversal < 1e-10
    assert found.closure < 1e-11
    assert found.temperature == pytest.approx(300.0, rel=0.1)
    assert {"energy.png", "ledger.png", "history.csv"} <= {p.name for p in tmp_path.iterdir()}


def test_langevin_equilibrium_has_one_temperature(tmp_path):
    everywhere, ramp, driven = load("langevin_equilibrium").main(["--small"])
    for run, most in ((everywhere, 4.0), (driven, 4.0)):
        for name, (mean, error) in run.kinetic.items():
            assert abs(mean - 300.0) < most * error + 3.0, (run.name, name)
            assert error < 15.0
    for name, (mean, error) in everywhere.configurational.items():
        assert abs(mean - 300.0) < 4.0 * error + 3.0, name
    # Waves take their time from the boundary to the core.
    assert ramp.kinetic["continuum"][0] == pytest.approx(300.0, rel=0.08)
    assert ramp.kinetic["core"][0] == pytest.approx(300.0, rel=0.2)
    assert max(everywhere.closure, ramp.closure) < 1e-11


def test_a_stopped_example_says_so_and_goes_on_as_if_it_had_not(tmp_path, monkeypatch, capsys):
    module = load("langevin_equilibrium")
    at, steps = tmp_path / "run", 200

    def go(folder, resume=False):
        model = module.copper(6.4, 20.0)
        return module.langevin("a bath", model, module.FRICTION, steps, folder, resume)

    whole = go(tmp_path / "whole")
    advance = module.Dynamics._advance

    def stop_after(count):
        def step(self):
            advance(self)
            if self.step == count:
                signal.raise_signal(signal.SIGTERM)

        return step

    # In the middle of what is measured, and between two rows.
    monkeypatch.setattr(module.Dynamics, "_advance", stop_after(171))
    with pytest.raises(SystemExit) as left:
        go(at)
    assert left.value.code == 143
    assert "terminated after 171 of" in capsys.readouterr().out
    monkeypatch.undo()
    assert go(at, resume=True) == whole
    # A checkpoint that is not there is no reason to begin at 0 K.
    assert go(tmp_path / "none", resume=True) == whole
    for name in ("nve_vacancy", "langevin_equilibrium", "thermal_expansion",
                 "dislocation_at_temperature", "hot_indentation"):  # fmt: skip
        with pytest.raises(SystemExit):
            load(name).main(["--small", "--resume"])


def test_thermal_expansion_is_that_of_molecular_dynamics(tmp_path):
    module = load("thermal_expansion")
    stored = json.loads((ROOT / "tests/reference/thermal_expansion.json").read_text())["elements"]
    for element, points in module.MOLECULAR_DYNAMICS.items():
        found = {p["temperature"]: p["lattice_constant"] for p in stored[element]["points"]}
        found[0] = stored[element]["lattice_constant_0K"]
        for temperature, a in points.items():
            assert a == pytest.approx(found[temperature], abs=1e-6)
    found = module.main(["--small", "--output", str(tmp_path)])
    for row in found.rows:
        assert row.quasi_harmonic == pytest.approx(row.measured, rel=0.05), row
    assert found.error < 0.1
    assert abs(found.strain) < 0.05 + 3.0 * found.error


def test_a_dislocation_at_temperature_stays_and_is_warm(tmp_path):
    found = load("dislocation_at_temperature").main(["--small", "--output", str(tmp_path)])
    assert found.complete
    for name, kelvin in found.temperature.items():
        assert kelvin == pytest.approx(300.0, rel=0.2), name
    # The columns it could go to are sqrt(2/3) a = 2.3 Angstrom apart.
    assert np.linalg.norm(found.mean) < 2.5
    assert 0.1 < np.linalg.norm(found.spread) < 2.5
    assert found.closure < 1e-11
    assert {"place.png", "core.png"} <= {p.name for p in tmp_path.iterdir()}


def test_phonons_pass_the_blend_and_end_in_the_stadium(tmp_path):
    rows = load("phonon_reflection").main(["--small", "--output", str(tmp_path)])
    assert [row.wavelength for row in rows] == [8.0, 2.0]
    for row in rows:
        assert row.coefficient["fine"] < 0.01
        assert row.coefficient["stadium"] < 0.02
    # Coarse elements cannot carry short waves: without absorption they come back.
    assert rows[1].coefficient["graded"] > 0.1
    assert [p.name for p in tmp_path.iterdir()] == ["reflection.png"]


def test_pictures_of_the_readme_show_something(tmp_path):
    import matplotlib.image

    paths = load("readme_pictures").main(["--small", "--output", str(tmp_path)])
    assert [p.name for p in paths] == ["lomer_dipole.png", "vacancy.png"]
    for path in paths:
        image = matplotlib.image.imread(path)
        assert min(image.shape[:2]) > 400
        assert 0.1 < (image[..., :3] == 1.0).all(axis=2).mean() < 0.9
        assert f"docs/pictures/{path.name}" in (ROOT / "README.md").read_text(encoding="utf-8")
