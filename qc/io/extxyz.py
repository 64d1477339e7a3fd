"""Extended XYZ files of a model's atoms, for ASE and OVITO."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io.extxyz import write_xyz

from qc.coupling import QuasiContinuum
from qc.coupling.as_atoms import dress, enclosing
from qc.coupling.atom_fields import AtomFields, atom_fields
from qc.coupling.fields import REGIONS
from qc.io.files import write_atomically
from qc.numerics.checks import kind

#: Columns besides species and position, in the order they are written.
COLUMNS = ("region", "weight", "nonaffinity", "site_energy", "displacement", "node")


def write_extxyz(
    path: str | os.PathLike[str],
    model: QuasiContinuum,
    *,
    representative: bool = True,
    fields: AtomFields | None = None,
    info: dict[str, Any] | None = None,
) -> Path:
    """Write a model's atoms with one column per field.

    Columns: ``region`` (0 core, 1 blend, 2 continuum, 3 halo), ``weight`` of the site energy in
    the scheme, ``nonaffinity`` (lattice-matched D2, squared nearest-neighbour distances),
    ``site_energy`` (eV), ``displacement`` (Angstrom) and ``node`` (-1 for an atom carried by the
    mesh). Box and frame are as of `QuasiContinuum.all_atoms`, with ``offset`` and the corner of the
    box (``Origin``, which OVITO reads) in the comment line.

    Parameters
    ----------
    path : path-like
    model : QuasiContinuum
    representative : bool
        Include the mesh vertices outside the patch of atoms.
    fields : AtomFields, optional
        Taken instead of being computed.
    info : dict, optional
        Entries for the comment line.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    for name, value, wanted in (("fields", fields, AtomFields), ("info", info, dict)):
        if value is not None:
            kind(name, value, wanted)
    known = atom_fields(model, representative=representative) if fields is None else fields
    atoms = dressed_atoms(model, known)
    atoms.info.update(info or {})
    return write_atoms(path, atoms, COLUMNS)


def dressed_atoms(model: QuasiContinuum, fields: AtomFields) -> Atoms:
    """Return ASE Atoms that carry every field as an array, in a box that holds them all."""
    y = fields.positions
    atoms = Atoms(list(fields.symbols), positions=y)
    for name in COLUMNS:
        if name != "displacement":
            atoms.set_array(name, getattr(fields, name))
    atoms.set_array("displacement", y - fields.reference)
    dress(model, atoms, enclosing(model, y))
    atoms.info["Origin"] = " ".join(f"{v:.6f}" for v in atoms.get_celldisp().ravel())
    atoms.info["regions"] = " ".join(f"{k}:{name}" for k, name in enumerate(REGIONS))
    return atoms


def write_atoms(
    path: str | os.PathLike[str], atoms: Atoms, columns: tuple[str, ...] | list[str]
) -> Path:
    """Write atoms as extended XYZ with chosen arrays as columns, by rename."""
    text = io.StringIO()
    write_xyz(
        text,
        atoms,
        columns=["symbols", "positions", *columns],
        write_results=False,
        write_info=True,
    )
    return write_atomically(path, text.getvalue())
