"""LAMMPS table files of pair potentials, written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from qc.errors import PotentialError
from qc.numerics.checks import kind, real, whole
from qc.numerics.writing import write_atomically

from ..splines import MINIMUM_VALUES
from .central import CentralPotential
from .table import PairTable


def write_pair_table(
    potential: CentralPotential,
    path: str | Path,
    points: int = 2001,
    first: float | None = None,
    comment: str = "",
) -> None:
    """Write the pair functions of a potential so that LAMMPS ``pair_style table`` runs on them.

    Sections are named ``Ar_Kr``; numbers carry all digits, so that reading the file gives the
    same knots back.

    Parameters
    ----------
    potential : CentralPotential
        Without embedding term. A `PairTable` without truncation is written knot by knot.
    path : str or Path
        Written under a temporary name first, then renamed.
    points : int
        Distances of any other potential, evenly spaced up to the cutoff.
    first : float, optional
        Angstrom, where they begin; 0.2 cutoffs unless given.
    comment : str
        One line for the file's header.

    Raises
    ------
    PotentialError
        A many-body potential, too few points, a first distance outside the range, a comment of
        several lines, or arguments of another kind.
    OutputError
        The file cannot be written.
    """
    kind("potential", potential, CentralPotential, PotentialError)
    kind("path", path, (str, os.PathLike))
    kind("comment", comment, str, PotentialError)
    points = whole("points", points, 0, PotentialError)
    if potential.many_body:
        raise PotentialError(f"{type(potential).__name__} is not a pair potential")
    if "\n" in comment or "\r" in comment:
        raise PotentialError("the comment must be one line")
    begin = 0.2 * potential.cutoff if first is None else real("first", first, PotentialError)
    if points < MINIMUM_VALUES or not 0.0 < begin < potential.cutoff:
        raise PotentialError(
            f"a table needs {MINIMUM_VALUES} points and a first distance below the cutoff, not "
            f"{points} and {begin:g}"
        )
    text = [f"# UNITS: metal CONTRIBUTOR: qc {type(potential).__name__}", f"# {comment}".rstrip()]
    for s, a in enumerate(potential.species):
        for t, b in enumerate(potential.species[: s + 1]):
            if isinstance(potential, PairTable) and potential.truncation == "none":
                r, energy, slope = potential.knots(a, b)
                header = f"N {len(r)}"
            else:
                r = begin + (potential.cutoff - begin) * (np.arange(points) / (points - 1))
                header = f"N {points} R {begin!r} {potential.cutoff!r}"
                energy, slope, _ = potential.truncated_pair(r, np.array(s), np.array(t))
            text += ["", f"{b}_{a}", header, ""]
            text += [
                f"{k + 1} {x:.16e} {e:.16e} {f:.16e}"
                for k, (x, e, f) in enumerate(zip(r, energy, 0.0 - slope, strict=True))
            ]
    write_atomically(path, "\n".join(text) + "\n")
