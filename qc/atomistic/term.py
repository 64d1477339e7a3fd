"""The atomistic part of the energy: weighted site energies of a patch of atoms."""

from __future__ import annotations

import copy
import math

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from qc.atomistic.engines import Engine, engine_for
from qc.errors import NonFiniteError
from qc.potentials import Potential

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


class AtomisticTerm:
    """``sum_i w_i [V_i(y) - V_reference]`` with ``y = y0 + P U``.

    Parameters
    ----------
    potential : Potential
    positions : (n, 3) float64, Angstrom
        Predictor positions ``y0`` of the patch.
    types : (n,) int64
    weights : (n,) float64
        Site weights; sites of zero weight only carry neighbours.
    interpolation : (n, n_nodes) csr_matrix
        ``P``: identity rows for atoms that are nodes, shape functions for constrained ones.
    reference : float or (n_active,) float64, eV
        Energy that counts as zero for every site with weight.
    period : (3,) float64, optional
        Translation along the line in 2.5D.
    skin : float, Angstrom
        Of the neighbour list.

    Notes
    -----
    A potential without site energies gives the forces of the whole patch as a cluster (periodic
    along the line in 2.5D), whatever the weights; those of atoms well inside are the full ones.

    Threads may share a term. A copy has lists of its own, which are the same until they are made
    anew.
    """

    def __init__(
        self,
        potential: Potential,
        positions: Array,
        types: IntArray,
        weights: Array,
        interpolation: sp.csr_matrix,
        reference: float | Array,
        period: Array | None = None,
        skin: float = 0.5,
    ) -> None:
        self.potential = potential
        self.y0, self.types, self.weights = positions, types, weights
        self.interpolation = interpolation
        self.transposed = interpolation.T.tocsr()
        self.reference = reference
        self.active = np.nonzero(weights > 0)[0]
        self.empty = len(self.active) == 0
        cell, pbc = None, [False, False, False]
        if period is not None:
            cell, pbc = np.diag([1.0, 1.0, 0.0]), [False, False, True]
            cell[2] = period
        self.engine: Engine | None = None
        if not self.empty:
            self.engine = engine_for(potential, types, weights, cell, pbc, skin)

    def __copy__(self) -> AtomisticTerm:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.engine = copy.copy(self.engine)
        return other

    @property
    def list_positions(self) -> Array | None:
        """Where the patch was when its neighbour list was made, (n, 3) Angstrom; None before.

        Sums follow the order of a list, so states agree to the last bit only with equal lists.
        """
        return None if self.engine is None else self.engine.list_positions

    def make_list(self, positions: Array | None) -> None:
        """Make the neighbour list anew: at positions (n, 3) now, or for None when it is needed."""
        if self.engine is not None:
            at = positions
            if at is not None:
                at = np.ascontiguousarray(at, dtype=np.float64)
            self.engine.make_list(at)

    def positions(self, u: Array) -> Array:
        """Return the current positions of the patch, (n, 3) Angstrom."""
        return self.y0 + self.interpolation @ u

    def _fresh(self, u: Array) -> Array:
        y = self.positions(u)
        if not np.isfinite(y).all():
            atom = int(np.nonzero(~np.isfinite(y).all(axis=1))[0][0])
            raise NonFiniteError(f"position of patch atom {atom} is not finite")
        return y

    def site_energies(self, u: Array) -> Array:
        """Unweighted energies of the active sites, (n_active,) eV."""
        if self.engine is None:
            return np.zeros(0)
        return self.engine.site_energies(self._fresh(u))

    def energy(self, u: Array) -> float:
        """Energy relative to the reference, eV."""
        terms = self.weights[self.active] * (self.site_energies(u) - self.reference)
        return math.fsum(terms)

    def energy_forces(self, u: Array) -> tuple[Array, Array]:
        """Weighted site energies (n_active,) relative to the reference, and forces on atoms (n, 3).

        Raises
        ------
        NonFiniteError
            A force or energy is not finite; the message names the atom.
        """
        if self.engine is None:
            return np.zeros(0), np.zeros((len(self.y0), 3))
        energies, forces = self.engine.energy_forces(self._fresh(u))
        if energies is None:
            return np.zeros(len(self.active)), forces
        if not (np.isfinite(energies).all() and np.isfinite(forces).all()):
            bad = np.nonzero(~np.isfinite(forces).all(axis=1))[0]
            atom = int(bad[0]) if len(bad) else int(self.active[~np.isfinite(energies)][0])
            raise NonFiniteError(f"energy or force of patch atom {atom} is not finite")
        return self.weights[self.active] * (energies - self.reference), forces

    def cluster_energy(self, u: Array) -> float:
        """Total energy of the patch as a cluster, eV; for potentials without site energies."""
        return 0.0 if self.engine is None else self.engine.total_energy(self._fresh(u))

    def forces(self, u: Array) -> Array:
        """Return the forces on the nodes, ``P^T f``, (n_nodes, 3) eV/Angstrom."""
        return self.transposed @ self.energy_forces(u)[1]

    def hessian_product(self, u: Array, du: Array) -> Array:
        """Second derivative times a displacement, atoms' rows (n, 3) eV/Angstrom."""
        if self.engine is None:
            return np.zeros((len(self.y0), 3))
        return self.engine.hessian_product(self._fresh(u), self.interpolation @ du)
