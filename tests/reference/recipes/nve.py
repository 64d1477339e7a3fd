"""Energy conservation of velocity Verlet in perfect crystals, at several time steps.

    python tests/reference/recipes/nve.py --out tests/reference

Writes ``nve.json``; ten minutes on one core. ``--elements Cu`` makes those of one element again and
keeps the others; ``--quick`` takes a fiftieth of the steps and writes ``quick_nve.json``.

Each crystal comes to equilibrium under ``fix langevin`` at the lattice constant of zero pressure in
``thermal_expansion.json``, which comes first, and stays there until its total energy is the mean
one of this temperature. From that one state every time step starts anew with ``fix nve``. The drift
is the slope of a straight line through the means of 20 blocks of the total energy, its error that
of the fit. The fluctuations of the total energy go with the square of the step. They depend on
which vibrations have how much energy, which in silicon lasts for longer than a run, so steps are
compared over the same first picoseconds.
"""

from __future__ import annotations

import json
import tempfile
import time
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
from reference import save

Array = NDArray[np.float64]

#: K, then steps for each time step in fs.
RUNS: dict[str, tuple[float, dict[float, int]]] = {
    "Cu": (300, {2.0: 100_000, 1.0: 40_000, 0.5: 40_000}),
    "Ar": (30, {10.0: 40_000, 5.0: 40_000, 2.0: 100_000, 1.0: 40_000, 0.5: 40_000}),
    "Si": (300, {2.0: 100_000, 1.0: 100_000, 0.5: 40_000}),
}

#: fs: a step that serves every crystal to come to equilibrium, and how long that takes.
SETTLING_DT, SETTLING = 1.0, 15_000.0

#: ps over which the fluctuations of all steps are compared.
COMMON = 20.0

#: Part of 3 N k T by which the energy at the start may be off.
TYPICAL = 0.001

EVERY, BLOCKS, SEED = 5, 20, 512


def drift(energy: Array) -> tuple[float, float]:
    """Return the slope of a series per sample and its standard error, from means of blocks."""
    size = len(energy) // BLOCKS
    # About the mean, of which there are ten digits more than of the slope.
    means = (energy - energy.mean())[: size * BLOCKS].reshape(BLOCKS, size).mean(axis=1)
    x = size * (np.arange(BLOCKS) - (BLOCKS - 1) / 2)
    slope = float(x @ means / (x @ x))
    left = means - means.mean() - slope * x
    return slope, float(np.sqrt(left @ left / (BLOCKS - 2) / (x @ x)))


def settle(crystal: Crystal, point: dict[str, Any]) -> None:
    """Bring a crystal to equilibrium, and to the mean total energy of its temperature."""
    temperature, n = point["temperature"], crystal.n
    crystal.heat(temperature, SEED)
    bath = f"{temperature} {temperature} 0.2 {SEED + 1} zero yes"
    crystal.lmp.commands_list([f"fix bath all langevin {bath}", "fix move all nve"])
    crystal.run(round(SETTLING / SETTLING_DT), SETTLING_DT)
    heat = BOLTZMANN * temperature
    mean = n * point["potential_energy"] + 1.5 * (n - 1) * heat
    for _ in range(20_000):
        crystal.lmp.command("run 10 pre no post no")
        if abs(crystal.lmp.get_thermo("etotal") - mean) < TYPICAL * 3 * n * heat:
            crystal.lmp.commands_list(["unfix bath", "velocity all zero linear"])
            return
    raise RuntimeError("the crystal never had its mean energy")


def run(
    material: Material, pair: list[str], a: float, point: dict[str, Any], dt: float, steps: int
) -> dict[str, Any]:
    """Return drift and fluctuations of one run."""
    cells = material.cells
    with Crystal(material, material.sites(cells), a, cells, pair) as crystal:
        settle(crystal, point)
        samples = crystal.record(steps, dt, EVERY, ["etotal", "ke", "press", "temp"])
        n = crystal.n
    total, kinetic, pressure, warmth = samples.T
    slope, error = drift(total / n)
    squeeze, squeeze_error = mean_error(pressure, BLOCKS)
    return {
        "dt": dt,
        "steps": steps,
        "drift_per_atom_step": slope / EVERY,
        "drift_per_atom_step_error": error / EVERY,
        "drift_per_atom_ps": slope / EVERY / (1e-3 * dt),
        "total_energy_std": float(total.std()),
        "kinetic_energy_std": float(kinetic.std()),
        "std_ratio": float(total.std() / kinetic.std()),
        "total_energy_std_common": float(total[: round(1e3 * COMMON / dt / EVERY)].std()),
        "largest_excursion": float(np.abs(total - total.mean()).max()),
        "kinetic_temperature": mean_error(warmth, BLOCKS)[0],
        "pressure_bar": squeeze,
        "pressure_bar_error": squeeze_error,
        "total_energy_per_atom": float(total.mean() / n),
    }


def element(symbol: str, folder: str, out: Path, quick: bool) -> dict[str, Any]:
    """Return the runs of one element."""
    material = MATERIALS[symbol]
    potential = material.build()
    pair = pair_commands(potential, folder)
    temperature, runs = RUNS[symbol]
    entry = json.loads((out / "thermal_expansion.json").read_text())["elements"][symbol]
    if entry["fingerprint"] != potential.fingerprint():
        raise SystemExit("thermal_expansion.json is of another potential: run its recipe first")
    point = next(p for p in entry["points"] if p["temperature"] == temperature)
    a = round(point["lattice_constant"], 5)
    record = material_record(material, potential, pair) | {
        "temperature": temperature,
        "lattice_constant": a,
        "cells": material.cells,
        "atoms": len(material.sites(material.cells)),
        "runs": [],
    }
    for dt, steps in runs.items():
        began = time.process_time()
        found = run(material, pair, a, point, dt, steps // 50 if quick else steps)
        record["runs"].append(found)
        print(
            f"{symbol} {dt} fs: drift {found['drift_per_atom_step']:.1e} +-"
            f" {found['drift_per_atom_step_error']:.1e} eV per atom and step, fluctuation"
            f" {found['total_energy_std']:.2e} eV ({time.process_time() - began:.0f} s)",
            flush=True,
        )
    record["power_of_dt"] = power(record["runs"])
    return record


def power(runs: list[dict[str, Any]]) -> float:
    """Return the power of dt that the fluctuation of the total energy goes with."""
    dt, std = ([r[key] for r in runs] for key in ("dt", "total_energy_std_common"))
    return float(np.polyfit(np.log(dt), np.log(std), 1)[0])


def main() -> None:
    """Write nve.json."""
    chosen = options("Energy conservation of velocity Verlet", list(RUNS))
    path = target(chosen.out, "nve.json", chosen.quick)
    record = opening("energy conservation of velocity Verlet", "nve.py", path, "elements")
    record["notes"] = [
        "fix nve on perfect crystals in a periodic cube, from one state in equilibrium whose total "
        "energy is the mean one of the temperature",
        "drift_per_atom_step: slope of the total energy, eV per atom and step, with its standard "
        "error; drift_per_atom_ps the same per picosecond",
        "total_energy_std, kinetic_energy_std: of the whole block, eV, from every fifth step; "
        "std_ratio: one over the other; total_energy_std_common: over the first 20 ps only; "
        "largest_excursion: of the total energy from its mean, eV",
        "pressure_bar: mean with its standard error while vibrations have the energies they have; "
        "from state to state it differs by more",
        "power_of_dt: slope of log(total_energy_std_common) over log(dt); two for velocity Verlet",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for symbol in chosen.elements:
            record["elements"][symbol] = element(symbol, folder, chosen.out, chosen.quick)
            record["elements"] = {
                s: record["elements"][s] for s in RUNS if s in record["elements"]
            }
            save(path, record)


if __name__ == "__main__":
    main()
