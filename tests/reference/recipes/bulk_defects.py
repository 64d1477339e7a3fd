"""Surfaces, gamma lines, phonons and vacancies of perfect crystals, from LAMMPS.

Writes ``bulk_defects.json``. Lattice constants are found anew from LAMMPS's stress; surfaces are
ASE's slabs; faults sit in the middle of a free-standing slab whose upper half is moved as a whole,
atoms relaxing along the normal only; phonons come from differences of forces in a supercell.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, build, units
from ase.data import atomic_masses, atomic_numbers
from lammps_driver import Block
from manybody import entries
from numpy.typing import NDArray
from reference import arguments, header, potential_record, save, table, total, zhou
from scipy.optimize import fsolve, minimize_scalar

from qc import potentials

Array = NDArray[np.float64]

#: Structure, and a guess of the lattice constants.
CRYSTALS = {
    "Cu": ("fcc", 3.615, 0.0),
    "Al": ("fcc", 4.05, 0.0),
    "Ni": ("fcc", 3.52, 0.0),
    "Fe": ("bcc", 2.866, 0.0),
    "Mg": ("hcp", 3.20, 5.21),
    "Ti": ("hcp", 2.94, 4.77),
    "Si": ("diamond", 5.431, 0.0),
}

#: Largest force component left by a relaxation, eV/Angstrom.
TOLERANCE = 1e-7

#: Thickness of slabs, Angstrom; a fault lies in the middle of one of twice as much.
THICKNESS = 30.0


class Cells:
    """LAMMPS on small cells of one element under one potential."""

    def __init__(self, symbol: str, folder: str) -> None:
        self.symbol = symbol
        self.many_body = symbol == "Si"
        if self.many_body:
            self.potential = potentials.stillinger1985()
            self.file = Path(folder) / "Si.sw"
            self.file.write_text("\n".join(entries(self.potential)) + "\n")
        else:
            self.potential = zhou(symbol)
            self.file = table(self.potential, folder)
        self.stand_in = table(zhou("Cu"), folder)

    def block(self, atoms: Atoms) -> Block:
        """Return the atoms in LAMMPS, not yet evaluated."""
        x, cell = atoms.positions, np.array(atoms.cell[:])
        periodic = tuple(bool(p) for p in atoms.pbc)
        if not self.many_body:
            return Block(x, self.symbol, self.file, cell=cell, periodic=periodic)
        made = Block(x, "Cu", self.stand_in, cell=cell, periodic=periodic)
        made.lmp.commands_list(["pair_style sw", f"pair_coeff * * {self.file} Si Si"])
        return made

    def state(self, atoms: Atoms) -> tuple[float, Array]:
        """Return energy per atom and stress of a periodic cell."""
        with self.block(atoms) as block:
            block.move_to(atoms.positions)
            return float(block.energies().mean()), block.stress()

    def relaxed(self, atoms: Atoms, energy: float, normal: bool = False) -> tuple[float, float]:
        """Return energy above the perfect crystal as given and relaxed, eV."""
        with self.block(atoms) as block:
            if normal:
                block.lmp.command("fix plane all setforce 0 0 NULL")
            block.move_to(atoms.positions)
            raw = total(block.energies(), energy)
            reached = block.relax(TOLERANCE, ("cg", "polish", "fire")).max_force
            if reached > 10 * TOLERANCE:
                raise RuntimeError(f"{self.symbol}: a force of {reached} eV/Angstrom is left")
            return raw, total(block.energies(), energy)


def unit(cells: Cells, structure: str, a: float, c: float) -> Atoms:
    """Return the primitive cell."""
    if structure == "hcp":
        return build.bulk(cells.symbol, "hcp", a=a, c=c)
    return build.bulk(cells.symbol, structure, a=a)


def lattice(cells: Cells, structure: str, a: float, c: float) -> tuple[float, float]:
    """Return the lattice constants without stress."""

    def stress(scales: Array) -> Array:
        x = unit(cells, structure, a * scales[0], c * scales[-1])
        s = cells.state(x * (2, 2, 2))[1]
        return np.array([s[0, 0] + s[1, 1], s[2, 2]])[: len(scales)]

    found = fsolve(stress, np.ones(2 if structure == "hcp" else 1), xtol=1e-11)
    if np.abs(stress(found)).max() > 1e-10:
        raise RuntimeError(f"{cells.symbol}: stress {stress(found)} is left")
    return float(a * found[0]), float(c * found[-1])


def area(atoms: Atoms) -> float:
    """Return the area of a slab."""
    return float(np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1])))


def layers(make: Callable[[int], Atoms], thickness: float) -> Atoms:
    """Return a slab of at least a thickness, from a function of the number of layers."""
    n = 6
    while np.ptp(make(n).positions[:, 2]) < thickness:
        n += 2
    return make(n)


def slab_of(make: Callable[..., Atoms], symbol: str, a: float, n: int) -> Atoms:
    """Return one of ASE's slabs of a cubic crystal, n layers thick."""
    return make(symbol, (1, 1, n), a, vacuum=10.0)


def wide_cut(slab: Atoms) -> Atoms:
    """Return a slab without its outermost planes: they face the vacuum across a narrow gap."""
    z = slab.positions[:, 2]
    return slab[(z > z.min() + 1e-3) & (z < z.max() - 1e-3)]


def surfaces(cells: Cells, structure: str, a: float, c: float, energy: float) -> dict[str, Any]:
    """Return surface energies of ASE's slabs, as cut and relaxed, eV/Angstrom^2."""
    s = cells.symbol
    size = {"vacuum": 10.0}
    makers: dict[str, Callable[[int], Atoms]]
    if structure == "hcp":
        makers = {
            "basal (0001)": lambda n: build.hcp0001(s, (1, 1, n), a, c, **size),
            "prismatic (10-10)": lambda n: wide_cut(build.hcp10m10(s, (1, 2, n), a, c, **size)),
        }
    elif structure == "diamond":
        makers = {
            "(100)": lambda n: build.diamond100(s, (1, 1, n), a, **size),
            "(111)": lambda n: wide_cut(build.diamond111(s, (1, 1, n), a, **size)),
        }
    else:
        makers = {
            f"({plane})": partial(slab_of, getattr(build, structure + plane), s, a)
            for plane in ("100", "110", "111")
        }
    found = {}
    for name, make in makers.items():
        slab = layers(make, THICKNESS)
        slab.pbc = (True, True, False)
        raw, relaxed = cells.relaxed(slab, energy)
        both = 2 * area(slab)
        found[name] = {"layers": len(slab), "unrelaxed": raw / both, "relaxed": relaxed / both}
    return found


def lines(cells: Cells, structure: str, a: float, c: float) -> dict[str, tuple[Atoms, Array, bool]]:
    """Return slabs with the displacement of each line and whether its end is a stable fault."""
    s = cells.symbol
    thick = 2 * THICKNESS

    def surface(plane: tuple[int, int, int]) -> Callable[[int], Atoms]:
        crystal = unit(cells, structure, a, c)
        if structure != "hcp":
            crystal = build.bulk(s, structure, a=a, cubic=True)
        return lambda n: build.surface(crystal, plane, n, vacuum=10.0)

    if structure == "fcc":
        slab = layers(lambda n: build.fcc111(s, (1, 1, n), a, vacuum=10.0), thick)
        first, second = slab.cell[0], slab.cell[1]
        return {
            "{111}<112>": (slab, (first + second) / 3, True),
            "{111}<110>": (slab, first, False),
        }
    if structure == "bcc":
        slab = layers(lambda n: build.bcc110(s, (1, 1, n), a, vacuum=10.0), thick)
        other = layers(surface((1, 1, 2)), thick)
        return {
            "{110}<111>": (slab, shortest(slab, a * np.sqrt(3) / 2), False),
            "{112}<111>": (other, shortest(other, a * np.sqrt(3) / 2), False),
        }
    if structure == "hcp":
        slab = layers(lambda n: build.hcp0001(s, (1, 1, n), a, c, vacuum=10.0), thick)
        first, second = slab.cell[0], slab.cell[1]
        return {
            "basal <10-10>": (slab, (first + second) / 3, True),
            "basal <11-20>": (slab, first, False),
        }
    slab = layers(lambda n: build.diamond111(s, (1, 1, n), a, vacuum=10.0), thick)
    first, second = slab.cell[0], slab.cell[1]
    return {
        "glide {111}<112>": (slab, (first + second) / 3, True),
        "shuffle {111}<110>": (slab, first, False),
    }


def shortest(slab: Atoms, length: float) -> Array:
    """Return a lattice vector of a given length in the plane of a slab of a cubic crystal."""
    x = slab.positions - slab.positions[0]
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            for v in x + i * slab.cell[0] + j * slab.cell[1]:
                if abs(v[2]) < 1e-6 and abs(np.linalg.norm(v) - length) < 1e-6:
                    return v
    for i in (-2, -1, 0, 1, 2):
        for j in (-2, -1, 0, 1, 2):
            v = i * slab.cell[0] + j * slab.cell[1]
            if abs(np.linalg.norm(v) - length) < 1e-6:
                return np.array(v)
    raise RuntimeError("no such lattice vector")


def gamma_lines(cells: Cells, structure: str, a: float, c: float, energy: float) -> dict[str, Any]:
    """Return points, maxima and ends of gamma lines, eV/Angstrom^2."""
    found = {}
    for name, (slab, vector, stable) in lines(cells, structure, a, c).items():
        slab.pbc = (True, True, False)
        z = slab.positions[:, 2]
        heights = np.unique(np.round(z, 5))
        gaps = np.diff(heights)
        middle = len(heights) // 2
        # The gap nearest to the middle, of the kind that the line lives in.
        kind = gaps.min() if name.startswith("glide") else gaps.max()
        fits = np.flatnonzero(np.abs(gaps - kind) < 1e-4)
        k = int(fits[np.abs(fits - middle).argmin()])
        upper = z > 0.5 * (heights[k] + heights[k + 1])

        def point(t: float, slab=slab, vector=vector, upper=upper) -> tuple[float, float]:
            moved = slab.copy()
            moved.positions[upper] += t * vector
            raw, relaxed = cells.relaxed(moved, energy, normal=True)
            return raw / area(slab), relaxed / area(slab)

        zero = point(0.0)
        # The soft sense of the line is meant.
        if point(-1.0)[0] < point(1.0)[0] - 1e-9 or (
            abs(point(-1.0)[0] - point(1.0)[0]) < 1e-9 and point(-1 / 3)[1] < point(1 / 3)[1] - 1e-9
        ):
            vector *= -1

        def above(t: float, which: int, point=point, zero=zero) -> float:
            return point(t)[which] - zero[which]

        fractions = [0.2, 0.4, 0.6, 0.8]
        record: dict[str, Any] = {
            "layers": len(slab),
            "fractions": fractions,
            "unrelaxed": [above(t, 0) for t in fractions],
            "relaxed": [above(t, 1) for t in fractions],
        }
        for which, key in ((0, "unrelaxed"), (1, "relaxed")):
            best = minimize_scalar(
                lambda t, which=which: -above(t, which),
                bounds=(0.3, 0.7),
                method="bounded",
                options={"xatol": 1e-4},
            )
            record[f"unstable_{key}"] = -float(best.fun)
            record[f"unstable_{key}_at"] = float(best.x)
            if stable:
                record[f"stable_{key}"] = above(1.0, which)
        found[name] = record
    return found


#: Repeats of the primitive cell, and wave vectors that fit them, in its reciprocal vectors.
WAVES = {
    "fcc": ((4, 4, 4), {"X": (0.5, 0.5, 0), "L": (0.5, 0.5, 0.5), "W": (0.5, 0.75, 0.25)}),
    "bcc": ((4, 4, 4), {"H": (0.5, -0.5, 0.5), "N": (0, 0, 0.5), "P": (0.25, 0.25, 0.25)}),
    "hcp": ((6, 6, 4), {"Gamma": (0, 0, 0), "A": (0, 0, 0.5), "M": (0.5, 0, 0),
                        "K": (1 / 3, 1 / 3, 0)}),
    "diamond": ((4, 4, 4), {"Gamma": (0, 0, 0), "X": (0.5, 0.5, 0), "L": (0.5, 0.5, 0.5),
                            "W": (0.5, 0.75, 0.25)}),
}  # fmt: skip


def phonons(cells: Cells, structure: str, a: float, c: float, step: float = 0.01) -> dict[str, Any]:
    """Return frequencies, THz, from fourth-order differences of forces."""
    repeats, waves = WAVES[structure]
    primitive = unit(cells, structure, a, c)
    if structure == "hcp":
        # The zone point K is at (1/3, 1/3, 0) of reciprocal vectors 60 degrees apart.
        primitive = build.make_supercell(primitive, [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    atoms = primitive * repeats
    n = len(primitive)
    rows = np.empty((n, 3, len(atoms), 3))
    with cells.block(atoms) as block:
        for s in range(n):
            for d in range(3):
                forces = []
                for k in (-2, -1, 1, 2):
                    x = atoms.positions.copy()
                    x[s, d] += k * step
                    block.move_to(x)
                    block.evaluate()
                    forces.append(block.forces())
                slope = (forces[0] - 8 * forces[1] + 8 * forces[2] - forces[3]) / (12 * step)
                rows[s, d] = -slope
    mass = atomic_masses[atomic_numbers[cells.symbol]]
    thz = units.second * 1e-12 / (2 * np.pi)
    reciprocal = 2 * np.pi * np.linalg.inv(primitive.cell[:]).T
    found = {}
    for name, k in waves.items():
        q = np.array(k) @ reciprocal
        matrix = np.zeros((3 * n, 3 * n), complex)
        for s in range(n):
            phase = np.exp(1j * (atoms.positions - atoms.positions[s]) @ q)
            for t in range(n):
                same = np.arange(len(atoms)) % n == t
                block33 = (rows[s][:, same] * phase[same][None, :, None]).sum(axis=1)
                matrix[3 * s : 3 * s + 3, 3 * t : 3 * t + 3] = block33
        squares = np.linalg.eigvalsh(0.5 * (matrix + matrix.conj().T) / mass)
        found[name] = (thz * np.sign(squares) * np.sqrt(np.abs(squares))).tolist()
    return found


def vacancy(cells: Cells, structure: str, a: float, c: float, energy: float) -> dict[str, Any]:
    """Return the formation energy in a periodic supercell of fixed volume, eV."""
    if structure == "hcp":
        cell = build.bulk(cells.symbol, "hcp", a=a, c=c, orthorhombic=True) * (8, 5, 5)
    else:
        cell = build.bulk(cells.symbol, structure, a=a, cubic=True) * 5
    del cell[0]
    if structure == "diamond":
        # In the symmetric state the neighbours of the vacancy do not feel each other.
        rng = np.random.default_rng(0)
        apart = cell.positions - np.round(cell.positions @ np.linalg.inv(cell.cell)) @ cell.cell
        near = np.linalg.norm(apart, axis=1) < 0.45 * a
        raw = cells.relaxed(cell, energy)[0]
        cell.positions[near] -= apart[near] / 6
        cell.positions += 0.01 * rng.normal(size=cell.positions.shape)
        return {"sites": len(cell) + 1, "unrelaxed": raw, "relaxed": cells.relaxed(cell, energy)[1]}
    raw, relaxed = cells.relaxed(cell, energy)
    return {"sites": len(cell) + 1, "unrelaxed": raw, "relaxed": relaxed}


def element(symbol: str, folder: str) -> dict[str, Any]:
    """Return everything about one element."""
    cells = Cells(symbol, folder)
    structure, a, c = CRYSTALS[symbol]
    a, c = lattice(cells, structure, a, c)
    energy = cells.state(unit(cells, structure, a, c) * (2, 2, 2))[0]
    record = (
        {"constructor": "stillinger1985()", "fingerprint": cells.potential.fingerprint()}
        if cells.many_body
        else potential_record(cells.potential, cells.file)
    )
    return {
        "potential": record,
        "structure": structure,
        "a": a,
        "c": c if structure == "hcp" else None,
        "cohesive_energy": energy,
        "surfaces": surfaces(cells, structure, a, c, energy),
        "gamma_lines": gamma_lines(cells, structure, a, c, energy),
        "phonons": phonons(cells, structure, a, c),
        "vacancy": vacancy(cells, structure, a, c, energy),
    }


def main() -> None:
    """Write bulk_defects.json."""
    options = arguments("Surfaces, faults, phonons, vacancies", elements=list(CRYSTALS))
    record = header("surfaces, gamma lines, phonons and vacancies", "bulk_defects.py", None)
    record["pair_style"] = "eam/alloy on the table of write_setfl; Si: sw"
    record["units"] |= {"surfaces, gamma_lines": "eV/Angstrom^2", "phonons": "THz"}
    record["notes"] = [
        f"relaxed to forces below {TOLERANCE} eV/Angstrom; gamma lines along the normal only",
        "unstable: maximum of the line; stable: its end",
        "phonons: differences of forces in a supercell, standard atomic masses as ASE lists them",
    ]
    record["elements"] = {}
    with tempfile.TemporaryDirectory() as folder:
        for symbol in options.elements:
            record["elements"][symbol] = element(symbol, folder)
    save(options.out / "bulk_defects.json", record)


if __name__ == "__main__":
    main()
