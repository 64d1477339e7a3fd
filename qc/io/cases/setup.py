"""From a case to the objects it describes: potential, crystal, far field, model and load path."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qc.coupling import PointDefects, QuasiContinuum
from qc.coupling.reference import check_mu
from qc.coupling.regions import core_centres
from qc.coupling.spec import OPTIONS, WARM
from qc.crystal import Crystal
from qc.errors import CaseError
from qc.farfield import DislocationSum, FarField, HomogeneousStrain, VolterraDislocation
from qc.farfield.elastic import without_stress
from qc.io.cases import schema
from qc.io.cases.base import Case, Setup
from qc.io.cases.crystals import build_crystal, build_potential, lattice_constants
from qc.io.cases.loads import Motion
from qc.io.cases.schema import Length
from qc.io.cases.tables import MATERIALS, BlockCase
from qc.io.files import shown_name
from qc.materials import CauchyBorn
from qc.mesh import CoreSet, LatticeBlock
from qc.numerics.checks import kind
from qc.numerics.progress import Progress
from qc.potentials import Potential

Array = NDArray[np.float64]
Site = tuple[int, ...]

#: Sides of a block are multiples of this many cells, so that elements can grow that large.
BLOCK_UNIT = 8

_STRIP_OFFSET = 0.05


@contextmanager
def named(case: Case) -> Iterator[None]:
    """Begin errors of a case with the name of its file."""
    try:
        yield
    except CaseError as error:
        raise CaseError(f"{shown_name(case.source.name)}: {error}") from error


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
    kind("case", case, Case)
    with named(case):
        with schema.at("potential"):
            potential = build_potential(case)
        with schema.at("crystal"):
            constants = lattice_constants(case, potential)
            crystal = build_crystal(case, *constants)
        deformations, numbers = case.load.path(crystal)
        far_field = _far_field(case, crystal, potential, deformations[0])
        model = _model(case, crystal, potential, far_field)
        if model.thermal is not None:
            deformations = deformations @ model.thermal.deformation
        motions = schema.build_all("loads", case.loads, model)
        steps = _joined(case, deformations, numbers, motions)
        model.U = np.where(model.layout.free, _start(case, crystal, far_field, model), 0.0)
        out = Setup(_decided(case, model, constants), model, steps[0], motions, *steps[1:])
        if motions:
            model.loads = out.loads(0)
    return out


def _joined(
    case: Case, deformations: Array, numbers: tuple[float, ...], motions: tuple[Motion, ...]
) -> tuple[Array, tuple[float, ...], str, str]:
    """Return the steps of a path, in which strain, loads or both go on together."""
    moving = {k: m for k, m in enumerate(motions) if m.values}
    name, unit, n = case.load.name, case.load.unit, len(deformations)
    if n == 1 and moving:
        first = next(iter(moving.values()))
        name, unit, numbers, n = first.what, first.unit, first.values, len(first.values)
        deformations = np.repeat(deformations, n, axis=0)
    for k, motion in moving.items():
        if len(motion.values) != n:
            raise CaseError(
                f"loads[{k}].{case.loads[k].path_key}: {len(motion.values)} values for a path of "
                f"{n} steps"
            )
    return deformations, numbers, name, unit


def _decided(case: Case, model: QuasiContinuum, constants: tuple[float, float | None]) -> Case:
    """Return the case with what it left open as the model has it."""

    def length(value: float | None) -> Length | None:
        return None if value is None else Length(value)

    a, c = constants
    far_field, block = model.far_field, case.model.block
    if case.model.rectangle is not None:
        found = block_around(model.crystal, *_in(case.model.rectangle, model.crystal))
        block = BlockCase(tuple(found.lower), tuple(found.upper))
    thermal = case.model.thermal_deformation
    if thermal == "sampled":
        thermal = tuple(map(tuple, np.asarray(model.spec.thermal_deformation).tolist()))
    members = far_field.dislocations if isinstance(far_field, DislocationSum) else ()
    element = case.crystal.element
    new = dataclasses.replace
    known = None if case.potential.file else tuple(model.potential.species)
    return new(
        case,
        crystal=new(case.crystal, lattice_constant=Length(a), c=length(c)),
        potential=new(case.potential, elements=known),
        dislocations=tuple(
            new(one, cut=tuple(member.cut_direction.tolist()))
            for one, member in zip(case.dislocations, members, strict=True)
        ),
        defects=new(
            case.defects,
            interstitials=tuple(
                new(one, element=one.element or element) for one in case.defects.interstitials
            ),
        ),
        model=new(
            case.model,
            core=Length(model.spec.core),
            blend=Length(model.spec.blend),
            rectangle=None,
            block=block,
            thermal_deformation=thermal,
        ),
    )


def _far_field(case: Case, crystal: Crystal, potential: Potential, first: Array) -> FarField:
    if not case.dislocations:
        return HomogeneousStrain(first)
    with schema.at("crystal"):
        moduli, _ = without_stress(CauchyBorn(crystal, potential).elastic_constants())
    members = []
    for k, one in enumerate(case.dislocations):
        burgers = np.array(one.burgers) @ crystal.conventional
        where = [v.in_crystal(crystal) for v in one.position]
        with schema.at(f"dislocations[{k}]"):
            m, _, distance = crystal.integer_coordinates(burgers, sublattices=[0])
            if distance[0] > 1e-6 * crystal.a:
                near = _rounded(m[0] @ crystal.cell @ np.linalg.inv(crystal.conventional))
                raise CaseError(
                    f"dislocations[{k}].burgers: {list(one.burgers)} is no lattice vector; the "
                    f"nearest is {near}"
                )
            cut = _cut(burgers) if one.cut is None else one.cut
            members.append(VolterraDislocation(moduli, burgers, where, cut))
    with schema.at("dislocations"):
        return DislocationSum(members, first)


def _start(case: Case, crystal: Crystal, far_field: FarField, model: QuasiContinuum) -> Array:
    """Return the correctors of the first step: what the case asks to start somewhere else."""
    x = model.layout.node_positions
    out = _drawn_inwards(model, case.defects.inwards.in_crystal(crystal))
    strips = []
    members = far_field.dislocations if isinstance(far_field, DislocationSum) else ()
    for k, (one, member) in enumerate(zip(case.dislocations, members, strict=True)):
        for j, partial in enumerate(one.partials):
            where = f"dislocations[{k}].partials[{j}]"
            with schema.at(where):
                along = crystal.vector(partial.direction)
                if abs(along[2]) > 1e-8 * np.linalg.norm(along):
                    raise CaseError(f"{where}.direction: {list(partial.direction)} is not normal "
                                    "to the line")  # fmt: skip
                along = along[:2] / np.linalg.norm(along)
                burgers = np.array(partial.burgers) @ crystal.conventional
                # A strip between two planes of atoms: sites on the line itself, where it is open
                # which side of a cut they are on, lie above it.
                apex = member.position + _STRIP_OFFSET * crystal.a * np.array([-along[1], along[0]])
                far = apex + partial.distance.in_crystal(crystal) * along
                # A pair of opposite partials with a strip of fault in between: one where it has
                # got to, one that takes its part of the whole dislocation away.
                strips += [
                    VolterraDislocation(member.elastic, b, at, -along, self_consistent=False)
                    for b, at in ((burgers, far), (-burgers, apex))
                ]
    if strips:
        with schema.at("dislocations"):
            out += DislocationSum(strips).displacement(x)
    perturbation = case.solver.perturbation.in_crystal(crystal)
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
        (one.element or case.crystal.element, tuple(v.in_crystal(crystal) for v in one.position))
        for one in d.interstitials
    ]
    return PointDefects(vacant=vacant, substitutions=substitutions or None, extra=extra)


def _in(lengths: Any, crystal: Crystal) -> Any:
    """Return a length, or lengths in whatever sequences, in Angstrom; the rest as it is."""
    if isinstance(lengths, Length):
        return lengths.in_crystal(crystal)
    return [_in(one, crystal) for one in lengths] if isinstance(lengths, tuple) else lengths


def _model(
    case: Case, crystal: Crystal, potential: Potential, far_field: FarField
) -> QuasiContinuum:
    m = case.model
    options = {name: _in(value, crystal) for name, value in vars(m).items() if name in OPTIONS}
    if m.block is not None:
        with schema.at("model.block"):
            options["outer"] = LatticeBlock(m.block.lower, m.block.upper)
    elif m.rectangle is not None:
        options["outer"] = block_around(crystal, *_in(m.rectangle, crystal))
    options["defects"] = defects = _defects(case, crystal)
    options["boundary"] = schema.build_all("boundary", case.boundary, crystal)
    with schema.at("defects.mu"):
        potential.types_of(list(check_mu(case.defects.mu)))
    warm = {name: options.pop(name) for name in WARM}
    options["material"] = MATERIALS[m.material](crystal, potential)
    with schema.at("model"):
        model = QuasiContinuum(crystal, potential, far_field=far_field, **options)
        if m.temperature is None:
            return model
        if m.vibrations == "none":
            warm["vibrations"] = None
        if m.thermal_deformation == "sampled":
            from qc.bulk import sampled_lattice

            with Progress("lattice") as show:
                found = sampled_lattice(
                    crystal, potential, m.temperature, seed=case.seed, report=show
                )
            warm["thermal_deformation"] = found.deformation
        if m.quasi_static is not None:
            points = core_centres(crystal, far_field, defects, options["centres"])
            warm["quasi_static"] = _Beyond(
                CoreSet(points, planar=crystal.dim == 2), m.quasi_static.in_crystal(crystal)
            )
        return model.with_temperature(**warm)


@dataclass(frozen=True, eq=False)
class _Beyond:
    """Nodes further than a distance (Angstrom) from the centres."""

    centres: CoreSet
    distance: float

    def __call__(self, x: Array) -> NDArray[np.bool_]:
        return np.asarray(self.centres.distance(x) > self.distance)


def block_around(crystal: Crystal, width: float, height: float) -> LatticeBlock:
    """Return the smallest block of lattice cells around a rectangle centred on the origin.

    The rectangle is along x and y of columns or a monolayer, Angstrom; the block is a parallelogram
    along the cell vectors, its sides rounded up to multiples of `BLOCK_UNIT` cells.
    """
    corners = 0.5 * np.array([[width, height], [width, -height]])
    cells = np.abs(corners @ np.linalg.inv(crystal.cell[:2, :2])).max(axis=0)
    half = (np.ceil(2.0 * cells / BLOCK_UNIT - 1e-9) * BLOCK_UNIT / 2).astype(int)
    return LatticeBlock(tuple(int(-h) for h in half), tuple(int(h) for h in half))
