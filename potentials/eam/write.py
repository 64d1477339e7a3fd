"""Embedded-atom files written: setfl of LAMMPS ``eam/alloy`` and ``eam/fs``."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from qc.errors import PotentialError
from qc.numerics.checks import kind
from qc.numerics.writing import write_atomically

from ..base import Array
from .eam import EAM

_PER_LINE = 5


def write_setfl(potential: EAM, path: str | Path, comment: str = "") -> None:
    """Write a potential so that LAMMPS ``pair_style eam/alloy`` (or ``eam/fs``) runs on it.

    The tables in the file are the knots of the splines in full double precision, so reading
    the file gives the same potential back. LAMMPS interpolates the same knots with its own
    cubics, which differ from ours by the fourth power of the spacing.

    Parameters
    ----------
    potential : EAM
        The Finnis-Sinclair form is written as ``eam/fs``, the other as ``eam/alloy``.
    path : str or Path
        Written under a temporary name first, then renamed.
    comment : str
        One line for the file's header, after the source.

    Raises
    ------
    PotentialError
        A comment of several lines, a species or structure name that is not one word, or arguments
        of another kind.
    OutputError
        The file cannot be written.

    Source: format of the LAMMPS manual, page pair_style eam.
    """
    kind("potential", potential, EAM, PotentialError)
    kind("path", path, (str, os.PathLike))
    kind("comment", comment, str, PotentialError)
    if "\n" in comment or "\r" in comment:
        raise PotentialError("the comment must be one line")
    for word in (*potential.species, *potential.structures):
        if not re.fullmatch(r"[A-Za-z][!-~]{0,31}", word):
            raise PotentialError(f"'{word}' cannot stand in a file; use one printable word")
    style = "eam/fs" if potential.finnis_sinclair else "eam/alloy"
    ns, nrho = potential.embedding.shape
    nr = potential.rphi.shape[-1]
    lines = [
        f"setfl for LAMMPS pair_style {style}; units metal: eV, Angstrom, u",
        " ".join(potential.source.split()) or "source not stated",
        comment or "cubic splines through these knots",
        " ".join([str(ns), *potential.species]),
        f"{nrho} {potential.drho:.16e} {nr} {potential.dr:.16e} {potential.cutoff:.16e}",
    ]
    for s in range(ns):
        lines.append(
            f"{potential.numbers[s]} {potential.masses[s]!r} "
            f"{potential.lattice_constants[s]!r} {potential.structures[s]}"
        )
        lines += _rows(potential.embedding[s])
        if potential.finnis_sinclair:
            # The file lists, for each giving species, the density at every receiving one.
            for t in range(ns):
                lines += _rows(potential.density[t, s])
        else:
            lines += _rows(potential.density[s])
    for s in range(ns):
        for t in range(s + 1):
            lines += _rows(potential.rphi[s, t])
    write_atomically(path, "\n".join(lines) + "\n")


def _rows(values: Array) -> list[str]:
    """Return a table as lines of five numbers, each read back as the same double."""
    text = [f"{v:.16e}" for v in np.asarray(values)]
    return [" ".join(text[k : k + _PER_LINE]) for k in range(0, len(text), _PER_LINE)]
