"""Checked archives: a JSON header and named arrays in an npz without pickle, with a checksum."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qc.errors import CheckpointError, InputError

Array = NDArray[np.float64]

#: A header longer than this is no header, Bytes.
LONGEST_HEADER = 64 << 20

#: What reading a header raises whose entries are missing, of other types or out of range.
MALFORMED = (
    ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError,
)  # fmt: skip

#: Members besides the arrays, and their type; arrays are float64.
_BYTES, _NUMBERS = "|u1", "<f8"
_OWN = ("header", "checksum")

_NPY_HEADER = re.compile(
    rb"\{'descr': '([<|][a-z][0-9]{1,2})', 'fortran_order': False, "
    rb"'shape': \(((?:[0-9]{1,18}, ?)*(?:[0-9]{1,18})?)\), \}[ ]*\n"
)


def pack(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Return the bytes of an archive; InputError for a header that JSON cannot hold."""
    try:
        text = json.dumps(dict(header))
    except (TypeError, ValueError) as error:
        raise InputError(f"JSON cannot hold what is to be saved: {error}") from error
    members: dict[str, NDArray] = {"header": np.frombuffer(text.encode(), dtype=np.uint8)}
    for name, array in arrays.items():
        members[name] = np.ascontiguousarray(array, dtype=_NUMBERS)
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, checksum=checksum(members), **members)
    return stream.getvalue()


def unpack(raw: bytes, name: str = "checkpoint") -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the header and the arrays of an archive, which messages call by its name.

    Raises
    ------
    CheckpointError
        The bytes are truncated or altered, or hold anything but a header and plain numbers.
    """
    try:
        members = _members(raw)
        if not np.array_equal(checksum(members), members.pop("checksum")):
            raise CheckpointError("it is damaged: its checksum does not match")
        header = json.loads(members.pop("header").tobytes().decode("utf-8"))
        if not isinstance(header, dict):
            raise CheckpointError("its header is no table")
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {name}: {error}") from error
    # Whatever a damaged archive makes the zip reader trip over, it is a damaged archive.
    except Exception as error:
        raise CheckpointError(f"checkpoint {name} is truncated or damaged: {error}") from error
    return header, {name: array.copy() for name, array in members.items()}


def checksum(members: Mapping[str, NDArray]) -> NDArray[np.uint8]:
    """Return the checksum of all members but itself, (32,) bytes."""
    digest = hashlib.sha256()
    for name in sorted(set(members) - {"checksum"}):
        array = members[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return np.frombuffer(digest.digest(), dtype=np.uint8)


def _members(raw: bytes) -> dict[str, NDArray]:
    """Read all members; nothing is allocated that the file does not hold."""
    out: dict[str, NDArray] = {}
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        plain = all(file.endswith(".npy") for file in entries)
        own = all(f"{name}.npy" in entries for name in _OWN)
        if not plain or not own or len(archive.infolist()) != len(entries):
            raise CheckpointError("not a checkpoint: it holds other members")
        for file, entry in entries.items():
            # Stored members are as long as the bytes in the file: no bomb can hide in them.
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > len(raw):
                raise CheckpointError(f"member {file} declares an impossible size")
            name = file.removesuffix(".npy")
            out[name] = _array(archive.read(entry), _BYTES if name in _OWN else _NUMBERS, name)
    if out["header"].nbytes > LONGEST_HEADER:
        raise CheckpointError("its header is absurdly long")
    return out


def _array(raw: bytes, kind: str, name: str) -> NDArray:
    """Parse one npy member of a known type; no pickle, no evaluation."""
    if raw[:8] != b"\x93NUMPY\x01\x00":
        raise CheckpointError(f"member {name} is no npy array of version 1.0")
    (length,) = struct.unpack_from("<H", raw, 8)
    match = _NPY_HEADER.fullmatch(raw[10 : 10 + length])
    if match is None or match[1].decode() != kind:
        raise CheckpointError(
            f"member {name} does not hold plain numbers of type {kind}; objects are refused"
        )
    shape = tuple(int(v) for v in match[2].replace(b" ", b"").split(b",") if v)
    body = memoryview(raw)[10 + length :]
    dtype = np.dtype(kind)
    if math.prod(shape) * dtype.itemsize != len(body):
        raise CheckpointError(
            f"member {name} declares the shape {shape} but holds {len(body)} bytes"
        )
    return np.frombuffer(body, dtype=dtype).reshape(shape)
