"""A crystal at temperature: expansion, entropy, heat capacity and moduli from W(F) + f_vib(F, T).

The lattice at zero stress minimises ``G(F) = Omega W(F) + f_vib(F, T)`` over the deformations that
keep the crystal's symmetry. About it

    C = d2G / dF dF / V  (pushed forward)        S = -dG/dT at fixed F
    alpha = C^-1 : (1 / V) dS/de                 (Maxwell's relation)
    gamma = V alpha_v K_T / C_v                  (Grueneisen's relation)

Source: D. C. Wallace, Thermodynamics of Crystals (1972), sections 2 and 3; for shifts at the static
minimum N. L. Allan, T. H. K. Barron & J. A. O. Bruno, J. Chem. Phys. 105 (1996) 8300.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from ase import units
from numpy.typing import ArrayLike, NDArray

from qc.crystal import Crystal
from qc.errors import ConvergenceError, InputError, NonFiniteError
from qc.materials.free_energy import (
    FreeEnergyExpansion,
    expand_free_energy,
    from_mandel,
    mandel,
    mandel_components,
    strain_symmetry,
)
from qc.materials.vibration import LatticeVibrations, Model, Statistics
from qc.numerics.checks import not_negative
from qc.potentials import Potential

Array = NDArray[np.float64]

#: Steps of the differences along the crystal's own strains.
STEP = 0.004

#: The lattice is found when a step is smaller.
SETTLED = 1e-7

#: Longest step of the strain in one iteration.
LONGEST = 0.01


@dataclass(frozen=True, eq=False, repr=False)
class ThermalLattice:
    """A crystal without stress at a temperature; energies are per primitive cell.

    Made by `thermal_lattice`.

    Attributes
    ----------
    crystal : Crystal
        What it is a deformation of.
    vibrations : LatticeVibrations
    temperature : float, K
    deformation : (3, 3) float64
        F_T, symmetric.
    shifts : (n_s, 3) float64, Angstrom
        Of the sublattices: ``y = F_T (X + B_s) + p_s``.
    static_energy, vibrational_energy : float, eV
        ``Omega W(F_T)`` and ``f_vib(F_T, T)``.
    entropy : float, eV/K
        Minus infinity in classical statistics at 0 K.
    heat_capacity : float, eV/K
        At fixed F.
    moduli : (3, 3, 3, 3) float64, eV/Angstrom^3
        Isothermal elastic moduli at relaxed shifts; per area in a monolayer.
    thermal_expansion : (3, 3) float64, 1/K
        ``d ln(length) / dT``.
    expansion : FreeEnergyExpansion
        Of f_vib about (nearly) F_T.
    """

    crystal: Crystal
    vibrations: LatticeVibrations
    temperature: float
    deformation: Array
    shifts: Array
    static_energy: float
    vibrational_energy: float
    entropy: float
    heat_capacity: float
    moduli: Array
    thermal_expansion: Array
    expansion: FreeEnergyExpansion

    def __repr__(self) -> str:
        stretches = ", ".join(f"{100.0 * (f - 1.0):+.4f} %" for f in np.diag(self.deformation))
        return f"ThermalLattice({self.temperature:g} K, {self.vibrations.model}, {stretches})"

    @property
    def free_energy(self) -> float:
        """Helmholtz free energy of the primitive cell, eV."""
        return self.static_energy + self.vibrational_energy

    @property
    def volume(self) -> float:
        """Volume of the primitive cell at temperature, Angstrom^3 (an area for a monolayer)."""
        return float(np.linalg.det(self.deformation)) * self.crystal.volume

    @property
    def expanded(self) -> Crystal:
        """The crystal with the cell and basis that it has at temperature."""
        f, crystal = self.deformation, self.crystal
        along = crystal.conventional[0]
        ratio = float(np.linalg.norm(f @ along) / np.linalg.norm(along))
        basis = crystal.basis @ f.T + self.shifts
        return replace(crystal, cell=crystal.cell @ f.T, basis=basis, a=ratio * crystal.a)

    @property
    def bulk_modulus(self) -> float:
        """Isothermal bulk modulus at free shape (Reuss), eV/Angstrom^3."""
        active = mandel_components(self.crystal)
        stiffness = _mandel_matrix(self.moduli)[np.ix_(active, active)]
        dilation = np.array([1.0 if k < 3 else 0.0 for k in active])
        return float(1.0 / (dilation @ np.linalg.solve(stiffness, dilation)))

    @property
    def gruneisen(self) -> float:
        """Grueneisen's parameter ``V alpha_v K_T / C_v``."""
        volumetric = float(np.trace(self.thermal_expansion))
        return self.volume * volumetric * self.bulk_modulus / self.heat_capacity

    @property
    def heat_capacity_at_zero_stress(self) -> float:
        """``C_v + T V alpha : C : alpha``, eV/K."""
        a = self.thermal_expansion
        work = float(np.einsum("ij,ijkl,kl->", a, self.moduli, a))
        return self.heat_capacity + self.temperature * self.volume * work


def thermal_lattice(
    crystal: Crystal,
    potential: Potential,
    temperature: float,
    model: Model = "quasi-harmonic",
    *,
    statistics: Statistics = "classical",
    grid: int | None = None,
    masses: ArrayLike | None = None,
    order: int = 2,
    radius: float = 0.05,
) -> ThermalLattice:
    """Find the lattice without stress at a temperature, with its thermodynamic properties.

    Parameters
    ----------
    crystal : Crystal
        At rest or near it; strains keep its symmetry: one number for cubic crystals, a and c for
        hcp. In columns waves run in the plane only; see `LatticeVibrations`.
    potential : Potential
        With site energies.
    temperature : float, K
    model, statistics, grid, masses
        As in `LatticeVibrations`.
    order : {2, 3}
    radius : float
        As in `expand_free_energy`; moduli need the second derivative.

    Raises
    ------
    CapabilityError
        The potential has no site energies.
    ConvergenceError
        No lattice without stress: the crystal expands until it is unstable.
    InputError
        A temperature that is negative, or 0 in quantum statistics; an order below 2.
    """
    if order not in (2, 3):
        raise InputError(f"order of the expansion must be 2 or 3 here, not {order}")
    t = not_negative("temperature", temperature)
    vibrations = LatticeVibrations(
        crystal, potential, model, statistics=statistics, grid=grid, masses=masses
    )
    f = _settle(vibrations, t)
    expansion = expand_free_energy(vibrations, f, t, order=order, radius=radius)
    f = _polish(vibrations, expansion)
    rule, volume = vibrations.rule, crystal.volume
    w, _, tangent = rule.evaluate(f[None], tangent=True)
    energy, _, bend = expansion.evaluate(f[None], tangent=True)
    assert tangent is not None
    assert bend is not None
    jacobian = float(np.linalg.det(f))
    total = tangent[0] + bend[0] / volume
    moduli = np.einsum("iJkL,jJ,lL->ijkl", total, f, f) / jacobian
    if t > 0.0:
        entropy = float(vibrations.entropy(f[None], t)[0])
    else:
        entropy = -np.inf if statistics == "classical" else 0.0
    # dS/de in the crystal's own strains, which is all of it.
    if statistics == "classical":
        slope = -expansion.evaluate(f[None], temperature=1.0)[1][0] @ f.T
    else:
        basis = symmetric_strains(vibrations.crystal)
        states = np.array([(np.eye(3) + k * STEP * b) @ f for b in basis for k in (-2, -1, 1, 2)])
        s = vibrations.entropy(states, t).reshape(-1, 4)
        along = s @ np.array([1.0, -8.0, 8.0, -1.0]) / (12.0 * STEP)
        slope = np.einsum("k,kij->ij", along, basis)
    alpha = np.zeros(6)
    active = mandel_components(crystal)
    stiffness = _mandel_matrix(moduli)[np.ix_(active, active)]
    push = mandel(0.5 * (slope + slope.T)[None])[0, active] / (jacobian * volume)
    alpha[active] = np.linalg.solve(stiffness, push)
    return ThermalLattice(
        crystal=crystal,
        vibrations=vibrations,
        temperature=t,
        deformation=f,
        shifts=rule.relaxed_shifts(f[None])[0],
        static_energy=float(w[0]) * volume,
        vibrational_energy=float(energy[0]),
        entropy=entropy,
        heat_capacity=float(vibrations.heat_capacity(f[None], t)[0]),
        moduli=moduli,
        thermal_expansion=from_mandel(alpha[None])[0],
        expansion=expansion,
    )


def _mandel_matrix(moduli: Array) -> Array:
    """Return moduli with minor symmetries as a (6, 6) matrix over Mandel vectors."""
    basis = from_mandel(np.eye(6))
    return np.einsum("aij,ijkl,bkl->ab", basis, moduli, basis)


def symmetric_strains(crystal: Crystal) -> Array:
    """Orthonormal symmetric strains that keep a crystal's symmetry, (n, 3, 3)."""
    projector = strain_symmetry(crystal).mean(axis=0)
    active = np.zeros(6)
    active[mandel_components(crystal)] = 1.0
    projector = active[:, None] * projector * active
    values, vectors = np.linalg.eigh(0.5 * (projector + projector.T))
    return from_mandel(vectors[:, values > 0.5].T)


def right_stretch(f: Array) -> Array:
    """Return U of the polar decomposition ``f = R U`` (3, 3), symmetric."""
    _, s, vt = np.linalg.svd(f)
    return np.asarray(vt.T @ np.diag(s) @ vt)


def _settle(vibrations: LatticeVibrations, t: float) -> Array:
    """Newton's method for G in the crystal's own strains, by differences of f_vib."""
    basis, volume = symmetric_strains(vibrations.crystal), vibrations.crystal.volume
    n = len(basis)
    thermal = units.kB * t if vibrations.statistics == "classical" else 1.0
    pairs = [(a, b) for a in range(n) for b in range(a, n)]
    ways = np.array([basis[a] + basis[b] if a != b else basis[a] for a, b in pairs])
    f = np.eye(3)
    for _ in range(60):
        _, stress, tangent = vibrations.rule.evaluate(f[None], tangent=True)
        assert tangent is not None
        moves = basis @ f
        gradient = volume * np.einsum("kij,ij->k", moves, stress[0])
        hessian = volume * np.einsum("aij,ijkl,bkl->ab", moves, tangent[0], moves)
        if t > 0.0 or vibrations.statistics == "quantum":
            points = [(np.eye(3) + s * STEP * way) @ f for way in ways for s in (-2, -1, 1, 2)]
            try:
                if vibrations.statistics == "classical":
                    g = vibrations.log_frequencies(np.array([f, *points]))
                else:
                    g = vibrations.free_energy(np.array([f, *points]), t)
            except NonFiniteError as error:
                raise ConvergenceError(
                    f"{vibrations.crystal.name} has no lattice without stress at {t:g} K: it "
                    "expands until a vibration is unstable"
                ) from error
            middle, rest = thermal * g[0], thermal * g[1:].reshape(-1, 4)
            slope = rest @ np.array([1.0, -8.0, 8.0, -1.0]) / (12.0 * STEP)
            bend = (rest @ np.array([-1.0, 16.0, 16.0, -1.0]) - 30.0 * middle) / (12.0 * STEP**2)
            own = {pair: k for k, pair in enumerate(pairs)}
            for (a, b), k in own.items():
                if a == b:
                    gradient[a] += slope[k]
                    hessian[a, a] += bend[k]
                else:
                    mixed = 0.5 * (bend[k] - bend[own[a, a]] - bend[own[b, b]])
                    hessian[a, b] += mixed
                    hessian[b, a] += mixed
        values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
        # Uphill curvature: the nearest minimum lies downhill.
        step = -vectors @ ((vectors.T @ gradient) / np.maximum(np.abs(values), 1e-3))
        size = float(np.abs(step).max())
        f = (np.eye(3) + np.einsum("k,kij->ij", step * min(1.0, LONGEST / size), basis)) @ f
        f = right_stretch(f)
        if size < SETTLED:
            if values.min() <= 0.0:
                break
            return f
    raise ConvergenceError(
        f"no {vibrations.crystal.name} lattice without stress was found at {t:g} K"
    )


def _polish(vibrations: LatticeVibrations, expansion: FreeEnergyExpansion) -> Array:
    """Return the deformation without stress of W and the polynomial, to round-off."""
    basis, volume = symmetric_strains(vibrations.crystal), vibrations.crystal.volume
    f = expansion.reference.copy()
    for _ in range(8):
        _, stress, tangent = vibrations.rule.evaluate(f[None], tangent=True)
        _, more, bend = expansion.evaluate(f[None], tangent=True)
        assert tangent is not None
        assert bend is not None
        moves = basis @ f
        gradient = np.einsum("kij,ij->k", moves, stress[0] + more[0] / volume)
        total = tangent[0] + bend[0] / volume
        hessian = np.einsum("aij,ijkl,bkl->ab", moves, total, moves)
        step = -np.linalg.solve(hessian, gradient)
        f = (np.eye(3) + np.einsum("k,kij->ij", step, basis)) @ f
        if np.abs(step).max() < 1e-14:
            break
    return np.asarray(0.5 * (f + f.T))
