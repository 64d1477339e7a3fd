"""What a file of atoms declares, compared with what it holds, before a reader believes it.

ASE's readers count up to the declared number of atoms or columns whatever the file holds, which for
an absurd one takes for ever.
"""

from __future__ import annotations

import itertools
import lzma
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from ase.io.formats import filetype, open_with_compression

from qc.errors import InputError
from qc.numerics.reading import require_regular

#: Files longer than this are refused, unpacked or packed, Bytes.
LONGEST = 1 << 31

#: A line longer than this is no line of a text file, Bytes.
LONGEST_LINE = 1 << 20

#: More than this many times a packed file's size, and more than `SMALL` bytes, are no atoms.
MOST_PACKED, SMALL = 300, 1 << 26

#: Suffixes of the packed files that ASE reads.
PACKED = (".gz", ".bz2", ".xz")

#: What damaged compression raises; the reader itself says what is wrong.
DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)

#: Lines of a file's head in which numbers of atoms are looked for.
HEAD = 40

_PROPERTIES = re.compile(rb"properties\s*=\s*[\"']?([^\"'\s]+)", re.IGNORECASE)


def check_size(path: Path) -> None:
    """Refuse a file that is no regular one, too long, or unpacks to far more than its size."""
    require_regular(path, LONGEST)
    packed = path.stat().st_size
    if path.suffix not in PACKED:
        return
    most = min(LONGEST, max(SMALL, MOST_PACKED * packed))
    size = 0
    with suppress(*DAMAGED), open_with_compression(str(path), "rb") as file:
        while piece := file.read(1 << 20):
            size += len(piece)
            if size > most:
                raise InputError(
                    f"{path.name}: its {packed} bytes unpack to more than {most}, which no file "
                    "of atoms does"
                )


def check_counts(path: Path) -> None:
    """Refuse a file that declares more atoms or columns than it holds, or has an endless line."""
    with suppress(*DAMAGED), open_with_compression(str(path), "rb") as file:
        first = file.readline(LONGEST_LINE + 1)
        if len(first) > LONGEST_LINE and _format(path) not in _TEXT:
            return
        _require_short(first, path)
        if _count(first) >= 0:
            _check_xyz(file, first, path)
        else:
            _check_head(file, first, path)


def _require_short(line: bytes, path: Path) -> None:
    if len(line) > LONGEST_LINE:
        raise InputError(f"{path.name}: a line of more than {LONGEST_LINE} bytes")


def _line(file: IO[bytes], path: Path) -> bytes:
    line = file.readline(LONGEST_LINE + 1)
    _require_short(line, path)
    return line


def _format(path: Path) -> str:
    """Return ASE's name of a file's format, "" where it finds none."""
    try:
        return str(filetype(str(path), guess=True))
    # Whatever it trips over, the reader itself says what is wrong.
    except Exception:
        return ""


def _count(line: bytes) -> int:
    """Return a number of atoms, -1 where the line is none; absurdly many digits are a large one."""
    digits = line.strip()
    if not digits.isdigit():
        return -1
    return int(digits) if len(digits) < 18 else 10**18


def _check_xyz(file: IO[bytes], line: bytes, path: Path) -> None:
    """Refuse a frame with fewer lines than it declares atoms, or fewer words than columns."""
    while (declared := _count(line)) >= 0:
        columns, held = _columns(_line(file, path)), 0
        while held < declared and (line := _line(file, path)):
            words = 0 if held else len(line.split())
            if not held and columns > words:
                raise InputError(
                    f"{path.name}: {columns} columns are declared, but the first atom has {words}"
                )
            held += 1
        if declared > held:
            raise InputError(
                f"{path.name}: {declared} atoms are declared, but only {held} lines follow"
            )
        line = _line(file, path)


def _columns(comment: bytes) -> int:
    """Return the number of columns that the comment line of an extended XYZ file declares."""
    match = _PROPERTIES.search(comment)
    if match is None:
        return 0
    return sum(max(0, _count(word)) for word in match[1].split(b":")[2::3])


def _whole(words: list[bytes]) -> int:
    """Return the sum of a line of whole numbers, 0 where there is another word."""
    counts = [_count(word) for word in words]
    return sum(counts) if counts and min(counts) >= 0 else 0


def _after(lines: list[list[bytes]], word: bytes, column: int) -> int:
    """Return the number that follows on the line after a word."""
    for line, following in itertools.pairwise(lines):
        if line and line[0].upper() == word:
            return _whole(following[column : column + 1])
    return 0


#: How formats of ASE declare the number of atoms, from the words of their first lines.
_DECLARED: dict[str, Callable[[list[list[bytes]]], int]] = {
    "vasp": lambda lines: max(_whole(line) for line in (lines + [[]] * 7)[5:7]),
    "gromacs": lambda lines: _whole((lines + [[]] * 2)[1]),
    "gen": lambda lines: _whole(lines[0][:1]),
    "cube": lambda lines: max(_whole(line[:1]) for line in (lines + [[]] * 6)[2:6]),
    "dlp4": lambda lines: _whole((lines + [[]] * 2)[1][2:3]),
    "xsf": lambda lines: max(_after(lines, b"PRIMCOORD", 0), _after(lines, b"CONVCOORD", 0)),
}

#: Formats whose lines end; others may be binary, or JSON in one line.
_TEXT = {"xyz", "extxyz", *_DECLARED}


def _check_head(file: IO[bytes], first: bytes, path: Path) -> None:
    """Refuse a head that declares more atoms than the file has room for."""
    declared = _DECLARED.get(_format(path))
    if declared is None:
        return
    lines = [first.split()]
    while len(lines) < HEAD and (line := _line(file, path)):
        lines.append(line.split())
    count = declared(lines)
    # An atom takes a digit and an end of line at least.
    size = path.stat().st_size * (MOST_PACKED if path.suffix in PACKED else 1)
    if count > size // 2:
        raise InputError(f"{path.name}: {count} atoms are declared in a file of {size} bytes")
