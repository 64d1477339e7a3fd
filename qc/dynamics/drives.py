"""Drives: what changes a model's potential in time and does work on it."""

from __future__ import annotations

from collections.abc import Callable

from qc.dynamics.dynamics import Array
from qc.errors import CapabilityError, InputError
from qc.loads import Load
from qc.numerics.checks import whole
from qc.solve.system import System


class MovingLoad:
    """An external load of a model that follows a path in time: an indenter, a growing force.

    Before and behind every drift the load goes half of its way, and the change of its energy at
    fixed positions is the work it has done.

    Parameters
    ----------
    path : callable
        Takes the time since step 0 (ASE time), returns the load then. To go on after a restart as
        if there had been none it must depend on nothing else.
    name : str
        What the ledger calls it.
    index : int
        Which of ``model.loads`` moves; one past the last adds it.

    Examples
    --------
    >>> start = SphericalIndenter(radius=20.0, centre=(0, 0, 21), stiffness=10.0)  # doctest: +SKIP
    >>> MovingLoad(lambda t: start.moved((0, 0, -speed * t)), "indenter")  # doctest: +SKIP

    Raises
    ------
    InputError
        The path gives no load, or the index is out of range.
    CapabilityError
        The system is no model.
    """

    def __init__(self, path: Callable[[float], Load], name: str = "load", index: int = 0) -> None:
        if not callable(path):
            raise InputError("the path of a moving load must be a function of time")
        self.path, self.name, self.index = path, name, whole("index", index, 0)

    def advance(self, system: System, x: Array, time: float) -> float:
        """Put the load where it is at a time; return the change of its energy, eV."""
        model = getattr(system, "model", None)
        if model is None:
            raise CapabilityError("only models have external loads that can move")
        load = self.path(time)
        if not isinstance(load, Load):
            raise InputError(f"the path of '{self.name}' gave a {type(load).__name__}, not a load")
        loads = list(model.loads)
        if not 0 <= self.index <= len(loads):
            raise InputError(f"'{self.name}' is load {self.index} of a model with {len(loads)}")
        before = model.load_energy(x)
        loads[self.index : self.index + 1] = [load]
        model.loads = loads
        return model.load_energy(x) - before
