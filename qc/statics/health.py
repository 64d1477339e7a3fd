"""What can be wrong with a relaxed state although its forces vanish."""

from __future__ import annotations

import numpy as np

from qc.continuum import acoustic_stability
from qc.coupling import QuasiContinuum



#: Element weight from which on stability is judged.
COUNTED = 0.1


def inspect_state(model: QuasiContinuum) -> list[str]:
    """Return warnings about a state: unstable elements, a defect in the blend.

    Returns
    -------
    list of str
    """
    out = []
    coupling = model.coupling
    terms = coupling.blended if coupling.blended is not None else coupling.pure
    continuum = terms.continuum
    if len(continuum.active):
        f = continuum.deformation(model.U)
        strain = np.abs(f - np.asarray(model.far_field.mean_deformation)).max(axis=(1, 2))
        # What an element does that carries a few percent of its energy is decided by the atoms.
        strain[continuum.weights[continuum.active][continuum.point_element] < COUNTED] = -1.0
        # Only strongly strained elements can have lost ellipticity; the rest are near the bulk.
        worst = np.argsort(-strain)[: min(200, len(strain))]
        moduli = model.rule.evaluate(f[worst], tangent=True)[2]
        lowest = acoustic_stability(moduli, planar=model.crystal.dim == 2)
        if lowest.min() < 0:
            bad = worst[int(lowest.argmin())]
            element = int(continuum.active[continuum.point_element[bad]])
            x = model.mesh.positions[model.mesh.elements[element]].mean(axis=0)
            out.append(
                f"Cauchy-Born state of element {element} near ({x[0]:.1f}, {x[1]:.1f}, "
                f"{x[2]:.1f}) Angstrom is unstable: smallest acoustic eigenvalue "
                f"{lowest.min():.3g} eV/Angstrom^3"
            )
    return out
