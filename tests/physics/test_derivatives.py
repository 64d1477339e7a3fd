"""Every term is the derivative of what it says, alone: differences with the step swept.

No step is right for all: truncation rules at one end, round-off at the other. The error must fall
by orders between them (a V on a logarithmic plot), which no wrong derivative does.
"""

import math
from functools import cache

import numpy as np
import pytest

from qc.continuum import slipped_edges
from qc.coupling import SCHEMES, PointDefects, QuasiContinuum
from qc.crystal import bcc, fcc, triangular
from qc.farfield import DislocationSum, HomogeneousStrain, VolterraDislocation, simple_shear
from qc.materials import CauchyBorn, equilibrium_lattice_constant
from qc.potentials import LennardJones, Morse, ToyEAM, zhou2004

pytestmark = pytest.mark.physics

STEPS = 10.0 ** -np.arange(1.0, 8.0)
LOMER = {"x": [1, 1, 0], "y": [0, 0, 1], "z": [1, -1, 0]}


def sweep(value, slope, scale=None, bound=1e-7, fall=1e-3, steps=STEPS):
    """Central differences of ``value(h)`` against a slope; returns the best relative error.

    The best error keeps the bound and lies far below that at the longest step.
    """
    slope = np.asarray(slope)
    scale = np.linalg.norm(slope) if scale is None else scale
    errors = []
    for h in steps:
        difference = (value(h) - value(-h)) / (2 * h)
        if difference.shape != slope.shape:
            difference = math.fsum(difference.ravel())
        errors.append(float(np.linalg.norm(difference - slope)) / scale)
    best = min(errors)
    assert best < bound, errors
    assert best < fall * errors[0] or errors[0] < bound, errors
    return best


# -- the Cauchy-Born rule -------------------------------------------------------------------------

RULES = {
    "EAM fcc": (lambda a: fcc("Cu", a), 3.6, lambda: zhou2004("Cu")),
    "EAM bcc": (lambda a: bcc("Fe", a), 2.87, lambda: zhou2004("Fe")),
    "LJ fcc": (lambda a: fcc("Ar", a), 5.3, lambda: LennardJones("Ar", 0.0104, 3.4, 8.5)),
    "Morse fcc": (lambda a: fcc("Cu", a), 3.6, lambda: Morse("Cu", 0.3429, 1.3588, 2.866, 6.0)),
    "toy triangular": (lambda a: triangular("X", a), 1.0, ToyEAM),
}


@cache
def rule(name):
    make, start, potential = RULES[name]
    pot = potential()
    return CauchyBorn(make(equilibrium_lattice_constant(make(start), pot)), pot)


def strained(cb, n, seed, size=0.03):
    rng = np.random.default_rng(seed)
    d = 2 if cb.crystal.mode == "monolayer" else 3
    f, direction = np.tile(np.eye(3), (n, 1, 1)), np.zeros((n, 3, 3))
    f[:, :d, :d] += rng.uniform(-size, size, (n, d, d))
    direction[:, :d, :d] = rng.normal(size=(n, d, d))
    return f, direction


@pytest.mark.parametrize("name", RULES)
def test_stress_is_the_derivative_of_the_energy_density(name):
    cb = rule(name)
    f, g = strained(cb, 20, 0)
    slope = np.einsum("nij,nij->n", cb.evaluate(f)[1], g)
    sweep(lambda h: cb.evaluate(f + h * g)[0], slope, steps=STEPS[1:])


@pytest.mark.parametrize("name", RULES)
def test_tangent_is_the_derivative_of_the_stress(name):
    cb = rule(name)
    f, g = strained(cb, 20, 1)
    slope = np.einsum("nijkl,nkl->nij", cb.evaluate(f, tangent=True)[2], g)
    sweep(lambda h: cb.evaluate(f + h * g)[1], slope, steps=STEPS[1:])


# -- coupled models -------------------------------------------------------------------------------


@cache
def setting(name):
    """Options of a small model with something in it."""
    if name == "lomer":
        potential = zhou2004("Al")
        a = equilibrium_lattice_constant(fcc("Al", 4.05), potential)
        crystal = fcc("Al", a, **LOMER).as_columns()
        moduli = CauchyBorn(crystal, potential).elastic_constants()
        core = np.array([0.25 * crystal.cell[0, 0], 0.25 * a])
        b = crystal.cell[0]
        one = VolterraDislocation(moduli, b, core)
        field = DislocationSum(
            [one, VolterraDislocation(moduli, -b, core + np.array([9 * b[0], 0.0]))],
            simple_shear(0.01),
        )
        return crystal, potential, {
            "far_field": field, "core": 2 * a, "blend": 2 * a, "outer": 14 * a
        }  # fmt: skip
    if name == "single lomer":
        crystal, potential, options = setting("lomer")
        one = options["far_field"].dislocations[0]
        return crystal, potential, {**options, "far_field": one}
    if name == "triangular":
        potential = ToyEAM()
        crystal = triangular("X", rule("toy triangular").crystal.a)
        hole = PointDefects(vacant=[(0, 0, 0)])
        return crystal, potential, {"core": 3.0, "blend": 3.0, "outer": 14.0, "defects": hole}
    potential = zhou2004("Cu")
    a = rule("EAM fcc").crystal.a
    size = {"core": 1.75 * a, "blend": 1.5 * a, "outer": 7 * a}
    if name == "dumbbell 3d":
        crystal = fcc("Cu", a)
        atoms = [("Cu", (s * 0.3 * a, 0.0, 0.0)) for s in (1, -1)]
        return crystal, potential, {
            **size, "outer": 5 * a, "defects": PointDefects(vacant=[(0, 0, 0)], extra=atoms)
        }  # fmt: skip
    f = np.eye(3) + np.random.default_rng(8).uniform(-0.02, 0.02, (3, 3))
    hole = PointDefects(vacant=[(0, 0, 0)])
    options = {**size, "defects": hole, "far_field": HomogeneousStrain(f)}
    return fcc("Cu", a).as_columns(), potential, options


SETTINGS = ["strained vacancy", "dumbbell 3d", "triangular", "lomer", "single lomer"]


@cache
def model(name, scheme):
    crystal, potential, options = setting(name)
    if scheme == "atomistic":
        options = {**options, "outer": {"lomer": 9, "single lomer": 5}.get(name, 3) * crystal.a}
    if scheme == "cauchy-born":
        options = {k: v for k, v in options.items() if k != "defects"}
    return QuasiContinuum(crystal, potential, scheme=scheme, **options)


def combinations():
    for name in SETTINGS:
        for scheme in SCHEMES:
            # A continuum around a dislocation core is none: its elements do not close.
            if scheme == "cauchy-born" and "lomer" in name:
                continue
            yield name, scheme


def perturbed(m, seed=0, size=0.05):
    rng = np.random.default_rng(seed)
    free = m.layout.free
    u = np.where(free, rng.uniform(-size, size, free.shape), 0.0)
    return u, np.where(free, rng.uniform(-1.0, 1.0, free.shape), 0.0)


def test_dislocation_models_have_elements_that_are_cut():
    for name in ("lomer", "single lomer"):
        m = model(name, "bqce")
        term = m.coupling.blended.continuum
        cut = ~np.isnan(slipped_edges(m.mesh.positions[term.elements], m.far_field)[1])
        assert cut.sum() > 2
        # Their reference volumes and gradients are those of the slipped crystal.
        plain = m.mesh.gradients[term.active[cut]]
        assert np.abs(term.gradients[cut] - plain).max() > 0.01


def weighted_sites(atoms):
    return lambda v: atoms.weights[atoms.active] * (atoms.site_energies(v) - atoms.reference)


def energy_scale(f, d):
    """What the product of unrelated vectors of these sizes comes to."""
    return float(np.linalg.norm(f * d))


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("scheme", ["bqce", "bqcf"])
def test_sites_alone(name, scheme):
    m = model(name, scheme)
    terms = m.coupling.blended if scheme == "bqce" else m.coupling.pure
    u, d = perturbed(m, 1)
    value, f = weighted_sites(terms.atoms), terms.atoms.forces(u)
    scale = energy_scale(f, d)
    sweep(lambda h: value(u + h * d), -np.vdot(f, d), scale, steps=STEPS[1:])


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("scheme", ["bqce", "bqcf"])
def test_elements_alone(name, scheme):
    m = model(name, scheme)
    terms = m.coupling.blended if scheme == "bqce" else m.coupling.pure
    u, d = perturbed(m, 2)
    value, f = terms.continuum.point_energies, terms.continuum.forces(u)
    scale = energy_scale(f, d)
    sweep(lambda h: value(u + h * d), -np.vdot(f, d), scale, steps=STEPS[1:])


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("scheme", ["bgfc", "scgfc"])
def test_ghost_correction_alone(name, scheme):
    m = model(name, scheme)
    u, d = perturbed(m, 3)
    terms = m.coupling.blended

    def correction(v):
        return np.array(m.energy(v) - terms.atoms.energy(v) - terms.continuum.energy(v))

    f = np.where(m.layout.free, m.forces(u) - terms.forces(u), 0.0)
    assert np.abs(f).max() > 1e-3
    sweep(lambda h: correction(u + h * d), -np.vdot(f, d), energy_scale(f, d))


@pytest.mark.parametrize(("name", "scheme"), [c for c in combinations() if c[1] != "bqcf"])
def test_whole_energy(name, scheme):
    m = model(name, scheme)
    u, d = perturbed(m, 4)
    f = m.forces(u)
    scale = energy_scale(f, d)
    sweep(lambda h: m.coupling.energy_terms(u + h * d), -np.vdot(f, d), scale, steps=STEPS[1:])


@pytest.mark.parametrize(("name", "scheme"), list(combinations()))
def test_hessian_product(name, scheme):
    m = model(name, scheme)
    u, d = perturbed(m, 5)
    sweep(lambda h: -m.forces(u + h * d), m.hessian_product(u, d), steps=STEPS[1:])


@pytest.mark.parametrize("name", SETTINGS)
def test_hessian_product_of_each_term(name):
    terms = model(name, "bqce").coupling.blended
    u, d = perturbed(model(name, "bqce"), 6)
    atoms, continuum = terms.atoms, terms.continuum
    product = atoms.transposed @ atoms.hessian_product(u, d)
    sweep(lambda h: -atoms.forces(u + h * d), product, steps=STEPS[1:])
    product = continuum.hessian_product(u, d)
    sweep(lambda h: -continuum.forces(u + h * d), product, steps=STEPS[1:])


@pytest.mark.parametrize(("name", "scheme"), list(combinations()))
def test_hessian_is_symmetric_where_there_is_an_energy(name, scheme):
    m = model(name, scheme)
    u, v = perturbed(m, 7)
    _, w = perturbed(m, 8)
    hv, hw = m.hessian_product(u, v), m.hessian_product(u, w)
    gap = abs(np.vdot(w, hv) - np.vdot(v, hw))
    scale = np.linalg.norm(v) * np.linalg.norm(hw)
    if scheme == "bqcf":
        assert gap > 1e-6 * scale
    else:
        assert gap < 1e-12 * scale


def test_a_wrong_derivative_does_not_pass():
    m = model("strained vacancy", "bqce")
    u, d = perturbed(m, 9)
    f = m.forces(u)
    wrong = -1.00001 * np.vdot(f, d)
    with pytest.raises(AssertionError):
        sweep(lambda h: m.coupling.energy_terms(u + h * d), wrong, abs(np.vdot(f, d)))
    hessian = m.hessian_product(u, d)
    with pytest.raises(AssertionError):
        sweep(lambda h: -m.forces(u + h * d), hessian + 1e-4 * d)


# -- loads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["strained vacancy", "lomer", "single lomer"])
def test_predictor_gradient(name):
    field = setting(name)[2]["far_field"]
    rng = np.random.default_rng(10)
    x = rng.uniform(-25.0, 25.0, (60, 3))
    for one in getattr(field, "dislocations", ()):
        off = x[:, :2] - one.position
        # Away from cores and off the cut, across which the displacement jumps.
        x = x[(np.linalg.norm(off, axis=1) > 6.0) & (np.abs(off[:, 1]) > 1.0)]
    d = rng.normal(size=x.shape)
    slope = np.einsum("nij,nj->ni", field.gradient(x), d)
    sweep(lambda h: field.displacement(x + h * d), slope, scale=np.linalg.norm(d))
    y = x + field.displacement(x)
    np.testing.assert_allclose(field.gradient_at(y), field.gradient(x), atol=1e-9)


@pytest.mark.parametrize("scheme", ["atomistic", "cauchy-born", "bqce"])
@pytest.mark.parametrize("name", ["strained vacancy", "triangular"])
def test_energy_follows_the_mean_deformation(name, scheme):
    # Moving the predictor moves atoms, period and elements together: the work of the load on the
    # whole, bulk included, is that of its stresses.
    m = model(name, scheme)
    u, _ = perturbed(m, 11)
    mean = np.asarray(m.far_field.mean_deformation)
    g = np.zeros((3, 3))
    k = m.crystal.dim if m.crystal.mode == "monolayer" else 3
    g[:k, :k] = np.random.default_rng(12).normal(size=(k, k))

    def energy(h):
        moved = m.with_strain(mean + h * g)
        t = moved.coupling.blended
        site = t.atoms.weights[t.atoms.active] * t.atoms.site_energies(u)
        w = moved.rule.evaluate(t.continuum.deformation(u))[0]
        return np.concatenate([site, t.continuum.point_weight * w])

    t = m.coupling.blended
    stress = m.rule.evaluate(t.continuum.deformation(u))[1]
    slope = np.einsum("q,qij,ij->", t.continuum.point_weight, stress, g)
    if not t.atoms.empty:
        t.atoms.energy(u)
        bonds, i, j = t.atoms.engine._bonds(t.atoms.positions(u))
        gradients = t.atoms.weights[i, None] * m.potential.bond_gradients(bonds)[1]
        # Reference bonds of the predictor: what is left when the correctors are taken away.
        moved = (t.atoms.interpolation @ u)[j] - (t.atoms.interpolation @ u)[i]
        reference = (bonds.vectors - moved) @ np.linalg.inv(mean).T
        slope += np.einsum("bi,bj,ij->", gradients, reference, g)
    sweep(lambda h: energy(h), slope, scale=abs(slope), steps=STEPS[2:], bound=1e-6)
