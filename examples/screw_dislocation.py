"""A screw dislocation in bcc iron: two textbook checks and the convergence of its core.

The energy per length of a dislocation in a block of size R is K log(R / r), with K from anisotropic
elasticity, so each doubling of the block must add K log 2. The continuum makes large blocks cheap.
The core itself is compared with a block where every site is an atom.

    python examples/screw_dislocation.py [--small] [--output DIR]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import qc
from qc.materials import CauchyBorn, equilibrium_lattice_constant
from qc.mesh import LatticeBlock


@dataclass
class Study:
    """What `main` finds.

    Attributes
    ----------
    prefactor : float, eV/Angstrom
        K of the elastic energy.
    energies : dict of int to float, eV/Angstrom
        Energy per length by half the number of cells along a side of the block.
    errors : dict of float to float
        Largest error of a displacement by core radius, relative to the largest relaxation.
    gains : dict of (float or None) to float, eV/Angstrom
        Energy released by the relaxation by core radius; None for every site an atom.
    """

    prefactor: float = 0.0
    energies: dict[int, float] = field(default_factory=dict)
    errors: dict[float, float] = field(default_factory=dict)
    gains: dict[float | None, float] = field(default_factory=dict)


def screw_model(cells: int, core: float | None) -> qc.QuasiContinuum:
    """Return a rhombic block with a screw dislocation, Burgers vector a/2[111], in its middle.

    Parameters
    ----------
    cells : int
        Half the number of cells along a side of the block.
    core : float or None, Angstrom
        Radius of the atomistic core; None makes every site an atom.
    """
    potential = qc.potentials.zhou2004("Fe")
    a = equilibrium_lattice_constant(qc.crystal.bcc("Fe", 2.87), potential)
    crystal = qc.crystal.bcc("Fe", a, x=[1, 1, -2], y=[-1, 1, 0], z=[1, 1, 1]).as_columns()
    # The middle of a triangle of columns: the core that is compact and at rest there.
    position = crystal.cell[:2, :2].sum(axis=0) / 3.0
    dislocation = qc.farfield.VolterraDislocation(
        CauchyBorn(crystal, potential).elastic_constants(),
        (0.0, 0.0, a * np.sqrt(3.0) / 2.0),
        position,
    )
    return qc.QuasiContinuum(
        crystal,
        potential,
        far_field=dislocation,
        scheme="bgfc" if core is not None else "atomistic",
        core=core,
        outer=LatticeBlock((-cells, -cells), (cells, cells)),
    )


def relaxed(cells: int, core: float | None) -> tuple[qc.QuasiContinuum, float, float]:
    """Return a relaxed model, its energy and the energy its relaxation released, eV/Angstrom."""
    model = screw_model(cells, core)
    before = model.energy()
    result = qc.relax(model, raise_on_failure=True)
    for warning in result.warnings:
        print(f"  {warning}")
    period = model.crystal.cell[2, 2]
    return model, result.defect_energy / period, (before - model.energy()) / period


def main(argv: Sequence[str] | None = None) -> Study:
    """Run both studies, print their tables and return their figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="small blocks, in seconds")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write pictures and files there")
    args = parser.parse_args(argv)
    sizes, half = ((16, 32, 64), 20) if args.small else ((16, 32, 64, 128, 256), 40)
    cores = (6.0, 9.0) if args.small else (6.0, 9.0, 13.5, 20.0)
    study = Study()

    print("Energy per length against the size of the block, core radius 8 Å")
    print(f"{'side (Å)':>9} {'sites':>9} {'unknowns':>9} {'energy (eV/Å)':>14} {'increase':>10} "
          f"{'K log 2':>9}")  # fmt: skip
    last = None
    for cells in sizes:
        model, energy, _ = relaxed(cells, 8.0)
        study.energies[cells] = energy
        study.prefactor = model.far_field.energy_prefactor
        side = 2 * cells * float(np.linalg.norm(model.crystal.cell[0, :2]))
        more = "" if last is None else f"{energy - last:.5f}"
        elastic = "" if last is None else f"{study.prefactor * np.log(2.0):.5f}"
        print(f"{side:>9.0f} {model.n_sites:>9,.0f} {model.n_unknowns:>9,} {energy:>14.5f} "
              f"{more:>10} {elastic:>9}")  # fmt: skip
        last = energy

    print("\nThe core against every site an atom")
    print(f"{'':>11} {'unknowns':>9} {'gain (meV/Å)':>13} {'rms error %':>12} {'largest %':>10}")
    full, peak = None, 1.0
    for core in (None, *cores):
        model, _, gain = relaxed(half, core)
        if full is None:
            full, peak = model, float(np.linalg.norm(model.U, axis=1).max())
        error = np.linalg.norm(model.interpolate(full.mesh.lattice) - full.U, axis=1) / peak
        study.gains[core] = gain
        if core is not None:
            study.errors[core] = float(error.max())
        name = "every atom" if core is None else f"core {core:g} Å"
        print(f"{name:>11} {model.n_unknowns:>9,} {1e3 * gain:>13.4f} "
              f"{100 * np.sqrt((error**2).mean()):>12.3f} {100 * error.max():>10.2f}")  # fmt: skip
    print("gain: energy released by the relaxation; errors relative to the largest relaxation")

    if args.output is not None:
        from qc.io import pictures

        pictures.draw_regions(args.output / "regions.png", model)
        pictures.draw_field(args.output / "strain_xz.png", model, "strain_xz")
        qc.io.write_vtu(args.output / "screw.vtu", model)
        print(f"pictures and files are in {args.output}")
    return study


if __name__ == "__main__":
    main()
