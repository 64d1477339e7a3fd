"""A model at temperature: which vibrations are explicit, and the free energy of the others.

An element's atoms are partly nodes, which vibrate, and partly slaved to them; the vibrations of
these are integrated out and enter as a free energy:

    W_e = W(F) + s_e f_vib(F, T) / Omega,     s_e = 1 - (nodes of e) / (atoms of e)

The atoms of an element are ``v_e / Omega_site``. Its nodes are counted like the sites of a crystal
in a cell: a vertex belongs to the elements around it in the ratio of their solid angles, measured
in the coordinates of the mesh, in which lattice cells are cubes. Every simplex of a fully refined
mesh is then 1/d! of a cube with exactly 1/d! of a node, so that s_e = 0 there, whatever the number
of simplices at a vertex, and s_e counts the sites inside any coarser element that are no nodes.
The sum is exact: slaved atoms plus nodes are all sites.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.coupling.layout import Layout
from qc.crystal import Crystal
from qc.errors import InputError, suggest
from qc.farfield import HomogeneousStrain
from qc.materials.free_energy import FreeEnergyExpansion, expand_free_energy
from qc.materials.thermal_lattice import ThermalLattice, thermal_lattice
from qc.materials.vibration import MODELS, LatticeVibrations
from qc.numerics.checks import not_negative, numbers
from qc.potentials import Potential

Array = NDArray[np.float64]

#: Takes positions of nodes (n, 3) and says which follow the minimum of the free energy, (n,) bool.
QuasiStatic = Callable[[Array], NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Thermal:
    """Temperature of a model and what it takes from it.

    Attributes
    ----------
    temperature : float, K
    vibrations : {"quasi-harmonic", "local"} or None
        Model of the vibrations that are not explicit; None leaves them out.
    deformation : (3, 3) float64
        F_T, from the reference crystal to the lattice at temperature.
    expansion : FreeEnergyExpansion or None
        The free energy of vibrations as elements take it.
    lattice : ThermalLattice or None
        The defect-free crystal at temperature, unless its deformation was given.
    quasi_static : callable or None
        Nodes that do not vibrate but follow the minimum of the free energy; see `QuasiStatic`.
    """

    temperature: float
    vibrations: str | None
    deformation: Array
    expansion: FreeEnergyExpansion | None
    lattice: ThermalLattice | None
    quasi_static: QuasiStatic | None = None


def make_thermal(
    crystal: Crystal,
    potential: Potential,
    temperature: float,
    vibrations: str | None = "quasi-harmonic",
    *,
    deformation: ArrayLike | None = None,
    quasi_static: QuasiStatic | None = None,
) -> Thermal:
    """Find the lattice at a temperature and expand its vibrational free energy.

    Parameters
    ----------
    crystal : Crystal
    potential : Potential
    temperature : float, K
    vibrations : {"quasi-harmonic", "local"} or None
    deformation : float or (3, 3) array_like, optional
        The lattice at temperature as it is known otherwise, say from molecular dynamics, as a
        deformation gradient or one stretch in all directions. The free energy is then balanced to
        leave it without stress, see `FreeEnergyExpansion.balanced`.
    quasi_static : callable, optional

    Raises
    ------
    InputError
        A temperature that is negative or not finite, unknown vibrations, or a deformation that is
        none.
    CapabilityError, ConvergenceError
        As `qc.materials.thermal_lattice`.
    """
    t = not_negative("temperature", temperature)
    if vibrations is not None and vibrations not in MODELS:
        raise InputError(
            f"vibrations: '{vibrations}' is none of {', '.join(MODELS)}, None"
            f"{suggest(str(vibrations), MODELS)}"
        )
    if deformation is not None:
        given = _deformation(crystal, deformation)
        expansion = None
        if vibrations is not None:
            model = LatticeVibrations(crystal, potential, vibrations)  # type: ignore[arg-type]
            expansion = expand_free_energy(model, given, t).balanced(model.rule)
        return Thermal(t, vibrations, given, expansion, None, quasi_static)
    if vibrations is None:
        return Thermal(t, None, np.eye(3), None, None, quasi_static)
    lattice = thermal_lattice(crystal, potential, t, vibrations, order=3)  # type: ignore[arg-type]
    return Thermal(t, vibrations, lattice.deformation, lattice.expansion, lattice, quasi_static)


def _deformation(crystal: Crystal, given: ArrayLike) -> Array:
    values = numbers("thermal deformation", given)
    if values.ndim == 0:
        d = crystal.dim_lattice
        values = np.diag([float(values)] * d + [1.0] * (3 - d))
    return np.array(HomogeneousStrain(values).mean_deformation)


def vibrating(layout: Layout, quasi_static: QuasiStatic | None = None) -> NDArray[np.bool_]:
    """Return which components of the nodes vibrate, (n_nodes, 3): free ones, not quasi-static.

    Raises
    ------
    InputError
        ``quasi_static`` does not return one boolean for each node.
    """
    moving = layout.free.copy()
    if quasi_static is not None:
        still = np.asarray(quasi_static(layout.node_positions))
        if still.shape != (layout.n_nodes,) or still.dtype != bool:
            raise InputError(
                f"quasi_static must return {layout.n_nodes} booleans, one for each node"
            )
        moving[still] = False
    return moving


def slaved_fractions(layout: Layout, quasi_static: QuasiStatic | None = None) -> Array:
    """Return the part s_e of each element's atoms whose vibration is not explicit, (n_e,).

    Parameters
    ----------
    layout : Layout
    quasi_static : callable, optional
        Nodes that do not vibrate. Held nodes never do.

    Returns
    -------
    (n_e,) float64
        Between 0, where every site is a node, and 1. Where a vertex stands for a cell of n_s
        sites it counts for one of them.

    Raises
    ------
    InputError
        ``quasi_static`` does not return one boolean for each node.
    """
    mesh = layout.mesh
    crystal = mesh.crystal
    moving = vibrating(layout, quasi_static)
    components = crystal.dim_lattice
    explicit = np.zeros(mesh.n_vertices)
    for nodes in layout.sublattice_nodes.T:
        has = nodes >= 0
        explicit[has] += moving[nodes[has]].sum(axis=1)
    explicit /= components * crystal.n_sublattices
    inverse = np.rint(np.linalg.inv(mesh.basis)).astype(np.int64)
    corners = (mesh.lattice[:, : mesh.dim] @ inverse)[mesh.elements].astype(float)
    nodes = (solid_angles(corners) * explicit[mesh.elements]).sum(axis=1)
    slaved = 1.0 - nodes / (mesh.volumes / crystal.volume)
    # Round-off in fully refined elements is nothing to evaluate a free energy for.
    return np.where(slaved > 1e-9, np.minimum(slaved, 1.0), 0.0)


def solid_angles(corners: Array) -> Array:
    """Return the angles at the corners of simplices as parts of the full angle, (n, d + 1).

    Parameters
    ----------
    corners : (n, d + 1, d) float64

    Source: A. van Oosterom & J. Strackee, IEEE Trans. Biomed. Eng. 30 (1983) 125.
    """
    n, count, d = corners.shape
    out = np.empty((n, count))
    for k in range(count):
        edges = np.delete(corners, k, axis=1) - corners[:, k : k + 1]
        length = np.linalg.norm(edges, axis=2)
        volume = np.abs(np.linalg.det(edges))
        if d == 2:
            along = np.einsum("ni,ni->n", edges[:, 0], edges[:, 1])
            out[:, k] = np.arctan2(volume, along) / (2.0 * math.pi)
            continue
        a, b, c = length.T
        ab, ac, bc = (
            np.einsum("ni,ni->n", edges[:, i], edges[:, j]) for i, j in ((0, 1), (0, 2), (1, 2))
        )
        out[:, k] = np.arctan2(volume, a * b * c + ab * c + ac * b + bc * a) / (2.0 * math.pi)
    return out
