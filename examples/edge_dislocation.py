"""An edge dislocation in aluminium: convergence with the radius of the atomistic core.

The potential's stacking-fault energy is low, so the dislocation splits into two Shockley partials
with a strip of fault between them. The core set is therefore a strip on the glide plane, from
which the core radius counts. Everything is compared with the same block as atoms only.

    python examples/edge_dislocation.py [--small] [--output DIR]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import qc
from qc.materials import CauchyBorn, equilibrium_lattice_constant
from qc.mesh import Ball, LatticeBlock

#: Half the length of the strip that the core surrounds, Angstrom.
STRIP = 17.0

#: Non-affinity of atoms that are no longer fcc; the strain of a dislocation stays far below.
DEFECTIVE = 0.02


@dataclass(frozen=True)
class Row:
    """One line of the table; errors are relative to the largest relaxation."""

    core: float | None
    unknowns: int
    evaluations: int
    gain: float
    width: float
    rms_error: float
    largest_error: float
    converged: bool


def edge_model(core: float | None, block: LatticeBlock) -> qc.QuasiContinuum:
    """Return a block of columns along [-1-12] with an edge dislocation, Burgers vector a/2[1-10].

    Parameters
    ----------
    core : float or None, Angstrom
        Radius of the atomistic core around the strip; None makes every site an atom.
    block : LatticeBlock
        The whole, held at its edges at the field of the dislocation in an infinite crystal.
    """
    potential = qc.potentials.zhou2004("Al")
    a = equilibrium_lattice_constant(qc.crystal.fcc("Al", 4.05), potential)
    crystal = qc.crystal.fcc("Al", a, x=[1, -1, 0], y=[1, 1, 1], z=[-1, -1, 2]).as_columns()
    b = a / np.sqrt(2.0)
    # Between two columns along x and between two (111) planes along y.
    position = np.array([b / 4.0, a / np.sqrt(12.0)])
    dislocation = qc.farfield.VolterraDislocation(
        CauchyBorn(crystal, potential).elastic_constants(), (b, 0.0, 0.0), position
    )
    if core is None:
        return qc.QuasiContinuum(
            crystal, potential, far_field=dislocation, scheme="atomistic", outer=block
        )
    along = np.arange(-STRIP, STRIP + 0.1, 2.0)
    strip = np.zeros((len(along), 3))
    strip[:, :2] = position + np.outer(along, [1.0, 0.0])
    return qc.QuasiContinuum(
        crystal,
        potential,
        far_field=dislocation,
        core=core,
        blend=max(core, 10.0),
        outer=block,
        centres=strip,
    )


def fault_width(model: qc.QuasiContinuum) -> float:
    """Return the length of the strip of atoms that are not fcc, Angstrom."""
    x, y = model.far_field.position
    radius = 2.0 * STRIP
    atoms = model.all_atoms(Ball(radius, (x, y, 0.0), planar=True))
    offset = (atoms.positions - atoms.info["offset"])[:, :2] - [x, y]
    # The cut surface of the cylinder is no fault.
    inside = np.linalg.norm(offset, axis=1) < radius - 8.0
    faulted = inside & (qc.nonaffinity(atoms, model.crystal) > DEFECTIVE)
    return float(np.ptp(offset[faulted, 0])) if faulted.any() else 0.0


def study(cores: Sequence[float], block: LatticeBlock) -> tuple[list[Row], qc.QuasiContinuum]:
    """Return one row per core radius, the full lattice first, and the last model."""
    rows: list[Row] = []
    full, peak = None, 1.0
    for core in (None, *cores):
        model = edge_model(core, block)
        before = model.energy()
        result = qc.relax(model)
        gain = (before - model.energy()) / model.crystal.cell[2, 2]
        if full is None:
            full = model
            peak = float(np.linalg.norm(full.U, axis=1).max())
        error = np.linalg.norm(model.interpolate(full.mesh.lattice) - full.U, axis=1) / peak
        rows.append(
            Row(
                core,
                model.n_unknowns,
                result.evaluations,
                gain,
                fault_width(model),
                float(np.sqrt((error**2).mean())),
                float(error.max()),
                result.converged,
            )
        )
        r = rows[-1]
        name = "every atom" if core is None else f"core {core:g} Å"
        print(f"{name:>11} {r.unknowns:>9,} {r.evaluations:>12} {1e3 * r.gain:>14.3f} "
              f"{r.width:>10.2f} {100 * r.rms_error:>12.3f} "
              f"{100 * r.largest_error:>10.2f}")  # fmt: skip
        for warning in result.warnings:
            print(f"      {warning}")
    return rows, model


def main(argv: Sequence[str] | None = None) -> list[Row]:
    """Relax the dislocation for several core radii, print a table and return its rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a small block, in seconds")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write pictures and files there")
    args = parser.parse_args(argv)
    half, cores = ((36, 16), (7.0, 10.0)) if args.small else ((80, 32), (7.0, 10.0, 15.0, 22.0))
    block = LatticeBlock((-half[0], -half[1]), half)

    print(f"{'':>11} {'unknowns':>9} {'evaluations':>12} {'gain (meV/Å)':>14} "
          f"{'width (Å)':>10} {'rms error %':>12} {'largest %':>10}")  # fmt: skip
    rows, model = study(cores, block)
    print("gain: energy released by the relaxation of the core; width: of the faulted strip;\n"
          "errors: of displacements, relative to the largest relaxation")  # fmt: skip

    if args.output is not None:
        from qc.io import pictures

        pictures.draw_regions(args.output / "regions.png", model)
        pictures.draw_nonaffinity(args.output / "nonaffinity.png", model)
        pictures.draw_field(args.output / "stress.png", model, "hydrostatic_stress")
        qc.io.write_vtu(args.output / "edge.vtu", model)
        qc.io.write_extxyz(args.output / "edge.extxyz", model)
        print(f"pictures and files are in {args.output}")
    return rows


if __name__ == "__main__":
    main()
