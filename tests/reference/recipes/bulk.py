"""Perfect crystals: lattice constant, cohesive energy, elastic constants, two formation energies.

Writes ``bulk.json``, which the other recipes read.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from lammps_driver import GPA, Block
from numpy.typing import NDArray
from reference import arguments, header, potential_record, save, table, total, zhou
from scipy.optimize import brentq

Array = NDArray[np.float64]

STRUCTURES = {"Cu": ("fcc", 3.615), "Al": ("fcc", 4.05), "Ni": ("fcc", 3.52), "Fe": ("bcc", 2.87)}
MOTIFS = {
    "fcc": np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "bcc": np.array([[0, 0, 0], [0.5, 0.5, 0.5]]),
}
CUBE = (True, True, True)


def cube_state(symbol: str, motif: Array, cell: Array, setfl: Path) -> tuple[float, Array]:
    """Return energy per atom and stress (3, 3), eV/Angstrom^3, of a conventional cell."""
    x = motif @ cell
    with Block(x, symbol, setfl, cell=cell, periodic=CUBE) as block:
        block.move_to(x)
        return float(block.energies().mean()), block.stress()


def lattice_constant(symbol: str, motif: Array, guess: float, setfl: Path) -> float:
    """Return the lattice constant of zero pressure, Angstrom, found to 1e-13."""

    def pressure(a: float) -> float:
        return -float(np.trace(cube_state(symbol, motif, a * np.eye(3), setfl)[1])) / 3

    return float(brentq(pressure, 0.98 * guess, 1.02 * guess, xtol=1e-13, rtol=1e-15))


def elastic_constants(symbol: str, motif: Array, a: float, setfl: Path) -> dict[str, float]:
    """Return C11, C12, C44 in eV/Angstrom^3 from fourth-order differences of the stress.

    At zero stress the derivative of the Cauchy stress with respect to strain is the elastic
    tensor. The energy gives C11 and C44 a second time.
    """
    step = 5e-4
    stretch, shear = np.zeros((3, 3)), np.zeros((3, 3))
    stretch[0, 0] = 1.0
    shear[0, 1] = shear[1, 0] = 0.5

    def states(strain: Array) -> list[tuple[float, Array]]:
        cells = [a * (np.eye(3) + k * step * strain) for k in (-2, -1, 0, 1, 2)]
        return [cube_state(symbol, motif, cell, setfl) for cell in cells]

    def first(s: list[tuple[float, Array]]) -> Array:
        return (8 * (s[3][1] - s[1][1]) - (s[4][1] - s[0][1])) / (12 * step)

    def second(s: list[tuple[float, Array]]) -> float:
        e = [pair[0] for pair in s]
        curvature = (-e[0] + 16 * e[1] - 30 * e[2] + 16 * e[3] - e[4]) / (12 * step**2)
        return curvature * len(motif) / a**3

    stretched, sheared = states(stretch), states(shear)
    along = first(stretched)
    return {
        "C11": float(along[0, 0]),
        "C12": float(along[1, 1]),
        "C44": float(first(sheared)[0, 1]),
        "C11_from_energy": second(stretched),
        "C44_from_energy": second(sheared),
    }


def vacancy(symbol: str, motif: Array, a: float, energy: float, setfl: Path, n: int) -> Any:
    """Return the vacancy formation energy in an ``n`` x ``n`` x ``n`` periodic block, relaxed."""
    g = np.arange(n)
    corners = np.stack(np.meshgrid(g, g, g, indexing="ij"), -1).reshape(-1, 1, 3)
    x = a * (corners + motif).reshape(-1, 3)[1:]
    with Block(x, symbol, setfl, cell=n * a * np.eye(3), periodic=CUBE) as block:
        block.move_to(x)
        unrelaxed = total(block.energies(), energy)
        relaxation = block.relax(1e-8, ("cg", "fire"))
        return {
            "cells": n,
            "unrelaxed": unrelaxed,
            "relaxed": total(block.energies(), energy),
            "max_force": relaxation.max_force,
        }


def stacking_fault(symbol: str, a: float, energy: float, setfl: Path, layers: int = 30) -> Any:
    """Return the energy of the intrinsic (111) fault, eV/Angstrom^2, relaxed along the normal.

    One fault per period of ``layers`` (111) planes with one atom each, made by adding a partial
    Burgers vector to the third cell vector; the height is that of zero normal stress.
    """
    edge, spacing = a / np.sqrt(2), a / np.sqrt(3)
    plane = np.array([[edge, 0, 0], [edge / 2, edge * np.sqrt(3) / 2, 0], [0, 0, 0]])
    partial = np.array([0, a / np.sqrt(6), spacing])
    x = np.arange(layers)[:, None] * partial
    area = edge**2 * np.sqrt(3) / 2

    def state(opening: float, relax: bool = True) -> tuple[float, float, float]:
        cell = plane.copy()
        # One more step of ABC stacking closes the perfect crystal; one that goes the other way
        # puts the fault at the joint.
        cell[2] = layers * partial
        cell[2, 1] -= 2 * partial[1]
        cell[2, 1] -= np.round(cell[2, 1] / (3 * partial[1])) * 3 * partial[1]
        cell[2, 2] += opening
        y = x.copy()
        y[:, 2] += opening * np.arange(layers) / layers
        with Block(y, symbol, setfl, cell=cell, periodic=CUBE) as block:
            block.move_to(y)
            force = block.relax(1e-10, ("fire",)).max_force if relax else 0.0
            return total(block.energies(), energy), float(block.stress()[2, 2]), force

    raw = state(0.0, relax=False)[0] / area
    opening = brentq(lambda t: state(t)[1], -0.1, 0.3, xtol=1e-9)
    relaxed, stress, force = state(opening)
    return {
        "layers": layers,
        "unrelaxed": raw,
        "relaxed": relaxed / area,
        "relaxed_mJ_per_m2": relaxed / area * GPA * 100,
        "opening": opening,
        "normal_stress": stress,
        "max_force": force,
    }


def element(symbol: str, folder: str) -> dict[str, Any]:
    """Return everything about one element."""
    potential = zhou(symbol)
    setfl = table(potential, folder)
    structure, guess = STRUCTURES[symbol]
    motif = MOTIFS[structure]
    a = lattice_constant(symbol, motif, guess, setfl)
    energy, stress = cube_state(symbol, motif, a * np.eye(3), setfl)
    moduli = elastic_constants(symbol, motif, a, setfl)
    record = {
        "potential": potential_record(potential, setfl),
        "structure": structure,
        "lattice_constant": a,
        "cohesive_energy": energy,
        "residual_pressure": -float(np.trace(stress)) / 3,
        **moduli,
        "in_GPa": {k: v * GPA for k, v in moduli.items()},
        "vacancy_periodic": [vacancy(symbol, motif, a, energy, setfl, n) for n in (6, 10)],
    }
    if structure == "fcc":
        record["stacking_fault"] = stacking_fault(symbol, a, energy, setfl)
    return record


def main() -> None:
    """Write bulk.json."""
    options = arguments("Perfect crystals", elements=list(STRUCTURES))
    record = header("perfect crystals of the Zhou-Johnson-Wadley potential", "bulk.py", None)
    record["units"] |= {"C11, C12, C44": "eV/Angstrom^3", "stacking_fault": "eV/Angstrom^2"}
    record["notes"] = [
        "lattice_constant: zero of the pressure; cohesive_energy: energy per atom, negative",
        "C11, C12, C44: fourth-order differences of the stress, steps of 5e-4 in strain; "
        "_from_energy: the same from the energy",
        "vacancy_periodic: formation energy at fixed cell, relaxed to max_force",
        "stacking_fault: intrinsic (111) fault at zero normal stress",
    ]
    record["elements"] = {}
    with tempfile.TemporaryDirectory() as folder:
        for symbol in options.elements:
            record["elements"][symbol] = element(symbol, folder)
    save(options.out / "bulk.json", record)


if __name__ == "__main__":
    main()
