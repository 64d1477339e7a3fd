"""Plots of runs: the energy ledger against time."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qc.errors import InputError
from qc.io.files import write_atomically
from qc.numerics.checks import kind

_INK = "#28323a"
DPI = 160
#: Where legends hide no curve.
_ABOVE: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.98), "borderaxespad": 0.0}

_COLOURS = {"kinetic": "#c8443c", "potential": "#f0b441", "field": "#3f7f6f", "total": _INK}
_CYCLE = ("#4a6fa5", "#8d5b9a", "#b08d3c", "#5b8c5a", "#a3553f", "#6b7a87")


def draw_ledger(
    path: str | os.PathLike[str],
    rows: Sequence[Mapping[str, float]],
    *,
    title: str = "Energy ledger",
) -> Path:
    """Draw energies, accounts and what the integrator does, against time.

    Parameters
    ----------
    path : path-like
    rows : sequence of mapping
        As in ``history.csv``; energies in eV, times in fs.
    title : str

    Raises
    ------
    InputError
        Fewer than two rows.
    OutputError
        The picture cannot be written.
    """
    kind("rows", rows, Sequence)
    for row in rows:
        kind("row", row, Mapping)
    if len(rows) < 2:
        raise InputError("a ledger is drawn from two rows at least")
    from matplotlib.figure import Figure

    time = np.array([row["time"] for row in rows]) / 1e3
    names = [n for n in rows[-1] if ":" in n and not n.startswith(("entropy", "integrator"))]
    if any(row.get("remeshing", 0.0) for row in rows):
        names.append("remeshing")
    shown = [n for n in names if any(row.get(n, 0.0) for row in rows)]
    figure = Figure(figsize=(8.0, 7.2), layout="constrained")
    energies, accounts, books = figure.subplots(3, 1, sharex=True)

    def column(name: str) -> np.ndarray:
        return np.array([row.get(name, np.nan) for row in rows])

    for name, colour in _COLOURS.items():
        values = column(name)
        if name == "field" and not values.any():
            continue
        energies.plot(time, values - values[0], color=colour, lw=1.1, label=name)
    energies.set_ylabel("change of energy (eV)")
    energies.set_title(title, loc="left", color=_INK)
    energies.legend(ncols=4, frameon=False, fontsize=8, **_ABOVE)

    for k, name in enumerate(shown):
        values = column(name)
        colour = _CYCLE[k % len(_CYCLE)]
        # Since the first row, as the energies are: the curves add up.
        accounts.plot(time, values - values[0], color=colour, lw=1.1, label=name)
    accounts.set_ylabel("received since (eV)")
    if shown:
        accounts.legend(ncols=3, frameon=False, fontsize=8, **_ABOVE)
    else:
        accounts.set_yticks([])
        accounts.text(0.5, 0.5, "nothing comes from outside", transform=accounts.transAxes,
                      ha="center", va="center", color=_INK)  # fmt: skip

    made = column("integrator")
    books.plot(time, made - made[0], color="#4a6fa5", lw=1.0, label="integrator")
    books.set_ylabel("integrator (eV)", color="#4a6fa5")
    books.set_xlabel("time (ps)")
    right = books.twinx()
    right.plot(time, column("closure"), color="#c8443c", lw=0.9)
    right.set_ylabel("gap in the books, round-off (eV)", color="#c8443c", fontsize=8)
    right.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    for axes in (energies, accounts, books):
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0)
    return save_figure(path, figure)


def save_figure(path: str | os.PathLike[str], figure: Any) -> Path:
    """Write a figure as PNG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, facecolor="white", metadata={"Software": "qc"})
    return write_atomically(path, stream.getvalue())
