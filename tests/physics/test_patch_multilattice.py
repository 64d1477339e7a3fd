"""Patch test, books and derivatives of the schemes on crystals with a basis."""

import numpy as np
import pytest

from qc import relax
from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import Crystal, diamond, hcp
from qc.potentials import stillinger1985, tersoff1989, zhou2004
from qc.verify import check_coupling

pytestmark = pytest.mark.physics


def silicon():
    return diamond("Si", 5.431), stillinger1985("Si"), 5.5, 18.0


def magnesium():
    return hcp("Mg", 3.2, 5.2), zhou2004("Mg"), 8.3, 26.0


def magnesium_columns():
    crystal = hcp("Mg", 3.2, 5.2, x=(0, 1, -1, 0), y=(0, 0, 0, 1), z=(2, -1, -1, 0))
    return crystal.as_columns(), zhou2004("Mg"), 8.3, 40.0


def silicon_columns():
    crystal = diamond("Si", 5.431, x=(1, 1, -2), y=(1, 1, 1), z=(1, -1, 0))
    return crystal.as_columns(), stillinger1985("Si"), 6.0, 40.0


def silicon_carbide():
    host = diamond("Si", 4.32)
    crystal = Crystal(host.cell, host.basis, ("Si", "C"), "multilattice", 4.32, np.eye(3))
    return crystal, tersoff1989("Si", "C"), 4.4, 11.0


RUNS = [
    (silicon, "bgfc"),
    (silicon, "atomistic"),
    *((silicon_columns, scheme) for scheme in ("bgfc", "bqcf", "cauchy-born", "atomistic")),
    *((magnesium_columns, scheme) for scheme in ("bgfc", "bqcf", "scgfc", "cauchy-born")),
    (silicon_carbide, "bgfc"),
]


@pytest.mark.parametrize(("case", "scheme"), RUNS)
def test_kit(case, scheme):
    crystal, potential, core, outer = case()
    if scheme == "atomistic":
        outer = 0.4 * outer
    model = QuasiContinuum(crystal, potential, scheme=scheme, core=core, blend=core, outer=outer)
    report = check_coupling(model)
    assert report.passed, str(report)
    assert "patch residual" in [check.name for check in report.checks]


def test_uncorrected_energy_blending_fails_the_patch_test_on_shifts_too():
    crystal, potential, core, outer = silicon()
    model = QuasiContinuum(crystal, potential, scheme="bqce", core=core, blend=core, outer=outer)
    f = model.with_strain(np.eye(3) + np.diag([0.02, 0.0, -0.01])).forces()
    further = model.layout.site_nodes[:, 1] == 1
    assert np.abs(f[further]).max() > 0.01
    assert np.abs(f[~further]).max() > 0.01


def test_unrelaxed_shifts_fail_the_patch_test():
    # The predictor without its relaxed shifts: what a crystal taken for a Bravais one would do.
    crystal, potential, core, outer = silicon()
    model = QuasiContinuum(crystal, potential, scheme="bqcf", core=core, blend=core, outer=outer)
    strained = model.with_strain(np.eye(3) + 0.02 * np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]))
    assert np.abs(strained.forces()).max() < 1e-10
    shift = strained.rule.predictor_shifts(strained.far_field.mean_deformation)
    u = -shift[model.layout.node_sublattices] * model.layout.free
    assert np.abs(strained.forces(u)).max() > 0.05


def test_a_vacancy_on_either_sublattice_is_the_same():
    crystal, potential, core, _ = magnesium()
    found = []
    for s in (0, 1):
        site = PointDefects(vacant=[(0, 0, 0, s)])
        model = QuasiContinuum(
            crystal, potential, core=core, blend=0.8 * core, outer=2.4 * core, defects=site
        )
        found.append(relax(model).defect_energy)
    assert found[0] == pytest.approx(found[1], abs=2e-4)
