"""``[[dynamics.baths]]`` and ``[dynamics.heat]``: what heat comes from and goes to."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, get_args

import numpy as np
from ase import units
from numpy.typing import NDArray

from qc.coupling import QuasiContinuum
from qc.crystal import Crystal
from qc.dynamics import (
    FieldBath,
    HeatField,
    Langevin,
    atoms_only,
    conductivity_from_SI,
    continuum_only,
    stadium,
)
from qc.dynamics.heat.model import Where
from qc.dynamics.langevin import Bath
from qc.errors import CaseError
from qc.io.cases import schema
from qc.io.cases.schema import Length

Array = NDArray[np.float64]

_hot = schema.kelvin(above=0.0)
_rate = schema.quantity(schema.RATES, "friction", low=0.0)

#: Where a bath acts: functions of the model and a friction, and further keys that each takes.
PLACES: dict[str, tuple[Callable[..., float | Array], tuple[str, ...]]] = {
    "everywhere": (lambda model, friction: friction, ()),
    "atoms": (atoms_only, ()),
    "continuum": (continuum_only, ()),
    "stadium": (stadium, ("width", "power")),
}


@dataclass(frozen=True, kw_only=True)
class BathCase(schema.OfKind):
    """A bath; a kind is a dataclass of its keys."""

    name: Annotated[str, schema.text] = "bath"
    friction: Annotated[float, _rate]
    where: Annotated[str, schema.choice(tuple(PLACES))] = "everywhere"
    width: Annotated[Length | None, schema.length()] = None
    power: Annotated[float | None, schema.number(above=0.0)] = None
    background: Annotated[float, _rate] = 0.0
    noise: Annotated[bool, schema.boolean] = True

    @abstractmethod
    def build(self, model: QuasiContinuum, field: HeatField | None) -> Bath:
        """Return the bath of a model, which may have a heat field."""

    def rates(self, model: QuasiContinuum) -> float | Array:
        """Return friction in ASE's unit, one number or one for each node."""
        place, keys = PLACES[self.where]
        given: dict[str, float] = {}
        if self.width is not None:
            given["width"] = self.width.in_crystal(model.crystal)
        if self.power is not None:
            given["power"] = self.power
        for name in given:
            if name not in keys:
                raise CaseError(f"a bath of '{self.where}' has no {name}")
        return self.background / units.fs + place(model, self.friction / units.fs, **given)


@dataclass(frozen=True, kw_only=True)
class LangevinCase(BathCase):
    """A bath of given temperature."""

    temperature: Annotated[float, schema.kelvin(low=0.0)]
    kind = "langevin"

    def build(self, model: QuasiContinuum, field: HeatField | None) -> Bath:
        """Return the Langevin bath."""
        return Langevin(self.temperature, self.rates(model), self.name, self.noise)


@dataclass(frozen=True, kw_only=True)
class FieldBathCase(BathCase):
    """A bath whose temperature is that of the heat field."""

    name: Annotated[str, schema.text] = "field"
    kind = "field"

    def build(self, model: QuasiContinuum, field: HeatField | None) -> Bath:
        """Return the field's bath."""
        if field is None:
            raise CaseError("a bath of kind 'field' needs [dynamics.heat]")
        return FieldBath(field, self.rates(model), self.name, self.noise)


#: Kinds of ``[[dynamics.baths]]``; a new one is an entry here.
BATHS: dict[str, type[BathCase]] = schema.registry(LangevinCase, FieldBathCase)


@dataclass(frozen=True)
class SpotCase:
    """``[[dynamics.heat.spots]]``: a Gaussian of temperature over that of the field."""

    rise: Annotated[float, schema.kelvin()]
    width: Annotated[Length, schema.length()]
    centre: Annotated[
        tuple[Length, Length, Length], schema.sequence(schema.length(positive=False), 3)
    ] = (Length(0.0), Length(0.0), Length(0.0))


@dataclass(frozen=True)
class SideCase:
    """``[[dynamics.heat.sides]]``: what of the boundary lies furthest along a direction is held."""

    direction: Annotated[tuple[float, float, float], schema.vector]
    temperature: Annotated[float, _hot]
    depth: Annotated[Length, schema.length()] = field(default=Length(1.0, "a"))


@dataclass(frozen=True, kw_only=True)
class HeatCase:
    """``[dynamics.heat]``: the heat field of what the nodes do not carry."""

    where: Annotated[Where, schema.choice(get_args(Where))] = "continuum"
    temperature: Annotated[float, _hot]
    conductivity: Annotated[
        float, schema.quantity(schema.CONDUCTIVITIES, "conductivity", low=0.0)
    ] = 0.0
    capacity: Annotated[
        float | None, schema.quantity(schema.CAPACITIES, "capacity", above=0.0)
    ] = None
    size: Annotated[Length | None, schema.length()] = None
    couple_core: Annotated[bool, schema.boolean] = False
    conduct_every: Annotated[int, schema.integer(1, 10**6)] = 1
    close_field: Annotated[bool, schema.boolean] = True
    boundary: Annotated[float | None, _hot] = None
    sides: Annotated[tuple[SideCase, ...], schema.tables(SideCase, 100)] = ()
    spots: Annotated[tuple[SpotCase, ...], schema.tables(SpotCase, 1000)] = ()

    def build(self, model: QuasiContinuum) -> HeatField:
        """Return the field of a model, with its temperatures and its boundary."""
        crystal = model.crystal
        out = HeatField.of_model(
            model,
            conductivity=conductivity_from_SI(self.conductivity),
            capacity=None if self.capacity is None else self.capacity * units.kB,
            size=None if self.size is None else self.size.in_crystal(crystal),
            where=self.where,
            temperature=partial(self.temperatures, crystal),
            couple_core=self.couple_core,
        )
        if self.boundary is not None:
            out.prescribe_temperature(out.boundary, self.boundary)
        for side in self.sides:
            along = out.positions @ (np.array(side.direction) / np.linalg.norm(side.direction))
            near = along > along.max() - side.depth.in_crystal(crystal)
            out.prescribe_temperature(out.boundary & near, side.temperature)
        return out

    def temperatures(self, crystal: Crystal, x: Array) -> Array:
        """Return the temperatures of the start at positions (n, 3), (n,) K."""
        out = np.full(len(x), self.temperature)
        for spot in self.spots:
            away = x - [v.in_crystal(crystal) for v in spot.centre]
            if crystal.dim == 2:
                away = away[:, :2]
            width = spot.width.in_crystal(crystal)
            out += spot.rise * np.exp(-0.5 * (away**2).sum(axis=1) / width**2)
        return out
