"""The folder of a run: what is written into it at each load step and at the end."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qc.coupling import QuasiContinuum
from qc.coupling.atom_fields import AtomFields, atom_fields
from qc.coupling.fields import ElementFields, element_fields
from qc.errors import InputError, OutputError
from qc.io.cases.resolve import HEAD, resolved
from qc.io.cases.setup import Setup
from qc.io.extxyz import write_extxyz
from qc.io.files import path_inside, remove_leftovers, shown_name, write_atomically
from qc.io.runs.checkpoint import write_checkpoint
from qc.io.runs.result import step_record, write_result
from qc.io.vtk import write_pvd, write_vtu
from qc.solve.path import LoadStep

#: What lies in the folder of a run.
FILES = ("case.toml", "result.json", "checkpoint.npz", "path.pvd")
FOLDERS = ("fields", "atoms", "pictures")


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
        #: The step whose files were written last: its state, place in the path and fields.
        self._shown: tuple[QuasiContinuum, int, AtomFields, ElementFields] | None = None
        self._start = time.monotonic()
        self._mark = self._start

    @property
    def checkpoint(self) -> Path:
        """Where the last state is."""
        return self.folder / "checkpoint.npz"

    def begin(self, *, clear: bool = False) -> None:
        """Write the resolved case, once it is known that everything else may be written.

        Parameters
        ----------
        clear : bool
            Remove what an earlier run has left first.

        Raises
        ------
        OutputError
            A name in the folder is taken by a link that leads out of it, by a file where a folder
            has to be or the other way round; or the case cannot be written. Nothing is written
            then.
        """
        self._refuse_what_is_in_the_way()
        for folder in (self.folder, *(self.folder / name for name in FOLDERS)):
            remove_leftovers(folder)
        if clear:
            self._clear()
        write_atomically(self.folder / "case.toml", resolved(self.setup, self.folder))

    def _refuse_what_is_in_the_way(self) -> None:
        output = self.setup.case.output
        wanted = dict(zip(FOLDERS, (output.vtu, output.extxyz, output.pictures != "none"),
                          strict=True))  # fmt: skip
        for name in (n for n, asked in wanted.items() if asked):
            path = path_inside(self.folder, name, f"folder '{self.folder}'")
            if path.exists() and not path.is_dir():
                raise OutputError(f"{self.folder / name} is a file where a folder has to be")
        for name in FILES:
            if (self.folder / name).is_dir():
                raise OutputError(f"{self.folder / name} is a folder where a file has to be")

    def _clear(self) -> None:
        """Remove the files of an earlier run, the one that lists the others first."""
        from qc.io.pictures import SCALARS

        drawn = "|".join(("mesh", "regions", "nonaffinity", *SCALARS))
        mine = re.compile(
            rf"fields/step_\d+\.vtu|atoms/step_\d+\.extxyz|pictures/(step_\d+_)?({drawn})\.png"
        )
        found = [self.folder / name for name in ("result.json", "checkpoint.npz", "path.pvd")]
        for name in FOLDERS:
            found += sorted((self.folder / name).glob("*"))
        for path in found:
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and (name in FILES or mine.fullmatch(name)):
                try:
                    path.unlink()
                except OSError as error:
                    raise OutputError(f"{path} cannot be removed: {error.strerror}") from error

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
            self.folder / "result.json",
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
        if not asked or "\0" in asked:
            raise InputError(f"--output: {asked!r} is no name of a folder")
        folder = Path(asked)
    else:
        folder = path_inside(Path.cwd(), f"runs/{stem}" if named is None else named,
                             "output.directory")  # fmt: skip
        folder = Path(os.path.relpath(folder))
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output folder '{folder}' is a file")
    return folder


def refuse_occupied(folder: Path) -> None:
    """Refuse a folder whose files a run that begins anew would overwrite.

    Raises
    ------
    InputError
        It holds the result or checkpoint of an earlier run, or a case file that is not the
        resolved copy of one.
    """
    ways = "--force to replace it, or --output for another folder"
    if any((folder / name).exists() for name in ("result.json", "checkpoint.npz")):
        raise InputError(
            f"'{folder}' holds the result of an earlier run: --resume to go on with it, {ways}"
        )
    case = folder / "case.toml"
    if case.is_file():
        with open(case, "rb") as file:
            ours = file.read(len(HEAD)) == HEAD.encode()
        if not ours:
            raise InputError(f"'{case}' would be overwritten by the resolved copy: {ways}")
