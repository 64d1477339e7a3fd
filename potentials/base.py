"""The potential contract: site energies, bond gradients and bond Hessians over CSR bonds.

Index legend: ``_i`` site, ``_b`` bond, ``_c`` Cartesian component.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qc.errors import UnknownSpeciesError, suggest
from qc.numerics.fingerprint import fingerprint

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Second derivatives of a cell that are wanted: none, by the shifts, or all.
Order = Literal["gradient", "shifts", "full"]


@dataclass(frozen=True)
class Bonds:
    """The environments of ``n`` sites as a CSR list of bond vectors.

    Parameters
    ----------
    start : (n + 1,) int64
        Bonds of site ``i`` are ``start[i]:start[i + 1]``.
    vectors : (nb, 3) float64, Angstrom
        ``R_b = y_j - y_i``. Bonds longer than the cutoff are allowed and ignored (skin).
    site_types : (n,) int64
        Species index of each site, into ``Potential.species``.
    bond_types : (nb,) int64
        Species index of the neighbour at the far end of each bond.
    """

    start: IntArray
    vectors: Array
    site_types: IntArray
    bond_types: IntArray

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return len(self.start) - 1

    @property
    def sites(self) -> IntArray:
        """(nb,) int64: the site that each bond belongs to."""
        return np.repeat(np.arange(self.n_sites, dtype=np.int64), np.diff(self.start))


@dataclass(frozen=True)
class Pairs:
    """Neighbour rows of ``n`` atoms for the fused kernels; periodic images are atoms of their own.

    Positions, types and weights that go with it have ``n_all`` rows: the ``n`` owned atoms, then
    their images.

    Parameters
    ----------
    start : (n + 1,) int64
        Pairs of owned atom ``i`` are ``start[i]:start[i + 1]``.
    neighbours : (nb,) int32
        Row of the other atom, an owned one or an image. Pairs beyond the cutoff are allowed and
        ignored (skin).
    owners : (n_all,) int32
        The owned atom that each row is an image of; ``owners[i] = i`` for owned ones.
    half : bool
        Whether a pair stands in one row only (in either), or in the rows of both atoms. Pairs of
        two atoms without weight may be missing.
    """

    start: IntArray
    neighbours: NDArray[np.int32]
    owners: NDArray[np.int32]
    half: bool

    @property
    def n_sites(self) -> int:
        """Number of owned atoms."""
        return len(self.start) - 1


class BondHessians(NamedTuple):
    """Second derivatives of site energies, blocks over ordered pairs of bonds of one site.

    ``blocks[p]`` is ``d2 V_i / dR_first[p] dR_second[p]``, (3, 3) eV/Angstrom^2.
    """

    first: IntArray
    second: IntArray
    blocks: Array


class Potential(ABC):
    """An interatomic potential as a sum of site energies ``V_i({R_b})``.

    A family implements `site_energies`, `bond_gradients` and `bond_hessian_product`; forces,
    virial, Cauchy-Born stress and moduli are generic over these. A family may add fused kernels
    for speed (`energy_forces`, `deformed_cell` and its fast path for crystals of one sublattice,
    `deformed_star`) and say so with the flags below; they agree with the generic path to 1e-12
    relative. A potential that knows nothing of sites has `whole_patches`.

    Attributes
    ----------
    species : tuple of str
        Chemical symbols; the position of a symbol is its type index.
    cutoff : float
        Angstrom; bonds at or beyond it contribute nothing.
    """

    species: tuple[str, ...]
    cutoff: float

    #: Whether the total energy is a sum of site energies this object can give one by one.
    has_site_energies: ClassVar[bool] = True

    #: Whether it gives forces of whole patches and energies of whole cells instead of sites:
    #: `cluster_forces`, `cluster_hessian_product` and `cell_response`.
    whole_patches: ClassVar[bool] = False

    #: Which list the fused kernel `energy_forces` takes; "none" if the family has no such kernel.
    pair_list: ClassVar[Literal["none", "half", "full"]] = "none"

    #: Whether `energy_forces` takes a ``virial`` to fill.
    fused_virial: ClassVar[bool] = False

    #: Whether there is a kernel `deformed_cell` for cells with a basis, with cheap second
    #: derivatives; and `deformed_star` for those without.
    fused_cell: ClassVar[bool] = False
    fused_star: ClassVar[bool] = False

    #: eV/Angstrom; forces below this are noise.
    noise: float = 0.0

    @abstractmethod
    def site_energies(self, bonds: Bonds) -> Array:
        """Return site energies, (n,) eV."""

    @abstractmethod
    def bond_gradients(self, bonds: Bonds) -> tuple[Array, Array]:
        """Return site energies (n,) eV and ``g_b = dV_i/dR_b``, (nb, 3) eV/Angstrom."""

    @abstractmethod
    def bond_hessian_product(self, bonds: Bonds, dvectors: Array) -> Array:
        """Return ``sum_c (d2 V_i / dR_b dR_c) dR_c``, (nb, 3), for bond changes (nb, 3)."""

    def bond_hessians(self, bonds: Bonds) -> BondHessians:
        """Return every (3, 3) block of the site Hessians.

        Built from Hessian products with unit bond changes, one local bond and component at a time
        for all sites at once; exact, and meant for small batches.
        """
        counts = np.diff(bonds.start)
        width = int(counts.max(initial=0))
        sites = bonds.sites
        local = np.arange(len(bonds.vectors)) - bonds.start[sites]
        first, second, blocks = [], [], []
        for k in range(width):
            rows = np.nonzero(counts[sites] > k)[0]
            block = np.empty((len(rows), 3, 3))
            for c in range(3):
                unit = np.zeros_like(bonds.vectors)
                unit[local == k, c] = 1.0
                block[:, :, c] = self.bond_hessian_product(bonds, unit)[rows]
            first.append(rows)
            second.append(bonds.start[sites[rows]] + k)
            blocks.append(block)
        if not first:
            empty = np.empty(0, dtype=np.int64)
            return BondHessians(empty, empty, np.empty((0, 3, 3)))
        return BondHessians(np.concatenate(first), np.concatenate(second), np.concatenate(blocks))

    def energy_forces(
        self, positions: Array, types: IntArray, weights: Array, pairs: Pairs
    ) -> tuple[Array, Array]:
        """Return site energies (n,) eV and forces (n, 3) eV/Angstrom of a weighted sum.

        Forces are ``-d/dy sum_i w_i V_i``, those on images folded back onto their owners; energies
        are not weighted, and zero where the weight is zero. Families with `pair_list` set
        implement it; for one number of threads the result is the same to the last bit.

        Parameters
        ----------
        positions : (n_all, 3) float64, Angstrom
        types : (n_all,) int64
        weights : (n_all,) float64
        pairs : Pairs
            Of the kind that `pair_list` names.

        Notes
        -----
        A family with `fused_virial` takes one more argument, ``virial`` (3, 3) float64, and if it
        is not None fills it with ``dE/dF`` at F = I, eV, atoms and cell deformed together.
        """
        raise NotImplementedError(f"{type(self).__name__} has no fused kernel")

    def deformed_star(
        self, F: Array, star: Array, site_type: int, star_types: IntArray, tangent: bool = False
    ) -> tuple[Array, Array, Array | None]:
        """Return energy, dE/dF and optionally d2E/dF2 of one site's star under many F.

        Families with `fused_star` implement it.

        Parameters
        ----------
        F : (n, 3, 3) float64
            Deformation gradients; a bond becomes ``F R``.
        star : (k, 3) float64, Angstrom
            Reference bonds of the site.
        site_type : int
        star_types : (k,) int64
        tangent : bool
            Whether the second derivative is wanted.

        Returns
        -------
        energies : (n,) float64, eV
        stresses : (n, 3, 3) float64, eV
        tangents : (n, 3, 3, 3, 3) float64, eV, or None
            Index order ``[n, i, j, k, l]`` = d2E / dF_ij dF_kl.
        """
        raise NotImplementedError(f"{type(self).__name__} has no kernel of stars")

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
        """Return the energy of the cell of a crystal with a basis, and derivatives, in many states.

        Families with `fused_cell` implement it.

        Parameters
        ----------
        F : (n, 3, 3) float64
            Deformation gradients.
        shifts : (n, n_s, 3) float64, Angstrom
            Of the sublattices; a bond becomes ``F R + p_t - p_s``.
        vectors : (k, 3) float64, Angstrom
            Reference bonds R of all sites of the cell. Bonds longer than the cutoff are ignored.
        source, target : (k,) int64
            Sublattices at their ends; the sources ascend.
        types : (n_s,) int64
        order : {"gradient", "shifts", "full"}
            Which second derivatives are wanted.

        Returns
        -------
        sites : (n, n_s) float64, eV
        dF : (n, 3, 3) float64, eV
        dp : (n, n_s, 3) float64, eV/Angstrom
        hessian : (n, k, k) float64 or None
            Over (F row by row, shifts 1.. row by row) for "full", over the shifts 1.. for "shifts".
        """
        raise NotImplementedError(f"{type(self).__name__} has no kernel of cells")

    def cluster_forces(
        self,
        positions: Any,
        types: Any,
        cell: Any = None,
        pbc: Sequence[bool] = (False, False, False),
    ) -> tuple[float, Array]:
        """Return energy (eV) and forces (n, 3) of a patch; with `whole_patches`.

        The force on an atom two cutoffs inside the patch is that in the infinite crystal.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no energies of patches and cells")

    def cluster_hessian_product(
        self,
        positions: Any,
        types: Any,
        cell: Any,
        pbc: Sequence[bool],
        directions: Any,
        step: float = 3e-4,
    ) -> Array:
        """Return ``d2E/dy2`` of a patch times displacements (n, 3); see `cluster_forces`."""
        raise NotImplementedError(f"{type(self).__name__} gives no energies of patches and cells")

    def cell_response(
        self,
        F: Any,
        shifts: Any,
        cell: Any,
        basis: Any,
        types: Any,
        second: bool | Literal["shifts"] = False,
        pbc: Sequence[bool] = (True, True, True),
    ) -> tuple[Array, Array, Array, Array | None]:
        """Return energies and derivatives of primitive cells; with `whole_patches`."""
        raise NotImplementedError(f"{type(self).__name__} gives no energies of patches and cells")

    def remarks(self, bonds: Bonds) -> tuple[str, ...]:
        """Return what a user should know of the potential at these sites, one line each.

        Such as tables that are noisy or too coarse at the distances that occur.
        """
        return ()

    def stated_lattice(self, symbol: str) -> tuple[str, float] | None:
        """Return structure and lattice constant (Angstrom) that the potential's source names.

        In lower case, such as ``("fcc", 4.05)``; None where there is no such statement. It enters
        no energy.
        """
        return None

    @abstractmethod
    def parameters(self) -> tuple[Array | float | str, ...]:
        """Return what defines the energy, in a fixed order, for `fingerprint`.

        Parameters as they were published or given rather than what is computed from them, the
        cutoff and species apart.
        """

    def fingerprint(self) -> str:
        """Return a hash of what defines the potential, for checkpoints and results.

        The same on every processor; see `qc.numerics.fingerprint`.
        """
        return fingerprint(
            type(self).__name__, (float(self.cutoff), *self.species, *self.parameters())
        )

    def types_of(self, symbols: Sequence[str]) -> IntArray:
        """Return the type index of each chemical symbol, (n,) int64.

        Raises
        ------
        UnknownSpeciesError
            A symbol the potential has no parameters for; the message lists the supported ones.
        """
        index = {s: k for k, s in enumerate(self.species)}
        unknown = [s for s in symbols if s not in index]
        if unknown:
            raise UnknownSpeciesError(
                f"{type(self).__name__} has no parameters for '{unknown[0]}'; it supports "
                f"{', '.join(self.species)}{suggest(unknown[0], self.species)}"
            )
        return np.array([index[s] for s in symbols], dtype=np.int64)
