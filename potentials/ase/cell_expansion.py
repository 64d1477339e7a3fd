"""Energies of primitive cells by expansion: many states of a crystal from few evaluations.

The energy of a cell does not change when it is rotated or moved as a whole, so it is a function of
the strain ``E = (G^T G - 1) / 2`` from a reference ``F0``, ``G = F F0^-1``, and of the shifts
``F^T (p_s - p_0)``.
Far from a defect these hardly vary, and a polynomial of fourth order in them, whose gradient is
fitted to the calculator's by central differences, stands for thousands of evaluations.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from ..base import Array, IntArray

#: Step of the differences, a strain.
STEP = 2e-3

#: Strains at which an expansion is compared with the calculator, along so many directions each.
RADII = (2e-5, 1e-4, 5e-4, 1e-3, 2e-3, 3.5e-3, 5e-3)
DIRECTIONS = 2

#: Expansions of a crystal that are kept, the oldest go first.
MOST = 8

#: Part of the tolerance that may be used up there: between them it may be worse.
MARGIN = 1.0

_I, _J = np.array([0, 1, 2, 1, 0, 0]), np.array([0, 1, 2, 2, 2, 1])
#: How often a component of the strain stands in its matrix.
_TWICE = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])

#: Returns energy and gradient (9 + 3 n_s,) of a state ``(F, p)`` of that size.
Gradient = Callable[[Array], tuple[float, Array]]


def cost(n_s: int) -> int:
    """Return the number of evaluations that an expansion takes."""
    size = 6 + 3 * (n_s - 1)
    return 1 + size * (size + 3) + DIRECTIONS * len(RADII)


class Expansion:
    """The energy of a cell around one of its states.

    Parameters
    ----------
    state : (9 + 3 n_s,) float
        Deformation gradient, row by row, and shifts (Angstrom).
    length : float, Angstrom
        Scale of the shifts.
    evaluate : callable
        Energy (eV) and gradient of a state.
    """

    def __init__(self, state: Array, length: float, evaluate: Gradient) -> None:
        self.reference = state[:9].reshape(3, 3).copy()
        self.inverse = np.linalg.inv(self.reference)
        self.length = length
        self.radius = 0.0
        self.centre = self.invariants(state[None], self.reference, length)[0]
        size = len(self.centre)
        self.energy, self.slope = self._at(np.zeros(size), evaluate)
        unit = STEP * np.eye(size)
        hessian, bend = np.empty((size, size)), np.empty((size, size, size))
        plain = np.empty((size, size))
        for i in range(size):
            one, two = (
                [self._at(s * k * unit[i], evaluate)[1] for s in (1, -1)] for k in (1, 2)
            )
            # Of fourth order: what is left must fall as fast as what the expansion leaves out.
            hessian[i] = (8.0 * (one[0] - one[1]) - (two[0] - two[1])) / (12.0 * STEP)
            sums = [sum(pair) - 2.0 * self.slope for pair in (one, two)]
            bend[i, i] = (16.0 * sums[0] - sums[1]) / (12.0 * STEP**2)
            plain[i] = sums[0] / STEP**2
        for i, j in itertools.combinations(range(size), 2):
            ahead, back = (self._at(s * (unit[i] + unit[j]), evaluate)[1] for s in (1, -1))
            both = (ahead + back - 2.0 * self.slope) / STEP**2
            bend[i, j] = bend[j, i] = 0.5 * (both - plain[i] - plain[j])
        # Symmetric, so that the gradient is that of the energy.
        self.hessian = 0.5 * (hessian + hessian.T)
        orders = itertools.permutations(range(3))
        self.bend = np.mean([bend.transpose(order) for order in orders], axis=0)

    @staticmethod
    def invariants(states: Array, reference: Array, length: float) -> Array:
        """Return strain and shifts seen from the crystal, (n, 6 + 3 (n_s - 1)), without unit."""
        f = states[:, :9].reshape(-1, 3, 3)
        g = f @ np.linalg.inv(reference)
        strain = 0.5 * (np.einsum("nki,nkj->nij", g, g) - np.eye(3))
        apart = states[:, 12:].reshape(len(f), -1, 3) - states[:, None, 9:12]
        seen = np.einsum("nki,nsk->nsi", f, apart) / length
        return np.hstack([strain[:, _I, _J], seen.reshape(len(f), -1)])

    def offsets(self, states: Array) -> Array:
        """Return how far states (n, 9 + 3 n_s) are from the middle, (n, 6 + 3 (n_s - 1))."""
        return self.invariants(states, self.reference, self.length) - self.centre

    def _at(self, offset: Array, evaluate: Gradient) -> tuple[float, Array]:
        """Evaluate an unrotated state with these invariants; return energy and gradient by them."""
        z = self.centre + offset
        matrix = np.empty((3, 3))
        matrix[_I, _J] = matrix[_J, _I] = z[:6]
        values, axes = np.linalg.eigh(np.eye(3) + 2.0 * matrix)
        g = (axes * np.sqrt(values)) @ axes.T
        f = g @ self.reference
        apart = np.linalg.solve(f.T, self.length * z[6:].reshape(-1, 3).T).T
        energy, gradient = evaluate(np.concatenate([f.ravel(), np.zeros(3), apart.ravel()]))
        pull = np.linalg.solve(f, gradient[12:].reshape(-1, 3).T).T
        stress = gradient[:9].reshape(3, 3) - apart.T @ pull
        strain = np.linalg.solve(g, stress @ self.reference.T)
        strain = 0.5 * (strain + strain.T)
        return energy, np.concatenate([_TWICE * strain[_I, _J], self.length * pull.ravel()])

    def _polynomial(self, offsets: Array) -> tuple[Array, Array]:
        """Return energies (n,) and gradients by the invariants (n, 6 + 3 (n_s - 1))."""
        linear = offsets @ self.hessian
        bent = np.einsum("nj,nk,ijk->ni", offsets, offsets, self.bend, optimize=True)
        change = self.slope + linear / 2.0 + bent / 6.0
        energy = self.energy + np.einsum("ni,ni->n", offsets, change)
        return energy, self.slope + linear + bent / 2.0

    def gradient(self, states: Array, offsets: Array) -> tuple[Array, Array]:
        """Return energies (n,) and gradients (n, 9 + 3 n_s) of states at these offsets."""
        energy, slope = self._polynomial(offsets)
        n = len(states)
        f = states[:, :9].reshape(n, 3, 3)
        strain = np.empty((n, 3, 3))
        strain[:, _I, _J] = strain[:, _J, _I] = slope[:, :6] / _TWICE
        apart = states[:, 12:].reshape(n, -1, 3) - states[:, None, 9:12]
        pull = slope[:, 6:].reshape(n, -1, 3) / self.length
        stress = f @ self.inverse @ strain @ self.inverse.T
        stress += np.einsum("nsi,nsj->nij", apart, pull)
        force = np.einsum("nij,nsj->nsi", f, pull)
        first = -force.sum(axis=1)
        return energy, np.hstack([stress.reshape(n, 9), first, force.reshape(n, -1)])

    def shift_hessian(self, states: Array, offsets: Array) -> Array:
        """Return second derivatives over the shifts, (n, 3 n_s, 3 n_s)."""
        n = len(states)
        inner = self.hessian[6:, 6:] + np.einsum("ni,ijk->njk", offsets, self.bend[:, 6:, 6:])
        m = inner.shape[1] // 3
        f = states[:, :9].reshape(n, 3, 3)
        blocks = inner.reshape(n, m, 3, m, 3) / self.length**2
        blocks = np.einsum("nij,nsjtl,nkl->nsitk", f, blocks, f, optimize=True)
        out = np.empty((n, m + 1, 3, m + 1, 3))
        out[:, 1:, :, 1:] = blocks
        out[:, 0, :, 1:] = -blocks.sum(axis=1)
        out[:, :, :, 0] = -out[:, :, :, 1:].sum(axis=3)
        return out.reshape(n, 3 * m + 3, 3 * m + 3)

    def check(self, tolerance: float, evaluate: Gradient) -> None:
        """Set the radius within which gradients are right to ``tolerance``, eV, by trial.

        Tables with noise in their digits fail close to the middle already.
        """
        random = np.random.default_rng(0)
        for radius in RADII:
            for _ in range(DIRECTIONS):
                offset = random.normal(size=len(self.centre))
                offset *= radius / np.linalg.norm(offset)
                wrong = self._polynomial(offset[None])[1][0] - self._at(offset, evaluate)[1]
                if not float(np.abs(wrong).max()) <= MARGIN * tolerance:
                    return
            self.radius = radius


class Expansions:
    """Those of one crystal: made where they save evaluations.

    Parameters
    ----------
    length : float, Angstrom
        Scale of the shifts.
    tolerance : float, eV
        Largest error of a gradient.
    """

    def __init__(self, length: float, tolerance: float) -> None:
        self.length, self.tolerance = length, tolerance
        self.known: list[Expansion] = []
        #: How many states were too scattered for an expansion.
        self.scattered = 0

    def fill(
        self,
        evaluate: Gradient,
        states: Array,
        energy: Array,
        gradient: Array,
        hessian: Array | None,
    ) -> IntArray:
        """Fill in what expansions give, in place, and return the rows of the other states.

        Parameters
        ----------
        evaluate : callable
        states : (n, 9 + 3 n_s) float
        energy : (n,) float64
        gradient : (n, 9 + 3 n_s) float64
        hessian : (n, 9 + 3 n_s, 9 + 3 n_s) float64 or None
            Where it is wanted over the shifts; what belongs to F is NaN.
        """
        rest = np.arange(len(states))

        def take(expansion: Expansion, least: int = 0) -> bool:
            nonlocal rest
            offsets = expansion.offsets(states[rest])
            good = np.linalg.norm(offsets, axis=1) < expansion.radius
            if good.sum() <= least:
                return False
            here, offsets, rest = rest[good], offsets[good], rest[~good]
            energy[here], gradient[here] = expansion.gradient(states[here], offsets)
            if hessian is not None:
                hessian[here] = np.nan
                hessian[here, 9:, 9:] = expansion.shift_hessian(states[here], offsets)
            return True

        for expansion in reversed(self.known):
            if len(rest):
                take(expansion)
        price = cost((states.shape[1] - 9) // 3)
        while len(rest) > max(2 * price, 2 * self.scattered):
            # Around the state in the middle.
            first = states[rest[0], :9].reshape(3, 3)
            seen = Expansion.invariants(states[rest], first, self.length)
            off = np.abs(seen - np.median(seen, axis=0)).sum(axis=1)
            expansion = Expansion(states[rest[np.argmin(off)]], self.length, evaluate)
            expansion.check(self.tolerance, evaluate)
            if not take(expansion, least=price):
                self.scattered = len(rest)
                break
            self.known = [*self.known, expansion][-MOST:]
        return rest
