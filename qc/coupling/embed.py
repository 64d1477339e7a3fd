"""From atoms to a model: find the defect, surround it by atoms and the rest by continuum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from qc.continuum import equilibrium_lattice_constant
from qc.coupling.layout import PointDefects
from qc.crystal import bcc, fcc
from qc.crystal.defects import find_defects
from qc.crystal.recognise import recognise
from qc.errors import CrystalError, InputError, suggest
from qc.loads import HomogeneousStrain
from qc.potentials import Potential

if TYPE_CHECKING:
    from qc.coupling.model import QuasiContinuum

#: Options of `QuasiContinuum` that the atoms decide.
DECIDED = ("crystal", "potential", "far_field", "defects")


def embed(
    cls: type[QuasiContinuum], atoms: Atoms, potential: Potential, options: dict[str, Any]
) -> QuasiContinuum:
    """Do the work of `QuasiContinuum.from_atoms`; see there."""
    for key in DECIDED:
        if key in options:
            raise InputError(f"from_atoms finds '{key}' itself; do not pass it")
    known = ("scheme", "core", "blend", "outer", "centres", "grading", "largest")
    for key in options:
        if key not in known:
            raise InputError(f"from_atoms has no option '{key}'{suggest(key, known)}")
    symbols = atoms.get_chemical_symbols()
    if not symbols:
        raise CrystalError("no atoms: nothing to recognise a crystal in")
    potential.types_of(sorted(set(symbols)))
    host = max(sorted(set(symbols)), key=symbols.count)
    recognition = recognise(atoms, a=_lattice_constants(host, potential))
    crystal = recognition.crystal
    crystal.require_bravais("QuasiContinuum.from_atoms")
    found = find_defects(atoms, recognition)
    if found.is_empty and "centres" not in options:
        raise CrystalError(
            "no defect found: the atoms are a perfect crystal; build a model of it with "
            "QuasiContinuum(crystal, potential)"
        )

    # The model's frame has the lattice site nearest to the defect at its origin.
    home = crystal.integer_coordinates(found.centre[None])[0][0]
    shift = crystal.positions(home[None])[0]
    inverse = np.linalg.inv(recognition.F)
    origin = recognition.origin
    reference = (found.positions - origin) @ inverse.T - shift

    substituted = {
        tuple(int(v) for v in found.m[k] - home): symbols[k] for k in found.substitutional
    }
    vacant = [tuple(int(v) for v in m - home) for m in found.vacant_m]
    defects = PointDefects(
        vacant=vacant,  # type: ignore[arg-type]
        substitutions=substituted,  # type: ignore[arg-type]
        extra=[(symbols[k], reference[k]) for k in found.extra],
    )
    far_field = HomogeneousStrain(recognition.F)
    if "centres" not in options:
        options = {**options, "centres": _centres(found, crystal, home, reference)}
    model = cls(crystal, potential, far_field=far_field, defects=defects, **options)
    model.found = found
    model.offset = origin + recognition.F @ shift
    _take_displacements(model, found, home)
    return model


def _lattice_constants(host: str, potential: Potential) -> dict[str, float]:
    """Lattice constants at which the potential's crystals of the host element are at rest."""
    from ase.data import atomic_numbers, covalent_radii

    nearest = 2.0 * float(covalent_radii[atomic_numbers[host]])
    out = {}
    for build, scale in ((fcc, np.sqrt(2.0)), (bcc, 2.0 / np.sqrt(3.0))):
        guess = build(host, scale * nearest)
        try:
            out[guess.name] = equilibrium_lattice_constant(guess, potential)
        except CrystalError:
            # A structure that the potential does not hold together is left to the atoms' volume.
            continue
    return out


def _centres(found: Any, crystal: Any, home: Any, reference: Any) -> np.ndarray:
    """Collect what the core surrounds: vacant, extra and foreign sites and all non-affine atoms."""
    sites = np.concatenate(
        [
            found.vacant_m,
            # The atom that kept the site is as much a part of a dumbbell as the one that lost it.
            found.m[found.extra],
            found.m[found.substitutional],
            found.m[np.setdiff1d(found.non_affine, found.extra)],
        ]
    )
    points = np.vstack([crystal.positions(sites - home), reference[found.extra]])
    return np.unique(np.round(points, 9), axis=0)


def _take_displacements(model: QuasiContinuum, found: Any, home: Any) -> None:
    """Start from the atoms as they came: relaxed ones stay relaxed."""
    layout, mesh = model.layout, model.mesh
    held = np.ones(len(found.m), dtype=bool)
    held[found.extra] = False
    held[found.surface] = False
    sites = found.m[held] - home
    vertex = mesh.vertex_at(sites)
    here = vertex >= 0
    target = found.positions[held][here] - model.offset
    u = target - model.predictor()[vertex[here]]
    # Only the neighbourhood of the defect is worth starting from: further out periodic images and
    # surfaces have left their mark.
    near = layout.beta_nodes[vertex[here]] < 0.5
    model.U[vertex[here][near]] = u[near]
    model.U[~layout.free] = 0.0
