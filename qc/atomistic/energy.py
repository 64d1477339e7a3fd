"""Energy, forces and virial of any potential over a neighbour list, with a weight on each site."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qc.atomistic.neighbours import NeighbourList
from qc.errors import NonFiniteError
from qc.potentials import Bonds, Potential

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


def site_bonds(positions: Array, types: IntArray, neighbours: NeighbourList) -> Bonds:
    """Return the environments of all sites, (n, 3) positions in Angstrom, as bonds."""
    return Bonds(
        neighbours.start, neighbours.vectors(positions), types, types[neighbours.neighbours]
    )


def energy_forces(
    potential: Potential,
    positions: Array,
    types: IntArray,
    neighbours: NeighbourList,
    weights: Array | None = None,
) -> tuple[Array, Array]:
    """Return site energies and the forces of ``E = sum_i w_i V_i``.

    From the potential's bond gradients: the way for potentials without a fused kernel, and what
    `ForceField` is checked against.

    Parameters
    ----------
    potential : Potential
    positions : (n, 3) float64, Angstrom
    types : (n,) int64
        Species indices of the potential.
    neighbours : NeighbourList
        At least as long as the potential's cutoff.
    weights : (n,) float64, optional
        Site weights, 1 by default. Rows of sites without weight may be empty.

    Returns
    -------
    energies : (n,) float64, eV
        ``V_i``, not multiplied by the weight; zero where the weight is zero.
    forces : (n, 3) float64, eV/Angstrom

    Raises
    ------
    NonFiniteError
        A site energy or force is NaN or infinite; the message names the atom.
    """
    w = np.ones(len(positions)) if weights is None else weights
    energies, forces = _from_bond_gradients(potential, positions, types, neighbours, w)
    finite = np.isfinite(energies) & np.isfinite(forces).all(axis=1)
    if not finite.all():
        atom = int(np.nonzero(~finite)[0][0])
        raise NonFiniteError(
            f"atom {atom} has energy {energies[atom]} eV and force {forces[atom].tolist()} "
            f"eV/Angstrom from {type(potential).__name__}"
        )
    return energies, forces


def _from_bond_gradients(
    potential: Potential,
    positions: Array,
    types: IntArray,
    neighbours: NeighbourList,
    weights: Array,
) -> tuple[Array, Array]:
    n = len(positions)
    energies, gradients = potential.bond_gradients(site_bonds(positions, types, neighbours))
    pull = weights[neighbours.sites, None] * gradients
    forces = np.empty((n, 3))
    for c in range(3):
        forces[:, c] = np.bincount(neighbours.sites, pull[:, c], n)
        forces[:, c] -= np.bincount(neighbours.neighbours, pull[:, c], n)
    return np.where(weights == 0, 0.0, energies), forces


def virial(
    potential: Potential,
    positions: Array,
    types: IntArray,
    neighbours: NeighbourList,
    weights: Array | None = None,
) -> Array:
    """Return ``dE/dF`` at F = I for a homogeneous deformation of atoms and cell, (3, 3) eV.

    ``sum_i w_i sum_b g_b (x) R_b``; divided by the volume it is the Cauchy stress. It is
    symmetric, as the energy does not change with a rotation.

    Raises
    ------
    NonFiniteError
        A component is NaN or infinite.
    """
    bonds = site_bonds(positions, types, neighbours)
    gradients = potential.bond_gradients(bonds)[1]
    if weights is not None:
        gradients = weights[bonds.sites, None] * gradients
    total = gradients.T @ bonds.vectors
    if not np.isfinite(total).all():
        raise NonFiniteError(f"virial of {type(potential).__name__} is not finite")
    return total
