"""Writing files so that a reader never meets half of one, and only where they belong."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

from qc.errors import OutputError
from qc.numerics.checks import kind

#: Temporary names: of a file, by a process.
_TEMPORARY = re.compile(r"\..+\.([0-9]{1,9})-[0-9a-f]{8}\.part")


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> Path:
    """Write a file under a temporary name and rename it into place.

    The file is flushed to the disk before the rename, so that after a crash, a kill or a full disk
    the path holds either what it held before or all of the new content.

    Parameters
    ----------
    path : path-like
        Its folder is made where it is missing.
    data : bytes or str
        Text is written as UTF-8.

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        The disk is full, permission is missing, or the path is a folder; the temporary file is
        removed and an existing file is left as it was.
    """
    kind("path", path, (str, os.PathLike))
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    made = False
    try:
        content = data.encode("utf-8") if isinstance(data, str) else data
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        made = True
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        made = False
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"{target} cannot be written: {reason}") from error
    finally:
        if made:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    return target


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files of writers that were killed; those of living ones stay.

    Parameters
    ----------
    folder : path-like
        Its own files only; one that does not exist has none.
    """
    kind("folder", folder, (str, os.PathLike))
    with contextlib.suppress(OSError, ValueError):
        for name in os.listdir(folder):
            match = _TEMPORARY.fullmatch(name)
            if match is not None and not _lives(int(match[1])):
                with contextlib.suppress(OSError):
                    os.unlink(Path(folder) / name)


def _lives(process: int) -> bool:
    """Whether a process of this number runs, as far as can be told."""
    if os.name != "posix":
        # There a signal of number 0 ends the process.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return process != os.getpid()


def shown_name(name: str) -> str:
    """Return the name of a file as one line of text that UTF-8 can hold: the rest is escaped."""
    text = os.fsencode(name).decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def path_inside(root: str | os.PathLike[str], path: str | os.PathLike[str], what: str) -> Path:
    """Return a path below a folder, refusing one that leads out of it.

    Parameters
    ----------
    root : path-like
        The folder that may be written to.
    path : path-like
        Relative to ``root``.
    what : str
        What the path is for, for the message.

    Raises
    ------
    OutputError
        The path is absolute, climbs out through ``..`` or follows a link that does.
    """
    base = Path(root).resolve()
    try:
        target = (base / path).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise OutputError(f"{what}: {str(path)!r} is no usable path: {error}") from error
    if not target.is_relative_to(base):
        raise OutputError(f"{what}: {str(path)!r} leads out of {base}")
    return target
