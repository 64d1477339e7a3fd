"""Embedded-atom potentials on tables: alloy and Finnis-Sinclair forms, any number of species."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numba
import numpy as np

from qc.errors import InputError, PotentialError

from .. import star
from ..base import Array, Bonds, IntArray, Order, Pairs, Potential
from ..checks import check_bonds, check_star
from ..interpolation import Curve, Interpolation, check_interpolation, curve
from ..pair_checks import Scratch, aligned, check_apart, check_pairs, shares
from ..splines import MINIMUM_VALUES, evaluate
from ..virial_kernels import sum_virial
from . import cell as eam_cell
from . import kernels as eam_kernels
from . import pair_kernels as eam_pair_kernels
from . import star_kernels as eam_star_kernels


class EAM(Potential):
    """Embedded-atom potential, ``V_i = F_s(sum_b rho_st(r_b)) + 1/2 sum_b phi_st(r_b)``.

    s is the species of the site, t that of the neighbour. Every function is made of cubics on a
    uniform grid that starts at zero, see `interpolation`; the pair function is held as r phi(r),
    as in the setfl format, so a file and this object describe the same potential.

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
    notes : sequence of str, optional
        What a reader passed over and might be an error; `remarks` repeats it.
    definition : sequence of str, float or array, optional
        What the tables were computed from, where that says all: it then stands for them in
        `fingerprint`.
    interpolation : {"auto", "spline", "lammps"}
        "spline": every function is the C2 cubic spline through its values. "lammps": slopes at the
        knots by LAMMPS's five-point differences; second derivatives jump there. "auto": the
        spline, but values whose noise would spoil its second derivative are smoothed within that
        noise, and slopes are LAMMPS's where a table is too coarse for its function. `tables` says
        what was done.

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
    fused_virial = True
    fused_cell = fused_star = True

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
        notes: Sequence[str] = (),
        interpolation: Interpolation = "auto",
    ) -> None:
        check_interpolation(interpolation)
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
        self.source, self.notes = source, tuple(notes)
        self._definition = None if definition is None else tuple(definition)
        self.interpolation: Interpolation = interpolation
        self._kernel_tables = self._build()

    def __repr__(self) -> str:
        """Return species, cutoff and what stands for the tables."""
        done = "; ".join(f"{name}: {what}" for name, what in self.tables.items() if what)
        return (
            f"EAM({', '.join(self.species)}; cutoff {self.cutoff:g} Angstrom; "
            f"interpolation {self.interpolation!r}{'; ' if done else ''}{done})"
        )

    @classmethod
    def from_file(
        cls, path: str | Path, format: str | None = None, interpolation: Interpolation = "auto"
    ) -> EAM:
        """Read a setfl (``"alloy"``), Finnis-Sinclair setfl (``"fs"``) or ``"funcfl"`` file.

        Parameters
        ----------
        path : str or Path
            The file.
        format : str, optional
            One of the three; unless given, it is found from the name and the content.
        interpolation : {"auto", "spline", "lammps"}
            Which functions stand for the tables, see `EAM`.

        Raises
        ------
        PotentialFileError
            The file cannot be read as a potential; the message carries file and line.
        """
        from .setfl import read_eam

        return cls(**read_eam(path, format), interpolation=interpolation)

    def _build(self) -> tuple[float, float, Array, float, Array]:
        """Return the table arguments that every kernel takes, in their order."""
        ns, nr, chosen = len(self.species), self.rphi.shape[-1], self.interpolation
        self._pair_curves: dict[tuple[int, int], Curve] = {}
        self._density_curves: dict[tuple[int, int], Curve] = {}
        for s in range(ns):
            for t in range(s + 1):
                found = curve(self.rphi[s, t], chosen, _end_slope(self.rphi[s, t]))
                self._pair_curves[s, t] = self._pair_curves[t, s] = found
            if self.finnis_sinclair:
                for t, values in enumerate(self.density[s]):
                    self._density_curves[s, t] = curve(values, chosen, _end_slope(values))
            else:
                found = curve(self.density[s], chosen, _end_slope(self.density[s]))
                self._density_curves.update({(t, s): found for t in range(ns)})
        self._embedding_curves = [curve(f, chosen) for f in self.embedding]
        radial = np.empty((ns, ns, nr, 8))
        for (s, t), pair in self._pair_curves.items():
            radial[s, t, :, :4] = pair.coefficients
            radial[s, t, :, 4:] = self._density_curves[s, t].coefficients
        embed = np.array([f.coefficients for f in self._embedding_curves])
        rows = radial.reshape(ns * ns, nr, 8)
        return (self.cutoff**2, 1.0 / self.dr, rows, 1.0 / self.drho, embed)

    @property
    def tables(self) -> dict[str, str]:
        """What was done to each table to make a function of it; empty for the plain spline."""
        n, found = self.species, {}
        for (s, t), c in self._pair_curves.items():
            if t <= s:
                found[f"r phi of {n[s]}-{n[t]}"] = c.summary
        for (s, t), c in self._density_curves.items():
            if self.finnis_sinclair:
                found[f"density of {n[t]} at {n[s]}"] = c.summary
            elif s == 0:
                found[f"density of {n[t]}"] = c.summary
        found.update({f"F of {n[s]}": c.summary for s, c in enumerate(self._embedding_curves)})
        return found

    def remarks(self, bonds: Bonds) -> tuple[str, ...]:
        """Return `notes`, and which tables are noisy or too coarse where some sites use them.

        One line for each; nothing of tables that are as good as can be there.
        """
        _, vectors, site_types, bond_types = check_bonds(self, bonds)
        n, found = self.species, []
        r = np.linalg.norm(vectors, axis=1)
        near = r < self.cutoff
        sites = bonds.sites[near]
        r, source, target = r[near], site_types[sites], bond_types[near]
        density = np.zeros(len(site_types))
        for s in range(len(n)):
            for t in range(len(n)):
                here = (source == s) & (target == t)
                rho = self._density_curves[s, t]
                added = evaluate(rho.coefficients, self.dr, r[here])
                density += np.bincount(sites[here], added, len(density))
                where = r[here] / self.dr
                if t <= s:
                    what = self._pair_curves[s, t].remark(where, "a distance", "eV Angstrom")
                    found.append((f"r phi of {n[s]}-{n[t]}", what))
                found.append((f"density of {n[t]} at {n[s]}", rho.remark(where, "a distance", "")))
        for s, f in enumerate(self._embedding_curves):
            where = np.maximum(density[site_types == s], 0.0) / self.drho
            found.append((f"F of {n[s]}", f.remark(where, "a density", "eV")))
        return (*self.notes, *(f"{name}: {what}" for name, what in found if what))

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

    def stated_lattice(self, symbol: str) -> tuple[str, float] | None:
        """Return structure and lattice constant (Angstrom) that the tables came with."""
        k = int(self.types_of([symbol])[0])
        structure, a = self.structures[k].lower(), self.lattice_constants[k]
        return (structure, a) if structure != "none" and a > 0.0 else None

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
        self,
        positions: Array,
        types: IntArray,
        weights: Array,
        pairs: Pairs,
        virial: Array | None = None,
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
        energies, forces = np.empty(n), np.empty((n, 3))
        pulls = scratch.floats("pulls", parts, 3 * n_all)
        eam_pair_kernels.energy_forces(
            y.reshape(-1), t, w, pairs.start, pairs.neighbours, pairs.owners, bounds,
            reach, rdr, self._pair_rows.reshape(-1), self.rphi.shape[-1], rdrho, embed,
            scratch.ints("inside", n), scratch.ints("partner", room),
            scratch.floats("slopes", 3 if ns > 1 else 2, room),
            scratch.ints("lines", parts * 2 * width).reshape(parts, -1),
            scratch.floats("work", parts, eam_pair_kernels.WORK_ROWS * width),
            scratch.floats("sums", parts, 2 * n_all), scratch.floats("loads", 2 * n_all),
            pulls, energies, forces.reshape(-1),
        )  # fmt: skip
        if virial is not None:
            # The first row of the parts' forces holds their sums, also on images.
            images = pulls[0].reshape(n_all, 3)[n:]
            sum_virial(y, forces, images, pairs.owners, virial)
        scratch.give_back(self)
        if not np.isfinite(forces.sum()):
            check_apart(y, pairs)
        return energies, forces

    def deformed_star(
        self,
        F: Array,
        star: Array,
        site_type: int,
        star_types: IntArray,
        tangent: bool = False,
    ) -> tuple[Array, Array, Array | None]:
        """Return energies of stars and their derivatives; see `Potential`."""
        return _deformed_star(self, F, star, site_type, star_types, tangent)

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
        return eam_cell.deformed_cell(
            self, self._kernel_tables, self._star_rows, F, shifts, vectors, source, target, types,
            order,
        )  # fmt: skip

    def parameters(self) -> tuple[Array | float | str, ...]:
        """Return the definition, or grids and tables, for `fingerprint`.

        Another interpolation than the usual one goes with it.
        """
        chosen = () if self.interpolation == "auto" else (self.interpolation,)
        if self._definition is not None:
            return (*self._definition, *chosen)
        return (self.dr, self.drho, self.rphi, self.density, self.embedding, *chosen)


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


def _end_slope(values: Array) -> float | None:
    """Return the slope at the end: a radial function that has come to zero ends flat."""
    return 0.0 if values[-1] == 0.0 else None
