"""Load paths: one relaxation per mean deformation, each from the state before."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.coupling import QuasiContinuum
from qc.errors import InputError, suggest
from qc.numerics.checks import function, kind, whole
from qc.solve.precondition import Preconditioner
from qc.solve.relax import relax
from qc.solve.result import Result

Array = NDArray[np.float64]

#: What `follow` passes on to `relax`, whose callback goes by another name.
OPTIONS = ("iteration", *list(inspect.signature(relax).parameters)[1:])


@dataclass(frozen=True, eq=False)
class LoadStep:
    """One step of a load path.

    Attributes
    ----------
    index : int
        Place in the path, from 0.
    deformation : (3, 3) float64
        Mean deformation gradient of the step.
    model : QuasiContinuum
        The model at this step; its correctors are the relaxed state.
    result : Result
    """

    index: int
    deformation: Array
    model: QuasiContinuum
    result: Result


@dataclass(frozen=True, eq=False)
class LoadPath:
    """Outcome of a load path.

    Attributes
    ----------
    model : QuasiContinuum
        The model as the path left it.
    steps : tuple of LoadStep
        Steps done in this call, the last one perhaps not converged.
    complete : bool
        Every step was reached and converged.
    reason : str
        Why the path ended, in words.
    """

    model: QuasiContinuum
    steps: tuple[LoadStep, ...]
    complete: bool
    reason: str

    @property
    def converged(self) -> bool:
        """Whether every step that was tried converged."""
        return all(step.result.converged for step in self.steps)


def follow(
    model: QuasiContinuum,
    deformations: ArrayLike | Sequence[ArrayLike],
    *,
    start: int = 0,
    preconditioner: Preconditioner | None = None,
    callback: Callable[[LoadStep], bool | None] | None = None,
    **options: Any,
) -> LoadPath:
    """Relax a model along a path of mean deformations.

    Each step keeps the correctors of the step before, so that the atoms move with the mean
    deformation and relax from there. The path ends at the first step that does not converge.

    Parameters
    ----------
    model : QuasiContinuum
        Its correctors are the starting state. It is left as it is; the last state is in the
        outcome.
    deformations : (n, 3, 3) array_like
        Mean deformation gradients of all steps.
    start : int
        First step to do: with the correctors of step ``start - 1`` in the model, the path goes on
        exactly as if it had not been interrupted.
    preconditioner : Preconditioner, optional
        Made from ``model`` as handed in by default; one serves the whole path.
    callback : callable, optional
        Called with each `LoadStep`; returning True ends the path.
    **options
        Passed to `relax`; its ``callback`` is given as ``iteration``.

    Returns
    -------
    LoadPath

    Raises
    ------
    InputError
        A deformation is not a finite (3, 3) matrix of positive determinant, or ``start`` is out of
        range.
    NonFiniteError
        Forces are NaN or infinite at the start of a step.
    """
    kind("model", model, QuasiContinuum)
    for name in options:
        if name not in OPTIONS:
            raise InputError(f"follow has no option '{name}'{suggest(name, OPTIONS)}")
    function("callback", callback)
    function("iteration", options.get("iteration"))
    path = _checked(deformations)
    whole("start", start, 0)
    if not start <= len(path):
        raise InputError(f"start {start} is not among the {len(path)} load steps")
    iteration = options.pop("iteration", None)
    if start < len(path) and preconditioner is None:
        preconditioner = Preconditioner(model)
    done: list[LoadStep] = []
    current = model
    for index in range(start, len(path)):
        current = current.with_strain(path[index])
        result = relax(current, preconditioner=preconditioner, callback=iteration, **options)
        step = LoadStep(index, path[index], current, result)
        done.append(step)
        stop = bool(callback(step)) if callback is not None else False
        if not result.converged:
            return LoadPath(current, tuple(done), False, f"step {index}: {result.reason}")
        if stop and index + 1 < len(path):
            return LoadPath(current, tuple(done), False, f"stopped by the caller at step {index}")
    return LoadPath(current, tuple(done), True, f"all {len(path)} steps converged")


def _checked(deformations: ArrayLike | Sequence[ArrayLike]) -> Array:
    try:
        path = np.asarray(deformations, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"deformations must be (n, 3, 3) numbers: {error}") from error
    if path.ndim == 2 and path.shape == (3, 3):
        path = path[None]
    if path.ndim != 3 or path.shape[1:] != (3, 3) or not len(path):
        raise InputError(f"deformations must have shape (n, 3, 3), not {path.shape}")
    bad = np.flatnonzero(~np.isfinite(path).all(axis=(1, 2)))
    if len(bad):
        raise InputError(f"deformation of step {bad[0]} is not finite")
    bad = np.flatnonzero(np.linalg.det(path) <= 0)
    if len(bad):
        raise InputError(f"deformation of step {bad[0]} has no positive determinant")
    return path
