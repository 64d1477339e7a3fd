"""Coupling schemes and the model built on them."""

from qc.coupling.blend import Blend
from qc.coupling.coupling import Coupling
from qc.coupling.layout import Layout, PointDefects
from qc.coupling.model import QuasiContinuum
from qc.coupling.scheme import Scheme
from qc.coupling.schemes import SCHEMES, get_scheme

__all__ = [
    "SCHEMES",
    "Blend",
    "Coupling",
    "Layout",
    "PointDefects",
    "QuasiContinuum",
    "Scheme",
    "get_scheme",
]
