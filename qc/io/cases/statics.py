"""Cases of kind ``"statics"``: one relaxation per step of a load path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qc.coupling import QuasiContinuum
from qc.coupling.reference import HOST
from qc.errors import CaseError, CheckpointError, NonFiniteError
from qc.io.cases.base import Case, Ended, RunOptions, Setup
from qc.io.cases.load_path import LoadPathFolder
from qc.io.files import shown_name
from qc.io.runs.checkpoint import check_path, read_checkpoint, restore
from qc.io.runs.signals import signals
from qc.numerics.progress import Progress
from qc.solve import Iteration
from qc.solve.path import LoadPath, LoadStep, follow


@dataclass(frozen=True)
class StaticsCase(Case):
    """A load path."""

    kind = "statics"

    def check(self) -> None:
        """Check what involves several keys; see `Case.check`."""
        super().check()
        for k, load in enumerate(self.loads):
            if vars(load)[load.rate_key]:
                raise CaseError(
                    f"loads[{k}].{load.rate_key}: a load path moves a load by '{load.path_key}'"
                )

    def run(self, setup: Setup, folder: Path, options: RunOptions) -> Ended:
        """Relax step after step; save each, and stop where it has to."""
        start = 0
        records: list[dict[str, Any]] = []
        directory = LoadPathFolder(folder, setup)
        if options.resume:
            start, records = resume(setup, directory.checkpoint, options.force)
        directory.take(records)
        directory.start(clear=options.force and not options.resume)
        if records:
            gone = directory.take_up(at_step(setup, setup.model, start - 1))
            if gone:
                options.say(f"qc run: no longer in {folder}: {', '.join(gone)}")
        return _Runner(setup, directory, options).run(start)


def at_step(setup: Setup, model: QuasiContinuum, step: int) -> QuasiContinuum:
    """Return the model of a step, in the state of another."""
    out = model.with_strain(setup.deformations[step])
    if setup.motions:
        out.loads = setup.loads(step)
    return out


def resume(setup: Setup, path: Path, force: bool) -> tuple[int, list[dict[str, Any]]]:
    """Give the model the state of a checkpoint; return the next step and the steps' records."""
    found = read_checkpoint(path, force=force)
    check_path(found, setup.path(), force=force)
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

    def __init__(self, setup: Setup, directory: LoadPathFolder, options: RunOptions) -> None:
        self.setup, self.directory, self.options = setup, directory, options
        self.last: LoadStep | None = None

    def run(self, start: int) -> Ended:
        case, model = self.setup.case, self.setup.model
        with signals() as self.stopped, Progress("relax") as self.progress:
            try:
                path = follow(
                    model,
                    range(len(self.setup.deformations)),
                    change=lambda model, step: at_step(self.setup, model, step),
                    start=start,
                    callback=self._step,
                    iteration=self._iteration,
                    mu=case.defects.mu,
                    **case.solver.options(model.crystal),
                )
                model, reason = path.model, path.reason
                status = self._status(path)
            except NonFiniteError as error:
                # The state the failed step started from is the last good one.
                index = len(self.directory.records)
                good = model if self.last is None else self.last.model
                self.directory.save(good, index, relaxing=True)
                status, reason = "not finite", f"step {index}: {error}"
            self.directory.finish(model, status, reason)
        return Ended(status, reason, summary(self.setup, self.directory, reason), self.stopped)

    def _status(self, path: LoadPath) -> str:
        if self.stopped and not path.complete:
            return "interrupted"
        self.stopped.number = None
        return "complete" if path.complete else "not converged"

    def _iteration(self, entry: Iteration) -> bool:
        self.progress(entry)
        return bool(self.stopped)

    def _step(self, step: LoadStep) -> bool:
        self.progress.close()
        if self.stopped and not step.result.converged:
            self.directory.save(step.model, step.index, relaxing=True)
            return True
        record = self.directory.record(step)
        self.last = step
        total = len(self.setup.deformations)
        load = f"{self.setup.value_name} {record['load']:g}, " if total > 1 else ""
        self.options.say(
            f"step {step.index + 1}/{total}: {load}{record['evaluations']} evaluations, "
            f"{step.result.reason}"
        )
        return bool(self.stopped)


def summary(setup: Setup, directory: LoadPathFolder, reason: str) -> str:
    """Return the closing table."""
    model, name = setup.model, setup.value_name
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
