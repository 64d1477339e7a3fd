"""Outputs of crystals with a basis: every sublattice, its species, position, energy and shifts."""

import ase.build
import ase.io
import meshio
import numpy as np
import pytest

from qc.coupling import PointDefects, QuasiContinuum
from qc.coupling.atom_fields import atom_fields
from qc.coupling.fields import displacement, element_fields
from qc.crystal import Crystal, diamond, from_ase, hcp
from qc.farfield import HomogeneousStrain, VolterraDislocation
from qc.io import write_extxyz, write_vtu
from qc.io.pictures import draw_nonaffinity, draw_regions
from qc.io.slices import section
from qc.potentials import LennardJones, stillinger1985, tersoff1989

#: No symmetry of the crystal leaves the sublattices where they are.
STRAIN = np.eye(3) + np.array([[0.01, 0.012, -0.004], [0.0, -0.006, 0.02], [0.008, 0.0, 0.005]])


def zinc_blende() -> Crystal:
    atoms = ase.build.bulk("SiC", "zincblende", a=4.32)
    return from_ase(atoms)


@pytest.fixture(scope="module")
def silicon():
    """A vacancy on the second sublattice of sheared silicon, unrelaxed."""
    return QuasiContinuum(
        diamond("Si", 5.431),
        stillinger1985(),
        far_field=HomogeneousStrain(STRAIN),
        core=8.0,
        blend=6.0,
        outer=24.0,
        defects=PointDefects(vacant=[(0, 0, 0, 1)]),
    )


@pytest.fixture(scope="module")
def carbide():
    """A perfect crystal of two elements, sheared."""
    return QuasiContinuum(
        zinc_blende(),
        tersoff1989("Si", "C"),
        far_field=HomogeneousStrain(STRAIN),
        core=6.5,
        blend=5.0,
        outer=20.0,
    )


@pytest.fixture(scope="module")
def screw():
    """A screw dislocation in hcp, at its predictor."""
    potential = LennardJones("Mg", 0.1, 2.85, 7.0)
    crystal = hcp("Mg", 3.117, 5.09, x=[1, 2, 0], y=[0, 0, 1], z=[1, 0, 0]).as_columns([1, 0, 0])
    from qc.materials import CauchyBorn, equilibrium_crystal

    crystal = equilibrium_crystal(crystal, potential)
    moduli = CauchyBorn(crystal, potential).elastic_constants()
    height = float(np.linalg.norm(crystal.conventional[2]))
    field = VolterraDislocation(moduli, crystal.cell[2], [0.7, 0.25 * height], (-1.0, 0.0))
    return QuasiContinuum(crystal, potential, far_field=field, core=12.0, blend=8.0, outer=40.0)


def test_elements_of_a_sheared_crystal_have_its_relaxed_shifts(silicon):
    fields = element_fields(silicon)
    rule = silicon.rule
    shifts = rule.relaxed_shifts(STRAIN[None])
    assert np.abs(shifts).max() > 0.015
    hole = silicon.layout.sublattice_nodes[silicon.mesh.vertex_at(np.zeros((1, 3), int))[0], 1]
    assert not silicon.occupied[hole]
    at_hole = (silicon.layout.sublattice_nodes[silicon.mesh.elements] == hole).any(axis=(1, 2))
    assert at_hole.any()
    # Elements at the empty site have no deformation; all others have numbers.
    for values in (fields.deformation, fields.shifts, fields.energy_density, fields.site_energies):
        flat = np.isfinite(values).reshape(len(values), -1)
        np.testing.assert_array_equal(flat.all(axis=1), ~at_hole)
        np.testing.assert_array_equal(flat.any(axis=1), ~at_hole)
    good = ~at_hole
    np.testing.assert_allclose(
        fields.deformation[good], np.broadcast_to(STRAIN, (good.sum(), 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(
        fields.shifts[good], np.broadcast_to(shifts[0], (good.sum(), 2, 3)), atol=1e-9
    )
    w, p, _ = rule.evaluate(STRAIN[None])
    w0 = rule.evaluate(np.eye(3)[None])[0]
    np.testing.assert_allclose(fields.energy_density[good], w[0] - w0[0], atol=1e-12)
    stress = np.broadcast_to(p[0], (good.sum(), 3, 3))
    np.testing.assert_allclose(fields.first_piola_kirchhoff[good], stress, atol=1e-10)
    # Negative control: at shifts of zero the crystal is stiffer.
    assert rule.at_shifts(STRAIN[None], 0 * shifts).energy[0] / rule.crystal.volume > w[0] + 1e-5


def test_nodal_and_relaxed_elements_are_both_there(silicon):
    nodes = silicon.layout.sublattice_nodes[silicon.mesh.elements]
    nodal = (nodes >= 0).all(axis=(1, 2))
    assert nodal.any()
    assert not nodal.all()
    moved = QuasiContinuum.with_strain(silicon, STRAIN)
    # The second sublattice of the nodal cells moves as a whole: their shifts move with it.
    second = silicon.layout.node_sublattices == 1
    moved.U = np.where(second[:, None], [0.03, -0.02, 0.01], 0.0)
    inner = nodal & (nodes >= 0).all(axis=(1, 2))
    before, after = element_fields(silicon).shifts, element_fields(moved).shifts
    inner &= np.isfinite(before).all(axis=(1, 2)) & np.isfinite(after).all(axis=(1, 2))
    change = (after - before)[inner][:, 1]
    assert len(change) > 100
    # Where all around moves alike; at the rim of these cells the mesh is bent as well.
    depth = np.linalg.norm(silicon.mesh.positions[silicon.mesh.elements].mean(axis=1), axis=1)
    deep = change[depth[inner] < 10.0]
    assert len(deep) > 20
    np.testing.assert_allclose(deep, np.broadcast_to([0.03, -0.02, 0.01], deep.shape), atol=1e-9)


def test_atoms_of_all_sublattices_are_written(silicon, tmp_path):
    path = write_extxyz(tmp_path / "si.extxyz", silicon)
    atoms = ase.io.read(path)
    fields = atom_fields(silicon)
    here = atoms.positions - atoms.info["offset"]
    np.testing.assert_allclose(here, fields.positions, atol=1e-7)
    region = atoms.get_array("region")
    # Each vertex has both its atoms, but for the one that is missing.
    m, s, distance = silicon.crystal.integer_coordinates(fields.reference)
    assert distance.max() < 1e-9
    for t in (0, 1):
        for r in (0, 1, 2, 3):
            assert ((s == t) & (region == r)).any(), (t, r)
    vertex = silicon.mesh.vertex_at(m)
    seen = {(v, t) for v, t in zip(vertex.tolist(), s.tolist(), strict=True) if v >= 0}
    wanted = {(v, t) for v in range(silicon.mesh.n_vertices) for t in (0, 1)}
    hole = int(silicon.mesh.vertex_at(np.zeros((1, 3), int))[0])
    assert wanted - seen == {(hole, 1)}
    assert len(set(map(tuple, np.column_stack([m, s]).tolist()))) == len(atoms)
    # Everywhere the strained crystal with its relaxed shifts.
    shifts = silicon.rule.relaxed_shifts(STRAIN[None])[0]
    expected = fields.reference @ STRAIN.T + shifts[s]
    np.testing.assert_allclose(fields.positions, expected, atol=1e-9)
    # Neighbours of the vacancy, and no others, are non-affine.
    gap = np.linalg.norm(fields.reference - silicon.crystal.basis[1], axis=1)
    assert fields.nonaffinity[gap < 2.4].min() > 0.02
    assert fields.nonaffinity[gap > 6.0].max() < 1e-12
    site = silicon.rule.site_energies(STRAIN[None])[0]
    np.testing.assert_allclose(fields.site_energy[gap > 8.0], site[0], atol=1e-9)
    assert fields.site_energy[gap < 2.4].min() > site[0] + 0.3
    assert (fields.node[region == 2] >= 0).any()


def test_weights_are_those_of_cells(silicon):
    fields = atom_fields(silicon, representative=False)
    terms = silicon.coupling.blended
    np.testing.assert_allclose(fields.weight, terms.atoms.weights, atol=1e-14)
    # Both atoms of a cell count alike.
    m, _, _ = silicon.crystal.integer_coordinates(fields.reference)
    pairs: dict = {}
    for key, weight in zip(map(tuple, m.tolist()), fields.weight, strict=True):
        pairs.setdefault(key, []).append(weight)
    assert max(np.ptp(w) for w in pairs.values()) < 1e-12
    assert any(0.0 < w[0] < 1.0 for w in pairs.values())


def test_each_element_of_a_compound_has_its_own_energy(carbide):
    fields = atom_fields(carbide)
    site = carbide.rule.site_energies(STRAIN[None])[0]
    names = np.array(carbide.crystal.symbols)
    # Negative control: the two are not one.
    assert abs(site[0] - site[1]) > 0.05
    for t in (0, 1):
        mine = fields.symbols == names[t]
        assert 0.4 < mine.mean() < 0.6
        for region in (0, 1, 2, 3):
            here = mine & (fields.region == region)
            assert here.any()
            np.testing.assert_allclose(fields.site_energy[here], site[t], atol=1e-9)
    _, s, _ = carbide.crystal.integer_coordinates(fields.reference)
    np.testing.assert_array_equal(fields.symbols, names[s])
    assert fields.nonaffinity.max() < 1e-12
    sums = element_fields(carbide).site_energies.sum(axis=1) / carbide.crystal.volume
    w = carbide.rule.evaluate(STRAIN[None])[0][0]
    np.testing.assert_allclose(sums, w, atol=1e-12)


def test_fields_of_a_dislocation_have_numbers(screw):
    elements, atoms = element_fields(screw), atom_fields(screw)
    centre = screw.far_field.position
    gap = np.linalg.norm(
        screw.mesh.positions[screw.mesh.elements].mean(axis=1)[:, :2] - centre, axis=1
    )
    for values in (elements.energy_density, elements.shifts, elements.deformation):
        assert np.isfinite(values[gap > 6.0]).all()
    assert np.isfinite(atoms.site_energy).all()
    assert np.isfinite(atoms.nonaffinity).all()
    far = np.linalg.norm(atoms.reference[:, :2] - centre, axis=1) > 9.0
    assert atoms.nonaffinity[far].max() < 1e-3
    # Behind the cut as before it: energies fall off as one over the distance squared.
    bulk = screw.rule.site_energies(np.eye(3)[None])[0, 0]
    excess = atoms.site_energy - bulk
    assert excess[far].max() < 0.02 < excess.max()
    assert excess.min() > -1e-3
    # The deformation of elements is that of the predictor.
    gradient = np.eye(3) + screw.far_field.gradient(
        screw.mesh.positions[screw.mesh.elements].mean(axis=1)
    )
    away = gap > 15.0
    assert np.abs(elements.deformation - gradient)[away].max() < 5e-3


def test_vertices_move_as_their_cells(silicon, screw):
    for model in (silicon, screw):
        x = model.mesh.positions
        basis = model.crystal.basis
        y = [
            model.predict(x + b, s) + model.interpolate(model.mesh.lattice, s)
            for s, b in enumerate(basis)
        ]
        cells = np.mean([v - b - x for v, b in zip(y, basis, strict=True)], axis=0)
        whole = np.asarray(model.layout.sublattice_nodes >= 0).sum(axis=1) == 1
        found = displacement(model)
        np.testing.assert_allclose(found[whole], cells[whole], atol=1e-9)
    cut = section(screw)
    assert cut.level is None
    np.testing.assert_allclose(
        cut.polygons, (screw.mesh.positions + found)[screw.mesh.elements][..., :2]
    )


def test_the_grid_file_has_cells_and_sublattices(silicon, tmp_path):
    mesh = meshio.read(write_vtu(tmp_path / "si.vtu", silicon))
    names = set(mesh.point_data)
    assert {"displacement", "displacement_0", "displacement_1", "corrector", "occupied"} <= names
    x = mesh.points
    shifts = silicon.rule.relaxed_shifts(STRAIN[None])[0]
    moved = (x + silicon.crystal.basis[1]) @ STRAIN.T + shifts[1] - x - silicon.crystal.basis[1]
    np.testing.assert_allclose(mesh.point_data["displacement_1"], moved, atol=1e-9)
    empty = np.flatnonzero(mesh.point_data["occupied"] == 0)
    assert len(empty) == 1
    np.testing.assert_allclose(x[empty[0]], 0.0, atol=1e-9)
    assert mesh.point_data["fixed"].sum() == silicon.mesh.boundary.sum()
    (inner,) = mesh.cell_data["sublattice_shifts"]
    assert inner.shape == (len(silicon.mesh.elements), 3)
    assert np.nanmax(np.abs(inner - shifts[1])) < 1e-9


def test_pictures_are_drawn(silicon, screw, tmp_path):
    from qc.io.pictures import _axis_label, _closest_in_view, _slab

    fields = atom_fields(silicon, representative=False)
    for draw in (draw_regions, draw_nonaffinity):
        path = draw(tmp_path / f"{draw.__name__}.png", silicon, fields=fields)
        assert path.stat().st_size > 10_000
    assert _axis_label(screw.crystal, 0) == "x $\\parallel$ $[01\\bar{1}0]$ (Å)"
    assert _axis_label(screw.crystal, 1) == "y $\\parallel$ $[0001]$ (Å)"
    # A section through a vacancy shows its neighbours, which lie above and below it.
    assert _slab(silicon.crystal) > 5.431 / 4
    # Columns of the two sublattices, seen from the end, are closer than the cell is wide.
    a = screw.crystal.a
    assert _closest_in_view(screw, a) < 0.9 * a


@pytest.mark.parametrize("scheme", ["cauchy-born", "atomistic", "bqcf"])
def test_outputs_of_other_schemes(scheme):
    a = 5.431
    model = QuasiContinuum(
        diamond("Si", a),
        stillinger1985(),
        far_field=HomogeneousStrain(STRAIN),
        scheme=scheme,
        core=6.0,
        blend=5.0,
        outer=16.0,
    )
    elements = element_fields(model)
    atoms = atom_fields(model, elements=elements)
    shifts = model.rule.relaxed_shifts(STRAIN[None])[0]
    np.testing.assert_allclose(elements.shifts - shifts, 0.0, atol=1e-9)
    site = model.rule.site_energies(STRAIN[None])[0, 0]
    np.testing.assert_allclose(elements.site_energies, site, atol=1e-9)
    np.testing.assert_allclose(atoms.site_energy, site, atol=1e-9)
    m, s, _ = model.crystal.integer_coordinates(atoms.reference)
    vertices = model.mesh.vertex_at(m) >= 0
    assert (vertices & (s == 0)).sum() == (vertices & (s == 1)).sum() == model.mesh.n_vertices
    assert (atoms.weight.max() == 0.0) == (scheme == "cauchy-born")
