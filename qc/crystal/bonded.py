"""Whether a potential reaches from one atom of a crystal to the next."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.crystal.crystal import Crystal
from qc.errors import CrystalError
from qc.potentials import Potential

Array = NDArray[np.float64]

#: Angstrom; nearest neighbours of crystals are between these apart.
USUAL = 0.9, 7.0

#: Stretch from which on the mean deformation is to blame.
GREAT = 1.5


def nearest_distance(crystal: Crystal, deformation: ArrayLike | None = None) -> float:
    """Return the distance of nearest neighbours in the deformed crystal, Angstrom.

    Parameters
    ----------
    crystal : Crystal
    deformation : (3, 3) array_like, optional
        None by default.
    """
    spacing = crystal.nearest_neighbour
    if deformation is None:
        return spacing
    f = np.asarray(deformation, dtype=float)
    stretches = np.linalg.svd(f, compute_uv=False)
    # A bond that is shortest afterwards was no longer than this before.
    reach = spacing * min(float(stretches[0] / max(stretches[-1], 1e-300)), 10.0)
    stars = [crystal.star(reach, s) for s in range(crystal.n_sublattices)]
    return min(float(np.linalg.norm(star @ f.T, axis=1).min()) for star in stars)


def require_bonds(
    crystal: Crystal, potential: Potential, deformation: ArrayLike | None = None
) -> None:
    """Refuse a crystal whose atoms do not reach each other: all its energies would be zero.

    Parameters
    ----------
    crystal : Crystal
    potential : Potential
    deformation : (3, 3) array_like, optional
        Mean deformation gradient; none by default.

    Raises
    ------
    CrystalError
        Nearest neighbours are a cutoff or more apart; the message names both, and the unit where a
        factor of ten explains it.
    """
    distance = nearest_distance(crystal, deformation)
    if distance < potential.cutoff:
        return
    spacing = crystal.nearest_neighbour
    low, high = USUAL
    hint = ""
    if deformation is not None and distance > GREAT * spacing:
        hint = f"; the mean deformation stretches them {distance / spacing:.3g} times"
    elif distance < 10.0 * potential.cutoff:
        # Which of the two a factor of ten brings to its usual size.
        if low <= spacing <= high:
            hint = "; lengths are in Angstrom: is the cutoff in nm?"
        elif low <= 0.1 * spacing <= high:
            hint = "; lengths are in Angstrom: is the lattice constant ten times too long?"
    elements = "-".join(dict.fromkeys(crystal.symbols))
    raise CrystalError(
        f"no bond of {crystal.name} {elements} is within the cutoff of "
        f"{type(potential).__name__}: nearest neighbours are {distance:.4g} Angstrom apart, the "
        f"cutoff is {potential.cutoff:.4g} Angstrom{hint}"
    )
