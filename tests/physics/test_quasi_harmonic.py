"""Crystals at temperature against textbook relations, LAMMPS, and sampling of coupled models."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ase import units
from scipy.linalg import solve_triangular

from qc.coupling import QuasiContinuum
from qc.crystal import bcc, diamond, fcc, hcp, triangular
from qc.errors import InvertedElementError
from qc.materials import CauchyBorn, LatticeVibrations, equilibrium_crystal, thermal_lattice
from qc.potentials import LennardJones, Morse, stillinger1985, zhou2004
from qc.solve import mean_force

pytestmark = pytest.mark.physics

REFERENCE = Path(__file__).parents[1] / "reference" / "thermal_expansion.json"

CASES = {
    "Ni": lambda: (fcc("Ni", 3.52), zhou2004("Ni")),
    "Fe": lambda: (bcc("Fe", 2.87), zhou2004("Fe")),
    "Si": lambda: (diamond("Si", 5.43), stillinger1985()),
    "Ti": lambda: (hcp("Ti", 2.9, 4.6), zhou2004("Ti")),
}


@cache
def setting(name):
    crystal, potential = CASES[name]()
    return equilibrium_crystal(crystal, potential), potential


@cache
def lattice(name, t=300.0, statistics="classical"):
    return thermal_lattice(*setting(name), t, statistics=statistics)


def helmholtz(name, t, f):
    """W + f_vib of the cell at deformations, evaluated directly."""
    crystal, potential = setting(name)
    w = CauchyBorn(crystal, potential).site_energy(f) * crystal.n_sublattices
    return w + LatticeVibrations(crystal, potential).free_energy(f, t)


@pytest.mark.parametrize("name", ["Ni", "Si"])
def test_grueneisen_relation(name):
    """gamma = V alpha_v K / C_v against minus the mean of d ln omega / d ln V."""
    found = lattice(name)
    # Tables have knots every 0.2 percent: steps reach over several.
    h = 0.012
    scales = np.array([-2, -1, 1, 2]) * h
    f = np.exp(scales / 3)[:, None, None] * found.deformation
    logs = found.vibrations.log_frequencies(f)
    slope = logs @ np.array([1.0, -8.0, 8.0, -1.0]) / (12 * h)
    gamma = -slope / found.vibrations.n_modes
    assert found.gruneisen == pytest.approx(gamma, rel=1e-4)
    assert 0.4 < gamma < 2.0


@pytest.mark.parametrize("name", ["Ni", "Ti"])
def test_no_stress_and_isothermal_moduli(name):
    """The direct free energy is least at F_T, and its curvature is that of the moduli."""
    t, found = 300.0, lattice(name)
    volume = found.volume
    for strain in (np.diag([1.0, 1.0, 1.0]), np.diag([0.5, 0.5, -1.0])):
        h = 4e-3
        f = np.array([(np.eye(3) + k * h * strain) @ found.deformation for k in range(-2, 3)])
        g = helmholtz(name, t, f)
        slope = g @ np.array([1.0, -8.0, 0.0, 8.0, -1.0]) / (12 * h)
        bend = g @ np.array([-1.0, 16.0, -30.0, 16.0, -1.0]) / (12 * h**2)
        expected = volume * np.einsum("ij,ijkl,kl->", strain, found.moduli, strain)
        assert bend == pytest.approx(expected, rel=3e-3)
        assert abs(slope) < 2e-6 * bend
    zero = CauchyBorn(*setting(name)).elastic_constants()
    assert found.moduli[0, 0, 0, 0] < zero[0, 0, 0, 0]


@pytest.mark.parametrize(
    ("name", "statistics", "t"), [("Fe", "classical", 300.0), ("Si", "quantum", 150.0)]
)
def test_expansion_coefficient_is_the_slope_of_the_lattice(name, statistics, t):
    low, here, high = (lattice(name, t + s, statistics) for s in (-5.0, 0.0, 5.0))
    slope = (high.deformation - low.deformation) @ np.linalg.inv(here.deformation) / 10.0
    np.testing.assert_allclose(here.thermal_expansion, slope, atol=2e-3 * np.abs(slope).max())


def test_hexagonal_crystals_expand_along_both_axes():
    """Both strains at rest; a and c for hcp keep their symmetry, and alpha_a is not alpha_c."""
    found = lattice("Ti")
    f, alpha = found.deformation, found.thermal_expansion
    assert f[0, 0] == pytest.approx(f[1, 1], rel=1e-12)
    assert abs(f - np.diag(np.diag(f))).max() < 1e-12
    assert alpha[0, 0] > 0.0
    assert abs(alpha[0, 0] - alpha[2, 2]) > 0.05 * alpha[0, 0]
    expanded = found.expanded
    assert expanded.a == pytest.approx(f[0, 0] * setting("Ti")[0].a)
    again = LatticeVibrations(expanded, setting("Ti")[1])
    assert again.entropy(np.eye(3), 300.0)[0] == pytest.approx(found.entropy, rel=1e-9)


def test_heat_capacities():
    """Dulong and Petit; quantum statistics freezes part of silicon's modes out at 300 K.

    Debye's law with the 645 K of silicon leaves 0.81 of the classical value.
    Source: C. Kittel, Introduction to Solid State Physics (8th ed.), chapter 5, table 1.
    """
    classical, quantum = lattice("Si"), lattice("Si", 300.0, "quantum")
    assert classical.heat_capacity == pytest.approx(6 * units.kB)
    assert quantum.heat_capacity / classical.heat_capacity == pytest.approx(0.81, abs=0.08)
    assert quantum.heat_capacity_at_zero_stress > quantum.heat_capacity
    assert quantum.thermal_expansion[0, 0] < classical.thermal_expansion[0, 0]


# -- against molecular dynamics --------------------------------------------------------------------


def recorded(name):
    """Potential, crystal at rest and LAMMPS's points of an element."""
    record = json.loads(REFERENCE.read_text(encoding="utf-8"))["elements"][name]
    make, potential = {
        "Cu": lambda: (fcc, zhou2004("Cu")),
        "Fe": lambda: (bcc, zhou2004("Fe")),
        "Ni": lambda: (fcc, zhou2004("Ni")),
        "Si": lambda: (diamond, stillinger1985()),
        "Ar": lambda: (fcc, LennardJones("Ar", epsilon=0.0104, sigma=3.405, cutoff=8.5)),
    }[name]()
    assert potential.fingerprint() == record["fingerprint"]
    start = make(name, record["lattice_constant_0K"])
    return potential, equilibrium_crystal(start, potential), record["points"]


def expansion_ratio(potential, crystal, point):
    """Strain of the harmonic lattice over that of molecular dynamics."""
    found = thermal_lattice(crystal, potential, float(point["temperature"]))
    measured = point["lattice_constant"] / crystal.a - 1.0
    return (found.deformation[0, 0] - 1.0) / measured


@pytest.mark.parametrize(
    ("name", "t", "bound"),
    [
        ("Si", 300, 0.02), ("Ar", 20, 0.05), ("Fe", 100, 0.03), ("Fe", 300, 0.03),
        ("Ni", 100, 0.04), ("Ni", 200, 0.05),
    ],
)  # fmt: skip
def test_expansion_where_vibrations_are_nearly_harmonic(name, t, bound):
    potential, crystal, points = recorded(name)
    (point,) = [p for p in points if p["temperature"] == t]
    assert point["error_of_expansion"] < 0.003
    assert expansion_ratio(potential, crystal, point) == pytest.approx(1.0, abs=bound)


def test_expansion_to_first_order_where_they_are_not():
    """Harmonic vibrations give the expansion to first order in T, and that is what must agree.

    The next order, quartic and cubic anharmonicity, makes the ratio to molecular dynamics leave
    1 in proportion to T: 1.06, 1.14, 1.24 in copper at 100, 200, 300 K. Extrapolated to 0 K it is
    1 within the noise of the dynamics, which triples on the way.
    """
    potential, crystal, points = recorded("Cu")
    points = points[:3]
    t = np.array([point["temperature"] for point in points])
    np.testing.assert_allclose(t / t[0], [1.0, 2.0, 3.0])
    noise = np.array([point["error_of_expansion"] for point in points])
    ratio = np.array([expansion_ratio(potential, crystal, point) for point in points])
    at_zero = 3.0 * (ratio[0] - ratio[1]) + ratio[2]
    error = float(np.linalg.norm(noise * [3.0, 3.0, 1.0]))
    assert error < 0.015
    assert at_zero == pytest.approx(1.0, abs=2.0 * error)
    excess = (ratio - 1.0) / t
    assert (np.abs(excess / excess[0] - 1.0) < 0.5).all()


# -- coupled models --------------------------------------------------------------------------------


@cache
def plane():
    potential = Morse("Ar", 0.5, 4.0, 1.0, 2.2)
    crystal = equilibrium_crystal(triangular("Ar", 1.0), potential)
    sizes = {"core": 2.3, "blend": 2.2, "outer": 7.0}
    warm = QuasiContinuum(crystal, potential, temperature=250.0, **sizes)
    bare = QuasiContinuum(crystal, potential, far_field=warm.far_field, **sizes)
    return warm, bare


def dilation(model, u):
    """Mean strain of displacements about the expanded lattice."""
    shape = np.where(model.layout.free, model.layout.node_positions, 0.0)
    return float((u * shape).sum() / (shape**2).sum())


def sampled_dilation(model, t, samples, seed):
    """Mean strain in the canonical ensemble of the model's own energy, with its error.

    Hybrid Monte Carlo whose steps solve the harmonic part exactly, a quarter of a period for each
    sample. Source: B. Shahbaba, S. Lan, W. O. Johnson & R. M. Neal, Stat. Comput. 24 (2014) 339.
    """
    free = model.layout.free
    n = int(free.sum())

    def spread(v):
        out = np.zeros(free.shape)
        out[free] = v
        return out

    zero = np.zeros(free.shape)
    k = np.array([model.hessian_product(zero, spread(one))[free] for one in np.eye(n)])
    k = 0.5 * (k + k.T)
    root, inverse = np.linalg.cholesky(k), np.linalg.inv(k)
    kt, steps, rng = units.kB * t, 6, np.random.default_rng(seed)
    turn = 0.5 * np.pi / steps

    def anharmonic(v):
        """Energy, and the velocity that its force gives."""
        try:
            energy, forces = model.energy_forces(spread(v))
        except InvertedElementError:
            return np.inf, np.zeros(n)
        return energy - 0.5 * v @ k @ v, inverse @ forces[free] + v

    v, values, taken = np.zeros(n), [], 0
    here = anharmonic(v)
    for _ in range(samples):
        w = np.sqrt(kt) * solve_triangular(root, rng.standard_normal(n), lower=True, trans=1)
        new, there = v, here
        before = here[0] + 0.5 * (v @ k @ v + w @ k @ w)
        for _ in range(steps):
            w = w + 0.5 * turn * there[1]
            new, w = np.cos(turn) * new + np.sin(turn) * w, np.cos(turn) * w - np.sin(turn) * new
            there = anharmonic(new)
            w = w + 0.5 * turn * there[1]
        after = there[0] + 0.5 * (new @ k @ new + w @ k @ w)
        if np.log(rng.random()) < (before - after) / kt:
            v, here, taken = new, there, taken + 1
        values.append(dilation(model, spread(v)))
    assert taken > 0.6 * samples
    blocks = np.array(values[samples // 10 :])
    blocks = blocks[: len(blocks) // 15 * 15].reshape(15, -1).mean(axis=1)
    return blocks.mean(), blocks.std(ddof=1) / np.sqrt(15)


def test_the_dead_load_holds_the_mean_where_it_belongs():
    """A vibrating mesh drifts: the free energy of slaved atoms stops most of it, a load the rest.

    The exact load predicts the drift to leading order; sampling of the whole energy sees it.
    """
    t = 250.0
    warm, bare = plane()
    with_load, without = (mean_force(m, t, method="exact") for m in (warm, bare))
    expected = dilation(bare, without.drift)
    assert abs(dilation(warm, with_load.drift)) < 0.35 * expected
    drift, error = sampled_dilation(bare, t, 150, 1)
    assert drift > 6.0 * error
    assert drift == pytest.approx(expected, abs=3.5 * error)
    held = warm.without_mean_force(with_load.force)
    left, error = sampled_dilation(held, t, 150, 2)
    assert abs(left) < 3.0 * error
    assert 6.0 * error < drift
