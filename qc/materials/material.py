"""The material contract: what a quadrature point of an element asks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qc.errors import CapabilityError
from qc.materials.bulk_expansion import BulkExpansion
from qc.potentials.base import Order

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Response(NamedTuple):
    """An energy density and its derivatives, at internal variables that are in equilibrium.

    Attributes
    ----------
    energy : (n,) float64, eV/Angstrom^3
        Per volume of the reference crystal (Angstrom^2 of a monolayer).
    stress : (n, 3, 3) float64, eV/Angstrom^3
        First Piola-Kirchhoff, ``dW/dF``.
    moduli : (n, 3, 3, 3, 3) float64, eV/Angstrom^3, or None
        ``d2W / dF_ij dF_kl``, where they were asked for.
    internal : (n, *internal_shape) float64, or None
        The internal variables that were found, if there are any.
    """

    energy: Array
    stress: Array
    moduli: Array | None = None
    internal: Array | None = None


class CellResponse(NamedTuple):
    """Energies of primitive cells and their derivatives, at given sublattice shifts.

    Attributes
    ----------
    sites : (n, n_s) float64, eV
        Site energies; for a potential that has none, the cell's energy in equal parts.
    dF : (n, 3, 3) float64, eV
        ``dE/dF`` at fixed shifts.
    dp : (n, n_s, 3) float64, eV/Angstrom
    hessian : (n, k, k) float64 or None
        Over (F row by row, shifts 1.. row by row) for "full", over the shifts 1.. for "shifts".
    """

    sites: Array
    dF: Array
    dp: Array
    hessian: Array | None

    @property
    def energy(self) -> Array:
        """Energy of the cell, (n,) eV."""
        return self.sites.sum(axis=1)


class Material(ABC):
    """An energy density as a function of the deformation gradient, with internal variables or none.

    One of one's own has `response` and `fingerprint`; the other members have defaults, which are
    true of a material without internal variables that is the same at every point.

    Attributes
    ----------
    internal_shape : tuple of int or None
        Of the internal variables of one point; None where there are none.
    """

    internal_shape: tuple[int, ...] | None = None

    @property
    def has_shifts(self) -> bool:
        """Whether the internal variables are sublattice shifts, see `at_shifts`."""
        return False

    @abstractmethod
    def response(
        self,
        f: Array,
        internal: Array | None = None,
        tangent: bool = False,
        points: slice | IntArray | None = None,
    ) -> Response:
        """Return energy density, stress and, if asked, moduli.

        Parameters
        ----------
        f : (n, 3, 3) float64
            Deformation gradients.
        internal : (n, *internal_shape) float64, optional
            What the internal variables start from.
        tangent : bool
        points : slice or (n,) int64, optional
            Which quadrature points these are, for a material that differs from one to the next; a
            state of its own, at no point, by default.

        Raises
        ------
        NonFiniteError
            A deformation gradient or result is not finite; the message names the row.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of everything the material depends on."""

    def start(self, mean: Array, f: Array) -> Array:
        """Return internal variables to start from at F (n, 3, 3) near a mean one, (n, ...).

        Zeros by default, in the shape of one sublattice's shift where there are none.
        """
        return np.zeros((len(f), *(self.internal_shape or (1, 3))))

    def at_shifts(self, f: Array, shifts: Array, order: Order = "gradient") -> CellResponse:
        """Return the energy of the primitive cell and its derivatives at given shifts.

        Where nodes carry the sublattices of a crystal with a basis, shifts are no internal
        variables but unknowns.

        Parameters
        ----------
        f : (n, 3, 3) float64
        shifts : (n, n_s, 3) float64, Angstrom
            In space: ``y = F (X + B_s) + p_s``; those of sublattice 0 are zero.
        order : {"gradient", "shifts", "full"}
            Which second derivatives are wanted; see `CellResponse`.

        Raises
        ------
        CapabilityError
            The material has no sublattices.
        """
        raise CapabilityError(f"{type(self).__name__} has no sublattices")

    def add_rest(  # noqa: B027
        self,
        f: Array,
        energy: Array,
        stress: Array,
        moduli: Array | None,
        points: slice | IntArray | None,
    ) -> None:
        """Add to densities of points, in place, what `at_shifts` leaves out; nothing by default.

        Parameters
        ----------
        f : (n, 3, 3) float64
        energy, stress, moduli
            As of a `Response`; the last may be None.
        points : slice or (n,) int64, or None
        """

    def bulk_energy(self, mean: Array, points: int) -> Array:
        """Return the energy density of a homogeneous deformation at every point, (points,)."""
        internal = self.start(mean, mean[None])
        return np.full(points, float(self.response(mean[None], internal).energy[0]))

    def expansion(self, mean: Array) -> BulkExpansion:
        """Return stress and moduli at a homogeneous deformation; see `BulkExpansion`."""
        found = self.response(mean[None], self.start(mean, mean[None]), tangent=True)
        assert found.moduli is not None
        out = BulkExpansion()
        out.add(found.stress[0], found.moduli[0])
        return out
