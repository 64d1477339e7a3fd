"""`Dynamics`: velocity Verlet and Langevin (BAOAB) with a ledger that closes at every step."""

from __future__ import annotations

import logging
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import ArrayLike, NDArray

from qc.coupling import QuasiContinuum
from qc.dynamics import kernels
from qc.dynamics.heat.field import HeatField
from qc.dynamics.langevin import Bath, Exchange, check_field, per_node
from qc.dynamics.ledger import EnergyLedger
from qc.dynamics.noise import NoiseStream
from qc.dynamics.timestep import timestep_bound
from qc.errors import InputError, NonFiniteError
from qc.numerics.checks import kind, numbers, positive, whole
from qc.numerics.threads import threads_for
from qc.solve.model_system import as_system
from qc.solve.system import System

Array = NDArray[np.float64]
log = logging.getLogger(__name__)

#: Stream of the noise that velocities are drawn from; baths take 1, 2, ...
VELOCITIES = 0

#: Nodes below which one thread is the fastest, and by far where cores are shared: a step takes less
#: time than a pool of threads to wake.
FEW = 3000


class Drive(ABC):
    """Something that changes a system's potential in time: a moving indenter, a growing load.

    Attributes
    ----------
    name : str
        What the ledger calls its work.
    index : int or None
        Which of the system's loads it puts in place, if it is one of these and no other.
    """

    name: str
    index: int | None = None

    @abstractmethod
    def advance(self, system: System, x: Array, time: float) -> float:
        """Go to a time with the system at ``x``; return the change of its energy there, eV."""

    def described(self, timestep: float) -> list[str | float | Array]:
        """Return what tells it from another drive, for fingerprints; its name by default."""
        return [self.name]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Everything a run goes on from.

    Attributes
    ----------
    step : int
    x, v, forces : (n, 3) float64
        Angstrom, Angstrom/time, eV/Angstrom.
    potential : float, eV
    extra : dict of str to array
        State of the heat field (``field``), and what the system remembers: sublattice shifts, and
        where its neighbour list was made.
    ledger : dict
        As `EnergyLedger.dump` gives it.
    """

    step: int
    x: Array
    v: Array
    forces: Array
    potential: float
    extra: dict[str, Array]
    ledger: dict[str, Any]


class Dynamics:
    """Molecular dynamics of a model or of ASE atoms.

    Without baths it is velocity Verlet, symplectic and reversible; with them BAOAB, exact in the
    friction-noise part. The ledger books energy at every step.

    Parameters
    ----------
    subject : QuasiContinuum, ase.Atoms with a calculator, or System
    timestep : float, ASE time
        For instance ``2 * ase.units.fs``; refused beyond the stability bound.
    baths : sequence of Bath
        `Langevin`, `FieldBath` or one of your own.
        Several may act at once, each on the nodes where it has friction.
    field : HeatField, optional
        Conducts along. `FieldBath` couples it to the nodes; its own by default, if one is there.
    drives : sequence of Drive
        What moves by itself, and does work.
    seed : int
        From 0 on. Of all noise; the same seed gives the same run, bit by bit, for any number of
        threads as long as the forces are the same.
    conduct_every : int
        Steps between two of the field.
    close_field : bool
        The field takes over the energy that the discrete steps create (``integrator`` in the
        ledger), in proportion to its capacity: mechanical and field energy together are then
        constant to round-off.
    velocities : (n, 3) float64, Angstrom/time, optional
        At rest by default; see `set_temperature`.
    check_timestep : bool
        Ask for the stability bound, which costs some tens of force evaluations.
    step : int
        Steps done before, for a run that goes on from another: noise and drives go on from there.

    Attributes
    ----------
    step : int
        Steps done.
    x, v, forces : (n, 3) float64
        State: Angstrom, Angstrom/time, eV/Angstrom.
    potential : float, eV
    ledger : EnergyLedger

    Raises
    ------
    InputError
        A time step that is not positive or beyond the bound, velocities of another shape or not
        finite, two baths of one name, two drives of one load.
    CapabilityError
        A scheme that blends forces; wrap it in `ModelSystem` with ``allow_nonconservative``.

    Source: L. Verlet, Phys. Rev. 159 (1967) 98; W. C. Swope et al., J. Chem. Phys. 76 (1982) 637;
    B. Leimkuhler & C. Matthews, Appl. Math. Res. Express 2013 (2013) 34; Z. Zhang, X. Liu,
    K. Yan, M. E. Tuckerman & J. Liu, J. Phys. Chem. A 123 (2019) 6056 (kinetic energy in the
    middle).
    """

    def __init__(
        self,
        subject: QuasiContinuum | Atoms | System,
        timestep: float,
        *,
        baths: Sequence[Bath] = (),
        field: HeatField | None = None,
        drives: Sequence[Drive] = (),
        seed: int = 0,
        conduct_every: int = 1,
        close_field: bool = True,
        velocities: ArrayLike | None = None,
        check_timestep: bool = True,
        step: int = 0,
    ) -> None:
        self.system = system = as_system(subject)
        self.timestep, self.seed = positive("timestep", timestep), whole("seed", seed, 0)
        self.conduct_every = whole("conduct_every", conduct_every, 1)
        self.step = whole("step", step, 0)
        if check_timestep:
            self._refuse_beyond(timestep_bound(system))
        n = len(system.masses)
        inverse = np.where(system.masses > 0.0, 1.0 / np.maximum(system.masses, 1e-300), 0.0)
        self._inverse = np.ascontiguousarray(np.where(system.free, inverse[:, None], 0.0))
        self._masses = np.where(system.masses > 0.0, system.masses, 0.0)
        self.x = np.array(system.coordinates, dtype=np.float64)
        self.v = np.zeros((n, 3))
        self._spare_x, self._spare_v = np.empty((n, 3)), np.empty((n, 3))
        if velocities is not None:
            self.v = np.where(system.free, self._rows("velocities", velocities), 0.0)
        self._require_parts(baths, field, drives)
        self.field = field
        for bath in baths:
            if bath.field is not None:
                if self.field not in (None, bath.field):
                    raise InputError("two heat fields in one run")
                self.field = bath.field
        self.baths, self.drives = tuple(baths), tuple(drives)
        names = [bath.name for bath in self.baths] + [drive.name for drive in self.drives]
        if len(set(names)) < len(names):
            raise InputError(f"baths and drives share a name: {', '.join(names)}")
        driven = [drive.index for drive in self.drives if drive.index is not None]
        if len(set(driven)) < len(driven):
            raise InputError(f"two drives move one load of the model: {driven}")
        for drive in self.drives:
            drive.advance(system, self.x, self.time)
        self._exchanges = [self._exchange(k, bath) for k, bath in enumerate(self.baths)]
        self.close_field = bool(close_field)
        self.ledger = EnergyLedger()
        self.potential, self.forces = self._evaluate(self.x)
        self.open_ledger()

    @staticmethod
    def _require_parts(baths: object, field: object, drives: object) -> None:
        for name, parts, wanted in (("baths", baths, Bath), ("drives", drives, Drive)):
            if not isinstance(parts, Sequence) or isinstance(parts, str):
                raise InputError(f"{name} must be a sequence, not a {type(parts).__name__}")
            for one in parts:
                if not isinstance(one, wanted):
                    raise InputError(f"{one!r} is none of the {name} that can be given")
        if field is not None and not isinstance(field, HeatField):
            raise InputError(f"field must be a HeatField, not a {type(field).__name__}")

    def _refuse_beyond(self, bound: float) -> None:
        if self.timestep > bound:
            raise InputError(
                f"timestep {self.timestep / units.fs:.3g} fs is beyond the stability bound of "
                f"{bound / units.fs:.3g} fs (2 over the largest frequency)"
            )
        if self.timestep > 0.6 * bound:
            log.warning(
                "timestep %.3g fs is close to the stability bound of %.3g fs; anharmonic motion "
                "may cross it",
                self.timestep / units.fs,
                bound / units.fs,
            )

    def _exchange(self, index: int, bath: Bath) -> Exchange:
        noise = NoiseStream(self.seed, index + 1) if bath.noise else None
        given = bath.temperatures(self.system)
        return Exchange(self.system, bath.friction, self.timestep, noise, given)

    def _evaluate(self, x: Array) -> tuple[float, Array]:
        energy, forces = self.system.energy_forces(x)
        if not np.isfinite(energy):
            raise NonFiniteError(f"the energy is not finite after {self.step} steps")
        if not np.isfinite(forces).all():
            node = int(np.argmin(np.isfinite(forces).all(axis=1)))
            raise NonFiniteError(f"the force on node {node} is not finite after {self.step} steps")
        self._loads = self.system.loads
        return energy, forces

    def _rows(self, name: str, values: ArrayLike) -> Array:
        n = len(self.system.masses)
        out = numbers(name, values)
        if out.shape != (n, 3) or not np.isfinite(out).all():
            raise InputError(f"{name} must be finite and of shape ({n}, 3)")
        return out

    def __repr__(self) -> str:
        parts = [f"step {self.step}", f"{self.timestep / units.fs:.4g} fs a step"]
        parts.append(f"{int(self.system.free.sum())} unknowns at {self.temperature():.1f} K")
        parts += [f"bath '{bath.name}'" for bath in self.baths]
        parts += [f"drive '{drive.name}'" for drive in self.drives]
        return f"Dynamics({', '.join(parts)})"

    # -- state ------------------------------------------------------------------------------------

    @property
    def time(self) -> float:
        """Time since step 0, in ASE time."""
        return self.step * self.timestep

    @property
    def kinetic(self) -> float:
        """Kinetic energy, eV."""
        return float(kernels.kinetic(self.v, self._masses))

    def middle_velocities(self) -> Array:
        """Return the velocities in the middle of the last step, behind friction and noise.

        For harmonic motion under a bath their distribution is exact at any time step, where kinetic
        energies at the ends of steps are low by ``(omega dt)^2 / 4``: what is averaged or compared
        with the Maxwell-Boltzmann distribution is best taken here. Before the first step they are
        those of half a step ago.

        Returns
        -------
        (n, 3) float64, Angstrom/time
        """
        out = np.empty_like(self.v)
        back = -0.5 * self.timestep
        kernels.kick(self.v, self.forces, self._inverse, self._masses, back, out)
        return out

    @property
    def middle_kinetic(self) -> float:
        """Kinetic energy in the middle of the last step, eV; see `middle_velocities`."""
        return float(kernels.kinetic(self.middle_velocities(), self._masses))

    def temperature(self, nodes: ArrayLike | None = None) -> float:
        """Kinetic temperature of all moving nodes or of some (indices or mask), K.

        Zero where none of them moves.

        Raises
        ------
        InputError
            Neither indices nor a mask of the nodes.
        """
        part = slice(None) if nodes is None else np.asarray(nodes)
        try:
            v, m, free = self.v[part], self._masses[part], self.system.free[part]
        except IndexError as error:
            raise InputError(f"nodes must be indices or a mask of the nodes: {error}") from error
        count = int(free.sum())
        return float(np.einsum("n,ni,ni->", m, v, v)) / (count * units.kB) if count else 0.0

    @property
    def momentum(self) -> Array:
        """Total momentum, (3,) u Angstrom/time."""
        return np.asarray(self._masses @ self.v)

    def set_temperature(self, temperature: float | ArrayLike, *, at_rest: bool = False) -> None:
        """Draw velocities from the Maxwell-Boltzmann distribution, and open the ledger anew.

        Parameters
        ----------
        temperature : float or (n,) float64, K
        at_rest : bool
            Take away the motion of the whole, for systems that nothing holds.

        Raises
        ------
        InputError
            A temperature that is negative or not finite.
        """
        n = len(self._masses)
        check_field("temperature", temperature)
        kelvin = per_node("temperature", temperature, n)
        xi = NoiseStream(self.seed, VELOCITIES).normal(self.step, (n, 3))
        self.v = np.sqrt(units.kB * kelvin)[:, None] * np.sqrt(self._inverse) * xi
        if at_rest:
            moving = np.where(self.system.free, self._masses[:, None], 0.0)
            self.v -= np.where(self.system.free, (moving * self.v).sum(0) / moving.sum(0), 0.0)
        self.open_ledger()

    def set_state(self, x: ArrayLike | None = None, v: ArrayLike | None = None) -> None:
        """Put the system somewhere, evaluate it, and open the ledger anew.

        Raises
        ------
        InputError
            Another shape, or a number that is not finite.
        """
        if x is not None:
            self.x = self._rows("positions", x)
        if v is not None:
            self.v = np.where(self.system.free, self._rows("velocities", v), 0.0)
        self.potential, self.forces = self._evaluate(self.x)
        self.system.coordinates = self.x.copy()
        self.open_ledger()

    def open_ledger(self) -> None:
        """Begin the books with the state as it is."""
        self.ledger.open(self.kinetic, self.potential, self._field_energy())
        # Every account is there from the start, so that tables have all their columns.
        for bath in self.baths:
            for account in bath.accounts:
                self.ledger.book(account, bath.name, 0.0)
        if self.field is not None:
            for name in ("temperature", "flux"):
                self.ledger.book("boundary", name, 0.0)
            self.ledger.book("entropy", "conduction", 0.0)
            if self.close_field:
                self.ledger.book("integrator", "field", 0.0)
                self.ledger.book("entropy", "integrator", 0.0)
        for drive in self.drives:
            self.ledger.book("work", drive.name, 0.0)
        if len(self._loads) > len(self.drives):
            self.ledger.book("work", "loads", 0.0)
        self.ledger.book("remeshing", "remeshing", 0.0)
        self.ledger.book("integrator", "integrator", 0.0)

    def reverse(self) -> None:
        """Turn the velocities round: without noise the run goes back the way it came."""
        self.v = -self.v

    def _field_energy(self) -> float:
        return 0.0 if self.field is None else float(self.field.total_energy())

    # -- steps ------------------------------------------------------------------------------------

    def run(
        self,
        steps: int,
        callback: Callable[[Dynamics], bool | None] | None = None,
        every: int = 1,
    ) -> int:
        """Do some steps; return how many were done.

        Parameters
        ----------
        steps : int
        callback : callable, optional
            Called with the dynamics after every ``every`` steps, counted from step 0, with the
            model or atoms where the run is; returning True stops. Loads that it gives the model
            (``model.loads``) act from there on, and the ledger books the change of their energy
            as work of "loads".
        every : int

        Raises
        ------
        NonFiniteError, InvertedElementError
            The run has gone wrong; the state is that of the last good step.
        InputError
            A number of steps or an interval out of range.
        """
        whole("steps", steps, 0)
        whole("every", every, 1)
        if callback is not None and not callable(callback):
            raise InputError(f"callback must be a function of the dynamics, got {callback!r}")
        done = 0
        with threads_for(len(self._masses), FEW):
            try:
                while done < steps:
                    self._advance()
                    done += 1
                    if callback is not None and self.step % every == 0:
                        self.system.coordinates = self.x.copy()
                        if callback(self):
                            break
            finally:
                # Behind a failure too: that is the last good step.
                self.system.coordinates = self.x.copy()
        return done

    def _advance(self) -> None:
        """Do one step; what fails leaves the state as it was."""
        loads = self.system.loads
        if len(loads) != len(self._loads) or any(map(operator.is_not, loads, self._loads)):
            self._take_loads()
        h, x, v = self.timestep, self._spare_x, self._spare_v
        created = kernels.kick(self.v, self.forces, self._inverse, self._masses, 0.5 * h, v)
        booked: list[tuple[str, str, float]] = []
        field_before = None if self.field is None else self.field.state()
        try:
            work = self._drive(self.x, (self.step + 0.5) * h, booked)
            if self._exchanges:
                kernels.drift(self.x, v, 0.5 * h, x)
                for bath, exchange in zip(self.baths, self._exchanges, strict=True):
                    booked += bath.booked(exchange, *exchange(v, self.step))
                kernels.drift(x, v, 0.5 * h, x)
            else:
                kernels.drift(self.x, v, h, x)
            work += self._drive(x, (self.step + 1) * h, booked)
            potential, forces = self._evaluate(x)
            created += kernels.kick(v, forces, self._inverse, self._masses, 0.5 * h, v)
            created += potential - self.potential - work
            booked.append(("integrator", "integrator", created))
            booked += self._field_step(created)
        except Exception:
            if self.field is not None and field_before is not None:
                self.field.set_state(field_before)
            for drive in self.drives:
                drive.advance(self.system, self.x, self.time)
            self._loads = self.system.loads
            raise
        self._spare_x, self._spare_v = self.x, self.v
        self.x, self.v, self.forces, self.potential = x, v, forces, potential
        self.step += 1
        for entry in booked:
            self.ledger.book(*entry)
        self.ledger.set_state(self.kinetic, potential, self._field_energy())

    def _take_loads(self) -> None:
        """Go on under other loads of the model, and book what they changed."""
        potential, forces = self._evaluate(self.x)
        self.ledger.book("work", "loads", potential - self.potential)
        self.potential, self.forces = potential, forces
        self.ledger.set_state(self.kinetic, potential, self._field_energy())

    def _drive(self, x: Array, time: float, booked: list[tuple[str, str, float]]) -> float:
        """Let the drives go to a time; half before the drift and half behind, which is even.

        With all of it behind, their work would be right to first order in the time step only.
        """
        work = 0.0
        for drive in self.drives:
            done = drive.advance(self.system, x, time)
            booked.append(("work", drive.name, done))
            work += done
        return work

    def _field_step(self, created: float) -> list[tuple[str, str, float]]:
        """Conduct, and hand the integrator's error to the field."""
        if self.field is None:
            return []
        booked: list[tuple[str, str, float]] = []
        if (self.step + 1) % self.conduct_every == 0:
            done = self.field.conduct(self.conduct_every * self.timestep)
            booked += [
                ("boundary", "temperature", done.heat_through_temperatures),
                ("boundary", "flux", done.heat_through_fluxes),
                ("entropy", "conduction", done.entropy_production),
            ]
        if self.close_field:
            entropy = self.field.deposit(-created)
            booked += [("integrator", "field", -created), ("entropy", "integrator", entropy)]
        return booked

    # -- snapshots --------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return the state of the run; one that goes on from it agrees to the last bit."""
        extra = self.system.memory()
        if self.field is not None:
            extra["field"] = np.array(self.field.state())
        return Snapshot(
            self.step, self.x.copy(), self.v.copy(), self.forces.copy(), self.potential, extra,
            self.ledger.dump(),
        )  # fmt: skip

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of a run of the same system and settings.

        Raises
        ------
        InputError
            It belongs to another number of nodes, or to a run with or without a heat field.
        """
        kind("snapshot", snapshot, Snapshot)
        if snapshot.x.shape != self.x.shape:
            raise InputError(f"a snapshot of {len(snapshot.x)} nodes for {len(self.x)}")
        if (self.field is None) == ("field" in snapshot.extra):
            raise InputError("the snapshot and the run differ in having a heat field")
        if self.field is not None:
            self.field.set_state(snapshot.extra["field"])
        self.step = snapshot.step
        self.x, self.v = snapshot.x.copy(), snapshot.v.copy()
        self.forces, self.potential = snapshot.forces.copy(), snapshot.potential
        self.system.coordinates = self.x.copy()
        for drive in self.drives:
            drive.advance(self.system, self.x, self.time)
        self._loads = self.system.loads
        self.system.remember({k: v for k, v in snapshot.extra.items() if k != "field"})
        self.ledger = EnergyLedger.load(snapshot.ledger)
