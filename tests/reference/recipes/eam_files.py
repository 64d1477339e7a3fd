"""Crystals of the EAM files that come with LAMMPS: finite strains, phonons, an atom too many.

Writes ``eam_files.json``, numbers only: the files stay where they are. Tables of few digits make
LAMMPS's own stresses rough, so strains of +-1e-3 are applied at 25 lattice constants within 3e-3 of
the one without stress, and a cubic is put through what they give; how far they scatter about it is
kept. Atoms of a basis move with the strain. Cu_mishin1 is not among them: its embedding function
has a joint at the density of the crystal, where a cubic does not fit.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, build
from bulk_defects import lattice, phonons, unit
from lammps_driver import GPA, Block
from numpy.typing import NDArray
from reference import arguments, header, save, total

Array = NDArray[np.float64]

FOLDER = Path("/usr/share/lammps/potentials")

#: File, element, structure, and where to look for the lattice constants, Angstrom.
CRYSTALS = (
    ("Al_mm.eam.fs", "Al", "fcc", 4.045, 0.0),
    ("AlCu.eam.alloy", "Al", "fcc", 4.05, 0.0),
    ("AlCu.eam.alloy", "Cu", "fcc", 3.615, 0.0),
    ("AlFe_mm.eam.fs", "Al", "fcc", 4.033, 0.0),
    ("CuZr_mm.eam.fs", "Cu", "fcc", 3.639, 0.0),
    ("Fe_mm.eam.fs", "Fe", "bcc", 2.855, 0.0),
    ("NiAlH_jea.eam.alloy", "Ni", "fcc", 3.52, 0.0),
    ("VFe_mm.eam.fs", "V", "bcc", 3.03, 0.0),
    ("Mg_mm.eam.fs", "Mg", "hcp", 3.184, 5.184),
    ("Zr_mm.eam.fs", "Zr", "hcp", 3.234, 5.168),
)

STRAIN, RANGE, SAMPLES = 1e-3, 3e-3, 25

#: Octahedral sites in fractions of a cell along the axes, and how often that cell repeats.
OCTAHEDRAL = {
    "fcc": ((0.5, 0.5, 0.5), (3, 3, 3)),
    "bcc": ((0.5, 0.5, 0.0), (4, 4, 4)),
    "hcp": ((0.5, 5 / 6, 0.25), (4, 3, 3)),
}


class Cells:
    """LAMMPS on small cells of one element of a file."""

    def __init__(self, symbol: str, path: Path) -> None:
        self.symbol, self.path = symbol, path
        self.style = "eam/fs" if path.suffix == ".fs" else "eam/alloy"

    def block(self, atoms: Atoms) -> Block:
        """Return the atoms in LAMMPS, not yet evaluated."""
        x, cell = atoms.positions, np.array(atoms.cell[:])
        cube = (True, True, True)
        return Block(x, self.symbol, self.path, cell=cell, periodic=cube, style=self.style)

    def state(self, atoms: Atoms) -> tuple[float, Array]:
        """Return energy per atom and stress of a periodic cell."""
        with self.block(atoms) as block:
            block.move_to(atoms.positions)
            return float(block.energies().mean()), block.stress()


def moduli(cells: Cells, crystal: Atoms) -> Array:
    """Return C11, C12, C44, C33, C13 from differences of the energy's slope, eV/Angstrom^3."""

    def slope(strain: Array) -> Array:
        f = np.eye(3) + strain
        moved = crystal.copy()
        moved.set_cell(crystal.cell[:] @ f.T, scale_atoms=True)
        first = np.linalg.det(f) * cells.state(moved)[1] @ np.linalg.inv(f).T
        return 0.5 * (first + first.T)

    rows = []
    for k, m in ((0, 0), (1, 2), (2, 2)):
        e = np.zeros((3, 3))
        e[k, m] += STRAIN / 2
        e[m, k] += STRAIN / 2
        rows.append((slope(e) - slope(-e)) / (2 * STRAIN))
    xx, yz, zz = rows
    return np.array([xx[0, 0], xx[1, 1], yz[1, 2], zz[2, 2], zz[0, 0]])


def elastic(cells: Cells, crystal: Atoms) -> tuple[Array, Array]:
    """Return the constants without their scatter about a cubic, and the scatter."""
    x = np.linspace(-RANGE, RANGE, SAMPLES)
    rows = []
    for scale in 1.0 + x:
        larger = crystal.copy()
        larger.set_cell(scale * crystal.cell[:], scale_atoms=True)
        rows.append(moduli(cells, larger))
    design = np.vander(x / RANGE, 4)
    fit = np.linalg.lstsq(design, np.array(rows), rcond=None)[0]
    return fit[-1], (np.array(rows) - design @ fit).std(axis=0)


def box(symbol: str, structure: str, a: float, c: float) -> Atoms:
    """Return a cell with edges along the axes."""
    if structure == "hcp":
        return build.bulk(symbol, "hcp", a=a, c=c, orthorhombic=True)
    return build.bulk(symbol, structure, a=a, cubic=True)


def interstitial(cells: Cells, structure: str, a: float, c: float, energy: float) -> Any:
    """Return energy and largest force of one atom too many at an octahedral site, unrelaxed."""
    site, repeats = OCTAHEDRAL[structure]
    cell = box(cells.symbol, structure, a, c)
    atoms = cell * repeats
    atoms += Atoms(cells.symbol, [np.array(site) @ cell.cell[:]])
    atoms.wrap()
    nearest = atoms.get_distances(len(atoms) - 1, range(len(atoms) - 1), mic=True).min()
    with cells.block(atoms) as block:
        block.move_to(atoms.positions)
        excess = total(block.energies(), energy)
        force = float(np.linalg.norm(block.forces(), axis=1).max())
    return {"distance": float(nearest), "energy": excess, "largest_force": force}


def crystal_of(path: Path, symbol: str, structure: str, a: float, c: float) -> dict[str, Any]:
    """Return everything about one crystal."""
    cells = Cells(symbol, path)
    a, c = lattice(cells, structure, a, c)
    energy = cells.state(unit(cells, structure, a, c) * (2, 2, 2))[0]
    constants, scatter = elastic(cells, box(symbol, structure, a, c))
    names = ("C11", "C12", "C44", "C33", "C13")
    return {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "element": symbol,
        "structure": structure,
        "a": a,
        "c": c if structure == "hcp" else None,
        "energy": energy,
        "elastic_GPa": dict(zip(names, (GPA * constants).round(4).tolist(), strict=True)),
        "scatter_GPa": dict(zip(names, (GPA * scatter).round(4).tolist(), strict=True)),
        "phonons": phonons(cells, structure, a, c),
        "octahedral": interstitial(cells, structure, a, c, energy),
    }


def main() -> None:
    """Write eam_files.json."""
    options = arguments("Crystals of EAM files of LAMMPS")
    record = header("crystals of EAM files that come with LAMMPS", "eam_files.py", None)
    record["pair_style"] = f"eam/alloy, eam/fs on files in {FOLDER} (lammps-data of Debian)"
    record["units"] = record["units"] | {"phonons": "THz", "elastic": "GPa"}
    record["notes"] = [
        f"elastic: stresses at strains of +-{STRAIN:g}, atoms moving with the strain, at {SAMPLES} "
        f"lattice constants within {RANGE:g}; the value of a cubic through them, and their scatter",
        "phonons: fourth-order differences of forces at 0.01 and 0.02 Angstrom in a supercell",
        "octahedral: one atom too many in a box of 3 x 3 x 3 (fcc), 4 x 4 x 4 (bcc), 4 x 3 x 3 "
        "(hcp) cells along the axes, unrelaxed; energy above that of the crystal",
    ]
    record["crystals"] = []
    for name, *crystal in CRYSTALS:
        record["crystals"].append(crystal_of(FOLDER / name, *crystal))
    save(options.out / "eam_files.json", record)


if __name__ == "__main__":
    main()
