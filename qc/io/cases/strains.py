"""``[load]``: mean deformations of a run's steps, by kind."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from qc.crystal import Crystal
from qc.errors import CaseError
from qc.farfield import simple_shear, uniaxial_strain
from qc.io.cases import schema

Array = NDArray[np.float64]


def _strain(value: Any, where: str) -> float:
    """Read a strain: a plain number, or a string such as "3 %"."""
    if isinstance(value, str):
        head, percent, rest = value.partition("%")
        try:
            number = float(head) / 100.0
        except ValueError:
            number = math.nan
        if not percent or rest.strip() or not math.isfinite(number):
            raise CaseError(f"{where}: {schema.show(value)} is no strain such as 0.03 or '3 %'")
        value = number
    try:
        return float(schema.number(-0.5, 0.5)(value, where))
    except CaseError as error:
        raise CaseError(f"{error} (3 % is 0.03)") from error


_strains = schema.sequence(_strain, least=1)


class StrainCase(schema.OfKind):
    """Mean deformations of the steps; a kind is a dataclass of its keys."""

    #: What the number of a step is, and in which unit pictures have it.
    name, unit = "step", ""

    @abstractmethod
    def path(self, crystal: Crystal) -> tuple[Array, tuple[float, ...]]:
        """Return the deformation gradients (n, 3, 3) and the number of each step."""


@dataclass(frozen=True)
class NoStrain(StrainCase):
    """None: one step without deformation."""

    kind = "none"

    def path(self, crystal: Crystal) -> tuple[Array, tuple[float, ...]]:
        """Return one step."""
        return np.eye(3)[None], (0.0,)


@dataclass(frozen=True)
class Shear(StrainCase):
    """Simple shear of a plane along a direction."""

    plane: Annotated[tuple[int, ...], schema.direction]
    direction: Annotated[tuple[int, ...], schema.direction]
    values: Annotated[tuple[float, ...], _strains]
    kind = name = "shear"
    unit = "%"

    def path(self, crystal: Crystal) -> tuple[Array, tuple[float, ...]]:
        """Return a step for each of the values."""
        with schema.at("load.direction"):
            along = crystal.vector(self.direction).tolist()
        with schema.at("load.plane"):
            normal = plane_normal(crystal, self.plane).tolist()
            steps = [simple_shear(v, along, normal) for v in self.values]
        return np.array(steps), self.values


@dataclass(frozen=True)
class Uniaxial(StrainCase):
    """Strain along a direction; lateral lengths stay."""

    direction: Annotated[tuple[int, ...], schema.direction]
    values: Annotated[tuple[float, ...], _strains]
    kind, name, unit = "uniaxial", "strain", "%"

    def path(self, crystal: Crystal) -> tuple[Array, tuple[float, ...]]:
        """Return a step for each of the values."""
        with schema.at("load.direction"):
            along = crystal.vector(self.direction).tolist()
        return np.array([uniaxial_strain(v, along) for v in self.values]), self.values


@dataclass(frozen=True)
class Deformation(StrainCase):
    """Deformation gradients as they are."""

    steps: Annotated[
        tuple[tuple[tuple[float, ...], ...], ...], schema.sequence(schema.deformation, least=1)
    ]
    kind = "deformation"

    def path(self, crystal: Crystal) -> tuple[Array, tuple[float, ...]]:
        """Return the steps, which are counted."""
        return np.array(self.steps), tuple(float(k) for k in range(len(self.steps)))


def plane_normal(crystal: Crystal, plane: tuple[int, ...]) -> Array:
    """Return a vector along the normal of a plane, (3,).

    Its indices are those of its normal in the reciprocal cell, four of them in a hexagonal crystal.
    """
    crystal.vector(plane)
    hkl = np.array(plane if len(plane) == 3 else [*plane[:2], plane[3]])
    return np.asarray(np.linalg.inv(crystal.conventional) @ hkl)


#: Kinds of ``[load]``; a new one is an entry here.
STRAINS = schema.registry(NoStrain, Shear, Uniaxial, Deformation)
