"""Central-force potentials from functions on arrays: the machinery behind a new one of 40 lines.

A subclass says what its functions of distance are, as vectorised numpy expressions; everything
over bonds, neighbour lists and stars follows. Tabulated embedded-atom potentials, where speed
matters more, have kernels of their own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from qc.errors import InputError, PotentialError
from qc.numerics.checks import kind, numbers, positive, real

from .. import star as stars
from ..base import Array, Bonds, IntArray, Pairs, Potential
from ..checks import check_bonds, check_star
from ..pair_checks import check_apart, check_pairs

TRUNCATIONS = ("smooth", "shift_force")

# At absurd distances functions overflow; the result is then not finite, which callers test.
_QUIET = np.errstate(over="ignore", divide="ignore", invalid="ignore")

#: Arrays are worked on in blocks of about this many bonds, to stay in cache.
_BLOCK = 1 << 15


class Jet(NamedTuple):
    """A function of one variable on an array: value, first and second derivative."""

    value: Array
    first: Array
    second: Array


def smooth_step(x: Array) -> Jet:
    """Return the septic step, 0 below 0 and 1 above 1; its third derivative is continuous."""
    t = np.clip(x, 0.0, 1.0)
    u = t * (1.0 - t)
    return Jet(
        t**4 * (35.0 - t * (84.0 - t * (70.0 - 20.0 * t))),
        140.0 * u**3,
        420.0 * u**2 * (1.0 - 2.0 * t),
    )


class CentralPotential(Potential):
    """Potential ``V_i = F_s(sum_b rho_st(r_b)) + 1/2 sum_b phi_st(r_b)`` from array functions.

    A subclass defines `pair`; one with an embedding term sets ``many_body`` and defines
    `density` and `embedding` too. s is the species of the site, t that of the neighbour.

    Parameters
    ----------
    species : str or sequence of str
        Chemical symbols.
    cutoff : float
        Angstrom; one for all species.
    truncation : {"smooth", "shift_force"}
        ``"smooth"`` multiplies pair and density functions by a step from 1 at ``switch * cutoff``
        to 0 at the cutoff that has three continuous derivatives. ``"shift_force"`` subtracts
        ``f(rc) + (r - rc) f'(rc)``: energy and force go to zero, the second derivative jumps.
    switch : float
        Start of the smooth step in units of the cutoff, between 0 and 1.

    Raises
    ------
    PotentialError
        Species given twice, a cutoff that is not positive, an unknown truncation.
    """

    #: Whether the subclass defines `density` and `embedding`.
    many_body: ClassVar[bool] = False

    #: Ways to come to the cutoff that the subclass offers.
    truncations: ClassVar[tuple[str, ...]] = TRUNCATIONS

    pair_list: ClassVar[Literal["none", "half", "full"]] = "half"
    fused_virial: ClassVar[bool] = True
    fused_star: ClassVar[bool] = True

    def __init__(
        self,
        species: str | Sequence[str],
        cutoff: float,
        truncation: str = "smooth",
        switch: float = 0.8,
    ) -> None:
        kind("species", species, Sequence, PotentialError)
        self.species = (species,) if isinstance(species, str) else tuple(species)
        for symbol in self.species:
            kind("a species", symbol, str, PotentialError)
        if not self.species or len(set(self.species)) != len(self.species):
            raise PotentialError(f"species must be distinct and at least one, not {self.species}")
        self.cutoff = positive("cutoff", cutoff, PotentialError)
        if truncation not in self.truncations:
            raise PotentialError(
                f"truncation must be one of {', '.join(self.truncations)}, not '{truncation}'"
            )
        if not 0.0 < real("switch", switch, PotentialError) < 1.0:
            raise PotentialError(f"switch must lie between 0 and 1, not {switch}")
        self.truncation, self.switch = truncation, float(switch)

    @abstractmethod
    def pair(self, r: Array, s: IntArray, t: IntArray) -> Jet:
        """Return phi_st(r) in eV with its derivatives, before truncation.

        ``s`` and ``t`` broadcast against ``r``.
        """

    def density(self, r: Array, s: IntArray, t: IntArray) -> Jet:
        """Return the density at a site of species s from a neighbour of species t."""
        raise NotImplementedError(f"{type(self).__name__} has no density")

    def embedding(self, rho: Array, s: IntArray) -> Jet:
        """Return F_s(rho) in eV with its derivatives."""
        raise NotImplementedError(f"{type(self).__name__} has no embedding function")

    def pairwise(self, values: Any, name: str) -> Array:
        """Return a parameter as a read-only (ns, ns) array; a scalar serves every pair.

        Raises
        ------
        PotentialError
            Not finite, not symmetric, or of another shape.
        """
        ns = len(self.species)
        table = numbers(name, values, PotentialError)
        if table.ndim == 0:
            table = np.full((ns, ns), table)
        if not np.isfinite(table).all():
            raise PotentialError(f"{name} is not finite: {table.tolist()}")
        if table.shape != (ns, ns) or not np.array_equal(table, table.T):
            raise PotentialError(
                f"{name} must be a number or a symmetric ({ns}, {ns}) array for "
                f"{', '.join(self.species)}, not {table.tolist()}"
            )
        table.flags.writeable = False
        return table

    def truncated_pair(self, r: Array, s: IntArray, t: IntArray) -> Jet:
        """Return phi_st(r) as it enters the energy, for r below the cutoff."""
        return self._truncate(self.pair, r, s, t)

    def truncated_density(self, r: Array, s: IntArray, t: IntArray) -> Jet:
        """Return rho_st(r) as it enters the energy, for r below the cutoff."""
        return self._truncate(self.density, r, s, t)

    def _truncate(self, function: Any, r: Array, s: IntArray, t: IntArray) -> Jet:
        value, first, second = function(r, s, t)
        if self.truncation == "shift_force":
            edge = function(np.full(np.broadcast(s, t).shape, self.cutoff), s, t)
            return Jet(
                value - edge.value - (r - self.cutoff) * edge.first, first - edge.first, second
            )
        start, width = self.switch * self.cutoff, (1.0 - self.switch) * self.cutoff
        whole = Jet(*(np.array(f) for f in (value, first, second)))
        far = np.nonzero(r > start)
        step = smooth_step((r[far] - start) / width)
        kept, d_kept, dd_kept = 1.0 - step.value, -step.first / width, -step.second / width**2
        value, first, second = (f[far] for f in whole)
        whole.value[far] = value * kept
        whole.first[far] = first * kept + value * d_kept
        whole.second[far] = second * kept + 2.0 * first * d_kept + value * dd_kept
        return whole

    def site_energies(self, bonds: Bonds) -> Array:
        """Return site energies, (n,) eV."""
        return self.bond_gradients(bonds)[0]

    @_QUIET
    def bond_gradients(self, bonds: Bonds) -> tuple[Array, Array]:
        """Return site energies (n,) eV and ``dV_i/dR_b``, (nb, 3) eV/Angstrom."""
        start, vectors, site_types, bond_types = check_bonds(self, bonds)
        energies, gradients = np.empty(len(site_types)), np.zeros_like(vectors)
        for sites, rows in _blocks(start):
            block = vectors[rows]
            inside, i, r, s, t = self._inside(
                start, block, site_types[sites], bond_types[rows], sites
            )
            n = sites.stop - sites.start
            phi = self.truncated_pair(r, s, t)
            energies[sites] = 0.5 * _sums(i, phi.value, n)
            pull = 0.5 * phi.first
            if self.many_body:
                rho = self.truncated_density(r, s, t)
                f = self.embedding(_sums(i, rho.value, n), site_types[sites])
                energies[sites] += f.value
                pull += f.first[i] * rho.first
            gradients[rows.start + inside] = (pull / r)[:, None] * block[inside]
        return energies, gradients

    @_QUIET
    def bond_hessian_product(self, bonds: Bonds, dvectors: Array) -> Array:
        """Return the change of the bond gradients, (nb, 3), for bond changes (nb, 3)."""
        start, vectors, site_types, bond_types = check_bonds(self, bonds)
        changes = np.asarray(dvectors, dtype=np.float64)
        if changes.shape != vectors.shape:
            raise InputError(f"dvectors has shape {changes.shape}, the bonds {vectors.shape}")
        products = np.zeros_like(vectors)
        for sites, rows in _blocks(start):
            inside, i, r, s, t = self._inside(
                start, vectors[rows], site_types[sites], bond_types[rows], sites
            )
            n = sites.stop - sites.start
            change = changes[rows][inside]
            unit = vectors[rows][inside] / r[:, None]
            stretch = np.einsum("bc,bc->b", unit, change)
            phi = self.truncated_pair(r, s, t)
            slope, along = 0.5 * phi.first, 0.5 * phi.second * stretch
            if self.many_body:
                rho = self.truncated_density(r, s, t)
                f = self.embedding(_sums(i, rho.value, n), site_types[sites])
                slope += f.first[i] * rho.first
                d_density = _sums(i, rho.first * stretch, n)
                along += f.first[i] * rho.second * stretch
                along += (f.second * d_density)[i] * rho.first
            across = slope / r
            products[rows.start + inside] = (along - across * stretch)[:, None] * unit + across[
                :, None
            ] * change
        return products

    @cached_property
    def _pieces(self) -> Any:
        """The pair functions as the fused kernel takes them; None if they cannot be."""
        from .fit import fit_even

        joint = (self.switch if self.truncation == "smooth" else 0.8) * self.cutoff
        return fit_even(self.truncated_pair, len(self.species), self.cutoff, joint)

    def energy_forces(
        self,
        positions: Array,
        types: IntArray,
        weights: Array,
        pairs: Pairs,
        virial: Array | None = None,
    ) -> tuple[Array, Array]:
        """Return site energies (n,) eV and forces (n, 3) eV/Angstrom of a weighted sum.

        See `Potential.energy_forces`; takes a half list. Pair functions enter as piecewise
        quintics with two continuous derivatives that agree with the formula to round-off;
        many-body ones, functions that no quintics follow, and atoms closer than 0.28 cutoffs
        go by the formula itself, which is slower.

        Raises
        ------
        InputError
            Arrays that do not fit the list, a value that is not finite, two atoms at one place;
            the message names the row.
        """
        from .fit import energy_forces

        y, t, w = check_pairs(self, positions, types, weights, pairs)
        if not self.many_body and self._pieces is not None:
            energies, forces, complete = energy_forces(self, self._pieces, y, t, w, pairs, virial)
            if complete:
                return energies, forces
        return self._by_formula(y, t, w, pairs, virial)

    @_QUIET
    def _by_formula(
        self, y: Array, species: IntArray, w: Array, pairs: Pairs, virial: Array | None
    ) -> tuple[Array, Array]:
        n, owners = pairs.n_sites, pairs.owners
        if virial is not None:
            virial[:] = 0.0
        energies, forces, pressure = np.zeros(n), np.zeros((n, 3)), np.zeros(n)
        if self.many_body:
            rho = np.zeros(n)
            for i, j, r, _, s, t in self._near_pairs(y, species, pairs):
                rho += _sums(i, self.truncated_density(r, s, t).value, n)
                rho += _sums(owners[j], self.truncated_density(r, t, s).value, n)
            f = self.embedding(rho, species[:n])
            energies += f.value
            pressure = np.where(w[:n] != 0.0, w[:n] * f.first, 0.0)
        for i, j, r, vectors, s, t in self._near_pairs(y, species, pairs):
            own = owners[j]
            phi = self.truncated_pair(r, s, t)
            pull = 0.5 * (w[i] + w[j]) * phi.first
            if self.many_body:
                pull += pressure[i] * self.truncated_density(r, s, t).first
                pull += pressure[own] * self.truncated_density(r, t, s).first
            pull /= r
            energies += 0.5 * (_sums(i, phi.value, n) + _sums(own, phi.value, n))
            for c in range(3):
                along = pull * vectors[:, c]
                forces[:, c] += _sums(i, along, n) - _sums(own, along, n)
                if virial is not None:
                    virial[c] += np.einsum("b,bj->j", along, vectors)
        return np.where(w[:n] != 0.0, energies, 0.0), forces

    def _near_pairs(self, y: Array, species: IntArray, pairs: Pairs) -> Iterator[tuple[Any, ...]]:
        """Yield rows i, j, distances, vectors and species of the pairs inside the cutoff."""
        for sites, rows in _blocks(pairs.start):
            counts = np.diff(pairs.start[sites.start : sites.stop + 1])
            i = np.repeat(np.arange(sites.start, sites.stop), counts)
            j = pairs.neighbours[rows]
            vectors = y.take(j, axis=0) - y.take(i, axis=0)
            r = np.sqrt(np.einsum("bc,bc->b", vectors, vectors))
            near = np.nonzero(r < self.cutoff)[0]
            i, j, r, vectors = i[near], j[near], r[near], vectors.take(near, axis=0)
            if len(r) and not r.min() > 0.0:
                check_apart(y, pairs)
            yield i, j, r, vectors, self._kind(species[i]), self._kind(species[j])

    @_QUIET
    def deformed_star(
        self,
        F: Array,
        star: Array,
        site_type: int,
        star_types: IntArray,
        tangent: bool = False,
    ) -> tuple[Array, Array, Array | None]:
        """Return energies of stars and their derivatives; see `Potential`."""
        gradients, bonds, types = check_star(self, F, star, site_type, star_types)
        n = len(gradients)
        q, quartic, types, times = stars.fold(bonds, types)
        energies, second, fourth = np.empty(n), np.empty((n, 6)), np.empty((n, 15))
        rank_one, curvature = np.zeros((n, 6)), np.zeros(n)
        doubled = np.array([1.0 if a == b else 2.0 for a, b in stars.QUADRATIC])
        metric = np.matmul(gradients.swapaxes(1, 2), gradients)
        metric = np.stack([metric[:, a, b] for a, b in stars.QUADRATIC], axis=1) * doubled
        site = np.array(site_type)
        step = max(1, _BLOCK // max(1, len(q)))
        for first in range(0, n, step):
            block = slice(first, first + step)
            r = np.sqrt(metric[block] @ q.T)
            inside = (r < self.cutoff) * times
            # Beyond the cutoff a function is evaluated where it is harmless, then dropped.
            r = np.minimum(r, self.cutoff)
            phi = Jet(*(inside * f for f in self.truncated_pair(r, site, types)))
            energies[block] = 0.5 * phi.value.sum(axis=1)
            slope, bend = 0.5 * phi.first, 0.5 * phi.second
            if self.many_body:
                rho = Jet(*(inside * f for f in self.truncated_density(r, site, types)))
                total = rho.value.sum(axis=1)
                f = self.embedding(total, np.full(len(total), site_type))
                energies[block] += f.value
                curvature[block] = f.second
                rank_one[block] = (rho.first / r) @ q
                slope = slope + f.first[:, None] * rho.first
                bend = bend + f.first[:, None] * rho.second
            across = slope / r
            second[block] = across @ q
            if tangent:
                fourth[block] = ((bend - across) / r**2) @ quartic
        moments = (fourth, rank_one, curvature) if tangent else ()
        return energies, *stars.stress_and_tangent(gradients, second, *moments)

    def _kind(self, types: IntArray) -> IntArray:
        """Return types, or a scalar where there is one species only: indexing costs more."""
        return types if len(self.species) > 1 else np.zeros((), dtype=np.int64)

    def _inside(
        self,
        start: IntArray,
        vectors: Array,
        site_types: IntArray,
        bond_types: IntArray,
        sites: slice,
    ) -> tuple[IntArray, IntArray, Array, IntArray, IntArray]:
        """Return which bonds of a block are inside the cutoff, their sites, lengths, species."""
        r = np.sqrt(np.einsum("bc,bc->b", vectors, vectors))
        inside = np.nonzero(r < self.cutoff)[0]
        counts = np.diff(start[sites.start : sites.stop + 1])
        i = np.repeat(np.arange(len(counts)), counts)[inside]
        return inside, i, r[inside], self._kind(site_types[i]), self._kind(bond_types[inside])


def _blocks(start: IntArray) -> Iterator[tuple[slice, slice]]:
    """Split the rows of a list into blocks; yield the slices of sites and of bonds."""
    n, first = len(start) - 1, 0
    while first < n:
        last = int(np.searchsorted(start, start[first] + _BLOCK, side="right")) - 1
        last = min(max(last, first + 1), n)
        yield slice(first, last), slice(int(start[first]), int(start[last]))
        first = last


def _sums(i: IntArray, values: Array, n: int) -> Array:
    """Return the sum of the values of each site, (n,), in the order of the list."""
    return np.bincount(i, values, n).astype(np.float64, copy=False)
