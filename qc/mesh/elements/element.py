"""What a finite element is: nodes and shape functions in barycentric coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Element:
    """A Lagrange element on simplices, as data.

    Parameters
    ----------
    order : int
        Of its polynomials.
    nodes : callable
        Takes the dimension d, returns barycentric coordinates of the nodes, (k, d + 1): the
        corners first, in their order. Further ones lie on edges, faces or inside, and a mesh has
        them where they are lattice sites; elsewhere they follow the corners linearly.
    values : callable
        Shape functions at barycentric points (n, d + 1), (n, k).
    derivatives : callable
        Their derivatives by the barycentric coordinates, (n, k, d + 1).
    sharing : callable
        Takes d, returns one over the part of an element's mass that each node lumps, (k,): all
        positive, their inverses add up to one.
    """

    order: int
    nodes: Callable[[int], Array]
    values: Callable[[Array], Array]
    derivatives: Callable[[Array], Array]
    sharing: Callable[[int], Array]
