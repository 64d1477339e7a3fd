"""Crystals at rest: lattice constants of least energy, and cells without stress."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from qc.crystal import Crystal
from qc.errors import CrystalError
from qc.materials.cauchy_born import CauchyBorn
from qc.potentials import Potential

Array = NDArray[np.float64]

#: eV/Angstrom^3; a cell with smaller stresses is at rest.
STRESS = 1e-11


def equilibrium_lattice_constant(crystal: Crystal, potential: Potential) -> float:
    """Lattice constant of least energy for a crystal's structure, Angstrom, to round-off.

    Parameters
    ----------
    crystal : Crystal
        Structure and orientation; its own lattice constant is the starting point.
    potential : Potential
    """
    rule = CauchyBorn(crystal, potential)
    d = crystal.dim_lattice

    def pressure(scale: float) -> float:
        f = np.eye(3)
        f[:d, :d] *= scale
        return float(np.trace(rule.evaluate(f[None])[1][0][:d, :d]))

    grid = np.linspace(0.8, 1.25, 46)
    values = [pressure(s) for s in grid]
    energies = []
    for s in grid:
        f = np.eye(3)
        f[:d, :d] *= s
        energies.append(float(rule.site_energy(f[None])[0]))
    best = int(np.argmin(energies))
    low, high = max(best - 1, 0), min(best + 1, len(grid) - 1)
    if not (values[low] < 0.0 < values[high]):
        raise CrystalError(
            f"no {crystal.name} lattice constant between {0.8 * crystal.a:.3f} and "
            f"{1.25 * crystal.a:.3f} Angstrom minimises the energy of this potential"
        )
    return crystal.a * float(brentq(pressure, grid[low], grid[high], xtol=1e-15, rtol=1e-15))


def equilibrium_crystal(crystal: Crystal, potential: Potential) -> Crystal:
    """Return a crystal whose cell and basis are free of stress under a potential.

    The structure keeps its orientation and symmetry; hcp gets its own c/a, and a basis its relaxed
    shifts.

    Parameters
    ----------
    crystal : Crystal
        Its lattice constants are the starting point.
    potential : Potential

    Raises
    ------
    CrystalError
        No state of least energy is found nearby.
    """
    scale = equilibrium_lattice_constant(crystal, potential) / crystal.a
    rule = CauchyBorn(crystal, potential)
    d = crystal.dim_lattice
    f = np.eye(3)
    f[:d, :d] *= scale
    # Symmetric strains only: a rotation changes nothing.
    pairs = [(i, j) for i in range(d) for j in range(i, d)]
    modes = np.zeros((len(pairs), 3, 3))
    for k, (i, j) in enumerate(pairs):
        modes[k, i, j] = modes[k, j, i] = 1.0 if i == j else 0.5
    for _ in range(30):
        _, stress, moduli = rule.evaluate(f[None], tangent=True)
        assert moduli is not None
        residual = np.einsum("kij,ij->k", modes, stress[0])
        if np.abs(residual).max() < STRESS:
            break
        stiffness = np.einsum("aij,ijkl,bkl->ab", modes, moduli[0], modes)
        step = np.einsum("k,kij->ij", np.linalg.solve(stiffness, -residual), modes)
        f = f + step * min(1.0, 0.05 / max(float(np.abs(step).max()), 1e-300))
    else:
        raise CrystalError(
            f"no {crystal.name} cell without stress near a = {scale * crystal.a:.4f} Angstrom"
        )
    shifts = rule.predictor_shifts(f)
    if crystal.name in ("fcc", "bcc", "diamond"):
        # Cubic symmetry leaves nothing but the scale; round-off shall not tilt the cell.
        ratio = float(np.trace(f) / 3.0)
        return replace(
            crystal, cell=ratio * crystal.cell, basis=ratio * crystal.basis, a=ratio * crystal.a
        )
    first = float(np.linalg.norm(crystal.conventional[0]))
    ratio = float(np.linalg.norm(f @ crystal.conventional[0])) / first
    return replace(
        crystal, cell=crystal.cell @ f.T, basis=crystal.basis @ f.T + shifts, a=ratio * crystal.a
    )
