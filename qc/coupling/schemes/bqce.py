"""Blended energy.

Source: B. Van Koten & M. Luskin, SIAM J. Numer. Anal. 49 (2011) 2182.
"""

from qc.coupling.scheme import Scheme, smooth

SCHEME = Scheme("bqce", "blended energy", weighting=smooth)
