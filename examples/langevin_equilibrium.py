"""Langevin equilibrium of a coupled model: one temperature in core, blend and continuum.

Columns of copper, atoms in the middle and a continuum around them, in a bath of 300 K. The kinetic
temperature of each region comes from its velocities, the configurational one from forces alone,
k T = <|grad E|^2> / <Laplacian of E>. A second run leaves the core to itself and damps only towards
the boundary; a third is driven by ASE's own Langevin dynamics over `qc.QCCalculator`.

    python examples/langevin_equilibrium.py [--small] [--output DIR] [--resume]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import units
from ase.md.langevin import Langevin as ASELangevin
from ase.units import fs

import qc
from qc.dynamics import Dynamics, Langevin, stadium
from qc.io import run_dynamics
from qc.materials import equilibrium_crystal

TEMPERATURE = 300.0  # K
FRICTION = 0.02 / fs


@dataclass(frozen=True)
class Run:
    """Temperatures of one run, K, with standard errors.

    Attributes
    ----------
    name : str
    kinetic, configurational : dict of str to (float, float)
        By region.
    closure : float, eV
        Largest gap in the books; NaN where there are none.
    """

    name: str
    kinetic: dict[str, tuple[float, float]]
    configurational: dict[str, tuple[float, float]]
    closure: float


def copper(core: float, outer: float) -> qc.QuasiContinuum:
    """Return columns of copper along [1-10]; radii in Angstrom."""
    potential = qc.potentials.zhou2004("Cu")
    a = equilibrium_crystal(qc.crystal.fcc("Cu", 3.6), potential).a
    crystal = qc.crystal.fcc("Cu", a, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns()
    return qc.QuasiContinuum(crystal, potential, core=core, blend=6.0, outer=outer)


def regions(model: qc.QuasiContinuum) -> dict[str, np.ndarray]:
    """Return the moving nodes of each region."""
    beta, free = model.layout.beta_nodes, model.layout.free.any(axis=1)
    return {
        "core": free & (beta == 0.0),
        "blend": free & (beta > 0.0) & (beta < 1.0),
        "continuum": free & (beta >= 1.0),
    }


def square(run: Dynamics, nodes: np.ndarray) -> float:
    """Return |grad E|^2 over some nodes."""
    return float((run.forces[nodes] ** 2).sum())


def laplacian(run: Dynamics, nodes: np.ndarray) -> float:
    """Return an unbiased estimate of the Laplacian of E over some nodes, by a random probe."""
    # Seeded by the step: a run that was stopped and goes on finds the same.
    signs = np.random.default_rng(run.step).choice([-1.0, 1.0], run.x.shape)
    probe = np.where(nodes[:, None], signs, 0.0)
    energy_forces = run.system.energy_forces
    ends = [energy_forces(run.x + s * 1e-4 * probe)[1] for s in (1.0, -1.0)]
    return float((probe * (ends[1] - ends[0])).sum()) / 2e-4


def with_error(values: np.ndarray, blocks: int = 8) -> tuple[float, float]:
    """Return the mean of a series and its standard error from the means of blocks."""
    n = len(values) // blocks * blocks
    means = np.asarray(values)[:n].reshape(blocks, -1).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(blocks))


def langevin(name, model, friction, steps, folder, resume=False) -> Run:
    """Run in a bath and measure temperatures."""
    groups = regions(model)
    run = Dynamics(model, 2 * fs, baths=[Langevin(TEMPERATURE, friction)], seed=1)
    columns = {}
    for k, nodes in groups.items():
        columns[f"T {k}"] = lambda d, n=nodes: d.temperature(n)
        columns[f"square {k}"] = lambda d, n=nodes: square(d, n)
        columns[f"laplacian {k}"] = lambda d, n=nodes: laplacian(d, n)
    warm = max(steps // 4, round(4.0 / (FRICTION * run.timestep)))

    def warm_up(run: Dynamics) -> None:
        run.set_temperature(2.0 * TEMPERATURE)
        run.run(warm)

    outcome = run_dynamics(
        run, warm + steps, folder, every=20, checkpoint_every=1000, start=warm_up, resume=resume,
        columns=columns,
    )  # fmt: skip
    outcome.leave_if_stopped()
    kinetic = {k: with_error(outcome.column(f"T {k}")[1:]) for k in groups}
    configurational = {}
    for k in groups:
        top, bottom = outcome.column(f"square {k}")[1:], outcome.column(f"laplacian {k}")[1:]
        n = len(top) // 8 * 8
        each = top[:n].reshape(8, -1).mean(1) / bottom[:n].reshape(8, -1).mean(1) / units.kB
        mean = float(top.sum() / bottom.sum() / units.kB)
        configurational[k] = mean, float(each.std(ddof=1) / np.sqrt(8))
    closure = float(np.abs(outcome.column("closure")).max())
    return Run(name, kinetic, configurational, closure)


def ase_driven(model: qc.QuasiContinuum, steps: int) -> Run:
    """Let ASE's Langevin dynamics move the representative atoms."""
    atoms = model.to_ase()
    atoms.calc = qc.QCCalculator(model)
    speeds = np.sqrt(2 * TEMPERATURE * units.kB / atoms.get_masses())
    atoms.set_velocities(speeds[:, None] * np.random.default_rng(2).normal(size=(len(atoms), 3)))
    dynamics = ASELangevin(
        atoms, 2 * fs, temperature_K=TEMPERATURE, friction=FRICTION, fixcm=False,
        rng=np.random.default_rng(3),
    )  # fmt: skip
    groups = {k: nodes[model.occupied] for k, nodes in regions(model).items()}
    dynamics.run(max(steps // 4, 100))
    rows = {k: [] for k in groups}

    def sample() -> None:
        v = atoms.get_velocities()
        squares = atoms.get_masses() * (v**2).sum(axis=1)
        for k, nodes in groups.items():
            rows[k].append(squares[nodes].sum() / (3 * nodes.sum() * units.kB))

    dynamics.attach(sample, interval=10)
    dynamics.run(steps)
    return Run("ASE's Langevin", {k: with_error(np.array(v)) for k, v in rows.items()}, {}, np.nan)


def main(argv: Sequence[str] | None = None) -> list[Run]:
    """Run the three, print temperatures by region, and return them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="short runs, in seconds")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write pictures and files there")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints in DIR")
    args = parser.parse_args(argv)
    if args.resume and args.output is None:
        parser.error("--resume needs the --output of the run to go on with")
    core, outer, steps = (6.4, 24.0, 1600) if args.small else (12.0, 60.0, 20_000)

    print(f"{'':<20} {'region':<10} {'kinetic (K)':>16} {'configurational (K)':>20}")
    runs = []
    with tempfile.TemporaryDirectory() as scratch:
        home = args.output or Path(scratch)
        model = copper(core, outer)
        runs.append(langevin("bath everywhere", model, FRICTION, steps, home / "everywhere",
                             args.resume))  # fmt: skip
        show(runs[-1])
        model = copper(core, outer)
        ramp = stadium(model, 2.0 * FRICTION)
        runs.append(langevin("stadium", model, ramp, steps, home / "stadium", args.resume))
        show(runs[-1])
        runs.append(ase_driven(copper(core, outer), steps // 2))
        show(runs[-1])
    if args.small:
        print("Short runs: where a stadium does not reach, means wander by more than these errors.")
    if args.output is not None:
        draw(args.output / "temperatures.png", runs)
        print(f"pictures and files are in {args.output}")
    return runs


def show(run: Run) -> None:
    """Print the temperatures of a run."""
    for k, (mean, error) in run.kinetic.items():
        text = f"{mean:.1f} ± {error:.1f}"
        other = run.configurational.get(k)
        more = f"{other[0]:.1f} ± {other[1]:.1f}" if other else ""
        print(f"{run.name if k == 'core' else '':<20} {k:<10} {text:>16} {more:>20}")
    if np.isfinite(run.closure):
        print(f"{'':<20} books closed to {run.closure:.0e} eV")


def draw(path: Path, runs: Sequence[Run]) -> None:
    """Draw the temperatures with their errors."""
    from matplotlib.figure import Figure

    from qc.io.plots import save_figure

    figure = Figure(figsize=(7.0, 3.8), layout="constrained")
    axes = figure.subplots()
    names = list(runs[0].kinetic)
    for k, (run, colour) in enumerate(zip(runs, ("#c8443c", "#f0b441", "#4a6fa5"), strict=True)):
        for values, mark, word in ((run.kinetic, "o", "kinetic"),
                                   (run.configurational, "s", "configurational")):  # fmt: skip
            if not values:
                continue
            at = np.array([names.index(n) for n in values]) + 0.12 * (k - 1) + (mark == "s") * 0.05
            mean, error = np.array(list(values.values())).T
            axes.errorbar(at, mean, 2.0 * error, fmt=mark, ms=4, color=colour, capsize=2,
                          label=f"{run.name}, {word}")  # fmt: skip
    axes.axhline(TEMPERATURE, color="#28323a", lw=0.8)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("temperature (K), two standard errors")
    axes.legend(frameon=False, fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(path, figure)


if __name__ == "__main__":
    main()
