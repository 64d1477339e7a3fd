"""Copper with a heat field: hot spots, steady gradients, and what they are compared with.

Columns with square axes, so that the outer boundary is a rectangle.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
import scipy.linalg
from ase.data import atomic_masses, atomic_numbers
from ase.units import fs, kB

from qc.coupling import QuasiContinuum
from qc.crystal import fcc
from qc.dynamics import (
    Dynamics,
    FieldBath,
    HeatField,
    Langevin,
    ModelSystem,
    conductivity_from_SI,
    continuum_only,
)
from qc.dynamics.heat.model import field_parts
from qc.materials.force_constants import force_constants
from qc.mesh import LatticeBlock
from tests.physics.energy_conservation.models import material

SI = conductivity_from_SI(1.0)
TIMESTEP = 2.0 * fs

#: Kelvin, of a steady gradient.
MEAN = 300.0

#: Kelvin. Cold, because what is hot expands, and the heat equation knows nothing of that energy.
COLD, RISE = 50.0, 50.0


@lru_cache
def copper(half, core, blend, grading):
    """A rectangle of columns, ``2 half[0]`` by ``2 half[1]`` of them, atoms in the middle."""
    crystal, potential = material("eam")
    crystal = fcc("Cu", crystal.a, x=[1, 0, 0], y=[0, 1, 0], z=[0, 0, 1]).as_columns()
    outer = LatticeBlock((-half[0], -half[1]), half)
    return QuasiContinuum(
        crystal, potential, core=core, blend=blend, outer=outer, grading=grading
    )


def heat_field(model, conductivity, temperature, *, capacity=30.0, size=2.0, where="everywhere",
               factor=None, couple_core=False):  # fmt: skip
    """Return a field of ``capacity`` k_B a site; ``factor`` of middles scales elements' kappa."""
    size *= model.crystal.nearest_neighbour
    parts = field_parts(model, conductivity * SI, capacity * kB, size, where, couple_core)
    kappa = parts.conductivity
    if factor is not None:
        kappa = kappa * factor(parts.mesh.positions[parts.mesh.elements].mean(axis=1))
    return HeatField(parts.mesh, parts.capacity, parts.weights, kappa, temperature, parts.owner)


class Cosines:
    """``c dT/dt = div (kappa grad T)`` on an insulated rectangle, in products of cosines.

    Capacity ``c`` and conductivity are a uniform part and what sits at points, so the mass and
    stiffness matrices are exact, and the solution is a matrix exponential.
    """

    def __init__(self, lengths, thickness, density, points, capacities, areas, modes=14):
        self.k = [np.arange(modes) * np.pi / length for length in lengths]
        self.lengths = np.array(lengths)
        area = thickness * np.prod(lengths)
        norm = np.where(np.arange(modes) > 0, 0.5, 1.0)
        self.norm = area * np.outer(norm, norm).ravel()
        squares = (self.k[0][:, None] ** 2 + self.k[1][None] ** 2).ravel()
        shape, (along, across) = self.shapes(points), self.slopes(points)
        self.mass = density * np.diag(self.norm) + (shape * capacities[:, None]).T @ shape
        self.uniform = np.diag(self.norm * squares)
        volume = (areas * thickness)[:, None]
        self.local = (along * volume).T @ along + (across * volume).T @ across
        self.density, self.points, self.capacities = density, points, capacities

    def shapes(self, x):
        one, two = [np.cos(np.outer(x[:, d] + 0.5 * self.lengths[d], self.k[d])) for d in (0, 1)]
        return (one[:, :, None] * two[:, None]).reshape(len(x), -1)

    def slopes(self, x):
        c, s = [
            [f(np.outer(x[:, d] + 0.5 * self.lengths[d], self.k[d])) for d in (0, 1)]
            for f in (np.cos, np.sin)
        ]
        along = -(s[0] * self.k[0])[:, :, None] * c[1][:, None]
        across = -c[0][:, :, None] * (s[1] * self.k[1])[:, None]
        return along.reshape(len(x), -1), across.reshape(len(x), -1)

    def __call__(self, start, kappa, local, times, at):
        """Temperatures (n_t, n): uniform conductivity ``kappa``, ``local`` more at the points."""
        cells = 200
        axes = [(np.arange(cells) + 0.5) / cells * n - 0.5 * n for n in self.lengths]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
        weight = self.norm[0] / len(grid) * self.density
        load = weight * self.shapes(grid).T @ start(grid)
        load += self.shapes(self.points).T @ (self.capacities * start(self.points))
        rates, modes = scipy.linalg.eigh(kappa * self.uniform + local * self.local, self.mass)
        return np.exp(-np.outer(times, rates)) * (modes.T @ load) @ (self.shapes(at) @ modes).T


def spot(width):
    return lambda x: COLD + RISE * np.exp(-0.5 * (x[:, :2] ** 2).sum(axis=1) / width**2)


def solution(model, field, width, capacity=30.0):
    """Return the independent solution at the heat nodes: a function of kappa, kappa_n and time."""
    crystal, at = model.crystal, model.layout.node_positions[:, :2]
    lengths = np.ptp(model.mesh.positions[:, :2], axis=0)
    free = model.layout.free.sum(axis=1)
    equation = Cosines(
        lengths, crystal.cell[2, 2], capacity * kB / crystal.site_volume, at, kB * free,
        crystal.site_volume / crystal.cell[2, 2] * (free > 0),
    )  # fmt: skip
    return lambda kappa, nodes, times: equation(
        spot(width), kappa * SI, nodes * SI, times, field.positions[:, :2]
    )


class Rings:
    """Means of the field over rings around the middle."""

    def __init__(self, field, width, last):
        r = np.linalg.norm(field.positions[:, :2], axis=1)
        ring = np.digitize(r, np.arange(0.0, last, width)) - 1
        self.matrix = np.array([field.capacity * (ring == k) for k in range(ring.max())])
        self.weights = self.matrix.sum(axis=1)
        self.matrix /= self.weights[:, None]

    def __call__(self, values):
        return values @ self.matrix.T


def warm(model, temperature, seed, steps=150):
    """Return positions and velocities of nodes that a bath has brought to their temperatures."""
    bath = Langevin(temperature, 0.02 / fs)
    dynamics = Dynamics(
        ModelSystem(model), TIMESTEP, baths=[bath], seed=1000 + seed, check_timestep=False
    )
    dynamics.set_state(x=np.zeros_like(dynamics.x))
    dynamics.set_temperature(2.0 * temperature)
    dynamics.run(steps)
    return dynamics.x, dynamics.v


def fitted(curves, data, weights, start):
    """Number for which ``curves`` are closest to data."""
    value = start
    for _ in range(5):
        base = curves(value)
        slope = (curves(value + 0.02 * start) - base) / (0.02 * start)
        value += float((weights * slope * (data - base)).sum() / (weights * slope**2).sum())
    return value


def conduction_of_nodes(friction):
    """Conductivity of harmonic atoms that are each tied to a bath of their own, W/(m K).

    A wave under friction lives for 1 / friction: ``kappa = k_B / Omega sum_b <v_b^2> / friction``
    over the waves of the columns, with group velocities v along x. F. Bonetto, J. L. Lebowitz &
    J. Lukkarinen, J. Stat. Phys. 116 (2004) 783.
    """
    crystal, potential = material("eam")
    constants = force_constants(crystal, potential)
    mass = float(atomic_masses[atomic_numbers["Cu"]])
    n, step = 20, 1e-3
    axis = ((np.arange(n) + 0.5) / n - 0.5) * 4.0 * np.pi / crystal.a
    waves = np.array([(x, y, 0.0) for x in axis for y in axis])

    def frequencies(k):
        squares = constants.fourier(k @ crystal.cell.T / (2.0 * np.pi))[0] / mass
        return np.sqrt(np.abs(np.linalg.eigvalsh(squares)))

    shift = np.array([step, 0.0, 0.0])
    v = (frequencies(waves + shift) - frequencies(waves - shift)) / (2.0 * step)
    square = float((v**2).sum(axis=1).mean())
    return kB / crystal.volume * square / (friction / fs) / SI


class Steady:
    """A run between two temperatures, and what its nodes and its field have on average.

    Bins are told by region and side: ``core -`` is the left half of the core.
    """

    def __init__(self, model, *, swing, friction, steps, settle=500, seed=1, blocks=10,
                 where="everywhere", couple_core=False, make=heat_field):  # fmt: skip
        at = model.layout.node_positions
        self.x, self.free = at[:, 0], model.layout.free.sum(axis=1)
        self.far = float(model.mesh.positions[:, 0].max())
        self.slope = swing / self.far
        self.field = field = make(
            model, 100.0, self.line, size=4.0, where=where, couple_core=couple_core
        )
        ends = np.abs(field.positions[:, 0]) > self.far - 1e-6
        field.prescribe_temperature(ends, self.line)
        rate = continuum_only(model, friction / fs)
        if where == "everywhere" or couple_core:
            rate = np.full(len(at), friction / fs)
        dynamics = Dynamics(
            ModelSystem(model), TIMESTEP, baths=[FieldBath(field, rate)], seed=seed,
            conduct_every=5, check_timestep=False,
        )  # fmt: skip
        dynamics.set_state(*warm(model, self.line(at), seed))
        dynamics.run(settle)
        mass = dynamics.system.masses / (np.maximum(self.free, 1) * kB)
        self.nodes, self.stored = [], []
        for _ in range(blocks):
            sums, parts = np.zeros(len(at)), []

            def note(d, sums=sums, parts=parts):
                sums += mass * (d.v**2).sum(axis=1)
                parts.append(field.temperature)

            dynamics.run(steps // blocks, note, 5)
            self.nodes.append(sums / len(parts))
            self.stored.append(np.mean(parts, axis=0))
        beta, r = model.layout.beta_nodes, np.linalg.norm(at[:, :2], axis=1)
        end = r[beta < 1.0].max()
        self.edges = (float(r[beta == 0.0].max()), float(end))
        self.regions = {
            "core": beta == 0.0,
            "blend": (beta > 0.0) & (beta < 1.0),
            "near": (beta == 1.0) & (r < end + 15.0) & (self.free > 0),
            "far": (r >= end + 15.0) & (self.free > 0),
        }
        dynamics.system.coordinates = np.zeros_like(dynamics.x)

    def line(self, x):
        return MEAN + self.slope * x[:, 0]

    def bins(self):
        """Mean kinetic temperature less the line's, and its error, for halves of regions, K."""
        out = {}
        for name, region in self.regions.items():
            for sign in (-1, 1):
                part = region & (sign * self.x > 1e-6)
                weights = self.free * part / (self.free * part).sum()
                wanted = MEAN + self.slope * (weights @ self.x)
                each = np.array([weights @ block for block in self.nodes]) - wanted
                error = each.std(ddof=1) / np.sqrt(len(each))
                out[f"{name} {'-+'[sign > 0]}"] = (float(each.mean()), float(error))
        return out

    def tilt(self, name):
        """Slope of the nodes' temperature in a region over the line's, and its error."""
        part = self.free * self.regions[name]
        each = np.array([part * self.x @ (block - MEAN) for block in self.nodes])
        each /= self.slope * (part @ self.x**2)
        return float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))

    def worst_of_field(self):
        """Largest deviation of the field's mean temperature from the line, K."""
        return float(np.abs(np.mean(self.stored, axis=0) - self.line(self.field.positions)).max())


def jumps(bins):
    """Steps of temperature from region to region, away from the line, and their errors, K.

    The odd part is that of a heat current, the even one that of a region too hot or too cold.
    """
    out = {}
    for inner, outer in pairwise(("core", "blend", "near", "far")):
        step = [bins[f"{outer} {side}"][0] - bins[f"{inner} {side}"][0] for side in "-+"]
        error = np.linalg.norm([bins[f"{k} {side}"][1] for k in (inner, outer) for side in "-+"])
        out[f"{inner}-{outer}, odd"] = (0.5 * (step[1] - step[0]), 0.5 * float(error))
        out[f"{inner}-{outer}, even"] = (0.5 * (step[1] + step[0]), 0.5 * float(error))
    return out
