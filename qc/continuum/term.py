"""The continuum part of the energy: weighted Cauchy-Born energies at quadrature points."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from qc.continuum.cauchy_born import CauchyBorn
from qc.errors import InvertedElementError, NonFiniteError
from qc.mesh.build import shape_gradients
from qc.mesh.simplex_mesh import SimplexMesh

if TYPE_CHECKING:
    from qc.loads import FarField

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Quadrature on a simplex: barycentric points and weights, exact for polynomials of degree 1 or 2.
#: Source: A. H. Stroud, Approximate Calculation of Multiple Integrals (1971), T_n: 1-1 and 2-1.
RULES: dict[tuple[int, int], tuple[Array, Array]] = {
    (2, 1): (np.full((1, 3), 1 / 3), np.ones(1)),
    (3, 1): (np.full((1, 4), 1 / 4), np.ones(1)),
    (2, 2): (np.full((3, 3), 1 / 6) + 0.5 * np.eye(3), np.full(3, 1 / 3)),
    (3, 2): (
        np.full((4, 4), (5 - math.sqrt(5)) / 20) + math.sqrt(5) / 5 * np.eye(4),
        np.full(4, 1 / 4),
    ),
}


class ContinuumTerm:
    """``sum_e omega_e v_e [W(F_e) - W_reference]``, ``F_e = F0(x_q) + sum_a U_a (x) grad phi_a``.

    Parameters
    ----------
    mesh : SimplexMesh
    rule : CauchyBorn
    far_field : FarField
    weights : (n_e,) float64
        Element weights ``omega_e``; elements of zero weight are skipped.
    n_nodes : int
        Rows of the displacement array; vertices come first.

    Notes
    -----
    Where a far field crosses an element with a cut, the element's reference edges are lattice
    vectors of the slipped crystal, so that elements in the wake of a dislocation are ordinary
    elements.
    """

    def __init__(
        self,
        mesh: SimplexMesh,
        rule: CauchyBorn,
        far_field: FarField,
        weights: Array,
        n_nodes: int,
    ) -> None:
        self.mesh, self.rule, self.n_nodes = mesh, rule, n_nodes
        self.active = np.nonzero(weights > 0)[0]
        self.weights = weights
        d = mesh.dim
        elements = mesh.elements[self.active]
        self.elements = elements
        corner = mesh.positions[elements]
        volumes = mesh.volumes[self.active].copy()
        gradients = mesh.gradients[self.active].copy()
        if not getattr(far_field, "is_homogeneous", False):
            edges, ratio = slipped_edges(corner, far_field)
            cut = np.nonzero(~np.isnan(ratio))[0]
            flat_ones = cut[ratio[cut] < 0.05]
            if len(flat_ones):
                # Only around a core do slipped edges fail to close; a coarse element there
                # is a region that is too small.
                which = int(self.active[flat_ones[0]])
                raise InvertedElementError(
                    f"element {which} is flat or inverted in the slipped crystal: it is cut "
                    "too close to a dislocation core; enlarge the core"
                )
            volumes[cut] *= ratio[cut]
            gradients[cut] = shape_gradients(edges[cut], d)
        self.gradients, self.element_volumes = gradients, volumes
        # A homogeneous predictor needs one point, and so does an element of a single lattice cell,
        # over which the atoms themselves average; larger ones in a curved predictor are integrated
        # to second order.
        unit = mesh.crystal.volume / math.factorial(d)
        curved = not getattr(far_field, "is_homogeneous", False)
        large = np.nonzero((volumes > 1.5 * unit) & curved)[0]
        small = np.setdiff1d(np.arange(len(elements)), large)
        one, many = RULES[d, 1], RULES[d, 2]
        nq = len(many[1])
        self.point_element = np.concatenate([small, np.repeat(large, nq)])
        self._points = np.concatenate(
            [np.tile(one[0], (len(small), 1)), np.tile(many[0], (len(large), 1))]
        )
        self._shares = np.concatenate([np.ones(len(small)), np.tile(many[1], len(large))])
        self.point_volume = volumes[self.point_element] * self._shares
        self.point_weight = weights[self.active][self.point_element] * self.point_volume
        self._gather = sp.csr_matrix(
            (np.ones(len(self._shares)), (self.point_element, np.arange(len(self._shares)))),
            shape=(len(elements), len(self._shares)),
        )
        self.set_far_field(far_field)

    def set_far_field(self, far_field: FarField) -> None:
        """Take the deformation of a new predictor with the same cuts (a load step)."""
        if getattr(far_field, "is_homogeneous", False):
            mean = np.asarray(far_field.mean_deformation)
            self.f0 = np.broadcast_to(mean, (len(self.point_element), 3, 3))
        else:
            corner = self.mesh.positions[self.elements]
            flat = corner.reshape(-1, 3)
            y = (flat + far_field.displacement(flat)).reshape(corner.shape)
            at = np.einsum("qa,qac->qc", self._points, y[self.point_element])
            self.f0 = np.eye(3) + far_field.gradient_at(at)
        mean = np.asarray(far_field.mean_deformation)[None]
        self.reference = float(self.rule.evaluate(mean)[0][0])

    def deformation(self, u: Array) -> Array:
        """Deformation gradient at every quadrature point, (n_q, 3, 3)."""
        h = np.einsum("eai,eaj->eij", u[self.elements], self.gradients)
        return self.f0 + h[self.point_element]

    def _checked(self, u: Array) -> Array:
        if not np.isfinite(u).all():
            node = int(np.nonzero(~np.isfinite(u).all(axis=1))[0][0])
            raise NonFiniteError(f"displacement of node {node} is not finite")
        f = self.deformation(u)
        det = np.einsum("ni,ni->n", f[:, 0], np.cross(f[:, 1], f[:, 2]))
        bad = np.nonzero(~(det > 0.05))[0]
        if len(bad):
            element = int(self.active[self.point_element[bad[0]]])
            raise InvertedElementError(
                f"element {element} is inverted or flat in the current configuration "
                f"(det F = {det[bad[0]]:.3g})"
            )
        return f

    def point_energies(self, u: Array) -> Array:
        """Weighted energy of each quadrature point relative to the strained bulk, (n_q,) eV."""
        w = self.rule.evaluate(self._checked(u))[0]
        return self.point_weight * (w - self.reference)

    def energy(self, u: Array) -> float:
        """Energy relative to the homogeneously strained bulk, eV."""
        return math.fsum(self.point_energies(u)) if len(self.active) else 0.0

    def forces(self, u: Array) -> Array:
        """``-dE/dU``, (n_nodes, 3) eV/Angstrom."""
        return self.energy_forces(u)[1]

    def energy_forces(self, u: Array) -> tuple[Array, Array]:
        """Point energies (n_q,) and nodal forces (n_nodes, 3) in one evaluation."""
        out = np.zeros((self.n_nodes, 3))
        if not len(self.active):
            return np.zeros(0), out
        w, stress, _ = self.rule.evaluate(self._checked(u))
        self._scatter(stress, out)
        return self.point_weight * (w - self.reference), out

    def _scatter(self, stress: Array, out: Array) -> None:
        weighted = self._sum_points(self.point_weight[:, None, None] * stress)
        nodal = -np.einsum("eij,eaj->eai", weighted, self.gradients)
        for c in range(3):
            out[:, c] += np.bincount(
                self.elements.ravel(), nodal[:, :, c].ravel(), minlength=self.n_nodes
            )

    def tangent(self, u: Array) -> Array:
        """Weighted tangent of each active element, (n_e, 3, 3, 3, 3) eV."""
        moduli = self.rule.evaluate(self._checked(u), tangent=True)[2]
        assert moduli is not None
        return self._sum_points(self.point_weight[:, None, None, None, None] * moduli)

    def _sum_points(self, values: Array) -> Array:
        """Sum over the quadrature points of each element."""
        shape = values.shape[1:]
        return np.asarray(self._gather @ values.reshape(len(values), -1)).reshape(-1, *shape)

    def hessian_product(self, u: Array, du: Array, tangent: Array | None = None) -> Array:
        """Second derivative times a displacement, (n_nodes, 3)."""
        out = np.zeros((self.n_nodes, 3))
        if not len(self.active):
            return out
        if tangent is None:
            tangent = self.tangent(u)
        h = np.einsum("eai,eaj->eij", du[self.elements], self.gradients)
        stress = np.einsum("eijkl,ekl->eij", tangent, h)
        nodal = np.einsum("eij,eaj->eai", stress, self.gradients)
        for c in range(3):
            out[:, c] += np.bincount(
                self.elements.ravel(), nodal[:, :, c].ravel(), minlength=self.n_nodes
            )
        return out

    def stress(self, u: Array) -> Array:
        """First Piola-Kirchhoff stress of each active element, (n_e, 3, 3) eV/Angstrom^3."""
        p = self.rule.evaluate(self._checked(u))[1]
        return self._sum_points(self._shares[:, None, None] * p)


def slipped_edges(corners: Array, far_field: FarField) -> tuple[Array, Array]:
    """Return the reference edges of elements in the slipped crystal.

    Parameters
    ----------
    corners : (n_e, d + 1, 3) float64, Angstrom
    far_field : FarField

    Returns
    -------
    edges : (n_e, d + 1, 3) float64, Angstrom
        From the first corner, extended by the slip of the cuts they cross.
    ratio : (n_e,) float64
        Volume over that of the unslipped element; NaN where no cut is crossed.
    """
    d = corners.shape[1] - 1
    edges = corners - corners[:, :1]
    start = np.repeat(corners[:, :1], d, axis=1).reshape(-1, 3)
    slip = far_field.slip(start, corners[:, 1:].reshape(-1, 3)).reshape(-1, d, 3)
    ratio = np.full(len(corners), np.nan)
    cut = np.nonzero(np.abs(slip).max(axis=(1, 2), initial=0.0) > 0)[0]
    old = np.linalg.det(edges[cut, 1:, :d])
    edges[cut, 1:] += slip[cut]
    ratio[cut] = np.linalg.det(edges[cut, 1:, :d]) / old
    return edges, ratio


def stiffness_matrix(mesh: SimplexMesh, moduli: Array, n_nodes: int) -> sp.csr_matrix:
    """Assemble the P1 stiffness of a mesh for uniform moduli.

    Parameters
    ----------
    mesh : SimplexMesh
    moduli : (3, 3, 3, 3) float64, eV/Angstrom^3
    n_nodes : int
        Rows; those beyond the vertices stay empty.

    Returns
    -------
    (3 n_nodes, 3 n_nodes) csr_matrix, eV/Angstrom^2
    """
    ne, corners = mesh.elements.shape
    g = mesh.gradients
    local = np.einsum("e,eaj,ijkl,ebl->eaibk", mesh.volumes, g, moduli, g, optimize=True)
    dof = (3 * mesh.elements[:, :, None] + np.arange(3)).reshape(ne, -1)
    size = 3 * corners
    rows = np.repeat(dof, size, axis=1).ravel()
    cols = np.tile(dof, (1, size)).ravel()
    shape = (3 * n_nodes, 3 * n_nodes)
    return sp.coo_matrix((local.reshape(ne, -1).ravel(), (rows, cols)), shape=shape).tocsr()
