"""Conduction: both laws at every step, and Fourier's solutions at the orders of P1 and Euler."""

from itertools import permutations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.linalg import expm
from scipy.optimize import brentq, minimize

from qc.crystal import fcc
from qc.dynamics.heat.field import HeatField
from qc.dynamics.heat.mesh import HeatMesh, cover
from qc.errors import ConvergenceError
from qc.mesh import CoreSet, LatticeBlock, PowerGrading, graded_mesh

pytestmark = pytest.mark.physics

KAPPA, HEAT = 0.02, 0.003  # eV/(Angstrom K time), eV/(K Angstrom^3): a diffusivity of 20/3


def block(n, lengths, distort=0.0, shear=0.0, seed=0):
    """Kuhn simplices of a grid of cells; inner vertices are shaken by a part of a cell."""
    d = len(n)
    grid = np.stack(np.meshgrid(*[np.arange(k + 1) for k in n], indexing="ij"), -1).reshape(-1, d)
    strides = np.array([int(np.prod([k + 1 for k in n[a + 1 :]])) for a in range(d)])
    cells = grid[(grid < np.array(n)).all(axis=1)]
    elements = []
    for order in permutations(range(d)):
        path = np.cumsum([np.zeros(d, int), *[np.eye(d, dtype=int)[a] for a in order]], axis=0)
        elements.append((cells[:, None] + path) @ strides)
    inner = ((grid > 0) & (grid < np.array(n))).all(axis=1)
    shake = np.random.default_rng(seed).uniform(-distort, distort, grid.shape)
    x = np.zeros((len(grid), 3))
    x[:, :d] = (grid + shake * inner[:, None]) / np.array(n) * np.array(lengths)
    x[:, 0] += shear * x[:, 1]
    return HeatMesh.from_simplices(x, np.concatenate(elements), 2.5 if d == 2 else 1.0)


def lumped(mesh):
    corners = mesh.elements.shape[1]
    share = np.repeat(mesh.volumes / corners, corners)
    return np.bincount(mesh.elements.ravel(), share, len(mesh.positions))


def field_on(mesh, temperature, kappa=KAPPA):
    capacity = HEAT * lumped(mesh)
    return HeatField(mesh, capacity, np.eye(len(capacity)), kappa, temperature)


def stiffness(mesh, kappa=KAPPA):
    """Plain P1 stiffness for Fourier's law, assembled the usual way."""
    n = len(mesh.positions)
    local = kappa * np.einsum("e,eai,ebi->eab", mesh.volumes, mesh.gradients, mesh.gradients)
    corners = mesh.elements.shape[1]
    rows = np.repeat(mesh.elements, corners, axis=1).ravel()
    columns = np.tile(mesh.elements, corners).ravel()
    return sp.coo_matrix((local.ravel(), (rows, columns)), (n, n)).toarray()


BAD = {
    "2D": lambda seed: block((6, 5), (30.0, 20.0), 0.35, 3.0, seed),
    "3D": lambda seed: block((4, 3, 3), (40.0, 30.0, 15.0), 0.25, 5.0, seed),
}


# -- the laws -------------------------------------------------------------------------------------


def state_against_plain_elements(mesh, rng):
    """Temperatures, at most ten to one, that plain P1 elements treat worst; what they produce."""
    k = stiffness(mesh)

    def production(u):
        t = np.exp(u)
        return -(1.0 / t) @ k @ t, (k @ t) / t - t * (k @ (1.0 / t))

    top = np.log(10.0)
    ramps = mesh.positions @ rng.standard_normal((3, 500))
    ramps = top * (ramps - ramps.min(axis=0)) / np.ptp(ramps, axis=0)
    start = min(ramps.T, key=lambda u: production(u)[0])
    bounds = [(0.0, top)] * len(k)
    found = minimize(production, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return 300.0 * np.exp(found.x), found.fun


@pytest.mark.parametrize("dim", BAD)
def test_both_laws_hold_on_any_mesh_from_any_state(dim):
    rng = np.random.default_rng(1)
    plain = []
    for seed in range(4):
        mesh = BAD[dim](seed)
        field = field_on(mesh, 300.0)
        worst, made = state_against_plain_elements(mesh, rng)
        plain.append(made)
        for k, dt in enumerate(10.0 ** np.arange(-4, 10)):
            noise = 300.0 * 10.0 ** rng.uniform(0.0, 1.0, len(field.energy))
            field.set_temperature(noise if k % 2 else worst)
            for _ in range(4):
                energy, entropy = field.total_energy(), field.entropy()
                done = field.conduct(dt)
                assert field.total_energy() == pytest.approx(energy, rel=1e-14)
                assert field.entropy() - entropy >= -1e-14 * abs(entropy)
                assert field.entropy() - entropy == pytest.approx(
                    done.entropy_production, rel=1e-9, abs=1e-13 * abs(entropy)
                )
                assert done.entropy_production >= 0.0
                assert done.entropy_change == pytest.approx(
                    done.entropy_production, rel=1e-6, abs=1e-15 * abs(entropy)
                )
                assert done.heat_through_temperatures == done.heat_through_fluxes == 0.0
            if dt > 1e8:
                mean = field.total_energy() / field.capacity.sum()
                np.testing.assert_allclose(field.temperature, mean, rtol=1e-6)
    # The meshes are bad enough for plain P1 elements to break the second law.
    assert min(plain) < -0.01


def test_near_equilibrium_nothing_is_lost_to_round_off():
    mesh = block((4, 3, 3), (40.0, 30.0, 15.0), 0.2)
    field = field_on(mesh, lambda x: 300.0 * (1.0 + 1e-9 * np.sin(x[:, 0])))
    before = field.temperature
    flow = -stiffness(mesh) @ (before - 300.0)
    energy = field.state()
    done = field.conduct(1e-3)
    error = (field.energy - energy) / 1e-3 - flow
    assert np.abs(error).max() < 5e-3 * np.abs(flow).max()
    assert 0.0 < done.entropy_production < 1e-18
    field.set_temperature(300.0)
    assert 0.0 <= field.conduct(1e6).entropy_production < 1e-25
    np.testing.assert_allclose(field.temperature, 300.0, rtol=1e-15)


def test_heat_through_the_boundary_closes_the_books():
    mesh = BAD["3D"](2)
    rng = np.random.default_rng(3)
    field = field_on(mesh, rng.uniform(200.0, 600.0, len(mesh.positions)))
    left, right = mesh.positions[:, 2] < 1e-9, mesh.positions[:, 2] > 15.0 - 1e-9
    field.prescribe_temperature(left, 500.0)
    field.prescribe_temperature(lambda x: x[:, 2] > 15.0 - 1e-9, lambda x: 200.0 + x[:, 0])
    field.prescribe_flux(lambda x: x[:, 0] < 5.0 * x[:, 1] + 1e-6, -1e-4)
    area = np.hypot(30.0, 5.0 * 30.0) * 15.0
    start, entropy = field.total_energy(), field.entropy()
    received = change = 0.0
    for _ in range(50):
        dt = 10.0 ** rng.uniform(-2, 3)
        # Something else heats the field between the steps, held nodes too.
        field.deposit(rng.uniform(-1e-3, 1e-3, len(field.energy)))
        start += field.total_energy() - (start + received)
        entropy += field.entropy() - (entropy + change)
        done = field.conduct(dt)
        assert done.heat_through_fluxes == pytest.approx(-1e-4 * area * dt, rel=1e-12)
        received += done.heat_through_temperatures + done.heat_through_fluxes
        change += done.entropy_change
        assert field.total_energy() == pytest.approx(start + received, rel=1e-14)
        assert field.entropy() == pytest.approx(entropy + change, rel=1e-13)
        assert done.entropy_production > 0.0
        np.testing.assert_allclose(field.temperature[left], 500.0, rtol=1e-14)
        np.testing.assert_allclose(
            field.temperature[right], 200.0 + mesh.positions[right, 0], rtol=1e-14
        )
    # What the surroundings gain completes the production: with one temperature all around it is
    # minus the heat over that temperature.
    field.release()
    field.prescribe_temperature(left, 500.0)
    field.set_temperature(300.0)
    done = field.conduct(30.0)
    assert done.heat_through_temperatures > 0.0
    assert done.entropy_production == pytest.approx(
        done.entropy_change - done.heat_through_temperatures / 500.0, rel=1e-9
    )


def test_more_outflow_than_there_is_energy_is_refused_and_changes_nothing():
    mesh = block((4, 3), (40.0, 30.0))
    field = field_on(mesh, 300.0)
    field.prescribe_flux(lambda x: x[:, 0] < 1e-9, -1.0)
    before = field.state()
    with pytest.raises(ConvergenceError, match="heat node"):
        field.conduct(1e4)
    assert np.array_equal(field.energy, before)
    assert np.isfinite(field.conduct(1e-3).entropy_production)


# -- Fourier's law --------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", BAD)
def test_rate_is_that_of_p1_elements_for_any_temperatures(dim):
    # Elements whose temperatures differ by less than a factor of two: the exact tensor holds.
    mesh = block((5, 4), (30.0, 24.0), 0.2) if dim == "2D" else block((3, 3, 3), (30.0,) * 3, 0.15)
    rng = np.random.default_rng(0)
    t = rng.uniform(280.0, 400.0, len(mesh.positions))
    wanted = -stiffness(mesh) @ t
    errors = []
    for dt in (1e-3, 1e-4):
        field = field_on(mesh, t)
        before = field.state()
        field.conduct(dt)
        errors.append(np.abs((field.energy - before) / dt - wanted).max() / np.abs(wanted).max())
    assert errors[1] < 1e-3
    assert errors[1] == pytest.approx(0.1 * errors[0], rel=0.1)


@pytest.mark.parametrize("dim", BAD)
def test_linear_temperatures_are_steady_on_distorted_meshes(dim):
    lengths = (40.0, 30.0) if dim == "2D" else (40.0, 30.0, 20.0)
    mesh = block((5, 4) if dim == "2D" else (4, 3, 3), lengths, 0.2)
    field = field_on(mesh, 400.0)
    ends = (mesh.positions[:, 0] < 1e-9) | (mesh.positions[:, 0] > 40.0 - 1e-9)

    def line(x):
        return 300.0 + 5.0 * x[:, 0]

    field.prescribe_temperature(ends, line)
    for _ in range(60):
        done = field.conduct(1e3)
    np.testing.assert_allclose(field.temperature, line(mesh.positions), rtol=1e-11)
    # The same state from a prescribed flux on one end; what goes in comes out.
    field.release()
    field.prescribe_temperature(mesh.positions[:, 0] < 1e-9, 300.0)
    field.prescribe_flux(lambda x: x[:, 0] > 40.0 - 1e-9, 5.0 * KAPPA)
    done = field.conduct(1.0)
    np.testing.assert_allclose(field.temperature, line(mesh.positions), rtol=1e-11)
    area = 30.0 * (20.0 if dim == "3D" else 2.5)
    assert done.heat_through_fluxes == pytest.approx(5.0 * KAPPA * area, rel=1e-12)
    assert done.heat_through_temperatures == pytest.approx(-5.0 * KAPPA * area, rel=1e-8)
    # Entropy is produced at kappa (grad T / T)^2, which integrates to q (1/T_1 - 1/T_2). The flux
    # enters at the temperature of its node.
    wanted = 5.0 * KAPPA * area * (1.0 / 300.0 - 1.0 / 500.0)
    assert done.entropy_production == pytest.approx(wanted, rel=1e-8)


def mode_error(n, dim, dt):
    """Error of the amplitude of a decaying cosine, extrapolated to no time step."""
    lengths = (40.0, 30.0, 30.0)[:dim]
    mesh = block((n, n // 2, n // 2)[:dim], lengths)
    shape = np.cos(np.pi * mesh.positions[:, 0] / 40.0)
    weight = lumped(mesh) * shape
    time = 12.0
    amplitudes = []
    for steps in (round(time / dt), 2 * round(time / dt)):
        field = field_on(mesh, 300.0 + 30.0 * shape)
        for _ in range(steps):
            field.conduct(time / steps)
        amplitudes.append(weight @ (field.temperature - 300.0) / (weight @ shape))
    exact = 30.0 * np.exp(-KAPPA / HEAT * (np.pi / 40.0) ** 2 * time)
    return 2.0 * amplitudes[1] - amplitudes[0] - exact


@pytest.mark.parametrize("dim", [2, 3])
def test_cosine_decays_at_second_order_in_space(dim):
    errors = [mode_error(n, dim, 0.125) for n in (4, 8, 16)]
    rates = np.log2(np.abs(np.array(errors[:-1]) / errors[1:]))
    assert rates[-1] == pytest.approx(2.0, abs=0.15)
    assert abs(errors[-1]) < 2e-3 * 30.0


@pytest.mark.parametrize("dt", [1e-2, 1.0, 1e2, 1e4])
def test_two_temperatures_meet_as_the_implicit_equation_says(dt):
    # A square cut in two; the lower and the upper edge are one heat node each, so the conductance
    # is kappa times width over height. C_1 (T_1' - T_1) = dt kappa T_1 T_2 (1 / T_1' - 1 / T_2').
    x = [[0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0.0]]
    mesh = HeatMesh.from_simplices(x, [[0, 1, 2], [0, 2, 3]])
    field = HeatField(mesh, [1.0, 2.0], np.eye(2), KAPPA, [900.0, 200.0], owner=[0, 0, 2, 2])
    field.conduct(dt)

    def lacks(t):
        other = (900.0 + 2.0 * 200.0 - t) / 2.0
        return t - 900.0 - dt * KAPPA * 900.0 * 200.0 * (1.0 / t - 1.0 / other)

    wanted = brentq(lacks, 1300.0 / 3.0 - 1e-6, 900.0, xtol=1e-12, rtol=1e-15)
    assert field.temperature[0] - 900.0 == pytest.approx(wanted - 900.0, rel=2e-6)


def test_time_steps_converge_at_first_order_to_the_exact_flow():
    mesh = block((5, 4), (40.0, 30.0), 0.2)
    rng = np.random.default_rng(5)
    t = rng.uniform(200.0, 400.0, len(mesh.positions))
    capacity = HEAT * lumped(mesh)
    exact = expm(-stiffness(mesh) / capacity[:, None] * 4.0) @ t
    errors = []
    for steps in (8, 16, 32, 64):
        field = field_on(mesh, t)
        for _ in range(steps):
            field.conduct(4.0 / steps)
        errors.append(np.abs(field.temperature - exact).max())
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    assert rates[-1] == pytest.approx(1.0, abs=0.1)
    assert errors[-1] < 2.0


def test_ring_between_two_temperatures():
    # T = T_1 + (T_2 - T_1) ln(r / r_1) / ln(r_2 / r_1), heat 2 pi kappa (T_1 - T_2) / ln(r_2/r_1).
    errors = []
    for n in (4, 8, 16):
        flat = block((n, 6 * n), (1.0, 1.0))
        r = 10.0 + 30.0 * flat.positions[:, 0]
        angle = 2.0 * np.pi * flat.positions[:, 1]
        x = np.stack([r * np.cos(angle), r * np.sin(angle), 0.0 * r], axis=1)
        # The seam: the last row of vertices is the first one.
        seam = np.arange(len(x)) % (6 * n + 1) == 6 * n
        number = np.cumsum(~seam) - 1
        number[seam] = number[np.nonzero(seam)[0] - 6 * n]
        mesh = HeatMesh.from_simplices(x[~seam], number[flat.elements], 3.0)
        radius = r[~seam]
        field = field_on(mesh, 400.0)
        field.prescribe_temperature(radius < 10.0 + 1e-6, 600.0)
        field.prescribe_temperature(radius > 40.0 - 1e-6, 300.0)
        for _ in range(40):
            field.conduct(1e4)
        wanted = 600.0 - 300.0 * np.log(radius / 10.0) / np.log(4.0)
        heat = KAPPA * 3.0 * 2.0 * np.pi * 300.0 / np.log(4.0)
        inner = radius < 10.0 + 1e-6
        flow = (stiffness(mesh)[inner] @ field.temperature).sum()
        errors.append((np.abs(field.temperature - wanted).max(), abs(flow / heat - 1.0)))
    rates = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert (rates[-1] > 1.8).all()
    assert errors[-1][0] < 0.5
    assert errors[-1][1] < 5e-3


def test_elements_that_stick_out_conduct_by_what_they_hold():
    # A slab that heat elements of 8 cells do not fit.
    crystal = fcc("Ar", 5.26)
    slab = LatticeBlock((0, 0, 0), (22, 14, 10))
    mesh = graded_mesh(
        crystal, PowerGrading(CoreSet(np.zeros((1, 3))).distance, 1e9, 1.0, 1.0), slab.bind(crystal)
    )
    laid = cover(mesh, 8 * crystal.nearest_neighbour)
    volume = 22 * 14 * 10 * crystal.volume
    assert laid.mesh.volumes.sum() == pytest.approx(volume, rel=1e-12)
    corners = laid.mesh.positions[laid.mesh.elements]
    assert np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])).sum() / 6.0 > 1.2 * volume
    field = HeatField(laid.mesh, np.ones(len(laid.mesh.positions)), laid.weights, KAPPA, 300.0)
    # A linear temperature produces entropy at kappa |grad T / T|^2 in the volume of the body.
    slope = np.array([0.3, -0.2, 0.4]) * 1e-4
    field.set_temperature(lambda x: 300.0 + x @ slope)
    dt = 1e-6
    made = field.conduct(dt).entropy_production
    assert made == pytest.approx(dt * KAPPA * slope @ slope * volume / 300.0**2, rel=1e-4)
