"""The Cauchy-Born rule: energy density, stress and tangent of a homogeneously deformed crystal.

For a Bravais lattice ``W(F) = V({F R_j}) / Omega``, ``P = dW/dF = (1/Omega) sum_j g_j (x) R_j``
and the tangent comes from the bond Hessians. For a lattice with a basis ``W(F) = min_p E(F, p) /
Omega`` over the sublattice shifts p, where ``dE/dp = 0``, so that P is the derivative at fixed
shifts and the tangent the Schur complement ``E_FF - E_Fp E_pp^-1 E_pF``.

Source: M. Born & K. Huang, Dynamical Theory of Crystal Lattices (1954);
J. L. Ericksen, Math. Mech. Solids 13 (2008) 199; E. B. Tadmor et al., Phys. Rev. B 59 (1999) 235.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qc.crystal import Crystal
from qc.crystal.bonded import require_bonds
from qc.errors import InputError, NonFiniteError
from qc.materials.cell import FEW, SiteSum, WholeCell, smallest_stretch
from qc.materials.material import CellResponse, Material, Response
from qc.numerics.checks import kind, numbers, shaped
from qc.numerics.fingerprint import Fingerprint
from qc.numerics.threads import threads_for
from qc.potentials import Bonds, Potential
from qc.potentials.base import Order

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Elements evaluated at once on the generic path, so that memory stays bounded.
CHUNK = 4096

#: Neighbours within a potential's cutoff beyond which crystal and potential do not fit together:
#: no potential means so many, and every site would cost as much as a small crystal.
MOST_NEIGHBOURS = 10_000

#: eV/Angstrom; shifts are relaxed when the force on every sublattice is smaller.
SHIFT_FORCE = 1e-11

#: Norm of the strain up to which shifts are predicted linearly.
STARTING_STRAIN = 0.1

#: Angstrom; longest step of the shifts in one iteration.
LONGEST_SHIFT = 0.2


class _Star(NamedTuple):
    """Bonds (k, 3) of a site by length, the species at their ends, lengths, and the longest."""

    vectors: Array
    types: IntArray
    lengths: Array
    reach: float


class CauchyBorn(Material):
    """Energy density of a crystal under a potential.

    Parameters
    ----------
    crystal : Crystal
        With a basis, its sublattice shifts are relaxed.
    potential : Potential

    Raises
    ------
    InputError
        No crystal, or no potential; or one whose cutoff holds more than `MOST_NEIGHBOURS`.
    UnknownSpeciesError
        The potential does not know one of the crystal's elements.
    """

    def __init__(self, crystal: Crystal, potential: Potential) -> None:
        kind("crystal", crystal, Crystal)
        kind("potential", potential, Potential)
        self.crystal = crystal
        self.potential = potential
        self.types: IntArray = potential.types_of(crystal.symbols)
        neighbours = crystal.sites_within(potential.cutoff)
        if not neighbours <= MOST_NEIGHBOURS:
            raise InputError(
                f"about {neighbours:.2g} neighbours of a site lie within the potential's cutoff of "
                f"{potential.cutoff:.4g} Angstrom, the most is {MOST_NEIGHBOURS}: it is too long "
                f"for a lattice constant of {crystal.a:.4g} Angstrom"
            )
        self.n_sublattices = crystal.n_sublattices
        self.internal_shape = (self.n_sublattices, 3) if self.n_sublattices > 1 else None
        self.site_type = int(self.types[0])
        kind_of_cell = WholeCell if potential.whole_patches else SiteSum
        self.cell: SiteSum | WholeCell = kind_of_cell(crystal, potential, self.types)
        #: Forces on sublattices below this are zero: the potential gives them no better.
        self._shift_force = max(SHIFT_FORCE, float(potential.noise))
        self._predictor: dict[bytes, tuple[Array, Array]] = {}
        # Set as a whole, and never changed: another thread may be at work with it.
        self._star = _Star(np.empty((0, 3)), np.empty(0, dtype=np.int64), np.empty(0), 0.0)
        if self._is_simple:
            self._star = self._grown(1.3 * potential.cutoff)

    @property
    def has_shifts(self) -> bool:
        """Whether the crystal has a basis, whose shifts are relaxed."""
        return self.n_sublattices > 1

    @property
    def _is_simple(self) -> bool:
        return not self.has_shifts and isinstance(self.cell, SiteSum)

    def _grown(self, reach: float) -> _Star:
        vectors = np.ascontiguousarray(self.crystal.star(reach))
        types = np.full(len(vectors), self.site_type, dtype=np.int64)
        return _Star(vectors, types, np.linalg.norm(vectors, axis=1), reach)

    def _bonds_needed(self, f: Array) -> tuple[_Star, IntArray]:
        """Return a star, ordered by length, and how many of its bonds each state needs.

        A bond R with |F R| < cutoff has |R| < cutoff / smallest singular value of F.
        """
        reach, star = self.potential.cutoff / smallest_stretch(f), self._star
        if len(reach) and reach.max() > star.reach:
            star = self._star = self._grown(float(reach.max()))
        return star, np.searchsorted(star.lengths, reach, side="right")

    def site_energy(self, f: Array) -> Array:
        """Energy of one site, with a basis the mean over its sites, (n,) eV, for F (n, 3, 3)."""
        if self._is_simple:
            return self._evaluate(f, False)[0]
        return self.site_energies(f).mean(axis=1)

    def site_energies(self, f: Array, shifts: Array | None = None) -> Array:
        """Energies of the sites of the cell, (n, n_s) eV, at relaxed shifts unless some are given.

        A potential without site energies gives every site its share of the cell's.
        """
        if self._is_simple:
            return self._evaluate(f, False)[0][:, None]
        f = _checked(f)
        return self.cell(f, self.relaxed_shifts(f) if shifts is None else shifts).sites

    def evaluate(
        self, f: Array, tangent: bool = False, start: Array | None = None
    ) -> tuple[Array, Array, Array | None]:
        """Energy density, stress and, if asked, tangent; at relaxed shifts.

        Parameters
        ----------
        f : (n, 3, 3) float64
            Deformation gradients.
        tangent : bool
        start : (n, n_s, 3) float64, Angstrom, optional
            Shifts to start the relaxation from; none by default.

        Returns
        -------
        energy_density : (n,) float64, eV/Angstrom^3
        stress : (n, 3, 3) float64, eV/Angstrom^3
            First Piola-Kirchhoff stress ``dW/dF``.
        tangent : (n, 3, 3, 3, 3) float64, eV/Angstrom^3, or None
            ``d2W / dF_ij dF_kl``.

        Raises
        ------
        NonFiniteError
            A deformation gradient or result is not finite; the message names the row.
        """
        return self.response(f, start, tangent)[:3]

    # -- crystals with a basis ------------------------------------------------------------------

    def at_shifts(self, f: Array, shifts: Array, order: Order = "gradient") -> CellResponse:
        """Energy of the primitive cell and its derivatives at shifts; see `Material.at_shifts`."""
        response = self.cell(_checked(f), shifts, order)
        _finite(response.energy)
        return response

    def relaxed_shifts(self, f: Array, start: Array | None = None) -> Array:
        """Return the shifts of least energy near a start, (n, n_s, 3) Angstrom.

        Newton's method for all states at once; where a Hessian is dear it is kept while it serves.

        Parameters
        ----------
        f : (n, 3, 3) float64
        start : (n, n_s, 3) float64, optional
            Zero by default: the basis deforms with the lattice.

        Raises
        ------
        NonFiniteError
            The shifts of a state do not settle; the message names the row.
        """
        f = _checked(f)
        p = self._start(f, start)
        if not self.has_shifts or not len(f):
            return p
        return self._newton(f, p, self.cell(f, p, self._each))[0]

    @property
    def _each(self) -> Order:
        """What every step of the relaxation evaluates."""
        return "shifts" if self.cell.second_is_cheap else "gradient"

    def _start(self, f: Array, start: Array | None) -> Array:
        shape = (len(f), self.n_sublattices, 3)
        p = np.zeros(shape) if start is None else np.array(start, dtype=np.float64)
        if p.shape != shape:
            raise InputError(f"shifts have shape {p.shape} for {len(f)} states")
        return p

    def _newton(self, f: Array, p: Array, now: CellResponse) -> tuple[Array, CellResponse, Array]:
        """Relax shifts p, in place, from the response there.

        Returns them, the response without Hessian, and which states have moved.
        """
        n, k = len(f), 3 * (self.n_sublattices - 1)
        sites, df, dp = now.sites.copy(), now.dF.copy(), now.dp.copy()
        energy, residual = now.energy, _largest(dp[:, 1:].reshape(n, k))
        inverse = np.empty((n, k, k))
        known = None if now.hessian is None else now.hessian[:, -k:, -k:].copy()
        stale = np.ones(n, dtype=bool)
        moved = np.zeros(n, dtype=bool)
        open_ = np.nonzero(residual > self._shift_force)[0]
        for _ in range(60):
            if not len(open_):
                break
            old = open_[stale[open_]]
            if len(old):
                rows = _rows(old, n)
                second = (
                    self.cell(f[rows], p[rows], "shifts").hessian if known is None else known[rows]
                )
                assert second is not None
                inverse[rows] = _positive_inverse(second)
                stale[rows] = False
            rows = _rows(open_, n)
            step = -np.einsum("nij,nj->ni", inverse[rows], dp[rows, 1:].reshape(-1, k))
            length = _largest(step)
            step *= np.minimum(1.0, LONGEST_SHIFT / np.maximum(length, 1e-300))[:, None]
            trial = p[rows].copy()
            trial[:, 1:] += step.reshape(len(open_), -1, 3)
            after = self.cell(f[rows], trial, self._each)
            trial_energy = after.energy
            new, before = _largest(after.dp[:, 1:].reshape(-1, k)), residual[rows]
            # Near the minimum the energy says nothing any more, the force still does.
            slack = 1e-12 * np.abs(energy[rows])
            good = (trial_energy <= energy[rows] + slack) | (new < 0.5 * before)
            good &= np.isfinite(new)
            if known is None or after.hessian is None:
                # Where a Hessian is dear it is kept while it serves.
                again = new > 0.1 * before
            else:
                again = good
            all_good = bool(good.all())
            took, taken = (rows, slice(None)) if all_good else (open_[good], good)
            p[took], energy[took], residual[took] = trial[taken], trial_energy[taken], new[taken]
            sites[took], df[took], dp[took] = after.sites[taken], after.dF[taken], after.dp[taken]
            stale[took] = again[taken]
            if known is not None and after.hessian is not None:
                known[took] = after.hessian[taken]
            moved[took] = True
            if not all_good:
                inverse[open_[~good]] *= 0.25
            stopped = _largest(step) < 1e-14
            open_ = open_[~stopped & ~(good & (new <= self._shift_force))]
        if len(open_):
            raise NonFiniteError(f"sublattice shifts of state {open_[0]} do not settle")
        return p, CellResponse(sites, df, dp, None), moved

    def predictor_shifts(self, mean: Array, f: Array | None = None) -> Array:
        """Return shifts to start from: relaxed at the mean deformation, to first order around it.

        Parameters
        ----------
        mean : (3, 3) float64
        f : (n, 3, 3) float64, optional
            Local deformation gradients; strains beyond `STARTING_STRAIN` count as that.

        Returns
        -------
        (n_s, 3) or (n, n_s, 3) float64, Angstrom
            ``p(mean) + (dp/dF) (f - mean)``.
        """
        key = np.ascontiguousarray(mean, dtype=np.float64).tobytes()
        known = self._predictor.get(key)
        if known is None:
            known = self._linear_shifts(np.asarray(mean, dtype=float)[None])
            if len(self._predictor) > 64:
                self._predictor.clear()
            self._predictor[key] = known
        relaxed, slope = known
        if f is None:
            return relaxed
        change = np.asarray(f) - mean
        size = np.sqrt(np.einsum("nij,nij->n", change, change))
        change = change * (STARTING_STRAIN / np.maximum(size, STARTING_STRAIN))[:, None, None]
        return np.asarray(relaxed + np.einsum("sikl,nkl->nsi", slope, change))

    def _linear_shifts(self, mean: Array) -> tuple[Array, Array]:
        """Relaxed shifts (n_s, 3) at one state and their derivative by F, (n_s, 3, 3, 3)."""
        ns = self.n_sublattices
        relaxed, slope = self.relaxed_shifts(mean), np.zeros((ns, 3, 3, 3))
        if self.has_shifts:
            hessian = self.cell(mean, relaxed, "full").hessian
            assert hessian is not None
            h = hessian[0]
            slope[1:] = -np.linalg.solve(h[9:, 9:], h[9:, :9]).reshape(ns - 1, 3, 3, 3)
        return relaxed[0], slope

    def response(
        self,
        f: Array,
        internal: Array | None = None,
        tangent: bool = False,
        points: slice | IntArray | None = None,
    ) -> Response:
        """Return what `evaluate` does, and the relaxed shifts (n, n_s, 3) Angstrom."""
        e, p, a, shifts = self._condensed(f, tangent, internal)
        volume = self.crystal.volume
        if a is not None:
            a /= volume  # in place: there are 81 numbers for each element
        return Response(e / volume, p / volume, a, shifts)

    def start(self, mean: Array, f: Array) -> Array:
        """Return shifts to start from, relaxed to first order; see `predictor_shifts`."""
        return self.predictor_shifts(mean, f)

    def fingerprint(self) -> str:
        """Return a hash of the crystal and the potential."""
        crystal = self.crystal
        one = Fingerprint("CauchyBorn").add(crystal.cell, crystal.basis, *crystal.symbols)
        return one.add(self.potential.fingerprint()).hex()

    def _condensed(
        self, f: Array, tangent: bool, start: Array | None
    ) -> tuple[Array, Array, Array | None, Array | None]:
        if self._is_simple:
            return *self._evaluate(f, tangent), None
        f = _checked(f)
        shifts = self._start(f, start)
        # A tangent is mostly wanted where the shifts are relaxed already.
        warm = tangent and self.cell.second_is_cheap and start is not None
        now = self.cell(f, shifts, "full" if warm else self._each)
        found, moved, hessian = now, np.ones(len(f), dtype=bool), now.hessian
        if self.has_shifts and len(f):
            shifts, found, moved = self._newton(f, shifts, now)
        _finite(found.energy)
        if not tangent:
            return found.energy, found.dF, None, shifts
        if hessian is None or not warm:
            hessian = self.cell(f, shifts, "full").hessian
        elif moved.any():
            again = self.cell(f[moved], shifts[moved], "full").hessian
            assert again is not None
            hessian[moved] = again
        assert hessian is not None
        return found.energy, found.dF, schur_complement(hessian).reshape(-1, 3, 3, 3, 3), shifts

    # -- Bravais lattices -----------------------------------------------------------------------

    def _evaluate(self, f: Array, tangent: bool) -> tuple[Array, Array, Array | None]:
        f = _checked(f)
        star, needed = self._bonds_needed(f)
        # A few strongly strained states must not lengthen the sum of all the others.
        common = int(np.quantile(needed, 0.9)) if len(needed) else 0
        many = needed <= common
        if many.all():
            e, p, a = self._batch(f, star, common, tangent)
        else:
            e, p = np.empty(len(f)), np.empty((len(f), 3, 3))
            a = np.empty((len(f), 3, 3, 3, 3)) if tangent else None
            for part, bonds in ((many, common), (~many, int(needed.max()))):
                e[part], p[part], moduli = self._batch(f[part], star, bonds, tangent)
                if a is not None:
                    a[part] = moduli
        _finite(e)
        return e, p, a

    def _batch(
        self, f: Array, star: _Star, bonds: int, tangent: bool
    ) -> tuple[Array, Array, Array | None]:
        vectors, types = star.vectors[:bonds], star.types[:bonds]
        with threads_for(len(f), FEW):
            if not self.potential.fused_star:
                return self._generic(f, vectors, types, tangent)
            return self.potential.deformed_star(f, vectors, self.site_type, types, tangent=tangent)

    def _generic(
        self, f: Array, star: Array, types: IntArray, tangent: bool
    ) -> tuple[Array, Array, Array | None]:
        n, k = len(f), len(star)
        energy, stress = np.empty(n), np.empty((n, 3, 3))
        moduli = np.empty((n, 3, 3, 3, 3)) if tangent else None
        for first in range(0, n, CHUNK):
            part = slice(first, min(first + CHUNK, n))
            size = part.stop - part.start
            vectors = np.einsum("nij,kj->nki", f[part], star).reshape(-1, 3)
            bonds = Bonds(
                start=np.arange(size + 1, dtype=np.int64) * k,
                vectors=np.ascontiguousarray(vectors),
                site_types=np.full(size, self.site_type, dtype=np.int64),
                bond_types=np.tile(types, size),
            )
            energy[part], g = self.potential.bond_gradients(bonds)
            stress[part] = np.einsum("nki,kj->nij", g.reshape(size, k, 3), star)
            if moduli is None:
                continue
            for c in range(3):
                for d in range(3):
                    change = np.zeros((size, k, 3))
                    change[:, :, c] = star[:, d]
                    dg = self.potential.bond_hessian_product(bonds, change.reshape(-1, 3))
                    moduli[part, :, :, c, d] = np.einsum(
                        "nki,kj->nij", dg.reshape(size, k, 3), star
                    )
        return energy, stress, moduli

    def elastic_constants(self, f: Array | None = None) -> Array:
        """Tangent moduli at a homogeneous state, (3, 3, 3, 3) eV/Angstrom^3; at F = I by default.

        At a stress-free state these are the elastic constants ``C_ijkl``.

        Raises
        ------
        CrystalError
            No bond is within the cutoff.
        """
        state = np.eye(3) if f is None else shaped("F", f, (3, 3))
        _checked(state)
        require_bonds(self.crystal, self.potential, state)
        moduli = self.evaluate(state[None], tangent=True)[2]
        assert moduli is not None
        return moduli[0]


def _checked(f: Array) -> Array:
    if not isinstance(f, np.ndarray) or f.dtype != np.float64 or f.shape[-2:] != (3, 3):
        f = numbers("deformation gradients", f)
        if f.shape[-2:] != (3, 3):
            raise InputError(f"deformation gradients must have shape (n, 3, 3), got {f.shape}")
    f = np.ascontiguousarray(f).reshape(-1, 3, 3)
    if not np.isfinite(f).all():
        row = int(np.nonzero(~np.isfinite(f).all(axis=(1, 2)))[0][0])
        raise NonFiniteError(f"deformation gradient {row} is not finite")
    return f


def _finite(energies: Array) -> None:
    if not np.isfinite(energies).all():
        row = int(np.nonzero(~np.isfinite(energies))[0][0])
        raise NonFiniteError(f"Cauchy-Born energy of element {row} is not finite")


def _rows(rows: IntArray, n: int) -> IntArray | slice:
    """Return rising rows of n as an index; all of them as a slice, which copies nothing."""
    return slice(None) if len(rows) == n else rows


def _largest(rows: Array) -> Array:
    """Return the largest absolute value of each row, (n,), quickly for few columns."""
    size = np.abs(rows)
    out = size[:, 0].copy()
    for column in range(1, size.shape[1]):
        np.maximum(out, size[:, column], out=out)
    return np.asarray(out)


def _inverse(matrices: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Inverses (n, k, k) of symmetric matrices, and which of them are well and positive definite.

    Sweeps for all matrices at once. Source: J. H. Goodnight, The American Statistician 33 (1979)
    149.
    """
    a = np.ascontiguousarray(np.moveaxis(matrices, 0, -1))
    a = 0.5 * (a + a.swapaxes(0, 1))
    size = np.einsum("ijn,ijn->n", a, a)
    positive = np.ones(len(matrices), dtype=bool)
    with np.errstate(all="ignore"):
        for j in range(len(a)):
            row = a[j].copy()
            positive &= row[j] > 0.0
            scaled = row / row[j]
            a -= row[:, None] * scaled
            a[j] = a[:, j] = scaled
            a[j, j] = -1.0 / row[j]
        # The product of the norms bounds the ratio of the eigenvalues.
        positive &= size * np.einsum("ijn,ijn->n", a, a) < 1e6
    return np.ascontiguousarray(-np.moveaxis(a, -1, 0)), positive


def _positive_inverse(hessian: Array) -> Array:
    """Inverses (n, k, k) of symmetric matrices, made positive so that a step goes downhill."""
    inverse, well = _inverse(hessian)
    if well.all():
        return inverse
    rest = hessian[~well]
    rest = 0.5 * (rest + np.swapaxes(rest, 1, 2))
    values, vectors = np.linalg.eigh(np.where(np.isfinite(rest), rest, 0.0))
    size = np.abs(values).max(axis=1, keepdims=True)
    safe = np.maximum(np.abs(values), 1e-3 * np.maximum(size, 1e-12))
    inverse[~well] = (vectors / safe[:, None]) @ np.swapaxes(vectors, 1, 2)
    return inverse


def schur_complement(hessian: Array) -> Array:
    """Moduli (n, 9, 9) at relaxed shifts from the Hessian over (F, shifts 1..), (n, k, k)."""
    ff, fp, pp = hessian[:, :9, :9], hessian[:, :9, 9:], hessian[:, 9:, 9:]
    if not pp.shape[1]:
        return np.asarray(ff)
    inverse, well = _inverse(pp)
    answers = inverse @ np.swapaxes(fp, 1, 2)
    if not well.all():
        answers[~well] = np.linalg.solve(pp[~well], np.swapaxes(fp[~well], 1, 2))
    return np.asarray(ff - fp @ answers)
