"""Remeshing in motion: a run goes on with another mesh or core, and the books stay closed.

Displacements and velocities are interpolated where nodes are new. Where nodes go, their momentum
goes to the corners of the element that they lay in,

    m'_J v'_J = m_J v_J + sum_I N_IJ m_I v_I,

and with lumped masses of nested meshes momentum is conserved both ways. What is left, where the
blend moves and masses are shared out otherwise, is corrected on the nodes concerned.

Energy. A refined mesh has the same displacements, and in the continuum the same potential energy,
but interpolated velocities have less kinetic energy, and atoms have another energy than the
continuum in their place. The difference is given to the nodes around the new ones (or taken from
them) as relative motion, which has no momentum. Where the mesh is coarsened, kinetic and potential
energy of the motion that it cannot carry are gone: they enter the heat field, if there is one, and
the ledger under ``remeshing`` if there is none.

A heat field keeps its temperatures. Sites that become nodes leave it with their share of its
energy, which the new nodes get as motion; sites that cease to be nodes pay for theirs. Where the
outer rim runs otherwise, the heat of the sites between is booked under ``remeshing``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from qc.coupling import QuasiContinuum
from qc.coupling.point_defects import site_key
from qc.coupling.transfer import interpolation, matching_nodes
from qc.dynamics.dynamics import Dynamics
from qc.dynamics.heat.field import HeatField
from qc.dynamics.langevin import Bath
from qc.dynamics.ledger import EnergyLedger
from qc.dynamics.noise import NoiseStream
from qc.errors import InputError
from qc.loads import DeadLoad
from qc.numerics.checks import kind
from qc.solve.model_system import ModelSystem

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Stream of the noise that new degrees of freedom start with.
FRESH = 2**32


def remeshed(
    dynamics: Dynamics,
    model: QuasiContinuum,
    *,
    baths: Sequence[Bath] | None = None,
    field: HeatField | None = None,
    masses: Array | None = None,
    check_timestep: bool = False,
) -> Dynamics:
    """Return a run that goes on with another model of the same crystal.

    Parameters
    ----------
    dynamics : Dynamics
        Of a model; it is left as it is.
    model : QuasiContinuum
        ``dynamics.system.model.rebuilt(core=..., centres=...)``; its displacements are replaced.
    baths : sequence, optional
        Baths over the new nodes; needed where the old ones have a friction or temperature for each
        node, or a field.
    field : HeatField, optional
        Over the new model, with any temperature: it takes over the temperatures of the old one.
        Needed where the run has one.
    masses : (n_nodes,) float64, u, optional
        Of the new nodes. The model's lumped masses by default; needed where the old ones are
        others, `scaled_masses` for instance.
    check_timestep : bool

    Returns
    -------
    Dynamics
        With the step count, seed, drives and ledger of the old one.

    Raises
    ------
    InputError
        No run of a model, a model that differs in more than its regions, or baths, masses or a
        field missing.
    """
    kind("dynamics", dynamics, Dynamics)
    kind("model", model, QuasiContinuum)
    old = dynamics.system.model
    if old is None:
        raise InputError("only runs of a QuasiContinuum model can be remeshed")
    _same(old, model)
    given = _baths(dynamics, baths)
    if (dynamics.field is None) != (field is None):
        raise InputError("give a heat field over the new model, if and only if the run has one")
    old_u, old_v = dynamics.x, dynamics.v
    model.U = old.carried(model, old_u)
    if masses is None and not np.array_equal(dynamics.system.masses, old.node_masses()):
        raise InputError("the run has masses of its own: give those of the new nodes")
    system = ModelSystem(
        model, allow_nonconservative=not dynamics.system.conservative, masses=masses
    )
    change = _Change(old, model, dynamics.system.masses, system.masses)
    v = change.velocities(old_v)
    if field is not None and dynamics.field is not None:
        _take_over(dynamics.field, field)
        change.heat = _heat_lost(dynamics.field, field)
    new = Dynamics(
        system,
        dynamics.timestep,
        baths=given,
        field=field,
        drives=dynamics.drives,
        seed=dynamics.seed,
        conduct_every=dynamics.conduct_every,
        close_field=dynamics.close_field,
        check_timestep=check_timestep,
        step=dynamics.step,
    )
    refined, coarsened = change.missing(old_u, old_v, model.U, v)
    noise = NoiseStream(dynamics.seed, FRESH).normal(dynamics.step, v.shape)
    new.v = change.stirred(v, refined, noise)
    # The books: everything that is not accounted for by now has been removed, or was found.
    total = dynamics.ledger.total
    new.ledger = EnergyLedger.load(dynamics.ledger.dump())
    if field is not None and coarsened != 0.0:
        field.receive(change.shares(field.coupled) * -coarsened)
    stored = 0.0 if field is None else field.total_energy()
    new.ledger.set_state(new.kinetic, new.potential, stored)
    new.ledger.book("remeshing", "remeshing", new.ledger.total - total)
    return new


def _same(old: QuasiContinuum, new: QuasiContinuum) -> None:
    for name, a, b in (
        ("crystal", old.crystal.cell, new.crystal.cell),
        ("crystal", old.crystal.basis, new.crystal.basis),
    ):
        if a.shape != b.shape or not np.array_equal(a, b):
            raise InputError(f"the new model is of another {name}")
    for name, one, other in (
        ("potential", old.potential, new.potential),
        ("far field", old.far_field, new.far_field),
    ):
        if one.fingerprint() != other.fingerprint():
            raise InputError(f"the new model has another {name}")
    if old.layout.n_extra != new.layout.n_extra:
        raise InputError("the new model has another number of extra atoms")
    pairs: list[tuple[str, object, object]] = [
        ("scheme", old.scheme.name, new.scheme.name),
        ("temperature", _heat(old), _heat(new)),
        ("set of point defects", _defects(old), _defects(new)),
        ("set of loads", [type(one) for one in old.loads], [type(one) for one in new.loads]),
        ("material", old.coupling.material.fingerprint(), new.coupling.material.fingerprint()),
    ]
    for name, here, there in pairs:
        if here != there:
            raise InputError(f"the new model has another {name}")


def _heat(model: QuasiContinuum) -> tuple[float, str | None] | None:
    thermal = model.thermal
    return None if thermal is None else (thermal.temperature, thermal.vibrations)


def _defects(model: QuasiContinuum) -> tuple[set[tuple[int, ...]], dict[tuple[int, ...], str]]:
    """Empty sites, and foreign atoms on sites."""
    foreign = dict(model.defects.substitutions or {})
    return (
        {site_key(site) for site in model.defects.vacant},
        {site_key(site): symbol for site, symbol in foreign.items()},
    )


def _baths(
    dynamics: Dynamics, baths: Sequence[Bath] | None
) -> tuple[Bath, ...]:
    if baths is not None:
        names = [bath.name for bath in baths]
        if names != [bath.name for bath in dynamics.baths]:
            raise InputError(f"baths {names} for {[bath.name for bath in dynamics.baths]}")
        return tuple(baths)
    for bath in dynamics.baths:
        if bath.of_nodes:
            raise InputError(f"bath '{bath.name}' belongs to the old nodes: give new baths")
    return dynamics.baths


def _take_over(old: HeatField, new: HeatField) -> None:
    """Temperatures of the nearest old heat node."""
    nearest = cKDTree(old.positions).query(new.positions)[1]
    new.set_temperature(old.temperature[nearest])


class _Parts(NamedTuple):
    """Potential energy in pieces: where they are (n, 3) and what they hold (n,)."""

    positions: Array
    energies: Array


class _Change:
    """Which nodes are new, gone or both, and what that does to momentum and energy."""

    def __init__(
        self, old: QuasiContinuum, new: QuasiContinuum, old_masses: Array, new_masses: Array
    ) -> None:
        self.old, self.new = old, new
        self.m, self.m_new = old_masses, new_masses
        # For every new node the old one, or -1.
        self.before = matching_nodes(new.layout, old.layout)
        self.after = matching_nodes(old.layout, new.layout)
        self.free = new.layout.free
        self.restrict = interpolation(old.layout, new.layout)
        fresh, gone = self.before < 0, self.after < 0
        parents = interpolation(new.layout, old.layout)
        # Old nodes around what is new, and new nodes around what is gone.
        around_fresh = np.asarray(parents[fresh].sum(axis=0)).ravel() > 0.0
        kept = self.before >= 0
        refined = fresh.copy()
        refined[kept] |= around_fresh[self.before[kept]]
        coarsened = np.asarray(self.restrict[gone].sum(axis=0)).ravel() > 0.0
        # Where atoms and continuum change places nodes stay, but their masses do not.
        lighter = np.zeros(len(fresh), dtype=bool)
        lighter[kept] = np.abs(self.m_new[kept] - self.m[self.before[kept]]) > 1e-12 * self.m.max()
        self.refined: Mask = (refined | (lighter & ~coarsened)) & self.free.any(axis=1)
        self.coarsened: Mask = coarsened & ~self.refined
        self.gone = gone
        #: What a heat field lost or found by the change, if there is one.
        self.heat: list[_Parts] = []

    def velocities(self, v: Array) -> Array:
        """Velocities of the new nodes with the momentum of the old ones, (n, 3)."""
        out = self.old.carried(self.new, v) if self.old.crystal.is_bravais else self._plain(v)
        kept = self.before >= 0
        out[kept] = v[self.before[kept]]
        momenta = self.m_new[:, None] * out
        # What went to the corners brings its own velocity.
        moved = self.restrict[self.gone]
        mass = self.m[self.gone]
        lost = moved.T @ (mass[:, None] * v[self.gone])
        momenta += lost - np.asarray(moved.T @ mass)[:, None] * out
        with np.errstate(divide="ignore", invalid="ignore"):
            out = np.where(self.free, momenta / self.m_new[:, None], 0.0)
        # Held nodes carry none, so components that move are balanced one by one.
        changed = self.refined | self.coarsened
        weight = np.where(self.free & changed[:, None], self.m_new[:, None], 0.0)
        missing = self.m @ v - self.m_new @ out
        total = weight.sum(axis=0)
        shift = np.where(total > 0.0, missing / np.maximum(total, 1e-300), 0.0)
        return np.where(weight > 0.0, out + shift, out)

    def _plain(self, v: Array) -> Array:
        """Interpolate velocities by vertices alone: shifts have none of their own."""
        cells = self.old._continuum.cells(v)
        vertex = self.new.layout.site_nodes[:, 0]
        here = self.old.layout.space.interpolation(self.new.layout.space.lattice[vertex])
        out = np.zeros((self.new.layout.n_nodes, 3))
        out[: len(vertex)] = here @ cells
        return np.where(self.free, out, 0.0)

    def missing(self, u: Array, v: Array, u_new: Array, v_new: Array) -> tuple[float, float]:
        """Energy that refining and that coarsening removed, eV; negative where it was found."""
        places = self.new.layout.node_positions
        changed = np.nonzero(self.refined | self.coarsened)[0]
        if not len(changed):
            # All that can differ is what a field lost by another mesh of its own.
            return 0.0, float(sum(part.energies.sum() for part in self.heat))
        tree, kind = cKDTree(places[changed]), self.refined[changed]

        def split(parts: _Parts) -> Array:
            fine = kind[tree.query(parts.positions)[1]]
            return np.array([parts.energies[fine].sum(), parts.energies[~fine].sum()])

        out = np.zeros(2)
        for model, masses, x, speeds, sign in (
            (self.old, self.m, u, v, 1.0),
            (self.new, self.m_new, u_new, v_new, -1.0),
        ):
            for parts in _pieces(model, masses, x, speeds):
                out += sign * split(parts)
        for part in self.heat:
            out += split(part)
        return float(out[0]), float(out[1])

    def stirred(self, v: Array, energy: float, noise: Array) -> Array:
        """Give the refined nodes energy without momentum, or take it; what cannot be had stays."""
        part = self.free & self.refined[:, None]
        weight = np.where(part, self.m_new[:, None], 0.0)
        total = weight.sum(axis=0)
        if energy == 0.0 or not (total > 0.0).any():
            return v
        middle = (weight * v).sum(axis=0) / np.maximum(total, 1e-300)
        relative = np.where(part, v - middle, 0.0)
        kinetic = 0.5 * float((weight * relative**2).sum())
        if energy < 0.0:
            scale = np.sqrt(max(1.0 + energy / max(kinetic, 1e-300), 0.0))
            return np.where(part, middle + scale * relative, v)
        fresh = np.where(part, noise / np.sqrt(np.maximum(self.m_new, 1e-300))[:, None], 0.0)
        fresh -= np.where(part, (weight * fresh).sum(axis=0) / np.maximum(total, 1e-300), 0.0)
        # Orthogonal to the motion there is, so that energies add up.
        if kinetic > 0.0:
            fresh -= relative * (float((weight * fresh * relative).sum()) / (2.0 * kinetic))
        size = 0.5 * float((weight * fresh**2).sum())
        return v + fresh * np.sqrt(energy / size) if size > 0.0 else v

    def shares(self, coupled: Mask) -> Array:
        """How the heat of coarsening is shared out among the nodes that a field reaches, (n,)."""
        there = self.coarsened & coupled
        if not there.any():
            there = coupled & self.free.any(axis=1)
        weight = np.where(there, self.m_new, 0.0)
        return np.asarray(weight / weight.sum())


def _heat_lost(old: HeatField, new: HeatField) -> list[_Parts]:
    """Heat that the old field has and the new one has not, besides that of sites at the rim.

    With other elements the rim runs otherwise, and sites outside are gone with all they have.
    """
    rim = (old.density or 0.0) * (old.mesh.volumes.sum() - new.mesh.volumes.sum())
    edge = old.boundary
    return [
        _Parts(old.positions, old.energy),
        _Parts(new.positions, -new.energy),
        _Parts(old.positions[edge], -rim * old.temperature[edge] / edge.sum()),
    ]


def _pieces(model: QuasiContinuum, masses: Array, u: Array, v: Array) -> list[_Parts]:
    """Kinetic and potential energy of a model in pieces with their reference positions."""
    layout, terms = model.layout, model.coupling.blended
    nodes = layout.node_positions
    kinetic = 0.5 * masses * np.einsum("ni,ni->n", v, v)
    parts = [_Parts(nodes, kinetic)]
    if terms is None:
        return parts
    sites, _ = terms.atoms.energy_forces(u)
    where = layout.positions[~layout.vacant][terms.atoms.active]
    parts.append(_Parts(where, sites))
    continuum = terms.continuum
    middles = model.mesh.positions[continuum.elements].mean(axis=1)[continuum.point_element]
    parts.append(_Parts(middles, continuum.point_energies(u)))
    dead = np.einsum("ni,ni->n", model.coupling.ghost, u)
    parts.append(_Parts(nodes, dead))
    external = model.coupling.external
    if external is None:
        return parts
    for load in external.loads:
        # A dead load is carried with its energy; that of another is where it pushes.
        if isinstance(load, DeadLoad):
            continue
        energy, forces = load.energy_forces(external.positions + u, external.weights)
        pushed = np.linalg.norm(forces, axis=1)
        if pushed.any():
            parts.append(_Parts(nodes, energy * pushed / pushed.sum()))
    return parts
