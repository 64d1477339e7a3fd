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
from qc.mesh import LatticeSurface, best_basis
from qc.numerics.minimise import minimise

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Thickness of the layers that relax, and of the held ones below, in cutoffs.
MOVING, HELD = 6.0, 2.2

#: eV/Angstrom; largest force at which Newton's method takes over, and the largest left.
NEAR, TOLERANCE = 1e-4, 1e-11

#: Angstrom; step of the differences that the Jacobian is made of.
STEP = 1e-5


@dataclass(frozen=True, eq=False)
class SurfaceRelaxation:
    """Displacements of the layers below a free surface.

    Attributes
    ----------
    surface : LatticeSurface
    layers : (n, n_s, 3) float64, Angstrom
        Displacement of each sublattice in each layer from the surface down; the last is zero.
    """

    surface: LatticeSurface
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


def relax_surface(rule: CauchyBorn, surface: LatticeSurface, mean: Array) -> SurfaceRelaxation:
    """Relax the layers of a half-space in its smallest cell: no reconstruction is found.

    Where the crystal under its mean deformation is not free of stress, the traction is balanced
    on the outermost cells: what holds it in the model (vibrations at temperature, or nothing)
    is not known here.

    Parameters
    ----------
    rule : CauchyBorn
    surface : LatticeSurface
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
    top = surface.axis(basis)
    vectors = basis @ crystal.cell[:d]
    repeats = [mean @ v for k, v in enumerate(vectors) if k != top]
    if crystal.is_columns:
        repeats.append(mean @ crystal.cell[2])
    step = mean @ vectors[top]
    normal = np.asarray(surface.surface.normal) @ np.linalg.inv(mean)
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

    def evaluate(u: Array) -> tuple[float, Array]:
        y = start.copy()
        y[:n, :components] += u.reshape(n, components)
        if potential.has_site_energies:
            e, f = energy.energy_forces(y)
        else:
            e, f = potential.cluster_forces(y, types, cell.cell, list(pbc))  # type: ignore[attr-defined]
        return float(e), np.asarray(f)[:n, :components]

    zero = np.zeros(n * components)
    traction = evaluate(zero)[1].sum(axis=0) / n_s

    def balanced(u: Array) -> tuple[float, Array]:
        e, f = evaluate(u)
        f[:n_s] -= traction
        return e + float(traction @ u.reshape(n, components)[:n_s].sum(axis=0)), -f.ravel()

    found = minimise(balanced, zero, NEAR)
    if found.reason != "converged":
        raise ConvergenceError(f"the free surface does not relax: {found.reason}")
    x = _polished(lambda u: balanced(u)[1], found.x)
    layers = np.zeros((moving + 1, n_s, 3))
    layers[:moving, :, :components] = x.reshape(moving, n_s, components)
    return SurfaceRelaxation(surface, layers)


def _polished(gradient: Callable[[Array], Array], x: Array) -> Array:
    """Bring a gradient down to round-off, by Newton's method with Jacobians of differences."""
    g, before, solve = gradient(x), np.inf, np.zeros((0, 0))
    for _ in range(20):
        top = float(np.abs(g).max())
        if top <= TOLERANCE:
            return x
        if top > 0.05 * before or not len(solve):
            columns = np.array([(gradient(x + STEP * e) - g) / STEP for e in np.eye(len(x))])
            solve = np.linalg.inv(0.5 * (columns + columns.T))
        before = top
        x = x - solve @ g
        g = gradient(x)
    raise ConvergenceError(
        f"the free surface does not relax: a force of {np.abs(g).max():.1e} eV/Angstrom is left"
    )
