"""Look sites up by their integers, all at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


class SiteIndex:
    """Where sites stand in an array.

    Parameters
    ----------
    sites : (n, k) int64
        Lattice coordinates, with a sublattice or without; each once.
    """

    def __init__(self, sites: IntArray) -> None:
        self._empty = not len(sites)
        if self._empty:
            return
        self._low = sites.min(axis=0)
        self._span = tuple(int(v) for v in sites.max(axis=0) - self._low + 1)
        keys = np.ravel_multi_index(tuple((sites - self._low).T), self._span)
        self._order = np.argsort(keys)
        self._keys = keys[self._order]

    def find(self, sites: IntArray) -> IntArray:
        """Return the row of each site (m, k), -1 where there is none, (m,)."""
        if self._empty:
            return np.full(len(sites), -1, dtype=np.int64)
        low, span = self._low, self._span
        inside = np.all((sites >= low) & (sites < low + span), axis=1)
        key = np.ravel_multi_index(tuple((np.where(inside[:, None], sites, low) - low).T), span)
        at = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1)
        return np.where(inside & (self._keys[at] == key), self._order[at], -1)
