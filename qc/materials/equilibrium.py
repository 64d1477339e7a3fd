"""Crystals at rest: lattice constants of least energy, and cells without stress."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from qc.crystal import Crystal, standard_crystal
from qc.errors import CapabilityError, CrystalError, InputError, NonFiniteError
from qc.materials.cauchy_born import CauchyBorn
from qc.materials.lattice import crystal_bonds, isolated_energy
from qc.potentials import Bonds, Potential

Array = NDArray[np.float64]

#: eV/Angstrom^3; a cell with smaller stresses is at rest.
STRESS = 1e-11

#: The same for one whose stress falls no further: round-off, or a calculator's noise.
LEAST_STRESS = 1e-9

#: Steps of a cell's relaxation at most, and the largest strain in one.
MOST_STEPS, LONGEST = 100, 0.05

#: Stiffness over the largest one below which a strain counts as free, or unstable.
_SOFT = 1e-7

#: Trial lattice constants, in units of one that the potential states.
_NEAR = np.linspace(0.85, 1.15, 31)

#: Trial nearest-neighbour distances, in units of the cutoff: where most potentials have their
#: minimum, and steps inwards from there where that has none.
_NEAREST = np.linspace(0.3, 1.0, 72)[:-1]
_INWARDS = 0.975 ** np.arange(8, 0, -1)
_CLOSEST = 0.1

#: eV, or relative to the energy of isolated atoms: what binds by less does not bind.
_BOUND = 1e-9


def equilibrium_lattice_constant(crystal: Crystal, potential: Potential) -> float:
    """Lattice constant of least energy for a crystal's structure, Angstrom, to round-off.

    Parameters
    ----------
    crystal : Crystal
        Structure and orientation; its own lattice constant is the starting point.
    potential : Potential

    Raises
    ------
    CrystalError
        None between 0.8 and 1.25 times the crystal's own.
    """
    return crystal.a * _scale_nearby(CauchyBorn(crystal, potential))


def equilibrium_crystal(
    crystal: Crystal, potential: Potential, *, anywhere: bool = False
) -> Crystal:
    """Return a crystal whose cell and basis are free of stress under a potential.

    The structure keeps its orientation and symmetry; hcp gets its own c/a, and a basis its relaxed
    shifts.

    Parameters
    ----------
    crystal : Crystal
        Its lattice constants are the starting point.
    potential : Potential
    anywhere : bool
        The lattice constants given say nothing: look near the one that the potential states, or
        else over nearest-neighbour distances from 0.3 to 1 cutoff, then down to 0.1, until the
        crystal is bound; the deepest minimum is taken. By default the deepest between 0.8 and 1.25
        times the crystal's own.

    Raises
    ------
    CrystalError
        No state of least energy is found there.
    CapabilityError
        ``anywhere`` with a potential that has no site energies.
    """
    if anywhere:
        scale = _scale_anywhere(crystal, potential)
        cell, basis = scale * crystal.cell, scale * crystal.basis
        if crystal.dim_lattice == 2:
            cell[2] = crystal.cell[2]
        rule = CauchyBorn(replace(crystal, cell=cell, basis=basis, a=scale * crystal.a), potential)
        return _at_rest(rule, 1.0)
    rule = CauchyBorn(crystal, potential)
    return _at_rest(rule, _scale_nearby(rule))


def lattice_constants(
    potential: Potential, element: str, structure: str
) -> tuple[float, float | None]:
    """Return the lattice constant of lowest energy, Angstrom, and c/a for hcp.

    It is looked for as by `equilibrium_crystal`, anywhere.

    Raises
    ------
    CapabilityError
        The potential has no site energies.
    CrystalError
        A structure that is not supported, or none that is bound.
    UnknownSpeciesError
        An element that the potential does not know.
    """
    start = standard_crystal(element, structure, 1.0)
    crystal = equilibrium_crystal(start, potential, anywhere=True)
    return crystal.a, None if crystal.c is None else crystal.c / crystal.a


def _expanded(d: int, scale: float) -> Array:
    """Return the uniform expansion of a lattice of a dimension, (1, 3, 3)."""
    f = np.eye(3)
    f[:d, :d] *= scale
    return f[None]


def _scale_nearby(rule: CauchyBorn) -> float:
    """Return the factor of the cell at the deepest minimum nearby."""
    crystal = rule.crystal
    d = crystal.dim_lattice

    def pressure(scale: float) -> float:
        return float(np.trace(rule.evaluate(_expanded(d, scale))[1][0][:d, :d]))

    grid = np.linspace(0.8, 1.25, 46)
    best = int(np.argmin(rule.site_energy(np.concatenate([_expanded(d, s) for s in grid]))))
    low, high = max(best - 1, 0), min(best + 1, len(grid) - 1)
    if not (pressure(grid[low]) < 0.0 < pressure(grid[high])):
        raise CrystalError(
            f"no {crystal.name} lattice constant between {0.8 * crystal.a:.3f} and "
            f"{1.25 * crystal.a:.3f} Angstrom minimises the energy of this potential"
        )
    return float(brentq(pressure, grid[low], grid[high], xtol=1e-15, rtol=1e-15))


def _at_rest(rule: CauchyBorn, scale: float) -> Crystal:
    """Return the crystal of a material without stress: Newton's method in the strain of the cell.

    Downhill along every strain: what is soft or unstable is left, not climbed.
    """
    crystal, d = rule.crystal, rule.crystal.dim_lattice
    f = _expanded(d, scale)[0]
    # Symmetric strains only: a rotation changes nothing.
    pairs = [(i, j) for i in range(d) for j in range(i, d)]
    modes = np.zeros((len(pairs), 3, 3))
    for k, (i, j) in enumerate(pairs):
        modes[k, i, j] = modes[k, j, i] = 1.0 if i == j else 0.5

    def look(f: Array) -> tuple[float, Array, Array]:
        """Energy, its gradient in the modes, and their stiffness."""
        energy, stress, moduli = rule.evaluate(f[None], tangent=True)
        assert moduli is not None
        stiffness = np.einsum("aij,ijkl,bkl->ab", modes, moduli[0], modes)
        return float(energy[0]), np.einsum("kij,ij->k", modes, stress[0]), stiffness

    energy, residual, stiffness = look(f)
    for _ in range(MOST_STEPS):
        left = float(np.abs(residual).max())
        if left < STRESS:
            break
        step = np.einsum("k,kij->ij", _downhill(stiffness, residual), modes)
        step *= min(1.0, LONGEST / max(float(np.abs(step).max()), 1e-300))
        for _ in range(20):
            with contextlib.suppress(NonFiniteError, InputError):
                there = look(f + step)
                if there[0] < energy or np.abs(there[1]).max() < 0.9 * left:
                    f, (energy, residual, stiffness) = f + step, there
                    break
            step = 0.5 * step
        else:
            if left < LEAST_STRESS:
                break
            raise _under_stress(crystal, scale)
    else:
        raise _under_stress(crystal, scale)
    shifts = rule.predictor_shifts(f)
    ratio = float(np.trace(f) / 3.0)
    if np.abs(f - ratio * np.eye(3)).max() < 1e-12:
        # Where nothing but the scale has changed, round-off shall not tilt the cell.
        return replace(
            crystal,
            cell=ratio * crystal.cell,
            basis=ratio * crystal.basis + shifts,
            a=ratio * crystal.a,
        )
    first = float(np.linalg.norm(crystal.conventional[0]))
    ratio = float(np.linalg.norm(f @ crystal.conventional[0])) / first
    return replace(
        crystal, cell=crystal.cell @ f.T, basis=crystal.basis @ f.T + shifts, a=ratio * crystal.a
    )


def _downhill(stiffness: Array, residual: Array) -> Array:
    """Return Newton's step; along strains that are not stiff, one that goes down all the same."""
    values, vectors = np.linalg.eigh(stiffness)
    floor = _SOFT * float(np.abs(values).max())
    if values[0] > floor:
        return np.asarray(np.linalg.solve(stiffness, -residual))
    along = vectors.T @ residual
    size = np.abs(values)
    return np.asarray(-vectors @ np.where(size > floor, along / np.maximum(size, floor), 0.0))


def _under_stress(crystal: Crystal, scale: float) -> CrystalError:
    return CrystalError(
        f"no {crystal.name} cell without stress near a = {scale * crystal.a:.4f} Angstrom"
    )


class _Expansion:
    """Energy and virial of a crystal under uniform expansion, by the factor of its cell."""

    def __init__(self, crystal: Crystal, potential: Potential, smallest: float) -> None:
        self.potential = potential
        self.bonds = crystal_bonds(crystal, potential, potential.cutoff / smallest)
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


def _scale_anywhere(crystal: Crystal, potential: Potential) -> float:
    """Return the factor of the cell at a minimum of the energy of uniform expansion.

    The deepest near a stated lattice constant, or else of a range; closer in, where tables often
    mean nothing, only if there is no other.
    """
    if not potential.has_site_energies:
        raise CapabilityError(
            f"{type(potential).__name__} gives total energies only: a lattice constant of no "
            "known size is looked for by site energies"
        )
    potential.types_of(crystal.symbols)
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
            return float(brentq(expansion.virial, low, high, xtol=1e-14, rtol=1e-14))
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
