"""ASE calculators: every atom on one of the package's potentials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    PropertyNotImplementedError,
    all_changes,
    external_calculators,
    register_calculator_class,
)
from ase.data import chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from qc.atomistic.energy import energy_forces, virial
from qc.atomistic.field import ForceField
from qc.atomistic.neighbours import NeighbourList, VerletList, check_positions
from qc.errors import InputError, NonFiniteError, suggest
from qc.numerics.checks import check_atomic_numbers, check_masses, kind, not_negative
from qc.numerics.threads import Lock, locked
from qc.potentials import Potential

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


class PotentialCalculator(Calculator):
    """Energy, forces and stress of every atom on a potential, for plain ASE.

    Parameters
    ----------
    potential : Potential
        Any potential of `qc.potentials`, or a user's own.
    skin : float, Angstrom
        Extra reach of the neighbour list, which is rebuilt when an atom has moved half of it.
    **kwargs
        ``atoms`` and the other arguments of an ASE calculator.

    Notes
    -----
    Energies are in eV, forces in eV/Angstrom, the stress in eV/Angstrom^3 in ASE's order
    xx, yy, zz, yz, xz, xy, positive in tension. ``free_energy`` equals ``energy``: atoms are
    classical. The stress needs three cell vectors. It comes with every energy where the potential's
    fused kernel gives it, and for others when it is first asked for.
    Threads may share a calculator, each with atoms of its own: one calculates, the others wait.

    Raises
    ------
    InputError
        On construction, a `potential` that is none. In a calculation, a position, cell, mass or
        momentum that is not finite, a mass that is not positive, two atoms at one place.
    UnknownSpeciesError
        An element that the potential has no parameters for.
    NonFiniteError
        The potential gives an energy, force or stress that is NaN or infinite.
    """

    name = "qc_potential"
    implemented_properties: list[str] = ["energy", "free_energy", "energies", "forces", "stress"]
    default_parameters: dict[str, Any] = {"skin": 0.5}
    ignored_changes: set[str] = {"initial_magmoms", "initial_charges"}

    def __init__(self, potential: Potential, *, skin: float = 0.5, **kwargs: Any) -> None:
        self._lock = Lock()
        self._verlet: VerletList | None = None
        self._field: ForceField | None = None
        self._types: IntArray = np.empty(0, dtype=np.int64)
        self.potential = potential
        super().__init__(skin=skin, **kwargs)

    @property
    def potential(self) -> Potential:
        """The potential; setting another one discards results."""
        return self._potential

    @potential.setter
    @locked
    def potential(self, potential: Potential) -> None:
        kind("potential", potential, Potential)
        self._potential = potential
        self._verlet = self._field = None
        self.reset()

    @locked
    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Set parameters, ``skin`` only, and return those that changed.

        Raises
        ------
        InputError
            An unknown parameter, or a skin that is negative or not finite.
        """
        for key in kwargs:
            if key not in self.default_parameters:
                raise InputError(
                    f"{type(self).__name__} has no parameter '{key}'"
                    f"{suggest(key, self.default_parameters)}"
                )
        if "skin" in kwargs:
            not_negative("skin", kwargs["skin"])
        changed = super().set(**kwargs)
        if changed:
            self._verlet = self._field = None
        return changed

    @locked
    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """Return a property; what ASE's other ways to one come down to."""
        return super().get_property(name, atoms, allow_calculation)

    @locked
    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill `results`; called by ASE, see the class for units and errors."""
        results = {} if system_changes else self.results
        # An exception below must not leave the results of other positions behind.
        self.results = {}
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        if atoms is None:
            raise InputError("no atoms to calculate")
        y = check_positions(atoms.positions)
        # With bad masses and momenta dynamics would go on in silence.
        check_masses(atoms)
        if "momenta" in atoms.arrays:
            check_positions(atoms.arrays["momenta"], "momentum")
        if "numbers" in system_changes or len(self._types) != len(atoms):
            types = _types(self.potential, atoms.numbers)
            # After a reset everything counts as changed; a list need not be made anew for that.
            if not np.array_equal(types, self._types):
                self._types, self._field = types, None

        solid = atoms.cell.rank == 3
        if "energy" not in results:
            total = np.empty((3, 3)) if solid and self.potential.fused_virial else None
            energies, forces = self._energy_forces(atoms, y, total)
            energy = math.fsum(energies)
            results = {
                "energy": energy,
                "free_energy": energy,
                "energies": energies,
                "forces": forces,
            }
            if total is not None:
                results["stress"] = _stress(atoms, total)
        # Kept where there is no stress: what asks for all properties in turn, as ASE's command
        # line does, is to find energy and forces afterwards.
        self.results = results
        if "stress" in properties and "stress" not in results:
            if not solid:
                raise PropertyNotImplementedError("stress needs three cell vectors")
            total = virial(self.potential, y, self._types, self._neighbours(atoms, y))
            results["stress"] = _stress(atoms, total)

    @property
    def list_positions(self) -> Array | None:
        """Where the atoms were when the neighbour list was made, (n, 3) Angstrom; None before."""
        lists = self._verlet if self._field is None else self._field.list
        return None if lists is None else lists.made_at

    @locked
    def make_list(self, atoms: Atoms, positions: Array | None) -> None:
        """Make the neighbour list of some atoms anew: at positions (n, 3), or when it is needed.

        Sums follow the order of a list, so forces agree to the last bit only with equal lists.
        """
        self._verlet = self._field = None
        self.reset()
        if positions is not None:
            self._types = _types(self.potential, atoms.numbers)
            self._energy_forces(atoms, check_positions(positions))

    def _energy_forces(
        self, atoms: Atoms, y: Array, virial: Array | None = None
    ) -> tuple[Array, Array]:
        """Return site energies and forces: by the fused kernel where the potential has one."""
        if self.potential.pair_list == "none":
            return energy_forces(self.potential, y, self._types, self._neighbours(atoms, y))
        if self._field is None:
            self._field = ForceField(self.potential, self._types, skin=self.parameters["skin"])
        return self._field.energy_forces(y, atoms.cell[:], atoms.pbc, virial)

    def _neighbours(self, atoms: Atoms, y: Array) -> NeighbourList:
        if self._verlet is None:
            self._verlet = VerletList(self.potential.cutoff, self.parameters["skin"])
        self._verlet.update(y, atoms.cell[:], atoms.pbc)
        return self._verlet.list


def _types(potential: Potential, numbers: NDArray[np.int64]) -> IntArray:
    check_atomic_numbers(numbers)
    unique, inverse = np.unique(numbers, return_inverse=True)
    return potential.types_of([chemical_symbols[z] for z in unique])[inverse.reshape(-1)]


def _stress(atoms: Atoms, virial: Array) -> Array:
    """Return ASE's stress of a finite virial, (6,) eV/Angstrom^3."""
    if not np.isfinite(virial).all():
        raise NonFiniteError("the stress is not finite")
    return full_3x3_to_voigt_6_stress(virial / atoms.get_volume())


# Under this name, ASE's `get_calculator_class` and command line find the calculator once this
# module is loaded; `qc.adapters.ase_plugins` announces it without that.
if PotentialCalculator.name not in external_calculators:
    register_calculator_class(PotentialCalculator.name, PotentialCalculator)
