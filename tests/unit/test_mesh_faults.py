"""Faults planted in meshes: `check_mesh` names the vertex or element at fault."""

from dataclasses import replace

import numpy as np
import pytest

from qc.crystal import fcc
from qc.errors import MeshError
from qc.mesh import Ball, CoreSet, PowerGrading, check_mesh, graded_mesh
from qc.mesh.build import shape_gradients
from qc.mesh.simplex_mesh import facet_table

CRYSTALS = {"3d": fcc("Cu", 3.6), "columns": fcc("Cu", 3.6).as_columns()}


def build(crystal, region=None):
    nn = crystal.nearest_neighbour
    core = CoreSet(np.zeros((1, 3)), planar=crystal.dim == 2)
    field = PowerGrading(core.distance, 2 * nn, nn, 1.6)
    return graded_mesh(crystal, field, region or Ball(9 * nn, planar=crystal.dim == 2))


@pytest.fixture(params=CRYSTALS)
def mesh(request):
    mesh = build(CRYSTALS[request.param])
    check_mesh(mesh)
    return mesh


def completed(mesh, elements, lattice=None):
    """The mesh with other elements (and vertices), everything derived from them consistent."""
    lattice = mesh.lattice if lattice is None else lattice
    positions = mesh.crystal.positions(lattice)
    d = mesh.dim
    corners = positions[elements]
    edges = corners - corners[:, :1]
    height = mesh.crystal.cell[2, 2] if d == 2 else 1.0
    volumes = np.linalg.det(edges[:, 1:, :d]) / (2 if d == 2 else 6) * height
    facets, counts = np.unique(facet_table(elements), axis=0, return_counts=True)
    boundary = np.zeros(len(positions), dtype=bool)
    boundary[facets[counts == 1]] = True
    return replace(
        mesh,
        lattice=lattice,
        positions=positions,
        elements=elements,
        volumes=volumes,
        gradients=shape_gradients(edges, d),
        boundary=boundary,
    )


def test_vertex_off_the_lattice(mesh):
    positions = mesh.positions.copy()
    positions[7, 0] += 0.05
    with pytest.raises(MeshError, match=r"vertex 7 is 0\.05 Angstrom off the lattice"):
        check_mesh(replace(mesh, positions=positions))


def test_inverted_element(mesh):
    elements = mesh.elements.copy()
    elements[11, [0, 1]] = elements[11, [1, 0]]
    with pytest.raises(MeshError, match="element 11 is inverted or flat"):
        check_mesh(replace(mesh, elements=elements))


def test_flat_element(mesh):
    # A vertex put on another one: the element has no volume left.
    elements = mesh.elements.copy()
    elements[5, 0] = elements[5, 1]
    with pytest.raises(MeshError, match="element 5 is inverted or flat"):
        check_mesh(replace(mesh, elements=elements))


def test_wrong_volume(mesh):
    volumes = mesh.volumes.copy()
    volumes[3] *= 1.001
    with pytest.raises(MeshError, match="volumes do not match"):
        check_mesh(replace(mesh, volumes=volumes))


def test_duplicated_element(mesh):
    inner = int(np.argmin(mesh.boundary[mesh.elements].sum(axis=1)))
    doubled = completed(mesh, np.vstack([mesh.elements, mesh.elements[inner : inner + 1]]))
    with pytest.raises(MeshError, match=r"facet \[.*\] is shared by [34] elements"):
        check_mesh(doubled)


def test_missing_element(mesh):
    inner = int(np.argmin(mesh.boundary[mesh.elements].sum(axis=1)))
    with pytest.raises(MeshError, match="boundary vertices"):
        check_mesh(replace(
            mesh,
            elements=np.delete(mesh.elements, inner, axis=0),
            volumes=np.delete(mesh.volumes, inner),
        ))  # fmt: skip


def hanging(mesh):
    """One element bisected without its neighbours: the new vertex hangs in their edges."""
    d = mesh.dim
    for e in np.argsort(-mesh.volumes):
        corners = mesh.elements[e]
        for a in range(d + 1):
            for b in range(a):
                ends = mesh.lattice[corners[[a, b]]]
                if mesh.boundary[corners].any() or (ends.sum(axis=0)[:d] % 2).any():
                    continue
                new = mesh.n_vertices
                halves = np.stack([corners, corners])
                halves[0, a] = halves[1, b] = new
                elements = np.vstack([np.delete(mesh.elements, e, axis=0), halves])
                return completed(mesh, elements, np.vstack([mesh.lattice, ends.sum(axis=0) // 2]))
    raise AssertionError("no element can be bisected")


def test_hanging_node(mesh):
    with pytest.raises(MeshError, match=f"vertex {mesh.n_vertices} hangs"):
        check_mesh(hanging(mesh))


def test_hanging_node_that_claims_to_be_inside(mesh):
    planted = hanging(mesh)
    inside = planted.boundary.copy()
    inside[-1] = False
    with pytest.raises(MeshError, match="boundary vertices"):
        check_mesh(replace(planted, boundary=inside))


def test_vertex_without_element(mesh):
    lattice = np.vstack([mesh.lattice, mesh.lattice.max(axis=0) + 1])
    with pytest.raises(MeshError, match=f"vertex {mesh.n_vertices} belongs to no element"):
        check_mesh(completed(mesh, mesh.elements, lattice))


class TwoBalls:
    """Two regions that do not touch."""

    def __init__(self, radius, gap, planar):
        self.parts = [Ball(radius, (s * gap, 0.0, 0.0), planar) for s in (-1, 1)]

    def contains(self, x):
        return self.parts[0].contains(x) | self.parts[1].contains(x)

    def touches(self, centre, radius):
        return self.parts[0].touches(centre, radius) | self.parts[1].touches(centre, radius)

    def bounds(self, crystal):
        (low, _), (_, high) = (p.bounds(crystal) for p in self.parts)
        return low, high

    def mesh_basis(self, crystal):
        return None

    def lattice_box(self, crystal, basis):
        return None


@pytest.mark.parametrize("crystal", CRYSTALS.values(), ids=CRYSTALS)
def test_orphan_part(crystal):
    nn = crystal.nearest_neighbour
    core = CoreSet(np.array([[-7 * nn, 0, 0], [7 * nn, 0, 0]]), planar=crystal.dim == 2)
    field = PowerGrading(core.distance, 20 * nn, nn, 1.6)
    mesh = graded_mesh(crystal, field, TwoBalls(3 * nn, 7 * nn, crystal.dim == 2))
    with pytest.raises(MeshError, match=r"falls into 2 parts: vertex \d+ belongs to an orphan"):
        check_mesh(mesh)


def test_poor_element(mesh):
    with pytest.raises(MeshError, match=r"element \d+ has quality 0\.\d+ < 0\.99"):
        check_mesh(mesh, min_quality=0.99)
