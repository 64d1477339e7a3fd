"""What arrays must satisfy before they reach a kernel, which itself checks nothing."""

from __future__ import annotations

import numpy as np

from qc.errors import InputError, UnknownSpeciesError
from qc.numerics.jit import plain

from .base import Array, Bonds, IntArray, Potential


def check_bonds(potential: Potential, bonds: Bonds) -> tuple[IntArray, Array, IntArray, IntArray]:
    """Return contiguous start, vectors, site types and bond types of well-formed bonds.

    Raises
    ------
    InputError
        Shapes that do not fit, a NaN or infinite bond, a bond of zero length; the message names
        the site.
    UnknownSpeciesError
        A type index outside the potential's species.
    """
    start = plain(bonds.start, np.int64)
    vectors = plain(bonds.vectors)
    site_types = plain(bonds.site_types, np.int64)
    bond_types = plain(bonds.bond_types, np.int64)
    _check_rows(start, len(vectors))
    if vectors.ndim != 2 or vectors.shape[1] != 3:
        raise InputError(f"bond vectors must have shape (nb, 3), not {vectors.shape}")
    if len(site_types) != len(start) - 1 or len(bond_types) != len(vectors):
        raise InputError(
            f"{len(site_types)} site types and {len(bond_types)} bond types for "
            f"{len(start) - 1} sites and {len(vectors)} bonds"
        )
    check_types(potential, site_types, "site")
    check_types(potential, bond_types, "bond")
    # A cheap test first: a sum is finite unless a term is not, or a finite one is absurd.
    if not np.isfinite(vectors.sum()) and not np.isfinite(vectors).all():
        b = int(np.argmin(np.isfinite(vectors).all(axis=1)))
        raise InputError(f"bond {b} of site {_row(start, b)} is not finite: {vectors[b]}")
    if len(vectors):
        lengths = np.einsum("bc,bc->b", vectors, vectors)
        b = int(np.argmin(lengths))
        if lengths[b] == 0.0:
            raise InputError(f"bond {b} of site {_row(start, b)} has zero length")
    return start, vectors, site_types, bond_types


def check_star(
    potential: Potential, F: Array, star: Array, site_type: int, star_types: IntArray
) -> tuple[Array, Array, IntArray]:
    """Return contiguous deformation gradients, star bonds and their types.

    Raises
    ------
    InputError
        Shapes that do not fit, or a value that is not finite; the message names the element.
    UnknownSpeciesError
        A type index outside the potential's species.
    """
    gradients = plain(F)
    bonds = plain(star)
    types = plain(star_types, np.int64)
    if gradients.ndim != 3 or gradients.shape[1:] != (3, 3):
        raise InputError(f"F must have shape (n, 3, 3), not {gradients.shape}")
    if bonds.ndim != 2 or bonds.shape[1] != 3 or types.shape != (len(bonds),):
        raise InputError(f"star {bonds.shape} and its types {types.shape} do not fit")
    if not np.isfinite(gradients).all():
        bad = int(np.argmin(np.isfinite(gradients).all(axis=(1, 2))))
        raise InputError(f"F of element {bad} is not finite")
    if not np.isfinite(bonds).all():
        raise InputError("the star has a bond that is not finite")
    check_types(potential, np.array([site_type]), "site")
    check_types(potential, types, "star bond")
    return gradients, bonds, types


def check_types(potential: Potential, types: IntArray, what: str) -> None:
    """Raise `UnknownSpeciesError` for a type index the potential does not have."""
    if len(types) and (types.min() < 0 or types.max() >= len(potential.species)):
        bad = int(np.argmax((types < 0) | (types >= len(potential.species))))
        raise UnknownSpeciesError(
            f"{what} {bad} has type {types[bad]}; {type(potential).__name__} has "
            f"{len(potential.species)} species: {', '.join(potential.species)}"
        )


def _check_rows(start: IntArray, n_bonds: int) -> None:
    if (
        start.ndim != 1
        or len(start) == 0
        or start[0] != 0
        or start[-1] != n_bonds
        or (np.diff(start) < 0).any()
    ):
        raise InputError(f"start must rise from 0 to the number of bonds, {n_bonds}")


def _row(start: IntArray, bond: int) -> int:
    return int(np.searchsorted(start, bond, side="right")) - 1
