"""One way to compile kernels: cached on disk where that is possible, in memory where it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def kernel(
    *, parallel: bool = False, inline: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that compiles a kernel with numba, nopython, without fast-math.

    A kernel and every jitted helper it calls live in one file: a cached kernel keeps its old
    machine code when a helper in another file changes.

    Parameters
    ----------
    parallel : bool
        Honour ``numba.prange``.
    inline : bool
        Always expand a helper where it is called. Each array argument of a call is some ten words
        on the stack, which a short helper of many arrays does not earn back.

    Notes
    -----
    Numba refuses to decorate when it finds no writable cache directory; the kernel is then
    compiled in memory, so that a read-only installation works.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        options: dict[str, Any] = {
            "parallel": parallel, "forceinline": inline, "error_model": "numpy"
        }  # fmt: skip
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:
            return numba.njit(cache=False, **options)(function)

    return decorate
