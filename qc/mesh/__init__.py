"""Meshes whose vertices are lattice sites."""

from qc.mesh.build import best_basis, graded_mesh
from qc.mesh.region import Ball, CoreSet, LatticeBlock, Region
from qc.mesh.simplex_mesh import SimplexMesh, check_mesh
from qc.mesh.size import PowerGrading

__all__ = [
    "Ball",
    "CoreSet",
    "LatticeBlock",
    "PowerGrading",
    "Region",
    "SimplexMesh",
    "best_basis",
    "check_mesh",
    "graded_mesh",
]
