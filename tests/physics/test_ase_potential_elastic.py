"""Elasticity of crystals under wrapped ASE calculators, sublattice shifts included."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import GPa

from qc import crystal
from qc.adapters.ase import PotentialCalculator
from qc.materials import CauchyBorn
from qc.potentials import ASEPotential, stillinger1985, zhou2004

pytestmark = pytest.mark.physics


def relaxed(hessian, n_s):
    """Schur complement of a cell's Hessian over the shifts of all sublattices but the first."""
    a, b, c = hessian[:9, :9], hessian[:9, 12:], hessian[12:, 12:]
    moduli = a - b @ np.linalg.solve(c, b.T) if n_s > 1 else a
    return moduli.reshape(3, 3, 3, 3)


def test_emt_copper_against_strained_cells():
    atoms = bulk("Cu", "fcc", 3.6)
    atoms.calc = EMT()
    made = crystal.fcc("Cu", 3.6)
    wrapped = ASEPotential(EMT(), "Cu", 6.2)
    args = (np.eye(3)[None], np.zeros((1, 1, 3)), made.cell, made.basis, [0])
    energy, dF, _, hessian = wrapped.cell_response(*args, second=True)
    assert energy[0] == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
    stress = atoms.get_stress(voigt=False)
    np.testing.assert_allclose(dF[0] / made.volume, stress, atol=1e-12)
    # dP/dF along a stretch F_xx, from P = det F s F^-T and the stresses s of stretched cells.
    moduli = relaxed(hessian[0], 1) / made.volume
    h = 1e-4
    piola = []
    for strain in (h, -h):
        F = np.eye(3)
        F[0, 0] += strain
        strained = atoms.copy()
        strained.set_cell(atoms.cell[:] @ F.T, scale_atoms=True)
        strained.calc = EMT()
        cauchy = strained.get_stress(voigt=False)
        piola.append(np.linalg.det(F) * cauchy @ np.linalg.inv(F).T)
    slope = (piola[0] - piola[1]) / (2 * h)
    np.testing.assert_allclose(moduli[:, :, 0, 0], slope, atol=1e-6)
    # 3.6 Angstrom is a little more than the lattice constant of EMT copper, 3.59.
    assert 150 < moduli[0, 0, 0, 0] / GPa < 190


def test_an_ordered_alloy_of_four_sublattices():
    a = 3.75
    basis = np.array([[0, 0, 0], [0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    made = crystal.Crystal(
        a * np.eye(3), basis, ("Au", "Cu", "Cu", "Cu"), "multilattice", a, np.eye(3)
    )
    native = zhou2004("Cu", "Au")
    wrapped = ASEPotential(PotentialCalculator(native), ["Au", "Cu"], native.cutoff)
    rng = np.random.default_rng(0)
    F = np.eye(3)[None] + 0.02 * rng.normal(size=(1, 3, 3))
    p = 0.05 * rng.normal(size=(1, 4, 3))
    p[:, 0] = 0
    types = wrapped.types_of(made.symbols)
    e, dF, dp, _ = wrapped.cell_response(F, p, made.cell, made.basis, types)
    # The native potential goes through its site energies.
    rule = CauchyBorn(made, native)
    found = rule.at_shifts(F, p)
    np.testing.assert_allclose(e, found.energy, atol=1e-10)
    np.testing.assert_allclose(dF, found.dF, atol=1e-10)
    np.testing.assert_allclose(dp, found.dp, atol=1e-10)
    assert np.abs(dp).max() > 0.1


@pytest.fixture(scope="module")
def wrapped():
    native = stillinger1985("Si")
    return ASEPotential(PotentialCalculator(native), "Si", native.cutoff)


class TestSilicon:
    """Published constants of Stillinger-Weber silicon, GPa, with its inner relaxation."""

    a = 5.431

    def test_constants(self, wrapped):
        made = crystal.diamond("Si", self.a)
        args = (np.eye(3)[None], np.zeros((1, 2, 3)), made.cell, made.basis, [0, 0])
        hessian = wrapped.cell_response(*args, second=True)[3][0]
        c = relaxed(hessian, 2) / made.volume / GPa
        stiff = hessian[:9, :9].reshape(3, 3, 3, 3) / made.volume / GPa
        assert c[0, 0, 0, 0] == pytest.approx(151.42, abs=0.02)
        assert c[0, 0, 1, 1] == pytest.approx(76.42, abs=0.02)
        assert c[1, 2, 1, 2] == pytest.approx(56.45, abs=0.02)
        assert stiff[1, 2, 1, 2] == pytest.approx(109.75, abs=0.02)
        # Kleinman: the shift of the second sublattice along x is zeta a / 4 times the yz shear.
        shift = -np.linalg.solve(hessian[12:, 12:], hessian[12:, :9]).reshape(3, 3, 3)
        assert abs(shift[0, 1, 2]) * 4 / self.a == pytest.approx(0.629, abs=1e-3)

    def test_the_cauchy_born_rule_relaxes_its_shifts(self, wrapped):
        made = crystal.diamond("Si", self.a)
        rng = np.random.default_rng(4)
        F = np.eye(3) + 0.03 * rng.normal(size=(2, 3, 3))
        w, P, tangent, shifts = CauchyBorn(made, wrapped).response(F, tangent=True)
        other = CauchyBorn(made, stillinger1985("Si")).response(F, tangent=True)
        np.testing.assert_allclose(w, other[0], atol=1e-12)
        np.testing.assert_allclose(P, other[1], atol=1e-10)
        np.testing.assert_allclose(tangent, other[2], atol=1e-6)
        np.testing.assert_allclose(shifts, other[3], atol=1e-10)
        assert np.abs(shifts).max() > 0.02


@pytest.mark.filterwarnings("ignore")
def test_a_machine_learned_potential():
    dynamics = pytest.importorskip("chgnet.model.dynamics", exc_type=ImportError)
    # Four layers of messages over bonds up to 6 Angstrom; the network runs in single precision,
    # and a shell of neighbours is close to the end of its bonds, where curvatures depend on steps.
    wrapped = ASEPotential(
        dynamics.CHGNetCalculator(use_device="cpu"), "Si", 24.0, label="CHGNet", step=1e-2
    )
    made = crystal.diamond("Si", 5.46)
    F, p = np.eye(3)[None], np.zeros((1, 2, 3))
    args = (made.cell, made.basis, [0, 0])
    e, dF, dp, hessian = wrapped.cell_response(F, p, *args, second=True)
    assert -6.5 < e[0] / 2 < -4.0
    np.testing.assert_allclose(dp, 0, atol=1e-3)
    h = 2e-3
    ahead, back = (wrapped.cell_response(s * F, p, *args)[0][0] for s in (1 + h, 1 - h))
    assert np.trace(dF[0]) == pytest.approx((ahead - back) / (2 * h), abs=0.03)
    c = relaxed(hessian[0], 2) / made.volume / GPa
    assert 80 < c[0, 0, 0, 0] < 220
    energy, forces = wrapped.cluster_forces([[0, 0, 0], [0, 0, 2.2]], [0, 0])
    assert np.isfinite(energy)
    np.testing.assert_allclose(forces[0], -forces[1], atol=1e-4)
