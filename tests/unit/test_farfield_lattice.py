"""Slip and forces of dislocations in actual lattices, with textbook fields as controls."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial import cKDTree

import qc.farfield as farfield

FCC = 0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0.0]])
BCC = 0.5 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1.0]])
GPA = 1.0 / 160.21766208
AL = np.array([108.2, 61.3, 28.5]) * GPA
W = np.array([523.0, 205.0, 161.0]) * GPA


@dataclass(frozen=True)
class Case:
    """A lattice, axes as Miller directions, b in cube axes, and a core between sites."""

    a: float
    primitive: np.ndarray
    axes: tuple
    period: float
    burgers: tuple
    core: tuple
    constants: np.ndarray
    radius: float = 60.0

    @property
    def rotation(self):
        return np.array([np.array(v, float) / np.linalg.norm(v) for v in self.axes])

    @property
    def b(self):
        return self.a * self.rotation @ np.array(self.burgers)

    @property
    def position(self):
        return self.a * np.array(self.core)

    @property
    def neighbour(self):
        return self.a * np.linalg.norm(self.primitive, axis=1).min()

    def sites(self):
        primitive = self.a * self.primitive @ self.rotation.T
        m = int(2.2 * self.radius / self.neighbour) + 2
        grid = np.arange(-m, m + 1)
        x = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), axis=-1).reshape(-1, 3)
        x = x @ primitive
        height = x[:, 2] / (self.a * self.period)
        inside = np.hypot(x[:, 0], x[:, 1]) < self.radius
        return x[inside & (height > -1e-9) & (height < 1.0 - 1e-9)]

    def field(self, **kwargs):
        elastic = farfield.cubic_elastic(*self.constants, rotation=self.rotation)
        return farfield.VolterraDislocation(elastic, self.b, self.position, **kwargs)


R2, R3, R6 = np.sqrt(2.0), np.sqrt(3.0), np.sqrt(6.0)
CASES = {
    # Lomer: b = a/2 [110], line [1-10], cut between two (001) planes.
    "lomer": Case(
        4.05, FCC, ((1, 1, 0), (0, 0, 1), (1, -1, 0)), 1 / R2, (0.5, 0.5, 0), (0.1, 0.25), AL
    ),
    "sixty": Case(
        4.05, FCC, ((1, 1, -2), (1, 1, 1), (1, -1, 0)), 1 / R2, (0.5, 0, -0.5), (0.1, 0.5 / R3), AL
    ),
    "glide edge": Case(
        4.05, FCC, ((1, -1, 0), (1, 1, 1), (-1, -1, 2)), 3 / R6, (0.5, -0.5, 0), (0.1, 0.5 / R3), AL
    ),
    "screw": Case(
        3.165,
        BCC,
        ((1, 1, -2), (-1, 1, 0), (1, 1, 1)),
        R3 / 2,
        (0.5, 0.5, 0.5),
        (0.5 / R6, R2 / 6),
        W,
    ),
}
EVERY = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


def pairs(case, field, reach=1.2):
    """Return reference and current ends of all pairs of atoms that are neighbours now."""
    x = case.sites()
    y = x + field.displacement(x)
    images = np.outer(np.arange(-3, 4), [0, 0, case.a * case.period])
    x_all = np.concatenate([x + s for s in images])
    y_all = np.concatenate([y + s for s in images])
    near = cKDTree(y_all).query_ball_point(y, reach * case.neighbour)
    i = np.repeat(np.arange(len(x)), [len(n) for n in near])
    j = np.concatenate([np.array(n) for n in near])
    apart = np.linalg.norm(x[i] - x_all[j], axis=1) > 1e-6
    i, j = i[apart], j[apart]
    return x[i], x_all[j], y[i], y_all[j]


def shells(r, edges):
    return [(r >= low) & (r < high) for low, high in pairwise(edges)]


EDGES = np.array([9.0, 13.0, 19.0, 27.0, 38.0, 54.0])


def decay(r, vectors, edges=EDGES):
    """Return the largest value in the last shell and the log-log slope through each shell's."""
    sizes = np.linalg.norm(vectors, axis=1)
    worst = [np.nonzero(s)[0][sizes[s].argmax()] for s in shells(r, edges)]
    return sizes[worst[-1]], np.polyfit(np.log(r[worst]), np.log(sizes[worst]), 1)[0]


def is_lattice_vector(case, vectors):
    coordinates = vectors @ np.linalg.inv(case.a * case.primitive @ case.rotation.T)
    return np.abs(coordinates - np.round(coordinates)).max() < 1e-9


def mismatch(case, field, with_slip=True, at_start=False):
    """Return distance behind the core, mismatch and edge of all pairs across the wake."""
    x0, x1, y0, y1 = pairs(case, field)
    slip = field.slip(x0, x1)
    across = np.abs(slip).sum(axis=1) > 0
    x0, x1, y0, y1, slip = (v[across] for v in (x0, x1, y0, y1, slip))
    f0 = np.eye(3) + field.gradient_at(y0 if at_start else 0.5 * (y0 + y1))
    edge = x1 - x0 + (slip if with_slip else 0.0)
    error = y1 - y0 - np.einsum("nij,nj->ni", f0, edge)
    assert is_lattice_vector(case, x1 - x0 + slip)
    return case.position[0] - x0[:, 0], error, edge


@EVERY
def test_slip_closes_the_edges_across_the_wake(case):
    field = case.field()
    r, error, edge = mismatch(case, field)
    assert (r > 9.0).sum() > 80
    # In the slipped crystal these are near neighbours of the perfect lattice again.
    assert np.linalg.norm(edge[r > 9.0], axis=1).max() < 1.2 * case.neighbour
    last, rate = decay(r, error)
    assert last < 1e-4
    assert rate < -2.5
    # With F0 at one end the second gradient b/r^2 is left.
    r, error, _ = mismatch(case, field, at_start=True)
    assert decay(r, error)[1] == pytest.approx(-2.0, abs=0.4)
    # Without slip, b is left all along.
    r, error, _ = mismatch(case, field, with_slip=False)
    left = np.linalg.norm(error[r > 9.0], axis=1)
    np.testing.assert_allclose(left, np.linalg.norm(case.b), rtol=0.06)


@pytest.mark.parametrize("case", [CASES["lomer"], CASES["glide edge"]], ids=["lomer", "glide"])
def test_textbook_field_leaves_a_strained_wake(case):
    field = case.field(self_consistent=False)
    x0, x1, y0, y1 = pairs(case, field)
    slip = field.slip(x0, x1)
    across = np.abs(slip).sum(axis=1) > 0
    x0, x1, y0, y1, slip = (v[across] for v in (x0, x1, y0, y1, slip))
    strain = field.gradient(0.5 * (x0 + x1))
    spurious = -np.einsum("nij,nj->ni", strain, slip)
    error = y1 - y0 - np.einsum("nij,nj->ni", np.eye(3) + strain, x1 - x0 + slip)
    r = case.position[0] - 0.5 * (x0 + x1)[:, 0]
    assert decay(r, spurious)[1] == pytest.approx(-1.0, abs=0.1)
    assert decay(r, error - spurious)[1] < -1.7
    assert decay(r, error)[0] > 100 * decay(*mismatch(case, case.field())[:2])[0]


@EVERY
def test_cores_keep_atoms_apart(case):
    _, _, y0, y1 = pairs(case, case.field())
    assert np.linalg.norm(y1 - y0, axis=1).min() > 0.75 * case.neighbour


def test_slipped_edges_of_a_dipole():
    case = CASES["lomer"]
    half = 8.1 * case.b[0]
    one = case.field()
    back = farfield.VolterraDislocation(one.elastic, -case.b, case.position - [2 * half, 0])
    fbar = np.array([[1.0, 0.02, 0], [0, 1.01, 0], [0.005, 0, 0.99]])
    field = farfield.DislocationSum([back, one], fbar)
    x = case.sites()
    # Nearest neighbours in the reference crystal, all around.
    i, j = cKDTree(x).query_pairs(1.2 * case.neighbour, output_type="ndarray").T
    slip = field.slip(x[i], x[j])
    slipped = np.abs(slip).sum(axis=1) > 0
    middle = 0.5 * (x[i] + x[j])[:, 0]
    between = (middle > back.position[0] - case.neighbour) & (
        middle < one.position[0] + case.neighbour
    )
    assert slipped.any()
    assert not (slipped & ~between).any()
    # Behind both cores the crystal is whole again: plain reference edges fit.
    y = x + field.displacement(x)
    r = np.min([np.hypot(*(x[i, :2] - d.position).T) for d in field.dislocations], axis=0)
    far = r > 12.0
    f0 = np.eye(3) + field.gradient_at(0.5 * (y[i] + y[j]))
    error = np.linalg.norm(y[j] - y[i] - np.einsum("nij,nj->ni", f0, x[j] - x[i] + slip), axis=1)
    assert error[far].max() < 3e-3
    assert (far & slipped).sum() > 10
    assert np.linalg.norm(slip[far & slipped], axis=1).min() > 2.0


# Lennard-Jones with sigma = epsilon = 1, times (1 - r^2/rc^2)^3: smooth at the cutoff.
CUTOFF = 2.0


def slope_of_pair(r):
    """Return phi'(r); complex r gives phi'' by the complex step."""
    q = 1.0 - (r / CUTOFF) ** 2
    phi = 4.0 * (r**-12 - r**-6)
    dphi = 4.0 * (-12.0 * r**-13 + 6.0 * r**-7)
    inside = np.real(r) < CUTOFF
    return np.where(inside, dphi * q**3 - phi * 6.0 * q**2 * r / CUTOFF**2, 0.0)


def equilibrium_lattice():
    """Return the fcc lattice constant at zero pressure and the three elastic constants."""
    grid = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3), axis=-1).reshape(-1, 3) @ FCC
    grid = grid[np.abs(grid).sum(axis=1) > 0]
    low, high = 1.4, 1.7
    for _ in range(60):
        a = 0.5 * (low + high)
        r = np.linalg.norm(a * grid, axis=1)
        low, high = (a, high) if (slope_of_pair(r) * r).sum() < 0 else (low, a)
    bonds = a * grid
    curvature = np.imag(slope_of_pair(r + 1e-20j)) / 1e-20
    # C_ijkl of a pair potential without pre-stress, the Born expression for central forces.
    factor = (curvature - slope_of_pair(r) / r) / r**2 / (2.0 * a**3 / 4.0)
    c = np.einsum("b,bi,bj,bk,bl->ijkl", factor, bonds, bonds, bonds, bonds)
    return a, np.array([c[0, 0, 0, 0], c[0, 0, 1, 1], c[0, 1, 0, 1]])


def residual_forces(case, field):
    """Return reference positions from the core, and forces, of atoms away from the surface."""
    x = case.sites()
    y = x + field.displacement(x)
    images = np.outer(np.arange(-3, 4), [0, 0, case.a * case.period])
    y_all = np.concatenate([y + s for s in images])
    near = cKDTree(y_all).query_ball_point(y, CUTOFF)
    i = np.repeat(np.arange(len(x)), [len(n) for n in near])
    j = np.concatenate([np.array(n) for n in near])
    bond = y_all[j] - y[i]
    r = np.linalg.norm(bond, axis=1)
    i, bond, r = i[r > 1e-9], bond[r > 1e-9], r[r > 1e-9]
    assert r.min() > 0.7
    pull = (slope_of_pair(r) / r)[:, None] * bond
    force = np.stack([np.bincount(i, pull[:, c], len(x)) for c in range(3)], axis=1)
    bulk = np.hypot(x[:, 0], x[:, 1]) < case.radius - 1.5 * CUTOFF
    return x[bulk, :2] - case.position, force[bulk]


@pytest.mark.parametrize("name", ["lomer", "sixty", "glide edge"])
def test_residual_forces_decay_also_along_the_wake(name):
    a, constants = equilibrium_lattice()
    old = CASES[name]
    case = Case(a, FCC, old.axes, old.period, old.burgers, old.core, constants, radius=30.5)
    rates, last = {}, {}
    for kind in (True, False):
        at, force = residual_forces(case, case.field(self_consistent=kind))
        r = np.hypot(*at.T)
        wake = (np.abs(at[:, 1]) < 0.6 * a) & (at[:, 0] < 0)
        for place, mask in (("wake", wake), ("elsewhere", ~wake)):
            last[kind, place], rates[kind, place] = decay(
                r[mask], force[mask], np.array([8.0, 11.0, 15.0, 20.0, 27.0])
            )
    assert rates[True, "wake"] < -2.5
    assert rates[True, "elsewhere"] < -2.5
    # Negative control: the textbook field leaves the force of (grad u) b all along the wake.
    assert rates[False, "wake"] == pytest.approx(-1.0, abs=0.3)
    assert last[False, "wake"] > 50 * last[True, "wake"]
