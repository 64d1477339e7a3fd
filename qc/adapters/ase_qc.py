"""ASE calculator of a quasicontinuum model: energy and forces of its representative atoms."""

from __future__ import annotations

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
from ase.outputs import Properties, all_outputs

from qc.atomistic.neighbours import check_positions
from qc.coupling import QuasiContinuum
from qc.coupling.as_atoms import correctors
from qc.errors import InputError, NonFiniteError
from qc.numerics.checks import check_atomic_numbers, check_masses, kind
from qc.numerics.threads import Lock, locked


class QCCalculator(Calculator):
    """Energy and forces of the representative atoms ``model.to_ase()``.

    Any ASE optimizer or molecular dynamics moves them; constrained atoms and the continuum follow.
    Atoms that the model holds have constraints of ASE from `to_ase`, and feel no force.

    Parameters
    ----------
    model : QuasiContinuum
    **kwargs
        ``atoms`` and the other arguments of an ASE calculator.

    Notes
    -----
    ``energy`` is the one that the forces derive from, which line searches and dynamics rely on; it
    is relative to the perfect crystal. Its error is of first order in the change of the ghost force
    with the state. ``defect_energy`` is the better estimate, `QuasiContinuum.defect_energy`, right
    to second order, and the one to compare states by, a barrier say. It has no forces of its own
    and costs two evaluations, so it is computed only where it is asked for:
    ``atoms.calc.get_property("defect_energy", atoms)``. ASE has no such property; what it exports
    and stores leaves it out.

    After each calculation ``model.U`` holds the correctors of the atoms' positions. In 2.5D atoms
    may be wrapped along the line: each counts in the image nearest to where ``model.U`` has it.
    Blended forces (``"bqcf"``) have no energy but ``defect_energy``, and ASE is told so.

    Raises
    ------
    InputError
        The atoms are not the model's representative atoms, a position is not finite, or an atom
        that the model holds has moved by more than 1e-4 Angstrom: its constraint is gone.
    NonFiniteError
        An energy or force is NaN or infinite.
    """

    name = "qc_model"
    implemented_properties: list[str] = ["energy", "free_energy", "forces", "defect_energy"]
    ignored_changes: set[str] = {"initial_magmoms", "initial_charges", "cell", "pbc"}

    def __init__(self, model: QuasiContinuum, **kwargs: Any) -> None:
        kind("model", model, QuasiContinuum)
        self._lock = Lock()
        self.model = model
        super().__init__(**kwargs)

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
        """Fill `results`; called by ASE."""
        model = self.model
        if {"energy", "free_energy"} & set(properties) and not model.coupling.conservative:
            # Before anything is forgotten: forces of the same positions stay known.
            raise PropertyNotImplementedError(
                f"scheme '{model.scheme.name}' blends forces and has no energy"
            )
        results = {} if system_changes else self.results
        self.results = {}
        super().calculate(atoms, properties, system_changes)
        if self.atoms is None:
            raise InputError("no atoms to calculate")
        if "numbers" in system_changes:
            self._check_species(self.atoms)
        check_masses(self.atoms)
        u = correctors(model, check_positions(self.atoms.positions))
        occupied = model.occupied
        if "forces" not in results:
            # Energy and forces come together, and dynamics asks for both at every step.
            energy, nodal = model.energy_forces(u)
            forces = nodal[occupied]
            if not np.isfinite(forces).all():
                atom = int(np.nonzero(~np.isfinite(forces).all(axis=1))[0][0])
                raise NonFiniteError(f"force on representative atom {atom} is not finite")
            results["forces"] = forces
            if model.coupling.conservative:
                if not np.isfinite(energy):
                    raise NonFiniteError("the energy is not finite")
                results["energy"] = results["free_energy"] = float(energy)
        if "defect_energy" in properties and "defect_energy" not in results:
            results["defect_energy"] = model.defect_energy(u)
            if not np.isfinite(results["defect_energy"]):
                raise NonFiniteError("the defect energy is not finite")
        model.U = u
        self.results = results

    def export_properties(self) -> Properties:
        """Return the results that ASE has a name for."""
        return Properties({k: v for k, v in self.results.items() if k in all_outputs})

    def _check_species(self, atoms: Atoms) -> None:
        """Refuse atoms that are not of the model's species; their number is checked elsewhere."""
        check_atomic_numbers(atoms.numbers)
        symbols = np.array(self.model.node_symbols())[self.model.occupied]
        if len(symbols) != len(atoms):
            return
        bad = np.flatnonzero(symbols != np.array(atoms.get_chemical_symbols()))
        if len(bad):
            raise InputError(
                f"representative atom {bad[0]} is {symbols[bad[0]]} in the model, not "
                f"{atoms.get_chemical_symbols()[bad[0]]}: foreign atoms are PointDefects"
            )


if QCCalculator.name not in external_calculators:
    register_calculator_class(QCCalculator.name, QCCalculator)
