"""Reading numbers out of potential files that may be truncated, mislabelled or not text at all."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NoReturn

import numpy as np

from qc.errors import PotentialFileError
from qc.numerics.checks import kind
from qc.numerics.reading import read_regular

from .base import Array

#: Files beyond this many bytes are refused unread.
MAXIMUM_BYTES = 1 << 29

#: Numbers beyond this are refused: a spline through them would overflow.
MAXIMUM_NUMBER = 1e60

_INTEGER = re.compile(rb"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eEdD][+-]?[0-9]{1,4})?")
_NAME = re.compile(rb"[A-Za-z][!-~]{0,31}")


class Lines:
    """The lines of a text file, taken one by one, with an error that names file and line.

    Parameters
    ----------
    path : str or Path
        The file.
    header : int, optional
        Lines that are taken as they stand; after them ``#`` begins a comment and blank lines do
        not count. Without it that holds of no line.

    Attributes
    ----------
    number : int
        Of the line taken last, from 1.
    notes : list of str
        What was passed over and might be an error, one line each.

    Raises
    ------
    PotentialFileError
        The file is missing, unreadable, no regular file, empty, binary or larger than
        `MAXIMUM_BYTES`.
    """

    def __init__(self, path: str | Path, header: int | None = None) -> None:
        kind("path", path, (str, os.PathLike))
        self.path = Path(path)
        self.number = 0
        self.header = header
        self.notes: list[str] = []
        try:
            content = read_regular(self.path, MAXIMUM_BYTES, PotentialFileError)
        except PotentialFileError:
            raise
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise PotentialFileError(f"{path}: cannot be read: {reason}") from error
        if not content.strip():
            self.fail("the file is empty", line=0)
        if b"\x00" in content:
            self.fail("the file is binary, not a table of numbers", line=0)
        self._lines = content.splitlines()
        if header is not None and b"#" in content:
            body = (line.partition(b"#")[0] for line in self._lines[header:])
            self._lines[header:] = list(body)

    def fail(self, message: str, line: int | None = None) -> NoReturn:
        """Raise `PotentialFileError` for the current line, or for the whole file at line 0."""
        number = self.number if line is None else line
        where = f"{self.path}:{number}" if number else str(self.path)
        raise PotentialFileError(f"{where}: {message}")

    def peek(self, line: int) -> list[bytes]:
        """Return the words of a line by its number, from 1, without moving; [] past the end."""
        return self._lines[line - 1].split() if line <= len(self._lines) else []

    def ahead(self, count: int) -> list[list[bytes]]:
        """Return the words of the next lines that count, without moving; [] past the end."""
        found, k = [], self.number
        for _ in range(count):
            k = self._counting(k)
            found.append(self.peek(k + 1))
            k += 1
        return found

    def words(self, what: str) -> list[bytes]:
        """Return the words of the next line that counts."""
        k = self._counting(self.number)
        if k >= len(self._lines):
            self.fail(f"the file ends before {what}")
        self.number = k + 1
        return self._lines[k].split()

    def _counting(self, k: int) -> int:
        """Return the index of the first line at or after one that is no blank in the body."""
        if self.header is not None:
            while self.header <= k < len(self._lines) and not self._lines[k].strip():
                k += 1
        return k

    def capacity(self) -> int:
        """Return how many numbers the rest of the file could hold at most."""
        return sum(len(line) // 2 + 1 for line in self._lines[self.number :])

    def remaining(self) -> int:
        """Return the number of lines not yet taken."""
        return len(self._lines) - self.number

    def count_numbers(self) -> int:
        """Return the number of words in the rest of the file."""
        return sum(len(line.split()) for line in self._lines[self.number :])

    def integer(self, word: bytes, what: str) -> int:
        """Return a word as an integer."""
        if not _INTEGER.fullmatch(word):
            self.fail(f"{what} should be an integer, not {_show(word)}")
        return int(word)

    def real(self, word: bytes, what: str) -> float:
        """Return a word as a finite number; Fortran's exponent letter D is understood."""
        if not _NUMBER.fullmatch(word):
            self.fail(f"{what} should be a finite number, not {_show(word)}")
        value = float(word.replace(b"D", b"e").replace(b"d", b"e"))
        if not abs(value) <= MAXIMUM_NUMBER:
            self.fail(f"{what} is {_show(word)}, beyond {MAXIMUM_NUMBER:g}")
        return value

    def name(self, word: bytes, what: str) -> str:
        """Return a word as a species name."""
        if not _NAME.fullmatch(word):
            self.fail(f"{what} should be a chemical symbol, not {_show(word)}")
        return word.decode("ascii")

    def table(self, count: int, what: str) -> Array:
        """Return ``count`` numbers from the next lines; what else the last of them holds is noted.

        The caller has compared ``count`` with `capacity`.
        """
        values: list[float] = []
        first = self.number + 1
        while len(values) < count:
            if self.number >= len(self._lines):
                self.fail(
                    f"the file ends after {len(values)} of {count} values of {what}, "
                    f"which begins on line {first}"
                )
            self.number += 1
            values += [self.real(w, what) for w in self._lines[self.number - 1].split()]
        extra = len(values) - count
        if extra:
            noun = "value" if extra == 1 else "values"
            self.notes.append(
                f"line {self.number}: {extra} {noun} beyond the {count} of {what}, passed over"
            )
        return np.array(values[:count])

    def finish(self, count: int) -> None:
        """Note a few numbers behind the last table, of ``count`` values; refuse anything else.

        Where lines hold one value, every table may have been shifted by a value too many in one
        of them; where they hold several, the tables began on lines of their own and were not.
        """
        rest = [
            (number, line.split())
            for number, line in enumerate(self._lines[self.number :], start=self.number + 1)
            if line.strip()
        ]
        if not rest:
            return
        extra = [word for _, words in rest for word in words]
        table = self._lines[max(self.number - count, 0) : self.number]
        single = max(len(line.split()) for line in table) < 2
        if single or len(extra) >= count or not all(_NUMBER.fullmatch(word) for word in extra):
            self.fail(
                "something follows the last table; the file holds more functions than this format, "
                "or a table more values than the header says, which would shift those behind it",
                line=rest[0][0],
            )
        noun = "value" if len(extra) == 1 else "values"
        first = rest[0][0]
        self.notes.append(f"line {first}: {len(extra)} {noun} behind the last table, passed over")

    def text(self, lines: int = 200) -> list[bytes]:
        """Return the first lines, as `Lines` sees them."""
        return self._lines[:lines]


def _show(word: bytes) -> str:
    return repr(word[:40].decode("ascii", errors="replace"))
