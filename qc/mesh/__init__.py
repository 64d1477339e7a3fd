"""Meshes whose vertices are lattice sites."""

from qc.mesh.build import best_basis, graded_mesh
from qc.mesh.elements import ELEMENTS, Element, get_element
from qc.mesh.region import Ball, CoreSet, LatticeBlock, Region
from qc.mesh.simplex_mesh import SimplexMesh, check_mesh
from qc.mesh.size import PowerGrading
from qc.mesh.space import Space
from qc.mesh.surface import FreeSurface, LatticeSurface

__all__ = [
    "ELEMENTS",
    "Ball",
    "CoreSet",
    "Element",
    "FreeSurface",
    "LatticeBlock",
    "LatticeSurface",
    "PowerGrading",
    "Region",
    "SimplexMesh",
    "Space",
    "best_basis",
    "check_mesh",
    "get_element",
    "graded_mesh",
]
