"""What is handed to a heat field: coupling weights, and selections of heat nodes and facets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from qc.errors import InputError
from qc.mesh import Region
from qc.numerics import checks

Array = NDArray[np.float64]
#: A function of positions (n, 3) that gives a mask, a region, a mask, or indices.
Selection = Callable[[Array], ArrayLike] | Region | ArrayLike


def numbers(name: str, values: object) -> Array:
    """Return values as a new float64 array.

    Raises
    ------
    InputError
        They are no numbers.
    """
    return checks.numbers(f"{name} of the heat field", values)


def checked_weights(weights: ArrayLike | sp.spmatrix, n_k: int) -> sp.csr_matrix:
    """Return coupling weights as a matrix whose rows sum to one or are empty.

    Raises
    ------
    InputError
        Another number of columns, a weight that is negative or not finite, a sum that is not one;
        the message names the row.
    """
    try:
        matrix = sp.csr_matrix(weights, dtype=np.float64, copy=True)
    except (TypeError, ValueError) as error:
        raise InputError(f"weights of the heat field: {error}") from error
    if matrix.shape[1] != n_k:
        raise InputError(f"weights of shape {matrix.shape} for {n_k} heat nodes")
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    data = matrix.data
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    bad = np.nonzero(~(np.isfinite(data) & (data > 0.0)))[0]
    if len(bad):
        at = int(rows[bad[0]])
        raise InputError(f"weight {data[bad[0]]} in row {at} of the heat field is negative or NaN")
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    bad = np.nonzero((np.diff(matrix.indptr) > 0) & (np.abs(sums - 1.0) > 1e-9))[0]
    if len(bad):
        raise InputError(f"weights in row {bad[0]} of the heat field sum to {sums[bad[0]]}, not 1")
    matrix.data /= sums[rows]
    return matrix


def select(where: Selection, x: Array, what: str) -> NDArray[np.bool_]:
    """Return a mask over positions ``x`` (n, 3); ``what`` they are is for messages.

    Raises
    ------
    InputError
        Nothing is selected, or something that does not exist.
    """
    if isinstance(where, Region):
        chosen = np.asarray(where.contains(x))
    else:
        chosen = np.asarray(where(x) if callable(where) else where)
    if chosen.dtype == bool:
        mask = chosen
        if mask.shape != (len(x),):
            raise InputError(f"a mask of shape {mask.shape} for {len(x)} {what}")
    else:
        mask = np.zeros(len(x), dtype=bool)
        index = chosen.ravel()
        if index.size and index.dtype.kind not in "iu":
            raise InputError(f"{what} are selected by a mask, indices, a region or a function")
        if index.size and not (index.min() >= 0 and index.max() < len(x)):
            raise InputError(f"{what} are counted from 0 to {len(x) - 1}")
        mask[index.astype(np.int64)] = True
    if not mask.any():
        raise InputError(f"no {what} are selected")
    return mask
