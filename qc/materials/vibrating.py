"""A material with the free energy of vibrations that are not explicit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qc.materials.bulk_expansion import BulkExpansion
from qc.materials.free_energy import FreeEnergyExpansion
from qc.materials.material import CellResponse, Material, Response
from qc.numerics.fingerprint import Fingerprint
from qc.potentials.base import Order

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Vibrating(Material):
    """``W(F) + s f_vib(F, T) / Omega``, with a share s and perhaps a T of every point.

    Parameters
    ----------
    material : Material
        W.
    expansion : FreeEnergyExpansion
        f_vib of the primitive cell.
    volume : float, Angstrom^3
        Omega, of the cell.
    slaved : (n_q,) float64
        Parts s of the points' atoms whose vibration is not explicit.
    temperature : (n_q,) float64, K, optional
        Of the points; that of the expansion by default. Classical statistics only.
    """

    def __init__(
        self,
        material: Material,
        expansion: FreeEnergyExpansion,
        volume: float,
        slaved: Array,
        temperature: Array | None = None,
    ) -> None:
        self.material, self.vibration, self.volume = material, expansion, volume
        self.slaved, self.temperature = slaved, temperature
        self.internal_shape = material.internal_shape

    @property
    def has_shifts(self) -> bool:
        """Whether the internal variables are sublattice shifts."""
        return self.material.has_shifts

    def _warm(self, points: slice | IntArray | None) -> tuple[IntArray, Array, Array | None]:
        """Rows with a free energy (most near the atoms have none), their shares, temperatures."""
        slaved = self.slaved if points is None else self.slaved[points]
        rows = np.nonzero(slaved > 0.0)[0]
        if self.temperature is None:
            return rows, slaved[rows] / self.volume, None
        t = self.temperature if points is None else self.temperature[points]
        return rows, slaved[rows] / self.volume, t[rows]

    def add_rest(
        self,
        f: Array,
        energy: Array,
        stress: Array,
        moduli: Array | None,
        points: slice | IntArray | None,
    ) -> None:
        """Add the free energy of points and its derivatives, in place."""
        rows, share, t = self._warm(points)
        if not len(rows):
            return
        more, gradient, bend = self.vibration.evaluate(f[rows], moduli is not None, t)
        energy[rows] += share * more
        stress[rows] += share[:, None, None] * gradient
        if moduli is not None:
            assert bend is not None
            moduli[rows] += share[:, None, None, None, None] * bend

    def response(
        self,
        f: Array,
        internal: Array | None = None,
        tangent: bool = False,
        points: slice | IntArray | None = None,
    ) -> Response:
        """Return the response of the material with the free energy added at its points.

        A state at no point is one of unit share.
        """
        found = self.material.response(f, internal, tangent, points)
        self.add_rest(f, found.energy, found.stress, found.moduli, points)
        return found

    def start(self, mean: Array, f: Array) -> Array:
        """Return what the material starts from: vibrations do not move its internal variables."""
        return self.material.start(mean, f)

    def at_shifts(self, f: Array, shifts: Array, order: Order = "gradient") -> CellResponse:
        """Return the static response; see `add_rest` for what vibrations do besides."""
        return self.material.at_shifts(f, shifts, order)

    def bulk_energy(self, mean: Array, points: int) -> Array:
        """Return the energy density of a homogeneous deformation at every point, (points,)."""
        out = self.material.bulk_energy(mean, points)
        states = np.broadcast_to(mean, (points, 3, 3))
        bulk = self.vibration.evaluate(states, temperature=self.temperature)[0]
        return out + self.slaved * bulk / self.volume

    def expansion(self, mean: Array) -> BulkExpansion:
        """Return stress and moduli at a homogeneous deformation, those of vibrations by point."""
        found = self.material.expansion(mean)
        # Derivatives of the free energy are proportional to the temperature, if that may differ
        # from the expansion's at all.
        one = 1.0 if self.vibration.classical else self.vibration.temperature
        at = self.vibration.temperature if self.temperature is None else self.temperature
        _, stress, moduli = self.vibration.evaluate(mean[None], True, one)
        assert moduli is not None
        found.add(stress[0], moduli[0], self.slaved / self.volume * (at / one))
        return found

    def fingerprint(self) -> str:
        """Return a hash of the material, the expansion and the points' shares."""
        vibration = self.vibration
        one = Fingerprint("Vibrating").add(self.material.fingerprint(), vibration.temperature)
        if self.temperature is not None:
            one.add(self.temperature)
        return one.add(vibration.first, vibration.second, vibration.third, self.slaved).hex()
