"""Perfect crystals under a potential: their bonds, and the cell and basis of least energy."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from qc.crystal import Crystal, bcc, diamond, fcc, hcp
from qc.crystal.bonded import require_bonds
from qc.errors import CapabilityError, ConvergenceError, CrystalError, NonFiniteError
from qc.potentials import Bonds, Potential

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

STRUCTURES = ("fcc", "bcc", "hcp", "diamond")

#: Ratio of a close-packed stack of spheres, where a search for c/a starts.
IDEAL_RATIO = math.sqrt(8 / 3)

#: Atoms in a primitive cell; matrices over all of them are full.
MOST_SITES = 100

#: Rows and columns of the Voigt index.
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))

#: Trial nearest-neighbour distances, in units of the cutoff.
_NEAREST = np.linspace(0.3, 1.0, 72)[:-1]

#: A step of the cell's relaxation: largest strain, and largest shuffle in Angstrom.
_LONGEST = 0.05


class Response(NamedTuple):
    """Energy of a primitive cell with its derivatives in strain and sublattice positions.

    ``gradient`` (6 + 3 n_s,) and ``hessian`` (6 + 3 n_s, 6 + 3 n_s) run over the six strains in
    Voigt order (engineering shears), eV, then the Cartesian positions of the sublattices, per
    Angstrom.
    """

    energy: float
    gradient: Array
    hessian: Array


def standard_crystal(
    element: str, structure: str, a: float, c_over_a: float | None = None
) -> Crystal:
    """Return a crystal on its conventional axes: cube axes, or x along a and z along c for hcp.

    Raises
    ------
    CrystalError
        A structure that is not one of `STRUCTURES`, or a bad symbol or lattice constant.
    """
    if structure == "hcp":
        return hcp(element, a, a * (IDEAL_RATIO if c_over_a is None else c_over_a))
    makers = {"fcc": fcc, "bcc": bcc, "diamond": diamond}
    if structure not in makers:
        raise CrystalError(f"structure must be one of {', '.join(STRUCTURES)}, not '{structure}'")
    return makers[structure](element, a)


def check_supported(crystal: Crystal, potential: Potential) -> None:
    """Refuse what has no bulk properties here.

    Raises
    ------
    CapabilityError
        The potential cannot give site energies.
    CrystalError
        The crystal is a monolayer, or has more than `MOST_SITES` atoms in its cell.
    UnknownSpeciesError
        An element that the potential does not know.
    """
    if not potential.has_site_energies:
        raise CapabilityError(
            f"{type(potential).__name__} gives total energies only; bulk properties are computed "
            "from site energies and their derivatives"
        )
    if crystal.mode == "monolayer":
        raise CrystalError(f"crystal {crystal.name!r}: bulk properties need three dimensions")
    if crystal.n_sublattices > MOST_SITES:
        raise CrystalError(
            f"crystal {crystal.name!r}: {crystal.n_sublattices} atoms in the primitive cell; bulk "
            f"properties are for {MOST_SITES} at most"
        )
    potential.types_of(crystal.symbols)


def crystal_bonds(
    crystal: Crystal, potential: Potential, reach: float | None = None
) -> tuple[Bonds, IntArray]:
    """Return the bonds of one primitive cell, and the sublattice at the far end of each.

    Parameters
    ----------
    crystal : Crystal
    potential : Potential
    reach : float, Angstrom, optional
        Longest bond; the cutoff by default.

    Returns
    -------
    bonds : Bonds
        One site for each sublattice.
    far : (nb,) int64

    Raises
    ------
    CrystalError
        No bond is within the cutoff, and no other reach was given.
    """
    types = potential.types_of(crystal.symbols)
    if reach is None:
        require_bonds(crystal, potential)
    radius = potential.cutoff if reach is None else reach
    found = [crystal.star_sites(radius, s) for s in range(crystal.n_sublattices)]
    start = np.zeros(len(found) + 1, dtype=np.int64)
    np.cumsum([len(vectors) for vectors, _, _ in found], out=start[1:])
    far = np.concatenate([s for _, _, s in found])
    vectors = np.ascontiguousarray(np.concatenate([v for v, _, _ in found]))
    return Bonds(start, vectors, types, types[far]), far


def site_energies(crystal: Crystal, potential: Potential) -> Array:
    """Return the energy of one site of each sublattice, (n_s,) eV."""
    energies = potential.site_energies(crystal_bonds(crystal, potential)[0])
    if not np.isfinite(energies).all():
        raise NonFiniteError(
            f"{type(potential).__name__}: the energy of {crystal.name} "
            f"{'-'.join(crystal.symbols)} is not finite"
        )
    return energies


def isolated_energy(potential: Potential, element: str) -> float:
    """Return the energy of one atom alone, eV."""
    alone = Bonds(
        np.zeros(2, np.int64), np.empty((0, 3)), potential.types_of([element]), np.empty(0, int)
    )
    return float(potential.site_energies(alone)[0])


def cohesive_energy(crystal: Crystal, potential: Potential) -> float:
    """Return the energy per atom relative to isolated atoms, eV; negative when bound."""
    alone = [isolated_energy(potential, symbol) for symbol in crystal.symbols]
    return math.fsum(site_energies(crystal, potential) - alone) / crystal.n_sublattices


def bond_changes(bonds: Bonds, far: IntArray) -> Array:
    """Return how bonds change with strain and sublattice positions, (6 + 3 n_s, nb, 3)."""
    n = bonds.n_sites
    near, r = bonds.sites, bonds.vectors
    changes = np.zeros((6 + 3 * n, len(r), 3))
    for row, (k, m) in enumerate(VOIGT):
        changes[row, :, k] += 0.5 * r[:, m]
        changes[row, :, m] += 0.5 * r[:, k]
    rows = np.arange(len(r))
    for c in range(3):
        changes[6 + 3 * far + c, rows, c] += 1.0
        changes[6 + 3 * near + c, rows, c] -= 1.0
    return changes


def response(crystal: Crystal, potential: Potential) -> Response:
    """Return energy, gradient and exact Hessian of the primitive cell.

    The Hessian is assembled from products of the potential's bond Hessians.
    """
    bonds, far = crystal_bonds(crystal, potential)
    energies, g = potential.bond_gradients(bonds)
    changes = bond_changes(bonds, far)
    products = np.array([potential.bond_hessian_product(bonds, change) for change in changes])
    hessian = np.einsum("abc,dbc->ad", changes, products)
    if not (np.isfinite(hessian).all() and np.isfinite(g).all()):
        raise NonFiniteError(
            f"{type(potential).__name__}: derivatives of the energy of {crystal.name} "
            f"{'-'.join(crystal.symbols)} are not finite"
        )
    gradient = np.einsum("abc,bc->a", changes, g)
    return Response(math.fsum(energies), gradient, 0.5 * (hessian + hessian.T))


def lattice_constants(
    potential: Potential, element: str, structure: str
) -> tuple[float, float | None]:
    """Return the lattice constant of lowest energy, Angstrom, and c/a for hcp.

    Nearest-neighbour distances from 0.3 to 1 cutoff are scanned for minima of the energy; the
    deepest is refined until the virial vanishes.

    Raises
    ------
    CrystalError
        A structure that is not supported, or none that is bound.
    UnknownSpeciesError
        An element that the potential does not know.
    """
    crystal = equilibrium(standard_crystal(element, structure, 1.0), potential)
    if structure != "hcp":
        return crystal.a, None
    return crystal.a, _height(crystal) / crystal.a


def _height(crystal: Crystal) -> float:
    """Return c of an hcp crystal, Angstrom."""
    return float(np.linalg.norm(crystal.conventional[2]))


def equilibrium(crystal: Crystal, potential: Potential) -> Crystal:
    """Return the crystal with the cell and basis of least energy.

    fcc, bcc, hcp and diamond come back on their conventional axes, whatever the axes and the
    lattice constant given; of every other crystal the cell and the sublattices are relaxed from
    its own shape, at the scale that the potential likes best, and turned as it was.

    Raises
    ------
    CapabilityError, CrystalError
        As `check_supported`; or the potential does not bind the crystal, or it falls over into
        another structure (hcp).
    ConvergenceError
        The relaxation of a cell did not converge.
    """
    named = crystal.name in STRUCTURES
    if named:
        crystal = standard_crystal(crystal.symbols[0], crystal.name, 1.0)
    check_supported(crystal, potential)
    crystal = _scaled(crystal, _best_scale(crystal, potential))
    if crystal.name in ("fcc", "bcc", "diamond"):
        return crystal
    relaxed = _relaxed_cell(crystal, potential)
    if not named:
        return relaxed
    a = float(np.linalg.norm(relaxed.cell[0]))
    c = float(np.linalg.norm(relaxed.cell[2]))
    found = standard_crystal(crystal.symbols[0], crystal.name, a, c / a)
    if np.abs(found.cell - relaxed.cell).max() > 1e-6 * a:
        raise CrystalError(f"hcp {crystal.symbols[0]} is not stable: its cell loses its symmetry")
    return found


def _scaled(crystal: Crystal, scale: float) -> Crystal:
    return replace(
        crystal, cell=scale * crystal.cell, basis=scale * crystal.basis, a=scale * crystal.a
    )


def _best_scale(crystal: Crystal, potential: Potential) -> float:
    """Return the factor of the cell at the deepest minimum of the energy of uniform expansion."""
    scales = _NEAREST * potential.cutoff / crystal.nearest_neighbour
    bonds, _ = crystal_bonds(crystal, potential, potential.cutoff / scales[0])
    n, lengths = bonds.n_sites, np.linalg.norm(bonds.vectors, axis=1)

    def stretched(scale: float) -> Bonds:
        inside = scale * lengths < potential.cutoff * (1 + 1e-9)
        start = np.zeros(n + 1, dtype=np.int64)
        np.cumsum(np.bincount(bonds.sites[inside], minlength=n), out=start[1:])
        vectors = np.ascontiguousarray(scale * bonds.vectors[inside])
        return Bonds(start, vectors, bonds.site_types, bonds.bond_types[inside])

    energies = np.array([potential.site_energies(stretched(s)).mean() for s in scales])
    alone = np.mean([isolated_energy(potential, symbol) for symbol in crystal.symbols])
    inner = np.arange(1, len(energies) - 1)
    minima = inner[
        (energies[inner] <= energies[inner - 1])
        & (energies[inner] < energies[inner + 1])
        & (energies[inner] < alone)
    ]
    if len(minima) == 0:
        low, high = (_NEAREST[k] * potential.cutoff for k in (0, -1))
        raise CrystalError(
            f"{type(potential).__name__} binds no {crystal.name} "
            f"{'-'.join(dict.fromkeys(crystal.symbols))}: its energy has no minimum for nearest "
            f"neighbours between {low:.3g} and {high:.3g} Angstrom"
        )
    best = minima[energies[minima].argmin()]

    def pressure(scale: float) -> float:
        here = stretched(scale)
        return float(np.einsum("bc,bc->", potential.bond_gradients(here)[1], here.vectors))

    return float(
        optimize.brentq(pressure, scales[best - 1], scales[best + 1], xtol=1e-14, rtol=1e-14)
    )


def _relaxed_cell(crystal: Crystal, potential: Potential, steps: int = 100) -> Crystal:
    """Return the crystal after Newton steps in strain and basis, downhill along every mode."""
    here = response(crystal, potential)
    for _ in range(steps):
        # Strains in eV and shuffles in eV/Angstrom, both of a cell of a few atoms.
        if np.abs(here.gradient).max() < 1e-11 * (1 + np.abs(here.hessian).max()):
            return crystal
        values, modes = np.linalg.eigh(here.hessian)
        floor = 1e-7 * np.abs(values).max()
        along = modes.T @ here.gradient
        # Translations of all atoms, and nothing else, cost nothing.
        step = -modes @ np.where(
            np.abs(values) > floor, along / np.maximum(np.abs(values), floor), 0.0
        )
        step *= min(1.0, _LONGEST / np.abs(step).max())
        for _ in range(20):
            try:
                trial = _moved(crystal, step)
                there = response(trial, potential)
            except (CrystalError, NonFiniteError):
                step *= 0.5
                continue
            lower = there.energy < here.energy
            if lower or np.linalg.norm(there.gradient) < 0.9 * np.linalg.norm(here.gradient):
                break
            step *= 0.5
        else:
            # Neither energy nor gradient improve any more: round-off, or a lost cause.
            if np.abs(here.gradient).max() < 1e-8:
                return crystal
            break
        crystal, here = trial, there
    raise ConvergenceError(
        f"the cell of {crystal.name} {'-'.join(crystal.symbols)} did not relax: a gradient of "
        f"{np.abs(here.gradient).max():.2g} eV is left"
    )


def _moved(crystal: Crystal, step: Array) -> Crystal:
    """Return the crystal after a strain (6) and displacements (3 n_s) of its sublattices."""
    strain = np.zeros((3, 3))
    for value, (k, m) in zip(step[:6], VOIGT, strict=True):
        strain[k, m] += 0.5 * value
        strain[m, k] += 0.5 * value
    f = np.eye(3) + strain
    basis = crystal.basis @ f.T + step[6:].reshape(-1, 3)
    cell = crystal.cell @ f.T
    return Crystal(
        cell=cell,
        basis=basis - basis[0],
        symbols=crystal.symbols,
        name=crystal.name if crystal.name == "hcp" else _plain_name(crystal),
        a=float(np.linalg.norm(cell[0])),
        rotation=np.eye(3),
    )


def _plain_name(crystal: Crystal) -> str:
    return "bravais" if crystal.n_sublattices == 1 else "multilattice"
