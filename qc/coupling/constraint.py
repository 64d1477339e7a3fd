"""Which displacements of the nodes are unknowns: ``U = T q + U0``."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Constraint:
    """What holds and ties the nodes.

    Unknowns q live in the rows of their own nodes, so that arrays keep one shape, (n_nodes, 3):
    the rows of followers hold nothing, and those of held components what they are held at.

    Attributes
    ----------
    free : (n, 3) bool
        Components that are unknowns.
    followers : (m,) int64
        Nodes that move as others do; none of their components is free.
    leaders : (m, n) csr_matrix or None
        How: ``U[followers] = leaders @ U``. Rows name free or held nodes, no followers.
    held_at : (n, 3) float64 or None, Angstrom
        U0, the displacement of held components; None for zero.
    """

    free: NDArray[np.bool_]
    followers: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    leaders: sp.csr_matrix | None = None
    held_at: Array | None = None

    def start(self) -> Array:
        """Return ``U0``: displacements where all unknowns are zero, (n, 3) Angstrom."""
        if self.held_at is None:
            return np.zeros(self.free.shape)
        return self.expand(np.where(self.free, 0.0, self.held_at))

    def expand(self, u: Array) -> Array:
        """Return displacements in which followers are where their leaders are, (n, 3).

        The array itself where there are no followers.
        """
        if self.leaders is None:
            return u
        out = np.array(u)
        out[self.followers] = self.leaders @ u
        return out

    def restrict(self, forces: Array) -> Array:
        """Hand forces of followers to their leaders and drop those on held components, in place.

        ``T^T f``: returns the array (n, 3).
        """
        self.gather(forces)
        forces[~self.free] = 0.0
        return forces

    def gather(self, values: Array) -> Array:
        """Add what followers have, (n, ...), to their leaders, in place; return it."""
        if self.leaders is not None:
            values += self.leaders.T @ values[self.followers]
            values[self.followers] = 0.0
        return values

    def matrix(self, stiffness: sp.spmatrix) -> sp.csr_matrix:
        """Return ``T^T K T`` over all components, (3 n, 3 n); rows of followers are empty."""
        if self.leaders is None:
            return stiffness
        n = len(self.free)
        keep = np.ones(n)
        keep[self.followers] = 0.0
        pick = sp.csr_matrix(
            (np.ones(len(self.followers)), (self.followers, np.arange(len(self.followers)))),
            (n, len(self.followers)),
        )
        t = sp.kron(sp.diags(keep) + pick @ self.leaders, sp.identity(3), format="csr")
        return (t.T @ stiffness @ t).tocsr()
