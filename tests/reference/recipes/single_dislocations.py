"""Straight dislocations in a cylinder, free inside, held at the Volterra field outside.

Writes ``dislocation_*.json``: energy within a radius, and relaxed positions near the core.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from column_path import relax_path
from columns import fault_strips, lomer_crystal, members, sites_near, stiffness
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

from qc import crystal, farfield

Array = NDArray[np.float64]

RADIUS = 100.0
NEAR_CORE = 20.0
TOLERANCE = 1e-7
RADII = (5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0)


@dataclass(frozen=True)
class Case:
    """A dislocation: element, axes, initial strips of fault (in a), triangle of a screw."""

    symbol: str
    kind: str
    words: str
    axes: dict[str, str]
    strip: float = 0.0
    triangle: str = ""


LOMER = {"x": "[110]", "y": "[001]", "z": "[1-10]"}
EDGE = {"x": "[1-10]", "y": "[111]", "z": "[-1-12]"}
SCREW = {"x": "[11-2]", "y": "[-110]", "z": "[111]"}
CASES = {
    "lomer_Ni": Case("Ni", "lomer", "Lomer dislocation a/2[110] on (001)", LOMER),
    "lomer_Al": Case("Al", "lomer", "Lomer-Cottrell dislocation a/2[110]", LOMER, strip=3.0),
    "edge_Ni": Case("Ni", "edge", "edge dislocation a/2[1-10] on (111)", EDGE),
    "screw_Fe": Case("Fe", "screw", "screw dislocation a/2[111]", SCREW, triangle="up"),
}


def set_up(case: Case, bulk: dict[str, Any]) -> tuple[Any, Any, Array]:
    """Return the columns, the dislocation and the displacement added to its predictor's core."""
    a = bulk["lattice_constant"]
    if case.kind == "lomer":
        columns = lomer_crystal(case.symbol, a)
        p = columns.cell[0, 0]
        burgers, core = [p, 0.0, 0.0], np.array([p / 4, a / 4])
    elif case.kind == "edge":
        columns = crystal.fcc(case.symbol, a, x=[1, -1, 0], y=[1, 1, 1], z=[-1, -1, 2])
        columns = columns.as_columns()
        b = a / np.sqrt(2)
        # Columns are b/2 apart along x, on the same x in every other plane: halfway between two of
        # them, and between two (111) planes.
        burgers, core = [b, 0.0, 0.0], np.array([b / 4, a / np.sqrt(12)])
    else:
        columns = crystal.bcc(case.symbol, a, x=[1, 1, -2], y=[-1, 1, 0], z=[1, 1, 1])
        columns = columns.as_columns()
        b = a * np.sqrt(3) / 2
        side, height = a * np.sqrt(2 / 3), a / np.sqrt(2)
        # The centre of a triangle of columns; the cut meets none. The other triangle, pointing
        # down, is the one of the hard core, or the sign of b is.
        centres = {"up": (side / 2, height / 3), "down": (side, 2 * height / 3)}
        burgers, core = [0.0, 0.0, b], np.array(centres[case.triangle])
    elastic = stiffness(bulk, columns)
    return columns, farfield.VolterraDislocation(elastic, burgers, core, (-1, 0)), elastic


def within(excess: Array, distance: Array, period: float, prefactor: float, b: float) -> Any:
    """Return rows of radius, energy per length inside it, and that less K ln(radius / b)."""
    rows = []
    for r in RADII:
        energy = float(excess[distance < r].sum()) / period
        rows.append([r, energy, energy - prefactor * float(np.log(r / b))])
    return rows


def main() -> None:
    """Write one file per case."""
    options = arguments(__doc__.splitlines()[0], cases=list(CASES))
    for name in options.cases:
        case = CASES[name]
        potential = zhou(case.symbol)
        bulk = bulk_of(options.out, case.symbol, potential)
        columns, dislocation, elastic = set_up(case, bulk)
        core, period = dislocation.position, float(columns.cell[2, 2])
        m = sites_near(columns, core, RADIUS + 2 * potential.cutoff)
        x = columns.positions(m)
        distance = np.linalg.norm(x[:, :2] - core, axis=1)
        free = distance < RADIUS
        predictor = x + dislocation.displacement(x)
        start, strips = np.zeros_like(x), None
        if case.strip:
            a = bulk["lattice_constant"]
            strips = fault_strips(elastic, a, core, 1, (case.strip * a, case.strip * a))
            start = strips.displacement(x) * free[:, None]
        with tempfile.TemporaryDirectory() as folder:
            setfl = table(potential, folder)
            (step,) = relax_path(
                [predictor],
                free,
                [period],
                case.symbol,
                setfl,
                tolerance=TOLERANCE,
                start=start,
            )
            record = header(
                f"{case.symbol}: {case.words}", "single_dislocations.py", potential, setfl
            )
        excess = step.energies - bulk["cohesive_energy"]
        k, b = dislocation.energy_prefactor, dislocation.length
        rows = within(excess, distance, period, k, b)
        core_energy = float(np.mean([row[2] for row in rows if 30.0 <= row[0] <= 80.0]))
        near = np.flatnonzero(distance < NEAR_CORE)
        near = near[np.argsort(distance[near], kind="stable")]
        record |= {
            "crystal": crystal_record(bulk),
            "geometry": {
                "axes": case.axes,
                "cell": columns.cell.tolist(),
                "radius": RADIUS,
                "free_columns": int(free.sum()),
                "columns": len(m),
                "held_frame": 2 * potential.cutoff,
                "period": period,
            },
            "far_field": {"dislocations": members(dislocation), "self_consistent": True},
            "start": members(strips) if strips else None,
            "notes": [
                "energies per length along z, above the perfect crystal",
                "energy_within: radius (of reference positions, from the core), energy inside, "
                "energy - K ln(radius / b)",
                "core_energy: mean of the last column between radii of 30 and 80",
                "relaxation_energy: eV per period, relaxed less predictor, all atoms",
                "displacement: relaxed position less reference position m @ cell",
            ],
            "energy_prefactor": k,
            "core_energy": core_energy,
            "relaxation_energy": total(step.energies - step.predictor_energies, 0.0),
            "max_force": step.max_force,
            "stages": [list(s[:4]) for s in step.stages],
            "energy_within_columns": ["radius", "energy", "energy - K ln(radius / b)"],
            "energy_within": rows,
            "columns": ["m1", "m2", "ux", "uy", "uz", "atomic_energy"],
            "displacement": [
                m[i, :2].tolist()
                + rounded(step.positions[i] - x[i], 8)
                + [round(float(excess[i]), 9)]
                for i in near
            ],
        }
        save(options.out / f"dislocation_{name}.json", record)
        print(name, core_energy, k, step.max_force, rows[-4:])


if __name__ == "__main__":
    main()
