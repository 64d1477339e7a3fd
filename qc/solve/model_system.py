"""A model as a system: what solvers and integrators see of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from qc.coupling import QuasiContinuum
from qc.coupling.reference import References
from qc.crystal import Crystal
from qc.errors import CapabilityError, InputError
from qc.loads import Load
from qc.numerics.checks import kind
from qc.solve.health import coupling_error, doubt, inspect_state
from qc.solve.precondition import Preconditioner
from qc.solve.result import DefectResult, Result
from qc.solve.system import AtomsSystem, System, check_masses

Array = NDArray[np.float64]
log = logging.getLogger(__name__)

#: Part of the defect energy that may be round-off without a warning.
LOST_DIGITS = 1e-3

#: eV; energies below this are nothing, whatever the round-off in them.
NOTHING = 1e-6


class ModelSystem(System):
    """A quasicontinuum model: its correctors move with the lumped masses of its nodes.

    Parameters
    ----------
    model : QuasiContinuum
    allow_nonconservative : bool
        Take a scheme that blends forces. Its forces derive from no energy: nothing is conserved,
        a bath samples no known distribution, and the energy that is reported is the blended
        energy with the work of the ghost forces by the trapezoidal rule.
    masses : (n_nodes,) float64, u, optional
        The model's lumped masses by default. What a thermostatted model samples does not depend on
        them, its time scales do; see `scaled_masses`.

    Raises
    ------
    CapabilityError
        A scheme without an energy that was not asked for, or a potential without site energies.
    InputError
        No model, or a mass that is not positive.
    """

    def __init__(
        self,
        model: QuasiContinuum,
        *,
        allow_nonconservative: bool = False,
        masses: Array | None = None,
    ) -> None:
        kind("model", model, QuasiContinuum)
        self._take(model)
        if model.scheme.ghost == "self-consistent":
            log.warning("the ghost force of scheme '%s' stays frozen", model.scheme.name)
        if not self.conservative:
            name = model.scheme.name
            if not allow_nonconservative:
                raise CapabilityError(
                    f"scheme '{name}' blends forces, which derive from no energy: dynamics would "
                    "conserve nothing and a thermostat would sample no known distribution. Take "
                    "'bgfc', or ask for it with allow_nonconservative=True"
                )
            if not model.potential.has_site_energies:
                raise CapabilityError(f"{type(model.potential).__name__} has no site energies")
            log.warning(
                "scheme '%s' has no energy: the ledger cannot close, and equipartition between "
                "atoms and continuum is not assured",
                name,
            )
        if masses is not None:
            self.masses = masses

    def _take(self, model: QuasiContinuum) -> None:
        self.model: QuasiContinuum = model
        self.conservative = model.coupling.conservative
        self.free = model.layout.free
        self.label = f"scheme '{model.scheme.name}'"
        self.spacing = model.crystal.nearest_neighbour
        self._reference: References | None = None

    @classmethod
    def at_rest(
        cls, model: QuasiContinuum, mu: Mapping[str, float | Crystal] | None = None
    ) -> ModelSystem:
        """Return the system of a relaxation, which needs no energy, with chemical potentials."""
        system = cls.__new__(cls)
        system._take(model)
        system._reference = References(model.layout, model.rule, model.far_field, mu)
        return system

    @property
    def masses(self) -> Array:
        """The lumped masses of the nodes, (n_nodes,) u, unless others were given."""
        if self._masses is None:
            self._masses = check_masses(self.model.node_masses(), self.free)
        return self._masses

    @masses.setter
    def masses(self, masses: Array) -> None:
        self._masses = check_masses(masses, self.free)

    @property
    def coordinates(self) -> Array:
        """The correctors, (n_nodes, 3) Angstrom."""
        return self.model.U

    @coordinates.setter
    def coordinates(self, x: Array) -> None:
        self.model.U = x

    def energy_forces(self, x: Array) -> tuple[float, Array]:
        """Energy (eV) and forces (n_nodes, 3) eV/Angstrom."""
        energy, forces = self.model.energy_forces(x)
        return energy if self.conservative else self.model.coupling.defect_energy(x), forces

    def forces(self, x: Array) -> Array:
        """Return the forces on the nodes, (n_nodes, 3) eV/Angstrom."""
        return self.model.coupling.forces(x)

    def hessian_product(self, x: Array, dx: Array) -> Array:
        """Minus the derivative of the forces along ``dx``, (n_nodes, 3) eV/Angstrom."""
        return self.model.hessian_product(x, dx)

    def memory(self) -> dict[str, Array]:
        """Return where the neighbour list was made, and the shifts of the last evaluation."""
        return self.model.coupling.memory()

    def remember(self, memory: dict[str, Array]) -> None:
        """Make the neighbour list where it was made, and start shifts from where they were."""
        self.model.coupling.remember(memory)

    @property
    def loads(self) -> tuple[Load, ...]:
        """External loads of the model."""
        return self.model.loads

    @loads.setter
    def loads(self, loads: Sequence[Load]) -> None:
        self.model.loads = loads

    def load_energy(self, x: Array) -> float:
        """Sum of the energies of the external loads, eV."""
        return self.model.load_energy(x)

    def preconditioner(self) -> Preconditioner:
        """Return the inverse of the defect-free crystal's stiffness."""
        return Preconditioner(self.model)

    def settle(self, x: Array) -> float | None:
        """Take a self-consistent ghost force at a state; None where it stays."""
        if self.model.scheme.ghost != "self-consistent":
            return None
        return self.model.coupling.refresh_ghost(x)

    def positions(self, x: Array) -> Array:
        """Positions of the nodes, (n_nodes, 3) Angstrom."""
        return self.model.predictor() + x

    def finished(self, x: Array, found: Result) -> DefectResult:
        """Add the defect energy, what it counts, its estimated error, and warnings."""
        model, coupling, reference = self.model, self.model.coupling, self._reference
        if reference is None:
            reference = References(model.layout, model.rule, model.far_field, None)
        warnings = [*found.warnings, *inspect_state(model)]
        best, change = coupling.best_energy(x)
        defect_energy = reference.energy(best)
        error = None if math.isnan(change) else coupling_error(change)
        warnings += [*reference.warnings(), *doubt(model, error, best)]
        energy = coupling.energy(x) + strain_energy(model) if coupling.conservative else None
        lost = coupling.round_off(x)
        if lost > max(LOST_DIGITS * abs(defect_energy), NOTHING):
            warnings.append(
                f"round-off may change the defect energy of {defect_energy:.6g} eV by up to "
                f"{lost:.1g} eV: too much of the model is strained for its size; make it smaller"
            )
        return DefectResult(
            **(vars(found) | {"energy": energy, "warnings": tuple(warnings)}),
            defect_energy=defect_energy,
            reference=reference.elements,
            estimated_error=error,
        )


def strain_energy(model: QuasiContinuum) -> float:
    """Energy of the homogeneously strained perfect crystal over the undeformed one, eV."""
    mean = np.asarray(model.far_field.mean_deformation)
    pair = model.rule.site_energy(np.stack([mean, np.eye(3)]))
    return float(pair[0] - pair[1]) * model.n_sites


def as_system(subject: System | QuasiContinuum | Atoms) -> System:
    """Return a system for a model, ASE atoms with a calculator, or a system itself.

    Raises
    ------
    InputError
        None of these.
    """
    if isinstance(subject, QuasiContinuum):
        return ModelSystem(subject)
    if isinstance(subject, Atoms):
        return AtomsSystem(subject)
    if isinstance(subject, System):
        return subject
    raise InputError(
        f"a {type(subject).__name__} is no system: give a QuasiContinuum model, ASE Atoms with a "
        "calculator, or a qc.solve.System"
    )


def resting(
    subject: System | QuasiContinuum | Atoms, mu: Mapping[str, float | Crystal] | None = None
) -> System:
    """Return the system that a relaxation of a subject is of.

    Of a model's it needs no energy, and takes chemical potentials.

    Raises
    ------
    InputError
        No system, or chemical potentials for one that is no model.
    """
    if isinstance(subject, QuasiContinuum):
        return ModelSystem.at_rest(subject, mu)
    if mu is not None:
        raise InputError("mu is for models: chemical potentials of their defects' atoms")
    return as_system(subject)


def scaled_masses(model: QuasiContinuum) -> Array:
    """Masses that give every node the time scale of an atom, (n_nodes,) u.

    The mass of a node is that of an atom times its own stiffness over an atom's. A thermostatted
    model samples the same distribution with any masses, but lumped ones make coarse nodes slow:
    with these, all of them equilibrate as fast as the atoms and the time step stays what it is.
    For averages, not for waves.

    Raises
    ------
    InputError
        No model.

    Source: the mass-scaled dynamics of hot-QC, E. B. Tadmor, F. Legoll, W. K. Kim, L. M. Dupuy &
    R. E. Miller, Appl. Mech. Rev. 65 (2013) 010803.
    """
    kind("model", model, QuasiContinuum)
    layout, matrix = model.layout, model.coupling.stiffness()
    lumped = model.node_masses()
    stiffness = matrix.diagonal().reshape(-1, 3).mean(axis=1)
    # The atoms themselves are the measure; a model without any takes its finest elements.
    inner = layout.beta_nodes < 1.0
    inner &= stiffness > 0.0
    if not inner.any():
        inner = lumped <= np.quantile(lumped, 0.05)
    scale = float(np.median(stiffness[inner] / lumped[inner]))
    out = lumped.copy()
    coarse = (layout.beta_nodes >= 1.0) & (stiffness > 0.0)
    out[coarse] = stiffness[coarse] / scale
    return out
