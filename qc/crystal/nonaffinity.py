"""Non-affinity of atoms: how far a neighbourhood is from an affine image of the crystal."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from qc.crystal.affine import LocalFit, falk_langer, improve, lattice_matched, star_reach
from qc.crystal.bonds import (
    BondList,
    Structure,
    bond_list,
    checked_structure,
    nearest_distance,
    take_rows,
)
from qc.crystal.crystal import Crystal
from qc.crystal.recognition.orientation import orient
from qc.crystal.recognition.recognise import recognise
from qc.errors import CrystalError
from qc.numerics.checks import kind

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Above this a fit is tried again from the deformation gradients of better neighbours.
_SUSPECT = 0.02


def nonaffinity(
    atoms: Atoms,
    crystal: Crystal | None = None,
    reference: Atoms | None = None,
    *,
    F: ArrayLike | None = None,
    radius: float | None = None,
) -> Array:
    """Return the non-affinity D2 of every atom, in squared nearest-neighbour distances.

    With a reference: against the neighbours that each atom has there (Falk & Langer). Without:
    against the lattice, each neighbour matched to the nearest lattice vector, so that a slipped
    but perfect crystal has none, and a missing or surplus neighbour counts like one that is a
    whole spacing away. Homogeneous deformation and rotation never count.

    Parameters
    ----------
    atoms : ase.Atoms
        Any periodicity.
    crystal : Crystal, optional
        The perfect crystal; recognised from the atoms if neither it nor a reference is given.
    reference : ase.Atoms, optional
        The same atoms in the same order and periodicity, before.
    F : (3, 3) float, optional
        Approximate mean deformation gradient from the crystal to the atoms, rotation included.
        Found from the atoms if the crystal as it stands does not fit them.
    radius : float, Angstrom, optional
        Neighbours within it count, in the reference state; by default those of
        ``crystal.star_radius``, or of the first one or two shells of the reference.

    Returns
    -------
    d2 : (n,) float

    Raises
    ------
    CrystalError
        NaN, coincident atoms, a reference that does not fit, or no crystal given and none found.

    Source: Falk & Langer, Phys. Rev. E 57 (1998) 7192.
    """
    structure = checked_structure(atoms)
    if crystal is not None:
        kind("crystal", crystal, Crystal, CrystalError)
    if reference is not None:
        return _against_reference(
            structure, checked_structure(reference, "reference"), crystal, radius
        )
    return lattice_fit(atoms, crystal, F=F, radius=radius)[0].d2


def lattice_fit(
    atoms: Atoms,
    crystal: Crystal | None = None,
    *,
    F: ArrayLike | None = None,
    radius: float | None = None,
) -> tuple[LocalFit, BondList]:
    """Return the lattice-matched fit of every atom and the bonds it was made from.

    Parameters and errors as in `nonaffinity`. Where a fit is poor it is tried again from the
    deformation gradient of the best neighbour, so that lattice rotations that build up over a
    distance are followed.
    """
    structure = checked_structure(atoms)
    if crystal is None:
        found = recognise(atoms)
        crystal, F = found.crystal, found.F
    elif F is None:
        F = _first_guess(structure, crystal)
    F = np.asarray(F, dtype=float)
    if F.shape != (3, 3) or not np.isfinite(F).all() or np.linalg.det(F) <= 0:
        raise CrystalError("F must be a finite (3, 3) matrix of positive determinant")
    return fit_structure(structure, crystal, F, radius)


def fit_structure(
    structure: Structure, crystal: Crystal, F: Array, radius: float | None = None
) -> tuple[LocalFit, BondList]:
    """Return the lattice-matched fit of a checked structure, given a good first guess of F."""
    stretch = float(np.linalg.svd(F, compute_uv=False).max())
    bonds = bond_list(structure, 1.05 * stretch * star_reach(crystal, radius))
    fit = lattice_matched(bonds.start, bonds.vectors, crystal, F, radius=radius)
    suspect = np.flatnonzero(fit.d2 > _SUSPECT)
    for _ in range(10):
        with_bonds = suspect[np.diff(bonds.start)[suspect] > 0]
        start, picked = take_rows(bonds.start, with_bonds)
        if not len(picked):
            break
        best_neighbour = _best_neighbour(start, bonds.neighbours[picked], fit.d2)
        useful = fit.d2[best_neighbour] < 0.5 * fit.d2[with_bonds]
        rows = with_bonds[useful]
        if not len(rows):
            break
        start, picked = take_rows(bonds.start, rows)
        again = lattice_matched(
            start, bonds.vectors[picked], crystal, fit.F[best_neighbour[useful]], radius=radius
        )
        better = improve(fit, again, rows, bonds.start)
        if not len(better):
            break
        # An improved site may help its neighbours in the next round.
        near = np.unique(bonds.neighbours[take_rows(bonds.start, better)[1]])
        suspect = near[fit.d2[near] > _SUSPECT]
    return fit, bonds


def _best_neighbour(start: IntArray, neighbours: IntArray, d2: Array) -> IntArray:
    """Return the neighbour of lowest d2 of each row; no row may be empty."""
    row = np.repeat(np.arange(len(start) - 1), np.diff(start))
    order = np.lexsort((neighbours, d2[neighbours], row))
    return neighbours[order][start[:-1]]


def _first_guess(structure: Structure, crystal: Crystal) -> Array:
    """Return the identity if the crystal as oriented fits most bonds, else search for it."""
    bonds = bond_list(structure, 1.05 * star_reach(crystal))
    fit = lattice_matched(bonds.start, bonds.vectors, crystal, iterations=2)
    close = np.linalg.norm(bonds.vectors, axis=1) < 1.05 * crystal.star_radius
    if (fit.match >= 0).sum() >= 0.8 * close.sum():
        return np.eye(3)
    # Where no lattice is found at all, every atom is non-affine, which is the answer.
    found = orient(structure, crystal)
    return np.eye(3) if found is None else found


def _against_reference(
    structure: Structure, reference: Structure, crystal: Crystal | None, radius: float | None
) -> Array:
    if len(structure) != len(reference):
        raise CrystalError(
            f"reference: {len(reference)} atoms, but {len(structure)} in the current state"
        )
    if structure.pbc != reference.pbc:
        raise CrystalError(f"reference: pbc {reference.pbc}, current state {structure.pbc}")
    if not np.array_equal(structure.symbols, reference.symbols):
        bad = int(np.flatnonzero(structure.symbols != reference.symbols)[0])
        raise CrystalError(
            f"reference: atom {bad} is {reference.symbols[bad]}, not {structure.symbols[bad]}; "
            "the order of atoms must be the same"
        )
    if crystal is not None:
        spacing = crystal.nearest_neighbour
        radius = crystal.star_radius if radius is None else radius
        bonds = bond_list(reference, radius, "reference")
    else:
        spacing = nearest_distance(reference, "reference")
        if radius is None:
            # 1.35 spacings lie beyond the second shell of bcc and before that of fcc and hcp;
            # four-fold coordinated lattices need their second shell for a meaningful fit.
            bonds = bond_list(reference, 1.35 * spacing, "reference")
            if np.median(np.diff(bonds.start)) < 6:
                bonds = bond_list(reference, 1.75 * spacing, "reference")
        else:
            bonds = bond_list(reference, radius, "reference")
    current = _followed_bonds(structure, reference, bonds)
    return falk_langer(bonds.start, bonds.vectors, current, spacing)[0]


def _followed_bonds(structure: Structure, reference: Structure, bonds: BondList) -> Array:
    """Return the bonds of the reference in the current state, whatever wrapping was applied."""
    i, j = bonds.sites, bonds.neighbours
    y = structure.positions[j] - structure.positions[i] + bonds.shifts @ structure.cell
    periodic = np.array(structure.pbc)
    if periodic.any():
        # The bond that stays closest to its affine image under the cells' deformation.
        deformation = np.linalg.solve(reference.cell, structure.cell)
        inverse = np.linalg.inv(structure.cell)
        jump = np.round((y - bonds.vectors @ deformation) @ inverse) * periodic
        y -= jump @ structure.cell
    return y
