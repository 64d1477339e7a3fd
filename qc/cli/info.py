"""``qc info``: versions, threads, cache folder and the potentials at hand."""

from __future__ import annotations

import argparse
import json
import os
import platform
from typing import Any

LIBRARIES = ("ase", "numpy", "scipy", "numba", "matscipy", "pyamg", "matplotlib")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``qc info``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print what is installed and how it will run."""
    facts = collect()
    if args.json:
        print(json.dumps(facts, indent=2))
        return 0
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    cache = facts["kernel_cache"]
    rows = {
        "python": facts["python"],
        "libraries": libraries,
        "threads": f"{facts['threads']} of {facts['cores']} cores (set by NUMBA_NUM_THREADS)",
        "kernel cache": cache or "none writable: kernels are compiled in every run",
        "schemes": ", ".join(facts["schemes"]),
        **{name: " ".join(elements) for name, elements in facts["potentials"].items()},
        "files": "EAM as setfl (alloy, Finnis-Sinclair) and funcfl; "
        f"{', '.join(facts['potential_files'])} of LAMMPS",
    }
    print(f"quasicontinuum {facts['version']}")
    width = max(map(len, rows)) + 1
    for name, text in rows.items():
        print(f"  {name:<{width}}{text}")
    return 0


def collect() -> dict[str, Any]:
    """Return the facts that ``qc info`` prints, ready for JSON."""
    import numba

    import qc
    from qc.coupling import SCHEMES
    from qc.io.potentials import FILES, elements
    from qc.io.runs.result import library_version

    return {
        "version": qc.__version__,
        "python": f"{platform.python_version()} ({platform.system()} {platform.machine()})",
        "libraries": {name: library_version(name) for name in LIBRARIES},
        "threads": numba.get_num_threads(),
        "cores": os.cpu_count(),
        "kernel_cache": _kernel_cache(),
        "schemes": list(SCHEMES),
        "zhou2004": elements()["zhou2004"],
        "potentials": elements(),
        "potential_files": list(FILES),
    }


def _kernel_cache() -> str | None:
    """Return where compiled kernels are kept, or None if nowhere can be written."""
    from qc.potentials.eam import kernels as eam_kernels

    compiled: Any = eam_kernels.bond_terms
    return compiled.stats.cache_path
