"""Preconditioned L-BFGS with a line search on forces.

Source: J. Nocedal & S. J. Wright, Numerical Optimization (2006), algorithm 7.4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qc.numerics.products import inner, norm
from qc.numerics.solvers.linesearch import search
from qc.numerics.solvers.roundoff import RoundOff

Array = NDArray[np.float64]

#: Angstrom^2/eV; inverse stiffness of an atom before anything better is known.
SOFTNESS = 0.03


def lbfgs(
    forces: Callable[[Array], Array],
    state: Array,
    precondition: Callable[[Array], Array] | None = None,
    *,
    fmax: float,
    max_steps: int,
    longest: float,
    memory: int = 20,
    report: Callable[[float, float], bool] | None = None,
    floor: RoundOff | None = None,
) -> tuple[Array, Array, str]:
    """Minimise until the largest force component is below ``fmax``.

    Parameters
    ----------
    forces : callable
        (n, 3) -> (n, 3), zero on fixed unknowns.
    state : (n, 3) float64
        Start.
    precondition : callable, optional
        Approximate inverse Hessian; without one the softness along the last step.
    fmax : float, eV/Angstrom
    max_steps : int
    longest : float, Angstrom
        Longest displacement of one node in one step.
    memory : int
        Pairs kept.
    report : callable, optional
        Called with (max force, step) after each accepted step; returning True stops.
    floor : RoundOff, optional
        Tells when forces are round-off; without it the step limit alone does.

    Returns
    -------
    state, forces, reason
        Reason is "converged", "stopped", "round-off", "no descent" or "step limit".
    """
    f = forces(state)
    top = float(np.abs(f).max(initial=0.0))
    pairs: deque[tuple[Array, Array, float]] = deque(maxlen=memory)
    restarted = False
    for _ in range(max_steps):
        if top <= fmax:
            return state, f, "converged"
        direction = _two_loop(f, pairs, precondition)
        slope = inner(f, direction)
        if slope <= 0:
            pairs.clear()
            direction = _two_loop(f, pairs, precondition)
            slope = inner(f, direction)
            if slope <= 0:
                return state, f, _dead_end(floor, direction)
        reach = float(np.sqrt((direction**2).sum(axis=1).max()))
        first = min(1.0, longest / reach) if reach > 0 else 1.0
        step = search(forces, state, direction, slope, first=first)
        if step is None:
            if restarted:
                return state, f, _dead_end(floor, direction)
            pairs.clear()
            restarted = True
            continue
        restarted = False
        ds, df = step.state - state, f - step.forces
        product = inner(ds, df)
        if product > 1e-12 * norm(ds) * norm(df):
            pairs.append((ds, df, 1.0 / product))
        state, f = step.state, step.forces
        top = float(np.abs(f).max(initial=0.0))
        if report is not None and report(top, step.length):
            return state, f, "stopped"
        if floor is not None and top > fmax and floor.reached(ds, top):
            return state, f, "round-off"
    return state, f, "converged" if top <= fmax else "step limit"


def _dead_end(floor: RoundOff | None, direction: Array) -> str:
    return "round-off" if floor is not None and floor.lost(direction) else "no descent"


def _two_loop(
    f: Array,
    pairs: deque[tuple[Array, Array, float]],
    precondition: Callable[[Array], Array] | None,
) -> Array:
    q = f.copy()
    kept = []
    for ds, df, rho in reversed(pairs):
        a = rho * inner(ds, q)
        q -= a * df
        kept.append(a)
    if precondition is not None:
        r = precondition(q)
    elif pairs:
        _, df, rho = pairs[-1]
        r = q / (rho * inner(df, df))
    else:
        r = SOFTNESS * q
    for (ds, df, rho), a in zip(pairs, reversed(kept), strict=True):
        r += ds * (a - rho * inner(df, r))
    return r
