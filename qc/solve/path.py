"""Paths: one relaxation per value of a parameter, each from the state before."""

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
from qc.solve.model_system import resting
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
    value : object
        That of the parameter: a mean deformation gradient (3, 3), unless `follow` was given a
        change of its own.
    model : QuasiContinuum, or what the path is of
        At this step; its coordinates are the relaxed state.
    result : Result
    """

    index: int
    value: Any
    model: Any
    result: Result

    @property
    def deformation(self) -> Array:
        """Mean deformation gradient of a model's step, (3, 3)."""
        return np.asarray(self.model.far_field.mean_deformation)


@dataclass(frozen=True, eq=False)
class LoadPath:
    """Outcome of a load path.

    Attributes
    ----------
    model : QuasiContinuum, or what the path is of
        As the path left it.
    steps : tuple of LoadStep
        Steps done in this call, the last one perhaps not converged.
    complete : bool
        Every step was reached and converged.
    reason : str
        Why the path ended, in words.
    """

    model: Any
    steps: tuple[LoadStep, ...]
    complete: bool
    reason: str

    @property
    def converged(self) -> bool:
        """Whether every step that was tried converged."""
        return all(step.result.converged for step in self.steps)


def follow(
    subject: Any,
    values: ArrayLike | Sequence[Any],
    *,
    change: Callable[[Any, Any], Any] | None = None,
    start: int = 0,
    preconditioner: Callable[[Array], Array] | None = None,
    callback: Callable[[LoadStep], bool | None] | None = None,
    **options: Any,
) -> LoadPath:
    """Relax a system along a path of values of a parameter.

    Each step keeps the coordinates of the step before and relaxes from there; of a model these are
    the correctors, so that the atoms move with the mean deformation. The path ends at the first
    step that does not converge.

    Parameters
    ----------
    subject : QuasiContinuum, ase.Atoms with a calculator, or System
        Its coordinates are the starting state. With the default change it is left as it is; the
        last state is in the outcome.
    values : sequence, or (n, 3, 3) array_like
        Of all steps; mean deformation gradients by default.
    change : callable, optional
        Takes the subject of the step before and a value, returns the subject at that value: another
        depth of an indenter, ``lambda model, depth: model.with_loads(indenter.moved((0, 0,
        -depth)))``, a temperature, a cell of atoms. By default `QuasiContinuum.with_strain`.
    start : int
        First step to do: with the coordinates of step ``start - 1`` in the subject, the path goes
        on exactly as if it had not been interrupted.
    preconditioner : callable, optional
        Made from the subject as handed in by default; one serves the whole path.
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
        A deformation is not a finite (3, 3) matrix of positive determinant, ``start`` is out of
        range, or the subject is no system.
    NonFiniteError
        Forces are NaN or infinite at the start of a step.
    """
    for name in options:
        if name not in OPTIONS:
            raise InputError(f"follow has no option '{name}'{suggest(name, OPTIONS)}")
    for name, given in (("callback", callback), ("change", change)):
        function(name, given)
    function("iteration", options.get("iteration"))
    path: Sequence[Any]
    if change is None:
        kind("model", subject, QuasiContinuum)
        path, change = list(_checked(values)), QuasiContinuum.with_strain
    else:
        path = list(values)  # type: ignore[arg-type]
    whole("start", start, 0)
    if not start <= len(path):
        raise InputError(f"start {start} is not among the {len(path)} load steps")
    iteration = options.pop("iteration", None)
    if start < len(path) and preconditioner is None:
        preconditioner = resting(subject).preconditioner()
    done: list[LoadStep] = []
    current = subject
    for index in range(start, len(path)):
        current = change(current, path[index])
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
