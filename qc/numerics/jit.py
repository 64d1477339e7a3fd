"""One way to compile kernels: cached on disk where that is possible, in memory where it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def kernel(*, parallel: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that compiles a kernel with numba, nopython, without fast-math.

    A kernel and every jitted helper it calls live in one file: a cached kernel keeps its old
    machine code when a helper in another file changes.

    Parameters
    ----------
    parallel : bool
        Honour ``numba.prange``.

    Notes
    -----
    Numba refuses to decorate when it finds no writable cache directory; the kernel is then
    compiled in memory, so that a read-only installation works.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(cache=True, parallel=parallel, error_model="numpy")(function)
        except RuntimeError:
            return numba.njit(cache=False, parallel=parallel, error_model="numpy")(function)

    return decorate
