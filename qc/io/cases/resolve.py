"""The resolved copy of a case: every default and unit written out, ready to be run again."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from qc.crystal import Crystal
from qc.errors import CaseError
from qc.io.cases import schema
from qc.io.cases.base import Setup
from qc.io.cases.schema import Length
from qc.io.files import shown_name
from qc.io.runs.folder import HEAD


def resolved(setup: Setup, folder: str | os.PathLike[str]) -> str:
    """Return the case as TOML with every default and unit written out.

    A run of it repeats the run bit for bit. Lengths are in Angstrom; the name of a potential file
    is relative to the folder, where the copy will lie.
    """
    case, crystal = setup.case, setup.model.crystal
    file = case.potential.file
    if file is not None:
        moved = os.path.relpath((case.source.parent / file).resolve(), folder)
        potential = dataclasses.replace(case.potential, file=Path(moved).as_posix())
        case = dataclasses.replace(case, potential=potential)
    head = (
        f"{HEAD}: defaults and units written out. Lengths in Angstrom, forces in\n"
        f"# eV/Angstrom. From {shown_name(case.source.name)}, SHA-256 {case.digest}.\n\n"
    )
    return head + to_toml(_plain(case, crystal))


def _plain(value: Any, crystal: Crystal) -> Any:
    """Return a table, or what stands in one, as TOML knows it."""
    if isinstance(value, Length):
        # What measures the crystal itself is in Angstrom already.
        return value.in_crystal(crystal)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        out = {"kind": value.kind} if isinstance(value, schema.OfKind) else {}
        keys = schema.readers(type(value))
        return out | {name: _plain(vars(value)[name], crystal) for name in keys}
    if isinstance(value, tuple | list):
        return [_plain(one, crystal) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one, crystal) for name, one in value.items()} or None
    return value


def to_toml(values: dict[str, Any]) -> str:
    """Return a mapping as TOML: scalars, arrays, tables and arrays of tables; None is left out."""
    lines: list[str] = []
    _emit(values, "", lines)
    return "\n".join(lines).strip() + "\n"


def _emit(values: dict[str, Any], where: str, lines: list[str]) -> None:
    plain = {k: v for k, v in values.items() if not _is_table(v) and v is not None}
    lines += [f"{k} = {_literal(v)}" for k, v in plain.items()]
    for name, value in values.items():
        path = f"{where}.{name}" if where else name
        if isinstance(value, dict):
            lines += ["", f"[{path}]"]
            _emit(value, path, lines)
        elif _is_table(value):
            for item in value:
                lines += ["", f"[[{path}]]"]
                _emit(item, path, lines)


def _is_table(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(v, dict) for v in value)
    return isinstance(value, dict)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON and TOML share their escapes, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(v) for v in value) + "]"
    raise CaseError(f"{value!r} has no TOML form")
