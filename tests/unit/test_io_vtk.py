"""VTU and PVD files, read back by meshio."""

import xml.etree.ElementTree as ET

import meshio
import numpy as np
import pytest
from ase.units import GPa

from qc.coupling import PointDefects, QuasiContinuum
from qc.coupling.fields import REGIONS
from qc.crystal import fcc
from qc.errors import InputError, OutputError
from qc.farfield import DislocationSum, HomogeneousStrain, VolterraDislocation, simple_shear
from qc.io import write_pvd, write_vtu
from qc.io.vtk import unstructured_grid
from qc.materials import CauchyBorn, equilibrium_lattice_constant
from qc.mesh import LatticeBlock
from qc.potentials import zhou2004
from qc.solve import relax

STRAIN = np.array([[1.002, 0.001, 0.0], [0.0, 0.999, 0.0], [0.0005, 0.0, 1.001]])
BLOCK = LatticeBlock((-32, -32), (32, 32))


@pytest.fixture(scope="module")
def potential():
    return zhou2004("Al", knots_per_length=300, knots_per_density=300)


@pytest.fixture(scope="module")
def a(potential):
    return equilibrium_lattice_constant(fcc("Al", 4.05), potential)


@pytest.fixture(scope="module")
def columns(a):
    return fcc("Al", a, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns()


@pytest.fixture(scope="module")
def vacancy(columns, potential):
    model = QuasiContinuum(
        columns, potential, core=7.5, blend=6.0, outer=30.0,
        defects=PointDefects(vacant=[(0, 0, 0)]), far_field=HomogeneousStrain(STRAIN),
    )  # fmt: skip
    relax(model, max_steps=3)
    return model


@pytest.fixture(scope="module")
def block(a, potential):
    return QuasiContinuum(
        fcc("Al", a), potential, core=5.0, blend=6.0, outer=20.0,
        far_field=HomogeneousStrain(STRAIN),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["vacancy", "block"])
def test_meshio_reads_the_mesh_and_its_fields(name, request, tmp_path):
    model = request.getfixturevalue(name)
    read = meshio.read(write_vtu(tmp_path / "fields.vtu", model))
    mesh = model.mesh
    (cells,) = read.cells
    assert cells.type == {2: "triangle", 3: "tetra"}[mesh.dim]
    np.testing.assert_array_equal(cells.data, mesh.elements)
    d = mesh.dim
    np.testing.assert_array_equal(read.points[:, :d], mesh.positions[:, :d])
    n = mesh.n_vertices
    moved = mesh.positions + read.point_data["displacement"]
    np.testing.assert_allclose(moved, (model.predictor() + model.U)[:n], atol=1e-12)
    np.testing.assert_array_equal(read.point_data["corrector"], model.U[:n])
    np.testing.assert_array_equal(read.point_data["beta"], model.layout.beta_nodes[:n])
    assert set(np.flatnonzero(read.point_data["fixed"])) >= set(np.flatnonzero(mesh.boundary))
    assert (read.point_data["occupied"] == 0).sum() == int(model.layout.vacant.sum())


def test_columns_lie_in_one_plane(vacancy, tmp_path):
    read = meshio.read(write_vtu(tmp_path / "fields.vtu", vacancy))
    assert np.ptp(read.points[:, 2]) == 0.0
    # Negative control: in the lattice itself columns have many heights.
    assert np.ptp(vacancy.mesh.positions[:, 2]) > 1.0


def test_fields_of_a_homogeneous_strain_are_those_of_elasticity(block, tmp_path):
    read = meshio.read(write_vtu(tmp_path / "fields.vtu", block))
    data = {k: v[0] for k, v in read.cell_data.items()}
    f = data["deformation_gradient"].reshape(-1, 3, 3)
    np.testing.assert_allclose(f, np.broadcast_to(STRAIN, f.shape), atol=1e-12)
    # Linear elasticity from the undeformed moduli; strains of 2e-3 leave errors of a few percent.
    moduli = CauchyBorn(block.crystal, block.potential).elastic_constants()
    strain = 0.5 * (STRAIN + STRAIN.T) - np.eye(3)
    stress = np.einsum("ijkl,kl->ij", moduli, strain)
    cauchy = data["cauchy_stress_GPa"].reshape(-1, 3, 3)
    np.testing.assert_allclose(cauchy, np.swapaxes(cauchy, 1, 2), atol=1e-9)
    np.testing.assert_allclose(cauchy[0], stress / GPa, atol=0.05 * np.abs(stress).max() / GPa)
    energy = 0.5 * float(np.tensordot(strain, stress))
    np.testing.assert_allclose(data["energy_density"], energy, rtol=0.05)
    p = data["first_piola_stress_GPa"].reshape(-1, 3, 3)
    np.testing.assert_allclose(p @ STRAIN.T / np.linalg.det(STRAIN), cauchy, atol=1e-10)


def test_weights_and_regions_follow_the_blend(block, tmp_path):
    read = meshio.read(write_vtu(tmp_path / "fields.vtu", block))
    weight, region = (read.cell_data[k][0] for k in ("scheme_weight", "region"))
    names = np.array(REGIONS)[region]
    assert set(names) == {"core", "blend", "continuum"}
    assert (weight[names == "core"] == 0).all()
    assert (weight[names == "continuum"] == 1).all()
    blended = weight[names == "blend"]
    assert ((blended > 0) & (blended < 1)).all()


def test_elements_at_a_vacancy_have_no_fields(vacancy, tmp_path):
    read = meshio.read(write_vtu(tmp_path / "fields.vtu", vacancy))
    site = int(np.flatnonzero(read.point_data["occupied"] == 0)[0])
    touching = (vacancy.mesh.elements == site).any(axis=1)
    for name in ("deformation_gradient", "cauchy_stress_GPa", "energy_density"):
        values = read.cell_data[name][0].reshape(len(touching), -1)
        assert np.isnan(values[touching]).all()
        assert np.isfinite(values[~touching]).all()


def test_the_wake_of_a_dislocation_is_an_ordinary_crystal(columns, a, potential, tmp_path):
    moduli = CauchyBorn(columns, potential).elastic_constants()
    b = 0.5 * columns.vector([1, 1, 0])
    field = DislocationSum([VolterraDislocation(moduli, b, (0.3, a / 4))], simple_shear(0.0))
    model = QuasiContinuum(columns, potential, far_field=field, core=9.0, blend=8.0, outer=BLOCK)
    read = meshio.read(write_vtu(tmp_path / "fields.vtu", model))
    f = read.cell_data["deformation_gradient"][0].reshape(-1, 3, 3)
    centre = model.mesh.positions[model.mesh.elements].mean(axis=1)
    start = model.mesh.positions[model.mesh.elements[:, 0]]
    crossed = np.zeros(len(centre), dtype=bool)
    for k in (1, 2):
        slip = field.slip(start, model.mesh.positions[model.mesh.elements[:, k]])
        crossed |= np.abs(slip).max(axis=1) > 0
    wake = crossed & (centre[:, 0] < -15.0)
    assert wake.sum() > 5
    # Twice the b / 2 pi r of a screw dislocation bounds the strain of an edge one.
    assert np.abs(f[wake] - np.eye(3)).max() < b[0] / (np.pi * 15.0)
    # Negative control: without the slip the same elements look sheared by b over a plane.
    u = read.point_data["displacement"]
    bare = np.einsum("eai,eaj->eij", u[model.mesh.elements], model.mesh.gradients)
    assert np.abs(bare[wake]).max() > 0.3


def test_further_fields_and_their_checks(block, tmp_path):
    n, n_e = block.mesh.n_vertices, len(block.mesh.elements)
    path = write_vtu(
        tmp_path / "more.vtu", block,
        point_data={"a<b>": np.arange(n)}, cell_data={"flag": np.ones(n_e, dtype=bool)},
    )  # fmt: skip
    read = meshio.read(path)
    np.testing.assert_array_equal(read.point_data["a<b>"], np.arange(n))
    assert (read.cell_data["flag"][0] == 1).all()
    with pytest.raises(InputError, match="'short' has 2 rows"):
        write_vtu(tmp_path / "bad.vtu", block, point_data={"short": np.zeros(2)})
    with pytest.raises(InputError, match="complex128"):
        write_vtu(tmp_path / "bad.vtu", block, point_data={"z": np.zeros(n, dtype=complex)})
    assert not (tmp_path / "bad.vtu").exists()


@pytest.mark.parametrize("n", [1, 32768 // 3, 32768, 100_001])
def test_arrays_longer_than_a_compressed_block_survive(n, tmp_path):
    points = np.random.default_rng(n).normal(size=(n + 2, 3))
    path = tmp_path / "long.vtu"
    text = unstructured_grid(points, np.array([[0, 1, 2]]), {"x": points[:, 0]}, {})
    path.write_text(text)
    read = meshio.read(path)
    np.testing.assert_array_equal(read.points, points)
    np.testing.assert_array_equal(read.point_data["x"], points[:, 0])


def test_a_collection_names_its_files_relative_to_itself(block, tmp_path):
    files = [write_vtu(tmp_path / "steps" / f"step_{k}.vtu", block) for k in range(2)]
    path = write_pvd(tmp_path / "path.pvd", files, [0.0, 0.01])
    entries = ET.parse(path).getroot().findall("Collection/DataSet")
    assert [e.get("file") for e in entries] == ["steps/step_0.vtu", "steps/step_1.vtu"]
    assert [float(e.get("timestep")) for e in entries] == [0.0, 0.01]
    for entry in entries:
        meshio.read(path.parent / entry.get("file"))
    with pytest.raises(InputError, match="2 files"):
        write_pvd(tmp_path / "bad.pvd", files, [0.0])
    with pytest.raises(InputError, match="finite"):
        write_pvd(tmp_path / "bad.pvd", files, [0.0, np.nan])


def test_a_file_that_cannot_be_written_is_an_output_error(block, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_vtu(tmp_path / "file" / "fields.vtu", block)
    (tmp_path / "folder.vtu").mkdir()
    with pytest.raises(OutputError, match=r"folder\.vtu"):
        write_vtu(tmp_path / "folder.vtu", block)
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []
