"""Reading atoms from any file ASE knows, with errors that name the file."""

from __future__ import annotations

import lzma
import os
import warnings
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import ase.io
import numpy as np
from ase import Atoms
from ase.io.formats import open_with_compression

from qc.errors import InputError


def read_structure(
    path: str | os.PathLike[str], frame: int = -1, format: str | None = None
) -> Atoms:
    """Read one configuration from a file.

    Parameters
    ----------
    path : path-like
    frame : int
        Which configuration of several; the last by default.
    format : str, optional
        ASE's name of the format; found from name and content unless given.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    InputError
        The file is empty, of no known format, damaged, or holds no such frame or no atoms.
    """
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    if source.is_file() and source.stat().st_size == 0:
        raise InputError(f"{source.name}: the file is empty")
    _refuse_absurd_counts(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The suffix "@..." of a name would be an index to ASE.
            atoms = ase.io.read(source, index=frame, format=format, do_not_split_by_at_sign=True)
    except PermissionError:
        raise
    except (IndexError, StopIteration) as error:
        raise InputError(f"{source.name}: damaged, or it has no frame {frame}") from error
    # A hundred readers by many hands meet a bad file with a hundred kinds of exception.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{source.name}: cannot be read as atoms: {reason}") from error
    if not isinstance(atoms, Atoms):
        raise InputError(f"{source.name}: holds a {type(atoms).__name__}, not one set of atoms")
    if not len(atoms):
        raise InputError(f"{source.name}: holds no atoms")
    if not np.isfinite(atoms.positions).all():
        atom = int(np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))[0])
        raise InputError(f"{source.name}: the position of atom {atom} is NaN or infinite")
    return atoms


def _refuse_absurd_counts(path: Path) -> None:
    """Refuse an XYZ file or a LAMMPS dump that declares more atoms than it has lines.

    ASE's readers of the two count up to the declared number whatever the file holds, which for an
    absurd one takes for ever.
    """
    if not path.is_file():
        return
    try:
        with open_with_compression(str(path), "rb") as file:
            first = file.readline()
            counts = _dump_counts(file) if first.startswith(b"ITEM:") else _xyz_counts(file, first)
            for declared, held in counts:
                if declared > held:
                    raise InputError(
                        f"{path.name}: {declared} atoms are declared, but only {held} lines follow"
                    )
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        # Damaged compression: the reader itself says what is wrong.
        return


def _count(line: bytes) -> int:
    """Return a number of atoms, -1 where the line is none; absurdly many digits are a large one."""
    digits = line.strip()
    if not digits.isdigit():
        return -1
    return int(digits) if len(digits) < 18 else 10**18


def _xyz_counts(file: IO[bytes], line: bytes) -> Iterator[tuple[int, int]]:
    """Yield the declared atoms of each frame and the lines there are for them."""
    while (declared := _count(line)) >= 0:
        yield declared, sum(1 for _ in islice(file, declared + 1)) - 1
        line = file.readline()


def _dump_counts(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the declared atoms of each frame and the lines up to the next."""
    declared, held = -1, 0
    for line in file:
        held += 1
        if line.startswith(b"ITEM: NUMBER OF ATOMS"):
            if declared >= 0:
                yield declared, held
            declared, held = _count(file.readline()), 0
    if declared >= 0:
        yield declared, held
