"""What the recipes at finite temperature share: crystals in LAMMPS, averages and their errors.

Every crystal is a periodic cube. The potential is the package's own: the EAM as the table of
`qc.potentials.write_setfl`, Stillinger-Weber as a file with every digit, Lennard-Jones as the
table of `qc.potentials.write_pair_table`. `force_difference` says how far LAMMPS's forces are from
the package's on a disordered crystal, as a check that nothing was lost on the way.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from lammps_driver import BAR, new_lammps
from manybody import entries
from numpy.typing import NDArray
from reference import header, table
from scipy.optimize import brentq

from qc import potentials
from qc.atomistic.field import ForceField

Array = NDArray[np.float64]

#: Boltzmann's constant that LAMMPS uses in units metal, eV/K.
BOLTZMANN = 8.617343e-5

MOTIFS = {
    "fcc": np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "bcc": np.array([[0, 0, 0], [0.5, 0.5, 0.5]]),
    "diamond": np.array(
        [[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0], [1, 1, 1], [1, 3, 3], [3, 1, 3], [3, 3, 1]]
    )
    / 4,
}

#: The table from which LAMMPS takes Lennard-Jones: points, first distance, and points of the
#: spline over r^2 that ``pair_style table`` makes of it.
PAIR_TABLE = {"points": 6501, "first": 2.0, "spline": 60000}


@dataclass(frozen=True)
class Material:
    """A crystal and its potential.

    ``a`` (Angstrom) is a guess of the lattice constant at 0 K, ``expansion`` (1/K) one of the
    coefficient of linear expansion, ``cells`` the conventional cells along an edge of the block,
    ``melting`` (K) the published melting temperature of the element.
    """

    symbol: str
    structure: str
    constructor: str
    build: Callable[[], Any]
    a: float
    expansion: float
    cells: int
    melting: float

    @property
    def mass(self) -> float:
        """Return the atomic mass, u."""
        return float(atomic_masses[atomic_numbers[self.symbol]])

    def sites(self, cells: int) -> Array:
        """Return the sites of a cube of ``cells`` conventional cells, in lattice constants."""
        g = np.arange(cells)
        corners = np.stack(np.meshgrid(g, g, g, indexing="ij"), -1).reshape(-1, 1, 3)
        return (corners + MOTIFS[self.structure]).reshape(-1, 3)


ARGON = {"epsilon": 0.0104, "sigma": 3.405, "cutoff": 8.5}

MATERIALS = {
    "Cu": Material(
        "Cu", "fcc", "zhou2004('Cu')", lambda: potentials.zhou2004("Cu"), 3.615, 1.6e-5, 5, 1358.0
    ),
    "Al": Material(
        "Al", "fcc", "zhou2004('Al')", lambda: potentials.zhou2004("Al"), 4.05, 1.6e-5, 5, 933.0
    ),
    "Ni": Material(
        "Ni", "fcc", "zhou2004('Ni')", lambda: potentials.zhou2004("Ni"), 3.52, 1.2e-5, 5, 1728.0
    ),
    "Fe": Material(
        "Fe", "bcc", "zhou2004('Fe')", lambda: potentials.zhou2004("Fe"), 2.87, 1.1e-5, 6, 1811.0
    ),
    "Ar": Material(
        "Ar",
        "fcc",
        "LennardJones('Ar', " + ", ".join(f"{k}={v}" for k, v in ARGON.items()) + ")",
        lambda: potentials.LennardJones("Ar", **ARGON),
        5.27,
        6e-4,
        5,
        84.0,
    ),
    "Si": Material(
        "Si", "diamond", "stillinger1985('Si')", potentials.stillinger1985, 5.431, 4e-6, 4, 1687.0
    ),
}


def pair_commands(potential: Any, folder: str | Path) -> list[str]:
    """Write the file of the potential into ``folder``; return the lines that make LAMMPS read it.

    The potential has one species.
    """
    (symbol,) = potential.species
    if isinstance(potential, potentials.StillingerWeber):
        path = Path(folder) / f"{symbol}.sw"
        path.write_text("\n".join(entries(potential)) + "\n")
        return ["pair_style sw", f"pair_coeff * * {path} {symbol}"]
    if isinstance(potential, potentials.EAM):
        return ["pair_style eam/alloy", f"pair_coeff * * {table(potential, folder)} {symbol}"]
    path = Path(folder) / f"{symbol}.table"
    potentials.write_pair_table(
        potential, path, points=PAIR_TABLE["points"], first=PAIR_TABLE["first"]
    )
    return [
        f"pair_style table spline {PAIR_TABLE['spline']}",
        f"pair_coeff * * {path} {symbol}_{symbol}",
    ]


class Crystal:
    """A periodic cube of one species in LAMMPS.

    Parameters
    ----------
    material : Material
    sites : (n, 3) float
        In lattice constants, between 0 and ``cells``.
    a : float, Angstrom
    cells : int
        Lattice constants along an edge.
    pair : lines of `pair_commands`
    skin : float, Angstrom
        Of the neighbour list.
    """

    def __init__(
        self,
        material: Material,
        sites: Array,
        a: float,
        cells: int,
        pair: Sequence[str],
        skin: float = 1.0,
    ) -> None:
        self.n, self.edge = len(sites), cells * a
        self.reference = a * sites
        self.lmp = new_lammps()
        self.lmp.commands_list(
            [
                "units metal",
                "atom_style atomic",
                "atom_modify map array",
                "boundary p p p",
                f"region box block {' '.join([f'0 {self.edge:.17g}'] * 3)} units box",
                "create_box 1 box",
            ]
        )
        ids = list(range(1, self.n + 1))
        made = self.lmp.create_atoms(self.n, ids, [1] * self.n, self.reference.ravel().tolist())
        if made != self.n:
            raise RuntimeError(f"LAMMPS took {made} of {self.n} atoms")
        self.lmp.commands_list(
            [
                f"mass 1 {material.mass!r}",
                *pair,
                f"neighbor {skin} bin",
                "neigh_modify every 1 delay 0 check yes",
                "thermo_modify norm no lost error",
                "thermo 100000000",
            ]
        )

    def __enter__(self) -> Crystal:
        """Return the crystal itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the LAMMPS instance."""
        self.lmp.close()

    def heat(self, temperature: float, seed: int) -> None:
        """Draw velocities of twice the temperature; half of it goes into the potential energy."""
        self.lmp.command(
            f"velocity all create {2 * temperature} {seed} mom yes rot no dist gaussian"
        )

    def run(self, steps: int, dt: float) -> None:
        """Run ``steps`` steps of ``dt`` femtoseconds with the fixes there are."""
        self.lmp.commands_list([f"timestep {1e-3 * dt:.17g}", f"run {steps} post no"])

    def record(self, steps: int, dt: float, every: int, quantities: Sequence[str]) -> Array:
        """Run and return the values of two or more thermo keywords, one row per sample."""
        names = []
        for k, quantity in enumerate(quantities):
            self.lmp.command(f"variable sample{k} equal {quantity}")
            names.append(f"v_sample{k}")
        self.lmp.command(f"fix samples all vector {every} {' '.join(names)}")
        self.run(steps, dt)
        rows, columns = steps // every + 1, len(names)
        found = [
            [self.lmp.extract_fix("samples", 0, 2, i, j) for j in range(columns)]
            for i in range(rows)
        ]
        self.lmp.command("unfix samples")
        return np.array(found)[1:]

    def by_id(self, name: str) -> Array:
        """Return a vector of each atom, (n, 3), in the order of the sites."""
        out = np.empty((self.n, 3))
        order = self.lmp.numpy.extract_atom("id")[: self.n].astype(int) - 1
        out[order] = self.lmp.numpy.extract_atom(name)[: self.n]
        return out

    def displacements(self) -> Array:
        """Return the displacements from the sites, (n, 3) Angstrom, to the nearest image."""
        d = self.by_id("x") - self.reference
        return d - self.edge * np.round(d / self.edge)

    def forces_at(self, displacements: Array) -> Array:
        """Return the forces (n, 3) with the atoms displaced from their sites."""
        x = (self.reference + displacements) % self.edge
        order = self.lmp.numpy.extract_atom("id")[: self.n].astype(int) - 1
        self.lmp.numpy.extract_atom("x")[: self.n] = x[order]
        self.lmp.command("run 0 post no")
        return self.by_id("f")

    def energy_pressure(self) -> tuple[float, float]:
        """Return energy per atom, eV, and pressure without the atoms' motion, eV/Angstrom^3."""
        self.lmp.commands_list(
            ["compute still all pressure NULL virial", "thermo_style custom pe c_still", "run 0"]
        )
        energy = self.lmp.get_thermo("pe") / self.n
        pressure = self.lmp.extract_compute("still", 0, 0) / BAR
        self.lmp.commands_list(["thermo_style one", "uncompute still"])
        return float(energy), float(pressure)


def at_rest(material: Material, pair: Sequence[str]) -> tuple[float, float]:
    """Return lattice constant (Angstrom) and energy per atom (eV) of the crystal at 0 K."""
    sites = material.sites(4)

    def state(a: float) -> tuple[float, float]:
        with Crystal(material, sites, a, 4, pair) as crystal:
            return crystal.energy_pressure()

    a = float(brentq(lambda a: state(a)[1], 0.98 * material.a, 1.02 * material.a, xtol=1e-12))
    return a, state(a)[0]


def force_difference(material: Material, potential: Any, pair: Sequence[str]) -> dict[str, float]:
    """Return the largest difference of a force from the package's, and the largest force."""
    sites, a = material.sites(4), 1.01 * material.a
    with Crystal(material, sites, a, 4, pair) as crystal:
        noise = np.random.default_rng(7).normal(0, 0.02 * a, sites.shape)
        found = crystal.forces_at(noise)
    cell = 4 * a * np.eye(3)
    field = ForceField(potential, np.zeros(len(sites), int), cell=cell, pbc=True)
    expected = field.energy_forces(a * sites + noise)[1]
    return {
        "largest_difference": float(np.abs(found - expected).max()),
        "largest_force": float(np.abs(expected).max()),
    }


def mean_error(samples: Array, blocks: int = 20) -> tuple[float, float]:
    """Return the mean of a series and its standard error from the means of equal blocks."""
    size = len(samples) // blocks
    means = samples[len(samples) - size * blocks :].reshape(blocks, size).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(blocks))


def options(description: str, elements: Sequence[str]) -> argparse.Namespace:
    """Parse ``--out``, ``--quick`` and ``--elements``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path("tests/reference"))
    parser.add_argument("--elements", nargs="*", choices=elements, default=list(elements))
    parser.add_argument(
        "--quick", action="store_true", help="a fiftieth of the steps, into quick_*.json"
    )
    return parser.parse_args()


def target(out: Path, name: str, quick: bool) -> Path:
    """Return where to write; numbers of a quick run never take the place of good ones."""
    return out / (f"quick_{name}" if quick else name)


def opening(what: str, recipe: str, path: Path, key: str) -> dict[str, Any]:
    """Return the header of a file, with the entries under ``key`` that it already has."""
    record = header(what, recipe, None)
    record["pair_style"] = (
        "eam/alloy on the table that qc.potentials.write_setfl makes (metals); table spline "
        f"{PAIR_TABLE['spline']} on that of write_pair_table with {PAIR_TABLE['points']} points "
        f"from {PAIR_TABLE['first']} Angstrom (Ar); sw on a file with every digit (Si)"
    )
    record["units"] |= {"time": "fs unless named ps", "temperature": "K"}
    record[key] = json.loads(path.read_text())[key] if path.exists() else {}
    return record


def material_record(material: Material, potential: Any, pair: Sequence[str]) -> dict[str, Any]:
    """Return what identifies crystal and potential, and how well LAMMPS has it."""
    return {
        "constructor": material.constructor,
        "fingerprint": potential.fingerprint(),
        "cutoff": potential.cutoff,
        "structure": material.structure,
        "mass": material.mass,
        "forces_against_package": force_difference(material, potential, pair),
    }
