"""Recognition: which crystal a set of atoms is, how it lies, and which site each atom holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, reference_states
from numpy.typing import ArrayLike, NDArray

from qc.crystal import structures as build
from qc.crystal.affine import LocalFit, lattice_matched, star_reach
from qc.crystal.bonds import Structure, bond_list, checked_structure
from qc.crystal.crystal import Crystal
from qc.crystal.recognition.ordering import NAMES, Order, find_order, has_compound
from qc.crystal.recognition.orientation import (
    Translations,
    central_ball,
    lattice_gradients,
    shared_translations,
)
from qc.crystal.recognition.sites import SiteGrid
from qc.errors import CrystalError, suggest
from qc.numerics.checks import kind, positive

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
LatticeConstant = float | tuple[float, float]

#: Least fraction of atoms that must each hold a lattice site of their own.
LEAST_QUALITY = 0.7
#: Atoms within this of a plane, in nearest-neighbour distances, are one layer.
_FLAT = 0.5
#: An atom further than this from every site, in nearest-neighbour distances, holds none.
OFF_LATTICE = 0.5


@dataclass(frozen=True, eq=False)
class Recognition:
    """A crystal found in a set of atoms: ``y = F (X(m, s) + shift_s) + origin + displacement``.

    Parameters
    ----------
    crystal : Crystal
        Unstrained, in standard orientation.
    F : (3, 3) float
        Mean deformation gradient, rotation included, from the crystal to the atoms.
    origin : (3,) float, Angstrom
        Current position of the site m = 0, s = 0, in the mean lattice.
    shifts : (n_s, 3) float, Angstrom
        Mean sublattice shifts in the reference frame; zero for sublattice 0.
    m : (n, 3) int64
        Integer coordinates of the site nearest to each atom.
    s : (n,) int64
        Its sublattice.
    distance : (n,) float, Angstrom
        From that site to the atom, in the reference frame.
    periods : (k, 3) int64
        Integer lattice vectors of the k periodic directions; ``F`` maps them onto the cell
        exactly.
    axes : tuple of int
        The cell vectors that `periods` belong to.
    quality : float
        Fraction of the atoms that hold a lattice site of their own.
    """

    crystal: Crystal
    F: Array
    origin: Array
    shifts: Array
    m: IntArray
    s: IntArray
    distance: Array
    periods: IntArray
    axes: tuple[int, ...]
    quality: float

    @property
    def structure(self) -> str:
        """Name of the structure."""
        return self.crystal.name

    @property
    def rotation(self) -> Array:
        """(3, 3) float: rotation part of ``F = R U``."""
        u, _, vt = np.linalg.svd(self.F)
        return np.asarray(u @ vt, dtype=np.float64)

    @property
    def stretch(self) -> Array:
        """(3, 3) float: stretch part of ``F = R U``, symmetric."""
        _, d, vt = np.linalg.svd(self.F)
        return np.asarray((vt.T * d) @ vt, dtype=np.float64)

    def positions(self, m: ArrayLike, s: ArrayLike = 0) -> Array:
        """Return the positions (n, 3) float, Angstrom, of sites in the mean lattice."""
        X = self.crystal.positions(m, s) + self.shifts[np.asarray(s)]
        return X @ self.F.T + self.origin

    def reference_positions(self, y: ArrayLike) -> Array:
        """Return current positions (n, 3) pulled back into the reference frame, Angstrom."""
        y = np.asarray(y, dtype=np.float64)
        return np.asarray(np.linalg.solve(self.F, (y - self.origin).T).T, dtype=np.float64)

    def referred_to(self, crystal: Crystal) -> Recognition:
        """Return the same atoms as a deformation of another crystal with the same sublattices.

        Parameters
        ----------
        crystal : Crystal
            The crystal found, strained: at rest under a potential, say.
        """
        G = np.linalg.solve(self.crystal.cell, crystal.cell).T
        shifts = (self.crystal.basis + self.shifts) @ G.T - crystal.basis
        return replace(
            self,
            crystal=crystal,
            F=self.F @ np.linalg.inv(G),
            shifts=shifts,
            distance=self.distance * float(np.linalg.det(G)) ** (1 / 3),
        )


def recognise(
    atoms: Atoms,
    structures: Sequence[str] = build.STRUCTURES,
    a: LatticeConstant | Mapping[str, LatticeConstant] | None = None,
) -> Recognition:
    """Recognise the crystal in a set of atoms and the lattice site of every atom.

    The atoms may be periodic or free-standing or both, strained by up to about 5 %, rotated in
    any way, displaced by relaxation or thermal motion, and hold point defects, voids and foreign
    atoms. A periodic direction with a gap wider than two layers counts as free-standing. Atoms of
    which more than a fifth are not of one element are looked at for the order of a compound on the
    lattice found: B2 and D0_3 (of bcc), L1_0 and L1_2 (fcc), zincblende (diamond).

    Parameters
    ----------
    atoms : ase.Atoms
    structures : sequence of str
        Structures to consider, of fcc, bcc, hcp, diamond.
    a : float or mapping, optional
        Lattice constant of the unstrained crystal, Angstrom, or one for each structure by name;
        ``(a, c)`` for hcp. By default the one that leaves ``F`` without change of volume. A
        mapping is asked only for structures that fit the atoms in shape, so it may compute what
        it gives.

    Returns
    -------
    Recognition

    Raises
    ------
    CrystalError
        Bad input, or no lattice fits: disordered, too few atoms, several grains, a supercell
        that does not close, a monolayer; the message says what was found.
    """
    structure = checked_structure(atoms)
    symbol = _majority(structure.symbols)
    _check_names(structures, a)
    # The choice is made on a ball from the middle of a large structure.
    sample, index = central_ball(structure)
    translations = shared_translations(sample)
    _refuse_monolayer(structure, translations.spacing)
    candidates = _candidates(symbol, structures, a, translations)
    trials = []
    for crystal, free_scale in candidates:
        trial = _try(sample, translations, crystal, free_scale)
        if trial is not None:
            trials.append(trial)
    if not trials:
        raise CrystalError(_nothing_found(structure, translations, candidates))
    trial = min(trials, key=lambda t: t.misfit)
    completeness = trial.completeness
    if completeness < 0.85:
        raise CrystalError(
            f"no lattice fits {len(structure)} atoms of {symbol}: {trial.crystal.name} comes "
            f"closest, but even its best-kept neighbourhoods are only {completeness:.0%} "
            "complete; too few atoms, or another structure"
        )
    seed = _seed(sample, trial.fit)
    sublattice = int(trial.fit.sublattice[seed])
    found = _with_sites(structure, trial, (int(index[seed]), sublattice), translations.spacing)
    if has_compound(structure.symbols):
        order = find_order(structure.symbols, found.crystal, found.m, found.s)
        if order is not None:
            return _as_compound(found, order)
    return found


@dataclass(eq=False)
class _Trial:
    """A candidate crystal laid into the atoms."""

    crystal: Crystal
    free_scale: bool
    F: Array
    fit: LocalFit

    @property
    def misfit(self) -> float:
        return float(np.minimum(self.fit.d2, 0.25).mean())

    @property
    def completeness(self) -> float:
        """Share of the star that the best-kept twentieth of the atoms, at least, have around."""
        n_star = len(self.crystal.star(self.fit.radius))
        return float(np.quantile(1 - self.fit.missing / n_star, 0.95, method="lower"))


def _majority(symbols: NDArray[np.str_]) -> str:
    names, counts = np.unique(symbols, return_counts=True)
    return str(names[np.argmax(counts)])


def _check_names(
    structures: Sequence[str], a: LatticeConstant | Mapping[str, LatticeConstant] | None
) -> None:
    if isinstance(structures, str):
        structures = (structures,)
    kind("structures", structures, Sequence, CrystalError)
    named = (*structures, *(a if isinstance(a, Mapping) else ()))
    unknown = [n for n in named if str(n) not in build.STRUCTURES]
    if unknown:
        raise CrystalError(
            f"unknown structure {unknown[0]!r}{suggest(unknown[0], build.STRUCTURES)}; "
            f"known: {', '.join(build.STRUCTURES)}"
        )
    if not structures:
        raise CrystalError("recognise: no structures to consider")


def _candidates(
    symbol: str,
    structures: Sequence[str],
    a: LatticeConstant | Mapping[str, LatticeConstant] | None,
    translations: Translations,
) -> list[tuple[Crystal, bool]]:
    """Return crystals to try, each with whether its lattice constant is open."""
    out = []
    for name in dict.fromkeys((structures,) if isinstance(structures, str) else structures):
        crystal = _candidate(symbol, name, None if isinstance(a, Mapping) else a)
        value = a
        if isinstance(a, Mapping):
            # A lattice constant can be dear to compute: not for a structure of another shape.
            fits = lattice_gradients(translations, crystal, free_scale=True)
            value = a.get(name) if fits else None
            crystal = _candidate(symbol, name, value)
        out.append((crystal, value is None))
    return out


def _candidate(symbol: str, name: str, value: LatticeConstant | None) -> Crystal:
    """Return a crystal with this lattice constant, 1 if it is open."""
    if name == "hcp":
        pair = value if isinstance(value, tuple | list) else (value or 1.0,)
        first = positive("hcp lattice constant", pair[0], CrystalError)
        ratio = _c_over_a(symbol)
        return build.hcp(symbol, first, pair[1] if len(pair) > 1 else ratio * first)
    if isinstance(value, tuple | list):
        raise CrystalError(f"{name} has one lattice constant, got {value}")
    return build.standard_crystal(symbol, name, 1.0 if value is None else value)


def _c_over_a(symbol: str) -> float:
    """Axial ratio of an element that is hcp in nature, else the ideal one."""
    state: dict[str, Any] = dict(reference_states[atomic_numbers[symbol]] or {})
    return float(state["c/a"]) if state.get("symmetry") == "hcp" else build.IDEAL_RATIO


def _try(
    structure: Structure, translations: Translations, crystal: Crystal, free_scale: bool
) -> _Trial | None:
    gradients = lattice_gradients(translations, crystal, free_scale)
    if not gradients:
        return None
    F = gradients[0]
    stretch = float(np.linalg.svd(F, compute_uv=False).max())
    bonds = bond_list(structure, 1.05 * stretch * star_reach(crystal))
    fit = lattice_matched(bonds.start, bonds.vectors, crystal, F)
    return _Trial(crystal, free_scale, F, fit)


def _nothing_found(
    structure: Structure, translations: Translations, candidates: list[tuple[Crystal, bool]]
) -> str:
    names = ", ".join(
        crystal.name if free else f"{crystal.name} (a = {crystal.a:.4g})"
        for crystal, free in candidates
    )
    best = float(translations.share.max()) if len(translations.share) else 0.0
    formula = Counter(str(s) for s in structure.symbols)
    what = " ".join(f"{n} {symbol}" for symbol, n in sorted(formula.items()))
    if has_compound(structure.symbols):
        names += f" (and {NAMES} on these)"
    return (
        f"no lattice of {names} fits the atoms ({what}): nearest-neighbour distance "
        f"{translations.spacing:.3g} Angstrom, {len(translations.share)} translation vectors "
        f"found, the commonest shared by {best:.0%} of the atoms; disordered, several grains, "
        "too few atoms, strained beyond 10 %, or another structure or lattice constant"
    )


def _refuse_monolayer(structure: Structure, spacing: float) -> None:
    """Refuse atoms that are one layer: what is looked for here fills space."""
    axes = _periodic_axes(structure, spacing)
    if len(axes) == 3:
        return
    y = structure.positions
    across = [k for k in range(3) if k not in axes and structure.pbc[k]]
    if across:
        # A layer may lie across the boundary of its cell.
        f = y @ np.linalg.inv(structure.cell)
        for k in across:
            g = np.sort(f[:, k] - np.floor(f[:, k]))
            last = int(np.argmax(np.diff(g, append=g[0] + 1)))
            start = float(g[(last + 1) % len(g)])
            f[:, k] = (f[:, k] - start + 1e-9) % 1.0
        y = f @ structure.cell
    if len(axes) == 2:
        normal = np.cross(*structure.cell[list(axes)])
        normal /= np.linalg.norm(normal)
    else:
        _, _, principal = np.linalg.svd(y - y.mean(axis=0), full_matrices=True)
        normal = principal[2]
        if np.ptp(y @ principal[1]) < _FLAT * spacing:
            # A chain, or a molecule of two.
            return
    thickness = float(np.ptp(y @ normal))
    if thickness < _FLAT * spacing and (len(axes) == 2 or len(structure) > 3):
        raise CrystalError(
            f"the atoms are one layer, all within {thickness:.2g} Angstrom of a plane: crystals of "
            "three dimensions only are recognised in atoms. Build a monolayer by hand: "
            "QuasiContinuum(qc.crystal.triangular('Cu', a), potential, "
            "defects=qc.coupling.PointDefects(vacant=[(0, 0, 0)])), or with qc.crystal.from_ase("
            "cell) for the primitive cell of another flat layer"
        )


def _as_compound(found: Recognition, order: Order) -> Recognition:
    """Return the recognition of a lattice as that of a compound on its sites.

    Raises
    ------
    CrystalError
        The order has another period than the cell.
    """
    periods = found.periods @ np.linalg.inv(order.transform)
    if np.abs(periods - np.round(periods)).max(initial=0.0) > 1e-6:
        raise CrystalError(
            f"the atoms are {order.crystal.name} inside, but the order does not close across the "
            "cell: an antiphase boundary, or a cell of half an odd number of periods"
        )
    m, s = order.sites(found.m, found.s)
    shifts = found.shifts[order.sublattices]
    return replace(
        found,
        crystal=order.crystal,
        shifts=shifts,
        m=m,
        s=s,
        periods=np.round(periods).astype(np.int64),
    )


# -- sites ------------------------------------------------------------------------------------


def _with_sites(
    structure: Structure, trial: _Trial, seed: tuple[int, int], spacing: float
) -> Recognition:
    crystal, F = trial.crystal, trial.F
    F, origin, shifts = _grown(structure, crystal, F, seed)
    axes = _periodic_axes(structure, spacing)
    periods = _periods(structure, crystal, F, axes)
    F = _closed(F, periods @ crystal.cell, structure.cell[list(axes)])
    if trial.free_scale:
        scale = float(np.linalg.det(F)) ** (1 / 3)
        crystal = replace(crystal, cell=scale * crystal.cell, basis=scale * crystal.basis, a=scale)
        F, shifts = F / scale, scale * shifts
    origin, shifts, m, s, d = _settled(structure, crystal, F, origin, shifts)
    centre = np.linalg.solve(F, structure.positions.mean(axis=0) - origin)
    shift = crystal.integer_coordinates(centre, sublattices=[0])[0][0]
    origin, m = origin + crystal.cell.T @ shift @ F.T, m - shift
    quality = _quality(crystal, periods, m, s, d)
    if quality < LEAST_QUALITY:
        raise CrystalError(
            f"no single lattice fits: {crystal.name} {crystal.symbols[0]} with a = "
            f"{crystal.a:.4g} Angstrom holds only {quality:.0%} of the {len(m)} atoms; several "
            "grains, dislocations or faults, a disordered region or a strongly bent crystal"
        )
    return Recognition(crystal, F, origin, shifts, m, s, d, periods, axes, quality)


def _seed(structure: Structure, fit: LocalFit) -> int:
    """Return the atom near the middle with the best neighbourhood."""
    centre = 0.5 * (structure.positions.min(axis=0) + structure.positions.max(axis=0))
    distance = np.linalg.norm(structure.positions - centre, axis=1)
    good = np.flatnonzero(fit.d2 <= np.quantile(fit.d2, 0.2))
    return int(good[np.argmin(distance[good])])


def _grown(
    structure: Structure, crystal: Crystal, F: Array, seed: tuple[int, int]
) -> tuple[Array, Array, Array]:
    """Fit F, origin and shifts to ever larger balls of atoms around the seed, cell ignored.

    The gradient of a small ball is good enough to find the sites of the next one. The seed is
    an atom and the sublattice it is on.
    """
    middle = structure.positions[seed[0]]
    y = structure.positions - middle
    order = np.argsort(np.linalg.norm(y, axis=1), kind="stable")
    y = y[order]
    r = np.linalg.norm(y, axis=1)
    spacing = crystal.nearest_neighbour * float(np.linalg.det(F)) ** (1 / 3)
    origin = -F @ crystal.basis[seed[1]]
    shifts = np.zeros_like(crystal.basis)
    radius = 3.0 * spacing
    while True:
        inside = y[: int(np.searchsorted(r, radius))]
        for _ in range(2):
            F, origin, shifts = _affine_fit(inside, crystal, F, origin, shifts)
        if radius > r[-1]:
            return F, origin + middle, shifts
        radius *= 1.5


def _nearest_sites(
    y: Array, crystal: Crystal, F: Array, origin: Array, shifts: Array
) -> tuple[IntArray, IntArray, Array]:
    X = np.linalg.solve(F, (y - origin).T).T
    if not shifts.any():
        return crystal.integer_coordinates(X)
    return replace(crystal, basis=crystal.basis + shifts).integer_coordinates(X)


def _affine_fit(
    y: Array, crystal: Crystal, F: Array, origin: Array, shifts: Array
) -> tuple[Array, Array, Array]:
    """Return F, origin and sublattice shifts by least squares over atoms that are near a site."""
    m, s, d = _nearest_sites(y, crystal, F, origin, shifts)
    good = d < 0.3 * crystal.nearest_neighbour
    columns = (s[:, None] == np.arange(crystal.n_sublattices)).astype(float)
    A = np.hstack([crystal.positions(m, s), columns])[good]
    if good.sum() < 6 or np.linalg.matrix_rank(A) < A.shape[1]:
        return F, origin, shifts
    solution, *_ = np.linalg.lstsq(A, y[good], rcond=None)
    F_new = solution[:3].T
    if np.linalg.norm(F_new - F) > 0.1 * np.linalg.norm(F):
        return F, origin, shifts
    offsets = solution[3:]
    return F_new, offsets[0], np.linalg.solve(F_new, (offsets - offsets[0]).T).T


def _periodic_axes(structure: Structure, spacing: float) -> tuple[int, ...]:
    """Return the periodic cell vectors without a vacuum gap along them."""
    fractions = structure.positions @ np.linalg.inv(structure.cell)
    heights = 1 / np.linalg.norm(np.linalg.inv(structure.cell), axis=0)
    axes = []
    for k in range(3):
        if structure.pbc[k]:
            f = np.sort(fractions[:, k] - np.floor(fractions[:, k]))
            gap = max(float(np.diff(f).max(initial=0.0)), float(f[0] + 1 - f[-1]))
            if gap * heights[k] < 1.9 * spacing:
                axes.append(k)
    return tuple(axes)


def _periods(structure: Structure, crystal: Crystal, F: Array, axes: tuple[int, ...]) -> IntArray:
    vectors = structure.cell[list(axes)]
    periods = np.zeros((len(axes), 3), dtype=np.int64)
    X = np.linalg.solve(F, vectors.T).T
    for i, k in enumerate(axes):
        m, _, d = crystal.integer_coordinates(X[i], sublattices=[0])
        if d[0] > 0.3 * crystal.nearest_neighbour or not m.any():
            raise CrystalError(
                f"{crystal.name} fits the atoms inside, but the supercell does not close: cell "
                f"vector {k} is {d[0] / crystal.nearest_neighbour:.2f} nearest-neighbour "
                "distances away from a lattice vector; dislocated, or bounded by other grains"
            )
        periods[i] = m[0]
    if len(axes) and np.linalg.matrix_rank(periods) < len(axes):
        raise CrystalError(f"{crystal.name}: the supercell is degenerate on the lattice found")
    return periods


def _closed(F: Array, reference: Array, vectors: Array) -> Array:
    """Return the gradient nearest to F that maps the reference vectors onto the cell exactly."""
    if not len(vectors):
        return F
    gap = vectors - reference @ F.T
    return F + gap.T @ np.linalg.solve(reference @ reference.T, reference)


def _settled(
    structure: Structure, crystal: Crystal, F: Array, origin: Array, shifts: Array
) -> tuple[Array, Array, IntArray, IntArray, Array]:
    """Return origin and shifts as means over the atoms near sites, and the site of every atom."""
    for _ in range(4):
        m, s, d = _nearest_sites(structure.positions, crystal, F, origin, shifts)
        rest = structure.positions - crystal.positions(m, s) @ F.T
        good = d < 0.3 * crystal.nearest_neighbour
        means = [
            rest[good & (s == t)].mean(axis=0) if (good & (s == t)).any() else origin
            for t in range(crystal.n_sublattices)
        ]
        moved = float(np.abs(means[0] - origin).max())
        origin = means[0]
        shifts = np.linalg.solve(F, (np.array(means) - origin).T).T
        if moved < 1e-10:
            break
    m, s, d = _nearest_sites(structure.positions, crystal, F, origin, shifts)
    return origin, shifts, m, s, d


def _quality(crystal: Crystal, periods: IntArray, m: IntArray, s: IntArray, d: Array) -> float:
    grid = SiteGrid(periods, crystal.n_sublattices, m)
    near = d < OFF_LATTICE * crystal.nearest_neighbour
    return len(np.unique(grid.index(m[near], s[near]))) / len(m)
