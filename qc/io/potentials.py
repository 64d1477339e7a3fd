"""Potentials by name and by the suffix of their file, for case files and the command line."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase.data import atomic_numbers

from qc.errors import PotentialError, UnknownSpeciesError, suggest

if TYPE_CHECKING:
    from qc.potentials import Potential

#: Built-in potentials: functions of `qc.potentials` that take chemical symbols.
BUILT_IN = (
    "zhou2004",
    "stillinger1985",
    "balamane1992",
    "holland1998",
    "tersoff1988",
    "tersoff1989",
)

#: Families of `qc.potentials` that files of a suffix belong to; any other file is setfl or funcfl.
FILES = {".sw": "StillingerWeber", ".tersoff": "Tersoff", ".table": "PairTable"}


def built_in(name: str, symbols: Sequence[str] = ()) -> Potential:
    """Return one of the potentials `BUILT_IN` for some elements.

    Those that have but one element need no symbols. PotentialError: an unknown name, elements that
    it has no parameters for, or too many of them.
    """
    if name not in BUILT_IN:
        raise PotentialError(
            f"no built-in potential '{name}'{suggest(name, BUILT_IN)} (built in: "
            f"{', '.join(BUILT_IN)})"
        )
    build = getattr(importlib.import_module("qc.potentials"), name)
    try:
        inspect.signature(build).bind(*symbols)
    except TypeError:
        raise PotentialError(f"{name} takes one element, not {len(symbols)}") from None
    found: Potential = build(*symbols)
    return found


def elements() -> dict[str, list[str]]:
    """Return the elements that each built-in potential knows."""
    from qc.potentials.eam.zhou import zhou2004_table
    from qc.potentials.threebody.published import published

    tables = {"zhou2004": zhou2004_table()}
    for family in ("stillinger_weber", "tersoff"):
        tables.update(published()[family])
    # Tables of several elements hold numbers of pairs as well.
    return {name: [key for key in tables[name] if key in atomic_numbers] for name in BUILT_IN}


def read_potential(
    path: str | os.PathLike[str], symbols: Sequence[str] = (), **options: Any
) -> Potential:
    """Read a potential from a file; its suffix says of which family, see `FILES`.

    It must know the elements ``symbols``; further options are passed to the family's reader.

    Raises
    ------
    PotentialFileError
        The file cannot be read as a potential.
    UnknownSpeciesError
        It has no entry for one of the elements.
    OSError
        The file cannot be opened.
    """
    source = Path(path)
    family = FILES.get(source.suffix.lower(), "EAM")
    reader = getattr(importlib.import_module("qc.potentials"), family)
    found: Potential = reader.from_file(os.fspath(path), **options)
    for symbol in symbols:
        if symbol not in found.species:
            raise UnknownSpeciesError(
                f"{source.name} has no entry for '{symbol}', only for "
                f"{', '.join(found.species)}{suggest(symbol, found.species)}"
            )
    return found


def load_potential(name: str) -> Potential:
    """Return the potential that one word names; errors as `built_in` and `read_potential`.

    The word is ``zhou2004:Cu``, ``zhou2004:Cu,Ni`` for several elements, ``stillinger1985`` where
    the element is understood, or the path of a file.
    """
    word, colon, elements = name.partition(":")
    if word in BUILT_IN:
        return built_in(word, elements.split(",") if colon else [])
    path = Path(name)
    # A name that is neither built in nor a file: most likely the former, misspelt.
    if (colon or "." not in path.name) and not path.exists():
        hint = suggest(word, BUILT_IN)
        if colon or hint:
            raise PotentialError(
                f"no built-in potential and no file '{name}'{hint} (built in: "
                f"{', '.join(BUILT_IN)})"
            )
    return read_potential(name)
