"""A model's atoms as ASE Atoms: in a box that holds them, and back from where ASE moved them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian
from numpy.typing import NDArray

from qc.coupling.model import Model
from qc.coupling.regions import outer_region, sites_in
from qc.crystal.site_index import SiteIndex
from qc.errors import InputError
from qc.mesh import Region

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Held nodes may be this far from where they are held, Angstrom: what text files round off.
MOVED = 1e-4


@dataclass(frozen=True, eq=False)
class Box:
    """A cell around positions of the model's frame.

    Attributes
    ----------
    cell : (3, 3) float64, Angstrom
    periodic : bool
        Along the third vector, the line of 2.5D.
    offset : (3,) float64, Angstrom
        From the model's frame to one in which the cell begins at the origin.
    """

    cell: Array
    periodic: bool
    offset: Array

    def periods(self, y: Array) -> Array:
        """Periods (n, 1) by which positions (n, 3) of the model's frame lie off the cell."""
        if not self.periodic:
            return np.zeros((len(y), 1))
        return np.floor((y[:, 2:] + self.offset[2]) / self.cell[2, 2])

    def wrapped(self, y: Array) -> Array:
        """Positions (n, 3) of the model's frame, in the period that the cell is."""
        return y - self.periods(y) * self.cell[2]


def enclosing(model: Model, y: Array) -> Box:
    """Return the box of positions (n, 3) of the model's frame.

    Where it is not periodic it leaves a cutoff on every side. Atoms may move in it, and a
    calculator that takes every cell for periodic sees no images.
    """
    gap = model.potential.cutoff
    crystal = model.crystal
    cell, offset = np.eye(3), np.full(3, gap)
    periodic = crystal.is_columns
    across = y
    if periodic:
        cell[2] = np.asarray(model.far_field.mean_deformation) @ crystal.cell[2]
        offset[2] = _between_planes(model) * cell[2, 2]
        # What leans along the line does not count for the width.
        across = Box(cell, True, offset).wrapped(y)
        across = across - (across[:, 2:] + offset[2]) / cell[2, 2] * cell[2]
    for c in range(2 if periodic else 3):
        low, high = (across[:, c].min(), across[:, c].max()) if len(y) else (0.0, 0.0)
        cell[c, c] = high - low + 2.0 * gap
        offset[c] = gap - low
    return Box(cell, periodic, offset)


def _between_planes(model: Model) -> float:
    """Return the fraction of the period by which to lift the sites so that none is on a face.

    Else round-off would put neighbours in one plane a period apart.
    """
    crystal = model.crystal
    period = crystal.cell[2, 2]
    sites = np.array([i * crystal.cell[0, 2] + j * crystal.cell[1, 2]
                      for i in range(6) for j in range(6)])  # fmt: skip
    planes = np.sort(np.round((sites[:, None] + crystal.basis[:, 2]).ravel() / period, 6) % 1.0)
    gaps = np.diff(np.append(planes, planes[0] + 1.0))
    # The first of equal gaps, whatever the last bits are.
    widest = int(np.argmax(gaps > gaps.max() - 1e-5))
    return float(1.0 - (planes[widest] + 0.5 * gaps[widest]) % 1.0)


def node_box(model: Model) -> Box:
    """Return the box of all nodes at the predictor: that of `representative`, whatever ``U``."""
    return enclosing(model, model.predictor())


def dress(model: Model, atoms: Atoms, box: Box) -> Array:
    """Put atoms of the model's frame into their box, in place; return the translation (3,).

    With a frame given, as by the atoms of `QuasiContinuum.from_atoms`, they go there instead and
    the box begins at ``atoms.get_celldisp()``. ``atoms.info["offset"]`` keeps the translation.
    """
    offset = box.offset if model.given_offset is None else model.given_offset
    atoms.positions = box.wrapped(atoms.positions) + offset
    atoms.set_cell(box.cell)
    atoms.pbc = (False, False, box.periodic)
    if model.given_offset is not None:
        atoms.set_celldisp(offset - box.offset)
    atoms.info["offset"] = offset.copy()
    return offset


def representative(model: Model) -> Atoms:
    """Do the work of `QuasiContinuum.to_ase`; see there."""
    keep = model.occupied
    symbols = np.array(model.node_symbols())[keep]
    predictor = model.predictor()
    atoms = Atoms(list(symbols), positions=(predictor + model.U)[keep])
    atoms.set_masses(model.node_masses()[keep])
    dress(model, atoms, enclosing(model, predictor))
    held = ~model.layout.free[keep]
    constraints: list[FixAtoms | FixCartesian] = []
    for mask in np.unique(held, axis=0):
        rows = np.flatnonzero((held == mask).all(axis=1))
        if mask.all():
            constraints.append(FixAtoms(rows))
        elif mask.any():
            constraints.append(FixCartesian(rows, mask))
    atoms.set_constraint(constraints)
    return atoms


def correctors(model: Model, positions: Array) -> Array:
    """Return the ``U`` (n_nodes, 3) of representative atoms at positions (n, 3), Angstrom.

    Along the line of 2.5D an atom counts in the image nearest to where ``model.U`` has it, so
    that it may be wrapped, and is followed when it goes on to the next period.

    Raises
    ------
    InputError
        Another number of atoms, or an atom that the model holds has moved.
    """
    occupied = model.occupied
    if len(positions) != int(occupied.sum()):
        raise InputError(
            f"{len(positions)} atoms given, but the model has {int(occupied.sum())} "
            "representative atoms; start from model.to_ase()"
        )
    predictor = model.predictor()
    box = enclosing(model, predictor)
    offset = box.offset if model.given_offset is None else model.given_offset
    move = positions - offset - (predictor + model.U)[occupied]
    if box.periodic:
        move -= np.round(move[:, 2:] / box.cell[2, 2]) * box.cell[2]
    free = model.layout.free[occupied]
    slip = np.where(free, 0.0, np.abs(move)).max(axis=1, initial=0.0)
    if slip.max(initial=0.0) > MOVED:
        atom = int(np.argmax(slip))
        raise InputError(
            f"atom {atom} is held by the model and has moved by {slip[atom]:.3g} Angstrom; keep "
            "the constraints of model.to_ase(), and strain the model with with_strain"
        )
    out = model.U.copy()
    out[occupied] += np.where(free, move, 0.0)
    return out


def every_atom(model: Model, region: Region | float | None) -> Atoms:
    """Do the work of `QuasiContinuum.all_atoms`; see there."""
    layout, crystal = model.layout, model.crystal
    if region is None:
        keep = ~layout.extra
        m, s, keep_extra = layout.lattice[keep], layout.sublattice[keep], True
    else:
        shape = outer_region(crystal, region, model.centre[None], 0.0, crystal.dim == 2, "region")
        m, s = sites_in(crystal, shape)
        exist = model.mesh.hull.exists(m)
        m, s = m[exist], s[exist]
        keep_extra = False
    y = model.predict(crystal.positions(m, s), s) + model.interpolate(m, s)
    types = layout.host_types[s]
    foreign = layout.types != layout.host_types[layout.sublattice]
    special = np.flatnonzero(~layout.extra & (layout.vacant | foreign))
    sites = np.column_stack([layout.lattice, layout.sublattice])[special]
    row = SiteIndex(sites).find(np.column_stack([m, s]))
    index = np.where(row >= 0, special[row] if len(special) else -1, -1)
    found = index >= 0
    types[found] = layout.types[index[found]]
    gone = np.zeros(len(m), dtype=bool)
    gone[found] = layout.vacant[index[found]]
    y, types = y[~gone], types[~gone]
    extra_x = layout.positions[layout.extra]
    inside = np.ones(len(extra_x), bool) if keep_extra else shape.contains(extra_x)
    if inside.any():
        extra_y = (model.predictor() + model.U)[layout.n_nodes - len(extra_x) :][inside]
        y = np.vstack([y, extra_y])
        types = np.concatenate([types, layout.types[layout.extra][inside]])
    atoms = Atoms([model.potential.species[t] for t in types], positions=y)
    dress(model, atoms, enclosing(model, y))
    return atoms
