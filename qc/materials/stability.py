"""Strong ellipticity of moduli."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def acoustic_stability(moduli: Array, planar: bool = False, directions: int = 64) -> Array:
    """Smallest eigenvalue of the acoustic tensor over directions, (n,) eV/Angstrom^3.

    Negative where a state has lost strong ellipticity. Source: R. Hill, J. Mech. Phys.
    Solids 10 (1962) 1.

    Parameters
    ----------
    moduli : (n, 3, 3, 3, 3) float64
        Or (n, 2, 2, 2, 2) for a monolayer, which has no displacement out of its plane.
    planar : bool
        Only directions in the x-y plane.
    directions : int
        Directions sampled on the half sphere (or half circle).
    """
    if planar:
        t = np.arange(directions) * np.pi / directions
        k = np.stack([np.cos(t), np.sin(t), np.zeros_like(t)], axis=1)
    else:
        # Fibonacci points on the half sphere.
        i = np.arange(directions) + 0.5
        z = i / directions
        t = np.pi * (1.0 + 5.0**0.5) * i
        k = np.stack([np.sqrt(1 - z**2) * np.cos(t), np.sqrt(1 - z**2) * np.sin(t), z], axis=1)
    k = k[:, : moduli.shape[-1]]
    q = np.einsum("nijkl,aj,al->naik", moduli, k, k)
    return np.linalg.eigvalsh(0.5 * (q + np.swapaxes(q, -1, -2)))[..., 0].min(axis=1)
