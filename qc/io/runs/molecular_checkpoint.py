"""Checkpoints of molecular dynamics, and what tells a run from another."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qc.dynamics import Dynamics, Snapshot
from qc.errors import CheckpointError, InputError
from qc.io.files import write_atomically
from qc.io.runs.archive import MALFORMED, pack, unpack
from qc.io.runs.checkpoint import fingerprints, of_another, read_raw, say_where
from qc.numerics.checks import kind
from qc.numerics.fingerprint import Fingerprint, fingerprint, processor
from qc.version import version

#: What a checkpoint of dynamics holds; raised when its meaning changes.
SCHEMA = 2

_KINDS = {
    "header": "|u1", "x": "<f8", "v": "<f8", "forces": "<f8", "field": "<f8", "shifts": "<f8",
    "list": "<f8",
}  # fmt: skip


#: Members that may be empty.
_OPTIONAL = ("field", "shifts", "list")

#: No run comes farther.
LAST_STEP = 2**62


def dynamics_fingerprints(dynamics: Dynamics) -> dict[str, str]:
    """Return hashes of everything a run depends on: the model or atoms, and the settings."""
    system = dynamics.system
    model = system.model
    out = {} if model is None else fingerprints(model)
    mass = Fingerprint("mass").add(system.masses, system.free)
    atoms = system.atoms
    if atoms is not None:
        out["calculator"] = fingerprint("calculator", _describe_calculator(atoms.calc))
        mass.add(atoms.numbers, np.array(atoms.cell), atoms.pbc)
    out["mass"] = mass.hex()
    out["time step"] = fingerprint("time step", [dynamics.timestep])
    out["seed"] = str(dynamics.seed)
    for bath in dynamics.baths:
        out[f"bath '{bath.name}'"] = bath.fingerprint()
    # Noise goes by the order of the baths.
    out["set of baths"] = "; ".join(bath.name for bath in dynamics.baths)
    if dynamics.field is not None:
        stepping = f"{dynamics.conduct_every} {dynamics.close_field}"
        out["heat field"] = f"{dynamics.field.fingerprint()} {stepping}"
    else:
        out["heat field"] = "none"
    driven: set[int] | None = set()
    drives = Fingerprint("drives")
    for drive in dynamics.drives:
        drives.add(type(drive).__name__, *drive.described(dynamics.timestep))
        if drive.index is None:
            driven = None  # It may change any of them.
        elif driven is not None:
            driven.add(drive.index)
    out["moving load"] = drives.hex()
    if model is not None and driven is not None:
        still = [load for k, load in enumerate(model.loads) if k not in driven]
        loads = Fingerprint("loads").add(*(part for load in still for part in load.described()))
        # That of a mean force is made anew for every run, and may then differ by its samples.
        loads.add("thermal" if np.any(model.coupling.load) else "")
        out["load"] = loads.hex()
        out["deformation"] = fingerprint("deformation", [model.far_field.mean_deformation])
    return out


def _describe_calculator(calculator: object) -> list[Any]:
    """Return what kind of calculator it is, and those of its parameters that are plain values."""
    parts: list[Any] = [type(calculator).__qualname__]
    of_potential = getattr(getattr(calculator, "potential", None), "fingerprint", None)
    if callable(of_potential):
        parts.append(str(of_potential()))
    given = getattr(calculator, "parameters", None)
    if isinstance(given, Mapping):
        plain = {k: v for k, v in given.items() if isinstance(v, str | bool | int | float)}
        for k in sorted(plain, key=str):
            parts += [str(k), plain[k]]
    return parts


def write_dynamics(path: str | os.PathLike[str], dynamics: Dynamics) -> Path:
    """Save the state of a run.

    Raises
    ------
    OutputError
        The file cannot be written; one that was there before is left intact.
    """
    kind("dynamics", dynamics, Dynamics)
    state = dynamics.snapshot()
    header = {
        "what": "qc dynamics",
        "schema": SCHEMA,
        "version": version(),
        "processor": processor(),
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

    Beside them stands the ``processor`` that it was made on.

    Raises
    ------
    InputError
        The path is none.
    CheckpointError
        The file is missing, truncated, altered, no checkpoint of dynamics, or of another schema.
    """
    name = str(path)
    raw = read_raw(path)
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
        placed = 0 <= state.step <= LAST_STEP
        if len(shapes) != 1 or state.x.ndim != 2 or state.x.shape[1] != 3 or not placed:
            raise ValueError(f"arrays of shapes {shapes} at step {state.step}")
        found = {str(k): str(v) for k, v in header["fingerprints"].items()}
        found["processor"] = str(header["processor"])
    except MALFORMED as error:
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

    Notes
    -----
    A checkpoint made on another processor is taken, and a warning logged.
    """
    kind("dynamics", dynamics, Dynamics)
    state, found = read_dynamics(path, force=force)
    own = dynamics_fingerprints(dynamics)
    made_on = found.pop("processor")
    differing = [k for k, v in own.items() if found.get(k) != v]
    if state.x.shape != dynamics.x.shape:
        raise CheckpointError(
            f"the checkpoint holds {len(state.x)} nodes, the system has {len(dynamics.x)}"
        )
    if differing and not force:
        raise of_another(differing)
    say_where(made_on)
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
