"""Site energies and forces of a potential with a fused kernel, in the caller's order of atoms."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.atomistic import pair_kernels
from qc.atomistic.pairs import PairList
from qc.errors import CapabilityError, InputError, NonFiniteError
from qc.numerics.threads import Lock, locked
from qc.potentials import Potential
from qc.potentials.checks import check_types

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


class ForceField:
    """A potential's fused kernel over atoms of fixed types and weights, with the list it needs.

    Parameters
    ----------
    potential : Potential
        One whose `pair_list` is not "none".
    types : (n,) int64
        Species indices of the potential, in the caller's order of atoms.
    weights : (n,) float64, optional
        Site weights, 1 by default.
    cell : (3, 3) float, Angstrom, optional
    pbc : bool or three bools
    skin : float, Angstrom
        As in `PairList`.

    Raises
    ------
    CapabilityError
        A potential without a fused kernel.
    InputError
        Weights that do not fit the types or are not finite, and as `PairList`.
    UnknownSpeciesError
        A type that the potential does not have; the message names the atom.

    Notes
    -----
    Threads may share a field: one evaluates, the others wait. A copy has a list of its own.
    """

    def __init__(
        self,
        potential: Potential,
        types: IntArray,
        weights: Array | None = None,
        cell: ArrayLike | None = None,
        pbc: bool | Sequence[bool] | NDArray[np.bool_] = False,
        skin: float = 0.5,
    ) -> None:
        if potential.pair_list == "none":
            raise CapabilityError(f"{type(potential).__name__} has no fused kernel")
        self._lock = Lock()
        self.potential = potential
        self._types = np.array(types, dtype=np.int64)
        check_types(potential, self._types, "atom")
        n = len(self._types)
        self._weights = np.ones(n) if weights is None else np.array(weights, dtype=np.float64)
        if self._weights.shape != (n,):
            raise InputError(f"weights of shape {self._weights.shape} for {n} atoms")
        if not np.isfinite(self._weights).all():
            atom = int(np.argmin(np.isfinite(self._weights)))
            raise InputError(f"weight of atom {atom} is not finite: {self._weights[atom]}")
        self._seen = 0
        weighted = self._weights != 0.0
        self.list = PairList(
            potential.pair_list,
            potential.cutoff,
            skin,
            cell,
            pbc,
            None if weighted.all() else weighted,
        )

    @locked
    def __copy__(self) -> ForceField:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._lock, other.list = Lock(), copy.copy(self.list)
        return other

    @property
    def rebuilds(self) -> int:
        """Number of times the list was made."""
        return self.list.rebuilds

    @locked
    def energy_forces(
        self,
        positions: ArrayLike,
        cell: ArrayLike | None = None,
        pbc: bool | Sequence[bool] | NDArray[np.bool_] | None = None,
        virial: Array | None = None,
    ) -> tuple[Array, Array]:
        """Return site energies and the forces of ``E = sum_i w_i V_i``.

        Parameters
        ----------
        positions : (n, 3) float, Angstrom
        cell, pbc
            As in `PairList.update`: None keeps what was there.
        virial : (3, 3) float64, optional
            Filled with ``dE/dF`` at F = I, eV, if the potential has `fused_virial`.

        Returns
        -------
        energies : (n,) float64, eV
            ``V_i``, not multiplied by the weight; zero where the weight is zero.
        forces : (n, 3) float64, eV/Angstrom

        Raises
        ------
        InputError
            As `PairList.update`, and a number of atoms other than that of the types.
        NonFiniteError
            A site energy or force is NaN or infinite; the message names the atom.
        """
        shape = np.shape(positions)
        if shape != (len(self._types), 3):
            raise InputError(f"positions must have shape ({len(self._types)}, 3), got {shape}")
        found = self.list
        found.update(positions, cell, pbc)
        if self._seen != found.rebuilds:
            self._seen = found.rebuilds
            rows = found.order[found.pairs.owners]
            self._row_types, self._row_weights = self._types[rows], self._weights[rows]
        try:
            sorted_energies, sorted_forces = self.potential.energy_forces(
                found.positions,
                self._row_types,
                self._row_weights,
                found.pairs,
                *(() if virial is None else (virial,)),
            )
        except InputError as error:
            # The kernel counts rows of the list, which mean nothing to the caller.
            found.check_distinct()
            raise error
        energies, forces = np.empty(len(self._types)), np.empty((len(self._types), 3))
        if pair_kernels.scatter(found.order, sorted_energies, sorted_forces, energies, forces):
            found.check_distinct()
            finite = np.isfinite(energies) & np.isfinite(forces).all(axis=1)
            if not finite.all():
                atom = int(np.argmin(finite))
                raise NonFiniteError(
                    f"atom {atom} has energy {energies[atom]} eV and force "
                    f"{forces[atom].tolist()} eV/Angstrom from {type(self.potential).__name__}"
                )
        return energies, forces
