"""The vibrational free energy as a polynomial in the strain, quick enough for every element.

About a reference deformation F_ref, with ``A = F F_ref^-1`` and ``E = (A^T A - 1) / 2``,

    f_vib / k_B T = g0 + g1 : E + E : g2 : E / 2 + g3 (E, E, E) / 6

which rotations leave alone by construction. Beyond a strain radius r0 (Frobenius norm of E) the
polynomial is not followed: E is replaced by ``E rho(|E|) / |E|`` with

    rho(r) = r                                           r <= r0
    rho(r) = r0 + w tanh((r - r0) / w)                   r >  r0,  w = r0

so that the argument never leaves the ball of radius 2 r0, the free energy stays bounded with two
continuous derivatives, and the force is still its gradient.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
from ase import units
from numpy.typing import ArrayLike, NDArray

from qc.crystal import Crystal
from qc.crystal.symmetry import point_group
from qc.errors import InputError, NonFiniteError
from qc.materials import free_energy_kernels
from qc.materials.cauchy_born import CauchyBorn
from qc.materials.vibration import HBAR, LatticeVibrations
from qc.numerics.checks import not_negative
from qc.numerics.threads import threads_for

Array = NDArray[np.float64]

#: Steps of the differences in E that are tried; the best one counts, order by order.
STEPS = (0.004, 0.008, 0.016)

#: Shorter ones, where the crystal is unstable at these.
SHORTER = (0.002, 0.001)

#: Components of the Mandel vector (xx, yy, zz, yz sqrt 2, xz sqrt 2, xy sqrt 2).
_ROWS = np.array([0, 1, 2, 1, 0, 0])
_COLS = np.array([0, 1, 2, 2, 2, 1])
_ROOT = np.array([1.0, 1.0, 1.0, *[math.sqrt(2.0)] * 3])

#: Central differences on the points -3 .. 3: derivatives 1 and 2 to sixth, 3 to fourth order.
#: Source: B. Fornberg, Math. Comp. 51 (1988) 699, table 1.
_STENCIL = np.array(
    [
        [-1 / 60, 3 / 20, -3 / 4, 0.0, 3 / 4, -3 / 20, 1 / 60],
        [1 / 90, -3 / 20, 3 / 2, -49 / 18, 3 / 2, -3 / 20, 1 / 90],
        [1 / 8, -1.0, 13 / 8, 0.0, -13 / 8, 1.0, -1 / 8],
    ]
)

#: Elements that one thread evaluates before another is awake.
FEW = 2000


def mandel(tensors: Array) -> Array:
    """Return symmetric tensors (n, 3, 3) as vectors (n, 6) of the same norm."""
    return np.asarray(tensors[:, _ROWS, _COLS] * _ROOT)


def from_mandel(vectors: Array) -> Array:
    """Return the symmetric tensors (n, 3, 3) of Mandel vectors (n, 6)."""
    out = np.empty((len(vectors), 3, 3))
    out[:, _ROWS, _COLS] = out[:, _COLS, _ROWS] = vectors / _ROOT
    return out


@dataclass(frozen=True, eq=False)
class FreeEnergyExpansion:
    """The vibrational free energy of a primitive cell about a reference deformation.

    Made by `expand_free_energy`.

    Parameters
    ----------
    reference : (3, 3) float64
        F_ref.
    temperature : float, K
        What `evaluate` takes by default.
    classical : bool
        The polynomial is then that of ``f_vib / k_B T + n ln(k_B T / 1 eV)``, which holds at any
        temperature; otherwise that of ``f_vib / k_B T`` at the one temperature.
    n_modes : int
        Degrees of freedom of the cell.
    value, first, second, third : float, (6,), (6, 6), (6, 6, 6) float64
        Derivatives of the polynomial in the Mandel components of E.
    radius : float
        r0, the norm of E up to which the polynomial is followed.
    errors : (3,) float64
        Estimated errors of the three derivatives: change of the norm between the two best steps
        over the norm (the norm itself where it vanishes).
    truncation : float
        Largest error of the polynomial at half the radius, over the largest change there, on
        random strains.
    """

    reference: Array
    temperature: float
    classical: bool
    n_modes: int
    value: float
    first: Array
    second: Array
    third: Array
    radius: float
    errors: Array
    truncation: float

    def evaluate(
        self,
        f: ArrayLike,
        tangent: bool = False,
        temperature: float | ArrayLike | None = None,
    ) -> tuple[Array, Array, Array | None]:
        """Return f_vib of the primitive cell and its exact derivatives.

        Parameters
        ----------
        f : (n, 3, 3) float64
            Deformation gradients.
        tangent : bool
            Whether the second derivative is wanted.
        temperature : float or (n,) float64, K, optional
            That of the expansion by default; others in classical statistics only.

        Returns
        -------
        energy : (n,) float64, eV
        gradient : (n, 3, 3) float64, eV
            ``df/dF``.
        tangent : (n, 3, 3, 3, 3) float64, eV, or None
            ``d2f / dF_ij dF_kl``.

        Raises
        ------
        InputError
            Another temperature of an expansion in quantum statistics, or one that is negative.
        """
        states = np.ascontiguousarray(f, dtype=np.float64).reshape(-1, 3, 3)
        n = len(states)
        thermal, offset = self._thermal(temperature, n)
        energy, gradient = np.empty(n), np.empty((n, 3, 3))
        moduli = np.empty((n if tangent else 0, 3, 3, 3, 3))
        inverse = np.ascontiguousarray(np.linalg.inv(self.reference))
        with threads_for(n, FEW):
            free_energy_kernels.polynomial(
                states, inverse, thermal, offset, self.value, self.first, self.second,
                self.third, self.radius, free_energy_kernels.room(), energy, gradient, moduli,
            )  # fmt: skip
        return energy, gradient, moduli if tangent else None

    def _thermal(self, temperature: float | ArrayLike | None, n: int) -> tuple[Array, Array]:
        """k_B T of every state, and what the temperature adds to the polynomial."""
        given = self.temperature if temperature is None else temperature
        t = np.array(np.broadcast_to(np.asarray(given, dtype=np.float64), n))
        if not (np.isfinite(t) & (t >= 0.0)).all():
            raise InputError("temperatures must be finite and not negative")
        if not self.classical:
            if (t != self.temperature).any():
                raise InputError(
                    f"the quantum free energy was expanded at {self.temperature} K and holds at no "
                    "other temperature"
                )
            return units.kB * t, np.zeros(n)
        thermal = units.kB * t
        return thermal, -self.n_modes * np.log(np.where(t > 0.0, thermal, 1.0))

    def balanced(self, rule: CauchyBorn) -> FreeEnergyExpansion:
        """Return the expansion with the gradient that leaves the reference without stress.

        Where the lattice at temperature is known better than harmonic vibrations say, from
        molecular dynamics, their free energy lacks a part that is linear in the strain to leading
        order: the one that makes this lattice the one of zero stress.

        Raises
        ------
        InputError
            At 0 K, where vibrations cannot balance anything.
        """
        if self.temperature == 0.0:
            raise InputError("at 0 K no free energy of vibrations balances a strained lattice")
        stress = rule.evaluate(self.reference[None])[1][0]
        s = -rule.crystal.volume * stress @ self.reference.T / (units.kB * self.temperature)
        return replace(self, first=mandel(0.5 * (s + s.T)[None])[0])

    def inside(self, f: ArrayLike) -> NDArray[np.bool_]:
        """Say which states (n, 3, 3) lie within the radius of the expansion, (n,) bool."""
        a = np.asarray(f, dtype=float).reshape(-1, 3, 3) @ np.linalg.inv(self.reference)
        e = 0.5 * (np.swapaxes(a, 1, 2) @ a - np.eye(3))
        return np.asarray(np.sqrt((e**2).sum(axis=(1, 2))) <= self.radius)


def expand_free_energy(
    vibrations: LatticeVibrations,
    reference: ArrayLike,
    temperature: float,
    *,
    order: int = 3,
    radius: float = 0.05,
) -> FreeEnergyExpansion:
    """Expand the vibrational free energy about a deformation.

    Derivatives are central differences of the direct evaluation on seven points along every
    direction that a symmetric tensor needs, with the step swept; strains that the crystal's
    symmetry makes equal are evaluated once.

    Parameters
    ----------
    vibrations : LatticeVibrations
    reference : (3, 3) array_like
    temperature : float, K
        Above 0 in quantum statistics.
    order : {1, 2, 3}
        Highest derivative.
    radius : float
        See the module; less is taken where the crystal is unstable within it.

    Raises
    ------
    InputError
        A temperature of 0 in quantum statistics, or an order or radius that makes no sense.
    NonFiniteError
        The reference itself is unstable.
    """
    t = not_negative("temperature", temperature)
    if t == 0.0 and vibrations.statistics == "quantum":
        raise InputError("the expansion of the quantum free energy needs a temperature above 0")
    if order not in (1, 2, 3):
        raise InputError(f"order of the expansion must be 1, 2 or 3, not {order}")
    if not (np.isfinite(radius) and 0.0 < radius < 0.3):
        raise InputError(f"radius of the expansion must lie between 0 and 0.3, not {radius}")
    f_ref = np.array(reference, dtype=np.float64)
    sample = _Samples(vibrations, f_ref, t)
    value = float(sample(np.zeros((1, 6)))[0])
    if not np.isfinite(value):
        raise NonFiniteError("the reference of the expansion has an unstable vibration")
    active = mandel_components(vibrations.crystal)
    found = [_derivatives(sample, active, h, order) for h in STEPS]
    for h in SHORTER:
        if min(sum(np.isfinite(f[k]).all() for f in found) for k in range(3)) < 2:
            found.insert(0, _derivatives(sample, active, h, order))
    tensors, errors = zip(*(_best([f[k] for f in found]) for k in range(3)), strict=True)
    first, second, third = tensors
    r, truncation = _safe_radius(sample, active, (value, *tensors), radius)
    return FreeEnergyExpansion(
        reference=f_ref,
        temperature=t,
        classical=vibrations.statistics == "classical",
        n_modes=vibrations.n_modes,
        value=value,
        first=first,
        second=second,
        third=third,
        radius=r,
        errors=np.array(errors),
        truncation=truncation,
    )


def mandel_components(crystal: Crystal) -> list[int]:
    """Return the Mandel components that strains of a crystal have."""
    return [0, 1, 5] if crystal.dim_lattice == 2 else [0, 1, 2, 3, 4, 5]


def strain_symmetry(crystal: Crystal) -> Array:
    """Return the crystal's point group as it acts on Mandel vectors of strain, (n, 6, 6)."""
    return _on_strains(point_group(crystal))


def _on_strains(group: Array) -> Array:
    images = np.einsum("gij,ajk,glk->gail", group, from_mandel(np.eye(6)), group)
    # Columns are the images of the unit vectors.
    return np.stack([mandel(one).T for one in images])


class _Samples:
    """What is expanded, at strains about the reference; NaN where a vibration is unstable."""

    def __init__(self, vibrations: LatticeVibrations, f_ref: Array, temperature: float) -> None:
        self.vibrations, self.f_ref, self.temperature = vibrations, f_ref, temperature
        group = point_group(vibrations.crystal)
        # Only what keeps the reference as well makes strains about it equal.
        turned = np.einsum("gij,jk,glk->gil", group, f_ref, group)
        group = group[np.abs(turned - f_ref).max(axis=(1, 2)) < 1e-9]
        self.group = _on_strains(group)
        self.known: dict[tuple[int, ...], float] = {}

    def __call__(self, e: Array) -> Array:
        """Return values at Mandel strains (n, 6)."""
        keys = [self._key(row) for row in e]
        new = {key: row for key, row in zip(keys, e, strict=True) if key not in self.known}
        if new:
            tensors = from_mandel(np.array(list(new.values())))
            values, vectors = np.linalg.eigh(np.eye(3) + 2.0 * tensors)
            stretch = np.einsum("nik,nk,njk->nij", vectors, np.sqrt(values), vectors)
            f, v = stretch @ self.f_ref, self.vibrations
            if v.statistics == "classical":
                g = v.log_frequencies(f, unstable="nan") + v.n_modes * math.log(HBAR)
            else:
                g = v.reduced(f, self.temperature, unstable="nan")
            self.known.update(zip(new, g.tolist(), strict=True))
        return np.array([self.known[key] for key in keys])

    def _key(self, e: Array) -> tuple[int, ...]:
        """One name for all strains that symmetry makes equal."""
        images = np.rint(self.group @ e * 1e9).astype(np.int64)
        return tuple(images[np.lexsort(images.T[::-1])[-1]].tolist())


def _derivatives(
    sample: _Samples, active: list[int], h: float, order: int
) -> tuple[Array, Array, Array]:
    """Tensors of the first three derivatives for one step, by polarisation."""
    directions: dict[tuple[int, ...], int] = {}
    pairs = list(itertools.combinations(active, 2)) if order > 1 else []
    triples = list(itertools.combinations(active, 3)) if order > 2 else []

    def name(*parts: tuple[int, int]) -> tuple[int, ...]:
        row = [0] * 6
        for index, sign in parts:
            row[index] = sign
        return tuple(row)

    wanted = [name((i, 1)) for i in active]
    for i, j in pairs:
        wanted.append(name((i, 1), (j, 1)))
        if order > 2:
            wanted.append(name((i, 1), (j, -1)))
    wanted += [name((i, 1), (j, 1), (k, 1)) for i, j, k in triples]
    for key in wanted:
        directions[key] = len(directions)
    along = np.array(list(directions), dtype=float)
    offsets = np.arange(-3, 4) * h
    points = offsets[None, :, None] * along[:, None, :]
    values = sample(points.reshape(-1, 6)).reshape(len(along), 7)
    d1, d2, d3 = (values @ _STENCIL.T / h ** np.arange(1, 4)).T

    first, second, third = np.zeros(6), np.zeros((6, 6)), np.zeros((6, 6, 6))
    for i in active:
        one = directions[name((i, 1))]
        first[i] = d1[one]
        second[i, i] = d2[one] if order > 1 else 0.0
        third[i, i, i] = d3[one] if order > 2 else 0.0
    for i, j in pairs:
        plus = directions[name((i, 1), (j, 1))]
        second[i, j] = second[j, i] = 0.5 * (d2[plus] - second[i, i] - second[j, j])
        if order > 2:
            minus = directions[name((i, 1), (j, -1))]
            iij = (d3[plus] - d3[minus] - 2.0 * third[j, j, j]) / 6.0
            ijj = (d3[plus] + d3[minus] - 2.0 * third[i, i, i]) / 6.0
            for a, b, c in set(itertools.permutations((i, i, j))):
                third[a, b, c] = iij
            for a, b, c in set(itertools.permutations((i, j, j))):
                third[a, b, c] = ijj
    for i, j, k in triples:
        plus = directions[name((i, 1), (j, 1), (k, 1))]
        mixed = sum(
            third[a, a, b] + third[a, b, b] for a, b in itertools.combinations((i, j, k), 2)
        )
        pure = third[i, i, i] + third[j, j, j] + third[k, k, k]
        for a, b, c in itertools.permutations((i, j, k)):
            third[a, b, c] = (d3[plus] - pure - 3.0 * mixed) / 6.0
    return first, second, third


def _best(found: list[Array]) -> tuple[Array, float]:
    """Return the derivative of the step that its neighbour agrees with best, and how well."""
    best, error = None, np.inf
    for shorter, longer in itertools.pairwise(found):
        change = float(np.linalg.norm(longer - shorter))
        if np.isfinite(change) and change < error:
            best, error = shorter, change
    if best is None:
        raise NonFiniteError("the crystal is unstable at strains of a few parts in a thousand")
    size = float(np.linalg.norm(best))
    return best, error / size if size > 0.0 else error


def _safe_radius(
    sample: _Samples, active: list[int], tensors: tuple[float, Array, Array, Array], radius: float
) -> tuple[float, float]:
    """Shrink the radius until random strains at it are stable; measure the polynomial halfway."""
    rng = np.random.default_rng(0)
    probes = np.zeros((12, 6))
    probes[:, active] = rng.normal(size=(12, len(active)))
    volumetric = np.array([1.0, 1.0, 0.0 if len(active) == 3 else 1.0, 0.0, 0.0, 0.0])
    probes = np.vstack([probes, volumetric, -volumetric])
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    value, first, second, third = tensors
    while not np.isfinite(sample(radius * probes)).all() and radius > 1e-3:
        radius *= 0.7
    e = 0.5 * radius * probes
    exact = sample(e) - value
    model = e @ first + 0.5 * np.einsum("ni,ij,nj->n", e, second, e)
    model += np.einsum("ni,nj,nk,ijk->n", e, e, e, third) / 6.0
    return radius, float(np.abs(model - exact).max() / np.abs(exact).max())
