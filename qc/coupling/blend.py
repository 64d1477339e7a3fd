"""The blending function: 0 in the core, 1 in the continuum, smooth in between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.errors import RegionError
from qc.mesh.region import CoreSet
from qc.numerics.checks import positive

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Blend:
    """``beta(X)``, a quintic of the distance to the core set.

    Parameters
    ----------
    centres : CoreSet
        Points the distance is measured from.
    core : float, Angstrom
        ``beta = 0`` up to this distance.
    width : float, Angstrom
        ``beta = 1`` from ``core + width`` on.

    Raises
    ------
    RegionError
        A radius is not positive and finite.

    Notes
    -----
    The ghost forces of blended schemes are governed by the second derivative of ``beta``, which
    the quintic keeps bounded. Source: X. H. Li, C. Ortner, A. V. Shapeev, B. Van Koten,
    Math. Comp. 85 (2016) 2171, section 3.
    """

    centres: CoreSet
    core: float
    width: float

    def __post_init__(self) -> None:
        for name in ("core", "width"):
            positive(f"blend {name}", getattr(self, name), RegionError)

    @property
    def outer(self) -> float:
        """Distance from which on the crystal is pure continuum, Angstrom."""
        return self.core + self.width

    def beta(self, x: Array) -> Array:
        """Blending function at reference positions (n, 3) -> (n,)."""
        t = np.clip((self.centres.distance(x) - self.core) / self.width, 0.0, 1.0)
        return t * t * t * (10.0 + t * (6.0 * t - 15.0))
