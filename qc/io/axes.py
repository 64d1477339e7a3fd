"""Drawing into a notebook: a model on matplotlib axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qc.coupling import QuasiContinuum
from qc.errors import InputError, suggest
from qc.io import pictures
from qc.io.slices import section
from qc.numerics.checks import kind, real

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What can be drawn besides the scalar fields of `qc.io.pictures.SCALARS`.
_KINDS = ("regions", "nonaffinity", "mesh")
_VIEWS = ("core", "whole")


def plot(
    model: QuasiContinuum,
    what: str = "regions",
    *,
    ax: Axes | None = None,
    view: str = "core",
    level: float | None = None,
) -> Axes:
    """Draw a model in its current state.

    Plane models are drawn as they are, three-dimensional ones as a section ``z = level``. What is
    drawn and how is that of the pictures of `qc run`.

    Parameters
    ----------
    model : QuasiContinuum
    what : str
        ``"regions"``: elements and atoms by region. ``"nonaffinity"``: how far the neighbourhood
        of each atom is from an affine image of the crystal. ``"mesh"``. Or a scalar field:
        ``"relaxation"``, ``"hydrostatic_stress"``, ``"energy_density"``, ``"strain_xx"`` ...
        ``"strain_xy"``, ``"stress_xx"`` ... ``"stress_xy"``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure of pyplot by default, which a notebook shows.
    view : {"core", "whole"}
        Close up on core and blend, or all of it.
    level : float, Angstrom, optional
        Height of the section in 3D; through the first centre of the core by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        A name that is not known, a ``level`` for a plane model or outside of the model, or what is
        no model or no axes.
    """
    kind("model", model, QuasiContinuum)
    names = (*_KINDS, *pictures.SCALARS)
    if what not in names:
        raise InputError(
            f"cannot plot {what!r}, only {', '.join(names)}{suggest(str(what), names)}"
        )
    if view not in _VIEWS:
        raise InputError(f"view must be 'core' or 'whole', not {view!r}")
    if level is not None:
        if model.mesh.dim == 2:
            raise InputError("level is the height of a section in 3D; this model is plane")
        level = real("level", level)
    cut = section(model, level)
    if not len(cut.polygons):
        z = model.predictor()[:, 2]
        raise InputError(f"level {level} lies outside the model, z = {z.min():.4g}..{z.max():.4g}")
    axes = _axes(ax)
    drawing = _drawing(model, cut, what)
    whole, core = pictures.views_of(model, cut)
    close = core is not None and view == "core"
    drawn = drawing.paint(axes, not close, close or core is None)
    pictures.show(axes, model, core if close and core is not None else whole)
    axes.set_title(pictures.full_title(drawing.title, cut), fontsize=10)
    if drawing.label:
        # As tall as the axes, whatever their shape.
        bar = axes.inset_axes((1.02, 0.0, 0.03, 1.0))
        axes.figure.colorbar(drawn, cax=bar, extend="both", label=drawing.label)
    if drawing.handles:
        axes.legend(
            handles=list(drawing.handles), loc="upper center", bbox_to_anchor=(0.5, 0.0),
            bbox_transform=_below(axes), ncols=2, frameon=False, fontsize=8,
        )  # fmt: skip
    return axes


def _drawing(model: QuasiContinuum, cut: Any, what: str) -> pictures.Drawing:
    if what in pictures.SCALARS:
        return pictures.field_drawing(model, cut, what)
    if what == "mesh":
        return pictures.mesh_drawing(cut)
    draw = {"regions": pictures.regions_drawing, "nonaffinity": pictures.nonaffinity_drawing}
    return draw[what](model, cut)


def _below(axes: Axes) -> Any:
    """Coordinates of axes, but beneath their labels."""
    from matplotlib.transforms import ScaledTranslation

    inch = axes.figure.get_figure(root=True).dpi_scale_trans
    return axes.transAxes + ScaledTranslation(0.0, -0.42, inch)


def _axes(ax: Axes | None) -> Axes:
    from matplotlib import pyplot
    from matplotlib.axes import Axes

    if ax is None:
        return pyplot.subplots(figsize=(6.4, 5.6), layout="constrained")[1]
    kind("ax", ax, Axes)
    return ax
