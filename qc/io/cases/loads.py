"""``[[loads]]``: what pushes and pulls from outside, by kind.

A load has one number that moves it: the depth of an indenter, the factor of a force. Along a load
path it takes the values that the case lists, in dynamics it grows at a rate.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
from ase import units
from numpy.typing import NDArray

from qc.coupling import QuasiContinuum
from qc.crystal import Crystal
from qc.errors import CaseError
from qc.io.cases import schema
from qc.io.cases.schema import Length
from qc.loads import CylindricalIndenter, DeadLoad, Load, SphericalIndenter

Array = NDArray[np.float64]

_length = schema.length(positive=False)
_point = schema.sequence(_length, 3)
_factor = schema.number(-1e6, 1e6)
_stiffness = schema.quantity(schema.STIFFNESSES, "stiffness", above=0.0)


@dataclass(frozen=True, eq=False)
class Motion:
    """A load as a function of the number that moves it: what that is, its unit, where it begins.

    Along a load path it takes the ``values``, none where the load stays where it is; in dynamics it
    grows at a ``rate``, 1/time.
    """

    at: Callable[[float], Load]
    what: str
    unit: str
    start: float
    values: tuple[float, ...]
    rate: float

    def after(self, time: float) -> Load:
        """Return the load at a time (ASE's)."""
        return self.at(self.start + self.rate * time)


class LoadCase(schema.OfKind):
    """A load; a kind is a dataclass of its keys."""

    #: Keys of the values along a path, and of the rate in dynamics.
    path_key: ClassVar[str]
    rate_key: ClassVar[str]

    name: str

    @abstractmethod
    def build(self, model: QuasiContinuum) -> Motion:
        """Return the load of a model."""


@dataclass(frozen=True, kw_only=True)
class Indenter(LoadCase):
    """A frictionless sphere, pushed along a direction."""

    name: Annotated[str, schema.text] = "indenter"
    radius: Annotated[Length, schema.length()]
    centre: Annotated[tuple[Length, Length, Length], _point]
    stiffness: Annotated[float, _stiffness]
    direction: Annotated[tuple[float, float, float] | None, schema.vector] = None
    depth: Annotated[Length, _length] = field(default=Length(0.0))
    depths: Annotated[tuple[Length, ...], schema.sequence(_length)] = ()
    speed: Annotated[float, schema.quantity(schema.SPEEDS, "speed")] = 0.0
    kind, path_key, rate_key = "indenter", "depths", "speed"

    def build(self, model: QuasiContinuum) -> Motion:
        """Return the indenter at a depth along its direction, Angstrom."""
        if self.direction is None and (self.depths or self.speed or self.depth.value):
            raise CaseError("an indenter that moves needs a direction")
        along = np.zeros(3) if self.direction is None else np.array(self.direction)
        along /= max(float(np.linalg.norm(along)), 1e-300)
        return Motion(
            partial(_moved, self._load(model.crystal), along),
            "depth",
            "Angstrom",
            self.depth.in_crystal(model.crystal),
            tuple(depth.in_crystal(model.crystal) for depth in self.depths),
            self.speed * units.m / units.s,
        )

    def _load(self, crystal: Crystal) -> SphericalIndenter | CylindricalIndenter:
        return SphericalIndenter(*self._shape(crystal))

    def _shape(self, crystal: Crystal) -> tuple[float, tuple[float, ...], float]:
        centre = tuple(x.in_crystal(crystal) for x in self.centre)
        return self.radius.in_crystal(crystal), centre, self.stiffness


@dataclass(frozen=True, kw_only=True)
class Cylinder(Indenter):
    """A frictionless cylinder, its axis along z unless given."""

    name: Annotated[str, schema.text] = "cylinder"
    axis: Annotated[tuple[float, float, float], schema.vector] = (0.0, 0.0, 1.0)
    kind = "cylinder"

    def _load(self, crystal: Crystal) -> CylindricalIndenter:
        return CylindricalIndenter(*self._shape(crystal), self.axis)


def _moved(load: SphericalIndenter | CylindricalIndenter, along: Array, depth: float) -> Load:
    return load.moved(depth * along)


@dataclass(frozen=True, kw_only=True)
class PointForce(LoadCase):
    """A dead load on one atom, the nearest to a position, times a factor."""

    name: Annotated[str, schema.text] = "force"
    position: Annotated[tuple[Length, Length, Length], _point]
    force: Annotated[tuple[float, ...], schema.sequence(schema.quantity(schema.FORCES, "force"), 3)]
    factor: Annotated[float, _factor] = 1.0
    factors: Annotated[tuple[float, ...], schema.sequence(_factor)] = ()
    rate: Annotated[float, schema.quantity(schema.RATES, "rate")] = 0.0
    kind, path_key, rate_key = "force", "factors", "rate"

    def build(self, model: QuasiContinuum) -> Motion:
        """Return the force times a factor."""
        at = np.array([x.in_crystal(model.crystal) for x in self.position])
        distance = np.linalg.norm(model.layout.node_positions - at, axis=1)
        node = int(distance.argmin())
        if distance[node] > 0.5 * model.crystal.nearest_neighbour:
            raise CaseError(
                f"no atom or node is at this position; the nearest is {distance[node]:.3f} "
                "Angstrom away"
            )
        forces = np.zeros_like(model.U)
        forces[node] = self.force
        load = DeadLoad(forces, model.predictor())
        return Motion(load.scaled, "factor", "", self.factor, self.factors, self.rate / units.fs)


#: Kinds of ``[[loads]]``; a new one is an entry here.
LOADS: dict[str, type[LoadCase]] = schema.registry(Indenter, Cylinder, PointForce)
