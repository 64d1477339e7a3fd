"""Effective medium theory as a `CentralPotential`, and a calculator of ASE's name and energies.

The functions are those of K. W. Jacobsen, P. Stoltze & J. K. Norskov, Surf. Sci. 366 (1996) 394,
with ASE's parameters, its logistic cutoff and its zero of energy (the crystal of each element at
equilibrium), so that ASE's own tests of EMT can be run on the calculator of this package.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from ase.calculators import emt
from ase.units import Bohr

from qc.adapters.ase import PotentialCalculator
from qc.potentials import CentralPotential, Jet

#: The value of the cutoff function at the fourth neighbours of fcc.
TAIL = 1e-4

#: fcc: how many neighbours of the first three kinds, at how many times the first distance.
SHELLS = ((12, 1.0), (6, np.sqrt(2.0)), (24, np.sqrt(3.0)))


class EffectiveMedium(CentralPotential):
    """EMT of all elements that ASE has parameters for.

    With ``w`` the cutoff function, a site of species s has

    ``sigma1 = sum_t n0_t / n0_s exp(-eta2_t (r - beta s0_t)) w(r)``, ``y = sigma1 / 12 gamma1_s``,
    ``F = E0_s [(1 - p ln y) y^p - 1] + 6 V0_s y^q``, ``p, q = (lambda_s, kappa_s) / beta eta2_s``,

    and half of the pair energies ``-V0_s / 2 gamma2_s n0_t / n0_s exp(-kappa_t (r / beta - s0_t))
    w(r)`` plus the same with s and t exchanged.
    """

    many_body = True

    def __init__(self) -> None:
        table = np.array(list(emt.parameters.values()))
        e0, s0, v0, eta2, kappa, lam, n0 = table.T
        s0, n0 = s0 * Bohr, n0 / Bohr**3
        eta2, kappa, lam = eta2 / Bohr, kappa / Bohr, lam / Bohr
        beta = emt.beta
        third, fourth = (beta * s0.max() * x for x in (np.sqrt(3.0), 2.0))
        self.middle = 0.5 * (third + fourth)
        self.slope = np.log(1.0 / TAIL - 1.0) / (fourth - self.middle)
        super().__init__(tuple(emt.parameters), self.middle + 0.5)
        gamma1, gamma2 = np.zeros(len(s0)), np.zeros(len(s0))
        for count, ratio in SHELLS:
            r = ratio * beta * s0
            weight = count / 12.0 * self._cut(r)
            gamma1 += weight * np.exp(-eta2 * (r - beta * s0))
            gamma2 += weight * np.exp(-kappa / beta * (r - beta * s0))
        chi = n0[None, :] / n0[:, None]
        self.e0, self.v0, self.full = e0, v0, 12.0 * gamma1
        self.p, self.q = lam / (beta * eta2), kappa / (beta * eta2)
        self.density_decay = eta2
        self.density_front = chi * np.exp(beta * eta2 * s0)
        self.pair_decay = kappa / beta
        self.pair_front = -0.5 * (v0 / gamma2)[:, None] * chi * np.exp(kappa * s0)

    def _cut(self, r: Any) -> Any:
        return 1.0 / (1.0 + np.exp(self.slope * (r - self.middle)))

    def _decaying(self, r: Any, front: Any, decay: Any) -> Jet:
        """Return ``front exp(-decay r) w(r)``."""
        w = self._cut(r)
        value = front * np.exp(-decay * r) * w
        rate = self.slope * (w - 1.0) - decay
        return Jet(value, value * rate, value * (rate**2 + self.slope**2 * w * (w - 1.0)))

    def pair(self, r: Any, s: Any, t: Any) -> Jet:
        """Return the pair energy with its derivatives."""
        one = self._decaying(r, self.pair_front[s, t], self.pair_decay[t])
        other = self._decaying(r, self.pair_front[t, s], self.pair_decay[s])
        return Jet(*(a + b for a, b in zip(one, other, strict=True)))

    def density(self, r: Any, s: Any, t: Any) -> Jet:
        """Return what a neighbour of species t adds to sigma1, with its derivatives."""
        return self._decaying(r, self.density_front[s, t], self.density_decay[t])

    # EMT's own cutoff function is in the functions; nothing more is done to them.
    truncated_pair, truncated_density = pair, density

    def embedding(self, rho: Any, s: Any) -> Jet:
        """Return the energy of a site at a density, an isolated atom's included."""
        alone = rho <= 0.0
        y = np.where(alone, 1.0, rho) / self.full[s]
        e0, v0, p, q = self.e0[s], self.v0[s], self.p[s], self.q[s]
        log = np.log(y)
        value = e0 * ((1.0 - p * log) * y**p - 1.0) + 6.0 * v0 * y**q
        first = (-e0 * p**2 * log * y**p + 6.0 * v0 * q * y**q) / (y * self.full[s])
        second = (
            -e0 * p**2 * (1.0 + (p - 1.0) * log) * y**p + 6.0 * v0 * q * (q - 1.0) * y**q
        ) / (y * self.full[s]) ** 2
        return Jet(
            np.where(alone, -e0, value), np.where(alone, 0.0, first), np.where(alone, 0.0, second)
        )

    def parameters(self) -> tuple[Any, ...]:
        """Return ASE's table, one row an element."""
        return tuple(np.array(row) for row in emt.parameters.values())


effective_medium = cache(EffectiveMedium)


class EMT(PotentialCalculator):
    """Stands for ASE's ``EMT`` in ASE's own tests."""

    name = "emt"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(effective_medium(), **kwargs)
        # Tests choose regions by this attribute of ASE's class, the middle of the cutoff function.
        self.rc = effective_medium().middle
