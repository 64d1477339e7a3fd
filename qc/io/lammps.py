"""Atoms from LAMMPS: text dumps, data files, and the element that each type is.

LAMMPS numbers its types; which element a type is, only the pair_coeff line of the input says. So
elements are taken from the caller, or from a file that names them, and never from the number.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import IO

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers, chemical_symbols
from ase.io.formats import open_with_compression
from ase.io.lammpsdata import read_lammps_data
from numpy.typing import NDArray

from qc.errors import InputError, suggest
from qc.numerics.checks import kind

Array = NDArray[np.float64]
Words = NDArray[np.str_]

log = logging.getLogger(__name__)

_BLOCK = 1 << 22
_FRAME = b"ITEM: TIMESTEP"
#: Coordinates of a dump by the names of their columns, and whether they are fractions of the box.
_COORDINATES = {"x": False, "xu": False, "xs": True, "xsu": True}
#: Unit styles of LAMMPS whose length is the Angstrom.
_ANGSTROM = ("metal", "real")
#: Atomic mass units: a mass so near to that of one element is taken for it.
_MASS_MATCH = 0.1
#: Without stable isotopes, so without a mass of their own.
_RADIOACTIVE = {43, 61, *range(84, 90), 91}
#: Columns of the styles of data files, the type's place and the number of columns. The list of
#: LAMMPS is longer; what else there is lays molecules or grains out.
_STYLES = {
    "atomic": (1, 5), "charge": (1, 6), "full": (2, 7),
    "molecular": (2, 6), "angle": (2, 6), "bond": (2, 6),
}  # fmt: skip
#: What LAMMPS writes as the element of every type unless it is told.
_UNNAMED = "C"
_GIVE = (
    "give elements in the order of the types, as in --elements Ni,Al (in Python "
    "elements=('Ni', 'Al'))"
)


def parse_elements(elements: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the elements of types 1, 2, ... from a sequence or from text such as ``"Ni,Al"``."""
    if elements is None:
        return None
    kind("elements", elements, (str, Sequence))
    words = elements.split(",") if isinstance(elements, str) else list(elements)
    names = tuple(str(word).strip() for word in words)
    for name in names:
        if name not in atomic_numbers or name == "X":
            raise InputError(f"elements: '{name}' is no element{suggest(name, atomic_numbers)}")
    if not names:
        raise InputError("elements: none given")
    return names


def is_dump(head: bytes) -> bool:
    """Say whether a file that starts like this is a text dump."""
    return head.lstrip().startswith(b"ITEM:")


def is_data(head: bytes) -> bool:
    """Say whether a file that starts like this is a data file: its header declares atom types."""
    # The first line is a comment whatever it holds.
    _, _, rest = head.partition(b"\n")
    return all(
        re.search(rb"^[ \t]*\d+[ \t]+" + what + rb"[ \t]*(#.*)?\r?$", rest, re.MULTILINE)
        for what in (rb"atoms", rb"atom[ \t]+types")
    )


def refuse_unreadable(head: bytes, name: str) -> None:
    """Refuse kinds of dump that hold no elements or no box, with what to write instead.

    Those are binary dumps, and dumps of style xyz with types in place of elements.
    """
    instead = "write text with 'dump ID GROUP custom N FILE id type x y z'"
    if head[8:12] == b"DUMP":
        raise InputError(f"{name}: a binary LAMMPS dump; {instead}, or convert it with binary2txt")
    if re.match(rb"\s*\d+\s*\n\s*Atoms\. Timestep:[^\n]*\n\s*\d+\s", head):
        raise InputError(
            f"{name}: a LAMMPS dump of style xyz names types, no elements and no box; {instead}"
        )


def _require_angstrom(units: str, name: str) -> None:
    if units and units not in _ANGSTROM:
        raise InputError(f"{name}: written in units {units}; {' and '.join(_ANGSTROM)} can be read")


# -- elements ---------------------------------------------------------------------------------


def _by_type(types: Words, elements: tuple[str, ...], name: str) -> list[str]:
    """Return the element of every atom from the numbers of their types."""
    found, inverse = np.unique(types, return_inverse=True)
    for word in found:
        if not word.isascii() or not word.isdigit() or int(word) < 1:
            raise InputError(f"{name}: '{word}' is no number of an atom type")
        if int(word) > len(elements):
            raise InputError(
                f"{name}: type {word} is there, but only {len(elements)} "
                f"{'element is' if len(elements) == 1 else 'elements are'} given: "
                f"{', '.join(elements)}"
            )
    return [elements[int(found[k]) - 1] for k in inverse]


def _by_label(labels: Words, name: str) -> list[str]:
    """Return labels or elements of a file as elements."""
    for word in np.unique(labels):
        if word not in atomic_numbers or word == "X":
            raise InputError(
                f"{name}: '{word}' is no element{suggest(word, atomic_numbers)}; {_GIVE}"
            )
    return [str(word) for word in labels]


def _by_mass(mass: float) -> str | None:
    """Return the one element that has a mass, None where there is none or a second."""
    near = [
        z
        for z in np.flatnonzero(np.abs(atomic_masses[1:93] - mass) < _MASS_MATCH) + 1
        if z not in _RADIOACTIVE
    ]
    return chemical_symbols[near[0]] if len(near) == 1 else None


def _unnamed(types: Words, name: str) -> InputError:
    found = sorted(np.unique(types), key=lambda word: (len(word), word))
    many = "types" if len(found) > 1 else "type"
    return InputError(
        f"{name}: the file names {many} {', '.join(found)} but no elements; {_GIVE}"
    )


def _guessed(pairs: dict[str, str], name: str) -> str:
    """Say which elements masses were taken for; return the words."""
    words = ", ".join(f"{mass} {element}" for mass, element in pairs.items())
    log.warning("%s: elements guessed from the masses: %s", name, words)
    return f"guessed from the masses: {words}"


# -- dumps ------------------------------------------------------------------------------------


@dataclass
class _Frame:
    """One frame of a dump."""

    timestep: str = ""
    units: str = ""
    declared: int = -1
    box: list[str] = field(default_factory=list)
    bounds: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)


def read_dump(path: Path, frame: int, elements: tuple[str, ...] | None) -> Atoms:
    """Read one frame of a text dump, plain or compressed; negative ones count from the end.

    The elements of types 1, 2, ... count for more than what the file says. Atoms come in the order
    of their ids; ``info`` has ``timestep``, ``frame``, ``frames`` and, in words, where the elements
    are from. InputError: no such frame, a damaged one, or elements that are not known.
    """
    name = path.name
    with open_with_compression(str(path), "rb") as file:
        starts, end = _frame_starts(file)
        if not -len(starts) <= frame < len(starts):
            raise InputError(f"{name}: it has no frame {frame}; there are {len(starts)}")
        k = frame % len(starts)
        file.seek(0)
        head = file.read(starts[0])
        file.seek(starts[k])
        raw = file.read((starts[k + 1] if k + 1 < len(starts) else end) - starts[k])
    found = _parsed(head + raw, name)
    whole = raw.endswith(b"\n") or k + 1 < len(starts)
    if found.declared > len(found.rows) or not whole:
        earlier = f"; frame {k - 1} comes before it" if k else ""
        raise InputError(
            f"{name}: {found.declared} atoms are declared, but only {len(found.rows)} lines "
            f"follow in frame {k}{'' if whole else ', the last one without its end'}: the file is "
            f"cut off{earlier}"
        )
    atoms = _frame_atoms(found, elements, name)
    step = int(found.timestep) if found.timestep.isdigit() else found.timestep
    atoms.info.update({"timestep": step, "frame": k, "frames": len(starts)})
    return atoms


def _frame_starts(file: IO[bytes]) -> tuple[list[int], int]:
    """Return the offsets at which frames start, and that of the end."""
    starts: list[int] = []
    tail, offset = b"\n", -1
    while block := file.read(_BLOCK):
        text = tail + block
        at = text.find(b"\n" + _FRAME)
        while at >= 0:
            starts.append(offset + at + 1)
            at = text.find(b"\n" + _FRAME, at + 1)
        keep = len(_FRAME)
        tail, offset = text[-keep:], offset + len(text) - len(text[-keep:])
    return starts, offset + len(tail)


def _parsed(raw: bytes, name: str) -> _Frame:
    out = _Frame()
    lines = raw.decode("utf-8", "replace").splitlines()
    at = 0
    while at < len(lines):
        line, at = lines[at].strip(), at + 1
        following = lines[at] if at < len(lines) else ""
        if line.startswith("ITEM: UNITS"):
            out.units = following.strip()
        elif line.startswith("ITEM: TIMESTEP"):
            out.timestep = following.strip()
        elif line.startswith("ITEM: NUMBER OF ATOMS"):
            digits = following.strip()
            if not (digits.isascii() and digits.isdigit()):
                raise InputError(f"{name}: '{digits}' is no number of atoms")
            # More digits than any computer has atoms are one large number.
            out.declared = int(digits[:18])
        elif line.startswith("ITEM: BOX BOUNDS"):
            out.box, out.bounds = line.split()[3:], lines[at : at + 3]
        elif line.startswith("ITEM: ATOMS"):
            out.columns = line.split()[2:]
            stop = min(at + max(out.declared, 0), len(lines))
            cut = [i for i in range(at, stop) if lines[i].startswith("ITEM:")]
            out.rows = lines[at : cut[0] if cut else stop]
            if stop < len(lines) and lines[stop].strip() and not lines[stop].startswith("ITEM:"):
                raise InputError(f"{name}: more lines of atoms than the {out.declared} declared")
            break
    if out.declared < 0 or not out.columns:
        raise InputError(f"{name}: a damaged LAMMPS dump: a frame without a table of atoms")
    return out


def _frame_atoms(frame: _Frame, elements: tuple[str, ...] | None, name: str) -> Atoms:
    _require_angstrom(frame.units, name)
    if not frame.declared:
        raise InputError(f"{name}: the frame holds no atoms")
    cell, origin, pbc = _box(frame, name)
    first = next((c for c in _COORDINATES if c in frame.columns), None)
    columns = [] if first is None else [first, f"y{first[1:]}", f"z{first[1:]}"]
    if first is None or not all(c in frame.columns for c in columns):
        raise InputError(
            f"{name}: no positions: the columns are {' '.join(frame.columns)}; write x y z, "
            "xs ys zs or xu yu zu"
        )
    x = np.column_stack([_numbers(frame, c, name) for c in columns])
    if _COORDINATES[first]:
        x = origin + x @ cell
    symbols, words = _dump_elements(frame, elements, name)
    atoms = Atoms(symbols, positions=x, cell=cell, pbc=pbc, celldisp=origin)
    atoms.info["elements"] = words
    if "type" in frame.columns:
        types = _column(frame, "type", name)
        if all(word.isdigit() for word in np.unique(types)):
            atoms.set_array("type", types.astype(np.int64))
    if "id" in frame.columns:
        ids = _numbers(frame, "id", name).astype(np.int64)
        atoms.set_array("id", ids)
        order = np.argsort(ids, kind="stable")
        same = np.flatnonzero(np.diff(ids[order]) == 0)
        if len(same):
            raise InputError(f"{name}: atom id {ids[order][same[0]]} is there twice")
        atoms = atoms[order]
    return atoms


def _column(frame: _Frame, column: str, name: str) -> Words:
    at = frame.columns.index(column)
    try:
        return np.array([row.split(None, at + 1)[at] for row in frame.rows])
    except IndexError:
        short = next(k for k, row in enumerate(frame.rows) if len(row.split()) <= at)
        raise InputError(
            f"{name}: line {short + 1} of the atoms has no column {column}: '{frame.rows[short]}'"
        ) from None


def _numbers(frame: _Frame, column: str, name: str) -> Array:
    words = _column(frame, column, name)
    try:
        return words.astype(np.float64)
    except ValueError as error:
        raise InputError(f"{name}: column {column}: {error}") from None


def _dump_elements(
    frame: _Frame, elements: tuple[str, ...] | None, name: str
) -> tuple[list[str], str]:
    """Return the elements of all atoms and, in words, where they are from."""
    types = _column(frame, "type", name) if "type" in frame.columns else None
    if elements is not None:
        if types is not None:
            return _by_type(types, elements, name), "given for the types"
        if len(elements) == 1 and "element" not in frame.columns:
            return [elements[0]] * len(frame.rows), "given"
        raise InputError(f"{name}: elements are given, but the file has no column type")
    if "element" in frame.columns:
        return _column_elements(frame, types, name), "named in the file"
    if "typelabel" in frame.columns:
        return _by_label(_column(frame, "typelabel", name), name), "named in the file"
    if types is not None and not all(word.isdigit() for word in np.unique(types)):
        return _by_label(types, name), "named in the file"
    if "mass" in frame.columns:
        masses = _column(frame, "mass", name)
        found = {str(word): _by_mass(float(word)) for word in np.unique(masses)}
        sure = {mass: element for mass, element in found.items() if element is not None}
        if len(sure) == len(found):
            return [sure[str(word)] for word in masses], _guessed(sure, name)
    if types is None:
        raise InputError(
            f"{name}: names neither types nor elements: the columns are {' '.join(frame.columns)}"
        )
    raise _unnamed(types, name)


def _column_elements(frame: _Frame, types: Words | None, name: str) -> list[str]:
    symbols = _by_label(_column(frame, "element", name), name)
    if set(symbols) == {_UNNAMED}:
        said = f"{name}: the element of every atom is {_UNNAMED}, which LAMMPS writes "
        said += "unless 'dump_modify ... element' names them"
        if types is not None and len(np.unique(types)) > 1:
            raise InputError(f"{said}; {_GIVE}")
        log.warning("%s", said)
    return symbols


def _box(frame: _Frame, name: str) -> tuple[Array, Array, list[bool]]:
    """Return cell, origin and periodicity from the bounds of a box."""
    try:
        rows = np.array([[float(word) for word in row.split()] for row in frame.bounds])
        general = frame.box[:2] == ["abc", "origin"]
        if rows.shape not in ((3, 2), (3, 3), (3, 4)) or (rows.shape[1] == 4) != general:
            raise ValueError(f"{rows.shape[-1]} columns")
    except ValueError as error:
        raise InputError(f"{name}: the bounds of the box cannot be read: {error}") from None
    flags = frame.box[-3:] if len(frame.box) >= 3 else ["ff"] * 3
    pbc = [flag.startswith("p") for flag in flags]
    if general:
        return rows[:, :3].copy(), rows[:, 3].copy(), pbc
    xy, xz, yz = rows[:, 2] if rows.shape[1] == 3 else np.zeros(3)
    # The bounds are those of the box around a tilted cell.
    low = rows[:, 0] - [min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0]
    high = rows[:, 1] - [max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0]
    cell = np.diag(high - low)
    cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
    return cell, low, pbc


# -- data files -------------------------------------------------------------------------------


@dataclass
class _Data:
    """What a data file says besides positions."""

    declared: int = 0
    n_types: int = 0
    style: str = ""
    labels: dict[int, str] = field(default_factory=dict)
    masses: dict[int, tuple[str, str]] = field(default_factory=dict)
    rows: list[str] = field(default_factory=list)


def read_data(path: Path, elements: tuple[str, ...] | None) -> Atoms:
    """Read a data file of style atomic, charge, full or molecular; errors as in `read_dump`.

    The file does not say which directions are periodic; all are taken to be.
    """
    name = path.name
    with open_with_compression(str(path), "rb") as file:
        text = "\n".join(file.read().decode("utf-8", "replace").splitlines()) + "\n"
    found = _prescanned(text, name)
    style = _style(found, name)
    by_type, words = _data_elements(found, style, elements, name)
    numbers = {k: atomic_numbers[symbol] for k, symbol in by_type.items()}
    try:
        # Labels stay with their atoms only if ASE does not sort.
        atoms = read_lammps_data(
            StringIO(text), Z_of_type=numbers, sort_by_id=False, atom_style=style
        )
    except KeyError as error:
        raise InputError(
            f"{name}: atom type {error.args[0]} is not one of the {found.n_types} declared"
        ) from None
    order = np.argsort(atoms.arrays["id"], kind="stable")
    plain = Atoms(
        atoms.numbers[order], positions=atoms.positions[order], cell=atoms.cell, pbc=atoms.pbc,
        celldisp=atoms.get_celldisp().ravel(),
    )  # fmt: skip
    for key in ("id", "type"):
        plain.set_array(key, atoms.arrays[key][order])
    plain.info["elements"] = words
    return plain


def _prescanned(text: str, name: str) -> _Data:
    out, section = _Data(), ""
    comment, *lines = text.split("\n")
    if units := re.search(r"units = (\w+)", comment):
        _require_angstrom(units[1], name)
    for raw in lines:
        line, _, remark = (part.strip() for part in raw.partition("#"))
        if not line:
            continue
        words = line.split()
        if words[0][0].isalpha():
            section = line
            if section == "Atoms":
                out.style = remark
        elif not section and words[1:] == ["atoms"]:
            out.declared = _integer(words[0], name)
        elif not section and words[1:] == ["atom", "types"]:
            out.n_types = _integer(words[0], name)
        elif section == "Atom Type Labels" and len(words) > 1:
            out.labels[_integer(words[0], name)] = words[1]
        elif section == "Masses" and len(words) > 1:
            out.masses[_integer(words[0], name)] = (words[1], remark)
        elif section == "Atoms":
            out.rows.append(line)
    if not out.rows:
        raise InputError(f"{name}: a LAMMPS data file without a section Atoms")
    if out.declared != len(out.rows) or not text.endswith("\n"):
        raise InputError(
            f"{name}: {out.declared} atoms are declared, but {len(out.rows)} lines follow"
        )
    return out


def _integer(word: str, name: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 18):
        raise InputError(f"{name}: expected a whole number, not '{word[:40]}'")
    return int(word)


def _style(data: _Data, name: str) -> str:
    """Return the atom style: the file's own hint, or the only one that the columns allow."""
    widths = {len(row.split()) for row in data.rows}
    if len(widths) > 1:
        raise InputError(f"{name}: lines of atoms with {' and '.join(map(str, sorted(widths)))} "
                         "columns")  # fmt: skip
    (width,) = widths
    if data.style:
        if data.style not in _STYLES:
            raise InputError(
                f"{name}: atoms of style '{data.style}'; {', '.join(_STYLES)} can be read"
            )
        if width - _STYLES[data.style][1] not in (0, 3):
            raise InputError(f"{name}: {width} columns are not those of style '{data.style}'")
        return data.style
    fitting = [s for s in ("atomic", "charge", "full", "molecular")
               if width - _STYLES[s][1] in (0, 3)]  # fmt: skip
    if len(fitting) == 1:
        return fitting[0]
    hint = "write it behind the name of the section, as in 'Atoms # charge'"
    raise InputError(f"{name}: atoms with {width} columns and no style; {hint}")


def _data_elements(
    data: _Data, style: str, elements: tuple[str, ...] | None, name: str
) -> tuple[dict[int, str], str]:
    """Return the element of each type and, in words, where they are from."""
    n = data.n_types
    if elements is not None:
        if len(elements) != n:
            raise InputError(
                f"{name}: {len(elements)} elements are given ({', '.join(elements)}), but the "
                f"file has {n} atom types"
            )
        return dict(enumerate(elements, 1)), "given for the types"
    if data.labels:
        labels = np.array([data.labels.get(k, "?") for k in range(1, n + 1)])
        return dict(enumerate(_by_label(labels, name), 1)), "named in the file"
    named, guessed = {}, {}
    for k, (mass, remark) in data.masses.items():
        try:
            value = float(mass)
        except ValueError:
            raise InputError(f"{name}: the mass of type {k} is '{mass}'") from None
        # Many programs write the element behind its mass.
        if remark in atomic_numbers and abs(atomic_masses[atomic_numbers[remark]] - value) < 1.0:
            named[k] = remark
        elif (element := _by_mass(value)) is not None:
            named[k] = guessed[k] = element
    if all(k in named for k in range(1, n + 1)):
        if not guessed:
            return named, "named in the file"
        pairs = {f"type {k} of mass {data.masses[k][0]}": v for k, v in guessed.items()}
        return named, _guessed(pairs, name)
    place = _STYLES[style][0]
    raise _unnamed(np.array([row.split(None, place + 1)[place] for row in data.rows]), name)
