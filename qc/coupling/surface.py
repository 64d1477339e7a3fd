"""The relaxation of a free surface far from anything else, which the predictor includes.

A patch of atoms that relaxes within a surface that does not is strained by its rim: the error falls
only as one over its size. With the layers relaxed in the predictor, U = 0 is the half-space at
rest, in the atoms exactly and in the elements because a continuum has no surface stress.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.atomistic.cell import Cell, CellEnergy
from qc.errors import ConvergenceError
from qc.materials import CauchyBorn
from qc.mesh import Face, best_basis
from qc.numerics.solvers import lbfgs

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Thickness of the layers that relax, and of the held ones below, in cutoffs.
MOVING, HELD = 6.0, 2.2

#: eV/Angstrom; largest force from which on the stiffness preconditions, and the largest left.
NEAR, TOLERANCE = 1e-4, 1e-11

#: Angstrom; step of the differences that the Jacobian is made of, and the longest of an atom.
STEP, LONGEST = 1e-5, 0.2


@dataclass(frozen=True, eq=False)
class SurfaceRelaxation:
    """Displacements of the layers below a free surface.

    Attributes
    ----------
    surface : Face
    layers : (n, n_s, 3) float64, Angstrom
        Displacement of each sublattice in each layer from the surface down; the last is zero.
    """

    surface: Face
    layers: Array

    def displacement(self, origins: Array, sublattice: IntArray) -> Array:
        """Return the displacement of sites (n, 3) Angstrom.

        Parameters
        ----------
        origins : (n, 3) float64, Angstrom
            Reference positions of the sites' cells; linear between layers.
        sublattice : (n,) int64
        """
        last = len(self.layers) - 1
        depth = np.clip(self.surface.depth(origins) / self.surface.spacing, 0.0, last)
        # Positions are sums of products; a layer is a layer.
        nearest = np.rint(depth)
        depth = np.where(np.abs(depth - nearest) < 1e-6, nearest, depth)
        upper = np.minimum(depth.astype(np.int64), last - 1)
        t = (depth - upper)[:, None]
        return (1.0 - t) * self.layers[upper, sublattice] + t * self.layers[upper + 1, sublattice]


def relax_surface(rule: CauchyBorn, surface: Face, mean: Array) -> SurfaceRelaxation:
    """Relax the layers of a half-space in its smallest cell: no reconstruction is found.

    Where the crystal under its mean deformation is not free of stress, the traction is balanced
    on the outermost cells: what holds it in the model (vibrations at temperature, or nothing)
    is not known here.

    Parameters
    ----------
    rule : CauchyBorn
    surface : Face
    mean : (3, 3) float64
        Mean deformation gradient.

    Raises
    ------
    ConvergenceError
        No equilibrium was found.
    """
    crystal, potential = rule.crystal, rule.potential
    d = crystal.dim
    basis = best_basis(crystal, None, surface.plane)
    top = surface.axis(basis)[0]
    vectors = basis @ crystal.cell[:d]
    repeats = [mean @ v for k, v in enumerate(vectors) if k != top]
    if crystal.is_columns:
        repeats.append(mean @ crystal.cell[2])
    step = mean @ vectors[top]
    normal = surface.normal @ np.linalg.inv(mean)
    normal /= np.linalg.norm(normal)
    spacing = float(step @ normal)
    moving = max(3, math.ceil(MOVING * potential.cutoff / spacing))
    count = moving + math.ceil(HELD * potential.cutoff / spacing) + 1
    sites = crystal.basis @ mean.T + rule.predictor_shifts(mean)
    start = (-np.arange(count)[:, None, None] * step + sites).reshape(-1, 3)
    # Across the directions that do not repeat a cell of any size will do.
    rows = [*repeats, 2.0 * count * spacing * normal]
    pbc = [True] * len(repeats) + [False]
    if len(rows) < 3:
        rows, pbc = [*rows, np.array([0.0, 0.0, 1.0])], [*pbc, False]
    types = np.tile(potential.types_of(crystal.symbols), count)
    cell = Cell(start, types, np.array(rows), (pbc[0], pbc[1], pbc[2]))
    energy = CellEnergy(potential, cell, float(rule.site_energy(mean[None])[0]))
    components = crystal.dim_lattice
    n, n_s = moving * crystal.n_sublattices, crystal.n_sublattices

    def evaluate(u: Array) -> Array:
        """Return the forces on the layers that move, (n, components)."""
        y = start.copy()
        y[:n, :components] += u
        if potential.has_site_energies:
            f = energy.energy_forces(y)[1]
        else:
            f = potential.cluster_forces(y, types, cell.cell, list(pbc))[1]
        return np.asarray(f)[:n, :components]

    zero = np.zeros((n, components))
    traction = evaluate(zero).sum(axis=0) / n_s

    def balanced(u: Array) -> Array:
        f = evaluate(u).copy()
        f[:n_s] -= traction
        return f

    x, f, _ = lbfgs(balanced, zero, fmax=NEAR, max_steps=1000, longest=LONGEST)
    if np.abs(f).max() <= NEAR:
        # With the stiffness there as preconditioner the rest is a few steps.
        inverse = _inverse_stiffness(balanced, x)
        x, f, _ = lbfgs(
            balanced,
            x,
            lambda r: (inverse @ r.ravel()).reshape(r.shape),
            fmax=TOLERANCE,
            max_steps=40,
            longest=LONGEST,
        )
    left = float(np.abs(f).max())
    if left > TOLERANCE:
        raise ConvergenceError(
            f"the free surface does not relax: a force of {left:.1e} eV/Angstrom is left"
        )
    layers = np.zeros((moving + 1, n_s, 3))
    layers[:moving, :, :components] = x.reshape(moving, n_s, components)
    return SurfaceRelaxation(surface, layers)


def _inverse_stiffness(forces: Callable[[Array], Array], x: Array) -> Array:
    """Return the inverse of minus the Jacobian of forces (n, c), by differences, (n c, n c)."""
    here = forces(x).ravel()
    steps = STEP * np.eye(x.size)
    columns = np.array([(here - forces(x + e.reshape(x.shape)).ravel()) / STEP for e in steps])
    return np.linalg.inv(0.5 * (columns + columns.T))
