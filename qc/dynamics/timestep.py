"""The stability bound of the time step, from the largest frequency of the system."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from qc.coupling import QuasiContinuum
from qc.errors import InputError
from qc.numerics.checks import numbers
from qc.solve.model_system import as_system
from qc.solve.system import System

Array = NDArray[np.float64]

#: Relative accuracy of the largest eigenvalue.
TOLERANCE = 1e-3


def largest_frequency(system: System | QuasiContinuum | Atoms, x: Array | None = None) -> float:
    """Return the largest angular frequency of small vibrations, in 1/(ASE time).

    The largest eigenvalue of ``M^-1/2 H M^-1/2`` by the Lanczos method, with Hessian products at
    ``x`` (the state of the system by default); zero where nothing moves.

    Parameters
    ----------
    system : System, QuasiContinuum, or ase.Atoms with a calculator
    x : (n, 3) float64, Angstrom, optional

    Raises
    ------
    InputError
        None of these, or positions of another shape.
    CapabilityError
        A model whose scheme has no energy; see `ModelSystem`.
    """
    subject = as_system(system)
    at = numbers("x", subject.coordinates if x is None else x)
    if at.shape != subject.free.shape:
        raise InputError(f"x of shape {at.shape} for {len(subject.free)} nodes")
    moving = subject.free & (subject.masses > 0.0)[:, None]
    size = int(moving.sum())
    if size == 0:
        return 0.0
    weight = np.broadcast_to(1.0 / np.sqrt(np.maximum(subject.masses, 1e-300))[:, None], at.shape)
    scale = weight[moving]

    def product(values: Array) -> Array:
        dx = np.zeros_like(at)
        dx[moving] = scale * np.asarray(values).ravel()
        return np.asarray(scale * subject.hessian_product(at, dx)[moving])

    # Short waves are the fastest: a rough start is rich in them.
    start = np.random.default_rng(0).standard_normal(size)
    if not product(start).any():
        return 0.0
    if size <= 3:
        columns = np.stack([product(row) for row in np.eye(size)])
        top = float(np.linalg.eigvalsh(0.5 * (columns + columns.T))[-1])
        return float(np.sqrt(max(top, 0.0)))
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    try:
        top = float(
            eigsh(operator, 1, which="LA", v0=start, tol=TOLERANCE, return_eigenvectors=False)[0]
        )
    except ArpackNoConvergence as error:
        found = np.asarray(error.eigenvalues)
        if not len(found):
            raise
        top = float(found.max())
    return float(np.sqrt(max(top, 0.0)))


def timestep_bound(system: System | QuasiContinuum | Atoms, x: Array | None = None) -> float:
    """Return the largest stable time step of velocity Verlet and BAOAB, in ASE time.

    ``2 / omega_max``; infinite where nothing vibrates. Anharmonic motion asks for less: about a
    third of it keeps the energy well. Takes and raises what `largest_frequency` does.

    Source: L. Verlet, Phys. Rev. 159 (1967) 98; B. Leimkuhler & C. Matthews, Molecular Dynamics
    (2015), section 4.
    """
    frequency = largest_frequency(system, x)
    return 2.0 / frequency if frequency > 0.0 else np.inf
