"""Reading numbers out of potential files that may be truncated, mislabelled or not text at all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn

import numpy as np

from qc.errors import PotentialFileError
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

    Raises
    ------
    PotentialFileError
        The file is missing, unreadable, no regular file, empty, binary or larger than
        `MAXIMUM_BYTES`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.number = 0
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

    def fail(self, message: str, line: int | None = None) -> NoReturn:
        """Raise `PotentialFileError` for the current line, or for the whole file at line 0."""
        number = self.number if line is None else line
        where = f"{self.path}:{number}" if number else str(self.path)
        raise PotentialFileError(f"{where}: {message}")

    def peek(self, line: int) -> list[bytes]:
        """Return the words of a line by its number, from 1, without moving; [] past the end."""
        return self._lines[line - 1].split() if line <= len(self._lines) else []

    def words(self, what: str) -> list[bytes]:
        """Return the words of the next line."""
        if self.number >= len(self._lines):
            self.fail(f"the file ends before {what}")
        self.number += 1
        return self._lines[self.number - 1].split()

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
        """Return ``count`` numbers that fill the next lines to their ends.

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
        if len(values) > count:
            self.fail(f"{what} has {count} values by the header, this line brings {len(values)}")
        return np.array(values)

    def finish(self) -> None:
        """Refuse anything but blanks in the rest of the file."""
        for number, line in enumerate(self._lines[self.number :], start=self.number + 1):
            if line.strip():
                self.fail(
                    "something follows the last table; the file holds more functions than this "
                    "format (an angular-dependent potential?) or its header miscounts",
                    line=number,
                )


def _show(word: bytes) -> str:
    return repr(word[:40].decode("ascii", errors="replace"))
