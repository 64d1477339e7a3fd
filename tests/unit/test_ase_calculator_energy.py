"""Energies, forces and virials over neighbour lists, for a potential with and without a kernel."""

import numpy as np
import pytest
from ase.build import bulk

from qc.atomistic.energy import energy_forces, virial
from qc.atomistic.neighbours import neighbour_list
from qc.errors import NonFiniteError
from qc.potentials import EAM, Potential, zhou2004


class Smooth(Potential):
    """A pair potential for these tests: e (1 - (r/c)^2)^4 - its own derivatives by hand."""

    species = ("Cu", "Ni")
    cutoff = 5.0

    def __init__(self, strength=(1.0, 1.7)):
        self.strength = np.array(strength)

    def _terms(self, bonds):
        x = np.minimum((bonds.vectors**2).sum(1) / self.cutoff**2, 1.0)
        e = np.sqrt(self.strength[bonds.site_types[bonds.sites]] * self.strength[bonds.bond_types])
        return x, e

    def site_energies(self, bonds):
        x, e = self._terms(bonds)
        return np.bincount(bonds.sites, 0.5 * e * (1 - x) ** 4, bonds.n_sites)

    def bond_gradients(self, bonds):
        x, e = self._terms(bonds)
        slope = -4 * e * (1 - x) ** 3 / self.cutoff**2
        return self.site_energies(bonds), slope[:, None] * bonds.vectors

    def bond_hessian_product(self, bonds, dvectors):
        raise NotImplementedError

    def parameters(self):
        return (self.strength,)


class NoKernel(Potential):
    """Another potential without its fused kernel."""

    def __init__(self, inner):
        self.inner, self.species, self.cutoff = inner, inner.species, inner.cutoff

    def site_energies(self, bonds):
        return self.inner.site_energies(bonds)

    def bond_gradients(self, bonds):
        return self.inner.bond_gradients(bonds)

    def bond_hessian_product(self, bonds, dvectors):
        return self.inner.bond_hessian_product(bonds, dvectors)

    def parameters(self):
        return self.inner.parameters()


POTENTIALS = {
    "pair": Smooth(),
    "eam": zhou2004("Cu", "Ni"),
    "eam without kernel": NoKernel(zhou2004("Cu", "Ni")),
}


@pytest.fixture(params=POTENTIALS)
def potential(request):
    return POTENTIALS[request.param]


def disordered(seed=0):
    atoms = bulk("Cu", "fcc", 3.6, cubic=True) * (2, 2, 1)
    atoms.symbols[3] = atoms.symbols[6] = "Ni"
    atoms.rattle(0.15, seed=seed)
    return atoms


def evaluate(potential, atoms, weights=None, positions=None):
    y = atoms.positions if positions is None else positions
    neighbours = neighbour_list(y, potential.cutoff + 0.4, atoms.cell[:], atoms.pbc)
    types = potential.types_of(atoms.get_chemical_symbols())
    return energy_forces(potential, y, types, neighbours, weights)


def richardson(f, h):
    """Central difference of fourth order."""
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


def test_forces_are_the_gradient_of_every_weighting(potential):
    atoms = disordered()
    rng = np.random.default_rng(1)
    for weights in (np.ones(16), rng.uniform(0, 1, 16), np.eye(16)[5]):
        _, forces = evaluate(potential, atoms, weights)
        direction = rng.normal(size=(16, 3))

        def energy(h, weights=weights, direction=direction):
            y = atoms.positions + h * direction
            return weights @ evaluate(potential, atoms, weights, y)[0]

        expected = -np.sum(forces * direction)
        errors = [abs(richardson(energy, h) - expected) for h in (1e-1, 1e-2, 1e-3)]
        assert min(errors) < 1e-8 * abs(expected)
        assert errors[0] > 1e2 * min(errors)


def test_the_virial_is_the_strain_derivative(potential):
    atoms = disordered()
    types = potential.types_of(atoms.get_chemical_symbols())
    weights = np.random.default_rng(3).uniform(0, 1, 16)

    def total(h, k, m):
        strain = np.eye(3)
        strain[k, m] += h
        moved = atoms.copy()
        moved.set_cell(atoms.cell[:] @ strain.T, scale_atoms=True)
        return weights @ evaluate(potential, moved, weights)[0]

    neighbours = neighbour_list(atoms.positions, potential.cutoff, atoms.cell[:], True)
    found = virial(potential, atoms.positions, types, neighbours, weights)
    steps = (1e-2, 1e-3, 1e-4, 1e-5)
    for k in range(3):
        for m in range(3):
            errors = [
                abs(richardson(lambda h, k=k, m=m: total(h, k, m), step) - found[k, m])
                for step in steps
            ]
            assert min(errors) < 1e-7
    np.testing.assert_allclose(found, found.T, atol=1e-12)


def test_the_fused_kernel_agrees_with_the_bond_gradients():
    atoms = disordered()
    weights = np.random.default_rng(5).uniform(0, 1, 16)
    weights[[2, 9]] = 0.0
    one = evaluate(POTENTIALS["eam"], atoms, weights)
    two = evaluate(POTENTIALS["eam without kernel"], atoms, weights)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    assert np.all(one[0][[2, 9]] == 0)


def test_rows_that_do_not_matter_may_be_empty(potential):
    atoms = bulk("Cu", cubic=True) * (5, 2, 2)
    atoms.rattle(0.1, seed=2)
    types = potential.types_of(atoms.get_chemical_symbols())
    weights = (atoms.positions[:, 0] < 4).astype(float)
    full = neighbour_list(atoms.positions, potential.cutoff, atoms.cell[:], (0, 1, 1))
    reached = np.unique(full.neighbours[weights[full.sites] > 0])
    rows = weights > 0
    rows[reached] = True
    assert not rows.all()
    some = neighbour_list(atoms.positions, potential.cutoff, atoms.cell[:], (0, 1, 1), rows)
    one = energy_forces(potential, atoms.positions, types, full, weights)
    two = energy_forces(potential, atoms.positions, types, some, weights)
    np.testing.assert_allclose(one[0], two[0], atol=1e-13)
    np.testing.assert_allclose(one[1], two[1], atol=1e-13)


def test_a_result_that_is_not_finite_names_the_atom():
    class Broken(Smooth):
        def bond_gradients(self, bonds):
            energies, gradients = super().bond_gradients(bonds)
            energies[4] = np.nan
            return energies, gradients

    with pytest.raises(NonFiniteError, match=r"atom 4 .*nan.*Broken"):
        evaluate(Broken(), disordered())

    class Infinite(Smooth):
        def bond_gradients(self, bonds):
            energies, gradients = super().bond_gradients(bonds)
            return energies, gradients * np.inf

    atoms = disordered()
    types = Infinite().types_of(atoms.get_chemical_symbols())
    neighbours = neighbour_list(atoms.positions, 5.0, atoms.cell[:], True)
    with pytest.raises(NonFiniteError, match="virial"), np.errstate(invalid="ignore"):
        virial(Infinite(), atoms.positions, types, neighbours)


def test_no_atoms_have_no_energy(potential):
    neighbours = neighbour_list(np.empty((0, 3)), 5.0)
    energies, forces = energy_forces(potential, np.empty((0, 3)), np.empty(0, int), neighbours)
    assert energies.shape == (0,)
    assert forces.shape == (0, 3)


def test_these_are_the_potentials_meant():
    assert isinstance(POTENTIALS["eam"], EAM)
    assert POTENTIALS["eam"].pair_list == "half"
    assert POTENTIALS["pair"].pair_list == "none"
    assert POTENTIALS["eam without kernel"].pair_list == "none"
