"""What a load path leaves behind in the folder of its run, step by step."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from qc.coupling import QuasiContinuum
from qc.io.cases.base import Setup
from qc.io.cases.frames import Frames
from qc.io.cases.resolve import resolved
from qc.io.files import path_inside, shown_name
from qc.io.runs.checkpoint import write_checkpoint
from qc.io.runs.folder import RunFolder
from qc.io.runs.result import step_record, write_result
from qc.io.vtk import write_pvd
from qc.solve.path import LoadStep


class LoadPathFolder(RunFolder):
    """The folder of a load path: states, fields, atoms and pictures of its steps."""

    def __init__(self, folder: str | os.PathLike[str], setup: Setup) -> None:
        super().__init__(folder)
        self.setup = setup
        self.take([])
        self.frames = Frames(self.folder, setup.case.output)
        self._start = time.monotonic()
        self._mark = self._start

    def take(self, records: Sequence[dict[str, Any]]) -> None:
        """Take the records of the steps done before, when a run is resumed."""
        self.records: list[dict[str, Any]] = [dict(r) for r in records]
        self.before = sum(float(r.get("seconds", 0.0)) for r in self.records)

    def start(self, *, clear: bool = False) -> None:
        """Begin, with the folders that the case asks for; see `RunFolder.begin`."""
        self.begin(resolved(self.setup, self.folder), self.frames.folders, clear=clear)

    def take_up(self, model: QuasiContinuum) -> list[str]:
        """Go on from steps done before: see to it that what their records list is there.

        The state of a step is saved before its files, so that a kill or a full disk may have kept
        these from being written. Those of the last finished step, which the model is at, are
        written again; files of earlier steps that are gone are taken out of the records, and
        returned.
        """
        gone = self._drop_missing(self.records[:-1])
        self._write_step(model, self.records[-1])
        return gone

    def record(self, step: LoadStep) -> dict[str, Any]:
        """Save the state of a finished step and write its files; return its record."""
        now = time.monotonic()
        model = step.model
        entry = step_record(step, self.setup.values[step.index], now - self._mark)
        atoms, _ = self.frames.show(model, step.index)
        if model.loads:
            entry["reactions"] = model.reactions().tolist()
        entry["largest_nonaffinity"] = float(atoms.nonaffinity.max(initial=0.0))
        entry["files"] = self.frames.names(step.index)
        self.records.append(entry)
        # The state comes first: it is what cannot be made again from the rest.
        self.save(model, step.index, relaxing=not step.result.converged)
        self._write_step(model, entry)
        self._mark = time.monotonic()
        return entry

    def _write_step(self, model: QuasiContinuum, entry: dict[str, Any]) -> None:
        """Write the files of a step and list them in its record."""
        index = entry["index"]
        info = {"step": index, self.setup.value_name: self.setup.values[index]}
        entry["files"] = files = self.frames.write(model, index, self._head(index), info)
        if "fields" in files:
            self._collect()

    def _drop_missing(self, records: Sequence[dict[str, Any]]) -> list[str]:
        """Take files that are not there out of records; return their names."""
        gone = []
        for record in records:
            kept: dict[str, Any] = {}
            for what, names in record["files"].items():
                listed = [names] if isinstance(names, str) else list(names)
                there = [n for n in listed if (self.folder / str(n)).is_file()]
                gone += [str(n) for n in listed if n not in there]
                if there:
                    kept[what] = there[0] if isinstance(names, str) else there
            record["files"] = kept
        return gone

    def save(self, model: QuasiContinuum, index: int, *, relaxing: bool = False) -> None:
        """Write the checkpoint: the state of a model at a step, finished or on its way."""
        done = [r for r in self.records if r.get("converged") is True]
        path = self.setup.path()[: index + 1]
        write_checkpoint(self.checkpoint, model, path, relaxing=relaxing, records=done)

    def finish(self, model: QuasiContinuum, status: str, reason: str) -> None:
        """Write the last pictures and ``result.json``."""
        case = self.setup.case
        if self.frames.shown and case.output.pictures == "last":
            last = self.records[-1]
            last["files"]["pictures"] = self.frames.pictures(self._head(last["index"]))
        self._drop_missing(self.records)
        write_result(
            self.result,
            model,
            self.records,
            status=status,
            reason=reason,
            title=case.title,
            case={"file": shown_name(case.source.name), "sha256": case.digest},
            seed=case.seed,
            load_name=self.setup.value_name,
            wall_time=self.before + time.monotonic() - self._start,
        )

    def _collect(self) -> None:
        """Rewrite the collection of all steps that have a field file inside the folder."""
        shown = [
            (path_inside(self.folder, str(r["files"]["fields"]), "step"), float(r["load"]))
            for r in self.records
            if "fields" in r.get("files", {})
        ]
        shown = [(file, load) for file, load in shown if file.is_file()]
        files, loads = [f for f, _ in shown], [v for _, v in shown]
        # ParaView wants its times in order; a path that turns back is counted instead.
        rising = bool(np.all(np.diff(loads) > 0))
        write_pvd(self.folder / "path.pvd", files, loads if rising else None)

    def _head(self, index: int) -> str:
        """Return what titles of pictures begin with: the run, and where on its path it is."""
        name, load = self.setup.value_name, self.setup.values[index]
        if name == "step":
            where = f"step {index}" if len(self.setup.values) > 1 else ""
        elif self.setup.unit == "%":
            where = f"{name} {100.0 * load:.3g} %"
        else:
            where = f"{name} {load:.4g} {self.setup.unit}".rstrip()
        return " - ".join(filter(None, [self.setup.case.title, where]))
