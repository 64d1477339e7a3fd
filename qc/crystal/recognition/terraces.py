"""Outermost layers of a slab: whether they are whole."""

from __future__ import annotations

import numpy as np

from qc.crystal.recognition.recognise import Recognition


def broken_layers(recognition: Recognition) -> str:
    """Say in words which outermost layers of a slab are not whole; empty text where all are.

    A surface of its own shape is no defect to `find_defects`; in a slab, whose layers repeat, a
    vacancy of the outermost layer, an adatom and a step show in the number of its atoms.

    Parameters
    ----------
    recognition : Recognition
        Of atoms that are periodic in two directions; for all others the text is empty.
    """
    if len(recognition.periods) != 2:
        return ""
    crystal = recognition.crystal
    first, second = recognition.periods @ crystal.cell
    normal = np.cross(first, second)
    normal /= np.linalg.norm(normal)
    height = np.round(crystal.positions(recognition.m, recognition.s) @ normal, 4)
    levels, place = np.unique(height, return_inverse=True)
    counts = np.bincount(place.ravel())
    whole = int(counts.max())
    # Every layer of a slab has as many sites, unless sublattices share a height.
    ends = [int(counts[k]) for k in (-1, 0) if len(levels) > 2 and counts[k] < whole]
    return "; ".join(
        f"{n} of the {whole} sites of an outermost layer are taken: {_named(n, whole)}"
        for n in ends
    )


def _named(n: int, whole: int) -> str:
    if n > whole // 2:
        return "a surface vacancy" if n == whole - 1 else "surface vacancies or a step"
    return "an adatom" if n == 1 else "adatoms or a step"
