"""``qc run``: run the simulation that a case file describes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from qc.errors import InputError

OK, FAILED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``qc run``."""
    parser.description = (
        "Relax a model along the load path of a case file (TOML), or move it in time. Writes the\n"
        "resolved case, fields for ParaView, atoms for OVITO and ASE, pictures, a checkpoint and\n"
        "result.json; of dynamics history.csv too."
    )
    parser.epilog = (
        "examples:\n  qc run examples/lomer_dipole.toml\n"
        "  qc run case.toml --output results --threads 2\n"
        "  qc run case.toml --resume      go on from the last checkpoint"
    )
    parser.add_argument("case", metavar="CASE.toml", help="the case file")
    parser.add_argument(
        "--output", metavar="DIR", help="folder to write to (default: runs/NAME, or the case's own)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in the output folder"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace the result of an earlier run; with --resume, go on from a checkpoint of "
        "another version, potential, scheme or load path",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads (default: all)")
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def run(args: argparse.Namespace) -> int:
    """Run the case and return the exit code."""
    from qc.io.cases.base import RunOptions
    from qc.io.cases.case import load_case
    from qc.io.cases.setup import set_up
    from qc.io.runs.folder import output_folder, refuse_occupied
    from qc.numerics.progress import Progress

    if args.threads is not None:
        set_threads(args.threads)
    case = load_case(args.case)
    folder = output_folder(args.output, case.output.directory, Path(args.case).stem)
    if not args.resume and not args.force:
        refuse_occupied(folder)
    with Progress("set up") as progress:
        progress.update("potential, crystal and mesh")
        setup = set_up(case)
    say = (lambda line: None) if args.quiet else (lambda line: print(line, file=sys.stderr))
    ended = case.run(setup, folder, RunOptions(args.resume, args.force, say))
    if not args.quiet:
        print(ended.summary)
    if ended.status not in ("complete", "interrupted"):
        print(f"qc run: {ended.status}: {ended.reason}", file=sys.stderr)
    if ended.stop:
        print(
            f"qc run: {ended.stop.word}; the state is in {folder / 'checkpoint.npz'}, go on with "
            "--resume",
            file=sys.stderr,
        )
        return 128 + (ended.stop.number or 0)
    return OK if ended.status == "complete" else FAILED


def set_threads(threads: int) -> None:
    """Set the number of threads of kernels, as far as machine and NUMBA_NUM_THREADS allow."""
    import numba

    most = int(vars(numba.config)["NUMBA_NUM_THREADS"])
    if not 1 <= threads <= most:
        raise InputError(f"--threads {threads}: from 1 to {most} on this machine")
    numba.set_num_threads(threads)
