"""Langevin baths: friction and noise that satisfy fluctuation-dissipation exactly at any time step.

The friction-noise part ``dv = -gamma v dt + sqrt(2 gamma kT / m) dW`` is solved exactly,

    v' = c v + sqrt(kT (1 - c^2) / m) xi,        c = exp(-gamma dt),

for every degree of freedom, between the halves of the drift (BAOAB).

Source: B. Leimkuhler & C. Matthews, Appl. Math. Res. Express 2013 (2013) 34.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import partial
from typing import ClassVar

import numpy as np
from ase import units
from numpy.typing import ArrayLike, NDArray

from qc.dynamics import kernels
from qc.dynamics.heat.field import HeatField
from qc.dynamics.ledger import Entry
from qc.dynamics.noise import NoiseStream
from qc.errors import InputError
from qc.numerics.checks import kind, numbers
from qc.numerics.fingerprint import Fingerprint
from qc.solve.system import System

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


def _same(values: Array) -> Array:
    return values


class Bath(ABC):
    """What friction and noise exchange the energy of the nodes with.

    Attributes
    ----------
    name : str
        What the ledger calls it; every bath of a run has its own.
    friction : float or (n,) float64, 1/time
        Nodes without friction do not feel the bath.
    noise : bool
        Without noise friction only takes energy: the deterministic limit.
    field : HeatField or None
        The heat field whose temperatures and heat the bath's are, if they are.
    """

    name: str
    friction: float | ArrayLike
    noise: bool
    field: HeatField | None

    #: Kinds of the ledger's accounts that it books on.
    accounts: ClassVar[tuple[str, ...]] = ("heat", "entropy")

    @abstractmethod
    def temperatures(self, system: System) -> Callable[[], Array]:
        """Return what gives the temperature of every node, (n,) K, at each step.

        Raises
        ------
        InputError
            The bath does not fit the system.
        """

    @abstractmethod
    def booked(self, exchange: Exchange, heat: float, entropy: float) -> list[Entry]:
        """Put the heat (eV) of a step where it belongs; return entries of the ledger."""

    @property
    @abstractmethod
    def of_nodes(self) -> bool:
        """Whether it is one for particular nodes, and not for those of another mesh."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of what the exchange depends on."""


@dataclass(frozen=True, eq=False)
class Langevin(Bath):
    """A heat bath of given temperature.

    Parameters
    ----------
    temperature : float or (n,) float64, K
        One for all, or one for each node.
    friction : float or (n,) float64, 1/time
        Nodes without friction do not feel the bath; see `qc.dynamics.friction`.
    name : str
        What the ledger calls it; every bath of a run has its own.
    noise : bool
        Without noise friction only takes energy: the deterministic limit.

    Raises
    ------
    InputError
        A temperature or friction that is negative or not finite.
    """

    temperature: float | ArrayLike
    friction: float | ArrayLike
    name: str = "bath"
    noise: bool = True
    field: None = dataclass_field(default=None, init=False)

    def __post_init__(self) -> None:
        check_field("temperature", self.temperature)
        check_field("friction", self.friction)

    def temperatures(self, system: System) -> Callable[[], Array]:
        """Return a function that gives the bath's own temperatures."""
        constant = per_node("temperature", self.temperature, len(system.masses))
        # A function made here would not go through pickle.
        return partial(_same, constant)

    def booked(self, exchange: Exchange, heat: float, entropy: float) -> list[Entry]:
        """Book heat from outside, and the entropy that it took there."""
        return [("heat", self.name, heat), ("entropy", self.name, entropy)]

    @property
    def of_nodes(self) -> bool:
        """Whether friction or temperature differ from node to node."""
        return bool(np.ndim(self.friction) or np.ndim(self.temperature))

    def fingerprint(self) -> str:
        """Return a hash of friction, noise and temperature."""
        one = Fingerprint(type(self).__name__).add(str(self.noise), self.friction)
        return one.add(np.asarray(self.temperature, dtype=np.float64)).hex()


@dataclass(frozen=True, eq=False)
class FieldBath(Bath):
    """A bath whose temperature is a heat field's, and whose heat is the field's.

    What friction and noise take from a node enters the field, and the reverse: the two together
    keep their energy to the last bit.

    Parameters
    ----------
    field : HeatField
    friction : float or (n,) float64, 1/time
    name : str
    noise : bool

    Raises
    ------
    InputError
        No heat field, or a friction that is negative or not finite.
    """

    field: HeatField
    friction: float | ArrayLike
    name: str = "field"
    noise: bool = True
    accounts: ClassVar[tuple[str, ...]] = ("entropy",)

    def __post_init__(self) -> None:
        kind("field", self.field, HeatField)
        check_field("friction", self.friction)

    def temperatures(self, system: System) -> Callable[[], Array]:
        """Return what gives the field's temperatures at the nodes."""
        n = len(system.masses)
        if self.field.coupled.shape != (n,):
            raise InputError(f"a heat field over {len(self.field.coupled)} nodes for {n}")
        alone = per_node("friction", self.friction, n) > 0.0
        alone &= ~self.field.coupled & system.free.any(axis=1)
        if alone.any():
            raise InputError(
                f"bath '{self.name}': node {int(np.argmax(alone))} has friction, but the heat "
                "field does not reach it; set its friction to zero"
            )
        return self.field.node_temperatures

    def booked(self, exchange: Exchange, heat: float, entropy: float) -> list[Entry]:
        """Give the heat to the field, and book the entropy that it made there."""
        gained = np.zeros(len(self.field.coupled))
        gained[exchange.nodes] = exchange.heat
        return [("entropy", self.name, self.field.receive(gained))]

    @property
    def of_nodes(self) -> bool:
        """True: the field is over the nodes."""
        return True

    def fingerprint(self) -> str:
        """Return a hash of friction and noise; the field has its own."""
        return Fingerprint(type(self).__name__).add(str(self.noise), self.friction).hex()


class Exchange:
    """The friction-noise step of one bath over a system.

    Parameters
    ----------
    system : System
    friction : float or (n,) float64, 1/time
    timestep : float
    noise : NoiseStream or None
        None for friction alone.
    temperatures : callable
        Gives the temperature of every node, (n,) K.

    Attributes
    ----------
    nodes : (k,) int64
        Nodes that feel the bath.
    heat : (k,) float64, eV
        What they received in the last step.

    Raises
    ------
    InputError
        A friction that does not fit the system.
    """

    def __init__(
        self,
        system: System,
        friction: float | ArrayLike,
        timestep: float,
        noise: NoiseStream | None,
        temperatures: Callable[[], Array],
    ) -> None:
        n = len(system.masses)
        gamma = per_node("friction", friction, n)
        self.nodes: IntArray = np.nonzero((gamma > 0.0) & system.free.any(axis=1))[0]
        decay = np.exp(-gamma[self.nodes] * timestep)
        self._decay = decay
        # expm1 keeps the digits of weak friction.
        spread = -np.expm1(-2.0 * gamma[self.nodes] * timestep)
        self._amplitude = np.sqrt(units.kB * spread / system.masses[self.nodes])
        self._noise, self._temperatures = noise, temperatures
        self._free, self._masses = system.free, system.masses
        self._still = np.zeros((len(self.nodes), 3))
        self.heat: Array = np.zeros(len(self.nodes))

    def __call__(self, v: Array, step: int) -> tuple[float, float]:
        """Change velocities in place; return heat received (eV) and the bath's entropy (eV/K)."""
        at = np.ascontiguousarray(self._temperatures()[self.nodes])
        xi = self._still
        if self._noise is not None:
            xi = self._noise.normal(step, self._still.shape)
        kernels.friction_noise(
            v, self.nodes, self._decay, self._amplitude, at, xi, self._free, self._masses, self.heat
        )
        with np.errstate(divide="ignore"):
            given = np.where(at > 0.0, self.heat / np.where(at > 0.0, at, 1.0), 0.0)
        return float(self.heat.sum()), -float(given.sum())


def per_node(name: str, value: float | ArrayLike, n: int) -> Array:
    """Return one number for each of ``n`` nodes.

    Raises
    ------
    InputError
        An array of another length.
    """
    values = numbers(name, value)
    if values.ndim not in (0, 1) or (values.ndim == 1 and values.shape != (n,)):
        raise InputError(f"{name} of shape {values.shape} for {n} nodes")
    return np.array(np.broadcast_to(values, (n,)))


def check_field(name: str, value: float | ArrayLike) -> None:
    """Refuse a friction or temperature that is no number, negative or not finite anywhere."""
    values = numbers(name, value)
    if not (np.isfinite(values).all() and (values >= 0.0).all()):
        raise InputError(f"{name} must be zero or positive and finite")
