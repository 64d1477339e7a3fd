"""Embedded-atom potentials on tables: alloy and Finnis-Sinclair forms, any number of species."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numba
import numpy as np

from qc.errors import InputError, PotentialError

from . import eam_cell, eam_kernels, eam_pair_kernels, eam_star_kernels, star
from .base import Array, Bonds, IntArray, Pairs, Potential
from .checks import check_bonds, check_star
from .pair_checks import Scratch, aligned, check_apart, check_pairs, shares
from .splines import cubic_coefficients

#: LAMMPS differences five neighbouring values of a table, so a shorter one is not portable.
MINIMUM_VALUES = 5


class EAM(Potential):
    """Embedded-atom potential, ``V_i = F_s(sum_b rho_st(r_b)) + 1/2 sum_b phi_st(r_b)``.

    s is the species of the site, t that of the neighbour. Every function is the C2 cubic spline
    of its table on a uniform grid that starts at zero; the pair function is held as r phi(r), as
    in the setfl format, so a file and this object describe the same potential.

    Parameters
    ----------
    species : sequence of str
        Chemical symbols.
    dr, drho : float
        Spacing of the distance grid (Angstrom) and of the density grid.
    rphi : (ns, ns, nr) float64, eV Angstrom
        ``r phi_st(r)``, symmetric in the species.
    density : (ns, nr) or (ns, ns, nr) float64
        Alloy form: density that a neighbour of species t gives, ``density[t]``. Finnis-Sinclair
        form: density at a site of species s from a neighbour of species t, ``density[s, t]``.
    embedding : (ns, nrho) float64, eV
        ``F_s(rho)``.
    cutoff : float, optional
        Angstrom; the end of the distance grid unless given, and never beyond it.
    numbers, masses, lattice_constants, structures : sequences, optional
        Atomic numbers, masses (u), lattice constants (Angstrom) and lattice types; they travel
        with a file and enter no energy.
    source : str
        Where the tables come from.
    definition : sequence of str, float or array, optional
        What the tables were computed from, where that says all: it then stands for them in
        `fingerprint`.

    Notes
    -----
    Beyond the density table the embedding function continues linearly, with no jump in energy or
    force (LAMMPS does the same); below zero density its first cubic continues. The distance grid
    starts at zero, so no distance lies below it. A table whose last value is zero ends with
    zero slope; one that ends elsewhere is cut there, as the file says.

    Two sites at zero distance raise; NaN or infinite input raises.

    Raises
    ------
    PotentialError
        Tables of the wrong shape, too short, not finite, not symmetric, or grids that are not
        positive.

    Source: Daw & Baskes, Phys. Rev. B 29 (1984) 6443; Finnis & Sinclair, Phil. Mag. A 50 (1984)
    45.
    """

    pair_list = "half"

    def __init__(
        self,
        species: Sequence[str],
        *,
        dr: float,
        rphi: Array,
        density: Array,
        drho: float,
        embedding: Array,
        cutoff: float | None = None,
        numbers: Sequence[int] | None = None,
        masses: Sequence[float] | None = None,
        lattice_constants: Sequence[float] | None = None,
        structures: Sequence[str] | None = None,
        source: str = "",
        definition: Sequence[Array | float | str] | None = None,
    ) -> None:
        self.species = tuple(str(s) for s in species)
        ns = len(self.species)
        if ns == 0 or len(set(self.species)) != ns:
            raise PotentialError(f"species must be distinct and at least one, not {self.species}")
        self.dr, self.drho = _positive(dr, "dr"), _positive(drho, "drho")
        self.rphi = _table(rphi, (ns, ns), "rphi")
        self.embedding = _table(embedding, (ns,), "embedding")
        self.density = np.array(density, dtype=np.float64)
        self.finnis_sinclair = self.density.ndim == 3
        self.density = _table(self.density, (ns, ns) if self.finnis_sinclair else (ns,), "density")
        nr = self.rphi.shape[-1]
        if self.density.shape[-1] != nr:
            raise PotentialError(f"rphi has {nr} values, density {self.density.shape[-1]}")
        if not np.array_equal(self.rphi, self.rphi.swapaxes(0, 1)):
            raise PotentialError("rphi must be symmetric in the two species")
        end = (nr - 1) * self.dr
        self.cutoff = end if cutoff is None else _positive(cutoff, "cutoff")
        if self.cutoff > end * (1 + 1e-12):
            raise PotentialError(f"cutoff {self.cutoff} lies beyond the tables' end {end}")
        self.numbers = tuple(int(z) for z in (numbers if numbers is not None else [0] * ns))
        self.masses = tuple(float(m) for m in (masses if masses is not None else [1.0] * ns))
        self.lattice_constants = tuple(
            float(a) for a in (lattice_constants if lattice_constants is not None else [0.0] * ns)
        )
        self.structures = tuple(structures if structures is not None else ["none"] * ns)
        for name in ("numbers", "masses", "lattice_constants", "structures"):
            if len(getattr(self, name)) != ns:
                raise PotentialError(f"{name} must have one entry for each of {ns} species")
        self.source = source
        self._definition = None if definition is None else tuple(definition)
        self._kernel_tables = self._build()

    @classmethod
    def from_file(cls, path: str | Path, format: str | None = None) -> EAM:
        """Read a setfl (``"alloy"``), Finnis-Sinclair setfl (``"fs"``) or ``"funcfl"`` file.

        Parameters
        ----------
        path : str or Path
            The file.
        format : str, optional
            One of the three; unless given, it is found from the name and the content.

        Raises
        ------
        PotentialFileError
            The file cannot be read as a potential; the message carries file and line.
        """
        from .setfl import read_eam

        return read_eam(path, format)

    def _build(self) -> tuple[float, float, Array, float, Array]:
        """Return the table arguments that every kernel takes, in their order."""
        ns, nr = len(self.species), self.rphi.shape[-1]
        radial = np.empty((ns, ns, nr, 8))
        for s in range(ns):
            for t in range(s + 1):
                radial[s, t, :, :4] = radial[t, s, :, :4] = _radial_spline(self.rphi[s, t])
            if self.finnis_sinclair:
                radial[s, :, :, 4:] = [_radial_spline(d) for d in self.density[s]]
            else:
                radial[:, s, :, 4:] = _radial_spline(self.density[s])
        embed = np.array([cubic_coefficients(f) for f in self.embedding])
        rows = radial.reshape(ns * ns, nr, 8)
        return (self.cutoff**2, 1.0 / self.dr, rows, 1.0 / self.drho, embed)

    @cached_property
    def _star_rows(self) -> Array:
        """The radial tables with one more interval, of zeros, for bonds beyond the cutoff."""
        rows = self._kernel_tables[2]
        return np.concatenate([rows, np.zeros((len(rows), 1, 8))], axis=1)

    @cached_property
    def _pair_rows(self) -> Array:
        """The radial tables with pair and density coefficients by turns, in whole cache lines."""
        rows = self._kernel_tables[2]
        out = aligned(rows.shape)
        out[..., 0::2], out[..., 1::2] = rows[..., :4], rows[..., 4:]
        return out

    def site_energies(self, bonds: Bonds) -> Array:
        """Return site energies, (n,) eV."""
        return self._bond_terms(bonds, gradients=False)[0]

    def bond_gradients(self, bonds: Bonds) -> tuple[Array, Array]:
        """Return site energies (n,) eV and ``dV_i/dR_b``, (nb, 3) eV/Angstrom."""
        return self._bond_terms(bonds, gradients=True)

    def _bond_terms(self, bonds: Bonds, gradients: bool) -> tuple[Array, Array]:
        arrays = check_bonds(self, bonds)
        energies = np.empty(bonds.n_sites)
        slopes = np.empty((len(bonds.vectors) if gradients else 0, 3))
        eam_kernels.bond_terms(*arrays, *self._kernel_tables, gradients, energies, slopes)
        return energies, slopes

    def bond_hessian_product(self, bonds: Bonds, dvectors: Array) -> Array:
        """Return the change of the bond gradients, (nb, 3), for bond changes (nb, 3)."""
        start, vectors, site_types, bond_types = check_bonds(self, bonds)
        changes = np.ascontiguousarray(dvectors, dtype=np.float64)
        if changes.shape != vectors.shape:
            raise InputError(f"dvectors has shape {changes.shape}, the bonds {vectors.shape}")
        products = np.empty_like(vectors)
        eam_kernels.hessian_product(
            start, vectors, changes, site_types, bond_types, *self._kernel_tables, products
        )
        return products

    def energy_forces(
        self, positions: Array, types: IntArray, weights: Array, pairs: Pairs
    ) -> tuple[Array, Array]:
        """Return site energies (n,) eV and forces (n, 3) eV/Angstrom of a weighted sum.

        See `Potential.energy_forces`; takes a half list.

        Raises
        ------
        InputError
            Arrays that do not fit the list, a value that is not finite, two atoms at one place;
            the message names the row.
        """
        y, t, w = check_pairs(self, positions, types, weights, pairs)
        reach, rdr, _, rdrho, embed = self._kernel_tables
        n, n_all, ns = pairs.n_sites, len(y), len(self.species)
        bounds = shares(pairs.start, numba.get_num_threads())
        parts, nb = len(bounds) - 1, len(pairs.neighbours)
        # An odd number of cache lines, lest the rows of the work array fall on each other.
        width = 8 * (int(np.diff(pairs.start).max(initial=0)) // 8 + 1 | 1)
        room = nb + eam_pair_kernels.LANES * (parts + 1)
        scratch = Scratch.take(self)
        energies, forces = np.empty(n), np.empty(3 * n)
        eam_pair_kernels.energy_forces(
            y.reshape(-1), t, w, pairs.start, pairs.neighbours, pairs.owners, bounds,
            reach, rdr, self._pair_rows.reshape(-1), self.rphi.shape[-1], rdrho, embed,
            scratch.ints("inside", n), scratch.ints("partner", room),
            scratch.floats("slopes", 3 if ns > 1 else 2, room),
            scratch.ints("lines", parts * 2 * width).reshape(parts, -1),
            scratch.floats("work", parts, eam_pair_kernels.WORK_ROWS * width),
            scratch.floats("sums", parts, 2 * n_all), scratch.floats("loads", 2 * n_all),
            scratch.floats("pulls", parts, 3 * n_all), energies, forces,
        )  # fmt: skip
        scratch.give_back(self)
        if not np.isfinite(forces.sum()):
            check_apart(y, pairs)
        return energies, forces.reshape(n, 3)

    def deformed_star(
        self,
        F: Array,
        star: Array,
        site_type: int,
        star_types: IntArray,
        tangent: bool = False,
    ) -> tuple[Array, Array, Array | None]:
        """Return energy, dE/dF and optionally d2E/dF2 of one site's star under many F.

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
        return _deformed_star(self, F, star, site_type, star_types, tangent)

    def deformed_cell(
        self,
        F: Array,
        shifts: Array,
        vectors: Array,
        source: IntArray,
        target: IntArray,
        types: IntArray,
        order: eam_cell.Order = "gradient",
    ) -> tuple[Array, Array, Array, Array | None]:
        """Return the energy of the cell of a crystal with a basis, and derivatives, in many states.

        Parameters
        ----------
        F : (n, 3, 3) float64
            Deformation gradients.
        shifts : (n, n_s, 3) float64, Angstrom
            Of the sublattices; a bond becomes ``F R + p_t - p_s``.
        vectors : (k, 3) float64, Angstrom
            Reference bonds R of all sites of the cell. Bonds longer than the cutoff are ignored.
        source, target : (k,) int64
            Sublattices s and t of both ends; the bond counts in the energy of its source.
        types : (n_s,) int64
            Species of each sublattice.
        order : {"gradient", "shifts", "full"}
            Which second derivatives are wanted: none, ``d2E/dp2``, or all.

        Returns
        -------
        sites : (n, n_s) float64, eV
        dF : (n, 3, 3) float64, eV
            At fixed shifts.
        dp : (n, n_s, 3) float64, eV/Angstrom
        hessian : (n, m, m) float64 or None
            Over the shifts 1.. (row by row) for "shifts", over F (row by row) and these for "full";
            None where that leaves no row.

        Raises
        ------
        InputError
            Arrays that do not fit, a value that is not finite, a bond of zero length.
        """
        return eam_cell.deformed_cell(self, F, shifts, vectors, source, target, types, order)

    def parameters(self) -> tuple[Array | float | str, ...]:
        """Return the definition, or grids and tables, for `fingerprint`."""
        if self._definition is not None:
            return self._definition
        return (self.dr, self.drho, self.rphi, self.density, self.embedding)


def _deformed_star(
    potential: EAM,
    F: Array,
    bonds: Array,
    site_type: int,
    star_types: IntArray,
    tangent: bool,
) -> tuple[Array, Array, Array | None]:
    gradients, bonds, types = check_star(potential, F, bonds, site_type, star_types)
    reach, rdr, _, rdrho, embed = potential._kernel_tables
    ns, n, threads = len(potential.species), len(gradients), numba.get_num_threads()
    folded = star.fold(bonds, types)
    k, lanes = len(folded.weights), eam_star_kernels.LANES
    energies, stresses = np.empty(n), np.empty((n, 9))
    tangents = np.empty((n if tangent else 0, 81))
    eam_star_kernels.deformed_star(
        gradients, folded.quadratic, folded.quartic, folded.weights, site_type * ns + folded.types,
        reach, rdr, potential._star_rows, rdrho, embed[site_type],
        tangent, star.SECOND_OF, star.FOURTH_OF, star.TRIPLES, star.TRIPLE_OF, star.UPPER,
        star.PLACE, np.empty((threads, eam_star_kernels.ROWS, lanes)),
        np.empty((threads, lanes), dtype=np.int32), np.empty((threads, k, 4, lanes)),
        energies, stresses, tangents,
    )  # fmt: skip
    moduli = tangents.reshape(n, 3, 3, 3, 3) if tangent else None
    return energies, stresses.reshape(n, 3, 3), moduli


def _positive(value: float, name: str) -> float:
    number = float(value)
    if not (np.isfinite(number) and number > 0.0):
        raise PotentialError(f"{name} must be positive and finite, not {value}")
    return number


def _table(values: Array, species_shape: tuple[int, ...], name: str) -> Array:
    """Return a read-only copy of a table whose leading axes are species."""
    table = np.array(values, dtype=np.float64)
    if table.ndim != len(species_shape) + 1 or table.shape[:-1] != species_shape:
        raise PotentialError(f"{name} must have shape {(*species_shape, 'n')}, not {table.shape}")
    if table.shape[-1] < MINIMUM_VALUES:
        raise PotentialError(f"{name} needs at least {MINIMUM_VALUES} values")
    if not np.isfinite(table).all():
        where = tuple(int(k) for k in np.argwhere(~np.isfinite(table))[0])
        raise PotentialError(f"{name}{list(where)} is not finite")
    table.flags.writeable = False
    return table


def _radial_spline(values: Array) -> Array:
    """Spline of a radial function; one that has come to zero ends flat."""
    return cubic_coefficients(values, end_slope=0.0 if values[-1] == 0.0 else None)
