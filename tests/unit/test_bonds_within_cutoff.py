"""Crystals whose atoms do not reach each other are refused: their energies would all be zero."""

import numpy as np
import pytest
from ase import Atoms

import qc
from qc.bulk import properties as bulk
from qc.bulk.structures import KNOWN
from qc.cli.main import main
from qc.crystal.bonded import nearest_distance
from qc.errors import CrystalError
from qc.materials import CauchyBorn, LatticeVibrations
from qc.potentials import LennardJones, zhou2004

ARGON = LennardJones("Ar", 0.0104, 3.4, cutoff=8.5)
FAR = qc.crystal.fcc("Ar", 53.0)
STRETCHED = qc.farfield.HomogeneousStrain(10.0 * np.eye(3))


def model(a=5.3, potential=ARGON, **options):
    return qc.QuasiContinuum(qc.crystal.fcc("Ar", a), potential, **options)


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: model(53.0), "is the lattice constant ten times too long"),
        (lambda: model(potential=LennardJones("Ar", 0.0104, 3.4, 0.85)), "is the cutoff in nm"),
        (lambda: model(potential=LennardJones("Ar", 0.0104, 3.4, 1e-3)), "cutoff is 0.001 "),
        (lambda: model(far_field=STRETCHED), "the mean deformation stretches them 10 times"),
        (lambda: model(53.0, temperature=20.0), "ten times too long"),
        (lambda: LatticeVibrations(FAR, ARGON).frequencies(np.eye(3)[None]), "no bond"),
        (lambda: CauchyBorn(FAR, ARGON).elastic_constants(), "no bond"),
    ],
)
def test_models_and_lattices_are_refused(make, hint):
    with pytest.raises(CrystalError, match=r"no bond of fcc Ar is within the cutoff") as refusal:
        make()
    assert hint in str(refusal.value)
    assert "nearest neighbours are" in str(refusal.value)


@pytest.mark.parametrize(
    "tool",
    [
        bulk.cohesive_energy,
        bulk.elasticity,
        bulk.zone_phonons,
        bulk.vacancy_energy,
        lambda crystal, potential: bulk.surface_energy(crystal, potential, (1, 1, 1)),
        lambda crystal, potential: bulk.gamma_line(crystal, potential, KNOWN["fcc"].slip[0]),
    ],
)
def test_bulk_tools_are_refused(tool):
    with pytest.raises(CrystalError, match="no bond of fcc Cu is within the cutoff of EAM"):
        tool(qc.crystal.fcc("Cu", 36.15), zhou2004("Cu"))


def test_load_steps_are_refused():
    crystal = qc.crystal.triangular("Ar", 3.8)
    start = qc.QuasiContinuum(crystal, ARGON, outer=80.0)
    with pytest.raises(CrystalError, match="no bond of triangular Ar is within the cutoff"):
        start.with_strain(np.diag([3.0, 3.0, 1.0]))
    # One direction of short bonds is enough.
    assert start.with_strain(np.diag([1.0, 1.2, 1.0])).far_field is not start.far_field


@pytest.mark.parametrize("kind", ["fcc", "diamond", "hcp"])
def test_nearest_distance_of_a_deformed_crystal(kind):
    crystal = {
        "fcc": lambda: qc.crystal.fcc("Cu", 3.6),
        "diamond": lambda: qc.crystal.diamond("Si", 5.4),
        "hcp": lambda: qc.crystal.hcp("Mg", 3.2, 5.2),
    }[kind]()
    f = np.array([[1.3, 0.2, 0.0], [0.1, 0.8, 0.0], [0.0, 0.3, 1.1]])
    stars = [crystal.star(12.0, s) @ f.T for s in range(crystal.n_sublattices)]
    expected = min(np.linalg.norm(star, axis=1).min() for star in stars)
    assert nearest_distance(crystal, f) == pytest.approx(expected, rel=1e-12)
    assert nearest_distance(crystal) == pytest.approx(crystal.nearest_neighbour, rel=1e-12)


def test_single_atoms_and_far_pairs_stay_legitimate():
    for atoms in (Atoms("Ar"), Atoms("Ar2", [[0, 0, 0], [0, 0, 30.0]])):
        atoms.calc = qc.PotentialCalculator(ARGON)
        assert atoms.get_potential_energy() == 0.0


def test_a_case_file_is_refused_in_one_line(tmp_path, capsys):
    case = tmp_path / "case.toml"
    case.write_text(
        '[crystal]\nstructure = "fcc"\nelement = "Ar"\nlattice_constant = "5.3 Angstrom"\n'
        '[potential]\nname = "lennard-jones"\nepsilon = 0.0104\nsigma = "3.4 Angstrom"\n'
        'cutoff = "1e-3 Angstrom"\n'
        "[defects]\nvacancies = [[0, 0, 0]]\n"
    )
    assert main(["run", str(case)]) == 2
    message = capsys.readouterr().err
    assert "no bond of fcc Ar is within the cutoff" in message
    assert message.count("\n") == 1
