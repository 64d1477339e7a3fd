"""Local affine fits of atomic neighbourhoods, on bare arrays of bond vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from qc.crystal.bonds import segment_sum, take_rows
from qc.crystal.crystal import Crystal
from qc.errors import CrystalError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: A neighbour belongs to a lattice vector if it is nearer than this, in nearest-neighbour
#: distances: the packing radius of the lattice, so that it can belong to one only.
MATCH = 0.5


@dataclass(frozen=True, eq=False)
class LocalFit:
    """How well each site's neighbourhood is an affine image of the lattice.

    Parameters
    ----------
    d2 : (n,) float
        Non-affinity, in squared nearest-neighbour distances.
    F : (n, 3, 3) float
        Local deformation gradient of the best fit.
    sublattice : (n,) int64
        Sublattice whose star fits best.
    missing : (n,) int64
        Lattice vectors of the star without a neighbour.
    extra : (n,) int64
        Neighbours within the star's radius that belong to no lattice vector, or to one taken.
    match : (nb,) int64
        Index of each bond's lattice vector in ``crystal.star_sites(radius, s)``; -1 if none.
    radius : float, Angstrom
        Radius of the star, between two shells of the reference lattice.
    """

    d2: Array
    F: Array
    sublattice: IntArray
    missing: IntArray
    extra: IntArray
    match: IntArray
    radius: float


def star_reach(crystal: Crystal, radius: float | None = None) -> float:
    """Return how far, in the reference lattice, neighbours of a site have to be known, Angstrom."""
    radius = crystal.star_radius if radius is None else radius
    longest = max(
        float(np.linalg.norm(crystal.star(radius, s), axis=1).max(initial=0.0))
        for s in range(crystal.n_sublattices)
    )
    return longest + MATCH * crystal.nearest_neighbour


def falk_langer(
    start: ArrayLike, reference: ArrayLike, current: ArrayLike, spacing: float
) -> tuple[Array, Array]:
    """Return the non-affinity of sites against given reference bonds.

    ``D2_i = min over F of sum_b |y_b - F R_b|^2 / n_b / spacing^2``.

    Parameters
    ----------
    start : (n + 1,) int
        Bonds of site ``i`` are ``start[i]:start[i + 1]``.
    reference, current : (nb, 3) float, Angstrom
        The same bonds in the reference and in the current state.
    spacing : float, Angstrom
        Nearest-neighbour distance of the reference.

    Returns
    -------
    d2 : (n,) float
        Zero for a site without bonds.
    F : (n, 3, 3) float
        The minimiser; directions that no bond spans keep the identity.

    Source: Falk & Langer, Phys. Rev. E 57 (1998) 7192, eqs. 2.11-2.14.
    """
    start = np.asarray(start, dtype=np.int64)
    R, y = np.asarray(reference, dtype=float), np.asarray(current, dtype=float)
    F = np.broadcast_to(np.eye(3), (len(start) - 1, 3, 3))
    F, _, residual = _fit(start, R, y, F, spacing)
    n = np.maximum(np.diff(start), 1)
    return segment_sum(residual, start) / n / spacing**2, F


def lattice_matched(
    start: ArrayLike,
    vectors: ArrayLike,
    crystal: Crystal,
    F: ArrayLike | None = None,
    sublattice: ArrayLike | None = None,
    radius: float | None = None,
    iterations: int = 8,
) -> LocalFit:
    """Return the non-affinity of sites against the lattice itself.

    Each neighbour is matched to the nearest lattice vector under the local deformation gradient,
    the gradient is fitted again, and so on until the matching stays. A slipped but perfect
    crystal is perfect; cores, faults, surfaces, and neighbours of vacancies and interstitials
    are not. In a lattice with a basis, one shift per other sublattice is fitted along with F.

    ``D2_i = [sum over matched b of |y_b - F R_b|^2 / spacing^2 + max(missing, extra)] / n_star``:
    a missing or surplus neighbour counts like one displaced by a whole spacing.

    Parameters
    ----------
    start : (n + 1,) int
        Bonds of site ``i`` are ``start[i]:start[i + 1]``.
    vectors : (nb, 3) float, Angstrom
        Current bond vectors, complete up to `star_reach` times the stretch;
        longer ones do no harm.
    crystal : Crystal
    F : (3, 3) or (n, 3, 3) float, optional
        First guess of the deformation gradient, rotation included; the identity by default.
    sublattice : (n,) int, optional
        Sublattice of each site; by default the one that fits best.
    radius : float, Angstrom, optional
        Radius of the star in the reference lattice; ``crystal.star_radius`` by default.
    iterations : int
        Most matching rounds.
    """
    start = np.asarray(start, dtype=np.int64)
    y = np.ascontiguousarray(vectors, dtype=float)
    n = len(start) - 1
    guess = np.broadcast_to(np.eye(3) if F is None else np.asarray(F, dtype=float), (n, 3, 3))
    radius = crystal.star_radius if radius is None else float(radius)
    best = LocalFit(
        d2=np.full(n, np.inf),
        F=guess.copy(),
        sublattice=np.zeros(n, dtype=np.int64),
        missing=np.zeros(n, dtype=np.int64),
        extra=np.zeros(n, dtype=np.int64),
        match=np.full(len(y), -1, dtype=np.int64),
        radius=radius,
    )
    for s in range(crystal.n_sublattices):
        rows = np.arange(n) if sublattice is None else np.flatnonzero(np.asarray(sublattice) == s)
        star = _Star(crystal, s, radius)
        trial = guess[rows].copy()
        for _ in range(iterations):
            row_start, bonds = take_rows(start, rows)
            fit = _match_and_fit(row_start, y[bonds], star, trial)
            changed = _keep_better(best, fit, rows, s, start)
            if not changed.any():
                break
            rows, trial = rows[changed], fit.F[changed]
    return best


def improve(best: LocalFit, other: LocalFit, rows: IntArray, start: IntArray) -> IntArray:
    """Copy into ``best``, in place, the rows of ``other`` that fit better; return which did.

    ``other`` holds the fits of the sites ``rows`` only.
    """
    better = np.flatnonzero(other.d2 < best.d2[rows] - 1e-12)
    chosen = rows[better]
    for name in ("d2", "F", "sublattice", "missing", "extra"):
        getattr(best, name)[chosen] = getattr(other, name)[better]
    own_start = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum(np.diff(start)[rows], out=own_start[1:])
    best.match[take_rows(start, chosen)[1]] = other.match[take_rows(own_start, better)[1]]
    return chosen


class _Star:
    """Lattice vectors around a site of one sublattice, with the guard shells outside the star."""

    def __init__(self, crystal: Crystal, sublattice: int, radius: float) -> None:
        self.spacing = crystal.nearest_neighbour
        self.radius = radius
        self.vectors, _, s = crystal.star_sites(radius + 1.5 * self.spacing, sublattice)
        self.n_star = int((np.linalg.norm(self.vectors, axis=1) <= radius).sum())
        if self.n_star == 0:
            raise CrystalError(f"{crystal.name}: no neighbour within {radius:.3g} Angstrom")
        # One column per other sublattice that the star reaches: its shift is fitted too.
        others = [t for t in np.unique(s[: self.n_star]) if t != sublattice]
        self.shift_columns = (s[:, None] == np.array(others, dtype=np.int64)).astype(float)
        self.tree = cKDTree(self.vectors)


@dataclass(eq=False)
class _Round:
    d2: Array
    F: Array
    missing: IntArray
    extra: IntArray
    match: IntArray


def _match_and_fit(start: IntArray, y: Array, star: _Star, F: Array) -> _Round:
    counts = np.diff(start)
    site = np.repeat(np.arange(len(counts)), counts)
    z = np.einsum("bij,bj->bi", np.linalg.inv(F)[site], y)
    distance, match = star.tree.query(z, distance_upper_bound=MATCH * star.spacing)
    found = match < len(star.vectors)
    match = np.where(found, match, -1)
    _drop_duplicates(site, match, distance, len(star.vectors), len(counts))
    inside = (match >= 0) & (match < star.n_star)
    surplus = (match < 0) & (np.einsum("bi,bi->b", z, z) < star.radius**2)
    n_inside = np.bincount(site[inside], minlength=len(counts))
    extra = np.bincount(site[surplus], minlength=len(counts))
    missing = star.n_star - n_inside
    fit_start = np.concatenate([[0], np.cumsum(n_inside)])
    R = star.vectors[match[inside]]
    columns = star.shift_columns[match[inside]] * star.spacing
    F_new, _, residual = _fit(fit_start, R, y[inside], F, star.spacing, columns)
    wrong = np.maximum(missing, extra)
    d2 = (segment_sum(residual, fit_start) / star.spacing**2 + wrong) / star.n_star
    # A fit through a wrecked neighbourhood may run away; such a site keeps the gradient it had.
    stretch = np.linalg.svd(F_new, compute_uv=False)
    wild = (stretch.max(axis=1) > 2.0) | (stretch.min(axis=1) < 0.5)
    F_new[wild] = F[wild]
    return _Round(d2, F_new, missing, extra, np.where(inside, match, -1))


def _drop_duplicates(
    site: IntArray, match: IntArray, distance: Array, n_table: int, n_sites: int
) -> None:
    """Leave a lattice vector that several bonds of a site claim to the nearest, in place."""
    found = np.flatnonzero(match >= 0)
    key = site[found] * n_table + match[found]
    crowded = found[np.bincount(key, minlength=n_sites * n_table)[key] > 1]
    if len(crowded):
        order = crowded[np.lexsort((distance[crowded], match[crowded], site[crowded]))]
        again = (np.diff(site[order]) == 0) & (np.diff(match[order]) == 0)
        match[order[1:][again]] = -1


def _fit(
    start: IntArray,
    R: Array,
    y: Array,
    F: Array,
    spacing: float,
    columns: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Fit ``y = F R + shifts`` row by row, starting from F; return F, shifts, squared residuals."""
    counts = np.diff(start)
    site = np.repeat(np.arange(len(counts)), counts)
    X = R if columns is None else np.hstack([R, columns])
    k = X.shape[1]
    rest = y - np.einsum("bij,bj->bi", F[site], R)
    G = segment_sum(X[:, :, None] * X[:, None, :], start)
    # The tiny ridge leaves directions that no bond spans as they were.
    G += (1e-11 * spacing**2) * np.eye(k)
    H = segment_sum(X[:, :, None] * rest[:, None, :], start)
    correction = np.asarray(np.linalg.solve(G, H).transpose(0, 2, 1), dtype=np.float64)
    rest -= np.einsum("bij,bj->bi", correction[site], X)
    return F + correction[:, :, :3], correction[:, :, 3:], np.einsum("bi,bi->b", rest, rest)


def _keep_better(
    best: LocalFit, fit: _Round, rows: IntArray, s: int, start: IntArray
) -> NDArray[np.bool_]:
    """Store the rows that improved; return those whose matching changed and may improve again."""
    better = np.flatnonzero(fit.d2 < best.d2[rows] - 1e-14)
    chosen = rows[better]
    own_start = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum(np.diff(start)[rows], out=own_start[1:])
    target, source = take_rows(start, chosen)[1], take_rows(own_start, better)[1]
    moved = best.match[target] != fit.match[source]
    changed = np.zeros(len(rows), dtype=bool)
    counts = np.diff(start)[chosen]
    changed[np.repeat(better, counts)[moved]] = True
    best.d2[chosen], best.F[chosen] = fit.d2[better], fit.F[better]
    best.missing[chosen], best.extra[chosen] = fit.missing[better], fit.extra[better]
    best.sublattice[chosen] = s
    best.match[target] = fit.match[source]
    return changed
