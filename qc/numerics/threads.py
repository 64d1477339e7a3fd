"""How many threads a kernel gets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numba


@contextmanager
def one_thread() -> Iterator[None]:
    """Run kernels on one thread meanwhile.

    A thread pool that shares its cores with others takes longer to wake than a small batch to
    compute: 50 milliseconds for one cell were seen, against 0.2 on one thread.
    """
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def threads_for(work: int, least: int) -> AbstractContextManager[None]:
    """Run kernels on one thread where there is little work: while ``work < least``."""
    return one_thread() if work < least else nullcontext()
