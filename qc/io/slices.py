"""Plane sections: what a picture of a mesh shows, in 2D directly and in 3D as a cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.coupling import QuasiContinuum
from qc.coupling.fields import displacement

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Section:
    """Polygons of a plane section of a mesh.

    Attributes
    ----------
    polygons : list of (k, 2) float64, or (n, 3, 2) float64, Angstrom
        In the x-y plane, in either sense.
    element : (n,) int64
        The element of each polygon.
    level : float or None, Angstrom
        Height of the plane; None where the mesh itself is plane.
    """

    polygons: list[Array] | Array
    element: IntArray
    level: float | None


def section(model: QuasiContinuum, level: float | None = None) -> Section:
    """Return the elements of a model, in current positions, as polygons in the x-y plane.

    In 3D they are cut at a level z, through the first centre of the core by default, where the
    predictor has them, and drawn where they have moved to: a plane through lattice sites would else
    pass now above and now below sites that have moved by little.
    """
    mesh = model.mesh
    y = mesh.positions + displacement(model)
    if mesh.dim == 2:
        corners = y[mesh.elements][..., :2]
        return Section(corners, np.arange(len(corners)), None)
    if level is None:
        level = centre_level(model)
    before = mesh.positions + model.far_field.displacement(mesh.positions)
    polygons, element = cut_tetrahedra(before, mesh.elements, level, y[:, :2])
    return Section(polygons, element, level)


def centre_level(model: QuasiContinuum) -> float:
    """Height z of the first centre of the core in the deformed crystal, Angstrom."""
    centre = model.layout.blend.centres.points[:1]
    return float((centre + model.far_field.displacement(centre))[0, 2])


def cut_tetrahedra(
    points: Array, elements: IntArray, level: float, drawn: Array | None = None
) -> tuple[list[Array], IntArray]:
    """Cut tetrahedra (n_e, 4) by the plane ``z = level``.

    Corners are drawn at ``drawn`` (n, 2), by default at their own x and y. Returned are polygons,
    (3, 2) or (4, 2), and the element that each is cut from.
    """
    # A plane through lattice sites would meet corners and edges; a hair beside it never does.
    extent = float(np.ptp(points[:, 2])) or 1.0
    plane = points[:, :2] if drawn is None else drawn
    height = points[:, 2] - (level + 1e-7 * extent)
    above = height[elements] > 0
    count = above.sum(axis=1)
    polygons: list[Array] = []
    owners: list[IntArray] = []
    for n_above in (1, 2, 3):
        which = np.flatnonzero(count == n_above)
        if not len(which):
            continue
        # Corners above first.
        order = np.argsort(~above[which], axis=1, kind="stable")
        corner = np.take_along_axis(elements[which], order, axis=1)
        pairs = {
            1: [(0, 1), (0, 2), (0, 3)],
            2: [(0, 2), (0, 3), (1, 3), (1, 2)],
            3: [(3, 0), (3, 1), (3, 2)],
        }[n_above]
        crossing = []
        for p, q in pairs:
            a, b = corner[:, p], corner[:, q]
            share = (height[a] / (height[a] - height[b]))[:, None]
            crossing.append(plane[a] + share * (plane[b] - plane[a]))
        corners = np.stack(crossing, axis=1)
        keep = _has_area(corners, extent)
        polygons.extend(corners[keep])
        owners.append(which[keep])
    return polygons, np.concatenate(owners) if owners else np.zeros(0, dtype=np.int64)


def _has_area(polygons: Array, extent: float) -> NDArray[np.bool_]:
    """Which of the polygons (n, k, 2) are more than a line or a point, for the eye.

    Elements that only touch the plane leave slivers, which would be drawn as lines.
    """
    after = np.roll(polygons, -1, axis=1)
    around = np.linalg.norm(after - polygons, axis=2).sum(axis=1)
    cross = polygons[..., 0] * after[..., 1] - polygons[..., 1] * after[..., 0]
    area = 0.5 * np.abs(cross.sum(axis=1))
    return np.asarray((around > 1e-5 * extent) & (area > 1e-4 * around**2))
