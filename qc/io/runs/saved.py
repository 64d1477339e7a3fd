"""What is saved of a run, whatever its kind: arrays, facts, and what they belong to."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qc.errors import CheckpointError
from qc.io.files import write_atomically
from qc.io.runs.archive import MALFORMED, Array, pack, unpack
from qc.numerics.checks import kind
from qc.numerics.fingerprint import processor
from qc.numerics.reading import read_regular
from qc.version import version

log = logging.getLogger(__name__)

#: What a checkpoint holds; raised when its meaning changes.
SCHEMA = 4

#: A longer file is no checkpoint, Bytes.
LONGEST = 1 << 35


@dataclass(frozen=True, eq=False)
class Saved:
    """A checkpoint of any kind of run, its arrays and facts such as JSON holds.

    ``what`` is its kind, ``"a load path"`` or ``"dynamics"``; the others are as in `Checkpoint`.
    """

    what: str
    arrays: Mapping[str, Array]
    facts: Mapping[str, Any]
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    processor: str = ""
    schema: int = SCHEMA


def write_saved(
    path: str | os.PathLike[str],
    what: str,
    arrays: Mapping[str, Array],
    facts: Mapping[str, Any],
    fingerprints: Mapping[str, str],
) -> Path:
    """Write a checkpoint: the whole of it, or nothing."""
    header = {
        "what": what,
        "schema": SCHEMA,
        "version": version(),
        "processor": processor(),
        "fingerprints": dict(fingerprints),
        "facts": dict(facts),
        "arrays": sorted(arrays),
    }
    return write_atomically(path, pack(header, arrays))


def read_saved(path: str | os.PathLike[str], what: str, *, force: bool = False) -> Saved:
    """Read a checkpoint of a kind; see `parse_saved`.

    CheckpointError is also what comes of a file that is missing, no regular one, longer than
    `LONGEST`, or cannot be read.
    """
    kind("path", path, (str, os.PathLike))
    try:
        raw = read_regular(path, LONGEST, CheckpointError)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from error
    return parse_saved(raw, what, str(path), force=force)


def parse_saved(raw: bytes, what: str, name: str, *, force: bool = False) -> Saved:
    """Read a checkpoint of a kind from its bytes; ``name`` is what messages call it.

    Raises
    ------
    CheckpointError
        Truncated, altered, of another kind of run or (unless forced) another schema version, or it
        holds anything but plain, finite numbers.
    """
    header, arrays = unpack(raw, name)
    try:
        schema, written_by = int(header["schema"]), str(header["version"])
        if schema != SCHEMA and not force:
            raise CheckpointError(
                f"checkpoint {name} was written by version {written_by} with schema {schema}; this "
                f"version reads schema {SCHEMA}. Force it to try all the same"
            )
        if header["arrays"] != sorted(arrays):
            raise ValueError("it holds other members than it names")
        found = Saved(
            what=str(header["what"]),
            arrays=arrays,
            facts=dict(header["facts"]),
            fingerprints={str(k): str(v) for k, v in header["fingerprints"].items()},
            version=written_by,
            processor=str(header["processor"]),
            schema=schema,
        )
    except MALFORMED as error:
        raise CheckpointError(f"checkpoint {name} is not understood: {error}") from error
    if found.what != what:
        raise CheckpointError(f"checkpoint {name} is one of {found.what}, not of {what}")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise CheckpointError(f"checkpoint {name} holds NaN or infinite numbers")
    return found


def require_same(
    fingerprints: Mapping[str, str], own: Mapping[str, str], made_on: str, *, force: bool = False
) -> None:
    """Refuse a checkpoint that belongs to something else; say so if it is of another processor.

    Compared are its fingerprints with the ``own`` ones of what is to take it; the message of the
    CheckpointError says in what they differ. With ``force`` it is taken all the same.
    """
    differing = [name for name, value in own.items() if fingerprints.get(name) != value]
    if differing and not force:
        raise CheckpointError(
            f"the checkpoint belongs to another {' and '.join(differing)}; force it to go on all "
            "the same (force=True, or --force at the command line)"
        )
    here = processor()
    if made_on != here:
        log.warning(
            "the checkpoint was made on another processor (%s; this is %s): the run goes on, and "
            "agrees with an uninterrupted one to round-off instead of the last bit",
            made_on,
            here,
        )
