"""ForceField and the fused EAM kernel against the generic path, in the caller's order of atoms."""

import copy
import pickle

import numba
import numpy as np
import pytest
from ase.build import bulk

from qc.atomistic.energy import energy_forces, virial
from qc.atomistic.field import ForceField
from qc.atomistic.neighbours import neighbour_list
from qc.errors import CapabilityError, InputError, NonFiniteError, UnknownSpeciesError
from qc.potentials import (
    EAM,
    LennardJones,
    Potential,
    ToyEAM,
    stillinger1985,
    tersoff1989,
    zhou2004,
)

pytestmark = pytest.mark.kernels


def finnis_sinclair():
    """Return an alloy whose densities depend on both species."""
    alloy = zhou2004("Cu", "Ni")
    density = np.stack([alloy.density, 1.1 * alloy.density[::-1]])
    tables = {name: getattr(alloy, name) for name in ("dr", "drho", "rphi", "embedding", "cutoff")}
    return EAM(alloy.species, density=density, **tables)


POTENTIALS = {"one": zhou2004("Cu"), "alloy": zhou2004("Cu", "Ni"), "fs": finnis_sinclair()}

CELLS = {
    "periodic": ((4, 4, 4), True),
    "thinner than the cutoff": ((1, 2, 1), True),
    "a film": ((3, 3, 2), (True, True, False)),
    "a wire of one cell": ((2, 3, 1), (False, False, True)),
    "in the open": ((2, 2, 2), False),
}


def disordered(size, pbc, seed=0):
    """Return positions, some of them moved by periods, cell, pbc and a random generator."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True, a=3.7) * size
    atoms.rattle(0.12, seed=seed)
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + 0.05 * rng.normal(size=(3, 3))), scale_atoms=True)
    periods = rng.integers(-2, 3, (len(atoms), 3)) * np.broadcast_to(pbc, (3,))
    return atoms.positions + periods @ atoms.cell[:], atoms.cell[:], pbc, rng


def generic(potential, y, types, cell, pbc, weights=None):
    return energy_forces(
        potential, y, types, neighbour_list(y, potential.cutoff, cell, pbc), weights
    )


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", POTENTIALS)
def test_it_agrees_with_the_bond_gradients(name, cell):
    potential = POTENTIALS[name]
    y, box, pbc, rng = disordered(*CELLS[cell])
    n = len(y)
    types = rng.integers(0, len(potential.species), n)
    sparse = np.where(rng.random(n) < 0.6, 0.0, rng.uniform(0.1, 1.0, n))
    for weights in (None, rng.uniform(0.0, 1.0, n), sparse):
        field = ForceField(potential, types, weights, box, pbc)
        for moved in (y, y + rng.uniform(-0.1, 0.1, y.shape)):
            energies, forces = field.energy_forces(moved)
            expected = generic(potential, moved, types, box, pbc, weights)
            scale = np.abs(expected[0]).max()
            np.testing.assert_allclose(energies, expected[0], rtol=0, atol=1e-12 * scale)
            scale = np.abs(expected[1]).max()
            np.testing.assert_allclose(forces, expected[1], rtol=0, atol=1e-12 * scale)
        assert field.rebuilds == 1


FAMILIES = {
    **POTENTIALS,
    "pairs": LennardJones("Cu", 0.4, 2.3, cutoff=5.5),
    "many bodies by formula": ToyEAM(inner=4.0, cutoff=5.0, symbol="Cu"),
    "angles": stillinger1985(),
    "bond order": tersoff1989("Si", "C"),
}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_virial_is_that_of_the_bond_gradients(name, cell):
    potential = FAMILIES[name]
    assert potential.fused_virial
    y, box, pbc, rng = disordered(*CELLS[cell])
    types = rng.integers(0, len(potential.species), len(y))
    weights = rng.uniform(0.0, 1.0, len(y))
    plain = ForceField(potential, types, weights, box, pbc).energy_forces(y)
    found = np.full((3, 3), np.nan)
    energies, forces = ForceField(potential, types, weights, box, pbc).energy_forces(
        y, virial=found
    )
    neighbours = neighbour_list(y, potential.cutoff, box, pbc)
    expected = virial(potential, y, types, neighbours, weights)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * np.abs(expected).max())
    # Asking for it changes nothing.
    np.testing.assert_array_equal(energies, plain[0])
    np.testing.assert_allclose(forces, plain[1], rtol=0, atol=1e-13 * np.abs(forces).max())


def test_it_follows_atoms_that_move_and_are_wrapped():
    potential = POTENTIALS["one"]
    y, box, _, rng = disordered((3, 3, 3), True)
    inverse = np.linalg.inv(box)
    types = np.zeros(len(y), int)
    field = ForceField(potential, types, cell=box, pbc=True, skin=0.6)
    for _ in range(12):
        y = y + rng.uniform(-0.08, 0.08, y.shape)
        y[7] += [0.25, -0.2, 0.2]
        y = (y @ inverse % 1.0) @ box
        energies, forces = field.energy_forces(y)
        expected = generic(potential, y, types, box, True)
        scale = np.abs(expected[1]).max()
        np.testing.assert_allclose(energies, expected[0], rtol=0, atol=1e-12 * scale)
        np.testing.assert_allclose(forces, expected[1], rtol=0, atol=1e-12 * scale)
    assert 3 < field.rebuilds < 13


@pytest.mark.parametrize("name", POTENTIALS)
def test_forces_are_the_gradient(name):
    potential = POTENTIALS[name]
    y, box, pbc, rng = disordered((2, 3, 2), True, seed=4)
    types = rng.integers(0, len(potential.species), len(y))
    weights = rng.uniform(0.0, 1.0, len(y))
    field = ForceField(potential, types, weights, box, pbc, skin=0.8)
    direction = rng.normal(size=y.shape)
    slope = -np.sum(field.energy_forces(y)[1] * direction)
    errors = []
    for h in (1e-1, 1e-2, 1e-3, 1e-4):
        e = [weights @ field.energy_forces(y + k * h * direction)[0] for k in (-2, -1, 1, 2)]
        errors.append(abs((8 * (e[2] - e[1]) - (e[3] - e[0])) / (12 * h) - slope) / abs(slope))
    assert min(errors) < 1e-8
    assert errors[0] > 1e2 * min(errors)


def test_the_order_of_atoms_is_the_callers():
    y, box, pbc, rng = disordered((3, 2, 3), True)
    potential = POTENTIALS["alloy"]
    types, weights = rng.integers(0, 2, len(y)), rng.uniform(0, 1, len(y))
    one = ForceField(potential, types, weights, box, pbc).energy_forces(y)
    p = rng.permutation(len(y))
    two = ForceField(potential, types[p], weights[p], box, pbc).energy_forces(y[p])
    np.testing.assert_allclose(one[0][p], two[0], atol=1e-12)
    np.testing.assert_allclose(one[1][p], two[1], atol=1e-12)


def test_the_same_to_the_last_bit_for_one_number_of_threads():
    y, box, pbc, rng = disordered((7, 7, 7), True)
    types = rng.integers(0, 2, len(y))
    results = {}
    before = numba.get_num_threads()
    try:
        for threads in {1, before}:
            numba.set_num_threads(threads)
            runs = [
                ForceField(POTENTIALS["alloy"], types, None, box, pbc).energy_forces(y)
                for _ in range(3)
            ]
            for again in runs[1:]:
                np.testing.assert_array_equal(runs[0][0], again[0])
                np.testing.assert_array_equal(runs[0][1], again[1])
            results[threads] = runs[0]
    finally:
        numba.set_num_threads(before)
    np.testing.assert_allclose(results[1][1], results[before][1], rtol=0, atol=1e-12)


def test_a_new_cell_is_seen():
    y, box, pbc, _ = disordered((3, 3, 3), True)
    types = np.zeros(len(y), int)
    field = ForceField(POTENTIALS["one"], types, None, box, pbc)
    field.energy_forces(y)
    energies, _ = field.energy_forces(y, 1.02 * box)
    expected = generic(POTENTIALS["one"], y, types, 1.02 * box, True)[0]
    np.testing.assert_allclose(energies, expected, atol=1e-12)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_of_a_potential_and_of_a_field(copied):
    """Copied arrays begin anywhere in memory."""
    y, box, pbc, _ = disordered((3, 3, 3), True)
    potential = POTENTIALS["one"]
    field = ForceField(potential, np.zeros(len(y), int), None, box, pbc)
    expected = field.energy_forces(y)[1]
    for _ in range(4):
        twin = ForceField(copied(potential), np.zeros(len(y), int), None, box, pbc)
        np.testing.assert_array_equal(twin.energy_forces(y)[1], expected)
        np.testing.assert_array_equal(copied(field).energy_forces(y)[1], expected)


def test_nothing_and_one_atom():
    none = ForceField(POTENTIALS["one"], np.empty(0, int)).energy_forces(np.empty((0, 3)))
    assert none[0].shape == (0,)
    assert none[1].shape == (0, 3)
    energies, forces = ForceField(POTENTIALS["one"], [0]).energy_forces([[1e3, 0, 0]])
    assert energies == pytest.approx(generic(POTENTIALS["one"], np.zeros((1, 3)), np.zeros(1, int),
                                             None, False)[0])  # fmt: skip
    assert not forces.any()


class TestFaults:
    @pytest.fixture
    def field(self):
        y, box, pbc, _ = disordered((3, 3, 3), True)
        field = ForceField(POTENTIALS["one"], np.zeros(len(y), int), None, box, pbc, skin=3.0)
        field.energy_forces(y)
        return field, y

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_a_position_that_is_not_finite_names_the_callers_atom(self, field, bad):
        field, y = field
        broken = y.copy()
        broken[41, 1] = bad
        with pytest.raises(InputError, match="position of atom 41 is not finite"):
            field.energy_forces(broken)
        assert np.isfinite(field.energy_forces(y)[1]).all()

    def test_atoms_that_come_together_within_the_skin_are_named(self, field):
        field, y = field
        vectors = y - y[41]
        near = int(np.argsort((vectors**2).sum(axis=1))[1])
        moved = y.copy()
        moved[41] += 0.5 * vectors[near]
        moved[near] = moved[41]
        one, two = sorted((41, near))
        with pytest.raises(InputError, match=rf"atoms {one} and {two} coincide"):
            field.energy_forces(moved)
        assert field.rebuilds == 1

    def test_a_result_that_is_not_finite_names_the_callers_atom(self):
        class Broken(EAM):
            def energy_forces(self, positions, types, weights, pairs):
                energies, forces = super().energy_forces(positions, types, weights, pairs)
                forces[types[: len(forces)] == 1] = np.nan
                return energies, forces

        alloy = POTENTIALS["alloy"]
        names = ("dr", "drho", "rphi", "density", "embedding")
        broken = Broken(alloy.species, **{name: getattr(alloy, name) for name in names})
        y, box, pbc, _ = disordered((3, 3, 3), True)
        types = np.zeros(len(y), int)
        types[23] = 1
        with pytest.raises(NonFiniteError, match=r"atom 23 has .* Broken"):
            ForceField(broken, types, None, box, pbc).energy_forces(y)

    def test_what_does_not_fit_is_refused(self, field):
        field, y = field
        with pytest.raises(InputError, match="shape"):
            field.energy_forces(y[:-1])
        with pytest.raises(InputError, match="weights"):
            ForceField(POTENTIALS["one"], [0, 0], np.ones(3))
        with pytest.raises(InputError, match="weight of atom 1"):
            ForceField(POTENTIALS["one"], [0, 0], [1.0, np.nan])
        with pytest.raises(UnknownSpeciesError, match="atom 2 has type 1"):
            ForceField(POTENTIALS["one"], [0, 0, 1])

    def test_a_potential_without_a_kernel_is_refused(self):
        class Bare(Potential):
            species, cutoff = ("Cu",), 3.0
            site_energies = bond_gradients = bond_hessian_product = parameters = None

        with pytest.raises(CapabilityError, match="Bare has no fused kernel"):
            ForceField(Bare(), [0])
