"""Force constants of a homogeneously deformed crystal, exact, from bond Hessians."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from qc.crystal import Crystal
from qc.crystal.bonded import require_bonds
from qc.errors import CapabilityError, NonFiniteError
from qc.numerics.threads import one_thread
from qc.potentials import Bonds, Potential

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Bond Hessian blocks held at once, so that memory stays bounded.
CHUNK = 400_000


@dataclass(frozen=True, eq=False)
class ForceConstants:
    """Second derivatives of the energy of infinite crystals, one for each state.

    Parameters
    ----------
    cells : (n_m, 3) int64
        Lattice coordinates of the cells that the cell at the origin interacts with, itself
        included.
    blocks : (n, n_m, 3 n_s, 3 n_s) float64, eV/Angstrom^2
        ``blocks[k, m, 3 s + i, 3 t + j] = d2E / du_(0,s)i du_(m,t)j``.
    """

    cells: IntArray
    blocks: Array

    @property
    def self_blocks(self) -> Array:
        """Stiffness of single atoms among neighbours at rest, (n, n_s, 3, 3) eV/Angstrom^2."""
        home = int(np.nonzero((self.cells == 0).all(axis=1))[0][0])
        own = self.blocks[:, home]
        ns = own.shape[1] // 3
        return np.stack([own[:, 3 * s : 3 * s + 3, 3 * s : 3 * s + 3] for s in range(ns)], axis=1)

    def fourier(self, k: ArrayLike) -> NDArray[np.complex128]:
        """Return ``sum_m blocks[m] exp(2 pi i k . m)``, (n, n_k, 3 n_s, 3 n_s) eV/Angstrom^2.

        Parameters
        ----------
        k : (n_k, 3) float
            Wave vectors in units of the reciprocal vectors of the primitive cell.
        """
        waves = 2.0 * np.pi * np.atleast_2d(np.asarray(k, dtype=float)) @ self.cells.T
        n, n_m, size, _ = self.blocks.shape
        flat = self.blocks.reshape(n, n_m, size * size)
        out = np.empty((n, len(waves), size * size), dtype=np.complex128)
        out.real = np.cos(waves) @ flat
        out.imag = np.sin(waves) @ flat
        return out.reshape(n, len(waves), size, size)

    def folded(self, axis: int) -> ForceConstants:
        """Return those of rows of atoms along a lattice vector that move as one."""
        kept = self.cells.copy()
        kept[:, axis] = 0
        cells, index = np.unique(kept, axis=0, return_inverse=True)
        blocks = np.zeros((len(self.blocks), len(cells), *self.blocks.shape[2:]))
        for old, new in enumerate(index.ravel()):
            blocks[:, new] += self.blocks[:, old]
        return ForceConstants(cells, blocks)


def force_constants(
    crystal: Crystal,
    potential: Potential,
    f: ArrayLike | None = None,
    shifts: ArrayLike | None = None,
) -> ForceConstants:
    """Return the force constants of homogeneously deformed crystals.

    With the blocks ``H_bc`` of the Hessian of a site's energy in its bonds, and ``u_b`` the
    displacement at the far end of bond b of site s, the energy is ``sum_s sum_bc (u_b - u_s) .
    H_bc (u_c - u_s) / 2`` to second order, which says where each block belongs.

    Parameters
    ----------
    crystal : Crystal
    potential : Potential
    f : (n, 3, 3) float, optional
        Deformation gradients; the crystal as it is by default.
    shifts : (n, n_s, 3) float, Angstrom, optional
        Sublattice shifts, ``y = F (X + B_s) + p_s``; none by default.

    Raises
    ------
    CapabilityError
        The potential has no site energies.
    CrystalError
        No bond is within the cutoff.
    NonFiniteError
        A force constant is not finite; the message names the state.

    Source: M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954), section 23.
    """
    if not potential.has_site_energies:
        raise CapabilityError(
            f"{type(potential).__name__} has no site energies, whose second derivatives force "
            "constants are made of"
        )
    states = np.eye(3)[None] if f is None else np.asarray(f, dtype=np.float64).reshape(-1, 3, 3)
    n, ns = len(states), crystal.n_sublattices
    p = np.zeros((n, ns, 3)) if shifts is None else np.asarray(shifts, dtype=np.float64)
    types = potential.types_of(crystal.symbols)
    spread = 2.0 * float(np.sqrt((p**2).sum(axis=2)).max(initial=0.0))
    stretch = np.linalg.svd(states, compute_uv=False)[:, -1].min(initial=1.0)
    reach = (potential.cutoff + spread) / max(float(stretch), 0.3)
    stars = [crystal.star_sites(reach, s) for s in range(ns)]
    vectors = np.concatenate([v for v, _, _ in stars])
    m = np.concatenate([c for _, c, _ in stars])
    source = np.repeat(np.arange(ns), [len(v) for v, _, _ in stars])
    target = np.concatenate([t for _, _, t in stars])
    current = np.einsum("nij,bj->nbi", states, vectors) + p[:, target] - p[:, source]
    near = (np.einsum("nbi,nbi->nb", current, current) < potential.cutoff**2).any(axis=0)
    if not near.any():
        require_bonds(crystal, potential, states[0])
    m, source, target, current = m[near], source[near], target[near], current[:, near]
    place, cells = _places(m, source, target, ns)
    n_pairs, blocks = place.shape[1], np.empty((n, len(cells), 3 * ns, 3 * ns))
    counts = np.bincount(source, minlength=ns)
    step = max(CHUNK // max(n_pairs, 1), 1)
    for first in range(0, n, step):
        part = current[first : first + step]
        size = len(part)
        start = np.zeros(size * ns + 1, dtype=np.int64)
        np.cumsum(np.tile(counts, size), out=start[1:])
        bonds = Bonds(
            start,
            np.ascontiguousarray(part.reshape(-1, 3)),
            np.tile(types, size),
            np.tile(types[target], size),
        )
        with one_thread():
            found = potential.bond_hessians(bonds)
        ordered = _by_pair(found.first, found.second, found.blocks, counts, size, n_pairs)
        summed = (place @ ordered.transpose(1, 0, 2, 3).reshape(n_pairs, -1)).reshape(
            len(cells), ns, ns, size, 3, 3
        )
        blocks[first : first + step] = summed.transpose(3, 0, 1, 4, 2, 5).reshape(
            size, len(cells), 3 * ns, 3 * ns
        )
    bad = np.nonzero(~np.isfinite(blocks).all(axis=(1, 2, 3)))[0]
    if len(bad):
        raise NonFiniteError(f"force constants of state {bad[0]} are not finite")
    return ForceConstants(cells, blocks)


def _by_pair(
    first: IntArray, second: IntArray, blocks: Array, counts: IntArray, n: int, n_pairs: int
) -> Array:
    """Blocks in one order for every state, (n, n_pairs, 3, 3): site, first bond, second bond."""
    nb = int(counts.sum())
    begin = np.concatenate([[0], np.cumsum(counts)])
    site = np.repeat(np.arange(len(counts)), counts)
    offset = np.concatenate([[0], np.cumsum(counts**2)])
    state, b, c = first // nb, first % nb, second % nb
    s = site[b]
    pair = offset[s] + (b - begin[s]) * counts[s] + (c - begin[s])
    out = np.zeros((n, n_pairs, 3, 3))
    out[state, pair] = blocks
    return out


def _places(
    m: IntArray, source: IntArray, target: IntArray, ns: int
) -> tuple[sp.csr_matrix, IntArray]:
    """Where each pair of bonds enters, with its sign: (n_m n_s^2, n_pairs), and the cells."""
    own = [np.nonzero(source == s)[0] for s in range(ns)]
    b = np.concatenate([np.repeat(rows, len(rows)) for rows in own])
    c = np.concatenate([np.tile(rows, len(rows)) for rows in own])
    s, tb, tc = source[b], target[b], target[c]
    pair, none = np.arange(len(b)), np.zeros_like(m[b])
    # (u_b - u_s) H (u_c - u_s): far-far, far-near, near-far, near-near.
    parts = [
        (m[c] - m[b], tb, tc, 1.0),
        (-m[b], tb, s, -1.0),
        (m[c], s, tc, -1.0),
        (none, s, s, 1.0),
    ]
    cells, index = np.unique(np.concatenate([d for d, *_ in parts]), axis=0, return_inverse=True)
    row = index.ravel() * ns * ns + np.concatenate([i * ns + j for _, i, j, _ in parts])
    sign = np.repeat([w for *_, w in parts], len(b))
    shape = (len(cells) * ns * ns, len(b))
    return sp.csr_matrix((sign, (row, np.tile(pair, 4))), shape), cells
