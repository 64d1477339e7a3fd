"""Stillinger-Weber and Tersoff potentials from their published parameters."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from qc.errors import PotentialError, UnknownSpeciesError, suggest

from ..base import Array
from .stillinger_weber import StillingerWeber
from .tersoff import Tersoff


@lru_cache(maxsize=1)
def published() -> dict[str, Any]:
    """Return the parameters by family and builder, as published (see the file's provenance)."""
    text = (Path(__file__).parents[1] / "data" / "manybody.json").read_text(encoding="utf-8")
    return json.loads(text)


def stillinger1985(symbol: str = "Si") -> StillingerWeber:
    """Return the potential of Stillinger & Weber for silicon, as published.

    Diamond lattice constant 5.431 Angstrom, cohesive energy 2 epsilon = 4.3364 eV. LAMMPS's
    Si.sw rounds epsilon the other way, to 2.1683 eV: energies there are 5e-5 higher.

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


def tersoff1988(symbol: str) -> Tersoff:
    """Return the potential of Tersoff for silicon (T3) or for carbon, of 1988.

    Parameters
    ----------
    symbol : {"Si", "C"}

    Raises
    ------
    UnknownSpeciesError
        Another element.

    Source: Si: J. Tersoff, Phys. Rev. B 38 (1988) 9902. C: Phys. Rev. Lett. 61 (1988) 2879.
    """
    return _tersoff("tersoff1988", (symbol,))


def tersoff1989(*symbols: str) -> Tersoff:
    """Return the potential of Tersoff for silicon, carbon, germanium, and Si-C or Si-Ge.

    Parameters
    ----------
    *symbols : str
        Chemical symbols, distinct, in the order of the species indices.

    Notes
    -----
    The mixing rule is evaluated in full precision. Files that carry the mixed numbers round
    them, LAMMPS's SiC.tersoff so far that SiC is a slightly different material.

    Raises
    ------
    UnknownSpeciesError
        Another element.
    PotentialError
        C with Ge, whose strength of mixing was not published.

    Source: J. Tersoff, Phys. Rev. B 39 (1989) 5566, erratum 41 (1990) 3248.
    """
    return _tersoff("tersoff1989", symbols)


def _tersoff(name: str, symbols: tuple[str, ...]) -> Tersoff:
    table = published()["tersoff"][name]
    if not symbols:
        raise PotentialError(f"name at least one of {', '.join(k for k in table if k != 'chi')}")
    elements = [_element(name, table, symbol) for symbol in symbols]
    e = {key: np.array([element[key] for element in elements]) for key in elements[0]}
    ns = len(symbols)
    chi = np.ones((ns, ns))
    for i, one in enumerate(symbols):
        for j, two in enumerate(symbols):
            if one != two:
                pair = " ".join(sorted((one, two), key=list(table).index))
                if pair not in table["chi"]:
                    raise PotentialError(f"{name} has no parameters for {one} with {two}")
                chi[i, j] = table["chi"][pair]

    def arithmetic(key: str) -> Array:
        return 0.5 * (e[key][:, None] + e[key])

    def geometric(key: str) -> Array:
        # A root of a square may be one digit off; elements keep their own numbers.
        return np.where(np.eye(ns, dtype=bool), e[key], np.sqrt(e[key][:, None] * e[key]))

    inner, outer = geometric("inner"), geometric("outer")
    # Pair parameters by (i, j), cutoffs of the third atom by (i, k), the rest by i alone.
    return Tersoff(
        symbols,
        A=geometric("A")[:, :, None],
        B=(chi * geometric("B"))[:, :, None],
        lambda1=arithmetic("lambda1")[:, :, None],
        lambda2=arithmetic("lambda2")[:, :, None],
        R=(0.5 * (inner + outer))[:, None, :],
        D=(0.5 * (outer - inner))[:, None, :],
        source=published()["provenance"][name]["paper"],
        **{key: e[key][:, None, None] for key in ("beta", "n", "c", "d", "costheta0", "lambda3")},
    )


def _element(name: str, table: dict[str, Any], symbol: str) -> dict[str, Any]:
    known = [key for key in table if key != "chi"]
    if symbol not in known:
        raise UnknownSpeciesError(
            f"{name} has no parameters for '{symbol}'; it supports {', '.join(known)}"
            f"{suggest(symbol, known)}"
        )
    return table[symbol]
