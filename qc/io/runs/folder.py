"""The folder of a run, whatever its kind: what may lie in it, clearing, starting over."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from qc.errors import InputError, OutputError
from qc.io.files import output_errors, path_inside, remove_leftovers, write_atomically

log = logging.getLogger(__name__)

#: How every resolved copy of a case begins.
HEAD = "# The case as it was run"

#: What lies in the folder of a run, the file that lists the others first.
FILES = ("result.json", "checkpoint.npz", "path.pvd", "history.csv", "ledger.png", "case.toml")
FOLDERS = ("fields", "atoms", "pictures")


class RunFolder:
    """The folder of a run.

    ::

        case.toml          the case with every default and unit written out
        result.json        what was run, with what, and how it ended
        checkpoint.npz     the last state, to resume from
        path.pvd           the load steps as a ParaView animation
        history.csv        rows of a run in time, and ledger.png, its energies
        fields/step_*.vtu  mesh and fields
        atoms/step_*.extxyz
        pictures/*.png
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.result, self.checkpoint, self.path, self.history, self.ledger, self.case = (
            self.folder / name for name in FILES
        )

    def begin(self, case: str, folders: Sequence[str] = (), *, clear: bool = False) -> None:
        """Write the resolved case, once it is known that everything else may be written.

        With ``clear``, what an earlier run has left is removed first. OutputError: a name in the
        folder is taken by a link that leads out of it, by a file where one of the ``folders`` has
        to be or the other way round, and nothing is written.
        """
        for name in folders:
            path = path_inside(self.folder, name, f"folder '{self.folder}'")
            if path.exists() and not path.is_dir():
                raise OutputError(f"{self.folder / name} is a file where a folder has to be")
        for name in FILES:
            if (self.folder / name).is_dir():
                raise OutputError(f"{self.folder / name} is a folder where a file has to be")
        self.remove_leftovers()
        if clear:
            self._clear()
        write_atomically(self.case, case)

    def remove_leftovers(self) -> None:
        """Remove the temporary files of runs that were killed."""
        for folder in (self.folder, *(self.folder / name for name in FOLDERS)):
            remove_leftovers(folder)

    def _clear(self) -> None:
        """Remove the files of an earlier run, the one that lists the others first."""
        from qc.io.pictures import SCALARS

        drawn = "|".join(("mesh", "regions", "nonaffinity", *SCALARS))
        mine = re.compile(
            rf"fields/step_\d+\.vtu|atoms/step_\d+\.extxyz|pictures/(step_\d+_)?({drawn})\.png"
        )
        found = [self.folder / name for name in FILES if name != "case.toml"]
        for name in FOLDERS:
            inside = sorted((self.folder / name).glob("*"))
            found += [p for p in inside if mine.fullmatch(p.relative_to(self.folder).as_posix())]
        for path in found:
            if path.is_file():
                with output_errors(path, "removed"):
                    path.unlink()

    def put_aside(self) -> None:
        """Keep state and history of a run that another is about to begin over, once."""
        for path in (self.checkpoint, self.history):
            if path.exists():
                old = path.with_suffix(f".old{path.suffix}")
                with output_errors(path, "moved"):
                    os.replace(path, old)
                log.warning(
                    "%s is of a run that this one does not go on from: now %s", path, old.name
                )


def output_folder(asked: str | None, named: str | None, stem: str) -> Path:
    """Return the folder of a run.

    That is the one ``asked`` for on the command line, or else the one ``named`` in the case file,
    ``runs/<stem>`` by default, which must stay inside the folder the command runs in.

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

    That is the result or checkpoint of an earlier run, or a case file that is no resolved copy.
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
