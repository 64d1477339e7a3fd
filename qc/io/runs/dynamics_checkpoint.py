"""Checkpoints of molecular dynamics."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from qc.dynamics import Dynamics, Snapshot
from qc.errors import CheckpointError, InputError
from qc.io.runs.archive import MALFORMED
from qc.io.runs.identity import dynamics_fingerprints
from qc.io.runs.saved import read_saved, require_same, write_saved
from qc.numerics.checks import kind

WHAT = "dynamics"

#: Arrays of every state; the others are what it remembers besides.
_STATE = ("x", "v", "forces")
_MEMORY = "memory "

#: No run comes farther.
LAST_STEP = 2**62


def write_dynamics(path: str | os.PathLike[str], dynamics: Dynamics) -> Path:
    """Save the state of a run.

    Raises
    ------
    OutputError
        The file cannot be written; one that was there before is left intact.
    """
    kind("dynamics", dynamics, Dynamics)
    state = dynamics.snapshot()
    arrays = {"x": state.x, "v": state.v, "forces": state.forces}
    arrays |= {_MEMORY + name: array for name, array in state.extra.items()}
    facts = {"step": state.step, "potential": state.potential.hex(), "ledger": state.ledger}
    return write_saved(path, WHAT, arrays, facts, dynamics_fingerprints(dynamics))


def read_dynamics(
    path: str | os.PathLike[str], *, force: bool = False
) -> tuple[Snapshot, dict[str, str]]:
    """Read a checkpoint of dynamics: the state, and the fingerprints of what it belongs to.

    Beside them stands the ``processor`` that it was made on.

    Raises
    ------
    InputError
        The path is none.
    CheckpointError
        The file is missing, truncated, altered, no checkpoint of dynamics, or of another schema.
    """
    saved = read_saved(path, WHAT, force=force)
    facts, arrays = saved.facts, dict(saved.arrays)
    try:
        x, v, forces = (arrays.pop(name) for name in _STATE)
        state = Snapshot(
            step=int(facts["step"]),
            x=x,
            v=v,
            forces=forces,
            potential=float.fromhex(facts["potential"]),
            extra={name.removeprefix(_MEMORY): array for name, array in arrays.items()},
            ledger=dict(facts["ledger"]),
        )
        shapes = {array.shape for array in (x, v, forces)}
        placed = 0 <= state.step <= LAST_STEP
        if len(shapes) != 1 or x.ndim != 2 or x.shape[1] != 3 or not placed:
            raise ValueError(f"arrays of shapes {shapes} at step {state.step}")
        if not np.isfinite(state.potential):
            raise ValueError("an energy that is not finite")
    except MALFORMED as error:
        raise CheckpointError(f"checkpoint {path} is not understood: {error}") from error
    return state, {**saved.fingerprints, "processor": saved.processor}


def restore_dynamics(
    path: str | os.PathLike[str], dynamics: Dynamics, *, force: bool = False
) -> None:
    """Give a run the state of a checkpoint.

    Raises
    ------
    CheckpointError
        The state belongs to another system or to other settings; the message says in what it
        differs. Another number of nodes is never accepted.

    Notes
    -----
    A checkpoint made on another processor is taken, and a warning logged.
    """
    kind("dynamics", dynamics, Dynamics)
    state, found = read_dynamics(path, force=force)
    if state.x.shape != dynamics.x.shape:
        raise CheckpointError(
            f"the checkpoint holds {len(state.x)} nodes, the system has {len(dynamics.x)}"
        )
    made_on = found.pop("processor")
    require_same(found, dynamics_fingerprints(dynamics), made_on, force=force)
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
