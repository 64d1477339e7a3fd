"""What `md_speed.py` runs: crystals at 300 K, our side of a run and LAMMPS's, one process each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BOLTZMANN = 8.617333262e-5
#: eV fs^2 / Angstrom^2 in an atomic mass unit.
MASS_UNIT = 103.642696

FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
DIAMOND = np.concatenate([FCC, FCC + 0.25])


@dataclass(frozen=True)
class Family:
    """A potential on a cubic crystal, in both programs."""

    element: str
    mass: float
    a: float
    basis: Array
    timestep: float  # fs
    style: str
    write: Callable[[Any, Path], str]  # file or arguments of LAMMPS's pair_coeff
    make: Callable[[], Any]
    skin: float
    rival_skin: float

    def cells(self, atoms: int) -> int:
        """Return cells along an edge of a cube of about that many atoms."""
        return max(1, round((atoms / len(self.basis)) ** (1 / 3)))

    def crystal(self, cells: int, seed: int = 1) -> tuple[Array, Array, float]:
        """Return positions, velocities (Angstrom/fs) of 600 K, and the edge of the cube."""
        grid = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), axis=-1)
        x = (self.a * (grid.reshape(-1, 1, 3) + self.basis)).reshape(-1, 3)
        rng = np.random.default_rng(seed)
        v = rng.normal(size=x.shape) * np.sqrt(BOLTZMANN * 600 / (self.mass * MASS_UNIT))
        return x, v - v.mean(axis=0), self.a * cells


def _potentials() -> Any:
    from qc import potentials

    return potentials


def _setfl(potential: Any, folder: Path) -> str:
    _potentials().write_setfl(potential, folder / "table")
    return f"* * {folder / 'table'} {potential.species[0]}"


def _triples(columns: str, tail: str) -> Callable[[Any, Path], str]:
    def write(potential: Any, folder: Path) -> str:
        from importlib import import_module

        module, drop = columns.split(":")
        names = import_module(module).COLUMNS[: len(import_module(module).COLUMNS) - int(drop)]
        numbers = [repr(float(potential.entries[name][0, 0, 0])) for name in names]
        words = [*potential.species * 3, *numbers, tail]
        (folder / "table").write_text(" ".join(words) + "\n")
        return f"* * {folder / 'table'} {potential.species[0]}"

    return write


FAMILIES = {
    "eam": Family(
        "Cu", 63.546, 3.615, FCC, 2.0, "eam/alloy/opt", _setfl,
        lambda: _potentials().zhou2004("Cu"), 0.5, 0.5,
    ),
    "sw": Family(
        "Si", 28.0855, 5.431, DIAMOND, 1.0, "sw",
        _triples("qc.potentials.threebody.stillinger_weber:1", "0.0"),
        lambda: _potentials().stillinger1985("Si"), 0.8, 1.0,
    ),
    "tersoff": Family(
        "Si", 28.0855, 5.432, DIAMOND, 1.0, "tersoff",
        _triples("qc.potentials.threebody.tersoff:0", ""),
        lambda: _potentials().tersoff1988("Si"), 0.8, 1.0,
    ),
    "lj": Family(
        "Ar", 39.948, 5.27, FCC, 2.0, "lj/cut/opt 8.5", lambda potential, folder: "* * 0.0104 3.4",
        lambda: _potentials().LennardJones("Ar", 0.0104, 3.4, 8.5), 1.0, 0.5,
    ),
}  # fmt: skip


def ours(job: dict[str, Any]) -> dict[str, Any]:
    """Run molecular dynamics here; called in a process of its own."""
    begin = time.perf_counter()
    import numba

    from qc.atomistic.field import ForceField

    family = FAMILIES[job["family"]]
    state = np.load(job["state"])
    x, v, edge = state["x"], state["v"], float(state["edge"])
    n, mass, dt = len(x), family.mass * MASS_UNIT, family.timestep
    potential = family.make()
    cell = edge * np.eye(3)
    # So close to one that atoms move alike and lists are rebuilt as often.
    weights = np.random.default_rng(0).uniform(0.999, 1.0, n) if job["weights"] else None
    warm = ForceField(potential, np.zeros(8, int), cell=cell, pbc=True, skin=job["skin"])
    warm.energy_forces(x[:8])
    before = _memory(reset=True)
    found: dict[str, Any] = {"atoms": n, "start": time.perf_counter() - begin}
    if job["mode"] == "ase":
        return found | _ase(family, potential, job, x, v, cell)
    field = ForceField(potential, np.zeros(n, int), weights, cell=cell, pbc=True, skin=job["skin"])
    energies, forces = field.energy_forces(x)
    found["energy"] = float(energies.sum()) / n
    if job["mode"] == "list":
        cpu, wall = time.process_time(), time.perf_counter()
        for k in range(job["steps"]):
            # A new cell rebuilds; nothing else moves.
            field.list.update(x, cell * (1 + 1e-12 * (k % 2)))
        return found | _clock(cpu, wall, job["steps"])

    change = np.empty_like(v)

    def run(steps: int) -> None:
        # Half steps of the velocity that follow each other are taken at once.
        nonlocal forces
        scale = 0.5 * dt / mass
        for _ in range(steps):
            np.multiply(forces, scale, out=change)
            np.add(v, change, out=v)
            np.multiply(v, dt, out=change)
            np.add(x, change, out=x)
            forces = field.energy_forces(x)[1]
            scale = dt / mass
        np.multiply(forces, 0.5 * dt / mass, out=change)
        np.add(v, change, out=v)

    run(job["warm"])
    rebuilds = field.rebuilds
    cpu, wall = time.process_time(), time.perf_counter()
    run(job["steps"])
    found |= _clock(cpu, wall, job["steps"])
    found["rebuilds"] = field.rebuilds - rebuilds
    found["temperature"] = float((v**2).sum() * mass / (3 * n * BOLTZMANN))
    found["threads"] = numba.get_num_threads()
    found["bytes"] = (_memory() - before) / n
    return found


def _memory(reset: bool = False) -> float:
    """Return the peak of resident memory in bytes; from now on, if reset (Linux only)."""
    if reset:
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return np.nan
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return np.nan
    return 1024.0 * int(re.findall(r"VmHWM:\s*(\d+)", status)[0])


def _ase(
    family: Family, potential: Any, job: dict[str, Any], x: Array, v: Array, cell: Array
) -> dict[str, Any]:
    from ase import Atoms, units
    from ase.md.verlet import VelocityVerlet

    from qc.adapters.ase import PotentialCalculator

    atoms = Atoms([family.element] * len(x), x, cell=cell, pbc=True)
    atoms.set_masses([family.mass] * len(x))
    atoms.set_velocities(v / units.fs)
    atoms.calc = PotentialCalculator(potential, skin=job["skin"])
    dynamics = VelocityVerlet(atoms, family.timestep * units.fs)
    dynamics.run(job["warm"])
    cpu, wall = time.process_time(), time.perf_counter()
    dynamics.run(job["steps"])
    return _clock(cpu, wall, job["steps"])


def _clock(cpu: float, wall: float, steps: int) -> dict[str, Any]:
    return {
        "cpu": (time.process_time() - cpu) / steps,
        "wall": (time.perf_counter() - wall) / steps,
        "rebuilds": steps,
    }


def run_ours(job: dict[str, Any], threads: int) -> dict[str, Any]:
    """Run `ours` in a new process."""
    names = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads))
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(job)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@dataclass(frozen=True)
class Rival:
    """A LAMMPS program."""

    name: str
    program: str
    mpi: str
    library: str = ""

    def _environment(self) -> dict[str, str]:
        paths = [self.library, os.environ.get("LD_LIBRARY_PATH", "")]
        return os.environ | {
            "LD_LIBRARY_PATH": ":".join(p for p in paths if p), "OMP_NUM_THREADS": "1",
        }  # fmt: skip

    def version(self) -> str:
        """Return the version, compiler and flags that the program says of itself."""
        text = subprocess.run(
            [self.program, "-h"], env=self._environment(), capture_output=True, text=True,
        ).stdout  # fmt: skip
        first = next((s for s in text.splitlines() if s.startswith("Large-scale")), "LAMMPS")
        details = re.findall(r"^(?:Compiler|MPI v\S*|C\+\+ standard|Git info)[^\n]*", text, re.M)
        return "; ".join([first.split("Simulator - ")[-1], *details])

    def run(self, job: dict[str, Any], folder: Path, ranks: int) -> dict[str, Any]:
        """Run molecular dynamics; seconds a step by the program's own clock."""
        family = FAMILIES[job["family"]]
        coefficients = family.write(family.make(), folder)
        data = folder / f"{Path(job['state']).stem}.data"
        if not data.exists():
            _write_data(data, np.load(job["state"]), family.mass)
        checks = "no" if job["mode"] == "list" else "yes"
        (folder / "in").write_text(
            f"units metal\natom_style atomic\nread_data {data}\n"
            f"pair_style {family.style}\npair_coeff {coefficients}\n"
            f"neighbor {job['rival_skin']} bin\nneigh_modify every 1 delay 0 check {checks}\n"
            f"timestep {1e-3 * family.timestep}\nfix move all nve\nthermo 100000\n"
            f"run {job['warm']}\nrun {job['steps']}\n"
        )
        command = [self.program, "-in", str(folder / "in"), "-log", "none", "-nocite"]
        if ranks > 1:
            command = [self.mpi, "-n", str(ranks), *command]
        text = subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, check=True
        ).stdout

        def last(pattern: str) -> float:
            return float(re.findall(pattern, text, re.MULTILINE)[-1])

        wall = last(r"^Loop time of (\S+)") / job["steps"]
        found = {
            "wall": wall,
            "cpu": wall * last(r"^(\S+)% CPU use") / 100 * ranks,
            "rebuilds": int(last(r"^Neighbor list builds = (\d+)")),
            "energy": float(re.findall(r"^\s+0\s+\S+\s+(\S+)", text, re.MULTILINE)[0])
            / last(r"^Loop time of .* with (\d+) atoms"),
            # Of building lists; exchanging atoms and making images is counted as Comm.
            "list": last(r"^Neigh\s*\|\s*(\S+)") / job["steps"],
        }
        if job["mode"] == "list":
            found["wall"] = found["cpu"] = found["list"]
        return found


def _write_data(path: Path, state: Any, mass: float) -> None:
    n, edge = len(state["x"]), float(state["edge"])
    lines = [f"{n} atoms", "1 atom types", *(f"0 {edge:.17g} {c}lo {c}hi" for c in "xyz"),
             "", "Masses", "", f"1 {mass}", "", "Atoms", ""]  # fmt: skip
    x = state["x"] % edge
    lines += [f"{k} 1 {a:.17g} {b:.17g} {c:.17g}" for k, (a, b, c) in enumerate(x.tolist(), 1)]
    # Angstrom/ps there.
    v = (1e3 * state["v"]).tolist()
    lines += ["", "Velocities", ""]
    lines += [f"{k} {a:.17g} {b:.17g} {c:.17g}" for k, (a, b, c) in enumerate(v, 1)]
    path.write_text("LAMMPS data\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    print(json.dumps(ours(json.loads(sys.argv[1]))))
