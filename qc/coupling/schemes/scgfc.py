"""Self-consistent ghost-force correction: the dead load refreshed until blended forces vanish.

Source: V. B. Shenoy, R. Miller, E. B. Tadmor, D. Rodney, R. Phillips, M. Ortiz, J. Mech. Phys.
Solids 47 (1999) 611.
"""

from qc.coupling.scheme import Scheme, smooth

SCHEME = Scheme("scgfc", "blended energy, ghost force refreshed", smooth, ghost="self-consistent")
