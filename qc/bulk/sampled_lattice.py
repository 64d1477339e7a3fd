"""The lattice of a crystal at temperature without stress, by Langevin dynamics of a periodic block.

Harmonic vibrations give thermal expansion to first order in T (`qc.materials.thermal_lattice`).
Dynamics has all orders. In a block of fixed shape the mean of the Cauchy stress is

    sigma = < dE/dF F^T > / V - n k_B T / V

and the strains that keep the crystal's symmetry are changed by a quasi-Newton method until it
vanishes: with the moduli of the crystal at rest first, and with what the first steps tell about
those at temperature then.

Source: M. P. Allen & D. J. Tildesley, Computer Simulation of Liquids (2017), section 2.4; C. G.
Broyden, Math. Comp. 19 (1965) 577.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import units
from numpy.typing import NDArray

from qc.atomistic.energy import energy_forces, virial
from qc.atomistic.field import ForceField
from qc.atomistic.neighbours import NeighbourList, VerletList
from qc.bulk.cell import Report, silent
from qc.crystal import Crystal
from qc.dynamics.dynamics import Dynamics
from qc.dynamics.langevin import Langevin
from qc.dynamics.timestep import timestep_bound
from qc.errors import CapabilityError, ConvergenceError, InputError
from qc.materials import CauchyBorn
from qc.materials.thermal_lattice import right_stretch, symmetric_strains
from qc.numerics.checks import kind, positive, whole
from qc.potentials import Potential
from qc.solve.system import System

Array = NDArray[np.float64]

#: Shares of the steps: the strain is settled in short runs, then measured in a long one.
ROUNDS = (0.15, 0.15, 0.2, 1.0)

#: Of each run, at its beginning, left out of the means.
SETTLING = 0.2

#: Steps from one measured stress to the next; blocks for standard errors.
EVERY, BLOCKS = 10, 20

#: Moduli are learnt from changes of the strain so many times their noise.
CLEAR = 30.0

#: A crystal whose atoms are further from their sites, over the distance of neighbours, melts.
LINDEMANN = 0.2


class PeriodicBlock(System):
    """A periodic block of a crystal under a homogeneous deformation, as a `qc.dynamics.System`.

    It repeats the primitive cell so many times along each cell vector.
    """

    def __init__(self, crystal: Crystal, potential: Potential, repeats: int) -> None:
        atoms = crystal.to_ase(repeats)
        self.potential = potential
        self.types = potential.types_of(list(atoms.get_chemical_symbols()))
        self.reference, self._cell = atoms.positions.copy(), np.array(atoms.cell)
        self.deformation = np.eye(3)
        self.coordinates = self.reference.copy()
        self.masses = atoms.get_masses()
        self._field: ForceField | None = None
        if potential.pair_list != "none":
            self._field = ForceField(potential, self.types, skin=0.5)
        self._list = VerletList(potential.cutoff, 0.5)

    def deform(self, f: Array) -> None:
        """Take another deformation (3, 3); displacements of the atoms stay."""
        self.coordinates = self.coordinates + self.reference @ (f - self.deformation).T
        self.deformation = f

    @property
    def cell(self) -> Array:
        """Current cell, rows, Angstrom."""
        return np.asarray(self._cell @ self.deformation.T)

    @property
    def volume(self) -> float:
        """Current volume, Angstrom^3."""
        return float(abs(np.linalg.det(self.cell)))

    def energy_forces(self, x: Array) -> tuple[float, Array]:
        """Energy (eV) and forces (n, 3) eV/Angstrom."""
        if self._field is None:
            energies, forces = energy_forces(self.potential, x, self.types, self._neighbours(x))
        else:
            energies, forces = self._field.energy_forces(x, self.cell, True)
        return float(energies.sum()), forces

    def _neighbours(self, x: Array) -> NeighbourList:
        self._list.update(x, self.cell, True)
        return self._list.list

    def stress(self, x: Array) -> Array:
        """Cauchy stress of the bonds (3, 3), eV/Angstrom^3, positive in tension."""
        total = virial(self.potential, x, self.types, self._neighbours(x))
        return np.asarray(total / self.volume)


@dataclass(frozen=True, eq=False)
class SampledLattice:
    """A crystal without stress at a temperature, as dynamics has it. Made by `sampled_lattice`.

    Attributes
    ----------
    temperature : float, K
    deformation : (3, 3) float64
        F_T, symmetric; what `QuasiContinuum` takes as ``thermal_deformation``.
    error : (3, 3) float64
        Standard errors of its components.
    displacement : float, Angstrom
        Root-mean-square displacement of an atom from its mean position, in the block.
    """

    temperature: float
    deformation: Array
    error: Array
    displacement: float


def sampled_lattice(
    crystal: Crystal,
    potential: Potential,
    temperature: float,
    *,
    steps: int = 20_000,
    sites: int = 250,
    timestep: float | None = None,
    friction: float | None = None,
    start: Array | None = None,
    seed: int = 0,
    report: Report = silent,
) -> SampledLattice:
    """Measure the lattice without stress at a temperature by molecular dynamics.

    Parameters
    ----------
    crystal : Crystal
        At rest or near it, in 3D; strains keep its symmetry.
    potential : Potential
        With site energies.
    temperature : float, K
    steps : int
        Of the measurement itself; half of that more for what comes before.
    sites : int
        The block has at least so many atoms.
    timestep : float, ASE time, optional
        By default 0.15 of the bound of stability, at which BAOAB's positions are exact to a few
        parts in 1e4 of what is not harmonic.
    friction : float, 1/time, optional
        By default a tenth of the largest angular frequency.
    start : (3, 3) float, optional
        First deformation, say that of `qc.materials.thermal_lattice`; none by default.
    seed : int
    report : callable
        Called with a line of text as the work goes on.

    Raises
    ------
    CapabilityError
        The potential has no site energies.
    InputError
        A crystal of columns or a monolayer, or a number that is not positive.
    ConvergenceError
        The crystal melts.
    """
    kind("crystal", crystal, Crystal)
    kind("potential", potential, Potential)
    if not potential.has_site_energies:
        raise CapabilityError(f"{type(potential).__name__} has no site energies, nor a stress")
    if crystal.dim == 2:
        raise InputError("a lattice is sampled in three dimensions: take the crystal, not columns")
    for name, value in (
        ("temperature", temperature), ("sites", sites),
        ("timestep", timestep), ("friction", friction),
    ):  # fmt: skip
        if value is not None:
            positive(name, value)
    least = round(BLOCKS * EVERY / (1.0 - SETTLING) / min(ROUNDS))
    whole("steps", steps, least)
    f = np.eye(3) if start is None else np.array(start, dtype=np.float64)
    if f.shape != (3, 3) or not np.isfinite(f).all() or np.linalg.det(f) <= 0.0:
        raise InputError("start must be a deformation, (3, 3) numbers of positive determinant")
    repeats = int(np.ceil((sites / crystal.n_sublattices) ** (1.0 / 3.0)))
    block = PeriodicBlock(crystal, potential, repeats)
    bound = timestep_bound(block)
    h = 0.15 * bound if timestep is None else float(timestep)
    gamma = 0.2 / bound if friction is None else float(friction)
    strains = symmetric_strains(crystal)
    moduli = CauchyBorn(crystal, potential).evaluate(np.eye(3)[None], tangent=True)[2]
    assert moduli is not None
    stiffness = np.einsum("aij,ijkl,bkl->ab", strains, moduli[0], strains)
    block.deform(f)
    kinetic = len(block.reference) * units.kB * temperature
    dynamics = Dynamics(block, h, baths=[Langevin(temperature, gamma)], seed=seed)
    dynamics.set_temperature(2.0 * temperature)
    before = change = spread = np.zeros(len(strains))
    for number, share in enumerate(ROUNDS, start=1):
        report(f"round {number} of {len(ROUNDS)}")
        rows: list[Array] = []
        squares: list[float] = []
        count = round(share * steps)
        skip = round(SETTLING * count)
        dynamics.run(skip)

        def note(d: Dynamics, rows: list[Array] = rows, squares: list[float] = squares) -> None:
            pressure = kinetic / block.volume * np.eye(3)
            rows.append(np.einsum("aij,ij->a", strains, block.stress(d.x) - pressure))
            u = d.x - block.reference @ block.deformation.T
            squares.append(float(((u - u.mean(axis=0)) ** 2).sum(axis=1).mean()))

        dynamics.run(count - skip, note, every=EVERY)
        displacement = float(np.sqrt(np.mean(squares)))
        if displacement > LINDEMANN * crystal.nearest_neighbour:
            raise ConvergenceError(
                f"{crystal.name} melts at {temperature:g} K: atoms are {displacement:.2f} "
                "Angstrom from their sites"
            )
        stress, spread = _mean(np.array(rows))
        if change @ change > CLEAR**2 * (spread @ spread) / np.trace(stiffness) ** 2:
            miss = stress - before - stiffness @ change
            stiffness = stiffness + np.outer(miss, change) / (change @ change)
        before, change = stress, -np.linalg.solve(stiffness, stress)
        f = (np.eye(3) + np.einsum("a,aij->ij", change, strains)) @ f
        if share != ROUNDS[-1]:
            block.coordinates = dynamics.x
            block.deform(f)
            dynamics.set_state(x=block.coordinates)
    spread = np.abs(np.linalg.inv(stiffness)) @ spread
    error = np.sqrt(np.einsum("a,aij->ij", spread**2, strains**2))
    return SampledLattice(float(temperature), right_stretch(f), error, displacement)


def _mean(values: Array) -> tuple[Array, Array]:
    """Return means of a series (m, k) and their standard errors from blocks, (k,) each."""
    n = len(values) // BLOCKS * BLOCKS
    blocks = values[:n].reshape(BLOCKS, -1, values.shape[1]).mean(axis=1)
    return values.mean(axis=0), blocks.std(axis=0, ddof=1) / np.sqrt(BLOCKS)
