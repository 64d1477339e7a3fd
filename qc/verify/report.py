"""What a conformance kit returns: named checks, each with its figure and its bound."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One property with the figure it was judged by.

    Attributes
    ----------
    name : str
    figure : float
        What was measured; the smaller the better.
    bound : float or None
        Largest acceptable figure; None where the figure is reported and not judged.
    note : str
        What the figure is, with its unit.
    """

    name: str
    figure: float
    bound: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the figure keeps the bound; a NaN never does."""
        return self.bound is None or self.figure <= self.bound

    def __str__(self) -> str:
        if self.bound is None:
            verdict, limit = "    ", " " * 10
        else:
            verdict, limit = ("ok  ", "FAIL")[not self.passed], f"<= {self.bound:.0e}"
        return f"{verdict}  {self.name:<28} {self.figure:10.2e}  {limit:<10}  {self.note}".rstrip()


@dataclass(frozen=True)
class Report:
    """The checks of one subject; true if all passed, a table as a string.

    Attributes
    ----------
    subject : str
    checks : tuple of Check
    """

    subject: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every judged check passed."""
        return not self.failed

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that did not pass."""
        return tuple(check.name for check in self.checks if not check.passed)

    def __getitem__(self, name: str) -> Check:
        """Return a check by name."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(f"no check '{name}'; there are: {', '.join(c.name for c in self.checks)}")

    def __contains__(self, name: object) -> bool:
        """Return whether a check of that name was made."""
        return any(check.name == name for check in self.checks)

    def __bool__(self) -> bool:
        """Return whether every judged check passed."""
        return self.passed

    def __str__(self) -> str:
        judged = [check for check in self.checks if check.bound is not None]
        verdict = "passed" if self.passed else "FAILED"
        good = sum(check.passed for check in judged)
        head = f"{self.subject}: {verdict}, {good} of {len(judged)} checks"
        return "\n".join([head, *(f"  {check}" for check in self.checks)])
