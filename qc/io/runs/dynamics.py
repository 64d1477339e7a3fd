"""The folder of a run of molecular dynamics: history, checkpoints, and going on after a stop.

::

    history.csv      time (fs), temperature (K) and the whole ledger (eV), a row every so many steps
    checkpoint.npz   the last state saved, to go on from
    result.json      what was run, with which settings and versions, and how it ended
    ledger.png       the ledger against time
"""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from numpy.typing import NDArray

from qc.dynamics import Dynamics
from qc.errors import CheckpointError, InputError, suggest
from qc.io.files import output_errors, write_atomically
from qc.io.runs.dynamics_checkpoint import read_dynamics, restore_dynamics, write_dynamics
from qc.io.runs.folder import RunFolder
from qc.io.runs.identity import dynamics_fingerprints
from qc.io.runs.result import describe, write_summary
from qc.io.runs.signals import signals
from qc.numerics.checks import function, kind, real, whole
from qc.numerics.progress import Progress
from qc.numerics.reading import require_regular

Array = NDArray[np.float64]
Columns = Mapping[str, Callable[[Dynamics], float]]

#: A longer file is no history, Bytes.
LONGEST_HISTORY = 1 << 33


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a run ended.

    Attributes
    ----------
    complete : bool
        All steps were done.
    reason : str
    signal : int or None
        What stopped it; a program exits with 128 plus this number.
    history : list of dict
        Rows of ``history.csv``, those before a resumption included.
    """

    complete: bool
    reason: str
    signal: int | None
    history: list[dict[str, float]]

    def column(self, name: str) -> Array:
        """Return a column of the history, (n,); NaN in rows from before it was there.

        Raises
        ------
        InputError
            No row has it.
        """
        known = dict.fromkeys(key for row in self.history for key in row)
        if name not in known:
            raise InputError(f"the history has no column '{name}'{suggest(str(name), list(known))}")
        return np.array([row.get(name, np.nan) for row in self.history])

    def leave_if_stopped(self) -> None:
        """Say how to go on and leave the program, where a signal has stopped the run.

        Raises
        ------
        SystemExit
            With 128 plus the number of the signal.
        """
        if self.signal is not None:
            print(f"{self.reason}; go on with --resume")
            raise SystemExit(128 + self.signal)

    def __repr__(self) -> str:
        return f"Outcome({self.reason}; {len(self.history)} rows)"


class Recorder:
    """What else a run leaves behind: calls that do nothing unless they are overridden."""

    def begun(self, dynamics: Dynamics) -> None:
        """Take the state that the run begins or goes on from."""

    def row(self, dynamics: Dynamics) -> None:
        """Take the state of a row of the history, before it is in a checkpoint."""

    def ended(self, dynamics: Dynamics) -> None:
        """Take the last state, of a run that was stopped too, before the result is written."""

    def about(self, dynamics: Dynamics) -> Mapping[str, Any]:
        """Return what the result says of the run besides."""
        return {}


def run_dynamics(
    dynamics: Dynamics,
    steps: int,
    folder: str | os.PathLike[str],
    *,
    every: int = 10,
    checkpoint_every: int = 1000,
    start: Callable[[Dynamics], object] | None = None,
    resume: bool = False,
    force: bool = False,
    columns: Columns | None = None,
    callback: Callable[[Dynamics], bool | None] | None = None,
    picture: bool = True,
    recorder: Recorder | None = None,
) -> Outcome:
    """Run dynamics up to a step, writing as it goes; stop in good order when asked to.

    A run that has come some way goes on; its history does where the folder is its own. SIGTERM
    and Ctrl-C save the state and return; whatever fails saves the last good state and raises.
    After any end, kill -9 included, the same call with ``resume=True`` goes on from the last
    checkpoint, and ends where an uninterrupted run ends, to the last bit. Without it a run begins
    anew; the history and the checkpoint of another that it finds are kept once, as
    ``history.old.csv`` and ``checkpoint.old.npz``.

    Parameters
    ----------
    dynamics : Dynamics
    steps : int
        Step to reach, counted from the first start.
    folder : path-like
        Made where it is missing.
    every : int
        Steps between rows of the history.
    checkpoint_every : int
        Steps between checkpoints.
    start : callable, optional
        What a run that begins anew does first, and one that goes on does not: drawing velocities,
        coming to equilibrium. Called with the dynamics; steps that it takes count.
    resume : bool
        Go on from the checkpoint in the folder, if there is one.
    force : bool
        Take a checkpoint of another system, of other settings or of another schema.
    columns : mapping of str to callable, optional
        Further columns of the history, one number each: functions of the dynamics.
    callback : callable, optional
        Called with the dynamics at every row but the first; returning True stops.
    picture : bool
        Draw ``ledger.png`` at the end.
    recorder : Recorder, optional
        Writes more: frames, say.

    Returns
    -------
    Outcome

    Raises
    ------
    InputError
        An interval below 1, a negative number of steps, a column that has the name of one of the
        ledger or gives no number, or an argument of another kind.
    CheckpointError
        The checkpoint is damaged or belongs to another run.
    OutputError
        Something cannot be written.
    """
    kind("dynamics", dynamics, Dynamics)
    kind("folder", folder, (str, os.PathLike))
    whole("steps", steps, 0)
    for name, value in (("every", every), ("checkpoint_every", checkpoint_every)):
        whole(name, value, 1)
    function("start", start)
    function("callback", callback)
    extra = _own_columns(dynamics, columns)
    files = Recorder() if recorder is None else recorder
    kind("recorder", files, Recorder)
    home = RunFolder(folder)
    checkpoint, table = home.checkpoint, home.history
    rows: list[dict[str, float]] = []
    begun = time.monotonic()
    home.remove_leftovers()
    if resume and checkpoint.exists():
        restore_dynamics(checkpoint, dynamics, force=force)
        # A kill may have come between the first checkpoint and the first row.
        rows = _kept_rows(table, dynamics.step) or [_row(dynamics, extra)]
    else:
        if _goes_on(checkpoint, dynamics):
            rows = _kept_rows(table, dynamics.step)
        else:
            home.put_aside()
            if start is not None:
                start(dynamics)
        if not rows or rows[-1]["step"] < dynamics.step:
            rows.append(_row(dynamics, extra))
        write_dynamics(checkpoint, dynamics)
    history = _History(table, rows, [*rows[0], *extra])
    status, reason = "complete", f"all {steps} steps done"
    if dynamics.step > steps:
        reason = f"at step {dynamics.step} already, beyond {steps}"
    with signals() as stop, history, Progress("dynamics") as show:
        last_saved = dynamics.step

        def after(now: Dynamics) -> bool:
            nonlocal last_saved
            ended = False
            if show.active and now.step % 10 == 0:
                show.update(
                    f"step {now.step}, {now.temperature():.1f} K, energy "
                    f"{now.ledger.total:.6f} eV, books {now.ledger.closure:+.1e}"
                )
            if now.step % every == 0:
                history.add(_row(now, extra))
                files.row(now)
                ended = bool(callback(now)) if callback is not None else False
            if now.step % checkpoint_every == 0:
                history.flush()
                write_dynamics(checkpoint, now)
                last_saved = now.step
            return ended or bool(stop)

        try:
            files.begun(dynamics)
            dynamics.run(max(steps - dynamics.step, 0), after)
        except Exception as error:
            history.flush()
            write_dynamics(checkpoint, dynamics)
            why = str(error) or type(error).__name__
            _write_result(home, dynamics, files, "failed", why, time.monotonic() - begun)
            raise
        if dynamics.step < steps:
            status = "interrupted" if stop else "stopped"
            reason = f"{stop.word if stop else status} after {dynamics.step} of {steps} steps"
        history.flush()
        if last_saved != dynamics.step:
            write_dynamics(checkpoint, dynamics)
        files.ended(dynamics)
        _write_result(home, dynamics, files, status, reason, time.monotonic() - begun)
        number = stop.number
    if picture and len(history.rows) > 1:
        from qc.io.plots import draw_ledger

        draw_ledger(home.ledger, history.rows)
    return Outcome(dynamics.step >= steps, reason, number, history.rows)


def _row(dynamics: Dynamics, extra: Columns) -> dict[str, float]:
    row = {
        "step": float(dynamics.step),
        "time": dynamics.time / units.fs,
        "temperature": dynamics.temperature(),
    }
    row |= dynamics.ledger.row()
    own = {name: real(f"column '{name}'", number(dynamics)) for name, number in extra.items()}
    return row | own


def _own_columns(dynamics: Dynamics, columns: Columns | None) -> Columns:
    """Return the columns that a caller adds, checked."""
    if columns is None:
        return {}
    kind("columns", columns, Mapping)
    taken = _row(dynamics, {})
    for name, number in columns.items():
        if name in taken:
            raise InputError(f"column '{name}' is one of the history's own")
        if not isinstance(name, str) or not callable(number):
            raise InputError(f"column {name!r} must be a name and a function of the dynamics")
    return dict(columns)


class _History:
    """Rows in memory and, one line each as they come, in a file."""

    def __init__(self, path: Path, rows: list[dict[str, float]], names: Sequence[str]) -> None:
        self.path, self.rows = path, list(rows)
        self._columns = list(dict.fromkeys(names))
        write_atomically(path, self._head() + "".join(self._line(row) for row in rows))

    def __enter__(self) -> _History:
        with output_errors(self.path):
            self._file = open(self.path, "a", encoding="utf-8")
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def _head(self) -> str:
        """Names of the columns, quoted where a bath's name needs it."""
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(self._columns)
        return line.getvalue()

    def _line(self, row: Mapping[str, float]) -> str:
        return ",".join(f"{row.get(name, np.nan):.17g}" for name in self._columns) + "\n"

    def add(self, row: dict[str, float]) -> None:
        self.rows.append(row)
        with output_errors(self.path):
            self._file.write(self._line(row))

    def flush(self) -> None:
        """Make sure that what was added is in the file."""
        with output_errors(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())


def read_history(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Read the rows of a ``history.csv``; a last line that was cut short is left out.

    Raises
    ------
    InputError
        There is no such file, it is no history, or the path is none.
    """
    kind("path", path, (str, os.PathLike))
    try:
        require_regular(path, LONGEST_HISTORY)
        with open(path, encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"history {path}: {error}") from error
    if not lines or "step" not in lines[0]:
        raise InputError(f"history {path} has no column 'step'")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            values = [float(value) for value in line]
        except ValueError:
            values = []
        if len(values) != len(lines[0]):
            if number == len(lines):
                break
            raise InputError(f"history {path}, line {number}: not {len(lines[0])} numbers")
        rows.append(dict(zip(lines[0], values, strict=True)))
    return rows


def _goes_on(checkpoint: Path, dynamics: Dynamics) -> bool:
    """Whether a run in memory is the one whose checkpoint is there, at the same step."""
    try:
        state = read_dynamics(checkpoint)[0]
    except CheckpointError:
        return False
    same = state.step == dynamics.step and np.array_equal(state.x, dynamics.x)
    return same and np.array_equal(state.v, dynamics.v)


def _kept_rows(path: Path, step: int) -> list[dict[str, float]]:
    """Return the rows up to a step: what came after the checkpoint comes again."""
    if not path.exists():
        return []
    return [row for row in read_history(path) if row["step"] <= step]


def _write_result(
    home: RunFolder,
    dynamics: Dynamics,
    recorder: Recorder,
    status: str,
    reason: str,
    seconds: float,
) -> None:
    model = dynamics.system.model
    content: dict[str, Any] = {
        "steps": dynamics.step,
        "time_fs": dynamics.time / units.fs,
        "timestep_fs": dynamics.timestep / units.fs,
        "unknowns": int(dynamics.system.free.sum()),
        "temperature_K": dynamics.temperature(),
        "ledger": dynamics.ledger.row(),
        "baths": [
            {"name": b.name, "kind": type(b).__name__, "noise": b.noise} for b in dynamics.baths
        ],
        "fingerprints": dynamics_fingerprints(dynamics),
    }
    about = content | dict(recorder.about(dynamics))
    write_summary(
        home.result,
        "dynamics",
        status,
        reason,
        content=about if model is None else describe(model) | about,
        seed=dynamics.seed,
        wall_time=seconds,
    )
