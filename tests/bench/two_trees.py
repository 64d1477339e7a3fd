"""Two checkouts of the engine timed against each other, turn about in one run.

    python tests/bench/two_trees.py OLD NEW [--rounds 8] [--only WORD ...]

Each item runs in fresh processes, one of each tree in turn (A B B A), pinned to one core and warm:
what it prepares, and its first call, is not counted except where the item says so. The ratio is the
median over rounds of NEW over OLD with its standard error; below 1 is faster. Two processes of the
same code differ by some per cent where a kernel's speed hangs on where memory lies, so compare a
tree with a copy of itself first, and ask for more rounds where it matters.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

#: What an item prepares, and what is timed; names are looked for in the places of both trees.
CRYSTAL = """
zhou = find("zhou2004", "qc.potentials")
cu = find("equilibrium_crystal", "qc.materials", "qc.continuum")(fcc("Cu", 3.6), zhou("Cu"))
"""
MODEL = """
m = qc.QuasiContinuum(
    cu, zhou("Cu"), core=2.5 * cu.a, blend=2 * cu.a, outer=20 * cu.a,
    defects=PointDefects(vacant=[(0, 0, 0)]),
)
u = np.where(m.layout.free, 1e-3 * np.random.default_rng(1).normal(size=m.U.shape), 0.0)
"""
MD = """
from ase import units
atoms = ase.build.bulk("Cu", "fcc", cu.a, cubic=True).repeat(10)
atoms.rattle(0.02, seed=1)
atoms.calc = qc.PotentialCalculator(zhou("Cu"))
y = atoms.positions.copy()
def call():
    atoms.positions = y + 1e-4 * rng.random()
    atoms.get_forces()
"""
ITEMS = {
    "import qc, first forces": ("", "", 0),
    "build a model": (CRYSTAL + "def call():" + MODEL.replace("\n", "\n    "), "call()", 4),
    "energy and forces": (CRYSTAL + MODEL, "m.energy_forces(u)", 40),
    "Hessian product": (CRYSTAL + MODEL, "m.hessian_product(u, u)", 20),
    "relax a vacancy": (
        CRYSTAL + MODEL + "def call():\n    m.U = 0 * u\n    qc.relax(m, fmax=1e-4)\n", "call()", 2,
    ),
    "forces of 4000 atoms": (CRYSTAL + MD, "call()", 20),
    "velocity Verlet, 20 steps": (
        CRYSTAL + MODEL + "d = find('Dynamics', 'qc.dynamics')(m, 0.1, seed=1, "
        "check_timestep=False)\nd.set_temperature(300.0)\n", "d.run(20)", 3,
    ),
    "Langevin, 20 steps": (
        CRYSTAL + MODEL + "L = find('Langevin', 'qc.dynamics')\nd = find('Dynamics', 'qc.dynamics')"
        "(m, 0.1, seed=1, baths=[L(300.0, 0.1)], check_timestep=False)\n"
        "d.set_temperature(300.0)\n", "d.run(20)", 3,
    ),
    "Cauchy-Born rule, Cu": (
        CRYSTAL + "r = find('CauchyBorn', 'qc.materials', 'qc.continuum')(cu, zhou('Cu'))\n"
        "f = np.eye(3) + 0.01 * rng.normal(size=(3000, 3, 3))\n", "r.evaluate(f)", 10,
    ),
    "Cauchy-Born rule, Si": (
        "p = find('stillinger1985', 'qc.potentials')()\n"
        "e = find('equilibrium_crystal', 'qc.materials', 'qc.continuum')\n"
        "c = e(qc.crystal.diamond('Si', 5.4), p)\n"
        "r = find('CauchyBorn', 'qc.materials', 'qc.continuum')(c, p)\n"
        "f = np.eye(3) + 0.01 * rng.normal(size=(1000, 3, 3))\n", "r.evaluate(f)", 5,
    ),
    "bulk properties, Cu": (
        CRYSTAL + "b = find('bulk_properties', 'qc.bulk', 'qc.atomistic.bulk')\n",
        "b(cu, zhou('Cu'), only=['elastic', 'surfaces'])", 1,
    ),
    "dislocation in columns": (
        CRYSTAL + "x = find('VolterraDislocation', 'qc.farfield', 'qc.loads')\n"
        "CB = find('CauchyBorn', 'qc.materials', 'qc.continuum')\n"
        "col = fcc('Cu', cu.a, x=[1, 1, -2], y=[1, 1, 1], z=[1, -1, 0])\n"
        "def call():\n"
        "    moduli = CB(col, zhou('Cu')).elastic_constants()\n"
        "    far = x(moduli, [0, 0, cu.a / 2**0.5], (0.3, 0.4))\n"
        "    m = qc.QuasiContinuum(col, zhou('Cu'), far_field=far, core=20.0, blend=15.0, "
        "outer=200.0)\n"
        "    m.forces(m.U)\n", "call()", 2,
    ),
}  # fmt: skip

HEAD = """
import importlib, sys, time
# Whoever installed the package for development left a finder that would mix the trees.
sys.meta_path = [f for f in sys.meta_path if "ditable" not in str(f)]
begin = time.perf_counter()
import ase.build
import numpy as np
import qc
from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import fcc
rng = np.random.default_rng(0)
def find(name, *places):
    for place in places:
        try:
            return getattr(importlib.import_module(place), name)
        except (ImportError, AttributeError):
            continue
    raise SystemExit(f"no {name}")
"""
TAIL = """
def timed():
    begin = time.perf_counter()
    for _ in range({count}):
        {call}
    return (time.perf_counter() - begin) / {count}
timed()
print(qc.__file__, min(timed() for _ in range(3)))
"""
FIRST = CRYSTAL + MODEL + "m.forces(u)\nprint(qc.__file__, time.perf_counter() - begin)\n"


def once(tree: Path, name: str) -> float:
    """Return seconds of one item in a process of its own."""
    prepare, call, count = ITEMS[name]
    code = HEAD + (prepare + TAIL.format(call=call, count=count) if count else FIRST)
    place = {"PYTHONPATH": str(tree), "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    pin = ["taskset", "-c", "0"] if os.name == "posix" else []
    done = subprocess.run(
        [*pin, sys.executable, "-c", code], env=os.environ | place, cwd="/", text=True,
        capture_output=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name} in {tree}:\n{done.stderr}")
    where, seconds = done.stdout.split()
    if not Path(where).is_relative_to(tree):
        raise SystemExit(f"{where} was imported, not {tree}")
    return float(seconds)


def main() -> None:
    """Print a table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trees", nargs=2, type=lambda text: Path(text).resolve(), metavar="TREE")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD")
    args = parser.parse_args()
    old, new = args.trees
    print(f"{'':<30} {'old (ms)':>10} {'new (ms)':>10} {'ratio':>7}")
    for name in ITEMS:
        if not any(word in name for word in args.only):
            continue
        for tree in args.trees:  # compiles and fills the cache
            once(tree, name)
        pairs = []
        for k in range(args.rounds):
            order = (old, new) if k % 2 else (new, old)
            took = {tree: once(tree, name) for tree in order}
            pairs.append((took[old], took[new]))
        ratios = [b / a for a, b in pairs]
        error = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else float("nan")
        a, b = (1e3 * statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(ratios)
        print(f"{name:<30} {a:>10.2f} {b:>10.2f} {ratio:>7.3f} +- {error:.3f}", flush=True)


if __name__ == "__main__":
    main()
