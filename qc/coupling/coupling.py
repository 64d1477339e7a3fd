"""Energies, forces and Hessian products of a coupled model: one formula for every scheme."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from qc.continuum import crystal_stiffness
from qc.coupling.external import External, check_loads, site_counts
from qc.coupling.layout import Layout
from qc.coupling.parts import Parts
from qc.coupling.predictor import Predictor
from qc.coupling.scheme import Scheme
from qc.coupling.terms import Dead, Term, TermMaker
from qc.errors import CapabilityError, InputError
from qc.farfield import FarField
from qc.loads import Load
from qc.materials import CauchyBorn
from qc.materials.material import Material
from qc.materials.thermal import Thermal
from qc.numerics.threads import Lock, locked

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Coupling:
    """``E(U) = sum w_i [V_i - V_bulk] + sum omega_e v_e [W(F_e) - W_bulk] + <g, U> + sum E_l``.

    A list of terms, and how their ghost force is taken away.

    Parameters
    ----------
    layout : Layout
    rule : CauchyBorn
    far_field : FarField
        The predictor.
    scheme : Scheme
    thermal : Thermal, optional
        Adds the free energy of vibrations that are not explicit to the elements.
    loads : sequence of Load, optional
    material : Material, optional
        What elements are made of; ``rule`` by default.
    terms : sequence of callable, optional
        Further terms of the energy; see `ModelSpec`.

    Attributes
    ----------
    ghost : (n_nodes, 3) float64, eV/Angstrom
        The dead load ``g`` that takes ghost forces away. It is that of the static energy: the
        forces of a free energy that fades towards the atoms are balanced by their vibrations.
    mean_force : (n_nodes, 3) float64, eV/Angstrom
        A further force that is taken away: it adds ``<mean_force, U>`` to the energy.
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
        loads: Sequence[Load] = (),
        material: Material | None = None,
        terms: Sequence[TermMaker] = (),
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
        self.material: Material = rule if material is None else material
        self.evaluations = 0
        self.predictor = Predictor.of(rule, far_field, layout.mesh.hull)
        self.beta_nodes = scheme.weighting(layout.beta_nodes)
        self.mean_force = np.zeros((layout.n_nodes, 3))
        self._tractions = layout.tractions()
        self._require_sense()
        self.external: External | None = None
        #: Sites and elements of blended weights; None where forces are blended.
        self.blended = None if scheme.blends_forces else self._parts(layout)
        self._pure: Parts | None = None
        self._blended_energy: Parts | None = None
        self._ghost = Dead(np.zeros((layout.n_nodes, 3)))
        if scheme.ghost != "none":
            self._ghost = Dead(self._ghost_at_predictor())
        self._first_ghost = self.ghost
        self.loads = loads
        #: Terms of one's own.
        self.further: list[Term] = [make(self.predictor, layout) for make in terms]

    def _require_sense(self) -> None:
        """Refuse a predictor that does not repeat itself, and tractions that nothing balances."""
        layout = self.layout
        tied = layout.constraint
        if tied.leaders is not None:
            y = self.node_positions - layout.node_positions @ self.predictor.mean.T
            jump = float(np.abs(y[tied.followers] - tied.leaders @ y).max())
            if jump > 1e-6:
                raise InputError(
                    f"the far field differs by {jump:.3g} Angstrom between periodic faces, besides "
                    "its mean deformation"
                )
        if self._tractions.any() and layout.mesh.free.all():
            x = layout.node_positions - layout.node_positions.mean(axis=0)
            force, moment = self._tractions.sum(axis=0), np.cross(x, self._tractions).sum(axis=0)
            size = float(np.abs(self._tractions).sum())
            if np.abs(force).max() > 1e-9 * size or (
                tied.leaders is None and np.abs(moment).max() > 1e-9 * size * np.abs(x).max()
            ):
                raise InputError("nothing holds the model, and its tractions do not balance")

    def _parts(self, layout: Layout, *, pure: bool = False, static: bool = False) -> Parts:
        thermal = None if static else self.thermal
        return Parts(layout, self.predictor, self.scheme, thermal, self.material, pure=pure)

    @locked
    def __copy__(self) -> Coupling:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._lock = Lock()
        own = {id(t): copy.copy(t) for t in (self.blended, self._pure, self._blended_energy)}
        other.blended, other._pure = own[id(self.blended)], own[id(self._pure)]
        other._blended_energy = own[id(self._blended_energy)]
        other.further = [copy.copy(term) for term in self.further]
        return other

    def go_on_from(self, other: Coupling) -> None:
        """Take the shifts and the mean force of a coupling over the same layout."""
        self.mean_force = other.mean_force
        for new, old in ((self.blended, other.blended), (self._pure, other._pure)):
            if new is not None and old is not None:
                new.continuum.continue_from(old.continuum)

    # -- what it is the sum of --------------------------------------------------------------------

    @property
    def terms(self) -> list[Term]:
        """The terms whose sum the energy is, sites and elements first."""
        out: list[Term]
        if self.blended is None:
            out = [self.pure.mixed(self.beta_nodes)]
        else:
            out = [self.blended.sites, self.blended.elements]
            if self.scheme.ghost != "none":
                out.append(self._ghost)
        return out + self.outer_terms

    @property
    def outer_terms(self) -> list[Term]:
        """Those of the terms that are the work of something outside of the crystal."""
        out: list[Term] = []
        if self.mean_force.any():
            out.append(Dead(self.mean_force))
        if self._tractions.any():
            out.append(Dead(-self._tractions))
        if self.external is not None:
            out.append(self.external)
        return out + self.further

    @property
    def ghost(self) -> Array:
        """The dead load that takes ghost forces away, (n_nodes, 3) eV/Angstrom."""
        return self._ghost.gradient

    @property
    def parts(self) -> Parts:
        """Sites and elements as the forces have them, blended or pure."""
        return self.pure if self.blended is None else self.blended

    @property
    @locked
    def pure(self) -> Parts:
        """Unblended sites and elements, for force blending."""
        if self._pure is None:
            self._pure = self._parts(self.layout, pure=True)
        return self._pure

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
    def node_positions(self) -> Array:
        """Predictor positions of the nodes, (n, 3) Angstrom, read-only: found once."""
        y = self.predictor.nodes(self.layout)
        y.flags.writeable = False
        return y

    @cached_property
    def node_sites(self) -> tuple[Array, Array]:
        """Predictor positions of the nodes (n, 3) and how many sites each stands for (n,)."""
        omega = None
        if self.blended is not None and len(self.blended.continuum.active):
            omega = self.blended.continuum.weights
        counts = site_counts(self.layout, self.scheme.weighting, omega)
        return self.node_positions, self.layout.constraint.gather(counts)

    @property
    def conservative(self) -> bool:
        """Whether the forces derive from an energy."""
        return self.scheme.conservative

    def stiffness(self) -> sp.csr_matrix:
        """Return the stiffness of the uniform crystal on the whole mesh, eV/Angstrom^2.

        (3 n_nodes, 3 n_nodes), for preconditioners: elements everywhere, in the core too.
        """
        layout = self.layout
        return crystal_stiffness(
            layout.space,
            self.material,
            self.predictor.mean,
            layout.sublattice_nodes,
            layout.n_nodes,
        )

    # -- ghost forces -----------------------------------------------------------------------------

    def _ghost_at_predictor(self) -> Array:
        """``f_BQCE - f_BQCF`` of the defect-free crystal at ``U = 0``, of the static energy."""
        layout, u = self.layout, np.zeros((self.layout.n_nodes, 3))
        perfect = layout.without_defects()
        own = perfect is layout and self.thermal is None
        blended = self.blended if own else None
        g = (blended or self._parts(perfect, static=True)).forces(u)
        # The forces of a homogeneously deformed crystal vanish at every inner node, by symmetry,
        # unless it has a surface.
        if not self.far_field.is_homogeneous or layout.mesh.hull.ends:
            pure = self.pure if own else self._parts(perfect, pure=True, static=True)
            g = g - pure.mixed(self.beta_nodes).forces(u)
        return layout.constraint.restrict(g)

    @locked
    def refresh_ghost(self, u: Array) -> float:
        """Take the ghost force at a new state; return the largest change, eV/Angstrom.

        At the fixed point the total force is the blended force of BQCF.
        """
        assert self.blended is not None
        u = self.layout.constraint.expand(u)
        new = self.blended.forces(u) - self.blended_forces(u)
        self.layout.constraint.restrict(new)
        change = float(np.abs(new - self.ghost).max(initial=0.0))
        # The load followed the state from its value at the predictor; the trapezoidal rule for
        # its work fixes the constant of the energy.
        self._ghost = Dead(new, 0.5 * float(np.vdot(self._first_ghost - new, u)))
        self.evaluations += 1
        return change

    @locked
    def blended_forces(self, u: Array) -> Array:
        """Return the forces of BQCF, (n_nodes, 3) eV/Angstrom, fixed unknowns included."""
        return self.pure.mixed(self.beta_nodes).forces(u)

    # -- energies ---------------------------------------------------------------------------------

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
        u = self.layout.constraint.expand(u)
        if not self.rule.potential.has_site_energies:
            start = math.fsum(self._outer_energies(np.zeros_like(u)))
            return self._made() + start + self._work(u), math.nan
        if self.scheme.ghost == "none" and not self.scheme.blends_forces:
            return self.energy(u), math.nan
        if self._blended_energy is None:
            self._blended_energy = self.blended or self._parts(self.layout)
        t = self._blended_energy
        first = self._ghost_at_predictor() if self.blended is None else self._first_ghost
        now = t.forces(u) - self.blended_forces(u)
        self.layout.constraint.restrict(now)
        work = 0.5 * ((first + now) * u).ravel()
        energy = math.fsum(np.concatenate([t.energy_terms(u), work, self._outer_energies(u)]))
        return energy, 0.5 * float(np.vdot(now - first, u))

    def _outer_energies(self, u: Array) -> Array:
        return np.concatenate([np.zeros(0), *(term.energies(u) for term in self.outer_terms)])

    def _made(self) -> float:
        """Energy of the unrelaxed defects, eV: patch with them minus patch without."""
        if not self.layout.has_defects:
            return 0.0
        zero = np.zeros((self.layout.n_nodes, 3))
        perfect = self._parts(self.layout.without_defects(), pure=True).atoms
        with_defects = self.pure.atoms
        change = len(with_defects.types) - len(perfect.types)
        bulk = float(self.rule.site_energy(self.predictor.mean[None])[0])
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
        return math.fsum(self.energy_terms(u))

    @locked
    def energy_terms(self, u: Array) -> Array:
        """Return the addends of the energy, for differences that keep their digits, eV."""
        if self.blended is None:
            raise CapabilityError(f"scheme '{self.scheme.name}' blends forces and has no energy")
        u = self.layout.constraint.expand(u)
        return np.concatenate([term.energies(u) for term in self.terms])

    @locked
    def round_off(self, u: Array) -> float:
        """Bound on what round-off does to `defect_energy`, eV; 0 without site energies."""
        if not self.rule.potential.has_site_energies:
            return 0.0
        return (self.blended or self._blended_energy or self.pure).round_off(u)

    # -- forces -----------------------------------------------------------------------------------

    @locked
    def forces(self, u: Array) -> Array:
        """Return the forces on the nodes, zero on fixed unknowns, (n_nodes, 3) eV/Angstrom."""
        self.evaluations += 1
        u = self.layout.constraint.expand(u)
        first, *others = self.terms
        f = first.forces(u)
        for term in others:
            f += term.forces(u)
        return self.layout.constraint.restrict(f)

    @locked
    def energy_forces(self, u: Array) -> tuple[float, Array]:
        """Energy (eV) and forces (n_nodes, 3) in one evaluation; the energy is NaN if none exists.

        For dynamics, which asks for both at every step. The energy is a pairwise sum, good to
        about 1e-15 of the sum of the absolute values of its addends.
        """
        self.evaluations += 1
        u = self.layout.constraint.expand(u)
        first, *others = self.terms
        energies, f = first.energy_forces(u)
        energy = float(energies.sum())
        for term in others:
            energies, more = term.energy_forces(u)
            energy += float(energies.sum())
            f += more
        return energy, self.layout.constraint.restrict(f)

    @locked
    def hessian_product(self, u: Array, du: Array) -> Array:
        """Minus the derivative of the forces along ``du``, (n_nodes, 3), on the free unknowns."""
        self.evaluations += 1
        tied = self.layout.constraint
        u, du = tied.expand(u), tied.expand(np.where(tied.free, du, 0.0))
        first, *others = self.terms
        h = first.hessian_product(u, du)
        for term in others:
            h += term.hessian_product(u, du)
        return tied.restrict(h)

    # -- what the next evaluation depends on ------------------------------------------------------

    def memory(self) -> dict[str, Array]:
        """Return what the next evaluation depends on besides U, to the last bit."""
        out: dict[str, Array] = {}
        for term in self.terms:
            out |= term.memory()
        return out

    def remember(self, memory: Mapping[str, Array]) -> None:
        """Take what `memory` gave."""
        for term in self.terms:
            term.remember(memory)
