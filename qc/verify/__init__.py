"""Conformance kits that users run on their own parts."""

from __future__ import annotations

from .coupling import check_coupling
from .potential import check_potential
from .report import Check, Report

__all__ = ["Check", "Report", "check_coupling", "check_potential"]
