"""A cylinder pushed into a hot copper surface: force against depth, work and heat in the ledger.

Columns of copper end at a free (001) surface. Around the contact every site is an atom; below,
the crystal is a continuum that grows coarse, and a bath of the temperature of the crystal absorbs
towards the outer boundary what the contact emits. The cylinder moves down at constant speed and
does work, which the ledger books as it comes. At zero temperature the same indentation is done in
static steps, for comparison. In 2.5D columns move as rigid lines; all figures are per period.

    python examples/hot_indentation.py [--small] [--output DIR] [--resume]
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
from qc.dynamics import Dynamics, Langevin, MovingLoad, stadium
from qc.io import run_dynamics
from qc.io.pictures import draw_regions
from qc.loads import CylindricalIndenter
from qc.materials import equilibrium_crystal
from qc.mesh import FreeSurface

TEMPERATURE = 300.0  # K
RADIUS, STIFFNESS = 25.0, 10.0  # Angstrom, eV/Angstrom^3
SPEED = 5e-4 / fs  # Angstrom per time: 50 m/s
GAP = 0.3  # Angstrom, at the start


@dataclass(frozen=True)
class Found:
    """What came out.

    Attributes
    ----------
    depth, force : (n,) float64
        Of the moving cylinder below first contact, Angstrom, and the crystal's push against it,
        eV/Angstrom per period, averaged over stretches of the run.
    static_force : (n,) float64
        The same in equilibrium at zero temperature.
    work, heat : float, eV
        Done by the cylinder; received from the bath.
    closure : float, eV
        Largest gap in the books.
    temperature : float, K
        Of all nodes, averaged over the second half.
    complete : bool
    """

    depth: np.ndarray
    force: np.ndarray
    static_force: np.ndarray
    work: float
    heat: float
    closure: float
    temperature: float
    complete: bool


def surface_model(core: float, outer: float) -> qc.QuasiContinuum:
    """Return copper columns below a free (001) surface, atoms within ``core`` of the contact."""
    potential = qc.potentials.zhou2004("Cu")
    a = equilibrium_crystal(qc.crystal.fcc("Cu", 3.6), potential).a
    crystal = qc.crystal.fcc("Cu", a, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns()
    contact = [[x, 0.0, 0.0] for x in np.linspace(-6.0, 6.0, 5)]
    return qc.QuasiContinuum(
        crystal, potential, boundary=FreeSurface((0.0, 1.0, 0.0)), centres=contact, core=core,
        blend=8.0, outer=outer,
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> Found:
    """Indent a hot surface, print force against depth, and return what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a shallow dent, in seconds")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write pictures and files there")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in DIR")
    args = parser.parse_args(argv)
    if args.resume and args.output is None:
        parser.error("--resume needs the --output of the run to go on with")
    depth, core, outer = (1.2, 10.0, 45.0) if args.small else (3.0, 16.0, 90.0)

    model = surface_model(core, outer)
    qc.relax(model)
    relaxed = model.U.copy()
    reference, predictor = model.layout.node_positions, model.predictor()
    surface = (reference[:, 1] > -0.1) & (np.abs(reference[:, 0]) < 8.0)

    def above(height: float) -> CylindricalIndenter:
        return CylindricalIndenter(RADIUS, (0.0, height + RADIUS + GAP, 0.0), STIFFNESS)

    start = above(float((predictor + model.U)[surface, 1].mean()))
    print(f"{model.n_unknowns:,} unknowns for {model.n_sites:,.0f} columns; cylinder of "
          f"{RADIUS:g} Å at {SPEED * fs * 1e5:.0f} m/s, copper at {TEMPERATURE:g} K")  # fmt: skip

    # At zero temperature, in steps.
    marks = np.linspace(0.25 * depth, depth, 4)
    cold = []
    for mark in marks:
        still = model.with_loads(start.moved((0.0, -(mark + GAP), 0.0)))
        still.U = model.U
        qc.relax(still, fmax=1e-3)
        model.U = still.U.copy()
        cold.append(still.reactions()[0, 1])
    model.U = relaxed

    # Warm up below the cylinder, then let it come.
    warm = Dynamics(model, 2 * fs, baths=[Langevin(TEMPERATURE, 0.02 / fs)], seed=1)
    warm.set_temperature(2.0 * TEMPERATURE)
    warm.run(500)
    heights: list[float] = []
    warm.run(400, lambda d: heights.append(float((predictor + d.x)[surface, 1].mean())) and None)
    # Held at its cold lattice below, the hot crystal has risen.
    start = above(float(np.mean(heights)))
    bath = Langevin(TEMPERATURE, 2e-4 / fs + stadium(model, 0.02 / fs), name="bath")
    drive = MovingLoad(lambda t: start.moved((0.0, -SPEED * t, 0.0)), name="cylinder")
    run = Dynamics(
        model.with_loads(start), 2 * fs, baths=[bath], drives=[drive], seed=2,
        velocities=warm.v, check_timestep=False,
    )  # fmt: skip
    steps = round((depth + GAP) / (SPEED * run.timestep))
    with tempfile.TemporaryDirectory() as scratch:
        outcome = run_dynamics(
            run, steps, args.output or scratch, every=10, checkpoint_every=500,
            resume=args.resume, picture=args.output is not None,
            columns={
                "depth": lambda d: SPEED * d.time - GAP,
                "force": lambda d: float(d.system.model.reactions(d.x)[0, 1]),
            },
        )  # fmt: skip

    outcome.leave_if_stopped()
    deep, push = outcome.column("depth"), outcome.column("force")
    half = 0.12 * depth
    force = np.array([push[np.abs(deep - m) < half].mean() if (deep > m - half).any() else np.nan
                      for m in marks])  # fmt: skip
    print(f"{'depth (Å)':>10} {'force, 300 K (eV/Å)':>20} {'force, 0 K (eV/Å)':>18}")
    for mark, hot, still_force in zip(marks, force, cold, strict=True):
        print(f"{mark:>10.2f} {hot:>20.3f} {still_force:>18.3f}")
    ledger = run.ledger
    work, heat = ledger.account("work"), ledger.account("heat")
    second = outcome.column("temperature")[len(outcome.history) // 2 :]
    closure = float(np.abs(outcome.column("closure")).max())
    print(f"work of the cylinder {work:.3f} eV, heat from the bath {heat:+.3f} eV, "
          f"integrator {ledger.account('integrator'):+.1e} eV, books closed to {closure:.0e} eV, "
          f"{second.mean():.0f} K")  # fmt: skip
    if args.output is not None:
        draw(args.output / "force.png", deep, push, marks, cold)
        run.system.coordinates = run.x
        qc.io.write_extxyz(args.output / "contact.extxyz", run.system.model)
        draw_regions(args.output / "regions.png", run.system.model)
        print(f"pictures and files are in {args.output}")
    return Found(
        marks, force, np.array(cold), work, heat, closure, float(second.mean()), outcome.complete
    )


def draw(path: Path, depth: np.ndarray, force: np.ndarray, marks: np.ndarray, cold: list) -> None:
    """Draw force against depth."""
    from matplotlib.figure import Figure

    from qc.io.plots import save_figure

    figure = Figure(figsize=(6.0, 4.2), layout="constrained")
    axes = figure.subplots()
    width = 25
    smooth = np.convolve(force, np.ones(width) / width, mode="valid")
    axes.plot(depth, force, color="#c9d8e6", lw=0.6, label="300 K, every 20 fs")
    axes.plot(depth[width // 2 :][: len(smooth)], smooth, color="#c8443c", lw=1.4,
              label="300 K, mean over 0.5 ps")  # fmt: skip
    axes.plot(marks, cold, "o", color="#28323a", ms=5, label="0 K, static")
    axes.set_xlabel("depth below the hot surface at rest (Å)")
    axes.set_ylabel("force per period (eV/Å)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(path, figure)


if __name__ == "__main__":
    main()
