"""Lattice constant at zero pressure against temperature, from dynamics at constant pressure.

    python tests/reference/recipes/thermal_expansion.py --out tests/reference

Writes ``thermal_expansion.json``; a quarter of an hour on one core. ``--elements Cu`` makes
those of one element again and keeps the others; ``--quick`` takes a fiftieth of the steps and
writes ``quick_thermal_expansion.json``.

Atoms follow ``fix langevin`` with total force zero, the edge of the cube follows ``fix nph iso 0
0`` (G. J. Martyna, D. J. Tobias, M. L. Klein, J. Chem. Phys. 101 (1994) 4177), whose own damping
is on while the crystal comes to equilibrium only. The friction makes the energy of every vibration
forget its past within DAMPING, which is what the errors of a nearly harmonic crystal depend on.
The discrete steps leave displacements too large by the factor 1 / (1 - (omega dt)^2 / 4) in their
squares, 0.1 % on average over the vibrations; one point is run again with half the step.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

from finite_temperature import (
    MATERIALS,
    Crystal,
    Material,
    at_rest,
    material_record,
    mean_error,
    opening,
    options,
    pair_commands,
    target,
)
from reference import save

#: K, up to 0.6 of the melting temperature.
TEMPERATURES = {
    "Cu": (100, 200, 300, 450, 600, 800),
    "Al": (100, 200, 300, 430, 560),
    "Ni": (100, 200, 300, 500, 750, 1000),
    "Fe": (100, 200, 300, 500, 750, 1000),
    "Ar": (10, 20, 30, 40, 50),
    "Si": (100, 200, 300, 500, 750, 1000),
}

#: fs, steps, friction time in ps and period of the barostat in ps.
RUNS = {
    "Cu": (2.0, 50_000, 0.2, 2.0),
    "Al": (1.5, 60_000, 0.2, 2.0),
    "Ni": (2.0, 50_000, 0.2, 2.0),
    "Fe": (2.0, 50_000, 0.2, 2.0),
    "Ar": (4.0, 60_000, 0.4, 5.0),
    "Si": (1.0, 120_000, 0.2, 2.0),
}

#: The point that is checked, and the cells of the larger block.
CHECKED, LARGER = ("Cu", 300), 10

EVERY, BLOCKS, SEED = 10, 20, 20250722


def point(
    material: Material,
    pair: list[str],
    a: float,
    temperature: float,
    *,
    cells: int,
    dt: float,
    steps: int,
) -> dict[str, Any]:
    """Return lattice constant, energy and kinetic temperature at one temperature."""
    _, _, damping, period = RUNS[material.symbol]
    guess = a * (1 + material.expansion * temperature)
    settle = round(12e3 / dt) if steps > 5000 else steps
    with Crystal(material, material.sites(cells), guess, cells, pair) as crystal:
        crystal.heat(temperature, SEED)
        move = f"fix move all nph iso 0 0 {period}"
        crystal.lmp.commands_list(
            [
                f"fix bath all langevin {temperature} {temperature} {damping} {SEED + 1} zero yes",
                f"{move} drag 1.0",
            ]
        )
        crystal.run(settle, dt)
        crystal.lmp.commands_list(["unfix move", move])
        samples = crystal.record(steps, dt, EVERY, ["lx", "pe", "temp", "press"])
        n = crystal.n
    constant, constant_error = mean_error(samples[:, 0] / cells, BLOCKS)
    energy, energy_error = mean_error(samples[:, 1] / n, BLOCKS)
    kinetic, kinetic_error = mean_error(samples[:, 2], BLOCKS)
    pressure, pressure_error = mean_error(samples[:, 3], BLOCKS)
    return {
        "temperature": temperature,
        "lattice_constant": constant,
        "lattice_constant_error": constant_error,
        "error_of_expansion": constant_error / (constant - a),
        "potential_energy": energy,
        "potential_energy_error": energy_error,
        "kinetic_temperature": kinetic,
        "kinetic_temperature_error": kinetic_error,
        "pressure_bar": pressure,
        "pressure_bar_error": pressure_error,
        "atoms": n,
        "dt": dt,
        "steps": steps,
        "settling_steps": settle,
    }


def element(symbol: str, folder: str, quick: bool) -> dict[str, Any]:
    """Return the temperatures of one element."""
    material = MATERIALS[symbol]
    potential = material.build()
    pair = pair_commands(potential, folder)
    a, energy = at_rest(material, pair)
    dt, steps, damping, period = RUNS[symbol]
    steps = steps // 50 if quick else steps
    record = material_record(material, potential, pair)
    record |= {
        "melting_temperature": material.melting,
        "lattice_constant_0K": a,
        "energy_0K": energy,
        "friction_time_ps": damping,
        "barostat_ps": period,
        "points": [],
    }

    def add(temperature: float, **changes: Any) -> dict[str, Any]:
        began = time.process_time()
        choice = {"cells": material.cells, "dt": dt, "steps": steps} | changes
        found = point(material, pair, a, temperature, **choice)
        print(
            f"{symbol} {temperature} K, {found['atoms']} atoms, {found['dt']} fs:"
            f" {found['lattice_constant']:.6f} +- {found['lattice_constant_error']:.6f}"
            f" ({100 * found['error_of_expansion']:.2f} % of the expansion,"
            f" {time.process_time() - began:.0f} s)",
            flush=True,
        )
        return found

    record["points"] = [add(t) for t in TEMPERATURES[symbol]]
    if symbol == CHECKED[0]:
        record["checks"] = {
            "larger_block": add(CHECKED[1], cells=LARGER, steps=steps // 4),
            "half_the_step": add(CHECKED[1], dt=dt / 2),
        }
    return record


def main() -> None:
    """Write thermal_expansion.json."""
    chosen = options("Thermal expansion", list(TEMPERATURES))
    path = target(chosen.out, "thermal_expansion.json", chosen.quick)
    record = opening("lattice constant of zero pressure", "thermal_expansion.py", path, "elements")
    record["notes"] = [
        "fix langevin (zero yes) and fix nph iso 0 0 on a cube; classical nuclei",
        "errors: standard errors of the mean from 20 blocks; error_of_expansion is that of the "
        "lattice constant over its difference from 0 K",
        "potential_energy: eV per atom; lattice_constant_0K and energy_0K: the crystal at rest",
        "checks: the same point with eight times the atoms, and with half the step",
        "melting_temperature: published, of the element; forces_against_package: LAMMPS's forces "
        "and the package's on a disordered crystal, eV/Angstrom",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for symbol in chosen.elements:
            record["elements"][symbol] = element(symbol, folder, chosen.quick)
            record["elements"] = {
                s: record["elements"][s] for s in TEMPERATURES if s in record["elements"]
            }
            save(path, record)


if __name__ == "__main__":
    main()
