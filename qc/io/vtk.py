"""VTU files of a model's mesh and fields, and PVD collections over load steps, for ParaView.

Source: The VTK File Formats, kitware.com (XML unstructured grid, base64 with zlib compression).
"""

from __future__ import annotations

import base64
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
from ase.units import GPa
from numpy.typing import NDArray

from qc.coupling import QuasiContinuum
from qc.coupling.fields import (
    ElementFields,
    cell_mean,
    displacement,
    element_fields,
    flat_positions,
)
from qc.errors import InputError
from qc.io.files import write_atomically
from qc.numerics.checks import kind, numbers

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: VTK's numbers for a triangle and a tetrahedron.
_CELL_TYPE = {2: 5, 3: 10}

_TYPES = {"float64": "Float64", "int64": "Int64", "int32": "Int32", "uint8": "UInt8"}

#: Bytes compressed at once.
_BLOCK = 1 << 18


def write_vtu(
    path: str | os.PathLike[str],
    model: QuasiContinuum,
    *,
    point_data: Mapping[str, Array] | None = None,
    cell_data: Mapping[str, Array] | None = None,
    fields: ElementFields | None = None,
) -> Path:
    """Write a model's mesh with its fields as a VTU file.

    Points are reference positions (columns at z = 0); warp by ``displacement`` to see the current
    configuration. Names carry the units where they are not Angstrom.

    =========================  ====================================================================
    point field
    =========================  ====================================================================
    displacement               ``y - X``, Angstrom; with a basis the mean over the vertex's cell
    displacement_s             with a basis, of sublattice s = 0, 1, ...
    corrector                  the unknowns U, Angstrom; with a basis the mean over the cell
    beta                       blending function: 0 atoms, 1 continuum
    fixed                      1 where a component is held
    occupied                   0 at a vacant site, or where a site of the cell is vacant
    =========================  ====================================================================

    =========================  ====================================================================
    cell field
    =========================  ====================================================================
    deformation_gradient       F, nine components, row by row
    cauchy_stress_GPa          nine components
    first_piola_stress_GPa     nine components, row by row
    energy_density             W(F) - W(I), eV per cubic Angstrom of the undeformed crystal
    sublattice_shifts          with a basis, p of sublattices 1, 2, ..., Angstrom:
                               ``y = F (X + B) + p``, ``p = 0`` for sublattice 0
    scheme_weight              ``omega_e``
    region                     0 core, 1 blend, 2 continuum
    =========================  ====================================================================

    The cell fields of core elements, which carry no energy in the model, are what the Cauchy-Born
    rule gives for the motion of their corners, and of their atoms against each other; NaN where it
    says nothing.

    Parameters
    ----------
    path : path-like
    model : QuasiContinuum
    point_data, cell_data : mapping of str to array, optional
        Further fields, one row per vertex or element.
    fields : ElementFields, optional
        Of the same model; taken instead of being computed.

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        The file cannot be written.
    InputError
        A further field has the wrong number of rows.
    """
    kind("model", model, QuasiContinuum)
    mesh, layout = model.mesh, model.layout
    n = mesh.n_vertices
    e = element_fields(model) if fields is None else fields
    points: dict[str, NDArray] = {
        "displacement": displacement(model),
        "corrector": model.U[:n],
        "beta": layout.beta_nodes[:n],
        "fixed": ~np.asarray(layout.free[:n].any(axis=1)),
        "occupied": model.occupied[:n],
    }
    if not model.crystal.is_bravais:
        points |= _cell_points(model)
    cells: dict[str, NDArray] = {
        "deformation_gradient": e.deformation,
        "cauchy_stress_GPa": e.cauchy / GPa,
        "first_piola_stress_GPa": e.first_piola_kirchhoff / GPa,
        "energy_density": e.energy_density,
        "scheme_weight": e.weight,
        "region": e.region.astype(np.uint8),
    }
    if not model.crystal.is_bravais:
        cells["sublattice_shifts"] = e.shifts[:, 1:]
    for name, given in (("point_data", point_data), ("cell_data", cell_data)):
        if given is not None:
            kind(name, given, Mapping)
    points.update({name: np.asarray(v) for name, v in (point_data or {}).items()})
    cells.update({name: np.asarray(v) for name, v in (cell_data or {}).items()})
    text = unstructured_grid(flat_positions(model), mesh.elements, points, cells)
    return write_atomically(path, text)


def _cell_points(model: QuasiContinuum) -> dict[str, NDArray]:
    """Point fields that are those of whole cells, and those of each sublattice."""
    crystal, mesh, nodes = model.crystal, model.mesh, model.layout.sublattice_nodes
    held = nodes >= 0
    free: NDArray[np.bool_] = np.asarray(model.layout.free.any(axis=1))
    out: dict[str, NDArray] = {
        "corrector": cell_mean(model, model.U),
        "fixed": ~np.any(free[nodes] & held, axis=1),
        "occupied": np.all(model.occupied[nodes] | ~held, axis=1),
    }
    for s in range(crystal.n_sublattices):
        x = crystal.positions(mesh.lattice, s)
        y = model.predict(x, s) + model.interpolate(mesh.lattice, s)
        out[f"displacement_{s}"] = y - x
    return out


def unstructured_grid(
    points: Array,
    elements: IntArray,
    point_data: Mapping[str, NDArray],
    cell_data: Mapping[str, NDArray],
) -> str:
    """Return the text of a VTU file of triangles or tetrahedra.

    Fields have one row per point or element, which is flattened; InputError for another number.
    """
    n, n_e, corners = len(points), len(elements), elements.shape[1]
    lines = [
        '<?xml version="1.0"?>',
        '<VTKFile type="UnstructuredGrid" version="1.0" byte_order="LittleEndian" '
        'header_type="UInt64" compressor="vtkZLibDataCompressor">',
        "<UnstructuredGrid>",
        f'<Piece NumberOfPoints="{n}" NumberOfCells="{n_e}">',
        "<Points>",
        _array("Points", np.asarray(points, dtype=np.float64)),
        "</Points>",
        "<Cells>",
        _array("connectivity", np.asarray(elements, dtype=np.int64).ravel()),
        _array("offsets", corners * np.arange(1, n_e + 1, dtype=np.int64)),
        _array("types", np.full(n_e, _CELL_TYPE[corners - 1], dtype=np.uint8)),
        "</Cells>",
    ]
    for tag, fields, rows in (("PointData", point_data, n), ("CellData", cell_data, n_e)):
        lines.append(f"<{tag}>")
        for name, values in fields.items():
            if len(values) != rows:
                raise InputError(f"field {name!r} has {len(values)} rows, not {rows}")
            lines.append(_array(name, values.reshape(rows, -1) if values.ndim > 1 else values))
        lines.append(f"</{tag}>")
    lines += ["</Piece>", "</UnstructuredGrid>", "</VTKFile>", ""]
    return "\n".join(lines)


def _array(name: str, values: NDArray) -> str:
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    kind = _TYPES.get(values.dtype.name)
    if kind is None:
        raise InputError(f"field {name!r} holds {values.dtype}, which VTU files do not know")
    components = f' NumberOfComponents="{values.shape[1]}"' if values.ndim == 2 else ""
    return (
        f'<DataArray type="{kind}" Name={quoteattr(name)}{components} format="binary">\n'
        f"{_encoded(values)}\n</DataArray>"
    )


def _encoded(values: NDArray) -> str:
    """Base64 of the block table, then of the compressed blocks."""
    raw = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
    blocks = [raw[k : k + _BLOCK] for k in range(0, len(raw), _BLOCK)]
    packed = [zlib.compress(block, 6) for block in blocks]
    last = len(blocks[-1]) if blocks else 0
    head = [len(blocks), _BLOCK, last % _BLOCK, *(len(p) for p in packed)]
    table = base64.b64encode(np.array(head, dtype="<u8").tobytes())
    return (table + base64.b64encode(b"".join(packed))).decode("ascii")


def write_pvd(
    path: str | os.PathLike[str],
    files: Sequence[str | os.PathLike[str]],
    times: Sequence[float] | None = None,
) -> Path:
    """Write a PVD collection: VTU files over load steps, as one ParaView animation.

    Parameters
    ----------
    path : path-like
    files : sequence of path-like
        VTU files, stored relative to the collection's folder.
    times : sequence of float, optional
        The value ParaView shows as time, e.g. the strain of each step; 0, 1, 2, ... by default.

    Raises
    ------
    InputError
        The numbers of files and times differ, or a time is not finite.
    OutputError
        The file cannot be written.
    """
    kind("path", path, (str, os.PathLike))
    kind("files", files, Sequence)
    for file in files:
        kind("file", file, (str, os.PathLike))
    values = np.arange(len(files)) if times is None else numbers("times", times)
    if values.ndim != 1 or len(values) != len(files) or not np.isfinite(values).all():
        raise InputError(f"{len(files)} files need as many finite times, not {values.tolist()}")
    folder = Path(path).resolve().parent
    lines = ['<?xml version="1.0"?>', '<VTKFile type="Collection" version="1.0">', "<Collection>"]
    for file, value in zip(files, values.tolist(), strict=True):
        where = Path(os.path.relpath(Path(file).resolve(), folder)).as_posix()
        lines.append(f'<DataSet timestep="{float(value)!r}" part="0" file={quoteattr(where)}/>')
    lines += ["</Collection>", "</VTKFile>", ""]
    return write_atomically(path, "\n".join(lines))
