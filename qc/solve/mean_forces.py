"""The mean force of a model's vibrations, without which it stays at its expanded lattice.

A mesh that vibrates pushes on its nodes: its spectrum is not the lattice's, and where the mesh
changes so does the mean force of its vibrations ("mesh entropy"). With the free energy of the
slaved atoms this nearly cancels, and what is left is taken away like a ghost force: on the crystal
without defects, at the lattice of zero stress, the mean force

    g_T = < F(U0 + xi) >,     xi with covariance k_B T K^-1,

of the vibrations of the model itself is a constant force; with it taken away the mean displacement
vanishes to leading order in T, where ``<F(U0 + xi)> = F(U0) - k_B T d/dU (ln det K) / 2``.

Source: E. B. Tadmor, F. Legoll, W. K. Kim, L. M. Dupuy & R. E. Miller, Appl. Mech. Rev. 65 (2013)
010803, section 5, for the entropy of the mesh and its correction.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import units
from numpy.typing import NDArray

from qc.coupling import Coupling, QuasiContinuum
from qc.coupling.slaved import vibrating
from qc.errors import CapabilityError, ConvergenceError, InputError
from qc.farfield import HomogeneousStrain
from qc.numerics.checks import kind, not_negative, whole
from qc.numerics.solvers import conjugate_gradients
from qc.solve.gaussian import UNSTABLE, GaussianSampler
from qc.solve.precondition import Preconditioner

Array = NDArray[np.float64]

#: Angstrom; displacement of the differences of forces that Hessian products are taken by.
STEP = 1e-4

#: Part of a standard deviation by which the exact method displaces.
FRACTION = 0.2

#: Unknowns up to which the exact method is allowed; it takes four evaluations for each.
LARGEST_EXACT = 6000

#: Evaluations that a sample takes, about.
EVALUATIONS = 30

#: Groups of samples by which the error of the drift is judged.
GROUPS = 8


@dataclass(frozen=True, eq=False)
class MeanForce:
    """The mean force of a model's vibrations, and how well it is known.

    Attributes
    ----------
    force : (n_nodes, 3) float64, eV/Angstrom
        For `QuasiContinuum.without_mean_force`; zero on held nodes.
    error : (n_nodes, 3) float64, eV/Angstrom
        Standard error of the force; zero for the exact method.
    drift : (n_nodes, 3) float64, Angstrom
        Mean displacement that it makes, ``K^-1 g_T``.
    drift_error : float, Angstrom
        Standard error of the drift, root mean square over the free components.
    temperature : float, K
    method : {"sampling", "exact"}
    samples : int
        Pairs of opposite displacements.
    evaluations : int
        Evaluations of the forces.
    """

    force: Array
    error: Array
    drift: Array
    drift_error: float
    temperature: float
    method: str
    samples: int
    evaluations: int


def mean_force(
    model: QuasiContinuum,
    temperature: float | None = None,
    *,
    samples: int = 100,
    seed: int = 0,
    method: Literal["auto", "sampling", "exact"] = "auto",
) -> MeanForce:
    """Return the mean force of a model's vibrations, for `QuasiContinuum.without_mean_force`.

    Found on the model without its point defects and dislocations, at the mean deformation of its
    predictor. Quasi-static nodes do not vibrate: elements hold their free energy. Every sample is a
    pair of opposite displacements, so that odd orders cancel; or the leading order is summed
    exactly, one pair of small displacements for each unknown. Within two cutoffs of a free surface
    it counts as zero, for there it is physical.

    Parameters
    ----------
    model : QuasiContinuum
        With an energy. One with a temperature brings its free energy and its expanded lattice.
    temperature : float, K, optional
        The model's own by default; needed by a model without one.
    samples : int
        At least 2; the error falls as one over the root.
    seed : int
    method : {"auto", "sampling", "exact"}
        The exact sum takes four evaluations for each unknown, sampling about thirty for each
        sample; "auto" takes what costs less.

    Raises
    ------
    CapabilityError
        The scheme has no energy, or the model is too large for the exact method.
    ConvergenceError
        The model is unstable at its predictor.
    InputError
        No model, no temperature, another one than the model's, or a parameter that makes no sense.
    """
    kind("model", model, QuasiContinuum)
    t = _temperature(model, temperature)
    if method not in ("auto", "sampling", "exact"):
        raise InputError(f"method must be 'auto', 'sampling' or 'exact', not {method!r}")
    whole("samples", samples, 2)
    if not model.coupling.conservative:
        raise CapabilityError(
            f"scheme '{model.scheme.name}' has no energy, and no vibrations about its minimum"
        )
    forces = _Forces(defect_free(model))
    n = int(forces.free.sum())
    if method == "auto":
        method = "exact" if 4 * int(forces.explicit.sum()) <= EVALUATIONS * samples else "sampling"
    if t == 0.0 or not forces.explicit.any():
        zero = np.zeros(model.layout.free.shape)
        still = forces(np.zeros(n)) if n else np.zeros(0)
        force = np.where(model.layout.free, forces.spread(still), 0.0)
        return MeanForce(force, zero, zero, 0.0, t, method, 0, forces.evaluations)
    precondition = Preconditioner(forces.model)
    if method == "exact":
        values = _exact(forces, t)[None]
    else:
        values = _sampled(forces, precondition, t, samples, seed)
    mean = values.mean(axis=0)
    error, drift_error = np.zeros(n), 0.0
    if len(values) > 1:
        error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        groups = np.array_split(values - mean, min(GROUPS, len(values)))
        shifts = np.array([forces.solve(g.mean(axis=0), precondition) for g in groups])
        drift_error = float(np.sqrt((shifts**2).mean() / (len(groups) - 1)))
    # At a surface the mean force of the vibrations is no error: it relaxes the surface.
    depth = model.mesh.hull.depth(model.layout.node_positions)
    free = model.layout.free & (depth > 2.0 * model.potential.cutoff)[:, None]
    return MeanForce(
        force=np.where(free, forces.spread(mean), 0.0),
        error=np.where(free, forces.spread(error), 0.0),
        drift=np.where(free, forces.spread(forces.solve(mean, precondition)), 0.0),
        drift_error=drift_error,
        temperature=t,
        method=method,
        samples=samples if method == "sampling" else 0,
        evaluations=forces.evaluations,
    )


def defect_free(model: QuasiContinuum) -> QuasiContinuum:
    """Return the model of the perfect crystal on the same mesh, at the mean deformation.

    Sites of vacancies are free again, the nodes of extra atoms held.
    """
    layout = model.layout.without_defects(freed=True)
    other = copy.copy(model)
    other.layout = layout
    far_field = HomogeneousStrain(model.far_field.mean_deformation)
    other.coupling = Coupling(layout, model.rule, far_field, model.scheme, model.thermal)
    other.U = np.zeros((layout.n_nodes, 3))
    return other


def _temperature(model: QuasiContinuum, temperature: float | None) -> float:
    own = model.temperature
    if temperature is None:
        if own is None:
            raise InputError("the model has no temperature; give one")
        return own
    t = not_negative("temperature", temperature)
    if own is not None and t != own:
        raise InputError(
            f"the model's free energy is that of {own:g} K, not of {t:g} K; see with_temperature"
        )
    return t


class _Forces:
    """Forces on the free unknowns of a model, as vectors (n,)."""

    def __init__(self, model: QuasiContinuum) -> None:
        self.model, self.free = model, model.layout.free
        self.evaluations = 0
        still = None if model.thermal is None else model.thermal.quasi_static
        #: Which of the unknowns vibrate, (n,) bool.
        self.explicit: NDArray[np.bool_] = vibrating(model.layout, still)[self.free]

    def spread(self, v: Array) -> Array:
        """Return unknowns as displacements or forces of all nodes, (n_nodes, 3)."""
        out = np.zeros(self.free.shape)
        out[self.free] = v
        return out

    def __call__(self, v: Array) -> Array:
        self.evaluations += 1
        return np.asarray(self.model.forces(self.spread(v))[self.free])

    def product(self, v: Array) -> Array:
        """Hessian at the predictor times a vector, by a central difference.

        The forces come from fused kernels, which Hessian products do not.
        """
        size = float(np.abs(v).max())
        if size == 0.0:
            return np.zeros_like(v)
        step = v * (STEP / size)
        return (self(-step) - self(step)) * (0.5 * size / STEP)

    def vibration(self, v: Array) -> Array:
        """Return a displacement of the unknowns that vibrate as one of all unknowns, (n,)."""
        out = np.zeros(len(self.explicit))
        out[self.explicit] = v
        return out

    def vibrating_product(self, v: Array) -> Array:
        """Hessian of the unknowns that vibrate times a vector."""
        return self.product(self.vibration(v))[self.explicit]

    def solve(self, b: Array, precondition: Preconditioner) -> Array:
        """Solve ``K x = b`` by conjugate gradients to one part in a thousand."""
        x, negative = conjugate_gradients(
            lambda v: self.product(v.ravel())[:, None],
            b[:, None],
            lambda v: precondition(self.spread(v.ravel()))[self.free][:, None],
            1e-3,
        )
        if negative:
            raise ConvergenceError(UNSTABLE)
        return x.ravel()


def _sampled(
    forces: _Forces, precondition: Preconditioner, t: float, samples: int, seed: int
) -> Array:
    """Mean forces of pairs of opposite displacements, (samples, n)."""
    part = forces.explicit
    matrix = precondition.matrix.tocsr()[part][:, part]
    sampler = GaussianSampler(forces.vibrating_product, matrix)
    rng = np.random.default_rng(seed)
    scale = np.sqrt(units.kB * t)
    out = np.empty((samples, int(forces.free.sum())))
    for row in out:
        xi = forces.vibration(scale * sampler.draw(rng))
        row[:] = 0.5 * (forces(xi) + forces(-xi))
    return out


def _exact(forces: _Forces, t: float) -> Array:
    """Leading order of the mean force, ``F(0) + k_B T F'' : K^-1 / 2``, (n,)."""
    n = int(forces.explicit.sum())
    if n > LARGEST_EXACT:
        raise CapabilityError(
            f"the exact mean force is for {LARGEST_EXACT} unknowns at most, not {n}; take "
            "method='sampling'"
        )
    k = np.array([forces.vibrating_product(unit) for unit in np.eye(n)])
    try:
        root = np.linalg.cholesky(0.5 * (k + k.T))
    except np.linalg.LinAlgError:
        raise ConvergenceError(UNSTABLE) from None
    columns = np.sqrt(units.kB * t) * np.linalg.inv(root)
    still = forces(np.zeros(len(forces.explicit)))
    out = still.copy()
    for inner in columns:
        column = forces.vibration(inner)
        pair = forces(FRACTION * column) + forces(-FRACTION * column)
        out += (pair - 2.0 * still) / (2.0 * FRACTION**2)
    return out
