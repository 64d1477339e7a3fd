"""The folder of ``qc run``: whole after any kill, never written beyond, or over unasked."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import ase.io
import meshio
import numpy as np
import pytest

from qc.cli.main import main
from qc.io.files import remove_leftovers

CASE = """
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
core = 7
blend = 5.8
outer = 20

[load]
kind = "shear"
plane = [0, 0, 1]
direction = [1, 1, 0]
values = [0.0, 0.01]

[output]
pictures = "none"
"""


class Killed(BaseException):
    """What no handler of the program catches."""


def run(*options) -> int:
    return main(["run", "case.toml", "--output", "out", "--quiet", *options])


def files(folder="out") -> dict[str, bytes]:
    paths = sorted(p for p in Path(folder).rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


def steps(content: bytes) -> list:
    """What result.json says about the steps, but for the time they took."""
    return [{k: v for k, v in s.items() if k != "seconds"} for s in json.loads(content)["steps"]]


# -- kills and full disks -----------------------------------------------------------------------


@pytest.fixture
def fails_at(monkeypatch):
    """A function that makes the k-th renaming of a file fail, before or after it is done."""
    replace = os.replace

    def set_up(k, fault, late=False):
        count = 0

        def failing(source, target):
            nonlocal count
            count += 1
            if count == k and not late:
                raise fault
            replace(source, target)
            if count == k:
                raise fault

        monkeypatch.setattr(os, "replace", failing)
        return lambda: count

    return set_up


@pytest.mark.parametrize(
    ("fault", "late"),
    [(Killed(), False), (Killed(), True), (OSError(errno.ENOSPC, "No space left"), False)],
    ids=["kill before", "kill after", "full disk"],
)
def test_a_run_that_fails_at_any_write_is_whole_after_a_resume(fault, late, work, fails_at):
    count = fails_at(0, fault)
    assert run() == 0
    whole, writes = files(), count()
    assert writes >= 10
    for k in range(1, writes + 1):
        for name in files():
            (Path("out") / name).unlink()
        fails_at(k, fault, late)
        if isinstance(fault, Killed):
            with pytest.raises(Killed):
                run()
        else:
            assert run() == 1
        fails_at(0, fault)
        begun = Path("out/checkpoint.npz").exists()
        assert run(*["--resume"] if begun else []) == 0, k
        found = files()
        assert set(found) == set(whole), k
        assert steps(found["result.json"]) == steps(whole["result.json"]), k
        assert found["path.pvd"] == whole["path.pvd"], k
        for step in json.loads(found["result.json"])["steps"]:
            assert set(step["files"]) == {"fields", "atoms"}
            mesh, atoms = step["files"]["fields"], step["files"]["atoms"]
            assert meshio.read(f"out/{mesh}").points.shape[0] > 100
            Path("reference").write_bytes(whole[atoms])
            one, two = (ase.io.read(f, format="extxyz") for f in (f"out/{atoms}", "reference"))
            np.testing.assert_allclose(one.positions, two.positions, atol=1e-9)


def test_pictures_are_drawn_by_the_resume(work, fails_at):
    Path("case.toml").write_text(CASE.replace('"none"', '"last"').replace(", 0.01]", "]"))
    count = fails_at(0, Killed())
    assert run() == 0
    whole, writes = files(), count()
    fails_at(writes - 2, Killed())
    with pytest.raises(Killed):
        run("--force")
    fails_at(0, Killed())
    assert set(files()) < set(whole)
    assert run("--resume") == 0
    assert set(files()) == set(whole)
    assert steps(files()["result.json"]) == steps(whole["result.json"])


def test_files_of_earlier_steps_that_are_gone_are_not_listed(work, capsys):
    assert run() == 0
    Path("out/atoms/step_000.extxyz").unlink()
    assert main(["run", "case.toml", "--output", "out", "--resume"]) == 0
    assert capsys.readouterr().err == "qc run: no longer in out: atoms/step_000.extxyz\n"
    listed = [s["files"] for s in steps(files()["result.json"])]
    assert [set(f) for f in listed] == [{"fields"}, {"fields", "atoms"}]


def test_temporary_files_of_the_dead_are_removed(work):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    folder = Path("out/fields")
    folder.mkdir(parents=True)
    names = [
        f".step_000.vtu.{done.pid}-0123abcd.part",
        f".step_000.vtu.{os.getpid()}-0123abcd.part",
        f".step_000.vtu.{os.getppid()}-0123abcd.part",
        "mine.part",
    ]
    for name in names:
        (folder / name).touch()
    assert run() == 0
    kept = sorted(p.name for p in folder.glob("*.part"))
    kept += sorted(p.name for p in folder.glob(".*.part"))
    assert set(kept) == set(names[2:])
    remove_leftovers("nowhere")


# -- links and names that are taken -------------------------------------------------------------


@pytest.mark.parametrize("name", ["fields", "atoms", "pictures"])
def test_a_link_out_of_the_folder_is_refused_before_anything_is_written(name, work, capsys):
    Path("case.toml").write_text(CASE.replace('"none"', '"last"'))
    Path("elsewhere").mkdir()
    Path("out").mkdir()
    (Path("out") / name).symlink_to(work / "elsewhere")
    assert run() == 1
    err = capsys.readouterr().err
    assert f"folder 'out': '{name}' leads out of" in err
    assert err.count("\n") == 1
    assert list(Path("elsewhere").iterdir()) == []
    assert [p.name for p in Path("out").iterdir()] == [name]
    # One that is not written to is nobody's business.
    if name == "pictures":
        Path("case.toml").write_text(CASE)
        assert run() == 0


def test_a_link_within_the_folder_is_followed(work):
    Path("out/data").mkdir(parents=True)
    Path("out/fields").symlink_to("data")
    assert run() == 0
    assert len(list(Path("out/data").iterdir())) == 2


def test_a_link_in_the_place_of_a_file_is_replaced_not_written_through(work):
    Path("precious").write_text("kept")
    Path("out").mkdir()
    for name in ("path.pvd", "case.toml"):
        (Path("out") / name).symlink_to(work / "precious")
    assert run("--force") == 0
    assert Path("precious").read_text() == "kept"


@pytest.mark.parametrize(
    ("taken", "message"),
    [("fields", "is a file where a folder"), ("path.pvd", "is a folder where a file")],
)
def test_a_name_that_is_taken_is_refused_at_once(taken, message, work, capsys):
    Path("out").mkdir()
    if taken == "fields":
        Path("out/fields").touch()
    else:
        Path("out/path.pvd").mkdir()
    assert run() == 1
    assert message in capsys.readouterr().err
    assert [p.name for p in Path("out").iterdir()] == [taken]


# -- an earlier result --------------------------------------------------------------------------


def test_an_earlier_result_is_kept_unless_forced(work, capsys):
    assert run() == 0
    before = files()
    assert run() == 2
    err = capsys.readouterr().err
    assert "'out' holds the result of an earlier run: --resume to go on with it, --force" in err
    assert err.count("\n") == 1
    assert files() == before
    # A shorter path in its place leaves nothing of the longer one, and no file of the user's.
    Path("case.toml").write_text(CASE.replace(", 0.01]", "]"))
    Path("out/fields/notes.txt").write_text("mine")
    assert run("--force") == 0
    assert set(files()) == {
        "case.toml", "checkpoint.npz", "result.json", "path.pvd", "fields/step_000.vtu",
        "fields/notes.txt", "atoms/step_000.extxyz",
    }  # fmt: skip


def test_a_case_file_in_the_output_folder_is_not_overwritten(work, capsys):
    assert main(["run", "case.toml", "--output", "."]) == 2
    assert "'case.toml' would be overwritten by the resolved copy" in capsys.readouterr().err
    assert Path("case.toml").read_text() == CASE
    assert os.listdir(".") == ["case.toml"]


def test_a_copy_left_by_a_run_that_came_to_nothing_is_in_nobodys_way(work, fails_at):
    fails_at(2, Killed())
    with pytest.raises(Killed):
        run()
    fails_at(0, Killed())
    assert list(files()) == ["case.toml"]
    assert run() == 0


def test_a_line_for_each_load_step_in_a_pipe(work, capsys):
    assert main(["run", "case.toml", "--output", "out"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(", ")[0] for line in lines] == ["step 1/2: shear 0", "step 2/2: shear 0.01"]
