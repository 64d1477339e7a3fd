"""Periodic faces: the nodes of one follow those of the opposite one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qc.crystal import Crystal
from qc.errors import InputError, RegionError
from qc.mesh.boundaries.boundary import Boundary
from qc.mesh.boundaries.face import FREE, Face
from qc.mesh.region import Region
from qc.numerics.checks import numbers


@dataclass(frozen=True)
class Periodic(Boundary):
    """A block that repeats itself: correctors are equal on opposite faces.

    The predictor may differ by the mean deformation of the period, nothing else.

    Parameters
    ----------
    axes : sequence of int, optional
        Axes of the outer `LatticeBlock` along which it repeats, counted from 0; all by default.

    Raises
    ------
    InputError
        They are no different axes.
    """

    axes: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.axes is None:
            return
        given = numbers("periodic axes", self.axes)
        chosen = sorted(set(given.ravel().tolist()))
        if given.ndim != 1 or len(chosen) != given.size or not set(chosen) <= {0, 1, 2}:
            raise InputError(f"periodic axes {self.axes} must be different ones of 0, 1 and 2")
        object.__setattr__(self, "axes", tuple(int(k) for k in chosen))

    def faces(self, crystal: Crystal, region: Region) -> Sequence[Face]:
        """Return two faces for each axis; see `Boundary`."""
        basis = region.mesh_basis(crystal)
        box = None if basis is None else region.lattice_box(crystal, basis)
        if basis is None or box is None:
            raise RegionError(
                f"a region of kind {type(region).__name__} does not repeat itself: periodic "
                "boundaries need a LatticeBlock"
            )
        axes = range(crystal.dim) if self.axes is None else self.axes
        if max(axes, default=0) >= crystal.dim:
            raise InputError(f"periodic axes {self.axes}: the mesh has {crystal.dim} axes, from 0")
        inverse = np.rint(np.linalg.inv(basis)).astype(np.int64)
        reciprocal = np.linalg.inv(crystal.cell)[:, : crystal.dim] @ inverse
        out = []
        for k in axes:
            lower, upper = int(box[0][k]), int(box[1][k])
            length = float(np.linalg.norm(reciprocal[:, k]))
            normal = reciprocal[:, k] / length
            low = Face(-normal, -inverse[:, k], -lower, 1.0 / length, free=FREE)
            high = Face(normal, inverse[:, k], upper, 1.0 / length, free=FREE)
            out += [low, high.but(period=basis[k] * (upper - lower))]
        return out
