"""Exact samples of a model's harmonic vibrations: displacements xi with covariance k_B T K^-1.

K is the Hessian of the coupled energy, of which only products are needed, and M the elastic
stiffness that also preconditions statics, as a sparse matrix. With a sample v of covariance M^-1,

    xi = (M^-1 K)^(-1/2) v

has covariance K^-1, for M^-1 K is self-adjoint in the inner product of M. The function of the
matrix is taken in the Krylov space of v, which is small because M has the response of K to long
waves.

Source: E. Chow & Y. Saad, SIAM J. Sci. Comput. 36 (2014) A588 (preconditioned Krylov sampling).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from qc.errors import ConvergenceError

Array = NDArray[np.float64]

#: A sample is done when the last Krylov vectors change it by less, relatively.
ACCURACY = 1e-4

#: Krylov vectors at most.
LARGEST_SPACE = 200

UNSTABLE = "the model is unstable at its predictor: its Hessian is not positive definite"


class GaussianSampler:
    """Draws vectors of covariance K^-1.

    Parameters
    ----------
    product : callable
        ``product(v)`` is K v, for v (n,) float64.
    matrix : (n, n) sparse, symmetric and positive definite
        M, near K.

    Raises
    ------
    ConvergenceError
        M is not positive definite.
    """

    def __init__(self, product: Callable[[Array], Array], matrix: sp.spmatrix) -> None:
        self.product = product
        self.matrix = sp.csr_matrix(matrix)
        factors = splu(
            self.matrix.tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        pivots = factors.U.diagonal()
        if not (pivots > 0.0).all() or not np.array_equal(factors.perm_r, factors.perm_c):
            raise ConvergenceError("the elastic stiffness of the model is not positive definite")
        self.solve: Callable[[Array], Array] = factors.solve
        # M = P^T L D L^T P, so P^T L D^1/2 z has covariance M.
        self._root = sp.csr_matrix(factors.L @ sp.diags(np.sqrt(pivots)))
        self._order = factors.perm_r

    def draw(self, rng: np.random.Generator) -> Array:
        """Return a vector of covariance K^-1, (n,) float64.

        Raises
        ------
        ConvergenceError
            K is not positive definite, or the Krylov space grows too large.
        """
        z = rng.standard_normal(self.matrix.shape[0])
        v = self.solve((self._root @ z)[self._order])
        size = np.sqrt(dot(v, self.matrix @ v))
        q = v / size
        space, duals = [q], [self.matrix @ q]
        diagonal: list[float] = []
        side: list[float] = []
        old: Array | None = None
        while len(space) <= LARGEST_SPACE:
            r = self.product(space[-1])
            w = self.solve(r)
            diagonal.append(dot(space[-1], r))
            # All of the earlier vectors are taken out: the plain recurrence loses orthogonality.
            for _ in range(2):
                for vector, dual in zip(space, duals, strict=True):
                    w = w - dot(dual, w) * vector
            dual = self.matrix @ w
            beta = np.sqrt(max(dot(w, dual), 0.0))
            done = beta < 1e-12 * max(abs(d) for d in diagonal) or len(space) == len(z)
            if len(space) % 4 == 0 or done:
                new = self._root_of(diagonal, side)
                if old is not None or done:
                    change = new.copy()
                    change[: 0 if old is None else len(old)] -= 0.0 if old is None else old
                    done = done or np.linalg.norm(change) < ACCURACY * np.linalg.norm(new)
                old = new
            if done:
                assert old is not None
                return np.asarray(size * np.einsum("k,kn->n", old, np.array(space)))
            side.append(float(beta))
            space.append(w / beta)
            duals.append(dual / beta)
        raise ConvergenceError("a sample of the harmonic vibrations did not converge")

    @staticmethod
    def _root_of(diagonal: list[float], side: list[float]) -> Array:
        """Return ``T^(-1/2) e_1`` of the tridiagonal matrix."""
        t = np.diag(diagonal)
        if side:
            t += np.diag(side, 1) + np.diag(side, -1)
        values, vectors = np.linalg.eigh(t)
        if values[0] <= 0.0:
            raise ConvergenceError(UNSTABLE)
        return np.asarray(vectors @ (vectors[0] / np.sqrt(values)))


def dot(a: Array, b: Array) -> float:
    """Return the sum of products of two vectors."""
    # Not numpy.dot: a threaded BLAS waits longer for its threads than it computes.
    return float(np.einsum("n,n->", a, b))
