"""Crystals of atom columns with dislocations: sites, far fields and starts of two recipes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc import crystal, farfield

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


def lomer_crystal(symbol: str, a: float) -> Any:
    """Return fcc columns along z = [1-10] with x = [110], y = [001].

    ``cell[0]`` is a/2[110] along x, ``cell[1]`` rises by a/2 along y, ``cell[2]`` is the period.
    """
    made = crystal.fcc(symbol, a, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns()
    p = a / np.sqrt(2)
    expected = np.array([[p, 0, 0], [p / 2, a / 2, p / 2], [0, 0, p]])
    if np.abs(made.cell - expected).max() > 1e-9:
        raise SystemExit(f"the columns are not on the documented basis: {made.cell}")
    return made


def stiffness(bulk: dict[str, Any], columns: Any) -> Array:
    """Return the elastic tensor (3, 3, 3, 3) in the axes of the columns, eV/Angstrom^3."""
    return farfield.cubic_elastic(bulk["C11"], bulk["C12"], bulk["C44"], columns.rotation)


def sites_near(columns: Any, centre: ArrayLike, radius: float) -> IntArray:
    """Return (n, 3) integer coordinates of the columns within ``radius`` of ``centre`` (2,)."""
    centre = np.asarray(centre, float)
    plane = columns.cell[:2, :2]
    middle = np.round(centre @ np.linalg.inv(plane)).astype(int)
    # A step of one in m1 or m2 changes the distance from the other axis by this much at least.
    heights = abs(np.linalg.det(plane)) / np.linalg.norm(plane[::-1], axis=1)
    reach = np.ceil(radius / heights).astype(int) + 2
    grids = [np.arange(c - r, c + r + 1) for c, r in zip(middle, reach, strict=True)]
    m = np.stack(np.meshgrid(*grids, indexing="ij"), -1).reshape(-1, 2)
    keep = np.linalg.norm(m @ plane - centre, axis=1) <= radius
    return np.column_stack([m[keep], np.zeros(keep.sum(), int)]).astype(np.int64)


def fault_strips(
    elastic: Array, a: float, apex: ArrayLike, sign: int, lengths: tuple[float, float]
) -> Any:
    """Return the displacement that turns a Lomer dislocation into a Lomer-Cottrell one.

    A Lomer dislocation a/2[110] splits into two Shockley partials a/6[11-2] and a/6[112] and a
    stair rod a/6[110] at the apex. Each partial that has left the apex by some length is a pair of
    opposite partials, at its place and at the apex, with a strip of stacking fault between them.
    With Burgers vector +x (``sign`` 1) the strips point down, with -x up, away from the extra half
    plane.

    Parameters
    ----------
    lengths : Angstrom, of the strips on the right and on the left
    """
    apex = np.asarray(apex, float)
    members = []
    for side, length in zip((1.0, -1.0), lengths, strict=True):
        arm = np.array([side, -sign * np.sqrt(2.0)]) / np.sqrt(3.0)
        partial = a / np.sqrt(6.0) * sign * side * np.array([*arm, 0.0])
        for b, where in ((partial, apex + length * arm), (-partial, apex)):
            members.append(
                farfield.VolterraDislocation(elastic, b, where, -arm, self_consistent=False)
            )
    return farfield.DislocationSum(members)


def parallelogram(
    columns: Any, bounds: tuple[int, int], frame: float
) -> tuple[IntArray, NDArray[np.bool_], Array]:
    """Return the block ``|m1| <= bounds[0], |m2| <= bounds[1]`` with a frame around it.

    Returns
    -------
    m : (n, 3) int
        Every column of the block and those within ``frame`` of it.
    free : (n,) bool
        Strictly inside the block.
    weight : (n,) float
        Share of the column's atom in the block: 1 inside, 1/2 on an edge, 1/4 at a corner, 0 in
        the frame. They sum to the number of primitive cells.
    """
    plane = columns.cell[:2, :2]
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * bounds @ plane
    m = sites_near(columns, (0.0, 0.0), np.linalg.norm(corners, axis=1).max() + frame)
    x = m[:, :2] @ plane
    inside = (np.abs(m[:, :2]) <= bounds).all(axis=1)
    distance = np.full(len(m), np.inf)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        edge = end - start
        t = np.clip((x - start) @ edge / (edge @ edge), 0.0, 1.0)
        distance = np.minimum(distance, np.linalg.norm(x - start - t[:, None] * edge, axis=1))
    keep = inside | (distance <= frame)
    m = m[keep]
    free = (np.abs(m[:, :2]) < bounds).all(axis=1)
    share = np.where(np.abs(m[:, :2]) == bounds, 0.5, np.where(np.abs(m[:, :2]) < bounds, 1.0, 0.0))
    return m, free, share.prod(axis=1)


def shear(amount: float) -> Array:
    """Return the deformation gradient of simple shear, ``F_xy = amount``."""
    deformation = np.eye(3)
    deformation[0, 1] = amount
    return deformation


def members(field: Any) -> list[dict[str, list[float]]]:
    """Return Burgers vector, position and cut of each dislocation of a sum."""
    return [
        {
            "burgers": one.burgers.tolist(),
            "position": one.position.tolist(),
            "cut_direction": one.cut_direction.tolist(),
        }
        for one in field.dislocations
    ]
