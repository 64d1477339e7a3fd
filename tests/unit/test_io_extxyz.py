"""Atoms of a model as extended XYZ, read back by ASE."""

import re

import ase.io
import numpy as np
import pytest

from qc.coupling import PointDefects, QuasiContinuum
from qc.coupling.atom_fields import atom_fields
from qc.coupling.fields import REGIONS
from qc.crystal import fcc
from qc.errors import OutputError
from qc.farfield import HomogeneousStrain, VolterraDislocation
from qc.io import write_extxyz
from qc.materials import CauchyBorn, equilibrium_lattice_constant
from qc.mesh import LatticeBlock
from qc.potentials import zhou2004
from qc.solve import relax

STRAIN = np.array([[1.01, 0.02, 0.0], [0.0, 0.995, 0.0], [0.0, 0.0, 1.003]])
CORE, BLEND, CONTINUUM, HALO = range(4)
BLOCK = LatticeBlock((-32, -32), (32, 32))


@pytest.fixture(scope="module")
def potential():
    return zhou2004("Al", "Ni", knots_per_length=300, knots_per_density=300)


@pytest.fixture(scope="module")
def a(potential):
    return equilibrium_lattice_constant(fcc("Al", 4.05), potential)


@pytest.fixture(scope="module")
def columns(a):
    return fcc("Al", a, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns()


@pytest.fixture(scope="module")
def vacancy(columns, potential):
    model = QuasiContinuum(
        columns, potential, core=8.0, blend=6.0, outer=36.0,
        defects=PointDefects(vacant=[(0, 0, 0)]),
    )  # fmt: skip
    assert relax(model, fmax=1e-3)
    return model


def test_regions_are_named_in_order():
    assert REGIONS == ("core", "blend", "continuum", "halo")


def test_ase_reads_every_column(vacancy, tmp_path):
    fields = atom_fields(vacancy)
    atoms = ase.io.read(write_extxyz(tmp_path / "atoms.extxyz", vacancy, info={"step": 3}))
    assert len(atoms) == len(fields)
    assert atoms.info["step"] == 3
    assert list(atoms.pbc) == [False, False, True]
    apart = atoms.positions - atoms.info["offset"] - fields.positions
    apart -= np.round(apart[:, 2:] / atoms.cell[2, 2]) * atoms.cell[2]
    np.testing.assert_allclose(apart, 0.0, atol=2e-8)
    for name in ("region", "weight", "nonaffinity", "site_energy", "node"):
        np.testing.assert_allclose(atoms.arrays[name], getattr(fields, name), atol=1e-8)
    assert np.isfinite(atoms.arrays["site_energy"]).all()


def test_the_comment_line_is_one_that_ovito_documents(vacancy, tmp_path):
    lines = write_extxyz(tmp_path / "atoms.extxyz", vacancy).read_text().splitlines()
    assert int(lines[0]) == len(lines) - 2
    lattice = re.search(r'Lattice="([^"]*)"', lines[1])
    cell = np.array(lattice[1].split(), dtype=float).reshape(3, 3)
    assert np.linalg.det(cell) > 0
    assert 'pbc="F F T"' in lines[1]
    assert "Properties=species:S:1:pos:R:3:region:I:1:weight:R:1:nonaffinity:R:1:" in lines[1]
    columns = sum(int(n) for n in re.findall(r":[SRI]:(\d+)", lines[1]))
    assert {len(line.split()) for line in lines[2:]} == {columns}


def test_every_atom_lies_in_the_box(vacancy, tmp_path):
    atoms = ase.io.read(write_extxyz(tmp_path / "atoms.extxyz", vacancy))
    assert not atoms.info["Origin"].any()
    scaled = atoms.get_scaled_positions(wrap=False)
    assert scaled.min() > 0
    assert scaled.max() < 1


def test_regions_partition_the_atoms(vacancy):
    fields, layout = atom_fields(vacancy), vacancy.layout
    r = np.linalg.norm(fields.reference[:, :2], axis=1)
    assert (r[fields.region == CORE] <= 8.0 + 1e-9).all()
    assert (r[fields.region == BLEND] < 14.0).all()
    assert (r[fields.region == HALO] >= 14.0 - 1e-9).all()
    assert (fields.weight[fields.region == CORE] == 1).all()
    assert (fields.weight[(fields.region == CONTINUUM) | (fields.region == HALO)] == 0).all()
    # Patch without the vacancy, plus the vertices that are no patch atoms; each node once.
    nodes = fields.node[fields.node >= 0]
    assert len(np.unique(nodes)) == len(nodes) == layout.n_nodes - 1
    only_patch = atom_fields(vacancy, representative=False)
    assert len(only_patch) == len(layout.positions) - 1
    assert not (only_patch.region == CONTINUUM).any()


def test_site_energies_and_weights_give_the_energy_of_the_atoms(vacancy):
    fields = atom_fields(vacancy)
    terms = vacancy.coupling.blended.atoms
    expected = terms.energy(vacancy.U)
    got = float(fields.weight @ (fields.site_energy - terms.reference))
    assert got == pytest.approx(expected, abs=1e-10)
    assert abs(expected) > 0.1


def test_a_strained_crystal_is_the_same_everywhere(columns, potential):
    model = QuasiContinuum(
        columns, potential, core=7.0, blend=6.0, outer=30.0, far_field=HomogeneousStrain(STRAIN)
    )
    fields = atom_fields(model)
    expected = float(CauchyBorn(columns, potential).site_energy(STRAIN[None])[0])
    np.testing.assert_allclose(fields.site_energy, expected, atol=1e-9)
    assert fields.nonaffinity.max() < 1e-12
    np.testing.assert_allclose(
        fields.positions[:, :2], fields.reference[:, :2] @ STRAIN[:2, :2].T, atol=1e-9
    )
    assert set(fields.region) == {CORE, BLEND, CONTINUUM, HALO}


def test_nonaffinity_marks_the_neighbours_of_a_vacancy_only(vacancy, a):
    fields = atom_fields(vacancy)
    r = np.linalg.norm(fields.reference[:, :2], axis=1)
    flagged = fields.nonaffinity > 0.02
    assert flagged.any()
    assert r[flagged].max() < 1.5 * a
    # The rim of the patch is not a surface, nor is the boundary of the mesh.
    assert fields.nonaffinity[r > 3 * a].max() < 1e-3


def test_a_dislocation_shows_at_its_core_and_not_in_its_wake(columns, a, potential):
    moduli = CauchyBorn(columns, potential).elastic_constants()
    field = VolterraDislocation(moduli, 0.5 * columns.vector([1, 1, 0]), (0.3, a / 4))
    model = QuasiContinuum(columns, potential, far_field=field, core=9.0, blend=8.0, outer=BLOCK)
    fields = atom_fields(model)
    r = np.hypot(fields.reference[:, 0] - 0.3, fields.reference[:, 1] - a / 4)
    assert fields.nonaffinity[r < 4.0].max() > 0.05
    assert fields.nonaffinity[r > 12.0].max() < 0.01
    wake = (np.abs(fields.reference[:, 1]) < 0.6 * a) & (fields.reference[:, 0] < -12.0)
    assert wake.sum() > 10


def test_extra_and_foreign_atoms_are_written(columns, potential, tmp_path):
    model = QuasiContinuum(
        columns, potential, core=8.0, blend=6.0, outer=30.0,
        defects=PointDefects(substitutions={(0, 0, 0): "Ni"}, extra=[("Ni", (2.0, 1.0, 0.7))]),
    )  # fmt: skip
    atoms = ase.io.read(write_extxyz(tmp_path / "atoms.extxyz", model))
    assert atoms.get_chemical_symbols().count("Ni") == 2


@pytest.mark.parametrize("scheme", ["bqcf", "atomistic", "cauchy-born", "qce"])
def test_every_kind_of_scheme_can_be_written(scheme, columns, potential, tmp_path):
    model = QuasiContinuum(columns, potential, scheme=scheme, core=7.0, blend=6.0, outer=26.0)
    fields = atom_fields(model)
    assert len(fields) >= model.mesh.n_vertices
    expected = float(CauchyBorn(columns, potential).site_energy(np.eye(3)[None])[0])
    np.testing.assert_allclose(fields.site_energy, expected, atol=1e-9)
    assert fields.nonaffinity.max() < 1e-12
    ase.io.read(write_extxyz(tmp_path / "atoms.extxyz", model))


def test_a_folder_in_the_way_is_an_output_error(vacancy, tmp_path):
    (tmp_path / "atoms.extxyz").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write_extxyz(tmp_path / "atoms.extxyz", vacancy)
