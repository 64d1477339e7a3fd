"""What a step of dynamics costs over the force evaluation in it, on a model of 20,000 unknowns.

    python tests/bench/dynamics_cost.py [--core 2.0] [--outer 20] [--steps 200]

Steps and bare evaluations alternate in short stretches of one run, so that both meet the same
machine; the ratio is that of the medians. Kernels are warm. Threads: NUMBA_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import time

import numba
import numpy as np
from ase.units import fs

import qc
from qc.coupling import PointDefects
from qc.dynamics import Dynamics, FieldBath, HeatField, Langevin, stadium
from qc.materials import equilibrium_crystal


def main() -> None:
    """Print a table of costs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--core", type=float, default=2.0, help="in lattice constants")
    parser.add_argument("--outer", type=float, default=20.0, help="in lattice constants")
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    potential = qc.potentials.zhou2004("Cu")
    crystal = equilibrium_crystal(qc.crystal.fcc("Cu", 3.6), potential)
    a = crystal.a
    model = qc.QuasiContinuum(
        crystal, potential, core=args.core * a, blend=args.core * a, outer=args.outer * a,
        defects=PointDefects(vacant=[(0, 0, 0)]),
    )  # fmt: skip
    field = HeatField.of_model(model, conductivity=0.1, where="everywhere", size=15.0)
    settings = {
        "velocity Verlet": {},
        "Langevin, every node": {"baths": [Langevin(300.0, 0.01 / fs)]},
        "Langevin, stadium": {"baths": [Langevin(300.0, stadium(model, 0.01 / fs))]},
        "heat field, conducts every 10 steps": {
            "baths": [FieldBath(field, 0.01 / fs)], "conduct_every": 10,
        },
    }  # fmt: skip
    print(
        f"{model.n_unknowns:,} unknowns, {len(model.coupling.blended.continuum.active):,} elements,"
        f" {len(model.layout.positions):,} atoms in the patch, {len(field.energy):,} heat nodes, "
        f"{numba.get_num_threads()} thread(s)"
    )
    print(f"{'':<38} {'step (ms)':>10} {'forces (ms)':>12} {'ratio':>7}")
    for name, options in settings.items():
        model.U = np.zeros_like(model.U)
        run = Dynamics(model, 2.0 * fs, seed=1, check_timestep=False, **options)
        run.set_temperature(600.0)
        run.run(60)
        stepping, bare = [], []
        for _ in range(args.steps // 5):
            begin = time.perf_counter()
            run.run(5)
            middle = time.perf_counter()
            for k in range(5):
                # The list stays, as it does in most steps; positions differ.
                model.energy_forces(run.x + 1e-9 * k)
            stepping.append((middle - begin) / 5)
            bare.append((time.perf_counter() - middle) / 5)
        step, force = 1e3 * np.median(stepping), 1e3 * np.median(bare)
        print(f"{name:<38} {step:>10.2f} {force:>12.2f} {step / force:>7.3f}")


if __name__ == "__main__":
    main()
