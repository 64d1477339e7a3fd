"""Single numbers handed in: what passes, and that nothing else is ever a bare Python error."""

from __future__ import annotations

import os
from fractions import Fraction

import numpy as np
import pytest

from qc.errors import InputError, RegionError
from qc.numerics.checks import kind, not_negative, positive, real, whole

NO_NUMBERS = ["1.0", b"1", None, [1.0], np.ones(1), 1j, {}, object, 10**400]
NUMBERS = [2, 2.0, np.float32(2.0), np.int64(2), np.array(2.0), Fraction(2)]


@pytest.mark.parametrize("value", NUMBERS)
def test_numbers_of_every_kind_become_floats(value):
    for check in (real, positive, not_negative):
        found = check("x", value)
        assert type(found) is float
        assert found == 2.0


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("check", [real, positive, not_negative])
def test_what_is_no_number_is_refused(check, value):
    with pytest.raises(RegionError, match="core must be a number"):
        check("core", value, RegionError)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, -np.inf])
def test_positive_refuses(value):
    with pytest.raises(InputError, match="x must be positive and finite, got"):
        positive("x", value)


@pytest.mark.parametrize("value", [-1e-300, np.nan, np.inf, -np.inf])
def test_not_negative_refuses(value):
    with pytest.raises(InputError, match="x must be finite and not negative, got"):
        not_negative("x", value)
    assert not_negative("x", 0) == 0.0


def test_whole_numbers():
    assert whole("steps", np.int32(3), 3) == 3
    with pytest.raises(InputError, match="steps must be at least 3, got 2"):
        whole("steps", 2, 3)
    for value in ("3", None, 3.0, [3]):
        with pytest.raises(InputError, match="steps must be a whole number"):
            whole("steps", value, 3)


def test_objects_of_another_kind_are_refused():
    kind("model", 1, int)
    kind("model", True, (str, int))
    with pytest.raises(InputError, match="model must be an int, got str"):
        kind("model", "1", int)
    with pytest.raises(RegionError, match="path must be a str or PathLike, got NoneType"):
        kind("path", None, (str, os.PathLike), RegionError)
