"""Lattice sites counted modulo the periodic directions of a sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.crystal.lattice import smith_normal_form
from qc.errors import CrystalError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: More sites than this in a sample's bounding box are refused before they are allocated.
MOST_SITES = 100_000_000


class SiteGrid:
    """A box of lattice sites, periodic in some directions, with one flat index per site.

    Parameters
    ----------
    periods : (k, 3) int
        Integer lattice vectors of the periodic directions, k from 0 to 3.
    n_sublattices : int
    m : (n, 3) int
        Integer coordinates that the box has to hold.

    Raises
    ------
    CrystalError
        The box would hold more than 10^8 sites.
    """

    def __init__(self, periods: ArrayLike, n_sublattices: int, m: IntArray) -> None:
        d, self._v = smith_normal_form(periods)
        self._v_inverse = np.round(np.linalg.inv(self._v.astype(float))).astype(np.int64)
        self.n_periodic = len(d)
        self.n_sublattices = n_sublattices
        q = m @ self._v
        self._low = np.zeros(3, dtype=np.int64)
        size = np.array([*d, *[1] * (3 - len(d))], dtype=np.int64)
        for k in range(len(d), 3):
            self._low[k] = q[:, k].min() - 1
            size[k] = q[:, k].max() + 2 - self._low[k]
        self.shape = size
        self.n_sites = int(np.prod([int(v) for v in size])) * n_sublattices
        if self.n_sites > MOST_SITES:
            raise CrystalError(f"the sample's bounding box holds {self.n_sites} lattice sites")

    def index(self, m: ArrayLike, s: ArrayLike = 0) -> IntArray:
        """Return the flat index (n,) of sites; -1 for sites outside the box."""
        q = np.asarray(m, dtype=np.int64) @ self._v - self._low
        k = self.n_periodic
        q[:, :k] %= self.shape[:k]
        inside = ((q >= 0) & (q < self.shape)).all(axis=1)
        flat = (q[:, 0] * self.shape[1] + q[:, 1]) * self.shape[2] + q[:, 2]
        return np.where(inside, flat * self.n_sublattices + np.asarray(s, dtype=np.int64), -1)

    def sites(self, flat: IntArray) -> tuple[IntArray, IntArray]:
        """Return integer coordinates (n, 3) and sublattices (n,) of flat indices."""
        cell, s = np.divmod(np.asarray(flat, dtype=np.int64), self.n_sublattices)
        rest, q2 = np.divmod(cell, self.shape[2])
        q0, q1 = np.divmod(rest, self.shape[1])
        return (np.stack([q0, q1, q2], axis=1) + self._low) @ self._v_inverse, s
