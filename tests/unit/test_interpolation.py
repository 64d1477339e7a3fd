"""What stands for a table: noisy ones, coarse ones, and clean ones that are left alone."""

import numpy as np
import pytest

from qc.crystal import fcc
from qc.errors import PotentialError
from qc.materials import elasticity, equilibrium_crystal
from qc.materials.lattice import crystal_bonds
from qc.materials.phonons import zone_phonons
from qc.potentials import EAM, Bonds, zhou2004
from qc.potentials.interpolation import curve, five_point_slopes, noise_level
from qc.potentials.splines import cubic_coefficients, evaluate


def noise(n, seed=3):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, n)


def tables(potential, digits=None, **options):
    """An alloy potential with the tables of another, rounded to some decimals."""
    names = ("rphi", "density", "embedding")
    values = {k: getattr(potential, k) for k in names}
    if digits is not None:
        values = {k: np.round(v, digits) for k, v in values.items()}
    return EAM(
        potential.species, dr=potential.dr, drho=potential.drho, cutoff=potential.cutoff,
        lattice_constants=potential.lattice_constants, structures=potential.structures,
        masses=potential.masses, **values, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def fine():
    """Tables as fine as those of the files that are printed with few digits."""
    return zhou2004("Al", knots_per_length=5000, knots_per_density=1000)


@pytest.fixture(scope="module")
def crystal(fine):
    return equilibrium_crystal(fcc("Al", 4.0), fine)


def constants(crystal, potential):
    c = elasticity(crystal, potential)
    return np.array([c.constant(name) for name in ("11", "12", "44")])


def test_elastic_constants_and_phonons_of_rounded_tables(fine, crystal):
    """Rounded in the eighth decimal, as far as files go: the analytic function is the truth."""
    exact = constants(crystal, fine)
    rounded = tables(fine, 8)
    assert np.abs(constants(crystal, rounded) / exact - 1.0).max() < 1e-3
    # A spline through the digits takes its curvature from their rounding.
    through = constants(crystal, tables(fine, 8, interpolation="spline"))
    assert np.abs(through / exact - 1.0).max() > 5e-3
    for one, two in zip(zone_phonons(crystal, rounded), zone_phonons(crystal, fine), strict=True):
        np.testing.assert_allclose(one.frequencies, two.frequencies, rtol=5e-3)


def test_rounded_tables_keep_energies_and_lattice_constant(fine, crystal):
    rounded = tables(fine, 8)
    assert equilibrium_crystal(crystal, rounded).a == pytest.approx(crystal.a, abs=1e-6)
    for name in ("rphi", "density", "embedding"):
        np.testing.assert_array_equal(getattr(rounded, name), np.round(getattr(fine, name), 8))
    rows = rounded._kernel_tables[2][0]
    for values, column in ((rounded.rphi[0, 0], 0), (rounded.density[0], 4)):
        assert np.abs(rows[:, column] - values).max() < 5e-8
        # What is exactly zero stays so.
        assert rows[-1, column] == 0.0


@pytest.mark.parametrize("shape", ["dense", "short bond", "interstitial", "dimer"])
def test_rounded_tables_give_lammps_energies_and_forces(fine, crystal, shape):
    """At the distances and densities of interstitials, cascades and lone atoms as well."""
    rounded, lammps = tables(fine, 8), tables(fine, 8, interpolation="lammps")
    bonds = crystal_bonds(crystal, fine)
    vectors, r = bonds.vectors.copy(), np.linalg.norm(bonds.vectors, axis=1)
    if shape == "dense":
        vectors *= 0.8
    elif shape == "short bond":
        vectors[r.argmin()] *= 0.5
    elif shape == "interstitial":
        # More atoms than sites, close by.
        vectors = np.concatenate([vectors[r < 1.01 * crystal.a / 2**0.5] * 0.75, vectors * 1.02])
    else:
        vectors = vectors[:1]
    n = len(vectors)
    site = Bonds(np.array([0, n]), vectors, np.zeros(1, int), np.zeros(n, int))
    energy, pulls = lammps.bond_gradients(site)
    found, forces = rounded.bond_gradients(site)
    assert abs(found - energy)[0] < 1e-7
    # The rounding of a value over the spacing, and what many bonds make of it.
    assert np.abs((forces - pulls).sum(axis=0)).max() < 5e-8 / fine.dr


@pytest.mark.parametrize("symbol", ["Cu", "Al", "Fe", "W", "Mg"])
def test_clean_tables_are_the_spline_to_the_last_bit(symbol):
    p = zhou2004(symbol)
    same = tables(p, interpolation="spline")
    for one, two in zip(p._kernel_tables, same._kernel_tables, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not any(p.tables.values())


def test_noise_is_measured_and_smooth_functions_have_none():
    x = np.linspace(0.0, 3.0, 3001)
    assert not noise_level(np.sin(x)).any()
    found = noise_level(np.sin(x) + 1e-6 * noise(len(x)))
    assert found == pytest.approx(1e-6 / np.sqrt(12.0), rel=0.8)
    # Less of it on the left.
    level = np.where(x < 1.5, 1e-9, 1e-6)
    found = noise_level(np.sin(x) + level * noise(len(x)))
    assert np.median(found[x < 1.2]) == pytest.approx(1e-9 / np.sqrt(12.0), rel=0.5)
    assert np.median(found[x > 1.8]) == pytest.approx(1e-6 / np.sqrt(12.0), rel=0.5)


def test_a_joint_is_not_smoothed_away():
    """Pieces of the third degree, as in published potentials, whose third derivatives jump."""
    h, joint = 1e-3, 1.5
    x = h * np.arange(3001)
    exact = 4.0 * np.maximum(joint - x, 0.0) ** 3
    f = exact + 1e-8 * noise(len(x))
    f[x >= joint] = 0.0
    found = curve(f, "auto", 0.0)
    assert np.abs(found.coefficients[:, 0] - f).max() < 2e-8
    second = evaluate(found.coefficients, h, x, 2)
    assert np.abs(second - 24.0 * np.maximum(joint - x, 0.0)).max() < 0.25
    away = (np.abs(x - joint) > 0.05) & (x > 0.1)
    assert np.abs(second - 24.0 * np.maximum(joint - x, 0.0))[away].max() < 0.01
    # Beyond the end there is nothing, and no ringing.
    assert np.abs(found.coefficients[x > joint + 3 * h]).max() == 0.0


def test_a_coarse_start_does_not_ring():
    """An embedding function that falls steeply within the first interval, as some files have it."""
    h, x = 1.0, np.arange(200.0)
    f = -np.log1p(30.0 * x)
    found = curve(f, "auto")
    assert found.unresolved[1:6].all()
    assert not found.unresolved[20:].any()
    local = five_point_slopes(f)
    np.testing.assert_array_equal(
        found.coefficients[found.unresolved, 1], local[found.unresolved]
    )
    p = np.linspace(4.0, 6.0, 41)[:-1]
    exact = -30.0 / (1.0 + 30.0 * p)
    errors = [
        np.abs(evaluate(c, h, p, 1) / exact - 1.0).max()
        for c in (found.coefficients, cubic_coefficients(f))
    ]
    assert errors[0] < 0.02
    assert errors[1] > 3 * errors[0]
    # Between the first knots, where a lone atom with few neighbours is, the file means what
    # LAMMPS makes of it too.
    np.testing.assert_array_equal(found.coefficients[:6], curve(f, "lammps").coefficients[:6])
    mirrored = curve(f[::-1].copy(), "auto").coefficients
    np.testing.assert_array_equal(mirrored[-6:], curve(f[::-1].copy(), "lammps").coefficients[-6:])
    assert "too coarse at a density" in found.remark(np.array([4.6]), "a density", "eV")
    assert found.remark(np.array([100.0]), "a density", "eV") == ""


def test_lammps_cubics():
    """The rule of PairEAM::interpolate, written down once more."""
    f = np.random.default_rng(5).normal(size=12)
    found = curve(f, "lammps").coefficients
    d = np.empty(12)
    d[0], d[1] = f[1] - f[0], 0.5 * (f[2] - f[0])
    d[10], d[11] = 0.5 * (f[11] - f[9]), f[11] - f[10]
    for m in range(2, 10):
        d[m] = ((f[m - 2] - f[m + 2]) + 8.0 * (f[m + 1] - f[m - 1])) / 12.0
    np.testing.assert_allclose(found[:, 1], d, rtol=1e-14)
    for m in range(11):
        rise = f[m + 1] - f[m]
        assert found[m, 2] == pytest.approx(3.0 * rise - 2.0 * d[m] - d[m + 1], rel=1e-12)
        assert found[m, 3] == pytest.approx(d[m] + d[m + 1] - 2.0 * rise, rel=1e-12)


def test_what_was_done_is_said(fine, crystal):
    from qc.bulk.properties import bulk_properties
    from qc.cli.bulk_text import as_json, as_text
    from qc.verify import check_potential

    rounded = tables(fine, 8)
    assert "smoothed" in rounded.tables["r phi of Al-Al"]
    assert "smoothed" in repr(rounded)
    found = bulk_properties(crystal, rounded, only=[])
    assert any(r.startswith("r phi of Al-Al: noise of ") for r in found.remarks)
    assert "noise of" in as_text(found)
    assert as_json(found, rounded)["remarks"] == list(found.remarks)
    report = check_potential(rounded, spacing=2.8)
    assert report.passed, report
    assert "noise of" in report["remark"].note
    assert "remark" not in check_potential(zhou2004("Al"), spacing=2.8)


def test_interpolation_is_part_of_the_fingerprint(fine):
    prints = {tables(fine, 8, interpolation=i).fingerprint() for i in ("auto", "spline", "lammps")}
    assert len(prints) == 3
    with pytest.raises(PotentialError, match="did you mean 'spline'"):
        tables(fine, interpolation="splin")
