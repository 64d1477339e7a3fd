"""Runs of dynamics in a folder: the same to the last bit through stops of every kind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import fs

from qc import PotentialCalculator
from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import diamond, fcc
from qc.dynamics import Dynamics, HeatField, Langevin, MovingLoad
from qc.errors import CheckpointError, InputError, NonFiniteError, OutputError
from qc.io import (
    Outcome,
    read_dynamics,
    read_history,
    restore_dynamics,
    run_dynamics,
    write_dynamics,
)
from qc.io.runs.archive import pack, unpack
from qc.loads import CylindricalIndenter
from qc.materials import equilibrium_crystal
from qc.potentials import LennardJones, stillinger1985, zhou2004

ROOT = Path(__file__).parents[2]
LOMER = {"x": [1, 1, 0], "y": [0, 0, 1], "z": [1, -1, 0]}
STEPS = 60


def eam():
    potential = zhou2004("Cu")
    a = equilibrium_crystal(fcc("Cu", 3.6), potential).a
    return QuasiContinuum(
        fcc("Cu", a, **LOMER).as_columns(), potential, core=6.3, blend=5.2, outer=20.0,
        defects=PointDefects(vacant=[(0, 0, 0)]),
    )  # fmt: skip


def solid():
    potential = LennardJones("Ar", 0.0104, 3.4, cutoff=6.0)
    a = equilibrium_crystal(fcc("Ar", 5.3), potential).a
    return QuasiContinuum(fcc("Ar", a), potential, core=6.3, blend=7.8, outer=3.5 * a)


def silicon():
    potential = stillinger1985("Si")
    a = equilibrium_crystal(diamond("Si", 5.43), potential).a
    return QuasiContinuum(
        diamond("Si", a, **LOMER).as_columns(), potential, core=5.0, blend=5.0, outer=22.0,
        defects=PointDefects(vacant=[(0, 0, 0)]),
    )  # fmt: skip


MODELS = {"eam columns": eam, "pair 3d": solid, "silicon columns": silicon}


def begin(name, bath=True, seed=1, temperature=300.0):
    """Return fresh dynamics, hot enough that the neighbour list is made anew on the way."""
    model = MODELS[name]()
    hot = 25.0 if name == "pair 3d" else temperature
    baths = [Langevin(hot, 0.02 / fs)] if bath else []
    dynamics = Dynamics(model, 2 * fs, baths=baths, seed=seed, check_timestep=False)
    dynamics.set_temperature(4.0 * hot)
    return dynamics


def same(one, two):
    for name in ("x", "v", "forces"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert one.step == two.step
    assert one.ledger.row() == two.ledger.row()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("bath", [True, False])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_last_bit(name, bath, tmp_path):
    whole, model = begin(name, bath), None
    run_dynamics(whole, STEPS, tmp_path / "whole", every=5, checkpoint_every=25, picture=False)
    # Stopped between checkpoints and rows, twice.
    for steps in (13, 41, STEPS):
        part = begin(name, bath)
        outcome = run_dynamics(
            part, steps, tmp_path / "parts", every=5, checkpoint_every=25, resume=True,
            picture=False,
        )  # fmt: skip
        model = part
    same(whole, model)
    assert outcome.complete
    texts = [(tmp_path / d / "history.csv").read_text() for d in ("whole", "parts")]
    assert texts[0] == texts[1]
    model = whole.system.model
    field = model.coupling.blended.atoms
    assert field.engine.rebuilds > 1, "the list was never made anew on the way"


def test_a_kill_before_the_first_row_loses_no_row(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*args):
        raise Killed

    run_dynamics(begin("eam columns"), 10, tmp_path / "whole", every=5, picture=False)
    with monkeypatch.context() as patch:
        patch.setattr("qc.io.runs.dynamics._History", killed)
        with pytest.raises(Killed):
            run_dynamics(begin("eam columns"), 10, tmp_path / "parts", picture=False)
    run_dynamics(
        begin("eam columns"), 10, tmp_path / "parts", every=5, resume=True, picture=False
    )  # fmt: skip
    texts = [(tmp_path / d / "history.csv").read_text() for d in ("whole", "parts")]
    assert texts[0] == texts[1]


def altered(path, **facts):
    """Give a checkpoint other facts, with the checksum that fits."""
    header, arrays = unpack(path.read_bytes())
    header["facts"] |= facts
    path.write_bytes(pack(header, arrays))
    return path


@pytest.mark.parametrize("step", [float("inf"), float("nan"), [], {}, "1e400", 10**400])
def test_a_step_that_is_none_is_a_checkpoint_error(step, tmp_path):
    path = write_dynamics(tmp_path / "state.npz", begin("eam columns"))
    with pytest.raises(CheckpointError, match="is not understood"):
        read_dynamics(altered(path, step=step))


@pytest.mark.parametrize("energy", [10**400, "x", [], float("nan")])
def test_a_ledger_of_no_numbers_is_a_checkpoint_error(energy, tmp_path):
    dynamics = begin("eam columns")
    path = write_dynamics(tmp_path / "state.npz", dynamics)
    ledger = dynamics.ledger.dump() | {"kinetic": energy}
    with pytest.raises(CheckpointError, match="ledger"):
        restore_dynamics(altered(path, ledger=ledger), dynamics)


def test_history_is_complete(tmp_path):
    dynamics = begin("eam columns")
    outcome = run_dynamics(
        dynamics, 40, tmp_path, every=10,
        columns={"core": lambda d: d.temperature(d.system.model.layout.beta_nodes < 0.5)},
    )  # fmt: skip
    rows = read_history(tmp_path / "history.csv")
    assert [row["step"] for row in rows] == [0, 10, 20, 30, 40]
    assert rows == outcome.history
    np.testing.assert_allclose(outcome.column("time"), 2.0 * np.arange(0, 50, 10))
    for row in rows:
        total = row["kinetic"] + row["potential"]
        assert row["total"] == pytest.approx(total, abs=1e-12)
        assert abs(row["closure"]) < 1e-11
        assert row["core"] > 0.0
        start = rows[0]["total"]
        booked = row["heat:bath"] + row["integrator"]
        assert row["total"] - start == pytest.approx(booked, abs=1e-11)
    assert (tmp_path / "ledger.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "result.json").exists()


SCRIPT = """
import os, signal, sys, numba
numba.set_num_threads({threads})
sys.path.insert(0, {folder!r})
import test_io_dynamics as t
from qc.io import run_dynamics
dynamics = t.begin("eam columns")
print("ready", flush=True)
outcome = run_dynamics(dynamics, {steps}, sys.argv[1], every=5, checkpoint_every=20, picture=False)
sys.exit(0 if outcome.signal is None else 128 + outcome.signal)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signals_are_survived(number, tmp_path):
    script = SCRIPT.format(
        folder=str(Path(__file__).parent), steps=100_000, threads=numba.get_num_threads()
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "run")], env=environment,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    history = tmp_path / "run" / "history.csv"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if history.exists() and history.read_text().count("\n") > 12:
            break
        time.sleep(0.01)
    process.send_signal(number)
    code = process.wait(timeout=60)
    assert code == (143 if number == signal.SIGTERM else -signal.SIGKILL)
    state, _ = read_dynamics(tmp_path / "run" / "checkpoint.npz")
    assert state.step > 0
    assert number != signal.SIGKILL or state.step % 20 == 0
    target = state.step + 30
    resumed, whole = begin("eam columns"), begin("eam columns")
    run_dynamics(resumed, target, tmp_path / "run", every=5, resume=True, picture=False)
    whole.run(target)
    same(resumed, whole)
    assert [r["step"] for r in read_history(history)] == list(range(0, target + 1, 5))


def test_what_is_not_finite_stops_the_run_with_the_last_good_state(tmp_path):
    dynamics = begin("eam columns")
    good = dynamics.system.energy_forces

    def bad(x):
        if dynamics.step >= 17:
            raise NonFiniteError("force on atom 3 is not finite")
        return good(x)

    dynamics.system.energy_forces = bad
    with pytest.raises(NonFiniteError, match="atom 3"):
        run_dynamics(dynamics, 100, tmp_path, every=5, checkpoint_every=10)
    state, _ = read_dynamics(tmp_path / "checkpoint.npz")
    assert state.step == 17
    np.testing.assert_array_equal(state.x, dynamics.x)
    assert "failed" in (tmp_path / "result.json").read_text()
    whole, resumed = begin("eam columns"), begin("eam columns")
    whole.run(30)
    run_dynamics(resumed, 30, tmp_path, every=5, resume=True, picture=False)
    same(whole, resumed)


def test_a_checkpoint_of_another_processor_is_taken_and_said(tmp_path, monkeypatch, caplog):
    path = write_dynamics(tmp_path / "state.npz", begin("eam columns"))
    restore_dynamics(path, begin("eam columns"))
    assert not caplog.records
    monkeypatch.setattr("qc.io.runs.saved.processor", lambda: "another one")
    restore_dynamics(path, begin("eam columns"))
    assert "made on another processor" in caplog.text


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    path = write_dynamics(tmp_path / "state.npz", begin("eam columns"))
    for other, message in (
        (begin("eam columns", bath=False), "another set of baths"),
        (begin("eam columns", seed=2), "another seed; force it .*force=True"),
        (begin("eam columns", temperature=301.0), "another bath 'bath'"),
        (begin("pair 3d"), "nodes"),
    ):
        with pytest.raises(CheckpointError, match=message):
            restore_dynamics(path, other)
    restore_dynamics(path, begin("eam columns", seed=2), force=True)


def test_a_checkpoint_under_another_load_is_refused(tmp_path):
    def pressed(radius, speed=None):
        model = eam()
        start = CylindricalIndenter(radius=radius, centre=(0.0, 60.0, 0.0), stiffness=1.0)
        if speed is None:
            model.loads = [start]
            return Dynamics(model, 2 * fs, check_timestep=False)
        drive = MovingLoad(lambda t: start.moved((0.0, -speed * t, 0.0)), "tip")
        return Dynamics(model, 2 * fs, drives=[drive], check_timestep=False)

    still = write_dynamics(tmp_path / "still.npz", pressed(30.0))
    moving = pressed(30.0, 0.1)
    moving.run(3)
    path = write_dynamics(tmp_path / "moving.npz", moving)
    for other, match in ((pressed(31.0), "load"), (pressed(30.0, 0.1), "moving load")):
        with pytest.raises(CheckpointError, match=match):
            restore_dynamics(still, other)
    for other in (pressed(30.0, 0.2), pressed(31.0, 0.1), pressed(30.0)):
        with pytest.raises(CheckpointError, match="moving load"):
            restore_dynamics(path, other)
    restore_dynamics(still, pressed(30.0))
    again = pressed(30.0, 0.1)
    restore_dynamics(path, again)
    for one in (moving, again):
        one.run(3)
    same(moving, again)


def test_damaged_checkpoints_are_refused(tmp_path):
    raw = write_dynamics(tmp_path / "state.npz", begin("eam columns")).read_bytes()
    rng = np.random.default_rng(0)
    for k in range(40):
        broken = bytearray(raw)
        if k % 2:
            broken = broken[: rng.integers(len(raw))]
        else:
            broken[rng.integers(len(raw))] ^= 1 << rng.integers(8)
        (tmp_path / "broken.npz").write_bytes(broken)
        try:
            state, _ = read_dynamics(tmp_path / "broken.npz")
        except CheckpointError:
            continue
        # Only bytes that mean nothing may differ (time stamps of the archive).
        np.testing.assert_array_equal(state.x, begin("eam columns").x)
    with pytest.raises(CheckpointError, match="No such file"):
        read_dynamics(tmp_path / "none.npz")


def test_histories_are_checked(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("step,total\n0,1\n5,2\n10,3")
    assert [r["total"] for r in read_history(path)] == [1, 2, 3]
    path.write_text("step,total\n0,1\n5,2\n10,")
    assert [r["step"] for r in read_history(path)] == [0, 5]
    path.write_text("step,total\n0,1\nnonsense\n10,3\n")
    with pytest.raises(InputError, match="line 3"):
        read_history(path)
    path.write_text("time\n0\n")
    with pytest.raises(InputError, match="no column 'step'"):
        read_history(path)
    with pytest.raises(InputError):
        read_history(tmp_path / "none.csv")


def test_bad_intervals_and_places(tmp_path):
    dynamics = begin("eam columns")
    with pytest.raises(InputError, match="every"):
        run_dynamics(dynamics, 5, tmp_path, every=0)
    with pytest.raises(InputError, match="checkpoint_every"):
        run_dynamics(dynamics, 5, tmp_path, checkpoint_every=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        run_dynamics(dynamics, 5, tmp_path / "file")


def test_a_checkpoint_of_another_temperature_is_refused(tmp_path):
    potential = stillinger1985("Si")
    a = equilibrium_crystal(diamond("Si", 5.43), potential).a
    crystal = diamond("Si", a, **LOMER).as_columns()
    model = QuasiContinuum(crystal, potential, core=5.0, blend=5.0, outer=18.0, temperature=300.0)
    path = write_dynamics(tmp_path / "s.npz", Dynamics(model, 2 * fs, check_timestep=False))
    restore_dynamics(path, Dynamics(model, 2 * fs, check_timestep=False))
    hotter = Dynamics(model.with_temperature(310.0), 2 * fs, check_timestep=False)
    with pytest.raises(CheckpointError, match="another scheme"):
        restore_dynamics(path, hotter)


def copper(calculator):
    atoms = bulk("Cu", cubic=True) * 3
    atoms.calc = calculator
    dynamics = Dynamics(
        atoms, 3 * fs, baths=[Langevin(900.0, 0.02 / fs)], seed=1, check_timestep=False
    )
    dynamics.set_temperature(1800.0)
    return dynamics


def test_atoms_of_our_own_calculator_come_back_to_the_last_bit(tmp_path):
    def fresh():
        return copper(PotentialCalculator(zhou2004("Cu")))

    whole = fresh()
    run_dynamics(whole, 120, tmp_path / "whole", picture=False)
    rebuilds = whole.system.atoms.calc._field.rebuilds
    assert rebuilds > 2
    run_dynamics(fresh(), 97, tmp_path / "parts", picture=False)
    again = fresh()
    run_dynamics(again, 120, tmp_path / "parts", resume=True, picture=False)
    same(whole, again)


def test_a_checkpoint_of_another_calculator_is_refused(tmp_path):
    path = tmp_path / "checkpoint.npz"
    write_dynamics(path, copper(PotentialCalculator(zhou2004("Cu"))))
    for other in (EMT(), PotentialCalculator(zhou2004("Cu"), skin=0.2)):
        with pytest.raises(CheckpointError, match="another calculator"):
            restore_dynamics(path, copper(other))


def test_a_checkpoint_of_another_boundary_strain_or_load_is_refused(tmp_path):
    model, path = eam(), tmp_path / "checkpoint.npz"

    def fielded(prescribed):
        field = HeatField.of_model(model, temperature=300.0)
        if prescribed:
            field.prescribe_temperature(field.boundary, prescribed)
        return Dynamics(model, 2 * fs, field=field, check_timestep=False)

    write_dynamics(path, fielded(300.0))
    for other in (None, 600.0):
        with pytest.raises(CheckpointError, match="another heat field"):
            restore_dynamics(path, fielded(other))
    write_dynamics(path, Dynamics(model, 2 * fs, check_timestep=False))
    strained = Dynamics(model.with_strain(np.diag([1.02, 1.0, 1.0])), 2 * fs, check_timestep=False)
    with pytest.raises(CheckpointError, match="another deformation"):
        restore_dynamics(path, strained)
    loaded = Dynamics(
        model.without_mean_force(np.ones_like(model.U)), 2 * fs, check_timestep=False
    )
    with pytest.raises(CheckpointError, match="another load"):
        restore_dynamics(path, loaded)


def test_a_state_of_another_energy_is_refused_whatever_differs(tmp_path):
    """What no fingerprint tells apart: here a user's calculator with hidden settings."""

    class Hidden(EMT):
        factor = 1.0

        def get_property(self, name, atoms=None, allow_calculation=True):
            value = super().get_property(name, atoms, allow_calculation)
            return value if value is None else self.factor * value

    path, run = tmp_path / "checkpoint.npz", copper(Hidden())
    run.run(20)
    write_dynamics(path, run)
    other = copper(Hidden())
    before = other.x.copy()
    other.system.atoms.calc.factor = 1.1
    with pytest.raises(CheckpointError, match="potential energy, here it has"):
        restore_dynamics(path, other)
    assert np.array_equal(other.x, before)
    assert other.step == 0
    restore_dynamics(path, other, force=True)
    assert other.step == 20


def test_a_run_in_memory_goes_on_in_its_folder_and_no_other(tmp_path):
    run = begin("eam columns")
    run_dynamics(run, 20, tmp_path / "a", every=10, picture=False)
    more = run_dynamics(run, 40, tmp_path / "a", every=10, picture=False)
    assert more.column("step").tolist() == [0, 10, 20, 30, 40]
    assert [row["step"] for row in read_history(tmp_path / "a" / "history.csv")] == [
        0, 10, 20, 30, 40,
    ]  # fmt: skip
    other = begin("eam columns", seed=2)
    other.run(5)
    begun = run_dynamics(other, 20, tmp_path / "a", every=10, picture=False)
    assert begun.column("step").tolist() == [5, 10, 20]
    assert read_dynamics(tmp_path / "a" / "checkpoint.npz")[0].step == 20
    with pytest.raises(InputError, match="steps must be at least 0"):
        run_dynamics(run, -5, tmp_path / "a")


def test_names_of_baths_may_hold_commas(tmp_path):
    model = eam()
    run = Dynamics(
        model, 2 * fs, baths=[Langevin(300.0, 0.01 / fs, name='hot, "left"')], check_timestep=False
    )
    run_dynamics(run, 4, tmp_path, every=2, picture=False)
    rows = read_history(tmp_path / "history.csv")
    assert any('hot, "left"' in name for name in rows[0])
    assert [row["step"] for row in rows] == [0, 2, 4]


def test_what_a_run_starts_with_is_done_once(tmp_path):
    """A resumption that finds no checkpoint is a run that begins anew, and not one from 0 K."""

    def warm(dynamics):
        dynamics.set_temperature(600.0)
        dynamics.run(10)

    def go(folder, steps, resume):
        run = begin("eam columns", temperature=300.0)
        run.set_state(v=np.zeros_like(run.v))
        run_dynamics(run, steps, folder, every=5, start=warm, resume=resume, picture=False)
        return run

    whole = go(tmp_path / "whole", 40, False)
    assert read_history(tmp_path / "whole" / "history.csv")[0]["step"] == 10
    assert whole.temperature() > 100.0
    for steps in (20, 40):
        parts = go(tmp_path / "parts", steps, True)
    same(whole, parts)
    for name in ("whole", "parts"):
        assert len(read_history(tmp_path / name / "history.csv")) == 7


def test_a_run_that_begins_anew_keeps_what_it_finds(tmp_path, caplog):
    run_dynamics(begin("eam columns"), 20, tmp_path, every=5, picture=False)
    old = (tmp_path / "history.csv").read_text()
    assert not caplog.records
    run_dynamics(begin("eam columns"), 5, tmp_path, every=5, picture=False)
    assert "now history.old.csv" in caplog.text
    assert (tmp_path / "history.old.csv").read_text() == old
    assert read_dynamics(tmp_path / "checkpoint.old.npz")[0].step == 20
    assert read_dynamics(tmp_path / "checkpoint.npz")[0].step == 5


def test_columns_of_ones_own(tmp_path):
    run = begin("eam columns")
    for columns, match in (
        ({"total": lambda d: 1.0}, "'total' is one of the history's own"),
        ({"a": 5}, "must be a name and a function"),
        (5, "columns must be a Mapping"),
        ({"a": lambda d: "hot"}, "column 'a' must be a number, got 'hot'"),
        ({"a": lambda d: None}, "column 'a' must be a number"),
    ):
        with pytest.raises(InputError, match=match):
            run_dynamics(run, 5, tmp_path / "bad", columns=columns)
    for name, value in (("callback", 5), ("start", "warm")):
        with pytest.raises(InputError, match=f"{name} must be a function"):
            run_dynamics(run, 5, tmp_path / "bad", **{name: value})
    run_dynamics(run, 10, tmp_path, every=5, columns={"a": lambda d: d.step}, picture=False)
    more = {"a": lambda d: d.step, "b": lambda d: 2.0 * d.step}
    found = run_dynamics(
        begin("eam columns"), 20, tmp_path, every=5, columns=more, resume=True, picture=False
    )
    rows = read_history(tmp_path / "history.csv")
    np.testing.assert_array_equal([row["a"] for row in rows], [0, 5, 10, 15, 20])
    np.testing.assert_array_equal([row["b"] for row in rows], [np.nan, np.nan, np.nan, 30, 40])
    np.testing.assert_array_equal(found.column("b"), [row["b"] for row in rows])
    with pytest.raises(InputError, match="no column 'kinetc'; did you mean"):
        found.column("kinetc")
    assert repr(found) == "Outcome(all 20 steps done; 5 rows)"
    beyond = run_dynamics(begin("eam columns"), 3, tmp_path, resume=True, picture=False)
    assert beyond.reason == "at step 20 already, beyond 3"


def test_a_callback_that_fails_leaves_a_run_to_go_on_from(tmp_path):
    def fail(dynamics):
        if dynamics.step == 10:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError):
        run_dynamics(begin("eam columns"), 20, tmp_path, every=5, callback=fail)
    assert json.loads((tmp_path / "result.json").read_text())["reason"] == "mine"
    whole, resumed = begin("eam columns"), begin("eam columns")
    whole.run(20)
    run_dynamics(resumed, 20, tmp_path, every=5, resume=True, picture=False)
    same(whole, resumed)


def test_leaving_after_a_signal(capsys):
    Outcome(True, "all 3 steps done", None, []).leave_if_stopped()
    with pytest.raises(SystemExit) as left:
        Outcome(False, "terminated after 2 of 3 steps", 15, []).leave_if_stopped()
    assert left.value.code == 143
    assert "terminated after 2 of 3 steps; go on with --resume" in capsys.readouterr().out
