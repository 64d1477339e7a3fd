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
from qc.solve import System
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


class CellSystem(System):
    """The atoms of a cell of fixed shape, all directions free.

    ``per_atom`` is the energy of an atom of the perfect crystal, eV.
    """

    def __init__(self, potential: Potential, cell: Cell, per_atom: float) -> None:
        self.cell = cell
        self._energy = CellEnergy(potential, cell, per_atom)
        self.coordinates = cell.positions.copy()

    def energy_forces(self, x: Array) -> tuple[float, Array]:
        """Energy above the perfect crystal, eV, and forces, eV/Angstrom."""
        return self._energy.energy_forces(x)


class LayerSystem(CellSystem):
    """The layers of a cell: their heights, and the change of the cell's, (n + 1, 1) Angstrom.

    That change is spread over all layers, so that its gradient is a force as well.
    """

    #: Derivative of the last energy with a displacement of the third cell vector, eV/Angstrom.
    joint: Array

    def __init__(self, potential: Potential, cell: Cell, per_atom: float) -> None:
        super().__init__(potential, cell, per_atom)
        self._height = float(cell.cell[2, 2])
        self.coordinates = np.append(cell.positions[:, 2], 0.0)[:, None]

    @property
    def places(self) -> Array:
        """Where the atoms are, before the stretch, (n, 3) Angstrom."""
        return self._at(self.coordinates)

    @property
    def stretch(self) -> float:
        """Factor that the height of the cell is at."""
        return self._factor(self.coordinates)

    def energy_forces(self, x: Array) -> tuple[float, Array]:
        """Energy above the perfect crystal, eV, and forces (n + 1, 1) eV/Angstrom."""
        found = self._energy.stretched(self._at(x), self._factor(x))
        value, forces, by_stretch, self.joint = found
        return value, np.append(forces[:, 2], -by_stretch / self._height)[:, None]

    def _at(self, x: Array) -> Array:
        return np.column_stack([self.cell.positions[:, :2], x[:-1]])

    def _factor(self, x: Array) -> float:
        return 1.0 + float(x[-1, 0]) / self._height


def relax(
    system: CellSystem,
    name: str,
    report: Report = silent,
    *,
    start: Array | None = None,
    disturb: float = 0.0,
) -> DefectEnergy:
    """Relax a cell, which ends where its energy is least.

    It starts from its own coordinates unless others are given, with a fixed disturbance of a size
    (Angstrom), so that a symmetric saddle is left. Its name is for messages; a line of them is
    reported at each step. ConvergenceError: the relaxation did not converge.
    """
    unrelaxed = system.energy_forces(system.coordinates)[0]
    x = system.coordinates if start is None else start
    wave = np.sin(1.0 + np.arange(x.size) ** 2).reshape(x.shape)
    system.coordinates = x + disturb * wave
    with one_thread():
        found = relax_system(
            system,
            fmax=0.1 * FORCE_TOLERANCE,
            method="lbfgs",
            max_steps=MOST_STEPS,
            longest=LONGEST,
            callback=lambda now: report(f"{name}: {now}"),
        )
    if found.max_force > FORCE_TOLERANCE:
        raise ConvergenceError(
            f"the {name} did not relax: a force of {found.max_force:.2g} eV/Angstrom is left after "
            f"{found.evaluations} evaluations ({found.reason})"
        )
    assert found.energy is not None
    return DefectEnergy(unrelaxed, found.energy)
