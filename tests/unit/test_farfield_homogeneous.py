"""Homogeneous strain, common deformation gradients and the far-field protocol."""

import numpy as np
import pytest

import qc.farfield as farfield
from qc.errors import InputError

F = np.array([[1.02, 0.03, -0.01], [0.0, 0.97, 0.02], [0.01, 0.0, 1.01]])


def test_displacement_gradient_and_slip():
    field = farfield.HomogeneousStrain(F)
    x = np.random.default_rng(1).normal(size=(7, 3)) * 50.0
    np.testing.assert_allclose(x + field.displacement(x), x @ F.T, rtol=0, atol=1e-12)
    np.testing.assert_allclose(field.gradient(x), np.tile(F - np.eye(3), (7, 1, 1)), atol=1e-15)
    np.testing.assert_allclose(field.gradient_at(x), field.gradient(x), atol=0)
    assert not field.slip(x, x[::-1]).any()
    np.testing.assert_array_equal(field.mean_deformation, F)
    assert farfield.HomogeneousStrain().displacement(x).any() == False  # noqa: E712


def test_every_field_follows_the_protocol():
    one = farfield.VolterraDislocation(farfield.isotropic_elastic(0.2, 0.3), (2.0, 0.0, 0.0))
    for field in (farfield.HomogeneousStrain(F), one, farfield.DislocationSum([one], F)):
        assert isinstance(field, farfield.FarField)
        sheared = field.with_mean_deformation(F @ F)
        np.testing.assert_allclose(sheared.mean_deformation, F @ F)
        assert sheared.fingerprint() != field.fingerprint()
        assert field.displacement(np.empty((0, 3))).shape == (0, 3)
        assert field.gradient(np.empty((0, 3))).shape == (0, 3, 3)
        assert field.gradient_at(np.empty((0, 3))).shape == (0, 3, 3)
        assert field.slip(np.empty((0, 3)), np.empty((0, 3))).shape == (0, 3)


def test_fingerprint_depends_on_content_only():
    one = farfield.HomogeneousStrain(F).fingerprint()
    assert one == farfield.HomogeneousStrain(F).fingerprint()
    assert one != farfield.HomogeneousStrain().fingerprint()


def test_deformation_is_copied_and_read_only():
    matrix = F.copy()
    field = farfield.HomogeneousStrain(matrix)
    matrix[0, 0] = 9.0
    np.testing.assert_array_equal(field.mean_deformation, F)
    with pytest.raises(ValueError, match="read-only"):
        field.mean_deformation[0, 0] = 2.0


def test_simple_shear_moves_planes_by_gamma():
    shear = farfield.simple_shear(0.03, (1, 1, 0), (0, 0, 2))
    np.testing.assert_allclose(
        shear @ [0, 0, 1.0], [0.03 / np.sqrt(2), 0.03 / np.sqrt(2), 1.0], atol=1e-15
    )
    assert np.linalg.det(shear) == pytest.approx(1.0, abs=1e-14)


def test_uniaxial_strain_stretches_one_direction():
    stretch = farfield.uniaxial_strain(0.1, (0, 3, 4))
    np.testing.assert_allclose(stretch @ [0, 0.6, 0.8], [0, 0.66, 0.88], atol=1e-15)
    np.testing.assert_allclose(stretch @ [1, 0.8, -0.6], [1, 0.8, -0.6], atol=1e-15)


@pytest.mark.parametrize(
    "bad",
    [
        np.diag([1.0, 1.0, -1.0]),
        np.diag([1.0, 1.0, 0.0]),
        np.full((3, 3), np.nan),
        np.diag([1.0, np.inf, 1.0]),
        np.eye(2),
        "shear",
        np.eye(3) * 1j,
    ],
)
def test_unusable_deformations_are_refused(bad):
    with pytest.raises(InputError):
        farfield.HomogeneousStrain(bad)


def test_unusable_helpers_and_points_are_refused():
    with pytest.raises(InputError, match="orthogonal"):
        farfield.simple_shear(0.01, (1, 0, 0), (1, 1, 0))
    with pytest.raises(InputError, match="direction"):
        farfield.simple_shear(0.01, (0, 0, 0), (0, 1, 0))
    with pytest.raises(InputError, match="gamma"):
        farfield.simple_shear(np.nan)
    with pytest.raises(InputError, match="determinant"):
        farfield.uniaxial_strain(-1.0, (1, 0, 0))
    field = farfield.HomogeneousStrain(F)
    with pytest.raises(InputError, match="index \\(1, 2\\)"):
        field.displacement([[0, 0, 0], [0, 0, np.nan]])
    with pytest.raises(InputError, match="shape"):
        field.gradient(np.zeros((4, 2)))
    with pytest.raises(InputError, match="current"):
        field.gradient_at([[0, 0, np.inf]])
