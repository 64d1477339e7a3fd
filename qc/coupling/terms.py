"""Terms of a model's energy: what a coupling is the sum of, in rows of nodes."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from qc.atomistic.term import AtomisticTerm
from qc.continuum import ContinuumTerm
from qc.coupling.layout import Layout
from qc.coupling.predictor import Predictor
from qc.errors import CapabilityError

Array = NDArray[np.float64]


class Term(ABC):
    """A part of the energy as a function of the displacements U of the nodes, (n_nodes, 3).

    Forces are minus its gradient, held nodes included: what holds them is the coupling's business,
    as are locks. Arrays that are returned are the caller's.
    """

    @abstractmethod
    def energies(self, u: Array) -> Array:
        """Return the addends of the energy, (k,) eV."""

    @abstractmethod
    def energy_forces(self, u: Array) -> tuple[Array, Array]:
        """Return addends of the energy (k,), eV, and forces (n_nodes, 3), eV/Angstrom."""

    @abstractmethod
    def hessian_product(self, u: Array, du: Array) -> Array:
        """Return the second derivative times ``du``, (n_nodes, 3) eV/Angstrom."""

    def forces(self, u: Array) -> Array:
        """Return the forces alone, (n_nodes, 3) eV/Angstrom."""
        return self.energy_forces(u)[1]

    def places(self, u: Array) -> tuple[Array, Array]:
        """Return where the energy is: reference positions (k, 3) and addends (k,).

        For the books of remeshing; nowhere by default.
        """
        return np.zeros((0, 3)), np.zeros(0)

    def round_off(self, u: Array) -> float:
        """Return a bound on the round-off of the energy, eV; none by default."""
        return 0.0

    def described(self) -> list[object]:
        """Return what tells this term from another in the fingerprint of a model."""
        return [type(self).__qualname__]

    def memory(self) -> dict[str, Array]:
        """Return what the next evaluation depends on besides U, to the last bit."""
        return {}

    def remember(self, memory: Mapping[str, Array]) -> None:  # noqa: B027
        """Take what `memory` gave; nothing by default."""

    def __copy__(self) -> Term:
        """Return a term that shares nothing that an evaluation changes."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other


class Sites(Term):
    """``sum_i w_i [V_i - V_bulk]``, the weighted site energies of the patch of atoms.

    Parameters
    ----------
    atoms : AtomisticTerm
    node : (n,) int64
        Node of each of its atoms, -1 where it is constrained.
    """

    def __init__(self, atoms: AtomisticTerm, node: NDArray[np.int64]) -> None:
        self.atoms, self.node = atoms, node

    def __copy__(self) -> Sites:
        return Sites(copy.copy(self.atoms), self.node)

    def energies(self, u: Array) -> Array:
        """See `Term`."""
        active = self.atoms.active
        return self.atoms.weights[active] * (self.atoms.site_energies(u) - self.atoms.reference)

    def energy_forces(self, u: Array) -> tuple[Array, Array]:
        """See `Term`."""
        energies, pull = self.atoms.energy_forces(u)
        return energies, self.atoms.transposed @ pull

    def hessian_product(self, u: Array, du: Array) -> Array:
        """See `Term`."""
        return self.atoms.transposed @ self.atoms.hessian_product(u, du)

    def own_forces(self, u: Array) -> Array:
        """Return the force on each node's own atom, (n_nodes, 3)."""
        return self._own(self.atoms.energy_forces(u)[1])

    def own_hessian_product(self, u: Array, du: Array) -> Array:
        """Return the change of `own_forces` along ``du``, with the other sign, (n_nodes, 3)."""
        return self._own(self.atoms.hessian_product(u, du))

    def _own(self, per_atom: Array) -> Array:
        out = np.zeros((self.atoms.interpolation.shape[1], 3))
        has = self.node >= 0
        out[self.node[has]] = per_atom[has]
        return out

    def round_off(self, u: Array) -> float:
        """See `Term`."""
        active = self.atoms.active
        size = np.abs(self.atoms.site_energies(u)) + np.abs(self.atoms.reference)
        return float(np.finfo(float).eps * (self.atoms.weights[active] @ size))

    def memory(self) -> dict[str, Array]:
        """See `Term`."""
        made = self.atoms.list_positions
        return {} if made is None else {"list": made}

    def remember(self, memory: Mapping[str, Array]) -> None:
        """See `Term`."""
        self.atoms.make_list(memory.get("list"))


class Elements(Term):
    """``sum_e omega_e v_e [W(F_e) - W_bulk]``, the weighted elements."""

    def __init__(self, continuum: ContinuumTerm) -> None:
        self.continuum = continuum

    def __copy__(self) -> Elements:
        return Elements(copy.copy(self.continuum))

    def energies(self, u: Array) -> Array:
        """See `Term`."""
        return self.continuum.point_energies(u)

    def energy_forces(self, u: Array) -> tuple[Array, Array]:
        """See `Term`."""
        return self.continuum.energy_forces(u)

    def hessian_product(self, u: Array, du: Array) -> Array:
        """See `Term`."""
        return self.continuum.hessian_product(u, du)

    def round_off(self, u: Array) -> float:
        """See `Term`."""
        return self.continuum.round_off(u)

    def memory(self) -> dict[str, Array]:
        """See `Term`."""
        return {"shifts": self.continuum.kept_shifts} if self.continuum.has_memory else {}

    def remember(self, memory: Mapping[str, Array]) -> None:
        """See `Term`."""
        if "shifts" in memory:
            self.continuum.set_shifts(memory["shifts"])


class Dead(Term):
    """``<g, U> + c``: forces -g that nothing changes.

    Parameters
    ----------
    gradient : (n_nodes, 3) float64, eV/Angstrom
    constant : float, eV
    """

    def __init__(self, gradient: Array, constant: float = 0.0) -> None:
        self.gradient, self.constant = gradient, constant

    def energies(self, u: Array) -> Array:
        """See `Term`."""
        work = (self.gradient * u).ravel()
        return np.append(work[work != 0.0], self.constant)

    def energy_forces(self, u: Array) -> tuple[Array, Array]:
        """See `Term`."""
        work = float(np.einsum("ni,ni->", self.gradient, u))
        return np.array([work + self.constant]), -self.gradient

    def hessian_product(self, u: Array, du: Array) -> Array:
        """See `Term`."""
        return np.zeros_like(du)


class BlendedForces(Term):
    """``f_I = (1 - beta_I) f_I^atomistic + beta_I f_I^continuum``: the gradient of no energy.

    Parameters
    ----------
    sites : Sites
        Of full weight wherever a blended node's atom can pull.
    elements : Elements
        Of full weight.
    beta : (n_nodes,) float64
    """

    def __init__(self, sites: Sites, elements: Elements, beta: Array) -> None:
        self.sites, self.elements, self.beta = sites, elements, beta

    def __copy__(self) -> BlendedForces:
        return BlendedForces(copy.copy(self.sites), copy.copy(self.elements), self.beta)

    def energies(self, u: Array) -> Array:
        """See `Term`."""
        raise CapabilityError("blended forces derive from no energy")

    def energy_forces(self, u: Array) -> tuple[Array, Array]:
        """See `Term`."""
        return np.array([np.nan]), self.forces(u)

    def forces(self, u: Array) -> Array:
        """See `Term`."""
        return self._mix(self.sites.own_forces(u), self.elements.forces(u))

    def hessian_product(self, u: Array, du: Array) -> Array:
        """See `Term`."""
        return self._mix(
            self.sites.own_hessian_product(u, du), self.elements.hessian_product(u, du)
        )

    def _mix(self, atomistic: Array, continuum: Array) -> Array:
        beta = self.beta[:, None]
        return (1.0 - beta) * atomistic + beta * continuum

    def memory(self) -> dict[str, Array]:
        """See `Term`."""
        return self.sites.memory() | self.elements.memory()

    def remember(self, memory: Mapping[str, Array]) -> None:
        """See `Term`."""
        self.sites.remember(memory)
        self.elements.remember(memory)


#: Makes a term of a model once its predictor and layout are known, and anew for every other.
TermMaker = Callable[[Predictor, Layout], Term]
