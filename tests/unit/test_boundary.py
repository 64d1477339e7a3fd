"""Boundaries: periodic blocks, tractions, held faces, and what they answer."""

from functools import cache

import numpy as np
import pytest
from ase.build import bulk
from ase.optimize import BFGS

import qc
from qc.adapters.ase import PotentialCalculator
from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import fcc, hcp, triangular
from qc.dynamics import Dynamics
from qc.errors import InputError, RegionError
from qc.farfield import HomogeneousStrain, VolterraDislocation, isotropic_elastic
from qc.materials import CauchyBorn, equilibrium_crystal, equilibrium_lattice_constant
from qc.mesh import (
    Boundary,
    FreeSurface,
    Held,
    LatticeBlock,
    Periodic,
    Traction,
    best_basis,
    check_mesh,
)
from qc.potentials import ToyEAM, zhou2004
from qc.verify import check_coupling

HOLE = PointDefects(vacant=[(0, 0, 0)])


@cache
def copper():
    potential = zhou2004("Cu")
    return equilibrium_crystal(fcc("Cu", 3.615), potential), potential


@cache
def flat():
    potential = ToyEAM()
    crystal = triangular("X", 1.0)
    return triangular("X", equilibrium_lattice_constant(crystal, potential)), potential


def block(d, n, **options):
    return LatticeBlock((-n // 2,) * d, (n // 2,) * d, **options)


def normals(crystal):
    """Outward normals of all faces of a block along the primitive vectors."""
    reciprocal = np.linalg.inv(crystal.cell)[:, : crystal.dim].T
    unit = reciprocal / np.linalg.norm(reciprocal, axis=1)[:, None]
    return [tuple(n) for n in np.vstack([unit, -unit])]


def pulled(crystal, potential, stress, n=8, **options):
    """A block without any held face under a first Piola stress."""
    boundary = [Traction(n, None, tuple(stress @ n)) for n in normals(crystal)]
    outer = block(crystal.dim, n)
    return QuasiContinuum(crystal, potential, outer=outer, boundary=boundary, **options)


# -- periodic -------------------------------------------------------------------------------------


def test_periodic_atoms_are_the_supercell():
    crystal, potential = copper()
    m = QuasiContinuum(
        crystal, potential, scheme="atomistic", outer=block(3, 6), boundary=Periodic(), defects=HOLE
    )
    assert m.n_sites == m.n_unknowns / 3 == 6**3 - 1
    assert m.node_masses().sum() == pytest.approx(6**3 * 63.546)
    # Another code path: ASE atoms, periodic, a list over images.
    atoms = bulk("Cu", "fcc", a=crystal.a)
    atoms.set_cell(crystal.cell, scale_atoms=False)
    atoms = atoms.repeat(6)
    atoms.calc = PotentialCalculator(potential)
    perfect = atoms.get_potential_energy()
    del atoms[0]
    unrelaxed = atoms.get_potential_energy() - perfect * len(atoms) / 6**3
    assert m.defect_energy() == pytest.approx(unrelaxed, abs=1e-9)
    BFGS(atoms, logfile=None).run(fmax=3e-3)
    relaxed = atoms.get_potential_energy() - perfect * len(atoms) / 6**3
    assert unrelaxed - relaxed > 0.01
    assert qc.relax(m).defect_energy == pytest.approx(relaxed, abs=2e-5)


@pytest.mark.parametrize("order", [1, 2])
def test_periodic_vacancy_against_all_atoms(order):
    crystal, potential = flat()
    options = {"outer": block(2, 32), "boundary": Periodic(), "defects": HOLE}
    full = QuasiContinuum(crystal, potential, scheme="atomistic", **options)
    m = QuasiContinuum(crystal, potential, core=4.0, blend=3.0, order=order, **options)
    check_mesh(m.mesh)
    assert m.n_unknowns < full.n_unknowns
    energy = qc.relax(full).defect_energy
    # In units in which it is 3.5; a millielectronvolt of a vacancy in copper is as much.
    assert qc.relax(m).defect_energy == pytest.approx(energy, rel=3e-4)
    held = QuasiContinuum(crystal, potential, scheme="atomistic", outer=block(2, 32), defects=HOLE)
    assert abs(qc.relax(held).defect_energy - energy) > 1e-5


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["bgfc", "bqcf"])
def test_periodic_vacancy_in_copper_within_a_millielectronvolt(scheme):
    crystal, potential = copper()
    options = {"outer": block(3, 16), "boundary": Periodic(), "defects": HOLE}
    full = QuasiContinuum(crystal, potential, scheme="atomistic", **options)
    m = QuasiContinuum(crystal, potential, core=6.5, blend=5.2, scheme=scheme, **options)
    assert m.n_unknowns < 0.6 * full.n_unknowns
    energy = qc.relax(full, fmax=1e-3).defect_energy
    assert qc.relax(m, fmax=1e-3).defect_energy == pytest.approx(energy, abs=1e-3)


@pytest.mark.parametrize("scheme", ["bgfc", "atomistic"])
def test_conformance(scheme):
    crystal, potential = flat()
    m = QuasiContinuum(
        crystal, potential, core=4.0, blend=3.0, scheme=scheme, outer=block(2, 32),
        boundary=Periodic(), defects=HOLE,
    )  # fmt: skip
    report = check_coupling(m)
    assert report.passed, str(report)


def test_sublattices_follow_too():
    potential = zhou2004("Mg")
    crystal = equilibrium_crystal(hcp("Mg", 3.2, 5.2), potential)
    hole = PointDefects(vacant=[(0, 0, 0, 1)])
    options = {"outer": block(3, 6), "boundary": Periodic(), "defects": hole}
    m = QuasiContinuum(crystal, potential, scheme="atomistic", **options)
    assert m.n_unknowns == 3 * (2 * 6**3 - 1)
    forces = m.forces()
    assert np.abs(forces.sum(axis=0)).max() < 1e-10
    # The site at the other end of a bond across a face is pulled like its image would be.
    shifted = m.rebuilt(outer=LatticeBlock((-1, -3, -3), (5, 3, 3)))
    assert shifted.energy() == pytest.approx(m.energy(), abs=1e-9)
    assert np.abs(np.abs(shifted.forces()).max() - np.abs(forces).max()) < 1e-10


def test_meshes_match_on_opposite_faces():
    crystal, potential = copper()
    # Off the middle: elements are fine at one face first.
    m = QuasiContinuum(
        crystal, potential, core=6.5, blend=5.2, boundary=Periodic([1, 2]),
        outer=LatticeBlock((-16, -8, -8), (16, 24, 24)), centres=[(0, 0, 0)],
    )  # fmt: skip
    check_mesh(m.mesh)
    upper, lower = (m.mesh.lattice[m.mesh.lattice[:, 1] == end][:, [0, 2]] for end in (24, -8))
    assert len(upper) > 20
    assert set(map(tuple, upper)) == set(map(tuple, lower))
    assert m.mesh.held.any()
    u = np.random.default_rng(1).normal(size=m.U.shape)
    m.U = u
    sites = np.array([[3, 4, 5], [-2, 3, 7]])
    for period in ((0, 32, 0), (0, 0, -32), (0, -64, 32)):
        assert (m.interpolate(sites + period) == m.interpolate(sites)).all()
    assert np.abs(m.interpolate(sites + np.array((48, 0, 0)))).max() == 0.0


def test_periodic_cell_of_dynamics_keeps_its_energy():
    crystal, potential = flat()
    m = QuasiContinuum(
        crystal, potential, core=4.0, blend=3.0, outer=block(2, 32), boundary=Periodic()
    )
    dynamics = Dynamics(m, 0.005, seed=3)
    dynamics.set_temperature(20.0)
    momentum = dynamics.momentum
    before = m.energy() + dynamics.kinetic
    dynamics.run(400)
    dynamics.system.model.U = dynamics.x
    assert m.energy() > 0.1 * before
    assert m.energy() + dynamics.kinetic == pytest.approx(before, rel=1e-3)
    # The energy knows of no place.
    assert dynamics.momentum == pytest.approx(momentum, abs=1e-9)


# -- tractions and held faces ---------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2])
def test_traction_strains_a_block_as_the_moduli_say(order):
    crystal, potential = copper()
    moduli = CauchyBorn(crystal, potential).elastic_constants().reshape(9, 9)
    stress = np.diag([0.0, 0.0, 1e-6])
    strain = (np.linalg.pinv(moduli) @ stress.ravel()).reshape(3, 3)
    m = pulled(crystal, potential, stress, scheme="cauchy-born", order=order)
    result = qc.relax(m, fmax=1e-12)
    x = np.column_stack([m.layout.node_positions, np.ones(m.layout.n_nodes)])
    fit = np.linalg.lstsq(x, m.U, rcond=None)[0]
    assert np.abs(x @ fit - m.U).max() < 1e-9
    assert fit[:3].T == pytest.approx(strain, abs=3e-5 * strain[2, 2])
    work = -0.5 * (stress * strain).sum() * m.mesh.volumes.sum()
    assert result.energy == pytest.approx(work, rel=1e-4)
    # Nothing else is taken for a part of the energy by the best estimate of it.
    assert result.defect_energy == pytest.approx(result.energy, rel=1e-12)


def test_traction_is_minus_a_gradient_with_atoms_at_the_face():
    crystal, potential = flat()
    m = pulled(crystal, potential, np.array([[0.02, 0.01, 0], [0.01, 0, 0], [0, 0, 0]]), n=16,
               core=4.0, blend=3.0)  # fmt: skip
    report = check_coupling(m)
    assert all(c.passed for c in report.checks if c.name.startswith(("forces", "hess"))), report
    rng = np.random.default_rng(2)
    u = np.where(m.layout.free, rng.uniform(-0.01, 0.01, m.U.shape), 0.0)
    du = np.where(m.layout.free, rng.uniform(-1.0, 1.0, m.U.shape), 0.0)
    h = 1e-5
    slope = (m.energy(u + h * du) - m.energy(u - h * du)) / (2.0 * h)
    assert slope == pytest.approx(-float((m.forces(u) * du).sum()), rel=1e-7)


def test_held_faces_shear_a_plate():
    crystal, potential = copper()
    n = np.array(normals(crystal)[2])
    slide = np.cross(n, (1.0, 0.0, 0.0)) * 0.05
    m = QuasiContinuum(
        crystal, potential, scheme="cauchy-born", outer=block(3, 8),
        boundary=[Periodic([0, 1]), Held(n, None, slide), Held(-n, None, -slide)],
    )  # fmt: skip
    qc.relax(m, fmax=1e-9)
    thickness = 8.0 * m.mesh.hull.faces[-1].spacing
    f = np.eye(3) + np.outer(2.0 * slide, n) / thickness
    assert m.U == pytest.approx(m.layout.node_positions @ (f - np.eye(3)).T, abs=1e-9)
    rule = CauchyBorn(crystal, potential)
    change = float(rule.site_energy(f[None])[0] - rule.site_energy(np.eye(3)[None])[0])
    assert change > 1e-5
    assert m.energy() == pytest.approx(8**3 * change, rel=1e-9)


def test_slab_between_free_surfaces():
    crystal, potential = copper()
    (face,) = FreeSurface((0, 0, 1)).faces(crystal, block(3, 8))
    axes = best_basis(crystal, None, face.plane)
    k, _ = face.axis(axes)
    low, high = np.full(3, -6), np.full(3, 6)
    outer = LatticeBlock(tuple(low), tuple(high), tuple(map(tuple, axes.tolist())))
    others = [j for j in range(3) if j != k]
    m = QuasiContinuum(
        crystal, potential, scheme="atomistic", outer=outer,
        boundary=[Periodic(others), FreeSurface((0, 0, 1), None), FreeSurface((0, 0, -1), None)],
    )  # fmt: skip
    assert len(m.coupling.predictor.relaxations) == 2
    assert m.n_sites == 12 * 12 * 13
    assert np.abs(m.forces()).max() < 1e-6
    area = 144 * crystal.volume / face.spacing
    other = qc.bulk.surface_energy(fcc("Cu", crystal.a), potential, (0, 0, 1)).energy.relaxed
    assert m.energy() / (2.0 * area) == pytest.approx(other, rel=1e-4)


# -- refusals -------------------------------------------------------------------------------------


class Odd(Boundary):
    """A boundary of someone else's."""

    def faces(self, crystal, region):
        """Return what two others return."""
        return [*Held((0, 1, 0), 5.0).faces(crystal, region)] * 2


def built(boundary, **options):
    crystal, potential = flat()
    options = {"outer": block(2, 32), "core": 4.0, "blend": 3.0, **options}
    return QuasiContinuum(crystal, potential, boundary=boundary, **options)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: built("top"), InputError, "boundary"),
        (lambda: built([Periodic(), 3]), InputError, "boundary"),
        (lambda: built(Odd()), InputError, "two boundaries for the face"),
        (lambda: Periodic([0, 0]), InputError, "different ones"),
        (lambda: Periodic([0.5]), InputError, "different ones"),
        (lambda: Periodic([3]), InputError, "different ones"),
        (lambda: built(Periodic([2])), InputError, "the mesh has 2 axes"),
        (lambda: built(Periodic(), outer=20.0), RegionError, "does not repeat itself"),
        (lambda: built(FreeSurface((0, 1, 0), None), outer=20.0), RegionError, "has no faces"),
        (lambda: built(Periodic(), core=12.0), RegionError, "outer boundary comes within"),
        (lambda: Traction((0, 1, 0), 0.0, (1.0, 0.0)), InputError, "three numbers"),
        (lambda: Traction((0, 1, 0), 0.0, (np.nan, 0.0, 0.0)), InputError, "traction"),
        (lambda: Held((0, 1, 0), 0.0, (1.0,)), InputError, "three numbers"),
    ],
)
def test_refusals(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_tractions_that_nothing_balances():
    crystal, potential = copper()
    first, *others = normals(crystal)
    boundary = [Traction(first, None, (0, 0, 1e-3)), *(FreeSurface(n, None) for n in others)]
    outer = block(3, 8)
    with pytest.raises(InputError, match="do not balance"):
        QuasiContinuum(crystal, potential, outer=outer, boundary=boundary, scheme="cauchy-born")


def test_far_field_must_repeat_itself():
    crystal = flat()[0]
    elastic = isotropic_elastic(1.0, 0.3)
    with pytest.raises(InputError, match="between periodic faces"):
        built(Periodic([0]), far_field=VolterraDislocation(elastic, (crystal.a, 0, 0), (0, 0)))
    strained = built(Periodic(), far_field=HomogeneousStrain(np.diag([1.02, 1.0, 1.0])))
    assert np.abs(strained.forces()).max() < 1e-10


def test_extra_atom_at_a_periodic_face():
    crystal, potential = copper()
    extra = PointDefects(extra=[("Cu", tuple(3.9 * crystal.cell[0]))])
    with pytest.raises(RegionError, match="within a cutoff of a periodic face"):
        QuasiContinuum(
            crystal, potential, scheme="atomistic", outer=block(3, 8), boundary=Periodic(),
            defects=extra,
        )  # fmt: skip
