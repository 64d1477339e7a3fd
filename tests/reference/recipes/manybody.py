"""Stillinger-Weber and Tersoff potentials on small configurations, one evaluation each.

Writes ``manybody.json``. Nothing is relaxed; positions are decimals that JSON holds exactly. LAMMPS
reads the potential from a file with every digit of the parameters that the package uses.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from lammps_driver import new_lammps
from numpy.typing import NDArray
from reference import arguments, header, rounded, save

from qc import potentials
from qc.potentials.threebody.stillinger_weber import COLUMNS as SW_COLUMNS
from qc.potentials.threebody.tersoff import COLUMNS as TERSOFF_COLUMNS

Array = NDArray[np.float64]

DIAMOND = np.array(
    [[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0], [1, 1, 1], [1, 3, 3], [3, 1, 3], [3, 3, 1]]
)

#: Constructor of a published potential, its arguments, and the lattice constant of configurations.
PUBLISHED: dict[str, tuple[str, tuple[str, ...], float]] = {
    "Si, Stillinger-Weber 1985": ("stillinger1985", ("Si",), 5.431),
    "Si, Balamane 1992": ("balamane1992", ("Si",), 5.431),
    "Si, Holland-Marder 1998": ("holland1998", ("Si",), 5.431),
    "Si, Tersoff 1988": ("tersoff1988", ("Si",), 5.432),
    "C, Tersoff 1988": ("tersoff1988", ("C",), 3.566),
    "Si, Tersoff 1989": ("tersoff1989", ("Si",), 5.432),
    "Ge, Tersoff 1989": ("tersoff1989", ("Ge",), 5.657),
    "SiC, Tersoff 1989": ("tersoff1989", ("Si", "C"), 4.321),
}


def made_up() -> dict[str, tuple[str, dict[str, Any], float]]:
    """Return family, parameters and lattice constant of potentials in which every number counts.

    Two species X and Y, no physics: parameters differ from triple to triple wherever the form
    lets them, and exponents are not the usual ones.
    """
    rng = np.random.default_rng(1985)

    def between(low: float, high: float, shape: tuple[int, ...]) -> Array:
        return np.round(rng.uniform(low, high, shape), 6)

    def pairwise(low: float, high: float) -> Array:
        # One value for each unordered pair of species, for entries (i, j, j).
        x = between(low, high, (2, 2))
        return np.repeat(np.triu(x) + np.triu(x, 1).T, 2).reshape(2, 2, 2)

    def symmetric(low: float, high: float) -> Array:
        # The same for (i, j, k) and (i, k, j).
        x = between(low, high, (2, 2, 2))
        return np.triu(x) + np.swapaxes(np.triu(x, 1), 1, 2)

    epsilon = pairwise(1.5, 2.5)
    epsilon[:, [0, 1], [1, 0]] = 1.75
    sw = {
        "epsilon": epsilon,
        "sigma": pairwise(1.9, 2.2),
        "a": pairwise(1.7, 1.9),
        # Entries (i, j, k) and (i, k, j) agree in lambda epsilon.
        "lambda": symmetric(15.0, 30.0),
        "gamma": np.repeat(between(0.9, 1.4, (2, 2)), 2).reshape(2, 2, 2),
        "costheta0": symmetric(-0.5, -0.2),
        "A": pairwise(6.0, 8.0),
        "B": pairwise(0.5, 0.7),
        "p": pairwise(3.5, 5.0),
        "q": pairwise(0.0, 1.0),
    }
    shape = (2, 2, 2)
    tersoff = {
        "m": np.array([[[1.0, 3.0], [3.0, 1.0]], [[3.0, 1.0], [1.0, 3.0]]]),
        "gamma": between(0.5, 1.5, shape),
        "lambda3": between(-0.5, 1.5, shape),
        "c": between(2.0, 6.0, shape),
        "d": between(1.0, 3.0, shape),
        "costheta0": between(-0.6, 0.1, shape),
        "n": between(0.6, 3.0, shape),
        "beta": between(0.1, 0.5, shape),
        "lambda2": between(1.2, 1.8, shape),
        "B": between(90.0, 200.0, shape),
        # LAMMPS takes the repulsion of a pair from whichever of its atoms comes first.
        "R": between(2.7, 3.0, shape),
        "D": between(0.1, 0.3, shape),
        "lambda1": pairwise(2.4, 3.2),
        "A": pairwise(1500.0, 3000.0),
    }
    for name in ("R", "D"):
        tersoff[name][1, 0, 0] = tersoff[name][0, 1, 1]
    return {
        "made up, Stillinger-Weber": ("StillingerWeber", sw, 5.3),
        "made up, Tersoff": ("Tersoff", tersoff, 5.3),
    }


def entries(potential: Any) -> Iterator[str]:
    """Return the lines of a LAMMPS file with every digit of the parameters."""
    is_sw = isinstance(potential, potentials.StillingerWeber)
    names = SW_COLUMNS[:-1] if is_sw else TERSOFF_COLUMNS
    for index in np.ndindex(*[len(potential.species)] * 3):
        words = [potential.species[k] for k in index]
        words += [repr(float(potential.entries[name][index])) for name in names]
        yield " ".join(words + ["0.0"] * is_sw)


class Evaluator:
    """LAMMPS on one potential."""

    def __init__(self, potential: Any, folder: str) -> None:
        self.style = "sw" if isinstance(potential, potentials.StillingerWeber) else "tersoff"
        self.species = potential.species
        self.path = Path(folder) / f"parameters.{self.style}"
        self.path.write_text("\n".join(entries(potential)) + "\n")

    def __call__(
        self, x: Array, types: NDArray[np.int64], box: Array | None = None, open_z: bool = False
    ) -> tuple[float, Array]:
        """Return energy and forces (n, 3) in a rectangular box; without one, in the open."""
        lmp = new_lammps()
        size = np.full(3, 40.0) if box is None else box
        low = np.full(3, -20.0) if box is None else np.zeros(3)
        edges = [f"{a:.17g} {a + b:.17g}" for a, b in zip(low, size, strict=True)]
        if open_z:
            edges[2] = f"{-10.0:.17g} {size[2] + 10.0:.17g}"
        boundary = "f f f" if box is None else "p p f" if open_z else "p p p"
        ns = len(self.species)
        lmp.commands_list(
            [
                "units metal",
                "atom_style atomic",
                "atom_modify map array sort 0 0",
                f"boundary {boundary}",
                f"region box block {' '.join(edges)} units box",
                f"create_box {ns} box",
            ]
        )
        n = len(x)
        inside = x.copy()
        if box is not None:
            axes = 2 if open_z else 3
            inside[:, :axes] %= box[:axes]
        made = lmp.create_atoms(
            n, list(range(1, n + 1)), (types + 1).tolist(), inside.ravel().tolist()
        )
        if made != n:
            raise RuntimeError(f"LAMMPS took {made} of {n} atoms")
        lmp.commands_list(
            [
                f"pair_style {self.style}",
                f"pair_coeff * * {self.path} {' '.join(self.species)}",
                "mass * 1.0",
                "neighbor 0.5 bin",
                "run 0 post no",
            ]
        )
        energy = float(lmp.extract_compute("thermo_pe", 0, 0))
        forces = np.empty((n, 3))
        order = lmp.numpy.extract_atom("id")[:n].astype(int) - 1
        forces[order] = lmp.numpy.extract_atom("f")[:n]
        lmp.close()
        return energy, forces


def disordered(rng: np.random.Generator, n: int, side: float, apart: float) -> Array:
    """Return ``n`` places in a periodic cube, no two closer than ``apart``."""
    placed: list[Array] = []
    while len(placed) < n:
        x = rng.uniform(0.0, side, 3)
        d = np.array([x - y for y in placed]).reshape(-1, 3)
        d -= side * np.round(d / side)
        if not len(d) or np.linalg.norm(d, axis=1).min() > apart:
            placed.append(x)
    return np.array(placed)


def configurations(a: float, ns: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return name, positions, types and box of a crystal, a film and a disordered block."""
    rng = np.random.default_rng(int(1e3 * a))
    for name, reps, noise, open_z in (
        ("crystal", (2, 2, 2), 0.04, False),
        ("film", (2, 2, 1), 0.05, True),
    ):
        g = np.stack(np.meshgrid(*map(np.arange, reps), indexing="ij"), -1).reshape(-1, 1, 3)
        x = (a / 4 * (4 * g + DIAMOND)).reshape(-1, 3)
        types = np.tile(np.arange(8) // 4 * (ns - 1), np.prod(reps))
        # Antisites, so that every triple of species occurs.
        types = np.where(rng.random(len(x)) < 0.15 * (ns - 1), 1 - types, types)
        yield (
            name,
            {
                "positions": np.round(x + rng.normal(0, noise * a / 2.35, x.shape), 7),
                "types": types,
                "box": a * np.array(reps, float),
                "open_z": open_z,
            },
        )
    side = 1.8 * a
    yield (
        "disordered",
        {
            "positions": np.round(disordered(rng, 44, side, 0.36 * a), 7),
            "types": rng.integers(0, ns, 44),
            "box": np.full(3, side),
            "open_z": False,
        },
    )


def clusters(potential: Any, evaluate: Evaluator, a: float) -> Iterator[dict[str, Any]]:
    """Return dimers and trimers across the cutoff, for every choice of species."""
    ns = len(potential.species)
    near = 0.433 * a
    if isinstance(potential, potentials.StillingerWeber):
        cutoffs = potential.entries["a"] * potential.entries["sigma"]
        steps = (-0.3, -0.1, -0.03, 0.001)
    else:
        cutoffs = potential.entries["R"] + potential.entries["D"]
        steps = (-0.31, -0.15, -0.02, -0.0003, 0.001)
    for i, j in np.ndindex(ns, ns):
        edge = cutoffs[i, j, j]
        for r in np.round([0.75 * near, near, 1.15 * near, *(edge + np.array(steps))], 6):
            x = np.array([[0, 0, 0], [0.6 * r, 0.0, 0.8 * r]])
            yield record(x, np.array([i, j]), *evaluate(x, np.array([i, j])))
    for i, j, k in np.ndindex(ns, ns, ns):
        edge = cutoffs[i, j, k]
        for r, degrees in (
            (near, 109.4712), (0.9 * near, 60.0), (1.1 * near, 180.0), (near, 40.0),
            (edge - 0.2, 100.0), (edge - 0.05, 70.0), (edge + 0.01, 100.0),
        ):  # fmt: skip
            angle = np.deg2rad(degrees)
            x = np.zeros((3, 3))
            x[1, 2] = 1.02 * near
            x[2] = [0.8 * r * np.sin(angle), 0.6 * r * np.sin(angle), r * np.cos(angle)]
            types = np.array([i, j, k])
            yield record(np.round(x, 7), types, *evaluate(np.round(x, 7), types))


def record(x: Array, types: NDArray[np.int64], energy: float, forces: Array) -> dict[str, Any]:
    """Return one cluster as it stands in the file."""
    return {
        "types": types.tolist(),
        "energy": energy,
        "atoms": [rounded(p, 7) + rounded(f, 12) for p, f in zip(x, forces, strict=True)],
    }


def case(potential: Any, a: float, folder: str) -> dict[str, Any]:
    """Return everything that is evaluated on one potential."""
    evaluate = Evaluator(potential, folder)
    found: dict[str, Any] = {
        "species": list(potential.species),
        "fingerprint": potential.fingerprint(),
        "cutoff": potential.cutoff,
    }
    for name, c in configurations(a, len(potential.species)):
        energy, forces = evaluate(c["positions"], c["types"], c["box"], c["open_z"])
        found[name] = {
            "box": rounded(c["box"], 9),
            "periodic": [True, True, not c["open_z"]],
            "types": "".join(map(str, c["types"])),
            "energy": energy,
            "atoms": [
                rounded(p, 7) + rounded(f, 12) for p, f in zip(c["positions"], forces, strict=True)
            ],
        }
    found["clusters"] = list(clusters(potential, evaluate, a))
    return found


def main() -> None:
    """Write manybody.json."""
    options = arguments("Stillinger-Weber and Tersoff on small configurations")
    out = header("energies and forces of unrelaxed configurations", "manybody.py", None)
    out["pair_style"] = "sw and tersoff on files with every digit of the package's parameters"
    out["notes"] = [
        "columns of atoms: x, y, z, fx, fy, fz; types: species of each atom, one digit or entry",
        "clusters are dimers and trimers in the open",
    ]
    out["published"], out["made_up"] = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (constructor, symbols, a) in PUBLISHED.items():
            potential = getattr(potentials, constructor)(*symbols)
            out["published"][name] = {
                "constructor": constructor,
                **case(potential, a, folder),
            }
        for name, (family, values, a) in made_up().items():
            keywords = {"lam" if k == "lambda" else k: v for k, v in values.items()}
            potential = getattr(potentials, family)(["Si", "C"], **keywords)
            out["made_up"][name] = {
                "family": family,
                "parameters": {k: np.asarray(v).ravel().tolist() for k, v in keywords.items()},
                **case(potential, a, folder),
            }
    save(options.out / "manybody.json", out)


if __name__ == "__main__":
    main()
