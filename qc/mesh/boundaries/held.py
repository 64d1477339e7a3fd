"""Held faces: displaced from the predictor by a given amount."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qc.crystal import Crystal
from qc.errors import InputError
from qc.mesh.boundaries.boundary import PlaneBoundary
from qc.mesh.boundaries.face import Face
from qc.mesh.region import Region
from qc.numerics.checks import check_finite


@dataclass(frozen=True)
class Held(PlaneBoundary):
    """A plane whose nodes are held, as those of every face that no boundary names are.

    Parameters
    ----------
    normal, height
        As of `FreeSurface`; the crystal goes on beyond the plane.
    displacement : (3,) float, Angstrom
        From the predictor.

    Raises
    ------
    InputError
        The normal is zero, or a value is not finite.
    """

    displacement: Sequence[float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = check_finite(self.displacement, "displacement of a face")
        if given.shape != (3,):
            raise InputError(f"displacement {self.displacement} of a face must be three numbers")
        object.__setattr__(self, "displacement", tuple(given.tolist()))

    def faces(self, crystal: Crystal, region: Region) -> Sequence[Face]:
        """Return the one face; see `Boundary`."""
        return [self.plane(crystal, region).but(displacement=tuple(self.displacement))]
