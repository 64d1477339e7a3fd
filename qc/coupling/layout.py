"""Where everything sits: mesh, patch of atoms, blending function and the unknowns they share."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from qc.coupling.blend import Blend
from qc.crystal import Crystal
from qc.errors import InputError, RegionError
from qc.mesh.simplex_mesh import SimplexMesh
from qc.potentials import Potential

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Site = tuple[int, int, int]


@dataclass(frozen=True)
class PointDefects:
    """Departures of the crystal from its perfect sites.

    Parameters
    ----------
    vacant : sequence of (3,) int
        Lattice coordinates of empty sites.
    substitutions : mapping of (3,) int to str
        Chemical symbols of foreign atoms on sites.
    extra : sequence of (str, (3,) float)
        Symbols and reference positions (Angstrom) of atoms without a site.

    Raises
    ------
    InputError
        A site is not three integers or is named twice, or a position is not finite.
    """

    vacant: Sequence[Site] = ()
    substitutions: Mapping[Site, str] | None = None
    extra: Sequence[tuple[str, Sequence[float]]] = ()

    def __post_init__(self) -> None:
        seen: set[Site] = set()
        for what, sites in (("vacant", self.vacant), ("substituted", self.substitutions or ())):
            for site in sites:
                values = np.asarray(site, dtype=float)
                if values.shape != (3,) or not np.array_equal(values, np.rint(values)):
                    raise InputError(f"{what} site {site} must be three integers")
                key = (int(values[0]), int(values[1]), int(values[2]))
                if key in seen:
                    raise InputError(f"site {key} is named twice")
                seen.add(key)
        for symbol, x in self.extra:
            values = np.asarray(x, dtype=float)
            if values.shape != (3,) or not np.isfinite(values).all():
                raise InputError(f"position {x} of an extra {symbol} atom must be three numbers")


@dataclass(frozen=True, eq=False)
class Layout:
    """Mesh and atom patch of a model; everything that does not depend on the predictor.

    Attributes
    ----------
    mesh : SimplexMesh
    blend : Blend
    lattice : (n, 3) int64
        Lattice coordinates of the patch's sites, vacant ones included; extra atoms follow with
        the coordinates of their nearest site.
    positions : (n, 3) float64, Angstrom
        Reference positions of the patch.
    types : (n,) int64
        Species of each patch atom.
    host_type : int
    vacant : (n,) bool
    extra : (n,) bool
    node : (n,) int64
        Node of each patch atom, -1 where it is constrained.
    interpolation : (n, n_nodes) csr_matrix
    beta_atoms, beta_nodes : float64 arrays
        The smooth blending function; 0 for extra atoms.
    free : (n_nodes, 3) bool
        Unknowns.
    """

    mesh: SimplexMesh
    blend: Blend
    lattice: IntArray
    positions: Array
    types: IntArray
    host_type: int
    vacant: NDArray[np.bool_]
    extra: NDArray[np.bool_]
    node: IntArray
    interpolation: sp.csr_matrix
    beta_atoms: Array
    beta_nodes: Array
    free: NDArray[np.bool_]

    @property
    def n_nodes(self) -> int:
        """Vertices plus extra atoms."""
        return len(self.beta_nodes)

    @property
    def node_positions(self) -> Array:
        """Reference positions of all nodes, (n_nodes, 3) Angstrom."""
        return np.vstack([self.mesh.positions, self.positions[self.extra]])

    @property
    def has_defects(self) -> bool:
        """Whether any site is vacant, any atom extra or any species foreign."""
        foreign = self.types[~self.extra] != self.host_type
        return bool(self.vacant.any() or self.extra.any() or foreign.any())


def patch_sites(crystal: Crystal, blend: Blend, reach: float) -> IntArray:
    """Lattice coordinates of all sites within ``reach`` of the core set, (n, 3), sorted."""
    points = blend.centres.points
    d = crystal.dim
    vectors = crystal.cell[:d, :d]
    inverse = np.linalg.inv(vectors)
    margin = reach * np.linalg.norm(inverse, axis=0) + 1.0
    q = points[:, :d] @ inverse
    low = np.floor((q - margin).min(axis=0)).astype(np.int64)
    high = np.ceil((q + margin).max(axis=0)).astype(np.int64)
    count = float(np.prod((high - low + 1).astype(float)))
    if count > 4e8:
        raise RegionError(f"the atomistic region would span {count:.2g} lattice sites")
    keep = []
    # Slabs along the first axis keep the temporary arrays small.
    others = [np.arange(a, b + 1) for a, b in zip(low[1:], high[1:], strict=True)]
    plane = np.array(list(itertools.product(*others)), dtype=np.int64).reshape(-1, d - 1)
    for first in range(low[0], high[0] + 1):
        m = np.zeros((len(plane), 3), dtype=np.int64)
        m[:, 0] = first
        m[:, 1:d] = plane
        keep.append(m[blend.centres.distance(crystal.positions(m)) <= reach])
    return np.concatenate(keep)


def build_layout(
    mesh: SimplexMesh,
    blend: Blend,
    potential: Potential,
    defects: PointDefects,
    reach: float,
) -> Layout:
    """Lay the patch of atoms over the mesh.

    Parameters
    ----------
    mesh, blend, potential, defects
    reach : float, Angstrom
        Distance from the core set up to which sites are in the patch (0 for none).

    Raises
    ------
    InputError
        A vacant or substituted column is named by a third coordinate other than zero.
    RegionError
        A defect lies outside the core.
    """
    crystal = mesh.crystal
    host = int(potential.types_of([crystal.symbols[0]])[0])
    sites = patch_sites(crystal, blend, reach) if reach > 0 else np.zeros((0, 3), np.int64)
    positions = crystal.positions(sites)
    index = {tuple(int(v) for v in m): k for k, m in enumerate(sites)}
    types = np.full(len(sites), host, dtype=np.int64)
    vacant = np.zeros(len(sites), dtype=bool)
    foreign = dict(defects.substitutions or {})
    for site in defects.vacant:
        key = tuple(int(v) for v in site)
        vacant[_find(index, key, crystal, blend, "vacant")] = True
    for site, symbol in foreign.items():
        key = tuple(int(v) for v in site)
        types[_find(index, key, crystal, blend, "substituted")] = potential.types_of([symbol])[0]
    extra_x = np.array([x for _, x in defects.extra], dtype=float).reshape(-1, 3)
    n_extra = len(extra_x)
    extra_types = potential.types_of([s for s, _ in defects.extra])
    if n_extra and blend.centres.distance(extra_x).max() > blend.core:
        raise RegionError("an extra atom lies outside the core")

    n_v, n_s = mesh.n_vertices, len(sites)
    element, weights = mesh.locate(sites)
    corners = weights.shape[1]
    rows = np.repeat(np.arange(n_s), corners)
    cols = np.where(element[:, None] >= 0, mesh.elements[element], 0).ravel()
    matrix = sp.coo_matrix((weights.ravel(), (rows, cols)), shape=(n_s + n_extra, n_v + n_extra))
    tail = sp.coo_matrix(
        (np.ones(n_extra), (n_s + np.arange(n_extra), n_v + np.arange(n_extra))), matrix.shape
    )
    interpolation = (matrix + tail).tocsr()
    interpolation.eliminate_zeros()
    node = np.concatenate([mesh.vertex_at(sites), n_v + np.arange(n_extra)])

    vertex_x = mesh.positions
    beta_nodes = np.concatenate([blend.beta(vertex_x), np.zeros(n_extra)])
    beta_atoms = np.concatenate([blend.beta(positions), np.zeros(n_extra)])
    free = np.ones((n_v + n_extra, 3), dtype=bool)
    free[:n_v][mesh.boundary] = False
    free[node[:n_s][vacant]] = False
    if crystal.mode == "monolayer":
        free[:, 2] = False
    nearest = crystal.integer_coordinates(extra_x)[0] if n_extra else np.zeros((0, 3), np.int64)
    pad = np.zeros(n_extra, dtype=bool)
    return Layout(
        mesh=mesh,
        blend=blend,
        lattice=np.concatenate([sites, nearest]),
        positions=np.concatenate([positions, extra_x]),
        types=np.concatenate([types, extra_types]),
        host_type=host,
        vacant=np.concatenate([vacant, pad]),
        extra=np.concatenate([np.zeros(n_s, dtype=bool), ~pad]),
        node=node,
        interpolation=interpolation,
        beta_atoms=beta_atoms,
        beta_nodes=beta_nodes,
        free=free,
    )


def _find(index: dict, key: tuple[int, ...], crystal: Crystal, blend: Blend, what: str) -> int:
    if crystal.dim == 2 and key[2] != 0:
        raise InputError(f"{what} site {key} stands for a column: its third coordinate must be 0")
    distance = float(blend.centres.distance(crystal.positions(np.array([key])))[0])
    if key not in index or distance > blend.core:
        raise RegionError(
            f"{what} site {key} is {distance:.2f} Angstrom from the core set, outside the core of "
            f"radius {blend.core:.2f} Angstrom"
        )
    return index[key]


def nearest_pair(positions: Array) -> float:
    """Smallest distance between two positions, Angstrom."""
    if len(positions) < 2:
        return np.inf
    return float(cKDTree(positions).query(positions, k=2)[0][:, 1].min())
