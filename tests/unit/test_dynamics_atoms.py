"""Dynamics of the atoms of an ASE calculator: what is kept, what is refused."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.units import fs

from qc.dynamics import AtomsSystem, Dynamics, largest_frequency
from qc.errors import InputError, NonFiniteError


class Broken(Calculator):
    """Gives what a calculator should not."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def calculate(self, atoms=None, properties=(), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        n = len(self.atoms)
        self.results = {"energy": 0.0, "forces": np.zeros((n, 3))}
        if self.fault == "nan" and not self.atoms.positions.any():
            self.results["forces"][0, 0] = np.nan
        if self.fault == "energy":
            self.results["energy"] = np.inf


def test_ase_atoms_keep_energy_and_momentum():
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.calc = EMT()
    dynamics = Dynamics(atoms, 2.0 * fs, seed=1)
    dynamics.set_temperature(600.0, at_rest=True)
    dynamics.run(100)
    assert np.abs(dynamics.momentum).max() < 1e-10
    assert abs(dynamics.ledger.closure) < 1e-11
    assert abs(dynamics.ledger.total - dynamics.ledger.start) < 0.02
    np.testing.assert_array_equal(atoms.positions, dynamics.x)


def test_constraints_of_ase_are_kept_or_refused():
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    atoms.set_constraint(FixAtoms([0]))
    dynamics = Dynamics(atoms, 1.0 * fs)
    dynamics.set_temperature(300.0)
    first = atoms.positions[0].copy()
    dynamics.run(5)
    np.testing.assert_array_equal(dynamics.x[0], first)
    from ase.constraints import FixBondLength

    atoms.set_constraint(FixBondLength(0, 1))
    with pytest.raises(InputError, match="FixBondLength"):
        AtomsSystem(atoms)


def test_bad_atoms_and_calculators_are_refused():
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 1.0]])
    with pytest.raises(InputError, match="no calculator"):
        Dynamics(atoms, 1.0)
    atoms.calc = Broken("nan")
    atoms.set_masses([1.0, 0.0])
    with pytest.raises(InputError, match=r"mass 0\.0 u of node 1"):
        Dynamics(atoms, 1.0)
    atoms.set_masses([1.0, 1.0])
    zero = atoms.copy()
    zero.positions[:] = 0.0
    zero.calc = Broken("nan")
    with pytest.raises(NonFiniteError, match="force on atom 0"):
        Dynamics(zero, 1.0, check_timestep=False)
    atoms.calc = Broken("energy")
    with pytest.raises(NonFiniteError, match="energy"):
        Dynamics(atoms, 1.0, check_timestep=False)
    atoms.calc = Broken("none")
    atoms.positions[1, 2] = np.nan
    with pytest.raises(InputError, match="position of atom 1"):
        Dynamics(atoms, 1.0)


def test_the_bound_is_asked_for_without_moving_the_atoms():
    atoms = bulk("Cu", cubic=True) * 2
    atoms.calc = EMT()
    start = atoms.positions.copy()
    run = Dynamics(atoms, 2.0 * fs)
    assert np.array_equal(run.x, start)
    assert np.array_equal(atoms.positions, start)
    assert np.abs(run.forces).max() < 1e-10
    largest_frequency(AtomsSystem(atoms))
    assert np.array_equal(atoms.positions, start)


class Smeared(Calculator):
    """Forces of the free energy, beside an energy that is another."""

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        x = self.atoms.positions
        free = 0.5 * float((x**2).sum())
        self.results = {"energy": 2.0 * free, "free_energy": free, "forces": -x}


def test_the_energy_of_atoms_is_that_of_their_forces():
    atoms = Atoms("Ar2", [[0, 0, 0.1], [0.2, 0, 0]], calculator=Smeared())
    assert AtomsSystem(atoms).energy_forces(atoms.positions)[0] == pytest.approx(0.025)
