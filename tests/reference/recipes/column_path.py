"""Relax a crystal of atom columns along a load path, one LAMMPS run per step.

As a program: ``python column_path.py path.npz table.setfl --out relaxed.npz``. ``path.npz`` holds
``predictors`` (steps, n, 3), ``free`` (n,) bool, ``period`` (steps,) along z and ``symbol``; the
result has ``positions`` (steps, n, 3), ``energies`` and ``predictor_energies`` (steps, n) of every
atom, and ``max_force`` (steps,).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lammps_driver import Block
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Step:
    """One relaxed step: positions (n, 3), atomic energies (n,) there and at the predictor."""

    positions: Array
    energies: Array
    predictor_energies: Array
    max_force: float
    stages: list[tuple[str, int, int, float, str]]
    seconds: float


def relax_path(
    predictors: Sequence[Array],
    free: NDArray[np.bool_],
    periods: Sequence[float],
    symbol: str,
    setfl: str | Path,
    *,
    tolerance: float = 1e-7,
    start: Array | None = None,
    repeat: int = 1,
) -> list[Step]:
    """Relax every step from its predictor plus the displacement that the step before found.

    Parameters
    ----------
    predictors : sequence of (n, 3) float, Angstrom
        Positions before relaxation, one atom per column; held atoms stay there.
    free : (n,) bool
    periods : sequence of float, Angstrom
        Period along z at each step.
    symbol : chemical symbol
    setfl : path of the potential's table
    tolerance : eV/Angstrom, on the largest force component
    start : (n, 3), relaxation to begin the first step with; none by default
    repeat : number of atoms per column, for a check of the thin period; energies and positions
        returned are those of the first
    """
    carried = np.zeros_like(predictors[0]) if start is None else start.copy()
    n = len(carried)
    out = []
    for y0, period in zip(predictors, periods, strict=True):
        up = np.array([0.0, 0.0, period])
        cell = np.diag([1.0, 1.0, repeat * period])
        stack = np.concatenate([y0 + k * up for k in range(repeat)])
        mask = np.tile(free, repeat)
        with Block(
            stack, symbol, setfl, free=mask, cell=cell, periodic=(False, False, True)
        ) as block:
            block.move_to(stack)
            before = block.energies()[:n]
            block.move_to(stack + np.tile(carried, (repeat, 1)))
            result = block.relax(tolerance, ("cg", "fire"), 20000)
            after = block.energies()[:n]
        positions = result.positions[:n]
        carried = positions - y0
        out.append(Step(positions, after, before, result.max_force, result.stages, result.seconds))
    return out


def main() -> None:
    """Relax the path in an npz file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("setfl", type=Path)
    parser.add_argument("--out", type=Path, default=Path("relaxed.npz"))
    options = parser.parse_args()
    with np.load(options.path, allow_pickle=False) as case:
        steps = relax_path(
            list(case["predictors"]),
            case["free"],
            [float(p) for p in case["period"]],
            str(case["symbol"]),
            options.setfl,
        )
    np.savez_compressed(
        options.out,
        positions=np.array([s.positions for s in steps]),
        energies=np.array([s.energies for s in steps]),
        predictor_energies=np.array([s.predictor_energies for s in steps]),
        max_force=np.array([s.max_force for s in steps]),
    )


if __name__ == "__main__":
    main()
