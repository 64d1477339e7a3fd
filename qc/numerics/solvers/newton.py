"""Newton-Krylov: exact Hessian products, a preconditioned Krylov solve, a line search on forces.

Source: S. C. Eisenstat & H. F. Walker, SIAM J. Sci. Comput. 17 (1996) 16, for the forcing terms.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, gmres

from qc.numerics.products import inner, norm
from qc.numerics.solvers.krylov import conjugate_gradients
from qc.numerics.solvers.linesearch import search
from qc.numerics.solvers.roundoff import RoundOff

Array = NDArray[np.float64]
log = logging.getLogger(__name__)


def newton(
    forces: Callable[[Array], Array],
    product: Callable[[Array, Array], Array],
    state: Array,
    precondition: Callable[[Array], Array],
    *,
    symmetric: bool,
    fmax: float,
    max_steps: int,
    longest: float,
    report: Callable[[float, float], bool] | None = None,
    floor: RoundOff | None = None,
    warn: Callable[[str], None] | None = None,
) -> tuple[Array, Array, str]:
    """Solve ``forces(state) = 0``.

    Parameters
    ----------
    forces, product, state, precondition, fmax, max_steps, longest, report, floor
        As in `lbfgs`; ``product(state, d)`` is the Hessian times ``d``.
    symmetric : bool
        Conjugate gradients with a guard against negative curvature; otherwise GMRES.
    warn : callable, optional
        Told of fallbacks.

    Returns
    -------
    state, forces, reason
    """
    f = forces(state)
    top = float(np.abs(f).max(initial=0.0))
    previous, tolerance = np.inf, 0.1
    for _ in range(max_steps):
        if top <= fmax:
            return state, f, "converged"
        size = norm(f)
        if np.isfinite(previous):
            tolerance = float(np.clip(0.9 * (size / previous) ** 1.6, 1e-3, 0.1))
        previous = size
        here = partial(product, state)
        if symmetric:
            direction, negative = conjugate_gradients(here, f, precondition, tolerance)
            if negative and warn is not None:
                warn("negative curvature met: the conjugate-gradient solve was cut short")
        else:
            direction = _gmres(here, f, precondition, tolerance)
        slope = inner(f, direction)
        if slope <= 0:
            if warn is not None:
                warn("Newton direction points uphill: fell back to the preconditioned force")
            direction = precondition(f)
            slope = inner(f, direction)
        reach = float(np.sqrt((direction**2).sum(axis=1).max(initial=0.0)))
        first = min(1.0, longest / reach) if reach > 0 else 1.0
        step = search(forces, state, direction, slope, first=first)
        if step is None:
            lost = floor is not None and floor.lost(direction)
            return state, f, "round-off" if lost else "no descent"
        moved, state, f = step.state - state, step.state, step.forces
        top = float(np.abs(f).max(initial=0.0))
        if report is not None and report(top, step.length):
            return state, f, "stopped"
        if floor is not None and top > fmax and floor.reached(moved, top):
            return state, f, "round-off"
    return state, f, "converged" if top <= fmax else "step limit"


def _gmres(
    product: Callable[[Array], Array],
    b: Array,
    precondition: Callable[[Array], Array],
    tolerance: float,
) -> Array:
    shape, n = b.shape, b.size
    operator = LinearOperator((n, n), lambda v: precondition(product(v.reshape(shape))).ravel())
    x, info = gmres(operator, precondition(b).ravel(), rtol=tolerance, restart=60, maxiter=2)
    if info > 0:
        log.info("GMRES stopped at its iteration limit")
    return x.reshape(shape)
