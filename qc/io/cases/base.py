"""A case as a whole, what it sets up, and the contract of its kinds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from qc.coupling import QuasiContinuum
from qc.errors import CaseError
from qc.io.cases import schema
from qc.io.cases.boundaries import BOUNDARIES, BoundaryCase
from qc.io.cases.loads import LOADS, LoadCase, Motion
from qc.io.cases.strains import STRAINS, NoStrain, StrainCase
from qc.io.cases.tables import (
    FAMILIES,
    PARAMETERS,
    CrystalCase,
    DefectsCase,
    DislocationCase,
    ModelCase,
    OutputCase,
    PotentialCase,
    SolverCase,
)
from qc.io.potentials import FILES
from qc.io.runs.signals import Stop
from qc.loads import Load

Array = NDArray[np.float64]

_boundaries = schema.sequence(schema.of_kind(BOUNDARIES), most=100)
_loads = schema.sequence(schema.of_kind(LOADS), most=100)


@dataclass(frozen=True)
class RunOptions:
    """How to run a case, as the command line has it.

    ``resume`` goes on from the checkpoint in the folder. ``force`` clears an earlier run away; with
    ``resume`` it takes a checkpoint of another model or schema. ``say`` takes a line on how far the
    run is.
    """

    resume: bool = False
    force: bool = False
    say: Callable[[str], object] = str


@dataclass(frozen=True)
class Ended:
    """How the run of a case ended, and its closing table.

    The status is ``"complete"``, ``"interrupted"``, or what went wrong; ``stop`` says whether a
    signal ended it.
    """

    status: str
    reason: str
    summary: str
    stop: Stop


@dataclass(frozen=True)
class Case(schema.OfKind):
    """A run as its case file describes it: what every kind of run has.

    Names of other files in it are relative to the folder of ``source``, the file itself, whose
    bytes have the SHA-256 ``digest``.
    """

    crystal: Annotated[CrystalCase, schema.table(CrystalCase)]
    potential: Annotated[PotentialCase, schema.table(PotentialCase)]
    title: Annotated[str, schema.text] = ""
    seed: Annotated[int, schema.integer(0, 2**63 - 1)] = 0
    dislocations: Annotated[tuple[DislocationCase, ...], schema.tables(DislocationCase, 1000)] = ()
    defects: Annotated[DefectsCase, schema.table(DefectsCase)] = field(default_factory=DefectsCase)
    model: Annotated[ModelCase, schema.table(ModelCase)] = field(default_factory=ModelCase)
    boundary: Annotated[tuple[BoundaryCase, ...], _boundaries] = ()
    load: Annotated[StrainCase, schema.of_kind(STRAINS, "none")] = field(default_factory=NoStrain)
    loads: Annotated[tuple[LoadCase, ...], _loads] = ()
    solver: Annotated[SolverCase, schema.table(SolverCase)] = field(default_factory=SolverCase)
    output: Annotated[OutputCase, schema.table(OutputCase)] = field(default_factory=OutputCase)
    source: Path = field(default=Path("case.toml"))
    digest: str = ""

    def check(self) -> None:
        """Check what involves several keys.

        Raises
        ------
        CaseError
            Keys that contradict each other or are missing together.
        """
        _check_crystal(self)
        _check_potential(self.potential)
        _check_model(self)
        if self.defects.inwards.value and not self.defects.vacancies:
            raise CaseError("defects.inwards: there is no vacancy whose neighbours could move")
        if self.output.directory is not None and not self.output.directory.strip():
            raise CaseError("output.directory: the name of a folder must not be empty")
        if self.dislocations and not self.crystal.planar:
            raise CaseError("dislocations: a straight dislocation needs crystal.columns = true")

    @abstractmethod
    def run(self, setup: Setup, folder: Path, options: RunOptions) -> Ended:
        """Run what was set up, in a folder."""


@dataclass(frozen=True, eq=False)
class Setup:
    """What a case describes.

    Attributes
    ----------
    case : Case
        With everything that it left open decided.
    model : QuasiContinuum
        At the first step, its correctors zero or where the case starts them.
    deformations : (n, 3, 3) float64
        Mean deformation gradients of the steps, that of the lattice at temperature included.
    motions : tuple of Motion
        The external loads.
    values : tuple of float
        The number that tells a step from the others: strain, depth, or the step's index.
    value_name, unit : str
        What that number is.
    """

    case: Case
    model: QuasiContinuum
    deformations: Array
    motions: tuple[Motion, ...]
    values: tuple[float, ...]
    value_name: str
    unit: str

    def _numbers(self, step: int) -> list[float]:
        """Return the numbers that external loads have at a step."""
        return [m.values[step] if m.values else m.start for m in self.motions]

    def loads(self, step: int) -> tuple[Load, ...]:
        """Return the external loads of a step."""
        return tuple(m.at(v) for m, v in zip(self.motions, self._numbers(step), strict=True))

    def path(self) -> Array:
        """Return what tells the steps from others, (n, ...): strains, and numbers of the loads."""
        if not self.motions:
            return self.deformations
        rows = []
        for k, deformation in enumerate(self.deformations):
            parts = [p for load in self.loads(k) for p in load.described()]
            plain = [np.ravel(p) for p in parts if not isinstance(p, str)]
            rows.append(np.concatenate([deformation.ravel(), self._numbers(k), *plain]))
        return np.array(rows)


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
        needed, allowed = FAMILIES[family].needed, FAMILIES[family].allowed
    for name in PARAMETERS:
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
    if model.rectangle is not None and not case.crystal.planar:
        raise CaseError("model.rectangle: only for columns and monolayers; use outer or block")
    if model.block is not None:
        wanted = 2 if case.crystal.planar else 3
        for name in ("lower", "upper"):
            if len(getattr(model.block, name)) != wanted:
                raise CaseError(f"model.block.{name}: expected {wanted} entries")
