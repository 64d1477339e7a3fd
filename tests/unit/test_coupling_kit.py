"""The conformance kit for couplings: it passes what is right and finds what is planted."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import qc
from qc.coupling import SCHEMES, Coupling, PointDefects, QuasiContinuum, Scheme
from qc.crystal import fcc, triangular
from qc.errors import InputError
from qc.potentials import EAM, ToyEAM, zhou2004
from qc.verify import check_coupling

A = 3.6149603
HOLE = PointDefects(vacant=[(0, 0, 0)])


@cache
def copper():
    return zhou2004("Cu"), fcc("Cu", A).as_columns()


def model(scheme="bgfc", potential=None, **options):
    stock, crystal = copper()
    size = {"core": 1.75 * A, "blend": 1.5 * A, "outer": 7.5 * A}
    if scheme == "atomistic":
        size["outer"] = 3 * A
    if scheme != "cauchy-born":
        size["defects"] = HOLE
    return QuasiContinuum(crystal, potential or stock, scheme=scheme, **(size | options))


@cache
def report(scheme):
    return check_coupling(model(scheme))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_our_schemes_do_what_they_claim(scheme):
    outcome = report(scheme)
    # Energy blending without a correction has ghost forces; it must be seen to fail.
    expected = ("patch residual",) if scheme in ("qce", "bqce") else ()
    assert outcome.failed == expected, str(outcome)
    assert outcome.passed == (not expected)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_scheme_is_given_the_checks_it_can_be_given(scheme):
    names = {check.name for check in report(scheme).checks}
    assert {"sites counted once", "weights in [0, 1]", "patch residual", "ghost force"} <= names
    energy = scheme != "bqcf"
    assert ("patch energy" in names) == energy
    assert ("forces: all" in names) == energy
    assert ("forces: sites" in names) == (scheme != "cauchy-born")
    assert ("forces: elements" in names) == (scheme != "atomistic")
    assert ("forces: ghost correction" in names) == (scheme in ("bgfc", "scgfc"))
    assert ("patch residual, moved" in names) == (scheme in ("bqcf", "scgfc", "cauchy-born"))
    assert {"hessian: all", "symmetry"} <= names


def test_ghost_forces_are_reported():
    size = {scheme: report(scheme)["ghost force"].figure for scheme in SCHEMES}
    assert size["qce"] > size["bqce"] > 0.01
    # Neighbour lists made at other moments sum in another order.
    assert size["bgfc"] == pytest.approx(size["bqce"], rel=1e-12)
    assert size["scgfc"] == pytest.approx(size["bqce"], rel=1e-12)
    assert max(size["atomistic"], size["cauchy-born"], size["bqcf"]) < 1e-12
    # Blended forces have no symmetric Hessian: reported, not judged.
    assert report("bqcf")["symmetry"].bound is None
    assert report("bqcf")["symmetry"].figure > 1e-6


def test_model_is_left_as_it_was():
    m = model("scgfc")
    u, ghost, count = m.U.copy(), m.coupling.ghost.copy(), m.coupling.evaluations
    check_coupling(m)
    assert np.array_equal(m.U, u)
    assert np.array_equal(m.coupling.ghost, ghost)
    assert m.coupling.evaluations == count


def test_report_reads_well():
    outcome = report("bqce")
    text = str(outcome)
    assert text.startswith("bqce, fcc columns, EAM: FAILED, ")
    assert "FAIL  patch residual" in text
    assert "ok    symmetry" in text
    assert not outcome
    assert "patch energy" in outcome
    with pytest.raises(KeyError, match="no check 'patch'"):
        outcome["patch"]
    assert qc.verify.check_coupling is check_coupling


@pytest.mark.parametrize("option", [{"strain": 0.0}, {"amplitude": np.nan}, {"strain": -1}])
def test_bad_parameters(option):
    with pytest.raises(InputError, match="must be positive and finite"):
        check_coupling(model(), **option)


def test_monolayer_is_checked_in_its_plane():
    m = QuasiContinuum(triangular("X", 0.97631099), ToyEAM(), core=3, blend=3, outer=12)
    outcome = check_coupling(m)
    assert outcome.passed, str(outcome)


def test_a_scheme_of_ones_own():
    # Narrower blending than the model's, still smooth.
    def narrower(beta):
        t = np.clip(2.0 * beta - 0.5, 0.0, 1.0)
        return t * t * (3.0 - 2.0 * t)

    own = Scheme("own", "narrower blend", weighting=narrower, ghost="predictor")
    outcome = check_coupling(model(own))
    assert outcome.passed, str(outcome)
    assert str(outcome).startswith("own, fcc columns")


# -- planted faults -------------------------------------------------------------------------------


def test_weights_out_of_range_are_found():
    own = Scheme("own", "too much", weighting=lambda beta: 1.2 * beta, ghost="predictor")
    assert "weights in [0, 1]" in check_coupling(model(own)).failed


class Stretched(EAM):
    """Forces that are 0.1 % too large."""

    def energy_forces(self, *arguments):
        energies, forces = super().energy_forces(*arguments)
        return energies, 1.001 * forces


class Lopsided(EAM):
    """Hessian products with a part that is not symmetric."""

    def bond_hessian_product(self, bonds, dvectors):
        return super().bond_hessian_product(bonds, dvectors) + 1e-4 * np.roll(dvectors, 1, axis=1)


class StiffStar(EAM):
    """A Cauchy-Born tangent that is 0.1 % too stiff."""

    def deformed_star(self, F, star, site_type, star_types, tangent=False):
        e, p, a = super().deformed_star(F, star, site_type, star_types, tangent)
        return e, p, None if a is None else 1.001 * a


class HeavyStar(EAM):
    """A Cauchy-Born energy off by a part in 1e10: elements and sites of different crystals."""

    def deformed_star(self, F, star, site_type, star_types, tangent=False):
        e, p, a = super().deformed_star(F, star, site_type, star_types, tangent)
        return (1 + 1e-10) * e, p, a


def spoilt(kind):
    stock = copper()[0]
    other = kind.__new__(kind)
    other.__dict__.update(stock.__dict__)
    return other


@pytest.mark.parametrize(
    ("kind", "failed"),
    [
        # The ghost correction is made of the wrong forces too, which a strain in U shows.
        (
            Stretched,
            {"forces: sites", "forces: all", "hessian: sites", "hessian: all"}
            | {"patch energy, moved"},
        ),
        (Lopsided, {"hessian: sites", "hessian: all", "symmetry"}),
        (StiffStar, {"hessian: elements", "hessian: all"}),
        (HeavyStar, {"patch energy", "patch energy, moved"}),
    ],
)
def test_faults_in_a_potential_are_found(kind, failed):
    assert set(check_coupling(model(potential=spoilt(kind))).failed) == failed


def test_ghost_force_of_the_wrong_sign_is_found(monkeypatch):
    right = Coupling._ghost_at_predictor
    monkeypatch.setattr(Coupling, "_ghost_at_predictor", lambda self: -right(self))
    failed = check_coupling(model()).failed
    assert "patch residual" in failed


def test_unbalanced_books_are_found(monkeypatch):
    def plain_mean(layout, weighting, site_weights):
        return weighting(layout.beta_nodes)[layout.mesh.elements].mean(axis=1)

    monkeypatch.setattr("qc.coupling.parts.blended_weights", plain_mean)
    crystal = fcc("Cu", A)
    m = QuasiContinuum(crystal, copper()[0], scheme="bqce", core=A, blend=1.5 * A, outer=5 * A)
    failed = check_coupling(m).failed
    assert {"sites counted once", "patch energy"} <= set(failed)


def test_missing_halo_is_found():
    # The outermost atoms of the patch left out: sites with weight miss neighbours.
    m = model(defects=None)
    layout = m.layout
    distance = layout.blend.centres.distance(layout.positions)
    keep = distance < layout.blend.outer + 0.4 * m.potential.cutoff
    thin = replace(
        layout,
        lattice=layout.lattice[keep],
        sublattice=layout.sublattice[keep],
        positions=layout.positions[keep],
        types=layout.types[keep],
        vacant=layout.vacant[keep],
        extra=layout.extra[keep],
        node=layout.node[keep],
        interpolation=layout.interpolation[keep],
        beta_atoms=layout.beta_atoms[keep],
        beta_cells=layout.beta_cells[keep],
    )
    m.layout = thin
    m.coupling = Coupling(thin, m.rule, m.far_field, m.scheme)
    assert "patch energy" in check_coupling(m).failed


def test_forces_that_are_not_full_are_found():
    m = model("bqcf", defects=None)
    weights = m.coupling.pure.atoms.weights
    blend = m.layout.blend
    distance = blend.centres.distance(m.layout.positions)
    weights[np.argmin(np.abs(distance - 0.5 * (blend.core + blend.outer)))] = 0.0
    assert "sites counted once" in check_coupling(m).failed
