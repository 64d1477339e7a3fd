"""Fields of a model on its elements and atoms, as files and pictures show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.continuum import CauchyBorn, ContinuumTerm
from qc.continuum.term import slipped_edges
from qc.coupling import QuasiContinuum

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
        Cauchy-Born energy density W(F) relative to the undeformed crystal, per undeformed volume.
    first_piola_kirchhoff, cauchy : (n_e, 3, 3) float64, eV/Angstrom^3
        Stresses of the unweighted Cauchy-Born rule.
    weight : (n_e,) float64
        The scheme's ``omega_e``.
    region : (n_e,) int64
        Index into `REGIONS`.

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


def element_fields(model: QuasiContinuum) -> ElementFields:
    """Return the fields of a model's elements, core included.

    Elements that carry energy have the deformation it is computed from, averaged over their
    quadrature points. Core elements carry none; theirs is the affine map of their corners.
    """
    mesh, layout = model.mesh, model.layout
    rule = CauchyBorn(model.crystal, model.potential)
    weight = element_weights(model)
    edges, closing = _reference_edges(model)
    f = _corner_map(model, edges)
    f[~closing] = np.nan
    term = ContinuumTerm(
        mesh, rule, model.far_field, weight * closing, layout.n_nodes, layout.sublattice_nodes
    )
    if len(term.active):
        share = term.point_volume / term.element_volumes[term.point_element]
        mean = np.zeros((len(term.active), 3, 3))
        np.add.at(mean, term.point_element, share[:, None, None] * term.deformation(model.U))
        f[term.active] = mean
    gone = layout.node[layout.vacant]
    if len(gone):
        empty = np.zeros(layout.n_nodes, dtype=bool)
        empty[gone[gone >= 0]] = True
        f[empty[mesh.elements].any(axis=1)] = np.nan
    n = len(mesh.elements)
    energy, stress = np.full(n, np.nan), np.full((n, 3, 3), np.nan)
    cauchy = np.full((n, 3, 3), np.nan)
    good = np.flatnonzero(_describable(f))
    if len(good):
        w, p, _ = rule.evaluate(f[good])
        det = np.linalg.det(f[good])
        energy[good], stress[good] = w - rule.evaluate(np.eye(3)[None])[0][0], p
        cauchy[good] = np.einsum("nik,njk->nij", p, f[good]) / det[:, None, None]
    f[~np.isfinite(energy)] = np.nan
    return ElementFields(f, energy, stress, cauchy, weight, element_regions(model))


def _reference_edges(model: QuasiContinuum) -> tuple[Array, NDArray[np.bool_]]:
    """Edges (n_e, d, 3) in the slipped crystal, and which elements they close to a simplex."""
    edges, ratio = slipped_edges(model.mesh.positions[model.mesh.elements], model.far_field)
    # Around a core they do not: that is what a dislocation is.
    return edges[:, 1:], np.isnan(ratio) | (ratio > 0.06)


def _corner_map(model: QuasiContinuum, edges: Array) -> Array:
    """Affine maps (n_e, 3, 3) of reference edges to current ones; the period along z completes."""
    mesh = model.mesh
    y = (model.predictor() + model.U)[mesh.elements]
    current = y[:, 1:] - y[:, :1]
    if mesh.dim == 2:
        n = len(edges)
        line = model.crystal.cell[2]
        moved = np.asarray(model.far_field.mean_deformation) @ line
        edges = np.concatenate([edges, np.broadcast_to(line, (n, 1, 3))], axis=1)
        current = np.concatenate([current, np.broadcast_to(moved, (n, 1, 3))], axis=1)
    flat = np.abs(np.linalg.det(edges)) < 1e-9
    edges = np.where(flat[:, None, None], np.eye(3), edges)
    f = np.swapaxes(np.linalg.solve(edges, current), 1, 2)
    f[flat] = np.nan
    return f


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
    if model.scheme.name == "atomistic":
        return np.zeros(len(corners), dtype=np.int64)
    if model.scheme.name == "cauchy-born":
        return np.full(len(corners), 2, dtype=np.int64)
    out = np.ones(len(corners), dtype=np.int64)
    out[corners.max(axis=1) <= 0.0] = 0
    out[corners.min(axis=1) >= 1.0] = 2
    return out


def flat_positions(model: QuasiContinuum) -> Array:
    """Return the reference positions of the vertices, (n, 3); columns at z = 0."""
    x = model.mesh.positions.copy()
    if model.crystal.mode != "3d":
        x[:, 2] = 0.0
    return x


def displacement(model: QuasiContinuum) -> Array:
    """Return ``y - X`` of the vertices, (n_vertices, 3) Angstrom."""
    x = model.mesh.positions
    return model.far_field.displacement(x) + model.U[: len(x)]


def green_strain(deformation: Array) -> Array:
    """Return the Green-Lagrange strain ``(F^T F - I) / 2``, (n, 3, 3)."""
    return 0.5 * (np.einsum("nki,nkj->nij", deformation, deformation) - np.eye(3))
