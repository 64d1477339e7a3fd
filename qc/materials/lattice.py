"""Perfect crystals under a potential: their bonds, and the cell and basis of least energy."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from qc.crystal import Crystal, bcc, diamond, fcc, hcp
from qc.crystal.bonded import require_bonds
from qc.errors import (
    CapabilityError,
    ConvergenceError,
    CrystalError,
    InputError,
    NonFiniteError,
)
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

#: Trial lattice constants, in units of one that the potential states.
_NEAR = np.linspace(0.85, 1.15, 31)

#: Trial nearest-neighbour distances, in units of the cutoff: where most potentials have their
#: minimum, and steps inwards from there where that has none.
_NEAREST = np.linspace(0.3, 1.0, 72)[:-1]
_INWARDS = 0.975 ** np.arange(8, 0, -1)
_CLOSEST = 0.1

#: eV, or relative to the energy of isolated atoms: what binds by less does not bind.
_BOUND = 1e-9

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
    if crystal.dim_lattice == 2:
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
    types = potential.types_of([element])
    if not potential.has_site_energies:
        return float(potential.cluster_forces(np.zeros((1, 3)), types)[0])
    alone = Bonds(np.zeros(2, np.int64), np.empty((0, 3)), types, np.empty(0, int))
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

    The energy is scanned for minima near the lattice constant that the potential states; then over
    nearest-neighbour distances from 0.3 to 1 cutoff, then down to 0.1, until there is one. The
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


class _Expansion:
    """Energy and virial of a crystal under uniform expansion, by the factor of its cell."""

    def __init__(self, crystal: Crystal, potential: Potential, smallest: float) -> None:
        self.potential = potential
        self.bonds, _ = crystal_bonds(crystal, potential, potential.cutoff / smallest)
        self.lengths = np.linalg.norm(self.bonds.vectors, axis=1)

    def at(self, scale: float) -> Bonds:
        n, bonds = self.bonds.n_sites, self.bonds
        inside = scale * self.lengths < self.potential.cutoff * (1 + 1e-9)
        start = np.zeros(n + 1, dtype=np.int64)
        np.cumsum(np.bincount(bonds.sites[inside], minlength=n), out=start[1:])
        vectors = np.ascontiguousarray(scale * bonds.vectors[inside])
        return Bonds(start, vectors, bonds.site_types, bonds.bond_types[inside])

    def energies(self, scales: Array) -> Array:
        """Mean site energies, eV; infinite where neighbours are nearer than a table tells."""
        out = np.full(len(scales), np.inf)
        for k, scale in enumerate(scales):
            with contextlib.suppress(InputError):
                out[k] = self.potential.site_energies(self.at(scale)).mean()
        return out

    def virial(self, scale: float) -> float:
        here = self.at(scale)
        gradients = self.potential.bond_gradients(here)[1]
        return float(np.einsum("bc,bc->", gradients, here.vectors))


def _best_scale(crystal: Crystal, potential: Potential) -> float:
    """Return the factor of the cell at a minimum of the energy of uniform expansion.

    The deepest near a stated lattice constant, or else of a range; closer in, where tables often
    mean nothing, only if there is no other.
    """
    unit = potential.cutoff / crystal.nearest_neighbour
    alone = float(np.mean([isolated_energy(potential, symbol) for symbol in crystal.symbols]))
    best = None
    stated = potential.stated_lattice(crystal.symbols[0])
    if stated is not None and stated[0] == crystal.name:
        scales = _NEAR * stated[1] / crystal.a
        scales = scales[scales < unit]
        if len(scales):
            expansion = _Expansion(crystal, potential, scales[0])
            energies = expansion.energies(scales)
            best = _deepest(energies, alone)
    if best is None:
        scales = _NEAREST * unit
        expansion = _Expansion(crystal, potential, scales[0])
        energies = expansion.energies(scales)
        best = _deepest(energies, alone)
    while best is None and scales[0] > _CLOSEST * unit:
        closer = scales[0] * _INWARDS
        expansion = _Expansion(crystal, potential, closer[0])
        energies = np.concatenate([expansion.energies(closer), energies])
        scales = np.concatenate([closer, scales])
        best = _deepest(energies, alone)
    if best is None:
        low, high = (s * crystal.nearest_neighbour for s in (scales[0], scales[-1]))
        raise CrystalError(
            f"{_of(potential, crystal, 'binds no')}: its energy has no minimum below that of "
            f"isolated atoms for nearest neighbours between {low:.3g} and {high:.3g} Angstrom"
        )
    low, high = float(scales[best - 1]), float(scales[best + 1])
    # Beside a minimum of three energies the slopes need not differ in sign; closer by they do.
    for _ in range(20):
        if expansion.virial(low) < 0.0 < expansion.virial(high):
            return float(optimize.brentq(expansion.virial, low, high, xtol=1e-14, rtol=1e-14))
        trials = np.linspace(low, high, 9)
        k = int(np.argmin(expansion.energies(trials)))
        low, high = float(trials[max(k - 1, 0)]), float(trials[min(k + 1, 8)])
    raise CrystalError(
        f"{_of(potential, crystal, 'has no smooth minimum for')}: its energy is lowest near a "
        f"nearest-neighbour distance of {low * crystal.nearest_neighbour:.4g} Angstrom, its force "
        "vanishes nowhere there"
    )


def _deepest(energies: Array, alone: float) -> int | None:
    """Return the place of the deepest minimum in a row that lies below an energy, or None."""
    inner = np.arange(1, len(energies) - 1)
    # Round-off and the ringing of splines in the tail of a potential bind nothing.
    bound = alone - _BOUND * max(1.0, abs(alone))
    minima = inner[
        (energies[inner] <= energies[inner - 1])
        & (energies[inner] < energies[inner + 1])
        & (energies[inner] < bound)
        & np.isfinite(energies[inner - 1])
    ]
    return int(minima[energies[minima].argmin()]) if len(minima) else None


def _of(potential: Potential, crystal: Crystal, verb: str) -> str:
    formula = "-".join(dict.fromkeys(crystal.symbols))
    return f"{type(potential).__name__} {verb} {crystal.name} {formula}"


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
