"""Fields of a model on its elements and atoms, as files and pictures show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.continuum.term import slipped_basis, slipped_edges
from qc.coupling import QuasiContinuum
from qc.materials import CauchyBorn
from qc.materials.material import Material

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Region codes of elements and atoms, in the order of their numbers.
REGIONS = ("core", "blend", "continuum", "halo")

#: Stretches beyond which the Cauchy-Born rule says nothing about an element.
_STRETCH = (0.5, 2.0)


@dataclass(frozen=True, eq=False)
class ElementFields:
    """Fields that are constant over each element.

    Attributes
    ----------
    deformation : (n_e, 3, 3) float64
        Mean deformation gradient F.
    energy_density : (n_e,) float64, eV/Angstrom^3
        Energy density W(F) relative to the undeformed crystal, per undeformed volume: of what
        elements are made of, in the core of the Cauchy-Born rule.
    first_piola_kirchhoff, cauchy : (n_e, 3, 3) float64, eV/Angstrom^3
        Stresses, unweighted.
    weight : (n_e,) float64
        The scheme's ``omega_e``.
    region : (n_e,) int64
        Index into `REGIONS`.
    shifts : (n_e, n_s, 3) float64, Angstrom
        Sublattice shifts p: ``y = F (X + B_s) + p_s``. Those of its atoms where an element has
        atoms, relaxed ones beyond; zero in a Bravais lattice.
    site_energies : (n_e, n_s) float64, eV
        Energy of a site of each sublattice: what the Cauchy-Born rule gives it undeformed, and
        its part of W.

    Notes
    -----
    Elements with a corner at a vacant site, and elements of a dislocation core whose deformation
    the Cauchy-Born rule cannot describe, hold NaN.
    """

    deformation: Array
    energy_density: Array
    first_piola_kirchhoff: Array
    cauchy: Array
    weight: Array
    region: IntArray
    shifts: Array
    site_energies: Array


def element_fields(model: QuasiContinuum) -> ElementFields:
    """Return the fields of a model's elements, core included.

    Elements that carry energy have the deformation and the shifts it is computed from, averaged
    over their quadrature points. Core elements carry none; theirs are the affine map of the cells
    at their corners and where the atoms of these cells are.
    """
    mesh, layout, rule = model.mesh, model.layout, model.rule
    f, shifts = _corner_map(model)
    term = model.coupling.parts.continuum
    if len(term.active):
        share = term.point_volume / term.element_volumes[term.point_element]
        n, n_s = len(term.active), rule.n_sublattices
        mean, inner = np.zeros((n, 3, 3)), np.zeros((n, n_s, 3))
        np.add.at(mean, term.point_element, share[:, None, None] * term.deformation(model.U))
        f[term.active] = mean
        if rule.has_shifts:
            np.add.at(inner, term.point_element, share[:, None, None] * term.shifts(model.U))
            shifts[term.active] = inner
    gone = layout.node[layout.vacant]
    if len(gone):
        empty = np.zeros(layout.n_nodes + 1, dtype=bool)
        empty[gone[gone >= 0]] = True
        f[empty[layout.sublattice_nodes][mesh.elements].any(axis=(1, 2))] = np.nan
    n = len(mesh.elements)
    energy, stress = np.full(n, np.nan), np.full((n, 3, 3), np.nan)
    cauchy, sites = np.full((n, 3, 3), np.nan), np.full((n, rule.n_sublattices), np.nan)
    good, own = _describable(f), np.zeros(n, dtype=bool)
    own[term.active] = model.spec.material is not None
    for material, rows in ((rule, good & ~own), (model.coupling.material, good & own)):
        if not rows.any():
            continue
        energy[rows], p, sites[rows] = _response(material, rule, f[rows], shifts[rows])
        det = np.linalg.det(f[rows])
        stress[rows] = p
        cauchy[rows] = np.einsum("nik,njk->nij", p, f[rows]) / det[:, None, None]
    unknown = ~np.isfinite(energy)
    f[unknown], shifts[unknown] = np.nan, np.nan
    return ElementFields(
        f, energy, stress, cauchy, element_weights(model), element_regions(model), shifts, sites
    )


def _response(
    material: Material, rule: CauchyBorn, f: Array, shifts: Array
) -> tuple[Array, Array, Array]:
    """Energy density over the undeformed one, stress and site energies at given shifts."""
    rest = np.eye(3)[None]
    level = rule.evaluate(rest)[0][0]
    if material.has_shifts:
        found, volume = material.at_shifts(f, shifts), rule.crystal.volume
        return found.energy / volume - level, found.dF / volume, found.sites
    zero = level if material is rule else material.response(rest).energy[0]
    w, p, *_ = material.response(f)
    return w - zero, p, ((w + (level - zero)) * rule.crystal.site_volume)[:, None]


def _corner_map(model: QuasiContinuum) -> tuple[Array, Array]:
    """Affine maps (n_e, 3, 3) of the cells at the corners, and their mean shifts (n_e, n_s, 3).

    NaN where the slipped edges of a core do not close to a simplex. The period along z completes
    the map of a plane element.
    """
    mesh, layout, far_field = model.mesh, model.layout, model.far_field
    n, basis = len(mesh.elements), model.crystal.basis
    edges, ratio = slipped_edges(mesh.positions[mesh.elements], far_field, basis)
    edges = edges[:, 1:]
    y = (mesh.positions + displacement(model))[mesh.elements]
    current = y[:, 1:] - y[:, :1]
    if mesh.dim == 2:
        line = model.crystal.cell[2]
        moved = np.asarray(far_field.mean_deformation) @ line
        edges = np.concatenate([edges, np.broadcast_to(line, (n, 1, 3))], axis=1)
        current = np.concatenate([current, np.broadcast_to(moved, (n, 1, 3))], axis=1)
    # Around a core slipped edges do not close: that is what a dislocation is.
    open_ = ~(np.isnan(ratio) | (ratio > 0.06)) | (np.abs(np.linalg.det(edges)) < 1e-9)
    edges = np.where(open_[:, None, None], np.eye(3), edges)
    f = np.swapaxes(np.linalg.solve(edges, current), 1, 2)
    f[open_] = np.nan
    shifts = np.zeros((n, model.crystal.n_sublattices, 3))
    if model.rule.has_shifts:
        shifts[:] = model.rule.predictor_shifts(np.asarray(far_field.mean_deformation))
        nodes = layout.sublattice_nodes[mesh.elements]
        own = np.flatnonzero((nodes >= 0).all(axis=(1, 2)))
        at = (model.predictor() + model.U)[nodes[own]]
        vertex = mesh.elements[own]
        offsets = slipped_basis(mesh, far_field, vertex.ravel()).reshape(
            *vertex.shape, *basis.shape
        )
        affine = np.einsum("eij,easj->easi", f[own], offsets)
        shifts[own] = (at - at[:, :, :1] - affine).mean(axis=1)
    return f, shifts


def _describable(f: Array) -> NDArray[np.bool_]:
    finite = np.asarray(np.isfinite(f).all(axis=(1, 2)))
    safe = np.where(finite[:, None, None], f, np.eye(3))
    stretch = np.linalg.svd(safe, compute_uv=False)
    low, high = _STRETCH
    inside = (stretch.min(axis=1) > low) & (stretch.max(axis=1) < high)
    return finite & inside & (np.linalg.det(safe) > 0)


def element_weights(model: QuasiContinuum) -> Array:
    """Return the scheme's ``omega_e``, (n_e,); for blended forces the mean of beta."""
    blended = model.coupling.blended
    if blended is not None:
        return np.asarray(blended.continuum.weights, dtype=np.float64)
    return np.asarray(model.coupling.beta_nodes[model.mesh.elements].mean(axis=1))


def element_regions(model: QuasiContinuum) -> IntArray:
    """Return the region of each element, an index into `REGIONS`."""
    corners = model.layout.beta_nodes[model.mesh.elements]
    if model.scheme.atoms == "everywhere":
        return np.zeros(len(corners), dtype=np.int64)
    if model.scheme.atoms == "nowhere":
        return np.full(len(corners), 2, dtype=np.int64)
    out = np.ones(len(corners), dtype=np.int64)
    out[corners.max(axis=1) <= 0.0] = 0
    out[corners.min(axis=1) >= 1.0] = 2
    return out


def flat_positions(model: QuasiContinuum) -> Array:
    """Return the reference positions of the vertices, (n, 3); columns at z = 0."""
    x = model.mesh.positions.copy()
    if model.crystal.dim == 2:
        x[:, 2] = 0.0
    return x


def displacement(model: QuasiContinuum) -> Array:
    """Return ``y - X`` of the vertices, (n_vertices, 3) Angstrom.

    With a basis, of the cells at the vertices: the mean over the sites that hold an atom.
    """
    x = model.mesh.positions
    if model.crystal.is_bravais:
        return model.far_field.displacement(x) + model.U[: len(x)]
    return cell_mean(model, model.predictor() + model.U - model.layout.node_positions)


def cell_mean(model: QuasiContinuum, values: Array) -> Array:
    """Average nodal values (n_nodes, ...) over the occupied sites of each vertex's cell."""
    nodes = model.layout.sublattice_nodes
    held = nodes >= 0
    kept = held & model.occupied[nodes]
    kept = np.where(kept.any(axis=1, keepdims=True), kept, held)
    share = kept / kept.sum(axis=1, keepdims=True)
    return np.asarray(np.einsum("vs,vs...->v...", share, values[nodes]))


def green_strain(deformation: Array) -> Array:
    """Return the Green-Lagrange strain ``(F^T F - I) / 2``, (n, 3, 3)."""
    return 0.5 * (np.einsum("nki,nkj->nij", deformation, deformation) - np.eye(3))
