"""The heat field of a continuum: nodal temperatures, coupled to the nodes that move.

A heat node k has a capacity ``C_k``, the energy ``E_k = C_k T_k`` and the entropy ``C_k ln T_k``. A
displacement node I feels ``1 / T_I = sum_k N_Ik / T_k``, and what friction and noise give to it
the field loses: ``dE_k = -N_Ik dK_I``. The rows of N sum to one, so mechanical and field energy
together are constant to round-off, and the field's entropy changes by ``-dK_I / T_I``. Between heat
nodes heat is conducted, see `qc.dynamics.heat.conduction`.

Source: J. Bonet Avalos & A. D. Mackie, Europhys. Lett. 40 (1997) 141, and P. Espanol, Europhys.
Lett. 40 (1997) 631 (dissipative particle dynamics with energy); M. Lisal, J. K. Brennan & J. Bonet
Avalos, J. Chem. Phys. 135 (2011) 204105, and G. Stoltz, J. Comput. Phys. 340 (2017) 451 (their
integration); D. M. Duffy & A. M. Rutherford, J. Phys.: Condens. Matter 19 (2007) 016207 (two
temperatures).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from ase import units
from numpy.typing import ArrayLike, NDArray

from qc.coupling import QuasiContinuum
from qc.dynamics.heat import kernels
from qc.dynamics.heat.checks import Selection, checked_weights, numbers, select
from qc.dynamics.heat.conduction import Conduction, Conductor
from qc.dynamics.heat.mesh import HeatMesh
from qc.dynamics.heat.model import Where, field_parts
from qc.errors import CheckpointError, InputError, NonFiniteError
from qc.mesh import SimplexMesh
from qc.numerics.checks import not_negative, positive, real
from qc.numerics.fingerprint import fingerprint

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
#: A number, one for each heat node, or a function of positions (n, 3).
Values = Callable[[Array], ArrayLike] | ArrayLike


class HeatField:
    """Temperatures at heat nodes.

    Parameters
    ----------
    mesh : HeatMesh or SimplexMesh
    capacity : (n_k,) float64, eV/K
        Of every heat node, positive; many times k_B, or noise takes more than a node has.
    weights : (n_nodes, n_k) float64, dense or sparse
        ``N_Ik``, not negative; rows sum to one, or are zero for a node that is not coupled.
    conductivity : float or (n_e,) float64, eV/(Angstrom K time)
        See `conductivity_from_SI`. For a monolayer that of the sheet, eV/(K time).
    temperature : float, (n_k,) or callable of positions, K
    owner : (n_v,) int64, optional
        Vertex whose temperature every vertex has. Heat nodes are the owners in ascending order;
        by default every vertex is its own.
    density : float, eV/(K Angstrom^3), optional
        Capacity of the crystal where it is all the field's.

    Attributes
    ----------
    capacity : (n_k,) float64, eV/K
    energy : (n_k,) float64, eV
    positions : (n_k, 3) float64, Angstrom
        Of the owners.
    nodes : (n_v,) int64
        Heat node of every vertex.
    boundary : (n_k,) bool
        Heat nodes on the surface of the mesh.
    coupled : (n_nodes,) bool
        Displacement nodes that feel the field. Elsewhere friction must be zero.

    Raises
    ------
    InputError
        Wrong shapes, capacities or temperatures that are not positive and finite, weights that are
        negative or do not sum to one; the message names the heat node or row.
    """

    def __init__(
        self,
        mesh: HeatMesh | SimplexMesh,
        capacity: ArrayLike,
        weights: ArrayLike | sp.spmatrix,
        conductivity: float | ArrayLike = 0.0,
        temperature: Values = 300.0,
        owner: ArrayLike | None = None,
        density: float | None = None,
    ) -> None:
        self.density = density
        self.mesh = mesh = HeatMesh.of(mesh)
        n_v, n_e = len(mesh.positions), len(mesh.elements)
        self.capacity: Array = numbers("capacity", capacity)
        owners = np.array(np.arange(n_v) if owner is None else owner, dtype=np.int64)
        valid = owners.shape == (n_v,) and bool(((owners >= 0) & (owners < n_v)).all())
        if not valid or not np.array_equal(owners[owners], owners):
            raise InputError(
                f"owners of shape {owners.shape} for {n_v} vertices: each must be a vertex that "
                "owns itself"
            )
        active, number = np.unique(owners, return_inverse=True)
        n_k = len(active)
        if self.capacity.shape != (n_k,):
            raise InputError(f"capacities of shape {self.capacity.shape} for {n_k} heat nodes")
        self.positions: Array = mesh.positions[active]
        self.nodes: IntArray = number.ravel().astype(np.int64)
        self._require_positive("capacity", "eV/K", self.capacity)
        kappa = numbers("conductivity", conductivity)
        if kappa.shape not in ((), (n_e,)):
            raise InputError(f"conductivity of shape {kappa.shape} for {n_e} elements")
        kappa = np.array(np.broadcast_to(kappa, (n_e,)))
        bad = np.nonzero(~(np.isfinite(kappa) & (kappa >= 0.0)))[0]
        if len(bad):
            raise InputError(f"conductivity {kappa[bad[0]]} of element {bad[0]} is not positive")
        self.weights = checked_weights(weights, n_k)
        matrix = self.weights
        self._start = matrix.indptr.astype(np.int64)
        self._column = matrix.indices.astype(np.int64)
        self._weight = np.ascontiguousarray(matrix.data)
        self.coupled: NDArray[np.bool_] = np.diff(self._start) > 0
        self._kappa = kappa
        self._conductor = Conductor(mesh, self.nodes, self.capacity, kappa)
        facets = mesh.facets
        self._facets: IntArray = facets
        self.boundary: NDArray[np.bool_] = np.zeros(n_k, dtype=bool)
        self.boundary[self.nodes[facets]] = True
        self._gain = np.zeros(n_k)
        self.energy: Array = np.zeros(n_k)
        self.set_temperature(temperature)
        self._held: NDArray[np.bool_]
        self._target: Array
        self._power: Array
        self._flux: Array
        self.release()

    @classmethod
    def of_model(
        cls,
        model: QuasiContinuum,
        *,
        conductivity: float = 0.0,
        capacity: float | None = None,
        size: float | None = None,
        where: Where = "continuum",
        temperature: Values = 300.0,
        couple_core: bool = False,
    ) -> HeatField:
        """Make the heat field of a model, on a coarse mesh over the model's.

        Heat nodes that would hold less than 30 k_B are united with the nearest that holds enough,
        capacity, coupling and conduction with them: no heat is lost, and none goes far.

        Parameters
        ----------
        model : QuasiContinuum
        conductivity : float, eV/(Angstrom K time)
            Of the crystal. In ``"continuum"`` an element conducts with the part of it that is not
            the nodes' own, zero where every site is a node: those conduct by themselves.
        capacity : float, eV/K, optional
            Of a site; per column and period in 2.5D. Default: the classical value, k_B for every
            component in which an atom moves.
        size : float, Angstrom, optional
            Edge of the smallest heat elements. Default: four nearest-neighbour distances in 3D
            and eight in the plane, some 64 sites a node.
        where : {"continuum", "everywhere"}
            ``"continuum"``: the field holds what the nodes do not carry, ``capacity (sites -
            nodes)``: nothing where every site is a node, nearly all in coarse elements. Held nodes
            carry nothing. ``"everywhere"``: ``capacity`` times all sites, the core's too, for
            electrons or an implicit bath.
        temperature : float, (n_k,) or callable of positions, K
        couple_core : bool
            In ``"continuum"`` nodes of the atomistic core, where the blending function is zero, are
            not coupled unless asked for; they then feel the nearest heat node.

        Raises
        ------
        InputError
            No model, a parameter out of its range, or no heat node holds enough.
        """
        parts = field_parts(model, conductivity, capacity, size, where, couple_core)
        return cls(
            parts.mesh, parts.capacity, parts.weights, parts.conductivity, temperature,
            parts.owner, parts.density,
        )  # fmt: skip

    # -- state ------------------------------------------------------------------------------------

    @property
    def temperature(self) -> Array:
        """Temperatures of the heat nodes, (n_k,) K."""
        return self.energy / self.capacity

    def vertex_temperatures(self) -> Array:
        """Temperatures at all vertices of the mesh, (n_v,) K."""
        return self.temperature[self.nodes]

    def set_temperature(self, temperature: Values) -> None:
        """Set temperatures: a number, one for each heat node, or a function of positions, K.

        Raises
        ------
        InputError
            A temperature that is not positive and finite; the message names the heat node.
        """
        values = self._values("temperature", temperature)
        self._require_positive("temperature", "K", values)
        self.energy = self.capacity * values

    def total_energy(self) -> float:
        """Energy of the field, eV; zero at 0 K."""
        return float(self.energy.sum())

    def entropy(self) -> float:
        """``sum C ln (T / 1 K)``, eV/K."""
        return float((self.capacity * np.log(self.temperature)).sum())

    def state(self) -> Array:
        """Energies of the heat nodes, (n_k,) eV: all that a run changes."""
        return self.energy.copy()

    def set_state(self, state: ArrayLike) -> None:
        """Take back a `state`.

        Raises
        ------
        CheckpointError
            It belongs to another field, or holds an energy that is not positive and finite.
        """
        values = np.array(state, dtype=np.float64)
        if values.shape != self.energy.shape:
            raise CheckpointError(
                f"a state of shape {values.shape} for a heat field of {len(self.energy)} nodes"
            )
        if not (np.isfinite(values).all() and values.min() > 0.0):
            node = int(np.argmin(np.isfinite(values) & (values > 0.0)))
            raise CheckpointError(f"energy {values[node]} eV of heat node {node} is not positive")
        self.energy = values

    def fingerprint(self) -> str:
        """Hash of all that a state belongs to: mesh, capacities, coupling, conduction, boundary."""
        return fingerprint("heat field", (
            self.mesh.positions, self.mesh.elements, self.mesh.volumes, self.nodes, self.capacity,
            self._kappa, self._start, self._column, self._weight,
            self._held, np.where(self._held, self._target, 0.0), self._power,
        ))  # fmt: skip

    # -- exchange with the nodes ------------------------------------------------------------------

    def node_temperatures(self) -> Array:
        """Temperature that every displacement node feels, (n_nodes,) K; NaN if not coupled."""
        out = np.empty(len(self.coupled))
        kernels.interpolate(
            self._start, self._column, self._weight, self.energy, self.capacity, out
        )
        return out

    def receive(self, heat: Array) -> float:
        """Give kinetic energy to displacement nodes at the field's expense.

        Parameters
        ----------
        heat : (n_nodes,) float64, eV
            What every node received, ``dK_I``; the field changes by ``-N^T heat``.

        Returns
        -------
        float
            Change of the field's entropy, eV/K.

        Raises
        ------
        InputError
            Another shape, or heat at a node that is not coupled.
        NonFiniteError
            Heat that is not finite, or more than a heat node has. The field stays as it was.
        """
        given = np.ascontiguousarray(numbers("heat", heat))
        if given.shape != self.coupled.shape:
            raise InputError(f"heat of shape {given.shape} for {len(self.coupled)} nodes")
        bad = kernels.share(self._start, self._column, self._weight, given, self._gain)
        if bad >= 0 and not self.coupled[bad]:
            raise InputError(
                f"node {bad} exchanges heat but is not coupled to the heat field: friction must "
                "be zero where field.coupled is False"
            )
        if bad >= 0:
            raise NonFiniteError(f"heat of node {bad} is not finite")
        return self._add(self._gain)

    def deposit(self, energy: float | ArrayLike) -> float:
        """Add energy (eV) in proportion to capacity, or one amount for each heat node.

        Returns
        -------
        float
            Change of the field's entropy, eV/K.

        Raises
        ------
        InputError
            Another shape.
        NonFiniteError
            Energy that is not finite, or takes more than a heat node has. The field stays as it
            was.
        """
        amount = numbers("energy", energy)
        if amount.shape not in ((), self.energy.shape):
            raise InputError(f"energy of shape {amount.shape} for {len(self.energy)} heat nodes")
        if amount.ndim == 0:
            amount = amount * (self.capacity / self.capacity.sum())
        return self._add(np.ascontiguousarray(amount))

    def _add(self, gain: Array) -> float:
        bad = kernels.first_not_positive(self.energy, gain)
        if bad >= 0:
            after = (self.energy[bad] + gain[bad]) / self.capacity[bad]
            raise NonFiniteError(
                f"{self._name(bad)} would go from {self.temperature[bad]:.4g} K to {after:.4g} K: "
                f"its capacity of {self.capacity[bad] / units.kB:.3g} k_B is too small for "
                f"{gain[bad]:.3g} eV in one step; use a larger size of heat elements or less "
                "friction"
            )
        return float(kernels.add(self.energy, gain, self.capacity))

    # -- conduction -------------------------------------------------------------------------------

    def prescribe_temperature(self, where: Selection, temperature: Values) -> None:
        """Hold heat nodes at a temperature from the next conduction step on.

        Parameters
        ----------
        where : callable of positions, Region, (n_k,) bool or indices
            For instance ``field.boundary``.
        temperature : float, (n_k,) or callable of positions, K

        Raises
        ------
        InputError
            Nothing is selected, or a temperature is not positive and finite.
        """
        chosen = select(where, self.positions, "heat nodes")
        values = self._values("temperature", temperature)
        self._require_positive("temperature", "K", np.where(chosen, values, 1.0))
        self._held |= chosen
        self._target[chosen] = (self.capacity * values)[chosen]

    def prescribe_flux(self, where: Selection, flux: float) -> None:
        """Let heat in through surface facets of the mesh, or out where the flux is negative.

        The surface is that of the heat mesh: smooth for a `LatticeBlock` that its elements fit,
        jagged for a ball. What goes through is in the `Conduction` of every step.

        Parameters
        ----------
        where : callable of positions, Region, (n_f,) bool or indices
            Callables and regions select facets by their middles.
        flux : float, eV/(Angstrom^2 time)
            For a monolayer eV/(Angstrom time). On a facet named before it replaces the old one.

        Raises
        ------
        InputError
            Nothing is selected, or the flux is not finite.
        """
        if not np.isfinite(real("flux", flux)):
            raise InputError(f"flux must be finite, got {flux}")
        middles = self.mesh.positions[self._facets].mean(axis=1)
        self._flux[select(where, middles, "surface facets")] = float(flux)
        d = self.mesh.dim
        each = np.repeat(self._flux * self.mesh.facet_areas(self._facets) / d, d)
        at = self.nodes[self._facets].ravel()
        power = np.bincount(at, each, minlength=len(self.energy))
        self._power = np.asarray(power, dtype=np.float64)

    def release(self) -> None:
        """Insulate the field: forget prescribed temperatures and fluxes."""
        n_k = len(self.energy)
        self._held = np.zeros(n_k, dtype=bool)
        self._target, self._power = np.ones(n_k), np.zeros(n_k)
        self._flux = np.zeros(len(self._facets))

    def conduct(self, dt: float) -> Conduction:
        """Conduct heat for a time, in one implicit step that keeps both laws at any length.

        Parameters
        ----------
        dt : float, ASE time

        Raises
        ------
        InputError
            The time is not positive and finite.
        ConvergenceError
            Prescribed fluxes take more than there is.
        """
        dt = positive("time of a conduction step", dt)
        self.energy, done = self._conductor.step(
            self.energy, self._held, self._target, self._power, dt
        )
        return done

    # -- checks -----------------------------------------------------------------------------------

    def _values(self, name: str, values: Values) -> Array:
        given: Any = values(self.positions) if callable(values) else values
        out = numbers(name, given)
        n_k = len(self.capacity)
        if out.shape not in ((), (n_k,)):
            raise InputError(f"{name} of shape {out.shape} for {n_k} heat nodes")
        return np.array(np.broadcast_to(out, (n_k,)))

    def _require_positive(self, name: str, unit: str, values: Array) -> None:
        bad = np.nonzero(~(np.isfinite(values) & (values > 0.0)))[0]
        if len(bad):
            raise InputError(
                f"{name} of {self._name(bad[0])} must be positive and finite, got "
                f"{values[bad[0]]} {unit}"
            )

    def _name(self, node: int) -> str:
        x = ", ".join(f"{v:.1f}" for v in self.positions[node])
        return f"heat node {node} at ({x}) Angstrom"


def conductivity_from_SI(value: float) -> float:
    """Conductivity in W/(m K) to eV/(Angstrom K time), time in ASE's unit.

    Raises
    ------
    InputError
        No number, or a negative one.
    """
    return not_negative("conductivity", value) * units.J / (units.s * units.m)
