"""The point group of a crystal: the rotations and reflections that map it onto itself."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from qc.crystal.crystal import Crystal

Array = NDArray[np.float64]

#: Two vectors are one if they differ by less, in units of the nearest-neighbour distance.
CLOSE = 1e-5


def point_group(crystal: Crystal) -> Array:
    """Return the orthogonal matrices that map a crystal onto itself, up to translations.

    In columns only those that keep the line, in a monolayer those of its plane.

    Parameters
    ----------
    crystal : Crystal

    Returns
    -------
    (n, 3, 3) float64
        The identity among them.
    """
    d = crystal.dim_lattice
    tolerance = CLOSE * crystal.nearest_neighbour
    short = (crystal._reduction @ crystal.cell)[:d]
    lengths = np.linalg.norm(short, axis=1)
    whole = _lattice_vectors(crystal, float(lengths.max()) + tolerance)
    norms = np.linalg.norm(whole, axis=1)
    images = [whole[np.abs(norms - length) < tolerance] for length in lengths]
    gram, scale = short @ short.T, float(lengths.max())
    out = []
    for choice in itertools.product(*images):
        other = np.array(choice)
        if np.abs(other @ other.T - gram).max() > tolerance * scale:
            continue
        if d == 2:
            rotation = np.eye(3)
            rotation[:2, :2] = np.linalg.solve(short[:, :2], other[:, :2]).T
        else:
            rotation = np.linalg.solve(short, other).T
        if crystal.is_columns and abs(abs(rotation[2, 2]) - 1.0) > CLOSE:
            continue
        if _keeps_basis(crystal, rotation, tolerance):
            u, _, vt = np.linalg.svd(rotation)
            out.append(u @ vt)
    return np.array(out)


def _lattice_vectors(crystal: Crystal, reach: float) -> Array:
    vectors, _, s = crystal.star_sites(reach, 0)
    return vectors[s == 0]


def _keeps_basis(crystal: Crystal, rotation: Array, tolerance: float) -> bool:
    """Say whether some translation brings the rotated basis onto the crystal, by species."""
    if crystal.is_bravais:
        return True
    turned, symbols = crystal.basis @ rotation.T, np.array(crystal.symbols)
    for s in np.nonzero(symbols == symbols[0])[0]:
        moved = turned + (crystal.basis[s] - turned[0])
        _, at, distance = crystal.integer_coordinates(moved)
        if distance.max() < tolerance and (symbols[at] == symbols).all():
            return True
    return False
