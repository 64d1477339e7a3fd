"""What a relaxation says at the limits: of double precision, and of the period along a line."""

import re

import numpy as np
import pytest

from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import fcc
from qc.numerics.solvers.roundoff import PATIENCE, RoundOff
from qc.potentials import zhou2004
from qc.solve import relax
from qc.solve.health import inspect_state

COPPER = zhou2004("Cu")
COLUMNS = fcc("Cu", 3.615, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns()


def vacancies(**options):
    options = {"core": 7.0, "blend": 6.0, "outer": 20.0} | options
    return QuasiContinuum(COLUMNS, COPPER, defects=PointDefects(vacant=[(0, 0, 0)]), **options)


@pytest.mark.parametrize("scheme", ["bgfc", "bqcf", "scgfc", "atomistic"])
@pytest.mark.parametrize("method", ["auto", "newton"])
def test_an_fmax_below_round_off_ends_early_and_says_so(scheme, method):
    steps = len(relax(vacancies(scheme=scheme), fmax=1e-11, method=method).history)
    model = vacancies(scheme=scheme)
    result = relax(model, fmax=1e-30, method=method)
    assert not result.converged
    assert "fmax 1.00e-30 is below what double precision reaches here" in result.reason
    assert f"stays at {result.max_force:.2e} eV/Angstrom" in result.reason
    assert result.max_force < 1e-12
    assert len(result.history) < steps + 60
    # The figure is one that can be reached.
    assert relax(vacancies(scheme=scheme), fmax=10.0 * result.max_force, method=method).converged


def test_the_floor_rises_with_the_distance_from_the_origin():
    near, far = (relax(vacancies(outer=r), fmax=1e-30).max_force for r in (20.0, 1e4))
    assert far > 10.0 * near


def test_steps_count_as_lost_by_the_digits_of_each_node():
    floor = RoundOff(np.array([[0.0, 0.0, 0.0], [1e4, 0.0, 0.0]]), 2.5)
    small = np.array([[1e-14, 0.0, 0.0], [0.0, 5e-11, 0.0]])
    assert floor.lost(small)
    assert not floor.lost(small[::-1])
    assert not floor.reached(small, 1e-12)
    assert [floor.reached(small, 1e-12) for _ in range(PATIENCE)][-1]
    assert not floor.reached(small, 0.5e-12)
    assert not floor.reached(1e3 * small, 1e-12)


def test_warnings_in_columns_name_a_place_within_the_period():
    model = vacancies()
    layout = model.layout
    beta = layout.beta_nodes
    rng = np.random.default_rng(3)
    shaken = layout.free & ((beta > 0.0) & (beta < 1.0))[:, None]
    period = model.crystal.cell[2, 2]
    shown = []
    for _ in range(12):
        model.U = np.where(shaken, rng.normal(scale=0.35, size=model.U.shape), 0.0)
        shown += [re.search(r"near \((.*?), (.*?), (.*?)\)", w) for w in inspect_state(model)]
    assert len(shown) >= 12
    assert all(0.0 <= float(found[3]) < period for found in shown)
