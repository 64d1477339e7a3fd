"""The energy ledger: where every bit of energy came from and went to.

First law, at every step:

    K + V + E_field = start + heat of the baths + heat and flux through the field's boundary
                      + work of what moves + remeshing + integrator

Every term on the right is measured where it happens and on its own: heat as the change of kinetic
energy over a friction-noise step, work as the change of the load's energy at fixed positions, and
so on. ``closure`` is what is left of the equation: round-off. ``integrator`` is the energy that
the discrete steps create or destroy, the work of the kicks less the fall of the potential energy;
it goes as dt^2 and does not drift for conservative forces. It is also known as shadow work.

Source: D. A. Sivak, J. D. Chodera & G. E. Crooks, Phys. Rev. X 3 (2013) 011007 (shadow work).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qc.errors import CheckpointError

Array = NDArray[np.float64]

#: What is booked at once: kind and name of the account, and the amount.
Entry = tuple[str, str, float]

#: Kinds of accounts, in the order in which they are shown.
KINDS = ("heat", "boundary", "work", "remeshing", "integrator", "entropy")


class Sum:
    """A running sum that keeps the digits which plain addition loses.

    Source: A. Neumaier, Z. Angew. Math. Mech. 54 (1974) 39.
    """

    __slots__ = ("_low", "_total")

    def __init__(self, total: float = 0.0, low: float = 0.0) -> None:
        self._total, self._low = total, low

    def add(self, value: float) -> None:
        """Add a number."""
        new = self._total + value
        if abs(self._total) >= abs(value):
            self._low += (self._total - new) + value
        else:
            self._low += (value - new) + self._total
        self._total = new

    @property
    def value(self) -> float:
        """The sum."""
        return self._total + self._low

    @property
    def parts(self) -> tuple[float, float]:
        """What `Sum` is made again from."""
        return self._total, self._low


@dataclass
class EnergyLedger:
    """Energies of a run now, and accounts of everything that changed them, in eV.

    Attributes
    ----------
    kinetic, potential, field : float
        State of the last step.
    accounts : dict of (kind, name) to Sum
        Kinds are "heat" (received from a bath), "boundary" (received by the field through its
        boundary), "work", "remeshing", "integrator" and "entropy" (eV/K, of baths, field and
        boundary).
    start : float
        Energy at the beginning.
    """

    kinetic: float = 0.0
    potential: float = 0.0
    field: float = 0.0
    start: float = 0.0
    accounts: dict[tuple[str, str], Sum] = dataclasses.field(default_factory=dict)

    def open(self, kinetic: float, potential: float, field: float) -> None:
        """Begin with a state and empty accounts."""
        self.set_state(kinetic, potential, field)
        self.start = self.total
        for account in self.accounts:
            self.accounts[account] = Sum()

    def set_state(self, kinetic: float, potential: float, field: float) -> None:
        """Take the energies of a state."""
        self.kinetic, self.potential, self.field = kinetic, potential, field

    def book(self, kind: str, name: str, amount: float) -> None:
        """Add energy that the run received, or entropy that its surroundings did."""
        key = (kind, name)
        if key not in self.accounts:
            if kind not in KINDS:
                raise ValueError(f"no accounts of kind '{kind}'")
            self.accounts[key] = Sum()
        self.accounts[key].add(amount)

    def account(self, kind: str, name: str | None = None) -> float:
        """Return what was booked under a name, or under all names of a kind."""
        return float(
            sum(a.value for (k, n), a in self.accounts.items() if k == kind and name in (None, n))
        )

    @property
    def total(self) -> float:
        """Kinetic, potential and field energy, eV."""
        return self.kinetic + self.potential + self.field

    @property
    def received(self) -> float:
        """Everything booked, eV."""
        return float(sum(a.value for (k, _), a in self.accounts.items() if k != "entropy"))

    @property
    def closure(self) -> float:
        """What is left of the first law, eV: round-off."""
        return self.total - self.start - self.received

    @property
    def conserved(self) -> float:
        """Energy less everything received from outside, eV: what an exact integrator keeps."""
        return self.total - (self.received - self.account("integrator"))

    @property
    def entropy_production(self) -> float:
        """Entropy that baths, field and boundary gained, eV/K.

        That of the vibrating nodes themselves, which has no value at a moment, is not in it: in a
        steady state it does not change, and without noise the rest never falls.
        """
        return self.account("entropy")

    def row(self) -> dict[str, float]:
        """Return state and accounts by name, for tables and files."""
        out = {
            "kinetic": self.kinetic,
            "potential": self.potential,
            "field": self.field,
            "total": self.total,
        }
        for kind in KINDS:
            for (k, name), account in self.accounts.items():
                if k == kind:
                    out[kind if name == kind else f"{kind}:{name}"] = account.value
        out["entropy production"] = self.entropy_production
        out["closure"] = self.closure
        return out

    def __str__(self) -> str:
        """Return the ledger as a small table."""
        lines = [f"  {name:<24} {value: .10e}" for name, value in self.row().items()]
        return "\n".join(["energy ledger (eV; entropy eV/K)", *lines])

    def dump(self) -> dict[str, Any]:
        """Return the ledger as plain numbers, exactly."""
        accounts = [[k, n, *a.parts] for (k, n), a in self.accounts.items()]
        return {
            "kinetic": self.kinetic,
            "potential": self.potential,
            "field": self.field,
            "start": self.start,
            "accounts": accounts,
        }

    @classmethod
    def load(cls, data: dict[str, Any]) -> EnergyLedger:
        """Make a ledger from what `dump` gave.

        Raises
        ------
        CheckpointError
            Something else.
        """
        try:
            kinetic, potential, stored, start = state = [
                float(data[name]) for name in ("kinetic", "potential", "field", "start")
            ]
            out = cls(kinetic, potential, stored, start)
            for kind, name, total, low in data["accounts"]:
                if kind not in KINDS:
                    raise ValueError(f"no accounts of kind {kind!r}")
                out.accounts[str(kind), str(name)] = Sum(float(total), float(low))
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            raise CheckpointError(f"not an energy ledger: {error}") from error
        if not np.isfinite([*state, *(a.value for a in out.accounts.values())]).all():
            raise CheckpointError("the energy ledger holds numbers that are not finite")
        return out
