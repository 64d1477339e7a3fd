"""ASEPotential: patches, primitive cells, and calculators that misbehave."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.calculators.emt import EMT

import qc
from qc import crystal
from qc.adapters.ase import PotentialCalculator
from qc.errors import (
    CapabilityError,
    InputError,
    NonFiniteError,
    PotentialError,
    UnknownSpeciesError,
)
from qc.materials import CauchyBorn
from qc.potentials import ASEPotential, Bonds, Morse, ToyEAM, zhou2004


@pytest.fixture(scope="module")
def morse():
    return Morse("Cu", depth=0.34, stiffness=1.4, distance=2.87, cutoff=5.0)


@pytest.fixture
def wrapped(morse):
    return ASEPotential(PotentialCalculator(morse), "Cu", morse.cutoff)


def patch(seed=0, spread=0.1, reps=(3, 3, 3)):
    atoms = crystal.fcc("Cu", 3.6).to_ase(reps)
    atoms.rattle(spread, seed=seed)
    return atoms


def states(n=3, n_s=1, size=0.05, shift=0.1, seed=3):
    rng = np.random.default_rng(seed)
    F = np.eye(3) + size * rng.normal(size=(n, 3, 3))
    return F, shift * rng.normal(size=(n, n_s, 3))


class Springs(Calculator):
    """Smooth pair repulsion between nearest images; each fault is a switch."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012
    nearest_images = False
    fault = ""
    calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        energy, forces, virial = self.pairs(atoms)
        stress = (virial / atoms.get_volume())[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        results = {"energy": energy, "forces": forces, "stress": stress}
        if self.fault == "raises":
            raise ZeroDivisionError("the inner fault")
        if self.fault == "nan energy":
            results["energy"] = np.nan
        if self.fault == "nan forces":
            forces[-1, 1] = np.nan
        if self.fault == "nan stress":
            stress[2] = np.nan
        if self.fault == "shape of forces":
            results["forces"] = forces[:-1]
        if self.fault == "shape of stress":
            results["stress"] = stress[:5]
        if self.fault == "shape of energy":
            results["energy"] = np.zeros(2)
        if self.fault == "text":
            results["energy"] = "low"
        if self.fault == "no stress":
            raise PropertyNotImplementedError("stress")
        if self.fault == "no forces in the results":
            del results["forces"]
        if self.fault == "moves":
            atoms.positions += 0.1
        if self.fault == "wrong stress":
            results["stress"] = -10.0 * stress
        if self.fault == "float32":
            results = {k: np.asarray(v, dtype=np.float32) for k, v in results.items()}
        self.results = results

    def pairs(self, atoms):
        n = len(atoms)
        if self.nearest_images:
            shifts = np.zeros((1, 3))
        else:
            g = np.arange(-3, 4)
            on = [g if flag else np.zeros(1, dtype=int) for flag in atoms.pbc]
            shifts = np.stack(np.meshgrid(*on, indexing="ij"), -1).reshape(-1, 3) @ atoms.cell[:]
        energy, forces, virial = 0.0, np.zeros((n, 3)), np.zeros((3, 3))
        for shift in shifts:
            d = atoms.positions[None] - atoms.positions[:, None] + shift
            if self.nearest_images:
                h = atoms.cell[:]
                d = d - np.round(d @ np.linalg.inv(h)) * atoms.pbc @ h
            r = np.linalg.norm(d, axis=2)
            near = (r > 1e-9) & (r < 4.0)
            x = np.where(near, 4.0 - r, 0.0)
            energy += 0.05 * float((x**4).sum())
            g = -0.2 * x**3 / np.where(near, r, 1.0)
            forces += 2.0 * np.einsum("ij,ijc->ic", g, d)
            virial += np.einsum("ij,ijc,ijd->cd", g, d, d)
        return energy, forces, virial


def springs(fault="", **options):
    calculator = Springs()
    calculator.fault = fault
    return ASEPotential(calculator, "Cu", 4.0, **options)


class Strict(Springs):
    """Refuses what LAMMPS loses: atoms outside their cell or at its open faces."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        scaled = atoms.get_scaled_positions(wrap=False)
        assert scaled.min() >= 0.0
        assert scaled.max() < 1.0
        widths = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell[:]), axis=0)
        free = ~atoms.pbc
        ends = np.minimum(scaled.min(axis=0), 1.0 - scaled.max(axis=0)) * widths
        assert (ends[free] > 4.0).all()
        super().calculate(atoms, properties, system_changes)


CUBE = (2.6 * np.eye(3), np.zeros((1, 3)), [0])
IDENTITY = (np.eye(3)[None], np.zeros((1, 1, 3)))


class TestPatches:
    def test_forces_and_energy_are_the_native_ones(self):
        potential = zhou2004("Cu", "Ni")
        atoms = patch()
        atoms.symbols[::3] = "Ni"
        # The other order of species: a type is an index into the wrapper's own.
        wrapped = ASEPotential(PotentialCalculator(potential), ["Ni", "Cu"], potential.cutoff)
        energy, forces = wrapped.cluster_forces(atoms.positions, wrapped.types_of(atoms.symbols))
        atoms.pbc = False
        atoms.calc = PotentialCalculator(potential)
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-10)
        assert np.abs(forces).max() > 1

    def test_emt(self):
        atoms = patch()
        atoms.symbols[::4] = "Au"
        wrapped = ASEPotential(EMT(), ["Cu", "Au"], 6.0)
        types = wrapped.types_of(atoms.symbols)
        energy, forces = wrapped.cluster_forces(atoms.positions, types, atoms.cell[:], [True] * 3)
        atoms.calc = EMT()
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-10)

    def test_inside_a_patch_forces_are_those_of_the_crystal(self, wrapped, morse):
        # A pair potential's forces reach one cutoff, within the two that are promised.
        block = patch(reps=(6, 6, 6))
        block.calc = PotentialCalculator(morse)
        whole = block.get_forces()
        y, order = [], []
        for shift in np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), -1).reshape(-1, 3) @ block.cell[:]:
            y.append(block.positions + shift)
            order.append(np.arange(len(block)))
        y, order = np.concatenate(y), np.concatenate(order)
        r = np.linalg.norm(y - block.get_center_of_mass(), axis=1)
        near = r < 2 * morse.cutoff + 3.0
        forces = wrapped.cluster_forces(y[near], np.zeros(near.sum(), int))[1]
        inner = r[near] < 3.0
        assert inner.sum() >= 4
        np.testing.assert_allclose(forces[inner], whole[order[near]][inner], atol=1e-10)
        assert np.abs(forces - whole[order[near]]).max() > 0.1

    def test_a_thin_period_along_one_line(self, wrapped, morse):
        made = crystal.fcc("Cu", 3.6, x=[1, 1, -2], y=[1, 1, 1], z=[1, -1, 0]).as_columns()
        m = np.stack(np.meshgrid(np.arange(5), np.arange(5), [0]), -1).reshape(-1, 3)
        y = made.positions(m) + np.random.default_rng(0).normal(0, 0.05, (25, 3))
        cell = np.diag([1.0, 1.0, 0.0])
        cell[2] = made.cell[2]
        pbc = (False, False, True)
        forces = wrapped.cluster_forces(y, np.zeros(25, int), cell, pbc)[1]
        atoms = Atoms("Cu25", positions=y, cell=[60, 60, made.cell[2, 2]], pbc=pbc)
        atoms.calc = PotentialCalculator(morse)
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-10)
        # A wide cell by repetition, and a calculator that takes the box for a crystal's cell.
        wide = ASEPotential(PotentialCalculator(morse), "Cu", morse.cutoff, min_width=11.0)
        np.testing.assert_allclose(
            wide.cluster_forces(y, np.zeros(25, int), cell, pbc)[1], forces, atol=1e-10
        )

        class Everywhere(PotentialCalculator):
            def calculate(self, atoms=None, *args, **kwargs):
                atoms = atoms.copy()
                atoms.pbc = True
                super().calculate(atoms, *args, **kwargs)

        other = ASEPotential(Everywhere(morse), "Cu", morse.cutoff)
        np.testing.assert_allclose(
            other.cluster_forces(y, np.zeros(25, int), cell, pbc)[1], forces, atol=1e-10
        )

    def test_atoms_outside_the_cell(self, wrapped):
        atoms = patch()
        types = np.zeros(len(atoms), int)
        cell, pbc = atoms.cell[:], [True] * 3
        energy, forces = wrapped.cluster_forces(atoms.positions, types, cell, pbc)
        moved = atoms.positions + np.random.default_rng(1).integers(-3, 4, (27, 3)) @ cell
        again = wrapped.cluster_forces(moved, types, cell, pbc)
        assert again[0] == pytest.approx(energy, abs=1e-10)
        np.testing.assert_allclose(again[1], forces, atol=1e-10)

    def test_hessian_product(self, wrapped):
        atoms = patch()
        types = np.zeros(len(atoms), int)
        args = (atoms.positions, types, atoms.cell[:], [True] * 3)
        rng = np.random.default_rng(5)
        a, b = rng.normal(size=(2, 27, 3))
        one, two = (wrapped.cluster_hessian_product(*args, d) for d in (a, b))
        scale = np.linalg.norm(one) * np.linalg.norm(b)
        assert abs(np.vdot(one, b) - np.vdot(two, a)) < 1e-7 * scale
        # An error of second order in the step, and the sign of a second derivative.
        coarse, fine = (wrapped.cluster_hessian_product(*args, a, step=h) for h in (2e-2, 1e-2))
        assert np.abs(coarse - one).max() > 3.5 * np.abs(fine - one).max()
        energies = [
            wrapped.cluster_forces(atoms.positions + h * a, *args[1:])[0] for h in (-1e-3, 0, 1e-3)
        ]
        curvature = (energies[0] - 2 * energies[1] + energies[2]) / 1e-6
        assert np.vdot(one, a) == pytest.approx(curvature, rel=1e-4)
        scaled = wrapped.cluster_hessian_product(*args, 1e-9 * a)
        np.testing.assert_allclose(1e9 * scaled, one, atol=1e-8)
        assert not wrapped.cluster_hessian_product(*args, np.zeros((27, 3))).any()

    def test_no_atom_and_one_atom(self, wrapped):
        energy, forces = wrapped.cluster_forces(np.zeros((0, 3)), [])
        assert energy == 0.0
        assert forces.shape == (0, 3)
        energy, forces = wrapped.cluster_forces([[1.0, 2.0, 3.0]], [0])
        assert energy == 0.0
        assert not forces.any()


class TestCells:
    @pytest.mark.parametrize("mode", ["3d", "columns"])
    def test_the_native_cauchy_born_rule(self, wrapped, morse, mode):
        made = crystal.fcc("Cu", 3.6)
        if mode == "columns":
            made = crystal.fcc("Cu", 3.6, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns()
        F, p = states()
        density, stress, tangent = CauchyBorn(made, morse).evaluate(F, tangent=True)
        e, dF, dp, hessian = wrapped.cell_response(F, p, made.cell, made.basis, [0], True)
        v = made.volume
        np.testing.assert_allclose(e / v, density, atol=1e-13)
        np.testing.assert_allclose(dF / v, stress, atol=1e-13)
        np.testing.assert_allclose(dp, 0, atol=1e-12)
        # The tangent of the native rule is exact, these are differences.
        own = hessian[:, :9, :9].reshape(-1, 3, 3, 3, 3) / v
        np.testing.assert_allclose(own, tangent, atol=1e-6 * np.abs(tangent).max())
        np.testing.assert_allclose(hessian[:, 9:], 0, atol=1e-9)

    def test_the_error_of_the_tangent_falls_with_the_fourth_power_of_the_step(self):
        # No shell comes near the range where the potential is brought to zero.
        smooth = Morse("Cu", depth=0.34, stiffness=1.4, distance=2.87, cutoff=5.0, switch=0.9)
        made = crystal.fcc("Cu", 3.6)
        F, p = states(n=1, size=0.002)
        exact = CauchyBorn(made, smooth).evaluate(F, tangent=True)[2] * made.volume
        errors = []
        for step in (4e-3, 2e-3, 1e-3):
            wrapped = ASEPotential(PotentialCalculator(smooth), "Cu", 5.0, step=step)
            h = wrapped.cell_response(F, p, made.cell, made.basis, [0], True)[3]
            errors.append(np.abs(h[:, :9, :9].ravel() - exact.ravel()).max())
        np.testing.assert_array_less(14, np.array(errors[:-1]) / errors[1:])
        assert errors[-1] < 1e-8 * np.abs(exact).max()

    def test_gradient_and_hessian_with_shifts_by_differences(self, wrapped):
        made = crystal.hcp("Cu", 2.6, 4.3)
        F, p = (x[0] for x in states(n=1, n_s=2))

        def response(x, second=False):
            e, dF, dp, h = wrapped.cell_response(
                x[None, :9].reshape(1, 3, 3),
                x[None, 9:].reshape(1, 2, 3),
                made.cell,
                made.basis,
                [0, 0],
                second,
            )
            return e[0], np.concatenate([dF.ravel(), dp.ravel()]), h

        x = np.concatenate([F.ravel(), p.ravel()])
        _, gradient, hessian = response(x, True)
        assert np.abs(gradient[9:]).max() > 0.1
        np.testing.assert_array_equal(hessian[0], hessian[0].T)
        for order, exact in ((0, gradient), (1, hessian[0])):
            errors = []
            for h in (1e-2, 1e-3, 1e-4):
                number = [
                    (response(x + h * u)[order] - response(x - h * u)[order]) / (2 * h)
                    for u in np.eye(15)
                ]
                errors.append(np.abs(np.array(number) - exact).max() / np.abs(exact).max())
            assert errors[0] > 50 * errors[1]
            assert errors[2] < 1e-6, errors

    def test_a_rotation_turns_everything(self, wrapped):
        made = crystal.hcp("Cu", 2.6, 4.3)
        F, p = states(n=1, n_s=2)
        c, s = np.cos(0.7), np.sin(0.7)
        Q = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
        e, dF, dp, _ = wrapped.cell_response(F, p, made.cell, made.basis, [0, 0])
        turned = wrapped.cell_response(Q @ F, p @ Q.T, made.cell, made.basis, [0, 0])
        np.testing.assert_allclose(turned[0], e, atol=1e-11)
        np.testing.assert_allclose(turned[1], Q @ dF, atol=1e-10)
        np.testing.assert_allclose(turned[2], dp @ Q.T, atol=1e-10)

    def test_a_monolayer(self):
        toy = ToyEAM(symbol="Cu")
        made = crystal.triangular("Cu", 1.0)
        wrapped = ASEPotential(PotentialCalculator(toy), "Cu", toy.cutoff)
        F = np.eye(3)[None].repeat(2, axis=0)
        F[:, :2, :2] += 0.03 * np.random.default_rng(2).normal(size=(2, 2, 2))
        F[1, 2, 0] = 0.1
        args = (F, np.zeros((2, 1, 3)), made.cell, made.basis, [0])
        density, stress, tangent = CauchyBorn(made, toy).evaluate(F, tangent=True)
        e, dF, _, h = wrapped.cell_response(*args, True, pbc=(True, True, False))
        np.testing.assert_allclose(e / made.volume, density, atol=1e-12)
        np.testing.assert_allclose(dF / made.volume, stress, atol=1e-12)
        own = h[:, :9, :9].reshape(-1, 3, 3, 3, 3) / made.volume
        np.testing.assert_allclose(own, tangent, atol=2e-6 * np.abs(tangent).max())

    def test_responses_are_kept(self):
        wrapped = springs()
        wrapped.cell_response(*IDENTITY, *CUBE)
        calls = wrapped.calculator.calls
        one = wrapped.cell_response(*IDENTITY, *CUBE)
        F = np.eye(3)[None] + 1e-14
        np.testing.assert_array_equal(wrapped.cell_response(F, IDENTITY[1], *CUBE)[1], one[1])
        assert wrapped.calculator.calls == calls
        wrapped.cell_response(*IDENTITY, *CUBE, second=True)
        assert wrapped.calculator.calls == calls + 24
        wrapped.cell_response(*IDENTITY, *CUBE, second=True)
        assert wrapped.calculator.calls == calls + 24
        wrapped.cell_response(*IDENTITY, CUBE[0] * 1.1, *CUBE[1:])
        assert wrapped.calculator.calls > calls + 24
        wrapped.forget()
        calls = wrapped.calculator.calls
        wrapped.cell_response(*IDENTITY, *CUBE)
        assert wrapped.calculator.calls > calls

    def test_the_hessian_over_shifts_alone(self):
        basis = np.array([[0.0, 0, 0], [1.4, 1.2, 1.3]])
        F, p = states(n=2, n_s=2, size=0.02, shift=0.02)
        args = (F, p, CUBE[0], basis, [0, 0])
        whole, part = springs(), springs()
        expected = whole.cell_response(*args, second=True)[3]
        part.cell_response(*args)
        calls = part.calculator.calls
        found = part.cell_response(*args, second="shifts")[3]
        assert part.calculator.calls == calls + 2 * 12
        np.testing.assert_allclose(found[:, 9:, 9:], expected[:, 9:, 9:], atol=1e-7)
        assert np.isnan(found[:, :9]).all()
        assert np.isnan(found[:, :, :9]).all()
        # The whole one is as good where it is known, and is made where it is not.
        assert np.isfinite(whole.cell_response(*args, second="shifts")[3]).all()
        np.testing.assert_array_equal(part.cell_response(*args, second=True)[3], expected)
        with pytest.raises(InputError, match="second"):
            part.cell_response(*args, second="shift")

    def test_what_is_kept_is_bounded_and_cannot_be_changed(self, monkeypatch):
        monkeypatch.setattr("qc.potentials.ase.potential.CACHE_SIZE", 3)
        wrapped = springs()
        F = np.eye(3) * np.linspace(1.0, 1.1, 6)[:, None, None]
        first = wrapped.cell_response(F, np.zeros((6, 1, 3)), *CUBE)
        assert len(wrapped._kept) == 3
        again = wrapped.cell_response(F, np.zeros((6, 1, 3)), *CUBE)
        np.testing.assert_array_equal(again[1], first[1])
        first[1][:] = 99.0
        np.testing.assert_array_equal(
            wrapped.cell_response(F, np.zeros((6, 1, 3)), *CUBE)[1], again[1]
        )

    def test_nearest_images_in_a_thin_cell(self):
        wrapped = springs()
        right = wrapped.cell_response(*IDENTITY, *CUBE)
        wrapped.calculator.nearest_images = True
        wrapped.forget()
        with pytest.raises(PotentialError, match=r"overlooks images.*min_width=8"):
            wrapped.cell_response(*IDENTITY, *CUBE)
        wide = springs(min_width=8.0)
        wide.calculator.nearest_images = True
        e, dF, _, _ = wide.cell_response(*IDENTITY, *CUBE)
        np.testing.assert_allclose(e, right[0], rtol=1e-12)
        np.testing.assert_allclose(dF, right[1], rtol=1e-12)


class TestCapabilities:
    def test_there_are_no_site_energies(self, wrapped):
        assert not wrapped.has_site_energies
        bonds = Bonds(np.array([0, 1]), np.ones((1, 3)), np.zeros(1, int), np.zeros(1, int))
        for call in (
            lambda: wrapped.site_energies(bonds),
            lambda: wrapped.bond_gradients(bonds),
            lambda: wrapped.bond_hessian_product(bonds, bonds.vectors),
        ):
            with pytest.raises(CapabilityError, match=r"ASEPotential of PotentialCalc.*'bqcf'"):
                call()

    @pytest.mark.parametrize("scheme", ["bgfc", "bqce", "qce", "scgfc", "atomistic"])
    def test_schemes_that_blend_energies_refuse_it(self, wrapped, scheme):
        with pytest.raises(CapabilityError, match=f"'{scheme}'.*ASEPotential.*'bqcf'"):
            qc.QuasiContinuum(crystal.fcc("Cu", 3.6), wrapped, core=6, outer=20, scheme=scheme)

    def test_fingerprints(self, morse):
        def of(calculator, *args, **options):
            return ASEPotential(calculator, "Cu", *(args or (5.0,)), **options).fingerprint()

        base = of(EMT())
        assert base == of(EMT())
        other = Morse("Cu", depth=0.35, stiffness=1.4, distance=2.87, cutoff=5.0)
        different = [
            base,
            of(EMT(asap_cutoff=True)),
            of(EMT(), 5.1),
            of(EMT(), label="weights 2"),
            of(Springs()),
            of(PotentialCalculator(morse)),
            of(PotentialCalculator(other)),
        ]
        assert len(set(different)) == len(different)

    def test_parameters_of_any_kind(self):
        calculator = EMT()
        calculator.parameters = {"f": len, "a": np.eye(2), 3: np.float32(1), "n": [None, {"x": 1}]}
        assert len(ASEPotential(calculator, "Cu", 5.0).fingerprint()) == 64
        del calculator.parameters
        calculator.todict = lambda: 1 / 0
        assert len(ASEPotential(calculator, "Cu", 5.0).fingerprint()) == 64


class TestBadInput:
    @pytest.mark.parametrize(
        ("what", "message"),
        [("emt", "got|str"), (None, "NoneType"), (EMT, "instance of EMT"), (Atoms(), "atoms.calc")],
    )
    def test_something_that_is_no_calculator(self, what, message):
        with pytest.raises(InputError, match=message):
            ASEPotential(what, "Cu", 5.0)

    def test_a_calculator_that_says_it_has_no_forces(self):
        calculator = Springs()
        calculator.implemented_properties = ["energy", "stress"]
        with pytest.raises(CapabilityError, match="Springs has no forces; it has energy, stress"):
            ASEPotential(calculator, "Cu", 5.0)

    @pytest.mark.parametrize("cutoff", [None, np.nan, np.inf, 0.0, -1.0, "far", [1, 2]])
    def test_cutoffs(self, cutoff):
        with pytest.raises(InputError, match="cutoff"):
            ASEPotential(EMT(), "Cu", cutoff)

    @pytest.mark.parametrize(
        "options", [{"min_width": -1}, {"step": 0}, {"step": 0.2}, {"noise": np.nan}]
    )
    def test_numbers(self, options):
        with pytest.raises(InputError, match=next(iter(options))):
            ASEPotential(EMT(), "Cu", 5.0, **options)

    def test_species(self):
        for species in ((), ("Cu", "Cu")):
            with pytest.raises(InputError, match="distinct"):
                ASEPotential(EMT(), species, 5.0)
        for species in ("Xx", [29]):
            with pytest.raises(UnknownSpeciesError):
                ASEPotential(EMT(), species, 5.0)
        wrapped = ASEPotential(EMT(), ["Cu", "Ni"], 5.0)
        assert wrapped.types_of(["Ni", "Cu"]).tolist() == [1, 0]
        with pytest.raises(UnknownSpeciesError, match="Cu, Ni"):
            wrapped.types_of(["Al"])
        with pytest.raises(UnknownSpeciesError, match="atom 1"):
            wrapped.cluster_forces(np.eye(3)[:2], [0, 2])

    def test_patches(self, wrapped):
        good = np.eye(3) * 3
        bad = good.copy()
        bad[1, 2] = np.nan
        for args, message in (
            ((bad, [0] * 3), "positions: row 1"),
            ((good[:, :2], [0] * 3), r"shape \(n, 3\)"),
            ((good, [0] * 2), "3 integers"),
            ((good, [0.0] * 3), "3 integers"),
            ((good, [0] * 3, None, [True] * 3), "need a cell"),
            ((good, [0] * 3, np.ones((3, 3)), [True] * 3), "singular"),
            ((good, [0] * 3, np.full((3, 3), np.inf), [True] * 3), "cell: row 0"),
            ((good, [0] * 3, None, [True]), "three booleans"),
            ((["a"], [0]), "array of numbers"),
        ):
            with pytest.raises(InputError, match=message):
                wrapped.cluster_forces(*args)
        with pytest.raises(InputError, match="directions"):
            wrapped.cluster_hessian_product(good, [0] * 3, None, [False] * 3, np.ones((2, 3)))

    def test_cells(self, wrapped):
        F, p = IDENTITY
        cell, basis, types = CUBE
        for args, message in (
            ((F * np.nan, p, cell, basis, types), "F: row 0"),
            ((-F, p, cell, basis, types), "row 0 turns"),
            ((F[0], p, cell, basis, types), "F must have"),
            ((F, p[0], cell, basis, types), "shifts must have"),
            ((F, p, cell[:2], basis, types), "cell must have"),
            ((F, p, np.ones((3, 3)), basis, types), "singular"),
            ((F, p[:, :0], cell, basis[:0], []), "basis is empty"),
            ((F, p, cell, basis, [0, 0]), "1 integers"),
            ((F, p, cell, basis, types, False, (False, True, True)), "z only"),
        ):
            with pytest.raises(InputError, match=message):
                wrapped.cell_response(*args)

    def test_single_precision_is_cast(self):
        e, dF, dp, h = springs("float32").cell_response(*IDENTITY, *CUBE, second=True)
        for array in (e, dF, dp, h):
            assert array.dtype == np.float64
        exact = springs().cell_response(*IDENTITY, *CUBE, second=True)
        np.testing.assert_allclose(dF, exact[1], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(h, exact[3], atol=1e-2 * np.abs(exact[3]).max())
        atoms = patch()
        energy, forces = springs("float32").cluster_forces(atoms.positions, [0] * 27)
        assert type(energy) is float
        assert forces.dtype == np.float64

    @pytest.mark.parametrize(
        ("fault", "error", "message"),
        [
            ("raises", PotentialError, "Springs failed at .* ZeroDivisionError: the inner fault"),
            ("nan energy", NonFiniteError, "energy"),
            ("nan forces", NonFiniteError, "forces on atom 7"),
            ("nan stress", NonFiniteError, "stress"),
            ("shape of forces", PotentialError, r"forces of shape \(7, 3\), not shape \(8, 3\)"),
            ("shape of stress", PotentialError, r"stress of shape \(5,\), not shape \(6,\)"),
            ("shape of energy", PotentialError, "energy of shape"),
            ("text", PotentialError, "no numbers"),
            ("no stress", CapabilityError, "FiniteDifferenceCalculator"),
            ("no forces in the results", CapabilityError, "no forces"),
            ("moves", PotentialError, "changed the atoms"),
        ],
    )
    def test_faults_of_the_calculator(self, fault, error, message):
        grid = np.stack(np.meshgrid(*[[0, 1]] * 3), -1).reshape(-1, 3) * 2.6
        args = (np.eye(3)[None], np.zeros((1, 8, 3)), 5.2 * np.eye(3), grid, [0] * 8)
        with pytest.raises(error, match=message) as caught:
            springs(fault).cell_response(*args)
        if error is PotentialError and fault == "raises":
            assert isinstance(caught.value.__cause__, ZeroDivisionError)
        if "stress" not in fault:
            with pytest.raises(error, match=message):
                springs(fault).cluster_forces(grid, [0] * 8)

    def test_results_in_a_buffer_of_the_calculator(self):
        class Buffered(Springs):
            buffer = np.zeros((27, 3))

            def get_forces(self, atoms=None):
                self.buffer[:] = super().get_forces(atoms)
                return self.buffer

        wrapped = ASEPotential(Buffered(), "Cu", 4.0)
        first = wrapped.cluster_forces(patch().positions, [0] * 27)[1]
        before = first.copy()
        wrapped.cluster_forces(patch(seed=1).positions, [0] * 27)
        np.testing.assert_array_equal(first, before)

    def test_results_of_other_positions(self):
        class Stale(Springs):
            def check_state(self, atoms, tol=1e-15):
                return [] if self.results else list(all_changes)

        atoms, other = patch(), patch(seed=1)
        wrapped = ASEPotential(Stale(), "Cu", 4.0)
        wrapped.cluster_forces(other.positions, [0] * 27)
        forces = wrapped.cluster_forces(atoms.positions, [0] * 27)[1]
        right = springs().cluster_forces(atoms.positions, [0] * 27)[1]
        np.testing.assert_array_equal(forces, right)

    def test_a_stress_that_does_not_go_with_the_forces(self):
        basis = np.array([[0.0, 0, 0], [1.4, 1.2, 1.3]])
        F, p = states(n=1, n_s=2, size=0.02)
        with pytest.raises(PotentialError, match="do not derive from one energy"):
            springs("wrong stress").cell_response(F, p, CUBE[0], basis, [0, 0], True)

    def test_no_stress_is_needed_for_patches(self):
        class NoStress(Springs):
            implemented_properties = ["energy", "forces"]  # noqa: RUF012

        wrapped = ASEPotential(NoStress(), "Cu", 4.0)
        assert np.abs(wrapped.cluster_forces(patch().positions, [0] * 27)[1]).max() > 0
        with pytest.raises(CapabilityError, match="NoStress has no stress"):
            wrapped.cell_response(*IDENTITY, *CUBE)


# -- boxes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pbc", [(False, False, False), (False, False, True), (True, True, False)])
def test_patches_are_handed_over_inside_their_cell(pbc):
    cell = np.diag([9.0, 9.0, 3.1]) + 0.3 * np.eye(3, k=-1) * [pbc[0], pbc[2], 0]
    rng = np.random.default_rng(2)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    y = grid * [3.0, 3.0, 3.1] + rng.uniform(-0.2, 0.2, (27, 3))
    if pbc[2]:
        y = y[grid[:, 2] == 0]
    types = np.zeros(len(y), dtype=int)
    plain, strict = springs(), ASEPotential(Strict(), "Cu", 4.0)
    energy, forces = plain.cluster_forces(y, types, cell, pbc)
    # The crystal's own coordinates: far from the origin, unwrapped over many periods.
    turns = rng.integers(-40, 40, (len(y), 3)) * pbc
    far = y + turns @ cell + np.where(pbc, 0.0, [-70.0, 20.0, -300.0])
    found = strict.cluster_forces(far, types, cell, pbc)
    assert found[0] == pytest.approx(energy, abs=1e-9)
    np.testing.assert_allclose(found[1], forces, atol=1e-9)
    assert np.abs(forces).max() > 0.01


def test_cells_are_handed_over_with_their_atoms_inside():
    F, p = states(n_s=2)
    basis = np.array([[0.0, 0.0, 0.0], [-1.4, 1.3, -4.1]])
    for pbc in ((True, True, True), (True, True, False)):
        case = (F, p, 2.9 * np.eye(3), basis, [0, 0], False, pbc)
        for width in (0.0, 8.0):
            plain = springs(min_width=width).cell_response(*case)
            strict = ASEPotential(Strict(), "Cu", 4.0, min_width=width).cell_response(*case)
            for a, b in zip(plain[:3], strict[:3], strict=True):
                np.testing.assert_allclose(a, b, atol=1e-9)
