"""A crystal at temperature: its lattice, and the free energy of its vibrations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.crystal import Crystal
from qc.errors import InputError, suggest
from qc.materials.free_energy import FreeEnergyExpansion, expand_free_energy
from qc.materials.thermal_lattice import ThermalLattice, thermal_lattice
from qc.materials.vibration import MODELS, LatticeVibrations
from qc.numerics.checks import check_deformation, not_negative, numbers
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
    return np.array(check_deformation(values, "deformation"))
