"""``result.json`` as a file: strict JSON whatever the numbers are."""

import json

import numpy as np
import pytest

from qc.coupling import QuasiContinuum
from qc.crystal import triangular
from qc.errors import OutputError
from qc.io import write_result
from qc.io.runs.result import describe, sizes, versions
from qc.potentials import LennardJones


@pytest.fixture(scope="module")
def model():
    potential = LennardJones("Cu", 0.1, 2.27, 5.0)
    return QuasiContinuum(triangular("Cu", 2.5), potential, core=8.0, blend=6.0, outer=30.0)


def refuse(word):
    raise AssertionError(f"{word} is no JSON")


def test_numbers_that_are_not_finite_are_null(model, tmp_path):
    step = {"index": 0, "energy": np.nan, "forces": [np.inf, np.float64(1.5)], "n": np.int64(3)}
    path = write_result(
        tmp_path / "result.json", model, [step], status="not finite", reason='a "quoted" reason'
    )
    content = json.loads(path.read_text(), parse_constant=refuse)
    assert content["steps"] == [{"index": 0, "energy": None, "forces": [None, 1.5], "n": 3}]
    assert content["reason"] == 'a "quoted" reason'
    assert content["status"] == "not finite"
    assert content["units"]["energy"] == "eV"


def test_sizes_count_what_they_say(model):
    found = sizes(model)
    assert found["nodes"] == model.mesh.n_vertices == len(model.U)
    assert found["elements"] == len(model.mesh.elements)
    assert found["unknowns"] == 2 * int((~model.mesh.boundary).sum())
    assert found["atoms"] == len(model.all_atoms())
    assert found["sites"] == pytest.approx(model.mesh.volumes.sum() / model.crystal.volume)


def test_the_description_names_potential_and_scheme(model):
    found = describe(model)
    assert found["potential"]["family"] == "LennardJones"
    assert found["potential"]["fingerprint"] == model.potential.fingerprint()
    assert found["scheme"] == {"name": "bgfc", "core": 8.0, "blend": 6.0}
    assert found["crystal"]["mode"] == "monolayer"
    assert all(versions().values())


def test_a_folder_in_the_way_is_an_output_error(model, tmp_path):
    (tmp_path / "result.json").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write_result(tmp_path / "result.json", model, [], status="complete", reason="")
