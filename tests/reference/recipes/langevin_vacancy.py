"""A vacancy at temperature: vibrations by shell, mean displacements, configurational temperature.

    python tests/reference/recipes/langevin_vacancy.py --out tests/reference --elements Cu

Writes ``langevin_vacancy_Cu.json`` (or ``_Al``); ten minutes for Cu on one core, five for Al.
``--quick`` takes a fiftieth of the steps and writes ``quick_langevin_vacancy_Cu.json``. The lattice
constant is that of zero pressure in ``thermal_expansion.json``, which comes first, and is held. In
Al at 300 K an atom jumped into the vacancy within 0.3 ns, so that one is done at 200 K; a jump ends
the run.

A periodic cube of CELLS lattice constants, with a site missing and without, follows ``fix gjf``
(N. Gronbech-Jensen, O. Farago, Mol. Phys. 111 (2013) 983), whose displacements have the right
variance in a harmonic crystal whatever the step. Displacements are taken about the lattice sites,
less their mean over the cube, and averaged over the 48 operations of the vacancy's point group.

The configurational temperature of the atoms of a region is <|grad U|^2> / <Laplacian of U> over
the coordinates of these atoms. The Laplacian is the mean over stored states of z.Hz for random
vectors z of +1 and -1 on these coordinates, with Hz from central differences of LAMMPS's forces.
Source: H. H. Rugh, Phys. Rev. Lett. 78 (1997) 772; M. F. Hutchinson, Commun. Stat. Simul. 19 (1990)
433 for the trace.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from finite_temperature import (
    BOLTZMANN,
    MATERIALS,
    Crystal,
    Material,
    material_record,
    mean_error,
    opening,
    options,
    pair_commands,
    target,
)
from numpy.typing import NDArray
from reference import rounded, save

from qc.crystal import fcc
from qc.materials.force_constants import force_constants

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: K, and steps with and without the vacancy.
RUNS = {"Cu": (300.0, 160_000, 60_000), "Al": (200.0, 80_000, 30_000)}

CELLS = 8
DT, DAMPING_PS, SETTLING = 2.0, 0.5, 6000
#: Steps between samples, blocks, and states kept, over all.
EVERY, BLOCKS, KEPT = 20, 20, 80
#: Lattice constants: shells that are listed, the region of the configurational temperature, and
#: where it is far from the vacancy.
SHELLS, REGION, FAR = 3.0, 2.0, 3.5
PROBES, PROBE_STEP, SEED = 4, 1e-4, 300

#: The 48 operations of the cube, (48, 3, 3).
CUBE = np.array(
    [
        np.diag(signs)[list(order)]
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1, -1), repeat=3)
    ]
)


@dataclass
class Samples:
    """Averages over blocks of one run: displacements d, their products, squares of forces.

    ``first`` (blocks, n, 3), ``second`` (blocks, n, 3, 3), ``force2`` (blocks, n), ``energy`` one
    value per sample, ``kept`` (k, n, 3) displacements, ``largest`` the longest one ever seen.
    """

    first: Array
    second: Array
    force2: Array
    energy: Array
    kept: Array
    largest: float
    kinetic: Array


def sample(
    material: Material, sites: Array, a: float, pair: list[str], temperature: float, steps: int
) -> Samples:
    """Return the averages of a run of ``steps`` steps."""
    per_block = steps // (EVERY * BLOCKS)
    spacing = max(1, per_block * BLOCKS // KEPT)
    n = len(sites)
    first, second = np.zeros((BLOCKS, n, 3)), np.zeros((BLOCKS, n, 3, 3))
    force2, energy, kinetic, kept, largest = np.zeros((BLOCKS, n)), [], [], [], 0.0
    with Crystal(material, sites, a, CELLS, pair) as crystal:
        lmp = crystal.lmp
        crystal.heat(temperature, SEED)
        bath = f"{temperature} {temperature} {DAMPING_PS} {SEED + 1}"
        lmp.command(f"fix move all gjf {bath} vel vhalf")
        crystal.run(min(SETTLING, steps), DT)
        for block in range(BLOCKS):
            for _ in range(per_block):
                lmp.command(f"run {EVERY} pre no post no")
                d = crystal.displacements()
                d -= d.mean(axis=0)
                first[block] += d
                second[block] += d[:, :, None] * d[:, None, :]
                force2[block] += (crystal.by_id("f") ** 2).sum(axis=1)
                energy.append(lmp.get_thermo("pe"))
                kinetic.append(lmp.get_thermo("temp"))
                largest = max(largest, float((d**2).sum(axis=1).max()))
                if len(energy) % spacing == 0:
                    kept.append(d)
            if largest > a**2 / 8:
                raise RuntimeError(f"an atom went {np.sqrt(largest)} Angstrom from its site")
    return Samples(
        first / per_block,
        second / per_block,
        force2 / per_block,
        np.array(energy),
        np.array(kept),
        float(np.sqrt(largest)),
        np.array(kinetic),
    )


def error(blocks: Array) -> Any:
    """Return the standard error of the mean over the first axis."""
    return blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks))


def orbits(h: IntArray) -> dict[tuple[int, int, int], tuple[IntArray, IntArray]]:
    """Return for each set of equivalent sites the operations that make it and the sites made.

    ``h`` (n, 3) are positions about the vacancy in half lattice constants, modulo the cube; a set
    is named by the position whose entries are not negative and fall.
    """
    row = {tuple(p): k for k, p in enumerate(h % (2 * CELLS))}
    wrapped = np.abs((h + CELLS) % (2 * CELLS) - CELLS)
    found = {}
    for p in sorted({tuple(sorted(q, reverse=True)) for q in wrapped.tolist()}, key=np.linalg.norm):
        images = (CUBE @ np.array(p)) % (2 * CELLS)
        found[p] = CUBE, np.array([row[tuple(q)] for q in images])
    return found


def shell(
    name: tuple[int, int, int], made: tuple[IntArray, IntArray], a: float, samples: Samples
) -> dict[str, Any]:
    """Return displacement and mean-square displacement of a set of equivalent sites."""
    group, rows = made
    first = np.einsum("gij,bgi->bj", group, samples.first[:, rows]) / len(group)
    second = np.einsum("gki,bgkl,glj->bij", group, samples.second[:, rows], group) / len(group)
    mean = first.mean(axis=0)
    spread = second - mean[:, None] * mean
    total = np.trace(spread, axis1=1, axis2=2)
    out = np.array(name) / np.linalg.norm(name)
    radial = np.einsum("i,bij,j->b", out, spread, out)
    tensor = spread.mean(axis=0)
    return {
        "site": list(name),
        "sites": len(set(rows.tolist())),
        "distance": float(np.linalg.norm(name) * a / 2),
        "displacement": rounded(mean, 6),
        "displacement_error": rounded(error(first), 6),
        "radial_displacement": float(mean @ out),
        "radial_displacement_error": float(error(first @ out)),
        "msd": float(total.mean()),
        "msd_error": float(error(total)),
        "radial_msd": float(radial.mean()),
        "radial_msd_error": float(error(radial)),
        "msd_tensor": rounded(tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], 7),
    }


def laplacian(
    material: Material, sites: Array, a: float, pair: list[str], kept: Array, region: Array
) -> Array:
    """Return the Laplacian of the energy over the atoms of the region in each kept state."""
    rng = np.random.default_rng(SEED)
    found = np.empty(len(kept))
    with Crystal(material, sites, a, CELLS, pair) as crystal:
        for k, d in enumerate(kept):
            traces = []
            for _ in range(PROBES):
                z = np.where(region[:, None], rng.choice([-1.0, 1.0], size=d.shape), 0.0)
                pull = crystal.forces_at(d - PROBE_STEP * z) - crystal.forces_at(d + PROBE_STEP * z)
                traces.append((z * pull).sum() / (2 * PROBE_STEP))
            found[k] = np.mean(traces)
    return found


def configurational(samples: Samples, curvature: Array, region: Array) -> dict[str, float]:
    """Return the configurational temperature of a region with its parts."""
    squares = samples.force2[:, region].sum(axis=1)
    mean, spread = float(squares.mean()), float(error(squares))
    bend, bend_spread = float(curvature.mean()), float(error(curvature))
    value = mean / bend / BOLTZMANN
    return {
        "atoms": int(region.sum()),
        "temperature": value,
        "temperature_error": value * float(np.hypot(spread / mean, bend_spread / bend)),
        "force_squared": mean,
        "force_squared_error": spread,
        "laplacian": bend,
        "laplacian_error": bend_spread,
    }


def harmonic_msd(
    potential: Any, a: float, temperature: float, cells: int, shifted: bool = False
) -> float:
    """Return the mean-square displacement of a harmonic fcc crystal, classical, Angstrom^2.

    ``kT / N sum_q Tr Phi(q)^-1`` over the waves of a periodic cube, its translation left out, or
    over the waves halfway between these. Waves run over two Brillouin zones, each counted half.
    """
    crystal = fcc(potential.species[0], a)
    g = np.arange(2 * cells) + (0.5 if shifted else 0.0)
    q = np.stack(np.meshgrid(g, g, g, indexing="ij"), -1).reshape(-1, 3) * 2 * np.pi / (cells * a)
    k = q @ crystal.cell.T / (2 * np.pi)
    k = k[np.abs(k - np.round(k)).max(axis=1) > 1e-9]
    constants = force_constants(crystal, potential)
    total = 0.0
    for part in np.array_split(k, max(1, len(k) // 4000)):
        matrices = constants.fourier(part)[0]
        total += float(np.trace(np.linalg.inv(matrices), axis1=1, axis2=2).real.sum())
    return BOLTZMANN * temperature * total / len(g) ** 3


def harmonic(potential: Any, a: float, temperature: float) -> dict[str, float]:
    """Return the harmonic values of the block and of an infinite crystal.

    The sum over shifted waves falls short by a multiple of 1 / cells.
    """
    coarse, fine = (
        harmonic_msd(potential, a, temperature, n, shifted=True) for n in (CELLS, 2 * CELLS)
    )
    block = harmonic_msd(potential, a, temperature, CELLS)
    return {"block": block, "infinite": 2 * fine - coarse}


def perfect(
    material: Material,
    potential: Any,
    a: float,
    pair: list[str],
    temperature: float,
    steps: int,
) -> dict[str, Any]:
    """Return the crystal without the vacancy."""
    sites = material.sites(CELLS)
    samples = sample(material, sites, a, pair, temperature, steps)
    msd = np.trace(samples.second, axis1=2, axis2=3).mean(axis=1)
    everywhere = np.ones(len(sites), bool)
    curvature = laplacian(material, sites, a, pair, samples.kept, everywhere)
    energy, energy_error = mean_error(samples.energy / len(sites), BLOCKS)
    kinetic, kinetic_error = mean_error(samples.kinetic, BLOCKS)
    waves = harmonic(potential, a, temperature)
    return {
        "atoms": len(sites),
        "steps": steps,
        "msd": float(msd.mean()),
        "msd_error": float(error(msd)),
        "harmonic_msd": waves,
        "msd_over_harmonic": float(msd.mean() / waves["block"]),
        "potential_energy": energy,
        "potential_energy_error": energy_error,
        "kinetic_temperature": kinetic,
        "kinetic_temperature_error": kinetic_error,
        "configurational_temperature": configurational(samples, curvature, everywhere),
    }


def vacancy(
    material: Material, a: float, pair: list[str], temperature: float, steps: int
) -> dict[str, Any]:
    """Return the crystal with the vacancy."""
    every = material.sites(CELLS)
    middle = np.full(3, CELLS / 2.0)
    h = np.rint(2 * (every - middle)).astype(np.int64)
    here = (h == 0).all(axis=1)
    if here.sum() != 1:
        raise RuntimeError("no site in the middle of the block")
    sites, h = every[~here], h[~here]
    samples = sample(material, sites, a, pair, temperature, steps)
    wrapped = (h + CELLS) % (2 * CELLS) - CELLS
    distance = np.linalg.norm(wrapped, axis=1) / 2
    region = distance < REGION + 1e-9
    curvature = laplacian(material, sites, a, pair, samples.kept, region)
    made = orbits(h)
    shells = [
        shell(name, rows, a, samples)
        for name, rows in made.items()
        if np.linalg.norm(name) / 2 < SHELLS + 1e-9
    ]
    far = [
        shell(name, rows, a, samples)
        for name, rows in made.items()
        if np.linalg.norm(name) / 2 > FAR + 1e-9
    ]
    weights = np.array([s["sites"] for s in far])
    away = distance > FAR + 1e-9
    # The mean displacements are too small there for their squares to count in the error.
    raw = np.trace(samples.second, axis1=2, axis2=3)[:, away].mean(axis=1)
    energy, energy_error = mean_error(samples.energy, BLOCKS)
    kinetic, kinetic_error = mean_error(samples.kinetic, BLOCKS)
    return {
        "atoms": len(sites),
        "steps": steps,
        "largest_displacement": samples.largest,
        "hops": 0,
        "potential_energy_of_block": energy,
        "potential_energy_of_block_error": energy_error,
        "kinetic_temperature": kinetic,
        "kinetic_temperature_error": kinetic_error,
        "configurational_temperature": configurational(samples, curvature, region),
        "far": {
            "atoms": int(away.sum()),
            "msd": float(weights @ [s["msd"] for s in far] / weights.sum()),
            "msd_error": float(error(raw)),
        },
        "shells": shells,
    }


def lattice_constant(
    out: Path, symbol: str, fingerprint: str, temperature: float
) -> float:
    """Return the lattice constant of zero pressure in ``thermal_expansion.json``."""
    entry = json.loads((out / "thermal_expansion.json").read_text())["elements"][symbol]
    if entry["fingerprint"] != fingerprint:
        raise SystemExit("thermal_expansion.json is of another potential: run its recipe first")
    point = next(p for p in entry["points"] if p["temperature"] == temperature)
    return round(point["lattice_constant"], 5)


def main() -> None:
    """Write langevin_vacancy_*.json."""
    chosen = options("A vacancy at temperature", list(RUNS))
    for symbol in chosen.elements:
        material = MATERIALS[symbol]
        potential = material.build()
        path = target(chosen.out, f"langevin_vacancy_{symbol}.json", chosen.quick)
        temperature, with_vacancy, without = RUNS[symbol]
        a = lattice_constant(chosen.out, symbol, potential.fingerprint(), temperature)
        with tempfile.TemporaryDirectory() as folder:
            pair = pair_commands(potential, folder)
            few = 50 if chosen.quick else 1
            what = f"vacancy in {symbol} at {temperature:.0f} K"
            record = opening(what, "langevin_vacancy.py", path, "crystal")
            record["notes"] = NOTES
            record["crystal"] = material_record(material, potential, pair) | {
                "lattice_constant": a,
                "cells": CELLS,
                "temperature": temperature,
                "dt": DT,
                "friction_time_ps": DAMPING_PS,
                "every": EVERY,
                "blocks": BLOCKS,
            }
            record["perfect"] = perfect(
                material, potential, a, pair, temperature, without // few
            )
            record["vacancy"] = vacancy(material, a, pair, temperature, with_vacancy // few)
        save(path, record)


NOTES = [
    "fix gjf in a periodic cube of 8 lattice constants; the lattice constant is held; 20 blocks",
    "site: position about the vacancy in half lattice constants, one of its equivalent sites; "
    "displacement: mean position less the site, for this one",
    "msd: mean square of the displacement about the mean position, Angstrom^2, all three "
    "components; radial_msd: the component along the line from the vacancy; msd_tensor: xx yy zz "
    "yz xz xy for this site; displacements are less their mean over the cube",
    "far: all atoms further than 3.5 lattice constants from the vacancy",
    "harmonic_msd: classical, from the package's force constants at this lattice constant; block: "
    "over the waves that the cube has; infinite: over the Brillouin zone",
    "configurational_temperature: <|grad U|^2> / <Laplacian of U> / k over the coordinates of the "
    "atoms within 2 lattice constants of the vacancy, or of all atoms of the perfect crystal; "
    "Laplacian from central differences of LAMMPS's forces",
    "an atom that jumps into the vacancy would be a nearest-neighbour distance from its site: no "
    "atom was at any sample, largest_displacement is the longest distance seen",
]


if __name__ == "__main__":
    main()
