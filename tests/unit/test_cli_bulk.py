"""Bulk properties against analytic models, published values and independent calculations."""

import json

import numpy as np
import pytest
from ase import Atoms, units
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS

from qc.adapters.ase import PotentialCalculator
from qc.atomistic import bulk
from qc.cli.bulk import choose_element, choose_structure, load_potential
from qc.cli.main import main
from qc.errors import CapabilityError, ConvergenceError, CrystalError, InputError
from qc.potentials import Potential, zhou2004

pytestmark = pytest.mark.physics


class NearestNeighbour(Potential):
    """A pair well -D (1 - ((r - r0)/w)^2)^3 that ends before the second shell."""

    species = ("Cu",)

    def __init__(self, depth=0.3, r0=2.5, width=0.4):
        self.depth, self.r0, self.width, self.cutoff = depth, r0, width, r0 + width

    def _pair(self, vectors):
        r = np.sqrt((vectors**2).sum(1))
        u = np.minimum((r - self.r0) / self.width, 1.0)
        value = -self.depth * (1 - u**2) ** 3
        return value, 6 * self.depth * u * (1 - u**2) ** 2 / self.width / r

    def site_energies(self, bonds):
        return np.bincount(bonds.sites, 0.5 * self._pair(bonds.vectors)[0], bonds.n_sites)

    def bond_gradients(self, bonds):
        slope = 0.5 * self._pair(bonds.vectors)[1]
        return self.site_energies(bonds), slope[:, None] * bonds.vectors

    def bond_hessian_product(self, bonds, dvectors):
        raise NotImplementedError

    def parameters(self):
        return (self.depth, self.r0, self.width)


class TestNearestNeighbourModel:
    """Sums over twelve bonds can be done by hand."""

    potential = NearestNeighbour()
    a = 2.5 * np.sqrt(2)
    stiffness = 6 * 0.3 / 0.4**2

    def test_lattice_and_cohesion(self):
        a, ratio = bulk.lattice_constants(self.potential, "Cu", "fcc")
        assert a == pytest.approx(self.a, rel=1e-10)
        assert ratio is None
        assert bulk._energy_per_atom(
            self.potential, bulk.unit_cell("Cu", "fcc", a)
        ) == pytest.approx(-6 * 0.3)

    def test_elastic_constants(self):
        elastic = bulk.elastic_constants(self.potential, bulk.unit_cell("Cu", "fcc", self.a))
        expected = np.zeros((6, 6))
        expected[:3, :3] = self.stiffness / self.a * (1 + np.eye(3))
        expected[3:, 3:] = self.stiffness / self.a * np.eye(3)
        np.testing.assert_allclose(elastic, expected, rtol=1e-6, atol=1e-6)
        modulus = bulk.bulk_modulus(elastic)
        assert modulus == pytest.approx(4 / 3 * self.stiffness / self.a, rel=1e-6)

    def test_defects(self):
        """A vacancy costs its twelve bonds once; a fault costs no nearest neighbour."""
        cell = bulk.vacancy_supercell(self.potential, "Cu", "fcc", self.a)
        vacancy = bulk.vacancy_energy(self.potential, cell)
        assert vacancy.unrelaxed == pytest.approx(6 * 0.3, rel=1e-12)
        assert vacancy.relaxed == pytest.approx(6 * 0.3, rel=1e-9)
        fault = bulk.stacking_fault_energy(self.potential, "Cu", self.a)
        assert abs(fault.unrelaxed) < 1e-12
        assert abs(fault.relaxed) < 1e-12

    def test_a_hexagonal_crystal_of_touching_spheres(self):
        a, ratio = bulk.lattice_constants(self.potential, "Cu", "hcp")
        assert a == pytest.approx(2.5, rel=1e-9)
        assert ratio == pytest.approx(np.sqrt(8 / 3), rel=1e-9)


class TestZhou:
    @pytest.mark.parametrize(
        ("element", "structure", "a", "cohesive"),
        [
            ("Cu", "fcc", 3.615, 3.54),
            ("Al", "fcc", 4.05, 3.58),
            ("Ni", "fcc", 3.52, 4.45),
            ("Ag", "fcc", 4.09, 2.85),
            ("W", "bcc", 3.165, 8.76),
        ],
    )
    def test_fitted_lattice_and_cohesion(self, element, structure, a, cohesive):
        """What the potentials were fitted to.

        Source: R. A. Johnson, Phys. Rev. B 37 (1988) 3924, Table I (fcc metals); R. A. Johnson
        and D. J. Oh, J. Mater. Res. 4 (1989) 1195 (bcc metals); Al: experiment.
        """
        potential = zhou2004(element)
        found, _ = bulk.lattice_constants(potential, element, structure)
        assert found == pytest.approx(a, abs=2e-3)
        energy = bulk._energy_per_atom(potential, bulk.unit_cell(element, structure, found))
        assert energy == pytest.approx(-cohesive, abs=5e-3)

    def test_elastic_constants_of_copper(self):
        """The fit's targets are the measured constants.

        Source: G. Simmons and H. Wang, Single Crystal Elastic Constants (1971): 170, 122.5, 75.8.
        """
        potential = zhou2004("Cu")
        a, _ = bulk.lattice_constants(potential, "Cu", "fcc")
        elastic = bulk.elastic_constants(potential, bulk.unit_cell("Cu", "fcc", a)) / units.GPa
        assert elastic[0, 0] == pytest.approx(170.0, rel=0.01)
        assert elastic[0, 1] == pytest.approx(122.5, rel=0.01)
        assert elastic[3, 3] == pytest.approx(75.8, rel=0.01)

    def test_bulk_modulus_from_energies_alone(self):
        potential = zhou2004("Al")
        a, _ = bulk.lattice_constants(potential, "Al", "fcc")
        elastic = bulk.elastic_constants(potential, bulk.unit_cell("Al", "fcc", a))

        def energy(dilation):
            atoms = bulk.unit_cell("Al", "fcc", a * np.exp(dilation / 3))
            atoms.calc = PotentialCalculator(potential)
            return atoms.get_potential_energy()

        h = 1e-3
        modulus = (energy(h) - 2 * energy(0) + energy(-h)) / h**2 / (a**3 / 4)
        assert bulk.bulk_modulus(elastic) == pytest.approx(modulus, rel=1e-4)

    def test_elasticity_of_a_crystal_with_a_basis(self):
        """Energies of strained hcp cells with relaxed atoms, against the eliminated shuffles."""
        potential = zhou2004("Mg")
        a, ratio = bulk.lattice_constants(potential, "Mg", "hcp")
        cell = bulk.unit_cell("Mg", "hcp", a, ratio)
        elastic = bulk.elastic_constants(potential, cell)

        def energy(h, relax=True):
            atoms = cell.copy()
            strain = np.diag([1 + h, 1 - h, 1.0])
            atoms.set_cell(cell.cell[:] @ strain, scale_atoms=True)
            atoms.calc = PotentialCalculator(potential)
            if relax:
                LBFGS(atoms, logfile=None).run(fmax=1e-7, steps=100)
            return atoms.get_potential_energy()

        h = 2e-3
        curvature = (energy(h) - 2 * energy(0) + energy(-h)) / h**2 / cell.get_volume()
        combination = elastic[0, 0] + elastic[1, 1] - 2 * elastic[0, 1]
        assert combination == pytest.approx(curvature, rel=1e-3)
        frozen = (energy(h, False) - 2 * energy(0) + energy(-h, False)) / h**2 / cell.get_volume()
        assert frozen > 1.02 * combination
        assert elastic[5, 5] == pytest.approx(0.5 * (elastic[0, 0] - elastic[0, 1]), rel=1e-4)

    def test_a_vacancy_relaxed_by_ase(self):
        potential = zhou2004("Cu")
        a, _ = bulk.lattice_constants(potential, "Cu", "fcc")
        cell = bulk.unit_cell("Cu", "fcc", a, primitive=False) * (3, 3, 3)
        found = bulk.vacancy_energy(potential, cell)
        atoms = cell.copy()
        atoms.calc = PotentialCalculator(potential)
        perfect = atoms.get_potential_energy()
        del atoms[50]
        unrelaxed = atoms.get_potential_energy()
        LBFGS(atoms, logfile=None).run(fmax=1e-5, steps=300)
        relaxed = atoms.get_potential_energy()
        assert found.unrelaxed == pytest.approx(unrelaxed - 107 / 108 * perfect, abs=1e-9)
        assert found.relaxed == pytest.approx(relaxed - 107 / 108 * perfect, abs=1e-6)
        assert found.relaxed < found.unrelaxed - 0.05

    def test_a_stacking_fault_does_not_depend_on_the_period(self):
        potential = zhou2004("Cu")
        energies = [
            bulk.stacking_fault_energy(potential, "Cu", 3.61496, layers=n).relaxed for n in (12, 48)
        ]
        assert energies[0] == pytest.approx(energies[1], rel=1e-5)

    def test_a_stacking_fault_as_a_missing_layer(self):
        """Layers ABC...ABC|BCABC...: one removed from a perfect stack, which is then closed."""
        potential = zhou2004("Al")
        a, _ = bulk.lattice_constants(potential, "Al", "fcc")
        found = bulk.stacking_fault_energy(potential, "Al", a)
        edge, spacing, count = a / np.sqrt(2), a / np.sqrt(3), 27
        plane = np.array([[edge, 0, 0], [edge / 2, edge * np.sqrt(0.75), 0]])
        letters = [k % 3 for k in range(count)]
        del letters[13]
        at = [[*(s * plane.sum(0) / 3)[:2], k * spacing] for k, s in enumerate(letters)]
        atoms = Atoms(f"Al{len(at)}", at, cell=[*plane, [0, 0, len(at) * spacing]], pbc=True)
        atoms.calc = PotentialCalculator(potential)
        perfect = bulk._energy_per_atom(potential, bulk.unit_cell("Al", "fcc", a))
        area = np.linalg.norm(np.cross(*plane))

        def per_area():
            return (atoms.get_potential_energy() - len(at) * perfect) / area

        assert per_area() == pytest.approx(found.unrelaxed, abs=1e-9)
        height_only = FrechetCellFilter(atoms, mask=[0, 0, 1, 0, 0, 0])
        assert LBFGS(height_only, logfile=None).run(fmax=1e-5, steps=300)
        assert per_area() == pytest.approx(found.relaxed, abs=2e-6)
        assert 0 < found.relaxed < found.unrelaxed


class TestFaults:
    def test_a_structure_that_is_not_supported(self):
        with pytest.raises(CrystalError, match="fcc, bcc, hcp, diamond"):
            bulk.lattice_constants(zhou2004("Cu"), "Cu", "sc")

    def test_a_potential_that_does_not_bind(self):
        with pytest.raises(CrystalError, match="binds no fcc Cu"):
            bulk.lattice_constants(NearestNeighbour(depth=-0.3), "Cu", "fcc")

    def test_a_stack_too_thin(self):
        with pytest.raises(CapabilityError, match="too thin"):
            bulk.stacking_fault_energy(zhou2004("Cu"), "Cu", 3.615, layers=6)
        with pytest.raises(CapabilityError, match="whole number"):
            bulk.stacking_fault_energy(zhou2004("Cu"), "Cu", 3.615, layers=25)

    def test_a_relaxation_that_does_not_converge(self, monkeypatch):
        monkeypatch.setattr(bulk, "FORCE_TOLERANCE", 1e-30)
        with pytest.raises(ConvergenceError, match="vacancy did not relax"):
            bulk.vacancy_energy(
                zhou2004("Cu"), bulk.unit_cell("Cu", "fcc", 3.615, primitive=False) * 2
            )


class TestCommand:
    def test_for_people(self, capsys):
        assert main(["bulk", "zhou2004:Cu"]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        assert captured.out.startswith("Cu fcc\n")
        for text in ("3.61", "-3.54", "GPa", "C44", "eV/atom", "mJ/m^2"):
            assert text in captured.out

    def test_as_json_from_a_file(self, tmp_path, capsys):
        from qc.potentials import write_setfl

        write_setfl(zhou2004("Mg", "Ti"), tmp_path / "MgTi.eam.alloy")
        path = str(tmp_path / "MgTi.eam.alloy")
        assert main(["bulk", path, "--element", "Mg", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["structure"] == "hcp"
        assert found["c_over_a"] == pytest.approx(1.63, abs=0.02)
        assert found["stacking_fault"] is None
        assert np.array(found["elastic_constants"]).shape == (6, 6)
        assert found["vacancy"]["relaxed"] < found["vacancy"]["unrelaxed"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["zhou2004:Xx"], "no parameters for 'Xx'"),
            (["zhou2004:"], "no parameters for ''"),
            (["nowhere.eam.alloy"], "nowhere.eam.alloy"),
            (["zhou2004:Cu,Ni"], "choose one of Cu, Ni with --element"),
            (["zhou2004:Cu", "--element", "Cuu"], "no element 'Cuu', only Cu; did you mean 'Cu'?"),
            (["zhou2004:Cu", "--structure", "fc"], "invalid choice: 'fc'"),
            (["zhou2004:Cu", "--structrue", "fcc"], "did you mean '--structure'?"),
            ([], "POTENTIAL"),
        ],
    )
    def test_bad_input_is_one_line(self, arguments, message, capsys):
        assert main(["bulk", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert message in captured.err
        assert captured.err.count("\n") == 1
        assert captured.err.startswith("qc bulk: error: ")

    def test_choices(self):
        assert load_potential("zhou2004:Cu,Ni").species == ("Cu", "Ni")
        assert choose_element(zhou2004("Fe"), None) == "Fe"
        assert choose_structure(zhou2004("Fe", "Cu"), "Cu") == "fcc"
        assert choose_structure(NearestNeighbour(), "Cu") == "fcc"
        with pytest.raises(InputError, match="choose one with --structure"):
            choose_structure(NearestNeighbour(), "In")
