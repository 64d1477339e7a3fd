"""Miller directions and the orientation that they give a crystal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qc.errors import CrystalError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Direction = Sequence[int]


def miller_indices(direction: Direction, what: str = "direction") -> IntArray:
    """Return a Miller direction as three integers ``[u, v, w]`` of the conventional cell.

    Four indices are Miller-Bravais indices ``[u, v, t, w]`` with ``u + v + t = 0``.

    Raises
    ------
    CrystalError
        Not three or four integers, all zero, or ``u + v + t`` not zero.
    """
    try:
        values = np.asarray(direction, dtype=float)
    except (TypeError, ValueError):
        raise CrystalError(f"{what}: {direction!r} is not a list of integers") from None
    if values.shape not in ((3,), (4,)):
        raise CrystalError(f"{what}: Miller indices are 3 or 4 integers, got {direction!r}")
    if not np.isfinite(values).all() or (np.abs(values) > 1e6).any():
        raise CrystalError(f"{what}: Miller indices {direction!r} are not finite or too large")
    rounded = np.round(values).astype(np.int64)
    if (np.abs(values - rounded) > 1e-9).any():
        raise CrystalError(f"{what}: Miller indices must be integers, got {direction!r}")
    if not rounded.any():
        raise CrystalError(f"{what}: a Miller direction of zeros has no direction")
    if len(rounded) == 4:
        u, v, t, w = rounded
        if u + v + t != 0:
            raise CrystalError(f"{what}: {direction!r} needs u + v + t = 0, it is {u + v + t}")
        rounded = np.array([u - t, v - t, w], dtype=np.int64)
        if not rounded.any():
            raise CrystalError(f"{what}: a Miller direction of zeros has no direction")
    return rounded


def orientation(
    conventional: Array,
    x: Direction | None = None,
    y: Direction | None = None,
    z: Direction | None = None,
) -> Array:
    """Return the rotation (3, 3) that brings the given crystal directions onto the axes.

    Parameters
    ----------
    conventional : (3, 3) float, Angstrom
        Rows: conventional cell vectors in the unrotated crystal frame.
    x, y, z : sequence of int, optional
        Miller directions that shall lie along the Cartesian axes: none, two or all three.

    Raises
    ------
    CrystalError
        One direction only, directions not orthogonal, or a left-handed triad.
    """
    given = {
        label: miller_indices(value, label) @ conventional
        for label, value in (("x", x), ("y", y), ("z", z))
        if value is not None
    }
    if not given:
        return np.eye(3)
    if len(given) == 1:
        raise CrystalError(
            f"only {next(iter(given))} is given: two or three of x, y, z orient a crystal"
        )
    unit = {label: v / np.linalg.norm(v) for label, v in given.items()}
    raw = {"x": x, "y": y, "z": z}
    for p, q in (("x", "y"), ("y", "z"), ("z", "x")):
        if p in unit and q in unit and abs(unit[p] @ unit[q]) > 1e-9:
            angle = np.degrees(np.arccos(np.clip(unit[p] @ unit[q], -1, 1)))
            raise CrystalError(
                f"{p}={list(raw[p] or ())} and {q}={list(raw[q] or ())} are not orthogonal: "
                f"the angle is {angle:.4g} degrees"
            )
    for p, q, r in (("y", "z", "x"), ("z", "x", "y"), ("x", "y", "z")):
        if r not in unit:
            unit[r] = np.cross(unit[p], unit[q])
    rows = np.array([unit["x"], unit["y"], unit["z"]])
    if np.linalg.det(rows) < 0:
        raise CrystalError(
            f"x={list(x or ())}, y={list(y or ())}, z={list(z or ())} is left-handed: "
            "reverse one direction"
        )
    return rows
