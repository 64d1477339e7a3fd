"""What a load path leaves behind in the folder of its run, step by step."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from qc.coupling import QuasiContinuum
from qc.coupling.atom_fields import AtomFields, atom_fields
from qc.coupling.fields import ElementFields, element_fields
from qc.io.cases.resolve import resolved
from qc.io.cases.setup import Setup
from qc.io.extxyz import write_extxyz
from qc.io.files import path_inside, shown_name
from qc.io.runs.checkpoint import write_checkpoint
from qc.io.runs.folder import FOLDERS, RunFolder
from qc.io.runs.result import step_record, write_result
from qc.io.vtk import write_pvd, write_vtu
from qc.solve.path import LoadStep


class LoadPathFolder(RunFolder):
    """The folder of a load path: states, fields, atoms and pictures of its steps.

    Parameters
    ----------
    folder : path-like
    setup : Setup
    records : sequence of dict, optional
        Of the steps done before, when a run is resumed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        setup: Setup,
        records: Sequence[dict[str, Any]] = (),
    ) -> None:
        super().__init__(folder)
        self.setup = setup
        self.records: list[dict[str, Any]] = [dict(r) for r in records]
        self.before = sum(float(r.get("seconds", 0.0)) for r in self.records)
        #: The step whose files were written last: its state, place in the path and fields.
        self._shown: tuple[QuasiContinuum, int, AtomFields, ElementFields] | None = None
        self._start = time.monotonic()
        self._mark = self._start

    def start(self, *, clear: bool = False) -> None:
        """Begin, with the folders that the case asks for; see `RunFolder.begin`."""
        output = self.setup.case.output
        wanted = zip(FOLDERS, (output.vtu, output.extxyz, output.pictures != "none"), strict=True)
        self.begin(resolved(self.setup, self.folder), [n for n, asked in wanted if asked],
                   clear=clear)  # fmt: skip

    def take_up(self, model: QuasiContinuum) -> list[str]:
        """Go on from steps done before: see to it that what their records list is there.

        The state of a step is saved before its files, so that a kill or a full disk may have kept
        these from being written. Those of the last step are written again, from its state; files
        of earlier steps that are gone are taken out of the records.

        Parameters
        ----------
        model : QuasiContinuum
            At the last finished step.

        Returns
        -------
        list of str
            The files of earlier steps that are gone.
        """
        gone = self._drop_missing(self.records[:-1])
        self._write_step(model, self.records[-1])
        return gone

    def record(self, step: LoadStep) -> dict[str, Any]:
        """Save the state of a finished step and write its files; return its record."""
        now = time.monotonic()
        model = step.model
        entry = step_record(step, self.setup.loads[step.index], now - self._mark)
        atoms, _ = self._show(model, step.index)
        entry["largest_nonaffinity"] = float(atoms.nonaffinity.max(initial=0.0))
        entry["files"] = self._names(step.index)
        self.records.append(entry)
        # The state comes first: it is what cannot be made again from the rest.
        self.save(model, step.index, relaxing=not step.result.converged)
        self._write_step(model, entry)
        self._mark = time.monotonic()
        return entry

    def _names(self, index: int) -> dict[str, Any]:
        """Return the files of a step by what they are; pictures come when they are drawn."""
        output, name = self.setup.case.output, f"step_{index:03d}"
        out = {}
        if output.vtu:
            out["fields"] = f"fields/{name}.vtu"
        if output.extxyz:
            out["atoms"] = f"atoms/{name}.extxyz"
        return out

    def _show(self, model: QuasiContinuum, index: int) -> tuple[AtomFields, ElementFields]:
        """Return the fields of a step, computed once."""
        if self._shown is None or self._shown[0] is not model:
            elements = element_fields(model)
            self._shown = (model, index, atom_fields(model, elements=elements), elements)
        return self._shown[2], self._shown[3]

    def _write_step(self, model: QuasiContinuum, entry: dict[str, Any]) -> None:
        """Write the files of a step and list them in its record."""
        index = entry["index"]
        atoms, elements = self._show(model, index)
        entry["files"] = files = self._names(index)
        if "fields" in files:
            write_vtu(self.folder / files["fields"], model, fields=elements)
            self._collect()
        if "atoms" in files:
            info = {"step": index, self.setup.load_name: self.setup.loads[index]}
            write_extxyz(self.folder / files["atoms"], model, fields=atoms, info=info)
        if self.setup.case.output.pictures == "all":
            files["pictures"] = self._pictures(f"step_{index:03d}_")

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
        path = self.setup.deformations[: index + 1]
        write_checkpoint(self.checkpoint, model, path, relaxing=relaxing, records=done)

    def finish(self, model: QuasiContinuum, status: str, reason: str) -> None:
        """Write the last pictures and ``result.json``."""
        case = self.setup.case
        if self._shown is not None and case.output.pictures == "last":
            self.records[-1]["files"]["pictures"] = self._pictures("")
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
            load_name=self.setup.load_name,
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

    def _pictures(self, prefix: str) -> list[str]:
        """Draw the step shown last; return the files."""
        from qc.io import pictures

        case = self.setup.case
        assert self._shown is not None
        model, index, atoms, elements = self._shown
        head = " - ".join(filter(None, [case.title, self._load_text(index)]))

        def title(what: str) -> str:
            return f"{head}: {what}" if head else what[0].upper() + what[1:]

        folder = self.folder / "pictures"
        done = [
            pictures.draw_mesh(folder / f"{prefix}mesh.png", model, title=title("mesh")),
            pictures.draw_regions(
                folder / f"{prefix}regions.png", model, title=title("regions"), fields=atoms
            ),
            pictures.draw_nonaffinity(
                folder / f"{prefix}nonaffinity.png", model, title=title("non-affinity"),
                fields=atoms,
            ),
        ]  # fmt: skip
        for name in case.output.fields:
            label = pictures.SCALARS[name].label.split(" (")[0]
            done.append(
                pictures.draw_field(
                    folder / f"{prefix}{name}.png", model, name, title=title(label),
                    fields=elements,
                )
            )  # fmt: skip
        return [f"pictures/{p.name}" for p in done]

    def _load_text(self, index: int) -> str:
        name, load = self.setup.load_name, self.setup.loads[index]
        if name == "step":
            return f"step {index}" if len(self.setup.loads) > 1 else ""
        return f"{name} {100.0 * load:.3g} %"
