"""What an interface sends back over the whole zone; a short version is run with the examples."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytestmark = [pytest.mark.physics, pytest.mark.long]

EXAMPLE = Path(__file__).parents[3] / "examples" / "phonon_reflection.py"


def test_little_comes_back_from_blend_and_stadium(figures):
    """The blend alone carries long waves; a stadium that begins in the core stops all of them."""
    rows = runpy.run_path(str(EXAMPLE), run_name="phonon_reflection")["main"]([])
    for row in rows:
        figures(f"reflection {row.wavelength:g} nn {row.branch}", **row.coefficient)
    assert {row.branch for row in rows} == {"L", "T [001]", "T [1-10]"}
    assert min(row.wavelength for row in rows) < 1.2
    assert max(row.coefficient["fine"] for row in rows if row.wavelength >= 8.0) < 0.01
    assert max(row.coefficient["stadium"] for row in rows) < 0.02
    # Without either, most of a short wave comes back: the figures mean something.
    assert max(row.coefficient["graded"] for row in rows) > 0.5
