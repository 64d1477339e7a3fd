"""Surfaces, gamma lines, phonons and vacancies against LAMMPS on the same potentials."""

import json
from pathlib import Path

import numpy as np
import pytest

from qc.bulk import properties as bulk
from qc.bulk.faults import Stack, gamma_line
from qc.bulk.structures import KNOWN
from qc.bulk.surfaces import surface_energy
from qc.potentials import stillinger1985, zhou2004

pytestmark = pytest.mark.physics

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "bulk_defects.json").read_text(encoding="utf-8")
)["elements"]


@pytest.fixture(scope="module", params=sorted(REFERENCE))
def case(request):
    """Potential, relaxed crystal and LAMMPS's numbers of an element."""
    record = REFERENCE[request.param]
    potential = stillinger1985() if request.param == "Si" else zhou2004(request.param)
    assert potential.fingerprint() == record["potential"]["fingerprint"]
    start = bulk.standard_crystal(request.param, record["structure"], 1.0)
    return potential, bulk.relaxed_crystal(start, potential), record


def test_lattice_and_cohesion(case):
    potential, crystal, record = case
    assert crystal.a == pytest.approx(record["a"], rel=1e-8)
    if record["c"] is not None:
        assert np.linalg.norm(crystal.cell[2]) == pytest.approx(record["c"], rel=1e-8)
    # LAMMPS's energy is that of the atoms; zhou2004 gives one alone up to 1e-6 eV.
    assert bulk.cohesive_energy(crystal, potential) == pytest.approx(
        record["cohesive_energy"], abs=2e-6
    )


def test_surfaces(case):
    potential, crystal, record = case
    planes = dict(KNOWN[crystal.name].surfaces)
    assert set(record["surfaces"]) <= set(planes)
    for name, expected in record["surfaces"].items():
        energy = surface_energy(crystal, potential, planes[name]).energy
        assert energy.unrelaxed == pytest.approx(expected["unrelaxed"], rel=1e-7), name
        assert energy.relaxed == pytest.approx(expected["relaxed"], rel=1e-6), name


def test_gamma_lines(case):
    """LAMMPS holds the fault in a free slab and searches the maximum of the energy."""
    potential, crystal, record = case
    systems = {system.name: system for system in KNOWN[crystal.name].slip}
    assert set(record["gamma_lines"]) <= set(systems)
    for name, expected in record["gamma_lines"].items():
        line = gamma_line(crystal, potential, systems[name], points=11)
        samples = [round(10 * t) for t in expected["fractions"]]
        margin = {"abs": 2e-8, "rel": 1e-5}
        for key in ("unrelaxed", "relaxed"):
            np.testing.assert_allclose(
                getattr(line, key)[samples], expected[key], rtol=1e-5, atol=2e-8, err_msg=name
            )
            top = getattr(line.unstable, key)
            assert top == pytest.approx(expected[f"unstable_{key}"], **margin), name
            if line.stable is not None:
                end = getattr(line.stable, key)
                assert end == pytest.approx(expected[f"stable_{key}"], **margin), name
        assert line.unstable_at == pytest.approx(expected["unstable_relaxed_at"], abs=1e-3)


def test_phonons(case):
    potential, crystal, record = case
    points = {point.name: point for point in bulk.zone_phonons(crystal, potential)}
    for name, expected in record["phonons"].items():
        # A difference of round-off looks like its square root at the zone's centre.
        np.testing.assert_allclose(
            points[name].frequencies, expected, rtol=1e-6, atol=2e-4, err_msg=name
        )


def test_vacancy(case):
    potential, crystal, record = case
    expected = record["vacancy"]
    cell = bulk.vacancy_supercell(crystal, potential)
    if record["structure"] == "hcp":
        assert len(cell) == expected["sites"]
    elif len(cell) != expected["sites"]:
        from ase.build import bulk as ase_bulk

        cell = ase_bulk(crystal.symbols[0], crystal.name, a=crystal.a, cubic=True) * 5
    energy = bulk.vacancy_energy(crystal, potential, supercell=cell).energy
    assert energy.unrelaxed == pytest.approx(expected["unrelaxed"], abs=1e-7)
    assert energy.relaxed == pytest.approx(expected["relaxed"], abs=2e-6)


def test_another_line_is_not_mistaken_for_it():
    """The reference can tell the two senses of a line, and cuts in the other gap."""
    potential = zhou2004("Cu")
    start = bulk.standard_crystal("Cu", "fcc", 1.0)
    crystal = bulk.relaxed_crystal(start, potential)
    stack = Stack(crystal, potential, KNOWN["fcc"].slip[0])
    expected = REFERENCE["Cu"]["gamma_lines"]["{111}<112>"]["unrelaxed"]
    assert stack.unrelaxed(0.6) == pytest.approx(expected[2], rel=1e-5)
    assert abs(stack.unrelaxed(-0.6) - expected[2]) > 0.1 * expected[2]
