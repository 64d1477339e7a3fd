"""Point defects: what a crystal has or lacks at single sites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qc.errors import InputError
from qc.numerics.checks import coordinates, kind, numbers

Site = tuple[int, ...]

#: Lattice coordinates beyond this are no site of any model: positions have no digits left there.
FARTHEST_SITE = 10**12


@dataclass(frozen=True)
class PointDefects:
    """Departures of the crystal from its perfect sites.

    Parameters
    ----------
    vacant : sequence of (3,) or (4,) int
        Lattice coordinates of empty sites; a fourth integer is the sublattice, 0 by default.
    substitutions : mapping of (3,) or (4,) int to str
        Chemical symbols of foreign atoms on sites.
    extra : sequence of (str, (3,) float)
        Symbols and reference positions (Angstrom) of atoms without a site.

    Raises
    ------
    InputError
        A site is not three or four integers or is named twice, or a position is not finite.
    """

    vacant: Sequence[Site] = ()
    substitutions: Mapping[Site, str] | None = None
    extra: Sequence[tuple[str, Sequence[float]]] = ()

    def __post_init__(self) -> None:
        if self.substitutions is not None:
            kind("substitutions", self.substitutions, Mapping)
        for name in ("vacant", "extra"):
            kind(name, getattr(self, name), Iterable)
        seen: set[Site] = set()
        for what, sites in (("vacant", self.vacant), ("substituted", self.substitutions or ())):
            for site in sites:
                key = site_key(site, what)
                if key in seen:
                    given = tuple(int(v) for v in site)
                    raise InputError(f"site {given} is named twice")
                seen.add(key)
        for atom in self.extra:
            if not isinstance(atom, tuple | list) or len(atom) != 2:
                raise InputError(f"extra atom {atom!r} must be a symbol and a position")
            symbol, x = atom
            values = coordinates(f"position of an extra {symbol} atom", x)
            if values.shape != (3,):
                raise InputError(f"position {x} of an extra {symbol} atom must be three numbers")

    def __bool__(self) -> bool:
        """Return whether there is any departure."""
        return bool(self.vacant or self.extra or self.substitutions)


def site_key(site: Sequence[int], what: str = "named") -> tuple[int, int, int, int]:
    """Return lattice coordinates with the sublattice as fourth integer, 0 unless it is given.

    Raises
    ------
    InputError
        The site is not three or four integers, or beyond `FARTHEST_SITE`.
    """
    values = numbers(f"{what} site", site)
    if values.shape not in ((3,), (4,)) or not np.array_equal(values, np.rint(values)):
        raise InputError(f"{what} site {site} must be three integers, or four with a sublattice")
    if np.abs(values).max() > FARTHEST_SITE:
        raise InputError(f"{what} site {site} is more than {FARTHEST_SITE:.0g} cells away")
    m = [int(v) for v in values]
    return m[0], m[1], m[2], m[3] if len(m) == 4 else 0
