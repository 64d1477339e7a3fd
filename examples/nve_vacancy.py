"""A vacancy in copper vibrating at 300 K without any bath: the energy stays what it is.

Atoms around the vacancy, a continuum of the same potential further out, and one Hamiltonian for
both. After a while in a bath the model is left to itself; the total energy must not drift, its
fluctuation must fall with the square of the time step, and the way back must lead to the start.

    python examples/nve_vacancy.py [--small] [--output DIR] [--resume]
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
from qc.coupling import PointDefects
from qc.dynamics import Dynamics, Langevin
from qc.io import run_dynamics
from qc.materials import equilibrium_crystal

TEMPERATURE = 300.0  # K
STEP = 2.0 * fs


@dataclass(frozen=True)
class Found:
    """What came out.

    Attributes
    ----------
    slope : float
        Of the total energy, eV per atom per step.
    drift : float
        Over the run, in standard deviations of the kinetic energy.
    order : float
        Exponent of the fluctuation over the time step.
    reversal : float, Angstrom
        Distance from the start after going back.
    closure : float, eV
        Largest gap in the books.
    temperature : float, K
    complete : bool
    """

    slope: float
    drift: float
    order: float
    reversal: float
    closure: float
    temperature: float
    complete: bool


def vacancy(core: float, blend: float, outer: float) -> qc.QuasiContinuum:
    """Return a relaxed model with an empty site at the origin; radii in lattice constants."""
    potential = qc.potentials.zhou2004("Cu")
    crystal = equilibrium_crystal(qc.crystal.fcc("Cu", 3.6), potential)
    a = crystal.a
    model = qc.QuasiContinuum(
        crystal, potential, core=core * a, blend=blend * a, outer=outer * a,
        defects=PointDefects(vacant=[(0, 0, 0)]),
    )  # fmt: skip
    qc.relax(model)
    return model


def main(argv: Sequence[str] | None = None) -> Found:
    """Run without a bath, print how well the energy is kept, and return it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a small ball, in seconds")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write pictures and files there")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in DIR")
    args = parser.parse_args(argv)
    if args.resume and args.output is None:
        parser.error("--resume needs the --output of the run to go on with")
    core, blend, outer, steps = (1.72, 1.5, 3.8, 400) if args.small else (2.0, 2.0, 6.0, 4000)

    model = vacancy(core, blend, outer)
    sites = model.n_sites
    print(f"{model.n_unknowns:,} unknowns for {sites:,.0f} atoms, {TEMPERATURE:g} K, steps of "
          f"{STEP / fs:g} fs")  # fmt: skip
    warm = Dynamics(model, STEP, baths=[Langevin(TEMPERATURE, 0.02 / fs)], seed=1)
    warm.set_temperature(2.0 * TEMPERATURE)
    warm.run(steps // 2)
    x, v = warm.x.copy(), warm.v.copy()

    def begin(step: float) -> Dynamics:
        run = Dynamics(model, step, check_timestep=False)
        run.set_state(x=x, v=v)
        return run

    # The same stretch of time with three steps.
    steps_of, spreads, curves = np.array([4.0, 2.0, 1.0]) * fs, [], {}
    for step in steps_of:
        run, energies = begin(step), []
        count = round(steps * STEP / 4 / step)
        run.run(count, lambda d, into=energies: into.append(d.ledger.total) and None)
        spreads.append(np.std(energies))
        curves[step] = np.array(energies) - energies[0]
    order = float(np.polyfit(np.log(steps_of), np.log(spreads), 1)[0])

    back = begin(STEP)
    back.run(min(steps, 500))
    back.reverse()
    back.run(min(steps, 500))
    reversal = float(np.abs(back.x - x).max())

    run = begin(STEP)
    with tempfile.TemporaryDirectory() as scratch:
        outcome = run_dynamics(
            run, steps, args.output or scratch, every=5, checkpoint_every=500,
            resume=args.resume, picture=args.output is not None,
        )  # fmt: skip
    outcome.leave_if_stopped()
    total, kinetic = outcome.column("total"), outcome.column("kinetic")
    rise = float(np.polyfit(outcome.column("step"), total, 1)[0])
    found = Found(
        slope=rise / sites,
        drift=abs(rise) * run.step / float(kinetic.std()),
        order=order,
        reversal=reversal,
        closure=float(np.abs(outcome.column("closure")).max()),
        temperature=float(outcome.column("temperature").mean()),
        complete=outcome.complete,
    )
    print(f"slope of the energy     {found.slope:+.1e} eV per atom per step")
    print(f"drift over the run      {found.drift:.1e} of the kinetic energy's deviation")
    print(f"fluctuation             dt^{found.order:.2f}")
    print(f"there and back          {found.reversal:.0e} Å from the start")
    print(f"books                   closed to {found.closure:.0e} eV, {found.temperature:.0f} K")
    if args.output is not None:
        draw(args.output / "energy.png", curves)
        print(f"pictures and files are in {args.output}")
    return found


def draw(path: Path, curves: dict[float, np.ndarray]) -> None:
    """Draw the total energy against time for several steps."""
    from matplotlib.figure import Figure

    from qc.io.plots import save_figure

    figure = Figure(figsize=(7.0, 3.8), layout="constrained")
    axes = figure.subplots()
    for (step, energy), colour in zip(curves.items(), ("#c8443c", "#f0b441", "#28323a"),
                                      strict=True):  # fmt: skip
        time = step / fs * np.arange(1, len(energy) + 1) / 1e3
        axes.plot(time, 1e3 * energy, color=colour, lw=0.9, label=f"{step / fs:g} fs")
    axes.set_xlabel("time (ps)")
    axes.set_ylabel("total energy (meV)")
    axes.legend(title="time step", frameon=False, ncols=3)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(path, figure)


if __name__ == "__main__":
    main()
