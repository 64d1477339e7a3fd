"""A model's atoms with everything known about each: region, weight, energy, non-affinity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.coupling import QuasiContinuum
from qc.coupling.fields import ElementFields, element_fields
from qc.coupling.indicators import patch_nonaffinity, period, placed, vertex_nonaffinity
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
    d2 = patch_nonaffinity(model, y, types)
    if representative:
        vertex, s_v = _outside(model)
        m_v = model.mesh.lattice[vertex]
        x_v = model.crystal.positions(m_v, s_v)
        x = np.vstack([x, x_v])
        y = np.vstack([y, placed(model, m_v, s_v)])
        m, s = np.vstack([m, m_v]), np.concatenate([s, s_v])
        types = np.concatenate([types, layout.host_types[s_v]])
        node = np.concatenate([node, layout.sublattice_nodes[vertex, s_v]])
        weight = np.concatenate([weight, np.zeros(len(vertex))])
        region = np.concatenate([region, np.full(len(vertex), 2, dtype=np.int64)])
        energy = np.concatenate([energy, np.full(len(vertex), np.nan)])
        d2 = np.concatenate([d2, vertex_nonaffinity(model, vertex, s_v)])
    missing = np.flatnonzero(~np.isfinite(energy))
    if len(missing):
        energy[missing] = _continuum_energies(model, m[missing], s[missing], elements)
    shift = _into_firstperiod(model, y)
    return AtomFields(
        symbols=np.array(model.potential.species)[types],
        positions=y - shift @ period(model),
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


def _into_firstperiod(model: QuasiContinuum, y: Array) -> Array:
    """Periods (n, 1) by which columns are shifted to lie within one period of z = 0."""
    if not model.crystal.is_columns:
        return np.zeros((len(y), 1))
    # A hair below zero stays below: neighbours in one plane would else end up a period apart.
    return np.floor(y[:, 2:] / period(model)[0, 2] + 1e-6)


def _patch_energies(model: QuasiContinuum, keep: IntArray) -> Array:
    """Energies of the patch's sites that the model has at hand, (n,) eV; NaN elsewhere."""
    atoms = model.coupling.parts.atoms
    out = np.full(len(keep), np.nan)
    if len(keep):
        out[atoms.active] = atoms.site_energies(model.U)
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
