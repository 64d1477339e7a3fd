"""Relaxation and paths of systems that are no models."""

import io

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones as ASELennardJones

import qc
from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import triangular
from qc.errors import CapabilityError, ConvergenceError, InputError
from qc.loads import CylindricalIndenter
from qc.materials import equilibrium_crystal
from qc.mesh import FreeSurface
from qc.potentials import Morse, ToyEAM
from qc.solve import DefectResult, Result, System, follow, relax


class Bowl(System):
    """``E = |x - c|^2 / 2 + |x - c|^4``, and nothing but energy and forces."""

    def __init__(self, centre):
        self.centre = np.asarray(centre, dtype=float)
        self.coordinates = np.zeros_like(self.centre)

    def energy_forces(self, x):
        d = x - self.centre
        square = float((d * d).sum())
        return 0.5 * square + square**2, -(1.0 + 4.0 * square) * d


def test_a_system_needs_nothing_but_energy_and_forces():
    bowl = Bowl(np.arange(12.0).reshape(4, 3) / 5.0)
    for method in ("lbfgs", "newton"):
        bowl.coordinates = np.zeros((4, 3))
        found = relax(bowl, fmax=1e-8, method=method)
        assert type(found) is Result
        assert found.converged
        assert found.energy == pytest.approx(0.0, abs=1e-12)
        np.testing.assert_allclose(bowl.coordinates, bowl.centre, atol=1e-7)
        assert found.evaluations == found.history[-1].evaluations


def test_atoms_relax_as_with_ase():
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * (2, 2, 2)
    atoms.calc = ASELennardJones(epsilon=0.0104, sigma=3.4, rc=8.0, smooth=True)
    energy = atoms.get_potential_energy()
    atoms.rattle(0.1, seed=3)
    found = qc.relax(atoms, fmax=1e-6)
    assert found.converged
    assert found.energy == pytest.approx(energy, abs=1e-8)
    assert np.abs(atoms.get_forces()).max() < 1e-6


def test_a_path_over_any_parameter():
    seen = follow(
        Bowl(np.ones((2, 3))),
        [1.0, 2.0, 3.0],
        change=lambda bowl, value: Bowl(value * np.ones((2, 3))),
        fmax=1e-9,
    )
    assert seen.complete
    assert [step.value for step in seen.steps] == [1.0, 2.0, 3.0]
    np.testing.assert_allclose(seen.model.coordinates, 3.0, atol=1e-7)


def test_a_path_over_the_depth_of_an_indenter():
    crystal, potential = triangular("X", 1.0), ToyEAM()
    model = QuasiContinuum(
        equilibrium_crystal(crystal, potential), potential, core=4.0, blend=3.0, outer=20.0,
        boundary=FreeSurface((0, 1, 0)), centres=[(0.0, 0.0, 0.0)],
    )  # fmt: skip
    top = float(model.predict(np.zeros((1, 3)))[0, 1])
    first = CylindricalIndenter(radius=3.0, centre=(0.0, top + 3.0, 0.0), stiffness=1.0)
    depths = [0.1, 0.2, 0.25, 0.3]
    path = follow(
        model,
        depths,
        change=lambda m, depth: m.with_loads(first.moved((0.0, -depth, 0.0))),
        fmax=1e-6,
    )
    assert path.complete
    assert isinstance(path.steps[0].result, DefectResult)
    energies = [step.result.defect_energy for step in path.steps]
    loads = [float(step.model.reactions()[0, 1]) for step in path.steps]
    assert np.all(np.diff(loads) > 0.0)
    # Simpson's rule: what the load does is the change of the energy.
    work = 0.1 / 6.0 * (loads[1] + 4.0 * loads[2] + loads[3])
    assert energies[3] - energies[1] == pytest.approx(work, rel=1e-3)
    # Each step begins where the one before ended.
    assert relax(path.steps[-1].model, fmax=1e-6).evaluations <= 2


def test_a_path_over_temperature():
    potential = Morse("Ar", 0.5, 4.0, 1.0, 2.2)
    crystal = equilibrium_crystal(triangular("Ar", 1.0), potential)
    start = QuasiContinuum(
        crystal, potential, core=2.3, blend=2.2, outer=6.5, temperature=50.0,
        defects=PointDefects(vacant=[(0, 0, 0)]),
    )  # fmt: skip
    path = follow(start, [100.0, 150.0], change=QuasiContinuum.with_temperature, fmax=1e-8)
    assert path.complete
    assert [step.model.temperature for step in path.steps] == [100.0, 150.0]
    alone = start.with_temperature(150.0)
    assert path.steps[1].result.defect_energy == pytest.approx(
        relax(alone, fmax=1e-8).defect_energy, abs=1e-9
    )


def test_what_a_system_cannot_do_is_said():
    bowl = Bowl(np.ones((2, 3)))
    with pytest.raises(CapabilityError, match="Bowl has no masses"):
        _ = bowl.masses
    with pytest.raises(CapabilityError, match="only models have external loads"):
        bowl.loads = ()
    with pytest.raises(InputError, match="mu is for models"):
        relax(bowl, mu={"Cu": 1.0})
    with pytest.raises(InputError, match="is no system"):
        relax("bowl")
    with pytest.raises(InputError, match="is no system"):
        follow("bowl", [1.0], change=lambda m, v: m)
    with pytest.raises(ConvergenceError, match="steps used up"):
        relax(bowl, max_steps=1, raise_on_failure=True, fmax=1e-12)


def test_progress_is_a_callback(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    bowl = Bowl(np.ones((2, 3)))
    with qc.Progress("bowl", terminal, interval=0) as show:
        found = relax(bowl, fmax=1e-8, callback=show)
    assert found.converged
    assert f"bowl: {found.history[-1]}"[:78] in terminal.getvalue()
    assert "evaluations, max force" in terminal.getvalue()
