"""Checkpoints of a load path: the state of a model, and the steps that led there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.coupling import QuasiContinuum
from qc.errors import CheckpointError, InputError
from qc.io.runs.archive import MALFORMED
from qc.io.runs.identity import fingerprints
from qc.io.runs.saved import Saved, parse_saved, read_saved, require_same, write_saved
from qc.numerics.checks import kind, numbers

Array = NDArray[np.float64]

WHAT = "a load path"


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
    path : (k, ...) float64
        Values of the steps begun so far: mean deformations (k, 3, 3), or what else changes from
        step to step. The state belongs to the last one.
    relaxing : bool
        The last step was interrupted, and the state is somewhere on its way.
    fingerprints : dict of str to str
        Hashes of what the state belongs to; see `qc.io.runs.identity`.
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
    path: Array
    relaxing: bool = False
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    records: Sequence[dict[str, Any]] = ()
    version: str = ""
    processor: str = ""
    schema: int = 0

    @property
    def next_step(self) -> int:
        """Index of the load step to go on with."""
        return len(self.path) - (1 if self.relaxing else 0)


def write_checkpoint(
    path: str | os.PathLike[str],
    model: QuasiContinuum,
    values: ArrayLike | None = None,
    *,
    relaxing: bool = False,
    records: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Save the state of a model.

    Parameters
    ----------
    path : path-like
    model : QuasiContinuum
    values : (k, ...) array_like, optional
        Values of the load steps up to this state, mean deformations (k, 3, 3) say; the model's
        own mean deformation by default.
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
    so_far = numbers("values", [model.far_field.mean_deformation] if values is None else values)
    if so_far.ndim == 0 or not len(so_far):
        raise InputError("values must have one entry for each load step")
    arrays = {"displacements": model.U, "shifts": model.shifts, "path": so_far}
    facts = {"relaxing": bool(relaxing), "records": [dict(r) for r in records]}
    return write_saved(path, WHAT, arrays, facts, fingerprints(model))


def read_checkpoint(path: str | os.PathLike[str], *, force: bool = False) -> Checkpoint:
    """Read a checkpoint of a load path.

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
        The file is missing, truncated, altered, no checkpoint of a load path, of another schema
        version, or holds anything but plain numbers.
    """
    return _understood(read_saved(path, WHAT, force=force), str(path))


def parse_checkpoint(raw: bytes, name: str = "checkpoint", *, force: bool = False) -> Checkpoint:
    """Read a checkpoint from its bytes; as `read_checkpoint`."""
    return _understood(parse_saved(raw, WHAT, name, force=force), name)


def _understood(saved: Saved, name: str) -> Checkpoint:
    try:
        found = Checkpoint(
            displacements=saved.arrays["displacements"],
            shifts=saved.arrays["shifts"],
            path=saved.arrays["path"],
            relaxing=saved.facts["relaxing"] is True,
            fingerprints=saved.fingerprints,
            records=[dict(r) for r in saved.facts["records"]],
            version=saved.version,
            processor=saved.processor,
            schema=saved.schema,
        )
        sizes = found.displacements.shape, found.shifts.shape, found.path.shape
        if len(sizes[0]) != 2 or len(sizes[1]) != 3 or sizes[0][1:] + sizes[1][2:] != (3, 3):
            raise ValueError(f"arrays of shapes {', '.join(map(str, sizes))}")
        if not sizes[2] or not sizes[2][0]:
            raise ValueError("no load step")
    except MALFORMED as error:
        raise CheckpointError(f"checkpoint {name} is not understood: {error}") from error
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
    if checkpoint.displacements.shape != model.U.shape:
        raise CheckpointError(
            f"the checkpoint holds {len(checkpoint.displacements)} nodes, the model has "
            f"{len(model.U)}: it belongs to another mesh"
        )
    require_same(checkpoint.fingerprints, fingerprints(model), checkpoint.processor, force=force)
    model.U = checkpoint.displacements.copy()
    if checkpoint.shifts.shape == model.shifts.shape:
        model.shifts = checkpoint.shifts


def check_path(checkpoint: Checkpoint, values: ArrayLike, *, force: bool = False) -> None:
    """Check that a load path begins with the steps that a checkpoint has behind it.

    CheckpointError: a step differs, or the path is shorter than what was done.
    """
    path, behind = np.asarray(values, dtype=np.float64), checkpoint.path
    if len(behind) > len(path):
        raise CheckpointError(
            f"the checkpoint has {len(behind)} load steps behind it, the path only {len(path)}"
        )
    if force:
        return
    if path.shape[1:] != behind.shape[1:]:
        raise CheckpointError("the checkpoint is of a path of other loads")
    # Steps may have been computed on another processor.
    off = np.abs(path[: len(behind)] - behind).reshape(len(behind), -1).max(axis=1)
    if (off > 1e-12).any():
        raise CheckpointError(
            f"load step {np.flatnonzero(off > 1e-12)[0]} differs from the one in the checkpoint; "
            "force it to go on all the same"
        )
