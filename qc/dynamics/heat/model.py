"""What of a model's heat capacity is a heat field's: the sites that are no nodes, and where."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse as sp
from ase import units
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from qc.coupling import QuasiContinuum
from qc.dynamics.heat.mesh import HeatMesh, cover
from qc.errors import InputError
from qc.numerics.checks import kind, not_negative, positive

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Where = Literal["continuum", "everywhere"]

#: Least capacity of a heat node, in k_B: with less, noise could take more than the node has.
LEAST_CAPACITY = 30.0

#: Edge of the cells of heat elements by default, in nearest-neighbour distances: 64 sites a node.
DEFAULT_SIZE = {2: 8.0, 3: 4.0}


class FieldParts(NamedTuple):
    """What `HeatField` is made of, see there."""

    mesh: HeatMesh
    capacity: Array
    weights: sp.csr_matrix
    conductivity: Array
    owner: IntArray
    density: float


def site_shares(model: QuasiContinuum) -> tuple[Array, Array]:
    """Sites that every node stands for, and how many of them its own motion carries.

    Returns
    -------
    sites : (n_nodes,) float64
        Shared as masses are, see `QuasiContinuum.node_masses`; vacant sites count nothing.
    carried : (n_nodes,) float64
        Free components of a node over those of an atom.
    """
    layout, mesh, crystal = model.layout, model.mesh, model.crystal
    beta = model.scheme.weighting(layout.beta_nodes)
    corners = mesh.elements.shape[1]
    omega = beta[mesh.elements].mean(axis=1)
    terms = model.coupling.blended
    if terms is not None and len(terms.continuum.active):
        omega = terms.continuum.weights
    cells = omega * mesh.volumes / (corners * crystal.volume)
    sites = np.where(model.occupied, 1.0 - beta, 0.0)
    sites += crystal.n_sublattices * np.bincount(
        mesh.elements.ravel(), np.repeat(cells, corners), minlength=layout.n_nodes
    )
    return sites, layout.free.sum(axis=1) / _components(model)


def field_parts(
    model: QuasiContinuum,
    conductivity: float,
    capacity: float | None,
    size: float | None,
    where: Where,
    couple_core: bool,
) -> FieldParts:
    """Make the parts of a heat field for a model; see `HeatField.of_model`."""
    kind("model", model, QuasiContinuum)
    if where not in ("continuum", "everywhere"):
        raise InputError(f"where must be 'continuum' or 'everywhere', got {where!r}")
    per_site = positive("capacity", _components(model) * units.kB if capacity is None else capacity)
    kappa = not_negative("conductivity", conductivity)
    if size is None:
        size = DEFAULT_SIZE[model.crystal.dim] * model.crystal.nearest_neighbour
    layout, mesh, crystal = model.layout, model.mesh, model.crystal
    laid = cover(mesh, size)
    vertex = layout.site_nodes[:, 0]
    nearest = mesh.crystal.positions(layout.lattice[layout.extra])
    extra = cKDTree(mesh.positions[:, : mesh.dim]).query(nearest[:, : mesh.dim])[1]
    weights = laid.weights[np.concatenate([vertex, extra.astype(np.int64)])]
    sites, carried = site_shares(model)
    share = np.ones(len(laid.mesh.elements))
    if where == "continuum":
        held = np.asarray(weights.T @ (sites - carried)) * per_site
        # Per element: sites, and the part of each vertex's motion that belongs to the element.
        around = np.bincount(
            mesh.elements.ravel(), np.repeat(mesh.volumes, mesh.dim + 1), mesh.n_vertices
        )
        moving = np.bincount(
            vertex, carried[: len(vertex)], minlength=mesh.n_vertices
        )[mesh.elements]  # fmt: skip
        own = (moving / around[mesh.elements]).sum(axis=1) * mesh.volumes
        n_coarse = len(share)
        total = np.bincount(
            laid.element, mesh.volumes * crystal.n_sublattices / crystal.volume, n_coarse
        )
        explicit = np.bincount(laid.element, own, n_coarse)
        share = np.clip(1.0 - explicit / np.maximum(total, 1e-300), 0.0, 1.0)
    else:
        held = np.asarray(weights.T @ sites) * per_site
    owner = _merged(laid.mesh, held, size)
    active, node = np.unique(owner, return_inverse=True)
    n_v, n_k = len(owner), len(active)
    merge = sp.csr_matrix((np.ones(n_v), (np.arange(n_v), node.ravel())), (n_v, n_k))
    weights = (weights @ merge).tocsr()
    if where == "continuum" and not couple_core:
        core = np.zeros(layout.n_nodes)
        core[model.scheme.weighting(layout.beta_nodes) > 0.0] = 1.0
        weights = (sp.diags(core) @ weights).tocsr()
        weights.eliminate_zeros()
    density = per_site * crystal.n_sublattices / crystal.volume
    return FieldParts(laid.mesh, np.asarray(merge.T @ held), weights, kappa * share, owner, density)


def _merged(mesh: HeatMesh, capacity: Array, size: float) -> IntArray:
    """Give every vertex an owner: itself, or the nearest one where it holds too little.

    Raises
    ------
    InputError
        No vertex holds enough.
    """
    least = LEAST_CAPACITY * units.kB
    x = mesh.positions[:, : mesh.dim]
    active = capacity >= least
    while active.any():
        owner = np.nonzero(active)[0][cKDTree(x[active]).query(x)[1]]
        owner[active] = np.nonzero(active)[0]
        sums = np.bincount(owner, capacity, minlength=len(x))
        weak = active & (sums < least)
        if not weak.any():
            return owner
        active &= ~weak
    top = capacity.max() / units.kB
    raise InputError(
        f"no heat node holds {LEAST_CAPACITY:.0f} k_B: the largest of {len(x)} has {top:.3g} k_B "
        f"with elements of {size:.3g} Angstrom; use a larger size or outer region, or "
        "where='everywhere' if most sites are nodes"
    )


def _components(model: QuasiContinuum) -> float:
    """Components in which an atom moves."""
    return float(model.crystal.dim_lattice)
