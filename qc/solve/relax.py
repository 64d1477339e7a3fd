"""`relax`: bring a system to equilibrium and say whether and why it got there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, overload

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from qc.coupling import QuasiContinuum
from qc.crystal import Crystal
from qc.errors import CapabilityError, ConvergenceError, InputError, suggest
from qc.numerics.checks import function, positive, whole
from qc.numerics.solvers import RoundOff, lbfgs, newton
from qc.solve.model_system import resting
from qc.solve.result import DefectResult, Iteration, Result
from qc.solve.system import System

Array = NDArray[np.float64]
Solve = Callable[[Array], Array]
METHODS = ("auto", "lbfgs", "newton")

#: Outer updates of what is kept during a relaxation.
MOST_UPDATES = 60


@overload
def relax(
    subject: QuasiContinuum,
    *,
    fmax: float = ...,
    method: Literal["auto", "lbfgs", "newton"] = ...,
    max_steps: int = ...,
    longest: float = ...,
    preconditioner: Solve | None = ...,
    callback: Callable[[Iteration], bool | None] | None = ...,
    raise_on_failure: bool = ...,
    mu: Mapping[str, float | Crystal] | None = ...,
) -> DefectResult: ...


@overload
def relax(
    subject: System | Atoms,
    *,
    fmax: float = ...,
    method: Literal["auto", "lbfgs", "newton"] = ...,
    max_steps: int = ...,
    longest: float = ...,
    preconditioner: Solve | None = ...,
    callback: Callable[[Iteration], bool | None] | None = ...,
    raise_on_failure: bool = ...,
) -> Result: ...


def relax(
    subject: QuasiContinuum | Atoms | System,
    *,
    fmax: float = 1e-4,
    method: Literal["auto", "lbfgs", "newton"] = "auto",
    max_steps: int = 500,
    longest: float = 0.2,
    preconditioner: Solve | None = None,
    callback: Callable[[Iteration], bool | None] | None = None,
    raise_on_failure: bool = False,
    mu: Mapping[str, float | Crystal] | None = None,
) -> Result:
    """Relax a model, atoms or any other system; it ends at the best state found.

    Parameters
    ----------
    subject : QuasiContinuum, ase.Atoms with a calculator, or System
    fmax : float, eV/Angstrom
        Largest force component allowed on a free unknown. One below what round-off leaves is not
        reached: the relaxation then ends early, not converged, and says where.
    method : {"auto", "lbfgs", "newton"}
        "auto" takes quasi-Newton. Blended forces are the gradient of no energy, but nearly so, and
        the line search looks at forces only: "auto" tries it there too and turns to Newton-Krylov
        where it finds no descent. Asked for by name, it is refused for them.
    max_steps : int
        Accepted steps, over all refreshes of a self-consistent ghost force.
    longest : float, Angstrom
        Longest displacement of a node in one step.
    preconditioner : callable, optional
        One made before for the same mesh (load steps); the system's own by default.
    callback : callable, optional
        Called with each `Iteration`; returning True stops. A `qc.Progress` shows them on a
        terminal.
    raise_on_failure : bool
        Raise ConvergenceError instead of returning an unconverged result.
    mu : mapping of str to float or Crystal, optional
        Chemical potentials for `DefectResult.defect_energy` of a model: eV per atom of an element,
        or a crystal of it, which counts with its energy per atom at rest. An element that is not
        named counts as in the perfect crystal if that holds no other element; as a free atom
        otherwise, and
        `Result.warnings` says so.

    Returns
    -------
    Result
        A `DefectResult` of a model.

    Raises
    ------
    InputError
        A parameter is out of range, the method does not exist, or ``mu`` is unusable.
    UnknownSpeciesError
        ``mu`` names an element that the potential does not know.
    CapabilityError
        ``method="lbfgs"`` on a scheme without an energy.
    NonFiniteError
        Forces are NaN or infinite already at the start; the subject is left as it was.
    """
    function("callback", callback)
    function("preconditioner", preconditioner)
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}{suggest(method, METHODS)}")
    for name, value in (("fmax", fmax), ("longest", longest)):
        positive(name, value)
    whole("max_steps", max_steps, 1)
    system = resting(subject, mu)
    if method == "lbfgs" and not system.conservative:
        raise CapabilityError(f"{system.label} has no energy: use method='newton' or 'auto'")
    solve = system.preconditioner() if preconditioner is None else preconditioner
    run = _Run(system, solve, method != "newton", fmax, max_steps, longest, callback)
    u, f, reason = run(system.coordinates.copy())
    system.coordinates = u
    top = float(np.abs(f).max(initial=0.0))
    converged = top <= fmax and not run.stopped
    words = {
        "converged": f"largest force {top:.2e} is below {fmax:.2e} eV/Angstrom",
        "stopped": "stopped by the caller",
        "round-off": f"fmax {fmax:.2e} is below what double precision reaches here: the largest "
        f"force stays at {top:.2e} eV/Angstrom",
        "no descent": f"no descent direction at a largest force of {top:.2e} eV/Angstrom",
        "step limit": f"{max_steps} steps used up at a largest force of {top:.2e} eV/Angstrom",
    }
    result = system.finished(
        u,
        Result(
            converged=converged,
            reason=words.get(reason, reason),
            energy=None,
            max_force=top,
            evaluations=run.evaluations,
            history=tuple(run.history),
            warnings=tuple(run.warnings),
        ),
    )
    if raise_on_failure and not converged:
        raise ConvergenceError(result.reason)
    return result


class _Run:
    """One relaxation: its solver, its count of evaluations and its history."""

    def __init__(
        self,
        system: System,
        solve: Solve | None,
        quasi: bool,
        fmax: float,
        max_steps: int,
        longest: float,
        callback: Callable[[Iteration], bool | None] | None,
    ) -> None:
        self.system, self.solve, self.quasi = system, solve, quasi
        self.fmax, self.max_steps, self.longest = fmax, max_steps, longest
        self.callback = callback
        self.evaluations = 0
        self.stopped = False
        self.history: list[Iteration] = []
        self.warnings: list[str] = []
        self._floor = RoundOff(system.positions(system.coordinates), system.spacing)

    def __call__(self, u: Array) -> tuple[Array, Array, str]:
        """Relax, over and over while something is kept meanwhile."""
        change = self._settled(u)
        if change is None:
            return self._relaxed(u, self.fmax)
        for _ in range(MOST_UPDATES):
            u, f, reason = self._relaxed(u, max(self.fmax, min(0.1 * change, 0.05)))
            if reason != "converged":
                return u, f, reason
            change = self._settled(u)
            assert change is not None
            f = self._forces(u)
            if float(np.abs(f).max(initial=0.0)) <= self.fmax:
                return u, f, reason
        return u, f, "ghost force did not settle"

    def _settled(self, u: Array) -> float | None:
        change = self.system.settle(u)
        self.evaluations += change is not None
        return change

    def _forces(self, u: Array) -> Array:
        self.evaluations += 1
        return self.system.forces(u)

    def _product(self, u: Array, du: Array) -> Array:
        self.evaluations += 1
        return self.system.hessian_product(u, du)

    def _report(self, top: float, step: float) -> bool:
        entry = Iteration(self.evaluations, top, step)
        self.history.append(entry)
        self.stopped = bool(self.callback(entry)) if self.callback is not None else False
        return self.stopped

    def _warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)

    def _relaxed(self, u: Array, tolerance: float) -> tuple[Array, Array, str]:
        steps, conservative = self.max_steps - len(self.history), self.system.conservative
        if self.quasi:
            u, f, reason = lbfgs(
                self._forces,
                u,
                self.solve,
                fmax=tolerance,
                max_steps=steps,
                longest=self.longest,
                report=self._report,
                floor=self._floor,
            )
            if reason != "no descent" or conservative:
                return u, f, reason
            self._warn("quasi-Newton found no descent: fell back to Newton-Krylov")
        return newton(
            self._forces,
            self._product,
            u,
            _as_it_is if self.solve is None else self.solve,
            symmetric=conservative,
            fmax=tolerance,
            max_steps=steps,
            longest=self.longest,
            report=self._report,
            floor=self._floor,
            warn=self._warn,
        )


def _as_it_is(residual: Array) -> Array:
    return residual.copy()
