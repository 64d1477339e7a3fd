"""The lattice without stress that dynamics finds, against LAMMPS at constant pressure."""

from __future__ import annotations

import numpy as np
import pytest
from ase.units import fs

from qc.bulk import sampled_lattice
from qc.crystal import fcc, hcp
from qc.errors import ConvergenceError, InputError
from qc.materials import equilibrium_crystal, thermal_lattice
from qc.potentials import LennardJones, zhou2004
from tests.physics.test_quasi_harmonic import recorded

pytestmark = pytest.mark.physics

@pytest.mark.parametrize(("name", "t"), [("Ar", 40), ("Cu", 300), ("Si", 300)])
def test_expansion_is_that_of_dynamics_at_constant_pressure(name, t):
    potential, crystal, points = recorded(name)
    (point,) = [p for p in points if p["temperature"] == t]
    found = sampled_lattice(crystal, potential, t, steps=3000)
    measured = point["lattice_constant"] / crystal.a - 1.0
    strain, error = found.deformation[0, 0] - 1.0, found.error[0, 0]
    assert 0.0005 < error / measured < 0.01
    # A block of 250 atoms lacks 0.4 % of its vibrations.
    assert abs(strain - measured) < 3.5 * error + 0.005 * measured
    np.testing.assert_allclose(found.deformation, (1.0 + strain) * np.eye(3), atol=1e-12)


def test_both_edges_of_a_hexagonal_crystal_expand_as_free_energy_says():
    """At a low temperature, where harmonic vibrations are right."""
    potential = zhou2004("Mg")
    crystal = equilibrium_crystal(hcp("Mg", 3.2, 5.2), potential)
    harmonic = thermal_lattice(crystal, potential, 40.0, grid=4).deformation
    found = sampled_lattice(crystal, potential, 40.0, steps=2500, start=harmonic)
    for k in (0, 2):
        expansion = harmonic[k, k] - 1.0
        gap = found.deformation[k, k] - harmonic[k, k]
        assert found.error[k, k] < 0.1 * expansion
        assert abs(gap) < 4.0 * found.error[k, k] + 0.05 * expansion


def test_potentials_without_a_kernel_of_their_own_move_alike():
    class Plain(LennardJones):
        pair_list = "none"

    settings = {"epsilon": 0.0104, "sigma": 3.4, "cutoff": 6.0}
    crystal = equilibrium_crystal(fcc("Ar", 5.27), Plain("Ar", **settings))
    found = [
        sampled_lattice(crystal, kind("Ar", **settings), 10.0, steps=1700, sites=30)
        for kind in (Plain, LennardJones)
    ]
    np.testing.assert_allclose(found[0].deformation, found[1].deformation, atol=1e-9)


def test_what_cannot_be_sampled():
    potential, crystal, _ = recorded("Ar")
    with pytest.raises(ConvergenceError, match="melts"):
        sampled_lattice(crystal, potential, 250.0, steps=2000, sites=100)
    columns = fcc("Ar", crystal.a, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns()
    with pytest.raises(InputError, match="three dimensions"):
        sampled_lattice(columns, potential, 30.0)
    for name, bad in (
        ("temperature", -1.0), ("steps", 100), ("sites", 0), ("timestep", np.nan),
        ("friction", -1.0), ("start", np.zeros((3, 3))), ("start", np.eye(2)),
    ):  # fmt: skip
        given = {"temperature": 30.0, "steps": 2000} | {name: bad}
        with pytest.raises(InputError, match=name):
            sampled_lattice(crystal, potential, **given)
    with pytest.raises(InputError, match="potential must be a Potential, got"):
        sampled_lattice(crystal, 3, 30.0)
    with pytest.raises(InputError, match="bound"):
        sampled_lattice(crystal, potential, 30.0, timestep=1000 * fs)
