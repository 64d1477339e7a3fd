"""Blended forces with an ASE calculator, against the same potential with site energies."""

import numpy as np
import pytest

import qc
from qc import crystal
from qc.adapters.ase import PotentialCalculator
from qc.coupling.point_defects import PointDefects
from qc.potentials import ASEPotential, Morse, stillinger1985

pytestmark = pytest.mark.physics

COPPER = Morse("Cu", depth=0.34, stiffness=1.4, distance=2.87, cutoff=5.0)
CASES = {
    "Cu": (COPPER, crystal.fcc("Cu", 3.59, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]), 6.0, 18.0),
    "Si": (
        stillinger1985("Si"),
        crystal.diamond("Si", 5.431, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]),
        8.0,
        20.0,
    ),
}


def pair(name, tolerance=0.0):
    """A model on a potential, and on its calculator; every cell is asked for unless tolerated."""
    native, made, core, outer = CASES[name]
    wrapped = ASEPotential(PotentialCalculator(native), name, native.cutoff, tolerance=tolerance)
    hole = PointDefects(vacant=[(0, 0, 0)])
    return [
        qc.QuasiContinuum(
            made.as_columns(), p, scheme="bqcf", core=core, blend=core, outer=outer, defects=hole
        )
        for p in (native, wrapped)
    ]


@pytest.mark.parametrize("name", CASES)
def test_forces_and_hessian_products(name):
    native, wrapped = pair(name)
    rng = np.random.default_rng(0)
    u = 0.01 * rng.normal(size=native.U.shape)
    u[~native.layout.free] = 0
    forces = native.coupling.forces(u)
    assert np.abs(forces).max() > 0.1
    np.testing.assert_allclose(wrapped.coupling.forces(u), forces, atol=1e-9)
    # At U = 0 all elements are in one state, whose response is kept.
    du = rng.normal(size=u.shape)
    products = [m.coupling.hessian_product(0 * u, du) for m in (native, wrapped)]
    np.testing.assert_allclose(products[1], products[0], atol=1e-6 * np.abs(products[0]).max())


def test_the_relaxed_state_is_the_same():
    native, wrapped = pair("Cu")
    assert qc.relax(native, fmax=1e-8).converged
    assert np.abs(native.U).max() > 0.05
    assert np.abs(wrapped.coupling.forces(native.U)).max() < 1e-6
    # By an expansion, within its tolerance: of the order of the tolerance over a spacing.
    expanded = pair("Cu", 2e-5)[1]
    assert np.abs(expanded.coupling.forces(native.U)).max() < 1e-5
    # From the work of the forces here, from site energies there.
    energies = [m.coupling.defect_energy(native.U) for m in (native, wrapped)]
    assert energies[1] == pytest.approx(energies[0], abs=1e-4)
