"""Friction fields: how strongly each node of a model is tied to a bath."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from qc.coupling import QuasiContinuum
from qc.errors import InputError
from qc.numerics.checks import kind, not_negative, positive

Array = NDArray[np.float64]


def atoms_only(model: QuasiContinuum, friction: float) -> Array:
    """Friction on what is atom: ``friction (1 - beta)``, (n_nodes,) 1/time."""
    kind("model", model, QuasiContinuum)
    return not_negative("friction", friction) * (1.0 - model.coupling.beta_nodes)


def continuum_only(model: QuasiContinuum, friction: float) -> Array:
    """Friction on what is continuum: ``friction beta``, (n_nodes,) 1/time."""
    kind("model", model, QuasiContinuum)
    return not_negative("friction", friction) * model.coupling.beta_nodes


def stadium(
    model: QuasiContinuum, friction: float, width: float | None = None, power: float = 2.0
) -> Array:
    """Friction that grows towards the outer boundary and absorbs what travels there.

    ``friction (1 - d / width)^power`` at a distance d from the held boundary, nothing further in:
    a wave meets no step that would send it back.

    Parameters
    ----------
    model : QuasiContinuum
    friction : float, 1/time
        At the boundary.
    width : float, Angstrom, optional
        By default from the end of the core to the boundary. Elements send short waves back where
        they begin to grow, so a ramp that leaves the blend out is met too late by these; one that
        reaches an absorbing length into the core (a greater width) stops waves that the blend
        itself cannot carry. See "What comes back from the interface" in docs/dynamics.md.
    power : float

    Returns
    -------
    (n_nodes,) float64

    Raises
    ------
    InputError
        A friction that is negative or not finite, a width or power that is not positive, or no
        model or one that nothing holds.

    Source: S. Qu, V. Shastry, W. A. Curtin & R. E. Miller, Modelling Simul. Mater. Sci. Eng. 13
    (2005) 1101, whose ramp is linear.
    """
    kind("model", model, QuasiContinuum)
    rate = not_negative("friction", friction)
    for name, value in (("width", width), ("power", power)):
        if value is not None:
            positive(name, value)
    layout = model.layout
    held = model.mesh.held
    if not held.any():
        raise InputError("nothing holds this model: a stadium needs an outer boundary")
    at = layout.node_positions
    dim = model.crystal.dim
    distance = cKDTree(model.mesh.positions[held][:, :dim]).query(at[:, :dim])[0]
    if width is None:
        blend = layout.blend
        inside = blend.centres.distance(at) <= blend.core
        width = float(distance[inside].min()) if inside.any() else float(distance.max())
        if not width > 0.0:
            raise InputError("the core reaches the outer boundary: give the stadium a width")
    return rate * np.clip(1.0 - distance / width, 0.0, 1.0) ** power
