"""A model as mechanics knows it: a specification, its mesh and coupling, and the unknowns."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import ArrayLike, NDArray

from qc.continuum import ContinuumTerm
from qc.coupling.assembly import completed, lay_out, thermal_of
from qc.coupling.coupling import Coupling
from qc.coupling.external import lumped
from qc.coupling.point_defects import PointDefects
from qc.coupling.reference import References
from qc.coupling.scheme import Scheme
from qc.coupling.spec import OPTIONS, WARM, CompleteSpec, ModelSpec, refuse_unknown
from qc.coupling.state import State
from qc.coupling.transfer import carried_load, interpolation
from qc.crystal import Crystal
from qc.crystal.bonded import require_bonds
from qc.crystal.recognition.defects import Defects
from qc.errors import InputError
from qc.farfield import FarField
from qc.loads import DeadLoad, Load
from qc.materials import CauchyBorn
from qc.materials.thermal import QuasiStatic, Thermal
from qc.mesh import SimplexMesh
from qc.numerics.checks import coordinates, kind, numbers, shaped
from qc.potentials import Potential

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Options that `Model.rebuilt` does not take: displacements mean nothing in another crystal, with
#: other atoms or about another predictor.
FIXED = ("crystal", "potential", "far_field", "defects")


class Model:
    """A specification made into mesh, atoms and coupling, and the displacements of its nodes.

    Parameters
    ----------
    spec : ModelSpec
    like : Model, optional
        One that differs in some options only: what depends on none of these is shared with it.

    Attributes
    ----------
    layout : Layout
    coupling : Coupling
    rule : CauchyBorn
    thermal : Thermal or None
        What the temperature makes of the crystal, if there is one.

    Raises
    ------
    RegionError
        The core, blend or outer region is thinner than the potential needs.
    CrystalError
        No bond of the crystal under the mean deformation is within the potential's cutoff.
    UnknownSpeciesError
        An element the potential has no parameters for.
    """

    def __init__(self, spec: ModelSpec, like: Model | None = None) -> None:
        kind("spec", spec, ModelSpec)

        def same(*names: str) -> bool:
            return like is not None and all(
                getattr(spec, name) is getattr(like._spec, name) for name in names
            )

        old: Any = like
        bulk = same("crystal", "potential")
        self.rule: CauchyBorn = old.rule if bulk else CauchyBorn(spec.crystal, spec.potential)
        far_field = spec.far_field
        require_bonds(
            spec.crystal, spec.potential, None if far_field is None else far_field.mean_deformation
        )
        self.thermal: Thermal | None = old.thermal if bulk and same(*WARM) else thermal_of(spec)
        self._spec = done = completed(spec, self.thermal)
        laid_out = [name for name, one in OPTIONS.items() if "layout" in one.metadata]
        self.layout = old.layout if same(*laid_out) else lay_out(done)
        self.coupling = Coupling(
            self.layout,
            self.rule,
            done.far_field,
            done.scheme,
            self.thermal,
            done.loads,
            done.material,
            done.terms,
        )
        self.U = self.layout.constraint.start()

    #: What `QuasiContinuum.from_atoms` found; None otherwise.
    found: Defects | None = None

    #: Translation from the model's frame to that of the atoms given to `from_atoms`, (3,) Angstrom;
    #: None without such atoms.
    given_offset: Array | None = None

    # -- what it is made from ---------------------------------------------------------------------

    @property
    def spec(self) -> CompleteSpec:
        """What the model was made from, everything that was left open decided."""
        if self._spec.loads is not self.loads:
            self._spec = CompleteSpec(**(vars(self._spec) | {"loads": self.loads}))
        return self._spec

    @property
    def crystal(self) -> Crystal:
        """The reference crystal."""
        return self._spec.crystal

    @property
    def potential(self) -> Potential:
        """The potential of atoms and elements."""
        return self._spec.potential

    @property
    def scheme(self) -> Scheme:
        """The coupling scheme."""
        return self.coupling.scheme

    @property
    def far_field(self) -> FarField:
        """The predictor."""
        return self.coupling.far_field

    @property
    def defects(self) -> PointDefects:
        """Vacant sites, foreign and extra atoms; perhaps none."""
        return self._spec.defects

    @property
    def centre(self) -> Array:
        """Middle of the points that the core surrounds, (3,) Angstrom."""
        return np.asarray(self._spec.centres.mean(axis=0))

    @property
    def mesh(self) -> SimplexMesh:
        """The mesh of lattice sites."""
        return self.layout.mesh

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({'-'.join(dict.fromkeys(self.crystal.symbols))}, "
            f"{self.scheme.name}, "
            f"{self.n_unknowns} unknowns for {self.n_sites:.0f} sites)"
        )

    @property
    def n_unknowns(self) -> int:
        """Free displacement components."""
        return int(self.layout.free.sum())

    @property
    def n_sites(self) -> float:
        """Sites the model stands for: site weights plus element volumes over the site volume."""
        terms = self.coupling.blended
        if terms is None:
            gone = self.layout.vacant & self.layout.counted
            change = int(self.layout.extra.sum()) - int(gone.sum())
            return float(self.mesh.volumes.sum() / self.crystal.site_volume) + change
        weights = terms.continuum.weights[terms.continuum.active]
        volume = float(weights @ terms.continuum.element_volumes)
        return terms.n_counted + volume / self.crystal.site_volume

    # -- energy and forces ------------------------------------------------------------------------

    @property
    def U(self) -> Array:
        """Corrector displacements of the nodes, (n_nodes, 3) Angstrom; set or change them."""
        return self._U

    @U.setter
    def U(self, values: ArrayLike) -> None:
        self._U = self.layout.constraint.expand(self._state(values))

    def _state(self, u: ArrayLike | None) -> Array:
        """Return displacements (n_nodes, 3) that were handed in, checked; the model's for None."""
        return self._U if u is None else shaped("U", u, (self.layout.n_nodes, 3))

    def energy(self, u: Array | None = None) -> float:
        """Energy relative to the homogeneously strained perfect crystal, eV."""
        return self.coupling.energy(self._state(u))

    def forces(self, u: Array | None = None) -> Array:
        """Return the forces on the nodes, zero where they are held, (n_nodes, 3) eV/Angstrom."""
        return self.coupling.forces(self._state(u))

    def energy_forces(self, u: Array | None = None) -> tuple[float, Array]:
        """`energy` and `forces` in one evaluation; the energy is NaN for blended forces."""
        return self.coupling.energy_forces(self._state(u))

    def defect_energy(
        self, u: Array | None = None, mu: Mapping[str, float | Crystal] | None = None
    ) -> float:
        """Best estimate of the defect's energy, `Result.defect_energy` of `qc.relax`, eV."""
        energy = self.coupling.defect_energy(self._state(u))
        return References(self.layout, self.rule, self.far_field, mu).energy(energy)

    def hessian_product(self, u: Array, du: Array) -> Array:
        """Minus the derivative of the forces along ``du``, (n_nodes, 3) eV/Angstrom."""
        return self.coupling.hessian_product(self._state(u), self._state(du))

    @property
    def state(self) -> State:
        """Displacements and internal variables, a copy; set it to go on from another."""
        return State(self.U.copy(), self._continuum.shifts(self.U))

    @state.setter
    def state(self, state: State) -> None:
        self.U = state.U.copy()
        self._continuum.set_shifts(state.internal)

    # -- external loads ---------------------------------------------------------------------------

    @property
    def loads(self) -> tuple[Load, ...]:
        """External loads: their energies are part of `energy` and `Result.defect_energy`.

        Set them anew to move or change one in place, as a run of dynamics does; the work done on
        the crystal is the change of `load_energy`. `with_loads` leaves this model as it is.
        """
        return self.coupling.loads

    @loads.setter
    def loads(self, loads: Sequence[Load]) -> None:
        self.coupling.loads = loads

    def with_loads(self, *loads: Load) -> Self:
        """Return the model under these external loads, in place of any others.

        Raises
        ------
        InputError
            One of them is no load.
        """
        other = self._copy()
        other.loads = loads
        return other

    def load_energy(self, u: Array | None = None) -> float:
        """Sum of the energies of the external loads, eV."""
        external = self.coupling.external
        if external is None:
            return 0.0
        return float(external.energy_forces(self._state(u))[0].sum())

    def reactions(self, u: Array | None = None) -> Array:
        """Force of the crystal on each external load, (n_loads, 3) eV/Angstrom."""
        external = self.coupling.external
        if external is None:
            return np.zeros((0, 3))
        return external.reactions(self._state(u))

    # -- positions --------------------------------------------------------------------------------

    def predictor(self) -> Array:
        """Predictor positions of all nodes, (n_nodes, 3) Angstrom."""
        return self.coupling.node_positions.copy()

    def predict(self, x: Array, sublattice: IntArray | int = 0) -> Array:
        """Predictor positions of sites at reference positions ``x`` (n, 3), Angstrom."""
        x = x if isinstance(x, np.ndarray) else coordinates("positions", x)
        return self.coupling.predictor.sites(x, sublattice)

    @property
    def shifts(self) -> Array:
        """Sublattice shifts of the continuum's quadrature points, (n_q, n_s, 3) Angstrom.

        ``y = F (X + B_s) + p_s``. Those of elements beyond the atoms are where the next
        relaxation starts, and belong to the state.
        """
        return self._continuum.shifts(self.U)

    @shifts.setter
    def shifts(self, values: Array) -> None:
        """Set what the next relaxation of the shifts starts from."""
        self._continuum.set_shifts(values)

    @property
    def _continuum(self) -> ContinuumTerm:
        return self.coupling.parts.continuum

    @property
    def occupied(self) -> NDArray[np.bool_]:
        """(n_nodes,) bool: nodes that carry an atom; not those at vacant sites, nor images."""
        out = np.ones(self.layout.n_nodes, dtype=bool)
        out[self.layout.constraint.followers] = False
        gone = self.layout.node[self.layout.vacant]
        out[gone[gone >= 0]] = False
        return out

    def node_symbols(self) -> list[str]:
        """Chemical symbol at every node."""
        types = self.layout.host_types[self.layout.node_sublattices]
        has = self.layout.node >= 0
        types[self.layout.node[has]] = self.layout.types[has]
        return [self.potential.species[t] for t in types]

    def node_masses(self) -> Array:
        """Lumped mass of every node, (n_nodes,) u.

        Each node's mass is the sum of its share of the elements around it, weighted like their
        energies, and of its own atom, weighted like its site energy; the masses add up to the mass
        of all sites.
        """
        terms = self.coupling.blended
        mass = lumped(
            self.layout,
            self.scheme.weighting,
            terms.continuum.weights if terms is not None and len(terms.continuum.active) else None,
            atomic_masses[[atomic_numbers[s] for s in self.node_symbols()]],
            atomic_masses[[atomic_numbers[s] for s in self.crystal.symbols]],
        )
        return self.layout.constraint.gather(mass)

    def interpolate(
        self, sites: IntArray, sublattice: IntArray | int = 0, u: Array | None = None
    ) -> Array:
        """Corrector displacement at sites (n, 3) -> (n, 3) Angstrom; zero outside the mesh.

        Parameters
        ----------
        sites : (n, 3) int64
            Lattice coordinates.
        sublattice : (n,) int64 or int
        u : (n_nodes, 3) float64, optional
            Displacements of the nodes; the state's by default.
        """
        values = self._state(u)
        at = np.asarray(sites)
        if at.dtype.kind not in "iu" or at.ndim != 2 or at.shape[1] != 3:
            raise InputError("sites must be lattice coordinates, (n, 3) integers")
        space = self.layout.space
        element, weights = space.locate(at)
        weights = np.where(element[:, None] >= 0, weights, 0.0)
        s = np.broadcast_to(np.asarray(sublattice, dtype=np.int64), element.shape)
        corners = space.connectivity[element]
        if self.crystal.is_bravais:
            local = space.local(values[: space.n_nodes])
            return np.einsum("na,nai->ni", weights, local[corners])
        nodes = self.layout.sublattice_nodes[corners, s[:, None]]
        whole = self.layout.whole_cells[corners]
        own = (~whole | (weights == 0)).all(axis=1)
        out = np.einsum("na,nai->ni", weights, values[np.where(nodes >= 0, nodes, 0)])
        rest = np.nonzero(~own & (element >= 0))[0]
        if len(rest):
            cells = self._continuum.cells(values)[corners[rest]]
            out[rest] = np.einsum("na,nai->ni", weights[rest], cells)
            out[rest] += self._continuum.basis_displacement(values, element[rest], s[rest])
        return out

    def displace(self, field: FarField) -> None:
        """Add a field's displacement to the free nodes: a start, not a predictor.

        Partial dislocations with a strip of stacking fault between them, for example, start a
        dislocation that splits.
        """
        move = field.displacement(self.layout.node_positions)
        self.U = self.U + np.where(self.layout.free, move, 0.0)

    # -- other states of the same model -----------------------------------------------------------

    def _copy(self) -> Self:
        """Return a model of the same specification with a state and lists of its own."""
        other = copy.copy(self)
        other.coupling = copy.copy(self.coupling)
        other.U = self.U.copy()
        return other

    def _with(self, **options: Any) -> Self:
        """Return the model with other options that leave its layout, at the same displacements."""
        other = copy.copy(self)
        Model.__init__(other, self.spec.changed(**options), like=self)
        other.U = self.U.copy()
        return other

    def with_far_field(self, far_field: FarField) -> Self:
        """Return the model at another predictor, mesh and correctors kept (a load step).

        The cuts of the new far field must be those of the old one. Sublattice shifts go on from
        where they are, and a mean force that is taken away stays so.
        """
        kind("far_field", far_field, FarField)
        other = self._with(far_field=far_field)
        other.coupling.go_on_from(self.coupling)
        return other

    def with_strain(self, deformation: ArrayLike) -> Self:
        """Return the model at another mean deformation gradient (3, 3)."""
        return self.with_far_field(self.far_field.with_mean_deformation(deformation))

    def with_temperature(
        self,
        temperature: float | None,
        vibrations: str | None = "quasi-harmonic",
        thermal_deformation: ArrayLike | None = None,
        quasi_static: QuasiStatic | None = None,
    ) -> Self:
        """Return the model at another temperature, mesh and correctors kept.

        The predictor follows: its mean deformation F becomes ``F F_T0^-1 F_T1`` with the lattices
        at the old and the new temperature. A mean force, which belongs to a temperature, is gone;
        external loads stay.

        Parameters
        ----------
        temperature, vibrations, thermal_deformation, quasi_static
            As of the model itself.
        """
        options = {
            "temperature": temperature,
            "vibrations": vibrations,
            "thermal_deformation": thermal_deformation,
            "quasi_static": quasi_static,
        }
        thermal = thermal_of(self.spec.changed(**options))
        old = np.eye(3) if self.thermal is None else self.thermal.deformation
        new = np.eye(3) if thermal is None else thermal.deformation
        mean = np.asarray(self.far_field.mean_deformation) @ np.linalg.inv(old) @ new
        warm = self._copy()
        warm._spec = CompleteSpec(**(vars(self.spec) | options))
        warm.thermal = thermal
        return warm._with(far_field=self.far_field.with_mean_deformation(mean))

    def rebuilt(self, **options: Any) -> Self:
        """Return the model with another core, blend, mesh or scheme, at the same displacements.

        Nodes that are new are interpolated, those that are gone are forgotten. Dead loads among the
        `loads` go to the new nodes with the same work, loads that are given are of the new mesh;
        the force of `without_mean_force` belongs to the old one and is gone.

        Parameters
        ----------
        **options
            As of the model itself, but for crystal, potential, far field and defects; what is not
            given stays.

        Raises
        ------
        InputError
            Another name.
        """
        refuse_unknown(options, "rebuilt", FIXED)
        other = copy.copy(self)
        Model.__init__(other, self.spec.changed(**options), like=self)
        if "loads" not in options and any(isinstance(one, DeadLoad) for one in other.loads):
            weights = interpolation(self.layout, other.layout)
            ends = self.predictor(), other.predictor()
            other.loads = [
                carried_load(one, weights, *ends) if isinstance(one, DeadLoad) else one
                for one in other.loads
            ]
        other.U = np.where(other.layout.free, self.carried(other, self.U), other.U)
        return other

    def carried(self, other: Model, values: Array) -> Array:
        """Nodal values of this model at the nodes of another of the same crystal, (n, 3).

        Equal at nodes that both have, interpolated at the others, zero where the other holds them.
        """
        layout = other.layout
        vertex, s = layout.site_nodes.T
        m = layout.space.lattice[vertex]
        out = np.zeros((layout.n_nodes, 3))
        out[: len(m)] = self.interpolate(m, s, values)
        whole = np.nonzero(layout.whole_cells[: len(m)])[0]
        if len(whole) and not self.crystal.is_bravais:
            # A vertex that stands for its cell moves with the cell's middle.
            every = range(self.crystal.n_sublattices)
            out[whole] = np.mean([self.interpolate(m[whole], t, values) for t in every], axis=0)
        count = layout.n_extra
        if count:
            out[layout.n_nodes - count :] = values[self.layout.n_nodes - count :]
        return layout.constraint.expand(np.where(layout.free, out, 0.0))

    def without_mean_force(self, force: ArrayLike) -> Self:
        """Return the model with a constant force taken away: ``<force, U>`` added to the energy.

        Parameters
        ----------
        force : (n_nodes, 3) array_like, eV/Angstrom
            In place of any other; that of `qc.solve.mean_force`, say. What pushes instead is a
            `qc.loads.DeadLoad`.

        Raises
        ------
        InputError
            Another shape, or a value that is not finite.
        """
        values = numbers("force", force)
        if values.shape != (self.layout.n_nodes, 3) or not np.isfinite(values).all():
            raise InputError(
                f"the force must be finite and of shape {(self.layout.n_nodes, 3)}, got "
                f"{values.shape}"
            )
        other = self._copy()
        other.coupling.mean_force = np.where(self.layout.free, values, 0.0)
        return other

    @property
    def temperature(self) -> float | None:
        """Temperature in K; None for a model of the static energy alone."""
        return None if self.thermal is None else self.thermal.temperature
