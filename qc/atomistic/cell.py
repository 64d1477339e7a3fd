"""Atoms in a box that repeats in some directions, and their energy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.atomistic.energy import energy_forces
from qc.atomistic.neighbours import VerletList, neighbour_list
from qc.errors import ConvergenceError, NonFiniteError
from qc.potentials import Bonds, Potential

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Angstrom; extra reach of neighbour lists.
_SKIN = 0.6


@dataclass(frozen=True)
class Cell:
    """Atoms in a box that repeats in some directions.

    Parameters
    ----------
    positions : (n, 3) float64, Angstrom
    types : (n,) int64
    cell : (3, 3) float64, Angstrom
    pbc : tuple of 3 bool
    """

    positions: Array
    types: IntArray
    cell: Array
    pbc: tuple[bool, bool, bool] = (True, True, True)


class CellEnergy:
    """Energy of a cell above that of as many atoms of a perfect crystal.

    Parameters
    ----------
    potential : Potential
    cell : Cell
    per_atom : float, eV
        Energy of an atom of the perfect crystal.
    """

    def __init__(self, potential: Potential, cell: Cell, per_atom: float) -> None:
        self.potential, self.cell, self.per_atom = potential, cell, per_atom
        self._list = VerletList(potential.cutoff, _SKIN, cell.cell, cell.pbc)
        self._long = VerletList(potential.cutoff + _SKIN, _SKIN, cell.cell, cell.pbc)

    def energy_forces(self, y: Array) -> tuple[float, Array]:
        """Return energy, eV, and forces (n, 3), eV/Angstrom."""
        self._list.update(y)
        energies, forces = energy_forces(self.potential, y, self.cell.types, self._list.list)
        return math.fsum(energies - self.per_atom), forces

    def stretched(self, y: Array, stretch: float) -> tuple[float, Array, float, Array]:
        """Return energy and derivatives of atoms and cell after a stretch along z.

        Returns
        -------
        energy : float, eV
        forces : (n, 3) float64, eV/Angstrom
            On the positions ``y`` before the stretch.
        by_stretch : float, eV
        joint : (3,) float64, eV/Angstrom
            Derivative with a displacement of the third cell vector.
        """
        if stretch < 0.3:
            raise ConvergenceError("the layers of a stack fall onto each other")
        scale = np.array([1.0, 1.0, stretch])
        if stretch * (self.potential.cutoff + _SKIN) >= self.potential.cutoff:
            self._long.update(y)
            found = self._long.list
        else:
            # So strong a compression brings in atoms that the list does not have.
            found = neighbour_list(
                y, self.potential.cutoff / stretch, self.cell.cell, self.cell.pbc
            )
        vectors = found.vectors(y) * scale
        types = self.cell.types
        bonds = Bonds(found.start, vectors, types, types[found.neighbours])
        energies, g = self.potential.bond_gradients(bonds)
        if not (np.isfinite(energies).all() and np.isfinite(g).all()):
            raise NonFiniteError(f"{type(self.potential).__name__}: the energy is not finite")
        forces, sites = np.empty_like(y), found.sites
        for c in range(3):
            forces[:, c] = np.bincount(sites, g[:, c] * scale[c], len(y))
            forces[:, c] -= np.bincount(found.neighbours, g[:, c] * scale[c], len(y))
        by_stretch = float(g[:, 2] @ vectors[:, 2]) / stretch
        joint = np.round(found.offsets[:, 2] / self.cell.cell[2, 2]) @ g
        return math.fsum(energies - self.per_atom), forces, by_stretch, joint
