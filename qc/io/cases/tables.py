"""Tables of case files that every kind of run has, as frozen dataclasses.

Lengths are numbers in Angstrom or strings with a unit: ``"1.2 nm"``, ``"4 a"`` (lattice constants),
``"2 nn"`` (nearest-neighbour distances). Crystal vectors (Burgers vectors, sites) are in units of
the conventional cell, so that ``[0.5, 0.5, 0]`` is a/2 [110].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import numpy as np

from qc.coupling import SCHEMES
from qc.coupling.spec import OPTIONS
from qc.crystal import Crystal
from qc.errors import CaseError, suggest
from qc.io.cases import schema
from qc.io.cases.schema import Length
from qc.io.potentials import BUILT_IN, built_in
from qc.materials import CauchyBorn, LinearElastic
from qc.materials.material import Material
from qc.materials.vibration import MODELS
from qc.mesh.elements import ELEMENTS
from qc.potentials import LennardJones, Morse, Potential

STRUCTURES = ("fcc", "bcc", "hcp", "diamond", "triangular")


@dataclass(frozen=True)
class Family:
    """A potential by name: what makes it of its elements and parameters, and which these are."""

    build: Callable[..., Potential]
    needed: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


#: Potentials by name; a new one is an entry here.
FAMILIES: dict[str, Family] = {name: Family(partial(built_in, name)) for name in BUILT_IN} | {
    "lennard-jones": Family(LennardJones, ("epsilon", "sigma"), ("cutoff",)),
    "morse": Family(Morse, ("depth", "stiffness", "distance", "cutoff")),
}

#: Keys of `[potential]` that are parameters of some family.
PARAMETERS = tuple(dict.fromkeys(k for f in FAMILIES.values() for k in (*f.needed, *f.allowed)))

WHEN = ("none", "last", "all")

_names = schema.sequence(schema.text, least=1, most=20)
_coordinate = schema.length(positive=False)
_cells = schema.sequence(schema.integer(-(10**6), 10**6), least=2, most=3)
_position = schema.sequence(_coordinate, 3)
_points = schema.sequence(_position, least=1)
_vector = schema.sequence(schema.fraction(-1e6, 1e6), 3)
_energies = schema.mapping(schema.quantity(schema.ENERGIES, "energy"))


def _lattice_constant(value: Any, where: str) -> Length | str:
    if value == "equilibrium":
        return "equilibrium"
    if isinstance(value, str) and not any(c.isdigit() for c in value):
        raise CaseError(
            f'{where}: {schema.show(value)} is neither "equilibrium" nor a length'
            f"{suggest(value, ['equilibrium'])}"
        )
    out = schema.length()(value, where)
    if out.unit in ("a", "nn"):
        raise CaseError(f"{where}: a lattice constant cannot be measured by itself; use Angstrom")
    return out


@dataclass(frozen=True)
class CrystalCase:
    """``[crystal]``: lattice, element and orientation."""

    structure: Annotated[str, schema.choice(STRUCTURES)]
    element: Annotated[str, schema.text]
    lattice_constant: Annotated[Length | str, _lattice_constant] = "equilibrium"
    c: Annotated[Length | None, schema.length()] = None
    x: Annotated[tuple[int, ...] | None, schema.direction] = None
    y: Annotated[tuple[int, ...] | None, schema.direction] = None
    z: Annotated[tuple[int, ...] | None, schema.direction] = None
    columns: Annotated[bool, schema.boolean] = False

    @property
    def planar(self) -> bool:
        """Whether models of it are two-dimensional: of columns, or of a monolayer."""
        return self.columns or self.structure == "triangular"


@dataclass(frozen=True)
class PotentialCase:
    """``[potential]``: a family with its parameters, or a file."""

    name: Annotated[str | None, schema.choice(tuple(FAMILIES))] = None
    file: Annotated[str | None, schema.text] = None
    elements: Annotated[tuple[str, ...] | None, _names] = None
    epsilon: Annotated[float | None, schema.quantity(schema.ENERGIES, "energy", above=0.0)] = None
    sigma: Annotated[Length | None, schema.length()] = None
    depth: Annotated[float | None, schema.quantity(schema.ENERGIES, "energy", above=0.0)] = None
    stiffness: Annotated[float | None, schema.number(above=0.0)] = None
    distance: Annotated[Length | None, schema.length()] = None
    cutoff: Annotated[Length | None, schema.length()] = None


@dataclass(frozen=True)
class PartialCase:
    """``partials`` of a dislocation: one that starts some way from it, a fault in between."""

    burgers: Annotated[tuple[float, float, float], _vector]
    direction: Annotated[tuple[int, ...], schema.direction]
    distance: Annotated[Length, schema.length()]


@dataclass(frozen=True)
class DislocationCase:
    """``[[dislocations]]``: a straight dislocation along z."""

    burgers: Annotated[tuple[float, float, float], _vector]
    position: Annotated[tuple[Length, Length], schema.sequence(_coordinate, 2)]
    cut: Annotated[tuple[float, float] | None, schema.sequence(schema.number(-1e6, 1e6), 2)] = None
    partials: Annotated[tuple[PartialCase, ...], schema.tables(PartialCase, 10)] = ()


@dataclass(frozen=True)
class InterstitialCase:
    """``[[defects.interstitials]]``: an atom without a site, at a Cartesian position."""

    position: Annotated[tuple[Length, Length, Length], schema.sequence(_coordinate, 3)]
    element: Annotated[str | None, schema.text] = None


@dataclass(frozen=True)
class SubstitutionCase:
    """``[[defects.substitutions]]``: a foreign atom on a site."""

    site: Annotated[tuple[float, float, float], _vector]
    element: Annotated[str, schema.text]


@dataclass(frozen=True)
class DefectsCase:
    """``[defects]``: point defects; sites in units of the conventional cell."""

    vacancies: Annotated[tuple[tuple[float, float, float], ...], schema.sequence(_vector)] = ()
    inwards: Annotated[Length, _coordinate] = field(default=Length(0.0))
    interstitials: Annotated[tuple[InterstitialCase, ...], schema.tables(InterstitialCase)] = ()
    substitutions: Annotated[tuple[SubstitutionCase, ...], schema.tables(SubstitutionCase)] = ()
    mu: Annotated[dict[str, float], _energies] = field(default_factory=dict)


@dataclass(frozen=True)
class BlockCase:
    """``[model.block]``: the outer region as a block of lattice cells along the cell vectors."""

    lower: Annotated[tuple[int, ...], _cells]
    upper: Annotated[tuple[int, ...], _cells]


#: Defaults of a model's options.
_MODEL: dict[str, Any] = {name: one.default for name, one in OPTIONS.items()}


def _stretch(value: Any, where: str) -> Any:
    """Read the lattice at temperature: measured, a stretch, or a deformation gradient."""
    if value == "sampled":
        return value
    if isinstance(value, list):
        return schema.deformation(value, where)
    if isinstance(value, str):
        raise CaseError(f'{where}: {schema.show(value)} is neither "sampled" nor a stretch')
    return schema.number(0.5, 2.0)(value, where)


def _order(value: Any, where: str) -> int:
    order = int(schema.integer(1, 100)(value, where))
    if order not in ELEMENTS:
        raise CaseError(f"{where}: no elements of order {order}; there are {sorted(ELEMENTS)}")
    return order


def _linear(crystal: Crystal, potential: Potential) -> LinearElastic:
    """Return the linear material with the moduli and the stress of the undeformed crystal."""
    found = CauchyBorn(crystal, potential).response(np.eye(3)[None], tangent=True)
    assert found.moduli is not None
    return LinearElastic(found.moduli[0], found.stress[0], float(found.energy[0]))


#: What elements are made of; a new one is an entry here.
MATERIALS: dict[str, Callable[[Crystal, Potential], Material | None]] = {
    "cauchy-born": lambda crystal, potential: None,
    "linear": _linear,
}


@dataclass(frozen=True)
class ModelCase:
    """``[model]``: options of the model by the names that they have there, and shapes of the whole.

    Options that are no number or word have tables of their own.
    """

    scheme: Annotated[str, schema.choice(tuple(SCHEMES))] = _MODEL["scheme"]
    core: Annotated[Length | None, schema.length()] = _MODEL["core"]
    blend: Annotated[Length | None, schema.length()] = _MODEL["blend"]
    outer: Annotated[Length | None, schema.length()] = _MODEL["outer"]
    rectangle: Annotated[tuple[Length, Length] | None, schema.sequence(schema.length(), 2)] = None
    block: Annotated[BlockCase | None, schema.table(BlockCase)] = None
    centres: Annotated[tuple[tuple[Length, ...], ...] | None, _points] = _MODEL["centres"]
    grading: Annotated[float | None, schema.number(0.1, 10.0)] = _MODEL["grading"]
    largest: Annotated[float, schema.number(0.0, 10.0, above=0.0)] = _MODEL["largest"]
    temperature: Annotated[float | None, schema.kelvin(low=0.0)] = _MODEL["temperature"]
    vibrations: Annotated[str, schema.choice(("none", *MODELS))] = _MODEL["vibrations"]
    thermal_deformation: Annotated[Any, _stretch] = _MODEL["thermal_deformation"]
    quasi_static: Annotated[Length | None, schema.length()] = _MODEL["quasi_static"]
    order: Annotated[int, _order] = _MODEL["order"]
    material: Annotated[str, schema.choice(tuple(MATERIALS))] = "cauchy-born"


@dataclass(frozen=True)
class SolverCase:
    """``[solver]``: when a step counts as relaxed, and how to get there."""

    fmax: Annotated[float, schema.quantity(schema.FORCES, "force", above=0.0)] = 1e-4
    method: Annotated[str, schema.choice(("auto", "lbfgs", "newton"))] = "auto"
    max_steps: Annotated[int, schema.integer(1, 10**6)] = 500
    longest: Annotated[Length, schema.length()] = field(default=Length(0.2))
    perturbation: Annotated[Length, schema.length(positive=False)] = field(default=Length(0.0))

    def options(self, crystal: Crystal) -> dict[str, Any]:
        """Return what `qc.relax` takes."""
        return {
            "fmax": self.fmax,
            "method": self.method,
            "max_steps": self.max_steps,
            "longest": self.longest.in_crystal(crystal),
        }


def _fields(value: Any, where: str) -> tuple[str, ...]:
    from qc.io.pictures import SCALARS

    return schema.sequence(schema.choice(tuple(SCALARS)))(value, where)


@dataclass(frozen=True)
class OutputCase:
    """``[output]``: what is written."""

    directory: Annotated[str | None, schema.text] = None
    vtu: Annotated[bool, schema.boolean] = True
    extxyz: Annotated[bool, schema.boolean] = True
    pictures: Annotated[str, schema.choice(WHEN)] = "last"
    fields: Annotated[tuple[str, ...], _fields] = ("hydrostatic_stress",)
