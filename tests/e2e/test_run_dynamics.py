"""``qc run`` of dynamics and of loads: to the last bit through kills, and what is refused."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import meshio
import numpy as np
import pytest
from ase.units import fs

from qc.cli.main import main
from qc.errors import InputError
from qc.io import load_case, read_dynamics, read_history, set_up
from qc.io.cases.base import RunOptions
from qc.io.cases.case import parse_case
from qc.io.cases.dynamics import build_dynamics

ROOT = Path(__file__).resolve().parents[2]

SHEET = """
[crystal]
structure = "triangular"
element = "Ar"

[potential]
name = "lennard-jones"
epsilon = "10.4 meV"
sigma = 3.4
cutoff = 6.5

[model]
core = 9
blend = 8
outer = 30
"""

HOT = f"""
kind = "dynamics"
title = "Hot sheet"
seed = 3
{SHEET}
temperature = "20 K"

[load]
kind = "uniaxial"
direction = [1, 0, 0]
values = ["0.2 %"]

[[loads]]
kind = "cylinder"
radius = 6
centre = [0, 0, 0]
stiffness = "0.02 eV/Angstrom^3"
axis = [0, 0, 1]
direction = [1, 0, 0]
speed = "100 m/s"

[dynamics]
timestep = "5 fs"
steps = 60
velocities = "40 K"

[dynamics.warm_up]
steps = 7
temperature = "20 K"
friction = "5 /ps"

[[dynamics.baths]]
temperature = "20 K"
friction = "5 /ps"
where = "continuum"

[[dynamics.baths]]
kind = "field"
friction = "1 /ps"
where = "continuum"

[dynamics.heat]
temperature = "20 K"
conductivity = "0.3 W/(m K)"
boundary = "20 K"
spots = [{{ rise = "5 K", width = "2 nm", centre = [20, 0, 0] }}]

[output]
history = 5
checkpoints = 20
frames = 30
pictures = "none"
"""

PRESSED = f"""
{SHEET}
[[boundary]]
kind = "free"
plane = [0, 1, 0]

[[loads]]
kind = "cylinder"
radius = 20
centre = [0, 20.5, 0]
stiffness = "0.5 eV/Angstrom^3"
direction = [0, -1, 0]
depths = [0.0, 0.5, 0.75, 1.0]

[solver]
fmax = 1e-6

[output]
pictures = "none"
"""


class Killed(BaseException):
    """What no handler of the program catches."""


def run(*options, folder="out") -> int:
    return main(["run", "case.toml", "--output", folder, "--quiet", *options])


def result(folder="out") -> dict:
    return json.loads((Path(folder) / "result.json").read_text())


def same(one, two) -> None:
    """Two folders hold the same states and files, to the last bit."""
    states = [read_dynamics(Path(f) / "checkpoint.npz")[0] for f in (one, two)]
    for name in ("x", "v", "forces"):
        np.testing.assert_array_equal(*(getattr(s, name) for s in states))
    assert states[0].ledger == states[1].ledger
    names = [sorted(p.relative_to(f) for p in f.rglob("*") if p.is_file()) for f in (one, two)]
    assert names[0] == names[1]
    for name in names[0]:
        if name.name == "history.csv" or name.parts[0] in ("fields", "atoms"):
            assert (one / name).read_bytes() == (two / name).read_bytes(), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run in time that was left alone."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "case.toml").write_text(HOT)
    assert main(["run", str(folder / "case.toml"), "--output", str(folder / "out"), "--quiet"]) == 0
    return folder / "out"


# -- what is built and written ----------------------------------------------------------------


def test_a_case_sets_up_dynamics_with_all_its_parts():
    setup = set_up(parse_case(HOT.encode()))
    dynamics = build_dynamics(setup)
    model = dynamics.system.model
    assert model.temperature == 20.0
    np.testing.assert_allclose(
        model.far_field.mean_deformation, np.diag([1.002, 1, 1]) @ model.thermal.deformation
    )
    assert dynamics.timestep == pytest.approx(5 * fs)
    assert dynamics.seed == 3
    one, two = dynamics.baths
    assert (one.name, two.name) == ("bath", "field")
    np.testing.assert_allclose(one.friction, 0.005 / fs * model.coupling.beta_nodes)
    field = dynamics.field
    assert two.field is field
    away = ((field.positions[:, :2] - [20.0, 0.0]) ** 2).sum(axis=1)
    np.testing.assert_allclose(field.temperature, 20.0 + 5.0 * np.exp(-0.5 * away / 20.0**2))
    (drive,) = dynamics.drives
    load = drive.path(10.0 * fs)
    np.testing.assert_allclose(load.centre, [0.01, 0, 0])  # 100 m/s is 0.001 Angstrom/fs
    assert model.loads[0].centre == (0.0, 0.0, 0.0)


def test_a_run_leaves_history_frames_and_result(whole):
    rows = read_history(whole / "history.csv")
    assert [r["step"] for r in rows] == list(range(0, 61, 5))
    assert rows[0]["temperature"] > 10.0, "it was not warmed up"
    for row in rows:
        assert abs(row["closure"]) < 1e-12
        assert row["depth:cylinder"] == pytest.approx(1e-3 * row["time"])
    content = result(whole)
    assert (content["kind"], content["status"], content["title"]) == (
        "dynamics", "complete", "Hot sheet",
    )  # fmt: skip
    assert [f["step"] for f in content["frames"]] == [0, 30, 60]
    for frame in content["frames"]:
        assert meshio.read(whole / frame["fields"]).points.shape[0] > 50
    assert (whole / "path.pvd").read_text().count("<DataSet") == 3


def test_the_resolved_copy_repeats_the_run(whole, tmp_path):
    case = load_case(whole / "case.toml")
    assert case.dynamics.timestep == 5.0
    assert main(["run", str(whole / "case.toml"), "--output", str(tmp_path), "--quiet"]) == 0
    states = [read_dynamics(f / "checkpoint.npz")[0] for f in (whole, tmp_path)]
    np.testing.assert_array_equal(states[0].x, states[1].x)
    np.testing.assert_array_equal(states[0].v, states[1].v)
    first, second = ((f / "case.toml").read_text().split("\n\n", 1)[1] for f in (whole, tmp_path))
    assert first == second


# -- kills ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [Killed(), OSError(errno.ENOSPC, "No space left")], ids=["kill", "full disk"]
)
def test_a_run_that_fails_at_any_write_ends_as_if_it_had_not(fault, whole, work, monkeypatch):
    Path("case.toml").write_text(HOT)
    replace = os.replace
    for k in range(1, 100):
        count = 0

        def failing(source, target, k=k):
            nonlocal count
            count += 1
            if count == k:
                raise fault
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", failing)
            if isinstance(fault, Killed):
                try:
                    code = run(folder=f"out{k}")
                except Killed:
                    code = None
            else:
                code = run(folder=f"out{k}")
        if code == 0:
            break
        begun = Path(f"out{k}/checkpoint.npz").exists()
        assert run(*["--resume"] if begun else [], folder=f"out{k}") == 0, k
        same(whole, work / f"out{k}")
        assert result(f"out{k}")["frames"] == result(whole)["frames"]
    assert k > 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_at_whatever_moment_changes_nothing(number, work):
    text = HOT.replace("steps = 60", "steps = 4000").replace("frames = 30", "frames = 2000")
    Path("case.toml").write_text(text)
    command = [sys.executable, "-m", "qc.cli.main", "run", "case.toml", "--output", "out",
               "--quiet", "--threads", "1"]  # fmt: skip
    process = subprocess.Popen(command, cwd=work, env=os.environ | {"PYTHONPATH": str(ROOT)})
    history, deadline = Path("out/history.csv"), time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if history.exists() and history.read_text().count("\n") > 20:
            break
        time.sleep(0.01)
    process.send_signal(number)
    code = process.wait(timeout=60)
    assert code == (143 if number == signal.SIGTERM else -signal.SIGKILL)
    if number == signal.SIGTERM:
        assert result()["status"] == "interrupted"
    state, _ = read_dynamics("out/checkpoint.npz")
    assert 0 < state.step < 4000
    # To where it is compared, and no further.
    last = state.step + 50 - state.step % 50
    Path("case.toml").write_text(text.replace("steps = 4000", f"steps = {last}"))
    assert run("--resume", "--threads", "1") == 0
    assert run("--threads", "1", folder="alone") == 0
    one, two = (read_dynamics(f"{f}/checkpoint.npz")[0] for f in ("out", "alone"))
    np.testing.assert_array_equal(one.x, two.x)
    np.testing.assert_array_equal(one.v, two.v)
    assert history.read_bytes() == Path("alone/history.csv").read_bytes()


VARIANTS = {
    "frames leave no trace": [("frames = 30\n", "")],
    "relaxed first, mean force taken away": [
        ('velocities = "40 K"', 'velocities = "field"\nrelax = true\nmean_force = 3'),
    ],
    "static far out, other masses": [
        ("outer = 30", 'outer = 30\nquasi_static = "25 Angstrom"\nvibrations = "local"'),
        ('velocities = "40 K"', 'velocities = "40 K"\nscaled_masses = true'),
        ('where = "continuum"\n\n[[', 'where = "stadium"\nwidth = 12\npower = 1\n\n[['),
        ('boundary = "20 K"', 'sides = [{ direction = [2, 0, 0], temperature = "22 K" }]'),
    ],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_in_parts_is_the_whole_run(variant, whole, work):
    text = HOT
    for old, new in VARIANTS[variant]:
        assert old in text, old
        text = text.replace(old, new)
    Path("case.toml").write_text(text)
    assert run(folder="whole") == 0
    Path("case.toml").write_text(text.replace("steps = 60", "steps = 25"))
    assert run() == 0
    Path("case.toml").write_text(text)
    assert run("--resume") == 0
    one, two = (read_dynamics(f"{f}/checkpoint.npz")[0] for f in ("whole", "out"))
    np.testing.assert_array_equal(one.x, two.x)
    np.testing.assert_array_equal(one.v, two.v)
    assert Path("whole/history.csv").read_bytes() == Path("out/history.csv").read_bytes()
    # Against the run of the case as it was, with frames.
    same_motion = (one.x == read_dynamics(whole / "checkpoint.npz")[0].x).all()
    assert same_motion == (variant == "frames leave no trace")


def test_silicon_goes_on_with_its_shifts(work):
    silicon = """
kind = "dynamics"

[crystal]
structure = "diamond"
element = "Si"
x = [1, 1, 0]
z = [1, -1, 0]
columns = true

[potential]
name = "stillinger1985"

[model]
core = 5
blend = 5
outer = 20

[dynamics]
timestep = "1 fs"
steps = 40
velocities = "600 K"

[output]
checkpoints = 10
frames = 20
pictures = "last"
"""
    Path("case.toml").write_text(silicon)
    assert run(folder="whole") == 0
    Path("case.toml").write_text(silicon.replace("steps = 40", "steps = 13"))
    assert run() == 0
    Path("case.toml").write_text(silicon)
    assert run("--resume") == 0
    one, two = (read_dynamics(f"{f}/checkpoint.npz")[0] for f in ("whole", "out"))
    np.testing.assert_array_equal(one.x, two.x)
    np.testing.assert_array_equal(one.v, two.v)
    assert "shifts" in one.extra
    assert Path("whole/ledger.png").exists()
    assert set(result("whole")["pictures"]) >= {"pictures/mesh.png", "pictures/regions.png"}


def test_a_checkpoint_of_another_case_is_refused(whole, work, capsys):
    Path("case.toml").write_text(HOT)
    assert run() == 0
    for old, new, part in (
        ('friction = "1 /ps"', 'friction = "2 /ps"', "bath 'field'"),
        ('speed = "100 m/s"', 'speed = "90 m/s"', "moving load"),
        ('boundary = "20 K"', 'boundary = "21 K"', "heat field"),
        ("seed = 3", "seed = 4", "seed"),
        ('"0.2 %"', '"0.3 %"', "deformation"),
    ):
        assert HOT.count(old) == 1, old
        Path("case.toml").write_text(HOT.replace(old, new))
        assert run("--resume") == 2
        assert f"belongs to another {part}; force it" in capsys.readouterr().err
    Path("case.toml").write_text(PRESSED)
    assert run("--resume") == 2
    assert "is one of dynamics, not of a load path" in capsys.readouterr().err
    # Another run in its place leaves nothing of the first one.
    assert run("--force") == 0
    assert not Path("out/history.csv").exists()
    assert sorted(p.name for p in Path("out/atoms").iterdir())[0] == "step_000.extxyz"


# -- loads on a path --------------------------------------------------------------------------


def test_the_force_on_an_indenter_is_the_work_it_does(work):
    Path("case.toml").write_text(PRESSED)
    assert run() == 0
    steps = result()["steps"]
    assert result()["load"] == "depth"
    assert [s["load"] for s in steps] == [0.0, 0.5, 0.75, 1.0]
    energy = [s["energy"] for s in steps]
    push = [s["reactions"][0][1] for s in steps]
    # Simpson's rule over the last three.
    work_done = (push[1] + 4 * push[2] + push[3]) * 0.5 / 6
    assert push[3] > push[2] > 1e-3
    assert energy[3] - energy[1] == pytest.approx(work_done, rel=0.02)


def test_a_path_of_depths_goes_on_where_it_was(work, monkeypatch, capsys):
    Path("case.toml").write_text(PRESSED.replace(", 0.75, 1.0]", "]"))
    assert run() == 0
    Path("case.toml").write_text(PRESSED)
    assert run("--resume") == 0
    assert run(folder="whole") == 0
    one, two = (
        [{k: v for k, v in s.items() if k != "seconds"} for s in result(f)["steps"]]
        for f in ("out", "whole")
    )
    assert one == two
    Path("case.toml").write_text(PRESSED.replace("0.75", "0.8"))
    assert run("--resume") == 2
    assert "load step 2 differs" in capsys.readouterr().err
    Path("case.toml").write_text(PRESSED.replace("radius = 20", "radius = 21"))
    assert run("--resume") == 2
    assert "load step 0 differs" in capsys.readouterr().err


def test_a_dead_load_on_one_atom(work):
    force = """
[[loads]]
kind = "force"
position = [0, 0, 0]
force = [0, "-20 meV/Angstrom", 0]
factors = [0.0, 1.0]
"""
    Path("case.toml").write_text(SHEET + force + '[output]\npictures = "none"')
    assert run() == 0
    first, second = result()["steps"]
    assert result()["load"] == "factor"
    np.testing.assert_allclose(second["reactions"], [[0, 0.02, 0]], atol=1e-12)
    assert first["energy"] == pytest.approx(0.0, abs=1e-12)
    # What the spring of the crystal stores is half of what the force loses.
    assert second["energy"] < -1e-5


def test_python_runs_cases_too(work):
    case = parse_case(PRESSED.encode())
    lines = []
    ended = case.run(set_up(case), Path("mine"), RunOptions(say=lines.append))
    assert ended.status == "complete"
    assert len(lines) == 4
    assert "4 steps converged" in ended.summary
    with pytest.raises(InputError, match="its case must be a DynamicsCase"):
        build_dynamics(set_up(case))


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (HOT, 'kind = "dynamics"', 'kind = "dynamic"', r"kind: 'dynamic' is not one of statics"),
        (HOT, 'kind = "dynamics"', "", r"dynamics: unknown key"),
        (HOT, "steps = 60", "", r"dynamics\.steps: this key is required"),
        (HOT, 'timestep = "5 fs"', 'timestep = "5 K"', r"timestep: 'K' is no unit of time"),
        (HOT, 'timestep = "5 fs"', 'timestep = "5 ps"', r"dynamics: timestep .* stability bound"),
        (HOT, 'kind = "field"', 'kind = "fild"', r"baths\[1\]\.kind: 'fild' is not one of langev"),
        (HOT, 'temperature = "20 K"\nfriction = "5 /ps"\nwhere', 'friction = "5 /ps"\nwhere',
         r"dynamics\.baths\[0\]\.temperature: kind 'langevin' needs this key"),
        (HOT, 'where = "continuum"', 'width = 5', r"baths\[0\]: a bath of 'everywhere' has no wid"),
        (HOT, 'where = "continuum"', 'name = "field"', r"baths and drives share a name"),
        (HOT, 'friction = "5 /ps"\nwhere', 'friction = "-5 /ps"\nwhere', r"must be at least 0"),
        (HOT, "frames = 30", "frames = 31", r"output\.frames: 31 is no multiple of output\.hist"),
        (HOT, 'speed = "100 m/s"', "depths = [0, 1]", r"loads\[0\]\.depths: in dynamics .* 'spe"),
        (HOT, 'speed = "100 m/s"', "sped = 3", r"loads\[0\]\.sped: unknown key of kind 'cylinder'; "
         r"did you mean 'speed'"),
        (HOT, 'direction = [1, 0, 0]\nspeed', "speed", r"loads\[0\]: an indenter that moves needs"),
        (HOT, 'values = ["0.2 %"]', "values = [0.0, 0.001]", r"load: dynamics has one deformation"),
        (HOT, "[20, 0, 0] }", "[20, 0] }", r"heat\.spots\[0\]\.centre: expected 3 entries, not 2"),
        (PRESSED, "depths = [0.0, 0.5", 'speed = 3\ndepths = [0.0, 0.5', r"speed: a load path mov"),
        (PRESSED, 'kind = "free"', 'kind = "fre"', r"boundary\[0\]\.kind: 'fre' is not one of "),
        (PRESSED, "plane = [0, 1, 0]", "plane = [0, 0, 1]", r"boundary\[0\]|normal"),
        (PRESSED, "[solver]", '[load]\nkind = "uniaxial"\ndirection = [1, 0, 0]\n'
         'values = [0.0, 0.001]\n[solver]', r"loads\[0\]\.depths: 4 values for a path of 2 steps"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_before_anything_is_written(
    text, old, new, message, work, capsys
):
    assert text.count(old) >= 1, old
    Path("case.toml").write_text(text.replace(old, new, 1))
    assert run() == 2
    err = capsys.readouterr().err
    assert re.search(message, err), err
    assert err.startswith("qc run: error: case.toml: ")
    assert os.listdir(".") == ["case.toml"]
