"""A model's atoms with everything known about each: region, weight, energy, non-affinity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from qc.coupling import QuasiContinuum
from qc.coupling.layout import patch_sites
from qc.crystal import Crystal
from qc.crystal.affine import lattice_matched, star_reach
from qc.crystal.nonaffinity import lattice_fit
from qc.io.fields import ElementFields, element_fields
from qc.mesh import CoreSet

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
        Index into `REGIONS`: core (full atoms), blend, continuum (a mesh vertex that stands for
        more atoms than itself), halo (atoms that only carry neighbours).
    weight : (n,) float64
        Weight of the site energy in the scheme.
    site_energy : (n,) float64, eV
        Energy of the atom; in halo and continuum the Cauchy-Born energy of its surroundings.
    nonaffinity : (n,) float64
        Lattice-matched D2, in squared nearest-neighbour distances.
    node : (n,) int64
        Node that the atom is, -1 where the mesh carries it.
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
        Append the mesh vertices that lie outside the patch of atoms.
    elements : ElementFields, optional
        Of the same model; taken instead of being computed.
    """
    layout = model.layout
    keep = np.flatnonzero(~layout.vacant)
    x = layout.positions[keep]
    y = model.predict(x, layout.sublattice[keep]) if len(keep) else x
    y = y + layout.interpolation[keep] @ model.U
    types, node = layout.types[keep], layout.node[keep]
    weight = 1.0 - model.scheme.weighting(layout.beta_atoms[keep])
    beta = layout.beta_atoms[keep]
    region = np.where(beta <= 0.0, 0, np.where(beta < 1.0, 1, 3)).astype(np.int64)
    if model.scheme.name == "cauchy-born":
        weight[:], region[:] = 0.0, 3
    energy = _patch_energies(model, keep)
    d2 = _patch_nonaffinity(model, y, types, layout.extra[keep])
    if representative:
        outside = np.ones(model.mesh.n_vertices, dtype=bool)
        inside = layout.node[(layout.node >= 0) & ~layout.extra]
        outside[inside[inside < len(outside)]] = False
        vertex = np.flatnonzero(outside)
        x_v = model.mesh.positions[vertex]
        x = np.vstack([x, x_v])
        y = np.vstack([y, model.predict(x_v) + model.U[vertex]])
        types = np.concatenate([types, np.full(len(vertex), layout.host_types[0])])
        node = np.concatenate([node, vertex])
        weight = np.concatenate([weight, np.zeros(len(vertex))])
        region = np.concatenate([region, np.full(len(vertex), 2, dtype=np.int64)])
        energy = np.concatenate([energy, np.full(len(vertex), np.nan)])
        d2 = np.concatenate([d2, _vertex_nonaffinity(model, vertex)])
    missing = np.flatnonzero(~np.isfinite(energy))
    if len(missing):
        energy[missing] = _continuum_energies(model, x[missing], elements)
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


def _period(model: QuasiContinuum) -> Array:
    """(1, 3): the translation along the line in the deformed crystal."""
    return np.asarray(model.far_field.mean_deformation @ model.crystal.cell[2])[None]


def _into_first_period(model: QuasiContinuum, y: Array) -> Array:
    """Periods (n, 1) by which columns are shifted to lie within one period of z = 0."""
    if model.crystal.mode != "columns":
        return np.zeros((len(y), 1))
    # A hair below zero stays below: neighbours in one plane would else end up a period apart.
    return np.floor(y[:, 2:] / _period(model)[0, 2] + 1e-6)


def _patch_energies(model: QuasiContinuum, keep: IntArray) -> Array:
    """Energies of the patch's sites that the model has at hand, (n,) eV; NaN elsewhere."""
    coupling = model.coupling
    terms = coupling.blended if coupling.blended is not None else coupling.pure
    out = np.full(len(keep), np.nan)
    if len(keep):
        out[terms.atoms.active] = terms.atoms.site_energies(model.U)
    return out


def _continuum_energies(model: QuasiContinuum, x: Array, fields: ElementFields | None) -> Array:
    """Cauchy-Born energies of atoms at reference positions, (n,) eV, by their elements."""
    fields = element_fields(model) if fields is None else fields
    mesh = model.mesh
    known = np.isfinite(fields.energy_density)
    volume = np.where(known, mesh.volumes, 0.0)
    density = np.where(known, fields.energy_density, 0.0)
    corners = mesh.elements.shape[1]
    flat = mesh.elements.ravel()
    n = mesh.n_vertices
    mass = np.bincount(flat, np.repeat(volume, corners), n)
    mean = np.bincount(flat, np.repeat(volume * density, corners), n) / np.maximum(mass, 1e-300)
    element, weights = mesh.locate(model.crystal.integer_coordinates(x)[0])
    at = np.einsum("na,na->n", weights, mean[mesh.elements[element]])
    # Outside the mesh there is the homogeneous crystal.
    rule, f = model.rule, np.asarray(model.far_field.mean_deformation)
    bulk = float(rule.site_energy(np.eye(3)[None])[0])
    far = float(rule.site_energy(f[None])[0])
    return np.where(element >= 0, bulk + at * model.crystal.site_volume, far)


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
    sites = np.column_stack([layout.lattice, layout.sublattice])[~layout.extra]
    known = {tuple(site) for site in sites.tolist()}
    outside = [site for site in wide.tolist() if tuple(site) not in known]
    rim = np.array(outside, dtype=np.int64).reshape(-1, 4)
    m, s = rim[:, :3], rim[:, 3]
    y_rim = model.predict(crystal.positions(m, s), s) + model.interpolate(m, s)
    everything = Atoms(
        np.array(model.potential.species)[np.concatenate([types, layout.host_types[s]])],
        positions=np.vstack([y, y_rim]),
    )
    if crystal.mode == "columns":
        everything.cell[2] = _period(model)[0]
        everything.pbc = (False, False, True)
    fit, _ = lattice_fit(everything, crystal, F=model.far_field.mean_deformation)
    return fit.d2[: len(y)]


def _vertex_nonaffinity(model: QuasiContinuum, vertex: IntArray) -> Array:
    """Non-affinity of continuum vertices, (n,), by neighbours interpolated from the mesh."""
    crystal, far_field = model.crystal, model.far_field
    mean = np.asarray(far_field.mean_deformation)
    reach = 1.05 * star_reach(crystal) * float(np.linalg.svd(mean, compute_uv=False).max())
    near = _star(crystal, 1.1 * reach)
    out = np.empty(len(vertex))
    slipped = np.zeros(len(vertex), dtype=bool)
    if not getattr(far_field, "is_homogeneous", False):
        x = np.repeat(model.mesh.positions[vertex], len(near), axis=0)
        ends = crystal.positions(near[:, :3], near[:, 3])
        slip = far_field.slip(x, x + np.tile(ends, (len(vertex), 1)))
        slipped = np.abs(slip).max(axis=1).reshape(len(vertex), -1).max(axis=1) > 0
    groups = [(np.flatnonzero(~slipped), near)]
    if slipped.any():
        # Behind a dislocation the neighbours of a site are those of the slipped crystal.
        further = float(np.linalg.norm(slip, axis=1).max())
        groups.append((np.flatnonzero(slipped), _star(crystal, 1.1 * reach + further)))
    for rows, star in groups:
        # Bounded pieces: a star of a hundred sites for each of many vertices is a lot of memory.
        for first in range(0, len(rows), 2000):
            piece = rows[first : first + 2000]
            start, vectors = _virtual_bonds(model, vertex[piece], star, reach)
            out[piece] = lattice_matched(start, vectors, crystal, mean).d2
    return out


def _virtual_bonds(
    model: QuasiContinuum, vertex: IntArray, star: IntArray, reach: float
) -> tuple[IntArray, Array]:
    """CSR bonds of vertices to the sites of their star (k, 4), as the mesh carries them."""
    own = model.predict(model.mesh.positions[vertex]) + model.U[vertex]
    sites = np.broadcast_to(star, (len(vertex), *star.shape)).copy()
    sites[:, :, :3] += model.mesh.lattice[vertex][:, None]
    # Stars overlap: each site is placed once.
    flat = sites.reshape(-1, 4)
    periods = np.zeros((len(flat), 1))
    if model.crystal.mode == "columns":
        periods[:, 0] = flat[:, 2]
        flat[:, 2] = 0
    unique, index = np.unique(flat, axis=0, return_inverse=True)
    m, s = unique[:, :3], unique[:, 3]
    y = model.predict(model.crystal.positions(m, s), s) + model.interpolate(m, s)
    placed = y[index.ravel()] + periods @ _period(model)
    bonds = placed.reshape(len(vertex), -1, 3) - own[:, None]
    close = np.einsum("nki,nki->nk", bonds, bonds) <= reach**2
    start = np.zeros(len(vertex) + 1, dtype=np.int64)
    np.cumsum(close.sum(axis=1), out=start[1:])
    return start, bonds[close]


def _star(crystal: Crystal, reach: float) -> IntArray:
    """Lattice coordinates and sublattices (k, 4) of the sites around one of sublattice 0."""
    _, m, s = crystal.star_sites(reach)
    return np.column_stack([m, s])
