"""Checkpoints of a load path: npz without pickle, with a schema version and a checksum."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.coupling import QuasiContinuum
from qc.coupling.slaved import slaved_fractions
from qc.errors import CheckpointError, InputError
from qc.io.files import write_atomically
from qc.io.runs.archive import MALFORMED, pack, unpack
from qc.numerics.checks import kind, numbers
from qc.numerics.fingerprint import Fingerprint, processor
from qc.numerics.reading import read_regular
from qc.version import version

Array = NDArray[np.float64]

log = logging.getLogger(__name__)

#: What a checkpoint holds; raised when its meaning changes.
SCHEMA = 3

#: A longer file is no checkpoint, Bytes.
LONGEST = 1 << 35

#: Members of the archive besides the checksum, with the types they may have.
_MEMBERS = {"header": "|u1", "displacements": "<f8", "shifts": "<f8", "deformations": "<f8"}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A saved state of a model on a load path.

    Attributes
    ----------
    displacements : (n_nodes, 3) float64, Angstrom
        The correctors U.
    shifts : (n_q, n_s, 3) float64, Angstrom
        Sublattice shifts of the continuum's quadrature points; those of a Bravais lattice are
        zero.
    deformations : (k, 3, 3) float64
        Mean deformations of the steps begun so far; the state belongs to the last one.
    relaxing : bool
        The last step was interrupted, and the state is somewhere on its way.
    fingerprints : dict of str to str
        Hashes of what the state belongs to; see `fingerprints`.
    records : list of dict
        What is known about the finished steps.
    version : str
        Version of the package that wrote it.
    processor : str
        Where; see `qc.numerics.fingerprint.processor`.
    schema : int
    """

    displacements: Array
    shifts: Array
    deformations: Array
    relaxing: bool = False
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    records: Sequence[dict[str, Any]] = ()
    version: str = ""
    processor: str = ""
    schema: int = SCHEMA

    @property
    def next_step(self) -> int:
        """Index of the load step to go on with."""
        return len(self.deformations) - (1 if self.relaxing else 0)


def fingerprints(model: QuasiContinuum) -> dict[str, str]:
    """Return hashes of everything a state depends on, by name.

    ``potential``, ``mesh`` (lattice, elements, defects, held nodes), ``far field`` (without the
    mean deformation, which is the load) and ``scheme`` (with the blending region and the
    temperature, if there is one).
    """
    layout, mesh = model.layout, model.mesh
    digest = Fingerprint("mesh").add(
        model.crystal.cell, model.crystal.basis, mesh.lattice, mesh.elements, layout.free,
        layout.lattice, layout.sublattice, layout.positions[layout.extra], layout.types,
        layout.vacant, layout.extra,
    )  # fmt: skip
    blend = layout.blend
    scheme = Fingerprint(model.scheme.name).add(blend.core, blend.width, layout.beta_nodes)
    # A dead load is found anew with new samples; what it is made for is the temperature.
    thermal = model.thermal
    if thermal is not None:
        scheme.add(thermal.temperature, str(thermal.vibrations), thermal.deformation)
        if thermal.quasi_static is not None:
            scheme.add(slaved_fractions(layout, thermal.quasi_static))
    far_field = model.far_field.with_mean_deformation(np.eye(3))
    return {
        "potential": model.potential.fingerprint(),
        "mesh": digest.hex(),
        "far field": far_field.fingerprint(),
        "scheme": scheme.hex(),
    }


def write_checkpoint(
    path: str | os.PathLike[str],
    model: QuasiContinuum,
    deformations: ArrayLike | None = None,
    *,
    relaxing: bool = False,
    records: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Save the state of a model.

    Parameters
    ----------
    path : path-like
    model : QuasiContinuum
    deformations : (k, 3, 3) array_like, optional
        Mean deformations of the load steps up to this state; the model's own by default.
    relaxing : bool
        The last step is not finished.
    records : sequence of mapping
        What is known about the finished steps, as JSON can hold it.

    Raises
    ------
    InputError
        An argument of another kind or shape.
    OutputError
        The file cannot be written; one that was there before is left intact.
    """
    kind("model", model, QuasiContinuum)
    if deformations is None:
        deformations = [model.far_field.mean_deformation]
    path_so_far = numbers("deformations", deformations)
    if path_so_far.shape[-2:] != (3, 3):
        raise InputError(f"deformations must have shape (k, 3, 3), got {path_so_far.shape}")
    path_so_far = path_so_far.reshape(-1, 3, 3)
    header = {
        "what": "qc checkpoint",
        "schema": SCHEMA,
        "version": version(),
        "processor": processor(),
        "relaxing": bool(relaxing),
        "fingerprints": fingerprints(model),
    }
    try:
        text = json.dumps(header | {"records": [dict(r) for r in records]})
    except (TypeError, ValueError) as error:
        raise InputError(f"records: JSON cannot hold them: {error}") from error
    members = {
        "header": np.frombuffer(text.encode(), dtype=np.uint8),
        "displacements": np.ascontiguousarray(model.U, dtype="<f8"),
        "shifts": np.ascontiguousarray(model.shifts, dtype="<f8"),
        "deformations": np.ascontiguousarray(path_so_far, dtype="<f8"),
    }
    return write_atomically(path, pack(members))


def read_checkpoint(path: str | os.PathLike[str], *, force: bool = False) -> Checkpoint:
    """Read a checkpoint.

    Parameters
    ----------
    path : path-like
    force : bool
        Accept another schema version.

    Raises
    ------
    InputError
        The path is none.
    CheckpointError
        The file is missing, truncated, altered, no checkpoint, of another schema version, or
        holds anything but plain numbers.
    """
    return parse_checkpoint(read_raw(path), str(path), force=force)


def read_raw(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a checkpoint.

    Raises
    ------
    InputError
        The path is none.
    CheckpointError
        The file is missing, no regular file, longer than `LONGEST`, or cannot be read.
    """
    kind("path", path, (str, os.PathLike))
    try:
        return read_regular(path, LONGEST, CheckpointError)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"checkpoint {path}: {reason}") from error


def parse_checkpoint(raw: bytes, name: str = "checkpoint", *, force: bool = False) -> Checkpoint:
    """Read a checkpoint from its bytes; as `read_checkpoint`."""
    members = unpack(raw, _MEMBERS, name)
    try:
        header = json.loads(members["header"].tobytes().decode("utf-8"))
        found = Checkpoint(
            displacements=members["displacements"].copy(),
            shifts=members["shifts"].copy(),
            deformations=members["deformations"].copy(),
            relaxing=header["relaxing"] is True,
            fingerprints={str(k): str(v) for k, v in header["fingerprints"].items()},
            records=[dict(r) for r in header["records"]],
            version=str(header["version"]),
            processor=str(header["processor"]),
            schema=int(header["schema"]),
        )
        arrays = found.displacements, found.deformations, found.shifts
        sizes = [array.shape for array in arrays]
        right = len(sizes[0]) == 2 and sizes[0][1] == 3
        right &= len(sizes[1]) == 3 and sizes[1][1:] == (3, 3)
        if not right or len(sizes[2]) != 3 or sizes[2][2] != 3:
            raise ValueError(f"arrays of shapes {', '.join(map(str, sizes))}")
        if not len(found.deformations):
            raise ValueError("no load step")
    except MALFORMED as error:
        raise CheckpointError(f"checkpoint {name} is not understood: {error}") from error
    if found.schema != SCHEMA and not force:
        raise CheckpointError(
            f"checkpoint {name} was written by version {found.version} with schema "
            f"{found.schema}; this version reads schema {SCHEMA}. Force it to try all the same"
        )
    if not all(np.isfinite(array).all() for array in arrays):
        raise CheckpointError(f"checkpoint {name} holds NaN or infinite numbers")
    return found


def restore(checkpoint: Checkpoint, model: QuasiContinuum, *, force: bool = False) -> None:
    """Give a model the state of a checkpoint.

    Parameters
    ----------
    checkpoint : Checkpoint
    model : QuasiContinuum
        Its correctors are replaced.
    force : bool
        Accept another potential, far field or scheme. Another number of nodes is never accepted.

    Raises
    ------
    CheckpointError
        The state belongs to another model; the message says in what it differs.

    Notes
    -----
    A checkpoint made on another processor is taken, and a warning logged.
    """
    kind("checkpoint", checkpoint, Checkpoint)
    kind("model", model, QuasiContinuum)
    own = fingerprints(model)
    differing = [k for k, v in own.items() if checkpoint.fingerprints.get(k) != v]
    if checkpoint.displacements.shape != model.U.shape:
        raise CheckpointError(
            f"the checkpoint holds {len(checkpoint.displacements)} nodes, the model has "
            f"{len(model.U)}: it belongs to another mesh"
        )
    if differing and not force:
        raise of_another(differing)
    say_where(checkpoint.processor)
    model.U = checkpoint.displacements.copy()
    if checkpoint.shifts.shape == model.shifts.shape:
        model.shifts = checkpoint.shifts


def of_another(parts: Sequence[str]) -> CheckpointError:
    """Return the error for a checkpoint whose model or settings differ in some parts."""
    return CheckpointError(
        f"the checkpoint belongs to another {' and '.join(parts)}; force it to go on all the same "
        "(force=True, or --force at the command line)"
    )


def say_where(made_on: str) -> None:
    """Log a warning if a checkpoint was made on another processor, with other last bits."""
    here = processor()
    if made_on != here:
        log.warning(
            "the checkpoint was made on another processor (%s; this is %s): the run goes on, and "
            "agrees with an uninterrupted one to round-off instead of the last bit",
            made_on,
            here,
        )


def check_path(checkpoint: Checkpoint, deformations: ArrayLike, *, force: bool = False) -> None:
    """Check that a load path begins with the steps that a checkpoint has behind it.

    Raises
    ------
    CheckpointError
        A step differs, or the path is shorter than what was done.
    """
    path = np.asarray(deformations, dtype=np.float64).reshape(-1, 3, 3)
    behind = checkpoint.deformations
    if len(behind) > len(path):
        raise CheckpointError(
            f"the checkpoint has {len(behind)} load steps behind it, the path only {len(path)}"
        )
    # Steps may have been computed on another processor.
    differ = np.flatnonzero(np.abs(path[: len(behind)] - behind).max(axis=(1, 2)) > 1e-12)
    if len(differ) and not force:
        raise CheckpointError(
            f"load step {differ[0]} differs from the one in the checkpoint; force it to go on "
            "all the same"
        )
