"""Linear elasticity of a strained crystal."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.errors import InputError, NonFiniteError
from qc.materials.material import Material, Response
from qc.numerics.checks import check_deformation, check_finite
from qc.numerics.fingerprint import Fingerprint

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


class LinearElastic(Material):
    """``W = W_0 + P_0 : H + H : A : H / 2`` with ``H = F - F_0``, about a state F_0.

    Parameters
    ----------
    moduli : (3, 3, 3, 3) array_like, eV/Angstrom^3
        A; those of `CauchyBorn.elastic_constants` at F_0, say.
    stress : (3, 3) array_like, eV/Angstrom^3, optional
        P_0, zero by default.
    energy : float, eV/Angstrom^3
        W_0.
    state : (3, 3) array_like, optional
        F_0, the identity by default.
    """

    def __init__(
        self,
        moduli: ArrayLike,
        stress: ArrayLike | None = None,
        energy: float = 0.0,
        state: ArrayLike | None = None,
    ) -> None:
        self.moduli = check_finite(moduli, "moduli")
        if self.moduli.shape != (3, 3, 3, 3):
            raise InputError(f"moduli must have shape (3, 3, 3, 3), not {self.moduli.shape}")
        self.stress = np.zeros((3, 3)) if stress is None else check_finite(stress, "stress")
        self.energy = float(check_finite(energy, "energy"))
        self.state = check_deformation(np.eye(3) if state is None else state, "state")

    def response(
        self,
        f: Array,
        internal: Array | None = None,
        tangent: bool = False,
        points: slice | IntArray | None = None,
    ) -> Response:
        """Return the quadratic energy and its derivatives; see `Material.response`."""
        h = np.asarray(f) - self.state
        if not np.isfinite(h).all():
            raise NonFiniteError("a deformation gradient is not finite")
        change = np.einsum("ijkl,nkl->nij", self.moduli, h)
        energy = self.energy + np.einsum("nij,nij->n", self.stress + 0.5 * change, h)
        moduli = np.broadcast_to(self.moduli, (len(h), 3, 3, 3, 3)).copy() if tangent else None
        return Response(energy, self.stress + change, moduli)

    def fingerprint(self) -> str:
        """Return a hash of the four."""
        one = Fingerprint("LinearElastic").add(self.moduli, self.stress)
        return one.add(self.energy, self.state).hex()
