"""What a coupling scheme is: site weights, element weights and a ghost-force treatment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scheme:
    """One line of the table: ``E = sum w_i V_i + sum omega_e v_e W(F_e) + <g, U>``.

    Site weights are ``1 - beta_i`` and element weights the mean of ``beta`` over the element's
    vertices, so that ``sum w_i + sum omega_e v_e / Omega`` counts every site once.

    Parameters
    ----------
    name : str
    summary : str
        One line for tables and help texts.
    weighting : callable
        Maps the smooth blending function to the ``beta`` of the scheme.
    ghost : {"none", "predictor", "self-consistent"}
        Where the ghost-force correction ``g = f_BQCE - f_BQCF`` is evaluated: nowhere, once at
        the predictor, or again at every outer step.
    blends_forces : bool
        Blend forces instead of energies: no energy exists.
    atoms : {"core", "everywhere", "nowhere"}
        Where the atoms are: in the core and the blend, at every site, or none at all.
    """

    name: str
    summary: str
    weighting: Callable[[Array], Array]
    ghost: Literal["none", "predictor", "self-consistent"] = "none"
    blends_forces: bool = False
    atoms: Literal["core", "everywhere", "nowhere"] = "core"

    @property
    def conservative(self) -> bool:
        """Whether the forces derive from an energy (between outer steps, if there are any)."""
        return not self.blends_forces


def smooth(beta: Array) -> Array:
    """Take the blending function as it is."""
    return beta


def sharp(beta: Array) -> Array:
    """Cut the blending function at one half."""
    return (beta > 0.5).astype(np.float64)
