"""The seven schemes on the Lomer dipole: error, unknowns, evaluations and time.

Run with ``python tests/bench/lomer_schemes.py``; prints the table of docs/benchmarks.md. The errors
are against the full lattice relaxed by LAMMPS along the same path (tests/reference).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from lomer_reference import LomerDipole

from qc.coupling import SCHEMES
from qc.errors import QCError

CORE, BLEND, GRADING = 6.0, 4.0, 2.0


def main() -> None:
    """Print one row for each scheme."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schemes", nargs="*", default=[*SCHEMES])
    parser.add_argument("--fmax", type=float, default=1e-5)
    options = parser.parse_args()
    dipole = LomerDipole.load()
    print(
        "| scheme | unknowns | rms all | rms core | largest | energy change | evaluations | time |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in options.schemes:
        began = time.perf_counter()
        try:
            model = dipole.model(name, CORE, BLEND, grading=GRADING)
            rows = dipole.follow(model, fmax=options.fmax, max_steps=800)
        except QCError as error:
            print(f"| {name} | - | {type(error).__name__}: {error} |", flush=True)
            continue
        worst = {k: max(r[k] for r in rows) for k in ("all", "core", "largest")}
        change = max(abs(r["change_error"]) for r in rows)
        done = all(r["converged"] for r in rows)
        print(
            f"| {name}{'' if done else ' (not converged)'} | {model.n_unknowns} "
            f"| {100 * worst['all']:.2f} % | {100 * worst['core']:.2f} % "
            f"| {100 * worst['largest']:.1f} % | {100 * change:.3f} % "
            f"| {sum(r['evaluations'] for r in rows)} | {time.perf_counter() - began:.0f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
