"""A vacancy in copper: its formation energy against the radius of the atomistic core.

The crystal is a ball of 20 lattice constants; only sites near the vacancy are atoms, the rest is a
continuum of the same potential. The energy is compared with that of the full lattice, every atom
relaxed by LAMMPS on the same potential.

    python examples/vacancy_3d.py [--small] [--output DIR]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import qc
from qc.coupling import PointDefects
from qc.materials import equilibrium_lattice_constant

#: Formation energy (eV) and inward displacement of the nearest neighbours (Angstrom) in a ball of
#: 22 lattice constants, LAMMPS 20250722 on the table that `qc.potentials.write_setfl` makes of
#: `zhou2004("Cu")`. Source: tests/reference/vacancy_3d_Cu.json, which names its recipe.
FULL_LATTICE_ENERGY = 1.275336
FULL_LATTICE_INWARD = 0.053406


@dataclass(frozen=True)
class Row:
    """One line of the table: core radius in lattice constants, sizes and results."""

    core: float
    unknowns: int
    sites: float
    evaluations: int
    energy: float
    inward: float
    converged: bool


def vacancy(core: float, outer: float) -> tuple[qc.QuasiContinuum, float]:
    """Return a model with an empty site at the origin, and the lattice constant.

    Parameters
    ----------
    core, outer : float
        Radii of the atomistic core and of the whole, in lattice constants; the blend is as wide as
        the core.
    """
    potential = qc.potentials.zhou2004("Cu")
    a = equilibrium_lattice_constant(qc.crystal.fcc("Cu", 3.6), potential)
    model = qc.QuasiContinuum(
        qc.crystal.fcc("Cu", a),
        potential,
        core=core * a,
        blend=core * a,
        outer=outer * a,
        defects=PointDefects(vacant=[(0, 0, 0)]),
    )
    return model, a


def inward_displacement(model: qc.QuasiContinuum, a: float) -> float:
    """Return by how much the twelve nearest neighbours have moved towards the vacancy, Angstrom."""
    atoms = model.all_atoms(0.8 * a)
    distance = np.linalg.norm(atoms.positions - atoms.info["offset"], axis=1)
    return float(a / np.sqrt(2.0) - distance.mean())


def main(argv: Sequence[str] | None = None) -> list[Row]:
    """Relax a vacancy for several core radii, print a table and return its rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a small ball, in seconds")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write pictures and files there")
    args = parser.parse_args(argv)
    cores, outer = ((1.7, 2.0), 6.0) if args.small else ((1.7, 2.0, 2.5, 3.0), 20.0)

    print(f"{'core':>5} {'unknowns':>9} {'sites':>8} {'evaluations':>12} "
          f"{'energy (eV)':>12} {'error (meV)':>12} {'neighbours (Å)':>15}")  # fmt: skip
    rows = []
    for core in cores:
        model, a = vacancy(core, outer)
        result = qc.relax(model)
        rows.append(
            Row(
                core,
                model.n_unknowns,
                model.n_sites,
                result.evaluations,
                result.defect_energy,
                inward_displacement(model, a),
                result.converged,
            )
        )
        r = rows[-1]
        error = 1e3 * (r.energy - FULL_LATTICE_ENERGY)
        print(f"{r.core:>4} a {r.unknowns:>9,} {r.sites:>8,.0f} {r.evaluations:>12} "
              f"{r.energy:>12.5f} {error:>12.3f} {-r.inward:>15.4f}")  # fmt: skip
        for warning in result.warnings:
            print(f"      {warning}")
    print(f"{'every atom (LAMMPS)':>37} {FULL_LATTICE_ENERGY:>12.5f} {'':>12} "
          f"{-FULL_LATTICE_INWARD:>15.4f}")  # fmt: skip

    if args.output is not None:
        from qc.io import pictures

        pictures.draw_regions(args.output / "regions.png", model, title="Vacancy in Cu: regions")
        pictures.draw_field(args.output / "relaxation.png", model, "relaxation")
        qc.io.write_vtu(args.output / "vacancy.vtu", model)
        qc.io.write_extxyz(args.output / "vacancy.extxyz", model)
        print(f"pictures and files are in {args.output}")
    return rows


if __name__ == "__main__":
    main()
