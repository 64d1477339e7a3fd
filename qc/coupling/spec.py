"""What a model is made from, as a value: the one list of a model's options."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.coupling.point_defects import PointDefects
from qc.coupling.scheme import Scheme
from qc.coupling.schemes import get_scheme
from qc.coupling.terms import TermMaker
from qc.crystal import Crystal
from qc.errors import CapabilityError, InputError, RegionError, suggest
from qc.farfield import FarField
from qc.loads import Load
from qc.materials.material import Material
from qc.materials.thermal import QuasiStatic
from qc.mesh import Boundary, Element, LatticeBlock, Region, get_element
from qc.numerics.checks import kind, positive
from qc.potentials import Potential

Array = NDArray[np.float64]


#: Of an option that another mesh or patch of atoms goes with.
LAYOUT = {"layout": True}


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """What a model is made from: its options, each once; `qc.coupling.build` makes the model.

    Parameters
    ----------
    crystal : Crystal
        Reference crystal; its mode decides between 3D, 2.5D and 2D.
    potential : Potential
    far_field : FarField, optional
        Predictor; the outer boundary is held at it. Default: no deformation.
    scheme : str or Scheme
        ``"bgfc"`` (default), ``"bqce"``, ``"bqcf"``, ``"scgfc"``, ``"qce"``, ``"cauchy-born"``,
        ``"atomistic"``.
    core : float, Angstrom, optional
        Radius of the fully atomistic region around the centres. Default: two lattice constants
        (compounds: at least that of diamond as dense), or 1.02 cutoffs where that is longer.
    blend : float, Angstrom, optional
        Width of the blending region. Default: as wide as the core.
    outer : float, Region or LatticeBlock, optional
        Radius (Angstrom) or shape of the whole. Default: ten core radii.
    centres : (n, 3) array_like, optional
        Points the core surrounds, Angstrom. Default: the far field's cores and all point defects,
        or else the origin.
    defects : PointDefects, optional
        Vacant sites, foreign and extra atoms.
    grading : float, optional
        Exponent of the element size beyond the blend; 3/2 in 2D and 5/4 in 3D by default. Theory
        asks for more than 1; in 3D a slow start of the growth is worth its unknowns.
    largest : float
        Bound on element size over distance from the core.
    temperature : float, K, optional
        The elements then carry the free energy of the vibrations that no node has, and the default
        predictor is the lattice without stress at this temperature. Nothing vibrates in statics:
        the nodes' own part is that of dynamics. None: the static energy alone.
    vibrations : {"quasi-harmonic", "local"} or None
        How that free energy is found; None leaves it out, and the lattice at its static size. See
        `qc.materials.LatticeVibrations`.
    thermal_deformation : float or (3, 3) array_like, optional
        The lattice at temperature as it is known otherwise, say from molecular dynamics; that of
        harmonic vibrations by default. A number is a stretch in all directions.
    quasi_static : callable, optional
        Takes positions of nodes (n, 3), returns which of them, (n,) bool, follow the minimum of
        the free energy instead of vibrating.
    loads : sequence of Load, optional
        External loads, an indenter say; see `QuasiContinuum.loads`.
    boundary : Boundary or sequence of Boundary, optional
        What happens at faces of the outer region: `qc.mesh.FreeSurface`, `Traction`, `Held` or
        `Periodic`. The rest of the outer boundary is held at the predictor.
    order : int or Element
        Of the finite elements: 1 (default) or 2, or an element of one's own. Higher ones are for
        Bravais lattices without a temperature.
    material : Material, optional
        What elements are made of instead of the Cauchy-Born rule of the potential, in a Bravais
        lattice. It should agree with the potential to first order, at least.
    terms : sequence of callable, optional
        Makers of further terms of the energy: each takes the `Predictor` and the `Layout` and
        returns a `Term`, a function of the displacements of the nodes.

    Raises
    ------
    InputError
        An option of another kind, or an unknown scheme.
    RegionError
        A radius, width or exponent that is not positive.
    CapabilityError
        A material or an element order that the crystal cannot have.
    """

    crystal: Crystal = field(metadata=LAYOUT)
    potential: Potential = field(metadata=LAYOUT)
    far_field: FarField | None = None
    scheme: str | Scheme = field(default="bgfc", metadata=LAYOUT)
    core: float | None = field(default=None, metadata=LAYOUT)
    blend: float | None = field(default=None, metadata=LAYOUT)
    outer: float | Region | LatticeBlock | None = field(default=None, metadata=LAYOUT)
    centres: ArrayLike | None = field(default=None, metadata=LAYOUT)
    defects: PointDefects | None = field(default=None, metadata=LAYOUT)
    grading: float | None = field(default=None, metadata=LAYOUT)
    largest: float = field(default=0.5, metadata=LAYOUT)
    temperature: float | None = None
    vibrations: str | None = "quasi-harmonic"
    thermal_deformation: ArrayLike | None = None
    quasi_static: QuasiStatic | None = None
    loads: Sequence[Load] = ()
    boundary: Boundary | Sequence[Boundary] = field(default=(), metadata=LAYOUT)
    order: int | Element = field(default=1, metadata=LAYOUT)
    material: Material | None = None
    terms: Sequence[TermMaker] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "scheme", get_scheme(self.scheme))
        for name, wanted in (
            ("crystal", Crystal), ("potential", Potential), ("far_field", FarField),
            ("defects", PointDefects), ("material", Material),
        ):  # fmt: skip
            value = vars(self)[name]
            if value is not None or name in ("crystal", "potential"):
                kind(name, value, wanted)
        given = self.boundary
        boundary = (given,) if isinstance(given, Boundary) else given
        kind("boundary", boundary, Sequence)
        for one in boundary:
            kind("boundary", one, Boundary)
        object.__setattr__(self, "boundary", tuple(boundary))
        for name in ("core", "blend", "grading"):
            if vars(self)[name] is not None:
                object.__setattr__(self, name, positive(name, vars(self)[name], RegionError))
        object.__setattr__(self, "order", get_element(self.order))
        if not self.crystal.is_bravais:
            for name, more in (
                ("order", get_element(self.order).order > 1), ("material", self.material),
            ):  # fmt: skip
                if more:
                    raise CapabilityError(f"{name}: only in Bravais lattices so far")
        if self.temperature is not None and get_element(self.order).order > 1:
            raise CapabilityError("order: elements of higher order have no free energy so far")

    def changed(self, **options: Any) -> ModelSpec:
        """Return the specification with some options replaced.

        Raises
        ------
        InputError
            No such option.
        """
        refuse_unknown(options, "a model")
        return dataclasses.replace(self, **options)


class CompleteSpec(ModelSpec):
    """A specification in which nothing is left open."""

    far_field: FarField
    scheme: Scheme
    core: float
    blend: float
    outer: Region
    centres: Array
    defects: PointDefects
    order: Element


#: The options that say what a temperature does.
WARM = ("temperature", "vibrations", "thermal_deformation", "quasi_static")

#: Every option of a model by name, with its field.
OPTIONS = {one.name: one for one in dataclasses.fields(ModelSpec)}


def refuse_unknown(options: dict[str, Any], whose: str, without: Sequence[str] = ()) -> None:
    """Refuse names that are no options of a model, or not of this call.

    Raises
    ------
    InputError
        The message suggests the nearest.
    """
    known = [name for name in OPTIONS if name not in without]
    for name in options:
        if name not in known:
            raise InputError(f"{whose} has no option '{name}'{suggest(name, known)}")
