"""Writing files so that a reader never meets half of one, and only where they belong."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from qc.errors import OutputError
from qc.numerics.checks import kind
from qc.numerics.writing import write_atomically as write_atomically

#: Temporary names: of a file, by a process.
_TEMPORARY = re.compile(r"\..+\.([0-9]{1,9})-[0-9a-f]{8}\.part")


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files that killed writers left in a folder, not those of living ones."""
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


@contextlib.contextmanager
def output_errors(path: Path, done: str = "written") -> Iterator[None]:
    """Turn what goes wrong with a file on the way out into an OutputError that names it."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be {done}: {error.strerror}") from error


def shown_name(name: str) -> str:
    """Return the name of a file as one line of text that UTF-8 can hold: the rest is escaped."""
    text = os.fsencode(name).decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def path_inside(root: str | os.PathLike[str], path: str | os.PathLike[str], what: str) -> Path:
    """Return a path below a folder, refusing one that leads out of it.

    OutputError, which says ``what`` the path is for: it is absolute, climbs out through ``..`` or
    follows a link that does.
    """
    base = Path(root).resolve()
    try:
        target = (base / path).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise OutputError(f"{what}: {str(path)!r} is no usable path: {error}") from error
    if not target.is_relative_to(base):
        raise OutputError(f"{what}: {str(path)!r} leads out of {base}")
    return target
