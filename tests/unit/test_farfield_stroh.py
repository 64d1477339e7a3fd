"""The elastic field of one dislocation against closed forms, matscipy and its own equations."""

import numpy as np
import pytest

import qc.farfield as farfield
from qc.crystal import fcc, triangular
from qc.errors import InputError
from qc.farfield.elastic import to_voigt, without_stress
from qc.materials import CauchyBorn
from qc.potentials import LennardJones

dislocation_oracle = pytest.importorskip("matscipy.dislocation")

# Elastic constants in eV/Angstrom^3 (from GPa, Hirth & Lothe, appendix 1): Cu is strongly
# anisotropic, Al nearly isotropic.
GPA = 1.0 / 160.21766208
CU = np.array([168.4, 121.4, 75.4]) * GPA
AL = np.array([108.2, 61.3, 28.5]) * GPA
MU, NU = 0.17, 0.345


def rotation(*axes):
    return np.array([np.array(v, float) / np.linalg.norm(v) for v in axes])


LOMER = rotation((1, 1, 0), (0, 0, 1), (1, -1, 0))
MIXED = rotation((1, 1, -2), (1, 1, 1), (1, -1, 0))
GENERAL = rotation((1, 2, -1), (1, 0, 1), (2, -2, -2))


def ring(radius=7.3, n=41, low=-3.0, high=3.0):
    angle = np.linspace(low, high, n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), 0.1 * angle], axis=1)


def textbook(elastic, burgers, **kwargs):
    return farfield.VolterraDislocation(elastic, burgers, self_consistent=False, **kwargs)


def cases():
    yield "lomer", farfield.cubic_elastic(*AL, rotation=LOMER), (2.86, 0.0, 0.0)
    yield "sixty", farfield.cubic_elastic(*CU, rotation=MIXED), (2.2, 0.0, 1.3)
    yield "general", farfield.cubic_elastic(*CU, rotation=GENERAL), (1.0, -2.0, 1.5)
    yield "isotropic", farfield.isotropic_elastic(MU, NU), (1.0, 0.7, -0.4)


ALL = pytest.mark.parametrize(
    ("elastic", "burgers"), [c[1:] for c in cases()], ids=[c[0] for c in cases()]
)


def test_isotropic_edge_and_screw_are_volterras():
    # Hirth & Lothe, Theory of Dislocations, chapter 3.
    x = ring()
    angle = np.arctan2(x[:, 1], x[:, 0])
    r2 = x[:, 0] ** 2 + x[:, 1] ** 2
    edge = np.zeros_like(x)
    edge[:, 0] = angle + x[:, 0] * x[:, 1] / (2.0 * (1.0 - NU) * r2)
    edge[:, 1] = -((1.0 - 2.0 * NU) * np.log(r2) + (x[:, 0] ** 2 - x[:, 1] ** 2) / r2)
    edge[:, 1] /= 4.0 * (1.0 - NU)
    screw = np.zeros_like(x)
    screw[:, 2] = angle
    elastic = farfield.isotropic_elastic(MU, NU)
    for burgers, expected in (((2.5, 0, 0), edge), ((0, 0, 2.5), screw)):
        u = textbook(elastic, burgers).displacement(x)
        difference = u - 2.5 / (2.0 * np.pi) * expected
        # A rigid translation is free; the perturbation of the degenerate tensor costs 5e-11.
        assert np.ptp(difference, axis=0).max() < 1e-9
        assert np.ptp(u, axis=0).max() > 1.0


@ALL
def test_equilibrium(elastic, burgers):
    field = textbook(elastic, burgers)
    x = ring(n=17)
    worst = []
    for step in 10.0 ** -np.arange(1, 7):
        second = np.zeros((len(x), 3, 3, 3))
        for k in range(2):
            shift = np.zeros(3)
            shift[k] = step
            second[..., k] = (field.gradient(x + shift) - field.gradient(x - shift)) / (2 * step)
        force = np.einsum("ijkl,nklj->ni", elastic, second)
        worst.append(np.abs(force).max() / (np.abs(elastic).max() * np.abs(second).max()))
    assert min(worst) < 1e-8
    assert worst[0] > 100 * min(worst)
    # Negative control: the same displacements are not in equilibrium in another crystal.
    other = elastic.copy()
    other[0, 0, 0, 0] *= 1.2
    force = np.einsum("ijkl,nklj->ni", other, second)
    assert np.abs(force).max() > 1e-3 * np.abs(elastic).max() * np.abs(second).max()


@ALL
def test_gradient_is_the_derivative_of_the_displacement(elastic, burgers):
    field = textbook(elastic, burgers)
    x = ring(n=17)
    errors = []
    for step in 10.0 ** -np.arange(1, 9):
        numeric = np.zeros((len(x), 3, 3))
        for k in range(3):
            shift = np.zeros(3)
            shift[k] = step
            numeric[:, :, k] = (field.displacement(x + shift) - field.displacement(x - shift)) / (
                2 * step
            )
        errors.append(np.abs(numeric - field.gradient(x)).max())
    assert min(errors) < 1e-10
    assert errors[0] > 1e4 * min(errors)
    assert errors[-1] > 10 * min(errors)


@ALL
def test_burgers_circuit_and_jump_at_the_cut(elastic, burgers):
    for cut in ((-1.0, 0.0), (0.3, 0.8)):
        field = textbook(elastic, burgers, position=(0.4, -0.2), cut_direction=cut)
        for radius in (3.0, 50.0):
            # Periodic integrand: the rectangle rule converges faster than any power.
            angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
            x = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1) * radius
            x[:, :2] += field.position
            along = np.stack([-np.sin(angle), np.cos(angle), 0 * angle], axis=1) * radius
            circuit = np.einsum("nij,nj->i", field.gradient(x), along) * 2 * np.pi / len(angle)
            np.testing.assert_allclose(circuit, burgers, atol=1e-9)
            e1, e2 = field.field.stroh.frame[:2]
            at = np.array([*field.position, 0.0]) - radius * e1
            above, below = field.displacement(np.array([at + 1e-9 * e2, at - 1e-9 * e2]))
            np.testing.assert_allclose(above - below, burgers, atol=1e-8)
            # Nowhere else does it jump.
            turned = np.linspace(-np.pi + 1e-6, np.pi - 1e-6, 4001)
            circle = np.outer(np.cos(turned), e1) + np.outer(np.sin(turned), e2)
            u = field.displacement(circle * radius + [*field.position, 0.0])
            assert np.abs(np.diff(u, axis=0)).max() < 0.01


@pytest.mark.parametrize("axes", [LOMER, MIXED, GENERAL])
def test_agrees_with_matscipy(axes):
    # matscipy.dislocation.AnisotropicDislocation: glide direction m = n x line, cut along -m.
    burgers = np.array([1.7, -0.6, 1.1])
    oracle = dislocation_oracle.AnisotropicDislocation(
        axes, axes[1], axes[2], axes.T @ burgers, C11=CU[0], C12=CU[1], C44=CU[2]
    )
    field = textbook(farfield.cubic_elastic(*CU, rotation=axes), burgers)
    x = ring(radius=4.0)
    difference = field.displacement(x) - oracle.displacement(x)
    assert np.ptp(difference, axis=0).max() < 1e-12
    # matscipy returns the transpose of [n, i, j] and adds the identity.
    theirs = oracle.deformation_gradient(x).transpose(0, 2, 1) - np.eye(3)
    np.testing.assert_allclose(field.gradient(x), theirs, atol=1e-12)


def test_self_consistent_displacement_agrees_with_matscipy():
    # The bcc <111> edge dislocation of matscipy, solved by its own mixing iteration.
    c11, c12, c44 = np.array([230.0, 134.0, 117.0])
    oracle = dislocation_oracle.BCCEdge111Dislocation(2.87, c11, c12, c44)
    axes = rotation(*np.array(oracle.axes))
    burgers = axes @ oracle.burgers
    angle = np.linspace(-2.6, 2.6, 23)
    x = np.stack([9 * np.cos(angle), 9 * np.sin(angle), 0 * angle], axis=1)
    theirs = oracle.displacements(
        x, np.zeros((1, 3)), method="adsl", self_consistent=True, tol=1e-12, verbose=False
    )
    elastic = farfield.cubic_elastic(c11 * GPA, c12 * GPA, c44 * GPA, rotation=axes)
    # The two gauges differ by a rigid translation of the linear field, which shifts X.
    plain = oracle.displacements(
        x, np.zeros((1, 3)), method="adsl", self_consistent=False, verbose=False
    )
    shift = plain - textbook(elastic, burgers).displacement(x)
    assert np.ptp(shift, axis=0).max() < 1e-10
    shift = shift.mean(axis=0)
    field = farfield.VolterraDislocation(elastic, burgers)
    ours = field.displacement(x + shift) + shift
    np.testing.assert_allclose(ours, theirs, atol=1e-10)
    assert np.abs(theirs - plain).max() > 1e-2


def test_energy_prefactor_in_closed_form():
    b = 2.5
    elastic = farfield.isotropic_elastic(MU, NU)
    edge = farfield.VolterraDislocation(elastic, (b, 0, 0)).energy_prefactor
    screw = farfield.VolterraDislocation(elastic, (0, 0, b)).energy_prefactor
    assert edge == pytest.approx(MU * b * b / (4 * np.pi * (1 - NU)), rel=1e-8)
    assert screw == pytest.approx(MU * b * b / (4 * np.pi), rel=1e-8)
    # Cubic crystal, line <110>, plane (001): Hirth & Lothe, chapter 13.
    c = to_voigt(farfield.cubic_elastic(*CU, rotation=LOMER))
    mean = np.sqrt(c[0, 0] * c[1, 1])
    root = c[5, 5] * (mean - c[0, 1]) / (mean + c[0, 1] + 2 * c[5, 5])
    factors = [
        (mean + c[0, 1]) * np.sqrt(root / c[1, 1]),
        (mean + c[0, 1]) * np.sqrt(root / c[0, 0]),
        np.sqrt(CU[2] * (CU[0] - CU[1]) / 2),
    ]
    for k, expected in enumerate(factors):
        burgers = b * np.eye(3)[k]
        value = textbook(farfield.cubic_elastic(*CU, rotation=LOMER), burgers).energy_prefactor
        assert value == pytest.approx(expected * b * b / (4 * np.pi), rel=1e-10)


def test_energy_prefactor_is_the_work_on_the_cut():
    # Energy per length between two radii: half the traction times b along the cut, which must be
    # the same for every cut direction.
    burgers = np.array([1.0, -2.0, 1.5])
    elastic = farfield.cubic_elastic(*CU, rotation=GENERAL)
    for cut in ((-1.0, 0.0), (0.2, 0.9)):
        field = textbook(elastic, burgers, cut_direction=cut)
        e1, e2 = field.field.stroh.frame[:2]
        stress = np.einsum("ijkl,kl->ij", elastic, field.gradient(-3.0 * e1[None])[0])
        work = 0.5 * 3.0 * burgers @ stress @ e2
        assert abs(work) == pytest.approx(field.energy_prefactor, rel=1e-9)


def test_rotating_the_crystal_rotates_the_field():
    t = 0.7
    turn = np.array([[np.cos(t), -np.sin(t), 0], [np.sin(t), np.cos(t), 0], [0, 0, 1]])
    elastic = farfield.cubic_elastic(*CU, rotation=GENERAL)
    turned = np.einsum("ia,jb,kc,ld,abcd->ijkl", turn, turn, turn, turn, elastic)
    burgers, cut = np.array([2.0, 0, 1.0]), np.array([-1.0, 0, 0])
    x = ring()
    one = farfield.VolterraDislocation(elastic, burgers, (1.0, 2.0))
    two = farfield.VolterraDislocation(
        turned, turn @ burgers, (turn @ [1.0, 2.0, 0])[:2], (turn @ cut)[:2]
    )
    np.testing.assert_allclose(
        one.displacement(x) @ turn.T, two.displacement(x @ turn.T), atol=1e-11
    )


def test_voigt_and_full_tensor_agree():
    elastic = farfield.cubic_elastic(*CU, rotation=GENERAL)
    np.testing.assert_allclose(farfield.elastic_tensor(to_voigt(elastic)), elastic, atol=1e-15)


def test_monolayer_is_plane_elasticity():
    # A triangular monolayer is isotropic in its plane: the edge has the closed form with the
    # plane Poisson ratio C12/C11 in place of nu/(1-nu).
    mu, bulk = 0.5, 1.0
    elastic = np.zeros((3, 3, 3, 3))
    flat = np.eye(2)
    elastic[:2, :2, :2, :2] = (bulk - mu) * np.einsum("ij,kl->ijkl", flat, flat) + mu * (
        np.einsum("ik,jl->ijkl", flat, flat) + np.einsum("il,jk->ijkl", flat, flat)
    )
    solid = farfield.isotropic_elastic(mu, (bulk - mu) / (2 * bulk))
    x = ring() * [1, 1, 0]
    for burgers in ((1.0, 0, 0), (0.5, 0.8, 0)):
        plane, full = textbook(elastic, burgers), textbook(solid, burgers)
        np.testing.assert_allclose(plane.displacement(x), full.displacement(x), atol=1e-9)
        assert not plane.displacement(x)[:, 2].any()
    with pytest.raises(InputError, match="monolayer"):
        textbook(elastic, (1.0, 0.0, 0.5))


def _swapped(i, j, value):
    matrix = to_voigt(farfield.isotropic_elastic(MU, NU))
    matrix[i, j] = value
    return matrix


@pytest.mark.parametrize(
    ("elastic", "message"),
    [
        (np.full((6, 6), np.nan), "nan"),
        (np.eye(5), "shape"),
        (np.zeros((6, 6)), "positive definite"),
        (_swapped(3, 3, -0.1), "positive definite"),
        (_swapped(0, 1, 0.9), "symmetry"),
        ([[1, 2], [3]], "real numbers"),
        (np.eye(6) * 1j, "real numbers"),
    ],
)
def test_unusable_elastic_tensors_are_refused(elastic, message):
    with pytest.raises(InputError, match=message):
        farfield.VolterraDislocation(elastic, (2.0, 0, 0))


def test_a_tensor_without_minor_symmetry_is_refused():
    elastic = farfield.isotropic_elastic(MU, NU)
    elastic[0, 1, 0, 1] *= 1.1
    with pytest.raises(InputError, match="C_jikl"):
        farfield.elastic_tensor(elastic)


def test_unusable_constants_are_refused():
    with pytest.raises(InputError, match="positive definite"):
        farfield.cubic_elastic(1.0, 1.1, 0.5)
    with pytest.raises(InputError, match="orthogonal"):
        farfield.cubic_elastic(*CU, rotation=np.ones((3, 3)))
    for nu in (0.5, 0.6, -1.0, np.nan):
        with pytest.raises(InputError):
            farfield.isotropic_elastic(1.0, nu)


#: Argon, and what its lattices without stress are in this potential.
ARGON = LennardJones("Ar", 0.0104, 3.4)
LATTICES = {
    "fcc": (lambda scale: fcc("Ar", 5.2668090 * scale).as_columns(), (3.7, 0.0, 0.0)),
    "monolayer": (lambda scale: triangular("Ar", 3.7740164 * scale), (3.8, 0.0, 0.0)),
}


@pytest.mark.parametrize("lattice", LATTICES)
def test_a_lattice_constant_that_is_slightly_off_is_accepted(lattice):
    make, burgers = LATTICES[lattice]

    def prefactor(scale):
        moduli = CauchyBorn(make(scale), ARGON).elastic_constants()
        return textbook(moduli, burgers).field.energy_prefactor()

    exact = prefactor(1.0)
    for off in (1e-9, 1e-5, -1e-4):
        assert prefactor(1.0 + off) == pytest.approx(exact, rel=50 * abs(off))
    for off, words in ((0.01, r"about 1\.\d? % shorter"), (-0.01, r"about (0\.\d+|1) % longer")):
        with pytest.raises(InputError, match=f"the crystal is under stress.*{words}"):
            prefactor(1.0 + off)


def test_stress_and_moduli_are_told_apart():
    """Against the stress itself, under a strain that is neither small nor symmetric to the axes."""
    strained = CauchyBorn(fcc("Ar", 5.3), ARGON)
    f = np.eye(3) + 0.02 * np.array([[1.0, 0.4, 0.0], [0.4, -0.5, 0.3], [0.0, 0.3, 0.2]])
    _, p, tangent = strained.evaluate(f[None], tangent=True)
    # The tangent of the strained crystal, taken as the reference.
    volume = np.linalg.det(f)
    here = np.einsum("ijkl,aj,bl->iakb", tangent[0], f, f) / volume
    moduli, stress = without_stress(here)
    np.testing.assert_allclose(stress, p[0] @ f.T / volume, atol=1e-12)
    for axes in ("ijkl->jikl", "ijkl->klij"):
        np.testing.assert_allclose(moduli, np.einsum(axes, moduli), atol=1e-12)
