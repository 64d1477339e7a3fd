"""Every site an atom: the reference the others are measured against.

The model lays the blending function for it so that it turns from 0 to 1 outside the domain, where
atoms only carry neighbours.
"""

from qc.coupling.scheme import Scheme, sharp

SCHEME = Scheme("atomistic", "every site an atom", weighting=sharp, atoms="everywhere")
