"""Potentials as arguments of commands: built-in names and files."""

from __future__ import annotations

from qc.io.potentials import BUILT_IN, FILES, load_potential

__all__ = ["BUILT_IN", "FILES", "HELP", "load_potential"]

#: One line of help about the argument.
HELP = (
    "a setfl, funcfl, .sw, .tersoff or .table file, or a built-in potential such as zhou2004:Cu, "
    "zhou2004:Cu,Ni or stillinger1985:Si"
)
