"""Energies and forces of small disordered configurations, one evaluation each.

Writes ``single_points.json``. Nothing is relaxed; positions are decimals that JSON holds exactly.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from lammps_driver import Block
from numpy.typing import NDArray
from reference import arguments, header, potential_record, rounded, save, table, zhou

Array = NDArray[np.float64]

FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
BCC = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
ALL, NONE = (True, True, True), (False, False, False)


def block(motif: Array, a: float, reps: tuple[int, int, int]) -> tuple[Array, Array]:
    """Return positions and cell of a block of conventional cells."""
    corners = np.stack(np.meshgrid(*map(np.arange, reps), indexing="ij"), -1).reshape(-1, 1, 3)
    return a * (corners + motif).reshape(-1, 3), np.diag(a * np.array(reps, float))


def configurations() -> dict[str, dict[str, Any]]:
    """Return name -> species of the potential, symbols, positions, cell, periodic."""
    rng = np.random.default_rng(20040401)
    made: dict[str, dict[str, Any]] = {}

    def add(name: str, species: str, symbols: Any, x: Array, cell: Array, pbc: Any) -> None:
        names = [symbols] * len(x) if isinstance(symbols, str) else list(symbols)
        made[name] = {
            "species": species.split(),
            "symbols": names,
            "positions": np.round(x, 7),
            "cell": np.round(cell, 7),
            "periodic": pbc,
        }

    x, cell = block(FCC, 3.615, (3, 3, 3))
    add("Cu crystal, perturbed", "Cu", "Cu", x + rng.normal(0, 0.08, x.shape), cell, ALL)

    x, cell = block(FCC, 4.05, (3, 3, 4))
    strain = np.eye(3) + np.array([[0.02, 0.03, 0], [-0.01, -0.02, 0.015], [0.01, 0, 0.01]])
    y = (x + rng.normal(0, 0.06, x.shape)) @ strain.T
    add("Al crystal, strained and perturbed", "Al", "Al", y, cell @ strain.T, ALL)

    x, cell = block(FCC, 3.52, (4, 3, 3))
    y = x + rng.normal(0, 0.1, x.shape)
    add("Ni film with two (001) surfaces", "Ni", "Ni", y, cell, (True, True, False))

    x, cell = block(BCC, 2.87, (4, 4, 4))
    add("Fe crystal, perturbed", "Fe", "Fe", x + rng.normal(0, 0.07, x.shape), cell, ALL)

    x, _ = block(FCC, 3.615, (4, 4, 4))
    x -= x.mean(axis=0)
    x = x[np.linalg.norm(x, axis=1) < 6.2]
    y = x + rng.normal(0, 0.05, x.shape)
    add("Cu cluster in vacuum", "Cu", "Cu", y, np.eye(3), NONE)

    x, cell = block(FCC, 4.05, (1, 1, 1))
    y = x + rng.normal(0, 0.1, x.shape)
    add("Al cell thinner than the cutoff", "Al", "Al", y, cell, ALL)

    x, cell = block(FCC, 3.85, (3, 3, 3))
    symbols = np.where(rng.random(len(x)) < 0.4, "Cu", "Al")
    y = x + rng.normal(0, 0.08, x.shape)
    add("Cu-Al alloy, perturbed", "Cu Al", symbols, y, cell, ALL)

    x, cell = block(FCC, 3.70, (3, 3, 3))
    y = x * 0.94 + rng.normal(0, 0.05, x.shape)
    add("Cu crystal, compressed", "Cu", "Cu", y, cell * 0.94, ALL)

    x, cell = block(FCC, 4.05, (2, 3, 3))
    x = np.delete(x, 17, axis=0)
    y = x * 1.05 + rng.normal(0, 0.05, x.shape)
    add("Al crystal, stretched, one vacancy", "Al", "Al", y, cell * 1.05, ALL)
    return made


def evaluate(case: dict[str, Any], setfl: Path) -> dict[str, Any]:
    """Return the case with energy, atomic energies and forces."""
    x, pbc = case["positions"], tuple(case["periodic"])
    with Block(x, case["symbols"], setfl, cell=case["cell"], periodic=pbc) as atoms:
        atoms.move_to(x)
        each, forces = atoms.energies(), atoms.forces()
    letters = "".join(case["symbols"]) if len(set(case["symbols"])) == 1 else None
    return {
        "species": case["species"],
        "symbols": case["symbols"][0] if letters else " ".join(case["symbols"]),
        "periodic": list(pbc),
        "cell": case["cell"].tolist(),
        "energy": float(each.sum()),
        "columns": ["x", "y", "z", "fx", "fy", "fz", "atomic_energy"],
        "atoms": [
            rounded(p, 7) + rounded(f, 10) + rounded(e, 11)
            for p, f, e in zip(x, forces, each[:, None], strict=True)
        ],
    }


def dimers(pair: tuple[str, str], cutoff: float, setfl: Path) -> list[list[float]]:
    """Return rows of distance, energy, force on the second atom along the bond."""
    near = np.array([1.9, 2.2, 2.5, 3.0, 3.6, 4.3, 5.0, 5.6])
    edge = cutoff + np.array([-0.3, -0.1, -0.03, -0.01, -0.003, -0.001, 0.001, 0.05])
    rows = []
    for r in np.round(np.concatenate([near, edge]), 6):
        x = np.array([[0, 0, 0], [0, 0, r]])
        with Block(x, list(pair), setfl) as atoms:
            atoms.move_to(x)
            rows.append([float(r), float(atoms.energies().sum()), float(atoms.forces()[1, 2])])
    return rows


def main() -> None:
    """Write single_points.json."""
    options = arguments("Energies and forces of small configurations")
    record = header("energies and forces of unrelaxed configurations", "single_points.py", None)
    record["notes"] = [
        "species: order in zhou2004(...); symbols: one for all atoms, or one each",
        "energy: sum of the atomic energies; atomic_energy: half of each pair term plus embedding",
        "dimers: rows of distance, energy, force on the second atom along the bond",
    ]
    record["potentials"], record["configurations"], record["dimers"] = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        tables = {}
        for species in (("Cu",), ("Al",), ("Ni",), ("Fe",), ("Cu", "Al")):
            potential = zhou(*species)
            tables[species] = table(potential, folder), potential.cutoff
            record["potentials"][" ".join(species)] = potential_record(
                potential, tables[species][0]
            )
        for name, case in configurations().items():
            record["configurations"][name] = evaluate(case, tables[tuple(case["species"])][0])
        for pair in (("Cu", "Cu"), ("Al", "Al"), ("Cu", "Al")):
            species = tuple(dict.fromkeys(pair))
            setfl, cutoff = tables[species]
            record["dimers"]["-".join(pair)] = dimers(pair, cutoff, setfl)
    save(options.out / "single_points.json", record)


if __name__ == "__main__":
    main()
