"""Cases of kind ``"dynamics"``: molecular dynamics of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
from ase import units

from qc.coupling import QuasiContinuum
from qc.dynamics import Dynamics, Langevin, ModelSystem, MovingLoad, scaled_masses
from qc.errors import CaseError, CheckpointError
from qc.io.cases import schema
from qc.io.cases.base import Case, Ended, RunOptions, Setup
from qc.io.cases.baths import BATHS, BathCase, HeatCase
from qc.io.cases.frames import Frames
from qc.io.cases.resolve import resolved
from qc.io.cases.setup import named
from qc.io.cases.tables import OutputCase
from qc.io.files import shown_name
from qc.io.runs.dynamics import Outcome, Recorder, run_dynamics
from qc.io.runs.folder import RunFolder
from qc.io.runs.signals import Stop
from qc.io.vtk import write_pvd
from qc.numerics.checks import kind
from qc.numerics.progress import Progress
from qc.solve import mean_force, relax

_fs = schema.quantity(schema.TIMES, "time", above=0.0)
_steps = schema.integer(1, 10**12)

#: Seeds of warming up begin here, beyond those of cases: its noise is none of the run's.
WARM_SEEDS = 2**63


def _velocities(value: Any, where: str) -> float | str:
    """Read a temperature, or "field"."""
    return "field" if value == "field" else schema.kelvin(low=0.0)(value, where)


@dataclass(frozen=True)
class WarmUpCase:
    """``[dynamics.warm_up]``: a bath everywhere for some steps before the run begins."""

    steps: Annotated[int, _steps]
    temperature: Annotated[float, schema.kelvin(low=0.0)]
    friction: Annotated[float, schema.quantity(schema.RATES, "friction", above=0.0)]


@dataclass(frozen=True)
class DynamicsTable:
    """``[dynamics]``: how a model moves."""

    timestep: Annotated[float, _fs]
    steps: Annotated[int, _steps]
    relax: Annotated[bool, schema.boolean] = False
    velocities: Annotated[float | str, _velocities] = 0.0
    scaled_masses: Annotated[bool, schema.boolean] = False
    mean_force: Annotated[int | None, schema.integer(2, 10**6)] = None
    warm_up: Annotated[WarmUpCase | None, schema.table(WarmUpCase)] = None
    baths: Annotated[
        tuple[BathCase, ...], schema.sequence(schema.of_kind(BATHS, "langevin"), most=100)
    ] = ()
    heat: Annotated[HeatCase | None, schema.table(HeatCase)] = None


@dataclass(frozen=True)
class DynamicsOutput(OutputCase):
    """``[output]`` of a run in time."""

    history: Annotated[int, _steps] = 10
    checkpoints: Annotated[int, _steps] = 1000
    frames: Annotated[int | None, _steps] = None


@dataclass(frozen=True, kw_only=True)
class DynamicsCase(Case):
    """Molecular dynamics."""

    dynamics: Annotated[DynamicsTable, schema.table(DynamicsTable)]
    output: Annotated[DynamicsOutput, schema.table(DynamicsOutput)] = field(
        default_factory=DynamicsOutput
    )
    kind = "dynamics"

    def check(self) -> None:
        """Check what involves several keys; see `Case.check`."""
        super().check()
        for k, load in enumerate(self.loads):
            if vars(load)[load.path_key]:
                raise CaseError(
                    f"loads[{k}].{load.path_key}: in dynamics a load moves by '{load.rate_key}'"
                )
        frames, rows = self.output.frames, self.output.history
        if frames is not None and frames % rows:
            raise CaseError(f"output.frames: {frames} is no multiple of output.history, {rows}")
        if self.dynamics.velocities == "field" and self.dynamics.heat is None:
            raise CaseError("dynamics.velocities: 'field' needs [dynamics.heat]")

    def run(self, setup: Setup, folder: Path, options: RunOptions) -> Ended:
        """Run to the last step; what is there after any end is enough to go on from."""
        home = RunFolder(folder)
        if options.resume and not home.checkpoint.exists():
            raise CheckpointError(f"checkpoint {home.checkpoint}: No such file")
        with named(self):
            if len(setup.deformations) > 1:
                raise CaseError("load: dynamics has one deformation, not a path of them")
            dynamics = build_dynamics(setup, resumed=options.resume)
        recorder = _Files(setup, home, options.say)
        home.begin(
            resolved(setup, folder), recorder.frames.folders,
            clear=options.force and not options.resume,
        )  # fmt: skip
        outcome = run_dynamics(
            dynamics,
            self.dynamics.steps,
            folder,
            every=self.output.history,
            checkpoint_every=self.output.checkpoints,
            start=partial(_start, setup),
            resume=options.resume,
            force=options.force,
            columns=_columns(setup, dynamics),
            picture=self.output.pictures != "none",
            recorder=recorder,
        )
        stop = Stop()
        stop.number = None if outcome.complete else outcome.signal
        status = "complete" if outcome.complete else "interrupted"
        return Ended(status, outcome.reason, _summary(setup, home, dynamics, outcome), stop)


def _case(setup: Setup) -> DynamicsCase:
    """Return the case of a setup, which has to be one of dynamics."""
    kind("setup", setup, Setup)
    kind("its case", setup.case, DynamicsCase)
    return cast(DynamicsCase, setup.case)


def build_dynamics(setup: Setup, *, resumed: bool = False) -> Dynamics:
    """Return the dynamics that a case describes, with its baths, heat field and drives.

    Parameters
    ----------
    setup : Setup
        Of a case of kind ``"dynamics"``.
    resumed : bool
        The state comes from a checkpoint: nothing is relaxed, and the time step is known to be
        within its bound.

    Raises
    ------
    InputError
        A setup of another kind of case.
    CaseError
        Values that do not fit the model; the message names the key.
    ConvergenceError
        The relaxation that was asked for did not converge.
    """
    case, model = _case(setup), setup.model
    table = case.dynamics
    if table.relax and not resumed:
        with Progress("relax") as show:
            relax(model, raise_on_failure=True, callback=show, **case.solver.options(model.crystal))
    if table.mean_force is not None:
        with schema.at("dynamics.mean_force"):
            found = mean_force(model, samples=table.mean_force, seed=case.seed)
            model = model.without_mean_force(found.force)
    heat = None
    if table.heat is not None:
        with schema.at("dynamics.heat"):
            heat = table.heat.build(model)
    baths = schema.build_all("dynamics.baths", table.baths, model, heat)
    drives = [
        MovingLoad(motion.after, name=load.name, index=k)
        for k, (load, motion) in enumerate(zip(case.loads, setup.motions, strict=True))
        if motion.rate
    ]
    masses = scaled_masses(model) if table.scaled_masses else None
    with schema.at("dynamics"):
        return Dynamics(
            ModelSystem(model, masses=masses),
            table.timestep * units.fs,
            baths=baths,
            field=heat,
            drives=drives,
            seed=case.seed,
            conduct_every=1 if table.heat is None else table.heat.conduct_every,
            close_field=table.heat is None or table.heat.close_field,
            check_timestep=not resumed,
        )


def _start(setup: Setup, dynamics: Dynamics) -> None:
    """Draw velocities and warm up."""
    case = _case(setup)
    table, warm_up = case.dynamics, case.dynamics.warm_up
    kelvin: Any = table.velocities
    if table.velocities == "field":
        assert table.heat is not None
        # Half of it becomes potential energy within a few vibrations.
        kelvin = 2.0 * table.heat.temperatures(
            setup.model.crystal, setup.model.layout.node_positions
        )
    if np.any(kelvin):
        dynamics.set_temperature(kelvin)
    if warm_up is not None:
        bath = Langevin(warm_up.temperature, warm_up.friction / units.fs)
        warm = Dynamics(
            dynamics.system, dynamics.timestep, baths=[bath], seed=WARM_SEEDS + case.seed,
            velocities=dynamics.v, check_timestep=False,
        )  # fmt: skip
        warm.run(warm_up.steps)
        dynamics.set_state(warm.x, warm.v)


def _columns(setup: Setup, dynamics: Dynamics) -> dict[str, Callable[[Dynamics], float]]:
    """Return more columns of the history: temperatures of regions, numbers and forces of loads."""
    out: dict[str, Callable[[Dynamics], float]] = {}
    beta, free = setup.model.layout.beta_nodes, setup.model.layout.free.any(axis=1)
    regions = {"core": beta == 0.0, "blend": (beta > 0.0) & (beta < 1.0), "continuum": beta >= 1.0}
    for name, nodes in regions.items():
        if (nodes & free).any():
            out[f"temperature:{name}"] = partial(Dynamics.temperature, nodes=nodes & free)
    for k, (load, motion) in enumerate(zip(setup.case.loads, setup.motions, strict=True)):
        if motion.rate:
            out[f"{motion.what}:{load.name}"] = partial(_number, motion.start, motion.rate)
        for i, axis in enumerate("xyz"):
            out[f"force_{axis}:{load.name}"] = partial(_reaction, k, i)
    return out


def _number(start: float, rate: float, dynamics: Dynamics) -> float:
    return start + rate * dynamics.time


def _reaction(load: int, axis: int, dynamics: Dynamics) -> float:
    model = dynamics.system.model
    assert model is not None
    return float(model.reactions(dynamics.x)[load, axis])


class _Files(Recorder):
    """Fields, atoms and pictures of a run in time."""

    def __init__(self, setup: Setup, home: RunFolder, say: Callable[[str], object]) -> None:
        case = _case(setup)
        self.case, self.home, self.say = case, home, say
        self.last = case.dynamics.steps
        self.frames = Frames(home.folder, case.output, digits=len(str(self.last)))

    def begun(self, dynamics: Dynamics) -> None:
        """Write the files of a step that a failure has kept from being written."""
        if self._due(dynamics.step):
            names = self.frames.names(dynamics.step).values()
            if not all((self.home.folder / name).is_file() for name in names):
                self._write(dynamics)

    def row(self, dynamics: Dynamics) -> None:
        """Write what is due, and say how far the run is."""
        if self._due(dynamics.step):
            self._write(dynamics)
        if dynamics.step % self.case.output.checkpoints == 0:
            self.say(
                f"step {dynamics.step}/{self.last}: {dynamics.temperature():.1f} K, energy "
                f"{dynamics.ledger.total:.6f} eV, books {dynamics.ledger.closure:+.1e} eV"
            )

    def ended(self, dynamics: Dynamics) -> None:
        """Write the files of the last step, its pictures, and the collection of all."""
        if dynamics.step >= self.last:
            if not self._due(dynamics.step):
                self._write(dynamics)
            if self.case.output.pictures == "last":
                with self._undisturbed(dynamics) as model:
                    self.frames.show(model, dynamics.step)
                    self.frames.pictures(self._head(dynamics))
        shown = [(step, f["fields"]) for step, f in self._there(dynamics).items() if "fields" in f]
        if shown:
            picoseconds = dynamics.timestep / units.fs * 1e-3
            paths = [self.home.folder / name for _, name in shown]
            write_pvd(self.home.path, paths, [step * picoseconds for step, _ in shown])

    def about(self, dynamics: Dynamics) -> Mapping[str, Any]:
        """Return title, case and files."""
        pictures = sorted((self.home.folder / "pictures").glob("*.png"))
        files = [{"step": step, **names} for step, names in self._there(dynamics).items()]
        return {
            "title": self.case.title,
            "case": {"file": shown_name(self.case.source.name), "sha256": self.case.digest},
            "frames": files,
            "pictures": [f"pictures/{path.name}" for path in pictures],
        }

    def _due(self, step: int) -> bool:
        return self.case.output.frames is not None and step % self.case.output.frames == 0

    def _there(self, dynamics: Dynamics) -> dict[int, dict[str, str]]:
        """Return the files of each step that are in the folder."""
        every = self.case.output.frames
        steps = [] if every is None else list(range(0, dynamics.step + 1, every))
        out = {}
        for step in dict.fromkeys([*steps, dynamics.step]):
            names = self.frames.names(step)
            there = {k: n for k, n in names.items() if (self.home.folder / n).is_file()}
            if there:
                out[step] = there
        return out

    def _write(self, dynamics: Dynamics) -> None:
        info = {"step": dynamics.step, "time": dynamics.time / units.fs}
        with self._undisturbed(dynamics) as model:
            self.frames.write(model, dynamics.step, self._head(dynamics), info)

    @contextmanager
    def _undisturbed(self, dynamics: Dynamics) -> Iterator[QuasiContinuum]:
        """Yield the model to write; the run has no trace of it: lists and shifts are kept."""
        model = dynamics.system.model
        assert model is not None
        memory = dynamics.system.memory()
        yield model
        dynamics.system.remember(memory)

    def _head(self, dynamics: Dynamics) -> str:
        time = f"{dynamics.time / units.fs * 1e-3:.4g} ps"
        return " - ".join(filter(None, [self.case.title, time]))


def _summary(setup: Setup, home: RunFolder, dynamics: Dynamics, outcome: Outcome) -> str:
    """Return the closing table."""
    case, model = setup.case, setup.model
    kelvin = outcome.column("temperature")
    later = kelvin[len(kelvin) // 2 :].mean()
    row = dynamics.ledger.row()
    books = [
        f"  {name:<28} {value:>16.6f}"
        for name, value in row.items()
        if not name.startswith(("entropy", "closure"))
    ]
    return "\n".join([
        case.title or shown_name(case.source.stem),
        f"  {model.scheme.name}: {model.n_unknowns:,} unknowns for {model.n_sites:,.0f} sites",
        f"  {dynamics.step:,} steps of {dynamics.timestep / units.fs:g} fs, {later:.1f} K over the "
        "second half",
        "",
        f"  {'energies':<28} {'eV':>16}",
        *books,
        f"  books closed to {np.abs(outcome.column('closure')).max():.0e} eV",
        "",
        f"  {outcome.reason}; written to {shown_name(str(home.folder))}",
    ])  # fmt: skip
