"""Hashes of what a state depends on, the same on every processor, and the name of this one."""

from __future__ import annotations

import hashlib
import importlib
import platform
from collections.abc import Iterable
from typing import Any

import numpy as np
from numba.core.registry import cpu_target

#: Bits kept of a few numbers (nine digits) and of a table (seven).
FEW_BITS, TABLE_BITS = 30, 24

#: Arrays of more values than this are tables.
FEW = 128

#: Numbers below this part of the largest of their array are round-off, and count as zero.
FLOOR = 1e-12


class Fingerprint:
    """A hash of strings, integers and numbers that does not hang on the numbers' last bits.

    Computed numbers differ from one processor to another, since vector instructions round exp, pow
    or a sum in their own way. Floating-point numbers are therefore rounded to `FEW_BITS` or
    `TABLE_BITS` before they are hashed. Two values that straddle a boundary of that rounding by
    chance give two hashes: for a table of ten thousand values whose last three bits are noise that
    happens once in a million times, and never for numbers that were read or typed.

    Parameters
    ----------
    kind : str
        What the hash is of; part of it.
    """

    def __init__(self, kind: str) -> None:
        self._digest = hashlib.sha256(kind.encode())

    def add(self, *items: Any) -> Fingerprint:
        """Take in strings, bytes, numbers and arrays, their shapes included."""
        for item in items:
            if isinstance(item, str | bytes):
                raw = item.encode() if isinstance(item, str) else item
                self._digest.update(f"text {len(raw)} ".encode() + raw)
                continue
            values = np.asarray(item)
            floating = values.dtype.kind == "f"
            values = rounded(values) if floating else values.astype(np.int64)
            self._digest.update(f"{values.dtype.kind} {values.shape} ".encode())
            self._digest.update(np.ascontiguousarray(values).tobytes())
        return self

    def hex(self) -> str:
        """Return the hash, 64 hexadecimal digits."""
        return self._digest.hexdigest()


def fingerprint(kind: str, items: Iterable[Any]) -> str:
    """Return the hash of some items; see `Fingerprint`."""
    return Fingerprint(kind).add(*items).hex()


def rounded(values: np.ndarray) -> np.ndarray:
    """Return float64 numbers rounded to the bits that count, without negative zeros."""
    x = np.asarray(values, dtype=np.float64)
    bits = FEW_BITS if x.size <= FEW else TABLE_BITS
    mantissa, exponent = np.frexp(x)
    finite = np.isfinite(x)
    kept = np.where(finite, np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits), x)
    largest = np.abs(np.where(finite, x, 0.0)).max(initial=0.0)
    return np.where(np.abs(kept) < FLOOR * largest, 0.0, kept) + 0.0


def processor() -> str:
    """Return what decides the last bits of results here: the processor as kernels and numpy see it.

    States and energies repeat to the last bit only where this is the same; elsewhere they agree to
    round-off.
    """
    cpu = cpu_target.target_context.codegen().magic_tuple()[1]
    # What `numpy.show_runtime` prints, which has no other public name.
    seen = vars(importlib.import_module("numpy._core._multiarray_umath"))
    vectors = [name for name in seen["__cpu_dispatch__"] if seen["__cpu_features__"][name]]
    return f"{platform.machine()} {cpu}, numpy {' '.join(vectors) or 'baseline'}"
