"""The preconditioner: the elastic stiffness of the defect-free crystal on the whole mesh.

It carries the exact long-wave response in the core and outside alike, so that iteration counts do
not grow with the domain. Small systems are factorised; large ones take one cycle of smoothed
aggregation multigrid with the rigid-body modes.

Source: D. Packwood, J. Kermode, L. Mones et al., J. Chem. Phys. 144 (2016) 164109 for the idea;
P. Vanek, J. Mandel, M. Brezina, Computing 56 (1996) 179 for the multigrid.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from qc.coupling import QuasiContinuum

Array = NDArray[np.float64]
log = logging.getLogger(__name__)

#: Unknowns up to which the factorisation is cheaper than multigrid, by mesh dimension.
DIRECT_LIMIT = {2: 200_000, 3: 24_000}


#: Stiffness lent to every unknown of a model that nothing holds, over that of a node.
FLOATING = 1e-4


class Preconditioner:
    """Solve with the stiffness of the defect-free crystal on the free unknowns."""

    def __init__(self, model: QuasiContinuum) -> None:
        layout = model.layout
        matrix = model.coupling.stiffness()
        diagonal = matrix.diagonal()
        # A node that no element stiffens (an extra atom) is held like a site of the lattice.
        size = np.median(diagonal[diagonal > 0]) if np.any(diagonal > 0) else 1.0
        matrix = matrix + sp.diags(np.where(diagonal > 0, 0.0, size))
        matrix = layout.constraint.matrix(matrix)
        self.free = layout.free.ravel()
        self._shape = layout.free.shape
        k = matrix[self.free][:, self.free].tocsc()
        self.matrix = 0.5 * (k + k.T)
        if _floats(self.matrix, _rigid_modes(layout.node_positions)[self.free]):
            # Nothing holds the model: rigid motion has no stiffness, and no force either.
            self.matrix = self.matrix + FLOATING * size * sp.identity(k.shape[0])
        self.direct = int(self.free.sum()) <= DIRECT_LIMIT[layout.mesh.dim]
        self._solve = self._factorise() if self.direct else self._multigrid(model)

    def _factorise(self) -> Callable[[Array], Array]:
        if not self.matrix.shape[0]:
            return lambda b: b
        return splu(
            self.matrix.tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        ).solve

    def _multigrid(self, model: QuasiContinuum) -> Callable[[Array], Array]:
        import pyamg

        matrix = self.matrix.tocsr()
        kept = _rigid_modes(model.layout.node_positions)[self.free]
        per_node = model.layout.free.sum(axis=1)
        whole = bool(np.isin(per_node, (0, 3)).all())
        blocked = matrix.tobsr(blocksize=(3, 3)) if whole else matrix
        solver = pyamg.smoothed_aggregation_solver(
            blocked,
            B=kept,
            symmetry="symmetric",
            strength=("symmetric", {"theta": 0.0}),
            max_coarse=500,
            coarse_solver="splu",
        )
        return solver.aspreconditioner(cycle="V").matvec

    def __call__(self, residual: Array) -> Array:
        """Apply the inverse stiffness to forces (n_nodes, 3); returns displacements."""
        out = np.zeros(self.free.shape)
        out[self.free] = self._solve(np.ascontiguousarray(residual.ravel()[self.free]))
        return out.reshape(self._shape)


def _rigid_modes(positions: Array) -> Array:
    """Return translations and rotations of nodes (n, 3), (3 n, 6), of order one."""
    x = positions - positions.mean(axis=0)
    x = x / max(float(np.abs(x).max()), 1e-300)
    modes = np.zeros((3 * len(x), 6))
    for c in range(3):
        modes[c::3, c] = 1.0
    modes[0::3, 3], modes[1::3, 3] = -x[:, 1], x[:, 0]
    modes[1::3, 4], modes[2::3, 4] = -x[:, 2], x[:, 1]
    modes[2::3, 5], modes[0::3, 5] = -x[:, 0], x[:, 2]
    return modes


def _floats(matrix: sp.spmatrix, modes: Array) -> bool:
    """Say whether some rigid motion meets no resistance."""
    if not matrix.shape[0]:
        return False
    scale = float(np.abs(matrix.diagonal()).max())
    alive = np.abs(modes).max(axis=0) > 0.0
    resistance = np.abs(matrix @ modes).max(axis=0)
    return bool((resistance[alive] < 1e-9 * scale).any())
