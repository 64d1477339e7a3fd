"""One law, every implementation: the conformance kit over all potentials, and over broken ones."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import pytest

from qc.errors import InputError, PotentialError, UnknownSpeciesError
from qc.potentials import (
    EAM,
    Bonds,
    CentralPotential,
    Jet,
    LennardJones,
    Morse,
    Pairs,
    ToyEAM,
    write_setfl,
    zhou2004,
)
from qc.verify import check_potential

ROOT = Path(__file__).resolve().parents[2]


def finnis_sinclair():
    """Finnis-Sinclair form whose density depends on both species."""
    alloy = zhou2004("Ni", "Al", knots_per_length=400, knots_per_density=400)
    scale = np.array([[1.0, 0.8], [1.1, 0.9]])
    return EAM(
        alloy.species,
        dr=alloy.dr,
        rphi=alloy.rphi,
        density=scale[:, :, None] * alloy.density[None],
        drho=alloy.drho,
        embedding=alloy.embedding,
    )


def from_setfl(tmp_path):
    write_setfl(zhou2004("Cu", knots_per_length=400, knots_per_density=400), tmp_path / "Cu.alloy")
    return EAM.from_file(tmp_path / "Cu.alloy")


class Buckingham(CentralPotential):
    """What a new pair potential takes."""

    def __init__(self, a, b, c, cutoff):
        super().__init__("Ar", cutoff)
        self.a, self.b, self.c = a, b, c

    def pair(self, r, s, t):
        x, y = self.a * np.exp(-self.b * r), self.c / r**6
        return Jet(x - y, -self.b * x + 6 * y / r, self.b**2 * x - 42 * y / r**2)

    def parameters(self):
        return (self.a, self.b, self.c)


POTENTIALS = {
    "zhou Cu": lambda tmp: (zhou2004("Cu"), 3),
    "zhou W": lambda tmp: (zhou2004("W"), 3),
    "zhou Ni-Al-Mg": lambda tmp: (zhou2004("Ni", "Al", "Mg"), 3),
    "finnis-sinclair": lambda tmp: (finnis_sinclair(), 3),
    "setfl": lambda tmp: (from_setfl(tmp), 3),
    "lennard-jones": lambda tmp: (LennardJones("Ar", 0.0104, 3.4), 3),
    "lennard-jones shifted": lambda tmp: (
        LennardJones("Ar", 0.0104, 3.4, truncation="shift_force"),
        3,
    ),
    "lennard-jones binary": lambda tmp: (
        LennardJones(["Ar", "Kr"], [[0.01, 0.012], [0.012, 0.014]], [[3.4, 3.5], [3.5, 3.65]]),
        3,
    ),
    "morse": lambda tmp: (Morse("Cu", 0.343, 1.359, 2.866, cutoff=6.5), 3),
    "buckingham": lambda tmp: (Buckingham(3000.0, 3.2, 60.0, 8.0), 3),
    "toy": lambda tmp: (ToyEAM(), 2),
    "toy in space": lambda tmp: (ToyEAM(), 3),
}


@pytest.mark.parametrize("name", POTENTIALS)
def test_conformance(name, tmp_path):
    potential, dim = POTENTIALS[name](tmp_path)
    report = check_potential(potential, dim=dim)
    assert report.passed, str(report)


@pytest.mark.parametrize("spacing", [0.75, 0.9, 1.2])
def test_conformance_when_squeezed_and_stretched(spacing):
    """Densities beyond 1.15 rho_e and near the joints obey the same law."""
    report = check_potential(zhou2004("Al"), spacing=2.86 * spacing)
    assert report.passed, str(report)


# --- negative controls: each breaks one promise, and the kit has to say which ----------------


class Plain(LennardJones):
    def __init__(self, cutoff=8.5):
        super().__init__("Ar", 0.0104, 3.4, cutoff=cutoff)


class WrongGradient(Plain):
    def bond_gradients(self, bonds):
        energies, gradients = super().bond_gradients(bonds)
        return energies, gradients * (1 + 1e-4)

    def site_energies(self, bonds):
        return super().bond_gradients(bonds)[0]


class OtherEnergies(Plain):
    def site_energies(self, bonds):
        return super().site_energies(bonds) * (1 + 1e-10)


class WrongHessian(Plain):
    def bond_hessian_product(self, bonds, dvectors):
        return super().bond_hessian_product(bonds, dvectors) * (1 + 1e-4)


class LopsidedHessian(Plain):
    def bond_hessian_product(self, bonds, dvectors):
        product = super().bond_hessian_product(bonds, dvectors)
        return product + 1e-9 * np.roll(dvectors, 1, axis=0)


class WrongBlocks(Plain):
    def bond_hessians(self, bonds):
        found = super().bond_hessians(bonds)
        return found._replace(blocks=found.blocks * (1 + 1e-8))


class Anisotropic(Plain):
    def bond_gradients(self, bonds):
        energies, gradients = super().bond_gradients(bonds)
        energies = energies + 1e-6 * np.bincount(
            bonds.sites, bonds.vectors[:, 2] ** 2, bonds.n_sites
        )
        return energies, gradients + 2e-6 * bonds.vectors * [0, 0, 1]


class OrderDependent(Plain):
    def bond_gradients(self, bonds):
        energies, gradients = super().bond_gradients(bonds)
        if len(gradients):
            energies = energies + 1e-9 * np.abs(bonds.vectors[bonds.start[:-1], 0])
            gradients = gradients + 1e-9 * np.arange(len(gradients))[:, None]
        return energies, gradients


class Understated(Plain):
    """Reaches further than it says."""

    def __init__(self):
        super().__init__()
        self.cutoff = 6.0
        self._whole = Plain()

    def bond_gradients(self, bonds):
        return self._whole.bond_gradients(bonds)

    def bond_hessian_product(self, bonds, dvectors):
        return self._whole.bond_hessian_product(bonds, dvectors)


class Abrupt(Plain):
    def _truncate(self, function, r, s, t):
        return function(r, s, t)


class UndefinedAlone(Plain):
    def bond_gradients(self, bonds):
        energies, gradients = super().bond_gradients(bonds)
        return np.where(np.diff(bonds.start) == 0, np.nan, energies), gradients


class SwallowsNaN(Plain):
    def bond_gradients(self, bonds):
        return super().bond_gradients(replace(bonds, vectors=np.nan_to_num(bonds.vectors, nan=9.0)))

    def energy_forces(self, positions, *lists):
        return super().energy_forces(np.nan_to_num(positions, nan=1.0), *lists)


class AnySpecies(Plain):
    def types_of(self, symbols):
        return np.zeros(len(symbols), dtype=np.int64)


class Drifting(Plain):
    calls = 0

    def bond_gradients(self, bonds):
        energies, gradients = super().bond_gradients(bonds)
        self.calls += 1
        return energies, gradients + 1e-16 * self.calls


class IgnoresWeights(Plain):
    def energy_forces(self, positions, types, weights, pairs):
        return super().energy_forces(positions, types, np.ones_like(weights), pairs)


class FusedEnergyOff(Plain):
    def energy_forces(self, *arguments):
        energies, forces = super().energy_forces(*arguments)
        return energies * (1 + 1e-10), forces


class FusedPush(Plain):
    def energy_forces(self, *arguments):
        energies, forces = super().energy_forces(*arguments)
        return energies, forces + np.array([1e-6, 0, 0])


class Forgetful(Plain):
    calls = 0

    def energy_forces(self, *arguments):
        energies, forces = super().energy_forces(*arguments)
        self.calls += 1
        return energies, forces * (1 + 1e-15 * self.calls)


class StarOff(Plain):
    def deformed_star(self, *arguments, **options):
        energies, stresses, tangents = super().deformed_star(*arguments, **options)
        factor = 1 + 1e-10
        if tangents is None:
            tangents = np.zeros((len(energies), 3, 3, 3, 3))
        return energies * factor, stresses * factor, tangents * factor


class CountsThreads(Plain):
    def bond_gradients(self, bonds):
        energies, gradients = super().bond_gradients(bonds)
        return energies, gradients * (1 + 1e-15 * numba.get_num_threads())


class Raises(Plain):
    def bond_hessian_product(self, bonds, dvectors):
        raise RuntimeError("second derivatives are not ready")


BROKEN = {
    WrongGradient: {"gradient", "gradient: fall", "fused: forces"},
    OtherEnergies: {"energies agree"},
    WrongHessian: {"Hessian product", "Hessian product: fall"},
    LopsidedHessian: {"Hessian symmetric"},
    WrongBlocks: {"Hessian blocks"},
    Anisotropic: {"rotation: energy", "rotation: gradient"},
    OrderDependent: {"permutation: energy", "permutation: gradient"},
    Understated: {"beyond cutoff: energy", "beyond cutoff: gradient"},
    Abrupt: {"at cutoff: energy", "at cutoff: gradient"},
    UndefinedAlone: {"site without bonds"},
    SwallowsNaN: {"NaN bond", "fused: NaN position"},
    AnySpecies: {"unknown species"},
    Drifting: {"repeatable"},
    IgnoresWeights: {"fused: forces", "fused: gradient", "fused: gradient: fall"},
    FusedEnergyOff: {"fused: energies"},
    FusedPush: {"fused: momentum"},
    Forgetful: {"fused: repeatable"},
    StarOff: {"star: energy", "star: stress", "star: tangent", "star: without tangent"},
    Raises: {"hessian", "blocks"},
}


@pytest.mark.parametrize("broken", BROKEN)
def test_kit_catches(broken):
    report = check_potential(broken())
    assert not report.passed
    assert BROKEN[broken] <= set(report.failed), str(report)


@pytest.mark.skipif(
    numba.config.NUMBA_NUM_THREADS == 1, reason="the number of threads cannot be varied"
)
def test_kit_catches_dependence_on_threads():
    assert "threads" in check_potential(CountsThreads()).failed


def test_every_check_has_a_potential_that_fails_it():
    names = {c.name for c in check_potential(Plain()).checks if c.bound is not None}
    assert names - set().union(*BROKEN.values()) <= {"threads", "fused: threads"}


def test_kit_reports_what_is_not_offered():
    class Bare(Plain):
        pair_list = "none"
        fused_star = False

    report = check_potential(Bare())
    assert report.passed
    assert report["energy_forces"].bound is None
    assert "fused: forces" not in report
    assert "not offered" in str(report)


# --- forms, by hand ---------------------------------------------------------------------------


def dimer(r, species=(0, 0)):
    vectors = np.array([[0.0, 0.0, r], [0.0, 0.0, -r]])
    return Bonds(np.array([0, 1, 2]), vectors, np.array(species), np.array(species[::-1]))


@pytest.mark.parametrize("r", [3.2, 3.816, 5.0])
def test_lennard_jones_value(r):
    potential = LennardJones("Ar", 0.0104, 3.4, cutoff=10.0)
    expected = 4 * 0.0104 * ((3.4 / r) ** 12 - (3.4 / r) ** 6)
    assert potential.site_energies(dimer(r)).sum() == pytest.approx(expected, rel=1e-14)


def test_lennard_jones_shifted_is_the_textbook_form():
    rc, r = 8.5, 5.0
    potential = LennardJones("Ar", 0.0104, 3.4, cutoff=rc, truncation="shift_force")

    def phi(x):
        return 4 * 0.0104 * ((3.4 / x) ** 12 - (3.4 / x) ** 6)

    slope = 4 * 0.0104 * (-12 * 3.4**12 / rc**13 + 6 * 3.4**6 / rc**7)
    expected = phi(r) - phi(rc) - (r - rc) * slope
    assert potential.site_energies(dimer(r)).sum() == pytest.approx(expected, rel=1e-13)
    assert potential.site_energies(dimer(rc - 1e-7)).sum() == pytest.approx(0.0, abs=1e-15)


def test_binary_parameters_reach_the_right_pairs():
    potential = LennardJones(["Ar", "Kr"], [[1, 2], [2, 3]], 3.4, cutoff=10.0)
    depth = [
        potential.site_energies(dimer(3.4 * 2 ** (1 / 6), p)).sum()
        for p in ((0, 0), (0, 1), (1, 1))
    ]
    assert depth == pytest.approx([-1.0, -2.0, -3.0], rel=1e-12)


def test_morse_is_lowest_at_its_distance():
    potential = Morse("Cu", 0.343, 1.359, 2.866, cutoff=7.0)
    energies, gradients = potential.bond_gradients(dimer(2.866))
    assert energies.sum() == pytest.approx(-0.343, rel=1e-14)
    assert np.abs(gradients).max() < 1e-15


def test_toy_form():
    """Two atoms: half of phi each, and G of one neighbour's density."""
    toy, r = ToyEAM(), 1.1
    phi = np.exp(-2 * 4.4 * 0.1) - 2 * np.exp(-4.4 * 0.1)
    d = np.exp(-3.0 * r) - 6 * np.exp(-0.9 * 3.0)
    expected = 0.5 * phi + 5.0 * (d**2 + d**4)
    assert toy.site_energies(dimer(r)) == pytest.approx([expected] * 2, rel=1e-14)


def test_finnis_sinclair_density_is_that_at_the_centre_from_the_neighbour():
    n, dr = 200, 0.02
    r = dr * np.arange(n)
    taper = np.where(r < 3.0, 1.0, 0.0) * (1 - r / 3.0) ** 4
    potential = EAM(
        ["A", "B"],
        dr=dr,
        rphi=np.zeros((2, 2, n)),
        density=np.array([[[1.0], [2.0]], [[3.0], [4.0]]]) * taper,
        drho=0.05,
        # F_A(rho) = rho, F_B(rho) = 10 rho
        embedding=np.array([[1.0], [10.0]]) * 0.05 * np.arange(400),
    )
    one = (1 - 1.0 / 3.0) ** 4
    assert potential.finnis_sinclair
    assert potential.site_energies(dimer(1.0, (0, 1))) == pytest.approx(
        [2.0 * one, 30.0 * one], rel=1e-7
    )


def test_density_beyond_the_table_continues_linearly():
    n, dr = 100, 0.05
    rho = 0.01 * np.arange(50)
    potential = EAM(
        ["A"],
        dr=dr,
        rphi=np.zeros((1, 1, n)),
        density=np.ones((1, n)),
        drho=0.01,
        embedding=(rho**2)[None],
    )
    count, end = 7, rho[-1]
    vectors = np.random.default_rng(1).normal(size=(count, 3))
    bonds = Bonds(np.array([0, count]), vectors, np.zeros(1, int), np.zeros(count, int))
    expected = end**2 + 2 * end * (count - end)
    assert potential.site_energies(bonds) == pytest.approx([expected], rel=1e-12)


def test_alloy_of_one_element_is_that_element():
    """With the larger atom first, the taper is the same; grids differ by what splines resolve."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(60, 3)) * 2.0
    vectors = vectors[np.linalg.norm(vectors, axis=1) > 2.3]
    k = len(vectors)
    bonds = Bonds(np.array([0, k]), vectors, np.zeros(1, int), np.zeros(k, int))
    alone = zhou2004("Al").site_energies(bonds)
    within = zhou2004("Al", "Cu").site_energies(bonds)
    assert within == pytest.approx(alone, abs=1e-9)


# --- faults -----------------------------------------------------------------------------------


def lattice_bonds():
    vectors = np.array([[2.5, 0, 0], [-2.5, 0, 0], [0, 2.5, 0]], dtype=float)
    return Bonds(np.array([0, 2, 3]), vectors, np.zeros(2, int), np.zeros(3, int))


FAULT_POTENTIALS = [zhou2004("Cu"), LennardJones("Cu", 0.4, 2.3)]


@pytest.mark.parametrize("potential", FAULT_POTENTIALS, ids=["eam", "lj"])
class TestFaults:
    def test_unknown_species(self, potential):
        with pytest.raises(UnknownSpeciesError, match=r"'CU'.*supports Cu"):
            potential.types_of(["Cu", "CU"])

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_bond_not_finite(self, potential, bad):
        bonds = lattice_bonds()
        bonds.vectors[2, 1] = bad
        for call in (potential.site_energies, potential.bond_gradients):
            with pytest.raises(InputError, match="bond 2 of site 1 is not finite"):
                call(bonds)
        with pytest.raises(InputError, match="not finite"):
            potential.bond_hessian_product(bonds, np.zeros((3, 3)))

    def test_bond_of_zero_length(self, potential):
        bonds = lattice_bonds()
        bonds.vectors[1] = 0.0
        with pytest.raises(InputError, match="bond 1 of site 0 has zero length"):
            potential.bond_gradients(bonds)

    def test_type_out_of_range(self, potential):
        bonds = lattice_bonds()
        for field, types in (
            ("site_types", np.array([0, 1])),
            ("bond_types", np.array([0, -1, 0])),
        ):
            with pytest.raises(UnknownSpeciesError, match="has type"):
                potential.site_energies(replace(bonds, **{field: types}))

    @pytest.mark.parametrize("start", [[0, 2, 4], [1, 2, 3], [0, 4, 3], []])
    def test_rows_that_do_not_fit(self, potential, start):
        bonds = replace(lattice_bonds(), start=np.array(start, dtype=int))
        with pytest.raises(InputError, match="start must rise"):
            potential.site_energies(bonds)

    @staticmethod
    def chain(n=3):
        positions = np.array([[2.5 * k, 0.0, 0.0] for k in range(n)])
        start = np.append(np.arange(n), n - 1)
        rows = np.arange(n, dtype=np.int32)
        pairs = {"start": start, "neighbours": rows[1:].copy(), "owners": rows, "half": True}
        return [positions, np.zeros(n, int), np.ones(n)], pairs

    @pytest.mark.parametrize(
        ("which", "index", "value", "message"),
        [
            (0, (1, 2), np.nan, "position of atom 1 is not finite"),
            (2, 2, np.inf, "weight of atom 2 is not finite"),
            (1, 2, 5, "atom 2 has type 5"),
            ("neighbours", 0, 9, "names atom 9"),
            ("neighbours", 1, -1, "names atom"),
            ("owners", 2, 7, "owners must name 3 atoms"),
            ("owners", 1, 0, "first rows"),
            ("start", 3, 9, "start must rise"),
        ],
    )
    def test_pairs_with_a_fault(self, potential, which, index, value, message):
        arrays, pairs = self.chain()
        (pairs if isinstance(which, str) else arrays)[which][index] = value
        with pytest.raises(InputError, match=message):
            potential.energy_forces(*arrays, Pairs(**pairs))

    def test_a_list_of_the_other_kind(self, potential):
        arrays, pairs = self.chain()
        with pytest.raises(InputError, match="half list, not a full"):
            potential.energy_forces(*arrays, Pairs(**{**pairs, "half": False}))

    def test_coincident_atoms_name_the_pair(self, potential):
        arrays, pairs = self.chain()
        arrays[0][2] = arrays[0][1]
        with pytest.raises(InputError, match="atoms 1 and 2 are at the same place"):
            potential.energy_forces(*arrays, Pairs(**pairs))

    def test_shapes_that_do_not_fit(self, potential):
        arrays, pairs = self.chain()
        for k in range(3):
            short = list(arrays)
            short[k] = arrays[k][:-1]
            with pytest.raises(InputError):
                potential.energy_forces(*short, Pairs(**pairs))
        for name in ("start", "neighbours", "owners"):
            with pytest.raises(InputError):
                potential.energy_forces(*arrays, Pairs(**{**pairs, name: pairs[name][:-1]}))

    def test_no_atoms(self, potential):
        none = np.empty(0, dtype=np.int32)
        pairs = Pairs(np.zeros(1, dtype=np.int64), none, none, True)
        energies, forces = potential.energy_forces(np.empty((0, 3)), [], [], pairs)
        assert energies.shape == (0,)
        assert forces.shape == (0, 3)

    def test_deformation_gradient_with_a_fault(self, potential):
        F = np.stack([np.eye(3)] * 3)
        F[1, 0, 0] = np.nan
        star = np.eye(3) * 2.5
        with pytest.raises(InputError, match="F of element 1 is not finite"):
            potential.deformed_star(F, star, 0, [0, 0, 0])
        with pytest.raises(InputError, match="shape"):
            potential.deformed_star(np.eye(3), star, 0, [0, 0, 0])
        with pytest.raises(UnknownSpeciesError):
            potential.deformed_star(F[:1], star, 1, [0, 0, 0])


def test_zhou_names_what_it_supports():
    with pytest.raises(UnknownSpeciesError, match=r"'Xx'.*Cu, Ag, Au"):
        zhou2004("Cu", "Xx")
    with pytest.raises(PotentialError, match="at least one"):
        zhou2004()
    with pytest.raises(PotentialError, match="distinct"):
        zhou2004("Cu", "Cu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dr": -0.1}, "dr must be positive"),
        ({"drho": np.nan}, "drho must be positive"),
        ({"rphi": np.zeros((1, 1, 3))}, "at least 5"),
        ({"rphi": np.zeros((2, 1, 9))}, "shape"),
        ({"density": np.ones((1, 8))}, "rphi has 9 values"),
        ({"density": np.full((1, 9), np.nan)}, r"density\[0, 0\] is not finite"),
        ({"cutoff": 100.0}, "beyond the tables"),
        ({"cutoff": 0.0}, "cutoff must be positive"),
        ({"masses": [1.0, 2.0]}, "masses must have one entry"),
        ({"species": ["A", "A"]}, "distinct"),
    ],
)
def test_eam_refuses(change, message):
    good = {
        "species": ["A"],
        "dr": 0.5,
        "rphi": np.zeros((1, 1, 9)),
        "density": np.zeros((1, 9)),
        "drho": 0.1,
        "embedding": np.zeros((1, 9)),
    }
    EAM(**good)
    with pytest.raises(PotentialError, match=message):
        EAM(**{**good, **change})


def test_eam_refuses_asymmetric_pairs():
    rphi = np.zeros((2, 2, 9))
    rphi[0, 1] = 1.0
    with pytest.raises(PotentialError, match="symmetric"):
        EAM(
            ["A", "B"], dr=0.5, rphi=rphi, density=np.zeros((2, 9)), drho=0.1,
            embedding=np.zeros((2, 9)),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cutoff": -1.0}, "cutoff"),
        ({"epsilon": [[1, 2], [3, 4]]}, "symmetric"),
        ({"epsilon": np.nan}, "not finite"),
        ({"sigma": -3.4}, "positive"),
        ({"truncation": "sharp"}, "smooth, shift_force"),
        ({"switch": 1.0}, "between 0 and 1"),
        ({"species": ["Ar", "Ar"]}, "distinct"),
    ],
)
def test_lennard_jones_refuses(arguments, message):
    good = {"species": ["Ar", "Kr"], "epsilon": 0.01, "sigma": 3.4, "cutoff": 8.5}
    with pytest.raises(PotentialError, match=message):
        LennardJones(**{**good, **arguments})


def test_fingerprint_follows_content():
    same = [zhou2004("Cu").fingerprint(), zhou2004("Cu").fingerprint()]
    assert same[0] == same[1]
    others = [
        zhou2004("Ag"),
        zhou2004("Cu", knots_per_density=1999),
        LennardJones("Ar", 0.01, 3.4),
        LennardJones("Kr", 0.01, 3.4),
        LennardJones("Ar", 0.01, 3.4, truncation="shift_force"),
        LennardJones("Ar", 0.01, 3.4, switch=0.7),
        LennardJones("Ar", 0.0100000001, 3.4),
        ToyEAM(),
        ToyEAM(c=5.1),
    ]
    prints = [same[0], *(p.fingerprint() for p in others)]
    assert len(set(prints)) == len(prints)


# --- the package ------------------------------------------------------------------------------


def python(code):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def test_package_refuses_another_name():
    result = python("import potentials")
    assert result.returncode != 0
    assert "imported as qc.potentials" in result.stderr


def test_package_is_light_to_import():
    result = python("import sys, qc.potentials; sys.exit('numba' in sys.modules)")
    assert result.returncode == 0, result.stderr


def test_package_names_resolve():
    import qc.potentials

    for name in qc.potentials.__all__:
        assert getattr(qc.potentials, name).__name__ == name
        assert name in dir(qc.potentials)
    with pytest.raises(AttributeError, match="Tersov"):
        _ = qc.potentials.Tersov
