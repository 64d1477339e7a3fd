"""The engine's own preconditioner for ASE's preconditioned optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.optimize.precon.precon import Precon
from numpy.typing import NDArray

from qc.coupling import QuasiContinuum
from qc.solve import Preconditioner

Array = NDArray[np.float64]


class ModelPrecon(Precon):
    """Elastic stiffness of the defect-free model, for ``PreconLBFGS(atoms, precon=...)``.

    ASE's own preconditioners look at distances between neighbouring atoms and so cannot see an
    element; with them a graded model needs a neighbour list as long as its largest element.

    Parameters
    ----------
    model : QuasiContinuum
        The atoms optimised must be its representative atoms, ``model.to_ase()``.
    """

    def __init__(self, model: QuasiContinuum) -> None:
        self.model = model
        self._inverse = Preconditioner(model)
        self._free = np.repeat(model.occupied, 3)
        self._moving = model.layout.free[model.occupied].ravel()

    def make_precon(self, atoms: Atoms, reinitialize: bool | None = None) -> None:
        """Keep the matrix: it belongs to the defect-free state and does not follow the atoms."""

    def Pdot(self, x: Array) -> Array:
        """Apply the stiffness; atoms that are held keep their value."""
        out = np.array(x, dtype=float)
        out[self._moving] = self._inverse.matrix @ out[self._moving]
        return out

    def solve(self, x: Array) -> Array:
        """Apply the inverse stiffness."""
        out = np.array(x, dtype=float)
        whole = np.zeros(len(self._free))
        whole[self._free] = out
        solved = self._inverse(whole.reshape(-1, 3)).ravel()[self._free]
        return np.where(self._moving, solved, out)

    def copy(self) -> ModelPrecon:
        """Return self: the matrix never changes."""
        return self

    def asarray(self) -> Any:
        """Return the dense matrix; for small models."""
        eye = np.eye(len(self._moving))
        return np.stack([self.Pdot(row) for row in eye])
