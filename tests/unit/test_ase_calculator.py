"""PotentialCalculator under ASE's conventions, optimizers and dynamics."""

import copy
import itertools

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111
from ase.calculators.calculator import PropertyNotImplementedError, get_calculator_class
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE, LBFGS
from ase.optimize.precon import Exp, PreconLBFGS

import qc
from qc.adapters.ase import PotentialCalculator
from qc.errors import InputError, NonFiniteError, UnknownSpeciesError
from qc.potentials import EAM, Potential, zhou2004


@pytest.fixture(scope="module")
def potential():
    return zhou2004("Cu", "Ni")


def alloy(potential, seed=0, stdev=0.1, pbc=True):
    atoms = bulk("Cu", "fcc", 3.6, cubic=True) * (2, 2, 1)
    atoms.symbols[3] = atoms.symbols[6] = "Ni"
    atoms.pbc = pbc
    atoms.rattle(stdev, seed=seed)
    atoms.calc = PotentialCalculator(potential)
    return atoms


def everything(atoms):
    atoms.get_stress()
    return {k: atoms.calc.results[k] for k in atoms.calc.implemented_properties}


class TestResults:
    def test_types_and_shapes(self, potential):
        results = everything(alloy(potential))
        assert type(results["energy"]) is float
        assert type(results["free_energy"]) is float
        assert results["energies"].shape == (16,)
        assert results["forces"].shape == (16, 3)
        assert results["stress"].shape == (6,)
        for name in ("energies", "forces", "stress"):
            assert results[name].dtype == np.float64
        properties = alloy(potential).calc.calculate_properties(
            alloy(potential), ["energy", "free_energy", "energies", "forces", "stress"]
        )
        assert properties["energy"] == results["energy"]

    def test_energies_sum_to_the_energy(self, potential):
        atoms = alloy(potential)
        energy = atoms.get_potential_energy()
        assert atoms.get_potential_energies().sum() == pytest.approx(energy, rel=1e-13)
        assert atoms.get_potential_energy(force_consistent=True) == energy

    @pytest.mark.parametrize("pbc", [True, (True, False, True), (False, True, False), False])
    def test_forces_against_numbers(self, potential, pbc):
        atoms = alloy(potential, pbc=pbc)
        expected = calculate_numerical_forces(atoms, eps=1e-4, iatoms=range(5))
        np.testing.assert_allclose(atoms.get_forces()[:5], expected, atol=1e-6)
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(atoms.get_forces().sum(axis=0), 0, atol=1e-12)

    @pytest.mark.parametrize("pbc", [True, (True, True, False)])
    def test_stress_against_numbers(self, potential, pbc):
        atoms = alloy(potential, pbc=pbc)
        atoms.set_cell(atoms.cell[:] @ [[1, 0.05, 0], [0, 0.98, 0.02], [0.1, 0, 1]], True)
        expected = calculate_numerical_stress(atoms, eps=1e-5)
        np.testing.assert_allclose(atoms.get_stress(), expected, atol=1e-7)
        assert np.all(np.abs(expected) > 1e-4)

    def test_the_stress_comes_with_the_energy(self, potential):
        """Trajectories of ASE keep what is there and ask for nothing."""
        atoms = alloy(potential)
        atoms.get_potential_energy()
        found = atoms.calc.results["stress"].copy()
        expected = calculate_numerical_stress(atoms, eps=1e-5)
        np.testing.assert_allclose(found, expected, atol=1e-7)
        open_ended = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.5]], calculator=atoms.calc)
        open_ended.get_potential_energy()
        assert "stress" not in open_ended.calc.results

    def test_a_compressed_crystal_has_negative_stress(self, potential):
        atoms = bulk("Cu", a=3.5)
        atoms.calc = PotentialCalculator(potential)
        assert np.all(atoms.get_stress()[:3] < 0)

    def test_wrapping_changes_nothing(self, potential):
        atoms = alloy(potential)
        before = everything(atoms)
        atoms.positions += np.random.default_rng(7).integers(-3, 4, (16, 3)) @ atoms.cell[:]
        after = everything(atoms)
        for name, value in before.items():
            np.testing.assert_allclose(after[name], value, atol=1e-10)

    def test_a_left_handed_cell_gives_the_same(self, potential):
        atoms = alloy(potential)
        before = everything(atoms)
        atoms.set_cell(atoms.cell[[1, 0, 2]])
        assert atoms.cell.handedness == -1
        after = everything(atoms)
        for name, value in before.items():
            np.testing.assert_allclose(after[name], value, atol=1e-12)

    def test_a_supercell_of_a_thin_cell(self, potential):
        thin, thick = bulk("Cu", a=3.7), bulk("Cu", a=3.7) * (4, 4, 4)
        for atoms in (thin, thick):
            atoms.calc = PotentialCalculator(potential)
        assert thin.cell.lengths().max() < potential.cutoff
        assert thick.get_potential_energy() / 64 == pytest.approx(thin.get_potential_energy())
        np.testing.assert_allclose(thick.get_stress(), thin.get_stress(), atol=1e-13)

    def test_mixed_periodicity_is_not_ignored(self, potential):
        energies = []
        for pbc in itertools.product((False, True), repeat=3):
            energies.append(alloy(potential, pbc=pbc).get_potential_energy())
        assert len({round(e, 6) for e in energies}) == 8
        assert min(energies) == energies[-1]

    def test_no_atom_and_one_atom(self, potential):
        for atoms in (Atoms(), Atoms("Cu"), Atoms("Cu", positions=[[50.0, 0, 0]])):
            atoms.calc = PotentialCalculator(potential)
            assert atoms.get_potential_energy() == pytest.approx(0, abs=1e-5)
            assert atoms.get_forces().shape == (len(atoms), 3)
            assert not atoms.get_forces().any()

    def test_stress_without_a_cell_is_not_implemented(self, potential):
        atoms = Atoms("Cu2", positions=[[0, 0, 0], [2.3, 0, 0]], calculator=None)
        atoms.calc = PotentialCalculator(potential)
        with pytest.raises(PropertyNotImplementedError, match="three cell vectors"):
            atoms.get_stress()
        assert np.isfinite(atoms.get_potential_energy())
        with pytest.raises(PropertyNotImplementedError):
            atoms.get_charges()


class Counting(PotentialCalculator):
    calls = 0

    def calculate(self, *args, **kwargs):
        self.calls += 1
        super().calculate(*args, **kwargs)


class Generic(EAM):
    """Without a fused kernel."""

    pair_list, fused_virial = "none", False

    def __init__(self, potential):
        self.__dict__.update(potential.__dict__)


class TestCache:
    def test_nothing_is_computed_twice(self, potential):
        atoms = alloy(potential)
        atoms.calc = calc = Counting(potential)
        atoms.get_potential_energy()
        atoms.get_forces()
        atoms.get_potential_energies()
        atoms.get_stress()
        assert calc.calls == 1
        # One without it in its kernel takes it when it is asked for, once.
        generic = Counting(potential)
        generic.potential = Generic(potential)
        atoms.calc = generic
        energy = atoms.get_potential_energy()
        assert "stress" not in generic.results
        stress = atoms.get_stress()
        assert generic.calls == 2
        assert atoms.get_potential_energy() == energy
        atoms.get_stress()
        assert generic.calls == 2
        np.testing.assert_allclose(calc.get_stress(atoms), stress, atol=1e-13)

    @pytest.mark.parametrize("n", [0, 1, 2])
    def test_a_stress_that_cannot_be_leaves_the_rest(self, potential, n, tmp_path):
        """ASE's command line asks for one property after the other, then writes what is known."""
        atoms = Atoms("Cu2", positions=[[0, 0, 0], [2.3, 0, 0]])[:n]
        atoms.calc = calc = Counting(potential)
        with pytest.raises(PropertyNotImplementedError, match="three cell vectors"):
            atoms.get_stress()
        assert set(calc.results) == {"energy", "free_energy", "energies", "forces"}
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        assert calc.calls == 1
        with connect(tmp_path / "a.json") as database:
            row = database.get(id=database.write(atoms))
        assert row.energy == energy
        np.testing.assert_array_equal(row.forces, forces)

    @pytest.mark.parametrize(
        "change",
        [
            lambda a: a.positions.__iadd__(np.eye(16, 3) * 1e-3),
            lambda a: a.set_cell(a.cell[:] * 1.01),
            lambda a: a.set_pbc((True, True, False)),
            lambda a: a.symbols.__setitem__(0, "Ni"),
            lambda a: a.__delitem__(-1),
        ],
        ids=["positions", "cell", "pbc", "numbers", "length"],
    )
    def test_every_change_that_matters_is_seen(self, potential, change):
        atoms = alloy(potential)
        everything(atoms)
        change(atoms)
        fresh = atoms.copy()
        fresh.calc = PotentialCalculator(potential)
        assert atoms.get_potential_energy() == pytest.approx(
            fresh.get_potential_energy(), abs=1e-11
        )
        np.testing.assert_allclose(atoms.get_forces(), fresh.get_forces(), atol=1e-11)
        np.testing.assert_allclose(atoms.get_stress(), fresh.get_stress(), atol=1e-11)

    def test_changes_that_do_not_matter_cost_nothing(self, potential):
        atoms = alloy(potential)
        atoms.calc = calc = Counting(potential)
        atoms.get_potential_energy()
        atoms.set_tags(1)
        atoms.set_initial_charges(np.ones(16))
        atoms.set_initial_magnetic_moments(np.ones(16))
        atoms.get_potential_energy()
        assert calc.calls == 1

    def test_results_handed_out_are_copies(self, potential):
        atoms = alloy(potential)
        atoms.get_forces()[:] = 99
        assert np.abs(atoms.get_forces()).max() < 50

    def test_a_failed_calculation_leaves_no_results(self, potential):
        atoms = alloy(potential)
        atoms.get_potential_energy()
        good = atoms.positions.copy()
        atoms.positions[3] = np.nan
        for _ in range(2):
            with pytest.raises(InputError, match="atom 3"):
                atoms.get_potential_energy()
        assert atoms.calc.results == {}
        atoms.positions = good
        assert np.isfinite(atoms.get_potential_energy())

    def test_another_potential_discards_results(self, potential):
        atoms = alloy(potential)
        one = atoms.get_potential_energy()
        atoms.calc.potential = zhou2004("Cu", "Ni", knots_per_length=200)
        assert atoms.get_potential_energy() != one

    def test_the_skin_is_a_parameter(self, potential):
        atoms = alloy(potential)
        energy = atoms.get_potential_energy()
        assert atoms.calc.todict() == {}
        atoms.calc.set(skin=1.0)
        assert atoms.calc.todict() == {"skin": 1.0}
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-12)
        with pytest.raises(InputError, match=r"skinn.*did you mean 'skin'"):
            atoms.calc.set(skinn=1.0)
        with pytest.raises(InputError, match="skin"):
            PotentialCalculator(potential, skin=-1)

    def test_a_deep_copy_is_independent(self, potential):
        atoms = alloy(potential)
        energy = atoms.get_potential_energy()
        twin = copy.deepcopy(atoms.calc)
        other = alloy(potential, seed=9)
        other.calc = twin
        assert other.get_potential_energy() != energy
        assert atoms.get_potential_energy() == energy


class TestBadInput:
    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    @pytest.mark.parametrize("what", ["positions", "cell", "momenta"])
    def test_not_finite(self, potential, what, bad):
        atoms = alloy(potential)
        if what == "momenta":
            atoms.set_momenta(np.zeros((16, 3)))
        array = atoms.cell if what == "cell" else atoms.arrays[what]
        array[2, 1] = bad
        with pytest.raises(InputError, match="cell is not finite" if what == "cell" else "atom 2"):
            atoms.get_potential_energy()

    @pytest.mark.parametrize("mass", [0.0, -1.0, np.nan, np.inf])
    def test_masses(self, potential, mass):
        atoms = alloy(potential)
        masses = atoms.get_masses()
        masses[5] = mass
        atoms.set_masses(masses)
        with pytest.raises(InputError, match="mass of atom 5"):
            atoms.get_forces()

    def test_unknown_species(self, potential):
        atoms = alloy(potential)
        atoms.symbols[1] = "Al"
        with pytest.raises(UnknownSpeciesError, match=r"'Al'.*Cu, Ni"):
            atoms.get_potential_energy()

    def test_coincident_atoms(self, potential):
        atoms = alloy(potential)
        atoms.positions[7] = atoms.positions[2]
        with pytest.raises(InputError, match="atoms 2 and 7 coincide"):
            atoms.get_potential_energy()

    def test_a_singular_cell(self, potential):
        atoms = Atoms("Cu", pbc=True)
        atoms.calc = PotentialCalculator(potential)
        with pytest.raises(InputError, match="cell is singular"):
            atoms.get_potential_energy()

    def test_something_that_is_no_potential(self):
        with pytest.raises(InputError, match="got str"):
            PotentialCalculator("Cu.eam.alloy")

    def test_a_potential_that_gives_nan(self):
        class Broken(Potential):
            species, cutoff = ("Cu",), 3.0

            def site_energies(self, bonds):
                return np.full(bonds.n_sites, np.nan)

            def bond_gradients(self, bonds):
                return self.site_energies(bonds), np.zeros_like(bonds.vectors)

            def bond_hessian_product(self, bonds, dvectors):
                return dvectors

            def parameters(self):
                return ()

        atoms = bulk("Cu")
        atoms.calc = PotentialCalculator(Broken())
        with pytest.raises(NonFiniteError, match="atom 0"):
            atoms.get_potential_energy()


def preconditioned_lbfgs(atoms, **kwargs):
    return PreconLBFGS(atoms, precon=Exp(A=3), **kwargs)


class TestDrivers:
    @pytest.mark.parametrize("optimizer", [BFGS, LBFGS, FIRE, preconditioned_lbfgs])
    def test_optimizers_find_the_crystal(self, potential, optimizer):
        atoms = bulk("Cu", "fcc", 3.615, cubic=True) * (2, 2, 2)
        perfect = atoms.copy()
        perfect.calc = PotentialCalculator(potential)
        atoms.rattle(0.1, seed=1)
        atoms.calc = PotentialCalculator(potential)
        assert optimizer(atoms, logfile=None).run(fmax=1e-3, steps=200)
        difference = atoms.get_potential_energy() - perfect.get_potential_energy()
        assert difference == pytest.approx(0, abs=1e-5)

    def test_the_cell_relaxes_with_the_atoms(self, potential):
        atoms = bulk("Cu", "fcc", 3.5, cubic=True)
        atoms.rattle(0.05, seed=1)
        atoms.calc = PotentialCalculator(potential)
        assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-4, steps=200)
        np.testing.assert_allclose(atoms.cell.lengths(), 3.615, atol=2e-3)

    def test_velocity_verlet_conserves_energy_to_second_order(self, potential):
        drifts = []
        for step in (4.0, 2.0):
            atoms = bulk("Cu", "fcc", 3.615, cubic=True) * (3, 3, 3)
            spread = np.sqrt(units.kB * 600 * atoms.get_masses()[:, None])
            atoms.set_momenta(spread * np.random.default_rng(3).normal(size=(len(atoms), 3)))
            atoms.calc = PotentialCalculator(potential, skin=0.4)
            start = atoms.get_total_energy()
            energies = []
            dynamics = VelocityVerlet(atoms, step * units.fs)
            dynamics.attach(lambda a=atoms, e=energies: e.append(a.get_total_energy()))
            dynamics.run(int(200 / step))
            drifts.append(np.std(np.array(energies) - start))
        assert drifts[0] < 1e-4 * len(atoms)
        assert drifts[1] < 0.35 * drifts[0]
        assert 1 < atoms.calc._field.rebuilds < 100

    def test_dynamics_stops_at_a_nan(self, potential):
        atoms = alloy(potential)
        atoms.set_velocities(np.zeros((16, 3)))
        dynamics = VelocityVerlet(atoms, 1.0)
        dynamics.run(1)
        momenta = atoms.get_momenta()
        momenta[4] = np.nan
        atoms.set_momenta(momenta)
        with pytest.raises(InputError, match="atom 4"):
            dynamics.run(1)

    def test_a_slab_is_periodic_in_its_plane_only(self, potential):
        slab = fcc111("Cu", (2, 2, 6), a=3.615, vacuum=None)
        assert slab.pbc.tolist() == [True, True, False]
        slab.calc = PotentialCalculator(potential)
        energies = slab.get_potential_energies()
        cohesive = bulk("Cu", a=3.615)
        cohesive.calc = PotentialCalculator(potential)
        assert energies.max() > cohesive.get_potential_energy() + 0.3
        assert np.ptp(energies[:4]) < 1e-10

    def test_results_survive_extxyz(self, potential, tmp_path):
        atoms = alloy(potential)
        forces = atoms.get_forces()
        write(tmp_path / "a.extxyz", atoms)
        back = read(tmp_path / "a.extxyz")
        assert isinstance(back.calc, SinglePointCalculator)
        np.testing.assert_allclose(back.get_forces(), forces, atol=1e-7)


class TestRegistration:
    def test_ase_finds_the_calculator_by_name(self):
        assert get_calculator_class("qc_potential") is PotentialCalculator

    def test_the_plugin_module_names_it(self):
        from ase._4.plugins import PluginCollection

        from qc.adapters import ase_plugins

        plugins = {p.name: p for p in ase_plugins.__ase_plugins__}
        assert plugins["qc_potential"]() is PotentialCalculator
        assert len(PluginCollection(ase_plugins.__ase_plugins__).calculators) == 2

    def test_the_public_name(self):
        assert qc.PotentialCalculator is PotentialCalculator
