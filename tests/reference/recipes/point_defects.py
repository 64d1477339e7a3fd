"""Point defects in a ball of fcc crystal, every atom relaxed.

Writes ``vacancy_3d_*.json``, ``dumbbell_3d_*.json`` and ``divacancy_3d_*.json``.

All sites within ``RADIUS`` lattice constants of the defect's centre are free; those up to two
cutoffs further out are held at lattice positions. The defect energy is the sum of (atomic energy -
bulk energy) over all atoms less the same sum over the perfect ball, so that the outer surface drops
out. Displacements are stored on the irreducible wedge of the defect's point group, and the recipe
checks that the whole relaxed ball has that symmetry.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
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

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

RADIUS = 22
CHECK_RADIUS = 14
STORED = 8
TOLERANCE = 1e-8


@dataclass(frozen=True)
class Defect:
    """A point defect in units of half the lattice constant.

    ``missing``: lattice sites without an atom; ``extra``: atoms off the lattice, before
    relaxation; ``centre``: its centre of symmetry; ``wedge``: which positions relative to the
    centre the irreducible wedge holds; ``group``: (3, 3) orthogonal matrices.
    """

    title: str
    missing: IntArray
    extra: Array
    centre: Array
    group: Array
    wedge_words: str
    wedge: Callable[[Array], NDArray[np.bool_]]


def signed_permutations() -> Array:
    """Return the 48 operations of the cube."""
    made = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            made.append(np.diag(signs)[:, list(order)])
    return np.array(made)


def keeping(axes: list[list[float]]) -> Array:
    """Return the operations of the cube that map each line in ``axes`` onto itself."""
    cube = signed_permutations()
    lines = np.array(axes)
    images = np.einsum("gij,kj->gki", cube, lines)
    cosine = np.abs(np.einsum("gki,ki->gk", images, lines)) / (lines**2).sum(1)
    return cube[(cosine > 0.999).all(axis=1)]


EDGE = 1e-9
DEFECTS = {
    "vacancy": Defect(
        "vacancy",
        np.array([[0, 0, 0]]),
        np.empty((0, 3)),
        np.zeros(3),
        signed_permutations(),
        "x >= y >= z >= 0 (48 operations of the cube)",
        lambda d: (d[:, 0] >= d[:, 1] - EDGE) & (d[:, 1] >= d[:, 2] - EDGE) & (d[:, 2] >= -EDGE),
    ),
    "dumbbell": Defect(
        "<100> dumbbell interstitial, its axis along z",
        np.array([[0, 0, 0]]),
        np.array([[0, 0, 0.6], [0, 0, -0.6]]),
        np.zeros(3),
        keeping([[0, 0, 1]]),
        "x >= y >= 0 and z >= 0 (16 operations that keep the z axis)",
        lambda d: (d[:, 0] >= d[:, 1] - EDGE) & (d[:, 1] >= -EDGE) & (d[:, 2] >= -EDGE),
    ),
    "divacancy": Defect(
        "nearest-neighbour divacancy, sites (0,0,0) and (1,1,0)",
        np.array([[0, 0, 0], [1, 1, 0]]),
        np.empty((0, 3)),
        np.array([0.5, 0.5, 0]),
        keeping([[1, 1, 0], [1, -1, 0], [0, 0, 1]]),
        "x + y >= 1, x >= y and z >= 0 (8 operations about the midpoint of the pair)",
        lambda d: (d[:, 0] + d[:, 1] >= -EDGE) & (d[:, 0] >= d[:, 1] - EDGE) & (d[:, 2] >= -EDGE),
    ),
}


def ball(centre: Array, radius: float) -> IntArray:
    """Return the fcc sites within ``radius`` of ``centre``, both in half lattice constants."""
    reach = int(np.ceil(radius)) + 1
    g = np.arange(-reach, reach + 1)
    m = np.stack(np.meshgrid(g, g, g, indexing="ij"), -1).reshape(-1, 3)
    m = m[m.sum(axis=1) % 2 == 0]
    return m[((m - centre) ** 2).sum(axis=1) <= radius**2 + 1e-9]


def asymmetry(defect: Defect, x: Array, u: Array) -> float:
    """Return the largest |u(Qx) - Q u(x)| over the group; ``x`` relative to the centre."""
    key = {tuple(k): i for i, k in enumerate(np.round(4 * x).astype(int).tolist())}
    worst = 0.0
    for q in defect.group:
        image = np.array([key[tuple(k)] for k in np.round(4 * x @ q.T).astype(int).tolist()])
        worst = max(worst, float(np.abs(u[image] - u @ q.T).max()))
    return worst


def relax_ball(
    defect: Defect,
    symbol: str,
    a: float,
    e_bulk: float,
    cutoff: float,
    setfl: Path,
    radius: float,
    perturb: float = 0.0,
) -> dict[str, Any]:
    """Return energies, positions and symmetry of the relaxed ball.

    With ``perturb`` (Angstrom) the relaxed ball is disturbed by noise and relaxed again, and
    ``perturbed`` is the energy that this ends in.
    """
    frame = 2 * cutoff / (a / 2) + 0.01
    sites = ball(defect.centre, 2 * radius + frame)
    perfect = a / 2 * sites
    with Block(perfect, symbol, setfl) as block:
        surface = total(block.energies(), e_bulk)
    gone = (sites[:, None, :] == defect.missing[None]).all(axis=2).any(axis=1)
    sites = sites[~gone]
    start = np.concatenate([sites, defect.extra])
    free = np.linalg.norm(start - defect.centre, axis=1) <= 2 * radius + 1e-9
    with Block(a / 2 * start, symbol, setfl, free=free) as block:
        unrelaxed = total(block.energies(), e_bulk) - surface
        result = block.relax(TOLERANCE, ("cg", "fire"), 4000)
        energy = total(block.energies(), e_bulk) - surface
        perturbed = None
        if perturb:
            # A symmetric start may end on a saddle; noise leaves it.
            noise = np.random.default_rng(7).normal(0.0, perturb, start.shape)
            block.move_to(result.positions + noise * free[:, None])
            block.relax(TOLERANCE, ("cg", "fire"), 4000)
            perturbed = total(block.energies(), e_bulk) - surface
    n = len(sites)
    near = np.linalg.norm(sites - defect.centre, axis=1) <= 2 * STORED + 1e-9
    d, u = sites[near] - defect.centre, (result.positions[:n] - a / 2 * sites)[near]
    wedge = defect.wedge(d)
    order = np.lexsort((*sites[near][wedge].T[::-1], (d[wedge] ** 2).sum(axis=1)))
    print(symbol, defect.title, radius, energy, result.max_force, result.stages, result.seconds)
    return {
        "energy": energy,
        "perturbed": perturbed,
        "unrelaxed": unrelaxed,
        "free": int(free.sum()),
        "atoms": len(start),
        "max_force": result.max_force,
        "stages": result.stages,
        "asymmetry": asymmetry(defect, d, u),
        "m": sites[near][wedge][order],
        "u": u[wedge][order],
        "extra": result.positions[n:],
    }


def main() -> None:
    """Write one file per defect and element."""
    options = arguments(__doc__.splitlines()[0], defects=list(DEFECTS), elements=["Cu", "Al"])
    for symbol in options.elements:
        potential = zhou(symbol)
        bulk = bulk_of(options.out, symbol, potential)
        a, e_bulk = bulk["lattice_constant"], bulk["cohesive_energy"]
        with tempfile.TemporaryDirectory() as folder:
            setfl = table(potential, folder)
            for name in options.defects:
                defect = DEFECTS[name]
                case = (defect, symbol, a, e_bulk, potential.cutoff, setfl)
                small = relax_ball(*case, CHECK_RADIUS, perturb=0.03)
                full = relax_ball(*case, RADIUS)
                # Held at the boundary, the energy is too high by a term in 1/R^3.
                ratio = (CHECK_RADIUS / RADIUS) ** 3
                excess = (small["energy"] - full["energy"]) * ratio / (1 - ratio)
                record = header(f"{symbol}: {defect.title}", "point_defects.py", potential, setfl)
                record |= {
                    "crystal": crystal_record(bulk),
                    "method": {
                        "free_radius_in_a": RADIUS,
                        "centre_of_the_ball": (defect.centre * a / 2).tolist(),
                        "held_frame": 2 * potential.cutoff,
                        "free_atoms": full["free"],
                        "atoms": full["atoms"],
                        "minimiser": "stage, iterations, evaluations, largest force component",
                        "stages": [list(s[:4]) for s in full["stages"]],
                        "max_force": full["max_force"],
                        "largest_asymmetry": full["asymmetry"],
                    },
                    "defect_energy": full["energy"],
                    "unrelaxed_defect_energy": full["unrelaxed"],
                    "check": {
                        "free_radius_in_a": CHECK_RADIUS,
                        "defect_energy": small["energy"],
                        "defect_energy_after_noise_of_0.03": small["perturbed"],
                        "estimated_boundary_excess": excess,
                        "note": "excess of defect_energy over the infinite crystal, 1/R^3 law",
                    },
                    "missing_sites": defect.missing.tolist(),
                    "extra_atoms_relaxed": rounded(full["extra"], 8),
                    "extra_atoms_unrelaxed": rounded(defect.extra * a / 2, 8),
                    "wedge": {
                        "where": defect.wedge_words,
                        "coordinates": "integers (x, y, z): site at a/2 (x, y, z), cube axes",
                        "radius_in_a": STORED,
                    },
                    "columns": ["x", "y", "z", "ux", "uy", "uz"],
                    "displacements": [
                        m.tolist() + rounded(u, 8)
                        for m, u in zip(full["m"], full["u"], strict=True)
                    ],
                }
                save(options.out / f"{name}_3d_{symbol}.json", record)


if __name__ == "__main__":
    main()
