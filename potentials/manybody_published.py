"""Stillinger-Weber and Tersoff potentials from their published parameters."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from qc.errors import UnknownSpeciesError, suggest

from .stillinger_weber import StillingerWeber


@lru_cache(maxsize=1)
def published() -> dict[str, Any]:
    """Return the parameters by family and builder, as published (see the file's provenance)."""
    text = (Path(__file__).parent / "data" / "manybody.json").read_text(encoding="utf-8")
    return json.loads(text)


def stillinger1985(symbol: str = "Si") -> StillingerWeber:
    """Return the potential of Stillinger & Weber for silicon, as published.

    Diamond lattice constant 5.431 Angstrom, cohesive energy 2 epsilon = 4.3366 eV.

    Raises
    ------
    UnknownSpeciesError
        Another element than Si.

    Source: F. H. Stillinger, T. A. Weber, Phys. Rev. B 31 (1985) 5262.
    """
    return _stillinger_weber("stillinger1985", symbol)


def balamane1992(symbol: str = "Si") -> StillingerWeber:
    """Return the Stillinger-Weber potential scaled to the measured cohesive energy, 4.63 eV.

    Raises
    ------
    UnknownSpeciesError
        Another element than Si.

    Source: H. Balamane, T. Halicioglu, W. A. Tiller, Phys. Rev. B 46 (1992) 2250.
    """
    return _stillinger_weber("balamane1992", symbol)


def holland1998(symbol: str = "Si") -> StillingerWeber:
    """Return the Stillinger-Weber potential with doubled angular stiffness, for brittle fracture.

    Raises
    ------
    UnknownSpeciesError
        Another element than Si.

    Source: D. Holland, M. Marder, Phys. Rev. Lett. 80 (1998) 746.
    """
    return _stillinger_weber("holland1998", symbol)


def _stillinger_weber(name: str, symbol: str) -> StillingerWeber:
    entry = dict(_element(name, published()["stillinger_weber"][name], symbol))
    entry["lam"] = entry.pop("lambda")
    return StillingerWeber(symbol, source=published()["provenance"][name]["paper"], **entry)


def _element(name: str, table: dict[str, Any], symbol: str) -> dict[str, Any]:
    known = [key for key in table if key != "chi"]
    if symbol not in known:
        raise UnknownSpeciesError(
            f"{name} has no parameters for '{symbol}'; it supports {', '.join(known)}"
            f"{suggest(symbol, known)}"
        )
    return table[symbol]
