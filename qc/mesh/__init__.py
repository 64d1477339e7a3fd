"""Meshes whose vertices are lattice sites."""

from qc.mesh.build import best_basis, graded_mesh
from qc.mesh.region import Ball, CoreSet, LatticeBlock, Region
from qc.mesh.simplex_mesh import SimplexMesh, check_mesh
from qc.mesh.size import PowerGrading
from qc.mesh.surface import FreeSurface, LatticeSurface

__all__ = [
    "Ball",
    "CoreSet",
    "FreeSurface",
    "LatticeBlock",
    "LatticeSurface",
    "PowerGrading",
    "Region",
    "SimplexMesh",
    "best_basis",
    "check_mesh",
    "graded_mesh",
]
