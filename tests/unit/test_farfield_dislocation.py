"""Self-consistent kinematics of dislocations and their sums, away from any lattice."""

import numpy as np
import pytest

import qc.farfield as farfield
from qc.errors import InputError

ELASTIC = farfield.cubic_elastic(1.051, 0.758, 0.471)
FBAR = np.array([[1.01, 0.03, 0.0], [0.0, 0.98, 0.004], [0.01, -0.02, 1.02]])
B = 2.556
EDGE, SCREW, MIXED = (B, 0, 0), (0, 0, B), (0.8 * B, 0, -0.6 * B)


def one(burgers=MIXED, position=(0.0, 0.0), **kwargs):
    return farfield.VolterraDislocation(ELASTIC, burgers, position, **kwargs)


def dipole(half=30.0, height=0.0, **kwargs):
    back = one(-np.array(MIXED), (-half, 0.0), **kwargs)
    return farfield.DislocationSum([back, one(MIXED, (half, height), **kwargs)], FBAR)


def fields():
    yield "edge", one(EDGE)
    yield "screw", one(SCREW)
    yield "mixed strained", one(MIXED, (1.0, 2.0)).with_mean_deformation(FBAR)
    yield "dipole", dipole()
    yield "turned cut", one((0, 2.0, 1.0), cut_direction=(0, 1))
    yield "textbook", one(MIXED, self_consistent=False)
    yield "textbook dipole", dipole(self_consistent=False)


EVERY = pytest.mark.parametrize("field", [f[1] for f in fields()], ids=[f[0] for f in fields()])


def cloud(n=60, seed=0, size=45.0, away=5.0, cores=((0, 0), (-30, 0), (30, 0), (1, 2))):
    x = np.random.default_rng(seed).uniform(-size, size, (n, 3))
    near = np.min([np.hypot(*(x[:, :2] - c).T) for c in cores], axis=0)
    on_cut = (np.abs(x[:, 1]) < 0.1) | (np.abs(x[:, 1] - 2.0) < 0.1) | (np.abs(x[:, 0]) < 0.1)
    return x[(near > away) & ~on_cut]


@EVERY
def test_gradient_is_the_derivative_of_the_displacement(field):
    x = cloud()
    errors = []
    for step in 10.0 ** -np.arange(1, 8):
        numeric = np.zeros((len(x), 3, 3))
        for k in range(3):
            shift = np.zeros(3)
            shift[k] = step
            # The shifts are smaller than the distance of any point from a cut.
            plus, minus = (field.displacement(x + s * shift * 0.5) for s in (1, -1))
            numeric[:, :, k] = (plus - minus) / step
        errors.append(np.abs(numeric - field.gradient(x)).max())
    assert min(errors) < 1e-9
    assert errors[0] > 1e2 * min(errors)
    assert errors[-1] > 3 * min(errors)


@EVERY
def test_gradient_at_current_positions(field):
    x = cloud()
    y = x + field.displacement(x)
    np.testing.assert_allclose(field.gradient_at(y), field.gradient(x), atol=1e-10)
    # The two arguments are not the same thing, unless nothing moves within the plane.
    if np.abs(y - x)[:, :2].max() > 0.01:
        assert np.abs(field.gradient_at(x) - field.gradient(x)).max() > 1e-4


def test_self_consistent_equation_holds():
    textbook, field = one(EDGE, self_consistent=False), one(EDGE)
    x = cloud()
    # Ahead of the cut both fields are on the principal sheet.
    x = x[x[:, 0] > 0]
    y = x + field.displacement(x)
    np.testing.assert_allclose(x + textbook.displacement(y), y, atol=1e-11)
    assert np.abs(field.displacement(x) - textbook.displacement(x)).max() > 0.01


@pytest.mark.parametrize("strained", [False, True])
def test_burgers_circuit_in_the_deformed_crystal(strained):
    field = dipole() if strained else one(MIXED, (-30.0, 0.0))
    fbar = field.mean_deformation
    sign = -1.0 if strained else 1.0
    for core, enclosed in zip(field.current_cores, (sign, 1.0), strict=False):
        angle = np.linspace(0, 2 * np.pi, 600, endpoint=False)
        along = 9.0 * np.stack([-np.sin(angle), np.cos(angle), 0 * angle], axis=1)
        y = 9.0 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
        y[:, :2] += core
        inverse = np.linalg.inv(np.eye(3) + field.gradient_at(y))
        step = np.einsum("nij,nj->ni", np.linalg.inv(fbar) - inverse, along)
        circuit = step.sum(axis=0) * 2 * np.pi / len(angle)
        np.testing.assert_allclose(circuit, enclosed * np.array(MIXED), atol=1e-9)


def test_mean_deformation_is_outermost_and_carries_the_period():
    field, x = dipole(), cloud()
    bare = farfield.DislocationSum(field.dislocations)
    y = (x + bare.displacement(x)) @ FBAR.T
    np.testing.assert_allclose(x + field.displacement(x), y, atol=1e-11)
    f0 = FBAR @ (np.eye(3) + bare.gradient(x)) - np.eye(3)
    np.testing.assert_allclose(field.gradient(x), f0, atol=1e-12)
    period = np.array([0, 0, 4.43])
    moved = x + period + field.displacement(x + period) - x - field.displacement(x)
    np.testing.assert_allclose(moved, np.tile(FBAR @ period, (len(x), 1)), atol=1e-11)
    np.testing.assert_allclose(field.gradient_at(y + FBAR @ period), field.gradient_at(y))


def winding(path, core):
    closed = np.vstack([path, path[:1]]) - core
    angle = np.arctan2(closed[:, 1], closed[:, 0])
    turn = np.diff(angle)
    return np.round(((turn + np.pi) % (2 * np.pi) - np.pi).sum() / (2 * np.pi))


def test_slip_around_closed_paths_is_minus_the_enclosed_burgers_vector():
    rng = np.random.default_rng(3)
    slanted = farfield.VolterraDislocation(ELASTIC, (1.0, 1.0, 0.3), (8.0, -11.0), (-1.0, -1.0))
    field = farfield.DislocationSum([*dipole().dislocations, slanted], FBAR)
    enclosing = 0
    for _ in range(200):
        path = np.column_stack([rng.uniform(-60, 60, (7, 2)), rng.uniform(-5, 5, 7)])
        slip = field.slip(path, np.roll(path, -1, axis=0)).sum(axis=0)
        turns = [winding(path[:, :2], d.position) for d in field.dislocations]
        expected = -sum(t * d.burgers for t, d in zip(turns, field.dislocations, strict=True))
        np.testing.assert_allclose(slip, expected, atol=1e-12)
        enclosing += any(turns)
    assert enclosing > 50


def test_slip_of_a_dipole_lies_between_its_cores():
    field = dipole(half=30.0)
    x = np.array([-80.0, -31.0, -29.0, 0.0, 29.0, 31.0, 80.0])
    below = np.stack([x, 0 * x - 1.0, 0 * x], axis=1)
    above = below + np.array([0.0, 2.0, 5.0])
    expected = np.outer([0, 0, 1, 1, 1, 0, 0], MIXED)
    np.testing.assert_allclose(field.slip(below, above), expected, atol=1e-15)
    np.testing.assert_allclose(field.slip(above, below), -expected, atol=1e-15)
    assert not field.slip(above[:-1], above[1:]).any()


def test_jump_follows_slip_exactly_for_coincident_deformed_points():
    # Two reference points that differ by minus the slip have one current position: they are the
    # same lattice site seen from the two sides of the cut.
    field = one(MIXED)
    above = np.array([[-40.0, 1e-9, 0.0], [-15.0, 1e-9, 2.0]])
    below = above * [1, -1, 1] + MIXED
    slip = field.slip(below, above)
    np.testing.assert_allclose(slip, np.tile(MIXED, (2, 1)), atol=0)
    gap = above + field.displacement(above) - below - field.displacement(below)
    np.testing.assert_allclose(gap, 0, atol=1e-8)


def test_dipole_is_short_ranged_and_cores_are_carried():
    field = farfield.DislocationSum(dipole(half=20.0).dislocations)
    angle = np.linspace(0.1, 6.0, 30)
    unit = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    near, far = (np.abs(field.displacement(r * unit)).max() for r in (200.0, 400.0))
    assert near / far == pytest.approx(2.0, rel=0.1)
    # What carries a core is the field of the other one at the core.
    other, cores = one(-np.array(MIXED), self_consistent=False), field.current_cores
    carried = other.displacement([[*(cores[1] - cores[0]), 0.0]])[0, :2]
    assert np.abs(carried).max() > 0.1
    np.testing.assert_allclose(cores[1] - carried, [20.0, 0.0], atol=1e-9)
    # The first core lies on the cut of the second: it moves with the mean of the two sides, and
    # so neither core is carried along the plane more than the other.
    np.testing.assert_allclose(cores[0] + cores[1], 0.0, atol=1e-9)
    assert abs(cores[1, 0] - 20.0) < 0.1 * B


def around(core, least=0.02, most=4.0):
    radius, angle = np.meshgrid(np.geomspace(least, most, 25), np.linspace(-3.1, 3.1, 30))
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * radius], axis=-1)
    return x.reshape(-1, 3) + np.array([*core, 0.0])


def test_a_core_is_that_of_a_lone_dislocation_carried_along():
    field, alone = dipole(half=150.0), one(MIXED, (150.0, 0.0))
    bare = farfield.DislocationSum(field.dislocations)
    x = around((150.0, 0.0))
    moved = bare.displacement(x) - alone.displacement(x)
    carried = bare.current_cores[1] - [150.0, 0.0]
    assert np.abs(carried).max() > 0.3
    # What is left is the strain of the other dislocation, 300 Angstrom away, over this patch.
    np.testing.assert_allclose(moved[:, :2], np.tile(carried, (len(x), 1)), atol=0.02)


def test_atoms_in_the_core_radius_are_placed_by_the_textbook_field():
    field, textbook = one(EDGE), one(EDGE, self_consistent=False)
    x = around((0, 0), most=0.3)
    np.testing.assert_array_equal(field.displacement(x), textbook.displacement(x))
    x = around((0, 0))
    y = x + field.displacement(x)
    by_textbook = (field.displacement(x) == textbook.displacement(x)).all(axis=1)
    assert np.hypot(*y[~by_textbook, :2].T).min() >= field.core_radius
    # Behind the core atoms move towards it by up to half of b.
    farthest = np.hypot(*x[by_textbook, :2].T).max()
    assert field.core_radius < farthest < field.core_radius + 0.6 * B


def test_overlapping_cores_do_not_invert_the_crystal():
    near = 1.01 * one(EDGE).core_radius
    for sign in (1, -1):
        pair = [one(EDGE), one(sign * np.array(EDGE), (near, 0.0))]
        field = farfield.DislocationSum(pair)
        for y in (around((0, 0)), around((near, 0)), around(field.current_cores.mean(axis=0))):
            assert np.linalg.det(np.eye(3) + field.gradient_at(y)).min() > 0.1
            # |grad u| <= 3/4 bounds |F0 - I| by 3/4 / (1 - 3/4).
            assert np.linalg.norm(field.gradient_at(y), 2, axis=(1, 2)).max() <= 3.0


def test_many_dislocations_converge_everywhere():
    # A pile-up of equal signs drifts by several Angstrom; every point must still find its place.
    members = [one(EDGE, (-25.0 * k, 2.0 * (k % 2))) for k in range(8)]
    field = farfield.DislocationSum(members)
    x = np.random.default_rng(5).uniform(-250, 250, (4000, 3))
    u = field.displacement(x)
    y = x + u
    jacobian = np.linalg.det(np.eye(3) + field.gradient_at(y))
    assert np.isfinite(u).all()
    assert jacobian.min() > 0.0


@pytest.mark.parametrize("self_consistent", [True, False])
def test_core_and_cut_are_finite(self_consistent):
    field = farfield.DislocationSum(
        [d for d in dipole(self_consistent=self_consistent).dislocations], FBAR
    )
    tiny = np.array([0.0, 1e-300, 1e-14, 1e-6, 0.01, 0.3])
    x = np.array(
        [(30.0 + s * h, t * v, 0.0) for h in tiny for v in tiny for s in (1, -1) for t in (1, -1)]
    )
    x = np.vstack([x, [[-30.0, 0, 0], [30.0, -0.0, 0], [0.0, 0.0, 0.0], [0.0, -0.0, 0.0]]])
    u = field.displacement(x)
    assert np.abs(u - x @ (FBAR - np.eye(3)).T).max() < 2 * B
    # A point on the cut is above it, whatever the sign of its zero.
    np.testing.assert_array_equal(u[-1], u[-2])
    np.testing.assert_allclose(u[-1], field.displacement([[0, 1e-13, 0]])[0], atol=1e-10)
    assert not np.allclose(u[-1], field.displacement([[0, -1e-13, 0]])[0], atol=1.0)
    for gradient in (field.gradient(x), field.gradient_at(x), field.gradient_at(x + u)):
        assert np.isfinite(gradient).all()
        if self_consistent:
            assert np.linalg.det(np.eye(3) + gradient).min() > 0.01


def test_core_radius_bounds_the_gradient():
    for burgers in (EDGE, SCREW, MIXED):
        field = one(burgers)
        assert 0.25 < field.core_radius / B < 1.0
        angle = np.linspace(0, 6.28, 500)
        ring = field.core_radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        norm = np.linalg.norm(field.field.gradient(ring), axis=(1, 2))
        assert norm.max() == pytest.approx(0.5, rel=1e-3)


def test_moved_and_fingerprint():
    field = one(MIXED)
    moved = field.moved((10.0, -3.0))
    x = cloud(away=12.0)
    np.testing.assert_allclose(
        moved.displacement(x + np.array([10.0, -3.0, 0])), field.displacement(x), atol=1e-11
    )
    assert moved.fingerprint() != field.fingerprint()
    assert moved.moved((0.0, 0.0)).fingerprint() == field.fingerprint()
    assert one(MIXED, self_consistent=False).fingerprint() != field.fingerprint()
    pair = dipole()
    again = pair.moved([d.position for d in pair.dislocations])
    assert again.fingerprint() == pair.fingerprint()
    assert pair.moved([(-29.0, 0), (30.0, 0)]).fingerprint() != pair.fingerprint()
    np.testing.assert_array_equal(again.mean_deformation, FBAR)
    np.testing.assert_allclose(pair.burgers, 0)


def test_glide_slips_what_it_passed():
    # Moving the core by L changes the relative displacement across the plane by b between the old
    # and the new core, and nowhere else: no relabelling of sites is needed.
    old, new = one(EDGE), one(EDGE, (400.0, 0.0))
    x = np.array([[-400.0, 1.0, 0], [200.0, 1.0, 0], [800.0, 1.0, 0]])
    mirror = x * [1, -1, 1]
    across = [f.displacement(x) - f.displacement(mirror) for f in (old, new)]
    gained = across[1] - across[0]
    np.testing.assert_allclose(gained[:, 0], [0, B, 0], atol=0.02)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"burgers": (0, 0, 0)}, "burgers must not be zero"),
        ({"burgers": (np.nan, 0, 0)}, "burgers holds nan"),
        ({"burgers": (np.inf, 0, 0)}, "burgers holds inf"),
        ({"burgers": (1.0, 0)}, "burgers must have shape"),
        ({"burgers": "edge"}, "burgers must be real numbers"),
        ({"position": (0, 0, 0)}, "position must have shape"),
        ({"position": (np.nan, 0)}, "position holds nan"),
        ({"cut_direction": (0, 0)}, "cut_direction must not be zero"),
        ({"cut_direction": (1, 0, 0)}, "cut_direction must have shape"),
        ({"cut_direction": (0, 1)}, "glide plane"),
    ],
)
def test_unusable_dislocations_are_refused(keys, message):
    with pytest.raises(InputError, match=message):
        farfield.VolterraDislocation(**{"elastic": ELASTIC, "burgers": EDGE, **keys})


def test_a_screw_takes_any_cut():
    assert one(SCREW, cut_direction=(0.3, 2.0)).displacement([[3.0, 1, 1]]).any()
    assert one(EDGE, cut_direction=(0, 1), self_consistent=False).displacement([[3.0, 1, 1]]).any()


def test_unusable_sums_are_refused():
    with pytest.raises(InputError, match="at least one"):
        farfield.DislocationSum([])
    with pytest.raises(InputError, match="HomogeneousStrain"):
        farfield.DislocationSum([one(), farfield.HomogeneousStrain()])
    with pytest.raises(InputError, match="mixes"):
        farfield.DislocationSum([one(), one(position=(20, 0), self_consistent=False)])
    with pytest.raises(InputError, match="dislocations 0 and 1"):
        farfield.DislocationSum([one(), one(position=(0.5, 0))])
    with pytest.raises(InputError, match="mean_deformation"):
        farfield.DislocationSum([one()], -np.eye(3))
    with pytest.raises(InputError, match="positions must have shape"):
        dipole().moved([(0, 0)])


@EVERY
def test_unusable_points_are_refused(field):
    bad = np.zeros((4, 3))
    bad[2, 1] = np.nan
    for call in (field.displacement, field.gradient, field.gradient_at):
        with pytest.raises(InputError, match="index \\(2, 1\\)"):
            call(bad)
        with pytest.raises(InputError, match="shape"):
            call(np.zeros(3))
    with pytest.raises(InputError, match="end"):
        field.slip(np.zeros((4, 3)), bad)
    with pytest.raises(InputError, match="differ"):
        field.slip(np.zeros((4, 3)), np.zeros((3, 3)))
