"""Weights of elements: the mean of the blending function, with closed books."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qc.coupling.layout import Layout

Array = NDArray[np.float64]


def blended_weights(
    layout: Layout, weighting: Callable[[Array], Array], site_weights: Array
) -> Array:
    """Element weights ``omega_e``: the mean of ``beta`` over the vertices, with closed books.

    ``sum w_i + sum omega_e v_e / Omega`` must count every site of the perfect crystal once. The
    mean of ``beta`` does that where every vertex owns the volume of one site. In a bisection mesh
    the vertex volumes alternate around it, which leaves an error of about 1e-4 of the blend; it is
    spread over the elements with ``0 < omega < 1``. Of an atom on a free surface half a site is
    counted here, for its vertex owns half of one; its energy is that of a full site.

    Parameters
    ----------
    layout : Layout
    weighting : callable
        The scheme's.
    site_weights : (n,) float64
        ``w_i`` of all patch atoms, vacant sites included.

    Returns
    -------
    (n_e,) float64
    """
    mesh = layout.mesh
    omega = weighting(vertex_beta(layout, layout.beta_nodes, np.mean))[mesh.elements].mean(axis=1)
    slack = omega * (1.0 - omega) * mesh.volumes
    if slack.sum() <= 0.0:
        return omega
    counted = site_weights * layout.site_shares
    missing = mesh.crystal.site_volume * counted[~layout.extra].sum()
    # Not the difference of two whole volumes, which for a large model is nothing but round-off.
    wanted = float((1.0 - omega) @ mesh.volumes - missing)
    return omega + wanted / float(slack.sum()) * omega * (1.0 - omega)


def vertex_beta(layout: Layout, beta_nodes: Array, reduce: Callable[..., Array]) -> Array:
    """Blending function of whole cells, (n_v,): the mean, say, over the sublattices' nodes."""
    nodes = layout.sublattice_nodes
    if nodes.shape[1] == 1:
        return beta_nodes[: len(nodes)]
    # Where a vertex carries no other sublattices there are no atoms, and beta is that of the cell.
    return np.asarray(reduce(beta_nodes[np.where(nodes >= 0, nodes, nodes[:, :1])], axis=1))
