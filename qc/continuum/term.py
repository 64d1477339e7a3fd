"""The continuum part of the energy: weighted energies of a material at quadrature points."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from qc.continuum import element_kernels
from qc.errors import InputError, InvertedElementError, NonFiniteError
from qc.farfield import FarField
from qc.materials import CauchyBorn
from qc.materials.bulk_expansion import LARGE, SMALL, TINY, BulkExpansion
from qc.materials.free_energy import FreeEnergyExpansion
from qc.materials.material import Material
from qc.materials.vibrating import Vibrating
from qc.mesh import Space
from qc.mesh.build import shape_gradients
from qc.mesh.simplex_mesh import SimplexMesh
from qc.numerics.threads import Lock, locked

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
    space : Space
    material : Material
    far_field : FarField
    weights : (n_e,) float64
        Element weights ``omega_e``; elements of zero weight are skipped.
    n_nodes : int
        Rows of the displacement array; the nodes of the space come first.
    sublattice_nodes : (n_v, n_s) int64, optional
        With a basis: the node of each sublattice at each vertex, that of sublattice 0 the vertex
        itself; -1 where a vertex carries no shifts of its own.

    Notes
    -----
    With a basis, a vertex stands for a primitive cell, and elements are spanned by the middles of
    cells: the displacement of a vertex is the mean over its sublattices where it carries them, and
    its own elsewhere. An element whose vertices all carry sublattices is integrated with one point
    at each vertex a, where the shifts are those of the vertex, ``p_s = p_s0 + U_as - U_a0 - G B_s``
    with the corrector's gradient G (a point in the middle would not see shifts that alternate
    between vertices). In all other elements the shifts are those of least energy, found for each
    quadrature point from its last ones. Middles of cells it must be: with the gradient of one
    sublattice the shifts of a smooth field would be right to first order only.

    Where a far field crosses an element with a cut, the element's reference edges are lattice
    vectors of the slipped crystal, so that elements in the wake of a dislocation are ordinary
    elements.

    Threads may share a term. A copy has shifts of its own to start from.
    """

    def __init__(
        self,
        space: Space,
        material: Material,
        far_field: FarField,
        weights: Array,
        n_nodes: int,
        sublattice_nodes: IntArray | None = None,
    ) -> None:
        self._lock = Lock()
        mesh = space.mesh
        self.space, self.mesh, self.n_nodes = space, mesh, n_nodes
        #: What elements are made of, and that with the vibrations which are not explicit.
        self.static = self.material = material
        self.active = np.nonzero(weights > 0)[0]
        self.weights = weights
        d = mesh.dim
        #: Corners of the active elements, and all their local degrees of freedom.
        self.elements = mesh.elements[self.active]
        self.connectivity = np.ascontiguousarray(space.connectivity[self.active])
        corner = mesh.positions[self.elements]
        volumes = mesh.volumes[self.active].copy()
        gradients = mesh.gradients[self.active].copy()
        if not far_field.is_homogeneous:
            edges, ratio = slipped_edges(corner, far_field, mesh.crystal.basis)
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
        self.corner_gradients, self.element_volumes = gradients, volumes
        self._place_points(volumes, far_field, sublattice_nodes)
        #: Gradients of the shape functions, and which of their rows each point has.
        self.gradients, self.point_row = gradients, self.point_element
        if space.varying.any() or space.expand is not None:
            self.gradients = np.ascontiguousarray(
                space.gradients(gradients[self.point_element], self._points)
            )
            self.point_row = np.arange(len(self.point_element))
        self.point_volume = volumes[self.point_element] * self._shares
        self.point_weight = weights[self.active][self.point_element] * self.point_volume
        #: Points in large elements, whose energy is a function of the strain alone.
        size = self.point_volume[self._condensed] / mesh.crystal.volume
        self._large = np.nonzero(size >= LARGE)[0]
        self._gather = sp.csr_matrix(
            (np.ones(len(self._shares)), (self.point_element, np.arange(len(self._shares)))),
            shape=(len(self.elements), len(self._shares)),
        )
        self._slaved = np.zeros(len(self._shares))
        self._expansion: BulkExpansion | None = None
        self._take_far_field(far_field)

    @locked
    def __copy__(self) -> ContinuumTerm:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._lock, other._shifts = Lock(), self._shifts.copy()
        return other

    def _place_points(
        self, volumes: Array, far_field: FarField, sublattice_nodes: IntArray | None
    ) -> None:
        """Choose the quadrature points of each element."""
        mesh, n, d = self.mesh, len(self.elements), self.mesh.dim
        nodal = np.zeros(n, dtype=bool)
        self._average: sp.csr_matrix | None = None
        if sublattice_nodes is not None and self.material.has_shifts:
            self._average = cell_average(sublattice_nodes, self.n_nodes)
            nodal = (sublattice_nodes[self.elements, -1] >= 0).all(axis=1)
        # A homogeneous predictor needs one point, and so does an element of a single lattice cell,
        # over which the atoms themselves average; larger ones in a curved predictor are integrated
        # to second order, as are those whose own gradient varies.
        unit = mesh.crystal.volume / math.factorial(d)
        curved = not far_field.is_homogeneous
        varying = self.space.varying[self.active]
        large = np.nonzero((((volumes > 1.5 * unit) & curved) | varying) & ~nodal)[0]
        own = np.nonzero(nodal)[0]
        small = np.setdiff1d(np.arange(n), np.concatenate([large, own]))
        (middle, _), (many, shares) = RULES[d, 1], RULES[d, 2]
        self.point_element = np.concatenate(
            [small, np.repeat(large, len(shares)), np.repeat(own, d + 1)]
        )
        self._points = np.concatenate(
            [
                np.tile(middle, (len(small), 1)),
                np.tile(many, (len(large), 1)),
                np.tile(middle, (len(own) * (d + 1), 1)),
            ]
        )
        self._shares = np.concatenate(
            [
                np.ones(len(small)),
                np.tile(shares, len(large)),
                np.full(len(own) * (d + 1), 1 / (d + 1)),
            ]
        )
        #: Points whose shifts are those of a vertex: their index, nodes and basis vectors.
        self._nodal = np.arange(len(self._shares) - len(own) * (d + 1), len(self._shares))
        vertex = self.elements[own].ravel()
        n_s = len(mesh.crystal.basis)
        self._point_nodes = np.zeros((0, n_s), dtype=np.int64)
        self._point_basis = np.zeros((0, n_s, 3))
        if len(vertex) and sublattice_nodes is not None:
            self._point_nodes = sublattice_nodes[vertex]
            self._point_basis = slipped_basis(mesh, far_field, vertex)

    def _take_far_field(self, far_field: FarField) -> None:
        mean = np.asarray(far_field.mean_deformation)
        own = self._nodal
        #: What the predictor strains the points beyond the mean deformation; None for nothing.
        self._beyond: Array | None = None
        if far_field.is_homogeneous:
            self.f0 = np.tile(mean, (len(self.point_element), 1, 1))
        else:
            corner = self.mesh.positions[self.elements][:, :, None] + self.mesh.crystal.basis
            flat = corner.reshape(-1, 3)
            y = (flat + far_field.displacement(flat)).reshape(corner.shape).mean(axis=2)
            at = np.einsum("qa,qac->qc", self._points, y[self.point_element])
            self.f0 = np.ascontiguousarray(np.eye(3) + far_field.gradient_at(at))
            self._beyond = self.f0 - mean
        self.shift0 = self.material.start(mean, self.f0)
        if len(own):
            x = self.mesh.positions[self._point_nodes[:, 0]]
            f = np.tile(mean, (len(x), 1, 1))
            if not far_field.is_homogeneous:
                f = np.eye(3) + far_field.gradient(x + self.mesh.crystal.basis.mean(axis=0))
            self.shift0[own] = self.material.start(mean, f)
        self._shifts = self.shift0.copy()
        self._mean = mean
        self._find_reference()

    def _find_reference(self) -> None:
        self._expansion = None
        #: Energy density of the strained bulk at every quadrature point, (n_q,).
        self.reference = self.material.bulk_energy(self._mean, len(self._shares))

    @locked
    def set_vibration(
        self,
        expansion: FreeEnergyExpansion | None,
        slaved: Array | None = None,
        temperature: Array | None = None,
    ) -> None:
        """Add the free energy of vibrations, ``omega_e v_e s_e f_vib(F_e, T) / Omega``.

        Parameters
        ----------
        expansion : FreeEnergyExpansion or None
            f_vib of the primitive cell; none takes it away.
        slaved : (n_e,) float64, optional
            Parts s_e of the elements' atoms whose vibration is not explicit; kept by default.
        temperature : (n_e,) float64, K, optional
            Of the elements; that of the expansion by default. Classical statistics only.
        """

        def at_points(values: Array) -> Array:
            return np.asarray(values, dtype=float)[self.active][self.point_element]

        if slaved is not None:
            self._slaved = at_points(slaved)
        self.material = self.static
        if expansion is not None:
            self.material = Vibrating(
                self.static,
                expansion,
                self.mesh.crystal.volume,
                self._slaved,
                None if temperature is None else at_points(temperature),
            )
        self._find_reference()

    def cells(self, u: Array) -> Array:
        """Displacements of the space's nodes, (n, 3): means over the sublattices they carry."""
        if self._average is None:
            return u[: self.space.n_nodes]
        return np.asarray(self._average @ u)

    def _corrector_gradient(self, u: Array) -> Array:
        """Gradient of the corrector at every quadrature point, (n_q, 3, 3)."""
        h = np.empty((len(self.point_element), 3, 3))
        local = np.ascontiguousarray(self.space.local(self.cells(u)), dtype=np.float64)
        element_kernels.point_gradients(
            local, self.connectivity, self.gradients, self.point_element, self.point_row, h
        )
        return h

    def deformation(self, u: Array) -> Array:
        """Deformation gradient at every quadrature point, (n_q, 3, 3)."""
        return self.f0 + self._corrector_gradient(u)

    def _checked(self, u: Array) -> tuple[Array, Array]:
        """Deformation gradients of the points and what the correctors add to them."""
        if not np.isfinite(u).all():
            node = int(np.nonzero(~np.isfinite(u).all(axis=1))[0][0])
            raise NonFiniteError(f"displacement of node {node} is not finite")
        h = self._corrector_gradient(u)
        f, det = np.empty_like(h), np.empty(len(h))
        element_kernels.deform(self.f0, h, det, f)
        bad = np.nonzero(~(det > 0.05))[0]
        if len(bad):
            element = int(self.active[self.point_element[bad[0]]])
            raise InvertedElementError(
                f"element {element} is inverted or flat in the current configuration "
                f"(det F = {det[bad[0]]:.3g})"
            )
        return f, h

    def _nodal_shifts(self, u: Array, h: Array) -> Array:
        """Change of the shifts at the points of vertices for displacements ``u``."""
        nodes = self._point_nodes
        relative = u[nodes] - u[nodes[:, :1]]
        return relative - np.einsum("qij,qsj->qsi", h[self._nodal], self._point_basis)

    @property
    def has_memory(self) -> bool:
        """Whether there are internal variables, which the next evaluation starts from."""
        return self.material.internal_shape is not None

    @property
    def _condensed(self) -> slice:
        return slice(0, len(self._shares) - len(self._nodal))

    @locked
    def shifts(self, u: Array) -> Array:
        """Return the points' internal variables, the shifts of a basis (n_q, n_s, 3) Angstrom."""
        if self.has_memory and len(self.active):
            self._response(u)
        return self._shifts.copy()

    @locked
    def set_shifts(self, shifts: Array) -> None:
        """Start the next relaxation of the shifts from these, (n_q, n_s, 3) Angstrom.

        Raises
        ------
        InputError
            Another number of quadrature points or sublattices, or a value that is not finite.
        """
        values = np.asarray(shifts, dtype=np.float64)
        if values.shape != self._shifts.shape or not np.isfinite(values).all():
            raise InputError(
                f"shifts must be finite and of shape {self._shifts.shape}, got {values.shape}"
            )
        self._shifts = values.copy()

    @property
    @locked
    def kept_shifts(self) -> Array:
        """Shifts that the next relaxation starts from, (n_q, n_s, 3) Angstrom."""
        return self._shifts.copy()

    def continue_from(self, other: ContinuumTerm) -> None:
        """Start the next relaxation of the shifts from where another term's are."""
        shifts = other.kept_shifts
        if shifts.shape == self._shifts.shape:
            self.set_shifts(shifts)

    def basis_displacement(self, u: Array, element: IntArray, sublattice: IntArray) -> Array:
        """Displacement of sublattices beyond that of the cell's middle and the predictor, (n, 3).

        ``G (B_s - B) + q_s - q`` with the corrector's gradient G and what the shifts of the
        element exceed the predictor's by; B and q are means over the sublattices.
        """
        place = np.full(len(self.mesh.elements), -1, dtype=np.int64)
        place[self.active] = np.arange(len(self.active))
        corners, gradients = self.mesh.elements[element], self.mesh.gradients[element]
        at = place[element]
        gradients = np.where(at[:, None, None] >= 0, self.corner_gradients[at], gradients)
        g = np.einsum("nai,naj->nij", self.cells(u)[corners], gradients)
        basis = self.mesh.crystal.basis - self.mesh.crystal.basis.mean(axis=0)
        out = np.einsum("nij,nj->ni", g, basis[sublattice])
        if self.material.has_shifts and len(self.active):
            more = self._sum_points(self._shares[:, None, None] * (self.shifts(u) - self.shift0))
            more -= more.mean(axis=1, keepdims=True)
            out += np.where(at[:, None] >= 0, more[at, sublattice], 0.0)
        return out

    @locked
    def _response(self, u: Array) -> tuple[Array, Array, Array, Array]:
        """Energy density, stress at fixed shifts, ``dW/dp`` at the points of vertices, strain.

        The strain is the deformation gradient less the mean one. The shifts found are kept: the
        next relaxation starts from them.
        """
        f, h = self._checked(u)
        w, stress, pull = self._found(f, h, u)
        if self._beyond is not None:
            h += self._beyond
        tiny = self._within(h, TINY)
        if len(tiny):
            stress[tiny] = self._bulk_expansion.stress(h[tiny], tiny)
        return w, stress, pull, h

    def _within(self, h: Array, limit: float) -> IntArray:
        """Points of large elements that are strained less than a limit."""
        part = h[self._large]
        return self._large[np.einsum("qij,qij->q", part, part) <= limit * limit]

    @property
    def _bulk_expansion(self) -> BulkExpansion:
        """Stress and moduli at the mean deformation, found when they are first needed."""
        if self._expansion is None:
            self._expansion = self.material.expansion(self._mean)
        return self._expansion

    def _excess(self, w: Array, stress: Array, h: Array) -> Array:
        """Energy density over that of the strained bulk, (n_q,), by `BulkExpansion` near it."""
        out = w - self.reference
        small = self._within(h, SMALL)
        if len(small):
            out[small] = self._bulk_expansion.excess(h[small], stress[small], small)
        return out

    def _found(self, f: Array, h: Array, u: Array) -> tuple[Array, Array, Array]:
        """Energy density, stress, and ``dW/dp`` at the points of vertices; keeps the shifts."""
        own, n_s = self._nodal, self._point_nodes.shape[1]
        if not len(own):
            found = self.material.response(f, self._shifts, points=slice(None))
            if found.internal is not None:
                self._shifts = found.internal
            return found.energy, found.stress, np.zeros((0, n_s, 3))
        w, stress = np.empty(len(f)), np.empty((len(f), 3, 3))
        part = self._condensed
        w[part], stress[part], _, self._shifts[part] = self.material.response(
            f[part], self._shifts[part], points=part
        )
        self._shifts[own] = self.shift0[own] + self._nodal_shifts(u, h)
        cell = self.material.at_shifts(f[own], self._shifts[own])
        volume = self.mesh.crystal.volume
        energy, pull = cell.energy / volume, cell.dF / volume
        self.material.add_rest(f[own], energy, pull, None, own)
        w[own], stress[own] = energy, pull
        return w, stress, cell.dp / volume

    def energy_density(self, u: Array) -> Array:
        """Energy density, that of vibrations included, at every quadrature point, (n_q,)."""
        return self._response(u)[0]

    def point_energies(self, u: Array) -> Array:
        """Weighted energy of each quadrature point relative to the strained bulk, (n_q,) eV."""
        w, stress, _, h = self._response(u)
        return self.point_weight * self._excess(w, stress, h)

    def round_off(self, u: Array) -> float:
        """Bound on the round-off of the energy, eV: of points whose energies are differences."""
        if not len(self.active):
            return 0.0
        w, _, _, h = self._response(u)
        size = self.point_weight * (np.abs(w) + np.abs(self.reference))
        size[self._within(h, SMALL)] = 0.0
        return float(np.finfo(float).eps * size.sum())

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
        w, stress, pull, h = self._response(u)
        self._scatter(stress, pull, out, -1.0)
        return self.point_weight * self._excess(w, stress, h), out

    def _scatter(self, stress: Array, pull: Array, out: Array, sign: float) -> None:
        """Add ``sign`` times what stresses and ``dW/dp`` do to the nodes."""
        own = self._nodal
        weighted = self.point_weight[:, None, None] * stress
        if len(own):
            pull = self.point_weight[own, None, None] * pull
            weighted[own] -= np.einsum("qsi,qsj->qij", pull, self._point_basis)
            pull[:, 0] = -pull[:, 1:].sum(axis=1)
            for c in range(3):
                out[:, c] += sign * np.bincount(
                    self._point_nodes.ravel(), pull[:, :, c].ravel(), minlength=self.n_nodes
                )
        n, expand = self.space.n_nodes, self.space.expand
        cells = out[:n] if self._average is None else np.zeros((n, 3))
        local = cells if expand is None else np.zeros((expand.shape[0], 3))
        element_kernels.add_forces(
            weighted, self.connectivity, self.gradients, self.point_element, self.point_row, sign,
            local,
        )  # fmt: skip
        if expand is not None:
            cells += self.space.nodal(local)
        if self._average is not None:
            out += self._average.T @ cells

    def _sum_points(self, values: Array) -> Array:
        """Sum over the quadrature points of each element."""
        shape = values.shape[1:]
        return np.asarray(self._gather @ values.reshape(len(values), -1)).reshape(-1, *shape)

    @locked
    def hessian_product(self, u: Array, du: Array) -> Array:
        """Second derivative times a displacement, (n_nodes, 3)."""
        out = np.zeros((self.n_nodes, 3))
        if not len(self.active):
            return out
        f, now = self._checked(u)
        part, own = self._condensed, self._nodal
        found = self.material.response(f[part], self._shifts[part], True, part)
        assert found.moduli is not None
        if found.internal is not None:
            self._shifts[part] = found.internal
        h = self._corrector_gradient(du)
        stress = np.empty((len(f), 3, 3))
        stress[part] = np.einsum("eijkl,ekl->eij", found.moduli, h[part])
        pull = np.zeros((len(own), self._point_nodes.shape[1], 3))
        if len(own):
            self._shifts[own] = self.shift0[own] + self._nodal_shifts(u, now)
            hessian = self.material.at_shifts(f[own], self._shifts[own], "full").hessian
            assert hessian is not None
            change = self._nodal_shifts(du, h)[:, 1:].reshape(len(own), -1)
            z = np.concatenate([h[own].reshape(-1, 9), change], axis=1)
            dz = np.einsum("qab,qb->qa", hessian, z) / self.mesh.crystal.volume
            stress[own] = dz[:, :9].reshape(-1, 3, 3)
            pull[:, 1:] = dz[:, 9:].reshape(len(own), -1, 3)
            n, rest = len(own), np.zeros((len(own), 3, 3, 3, 3))
            self.material.add_rest(f[own], np.zeros(n), np.zeros((n, 3, 3)), rest, own)
            stress[own] += np.einsum("eijkl,ekl->eij", rest, h[own])
        self._scatter(stress, pull, out, 1.0)
        return out

    def stress(self, u: Array) -> Array:
        """First Piola-Kirchhoff stress of each active element, (n_e, 3, 3) eV/Angstrom^3."""
        p = self._response(u)[1]
        return self._sum_points(self._shares[:, None, None] * p)


def starting_shifts(rule: CauchyBorn, far_field: FarField, x: Array) -> Array:
    """Sublattice shifts of a predictor at cells whose sublattice 0 is at ``x``, (n, n_s, 3)."""
    mean = np.asarray(far_field.mean_deformation)
    if not rule.has_shifts or far_field.is_homogeneous or not len(x):
        return np.repeat(rule.predictor_shifts(mean)[None], len(x), axis=0)
    f = np.eye(3) + far_field.gradient(x + rule.crystal.basis.mean(axis=0))
    return rule.predictor_shifts(mean, f)


def slipped_basis(mesh: SimplexMesh, far_field: FarField, vertex: IntArray) -> Array:
    """Basis vectors at vertices in the slipped crystal, (n, n_s, 3) Angstrom.

    Where a cut passes between the sublattices of one cell, they are a lattice vector further
    apart than in the perfect crystal, as the ends of an edge that crosses it are.
    """
    basis = mesh.crystal.basis
    out = np.broadcast_to(basis, (len(vertex), *basis.shape)).copy()
    if far_field.is_homogeneous:
        return out
    unique, inverse = np.unique(vertex, return_inverse=True)
    x = mesh.positions[unique]
    for s in range(1, len(basis)):
        out[:, s] += far_field.slip(x, x + basis[s])[inverse.ravel()]
    return out


def cell_average(sublattice_nodes: IntArray, n_nodes: int) -> sp.csr_matrix:
    """Return the mean over each vertex's sublattices as a matrix, (n_v, n_nodes)."""
    vertex, s = np.nonzero(sublattice_nodes >= 0)
    counts = np.bincount(vertex)
    node = sublattice_nodes[vertex, s]
    return sp.csr_matrix((1.0 / counts[vertex], (vertex, node)), (len(counts), n_nodes))


def slipped_edges(
    corners: Array, far_field: FarField, basis: Array | None = None
) -> tuple[Array, Array]:
    """Return the reference edges of elements in the slipped crystal.

    Parameters
    ----------
    corners : (n_e, d + 1, 3) float64, Angstrom
    far_field : FarField
    basis : (n_s, 3) float64, Angstrom, optional
        Sublattices of the cells at the corners; the slip of an edge is the mean over them.

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
    end = corners[:, 1:].reshape(-1, 3)
    sites = np.zeros((1, 3)) if basis is None else basis
    slips = [far_field.slip(start + b, end + b) for b in sites]
    slip = np.mean(slips, axis=0).reshape(-1, d, 3)
    ratio = np.full(len(corners), np.nan)
    cut = np.nonzero(np.abs(slip).max(axis=(1, 2), initial=0.0) > 0)[0]
    old = np.linalg.det(edges[cut, 1:, :d])
    edges[cut, 1:] += slip[cut]
    ratio[cut] = np.linalg.det(edges[cut, 1:, :d]) / old
    return edges, ratio
