"""Constructors of crystals: the common structures, oriented by Miller directions, and ASE cells."""

from __future__ import annotations

import math

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from qc.crystal.crystal import Crystal, hexagonal_cell
from qc.crystal.lattice import gauss_reduce, hermite_basis, minkowski_transform
from qc.crystal.miller import Direction, orientation
from qc.errors import CrystalError
from qc.numerics.checks import kind, positive

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

FCC_CELL = np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
BCC_CELL = np.array([[-1.0, 1, 1], [1, -1, 1], [1, 1, -1]]) / 2

#: What `standard_crystal` makes.
STRUCTURES = ("fcc", "bcc", "hcp", "diamond")

#: c/a of a close-packed stack of spheres.
IDEAL_RATIO = math.sqrt(8 / 3)


def _cubic(
    name: str,
    cell: Array,
    basis: list[list[float]],
    symbol: str,
    a: float,
    axes: tuple[Direction | None, Direction | None, Direction | None],
) -> Crystal:
    a = positive(f"{name} lattice constant", a, CrystalError)
    rotation = orientation(np.eye(3), *axes)
    return Crystal(
        cell=a * cell @ rotation.T,
        basis=a * np.array(basis) @ rotation.T,
        symbols=(symbol,) * len(basis),
        name=name,
        a=a,
        rotation=rotation,
    )


def fcc(
    symbol: str,
    a: float,
    x: Direction | None = None,
    y: Direction | None = None,
    z: Direction | None = None,
) -> Crystal:
    """Return a face-centred cubic crystal.

    Parameters
    ----------
    symbol : str
        Chemical symbol.
    a : float, Angstrom
        Edge of the cube.
    x, y, z : sequence of int, optional
        Miller directions along the Cartesian axes: none, two or three, orthogonal.

    Raises
    ------
    CrystalError
        Bad lattice constant or symbol, or directions that are not an orthogonal right-handed
        triad.
    """
    return _cubic("fcc", FCC_CELL, [[0, 0, 0]], symbol, a, (x, y, z))


def bcc(
    symbol: str,
    a: float,
    x: Direction | None = None,
    y: Direction | None = None,
    z: Direction | None = None,
) -> Crystal:
    """Return a body-centred cubic crystal; parameters and errors as in `fcc`."""
    return _cubic("bcc", BCC_CELL, [[0, 0, 0]], symbol, a, (x, y, z))


def diamond(
    symbol: str,
    a: float,
    x: Direction | None = None,
    y: Direction | None = None,
    z: Direction | None = None,
) -> Crystal:
    """Return a diamond-cubic crystal, two atoms per cell; parameters and errors as in `fcc`."""
    return _cubic("diamond", FCC_CELL, [[0, 0, 0], [0.25, 0.25, 0.25]], symbol, a, (x, y, z))


def hcp(
    symbol: str,
    a: float,
    c: float,
    x: Direction | None = None,
    y: Direction | None = None,
    z: Direction | None = None,
) -> Crystal:
    """Return a hexagonal close-packed crystal, two atoms per cell.

    Parameters
    ----------
    symbol : str
        Chemical symbol.
    a, c : float, Angstrom
        Lattice constants.
    x, y, z : sequence of int, optional
        Directions along the Cartesian axes in three indices of the hexagonal cell (``a1`` and
        ``a2`` at 120 degrees) or four Miller-Bravais indices.

    Raises
    ------
    CrystalError
        As in `fcc`.
    """
    a = positive("hcp lattice constant", a, CrystalError)
    c = positive("hcp lattice constant c", c, CrystalError)
    cell = hexagonal_cell(a, c)
    rotation = orientation(cell, x, y, z)
    basis = np.array([[0, 0, 0], [1 / 3, 2 / 3, 1 / 2]]) @ cell
    return Crystal(cell @ rotation.T, basis @ rotation.T, (symbol, symbol), "hcp", a, rotation)


def standard_crystal(symbol: str, structure: str, a: float, ratio: float | None = None) -> Crystal:
    """Return a crystal on its conventional axes: cube axes, or x along a and z along c for hcp.

    Parameters
    ----------
    symbol : str
    structure : str
        One of `STRUCTURES`.
    a : float, Angstrom
    ratio : float, optional
        c/a of hcp; that of close-packed spheres by default.

    Raises
    ------
    CrystalError
        Another structure, or a bad symbol or lattice constant.
    """
    if structure not in STRUCTURES:
        raise CrystalError(f"structure must be one of {', '.join(STRUCTURES)}, not '{structure}'")
    if structure == "hcp":
        return hcp(symbol, a, a * (IDEAL_RATIO if ratio is None else ratio))
    return {"fcc": fcc, "bcc": bcc, "diamond": diamond}[structure](symbol, a)


def triangular(symbol: str, a: float) -> Crystal:
    """Return a triangular monolayer in the plane z = 0, a nearest-neighbour row along x."""
    a = positive("triangular lattice constant", a, CrystalError)
    cell = np.array([[a, 0, 0], [a / 2, a * np.sqrt(3) / 2, 0], [0, 0, 1]])
    return Crystal(cell, np.zeros((1, 3)), (symbol,), "triangular", a, np.eye(3), "monolayer")


def from_ase(atoms: Atoms, tolerance: float = 1e-4) -> Crystal:
    """Return the crystal of a periodic ASE cell, primitive or not, orientation kept.

    Pure translations that map the structure onto itself are found and divided out, so a
    conventional cell gives its primitive lattice. Cubic and hexagonal close-packed structures
    are recognised and named; every other lattice is ``"bravais"`` or ``"multilattice"``.

    Parameters
    ----------
    atoms : ase.Atoms
        Periodic in three directions; or in the first two with all atoms at one height z, which
        gives a monolayer.
    tolerance : float, Angstrom
        Largest mismatch of positions that still counts as the same structure.

    Raises
    ------
    CrystalError
        No atoms, a singular cell, NaN, coincident atoms, or periodicity that fits neither case.
    """
    kind("atoms", atoms, Atoms, CrystalError)
    positive("tolerance", tolerance, CrystalError)
    if len(atoms) == 0:
        raise CrystalError("from_ase: no atoms")
    cell, positions, monolayer = _checked_cell(atoms, tolerance)
    numbers = atoms.get_atomic_numbers()
    fractions = (positions - positions[0]) @ np.linalg.inv(cell)
    _refuse_coincident(cell, fractions, tolerance)
    translations = _pure_translations(cell, fractions, numbers, tolerance)
    n_t = len(translations)
    rows = np.vstack([n_t * np.eye(3, dtype=np.int64), np.round(n_t * translations)])
    generators = hermite_basis(rows.astype(np.int64)) / n_t @ cell
    if monolayer:
        primitive = np.eye(3)
        primitive[:2] = gauss_reduce(generators[0], generators[1]) @ generators[:2]
        if np.linalg.det(primitive) < 0:
            primitive[1] *= -1
    else:
        primitive = minkowski_transform(generators) @ generators
        if np.linalg.det(primitive) < 0:
            primitive = -primitive
    chosen = _one_per_cell(primitive, positions - positions[0], tolerance)
    offsets = positions[chosen] - positions[0]
    wrapped = offsets - np.floor(offsets @ np.linalg.inv(primitive) + 1e-6) @ primitive
    if monolayer:
        wrapped[:, 2] = 0.0
    wrapped[0] = 0.0
    symbols = tuple(atoms.symbols[i] for i in chosen)
    name = "bravais" if len(chosen) == 1 else "multilattice"
    crystal = Crystal(
        cell=primitive,
        basis=wrapped,
        symbols=symbols,
        name=name,
        a=float(np.linalg.norm(primitive[0])),
        rotation=np.eye(3),
        mode="monolayer" if monolayer else "3d",
    )
    return _named(crystal, tolerance)


def _checked_cell(atoms: Atoms, tolerance: float) -> tuple[Array, Array, bool]:
    cell = np.array(atoms.cell[:], dtype=float)
    positions = np.array(atoms.positions, dtype=float)
    if not (np.isfinite(cell).all() and np.isfinite(positions).all()):
        raise CrystalError("from_ase: NaN or inf in the cell or positions")
    if max(np.abs(cell).max(), np.abs(positions).max()) > 1e7:
        raise CrystalError("from_ase: the cell or positions hold absurd values")
    pbc = tuple(bool(p) for p in atoms.pbc)
    monolayer = pbc == (True, True, False) and np.ptp(positions[:, 2]) < tolerance
    if monolayer:
        if np.abs(cell[:2, 2]).max() > tolerance:
            raise CrystalError("from_ase: a monolayer's cell must lie in the plane z = 0")
        cell[2] = [0, 0, 1]
    elif pbc != (True, True, True):
        raise CrystalError(
            f"from_ase: pbc={pbc}; a crystal is periodic in three directions, or in the first two "
            "with all atoms at one height"
        )
    lengths = np.linalg.norm(cell, axis=1)
    if lengths.min() == 0 or abs(np.linalg.det(cell)) < 1e-9 * lengths.prod():
        raise CrystalError("from_ase: the cell is singular")
    return cell, positions, monolayer


def _pure_translations(cell: Array, fractions: Array, numbers: IntArray, tolerance: float) -> Array:
    """Fractional translations (n_t, 3), the zero one first, that leave the structure unchanged."""
    species, counts = np.unique(numbers, return_counts=True)
    rare = np.flatnonzero(numbers == species[np.argmin(counts)])
    groups = [fractions[numbers == z] for z in species]
    trees = [cKDTree(_wrapped(group), boxsize=1.0) for group in groups]
    found = []
    for j in rare:
        t = fractions[j] - fractions[rare[0]]
        if all(
            _onto(cell, group + t, tree, tolerance)
            for group, tree in zip(groups, trees, strict=True)
        ):
            found.append(t - np.round(t))
    found = sorted(found, key=lambda t: float(np.abs(t).sum()))
    return np.array(found)


def _wrapped(fractions: Array) -> Array:
    f = fractions - np.floor(fractions)
    f[f >= 1.0] = 0.0
    return f


def _onto(cell: Array, fractions: Array, tree: cKDTree, tolerance: float) -> bool:
    """Say whether every point coincides with a point of the tree, modulo the cell."""
    wrapped = _wrapped(fractions)
    _, nearest = tree.query(wrapped)
    d = wrapped - tree.data[nearest]
    d -= np.round(d)
    return bool(np.linalg.norm(d @ cell, axis=1).max() < tolerance)


def _refuse_coincident(cell: Array, fractions: Array, tolerance: float) -> None:
    reach = tolerance * np.linalg.norm(np.linalg.inv(cell), axis=0).max()
    if not 0 < reach < 0.5:
        raise CrystalError("from_ase: the cell is too small or too thin")
    wrapped = _wrapped(fractions)
    for i, j in sorted(cKDTree(wrapped, boxsize=1.0).query_pairs(reach * np.sqrt(3))):
        d = wrapped[i] - wrapped[j]
        if np.linalg.norm((d - np.round(d)) @ cell) < tolerance:
            raise CrystalError(f"from_ase: atoms {i} and {j} coincide")


def _one_per_cell(cell: Array, offsets: Array, tolerance: float) -> list[int]:
    """List one atom of each class that the primitive cell makes equivalent."""
    fractions = offsets @ np.linalg.inv(cell)
    chosen: list[int] = []
    for i in range(len(fractions)):
        d = fractions[i] - fractions[chosen]
        d -= np.round(d)
        close = np.flatnonzero(np.linalg.norm(d @ cell, axis=1) < 2 * tolerance)
        if not len(close):
            chosen.append(i)
    return chosen


def _named(crystal: Crystal, tolerance: float) -> Crystal:
    """Return the crystal with name, lattice constant and rotation if its structure is known."""
    if crystal.dim_lattice == 2:
        return crystal
    same = len(set(crystal.symbols)) == 1
    candidates: list[Crystal] = []
    symbol, volume = crystal.symbols[0], crystal.volume
    if crystal.n_sublattices == 1:
        candidates = [fcc(symbol, (4 * volume) ** (1 / 3)), bcc(symbol, (2 * volume) ** (1 / 3))]
    elif crystal.n_sublattices == 2 and same:
        a = float(np.sort(np.linalg.norm(crystal.cell, axis=1))[0])
        lengths = np.linalg.norm(crystal.cell, axis=1)
        c = volume / (np.sqrt(3) / 2 * a**2)
        candidates = [diamond(symbol, (4 * volume) ** (1 / 3))]
        for i in range(3):
            a_i = float(np.delete(lengths, i).mean())
            candidates.append(hcp(symbol, a_i, volume / (np.sqrt(3) / 2 * a_i**2)))
        candidates.append(hcp(symbol, a, c))
    for standard in candidates:
        rotation = _matching_rotation(standard, crystal, tolerance)
        if rotation is not None:
            return Crystal(
                cell=crystal.cell,
                basis=crystal.basis,
                symbols=crystal.symbols,
                name=standard.name,
                a=standard.a,
                rotation=rotation,
            )
    return crystal


def _matching_rotation(standard: Crystal, crystal: Crystal, tolerance: float) -> Array | None:
    """Rotation that maps the standard crystal onto the given one, nearest to the identity."""
    radius = 1.01 * float(np.linalg.norm(standard.cell, axis=1).max())
    lattice = Crystal(
        crystal.cell, np.zeros((1, 3)), crystal.symbols[:1], "bravais", crystal.a, np.eye(3)
    )
    star = lattice.star(radius)
    lengths = np.linalg.norm(star, axis=1)
    rows = [star[np.abs(lengths - np.linalg.norm(v)) < tolerance] for v in standard.cell]
    gram = standard.cell @ standard.cell.T
    best, best_trace = None, -np.inf
    inverse = np.linalg.inv(standard.cell)
    slack = 2 * tolerance * radius
    for p in rows[0]:
        for q in rows[1][np.abs(rows[1] @ p - gram[0, 1]) < slack]:
            fits = (np.abs(rows[2] @ p - gram[0, 2]) < slack) & (
                np.abs(rows[2] @ q - gram[1, 2]) < slack
            )
            for r in rows[2][fits]:
                rotation = (inverse @ np.array([p, q, r])).T
                u, _, vt = np.linalg.svd(rotation)
                rotation = u @ vt
                if np.linalg.det(rotation) < 0 or np.trace(rotation) <= best_trace + 1e-9:
                    continue
                if _maps_basis(standard, crystal, rotation, 10 * tolerance):
                    best, best_trace = rotation, float(np.trace(rotation))
    return best


def _maps_basis(standard: Crystal, crystal: Crystal, rotation: Array, tolerance: float) -> bool:
    """Say whether some origin puts the rotated standard basis onto the crystal's."""
    inverse = crystal.inverse_cell
    turned = standard.basis @ rotation.T
    for origin in crystal.basis:
        d = (turned[:, None] + origin - crystal.basis[None]) @ inverse
        d = (d - np.round(d)) @ crystal.cell
        if (np.linalg.norm(d, axis=2).min(axis=1) < tolerance).all():
            return True
    return False
