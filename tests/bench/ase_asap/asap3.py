"""Stands for asap3, whose EMT some of ASE's tests ask for: the same functions, by ASE's EMT."""

from ase.calculators.emt import EMT

__all__ = ["EMT", "__version__"]
__version__ = "0"
