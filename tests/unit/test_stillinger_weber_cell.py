"""Deformed cells of a Stillinger-Weber potential: against bonds, derivatives, relaxed shifts."""

from functools import lru_cache

import numba
import numpy as np
import pytest

from qc.crystal import Crystal, diamond, fcc
from qc.errors import InputError, UnknownSpeciesError
from qc.materials import CauchyBorn
from qc.materials.cell import smallest_stretch
from qc.potentials import StillingerWeber, stillinger1985

pytestmark = pytest.mark.kernels

ORDERS = ("gradient", "shifts", "full")

SILICON = {
    "epsilon": 2.1682, "sigma": 2.0951, "a": 1.8, "lam": 21.0, "gamma": 1.2, "costheta0": -1 / 3,
    "A": 7.049556277, "B": 0.6022245584, "p": 4, "q": 0,
}  # fmt: skip


def binary(**change):
    """Two species that differ in every parameter, the decay even between the ends of a bond."""
    pairwise = np.array([[1.0, 0.9], [0.9, 1.1]])[:, :, None]
    triple = np.array([[[1.0, 1.2], [1.2, 0.8]], [[0.9, 1.1], [1.1, 1.3]]])
    given = {
        "epsilon": 2.0, "sigma": 2.1 * pairwise, "a": 1.8, "lam": 21.0 * triple,
        "gamma": np.array([[1.2, 1.0], [0.8, 1.3]])[:, :, None], "costheta0": -0.3 * triple,
        "A": 7.0 * pairwise, "B": 0.6, "p": 4.5, "q": 0.5,
    }  # fmt: skip
    return StillingerWeber(["Si", "C"], **{**given, **change})


def crystal(name):
    if name == "one":
        return fcc("Si", 4.2)
    if name == "eight":
        corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
        basis = 5.1 * np.concatenate([corners, corners + 0.25])
        species = ("Si", "C", "Si", "Si", "C", "C", "Si", "C")
        return Crystal(5.1 * np.eye(3), basis, species, "multilattice", 5.1, np.eye(3))
    zinc_blende = diamond("Si", 5.431 if name == "Si" else 5.0)
    symbols = {"Si": ("Si", "Si"), "SiC": ("Si", "C"), "C of two": ("C", "C")}[name]
    return Crystal(
        zinc_blende.cell, zinc_blende.basis, symbols, "multilattice", zinc_blende.a, np.eye(3)
    )


@lru_cache
def rule(name):
    return CauchyBorn(crystal(name), stillinger1985() if name == "Si" else binary())


def states(cb, n=5, size=0.03, seed=1):
    """Random strains and shifts; among them some that bring bonds in or lose them, and a shear."""
    rng = np.random.default_rng(seed)
    f = np.eye(3) + size * rng.normal(size=(n, 3, 3))
    p = 0.05 * rng.normal(size=(n, cb.n_sublattices, 3))
    f[0] *= 0.85
    if n > 2:
        f[1, 0, 1] += 0.4
        f[2] *= 1.5
    return f, p


def bonds(cb, f, p):
    return *cb.cell._bonds(f, p), cb.types


def assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        if other is None:
            assert one is None
            continue
        assert one.shape == other.shape
        assert np.abs(one - other).max(initial=0.0) <= 1e-12 * np.abs(other).max(initial=1e-3)


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert (one is None and other is None) or np.array_equal(one, other)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["one", "Si", "SiC", "C of two", "eight"])
def test_bonds_one_by_one_give_the_same(name, order):
    cb = rule(name)
    f, p = states(cb)
    for part in [slice(e, e + 1) for e in range(len(f))]:  # so that each has a scale of its own
        assert_close(cb.cell(f[part], p[part], order), cb.cell.by_bonds(f[part], p[part], order))


@pytest.mark.parametrize("term", [{"lam": 0.0}, {"A": 0.0}, {"p": 4.0, "q": 0.0}])
def test_each_term_alone(term):
    cb = CauchyBorn(crystal("SiC"), binary(**term))
    f, p = states(cb)
    assert_close(cb.cell(f, p, "full"), cb.cell.by_bonds(f, p, "full"))


def test_bonds_enter_and_leave_the_cutoff():
    """Through the cutoff of first and second neighbours, some of the states within 1e-3 of it."""
    cb = rule("Si")
    first, second = np.sqrt(3) / 4 * 5.431, 5.431 / np.sqrt(2)
    rim = stillinger1985().cutoff
    stretch = np.concatenate([rim / second + np.linspace(-0.05, 0.05, 101),
                              rim / first + np.linspace(-0.05, 0.05, 101)])  # fmt: skip
    f = stretch[:, None, None] * (np.eye(3) + 0.01 * np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]]))
    p = np.zeros((len(f), 2, 3))
    reach = rim / smallest_stretch(f)
    lengths = np.linalg.norm(crystal("Si").star_sites(6.0, 0)[0], axis=1)
    assert len(np.unique((lengths[:, None] < reach).sum(axis=0))) == 3
    for order in ORDERS:
        assert_close(cb.cell(f, p, order), cb.cell.by_bonds(f, p, order))
    sites = cb.cell(f, p).sites
    assert np.abs(np.diff(sites[:101], axis=0)).max() < 0.1
    assert not cb.cell(4.0 * f[-1:], p[-1:], "full").hessian.any()


@pytest.mark.parametrize("name", ["Si", "SiC", "eight"])
def test_derivatives_by_differences(name):
    """Steps are swept; every entry of gradient and Hessian takes part along a random direction."""
    cb = rule(name)
    f, p = states(cb)
    rng = np.random.default_rng(7)
    df, dp = rng.normal(size=f.shape), rng.normal(size=p.shape)
    dp[:, 0] = 0.0
    n = len(f)
    found = cb.cell(f, p, "full")
    slope = np.einsum("nij,nij->n", found.dF, df) + np.einsum("nsi,nsi->n", found.dp, dp)
    z = np.concatenate([df.reshape(n, 9), dp[:, 1:].reshape(n, -1)], axis=1)
    bend = np.einsum("nab,nb->na", found.hessian, z)

    def gradient(x):
        return np.concatenate([x.dF.reshape(n, 9), x.dp[:, 1:].reshape(n, -1)], axis=1)

    def errors(h):
        up, down = cb.cell(f + h * df, p + h * dp), cb.cell(f - h * df, p - h * dp)
        one = (up.energy - down.energy) / (2 * h) - slope
        two = (gradient(up) - gradient(down)) / (2 * h) - bend
        return np.abs(one).max() / np.abs(slope).max(), np.abs(two).max() / np.abs(bend).max()

    sweep = np.array([errors(h) for h in (1e-3, 1e-4, 1e-5, 1e-6)])
    assert (sweep.min(axis=0) < (1e-8, 1e-7)).all()
    assert (sweep[1] < 0.02 * sweep[0]).all()  # second order until round-off takes over


def test_orders_batches_and_threads_change_no_bit():
    cb = rule("SiC")
    f, p = states(cb, 23)
    args = bonds(cb, f, p)
    call = cb.potential.deformed_cell
    lean, shifts, full = (call(f, p, *args, order) for order in ORDERS)
    assert_same(lean[:3], full[:3])
    assert_same(shifts[:3], full[:3])
    assert np.abs(shifts[3] - full[3][:, 9:, 9:]).max() == 0.0
    assert np.array_equal(full[3], full[3].swapaxes(1, 2))
    for n in (0, 1, 7):
        assert_same(call(f[:n], p[:n], *args, "full"), [x[:n] for x in full])
    before = numba.get_num_threads()
    try:
        for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
            numba.set_num_threads(threads)
            assert_same(call(f, p, *args, "full"), full)
    finally:
        numba.set_num_threads(before)


def test_any_list_of_bonds_has_an_energy():
    # Halves, an unsorted list, a sublattice without bonds.
    cb = rule("eight")
    f, p = states(cb)
    r, s, t, types = bonds(cb, f, p)
    rng = np.random.default_rng(5)
    for rows in (
        np.flatnonzero(rng.random(len(r)) < 0.6),
        np.flatnonzero(s == 2),
        rng.permutation(len(r)),
        np.flatnonzero(s == t),
        np.empty(0, dtype=int),
    ):
        found = cb.potential.deformed_cell(f, p, r[rows], s[rows], t[rows], types, "full")
        rows = rows[np.argsort(s[rows], kind="stable")]
        assert_close(found, cb.cell._piece(f, p, r[rows], s[rows], t[rows], "full"))


@pytest.mark.parametrize("name", ["Si", "SiC"])
def test_shifts_relax_as_they_do_bond_by_bond(name, monkeypatch):
    cb = rule(name)
    assert cb.cell.second_is_cheap
    f = np.eye(3) + 0.03 * np.random.default_rng(2).normal(size=(40, 3, 3))
    _, stress, tangent, shifts = cb.response(f, tangent=True)
    assert np.abs(cb.cell.by_bonds(f, shifts).dp).max() < 1.1e-11
    # A run goes on from shifts that are nearly right.
    moved = f + 1e-4 * np.random.default_rng(3).normal(size=f.shape)
    warm = cb.response(moved, shifts)
    assert np.abs(cb.cell.by_bonds(moved, warm[3]).dp).max() < 1.1e-11
    slow = CauchyBorn(cb.crystal, cb.potential)
    monkeypatch.setattr(slow.cell, "fused", False)
    _, stress1, tangent1, shifts1 = slow.response(f, tangent=True)
    assert np.abs(shifts - shifts1).max() < 1e-11
    assert np.abs(stress - stress1).max() < 1e-11 * np.abs(stress1).max()
    assert np.abs(tangent - tangent1).max() < 1e-10 * np.abs(tangent1).max()


def test_bad_input_is_named():
    cb = rule("SiC")
    f, p = states(cb)
    r, s, t, types = bonds(cb, f, p)
    call = cb.potential.deformed_cell
    wrong = f.copy()
    wrong[1, 0, 0] = np.nan
    with pytest.raises(InputError, match="F of element 1 is not finite"):
        call(wrong, p, r, s, t, types)
    wrong = p.copy()
    wrong[2, 1, 0] = np.inf
    with pytest.raises(InputError, match="shift of element 2 is not finite"):
        call(f, wrong, r, s, t, types)
    with pytest.raises(InputError, match="do not fit"):
        call(f, p, r, s[:-1], t, types)
    with pytest.raises(InputError, match="bond ends on a sublattice"):
        call(f, p, r, s, t + 1, types)
    with pytest.raises(UnknownSpeciesError, match="sublattice 1 has type 7"):
        call(f, p, r, s, t, np.array([0, 7]))
    # Two sublattices on one place.
    between = int(np.flatnonzero((s == 0) & (t == 1))[0])
    f[1], p[1, 0], p[1, 1] = np.eye(3), 0.0, -r[between]
    with pytest.raises(InputError, match=r"bond \d+ of sublattice \d in element 1 has zero length"):
        call(f, p, r, s, t, types)
