"""Telling files of potentials that are not read here by their name and content."""

from __future__ import annotations

import os
import re
from pathlib import Path

from qc.errors import PotentialFileError
from qc.numerics.checks import kind

_ELSEWHERE = "use ASEPotential with ASE's LAMMPSlib"

#: Kinds of files by the end of their name in lower case; the first that fits counts.
_NAMES = (
    (("library.meam",), "a MEAM library"),
    ((".meam.spline", ".meam.sw.spline"), "a spline MEAM potential"),
    ((".meam",), "a MEAM parameter file"),
    ((".adp",), "an angular-dependent potential (adp)"),
    ((".cdeam",), "a concentration-dependent EAM potential (cdeam)"),
    ((".eam.he",), "an eam/he file"),
    ((".snapcoeff", ".snapparam", ".snap"), "a SNAP potential"),
    ((".mliap", ".mliap.descriptor", ".mliap.model"), "a potential of LAMMPS's package ML-IAP"),
    ((".yace", ".ace"), "an ACE potential"),
    ((".agni", ".rann", ".nnp"), "a machine-learned potential"),
    ((".poly",), "a polymorphic potential"),
    ((".ilp", ".kc", ".kc-full", ".lebedeva", ".drip"), "an interlayer potential"),
    ((".mgpt.potin", ".mgpt.parmin"), "an MGPT potential"),
    ((".bop", ".bop.table"), "a bond-order potential (bop)"),
    ((".airebo", ".airebo-m", ".rebo", ".lcbop"), "a bond-order potential of carbon"),
    ((".edip", ".vashishta", ".gw", ".gw.zbl", ".extep"), "a three-body potential of another form"),
    ((".tersoff.zbl", ".tersoff.mod", ".tersoff.modc"), "a Tersoff potential of another form"),
    ((".streitz", ".comb", ".comb3", ".eim"), "a potential with charges"),
)

_FIELD = re.compile(r"ffield|.*reax", re.IGNORECASE)
_LIBRARY = re.compile(
    rb"""\s*['"]?[A-Za-z]\w*['"]?\s+['"](fcc|bcc|hcp|dim|dia\w*|b1|ch4)['"]\s+\d"""
)
_ASSIGNMENT = re.compile(rb"\s*[A-Za-z]\w*(\([0-9, ]+\))?\s*=\s*\S")
_COMMANDS = re.compile(rb"\s*pair_(style|coeff)\s")
_SNAP = re.compile(rb"\s*(twojmax|rcutfac)\s")


def words(kind: str) -> str:
    """Return what to say of a file of a kind that is not read here."""
    return f"this looks like {kind}; {_ELSEWHERE}"


def refuse_by_name(path: str | Path) -> None:
    """Refuse a file whose name says that it is of a kind that is not read here.

    Raises
    ------
    PotentialFileError
        The message says of what kind, and what to do.
    """
    kind("path", path, (str, os.PathLike))
    name = Path(path).name.lower()
    for ends, format in _NAMES:
        if name.endswith(ends):
            raise PotentialFileError(f"{path}: {words(format)}")


def what_it_is(path: Path, lines: list[bytes]) -> str:
    """Return what a file looks like, as a sentence, or an empty string.

    Parameters
    ----------
    path : Path
    lines : list of bytes
        The first lines.
    """
    told = [line for line in lines if line.strip() and line.lstrip()[:1] not in b"#!/"]
    if lines and lines[0].lstrip()[:1] == b"<":
        return "this is a page of HTML or XML, not a table of numbers"
    if any(_LIBRARY.match(line) for line in told):
        return words("a MEAM library")
    if any(_SNAP.match(line) for line in told):
        return words("a SNAP potential")
    if any(_COMMANDS.match(line) for line in told):
        return "this is an input script of LAMMPS, not a potential; use ASEPotential with LAMMPSlib"
    if _FIELD.match(path.name):
        return words("a reactive force field, or one with charges")
    if 2 * sum(_ASSIGNMENT.match(line) is not None for line in told) > len(told):
        return words("a MEAM parameter file")
    return ""
