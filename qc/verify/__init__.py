"""Conformance kits that users run on their own parts.

``QC_VERIFY_ATOMS=module:function python -m pytest --pyargs qc.verify`` runs the one for dynamics on
the ASE atoms that a function of yours returns.
"""

from __future__ import annotations

from .coupling import check_coupling
from .dynamics import check_dynamics
from .potential import check_potential
from .report import Check, Report

__all__ = ["Check", "Report", "check_coupling", "check_dynamics", "check_potential"]
