"""Stiffness of the uniform crystal on a mesh, for preconditioners."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from qc.continuum.term import RULES, cell_average
from qc.materials.cauchy_born import schur_complement
from qc.materials.material import Material
from qc.mesh import SimplexMesh, Space

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Elements with sublattice nodes assembled at once, so that memory stays bounded.
CHUNK = 20_000


def stiffness_matrix(space: Space, moduli: Array, n_nodes: int) -> sp.csr_matrix:
    """Assemble the stiffness of a space for uniform moduli.

    Parameters
    ----------
    space : Space
    moduli : (3, 3, 3, 3) float64, eV/Angstrom^3
    n_nodes : int
        Rows; those beyond the space's nodes stay empty.

    Returns
    -------
    (3 n_nodes, 3 n_nodes) csr_matrix, eV/Angstrom^2
    """
    mesh = space.mesh
    if not space.varying.any():
        return _assembled(mesh.elements, _p1(mesh, moduli, slice(None)), n_nodes)
    even, varying = np.nonzero(~space.varying)[0], np.nonzero(space.varying)[0]
    size = space.n_nodes if space.expand is None else space.expand.shape[0]
    local = _assembled(mesh.elements[even], _p1(mesh, moduli, even), size)
    points, shares = RULES[mesh.dim, 2]
    for barycentric, share in zip(points, shares, strict=True):
        at = np.broadcast_to(barycentric, (len(varying), len(barycentric)))
        g = space.gradients(mesh.gradients[varying], at)
        blocks = _blocks(g, share * mesh.volumes[varying], moduli)
        local = local + _assembled(space.connectivity[varying], blocks, size)
    spread = sp.identity(size, format="csr") if space.expand is None else space.expand
    spread = sp.kron(spread, sp.identity(3), format="csr")
    k = (spread.T @ local @ spread).tocsr()
    k.resize((3 * n_nodes, 3 * n_nodes))
    return k


def crystal_stiffness(
    space: Space, material: Material, mean: Array, sublattice_nodes: IntArray, n_nodes: int
) -> sp.csr_matrix:
    """Assemble the stiffness of the uniform crystal with the sublattices' nodes, if it has any.

    Where vertices carry their sublattices, the energy is that of relaxed shifts plus what it
    costs to move the shifts from there, ``(p - T F) E_pp (p - T F) / 2`` with
    ``T = -E_pp^-1 E_pF``, once for each vertex.

    Parameters
    ----------
    space : Space
    material : Material
    mean : (3, 3) float64
        Deformation gradient of the uniform crystal.
    sublattice_nodes : (n_v, n_s) int64
    n_nodes : int

    Returns
    -------
    (3 n_nodes, 3 n_nodes) csr_matrix, eV/Angstrom^2
    """
    mesh, shifts = space.mesh, material.start(mean, mean[None])
    if not material.has_shifts:
        found = material.response(mean[None], shifts, tangent=True).moduli
        assert found is not None
        return stiffness_matrix(space, found[0], n_nodes)
    hessian = material.at_shifts(mean[None], shifts, "full").hessian
    assert hessian is not None
    hessian = hessian[0] / mesh.crystal.volume
    moduli = schur_complement(hessian[None])[0].reshape(3, 3, 3, 3)
    nodal = (sublattice_nodes[mesh.elements, -1] >= 0).all(axis=1)
    rest, own = np.nonzero(~nodal)[0], np.nonzero(nodal)[0]
    cells = _assembled(mesh.elements[rest], _p1(mesh, moduli, rest), mesh.n_vertices)
    average = sp.kron(cell_average(sublattice_nodes, n_nodes), sp.identity(3), format="csr")
    total = (average.T @ cells @ average).tocsr()
    if not len(own):
        return total
    corners = mesh.elements.shape[1]
    lumps = np.bincount(
        mesh.elements[own].ravel(), np.repeat(mesh.volumes[own] / corners, corners), mesh.n_vertices
    )
    share = mesh.crystal.volume / np.maximum(lumps, 1e-300)
    springs = hessian.copy()
    springs[:9, :9] -= moduli.reshape(9, 9)
    # Every sublattice carries its share of the elasticity: long waves, in which all move alike,
    # meet the same stiffness, short ones no preferred sublattice.
    for s in range(len(mesh.crystal.basis)):
        nodes = sublattice_nodes[mesh.elements[own], s]
        total = total + _assembled(nodes, _p1(mesh, moduli, own) / len(mesh.crystal.basis), n_nodes)
    for first in range(0, len(own), CHUNK):
        part = own[first : first + CHUNK]
        nodes = sublattice_nodes[mesh.elements[part]].reshape(len(part), -1)  # vertex, sublattice
        local = _with_shifts(mesh, springs, part, share[mesh.elements[part]])
        total = total + _assembled(nodes, local, n_nodes)
    return total


def _p1(mesh: SimplexMesh, moduli: Array, part: slice | IntArray) -> Array:
    return _blocks(mesh.gradients[part], mesh.volumes[part], moduli)


def _blocks(g: Array, volumes: Array, moduli: Array) -> Array:
    """Local matrices (n, 3 k, 3 k) of shape-function gradients (n, k, 3)."""
    local = np.einsum("e,eaj,ijkl,ebl->eaibk", volumes, g, moduli, g, optimize=True)
    size = 3 * g.shape[1]
    return local.reshape(len(g), size, size)


def _with_shifts(mesh: SimplexMesh, hessian: Array, part: IntArray, share: Array) -> Array:
    """Local matrices over (vertex, sublattice, component), (n_e, k, k)."""
    basis = mesh.crystal.basis
    ns, g = len(basis), mesh.gradients[part]
    n, corners = g.shape[:2]
    out = np.zeros((n, 3 * corners * ns, 3 * corners * ns))
    eye = np.eye(3)
    # dF_ij = mean_s U_as,i g_aj, and at vertex a: dp_s = U_as - U_a0 - dF B_s.
    to_f = np.zeros((n, 3, 3, corners, ns, 3))
    to_f[:] = np.einsum("naj,ik->nijak", g, eye)[:, :, :, :, None] / ns
    for a in range(corners):
        to_p = -np.einsum("nijbtk,sj->nsibtk", to_f, basis[1:])
        for s in range(1, ns):
            to_p[:, s - 1, :, a, s] += eye
            to_p[:, s - 1, :, a, 0] -= eye
        z = np.concatenate([to_f.reshape(n, 9, -1), to_p.reshape(n, 3 * (ns - 1), -1)], axis=1)
        out += share[:, a, None, None] * np.matmul(np.swapaxes(z, 1, 2), np.matmul(hessian, z))
    return out * (mesh.volumes[part] / corners)[:, None, None]


def _assembled(nodes: IntArray, local: Array, n_nodes: int) -> sp.csr_matrix:
    n, size = local.shape[:2]
    dof = (3 * nodes[:, :, None] + np.arange(3)).reshape(n, size)
    rows = np.repeat(dof, size, axis=1).ravel()
    cols = np.tile(dof, (1, size)).ravel()
    shape = (3 * n_nodes, 3 * n_nodes)
    return sp.coo_matrix((local.ravel(), (rows, cols)), shape=shape).tocsr()
