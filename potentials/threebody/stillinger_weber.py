"""Stillinger-Weber potentials, any number of species."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from qc.errors import PotentialError

from ..base import Array, Bonds, IntArray, Order, Pairs, Potential
from ..checks import check_bonds
from . import stillinger_weber_cell
from . import stillinger_weber_kernels as kernels
from .common import check_changes, check_cutoff, check_species, find_asymmetry, fused, triples
from .files import read_triples

#: Numbers of an entry of a ``.sw`` file. The last one makes LAMMPS cut the functions off where
#: they have become smaller than it; here they are never cut, and it is not used.
COLUMNS = ("epsilon", "sigma", "a", "lambda", "gamma", "costheta0", "A", "B", "p", "q", "tol")

#: Terms below exp of this, relative to the energies they belong to, are left out.
_SMALLEST_EXPONENT = -46.0


class StillingerWeber(Potential):
    """Stillinger-Weber potential, two-body and three-body terms of bounded range.

    ``V_i = 1/2 sum_j phi2(r_j) + sum_(j<k) phi3(r_j, r_k, theta_jk)`` with

    ``phi2 = A epsilon [B (sigma/r)^p - (sigma/r)^q] exp(sigma / (r - a sigma))``,

    ``phi3 = lambda epsilon (cos theta - cos theta0)^2
    exp(gamma sigma / (r_j - a sigma)) exp(gamma sigma / (r_k - a sigma))``.

    Parameters
    ----------
    species : str or sequence of str
        Chemical symbols.
    epsilon : eV
    sigma : Angstrom
    a, lam, gamma, costheta0, A, B, p, q : without units
        Each a number, or anything that spreads to (ns, ns, ns): species of the site and of the
        two neighbours, as in LAMMPS. ``lam`` is lambda. ``epsilon lam`` and ``costheta0`` are
        taken from the triple (i, j, k), everything else from (i, j, j).
    source : str
        Where the parameters come from.

    Notes
    -----
    Every derivative vanishes at the cutoff ``a sigma``. Terms that have fallen by exp(-46)
    because they are close to it are left out.

    The pair energy is shared equally between its two sites, a three-body term belongs to the
    site at its corner. Parameters that make the pair energy depend on which of two species comes
    first, or an angle on which neighbour does, are refused.

    Two sites at zero distance raise; NaN or infinite input raises.

    Raises
    ------
    PotentialError
        Species given twice; a parameter that has the wrong shape, is not finite, is negative
        (except ``costheta0``), or is not symmetric as said above; no range at all.

    Source: F. H. Stillinger, T. A. Weber, Phys. Rev. B 31 (1985) 5262; conventions for several
    species of the LAMMPS manual, page pair_style sw.
    """

    pair_list: ClassVar[Literal["none", "half", "full"]] = "full"
    fused_virial: ClassVar[bool] = True
    fused_cell: ClassVar[bool] = True

    def __init__(
        self,
        species: str | Sequence[str],
        *,
        epsilon: ArrayLike,
        sigma: ArrayLike,
        a: ArrayLike,
        lam: ArrayLike,
        gamma: ArrayLike,
        costheta0: ArrayLike,
        A: ArrayLike,
        B: ArrayLike,
        p: ArrayLike,
        q: ArrayLike,
        source: str = "",
    ) -> None:
        self.species = check_species(species)
        given = {
            "epsilon": epsilon, "sigma": sigma, "a": a, "lambda": lam, "gamma": gamma,
            "costheta0": costheta0, "A": A, "B": B, "p": p, "q": q,
        }  # fmt: skip
        #: Every parameter by its name in LAMMPS, (ns, ns, ns).
        self.entries = {
            name: triples(value, name, self.species, None if name == "costheta0" else 0.0)
            for name, value in given.items()
        }
        self.source = source
        self._tables = self._build()
        #: What the kernel of cells takes, by the cell's species: a solver asks again and again.
        self._cells: dict[bytes, stillinger_weber_cell.Present] = {}
        self.cutoff = check_cutoff(float(self._tables[0][:, kernels.CUT].max()))

    @classmethod
    def from_file(
        cls, path: str | Path, species: Sequence[str] | Mapping[str, str] | None = None
    ) -> StillingerWeber:
        """Read a LAMMPS ``.sw`` file.

        Parameters
        ----------
        path : str or Path
            The file.
        species : sequence of str, or mapping of str to str, optional
            Elements of the file in the order of the type indices; a mapping gives each a chemical
            symbol to go by. All elements of the file unless given.

        Raises
        ------
        PotentialFileError
            The file cannot be read as a potential; the message carries file and line.
        UnknownSpeciesError
            A species the file has no entry for.

        Notes
        -----
        The number ``tol`` of an entry tells LAMMPS where to cut small terms off; it is read and
        not used, which is what LAMMPS does where it is zero.
        """
        found = read_triples(path, COLUMNS, species)
        parameters = {name: found.values[..., k] for k, name in enumerate(COLUMNS[:-1])}
        parameters["lam"] = parameters.pop("lambda")
        return cls(found.species, source=found.source, **parameters)

    def _build(self) -> tuple[Array, Array, int]:
        """Return the table arguments that every kernel takes, in their order."""
        ns = len(self.species)
        # Two-body parameters and those of a single bond, from the entries (i, j, j).
        e = {name: np.einsum("ijj->ij", value) for name, value in self.entries.items()}
        depth = e["A"] * e["epsilon"]
        bound = (depth > 0.0) | (depth.T > 0.0)
        bond = {
            "A epsilon": depth,
            **{name: np.where(bound, e[name], 0.0) for name in ("sigma", "a", "B", "p", "q")},
        }
        for name, value in bond.items():
            uneven = find_asymmetry(value, self.species, (1, 0))
            if uneven:
                raise PotentialError(f"{name} must be the same for the pairs {uneven}")
        strength = self.entries["lambda"] * self.entries["epsilon"]
        cosine = np.where(strength > 0.0, self.entries["costheta0"], 0.0)
        for name, value in (("lambda epsilon", strength), ("costheta0", cosine)):
            uneven = find_asymmetry(value, self.species, (0, 2, 1))
            if uneven:
                raise PotentialError(f"{name} must be the same for the triples {uneven}")
        cut = e["a"] * e["sigma"]
        # The slower of the two exponentials decides where both have become negligible.
        slowest = np.where(e["gamma"] > 0.0, np.minimum(e["gamma"], 1.0), 0.0) * e["sigma"]
        pair = np.zeros((ns, ns, 8))
        pair[..., kernels.REACH] = np.maximum(cut + slowest / _SMALLEST_EXPONENT, 0.0) ** 2
        pair[..., kernels.CUT] = cut
        pair[..., kernels.SIGMA] = e["sigma"]
        pair[..., kernels.DECAY] = e["gamma"] * e["sigma"]
        with np.errstate(over="ignore", invalid="ignore"):
            pair[..., kernels.REPEL] = depth * e["B"] * e["sigma"] ** e["p"]
            pair[..., kernels.ATTRACT] = depth * e["sigma"] ** e["q"]
        pair[..., kernels.P] = e["p"]
        pair[..., kernels.Q] = e["q"]
        if not np.isfinite(pair).all():
            where = np.argwhere(~np.isfinite(pair))[0]
            names = " and ".join(self.species[k] for k in where[:2])
            raise PotentialError(f"the pair energy of {names} overflows")
        angle = np.stack([strength, cosine], axis=-1)
        return pair.reshape(ns * ns, 8), angle.reshape(ns**3, 2), ns

    def site_energies(self, bonds: Bonds) -> Array:
        """Return site energies, (n,) eV."""
        return self._bond_terms(bonds, gradients=False)[0]

    def bond_gradients(self, bonds: Bonds) -> tuple[Array, Array]:
        """Return site energies (n,) eV and ``dV_i/dR_b``, (nb, 3) eV/Angstrom."""
        return self._bond_terms(bonds, gradients=True)

    def _bond_terms(self, bonds: Bonds, gradients: bool) -> tuple[Array, Array]:
        start, vectors, site_types, bond_types = check_bonds(self, bonds)
        nb, none = len(vectors), np.empty((0, 3))
        energies, slopes = np.empty(bonds.n_sites), np.empty((nb if gradients else 0, 3))
        kernels.bond_terms(
            start, vectors, none, site_types, bond_types, *self._tables,
            np.empty((nb, kernels.WIDTH)), np.empty(nb, dtype=np.int64), energies, slopes, none,
        )  # fmt: skip
        return energies, slopes

    def bond_hessian_product(self, bonds: Bonds, dvectors: Array) -> Array:
        """Return the change of the bond gradients, (nb, 3), for bond changes (nb, 3)."""
        start, vectors, site_types, bond_types = check_bonds(self, bonds)
        changes = check_changes(dvectors, vectors)
        nb, none = len(vectors), np.empty((0, 3))
        products = np.empty((nb, 3))
        if nb:
            kernels.bond_terms(
                start, vectors, changes, site_types, bond_types, *self._tables,
                np.empty((nb, kernels.WIDTH)), np.empty(nb, dtype=np.int64),
                np.empty(0), none, products,
            )  # fmt: skip
        return products

    def energy_forces(
        self,
        positions: Array,
        types: IntArray,
        weights: Array,
        pairs: Pairs,
        virial: Array | None = None,
    ) -> tuple[Array, Array]:
        """Return site energies (n,) eV and forces (n, 3) eV/Angstrom of a weighted sum.

        As `Potential.energy_forces`, on a full list.
        """
        ns = len(self.species)
        return fused(
            self, kernels.weighted, self._tables,
            lambda longest: ((kernels.ROW, longest), (2 * ns, 10)),
            positions, types, weights, pairs, virial,
        )  # fmt: skip

    def _present(self, types: bytes) -> stillinger_weber_cell.Present:
        if types not in self._cells:
            self._cells[types] = stillinger_weber_cell.present(*self._tables, types)
        return self._cells[types]

    def deformed_cell(
        self,
        F: Array,
        shifts: Array,
        vectors: Array,
        source: IntArray,
        target: IntArray,
        types: IntArray,
        order: Order = "gradient",
    ) -> tuple[Array, Array, Array, Array | None]:
        """Return energies of cells and their derivatives; see `Potential`."""
        return stillinger_weber_cell.deformed_cell(
            self, self._present, F, shifts, vectors, source, target, types, order
        )

    def parameters(self) -> tuple[Array | float | str, ...]:
        """Return the tables the energy is made of, for `fingerprint`."""
        return self._tables[:2]
