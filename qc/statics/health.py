"""What can be wrong with a relaxed state although its forces vanish."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qc.atomistic.neighbours import neighbour_list
from qc.continuum import acoustic_stability
from qc.coupling import QuasiContinuum
from qc.crystal.affine import lattice_matched, star_reach

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Element weight from which on stability is judged.
COUNTED = 0.1

#: Non-affinity from which on a site belongs to a defect, in squared nearest-neighbour distances.
#: The strain gradient of a dislocation comes to 3e-3 at two lattice constants from its core; a
#: stacking fault or a missing neighbour to 0.08 and more.
DEFECTIVE = 0.02


def inspect_state(model: QuasiContinuum) -> list[str]:
    """Return warnings about a state: unstable elements, a defect in the blend.

    Returns
    -------
    list of str
    """
    return [*_unstable_elements(model), *_defect_in_blend(model)]


def blend_nonaffinity(model: QuasiContinuum) -> tuple[IntArray, Array]:
    """Return the non-affinity of the sites in the blending region against the lattice.

    Sites at a free surface are left out.

    Returns
    -------
    site : (n,) int64
        Indices into the atoms of ``model.layout``; empty where nothing is blended.
    d2 : (n,) float64
        In squared nearest-neighbour distances; see `qc.nonaffinity`.
    """
    layout, coupling = model.layout, model.coupling
    beta = layout.beta_atoms
    if model.scheme.name in ("atomistic", "cauchy-born") or not len(beta):
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    terms = coupling.blended if coupling.blended is not None else coupling.pure
    present = np.nonzero(~layout.vacant)[0]
    rows = (beta[present] > 0.0) & (beta[present] < 1.0)
    mean = np.asarray(model.far_field.mean_deformation)
    if model.mesh.surface is not None:
        # Sites at a surface miss neighbours, and are no defects.
        depth = model.mesh.surface.depth(layout.positions[present])
        rows &= depth > star_reach(model.crystal)
    stretch = float(np.linalg.norm(mean, 2))
    y = terms.atoms.positions(model.U)
    cell, pbc = None, [False, False, False]
    if model.crystal.mode == "columns":
        cell, pbc = np.diag([1.0, 1.0, 0.0]), [False, False, True]
        cell[2] = mean @ model.crystal.cell[2]
    reach = 1.05 * stretch * star_reach(model.crystal)
    bonds = neighbour_list(y, reach, cell, pbc, rows)
    start = np.append(0, np.cumsum(np.diff(bonds.start)[rows]))
    return present[rows], lattice_matched(start, bonds.vectors(y), model.crystal, mean).d2


def _defect_in_blend(model: QuasiContinuum) -> list[str]:
    site, d2 = blend_nonaffinity(model)
    bad = np.nonzero(d2 > DEFECTIVE)[0]
    if not len(bad):
        return []
    worst = int(site[d2.argmax()])
    x = model.layout.positions[worst]
    distance = float(model.layout.blend.centres.distance(x[None])[0])
    return [
        f"a defect reaches the blending region: {len(bad)} sites there are not affine, the worst "
        f"with a non-affinity of {d2.max():.3g} near ({x[0]:.1f}, {x[1]:.1f}, {x[2]:.1f}) "
        f"Angstrom, {distance:.1f} Angstrom from the core set; enlarge the core"
    ]


def _unstable_elements(model: QuasiContinuum) -> list[str]:
    coupling = model.coupling
    terms = coupling.blended if coupling.blended is not None else coupling.pure
    continuum = terms.continuum
    if not len(continuum.active):
        return []
    f = continuum.deformation(model.U)
    strain = np.abs(f - np.asarray(model.far_field.mean_deformation)).max(axis=(1, 2))
    # What an element does that carries a few percent of its energy is decided by the atoms.
    strain[continuum.weights[continuum.active][continuum.point_element] < COUNTED] = -1.0
    # Only strongly strained elements can have lost ellipticity; the rest are near the bulk.
    worst = np.argsort(-strain)[: min(200, len(strain))]
    moduli = model.rule.evaluate(f[worst], tangent=True)[2]
    assert moduli is not None
    if model.crystal.mode == "monolayer":
        moduli = moduli[:, :2, :2, :2, :2]
    lowest = acoustic_stability(moduli, planar=model.crystal.dim == 2)
    if lowest.min() >= 0:
        return []
    bad = worst[int(lowest.argmin())]
    element = int(continuum.active[continuum.point_element[bad]])
    x = model.mesh.positions[model.mesh.elements[element]].mean(axis=0)
    return [
        f"Cauchy-Born state of element {element} near ({x[0]:.1f}, {x[1]:.1f}, {x[2]:.1f}) "
        f"Angstrom is unstable: smallest acoustic eigenvalue {lowest.min():.3g} eV/Angstrom^3"
    ]
