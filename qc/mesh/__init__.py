"""Meshes whose vertices are lattice sites."""

from qc.mesh.boundaries import Boundary, Face, FreeSurface, Held, Hull, Periodic, Traction
from qc.mesh.build import best_basis, graded_mesh
from qc.mesh.elements import ELEMENTS, Element, get_element
from qc.mesh.region import Ball, CoreSet, LatticeBlock, Region
from qc.mesh.simplex_mesh import SimplexMesh, check_mesh
from qc.mesh.size import PowerGrading
from qc.mesh.space import Space

__all__ = [
    "ELEMENTS",
    "Ball",
    "Boundary",
    "CoreSet",
    "Element",
    "Face",
    "FreeSurface",
    "Held",
    "Hull",
    "LatticeBlock",
    "Periodic",
    "PowerGrading",
    "Region",
    "SimplexMesh",
    "Space",
    "Traction",
    "best_basis",
    "check_mesh",
    "get_element",
    "graded_mesh",
]
