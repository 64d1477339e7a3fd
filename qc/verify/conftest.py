"""Whose dynamics ``python -m pytest --pyargs qc.verify`` checks: what the environment says.

======================== ========================================================================
``QC_VERIFY_ATOMS``       ``module:function``, a function that returns ASE Atoms with a calculator,
                          or a model; copper with ASE's EMT by default
``QC_VERIFY_TEMPERATURE`` in K; 300
``QC_VERIFY_TIMESTEP``    in fs; a fifteenth of the stability bound
``QC_VERIFY_STEPS``       length of the longest run; 2000
======================== ========================================================================

Command-line options would need a plugin in every run of pytest wherever this package is installed.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import pytest
from ase import Atoms

from qc.verify.report import Report


def emt_copper() -> Atoms:
    """Return what is checked by default."""
    from ase.build import bulk
    from ase.calculators.emt import EMT

    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.calc = EMT()
    return atoms


def _subject() -> Any:
    name = os.environ.get("QC_VERIFY_ATOMS", "")
    if not name:
        return emt_copper()
    module, _, function = name.partition(":")
    if not module or not function:
        raise pytest.UsageError(f"QC_VERIFY_ATOMS={name}: give MODULE:FUNCTION")
    # A module of the user's lies where the command is given.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        made = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise pytest.UsageError(f"QC_VERIFY_ATOMS={name}: {error}") from error
    return made()


def _number(name: str) -> float | None:
    text = os.environ.get(name, "")
    try:
        return float(text) if text else None
    except ValueError as error:
        raise pytest.UsageError(f"{name}={text}: not a number") from error


@pytest.fixture(scope="session")
def report() -> Report:
    """Run the kit, once."""
    from ase.units import fs

    from qc.verify import check_dynamics

    step = _number("QC_VERIFY_TIMESTEP")
    return check_dynamics(
        _subject(),
        temperature=_number("QC_VERIFY_TEMPERATURE") or 300.0,
        timestep=None if step is None else step * fs,
        steps=int(_number("QC_VERIFY_STEPS") or 2000),
    )
