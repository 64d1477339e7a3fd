"""Phonon wave packets sent from the atoms into the continuum: how much comes back.

In columns of copper a packet of one branch starts in the middle of the atomistic core and runs into
blend and continuum. Whatever the core's atoms do besides what the perfect lattice does has been
sent back; its energy over the packet's is the reflection coefficient. Three surroundings: a
continuum with a node at every site, which shows the blend alone; one that grows coarse, which
cannot carry short waves; and that one behind an absorbing stadium of friction that begins among
the atoms, where waves of every length still move as they should.

    python examples/phonon_reflection.py [--small] [--output DIR]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.units import fs

import qc
from qc.dynamics import stadium
from qc.dynamics.wavepackets import WavePacket, reflection
from qc.materials import equilibrium_crystal

#: Branches along [110] by polarisation: longitudinal, and transverse along [001] and the line.
BRANCHES = {"L": (1.0, 0.0, 0.0), "T [001]": (0.0, 1.0, 0.0), "T [1-10]": (0.0, 0.0, 1.0)}
CORE, BLEND = 30.0, 12.0  # Angstrom
#: Damped atoms between core and blend, Angstrom; friction at the outer boundary.
DAMPED, FRICTION = 40.0, 0.04 / fs
STEP = 8.0 * fs
SURROUNDINGS = ("fine", "graded", "stadium")


#: What is drawn for less.
LEAST = 1e-5


@dataclass(frozen=True)
class Row:
    """Reflection coefficients of one packet.

    Attributes
    ----------
    wavelength : float
        In nearest-neighbour distances.
    branch : str
    speed : float
        Group velocity, km/s.
    coefficient : dict of str to float
        By surroundings.
    """

    wavelength: float
    branch: str
    speed: float
    coefficient: dict[str, float]


def copper() -> tuple[qc.crystal.Crystal, qc.potentials.Potential]:
    """Return columns of copper along [1-10] and their potential."""
    potential = qc.potentials.zhou2004("Cu")
    a = equilibrium_crystal(qc.crystal.fcc("Cu", 3.6), potential).a
    crystal = qc.crystal.fcc("Cu", a, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns()
    return crystal, potential


def main(argv: Sequence[str] | None = None) -> list[Row]:
    """Send packets of several wavelengths, print what comes back, and return the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="two wavelengths of one branch")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write the picture there")
    args = parser.parse_args(argv)
    wavelengths, branches, outer, far = (
        ((8.0, 2.0), ("T [001]",), 30.0, 60.0) if args.small
        else ((16.0, 8.0, 5.0, 3.0, 2.0, 1.6, 1.3, 1.15), tuple(BRANCHES), 60.0, 90.0)
    )  # fmt: skip

    crystal, potential = copper()
    inner = CORE + DAMPED
    models = {
        # A grading of next to nothing leaves a node at every site.
        "fine": qc.QuasiContinuum(crystal, potential, core=CORE, blend=BLEND,
                                  outer=CORE + BLEND + far, grading=0.01, largest=5.0),
        "graded": qc.QuasiContinuum(crystal, potential, core=CORE, blend=BLEND,
                                    outer=CORE + BLEND + outer),
        "stadium": qc.QuasiContinuum(crystal, potential, core=inner, blend=BLEND,
                                     outer=inner + BLEND + outer),
    }  # fmt: skip
    friction = stadium(models["stadium"], FRICTION, width=DAMPED + BLEND + outer)
    print(", ".join(f"{model.n_unknowns:,} unknowns: {name}" for name, model in models.items()))
    head = " ".join(f"{k:>9}" for k in SURROUNDINGS)
    print(f"{'wavelength':>10} {'branch':<9} {'km/s':>6} {head}")
    rows = []
    for wavelength in wavelengths:
        for branch in branches:
            length = wavelength * crystal.nearest_neighbour
            packet = WavePacket(
                crystal, potential, [2.0 * np.pi / length, 0.0, 0.0], BRANCHES[branch],
                width=min(max(0.5 * length, 8.0), 11.0), lateral=11.0,
            )  # fmt: skip
            found = {}
            for name in SURROUNDINGS:
                # Long enough to see what comes from where the elements grow, or from the boundary.
                depth = {"fine": 15.0, "graded": 0.8 * (BLEND + outer),
                         "stadium": DAMPED + 0.8 * (BLEND + outer)}[name]  # fmt: skip
                found[name] = reflection(
                    models[name], packet, STEP, depth=depth,
                    friction=friction if name == "stadium" else None,
                ).coefficient  # fmt: skip
            speed = float(np.linalg.norm(packet.group_velocity)) * fs * 100.0
            rows.append(Row(wavelength, branch, speed, found))
            print(f"{wavelength:>7g} nn {branch:<9} {speed:>6.2f} "
                  + " ".join(f"{found[k]:>9.5f}" for k in SURROUNDINGS))  # fmt: skip
    if args.output is not None:
        draw(args.output / "reflection.png", rows)
        print(f"the picture is in {args.output}")
    return rows


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Draw reflection coefficients against wavelength."""
    from matplotlib.figure import Figure

    from qc.io.plots import save_figure

    figure = Figure(figsize=(6.8, 4.4), layout="constrained")
    axes = figure.subplots()
    lines = {"fine": "-", "graded": ":", "stadium": "--"}
    words = {"fine": "blend alone", "graded": "graded mesh", "stadium": "graded, stadium"}
    colours = dict(zip(BRANCHES, ("#c8443c", "#4a6fa5", "#5b8c5a"), strict=True))
    for branch in dict.fromkeys(r.branch for r in rows):
        own = [r for r in rows if r.branch == branch]
        for name in SURROUNDINGS:
            back = [max(r.coefficient[name], LEAST) for r in own]
            axes.plot([r.wavelength for r in own], back, lines[name], marker="o", ms=3,
                      color=colours[branch], label=f"{branch}, {words[name]}")  # fmt: skip
    axes.axhline(0.02, color="#28323a", lw=0.6)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([], minor=True)
    sent = sorted({r.wavelength for r in rows})
    axes.set_xticks(sent, [f"{x:g}" for x in sent], fontsize=8)
    axes.annotate("2 %", (1.0, 0.02), (4, 0), xycoords=("axes fraction", "data"),
                  textcoords="offset points", va="center", fontsize=8)  # fmt: skip
    axes.set_xlabel("wavelength (nearest-neighbour distances)")
    axes.set_ylabel("energy sent back, over that of the packet")
    figure.legend(loc="outside upper center", frameon=False, fontsize=8, ncols=3)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(path, figure)


if __name__ == "__main__":
    main()
