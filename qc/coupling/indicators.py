"""Where a model needs atoms: the non-affinity of its sites, in the core and in the continuum."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from qc.atomistic.neighbours import neighbour_list
from qc.coupling.layout import patch_sites
from qc.coupling.model import Model
from qc.crystal import Crystal
from qc.crystal.affine import lattice_matched, star_reach
from qc.crystal.nonaffinity import lattice_fit
from qc.crystal.site_index import SiteIndex
from qc.mesh import CoreSet

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


def period(model: Model) -> Array:
    """(1, 3): the translation along the line in the deformed crystal."""
    return np.asarray(model.far_field.mean_deformation @ model.crystal.cell[2])[None]


def blend_nonaffinity(model: Model) -> tuple[IntArray, Array]:
    """Return the non-affinity of the sites in the blending region against the lattice.

    Sites at a free surface are left out.

    Returns
    -------
    site : (n,) int64
        Indices into the atoms of ``model.layout``; empty where nothing is blended.
    d2 : (n,) float64
        In squared nearest-neighbour distances; see `qc.nonaffinity`.
    """
    site, d2 = counted_nonaffinity(model)
    blended = model.layout.beta_atoms[site] > 0.0
    return site[blended], d2[blended]


def counted_nonaffinity(model: Model) -> tuple[IntArray, Array]:
    """As `blend_nonaffinity`, of all sites that count as atoms, wholly or in part.

    Their neighbours are in the patch, so that nothing is interpolated.
    """
    layout = model.layout
    beta = layout.beta_atoms
    if model.scheme.atoms != "core" or not len(beta):
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    present = np.nonzero(~layout.vacant)[0]
    rows = (beta[present] < 1.0) & ~layout.extra[present]
    mean = np.asarray(model.far_field.mean_deformation)
    # Sites at a surface miss neighbours, and are no defects.
    rows &= model.mesh.hull.depth(layout.positions[present]) > star_reach(model.crystal)
    stretch = float(np.linalg.norm(mean, 2))
    y = model.coupling.parts.atoms.positions(model.U)
    cell, pbc = None, [False, False, False]
    if model.crystal.is_columns:
        cell, pbc = np.diag([1.0, 1.0, 0.0]), [False, False, True]
        cell[2] = period(model)
    reach = 1.05 * stretch * star_reach(model.crystal)
    bonds = neighbour_list(y, reach, cell, pbc, rows)
    start = np.append(0, np.cumsum(np.diff(bonds.start)[rows]))
    return present[rows], lattice_matched(start, bonds.vectors(y), model.crystal, mean).d2


def patch_nonaffinity(model: Model, y: Array, types: IntArray) -> Array:
    """Non-affinity of the patch's atoms, (n,), with the interpolated crystal around them.

    Parameters
    ----------
    model : Model
    y : (n, 3) float64, Angstrom
        Current positions of the patch's atoms, vacant sites left out.
    types : (n,) int64
    """
    if not len(y):
        return np.zeros(0)
    layout, crystal = model.layout, model.crystal
    core_set = CoreSet(layout.blend.centres.points, planar=crystal.dim == 2)
    reach = float(core_set.distance(layout.positions).max())
    # The rim gets its neighbours: sites beyond the patch, carried by the mesh and the far field.
    wide = np.column_stack(patch_sites(crystal, layout.blend, reach + 2.0 * star_reach(crystal)))
    wide = wide[model.mesh.hull.exists(wide[:, :3])]
    sites = np.column_stack([layout.lattice, layout.sublattice])[~layout.extra]
    rim = wide[SiteIndex(sites).find(wide) < 0]
    m, s = rim[:, :3], rim[:, 3]
    y_rim = placed(model, m, s)
    everything = Atoms(
        np.array(model.potential.species)[np.concatenate([types, layout.host_types[s]])],
        positions=np.vstack([y, y_rim]),
    )
    if crystal.is_columns:
        everything.cell[2] = period(model)[0]
        everything.pbc = (False, False, True)
    fit, _ = lattice_fit(everything, crystal, F=model.far_field.mean_deformation)
    return fit.d2[: len(y)]


def vertex_nonaffinity(model: Model, vertex: IntArray, sublattice: IntArray) -> Array:
    """Non-affinity of sites of the continuum, (n,), by neighbours interpolated from the mesh."""
    out = np.empty(len(vertex))
    for s in range(model.crystal.n_sublattices):
        rows = np.flatnonzero(sublattice == s)
        if len(rows):
            out[rows] = _sublattice_nonaffinity(model, vertex[rows], s)
    return out


def _sublattice_nonaffinity(model: Model, vertex: IntArray, s: int) -> Array:
    """Non-affinity of the sites of one sublattice in the cells of vertices, (n,)."""
    crystal, far_field = model.crystal, model.far_field
    mean = np.asarray(far_field.mean_deformation)
    reach = 1.05 * star_reach(crystal) * float(np.linalg.svd(mean, compute_uv=False).max())
    ends, near = _star(crystal, 1.1 * reach, s)
    out = np.empty(len(vertex))
    slipped = np.zeros(len(vertex), dtype=bool)
    if not far_field.is_homogeneous:
        x = np.repeat(model.mesh.positions[vertex] + crystal.basis[s], len(near), axis=0)
        slip = far_field.slip(x, x + np.tile(ends, (len(vertex), 1)))
        slipped = np.abs(slip).max(axis=1).reshape(len(vertex), -1).max(axis=1) > 0
    groups = [(np.flatnonzero(~slipped), near)]
    if slipped.any():
        # Behind a dislocation the neighbours of a site are those of the slipped crystal.
        further = float(np.linalg.norm(slip, axis=1).max())
        groups.append((np.flatnonzero(slipped), _star(crystal, 1.1 * reach + further, s)[1]))
    for rows, star in groups:
        # Bounded pieces: a star of a hundred sites for each of many vertices is a lot of memory.
        for first in range(0, len(rows), 2000):
            piece = rows[first : first + 2000]
            start, vectors = _virtual_bonds(model, vertex[piece], s, star, reach)
            out[piece] = lattice_matched(start, vectors, crystal, mean).d2
    return out


def _virtual_bonds(
    model: Model, vertex: IntArray, s: int, star: IntArray, reach: float
) -> tuple[IntArray, Array]:
    """CSR bonds of sites of a sublattice to those of their star (k, 4), as the mesh has them."""
    own = placed(model, model.mesh.lattice[vertex], np.full(len(vertex), s))
    sites = np.broadcast_to(star, (len(vertex), *star.shape)).copy()
    sites[:, :, :3] += model.mesh.lattice[vertex][:, None]
    # Stars overlap: each site is placed once.
    flat = sites.reshape(-1, 4)
    periods = np.zeros((len(flat), 1))
    if model.crystal.is_columns:
        periods[:, 0] = flat[:, 2]
        flat[:, 2] = 0
    unique, index = np.unique(flat, axis=0, return_inverse=True)
    y = placed(model, unique[:, :3], unique[:, 3])
    ends = y[index.ravel()] + periods @ period(model)
    bonds = ends.reshape(len(vertex), -1, 3) - own[:, None]
    close = np.einsum("nki,nki->nk", bonds, bonds) <= reach**2
    start = np.zeros(len(vertex) + 1, dtype=np.int64)
    np.cumsum(close.sum(axis=1), out=start[1:])
    return start, bonds[close]


def placed(model: Model, m: IntArray, s: IntArray) -> Array:
    """Return current positions of sites, (n, 3) Angstrom, as nodes or the mesh carry them."""
    return model.predict(model.crystal.positions(m, s), s) + model.interpolate(m, s)


def _star(crystal: Crystal, reach: float, s: int) -> tuple[Array, IntArray]:
    """Bonds (k, 3) around a site of a sublattice; lattice coordinates and sublattices (k, 4)."""
    vectors, m, ends = crystal.star_sites(reach, s)
    return vectors, np.column_stack([m, ends])
