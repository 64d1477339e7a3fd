"""Models of 1e10 sites and more: what is quoted must not drown in the round-off of the bulk."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

import qc
from qc.continuum import term
from qc.coupling import PointDefects
from qc.potentials import LennardJones

ARGON = LennardJones("Ar", 1.0, 1.0, truncation="shift_force")
#: Of the lattice without stress.
SPACING = 1.1161533182
LARGE = 1e8


def divacancy(outer, scheme="bgfc", **options):
    return qc.QuasiContinuum(
        qc.crystal.triangular("Ar", SPACING),
        ARGON,
        defects=PointDefects(vacant=[(0, 0, 0), (1, 0, 0)]),
        outer=outer,
        scheme=scheme,
        **options,
    )


@pytest.fixture(scope="module")
def large():
    model = divacancy(LARGE)
    return model, qc.relax(model, fmax=1e-6)


@pytest.mark.parametrize("scheme", ["bgfc", "bqcf"])
@pytest.mark.parametrize("strain", [None, [[1.01, 0.02, 0], [0, 1, 0], [0, 0, 1]]])
def test_a_defect_costs_the_same_in_a_model_of_any_size(scheme, strain):
    far = None if strain is None else qc.farfield.HomogeneousStrain(strain)
    energies = []
    for outer in (1e4, LARGE):
        result = qc.relax(divacancy(outer, scheme, far_field=far), fmax=1e-6)
        assert result.converged, result.reason
        assert not result.warnings
        energies.append(result.defect_energy)
    # What the outer boundary costs falls off with its radius squared.
    assert energies[1] == pytest.approx(energies[0], abs=1e-6)


def test_a_vacancy_in_three_dimensions():
    crystal = qc.crystal.fcc("Ar", 1.5713814552)
    potential = LennardJones("Ar", 1.0, 1.0, cutoff=1.9)
    energies = []
    for outer in (50.0, 1e5):
        model = qc.QuasiContinuum(
            crystal,
            potential,
            defects=PointDefects(vacant=[(0, 0, 0)]),
            core=2.0,
            blend=2.3,
            grading=1.6,
            outer=outer,
        )
        energies.append(qc.relax(model, fmax=1e-4).defect_energy)
    assert energies[1] == pytest.approx(energies[0], abs=2e-6)


def test_forces_are_the_gradient_of_the_energy_in_huge_elements(large):
    model, _ = large
    far = np.argsort(-np.abs(model.mesh.positions).max(axis=1) * model.layout.free[:, 0])[:3]
    u = model.U.copy()
    rng = np.random.default_rng(3)
    # As a crack a mile away would strain them.
    u[far, :2] += 20.0 * rng.normal(size=(3, 2))
    move = np.zeros_like(u)
    move[far, :2] = rng.normal(size=(3, 2))
    continuum = model.coupling.blended.continuum
    work = -float(np.vdot(continuum.forces(u), move))
    step = 1e-2
    ahead, back = (continuum.point_energies(u + s * move) for s in (step, -step))
    assert math.fsum(np.concatenate([ahead, -back])) / (2 * step) == pytest.approx(work, rel=1e-6)


def strained_energy(f, cutoff=2.5):
    """Energy of a site of the triangular lattice, to 40 digits."""
    with localcontext() as context:
        context.prec = 40
        f = [[Decimal(float(v)) for v in row] for row in f]
        rows = qc.crystal.triangular("Ar", SPACING).star(1.1 * cutoff)
        total, rc = Decimal(0), Decimal(cutoff)

        def phi(r):
            return 4 * (r**-12 - r**-6)

        slope = 4 * (-12 * rc**-13 + 6 * rc**-7)
        for row in rows:
            x = [Decimal(float(v)) for v in row]
            r = sum(sum(f[i][j] * x[j] for j in range(3)) ** 2 for i in range(3)).sqrt()
            if r < rc:
                total += (phi(r) - phi(rc) - (r - rc) * slope) / 2
        return total


@pytest.mark.parametrize("size", [1e-12, 1e-9, 3e-7, 9e-6, 2e-5])
def test_strained_elements_store_what_exact_arithmetic_says(large, size):
    model, _ = large
    continuum = model.coupling.blended.continuum
    huge = int(continuum.point_volume.argmax())
    u = np.zeros_like(model.U)
    # Powers of two are exact in the positions of the vertices and in F.
    h = 2.0 ** math.floor(math.log2(size)) * np.array([[1.0, 0.5, 0], [-0.25, -0.5, 0], [0, 0, 0]])
    u[: model.mesh.n_vertices] = model.mesh.positions @ h.T
    now = continuum._corrector_gradient(u)[huge]
    exact = float(strained_energy(np.eye(3) + now) - strained_energy(np.eye(3)))
    exact *= continuum.point_weight[huge] / model.crystal.volume
    round_off = 1e-16 * continuum.point_weight[huge] if size > term.SMALL else 0.0
    assert continuum.point_energies(u)[huge] == pytest.approx(exact, rel=1e-5, abs=10 * round_off)


def test_the_books_close_whatever_the_size(large):
    model, _ = large
    layout, terms = model.layout, model.coupling.blended
    counted = 1.0 - model.scheme.weighting(layout.beta_cells)
    open_ = (terms.continuum.weights - 1.0) * model.mesh.volumes
    missing = math.fsum(open_) + model.crystal.site_volume * math.fsum(counted)
    assert abs(missing) < 1e-9


def test_round_off_that_stays_is_said(large, monkeypatch):
    """Without the cure the energies differ, and the warning's estimate covers the difference."""
    model, good = large
    monkeypatch.setattr(term, "SMALL", 0.0)
    lost = model.coupling.round_off(model.U)
    assert abs(model.coupling.defect_energy(model.U) - good.defect_energy) < lost
    warnings = qc.relax(model, fmax=1e-6).warnings
    assert any(line.startswith("round-off may change the defect energy") for line in warnings)
