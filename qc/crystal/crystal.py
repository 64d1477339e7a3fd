"""The reference crystal: lattice, basis, orientation and the mode it is used in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import ArrayLike, NDArray

from qc.crystal.lattice import (
    gauss_reduce,
    lattice_points_in_ball,
    minkowski_transform,
    rational_direction,
    unimodular_completion,
)
from qc.crystal.miller import Direction, miller_indices
from qc.errors import CrystalError, suggest
from qc.numerics.checks import not_negative, numbers, positive

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Mode = Literal["3d", "columns", "monolayer"]


@dataclass(frozen=True, eq=False)
class Crystal:
    """A perfect crystal: sites at ``m @ cell + basis[s]`` for all integer ``m``.

    Parameters
    ----------
    cell : (3, 3) float, Angstrom
        Rows are primitive lattice vectors, Cartesian, right-handed.
    basis : (n_s, 3) float, Angstrom
        Cartesian offsets of the sublattices; ``basis[0]`` is zero.
    symbols : tuple of str
        Chemical symbol of each sublattice.
    name : str
        ``"fcc"``, ``"bcc"``, ``"diamond"``, ``"hcp"``, ``"triangular"``, ``"bravais"`` or
        ``"multilattice"``.
    a : float, Angstrom
        Lattice constant of the conventional cell (``|cell[0]|`` for unnamed lattices).
    rotation : (3, 3) float
        From the axes of the conventional cell to the Cartesian axes.
    mode : {"3d", "columns", "monolayer"}
        ``"columns"``: ``cell[2]`` is the shortest lattice vector along +z, one mesh vertex
        stands for a column of atoms. ``"monolayer"``: ``cell[2] = (0, 0, 1)`` is a
        normalisation and carries no periodicity, volumes are areas.

    Raises
    ------
    CrystalError
        The cell is singular, left-handed or not finite, the basis does not fit the symbols, two
        sites coincide, or the mode does not fit the cell.
    """

    cell: Array
    basis: Array
    symbols: tuple[str, ...]
    name: str
    a: float
    rotation: Array
    mode: Mode = "3d"

    def __post_init__(self) -> None:
        """Freeze the arrays and check everything."""
        for field, shape in (("cell", (3, 3)), ("rotation", (3, 3)), ("basis", (-1, 3))):
            try:
                value = np.array(getattr(self, field), dtype=np.float64).reshape(shape)
            except (TypeError, ValueError):
                raise CrystalError(f"crystal {self.name!r}: {field} must be {shape}") from None
            if not np.isfinite(value).all():
                raise CrystalError(f"crystal {self.name!r}: {field} holds NaN or inf")
            value.flags.writeable = False
            object.__setattr__(self, field, value)
        object.__setattr__(self, "symbols", tuple(self.symbols))
        object.__setattr__(self, "a", float(self.a))
        self._check()

    def _check(self) -> None:
        label = f"crystal {self.name!r}"
        positive(f"{label}: lattice constant", self.a, CrystalError)
        lengths = np.linalg.norm(self.cell, axis=1)
        volume = np.linalg.det(self.cell)
        if abs(volume) <= 1e-9 * lengths.prod():
            raise CrystalError(f"{label}: the cell vectors are linearly dependent")
        if volume < 0:
            raise CrystalError(f"{label}: the cell is left-handed")
        if len(self.basis) == 0 or np.abs(self.basis[0]).max() > 1e-9 * self.a:
            raise CrystalError(f"{label}: basis[0] must be zero")
        if len(self.symbols) != len(self.basis):
            raise CrystalError(
                f"{label}: {len(self.basis)} sublattices but {len(self.symbols)} symbols"
            )
        for symbol in self.symbols:
            _check_symbol(symbol)
        if np.abs(self.rotation @ self.rotation.T - np.eye(3)).max() > 1e-8:
            raise CrystalError(f"{label}: rotation is not orthogonal")
        if np.linalg.det(self.rotation) < 0:
            raise CrystalError(f"{label}: rotation is a reflection")
        if self.mode not in ("3d", "columns", "monolayer"):
            known = ("3d", "columns", "monolayer")
            raise CrystalError(f"{label}: mode {self.mode!r}{suggest(self.mode, known)}")
        if self.mode == "columns":
            off = np.abs(self.cell[2, :2]).max()
            if off > 1e-8 * lengths[2] or self.cell[2, 2] <= 0:
                raise CrystalError(f"{label}: columns need cell[2] along +z, got {self.cell[2]}")
        if self.mode == "monolayer":
            if np.abs(self.cell[2] - [0, 0, 1]).max() > 1e-12 or np.abs(self.cell[:2, 2]).max() > (
                1e-9 * self.a
            ):
                raise CrystalError(f"{label}: a monolayer lies in z = 0 with cell[2] = (0, 0, 1)")
            if np.abs(self.basis[:, 2]).max() > 1e-9 * self.a:
                raise CrystalError(f"{label}: a monolayer's basis lies in z = 0")
        for s in range(1, self.n_sublattices):
            if self._nearest_lattice_point(self.basis[s] - self.basis[:s])[1].min() < 1e-6 * self.a:
                raise CrystalError(f"{label}: sublattice {s} coincides with another one")

    # -- size and shape ---------------------------------------------------------------------

    @property
    def n_sublattices(self) -> int:
        """Number of sites in the primitive cell."""
        return len(self.basis)

    @property
    def is_bravais(self) -> bool:
        """True if every site is a centre of inversion of one lattice: no sublattice shifts."""
        return self.n_sublattices == 1

    def require_bravais(self, what: str) -> None:
        """Raise CrystalError naming the structure unless it is a Bravais lattice.

        Parameters
        ----------
        what : str
            What needs it, for the message.
        """
        if not self.is_bravais:
            raise CrystalError(
                f"{what}: {self.name} {'-'.join(self.symbols)} has {self.n_sublattices} atoms in "
                "its primitive cell and needs sublattice shifts, which are not supported here; "
                "use a Bravais lattice (fcc, bcc)"
            )

    @property
    def dim(self) -> int:
        """Dimension of a mesh over this crystal: 3, or 2 for columns and monolayers."""
        return 3 if self.mode == "3d" else 2

    @property
    def is_columns(self) -> bool:
        """Whether it stands for columns of atoms, whose period along the line is ``cell[2]``."""
        return self.mode == "columns"

    @cached_property
    def volume(self) -> float:
        """Volume of the primitive cell, Angstrom^3 (Angstrom^2 for a monolayer)."""
        return float(np.linalg.det(self.cell))

    @property
    def site_volume(self) -> float:
        """Volume per atom, Angstrom^3 (Angstrom^2 for a monolayer)."""
        return self.volume / self.n_sublattices

    def sites_within(self, radius: float) -> float:
        """Return about how many sites lie within a radius, Angstrom, of a point."""
        flat = self.mode == "monolayer"
        return (np.pi * radius**2 if flat else 4.0 / 3.0 * np.pi * radius**3) / self.site_volume

    @cached_property
    def inverse_cell(self) -> Array:
        """(3, 3) float: ``X @ inverse_cell`` are the lattice coordinates of ``X``."""
        inverse = np.asarray(np.linalg.inv(self.cell), dtype=np.float64)
        inverse.flags.writeable = False
        return inverse

    @property
    def c(self) -> float | None:
        """Second lattice constant of hcp, Angstrom; None where there is one only."""
        return self.volume / float(np.sqrt(3) / 2 * self.a**2) if self.name == "hcp" else None

    @cached_property
    def conventional(self) -> Array:
        """(3, 3) float, Angstrom: rows are the vectors that Miller indices refer to, Cartesian.

        The cube for fcc, bcc and diamond, the hexagonal cell for hcp, else the primitive cell.
        """
        if self.name in ("fcc", "bcc", "diamond"):
            return self.a * self.rotation.T
        if self.name == "hcp":
            c = self.c
            assert c is not None
            return hexagonal_cell(self.a, c) @ self.rotation.T
        return self.cell

    def vector(self, direction: Direction) -> Array:
        """Return the Cartesian vector (3,) float, Angstrom, of Miller indices ``[u, v, w]``.

        ``0.5 * crystal.vector([1, 1, 0])`` is a Burgers vector of an fcc crystal.
        """
        return miller_indices(direction) @ self.conventional

    @cached_property
    def nearest_neighbour(self) -> float:
        """Nearest-neighbour distance, Angstrom."""
        short = (self._reduction @ self.cell)[: self.dim_lattice]
        radius = float(np.linalg.norm(short, axis=1).min())
        return min(
            float(np.linalg.norm(self.star(radius, s), axis=1).min())
            for s in range(self.n_sublattices)
        )

    @cached_property
    def star_radius(self) -> float:
        """Radius, Angstrom, in the first wide gap between shells of neighbours.

        The first gap of more than 15 % that has at least 12 neighbours inside (6 in a
        monolayer): the first shell of fcc, hcp and the triangular lattice, the first two of bcc
        and diamond.
        """
        enough = 6 if self.mode == "monolayer" else 12
        for reach in (3, 6, 12):
            lengths = np.linalg.norm(self.star(reach * self.nearest_neighbour), axis=1)
            inner, outer = lengths[:-1], lengths[1:]
            wide = (outer > 1.15 * inner) & (np.arange(1, len(lengths)) >= enough)
            if wide.any():
                k = int(np.argmax(wide))
                return float(0.5 * (inner[k] + outer[k]))
        raise CrystalError(f"{self.name}: no gap between shells of neighbours to end the star in")

    @property
    def dim_lattice(self) -> int:
        """Number of directions in which the lattice repeats: 3, or 2 for a monolayer."""
        return 2 if self.mode == "monolayer" else 3

    # -- sites ------------------------------------------------------------------------------

    def positions(self, m: ArrayLike, s: ArrayLike = 0) -> Array:
        """Return reference positions (n, 3) float, Angstrom, of sites.

        Parameters
        ----------
        m : (n, 3) int
            Integer lattice coordinates.
        s : int or (n,) int
            Sublattice.
        """
        sites = np.asarray(m)
        if sites.dtype.kind not in "iuf":
            raise CrystalError(f"sites must be integer coordinates, got {m!r}")
        try:
            return sites @ self.cell + self.basis[np.asarray(s)]
        except IndexError as error:
            raise CrystalError(f"{self.name} has {self.n_sublattices} sublattices") from error

    def star(self, radius: float, sublattice: int = 0) -> Array:
        """Return the bond vectors (nb, 3) float, Angstrom, from a site to all within a radius.

        Ordered by length, then by integer coordinates. In a monolayer they lie in the plane.
        """
        return self.star_sites(radius, sublattice)[0]

    def star_sites(self, radius: float, sublattice: int = 0) -> tuple[Array, IntArray, IntArray]:
        """Return bond vectors with the sites at their far ends.

        Returns
        -------
        vectors : (nb, 3) float, Angstrom
        m : (nb, 3) int64
            Integer coordinates of the far end, relative to the near end.
        s : (nb,) int64
            Sublattice of the far end.
        """
        not_negative("star: radius", radius, CrystalError)
        if not 0 <= sublattice < self.n_sublattices:
            raise CrystalError(f"{self.name} has no sublattice {sublattice}")
        reach = radius + 1e-9 * self.a
        vectors, coordinates, sublattices = [], [], []
        for s in range(self.n_sublattices):
            shift = self.basis[s] - self.basis[sublattice]
            m = self._points_in_ball(reach, -shift)
            v = m @ self.cell + shift
            keep = np.linalg.norm(v, axis=1) > 1e-6 * self.a
            vectors.append(v[keep])
            coordinates.append(m[keep])
            sublattices.append(np.full(keep.sum(), s, dtype=np.int64))
        v, m, s_all = map(np.concatenate, (vectors, coordinates, sublattices))
        # Lengths are compared on a grid, or round-off would order a shell differently per host.
        length = np.round(np.linalg.norm(v, axis=1) / (1e-6 * self.a))
        order = np.lexsort((m[:, 2], m[:, 1], m[:, 0], s_all, length))
        return v[order], m[order], s_all[order]

    def _points_in_ball(self, radius: float, centre: Array) -> IntArray:
        if self.mode == "monolayer":
            flat = self.cell.copy()
            flat[2, 2] = 4 * radius + 1.0
            m = lattice_points_in_ball(flat, radius, centre)
            return m[m[:, 2] == 0]
        t = self._reduction
        return lattice_points_in_ball(t @ self.cell, radius, centre) @ t

    @cached_property
    def _reduction(self) -> IntArray:
        """Unimodular (3, 3) int64: rows of ``_reduction @ cell`` are short lattice vectors."""
        if self.mode != "monolayer":
            return minkowski_transform(self.cell)
        t = np.eye(3, dtype=np.int64)
        t[:2, :2] = gauss_reduce(self.cell[0], self.cell[1])
        return t

    def integer_coordinates(
        self, X: ArrayLike, sublattices: Sequence[int] | range | None = None
    ) -> tuple[IntArray, IntArray, Array]:
        """Return the lattice site nearest to each position.

        Parameters
        ----------
        X : (n, 3) or (3,) float, Angstrom
        sublattices : sequence of int, optional
            Sublattices to consider; all by default.

        Returns
        -------
        m : (n, 3) int64
            Integer coordinates.
        s : (n,) int64
            Sublattice.
        distance : (n,) float, Angstrom
            From the site to the position.
        """
        X = np.atleast_2d(numbers("positions", X, CrystalError))
        if not np.isfinite(X).all():
            bad = int(np.flatnonzero(~np.isfinite(X).all(axis=1))[0])
            raise CrystalError(f"position {bad} is NaN or inf: {X[bad]}")
        best_m = np.zeros((len(X), 3), dtype=np.int64)
        best_s = np.zeros(len(X), dtype=np.int64)
        best_d = np.full(len(X), np.inf)
        for s in range(self.n_sublattices) if sublattices is None else sublattices:
            m, d = self._nearest_lattice_point(X - self.basis[s])
            closer = d < best_d - 1e-9 * self.a if s else d < best_d
            best_m[closer], best_s[closer], best_d[closer] = m[closer], s, d[closer]
        return best_m, best_s, best_d

    def _nearest_lattice_point(self, X: Array) -> tuple[IntArray, Array]:
        t = self._reduction
        cell = t @ self.cell
        n_dir = self.dim_lattice
        coordinate = X @ np.linalg.inv(cell)
        m = np.round(coordinate).astype(np.int64)
        m[:, n_dir:] = 0
        d = np.linalg.norm(X - m @ cell, axis=1)
        # Rounding is exact inside the packing sphere; outside it the neighbouring cells of a
        # Minkowski-reduced basis hold the nearest point.
        packing = 0.5 * np.linalg.norm(cell[:n_dir], axis=1).min()
        far = np.flatnonzero(d > 0.999 * packing)
        if len(far):
            steps = np.array([-1, 0, 1])
            shift = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
            shift = shift[(shift[:, n_dir:] == 0).all(axis=1)]
            start_m = m[far].copy()
            for k in shift:
                trial = start_m + k
                trial_d = np.linalg.norm(X[far] - trial @ cell, axis=1)
                better = trial_d < d[far] - 1e-12 * self.a
                m[far[better]], d[far[better]] = trial[better], trial_d[better]
        return m @ t, d

    # -- other crystals ---------------------------------------------------------------------

    def as_columns(self, line: Direction | None = None) -> Crystal:
        """Return the crystal in 2.5D: ``cell[2]`` along +z, the other two short in the plane.

        ``cell[2]`` is the shortest lattice vector along +z. The projections of ``cell[:2]`` on
        the xy plane are a short basis of the projected lattice; ``cell[0]`` projects onto +x if
        a short vector does.

        Parameters
        ----------
        line : sequence of int, optional
            Miller direction that is expected along z, checked if given.

        Raises
        ------
        CrystalError
            No lattice vector lies along z, or ``line`` is not along z.
        """
        if self.mode == "monolayer":
            raise CrystalError(f"{self.name}: a monolayer has no columns")
        if line is not None:
            v = self.vector(line)
            if np.linalg.norm(v[:2]) > 1e-8 * np.linalg.norm(v) or v[2] <= 0:
                raise CrystalError(
                    f"{self.name}: [{' '.join(map(str, line))}] lies along "
                    f"{np.round(v / np.linalg.norm(v), 4)}, not along z; orient the crystal with "
                    "z=..."
                )
        m3 = rational_direction(np.array([0.0, 0.0, 1.0]) @ self.inverse_cell)
        if m3 is None:
            raise CrystalError(f"{self.name}: no lattice vector lies along z; orient it with z=...")
        t = unimodular_completion(m3)
        projected = (t @ self.cell)[:2, :2]
        t[:2] = _plane_basis(projected) @ t[:2]
        period = float((t[2] @ self.cell)[2])
        height = (t[:2] @ self.cell)[:, 2] / period
        t[:2] -= np.ceil(height - 0.5 - 1e-6).astype(np.int64)[:, None] * t[2]
        cell = t @ self.cell
        cell[2, :2] = 0.0
        if np.linalg.det(cell) < 0:
            raise CrystalError(f"{self.name}: internal error, columns came out left-handed")
        return replace(self, cell=cell, mode="columns")

    def to_ase(self, reps: int | Sequence[int] = 1) -> Atoms:
        """Return ``reps`` repetitions of the primitive cell as periodic ASE Atoms."""
        pbc = [True, True, self.mode != "monolayer"]
        atoms = Atoms(self.symbols, positions=self.basis, cell=self.cell, pbc=pbc)
        counts = (reps, reps, reps) if isinstance(reps, int) else tuple(reps)
        if self.mode == "monolayer":
            counts = (counts[0], counts[1], 1)
        return atoms.repeat(counts)


def _plane_basis(projected: Array) -> IntArray:
    """Integer (2, 2): a short right-handed basis, its first vector along +x if one is there."""
    t = gauss_reduce(projected[0], projected[1])
    if np.linalg.det(t @ projected) < 0:
        t[1] *= -1
    short = t @ projected
    longest = np.linalg.norm(short[1])
    # A vector along x is worth having only while the cell stays compact.
    candidates = [(i, j) for i in range(-3, 4) for j in range(-3, 4) if np.gcd(i, j) == 1]
    along = [
        (float(v[0]), k)
        for k in candidates
        if (v := np.asarray(k) @ short)[0] > 0
        and abs(v[1]) < 1e-7 * longest
        and v[0] < 2.01 * longest
    ]
    if not along:
        sign = -1 if short[0, 0] < -1e-9 * longest else 1
        return sign * t
    _, (i, j) = min(along)
    # Every vector completing (i, j) has the same height above x; keep the least sideways one.
    second = [
        (round(abs(float(v[0])) / longest, 7), -round(float(v[0]) / longest, 7), k)
        for k in ((p, q) for p in range(-7, 8) for q in range(-7, 8))
        if i * k[1] - j * k[0] == 1
        for v in (np.asarray(k) @ short,)
    ]
    return np.array([(i, j), min(second)[2]], dtype=np.int64) @ t


def hexagonal_cell(a: float, c: float) -> Array:
    """Return the hexagonal cell (3, 3): ``a1`` along x, ``a2`` at 120 degrees, ``c`` along z."""
    return np.array([[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]])


def _check_symbol(symbol: str) -> None:
    if not isinstance(symbol, str) or symbol not in atomic_numbers:
        raise CrystalError(
            f"{symbol!r} is not a chemical symbol{suggest(str(symbol), atomic_numbers)}"
        )
