"""Basal dislocations a/3 <11-20> of hcp Co in a cylinder, free inside, Volterra field outside.

Writes ``dislocation_basal_screw_Co.json`` (and, if asked, that of the edge dislocation): lattice
constants, elastic constants and basal fault of the potential, relaxed positions near the core, and
where its two Shockley partials are.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from column_path import Step, relax_path
from columns import members
from lammps_driver import GPA, Block
from numpy.typing import NDArray
from reference import arguments, header, rounded, save, table, total, zhou
from scipy.optimize import root

from qc import crystal, farfield
from qc.continuum import starting_shifts
from qc.materials import CauchyBorn

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

SYMBOL = "Co"
GUESS = (2.51, 4.07)
RADIUS = 160.0
CHECK_RADIUS = 100.0
NEAR_CORE = 30.0
NOISE = 0.05
TOLERANCE = 1e-7
FAULT_CELLS = 12
RADII = (5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 100.0, 120.0, 140.0)

#: Four atoms in the orthohexagonal cell a x sqrt(3) a x c, fractions.
MOTIF = np.array([[0, 0, 0], [1 / 2, 1 / 2, 0], [1 / 2, 5 / 6, 1 / 2], [0, 1 / 3, 1 / 2]])
CUBE = (True, True, True)
PAIRS = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]

#: Axes as three indices of the hexagonal cell; [100] is a close-packed row, a/3 <2-1-10>.
CASES = {
    "screw": {"x": [1, 2, 0], "y": [0, 0, 1], "z": [1, 0, 0]},
    "edge": {"x": [1, 0, 0], "y": [0, 0, 1], "z": [-1, -2, 0]},
}


def orthohexagonal(a: float, c: float) -> Array:
    """Return the cell of `MOTIF`."""
    return np.diag([a, np.sqrt(3.0) * a, c])


def state(cell: Array, setfl: Path, relax: bool = False) -> tuple[float, Array]:
    """Return energy per atom and stress of a deformed cell, atoms relaxed if wanted."""
    x = MOTIF @ cell
    with Block(x, SYMBOL, setfl, cell=cell, periodic=CUBE) as block:
        block.move_to(x)
        if relax:
            block.relax(1e-12, ("cg", "polish"), 200)
        return float(block.energies().mean()), block.stress()


def perfect_crystal(setfl: Path) -> dict[str, Any]:
    """Return lattice constants, cohesive energy and elastic constants at zero stress."""

    def stresses(lengths: Array) -> list[float]:
        s = state(orthohexagonal(*lengths), setfl)[1]
        return [s[0, 0] + s[1, 1], s[2, 2]]

    a, c = (float(v) for v in root(stresses, GUESS, tol=1e-13).x)
    cell = orthohexagonal(a, c)
    energy, stress = state(cell, setfl)
    record = {
        "structure": "hcp",
        "a": a,
        "c": c,
        "cohesive_energy": energy,
        "residual_stress": float(np.abs(stress).max()),
    }
    for name, relax in (("elastic", True), ("elastic_unrelaxed", False)):
        step, moduli = 5e-4, np.empty((6, 6))
        for k, (i, j) in enumerate(PAIRS):
            strain = np.zeros((3, 3))
            strain[i, j] += 0.5
            strain[j, i] += 0.5
            s = [
                state(cell @ (np.eye(3) + n * step * strain), setfl, relax)[1]
                for n in (-2, -1, 1, 2)
            ]
            slope = (8 * (s[2] - s[1]) - (s[3] - s[0])) / (12 * step)
            moduli[:, k] = [slope[pair] for pair in PAIRS]
        moduli = 0.5 * (moduli + moduli.T)
        record[name] = {
            "C11": moduli[0, 0],
            "C12": moduli[0, 1],
            "C13": moduli[0, 2],
            "C33": moduli[2, 2],
            "C44": moduli[3, 3],
            "C66": moduli[5, 5],
        }
        record[name] = {k: float(v) for k, v in record[name].items()}
        gap = abs(moduli[5, 5] - 0.5 * (moduli[0, 0] - moduli[0, 1]))
        if gap > 1e-6:
            raise SystemExit(f"C66 is off the hexagonal relation by {gap}")
    return record


def basal_fault(bulk: dict[str, Any], setfl: Path) -> dict[str, float]:
    """Return the energy of the fault I2 on (0001), relaxed at the height of the perfect crystal.

    One fault per period: a partial a/3 <1-100> is added to the third cell vector.
    """
    a, c = bulk["a"], bulk["c"]
    layers = np.arange(FAULT_CELLS)[:, None, None] * [0.0, 0.0, 1.0]
    x = (layers + MOTIF).reshape(-1, 3) @ orthohexagonal(a, c)
    cell = orthohexagonal(a, FAULT_CELLS * c)
    # The sign that leads from B over A to C; the other one would put A on A.
    cell[2, 1] = -a / np.sqrt(3.0)
    area = np.sqrt(3.0) * a**2
    with Block(x, SYMBOL, setfl, cell=cell, periodic=CUBE) as block:
        block.move_to(x)
        raw = total(block.energies(), bulk["cohesive_energy"]) / area
        force = block.relax(1e-9, ("cg", "fire")).max_force
        relaxed = total(block.energies(), bulk["cohesive_energy"]) / area
    return {
        "unrelaxed": raw,
        "relaxed": relaxed,
        "relaxed_mJ_per_m2": relaxed * GPA * 100,
        "cells": FAULT_CELLS,
        "max_force": force,
    }


def stiffness(moduli: dict[str, float], rotation: Array) -> Array:
    """Return the elastic tensor (3, 3, 3, 3) in the axes of the columns, eV/Angstrom^3."""
    m = np.zeros((6, 6))
    m[:3, :3] = moduli["C12"]
    m[2, :2] = m[:2, 2] = moduli["C13"]
    m[[0, 1, 2], [0, 1, 2]] = moduli["C11"], moduli["C11"], moduli["C33"]
    m[[3, 4, 5], [3, 4, 5]] = moduli["C44"], moduli["C44"], (moduli["C11"] - moduli["C12"]) / 2
    voigt = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
    tensor = m[voigt[:, :, None, None], voigt[None, None]]
    r = rotation
    return np.einsum("ia,jb,kc,ld,abcd->ijkl", r, r, r, r, tensor, optimize=True)


def sites_near(columns: Any, centre: Array, radius: float) -> tuple[IntArray, Array]:
    """Return (n, 3) rows m1, m2, sublattice of the columns near ``centre``, and their positions."""
    plane = columns.cell[:2, :2]
    heights = abs(np.linalg.det(plane)) / np.linalg.norm(plane[::-1], axis=1)
    reach = np.ceil(radius / heights).astype(int) + 3
    g = [np.arange(-r, r + 1) for r in reach]
    m = np.stack(np.meshgrid(*g, indexing="ij"), -1).reshape(-1, 2)
    rows, places = [], []
    for s in range(columns.n_sublattices):
        x = np.column_stack([m, np.zeros(len(m), int)]) @ columns.cell + columns.basis[s]
        near = np.linalg.norm(x[:, :2] - centre, axis=1) <= radius
        rows.append(np.column_stack([m[near], np.full(near.sum(), s)]))
        places.append(x[near])
    return np.concatenate(rows).astype(np.int64), np.concatenate(places)


def disregistry(x: Array, u: Array, y: float, spacing: float, direction: Array) -> Array:
    """Return rows of x and slip across the plane at height ``y``, along a unit vector.

    Each atom of the plane above is compared with the plane below, interpolated along x.
    """
    above = np.abs(x[:, 1] - y - spacing / 2) < 0.1
    below = np.abs(x[:, 1] - y + spacing / 2) < 0.1
    low, high = np.flatnonzero(below), np.flatnonzero(above)
    low, high = low[np.argsort(x[low, 0])], high[np.argsort(x[high, 0])]
    at = x[high, 0]
    inside = (at > x[low[0], 0]) & (at < x[low[-1], 0])
    slip = u[high] @ direction - np.interp(at, x[low, 0], u[low] @ direction)
    return np.column_stack([at, slip])[inside]


def crossing(rows: Array, value: float) -> float:
    """Return the x where the slip first passes a value; rows are sorted by x."""
    d = rows[:, 1] - value
    k = int(np.flatnonzero(d[:-1] * d[1:] <= 0)[0])
    return float(rows[k, 0] - d[k] * (rows[k + 1, 0] - rows[k, 0]) / (d[k + 1] - d[k]))


def partials(x: Array, u: Array, core: Array, spacing: float, burgers: Array) -> dict[str, Any]:
    """Return the places of the two partials, and the largest slip of the other component."""
    b = float(np.linalg.norm(burgers))
    near = np.linalg.norm(x[:, :2] - core, axis=1) < 60.0
    along = disregistry(x[near], u[near], core[1], spacing, burgers / b)
    across = disregistry(x[near], u[near], core[1], spacing, np.cross([0.0, 1.0, 0.0], burgers / b))
    # Behind the core, at x < 0, the crystal has slipped by b, and by nothing ahead of it.
    slip = along[:, 1] - along[-1, 1]
    rows = np.column_stack([along[:, 0], slip])
    sign = np.sign(rows[0, 1])
    places = [crossing(rows, sign * b * k) for k in (0.75, 0.25)]
    middle = float(np.abs(across[:, 1]).max())
    return {
        "plane_y": float(core[1]),
        "x_of_partials": places,
        "separation": abs(places[1] - places[0]),
        "largest_slip_across": middle,
        "slip_across_between_ideal_partials": b / (2.0 * np.sqrt(3.0)),
    }


def relax(
    case: Any, radius: float, setfl: Path, noise: float = 0.0
) -> tuple[IntArray, Array, Array, Step]:
    """Return rows, reference positions, distances from the core and the relaxed state."""
    columns, dislocation, rule, frame = case
    core = dislocation.position
    rows, x = sites_near(columns, core, radius + frame)
    cells = x - columns.basis[rows[:, 2]]
    shifts = starting_shifts(rule, farfield.DislocationSum([dislocation]), cells)
    shifts = shifts[np.arange(len(x)), rows[:, 2]]
    distance = np.linalg.norm(x[:, :2] - core, axis=1)
    free = distance < radius
    start = np.random.default_rng(7).normal(0.0, noise, x.shape) if noise else np.zeros(x.shape)
    (step,) = relax_path(
        [x + dislocation.displacement(x) + shifts],
        free,
        [float(columns.cell[2, 2])],
        SYMBOL,
        setfl,
        tolerance=TOLERANCE,
        start=start * free[:, None],
    )
    print(radius, len(x), step.max_force, [s[:4] for s in step.stages], step.seconds)
    return rows, x, distance, step


def main() -> None:
    """Write one file per character."""
    options = arguments(__doc__.splitlines()[0], characters=["screw"])
    potential = zhou(SYMBOL)
    with tempfile.TemporaryDirectory() as folder:
        setfl = table(potential, folder)
        bulk = perfect_crystal(setfl)
        fault = basal_fault(bulk, setfl)
        print(bulk, fault)
        a, c = bulk["a"], bulk["c"]
        for character in options.characters:
            axes = CASES[character]
            columns = crystal.hcp(SYMBOL, a, c, **axes).as_columns()
            elastic = stiffness(bulk["elastic"], columns.rotation)
            burgers = np.array([0.0, 0.0, a] if character == "screw" else [a, 0.0, 0.0])
            # Between two basal planes, in the middle of a bond that joins them: a centre of
            # inversion of the crystal.
            core = 0.5 * columns.basis[1, :2]
            dislocation = farfield.VolterraDislocation(elastic, burgers, core, (-1, 0))
            # The far field strains the basis too: a frame held at unrelaxed shifts would pull at
            # the dislocation from any distance.
            rule = CauchyBorn(columns, potential)
            case = (columns, dislocation, rule, 2.0 * potential.cutoff)
            rows, x, distance, step = relax(case, RADIUS, setfl)
            u = step.positions - x
            _, x_small, _, small = relax(case, CHECK_RADIUS, setfl)
            # A start that is symmetric may end on a saddle; noise leaves it.
            noisy = relax(case, CHECK_RADIUS, setfl, NOISE)[3]
            near = np.flatnonzero(distance < NEAR_CORE)
            near = near[np.argsort(distance[near], kind="stable")]
            index = {tuple(k): i for i, k in enumerate(np.round(x_small, 6).tolist())}
            same = [index[tuple(k)] for k in np.round(x[near], 6).tolist()]
            moved = np.abs(small.positions[same] - step.positions[near]).max()
            period = float(columns.cell[2, 2])
            excess = step.energies - bulk["cohesive_energy"]
            k, b = dislocation.energy_prefactor, dislocation.length
            within = []
            for r in RADII:
                energy = float(excess[distance < r].sum()) / period
                within.append([r, energy, energy - k * float(np.log(r / b))])
            record = header(
                f"{SYMBOL}: {character} dislocation a/3 <11-20> on the basal plane",
                "hcp_dislocation.py",
                potential,
                setfl,
            )
            record |= {
                "crystal": bulk,
                "basal_fault_I2": fault,
                "geometry": {
                    "axes": {k: str(v) for k, v in axes.items()},
                    "cell": columns.cell.tolist(),
                    "basis": columns.basis.tolist(),
                    "radius": RADIUS,
                    "free_columns": int((distance < RADIUS).sum()),
                    "columns": len(x),
                    "held_frame": 2.0 * potential.cutoff,
                    "period": period,
                },
                "elastic_in_these_axes": rounded(farfield.elastic.to_voigt(elastic), 12),
                "far_field": {"dislocations": members(dislocation), "self_consistent": True},
                "dissociation": partials(x, u, core, c / 2, burgers),
                "check": {
                    "radius": CHECK_RADIUS,
                    "largest_change_of_a_displacement": float(moved),
                    "energy_change_with_noise_in_the_start": total(
                        noisy.energies - small.energies, 0.0
                    ),
                    "largest_displacement_change_with_noise_in_the_start": float(
                        np.abs(noisy.positions - small.positions).max()
                    ),
                    "dissociation": partials(
                        x_small, small.positions - x_small, core, c / 2, burgers
                    ),
                },
                "notes": [
                    "axes: three indices of the hexagonal cell",
                    "crystal: elastic constants in eV/Angstrom^3 on the axes of the hexagonal "
                    "cell, 'elastic' with the atoms relaxed at every strain",
                    "basal_fault_I2: eV/Angstrom^2",
                    f"check: noise of standard deviation {NOISE} in each component of the start",
                    "x_of_partials: where the slip across the glide plane is 3/4 and 1/4 of b",
                    "energies per length along z, above the perfect crystal",
                    "energy_within: radius (of reference positions, from the core), energy "
                    "inside, energy - K ln(radius / b)",
                    "displacement: relaxed position less reference position "
                    "(m1, m2, 0) @ cell + basis[s]; the start and the held frame are the far field "
                    "with sublattice shifts relaxed to first order in its strain (up to 0.1)",
                ],
                "energy_prefactor": k,
                "relaxation_energy": total(step.energies - step.predictor_energies, 0.0),
                "max_force": step.max_force,
                "stages": [list(s[:4]) for s in step.stages],
                "energy_within_columns": ["radius", "energy", "energy - K ln(radius / b)"],
                "energy_within": within,
                "columns": ["m1", "m2", "s", "ux", "uy", "uz", "atomic_energy"],
                "displacement": [
                    rows[i].tolist() + rounded(u[i], 8) + [round(float(excess[i]), 9)] for i in near
                ],
            }
            print(character, record["dissociation"], record["check"], within[-4:])
            save(options.out / f"dislocation_basal_{character}_{SYMBOL}.json", record)


if __name__ == "__main__":
    main()
