"""Reading tables of a TOML file into frozen dataclasses, with errors that name the key.

A field's annotation holds its reader, ``Annotated[type, reader]``: a function ``(value, where) ->
value`` that raises CaseError. Fields without a reader are no keys. Lengths may carry a unit,
crystal units (``"2 a"``) included, which are resolved once the crystal is known.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from ase import units

from qc.crystal import Crystal
from qc.errors import CaseError, InputError, PotentialFileError, suggest

Reader = Callable[[Any, str], Any]
T = TypeVar("T")
K = TypeVar("K", bound="OfKind")

_MISSING = dataclasses.MISSING

#: A unit by name, in the first of the table.
Units = dict[str, float | None]

#: Units of length in Angstrom; those of the crystal are None until it is known.
LENGTHS: Units = {
    "Angstrom": 1.0, "A": 1.0, "Å": 1.0, "nm": 10.0, "a": None, "nn": None,
}  # fmt: skip

#: Units of force in eV/Angstrom.
FORCES: Units = {
    "eV/Angstrom": 1.0, "eV/A": 1.0, "eV/Å": 1.0, "eV/nm": 0.1,
    "meV/Angstrom": 1e-3, "meV/A": 1e-3, "meV/Å": 1e-3,
}  # fmt: skip

#: Units of energy in eV.
ENERGIES: Units = {"eV": 1.0, "meV": 1e-3, "kJ/mol": 0.010364269656262175}

#: Units of other quantities, the first of each what a plain number is in.
TEMPERATURES: Units = {"K": 1.0}
TIMES: Units = {"fs": 1.0, "ps": 1e3, "ns": 1e6}
RATES: Units = {"/fs": 1.0, "1/fs": 1.0, "/ps": 1e-3, "1/ps": 1e-3}
SPEEDS: Units = {"m/s": 1.0, "km/s": 1e3, "Angstrom/ps": 100.0, "Angstrom/fs": 1e5}
STRESSES: Units = {"eV/Angstrom^3": 1.0, "eV/A^3": 1.0, "GPa": units.GPa, "MPa": 1e-3 * units.GPa}
STIFFNESSES: Units = {"eV/Angstrom^3": 1.0, "eV/A^3": 1.0, "GPa/Angstrom": units.GPa}
CONDUCTIVITIES: Units = {"W/(m K)": 1.0}
CAPACITIES: Units = {"kB": 1.0, "eV/K": 1.0 / units.kB}

_QUANTITY = re.compile(
    r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:\s+|(?![\d.]))(\S(?:.{0,30}\S)?)\s*"
)
_FRACTION = re.compile(r"\s*([-+]?[0-9]{1,9})\s*/\s*([1-9][0-9]{0,8})\s*")


@dataclass(frozen=True)
class Length:
    """A length with its unit; ``"a"`` is the lattice constant, ``"nn"`` the neighbour distance."""

    value: float
    unit: str = "Angstrom"

    def in_crystal(self, crystal: Crystal) -> float:
        """Return the length in Angstrom."""
        return self.angstrom(crystal.a, crystal.nearest_neighbour)

    def angstrom(self, a: float, nn: float) -> float:
        """Return the length in Angstrom for a crystal's two lengths."""
        scale = {"a": a, "nn": nn}.get(self.unit, LENGTHS.get(self.unit))
        assert scale is not None
        return self.value * scale


def read_table(cls: type[T], values: Any, where: str) -> T:
    """Read a TOML table into a dataclass; an unknown key is refused with a suggestion."""
    if not isinstance(values, dict):
        raise CaseError(f"{where}: expected a table, not {show(values)}")
    own = readers(cls)  # type: ignore[arg-type]
    fields = {f.name: f for f in dataclasses.fields(cls) if f.name in own}  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    mine = f"kind '{cls.kind}'" if where and issubclass(cls, OfKind) else ""
    for name in values:
        if name not in fields:
            hint = suggest(name, fields) or f"; known keys: {', '.join(fields) or 'none'}"
            raise CaseError(f"{prefix}{name}: unknown key{mine and ' of '}{mine}{hint}")
    read = {}
    for name, field in fields.items():
        if name in values:
            read[name] = own[name](values[name], f"{prefix}{name}")
        elif field.default is _MISSING and field.default_factory is _MISSING:
            needed = f"{mine} needs this key" if mine else "this key is required"
            raise CaseError(f"{prefix}{name}: {needed}")
    return cls(**read)


class OfKind:
    """A table that is one of several kinds: its key ``kind`` says which, the others are its own."""

    kind: ClassVar[str]


def registry(*kinds: type[K]) -> dict[str, type[K]]:
    """Return tables by the name of their kind."""
    return {cls.kind: cls for cls in kinds}


def of_kind(kinds: Mapping[str, type[OfKind]], default: str | None = None) -> Reader:
    """Read a table of one of several kinds; without a default the key ``kind`` is required."""

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise CaseError(f"{where}: expected a table, not {show(value)}")
        rest = dict(value)
        at = f"{where}.kind" if where else "kind"
        name = rest.pop("kind", default)
        if name is None:
            raise CaseError(f"{at}: this key is required; known kinds: {', '.join(kinds)}")
        return read_table(kinds[choice(tuple(kinds))(name, at)], rest, where)

    return read


@lru_cache(maxsize=128)
def readers(cls: type) -> dict[str, Reader]:
    """Return the readers of a table's keys, by name."""
    hints = get_type_hints(cls, include_extras=True)
    return {
        name: get_args(hint)[1] for name, hint in hints.items() if get_origin(hint) is Annotated
    }


@contextmanager
def at(where: str, *, own: bool = False) -> Iterator[None]:
    """Turn an unusable value found further down into an error of the case file's key.

    Errors of cases name their key already, unless those are the table's ``own``.
    """
    try:
        yield
    except PotentialFileError:
        raise
    except CaseError as error:
        if own:
            raise CaseError(f"{where}: {error}") from error
        raise
    except InputError as error:
        raise CaseError(f"{where}: {error}") from error


def build_all(where: str, tables: Sequence[Any], *given: Any) -> tuple[Any, ...]:
    """Build what each table of an array describes; errors begin with the table."""
    out = []
    for k, one in enumerate(tables):
        with at(f"{where}[{k}]", own=True):
            out.append(one.build(*given))
    return tuple(out)


def show(value: Any) -> str:
    """Return a short form of a value for messages."""
    text = value if isinstance(value, str) else repr(value)
    text = text if len(text) <= 40 else text[:37] + "..."
    return f"'{text}'" if isinstance(value, str) else text


def table(cls: type) -> Reader:
    """Read a table."""
    return lambda value, where: read_table(cls, value, where)


def tables(cls: type, most: int = 10_000) -> Reader:
    """Read an array of tables into a tuple."""
    return sequence(table(cls), most=most)


def text(value: Any, where: str) -> str:
    """Read a string."""
    if not isinstance(value, str):
        raise CaseError(f"{where}: expected text, not {show(value)}")
    if len(value) > 1000 or "\0" in value:
        raise CaseError(f"{where}: {show(value)} is no usable text")
    return value


def boolean(value: Any, where: str) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise CaseError(f"{where}: expected true or false, not {show(value)}")
    return value


def choice(names: Sequence[str]) -> Reader:
    """Read one of several words."""

    def read(value: Any, where: str) -> str:
        word = text(value, where)
        if word not in names:
            hint = suggest(word, names)
            raise CaseError(f"{where}: '{show(word)[1:-1]}' is not one of {', '.join(names)}{hint}")
        return word

    return read


def integer(low: int, high: int) -> Reader:
    """Read an integer between bounds."""

    def read(value: Any, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise CaseError(f"{where}: expected an integer, not {show(value)}")
        if not low <= value <= high:
            raise CaseError(f"{where}: {value} is not between {low} and {high}")
        return value

    return read


def number(low: float = -math.inf, high: float = math.inf, *, above: float = -math.inf) -> Reader:
    """Read a finite number between ``low`` and ``high``, greater than ``above``."""

    def read(value: Any, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CaseError(f"{where}: expected a number, not {show(value)}")
        try:
            out = float(value)
        except OverflowError:
            raise CaseError(f"{where}: {show(value)} is out of range") from None
        _in_range(out, low, high, above, where, "")
        return out

    return read


def fraction(low: float, high: float) -> Reader:
    """Read a number, or a string such as "-1/6"."""

    def read(value: Any, where: str) -> float:
        if isinstance(value, str):
            match = _FRACTION.fullmatch(value)
            if match is None:
                raise CaseError(f"{where}: {show(value)} is no number or fraction such as '1/6'")
            value = int(match[1]) / int(match[2])
        return float(number(low, high)(value, where))

    return read


def _in_range(v: float, low: float, high: float, above: float, where: str, unit: str) -> None:
    if not math.isfinite(v):
        raise CaseError(f"{where}: {v} is not finite")
    if v <= above:
        raise CaseError(f"{where}: {v:g}{unit} must be greater than {above:g}")
    if not low <= v <= high:
        bounds = f"at least {low:g}" if v < low else f"at most {high:g}"
        raise CaseError(f"{where}: {v:g}{unit} must be {bounds}")


def _quantity(value: Any, where: str, known: Units, what: str) -> Length:
    """Read a plain number in the first unit or a string with a number and a unit."""
    base = next(iter(known))
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise CaseError(f"{where}: expected a {what}, a number in {base}, not {show(value)}")
    if not isinstance(value, str):
        return Length(number()(value, where), base)
    match = _QUANTITY.fullmatch(value)
    if match is None:
        raise CaseError(
            f"{where}: {show(value)} is no {what}; write a number in {base}, or '3 {base}'"
        )
    if match[2] not in known:
        listed = ", ".join(u for u in known if u.isascii())
        raise CaseError(
            f"{where}: {show(match[2])} is no unit of {what}{suggest(match[2], known)}; "
            f"known units: {listed}"
        )
    return Length(number()(float(match[1]), where), match[2])


def length(*, positive: bool = True) -> Reader:
    """Read a length: a number in Angstrom, or a string with a unit."""

    def read(value: Any, where: str) -> Length:
        out = _quantity(value, where, LENGTHS, "length")
        if positive:
            _in_range(out.value, -math.inf, math.inf, 0.0, where, f" {out.unit}")
        _in_range(out.value, -1e7, 1e7, -math.inf, where, f" {out.unit}")
        return out

    return read


def quantity(
    known: Units, what: str, *, low: float = -math.inf, above: float = -math.inf
) -> Reader:
    """Read a quantity with fixed units into a float in the first of them."""

    def read(value: Any, where: str) -> float:
        out = _quantity(value, where, known, what)
        scale = known[out.unit]
        assert scale is not None
        _in_range(out.value, low, math.inf, above, where, f" {out.unit}")
        return out.value * scale

    return read


def kelvin(*, low: float = -math.inf, above: float = -math.inf) -> Reader:
    """Read a temperature, K."""
    return quantity(TEMPERATURES, "temperature", low=low, above=above)


def sequence(
    item: Reader, size: int | None = None, *, least: int = 0, most: int = 10_000
) -> Reader:
    """Read an array into a tuple."""

    def read(value: Any, where: str) -> tuple:
        if not isinstance(value, list):
            raise CaseError(f"{where}: expected an array, not {show(value)}")
        if size is not None and len(value) != size:
            raise CaseError(f"{where}: expected {size} entries, not {len(value)}")
        if not least <= len(value) <= most:
            raise CaseError(f"{where}: {len(value)} entries; expected {least} to {most}")
        return tuple(item(v, f"{where}[{k}]") for k, v in enumerate(value))

    return read


def mapping(item: Reader, most: int = 100) -> Reader:
    """Read a table whose keys are the reader's own into a dict."""

    def read(value: Any, where: str) -> dict:
        if not isinstance(value, dict):
            raise CaseError(f"{where}: expected a table, not {show(value)}")
        if len(value) > most:
            raise CaseError(f"{where}: {len(value)} entries; the most is {most}")
        return {name: item(v, f"{where}.{show(name)[1:-1]}") for name, v in value.items()}

    return read


def direction(value: Any, where: str) -> tuple[int, ...]:
    """Read a Miller direction: three integers, or four in a hexagonal crystal; not all zero."""
    out = sequence(integer(-10_000, 10_000), least=3, most=4)(value, where)
    if not any(out):
        raise CaseError(f"{where}: a direction must not be zero")
    return out


def vector(value: Any, where: str) -> tuple[float, ...]:
    """Read a Cartesian direction of any length: three numbers, not all zero."""
    out = sequence(number(-1e6, 1e6), 3)(value, where)
    if not any(out):
        raise CaseError(f"{where}: a direction must not be zero")
    return out


def deformation(value: Any, where: str) -> tuple[tuple[float, ...], ...]:
    """Read a deformation gradient: three rows of three numbers, determinant positive."""
    rows = sequence(sequence(number(-10.0, 10.0), 3), 3)(value, where)
    if not np.linalg.det(np.array(rows)) > 0.0:
        raise CaseError(f"{where}: the determinant of a deformation gradient must be positive")
    return rows
