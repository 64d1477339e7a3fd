"""Drives: what changes a model's potential in time and does work on it."""

from __future__ import annotations

from collections.abc import Callable

from qc.dynamics.dynamics import Array, Drive
from qc.errors import InputError
from qc.loads import Load
from qc.numerics.checks import whole
from qc.solve.system import System

#: A moving load is told from another by where it is after these numbers of steps; a path need not
#: be defined beyond the run.
PROBED = (0, 1)


class MovingLoad(Drive):
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
        self.path, self.name = path, name
        self.index: int = whole("index", index, 0)

    def advance(self, system: System, x: Array, time: float) -> float:
        """Put the load where it is at a time; return the change of its energy, eV."""
        load = self.path(time)
        if not isinstance(load, Load):
            raise InputError(f"the path of '{self.name}' gave a {type(load).__name__}, not a load")
        loads = list(system.loads)
        if not 0 <= self.index <= len(loads):
            raise InputError(f"'{self.name}' is load {self.index} of a model with {len(loads)}")
        before = system.load_energy(x)
        loads[self.index : self.index + 1] = [load]
        system.loads = tuple(loads)
        return system.load_energy(x) - before

    def described(self, timestep: float) -> list[str | float | Array]:
        """Return its name and where it is after `PROBED` steps: a path is a function."""
        out: list[str | float | Array] = [self.name]
        for step in PROBED:
            out += self.path(step * timestep).described()
        return out
