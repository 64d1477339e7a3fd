"""The way into the kernel of deformed cells under Stillinger-Weber potentials."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numba
import numpy as np

from ..base import Array, IntArray, Order, Potential
from ..cell_checks import check_cell, check_cell_apart
from . import stillinger_weber_cell_kernels as kernels

#: Numbers between the scratch of two threads, so that they do not write to one cache line.
APART = 16


#: Types, pair and metric tables, and how many species they are of.
Present = tuple[IntArray, Array, Array, int]


def deformed_cell(
    potential: Potential,
    present: Callable[[bytes], Present],
    F: Array,
    shifts: Array,
    vectors: Array,
    source: IntArray,
    target: IntArray,
    types: IntArray,
    order: Order,
) -> tuple[Array, Array, Array, Array | None]:
    """Return site energies, dE/dF, dE/dp and a Hessian; see `StillingerWeber.deformed_cell`."""
    f, p, r, s, t, a = check_cell(potential, F, shifts, vectors, source, target, types)
    n, n_s = len(f), len(a)
    width = {"gradient": 0, "shifts": 3 * (n_s - 1), "full": 9 + 3 * (n_s - 1)}[order]
    second = {"gradient": 0, "shifts": 1, "full": 2}[order] if width else 0
    sites, df, dp = np.empty((n, n_s)), np.empty((n, 9)), np.empty((n, n_s, 3))
    hessian = np.empty((n, width, width))
    if len(s) and (s[1:] < s[:-1]).any():
        rows = np.argsort(s, kind="stable")
        r, s, t = r[rows], s[rows], t[rows]
    start = np.zeros(n_s + 1, dtype=np.int64)
    np.cumsum(np.bincount(s, minlength=n_s), out=start[1:])
    a, pair, metric, ns = present(a.tobytes())
    longest = int(np.diff(start).max())
    kernels.deformed_cell(
        f, p, r, start, t, a, pair, metric, ns, second,
        np.empty((numba.get_num_threads(), longest + APART), dtype=np.int64),
        *_scratch(longest, n_s, ns),
        sites, df, dp, hessian,
    )  # fmt: skip
    if not np.isfinite(sites.sum()):
        check_cell_apart(f, p, r, s, t)
    return sites, df.reshape(n, 3, 3), dp, hessian if width else None


def present(pair: Array, angle: Array, ns: int, types: bytes) -> Present:
    """Return types, pair and metric with the species that the cell has, and how many these are.

    Sums over the others would be zero.
    """
    there, local = np.unique(np.frombuffer(types, dtype=np.int64), return_inverse=True)
    pair = pair.reshape(ns, ns, -1)[there][:, there]
    angle = angle.reshape(ns, ns, ns, 2)[there][:, there][:, :, there]
    ns = len(there)
    strength, cosine = angle.reshape(ns**3, 2).T
    factors = (1.0, 1.0, 1.0, 2.0, 2.0, 2.0)
    metric = np.empty((ns**3, 10))
    metric[:, :6] = strength[:, None] * factors
    metric[:, 6:9] = (-2.0 * strength * cosine)[:, None]
    metric[:, 9] = strength * cosine**2
    own = np.einsum("sttc->stc", angle).reshape(ns * ns, 2)
    table = np.column_stack([pair.reshape(ns * ns, -1), own[:, 0] * (1.0 - own[:, 1]) ** 2])
    return np.ascontiguousarray(local.ravel()), table, metric, ns


def _scratch(longest: int, n_s: int, ns: int) -> list[Array]:
    """Return what the kernel calls scratch, in its order, for every thread."""
    shapes = (
        (longest, kernels.WIDTH), (ns, 10), (ns, 10), (30,), (6,), (n_s, 30), (n_s, 7), (n_s, 18),
        (ns, 90), (6, 6), (9, 9), (9,),
    )  # fmt: skip
    threads = numba.get_num_threads()
    return [np.empty((threads, n + -(-APART // prod(rest)), *rest)) for n, *rest in shapes]
