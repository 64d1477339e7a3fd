"""Where a model has its centres, its rim and its cuts, and which sites a region holds."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.continuum import slipped_edges
from qc.coupling.point_defects import PointDefects, site_key
from qc.crystal import Crystal
from qc.errors import InputError, RegionError
from qc.farfield import FarField
from qc.mesh import Ball, LatticeBlock, PowerGrading, Region, SimplexMesh
from qc.numerics.checks import FARTHEST, coordinates, positive

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Atoms of a patch, their bonds, and vertices of a mesh beyond which a model is a mistake rather
#: than a wish. All are compared with estimates; who has the memory may raise them.
MOST_ATOMS = 20_000_000
MOST_BONDS = 2_000_000_000
MOST_VERTICES = 10_000_000


def core_centres(
    crystal: Crystal, far_field: FarField, defects: PointDefects, centres: ArrayLike | None
) -> Array:
    """Return what the core is drawn around: what is given, or every defect, or the origin."""
    if centres is not None:
        return np.atleast_2d(coordinates("centres", centres))
    parts: list[Array] = []
    if len(far_field.cores):
        parts.append(far_field.cores)
    sites = [site_key(m) for m in [*defects.vacant, *(defects.substitutions or {})]]
    if sites:
        named = np.array(sites, dtype=np.int64)
        if not ((named[:, 3] >= 0) & (named[:, 3] < crystal.n_sublattices)).all():
            raise InputError(
                f"{crystal.name} has {crystal.n_sublattices} sublattices, counted from 0"
            )
        parts.append(crystal.positions(named[:, :3], named[:, 3]))
    if defects.extra:
        parts.append(np.array([x for _, x in defects.extra], dtype=float))
    return np.vstack(parts) if parts else np.zeros((1, 3))


def default_core(crystal: Crystal, cutoff: float) -> float:
    """Return the core radius where none is given, Angstrom.

    The lattice constant of an unnamed crystal is an edge of its primitive cell, which may be short
    where neighbours are few: in zincblende it is 0.7 of the cube's. There the radius is that of
    diamond, four times the edge of the cube that an atom fills (of the square, in a monolayer).
    """
    radius = 2.0 * crystal.a
    if crystal.name in ("bravais", "multilattice"):
        dim = crystal.dim_lattice
        radius = max(radius, 4.0 * float(crystal.site_volume) ** (1.0 / dim))
    return max(radius, 1.02 * cutoff)


def outer_region(
    crystal: Crystal,
    outer: float | Region | LatticeBlock | None,
    points: Array,
    default: float,
    planar: bool,
    name: str = "outer",
) -> Region:
    """Return the outer region; a number is a radius around the middle of the centres."""
    if isinstance(outer, LatticeBlock):
        return outer.bind(crystal)
    if outer is None or isinstance(outer, Real):
        centre = points.mean(axis=0)
        radius = default if outer is None else positive(name, outer, RegionError)
        return Ball(radius, (float(centre[0]), float(centre[1]), float(centre[2])), planar=planar)
    if not isinstance(outer, Region):
        raise InputError(f"{name} must be a radius or a region, not {outer!r}")
    return outer


@np.errstate(over="ignore", invalid="ignore")
def refuse_giants(
    crystal: Crystal,
    size_field: PowerGrading,
    region: Region,
    points: Array,
    patch_reach: float,
    cutoff: float,
) -> None:
    """Refuse a model that no memory holds before any of it is made.

    Parameters
    ----------
    crystal, size_field, region
        As of `graded_mesh`.
    points : (n, 3) float64, Angstrom
        What core and blend surround.
    patch_reach : float, Angstrom
        Distance from the points up to which there are atoms; infinite where all are.
    cutoff : float, Angstrom
        Of the potential.

    Raises
    ------
    RegionError
        A region that leaves the coordinates no digits, or more than `MOST_ATOMS`,
        `MOST_BONDS` or `MOST_VERTICES` by an estimate.
    """
    d = crystal.dim
    low, high = (np.asarray(bound, dtype=np.float64)[:d] for bound in region.bounds(crystal))
    extent = float(np.abs([low, high]).max())
    if not extent <= FARTHEST:
        raise RegionError(
            f"the outer region reaches to {extent:.3g} Angstrom, the farthest is {FARTHEST:g}"
        )
    # In columns and monolayers all are counted in the plane.
    height = crystal.volume / abs(np.linalg.det(crystal.cell[:d, :d])) if d == 2 else 1.0
    per_vertex = crystal.volume / height
    ball = np.pi if d == 2 else 4.0 / 3.0 * np.pi
    spread = points[:, :d].max(axis=0) - points[:, :d].min(axis=0)

    def within(r: Array) -> Array:
        """Vertices within a distance of the points, by whichever bound is least."""
        box = np.prod(spread + 2.0 * np.asarray(r)[..., None], axis=-1)
        return np.minimum(len(points) * ball * np.asarray(r) ** d, box) / per_vertex

    whole = float(np.prod(high - low)) / per_vertex
    if patch_reach > 0.0:
        everything = np.isinf(patch_reach)
        sites = whole if everything else float(within(np.array(patch_reach)))
        atoms = sites * crystal.n_sublattices
        bonds = atoms * crystal.sites_within(cutoff)
        if atoms > MOST_ATOMS or bonds > MOST_BONDS:
            where = "the outer region" if everything else "core and blend"
            raise RegionError(
                f"{where} would hold about {atoms:.2g} atoms; the most is "
                f"{min(MOST_ATOMS, atoms * MOST_BONDS / bonds):.2g} with a cutoff of {cutoff:.3g} "
                "Angstrom: make it smaller, or the cutoff shorter"
            )
    full = min(size_field.full, 2.0 * extent)
    radii = np.geomspace(full, max(4.0 * extent, 1.01 * full), 200)
    inside = np.minimum(within(radii), whole)
    coarse = np.maximum(size_field.size(radii[:-1]) / size_field.spacing, 1.0) ** d
    vertices = float(inside[0] + (np.diff(inside) / coarse).sum())
    if vertices > MOST_VERTICES:
        raise RegionError(
            f"the mesh would have about {vertices:.2g} vertices; the most is {MOST_VERTICES:.0g}: "
            "make core, blend or outer region smaller, or let the elements grow faster (grading, "
            "largest)"
        )


def cuts(
    far_field: FarField, basis: Array
) -> tuple[Array | None, Callable[[Array], NDArray[np.bool_]] | None]:
    """Glide direction of a far field, and which elements its slip would distort badly.

    Across a cut an element of a few lattice cells may become flat or twice as large. Between two
    neighbouring lattice rows along the glide direction every triangle keeps its area, so refining
    such elements in a mesh with that axis always helps.
    """
    if far_field.is_homogeneous:
        return None, None

    def distorted(corners: Array) -> NDArray[np.bool_]:
        ratio = slipped_edges(corners, far_field, basis)[1]
        return ~np.isnan(ratio) & (np.abs(ratio - 1.0) > 0.6)

    return far_field.glide, distorted


def require_inside(mesh: SimplexMesh, points: Array, margin: float = 0.0) -> None:
    """Refuse a mesh whose rim comes closer to the centres than the margin, in Angstrom."""
    d = mesh.dim
    edge = mesh.positions[mesh.rim][:, :d]
    points = mesh.hull.project(points)
    gap = np.linalg.norm(edge[None] - points[:, None, :d], axis=-1).min() if len(edge) else np.inf
    m = mesh.crystal.integer_coordinates(points)[0]
    if gap <= margin or np.any(mesh.locate(m)[0] < 0):
        raise RegionError(
            f"the outer boundary comes within {gap:.2f} Angstrom of the core set; core and blend "
            f"need more than {margin:.2f} Angstrom"
        )


@np.errstate(over="ignore", invalid="ignore")
def sites_in(crystal: Crystal, region: Region) -> tuple[IntArray, IntArray]:
    """Return the sites in a region: lattice coordinates (n, 3) and sublattices (n,)."""
    lower, upper = region.bounds(crystal)
    d = crystal.dim
    grid = np.stack(np.meshgrid(*zip(lower[:d], upper[:d], strict=True), indexing="ij"), -1)
    corners = (grid.reshape(-1, 1, d) - crystal.basis[:, :d]).reshape(-1, d)
    q = corners @ np.linalg.inv(crystal.cell[:d, :d])
    low_f, high_f = np.floor(q.min(axis=0)), np.ceil(q.max(axis=0))
    if not float(np.prod(high_f - low_f + 1.0)) <= 5e7:
        raise RegionError("more than 5e7 lattice sites were asked for; choose a smaller region")
    low, high = low_f.astype(np.int64), high_f.astype(np.int64)
    axes = [np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]
    m = np.zeros((int(np.prod([len(a) for a in axes])), 3), dtype=np.int64)
    m[:, :d] = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, d)
    inside = [region.contains(crystal.positions(m, s)) for s in range(crystal.n_sublattices)]
    return (
        np.concatenate([m[keep] for keep in inside]),
        np.repeat(np.arange(crystal.n_sublattices), [int(keep.sum()) for keep in inside]),
    )
