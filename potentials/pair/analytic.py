"""Pair potentials: Lennard-Jones and Morse, for any number of species."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qc.errors import PotentialError
from qc.numerics.checks import numbers

from ..base import Array, IntArray
from .central import CentralPotential, Jet


class LennardJones(CentralPotential):
    """Lennard-Jones potential, ``phi(r) = 4 epsilon [(sigma/r)^12 - (sigma/r)^6]``.

    Parameters
    ----------
    species : str or sequence of str
        Chemical symbols.
    epsilon : float or (ns, ns) array, eV
        Well depth of each pair of species.
    sigma : float or (ns, ns) array, Angstrom
        Zero of each pair function.
    cutoff : float, optional
        Angstrom; 2.5 times the largest sigma unless given.
    truncation, switch
        As in `CentralPotential`. ``"shift_force"`` is LAMMPS ``lj/smooth/linear``.

    Source: J. E. Jones, Proc. R. Soc. A 106 (1924) 463.
    """

    def __init__(
        self,
        species: str | Sequence[str],
        epsilon: Any,
        sigma: Any,
        cutoff: float | None = None,
        truncation: str = "smooth",
        switch: float = 0.8,
    ) -> None:
        sigma = numbers("sigma", sigma, PotentialError)
        reach = 2.5 * float(sigma.max(initial=0.0)) if cutoff is None else cutoff
        super().__init__(species, reach, truncation, switch)
        self.epsilon = self.pairwise(epsilon, "epsilon")
        self.sigma = self.pairwise(sigma, "sigma")
        if (self.sigma <= 0.0).any():
            raise PotentialError(f"sigma must be positive, not {self.sigma.tolist()}")

    def pair(self, r: Array, s: IntArray, t: IntArray) -> Jet:
        """Return the pair energy with its derivatives."""
        x = (self.sigma[s, t] / r) ** 6
        e = 4.0 * self.epsilon[s, t] * x
        return Jet(e * (x - 1.0), e * (6.0 - 12.0 * x) / r, e * (156.0 * x - 42.0) / r**2)

    def parameters(self) -> tuple[Array | float | str, ...]:
        """Return everything the energy depends on."""
        return (self.epsilon, self.sigma, self.truncation, self.switch)


class Morse(CentralPotential):
    """Morse potential, ``phi(r) = D [exp(-2 a (r - r0)) - 2 exp(-a (r - r0))]``.

    Parameters
    ----------
    species : str or sequence of str
        Chemical symbols.
    depth : float or (ns, ns) array, eV
        D, the well depth of each pair of species.
    stiffness : float or (ns, ns) array, 1/Angstrom
        a.
    distance : float or (ns, ns) array, Angstrom
        r0, where the pair energy is lowest.
    cutoff : float
        Angstrom.
    truncation, switch
        As in `CentralPotential`. ``"shift_force"`` is LAMMPS ``morse/smooth/linear``.

    Source: P. M. Morse, Phys. Rev. 34 (1929) 57.
    """

    def __init__(
        self,
        species: str | Sequence[str],
        depth: Any,
        stiffness: Any,
        distance: Any,
        cutoff: float,
        truncation: str = "smooth",
        switch: float = 0.8,
    ) -> None:
        super().__init__(species, cutoff, truncation, switch)
        self.depth = self.pairwise(depth, "depth")
        self.stiffness = self.pairwise(stiffness, "stiffness")
        self.distance = self.pairwise(distance, "distance")

    def pair(self, r: Array, s: IntArray, t: IntArray) -> Jet:
        """Return the pair energy with its derivatives."""
        d, a = self.depth[s, t], self.stiffness[s, t]
        x = np.exp(-a * (r - self.distance[s, t]))
        return Jet(
            d * x * (x - 2.0), 2.0 * d * a * x * (1.0 - x), 2.0 * d * a**2 * x * (2.0 * x - 1.0)
        )

    def parameters(self) -> tuple[Array | float | str, ...]:
        """Return everything the energy depends on."""
        return (self.depth, self.stiffness, self.distance, self.truncation, self.switch)
