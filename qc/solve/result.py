"""What a relaxation returns: whether and why it converged, energies, cost and history."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from qc.coupling.reference import Reference, check_mu
from qc.crystal import Crystal
from qc.errors import InputError


class Iteration(NamedTuple):
    """One accepted step of a solver."""

    evaluations: int
    max_force: float
    step: float

    def __str__(self) -> str:
        return f"{self.evaluations} evaluations, max force {self.max_force:.2e} eV/Angstrom"


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outcome of a relaxation of any system.

    Attributes
    ----------
    converged : bool
    reason : str
        Why the solver stopped, in words.
    energy : float or None, eV
        The one that the forces derive from; None where they derive from none.
    max_force : float, eV/Angstrom
        Largest force component left on a free unknown.
    evaluations : int
        Force evaluations and Hessian products used.
    history : tuple of Iteration
    warnings : tuple of str
        What a careful reader should know: fallbacks, and what the system has to say.
    """

    converged: bool
    reason: str
    energy: float | None
    max_force: float
    evaluations: int
    history: tuple[Iteration, ...] = ()
    warnings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether the relaxation converged."""
        return self.converged


@dataclass(frozen=True, kw_only=True)
class DefectResult(Result):
    """Outcome of a relaxation of a model.

    Its ``energy`` is the scheme's own plus the strain energy of the homogeneous crystal, relative
    to the undeformed perfect crystal; ``warnings`` name defects near the blend and unstable
    elements as well.

    Attributes
    ----------
    defect_energy : float, eV
        ``E(defect) - E(perfect) - sum_X dN_X mu_X``: energy over the homogeneously strained perfect
        crystal, ghost forces removed to second order (`Coupling.defect_energy`), where the dN_X
        atoms that are more or fewer count as `reference` says. For a vacancy in an unstrained
        crystal of one element it is the formation energy.
    reference : dict of str to Reference
        For each element whose number of atoms the defect changes: how many were ``added``, the
        chemical potential ``mu`` (eV) that each is counted with, and its ``source``: the perfect
        host, what was given to `relax`, or a free atom.
    estimated_error : float or None, eV
        Rough size of the coupling's error of `defect_energy`: a third of the work of the change of
        the ghost force with the state. None where the scheme takes no ghost force away.
    """

    defect_energy: float
    reference: Mapping[str, Reference] = field(default_factory=dict)
    estimated_error: float | None = None

    def formation_energy(self, mu: Mapping[str, float]) -> float:
        """Return `defect_energy` for other chemical potentials, eV.

        Parameters
        ----------
        mu : mapping of str to float, eV per atom
            Elements that are not named stay as `reference` has them; elements of which no atom was
            added or taken away make no difference.

        Raises
        ------
        InputError
            A name that is no chemical symbol, or no finite number; or all are of elements that
            make no difference, where the defect has some that do.
        """
        given = check_mu(mu)
        if given and self.reference and not given.keys() & self.reference.keys():
            raise InputError(
                f"mu names {', '.join(given)}, but this defect adds or takes away "
                f"{', '.join(self.reference)}"
            )
        shifts = [0.0]
        for symbol, value in given.items():
            if isinstance(value, Crystal):
                raise InputError(f"mu of {symbol}: a crystal needs the potential; give it to relax")
            if symbol in self.reference:
                one = self.reference[symbol]
                shifts.append(one.added * (one.mu - value))
        return math.fsum([self.defect_energy, *shifts])
