"""External loads on the nodes of a model, and the number of sites that a node stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.coupling.layout import Layout
from qc.coupling.terms import Term
from qc.errors import InputError, NonFiniteError
from qc.loads import Load

Array = NDArray[np.float64]


class External(Term):
    """``sum_l E_l(y)`` over loads l, with ``y`` the predictor positions of the nodes plus U.

    Parameters
    ----------
    loads : tuple of Load
    positions : (n_nodes, 3) float64, Angstrom
        Predictor positions of the nodes.
    weights : (n_nodes,) float64
        Sites that each node stands for; see `site_counts`.
    """

    def __init__(self, loads: tuple[Load, ...], positions: Array, weights: Array) -> None:
        self.loads, self.positions, self.weights = loads, positions, weights

    def energies(self, u: Array) -> Array:
        """Energy of each load, (n_loads,) eV."""
        return self.energy_forces(u)[0]

    def energy_forces(self, u: Array) -> tuple[Array, Array]:
        """Energy of each load (n_loads,) eV and the sum of their forces (n_nodes, 3).

        Raises
        ------
        NonFiniteError
            A load's energy or a force is NaN or infinite.
        """
        y = self.positions + u
        energies, total = np.zeros(len(self.loads)), np.zeros_like(y)
        for k in range(len(self.loads)):
            energies[k], forces = self._one(k, y)
            total += forces
        return energies, total

    def _one(self, k: int, y: Array) -> tuple[float, Array]:
        energy, forces = self.loads[k].energy_forces(y, self.weights)
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            name = type(self.loads[k]).__name__
            bad = np.nonzero(~np.isfinite(forces).all(axis=1))[0]
            where = f"force of {name} on node {bad[0]}" if len(bad) else f"energy of {name}"
            raise NonFiniteError(f"{where} is not finite")
        return float(energy), forces

    def reactions(self, u: Array) -> Array:
        """Force of the nodes on each load, held nodes included, (n_loads, 3) eV/Angstrom."""
        y = self.positions + u
        out = [-self._one(k, y)[1].sum(axis=0) for k in range(len(self.loads))]
        return np.array(out).reshape(len(self.loads), 3)

    def hessian_product(self, u: Array, du: Array) -> Array:
        """Second derivative of the energy times ``du``, (n_nodes, 3) eV/Angstrom."""
        y, total = self.positions + u, np.zeros_like(u)
        for load in self.loads:
            total += load.hessian_product(y, self.weights, du)
        return total


def check_loads(loads: Sequence[Load]) -> tuple[Load, ...]:
    """Return loads as a tuple.

    Raises
    ------
    InputError
        One of them is no load.
    """
    found = tuple(loads) if isinstance(loads, Sequence) else (loads,)
    for one in found:
        if not isinstance(one, Load):
            raise InputError(
                f"{type(one).__name__} is no load: it must be a qc.loads.Load, with energy_forces "
                "and hessian_product"
            )
    return found


def site_counts(
    layout: Layout, weighting: Callable[[Array], Array], element_weights: Array | None
) -> Array:
    """Return the number of sites that each node stands for, (n_nodes,).

    1 where every site is a node and 0 at a vacancy; in the continuum the share of the elements
    around the node, see `lumped`.
    """
    own = np.ones(layout.n_nodes)
    gone = layout.node[layout.vacant]
    own[gone[gone >= 0]] = 0.0
    ones = np.ones(layout.mesh.crystal.n_sublattices)
    return lumped(layout, weighting, element_weights, own, ones)


def lumped(
    layout: Layout,
    weighting: Callable[[Array], Array],
    element_weights: Array | None,
    own: ArrayLike,
    sublattices: ArrayLike,
) -> Array:
    """Share out a quantity of sites to the nodes, (n_nodes,).

    Each node has its share of the elements around it, weighted like their energies, and that of
    its own atom, weighted like its site energy.

    Parameters
    ----------
    layout : Layout
    weighting : callable
        The scheme's.
    element_weights : (n_e,) float64 or None
        Those of the energy, or the mean of beta over the vertices.
    own : (n_nodes,) array_like
        The quantity of each node's own atom.
    sublattices : (n_s,) array_like
        That of a site of each sublattice of the perfect crystal.
    """
    mesh, space = layout.mesh, layout.space
    beta = weighting(layout.beta_nodes)
    nodes = layout.sublattice_nodes
    if element_weights is None:
        element_weights = space.mean(beta)
    cells = space.lump(element_weights * mesh.volumes, mesh.crystal.volume)
    local = space.connectivity
    carried = np.zeros(local.size, dtype=bool)
    if nodes.shape[1] > 1:
        carried = np.repeat((nodes[local, -1] >= 0).all(axis=1), local.shape[1])
    out = (1.0 - beta) * np.asarray(own)
    out[layout.constraint.followers] = 0.0
    for s, value in enumerate(np.asarray(sublattices)):
        if space.expand is not None:
            mine = np.zeros(space.expand.shape[0])
            np.add.at(mine, local.ravel(), cells.ravel() * value)
            out[: space.n_nodes] += space.nodal(mine)
            continue
        # Beyond the atoms a node stands for all sublattices of its cells.
        at = np.where(carried, nodes[local.ravel(), s], local.ravel())
        out += np.bincount(at, cells.ravel() * value, minlength=layout.n_nodes)
    return out
