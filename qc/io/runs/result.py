"""``result.json``: what was run, with what, and what came out."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from qc.coupling import QuasiContinuum
from qc.errors import InputError
from qc.io.files import write_atomically
from qc.numerics.checks import kind, real
from qc.solve.path import LoadStep
from qc.solve.result import DefectResult
from qc.version import version

#: Raised when the meaning of an entry changes.
SCHEMA = 2

LIBRARIES = ("numpy", "scipy", "numba", "ase", "matscipy", "pyamg")


def library_version(name: str) -> str:
    """Return the version of a distribution, or "missing"."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def versions() -> dict[str, str]:
    """Return the versions of the package, Python and the libraries that numbers depend on."""
    libraries = {name: library_version(name) for name in LIBRARIES}
    return {"qc": version(), "python": platform.python_version()} | libraries


def sizes(model: QuasiContinuum) -> dict[str, float]:
    """Return how large a model is: nodes, elements, atoms, unknowns, and sites it stands for."""
    layout = model.layout
    return {
        "nodes": layout.n_nodes,
        "elements": len(model.mesh.elements),
        "atoms": int((~layout.vacant).sum()),
        "unknowns": model.n_unknowns,
        "sites": round(model.n_sites, 6),
    }


def describe(model: QuasiContinuum) -> dict[str, Any]:
    """Return what a model is made of: crystal, potential, scheme and sizes."""
    crystal, potential, blend = model.crystal, model.potential, model.layout.blend
    return {
        "crystal": {
            "structure": crystal.name,
            "element": crystal.symbols[0],
            "sublattices": list(crystal.symbols),
            "lattice_constant": crystal.a,
            "c": crystal.c,
            "mode": crystal.mode,
        },
        "potential": {
            "family": type(potential).__name__,
            "species": list(potential.species),
            "cutoff": potential.cutoff,
            "fingerprint": potential.fingerprint(),
        },
        "scheme": {"name": model.scheme.name, "core": blend.core, "blend": blend.width},
        "sizes": sizes(model),
    }


def step_record(step: LoadStep, load: float, seconds: float) -> dict[str, Any]:
    """Return what is known about a finished load step, as JSON can hold it."""
    r = step.result
    assert isinstance(r, DefectResult)
    return {
        "index": step.index,
        "load": load,
        "deformation": step.deformation.tolist(),
        "converged": r.converged,
        "reason": r.reason,
        "defect_energy": r.defect_energy,
        "reference": {s: one._asdict() for s, one in r.reference.items()},
        "estimated_error": r.estimated_error,
        "energy": r.energy,
        "max_force": r.max_force,
        "evaluations": r.evaluations,
        "iterations": len(r.history),
        "warnings": list(r.warnings),
        "seconds": round(seconds, 3),
        "files": {},
    }


def write_result(
    path: str | os.PathLike[str],
    model: QuasiContinuum,
    steps: Sequence[Mapping[str, Any]],
    *,
    status: str,
    reason: str,
    title: str = "",
    case: Mapping[str, str] | None = None,
    seed: int = 0,
    load_name: str = "step",
    wall_time: float = 0.0,
) -> Path:
    """Write ``result.json``.

    Parameters
    ----------
    path : path-like
    model : QuasiContinuum
    steps : sequence of mapping
        From `step_record`.
    status : str
        ``"complete"``, ``"not converged"``, ``"not finite"`` or ``"interrupted"``.
    reason : str
        Why the run ended, in words.
    title : str
    case : mapping, optional
        ``file`` and ``sha256`` of the input.
    seed : int
    load_name : str
        What the number ``load`` of each step is.
    wall_time : float, s

    Raises
    ------
    InputError
        The model is none, or JSON cannot hold one of the others.
    OutputError
        The file cannot be written.

    Notes
    -----
    Energies are in eV, lengths in Angstrom, forces in eV/Angstrom, times in s. Numbers that are
    not finite are null: JSON has none.
    """
    kind("model", model, QuasiContinuum)
    return write_summary(
        path,
        "statics",
        status,
        reason,
        title=title,
        case=case,
        seed=seed,
        wall_time=wall_time,
        content=describe(model) | {"load": load_name, "steps": list(steps)},
    )


def write_summary(
    path: str | os.PathLike[str],
    kind_of_run: str,
    status: str,
    reason: str,
    *,
    content: Mapping[str, Any],
    title: str = "",
    case: Mapping[str, str] | None = None,
    seed: int = 0,
    wall_time: float = 0.0,
) -> Path:
    """Write what every kind of run says of itself, and its own content; see `write_result`."""
    import numba

    head = {
        "what": "qc result",
        "schema": SCHEMA,
        "kind": kind_of_run,
        "title": title,
        "status": status,
        "reason": reason,
        "case": case or {},
        "program": Path(sys.argv[0]).name,
        "seed": seed,
        "versions": versions(),
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": numba.get_num_threads(),
        "units": {"energy": "eV", "length": "Angstrom", "force": "eV/Angstrom", "time": "s"},
        "wall_time": round(real("wall_time", wall_time), 3),
    }
    try:
        text = json.dumps(_plain(head | dict(content)), indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"JSON cannot hold the result: {error}") from error
    return write_atomically(path, text + "\n")


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
