"""A dipole of Lomer dislocations under simple shear, the full lattice of columns relaxed.

Writes ``lomer_dipole_Al.json`` and ``lomer_dipole_Ni.json``. The block is the parallelogram
``|m1| <= M1, |m2| <= M2`` on the primitive vectors of the columns, ``a/2[110]`` along x and the one
that rises by a/2; a rectangle of 400 x 200 Angstrom fits inside. Columns strictly inside are free;
those on its edge and up to two cutoffs outside are held at the predictor: Volterra dislocations,
then simple shear. Every step starts from its predictor plus the displacement that the step before
found; in Al the first one starts from the strips of stacking fault that make Lomer-Cottrell
dislocations of the two.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from column_path import Step, relax_path
from columns import (
    fault_strips,
    lomer_crystal,
    members,
    parallelogram,
    shear,
    stiffness,
)
from lammps_driver import Block
from numpy.typing import NDArray
from reference import (
    arguments,
    bulk_of,
    crystal_record,
    header,
    rounded,
    save,
    table,
    total,
    zhou,
)

from qc import farfield

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One dipole.

    ``bounds``: half the number of cells along the two primitive vectors, multiples of 8, so that
    coarse meshes of the lattice fit; ``half_distance`` of the cores in units of a/2[110];
    ``strip``: initial length of each strip of stacking fault in lattice constants, 0 for none;
    ``shears``: the steps; ``stored``: those whose displacements are written.
    """

    bounds: tuple[int, int]
    half_distance: int
    strip: float
    shears: tuple[float, ...]
    stored: tuple[float, ...]


AL_SHEARS = (0.0, 0.006, 0.012, 0.018, 0.024, 0.03)
CASES = {
    # The cores change sides at about 0.0095, as far as can be from any step.
    "Al": Case((96, 56), 25, 3.0, AL_SHEARS, AL_SHEARS),
    "Ni": Case((112, 64), 20, 0.0, (0.0, 0.005, 0.01, 0.015, 0.02), (0.0, 0.01, 0.02)),
}
NEAR_CORE = 30.0
TOLERANCE = 1e-6


def hot_columns(energies: Array, positions: Array, core: Array, amount: float) -> list[list[float]]:
    """Return x, y from the core (shear undone) and energy of the 16 columns of highest energy."""
    offset = (positions @ np.linalg.inv(shear(amount)).T)[:, :2] - core
    near = np.flatnonzero(np.linalg.norm(offset, axis=1) < 40.0)
    top = near[np.argsort(-energies[near])[:16]]
    return [[*rounded(offset[i], 2), round(float(energies[i]), 4)] for i in top]


def doubled_period(positions: Array, period: float, symbol: str, setfl: Path) -> Array:
    """Return the atomic energies (n,) with two atoms per column."""
    stack = np.concatenate([positions, positions + np.array([0.0, 0.0, period])])
    cell = np.diag([1.0, 1.0, 2 * period])
    with Block(stack, symbol, setfl, cell=cell, periodic=(False, False, True)) as block:
        block.move_to(stack)
        return block.energies()[: len(positions)]


def step_record(
    step: Step, amount: float, bulk_energy: float, weight: Array, free: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return energies and sizes of one step."""
    excess = step.energies - bulk_energy
    predicted = step.predictor_energies - bulk_energy
    return {
        "shear": amount,
        "block_energy": float(weight @ excess),
        "free_energy": float(excess[free].sum()),
        "predictor_block_energy": float(weight @ predicted),
        "relaxation_energy": total(step.energies - step.predictor_energies, 0.0),
        "max_force": step.max_force,
        "stages": [list(s[:4]) for s in step.stages],
    }


def main() -> None:
    """Write the dipole's file."""
    options = arguments(__doc__.splitlines()[0], elements=list(CASES))
    for symbol in options.elements:
        case, potential = CASES[symbol], zhou(symbol)
        bulk = bulk_of(options.out, symbol, potential)
        a, bulk_energy = bulk["lattice_constant"], bulk["cohesive_energy"]
        columns = lomer_crystal(symbol, a)
        elastic = stiffness(bulk, columns)
        p, period = float(columns.cell[0, 0]), float(columns.cell[2, 2])
        m, free, weight = parallelogram(columns, case.bounds, 2 * potential.cutoff)
        x = columns.positions(m)
        cores = np.array([[s * case.half_distance * p + p / 4, a / 4] for s in (-1, 1)])
        pair = [
            farfield.VolterraDislocation(elastic, [s * p, 0, 0], core, (-1, 0))
            for s, core in zip((-1, 1), cores, strict=True)
        ]
        strips = [
            fault_strips(elastic, a, core, s, (case.strip * a, case.strip * a))
            for s, core in zip((-1, 1), cores, strict=True)
            if case.strip
        ]
        start = sum((s.displacement(x) for s in strips), np.zeros_like(x)) * free[:, None]
        fields = [farfield.DislocationSum(pair, shear(g)) for g in case.shears]
        predictors = [x + field.displacement(x) for field in fields]
        with tempfile.TemporaryDirectory() as folder:
            setfl = table(potential, folder)
            steps = relax_path(
                predictors,
                free,
                [period] * len(case.shears),
                symbol,
                setfl,
                tolerance=TOLERANCE,
                start=start,
            )
            twice = doubled_period(steps[0].positions, period, symbol, setfl)
            record = header(
                f"{symbol}: dipole of Lomer dislocations under simple shear",
                "lomer_dipole.py",
                potential,
                setfl,
            )
        relaxed = [s.positions - y0 for s, y0 in zip(steps, predictors, strict=True)]
        near = np.min([np.linalg.norm(x[:, :2] - c, axis=1) for c in cores], axis=0) <= NEAR_CORE
        sixth = (m[:, 0] % 3 == 0) & (m[:, 1] % 2 == 0)
        stored = np.flatnonzero(free & (near | sixth))
        record |= {
            "crystal": crystal_record(bulk),
            "geometry": {
                "axes": {"x": "[110]", "y": "[001]", "z": "[1-10]"},
                "cell": columns.cell.tolist(),
                "bounds": list(case.bounds),
                "free_columns": int(free.sum()),
                "columns": len(m),
                "held_frame": 2 * potential.cutoff,
                "period": period,
            },
            "far_field": {
                "dislocations": members(farfield.DislocationSum(pair)),
                "self_consistent": True,
                "deformation": "F_xy = shear, outermost",
            },
            "start": {
                "added_to_the_first_predictor": "textbook displacement of these dislocations, "
                "on free columns",
                "dislocations": [d for s in strips for d in members(s)],
                "self_consistent": False,
            }
            if strips
            else None,
            "notes": [
                "energies are per period, above the perfect unstrained crystal",
                "block_energy: sum over atoms by their share in the parallelogram: 1 inside, 1/2 "
                "on an edge, 1/4 at a corner; free_energy: over free columns only",
                "relaxation_energy: sum over all atoms of energy at the relaxed state less energy "
                "at the predictor",
                "displacement: relaxed position less reference position (m1, m2, 0) @ cell; its z "
                "component is zero by symmetry",
                "relaxation_norms: of relaxed position less predictor, over free columns",
                f"rows: columns within {NEAR_CORE} of a core, and elsewhere those with m1 % 3 == 0 "
                "and m2 % 2 == 0",
                "hot: x, y from the core and energy above the crystal of the 16 highest columns",
            ],
            "check_doubled_period": float(np.abs(twice - steps[0].energies).max()),
            "largest_uz": float(max(np.abs(u[:, 2]).max() for u in relaxed)),
            "steps": [],
            "relaxation_norms": [],
            "hot": [],
        }
        for g, step, u in zip(case.shears, steps, relaxed, strict=True):
            size = np.linalg.norm(u[free], axis=1)
            record["steps"].append(step_record(step, g, bulk_energy, weight, free))
            record["relaxation_norms"].append(
                {
                    "shear": g,
                    "largest": float(size.max()),
                    "root_mean_square": float(np.sqrt((size**2).mean())),
                }
            )
            excess = step.energies - bulk_energy
            record["hot"] += [
                {"shear": g, "core": k, "columns": hot_columns(excess, step.positions, core, g)}
                for k, core in enumerate(cores)
            ]
        record["columns"] = ["m1", "m2", *(f"u{c} at {g}" for g in case.stored for c in "xy")]
        chosen = [(steps[case.shears.index(g)].positions - x)[stored, :2] for g in case.stored]
        record["displacement"] = [
            m[i, :2].tolist() + rounded(row, 7)
            for i, row in zip(stored, np.hstack(chosen), strict=True)
        ]
        save(options.out / f"lomer_dipole_{symbol}.json", record)


if __name__ == "__main__":
    main()
