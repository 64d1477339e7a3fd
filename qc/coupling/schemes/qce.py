"""Energy-based quasicontinuum with a sharp interface; kept for reference, ghost forces and all.

Source: E. B. Tadmor, M. Ortiz, R. Phillips, Phil. Mag. A 73 (1996) 1529.
"""

from qc.coupling.scheme import Scheme, sharp

SCHEME = Scheme("qce", "energy, sharp interface", weighting=sharp)
