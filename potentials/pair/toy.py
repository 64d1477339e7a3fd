"""The two-dimensional toy EAM of the atomistic-to-continuum coupling literature."""

from __future__ import annotations

import numpy as np

from ..base import Array, IntArray
from .central import CentralPotential, Jet


class ToyEAM(CentralPotential):
    """Analytic many-body potential for a triangular monolayer with spacing near 1.

    ``V_i = 1/2 sum phi(r) + G(sum psi(r))`` with ``phi(r) = exp(-2a(r-1)) - 2 exp(-a(r-1))``,
    ``psi(r) = exp(-b r)``, ``G(s) = c [(s-s0)^2 + (s-s0)^4]``, ``s0 = 6 exp(-0.9 b)``. Lengths
    and energies are dimensionless there and count as Angstrom and eV here.

    Parameters
    ----------
    a, b, c : float
        Stiffness of the pair term, decay of the density, stiffness of the embedding.
    inner, cutoff : float
        phi and psi are multiplied by a step from 1 at ``inner`` to 0 at ``cutoff``.
    symbol : str
        Name of the species.

    Notes
    -----
    The papers cut by neighbour shell, which a moving atom crosses with a jump; here the range is
    smooth, with three full shells kept by default.

    Source: form and defaults as in the numerical sections of X. H. Li, M. Luskin, C. Ortner, A. V.
    Shapeev, Comput. Methods Appl. Mech. Engrg. 268 (2014) 763, and X. H. Li, C. Ortner, A. V.
    Shapeev, B. Van Koten, Math. Comp. 85 (2016).
    """

    many_body = True

    def __init__(
        self,
        a: float = 4.4,
        b: float = 3.0,
        c: float = 5.0,
        inner: float = 2.1,
        cutoff: float = 2.5,
        symbol: str = "X",
    ) -> None:
        super().__init__(symbol, cutoff, "smooth", inner / cutoff)
        self.a, self.b, self.c = float(a), float(b), float(c)
        self.s0 = 6.0 * float(np.exp(-0.9 * b))

    def pair(self, r: Array, s: IntArray, t: IntArray) -> Jet:
        """Return the pair energy with its derivatives."""
        a = self.a
        x = np.exp(-a * (r - 1.0))
        return Jet(x * (x - 2.0), 2.0 * a * x * (1.0 - x), 2.0 * a**2 * x * (2.0 * x - 1.0))

    def density(self, r: Array, s: IntArray, t: IntArray) -> Jet:
        """Return the density of a neighbour with its derivatives."""
        b = self.b
        x = np.exp(-b * r)
        return Jet(x, -b * x, b**2 * x)

    def embedding(self, rho: Array, s: IntArray) -> Jet:
        """Return the embedding energy with its derivatives."""
        d = rho - self.s0
        return Jet(
            self.c * d**2 * (1.0 + d**2),
            self.c * d * (2.0 + 4.0 * d**2),
            self.c * (2.0 + 12.0 * d**2),
        )

    def parameters(self) -> tuple[Array | float | str, ...]:
        """Return everything the energy depends on."""
        return (self.a, self.b, self.c, self.switch)
