"""Relaxation of the small periodic cells that the energies of simple defects come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.atomistic.cell import Cell, CellEnergy
from qc.errors import ConvergenceError
from qc.numerics.threads import one_thread
from qc.potentials import Potential
from qc.solve import Iteration, System
from qc.solve import relax as relax_system

Array = NDArray[np.float64]
Report = Callable[[str], None]

#: eV/Angstrom; the largest force left in a relaxed defect.
FORCE_TOLERANCE = 1e-4

#: Steps of a relaxation at most, and Angstrom that an atom moves in one.
MOST_STEPS, LONGEST = 1000, 0.2


def silent(text: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class DefectEnergy:
    """An energy before and after relaxation: eV for a point defect, eV/Angstrom^2 for a plane."""

    unrelaxed: float
    relaxed: float


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


class CellSystem(System):
    """The atoms of a cell of fixed shape, all directions free.

    Parameters
    ----------
    potential : Potential
    cell : Cell
    per_atom : float, eV
        Energy of an atom of the perfect crystal.
    """

    def __init__(self, potential: Potential, cell: Cell, per_atom: float) -> None:
        self.cell = cell
        self._energy = CellEnergy(potential, cell, per_atom)
        #: Derivative of the last energy with a displacement of the third cell vector, (3,).
        self.joint = np.zeros(3)
        self.place(cell.positions, 1.0)

    def energy_forces(self, x: Array) -> tuple[float, Array]:
        """Energy above the perfect crystal, eV, and forces, eV/Angstrom."""
        return self._energy.energy_forces(x)

    def place(self, positions: Array, stretch: float) -> None:
        """Put atoms (n, 3) in their places, at a stretch of the cell."""
        self.coordinates = positions.copy()

    @property
    def state(self) -> tuple[Array, float]:
        """Positions before the stretch, and the stretch."""
        return self.coordinates, 1.0


class LayerSystem(CellSystem):
    """The layers of a cell: their heights, and the change of the cell's, (n + 1, 1) Angstrom.

    That change is spread over all layers, so that its gradient is a force as well.
    """

    def energy_forces(self, x: Array) -> tuple[float, Array]:
        """Energy above the perfect crystal, eV, and forces (n + 1, 1) eV/Angstrom."""
        y, stretch = self._places(x)
        value, forces, by_stretch, self.joint = self._energy.stretched(y, stretch)
        return value, np.append(forces[:, 2], -by_stretch / self._height)[:, None]

    def place(self, positions: Array, stretch: float) -> None:
        """Put the layers where these atoms (n, 3) are, at a stretch of the cell."""
        change = self._height * (stretch - 1.0)
        self.coordinates = np.append(positions[:, 2], change)[:, None]

    @property
    def state(self) -> tuple[Array, float]:
        """Positions before the stretch, and the stretch."""
        return self._places(self.coordinates)

    @property
    def _height(self) -> float:
        return float(self.cell.cell[2, 2])

    def _places(self, x: Array) -> tuple[Array, float]:
        y = self.cell.positions.copy()
        y[:, 2] = x[:-1, 0]
        return y, 1.0 + float(x[-1, 0]) / self._height


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
        Called with a line of text at each step.
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
    system = (LayerSystem if stretch else CellSystem)(potential, cell, per_atom)
    unrelaxed = system.energy_forces(system.coordinates)[0]
    if start is not None:
        system.place(*start)
    if disturb:
        shape = system.coordinates.shape
        wave = np.sin(1.0 + np.arange(np.prod(shape)) ** 2)
        system.coordinates = system.coordinates + disturb * wave.reshape(shape)

    def show(now: Iteration) -> None:
        report(f"{name}: {now}")

    with one_thread():
        found = relax_system(
            system,
            fmax=0.1 * FORCE_TOLERANCE,
            method="lbfgs",
            max_steps=MOST_STEPS,
            longest=LONGEST,
            callback=show,
        )
    if found.max_force > FORCE_TOLERANCE:
        raise ConvergenceError(
            f"the {name} did not relax: a force of {found.max_force:.2g} eV/Angstrom is left after "
            f"{found.evaluations} evaluations ({found.reason})"
        )
    assert found.energy is not None
    return Relaxed(DefectEnergy(unrelaxed, found.energy), *system.state, system.joint)
