"""A model's atoms with everything known about each: region, weight, energy, non-affinity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from qc.coupling import QuasiContinuum
from qc.coupling.fields import ElementFields, element_fields
from qc.coupling.layout import patch_sites
from qc.crystal import Crystal
from qc.crystal.affine import lattice_matched, star_reach
from qc.crystal.nonaffinity import lattice_fit
from qc.mesh import CoreSet
from qc.numerics.checks import kind

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class AtomFields:
    """Atoms of a model and what is known about each.

    Attributes
    ----------
    symbols : (n,) array of str
    positions : (n, 3) float64, Angstrom
        Current positions; columns lie within one period along z.
    reference : (n, 3) float64, Angstrom
        Positions in the undeformed crystal, shifted with the current ones.
    region : (n,) int64
        Index into `REGIONS`: core (full atoms), blend, continuum (at a mesh vertex that stands
        for more atoms than its own), halo (atoms that only carry neighbours).
    weight : (n,) float64
        Weight of the site energy in the scheme.
    site_energy : (n,) float64, eV
        Energy of the atom; in halo and continuum the Cauchy-Born energy of its surroundings.
    nonaffinity : (n,) float64
        Lattice-matched D2, in squared nearest-neighbour distances.
    node : (n,) int64
        Node that the atom is, -1 where the mesh carries it. In the continuum a vertex moves a
        whole cell; with a basis it is named by the first of the cell's atoms.
    """

    symbols: NDArray[np.str_]
    positions: Array
    reference: Array
    region: IntArray
    weight: Array
    site_energy: Array
    nonaffinity: Array
    node: IntArray

    def __len__(self) -> int:
        """Return the number of atoms."""
        return len(self.positions)


def atom_fields(
    model: QuasiContinuum,
    *,
    representative: bool = True,
    elements: ElementFields | None = None,
) -> AtomFields:
    """Return the atoms of a model's patch and, if asked, the vertices of its continuum.

    Parameters
    ----------
    model : QuasiContinuum
    representative : bool
        Append the atoms of the mesh vertices' cells that lie outside the patch of atoms.
    elements : ElementFields, optional
        Of the same model; taken instead of being computed.
    """
    kind("model", model, QuasiContinuum)
    layout = model.layout
    keep = np.flatnonzero(~layout.vacant)
    x = layout.positions[keep]
    y = model.predict(x, layout.sublattice[keep]) if len(keep) else x
    y = y + layout.interpolation[keep] @ model.U
    types, node = layout.types[keep], layout.node[keep]
    m, s = layout.lattice[keep], layout.sublattice[keep]
    beta = layout.beta_atoms[keep]
    # Energies are weighted by cells, blended forces by atoms.
    weight = 1.0 - model.scheme.weighting(
        beta if model.scheme.blends_forces else layout.beta_cells[keep]
    )
    region = np.where(beta <= 0.0, 0, np.where(beta < 1.0, 1, 3)).astype(np.int64)
    if model.scheme.atoms == "nowhere":
        weight[:], region[:] = 0.0, 3
    energy = _patch_energies(model, keep)
    d2 = _patch_nonaffinity(model, y, types, layout.extra[keep])
    if representative:
        vertex, s_v = _outside(model)
        m_v = model.mesh.lattice[vertex]
        x_v = model.crystal.positions(m_v, s_v)
        x = np.vstack([x, x_v])
        y = np.vstack([y, _placed(model, m_v, s_v)])
        m, s = np.vstack([m, m_v]), np.concatenate([s, s_v])
        types = np.concatenate([types, layout.host_types[s_v]])
        node = np.concatenate([node, layout.sublattice_nodes[vertex, s_v]])
        weight = np.concatenate([weight, np.zeros(len(vertex))])
        region = np.concatenate([region, np.full(len(vertex), 2, dtype=np.int64)])
        energy = np.concatenate([energy, np.full(len(vertex), np.nan)])
        d2 = np.concatenate([d2, _vertex_nonaffinity(model, vertex, s_v)])
    missing = np.flatnonzero(~np.isfinite(energy))
    if len(missing):
        energy[missing] = _continuum_energies(model, m[missing], s[missing], elements)
    shift = _into_first_period(model, y)
    return AtomFields(
        symbols=np.array(model.potential.species)[types],
        positions=y - shift @ _period(model),
        reference=x - shift @ model.crystal.cell[2:3],
        region=region,
        weight=weight,
        site_energy=energy,
        nonaffinity=d2,
        node=node,
    )


def _outside(model: QuasiContinuum) -> tuple[IntArray, IntArray]:
    """Sites of the vertices' cells that are not in the patch: vertices and sublattices, (n,)."""
    layout = model.layout
    known = np.zeros(layout.sublattice_nodes.shape, dtype=bool)
    sites = ~layout.extra
    vertex = model.mesh.vertex_at(layout.lattice[sites])
    found = vertex >= 0
    known[vertex[found], layout.sublattice[sites][found]] = True
    vertex, s = np.nonzero(~known)
    return vertex, s


def _period(model: QuasiContinuum) -> Array:
    """(1, 3): the translation along the line in the deformed crystal."""
    return np.asarray(model.far_field.mean_deformation @ model.crystal.cell[2])[None]


def _into_first_period(model: QuasiContinuum, y: Array) -> Array:
    """Periods (n, 1) by which columns are shifted to lie within one period of z = 0."""
    if not model.crystal.is_columns:
        return np.zeros((len(y), 1))
    # A hair below zero stays below: neighbours in one plane would else end up a period apart.
    return np.floor(y[:, 2:] / _period(model)[0, 2] + 1e-6)


def _patch_energies(model: QuasiContinuum, keep: IntArray) -> Array:
    """Energies of the patch's sites that the model has at hand, (n,) eV; NaN elsewhere."""
    coupling = model.coupling
    terms = coupling.parts
    out = np.full(len(keep), np.nan)
    if len(keep):
        out[terms.atoms.active] = terms.atoms.site_energies(model.U)
    return out


def _continuum_energies(
    model: QuasiContinuum, m: IntArray, s: IntArray, fields: ElementFields | None
) -> Array:
    """Cauchy-Born energies of the atoms at sites, (n,) eV, by their elements."""
    fields = element_fields(model) if fields is None else fields
    mesh = model.mesh
    known = np.isfinite(fields.energy_density)
    volume = np.where(known, mesh.volumes, 0.0)
    corners = mesh.elements.shape[1]
    flat = mesh.elements.ravel()
    n = mesh.n_vertices
    mass = np.bincount(flat, np.repeat(volume, corners), n)
    element, weights = mesh.locate(m)
    # Outside the mesh there is the homogeneous crystal.
    out = model.rule.site_energies(np.asarray(model.far_field.mean_deformation)[None])[0, s]
    bulk = model.rule.site_energies(np.eye(3)[None])[0]
    inside = element >= 0
    for t in range(model.crystal.n_sublattices):
        excess = np.where(known, fields.site_energies[:, t] - bulk[t], 0.0)
        mean = np.bincount(flat, np.repeat(volume * excess, corners), n) / np.maximum(mass, 1e-300)
        rows = np.flatnonzero(inside & (s == t))
        at = np.einsum("na,na->n", weights[rows], mean[mesh.elements[element[rows]]])
        out[rows] = bulk[t] + at
    return np.asarray(out)


def _patch_nonaffinity(model: QuasiContinuum, y: Array, types: IntArray, extra: NDArray) -> Array:
    """Non-affinity of the patch's atoms, (n,), with the interpolated crystal around them."""
    if not len(y):
        return np.zeros(0)
    layout, crystal = model.layout, model.crystal
    planar = crystal.dim == 2
    points = layout.blend.centres.points
    core_set = CoreSet(points, planar=planar)
    reach = float(core_set.distance(layout.positions).max())
    # The rim gets its neighbours: sites beyond the patch, carried by the mesh and the far field.
    wide = np.column_stack(patch_sites(crystal, layout.blend, reach + 2.0 * star_reach(crystal)))
    if model.mesh.surface is not None:
        wide = wide[model.mesh.surface.layers_below(wide) >= 0]
    sites = np.column_stack([layout.lattice, layout.sublattice])[~layout.extra]
    known = {tuple(site) for site in sites.tolist()}
    outside = [site for site in wide.tolist() if tuple(site) not in known]
    rim = np.array(outside, dtype=np.int64).reshape(-1, 4)
    m, s = rim[:, :3], rim[:, 3]
    y_rim = _placed(model, m, s)
    everything = Atoms(
        np.array(model.potential.species)[np.concatenate([types, layout.host_types[s]])],
        positions=np.vstack([y, y_rim]),
    )
    if crystal.is_columns:
        everything.cell[2] = _period(model)[0]
        everything.pbc = (False, False, True)
    fit, _ = lattice_fit(everything, crystal, F=model.far_field.mean_deformation)
    return fit.d2[: len(y)]


def _vertex_nonaffinity(model: QuasiContinuum, vertex: IntArray, sublattice: IntArray) -> Array:
    """Non-affinity of sites of the continuum, (n,), by neighbours interpolated from the mesh."""
    out = np.empty(len(vertex))
    for s in range(model.crystal.n_sublattices):
        rows = np.flatnonzero(sublattice == s)
        if len(rows):
            out[rows] = _sublattice_nonaffinity(model, vertex[rows], s)
    return out


def _sublattice_nonaffinity(model: QuasiContinuum, vertex: IntArray, s: int) -> Array:
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
    model: QuasiContinuum, vertex: IntArray, s: int, star: IntArray, reach: float
) -> tuple[IntArray, Array]:
    """CSR bonds of sites of a sublattice to those of their star (k, 4), as the mesh has them."""
    own = _placed(model, model.mesh.lattice[vertex], np.full(len(vertex), s))
    sites = np.broadcast_to(star, (len(vertex), *star.shape)).copy()
    sites[:, :, :3] += model.mesh.lattice[vertex][:, None]
    # Stars overlap: each site is placed once.
    flat = sites.reshape(-1, 4)
    periods = np.zeros((len(flat), 1))
    if model.crystal.is_columns:
        periods[:, 0] = flat[:, 2]
        flat[:, 2] = 0
    unique, index = np.unique(flat, axis=0, return_inverse=True)
    y = _placed(model, unique[:, :3], unique[:, 3])
    placed = y[index.ravel()] + periods @ _period(model)
    bonds = placed.reshape(len(vertex), -1, 3) - own[:, None]
    close = np.einsum("nki,nki->nk", bonds, bonds) <= reach**2
    start = np.zeros(len(vertex) + 1, dtype=np.int64)
    np.cumsum(close.sum(axis=1), out=start[1:])
    return start, bonds[close]


def _placed(model: QuasiContinuum, m: IntArray, s: IntArray) -> Array:
    """Return current positions of sites, (n, 3) Angstrom, as nodes or the mesh carry them."""
    return model.predict(model.crystal.positions(m, s), s) + model.interpolate(m, s)


def _star(crystal: Crystal, reach: float, s: int) -> tuple[Array, IntArray]:
    """Bonds (k, 3) around a site of a sublattice; lattice coordinates and sublattices (k, 4)."""
    vectors, m, ends = crystal.star_sites(reach, s)
    return vectors, np.column_stack([m, ends])
