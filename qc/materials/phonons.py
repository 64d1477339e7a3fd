"""Harmonic lattice vibrations from the potential's own bond Hessians."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import units
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import ArrayLike, NDArray

from qc.crystal import Crystal
from qc.errors import InputError
from qc.materials.force_constants import force_constants
from qc.potentials import Potential

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

#: Frequency in THz of an angular frequency of 1 sqrt(eV / (Angstrom^2 u)).
THZ = units.second * 1e-12 / (2 * np.pi)

#: THz; the acoustic branches at the zone's centre, and branches that count as one.
DEGENERATE = 1e-4

#: Points of the Brillouin zone, in the reciprocal vectors of the conventional cell: units of
#: 2 pi / a for cubic crystals, of a* and c* for hcp.
ZONE_POINTS: dict[str, tuple[tuple[str, tuple[float, float, float]], ...]] = {
    "fcc": (("X", (0, 0, 1)), ("L", (0.5, 0.5, 0.5)), ("W", (0.5, 0, 1)), ("K", (0.75, 0.75, 0))),
    "bcc": (("H", (0, 0, 1)), ("N", (0.5, 0.5, 0)), ("P", (0.5, 0.5, 0.5))),
    "hcp": (
        ("Gamma", (0, 0, 0)),
        ("A", (0, 0, 0.5)),
        ("M", (0.5, 0, 0)),
        ("K", (1 / 3, 1 / 3, 0)),
    ),
    "diamond": (
        ("Gamma", (0, 0, 0)),
        ("X", (0, 0, 1)),
        ("L", (0.5, 0.5, 0.5)),
        ("W", (0.5, 0, 1)),
    ),
}

#: The same for any other lattice, in the reciprocal vectors of its primitive cell.
_ANY = (
    ("Gamma", (0, 0, 0)),
    ("b1/2", (0.5, 0, 0)),
    ("b2/2", (0, 0.5, 0)),
    ("b3/2", (0, 0, 0.5)),
    ("(b1+b2+b3)/2", (0.5, 0.5, 0.5)),
)


@dataclass(frozen=True)
class ZonePoint:
    """Vibrations of one wave vector.

    Parameters
    ----------
    name : str
    q : (3,) float64, 1/Angstrom
        Wave vector, 2 pi included, in the crystal's Cartesian axes.
    frequencies : (3 n_s,) float64, THz
        Ascending; an imaginary frequency stands as a negative number.
    longitudinal : (3 n_s,) float64
        Part of the motion along q, averaged over branches of one frequency; NaN at q = 0.
    """

    name: str
    q: Array
    frequencies: Array
    longitudinal: Array


def masses_of(crystal: Crystal, masses: ArrayLike | None = None) -> Array:
    """Return the mass of each sublattice, (n_s,) u, checked; ASE's standard ones by default."""
    if masses is None:
        return np.array([atomic_masses[atomic_numbers[s]] for s in crystal.symbols])
    m = np.asarray(masses, dtype=float)
    n = crystal.n_sublattices
    if m.shape != (n,) or not (np.isfinite(m) & (m > 0)).all():
        raise InputError(f"masses must be {n} positive numbers, not {masses!r}")
    return m


def dynamical_matrix(
    crystal: Crystal,
    potential: Potential,
    q: ArrayLike,
    masses: ArrayLike | None = None,
    deformation: ArrayLike | None = None,
    shifts: ArrayLike | None = None,
) -> ComplexArray:
    """Return the dynamical matrix of a wave vector.

    ``D_st(q) = sum_m Phi_(0s)(mt) exp(i q . (y_(m,t) - y_(0,s))) / sqrt(m_s m_t)`` with the exact
    force constants of `force_constants`. Waves follow the atoms, not the cells.

    Parameters
    ----------
    crystal : Crystal
    potential : Potential
    q : (3,) float, 1/Angstrom
        2 pi included; of the deformed crystal, if it is deformed.
    masses : (n_s,) float, u, optional
        Of the sublattices; standard atomic masses by default.
    deformation : (3, 3) float, optional
        Deformation gradient F; none by default.
    shifts : (n_s, 3) float, Angstrom, optional
        Sublattice shifts, ``y = F (X + B_s) + p_s``; none by default.

    Returns
    -------
    (3 n_s, 3 n_s) complex128, eV/(Angstrom^2 u)
        Hermitian.

    Raises
    ------
    InputError
        A wave vector or mass that is not finite, or a mass that is not positive.
    CapabilityError, NonFiniteError
        As `force_constants`.

    Source: M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954), section 24.
    """
    wave = np.asarray(q, dtype=float)
    if wave.shape != (3,) or not np.isfinite(wave).all():
        raise InputError(f"q must be three finite numbers, not {q!r}")
    m = masses_of(crystal, masses)
    found = force_constants(
        crystal,
        potential,
        None if deformation is None else np.asarray(deformation, dtype=float)[None],
        None if shifts is None else np.asarray(shifts, dtype=float)[None],
    )
    state = np.eye(3) if deformation is None else np.asarray(deformation, dtype=float)
    sites = crystal.basis @ state.T
    if shifts is not None:
        sites = sites + np.asarray(shifts, dtype=float)
    # exp(i q . F X_m), and then from the cells to the atoms.
    matrix = found.fourier(wave @ state @ crystal.cell.T / (2 * np.pi))[0, 0]
    phase = np.repeat(np.exp(1j * sites @ wave), 3)
    matrix = phase.conj()[:, None] * matrix * phase
    weight = np.repeat(1.0 / np.sqrt(m), 3)
    return np.asarray(weight[:, None] * matrix * weight, dtype=np.complex128)


def phonon_frequencies(
    crystal: Crystal,
    potential: Potential,
    q: ArrayLike,
    masses: ArrayLike | None = None,
    name: str = "q",
) -> ZonePoint:
    """Return the vibrations of a wave vector; parameters as in `dynamical_matrix`.

    Raises
    ------
    InputError
        As `dynamical_matrix`.
    """
    wave = np.asarray(q, dtype=float)
    matrix = dynamical_matrix(crystal, potential, wave, masses)
    squares, modes = np.linalg.eigh(0.5 * (matrix + matrix.conj().T))
    frequencies = THZ * np.sign(squares) * np.sqrt(np.abs(squares))
    length = float(np.linalg.norm(wave))
    if length > 0.0:
        motion = modes.T.reshape(len(modes), -1, 3)
        part = (np.abs(motion @ (wave / length)) ** 2).sum(axis=1)
        for k in range(len(part)):
            same = np.abs(frequencies - frequencies[k]) < DEGENERATE
            part[same] = part[same].mean()
    else:
        part = np.full(len(modes), np.nan)
    return ZonePoint(name, wave, frequencies, part)


def zone_points(crystal: Crystal) -> list[tuple[str, Array]]:
    """Return names and wave vectors, 1/Angstrom, of the points that a crystal is known by.

    The zone boundary of fcc, bcc, hcp and diamond; of any other lattice the centre and halves of
    its reciprocal vectors.
    """
    named = ZONE_POINTS.get(crystal.name)
    cell = crystal.cell if named is None else crystal.conventional
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    return [(name, np.array(k, dtype=float) @ reciprocal) for name, k in named or _ANY]


def zone_phonons(
    crystal: Crystal, potential: Potential, masses: ArrayLike | Sequence[float] | None = None
) -> tuple[ZonePoint, ...]:
    """Return the vibrations at the points of `zone_points`."""
    return tuple(
        phonon_frequencies(crystal, potential, q, masses, name) for name, q in zone_points(crystal)
    )
