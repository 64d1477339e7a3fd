"""``qc run`` from a case file to its files, through interruptions and faults."""

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import meshio
import numba
import numpy as np
import pytest

from qc.cli.main import main
from qc.errors import NonFiniteError
from qc.io import read_checkpoint
from qc.io.cases.load_path import LoadPathFolder
from qc.solve import path as loadpath

ROOT = Path(__file__).resolve().parents[2]

CASE = """
title = "Row of vacancies"

[crystal]
structure = "fcc"
element = "Al"
lattice_constant = 4.05
x = [1, 1, 0]
y = [0, 0, 1]
z = [1, -1, 0]
columns = true

[potential]
name = "zhou2004"

[defects]
vacancies = [[0, 0, 0]]

[model]
core = 7.5
blend = 6
outer = 24

[load]
kind = "shear"
plane = [0, 0, 1]
direction = [1, 1, 0]
values = [0.0, 0.01, 0.02]

[output]
pictures = "none"
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run that was left alone."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "case.toml").write_text(CASE)
    assert main(["run", str(folder / "case.toml"), "--output", str(folder / "out"), "--quiet"]) == 0
    return folder / "out"


def result(folder) -> dict:
    return json.loads((Path(folder) / "result.json").read_text())


def energies(folder) -> list[float]:
    return [step["defect_energy"] for step in result(folder)["steps"]]


# -- what a run leaves behind -----------------------------------------------------------------


def test_result_json_says_what_was_run(finished):
    content = result(finished)
    assert content["what"] == "qc result"
    assert content["status"] == "complete"
    assert content["title"] == "Row of vacancies"
    assert content["case"]["file"] == "case.toml"
    assert content["case"]["sha256"] == hashlib.sha256(CASE.encode()).hexdigest()
    assert set(content["versions"]) >= {
        "qc", "python", "numpy", "scipy", "numba", "ase", "matscipy",
    }  # fmt: skip
    assert content["threads"] >= 1
    assert content["seed"] == 0
    from qc.potentials import zhou2004

    assert content["potential"]["fingerprint"] == zhou2004("Al").fingerprint()
    sizes = content["sizes"]
    assert sizes["unknowns"] < 3 * sizes["nodes"]
    # The elements that touch the disc of radius 24 reach beyond it by part of their size.
    assert 1.0 < sizes["sites"] / (np.pi * 24**2 / (4.05**2 / np.sqrt(8))) < 1.5
    assert [s["load"] for s in content["steps"]] == [0.0, 0.01, 0.02]
    for step in content["steps"]:
        assert step["converged"] is True
        assert step["max_force"] <= 1e-4
        assert step["evaluations"] >= step["iterations"] > 0
        assert step["seconds"] > 0
    assert content["wall_time"] >= sum(s["seconds"] for s in content["steps"]) * 0.99
    assert str(finished.parent) not in (finished / "result.json").read_text()


def test_fields_and_atoms_open_elsewhere(finished):
    for k in range(3):
        mesh = meshio.read(finished / "fields" / f"step_{k:03d}.vtu")
        assert "deformation_gradient" in mesh.cell_data
        atoms = ase.io.read(finished / "atoms" / f"step_{k:03d}.extxyz")
        assert atoms.info["step"] == k
        assert {"region", "weight", "nonaffinity", "site_energy"} <= set(atoms.arrays)
        assert atoms.arrays["nonaffinity"].max() > 0.02
    text = (finished / "path.pvd").read_text()
    assert text.count("<DataSet") == 3
    assert 'timestep="0.02"' in text


def test_the_last_state_is_in_the_checkpoint(finished):
    saved = read_checkpoint(finished / "checkpoint.npz")
    assert saved.next_step == 3
    assert len(saved.records) == 3
    assert [r["defect_energy"] for r in saved.records] == energies(finished)


def test_the_resolved_copy_repeats_the_run_bit_for_bit(finished, tmp_path):
    assert main(["run", str(finished / "case.toml"), "--output", str(tmp_path), "--quiet"]) == 0
    one, two = (read_checkpoint(f / "checkpoint.npz") for f in (finished, tmp_path))
    np.testing.assert_array_equal(one.displacements, two.displacements)
    assert energies(tmp_path) == energies(finished)


def test_another_number_of_threads_gives_the_same_state(finished, tmp_path):
    command = [sys.executable, "-m", "qc.cli.main", "run", str(finished / "case.toml"),
               "--output", str(tmp_path / "one"), "--threads", "1", "--quiet"]  # fmt: skip
    subprocess.run(command, cwd=tmp_path, env=environment(), check=True)
    assert result(tmp_path / "one")["threads"] == 1
    one = read_checkpoint(tmp_path / "one" / "checkpoint.npz").displacements
    two = read_checkpoint(finished / "checkpoint.npz").displacements
    np.testing.assert_allclose(one, two, atol=1e-9)


def test_the_table_and_the_pictures(work, capsys):
    text = CASE.replace('"none"', '"all"').replace("values = [0.0, 0.01, 0.02]", "values = [0.01]")
    Path("case.toml").write_text(text)
    assert main(["run", "case.toml"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("step 1/1: ")
    assert err.count("\n") == 1
    lines = out.splitlines()
    assert lines[0] == "Row of vacancies"
    assert "bgfc:" in lines[1]
    assert lines[-1].endswith("written to runs/case")
    row = next(line.split() for line in lines if line.split()[:2] == ["0", "0.01"])
    assert float(row[2]) == pytest.approx(energies("runs/case")[0], abs=1e-6)
    files = result("runs/case")["steps"][0]["files"]
    assert len(files["pictures"]) == 4
    for name in [files["fields"], files["atoms"], *files["pictures"]]:
        assert (Path("runs/case") / name).stat().st_size > 1000


def test_nothing_is_written_that_was_not_asked_for(work):
    text = CASE.replace('pictures = "none"', 'pictures = "none"\nvtu = false\nextxyz = false')
    Path("case.toml").write_text(text)
    assert main(["run", "case.toml", "--quiet"]) == 0
    names = sorted(p.name for p in Path("runs/case").iterdir())
    assert names == ["case.toml", "checkpoint.npz", "result.json"]


@pytest.mark.parametrize("scheme", ["atomistic", "cauchy-born", "qce", "bqce", "bqcf", "scgfc"])
def test_every_scheme_runs_from_a_case(scheme, work, capsys):
    text = CASE.replace("core = 7.5", f'core = 7.5\nscheme = "{scheme}"')
    text = text.replace("values = [0.0, 0.01, 0.02]", "values = [0.0, 0.01]")
    if scheme == "cauchy-born":
        text = text.replace("vacancies = [[0, 0, 0]]", "")
    Path("case.toml").write_text(text)
    assert main(["run", "case.toml"]) == 0
    content = result("runs/case")
    assert content["scheme"]["name"] == scheme
    for step in content["steps"]:
        assert (step["energy"] is None) == (scheme == "bqcf")
    if scheme == "cauchy-born":
        assert abs(content["steps"][1]["defect_energy"]) < 1e-8
    assert scheme in capsys.readouterr().out


# -- progress ---------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal(work, monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["run", "case.toml"]) == 0
    shown = terminal.getvalue()
    assert "step 1/3: shear 0," in shown
    assert "step 3/3: shear 0.02," in shown


def environment(**extra):
    return os.environ | {"PYTHONPATH": str(ROOT)} | extra


def test_silence_in_a_pipe(work):
    done = subprocess.run(
        [sys.executable, "-m", "qc.cli.main", "run", "case.toml", "--quiet"],
        cwd=work, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout == ""
    assert done.stderr == ""


# -- interruption and resuming ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_signal_saves_the_state_and_the_path_goes_on_identically(
    number, code, word, work, finished, monkeypatch, capsys
):
    record = LoadPathFolder.record

    def interrupted(self, step):
        entry = record(self, step)
        if step.index == 1:
            signal.raise_signal(number)
        return entry

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(LoadPathFolder, "record", interrupted)
        assert main(["run", "case.toml"]) == code
    assert signal.getsignal(number) is before
    assert f"{word}; the state is in runs/case/checkpoint.npz" in capsys.readouterr().err
    assert result("runs/case")["status"] == "interrupted"
    assert len(result("runs/case")["steps"]) == 2
    assert main(["run", "case.toml", "--resume", "--quiet"]) == 0
    assert energies("runs/case") == energies(finished)
    one, two = (
        read_checkpoint(f) for f in ("runs/case/checkpoint.npz", finished / "checkpoint.npz")
    )
    np.testing.assert_array_equal(one.displacements, two.displacements)
    assert Path("runs/case/path.pvd").read_text().count("<DataSet") == 3


def test_a_signal_within_a_step_keeps_what_was_reached(work, finished, monkeypatch):
    relax, calls = loadpath.relax, []

    def interrupted(model, *, callback, **options):
        calls.append(model)

        def watched(entry):
            if len(calls) == 2 and entry.evaluations >= 3:
                signal.raise_signal(signal.SIGTERM)
            return callback(entry)

        return relax(model, callback=watched, **options)

    with monkeypatch.context() as patch:
        patch.setattr(loadpath, "relax", interrupted)
        assert main(["run", "case.toml", "--quiet"]) == 143
    saved = read_checkpoint("runs/case/checkpoint.npz")
    assert saved.relaxing
    assert saved.next_step == 1
    assert len(saved.records) == 1
    first = read_checkpoint(finished / "checkpoint.npz").displacements
    assert (saved.displacements != first).any()
    assert main(["run", "case.toml", "--resume", "--quiet"]) == 0
    np.testing.assert_allclose(energies("runs/case"), energies(finished), atol=1e-6)


def test_a_second_signal_stops_at_once(work, monkeypatch):
    def impatient(self, step):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("the second signal was ignored")

    monkeypatch.setattr(LoadPathFolder, "record", impatient)
    assert main(["run", "case.toml", "--quiet"]) in (130, 143)


def test_a_killed_process_is_resumed(work, finished):
    """SIGKILL at whatever moment it comes: the checkpoint loads, and the path is finished."""
    # Sums depend on the number of threads in the last digits.
    threads = ["--threads", str(numba.get_num_threads())]
    command = [sys.executable, "-m", "qc.cli.main", "run", "case.toml", "--quiet", *threads]
    process = subprocess.Popen(command, cwd=work, env=environment())
    checkpoint = work / "runs" / "case" / "checkpoint.npz"
    try:
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert read_checkpoint(checkpoint).next_step >= 1
    assert main(["run", "case.toml", "--resume", "--quiet"]) == 0
    assert energies("runs/case") == energies(finished)


def test_resuming_what_is_finished_changes_nothing(work, finished):
    assert main(["run", "case.toml", "--quiet"]) == 0
    assert main(["run", "case.toml", "--resume", "--quiet"]) == 0
    assert energies("runs/case") == energies(finished)


def test_a_longer_path_is_taken_up_where_the_shorter_ended(work, finished):
    Path("case.toml").write_text(CASE.replace("0.0, 0.01, 0.02", "0.0, 0.01"))
    assert main(["run", "case.toml", "--quiet"]) == 0
    Path("case.toml").write_text(CASE)
    assert main(["run", "case.toml", "--resume", "--quiet"]) == 0
    assert energies("runs/case") == energies(finished)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("core = 7.5", 'core = 7.5\nscheme = "bqce"', "another scheme"),
        ("outer = 24", "outer = 30", "another mesh"),
        ("lattice_constant = 4.05", "lattice_constant = 4.06", "another mesh"),
        ("[0.0, 0.01, 0.02]", "[0.0, 0.011, 0.02]", "load step 1 differs"),
        ("[0.0, 0.01, 0.02]", "[0.0]", "the path only 1"),
    ],
)
def test_another_case_does_not_resume(old, new, message, work, finished, capsys):
    assert old in CASE
    Path("case.toml").write_text(CASE.replace(old, new))
    before = (finished / "checkpoint.npz").read_bytes()
    assert main(["run", "case.toml", "--resume", "--output", str(finished)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert (finished / "checkpoint.npz").read_bytes() == before


def test_force_resumes_another_scheme(work, finished):
    import shutil

    shutil.copytree(finished, "runs/case")
    Path("case.toml").write_text(CASE.replace("core = 7.5", 'core = 7.5\nscheme = "bqce"'))
    assert main(["run", "case.toml", "--resume"]) == 2
    assert main(["run", "case.toml", "--resume", "--force", "--quiet"]) == 0


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 truncated", b"\x80\x04pickle"])
def test_a_bad_checkpoint_is_one_line(content, work, capsys):
    if content is not None:
        Path("runs/case").mkdir(parents=True)
        Path("runs/case/checkpoint.npz").write_bytes(content)
    assert main(["run", "case.toml", "--resume"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("qc run: error: checkpoint runs/case/checkpoint.npz")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "records", [[], [{}] * 3, [{"index": 0}] * 3, "two more"], ids=["none", "empty", "poor", "more"]
)
def test_records_that_no_run_wrote_are_refused(records, work, finished, capsys):
    from qc.io import set_up, write_checkpoint
    from qc.io.cases.case import load_case

    setup = set_up(load_case("case.toml"))
    if records == "two more":
        records = [*read_checkpoint(finished / "checkpoint.npz").records] * 2
    path = Path("runs/case/checkpoint.npz")
    write_checkpoint(path, setup.model, setup.deformations, records=records)
    assert main(["run", "case.toml", "--resume"]) == 2
    err = capsys.readouterr().err
    assert "it was not written by a run" in err
    assert err.count("\n") == 1


# -- faults -----------------------------------------------------------------------------------


def test_not_converged_is_not_success(work, capsys):
    Path("case.toml").write_text(CASE + "\n[solver]\nmax_steps = 2\n")
    assert main(["run", "case.toml"]) == 1
    out, err = capsys.readouterr()
    assert "not converged" in out
    assert err.splitlines()[-1].startswith("qc run: not converged: step 0: 2 steps used up")
    content = result("runs/case")
    assert content["status"] == "not converged"
    assert [s["converged"] for s in content["steps"]] == [False]
    assert Path("runs/case/fields/step_000.vtu").exists()
    assert read_checkpoint("runs/case/checkpoint.npz").relaxing


def test_a_force_that_is_no_number_stops_the_run_at_the_last_good_state(
    work, finished, monkeypatch, capsys
):
    relax, calls = loadpath.relax, []

    def broken(model, **options):
        calls.append(model)
        if len(calls) == 2:
            raise NonFiniteError("energy or force of patch atom 17 is not finite")
        return relax(model, **options)

    with monkeypatch.context() as patch:
        patch.setattr(loadpath, "relax", broken)
        assert main(["run", "case.toml"]) == 1
    assert "not finite: step 1: energy or force of patch atom 17" in capsys.readouterr().err
    assert result("runs/case")["status"] == "not finite"
    assert len(result("runs/case")["steps"]) == 1
    saved = read_checkpoint("runs/case/checkpoint.npz")
    assert saved.next_step == 1
    np.testing.assert_array_equal(saved.displacements, calls[0].U)
    # The cause gone, the path is finished from there.
    assert main(["run", "case.toml", "--resume", "--quiet"]) == 0
    assert energies("runs/case") == energies(finished)


def test_a_full_disk_is_one_line_and_the_checkpoint_stays(work, monkeypatch, capsys):
    fsync, synced = os.fsync, []

    def filling(handle):
        synced.append(handle)
        if len(synced) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", filling)
    assert main(["run", "case.toml"]) == 1
    err = capsys.readouterr().err
    progress, error = err.splitlines()
    assert progress.startswith("step 1/3: ")
    assert error.startswith("qc run: error: runs/case/")
    assert "cannot be written: No space left" in error
    assert read_checkpoint("runs/case/checkpoint.npz").next_step == 1
    assert not list(Path("runs").rglob("*.part"))


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ("[model]", "[modle]", 2, r"case.toml: modle: unknown key; did you mean 'model'?"),
        ("core = 7.5", 'core = "7.5 eV"', 2, "model.core: 'eV' is no unit of length"),
        ("core = 7.5", "core = 3", 2, "case.toml: model: core radius 3.000"),
        ('"Al"', '"Xx"', 2, "'Xx'"),
        ("[output]", '[output]\ndirectory = "../elsewhere"', 1, "leads out of"),
        ("[output]", '[output]\ndirectory = "case.toml"', 2, "'case.toml' is a file"),
    ],
)
def test_a_bad_case_is_one_line(old, new, code, message, work, capsys):
    Path("case.toml").write_text(CASE.replace(old, new))
    assert main(["run", "case.toml"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("qc run: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.toml"], "No such file"),
        (["."], "Is a directory"),
        (["case.toml", "--theads", "2"], "unknown option --theads; did you mean '--threads'?"),
        (["case.toml", "--threads", "0"], "--threads 0: from 1 to"),
        (["case.toml", "--threads", "100000"], "--threads 100000: from 1 to"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message, work, capsys):
    assert main(["run", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_the_main_job_is_set_up_as_documented():
    """The case of the README: its block, its dislocations and its size, without running it."""
    from qc.io.cases.case import load_case
    from qc.io.cases.setup import set_up

    case = load_case(ROOT / "examples" / "lomer_dipole.toml")
    setup = set_up(case)
    crystal, far_field = setup.model.crystal, setup.model.far_field
    x, y = np.meshgrid([-200.0, 200.0], [-100.0, 100.0])
    corners = np.stack([x.ravel(), y.ravel(), np.zeros(4)], axis=1)
    low, high = np.array(case.model.block.lower), np.array(case.model.block.upper)
    cells = corners[:, :2] @ np.linalg.inv(crystal.cell[:2, :2])
    assert ((cells > low) & (cells < high)).all()
    one, two = far_field.dislocations
    np.testing.assert_allclose(one.burgers, 0.5 * crystal.vector([1, 1, 0]), atol=1e-12)
    np.testing.assert_allclose(two.burgers, -one.burgers, atol=1e-12)
    assert one.position[1] == two.position[1]
    assert one.position[0] - two.position[0] == pytest.approx(50 * one.length)
    assert setup.values[0] == 0.0
    assert setup.values[-1] == 0.03
    assert setup.model.n_unknowns < 0.3 * 3 * setup.model.n_sites


# -- crystals with a basis --------------------------------------------------------------------

HEXAGONAL = """
[crystal]
structure = "hcp"
element = "Co"
lattice_constant = 2.5117
c = 4.0754
x = [1, 2, 0]
y = [0, 0, 1]
z = [1, 0, 0]
columns = true

[potential]
name = "zhou2004"

[defects]
vacancies = [["1/3", "2/3", "1/2"]]

[model]
core = 7
blend = 6
outer = 24

[load]
kind = "shear"
plane = [0, 0, 0, 1]
direction = [0, 1, -1, 0]
values = [0.0, 0.01, 0.02]

[output]
pictures = "none"
"""


def test_a_crystal_with_a_basis_goes_on_as_if_it_had_not_stopped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("whole.toml").write_text(HEXAGONAL)
    Path("first.toml").write_text(HEXAGONAL.replace(", 0.02]", "]"))
    assert main(["run", "whole.toml", "--output", "whole", "--quiet"]) == 0
    assert main(["run", "first.toml", "--output", "parts", "--quiet"]) == 0
    assert main(["run", "whole.toml", "--output", "parts", "--resume", "--quiet"]) == 0
    assert main(["run", "whole/case.toml", "--output", "copy", "--quiet"]) == 0
    whole = read_checkpoint("whole/checkpoint.npz")
    assert np.abs(whole.shifts).max() > 1e-3
    for other in ("parts", "copy"):
        found = read_checkpoint(f"{other}/checkpoint.npz")
        np.testing.assert_array_equal(found.displacements, whole.displacements)
        np.testing.assert_array_equal(found.shifts, whole.shifts)
        assert found.fingerprints == whole.fingerprints
        assert energies(other) == energies("whole")
    for k in range(3):
        atoms = ase.io.read(f"whole/atoms/step_{k:03d}.extxyz")
        for name in ("site_energy", "nonaffinity", "displacement", "weight"):
            assert np.isfinite(atoms.get_array(name)).all(), name
        mesh = meshio.read(f"whole/fields/step_{k:03d}.vtu")
        (shifts,) = mesh.cell_data["sublattice_shifts"]
        unknown = np.isnan(shifts).any(axis=1)
        # Only the elements at the vacancy have nothing to show.
        assert 0 < unknown.sum() <= 8
        corners = mesh.cells[0].data[unknown]
        assert (mesh.point_data["occupied"][corners] == 0).any(axis=1).all()
