"""LAMMPS table files of pair potentials, read.

Source: format of the LAMMPS manual, page pair_style table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qc.errors import PotentialFileError, suggest

from ..base import Array
from ..foreign import refuse_by_name
from ..parse import Lines
from ..splines import MINIMUM_VALUES
from .function import PairFunction

_PARAMETERS = ("N", "R", "RSQ", "BITMAP", "FPRIME", "FP")

#: Names of sections that say which pair they are of.
_PAIR_NAME = re.compile(r"([A-Z][A-Za-z]{0,31})[-_]([A-Z][A-Za-z]{0,31})")

_KEYWORD = re.compile(rb"[!-~]{1,64}")

#: A distance printed with few digits may be off by this part of a spacing from the computed one.
_SLACK = 0.1

# Distances outside are typing errors, and their powers would overflow.
_SMALLEST, _LARGEST = 1e-12, 1e12


class _Header(NamedTuple):
    rows: int
    grid: str
    low: float
    high: float


def read_pair_table(
    path: str | Path, keywords: Mapping[tuple[str, str], str] | None = None
) -> tuple[list[str], dict[tuple[str, str], PairFunction]]:
    """Read the sections of a LAMMPS table file that belong to pairs of species.

    Parameters
    ----------
    path : str or Path
    keywords : mapping of (str, str) to str, optional
        The section of each pair; unless given, sections must be named after their pair.

    Returns
    -------
    species : list of str
        In the order in which they come up.
    tables : dict of (str, str) to PairFunction
        Energies, with minus the file's first and last force as slopes at the ends.

    Raises
    ------
    PotentialFileError
        With file and line: missing, empty, binary, truncated, not numeric, NaN, distances that do
        not rise, a count that the file cannot hold, a section given twice, units other than metal,
        a BITMAP section. Without line: a keyword that no section has.
    """
    refuse_by_name(path)
    lines = Lines(path)
    sections = _sections(lines)
    if keywords is None:
        keywords = {}
        for name in sections:
            match = _PAIR_NAME.fullmatch(name)
            if not match:
                raise PotentialFileError(
                    f"{path}: section '{name}' does not say which species it is of; give "
                    "keywords, such as {('Ar', 'Ar'): '" + name + "'}"
                )
            keywords[match[1], match[2]] = name
    species: list[str] = []
    tables: dict[tuple[str, str], PairFunction] = {}
    for pair, keyword in keywords.items():
        if keyword not in sections:
            raise PotentialFileError(
                f"{path}: there is no section '{keyword}', only {', '.join(sections)}"
                f"{suggest(keyword, sections)}"
            )
        tables[pair] = sections[keyword]
        species += [s for s in dict.fromkeys(pair) if s not in species]
    return species, tables


def _words(lines: Lines, what: str) -> list[bytes]:
    """Return the words of the next line, without comments; [] for one that holds nothing else."""
    words = []
    for word in lines.words(what):
        if b"#" in word:
            words += [word.split(b"#")[0]] if not word.startswith(b"#") else []
            break
        words.append(word)
    return words


def _next_words(lines: Lines, what: str) -> list[bytes]:
    """Return the words of the next line that holds any."""
    while not (words := _words(lines, what)):
        pass
    return words


def _sections(lines: Lines) -> dict[str, PairFunction]:
    _check_units(lines)
    found: dict[str, PairFunction] = {}
    while lines.remaining():
        words = _words(lines, "a section")
        if not words:
            continue
        if not _KEYWORD.fullmatch(words[0]):
            lines.fail("this line should hold the keyword of a section")
        keyword = words[0].decode("ascii")
        if keyword in found:
            lines.fail(f"section '{keyword}' is given twice")
        found[keyword] = _section(lines, keyword)
    if not found:
        lines.fail("the file holds no section", line=0)
    return found


def _check_units(lines: Lines) -> None:
    words = lines.peek(1)
    if words and words[0].startswith(b"#") and b"UNITS:" in words[:-1]:
        units = words[words.index(b"UNITS:") + 1]
        if units != b"metal":
            lines.fail(
                f"the file is in units {units[:20].decode('ascii', 'replace')}; only metal, eV "
                "and Angstrom, is read",
                line=1,
            )


def _section(lines: Lines, keyword: str) -> PairFunction:
    header = _header(lines, keyword)
    distances, energies, forces = (np.empty(header.rows) for _ in range(3))
    what = f"section '{keyword}'"
    for k in range(header.rows):
        words = _next_words(lines, f"the end of {what}, {k} of {header.rows} rows")
        if len(words) != 4:
            lines.fail(
                f"row {k + 1} of {header.rows} of {what} should hold index, distance, energy and "
                f"force, not {len(words)} words"
            )
        lines.integer(words[0], "the index")
        distances[k] = lines.real(words[1], "the distance")
        energies[k] = lines.real(words[2], "the energy")
        forces[k] = lines.real(words[3], "the force")
        if not _SMALLEST <= distances[k] <= _LARGEST:
            lines.fail(f"the distance must be positive, not {distances[k]:g}")
        if k and distances[k] <= distances[k - 1]:
            lines.fail(f"distances must rise, {distances[k]:g} follows {distances[k - 1]:g}")
    if header.grid:
        distances = _grid(lines, header, distances, what)
    return PairFunction(distances, energies, (-float(forces[0]), -float(forces[-1])))


def _header(lines: Lines, keyword: str) -> _Header:
    """Read ``N count [R low high | RSQ low high] [FPRIME first last]``."""
    words = _next_words(lines, f"the parameters of section '{keyword}'")
    count, grid, low, high = 0, "", 0.0, 0.0
    k = 0
    while k < len(words):
        name = words[k].decode("ascii", errors="replace")
        if name == "BITMAP":
            lines.fail("BITMAP tables are not read; write the table with R or RSQ")
        if name not in _PARAMETERS:
            lines.fail(f"unknown parameter '{name[:40]}'{suggest(name, _PARAMETERS)}")
        needs = 1 if name == "N" else 2
        values = words[k + 1 : k + 1 + needs]
        if len(values) < needs:
            lines.fail(f"{name} should be followed by {needs} number{'s' * (needs > 1)}")
        if name == "N":
            count = lines.integer(values[0], "N")
        else:
            # FPRIME, the slope of the force, serves splines of the force; there is none here.
            numbers = [lines.real(v, name) for v in values]
            if name in ("R", "RSQ"):
                grid, (low, high) = name, numbers
        k += 1 + needs
    if count < MINIMUM_VALUES:
        lines.fail(f"N must be at least {MINIMUM_VALUES}, not {count}")
    if count > lines.remaining():
        lines.fail(f"N declares {count} rows, and {lines.remaining()} lines follow")
    if grid and not _SMALLEST <= low < high <= _LARGEST:
        lines.fail(f"{grid} should be followed by two rising positive distances")
    return _Header(count, grid, low, high)


def _grid(lines: Lines, header: _Header, listed: Array, what: str) -> Array:
    """Return the distances the header gives; those listed have fewer digits."""
    part = np.arange(header.rows) / (header.rows - 1)
    if header.grid == "R":
        r = header.low + (header.high - header.low) * part
    else:
        r = np.sqrt(header.low**2 + (header.high**2 - header.low**2) * part)
    off = np.abs(listed - r)
    if not (np.diff(r) > 0.0).all() or off.max() > _SLACK * np.diff(r).min():
        k = int(np.argmax(off))
        lines.fail(
            f"distance {k + 1} of {what} is {listed[k]:g}, but {header.grid} {header.low:g} "
            f"{header.high:g} makes it {r[k]:g}"
        )
    return r
