"""Crystals with a basis: cell energies, relaxed shifts, and the nodes that carry sublattices."""

from functools import lru_cache

import numpy as np
import pytest
from ase.units import GPa

from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import Crystal, diamond, fcc, hcp
from qc.errors import InputError, NonFiniteError
from qc.materials import CauchyBorn, equilibrium_crystal
from qc.potentials import LennardJones, stillinger1985, tersoff1989, zhou2004

CASES = ("EAM hcp", "SW diamond", "Tersoff SiC")


@lru_cache
def rule(name):
    crystal, potential = {
        "EAM hcp": (hcp("Mg", 3.2, 5.2), zhou2004("Mg")),
        "SW diamond": (diamond("Si", 5.431), stillinger1985("Si")),
        "Tersoff SiC": (zinc_blende(4.32), tersoff1989("Si", "C")),
    }[name]
    return CauchyBorn(crystal, potential)


def zinc_blende(a):
    host = diamond("Si", a)
    return Crystal(host.cell, host.basis, ("Si", "C"), "multilattice", a, np.eye(3))


def states(name, n=4, size=0.03):
    rng = np.random.default_rng([n, len(name)])
    f = np.eye(3) + rng.uniform(-size, size, (n, 3, 3))
    p = rng.uniform(-0.1, 0.1, (n, rule(name).n_sublattices, 3))
    p[:, 0] = 0.0
    return f, p


def best_error(difference, exact):
    """Smallest error of central differences over a sweep of steps, relative."""
    steps = (1e-3, 1e-4, 1e-5, 1e-6)
    scale = np.abs(exact).max()
    return min(np.abs(difference(h) - exact).max() / scale for h in steps)


@pytest.mark.parametrize("name", CASES)
def test_every_derivative_of_the_cell_energy(name):
    cb, (f, p) = rule(name), states(name)
    found = cb.at_shifts(f, p, "full")
    rng = np.random.default_rng(1)
    df, dp = rng.uniform(-1, 1, f.shape), rng.uniform(-1, 1, p.shape)
    dp[:, 0] = 0.0

    def along_f(h):
        up, down = cb.at_shifts(f + h * df, p), cb.at_shifts(f - h * df, p)
        return (up.energy - down.energy) / (2 * h)

    def along_p(h):
        up, down = cb.at_shifts(f, p + h * dp), cb.at_shifts(f, p - h * dp)
        return (up.energy - down.energy) / (2 * h)

    assert best_error(along_f, np.einsum("nij,nij->n", found.dF, df)) < 1e-8
    assert best_error(along_p, np.einsum("nsi,nsi->n", found.dp, dp)) < 1e-8
    z = np.concatenate([df.reshape(len(f), 9), dp[:, 1:].reshape(len(f), -1)], axis=1)
    exact = np.einsum("nab,nb->na", found.hessian, z)

    def gradient(f, p):
        one = cb.at_shifts(f, p)
        return np.concatenate(
            [one.dF.reshape(len(f), 9), one.dp[:, 1:].reshape(len(f), -1)], axis=1
        )

    def change(h):
        return (gradient(f + h * df, p + h * dp) - gradient(f - h * df, p - h * dp)) / (2 * h)

    assert best_error(change, exact) < 1e-7
    assert np.abs(found.hessian - found.hessian.swapaxes(1, 2)).max() < 1e-9
    assert np.abs(found.dp.sum(axis=1)).max() < 1e-12
    assert np.array_equal(cb.at_shifts(f, p, "shifts").hessian, found.hessian[:, 9:, 9:])


@pytest.mark.parametrize("name", CASES)
def test_relaxed_shifts_make_the_energy_stationary_and_the_tangent_consistent(name):
    cb, (f, p) = rule(name), states(name)
    w, stress, moduli = cb.evaluate(f, tangent=True)
    shifts = cb.relaxed_shifts(f, p)
    assert np.abs(cb.at_shifts(f, shifts).dp).max() < 1e-11
    assert np.abs(shifts - cb.relaxed_shifts(f)).max() < 1e-9  # the same from another start
    assert np.abs(shifts[:, 1]).max() > 1e-3
    df = np.random.default_rng(2).uniform(-1, 1, f.shape)

    def energy(h):
        return (cb.evaluate(f + h * df)[0] - cb.evaluate(f - h * df)[0]) / (2 * h)

    def forces(h):
        return (cb.evaluate(f + h * df)[1] - cb.evaluate(f - h * df)[1]) / (2 * h)

    assert best_error(energy, np.einsum("nij,nij->n", stress, df)) < 1e-8
    assert best_error(forces, np.einsum("nijkl,nkl->nij", moduli, df)) < 1e-7
    unrelaxed = cb.at_shifts(f, np.zeros_like(p), "full").energy / cb.crystal.volume
    assert (w < unrelaxed - 1e-6).all()


def test_silicon_has_its_relaxed_shear_modulus():
    # H. Balamane, T. Halicioglu & W. A. Tiller, Phys. Rev. B 46 (1992) 2250, table XI.
    cb = rule("SW diamond")
    moduli = cb.elastic_constants() / GPa
    assert moduli[0, 0, 0, 0] == pytest.approx(151.42, abs=0.05)
    assert moduli[0, 0, 1, 1] == pytest.approx(76.42, abs=0.05)
    assert moduli[1, 2, 1, 2] == pytest.approx(56.45, abs=0.05)
    full = cb.at_shifts(np.eye(3)[None], np.zeros((1, 2, 3)), "full").hessian[0]
    unrelaxed = full[:9, :9].reshape(3, 3, 3, 3) / cb.crystal.volume / GPa
    assert unrelaxed[1, 2, 1, 2] == pytest.approx(109.75, abs=0.05)
    # A shear e_yz moves the sublattices by zeta a/4 (2 e_yz) along x beyond the affine map.
    strain = np.zeros((3, 3))
    strain[1, 2] = strain[2, 1] = 1e-6
    shift = cb.relaxed_shifts(np.eye(3)[None] + strain)[0, 1]
    zeta = abs(shift[0]) / (2e-6 * cb.crystal.a / 4)
    assert zeta == pytest.approx(0.629, abs=0.001)


def test_a_bravais_lattice_as_a_multilattice_is_the_same_continuum():
    cu = fcc("Cu", 3.615)
    cell = np.array([cu.cell[0], cu.cell[1], 2.0 * cu.cell[2]])
    double = Crystal(cell, [[0, 0, 0], cu.cell[2]], ("Cu", "Cu"), "multilattice", cu.a, np.eye(3))
    potential = zhou2004("Cu")
    f, _ = states("EAM hcp")
    one, two = CauchyBorn(cu, potential), CauchyBorn(double, potential)
    for a, b in zip(one.evaluate(f, tangent=True), two.evaluate(f, tangent=True), strict=True):
        assert np.abs(a - b).max() < 1e-10
    assert np.abs(two.relaxed_shifts(f)).max() < 1e-10
    assert two.site_energy(f) == pytest.approx(one.site_energy(f), abs=1e-12)


def test_stress_free_cells():
    for name in ("EAM hcp", "SW diamond"):
        cb = rule(name)
        rest = equilibrium_crystal(cb.crystal, cb.potential)
        relaxed = CauchyBorn(rest, cb.potential)
        assert np.abs(relaxed.evaluate(np.eye(3)[None])[1]).max() < 1e-10
        assert np.abs(relaxed.relaxed_shifts(np.eye(3)[None])).max() < 1e-9
    axes = np.linalg.norm(
        equilibrium_crystal(hcp("Mg", 3.3, 5.1), zhou2004("Mg")).conventional, axis=1
    )
    again = np.linalg.norm(
        equilibrium_crystal(hcp("Mg", 3.2, 5.3), zhou2004("Mg")).conventional, axis=1
    )
    assert axes == pytest.approx(again, rel=1e-9)
    assert axes[2] / axes[0] != pytest.approx(np.sqrt(8 / 3), abs=1e-4)


def test_shifts_that_do_not_settle_are_named():
    # Two atoms that only repel each other, in a cell of their own: nothing holds the shift.
    potential = LennardJones("Cu", 0.4, 2.3, 2.4)
    host = diamond("Cu", 12.0)
    cb = CauchyBorn(host, potential)
    f = np.stack([np.eye(3), np.eye(3)])
    f[1, 0, 0] = np.nan
    with pytest.raises(NonFiniteError, match="deformation gradient 1"):
        cb.evaluate(f)
    with pytest.raises(InputError, match="shifts have shape"):
        cb.relaxed_shifts(np.eye(3)[None], np.zeros((2, 2, 3)))


@lru_cache
def model(scheme="bgfc", vacant=((0, 0, 0, 1),)):
    cb = rule("SW diamond")
    return QuasiContinuum(
        cb.crystal, cb.potential, scheme=scheme, core=6.0, blend=6.0, outer=22.0,
        defects=PointDefects(vacant=vacant),
    )  # fmt: skip


def test_nodes_of_sublattices_sit_where_their_sites_are():
    m = model()
    layout, crystal = m.layout, m.crystal
    sites = layout.site_nodes
    assert (sites[: m.mesh.n_vertices, 1] == 0).all()
    assert 0 < len(sites) - m.mesh.n_vertices < m.mesh.n_vertices
    at = layout.sublattice_nodes
    assert np.array_equal(at[sites[:, 0], sites[:, 1]], np.arange(len(sites)))
    assert (at >= 0).sum() == len(sites)
    x = crystal.positions(m.mesh.lattice[sites[:, 0]], sites[:, 1])
    whole = layout.whole_cells
    assert 0 < whole.sum() < m.mesh.n_vertices
    assert np.array_equal(np.flatnonzero(whole), np.flatnonzero(at[:, 1] < 0))
    x[whole] += crystal.basis.mean(axis=0)
    assert np.abs(layout.node_positions - x).max() < 1e-9
    own = layout.node >= 0
    assert np.abs(layout.node_positions[layout.node[own]] - layout.positions[own]).max() < 1e-9
    # Constrained atoms follow an affine motion exactly, each sublattice by its own nodes.
    g = np.random.default_rng(3).uniform(-1, 1, (3, 3))
    moved = layout.interpolation @ (layout.node_positions @ g.T)
    inside = np.asarray(layout.interpolation.sum(axis=1)).ravel() > 0.5
    assert np.abs(moved - layout.positions @ g.T)[inside].max() < 1e-9


def test_masses_and_sites_of_compounds_add_up():
    cb = rule("Tersoff SiC")
    m = QuasiContinuum(cb.crystal, cb.potential, core=6.0, blend=6.0, outer=20.0)
    cells = m.mesh.volumes.sum() / m.crystal.volume
    assert m.n_sites == pytest.approx(2 * cells, rel=1e-12)
    assert m.node_masses().sum() == pytest.approx(cells * (28.085 + 12.011), rel=2e-3)
    assert set(m.to_ase().get_chemical_symbols()) == {"Si", "C"}
    assert len(m.all_atoms(5.0)) == len(
        [1 for s in (0, 1) for x in _all_sites(m.crystal, s) if np.linalg.norm(x) <= 5.0]
    )
    assert np.abs(m.forces()).max() == 0.0
    assert abs(m.energy()) < 1e-9


def _all_sites(crystal, s):
    grid = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing="ij"), -1).reshape(-1, 3)
    return crystal.positions(grid, s)


def test_atoms_beyond_the_core_follow_the_relaxed_shifts():
    m = model("cauchy-born", ())
    f = np.eye(3) + np.array([[0, 0.01, 0], [0, 0, 0.02], [0.005, 0, 0]])
    strained = m.with_strain(np.eye(3))
    shift = m.rule.relaxed_shifts(f[None])[0]
    strained.U = m.layout.node_positions @ (f - np.eye(3)).T + shift.mean(axis=0)
    atoms = strained.all_atoms(8.0)
    other = m.with_strain(f).all_atoms(8.0)
    apart = (atoms.positions - atoms.info["offset"]) - (other.positions - other.info["offset"])
    assert np.abs(apart).max() < 1e-9
    assert np.abs(shift).max() > 0.01
    assert np.abs(strained.shifts - shift).max() < 1e-9


def test_the_stiffness_is_that_of_the_uniform_crystal():
    m = model(vacant=())
    k = m.coupling.stiffness()
    assert abs(k - k.T).max() < 1e-10
    strain = np.array([[0.0, 0.01, 0.0], [0.01, 0.0, 0.02], [0.0, 0.02, 0.0]])
    shift = m.rule.relaxed_shifts(np.eye(3)[None] + 1e-4 * strain)[0] * 1e4
    u = m.layout.node_positions @ strain + shift[m.layout.node_sublattices]
    whole = m.layout.whole_cells
    u[whole] += shift.mean(axis=0) - shift[0]
    work = u.ravel() @ (k @ u.ravel())
    c = m.rule.elastic_constants()
    exact = np.einsum("ij,ijkl,kl", strain, c, strain) * m.mesh.volumes.sum()
    # The shifts are part of the motion: without them the relaxed moduli are not reached.
    assert work == pytest.approx(exact, rel=1e-3)
    rigid = m.layout.node_positions @ strain
    assert rigid.ravel() @ (k @ rigid.ravel()) > 1.01 * exact
