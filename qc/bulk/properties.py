"""Bulk properties of a potential: what it says about a perfect crystal and its simplest defects."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from qc.atomistic.cell import Cell
from qc.bulk.cell import CellSystem, DefectEnergy, Report, relax, silent
from qc.bulk.faults import GammaLine, gamma_line, growth_fault_energy
from qc.bulk.structures import KNOWN, structure_of
from qc.bulk.surfaces import Surface, surface_energy
from qc.crystal import STRUCTURES, Crystal, standard_crystal
from qc.errors import CapabilityError, CrystalError, InputError, QCError, suggest
from qc.materials.elastic import Elasticity, elasticity
from qc.materials.equilibrium import equilibrium_crystal
from qc.materials.lattice import cohesive_energy, crystal_bonds, site_energies
from qc.materials.phonons import ZonePoint, zone_phonons
from qc.numerics.threads import one_thread
from qc.potentials import Potential

Array = NDArray[np.float64]

#: What can be computed on top of lattice constants and cohesive energy.
GROUPS = ("elastic", "phonons", "vacancy", "surfaces", "faults")

#: Atoms in a primitive cell; matrices over all of them are full.
MOST_SITES = 100

#: Angstrom; a vacancy is disturbed by this before it relaxes, lest it stay on a saddle.
_DISTURBANCE = 1e-2

#: Smallest eigenvalue of the stiffness, eV/Angstrom^3, and frequency, THz, that count as stable.
_SOFT = -1e-6, -1e-3

_T = TypeVar("_T")


def check_supported(crystal: Crystal, potential: Potential) -> None:
    """Refuse what has no bulk properties here.

    That is a potential without site energies or one that does not know an element, a monolayer, and
    a crystal of more than `MOST_SITES` atoms in its cell.
    """
    if not potential.has_site_energies:
        raise CapabilityError(
            f"{type(potential).__name__} gives total energies only; bulk properties are computed "
            "from site energies and their derivatives"
        )
    if crystal.dim_lattice == 2:
        raise CrystalError(f"crystal {crystal.name!r}: bulk properties need three dimensions")
    if crystal.n_sublattices > MOST_SITES:
        raise CrystalError(
            f"crystal {crystal.name!r}: {crystal.n_sublattices} atoms in the primitive cell; bulk "
            f"properties are for {MOST_SITES} at most"
        )
    potential.types_of(crystal.symbols)


def relaxed_crystal(crystal: Crystal, potential: Potential) -> Crystal:
    """Return the crystal with the cell and basis of least energy, whatever its size.

    fcc, bcc, hcp and diamond come back on their conventional axes. Errors are those of
    `check_supported` and of `qc.materials.equilibrium_crystal`.
    """
    if crystal.name in STRUCTURES:
        crystal = standard_crystal(crystal.symbols[0], crystal.name, 1.0)
    check_supported(crystal, potential)
    return equilibrium_crystal(crystal, potential, anywhere=True)


@dataclass(frozen=True)
class Vacancy:
    """A missing atom in a supercell of fixed volume.

    Parameters
    ----------
    energy : DefectEnergy, eV
        Of formation; the atom goes to the perfect crystal.
    sites : int
        Sites of the supercell.
    """

    energy: DefectEnergy
    sites: int


@dataclass(frozen=True)
class BulkProperties:
    """What a potential says about a perfect crystal and its simplest defects.

    A group that was not asked for, is not applicable or failed is None; the last two say why.

    Parameters
    ----------
    crystal : Crystal
        At zero stress, on its conventional axes if it is fcc, bcc, hcp or diamond.
    cohesive_energy : float, eV
        Per atom, relative to isolated atoms, negative when bound.
    elasticity : Elasticity or None
    phonons : tuple of ZonePoint or None
    vacancy : Vacancy or None
    surfaces : tuple of Surface or None
    gamma_lines : tuple of GammaLine or None
    growth_fault : DefectEnergy or None, eV/Angstrom^2
        The fault I1 of hcp.
    not_applicable : dict of str to str
        Groups that mean nothing for this crystal, with the reason.
    failures : dict of str to str
        Groups, or members of them, that could not be computed, with the message.
    remarks : tuple of str
        What the potential says of itself at the distances of this crystal, such as a noisy table.
    """

    crystal: Crystal
    cohesive_energy: float
    elasticity: Elasticity | None = None
    phonons: tuple[ZonePoint, ...] | None = None
    vacancy: Vacancy | None = None
    surfaces: tuple[Surface, ...] | None = None
    gamma_lines: tuple[GammaLine, ...] | None = None
    growth_fault: DefectEnergy | None = None
    not_applicable: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def formula(self) -> str:
        """Chemical formula of the primitive cell, reduced, such as ``"Cu"`` or ``"SiC"``."""
        return str(Atoms(self.crystal.symbols).symbols.formula.reduce()[0])

    @property
    def a(self) -> float:
        """Lattice constant of the conventional cell, Angstrom."""
        return self.crystal.a

    @property
    def c(self) -> float | None:
        """Second lattice constant of hcp, Angstrom."""
        return self.crystal.c

    @property
    def c_over_a(self) -> float | None:
        """Ratio of the lattice constants of hcp."""
        return None if self.c is None else self.c / self.a

    @property
    def unstable(self) -> tuple[str, ...]:
        """What shows that the crystal is no minimum of the energy; empty if nothing does."""
        found = []
        if self.elasticity is not None:
            lowest = np.linalg.eigvalsh(self.elasticity.stiffness)[0]
            if lowest < _SOFT[0]:
                found.append(f"the stiffness has an eigenvalue {lowest:.3g} eV/Angstrom^3")
        for point in self.phonons or ():
            if point.frequencies[0] < _SOFT[1]:
                found.append(
                    f"a phonon at {point.name} is imaginary, {-point.frequencies[0]:.3f}i THz"
                )
        return tuple(found)


def chosen_groups(only: Collection[str] | None, skip: Collection[str] = ()) -> tuple[str, ...]:
    """Return the groups to compute, refusing a name that is none of `GROUPS`."""
    for name in (*(only or ()), *skip):
        if name not in GROUPS:
            raise InputError(
                f"unknown group '{name}'{suggest(name, GROUPS)} (groups: {', '.join(GROUPS)})"
            )
    return tuple(g for g in GROUPS if (only is None or g in only) and g not in skip)


@one_thread()
def bulk_properties(
    crystal: Crystal,
    potential: Potential,
    only: Collection[str] | None = None,
    skip: Collection[str] = (),
    report: Report = silent,
) -> BulkProperties:
    """Compute the bulk properties of a crystal under a potential.

    Parameters
    ----------
    crystal : Crystal
        Its structure; the lattice constants are found anew. ``standard_crystal("Cu", "fcc", 1.0)``
        will do; `qc.crystal.from_ase` makes one from any cell.
    potential : Potential
    only, skip : collections of str
        Groups among `GROUPS` to compute, all by default, and to leave out.
    report : callable
        Called with a line of text as the work goes on.

    Returns
    -------
    BulkProperties
        A group that could not be computed is missing, and named in ``failures``.

    Raises
    ------
    InputError
        An unknown group.
    CrystalError, CapabilityError, UnknownSpeciesError
        As `relaxed_crystal`: without a crystal there are no properties of it.
    """
    groups = chosen_groups(only, skip)
    report("lattice constants")
    found = relaxed_crystal(crystal, potential)
    reasons = {g: why for g in groups if (why := _inapplicable(g, found))}
    wanted = [g for g in groups if g not in reasons]
    failures: dict[str, str] = {}

    def attempt(group: str, name: str, compute: Callable[[], _T]) -> _T | None:
        if group not in wanted:
            return None
        report(name)
        try:
            return compute()
        except QCError as error:
            # Whatever a bad potential does to one defect, the rest is still worth having.
            failures[name] = str(error)
            return None

    structure = structure_of(found)
    elastic = attempt("elastic", "elastic constants", partial(elasticity, found, potential))
    phonons = attempt("phonons", "phonons", partial(zone_phonons, found, potential))
    vacancy = attempt("vacancy", "vacancy", partial(vacancy_energy, found, potential, report))
    surfaces = [
        attempt(
            "surfaces",
            f"surface {name}",
            partial(surface_energy, found, potential, hkl, name, report),
        )
        for name, hkl in structure.surfaces
    ]
    lines = [
        attempt(
            "faults",
            f"gamma line {system.name}",
            partial(gamma_line, found, potential, system, report),
        )
        for system in structure.slip
    ]
    growth = None
    if structure.has_growth_fault:
        growth = attempt(
            "faults", "fault I1", partial(growth_fault_energy, found, potential, report)
        )
    return BulkProperties(
        crystal=found,
        cohesive_energy=cohesive_energy(found, potential),
        elasticity=elastic,
        phonons=phonons,
        vacancy=vacancy,
        surfaces=tuple(s for s in surfaces if s is not None) if "surfaces" in wanted else None,
        gamma_lines=tuple(g for g in lines if g is not None) if "faults" in wanted else None,
        growth_fault=growth,
        not_applicable=reasons,
        failures=failures,
        remarks=potential.remarks(crystal_bonds(found, potential)),
    )


def _inapplicable(group: str, crystal: Crystal) -> str:
    """Return why a group means nothing for a crystal, or an empty string."""
    if group == "vacancy" and len(set(crystal.symbols)) > 1:
        return "a vacancy in a compound has an energy for given chemical potentials only"
    if group in ("surfaces", "faults") and not structure_of(crystal).surfaces:
        return f"planes are known for {', '.join(KNOWN)} only"
    return ""


def vacancy_supercell(crystal: Crystal, potential: Potential) -> Atoms:
    """Return a supercell at least five lattice constants and three cutoffs wide.

    Of the conventional cell, orthogonal, for fcc, bcc, hcp and diamond; of the primitive cell, and
    three cutoffs wide, for other crystals.
    """
    cell = structure_of(crystal).brick(crystal)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell.cell[:]), axis=0)
    wanted = max(5 * heights.min() if crystal.name in KNOWN else 0.0, 3 * potential.cutoff)
    return cell * tuple(int(n) for n in np.ceil(wanted / heights - 1e-9))


def vacancy_energy(
    crystal: Crystal, potential: Potential, report: Report = silent, supercell: Atoms | None = None
) -> Vacancy:
    """Return the formation energy of a vacancy at fixed volume.

    ``E(n - 1 atoms) - (n - 1)/n E(n atoms)``, summed site by site as differences. The start is
    disturbed by a hundredth of an Angstrom, so that a symmetric saddle is left. In diamond a
    second start draws the four neighbours inwards, to where they can bond to each other, and the
    lower of the two energies counts.

    Parameters
    ----------
    crystal : Crystal
        At zero stress, of one element.
    potential : Potential
    report : callable
        Called with a line of text as the work goes on.
    supercell : ase.Atoms, optional
        Periodic and perfect; `vacancy_supercell` by default. Its first atom is taken out.

    Raises
    ------
    CrystalError
        A compound, where the energy depends on chemical potentials.
    ConvergenceError
        The relaxation did not converge.
    """
    if len(set(crystal.symbols)) > 1:
        raise CrystalError(f"{crystal.name}: {_inapplicable('vacancy', crystal)}")
    atoms = vacancy_supercell(crystal, potential) if supercell is None else supercell
    per_atom = math.fsum(site_energies(crystal, potential)) / crystal.n_sublattices
    vacant = Cell(
        np.ascontiguousarray(atoms.positions[1:]),
        potential.types_of(atoms.get_chemical_symbols())[1:],
        np.array(atoms.cell[:]),
    )
    starts: list[Array | None] = [None]
    if structure_of(crystal).is_open:
        radius = 1.1 * crystal.nearest_neighbour
        starts.append(_drawn_inwards(vacant, atoms.positions[0], radius))
    energies = [
        relax(
            CellSystem(potential, vacant, per_atom), "vacancy", report, start=start,
            disturb=_DISTURBANCE,
        )
        for start in starts
    ]  # fmt: skip
    return Vacancy(min(energies, key=lambda e: e.relaxed), len(atoms))


def _drawn_inwards(cell: Cell, centre: Array, radius: float) -> Array:
    """Return positions with the atoms around a centre a sixth closer to it, as a start."""
    apart = (cell.positions - centre) @ np.linalg.inv(cell.cell)
    vectors = (apart - np.round(apart)) @ cell.cell
    near = np.linalg.norm(vectors, axis=1) < radius
    return np.asarray(cell.positions - vectors * near[:, None] / 6.0)
