"""Frictionless indenters: a sphere or a cylinder that repels the atoms it overlaps.

    E = sum_i w_i k/3 (R - r_i)^3    for r_i < R,

with the distance r_i of an atom from the centre of the sphere or the axis of the cylinder: each
atom is pushed straight outwards by ``k (R - r_i)^2``. Energy and force vanish smoothly at contact;
the second derivative is continuous.

Source: C. L. Kelchner, S. J. Plimpton & J. C. Hamilton, Phys. Rev. B 58 (1998) 11085. The force
constant is that of LAMMPS's ``fix indent``, whose ``F(r) = -K (r - R)^2`` is the same force: K = k,
in eV/Angstrom^3 (units metal).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.errors import InputError
from qc.loads.load import Load
from qc.numerics.checks import check_finite, positive

Array = NDArray[np.float64]

Self = TypeVar("Self", bound="_Indenter")


@dataclass(frozen=True)
class _Indenter(Load):
    """What sphere and cylinder share: a radius, a place and a stiffness."""

    radius: float
    centre: Sequence[float]
    stiffness: float

    def __post_init__(self) -> None:
        for name in ("radius", "stiffness"):
            value = positive(f"indenter {name}", getattr(self, name))
            object.__setattr__(self, name, value)
        object.__setattr__(self, "centre", _vector(self.centre, "indenter centre"))

    def moved(self: Self, by: ArrayLike) -> Self:
        """Return the indenter displaced by a vector (3,), Angstrom."""
        step = np.asarray(_vector(by, "displacement of an indenter"))
        return replace(self, centre=tuple((np.asarray(self.centre) + step).tolist()))

    def touches(self, positions: Array) -> NDArray[np.bool_]:
        """Return which positions (n, 3) lie inside, (n,) bool."""
        return self._contacts(positions)[2] > 0.0

    def _across(self, vectors: Array) -> Array:
        """Part of vectors (n, 3) in which distances are measured."""
        return vectors

    def _contacts(self, positions: Array) -> tuple[Array, Array, Array]:
        """Distances (n,), directions outwards (n, 3) and overlaps (n,), zero outside."""
        d = self._across(positions - np.asarray(self.centre))
        r = np.linalg.norm(d, axis=1)
        # An atom in the very centre has no way out; it feels no force.
        outwards = d / np.maximum(r, 1e-12)[:, None]
        return r, outwards, np.maximum(self.radius - r, 0.0)

    def energy_forces(self, positions: Array, weights: Array) -> tuple[float, Array]:
        """Return the energy (eV) and the forces (n, 3) eV/Angstrom; see `qc.loads.Load`."""
        _, outwards, overlap = self._contacts(positions)
        energy = self.stiffness / 3.0 * float(np.sum(weights * overlap**3))
        push = self.stiffness * weights * overlap**2
        return energy, push[:, None] * outwards

    def hessian_product(self, positions: Array, weights: Array, change: Array) -> Array:
        """Return minus the derivative of the forces along ``change`` (n, 3), (n, 3)."""
        r, outwards, overlap = self._contacts(positions)
        change = self._across(change)
        along = np.einsum("ni,ni->n", outwards, change)[:, None] * outwards
        # phi' = -k (R - r)^2 and phi'' = 2 k (R - r).
        radial = 2.0 * self.stiffness * weights * overlap
        round_ = -self.stiffness * weights * overlap**2 / np.maximum(r, 1e-12)
        return radial[:, None] * along + round_[:, None] * (change - along)


@dataclass(frozen=True)
class SphericalIndenter(_Indenter):
    """A frictionless repulsive sphere.

    Parameters
    ----------
    radius : float, Angstrom
    centre : (3,) float, Angstrom
        In the model's frame (atoms given to `QuasiContinuum.from_atoms` are ``model.offset`` away).
    stiffness : float, eV/Angstrom^3
        k in ``E = k/3 (R - r)^3``; K of LAMMPS's ``fix indent``.

    Raises
    ------
    InputError
        A radius or stiffness is not positive, or a value is not finite.
    """


@dataclass(frozen=True)
class CylindricalIndenter(_Indenter):
    """A frictionless repulsive cylinder; in 2.5D its energy is per period along z.

    Parameters
    ----------
    radius : float, Angstrom
    centre : (3,) float, Angstrom
        A point on the axis.
    stiffness : float, eV/Angstrom^3
        k in ``E = k/3 (R - r)^3``; K of LAMMPS's ``fix indent``.
    axis : (3,) float
        Direction of the axis, of any length; z by default, as for columns.

    Raises
    ------
    InputError
        A radius or stiffness is not positive, a value is not finite, or the axis is zero.
    """

    axis: Sequence[float] = (0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        axis = np.asarray(_vector(self.axis, "indenter axis"))
        length = float(np.linalg.norm(axis))
        if length == 0.0:
            raise InputError("the axis of a cylindrical indenter must not be zero")
        object.__setattr__(self, "axis", tuple((axis / length).tolist()))

    def _across(self, vectors: Array) -> Array:
        axis = np.asarray(self.axis)
        return vectors - (vectors @ axis)[:, None] * axis


def _vector(values: ArrayLike, name: str) -> tuple[float, ...]:
    vector = check_finite(values, name)
    if vector.shape != (3,):
        raise InputError(f"{name} must be three numbers, not an array of shape {vector.shape}")
    return tuple(vector.tolist())
