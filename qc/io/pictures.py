"""PNG pictures of a model: mesh, regions, non-affinity and scalar fields.

Plane models are drawn as they are, three-dimensional ones as a section through the core.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.units import GPa
from numpy.typing import NDArray

from qc.coupling import QuasiContinuum
from qc.coupling.atom_fields import AtomFields, atom_fields
from qc.coupling.fields import (
    ElementFields,
    cell_mean,
    element_fields,
    element_regions,
    green_strain,
)
from qc.crystal import Crystal
from qc.errors import InputError, suggest
from qc.io.plots import DPI, save_figure
from qc.io.slices import Section, section

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Colours of core, blend, continuum and halo, told apart also by colour-blind eyes.
COLOURS = ("#c8443c", "#f0b441", "#c9d8e6", "#8a949c")

_INK = "#28323a"


@dataclass(frozen=True)
class Scalar:
    """A scalar field that can be drawn: its label and how to compute it per element."""

    label: str
    values: Callable[[QuasiContinuum, ElementFields], Array]
    diverging: bool = True


def _strain(i: int, j: int) -> Callable[[QuasiContinuum, ElementFields], Array]:
    return lambda model, e: 100.0 * green_strain(e.deformation)[:, i, j]


def _stress(i: int, j: int) -> Callable[[QuasiContinuum, ElementFields], Array]:
    return lambda model, e: e.cauchy[:, i, j] / GPa


def _relaxation(model: QuasiContinuum, e: ElementFields) -> Array:
    """|U| of the corners, with a basis the root mean square over the atoms of their cells."""
    squares = cell_mean(model, np.einsum("ni,ni->n", model.U, model.U))
    return np.sqrt(squares)[model.mesh.elements].mean(axis=1)


_PAIRS = {"xx": (0, 0), "yy": (1, 1), "zz": (2, 2), "yz": (1, 2), "xz": (0, 2), "xy": (0, 1)}

#: Every scalar field by name.
SCALARS: dict[str, Scalar] = {
    "relaxation": Scalar("relaxation |U| (Å)", _relaxation, diverging=False),
    "hydrostatic_stress": Scalar(
        "hydrostatic stress (GPa)", lambda m, e: np.trace(e.cauchy, axis1=1, axis2=2) / 3.0 / GPa
    ),
    "energy_density": Scalar(
        "energy density (meV/Å³)", lambda m, e: 1e3 * e.energy_density, diverging=False
    ),
    **{f"strain_{k}": Scalar(f"Green strain {k} (%)", _strain(*ij)) for k, ij in _PAIRS.items()},
    **{f"stress_{k}": Scalar(f"Cauchy stress {k} (GPa)", _stress(*ij)) for k, ij in _PAIRS.items()},
}


@dataclass(frozen=True)
class Drawing:
    """What a picture shows, on whatever axes it is painted.

    ``paint(axes, far, near)`` adds it to matplotlib axes, with thinner lines if seen from ``far``
    and with what is worth a close look if ``near``; it returns what a colour bar is for. The
    ``label`` is that of the colour bar, empty where there is none; ``handles`` are entries of the
    legend.
    """

    title: str
    paint: Callable[[Any, bool, bool], Any]
    label: str = ""
    handles: tuple[Any, ...] = ()


def mesh_drawing(cut: Section) -> Drawing:
    """Return the edges of the elements."""

    def paint(axes: Any, far: bool, near: bool) -> None:
        width = 0.25 if far else 0.45
        axes.add_collection(_polygons(cut, facecolors="white", edgecolors=_INK, lw=width))

    return Drawing("Mesh", paint)


def regions_drawing(
    model: QuasiContinuum, cut: Section, fields: AtomFields | None = None
) -> Drawing:
    """Return the elements by region and, close up, the atoms of core, blend and halo."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    atoms = atom_fields(model) if fields is None else fields
    colours = np.array(COLOURS)[element_regions(model)[cut.element]]

    def paint(axes: Any, far: bool, near: bool) -> None:
        width = 0.15 if far else 0.4
        axes.add_collection(
            _polygons(cut, facecolors=colours, alpha=0.75, edgecolors="white", lw=width)
        )
        if near:
            _atoms(axes, atoms, cut, model, np.array(COLOURS)[atoms.region])

    shown = sorted(set(atoms.region.tolist()))
    names = ("core: every atom", "blend", "continuum: mesh vertices", "halo: carries neighbours")
    handles: list[Any] = [Patch(color=COLOURS[r], label=names[r]) for r in shown if r != 3]
    handles += [
        Line2D([], [], ls="", marker="o", ms=4, color=COLOURS[r], mec=_INK, mew=0.3,
               label=names[r])
        for r in shown if r == 3
    ]  # fmt: skip
    return Drawing("Regions", paint, handles=tuple(handles))


def nonaffinity_drawing(
    model: QuasiContinuum, cut: Section, fields: AtomFields | None = None
) -> Drawing:
    """Return the atoms coloured by their non-affinity."""
    from matplotlib.colors import LogNorm

    atoms = atom_fields(model) if fields is None else fields
    # Six decades down to the noise of interpolation; a missing neighbour makes about 0.1.
    norm = LogNorm(1e-5, 1e0)

    def paint(axes: Any, far: bool, near: bool) -> Any:
        width = 0.15 if far else 0.3
        axes.add_collection(_polygons(cut, facecolors="none", edgecolors="#b8c2ca", lw=width))
        return _atoms(axes, atoms, cut, model, atoms.nonaffinity, norm=norm, cmap="magma_r")

    return Drawing("Non-affinity", paint, "non-affinity D² (nearest-neighbour distance²)")


def field_drawing(
    model: QuasiContinuum, cut: Section, name: str, fields: ElementFields | None = None
) -> Drawing:
    """Return a scalar field over the elements; see `draw_field`."""
    if name not in SCALARS:
        raise InputError(f"no scalar field {name!r}{suggest(name, SCALARS)}")
    scalar = SCALARS[name]
    elements = element_fields(model) if fields is None else fields
    values = _smoothed(model, scalar.values(model, elements))[cut.element]
    norm, cmap = _scale(values, scalar.diverging)

    def paint(axes: Any, far: bool, near: bool) -> Any:
        drawn = _polygons(cut, array=np.ma.masked_invalid(values), cmap=cmap, norm=norm)
        # Edges in the colour of the face hide the seams that anti-aliasing leaves.
        drawn.set(edgecolor="face", linewidth=0.2)
        axes.add_collection(drawn)
        axes.set_facecolor("#eceff1")
        return drawn

    return Drawing(_headline(scalar.label), paint, scalar.label)


def draw_mesh(
    path: str | os.PathLike[str], model: QuasiContinuum, *, title: str | None = None
) -> Path:
    """Draw the mesh in the current configuration; parameters and errors as `draw_field`."""
    cut = section(model)
    return _save(path, model, cut, mesh_drawing(cut), title, note=_sizes(model))


def draw_regions(
    path: str | os.PathLike[str],
    model: QuasiContinuum,
    *,
    title: str | None = None,
    fields: AtomFields | None = None,
) -> Path:
    """Draw the elements by region and, close up, the atoms of core, blend and halo.

    Parameters and errors are those of `draw_field`.
    """
    cut = section(model)
    return _save(path, model, cut, regions_drawing(model, cut, fields), title)


def draw_nonaffinity(
    path: str | os.PathLike[str],
    model: QuasiContinuum,
    *,
    title: str | None = None,
    fields: AtomFields | None = None,
) -> Path:
    """Draw the atoms coloured by their non-affinity; parameters and errors as `draw_field`."""
    cut = section(model)
    return _save(path, model, cut, nonaffinity_drawing(model, cut, fields), title)


def draw_field(
    path: str | os.PathLike[str],
    model: QuasiContinuum,
    name: str,
    *,
    title: str | None = None,
    fields: ElementFields | None = None,
) -> Path:
    """Draw a scalar field over the elements, averaged over those that share a vertex.

    Linear elements of a strongly curved field alternate about it from one to the next; the average
    does not. Files hold the values as they are.

    Parameters
    ----------
    path : path-like
    model : QuasiContinuum
    name : str
        One of `SCALARS`: ``"relaxation"``, ``"hydrostatic_stress"``, ``"energy_density"``,
        ``"strain_xx"`` ... ``"strain_xy"``, ``"stress_xx"`` ... ``"stress_xy"``.
    title : str, optional
    fields : ElementFields, optional
        Taken instead of being computed.

    Raises
    ------
    InputError
        No field of that name.
    OutputError
        The picture cannot be written.
    """
    cut = section(model)
    return _save(path, model, cut, field_drawing(model, cut, name, fields), title)


def _save(
    path: str | os.PathLike[str],
    model: QuasiContinuum,
    cut: Section,
    drawing: Drawing,
    title: str | None,
    note: str = "",
) -> Path:
    with _figure(model, cut, title or drawing.title) as (figure, panels):
        for k, axes in enumerate(panels):
            drawn = drawing.paint(axes, k == 0, k == len(panels) - 1)
        if drawing.label:
            figure.colorbar(
                drawn, ax=panels, extend="both", pad=0.02, fraction=0.03, aspect=30,
                label=drawing.label,
            )  # fmt: skip
        if drawing.handles:
            figure.legend(
                handles=drawing.handles, loc="outside lower center", ncols=4, frameon=False,
                fontsize=8,
            )  # fmt: skip
        if note:
            figure.supxlabel(note, fontsize=8, color=_INK)
        return save_figure(path, figure)


def _smoothed(model: QuasiContinuum, values: Array) -> Array:
    """Average element values (n_e,) at the vertices, by volume, and back; NaN stays NaN."""
    mesh = model.mesh
    known = np.isfinite(values)
    corners = mesh.elements.shape[1]
    flat, n = mesh.elements.ravel(), mesh.n_vertices
    volume = np.where(known, mesh.volumes, 0.0)
    total = np.bincount(flat, np.repeat(volume * np.where(known, values, 0.0), corners), n)
    share = np.bincount(flat, np.repeat(volume, corners), n)
    nodal = total / np.where(share > 0, share, np.nan)
    return np.where(known, nodal[mesh.elements].mean(axis=1), np.nan)


def _headline(label: str) -> str:
    """Return a label as a title: no unit, a capital."""
    words = label.split(" (")[0]
    return words[0].upper() + words[1:]


def _scale(values: Array, diverging: bool) -> tuple[Any, str]:
    """Colour scale that one hot element of a core cannot wash out."""
    from matplotlib.colors import Normalize

    finite = values[np.isfinite(values)]
    if not len(finite):
        finite = np.zeros(1)
    if diverging:
        middle = float(np.median(finite))
        half = float(np.quantile(np.abs(finite - middle), 0.98)) or 1.0
        return Normalize(middle - half, middle + half), "RdBu_r"
    low, high = float(finite.min()), float(np.quantile(finite, 0.99))
    return Normalize(low, high if high > low else low + 1.0), "viridis"


def _polygons(cut: Section, **style: Any) -> Any:
    from matplotlib.collections import PolyCollection

    # Triangles come as one array, which is drawn much faster than a list.
    return PolyCollection(cut.polygons, **style)  # type: ignore[arg-type]


def _atoms(
    axes: Any, fields: AtomFields, cut: Section, model: QuasiContinuum, colours: Any, **style: Any
) -> Any:
    """Draw atoms as discs of a third of the nearest-neighbour distance, to scale."""
    from matplotlib.collections import EllipseCollection

    spacing = model.crystal.nearest_neighbour
    rows = np.arange(len(fields))
    if cut.level is not None:
        height = np.abs(fields.positions[:, 2] - cut.level)
        rows = np.flatnonzero(height < _slab(model.crystal))
    size = np.full(len(rows), 0.5 * _closest_in_view(model, spacing))
    if "norm" in style:
        # The hottest atoms are drawn last and on top.
        rows = rows[np.argsort(colours[rows], kind="stable")]
        paint = {"array": colours[rows]} | style
    else:
        paint = {"facecolors": colours[rows]} | style
    discs = EllipseCollection(
        size, size, np.zeros(len(rows)), offsets=fields.positions[rows, :2], units="x",
        offset_transform=axes.transData, edgecolors=_INK, linewidths=0.15, zorder=3, **paint,
    )  # fmt: skip
    axes.add_collection(discs)
    return discs


def _slab(crystal: Crystal) -> float:
    """Half the thickness of the slab of atoms that a section shows, Angstrom.

    It holds the nearest neighbours of an atom in its middle, or those of them that are closest to
    it in height: around a vacancy in diamond there are none in the plane itself.
    """
    spacing = crystal.nearest_neighbour
    bonds = crystal.star(1.01 * spacing)
    return max(0.4 * spacing, 1.1 * float(np.abs(bonds[:, 2]).min()))


def _closest_in_view(model: QuasiContinuum, spacing: float) -> float:
    """Smallest distance between atoms as the viewer sees them, Angstrom."""
    crystal = model.crystal
    if not crystal.is_columns:
        return spacing
    reach = 2.0 * float(np.linalg.norm(crystal.cell, axis=1).max())
    apart = np.concatenate(
        [np.hypot(*crystal.star(reach, s)[:, :2].T) for s in range(crystal.n_sublattices)]
    )
    # Atoms of one column hide each other.
    return float(apart[apart > 1e-3 * spacing].min())


@contextmanager
def _figure(model: QuasiContinuum, cut: Section, title: str) -> Iterator[tuple[Any, list[Any]]]:
    """Yield a figure with a panel of the whole and, where it is small, one of the core."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    whole, near = views_of(model, cut)
    views = [(whole, "")]
    if near is not None:
        views.append((near, "close-up of the core"))
    width = 8.0
    heights = []
    for view, _ in views:
        span = view[1] - view[0]
        heights.append(float(np.clip(width * span[1] / span[0], 1.6, 6.5)))
    # Side by side where the whole is tall, one above the other where it is wide.
    stacked = sum(heights) < 10.0 and heights[0] < 4.0
    if stacked:
        shape, size = (len(views), 1), (width + 1.2, sum(heights) + 1.3)
        ratios = {"height_ratios": heights}
    else:
        shape, size = (1, len(views)), (5.2 * len(views) + 1.2, 5.8)
        ratios = {}
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(*shape, squeeze=False, gridspec_kw=ratios).ravel()
    for axes, (view, name) in zip(grid, views, strict=True):
        show(axes, model, view)
        if name:
            axes.set_title(name, fontsize=9, color=_INK)
    if near is not None:
        _frame(grid[0], near)
    figure.suptitle(full_title(title, cut), fontsize=11, color=_INK)
    yield figure, list(grid)


def full_title(title: str, cut: Section) -> str:
    """Return a title that says where a section is."""
    return title if cut.level is None else f"{title}, section at z = {cut.level:.1f} Å"


def show(axes: Any, model: QuasiContinuum, view: Array) -> None:
    """Let axes show a window (2, 2), lowest and highest x and y, and name their directions."""
    margin = 0.02 * (view[1] - view[0]).max()
    axes.set(
        xlim=(view[0, 0] - margin, view[1, 0] + margin),
        ylim=(view[0, 1] - margin, view[1, 1] + margin),
        aspect="equal",
    )
    axes.set_xlabel(_axis_label(model.crystal, 0), fontsize=9)
    axes.set_ylabel(_axis_label(model.crystal, 1), fontsize=9)
    axes.tick_params(labelsize=8, color=_INK)


def views_of(model: QuasiContinuum, cut: Section) -> tuple[Array, Array | None]:
    """Return windows (2, 2) of the whole and, where that is much larger, of core and blend."""
    whole = (
        _bounds(np.concatenate(cut.polygons)) if len(cut.polygons) else np.array([[0, 0], [1, 1.0]])
    )
    return whole, _core_view(model, whole)


def _frame(axes: Any, view: Array) -> None:
    from matplotlib.patches import Rectangle

    span = view[1] - view[0]
    # A light line under the dark one shows on any background.
    for colour, width in (("white", 2.0), (_INK, 0.8)):
        axes.add_patch(Rectangle(view[0], *span, fill=False, ec=colour, lw=width, zorder=4))


def _bounds(points: Array) -> Array:
    return np.stack([points.min(axis=0), points.max(axis=0)])


def _core_view(model: QuasiContinuum, whole: Array) -> Array | None:
    """Window that holds core and blend, or None where it would be most of the whole."""
    centres = model.layout.blend.centres.points
    if model.scheme.atoms != "core":
        return None
    at = (centres + model.far_field.displacement(centres))[:, :2]
    if not np.isfinite(at).all():
        at = centres[:, :2]
    reach = model.layout.blend.outer + model.crystal.nearest_neighbour
    view = np.clip(_bounds(at) + reach * np.array([[-1.0], [1.0]]), whole[0], whole[1])
    span, full = view[1] - view[0], whole[1] - whole[0]
    return view if span.max() < 0.6 * full.max() and (span > 0).all() else None


def _axis_label(crystal: Crystal, k: int) -> str:
    """Return "x, [110] (Å)": axis and Miller direction where the crystal has a short one."""
    axis = "xy"[k]
    if crystal.name not in ("fcc", "bcc", "diamond", "hcp"):
        return f"{axis} (Å)"
    direction = np.eye(3)[k] @ np.linalg.inv(crystal.conventional)
    if crystal.name == "hcp":
        # Miller-Bravais indices: [2u - v, 2v - u, -u - v, 3w] / 3.
        u, v, w = direction
        direction = np.array([2 * u - v, 2 * v - u, -u - v, 3 * w])
    direction = direction / np.abs(direction).max()
    for n in range(1, 12):
        whole = np.rint(n * direction)
        if np.abs(whole - n * direction).max() < 1e-6 * n:
            text = "".join(f"\\bar{{{-int(v)}}}" if v < 0 else f"{int(v)}" for v in whole)
            return f"{axis} $\\parallel$ $[{text}]$ (Å)"
    return f"{axis} (Å)"


def _sizes(model: QuasiContinuum) -> str:
    return (
        f"{model.mesh.n_vertices:,} vertices, {len(model.mesh.elements):,} elements, "
        f"{model.n_unknowns:,} unknowns for {model.n_sites:,.0f} sites"
    )
