"""What an integrator moves: a model's unknowns, or the atoms of any ASE calculator."""

from __future__ import annotations

import logging
from typing import Protocol, runtime_checkable

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian
from numpy.typing import NDArray

from qc.coupling import QuasiContinuum
from qc.errors import CapabilityError, InputError, NonFiniteError
from qc.numerics.checks import kind, numbers

Array = NDArray[np.float64]

#: Angstrom by which `difference_product` moves the furthest coordinate.
DIFFERENCE = 1e-4
log = logging.getLogger(__name__)


@runtime_checkable
class System(Protocol):
    """Degrees of freedom with masses, an energy and forces.

    Attributes
    ----------
    masses : (n,) float64, u
    free : (n, 3) bool
        Components that move.
    conservative : bool
        Whether the forces are minus the gradient of the energy.
    """

    masses: Array
    free: NDArray[np.bool_]
    conservative: bool

    @property
    def coordinates(self) -> Array:
        """Where the system is now, (n, 3) Angstrom."""

    @coordinates.setter
    def coordinates(self, x: Array) -> None:
        """Put the system somewhere."""

    def energy_forces(self, x: Array) -> tuple[float, Array]:
        """Energy (eV) and forces (n, 3) eV/Angstrom, zero on held components."""

    def hessian_product(self, x: Array, dx: Array) -> Array:
        """Minus the derivative of the forces along ``dx``, (n, 3) eV/Angstrom."""

    def memory(self) -> dict[str, Array]:
        """Return what the next evaluation depends on besides the coordinates, to the last bit."""

    def remember(self, memory: dict[str, Array]) -> None:
        """Take what `memory` gave."""


class ModelSystem:
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
        self.model = model
        self.conservative = model.coupling.conservative
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
        self.free = model.layout.free
        found = model.node_masses() if masses is None else masses
        self.masses = check_masses(found, self.free)

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

    def hessian_product(self, x: Array, dx: Array) -> Array:
        """Minus the derivative of the forces along ``dx``, (n_nodes, 3) eV/Angstrom."""
        return self.model.hessian_product(x, dx)

    def memory(self) -> dict[str, Array]:
        """Return where the neighbour list was made, and the shifts of the last evaluation."""
        return self.model.coupling.memory()

    def remember(self, memory: dict[str, Array]) -> None:
        """Make the neighbour list where it was made, and start shifts from where they were."""
        self.model.coupling.remember(memory)


class AtomsSystem:
    """The atoms of any ASE calculator, whole or held by `FixAtoms` and `FixCartesian`.

    Parameters
    ----------
    atoms : ase.Atoms
        With a calculator; its positions follow the dynamics.

    Raises
    ------
    InputError
        No atoms, no calculator, another constraint, or a mass that is not positive.
    """

    conservative = True

    def __init__(self, atoms: Atoms) -> None:
        kind("atoms", atoms, Atoms)
        if atoms.calc is None:
            raise InputError("the atoms have no calculator")
        if not np.isfinite(atoms.positions).all():
            atom = int(np.argmin(np.isfinite(atoms.positions).all(axis=1)))
            raise InputError(f"position of atom {atom} is not finite")
        self.atoms = atoms
        free = np.ones((len(atoms), 3), dtype=bool)
        for constraint in atoms.constraints:
            if isinstance(constraint, FixAtoms):
                free[constraint.index] = False
            elif isinstance(constraint, FixCartesian):
                index = constraint.index
                free[index] &= ~np.broadcast_to(np.asarray(constraint.mask, bool), (len(index), 3))
            else:
                raise InputError(
                    f"constraint {type(constraint).__name__} is not supported; hold atoms with "
                    "FixAtoms or FixCartesian"
                )
        self.free = free
        self.masses = check_masses(atoms.get_masses(), free)
        # With a smeared occupation forces are those of the free energy.
        known = getattr(atoms.calc, "implemented_properties", ())
        self._consistent = "free_energy" in known and "energy" in known

    @property
    def coordinates(self) -> Array:
        """The positions, (n, 3) Angstrom."""
        return self.atoms.positions

    @coordinates.setter
    def coordinates(self, x: Array) -> None:
        self.atoms.set_positions(x, apply_constraint=False)

    def energy_forces(self, x: Array) -> tuple[float, Array]:
        """Energy (eV) and forces (n, 3) eV/Angstrom.

        Raises
        ------
        NonFiniteError
            The calculator returned NaN or infinity.
        InputError
            The calculator returned forces of another shape.
        """
        self.coordinates = x
        energy = float(self.atoms.get_potential_energy(force_consistent=self._consistent))
        forces = numbers("the calculator's forces", self.atoms.get_forces(apply_constraint=False))
        if forces.shape != x.shape:
            raise InputError(f"the calculator gave forces of shape {forces.shape} for {x.shape}")
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            bad = np.nonzero(~np.isfinite(forces).all(axis=1))[0]
            where = f"force on atom {bad[0]}" if len(bad) else "energy"
            raise NonFiniteError(f"the calculator's {where} is not finite")
        forces[~self.free] = 0.0
        return energy, forces

    def hessian_product(self, x: Array, dx: Array) -> Array:
        """Minus the derivative of the forces along ``dx``, by a central difference.

        The atoms stay where they are.
        """
        here = self.atoms.positions.copy()
        try:
            return difference_product(self, x, np.where(self.free, dx, 0.0))
        finally:
            self.coordinates = here

    def memory(self) -> dict[str, Array]:
        """Return where the neighbour list of our own calculator was made.

        What another calculator remembers is its own.
        """
        made = getattr(self.atoms.calc, "list_positions", None)
        return {} if made is None else {"list": made}

    def remember(self, memory: dict[str, Array]) -> None:
        """Make the calculator forget its last results, and a list where it was made."""
        if hasattr(self.atoms.calc, "reset"):
            self.atoms.calc.reset()
        if hasattr(self.atoms.calc, "make_list"):
            self.atoms.calc.make_list(self.atoms, memory.get("list"))


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
        f"cannot integrate a {type(subject).__name__}: give a QuasiContinuum model, ASE Atoms "
        "with a calculator, or a qc.dynamics.System"
    )


def check_masses(masses: Array, free: NDArray[np.bool_]) -> Array:
    """Return masses (n,) as float64.

    Raises
    ------
    InputError
        A moving row has a mass that is not positive and finite; the message names it.
    """
    m = np.ascontiguousarray(masses, dtype=np.float64)
    if m.shape != (len(free),):
        raise InputError(f"masses of shape {m.shape} for {len(free)} nodes")
    bad = np.nonzero(free.any(axis=1) & ~(np.isfinite(m) & (m > 0.0)))[0]
    if len(bad):
        raise InputError(f"mass {m[bad[0]]} u of node {bad[0]} is not positive")
    return m


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
    from qc.continuum import crystal_stiffness

    kind("model", model, QuasiContinuum)
    layout, rule = model.layout, model.rule
    mean = np.asarray(model.far_field.mean_deformation)
    matrix = crystal_stiffness(layout.mesh, rule, mean, layout.sublattice_nodes, layout.n_nodes)
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


def difference_product(system: System, x: Array, dx: Array) -> Array:
    """Return minus the derivative of a system's forces along ``dx`` by a central difference."""
    size = float(np.abs(dx).max(initial=0.0))
    if size == 0.0:
        return np.zeros_like(x)
    step = dx * (DIFFERENCE / size)
    change = system.energy_forces(x - step)[1] - system.energy_forces(x + step)[1]
    return np.asarray(change * (0.5 * size / DIFFERENCE))
