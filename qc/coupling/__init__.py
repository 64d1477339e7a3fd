"""Coupling schemes and the model built on them."""

from qc.coupling.blend import Blend
from qc.coupling.coupling import Coupling
from qc.coupling.layout import Layout
from qc.coupling.model import Model
from qc.coupling.point_defects import PointDefects
from qc.coupling.predictor import Predictor
from qc.coupling.quasicontinuum import QuasiContinuum, build
from qc.coupling.scheme import Scheme
from qc.coupling.schemes import SCHEMES, get_scheme
from qc.coupling.spec import ModelSpec
from qc.coupling.state import State
from qc.coupling.terms import Term

__all__ = [
    "SCHEMES",
    "Blend",
    "Coupling",
    "Layout",
    "Model",
    "ModelSpec",
    "PointDefects",
    "Predictor",
    "QuasiContinuum",
    "Scheme",
    "State",
    "Term",
    "build",
    "get_scheme",
]
