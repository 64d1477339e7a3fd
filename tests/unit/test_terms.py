"""Terms of one's own enter every scheme, are kept, and told apart."""

import numpy as np
import pytest

from qc.coupling import SCHEMES, PointDefects, QuasiContinuum, Term
from qc.crystal import triangular
from qc.io.runs.identity import fingerprints
from qc.potentials import ToyEAM


class Quartic(Term):
    """A hardening spring at every node of the continuum."""

    def __init__(self, layout, stiffness):
        self.k = stiffness * (layout.beta_nodes >= 1.0)[:, None]

    def energies(self, u):
        return 0.25 * (self.k * u**4).sum(axis=1)

    def energy_forces(self, u):
        return self.energies(u), -self.k * u**3

    def hessian_product(self, u, du):
        return 3 * self.k * u**2 * du

    def described(self):
        return ["Quartic", self.k]


def quartic(stiffness):
    return lambda predictor, layout: Quartic(layout, stiffness)


def model(scheme="bgfc", terms=()):
    return QuasiContinuum(
        triangular("X", 1.0), ToyEAM(), scheme=scheme, core=4.0, blend=3.0, outer=20.0,
        defects=None if scheme == "cauchy-born" else PointDefects(vacant=[(0, 0, 0)]), terms=terms,
    )  # fmt: skip


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_it_enters_energy_forces_and_hessian_products(scheme):
    without, m = model(scheme), model(scheme, [quartic(2.0), quartic(3.0)])
    rng = np.random.default_rng(1)
    u, v = (np.where(m.layout.free, 0.05 * rng.normal(size=m.U.shape), 0.0) for _ in "uv")
    k = 5.0 * (m.layout.beta_nodes >= 1.0)[:, None]
    extra = m.forces(u) - without.forces(u)
    np.testing.assert_allclose(extra, np.where(m.layout.free, -k * u**3, 0.0), atol=1e-12)
    product = m.hessian_product(u, v) - without.hessian_product(u, v)
    np.testing.assert_allclose(product, np.where(m.layout.free, 3 * k * u**2 * v, 0), atol=1e-10)
    if m.coupling.conservative:
        assert m.energy(u) - without.energy(u) == pytest.approx((k * u**4).sum() / 4, rel=1e-9)


def test_models_made_of_one_keep_it_and_checkpoints_tell_it_apart():
    m = model(terms=[quartic(2.0)])
    for other in (m.rebuilt(core=5.0), m.with_strain(1.01 * np.eye(3)), m.rebuilt(scheme="bqce")):
        assert [type(t) for t in other.coupling.further] == [Quartic]
        assert len(other.coupling.further[0].k) == other.layout.n_nodes
    scheme = [fingerprints(one)["scheme"] for one in (m, model(), model(terms=[quartic(3.0)]))]
    assert len(set(scheme)) == 3
