"""Kinds of cases: a new one is a dataclass of its tables with a `run`, and an entry here."""

from __future__ import annotations

from qc.io.cases import schema
from qc.io.cases.base import Case
from qc.io.cases.dynamics import DynamicsCase
from qc.io.cases.statics import StaticsCase

KINDS: dict[str, type[Case]] = schema.registry(StaticsCase, DynamicsCase)
