"""Three-body parameter files of LAMMPS (``.sw``, ``.tersoff``): one entry for each triple."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qc.errors import PotentialError, UnknownSpeciesError, suggest

from ..base import Array
from ..parse import Lines

#: More species than this in one potential are a mistake; the number of triples is its cube.
MAXIMUM_SPECIES = 32

#: Files with more entries than this are refused.
MAXIMUM_ENTRIES = 100_000


class Triples(NamedTuple):
    """Parameters of all triples of the chosen species.

    ``values`` is (ns, ns, ns, count), indexed by centre, second and third element of an entry.
    """

    species: tuple[str, ...]
    values: Array
    source: str


class _Entry(NamedTuple):
    """One entry: three element names, the words of its numbers, and the line of each word."""

    names: tuple[str, str, str]
    words: list[bytes]
    lines: list[int]


def read_triples(
    path: str | Path,
    columns: Sequence[str],
    species: Sequence[str] | Mapping[str, str] | None = None,
) -> Triples:
    """Read the entries of the chosen species from a three-body parameter file.

    An entry is three element names and one number for each of ``columns``, on one line or
    several; ``#`` begins a comment. Entries with an element that is not asked for are passed
    over unread, as LAMMPS does.

    Parameters
    ----------
    path : str or Path
        The file.
    columns : sequence of str
        What the numbers of an entry are called.
    species : sequence of str, or mapping of str to str, optional
        Elements of the file in the order of the type indices; a mapping gives each a chemical
        symbol to go by, such as ``{"Si": "Si(D)"}``. All elements of the file unless given.

    Raises
    ------
    PotentialFileError
        With file and line: unreadable, an entry cut short or too long, a number that is none, an
        entry given twice, units other than metal; with the file, a triple without an entry.
    PotentialError
        A species asked for twice, or none at all.
    UnknownSpeciesError
        A species the file has no entry for.
    """
    reader = _Entries(path)
    entries = reader.entries(len(columns))
    present = tuple(dict.fromkeys(e.names[0] for e in entries))
    if species is None:
        symbols = names = present
    elif isinstance(species, Mapping):
        symbols, names = tuple(species), tuple(species.values())
    else:
        symbols = names = (species,) if isinstance(species, str) else tuple(species)
    _check_names(reader, names, present)
    index = {name: k for k, name in enumerate(names)}
    ns = len(names)
    values = np.zeros((ns, ns, ns, len(columns)))
    found: dict[tuple[str, str, str], int] = {}
    for entry in entries:
        if not all(name in index for name in entry.names):
            continue
        first = entry.lines[0]
        what = " ".join(entry.names)
        if entry.names in found:
            reader.fail(f"{what} was given on line {found[entry.names]} already", line=first)
        found[entry.names] = first
        i, j, k = (index[name] for name in entry.names)
        for c, (word, line) in enumerate(zip(entry.words, entry.lines, strict=True)):
            reader.number = line
            values[i, j, k, c] = reader.real(word, f"{columns[c]} of {what}")
    for triple in itertools.product(names, repeat=3):
        if triple not in found:
            reader.fail(f"there is no entry for {' '.join(triple)}", line=0)
    return Triples(symbols, values, f"{reader.path.name}: {reader.comment}".rstrip(": "))


def _check_names(reader: _Entries, names: tuple[str, ...], present: tuple[str, ...]) -> None:
    if not names:
        raise PotentialError("name at least one species")
    if len(set(names)) != len(names):
        raise PotentialError(f"a species is asked for twice: {', '.join(names)}")
    for name in names:
        if name not in present:
            shown = ", ".join(present[:20])
            raise UnknownSpeciesError(
                f"{reader.path} has no entry for '{name}'; it has {shown}{suggest(name, present)}"
            )
    if len(names) > MAXIMUM_SPECIES:
        reader.fail(
            f"{len(names)} species are too many, at most {MAXIMUM_SPECIES}; choose some", line=0
        )


class _Entries(Lines):
    """The lines of a parameter file, grouped into entries."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        head = self._lines[0].decode("ascii", errors="replace") if self._lines else ""
        self.comment = " ".join(re.sub(r"[^ -~]", " ", head.lstrip("# \t")).split())[:200]
        units = re.search(r"UNITS:\s*(\S+)", head) if head.lstrip().startswith("#") else None
        if units and units[1] != "metal":
            self.fail(f"the file is in units {units[1]!r}, only metal is read", line=1)

    def entries(self, count: int) -> list[_Entry]:
        """Return every entry of three names and ``count`` further words."""
        found: list[_Entry] = []
        words: list[bytes] = []
        lines: list[int] = []
        for number, line in enumerate(self._lines, start=1):
            fresh = line.split(b"#", 1)[0].split()
            words += fresh
            lines += [number] * len(fresh)
            if len(words) < count + 3:
                continue
            self.number = number
            if len(words) > count + 3:
                self.fail(
                    f"an entry has three elements and {count} numbers, this one, which begins on "
                    f"line {lines[0]}, has {len(words) - 3}"
                )
            self.number = lines[0]
            names = tuple(self.name(w, "the name of an element") for w in words[:3])
            found.append(_Entry((names[0], names[1], names[2]), words[3:], lines[3:]))
            words, lines = [], []
            if len(found) > MAXIMUM_ENTRIES:
                self.fail(f"there are more than {MAXIMUM_ENTRIES} entries")
        if words:
            self.number = len(self._lines)
            self.fail(
                f"the file ends in an entry of {len(words)} words that begins on line {lines[0]}; "
                f"an entry has three elements and {count} numbers"
            )
        if not found:
            self.fail("there is no entry in the file", line=0)
        return found
