"""From ASE Atoms with a point defect to a relaxed quasicontinuum model, nothing else given.

Three supercells of copper as other programs hand them out: one lacks an atom; one has an atom too
many, as a dumbbell, and is turned in space; one is stretched by one percent and lacks two. The
crystal, its strain and rotation, the defect and all regions are found from the atoms.

    python examples/from_ase_atoms.py [--small] [--output DIR]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atom, Atoms
from ase.build import bulk

import qc


@dataclass(frozen=True)
class Finding:
    """What was found in one set of atoms, and what became of it."""

    defect: str
    atoms: int
    sites: float
    unknowns: int
    stretches: tuple[float, ...]
    energy: float
    evaluations: int
    converged: bool


def crystal_block(size: int) -> Atoms:
    """Return a cube of copper with ``size`` conventional cells along each edge."""
    return bulk("Cu", a=3.615, cubic=True) * (size, size, size)


def with_vacancy(size: int) -> Atoms:
    """Return a crystal that lacks one atom."""
    atoms = crystal_block(size)
    del atoms[len(atoms) // 2]
    return atoms


def with_dumbbell(size: int) -> Atoms:
    """Return a crystal turned in space, two atoms sharing one of its sites along [001]."""
    atoms = crystal_block(size)
    k = len(atoms) // 2
    x, y, z = atoms.positions[k]
    atoms.positions[k] = (x, y, z + 1.1)
    atoms.append(Atom("Cu", (x, y, z - 1.1)))
    atoms.rotate(37.0, (1, 2, 3), rotate_cell=True)
    return atoms


def with_divacancy(size: int) -> Atoms:
    """Return a crystal stretched along x that lacks two neighbouring atoms."""
    atoms = crystal_block(size)
    k = len(atoms) // 2
    distance = atoms.get_distances(k, range(len(atoms)), mic=True)
    distance[k] = np.inf
    del atoms[[k, int(distance.argmin())]]
    atoms.set_cell(atoms.cell[:] @ np.diag([1.01, 1.0, 1.0]), scale_atoms=True)
    return atoms


CASES = {"vacancy": with_vacancy, "dumbbell": with_dumbbell, "divacancy": with_divacancy}


def main(argv: Sequence[str] | None = None) -> dict[str, Finding]:
    """Find, embed and relax the defect of each case; print a table and return its rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="small models, in seconds")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write all atoms there (extxyz)")
    args = parser.parse_args(argv)
    potential = qc.potentials.zhou2004("Cu")
    # Regions have defaults; only the radius of the whole is a matter of taste.
    size, regions = 6, {"outer": 75.0}
    if args.small:
        size, regions = 4, {"core": 6.2, "blend": 5.2, "outer": 17.0}

    findings = {}
    for name, make in CASES.items():
        atoms = make(size)
        model = qc.QuasiContinuum.from_atoms(atoms, potential, **regions)
        result = qc.relax(model)
        stretches = np.linalg.svd(model.far_field.mean_deformation, compute_uv=False)
        findings[name] = Finding(
            model.found.summary,
            len(atoms),
            model.n_sites,
            model.n_unknowns,
            tuple(float(s) for s in stretches),
            result.defect_energy,
            result.evaluations,
            result.converged,
        )
        f = findings[name]
        print(f"{name}: {f.defect}, found in {f.atoms} atoms")
        print("  principal stretches " + " ".join(f"{s:.4f}" for s in f.stretches))
        print(f"  embedded in {f.sites:,.0f} sites with {f.unknowns:,} unknowns")
        print(f"  defect energy {f.energy:.4f} eV after {f.evaluations} evaluations")
        for warning in result.warnings:
            print(f"  {warning}")
        if args.output is not None:
            args.output.mkdir(parents=True, exist_ok=True)
            model.all_atoms(12.0).write(args.output / f"{name}.extxyz")
    if args.output is not None:
        print(f"relaxed atoms around each defect are in {args.output}")
    return findings


if __name__ == "__main__":
    main()
