"""Case files: what a run is, as frozen dataclasses read from TOML and validated.

Lengths are numbers in Angstrom or strings with a unit: ``"1.2 nm"``, ``"4 a"`` (lattice constants),
``"2 nn"`` (nearest-neighbour distances). Crystal vectors (Burgers vectors, sites) are in units of
the conventional cell, so that ``[0.5, 0.5, 0]`` is a/2 [110].
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from qc.coupling import SCHEMES
from qc.errors import CaseError
from qc.io.cases import schema
from qc.io.cases.schema import Length
from qc.io.files import shown_name
from qc.io.potentials import BUILT_IN, FILES
from qc.numerics.checks import kind
from qc.numerics.reading import read_regular

STRUCTURES = ("fcc", "bcc", "hcp", "diamond", "triangular")
FAMILIES = (*BUILT_IN, "lennard-jones", "morse")
LOADS = ("none", "shear", "uniaxial", "deformation")
WHEN = ("none", "last", "all")

#: A longer file is no case file, Bytes.
LONGEST = 1 << 20

#: Dots in one key that the parser is given.
MOST_DOTS = 100

#: Strings, the last one perhaps without its end; and what no key with dots has in it.
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|$|\\)|\'[^\']*+(?:\'|$)')
_NO_KEY = re.compile(rb"[^A-Za-z0-9_. \t-]")

_names = schema.sequence(schema.text, least=1, most=20)
_coordinate = schema.length(positive=False)
_cells = schema.sequence(schema.integer(-(10**6), 10**6), least=2, most=3)
_matrices = schema.sequence(schema.deformation, least=1)
_vector = schema.sequence(schema.fraction(-1e6, 1e6), 3)
_energies = schema.mapping(schema.quantity(schema.ENERGIES, "energy"))


def _strain(value: Any, where: str) -> float:
    """Read a strain: a plain number, or a string such as "3 %"."""
    if isinstance(value, str):
        head, percent, rest = value.partition("%")
        try:
            number = float(head) / 100.0
        except ValueError:
            number = math.nan
        if not percent or rest.strip() or not math.isfinite(number):
            raise CaseError(f"{where}: {schema.show(value)} is no strain such as 0.03 or '3 %'")
        value = number
    try:
        return float(schema.number(-0.5, 0.5)(value, where))
    except CaseError as error:
        raise CaseError(f"{error} (3 % is 0.03)") from error


def _lattice_constant(value: Any, where: str) -> Length | str:
    if value == "equilibrium":
        return "equilibrium"
    if isinstance(value, str) and not any(c.isdigit() for c in value):
        from qc.errors import suggest

        raise CaseError(
            f'{where}: {schema.show(value)} is neither "equilibrium" nor a length'
            f"{suggest(value, ['equilibrium'])}"
        )
    out = schema.length()(value, where)
    if out.unit in ("a", "nn"):
        raise CaseError(f"{where}: a lattice constant cannot be measured by itself; use Angstrom")
    return out


@dataclass(frozen=True)
class CrystalCase:
    """``[crystal]``: lattice, element and orientation."""

    structure: Annotated[str, schema.choice(STRUCTURES)]
    element: Annotated[str, schema.text]
    lattice_constant: Annotated[Length | str, _lattice_constant] = "equilibrium"
    c: Annotated[Length | None, schema.length()] = None
    x: Annotated[tuple[int, ...] | None, schema.direction] = None
    y: Annotated[tuple[int, ...] | None, schema.direction] = None
    z: Annotated[tuple[int, ...] | None, schema.direction] = None
    columns: Annotated[bool, schema.boolean] = False


@dataclass(frozen=True)
class PotentialCase:
    """``[potential]``: a family with its parameters, or a file."""

    name: Annotated[str | None, schema.choice(FAMILIES)] = None
    file: Annotated[str | None, schema.text] = None
    elements: Annotated[tuple[str, ...] | None, _names] = None
    epsilon: Annotated[float | None, schema.quantity(schema.ENERGIES, "energy", above=0.0)] = None
    sigma: Annotated[Length | None, schema.length()] = None
    depth: Annotated[float | None, schema.quantity(schema.ENERGIES, "energy", above=0.0)] = None
    stiffness: Annotated[float | None, schema.number(above=0.0)] = None
    distance: Annotated[Length | None, schema.length()] = None
    cutoff: Annotated[Length | None, schema.length()] = None


@dataclass(frozen=True)
class PartialCase:
    """``partials`` of a dislocation: one that starts some way from it, a fault in between."""

    burgers: Annotated[tuple[float, float, float], _vector]
    direction: Annotated[tuple[int, ...], schema.direction]
    distance: Annotated[Length, schema.length()]


@dataclass(frozen=True)
class DislocationCase:
    """``[[dislocations]]``: a straight dislocation along z."""

    burgers: Annotated[tuple[float, float, float], _vector]
    position: Annotated[tuple[Length, Length], schema.sequence(_coordinate, 2)]
    cut: Annotated[tuple[float, float] | None, schema.sequence(schema.number(-1e6, 1e6), 2)] = None
    partials: Annotated[tuple[PartialCase, ...], schema.tables(PartialCase, 10)] = ()


@dataclass(frozen=True)
class InterstitialCase:
    """``[[defects.interstitials]]``: an atom without a site, at a Cartesian position."""

    position: Annotated[tuple[Length, Length, Length], schema.sequence(_coordinate, 3)]
    element: Annotated[str | None, schema.text] = None


@dataclass(frozen=True)
class SubstitutionCase:
    """``[[defects.substitutions]]``: a foreign atom on a site."""

    site: Annotated[tuple[float, float, float], _vector]
    element: Annotated[str, schema.text]


@dataclass(frozen=True)
class DefectsCase:
    """``[defects]``: point defects; sites in units of the conventional cell."""

    vacancies: Annotated[tuple[tuple[float, float, float], ...], schema.sequence(_vector)] = ()
    inwards: Annotated[Length, _coordinate] = field(default=Length(0.0))
    interstitials: Annotated[tuple[InterstitialCase, ...], schema.tables(InterstitialCase)] = ()
    substitutions: Annotated[tuple[SubstitutionCase, ...], schema.tables(SubstitutionCase)] = ()
    mu: Annotated[dict[str, float], _energies] = field(default_factory=dict)


@dataclass(frozen=True)
class BlockCase:
    """``[model.block]``: the outer region as a block of lattice cells along the cell vectors."""

    lower: Annotated[tuple[int, ...], _cells]
    upper: Annotated[tuple[int, ...], _cells]


@dataclass(frozen=True)
class ModelCase:
    """``[model]``: coupling scheme and regions."""

    scheme: Annotated[str, schema.choice(tuple(SCHEMES))] = "bgfc"
    core: Annotated[Length | None, schema.length()] = None
    blend: Annotated[Length | None, schema.length()] = None
    outer: Annotated[Length | None, schema.length()] = None
    rectangle: Annotated[tuple[Length, Length] | None, schema.sequence(schema.length(), 2)] = None
    block: Annotated[BlockCase | None, schema.table(BlockCase)] = None
    grading: Annotated[float | None, schema.number(0.1, 10.0)] = None
    largest: Annotated[float, schema.number(0.0, 10.0, above=0.0)] = 0.5


@dataclass(frozen=True)
class LoadCase:
    """``[load]``: mean deformations of the load steps."""

    kind: Annotated[str, schema.choice(LOADS)] = "none"
    plane: Annotated[tuple[int, ...] | None, schema.direction] = None
    direction: Annotated[tuple[int, ...] | None, schema.direction] = None
    values: Annotated[tuple[float, ...] | None, schema.sequence(_strain, least=1)] = None
    steps: Annotated[tuple[tuple[tuple[float, ...], ...], ...] | None, _matrices] = None


@dataclass(frozen=True)
class SolverCase:
    """``[solver]``: when a step counts as relaxed, and how to get there."""

    fmax: Annotated[float, schema.quantity(schema.FORCES, "force", above=0.0)] = 1e-4
    method: Annotated[str, schema.choice(("auto", "lbfgs", "newton"))] = "auto"
    max_steps: Annotated[int, schema.integer(1, 10**6)] = 500
    longest: Annotated[Length, schema.length()] = field(default=Length(0.2))
    perturbation: Annotated[Length, schema.length(positive=False)] = field(default=Length(0.0))


def _fields(value: Any, where: str) -> tuple[str, ...]:
    from qc.io.pictures import SCALARS

    return schema.sequence(schema.choice(tuple(SCALARS)))(value, where)


@dataclass(frozen=True)
class OutputCase:
    """``[output]``: what is written."""

    directory: Annotated[str | None, schema.text] = None
    vtu: Annotated[bool, schema.boolean] = True
    extxyz: Annotated[bool, schema.boolean] = True
    pictures: Annotated[str, schema.choice(WHEN)] = "last"
    fields: Annotated[tuple[str, ...], _fields] = ("hydrostatic_stress",)


@dataclass(frozen=True)
class Case:
    """A run as its case file describes it.

    Attributes
    ----------
    source : Path
        The file; names of other files in it are relative to its folder.
    digest : str
        SHA-256 of the file's bytes.
    """

    crystal: Annotated[CrystalCase, schema.table(CrystalCase)]
    potential: Annotated[PotentialCase, schema.table(PotentialCase)]
    title: Annotated[str, schema.text] = ""
    seed: Annotated[int, schema.integer(0, 2**63 - 1)] = 0
    dislocations: Annotated[tuple[DislocationCase, ...], schema.tables(DislocationCase, 1000)] = ()
    defects: Annotated[DefectsCase, schema.table(DefectsCase)] = field(default_factory=DefectsCase)
    model: Annotated[ModelCase, schema.table(ModelCase)] = field(default_factory=ModelCase)
    load: Annotated[LoadCase, schema.table(LoadCase)] = field(default_factory=LoadCase)
    solver: Annotated[SolverCase, schema.table(SolverCase)] = field(default_factory=SolverCase)
    output: Annotated[OutputCase, schema.table(OutputCase)] = field(default_factory=OutputCase)
    source: Path = field(default=Path("case.toml"))
    digest: str = ""


def load_case(path: str | os.PathLike[str]) -> Case:
    """Read and validate a case file.

    Raises
    ------
    CaseError
        The file is no TOML, has an unknown key, lacks one, or has a value of the wrong type, unit
        or range; the message gives the file and the key's path.
    FileNotFoundError
        There is no such file.
    """
    kind("path", path, (str, os.PathLike))
    if not os.fspath(path):
        raise CaseError("the name of the case file is empty")
    source = Path(path)
    try:
        raw = read_regular(source, LONGEST, CaseError)
    except CaseError:
        raise
    except ValueError as error:
        raise CaseError(f"{str(path)!r} is no usable file name: {error}") from error
    return parse_case(raw, source)


def parse_case(raw: bytes, source: Path = Path("case.toml")) -> Case:
    """Read a case from the bytes of its file; as `load_case`."""
    name = shown_name(source.name)
    if len(raw) > LONGEST:
        raise CaseError(f"{name}: longer than {LONGEST} bytes, which is no case file")
    try:
        _refuse_endless_keys(raw)
        values = tomllib.loads(raw.decode("utf-8"))
    except CaseError as error:
        raise CaseError(f"{name}: {error}") from error
    except UnicodeDecodeError as error:
        raise CaseError(f"{name}: not UTF-8 text, at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise CaseError(f"{name}: no valid TOML: {error}") from error
    # Python's own limits: brackets nested too deeply, integers of too many digits, odd dates.
    except (RecursionError, ValueError) as error:
        raise CaseError(f"{name}: no valid TOML: {error}") from error
    try:
        case = schema.read_table(Case, values, "")
        check(case)
    except CaseError as error:
        raise CaseError(f"{name}: {error}") from error
    return dataclasses.replace(case, source=source, digest=hashlib.sha256(raw).hexdigest())


def _refuse_endless_keys(raw: bytes) -> None:
    """Refuse keys of very many parts, on which the parser's time grows as their square."""
    for number, line in enumerate(raw.splitlines(), start=1):
        if line.count(b".") <= MOST_DOTS or line.lstrip().startswith(b"#"):
            continue
        words = _NO_KEY.split(_STRING.sub(b"s", line))
        if max(word.count(b".") for word in words) > MOST_DOTS:
            raise CaseError(f"line {number}: more than {MOST_DOTS} dots in a key")


def check(case: Case) -> None:
    """Check what involves several keys.

    Raises
    ------
    CaseError
        Keys that contradict each other or are missing together.
    """
    _check_crystal(case)
    _check_potential(case.potential)
    _check_model(case)
    _check_load(case.load)
    if case.defects.inwards.value and not case.defects.vacancies:
        raise CaseError("defects.inwards: there is no vacancy whose neighbours could move")
    if case.output.directory is not None and not case.output.directory.strip():
        raise CaseError("output.directory: the name of a folder must not be empty")
    planar = case.crystal.columns or case.crystal.structure == "triangular"
    if case.dislocations and not planar:
        raise CaseError("dislocations: a straight dislocation needs crystal.columns = true")


def _check_crystal(case: Case) -> None:
    crystal = case.crystal
    given = [n for n in "xyz" if getattr(crystal, n) is not None]
    if len(given) == 1:
        raise CaseError(f"crystal.{given[0]}: give two or three directions of the axes, or none")
    if crystal.structure == "triangular" and (given or crystal.columns):
        raise CaseError("crystal.structure: a triangular monolayer has no columns or directions")
    if crystal.c is not None and crystal.structure != "hcp":
        raise CaseError(f"crystal.c: {crystal.structure} has no second lattice constant")
    if crystal.c is not None and crystal.lattice_constant == "equilibrium":
        raise CaseError(
            "crystal.c: at rest the crystal has a c of its own; leave it out, or give "
            "lattice_constant a length as well"
        )


#: The keys that each family needs, and those it may have.
_FAMILY_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    **dict.fromkeys(BUILT_IN, ((), ())),
    "lennard-jones": (("epsilon", "sigma"), ("cutoff",)),
    "morse": (("depth", "stiffness", "distance", "cutoff"), ()),
}


def _check_potential(potential: PotentialCase) -> None:
    if (potential.name is None) == (potential.file is None):
        raise CaseError("potential: give either a name or a file")
    needed: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    if potential.name is None:
        suffix = Path(potential.file or "").suffix.lower()
        family = f"a {suffix if suffix in FILES else 'setfl or funcfl'} file"
        allowed = ("cutoff",) if suffix == ".table" else ()
    else:
        family = potential.name
        needed, allowed = _FAMILY_KEYS[family]
    for name in ("epsilon", "sigma", "depth", "stiffness", "distance", "cutoff"):
        given = getattr(potential, name) is not None
        if given and name not in (*needed, *allowed):
            raise CaseError(f"potential.{name}: {family} has no such parameter")
        if not given and name in needed:
            raise CaseError(f"potential.{name}: {family} needs this parameter")
    if potential.file is not None and potential.elements is not None:
        raise CaseError("potential.elements: a file brings its own elements")


def _check_model(case: Case) -> None:
    model = case.model
    shapes = [n for n in ("outer", "rectangle", "block") if getattr(model, n) is not None]
    if len(shapes) > 1:
        raise CaseError(f"model.{shapes[1]}: the outer region is already given by {shapes[0]}")
    planar = case.crystal.columns or case.crystal.structure == "triangular"
    if model.rectangle is not None and not planar:
        raise CaseError("model.rectangle: only for columns and monolayers; use outer or block")
    if model.block is not None:
        wanted = 2 if planar else 3
        for name in ("lower", "upper"):
            if len(getattr(model.block, name)) != wanted:
                raise CaseError(f"model.block.{name}: expected {wanted} entries")


_LOAD_KEYS = {
    "none": (),
    "shear": ("plane", "direction", "values"),
    "uniaxial": ("direction", "values"),
    "deformation": ("steps",),
}


def _check_load(load: LoadCase) -> None:
    needed = _LOAD_KEYS[load.kind]
    for name in ("plane", "direction", "values", "steps"):
        given = getattr(load, name) is not None
        if given and name not in needed:
            raise CaseError(f"load.{name}: a load of kind '{load.kind}' has no such key")
        if not given and name in needed:
            raise CaseError(f"load.{name}: a load of kind '{load.kind}' needs this key")
