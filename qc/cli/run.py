"""``qc run``: run the simulation that a case file describes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qc.errors import CheckpointError, InputError, NonFiniteError
from qc.io.runs.signals import Stop, signals

if TYPE_CHECKING:
    from qc.io.cases.setup import Setup
    from qc.io.runs.load_path import LoadPathFolder
    from qc.solve import Iteration
    from qc.solve.path import LoadPath, LoadStep

OK, FAILED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``qc run``."""
    parser.description = (
        "Relax a model along the load path of a case file (TOML). Writes the resolved case,\n"
        "fields for ParaView, atoms for OVITO and ASE, pictures, a checkpoint and result.json."
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
    from qc.io.cases.case import load_case
    from qc.io.cases.setup import set_up
    from qc.io.runs.folder import output_folder, refuse_occupied
    from qc.io.runs.load_path import LoadPathFolder
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
    start = 0
    records: list[dict[str, Any]] = []
    if args.resume:
        start, records = resume(setup, folder / "checkpoint.npz", args.force)
    directory = LoadPathFolder(folder, setup, records)
    directory.start(clear=args.force and not args.resume)
    if records:
        gone = directory.take_up(setup.model.with_strain(setup.deformations[start - 1]))
        if gone and not args.quiet:
            print(f"qc run: no longer in {folder}: {', '.join(gone)}", file=sys.stderr)
    return _Runner(setup, directory, args.quiet).run(start)


def set_threads(threads: int) -> None:
    """Set the number of threads of the compiled kernels.

    Raises
    ------
    InputError
        Fewer than one, or more than the machine or NUMBA_NUM_THREADS allows.
    """
    import numba

    most = int(vars(numba.config)["NUMBA_NUM_THREADS"])
    if not 1 <= threads <= most:
        raise InputError(f"--threads {threads}: from 1 to {most} on this machine")
    numba.set_num_threads(threads)


def resume(setup: Setup, path: Path, force: bool) -> tuple[int, list[dict[str, Any]]]:
    """Give the model the state of a checkpoint; return the next step and the steps' records.

    Raises
    ------
    CheckpointError
        No checkpoint, or one of another model or load path.
    """
    from qc.io.runs.checkpoint import check_path, read_checkpoint, restore

    found = read_checkpoint(path, force=force)
    check_path(found, setup.deformations, force=force)
    restore(found, setup.model, force=force)
    records = [dict(r) for r in found.records]
    good = all(_is_record(record, index) for index, record in enumerate(records))
    if len(records) != found.next_step or not good:
        raise CheckpointError(
            f"checkpoint {path} holds {len(records)} records that do not fit its "
            f"{found.next_step} finished steps: it was not written by a run"
        )
    return found.next_step, records


def _is_record(record: dict[str, Any], index: int) -> bool:
    """Whether a record of a step has what the closing table and the collection read from it."""
    numbers = ("load", "max_force", "evaluations", "seconds")
    return (
        record.get("index") == index
        and all(isinstance(record.get(k), int | float) for k in numbers)
        and all(isinstance(record.get(k), int | float | None) for k in ("defect_energy", "energy"))
        and isinstance(record.get("converged"), bool)
        and isinstance(record.get("files"), dict)
        and all(isinstance(v, str | list) for v in record["files"].values())
        and isinstance(record.get("warnings"), list)
        and all(isinstance(w, str) for w in record["warnings"])
        and isinstance(record.get("reference", {}), dict)
        and all(map(_is_reference, record.get("reference", {}).values()))
    )


def _is_reference(one: Any) -> bool:
    """Whether a record says of an element what its atoms are counted with."""
    return (
        isinstance(one, dict)
        and isinstance(one.get("added"), int)
        and isinstance(one.get("mu"), int | float)
        and isinstance(one.get("source"), str)
    )


class _Runner:
    """One run: follows the path, writes as it goes, and stops where it has to."""

    def __init__(self, setup: Setup, directory: LoadPathFolder, quiet: bool) -> None:
        self.setup, self.directory, self.quiet = setup, directory, quiet
        self.last: LoadStep | None = None
        self.stopped = Stop()

    def run(self, start: int) -> int:
        from qc.solve.path import follow

        case, model = self.setup.case, self.setup.model
        solver = case.solver
        status, reason, code = "complete", "", OK
        with signals() as self.stopped:
            try:
                path = follow(
                    model,
                    self.setup.deformations,
                    start=start,
                    callback=self._step,
                    iteration=self._iteration,
                    fmax=solver.fmax,
                    method=solver.method,
                    max_steps=solver.max_steps,
                    mu=case.defects.mu,
                    longest=solver.longest.angstrom(
                        model.crystal.a, model.crystal.nearest_neighbour
                    ),
                )
                model = path.model
                status, reason, code = self._outcome(path)
            except NonFiniteError as error:
                # The state the failed step started from is the last good one.
                index = len(self.directory.records)
                good = model if self.last is None else self.last.model
                self.directory.save(good, index, relaxing=True)
                status, reason, code = "not finite", f"step {index}: {error}", FAILED
            self.directory.finish(model, status, reason)
        if not self.quiet:
            print(summary(self.setup, self.directory, reason))
        if status not in ("complete", "interrupted"):
            print(f"qc run: {status}: {reason}", file=sys.stderr)
        if self.stopped:
            print(
                f"qc run: {self.stopped.word}; the state is in {self.directory.checkpoint}, go on "
                "with --resume",
                file=sys.stderr,
            )
        return code

    def _outcome(self, path: LoadPath) -> tuple[str, str, int]:
        if self.stopped.number is not None and not path.complete:
            return "interrupted", path.reason, 128 + self.stopped.number
        self.stopped.number = None
        if path.complete:
            return "complete", path.reason, OK
        return "not converged", path.reason, FAILED

    def _iteration(self, entry: Iteration) -> bool:
        return bool(self.stopped)

    def _step(self, step: LoadStep) -> bool:
        if self.stopped and not step.result.converged:
            self.directory.save(step.model, step.index, relaxing=True)
            return True
        record = self.directory.record(step)
        self.last = step
        if not self.quiet:
            total = len(self.setup.deformations)
            load = f"{self.setup.load_name} {record['load']:g}, " if total > 1 else ""
            print(
                f"step {step.index + 1}/{total}: {load}{record['evaluations']} evaluations, "
                f"{step.result.reason}",
                file=sys.stderr,
            )
        return bool(self.stopped)


def summary(setup: Setup, directory: LoadPathFolder, reason: str) -> str:
    """Return the closing table."""
    from qc.io.files import shown_name

    model, name = setup.model, setup.load_name
    atoms = int((~model.layout.vacant).sum())
    lines = [
        setup.case.title or shown_name(setup.case.source.stem),
        f"  {model.scheme.name}: {model.n_unknowns:,} unknowns ({model.mesh.n_vertices:,} "
        f"vertices, {atoms:,} atoms in the patch) for {model.n_sites:,.0f} sites",
        "",
        f"  {'step':>4} {name if name != 'step' else '':>8} {'defect energy':>14} {'energy':>12} "
        f"{'max force':>11} {'evaluations':>12} {'seconds':>8}",
        f"  {'':>4} {'':>8} {'eV':>14} {'eV':>12} {'eV/Angstrom':>11}",
    ]
    for r in directory.records:
        load = f"{r['load']:.4g}" if name != "step" else ""
        lines.append(
            f"  {r['index']:>4} {load:>8} {_number(r['defect_energy'], 14)} "
            f"{_number(r['energy'], 12)} {r['max_force']:>11.1e} {r['evaluations']:>12} "
            f"{r['seconds']:>8.1f}" + ("" if r["converged"] else "  not converged")
        )
    lines += _counted(directory.records)
    warnings = {w: r["index"] for r in reversed(directory.records) for w in r["warnings"]}
    lines += [""] + [f"  step {k}: {w}" for w, k in list(warnings.items())[:5]]
    if len(warnings) > 5:
        lines.append(f"  and {len(warnings) - 5} more warnings in result.json")
    lines.append(f"  {reason}; written to {shown_name(str(directory.folder))}")
    return "\n".join(lines)


def _counted(records: list[dict[str, Any]]) -> list[str]:
    """Return a line on what atoms are counted with, unless all count as in the host."""
    from qc.coupling.reference import HOST

    found = records[-1].get("reference", {}) if records else {}
    if all(one["source"] == HOST for one in found.values()):
        return []
    words = [
        f"{one['added']:+d} {symbol} at {one['mu']:.4f} eV ({one['source']})"
        for symbol, one in found.items()
    ]
    return ["", f"  defect energies count {', '.join(words)}"]


def _number(value: float | None, width: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.6f}"
