"""Potentials by the words that name them on a command line: built-in names and files."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from qc.errors import PotentialError, suggest

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

#: One line of help about the argument.
HELP = (
    "a setfl, funcfl, .sw, .tersoff or .table file, or a built-in potential such as zhou2004:Cu, "
    "zhou2004:Cu,Ni or stillinger1985:Si"
)


def load_potential(name: str) -> Potential:
    """Return the potential that a word on the command line names.

    Parameters
    ----------
    name : str
        ``zhou2004:Cu``, ``zhou2004:Cu,Ni`` for several elements, ``stillinger1985`` where the
        element is understood, or the path of a file.

    Raises
    ------
    PotentialError
        An unknown name or element, or a file that cannot be read as a potential.
    OSError
        The file cannot be opened.
    """
    potentials = importlib.import_module("qc.potentials")
    built_in, colon, elements = name.partition(":")
    if built_in in BUILT_IN:
        build = getattr(potentials, built_in)
        symbols = elements.split(",") if colon else []
        try:
            inspect.signature(build).bind(*symbols)
        except TypeError:
            raise PotentialError(f"{built_in} takes one element, not {len(symbols)}") from None
        return build(*symbols)
    path = Path(name)
    # A name that is neither built in nor a file: most likely the former, misspelt.
    if (colon or "." not in path.name) and not path.exists():
        hint = suggest(built_in, BUILT_IN)
        if colon or hint:
            raise PotentialError(
                f"no built-in potential and no file '{name}'{hint} (built in: "
                f"{', '.join(BUILT_IN)})"
            )
    family = FILES.get(path.suffix.lower(), "EAM")
    return getattr(potentials, family).from_file(name)
