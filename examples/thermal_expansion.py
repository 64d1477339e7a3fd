"""Thermal expansion: of the free energy of the continuum, and of atoms and continuum together.

First the lattice constant at which W(F, T) has no stress, quasi-harmonic and local, against stored
results of molecular dynamics with the same potentials (LAMMPS). Then a model of copper at 300 K
whose outer boundary is held at the expanded lattice: if atoms or coarse elements wanted another
size than the other, the mean positions of the core would be strained.

    python examples/thermal_expansion.py [--small] [--output DIR] [--resume]
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
from qc.dynamics import Dynamics, Langevin
from qc.errors import ConvergenceError
from qc.io import run_dynamics
from qc.materials import equilibrium_crystal, thermal_lattice
from qc.solve import mean_force

#: Lattice constants in Angstrom at temperatures in K: LAMMPS 20250722, molecular dynamics without
#: pressure on tables of the same potentials. Source: tests/reference/thermal_expansion.json, which
#: names its recipe; the first is that at rest.
MOLECULAR_DYNAMICS = {
    "Si": {0: 5.430950, 100: 5.433087, 300: 5.437369, 500: 5.441497, 1000: 5.450402},
    "Ar": {0: 5.274564, 10: 5.295225, 20: 5.317772, 30: 5.342367, 50: 5.398992},
    "Cu": {0: 3.614960, 100: 3.625557, 200: 3.636292, 300: 3.647048, 450: 3.662720},
}


@dataclass(frozen=True)
class Row:
    """Thermal strain of one crystal at one temperature: measured, quasi-harmonic, local."""

    element: str
    temperature: float
    measured: float
    quasi_harmonic: float
    local: float


@dataclass(frozen=True)
class Found:
    """What came out.

    Attributes
    ----------
    rows : list of Row
    strain, error : float
        Mean strain of the core about the expanded lattice, over the thermal strain, and its
        standard error.
    """

    rows: list[Row]
    strain: float
    error: float


def material(element: str):
    """Return a crystal at rest and its potential."""
    if element == "Si":
        potential = qc.potentials.stillinger1985("Si")
        return equilibrium_crystal(qc.crystal.diamond("Si", 5.43), potential), potential
    if element == "Ar":
        potential = qc.potentials.LennardJones("Ar", epsilon=0.0104, sigma=3.405, cutoff=8.5)
        return equilibrium_crystal(qc.crystal.fcc("Ar", 5.27), potential), potential
    potential = qc.potentials.zhou2004("Cu")
    return equilibrium_crystal(qc.crystal.fcc("Cu", 3.61), potential), potential


def table(elements: Sequence[str], most: int) -> list[Row]:
    """Compare the lattices of free energies with molecular dynamics."""
    rows = []
    print("thermal strain, and over that of LAMMPS (stored)")
    print(f"{'':<4} {'T (K)':>6} {'LAMMPS':>10} {'quasi-harmonic':>15} {'local':>15}")
    for element in elements:
        crystal, potential = material(element)
        stored = MOLECULAR_DYNAMICS[element]
        for temperature, a in list(stored.items())[1 : most + 1]:
            strains = []
            for kind in ("quasi-harmonic", "local"):
                try:
                    hot = thermal_lattice(crystal, potential, float(temperature), kind)
                    strains.append(float(hot.deformation[0, 0]) - 1.0)
                except ConvergenceError:
                    # Harmonic vibrations about that size are unstable: no such lattice.
                    strains.append(np.nan)
            row = Row(element, temperature, a / stored[0] - 1.0, *strains)
            rows.append(row)
            print(f"{element:<4} {temperature:>6} {row.measured:>10.5f} "
                  f"{row.quasi_harmonic:>9.5f} {row.quasi_harmonic / row.measured:>5.2f} "
                  f"{row.local:>9.5f} {row.local / row.measured:>5.2f}")  # fmt: skip
    return rows


def core_strain(radii, steps: int, samples: int, folder: Path, resume: bool) -> tuple[float, float]:
    """Return the core's mean strain over the thermal strain, and its standard error."""
    crystal, potential = material("Cu")
    a, temperature = crystal.a, 300.0
    stretch = MOLECULAR_DYNAMICS["Cu"][300] / MOLECULAR_DYNAMICS["Cu"][0]
    core, blend, outer = (r * a for r in radii)
    model = qc.QuasiContinuum(
        crystal, potential, core=core, blend=blend, outer=outer, temperature=temperature,
        thermal_deformation=stretch,
    )  # fmt: skip
    model = model.without_mean_force(mean_force(model, samples=samples).force)
    beta = model.layout.beta_nodes
    nodes = np.nonzero(model.layout.free.any(axis=1) & (beta < 0.5))[0]
    x = stretch * model.layout.node_positions[nodes]
    x = x - x.mean(axis=0)
    # Least squares for u = e x + c: the mean strain is the trace over three.
    weight = x / (x**2).sum()
    run = Dynamics(model, 2 * fs, baths=[Langevin(temperature, 0.01 / fs)], seed=1)

    def warm_up(run: Dynamics) -> None:
        run.set_temperature(2.0 * temperature)
        run.run(steps // 5)

    outcome = run_dynamics(
        run, steps // 5 + steps, folder, every=10, checkpoint_every=1000, start=warm_up,
        resume=resume, columns={"strain": lambda d: float((weight * d.x[nodes]).sum())},
    )  # fmt: skip
    outcome.leave_if_stopped()
    strain = outcome.column("strain")[1:] / (stretch - 1.0)
    n = len(strain) // 8 * 8
    means = strain[:n].reshape(8, -1).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(8))


def main(argv: Sequence[str] | None = None) -> Found:
    """Print thermal strains, run a model at temperature, and return both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="two crystals and a short run")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write pictures and files there")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in DIR")
    args = parser.parse_args(argv)
    if args.resume and args.output is None:
        parser.error("--resume needs the --output of the run to go on with")
    elements, most = (("Si", "Ar"), 2) if args.small else (("Si", "Ar", "Cu"), 4)
    radii, steps, samples = (
        ((1.72, 1.5, 3.8), 1000, 6) if args.small else ((1.72, 1.5, 6.0), 20_000, 60)
    )

    rows = table(elements, most)
    with tempfile.TemporaryDirectory() as scratch:
        strain, error = core_strain(radii, steps, samples, args.output or Path(scratch),
                                    args.resume)  # fmt: skip
    print(f"copper at 300 K: the core is strained by ({100 * strain:+.1f} ± {100 * error:.1f}) % "
          "of the thermal strain about the lattice that holds it")  # fmt: skip
    if args.output is not None:
        draw(args.output / "expansion.png", rows)
        print(f"pictures and files are in {args.output}")
    return Found(rows, strain, error)


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Draw thermal strains over those of molecular dynamics."""
    from matplotlib.figure import Figure

    from qc.io.plots import save_figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for element, colour in (("Si", "#4a6fa5"), ("Ar", "#5b8c5a"), ("Cu", "#c8443c")):
        own = [r for r in rows if r.element == element]
        if not own:
            continue
        for kind, line in (("quasi_harmonic", "o-"), ("local", "s--")):
            axes.plot([1e2 * r.measured for r in own],
                      [getattr(r, kind) / r.measured for r in own], line, ms=4, color=colour,
                      label=f"{element}, {kind.replace('_', '-')}")  # fmt: skip
    axes.axhline(1.0, color="#28323a", lw=0.8)
    axes.set_xlabel("thermal strain in molecular dynamics, LAMMPS (%)")
    axes.set_ylabel("thermal strain of the free energy\nover that of molecular dynamics")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(path, figure)


if __name__ == "__main__":
    main()
