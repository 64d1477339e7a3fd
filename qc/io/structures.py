"""Reading atoms from any file ASE knows, and from LAMMPS, with errors that name the file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.io.formats import open_with_compression

from qc.errors import InputError
from qc.io import lammps
from qc.io.structure_checks import DAMAGED, check_counts, check_size
from qc.numerics.checks import kind

#: Bytes by which a LAMMPS file is known: the header of a data file lies in them.
_HEAD = 1 << 16


def read_structure(
    path: str | os.PathLike[str],
    frame: int = -1,
    format: str | None = None,
    elements: str | Sequence[str] | None = None,
) -> Atoms:
    """Read one configuration from a file.

    Dumps and data files of LAMMPS are known by their content, whatever their name. Their types are
    numbers: ``elements`` says what these are, unless the file does. ``info["elements"]`` tells
    where they are from; a guess from masses is logged as a warning.

    Parameters
    ----------
    path : path-like
    frame : int
        Which configuration of several; the last by default.
    format : str, optional
        ASE's name of the format; found from name and content unless given.
    elements : sequence of str or str, optional
        Elements of the types 1, 2, ... of a LAMMPS file; ``("Ni", "Al")`` or ``"Ni,Al"``.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    InputError
        The file is empty, of no known format, damaged, no regular file or absurdly long, declares
        more than it holds, or has no such frame or no atoms; its types are not known as elements,
        or elements are given for a file that has no types.
    """
    kind("path", path, (str, os.PathLike))
    source = Path(path)
    names = lammps.parse_elements(elements)
    if not source.exists():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    if source.is_file() and source.stat().st_size == 0:
        raise InputError(f"{source.name}: the file is empty")
    if not source.is_dir():
        check_size(source)
    read = _lammps_reader(source, frame, format, names)
    if read is None:
        if names is not None:
            raise InputError(
                f"{source.name}: elements can be given for files of LAMMPS only; this one names "
                "its own"
            )
        if not source.is_dir():
            check_counts(source)
        # The suffix "@..." of a name would be an index to ASE.
        read = partial(ase.io.read, source, frame, format, do_not_split_by_at_sign=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            atoms = read()
    except (PermissionError, InputError):
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


def _lammps_reader(
    path: Path, frame: int, format: str | None, elements: tuple[str, ...] | None
) -> Callable[[], Any] | None:
    """Return what reads a file of LAMMPS, None for any other."""
    if not path.is_file():
        return None
    try:
        with open_with_compression(str(path), "rb") as file:
            head = file.read(_HEAD)
    except DAMAGED:
        return None
    if format in (None, "lammps-dump-binary"):
        lammps.refuse_unreadable(head, path.name)
    if format == "lammps-dump-text" or (format is None and lammps.is_dump(head)):
        return lambda: lammps.read_dump(path, frame, elements)
    if format == "lammps-data" or (format is None and lammps.is_data(head)):
        if frame not in (0, -1):
            raise InputError(f"{path.name}: it has no frame {frame}; a data file holds one")
        return lambda: lammps.read_data(path, elements)
    return None
