"""External loads: energies of the nodes' positions that are added to a model's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.errors import InputError
from qc.numerics.checks import check_finite

Array = NDArray[np.float64]


class Load(ABC):
    """Something outside of the crystal that pushes or pulls: an energy of the nodes' positions.

    A load is a value: one that moves or grows is another load. The work that is done on the
    crystal when ``old`` gives way to ``new`` is the change of energy at fixed positions,
    ``new.energy_forces(y, w)[0] - old.energy_forces(y, w)[0]``.
    """

    @abstractmethod
    def energy_forces(self, positions: Array, weights: Array) -> tuple[float, Array]:
        """Return the energy (eV) and the forces on the nodes, minus its gradient.

        Parameters
        ----------
        positions : (n, 3) float64, Angstrom
            Current positions of the nodes.
        weights : (n,) float64
            Sites that each node stands for: 1 where every site is a node, 0 at a vacancy.

        Returns
        -------
        float, (n, 3) float64 eV/Angstrom
        """

    @abstractmethod
    def hessian_product(self, positions: Array, weights: Array, change: Array) -> Array:
        """Return minus the derivative of the forces along ``change`` (n, 3), (n, 3)."""

    def described(self) -> list[str | float | Array]:
        """Return what tells the load from another, for fingerprints.

        Of a dataclass its kind and its few numbers. Large arrays count by shape alone: those of a
        mean force are made anew before a run goes on, and may then differ by round-off.
        """
        parts: list[str | float | Array] = [type(self).__qualname__]
        if is_dataclass(self):
            for name in (one.name for one in fields(self)):
                given = vars(self)[name]
                value = np.asarray(given)
                if value.size > 16:
                    value = np.array(value.shape)
                parts += [name, value if value.dtype.kind in "biuf" else repr(given)]
        return parts


@dataclass(frozen=True, eq=False)
class DeadLoad(Load):
    """Constant forces on the nodes, ``E = -sum_i f_i . (y_i - r_i)``.

    Parameters
    ----------
    forces : (n, 3) array_like, eV/Angstrom
        On each node, whatever number of sites it stands for. Those on held nodes do nothing.
    reference : (n, 3) array_like, Angstrom, optional
        Positions r at which the energy is zero, for instance ``model.predictor()``; the origin by
        default.

    Raises
    ------
    InputError
        A shape does not fit or a value is not finite.
    """

    forces: ArrayLike
    reference: ArrayLike | None = None

    def __post_init__(self) -> None:
        f = check_finite(self.forces, "forces of a dead load")
        if f.ndim != 2 or f.shape[1] != 3:
            raise InputError(f"forces of a dead load must have shape (n, 3), not {f.shape}")
        r = np.zeros_like(f)
        if self.reference is not None:
            r = check_finite(self.reference, "reference of a dead load")
            if r.shape != f.shape:
                raise InputError(
                    f"reference of a dead load must have shape {f.shape}, not {r.shape}"
                )
        for name, value in (("forces", f), ("reference", r)):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    def scaled(self, factor: float) -> DeadLoad:
        """Return the load with all forces multiplied by a number."""
        return DeadLoad(float(check_finite(factor, "factor")) * self._forces, self.reference)

    @property
    def _forces(self) -> Array:
        return np.asarray(self.forces)

    def energy_forces(self, positions: Array, weights: Array) -> tuple[float, Array]:
        """Return the energy (eV) and the forces (n, 3) eV/Angstrom; see `Load`."""
        f = self._forces
        if positions.shape != f.shape:
            raise InputError(f"dead load on {len(f)} nodes, but the model has {len(positions)}")
        moved = positions - np.asarray(self.reference)
        return -float(np.einsum("ni,ni->", f, moved)), f.copy()

    def hessian_product(self, positions: Array, weights: Array, change: Array) -> Array:
        """Return zeros (n, 3): the forces are constant."""
        return np.zeros_like(change)
