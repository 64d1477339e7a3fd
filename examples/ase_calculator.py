"""ASE at the wheel: its optimizers and its dynamics on every atom and on a quasicontinuum model.

The same vacancy twice. First as plain ASE atoms in a periodic cell on `qc.PotentialCalculator`;
then as the representative atoms of a model on `qc.QCCalculator`, where moving a few atoms moves a
continuum with them. At the end both run molecular dynamics, and the energy must be conserved.

    python examples/ase_calculator.py [--small] [--output DIR]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE, LBFGS
from ase.optimize.precon import PreconLBFGS

import qc
from qc.adapters.ase_precon import ModelPrecon
from qc.coupling import PointDefects
from qc.materials import equilibrium_lattice_constant


@dataclass
class Outcome:
    """What `main` finds, energies in eV by optimizer.

    Attributes
    ----------
    atoms, model : dict of str to float
        Formation energies of the vacancy from all atoms in a cell and from the model.
    steps : dict of str to int
        Steps that each optimizer took on the model.
    drift : dict of str to float
        Largest departure of the total energy from its start over the mean kinetic energy.
    """

    atoms: dict[str, float] = field(default_factory=dict)
    model: dict[str, float] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    drift: dict[str, float] = field(default_factory=dict)


def optimise(atoms: Atoms, optimizer: Any, fmax: float, **options: Any) -> tuple[float, int]:
    """Return the energy of the relaxed atoms and the number of steps."""
    run = optimizer(atoms, logfile=None, **options)
    if not run.run(fmax=fmax, steps=500):
        raise SystemExit(f"{optimizer.__name__} did not converge")
    return float(atoms.get_potential_energy()), run.nsteps


def drift(atoms: Atoms, steps: int) -> float:
    """Run dynamics at constant energy; return how well the energy is kept.

    Parameters
    ----------
    atoms : ase.Atoms
    steps : int
        Steps of 2 fs, from velocities of 300 K.
    """
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(1))
    start = atoms.get_total_energy()
    totals, kinetic = [], []
    dynamics = VelocityVerlet(atoms, timestep=2.0 * units.fs)
    for _ in dynamics.irun(steps):
        totals.append(atoms.get_total_energy())
        kinetic.append(atoms.get_kinetic_energy())
    return float(np.abs(np.array(totals) - start).max() / np.mean(kinetic))


def main(argv: Sequence[str] | None = None) -> Outcome:
    """Drive both calculators with ASE, print what came out and return it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="small cells, in seconds")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write the atoms there (extxyz)")
    args = parser.parse_args(argv)
    size, regions, steps = (3, (1.7, 1.45, 4.0), 10) if args.small else (4, (2.0, 2.0, 6.0), 100)
    fmax = 4e-3 if args.small else 1e-3
    found = Outcome()

    potential = qc.potentials.zhou2004("Cu")
    a = equilibrium_lattice_constant(qc.crystal.fcc("Cu", 3.6), potential)

    perfect = bulk("Cu", a=a, cubic=True) * (size, size, size)
    perfect.calc = qc.PotentialCalculator(potential)
    per_atom = perfect.get_potential_energy() / len(perfect)
    print(f"every atom: {len(perfect) - 1} atoms in a periodic cell")
    for optimizer in (BFGS, FIRE, LBFGS):
        atoms = perfect.copy()
        del atoms[0]
        atoms.calc = qc.PotentialCalculator(potential)
        energy, taken = optimise(atoms, optimizer, fmax)
        found.atoms[optimizer.__name__] = energy - len(atoms) * per_atom
        print(f"  {optimizer.__name__:<12} {taken:>4} steps   formation energy "
              f"{found.atoms[optimizer.__name__]:.4f} eV")  # fmt: skip

    core, blend, outer = (a * r for r in regions)
    # BFGS keeps a dense Hessian of all degrees of freedom: it is for small systems.
    for optimizer in (FIRE, LBFGS, PreconLBFGS):
        model = qc.QuasiContinuum(
            qc.crystal.fcc("Cu", a),
            potential,
            core=core,
            blend=blend,
            outer=outer,
            defects=PointDefects(vacant=[(0, 0, 0)]),
        )
        reps = model.to_ase()
        reps.calc = qc.QCCalculator(model)
        if not found.model:
            print(f"model: {len(reps)} representative atoms for {model.n_sites:,.0f} sites")
        options = {"precon": ModelPrecon(model)} if optimizer is PreconLBFGS else {}
        energy, taken = optimise(reps, optimizer, fmax, **options)
        found.model[optimizer.__name__], found.steps[optimizer.__name__] = energy, taken
        print(f"  {optimizer.__name__:<12} {taken:>4} steps   formation energy {energy:.4f} eV")
    # The model is where the optimizer left it: nothing is left for the engine's own solver.
    result = qc.relax(model, fmax=2.0 * fmax)
    print(f"  qc.relax from there: {result.evaluations} evaluation, {result.reason}")

    # The atoms of a model come with constraints on its held boundary.
    for name, moving in (("every atom", atoms), ("the model", reps)):
        found.drift[name] = drift(moving, steps)
        print(f"dynamics of {name} over {2 * steps} fs: total energy kept to "
              f"{found.drift[name]:.1e} of the kinetic energy")  # fmt: skip

    if args.output is not None:
        args.output.mkdir(parents=True, exist_ok=True)
        atoms.write(args.output / "atoms.extxyz")
        model.all_atoms().write(args.output / "model.extxyz")
        print(f"the last atoms of both runs are in {args.output}")
    return found


if __name__ == "__main__":
    main()
