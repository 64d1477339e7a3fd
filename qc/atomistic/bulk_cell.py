"""Relaxation of the small periodic cells that the energies of simple defects come from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.atomistic.bulk_minimise import minimise
from qc.atomistic.energy import energy_forces
from qc.atomistic.neighbours import VerletList, neighbour_list
from qc.errors import ConvergenceError, NonFiniteError
from qc.numerics.threads import one_thread
from qc.potentials import Bonds, Potential

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Report = Callable[[str], None]

#: eV/Angstrom; the largest force left in a relaxed defect.
FORCE_TOLERANCE = 1e-4

#: Angstrom; extra reach of neighbour lists.
_SKIN = 0.6


def silent(text: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class DefectEnergy:
    """An energy before and after relaxation: eV for a point defect, eV/Angstrom^2 for a plane."""

    unrelaxed: float
    relaxed: float


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


@dataclass(frozen=True)
class Relaxed:
    """A relaxed cell.

    Parameters
    ----------
    energy : DefectEnergy, eV
        Above the perfect crystal.
    positions : (n, 3) float64, Angstrom
        Before the stretch.
    stretch : float
        Factor that the height of the cell ended at, 1 unless it was free.
    joint : (3,) float64, eV/Angstrom
        Derivative of the relaxed energy with a displacement of the third cell vector.
    """

    energy: DefectEnergy
    positions: Array
    stretch: float
    joint: Array

    @property
    def state(self) -> tuple[Array, float]:
        """Positions and stretch, as a start for the next relaxation."""
        return self.positions, self.stretch


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


def relax(
    potential: Potential,
    cell: Cell,
    per_atom: float,
    name: str,
    report: Report = silent,
    *,
    stretch: bool = False,
    start: tuple[Array, float] | None = None,
    disturb: float = 0.0,
) -> Relaxed:
    """Relax the atoms of a cell; or its layers: their heights only, and that of the cell.

    Parameters
    ----------
    potential : Potential
    cell : Cell
        Relaxed in all directions at fixed cell; with ``stretch`` along z only, with the third
        cell vector free to change its height.
    per_atom : float, eV
        Energy of an atom of the perfect crystal.
    name : str
        What is relaxed, for messages.
    report : callable
        Called with a line of text at each evaluation.
    stretch : bool
    start : (n, 3) float64 and float, optional
        Positions and stretch to start from; the cell as it is by default.
    disturb : float, Angstrom
        Size of a fixed small disturbance of the start, so that a symmetric saddle is left.

    Raises
    ------
    ConvergenceError
        The relaxation did not converge.
    NonFiniteError
        An energy or force is not finite.
    """
    energy = CellEnergy(potential, cell, per_atom)
    height = float(cell.cell[2, 2])
    joint, evaluations = np.zeros(3), 0

    def gradient_of(unknowns: Array) -> tuple[float, Array]:
        nonlocal joint, evaluations
        evaluations += 1
        if stretch:
            y = cell.positions.copy()
            y[:, 2] = unknowns[:-1]
            # The last unknown is the change of the height, spread over all layers, so that its
            # gradient is a force as well.
            value, forces, by_stretch, joint = energy.stretched(y, 1.0 + unknowns[-1] / height)
            gradient = np.append(-forces[:, 2], by_stretch / height)
        else:
            value, forces = energy.energy_forces(unknowns.reshape(-1, 3))
            gradient = -forces.ravel()
        report(
            f"{name}: evaluation {evaluations}, largest force "
            f"{np.abs(gradient).max():.1e} eV/Angstrom"
        )
        return value, gradient

    at, by = (cell.positions, 1.0) if start is None else start
    if stretch:
        unrelaxed = gradient_of(np.append(cell.positions[:, 2], 0.0))[0]
        unknowns = np.append(at[:, 2], height * (by - 1.0))
    else:
        unrelaxed = gradient_of(cell.positions.ravel())[0]
        unknowns = at.ravel()
    if disturb:
        unknowns = unknowns + disturb * np.sin(1.0 + np.arange(len(unknowns)) ** 2)
    with one_thread():
        found = minimise(gradient_of, unknowns, 0.1 * FORCE_TOLERANCE)
    left = float(np.abs(found.gradient).max())
    if left > FORCE_TOLERANCE:
        raise ConvergenceError(
            f"the {name} did not relax: a force of {left:.2g} eV/Angstrom is left after "
            f"{evaluations} evaluations ({found.reason})"
        )
    relaxed = float(gradient_of(found.x)[0])
    if stretch:
        positions = cell.positions.copy()
        positions[:, 2] = found.x[:-1]
        factor = 1.0 + float(found.x[-1]) / height
    else:
        positions, factor = found.x.reshape(-1, 3), 1.0
    return Relaxed(DefectEnergy(unrelaxed, relaxed), positions, factor, joint)
