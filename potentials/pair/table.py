"""Tabulated pair potentials: one C2 cubic spline for each pair of species."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from qc.errors import InputError, PotentialError

from ..base import Array, IntArray
from ..splines import MINIMUM_VALUES
from .central import TRUNCATIONS, CentralPotential, Jet
from .function import PairFunction


class PairTable(CentralPotential):
    """Pair potential from tables of energies, ``V_i = 1/2 sum_b phi_st(r_b)``.

    Every pair function is the cubic spline through its energies that has two continuous
    derivatives and the given slopes at its ends; the force is its exact derivative.

    Parameters
    ----------
    species : str or sequence of str
        Chemical symbols.
    tables : mapping of (str, str) to PairFunction
        One table for each unordered pair of species.
    cutoff : float, optional
        Angstrom; the largest end of a table unless given, and never beyond it. A truncated
        function needs one that no table falls short of: the smallest end.
    truncation : {"none", "smooth", "shift_force"}
        ``"none"`` takes a function as it is and cuts it at its end: if the table does not come to
        zero there, energy and force jump. The others are those of `CentralPotential`.
    switch : float
        Start of the smooth step in units of the cutoff.
    source : str
        Where the tables come from.

    Raises
    ------
    PotentialError
        A pair without table, a table too short, not finite or not rising; a cutoff beyond the
        tables.

    Notes
    -----
    Evaluation at a distance below the first of a table raises `InputError` with the distance: the
    table does not say what happens there, and LAMMPS stops too.

    LAMMPS ``pair_style table`` begins with the same spline of the energies, and with another of the
    forces, evaluates both at N distances evenly spaced in r^2, and interpolates those values,
    energy and force apart: ``lookup`` takes the nearest, ``linear`` a straight line, ``spline``
    cubics in r^2, ``bitmap`` straight lines on a grid in the bits of r^2. Its force is thus not
    the derivative of its energy; the two programs differ by what N leaves open, and in the force
    by the mismatch of the file's two columns.
    """

    truncations: ClassVar[tuple[str, ...]] = ("none", *TRUNCATIONS)

    def __init__(
        self,
        species: str | Sequence[str],
        tables: Mapping[tuple[str, str], PairFunction],
        cutoff: float | None = None,
        truncation: Literal["none", "smooth", "shift_force"] = "none",
        switch: float = 0.8,
        source: str = "",
    ) -> None:
        names = (species,) if isinstance(species, str) else tuple(species)
        found: dict[tuple[int, int], _Spline] = {}
        for (a, b), table in tables.items():
            if a not in names or b not in names:
                raise PotentialError(f"a table of {a}-{b}, but species are {', '.join(names)}")
            s, t = names.index(a), names.index(b)
            if (s, t) in found:
                raise PotentialError(f"two tables of {a}-{b}")
            found[s, t] = found[t, s] = _Spline(PairFunction(*table), f"{a}-{b}")
        missing = [
            f"{a}-{b}"
            for s, a in enumerate(names)
            for t, b in enumerate(names[: s + 1])
            if (s, t) not in found
        ]
        if missing:
            raise PotentialError(f"no table of {', '.join(missing)}")
        ends = [table.r[-1] for table in found.values()]
        reach = (max(ends) if truncation == "none" else min(ends)) if names else 1.0
        super().__init__(names, reach if cutoff is None else cutoff, truncation, switch)
        if self.cutoff > reach * (1.0 + 1e-12):
            raise PotentialError(f"cutoff {self.cutoff:g} lies beyond the tables' end {reach:g}")
        self._splines, self.source = found, source

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        keywords: Mapping[tuple[str, str], str] | None = None,
        cutoff: float | None = None,
        truncation: Literal["none", "smooth", "shift_force"] = "none",
        switch: float = 0.8,
    ) -> PairTable:
        """Read a LAMMPS ``table`` file.

        Parameters
        ----------
        path : str or Path
            The file, in units metal.
        keywords : mapping of (str, str) to str, optional
            The section of each pair of species, ``{("Ar", "Kr"): "ArKr"}``; species are indexed in
            the order in which they come up. Unless given, sections must be named after their
            pair, ``Ar_Kr`` or ``Ar-Kr``.
        cutoff, truncation, switch
            As for `PairTable`.

        Raises
        ------
        PotentialFileError
            The file cannot be read as tables; the message carries file and line.
        """
        from .table_files import read_pair_table

        species, tables = read_pair_table(path, keywords)
        return cls(species, tables, cutoff, truncation, switch, source=Path(path).name)

    def knots(self, a: str, b: str) -> tuple[Array, Array, Array]:
        """Return distances, energies and slopes dE/dr of the spline of two species, (n,) each."""
        s, t = self.types_of([a, b])
        spline = self._splines[int(s), int(t)]
        return spline.r, spline.rows[:, 0], spline.slopes

    def pair(self, r: Array, s: IntArray, t: IntArray) -> Jet:
        """Return the pair energy with its derivatives, zero beyond the end of a table.

        Raises
        ------
        InputError
            A distance below the first of the table.
        """
        ns = len(self.species)
        kinds = np.asarray(s) * ns + np.asarray(t)
        if kinds.size == 1:
            return self._splines[divmod(int(kinds.ravel()[0]), ns)].jet(np.asarray(r))
        r, kinds = np.broadcast_arrays(r, kinds)
        whole = Jet(*(np.zeros(r.shape) for _ in range(3)))
        for kind in np.unique(kinds):
            here = kinds == kind
            for out, part in zip(
                whole, self._splines[divmod(int(kind), ns)].jet(r[here]), strict=True
            ):
                out[here] = part
        return whole

    def parameters(self) -> tuple[Array | float | str, ...]:
        """Return everything the energy depends on."""
        items: list[Array | float | str] = []
        for s in range(len(self.species)):
            for t in range(s + 1):
                spline = self._splines[s, t]
                items += [spline.r, spline.rows[:, 0], spline.slopes]
        return (*items, self.truncation, self.switch)

    def _truncate(self, function: Any, r: Array, s: IntArray, t: IntArray) -> Jet:
        if self.truncation == "none":
            return Jet(*function(r, s, t))
        return super()._truncate(function, r, s, t)

    @cached_property
    def _pieces(self) -> Any:
        from .fit import fit_knots

        knots = []
        joints = [self.switch * self.cutoff] if self.truncation == "smooth" else []
        for s in range(len(self.species)):
            row = []
            for t in range(len(self.species)):
                r = self._splines[s, t].r
                end = min(r[-1], self.cutoff)
                inner = [x for x in joints if r[0] < x < end]
                row.append(np.unique(np.concatenate([r[r < end], inner, [end]])))
            knots.append(row)
        return fit_knots(self.truncated_pair, knots, self.cutoff)


class _Spline:
    """The C2 cubic spline of one table: coefficients in powers of the way from each knot."""

    def __init__(self, table: PairFunction, pair: str) -> None:
        self.pair = pair
        self.r = r = np.array(table.r, dtype=np.float64)
        f = np.array(table.energy, dtype=np.float64)
        if r.ndim != 1 or f.shape != r.shape:
            raise PotentialError(f"table of {pair}: {r.shape} distances and {f.shape} energies")
        if len(r) < MINIMUM_VALUES:
            raise PotentialError(f"table of {pair} needs at least {MINIMUM_VALUES} values")
        for name, values in (("distance", r), ("energy", f)):
            if not np.isfinite(values).all():
                k = int(np.argmin(np.isfinite(values)))
                raise PotentialError(f"table of {pair}: {name} {k + 1} is not finite")
        if r[0] <= 0.0:
            raise PotentialError(
                f"table of {pair}: the first distance must be positive, not {r[0]}"
            )
        if (np.diff(r) <= 0.0).any():
            k = int(np.argmax(np.diff(r) <= 0.0)) + 1
            raise PotentialError(
                f"table of {pair}: distances must rise; number {k + 1}, {r[k]:g}, follows "
                f"{r[k - 1]:g}"
            )
        given = table.slopes
        ends = (_end_slope(r, f), _end_slope(r[::-1], f[::-1])) if given is None else given
        with np.errstate(all="ignore"):
            self.slopes = _slopes(r, f, float(ends[0]), float(ends[1]))
            h, m = np.diff(r), self.slopes
            rise = np.diff(f) / h
            rows = np.zeros((len(r), 4))
            rows[:, 0], rows[:, 1] = f, m
            rows[:-1, 2] = (3.0 * rise - 2.0 * m[:-1] - m[1:]) / h
            rows[:-1, 3] = (m[:-1] + m[1:] - 2.0 * rise) / h**2
        if not np.isfinite(rows).all():
            raise PotentialError(f"table of {pair} is too steep for a spline")
        self.rows = rows
        for array in (r, rows, self.slopes):
            array.flags.writeable = False

    def jet(self, r: Array) -> Jet:
        """Return value and derivatives, zero beyond the end."""
        low = float(np.min(r, initial=np.inf))
        if low < self.r[0]:
            raise InputError(
                f"{self.pair} at a distance of {low:g} Angstrom, below the first of its table, "
                f"{self.r[0]:g}"
            )
        k = np.clip(np.searchsorted(self.r, r, side="right") - 1, 0, len(self.r) - 2)
        c, t = self.rows[k], np.asarray(r - self.r[k])
        inside = r <= self.r[-1]
        return Jet(
            np.where(inside, c[..., 0] + t * (c[..., 1] + t * (c[..., 2] + t * c[..., 3])), 0.0),
            np.where(inside, c[..., 1] + t * (2.0 * c[..., 2] + t * 3.0 * c[..., 3]), 0.0),
            np.where(inside, 2.0 * c[..., 2] + t * 6.0 * c[..., 3], 0.0),
        )


def _end_slope(r: Array, f: Array) -> float:
    """Return the slope at the first of four points of the cubic through them."""
    x, d = r[:4] - r[0], np.array(f[:4], dtype=np.float64)
    # Newton's divided differences.
    for k in range(1, 4):
        d[k:] = (d[k:] - d[k - 1 : -1]) / (x[k:] - x[: 4 - k])
    return float(d[1] - d[2] * x[1] + d[3] * x[1] * x[2])


def _slopes(r: Array, f: Array, first: float, last: float) -> Array:
    """Return knot slopes of the clamped spline: continuity of the second derivative."""
    h = np.diff(r)
    rise = np.diff(f) / h
    low, diagonal, up = h[1:], 2.0 * (h[:-1] + h[1:]), h[:-1]
    right = 3.0 * (low * rise[:-1] + up * rise[1:])
    right[0] -= low[0] * first
    right[-1] -= up[-1] * last
    # Thomas elimination; plain floats, because numpy scalars are ten times slower in a loop.
    a, b, c, d = low.tolist(), diagonal.tolist(), up.tolist(), right.tolist()
    for k in range(1, len(d)):
        factor = a[k] / b[k - 1]
        b[k] -= factor * c[k - 1]
        d[k] -= factor * d[k - 1]
    d[-1] /= b[-1]
    for k in range(len(d) - 2, -1, -1):
        d[k] = (d[k] - c[k] * d[k + 1]) / b[k]
    return np.array([first, *d, last])
