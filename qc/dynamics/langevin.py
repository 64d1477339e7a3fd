"""Langevin baths: friction and noise that satisfy fluctuation-dissipation exactly at any time step.

The friction-noise part ``dv = -gamma v dt + sqrt(2 gamma kT / m) dW`` is solved exactly,

    v' = c v + sqrt(kT (1 - c^2) / m) xi,        c = exp(-gamma dt),

for every degree of freedom, between the halves of the drift (BAOAB).

Source: B. Leimkuhler & C. Matthews, Appl. Math. Res. Express 2013 (2013) 34.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import units
from numpy.typing import ArrayLike, NDArray

from qc.dynamics import kernels
from qc.dynamics.noise import NoiseStream
from qc.errors import InputError
from qc.numerics.checks import numbers
from qc.solve.system import System

if TYPE_CHECKING:
    from qc.dynamics.heat.field import HeatField

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Langevin:
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

    def __post_init__(self) -> None:
        check_field("temperature", self.temperature)
        check_field("friction", self.friction)


@dataclass(frozen=True, eq=False)
class FieldBath:
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

    def __post_init__(self) -> None:
        if not hasattr(self.field, "total_energy"):
            raise InputError(f"field must be a HeatField, got {type(self.field).__name__}")
        check_field("friction", self.friction)


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
