"""Blended forces; consistent, but no energy exists.

Source: J. Lu & P. Ming, Commun. Pure Appl. Math. 66 (2013) 83; X. H. Li, M. Luskin, C. Ortner,
A. V. Shapeev, Comput. Methods Appl. Mech. Eng. 270 (2014) 24.
"""

from qc.coupling.scheme import Scheme, smooth

SCHEME = Scheme("bqcf", "blended forces, no energy", smooth, blends_forces=True)
