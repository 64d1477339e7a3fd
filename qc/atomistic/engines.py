"""Engines: what makes energies and forces of a patch of atoms from their positions."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from qc.atomistic.field import ForceField
from qc.atomistic.neighbours import VerletList
from qc.errors import NonFiniteError
from qc.numerics.threads import Lock, locked
from qc.potentials import Bonds, Potential

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Patch = tuple[Array | None, list[bool]]


class Engine(ABC):
    """Energies and forces of atoms of fixed types and weights in a cell that stays.

    Threads may share an engine. A copy has lists of its own, which are the same until they are
    made anew.

    Parameters
    ----------
    potential : Potential
    types : (n,) int64
    weights : (n,) float64
        Of the sites' energies; sites without weight only carry neighbours.
    cell : (3, 3) float64, Angstrom, or None
    pbc : list of three bool
    skin : float, Angstrom
        Of the neighbour list.
    """

    def __init__(
        self,
        potential: Potential,
        types: IntArray,
        weights: Array,
        cell: Array | None,
        pbc: list[bool],
        skin: float,
    ) -> None:
        self._lock = Lock()
        self.potential, self.types, self.weights = potential, types, weights
        self.cell, self.pbc = cell, pbc
        self.active = np.nonzero(weights > 0)[0]
        # Bonds of the active sites, for Hessian products; made when first needed.
        self._bond_list = VerletList(potential.cutoff, skin, cell=cell, pbc=pbc, rows=weights > 0)

    @locked
    def __copy__(self) -> Engine:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._lock, other._bond_list = Lock(), copy.copy(self._bond_list)
        return other

    @abstractmethod
    def energy_forces(self, y: Array) -> tuple[Array | None, Array]:
        """Return energies of the active sites, eV, and forces (n, 3) of their weighted sum.

        Energies are not weighted; None where there are none.
        """

    @abstractmethod
    def site_energies(self, y: Array) -> Array:
        """Return energies of the active sites alone, (n_active,) eV."""

    def total_energy(self, y: Array) -> float:
        """Return the energy of all atoms as they are, eV; of engines without site energies."""
        raise NotImplementedError(f"{type(self).__name__} sums weighted sites")

    @locked
    def hessian_product(self, y: Array, dy: Array) -> Array:
        """Return the second derivative of the weighted sum times ``dy``, (n, 3)."""
        bonds, i, j = self._bonds(y)
        return -self._scatter(self.potential.bond_hessian_product(bonds, dy[j] - dy[i]), i, j)

    @property
    def list_positions(self) -> Array | None:
        """Where the atoms were when the list of energy and forces was made; None before."""
        return self._bond_list.made_at

    @property
    def rebuilds(self) -> int:
        """How often that list was made."""
        return self._bond_list.rebuilds

    @locked
    def make_list(self, y: Array | None) -> None:
        """Make that list anew: at positions (n, 3) now, or for None when it is needed."""
        self._bond_list.reset()
        if y is not None:
            self._bond_list.update(y)

    def _bonds(self, y: Array) -> tuple[Bonds, IntArray, IntArray]:
        """Bonds of the active sites only, with the sites at both ends."""
        self._bond_list.update(y)
        found = self._bond_list.list
        # The other rows are empty.
        start = found.start[np.append(self.active, len(y))]
        j = found.neighbours
        bonds = Bonds(start, found.vectors(y), self.types[self.active], self.types[j])
        return bonds, found.sites, j

    def _scatter(self, g: Array, i: IntArray, j: IntArray) -> Array:
        """Return the forces (n, 3) of weighted bond gradients: minus the gradient of the energy."""
        n = len(self.types)
        pull = self.weights[i, None] * g
        out = np.empty((n, 3))
        for c in range(3):
            out[:, c] = np.bincount(i, pull[:, c], n) - np.bincount(j, pull[:, c], n)
        return out


class BondEngine(Engine):
    """Over bonds, which every potential with site energies offers."""

    @locked
    def energy_forces(self, y: Array) -> tuple[Array | None, Array]:
        """Return energies and forces from bond gradients; see `Engine`."""
        bonds, i, j = self._bonds(y)
        energies, g = self.potential.bond_gradients(bonds)
        return energies, self._scatter(g, i, j)

    @locked
    def site_energies(self, y: Array) -> Array:
        """Return energies of the active sites alone; see `Engine`."""
        return self.potential.site_energies(self._bonds(y)[0])


class FusedEngine(Engine):
    """Over a pair list, with the potential's fused kernel."""

    def __init__(
        self,
        potential: Potential,
        types: IntArray,
        weights: Array,
        cell: Array | None,
        pbc: list[bool],
        skin: float,
    ) -> None:
        super().__init__(potential, types, weights, cell, pbc, skin)
        self._field = ForceField(potential, types, weights, cell, pbc, skin)
        self._kept: tuple[Array, Array, Array] | None = None

    @locked
    def __copy__(self) -> Engine:
        other = super().__copy__()
        assert isinstance(other, FusedEngine)
        other._field = copy.copy(self._field)
        return other

    @locked
    def energy_forces(self, y: Array) -> tuple[Array | None, Array]:
        """Return energies and forces, kept, as they are asked for one after the other."""
        if self._kept is None or not np.array_equal(self._kept[0], y):
            self._kept = None
            try:
                energies, forces = self._field.energy_forces(y)
            except NonFiniteError as error:
                raise NonFiniteError(f"patch {error}") from error
            self._kept = y, energies[self.active], forces
        return self._kept[1].copy(), self._kept[2].copy()

    def site_energies(self, y: Array) -> Array:
        """Return energies of the active sites alone; see `Engine`."""
        energies, _ = self.energy_forces(y)
        assert energies is not None
        return energies

    @property
    def list_positions(self) -> Array | None:
        """Where the atoms were when the pair list was made; None before."""
        return self._field.list.made_at

    @property
    def rebuilds(self) -> int:
        """How often the pair list was made."""
        return self._field.rebuilds

    @locked
    def make_list(self, y: Array | None) -> None:
        """Make the pair list anew; see `Engine`."""
        self._kept = None
        self._field.list.reset()
        if y is not None:
            self._field.list.update(y)


class ClusterEngine(Engine):
    """The whole patch as a cluster, of a potential that gives no site energies.

    Whatever the weights, the forces of atoms well inside are the full ones.
    """

    def energy_forces(self, y: Array) -> tuple[Array | None, Array]:
        """Return the forces; there are no energies."""
        forces = self.potential.cluster_forces(y, self.types, self.cell, self.pbc)[1]
        return None, np.asarray(forces)

    def site_energies(self, y: Array) -> Array:
        """Refuse, as the potential does."""
        return self.potential.site_energies(self._bonds(y)[0])

    def total_energy(self, y: Array) -> float:
        """Return the energy of the cluster, eV."""
        return float(self.potential.cluster_forces(y, self.types, self.cell, self.pbc)[0])

    def hessian_product(self, y: Array, dy: Array) -> Array:
        """Return the second derivative times ``dy`` by differences of forces, (n, 3)."""
        product = self.potential.cluster_hessian_product
        return np.asarray(product(y, self.types, self.cell, self.pbc, dy))


def engine_for(
    potential: Potential,
    types: IntArray,
    weights: Array,
    cell: Array | None,
    pbc: list[bool],
    skin: float,
) -> Engine:
    """Return the quickest engine that a potential offers; parameters as of `Engine`."""
    made: type[Engine] = BondEngine if potential.pair_list == "none" else FusedEngine
    if potential.whole_patches:
        made = ClusterEngine
    return made(potential, types, weights, cell, pbc, skin)
