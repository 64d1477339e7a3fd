"""Every element a continuum: no atoms at all."""

import numpy as np

from qc.coupling.scheme import Scheme

SCHEME = Scheme("cauchy-born", "continuum everywhere", weighting=np.ones_like, atoms="nowhere")
