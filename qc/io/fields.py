"""Fields of a model on its elements and atoms, as files and pictures show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.continuum import CauchyBorn, ContinuumTerm
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

    Core elements carry no energy in the model; their fields are those the Cauchy-Born rule gives
    for the deformation of their corners.
    """
    layout, mesh = model.layout, model.mesh
    rule = CauchyBorn(model.crystal, model.potential)
    sound = _closing_elements(model)
    term = ContinuumTerm(mesh, rule, model.far_field, sound.astype(float), layout.n_nodes)
    n = len(mesh.elements)
    f = np.full((n, 3, 3), np.nan)
    points = term.deformation(model.U)
    f[term.active] = points.reshape(len(term.active), -1, 3, 3).mean(axis=1)
    gone = layout.node[layout.vacant]
    if len(gone):
        empty = np.zeros(layout.n_nodes, dtype=bool)
        empty[gone[gone >= 0]] = True
        f[empty[mesh.elements].any(axis=1)] = np.nan
    energy, stress = np.full(n, np.nan), np.full((n, 3, 3), np.nan)
    cauchy = np.full((n, 3, 3), np.nan)
    good = np.flatnonzero(_describable(f))
    if len(good):
        w, p, _ = rule.evaluate(f[good])
        det = np.linalg.det(f[good])
        energy[good], stress[good] = w - rule.evaluate(np.eye(3)[None])[0][0], p
        cauchy[good] = np.einsum("nik,njk->nij", p, f[good]) / det[:, None, None]
    f[~np.isfinite(energy)] = np.nan
    return ElementFields(f, energy, stress, cauchy, element_weights(model), element_regions(model))


def _closing_elements(model: QuasiContinuum) -> NDArray[np.bool_]:
    """Elements whose reference edges close in the slipped crystal: all but those around a core."""
    mesh, far_field = model.mesh, model.far_field
    if getattr(far_field, "is_homogeneous", False):
        return np.ones(len(mesh.elements), dtype=bool)
    d = mesh.dim
    corner = mesh.positions[mesh.elements]
    start = np.repeat(corner[:, :1], d, axis=1)
    slip = far_field.slip(start.reshape(-1, 3), corner[:, 1:].reshape(-1, 3)).reshape(-1, d, 3)
    edges = corner[:, 1:] - start
    old = np.abs(np.linalg.det(edges[..., :d]))
    new = np.linalg.det((edges + slip)[..., :d])
    return np.asarray(new > 0.06 * old)


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
