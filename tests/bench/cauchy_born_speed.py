"""Cauchy-Born batches of an embedded-atom potential: elements a second.

Run with ``python tests/bench/cauchy_born_speed.py``; prints a table in Markdown. Each figure is the
median of several repetitions with their range in brackets, after one that compiles or loads the
kernels, of processor time (which other work on the machine disturbs less than time on the clock),
or, with several threads, of time on the clock.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import numba
import numpy as np

from qc.crystal import diamond, fcc, hcp
from qc.materials import CauchyBorn
from qc.potentials import stillinger1985, zhou2004

#: Steps of a path, and the change of F from one to the next.
STEPS = 10
STEP = 2e-4


def machine() -> str:
    """Return the name of the processor."""
    try:
        with open("/proc/cpuinfo", encoding="ascii") as lines:
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def rates(call: Callable[..., object], arguments: tuple[object, ...], n: int, repeats: int) -> str:
    """Return millions of elements a second: median and range."""
    clock = time.process_time if numba.get_num_threads() == 1 else time.perf_counter
    call(*arguments)
    found = []
    for _ in range(repeats):
        begin = clock()
        call(*arguments)
        found.append(1e-6 * n / (clock() - begin))
    return f"{statistics.median(found):.3f} [{min(found):.3f}, {max(found):.3f}]"


def with_a_basis(
    rule: CauchyBorn, name: str, elements: list[int], repeats: int, strain: float
) -> None:
    """Print the table of a crystal with a basis: cells at given shifts, and relaxed ones."""
    print(
        f"\n{name}, F as above; shifts of 0.01 N(0, 1) Angstrom, or relaxed from starts within "
        "0.001 N(0, 1) Angstrom of the relaxed ones, or from these, or from those of the step "
        f"before while F changes by {STEP:g} N(0, 1) from step to step; millions of elements a "
        "second\n"
    )
    print("| elements | call | gradient | and d2E/dp2 | all second derivatives |")
    print("|---|---|---|---|---|")
    rng = np.random.default_rng(0)
    for n in elements:
        f = np.eye(3) + strain * rng.normal(size=(n, 3, 3))
        away = rng.normal(size=(n, 2, 3))
        away[:, 0] = 0.0
        orders = ("gradient", "shifts", "full")
        cells = [rates(rule.cell, (f, 0.01 * away, order), n, repeats) for order in orders]
        print(f"| {n} | `deformed_cell` | {' | '.join(cells)} |", flush=True)
        few = min(n, 2000)
        part = (f[:few], 0.01 * away[:few])
        cells = [rates(rule.cell.by_bonds, (*part, order), few, repeats) for order in orders]
        print(f"| {few} | bonds one by one | {' | '.join(cells)} |", flush=True)
        relaxed = rule.relaxed_shifts(f)
        for name, start in (("near", relaxed + 1e-3 * away), ("relaxed", relaxed)):
            cells = [rates(rule.condensed, (f, start, t), n, repeats) for t in (False, True)]
            row = f"{cells[0]} | | {cells[1]}"
            print(f"| {n} | `CauchyBorn.condensed`, {name} start | {row} |", flush=True)
        path = f + STEP * np.cumsum(rng.normal(size=(STEPS, *f.shape)), axis=0)
        slow = CauchyBorn(rule.crystal, rule.potential)
        slow.cell._fused = None
        for name, one, most in (("", rule, n), (", bonds one by one", slow, few)):
            cell = rates(follow, (one, path[:, :most], relaxed[:most]), most * STEPS, repeats)
            call = f"`CauchyBorn.condensed`, {STEPS} steps{name}"
            print(f"| {most} | {call} | {cell} | | |", flush=True)


def follow(rule: CauchyBorn, path: np.ndarray, shifts: np.ndarray) -> None:
    """Relax the shifts along a path of states (steps, n, 3, 3), each step from the last."""
    for f in path:
        shifts = rule.response(f, shifts)[3]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--elements", type=int, nargs="*", default=[1000, 10000, 100000])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--strain", type=float, default=0.01)
    options = parser.parse_args()
    potential = zhou2004("Cu")
    crystal = fcc("Cu", 3.615)
    star = np.ascontiguousarray(crystal.star(potential.cutoff))
    types = np.zeros(len(star), dtype=np.int64)
    rule = CauchyBorn(crystal, potential)
    print(
        f"{machine()}, {numba.get_num_threads()} thread(s), numba {numba.__version__}, numpy "
        f"{np.__version__}, Python {platform.python_version()}; zhou2004 Cu, {len(star)} bonds "
        f"inside the cutoff, F = I + {options.strain:g} N(0, 1); millions of elements a second\n"
    )
    print("| elements | call | W and P | W, P and tangent |")
    print("|---|---|---|---|")
    rng = np.random.default_rng(0)
    for n in options.elements:
        f = np.eye(3) + options.strain * rng.normal(size=(n, 3, 3))
        for name, call, arguments in (
            ("`potential.deformed_star`", potential.deformed_star, (f, star, 0, types)),
            ("`CauchyBorn.evaluate`", rule.evaluate, (f,)),
        ):
            cells = [rates(call, (*arguments, t), n, options.repeats) for t in (False, True)]
            print(f"| {n} | {name} | {' | '.join(cells)} |", flush=True)
    for name, crystal, potential in (
        ("zhou2004 Mg, hcp", hcp("Mg", 3.2, 5.2), zhou2004("Mg")),
        ("stillinger1985 Si, diamond", diamond("Si", 5.431), stillinger1985()),
    ):
        rule = CauchyBorn(crystal, potential)
        with_a_basis(rule, name, options.elements, options.repeats, options.strain)


if __name__ == "__main__":
    main()
