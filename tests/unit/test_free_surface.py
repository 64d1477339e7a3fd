"""Free surfaces: lattice planes, meshes with a face, models that end there."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from ase.optimize import BFGS

from qc.adapters.ase import PotentialCalculator
from qc.bulk.surfaces import surface_energy
from qc.coupling import PointDefects, QuasiContinuum
from qc.coupling.surface import relax_surface
from qc.crystal import bcc, fcc, hcp, triangular
from qc.errors import InputError, MeshError, RegionError
from qc.farfield import HomogeneousStrain
from qc.materials import CauchyBorn, equilibrium_crystal, equilibrium_lattice_constant
from qc.mesh import (
    Ball,
    CoreSet,
    FreeSurface,
    LatticeBlock,
    PowerGrading,
    best_basis,
    check_mesh,
    graded_mesh,
)
from qc.mesh.boundaries import make_hull
from qc.potentials import ToyEAM, zhou2004
from qc.verify import check_coupling

A = 4.05
LOMER = {"x": [1, 1, 0], "y": [0, 0, 1], "z": [1, -1, 0]}
CLOSE = {"x": [1, -1, 0], "y": [1, 1, -2], "z": [1, 1, 1]}

#: Where no region matters.
BALL = Ball(1.0)

UP, IN_PLANE = (0, 0, 1), (0, 1, 0)

#: Crystal, potential and outward normal of a surface.
CASES = {
    "fcc (001)": (lambda: fcc("Al", A), lambda: zhou2004("Al"), UP),
    "fcc (111)": (lambda: fcc("Al", A, **CLOSE), lambda: zhou2004("Al"), UP),
    "columns (001)": (lambda: fcc("Al", A, **LOMER).as_columns(), lambda: zhou2004("Al"), IN_PLANE),
    "hcp (0001)": (lambda: hcp("Mg", 3.2, 5.2), lambda: zhou2004("Mg"), UP),
    "triangular": (lambda: triangular("X", 1.0), ToyEAM, IN_PLANE),
}


@cache
def case(name):
    make, potential, normal = CASES[name]
    pot = potential()
    crystal = make()
    if name == "triangular":
        crystal = triangular("X", equilibrium_lattice_constant(crystal, pot))
    else:
        crystal = equilibrium_crystal(crystal, pot)
    return crystal, pot, normal


@cache
def model(name, scheme="bgfc", height=0.0):
    crystal, potential, normal = case(name)
    nn = crystal.nearest_neighbour
    flat = crystal.dim == 2
    outer = ({"atomistic": 8.0}.get(scheme, 20.0) if flat else 7.5) * nn
    return QuasiContinuum(
        crystal,
        potential,
        scheme=scheme,
        core=(5.0 if flat else 2.5) * nn,
        blend=(4.0 if flat else 2.0) * nn,
        outer=outer,
        centres=[(0.0, 0.0, 0.0)],
        boundary=FreeSurface(normal, height),
    )


# -- planes ---------------------------------------------------------------------------------------


def test_surface_is_the_highest_plane_not_above_the_height():
    planes = {(0, 0, 3): A / 2, (1, 1, 1): A / np.sqrt(3), (2, 2, 0): A / np.sqrt(8)}
    for normal, spacing in planes.items():
        crystal = fcc("Al", A)
        for height, level in ((0.0, 0), (0.99 * spacing, 0), (spacing, 1), (-0.1, -1)):
            (surface,) = FreeSurface(normal, height).faces(crystal, BALL)
            assert surface.spacing == pytest.approx(spacing)
            assert surface.level == level
            m = np.array([[0, 0, 0], [3, -1, 2], [-2, 5, 1]])
            rise = crystal.positions(m) @ np.array(normal) / np.linalg.norm(normal)
            below = surface.layers_below(m)
            assert below * spacing == pytest.approx(level * spacing - rise)
            assert surface.depth(crystal.positions(m)) == pytest.approx(below * spacing)
    x = np.array([[0.3, 0.2, 5.0], [1.0, 2.0, -7.0]])
    (surface,) = FreeSurface((0, 0, 1)).faces(fcc("Al", A), BALL)
    moved = surface.project(x)
    assert moved == pytest.approx(np.array([[0.3, 0.2, 0.0], [1.0, 2.0, -7.0]]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FreeSurface((0, 0, 0)), "non-zero vector"),
        (lambda: FreeSurface((0, 0, np.nan)), "finite"),
        (lambda: FreeSurface((0, 0, 1), np.inf), "height must be finite"),
        (lambda: FreeSurface((1, np.pi, 0)).faces(fcc("Al", A), BALL), "no lattice plane of fcc"),
        (lambda: FreeSurface(UP).faces(triangular("X", 1.0), BALL), "in the plane of the mesh"),
    ],
)
def test_bad_planes(make, words):
    with pytest.raises(InputError, match=words):
        make()


# -- meshes ---------------------------------------------------------------------------------------


def mesh(crystal, normal, height=0.0, radius=14.0, full=3.0):
    planar, nn = crystal.dim == 2, crystal.nearest_neighbour
    core = CoreSet(np.zeros((1, 3)), planar=planar)
    size = PowerGrading(core.distance, full=full * nn, spacing=nn, exponent=1.25)
    surface = FreeSurface(normal, height)
    return graded_mesh(crystal, size, Ball(radius * nn, planar=planar), boundary=surface)


@pytest.mark.parametrize(
    ("crystal", "normal", "worst"),
    [
        (fcc("Al", A), (0, 0, 1), 0.42),
        (fcc("Al", A), (1, 1, -1), 0.42),
        (fcc("Al", A), (-1, 0, 1), 0.3),
        (fcc("Al", A, **CLOSE), (0, 0, 1), 0.42),
        (bcc("Fe", 2.87), (1, 1, 0), 0.5),
        (bcc("Fe", 2.87), (0, -1, 0), 0.35),
        (fcc("Al", A, **LOMER).as_columns(), (0, 1, 0), 0.5),
        (triangular("X", 1.0), (0, -1, 0), 0.5),
        (hcp("Mg", 3.2, 5.2), (0, 0, 1), 0.5),
    ],
)
def test_mesh_ends_on_the_plane(crystal, normal, worst):
    found = mesh(crystal, normal, height=1.3)
    check_mesh(found, min_quality=worst)
    below = found.hull.faces[0].layers_below(found.lattice)
    assert below.min() == 0
    top = below == 0
    # Nodes on the surface move, the rim of the surface and everything else outside is held.
    loose = found.boundary & ~found.held
    assert loose.sum() > 5
    assert top[loose].all()
    assert (top & found.held).sum() >= 2
    assert (found.held <= found.boundary).all()


def test_surface_vertices_own_half_a_site_each():
    crystal = fcc("Al", A)
    found = mesh(crystal, (0, 0, 1), radius=8.0, full=100.0)
    own = np.bincount(found.elements.ravel(), np.repeat(found.volumes / 4.0, 4))
    top = found.hull.faces[0].layers_below(found.lattice) == 0
    inner = top & ~found.held & (np.linalg.norm(found.positions, axis=1) < 5.0 * A)
    assert own[inner].mean() / crystal.site_volume == pytest.approx(0.5, rel=0.02)


def test_faults_of_a_mesh_with_a_surface():
    found = mesh(fcc("Al", A), (0, 0, 1))
    with pytest.raises(MeshError, match="facets of the hull"):
        check_mesh(replace(found, hull_facets=found.hull_facets[1:]))
    lower = make_hull(FreeSurface((0, 0, 1), -2.1), found.crystal, BALL)
    with pytest.raises(MeshError, match="beyond a free surface"):
        check_mesh(replace(found, hull=lower))


def test_blocks_need_a_face_on_the_surface():
    crystal, potential, normal = case("fcc (001)")
    surface = FreeSurface(normal)
    (plane,) = surface.faces(crystal, BALL)
    axes = best_basis(crystal, None, plane.plane)
    k, _ = plane.axis(axes)
    assert np.abs(np.delete(axes, k, axis=0) @ plane.plane).max() == 0
    upper, lower = np.full(3, 8), np.full(3, -8)
    upper[k], lower[k] = 0, -16
    rows = tuple(tuple(int(v) for v in row) for row in axes)
    options = {"core": 2.5 * A, "blend": 1.5 * A, "centres": [(0, 0, 0)], "boundary": surface}

    def build(low, high, axes):
        block = LatticeBlock(tuple(map(int, low)), tuple(map(int, high)), axes=axes)
        return QuasiContinuum(crystal, potential, outer=block, **options)

    found = build(lower, upper, rows)
    check_mesh(found.mesh)
    assert found.mesh.volumes.sum() == pytest.approx(16**3 * crystal.site_volume)
    assert np.abs(found.forces()).max() < 1e-10
    with pytest.raises(RegionError, match=f"ends at 8 along its axis {k}"):
        build(lower, np.full(3, 8), rows)
    with pytest.raises(RegionError, match="no face on the lattice plane"):
        build(lower, upper, None)
    with pytest.raises(RegionError, match="beyond a face of the boundary"):
        QuasiContinuum(
            crystal, potential, outer=30.0, centres=[(0, 0, 0)], boundary=FreeSurface(normal, -99.0)
        )


# -- models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(CASES))
def test_no_atom_beyond_and_free_nodes_on_the_surface(name):
    m = model(name)
    surface, layout = m.mesh.hull.faces[0], m.layout
    assert surface.layers_below(layout.lattice).min() == 0
    for atoms in (m.all_atoms(), m.all_atoms(3.0 * m.crystal.a)):
        depth = surface.depth(atoms.positions - atoms.info["offset"])
        assert depth.min() > -0.2 * m.crystal.nearest_neighbour - np.abs(m.crystal.basis).max()
    vertex = layout.site_nodes[:, 0]
    free = layout.free[: len(vertex)].any(axis=1)
    assert (free == ~m.mesh.held[vertex]).all()
    assert (surface.layers_below(m.mesh.lattice[vertex])[free] == 0).sum() > 10
    rebuilt = m.rebuilt(core=1.2 * m.layout.blend.core)
    assert rebuilt.mesh.hull.faces[0].level == surface.level


@pytest.mark.parametrize("scheme", ["bgfc", "bqcf", "scgfc", "atomistic", "cauchy-born"])
@pytest.mark.parametrize("name", list(CASES))
def test_half_space_is_in_equilibrium_with_its_layers_relaxed(name, scheme):
    m = model(name, scheme)
    assert np.abs(m.forces()).max() < 1e-10
    # The surface is no plane of the lattice anymore, and all of it moved by the same.
    top = m.mesh.hull.faces[0].layers_below(m.mesh.lattice) == 0
    moved = (m.predictor()[: m.mesh.n_vertices] - m.mesh.positions)[top]
    assert np.ptp(moved, axis=0).max() < 1e-12
    if name != "hcp (0001)":
        assert np.abs(moved).max() > 2e-4 * m.crystal.nearest_neighbour


@pytest.mark.parametrize("name", ["fcc (001)", "fcc (111)", "columns (001)"])
def test_relaxation_and_energy_against_a_slab(name):
    # Another code path: ASE atoms, a full list, a slab of 26 layers of which the lower ones hold.
    crystal, potential, normal = case(name)
    m = model(name, "atomistic")
    n, surface = np.array(normal, dtype=float), m.mesh.hull.faces[0]
    axes = best_basis(crystal, None, surface.plane)
    k, _ = surface.axis(axes)
    vectors = axes @ crystal.cell[: crystal.dim]
    repeats = [v for j, v in enumerate(vectors) if j != k] + list(crystal.cell[crystal.dim :])
    slab = Atoms(
        ["Al"] * 26,
        positions=-np.arange(26)[:, None] * vectors[k],
        cell=[*repeats, 100.0 * n],
        pbc=(True, True, False),
    )
    start = slab.positions.copy()
    slab.calc = PotentialCalculator(potential)
    slab.set_constraint(FixAtoms(range(16, 26)))
    BFGS(slab, logfile=None).run(fmax=1e-7)
    moved = slab.positions - start
    layers = m.coupling.predictor.relaxations[0].layers[:, 0]
    assert np.abs(layers[:8] - moved[:8]).max() < 1e-6
    # Site energies of the layers add up to the surface energy of a slab with two free faces.
    atoms = m.coupling.blended.atoms
    excess = atoms.site_energies(m.U) - atoms.reference
    below = surface.layers_below(m.layout.lattice)[atoms.active]
    total = sum(excess[below == j].mean() for j in range(7))
    area = crystal.volume / surface.spacing
    plane = (1, 1, 1) if name == "fcc (111)" else (0, 0, 1)
    other = surface_energy(fcc("Al", crystal.a), potential, plane)
    assert total / area == pytest.approx(other.energy.relaxed, rel=1e-5)
    spacing = (layers[0] - layers[1]) @ n / surface.spacing
    assert spacing == pytest.approx(other.first_spacing, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("columns (001)", "bgfc"),
        ("columns (001)", "bqcf"),
        ("columns (001)", "qce"),
        ("fcc (111)", "bgfc"),
        ("hcp (0001)", "bgfc"),
        ("triangular", "scgfc"),
    ],
)
def test_conformance(name, scheme):
    report = check_coupling(model(name, scheme))
    failed = {check.name for check in report.checks if not check.passed}
    # Energy blending keeps its ghost force.
    assert failed == ({"patch residual"} if scheme == "qce" else set()), str(report)


@pytest.mark.parametrize("name", ["fcc (001)", "columns (001)", "triangular"])
@pytest.mark.parametrize("scheme", ["bgfc", "bqcf"])
def test_patch_test_below_the_reach_of_the_surface(name, scheme):
    # A strain that leaves traction on the surface: only nodes within the forces' reach feel it.
    m = model(name, scheme, height=1.0)
    d = 2 if m.crystal.mode == "monolayer" else 3
    f = np.eye(3)
    f[:d, :d] += np.random.default_rng(4).uniform(-0.01, 0.01, (d, d))
    strained = m.with_far_field(HomogeneousStrain(f))
    forces = np.abs(strained.forces()).max(axis=1)
    depth = strained.mesh.hull.faces[0].depth(strained.layout.node_positions)
    reach = 2.0 * m.potential.cutoff
    assert forces[depth > reach].max() < 1e-10
    assert (depth[strained.layout.free.any(axis=1)] > reach).sum() > 20
    # The traction is there, on the outermost layer alone: deeper ones are relaxed under it.
    assert forces.max() > 1e-3
    assert forces[depth > 0.5 * m.mesh.hull.faces[0].spacing].max() < 1e-9


def test_books_with_a_surface():
    m = model("fcc (001)")
    terms, layout = m.coupling.blended, m.layout
    w, omega = terms.atoms.weights, terms.continuum.weights
    volume = omega @ m.mesh.volumes / m.crystal.site_volume
    shares = layout.site_shares
    assert set(shares) == {0.5, 1.0}
    whole = m.mesh.volumes.sum() / m.crystal.site_volume
    assert (w * shares).sum() + volume == pytest.approx(whole, rel=1e-13)
    # Full sites on the surface are half a site more than the volume of the mesh.
    extra = 0.5 * w[shares == 0.5].sum()
    assert m.n_sites == pytest.approx(whole + extra, rel=1e-13)
    assert m.coupling.node_sites[1].sum() == pytest.approx(m.n_sites, rel=1e-13)
    # Closing the books changes the weights by next to nothing, as without a surface.
    mean = layout.beta_nodes[m.mesh.elements].mean(axis=1)
    assert np.abs(omega - mean).max() < 5e-3


def test_energy_is_that_of_the_surface_of_the_atomistic_part():
    m = model("columns (001)")
    atoms = m.coupling.blended.atoms
    own = atoms.weights[atoms.active] * (atoms.site_energies(m.U) - atoms.reference)
    assert m.energy() == pytest.approx(own.sum(), rel=1e-12)
    assert m.energy() > 1.0
    assert model("columns (001)", "cauchy-born").energy() == pytest.approx(0.0, abs=1e-12)


def test_load_step_relaxes_the_surface_anew():
    m = model("columns (001)")
    strained = m.with_strain(np.diag([1.01, 1.0, 1.0]))
    rule, mean = CauchyBorn(m.crystal, m.potential), np.diag([1.01, 1.0, 1.0])
    layers = relax_surface(rule, m.mesh.hull.faces[0], mean).layers
    assert (strained.coupling.predictor.relaxations[0].layers == layers).all()
    assert not (layers == m.coupling.predictor.relaxations[0].layers).all()


def test_defects_beyond_the_surface_are_atoms_on_it():
    crystal, potential, normal = case("fcc (001)")
    above = PointDefects(extra=[("Al", (0.5 * crystal.a, 0.0, 0.5 * crystal.a))])
    nn = crystal.nearest_neighbour
    m = QuasiContinuum(
        crystal,
        potential,
        core=2.6 * nn,
        blend=2.0 * nn,
        outer=8.0 * nn,
        defects=above,
        boundary=FreeSurface(normal),
    )
    assert m.layout.n_extra == 1
    assert np.abs(m.forces()[-1]).max() > 0.1
    far = np.linalg.norm(m.layout.node_positions - m.centre, axis=1) > 2.5 * potential.cutoff
    assert np.abs(m.forces()[far]).max() < 1e-10
