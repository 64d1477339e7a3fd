"""The coupled models that the conservation suite runs: three potentials, columns and 3D."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import Crystal, diamond, fcc
from qc.dynamics import ModelSystem
from qc.materials import equilibrium_crystal
from qc.potentials import LennardJones, Potential, stillinger1985, zhou2004

POTENTIALS = ("pair", "eam", "sw")
MODES = ("columns", "3d")

#: Kelvin; argon melts at 84.
TEMPERATURE = {"pair": 30.0, "eam": 300.0, "sw": 300.0}


@lru_cache
def material(name: str) -> tuple[Crystal, Potential]:
    """Return a crystal at rest and its potential."""
    if name == "pair":
        # Smooth at the cutoff, or no integrator can conserve anything.
        potential: Potential = LennardJones("Ar", 0.0104, 3.4, cutoff=6.0)
        return equilibrium_crystal(fcc("Ar", 5.27), potential), potential
    if name == "eam":
        potential = zhou2004("Cu")
        return equilibrium_crystal(fcc("Cu", 3.61), potential), potential
    potential = stillinger1985("Si")
    return equilibrium_crystal(diamond("Si", 5.43), potential), potential


def build(name: str, mode: str, scheme: str = "bgfc", outer: float = 0.0) -> QuasiContinuum:
    """Return a model with atoms in the middle, in 3D around a vacancy, and a continuum at the rim.

    A row of vacancies, which is what one is in a crystal of columns, would hop within 1e5 steps.

    Parameters
    ----------
    name, mode : str
        One of `POTENTIALS`, of `MODES`.
    scheme : str
    outer : float
        Radius in lattice constants; small by default.
    """
    crystal, potential = material(name)
    a = crystal.a
    core = max(1.02 * potential.cutoff, 1.5 * a)
    if mode == "columns":
        crystal = (
            fcc(crystal.symbols[0], a, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0])
            if name != "sw"
            else diamond("Si", a, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0])
        ).as_columns()
    radius = outer or (7.0 if mode == "columns" else {"pair": 4.0, "eam": 4.3, "sw": 3.6}[name])
    return QuasiContinuum(
        crystal,
        potential,
        scheme=scheme,
        core=core,
        blend=max(1.2 * a, 2.0 * crystal.nearest_neighbour),
        outer=radius * a,
        defects=PointDefects(vacant=[(0, 0, 0)] if mode == "3d" else []),
    )


class Planted(ModelSystem):
    """A model whose forces on its atoms are turned by one percent about z.

    Forces one percent too large would not do: they are those of a lighter mass, and conserve an
    energy of their own.
    """

    def energy_forces(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Energy, and forces that do not belong to it."""
        energy, forces = super().energy_forces(x)
        atoms = self.model.layout.beta_nodes < 0.5
        x, y = forces[atoms, 0].copy(), forces[atoms, 1].copy()
        forces[atoms, 0] -= 0.01 * y
        forces[atoms, 1] += 0.01 * x
        return energy, forces


def slope(times: np.ndarray, values: np.ndarray, blocks: int = 10) -> tuple[float, float]:
    """Return the least-squares slope of a series and its standard error, from blocks' means."""
    n = len(values) // blocks * blocks
    t = times[:n].reshape(blocks, -1).mean(axis=1)
    y = values[:n].reshape(blocks, -1).mean(axis=1)
    design = np.stack([np.ones(blocks), t - t.mean()], axis=1)
    fit, *_ = np.linalg.lstsq(design, y, rcond=None)
    spread = y - design @ fit
    error = np.sqrt(spread @ spread / (blocks - 2) / ((t - t.mean()) ** 2).sum())
    return float(fit[1]), float(error)


