"""Pair potentials against LAMMPS: the analytic forms to round-off, tables as far as they allow."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from qc import potentials
from qc.atomistic.field import ForceField

pytestmark = pytest.mark.physics

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "pairs.json").read_text())
CASES = REFERENCE["cases"]
SPECIES = ["Cu", "Ni"]


def potential_of(case):
    return getattr(potentials, case["constructor"])(SPECIES, **case["parameters"])


def evaluate(potential, case):
    atoms = np.array(case["atoms"])
    box = None if case["box"] is None else np.diag(case["box"])
    field = ForceField(potential, atoms[:, 0].astype(int), cell=box, pbc=box is not None)
    energies, forces = field.energy_forces(atoms[:, 1:4])
    return energies.sum(), forces, atoms[:, 4:]


@pytest.mark.parametrize("name", CASES)
def test_analytic_forms(name):
    case = CASES[name]
    energy, forces, expected = evaluate(potential_of(case), case)
    assert energy == pytest.approx(case["energy"], abs=1e-10 * len(forces))
    np.testing.assert_allclose(forces, expected, rtol=0, atol=1e-9)
    assert np.abs(expected).max() > 0.1


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c["dimers"]])
def test_dimers_across_the_cutoff(name):
    potential = potential_of(CASES[name])
    field = potentials_field(potential, [0, 1])
    for r, energy, force in CASES[name]["dimers"]:
        found, forces = field.energy_forces([[0, 0, 0], [0, 0, r]])
        assert found.sum() == pytest.approx(energy, abs=1e-10)
        assert forces[1, 2] == pytest.approx(force, abs=1e-9)


def potentials_field(potential, types):
    return ForceField(potential, np.array(types))


def test_a_slip_in_a_parameter_shows():
    """Negative control: another depth in the sixth digit."""
    case = dict(CASES["morse/smooth/linear"])
    depth = np.array(case["parameters"]["depth"]) * (1 + 1e-6)
    case["parameters"] = {**case["parameters"], "depth": depth}
    energy, forces, expected = evaluate(potential_of(case), case)
    assert abs(energy - case["energy"]) > 1e-5
    assert np.abs(forces - expected).max() > 1e-8


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The very table that LAMMPS ran on, its case, and what comes out of it here."""
    found = REFERENCE["tables"]
    case = CASES[found["of"]]
    path = tmp_path_factory.mktemp("table") / "pairs.table"
    potentials.write_pair_table(
        potential_of(case), path, points=found["points"], first=found["first"]
    )
    potential = potentials.PairTable.from_file(path)
    assert potential.cutoff == case["parameters"]["cutoff"]
    energy, forces, _ = evaluate(potential, case)
    return case, energy, forces


def gaps(table, style):
    case, energy, forces = table
    reference = REFERENCE["tables"]["styles"][style]
    each = abs(energy - reference["energy"]) / len(case["atoms"])
    return each, np.abs(forces - np.array(reference["forces"])).max()


def test_table_against_splines_of_lammps(table):
    """Both begin with the same spline of the energies; LAMMPS then interpolates N values of it.

    Its forces come from a spline of their own through the file's forces, so that between knots
    they differ from the slope of the energies' spline, here by 3e-8 eV/Angstrom, whatever N is.
    """
    assert gaps(table, "spline 1000")[0] < 1e-8
    assert gaps(table, "spline 10000")[0] < 1e-12
    energy, force = gaps(table, "spline 100000")
    assert energy < 1e-13
    assert 1e-11 < force < 1e-7


def test_table_against_straight_lines_of_lammps(table):
    """Second order in N, energy and force."""
    found = [gaps(table, f"linear {n}") for n in (1000, 10000, 100000)]
    for coarse, fine in itertools.pairwise(found):
        assert coarse[0] / fine[0] == pytest.approx(100.0, rel=0.1)
        assert coarse[1] / fine[1] > 50.0
    assert found[-1][1] < 1e-5


def test_table_against_the_function_it_is_of(table):
    case, energy, forces = table
    expected = np.array(case["atoms"])[:, 4:]
    assert abs(energy - case["energy"]) / len(forces) < 1e-10
    assert np.abs(forces - expected).max() < 1e-7
