"""The alloy EAM of Zhou, Johnson & Wadley (2004) from its published parameters."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from qc.errors import PotentialError, UnknownSpeciesError, suggest

from ..base import Array
from ..pair.central import smooth_step
from .eam import EAM

#: Start and end of the taper, in units of the largest r_e.
TAPER = (2.26, 2.40)

#: Widths, in units of rho_e, over which the joints of the embedding function are repaired:
#: for the jumps in value and slope, and for the jump in curvature.
REPAIR_WIDTHS = (0.2, 0.03)

#: Lattice constant of each structure, in units of the nearest-neighbour distance.
_LATTICE_CONSTANT = {"fcc": np.sqrt(2.0), "bcc": 2.0 / np.sqrt(3.0), "hcp": 1.0}

#: The density table ends at this many times the largest rho_e.
DENSITY_RANGE = 6.0


@lru_cache(maxsize=1)
def zhou2004_table() -> dict[str, dict[str, Any]]:
    """Return the parameters by chemical symbol, as published (see the file's provenance)."""
    text = (Path(__file__).parents[1] / "data" / "zhou2004.json").read_text(encoding="utf-8")
    return json.loads(text)["elements"]


def zhou2004(*symbols: str, knots_per_length: int = 1500, knots_per_density: int = 2000) -> EAM:
    """Return the EAM of Zhou, Johnson & Wadley for one or several of its 16 elements.

    The elements are Cu Ag Au Ni Pd Pt Al Pb Fe Mo Ta W Mg Co Ti Zr; the pair function between
    unlike species is the paper's density-weighted mean.

    Parameters
    ----------
    *symbols : str
        Chemical symbols, distinct, in the order of the species indices.
    knots_per_length : int
        Knots per smallest r_e of the distance grid.
    knots_per_density : int
        Knots per smallest rho_e of the density grid.

    Notes
    -----
    Two things are done to the published functions, so that energies have continuous second
    derivatives.

    *Range.* They are infinite-ranged and customarily cut at sqrt(5) r_e, which is exactly the
    fifth fcc shell. Here pair and density functions are multiplied by a smooth step (continuous
    third derivative) from 1 at 2.26 r_e to 0 at 2.40 r_e, between the fifth and the sixth fcc
    shell, r_e being the largest of the chosen elements.

    *Joints of the embedding function.* At the lower joint the published digits leave jumps below
    1e-6 eV in F and its derivatives; at the upper one, 1.15 rho_e, below 1e-6 eV in F, below
    1e-4 in rho_e F', and F'' is discontinuous by construction (rho_e^2 F'' jumps by 0.005 to 4
    eV). The middle branch, where crystals live, is left as published. The outer branches get a
    polynomial that cancels the jumps and fades out: value and slope within 0.2 rho_e, curvature
    within 0.03 rho_e. This changes F by at most 2e-4 eV, between 1.15 and 1.18 rho_e.

    F(0), the energy of an isolated atom, is at most 1e-6 eV from zero, as the digits leave it.

    Raises
    ------
    UnknownSpeciesError
        A symbol the paper does not treat.

    Source: X. W. Zhou, R. A. Johnson, H. N. G. Wadley, Phys. Rev. B 69 (2004) 144113; what was
    decided where its printed table has misprints stands in ``data/zhou2004.json``.
    """
    table = zhou2004_table()
    if not symbols:
        raise PotentialError(f"name at least one of {', '.join(table)}")
    for symbol in symbols:
        if not isinstance(symbol, str) or symbol not in table:
            raise UnknownSpeciesError(
                f"zhou2004 has no parameters for '{symbol}'; it supports {', '.join(table)}"
                f"{suggest(symbol, table)}"
            )
    elements = [table[s] for s in symbols]
    reach = max(e["r_e"] for e in elements)
    cutoff = TAPER[1] * reach
    nr = int(np.ceil(cutoff / min(e["r_e"] for e in elements) * knots_per_length)) + 1
    dr = cutoff / (nr - 1)
    r = dr * np.arange(nr)
    taper = 1.0 - smooth_step((r / reach - TAPER[0]) / (TAPER[1] - TAPER[0])).value
    taper[-1] = 0.0
    drho = min(e["rho_e"] for e in elements) / knots_per_density
    nrho = int(np.ceil(DENSITY_RANGE * max(e["rho_e"] for e in elements) / drho)) + 1
    densities = [density(e, r) for e in elements]
    pairs = [pair(e, r) for e in elements]
    rphi = np.empty((len(symbols), len(symbols), nr))
    for s in range(len(symbols)):
        rphi[s, s] = r * pairs[s] * taper
        for t in range(s):
            ratio = densities[t] / densities[s]
            rphi[s, t] = rphi[t, s] = r * 0.5 * (ratio * pairs[s] + pairs[t] / ratio) * taper
    return EAM(
        symbols,
        dr=dr,
        rphi=rphi,
        density=np.array(densities) * taper,
        drho=drho,
        embedding=np.array([embedding(e, drho * np.arange(nrho)) for e in elements]),
        cutoff=(nr - 1) * dr,
        numbers=[e["number"] for e in elements],
        masses=[e["mass"] for e in elements],
        lattice_constants=[_LATTICE_CONSTANT[e["structure"]] * e["r_e"] for e in elements],
        structures=[e["structure"] for e in elements],
        source="Zhou, Johnson & Wadley, Phys. Rev. B 69 (2004) 144113",
        definition=(
            "zhou2004", json.dumps(elements, sort_keys=True), *TAPER, *REPAIR_WIDTHS,
            DENSITY_RANGE, knots_per_length, knots_per_density,
        ),
    )  # fmt: skip


def _screened(r: Array, element: dict[str, Any], height: float, decay: float, at: float) -> Array:
    x = r / element["r_e"]
    return height * np.exp(-decay * (x - 1.0)) / (1.0 + (x - at) ** 20)


def density(element: dict[str, Any], r: Array) -> Array:
    """Return the electron density of one atom as published, untapered."""
    return _screened(r, element, element["f_e"], element["beta"], element["lambda"])


def pair(element: dict[str, Any], r: Array) -> Array:
    """Return the pair energy of like atoms, eV, as published, untapered."""
    return _screened(r, element, element["A"], element["alpha"], element["kappa"]) - _screened(
        r, element, element["B"], element["beta"], element["lambda"]
    )


def embedding(element: dict[str, Any], rho: Array) -> Array:
    """Return the embedding energy, eV, with the joints repaired."""
    x = np.asarray(rho, dtype=np.float64) / element["rho_e"]
    low, high = element["lower_joint"], element["upper_joint"]
    outer = {-1.0: x < low, 1.0: x >= high}
    values = np.where(outer[-1.0], _low(element, x), _middle(element, x))
    values = np.where(outer[1.0], _high(element, np.maximum(x, high)), values)
    for side, joint, branch in ((-1.0, low, _low_jet), (1.0, high, _high_jet)):
        jump = branch(element) - _middle_jet(element, joint)
        d = np.where(outer[side], side * (x - joint), 0.0)
        wide, narrow = (1.0 - smooth_step(d / w).value for w in REPAIR_WIDTHS)
        repair = (jump[0] + side * jump[1] * d) * wide + 0.5 * jump[2] * d**2 * narrow
        values -= np.where(outer[side], repair, 0.0)
    return values


def _low(e: dict[str, Any], x: Array) -> Array:
    d = x / e["lower_joint"] - 1.0
    f = e["F_n"]
    return f[0] + d * (f[1] + d * (f[2] + d * f[3]))


def _middle(e: dict[str, Any], x: Array) -> Array:
    d = x - 1.0
    f = e["F"]
    return f[0] + d * (f[1] + d * (f[2] + d * f[3]))


def _high(e: dict[str, Any], x: Array) -> Array:
    u = x * e["rho_e"] / e["rho_s"]
    return e["F_e"] * (1.0 - e["eta"] * np.log(u)) * u ** e["eta"]


def _low_jet(e: dict[str, Any]) -> Array:
    """Value and two derivatives in rho / rho_e of the lower branch at its joint."""
    f, low = e["F_n"], e["lower_joint"]
    return np.array([f[0], f[1] / low, 2.0 * f[2] / low**2])


def _middle_jet(e: dict[str, Any], x: float) -> Array:
    d, f = x - 1.0, e["F"]
    return np.array(
        [
            f[0] + d * (f[1] + d * (f[2] + d * f[3])),
            f[1] + d * (2.0 * f[2] + d * 3.0 * f[3]),
            2.0 * f[2] + 6.0 * f[3] * d,
        ]
    )


def _high_jet(e: dict[str, Any]) -> Array:
    n, scale = e["eta"], e["rho_e"] / e["rho_s"]
    u = e["upper_joint"] * scale
    log = np.log(u)
    return np.array(
        [
            e["F_e"] * (1.0 - n * log) * u**n,
            -e["F_e"] * n**2 * log * u ** (n - 1.0) * scale,
            -e["F_e"] * n**2 * (1.0 + (n - 1.0) * log) * u ** (n - 2.0) * scale**2,
        ]
    )
