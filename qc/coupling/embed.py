"""From atoms to a model: find the defect, surround it by atoms and the rest by continuum."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from qc.coupling.model import Model
from qc.coupling.point_defects import PointDefects
from qc.coupling.spec import ModelSpec, refuse_unknown
from qc.crystal import Crystal, bcc, diamond, fcc, hcp
from qc.crystal.recognition.defects import AT_SURFACE, Defects, find_defects
from qc.crystal.recognition.ordering import has_compound
from qc.crystal.recognition.recognise import LatticeConstant, Recognition, recognise
from qc.crystal.recognition.terraces import broken_layers
from qc.errors import (
    CapabilityError,
    ConvergenceError,
    CrystalError,
    InputError,
    NonFiniteError,
)
from qc.farfield import HomogeneousStrain
from qc.materials import equilibrium_crystal, lattice_constants
from qc.numerics.checks import check_atomic_numbers, kind
from qc.potentials import Potential

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

log = logging.getLogger(__name__)

#: Options of `QuasiContinuum` that the atoms decide.
DECIDED = ("crystal", "potential", "far_field", "defects")


@dataclass(frozen=True, eq=False)
class Embedding:
    """A defect found in atoms, as a specification of a model of it.

    Attributes
    ----------
    spec : ModelSpec
    found : Defects
    home : (3,) int64
        Lattice coordinates, in the frame of ``found``, of the model's origin.
    offset : (3,) float64, Angstrom
        From the model's frame to that of the atoms.
    """

    spec: ModelSpec
    found: Defects
    home: IntArray
    offset: Array

    def take_up(self, model: Model) -> None:
        """Give a model of the specification the atoms' frame, and start it from where they are."""
        model.found, model.given_offset = self.found, self.offset
        _take_displacements(model, self.found, self.home, self.offset)


def embed(atoms: Atoms, potential: Potential, options: dict[str, Any]) -> Embedding:
    """Do the work of `QuasiContinuum.from_atoms`; see there."""
    for key in DECIDED:
        if key in options:
            raise InputError(f"from_atoms finds '{key}' itself; do not pass it")
    refuse_unknown(options, "from_atoms")
    kind("atoms", atoms, Atoms)
    kind("potential", potential, Potential)
    check_atomic_numbers(atoms.numbers)
    symbols = atoms.get_chemical_symbols()
    if not symbols:
        raise CrystalError("no atoms: nothing to recognise a crystal in")
    potential.types_of(sorted(set(symbols)))
    host = max(sorted(set(symbols)), key=symbols.count)
    recognition = _recognised(atoms, host, potential)
    crystal = recognition.crystal
    found = find_defects(atoms, recognition)
    if found.is_empty and "centres" not in options:
        raise CrystalError(_nothing_found(recognition))
    if found.depth < 2.0 * potential.cutoff:
        log.warning(
            "the defect is %.2f Angstrom below a free surface, nearer than two cutoffs (%.2f "
            "Angstrom): it is embedded in a crystal without surfaces, and what this one does to "
            "it is left out; a model with a surface is QuasiContinuum(crystal, potential, "
            "boundary=qc.mesh.FreeSurface(normal), defects=...)",
            found.depth,
            2.0 * potential.cutoff,
        )

    # The model's frame has the lattice site nearest to the defect at its origin.
    home = crystal.integer_coordinates(found.centre[None])[0][0]
    shift = crystal.positions(home[None])[0]
    inverse = np.linalg.inv(recognition.F)
    origin = recognition.origin
    reference = (found.positions - origin) @ inverse.T - shift

    foreign = found.substitutional
    sites = np.column_stack([found.m[foreign] - home, found.s[foreign]])
    vacant = np.column_stack([found.vacant_m - home, found.vacant_s])
    defects = PointDefects(
        vacant=[tuple(site) for site in vacant.tolist()],
        substitutions={
            tuple(site): symbols[k] for site, k in zip(sites.tolist(), foreign, strict=True)
        },
        extra=[(symbols[k], reference[k]) for k in found.extra],
    )
    far_field = HomogeneousStrain(recognition.F)
    if "centres" not in options:
        options = {**options, "centres": _centres(found, crystal, home, reference)}
    spec = ModelSpec(crystal, potential, far_field=far_field, defects=defects, **options)
    return Embedding(spec, found, home, origin + recognition.F @ shift)


def _nothing_found(recognition: Recognition) -> str:
    """Say that there is no defect to embed, and which there may be at surfaces."""
    if len(recognition.periods) == 3:
        return (
            "no defect found: the atoms are a perfect crystal; build a model of it with "
            "QuasiContinuum(crystal, potential)"
        )
    broken = broken_layers(recognition)
    if broken:
        return f"no defect found inside, but {broken}; {AT_SURFACE}"
    return (
        "no defect found inside: the atoms are a perfect crystal that ends at free surfaces, whose "
        f"own vacancies, adatoms and steps are not looked for; for these, {AT_SURFACE}"
    )


def _recognised(atoms: Atoms, host: str, potential: Potential) -> Recognition:
    """Recognise the crystal at the lattice constant at which the potential holds it at rest.

    Raises
    ------
    CrystalError
        No lattice fits, or the potential does not bind the host's: the elements are then not what
        the potential is for, or not those of the atoms.
    """
    if has_compound(atoms.get_chemical_symbols()):
        return _at_rest(recognise(atoms), potential)
    constants = _LatticeConstants(host, potential)
    recognition = recognise(atoms, a=constants)
    structure = recognition.structure
    if structure in constants:
        return recognition
    # Radii are no guide to this pair of element and potential: look everywhere.
    try:
        a, ratio = lattice_constants(potential, host, structure)
    except (CapabilityError, ConvergenceError):
        # Left to the atoms' volume.
        return recognition
    except CrystalError as error:
        raise _not_bound(recognition, error) from error
    return recognise(atoms, (structure,), a if ratio is None else (a, a * ratio))


def _at_rest(recognition: Recognition, potential: Potential) -> Recognition:
    """Return the recognition of a compound relative to its crystal at rest."""
    crystal = recognition.crystal
    if len(set(crystal.symbols)) == 1:
        # No order: find_defects says so.
        return recognition
    try:
        return recognition.referred_to(equilibrium_crystal(crystal, potential))
    except CrystalError as error:
        raise _not_bound(recognition, error) from error


def _not_bound(recognition: Recognition, reason: CrystalError) -> CrystalError:
    elements = "-".join(dict.fromkeys(recognition.crystal.symbols))
    return CrystalError(
        f"the atoms are {recognition.structure} {elements}, which the potential does not bind: "
        f"{reason}; are the elements the right ones?"
    )


class _LatticeConstants(Mapping[str, LatticeConstant]):
    """Lattice constants at which the potential's crystals of an element are at rest.

    Each is computed when it is asked for, which compiles kernels that a crystal of another
    structure needs not. A structure that the potential does not hold together has none.
    """

    def __init__(self, host: str, potential: Potential) -> None:
        from ase.data import atomic_numbers, covalent_radii

        nearest = 2.0 * float(covalent_radii[atomic_numbers[host]])
        self._potential = potential
        self._known: dict[str, LatticeConstant | None] = {}
        self._guesses = {
            "fcc": fcc(host, np.sqrt(2.0) * nearest),
            "bcc": bcc(host, 2.0 / np.sqrt(3.0) * nearest),
            "diamond": diamond(host, 4.0 / np.sqrt(3.0) * nearest),
            "hcp": hcp(host, nearest, np.sqrt(8.0 / 3.0) * nearest),
        }

    def __getitem__(self, name: str) -> LatticeConstant:
        if name not in self._known:
            self._known[name] = self._computed(self._guesses[name])
        value = self._known[name]
        if value is None:
            raise KeyError(name)
        return value

    def _computed(self, guess: Crystal) -> LatticeConstant | None:
        try:
            found = equilibrium_crystal(guess, self._potential)
        except (CrystalError, NonFiniteError):
            return None
        return found.a if found.c is None else (found.a, found.c)

    def __iter__(self) -> Iterator[str]:
        return iter(self._guesses)

    def __len__(self) -> int:
        return len(self._guesses)


def _centres(found: Defects, crystal: Crystal, home: IntArray, reference: Array) -> Array:
    """Collect what the core surrounds: vacant, extra and foreign sites and all non-affine atoms."""
    # The atom that kept the site is as much a part of a dumbbell as the one that lost it.
    atoms = np.concatenate(
        [found.extra, found.substitutional, np.setdiff1d(found.non_affine, found.extra)]
    )
    m = np.concatenate([found.vacant_m, found.m[atoms]]) - home
    s = np.concatenate([found.vacant_s, found.s[atoms]])
    points = np.vstack([crystal.positions(m, s), reference[found.extra]])
    return np.unique(np.round(points, 9), axis=0)


def _take_displacements(model: Model, found: Defects, home: IntArray, offset: Array) -> None:
    """Start from the atoms as they came: relaxed ones stay relaxed."""
    layout = model.layout
    held = np.ones(len(found.m), dtype=bool)
    held[found.extra] = False
    held[found.surface] = False
    vertex = layout.space.node_at(found.m[held] - home)
    node = np.where(vertex >= 0, layout.sublattice_nodes[vertex, found.s[held]], -1)
    here = node >= 0
    node = node[here]
    target = found.positions[held][here] - offset
    u = target - model.predictor()[node]
    # Only the neighbourhood of the defect is worth starting from: further out periodic images and
    # surfaces have left their mark.
    near = layout.beta_nodes[node] < 0.5
    model.U[node[near]] = u[near]
    model.U[~layout.free] = 0.0
