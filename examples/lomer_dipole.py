"""A dipole of Lomer dislocations in aluminium under shear: lomer_dipole.toml, in Python.

Two dislocations with Burgers vectors +-a/2[110] lie on one (001) plane. A compact Lomer core would
glide in this potential; these are Lomer-Cottrell locks, each split into two Shockley partials on
{111} planes and a stair rod where the planes meet, and they stay. The block is sheared in steps.

At full size the energy of every step stands beside that of the full lattice as LAMMPS relaxed it;
at the small size the displacements are compared with a block where every site is an atom.

    python examples/lomer_dipole.py [--small] [--output DIR]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import qc
from qc.farfield import DislocationSum, VolterraDislocation, simple_shear
from qc.materials import CauchyBorn, equilibrium_lattice_constant
from qc.mesh import LatticeBlock
from qc.solve import Preconditioner

#: Energy of the full-size block by shear, eV per period above the perfect unstrained crystal.
#: LAMMPS 20250722 on the table that `qc.potentials.write_setfl` makes of `zhou2004("Al")`.
#: Source: tests/reference/lomer_dipole_Al.json, which names its recipe.
FULL_LATTICE = {
    0.000: 3.59364,
    0.006: 4.33224,
    0.012: 7.31188,
    0.018: 12.54346,
    0.024: 20.00421,
    0.030: 29.66501,
}

#: Non-affinity of atoms that are no longer fcc.
DEFECTIVE = 0.02


@dataclass(frozen=True)
class Size:
    """A block and its regions.

    Attributes
    ----------
    cells : tuple of int
        Half the cells along each side of the block.
    apart : int
        Half the distance of the dislocations in units of their Burgers vector.
    core, blend : float, Angstrom
        Radius of the atomistic core around each dislocation and width of the blend.
    """

    cells: tuple[int, int]
    apart: int
    core: float
    blend: float


FULL = Size((96, 56), 25, 34.0, 12.0)
SMALL = Size((48, 32), 12, 26.0, 12.0)


@dataclass(frozen=True)
class Row:
    """One load step.

    Attributes
    ----------
    shear : float
    energy : float, eV
        Per period, above the perfect unstrained crystal.
    split : tuple of float, Angstrom
        How far the partials of each dislocation are from its apex; 0 if it is gone.
    error : float or None
        Root mean square of the displacements' error, relative to the largest relaxation; None
        where they were not compared.
    evaluations : int
    converged : bool
    """

    shear: float
    energy: float
    split: tuple[float, ...]
    error: float | None
    evaluations: int
    converged: bool


def lomer_model(size: Size, scheme: str = "bgfc") -> qc.QuasiContinuum:
    """Return the unsheared dipole, its dislocations about to split."""
    potential = qc.potentials.zhou2004("Al")
    a = equilibrium_lattice_constant(qc.crystal.fcc("Al", 4.05), potential)
    crystal = qc.crystal.fcc("Al", a, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns()
    elastic = CauchyBorn(crystal, potential).elastic_constants()
    b = a / np.sqrt(2.0)

    dipole, partials = [], []
    for sign in (1, -1):
        # Between two columns along x and between two (001) planes along y.
        place = np.array([(sign * size.apart + 0.25) * b, 0.25 * a])
        dipole.append(VolterraDislocation(elastic, (sign * b, 0.0, 0.0), place))
        for side in (1, -1):
            # A partial a/6<112> on its {111} plane, away from the extra half plane. The strip of
            # stacking fault behind it ends at its opposite at the apex, between planes of atoms.
            arm = np.array([side, -sign * np.sqrt(2.0)]) / np.sqrt(3.0)
            burgers = sign * side * a / np.sqrt(6.0) * np.array([*arm, 0.0])
            apex = place + 0.05 * a * np.array([-arm[1], arm[0]])
            for vector, where in ((burgers, apex + 3.0 * a * arm), (-burgers, apex)):
                partials.append(
                    VolterraDislocation(elastic, vector, where, -arm, self_consistent=False)
                )
    model = qc.QuasiContinuum(
        crystal,
        potential,
        far_field=DislocationSum(dipole),
        scheme=scheme,
        core=size.core,
        blend=size.blend,
        grading=2.0,
        outer=LatticeBlock((-size.cells[0], -size.cells[1]), size.cells),
    )
    # A start, not a part of the predictor: the partials go where they like.
    model.displace(DislocationSum(partials))
    return model


def sheared(
    model: qc.QuasiContinuum, shears: Sequence[float], fmax: float
) -> Iterator[tuple[qc.QuasiContinuum, qc.solve.Result]]:
    """Yield the relaxed model and its result at each shear, each from the state before."""
    inverse = Preconditioner(model)
    for shear in shears:
        model = model.with_strain(simple_shear(shear))
        yield model, qc.relax(model, fmax=fmax, preconditioner=inverse)


def split(model: qc.QuasiContinuum) -> tuple[float, ...]:
    """Return how far atoms that are not fcc reach from each dislocation, Angstrom."""
    atoms = model.all_atoms()
    defective = qc.nonaffinity(atoms, model.crystal) > DEFECTIVE
    reach = []
    for core in model.far_field.current_cores:
        distance = np.linalg.norm((atoms.positions - atoms.info["offset"])[:, :2] - core, axis=1)
        own = distance[defective & (distance < model.layout.blend.core)]
        reach.append(float(own.max(initial=0.0)))
    return tuple(reach)


def main(argv: Sequence[str] | None = None) -> list[Row]:
    """Shear the dipole step by step, print a table and return its rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a small block, in seconds")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write pictures and files there")
    args = parser.parse_args(argv)
    size, fmax = (SMALL, 1e-3) if args.small else (FULL, 1e-4)
    shears = (0.0, 0.006) if args.small else tuple(FULL_LATTICE)

    start = lomer_model(size)
    print(f"{start.n_unknowns:,} unknowns for {start.n_sites:,.0f} sites")
    # Without a stored reference, every atom is relaxed along.
    atoms = sheared(lomer_model(size, "atomistic"), shears, fmax) if args.small else None
    beside = "rms error %" if args.small else "LAMMPS"
    print(f"{'shear %':>8} {'energy (eV)':>12} {'change':>9} {beside:>12} {'split (Å)':>12} "
          f"{'evaluations':>12}")  # fmt: skip
    rows: list[Row] = []
    for shear, (model, result) in zip(shears, sheared(start, shears, fmax), strict=True):
        error = None
        if atoms is not None:
            full, _ = next(atoms)
            difference = np.linalg.norm(model.interpolate(full.mesh.lattice) - full.U, axis=1)
            peak = np.linalg.norm(full.U, axis=1).max()
            error = float(np.sqrt((difference**2).mean()) / peak)
        row = Row(shear, result.energy, split(model), error, result.evaluations, result.converged)
        rows.append(row)
        other = FULL_LATTICE[shear] - FULL_LATTICE[0.0] if error is None else 100.0 * error
        print(f"{100 * shear:>8.1f} {row.energy:>12.4f} {row.energy - rows[0].energy:>9.4f} "
              f"{other:>12.4f} {row.split[0]:>6.1f}{row.split[1]:>6.1f} "
              f"{row.evaluations:>12}")  # fmt: skip
        for warning in result.warnings:
            print(f"         {warning}")
        if args.output is not None:
            qc.io.write_vtu(args.output / f"shear_{1000 * shear:.0f}.vtu", model)
            qc.io.write_extxyz(args.output / f"shear_{1000 * shear:.0f}.extxyz", model)

    if args.output is not None:
        from qc.io import pictures

        pictures.draw_mesh(args.output / "mesh.png", model)
        pictures.draw_regions(args.output / "regions.png", model)
        pictures.draw_nonaffinity(args.output / "nonaffinity.png", model)
        pictures.draw_field(args.output / "stress.png", model, "hydrostatic_stress")
        print(f"pictures and files are in {args.output}")
    return rows


if __name__ == "__main__":
    main()
