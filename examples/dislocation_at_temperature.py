"""A screw dislocation in bcc iron at 300 K: atoms left to themselves, an absorbing boundary around.

Near the dislocation every column is free of any bath; a stadium of friction and noise grows from
there to the outer boundary, so that waves leave and heat comes back. The place of the dislocation
is found from the displacements around it: moved by d, it changes them by -(d . grad theta) b/2 pi.
In 2.5D columns move as rigid lines of one period each: the line cannot form kinks, and the crystal
fluctuates more than a crystal of atoms.

    python examples/dislocation_at_temperature.py [--small] [--output DIR] [--resume]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.units import fs

import qc
from qc.dynamics import Dynamics, Langevin, stadium
from qc.io import run_dynamics
from qc.io.pictures import draw_nonaffinity
from qc.materials import CauchyBorn, equilibrium_lattice_constant

TEMPERATURE = 300.0  # K


@dataclass(frozen=True)
class Found:
    """What came out.

    Attributes
    ----------
    temperature : dict of str to float, K
        Of core, blend and continuum.
    mean, spread : (2,) float64, Angstrom
        Mean place of the dislocation in the plane, from where the predictor has it, and its
        standard deviation.
    burgers : float, Angstrom
    closure : float, eV
    complete : bool
    """

    temperature: dict[str, float]
    mean: np.ndarray
    spread: np.ndarray
    burgers: float
    closure: float
    complete: bool


def screw(core: float, outer: float) -> tuple[qc.QuasiContinuum, np.ndarray, float]:
    """Return a relaxed model, the dislocation's place (2,) and its Burgers vector's length."""
    potential = qc.potentials.zhou2004("Fe")
    a = equilibrium_lattice_constant(qc.crystal.bcc("Fe", 2.87), potential)
    crystal = qc.crystal.bcc("Fe", a, x=[1, 1, -2], y=[-1, 1, 0], z=[1, 1, 1]).as_columns()
    # The middle of a triangle of columns: the core that is compact and at rest there.
    place = crystal.cell[:2, :2].sum(axis=0) / 3.0
    burgers = a * np.sqrt(3.0) / 2.0
    dislocation = qc.farfield.VolterraDislocation(
        CauchyBorn(crystal, potential).elastic_constants(), (0.0, 0.0, burgers), place
    )
    model = qc.QuasiContinuum(
        crystal, potential, far_field=dislocation, core=core, blend=8.0, outer=outer
    )
    qc.relax(model)
    return model, place, burgers


def locator(model: qc.QuasiContinuum, place: np.ndarray, burgers: float):
    """Return a function of displacements that gives the dislocation's shift, (2,) Angstrom."""
    x = model.layout.node_positions[:, :2] - place
    r = np.linalg.norm(x, axis=1)
    near = np.nonzero((r > 4.0) & (r < 14.0) & model.layout.free.any(axis=1))[0]
    turn = np.stack([-x[near, 1], x[near, 0]], axis=1) / r[near, None] ** 2
    design = np.column_stack([-burgers / (2.0 * np.pi) * turn, np.ones(len(near))])
    solve = np.linalg.pinv(design)
    rest = model.U[near, 2].copy()
    return lambda u: (solve @ (u[near, 2] - rest))[:2]


def main(argv: Sequence[str] | None = None) -> Found:
    """Let the dislocation vibrate, print where it is and how hot, and return that."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a small cylinder, in seconds")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write pictures and files there")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in DIR")
    args = parser.parse_args(argv)
    if args.resume and args.output is None:
        parser.error("--resume needs the --output of the run to go on with")
    core, outer, steps = (9.0, 40.0, 1200) if args.small else (14.0, 100.0, 15_000)

    model, place, burgers = screw(core, outer)
    where = locator(model, place, burgers)
    beta, free = model.layout.beta_nodes, model.layout.free.any(axis=1)
    groups = {
        "core": free & (beta == 0.0),
        "blend": free & (beta > 0.0) & (beta < 1.0),
        "continuum": free & (beta >= 1.0),
    }
    bath = Langevin(TEMPERATURE, stadium(model, 0.05 / fs), name="stadium")
    run = Dynamics(model, 2 * fs, baths=[bath], seed=1)

    def warm_up(run: Dynamics) -> None:
        everywhere = Dynamics(model, 2 * fs, baths=[Langevin(TEMPERATURE, 0.02 / fs)], seed=2)
        everywhere.set_temperature(2.0 * TEMPERATURE)
        everywhere.run(max(steps // 3, 300))
        run.set_state(x=everywhere.x, v=everywhere.v)

    columns = {
        **{f"T {k}": (lambda d, n=n: d.temperature(n)) for k, n in groups.items()},
        "x": lambda d: float(where(d.x)[0]),
        "y": lambda d: float(where(d.x)[1]),
    }
    print(f"{model.n_unknowns:,} unknowns for {model.n_sites:,.0f} columns, a screw of "
          f"b = {burgers:.3f} Å at {TEMPERATURE:g} K")  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        outcome = run_dynamics(
            run, steps, args.output or scratch, every=10, checkpoint_every=1000,
            start=warm_up, resume=args.resume, columns=columns, picture=args.output is not None,
        )  # fmt: skip
    outcome.leave_if_stopped()
    second = len(outcome.history) // 4
    path = np.column_stack([outcome.column("x"), outcome.column("y")])
    temperature = {k: float(outcome.column(f"T {k}")[second:].mean()) for k in groups}
    closure = float(np.abs(outcome.column("closure")).max())
    mean, spread = path.mean(axis=0), path.std(axis=0)
    for k, kelvin in temperature.items():
        print(f"  {k:<10} {int(groups[k].sum()):>6} nodes {kelvin:>7.1f} K")
    print(f"place of the dislocation: ({mean[0]:+.2f}, {mean[1]:+.2f}) Å, standard deviation "
          f"({spread[0]:.2f}, {spread[1]:.2f}) Å")  # fmt: skip
    print(f"heat from the stadium {run.ledger.account('heat'):+.3f} eV, books closed to "
          f"{closure:.0e} eV")  # fmt: skip
    if args.output is not None:
        draw(args.output / "place.png", outcome.column("time") / 1e3, path)
        draw_nonaffinity(args.output / "core.png", model, title="Screw in Fe at 300 K")
        print(f"pictures and files are in {args.output}")
    return Found(temperature, mean, spread, burgers, closure, outcome.complete)


def draw(path: Path, time: np.ndarray, place: np.ndarray) -> None:
    """Draw the place of the dislocation against time."""
    from matplotlib.figure import Figure

    from qc.io.plots import save_figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    names = ("x, along [11-2]", "y, along [-110]")
    for k, (name, colour) in enumerate(zip(names, ("#c8443c", "#4a6fa5"), strict=True)):
        axes.plot(time, place[:, k], color=colour, lw=0.9, label=name)
    axes.set_xlabel("time (ps)")
    axes.set_ylabel("place of the dislocation (Å)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(path, figure)


if __name__ == "__main__":
    main()
