"""Energies and forces of the Zhou potentials against LAMMPS on the same tables."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

import qc
from qc.materials import CauchyBorn, equilibrium_lattice_constant

pytestmark = pytest.mark.physics

REFERENCE = Path(__file__).parents[1] / "reference"
POINTS = json.loads((REFERENCE / "single_points.json").read_text())
BULK = json.loads((REFERENCE / "bulk.json").read_text())["elements"]


@pytest.mark.parametrize("name", list(POINTS["configurations"]))
def test_configurations(name):
    """Forces agree as far as the two splines of one table do: ours is C2, LAMMPS's is C1."""
    data = POINTS["configurations"][name]
    rows = np.array(data["atoms"])
    symbols = data["symbols"].split() if isinstance(data["symbols"], str) else data["symbols"]
    symbols = symbols * len(rows) if len(symbols) == 1 else symbols
    atoms = Atoms(symbols, rows[:, :3], cell=data["cell"], pbc=data["periodic"])
    atoms.calc = qc.PotentialCalculator(qc.potentials.zhou2004(*data["species"]))
    assert atoms.get_potential_energy() == pytest.approx(data["energy"], abs=1e-8 * len(rows))
    assert np.allclose(atoms.get_potential_energies(), rows[:, 6], atol=1e-8)
    assert np.allclose(atoms.get_forces(), rows[:, 3:6], atol=1e-6)


@pytest.mark.parametrize("pair", list(POINTS["dimers"]))
def test_dimers(pair):
    species = list(dict.fromkeys(pair.split("-")))
    calculator = qc.PotentialCalculator(qc.potentials.zhou2004(*species))
    for distance, energy, force in POINTS["dimers"][pair]:
        # Far apart, the density is below the second knot of its table, where LAMMPS takes
        # one-sided slopes and our spline does not.
        near = distance < 4.5
        atoms = Atoms(pair.split("-"), [[0, 0, 0], [distance, 0, 0]], calculator=calculator)
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-12 if near else 5e-7)
        assert atoms.get_forces()[1, 0] == pytest.approx(force, abs=1e-9 if near else 3e-6)


@pytest.mark.parametrize("symbol", list(BULK))
def test_bulk(symbol):
    data = BULK[symbol]
    build = getattr(qc.crystal, data["structure"])
    potential = qc.potentials.zhou2004(symbol)
    a = equilibrium_lattice_constant(build(symbol, data["lattice_constant"]), potential)
    assert a == pytest.approx(data["lattice_constant"], abs=1e-6)
    rule = CauchyBorn(build(symbol, a), potential)
    assert rule.site_energy(np.eye(3)[None])[0] == pytest.approx(data["cohesive_energy"], abs=1e-8)
    c = rule.elastic_constants()
    ours = (c[0, 0, 0, 0], c[0, 0, 1, 1], c[0, 1, 0, 1])
    assert ours == pytest.approx((data["C11"], data["C12"], data["C44"]), abs=1e-4)
