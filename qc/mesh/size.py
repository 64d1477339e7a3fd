"""Size fields: how large an element may be, as a function of the distance to the core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.numerics.checks import positive

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PowerGrading:
    """Element size ``h(d)``: one lattice cell up to ``full``, then growing as a power.

    ``h = spacing * (d / full) ** exponent`` for ``d > full``, at most ``largest`` times ``d``.

    Parameters
    ----------
    distance : callable
        Maps positions (n, 3) to distances (n,) from the core set, Angstrom; 1-Lipschitz.
    full : float, Angstrom
        Every site nearer than this is a vertex.
    spacing : float, Angstrom
        Element size at ``full``, about one nearest-neighbour distance.
    exponent : float
        3/2 in 2D and 8/5 in 3D are optimal for P1 elements and point defects.
    largest : float
        Bound on ``h / d``, which keeps a few elements between the core and the boundary.

    Notes
    -----
    Source of the exponents: Luskin & Ortner, Acta Numerica 22 (2013) 397, section 5.
    """

    distance: Callable[[Array], Array]
    full: float
    spacing: float
    exponent: float
    largest: float = 0.5

    def __post_init__(self) -> None:
        for name in ("full", "spacing", "exponent", "largest"):
            positive(f"size field: {name}", getattr(self, name))

    def size(self, d: Array) -> Array:
        """Element size at distance ``d``, Angstrom."""
        grown = self.spacing * np.maximum(d / self.full, 1.0) ** self.exponent
        return np.minimum(grown, np.maximum(self.largest * d, self.spacing))
