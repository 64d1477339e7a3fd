"""Crystals of EAM files that come with LAMMPS, against LAMMPS's own numbers for them.

Runs where these files are: in the folder that LAMMPS_POTENTIALS names, or where Debian has them.
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, build, units

from qc.adapters.ase import PotentialCalculator
from qc.bulk import properties as bulk
from qc.potentials import EAM

pytestmark = pytest.mark.physics

FOLDER = Path(os.environ.get("LAMMPS_POTENTIALS", "/usr/share/lammps/potentials"))
REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "eam_files.json").read_text(encoding="utf-8")
)["crystals"]
OCTAHEDRAL = {
    "fcc": ((0.5, 0.5, 0.5), (3, 3, 3)),
    "bcc": ((0.5, 0.5, 0.0), (4, 4, 4)),
    "hcp": ((0.5, 5 / 6, 0.25), (4, 3, 3)),
}


@pytest.fixture(scope="module", params=REFERENCE, ids=lambda r: f"{r['file']} {r['element']}")
def case(request):
    """Potential, relaxed crystal and LAMMPS's numbers."""
    record = request.param
    path = FOLDER / record["file"]
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != record["sha256"]:
        pytest.skip(f"{path} is another edition of the file")
    potential = EAM.from_file(path)
    start = bulk.standard_crystal(record["element"], record["structure"], 1.0)
    return potential, bulk.relaxed_crystal(start, potential), record


def test_crystal(case):
    _, crystal, record = case
    # The scatter of the constants, differences over a strain of 2e-3, tells the noise of LAMMPS's
    # stress, which moves its lattice constants by as much as a pressure does.
    stiffness = record["elastic_GPa"]["C11"] + 2 * record["elastic_GPa"]["C12"]
    noise = 2e-3 / 2**0.5 * record["scatter_GPa"]["C11"] / stiffness
    assert crystal.a == pytest.approx(record["a"], rel=1e-7 + 3 * noise)
    if record["c"] is not None:
        c = np.linalg.norm(crystal.conventional[2])
        assert c == pytest.approx(record["c"], rel=1e-7 + 3 * noise)


def test_elastic_constants(case):
    """Within 0.1 % and what the mean over 25 lattice constants leaves of LAMMPS's scatter."""
    potential, crystal, record = case
    c = bulk.elasticity(crystal, potential).clamped / units.GPa
    found = {"C11": c[0, 0], "C12": c[0, 1], "C44": c[3, 3], "C33": c[2, 2], "C13": c[0, 2]}
    for name, expected in record["elastic_GPa"].items():
        left = record["scatter_GPa"][name] / 5
        assert found[name] == pytest.approx(expected, rel=1e-3, abs=left), name


def test_phonons(case):
    potential, crystal, record = case
    points = {point.name: point for point in bulk.zone_phonons(crystal, potential)}
    for name, expected in record["phonons"].items():
        found = points[name].frequencies
        np.testing.assert_allclose(found, expected, rtol=5e-3, atol=1e-2, err_msg=name)


def test_an_atom_too_many(case):
    """Short bonds and high densities: LAMMPS's energies, to the noise of a value."""
    potential, _, record = case
    site, repeats = OCTAHEDRAL[record["structure"]]
    symbol, structure = record["element"], record["structure"]
    if structure == "hcp":
        cell = build.bulk(symbol, "hcp", a=record["a"], c=record["c"], orthorhombic=True)
    else:
        cell = build.bulk(symbol, structure, a=record["a"], cubic=True)
    atoms = cell * repeats
    perfect = atoms.copy()
    atoms += Atoms(symbol, [np.array(site) @ cell.cell[:]])
    atoms.wrap()
    expected = record["octahedral"]
    distances = atoms.get_distances(len(perfect), range(len(perfect)), mic=True)
    assert distances.min() == pytest.approx(expected["distance"], rel=1e-9)
    atoms.calc = perfect.calc = PotentialCalculator(potential)
    assert perfect.get_potential_energy() / len(perfect) == pytest.approx(
        record["energy"], abs=1e-7
    )
    excess = atoms.get_potential_energy() - len(atoms) * record["energy"]
    assert excess == pytest.approx(expected["energy"], abs=1e-7 * len(atoms))
    largest = np.linalg.norm(atoms.get_forces(), axis=1).max()
    assert largest == pytest.approx(expected["largest_force"], abs=1e-4)
