"""Reading files that may be devices, pipes, or of absurd length."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from qc.errors import InputError


def require_regular(
    path: str | os.PathLike[str], most: int, error: type[Exception] = InputError
) -> None:
    """Refuse what is no regular file, before it is opened, and what has more bytes than a limit.

    A device may have no end, and opening a pipe waits for its writer.

    Raises
    ------
    InputError
        Or the class given: a device, pipe or socket; more bytes than the limit.
    OSError
        There is no such file, or it is a folder.
    """
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(21, "Is a directory", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise error(f"{path}: a device, pipe or socket, not a regular file")
    if found.st_size > most:
        raise error(f"{path}: {found.st_size} bytes, which is too long: the most is {most}")


def read_regular(
    path: str | os.PathLike[str], most: int, error: type[Exception] = InputError
) -> bytes:
    """Return the bytes of a regular file; parameters and errors as `require_regular`."""
    require_regular(path, most, error)
    return Path(path).read_bytes()
