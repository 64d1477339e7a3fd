"""The patch test: a homogeneous deformation of a perfect crystal, whatever the mixture.

Every energy scheme has the energy ``N V(F)`` to round-off; force blending and the self-consistent
correction are in equilibrium at any F, the correction at the predictor is at its reference; energy
blending without a correction is not, which shows that the test can fail.

Source: M. Luskin & C. Ortner, Acta Numerica 22 (2013) 397, section 3.
"""

import math
from functools import cache

import numpy as np
import pytest

from qc.coupling import SCHEMES, QuasiContinuum
from qc.crystal import bcc, fcc, triangular
from qc.farfield import HomogeneousStrain
from qc.materials import equilibrium_lattice_constant
from qc.mesh import LatticeBlock
from qc.potentials import LennardJones, Morse, ToyEAM, zhou2004
from qc.solve import relax

pytestmark = pytest.mark.physics

STRAIN = 0.03
LOMER = {"x": [1, 1, 0], "y": [0, 0, 1], "z": [1, -1, 0]}
SCREW = {"x": [1, 1, -2], "y": [-1, 1, 0], "z": [1, 1, 1]}

# Morse parameters: L. A. Girifalco & V. G. Weizer, Phys. Rev. 114 (1959) 687; cut where the bcc
# crystal is stable.
#: A crystal as a function of its lattice constant, where to look for that, and a potential.
CASES = {
    "fcc 3d EAM": (lambda a: fcc("Cu", a), 3.6, lambda: zhou2004("Cu")),
    "bcc 3d EAM": (lambda a: bcc("Fe", a), 2.87, lambda: zhou2004("Fe")),
    "fcc 3d LJ": (
        lambda a: fcc("Ar", a, **LOMER),
        5.3,
        lambda: LennardJones("Ar", 0.0104, 3.4, 7.5),
    ),
    "bcc 3d Morse": (
        lambda a: bcc("Fe", a),
        2.87,
        lambda: Morse("Fe", 0.4174, 1.3885, 2.845, 6.0, switch=0.7),
    ),
    "fcc columns EAM": (
        lambda a: fcc("Al", a, **LOMER).as_columns(),
        4.05,
        lambda: zhou2004("Al"),
    ),
    "bcc columns EAM": (lambda a: bcc("W", a, **SCREW).as_columns(), 3.16, lambda: zhou2004("W")),
    "fcc columns Morse": (
        lambda a: fcc("Cu", a).as_columns(),
        3.6,
        lambda: Morse("Cu", 0.3429, 1.3588, 2.866, 6.0),
    ),
    "bcc columns Morse": (
        lambda a: bcc("Fe", a).as_columns(),
        2.87,
        lambda: Morse("Fe", 0.4174, 1.3885, 2.845, 6.0, switch=0.7),
    ),
    "triangular toy": (lambda a: triangular("X", a), 1.0, ToyEAM),
}
EVERY = list(CASES)
ENERGY_SCHEMES = [name for name in SCHEMES if name != "bqcf"]


@cache
def case(name):
    """Crystal at its equilibrium lattice constant, and potential."""
    make, start, potential = CASES[name]
    pot = potential()
    return make(equilibrium_lattice_constant(make(start), pot)), pot


def deformation(mode, seed, size=STRAIN):
    f = np.eye(3)
    d = 2 if mode == "monolayer" else 3
    f[:d, :d] += np.random.default_rng(seed).uniform(-size, size, (d, d))
    return f


def build(name, scheme, f):
    """A model of a block of lattice cells, and how many sites that is."""
    crystal, potential = case(name)
    d = crystal.dim
    nn = crystal.nearest_neighbour
    core, blend = 1.5 * nn, 2.0 * nn
    # The block holds every atom of the patch, halo included.
    half = {"atomistic": (3, 2)}.get(scheme, (16, 12))[d - 2]
    block = LatticeBlock((-half,) * d, (half,) * d)
    return QuasiContinuum(
        crystal,
        potential,
        scheme=scheme,
        far_field=HomogeneousStrain(f),
        core=core,
        blend=blend,
        outer=block,
    ), (2 * half) ** d


def whole_energy(model, u):
    """Energy with the bulk's share, summed from sites and elements by their weights."""
    terms, rule = model.coupling.blended, model.rule
    atoms, continuum = terms.atoms, terms.continuum
    site = atoms.weights[atoms.active] * atoms.site_energies(u)
    element = continuum.point_weight * rule.evaluate(continuum.deformation(u))[0]
    return math.fsum([*site, *element, *(model.coupling.ghost * u).ravel()])


@pytest.mark.parametrize("scheme", ENERGY_SCHEMES)
@pytest.mark.parametrize("name", EVERY)
def test_energy_is_that_of_the_bulk(name, scheme):
    crystal, _ = case(name)
    for seed in (1, 2):
        f = deformation(crystal.mode, seed)
        model, sites = build(name, scheme, f)
        if scheme == "atomistic":
            sites = len(model.coupling.blended.atoms.active)
        exact = sites * float(model.rule.site_energy(f[None])[0])
        assert whole_energy(model, model.U) == pytest.approx(exact, rel=1e-12)
        assert abs(model.energy()) < 1e-12 * abs(exact)
        if scheme == "atomistic":
            # Sites of the held rim pull on free ones in full, and count for nothing.
            own = model.layout.node[model.layout.node >= 0]
            sites = int(model.layout.free.any(axis=1)[own].sum())
        assert model.n_sites == pytest.approx(sites, rel=1e-12)


@pytest.mark.parametrize("scheme", ["cauchy-born", "qce", "bqce", "bgfc", "scgfc"])
@pytest.mark.parametrize("name", EVERY)
def test_energy_is_that_of_the_bulk_when_the_nodes_carry_the_strain(name, scheme):
    # Half of the deformation in the unknowns, on a block wide enough to hold every atom.
    crystal, _ = case(name)
    f, h = deformation(crystal.mode, 3, 0.015), deformation(crystal.mode, 4, 0.015) - np.eye(3)
    h[:, crystal.dim :] = 0.0
    model, sites = build(name, scheme, f)
    u = model.layout.node_positions @ h.T
    assert np.asarray(model.layout.interpolation.sum(axis=1)).min(initial=1.0) > 1.0 - 1e-12
    exact = sites * float(model.rule.site_energy((f + h)[None])[0])
    assert whole_energy(model, u) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("scheme", ["atomistic", "cauchy-born", "bqcf", "scgfc", "bgfc"])
@pytest.mark.parametrize("name", EVERY)
def test_consistent_schemes_are_in_equilibrium(name, scheme):
    crystal, _ = case(name)
    for seed in (5, 6):
        model, _ = build(name, scheme, deformation(crystal.mode, seed))
        assert np.abs(model.forces()).max() < 1e-10
        # Somewhere there is something to be wrong about.
        assert model.n_unknowns > 20


@pytest.mark.parametrize("name", EVERY)
def test_correction_at_any_state_is_force_blending(name):
    # The self-consistent correction taken afresh where the nodes carry a strain.
    crystal, _ = case(name)
    f, h = deformation(crystal.mode, 7, 0.015), deformation(crystal.mode, 8, 0.015) - np.eye(3)
    h[:, crystal.dim :] = 0.0
    model, _ = build(name, "scgfc", f)
    u = model.layout.node_positions @ h.T
    before = np.abs(model.forces(u)).max()
    model.coupling.refresh_ghost(u)
    assert np.abs(model.forces(u)).max() < 1e-10
    # Off its reference the old correction leaves a ghost force of second order.
    assert before > 1e-6


@pytest.mark.parametrize("scheme", ["qce", "bqce"])
@pytest.mark.parametrize("name", EVERY)
def test_plain_energy_blending_visibly_fails(name, scheme):
    crystal, _ = case(name)
    model, _ = build(name, scheme, deformation(crystal.mode, 9))
    # Some percent of the force that pulls a neighbour back by its elastic modulus.
    modulus = model.rule.elastic_constants()[0, 0, 0, 0]
    area = crystal.site_volume / crystal.nearest_neighbour
    assert np.abs(model.forces()).max() > 0.002 * modulus * area
    # And the ghost force moves atoms that should stay where they are.
    if crystal.dim == 2:
        result = relax(model)
        assert result.converged
        assert np.abs(model.U).max() > 1e-4 * crystal.nearest_neighbour
        assert model.energy() < -1e-5


@pytest.mark.parametrize("name", ["fcc columns EAM", "bcc columns Morse", "triangular toy"])
def test_smooth_blending_has_smaller_ghost_forces_than_a_sharp_cut(name):
    crystal, _ = case(name)
    f = deformation(crystal.mode, 10)
    sharp, smooth = (np.abs(build(name, s, f)[0].forces()).max() for s in ("qce", "bqce"))
    assert smooth < sharp


def test_ghost_force_falls_as_the_blend_widens():
    # The second derivative of the blending function governs it: about as one over width squared.
    crystal, potential = case("fcc columns EAM")
    nn = crystal.nearest_neighbour
    sizes = []
    widths = (3.0, 6.0, 12.0)
    for width in widths:
        model = QuasiContinuum(
            crystal, potential, scheme="bqce", core=2 * nn, blend=width * nn, outer=20 * nn
        )
        sizes.append(np.abs(model.forces()).max())
    slope = np.polyfit(np.log(widths), np.log(sizes), 1)[0]
    assert slope < -1.5
