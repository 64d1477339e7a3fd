"""Bulk properties against analytic models, published values and independent calculations."""

from fractions import Fraction

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk as ase_bulk
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS

from qc.adapters.ase import PotentialCalculator
from qc.bulk import cell as bulk_cell
from qc.bulk import faults
from qc.bulk import properties as bulk
from qc.bulk.faults import Stack, gamma_line
from qc.bulk.layers import layers_of
from qc.bulk.structures import KNOWN, SlipSystem
from qc.bulk.surfaces import surface_energy
from qc.crystal import fcc, from_ase, triangular
from qc.errors import CapabilityError, ConvergenceError, CrystalError, InputError
from qc.farfield.elastic import to_voigt
from qc.materials import CauchyBorn, lattice_constants, phonons
from qc.materials.elastic import bulk_modulus, independent_constants
from qc.materials.lattice import isolated_energy
from qc.potentials import (
    EAM,
    CentralPotential,
    Jet,
    LennardJones,
    balamane1992,
    holland1998,
    stillinger1985,
    tersoff1988,
    tersoff1989,
    zhou2004,
)

pytestmark = pytest.mark.physics

GPA = units.GPa


class Well(CentralPotential):
    """A pair well -D (1 - ((r - r0)/w)^2)^3 that ends before the second shell."""

    def __init__(self, depth=0.3, r0=2.5, width=0.4):
        super().__init__("Cu", r0 + width, truncation="shift_force")
        self.depth, self.r0, self.width = depth, r0, width

    def pair(self, r, s, t):
        u = np.minimum((r - self.r0) / self.width, 1.0)
        v = 1 - u**2
        return Jet(
            -self.depth * v**3,
            6 * self.depth * u * v**2 / self.width,
            6 * self.depth * v * (v - 4 * u**2) / self.width**2,
        )

    def parameters(self):
        return (self.depth, self.r0, self.width)


def found(potential, element, structure):
    return bulk.relaxed_crystal(bulk.standard_crystal(element, structure, 1.0), potential)


class TestNearestNeighbourModel:
    """Sums over twelve bonds can be done by hand."""

    potential = Well()
    a = 2.5 * np.sqrt(2)
    stiffness = 6 * 0.3 / 0.4**2
    crystal = fcc("Cu", a)
    #: eV/Angstrom^2: one broken bond per atom of a close-packed plane.
    bond = 0.3 / (np.sqrt(3) / 2 * 2.5**2)

    def test_lattice_and_cohesion(self):
        crystal = found(self.potential, "Cu", "fcc")
        assert crystal.a == pytest.approx(self.a, rel=1e-10)
        assert bulk.cohesive_energy(crystal, self.potential) == pytest.approx(-6 * 0.3)
        assert lattice_constants(self.potential, "Cu", "fcc")[1] is None

    def test_elastic_constants(self):
        elastic = bulk.elasticity(self.crystal, self.potential)
        expected = np.zeros((6, 6))
        expected[:3, :3] = self.stiffness / self.a * (1 + np.eye(3))
        expected[3:, 3:] = self.stiffness / self.a * np.eye(3)
        np.testing.assert_allclose(elastic.stiffness, expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(elastic.clamped, elastic.stiffness)
        assert elastic.bulk_modulus == pytest.approx(4 / 3 * self.stiffness / self.a, rel=1e-9)
        assert elastic.kleinman is None

    def test_phonons(self):
        """Springs k between nearest neighbours: m w^2 = 8k, 4k at X and 8k, 2k at L.

        Source: N. W. Ashcroft and N. D. Mermin, Solid State Physics (1976), problem 22.1.
        """
        mass = phonons.masses_of(self.crystal)[0]
        unit = phonons.THZ * np.sqrt(self.stiffness / mass)
        points = {p.name: p for p in bulk.zone_phonons(self.crystal, self.potential)}
        for name, squares in (("X", [4, 4, 8]), ("L", [2, 2, 8])):
            expected = unit * np.sqrt(squares)
            np.testing.assert_allclose(points[name].frequencies, expected, rtol=1e-9)
            np.testing.assert_allclose(points[name].longitudinal, [0, 0, 1], atol=1e-9)

    def test_defects(self):
        """A vacancy costs its twelve bonds once; a fault costs no nearest neighbour."""
        vacancy = bulk.vacancy_energy(self.crystal, self.potential)
        assert vacancy.energy.unrelaxed == pytest.approx(6 * 0.3, rel=1e-12)
        assert vacancy.energy.relaxed == pytest.approx(6 * 0.3, rel=1e-6)
        line = gamma_line(self.crystal, self.potential, KNOWN["fcc"].slip[0])
        assert abs(line.stable.unrelaxed) < 1e-12
        assert abs(line.stable.relaxed) < 1e-9

    def test_surfaces(self):
        """Broken bonds per atom of the plane: 3 on (111), 4 on (100), 6 on (110), halved."""
        area = {(1, 1, 1): np.sqrt(3) / 2, (1, 0, 0): 1.0, (1, 1, 0): np.sqrt(2)}
        for plane, broken in (((1, 1, 1), 3), ((1, 0, 0), 4), ((1, 1, 0), 6)):
            surface = surface_energy(self.crystal, self.potential, plane)
            expected = 0.5 * broken * 0.3 / (area[plane] * 2.5**2)
            assert surface.energy.unrelaxed == pytest.approx(expected, rel=1e-9)
            assert surface.energy.relaxed == pytest.approx(expected, rel=1e-6)

    def test_a_hexagonal_crystal_of_touching_spheres(self):
        a, ratio = lattice_constants(self.potential, "Cu", "hcp")
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
        crystal = found(potential, element, structure)
        assert crystal.a == pytest.approx(a, abs=2e-3)
        assert bulk.cohesive_energy(crystal, potential) == pytest.approx(-cohesive, abs=5e-3)

    def test_elastic_constants_of_copper(self):
        """The fit's targets are the measured constants.

        Source: G. Simmons and H. Wang, Single Crystal Elastic Constants (1971): 170, 122.5, 75.8.
        """
        potential = zhou2004("Cu")
        elastic = bulk.elasticity(found(potential, "Cu", "fcc"), potential)
        for name, value in (("11", 170.0), ("12", 122.5), ("44", 75.8)):
            assert elastic.constant(name) / GPA == pytest.approx(value, rel=0.01)

    def test_bulk_modulus_from_energies_alone(self):
        potential = zhou2004("Al")
        crystal = found(potential, "Al", "fcc")

        def energy(dilation):
            atoms = ase_bulk("Al", "fcc", a=crystal.a * np.exp(dilation / 3))
            atoms.calc = PotentialCalculator(potential)
            return atoms.get_potential_energy()

        h = 1e-3
        modulus = (energy(h) - 2 * energy(0) + energy(-h)) / h**2 / crystal.volume
        elastic = bulk.elasticity(crystal, potential)
        assert elastic.bulk_modulus == pytest.approx(modulus, rel=1e-4)

    def test_elasticity_of_a_crystal_with_a_basis(self):
        """Energies of strained hcp cells with relaxed atoms, against the eliminated shuffles."""
        potential = zhou2004("Mg")
        crystal = found(potential, "Mg", "hcp")
        elastic = bulk.elasticity(crystal, potential)
        cell = crystal.to_ase()

        def energy(h, relax=True):
            atoms = cell.copy()
            strain = np.diag([1 + h, 1 - h, 1.0])
            atoms.set_cell(cell.cell[:] @ strain, scale_atoms=True)
            atoms.calc = PotentialCalculator(potential)
            if relax:
                LBFGS(atoms, logfile=None).run(fmax=1e-7, steps=100)
            moved = atoms.positions[1] - atoms.positions[0] - (cell.positions[1] @ strain)
            return atoms.get_potential_energy(), moved

        h = 2e-3
        for table, relax in ((elastic.stiffness, True), (elastic.clamped, False)):
            curvature = sum(k * energy(j * h, relax)[0] for j, k in ((1, 1), (0, -2), (-1, 1)))
            combination = table[0, 0] + table[1, 1] - 2 * table[0, 1]
            assert combination == pytest.approx(curvature / h**2 / cell.get_volume(), rel=1e-3)
        inner = elastic.inner_displacements
        np.testing.assert_allclose(inner.sum(axis=0), 0.0, atol=1e-10)
        predicted = (inner[1] - inner[0])[:, 0] - (inner[1] - inner[0])[:, 1]
        moved = (energy(h)[1] - energy(-h)[1]) / (2 * h)
        np.testing.assert_allclose(moved, predicted, atol=1e-3)
        assert np.abs(predicted).max() > 0.1
        stiff = elastic.stiffness
        assert stiff[5, 5] == pytest.approx(0.5 * (stiff[0, 0] - stiff[0, 1]), rel=1e-9)
        assert stiff[3, 3] == pytest.approx(stiff[4, 4], rel=1e-9)

    def test_a_vacancy_relaxed_by_ase(self):
        potential = zhou2004("Cu")
        crystal = found(potential, "Cu", "fcc")
        atoms = ase_bulk("Cu", a=crystal.a, cubic=True) * (3, 3, 3)
        result = bulk.vacancy_energy(crystal, potential, supercell=atoms).energy
        atoms.calc = PotentialCalculator(potential)
        perfect = atoms.get_potential_energy()
        del atoms[50]
        unrelaxed = atoms.get_potential_energy()
        LBFGS(atoms, logfile=None).run(fmax=1e-5, steps=300)
        relaxed = atoms.get_potential_energy()
        assert result.unrelaxed == pytest.approx(unrelaxed - 107 / 108 * perfect, abs=1e-9)
        assert result.relaxed == pytest.approx(relaxed - 107 / 108 * perfect, abs=1e-6)
        assert result.relaxed < result.unrelaxed - 0.05

    def test_a_fault_as_a_missing_layer(self):
        """Layers ABC...ABC|BCABC...: one removed from a perfect stack, which is then closed."""
        potential = zhou2004("Al")
        crystal = found(potential, "Al", "fcc")
        a = crystal.a
        line = gamma_line(crystal, potential, KNOWN["fcc"].slip[0], points=5)
        edge, spacing, count = a / np.sqrt(2), a / np.sqrt(3), 27
        plane = np.array([[edge, 0, 0], [edge / 2, edge * np.sqrt(0.75), 0]])
        letters = [k % 3 for k in range(count)]
        del letters[13]
        at = [[*(s * plane.sum(0) / 3)[:2], k * spacing] for k, s in enumerate(letters)]
        atoms = Atoms(f"Al{len(at)}", at, cell=[*plane, [0, 0, len(at) * spacing]], pbc=True)
        atoms.calc = PotentialCalculator(potential)
        perfect = bulk.cohesive_energy(crystal, potential) + isolated_energy(potential, "Al")
        area = np.linalg.norm(np.cross(*plane))

        def per_area():
            return (atoms.get_potential_energy() - len(at) * perfect) / area

        assert per_area() == pytest.approx(line.stable.unrelaxed, abs=1e-9)
        height_only = FrechetCellFilter(atoms, mask=[0, 0, 1, 0, 0, 0])
        assert LBFGS(height_only, logfile=None).run(fmax=1e-5, steps=300)
        assert per_area() == pytest.approx(line.stable.relaxed, abs=2e-6)
        assert 0 < line.stable.relaxed < line.stable.unrelaxed < line.unstable.unrelaxed

    def test_faults_and_surfaces_do_not_depend_on_the_thickness(self):
        potential = zhou2004("Cu")
        crystal = found(potential, "Cu", "fcc")
        slip = KNOWN["fcc"].slip[0]
        lines = [gamma_line(crystal, potential, slip, points=5, thickness=t) for t in (4, 6)]
        assert lines[0].layers < lines[1].layers
        assert lines[0].unstable.relaxed == pytest.approx(lines[1].unstable.relaxed, rel=1e-5)
        assert lines[0].stable.relaxed == pytest.approx(lines[1].stable.relaxed, rel=1e-4)
        slabs = [surface_energy(crystal, potential, (1, 1, 0), thickness=t) for t in (4, 6)]
        assert slabs[0].energy.unrelaxed == pytest.approx(slabs[1].energy.unrelaxed, rel=1e-9)
        assert slabs[0].energy.relaxed == pytest.approx(slabs[1].energy.relaxed, rel=1e-7)

    def test_the_slope_of_a_gamma_line_is_its_traction(self):
        potential = zhou2004("Cu")
        stack = Stack(found(potential, "Cu", "fcc"), potential, KNOWN["fcc"].slip[0])
        h = 1e-3
        energies = [stack.relaxed(0.3 + k * h).energy.relaxed for k in (-1, 1)]
        slope = stack.slope(stack.relaxed(0.3))
        assert slope == pytest.approx((energies[1] - energies[0]) / (2 * h), rel=1e-5)

    def test_the_maximum_of_a_gamma_line_is_a_maximum(self):
        potential = zhou2004("Fe")
        crystal = found(potential, "Fe", "bcc")
        line = gamma_line(crystal, potential, KNOWN["bcc"].slip[1], points=11)
        stack = Stack(crystal, potential, KNOWN["bcc"].slip[1])
        for t in (-0.02, 0.02):
            there = stack.relaxed(line.unstable_at + t).energy.relaxed / stack.area
            assert there < line.unstable.relaxed
        assert line.unstable.relaxed >= line.relaxed.max()
        assert line.unstable.unrelaxed >= line.unrelaxed.max()
        # Both ends are the perfect crystal, and the line starts out the soft way: twinning.
        np.testing.assert_allclose(line.relaxed[[0, -1]], 0.0, atol=1e-9)
        assert line.relaxed[3] < 0.95 * line.relaxed[-4]
        assert line.unstable_at > 0.51

    def test_the_growth_fault_of_hcp_is_half_of_the_slip_fault(self):
        """I1 has one layer with fcc surroundings, I2 two.

        Source: J. P. Hirth and J. Lothe, Theory of Dislocations (1982), section 11-2.
        """
        potential = zhou2004("Mg")
        crystal = found(potential, "Mg", "hcp")
        growth = faults.growth_fault_energy(crystal, potential)
        slip = gamma_line(crystal, potential, KNOWN["hcp"].slip[0], points=5).stable
        assert growth.relaxed == pytest.approx(0.5 * slip.relaxed, rel=0.05)


class TestSilicon:
    """Published constants of the Stillinger-Weber potentials, in GPa."""

    @pytest.mark.parametrize(
        ("make", "c11", "c12", "c44", "clamped", "kleinman"),
        [
            (stillinger1985, 151.42, 76.42, 56.45, 109.75, 0.629),
            (holland1998, 201.42, 51.42, 90.51, 118.08, 0.405),
        ],
    )
    def test_elastic_constants(self, make, c11, c12, c44, clamped, kleinman):
        """Relaxed and unrelaxed: the figures that go with these parameters in the literature."""
        potential = make()
        elastic = bulk.elasticity(found(potential, "Si", "diamond"), potential)
        for name, value in (("11", c11), ("12", c12), ("44", c44)):
            assert elastic.constant(name) / GPA == pytest.approx(value, abs=0.01)
        assert elastic.constant("44", clamped=True) / GPA == pytest.approx(clamped, abs=0.01)
        assert elastic.kleinman == pytest.approx(kleinman, abs=5e-4)

    def test_the_inner_displacement_does_not_depend_on_the_axes(self):
        potential = stillinger1985()
        straight = found(potential, "Si", "diamond")
        expected = bulk.elasticity(straight, potential)
        atoms = straight.to_ase()
        atoms.rotate(37.0, (1, 2, 3), rotate_cell=True)
        atoms.positions = atoms.positions[::-1].copy()
        turned = from_ase(atoms)
        assert turned.name == "diamond"
        assert bulk.elasticity(turned, potential).kleinman == pytest.approx(expected.kleinman)

    def test_scaled_energies(self):
        """All energies in proportion.

        Source: H. Balamane, T. Halicioglu, W. A. Tiller, Phys. Rev. B 46 (1992) 2250.
        """
        plain, scaled = stillinger1985(), balamane1992()
        values = []
        for potential in (plain, scaled):
            crystal = found(potential, "Si", "diamond")
            surface = surface_energy(crystal, potential, (1, 1, 1)).energy.unrelaxed
            values.append([bulk.cohesive_energy(crystal, potential), surface])
        assert values[0][0] == pytest.approx(-4.336, abs=1e-3)
        assert values[1][0] == pytest.approx(-4.63, abs=2e-3)
        ratio = scaled.entries["epsilon"].max() / plain.entries["epsilon"].max()
        np.testing.assert_allclose(np.array(values[1]) / values[0], ratio, rtol=1e-9)


class TestTersoff:
    """Bonds that break all at once."""

    def test_a_line_with_kinks_is_the_lowest_of_its_branches(self):
        potential = tersoff1988("Si")
        crystal = found(potential, "Si", "diamond")
        line = gamma_line(crystal, potential, KNOWN["diamond"].slip[1])
        np.testing.assert_allclose(line.relaxed, line.relaxed[::-1], atol=2e-4)
        assert line.unstable.relaxed > line.relaxed.max() > 0.8 * line.unstable.relaxed
        assert not line.comes_apart

    def test_diamond_cleaves_rather_than_slips_on_the_shuffle_plane(self):
        potential = tersoff1989("C")
        crystal = found(potential, "C", "diamond")
        line = gamma_line(crystal, potential, KNOWN["diamond"].slip[1], points=11)
        surface = surface_energy(crystal, potential, (1, 1, 1)).energy
        assert line.comes_apart
        assert line.unstable.relaxed == pytest.approx(2 * surface.relaxed, rel=1e-3)
        assert line.opening > 0.0
        np.testing.assert_allclose(line.relaxed[[0, -1]], 0.0, atol=1e-6)


class TestPhonons:
    @pytest.mark.parametrize(
        ("potential", "element", "structure"),
        [
            (zhou2004("Cu"), "Cu", "fcc"),
            (zhou2004("Mg"), "Mg", "hcp"),
            (stillinger1985(), "Si", "diamond"),
        ],
        ids=["Cu", "Mg", "Si"],
    )
    def test_rules(self, potential, element, structure):
        """Hermitian, invariant to reciprocal vectors, still under translations."""
        crystal = found(potential, element, structure)
        q = np.array([0.31, -0.17, 0.83])
        matrix = phonons.dynamical_matrix(crystal, potential, q)
        np.testing.assert_allclose(matrix, matrix.conj().T, atol=1e-12 * np.abs(matrix).max())
        opposite = phonons.dynamical_matrix(crystal, potential, -q)
        np.testing.assert_allclose(opposite, matrix.conj(), atol=1e-12 * np.abs(matrix).max())
        g = 2 * np.pi * np.array([1, -1, 2]) @ np.linalg.inv(crystal.cell).T
        here, there = (
            phonons.phonon_frequencies(crystal, potential, k).frequencies for k in (q, q + g)
        )
        np.testing.assert_allclose(here, there, atol=1e-6)
        still = phonons.dynamical_matrix(crystal, potential, np.zeros(3))
        roots = np.sqrt(np.repeat(phonons.masses_of(crystal), 3))
        for c in range(3):
            rigid = roots * np.tile(np.eye(3)[c], crystal.n_sublattices)
            assert np.abs(still @ rigid).max() < 1e-12 * np.abs(matrix).max()

    def test_long_waves_travel_with_the_speed_of_sound(self):
        """With and without a basis: the eliminated shuffles must be those of the waves."""
        for potential, element, structure in (
            (zhou2004("Cu"), "Cu", "fcc"),
            (zhou2004("Ti"), "Ti", "hcp"),
            (stillinger1985(), "Si", "diamond"),
        ):
            crystal = found(potential, element, structure)
            stiffness = bulk.elasticity(crystal, potential).stiffness
            direction = np.array([2.0, 1.0, 3.0]) / np.sqrt(14)
            voigt = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
            tensor = stiffness[voigt[:, :, None, None], voigt[None, None]]
            acoustic = np.einsum("ijkl,j,l->ik", tensor, direction, direction)
            density = phonons.masses_of(crystal).sum() / crystal.volume
            speeds = np.sqrt(np.linalg.eigvalsh(acoustic) / density)
            k = 2e-3
            point = phonons.phonon_frequencies(crystal, potential, k * direction)
            np.testing.assert_allclose(point.frequencies[:3] / phonons.THZ / k, speeds, rtol=1e-4)

    def test_frozen_waves_of_a_supercell(self):
        """Force constants of a finite cell by differences of forces, Fourier transformed."""
        potential = zhou2004("Mg")
        crystal = found(potential, "Mg", "hcp")
        atoms = crystal.to_ase((3, 3, 2))
        atoms.calc = PotentialCalculator(potential)
        h, n = 1e-3, crystal.n_sublattices
        q = 2 * np.pi * np.array([1 / 3, 1 / 3, 0.5]) @ np.linalg.inv(crystal.cell).T
        sublattice = np.arange(len(atoms)) % n
        matrix = np.zeros((3 * n, 3 * n), dtype=complex)
        for s in range(n):
            wave = np.exp(1j * (atoms.positions - atoms.positions[s]) @ q)
            for c in range(3):
                forces = []
                for sign in (1, -1):
                    moved = atoms.copy()
                    moved.calc = atoms.calc
                    moved.positions[s, c] += sign * h
                    forces.append(moved.get_forces())
                row = -(forces[0] - forces[1]) / (2 * h)
                for t in range(n):
                    part = row[sublattice == t] * wave[sublattice == t, None]
                    matrix[3 * s + c, 3 * t : 3 * t + 3] = part.sum(axis=0)
        matrix /= phonons.masses_of(crystal)[0]
        expected = phonons.dynamical_matrix(crystal, potential, q)
        np.testing.assert_allclose(matrix, expected, atol=1e-5 * np.abs(expected).max())


class TestOtherCells:
    def test_a_compound_relaxes_its_cell_and_its_atoms(self):
        """L1_0 NiAl, tetragonal, its cell strained and its atoms off their sites."""
        potential = zhou2004("Ni", "Al")
        atoms = Atoms(
            "NiAl", scaled_positions=[[0, 0, 0], [0.5, 0.52, 0.47]], cell=[2.6, 2.7, 3.2], pbc=True
        )
        crystal = bulk.relaxed_crystal(from_ase(atoms), potential)
        relaxed = crystal.to_ase()
        relaxed.calc = PotentialCalculator(potential)
        assert np.abs(relaxed.get_stress()).max() < 1e-9
        assert np.abs(relaxed.get_forces()).max() < 1e-8
        properties = bulk.bulk_properties(from_ase(atoms), potential)
        assert properties.formula == "NiAl"
        assert set(properties.not_applicable) == {"vacancy", "surfaces", "faults"}
        assert len(properties.phonons) == 5
        assert properties.vacancy is None

    def test_silicon_carbide(self):
        """Zincblende and wurtzite have the same bonds, hence one energy.

        Source: J. Tersoff, Phys. Rev. B 39 (1989) 5566: lattice constant 4.32 Angstrom.
        """
        potential = tersoff1989("Si", "C")
        crystals = [
            bulk.relaxed_crystal(from_ase(ase_bulk("SiC", name, a=a, c=c)), potential)
            for name, a, c in (("zincblende", 4.3, None), ("wurtzite", 3.1, 5.0))
        ]
        assert len(crystals[1].basis) == 4
        energies = [bulk.cohesive_energy(crystal, potential) for crystal in crystals]
        assert energies[0] == pytest.approx(energies[1], abs=1e-9)
        elastic = [bulk.elasticity(crystal, potential) for crystal in crystals]
        assert independent_constants(elastic[0]) == ("11", "12", "44")
        assert independent_constants(elastic[1]) == ("11", "12", "13", "33", "44")
        edge = np.sqrt(2) * np.linalg.norm(crystals[0].cell[0])
        assert edge == pytest.approx(4.32, abs=5e-3)
        assert elastic[0].bulk_modulus == pytest.approx(elastic[1].bulk_modulus, rel=1e-6)
        assert elastic[0].constant("44") < 0.9 * elastic[0].constant("44", clamped=True)

    def test_bulk_modulus_of_what_does_not_resist_shear(self):
        table = np.zeros((6, 6))
        table[:3, :3] = 2.0
        assert bulk_modulus(table) == pytest.approx(2.0)
        assert bulk_modulus(0.0 * table) == 0.0

    def test_classes_of_elastic_constants(self):
        def elastic(changes):
            table = np.diag([5.0, 5.0, 5.0, 2.0, 2.0, 2.0])
            table[:3, :3] += 1.0 - np.eye(3)
            for (i, j), value in changes.items():
                table[i, j] = table[j, i] = value
            return bulk.Elasticity(table, table, np.zeros((1, 3, 6)), None)

        cubic = ("11", "12", "44")
        tetragonal = ("11", "12", "13", "33", "44", "66")
        assert independent_constants(elastic({(0, 0): 5.0})) == cubic
        assert independent_constants(elastic({(2, 2): 6.0, (5, 5): 1.9})) == tetragonal
        hexagonal = elastic({(2, 2): 6.0})
        assert independent_constants(hexagonal) == tetragonal[:5]
        assert len(independent_constants(elastic({(0, 0): 6.0}))) == 9
        assert independent_constants(elastic({(0, 3): 0.1})) is None

    def test_a_conventional_cell_is_its_structure(self):
        potential = zhou2004("Cu")
        atoms = ase_bulk("Cu", a=3.7, cubic=True)
        atoms.rotate(20, "z", rotate_cell=True)
        crystal = bulk.relaxed_crystal(from_ase(atoms), potential)
        assert crystal.name == "fcc"
        assert crystal.a == pytest.approx(3.61496, abs=1e-5)
        np.testing.assert_array_equal(crystal.rotation, np.eye(3))

    @pytest.mark.parametrize("cutoff", [4.0, 6.0])
    def test_neighbours_much_closer_than_the_cutoff(self, cutoff):
        """Of fcc Lennard-Jones: lattice sums 12.13188 and 14.45392 of the infinite crystal."""
        potential = LennardJones("Ar", epsilon=0.01, sigma=3.4, cutoff=cutoff * 3.4)
        a, _ = lattice_constants(potential, "Ar", "fcc")
        nearest = 3.4 * (2 * 12.13188 / 14.45392) ** (1 / 6)
        assert a == pytest.approx(np.sqrt(2.0) * nearest, rel=2e-3)

    def test_a_stated_lattice_constant_is_where_the_search_starts(self):
        """Tables that collapse at short distances, as those of some files do."""
        cu = zhou2004("Cu")
        r = cu.dr * np.arange(cu.rphi.shape[-1])
        hole = -40.0 * np.maximum(1.0 - (r - 2.0) ** 2 / 0.02, 0.0) ** 3
        tables = {
            "dr": cu.dr, "rphi": cu.rphi + hole, "density": cu.density, "drho": cu.drho,
            "embedding": cu.embedding,
        }  # fmt: skip
        stated = EAM(["Cu"], **tables, structures=["FCC"], lattice_constants=[3.6])
        a = lattice_constants(cu, "Cu", "fcc")[0]
        assert lattice_constants(stated, "Cu", "fcc")[0] == pytest.approx(a, rel=1e-12)
        assert lattice_constants(EAM(["Cu"], **tables), "Cu", "fcc")[0] < 3.0

    def test_elastic_constants_are_moduli_of_the_continuum(self):
        """There they come from a Schur complement over the strains and shifts of one sublattice."""
        potential = zhou2004("Ti")
        crystal = found(potential, "Ti", "hcp")
        rule = CauchyBorn(crystal, potential)
        moduli = to_voigt(rule.evaluate(np.eye(3)[None], tangent=True)[2][0])
        elastic = bulk.elasticity(crystal, potential)
        np.testing.assert_allclose(elastic.stiffness, moduli, atol=1e-9)
        h = 1e-5
        strain = np.diag([h, 0.0, 0.0])
        moved = [rule.relaxed_shifts((np.eye(3) + s * strain)[None])[0, 1] for s in (1.0, -1.0)]
        inner = elastic.inner_displacements[1, :, 0] - elastic.inner_displacements[0, :, 0]
        np.testing.assert_allclose(inner, (moved[0] - moved[1]) / (2 * h), atol=1e-6)


class TestLayers:
    @pytest.mark.parametrize(
        ("structure", "plane", "area", "spacing", "gaps"),
        [
            ("fcc", (1, 1, 1), np.sqrt(3) / 4, 1 / np.sqrt(3), 1),
            ("fcc", (1, 0, 0), 0.5, 0.5, 1),
            ("bcc", (1, 1, 2), np.sqrt(6) / 2, 1 / np.sqrt(6), 1),
            ("diamond", (1, 1, 1), np.sqrt(3) / 4, 1 / np.sqrt(3), 2),
            ("diamond", (1, 0, 0), 0.5, 0.5, 2),
        ],
    )
    def test_area_and_spacing(self, structure, plane, area, spacing, gaps):
        layers = layers_of(bulk.standard_crystal("Si", structure, 2.0), plane, _Any())
        assert layers.area == pytest.approx(4 * area)
        assert layers.height == pytest.approx(2 * spacing)
        assert len(layers.gaps) == gaps
        assert layers.gaps.sum() == pytest.approx(layers.height)

    def test_a_cut_in_each_gap_is_the_same_crystal(self):
        potential = stillinger1985()
        crystal = found(potential, "Si", "diamond")
        layers = layers_of(crystal, (1, 1, 1), potential)
        assert layers.gaps.max() == pytest.approx(3 * layers.gaps.min())
        for gap in range(2):
            cell = layers.stack(12.0, gap)
            assert cell.positions[0] @ cell.positions[0] == 0.0
            per_atom = bulk.cohesive_energy(crystal, potential)
            energy = bulk_cell.CellEnergy(potential, cell, per_atom)
            assert abs(energy.energy_forces(cell.positions)[0]) < 1e-9

    def test_stretched_cells_by_differences(self):
        potential = zhou2004("Mg")
        crystal = found(potential, "Mg", "hcp")
        cell = layers_of(crystal, (1, 0, -1, 0), potential).stack(13.0)
        rng = np.random.default_rng(0)
        y = cell.positions + 0.05 * rng.normal(size=cell.positions.shape)
        energy = bulk_cell.CellEnergy(potential, cell, 0.0)
        for stretch in (1.03, 0.98, 0.8):
            value, forces, by_stretch, _ = energy.stretched(y, stretch)
            scale = np.array([1.0, 1.0, stretch])
            plain = bulk_cell.CellEnergy(
                potential, bulk_cell.Cell(y * scale, cell.types, cell.cell * scale), 0.0
            )
            other, pulls = plain.energy_forces(y * scale)
            assert value == pytest.approx(other, rel=1e-12)
            np.testing.assert_allclose(forces, pulls * scale, atol=1e-9)
            h = 1e-5
            up, down = (energy.stretched(y, stretch + k * h)[0] for k in (1, -1))
            assert by_stretch == pytest.approx((up - down) / (2 * h), rel=1e-5)


class _Any:
    """Knows every element."""

    cutoff = 3.0

    def types_of(self, symbols):
        return np.zeros(len(symbols), dtype=np.int64)


class TestFaults:
    def test_a_structure_that_is_not_supported(self):
        with pytest.raises(CrystalError, match="fcc, bcc, hcp, diamond"):
            lattice_constants(zhou2004("Cu"), "Cu", "sc")

    def test_a_potential_that_does_not_bind(self):
        with pytest.raises(CrystalError, match="binds no fcc Cu"):
            lattice_constants(Well(depth=-0.3), "Cu", "fcc")

    def test_energies_that_jump_have_no_minimum_to_find(self):
        """phi = -r within the cutoff, nothing beyond: the lowest energy is where a shell leaves."""
        r = 0.01 * np.arange(301)
        pull = EAM(
            ["Cu"], dr=0.01, rphi=-(r**2)[None, None], density=np.zeros((1, 301)), drho=1.0,
            embedding=np.zeros((1, 9)),
        )  # fmt: skip
        with pytest.raises(CrystalError, match="no smooth minimum for fcc Cu"):
            lattice_constants(pull, "Cu", "fcc")

    def test_round_off_in_a_tail_binds_nothing(self):
        """A spline that rings into zeros is 1e-17 eV deep there."""
        r = 0.01 * np.arange(501)
        tables = {
            "dr": 0.01, "rphi": np.maximum(1.0 - r / 2.0, 0.0)[None, None] ** 5, "drho": 1.0,
            "density": np.zeros((1, 501)), "embedding": np.zeros((1, 9)),
        }  # fmt: skip
        for interpolation in ("auto", "spline", "lammps"):
            push = EAM(["Cu"], **tables, interpolation=interpolation)
            with pytest.raises(CrystalError, match="binds no fcc Cu"):
                lattice_constants(push, "Cu", "fcc")

    def test_a_monolayer(self):
        with pytest.raises(CrystalError, match="three dimensions"):
            bulk.relaxed_crystal(triangular("Ar", 3.8), LennardJones("Ar", 0.01, 3.4, 8.0))

    def test_a_cell_too_large(self, monkeypatch):
        monkeypatch.setattr(bulk, "MOST_SITES", 7)
        atoms = ase_bulk("Cu", cubic=True) * (2, 1, 1)
        atoms.rattle(0.05, seed=1)
        with pytest.raises(CrystalError, match="8 atoms in the primitive cell"):
            bulk.relaxed_crystal(from_ase(atoms), zhou2004("Cu"))

    def test_a_collapse_of_one_defect_leaves_the_others(self):
        """Stillinger-Weber silicon made hcp is unstable, and some of its stacks collapse."""
        crystal = bulk.standard_crystal("Si", "hcp", 1.0)
        result = bulk.bulk_properties(crystal, stillinger1985(), only=["elastic", "faults"])
        assert result.unstable
        assert result.elasticity is not None
        assert len(result.gamma_lines) + len(result.failures) >= 3

    def test_total_energies_only(self):
        class Total(EAM):
            has_site_energies = False

            def __init__(self):
                self.species, self.cutoff = ("Cu",), 5.0

        with pytest.raises(CapabilityError, match="Total gives total energies only"):
            bulk.bulk_properties(fcc("Cu", 3.6), Total())

    def test_an_unknown_group(self):
        with pytest.raises(InputError, match="did you mean 'vacancy'"):
            bulk.bulk_properties(fcc("Cu", 3.6), zhou2004("Cu"), only=["vacance"])

    def test_planes_and_displacements_that_are_none(self):
        potential = zhou2004("Cu")
        crystal = fcc("Cu", 3.615)
        with pytest.raises(CrystalError, match="not all 0"):
            surface_energy(crystal, potential, (0, 0, 0))
        with pytest.raises(CrystalError, match="Miller indices"):
            surface_energy(crystal, potential, (1, 0))
        out = SlipSystem("wrong", (1, 1, 1), (1, 1, 0), Fraction(1, 2))
        with pytest.raises(CrystalError, match="does not lie in the plane"):
            gamma_line(crystal, potential, out)
        with pytest.raises(CrystalError, match="too thin"):
            gamma_line(crystal, potential, KNOWN["fcc"].slip[0], thickness=1.0)
        with pytest.raises(CrystalError, match="belongs to hcp"):
            faults.growth_fault_energy(crystal, potential)

    @pytest.mark.parametrize(
        ("q", "masses"), [([0, 0], None), ([np.nan, 0, 0], None), ([0, 0, 0], [0.0])]
    )
    def test_waves_that_are_none(self, q, masses):
        with pytest.raises(InputError, match=r"q must be|masses must be"):
            phonons.dynamical_matrix(fcc("Cu", 3.615), zhou2004("Cu"), q, masses)

    def test_a_relaxation_that_does_not_converge(self, monkeypatch):
        monkeypatch.setattr(bulk_cell, "FORCE_TOLERANCE", 1e-30)
        atoms = ase_bulk("Cu", a=3.615, cubic=True) * 2
        with pytest.raises(ConvergenceError, match="vacancy did not relax"):
            bulk.vacancy_energy(fcc("Cu", 3.615), zhou2004("Cu"), supercell=atoms)

    def test_a_vacancy_in_a_compound(self):
        atoms = Atoms("NiAl", scaled_positions=[[0, 0, 0], [0.5] * 3], cell=[2.987] * 3, pbc=True)
        with pytest.raises(CrystalError, match="chemical potentials"):
            bulk.vacancy_energy(from_ase(atoms), zhou2004("Ni", "Al"))
