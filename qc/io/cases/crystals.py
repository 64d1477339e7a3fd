"""Potential and crystal of a case."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.data import atomic_numbers, reference_states

from qc.crystal import Crystal, bcc, diamond, fcc, hcp, triangular
from qc.errors import CaseError, CrystalError
from qc.io.cases.base import Case
from qc.io.cases.schema import Length
from qc.io.cases.tables import FAMILIES, PARAMETERS
from qc.io.potentials import read_potential
from qc.materials import equilibrium_crystal
from qc.potentials import Potential


def build_potential(case: Case) -> Potential:
    """Build the potential of a case for its crystal's and its defects' elements."""
    p = case.potential
    given = {name: _in_angstrom(name, vars(p)[name]) for name in PARAMETERS}
    given = {name: value for name, value in given.items() if value is not None}
    if p.name is None:
        assert p.file is not None
        return read_potential(case.source.parent / p.file, _wanted(case), **given)
    species = _wanted(case) if p.elements is None else p.elements
    return FAMILIES[p.name].build(species, **given)


def _wanted(case: Case) -> tuple[str, ...]:
    """Return the elements that a case names, the crystal's first."""
    wanted = [
        case.crystal.element,
        *(s.element for s in case.defects.substitutions),
        *(i.element for i in case.defects.interstitials if i.element is not None),
    ]
    return tuple(dict.fromkeys(wanted))


def _in_angstrom(name: str, value: Any) -> Any:
    """Return a parameter of the potential, a length in Angstrom: the crystal is not known yet."""
    if not isinstance(value, Length):
        return value
    if value.unit in ("a", "nn"):
        raise CaseError(f"potential.{name}: lengths of a potential are in Angstrom or nm")
    return value.angstrom(1.0, 1.0)


def lattice_constants(case: Case, potential: Potential) -> tuple[float, float | None]:
    """Return a, and c of an hcp crystal, Angstrom; those at rest where that is asked for."""
    c = case.crystal
    # The potential's own message lists what it knows.
    potential.types_of([c.element])
    if not isinstance(c.lattice_constant, str):
        a = c.lattice_constant.angstrom(1.0, 1.0)
        if c.structure != "hcp":
            return a, None
        return a, float(np.sqrt(8.0 / 3.0) * a) if c.c is None else c.c.angstrom(a, a)
    start = _first_guess(case)
    ideal = float(np.sqrt(8.0 / 3.0) * start) if c.structure == "hcp" else None
    found = equilibrium_crystal(build_crystal(case, start, ideal), potential)
    return found.a, found.c


def build_crystal(case: Case, a: float, height: float | None) -> Crystal:
    """Return the crystal of a case with given lattice constants, Angstrom."""
    c = case.crystal
    if c.structure == "triangular":
        return triangular(c.element, a)
    axes: dict[str, Any] = {"x": c.x, "y": c.y, "z": c.z}
    if height is not None:
        crystal = hcp(c.element, a, height, **axes)
    else:
        crystal = {"fcc": fcc, "bcc": bcc, "diamond": diamond}[c.structure](c.element, a, **axes)
    return crystal.as_columns(c.z) if c.columns else crystal


#: Atoms per conventional cell, in units of a^3 (hcp with the ideal ratio).
_PER_CELL = {"fcc": 4.0, "bcc": 2.0, "diamond": 8.0, "hcp": 2.0 / (np.sqrt(3) / 2 * np.sqrt(8 / 3))}


def _first_guess(case: Case) -> float:
    """Return a lattice constant to start from: nature's volume per atom, or the pair's distance."""
    c, p = case.crystal, case.potential
    spacing = None
    if p.sigma is not None:
        spacing = 2.0 ** (1.0 / 6.0) * p.sigma.angstrom(1.0, 1.0)
    elif p.distance is not None:
        spacing = p.distance.angstrom(1.0, 1.0)
    if spacing is not None:
        ratio = {"fcc": 2**0.5, "bcc": 2 / 3**0.5, "diamond": 4 / 3**0.5}.get(c.structure, 1.0)
        return spacing * ratio
    state = reference_states[atomic_numbers.get(c.element, 0)] or {}
    nature, size = str(state.get("symmetry", "")), state.get("a")
    if nature not in _PER_CELL or size is None:
        raise CrystalError(
            f"nothing is known about {c.element} to start from: give lattice_constant a number"
        )
    volume = float(str(size)) ** 3 / _PER_CELL[nature]
    if c.structure == "triangular":
        return float((np.sqrt(2.0) * volume) ** (1.0 / 3.0))
    return float((volume * _PER_CELL[c.structure]) ** (1.0 / 3.0))
