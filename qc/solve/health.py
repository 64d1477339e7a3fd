"""What can be wrong with a relaxed state although its forces vanish."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qc.coupling import QuasiContinuum
from qc.coupling.indicators import counted_nonaffinity
from qc.materials import acoustic_stability

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Element weight from which on stability is judged.
COUNTED = 0.1

#: Non-affinity from which on a site belongs to a defect, in squared nearest-neighbour distances.
#: The strain gradient of a dislocation comes to 3e-3 at two lattice constants from its core; a
#: stacking fault or a missing neighbour to 0.08 and more.
DEFECTIVE = 0.02

#: Estimated error of a defect energy that is worth a warning, eV, and as a share of it.
DOUBTFUL, DOUBTFUL_SHARE = 2e-3, 1e-3


def inspect_state(model: QuasiContinuum) -> list[str]:
    """Return warnings about a state: unstable elements, a defect in the blend or close to it."""
    return [*_unstable_elements(model), *_defect_in_blend(model)]


def _defect_in_blend(model: QuasiContinuum) -> list[str]:
    layout, blend = model.layout, model.layout.blend
    site, d2 = counted_nonaffinity(model)
    site, d2 = site[d2 > DEFECTIVE], d2[d2 > DEFECTIVE]
    if not len(site):
        return []
    distance = blend.centres.distance(layout.positions[site])
    # A core is at least a cutoff thick around what it was drawn around, whose neighbours are not
    # affine; what has gone further than these wants as much.
    margin = model.potential.cutoff
    near = distance > max(blend.core - margin, 1.05 * model.crystal.nearest_neighbour)
    if not near.any():
        return []
    wanted = math.ceil(10.0 * (float(distance.max()) + margin)) / 10.0
    advice = f"enlarge the core: model.rebuilt(core={wanted:.1f})"
    blended = layout.beta_atoms[site] > 0.0
    if blended.any():
        worst = np.flatnonzero(blended)[d2[blended].argmax()]
        head = f"a defect reaches the blending region: {blended.sum()} sites there are not affine"
    else:
        worst = distance.argmax()
        head = (
            f"a defect comes close to the blending region: {near.sum()} sites within "
            f"{margin:.1f} Angstrom of it are not affine"
        )
    x = layout.positions[site[worst]]
    return [
        f"{head}, the worst with a non-affinity of {d2[worst]:.3g} near {_place(model, x)} "
        f"Angstrom, {distance[worst]:.1f} Angstrom from the core set; {advice}"
    ]


def _place(model: QuasiContinuum, x: Array) -> str:
    """Return reference coordinates in words, those along a line within its first period."""
    z = float(x[2])
    if model.crystal.is_columns:
        period = float(model.crystal.cell[2, 2])
        z %= period
        # What rounds up to the period is at its beginning.
        z = 0.0 if z > period - 0.05 else z
    return "(" + ", ".join(f"{round(float(v), 1) + 0.0:.1f}" for v in (x[0], x[1], z)) + ")"


def coupling_error(change: float) -> float:
    """Return about how wrong the coupling makes the defect energy, eV.

    Parameters
    ----------
    change : float, eV
        Work of the change of the ghost force, the second number of `Coupling.best_energy`.

    Notes
    -----
    A rule of thumb. Against full lattices the error was 0.17 to 0.32 of that work for interstitials
    in Mg and Cu, vacancies in Si and screw dislocations in Fe and Co, at cores that differ by a
    factor of two and errors by one of twenty.
    """
    return abs(change) / 3.0


def doubt(model: QuasiContinuum, error: float | None, energy: float) -> list[str]:
    """Return a warning where the estimated error of the defect energy is large."""
    if error is None or error <= max(DOUBTFUL, DOUBTFUL_SHARE * abs(energy)):
        return []
    core = model.layout.blend.core
    return [
        f"the coupling's error of defect_energy is about {1e3 * error:.1f} meV: the strain around "
        f"the defect is large where the blend begins; enlarge the core, "
        f"model.rebuilt(core={math.ceil(13.0 * core) / 10.0:.1f})"
    ]


def _unstable_elements(model: QuasiContinuum) -> list[str]:
    continuum = model.coupling.parts.continuum
    if not len(continuum.active):
        return []
    f = continuum.deformation(model.U)
    strain = np.abs(f - np.asarray(model.far_field.mean_deformation)).max(axis=(1, 2))
    # What an element does that carries a few percent of its energy is decided by the atoms.
    strain[continuum.weights[continuum.active][continuum.point_element] < COUNTED] = -1.0
    # Only strongly strained elements can have lost ellipticity; the rest are near the bulk.
    worst = np.argsort(-strain)[: min(200, len(strain))]
    moduli = model.coupling.material.response(f[worst], tangent=True, points=worst).moduli
    assert moduli is not None
    if model.crystal.dim_lattice == 2:
        moduli = moduli[:, :2, :2, :2, :2]
    lowest = acoustic_stability(moduli, planar=model.crystal.dim == 2)
    if lowest.min() >= 0:
        return []
    bad = worst[int(lowest.argmin())]
    element = int(continuum.active[continuum.point_element[bad]])
    x = model.mesh.positions[model.mesh.elements[element]].mean(axis=0)
    return [
        f"element {element} near {_place(model, x)} Angstrom is unstable: smallest acoustic "
        f"eigenvalue {lowest.min():.3g} eV/Angstrom^3"
    ]
