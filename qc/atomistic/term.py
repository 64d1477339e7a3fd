"""The atomistic part of the energy: weighted site energies of a patch of atoms."""

from __future__ import annotations

import copy
import math

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from qc.atomistic.field import ForceField
from qc.atomistic.neighbours import VerletList
from qc.atomistic.pairs import PairList
from qc.errors import NonFiniteError
from qc.numerics.threads import Lock, locked
from qc.potentials import Bonds, Potential

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
        self._lock = Lock()
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
        self._cell, self._pbc = cell, pbc
        self._cluster = not potential.has_site_energies and hasattr(potential, "cluster_forces")
        self._field: ForceField | None = None
        self._kept: tuple[Array, Array, Array] | None = None
        if potential.pair_list != "none" and not self.empty:
            self._field = ForceField(potential, types, weights, cell, pbc, skin)
        # The list of the generic path: bonds of the active sites. It is made when first needed.
        self._list = VerletList(potential.cutoff, skin, cell=cell, pbc=pbc, rows=weights > 0)

    @locked
    def __copy__(self) -> AtomisticTerm:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._lock = Lock()
        other._list, other._field = copy.copy(self._list), copy.copy(self._field)
        return other

    @property
    def list_positions(self) -> Array | None:
        """Where the patch was when its neighbour list was made, (n, 3) Angstrom; None before.

        Sums follow the order of a list, so states agree to the last bit only with equal lists.
        """
        return self._lists.made_at

    @property
    def _lists(self) -> VerletList | PairList:
        """The list that energy and forces use."""
        return self._list if self._field is None else self._field.list

    @locked
    def make_list(self, positions: Array | None) -> None:
        """Make the neighbour list anew: at positions (n, 3) now, or for None when it is needed."""
        self._kept = None
        self._lists.reset()
        if positions is not None and not self.empty:
            self._lists.update(np.ascontiguousarray(positions, dtype=np.float64))

    def positions(self, u: Array) -> Array:
        """Return the current positions of the patch, (n, 3) Angstrom."""
        return self.y0 + self.interpolation @ u

    def _fresh(self, u: Array) -> Array:
        y = self.positions(u)
        if not np.isfinite(y).all():
            atom = int(np.nonzero(~np.isfinite(y).all(axis=1))[0][0])
            raise NonFiniteError(f"position of patch atom {atom} is not finite")
        return y

    @locked
    def _fused(self, y: Array) -> tuple[Array, Array]:
        """Energies of the active sites and forces (n, 3) by the potential's fused kernel.

        Kept, as energy and forces are asked for one after the other.
        """
        assert self._field is not None
        if self._kept is None or not np.array_equal(self._kept[0], y):
            self._kept = None
            try:
                energies, forces = self._field.energy_forces(y)
            except NonFiniteError as error:
                raise NonFiniteError(f"patch {error}") from error
            self._kept = y, energies[self.active], forces
        return self._kept[1].copy(), self._kept[2].copy()

    @locked
    def _bonds(self, y: Array) -> tuple[Bonds, IntArray, IntArray]:
        """Bonds of the active sites only, with the sites at both ends."""
        self._list.update(y)
        found = self._list.list
        # The other rows are empty.
        start = found.start[np.append(self.active, len(y))]
        j = found.neighbours
        bonds = Bonds(start, found.vectors(y), self.types[self.active], self.types[j])
        return bonds, found.sites, j

    def site_energies(self, u: Array) -> Array:
        """Unweighted energies of the active sites, (n_active,) eV."""
        if self.empty:
            return np.zeros(0)
        y = self._fresh(u)
        if self._field is not None:
            return self._fused(y)[0]
        return self.potential.site_energies(self._bonds(y)[0])

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
        n = len(self.y0)
        if self.empty:
            return np.zeros(0), np.zeros((n, 3))
        y = self._fresh(u)
        if self._cluster:
            return np.zeros(len(self.active)), self._cluster_forces(y)[1]
        if self._field is not None:
            energies, forces = self._fused(y)
        else:
            bonds, i, j = self._bonds(y)
            energies, g = self.potential.bond_gradients(bonds)
            forces = self._scatter(g, i, j)
        if not (np.isfinite(energies).all() and np.isfinite(forces).all()):
            bad = np.nonzero(~np.isfinite(forces).all(axis=1))[0]
            atom = int(bad[0]) if len(bad) else int(self.active[~np.isfinite(energies)][0])
            raise NonFiniteError(f"energy or force of patch atom {atom} is not finite")
        return self.weights[self.active] * (energies - self.reference), forces

    def _cluster_forces(self, y: Array) -> tuple[float, Array]:
        energy, forces = self.potential.cluster_forces(  # type: ignore[attr-defined]
            y, self.types, self._cell, self._pbc
        )
        return float(energy), np.asarray(forces)

    def cluster_energy(self, u: Array) -> float:
        """Total energy of the patch as a cluster, eV; for potentials without site energies."""
        return self._cluster_forces(self._fresh(u))[0]

    def _scatter(self, g: Array, i: IntArray, j: IntArray) -> Array:
        """Return the forces (n, 3) of weighted bond gradients: minus the gradient of the energy."""
        n = len(self.y0)
        pull = self.weights[i, None] * g
        out = np.empty((n, 3))
        for c in range(3):
            out[:, c] = np.bincount(i, pull[:, c], n) - np.bincount(j, pull[:, c], n)
        return out

    def forces(self, u: Array) -> Array:
        """Return the forces on the nodes, ``P^T f``, (n_nodes, 3) eV/Angstrom."""
        return self.transposed @ self.energy_forces(u)[1]

    def hessian_product(self, u: Array, du: Array) -> Array:
        """Second derivative times a displacement, atoms' rows (n, 3) eV/Angstrom."""
        if self.empty:
            return np.zeros((len(self.y0), 3))
        y, dy = self._fresh(u), self.interpolation @ du
        if self._cluster:
            product = self.potential.cluster_hessian_product(  # type: ignore[attr-defined]
                y, self.types, self._cell, self._pbc, dy
            )
            return np.asarray(product)
        bonds, i, j = self._bonds(y)
        dg = self.potential.bond_hessian_product(bonds, dy[j] - dy[i])
        return -self._scatter(dg, i, j)
