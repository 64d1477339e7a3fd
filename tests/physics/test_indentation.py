"""Indentation of a half-space: coupled models against every site an atom, and what work says.

Both have the same outer region, held at the predictor with its relaxed surface. What they differ
in is the continuum; the error of the load falls as the core grows.
"""

from functools import cache

import numpy as np
import pytest

from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import fcc
from qc.loads import CylindricalIndenter, SphericalIndenter
from qc.materials import equilibrium_crystal
from qc.mesh import FreeSurface
from qc.potentials import zhou2004
from qc.solve import relax

pytestmark = pytest.mark.physics

LOMER = {"x": [1, 1, 0], "y": [0, 0, 1], "z": [1, -1, 0]}
CLOSE = {"x": [1, -1, 0], "y": [1, 1, -2], "z": [1, 1, 1]}
STIFFNESS = 10.0


@cache
def aluminium(which):
    potential = zhou2004("Al")
    axes = {"columns": LOMER, "111": CLOSE, "001": {}}[which]
    crystal = fcc("Al", 4.05, **axes)
    return equilibrium_crystal(crystal.as_columns() if which == "columns" else crystal, potential)


def build(which, scheme, core=None, blend=None, outer=40.0, **options):
    """A half-space; lengths in nearest-neighbour distances."""
    crystal = aluminium(which)
    nn = crystal.nearest_neighbour
    if core is not None:
        options |= {"core": core * nn, "blend": blend * nn}
    normal = (0, 1, 0) if crystal.dim == 2 else (0, 0, 1)
    if "defects" not in options:
        options.setdefault("centres", [(0.0, 0.0, 0.0)])
    return QuasiContinuum(
        crystal,
        zhou2004("Al"),
        scheme=scheme,
        outer=outer * nn,
        boundary=FreeSurface(normal),
        **options,
    )


def indent(model, depth, radius):
    """Press in from first contact; return load, and energy over that of the free surface."""
    axis = 1 if model.crystal.dim == 2 else 2
    kind = CylindricalIndenter if model.crystal.dim == 2 else SphericalIndenter
    centre = np.zeros(3)
    centre[axis] = model.predict(np.zeros((1, 3)))[0, axis] + radius - depth
    start = model.with_loads()
    model = model.with_loads(kind(radius, centre, STIFFNESS))
    result = relax(model, fmax=1e-5)
    assert result.converged
    # The surface in the blend is no defect.
    assert not result.warnings
    energy = result.defect_energy - start.coupling.defect_energy(start.U)
    return model, float(model.reactions()[0, axis]), energy


@pytest.mark.parametrize("scheme", ["bgfc", "bqcf"])
def test_load_and_energy_in_the_plane(scheme):
    exact = build("columns", "atomistic")
    coarse, fine = build("columns", scheme, 8, 6), build("columns", scheme, 12, 8)
    assert coarse.n_unknowns < 0.4 * exact.n_unknowns
    for depth in (0.3, 1.0):
        _, load, energy = indent(exact, depth, 40.0)
        _, first, first_energy = indent(coarse, depth, 40.0)
        _, second, second_energy = indent(fine, depth, 40.0)
        assert first == pytest.approx(load, rel=0.01)
        assert first_energy == pytest.approx(energy, rel=0.01)
        assert abs(second - load) < 0.7 * abs(first - load)
        assert abs(second_energy - energy) < 0.7 * abs(first_energy - energy)


@pytest.mark.parametrize("which", ["001", "111"])
def test_load_and_energy_in_space(which):
    exact, model = build(which, "atomistic", outer=9.0), build(which, "bgfc", 3, 2.5, outer=9.0)
    reference, load, energy = indent(exact, 0.5, 15.0)
    found, first, first_energy = indent(model, 0.5, 15.0)
    assert first == pytest.approx(load, rel=0.01)
    assert first_energy == pytest.approx(energy, rel=0.01)
    assert load > 0.5
    # Atoms of the core are in the same places.
    core = model.layout.beta_nodes == 0.0
    vertex = exact.mesh.vertex_at(model.mesh.lattice[core])
    assert (vertex >= 0).all()
    moved = np.abs(reference.U).max()
    assert np.abs(found.U[core] - reference.U[vertex]).max() < 0.03 * moved


def test_load_is_the_slope_of_the_energy():
    # Hellmann-Feynman: in equilibrium only the explicit dependence on the depth is left.
    model = build("columns", "bgfc", 8, 6)
    step = 0.01
    pressed, load, _ = indent(model, 0.6, 40.0)
    # Of the energy that the forces derive from; `defect_energy` is a better one and another.
    deeper, higher = (indent(model, 0.6 + s, 40.0)[0].energy() for s in (step, -step))
    assert (deeper - higher) / (2.0 * step) == pytest.approx(load, rel=1e-4)
    # The work of moving the indenter at fixed atoms is what the energy of the model changes by.
    before, energy = pressed.load_energy(), pressed.energy()
    pressed.loads = [pressed.loads[0].moved((0.0, -step, 0.0))]
    assert pressed.energy() - energy == pytest.approx(pressed.load_energy() - before, rel=1e-9)
    assert pressed.load_energy() - before == pytest.approx(load * step, rel=0.1)


@pytest.mark.parametrize(
    "defect",
    [
        PointDefects(vacant=[(0, 0, 0)]),
        PointDefects(extra=[("Al", (0.0, 2.025, 2.025))]),
    ],
    ids=["vacancy", "adatom"],
)
def test_defects_of_a_surface(defect):
    # Formation energies over the flat surface of the same weights.
    energies = []
    for scheme, core, blend in (("atomistic", None, None), ("bgfc", 3, 2.5)):
        model = build("001", scheme, core, blend, outer=8.0, defects=defect)
        # Around the same points, which decide on the weights.
        points = model.layout.blend.centres.points if core else model.centre[None]
        flat = build("001", scheme, core, blend, outer=8.0, centres=points)
        result = relax(model)
        assert result.converged
        energies.append(result.defect_energy - flat.energy())
    assert energies[1] == pytest.approx(energies[0], abs=1e-3)
    assert 0.2 < energies[0] < 1.0
