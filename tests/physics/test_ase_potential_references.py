"""States that LAMMPS relaxed are in equilibrium under wrapped calculators: forces of patches."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from qc.adapters.ase import PotentialCalculator
from qc.potentials import ASEPotential, stillinger1985, zhou2004

pytestmark = pytest.mark.physics

FOLDER = Path(__file__).parents[1] / "reference"


def wrap(potential):
    return ASEPotential(PotentialCalculator(potential), potential.species, potential.cutoff)


def forces_inside(wrapped, y, distance, reach, cell=None, pbc=(False, False, False)):
    """Forces on atoms whose distance leaves two cutoffs to the end of the stored ones."""
    forces = wrapped.cluster_forces(y, np.zeros(len(y), int), cell, pbc)[1]
    return forces[distance < reach - 2 * wrapped.cutoff - 1.0]


def test_the_basal_screw_in_cobalt():
    data = json.loads((FOLDER / "dislocation_basal_screw_Co.json").read_text())
    geometry = data["geometry"]
    cell, basis = np.array(geometry["cell"]), np.array(geometry["basis"])
    rows = np.array(data["displacement"])
    m = np.column_stack([rows[:, :2], np.zeros(len(rows))])
    x = m @ cell + basis[rows[:, 2].astype(int)]
    core = np.array(data["far_field"]["dislocations"][0]["position"])
    distance = np.linalg.norm(x[:, :2] - core, axis=1)
    assert np.all(np.diff(distance) > -1e-9)
    native = zhou2004("Co")
    assert native.fingerprint() == data["potential"]["fingerprint"]
    args = (distance, distance.max(), cell, (False, False, True))
    forces = forces_inside(wrap(native), x + rows[:, 3:6], *args)
    assert len(forces) > 100
    # Positions are stored to 1e-8 Angstrom, and the table of LAMMPS is another spline.
    assert np.abs(forces).max() < 2e-6
    # Off equilibrium by a thousandth of an Angstrom, forces are a thousand times larger.
    moved = x + rows[:, 3:6] + 1e-3 * np.random.default_rng(0).normal(size=x.shape)
    assert np.abs(forces_inside(wrap(native), moved, *args)).max() > 1e-3


def test_the_vacancy_in_silicon():
    data = json.loads((FOLDER / "vacancy_3d_Si.json").read_text())
    a = data["crystal"]["lattice_constant"]
    stored = np.array(data["displacements"])
    found = {}
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            if np.prod(signs) > 0:
                image = (stored.reshape(-1, 2, 3) * signs)[:, :, list(order)]
                found |= {tuple(np.rint(k).astype(int)): u for k, u in image}
    m, u = np.array(list(found)), np.array(list(found.values()))
    radius = data["wedge"]["radius_in_a"] * a
    # Every site of the ball but the vacant one: eight to a cube.
    assert len(m) == pytest.approx(8 * 4 / 3 * np.pi * 4.0**3, rel=0.03)
    native = stillinger1985("Si")
    assert native.cutoff == pytest.approx(data["method"]["held_frame"] / 2)
    x = a / 4 * m
    wrapped, distance = wrap(native), np.linalg.norm(x, axis=1)
    forces = forces_inside(wrapped, x + u, distance, radius)
    assert len(forces) > 300
    assert np.abs(forces).max() < 1e-6
    # The lattice with a hole is in equilibrium, too, at the higher energy of four cut bonds.
    assert np.abs(forces_inside(wrapped, x, distance, radius)).max() < 1e-10
    assert data["unrelaxed_defect_energy"] == pytest.approx(2 * 2.1682, abs=1e-9)
    half = forces_inside(wrapped, x + 0.5 * u, distance, radius)
    assert np.abs(half).max() > 0.1
    types = np.zeros(len(m), int)
    energies = [wrapped.cluster_forces(x + s * u, types)[0] for s in (0, 1)]
    assert energies[1] < energies[0]
