"""A vacancy in silicon: two minima, one that nothing leaves and one where the neighbours bond.

Under the potential of Stillinger and Weber every force vanishes while all atoms sit on their sites:
bonds and angles that are left are perfect ones, and second neighbours are out of range. The energy
is then twice that of a bond. Only when the four neighbours start some way
towards the vacancy do they come into each other's range and bond, which lowers the energy by
1.7 eV. Both energies are compared with those of the full lattice, every atom relaxed by LAMMPS.

    python examples/silicon_vacancy.py [--small] [--output DIR]
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

#: Energies (eV) of the two minima and how far each neighbour moves towards the vacancy in the lower
#: one (Angstrom), LAMMPS 20250722, pair_style sw. Source: tests/reference/vacancy_3d_Si.json, which
#: names its recipe.
ON_SITES = 4.336400
BONDED = 2.645344
INWARD = 0.563423

#: Angstrom; how far the neighbours start towards the vacancy.
START = 0.4


@dataclass(frozen=True)
class Row:
    """One line of the table: radius of the core in lattice constants, start and results."""

    core: float
    start: float
    unknowns: int
    evaluations: int
    energy: float
    inward: float
    converged: bool


def vacancy(core: float, outer: float) -> qc.QuasiContinuum:
    """Return a model of silicon that lacks the atom at the origin.

    Parameters
    ----------
    core, outer : float
        Radii of the atomistic core and of the whole, in lattice constants.
    """
    potential = qc.potentials.stillinger1985()
    a = equilibrium_lattice_constant(qc.crystal.diamond("Si", 5.43), potential)
    return qc.QuasiContinuum(
        qc.crystal.diamond("Si", a),
        potential,
        core=core * a,
        blend=core * a,
        outer=outer * a,
        defects=PointDefects(vacant=[(0, 0, 0)]),
    )


def neighbours(model: qc.QuasiContinuum) -> np.ndarray:
    """Return the nodes of the vacancy's four neighbours, which belong to the other sublattice."""
    distance = np.linalg.norm(model.layout.node_positions, axis=1)
    near = distance < 1.01 * model.crystal.nearest_neighbour
    return np.flatnonzero(near & (model.layout.node_sublattices == 1))


def main(argv: Sequence[str] | None = None) -> list[Row]:
    """Relax the vacancy from both starts, print a table and return its rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="one small model, in seconds")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write pictures and files there")
    args = parser.parse_args(argv)
    cores, outer = ((1.2,), 4.0) if args.small else ((1.6, 2.0, 2.5, 3.0), 14.0)

    print(f"{'core':>5} {'unknowns':>9} {'start (Å)':>10} {'evaluations':>12} "
          f"{'energy (eV)':>12} {'error (meV)':>12} {'neighbours (Å)':>15}")  # fmt: skip
    rows = []
    for core in cores:
        model = vacancy(core, outer)
        four = neighbours(model)
        towards = -model.layout.node_positions[four]
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        for start, full in ((0.0, ON_SITES), (START, BONDED)):
            model.U[:] = 0.0
            model.U[four] = start * towards
            result = qc.relax(model)
            inward = float(np.einsum("ni,ni->n", model.U[four], towards).mean())
            rows.append(
                Row(
                    core,
                    start,
                    model.n_unknowns,
                    result.evaluations,
                    result.defect_energy,
                    inward,
                    result.converged,
                )
            )
            r = rows[-1]
            print(f"{r.core:>3} a {r.unknowns:>9,} {r.start:>10.1f} {r.evaluations:>12} "
                  f"{r.energy:>12.5f} {round(1e3 * (r.energy - full), 3) + 0.0:>12.3f} "
                  f"{round(-r.inward, 4) + 0.0:>15.4f}")  # fmt: skip
            for warning in result.warnings:
                print(f"      {warning}")
    print(f"{'every atom (LAMMPS)':>39} {ON_SITES:>12.5f} {'':>12} {0.0:>15.4f}")
    print(f"{'':>39} {BONDED:>12.5f} {'':>12} {-INWARD:>15.4f}")

    if args.output is not None:
        from qc.coupling.atom_fields import atom_fields
        from qc.io.pictures import draw_field, draw_nonaffinity

        atoms = atom_fields(model)
        title = "Vacancy in Si: non-affinity"
        draw_nonaffinity(args.output / "nonaffinity.png", model, title=title, fields=atoms)
        draw_field(args.output / "relaxation.png", model, "relaxation")
        qc.io.write_vtu(args.output / "vacancy.vtu", model)
        qc.io.write_extxyz(args.output / "vacancy.extxyz", model, fields=atoms)
        print(f"pictures and files are in {args.output}")
    return rows


if __name__ == "__main__":
    main()
