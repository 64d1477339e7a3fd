"""A crystal as layers parallel to a lattice plane, which surfaces and faults are cut from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.atomistic.cell import Cell
from qc.crystal import Crystal
from qc.crystal.lattice import gauss_reduce, rational_direction, unimodular_completion
from qc.errors import CrystalError
from qc.potentials import Potential

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Layers:
    """One repeat of a crystal along the normal of a plane, which is z.

    Parameters
    ----------
    cell : (3, 3) float64, Angstrom
        Two short vectors in the plane z = 0, and the step to the next repeat.
    basis : (n_s, 3) float64, Angstrom
        Sites by height, the first at zero.
    types : (n_s,) int64
    rotation : (3, 3) float64
        From the crystal's Cartesian axes to these.
    gaps : (n_g,) float64, Angstrom
        Distances between successive planes of atoms, the last one that to the next repeat.
    starts : (n_g,) int64
        First site of the plane above each gap; 0 for the last gap.
    """

    cell: Array
    basis: Array
    types: IntArray
    rotation: Array
    gaps: Array
    starts: IntArray

    @property
    def area(self) -> float:
        """Area of the cell in the plane, Angstrom^2."""
        return float(np.linalg.det(self.cell[:2, :2]))

    @property
    def height(self) -> float:
        """Height of one repeat, Angstrom."""
        return float(self.cell[2, 2])

    def stack(self, thickness: float, gap: int = 0, odd: bool = False) -> Cell:
        """Return repeats of at least a thickness, cut in one of the gaps, as a fully periodic cell.

        The lowest plane of atoms is the one above the gap, at z = 0. An ``odd`` stack has one more
        plane, a half repeat (two equal planes in a repeat).
        """
        n = max(1, math.ceil(thickness / self.height - 1e-9))
        first = int(self.starts[gap])
        order = np.roll(np.arange(len(self.basis)), -first)
        up = (np.arange(len(self.basis)) < first)[order]
        basis = self.basis[order] + up[:, None] * self.cell[2] - self.basis[first]
        positions = (np.arange(n)[:, None, None] * self.cell[2] + basis).reshape(-1, 3)
        types = np.tile(self.types[order], n)
        cell = np.array([*self.cell[:2], n * self.cell[2]])
        if odd:
            positions = np.vstack([positions, n * self.cell[2]])
            types = np.append(types, types[0])
            cell[2] += basis[len(basis) // 2]
        return Cell(positions, types, reduced(cell))


def reduced(cell: Array) -> Array:
    """Return a cell whose third vector leans over by less than the other two."""
    out = cell.copy()
    lean = np.linalg.solve(cell[:2, :2].T, cell[2, :2])
    out[2] -= np.round(lean) @ cell[:2]
    return out


def layers_of(crystal: Crystal, plane: Sequence[int], potential: Potential) -> Layers:
    """Return a crystal as layers parallel to a plane, with the types of a potential.

    The plane has three Miller indices of the conventional cell, or four (hexagonal); CrystalError
    for those that are no lattice plane.
    """
    hkl = np.asarray(plane, dtype=float)
    if hkl.shape == (4,):
        hkl = hkl[[0, 1, 3]]
    if hkl.shape != (3,) or not hkl.any():
        raise CrystalError(f"plane {tuple(plane)}: Miller indices are 3 or 4 integers, not all 0")
    normal = np.linalg.inv(crystal.conventional) @ hkl
    integers = rational_direction(crystal.cell @ normal)
    if integers is None:
        raise CrystalError(f"plane {tuple(plane)} is no plane of this lattice")
    # Rows dual to those of the completion: two vectors in the plane, one a single step out of it.
    steps = np.round(np.linalg.inv(unimodular_completion(integers))).astype(np.int64).T
    vectors = steps @ crystal.cell
    vectors[:2] = gauss_reduce(vectors[0], vectors[1]) @ vectors[:2]
    z = normal / np.linalg.norm(normal)
    if vectors[2] @ z < 0:
        vectors[2] *= -1
    x = vectors[0] / np.linalg.norm(vectors[0])
    rotation = np.array([x, np.cross(z, x), z])
    cell = vectors @ rotation.T
    cell[:2, 2] = 0.0
    if np.linalg.det(cell[:2, :2]) < 0:
        cell[1] *= -1
    cell = reduced(cell)
    basis = crystal.basis @ rotation.T
    tolerance = 1e-6 * crystal.a
    levels = np.floor((basis[:, 2] + tolerance) / cell[2, 2])
    basis -= levels[:, None] * cell[2]
    order = np.argsort(basis[:, 2], kind="stable")
    heights = basis[order, 2]
    jumps = np.append(np.diff(heights), heights[0] + cell[2, 2] - heights[-1])
    gaps = np.flatnonzero(jumps > tolerance)
    return Layers(
        cell=cell,
        basis=basis[order] - basis[order[0]],
        types=potential.types_of(crystal.symbols)[order],
        rotation=rotation,
        gaps=jumps[gaps],
        starts=(gaps + 1) % len(basis),
    )
