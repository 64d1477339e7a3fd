"""The field of one straight dislocation in its own frame, and the map it makes of the crystal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qc.errors import InputError
from qc.farfield.field import Array
from qc.farfield.stroh import ComplexArray, StrohSolution, solve_stroh

# Frobenius norm of grad u at the core radius: outside, u is a contraction and I - grad u regular.
_CORE_GRADIENT = 0.5


@dataclass(frozen=True, eq=False)
class VolterraField:
    """Displacement and gradient of a Volterra dislocation through the origin, along z.

    Points are in-plane Cartesian vectors from the core, (n, 2) Angstrom. The displacement is many
    valued; which value is meant is said by a reference angle, from `angles` of the point's
    reference position, and the value on the sheet nearest to that angle is returned. A reference
    position decides on which side of the cut its atom is, and an iteration on the current
    position cannot hop across.

    Parameters
    ----------
    elastic : (3, 3, 3, 3) or (6, 6) array_like, eV/Angstrom^3
    burgers : (3,) ndarray, Angstrom
        Growth of u once around the line, counterclockwise about +z.
    cut_direction : (2,) ndarray
        Unit vector from the core along the half line where u jumps.

    Attributes
    ----------
    core_radius : float, Angstrom
        Where ``|grad u| = 1/2`` (Frobenius) in the worst direction; about half of ``|b|``. Within
        half of it fields are those at half of it on the same ray, so that they are finite.
    """

    elastic: Any
    burgers: Array
    cut_direction: Array
    stroh: StrohSolution = field(init=False, repr=False)
    core_radius: float = field(init=False)
    _d: ComplexArray = field(init=False, repr=False)
    _length: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        stroh = solve_stroh(self.elastic, self.cut_direction)
        set_ = object.__setattr__
        set_(self, "stroh", stroh)
        set_(self, "_d", stroh.amplitudes(self.burgers))
        set_(self, "_length", float(np.linalg.norm(self.burgers)))
        set_(self, "core_radius", 0.0)
        angle = np.linspace(-np.pi, np.pi, 361)
        ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        worst = np.linalg.norm(self.gradient(ring), axis=(1, 2)).max()
        set_(self, "core_radius", float(worst) / _CORE_GRADIENT)

    def angles(self, points: Array) -> Array:
        """Return the polar angle (n,) of points from the direction ahead of the core.

        In [-pi, pi]; +pi and -pi are the two sides of the cut, and a point on the cut itself
        belongs to +pi.
        """
        x, y = self._local(points)
        return np.arctan2(y, x)

    def displacement(self, points: Array, angle: Array) -> Array:
        """Return u on the sheet nearest to each reference ``angle`` (n,), as (n, 3) Angstrom."""
        x, y = self._local(points)
        x, y, _ = self._out_of_core(x, y)
        z = x[:, None] + y[:, None] * self.stroh.p
        # Lengths in units of b: the far field's rigid part then does not depend on the unit.
        u = (np.log(z / self._length) @ self._d.T).imag
        # One turn changes every log by 2 pi i and u by b, exactly.
        turns = np.round((angle - np.arctan2(y, x)) / (2.0 * np.pi))
        return u + turns[:, None] * self.burgers

    def gradient(self, points: Array) -> Array:
        """Return grad u, (n, 3, 3), index order ``[n, i, j] = du_i/dx_j``; it has no jump."""
        x, y = self._local(points)
        x, y, _ = self._out_of_core(x, y)
        inverse = 1.0 / (x[:, None] + y[:, None] * self.stroh.p)
        ahead = (inverse @ self._d.T).imag
        above = ((self.stroh.p * inverse) @ self._d.T).imag
        frame = self.stroh.frame
        return ahead[:, :, None] * frame[0] + above[:, :, None] * frame[1]

    def energy_prefactor(self) -> float:
        """Return ``K`` in the energy per length ``K log(R / r)``, eV/Angstrom."""
        return float(self.burgers @ self.stroh.energy_tensor() @ self.burgers / (4.0 * np.pi))

    def crossings(self, start: Array, end: Array) -> Array:
        """Return how often segments cross the cut, (n,): +1 upwards (where u grows), -1, or 0."""
        x0, y0 = self._local(start)
        x1, y1 = self._local(end)
        upper0, upper1 = y0 >= 0.0, y1 >= 0.0
        changes = upper0 != upper1
        rise = np.where(changes, y1 - y0, 1.0)
        behind = changes & (x0 - y0 * (x1 - x0) / rise < 0.0)
        return np.where(behind, upper1.astype(float) - upper0, 0.0)

    def _local(self, points: Array) -> tuple[Array, Array]:
        frame = self.stroh.frame
        # Adding zero turns -0.0, the other side of the cut for log and arctan2, into 0.0.
        return points @ frame[0, :2] + 0.0, points @ frame[1, :2] + 0.0

    def _out_of_core(self, x: Array, y: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Move points that are too near to the singularity outwards, along their ray."""
        least = 0.5 * self.core_radius
        r = np.hypot(x, y)
        inside = r < least
        if not inside.any():
            return x, y, inside
        centre = r == 0.0
        factor = np.where(inside, least / np.where(centre, 1.0, r), 1.0)
        return np.where(centre, least, x * factor), y * factor, inside


@dataclass(frozen=True, eq=False)
class CrystalMap:
    """The in-plane part of ``target = v - sign * u(v)``, solved for v, for a sum of fields.

    ``sign = 1`` is a field of current positions, ``y = X + u(y)``: the target is X, v is y.
    ``sign = -1`` inverts a field of reference positions, ``y = X + u(X)``: the target is y.

    Parameters
    ----------
    fields : tuple of VolterraField
    cores : (k, 2) ndarray, Angstrom
        Where each field is centred, in the space of v.
    """

    fields: tuple[VolterraField, ...]
    cores: Array

    def displacement(self, points: Array, angles: Array) -> Array:
        """Return the sum of the fields at in-plane points (n, 2); ``angles`` is (k, n)."""
        total = np.zeros((len(points), 3))
        for one, core, angle in zip(self.fields, self.cores, angles, strict=True):
            total += one.displacement(points - core, angle)
        return total

    def gradient(self, points: Array) -> Array:
        """Return the sum of the gradients at in-plane points (n, 2), as (n, 3, 3)."""
        total = np.zeros((len(points), 3, 3))
        for one, core in zip(self.fields, self.cores, strict=True):
            total += one.gradient(points - core)
        return total

    def solve(
        self, target: Array, angles: Array, start: Array, sign: float
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return v (n, 2) by Newton's method and whether each point converged outside all cores.

        Source: V. Ehrlacher, C. Ortner, A. V. Shapeev, Arch. Ration. Mech. Anal. 222 (2016) 1217,
        for the need to evaluate the field at deformed positions.
        """
        v = start.copy()
        done = np.zeros(len(v), dtype=bool)
        longest_step = 0.5 * min(one._length for one in self.fields)
        tolerance = 1e-12 + 4e-16 * np.abs(target).max(initial=0.0)
        active = np.arange(len(v))
        for _ in range(40):
            if not len(active):
                break
            at = v[active]
            residual = at - target[active]
            residual -= sign * self.displacement(at, angles[:, active])[:, :2]
            j = np.eye(2) - sign * self.gradient(at)[:, :2, :2]
            determinant = j[:, 0, 0] * j[:, 1, 1] - j[:, 0, 1] * j[:, 1, 0]
            # A fold of the map, only ever met in a core: any finite step will do there.
            determinant = np.where(np.abs(determinant) < 1e-3, 1e-3, determinant)
            step = np.empty_like(residual)
            step[:, 0] = j[:, 1, 1] * residual[:, 0] - j[:, 0, 1] * residual[:, 1]
            step[:, 1] = j[:, 0, 0] * residual[:, 1] - j[:, 1, 0] * residual[:, 0]
            step /= determinant[:, None]
            size = np.hypot(step[:, 0], step[:, 1])
            step *= np.minimum(1.0, longest_step / np.maximum(size, 1e-300))[:, None]
            converged = np.abs(residual).max(axis=1) <= tolerance
            done[active[converged]] = True
            active = active[~converged]
            v[active] -= step[~converged]
        for one, core in zip(self.fields, self.cores, strict=True):
            done &= np.hypot(*(v - core).T) >= one.core_radius
        return v, done

    def place_cores(self) -> Array:
        """Return where the cores are carried by each other's fields, (k, 2) Angstrom.

        ``self.cores`` are reference positions. A core on another one's cut has matter on both
        sides and moves with their mean.

        Raises
        ------
        InputError
            Two cores are so near that their fields have no separate cores.
        """
        reference = self.cores
        n = len(self.fields)
        for k in range(n):
            for j in range(k):
                apart = float(np.hypot(*(reference[k] - reference[j])))
                radius = max(self.fields[k].core_radius, self.fields[j].core_radius)
                if apart < radius:
                    raise InputError(
                        f"dislocations {j} and {k} are {apart:.3g} Angstrom apart, within one core "
                        f"radius of {radius:.3g}: give them as one with the sum of the Burgers "
                        "vectors"
                    )
        sheets = [self._sheets(j) for j in range(n)]
        cores = reference.copy()
        for _ in range(200):
            change = reference - cores
            for j, (one, angles) in enumerate(zip(self.fields, sheets, strict=True)):
                others = np.arange(n) != j
                for angle in angles:
                    u = one.displacement(cores[others] - cores[j], angle[others])
                    change[others] += 0.5 * u[:, :2]
            cores += 0.7 * change
            if np.abs(change).max(initial=0.0) < 1e-11 + 1e-15 * np.abs(cores).max():
                return cores
        raise InputError(
            "the cores of the dislocations are too near to each other to be told apart; give "
            "near ones as one with the sum of the Burgers vectors"
        )

    def _sheets(self, j: int) -> Array:
        """Return the two sheets (2, k) of field j whose mean carries each core."""
        one = self.fields[j]
        x, y = one._local(self.cores - self.cores[j])
        on_cut = (x < 0.0) & (np.abs(y) <= 0.5 * one._length)
        angle = np.arctan2(y, x)
        return np.array([np.where(on_cut, side * np.pi, angle) for side in (1.0, -1.0)])
