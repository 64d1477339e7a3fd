"""Files of a model at a step: fields, atoms and pictures, as ``[output]`` asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qc.coupling import QuasiContinuum
from qc.coupling.atom_fields import AtomFields, atom_fields
from qc.coupling.fields import ElementFields, element_fields
from qc.io.cases.tables import OutputCase
from qc.io.extxyz import write_extxyz
from qc.io.vtk import write_vtu


class Frames:
    """Writer of the files of a run's steps, whose numbers have so many digits in their names."""

    def __init__(self, folder: Path, output: OutputCase, digits: int = 3) -> None:
        self.folder, self.output, self.digits = folder, output, digits
        #: The step shown last: model, index, and its fields.
        self._shown: tuple[QuasiContinuum, int, AtomFields, ElementFields] | None = None

    @property
    def folders(self) -> list[str]:
        """Folders that are written to."""
        asked = {
            "fields": self.output.vtu,
            "atoms": self.output.extxyz,
            "pictures": self.output.pictures != "none",
        }
        return [name for name, wanted in asked.items() if wanted]

    @property
    def shown(self) -> bool:
        """Whether there is a step that pictures can be drawn of."""
        return self._shown is not None

    def show(self, model: QuasiContinuum, index: int) -> tuple[AtomFields, ElementFields]:
        """Return the fields of a model at a step, computed once."""
        if self._shown is None or self._shown[0] is not model or self._shown[1] != index:
            elements = element_fields(model)
            self._shown = (model, index, atom_fields(model, elements=elements), elements)
        return self._shown[2], self._shown[3]

    def names(self, index: int) -> dict[str, Any]:
        """Return the files of a step by what they are; pictures come when they are drawn."""
        name, out = f"step_{index:0{self.digits}d}", {}
        if self.output.vtu:
            out["fields"] = f"fields/{name}.vtu"
        if self.output.extxyz:
            out["atoms"] = f"atoms/{name}.extxyz"
        return out

    def write(
        self, model: QuasiContinuum, index: int, head: str, info: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Write the files of a step; return their names by what they are.

        ``head`` begins the titles of pictures, ``info`` is what the file of atoms says of the step.
        """
        atoms, elements = self.show(model, index)
        files = self.names(index)
        if "fields" in files:
            write_vtu(self.folder / files["fields"], model, fields=elements)
        if "atoms" in files:
            write_extxyz(self.folder / files["atoms"], model, fields=atoms, info=dict(info))
        if self.output.pictures == "all":
            files["pictures"] = self.pictures(head, f"step_{index:0{self.digits}d}_")
        return files

    def pictures(self, head: str, prefix: str = "") -> list[str]:
        """Draw the step shown last; return the files."""
        from qc.io import pictures

        assert self._shown is not None
        model, _, atoms, elements = self._shown

        def path(name: str) -> Path:
            return self.folder / "pictures" / f"{prefix}{name}.png"

        def title(what: str) -> str | None:
            return f"{head}: {what}" if head else None

        affinity = title("non-affinity")
        done = [
            pictures.draw_mesh(path("mesh"), model, title=title("mesh")),
            pictures.draw_regions(path("regions"), model, title=title("regions"), fields=atoms),
            pictures.draw_nonaffinity(path("nonaffinity"), model, title=affinity, fields=atoms),
        ]
        for name in self.output.fields:
            label = title(pictures.SCALARS[name].label.split(" (")[0])
            done.append(pictures.draw_field(path(name), model, name, title=label, fields=elements))
        return [f"pictures/{p.name}" for p in done]
