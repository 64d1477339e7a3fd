"""From one mesh to another: dead loads do the same work, nodes that both have are found."""

from __future__ import annotations

import numpy as np
import pytest

from qc.coupling.transfer import interpolation, matching_nodes
from qc.loads import DeadLoad
from tests.physics.energy_conservation.models import build

pytestmark = pytest.mark.physics

REGIONS = {"fine": {"grading": 1.1, "largest": 0.3}, "coarse": {"core": 6.5, "blend": 6.0}}


@pytest.fixture(scope="module", params=["eam", "sw"])
def model(request):
    return build(request.param, "columns")


def random_load(model, seed=0):
    rng = np.random.default_rng(seed)
    forces = np.where(model.layout.free, rng.normal(size=model.U.shape), 0.0)
    return DeadLoad(forces, model.predictor() - rng.normal(size=model.U.shape))


def test_nodes_that_both_have_are_at_one_place(model):
    other = model.rebuilt(grading=1.1, largest=0.3)
    found = matching_nodes(model.layout, other.layout)
    both = found >= 0
    assert both.sum() > 0.5 * len(found)
    assert len(other.U) > len(model.U)
    assert np.array_equal(
        model.layout.node_positions[both], other.layout.node_positions[found[both]]
    )


@pytest.mark.parametrize("regions", REGIONS.values(), ids=REGIONS)
def test_a_carried_dead_load_does_the_same_work(model, regions):
    loaded = model.with_loads(random_load(model))
    other = loaded.rebuilt(**regions)
    assert len(other.U) != len(model.U)
    rng = np.random.default_rng(1)
    weights = interpolation(loaded.layout, other.layout)
    for _ in range(2):
        # Whatever the new nodes do, at the old ones it is interpolated.
        other.U = np.where(other.layout.free, rng.normal(size=other.U.shape), 0.0)
        loaded.U = weights @ other.U
        assert other.load_energy() == pytest.approx(loaded.load_energy(), abs=1e-9)


def test_the_resultant_stays(model):
    loaded = model.with_loads(random_load(model, 2))
    before = np.asarray(loaded.loads[0].forces).sum(axis=0)
    for regions in REGIONS.values():
        after = np.asarray(loaded.rebuilt(**regions).loads[0].forces).sum(axis=0)
        assert np.abs(after - before).max() < 1e-10


def test_a_force_on_an_atom_that_stays_an_atom_stays_on_it(model):
    forces = np.zeros(model.U.shape)
    atom = int(np.argmin(np.linalg.norm(model.layout.node_positions, axis=1)))
    forces[atom] = 0.3, -0.2, 0.1
    other = model.with_loads(DeadLoad(forces)).rebuilt(grading=1.1, largest=0.3)
    expected = np.zeros(other.U.shape)
    expected[matching_nodes(model.layout, other.layout)[atom]] = 0.3, -0.2, 0.1
    assert np.array_equal(other.loads[0].forces, expected)
    # Without a reference of its own the energy counts from the origin, as before.
    assert other.load_energy() == pytest.approx(-forces[atom] @ model.predictor()[atom], abs=1e-12)
