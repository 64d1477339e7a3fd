"""Where everything sits: mesh, patch of atoms, blending function and the unknowns they share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from qc.coupling.blend import Blend
from qc.coupling.constraint import Constraint
from qc.coupling.point_defects import PointDefects, Site, site_key
from qc.crystal import Crystal
from qc.crystal.site_index import SiteIndex
from qc.errors import InputError, RegionError
from qc.mesh import SimplexMesh, Space
from qc.potentials import Potential

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Layout:
    """Mesh and atom patch of a model; everything that does not depend on the predictor.

    Attributes
    ----------
    space : Space
        The mesh, and the functions on it.
    blend : Blend
    lattice : (n, 3) int64
        Lattice coordinates of the patch's sites, vacant ones included; extra atoms follow with
        the coordinates of their nearest site.
    sublattice : (n,) int64
        Sublattice of each site, or of the nearest one.
    positions : (n, 3) float64, Angstrom
        Reference positions of the patch.
    types : (n,) int64
        Species of each patch atom.
    host_types : (n_s,) int64
        Species of each sublattice of the perfect crystal.
    sublattice_nodes : (n_v, n_s) int64
        Node of each sublattice at each node of the space; that of sublattice 0 is the space's. The
        others exist where the patch of atoms is, and are -1 elsewhere: there the node stands for
        its whole cell, moves with the cell's middle, and elements relax their shifts.
    vacant : (n,) bool
    extra : (n,) bool
    node : (n,) int64
        Node of each patch atom, -1 where it is constrained.
    interpolation : (n, n_nodes) csr_matrix
    beta_atoms, beta_nodes : float64 arrays
        The smooth blending function at each site; 0 for extra atoms.
    beta_cells : (n,) float64
        Its mean over the sites of each patch atom's primitive cell, which weights site energies:
        with one weight for all of a cell no sublattice counts more than another.
    constraint : Constraint
        What is held, and what follows what.
    """

    space: Space
    blend: Blend
    lattice: IntArray
    sublattice: IntArray
    positions: Array
    types: IntArray
    host_types: IntArray
    sublattice_nodes: IntArray
    vacant: NDArray[np.bool_]
    extra: NDArray[np.bool_]
    node: IntArray
    interpolation: sp.csr_matrix
    beta_atoms: Array
    beta_nodes: Array
    beta_cells: Array
    constraint: Constraint

    @property
    def mesh(self) -> SimplexMesh:
        """The mesh of lattice sites."""
        return self.space.mesh

    @property
    def free(self) -> NDArray[np.bool_]:
        """(n_nodes, 3) bool: components that are unknowns."""
        return self.constraint.free

    @property
    def n_nodes(self) -> int:
        """Vertices, nodes of further sublattices, extra atoms; in this order."""
        return len(self.beta_nodes)

    @property
    def n_extra(self) -> int:
        """Number of extra atoms, which are the last nodes."""
        return int(self.extra.sum())

    @property
    def site_nodes(self) -> IntArray:
        """(n_nodes - n_extra, 2) int64: vertex and sublattice of every node that is a site."""
        nv = len(self.sublattice_nodes)
        out = np.zeros((self.n_nodes - self.n_extra, 2), dtype=np.int64)
        out[:nv, 0] = np.arange(nv)
        vertex, s = np.nonzero(self.sublattice_nodes[:, 1:] >= 0)
        out[self.sublattice_nodes[vertex, s + 1]] = np.stack([vertex, s + 1], axis=1)
        return out

    @property
    def whole_cells(self) -> NDArray[np.bool_]:
        """(n_nodes,) bool: vertices that stand for all sublattices of their cells."""
        out = np.zeros(self.n_nodes, dtype=bool)
        out[: len(self.sublattice_nodes)] = (self.sublattice_nodes < 0).any(axis=1)
        return out

    @property
    def node_positions(self) -> Array:
        """Reference positions of all nodes, (n_nodes, 3) Angstrom; whole cells at their middle."""
        vertex, s = self.site_nodes.T
        basis = self.mesh.crystal.basis
        sites = self.space.positions[vertex] + basis[s]
        whole = self.whole_cells[: len(sites)]
        sites[whole] = self.space.positions[vertex[whole]] + basis.mean(axis=0)
        return np.vstack([sites, self.positions[self.extra]])

    @property
    def site_shares(self) -> Array:
        """Sites' worth of mesh around every patch atom, (n,): 1, on a free surface 1/2.

        The mesh ends in the middle of the atoms of a surface; what they own beyond it is nobody's.
        """
        return self.mesh.hull.shares(self.lattice)

    @property
    def counted(self) -> NDArray[np.bool_]:
        """(n,) bool: patch atoms that are not images of others beyond a periodic face."""
        return self.extra | self.mesh.hull.counted(self.lattice)

    def tractions(self) -> Array:
        """Return the forces of the hull's tractions on the nodes, (n_nodes, 3) eV/Angstrom."""
        out = np.zeros((self.n_nodes, 3))
        forces = self.space.tractions()
        has = self.sublattice_nodes >= 0
        at, s = np.nonzero(has)
        out[self.sublattice_nodes[at, s]] = forces[at] / has.sum(axis=1)[at, None]
        return out

    @property
    def node_sublattices(self) -> IntArray:
        """Sublattice of every node, (n_nodes,); that of the nearest site for extra atoms."""
        return np.concatenate([self.site_nodes[:, 1], self.sublattice[self.extra]])

    @property
    def has_defects(self) -> bool:
        """Whether any site is vacant, any atom extra or any species foreign."""
        foreign = (self.types != self.host_types[self.sublattice])[~self.extra]
        return bool(self.vacant.any() or self.extra.any() or foreign.any())

    def without_defects(self, *, freed: bool = False) -> Layout:
        """Return the layout of the perfect crystal; the nodes of extra atoms are idle.

        Parameters
        ----------
        freed : bool
            Sites of vacancies are unknowns again, and the nodes of extra atoms held. Otherwise
            both are as they are here.
        """
        out = self
        if self.has_defects:
            sites = ~self.extra
            out = replace(
                self,
                lattice=self.lattice[sites],
                positions=self.positions[sites],
                sublattice=self.sublattice[sites],
                types=self.host_types[self.sublattice[sites]],
                vacant=np.zeros(int(sites.sum()), dtype=bool),
                extra=np.zeros(int(sites.sum()), dtype=bool),
                node=self.node[sites],
                interpolation=self.interpolation[sites],
                beta_atoms=self.beta_atoms[sites],
                beta_cells=self.beta_cells[sites],
            )
        if not freed:
            return out
        free = self.free.copy()
        vertex = self.site_nodes[:, 0]
        free[len(vertex) :] = False
        gone = self.node[self.vacant]
        gone = gone[gone >= 0]
        d = self.mesh.crystal.dim_lattice
        free[gone, :d] = self.space.free[vertex[gone], :d]
        return replace(out, constraint=replace(self.constraint, free=free))


def patch_sites(crystal: Crystal, blend: Blend, reach: float) -> tuple[IntArray, IntArray]:
    """Return all sites within ``reach`` of the core set: coordinates (n, 3), sublattices (n,)."""
    points = blend.centres.points
    d = crystal.dim
    vectors = crystal.cell[:d, :d]
    inverse = np.linalg.inv(vectors)
    wide = reach + float(np.linalg.norm(crystal.basis, axis=1).max())
    margin = wide * np.linalg.norm(inverse, axis=0) + 1.0
    q = points[:, :d] @ inverse
    low = np.floor((q - margin).min(axis=0)).astype(np.int64)
    high = np.ceil((q + margin).max(axis=0)).astype(np.int64)
    count = float(np.prod((high - low + 1).astype(float)))
    if count > 4e8:
        raise RegionError(f"the atomistic region would span {count:.2g} lattice sites")
    keep, sublattice = [], []
    # Slabs along the first axis keep the temporary arrays small.
    others = [np.arange(a, b + 1) for a, b in zip(low[1:], high[1:], strict=True)]
    plane = np.array(list(itertools.product(*others)), dtype=np.int64).reshape(-1, d - 1)
    for first in range(low[0], high[0] + 1):
        m = np.zeros((len(plane), 3), dtype=np.int64)
        m[:, 0] = first
        m[:, 1:d] = plane
        for s in range(crystal.n_sublattices):
            near = m[blend.centres.distance(crystal.positions(m, s)) <= reach]
            keep.append(near)
            sublattice.append(np.full(len(near), s, dtype=np.int64))
    return np.concatenate(keep), np.concatenate(sublattice)


def build_layout(
    space: Space,
    blend: Blend,
    potential: Potential,
    defects: PointDefects,
    reach: float,
) -> Layout:
    """Lay the patch of atoms over the mesh.

    Parameters
    ----------
    space, blend, potential, defects
    reach : float, Angstrom
        Distance from the core set up to which sites are in the patch (0 for none).

    Raises
    ------
    InputError
        A vacant or substituted column is named by a third coordinate other than zero.
    RegionError
        A defect lies outside the core.
    """
    mesh = space.mesh
    crystal = mesh.crystal
    host = potential.types_of(crystal.symbols)
    if reach > 0:
        sites, s = patch_sites(crystal, blend, reach)
    else:
        sites, s = np.zeros((0, 3), np.int64), np.zeros(0, np.int64)
    exist = mesh.hull.exists(sites)
    sites, s = sites[exist], s[exist]
    home = mesh.hull.image(sites)
    positions = crystal.positions(sites, s)
    types = host[s]
    vacant = np.zeros(len(sites), dtype=bool)
    foreign = dict(defects.substitutions or {})
    index = SiteIndex(np.column_stack([sites, s]) if defects.vacant or foreign else sites[:0])
    vacant[_found(index, defects.vacant, crystal, blend, "vacant")] = True
    at = _found(index, list(foreign), crystal, blend, "substituted")
    types[at] = potential.types_of(list(foreign.values()))
    if (vacant.any() or len(at)) and mesh.hull.repeats:
        # What is there is there again beyond periodic faces.
        own = SiteIndex(np.column_stack([sites, s])).find(np.column_stack([home, s]))
        own = np.where(own >= 0, own, np.arange(len(sites)))
        vacant, types = vacant[own], types[own]
    extra_x = np.array([x for _, x in defects.extra], dtype=float).reshape(-1, 3)
    n_extra = len(extra_x)
    extra_types = potential.types_of([symbol for symbol, _ in defects.extra])
    if n_extra and blend.centres.distance(extra_x).max() > blend.core:
        raise RegionError("an extra atom lies outside the core")
    if any((face.depth(extra_x) < potential.cutoff).any() for face in mesh.hull.periodic):
        raise RegionError("an extra atom is within a cutoff of a periodic face; move it inwards")

    n_sites = len(sites)
    inside = space.interpolation(sites).tocoo()
    carriers = None
    if crystal.n_sublattices > 1:
        element = mesh.locate(sites)[0]
        carriers = np.zeros(space.n_nodes, dtype=bool)
        carriers[space.connectivity[element[element >= 0]]] = True
        # What follows carries what its leader does.
        follower, leader = space.ties
        np.logical_or.at(carriers, leader, carriers[follower])
        carriers[follower] = carriers[leader]
    sublattice_nodes = _sublattice_nodes(space.n_nodes, crystal.n_sublattices, carriers)
    n_nodes = space.n_nodes + int((sublattice_nodes[:, 1:] >= 0).sum()) + n_extra
    last = n_nodes - n_extra + np.arange(n_extra)
    rows = np.concatenate([inside.row, n_sites + np.arange(n_extra)])
    cols = np.concatenate([sublattice_nodes[inside.col, s[inside.row]], last])
    interpolation = sp.coo_matrix(
        (np.concatenate([inside.data, np.ones(n_extra)]), (rows, cols)),
        shape=(n_sites + n_extra, n_nodes),
    ).tocsr()
    interpolation.sort_indices()
    at = space.node_at(sites)
    own = (at >= 0) & (home == sites).all(axis=1)
    node = np.concatenate([np.where(own, sublattice_nodes[at, s], -1), last])

    beta_nodes = np.zeros(n_nodes)
    free = np.ones((n_nodes, 3), dtype=bool)
    for t in range(crystal.n_sublattices):
        has = sublattice_nodes[:, t] >= 0
        at = sublattice_nodes[has, t]
        beta_nodes[at] = blend.beta(space.positions[has] + crystal.basis[t])
        free[at] = space.free[has]
    beta_atoms = np.concatenate([blend.beta(positions), np.zeros(n_extra)])
    cells = [blend.beta(crystal.positions(sites, t)) for t in range(crystal.n_sublattices)]
    beta_cells = np.concatenate([np.mean(cells, axis=0), np.zeros(n_extra)])
    gone = node[:n_sites][vacant]
    free[gone[gone >= 0]] = False
    if crystal.dim_lattice == 2:
        free[:, 2] = False
    near, near_s = np.zeros((0, 3), np.int64), np.zeros(0, np.int64)
    if n_extra:
        near, near_s, _ = crystal.integer_coordinates(extra_x)
    pad = np.zeros(n_extra, dtype=bool)
    return Layout(
        space=space,
        blend=blend,
        lattice=np.concatenate([sites, near]),
        sublattice=np.concatenate([s, near_s]),
        positions=np.concatenate([positions, extra_x]),
        types=np.concatenate([types, extra_types]),
        host_types=host,
        sublattice_nodes=sublattice_nodes,
        vacant=np.concatenate([vacant, pad]),
        extra=np.concatenate([np.zeros(n_sites, dtype=bool), ~pad]),
        node=node,
        interpolation=interpolation,
        beta_atoms=beta_atoms,
        beta_nodes=beta_nodes,
        beta_cells=beta_cells,
        constraint=_constraint(space, sublattice_nodes, free),
    )


def _constraint(space: Space, sublattice_nodes: IntArray, free: NDArray[np.bool_]) -> Constraint:
    """Return what holds and ties the nodes, given the components that nothing on the hull holds."""
    held_at = None
    given = space.held_at
    if given is not None:
        held_at = np.zeros(free.shape)
        at, s = np.nonzero(sublattice_nodes >= 0)
        held_at[sublattice_nodes[at, s]] = given[at]
    follower, leader = space.ties
    if not len(follower):
        return Constraint(free, held_at=held_at)
    one, other = sublattice_nodes[follower], sublattice_nodes[leader]
    one, other = one[one >= 0], other[other >= 0]
    shape = (len(one), len(free))
    leaders = sp.csr_matrix((np.ones(len(one)), (np.arange(len(one)), other)), shape)
    free[one] = False
    return Constraint(free, one, leaders, held_at)


def _sublattice_nodes(n: int, n_sublattices: int, carriers: NDArray[np.bool_] | None) -> IntArray:
    """Return the numbers of nodes: those of the space first, then sublattices at ``carriers``.

    Carriers are all nodes of elements, so that each belongs to an element whose nodes all carry
    their sublattices, which ties them together.
    """
    nodes = np.full((n, n_sublattices), -1, dtype=np.int64)
    nodes[:, 0] = np.arange(n)
    if carriers is None:
        return nodes
    at = np.flatnonzero(carriers)
    count = len(at) * (n_sublattices - 1)
    nodes[at, 1:] = n + np.arange(count).reshape(len(at), n_sublattices - 1)
    return nodes


def _found(
    index: SiteIndex, sites: Sequence[Site], crystal: Crystal, blend: Blend, what: str
) -> IntArray:
    """Return the rows of named sites in the patch, (n,)."""
    keys = np.array([site_key(site) for site in sites], dtype=np.int64).reshape(-1, 4)
    rows = index.find(keys)
    for key, row in zip(keys.tolist(), rows, strict=True):
        _check_site(tuple(key), int(row), crystal, blend, what)
    return rows


def _check_site(key: tuple[int, ...], row: int, crystal: Crystal, blend: Blend, what: str) -> None:
    site = key[:3] if crystal.is_bravais and not key[3] else key
    if crystal.dim == 2 and key[2] != 0:
        raise InputError(f"{what} site {site} stands for a column: its third coordinate must be 0")
    if not 0 <= key[3] < crystal.n_sublattices:
        raise InputError(
            f"{what} site {site}: {crystal.name} has {crystal.n_sublattices} sublattices, from 0"
        )
    x = crystal.positions(np.array([key[:3]]), key[3])
    distance = float(blend.centres.distance(x)[0])
    if row < 0 or distance > blend.core:
        raise RegionError(
            f"{what} site {site} is {distance:.2f} Angstrom from the core set, outside the core of "
            f"radius {blend.core:.2f} Angstrom"
        )


def nearest_pair(positions: Array) -> float:
    """Smallest distance between two positions, Angstrom."""
    if len(positions) < 2:
        return np.inf
    return float(cKDTree(positions).query(positions, k=2)[0][:, 1].min())
