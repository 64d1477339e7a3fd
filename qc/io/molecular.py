"""The folder of a run of molecular dynamics: history, checkpoints, and going on after a stop.

::

    history.csv      time, temperature and the whole ledger, a row every so many steps
    checkpoint.npz   the last state saved, to go on from
    run.json         what was run, with which settings and versions, and how it ended
    ledger.png       the ledger against time
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from numpy.typing import NDArray

from qc.dynamics import Dynamics, FieldBath, MovingLoad, Snapshot
from qc.errors import CheckpointError, InputError, OutputError, QCError
from qc.io.archive import pack, unpack
from qc.io.checkpoint import fingerprints
from qc.io.files import write_atomically
from qc.io.signals import signals
from qc.loads import Load
from qc.numerics.checks import kind, whole

Array = NDArray[np.float64]

#: What a checkpoint of dynamics holds; raised when its meaning changes.
SCHEMA = 1

_KINDS = {
    "header": "|u1", "x": "<f8", "v": "<f8", "forces": "<f8", "field": "<f8", "shifts": "<f8",
    "list": "<f8",
}  # fmt: skip


#: Members that may be empty.
_OPTIONAL = ("field", "shifts", "list")


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
        """Return a column of the history, (n,)."""
        return np.array([row[name] for row in self.history])


def run_dynamics(
    dynamics: Dynamics,
    steps: int,
    folder: str | os.PathLike[str],
    *,
    every: int = 10,
    checkpoint_every: int = 1000,
    resume: bool = False,
    force: bool = False,
    columns: Mapping[str, Callable[[Dynamics], float]] | None = None,
    callback: Callable[[Dynamics], bool | None] | None = None,
    picture: bool = True,
) -> Outcome:
    """Run dynamics up to a step, writing as it goes; stop in good order when asked to.

    A run that has come some way goes on; its history does where the folder is its own. SIGTERM
    and Ctrl-C save the state and return; a force that is not finite saves the last good
    state and raises. After any end, kill -9 included, the same call with ``resume=True`` goes on
    from the last checkpoint, and ends where an uninterrupted run ends, to the last bit.

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
    resume : bool
        Go on from the checkpoint in the folder, if there is one.
    force : bool
        Take a checkpoint of another system, of other settings or of another schema.
    columns : mapping of str to callable, optional
        Further columns of the history.
    callback : callable, optional
        Called with the dynamics at every row; returning True stops.
    picture : bool
        Draw ``ledger.png`` at the end.

    Returns
    -------
    Outcome

    Raises
    ------
    InputError
        An interval below 1, or a negative number of steps.
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
    home = Path(folder)
    checkpoint = home / "checkpoint.npz"
    extra = dict(columns or {})
    rows: list[dict[str, float]] = []
    if resume and checkpoint.exists():
        restore_dynamics(checkpoint, dynamics, force=force)
        rows = _kept_rows(home / "history.csv", dynamics.step)
    else:
        if _goes_on(checkpoint, dynamics):
            rows = _kept_rows(home / "history.csv", dynamics.step)
        if not rows or rows[-1]["step"] < dynamics.step:
            rows.append(_row(dynamics, extra))
        write_dynamics(checkpoint, dynamics)
    history = _History(home / "history.csv", rows)
    status, reason = "complete", f"all {steps} steps done"
    with signals() as stop, history:
        last_saved = dynamics.step

        def after(now: Dynamics) -> bool:
            nonlocal last_saved
            ended = False
            if now.step % every == 0:
                history.add(_row(now, extra))
                ended = bool(callback(now)) if callback is not None else False
            if now.step % checkpoint_every == 0:
                history.flush()
                write_dynamics(checkpoint, now)
                last_saved = now.step
            return ended or bool(stop)

        try:
            dynamics.run(max(steps - dynamics.step, 0), after)
        except QCError as error:
            history.flush()
            write_dynamics(checkpoint, dynamics)
            _write_summary(home, dynamics, "failed", str(error))
            raise
        if dynamics.step < steps:
            status = stop.word if stop else "stopped"
            reason = f"{status} after {dynamics.step} of {steps} steps"
        history.flush()
        if last_saved != dynamics.step:
            write_dynamics(checkpoint, dynamics)
        _write_summary(home, dynamics, status, reason)
        number = stop.number
    if picture and len(history.rows) > 1:
        from qc.io.plots import draw_ledger

        draw_ledger(home / "ledger.png", history.rows)
    return Outcome(dynamics.step >= steps, reason, number, history.rows)


def _row(dynamics: Dynamics, extra: Mapping[str, Callable[[Dynamics], float]]) -> dict[str, float]:
    row = {
        "step": float(dynamics.step),
        "time": dynamics.time / units.fs,
        "temperature": dynamics.temperature(),
    }
    row |= dynamics.ledger.row()
    return row | {name: float(function(dynamics)) for name, function in extra.items()}


class _History:
    """Rows in memory and, one line each as they come, in a file."""

    def __init__(self, path: Path, rows: list[dict[str, float]]) -> None:
        self.path, self.rows = path, list(rows)
        self._columns = list(rows[0]) if rows else []
        head = self._head() if rows else ""
        write_atomically(path, head + "".join(self._line(row) for row in rows))

    def __enter__(self) -> _History:
        try:
            self._file = open(self.path, "a", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from error
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
        if not self.rows:
            self._columns = list(row)
            self._write(self._head())
        self.rows.append(row)
        self._write(self._line(row))

    def _write(self, text: str) -> None:
        try:
            self._file.write(text)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from error

    def flush(self) -> None:
        """Make sure that what was added is in the file."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from error


def read_history(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Read the rows of a ``history.csv``; a last line that was cut short is left out.

    Raises
    ------
    InputError
        There is no such file, it is no history, or the path is none.
    """
    kind("path", path, (str, os.PathLike))
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
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


#: A moving load is told from another by where it is after these numbers of steps; a path need not
#: be defined beyond the run.
PROBED = (0, 1)

# -- checkpoints ----------------------------------------------------------------------------------


def dynamics_fingerprints(dynamics: Dynamics) -> dict[str, str]:
    """Return hashes of everything a run depends on: the model or atoms, and the settings."""
    system = dynamics.system
    model = getattr(system, "model", None)
    out = {} if model is None else fingerprints(model)
    digest = hashlib.sha256()
    for array in (system.masses, system.free):
        digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    atoms = getattr(system, "atoms", None)
    if atoms is not None:
        out["calculator"] = hashlib.sha256(_describe_calculator(atoms.calc)).hexdigest()
        for array in (atoms.numbers, np.array(atoms.cell), atoms.pbc):
            digest.update(np.ascontiguousarray(array).tobytes())
    out["masses"] = digest.hexdigest()
    settings = hashlib.sha256(
        f"{dynamics.timestep!r} {dynamics.seed} {dynamics.conduct_every} "
        f"{dynamics.close_field}".encode()
    )
    for bath in dynamics.baths:
        settings.update(f"{type(bath).__name__} {bath.name} {bath.noise}".encode())
        settings.update(np.asarray(bath.friction, dtype=np.float64).tobytes())
        if not isinstance(bath, FieldBath):
            settings.update(np.asarray(bath.temperature, dtype=np.float64).tobytes())
    if dynamics.field is not None:
        settings.update(dynamics.field.fingerprint().encode())
    driven: set[int] | None = set()
    for drive in dynamics.drives:
        settings.update(f"{type(drive).__name__} {drive.name}".encode())
        if not isinstance(drive, MovingLoad):
            driven = None  # It may change any of them.
        elif driven is not None:
            driven.add(drive.index)
            for step in PROBED:
                settings.update(_describe_load(drive.path(step * dynamics.timestep)))
    out["settings"] = settings.hexdigest()
    if model is not None and driven is not None:
        still = [load for k, load in enumerate(model.loads) if k not in driven]
        loads = hashlib.sha256(b"".join(map(_describe_load, still)))
        # That of a mean force is made anew for every run, and may then differ by its samples.
        loads.update(b"thermal" if np.any(model.coupling.load) else b"")
        out["load"] = loads.hexdigest()
        mean = np.ascontiguousarray(model.far_field.mean_deformation, dtype=np.float64)
        out["deformation"] = hashlib.sha256(mean.tobytes()).hexdigest()
    return out


def _describe_calculator(calculator: object) -> bytes:
    """Return what kind of calculator it is, and those of its parameters that are plain values."""
    parts = [type(calculator).__qualname__]
    fingerprint = getattr(getattr(calculator, "potential", None), "fingerprint", None)
    if callable(fingerprint):
        parts.append(str(fingerprint()))
    given = getattr(calculator, "parameters", None)
    if isinstance(given, Mapping):
        plain = {k: v for k, v in given.items() if isinstance(v, str | bool | int | float)}
        parts += [f"{k}={plain[k]!r}" for k in sorted(plain, key=str)]
    return "; ".join(parts).encode()


def _describe_load(load: Load) -> bytes:
    """Return what kind of load it is, and its few numbers where it is a dataclass of some.

    Large arrays count by shape alone: those of a mean force are made anew before a run goes on, and
    may then differ by round-off.
    """
    parts = [type(load).__qualname__]
    if is_dataclass(load):
        for name in (one.name for one in fields(load)):
            value = getattr(load, name)
            few = np.size(value) <= 16
            parts.append(f"{name} {value!r}" if few else f"{name} {np.shape(value)}")
    return "; ".join(parts).encode() + b"\n"


def write_dynamics(path: str | os.PathLike[str], dynamics: Dynamics) -> Path:
    """Save the state of a run.

    Raises
    ------
    OutputError
        The file cannot be written; one that was there before is left intact.
    """
    import qc

    state = dynamics.snapshot()
    header = {
        "what": "qc dynamics",
        "schema": SCHEMA,
        "version": qc.__version__,
        "step": state.step,
        "potential": state.potential.hex(),
        "ledger": state.ledger,
        "fingerprints": dynamics_fingerprints(dynamics),
    }
    members = {"header": np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)}
    for name, array in (("x", state.x), ("v", state.v), ("forces", state.forces)):
        members[name] = np.ascontiguousarray(array, dtype="<f8")
    for name in _OPTIONAL:
        members[name] = np.ascontiguousarray(state.extra.get(name, np.empty(0)), dtype="<f8")
    return write_atomically(path, pack(members))


def read_dynamics(
    path: str | os.PathLike[str], *, force: bool = False
) -> tuple[Snapshot, dict[str, str]]:
    """Read a checkpoint of dynamics: the state, and the fingerprints of what it belongs to.

    Raises
    ------
    InputError
        The path is none.
    CheckpointError
        The file is missing, truncated, altered, no checkpoint of dynamics, or of another schema.
    """
    kind("path", path, (str, os.PathLike))
    name = str(path)
    try:
        raw = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"checkpoint {name}: {reason}") from error
    members = unpack(raw, _KINDS, name)
    try:
        header = json.loads(members["header"].tobytes().decode("utf-8"))
        if header["what"] != "qc dynamics":
            raise ValueError("it is of something else")
        schema = int(header["schema"])
        if schema != SCHEMA and not force:
            raise CheckpointError(
                f"checkpoint {name} was written with schema {schema}, this version reads "
                f"{SCHEMA}. Force it to try all the same"
            )
        extra = {k: members[k].copy() for k in _OPTIONAL if members[k].size}
        state = Snapshot(
            step=int(header["step"]),
            x=members["x"].copy(),
            v=members["v"].copy(),
            forces=members["forces"].copy(),
            potential=float.fromhex(header["potential"]),
            extra=extra,
            ledger=dict(header["ledger"]),
        )
        shapes = {a.shape for a in (state.x, state.v, state.forces)}
        if len(shapes) != 1 or state.x.ndim != 2 or state.x.shape[1] != 3 or state.step < 0:
            raise ValueError(f"arrays of shapes {shapes} at step {state.step}")
        found = {str(k): str(v) for k, v in header["fingerprints"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"checkpoint {name} is not understood: {error}") from error
    arrays = (state.x, state.v, state.forces, *extra.values())
    if not (all(np.isfinite(a).all() for a in arrays) and np.isfinite(state.potential)):
        raise CheckpointError(f"checkpoint {name} holds NaN or infinite numbers")
    return state, found


def restore_dynamics(
    path: str | os.PathLike[str], dynamics: Dynamics, *, force: bool = False
) -> None:
    """Give a run the state of a checkpoint.

    Raises
    ------
    CheckpointError
        The state belongs to another system or to other settings; the message says in what it
        differs. Another number of nodes is never accepted.
    """
    state, found = read_dynamics(path, force=force)
    own = dynamics_fingerprints(dynamics)
    differing = [k for k, v in own.items() if found.get(k) != v]
    if state.x.shape != dynamics.x.shape:
        raise CheckpointError(
            f"the checkpoint holds {len(state.x)} nodes, the system has {len(dynamics.x)}"
        )
    if differing and not force:
        raise CheckpointError(
            f"the checkpoint belongs to another {' and '.join(differing)}; force it to go on "
            "all the same"
        )
    before = dynamics.snapshot()
    try:
        dynamics.restore(state)
        if not force:
            _require_energy(dynamics)
            # The evaluation has made a list, and moved shifts: once more.
            dynamics.restore(state)
    except InputError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from error
    except CheckpointError:
        dynamics.restore(before)
        raise


def _require_energy(dynamics: Dynamics) -> None:
    """Refuse a state that has another energy here, whatever it is that differs."""
    if not dynamics.system.conservative:
        return
    energy = dynamics.system.energy_forces(dynamics.x)[0]
    known = dynamics.potential
    allowed = max(1e-3 * dynamics.kinetic, 1e-6 * abs(known), 1e-9)
    if not abs(energy - known) <= allowed:
        raise CheckpointError(
            f"the checkpoint's state had {known:.9g} eV of potential energy, here it has "
            f"{energy:.9g} eV: it belongs to another model; force it to go on all the same"
        )


def _write_summary(home: Path, dynamics: Dynamics, status: str, reason: str) -> None:
    import ase
    import numba
    import scipy

    import qc

    summary: dict[str, Any] = {
        "status": status,
        "reason": reason,
        "steps": dynamics.step,
        "time_fs": dynamics.time / units.fs,
        "timestep_fs": dynamics.timestep / units.fs,
        "seed": dynamics.seed,
        "unknowns": int(dynamics.system.free.sum()),
        "temperature_K": dynamics.temperature(),
        "ledger": dynamics.ledger.row(),
        "baths": [
            {"name": b.name, "kind": type(b).__name__, "noise": b.noise} for b in dynamics.baths
        ],
        "fingerprints": dynamics_fingerprints(dynamics),
        "versions": {
            "qc": qc.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "numba": numba.__version__,
            "ase": ase.__version__,
        },
        "threads": int(numba.get_num_threads()),
        "program": Path(sys.argv[0]).name,
    }
    write_atomically(home / "run.json", json.dumps(summary, indent=2) + "\n")
