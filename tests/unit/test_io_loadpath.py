"""Load paths: the same states whether or not the path was interrupted."""

import numpy as np
import pytest

from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import fcc
from qc.errors import InputError, NonFiniteError
from qc.farfield import simple_shear
from qc.io import read_checkpoint, restore, write_checkpoint
from qc.potentials import zhou2004
from qc.solve import Preconditioner, relax
from qc.solve.path import follow

PATH = np.array([simple_shear(g) for g in (0.0, 0.01, 0.02, 0.03)])


@pytest.fixture(scope="module")
def model():
    potential = zhou2004("Al", knots_per_length=300, knots_per_density=300)
    crystal = fcc("Al", 4.05, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns()
    return QuasiContinuum(
        crystal, potential, core=7.5, blend=6.0, outer=24.0,
        defects=PointDefects(vacant=[(0, 0, 0)]),
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(model):
    return follow(model, PATH)


def test_every_step_is_relaxed_at_its_deformation(model, whole):
    assert whole.complete
    assert whole.converged
    assert [s.index for s in whole.steps] == [0, 1, 2, 3]
    for step, f in zip(whole.steps, PATH, strict=True):
        np.testing.assert_array_equal(step.model.far_field.mean_deformation, f)
        assert np.abs(step.model.forces()).max() <= 1e-4
    assert not model.U.any()
    assert whole.model is whole.steps[-1].model


def test_a_step_agrees_with_a_relaxation_from_scratch(model, whole):
    alone = model.with_strain(PATH[3])
    result = relax(alone, fmax=1e-6)
    assert result.defect_energy == pytest.approx(whole.steps[3].result.defect_energy, abs=1e-6)
    np.testing.assert_allclose(alone.U, whole.model.U, atol=1e-3)
    # Negative control: the unstrained vacancy is another state.
    assert np.abs(whole.steps[0].model.U - alone.U).max() > 5e-3


@pytest.mark.parametrize("done", [1, 3])
def test_a_resumed_path_is_bitwise_the_uninterrupted_one(done, model, whole, tmp_path):
    first = follow(model, PATH, callback=lambda step: step.index + 1 == done)
    assert not first.complete
    assert "stopped by the caller" in first.reason
    path = write_checkpoint(tmp_path / "state.npz", first.model, PATH[:done])
    saved = read_checkpoint(path)
    again = model.with_strain(np.eye(3))
    restore(saved, again)
    rest = follow(again, PATH, start=saved.next_step)
    assert rest.complete
    assert len(rest.steps) == len(PATH) - done
    np.testing.assert_array_equal(rest.model.U, whole.model.U)
    assert rest.steps[-1].result.defect_energy == whole.steps[-1].result.defect_energy
    assert rest.steps[-1].result.evaluations == whole.steps[-1].result.evaluations


def test_a_path_that_is_done_is_left_alone(model):
    rest = follow(model, PATH, start=len(PATH))
    assert rest.complete
    assert rest.steps == ()
    assert rest.model is model


def test_the_path_ends_where_a_step_does_not_converge(model):
    path = follow(model, PATH, max_steps=2)
    assert not path.complete
    assert not path.converged
    assert len(path.steps) == 1
    assert path.reason.startswith("step 0: 2 steps used up")


def test_stopping_within_a_step_keeps_its_state(model):
    seen = []

    def iteration(entry):
        seen.append(entry)
        return len(seen) == 3

    path = follow(model, PATH, iteration=iteration)
    assert not path.complete
    assert path.steps[0].result.reason == "stopped by the caller"
    assert np.abs(path.model.U).max() > 0


def test_one_preconditioner_serves_the_path(model, whole, monkeypatch):
    made = []

    class Counted(Preconditioner):
        def __init__(self, model):
            made.append(model)
            super().__init__(model)

    monkeypatch.setattr("qc.solve.model_system.Preconditioner", Counted)
    follow(model, PATH[:2])
    assert len(made) == 1


def test_a_state_that_is_not_finite_is_refused(model):
    bad = model.with_strain(np.eye(3))
    bad.U[bad.layout.free] = np.nan
    with pytest.raises(NonFiniteError):
        follow(bad, PATH[:1])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ([[1.0, 2.0]], r"shape \(n, 3, 3\)"),
        (np.zeros((0, 3, 3)), r"shape \(n, 3, 3\)"),
        ([np.eye(3), np.full((3, 3), np.nan)], "step 1 is not finite"),
        ([np.eye(3), -np.eye(3)], "step 1 has no positive determinant"),
        ("shear", "numbers"),
    ],
)
def test_bad_paths_are_named(path, message, model):
    with pytest.raises(InputError, match=message):
        follow(model, path)


def test_a_start_outside_the_path_is_refused(model):
    with pytest.raises(InputError, match="start 5"):
        follow(model, PATH, start=5)
