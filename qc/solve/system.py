"""Systems: what solvers relax, load paths follow and integrators move."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms, FixCartesian
from numpy.typing import NDArray

from qc.coupling import QuasiContinuum
from qc.errors import CapabilityError, InputError, NonFiniteError
from qc.loads import Load
from qc.numerics.checks import kind, numbers
from qc.solve.result import Result

Array = NDArray[np.float64]

#: Angstrom by which `System.hessian_product` moves the furthest coordinate.
DIFFERENCE = 1e-4


class System(ABC):
    """Degrees of freedom with an energy and forces.

    One of one's own has `energy_forces`, and sets its coordinates, and masses if it is to move in
    time; the other members have defaults, which are true of a system that remembers nothing,
    carries no loads and knows nothing better than its forces.
    """

    #: Whether the forces are minus the gradient of the energy.
    conservative: bool = True

    #: The model or the atoms that the system is made of, if it is.
    model: QuasiContinuum | None = None
    atoms: Atoms | None = None

    #: What it is called in messages.
    label: str = "the system"

    #: Angstrom; distance of neighbours, the scale of round-off for rows at the origin.
    spacing: float = 1.0

    _coordinates: Array
    _masses: Array | None = None
    _free: NDArray[np.bool_] | None = None

    @property
    def coordinates(self) -> Array:
        """Where the system is now, (n, 3) Angstrom."""
        return self._coordinates

    @coordinates.setter
    def coordinates(self, x: Array) -> None:
        self._coordinates = x

    @property
    def free(self) -> NDArray[np.bool_]:
        """Components that move, (n, 3) bool; all unless others were set."""
        if self._free is None:
            self._free = np.ones(self.coordinates.shape, dtype=bool)
        return self._free

    @free.setter
    def free(self, free: NDArray[np.bool_]) -> None:
        self._free = free

    @property
    def masses(self) -> Array:
        """Masses of the rows, (n,) u, of dynamics.

        Raises
        ------
        CapabilityError
            None were set.
        """
        if self._masses is None:
            raise CapabilityError(f"{type(self).__name__} has no masses")
        return self._masses

    @masses.setter
    def masses(self, masses: Array) -> None:
        self._masses = masses

    @abstractmethod
    def energy_forces(self, x: Array) -> tuple[float, Array]:
        """Energy (eV) and forces (n, 3) eV/Angstrom, zero on held components."""

    def forces(self, x: Array) -> Array:
        """Return the forces alone, (n, 3) eV/Angstrom."""
        return self.energy_forces(x)[1]

    def hessian_product(self, x: Array, dx: Array) -> Array:
        """Minus the derivative of the forces along ``dx``, (n, 3); a central difference here."""
        size = float(np.abs(dx).max(initial=0.0))
        if size == 0.0:
            return np.zeros_like(x)
        step = dx * (DIFFERENCE / size)
        change = self.energy_forces(x - step)[1] - self.energy_forces(x + step)[1]
        return np.asarray(change * (0.5 * size / DIFFERENCE))

    def memory(self) -> dict[str, Array]:
        """Return what the next evaluation depends on besides the coordinates, to the last bit."""
        return {}

    def remember(self, memory: dict[str, Array]) -> None:  # noqa: B027
        """Take what `memory` gave."""

    # -- what moves it from outside ---------------------------------------------------------------

    @property
    def loads(self) -> tuple[Load, ...]:
        """External loads; none by default."""
        return ()

    @loads.setter
    def loads(self, loads: Sequence[Load]) -> None:
        """Put other loads in place.

        Raises
        ------
        CapabilityError
            The system takes none.
        """
        raise CapabilityError("only models have external loads that can move")

    def load_energy(self, x: Array) -> float:
        """Sum of the energies of the external loads, eV."""
        return 0.0

    # -- what relaxation asks for -----------------------------------------------------------------

    def preconditioner(self) -> Callable[[Array], Array] | None:
        """Return an approximate inverse of the stiffness, forces (n, 3) to displacements."""
        return None

    def settle(self, x: Array) -> float | None:
        """Bring up to date what is kept while the system relaxes: a ghost force, say.

        Returns
        -------
        float or None
            Largest change of a force, eV/Angstrom. None where nothing is kept: a relaxation is
            then done once, and otherwise again until this is small.
        """
        return None

    def positions(self, x: Array) -> Array:
        """Positions whose last digits limit the forces, (n, 3) Angstrom."""
        return x

    def finished(self, x: Array, found: Result) -> Result:
        """Return the outcome of a relaxation that ended at ``x`` with what the system knows of it.

        Its energy by default.
        """
        return replace(found, energy=self.energy_forces(x)[0] if self.conservative else None)


@runtime_checkable
class KeepsList(Protocol):
    """A calculator whose last digits hang on where its neighbour list was made."""

    @property
    def list_positions(self) -> Array | None:
        """Where that was, (n, 3) Angstrom; None before."""

    def make_list(self, atoms: Atoms, positions: Array | None) -> None:
        """Make the list there, or for None when it is next needed."""


class AtomsSystem(System):
    """The atoms of any ASE calculator, whole or held by `FixAtoms` and `FixCartesian`.

    Parameters
    ----------
    atoms : ase.Atoms
        With a calculator; its positions follow the dynamics.

    Raises
    ------
    InputError
        No atoms, no calculator, another constraint, or a mass that is not positive.
    """

    def __init__(self, atoms: Atoms) -> None:
        kind("atoms", atoms, Atoms)
        if atoms.calc is None:
            raise InputError("the atoms have no calculator")
        if not np.isfinite(atoms.positions).all():
            atom = int(np.argmin(np.isfinite(atoms.positions).all(axis=1)))
            raise InputError(f"position of atom {atom} is not finite")
        self.atoms: Atoms = atoms
        free = np.ones((len(atoms), 3), dtype=bool)
        for constraint in atoms.constraints:
            if isinstance(constraint, FixAtoms):
                free[constraint.index] = False
            elif isinstance(constraint, FixCartesian):
                index = constraint.index
                free[index] &= ~np.broadcast_to(np.asarray(constraint.mask, bool), (len(index), 3))
            else:
                raise InputError(
                    f"constraint {type(constraint).__name__} is not supported; hold atoms with "
                    "FixAtoms or FixCartesian"
                )
        self.free = free
        self.masses = check_masses(atoms.get_masses(), free)
        # With a smeared occupation forces are those of the free energy.
        known = getattr(atoms.calc, "implemented_properties", ())
        self._consistent = "free_energy" in known and "energy" in known

    @property
    def coordinates(self) -> Array:
        """The positions, (n, 3) Angstrom."""
        return self.atoms.positions

    @coordinates.setter
    def coordinates(self, x: Array) -> None:
        self.atoms.set_positions(x, apply_constraint=False)

    def energy_forces(self, x: Array) -> tuple[float, Array]:
        """Energy (eV) and forces (n, 3) eV/Angstrom.

        Raises
        ------
        NonFiniteError
            The calculator returned NaN or infinity.
        InputError
            The calculator returned forces of another shape.
        """
        self.coordinates = x
        energy = float(self.atoms.get_potential_energy(force_consistent=self._consistent))
        forces = numbers("the calculator's forces", self.atoms.get_forces(apply_constraint=False))
        if forces.shape != x.shape:
            raise InputError(f"the calculator gave forces of shape {forces.shape} for {x.shape}")
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            bad = np.nonzero(~np.isfinite(forces).all(axis=1))[0]
            where = f"force on atom {bad[0]}" if len(bad) else "energy"
            raise NonFiniteError(f"the calculator's {where} is not finite")
        forces[~self.free] = 0.0
        return energy, forces

    def hessian_product(self, x: Array, dx: Array) -> Array:
        """Minus the derivative of the forces along ``dx``, by a central difference.

        The atoms stay where they are.
        """
        here = self.atoms.positions.copy()
        try:
            return super().hessian_product(x, np.where(self.free, dx, 0.0))
        finally:
            self.coordinates = here

    def memory(self) -> dict[str, Array]:
        """Return where the neighbour list of our own calculator was made.

        What another calculator remembers is its own.
        """
        calculator = self.atoms.calc
        made = calculator.list_positions if isinstance(calculator, KeepsList) else None
        return {} if made is None else {"list": made}

    def remember(self, memory: dict[str, Array]) -> None:
        """Make the calculator forget its last results, and a list where it was made."""
        calculator = self.atoms.calc
        if isinstance(calculator, Calculator):
            calculator.reset()
        if isinstance(calculator, KeepsList):
            calculator.make_list(self.atoms, memory.get("list"))


def check_masses(masses: Array, free: NDArray[np.bool_]) -> Array:
    """Return masses (n,) as float64.

    Raises
    ------
    InputError
        A moving row has a mass that is not positive and finite; the message names it.
    """
    m = np.ascontiguousarray(masses, dtype=np.float64)
    if m.shape != (len(free),):
        raise InputError(f"masses of shape {m.shape} for {len(free)} nodes")
    bad = np.nonzero(free.any(axis=1) & ~(np.isfinite(m) & (m > 0.0)))[0]
    if len(bad):
        raise InputError(f"mass {m[bad[0]]} u of node {bad[0]} is not positive")
    return m
