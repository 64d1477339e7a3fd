"""Fourier conduction on simplices that obeys both laws of thermodynamics at every step.

With the entropy variable ``theta = 1 / T`` Fourier's law ``q = -kappa grad T`` reads
``q = L grad theta``, ``L = kappa T^2``. P1 elements and lumped capacities give

    dE_i / dt = sum_j K_ij theta_j,        K_ij = sum_e v_e grad phi_i . L_e grad phi_j,

and with ``L_e`` frozen at the temperatures before the step, implicit Euler is

    E_new = E_old + dt (K theta + P),        theta = 1 / T(E_new),

with powers P that enter through the boundary. K is symmetric and positive semi-definite whatever
the shape of the elements, and its columns sum to zero. Then

- *first law*: ``sum E`` changes by ``dt sum P``; every edge of the mesh takes from one node what it
  gives to the other, so this holds to round-off for any theta, converged or not;
- *second law*: S is concave with ``dS/dE = theta``, so ``S(E_new) - S(E_old) >=
  theta_new . (E_new - E_old) = dt theta . K theta + dt theta . P``: the first term is not negative
  and the second is the entropy that comes with P. For a theta that solves the equation up to a
  residual R, the slack of the inequality, ``1/2 sum (E_new - E_old)^2 / (C T^2)``, covers R as long
  as it is a small part of ``E_new - E_old`` in that norm: this is the solver's criterion.

Plain P1 elements, linear in T, promise the second law for any temperatures only where no angle is
obtuse.

**The tensor L_e.** With a scalar ``kappa T^2`` a linear temperature would be steady up to a term of
second order only, for 1/T is not linear in an element where T is. Instead L_e is ``kappa T^2``
across the element's ``s = -grad theta_h``, with T its mean, and carries s to ``kappa y``,
``y = grad T_h``:

    L_e = kappa (T^2 (I - s s^T / s.s) + y y^T / y.s),

positive definite where ``y . s > 0``. A steady state is then that of P1 elements linear in T. Where
y and s are more than 60 degrees apart (temperatures that differ by multiples in one element), the
scalar is taken; both laws hold there too.

**The equation** says that the gradient of the strictly concave function ``sum C ln theta -
(E_old + dt P) . theta - dt/2 theta . K theta`` vanishes, so its solution is unique and positive.
Newton's method finds it with conjugate gradients on ``C T^2 + dt K`` and a step that keeps theta
positive. Nothing is kept from one step to the next, so a run that was stopped goes on bit by bit.

Source: H. Egger, Numer. Math. 143 (2019) 85 (arXiv:1804.08648), and E. S. Gawlik & F. Gay-Balmaz,
arXiv:2211.08745, for discretisations that keep both laws; A. Limache & S. Idelsohn, Adv. Model.
Simul. Eng. Sci. 3 (2016) 13, for plain finite elements, which do not; J. E. Dennis & J. J. More,
SIAM Review 19 (1977) 46, for secant updates of tensors.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qc.dynamics.heat import kernels
from qc.dynamics.heat.mesh import HeatMesh
from qc.errors import ConvergenceError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Residual of the implicit step over the change of energy.
TOLERANCE = 1e-8


class Conduction(NamedTuple):
    """What a conduction step did.

    Attributes
    ----------
    heat_through_temperatures : float, eV
        Received by the field from where its temperature is prescribed.
    heat_through_fluxes : float, eV
        Received through prescribed fluxes.
    entropy_production : float, eV/K
        Of the field and its surroundings, not negative. Heat through a prescribed temperature
        leaves the surroundings at that temperature, heat through a flux at the heat node's.
    entropy_change : float, eV/K
        Of the field alone.
    """

    heat_through_temperatures: float = 0.0
    heat_through_fluxes: float = 0.0
    entropy_production: float = 0.0
    entropy_change: float = 0.0


class Conductor:
    """Conduction steps on one mesh.

    Parameters
    ----------
    mesh : HeatMesh
    nodes : (n_v,) int64
        Heat node of every vertex.
    capacity : (n_k,) float64, eV/K
    conductivity : (n_e,) float64, eV/(Angstrom K time)
    """

    def __init__(
        self, mesh: HeatMesh, nodes: IntArray, capacity: Array, conductivity: Array
    ) -> None:
        self._elements = np.ascontiguousarray(nodes[mesh.elements])
        self._gradients = np.ascontiguousarray(mesh.gradients)
        self._factor = conductivity * mesh.volumes
        self._capacity = capacity
        corners = self._elements.shape[1]
        first, second = np.array(list(combinations(range(corners), 2))).T
        ends = np.sort(np.stack([self._elements[:, first], self._elements[:, second]], -1), axis=-1)
        ends = ends.reshape(-1, 2)
        apart = ends[:, 0] != ends[:, 1]
        edges, inverse = np.unique(ends[apart], axis=0, return_inverse=True)
        pairs = np.full(len(ends), -1, dtype=np.int64)
        pairs[apart] = inverse.ravel()
        self._ends = np.ascontiguousarray(edges.reshape(-1, 2))
        self._pairs = pairs.reshape(len(self._elements), len(first))
        n = len(capacity)
        self._w = np.zeros(len(self._ends))
        self._work = np.zeros((kernels.WORK_ROWS, n))
        self._theta, self._delta, self._gain, self._left = np.zeros((4, n))

    @property
    def edges(self) -> IntArray:
        """(n_edges, 2) heat nodes that conduct to each other."""
        return self._ends

    def conductances(self, energy: Array) -> Array:
        """Minus the off-diagonal entries of K at given energies, (n_edges,) eV K/time."""
        kernels.conductances(
            energy, self._capacity, self._elements, self._gradients, self._factor, self._pairs,
            self._w,
        )  # fmt: skip
        return self._w

    def step(
        self, energy: Array, held: NDArray[np.bool_], target: Array, power: Array, dt: float
    ) -> tuple[Array, Conduction]:
        """Return the energies after a time ``dt`` and what was exchanged.

        Parameters
        ----------
        energy : (n_k,) float64, eV
        held : (n_k,) bool
            Heat nodes of prescribed temperature.
        target : (n_k,) float64, eV
            Their energies.
        power : (n_k,) float64, eV/time
            Entering through the boundary.
        dt : float, ASE time

        Raises
        ------
        ConvergenceError
            The implicit equation has no solution: more power leaves than there is energy.
        """
        capacity, theta, delta = self._capacity, self._theta, self._delta
        gain, left = self._gain, self._left
        begin = np.where(held, target, energy)
        w = self.conductances(begin)
        rest = held if held.any() else ~held
        total = float(begin[rest].sum() + (0.0 if held.any() else dt * power.sum()))
        steps = -1
        if total > 0.0:
            # Where everything would be after long, or where the surroundings are.
            reference = float(capacity[rest].sum()) / total
            steps = kernels.implicit_step(
                begin, capacity, self._ends, w, power, held, dt, reference, TOLERANCE, self._work,
                theta, delta, gain, left,
            )  # fmt: skip
        after = np.where(held, target, begin + gain)
        if steps < 0 or not (np.isfinite(after).all() and after.min() > 0.0):
            worst = int(np.argmin(energy + dt * power))
            raise ConvergenceError(
                f"no positive temperatures after a conduction step of {dt:.4g}: prescribed fluxes "
                f"take {-dt * power[worst]:.3g} eV from heat node {worst}, which has "
                f"{energy[worst]:.3g} eV; conduct more often or take a smaller flux"
            )
        supplied = np.where(held, (after - energy) - gain, 0.0)
        made = kernels.production(
            energy, after, capacity, self._ends, w, power, held, dt, theta, delta, gain, left
        )
        change = float((capacity * np.log1p((after - energy) / energy)).sum())
        done = Conduction(float(supplied.sum()), float(dt * power.sum()), made, change)
        return after, done
