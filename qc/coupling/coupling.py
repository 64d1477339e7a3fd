"""Energies, forces and Hessian products of a coupled model: one formula for every scheme."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qc.atomistic.term import AtomisticTerm
from qc.continuum import ContinuumTerm, starting_shifts
from qc.coupling.external import External, check_loads, site_counts
from qc.coupling.layout import Layout
from qc.coupling.scheme import Scheme
from qc.coupling.surface import SurfaceRelaxation, relax_surface
from qc.coupling.thermal import Thermal, slaved_fractions
from qc.errors import CapabilityError
from qc.farfield import FarField
from qc.loads import Load
from qc.materials import CauchyBorn
from qc.numerics.threads import Lock, locked

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Coupling:
    """``E(U) = sum w_i [V_i - V_bulk] + sum omega_e v_e [W(F_e) - W_bulk] + <g, U> + sum E_l``.

    Parameters
    ----------
    layout : Layout
    rule : CauchyBorn
    far_field : FarField
        The predictor.
    scheme : Scheme
    thermal : Thermal, optional
        Adds the free energy of vibrations that are not explicit to the elements.

    Attributes
    ----------
    ghost : (n_nodes, 3) float64, eV/Angstrom
        The dead load ``g`` that takes ghost forces away. It is that of the static energy: the
        forces of a free energy that fades towards the atoms are balanced by their vibrations.
    relaxation : SurfaceRelaxation or None
        What the layers of a free surface add to the predictor positions. Elements do not see it:
        they have no surface stress, and stay as they are by themselves.
    load : (n_nodes, 3) float64, eV/Angstrom
        A further dead load, with the same sign: it adds ``<load, U>`` to the energy.
    loads : tuple of Load
        External loads, which add their energies E_l of the nodes' positions.
    evaluations : int
        Force evaluations and Hessian products so far.

    Notes
    -----
    Threads may share a coupling: one evaluates, the others wait. A copy has neighbour lists, shifts
    and a ghost force of its own, which go on from where these are.
    """

    def __init__(
        self,
        layout: Layout,
        rule: CauchyBorn,
        far_field: FarField,
        scheme: Scheme,
        thermal: Thermal | None = None,
    ) -> None:
        potential = rule.potential
        if not potential.has_site_energies and not scheme.blends_forces:
            raise CapabilityError(
                f"scheme '{scheme.name}' blends site energies, which {type(potential).__name__} "
                "cannot give; use scheme 'bqcf'"
            )
        self._lock = Lock()
        self.layout, self.rule, self.far_field, self.scheme = layout, rule, far_field, scheme
        self.thermal = thermal
        self.evaluations = 0
        self.relaxation: SurfaceRelaxation | None = None
        if layout.mesh.surface is not None:
            mean = np.asarray(far_field.mean_deformation)
            self.relaxation = relax_surface(rule, layout.mesh.surface, mean)
        self.beta_nodes = scheme.weighting(layout.beta_nodes)
        self.ghost = np.zeros((layout.n_nodes, 3))
        self.load = np.zeros((layout.n_nodes, 3))
        self.external: External | None = None
        self.blended = None if scheme.blends_forces else _Terms(self, layout, pure=False)
        self._pure: _Terms | None = None
        self._blended_energy: _Terms | None = None
        if scheme.blends_forces:
            self._pure = _Terms(self, layout, pure=True)
        if scheme.ghost != "none":
            self.ghost = self._ghost_at_predictor()
        self._first_ghost, self._offset = self.ghost, 0.0

    @locked
    def __copy__(self) -> Coupling:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._lock = Lock()
        own = {id(t): copy.copy(t) for t in (self.blended, self._pure, self._blended_energy)}
        other.blended, other._pure = own[id(self.blended)], own[id(self._pure)]
        other._blended_energy = own[id(self._blended_energy)]
        return other

    @property
    def loads(self) -> tuple[Load, ...]:
        """External loads; none by default."""
        return () if self.external is None else self.external.loads

    @loads.setter
    def loads(self, loads: Sequence[Load]) -> None:
        """Put other external loads in place."""
        found = check_loads(loads)
        self.external = External(found, *self.node_sites) if found else None

    @cached_property
    def predictor(self) -> Array:
        """Predictor positions of the nodes, (n, 3) Angstrom, read-only: found once."""
        y = predict_nodes(self.layout, self.rule, self.far_field, self.relaxation)
        y.flags.writeable = False
        return y

    @cached_property
    def node_sites(self) -> tuple[Array, Array]:
        """Predictor positions of the nodes (n, 3) and how many sites each stands for (n,)."""
        omega = None
        if self.blended is not None and len(self.blended.continuum.active):
            omega = self.blended.continuum.weights
        return (
            self.predictor,
            site_counts(self.layout, self.scheme.weighting, omega),
        )

    def _load_energies(self, u: Array) -> Array:
        return np.zeros(0) if self.external is None else self.external.energy_forces(u)[0]

    @property
    def conservative(self) -> bool:
        """Whether the forces derive from an energy."""
        return self.scheme.conservative

    @property
    @locked
    def pure(self) -> _Terms:
        """Unblended atomistic and continuum terms, for force blending."""
        if self._pure is None:
            self._pure = _Terms(self, self.layout, pure=True)
        return self._pure

    def _ghost_at_predictor(self) -> Array:
        """``f_BQCE - f_BQCF`` of the defect-free crystal at ``U = 0``."""
        u = np.zeros((self.layout.n_nodes, 3))
        if self.thermal is not None:
            static = Coupling(self.layout, self.rule, self.far_field, self.scheme)
            return static._ghost_at_predictor() if self.scheme.ghost == "none" else static.ghost
        if self.layout.has_defects or self.blended is None:
            perfect = _perfect(self.layout) if self.layout.has_defects else self.layout
            blended = _Terms(self, perfect, pure=False)
        else:
            perfect, blended = self.layout, self.blended
        g = blended.forces(u)
        # The forces of a homogeneously deformed crystal vanish at every inner node, by symmetry,
        # unless it has a surface.
        if not self.far_field.is_homogeneous or self.layout.mesh.surface is not None:
            pure = self.pure if perfect is self.layout else _Terms(self, perfect, pure=True)
            g = g - self._mix(pure.atom_forces(u), pure.continuum.forces(u))
        g[~self.layout.free] = 0.0
        return g

    @locked
    def refresh_ghost(self, u: Array) -> float:
        """Take the ghost force at a new state; return the largest change, eV/Angstrom.

        At the fixed point the total force is the blended force of BQCF.
        """
        assert self.blended is not None
        new = self.blended.forces(u) - self.blended_forces(u)
        new[~self.layout.free] = 0.0
        change = float(np.abs(new - self.ghost).max(initial=0.0))
        self.ghost = new
        # The load followed the state from its value at the predictor; the trapezoidal rule for
        # its work fixes the constant of the energy.
        self._offset = 0.5 * float(np.vdot(self._first_ghost - new, u))
        self.evaluations += 1
        return change

    @locked
    def blended_forces(self, u: Array) -> Array:
        """Return the forces of BQCF, (n_nodes, 3) eV/Angstrom, fixed unknowns included."""
        return self._mix(self.pure.atom_forces(u), self.pure.continuum.forces(u))

    def _mix(self, atomistic: Array, continuum: Array) -> Array:
        beta = self.beta_nodes[:, None]
        return (1.0 - beta) * atomistic + beta * continuum

    @locked
    def defect_energy(self, u: Array) -> float:
        """Best estimate of the full lattice's energy over the strained perfect crystal, eV.

        Ghost forces are removed where the state is, not only where it started: with the ghost
        force ``g(U) = f_BQCE - f_BQCF``, which is linear in U to leading order, its work from the
        predictor is ``<g(0) + g(U), U> / 2``. BGFC's own energy keeps ``<g(0), U>``; the
        difference is of second order in the correctors and shrinks as the core grows. Blended
        forces get an energy in the same way. The other schemes return their energy.

        A potential without site energies gives the energy of making the defect in the unrelaxed
        patch, and the work of the blended forces along the straight way from there to ``U``.

        Every atom counts with the host's energy at its site, whatever it is; chemical potentials
        are the business of `QuasiContinuum.defect_energy`.
        """
        return self.best_energy(u)[0]

    @locked
    def best_energy(self, u: Array) -> tuple[float, float]:
        """`defect_energy`, and how much of it is the change of the ghost force with the state, eV.

        The second number, ``<g(U) - g(0), U> / 2``, tells how far the coupling is from being exact
        at ``U``; NaN where no ghost force is taken away, or where there are no site energies.
        """
        if not self.rule.potential.has_site_energies:
            start = math.fsum(self._load_energies(np.zeros_like(u)))
            return self._made() + start + self._work(u), math.nan
        if self.scheme.ghost == "none" and not self.scheme.blends_forces:
            return self.energy(u), math.nan
        load = (self.load * u).ravel()
        if self._blended_energy is None:
            self._blended_energy = self.blended or _Terms(self, self.layout, pure=False)
        t = self._blended_energy
        first = self._ghost_at_predictor() if self.blended is None else self._first_ghost
        now = t.forces(u) - self.blended_forces(u)
        now[~self.layout.free] = 0.0
        work = 0.5 * ((first + now) * u).ravel()
        energy = math.fsum(
            np.concatenate([t.energy_terms(u), work, load, self._load_energies(u)])
        )
        return energy, 0.5 * float(np.vdot(now - first, u))

    def _made(self) -> float:
        """Energy of the unrelaxed defects, eV: patch with them minus patch without."""
        if not self.layout.has_defects:
            return 0.0
        zero = np.zeros((self.layout.n_nodes, 3))
        perfect = _Terms(self, _perfect(self.layout), pure=True).atoms
        with_defects = self.pure.atoms
        change = len(with_defects.types) - len(perfect.types)
        bulk = float(self.rule.site_energy(np.asarray(self.far_field.mean_deformation)[None])[0])
        made = with_defects.cluster_energy(zero) - perfect.cluster_energy(zero)
        return made - change * bulk

    def _work(self, u: Array) -> float:
        """Work of the forces against the straight way from the predictor to ``u``, eV."""
        # Gauss-Legendre with four points: forces are smooth along the way.
        points, weights = np.polynomial.legendre.leggauss(4)
        return -math.fsum(
            0.5 * w * float(np.einsum("ni,ni->", self.forces(0.5 * (1.0 + t) * u), u))
            for t, w in zip(points, weights, strict=True)
        )

    def energy(self, u: Array) -> float:
        """Energy relative to the homogeneously strained perfect crystal, eV.

        Raises
        ------
        CapabilityError
            The scheme has no energy.
        """
        if self.blended is None:
            raise CapabilityError(f"scheme '{self.scheme.name}' blends forces and has no energy")
        return math.fsum(self.energy_terms(u))

    @locked
    def energy_terms(self, u: Array) -> Array:
        """Return the addends of the energy, for differences that keep their digits, eV."""
        if self.blended is None:
            raise CapabilityError(f"scheme '{self.scheme.name}' blends forces and has no energy")
        dead = ((self.ghost + self.load) * u).ravel()
        terms = [self.blended.energy_terms(u), dead[dead != 0.0], [self._offset]]
        return np.concatenate([*terms, self._load_energies(u)])

    @locked
    def round_off(self, u: Array) -> float:
        """Bound on what round-off does to `defect_energy`, eV; 0 without site energies."""
        if not self.rule.potential.has_site_energies:
            return 0.0
        return (self.blended or self._blended_energy or self.pure).round_off(u)

    @locked
    def forces(self, u: Array) -> Array:
        """Return the forces on the nodes, zero on fixed unknowns, (n_nodes, 3) eV/Angstrom."""
        self.evaluations += 1
        if self.blended is None:
            f = self.blended_forces(u) - self.load
        else:
            f = self.blended.forces(u) - self.ghost - self.load
        if self.external is not None:
            f += self.external.energy_forces(u)[1]
        f[~self.layout.free] = 0.0
        return f

    @locked
    def energy_forces(self, u: Array) -> tuple[float, Array]:
        """Energy (eV) and forces (n_nodes, 3) in one evaluation; the energy is NaN if none exists.

        For dynamics, which asks for both at every step. The energy is a pairwise sum, good to
        about 1e-15 of the sum of the absolute values of its addends.
        """
        self.evaluations += 1
        if self.blended is None:
            energy, f = np.nan, self.blended_forces(u) - self.load
        else:
            energy, f = self.blended.energy_forces(u)
            dead = self.ghost + self.load
            energy += float(np.einsum("ni,ni->", dead, u)) + self._offset
            f -= dead
        if self.external is not None:
            energies, push = self.external.energy_forces(u)
            energy += float(energies.sum())
            f += push
        f[~self.layout.free] = 0.0
        return energy, f

    @property
    def kept_shifts(self) -> Array:
        """Sublattice shifts that the next evaluation starts from, (n_q, n_s, 3) Angstrom."""
        return (self.blended or self.pure).continuum.kept_shifts

    @kept_shifts.setter
    def kept_shifts(self, shifts: Array) -> None:
        (self.blended or self.pure).continuum.set_shifts(shifts)

    @property
    def list_positions(self) -> Array | None:
        """Patch positions at which the neighbour list was made; see `AtomisticTerm`."""
        return (self.blended or self.pure).atoms.list_positions

    def make_list(self, positions: Array | None) -> None:
        """Make the neighbour list anew; see `AtomisticTerm.make_list`."""
        (self.blended or self.pure).atoms.make_list(positions)

    @locked
    def hessian_product(self, u: Array, du: Array) -> Array:
        """Minus the derivative of the forces along ``du``, (n_nodes, 3), on the free unknowns."""
        self.evaluations += 1
        du = np.where(self.layout.free, du, 0.0)
        if self.blended is None:
            t = self.pure
            h = self._mix(t.atom_hessian_product(u, du), t.continuum.hessian_product(u, du))
        else:
            h = self.blended.hessian_product(u, du)
        if self.external is not None:
            h += self.external.hessian_product(u, du)
        h[~self.layout.free] = 0.0
        return h

    def with_far_field(self, far_field: FarField) -> Coupling:
        """Return the coupling over the same layout for another predictor (a load step).

        Sublattice shifts go on from where they are, and the dead load `load` and `loads` stay.
        """
        other = Coupling(self.layout, self.rule, far_field, self.scheme, self.thermal)
        other.load, other.loads = self.load, self.loads
        for old, new in ((self.blended, other.blended), (self._pure, other._pure)):
            if old is not None and new is not None:
                new.continuum.continue_from(old.continuum)
        return other


class _Terms:
    """An atomistic and a continuum term over one layout."""

    def __init__(self, coupling: Coupling, layout: Layout, pure: bool) -> None:
        scheme, rule, far_field = coupling.scheme, coupling.rule, coupling.far_field
        potential = rule.potential
        beta_atoms = scheme.weighting(layout.beta_atoms)
        beta_nodes = scheme.weighting(layout.beta_nodes)
        keep = ~layout.vacant
        atoms_only = False
        if pure:
            # An atom's force needs the full energy of every site it belongs to.
            atomistic = layout.blend.centres.distance(layout.positions)
            limit = atomistic[beta_atoms < 1.0].max(initial=-np.inf) + 1.1 * potential.cutoff
            site_weights = (atomistic <= limit).astype(float)
        else:
            site_weights = 1.0 - scheme.weighting(layout.beta_cells)
        if pure:
            corners = _vertex_beta(layout, beta_nodes, np.max)[layout.mesh.elements]
            element_weights = (corners > 0).any(axis=1).astype(float)
        else:
            element_weights = blended_weights(layout, scheme.weighting, site_weights)
            atoms_only = not (beta_nodes[layout.free.any(axis=1)] > 0.0).any()
            if atoms_only:
                # Every unknown is a full atom: what elements there are at the rim hold a constant.
                element_weights = np.zeros_like(element_weights)
        mean = np.asarray(far_field.mean_deformation)
        crystal = layout.mesh.crystal
        period = mean @ crystal.cell[2] if crystal.is_columns else None
        self.node = layout.node[keep]
        self.n_nodes = layout.n_nodes
        self.continuum = ContinuumTerm(
            layout.mesh, rule, far_field, element_weights, layout.n_nodes, layout.sublattice_nodes
        )
        thermal = coupling.thermal
        if thermal is not None and thermal.expansion is not None:
            slaved = slaved_fractions(layout, thermal.quasi_static)
            self.continuum.set_vibration(thermal.expansion, slaved)
        sublattice = layout.sublattice[keep]
        x = layout.positions[keep]
        y0 = predict(rule, far_field, x, sublattice, coupling.relaxation)
        bulk = rule.site_energies(mean[None], rule.predictor_shifts(mean)[None])[0]
        reference: float | Array = float(bulk[0])
        if len(bulk) > 1:
            reference = bulk[sublattice[site_weights[keep] > 0]]
        #: How many sites the energy of the atoms counts.
        self.n_counted = float(site_weights[keep].sum())
        if atoms_only:
            rim = (site_weights > 0) & ~_moves(layout)
            self.n_counted -= float(site_weights[rim].sum())
            if not far_field.is_homogeneous:
                weighted = site_weights[keep] > 0
                reference = np.array(np.broadcast_to(reference, int(weighted.sum())))
                reference[rim[keep][weighted]] = _rim_energies(coupling, layout, rim, period)
        self.atoms = AtomisticTerm(
            potential,
            np.ascontiguousarray(y0),
            layout.types[keep],
            site_weights[keep],
            layout.interpolation[keep],
            reference=reference,
            period=period,
        )

    def __copy__(self) -> _Terms:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.atoms, other.continuum = copy.copy(self.atoms), copy.copy(self.continuum)
        return other

    def forces(self, u: Array) -> Array:
        return self.atoms.forces(u) + self.continuum.forces(u)

    def energy_forces(self, u: Array) -> tuple[float, Array]:
        sites, pull = self.atoms.energy_forces(u)
        points, forces = self.continuum.energy_forces(u)
        return float(sites.sum() + points.sum()), self.atoms.transposed @ pull + forces

    def energy_terms(self, u: Array) -> Array:
        active = self.atoms.active
        site = self.atoms.weights[active] * (self.atoms.site_energies(u) - self.atoms.reference)
        return np.concatenate([site, self.continuum.point_energies(u)])

    def round_off(self, u: Array) -> float:
        active = self.atoms.active
        size = np.abs(self.atoms.site_energies(u)) + np.abs(self.atoms.reference)
        atoms = float(np.finfo(float).eps * (self.atoms.weights[active] @ size))
        return atoms + self.continuum.round_off(u)

    def hessian_product(self, u: Array, du: Array) -> Array:
        atoms = self.atoms.transposed @ self.atoms.hessian_product(u, du)
        return atoms + self.continuum.hessian_product(u, du)

    def atom_forces(self, u: Array) -> Array:
        """Force on each node's own atom, (n_nodes, 3)."""
        return self._own(self.atoms.energy_forces(u)[1])

    def atom_hessian_product(self, u: Array, du: Array) -> Array:
        return self._own(self.atoms.hessian_product(u, du))

    def _own(self, per_atom: Array) -> Array:
        out = np.zeros((self.n_nodes, 3))
        has = self.node >= 0
        out[self.node[has]] = per_atom[has]
        return out


def _moves(layout: Layout) -> NDArray[np.bool_]:
    """Return which patch atoms are not held, (n,) bool; of a vacant site nothing is held."""
    has = layout.node >= 0
    out = layout.vacant.copy()
    out[has] |= layout.free[layout.node[has]].any(axis=1)
    return out


def _rim_energies(
    coupling: Coupling, layout: Layout, rim: NDArray[np.bool_], period: Array | None
) -> Array:
    """Energies of held sites at the predictor of the perfect crystal, eV.

    The sites that carry the neighbours of free atoms have a full energy, or forces would not be
    its gradient. What the predictor stores there belongs to the surroundings: it depends on how
    far the potential reaches, not on the state, and is counted as zero.
    """
    sites = ~layout.extra
    rule, sublattice = coupling.rule, layout.sublattice[sites]
    return AtomisticTerm(
        rule.potential,
        predict(
            rule, coupling.far_field, layout.positions[sites], sublattice, coupling.relaxation
        ),
        layout.host_types[sublattice],
        rim[sites].astype(float),
        layout.interpolation[sites],
        reference=0.0,
        period=period,
    ).site_energies(np.zeros((layout.n_nodes, 3)))


def predict(
    rule: CauchyBorn,
    far_field: FarField,
    x: Array,
    sublattice: IntArray | int,
    relaxation: SurfaceRelaxation | None = None,
) -> Array:
    """Predictor positions of sites at reference positions ``x`` (n, 3), shifts included."""
    if not len(x):
        return x
    s = np.broadcast_to(np.asarray(sublattice, dtype=np.int64), len(x))
    y = np.asarray(x + far_field.displacement(x))
    if relaxation is not None:
        y = y + relaxation.displacement(x - rule.crystal.basis[s], s)
    if not rule.has_shifts:
        return y
    shifts = starting_shifts(rule, far_field, x - rule.crystal.basis[s])
    return np.asarray(y + shifts[np.arange(len(x)), s])


def predict_nodes(
    layout: Layout,
    rule: CauchyBorn,
    far_field: FarField,
    relaxation: SurfaceRelaxation | None = None,
) -> Array:
    """Predictor positions of all nodes, (n_nodes, 3) Angstrom."""
    y = predict(rule, far_field, layout.node_positions, layout.node_sublattices, relaxation)
    whole = np.nonzero(layout.whole_cells)[0]
    if len(whole):
        x = layout.mesh.positions[whole]
        every = enumerate(rule.crystal.basis)
        y[whole] = np.mean(
            [predict(rule, far_field, x + b, s, relaxation) for s, b in every], axis=0
        )
    return y


def blended_weights(
    layout: Layout, weighting: Callable[[Array], Array], site_weights: Array
) -> Array:
    """Element weights ``omega_e``: the mean of ``beta`` over the vertices, with closed books.

    ``sum w_i + sum omega_e v_e / Omega`` must count every site of the perfect crystal once. The
    mean of ``beta`` does that where every vertex owns the volume of one site. In a bisection mesh
    the vertex volumes alternate around it, which leaves an error of about 1e-4 of the blend; it is
    spread over the elements with ``0 < omega < 1``. Of an atom on a free surface half a site is
    counted here, for its vertex owns half of one; its energy is that of a full site.

    Parameters
    ----------
    layout : Layout
    weighting : callable
        The scheme's.
    site_weights : (n,) float64
        ``w_i`` of all patch atoms, vacant sites included.

    Returns
    -------
    (n_e,) float64
    """
    mesh = layout.mesh
    omega = weighting(_vertex_beta(layout, layout.beta_nodes, np.mean))[mesh.elements].mean(axis=1)
    slack = omega * (1.0 - omega) * mesh.volumes
    if slack.sum() <= 0.0:
        return omega
    counted = site_weights * layout.site_shares
    missing = mesh.crystal.site_volume * counted[~layout.extra].sum()
    # Not the difference of two whole volumes, which for a large model is nothing but round-off.
    wanted = float((1.0 - omega) @ mesh.volumes - missing)
    return omega + wanted / float(slack.sum()) * omega * (1.0 - omega)


def _vertex_beta(layout: Layout, beta_nodes: Array, reduce: Callable[..., Array]) -> Array:
    """Blending function of whole cells, (n_v,): the mean, say, over the sublattices' nodes."""
    nodes = layout.sublattice_nodes
    if nodes.shape[1] == 1:
        return beta_nodes[: len(nodes)]
    # Where a vertex carries no other sublattices there are no atoms, and beta is that of the cell.
    return np.asarray(reduce(beta_nodes[np.where(nodes >= 0, nodes, nodes[:, :1])], axis=1))


def _perfect(layout: Layout) -> Layout:
    """Return the layout without its point defects; the nodes of extra atoms are idle."""
    sites = ~layout.extra
    return replace(
        layout,
        lattice=layout.lattice[sites],
        positions=layout.positions[sites],
        sublattice=layout.sublattice[sites],
        types=layout.host_types[layout.sublattice[sites]],
        vacant=np.zeros(int(sites.sum()), dtype=bool),
        extra=np.zeros(int(sites.sum()), dtype=bool),
        node=layout.node[sites],
        interpolation=layout.interpolation[sites],
        beta_atoms=layout.beta_atoms[sites],
        beta_cells=layout.beta_cells[sites],
    )
