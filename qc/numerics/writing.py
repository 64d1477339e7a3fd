"""Writing a file so that a reader never meets half of one."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from qc.errors import OutputError
from qc.numerics.checks import kind


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> Path:
    """Write a file under a temporary name and rename it into place; its folder is made if need be.

    The file is flushed to the disk before the rename, so that after a crash, a kill or a full disk
    the path holds either what it held before or all of the new content. Text is written as UTF-8.

    Raises
    ------
    OutputError
        The disk is full, permission is missing, or the path is empty or a folder; the temporary
        file is removed and an existing file is left as it was.
    """
    kind("path", path, (str, os.PathLike))
    target = Path(path)
    made = False
    try:
        temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
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
