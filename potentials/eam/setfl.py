"""Embedded-atom files: setfl of LAMMPS ``eam/alloy`` and ``eam/fs``, and funcfl."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from qc.errors import PotentialError, suggest

from .. import foreign
from ..parse import Lines
from ..splines import MINIMUM_VALUES

#: Hartree in eV times Bohr radius in Angstrom, with the digits that the funcfl format means.
HARTREE_BOHR = 27.2 * 0.529

FORMATS = ("alloy", "fs", "funcfl")

_NEITHER = (
    "this is neither setfl, with the elements on line 4, nor funcfl, with atomic number and mass "
    "on line 2"
)

# Spacings and cutoffs outside are typing errors, and their squares would overflow.
_SMALLEST, _LARGEST = 1e-12, 1e12

_SYMBOLS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se "
    "Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb "
    "Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm "
    "Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
).split()


class _Grid(NamedTuple):
    nrho: int
    drho: float
    nr: int
    dr: float
    cutoff: float


class _Element(NamedTuple):
    number: int
    mass: float
    lattice_constant: float
    structure: str


def read_eam(path: str | Path, format: str | None = None) -> dict[str, Any]:
    """Read a setfl, Finnis-Sinclair setfl or funcfl file into what `EAM` is made from.

    Parameters
    ----------
    path : str or Path
        The file.
    format : str, optional
        ``"alloy"``, ``"fs"`` or ``"funcfl"``. Unless given it is found from the content: a setfl
        file lists its elements on the fourth line, and its two kinds differ in what follows the
        first density. A setfl file of one element is the same in both.

    Notes
    -----
    As LAMMPS does, ``#`` begins a comment after the header (three lines of setfl, one of funcfl),
    blank lines there do not count, and what the last line of a table holds beyond it is passed
    over, as are a few values behind the last one, which `EAM.notes` says. In a file of one value
    a line the latter are refused: a value too many anywhere would shift all tables behind it.

    A cutoff in the header that lies beyond the tables is taken back to their end. funcfl holds an
    effective charge Z(r); the pair function is 27.2 x 0.529 Z^2 / r eV. Other programs put other
    cubics through the same knots: forces from smooth tables agree with LAMMPS to 1e-5 eV/Angstrom
    or better, those from noisy ones differ by the noise, divided by the spacing.

    Raises
    ------
    PotentialFileError
        With file and line: missing, empty, binary, truncated, not numeric, NaN, a count that the
        file cannot hold, spacings or masses that are not positive, more data than the format has.
    PotentialError
        An unknown ``format``.

    Source: formats of the LAMMPS manual, page pair_style eam.
    """
    if format is not None and format not in FORMATS:
        raise PotentialError(
            f"format must be one of {', '.join(FORMATS)}, not '{format}'{suggest(format, FORMATS)}"
        )
    if format == "funcfl":
        return _read_funcfl(Lines(path, header=1))
    lines = Lines(path, header=3)
    if format is None:
        foreign.refuse_by_name(path)
        if not _lists_elements(lines.ahead(4)[3]):
            funcfl = Lines(path, header=1)
            if _looks_like_funcfl(funcfl):
                return _read_funcfl(funcfl)
            _fail_as_neither(lines)
        format = "setfl"
    return _read_setfl(lines, format)


def _lists_elements(words: list[bytes]) -> bool:
    return len(words) > 1 and words[0].isdigit() and words[1][:1].isalpha()


def _looks_like_funcfl(lines: Lines) -> bool:
    """Return whether the second line holds atomic number and mass, the third begins a grid."""
    _, second, third = lines.ahead(3)
    return (
        len(second) > 1
        and all(re.fullmatch(rb"[+-]?[0-9.]+([eEdD][+-]?[0-9]+)?", w) for w in second[:2])
        and len(third) != 1
        and (not third or third[0][:1].isdigit())
        and (len(third) < 3 or b"." not in third[2])
    )


def _fail_as_neither(lines: Lines) -> NoReturn:
    """Say what may be wrong with a file that is neither setfl nor funcfl."""
    known = foreign.what_it_is(lines.path, lines.text())
    if known:
        lines.fail(known, line=0)
    for number in range(1, 12):
        if number != 4 and _lists_elements(lines.peek(number)) and len(lines.peek(number + 1)) == 5:
            lines.fail(
                "this line seems to list the elements; in a setfl file that is line 4, after three "
                "lines of comment",
                line=number,
            )
    if not lines.peek(4):
        lines.fail(f"the file ends before the line of elements; {_NEITHER}", line=len(lines.text()))
    lines.fail(_NEITHER, line=0)


def _read_setfl(lines: Lines, format: str) -> dict[str, Any]:
    comments = [b" ".join(lines.words("the comment lines")) for _ in range(3)]
    words = lines.words("the line of elements")
    ns = lines.integer(words[0], "the number of elements") if words else 0
    if ns < 1 or len(words) != ns + 1:
        lines.fail("this line should hold the number of elements and as many symbols")
    species = [lines.name(w, f"element {k + 1}") for k, w in enumerate(words[1:])]
    if len(set(species)) != ns:
        lines.fail("an element is listed twice")
    grid = _grid(lines)
    pairs = ns * (ns + 1) // 2
    short = ns * (grid.nrho + grid.nr) + pairs * grid.nr
    if short > lines.capacity():
        lines.fail(f"the header declares {short} values, more than the file can hold")
    if format == "setfl" and (ns == 1 or lines.path.suffix == ".fs"):
        format = "alloy" if ns == 1 else "fs"
    elements, embedding, density = [], [], []
    for name in species:
        elements.append(_element(lines, name))
        embedding.append(lines.table(grid.nrho, f"the embedding function of {name}"))
        # A section lists the densities its element gives, at every receiving one.
        given = [lines.table(grid.nr, f"the density of {name} at {species[0]}")]
        if format == "setfl":
            format = "alloy" if _begins_element(lines.ahead(1)[0]) else "fs"
        if format == "fs":
            given += [lines.table(grid.nr, f"the density of {name} at {t}") for t in species[1:]]
        density.append(given)
    rphi = np.empty((ns, ns, grid.nr))
    for s in range(ns):
        for t in range(s + 1):
            what = f"r phi(r) of {species[s]} and {species[t]}"
            rphi[s, t] = rphi[t, s] = lines.table(grid.nr, what)
    if lines.count_numbers() == 2 * pairs * grid.nr:
        lines.fail(foreign.words("an angular-dependent potential (adp)"))
    lines.finish(grid.nr)
    table = np.array(density)
    return dict(
        species=species,
        dr=grid.dr,
        rphi=rphi,
        density=np.swapaxes(table, 0, 1) if format == "fs" else table[:, 0],
        drho=grid.drho,
        embedding=np.array(embedding),
        cutoff=grid.cutoff,
        numbers=[e.number for e in elements],
        masses=[e.mass for e in elements],
        lattice_constants=[e.lattice_constant for e in elements],
        structures=[e.structure for e in elements],
        source=_printable(comments),
        notes=lines.notes,
    )


def _begins_element(words: list[bytes]) -> bool:
    """Return whether a line holds atomic number and mass, maybe lattice constant and lattice."""
    return (
        2 <= len(words) <= 4
        and re.fullmatch(rb"[0-9]{1,3}", words[0]) is not None
        and (len(words) < 4 or words[3][:1].isalpha())
    )


def _read_funcfl(lines: Lines) -> dict[str, Any]:
    comment = b" ".join(lines.words("the comment line"))
    element = _element(lines, "the element")
    if not 1 <= element.number <= len(_SYMBOLS):
        lines.fail(f"there is no element of atomic number {element.number}")
    grid = _grid(lines)
    if grid.nrho + 2 * grid.nr > lines.capacity():
        lines.fail(
            f"the header declares {grid.nrho + 2 * grid.nr} values, more than the file holds"
        )
    embedding = lines.table(grid.nrho, "the embedding function")
    charge = lines.table(grid.nr, "the effective charge")
    density = lines.table(grid.nr, "the density")
    lines.finish(grid.nr)
    return dict(
        species=[_SYMBOLS[element.number - 1]],
        dr=grid.dr,
        rphi=(HARTREE_BOHR * charge**2)[None, None],
        density=density[None],
        drho=grid.drho,
        embedding=embedding[None],
        cutoff=grid.cutoff,
        numbers=[element.number],
        masses=[element.mass],
        lattice_constants=[element.lattice_constant],
        structures=[element.structure],
        source=_printable([comment]),
        notes=lines.notes,
    )


def _grid(lines: Lines) -> _Grid:
    """Read ``nrho drho nr dr cutoff``; a cutoff beyond the table is taken back to its end."""
    words = lines.words("the line of grids")
    if len(words) < 5:
        lines.fail("this line should hold nrho, drho, nr, dr and the cutoff")
    if len(words) > 5 and words[5][:1].isdigit():
        lines.fail(
            "a sixth number on this line: "
            + foreign.words("an eam/he file, with densities below zero")
        )
    nrho, nr = lines.integer(words[0], "nrho"), lines.integer(words[2], "nr")
    drho, dr = lines.real(words[1], "drho"), lines.real(words[3], "dr")
    cutoff = lines.real(words[4], "the cutoff")
    for name, count in (("nrho", nrho), ("nr", nr)):
        if count < MINIMUM_VALUES:
            lines.fail(f"{name} must be at least {MINIMUM_VALUES}, not {count}")
    for name, value in (("drho", drho), ("dr", dr), ("the cutoff", cutoff)):
        if not _SMALLEST <= value <= _LARGEST:
            lines.fail(f"{name} must be between {_SMALLEST:g} and {_LARGEST:g}, not {value:g}")
    return _Grid(nrho, drho, nr, dr, min(cutoff, (nr - 1) * dr))


def _element(lines: Lines, name: str) -> _Element:
    """Read ``number mass [lattice constant [structure]]``."""
    words = lines.words(f"the line of {name}")
    if len(words) < 2:
        lines.fail(f"the line of {name} should hold atomic number, mass, lattice constant, lattice")
    mass = lines.real(words[1], f"the mass of {name}")
    if not mass > 0.0:
        lines.fail(f"the mass of {name} must be positive, not {mass:g}")
    return _Element(
        lines.integer(words[0], f"the atomic number of {name}"),
        mass,
        lines.real(words[2], f"the lattice constant of {name}") if len(words) > 2 else 0.0,
        _printable(words[3:4]) or "none",
    )


def _printable(words: list[bytes]) -> str:
    """Return the printable ASCII of some words on one line."""
    text = b" ".join(words).decode("ascii", errors="replace")
    return " ".join(re.sub(r"[^ -~]", "?", text).split())
