"""The folder of a run: what is written into it at each load step and at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qc.coupling import QuasiContinuum
from qc.errors import InputError
from qc.io.atoms import AtomFields, atom_fields
from qc.io.checkpoint import write_checkpoint
from qc.io.extxyz import write_extxyz
from qc.io.fields import ElementFields, element_fields
from qc.io.files import path_inside, write_atomically
from qc.io.resolve import resolved
from qc.io.result import step_record, write_result
from qc.io.setup import Setup
from qc.io.vtk import write_pvd, write_vtu
from qc.statics.loadpath import LoadStep


class RunDirectory:
    """Everything a run of a case leaves behind, in one folder.

    ::

        case.toml          the case with every default and unit written out
        result.json        what was run, with what, and what came out
        checkpoint.npz     the last state, to resume from
        path.pvd           the load steps as a ParaView animation
        fields/step_*.vtu  mesh and fields of each step
        atoms/step_*.extxyz
        pictures/*.png

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
        self.folder = Path(folder)
        self.setup = setup
        self.records: list[dict[str, Any]] = [dict(r) for r in records]
        self.before = sum(float(r.get("seconds", 0.0)) for r in self.records)
        self._fields: tuple[AtomFields, ElementFields] | None = None
        self._start = time.monotonic()
        self._mark = self._start

    @property
    def checkpoint(self) -> Path:
        """Where the last state is."""
        return self.folder / "checkpoint.npz"

    def begin(self) -> None:
        """Write the resolved case."""
        write_atomically(self.folder / "case.toml", resolved(self.setup, self.folder))

    def record(self, step: LoadStep) -> dict[str, Any]:
        """Write the files of a finished step and save its state; return its record."""
        now = time.monotonic()
        case, model = self.setup.case, step.model
        entry = step_record(step, self.setup.loads[step.index], now - self._mark)
        name = f"step_{step.index:03d}"
        if case.output.vtu:
            entry["files"]["fields"] = f"fields/{name}.vtu"
        if case.output.extxyz:
            entry["files"]["atoms"] = f"atoms/{name}.extxyz"
        elements = element_fields(model)
        atoms = atom_fields(model, elements=elements)
        self._fields = (atoms, elements)
        entry["largest_nonaffinity"] = float(atoms.nonaffinity.max(initial=0.0))
        self.records.append(entry)
        # The state comes first: it is what cannot be made again from the rest.
        self.save(model, step.index, relaxing=not step.result.converged)
        if case.output.vtu:
            write_vtu(self.folder / entry["files"]["fields"], model, fields=elements)
            self._collect()
        if case.output.extxyz:
            info = {"step": step.index, self.setup.load_name: self.setup.loads[step.index]}
            write_extxyz(self.folder / entry["files"]["atoms"], model, fields=atoms, info=info)
        if case.output.pictures == "all":
            entry["files"]["pictures"] = self._pictures(step, f"{name}_")
        self._mark = time.monotonic()
        return entry

    def save(self, model: QuasiContinuum, index: int, *, relaxing: bool = False) -> None:
        """Write the checkpoint: the state of a model at a step, finished or on its way."""
        done = [r for r in self.records if r.get("converged") is True]
        path = self.setup.deformations[: index + 1]
        write_checkpoint(self.checkpoint, model, path, relaxing=relaxing, records=done)

    def finish(
        self, model: QuasiContinuum, last: LoadStep | None, status: str, reason: str
    ) -> None:
        """Write the last pictures and ``result.json``."""
        case = self.setup.case
        if last is not None and case.output.pictures == "last":
            self.records[-1]["files"]["pictures"] = self._pictures(last, "")
        write_result(
            self.folder / "result.json",
            model,
            self.records,
            status=status,
            reason=reason,
            title=case.title,
            case={"file": case.source.name, "sha256": case.digest},
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

    def _pictures(self, step: LoadStep, prefix: str) -> list[str]:
        from qc.io import pictures

        model, case = step.model, self.setup.case
        assert self._fields is not None
        atoms, elements = self._fields
        head = " - ".join(filter(None, [case.title, self._load_text(step.index)]))

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


def output_folder(asked: str | None, named: str | None, stem: str) -> Path:
    """Return the folder of a run.

    Parameters
    ----------
    asked : str or None
        Given on the command line; taken as it is.
    named : str or None
        Given in the case file; it must stay inside the folder the command runs in.
    stem : str
        Of the case file; ``runs/<stem>`` is the default.

    Raises
    ------
    OutputError
        The case file names a folder outside the working directory.
    InputError
        The folder is a file.
    """
    if asked is not None:
        folder = Path(asked)
    else:
        folder = path_inside(Path.cwd(), f"runs/{stem}" if named is None else named,
                             "output.directory")  # fmt: skip
        folder = Path(os.path.relpath(folder))
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output folder '{folder}' is a file")
    return folder
