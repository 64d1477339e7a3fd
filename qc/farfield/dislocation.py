"""Volterra dislocations and their sums as far fields."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qc.errors import ConvergenceError, InputError
from qc.farfield.elastic import elastic_tensor, is_monolayer
from qc.farfield.field import Array, FarField
from qc.farfield.volterra import CrystalMap, VolterraField
from qc.numerics.checks import check_deformation, check_finite, check_points, kind
from qc.numerics.fingerprint import fingerprint

# Where no self-consistent position exists, within about one Burgers vector of a core, the field is
# evaluated at the reference position; beyond this many that would hide a fault.
_CORE_FALLBACK = 2.0


class DislocationField(FarField):
    """What one dislocation and a sum of them share: the far-field protocol.

    With ``self_consistent`` the elastic displacement is a function of current positions,

        y = Fbar y',   y' = X + u(y'),   F0 = Fbar (I - grad u)^-1,

    so that neighbours across a cut, whose reference positions differ by a lattice vector of the
    slipped crystal, see the same strain. Otherwise ``y' = X + u(X)``, ``F0 = Fbar (I + grad u)``:
    the field as textbooks give it, with a mismatch ``(grad u) b`` all along the cut.

    Near a core the self-consistent equation has no unique solution. An atom for which none is
    found outside the core radius (about ``|b| / 2``) is placed by the textbook field instead; such
    atoms lie within about ``|b|`` of the core in the reference crystal. Gradients are bounded, so
    that F0 is finite and has a positive determinant everywhere, cores included.

    Source: V. Ehrlacher, C. Ortner, A. V. Shapeev, Arch. Ration. Mech. Anal. 222 (2016) 1217.
    """

    self_consistent: bool

    @property
    @abstractmethod
    def dislocations(self) -> tuple[VolterraDislocation, ...]:
        """The dislocations the field is the sum of."""

    @property
    @abstractmethod
    def mean_deformation(self) -> Array:
        """(3, 3): the homogeneous part Fbar, outermost; it also carries the period along z."""

    def with_mean_deformation(self, deformation: ArrayLike) -> DislocationSum:
        """Return the same dislocations under another homogeneous deformation."""
        return DislocationSum(self.dislocations, deformation)

    @property
    def cores(self) -> Array:
        """(k, 3) Angstrom: reference positions of the dislocations, at z = 0."""
        return np.array([[*one.position, 0.0] for one in self.dislocations])

    @property
    def glide(self) -> Array | None:
        """(3,) Angstrom: the first Burgers vector with a part across the line; None for screws."""
        for one in self.dislocations:
            if np.hypot(*one.burgers[:2]) > 1e-6 * np.linalg.norm(one.burgers):
                return one.burgers
        return None

    def displacement(self, positions: ArrayLike) -> Array:
        """Return ``y - X`` at reference positions, (n, 3) Angstrom.

        Raises
        ------
        InputError
            Positions are not (n, 3) finite numbers.
        ConvergenceError
            No current position was found for a point that is not in a core.
        """
        points = check_points(positions, "positions")
        current = points + self._elastic_displacement(points)
        return current @ self.mean_deformation.T - points

    def gradient(self, positions: ArrayLike) -> Array:
        """Return ``F0 - I`` at reference positions, (n, 3, 3), without any jump at a cut."""
        points = check_points(positions, "positions")
        if self.self_consistent:
            return self._total(
                self._inner(points[:, :2] + self._elastic_displacement(points)[:, :2])
            )
        return self._total(np.eye(3) + self._map.gradient(points[:, :2]))

    def gradient_at(self, current: ArrayLike) -> Array:
        """Return ``F0 - I`` where the current position is ``current``, (n, 3, 3)."""
        y = check_points(current, "current positions")
        y = (y @ np.linalg.inv(self.mean_deformation).T)[:, :2]
        if self.self_consistent:
            return self._total(self._inner(y))
        angles = self._angles(y)
        start = y - self._map.displacement(y, angles)[:, :2]
        reference, _ = self._map.solve(y, angles, start, -1.0)
        return self._total(np.eye(3) + self._map.gradient(reference))

    def slip(self, start: ArrayLike, end: ArrayLike) -> Array:
        """Return the slip (n, 3) of reference edges: the sum of +-b over the cuts they cross.

        For neighbours across a cut far behind its core,
        ``y(end) - y(start) = F0 (end - start + slip(start, end))`` up to the second gradient.
        """
        from_, to = check_points(start, "start"), check_points(end, "end")
        if from_.shape != to.shape:
            raise InputError(f"start {from_.shape} and end {to.shape} differ in shape")
        total = np.zeros_like(from_)
        for one in self.dislocations:
            crossings = one.field.crossings(from_[:, :2] - one.position, to[:, :2] - one.position)
            total += crossings[:, None] * one.burgers
        return total

    @property
    def current_cores(self) -> Array:
        """(k, 2) Angstrom: where the cores are in the deformed crystal, on the plane z = 0.

        Positions of dislocations are reference positions; each core is carried along by the
        fields of the others and by the mean deformation.
        """
        return self._map.cores @ self.mean_deformation[:2, :2].T

    def fingerprint(self) -> str:
        """Return a hash of everything the field depends on."""
        parts = [
            part
            for one in self.dislocations
            for part in (one.elastic, one.burgers, one.position, one.cut_direction)
        ]
        return fingerprint(
            "DislocationField", [self.self_consistent, self.mean_deformation, *parts]
        )

    @cached_property
    def _reference_cores(self) -> Array:
        return np.array([one.position for one in self.dislocations])

    @cached_property
    def _map(self) -> CrystalMap:
        fields = tuple(one.field for one in self.dislocations)
        reference = CrystalMap(fields, self._reference_cores)
        if not self.self_consistent:
            return reference
        return CrystalMap(fields, reference.place_cores())

    def _angles(self, points: Array) -> Array:
        """Return which sheet of each dislocation's field in-plane reference points are on."""
        return np.array([one.field.angles(points - one.position) for one in self.dislocations])

    def _elastic_displacement(self, points: Array) -> Array:
        """Return ``y' - X`` before the mean deformation, (n, 3)."""
        x = points[:, :2]
        angles = self._angles(x)
        textbook = CrystalMap(self._map.fields, self._reference_cores).displacement(x, angles)
        if not self.self_consistent:
            return textbook
        y, found = self._map.solve(x, angles, x + textbook[:, :2], 1.0)
        if not found.all():
            self._check_lost(x[~found])
        return np.where(found[:, None], self._map.displacement(y, angles), textbook)

    def _check_lost(self, x: Array) -> None:
        """Raise unless every point without a self-consistent position lies in a core."""
        distance = np.array(
            [np.hypot(*(x - one.position).T) / one.length for one in self.dislocations]
        )
        k = int(distance.min(axis=0).argmax())
        if distance[:, k].min() > _CORE_FALLBACK:
            raise ConvergenceError(
                f"no self-consistent position for the reference point {x[k].tolist()}, "
                f"{distance[:, k].min():.2f} Burgers vectors from dislocation "
                f"{distance[:, k].argmin()}"
            )

    def _inner(self, y: Array) -> Array:
        """Return ``(I - grad u)^-1`` at in-plane current positions (n, 2) before Fbar."""
        gradient = self._map.gradient(y)
        # Below one the inverse exists and is orientation preserving; only overlapping cores and
        # the inside of a core radius come near.
        norm = np.linalg.norm(gradient, axis=(1, 2))
        gradient *= np.minimum(1.0, 0.75 / np.maximum(norm, 1e-300))[:, None, None]
        return np.asarray(np.linalg.inv(np.eye(3) - gradient), dtype=np.float64)

    def _total(self, inner: Array) -> Array:
        return self.mean_deformation @ inner - np.eye(3)


class VolterraDislocation(DislocationField):
    """A straight dislocation of any character along z, in anisotropic elasticity.

    Parameters
    ----------
    elastic : (3, 3, 3, 3) or (6, 6) array_like, eV/Angstrom^3
        Stiffness of the undeformed crystal in Cartesian axes; see `elastic_tensor`.
    burgers : (3,) array_like, Angstrom
        The displacement grows by this vector once around the line, counterclockwise about +z.
    position : (2,) array_like, Angstrom
        Reference position of the core in the xy plane; between lattice sites.
    cut_direction : (2,) array_like
        In-plane direction from the core along the half line where the displacement jumps; it is
        normalised. It must lie in the glide plane, along the in-plane part of ``burgers``: any
        other cut of an edge dislocation opens a gap or an overlap in the reference crystal.
    self_consistent : bool
        Evaluate the field at current positions; see `DislocationField`. The textbook field
        (False) takes any cut.

    Raises
    ------
    InputError
        NaN, a wrong shape, a zero Burgers vector, a cut outside the glide plane, an elastic
        tensor that is not positive definite, or an out-of-plane Burgers vector in a monolayer.

    Notes
    -----
    The displacement is fixed up to a rigid translation: it is ``+-b/2`` on the two sides of the
    cut far away plus a logarithm that vanishes about one Burgers vector from the core.
    """

    def __init__(
        self,
        elastic: ArrayLike,
        burgers: ArrayLike,
        position: ArrayLike = (0.0, 0.0),
        cut_direction: ArrayLike = (-1.0, 0.0),
        *,
        self_consistent: bool = True,
    ):
        self.elastic = elastic_tensor(elastic)
        self.burgers = _vector(burgers, 3, "burgers")
        self.position = _vector(position, 2, "position")
        cut = _vector(cut_direction, 2, "cut_direction")
        self.length = float(np.linalg.norm(self.burgers))
        if self.length < 1e-6:
            raise InputError(f"burgers must not be zero: {self.burgers.tolist()}")
        if not np.hypot(*cut) > 0.0:
            raise InputError("cut_direction must not be zero")
        self.cut_direction = cut / np.hypot(*cut)
        self.self_consistent = bool(self_consistent)
        if is_monolayer(self.elastic) and abs(self.burgers[2]) > 1e-9 * self.length:
            raise InputError(f"burgers {self.burgers.tolist()} leaves the plane of a monolayer")
        across = abs(np.cross([*self.cut_direction, 0.0], [*self.burgers[:2], 0.0])[2])
        if self.self_consistent and across > 1e-6 * self.length:
            raise InputError(
                f"cut_direction {self.cut_direction.tolist()} is not in the glide plane of burgers "
                f"{self.burgers.tolist()}; use its in-plane direction "
                f"{(-self.burgers[:2] / np.hypot(*self.burgers[:2])).round(6).tolist()} or the "
                "opposite"
            )
        for array in (self.elastic, self.burgers, self.position, self.cut_direction):
            array.setflags(write=False)
        self.field = VolterraField(self.elastic, self.burgers, self.cut_direction)

    def __repr__(self) -> str:
        return (
            f"VolterraDislocation(burgers={self.burgers.tolist()}, "
            f"position={self.position.tolist()}, cut_direction={self.cut_direction.tolist()})"
        )

    @property
    def dislocations(self) -> tuple[VolterraDislocation, ...]:
        """The dislocation itself."""
        return (self,)

    @property
    def mean_deformation(self) -> Array:
        """(3, 3): the identity; see `with_mean_deformation`."""
        return np.eye(3)

    @property
    def core_radius(self) -> float:
        """Angstrom: where the displacement gradient reaches one half."""
        return self.field.core_radius

    @property
    def energy_prefactor(self) -> float:
        """eV/Angstrom: K in the elastic energy per length, ``K log(R / r)``.

        Source: Bacon, Barnett, Scattergood, Prog. Mater. Sci. 23 (1979) 51.
        """
        return self.field.energy_prefactor()

    def moved(self, position: ArrayLike) -> VolterraDislocation:
        """Return the dislocation with its core at another reference position.

        The cut goes along: glide by a vector of the cut slips the sites in between.
        """
        return VolterraDislocation(
            self.elastic,
            self.burgers,
            position,
            self.cut_direction,
            self_consistent=self.self_consistent,
        )


class DislocationSum(DislocationField):
    """Several dislocations under one homogeneous deformation.

    Parameters
    ----------
    dislocations : iterable of VolterraDislocation
        At least one; all with the same ``self_consistent``.
    mean_deformation : (3, 3) array_like, optional
        Fbar, applied outermost; the identity by default.

    Raises
    ------
    InputError
        No dislocations, a mixture of self-consistent and textbook ones, two cores within one core
        radius, or an unusable deformation.
    """

    def __init__(
        self,
        dislocations: Iterable[VolterraDislocation],
        mean_deformation: ArrayLike | None = None,
    ):
        kind("dislocations", dislocations, Iterable)
        members: tuple[Any, ...] = tuple(dislocations)
        if not members:
            raise InputError("a sum of dislocations needs at least one")
        for k, one in enumerate(members):
            if not isinstance(one, VolterraDislocation):
                raise InputError(
                    f"item {k} of a dislocation sum is a {type(one).__name__}, not a "
                    "VolterraDislocation"
                )
            if one.self_consistent != members[0].self_consistent:
                raise InputError("a sum mixes self-consistent and textbook dislocations")
        self._dislocations: tuple[VolterraDislocation, ...] = members
        self.self_consistent = members[0].self_consistent
        matrix = np.eye(3) if mean_deformation is None else mean_deformation
        self._mean_deformation = check_deformation(matrix, "mean_deformation")
        _ = self._map

    def __repr__(self) -> str:
        return f"DislocationSum({list(self._dislocations)})"

    @property
    def dislocations(self) -> tuple[VolterraDislocation, ...]:
        """The dislocations, in the order given."""
        return self._dislocations

    @property
    def mean_deformation(self) -> Array:
        """(3, 3): Fbar, read-only."""
        return self._mean_deformation

    @property
    def burgers(self) -> Array:
        """(3,) Angstrom: the sum of the Burgers vectors; zero for a dipole."""
        return np.sum([one.burgers for one in self._dislocations], axis=0)

    def moved(self, positions: ArrayLike) -> DislocationSum:
        """Return the sum with its cores at other reference positions, (k, 2)."""
        where = check_finite(positions, "positions")
        if where.shape != (len(self._dislocations), 2):
            raise InputError(
                f"positions must have shape ({len(self._dislocations)}, 2), not {where.shape}"
            )
        moved = [one.moved(p) for one, p in zip(self._dislocations, where, strict=True)]
        return DislocationSum(moved, self._mean_deformation)


def _vector(numbers: ArrayLike, size: int, name: str) -> Array:
    values = check_finite(numbers, name)
    if values.shape != (size,):
        raise InputError(f"{name} must have shape ({size},), not {values.shape}")
    return values
