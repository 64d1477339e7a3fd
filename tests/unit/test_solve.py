"""Relaxation: convergence, cost, agreement of methods and schemes, and honest results."""

from functools import cache

import numpy as np
import pytest
from ase.build import bulk
from scipy.spatial import cKDTree

import qc.solve.precondition as precondition
from qc.coupling import PointDefects, QuasiContinuum
from qc.coupling.indicators import blend_nonaffinity
from qc.coupling.regions import default_core
from qc.crystal import bcc, diamond, fcc, from_ase, hcp, triangular
from qc.errors import CapabilityError, ConvergenceError, InputError, NonFiniteError
from qc.potentials import EAM, ToyEAM, zhou2004
from qc.solve import Preconditioner, relax
from qc.solve.health import inspect_state

A = 3.6149603
HOLE = PointDefects(vacant=[(0, 0, 0)])


@cache
def copper(mode="columns"):
    crystal = fcc("Cu", A)
    return zhou2004("Cu"), crystal.as_columns() if mode == "columns" else crystal


def model(scheme="bgfc", mode="columns", **options):
    potential, crystal = copper(mode)
    size = {"core": 1.75 * A, "blend": 1.5 * A, "outer": 7 * A, "defects": HOLE}
    if scheme == "atomistic":
        size["outer"] = 4 * A
    if scheme == "cauchy-born":
        size["defects"] = None
    return QuasiContinuum(crystal, potential, scheme=scheme, **(size | options))


def shake(m, size, seed=0):
    move = np.random.default_rng(seed).uniform(-size, size, m.U.shape)
    m.U = np.where(m.layout.free, move, 0.0)
    return m


@cache
def relaxed(scheme, method="auto", fmax=1e-4):
    m = model(scheme)
    return m, relax(m, method=method, fmax=fmax)


# -- convergence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["atomistic", "qce", "bqce", "bgfc", "bqcf", "scgfc"])
def test_vacancy_relaxes(scheme):
    m, result = relaxed(scheme)
    assert result
    assert result.converged
    assert result.max_force <= 1e-4
    assert np.abs(m.forces()).max() == pytest.approx(result.max_force, rel=1e-6)
    assert result.evaluations <= 40
    assert "below" in result.reason
    assert result.warnings == ()
    # A row of vacancies in copper costs about an electronvolt for each; atoms close in on it.
    assert 0.9 < result.defect_energy < 1.5
    assert 0.01 < np.abs(m.U).max() < 0.3
    evaluations = [step.evaluations for step in result.history]
    assert evaluations == sorted(evaluations)
    assert result.history[-1].max_force < result.history[0].max_force


def test_relaxation_lowers_the_energy():
    m, result = relaxed("bgfc")
    assert m.energy() < m.energy(np.zeros_like(m.U)) - 0.01
    assert result.energy == pytest.approx(m.energy(), rel=1e-12)


@pytest.mark.parametrize("scheme", ["bgfc", "bqce", "scgfc"])
def test_methods_agree(scheme):
    first, one = relaxed(scheme, "lbfgs", 1e-5)
    second, other = relaxed(scheme, "newton", 1e-5)
    assert one.converged
    assert other.converged
    assert one.defect_energy == pytest.approx(other.defect_energy, abs=1e-6)
    assert np.abs(first.U - second.U).max() < 1e-4


def test_self_consistent_correction_solves_force_blending():
    corrected, one = relaxed("scgfc", "auto", 1e-6)
    blended, other = relaxed("bqcf", "auto", 1e-6)
    assert one.converged
    assert other.converged
    assert np.abs(corrected.U - blended.U).max() < 1e-5
    # Energy blending without correction ends elsewhere.
    plain, _ = relaxed("bqce", "auto", 1e-6)
    assert np.abs(plain.U - blended.U).max() > 1e-3


def test_corrected_schemes_find_what_all_atoms_find():
    atoms = model("atomistic", outer=7 * A)
    exact = relax(atoms, fmax=1e-5)
    peak = np.abs(atoms.U).max()
    for scheme in ("bgfc", "bqcf", "scgfc"):
        m, result = relaxed(scheme, "auto", 1e-5)
        assert result.defect_energy == pytest.approx(exact.defect_energy, abs=1e-3)
        assert np.abs(m.interpolate(atoms.mesh.lattice) - atoms.U).max() < 0.02 * peak
    # Ghost forces spoil both by much more.
    m, result = relaxed("bqce", "auto", 1e-5)
    assert abs(result.defect_energy - exact.defect_energy) > 0.03
    assert np.abs(m.interpolate(atoms.mesh.lattice) - atoms.U).max() > 0.2 * peak


def test_a_start_far_away_is_no_matter():
    m, result = relaxed("bgfc", "lbfgs", 1e-5)
    other = shake(model(), 0.2)
    again = relax(other, fmax=1e-5)
    assert again.converged
    assert again.defect_energy == pytest.approx(result.defect_energy, abs=1e-6)
    assert np.abs(other.U - m.U).max() < 1e-4


def test_continuum_alone_and_monolayer():
    m = shake(model("cauchy-born"), 0.1)
    assert m.energy() > 0.1
    result = relax(m)
    assert result.converged
    assert abs(result.defect_energy) < 1e-6
    hole = PointDefects(vacant=[(0, 0, 0)])
    crystal = triangular("X", 0.97631099)
    flat = QuasiContinuum(crystal, ToyEAM(), core=3, blend=3, outer=15, defects=hole)
    result = relax(flat)
    assert result.converged
    assert result.evaluations <= 40
    assert not flat.U[:, 2].any()
    assert np.abs(flat.U).max() > 1e-3


def test_strained_energy_counts_the_bulk():
    f = np.eye(3) + 0.01 * np.diag([1.0, -0.5, 0.3])
    m = model().with_strain(f)
    result = relax(m)
    assert result.converged
    bulk = m.rule.site_energy(np.stack([f, np.eye(3)]))
    expected = m.energy() + (bulk[0] - bulk[1]) * m.n_sites
    assert result.energy == pytest.approx(expected, rel=1e-12)
    assert result.energy > result.defect_energy


# -- cost -----------------------------------------------------------------------------------------


def test_cost_does_not_grow_with_the_domain():
    counts = []
    for outer in (5, 10, 20, 40):
        result = relax(model(outer=outer * A))
        assert result.converged
        counts.append(result.evaluations)
    assert max(counts) <= 40
    assert max(counts) <= 1.2 * counts[0]


def test_without_the_preconditioner_it_does():
    counts = []
    for outer in (5, 20):
        m = model(outer=outer * A)
        plain = Preconditioner(m)
        plain._solve = lambda b: b / 10.0
        counts.append(relax(m, preconditioner=plain).evaluations)
    assert counts[0] > 1.5 * relaxed("bgfc")[1].evaluations
    assert counts[1] > 1.2 * counts[0]


def test_preconditioner_inverts_the_stiffness():
    m = model()
    solve = Preconditioner(m)
    f = np.random.default_rng(0).normal(size=m.U.shape)
    x = solve(f)
    assert not x[~m.layout.free].any()
    back = solve.matrix @ x.ravel()[solve.free]
    np.testing.assert_allclose(back, f.ravel()[solve.free], atol=1e-9)


@pytest.mark.parametrize("mode", ["columns", "3d"])
def test_multigrid_serves_as_well(mode, monkeypatch):
    monkeypatch.setattr(precondition, "DIRECT_LIMIT", {2: 0, 3: 0})
    m = model(mode=mode, outer=6 * A)
    solve = Preconditioner(m)
    assert not solve.direct
    result = relax(m, preconditioner=solve)
    assert result.converged
    assert result.evaluations <= 40


def test_preconditioner_is_reused_along_a_load_path():
    m = model()
    solve = Preconditioner(m)
    for strain in (0.0, 0.005, 0.01):
        f = np.eye(3)
        f[0, 1] = strain
        m = m.with_strain(f)
        result = relax(m, preconditioner=solve)
        assert result.converged
        assert result.evaluations <= 40


# -- what is held ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["bgfc", "bqcf", "scgfc"])
def test_all_nodes_fixed(scheme):
    m = model(scheme)
    m.layout.free[:] = False
    result = relax(m)
    assert result.converged
    assert result.max_force == 0.0
    assert not m.U.any()
    assert len(result.history) == 0


@pytest.mark.parametrize("held", [0, 1])
def test_free_crystal_may_drift_and_turn(held):
    m = model()
    m.layout.free[:] = m.occupied[:, None]
    m.layout.free[:held] = False
    shake(m, 0.03)
    result = relax(m, max_steps=60)
    assert result.converged
    assert result.defect_energy == pytest.approx(relaxed("bgfc")[1].defect_energy, abs=0.01)
    assert np.abs(m.U).max() < 0.5


# -- what did not work ----------------------------------------------------------------------------


def test_unconverged_result_says_so():
    m = model()
    result = relax(m, max_steps=2)
    assert not result
    assert not result.converged
    assert "2 steps used up" in result.reason
    assert result.max_force > 1e-4
    assert np.abs(m.forces()).max() == pytest.approx(result.max_force, rel=1e-9)
    with pytest.raises(ConvergenceError, match="steps used up"):
        relax(model(), max_steps=1, raise_on_failure=True)


def test_negative_curvature_is_logged_and_overcome():
    # Atoms of the core pushed close to one another: the Hessian is indefinite there.
    m = shake(model(), 0.45, seed=3)
    result = relax(m, method="newton", fmax=1e-4)
    assert any("negative curvature" in w for w in result.warnings)
    assert result.converged


def test_callback_stops():
    seen = []
    result = relax(model(), callback=lambda step: bool(seen.append(step)) or len(seen) == 3)
    assert len(seen) == 3
    assert not result.converged
    assert result.reason == "stopped by the caller"


@pytest.mark.parametrize(
    ("option", "error", "message"),
    [
        ({"method": "newtn"}, InputError, "unknown method 'newtn'; did you mean 'newton'"),
        ({"fmax": 0.0}, InputError, "fmax must be positive"),
        ({"fmax": np.nan}, InputError, "fmax must be positive"),
        ({"longest": -1.0}, InputError, "longest must be positive"),
    ],
)
def test_bad_options(option, error, message):
    with pytest.raises(error, match=message):
        relax(model(), **option)


def test_method_without_energy():
    with pytest.raises(CapabilityError, match="scheme 'bqcf' has no energy: use method='newton'"):
        relax(model("bqcf"), method="lbfgs")


class Cliff(EAM):
    """Forces become NaN once an atom is farther from where one started than a wall."""

    wall = 0.005
    start = None

    def energy_forces(self, positions, types, weights, pairs):
        energies, forces = super().energy_forces(positions, types, weights, pairs)
        if self.start is not None:
            # Rows are sorted and hold images along the line: compare in the plane.
            away = cKDTree(self.start[:, :2]).query(positions[:, :2], p=np.inf)[0]
            if away.max() > self.wall:
                forces = np.full_like(forces, np.nan)
        return energies, forces


def cliff_model():
    stock, crystal = copper()
    tables = {name: getattr(stock, name) for name in ("dr", "drho", "rphi", "density")}
    potential = Cliff(["Cu"], embedding=stock.embedding, cutoff=stock.cutoff, **tables)
    hole = PointDefects(vacant=[(0, 0, 0)])
    m = QuasiContinuum(crystal, potential, core=2 * A, blend=2 * A, outer=8 * A, defects=hole)
    m.potential.start = m.coupling.blended.atoms.y0.copy()
    return m


def test_nan_on_the_way_ends_at_the_last_good_state():
    m = cliff_model()
    assert np.abs(m.forces()).max() > 1e-3
    result = relax(m, fmax=1e-6)
    assert not result.converged
    assert "no descent" in result.reason
    assert np.isfinite(m.U).all()
    assert np.isfinite(result.max_force)
    # Nothing beyond the wall was kept, and what could be gained was.
    moved = m.coupling.blended.atoms.positions(m.U) - m.potential.start
    assert 0.0 < np.abs(moved).max() <= m.potential.wall
    m.potential.wall = 10.0
    assert relax(m, fmax=1e-6).converged


def test_nan_at_the_start_raises_and_leaves_the_state():
    m = cliff_model()
    m.U = np.where(m.layout.free, 0.05, 0.0)
    before = m.U.copy()
    with pytest.raises(NonFiniteError, match="patch atom"):
        relax(m)
    assert np.array_equal(m.U, before)


def test_steps_that_invert_elements_are_shortened():
    # Nothing bounds the step but the line search itself.
    m = shake(model("cauchy-born"), 0.3)
    calls = []
    forces = m.coupling.forces

    def counted(u):
        try:
            return forces(u)
        except Exception as error:
            calls.append(type(error).__name__)
            raise

    m.coupling.forces = counted
    crude = Preconditioner(m)
    crude._solve = lambda b: 3.0 * b
    result = relax(m, longest=50.0, preconditioner=crude)
    assert "InvertedElementError" in calls
    assert result.converged
    assert abs(result.defect_energy) < 1e-5


# -- health ---------------------------------------------------------------------------------------


def test_defect_in_the_blend_is_flagged():
    m, result = relaxed("bgfc")
    site, d2 = blend_nonaffinity(m)
    beta = m.layout.beta_atoms[site]
    assert ((beta > 0) & (beta < 1)).all()
    assert d2.max() < 1e-3
    assert result.warnings == ()
    # An atom of the blend pushed off its site by a third of a spacing.
    spoilt = model()
    blend = spoilt.layout.blend
    middle = 0.5 * (blend.core + blend.outer)
    atom = int(np.argmin(np.abs(blend.centres.distance(spoilt.layout.positions) - middle)))
    spoilt.U[spoilt.layout.node[atom], 2] = spoilt.crystal.nearest_neighbour / 3
    (flag,) = [w for w in inspect_state(spoilt) if "blending region" in w]
    x = spoilt.layout.positions[atom]
    # Atoms along a line are named within its period.
    z = x[2] % spoilt.crystal.cell[2, 2]
    assert f"near ({x[0]:.1f}, {x[1]:.1f}, {z:.1f}) Angstrom" in flag
    assert "enlarge the core" in flag


def test_homogeneous_deformation_is_no_defect():
    f = np.eye(3) + np.random.default_rng(1).uniform(-0.03, 0.03, (3, 3))
    m = model(mode="3d", outer=6 * A, defects=None).with_strain(f)
    assert blend_nonaffinity(m)[1].max() < 1e-20
    assert inspect_state(m) == []
    for scheme in ("atomistic", "cauchy-born"):
        site, _ = blend_nonaffinity(model(scheme, defects=None))
        assert len(site) == 0


def test_defect_that_the_solver_drives_into_the_blend_is_flagged():
    # A second hole, planted where the blend begins: its surroundings are not affine.
    m = model(centres=[[0.0, 0.0, 0.0]])
    layout = m.layout
    atom = int(np.argmin(np.abs(layout.blend.centres.distance(layout.positions) - 1.9 * A)))
    layout.vacant[atom] = True
    layout.free[layout.node[atom]] = False
    m.coupling = type(m.coupling)(layout, m.rule, m.far_field, m.scheme)
    result = relax(m, fmax=1e-3)
    assert any("a defect reaches the blending region" in w for w in result.warnings)


def test_unstable_continuum_is_reported_with_its_place():
    m = model("cauchy-born").with_strain(1.25 * np.eye(3))
    (flag,) = inspect_state(m)
    assert "element " in flag
    assert "is unstable: smallest acoustic eigenvalue -" in flag
    # One bad element among good ones is found.
    m = model("cauchy-born")
    assert inspect_state(m) == []
    vertex = int(np.argmin(np.linalg.norm(m.mesh.positions[:, :2], axis=1)))
    m.U[vertex, 0] = 0.35 * m.crystal.nearest_neighbour
    (flag,) = inspect_state(m)
    element = int(flag.split("element ")[1].split()[0])
    assert vertex in m.mesh.elements[element]


# -- a core that is too small ---------------------------------------------------------------------


def test_a_defect_close_to_the_blend_is_said():
    # The vacancy is inside the core, and its neighbours are, but only just.
    off = model(core=9.0, outer=10 * A, centres=[[4.5, 0.0, 0.0]])
    result = relax(off)
    said = [w for w in result.warnings if "a defect comes close to the blending region" in w]
    assert len(said) == 1
    core = float(said[0].rpartition("core=")[2].rstrip(")"))
    # What it advises is enough, and no more than that.
    wider = off.rebuilt(core=core)
    assert relax(wider).warnings == ()
    neighbour = np.hypot(4.5 + A / 2.0, A / 2.0)
    assert core == pytest.approx(neighbour + off.potential.cutoff, abs=0.1)


def test_the_error_of_the_coupling_is_estimated():
    exact = relax(model("atomistic", outer=7 * A), fmax=1e-5).defect_energy
    for scheme in ("bgfc", "bqcf", "scgfc"):
        _, result = relaxed(scheme, "auto", 1e-5)
        error = abs(result.defect_energy - exact)
        assert 0.1 * error < result.estimated_error < 10.0 * error
    # What does not take ghost forces away has no such estimate.
    assert relaxed("bqce", "auto", 1e-5)[1].estimated_error is None


def test_cores_of_compounds_are_as_wide_as_those_of_elements():
    carbide = from_ase(bulk("SiC", "zincblende", a=4.32))
    # An edge of its primitive cell is 0.7 of the cube's.
    assert default_core(carbide, 3.0) == pytest.approx(2.0 * 4.32)
    for crystal in (diamond("Si", 5.43), fcc("Cu", A), hcp("Mg", 3.2, 5.2), bcc("Fe", 2.87)):
        assert default_core(crystal, 3.0) == 2.0 * crystal.a
    assert default_core(bcc("Fe", 2.87), 6.0) == 1.02 * 6.0
    assert model(core=None).spec.core == 2.0 * A
