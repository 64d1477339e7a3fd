"""Bulk properties of a potential: lattice constants, elasticity, vacancy, stacking fault."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import bulk as ase_bulk
from numpy.typing import NDArray
from scipy import optimize

from qc.atomistic.energy import energy_forces, virial
from qc.atomistic.neighbours import VerletList, neighbour_list
from qc.errors import CapabilityError, ConvergenceError, CrystalError
from qc.potentials import Potential

Array = NDArray[np.float64]
Report = Callable[[str], None]

STRUCTURES = ("fcc", "bcc", "hcp", "diamond")

#: Nearest-neighbour distance over cubic lattice constant (over a, for hcp).
_NEAREST = {"fcc": math.sqrt(0.5), "bcc": math.sqrt(0.75), "hcp": 1.0, "diamond": math.sqrt(3) / 4}

#: eV/Angstrom; the largest force left in a relaxed defect.
FORCE_TOLERANCE = 1e-4

#: Rows and columns of the Voigt index.
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def _silent(text: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class DefectEnergy:
    """An energy before and after relaxation: eV for a point defect, eV/Angstrom^2 for a fault."""

    unrelaxed: float
    relaxed: float


@dataclass(frozen=True)
class BulkProperties:
    """What a potential says about a perfect crystal and its simplest defects.

    Parameters
    ----------
    element, structure : str
    a : float, Angstrom
        Lattice constant of the conventional cell.
    c_over_a : float or None
        For hcp.
    cohesive_energy : float, eV
        Per atom, relative to isolated atoms, negative when bound.
    bulk_modulus : float, eV/Angstrom^3
        Under hydrostatic pressure, shape and basis relaxed.
    elastic : (6, 6) float64, eV/Angstrom^3
        Stiffness in Voigt order xx yy zz yz xz xy, basis relaxed; x, y, z are the cube axes, for
        hcp x along a and z along c.
    vacancy : DefectEnergy, eV
        Formation energy in a supercell of fixed volume.
    vacancy_sites : int
        Sites of that supercell.
    stacking_fault : DefectEnergy or None, eV/Angstrom^2
        Intrinsic fault on {111}, fcc only.
    """

    element: str
    structure: str
    a: float
    c_over_a: float | None
    cohesive_energy: float
    bulk_modulus: float
    elastic: Array
    vacancy: DefectEnergy
    vacancy_sites: int
    stacking_fault: DefectEnergy | None


def bulk_properties(
    potential: Potential, element: str, structure: str, report: Report = _silent
) -> BulkProperties:
    """Compute all bulk properties of one element.

    Parameters
    ----------
    potential : Potential
    element : str
        Chemical symbol.
    structure : {"fcc", "bcc", "hcp", "diamond"}
    report : callable, optional
        Called with a line of text as the work goes on.

    Raises
    ------
    UnknownSpeciesError, CrystalError, ConvergenceError, NonFiniteError
        As the functions for the single properties.
    """
    report("lattice constant")
    a, c_over_a = lattice_constants(potential, element, structure)
    primitive = unit_cell(element, structure, a, c_over_a)
    cohesive = _energy_per_atom(potential, primitive) - isolated_energy(potential, element)
    report("elastic constants")
    elastic = elastic_constants(potential, primitive)
    supercell = vacancy_supercell(potential, element, structure, a, c_over_a)
    vacancy = vacancy_energy(potential, supercell, report)
    fault = None
    if structure == "fcc":
        fault = stacking_fault_energy(potential, element, a, report)
    return BulkProperties(
        element=element,
        structure=structure,
        a=a,
        c_over_a=c_over_a,
        cohesive_energy=cohesive,
        bulk_modulus=bulk_modulus(elastic),
        elastic=elastic,
        vacancy=vacancy,
        vacancy_sites=len(supercell),
        stacking_fault=fault,
    )


def unit_cell(
    element: str, structure: str, a: float, c_over_a: float | None = None, primitive: bool = True
) -> Atoms:
    """Return the primitive cell, or the cubic (hcp: orthorhombic) one, as periodic ASE Atoms.

    Raises
    ------
    CrystalError
        A structure that is not supported.
    """
    if structure not in STRUCTURES:
        raise CrystalError(f"structure must be one of {', '.join(STRUCTURES)}, not '{structure}'")
    if structure == "hcp":
        return ase_bulk(
            element, "hcp", a=a, c=a * (c_over_a or math.sqrt(8 / 3)), orthorhombic=not primitive
        )
    return ase_bulk(element, structure, a=a, cubic=not primitive)


def isolated_energy(potential: Potential, element: str) -> float:
    """Return the energy of one atom alone, eV."""
    return _energy_per_atom(potential, Atoms(element, positions=[[0.0, 0.0, 0.0]]))


def _energy_forces(potential: Potential, atoms: Atoms) -> tuple[Array, Array]:
    types = potential.types_of(atoms.get_chemical_symbols())
    neighbours = neighbour_list(atoms.positions, potential.cutoff, atoms.cell[:], atoms.pbc)
    return energy_forces(potential, np.ascontiguousarray(atoms.positions), types, neighbours)


def _energy_per_atom(potential: Potential, atoms: Atoms) -> float:
    return math.fsum(_energy_forces(potential, atoms)[0]) / len(atoms)


def _virial(potential: Potential, atoms: Atoms) -> Array:
    types = potential.types_of(atoms.get_chemical_symbols())
    neighbours = neighbour_list(atoms.positions, potential.cutoff, atoms.cell[:], atoms.pbc)
    return virial(potential, atoms.positions, types, neighbours)


def lattice_constants(
    potential: Potential, element: str, structure: str
) -> tuple[float, float | None]:
    """Return the lattice constant of lowest energy, Angstrom, and c/a for hcp.

    Nearest-neighbour distances from 0.3 to 1 cutoff are scanned for minima of the energy; the
    deepest is refined until the virial vanishes.

    Raises
    ------
    CrystalError
        A structure that is not supported, or none that is bound.
    UnknownSpeciesError
        An element that the potential does not know.
    """
    nearest = np.linspace(0.3, 1.0, 72)[:-1] * potential.cutoff
    unit_cell(element, structure, 1.0)
    constants = nearest / _NEAREST[structure]
    alone = isolated_energy(potential, element)
    energies = np.array(
        [_energy_per_atom(potential, unit_cell(element, structure, a)) for a in constants]
    )
    inner = np.arange(1, len(energies) - 1)
    minima = inner[
        (energies[inner] <= energies[inner - 1])
        & (energies[inner] < energies[inner + 1])
        & (energies[inner] < alone)
    ]
    if len(minima) == 0:
        raise CrystalError(
            f"{type(potential).__name__} binds no {structure} {element}: its energy has no minimum "
            f"for nearest neighbours between {nearest[0]:.3g} and {nearest[-1]:.3g} Angstrom"
        )
    best = minima[energies[minima].argmin()]

    def pressure(a: float) -> float:
        return float(np.trace(_virial(potential, unit_cell(element, structure, a))))

    a = float(optimize.brentq(pressure, constants[best - 1], constants[best + 1], xtol=1e-13))
    if structure != "hcp":
        return a, None

    def stresses(logarithms: Array) -> Array:
        a, ratio = np.exp(logarithms)
        total = _virial(potential, unit_cell(element, "hcp", a, ratio))
        return np.array([total[0, 0] + total[1, 1], total[2, 2]])

    found = optimize.root(stresses, np.log([a, math.sqrt(8 / 3)]), options={"xtol": 1e-13})
    if np.abs(found.fun).max() > 1e-6:
        raise CrystalError(f"no hcp {element} without stress was found: {found.message}")
    a, ratio = np.exp(found.x)
    return float(a), float(ratio)


def elastic_constants(potential: Potential, atoms: Atoms, step: float = 1e-4) -> Array:
    """Return the stiffness of a stress-free crystal with its basis relaxed, (6, 6) eV/Angstrom^3.

    Virials and forces of the strained and of the shuffled cell are differenced, and the shuffles
    are then eliminated: C = (A - B K^-1 B^T) / V with A = d2E/de2, B = d2E/de du, K = d2E/du2.

    Parameters
    ----------
    potential : Potential
    atoms : ase.Atoms
        Periodic cell at zero stress and zero force.
    step : float
        Strain, and shuffle in Angstrom, of the differences (fourth order in the step).

    Source: M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954), section 11.
    """
    n = len(atoms)

    def gradient(state: Array) -> Array:
        """dE/de (6) and dE/du (3n) at a strain e and shuffles u."""
        moved = atoms.copy()
        strain = np.zeros((3, 3))
        for value, (k, m) in zip(state[:6], _VOIGT, strict=True):
            strain[k, m] += 0.5 * value
            strain[m, k] += 0.5 * value
        deformation = np.eye(3) + strain
        moved.set_cell(atoms.cell[:] @ deformation.T, scale_atoms=True)
        moved.positions += state[6:].reshape(n, 3)
        total = _virial(potential, moved) @ np.linalg.inv(deformation).T
        by_strain = [0.5 * (total[k, m] + total[m, k]) for k, m in _VOIGT]
        return np.concatenate([by_strain, -_energy_forces(potential, moved)[1].ravel()])

    hessian = np.empty((6 + 3 * n, 6 + 3 * n))
    for row in range(len(hessian)):
        unit = np.zeros(len(hessian))
        unit[row] = step
        hessian[row] = (
            8 * (gradient(unit) - gradient(-unit)) - (gradient(2 * unit) - gradient(-2 * unit))
        ) / (12 * step)
    hessian = 0.5 * (hessian + hessian.T)
    # The pseudo-inverse leaves out the three translations, which cost nothing.
    coupling = hessian[:6, 6:]
    shuffles = np.linalg.pinv(hessian[6:, 6:], rcond=1e-7, hermitian=True)
    return (hessian[:6, :6] - coupling @ shuffles @ coupling.T) / atoms.get_volume()


def bulk_modulus(elastic: Array) -> float:
    """Return the bulk modulus under hydrostatic pressure from a (6, 6) stiffness (Reuss)."""
    return float(1.0 / np.linalg.inv(elastic)[:3, :3].sum())


def vacancy_supercell(
    potential: Potential, element: str, structure: str, a: float, c_over_a: float | None = None
) -> Atoms:
    """Return a supercell at least five lattice constants and three cutoffs wide."""
    cell = unit_cell(element, structure, a, c_over_a, primitive=False)
    wanted = max(5 * cell.cell.lengths().min(), 3 * potential.cutoff)
    return cell * tuple(int(n) for n in np.ceil(wanted / cell.cell.lengths() - 1e-9))


def vacancy_energy(
    potential: Potential, supercell: Atoms, report: Report = _silent
) -> DefectEnergy:
    """Return the formation energy of a vacancy at fixed volume, eV.

    ``E(n - 1 atoms) - (n - 1)/n E(n atoms)``, summed site by site as differences.

    Parameters
    ----------
    potential : Potential
    supercell : ase.Atoms
        Perfect crystal, periodic, all atoms equivalent.

    Raises
    ------
    ConvergenceError
        The relaxation did not converge.
    """
    perfect = float(_energy_forces(potential, supercell)[0].mean())
    vacant = supercell.copy()
    del vacant[0]
    return _relax(potential, vacant, perfect, "vacancy", report)


def stacking_fault_energy(
    potential: Potential, element: str, a: float, report: Report = _silent, layers: int = 24
) -> DefectEnergy:
    """Return the energy of an intrinsic stacking fault on {111} of fcc, eV/Angstrom^2.

    A stack of close-packed layers, one atom each, whose period along the normal is sheared by
    a/6 <112>, holds one fault per period. Layers relax, and so does the period's height: at fixed
    height the energy would converge as slowly as one over the number of layers.

    Raises
    ------
    ConvergenceError
        The relaxation did not converge.
    CapabilityError
        A potential so long-ranged that the fault would see its own image.

    Source: J. P. Hirth and J. Lothe, Theory of Dislocations (1982), section 10-2.
    """
    spacing, edge = a / math.sqrt(3), a / math.sqrt(2)
    if layers % 3 or layers * spacing < 4 * potential.cutoff:
        raise CapabilityError(
            f"a stack of {layers} layers is not a whole number of periods or too thin for a "
            f"cutoff of {potential.cutoff} Angstrom"
        )
    first = np.array([edge, 0.0, 0.0])
    second = np.array([0.5 * edge, math.sqrt(0.75) * edge, 0.0])
    shift = (first + second) / 3
    normal = np.array([0.0, 0.0, spacing])
    positions = np.arange(layers)[:, None] * (shift + normal)
    perfect = Atoms([element] * layers, positions, cell=[first, second, layers * normal], pbc=True)
    faulted = perfect.copy()
    faulted.set_cell([first, second, layers * normal + shift])
    reference = float(_energy_forces(potential, perfect)[0].mean())
    area = float(np.linalg.norm(np.cross(first, second)))
    energy = _relax(potential, faulted, reference, "stacking fault", report, stretch=True)
    return DefectEnergy(energy.unrelaxed / area, energy.relaxed / area)


def _relax(
    potential: Potential,
    atoms: Atoms,
    per_site: float,
    name: str,
    report: Report,
    stretch: bool = False,
) -> DefectEnergy:
    """Return the energy above ``per_site`` for each atom, as built and relaxed.

    The cell is fixed, or free to stretch along z only. The last unknown is then the change of its
    height, spread over all atoms, so that its gradient is a force as well.
    """
    types = potential.types_of(atoms.get_chemical_symbols())
    verlet = VerletList(potential.cutoff, 0.0 if stretch else 0.5, atoms.cell[:], atoms.pbc)
    height = float(atoms.cell[2, 2])
    evaluations = 0

    def energy_and_gradient(unknowns: Array) -> tuple[float, Array]:
        nonlocal evaluations
        scale = np.array([1.0, 1.0, 1.0 + unknowns[-1] / height if stretch else 1.0])
        y = unknowns[:-1].reshape(-1, 3) * scale
        verlet.update(y, atoms.cell[:] * scale)
        energies, forces = energy_forces(potential, y, types, verlet.list)
        gradient = np.append(-forces * scale, 0.0)
        if stretch:
            gradient[-1] = virial(potential, y, types, verlet.list)[2, 2] / scale[2] / height
        evaluations += 1
        largest = np.abs(gradient).max()
        report(f"{name}: evaluation {evaluations}, largest force {largest:.1e} eV/Angstrom")
        return math.fsum(energies - per_site), gradient

    start = np.append(atoms.positions, 0.0)
    unrelaxed = energy_and_gradient(start)[0]
    found = optimize.minimize(
        energy_and_gradient,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 1000, "ftol": 0.0, "gtol": 0.1 * FORCE_TOLERANCE, "maxcor": 20},
    )
    left = float(np.abs(found.jac).max())
    if left > FORCE_TOLERANCE:
        raise ConvergenceError(
            f"the {name} did not relax: a force of {left:.2g} eV/Angstrom is left after "
            f"{evaluations} evaluations ({found.message})"
        )
    return DefectEnergy(unrelaxed, float(found.fun))
