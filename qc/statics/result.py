"""What a relaxation returns: whether and why it converged, energies, cost and history."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Iteration(NamedTuple):
    """One accepted step of a solver."""

    evaluations: int
    max_force: float
    step: float


@dataclass(frozen=True)
class Result:
    """Outcome of a relaxation.

    Attributes
    ----------
    converged : bool
    reason : str
        Why the solver stopped, in words.
    defect_energy : float, eV
        Energy of the state relative to the homogeneously strained perfect crystal with the same
        sites, ghost forces removed to second order (`Coupling.defect_energy`). For a vacancy in
        an unstrained crystal it is the formation energy.
    energy : float or None, eV
        The scheme's own energy, the one its forces derive from, plus the strain energy of the
        homogeneous crystal: relative to the undeformed perfect crystal. None for blended forces.
    max_force : float, eV/Angstrom
        Largest force component left on a free unknown.
    evaluations : int
        Force evaluations and Hessian products used.
    history : tuple of Iteration
    warnings : tuple of str
        What a careful reader should know: defects near the blend, unstable elements, fallbacks.
    """

    converged: bool
    reason: str
    defect_energy: float
    energy: float | None
    max_force: float
    evaluations: int
    history: tuple[Iteration, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    def __bool__(self) -> bool:
        """Return whether the relaxation converged."""
        return self.converged
