"""Pictures: valid PNG files that show what the model holds, and exact plane sections."""

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest

from qc.coupling import PointDefects, QuasiContinuum
from qc.coupling.atom_fields import atom_fields
from qc.coupling.fields import element_fields
from qc.crystal import fcc, triangular
from qc.errors import InputError, OutputError
from qc.farfield import HomogeneousStrain, VolterraDislocation
from qc.io import pictures
from qc.io.axes import plot
from qc.io.slices import cut_tetrahedra, section
from qc.materials import CauchyBorn, equilibrium_lattice_constant
from qc.mesh import LatticeBlock
from qc.potentials import LennardJones, zhou2004
from qc.solve import relax


@pytest.fixture(scope="module")
def potential():
    return zhou2004("Al", knots_per_length=300, knots_per_density=300)


@pytest.fixture(scope="module")
def dislocation(potential):
    a = equilibrium_lattice_constant(fcc("Al", 4.05), potential)
    crystal = fcc("Al", a, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns()
    moduli = CauchyBorn(crystal, potential).elastic_constants()
    field = VolterraDislocation(moduli, 0.5 * crystal.vector([1, 1, 0]), (0.3, a / 4))
    block = LatticeBlock((-32, -32), (32, 32))
    model = QuasiContinuum(crystal, potential, far_field=field, core=9.0, blend=8.0, outer=block)
    relax(model, max_steps=3)
    return model


@pytest.fixture(scope="module")
def vacancy(potential):
    model = QuasiContinuum(
        fcc("Al", 4.05), potential, core=7.0, blend=6.0, outer=24.0,
        defects=PointDefects(vacant=[(0, 0, 0)]),
    )  # fmt: skip
    relax(model, max_steps=3)
    return model


def near(image, colour, tolerance=0.02):
    """Share of the pixels that have a colour."""
    wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return float((np.abs(image[..., :3] - wanted).max(axis=2) < tolerance).mean())


DRAW = {
    "mesh": pictures.draw_mesh,
    "regions": pictures.draw_regions,
    "nonaffinity": pictures.draw_nonaffinity,
    "stress": lambda path, model, **o: pictures.draw_field(path, model, "hydrostatic_stress", **o),
}


@pytest.mark.parametrize("what", DRAW)
@pytest.mark.parametrize("name", ["dislocation", "vacancy"])
def test_every_picture_is_a_png_with_something_on_it(what, name, request, tmp_path):
    path = DRAW[what](tmp_path / "picture.png", request.getfixturevalue(name), title="A title")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    image = matplotlib.image.imread(path)
    assert image.shape[0] > 600
    assert image.shape[1] > 900
    blank = near(image, "#ffffff")
    assert 0.1 < blank < 0.97


def test_regions_are_painted_in_their_colours(dislocation, tmp_path):
    image = matplotlib.image.imread(pictures.draw_regions(tmp_path / "p.png", dislocation))
    shares = [near(image, c) for c in pictures.COLOURS]
    assert min(shares) > 1e-4
    # Negative control: a colour that stands for nothing.
    assert near(image, "#00ff00") < 1e-6


def test_a_title_and_labels_are_set(dislocation, tmp_path, monkeypatch):
    kept = []
    save = pictures.save_figure

    def keep(path, figure):
        kept.append(figure)
        return save(path, figure)

    monkeypatch.setattr(pictures, "save_figure", keep)
    pictures.draw_field(tmp_path / "p.png", dislocation, "strain_xy", title="My title")
    (figure,) = kept
    assert figure.get_suptitle() == "My title"
    assert figure.axes[0].get_xlabel() == "x $\\parallel$ $[110]$ (Å)"
    assert figure.axes[0].get_ylabel() == "y $\\parallel$ $[001]$ (Å)"
    assert figure.axes[0].get_aspect() == 1.0
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert "Green strain xy (%)" in labels


def test_the_level_of_a_section_is_in_the_title(vacancy, tmp_path, monkeypatch):
    kept = []
    save = pictures.save_figure
    monkeypatch.setattr(pictures, "save_figure", lambda p, f: (kept.append(f), save(p, f))[1])
    pictures.draw_mesh(tmp_path / "p.png", vacancy)
    assert kept[0].get_suptitle() == "Mesh, section at z = 0.0 Å"


def test_every_scalar_has_one_value_per_element(vacancy):
    fields = element_fields(vacancy)
    for name, scalar in pictures.SCALARS.items():
        values = scalar.values(vacancy, fields)
        assert values.shape == (len(vacancy.mesh.elements),), name
        assert np.isfinite(values).any(), name


def test_the_average_keeps_what_is_linear_and_uniform(vacancy):
    n_e = len(vacancy.mesh.elements)
    np.testing.assert_allclose(pictures._smoothed(vacancy, np.full(n_e, 2.5)), 2.5)
    values = np.ones(n_e)
    values[7] = np.nan
    smooth = pictures._smoothed(vacancy, values)
    assert np.isnan(smooth[7])
    np.testing.assert_allclose(np.delete(smooth, 7), 1.0)
    # Negative control: a spike is spread.
    spike = np.zeros(n_e)
    spike[7] = 1.0
    assert 0 < pictures._smoothed(vacancy, spike)[7] < 1


def test_an_unknown_field_is_refused_with_a_suggestion(vacancy, tmp_path):
    with pytest.raises(InputError, match=r"'strain_xxy'; did you mean 'strain_x"):
        pictures.draw_field(tmp_path / "p.png", vacancy, "strain_xxy")
    assert not (tmp_path / "p.png").exists()


def test_a_folder_in_the_way_is_an_output_error(vacancy, tmp_path):
    (tmp_path / "p.png").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        pictures.draw_mesh(tmp_path / "p.png", vacancy)


def test_a_monolayer_and_full_schemes_are_drawn(tmp_path):
    crystal = triangular("Cu", 2.5)
    potential = LennardJones("Cu", 0.1, 2.27, 5.0)
    for scheme in ("bgfc", "atomistic", "cauchy-born", "bqcf"):
        model = QuasiContinuum(crystal, potential, scheme=scheme, core=8.0, blend=6.0, outer=24.0)
        for k, draw in enumerate(DRAW.values()):
            draw(tmp_path / f"{scheme}{k}.png", model)


# -- sections ---------------------------------------------------------------------------------


def area(polygon):
    x, y = np.asarray(polygon).T
    return 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def test_the_section_of_one_tetrahedron_is_exact():
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    for level in (0.1, 0.5, 0.9):
        polygons, element = cut_tetrahedra(corners, np.array([[0, 1, 2, 3]]), level)
        assert element.tolist() == [0]
        assert area(polygons[0]) == pytest.approx(0.5 * (1 - level) ** 2, rel=1e-5)
    polygons, _ = cut_tetrahedra(corners, np.array([[0, 1, 2, 3]]), 1.5)
    assert polygons == []


def test_a_quadrilateral_section_does_not_cross_itself():
    corners = np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1.0]])
    polygons, _ = cut_tetrahedra(corners, np.array([[0, 1, 2, 3]]), 0.5)
    (square,) = polygons
    assert square.shape == (4, 2)
    assert area(square) == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("level", [0.0, 1.3, 4.05])
def test_sections_tile_the_plane_of_a_block(level, potential):
    crystal = fcc("Al", 4.05)
    block = LatticeBlock((-8, -8, -8), (8, 8, 8))
    model = QuasiContinuum(
        crystal, potential, core=5.0, blend=6.0, outer=block,
        far_field=HomogeneousStrain(np.diag([1.01, 1.0, 1.0])),
    )  # fmt: skip
    cut = section(model, level)
    total = sum(area(p) for p in cut.polygons)
    # Area of the block's section: the change of the volume below the plane with its height.
    low, high = level - 1e-3, level + 1e-3
    y = (model.predictor() + model.U)[: model.mesh.n_vertices]
    hull = [volume_below(y, model.mesh.elements, z) for z in (low, high)]
    assert total == pytest.approx((hull[1] - hull[0]) / (high - low), rel=1e-3)


def test_a_section_through_sites_is_that_of_the_mesh_whatever_they_have_moved_by(vacancy):
    moved = section(vacancy).polygons
    at_rest = vacancy.with_loads()
    at_rest.U = 0.0 * vacancy.U
    before = section(at_rest).polygons
    assert len(moved) == len(before)
    assert 1e-3 < max(np.abs(a - b).max() for a, b in zip(moved, before, strict=True)) < 0.5


def test_a_level_outside_the_model_is_refused(vacancy, ax):
    with pytest.raises(InputError, match=r"level 1000.0 lies outside the model, z = -"):
        plot(vacancy, level=1e3, ax=ax)


def volume_below(y, elements, level):
    """Volume of a convex body below a plane, by its hull."""
    from scipy.spatial import ConvexHull

    corners = y[ConvexHull(y).vertices]
    below = corners[corners[:, 2] <= level]
    i, j = np.meshgrid(np.arange(len(corners)), np.arange(len(corners)))
    p, q = corners[i.ravel()], corners[j.ravel()]
    crossing = (p[:, 2] < level) & (q[:, 2] > level)
    share = (level - p[crossing, 2]) / (q[crossing, 2] - p[crossing, 2])
    edge = p[crossing] + share[:, None] * (q[crossing] - p[crossing])
    return ConvexHull(np.vstack([below, edge])).volume


@pytest.fixture
def ax():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def collections(axes, kind):
    return [c for c in axes.collections if type(c).__name__ == kind]


def test_a_plot_of_regions_is_close_up_and_holds_elements_and_atoms(dislocation, ax):
    assert plot(dislocation, ax=ax) is ax
    (elements,) = collections(ax, "PolyCollection")
    (atoms,) = collections(ax, "EllipseCollection")
    assert len(elements.get_paths()) == len(dislocation.mesh.elements)
    # Columns hide nothing: every atom that counts is there, at its own place.
    fields = atom_fields(dislocation)
    assert np.array_equal(atoms.get_offsets(), fields.positions[:, :2])
    assert len(np.unique(atoms.get_facecolors(), axis=0)) == len(np.unique(fields.region))
    reach = dislocation.layout.blend.outer + dislocation.crystal.nearest_neighbour
    assert np.diff(ax.get_xlim()) == pytest.approx(2 * reach * 1.04)
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words[0] == "core: every atom"
    assert ax.get_title() == "Regions"


def test_the_whole_is_the_whole(dislocation, ax):
    plot(dislocation, "mesh", ax=ax, view="whole")
    extent = np.ptp(section(dislocation).polygons.reshape(-1, 2)[:, 0])
    assert np.diff(ax.get_xlim()) == pytest.approx(1.04 * extent)


def test_a_plot_of_nonaffinity_is_coloured_by_it_and_finds_the_vacancy(vacancy, ax):
    plot(vacancy, "nonaffinity", ax=ax)
    (atoms,) = collections(ax, "EllipseCollection")
    colours, at = atoms.get_array(), atoms.get_offsets()
    hot = np.linalg.norm(at[colours > 1e-2], axis=1)
    # The twelve neighbours of the vacant site, of which a section shows those in its slab.
    assert len(hot)
    assert hot.max() < 1.1 * vacancy.crystal.nearest_neighbour
    assert "section at z = 0.0" in ax.get_title()
    assert "non-affinity" in ax.child_axes[0].get_ylabel()


def test_a_plot_of_a_field_in_3d_is_a_section_at_the_height_asked_for(vacancy, ax):
    plot(vacancy, "relaxation", ax=ax, level=5.0)
    (elements,) = collections(ax, "PolyCollection")
    cut = section(vacancy, 5.0)
    assert len(elements.get_paths()) == len(cut.polygons)
    assert len(cut.polygons) != len(section(vacancy).polygons)
    assert "z = 5.0" in ax.get_title()
    assert ax.child_axes[0].get_ylabel() == "relaxation |U| (Å)"


def test_without_axes_a_plot_makes_its_own_figure(dislocation):
    before = set(plt.get_fignums())
    axes = plot(dislocation, "strain_xy")
    (new,) = set(plt.get_fignums()) - before
    assert axes.figure is plt.figure(new)
    plt.close(new)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"what": "region"}, "cannot plot 'region', only regions, .*; did you mean 'regions'"),
        ({"what": None}, "cannot plot None"),
        ({"ax": "here"}, "ax"),
        ({"view": "near"}, "view must be 'core' or 'whole', not 'near'"),
        ({"level": 1.0}, "this model is plane"),
    ],
)
def test_what_cannot_be_plotted_is_refused(dislocation, options, words):
    before = plt.get_fignums()
    with pytest.raises(InputError, match=words):
        plot(dislocation, **options)
    with pytest.raises(InputError, match="model"):
        plot("model.vtu")
    assert plt.get_fignums() == before
