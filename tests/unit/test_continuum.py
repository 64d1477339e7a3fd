"""The Cauchy-Born rule: energy density, stress, moduli, lattice constant, stability."""

from functools import cache

import numpy as np
import pytest
from ase import Atoms

from qc.crystal import bcc, fcc, from_ase, triangular
from qc.errors import CrystalError, NonFiniteError, UnknownSpeciesError
from qc.materials import (
    CauchyBorn,
    acoustic_stability,
    equilibrium_crystal,
    equilibrium_lattice_constant,
)
from qc.potentials import LennardJones, Morse, Potential, ToyEAM, zhou2004

CASES = {
    "EAM fcc": (fcc, "Cu", 3.6),
    "EAM bcc": (bcc, "Fe", 2.87),
    "LJ fcc": (fcc, "Ar", 5.3),
    "Morse fcc": (fcc, "Cu", 3.6),
    "toy triangular": (triangular, "X", 1.0),
}


@cache
def potential(name):
    if name.startswith("EAM"):
        return zhou2004(CASES[name][1])
    if name.startswith("LJ"):
        return LennardJones("Ar", 0.0104, 3.4, 8.5)
    if name.startswith("Morse"):
        return Morse("Cu", 0.3429, 1.3588, 2.866, 6.0)
    return ToyEAM()


@cache
def rule(name):
    make, symbol, start = CASES[name]
    a = equilibrium_lattice_constant(make(symbol, start), potential(name))
    return CauchyBorn(make(symbol, a), potential(name))


class Plain(Potential):
    """A potential stripped of its fused kernels."""

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


def deformations(name, n=6, size=0.05, seed=0):
    rng = np.random.default_rng(seed)
    d = rule(name).crystal.dim
    f = np.tile(np.eye(3), (n, 1, 1))
    f[:, :d, :d] += rng.uniform(-size, size, (n, d, d))
    return f


def rotation(planar, seed=1):
    rng = np.random.default_rng(seed)
    if planar:
        t = rng.uniform(0, np.pi)
        return np.array([[np.cos(t), -np.sin(t), 0], [np.sin(t), np.cos(t), 0], [0, 0, 1]])
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


@pytest.mark.parametrize("name", CASES)
def test_equilibrium_crystal_is_free_of_stress(name):
    cb = rule(name)
    d = cb.crystal.dim
    stress = cb.evaluate(np.eye(3)[None])[1][0]
    assert np.abs(stress[:d, :d]).max() < 1e-12 * np.abs(cb.elastic_constants()).max()
    # It is a minimum of the energy, and the stress pulls back to it.
    scales = [0.99, 1.0, 1.01]
    f = np.stack([np.diag([s if i < d else 1.0 for i in range(3)]) for s in scales])
    energy, stress, _ = cb.evaluate(f)
    assert energy.argmin() == 1
    assert stress[0, 0, 0] < 0 < stress[2, 0, 0]


@pytest.mark.parametrize("name", CASES)
def test_what_is_bound_is_found_from_anywhere(name):
    make, symbol, start = CASES[name]
    near = equilibrium_crystal(make(symbol, start), potential(name))
    found = equilibrium_crystal(make(symbol, 1.7 * start), potential(name), anywhere=True)
    assert found.a == pytest.approx(near.a, rel=1e-12)
    assert np.abs(found.cell - near.cell).max() < 1e-11
    with pytest.raises(CrystalError, match="minimises the energy"):
        equilibrium_crystal(make(symbol, 1.7 * start), potential(name))


@pytest.mark.parametrize("stretch", [1.05, 1.25])
def test_a_cell_slides_down_from_a_saddle(stretch):
    """Body-centred copper is unstable along Bain's path, whose minimum is fcc."""
    pot = zhou2004("Cu")
    tetragonal = Atoms(
        "Cu2", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[2.88, 2.88, 2.88 * stretch],
        pbc=True,
    )  # fmt: skip
    found = equilibrium_crystal(from_ase(tetragonal), pot)
    assert found.volume == pytest.approx(equilibrium_crystal(fcc("Cu", 3.6), pot).volume, rel=1e-9)
    edges = np.linalg.norm(found.cell, axis=1)
    np.testing.assert_allclose(edges, 3.6149603 / np.sqrt(2.0), rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_moduli_have_the_symmetries_of_elasticity(name):
    c = rule(name).elastic_constants()
    size = np.abs(c).max()
    for axes in ((2, 3, 0, 1), (1, 0, 2, 3), (0, 1, 3, 2)):
        assert np.abs(c - c.transpose(axes)).max() < 1e-11 * size
    d = rule(name).crystal.dim
    assert c[0, 0, 0, 0] == pytest.approx(c[1, 1, 1, 1], rel=1e-10)
    if d == 3:
        # Cubic: three constants and no more.
        assert c[0, 0, 1, 1] == pytest.approx(c[1, 1, 2, 2], rel=1e-10)
        assert np.abs(c[0, 0, 0, 1]) < 1e-10 * size
    else:
        # A hexagonal net is isotropic in its plane.
        assert c[0, 0, 0, 0] - c[0, 0, 1, 1] == pytest.approx(2 * c[0, 1, 0, 1], rel=1e-9)


@pytest.mark.parametrize("name", ["LJ fcc", "Morse fcc"])
def test_pair_potentials_obey_the_cauchy_relation(name):
    c = rule(name).elastic_constants()
    assert c[0, 0, 1, 1] == pytest.approx(c[0, 1, 0, 1], rel=1e-10)
    # Many-body ones do not.
    c = rule("EAM fcc").elastic_constants()
    assert abs(c[0, 0, 1, 1] / c[0, 1, 0, 1] - 1.0) > 0.1


@pytest.mark.parametrize("name", CASES)
def test_moduli_of_strained_states_keep_the_major_symmetry(name):
    moduli = rule(name).evaluate(deformations(name), tangent=True)[2]
    swapped = moduli.transpose(0, 3, 4, 1, 2)
    np.testing.assert_allclose(moduli, swapped, atol=1e-12 * np.abs(moduli).max())


@pytest.mark.parametrize("name", CASES)
def test_generic_and_fused_paths_agree(name):
    fused = rule(name)
    assert fused.potential.fused_star
    generic = CauchyBorn(fused.crystal, Plain(fused.potential))
    f = deformations(name)
    for one, other in zip(fused.evaluate(f, True), generic.evaluate(f, True), strict=True):
        assert np.abs(one - other).max() <= 1e-12 * np.abs(one).max()


@pytest.mark.parametrize("name", CASES)
def test_energy_does_not_see_rotations(name):
    cb = rule(name)
    f = deformations(name)
    r = rotation(cb.crystal.dim == 2)
    energy, stress, _ = cb.evaluate(f)
    turned_energy, turned_stress, _ = cb.evaluate(r @ f)
    np.testing.assert_allclose(turned_energy, energy, rtol=1e-12)
    np.testing.assert_allclose(turned_stress, r @ stress, atol=1e-11 * np.abs(stress).max())
    # Moment balance: P F^T is symmetric.
    cauchy = stress @ f.transpose(0, 2, 1)
    assert np.abs(cauchy - cauchy.transpose(0, 2, 1)).max() < 1e-12 * np.abs(stress).max()


@pytest.mark.parametrize("name", CASES)
def test_energy_does_not_see_slips_of_the_lattice_onto_itself(name):
    # F that maps the lattice onto itself, a whole shear by one lattice vector.
    cb = rule(name)
    shift = np.eye(3)
    shift[0, 1] = 1.0
    cell = cb.crystal.cell
    f = np.linalg.solve(cell, shift @ cell).T
    assert np.abs(f - np.eye(3)).max() > 0.4
    energy, _, _ = cb.evaluate(np.stack([np.eye(3), f]))
    assert energy[1] == pytest.approx(energy[0], rel=1e-12)


def test_star_grows_with_the_compression():
    # Long reference bonds come into range when the crystal is compressed.
    cb = rule("EAM fcc")
    for scale in (0.75, 0.6):
        small = CauchyBorn(fcc("Cu", scale * cb.crystal.a), cb.potential)
        fresh = CauchyBorn(cb.crystal, cb.potential)
        e = fresh.site_energy(scale * np.eye(3)[None])[0]
        assert e == pytest.approx(small.site_energy(np.eye(3)[None])[0], rel=1e-12)


def test_wrong_lattice_constant_start_is_no_matter():
    reference = rule("EAM fcc").crystal.a
    for start in (3.3, 4.0):
        a = equilibrium_lattice_constant(fcc("Cu", start), potential("EAM fcc"))
        assert a == pytest.approx(reference, rel=1e-12)


def test_no_lattice_constant_in_reach():
    with pytest.raises(CrystalError, match=r"no fcc lattice constant between 8\.000"):
        equilibrium_lattice_constant(fcc("Cu", 10.0), potential("EAM fcc"))


def test_unknown_species_is_refused():
    with pytest.raises(UnknownSpeciesError, match="'Ni'"):
        CauchyBorn(fcc("Ni", 3.52), potential("EAM fcc"))


def test_bad_deformation_is_named():
    f = np.tile(np.eye(3), (4, 1, 1))
    f[2, 1, 1] = np.nan
    with pytest.raises(NonFiniteError, match="deformation gradient 2"):
        rule("EAM fcc").evaluate(f)


class Blind(Plain):
    """A potential that answers NaN beyond some stretch."""

    def bond_gradients(self, bonds):
        energies, gradients = super().bond_gradients(bonds)
        energies[energies > -3.4] = np.nan
        return energies, gradients


def test_energy_that_is_no_number_is_named():
    cb = CauchyBorn(rule("EAM fcc").crystal, Blind(potential("EAM fcc")))
    f = np.stack([np.eye(3), np.eye(3), 1.2 * np.eye(3)])
    with pytest.raises(NonFiniteError, match="Cauchy-Born energy of element 2"):
        cb.evaluate(f)


# -- acoustic tensor ------------------------------------------------------------------------------


def isotropic(bulk, shear, d=3):
    one = np.eye(d)
    lame = bulk - 2 * shear / d
    return lame * np.einsum("ij,kl->ijkl", one, one) + shear * (
        np.einsum("ik,jl->ijkl", one, one) + np.einsum("il,jk->ijkl", one, one)
    )


def test_acoustic_tensor_of_an_isotropic_solid():
    # Wave moduli are K + 4/3 G and G: the smaller of the two comes out, whatever the direction.
    c = np.stack([isotropic(1.0, 0.3), isotropic(0.1, 0.3), isotropic(1.0, -0.2)])
    assert acoustic_stability(c) == pytest.approx([0.3, 0.3, -0.2], abs=1e-12)
    assert acoustic_stability(isotropic(-1.0, 0.3)[None])[0] == pytest.approx(-0.6)
    assert acoustic_stability(isotropic(1.0, 0.3)[None], planar=True)[0] == pytest.approx(0.3)
    assert acoustic_stability(isotropic(1.0, 0.3, 2)[None], planar=True)[0] == pytest.approx(0.3)


@pytest.mark.parametrize("name", CASES)
def test_stability_of_real_crystals(name):
    cb = rule(name)
    d = cb.crystal.dim

    def lowest(scale):
        f = np.diag([scale if i < d else 1.0 for i in range(3)])
        moduli = cb.elastic_constants(f)[None]
        if d == 2:
            moduli = moduli[:, :2, :2, :2, :2]
        return acoustic_stability(moduli, planar=d == 2)[0]

    assert lowest(1.0) > 0
    # Torn apart far beyond the strength of any crystal.
    assert lowest(1.25) < 0
