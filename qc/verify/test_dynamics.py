"""One test for each check of `qc.verify.check_dynamics`; see `qc.verify`."""

from __future__ import annotations

import pytest

from qc.verify.report import Report


@pytest.mark.parametrize(
    "name",
    [
        "forces", "time step", "slope", "drift", "order", "reversal", "momentum", "ledger",
        "temperature",
    ],
)  # fmt: skip
def test_dynamics(name: str, report: Report) -> None:
    """Judge one check of the report."""
    if name not in report:
        pytest.skip(f"'{name}' does not apply to {report.subject}")
    check = report[name]
    assert check.passed, f"{report.subject}: {check}\n\n{report}"
