"""Tractions: a constant force per area on a free surface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qc.crystal import Crystal
from qc.errors import InputError
from qc.mesh.boundaries.boundary import PlaneBoundary
from qc.mesh.boundaries.face import FREE, Face
from qc.mesh.region import Region
from qc.numerics.checks import check_finite


@dataclass(frozen=True)
class Traction(PlaneBoundary):
    """A `FreeSurface` that is pulled at: ``P N`` with the first Piola stress P is given.

    Parameters
    ----------
    normal, height
        As of `FreeSurface`.
    traction : (3,) float, eV/Angstrom^3
        Force per area of the reference crystal, whatever becomes of the face: along the normal it
        pulls. Per length in a monolayer, eV/Angstrom^2. It adds ``-<f, U>`` to the energy, with
        its forces f on the nodes.

    Raises
    ------
    InputError
        The normal is zero, or a value is not finite.
    """

    traction: Sequence[float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = check_finite(self.traction, "traction")
        if given.shape != (3,):
            raise InputError(f"traction {self.traction} must be three numbers")
        object.__setattr__(self, "traction", tuple(given.tolist()))

    def faces(self, crystal: Crystal, region: Region) -> Sequence[Face]:
        """Return the one face; see `Boundary`."""
        face = self.plane(crystal, region)
        return [face.but(free=FREE, ends=True, traction=tuple(self.traction))]
