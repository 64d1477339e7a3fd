"""Pair potentials on small configurations, one evaluation each.

Writes ``pairs.json``. Nothing is relaxed; positions are decimals that JSON holds exactly.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from lammps_driver import new_lammps
from numpy.typing import NDArray
from reference import arguments, header, rounded, save

from qc import potentials

Array = NDArray[np.float64]

FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])

LJ = {
    "epsilon": [[0.0104, 0.0121], [0.0121, 0.0141]],
    "sigma": [[3.405, 3.5], [3.5, 3.65]],
}
MORSE = {
    "depth": [[0.343, 0.38], [0.38, 0.42]],
    "stiffness": [[1.359, 1.39], [1.39, 1.42]],
    "distance": [[2.866, 2.82], [2.82, 2.78]],
}

#: Values between which LAMMPS interpolates in the table styles.
TABLE_POINTS = (1000, 10000, 100000)


def pairwise(parameters: dict[str, Any]) -> list[str]:
    """Return the pair_coeff lines of two species."""
    return [
        f"pair_coeff {s + 1} {t + 1} " + " ".join(repr(v[s][t]) for v in parameters.values())
        for s in range(2)
        for t in range(s, 2)
    ]


#: Name: constructor, its arguments, LAMMPS style with its coefficients, lattice constant, kind of
#: configuration. The smooth step of a cutoff of 12 begins at 9.6 Angstrom, beyond every distance
#: in a cluster: there the plain function stands.
CASES: dict[str, tuple[str, dict[str, Any], list[str], float, str]] = {
    "lj/cut": (
        "LennardJones", {**LJ, "cutoff": 12.0},
        ["pair_style lj/cut 12.0", *pairwise(LJ)], 5.3, "cluster",
    ),
    "lj/smooth/linear": (
        "LennardJones", {**LJ, "cutoff": 8.5, "truncation": "shift_force"},
        ["pair_style lj/smooth/linear 8.5", *pairwise(LJ)], 5.3, "crystal",
    ),
    "morse": (
        "Morse", {**MORSE, "cutoff": 12.0},
        ["pair_style morse 12.0", *pairwise(MORSE)], 3.7, "cluster",
    ),
    "morse/smooth/linear": (
        "Morse", {**MORSE, "cutoff": 6.5, "truncation": "shift_force"},
        ["pair_style morse/smooth/linear 6.5", *pairwise(MORSE)], 3.7, "crystal",
    ),
}  # fmt: skip


def configuration(a: float, kind: str) -> tuple[Array, Array, list[int], bool]:
    """Return positions, edges of the box, species and whether the box repeats."""
    rng = np.random.default_rng(19240601)
    reps = 3
    corners = np.stack(np.meshgrid(*[np.arange(reps)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    x = a * (corners + FCC).reshape(-1, 3)
    if kind == "cluster":
        x -= x[np.argmin(np.linalg.norm(x - x.mean(axis=0), axis=1))]
        x = x[np.linalg.norm(x, axis=1) < 4.4]
    x = np.round(x + rng.normal(0, 0.03 * a, x.shape), 7)
    types = rng.integers(2, size=len(x)).tolist()
    return x, np.full(3, reps * a), types, kind == "crystal"


def evaluate(
    x: Array, box: Array, types: list[int], periodic: bool, style: list[str]
) -> tuple[float, Array]:
    """Return energy and forces (n, 3) by LAMMPS."""
    lmp = new_lammps()
    low, high = (np.zeros(3), box) if periodic else (x.min(axis=0) - 40, x.max(axis=0) + 40)
    edges = " ".join(f"{a!r} {b!r}" for a, b in zip(low.tolist(), high.tolist(), strict=True))
    lmp.commands_list(
        [
            "units metal",
            "atom_style atomic",
            f"boundary {'p p p' if periodic else 'f f f'}",
            "atom_modify map array",
            f"region box block {edges} units box",
            "create_box 2 box",
        ]
    )
    lmp.create_atoms(len(x), list(range(1, len(x) + 1)), [t + 1 for t in types], x.ravel().tolist())
    lmp.commands_list(["mass * 1.0", *style, "neighbor 0.5 bin", "thermo_modify norm no", "run 0"])
    energy = float(lmp.get_thermo("pe"))
    forces = np.array(lmp.gather_atoms("f", 1, 3)).reshape(-1, 3)
    lmp.close()
    return energy, forces


def case(name: str) -> dict[str, Any]:
    """Return one analytic potential on its configuration, and dimers across its cutoff."""
    constructor, parameters, style, a, kind = CASES[name]
    x, box, types, periodic = configuration(a, kind)
    energy, forces = evaluate(x, box, types, periodic, style)
    rows = []
    if kind == "crystal":
        cutoff = parameters["cutoff"]
        for r in np.round(
            [0.35 * cutoff, 0.5 * cutoff, cutoff - 0.1, cutoff - 0.001, cutoff + 0.001], 6
        ):
            two = np.array([[0, 0, 0], [0, 0, r]])
            e, f = evaluate(two, box, [0, 1], False, style)
            rows.append([float(r), e, float(f[1, 2])])
    return {
        "constructor": constructor,
        "parameters": parameters,
        "box": box.tolist() if periodic else None,
        "energy": energy,
        "dimers": rows,
        "atoms": [
            [t, *rounded(p, 7), *rounded(f, 11)] for t, p, f in zip(types, x, forces, strict=True)
        ],
    }


def table(points: tuple[int, ...], folder: str) -> dict[str, Any]:
    """Return the table of one potential in LAMMPS's spline and linear styles."""
    constructor, parameters, _, a, kind = CASES["morse/smooth/linear"]
    potential = getattr(potentials, constructor)(["Cu", "Ni"], **parameters)
    path = Path(folder) / "pairs.table"
    knots, first = 2001, 1.5
    potentials.write_pair_table(potential, path, points=knots, first=first)
    x, box, types, periodic = configuration(a, kind)
    found = {}
    for style in ("spline", "linear"):
        for n in points:
            coefficients = [
                f"pair_coeff {s} {t} {path} {keyword}"
                for s, t, keyword in ((1, 1, "Cu_Cu"), (1, 2, "Cu_Ni"), (2, 2, "Ni_Ni"))
            ]
            energy, forces = evaluate(
                x, box, types, periodic, [f"pair_style table {style} {n}", *coefficients]
            )
            found[f"{style} {n}"] = {"energy": energy, "forces": rounded(forces, 11)}
    return {
        "of": "morse/smooth/linear",
        "points": knots,
        "first": first,
        "styles": found,
    }


def main() -> None:
    """Write pairs.json."""
    options = arguments("Pair potentials on small configurations")
    record = header("energies and forces of unrelaxed configurations", "pairs.py", None)
    record["pair_style"] = "as named"
    record["notes"] = [
        "species are Cu and Ni by name only; parameters are those of the constructor",
        "atoms: rows of species, x, y, z, fx, fy, fz; box: edges of a periodic one",
        "dimers of both species: rows of distance, energy, force on the second along the bond",
        "tables: pair_style table on the file that qc.potentials.write_pair_table makes with "
        "these points and first distance, in the configuration of the potential it is of",
    ]
    record["cases"] = {name: case(name) for name in CASES}
    with tempfile.TemporaryDirectory() as folder:
        record["tables"] = table(TABLE_POINTS, folder)
    save(options.out / "pairs.json", record)


if __name__ == "__main__":
    main()
