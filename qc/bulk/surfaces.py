"""Energies of free surfaces, as cut and relaxed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qc.atomistic.cell import Cell, CellEnergy
from qc.bulk.cell import CellSystem, DefectEnergy, Report, relax, silent
from qc.bulk.layers import layers_of
from qc.crystal import Crystal
from qc.materials.lattice import site_energies
from qc.potentials import Potential

#: Thickness of a slab in cutoffs: its two surfaces do not feel each other.
THICKNESS = 4.0


@dataclass(frozen=True)
class Surface:
    """A free surface.

    Parameters
    ----------
    name : str
    plane : tuple of int
        Miller indices.
    energy : DefectEnergy, eV/Angstrom^2
        Of one surface, in its smallest cell: reconstructions that need a larger one are left out.
    first_spacing : float
        Relative change of the distance between the two outermost planes of atoms, relaxed.
    layers : int
        Atoms in the slab.
    """

    name: str
    plane: tuple[int, ...]
    energy: DefectEnergy
    first_spacing: float
    layers: int


def surface_energy(
    crystal: Crystal,
    potential: Potential,
    plane: Sequence[int],
    name: str | None = None,
    report: Report = silent,
    thickness: float = THICKNESS,
) -> Surface:
    """Return the energy of a free surface of a relaxed crystal.

    A slab with one atom of each sublattice per repeat, open along the normal and periodic at the
    crystal's own spacing in the plane; half its energy above the crystal's is that of a surface.
    Where planes of atoms are unevenly spaced, the slab is cut where that costs least unrelaxed.

    Parameters
    ----------
    crystal : Crystal
        At zero stress.
    potential : Potential
    plane : sequence of int
        Miller indices of the conventional cell, three, or four (hexagonal).
    name : str, optional
        For messages and the result.
    report : callable
        Called with a line of text as the work goes on.
    thickness : float
        Of the slab, in cutoffs.

    Raises
    ------
    CrystalError
        Indices that are no lattice plane.
    ConvergenceError
        The relaxation did not converge.
    """
    layers = layers_of(crystal, plane, potential)
    per_atom = float(site_energies(crystal, potential).mean())
    label = str(tuple(plane)) if name is None else name
    slabs: list[tuple[float, Cell]] = []
    for gap in range(len(layers.gaps)):
        whole = layers.stack(thickness * potential.cutoff, gap)
        slab = dataclasses.replace(whole, pbc=(True, True, False))
        cost = CellEnergy(potential, slab, per_atom).energy_forces(slab.positions)[0]
        slabs.append((cost, slab))
    # Terminations of the same energy differ by round-off only; the first one is taken.
    _, slab = min(slabs, key=lambda pair: round(pair[0], 9))
    system = CellSystem(potential, slab, per_atom)
    energy = relax(system, f"surface {label}", report, disturb=1e-4)
    both = 2.0 * layers.area
    z, z0 = system.coordinates[:, 2], slab.positions[:, 2]
    planes = np.unique(np.round(z0, 5))
    first, second = (z[np.abs(z0 - level) < 1e-4].mean() for level in planes[:2])
    return Surface(
        name=label,
        plane=tuple(int(h) for h in plane),
        energy=DefectEnergy(energy.unrelaxed / both, energy.relaxed / both),
        first_spacing=float((second - first) / (planes[1] - planes[0]) - 1.0),
        layers=len(z),
    )
