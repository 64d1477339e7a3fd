"""Point defects in a recognised crystal: which sites are empty, which atoms are too many."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from qc.crystal.affine import LocalFit
from qc.crystal.bonds import BondList, Structure, checked_structure, take_rows
from qc.crystal.crystal import Crystal
from qc.crystal.nonaffinity import fit_structure
from qc.crystal.recognition.images import image_jumps, unwrapped_clusters
from qc.crystal.recognition.ordering import MOST_FOREIGN, NAMES
from qc.crystal.recognition.recognise import OFF_LATTICE, Recognition, recognise
from qc.crystal.recognition.sites import SiteGrid
from qc.errors import CrystalError
from qc.numerics.checks import kind, real

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

#: Least threshold of non-affinity: above the relaxation around a point defect a few neighbours
#: away, below the 1/12 to 1/16 of a single missing neighbour.
_LEAST_THRESHOLD = 0.01
#: The threshold is at least this multiple of the median, so that thermal motion is not a defect.
_NOISE_FACTOR = 6.0
#: Defects nearer to each other than this, in nearest-neighbour distances, are one.
_LINK = 3.0
#: Atoms this near to a defect, in nearest-neighbour distances, say in which image it was given.
_AROUND = 2.5
#: Bonds, each counted from both ends, that may disagree with the sites: a core's own business.
_MOST_TORN = 8
#: What to do about a defect at a surface.
AT_SURFACE = (
    "atoms with a defect inside are embedded in a crystal without surfaces; build a model that "
    "has one with QuasiContinuum(crystal, potential, boundary=qc.mesh.FreeSurface(normal), "
    "defects=qc.coupling.PointDefects(...))"
)


@dataclass(frozen=True, eq=False)
class Defects:
    """The point defects of a set of atoms, relative to the crystal recognised in it.

    Periodic images are chosen so that everything lies around `centre`, where it was given; sites,
    atoms and positions refer to the same images. Reference positions are
    ``crystal.positions(m, s)``.

    Parameters
    ----------
    recognition : Recognition
    vacant_m : (n_v, 3) int64
        Integer coordinates of vacant sites; surroundings of a free-standing sample do not count.
    vacant_s : (n_v,) int64
        Their sublattices.
    extra : (n_x,) int64
        Atoms without a site of their own: interstitials, and the second atom of a dumbbell.
    substitutional : (n_f,) int64
        Foreign atoms on lattice sites.
    non_affine : (k,) int64
        Atoms whose non-affinity is above the threshold because of these defects.
    surface : (k,) int64
        Atoms within the outer layers of a free-standing sample.
    m : (n, 3) int64
        Integer coordinates of the site nearest to each atom.
    s : (n,) int64
        Its sublattice.
    positions : (n, 3) float, Angstrom
        Current positions of the atoms, in the images that `m` belongs to.
    d2 : (n,) float
        Lattice-matched non-affinity of every atom.
    threshold : float
        Non-affinity above which an atom counts as non-affine.
    centre : (3,) float, Angstrom
        Mean position of the defects in the reference frame; zero if there are none.
    radius : float, Angstrom
        Distance in the reference frame from `centre` to the furthest vacant site, extra, foreign
        or non-affine atom.
    centres : (k, 3) float, Angstrom
        Centres of the separate defects, the largest first.
    radii : (k,) float, Angstrom
        Their radii.
    depth : float, Angstrom
        Least distance, in the reference frame, from a vacant site, extra or foreign atom to an
        empty site outside a free-standing sample; infinite where there is no outside.
    """

    recognition: Recognition
    vacant_m: IntArray
    vacant_s: IntArray
    extra: IntArray
    substitutional: IntArray
    non_affine: IntArray
    surface: IntArray
    m: IntArray
    s: IntArray
    positions: Array
    d2: Array
    threshold: float
    centre: Array
    radius: float
    centres: Array
    radii: Array
    depth: float = np.inf

    @property
    def is_empty(self) -> bool:
        """True if the crystal is perfect."""
        return not (len(self.vacant_m) or len(self.extra) or len(self.substitutional))

    @property
    def summary(self) -> str:
        """One line: what was found."""
        counts = (
            (len(self.vacant_m), "vacant site", "vacant sites"),
            (len(self.extra), "extra atom", "extra atoms"),
            (len(self.substitutional), "foreign atom", "foreign atoms"),
        )
        parts = [f"{n} {one if n == 1 else many}" for n, one, many in counts if n]
        if not parts:
            return "perfect crystal"
        return f"{', '.join(parts)}; {len(self.non_affine)} non-affine atoms"


def find_defects(
    atoms: Atoms,
    recognition: Recognition | None = None,
    threshold: float | None = None,
    surface_layers: int = 2,
) -> Defects:
    """Find the point defects of a crystal.

    Parameters
    ----------
    atoms : ase.Atoms
    recognition : Recognition, optional
        What `recognise` made of the same atoms; called with its defaults if not given.
    threshold : float, optional
        Non-affinity above which an atom counts as non-affine; by default 0.01 or six times the
        median, whichever is larger.
    surface_layers : int
        So many layers of sites next to the outside of a free-standing sample are its surface.

    Returns
    -------
    Defects

    Raises
    ------
    CrystalError
        A defect touches the surface, or point defects do not explain what is found: slip,
        dislocations, faults, grains.
    """
    structure = checked_structure(atoms)
    if recognition is None:
        recognition = recognise(atoms)
    kind("recognition", recognition, Recognition, CrystalError)
    if threshold is not None:
        threshold = real("threshold", threshold, CrystalError)
    if len(recognition.m) != len(structure):
        raise CrystalError(
            f"the recognition is of {len(recognition.m)} atoms, not of {len(structure)}"
        )
    crystal = recognition.crystal
    fit, bonds = fit_structure(structure, crystal, recognition.F)
    grid = SiteGrid(recognition.periods, crystal.n_sublattices, recognition.m)
    flat = grid.index(recognition.m, recognition.s)
    holder, extra = _claims(grid, flat, recognition)

    empty = np.flatnonzero(holder < 0)
    outside = _outside(grid, crystal, holder, empty)
    vacant = empty[~outside[empty]]
    surface_site = _dilated(grid, crystal, outside, surface_layers) if outside.any() else outside
    owners = np.flatnonzero(holder >= 0)
    host = np.array(crystal.symbols)[recognition.s]
    owner_atoms = holder[owners]
    foreign = np.sort(owner_atoms[structure.symbols[owner_atoms] != host[owner_atoms]])
    if len(foreign) > MOST_FOREIGN * len(structure):
        raise CrystalError(
            f"{len(foreign)} of {len(structure)} atoms are not {'-'.join(set(crystal.symbols))}: "
            "an alloy or a compound, not a crystal with foreign atoms; no order of "
            f"{NAMES} was found in them"
        )
    at_surface = surface_site[flat]

    if threshold is None:
        inner = fit.d2[~at_surface]
        noise = float(np.median(inner)) if len(inner) else 0.0
        threshold = max(_LEAST_THRESHOLD, _NOISE_FACTOR * noise)
    near_vacant = _holders_around(grid, crystal, holder, vacant)
    _refuse_torn_bonds(grid, crystal, recognition, fit, bonds, threshold, holder)
    _refuse_slip(fit, threshold, extra, near_vacant)
    _refuse_at_surface(grid, crystal, surface_site, flat, vacant, extra, foreign)
    strange = (fit.d2 > threshold) & ~at_surface
    explained = _explained(bonds, strange, np.concatenate([extra, foreign, *near_vacant]))
    lost = np.flatnonzero(strange & ~explained)
    if len(lost) > max(5, 0.002 * len(structure)):
        raise CrystalError(
            f"{len(lost)} atoms are non-affine (the first is atom {lost[0]}) though no vacant "
            "site, extra or foreign atom is near: dislocations, faults and grain boundaries are "
            "not point defects"
        )
    found = _gathered(
        structure,
        recognition,
        grid.sites(vacant),
        extra,
        foreign,
        np.flatnonzero(strange & explained),
        np.flatnonzero(at_surface),
        fit.d2,
        float(threshold),
    )
    return replace(found, depth=_depth(found, grid.sites(np.flatnonzero(outside))))


# -- sites ------------------------------------------------------------------------------------


def _claims(grid: SiteGrid, flat: IntArray, recognition: Recognition) -> tuple[IntArray, IntArray]:
    """Give each site to the nearest atom; return the holder of each site (-1) and the rest."""
    near = recognition.distance <= OFF_LATTICE * recognition.crystal.nearest_neighbour
    atom = np.flatnonzero(near)
    # Distances are compared on a grid, so that symmetric pairs are told apart by index alone.
    order = atom[np.lexsort((atom, np.round(recognition.distance[atom], 5), flat[atom]))]
    first = np.ones(len(order), dtype=bool)
    first[1:] = flat[order[1:]] != flat[order[:-1]]
    holder = np.full(grid.n_sites, -1, dtype=np.int64)
    holder[flat[order[first]]] = order[first]
    extra = np.sort(np.concatenate([order[~first], np.flatnonzero(~near)]))
    return holder, extra


def _steps(grid: SiteGrid, crystal: Crystal, sites: IntArray, radius: float) -> list[IntArray]:
    """Return, per bond of the star, the flat index (n,) of the site that it leads to; or -1."""
    m, s = grid.sites(sites)
    out: list[IntArray] = []
    for t in range(crystal.n_sublattices):
        rows = np.flatnonzero(s == t)
        _, dm, ds = crystal.star_sites(radius, t)
        for k in range(len(dm)):
            if k == len(out):
                out.append(np.full(len(sites), -2, dtype=np.int64))
            out[k][rows] = grid.index(m[rows] + dm[k], ds[k])
    return out


def _shell(crystal: Crystal) -> float:
    """Radius of the first shell, both kinds of nearest neighbour of hcp included."""
    return 1.12 * crystal.nearest_neighbour


def _outside(grid: SiteGrid, crystal: Crystal, holder: IntArray, empty: IntArray) -> BoolArray:
    """Mark empty sites that a path of empty sites connects to the outside of the box."""
    outside = np.zeros(grid.n_sites, dtype=bool)
    if grid.n_periodic == 3 or not len(empty):
        return outside
    number = np.full(grid.n_sites, -1, dtype=np.int64)
    number[empty] = np.arange(len(empty))
    beyond = len(empty)
    rows, columns = [], []
    for target in _steps(grid, crystal, empty, _shell(crystal)):
        leaves = np.flatnonzero(target == -1)
        meets = np.flatnonzero(target >= 0)
        meets = meets[holder[target[meets]] < 0]
        rows += [leaves, meets]
        columns += [np.full(len(leaves), beyond), number[target[meets]]]
    i, j = np.concatenate(rows), np.concatenate(columns)
    graph = coo_matrix((np.ones(len(i), dtype=np.int8), (i, j)), shape=(beyond + 1,) * 2)
    _, label = connected_components(graph, directed=False)
    outside[empty] = label[:-1] == label[-1]
    return outside


def _depth(found: Defects, outside: tuple[IntArray, IntArray]) -> float:
    """Return the least distance from the defects to an empty site outside."""
    recognition = found.recognition
    crystal = recognition.crystal
    points = np.vstack(
        [
            crystal.positions(found.vacant_m, found.vacant_s),
            recognition.reference_positions(found.positions[found.extra]),
            crystal.positions(found.m[found.substitutional], found.s[found.substitutional]),
        ]
    )
    if not len(points) or not len(outside[0]):
        return np.inf
    cell = recognition.periods @ crystal.cell
    sites = crystal.positions(*outside)
    # Sites are brought near the middle of the points; the images next to these may be nearer.
    sites = sites - image_jumps(sites - points.mean(axis=0), cell) @ cell
    k = len(cell)
    images = np.array(list(product((-1.0, 0.0, 1.0), repeat=k))).reshape(3**k, k)
    near, _ = cKDTree(sites).query((points[:, None] + images @ cell).reshape(-1, 3))
    return float(near.min())


def _dilated(grid: SiteGrid, crystal: Crystal, marked: BoolArray, steps: int) -> BoolArray:
    out = marked.copy()
    frontier = np.flatnonzero(marked)
    for _ in range(steps):
        found = [t[t >= 0] for t in _steps(grid, crystal, frontier, _shell(crystal))]
        reached = np.unique(np.concatenate(found))
        frontier = reached[~out[reached]]
        out[frontier] = True
    return out


def _holders_around(
    grid: SiteGrid, crystal: Crystal, holder: IntArray, vacant: IntArray
) -> list[IntArray]:
    """Return for each vacant site the atoms on the sites of its star."""
    if not len(vacant):
        return []
    steps = np.array(_steps(grid, crystal, vacant, crystal.star_radius)).T
    return [np.unique(h[h >= 0]) for h in (holder[row[row >= 0]] for row in steps)]


# -- refusals ---------------------------------------------------------------------------------


def _refuse_at_surface(
    grid: SiteGrid,
    crystal: Crystal,
    surface_site: BoolArray,
    flat: IntArray,
    vacant: IntArray,
    extra: IntArray,
    foreign: IntArray,
) -> None:
    for atom_list, word in ((extra, "extra atom"), (foreign, "foreign atom")):
        touching = atom_list[surface_site[flat[atom_list]]]
        if len(touching):
            raise CrystalError(
                f"a defect touches the surface: {word} {touching[0]} (one of {len(touching)}) "
                f"lies in the outer layers of the sample; {AT_SURFACE}"
            )
    touching = vacant[surface_site[vacant]]
    if len(touching):
        m, s = grid.sites(touching[:1])
        raise CrystalError(
            f"a defect touches the surface: the vacant site m = {m[0].tolist()}, s = {s[0]} (one "
            f"of {len(touching)}) lies in the outer layers of the sample; {AT_SURFACE}"
        )


def _refuse_torn_bonds(
    grid: SiteGrid,
    crystal: Crystal,
    recognition: Recognition,
    fit: LocalFit,
    bonds: BondList,
    threshold: float,
    holder: IntArray,
) -> None:
    """Refuse orderly bonds whose ends do not hold the sites that the bond vector connects.

    Where many neighbours agree locally on a lattice vector but their sites are another one
    apart, a circuit through the sample has a Burgers vector.
    """
    flat = grid.index(recognition.m, recognition.s)
    star_size = len(crystal.star(fit.radius))
    noise = fit.d2 - np.maximum(fit.missing, fit.extra) / star_size
    orderly = (noise < threshold) & (fit.extra == 0) & (holder[flat] == np.arange(len(flat)))
    i, j = bonds.sites, bonds.neighbours
    kept = np.flatnonzero((fit.match >= 0) & orderly[i] & orderly[j])
    torn = np.zeros(len(kept), dtype=bool)
    for t in range(crystal.n_sublattices):
        _, dm, ds = crystal.star_sites(fit.radius, t)
        rows = np.flatnonzero((fit.sublattice[i[kept]] == t) & (recognition.s[i[kept]] == t))
        b = kept[rows]
        # The image matters: a screw dislocation shifts by just the period along its line.
        image = bonds.shifts[b][:, list(recognition.axes)] @ recognition.periods
        apart = recognition.m[j[b]] + image - recognition.m[i[b]]
        same = (apart == dm[fit.match[b]]).all(axis=1)
        torn[rows] = ~same | (recognition.s[j[b]] != ds[fit.match[b]])
    if torn.sum() > _MOST_TORN:
        first = kept[np.argmax(torn)]
        raise CrystalError(
            f"the crystal is slipped, dislocated or bent, which point defects do not explain: "
            f"{torn.sum()} neighbours, atoms {i[first]} and {j[first]} for example, are one "
            "lattice vector apart but hold sites that are another apart"
        )


def _refuse_slip(
    fit: LocalFit, threshold: float, extra: IntArray, near_vacant: list[IntArray]
) -> None:
    """Refuse extra atoms and vacant sites whose neighbourhood is perfect: the lattice is slipped.

    Their neighbours fit the lattice, only the counting of sites across the sample does not.
    """
    smooth = [i for i in extra if fit.d2[i] < threshold]
    # A site inside a void has no neighbours to ask.
    hidden = [
        v
        for v in near_vacant
        if len(v) and not ((fit.d2[v] > threshold) | (fit.missing[v] > 0)).any()
    ]
    if smooth or hidden:
        what = f"atom {smooth[0]}" if smooth else "a vacant site"
        raise CrystalError(
            f"{what} has a perfect neighbourhood but does not fit the lattice of the rest "
            f"({len(smooth)} such atoms, {len(hidden)} such sites): the crystal is slipped, "
            "dislocated or bent, which point defects do not explain"
        )


def _explained(bonds: BondList, strange: BoolArray, seeds: IntArray) -> BoolArray:
    """Mark the non-affine atoms that are connected with the seeds over at most one affine atom."""
    explained = np.zeros(len(strange), dtype=bool)
    frontier = np.unique(seeds)
    explained[frontier] = True
    while len(frontier):
        near = np.unique(bonds.neighbours[take_rows(bonds.start, frontier)[1]])
        near = np.unique(bonds.neighbours[take_rows(bonds.start, near)[1]])
        frontier = near[strange[near] & ~explained[near]]
        explained[frontier] = True
    return explained


# -- where ------------------------------------------------------------------------------------


def _gathered(
    structure: Structure,
    recognition: Recognition,
    vacant: tuple[IntArray, IntArray],
    extra: IntArray,
    foreign: IntArray,
    non_affine: IntArray,
    surface: IntArray,
    d2: Array,
    threshold: float,
) -> Defects:
    crystal, m, s = recognition.crystal, recognition.m, recognition.s
    vacant_m, vacant_s = vacant
    positions = structure.positions
    centre, radius = np.zeros(3), 0.0
    centres, radii = np.zeros((0, 3)), np.zeros(0)
    n_items = len(vacant_m) + len(extra) + len(foreign)
    if n_items:
        rest = np.setdiff1d(non_affine, np.concatenate([extra, foreign]))
        points = np.vstack(
            [
                crystal.positions(vacant_m, vacant_s),
                recognition.reference_positions(positions[extra]),
                crystal.positions(m[foreign], s[foreign]),
                recognition.reference_positions(positions[rest]),
            ]
        )
        item = np.arange(len(points)) < n_items
        reference_cell = recognition.periods @ crystal.cell
        link = _LINK * crystal.nearest_neighbour
        points, label = unwrapped_clusters(points, item, reference_cell, link)
        centre = points[item].mean(axis=0)
        radius = _radius(points, centre)
        kept = np.unique(label[item])
        centres = np.array([points[item & (label == k)].mean(axis=0) for k in kept])
        radii = np.array([_radius(points[label == k], centres[i]) for i, k in enumerate(kept)])
        size = np.array([(item & (label == k)).sum() for k in kept])
        order = np.argsort(-size, kind="stable")
        centres, radii = centres[order], radii[order]
        X = crystal.positions(m, s)
        jump = image_jumps(X - centre, reference_cell)
        items = np.concatenate([extra, foreign])
        around = X - jump @ reference_cell - centre
        home = _given_image(around, jump, items, reference_cell, radius, crystal.nearest_neighbour)
        move = home @ reference_cell
        centre, centres, jump = centre + move, centres + move, jump - home
        m = m - jump @ recognition.periods
        positions = positions - jump @ structure.cell[list(recognition.axes)]
        jump = image_jumps(crystal.positions(vacant_m, vacant_s) - centre, reference_cell)
        vacant_m = vacant_m - jump @ recognition.periods
    return Defects(
        recognition=recognition,
        vacant_m=vacant_m,
        vacant_s=vacant_s,
        extra=extra,
        substitutional=foreign,
        non_affine=non_affine,
        surface=surface,
        m=m,
        s=s,
        positions=positions,
        d2=d2,
        threshold=threshold,
        centre=centre,
        radius=radius,
        centres=centres,
        radii=radii,
    )


def _given_image(
    around: Array, jump: IntArray, items: IntArray, cell: Array, radius: float, spacing: float
) -> IntArray:
    """Return the image (k,) of the centre in which the defect was given, in periods of the cell.

    The defect's own atoms say so. A hole is where its surroundings are, along each direction those
    in one plane with it: next to a face of the cell the others are split between both sides.

    Parameters
    ----------
    around : (n, 3) float, Angstrom
        Sites of the atoms seen from the centre, in the images nearest to it.
    jump : (n, k) int64
        How many periods off the atoms were given.
    items : int64
        Atoms that are part of the defect.
    """
    if len(items):
        near = [items] * len(cell)
    else:
        ball = np.flatnonzero(np.linalg.norm(around, axis=1) <= radius + _AROUND * spacing)
        normals = np.linalg.pinv(cell)
        height = np.abs(around[ball] @ normals)
        level = height <= height.min(axis=0) + 0.3 * spacing * np.linalg.norm(normals, axis=0)
        near = [ball[column] for column in level.T]
    home = np.zeros(len(cell), dtype=np.int64)
    for k, rows in enumerate(near):
        values, counts = np.unique(jump[rows, k], return_counts=True)
        home[k] = values[np.argmax(counts)]
    return home


def _radius(points: Array, centre: Array) -> float:
    return float(np.linalg.norm(points - centre, axis=1).max())
