"""Perfect crystals under a potential: their bonds and energies."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qc.crystal import Crystal
from qc.crystal.bonded import require_bonds
from qc.errors import NonFiniteError
from qc.potentials import Bonds, Potential

Array = NDArray[np.float64]


def crystal_bonds(crystal: Crystal, potential: Potential, reach: float | None = None) -> Bonds:
    """Return the bonds of one primitive cell, one site for each sublattice.

    Parameters
    ----------
    crystal : Crystal
    potential : Potential
    reach : float, Angstrom, optional
        Longest bond; the cutoff by default.

    Raises
    ------
    CrystalError
        No bond is within the cutoff, and no other reach was given.
    """
    types = potential.types_of(crystal.symbols)
    if reach is None:
        require_bonds(crystal, potential)
    radius = potential.cutoff if reach is None else reach
    found = [crystal.star_sites(radius, s) for s in range(crystal.n_sublattices)]
    start = np.zeros(len(found) + 1, dtype=np.int64)
    np.cumsum([len(vectors) for vectors, _, _ in found], out=start[1:])
    far = np.concatenate([s for _, _, s in found])
    vectors = np.ascontiguousarray(np.concatenate([v for v, _, _ in found]))
    return Bonds(start, vectors, types, types[far])


def site_energies(crystal: Crystal, potential: Potential) -> Array:
    """Return the energy of one site of each sublattice, (n_s,) eV."""
    energies = potential.site_energies(crystal_bonds(crystal, potential))
    if not np.isfinite(energies).all():
        raise NonFiniteError(
            f"{type(potential).__name__}: the energy of {crystal.name} "
            f"{'-'.join(crystal.symbols)} is not finite"
        )
    return energies


def isolated_energy(potential: Potential, element: str) -> float:
    """Return the energy of one atom alone, eV."""
    types = potential.types_of([element])
    if not potential.has_site_energies:
        return float(potential.cluster_forces(np.zeros((1, 3)), types)[0])
    alone = Bonds(np.zeros(2, np.int64), np.empty((0, 3)), types, np.empty(0, int))
    return float(potential.site_energies(alone)[0])


def cohesive_energy(crystal: Crystal, potential: Potential) -> float:
    """Return the energy per atom relative to isolated atoms, eV; negative when bound."""
    alone = [isolated_energy(potential, symbol) for symbol in crystal.symbols]
    return math.fsum(site_energies(crystal, potential) - alone) / crystal.n_sublattices
