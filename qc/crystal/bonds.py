"""Checked structures and their bonds: what every analysis of ASE Atoms starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from qc.errors import CrystalError
from qc.numerics.checks import check_atomic_numbers, kind, refuse_images

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Atoms closer than this, in Angstrom, are the same atom twice.
COINCIDENT = 1e-3
#: More neighbours than this within a cutoff mean overlapping atoms, not matter.
MOST_NEIGHBOURS = 2000


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms whose positions and cell have been checked.

    Parameters
    ----------
    positions : (n, 3) float, Angstrom
    cell : (3, 3) float, Angstrom
        Completed by orthogonal vectors where no periodic vector was given.
    pbc : tuple of 3 bool
    symbols : (n,) array of str
    """

    positions: Array
    cell: Array
    pbc: tuple[bool, bool, bool]
    symbols: NDArray[np.str_]

    def __len__(self) -> int:
        """Return the number of atoms."""
        return len(self.positions)


@dataclass(frozen=True, eq=False)
class BondList:
    """All bonds shorter than a cutoff, in CSR order.

    Parameters
    ----------
    start : (n + 1,) int64
    neighbours : (nb,) int64
    vectors : (nb, 3) float, Angstrom
        From the atom to the image of its neighbour.
    shifts : (nb, 3) int64
        Periodic image of the neighbour, in cell vectors.
    """

    start: IntArray
    neighbours: IntArray
    vectors: Array
    shifts: IntArray

    @property
    def sites(self) -> IntArray:
        """(nb,) int64: the atom that each bond belongs to."""
        return np.repeat(np.arange(len(self.start) - 1, dtype=np.int64), np.diff(self.start))


def checked_structure(atoms: Atoms, what: str = "atoms") -> Structure:
    """Return the checked positions, cell and periodicity of ASE Atoms.

    Raises
    ------
    CrystalError
        No atoms, NaN or inf, or cell vectors of periodic directions that are zero or dependent.
    """
    kind(what, atoms, Atoms, CrystalError)
    check_atomic_numbers(atoms.numbers, CrystalError)
    positions = np.ascontiguousarray(atoms.positions, dtype=np.float64)
    cell = np.array(atoms.cell[:], dtype=np.float64)
    pbc = (bool(atoms.pbc[0]), bool(atoms.pbc[1]), bool(atoms.pbc[2]))
    if len(positions) == 0:
        raise CrystalError(f"{what}: no atoms")
    finite = np.isfinite(positions).all(axis=1)
    if not finite.all():
        bad = int(np.flatnonzero(~finite)[0])
        raise CrystalError(f"{what}: atom {bad} has a NaN or inf position {positions[bad]}")
    if np.abs(positions).max() > 1e7:
        bad = int(np.abs(positions).max(axis=1).argmax())
        raise CrystalError(f"{what}: atom {bad} lies absurdly far away, at {positions[bad]}")
    if not np.isfinite(cell).all() or np.abs(cell).max() > 1e7:
        raise CrystalError(f"{what}: the cell holds NaN, inf or absurd values")
    lengths = np.linalg.norm(cell, axis=1)
    for k in range(3):
        if pbc[k] and lengths[k] < 1e-3:
            raise CrystalError(f"{what}: periodic along cell vector {k}, which has no length")
        if not pbc[k]:
            cell[k] = 0.0
    periodic = cell[np.array(pbc)]
    if len(periodic):
        unit = periodic / np.linalg.norm(periodic, axis=1)[:, None]
        if np.linalg.svd(unit, compute_uv=False).min() < 1e-6:
            raise CrystalError(f"{what}: the cell is singular")
    return Structure(positions, complete_cell(cell), pbc, np.array(atoms.get_chemical_symbols()))


def bond_list(structure: Structure, cutoff: float, what: str = "atoms") -> BondList:
    """Return all bonds shorter than a cutoff, images and thin cells included.

    Raises
    ------
    CrystalError
        Two atoms coincide, so many lie within the cutoff that they overlap, or the cell is so thin
        or sheared that its images would not fit in memory.
    """
    positions, cell = structure.positions, structure.cell
    _refuse_crowding(structure, cutoff, what)
    inverse = np.asarray(np.linalg.inv(cell), dtype=np.float64)
    fractions = positions @ inverse
    wraps = np.where(structure.pbc, np.floor(fractions), 0.0)
    margin = cutoff * np.linalg.norm(inverse, axis=0) + 1e-9
    refuse_images(len(positions), margin[np.array(structure.pbc)], CrystalError, f"{what}: ")
    owners, shifts = _images(fractions - wraps, structure.pbc, margin)
    inside = positions - wraps @ cell
    tree = cKDTree(inside[owners] + shifts @ cell)
    pairs = cKDTree(inside).sparse_distance_matrix(tree, cutoff, output_type="ndarray")
    # An atom's own image with zero shift has the index of the atom: it comes first in the list.
    pairs = pairs[pairs["i"] != pairs["j"]]
    order = np.argsort(pairs["i"].astype(np.int64) * len(owners) + pairs["j"])
    i, point = pairs["i"][order].astype(np.int64), pairs["j"][order]
    j = owners[point]
    shift = (shifts[point] - wraps[j] + wraps[i]).astype(np.int64)
    r = (positions[j] - positions[i]) + shift @ cell
    if len(i):
        length = np.linalg.norm(r, axis=1)
        k = int(np.argmin(length))
        if length[k] < COINCIDENT:
            p, q = sorted((int(i[k]), int(j[k])))
            raise CrystalError(f"{what}: atoms {p} and {q} coincide")
    start = np.zeros(len(positions) + 1, dtype=np.int64)
    np.cumsum(np.bincount(i, minlength=len(positions)), out=start[1:])
    return BondList(start, j, r, shift)


def _images(
    fractions: Array, pbc: tuple[bool, bool, bool], margin: Array
) -> tuple[IntArray, Array]:
    """Return owner and shift of every atom and of every periodic image within the margins.

    The margins are the cutoff in heights of the cell. The atoms come first, in their order.
    """
    owners = np.arange(len(fractions), dtype=np.int64)
    shifts = np.zeros((len(fractions), 3))
    for k in np.flatnonzero(pbc):
        n = int(np.ceil(margin[k]))
        parts = [(owners, shifts)]
        for step in (v for v in range(-n, n + 1) if v):
            x = fractions[owners, k] + step
            near = np.flatnonzero((x > -margin[k]) & (x < 1 + margin[k]))
            moved = shifts[near]
            moved[:, k] = step
            parts.append((owners[near], moved))
        owners = np.concatenate([part[0] for part in parts])
        shifts = np.concatenate([part[1] for part in parts])
    return owners, shifts


def _refuse_crowding(structure: Structure, cutoff: float, what: str) -> None:
    """Refuse input whose neighbour list would not fit in memory."""
    n = len(structure)
    if all(structure.pbc) and n * cutoff**3 * 4.2 > MOST_NEIGHBOURS * abs(
        np.linalg.det(structure.cell)
    ):
        raise CrystalError(f"{what}: {n} atoms in so small a cell overlap")
    boxes = np.floor(structure.positions / cutoff).astype(np.int64)
    _, counts = np.unique(boxes, axis=0, return_counts=True)
    if counts.max() > MOST_NEIGHBOURS:
        raise CrystalError(f"{what}: {counts.max()} atoms within a box of {cutoff:.3g} Angstrom")


def segment_sum(values: Array, start: IntArray) -> Array:
    """Return the sums of CSR rows; an empty row gives zero."""
    out = np.zeros((len(start) - 1, *values.shape[1:]))
    filled = np.flatnonzero(np.diff(start))
    if len(filled):
        out[filled] = np.add.reduceat(values, start[filled], axis=0)
    return out


def take_rows(start: IntArray, rows: IntArray) -> tuple[IntArray, IntArray]:
    """Return the CSR start of a selection of rows and the bond indices it holds."""
    counts = np.diff(start)[rows]
    new = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum(counts, out=new[1:])
    bonds = np.arange(new[-1]) + np.repeat(start[rows] - new[:-1], counts)
    return new, bonds


def nearest_distance(structure: Structure, what: str = "atoms") -> float:
    """Return the median distance of an atom to its nearest neighbour, Angstrom.

    Raises
    ------
    CrystalError
        Fewer than half of the atoms have a neighbour within 12 Angstrom.
    """
    cutoff = 1.5
    while cutoff < 12:
        bonds = bond_list(structure, cutoff, what)
        has = np.diff(bonds.start) > 0
        if has.mean() > 0.75:
            length = np.linalg.norm(bonds.vectors, axis=1)
            return float(np.median(np.minimum.reduceat(length, bonds.start[:-1][has])))
        cutoff *= 1.25
    raise CrystalError(f"{what}: {len(structure)} atoms without neighbours within 12 Angstrom")
