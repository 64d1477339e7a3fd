"""Vibrational free energy of a homogeneously deformed crystal, f_vib(F, T), per primitive cell.

Harmonic vibrations about the deformed lattice, with its sublattices where the static energy is
least (the "zero static internal stress approximation": exact in the free energy of symmetric
crystals to first order in the strain). Classical:

    f_vib = k_B T [ sum_branches < ln omega > + n ln(hbar / k_B T) ]
          = k_B T [ < ln det D > / 2 + n ln(hbar / k_B T) ]

with n degrees of freedom in the cell and the mean over the Brillouin zone (quasi-harmonic), or
with the 3x3 self blocks of D in place of D (local: every atom an Einstein oscillator among
neighbours at rest). Quantum: ``k_B T sum < ln 2 sinh(hbar omega / 2 k_B T) >``.

Source: M. Born & K. Huang, Dynamical Theory of Crystal Lattices (1954), sections 4 and 43;
R. LeSar, R. Najafabadi & D. J. Srolovitz, Phys. Rev. Lett. 63 (1989) 624 for the local model;
N. L. Allan, T. H. K. Barron & J. A. O. Bruno, J. Chem. Phys. 105 (1996) 8300 for the shifts;
H. J. Monkhorst & J. D. Pack, Phys. Rev. B 13 (1976) 5188 for the grid.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from ase import units
from numpy.typing import ArrayLike, NDArray

from qc.crystal import Crystal
from qc.crystal.symmetry import point_group
from qc.errors import CapabilityError, InputError, NonFiniteError, suggest
from qc.materials.cauchy_born import CauchyBorn
from qc.materials.force_constants import ForceConstants, force_constants
from qc.materials.phonons import masses_of
from qc.numerics.checks import kind, not_negative
from qc.potentials import Potential

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

Model = Literal["quasi-harmonic", "local"]
Statistics = Literal["classical", "quantum"]

MODELS = ("quasi-harmonic", "local")
STATISTICS = ("classical", "quantum")

#: hbar in eV times ASE's unit of time.
HBAR = units._hbar * units.J * units.s

#: Wave vectors along each axis, by the dimension in which waves run.
GRID = {2: 24, 3: 8}

#: States evaluated at once.
CHUNK = 64


class LatticeVibrations:
    """Harmonic vibrations of a crystal as a function of its deformation.

    Parameters
    ----------
    crystal : Crystal
        Columns move as one along their line, as they do in a model in 2.5D: only waves in the
        plane count, and numbers are per period. A monolayer moves in its plane.
    potential : Potential
        With site energies.
    model : {"quasi-harmonic", "local"}
    statistics : {"classical", "quantum"}
    grid : int, optional
        Wave vectors along each axis, even: the uniform grid then avoids the zone's centre. With
        all its images under the point group it has the crystal's symmetry. By default 8 in space,
        24 in the plane.
    masses : (n_s,) float, u, optional
        Standard atomic masses by default.

    Raises
    ------
    CapabilityError
        The potential has no site energies.
    InputError
        An unknown model or statistics, an odd grid, or masses that are not positive.
    """

    def __init__(
        self,
        crystal: Crystal,
        potential: Potential,
        model: Model = "quasi-harmonic",
        *,
        statistics: Statistics = "classical",
        grid: int | None = None,
        masses: ArrayLike | None = None,
    ) -> None:
        kind("crystal", crystal, Crystal)
        kind("potential", potential, Potential)
        if not potential.has_site_energies:
            raise CapabilityError(
                f"{type(potential).__name__} has no site energies, which vibrations are made of"
            )
        for name, value, known in (
            ("model", model, MODELS),
            ("statistics", statistics, STATISTICS),
        ):
            if value not in known:
                raise InputError(f"{name} of vibrations: '{value}'{suggest(str(value), known)}")
        self.crystal, self.potential = crystal, potential
        self.model, self.statistics = model, statistics
        self.rule = CauchyBorn(crystal, potential)
        waves = GRID[crystal.dim] if grid is None else grid
        if waves < 2 or waves % 2:
            raise InputError(f"grid must be even and at least 2, not {waves}")
        self.grid = int(waves)
        self.masses = masses_of(crystal, masses)
        #: Components of the displacement of an atom.
        self.components = crystal.dim_lattice
        self._waves = symmetric_grid(crystal, self.grid)

    @property
    def n_modes(self) -> int:
        """Degrees of freedom of the primitive cell."""
        return self.components * self.crystal.n_sublattices

    def _dynamical(self, f: Array) -> NDArray[np.complex128]:
        """Matrices (n, n_k, m, m) that vibrations are the eigenvalues of."""
        shifts = self.rule.relaxed_shifts(f)
        found: ForceConstants = force_constants(self.crystal, self.potential, f, shifts)
        if self.crystal.is_columns:
            found = found.folded(2)
        c, ns = self.components, self.crystal.n_sublattices
        if self.model == "local":
            own = found.self_blocks[:, :, :c, :c] / self.masses[:, None, None]
            return np.asarray(0.5 * (own + np.swapaxes(own, 2, 3)), dtype=np.complex128)
        matrices = found.fourier(self._waves)
        keep = (3 * np.arange(ns)[:, None] + np.arange(c)).ravel()
        root = np.repeat(1.0 / np.sqrt(self.masses), c)
        matrices = root[:, None] * matrices[:, :, keep][..., keep] * root
        return np.asarray(0.5 * (matrices + np.conj(np.swapaxes(matrices, 2, 3))))

    def _scale(self) -> float:
        """How often the sum over the second axis of `_dynamical` counts the cell."""
        return 1.0 if self.model == "local" else float(len(self._waves))

    def log_frequencies(self, f: ArrayLike, unstable: Literal["raise", "nan"] = "raise") -> Array:
        """Return the sum over the cell's modes of the mean of ``ln omega``, (n,).

        Parameters
        ----------
        f : (n, 3, 3) float64
            Deformation gradients.
        unstable : {"raise", "nan"}
            What to do where a vibration is unstable.

        Raises
        ------
        NonFiniteError
            A state has an unstable vibration; the message names the row.
        """
        states = _states(f)
        out = np.empty(len(states))
        for first in range(0, len(states), CHUNK):
            matrices = self._dynamical(states[first : first + CHUNK])
            for row, part in enumerate(matrices, start=first):
                try:
                    lower = np.linalg.cholesky(part)
                except np.linalg.LinAlgError:
                    if unstable == "raise":
                        raise NonFiniteError(_unstable(row)) from None
                    out[row] = np.nan
                    continue
                diagonal = np.einsum("kii->ki", lower).real
                out[row] = float(np.log(diagonal).sum()) / self._scale()
        return out

    def frequencies(self, f: ArrayLike) -> Array:
        """Return angular frequencies in ASE's inverse time, (n, n_k, m).

        n_k wave vectors with m modes each, or n_s atoms with 3 each; every one counts alike.

        Raises
        ------
        NonFiniteError
            A state has an unstable vibration; the message names the row.
        """
        return np.asarray(np.sqrt(self._squares(f, "raise")))

    def _squares(self, f: ArrayLike, unstable: Literal["raise", "nan"]) -> Array:
        """Squared frequencies, (n, n_k, m); NaN in all of an unstable state."""
        states = _states(f)
        out = np.concatenate(
            [
                np.linalg.eigvalsh(self._dynamical(states[first : first + CHUNK]))
                for first in range(0, len(states), CHUNK)
            ]
        )
        bad = np.nonzero((out <= 0.0).any(axis=(1, 2)))[0]
        if len(bad) and unstable == "raise":
            raise NonFiniteError(_unstable(int(bad[0])))
        out[bad] = np.nan
        return out

    def reduced(
        self, f: ArrayLike, temperature: float, unstable: Literal["raise", "nan"] = "raise"
    ) -> Array:
        """Return ``f_vib / k_B T``, (n,); classically its dependence on F has no temperature."""
        t = not_negative("temperature", temperature)
        if t == 0.0:
            raise InputError("the reduced free energy needs a temperature above 0")
        if self.statistics == "classical":
            constant = self.n_modes * np.log(HBAR / (units.kB * t))
            return np.asarray(self.log_frequencies(f, unstable) + constant)
        x = 0.5 * HBAR * np.sqrt(self._squares(f, unstable)) / (units.kB * t)
        return (x + np.log1p(-np.exp(-2.0 * x))).sum(axis=(1, 2)) / self._scale()

    def free_energy(self, f: ArrayLike, temperature: float) -> Array:
        """Return f_vib of the primitive cell, (n,) eV, without the static energy.

        Parameters
        ----------
        f : (n, 3, 3) float64
        temperature : float, K
            At 0 K the zero-point energy is left, or nothing in classical statistics.

        Raises
        ------
        InputError
            A temperature that is negative or not finite.
        NonFiniteError
            A state has an unstable vibration; the message names the row.
        """
        t = not_negative("temperature", temperature)
        if t > 0.0:
            return units.kB * t * self.reduced(f, t)
        if self.statistics == "classical":
            return np.zeros(len(_states(f)))
        return 0.5 * HBAR * self.frequencies(f).sum(axis=(1, 2)) / self._scale()

    def entropy(self, f: ArrayLike, temperature: float) -> Array:
        """Return ``-df_vib/dT`` at fixed F, (n,) eV/K."""
        t = not_negative("temperature", temperature)
        if self.statistics == "classical":
            if t == 0.0:
                return np.full(len(_states(f)), -np.inf)
            return units.kB * (self.n_modes - self.reduced(f, t))
        y = self._quanta(f, t)
        with np.errstate(over="ignore", invalid="ignore"):
            each = np.where(y > 700.0, 0.0, y / np.expm1(y)) - np.log1p(-np.exp(-y))
        return units.kB * each.sum(axis=(1, 2)) / self._scale()

    def heat_capacity(self, f: ArrayLike, temperature: float) -> Array:
        """Return the heat capacity at fixed F of the primitive cell, (n,) eV/K."""
        t = not_negative("temperature", temperature)
        if self.statistics == "classical":
            return np.full(len(_states(f)), units.kB * self.n_modes)
        y = self._quanta(f, t)
        with np.errstate(over="ignore", invalid="ignore"):
            each = np.where(y > 700.0, 0.0, (0.5 * y / np.sinh(0.5 * y)) ** 2)
        return units.kB * each.sum(axis=(1, 2)) / self._scale()

    def _quanta(self, f: ArrayLike, t: float) -> Array:
        """``hbar omega / k_B T``; infinite at 0 K."""
        energies = HBAR * self.frequencies(f)
        return energies / (units.kB * t) if t > 0.0 else np.full_like(energies, np.inf)


def monkhorst_pack(n: int, dim: int) -> Array:
    """Return one half of a uniform grid of wave vectors around the zone's centre, (n_k, 3).

    In units of the reciprocal vectors; k and -k, which are alike, count once. For even n the
    centre is not among them. In the plane the third component is 0.

    Source: H. J. Monkhorst & J. D. Pack, Phys. Rev. B 13 (1976) 5188, eq. 3.
    """
    line = (2.0 * np.arange(n) - n + 1.0) / (2.0 * n)
    axes = [line] * dim
    axes[0] = line[line > 0]
    k = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, dim)
    return np.pad(k, ((0, 0), (0, 3 - dim)))


def symmetric_grid(crystal: Crystal, n: int) -> Array:
    """Return the grid of `monkhorst_pack` with its images under the point group, (n_k, 3).

    The grid alone would make strains differ that symmetry makes equal, by its error. One of k and
    -k is kept, and each image once; all of the images of a grid weigh alike.
    """
    k = monkhorst_pack(n, crystal.dim)
    # An operation maps lattice vectors on lattice vectors: reduced coordinates stay over 2 n.
    to_space, back = crystal.inverse_cell.T, crystal.cell.T
    seen: set[bytes] = set()
    out: list[Array] = []
    for rotation in point_group(crystal):
        image = np.rint(2 * n * (k @ to_space @ rotation.T @ back)).astype(np.int64) % (2 * n)
        opposite = -image % (2 * n)
        less = _first_differs(image, opposite)
        half = np.where(less[:, None], image, opposite)
        half = half[np.lexsort(half.T[::-1])]
        key = half.tobytes()
        if key not in seen:
            seen.add(key)
            out.append(half)
    grid = np.concatenate(out).astype(float) / (2 * n)
    return np.asarray(np.where(grid >= 0.5, grid - 1.0, grid))


def _first_differs(a: IntArray, b: IntArray) -> NDArray[np.bool_]:
    """Say which rows of integers come before others in lexical order."""
    out = np.zeros(len(a), dtype=bool)
    open_ = np.ones(len(a), dtype=bool)
    for column in range(a.shape[1]):
        out |= open_ & (a[:, column] < b[:, column])
        open_ &= a[:, column] == b[:, column]
    return out


def _states(f: ArrayLike) -> Array:
    states = np.ascontiguousarray(f, dtype=np.float64).reshape(-1, 3, 3)
    if not np.isfinite(states).all():
        row = int(np.nonzero(~np.isfinite(states).all(axis=(1, 2)))[0][0])
        raise NonFiniteError(f"deformation gradient {row} is not finite")
    return states


def _unstable(row: int) -> str:
    return f"the crystal in state {row} is unstable: a vibration has an imaginary frequency"
