"""What ``qc bulk`` prints: a table for people, JSON, and a plot of the gamma lines."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units

if TYPE_CHECKING:
    from qc.bulk.properties import BulkProperties, DefectEnergy, ZonePoint
    from qc.potentials import Potential

#: mJ/m^2 in eV/Angstrom^2.
MILLIJOULE = 1e-3 * units.J / units.m**2

#: The unit of every number of the JSON output, by key.
UNITS = {
    "a": "Angstrom",
    "c": "Angstrom",
    "cell": "Angstrom",
    "basis": "Angstrom",
    "volume_per_atom": "Angstrom^3",
    "cohesive_energy": "eV/atom",
    "bulk_modulus": "eV/Angstrom^3",
    "elastic_constants": "eV/Angstrom^3",
    "elastic_constants_clamped": "eV/Angstrom^3",
    "inner_displacements": "Angstrom",
    "vacancy": "eV",
    "surfaces": "eV/Angstrom^2",
    "faults": "eV/Angstrom^2",
    "growth_fault": "eV/Angstrom^2",
    "displacement": "Angstrom",
    "opening": "Angstrom",
    "q": "1/Angstrom",
    "frequencies": "THz",
}


def _pair(energy: DefectEnergy) -> dict[str, float]:
    return {"unrelaxed": energy.unrelaxed, "relaxed": energy.relaxed}


def as_json(properties: BulkProperties, potential: Potential) -> dict[str, Any]:
    """Return the properties in eV, Angstrom and THz, ready for JSON.

    Groups that were not computed are null; ``not_applicable`` and ``failures`` say why.
    """
    p, e = properties, properties.elasticity
    return {
        "element": p.formula,
        "structure": p.crystal.name,
        "potential": {"family": type(potential).__name__, "fingerprint": potential.fingerprint()},
        "units": UNITS,
        "a": p.a,
        "c": p.c,
        "c_over_a": p.c_over_a,
        "cell": p.crystal.cell.tolist(),
        "basis": p.crystal.basis.tolist(),
        "symbols": list(p.crystal.symbols),
        "volume_per_atom": p.crystal.site_volume,
        "cohesive_energy": p.cohesive_energy,
        "bulk_modulus": None if e is None else e.bulk_modulus,
        "elastic_constants": None if e is None else e.stiffness.tolist(),
        "elastic_constants_clamped": None if e is None else e.clamped.tolist(),
        "inner_displacements": None if e is None else e.inner_displacements.tolist(),
        "kleinman": None if e is None else e.kleinman,
        "phonons": None if p.phonons is None else [_phonons_json(z) for z in p.phonons],
        "vacancy": None
        if p.vacancy is None
        else {**_pair(p.vacancy.energy), "sites": p.vacancy.sites},
        "surfaces": None
        if p.surfaces is None
        else [
            {
                "name": s.name,
                "plane": list(s.plane),
                **_pair(s.energy),
                "first_spacing": s.first_spacing,
                "layers": s.layers,
            }
            for s in p.surfaces
        ],
        "faults": None
        if p.gamma_lines is None
        else [
            {
                "name": g.system.name,
                "plane": list(g.system.plane),
                "displacement": g.vector.tolist(),
                "unstable": {
                    **_pair(g.unstable),
                    "at": g.unstable_at,
                    "opening": g.opening,
                    "comes_apart": g.comes_apart,
                },
                "stable": None
                if g.stable is None
                else {"name": g.system.stable, **_pair(g.stable)},
                "fractions": g.fractions.tolist(),
                "unrelaxed": g.unrelaxed.tolist(),
                "relaxed": g.relaxed.tolist(),
                "layers": g.layers,
            }
            for g in p.gamma_lines
        ],
        "growth_fault": None if p.growth_fault is None else _pair(p.growth_fault),
        "unstable": list(p.unstable),
        "remarks": list(p.remarks),
        "not_applicable": p.not_applicable,
        "failures": p.failures,
    }


def _phonons_json(point: ZonePoint) -> dict[str, Any]:
    known = bool(np.isfinite(point.longitudinal).all())
    return {
        "name": point.name,
        "q": point.q.tolist(),
        "frequencies": point.frequencies.tolist(),
        "longitudinal": point.longitudinal.tolist() if known else None,
    }


def as_text(properties: BulkProperties) -> str:
    """Return the properties as a table in Angstrom, eV, GPa, mJ/m^2 and THz."""
    p = properties
    rows = [*_lattice_rows(p), *(("UNSTABLE", why) for why in p.unstable), *_elastic_rows(p)]
    rows[0:0] = [("table", what) for what in p.remarks]
    if p.vacancy is not None:
        rows.append(
            (
                "vacancy formation",
                f"{p.vacancy.energy.relaxed:.4f} eV ({p.vacancy.energy.unrelaxed:.4f} unrelaxed, "
                f"{p.vacancy.sites} sites)",
            )
        )
    for s in p.surfaces or ():
        rows.append((f"surface {s.name}", _plane(s.energy)))
    rows += _fault_rows(p)
    for point in p.phonons or ():
        rows.append((f"phonons {point.name}", f"{branches(point)} THz"))
    rows += [(name, f"not applicable: {why}") for name, why in p.not_applicable.items()]
    rows += [(name, f"FAILED: {why}") for name, why in p.failures.items()]
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(
        [f"{p.formula} {p.crystal.name}", *(f"  {name:<{width}}{text}" for name, text in rows)]
    )


def _plane(energy: DefectEnergy) -> str:
    relaxed, unrelaxed = energy.relaxed / MILLIJOULE, energy.unrelaxed / MILLIJOULE
    # No minus sign before a zero that is round-off.
    return f"{relaxed + 0.0:.2f} mJ/m^2 ({unrelaxed + 0.0:.2f} unrelaxed)".replace("-0.00", "0.00")


def _lattice_rows(p: BulkProperties) -> list[tuple[str, str]]:
    if p.c is not None:
        rows = [
            ("lattice constant a", f"{p.a:.5f} Angstrom"),
            ("lattice constant c", f"{p.c:.5f} Angstrom (c/a {p.c_over_a:.5f})"),
        ]
    elif p.crystal.name in ("fcc", "bcc", "diamond"):
        rows = [("lattice constant", f"{p.a:.5f} Angstrom")]
    else:
        rows = [
            (f"cell vector {k + 1}", " ".join(f"{x:10.5f}" for x in row) + " Angstrom")
            for k, row in enumerate(p.crystal.cell)
        ]
        rows += [
            (f"{symbol} at", " ".join(f"{x:10.5f}" for x in row) + " Angstrom")
            for symbol, row in zip(p.crystal.symbols, p.crystal.basis, strict=True)
        ]
    return [*rows, ("cohesive energy", f"{p.cohesive_energy:.4f} eV/atom")]


def _elastic_rows(p: BulkProperties) -> list[tuple[str, str]]:
    from qc.materials.elastic import independent_constants

    e = p.elasticity
    if e is None:
        return []
    rows = [("bulk modulus", f"{e.bulk_modulus / units.GPa:.2f} GPa")]
    names = independent_constants(e)
    if names is None:
        for title, table in (("C", e.stiffness), ("C unrelaxed", e.clamped)):
            for k, row in enumerate(table / units.GPa):
                # Rounded first, so that round-off has no minus sign.
                text = " ".join(f"{x:8.2f}" for x in np.round(row, 2) + 0.0)
                rows.append((f"{title} row {k + 1}", f"{text} GPa"))
        return rows
    for name in names:
        relaxed, clamped = (e.constant(name, c) / units.GPa for c in (False, True))
        # The basis takes part in some constants only; in the others the two are the same.
        extra = f" ({clamped:.2f} unrelaxed)" if abs(relaxed - clamped) > 0.005 else ""
        rows.append((f"C{name}", f"{relaxed:.2f} GPa{extra}"))
    if p.crystal.n_sublattices == 1:
        rows.append(("inner displacement", "not applicable: one atom in the primitive cell"))
    elif e.kleinman is not None:
        rows.append(("Kleinman parameter", f"{e.kleinman:.4f}"))
    return rows


def _fault_rows(p: BulkProperties) -> list[tuple[str, str]]:
    rows = []
    for g in p.gamma_lines or ():
        length = float(np.linalg.norm(g.vector))
        place = f", at {g.unstable_at * length:.3f} of {length:.3f} Angstrom"
        if g.comes_apart:
            place += "; cleaves rather than slips"
        rows.append((f"{g.system.name} unstable", _plane(g.unstable) + place))
        if g.stable is not None:
            rows.append((f"{g.system.name} {g.system.stable}", _plane(g.stable)))
    if p.crystal.name == "bcc" and p.gamma_lines is not None:
        rows.append(("stable fault", "not applicable: these lines have none in bcc"))
    if p.growth_fault is not None:
        rows.append(("basal intrinsic I1", _plane(p.growth_fault)))
    return rows


def branches(point: ZonePoint) -> str:
    """Return the frequencies of a point, branches of one frequency together, marked L or T."""
    parts: list[str] = []
    k = 0
    while k < len(point.frequencies):
        value = point.frequencies[k]
        same = int(np.sum(np.abs(point.frequencies[k:] - value) < 1e-3))
        along = point.longitudinal[k]
        kind = " L" if along > 0.99 else " T" if along < 0.01 else ""
        # Negative numbers stand for imaginary frequencies; acoustic branches at rest for zero.
        text = f"{abs(value):.3f}" + ("i" if value < -1e-3 else "")
        parts.append(text + kind + (f" x{same}" if same > 1 else ""))
        k += same
    return ", ".join(parts)


def gamma_plot(properties: BulkProperties, suffix: str) -> bytes:
    """Return a picture of the gamma lines in a format of matplotlib, such as ``"png"``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = properties.gamma_lines or ()
    figure = Figure(figsize=(3.4 * max(len(lines), 1) + 0.6, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(lines), squeeze=False, sharey=True)[0]
    for axes, g in zip(panels, lines, strict=True):
        length = float(np.linalg.norm(g.vector))
        x = g.fractions * length
        axes.plot(x, g.unrelaxed / MILLIJOULE, color="#8a949c", ls="--", label="unrelaxed")
        axes.plot(x, g.relaxed / MILLIJOULE, color="#c8443c", marker=".", label="relaxed")
        top = g.unstable_at * length, g.unstable.relaxed / MILLIJOULE
        axes.plot(*top, "o", mfc="none", color="#28323a")
        beside: dict[str, Any] = {"textcoords": "offset points"}
        axes.annotate(f"{top[1]:.0f}", top, xytext=(0, -14), ha="center", **beside)
        if g.stable is not None:
            end = length, g.stable.relaxed / MILLIJOULE
            text = f"{g.system.stable} {end[1]:.0f}"
            axes.annotate(text, end, xytext=(-4, -12), ha="right", **beside)
        axes.set_title(g.system.name, fontsize=10)
        axes.set_xlabel("displacement (Å)")
        axes.set_xlim(0.0, length)
        axes.margins(y=0.12)
    if lines:
        panels[0].set_ylabel("energy (mJ/m²)")
        panels[0].legend(frameon=False, fontsize=8, loc="upper left")
        figure.suptitle(f"{properties.formula} {properties.crystal.name}", fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix, dpi=160)
    return buffer.getvalue()
