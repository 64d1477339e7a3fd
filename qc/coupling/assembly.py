"""From a specification to mesh, blend and patch of atoms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qc.coupling.blend import Blend
from qc.coupling.layout import Layout, build_layout, nearest_pair
from qc.coupling.point_defects import PointDefects
from qc.coupling.regions import (
    core_centres,
    cuts,
    default_core,
    outer_region,
    refuse_giants,
    require_inside,
)
from qc.coupling.schemes import get_scheme
from qc.coupling.spec import CompleteSpec, ModelSpec
from qc.errors import InputError, RegionError
from qc.farfield import HomogeneousStrain
from qc.materials.thermal import Thermal, make_thermal
from qc.mesh import CoreSet, PowerGrading, Space, graded_mesh

Array = NDArray[np.float64]


def thermal_of(spec: ModelSpec) -> Thermal | None:
    """Find the lattice and the free energy at a specification's temperature, if it has one."""
    if spec.temperature is None:
        return None
    return make_thermal(
        spec.crystal,
        spec.potential,
        spec.temperature,
        spec.vibrations,
        deformation=spec.thermal_deformation,
        quasi_static=spec.quasi_static,
    )


def completed(spec: ModelSpec, thermal: Thermal | None) -> CompleteSpec:
    """Return a specification with what was left open decided: predictor, centres, regions.

    Raises
    ------
    RegionError
        The core, blend or outer region is thinner than the potential needs.
    """
    crystal, scheme, reach = spec.crystal, get_scheme(spec.scheme), spec.potential.cutoff
    far_field, defects = spec.far_field, spec.defects
    if far_field is None:
        far_field = HomogeneousStrain(None if thermal is None else thermal.deformation)
    if defects is None:
        defects = PointDefects()
    points = CoreSet(core_centres(crystal, far_field, defects, spec.centres)).points
    core = default_core(crystal, reach) if spec.core is None else spec.core
    blend = core if spec.blend is None else spec.blend
    defective = bool(defects) or not far_field.is_homogeneous
    if defective and scheme.atoms == "core" and core < reach:
        raise RegionError(
            f"core radius {core:.3f} Angstrom is thinner than the potential's cutoff: the "
            f"minimum around a defect is {reach:.3f} Angstrom"
        )
    if blend < 2.0 * crystal.nearest_neighbour:
        raise RegionError(
            f"blend of {blend:.3f} Angstrom is too thin: the minimum is two nearest-neighbour "
            f"distances, {2.0 * crystal.nearest_neighbour:.3f} Angstrom"
        )
    outer = outer_region(crystal, spec.outer, points, 10.0 * core, crystal.dim == 2)
    decided = {
        "far_field": far_field, "defects": defects, "centres": points, "core": core,
        "blend": blend, "outer": outer,
    }  # fmt: skip
    return CompleteSpec(**(vars(spec) | decided))


def lay_out(spec: CompleteSpec) -> Layout:
    """Mesh a completed specification and lay its patch of atoms over the mesh.

    Raises
    ------
    RegionError, MeshError, InputError
        Regions that do not fit each other or the defects.
    """
    crystal, potential, scheme = spec.crystal, spec.potential, spec.scheme
    far_field, defects, reach = spec.far_field, spec.defects, spec.potential.cutoff
    planar = crystal.dim == 2
    points = spec.centres
    function = Blend(CoreSet(points, planar=planar), spec.core, spec.blend)
    everything = scheme.atoms == "everywhere"
    size_field = PowerGrading(
        function.centres.distance,
        full=1e12 if everything else function.outer,
        spacing=crystal.nearest_neighbour,
        exponent=(1.5 if planar else 1.25) if spec.grading is None else spec.grading,
        largest=spec.largest,
    )
    patch = {"everywhere": np.inf, "nowhere": 0.0, "core": function.outer + 1.2 * reach}
    refuse_giants(crystal, size_field, spec.outer, points, patch[scheme.atoms], reach)
    glide, distorted = cuts(far_field, crystal.basis)
    mesh = graded_mesh(
        crystal, size_field, spec.outer, along=glide, refine=distorted, boundary=spec.boundary
    )
    patch_reach = 0.0
    if everything:
        if defects:
            require_inside(mesh, points)
        inner = mesh.positions[~mesh.held]
        if not len(inner):
            raise RegionError("the outer region holds no free site; enlarge it")
        # Every site that a free one can pull on has a full site energy; a rim carries neighbours
        # only.
        inner = (inner[:, None] + crystal.basis).reshape(-1, 3)
        function = Blend(CoreSet(inner, planar=planar), 1.1 * reach, 0.1 * reach)
        patch_reach = 2.4 * reach
    elif scheme.atoms == "nowhere":
        if defects:
            raise InputError(f"scheme '{scheme.name}' has no atoms and cannot hold a point defect")
    else:
        require_inside(mesh, points, function.outer)
        blended_forces = scheme.blends_forces or scheme.ghost == "self-consistent"
        curved = not far_field.is_homogeneous or mesh.hull.ends
        pure = blended_forces or (scheme.ghost == "predictor" and curved)
        # A cell's weight is that of all its sites.
        span = float(np.linalg.norm(crystal.basis, axis=1).max())
        patch_reach = function.outer + span + (2.4 if pure else 1.2) * reach
    layout = build_layout(Space(mesh, spec.order), function, potential, defects, patch_reach)
    if nearest_pair(layout.positions[~layout.vacant]) < 1e-3:
        raise InputError("an extra atom coincides with a lattice site")
    return layout
