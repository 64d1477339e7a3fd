"""Deformed cells of an embedded-atom potential: against bonds, derivatives, batches, threads."""

from functools import lru_cache

import numba
import numpy as np
import pytest

from qc.crystal import Crystal, diamond, fcc, hcp
from qc.errors import InputError, UnknownSpeciesError
from qc.materials import CauchyBorn
from qc.potentials import EAM, zhou2004
from qc.potentials.eam import cell as eam_cell
from qc.potentials.eam.cell_kernels import LANES

pytestmark = pytest.mark.kernels

ORDERS = ("gradient", "shifts", "full")


def box(a, fractions, symbols):
    cell = np.diag(np.broadcast_to(a, 3).astype(float))
    return Crystal(
        cell, np.array(fractions) @ cell, tuple(symbols), "multilattice", cell[0, 0], np.eye(3)
    )


def crystals():
    corners = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    eight = [[x, y, z] for x in (0, 0.5) for y in (0, 0.53) for z in (0, 0.47)]
    zinc_blende = diamond("Cu", 5.4)
    return {
        "one": fcc("Cu", 3.6),
        "hcp": hcp("Mg", 3.2, 5.2),
        "B3": Crystal(zinc_blende.cell, zinc_blende.basis, ("Cu", "Al"), "multilattice", 5.4,
                      np.eye(3)),
        "L12": box(3.7, corners, ("Al", "Cu", "Cu", "Cu")),
        "eight": box((5.4, 5.5, 5.6), eight, ("Cu", "Al", "Mg", "Cu", "Al", "Cu", "Cu", "Mg")),
    }  # fmt: skip


@lru_cache
def rule(name, form="alloy"):
    return CauchyBorn(crystals()[name], model(form))


@lru_cache
def model(form):
    """Three metals; "fs" gives each pair of species a density of its own."""
    potential = zhou2004("Cu", "Al", "Mg")
    if form == "alloy":
        return potential
    scale = np.random.default_rng(3).uniform(0.8, 1.2, (3, 3, 1))
    return EAM(
        potential.species, dr=potential.dr, rphi=potential.rphi, density=scale * potential.density,
        drho=potential.drho, embedding=potential.embedding, cutoff=potential.cutoff,
    )  # fmt: skip


def states(name, n=3, size=0.03):
    ns = crystals()[name].n_sublattices
    rng = np.random.default_rng(n)
    return np.eye(3) + size * rng.normal(size=(n, 3, 3)), 0.05 * rng.normal(size=(n, ns, 3))


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


@pytest.mark.parametrize("form", ["alloy", "fs"])
@pytest.mark.parametrize("name", crystals())
def test_bonds_one_by_one_give_the_same(name, form):
    cb, (f, p) = rule(name, form), states(name)
    if name in ("one", "hcp"):
        f[0] *= 0.93  # more bonds than at rest
        f[2] *= 1.4
    for order in ORDERS:
        assert_close(cb.cell(f, p, order), cb.cell.by_bonds(f, p, order))


def test_a_state_strained_apart_has_free_atoms():
    cb = rule("hcp")
    f, p = 4.0 * np.eye(3)[None], np.zeros((1, 2, 3))
    found = cb.cell(f, p, "full")
    assert_close(found, cb.cell.by_bonds(f, p, "full"))
    assert not found.dF.any()
    assert not found.hessian.any()


def test_the_check_sees_a_wrong_term():
    # Without the curvature of the embedding function the Hessian is visibly another.
    cb, (f, p) = rule("hcp"), states("hcp")
    r, s, t, types = bonds(cb, f, p)
    flat = EAM(
        model("alloy").species, dr=model("alloy").dr, rphi=model("alloy").rphi,
        density=1e-9 * model("alloy").density, drho=model("alloy").drho,
        embedding=model("alloy").embedding,
    )  # fmt: skip
    one = cb.potential.deformed_cell(f, p, r, s, t, types, "full")[3]
    other = flat.deformed_cell(f, p, r, s, t, types, "full")[3]
    assert np.abs(one - other).max() > 1e-3 * np.abs(one).max()


@pytest.mark.parametrize("form", ["alloy", "fs"])
def test_derivatives_by_differences(form):
    """Steps are swept; every entry of gradient and Hessian takes part along a random direction."""
    cb, (f, p) = rule("B3", form), states("B3")
    rng = np.random.default_rng(7)
    df, dp = rng.normal(size=f.shape), rng.normal(size=p.shape)
    dp[:, 0] = 0.0
    found = cb.cell(f, p, "full")
    slope = np.einsum("nij,nij->n", found.dF, df) + np.einsum("nsi,nsi->n", found.dp, dp)
    z = np.concatenate([df.reshape(3, 9), dp[:, 1:].reshape(3, -1)], axis=1)
    bend = np.einsum("nab,na,nb->n", found.hessian, z, z)

    def error(h, exact, second):
        up, down = cb.cell(f + h * df, p + h * dp), cb.cell(f - h * df, p - h * dp)
        value = (up.energy - down.energy) / (2 * h)
        if second:
            value = sum(
                sign * (np.einsum("nij,nij->n", x.dF, df) + np.einsum("nsi,nsi->n", x.dp, dp))
                for x, sign in ((up, 1), (down, -1))
            ) / (2 * h)  # fmt: skip
        return np.abs(value - exact).max() / np.abs(exact).max()

    steps = (1e-3, 1e-4, 1e-5, 1e-6)
    assert min(error(h, slope, False) for h in steps) < 1e-8
    assert min(error(h, bend, True) for h in steps) < 1e-7


@pytest.mark.parametrize("n", [0, 1, LANES - 1, LANES, LANES + 1, 2 * LANES + 5])
def test_every_size_of_batch(n):
    """The place of a state in a batch, and what is strained beside it, changes no bit."""
    cb = rule("hcp")
    f, p = states("hcp", 2 * LANES + 5)
    f[::7] *= 0.9
    args = bonds(cb, f, p)
    whole = cb.potential.deformed_cell(f, p, *args, "full")
    part = cb.potential.deformed_cell(f[:n], p[:n], *args, "full")
    assert_same(part, [x[:n] for x in whole])
    if n:
        end = cb.potential.deformed_cell(f[-n:], p[-n:], *args, "full")
        assert_same(end, [x[-n:] for x in whole])


@pytest.mark.parametrize("name", ["hcp", "L12"])
def test_orders_agree_to_the_bit(name):
    cb, (f, p) = rule(name), states(name)
    lean, shifts, full = (cb.cell(f, p, order) for order in ORDERS)
    assert_same(lean[:3], full[:3])
    assert_same(shifts[:3], full[:3])
    assert np.array_equal(shifts.hessian, full.hessian[:, 9:, 9:])
    assert np.array_equal(full.hessian, full.hessian.swapaxes(1, 2))


def test_threads_change_nothing():
    cb = rule("hcp")
    f, p = states("hcp", 3 * LANES + 1)
    args = bonds(cb, f, p)
    before = numba.get_num_threads()
    found = []
    try:
        for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
            numba.set_num_threads(threads)
            found.append(cb.potential.deformed_cell(f, p, *args, "full"))
    finally:
        numba.set_num_threads(before)
    for other in found[1:]:
        assert_same(found[0], other)


def test_bonds_without_their_reverse_count_once():
    # Any list of bonds has an energy: halves, doubled bonds, a sublattice without bonds.
    cb, (f, p) = rule("L12", "fs"), states("L12")
    r, s, t, types = bonds(cb, f, p)
    rng = np.random.default_rng(5)
    every = np.arange(len(r))
    some = {
        "some": np.flatnonzero(rng.random(len(r)) < 0.6),
        "from one": np.flatnonzero(s == 2),
        "doubled": np.concatenate([every, every[:9]]),
        "shuffled": rng.permutation(every),
        "within": np.flatnonzero(s == t),
    }
    for rows in some.values():
        found = cb.potential.deformed_cell(f, p, r[rows], s[rows], t[rows], types, "full")
        order = rows[np.argsort(s[rows], kind="stable")]
        expected = cb.cell._piece(f, p, r[order], s[order], t[order], "full")
        assert_close(found, expected)
    none = every[:0]
    found = cb.potential.deformed_cell(f, p, r[none], s[none], t[none], types, "full")
    assert_close(found, cb.cell._piece(f, p, r[none], s[none], t[none], "full"))


def test_each_length_is_looked_up_once():
    cb, (f, p) = rule("hcp"), states("hcp")
    r, s, t, types = bonds(cb, f, p)
    found = eam_cell._classes(*(x.tobytes() for x in (r, s, t, types)), 3)
    assert len(found.first) == 2
    # Within both sublattices a quarter of the bonds, between them half.
    inner = (s == t).sum()
    expected = sorted([inner // 4, (len(r) - inner) // 2])
    assert sorted(found.last - found.first) == expected
    assert (found.first % 4 == 0).all()


def test_bad_input_is_named():
    cb, (f, p) = rule("hcp"), states("hcp")
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
    with pytest.raises(InputError, match=r"F must have shape \(n, 3, 3\)"):
        call(f[0], p, r, s, t, types)
    with pytest.raises(InputError, match="have shape"):
        call(f, p[:, :1], r, s, t, types)
    with pytest.raises(InputError, match="do not fit"):
        call(f, p, r, s[:-1], t, types)
    with pytest.raises(InputError, match="bond ends on a sublattice"):
        call(f, p, r, s, t + 1, types)
    with pytest.raises(InputError, match="bond 3 is not finite"):
        call(f, p, np.where(np.arange(len(r))[:, None] == 3, np.nan, r), s, t, types)
    with pytest.raises(UnknownSpeciesError, match="sublattice 1 has type 7"):
        call(f, p, r, s, t, np.array([0, 7]))
    # Two sublattices on one place.
    between = int(np.flatnonzero(s != t)[0])
    p[1] = 0.0
    p[1, t[between]] = -(f[1] @ r[between])
    with pytest.raises(InputError, match=r"bond \d+ of sublattice \d in element 1 has zero length"):
        call(f, p, r, s, t, types)
    with pytest.raises(InputError, match="zero length"):
        cb.cell.by_bonds(f, p)
