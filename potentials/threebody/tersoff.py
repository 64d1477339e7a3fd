"""Tersoff bond-order potentials, any number of species."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from qc.errors import PotentialError

from ..base import Array, Bonds, IntArray, Pairs, Potential
from ..checks import check_bonds
from . import tersoff_kernels as kernels
from .common import check_changes, check_cutoff, check_species, fused, triples
from .files import read_triples

#: Numbers of an entry of a ``.tersoff`` file.
COLUMNS = (
    "m", "gamma", "lambda3", "c", "d", "costheta0", "n", "beta", "lambda2", "B", "R", "D",
    "lambda1", "A",
)  # fmt: skip

#: Parameters that may be negative.
_SIGNED = ("lambda3", "costheta0")


class Tersoff(Potential):
    """Tersoff potential, pair terms whose attraction depends on the neighbours of the bond.

    ``V_i = 1/2 sum_j f(r_j) [A exp(-lambda1 r_j) - b_j B exp(-lambda2 r_j)]`` with

    ``b_j = (1 + (beta zeta_j)^n)^(-1/(2n))``,

    ``zeta_j = sum_(k != j) f(r_k) g(theta_jk) exp[(lambda3 (r_j - r_k))^m]``,

    ``g = gamma [1 + c^2/d^2 - c^2 / (d^2 + (cos theta - cos theta0)^2)]``,

    and ``f`` one below R - D, zero beyond R + D and ``1/2 - 1/2 sin(pi/2 (r - R)/D)`` between.

    Parameters
    ----------
    species : str or sequence of str
        Chemical symbols.
    A, B : eV
    lambda1, lambda2, lambda3 : 1/Angstrom
    R, D : Angstrom
        Middle and half width of the cutoff interval.
    beta, n, c, d, costheta0, gamma, m : without units
        Each a number, or anything that spreads to (ns, ns, ns): species of the site, of the
        neighbour it is bonded to, and of the third atom, as in LAMMPS. ``n, beta, lambda1,
        lambda2, A, B`` and the cutoff of the bond itself are taken from the triple (i, j, j),
        everything else from (i, j, k). ``m`` is 1 or 3.
    source : str
        Where the parameters come from.

    Notes
    -----
    The published cutoff function is kept: energy and force are continuous, but the second
    derivative jumps where a distance passes R - D and R + D, by ``pi^2 / (8 D^2)`` times the pair
    term. Where ``n`` is below 1 and the first third atom comes within reach of a bond, the
    second derivative is not even bounded. Perfect crystals stay away from both. ``D = 0`` cuts
    abruptly, and the energy itself jumps.

    A bond's energy is shared equally between its two sites, each with its own bond order. Where
    the pair parameters of (i, j, j) and (j, i, i) differ, each site uses its own.

    Two sites at zero distance raise; NaN or infinite input raises.

    Raises
    ------
    PotentialError
        Species given twice; a parameter that has the wrong shape, is not finite or negative where
        it must not be; ``m`` other than 1 or 3; ``D`` above ``R``; ``d`` of zero; ``n`` of zero
        for a bond with attraction; no range at all.

    Source: J. Tersoff, Phys. Rev. B 37 (1988) 6991, 38 (1988) 9902, 39 (1989) 5566; conventions
    for several species of the LAMMPS manual, page pair_style tersoff.
    """

    pair_list: ClassVar[Literal["none", "half", "full"]] = "full"
    fused_virial: ClassVar[bool] = True

    def __init__(
        self,
        species: str | Sequence[str],
        *,
        A: ArrayLike,
        B: ArrayLike,
        lambda1: ArrayLike,
        lambda2: ArrayLike,
        beta: ArrayLike,
        n: ArrayLike,
        c: ArrayLike,
        d: ArrayLike,
        costheta0: ArrayLike,
        R: ArrayLike,
        D: ArrayLike,
        lambda3: ArrayLike = 0.0,
        gamma: ArrayLike = 1.0,
        m: ArrayLike = 3.0,
        source: str = "",
    ) -> None:
        self.species = check_species(species)
        given = {
            "m": m, "gamma": gamma, "lambda3": lambda3, "c": c, "d": d, "costheta0": costheta0,
            "n": n, "beta": beta, "lambda2": lambda2, "B": B, "R": R, "D": D,
            "lambda1": lambda1, "A": A,
        }  # fmt: skip
        #: Every parameter by its name in LAMMPS, (ns, ns, ns).
        self.entries = {
            name: triples(value, name, self.species, None if name in _SIGNED else 0.0)
            for name, value in given.items()
        }
        self.source = source
        self._check()
        self._tables = self._build()
        self.cutoff = check_cutoff(float(np.sqrt(self._tables[0][:, kernels.REACH].max())))

    @classmethod
    def from_file(
        cls, path: str | Path, species: Sequence[str] | Mapping[str, str] | None = None
    ) -> Tersoff:
        """Read a LAMMPS ``.tersoff`` file.

        Parameters
        ----------
        path : str or Path
            The file.
        species : sequence of str, or mapping of str to str, optional
            Elements of the file in the order of the type indices; a mapping gives each a chemical
            symbol to go by, such as ``{"Si": "Si(D)"}``. All elements of the file unless given.

        Raises
        ------
        PotentialFileError
            The file cannot be read as a potential; the message carries file and line.
        UnknownSpeciesError
            A species the file has no entry for.
        """
        found = read_triples(path, COLUMNS, species)
        parameters = {name: found.values[..., k] for k, name in enumerate(COLUMNS)}
        return cls(found.species, source=found.source, **parameters)

    def _check(self) -> None:
        e = self.entries
        bond = np.zeros_like(e["B"], dtype=bool)
        k = np.arange(len(self.species))
        bond[:, k, k] = True
        faults = {
            "m must be 1 or 3": ~np.isin(e["m"], (1.0, 3.0)),
            "D must not exceed R": e["D"] > e["R"],
            "d must not be zero": e["d"] == 0.0,
            "n must not be zero": bond & (e["B"] > 0.0) & (e["beta"] > 0.0) & (e["n"] == 0.0),
        }
        for message, wrong in faults.items():
            if wrong.any():
                triple = " ".join(self.species[i] for i in np.argwhere(wrong)[0])
                raise PotentialError(f"{message}, in {triple}")

    def _build(self) -> tuple[Array, Array, int]:
        """Return the table arguments that every kernel takes, in their order."""
        ns = len(self.species)
        e = self.entries
        angle = np.zeros((ns, ns, ns, 11))
        self._put_cutoff(angle, e["R"], e["D"])
        with np.errstate(over="ignore", invalid="ignore"):
            angle[..., kernels.LAMBDA3] = e["lambda3"] ** e["m"]
            angle[..., kernels.RATIO] = e["gamma"] * (e["c"] / e["d"]) ** 2
            angle[..., kernels.D2] = e["d"] ** 2
        angle[..., kernels.M] = e["m"]
        angle[..., kernels.GAMMA] = e["gamma"]
        angle[..., kernels.COSINE] = e["costheta0"]
        shape = angle[..., [kernels.LAMBDA3, *range(kernels.M, kernels.SAME)]]
        angle[..., kernels.SAME] = (shape == shape.transpose(0, 2, 1, 3)).all(axis=-1)
        # A neighbour matters as far as its own bond goes, or its influence on any other.
        influence = np.max(e["R"] + e["D"], axis=1)
        own = {name: np.einsum("ijj->ij", value) for name, value in e.items()}
        bond = np.zeros((ns, ns, 12))
        self._put_cutoff(bond, own["R"], own["D"])
        bond[..., kernels.REACH] = np.maximum(own["R"] + own["D"], influence) ** 2
        for name in ("A", "lambda1", "B", "lambda2", "beta", "n"):
            bond[..., getattr(kernels, name.upper())] = own[name]
        for what, table in (("bond", bond), ("angle", angle)):
            if not np.isfinite(table).all():
                where = np.argwhere(~np.isfinite(table))[0][:-1]
                names = " ".join(self.species[k] for k in where)
                raise PotentialError(f"the {what} terms of {names} overflow")
        return bond.reshape(ns * ns, 12), angle.reshape(ns**3, 11), ns

    @staticmethod
    def _put_cutoff(table: Array, R: Array, D: Array) -> None:
        table[..., kernels.INNER] = R - D
        table[..., kernels.OUTER] = R + D
        table[..., kernels.MIDDLE] = R
        with np.errstate(divide="ignore", over="ignore"):
            scale = 0.5 * np.pi / D
        # Without width the function is one or zero, and the scale is never used.
        table[..., kernels.SCALE] = np.where(D > 0.0, scale, 0.0)

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
        """Return the change of the bond gradients, (nb, 3), for bond changes (nb, 3).

        At R - D and R + D, where the second derivative jumps, it is that of larger distances.
        """
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
        rows = kernels.ROWS + 2 * len(self.species)
        return fused(
            self, kernels.weighted, self._tables,
            lambda longest: ((rows, longest), (kernels.SQUARE, longest**2)),
            positions, types, weights, pairs, virial,
        )  # fmt: skip

    def parameters(self) -> tuple[Array | float | str, ...]:
        """Return the tables the energy is made of, for `fingerprint`."""
        return self._tables[:2]
