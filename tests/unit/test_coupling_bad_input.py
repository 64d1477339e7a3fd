"""Models that cannot be built, and states that cannot be: what the message says."""

from functools import cache

import numpy as np
import pytest

from qc.coupling import PointDefects, QuasiContinuum
from qc.coupling.blend import Blend
from qc.coupling.layout import patch_sites
from qc.coupling.schemes import get_scheme
from qc.crystal import fcc, hcp
from qc.errors import (
    CapabilityError,
    InputError,
    InvertedElementError,
    MeshError,
    NonFiniteError,
    RegionError,
    UnknownSpeciesError,
)
from qc.farfield import VolterraDislocation
from qc.materials import CauchyBorn
from qc.mesh import CoreSet
from qc.potentials import EAM, LennardJones, zhou2004

A = 3.6149603
HOLE = PointDefects(vacant=[(0, 0, 0)])


@cache
def copper():
    return zhou2004("Cu"), fcc("Cu", A).as_columns()


def model(scheme="bgfc", **options):
    potential, crystal = copper()
    size = {"core": 1.75 * A, "blend": 1.5 * A, "outer": 7 * A, "defects": HOLE}
    return QuasiContinuum(crystal, potential, scheme=scheme, **(size | options))


# -- regions that are too thin --------------------------------------------------------------------


def test_core_thinner_than_the_cutoff_names_the_minimum():
    reach = copper()[0].cutoff
    message = rf"core radius 5\.000 Angstrom .* minimum around a defect is {reach:.3f}"
    with pytest.raises(RegionError, match=message):
        model(core=5.0)
    potential, crystal = copper()
    moduli = CauchyBorn(crystal, potential).elastic_constants()
    dislocation = VolterraDislocation(moduli, crystal.cell[0], (0.3, 0.3))
    with pytest.raises(RegionError, match=message):
        model(core=5.0, defects=None, far_field=dislocation)
    # A perfect crystal needs no core at all, and the minimum itself is enough.
    model(core=2.0, defects=None)
    model(core=1.0001 * reach)


def test_blend_too_thin_names_the_minimum():
    nn = copper()[1].nearest_neighbour
    with pytest.raises(RegionError, match=rf"too thin: .* {2 * nn:.3f} Angstrom"):
        model(blend=1.9 * nn)
    model(blend=2.001 * nn)


def test_outer_boundary_inside_the_blend_names_what_is_needed():
    with pytest.raises(RegionError, match=rf"need more than {3.25 * A:.2f} Angstrom"):
        model(outer=3.0 * A)


@pytest.mark.parametrize("name", ["core", "blend", "outer", "grading"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_sizes_must_be_positive_and_finite(name, value):
    with pytest.raises(RegionError, match=f"{name} must be positive and finite"):
        model(**{name: value})


def test_blend_checks_its_radii():
    with pytest.raises(RegionError, match="blend width"):
        Blend(CoreSet(np.zeros((1, 3))), 1.0, np.nan)


def test_absurd_sizes_are_refused_before_anything_is_allocated():
    with pytest.raises((MeshError, RegionError)):
        QuasiContinuum(fcc("Cu", A), copper()[0], core=1e6, outer=3e6)
    with pytest.raises(RegionError, match="lattice sites"):
        patch_sites(fcc("Cu", A), Blend(CoreSet(np.zeros((1, 3))), 1e4, 1e4), 2e4)
    with pytest.raises(RegionError, match="5e7"):
        QuasiContinuum(fcc("Cu", A), copper()[0], scheme="cauchy-born").all_atoms(1e4)


# -- defects that are not there -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("defects", "error", "message"),
    [
        ({"vacant": [(4, 0, 0)]}, RegionError, r"vacant site \(4, 0, 0\) is 7\.23 Angstrom"),
        ({"substitutions": {(0, 9, 0): "Cu"}}, RegionError, r"substituted site \(0, 9, 0\) is"),
        ({"vacant": [(0, 0, 3)]}, InputError, r"\(0, 0, 3\) stands for a column"),
        ({"extra": [("Cu", (8 * A, 0, 0))]}, RegionError, "outside the core"),
        ({"extra": [("Cu", (0, 0, 0))]}, InputError, "coincides with a lattice site"),
        ({"substitutions": {(0, 0, 0): "Xx"}}, UnknownSpeciesError, "'Xx'; it supports Cu"),
        ({"extra": [("Ni", (1.0, 1.0, 0))]}, UnknownSpeciesError, "'Ni'; it supports Cu"),
    ],
)
def test_impossible_defects(defects, error, message):
    with pytest.raises(error, match=message):
        model(defects=PointDefects(**defects), centres=[[0, 0, 0]])


@pytest.mark.parametrize(
    ("defects", "message"),
    [
        ({"vacant": [(0, 0)]}, r"vacant site \(0, 0\) must be three integers"),
        ({"vacant": [(0.5, 0, 0)]}, "must be three integers"),
        ({"vacant": [(np.nan, 0, 0)]}, "must be three integers"),
        ({"substitutions": {(0.1, 0, 0): "Cu"}}, "substituted site .* must be three integers"),
        ({"vacant": [(1, 0, 0), (1, 0, 0)]}, r"site \(1, 0, 0\) is named twice"),
        ({"vacant": [(1, 0, 0)], "substitutions": {(1, 0, 0): "Cu"}}, "named twice"),
        ({"extra": [("Cu", (0, np.nan, 0))]}, "extra Cu atom: .* is not finite"),
        ({"extra": [("Cu", (0, 1))]}, "extra Cu atom must have three coordinates"),
    ],
)
def test_defects_are_checked_where_they_are_made(defects, message):
    with pytest.raises(InputError, match=message):
        PointDefects(**defects)


def test_bad_centres():
    for centres in ([[0, 0]], [[np.nan, 0, 0]], np.zeros((0, 3))):
        with pytest.raises(InputError, match=r"core points|centres"):
            model(centres=centres)


def test_continuum_without_atoms_holds_no_point_defect():
    with pytest.raises(InputError, match="'cauchy-born' has no atoms"):
        model("cauchy-born")


# -- crystals, potentials and schemes that do not fit ---------------------------------------------


def test_sublattices_are_counted():
    crystal, potential = hcp("Cu", 2.55, 4.16), copper()[0]
    for site, text in (((0, 0, 0, 2), "2 sublattices"), ((0, 0, 0, -1), "2 sublattices")):
        with pytest.raises(InputError, match=text):
            QuasiContinuum(crystal, potential, defects=PointDefects(vacant=[site]))
    with pytest.raises(InputError, match="three integers, or four"):
        PointDefects(vacant=[(0, 0, 0, 0.5)])


def test_crystal_of_another_element():
    with pytest.raises(UnknownSpeciesError, match="no parameters for 'Al'"):
        QuasiContinuum(fcc("Al", 4.05), copper()[0])


def test_unknown_scheme_gets_a_suggestion():
    with pytest.raises(InputError, match=r"unknown scheme 'bgf'; did you mean 'bgfc'\?; known: "):
        get_scheme("bgf")
    with pytest.raises(InputError, match="did you mean 'cauchy-born'"):
        model("cauchy_born")


class ForcesOnly(LennardJones):
    """A potential that cannot say what each site's energy is."""

    has_site_energies = False


def test_energy_blending_needs_site_energies():
    potential = ForcesOnly("Cu", 0.4, 2.28, 5.5)
    crystal = copper()[1]
    with pytest.raises(CapabilityError, match=r"scheme 'bgfc' blends .*, which ForcesOnly"):
        QuasiContinuum(crystal, potential, core=6, blend=6, outer=30)
    m = QuasiContinuum(crystal, potential, scheme="bqcf", core=6, blend=6, outer=30)
    assert np.isfinite(m.forces()).all()


def test_force_blending_has_no_energy():
    with pytest.raises(CapabilityError, match="scheme 'bqcf' blends forces and has no energy"):
        model("bqcf").energy()


# -- states that are no states --------------------------------------------------------------------


def test_nan_in_the_core_names_the_atom():
    m = model()
    u = m.U.copy()
    node = int(np.argmin(np.abs(np.linalg.norm(m.layout.node_positions[:, :2], axis=1) - 3.0)))
    u[node, 1] = np.nan
    for call in (m.forces, m.energy):
        with pytest.raises(
            NonFiniteError, match=r"(position of patch atom|node) \d+ is not finite"
        ):
            call(u)


def test_nan_in_the_continuum_names_the_node():
    m = model()
    u = m.U.copy()
    node = int(np.nonzero(m.mesh.boundary)[0][0])
    u[node, 0] = np.inf
    with pytest.raises(NonFiniteError, match=f"displacement of node {node} is not finite"):
        m.forces(u)


def broken_copper():
    """Return a potential whose forces become NaN when atoms come close."""
    stock = copper()[0]

    class Broken(EAM):
        def energy_forces(self, positions, types, weights, pairs):
            energies, forces = super().energy_forces(positions, types, weights, pairs)
            if np.abs(forces).max() > 5.0:
                forces[np.abs(forces).max(axis=1).argmax()] = np.nan
            return energies, forces

    return Broken(
        ["Cu"],
        dr=stock.dr,
        drho=stock.drho,
        rphi=stock.rphi,
        density=stock.density,
        embedding=stock.embedding,
        cutoff=stock.cutoff,
    )


def test_potential_that_gives_nan_is_caught():
    m = QuasiContinuum(copper()[1], broken_copper(), core=2 * A, blend=2 * A, outer=8 * A)
    u = np.where(m.layout.free, 0.0, 0.0)
    assert np.isfinite(m.forces(u)).all()
    centre = int(np.argmin(np.linalg.norm(m.layout.node_positions[:, :2], axis=1)))
    u[centre, 0] = 1.0
    with pytest.raises(NonFiniteError, match=r"patch atom \d+ has .* force \[nan"):
        m.forces(u)


def test_inverted_element_is_named():
    m = model("cauchy-born", defects=None)
    u = m.U.copy()
    u[int(np.argmin(np.linalg.norm(m.mesh.positions, axis=1))), :2] = [3.5, 1.0]
    with pytest.raises(InvertedElementError, match=r"element \d+ is inverted or flat in the curr"):
        m.forces(u)
