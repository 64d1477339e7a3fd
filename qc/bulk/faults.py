"""Generalised stacking-fault energies: gamma lines, stable and unstable faults."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from qc.atomistic.cell import Cell, CellEnergy
from qc.atomistic.neighbours import neighbour_list
from qc.bulk.cell import DefectEnergy, LayerSystem, Report, relax, silent
from qc.bulk.layers import layers_of, reduced
from qc.bulk.structures import SlipSystem, structure_of
from qc.crystal import Crystal
from qc.crystal.bonded import require_bonds
from qc.errors import CrystalError
from qc.materials.lattice import site_energies
from qc.potentials import Potential

Array = NDArray[np.float64]

#: Height of a stack in cutoffs: a fault does not feel its own image.
THICKNESS = 4.0

#: Points of a gamma line, both ends included.
POINTS = 21


@dataclass(frozen=True)
class GammaLine:
    """Energy of a crystal cut on a plane, its upper half displaced, relaxed along the normal.

    Parameters
    ----------
    system : SlipSystem
    vector : (3,) float64, Angstrom
        The full displacement, in the crystal's axes.
    fractions : (n,) float64
        Displacements from 0 to 1 times the vector.
    unrelaxed, relaxed : (n,) float64, eV/Angstrom^2
    unstable : DefectEnergy, eV/Angstrom^2
        The maxima of the two lines.
    unstable_at : float
        Fraction of the relaxed maximum.
    opening : float, Angstrom
        How far the halves have moved apart there.
    comes_apart : bool
        No atom of one half reaches the other there: to cleave costs less than to slip.
    stable : DefectEnergy or None, eV/Angstrom^2
        The fault at the full displacement, where that is one.
    layers : int
        Atoms in the stack.
    """

    system: SlipSystem
    vector: Array
    fractions: Array
    unrelaxed: Array
    relaxed: Array
    unstable: DefectEnergy
    unstable_at: float
    opening: float
    comes_apart: bool
    stable: DefectEnergy | None
    layers: int


class Relaxed(NamedTuple):
    """A relaxed fault: energies of the whole cell, eV, and the cell."""

    energy: DefectEnergy
    cell: LayerSystem


class Stack:
    """A periodic stack of layers with one fault per period: at the joint to the next period.

    Layers keep their places in the plane; their heights relax and so does that of the period. At
    a fixed height the energy would converge as slowly as one over the number of layers.

    Raises
    ------
    CrystalError
        Indices that are no lattice plane, a displacement out of the plane, or a stack so thin
        that the fault would see its own image.

    Source: V. Vitek, Philos. Mag. 18 (1968) 773.
    """

    def __init__(
        self,
        crystal: Crystal,
        potential: Potential,
        system: SlipSystem,
        thickness: float = THICKNESS,
    ) -> None:
        if thickness < 2.0:
            raise CrystalError(
                f"a stack {thickness} cutoffs high is too thin: a fault would see its own image"
            )
        require_bonds(crystal, potential)
        layers = layers_of(crystal, system.plane, potential)
        gap = int(np.argmax(layers.gaps if system.gap == "widest" else -layers.gaps))
        self.cell = layers.stack(thickness * potential.cutoff, gap)
        self.potential, self.system, self.area = potential, system, layers.area
        self.per_atom = float(site_energies(crystal, potential).mean())
        self.vector = float(system.fraction) * crystal.vector(system.direction)
        self.height = float(self.cell.cell[2, 2])
        self._shift = layers.rotation @ self.vector
        if abs(self._shift[2]) > 1e-6 * crystal.a:
            raise CrystalError(f"{system.name}: the displacement does not lie in the plane")
        if self._hard_sense():
            self._shift, self.vector = -self._shift, -self.vector

    def _hard_sense(self) -> bool:
        """Say whether the opposite displacement is the one that is meant.

        Of the two senses of a line without mirror symmetry that is the soft one: towards the
        stable fault, and where both ends are perfect crystals that of twinning.
        """
        ahead, back = (self.unrelaxed(t) for t in (1.0, -1.0))
        if abs(ahead - back) < 1e-9:
            ahead, back = (self.relaxed(t / 3).energy.relaxed for t in (1.0, -1.0))
        return back < ahead - 1e-9

    def shifted(self, fraction: float) -> Cell:
        """Return the stack with its joint displaced."""
        cell = self.cell.cell.copy()
        cell[2] += fraction * self._shift
        return dataclasses.replace(self.cell, cell=reduced(cell))

    def unrelaxed(self, fraction: float) -> float:
        """Return the energy of the fault as displaced, eV/Angstrom^2."""
        cell = self.shifted(fraction)
        energy = CellEnergy(self.potential, cell, self.per_atom)
        return energy.stretched(cell.positions, 1.0)[0] / self.area

    def relaxed(
        self, fraction: float, start: Relaxed | None = None, report: Report = silent
    ) -> Relaxed:
        """Return the relaxed fault."""
        name = f"{self.system.name} fault at {fraction:.3f}"
        cell = LayerSystem(self.potential, self.shifted(fraction), self.per_atom)
        first = None if start is None else start.cell.coordinates
        return Relaxed(relax(cell, name, report, start=first), cell)

    def is_apart(self, fraction: float, relaxed: Relaxed) -> bool:
        """Say whether no bond within the cutoff crosses the joint."""
        scale = np.array([1.0, 1.0, relaxed.cell.stretch])
        cell = self.shifted(fraction).cell * scale
        found = neighbour_list(relaxed.cell.places * scale, self.potential.cutoff, cell, True)
        return not bool((np.abs(found.offsets[:, 2]) > 0.5 * cell[2, 2]).any())

    def slope(self, relaxed: Relaxed) -> float:
        """Return the derivative of the relaxed energy with the fraction, eV."""
        return float(relaxed.cell.joint @ self._shift)


def gamma_line(
    crystal: Crystal,
    potential: Potential,
    system: SlipSystem,
    report: Report = silent,
    points: int = POINTS,
    thickness: float = THICKNESS,
) -> GammaLine:
    """Return a gamma line with its unstable and stable faults.

    The maximum of the relaxed line is where the shear traction of the relaxed stack vanishes, so
    it does not depend on the sampling. Where the tractions do not add up to the energies, as with
    potentials whose bonds break all at once, the line is swept both ways and from unrelaxed
    starts, the lowest energy counts, and the maximum is searched by finer samples.

    Parameters
    ----------
    crystal : Crystal
        At zero stress.
    potential : Potential
    system : SlipSystem
    report : callable
        Called with a line of text as the work goes on.
    points : int
        Samples, both ends included.
    thickness : float
        Height of the stack in cutoffs.

    Raises
    ------
    CrystalError
        As `Stack`.
    ConvergenceError
        A relaxation did not converge.

    Source: J. P. Hirth and J. Lothe, Theory of Dislocations (1982), section 10-2.
    """
    stack = Stack(crystal, potential, system, thickness)
    fractions = np.linspace(0.0, 1.0, max(5, points))
    states = _sweep(stack, fractions, report)
    smooth = _is_smooth(stack, fractions, states)
    if not smooth:
        # Several relaxed states at one displacement: the lowest of those that can be reached.
        others = _sweep(stack, fractions[::-1], report)[::-1]
        fresh = [stack.relaxed(float(t), None, report) for t in fractions]
        states = [_lowest(trio) for trio in zip(states, others, fresh, strict=True)]
    area = stack.area
    unrelaxed = np.array([state.energy.unrelaxed for state in states]) / area
    relaxed = np.array([state.energy.relaxed for state in states]) / area
    find = _smooth_summit if smooth else _rough_summit
    where, top = find(stack, fractions, states, report)
    raw = optimize.minimize_scalar(
        lambda t: -stack.unrelaxed(t),
        bounds=_around(fractions, _highest(unrelaxed)),
        method="bounded",
        options={"xatol": 1e-5},
    )
    last = states[-1].energy
    opening = stack.height * (top.cell.stretch - 1.0)
    return GammaLine(
        system=system,
        vector=stack.vector,
        fractions=fractions,
        unrelaxed=unrelaxed,
        relaxed=relaxed,
        unstable=DefectEnergy(float(max(-raw.fun, unrelaxed.max())), top.energy.relaxed / area),
        unstable_at=where,
        opening=opening,
        comes_apart=stack.is_apart(where, top),
        stable=None
        if system.stable is None
        else DefectEnergy(last.unrelaxed / area, last.relaxed / area),
        layers=len(stack.cell.positions),
    )


def _sweep(stack: Stack, fractions: Array, report: Report) -> list[Relaxed]:
    """Return relaxed states, each started from the one before."""
    states: list[Relaxed] = []
    for t in fractions:
        states.append(stack.relaxed(float(t), states[-1] if states else None, report))
    return states


def _lowest(states: Iterable[Relaxed]) -> Relaxed:
    return min(states, key=lambda state: state.energy.relaxed)


def _is_smooth(stack: Stack, fractions: Array, states: list[Relaxed]) -> bool:
    """Say whether the tractions of a line add up to its energies: no jump from state to state."""
    energies = np.array([state.energy.relaxed for state in states])
    slopes = np.array([stack.slope(state) for state in states])
    jumps = np.diff(energies) - 0.5 * np.diff(fractions) * (slopes[1:] + slopes[:-1])
    coarse = 30.0 / len(fractions) ** 3
    return bool(np.abs(jumps).max() < (0.02 + coarse) * np.abs(energies).max() + 1e-9)


def _highest(energies: Iterable[float]) -> int:
    """Return the first of the highest points; equal ones differ by round-off only."""
    return int(np.argmax(np.round(list(energies), 6)))


def _around(fractions: Array, k: int) -> tuple[float, float]:
    return float(fractions[max(k - 1, 0)]), float(fractions[min(k + 1, len(fractions) - 1)])


def _smooth_summit(
    stack: Stack, fractions: Array, states: list[Relaxed], report: Report
) -> tuple[float, Relaxed]:
    """Return place and state of the relaxed maximum, where the traction vanishes."""
    k = _highest([state.energy.relaxed for state in states])
    best = float(fractions[k]), states[k]
    low, high = _around(fractions, k)
    state = states[k]

    # The ends of the bracket are asked for again, and must not change their sign by round-off.
    known: dict[float, float] = {}

    def slope(t: float) -> float:
        nonlocal best, state
        if t not in known:
            state = stack.relaxed(t, state, report)
            if state.energy.relaxed > best[1].energy.relaxed:
                best = t, state
            known[t] = stack.slope(state)
        return known[t]

    # Otherwise the line climbs to its end, or is flat.
    if slope(low) > 0.0 > slope(high):
        state = states[k]
        optimize.brentq(slope, low, high, xtol=1e-4)
    return best


def _rough_summit(
    stack: Stack, fractions: Array, states: list[Relaxed], report: Report
) -> tuple[float, Relaxed]:
    """Return place and state of the maximum of a line with kinks, by finer and finer samples."""
    for _ in range(3):
        k = _highest([state.energy.relaxed for state in states])
        part = slice(max(k - 1, 0), k + 2)
        ends = states[part]
        finer = np.linspace(fractions[part][0], fractions[part][-1], 11)
        states = [
            _lowest(stack.relaxed(float(t), start, report) for start in (ends[0], ends[-1], None))
            for t in finer
        ]
        fractions = finer
    k = _highest([state.energy.relaxed for state in states])
    return float(fractions[k]), states[k]


def growth_fault_energy(
    crystal: Crystal, potential: Potential, report: Report = silent
) -> DefectEnergy:
    """Return the energy of the intrinsic fault I1 of hcp, ABABACAC, eV/Angstrom^2.

    A layer is missing and one half has slipped: slip alone does not make this fault.
    Source: J. P. Hirth and J. Lothe, Theory of Dislocations (1982), section 11-2.
    """
    if not structure_of(crystal).has_growth_fault:
        raise CrystalError(f"the fault I1 belongs to hcp, not to {crystal.name}")
    layers = layers_of(crystal, (0, 0, 0, 1), potential)
    cell = layers.stack(THICKNESS * potential.cutoff, odd=True)
    per_atom = float(site_energies(crystal, potential).mean())
    report("fault I1")
    found = relax(LayerSystem(potential, cell, per_atom), "fault I1", report)
    return DefectEnergy(found.unrelaxed / layers.area, found.relaxed / layers.area)
