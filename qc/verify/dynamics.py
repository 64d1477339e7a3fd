"""Does dynamics conserve what it must? A kit for any ASE calculator, model or system."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from qc.coupling import QuasiContinuum
from qc.dynamics import AtomsSystem, Dynamics, Langevin, ModelSystem, System, timestep_bound
from qc.errors import InputError
from qc.numerics.checks import positive, whole
from qc.numerics.progress import Progress
from qc.solve.model_system import as_system
from qc.verify.report import Check, Report

Array = NDArray[np.float64]

#: Steps of the finite differences, Angstrom: truncation rules at one end, round-off at the other.
STEPS = tuple(10.0**-k for k in range(1, 7))

#: Share of the stability bound that is the time step unless one is given.
SHARE = 1.0 / 15.0

FORCE_BOUND = 1e-6
SLOPE_BOUND = 1e-8
DRIFT_BOUND = 1e-2
ORDER_BOUND = 0.1
REVERSAL_BOUND = 1e-8
MOMENTUM_BOUND = 1e-10
CLOSURE_BOUND = 1e-10
TEMPERATURE_BOUND = 4.0


def check_dynamics(
    subject: Atoms | QuasiContinuum | System,
    *,
    timestep: float | None = None,
    temperature: float = 300.0,
    steps: int = 2000,
    seed: int = 0,
) -> Report:
    """Run the conservation checks on ASE atoms, a model or a system; it is left as it was.

    Parameters
    ----------
    subject : ase.Atoms with a calculator, QuasiContinuum, or qc.dynamics.System
        Near equilibrium. A scheme that blends forces goes in as ``ModelSystem(model,
        allow_nonconservative=True)``, and fails.
    timestep : float, ASE time, optional
        By default a fifteenth of the stability bound: about thirty steps to the fastest period.
    temperature : float, K
    steps : int
        Length of the run that the drift is judged by; the kit takes about four times as many.
    seed : int

    Returns
    -------
    Report
        Checks by name:

        - ``forces``: forces against central differences of the energy along a random direction;
          the best relative error over a sweep of steps.
        - ``time step``: over the stability bound.
        - ``slope``: of the total energy without a bath, eV per atom per step. Its statistical
          error, of block means, has to be below the bound as well: a run that cannot tell fails.
        - ``drift``: the slope over the run, against the standard deviation of the kinetic energy.
          Scaled to 1e5 steps it need not be: a drift grows with the run, its bound does not.
        - ``order``: distance from 2 of the exponent with which the fluctuation of the energy falls
          with the time step (dt, dt/2, dt/4 over one stretch of time). A force that is not the
          gradient of the energy leaves a fluctuation that does not fall at all.
        - ``reversal``: distance from the start after as many steps back as forth, Angstrom.
        - ``momentum``: change of the total momentum over its thermal size, where nothing holds the
          system.
        - ``ledger``: largest gap in the books of a run with a bath, over the kinetic energy.
        - ``temperature``: kinetic temperature of a Langevin run against the bath's, in standard
          errors (of block means).

    Raises
    ------
    InputError
        A parameter is out of range, or the subject cannot be integrated.

    Notes
    -----
    Velocity Verlet solves a modified Hamiltonian to all practical purposes exactly, so the energy
    fluctuates as dt^2 and does not drift; what drifts or does not fall is not an error of the
    integrator. Source: E. Hairer, C. Lubich & G. Wanner, Acta Numerica 12 (2003) 399; P. T. Merz &
    M. R. Shirts, PLoS ONE 13 (2018) e0202764 (order of the fluctuation as a test).
    """
    positive("temperature", temperature)
    if timestep is not None:
        positive("timestep", timestep)
    whole("steps", steps, 200)
    system = as_system(subject)
    start, memory = np.array(system.coordinates), system.memory()
    with Progress("check dynamics") as progress:
        try:
            kit = _Kit(system, start, timestep, temperature, steps, seed, progress)
            checks = tuple(kit.checks())
        finally:
            system.coordinates = start
            system.remember(memory)
    return Report(f"dynamics of {_name(system)}", checks)


def _name(system: System) -> str:
    if isinstance(system, ModelSystem):
        model = system.model
        return f"{model.scheme.name}, {model.crystal.name} {model.crystal.mode}"
    if isinstance(system, AtomsSystem):
        atoms = system.atoms
        return f"{atoms.get_chemical_formula()} with {type(atoms.calc).__name__}"
    return type(system).__name__


class _Kit:
    """The runs behind the checks."""

    def __init__(
        self,
        system: System,
        start: Array,
        timestep: float | None,
        temperature: float,
        steps: int,
        seed: int,
        progress: Progress,
    ) -> None:
        self.system, self.start, self.temperature = system, start, temperature
        self.steps, self.seed, self.progress = steps, seed, progress
        self.bound = timestep_bound(system, start)
        if timestep is None and not np.isfinite(self.bound):
            raise InputError("nothing vibrates in this system: give a timestep")
        self.step = SHARE * self.bound if timestep is None else timestep
        self.moving = int(system.free.sum())
        if not self.moving:
            raise InputError("nothing moves in this system")
        self.atoms = max(int(system.free.any(axis=1).sum()), 1)
        held = not system.free[system.masses > 0.0].all()
        self.floats = not held and isinstance(system, AtomsSystem)

    def checks(self) -> Iterator[Check]:
        self.progress.update("forces against the energy")
        yield self._forces()
        yield Check("time step", self.step / self.bound, 1.0, "over the stability bound")
        if self.step > self.bound:
            return
        x, v, books, hot = self._bath()
        yield from self._drift(x, v)
        self.progress.update("order of the fluctuation")
        yield self._order(x, v)
        self.progress.update("there and back")
        yield self._reversal(x, v)
        yield books
        yield hot

    def _dynamics(self, x: Array, v: Array, step: float | None = None) -> Dynamics:
        run = Dynamics(self.system, step or self.step, seed=self.seed, check_timestep=False)
        run.set_state(x=x, v=v)
        return run

    def _forces(self) -> Check:
        rng = np.random.default_rng(self.seed)
        free = self.system.free
        # Away from the minimum, where forces are as large as in motion.
        at = self.start + np.where(free, rng.normal(scale=0.05, size=free.shape), 0.0)
        direction = np.where(free, rng.normal(size=free.shape), 0.0)
        direction /= np.abs(direction).max()
        slope = -float((self.system.energy_forces(at)[1] * direction).sum())
        errors = []
        for h in STEPS:
            ends = [self.system.energy_forces(at + s * h * direction)[0] for s in (1, -1)]
            errors.append(abs((ends[0] - ends[1]) / (2.0 * h) - slope))
        best = min(errors) / max(abs(slope), 1e-300)
        return Check("forces", best, FORCE_BOUND, "best of the steps, relative")

    def _bath(self) -> tuple[Array, Array, Check, Check]:
        """Equilibrate in a bath, judge it, and return a state of equilibrium."""
        # Weak enough to leave vibrations what they are, strong enough that means of blocks are
        # independent.
        friction = 0.2 * np.pi / self.bound
        run = Dynamics(
            self.system, self.step, baths=[Langevin(self.temperature, friction)], seed=self.seed,
            check_timestep=False,
        )  # fmt: skip
        run.set_state(x=self.start)
        # Half of the kinetic energy becomes potential energy.
        run.set_temperature(2.0 * self.temperature)
        gap, kinetic = 0.0, []

        def note(now: Dynamics) -> None:
            nonlocal gap
            self.progress.update(f"bath, step {now.step}")
            gap = max(gap, abs(now.ledger.closure) / max(now.ledger.kinetic, 1e-300))
            kinetic.append(now.middle_kinetic)

        warm = max(self.steps // 2, round(5.0 / (friction * self.step)))
        run.run(warm, note)
        kinetic.clear()
        run.run(self.steps, note)
        found = 2.0 * np.array(kinetic) / (self.moving * units.kB)
        mean, error = _mean(found)
        off = abs(mean - self.temperature) / max(error, 1e-300)
        note_text = f"standard errors; {mean:.1f} +- {error:.1f} K in a bath of "
        hot = Check("temperature", off, TEMPERATURE_BOUND, f"{note_text}{self.temperature:.1f} K")
        books = Check("ledger", gap, CLOSURE_BOUND, "gap in the books, over the kinetic energy")
        x, v = run.x.copy(), run.v.copy()
        if self.floats:
            masses = self.system.masses[:, None]
            v -= (masses * v).sum(axis=0) / masses.sum()
        return x, v, books, hot

    def _drift(self, x: Array, v: Array) -> Iterator[Check]:
        run = self._dynamics(x, v)
        total, kinetic, momenta = [], [], []

        def note(now: Dynamics) -> None:
            self.progress.update(f"without a bath, step {now.step}")
            total.append(now.ledger.total)
            kinetic.append(now.ledger.kinetic)
            momenta.append(np.abs(now.momentum).max())

        run.run(self.steps, note)
        rise, error = _slope(np.array(total))
        figure = max(abs(rise), error) / self.atoms
        yield Check(
            "slope", figure, SLOPE_BOUND,
            f"eV per atom per step; {rise / self.atoms:.1e} +- {error / self.atoms:.1e}",
        )  # fmt: skip
        spread = float(np.std(kinetic))
        drift = abs(rise) * self.steps / max(spread, 1e-300)
        yield Check("drift", drift, DRIFT_BOUND, "over the spread of the kinetic energy")
        if self.floats:
            size = np.sqrt(self.system.masses.sum() * units.kB * self.temperature)
            yield Check("momentum", max(momenta) / size, MOMENTUM_BOUND, "over its thermal size")

    def _order(self, x: Array, v: Array) -> Check:
        length = max(self.steps // 8, 50)
        spreads = []
        for k in range(3):
            run = self._dynamics(x, v, self.step / 2**k)
            total: list[float] = []

            def note(now: Dynamics, into: list[float] = total) -> None:
                into.append(now.ledger.total)

            run.run(length * 2**k, note)
            spreads.append(max(float(np.std(total)), 1e-300))
        order = -float(np.polyfit(np.arange(3) * np.log(2.0), np.log(spreads), 1)[0])
        return Check("order", abs(order - 2.0), ORDER_BOUND, f"of the fluctuation: {order:.3f}")

    def _reversal(self, x: Array, v: Array) -> Check:
        run = self._dynamics(x, v)
        length = min(self.steps // 2, 1000)
        run.run(length)
        run.reverse()
        run.run(length)
        far = float(np.abs(run.x - x).max())
        return Check("reversal", far, REVERSAL_BOUND, f"Angstrom after {length} steps and back")


def _mean(values: Array, blocks: int = 10) -> tuple[float, float]:
    """Mean and its standard error from means of blocks, which are nearly independent."""
    means = values[: len(values) // blocks * blocks].reshape(blocks, -1).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(blocks))


def _slope(values: Array, blocks: int = 10) -> tuple[float, float]:
    """Least-squares slope per entry and its standard error, from means of blocks."""
    size = len(values) // blocks
    means = values[: size * blocks].reshape(blocks, size).mean(axis=1)
    t = size * (np.arange(blocks) - 0.5 * (blocks - 1))
    rise = float(t @ means / (t @ t))
    rest = means - means.mean() - rise * t
    return rise, float(np.sqrt(rest @ rest / (blocks - 2) / (t @ t)))
