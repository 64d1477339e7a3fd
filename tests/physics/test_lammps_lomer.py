"""The Lomer dipole in Al under shear, against the full lattice relaxed by LAMMPS."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.physics


def load_dipole():
    path = Path(__file__).parents[1] / "bench" / "lomer_reference.py"
    spec = importlib.util.spec_from_file_location("lomer_reference", path)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.LomerDipole.load()


@pytest.fixture(scope="module")
def dipole():
    return load_dipole()


def test_the_block_is_large_enough(dipole):
    cell = dipole.crystal.cell
    n1, n2 = (2 * b for b in dipole.data["geometry"]["bounds"])
    assert n2 * cell[1, 1] >= 200.0
    # A rectangle 200 Angstrom high between the slanted ends.
    assert n1 * cell[0, 0] - 200.0 * cell[1, 0] / cell[1, 1] >= 400.0


def test_same_path_as_the_full_lattice(dipole):
    """Two steps of the path here; docs/benchmarks.md has all of it."""
    model = dipole.model("bgfc", 6.0, 4.0, grading=2.0)
    rows = dipole.follow(model, dipole.shears[:2], fmax=1e-5, max_steps=800)
    for row in rows:
        assert row["converged"]
        assert row["all"] < 0.01
        assert row["core"] < 0.01
    assert abs(rows[1]["change_error"]) < 0.01
    assert model.n_unknowns < 0.25 * 63603


def test_a_core_without_the_partials_is_not_enough(dipole):
    kept, dipole.centres = dipole.centres, np.column_stack([dipole.cores, [0.0, 0.0]])
    model = dipole.model("bgfc", 3.0, 2.0, grading=3.0)
    dipole.centres = kept
    rows = dipole.follow(model, dipole.shears[:1], fmax=1e-3, max_steps=300)
    assert rows[0]["core"] > 0.01
