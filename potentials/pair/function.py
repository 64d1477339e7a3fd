"""The table of one pair of species, as files hold it and potentials are made from."""

from __future__ import annotations

from typing import NamedTuple

from numpy.typing import ArrayLike


class PairFunction(NamedTuple):
    """The table of one pair of species.

    ``r`` (n,) Angstrom, rising, and ``energy`` (n,) eV; ``slopes``, eV/Angstrom, is dE/dr at the
    first and the last distance, estimated from four values each unless given.
    """

    r: ArrayLike
    energy: ArrayLike
    slopes: tuple[float, float] | None = None
