"""Relaxation of sublattice shifts: fused and generic potentials, starts, small matrices."""

from functools import lru_cache

import numpy as np
import pytest

from qc.crystal import hcp
from qc.errors import NonFiniteError
from qc.materials import CauchyBorn
from qc.materials.cauchy_born import _positive_inverse, schur_complement
from qc.potentials import zhou2004


@lru_cache
def rules():
    """The same continuum with the fused cell and with bonds one by one."""
    crystal, potential = hcp("Mg", 3.2, 5.2), zhou2004("Mg")
    fused, generic = CauchyBorn(crystal, potential), CauchyBorn(crystal, potential)
    generic.cell.fused = False
    assert fused.cell.second_is_cheap
    assert not generic.cell.second_is_cheap
    return fused, generic


def states(n=7, size=0.02):
    return np.eye(3) + size * np.random.default_rng(n).normal(size=(n, 3, 3))


def test_both_ways_relax_to_the_same_state():
    f = states()
    fused, generic = (rule.response(f, tangent=True) for rule in rules())
    for one, other in zip(fused, generic, strict=True):
        assert np.abs(one - other).max() < 1e-10 * max(1.0, np.abs(other).max())


@pytest.mark.parametrize("away", [0.0, 1e-6, 0.03])
def test_the_start_matters_only_for_the_work(away):
    f = states()
    for rule in rules():
        cold = rule.response(f, tangent=True)
        start = cold[3].copy()
        start[2:, 1] += away
        before = start.copy()
        for tangent in (True, False):
            warm = rule.response(f, start, tangent)
            assert np.array_equal(start, before)
            for one, other in zip(warm, cold, strict=True):
                assert one is None or np.abs(one - other).max() < 1e-10
        # What is returned belongs to the shifts returned.
        exact = rule.at_shifts(f, warm[3])
        volume = rule.crystal.volume
        assert np.abs(exact.energy / volume - warm[0]).max() < 1e-14
        assert np.abs(exact.dF / volume - warm[1]).max() < 1e-14
        assert np.abs(exact.dp).max() < 1e-11


def test_a_relaxed_start_costs_one_evaluation():
    rule = rules()[0]
    f = states()
    start = rule.relaxed_shifts(f)
    calls = []
    cell = rule.cell

    class Counted:
        second_is_cheap = True

        def __call__(self, f, p, order="gradient"):
            calls.append(order)
            return cell(f, p, order)

    rule.cell = Counted()
    try:
        rule.response(f, start, tangent=True)
        assert calls == ["full"]
        calls.clear()
        rule.response(f, start)
        assert len(calls) == 1
        calls.clear()
        rule.response(f, tangent=True)
        assert calls[-1] == "full"
        assert set(calls[:-1]) == {"shifts"}
    finally:
        rule.cell = cell


def test_a_state_that_is_not_finite_is_named():
    for rule in rules():
        f, start = states(), np.zeros((7, 2, 3))
        f[4, 0, 0] = np.inf
        with pytest.raises(NonFiniteError, match="deformation gradient 4"):
            rule.response(f, start)


@pytest.mark.parametrize("k", [3, 6, 21])
def test_inverses_are_those_of_eigenvalues_made_positive(k):
    rng = np.random.default_rng(k)
    turns = np.linalg.qr(rng.normal(size=(6, k, k)))[0]
    values = rng.uniform(1.0, 5.0, (6, k))
    values[2, 0] = -3.0  # a saddle
    values[3, 1] = 1e-9  # nearly free
    values[4] *= -1.0  # a maximum
    values[5] *= 1e-7  # well, but small
    matrices = (turns * values[:, None]) @ turns.swapaxes(1, 2)
    size = np.abs(values)
    safe = np.maximum(size, 1e-3 * size.max(axis=1, keepdims=True))
    exact = (turns / safe[:, None]) @ turns.swapaxes(1, 2)
    found = _positive_inverse(matrices)
    assert (np.abs(found - exact).max(axis=(1, 2)) < 1e-8 * np.abs(exact).max(axis=(1, 2))).all()
    matrices[1, 0, 0] = np.nan
    found = _positive_inverse(matrices)
    assert np.isfinite(found).all()


def test_relaxed_moduli_of_saddles_too():
    rng = np.random.default_rng(0)
    h = rng.normal(size=(5, 15, 15))
    h = h + h.swapaxes(1, 2)
    h[:3] += 20.0 * np.eye(15)
    exact = np.linalg.inv(np.linalg.inv(h)[:, :9, :9])
    assert np.abs(schur_complement(h) - exact).max() < 1e-9 * np.abs(exact).max()
