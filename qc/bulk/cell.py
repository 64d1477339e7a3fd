"""Relaxation of the small periodic cells that the energies of simple defects come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.atomistic.cell import Cell, CellEnergy
from qc.errors import ConvergenceError
from qc.numerics.solvers import RoundOff, lbfgs
from qc.numerics.threads import one_thread
from qc.potentials import Potential

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

    def evaluate(unknowns: Array) -> tuple[float, Array]:
        """Energy and forces on the unknowns, (n, 3) positions or (n + 1, 1) heights."""
        nonlocal joint, evaluations
        evaluations += 1
        if stretch:
            y = cell.positions.copy()
            y[:, 2] = unknowns[:-1, 0]
            # The last unknown is the change of the height, spread over all layers, so that its
            # gradient is a force as well.
            value, all_forces, by_stretch, joint = energy.stretched(
                y, 1.0 + unknowns[-1, 0] / height
            )
            forces = np.append(all_forces[:, 2], -by_stretch / height)[:, None]
        else:
            value, forces = energy.energy_forces(unknowns)
        report(
            f"{name}: evaluation {evaluations}, largest force "
            f"{np.abs(forces).max():.1e} eV/Angstrom"
        )
        return value, forces

    def placed(positions: Array, factor: float) -> Array:
        if not stretch:
            return positions
        return np.append(positions[:, 2], height * (factor - 1.0))[:, None]

    unrelaxed = evaluate(placed(cell.positions, 1.0))[0]
    unknowns = placed(*((cell.positions, 1.0) if start is None else start))
    if disturb:
        wave = np.sin(1.0 + np.arange(unknowns.size) ** 2)
        unknowns = unknowns + disturb * wave.reshape(unknowns.shape)
    with one_thread():
        found, _, reason = lbfgs(
            lambda x: evaluate(x)[1],
            unknowns,
            fmax=0.1 * FORCE_TOLERANCE,
            max_steps=MOST_STEPS,
            longest=LONGEST,
            floor=RoundOff(cell.positions if not stretch else unknowns, 1.0),
        )
    relaxed, forces = evaluate(found)
    left = float(np.abs(forces).max())
    if left > FORCE_TOLERANCE:
        raise ConvergenceError(
            f"the {name} did not relax: a force of {left:.2g} eV/Angstrom is left after "
            f"{evaluations} evaluations ({reason})"
        )
    positions, factor = found, 1.0
    if stretch:
        positions = cell.positions.copy()
        positions[:, 2] = found[:-1, 0]
        factor = 1.0 + float(found[-1, 0]) / height
    return Relaxed(DefectEnergy(unrelaxed, float(relaxed)), positions, factor, joint)
