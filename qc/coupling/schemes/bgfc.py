"""Blended energy with the ghost force at the predictor removed by a dead load; the default.

Source: C. Ortner & L. Zhang, SIAM J. Sci. Comput. 38 (2016) A346.
"""

from qc.coupling.scheme import Scheme, smooth

SCHEME = Scheme(
    "bgfc", "blended energy, ghost force removed at the predictor", smooth, ghost="predictor"
)
