"""From a case to the objects it describes: potential, crystal, far field, model and load path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import atomic_numbers, reference_states
from numpy.typing import NDArray

from qc.coupling import PointDefects, QuasiContinuum
from qc.coupling.reference import check_mu
from qc.crystal import Crystal, bcc, diamond, fcc, hcp, triangular
from qc.errors import CaseError, CrystalError, InputError, PotentialFileError
from qc.farfield import (
    DislocationSum,
    FarField,
    HomogeneousStrain,
    VolterraDislocation,
    simple_shear,
    uniaxial_strain,
)
from qc.farfield.elastic import without_stress
from qc.io.cases.case import Case, PotentialCase
from qc.io.cases.schema import Length
from qc.io.files import shown_name
from qc.io.potentials import BUILT_IN, built_in, read_potential
from qc.materials import CauchyBorn, equilibrium_crystal
from qc.mesh import LatticeBlock
from qc.numerics.checks import kind
from qc.potentials import Potential

Array = NDArray[np.float64]
Site = tuple[int, ...]

#: Sides of a block are multiples of this many cells, so that elements can grow that large.
BLOCK_UNIT = 8

_STRIP_OFFSET = 0.05


@dataclass(frozen=True, eq=False)
class Setup:
    """What a case describes.

    Attributes
    ----------
    case : Case
    model : QuasiContinuum
        At the first load step, its correctors zero or randomly perturbed.
    constants : (float, float or None), Angstrom
        Lattice constants a and, of hcp, c: the numbers that the crystal is made from.
    deformations : (n, 3, 3) float64
        Mean deformation gradients of the load steps.
    loads : tuple of float
        The number that tells a step from the others: strain, or the step's index.
    load_name : str
        What that number is.
    """

    case: Case
    model: QuasiContinuum
    constants: tuple[float, float | None]
    deformations: Array
    loads: tuple[float, ...]
    load_name: str


@contextmanager
def _at(where: str) -> Iterator[None]:
    """Turn an unusable value found further down into an error of the case file's key."""
    try:
        yield
    except (CaseError, PotentialFileError):
        raise
    except InputError as error:
        raise CaseError(f"{where}: {error}") from error


def set_up(case: Case) -> Setup:
    """Build what a case describes.

    Raises
    ------
    CaseError
        A value that only shows as unusable once its neighbours are known; the message names the
        key.
    PotentialFileError
        The potential's file cannot be read.
    MeshError
        The mesh cannot be built.
    """
    try:
        return _set_up(case)
    except CaseError as error:
        raise CaseError(f"{shown_name(case.source.name)}: {error}") from error


def _set_up(case: Case) -> Setup:
    kind("case", case, Case)
    with _at("potential"):
        potential = build_potential(case)
    with _at("crystal"):
        constants = lattice_constants(case, potential)
        crystal = _crystal(case, *constants)
    deformations, loads, name = load_path(case, crystal)
    far_field = _far_field(case, crystal, potential, deformations[0])
    model = _model(case, crystal, potential, far_field)
    model.U = np.where(model.layout.free, _start(case, crystal, far_field, model), 0.0)
    return Setup(case, model, constants, deformations, loads, name)


def in_angstrom(length: Length, crystal: Crystal) -> float:
    """Return a length of a case in Angstrom."""
    return length.angstrom(crystal.a, crystal.nearest_neighbour)


def build_potential(case: Case) -> Potential:
    """Build the potential of a case for its crystal's and its defects' elements."""
    from qc.potentials import LennardJones, Morse

    p = case.potential
    cutoff = potential_length(p, "cutoff")
    if p.file is not None:
        options = {} if cutoff is None else {"cutoff": cutoff}
        return read_potential(case.source.parent / p.file, _wanted(case), **options)
    species = _wanted(case) if p.elements is None else p.elements
    assert p.name is not None
    if p.name in BUILT_IN:
        return built_in(p.name, species)
    if p.name == "lennard-jones":
        return LennardJones(species, p.epsilon, potential_length(p, "sigma"), cutoff)
    assert cutoff is not None
    return Morse(species, p.depth, p.stiffness, potential_length(p, "distance"), cutoff)


def _wanted(case: Case) -> tuple[str, ...]:
    """Return the elements that a case names, the crystal's first."""
    wanted = [
        case.crystal.element,
        *(s.element for s in case.defects.substitutions),
        *(i.element for i in case.defects.interstitials if i.element is not None),
    ]
    return tuple(dict.fromkeys(wanted))


def potential_length(potential: PotentialCase, name: str) -> float | None:
    """Return a length of the potential in Angstrom: the crystal is not known yet."""
    value = getattr(potential, name)
    if value is None:
        return None
    if value.unit in ("a", "nn"):
        raise CaseError(f"potential.{name}: lengths of a potential are in Angstrom or nm")
    return float(value.angstrom(1.0, 1.0))


def lattice_constants(case: Case, potential: Potential) -> tuple[float, float | None]:
    """Return a, and c of an hcp crystal, Angstrom; those at rest where that is asked for."""
    c = case.crystal
    # The potential's own message lists what it knows.
    potential.types_of([c.element])
    if not isinstance(c.lattice_constant, str):
        a = c.lattice_constant.angstrom(1.0, 1.0)
        if c.structure != "hcp":
            return a, None
        return a, float(np.sqrt(8.0 / 3.0) * a) if c.c is None else c.c.angstrom(a, a)
    start = _first_guess(case)
    ideal = float(np.sqrt(8.0 / 3.0) * start) if c.structure == "hcp" else None
    found = equilibrium_crystal(_crystal(case, start, ideal), potential)
    height = float(np.linalg.norm(found.conventional[2])) if c.structure == "hcp" else None
    return found.a, height


def _crystal(case: Case, a: float, height: float | None) -> Crystal:
    c = case.crystal
    if c.structure == "triangular":
        return triangular(c.element, a)
    axes: dict[str, Any] = {"x": c.x, "y": c.y, "z": c.z}
    if height is not None:
        crystal = hcp(c.element, a, height, **axes)
    else:
        crystal = {"fcc": fcc, "bcc": bcc, "diamond": diamond}[c.structure](c.element, a, **axes)
    return crystal.as_columns(c.z) if c.columns else crystal


#: Atoms per conventional cell, in units of a^3 (hcp with the ideal ratio).
_PER_CELL = {"fcc": 4.0, "bcc": 2.0, "diamond": 8.0, "hcp": 2.0 / (np.sqrt(3) / 2 * np.sqrt(8 / 3))}


def _first_guess(case: Case) -> float:
    """Return a lattice constant to start from: nature's volume per atom, or the pair's distance."""
    c, p = case.crystal, case.potential
    spacing = None
    if p.sigma is not None:
        spacing = 2.0 ** (1.0 / 6.0) * p.sigma.angstrom(1.0, 1.0)
    elif p.distance is not None:
        spacing = p.distance.angstrom(1.0, 1.0)
    if spacing is not None:
        ratio = {"fcc": 2**0.5, "bcc": 2 / 3**0.5, "diamond": 4 / 3**0.5}.get(c.structure, 1.0)
        return spacing * ratio
    state = reference_states[atomic_numbers.get(c.element, 0)] or {}
    nature, size = str(state.get("symmetry", "")), state.get("a")
    if nature not in _PER_CELL or size is None:
        raise CrystalError(
            f"nothing is known about {c.element} to start from: give lattice_constant a number"
        )
    volume = float(str(size)) ** 3 / _PER_CELL[nature]
    if c.structure == "triangular":
        return float((np.sqrt(2.0) * volume) ** (1.0 / 3.0))
    return float((volume * _PER_CELL[c.structure]) ** (1.0 / 3.0))


def load_path(case: Case, crystal: Crystal) -> tuple[Array, tuple[float, ...], str]:
    """Return the mean deformations of the load steps, their loads, and what those are."""
    load = case.load
    if load.kind == "deformation":
        assert load.steps is not None
        return np.array(load.steps), tuple(float(k) for k in range(len(load.steps))), "step"
    if load.kind == "none":
        return np.eye(3)[None], (0.0,), "step"
    assert load.direction is not None
    assert load.values is not None
    with _at("load.direction"):
        along = crystal.vector(load.direction)
    if load.kind == "uniaxial":
        steps = [uniaxial_strain(v, along.tolist()) for v in load.values]
        return np.array(steps), load.values, "strain"
    assert load.plane is not None
    with _at("load.plane"):
        # Indices of a plane are those of its normal in the reciprocal cell.
        crystal.vector(load.plane)
        hkl = np.array(load.plane if len(load.plane) == 3 else [*load.plane[:2], load.plane[3]])
        normal = np.linalg.inv(crystal.conventional) @ hkl
        steps = [simple_shear(v, along.tolist(), normal.tolist()) for v in load.values]
    return np.array(steps), load.values, "shear"


def _far_field(case: Case, crystal: Crystal, potential: Potential, first: Array) -> FarField:
    if not case.dislocations:
        return HomogeneousStrain(first)
    with _at("crystal"):
        moduli, _ = without_stress(CauchyBorn(crystal, potential).elastic_constants())
    members = []
    for k, one in enumerate(case.dislocations):
        burgers = np.array(one.burgers) @ crystal.conventional
        where = [in_angstrom(v, crystal) for v in one.position]
        with _at(f"dislocations[{k}]"):
            m, _, distance = crystal.integer_coordinates(burgers, sublattices=[0])
            if distance[0] > 1e-6 * crystal.a:
                near = _rounded(m[0] @ crystal.cell @ np.linalg.inv(crystal.conventional))
                raise CaseError(
                    f"dislocations[{k}].burgers: {list(one.burgers)} is no lattice vector; the "
                    f"nearest is {near}"
                )
            cut = _cut(burgers) if one.cut is None else one.cut
            members.append(VolterraDislocation(moduli, burgers, where, cut))
    with _at("dislocations"):
        return DislocationSum(members, first)


def _start(case: Case, crystal: Crystal, far_field: FarField, model: QuasiContinuum) -> Array:
    """Return the correctors of the first step: what the case asks to start somewhere else."""
    x = model.layout.node_positions
    out = _drawn_inwards(model, in_angstrom(case.defects.inwards, crystal))
    strips = []
    members = far_field.dislocations if isinstance(far_field, DislocationSum) else ()
    for k, (one, member) in enumerate(
        zip(case.dislocations, members, strict=True)
    ):
        for j, partial in enumerate(one.partials):
            where = f"dislocations[{k}].partials[{j}]"
            with _at(where):
                along = crystal.vector(partial.direction)
                if abs(along[2]) > 1e-8 * np.linalg.norm(along):
                    raise CaseError(f"{where}.direction: {list(partial.direction)} is not normal "
                                    "to the line")  # fmt: skip
                along = along[:2] / np.linalg.norm(along)
                burgers = np.array(partial.burgers) @ crystal.conventional
                # A strip between two planes of atoms: sites on the line itself, where it is open
                # which side of a cut they are on, lie above it.
                apex = member.position + _STRIP_OFFSET * crystal.a * np.array([-along[1], along[0]])
                far = apex + in_angstrom(partial.distance, crystal) * along
                # A pair of opposite partials with a strip of fault in between: one where it has
                # got to, one that takes its part of the whole dislocation away.
                strips += [
                    VolterraDislocation(member.elastic, b, at, -along, self_consistent=False)
                    for b, at in ((burgers, far), (-burgers, apex))
                ]
    if strips:
        with _at("dislocations"):
            out += DislocationSum(strips).displacement(x)
    perturbation = in_angstrom(case.solver.perturbation, crystal)
    if perturbation:
        rng = np.random.default_rng(case.seed)
        out += perturbation * rng.uniform(-1.0, 1.0, size=x.shape)
    return out


def _drawn_inwards(model: QuasiContinuum, length: float) -> Array:
    """Nodal displacements (n_nodes, 3) of the nearest neighbours of vacancies towards these."""
    layout, crystal = model.layout, model.crystal
    out = np.zeros((layout.n_nodes, 3))
    if not length:
        return out
    for k in np.flatnonzero(layout.vacant):
        s = int(layout.sublattice[k])
        bonds, m, ends = crystal.star_sites(1.01 * crystal.nearest_neighbour, s)
        m = m + layout.lattice[k]
        if crystal.is_columns:
            # All the atoms of a column move alike.
            m[:, 2] = 0
        vertex = model.mesh.vertex_at(m)
        nodes = layout.sublattice_nodes[vertex, ends]
        pull = np.zeros_like(out)
        held = (vertex >= 0) & (nodes >= 0)
        np.add.at(pull, nodes[held], -bonds[held])
        size = np.linalg.norm(pull, axis=1, keepdims=True)
        out += length * pull / np.where(size > 1e-9, size, 1.0)
    return out


def _cut(burgers: Array) -> tuple[float, float]:
    """Return the glide direction towards smaller x: cuts of a dipole then cancel beyond it."""
    flat = burgers[:2]
    if np.hypot(*flat) < 1e-6 * np.linalg.norm(burgers):
        return (-1.0, 0.0)
    sign = -1.0 if (flat[0], flat[1]) > (1e-9, 0.0) else 1.0
    if abs(flat[0]) <= 1e-9:
        sign = -np.sign(flat[1])
    return float(sign * flat[0]), float(sign * flat[1])


def _site(vector: tuple[float, float, float], crystal: Crystal, where: str) -> Site:
    x = np.array(vector) @ crystal.conventional
    m, s, distance = crystal.integer_coordinates(x)
    if distance[0] > 1e-6 * crystal.a:
        near = crystal.positions(m, s)[0] @ np.linalg.inv(crystal.conventional)
        raise CaseError(
            f"{where}: {list(vector)} is no lattice site; the nearest, {distance[0]:.3f} Angstrom "
            f"away, is {_rounded(near)}"
        )
    return int(m[0, 0]), int(m[0, 1]), int(m[0, 2]), int(s[0])


def _rounded(vector: Array) -> list[float]:
    """Return numbers for a message, without the zeros that are negative."""
    return [float(v) + 0.0 for v in np.round(vector, 6)]


def _defects(case: Case, crystal: Crystal) -> PointDefects:
    d = case.defects
    vacant = [_site(v, crystal, f"defects.vacancies[{k}]") for k, v in enumerate(d.vacancies)]
    substitutions: dict[Site, str] = {}
    for k, one in enumerate(d.substitutions):
        site = _site(one.site, crystal, f"defects.substitutions[{k}].site")
        if site in substitutions or site in vacant:
            raise CaseError(f"defects.substitutions[{k}].site: {list(one.site)} is taken already")
        substitutions[site] = one.element
    if len(set(vacant)) < len(vacant):
        raise CaseError("defects.vacancies: a site is named twice")
    extra = [
        (one.element or case.crystal.element, tuple(in_angstrom(v, crystal) for v in one.position))
        for one in d.interstitials
    ]
    return PointDefects(vacant=vacant, substitutions=substitutions or None, extra=extra)


def _model(
    case: Case, crystal: Crystal, potential: Potential, far_field: FarField
) -> QuasiContinuum:
    m = case.model
    sizes = {
        name: None if getattr(m, name) is None else in_angstrom(getattr(m, name), crystal)
        for name in ("core", "blend", "outer")
    }
    outer: Any = sizes["outer"]
    if m.block is not None:
        with _at("model.block"):
            outer = LatticeBlock(m.block.lower, m.block.upper)
    elif m.rectangle is not None:
        outer = block_around(crystal, *(in_angstrom(v, crystal) for v in m.rectangle))
    defects = _defects(case, crystal)
    with _at("defects.mu"):
        potential.types_of(list(check_mu(case.defects.mu)))
    with _at("model"):
        return QuasiContinuum(
            crystal,
            potential,
            far_field=far_field,
            scheme=m.scheme,
            core=sizes["core"],
            blend=sizes["blend"],
            outer=outer,
            defects=defects,
            grading=m.grading,
            largest=m.largest,
        )


def block_around(crystal: Crystal, width: float, height: float) -> LatticeBlock:
    """Return the smallest block of lattice cells around a rectangle centred on the origin.

    Parameters
    ----------
    crystal : Crystal
        Columns or a monolayer.
    width, height : float, Angstrom
        Along x and y. The block is a parallelogram along the cell vectors, its sides rounded up to
        multiples of `BLOCK_UNIT` cells.
    """
    corners = 0.5 * np.array([[width, height], [width, -height]])
    cells = np.abs(corners @ np.linalg.inv(crystal.cell[:2, :2])).max(axis=0)
    half = (np.ceil(2.0 * cells / BLOCK_UNIT - 1e-9) * BLOCK_UNIT / 2).astype(int)
    return LatticeBlock(tuple(int(-h) for h in half), tuple(int(h) for h in half))
