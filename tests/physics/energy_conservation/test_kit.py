"""The kit for dynamics: sound calculators pass, planted errors are named."""

import os
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

import qc
from qc.coupling import QuasiContinuum
from qc.dynamics import ModelSystem
from qc.errors import InputError
from qc.verify import check_dynamics
from tests.physics.energy_conservation.models import build

pytestmark = pytest.mark.physics

NAMES = {
    "forces", "time step", "slope", "drift", "order", "reversal", "momentum", "ledger",
    "temperature",
}  # fmt: skip


class Faulty(EMT):
    """EMT with something wrong."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def calculate(self, *arguments, **keywords):
        super().calculate(*arguments, **keywords)
        forces = self.results["forces"].copy()
        if self.fault == "scaled":
            forces[::2] *= 1.01
        elif self.fault == "curl":
            # A whirl about the lattice sites: no energy has it.
            y = self.atoms.positions
            forces[:, 0] += 0.02 * np.sin(2.0 * np.pi * y[:, 1] / 3.61)
        self.results["forces"] = forces


def copper(calculator):
    atoms = bulk("Cu", cubic=True)
    atoms.calc = calculator
    return atoms


def test_a_sound_calculator_passes():
    atoms = copper(EMT())
    before = atoms.positions.copy()
    report = check_dynamics(atoms, steps=600)
    assert report, report
    assert {check.name for check in report.checks} == NAMES
    np.testing.assert_array_equal(atoms.positions, before)
    assert report["order"].figure < 0.05
    assert "Cu4 with EMT" in str(report)


def test_our_own_calculator_passes():
    atoms = bulk("Cu", a=3.615, cubic=True) * (2, 2, 2)
    atoms.calc = qc.PotentialCalculator(qc.potentials.zhou2004("Cu"))
    report = check_dynamics(atoms, steps=600)
    assert report, report


@pytest.mark.parametrize("fault", ["scaled", "curl"])
def test_planted_errors_are_named(fault):
    report = check_dynamics(copper(Faulty(fault)), steps=600)
    assert {"forces", "order"} <= set(report.failed), report
    # The bath hides it.
    assert report["temperature"].passed
    assert report["ledger"].passed


def test_models_are_checked_too():
    model = build("eam", "columns")
    start = model.U.copy()
    report = check_dynamics(model, steps=600)
    assert report, report
    assert "momentum" not in report, "the rim of a model is held"
    np.testing.assert_array_equal(model.U, start)


@pytest.mark.long
def test_blended_forces_fail():
    model: QuasiContinuum = build("eam", "columns", "bqcf")
    report = check_dynamics(ModelSystem(model, allow_nonconservative=True), steps=200)
    assert {"forces", "order"} <= set(report.failed), report


def test_bad_input():
    atoms = copper(EMT())
    for keywords, message in (
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": np.nan}, "temperature"),
        ({"timestep": -1.0}, "timestep"),
        ({"steps": 10}, "steps"),
    ):
        with pytest.raises(InputError, match=message):
            check_dynamics(atoms, **keywords)
    with pytest.raises(InputError, match="no calculator"):
        check_dynamics(Atoms("Cu"))
    with pytest.raises(InputError, match="is no system"):
        check_dynamics("copper")
    # A step beyond the bound is reported, and nothing is run.
    report = check_dynamics(atoms, timestep=50.0, steps=200)
    assert report.failed == ("time step",)


MODULE = """
from ase.build import bulk
from ase.calculators.emt import EMT

class Bad(EMT):
    def calculate(self, *arguments, **keywords):
        super().calculate(*arguments, **keywords)
        self.results["forces"] = 1.01 * self.results["forces"]

def good():
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    return atoms

def bad():
    atoms = bulk("Cu", cubic=True)
    atoms.calc = Bad()
    return atoms
"""


@pytest.mark.parametrize(("function", "outcome"), [("good", "9 passed"), ("bad", "failed")])
def test_pytest_runs_the_kit_on_a_foreign_calculator(function, outcome, tmp_path):
    (tmp_path / "mine.py").write_text(MODULE)
    environment = os.environ | {"QC_VERIFY_ATOMS": f"mine:{function}", "QC_VERIFY_STEPS": "1000"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--pyargs", "qc.verify", "-p", "no:xdist"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert outcome in done.stdout, done.stdout
    assert (done.returncode == 0) == (function == "good")
    if function == "bad":
        assert "test_dynamics[forces]" in done.stdout
