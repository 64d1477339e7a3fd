"""The state of a model, as a value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class State:
    """What tells a model from another of the same specification.

    Neighbour lists and warm starts of solvers are no part of it: they change nothing but last
    digits.

    Attributes
    ----------
    U : (n_nodes, 3) float64, Angstrom
        Corrector displacements of the nodes.
    internal : (n_q, n_s, 3) float64
        Internal variables of the elements at their quadrature points, the sublattice shifts in
        Angstrom of a crystal with a basis: those that the next relaxation starts from.
    """

    U: Array
    internal: Array
