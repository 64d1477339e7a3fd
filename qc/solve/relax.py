"""`relax`: bring a model to equilibrium and say whether and why it got there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qc.coupling import QuasiContinuum
from qc.coupling.reference import References
from qc.crystal import Crystal
from qc.errors import ConvergenceError, InputError, QCError, suggest
from qc.numerics.checks import function, kind, positive, whole
from qc.numerics.progress import Progress
from qc.numerics.solvers.lbfgs import lbfgs
from qc.numerics.solvers.newton import newton
from qc.numerics.solvers.roundoff import RoundOff
from qc.solve.health import coupling_error, doubt, inspect_state
from qc.solve.precondition import Preconditioner
from qc.solve.result import Iteration, Result

Array = NDArray[np.float64]
METHODS = ("auto", "lbfgs", "newton")

#: Part of the defect energy that may be round-off without a warning.
LOST_DIGITS = 1e-3

#: eV; energies below this are nothing, whatever the round-off in them.
NOTHING = 1e-6

#: Outer refreshes of a self-consistent ghost force.
MOST_REFRESHES = 60


def relax(
    model: QuasiContinuum,
    *,
    fmax: float = 1e-4,
    method: Literal["auto", "lbfgs", "newton"] = "auto",
    max_steps: int = 500,
    longest: float = 0.2,
    preconditioner: Preconditioner | None = None,
    callback: Callable[[Iteration], bool | None] | None = None,
    raise_on_failure: bool = False,
    mu: Mapping[str, float | Crystal] | None = None,
) -> Result:
    """Relax a model; its correctors ``model.U`` end at the best state found.

    Parameters
    ----------
    model : QuasiContinuum
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
    preconditioner : Preconditioner, optional
        One made before for the same mesh (load steps).
    callback : callable, optional
        Called with each `Iteration`; returning True stops.
    raise_on_failure : bool
        Raise ConvergenceError instead of returning an unconverged result.
    mu : mapping of str to float or Crystal, optional
        Chemical potentials for `Result.defect_energy`: eV per atom of an element, or a crystal of
        it, which counts with its energy per atom at rest. An element that is not named counts as
        in the perfect crystal if that holds no other element; as a free atom otherwise, and
        `Result.warnings` says so.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        A parameter is out of range, the method does not exist, or ``mu`` is unusable.
    UnknownSpeciesError
        ``mu`` names an element that the potential does not know.
    CapabilityError
        ``method="lbfgs"`` on a scheme without an energy.
    NonFiniteError
        Forces are NaN or infinite already at the start; ``model.U`` is left as it was.
    """
    kind("model", model, QuasiContinuum)
    function("callback", callback)
    function("preconditioner", preconditioner)
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}{suggest(method, METHODS)}")
    for name, value in (("fmax", fmax), ("longest", longest)):
        positive(name, value)
    whole("max_steps", max_steps, 1)
    coupling = model.coupling
    if method == "lbfgs" and not coupling.conservative:
        from qc.errors import CapabilityError

        raise CapabilityError(
            f"scheme '{model.scheme.name}' has no energy: use method='newton' or 'auto'"
        )
    reference = References(model.layout, model.rule, model.far_field, mu)
    quasi = method != "newton"
    start = coupling.evaluations
    history: list[Iteration] = []
    warnings: list[str] = []
    solve = preconditioner if preconditioner is not None else Preconditioner(model)
    stopped = False
    floor = RoundOff(model.predictor() + model.U, model.crystal.nearest_neighbour)

    with Progress("relax") as progress:

        def report(top: float, step: float) -> bool:
            nonlocal stopped
            entry = Iteration(coupling.evaluations - start, top, step)
            history.append(entry)
            progress.update(f"{entry.evaluations} evaluations, max force {top:.2e} eV/Angstrom")
            stopped = bool(callback(entry)) if callback is not None else False
            return stopped

        def warn(message: str) -> None:
            if message not in warnings:
                warnings.append(message)

        def run(u: Array, tolerance: float, steps: int) -> tuple[Array, Array, str]:
            if quasi:
                u, f, reason = lbfgs(
                    coupling.forces,
                    u,
                    solve,
                    fmax=tolerance,
                    max_steps=steps,
                    longest=longest,
                    report=report,
                    floor=floor,
                )
                if reason != "no descent" or coupling.conservative:
                    return u, f, reason
                warn("quasi-Newton found no descent: fell back to Newton-Krylov")
            return newton(
                coupling.forces,
                coupling.hessian_product,
                u,
                solve,
                symmetric=coupling.conservative,
                fmax=tolerance,
                max_steps=steps,
                longest=longest,
                report=report,
                floor=floor,
                warn=warn,
            )

        u, f, reason = model.U.copy(), np.zeros(0), ""
        if model.scheme.ghost == "self-consistent":
            change = coupling.refresh_ghost(u)
            for _ in range(MOST_REFRESHES):
                tolerance = max(fmax, min(0.1 * change, 0.05))
                u, f, reason = run(u, tolerance, max_steps - len(history))
                if reason != "converged":
                    break
                change = coupling.refresh_ghost(u)
                f = coupling.forces(u)
                if float(np.abs(f).max(initial=0.0)) <= fmax:
                    break
            else:
                reason = "ghost force did not settle"
        else:
            u, f, reason = run(u, fmax, max_steps)

    model.U = u
    top = float(np.abs(f).max(initial=0.0))
    converged = top <= fmax and not stopped
    used = coupling.evaluations - start
    warnings.extend(inspect_state(model))
    best, change = coupling.best_energy(u)
    defect_energy = reference.energy(best)
    error = None if math.isnan(change) else coupling_error(change)
    warnings.extend([*reference.warnings(), *doubt(model, error, best)])
    energy = coupling.energy(u) + strain_energy(model) if coupling.conservative else None
    lost = coupling.round_off(u)
    if lost > max(LOST_DIGITS * abs(defect_energy), NOTHING):
        warnings.append(
            f"round-off may change the defect energy of {defect_energy:.6g} eV by up to "
            f"{lost:.1g} eV: too much of the model is strained for its size; make it smaller"
        )
    words = {
        "converged": f"largest force {top:.2e} is below {fmax:.2e} eV/Angstrom",
        "stopped": "stopped by the caller",
        "round-off": f"fmax {fmax:.2e} is below what double precision reaches here: the largest "
        f"force stays at {top:.2e} eV/Angstrom",
        "no descent": f"no descent direction at a largest force of {top:.2e} eV/Angstrom",
        "step limit": f"{max_steps} steps used up at a largest force of {top:.2e} eV/Angstrom",
    }
    result = Result(
        converged=converged,
        reason=words.get(reason, reason),
        defect_energy=defect_energy,
        energy=energy,
        max_force=top,
        evaluations=used,
        history=tuple(history),
        warnings=tuple(warnings),
        reference=reference.elements,
        estimated_error=error,
    )
    if raise_on_failure and not converged:
        raise ConvergenceError(result.reason)
    return result


def strain_energy(model: QuasiContinuum) -> float:
    """Energy of the homogeneously strained perfect crystal over the undeformed one, eV."""
    mean = np.asarray(model.far_field.mean_deformation)
    pair = model.rule.site_energy(np.stack([mean, np.eye(3)]))
    return float(pair[0] - pair[1]) * model.n_sites


def require_converged(result: Result) -> Result:
    """Return the result if it converged, raise `QCError` otherwise."""
    if not result.converged:
        raise QCError(f"not converged: {result.reason}")
    return result
