"""The model a user holds: a crystal, a potential, a predictor, a scheme, and the unknowns."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import ArrayLike, NDArray

from qc.continuum import ContinuumTerm
from qc.coupling.as_atoms import every_atom, node_box, representative
from qc.coupling.blend import Blend
from qc.coupling.coupling import Coupling, predict
from qc.coupling.external import lumped
from qc.coupling.layout import Layout, PointDefects, build_layout, nearest_pair
from qc.coupling.reference import References
from qc.coupling.regions import (
    core_centres,
    cuts,
    default_core,
    outer_region,
    refuse_giants,
    require_inside,
)
from qc.coupling.scheme import Scheme
from qc.coupling.schemes import get_scheme
from qc.coupling.thermal import QuasiStatic, Thermal, make_thermal
from qc.coupling.transfer import carried_load, interpolation
from qc.crystal import Crystal
from qc.crystal.bonded import require_bonds
from qc.errors import InputError, RegionError, suggest
from qc.farfield import FarField, HomogeneousStrain
from qc.loads import DeadLoad, Load
from qc.materials import CauchyBorn
from qc.mesh import (
    CoreSet,
    FreeSurface,
    LatticeBlock,
    PowerGrading,
    Region,
    SimplexMesh,
    graded_mesh,
)
from qc.numerics.checks import coordinates, kind, numbers, positive, shaped
from qc.potentials import Potential

if TYPE_CHECKING:
    from qc.crystal.recognition.defects import Defects

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


class QuasiContinuum:
    """A crystal with atoms where they are needed and a continuum elsewhere.

    Parameters
    ----------
    crystal : Crystal
        Reference crystal; its mode decides between 3D, 2.5D and 2D.
    potential : Potential
    far_field : FarField, optional
        Predictor; the outer boundary is held at it. Default: no deformation.
    scheme : str or Scheme
        ``"bgfc"`` (default), ``"bqce"``, ``"bqcf"``, ``"scgfc"``, ``"qce"``, ``"cauchy-born"``,
        ``"atomistic"``.
    core : float, Angstrom, optional
        Radius of the fully atomistic region around the centres. Default: two lattice constants
        (compounds: at least that of diamond as dense), or 1.02 cutoffs where that is longer.
    blend : float, Angstrom, optional
        Width of the blending region. Default: as wide as the core.
    outer : float, Region or LatticeBlock, optional
        Radius (Angstrom) or shape of the whole. Default: ten core radii.
    centres : (n, 3) array_like, optional
        Points the core surrounds, Angstrom. Default: the far field's dislocation cores and all
        point defects, or else the origin.
    defects : PointDefects, optional
        Vacant sites, foreign and extra atoms.
    grading : float, optional
        Exponent of the element size beyond the blend; 3/2 in 2D and 5/4 in 3D by default. Theory
        asks for more than 1; in 3D a slow start of the growth is worth its unknowns.
    largest : float
        Bound on element size over distance from the core.
    temperature : float, K, optional
        The elements then carry the free energy of the vibrations that no node has, and the default
        predictor is the lattice without stress at this temperature. Nothing vibrates in statics:
        the nodes' own part is that of dynamics. None: the static energy alone.
    vibrations : {"quasi-harmonic", "local"} or None
        How that free energy is found; None leaves it out, and the lattice at its static size. See
        `qc.materials.LatticeVibrations`.
    thermal_deformation : float or (3, 3) array_like, optional
        The lattice at temperature as it is known otherwise, say from molecular dynamics; that of
        harmonic vibrations by default. A number is a stretch in all directions.
    quasi_static : callable, optional
        Takes positions of nodes (n, 3), returns which of them, (n,) bool, follow the minimum of
        the free energy instead of vibrating.
    loads : sequence of Load, optional
        External loads, an indenter say; see `loads`.
    surface : FreeSurface, optional
        A lattice plane where the crystal ends. No site exists beyond it and nodes on it move
        freely; the rest of the outer boundary is held. Its layers are relaxed in the predictor.
        Only the atomistic part has a surface energy and stress.

    Attributes
    ----------
    layout : Layout
    coupling : Coupling
    U : (n_nodes, 3) float64, Angstrom
        Corrector displacements of the nodes: vertices first, then the atoms of further
        sublattices that vertices near the core carry, then extra atoms.

    Raises
    ------
    RegionError
        The core, blend or outer region is thinner than the potential needs.
    CrystalError
        No bond of the crystal under the mean deformation is within the potential's cutoff.
    UnknownSpeciesError
        An element the potential has no parameters for.

    Notes
    -----
    Crystals with a basis (hcp, diamond) have one mesh vertex for each primitive cell. Where atoms
    are, each sublattice moves on its own; in the continuum beyond, every element relaxes its
    sublattice shifts. Source: D. Olson, X. Li, C. Ortner & B. Van Koten, Numer. Math. 141 (2019)
    1 for blending of multilattices.
    """

    def __init__(
        self,
        crystal: Crystal,
        potential: Potential,
        *,
        far_field: FarField | None = None,
        scheme: str | Scheme = "bgfc",
        core: float | None = None,
        blend: float | None = None,
        outer: float | Region | LatticeBlock | None = None,
        centres: ArrayLike | None = None,
        defects: PointDefects | None = None,
        grading: float | None = None,
        largest: float = 0.5,
        temperature: float | None = None,
        vibrations: str | None = "quasi-harmonic",
        thermal_deformation: ArrayLike | None = None,
        quasi_static: QuasiStatic | None = None,
        loads: Sequence[Load] = (),
        surface: FreeSurface | None = None,
    ) -> None:
        self.scheme = get_scheme(scheme)
        for name, value, wanted in (
            ("far_field", far_field, FarField),
            ("defects", defects, PointDefects),
            ("surface", surface, FreeSurface),
        ):
            if value is not None:
                kind(name, value, wanted)
        self.crystal, self.potential = crystal, potential
        self.rule = CauchyBorn(crystal, potential)
        require_bonds(crystal, potential, None if far_field is None else far_field.mean_deformation)
        self.thermal: Thermal | None = None
        if temperature is not None:
            self.thermal = make_thermal(
                crystal,
                potential,
                temperature,
                vibrations,
                deformation=thermal_deformation,
                quasi_static=quasi_static,
            )
            if far_field is None:
                far_field = HomogeneousStrain(self.thermal.deformation)
        self.far_field: FarField = HomogeneousStrain() if far_field is None else far_field
        self.defects = PointDefects() if defects is None else defects
        planar = crystal.dim == 2
        points = core_centres(crystal, self.far_field, self.defects, centres)
        core_set = CoreSet(points, planar=planar)
        self.centre: Array = points.mean(axis=0)
        reach = potential.cutoff
        defective = bool(
            self.defects.vacant or self.defects.extra or self.defects.substitutions
        ) or not self.far_field.is_homogeneous
        core = default_core(crystal, reach) if core is None else core
        core = positive("core", core, RegionError)
        blend = positive("blend", core if blend is None else blend, RegionError)
        if defective and self.scheme.atoms == "core" and core < reach:
            raise RegionError(
                f"core radius {core:.3f} Angstrom is thinner than the potential's cutoff: the "
                f"minimum around a defect is {reach:.3f} Angstrom"
            )
        if blend < 2.0 * crystal.nearest_neighbour:
            raise RegionError(
                f"blend of {blend:.3f} Angstrom is too thin: the minimum is two nearest-neighbour "
                f"distances, {2.0 * crystal.nearest_neighbour:.3f} Angstrom"
            )
        function = Blend(core_set, core, blend)
        region = outer_region(crystal, outer, points, 10.0 * core, planar)
        #: What mesh and regions were made from, for `rebuilt`.
        self.regions: dict[str, Any] = {
            "core": core, "blend": blend, "outer": region, "centres": points, "grading": grading,
            "largest": largest, "surface": surface,
        }  # fmt: skip
        exponent = (1.5 if planar else 1.25) if grading is None else grading
        exponent = positive("grading", exponent, RegionError)
        everything = self.scheme.atoms == "everywhere"
        size_field = PowerGrading(
            core_set.distance,
            full=1e12 if everything else function.outer,
            spacing=crystal.nearest_neighbour,
            exponent=exponent,
            largest=largest,
        )
        patch = np.inf if everything else function.outer + 1.2 * reach
        if self.scheme.atoms == "nowhere":
            patch = 0.0
        refuse_giants(crystal, size_field, region, points, patch, reach)
        glide, distorted = cuts(self.far_field, crystal.basis)
        plane = None if surface is None else surface.bind(crystal)
        mesh = graded_mesh(
            crystal, size_field, region, along=glide, refine=distorted, surface=plane
        )
        patch_reach = 0.0
        if everything:
            if self.defects.vacant or self.defects.extra or self.defects.substitutions:
                require_inside(mesh, points)
            inner = mesh.positions[~mesh.held]
            if not len(inner):
                raise RegionError("the outer region holds no free site; enlarge it")
            # Every site that a free one can pull on has a full site energy; a rim carries
            # neighbours only.
            inner = (inner[:, None] + crystal.basis).reshape(-1, 3)
            function = Blend(CoreSet(inner, planar=planar), 1.1 * reach, 0.1 * reach)
            patch_reach = 2.4 * reach
        elif self.scheme.atoms == "nowhere":
            if self.defects.vacant or self.defects.extra or self.defects.substitutions:
                raise InputError("scheme 'cauchy-born' has no atoms and cannot hold a point defect")
        else:
            require_inside(mesh, points, function.outer)
            blended_forces = self.scheme.blends_forces or self.scheme.ghost == "self-consistent"
            curved = not self.far_field.is_homogeneous or plane is not None
            pure = blended_forces or (self.scheme.ghost == "predictor" and curved)
            # A cell's weight is that of all its sites.
            span = float(np.linalg.norm(crystal.basis, axis=1).max())
            patch_reach = function.outer + span + (2.4 if pure else 1.2) * reach
        self.layout: Layout = build_layout(mesh, function, potential, self.defects, patch_reach)
        if nearest_pair(self.layout.positions[~self.layout.vacant]) < 1e-3:
            raise InputError("an extra atom coincides with a lattice site")
        self.coupling = Coupling(self.layout, self.rule, self.far_field, self.scheme, self.thermal)
        self.U = np.zeros((self.layout.n_nodes, 3))
        self.loads = loads

    # -- construction from atoms ------------------------------------------------------------------

    @classmethod
    def from_atoms(cls, atoms: Atoms, potential: Potential, **options: Any) -> QuasiContinuum:
        """Find the defect in a set of atoms and embed it in a continuum.

        Recognises the crystal, its strain and rotation, finds vacancies, interstitials and foreign
        atoms, puts core, blend and halo around them, and meshes the surroundings.

        Parameters
        ----------
        atoms : ase.Atoms
            Periodic or free-standing, holding a point defect, a cluster of them or a void; fcc,
            bcc, hcp, diamond, or a compound B2, D0_3, L1_0, L1_2 or zincblende. A defect less than
            two cutoffs below a free surface is embedded with a warning in the log.
        potential : Potential
        **options
            Passed to `QuasiContinuum` (``scheme``, ``core``, ``blend``, ``outer``, ...). ``core``
            counts from the non-affine atoms and the defective sites.

        Raises
        ------
        CrystalError
            No crystal is recognised, the potential does not bind it, or the defect touches a
            surface; a monolayer.
        """
        from qc.coupling.embed import embed

        return embed(cls, atoms, potential, options)

    #: What `from_atoms` found; None otherwise.
    found: Defects | None = None

    #: Translation from the model's frame to that of the atoms given to `from_atoms`, (3,) Angstrom;
    #: None without such atoms.
    given_offset: Array | None = None

    @property
    def offset(self) -> Array:
        """Translation from the model's frame to that of `to_ase`, (3,) Angstrom.

        The frame of the atoms given to `from_atoms`; else the nodes' box begins at the origin. The
        boxes of `all_atoms` have their own, in ``atoms.info["offset"]``.
        """
        return node_box(self).offset if self.given_offset is None else self.given_offset

    # -- sizes ------------------------------------------------------------------------------------

    @property
    def mesh(self) -> SimplexMesh:
        """The mesh of lattice sites."""
        return self.layout.mesh

    def __repr__(self) -> str:
        return (
            f"QuasiContinuum({'-'.join(dict.fromkeys(self.crystal.symbols))}, {self.scheme.name}, "
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
            change = int(self.layout.extra.sum()) - int(self.layout.vacant.sum())
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
        self._U = self._state(values)

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

    def with_loads(self, *loads: Load) -> QuasiContinuum:
        """Return the model under these external loads, in place of any others.

        Raises
        ------
        InputError
            One of them is no load.
        """
        other = copy.copy(self)
        other.coupling = copy.copy(self.coupling)
        other.loads = loads
        other.U = self.U.copy()
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
        return self.coupling.predictor.copy()

    def predict(self, x: Array, sublattice: IntArray | int = 0) -> Array:
        """Predictor positions of sites at reference positions ``x`` (n, 3), Angstrom."""
        x = x if isinstance(x, np.ndarray) else coordinates("positions", x)
        return predict(self.rule, self.far_field, x, sublattice, self.coupling.relaxation)

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
        terms = self.coupling.blended
        return (self.coupling.pure if terms is None else terms).continuum

    @property
    def occupied(self) -> NDArray[np.bool_]:
        """(n_nodes,) bool: nodes that carry an atom (those at vacant sites do not)."""
        out = np.ones(self.layout.n_nodes, dtype=bool)
        gone = self.layout.node[self.layout.vacant]
        out[gone[gone >= 0]] = False
        return out

    def node_symbols(self) -> list[str]:
        """Chemical symbol at every node."""
        types = self.layout.host_types[self.layout.node_sublattices]
        has = self.layout.node >= 0
        types[self.layout.node[has]] = self.layout.types[has]
        return [self.potential.species[t] for t in types]

    def to_ase(self) -> Atoms:
        """Return the representative atoms: one per occupied node, at its current position.

        Masses are the lumped ones. What the model holds is held by constraints of ASE, `FixAtoms`
        on the outer boundary and `FixCartesian` across a monolayer. The atoms lie in a cell that
        leaves a cutoff around all nodes, wrapped along the line in 2.5D; positions minus `offset`
        are in the model's frame. After `from_atoms` they are in the frame of the atoms given, and
        the cell begins at ``atoms.get_celldisp()``.
        """
        return representative(self)

    def node_masses(self) -> Array:
        """Lumped mass of every node, (n_nodes,) u.

        Each node's mass is the sum of its share of the elements around it, weighted like their
        energies, and of its own atom, weighted like its site energy; the masses add up to the mass
        of all sites.
        """
        terms = self.coupling.blended
        return lumped(
            self.layout,
            self.scheme.weighting,
            terms.continuum.weights if terms is not None and len(terms.continuum.active) else None,
            atomic_masses[[atomic_numbers[s] for s in self.node_symbols()]],
            atomic_masses[[atomic_numbers[s] for s in self.crystal.symbols]],
        )

    def all_atoms(self, region: Region | float | None = None) -> Atoms:
        """Return every atom of a part of the model, interpolated where the mesh is coarse.

        The atoms lie in a cell of their own that leaves a cutoff around them, wrapped along the
        line in 2.5D; positions minus ``atoms.info["offset"]`` are in the model's frame. After
        `from_atoms` they are in the frame of the atoms given, and the cell begins at
        ``atoms.get_celldisp()``.

        Parameters
        ----------
        region : Region or float, optional
            Part of the reference crystal; a number is a radius around the middle of the centres.
            Default: the patch of atoms.

        Raises
        ------
        RegionError
            More than 5e7 atoms were asked for.
        """
        return every_atom(self, region)

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
        element, weights = self.mesh.locate(at)
        weights = np.where(element[:, None] >= 0, weights, 0.0)
        s = np.broadcast_to(np.asarray(sublattice, dtype=np.int64), element.shape)
        corners = self.mesh.elements[element]
        if self.crystal.is_bravais:
            return np.einsum("na,nai->ni", weights, values[corners])
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

    def with_far_field(self, far_field: FarField) -> QuasiContinuum:
        """Return the model at another predictor, mesh and correctors kept (a load step).

        The cuts of the new far field must be those of the old one.
        """
        kind("far_field", far_field, FarField)
        require_bonds(self.crystal, self.potential, far_field.mean_deformation)
        other = copy.copy(self)
        other.far_field = far_field
        other.coupling = self.coupling.with_far_field(far_field)
        other.U = self.U.copy()
        return other

    def with_strain(self, deformation: ArrayLike) -> QuasiContinuum:
        """Return the model at another mean deformation gradient (3, 3)."""
        return self.with_far_field(self.far_field.with_mean_deformation(deformation))

    def with_temperature(
        self,
        temperature: float | None,
        vibrations: str | None = "quasi-harmonic",
        thermal_deformation: ArrayLike | None = None,
        quasi_static: QuasiStatic | None = None,
    ) -> QuasiContinuum:
        """Return the model at another temperature, mesh and correctors kept.

        The predictor follows: its mean deformation F becomes ``F F_T0^-1 F_T1`` with the lattices
        at the old and the new temperature. A dead load, which belongs to a temperature, is gone;
        external loads stay.

        Parameters
        ----------
        temperature, vibrations, thermal_deformation, quasi_static
            As of the model itself.
        """
        thermal = None
        if temperature is not None:
            thermal = make_thermal(
                self.crystal,
                self.potential,
                temperature,
                vibrations,
                deformation=thermal_deformation,
                quasi_static=quasi_static,
            )
        old = np.eye(3) if self.thermal is None else self.thermal.deformation
        new = np.eye(3) if thermal is None else thermal.deformation
        mean = np.asarray(self.far_field.mean_deformation) @ np.linalg.inv(old) @ new
        other = copy.copy(self)
        other.thermal = thermal
        other.far_field = self.far_field.with_mean_deformation(mean)
        other.coupling = Coupling(self.layout, self.rule, other.far_field, self.scheme, thermal)
        other.loads = self.loads
        other.U = self.U.copy()
        return other

    def rebuilt(self, **regions: Any) -> QuasiContinuum:
        """Return the model with another core, blend or mesh, at the same displacements.

        Crystal, potential, far field, scheme, defects, outer region, surface and temperature stay.
        Nodes that are new are interpolated, those that are gone are forgotten. Dead loads among the
        `loads` go to the new nodes with the same work; the one of `with_dead_load` belongs to the
        old mesh and is gone.

        Parameters
        ----------
        **regions
            ``core``, ``blend``, ``centres``, ``grading`` and ``largest``, as of the model itself;
            what is not given stays.

        Raises
        ------
        InputError
            Another name.
        """
        for name in regions:
            if name not in self.regions or name in ("outer", "surface"):
                known = sorted(set(self.regions) - {"outer", "surface"})
                raise InputError(f"rebuilt has no option '{name}'{suggest(name, known)}")
        other = QuasiContinuum(
            self.crystal,
            self.potential,
            far_field=self.far_field,
            scheme=self.scheme,
            defects=self.defects,
            **{**self.regions, **regions},
        )
        if self.thermal is not None:
            other.thermal = self.thermal
            other.coupling = Coupling(
                other.layout, other.rule, other.far_field, other.scheme, self.thermal
            )
        other.found, other.given_offset = self.found, self.given_offset
        other.loads = self.loads
        if any(isinstance(one, DeadLoad) for one in self.loads):
            weights = interpolation(self.layout, other.layout)
            ends = self.predictor(), other.predictor()
            other.loads = [
                carried_load(one, weights, *ends) if isinstance(one, DeadLoad) else one
                for one in self.loads
            ]
        other.U = self.carried(other, self.U)
        return other

    def carried(self, other: QuasiContinuum, values: Array) -> Array:
        """Nodal values of this model at the nodes of another of the same crystal, (n, 3).

        Equal at nodes that both have, interpolated at the others, zero where the other holds them.
        """
        layout = other.layout
        vertex, s = layout.site_nodes.T
        m = other.mesh.lattice[vertex]
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
        return np.where(layout.free, out, 0.0)

    def with_dead_load(self, load: ArrayLike) -> QuasiContinuum:
        """Return the model under a dead load, which adds ``<load, U>`` to the energy.

        Parameters
        ----------
        load : (n_nodes, 3) array_like, eV/Angstrom
            In place of any other; that of `qc.solve.thermal_dead_load`, say.

        Raises
        ------
        InputError
            Another shape, or a value that is not finite.
        """
        values = numbers("load", load)
        if values.shape != (self.layout.n_nodes, 3) or not np.isfinite(values).all():
            raise InputError(
                f"the load must be finite and of shape {(self.layout.n_nodes, 3)}, got "
                f"{values.shape}"
            )
        other = copy.copy(self)
        other.coupling = copy.copy(self.coupling)
        other.coupling.load = np.where(self.layout.free, values, 0.0)
        other.U = self.U.copy()
        return other

    @property
    def temperature(self) -> float | None:
        """Temperature in K; None for a model of the static energy alone."""
        return None if self.thermal is None else self.thermal.temperature
