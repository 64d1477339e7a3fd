"""Coarse nodes that do not vibrate but follow the free energy: the second variant of hot-QC."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units

from qc.coupling import QuasiContinuum
from qc.crystal import triangular
from qc.dynamics import Dynamics, Langevin
from qc.materials import equilibrium_crystal
from qc.potentials import Morse

pytestmark = pytest.mark.physics

KELVIN = 250.0


@pytest.fixture(scope="module")
def model():
    potential = Morse("Ar", 0.5, 4.0, 1.0, 2.2)
    crystal = equilibrium_crystal(triangular("Ar", 1.0), potential)
    return QuasiContinuum(
        crystal, potential, core=4.3, blend=2.2, outer=14.0, temperature=KELVIN,
        quasi_static=lambda x: np.linalg.norm(x, axis=1) > 9.0,
    )  # fmt: skip


def test_coarse_nodes_follow_the_free_energy_and_stay_cold(model):
    """From a lattice one percent too large they come back to the one without stress."""
    layout = model.layout
    x, free = layout.node_positions, layout.free.any(axis=1)
    radius = np.linalg.norm(x, axis=1)
    coarse = radius > 9.0
    bath = Langevin(np.where(coarse, 0.0, KELVIN), 0.5)
    dynamics = Dynamics(model, 0.02, baths=[bath], seed=4)
    dynamics.set_temperature(2.0 * KELVIN)
    start = np.where(layout.free, 0.01 * x, 0.0)
    dynamics.set_state(x=start, v=np.where(coarse[:, None], 0.0, dynamics.v))
    dynamics.run(1500)
    inside, outside = free & (radius < 6.0), free & coarse
    kelvin, places = [], []

    def note(d):
        energy = (d.system.masses[:, None] * d.v**2)[:, :2] / units.kB
        kelvin.append([energy[inside].mean(), energy[outside].mean()])
        places.append(d.x.copy())

    dynamics.run(5000, note, every=10)
    warm, cold = np.mean(kelvin, axis=0)
    # The cold nodes take a little heat from the atoms next to them.
    assert warm == pytest.approx(KELVIN, rel=0.05)
    assert cold < 0.1 * KELVIN
    mean = np.mean(places, axis=0)[outside]
    strain = np.sum(mean * x[outside]) / np.sum(x[outside] ** 2)
    thermal = np.sqrt(np.linalg.det(model.thermal.deformation[:2, :2])) - 1.0
    assert thermal > 0.003
    assert abs(strain) < 0.1 * thermal
    assert abs(dynamics.ledger.closure) < 1e-9
