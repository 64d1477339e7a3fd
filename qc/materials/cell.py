"""The energy of one deformed primitive cell, as a function of F and of its sublattice shifts.

Atoms of the homogeneously deformed crystal sit at ``y_(m,s) = F (X_m + B_s) + p_s`` with
``p_0 = 0``. A bond from (0, s) to (m, t) is ``F R + p_t - p_s`` with ``R = X_m + B_t - B_s``, so
with the bond gradients g of the site energies

    dE/dF = sum_b g_b (x) R_b          dE/dp_u = sum_b g_b (delta_(u,t) - delta_(u,s))

and the second derivatives are the Hessian products of these bond changes. Source: M. Born &
K. Huang, Dynamical Theory of Crystal Lattices (1954); for shifts as internal variables of a
continuum E. B. Tadmor, G. S. Smith, N. Bernstein & E. Kaxiras, Phys. Rev. B 59 (1999) 235.
"""

from __future__ import annotations

from typing import Literal

import numba
import numpy as np
from numpy.typing import NDArray

from qc.crystal import Crystal
from qc.materials.material import CellResponse
from qc.numerics.jit import kernel, plain
from qc.numerics.threads import threads_for
from qc.potentials import Bonds, Potential
from qc.potentials.base import Order

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Bonds evaluated at once, so that memory stays bounded.
CHUNK = 300_000

#: Cells that one thread evaluates before another is awake.
FEW = 64


class SiteSum:
    """The primitive cell of a crystal under a potential with site energies.

    Parameters
    ----------
    crystal : Crystal
    potential : Potential
    types : (n_s,) int64
        Species of each sublattice.
    """

    def __init__(self, crystal: Crystal, potential: Potential, types: IntArray) -> None:
        self.crystal, self.potential, self.types = crystal, potential, types
        self.n_sublattices = crystal.n_sublattices
        #: Whether the potential's kernel is taken; otherwise bonds, which any potential has.
        self.fused = potential.fused_cell
        # Bonds out to a reach, ordered by site: set as a whole, and never changed, for another
        # thread may be at work with them.
        self._star: tuple[float, Array, IntArray, IntArray, Array] | None = None

    @property
    def second_is_cheap(self) -> bool:
        """Whether second derivatives cost little more than the gradient."""
        return self.fused

    def _grown(self, reach: float) -> tuple[float, Array, IntArray, IntArray, Array]:
        """Return a reach and vectors, sources, targets and lengths of the bonds within it."""
        ns = self.n_sublattices
        stars = [self.crystal.star_sites(reach, s) for s in range(ns)]
        vectors = np.concatenate([v for v, _, _ in stars])
        source = np.repeat(np.arange(ns), [len(v) for v, _, _ in stars])
        target = np.concatenate([t for _, _, t in stars])
        return reach, vectors, source, target, np.linalg.norm(vectors, axis=1)

    def _bonds(self, f: Array, p: Array) -> tuple[Array, IntArray, IntArray]:
        """Return the bonds that any of these states needs: vectors, source, target."""
        spread = 2.0 * np.sqrt(np.einsum("nsi,nsi->sn", p, p).max(axis=0))
        reach = float(((self.potential.cutoff + spread) / smallest_stretch(f)).max())
        star = self._star
        if star is None or reach > star[0]:
            star = self._star = self._grown(1.15 * reach)
        _, vectors, source, target, lengths = star
        keep = lengths <= reach
        return vectors[keep], source[keep], target[keep]

    def __call__(self, f: Array, p: Array, order: Order = "gradient") -> CellResponse:
        """Return energies and derivatives for states ``f`` (n, 3, 3), ``p`` (n, n_s, 3)."""
        if not self.fused or not len(f):
            return self.by_bonds(f, p, order)
        vectors, source, target = self._bonds(f, p)
        with threads_for(len(f), FEW):
            found = self.potential.deformed_cell(f, p, vectors, source, target, self.types, order)
        return CellResponse(*found)

    def by_bonds(self, f: Array, p: Array, order: Order = "gradient") -> CellResponse:
        """Return the same from bond gradients and Hessian products, which any potential has."""
        n, ns = len(f), self.n_sublattices
        width = {"gradient": 0, "shifts": 3 * (ns - 1), "full": 9 + 3 * (ns - 1)}[order]
        sites, df, dp = np.empty((n, ns)), np.empty((n, 3, 3)), np.empty((n, ns, 3))
        hessian = np.empty((n, width, width)) if width else None
        if not n:
            return CellResponse(sites, df, dp, hessian)
        vectors, source, target = self._bonds(f, p)
        step = max(CHUNK // max(len(vectors), 1), 1)
        for first in range(0, n, step):
            part = slice(first, min(first + step, n))
            with threads_for(n, FEW):
                sites[part], df[part], dp[part], h = self._piece(
                    f[part], p[part], vectors, source, target, order
                )
            if hessian is not None:
                hessian[part] = h
        return CellResponse(sites, df, dp, hessian)

    def _piece(
        self, f: Array, p: Array, ref: Array, source: IntArray, target: IntArray, order: Order
    ) -> CellResponse:
        n, k, ns = len(f), len(ref), self.n_sublattices
        current = np.empty((n * k, 3))
        _deform(f, p, ref, source, target, current)
        counts = np.bincount(source, minlength=ns)
        start = np.zeros(n * ns + 1, dtype=np.int64)
        np.cumsum(np.tile(counts, n), out=start[1:])
        bonds = Bonds(
            start=start,
            vectors=current,
            site_types=np.tile(self.types, n),
            bond_types=np.tile(self.types[target], n),
        )
        energies, g = self.potential.bond_gradients(bonds)
        df, dp = np.empty((n, 3, 3)), np.empty((n, ns, 3))
        _contract(g, ref, source, target, df, dp)
        if order == "gradient":
            return CellResponse(energies.reshape(n, ns), df, dp, None)
        moves: list[tuple[Array, Array]] = []
        if order == "full":
            moves += [(m.reshape(3, 3), np.zeros((ns, 3))) for m in np.eye(9)]
        moves += [(np.zeros((3, 3)), m.reshape(ns, 3)) for m in np.eye(3 * ns)[3:]]
        hessian = np.empty((n, len(moves), len(moves)))
        rows_f, rows_p = np.empty_like(df), np.empty_like(dp)
        for column, (move_f, move_p) in enumerate(moves):
            change = np.empty((1, k, 3))
            _deform(move_f[None], move_p[None], ref, source, target, change.reshape(k, 3))
            every = np.repeat(change, n, axis=0).reshape(-1, 3)
            dg = self.potential.bond_hessian_product(bonds, every)
            _contract(dg, ref, source, target, rows_f, rows_p)
            if order == "full":
                hessian[:, :9, column] = rows_f.reshape(n, 9)
                hessian[:, 9:, column] = rows_p[:, 1:].reshape(n, -1)
            else:
                hessian[:, :, column] = rows_p[:, 1:].reshape(n, -1)
        return CellResponse(energies.reshape(n, ns), df, dp, hessian)


class WholeCell:
    """The primitive cell of a crystal under a potential that gives cell energies only.

    Parameters
    ----------
    crystal : Crystal
    potential : Potential
        Without site energies, as `qc.potentials.ASEPotential`.
    types : (n_s,) int64
    """

    #: Second derivatives are differences of many cell energies.
    second_is_cheap = False

    def __init__(self, crystal: Crystal, potential: Potential, types: IntArray) -> None:
        self.crystal, self.potential, self.types = crystal, potential, types
        self.n_sublattices = crystal.n_sublattices

    def __call__(self, f: Array, p: Array, order: Order = "gradient") -> CellResponse:
        """Return energies and derivatives for states ``f`` (n, 3, 3), ``p`` (n, n_s, 3)."""
        crystal, ns = self.crystal, self.n_sublattices
        second: bool | Literal["shifts"] = "shifts" if order == "shifts" else order == "full"
        pbc = (True, True, crystal.dim_lattice == 3)
        energy, df, dp, hessian = self.potential.cell_response(
            f, p, crystal.cell, crystal.basis, self.types, second, pbc=pbc
        )
        sites = np.repeat(energy[:, None] / ns, ns, axis=1)
        if hessian is not None:
            first = 0 if order == "full" else 9
            keep = np.r_[first:9, 12 : 9 + 3 * ns]
            hessian = hessian[:, keep][:, :, keep]
        return CellResponse(sites, df, dp, hessian)


def smallest_stretch(f: Array) -> Array:
    """Lower bound of the smallest singular value of F, (n,), but at least 0.3.

    Gershgorin's discs of ``F^T F`` bound it without a decomposition where the strain is small; no
    state of a run that goes well is compressed below one third.
    """
    smallest = np.empty(len(f))
    _discs(plain(f), smallest)
    loose = np.nonzero(smallest < 0.6)[0]
    if len(loose):
        smallest[loose] = np.linalg.svd(f[loose], compute_uv=False)[:, -1] ** 2
    return np.asarray(np.sqrt(np.maximum(smallest, 0.1)))


@kernel()
def _discs(f, out):
    """Lower ends of Gershgorin's discs of ``F^T F``, (n,)."""
    for e in range(len(f)):
        xx = yy = zz = xy = xz = yz = 0.0
        for k in range(3):
            a, b, c = f[e, k, 0], f[e, k, 1], f[e, k, 2]
            xx += a * a
            yy += b * b
            zz += c * c
            xy += a * b
            xz += a * c
            yz += b * c
        xy, xz, yz = abs(xy), abs(xz), abs(yz)
        out[e] = min(xx - xy - xz, yy - xy - yz, zz - xz - yz)


@kernel(parallel=True)
def _deform(f, p, ref, source, target, out):
    """Bonds ``F R + p_t - p_s`` of every state, (n k, 3)."""
    k = len(ref)
    for e in numba.prange(len(f)):
        for b in range(k):
            for c in range(3):
                out[e * k + b, c] = (
                    f[e, c, 0] * ref[b, 0]
                    + f[e, c, 1] * ref[b, 1]
                    + f[e, c, 2] * ref[b, 2]
                    + p[e, target[b], c]
                    - p[e, source[b], c]
                )


@kernel(parallel=True)
def _contract(g, ref, source, target, df, dp):
    """Sum bond gradients (n k, 3) to derivatives by F (n, 3, 3) and by shifts (n, n_s, 3)."""
    k = len(ref)
    for e in numba.prange(len(df)):
        df[e] = 0.0
        dp[e] = 0.0
        for b in range(k):
            for c in range(3):
                pull = g[e * k + b, c]
                df[e, c, 0] += pull * ref[b, 0]
                df[e, c, 1] += pull * ref[b, 1]
                df[e, c, 2] += pull * ref[b, 2]
                dp[e, target[b], c] += pull
                dp[e, source[b], c] -= pull
