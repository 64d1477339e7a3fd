"""Vibrations of deformed crystals, their free energy as a polynomial, and models at temperature."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import scipy.sparse as sp
from ase import units

from qc.coupling import PointDefects, QuasiContinuum
from qc.coupling.constraint import Constraint
from qc.coupling.slaved import slaved_fractions, solid_angles
from qc.crystal import Crystal, bcc, diamond, fcc, hcp, triangular
from qc.crystal.symmetry import point_group
from qc.errors import CapabilityError, ConvergenceError, InputError, NonFiniteError
from qc.materials import (
    CauchyBorn,
    LatticeVibrations,
    equilibrium_crystal,
    expand_free_energy,
    thermal_lattice,
)
from qc.materials.force_constants import force_constants
from qc.materials.phonons import dynamical_matrix
from qc.materials.vibration import HBAR
from qc.potentials import ASEPotential, Morse, stillinger1985, zhou2004
from qc.potentials.pair.central import CentralPotential, Jet
from qc.solve import mean_force
from qc.solve.gaussian import GaussianSampler
from qc.verify import check_coupling

STEPS = 10.0 ** -np.arange(1.0, 7.0)


class InversePower(CentralPotential):
    """``phi = (sigma / r)^n`` between nearest neighbours only, where the lattice is close to 1."""

    def __init__(self, n):
        super().__init__("Ar", 1.3, "smooth", 0.9)
        self.n = n

    def pair(self, r, s, t):
        x = r**-self.n
        return Jet(x, -self.n * x / r, self.n * (self.n + 1) * x / r**2)

    def parameters(self):
        return (self.n,)


@cache
def setting(name):
    """A crystal at rest and its potential."""
    crystal, potential = {
        "Cu": lambda: (fcc("Cu", 3.6), zhou2004("Cu")),
        "Si": lambda: (diamond("Si", 5.43), stillinger1985()),
        "Ti": lambda: (hcp("Ti", 2.9, 4.6), zhou2004("Ti")),
        "columns": lambda: (
            fcc("Ni", 3.52, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns(),
            zhou2004("Ni"),
        ),
        "plane": lambda: (triangular("Ar", 1.0), Morse("Ar", 0.5, 4.0, 1.0, 2.2)),
    }[name]()
    return equilibrium_crystal(crystal, potential), potential


@cache
def expansion(name):
    crystal, potential = setting(name)
    return expand_free_energy(LatticeVibrations(crystal, potential), 1.002 * np.eye(3), 200.0)


def strained(n, size, seed, planar=False):
    rng = np.random.default_rng(seed)
    f = np.tile(np.eye(3), (n, 1, 1))
    d = 2 if planar else 3
    f[:, :d, :d] += rng.uniform(-size, size, (n, d, d))
    return f


class TestSymmetry:
    @pytest.mark.parametrize(
        ("crystal", "order"),
        [
            (fcc("Cu", 3.6), 48),
            (bcc("Fe", 2.8, x=[1, 1, -2], y=[-1, 1, 0], z=[1, 1, 1]), 48),
            (hcp("Ti", 2.9, 4.6), 24),
            (diamond("Si", 5.43), 48),
            (triangular("Ar", 1.0), 12),
            (fcc("Ni", 3.5, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns(), 8),
        ],
    )
    def test_orders(self, crystal, order):
        """m-3m, 6/mmm, 6mm of a plane, mmm of columns along [110]."""
        group = point_group(crystal)
        assert len(group) == order
        keys = {tuple(np.round(g.ravel(), 6) + 0.0) for g in group}
        assert {tuple(np.round((a @ b).ravel(), 6) + 0.0) for a in group for b in group} == keys

    def test_species_count(self):
        cell = 3.0 * np.eye(3)
        basis = 3.0 * np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0]])
        one = Crystal(cell, basis, ("Cu", "Cu", "Cu"), "multilattice", 3.0, np.eye(3))
        assert len(point_group(replace(one, symbols=("Cu", "Ni", "Al")))) == 16


class TestForceConstants:
    @pytest.mark.parametrize("name", ["Cu", "Si", "Ti"])
    def test_a_deformed_crystal_is_another_crystal(self, name):
        crystal, potential = setting(name)
        f = strained(2, 0.04, 0)
        shifts = CauchyBorn(crystal, potential).relaxed_shifts(f)
        found = force_constants(crystal, potential, f, shifts)
        k = np.array([[0.31, -0.17, 0.45]])
        for row, (state, shift) in enumerate(zip(f, shifts, strict=True)):
            basis = crystal.basis @ state.T + shift
            other = Crystal(
                crystal.cell @ state.T, basis, crystal.symbols, "other", crystal.a, np.eye(3)
            )
            expected = force_constants(other, potential).fourier(k)[0, 0]
            scale = np.abs(expected).max()
            np.testing.assert_allclose(found.fourier(k)[row, 0], expected, atol=1e-10 * scale)
            q = 2 * np.pi * k[0] @ np.linalg.inv(other.cell).T
            one = dynamical_matrix(crystal, potential, q, deformation=state, shifts=shift)
            two = dynamical_matrix(other, potential, q)
            np.testing.assert_allclose(one, two, atol=1e-10 * np.abs(two).max())

    def test_translations_cost_nothing_and_pairs_are_mutual(self):
        crystal, potential = setting("Ti")
        found = force_constants(crystal, potential, strained(1, 0.03, 1))
        scale = np.abs(found.blocks).max()
        rows = found.blocks.sum(axis=1).reshape(6, 2, 3).sum(axis=1)
        assert np.abs(rows).max() < 1e-12 * scale
        index = {tuple(m): k for k, m in enumerate(found.cells.tolist())}
        for m, block in zip(found.cells.tolist(), found.blocks[0], strict=True):
            mirror = found.blocks[0, index[tuple(-v for v in m)]]
            np.testing.assert_allclose(block, mirror.T, atol=1e-12 * scale)

    def test_without_site_energies(self):
        from ase.calculators.emt import EMT

        potential = ASEPotential(EMT(), ["Cu"], cutoff=5.0)
        with pytest.raises(CapabilityError, match="no site energies"):
            force_constants(fcc("Cu", 3.6), potential)
        with pytest.raises(CapabilityError, match="no site energies"):
            LatticeVibrations(fcc("Cu", 3.6), potential)


class TestVibrations:
    def test_einstein_atoms_between_springs(self):
        """Springs k to twelve neighbours at rest: m omega^2 = 4 k in every direction."""
        potential = Morse("Cu", 0.3, 2.0, 2.5, 3.2)
        crystal = fcc("Cu", 2.5 * np.sqrt(2.0))
        v = LatticeVibrations(crystal, potential, "local")
        omega = np.sqrt(4.0 * 2.0 * 0.3 * 2.0**2 / v.masses[0])
        np.testing.assert_allclose(v.frequencies(np.eye(3)), omega, rtol=1e-12)
        t = 300.0
        expected = 3.0 * units.kB * t * np.log(HBAR * omega / (units.kB * t))
        np.testing.assert_allclose(v.free_energy(np.eye(3), t), expected, rtol=1e-12)

    def test_the_sum_over_the_zone_is_that_of_its_dynamical_matrices(self):
        crystal, potential = setting("Si")
        v = LatticeVibrations(crystal, potential, grid=2)
        reciprocal = 2 * np.pi * np.linalg.inv(crystal.cell).T
        q = np.array([[0.25, 0.25, 0.25], [0.25, -0.25, 0.25], [0.25, 0.25, -0.25]])
        q = np.vstack([q, [[-0.25, 0.25, 0.25]]]) @ reciprocal
        # Four waves, their opposites, and all images of them.
        images = (q @ g.T for g in point_group(crystal))
        unique = {tuple(np.round(np.sort(i @ i.T).ravel(), 6)): i for i in images}
        logs = [
            0.5 * np.linalg.slogdet(dynamical_matrix(crystal, potential, one))[1]
            for image in unique.values()
            for one in image
        ]
        np.testing.assert_allclose(v.log_frequencies(np.eye(3)), np.mean(logs), rtol=1e-11)
        mean = np.log(v.frequencies(np.eye(3))[0]).sum(axis=1).mean()
        np.testing.assert_allclose(mean, np.mean(logs), rtol=1e-11)

    @pytest.mark.parametrize("name", ["Cu", "Ti", "columns", "plane"])
    def test_the_grid_has_the_symmetry_of_the_crystal(self, name):
        crystal, potential = setting(name)
        v, d = LatticeVibrations(crystal, potential, grid=4), crystal.dim

        def named(k):
            k = np.rint(8 * np.concatenate([k, -k])).astype(int)[:, :d] % 8
            return sorted(map(tuple, k.tolist()))

        waves = v._waves
        for g in point_group(crystal):
            turned = waves @ crystal.inverse_cell.T @ g.T @ crystal.cell.T
            assert named(turned) == named(waves)
        assert np.abs(waves).max(axis=1).min() > 0.0

    def test_columns_move_as_one(self):
        """Waves of columns are those of the crystal that are even along the line."""
        crystal, potential = setting("columns")
        v = LatticeVibrations(crystal, potential, grid=2)
        reciprocal = 2 * np.pi * np.linalg.inv(crystal.cell).T
        logs = [
            0.5 * np.linalg.slogdet(dynamical_matrix(crystal, potential, k @ reciprocal))[1]
            for k in np.array([[0.25, 0.25, 0.0], [0.25, -0.25, 0.0]])
        ]
        np.testing.assert_allclose(v.log_frequencies(np.eye(3)), np.mean(logs), rtol=1e-11)
        # One column among others at rest: the mean over all waves of the plane.
        line = (np.arange(16) + 0.5) / 16
        k = np.array(np.meshgrid(line, line, [0.0])).reshape(3, -1).T
        block = force_constants(crystal, potential).fourier(k).mean(axis=1)[0]
        one = LatticeVibrations(crystal, potential, "local").frequencies(np.eye(3))[0, 0]
        np.testing.assert_allclose(one**2 * v.masses[0], np.linalg.eigvalsh(block), rtol=1e-10)

    @pytest.mark.parametrize("model", ["quasi-harmonic", "local"])
    def test_an_inverse_power_crystal_has_one_exponent(self, model):
        """Force constants scale as a^-(n + 2), so f_vib falls by 3 (n + 2) / 2 kT per ln a."""
        n, crystal = 12, fcc("Ar", np.sqrt(2.0))
        v = LatticeVibrations(crystal, InversePower(n), model, grid=4)
        scales = np.array([0.97, 1.0, 1.04])
        g = v.log_frequencies(scales[:, None, None] * np.eye(3))
        np.testing.assert_allclose(g - g[1], -1.5 * (n + 2) * np.log(scales), atol=1e-11)

    def test_rotations_change_nothing(self):
        crystal, potential = setting("Si")
        v = LatticeVibrations(crystal, potential, grid=4)
        f = strained(1, 0.03, 2)
        turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
        turn *= np.linalg.det(turn)
        np.testing.assert_allclose(
            v.log_frequencies(turn @ f), v.log_frequencies(f), rtol=1e-10, atol=1e-10
        )

    def test_quantum_statistics(self):
        """Wigner's first correction where it is warm, the zero point where it is cold."""
        crystal, potential = setting("Si")
        v = LatticeVibrations(crystal, potential, statistics="quantum", grid=4)
        classical = LatticeVibrations(crystal, potential, grid=4)
        state, t = np.eye(3)[None], 5000.0
        x = HBAR * v.frequencies(state)[0] / (units.kB * t)
        gap = v.free_energy(state, t) - classical.free_energy(state, t)
        wigner = units.kB * t * (x**2 / 24 - x**4 / 2880).sum(axis=1).mean()
        np.testing.assert_allclose(gap, wigner, rtol=1e-5)
        zero = 0.5 * HBAR * v.frequencies(state)[0].sum(axis=1).mean()
        np.testing.assert_allclose(v.free_energy(state, 0.0), zero)
        assert v.free_energy(state, 30.0) < zero
        assert v.entropy(state, 0.0)[0] == v.heat_capacity(state, 0.0)[0] == 0.0

    @pytest.mark.parametrize("statistics", ["classical", "quantum"])
    def test_entropy_and_heat_capacity_are_derivatives(self, statistics):
        crystal, potential = setting("Si")
        v = LatticeVibrations(crystal, potential, statistics=statistics, grid=2)
        state, t, h = 1.01 * np.eye(3), 350.0, 0.5
        low, high = (v.free_energy(state, t + s * h) for s in (-1, 1))
        np.testing.assert_allclose(v.entropy(state, t), (low - high) / (2 * h), rtol=1e-6)
        low, high = (v.entropy(state, t + s * h) for s in (-1, 1))
        np.testing.assert_allclose(
            v.heat_capacity(state, t), t * (high - low) / (2 * h), rtol=1e-5
        )

    def test_bad_input(self):
        crystal, potential = setting("Si")
        with pytest.raises(InputError, match="model of vibrations: 'locl'; did you mean 'local'"):
            LatticeVibrations(crystal, potential, "locl")
        with pytest.raises(InputError, match="statistics of vibrations"):
            LatticeVibrations(crystal, potential, statistics="bose")
        with pytest.raises(InputError, match="grid must be even"):
            LatticeVibrations(crystal, potential, grid=5)
        with pytest.raises(InputError, match="masses must be 2 positive"):
            LatticeVibrations(crystal, potential, masses=[28.0, -1.0])
        v = LatticeVibrations(crystal, potential, grid=2)
        for t in (-1.0, np.nan, "warm"):
            with pytest.raises(InputError, match="temperature must be"):
                v.free_energy(np.eye(3), t)
        with pytest.raises(NonFiniteError, match="gradient 1 is not finite"):
            v.free_energy(np.array([np.eye(3), np.full((3, 3), np.nan)]), 300.0)
        stretched = np.array([np.eye(3), 1.4 * np.eye(3)])
        with pytest.raises(NonFiniteError, match="state 1 is unstable"):
            v.free_energy(stretched, 300.0)
        assert np.isnan(v.log_frequencies(stretched, unstable="nan")[1])


class TestExpansion:
    def test_of_an_inverse_power_crystal(self):
        """ln a = ln(1 + 2 e) / 2 under E = e 1: its derivatives in e are 1, -2, 8."""
        n, crystal = 12, fcc("Ar", np.sqrt(2.0))
        v = LatticeVibrations(crystal, InversePower(n), grid=4)
        x = expand_free_energy(v, np.eye(3), 100.0)
        ones = np.array([1.0, 1, 1, 0, 0, 0])
        slope = -1.5 * (n + 2)
        np.testing.assert_allclose(x.first @ ones, slope, rtol=1e-6)
        np.testing.assert_allclose(ones @ x.second @ ones, -2 * slope, rtol=1e-5)
        third = np.einsum("ijk,i,j,k->", x.third, ones, ones, ones)
        np.testing.assert_allclose(third, 8 * slope, rtol=1e-3)
        # Cubic symmetry, whole.
        np.testing.assert_allclose(x.first, x.first[0] * ones, atol=1e-12 * abs(x.first[0]))
        assert (x.errors < [1e-7, 1e-4, 1e-2]).all()

    @pytest.mark.parametrize("name", ["Cu", "plane"])
    def test_against_the_direct_evaluation(self, name):
        crystal, potential = setting(name)
        x = expansion(name)
        v = LatticeVibrations(crystal, potential)
        f = strained(8, 0.006, 4, planar=name == "plane") @ x.reference
        if name == "plane":
            f[:, 2, 2] = x.reference[2, 2]
        direct, base = v.free_energy(f, 200.0), v.free_energy(x.reference, 200.0)
        change = np.abs(direct - base).max()
        assert np.abs(x.evaluate(f)[0] - direct).max() < 2e-3 * change
        second = expand_free_energy(v, x.reference, 200.0, order=2).evaluate(f)[0]
        assert np.abs(second - direct).max() > 3 * np.abs(x.evaluate(f)[0] - direct).max()
        assert x.truncation < 0.02

    @pytest.mark.parametrize("size", [0.01, 0.15], ids=["inside", "beyond the radius"])
    def test_derivatives(self, size):
        x = expansion("Cu")
        f = strained(40, size, 5) @ x.reference
        direction = np.random.default_rng(6).normal(size=f.shape)
        assert x.inside(f).all() if size < 0.02 else not x.inside(f).any()
        _, gradient, tangent = x.evaluate(f, tangent=True)
        slope = np.einsum("nij,nij->n", gradient, direction)
        bend = np.einsum("nijkl,nkl->nij", tangent, direction)
        errors = []
        for h in STEPS:
            up, down = x.evaluate(f + h * direction), x.evaluate(f - h * direction)
            first = np.linalg.norm((up[0] - down[0]) / (2 * h) - slope) / np.linalg.norm(slope)
            second = np.linalg.norm((up[1] - down[1]) / (2 * h) - bend) / np.linalg.norm(bend)
            errors.append((first, second))
        best = np.min(errors, axis=0)
        assert (best < 1e-7).all(), errors
        assert (best < 1e-3 * np.array(errors[0])).all(), errors

    def test_smooth_and_bounded_beyond_the_radius(self):
        x = expansion("Cu")
        way = np.diag([1.0, 0.4, -0.2])

        def at(amount):
            f = ((np.eye(3) + amount * way) @ x.reference)[None]
            return x.inside(f)[0], *(v.ravel() for v in x.evaluate(f, tangent=True))

        low, high = 0.0, 0.2
        while high - low > 1e-9:
            middle = 0.5 * (low + high)
            low, high = (middle, high) if at(middle)[0] else (low, middle)
        for inner, outer in zip(at(low)[1:], at(high)[1:], strict=True):
            np.testing.assert_allclose(inner, outer, atol=1e-6 * np.abs(inner).max())
        far = [at(amount) for amount in np.linspace(0.0, 1.5, 301)]
        assert max(abs(values[1][0]) for values in far) < 1.0
        assert max(np.abs(values[2]).max() for values in far) < 2.0 * np.abs(far[0][2]).max()

    def test_rotations_and_temperatures(self):
        crystal, potential = setting("Si")
        v = LatticeVibrations(crystal, potential, grid=2)
        x = expand_free_energy(v, np.eye(3), 200.0, order=1)
        f = strained(3, 0.02, 7)
        turn = np.linalg.qr(np.random.default_rng(8).normal(size=(3, 3)))[0]
        turn *= np.linalg.det(turn)
        np.testing.assert_allclose(x.evaluate(turn @ f)[0], x.evaluate(f)[0], rtol=1e-13)
        t = np.array([50.0, 400.0, 0.0])
        states = np.tile(np.eye(3), (3, 1, 1))
        direct = [float(v.free_energy(np.eye(3), one)[0]) for one in t]
        np.testing.assert_allclose(x.evaluate(states, temperature=t)[0], direct, rtol=1e-10)
        quantum = expand_free_energy(
            LatticeVibrations(crystal, potential, statistics="quantum", grid=2),
            np.eye(3), 200.0, order=1,
        )  # fmt: skip
        with pytest.raises(InputError, match="holds at no other temperature"):
            quantum.evaluate(f, temperature=100.0)

    def test_bad_input(self):
        v = LatticeVibrations(*setting("Si"), grid=2)
        with pytest.raises(InputError, match="order of the expansion"):
            expand_free_energy(v, np.eye(3), 300.0, order=4)
        with pytest.raises(InputError, match="radius of the expansion"):
            expand_free_energy(v, np.eye(3), 300.0, radius=1.0)
        with pytest.raises(NonFiniteError, match="reference of the expansion"):
            expand_free_energy(v, 1.4 * np.eye(3), 300.0)

    def test_no_lattice_at_all(self):
        with pytest.raises(ConvergenceError, match="unstable"):
            thermal_lattice(*setting("plane"), 20000.0)


# -- models at temperature -------------------------------------------------------------------------


@cache
def model(name="plane", temperature=150.0):
    crystal, potential = setting(name.split()[0])
    sizes = {
        "plane": (2.3, 2.2, 12.0),
        "plane small": (2.3, 2.2, 6.5),
        "Cu": (7.3, 5.2, 22.0),
        "columns": (7.5, 5.0, 45.0),
    }[name]
    core, blend, outer = sizes
    return QuasiContinuum(
        crystal, potential, core=core, blend=blend, outer=outer, temperature=temperature,
        defects=PointDefects(vacant=[(0, 0, 0)]),
    )  # fmt: skip


class TestBooks:
    def test_solid_angles(self):
        triangle = np.array([[[0, 0], [2, 0], [0, 2.0]]])
        np.testing.assert_allclose(solid_angles(triangle), [[1 / 4, 1 / 8, 1 / 8]])
        corner = np.vstack([np.zeros((1, 3)), np.eye(3)])
        assert solid_angles(corner[None])[0, 0] == pytest.approx(1 / 8)
        regular = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]])
        exact = (3 * np.arccos(1 / 3) - np.pi) / (4 * np.pi)
        np.testing.assert_allclose(solid_angles(regular[None]), exact)

    @pytest.mark.parametrize("name", ["plane", "Cu", "columns"])
    def test_nodes_and_slaved_atoms_are_all_sites(self, name):
        layout = model(name).layout
        mesh = layout.mesh
        # Without the vacancy: its vertex is held still and counts as no node.
        free = layout.free | (layout.beta_nodes == 0.0)[:, None]
        layout = replace(layout, constraint=Constraint(free))
        s = slaved_fractions(layout)
        atoms = mesh.volumes / mesh.crystal.volume
        nodes = int((~mesh.boundary).sum())
        assert (s * atoms).sum() + nodes == pytest.approx(atoms.sum(), rel=1e-12)
        unit = atoms < 1.01 / (6 if mesh.dim == 3 else 2)
        inner = ~mesh.boundary[mesh.elements].any(axis=1)
        assert np.abs(s[unit & inner]).max() < 1e-12
        assert s.max() > 0.9
        assert s.min() >= 0.0

    def test_quasi_static_nodes_do_not_vibrate(self):
        layout = model().layout
        everything = slaved_fractions(layout, lambda x: np.ones(len(x), dtype=bool))
        np.testing.assert_allclose(everything, 1.0)
        far = slaved_fractions(layout, lambda x: np.linalg.norm(x, axis=1) > 6.0)
        plain = slaved_fractions(layout)
        assert (far >= plain - 1e-14).all()
        distance = np.linalg.norm(layout.mesh.positions, axis=1)[layout.mesh.elements]
        np.testing.assert_allclose(far[(distance > 6.0).all(axis=1)], 1.0)
        np.testing.assert_allclose(far[(distance < 6.0).all(axis=1)],
                                   plain[(distance < 6.0).all(axis=1)])  # fmt: skip
        with pytest.raises(InputError, match="one for each node"):
            slaved_fractions(layout, lambda x: np.ones(3, dtype=bool))


class TestModel:
    @pytest.mark.parametrize("scheme", ["bgfc", "bqcf", "cauchy-born"])
    def test_conformance(self, scheme):
        crystal, potential = setting("plane")
        warm = QuasiContinuum(
            crystal, potential, scheme=scheme, core=2.3, blend=2.2, outer=12.0, temperature=200.0
        )
        report = check_coupling(warm)
        assert all(check.passed for check in report.checks), str(report)

    def test_conformance_in_space(self):
        warm = model("Cu")
        load = np.random.default_rng(0).normal(size=warm.U.shape)
        report = check_coupling(warm.without_mean_force(load))
        assert all(check.passed for check in report.checks), str(report)

    def test_the_ghost_correction_is_that_of_the_static_energy(self):
        """At the predictor the free energy alone pulls, to be balanced by the atoms' motion."""
        crystal, potential = setting("plane")
        warm = QuasiContinuum(
            crystal, potential, core=2.3, blend=2.2, outer=12.0, temperature=200.0
        )
        continuum, zero = warm.coupling.blended.continuum, np.zeros_like(warm.U)
        total, both = warm.forces(), continuum.forces(zero)
        continuum.set_vibration(None)
        pull = np.where(warm.layout.free, both - continuum.forces(zero), 0.0)
        assert np.abs(pull).max() > 1e-3
        np.testing.assert_allclose(total, pull, atol=1e-12)
        # And no vibration is slaved where atoms and continuum blend.
        inner = warm.layout.beta_nodes < 1.0
        assert np.abs(pull[inner]).max() < 1e-12

    def test_elements_hold_the_free_energy(self):
        """All of the crystal in elements, nothing vibrating: N (W + f_vib), at rest at F_T."""
        crystal, potential = setting("plane")
        warm = QuasiContinuum(
            crystal, potential, scheme="cauchy-born", outer=12.0, temperature=200.0,
            quasi_static=lambda x: np.ones(len(x), dtype=bool),
        )  # fmt: skip
        assert np.abs(warm.forces()).max() < 1e-12
        lattice = warm.thermal.lattice
        np.testing.assert_allclose(warm.far_field.mean_deformation, lattice.deformation)
        v, h = lattice.vibrations, 0.004
        u = np.where(True, h * warm.layout.node_positions, 0.0)
        f = np.eye(3)
        f[:2, :2] = lattice.deformation[:2, :2] + h * np.eye(2)
        sites = warm.mesh.volumes.sum() / crystal.volume
        w = warm.rule.site_energy(np.array([f, lattice.deformation]))
        g = v.free_energy(np.array([f, lattice.deformation]), 200.0)
        assert warm.energy(u) == pytest.approx(sites * (w[0] - w[1] + g[0] - g[1]), rel=1e-3)

    def test_other_temperatures(self):
        warm = model()
        cold = warm.with_temperature(50.0)
        again = cold.with_temperature(150.0)
        np.testing.assert_allclose(
            again.far_field.mean_deformation, warm.far_field.mean_deformation, rtol=1e-12
        )
        assert cold.temperature == 50.0
        assert 1.0 < cold.far_field.mean_deformation[0, 0] < warm.far_field.mean_deformation[0, 0]
        frozen = warm.with_temperature(None)
        assert frozen.temperature is None
        np.testing.assert_allclose(frozen.far_field.mean_deformation, np.eye(3), atol=1e-12)
        stretch = np.diag([1.01, 1.0, 1.0])
        loaded = warm.with_strain(stretch @ np.asarray(warm.far_field.mean_deformation))
        kept = loaded.with_temperature(None).far_field.mean_deformation
        np.testing.assert_allclose(kept, stretch, atol=1e-12)

    def test_a_given_lattice_is_at_rest(self):
        crystal, potential = setting("plane")
        warm = QuasiContinuum(
            crystal, potential, scheme="cauchy-born", outer=12.0, temperature=200.0,
            thermal_deformation=1.005, quasi_static=lambda x: np.ones(len(x), dtype=bool),
        )  # fmt: skip
        np.testing.assert_allclose(warm.far_field.mean_deformation, np.diag([1.005, 1.005, 1.0]))
        stress = warm.coupling.blended.continuum.stress(warm.U)
        assert np.abs(stress).max() < 1e-12
        with pytest.raises(InputError, match="balances"):
            warm.with_temperature(0.0, thermal_deformation=1.005)

    def test_elements_of_their_own_temperature(self):
        warm = model()
        continuum = warm.with_temperature(150.0).coupling.blended.continuum
        u = 0.003 * np.where(warm.layout.free, np.sin(warm.layout.node_positions), 0.0)
        uniform = continuum.forces(u)
        n = len(warm.mesh.elements)
        x = warm.thermal.expansion
        continuum.set_vibration(x, temperature=np.full(n, 150.0))
        np.testing.assert_allclose(continuum.forces(u), uniform, atol=1e-14)
        continuum.set_vibration(x, temperature=np.zeros(n))
        cold = continuum.forces(u)
        continuum.set_vibration(None)
        np.testing.assert_allclose(continuum.forces(u), cold, atol=1e-14)
        assert np.abs(cold - uniform).max() > 1e-3

    def test_bad_input(self):
        crystal, potential = setting("plane")
        with pytest.raises(InputError, match="did you mean 'local'"):
            QuasiContinuum(crystal, potential, outer=30.0, temperature=10.0, vibrations="loca")
        with pytest.raises(InputError, match="temperature must be finite"):
            model().with_temperature(-3.0)
        with pytest.raises(InputError, match="the force must be"):
            model().without_mean_force(np.zeros((3, 3)))


class TestSampler:
    def test_covariance_is_the_inverse_of_the_hessian(self):
        """The map from white noise to samples, column by column, times its transpose."""
        n, rng = 30, np.random.default_rng(0)
        m = sp.diags([np.full(n - 1, -1.0), np.full(n, 2.2), np.full(n - 1, -1.0)], [-1, 0, 1])
        random = rng.normal(size=(n, n))
        k = m.toarray() + 0.05 * random @ random.T / n + np.diag(rng.uniform(0, 1, n))

        class Unit:
            def __init__(self, column):
                self.column = column

            def standard_normal(self, size):
                return np.eye(size)[self.column]

        sampler = GaussianSampler(lambda v: k @ v, m.tocsr())
        a = np.array([sampler.draw(Unit(c)) for c in range(n)]).T
        np.testing.assert_allclose(a @ a.T @ k, np.eye(n), atol=2e-3)

    def test_unstable(self):
        m = sp.identity(4, format="csr")
        with pytest.raises(ConvergenceError, match="not positive definite"):
            GaussianSampler(lambda v: -v, m).draw(np.random.default_rng(0))
        with pytest.raises(ConvergenceError, match="stiffness"):
            GaussianSampler(lambda v: v, -m)


@cache
def exact_load(temperature):
    return mean_force(model("plane small").with_temperature(temperature))


class TestMeanForce:
    def test_nothing_at_zero_temperature(self):
        cold = model("plane small").with_temperature(0.0)
        found = mean_force(cold)
        assert np.abs(found.force).max() < 1e-12
        assert found.evaluations == 1

    def test_linear_in_the_temperature(self):
        warm = model("plane small")
        one, two = exact_load(2.0), exact_load(4.0)
        assert one.method == "exact"
        error = np.linalg.norm(two.force - 2.0 * one.force) / np.linalg.norm(two.force)
        assert error < 2e-3
        assert not np.any(one.force[~warm.layout.free])

    def test_samples_have_the_exact_mean(self):
        """Within their own error, where it is cold and the leading order is all there is."""
        cold = model("plane small").with_temperature(2.0)
        exact = exact_load(2.0)
        found = mean_force(cold, samples=40, seed=5, method="sampling")
        free = cold.layout.free
        score = (found.force - exact.force)[free] / found.error[free]
        # The mean square of few independent numbers is near 1.
        assert 0.5 < (score**2).mean() < 1.8
        off = np.sqrt(((found.drift - exact.drift)[free] ** 2).mean())
        assert 0.2 < off / found.drift_error < 3.0

    def test_quasi_static_nodes_do_not_vibrate(self):
        """Elements hold their free energy already: where nothing is explicit there is no load."""
        crystal, potential = setting("plane")
        options = {"core": 2.3, "blend": 2.2, "outer": 6.5, "temperature": 4.0}
        still = QuasiContinuum(
            crystal, potential, scheme="cauchy-born",
            quasi_static=lambda x: np.ones(len(x), bool), **options,
        )  # fmt: skip
        assert np.abs(mean_force(still).force).max() < 1e-12
        part = QuasiContinuum(
            crystal, potential, quasi_static=lambda x: np.hypot(*x.T[:2]) > 3.5, **options
        )
        exact = mean_force(part, method="exact")
        found = mean_force(part, samples=40, seed=5, method="sampling")
        free = part.layout.free
        # Beyond the reach of what vibrates no sample pulls.
        pulled = free & (found.error > 0.0)
        score = (found.force - exact.force)[pulled] / found.error[pulled]
        assert 0.4 < (score**2).mean() < 2.0
        assert np.abs((found.force - exact.force)[~pulled]).max() < 1e-12
        every = mean_force(QuasiContinuum(crystal, potential, **options), method="exact")
        assert exact.evaluations < 0.8 * every.evaluations
        # Far outside nothing pulls, where all nodes vibrating would have a mean force.
        far = np.hypot(*part.layout.node_positions.T[:2]) > 5.4
        assert np.abs(exact.force[far]).max() < 0.2 * np.abs(exact.force).max()

    def test_bad_input(self):
        warm = model("plane small")
        with pytest.raises(InputError, match="no temperature; give one"):
            mean_force(warm.with_temperature(None))
        with pytest.raises(InputError, match="see with_temperature"):
            mean_force(warm, 10.0)
        with pytest.raises(InputError, match="at least 2"):
            mean_force(warm, samples=1)
        with pytest.raises(InputError, match="method must be"):
            mean_force(warm, method="guess")
        crystal, potential = setting("plane")
        forces_only = QuasiContinuum(
            crystal, potential, scheme="bqcf", core=2.3, blend=2.2, outer=12.0
        )
        with pytest.raises(CapabilityError, match="no energy"):
            mean_force(forces_only, 100.0)
