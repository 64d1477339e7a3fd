"""The Cauchy-Born rule: energy density, stress and tangent of a homogeneously deformed lattice.

``W(F) = V({F R_j}) / Omega``, ``P = dW/dF = (1/Omega) sum_j g_j (x) R_j`` and the tangent from the
bond Hessians. Source: M. Born & K. Huang (1954); J. L. Ericksen, Math. Mech. Solids 13 (2008) 199.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qc.crystal import Crystal
from qc.errors import NonFiniteError
from qc.potentials import Bonds, Potential

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Elements evaluated at once on the generic path, so that memory stays bounded.
CHUNK = 4096


class CauchyBorn:
    """Energy density of a Bravais crystal under a potential.

    Parameters
    ----------
    crystal : Crystal
        One atom per primitive cell.
    potential : Potential

    Raises
    ------
    CrystalError
        The crystal has a basis, which needs sublattice shifts.
    UnknownSpeciesError
        The potential does not know the crystal's element.
    """

    def __init__(self, crystal: Crystal, potential: Potential) -> None:
        crystal.require_bravais("the Cauchy-Born rule")
        self.crystal = crystal
        self.potential = potential
        self.site_type = int(potential.types_of([crystal.symbols[0]])[0])
        self._star = np.empty((0, 3))
        self._lengths = np.empty(0)
        self._grow(1.3 * potential.cutoff)

    def _grow(self, reach: float) -> None:
        self._star = np.ascontiguousarray(self.crystal.star(reach))
        self._lengths = np.linalg.norm(self._star, axis=1)
        self._types = np.full(len(self._star), self.site_type, dtype=np.int64)
        self._reach = reach

    def _bonds_needed(self, f: Array) -> IntArray:
        """Count the bonds of the star, ordered by length, that each state needs.

        A bond R with |F R| < cutoff has |R| < cutoff / smallest singular value of F, which
        Gershgorin's discs bound without a decomposition.
        """
        c = np.einsum("nki,nkj->nij", f, f)
        diagonal = np.einsum("nii->ni", c)
        off = np.abs(c).sum(axis=2) - np.abs(diagonal)
        smallest = (diagonal - off).min(axis=1)
        loose = np.nonzero(smallest < 0.6)[0]
        if len(loose):
            smallest[loose] = np.linalg.svd(f[loose], compute_uv=False)[:, -1] ** 2
        # No state of a run that goes well is compressed below one third.
        reach = self.potential.cutoff / np.sqrt(np.maximum(smallest, 0.1))
        if len(reach) and reach.max() > self._reach:
            self._grow(float(reach.max()))
        return np.searchsorted(self._lengths, reach, side="right")

    def site_energy(self, f: Array) -> Array:
        """Energy of one site, (n,) eV, for deformation gradients (n, 3, 3)."""
        return self._evaluate(f, False)[0]

    def evaluate(self, f: Array, tangent: bool = False) -> tuple[Array, Array, Array | None]:
        """Energy density, stress and, if asked, tangent.

        Parameters
        ----------
        f : (n, 3, 3) float64
            Deformation gradients.
        tangent : bool

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
        e, p, a = self._evaluate(f, tangent)
        volume = self.crystal.volume
        return e / volume, p / volume, None if a is None else a / volume

    def _evaluate(self, f: Array, tangent: bool) -> tuple[Array, Array, Array | None]:
        f = np.ascontiguousarray(f, dtype=np.float64).reshape(-1, 3, 3)
        if not np.isfinite(f).all():
            row = int(np.nonzero(~np.isfinite(f).all(axis=(1, 2)))[0][0])
            raise NonFiniteError(f"deformation gradient {row} is not finite")
        needed = self._bonds_needed(f)
        # A few strongly strained states must not lengthen the sum of all the others.
        common = int(np.quantile(needed, 0.9)) if len(needed) else 0
        many = needed <= common
        if many.all():
            e, p, a = self._batch(f, common, tangent)
        else:
            e, p = np.empty(len(f)), np.empty((len(f), 3, 3))
            a = np.empty((len(f), 3, 3, 3, 3)) if tangent else None
            for part, bonds in ((many, common), (~many, int(needed.max()))):
                e[part], p[part], moduli = self._batch(f[part], bonds, tangent)
                if a is not None:
                    a[part] = moduli
        if not np.isfinite(e).all():
            row = int(np.nonzero(~np.isfinite(e))[0][0])
            raise NonFiniteError(f"Cauchy-Born energy of element {row} is not finite")
        return e, p, a

    def _batch(self, f: Array, bonds: int, tangent: bool) -> tuple[Array, Array, Array | None]:
        star = self._star[:bonds]
        fused = getattr(self.potential, "deformed_star", None)
        if fused is None:
            return self._generic(f, star, tangent)
        e, p, a = fused(f, star, self.site_type, self._types[:bonds], tangent=tangent)
        return e, p, a

    def _generic(self, f: Array, star: Array, tangent: bool) -> tuple[Array, Array, Array | None]:
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
                bond_types=np.tile(self._types[:k], size),
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
        """
        state = np.eye(3) if f is None else np.asarray(f, dtype=float)
        moduli = self.evaluate(state[None], tangent=True)[2]
        assert moduli is not None
        return moduli[0]


def acoustic_stability(moduli: Array, planar: bool = False, directions: int = 64) -> Array:
    """Smallest eigenvalue of the acoustic tensor over directions, (n,) eV/Angstrom^3.

    Negative where a Cauchy-Born state has lost strong ellipticity. Source: R. Hill, J. Mech. Phys.
    Solids 10 (1962) 1.

    Parameters
    ----------
    moduli : (n, 3, 3, 3, 3) float64
        Or (n, 2, 2, 2, 2) for a monolayer, which has no displacement out of its plane.
    planar : bool
        Only directions in the x-y plane.
    directions : int
        Directions sampled on the half sphere (or half circle).
    """
    if planar:
        t = np.arange(directions) * np.pi / directions
        k = np.stack([np.cos(t), np.sin(t), np.zeros_like(t)], axis=1)
    else:
        # Fibonacci points on the half sphere.
        i = np.arange(directions) + 0.5
        z = i / directions
        t = np.pi * (1.0 + 5.0**0.5) * i
        k = np.stack([np.sqrt(1 - z**2) * np.cos(t), np.sqrt(1 - z**2) * np.sin(t), z], axis=1)
    k = k[:, : moduli.shape[-1]]
    q = np.einsum("nijkl,aj,al->naik", moduli, k, k)
    return np.linalg.eigvalsh(0.5 * (q + np.swapaxes(q, -1, -2)))[..., 0].min(axis=1)


def equilibrium_lattice_constant(crystal: Crystal, potential: Potential) -> float:
    """Lattice constant of least energy for a crystal's structure, Angstrom, to round-off.

    Parameters
    ----------
    crystal : Crystal
        Structure and orientation; its own lattice constant is the starting point.
    potential : Potential
    """
    from scipy.optimize import brentq

    rule = CauchyBorn(crystal, potential)
    d = crystal.dim if crystal.mode == "monolayer" else 3

    def pressure(scale: float) -> float:
        f = np.eye(3)
        f[:d, :d] *= scale
        return float(np.trace(rule.evaluate(f[None])[1][0][:d, :d]))

    grid = np.linspace(0.8, 1.25, 46)
    values = [pressure(s) for s in grid]
    energies = []
    for s in grid:
        f = np.eye(3)
        f[:d, :d] *= s
        energies.append(float(rule.site_energy(f[None])[0]))
    best = int(np.argmin(energies))
    low, high = max(best - 1, 0), min(best + 1, len(grid) - 1)
    if not (values[low] < 0.0 < values[high]):
        from qc.errors import CrystalError

        raise CrystalError(
            f"no {crystal.name} lattice constant between {0.8 * crystal.a:.3f} and "
            f"{1.25 * crystal.a:.3f} Angstrom minimises the energy of this potential"
        )
    return crystal.a * float(brentq(pressure, grid[low], grid[high], xtol=1e-15, rtol=1e-15))
