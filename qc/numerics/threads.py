"""How many threads a kernel gets, and locks for objects that several threads may hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from threading import RLock
from typing import ClassVar, Concatenate, ParamSpec, Protocol, TypeVar
from weakref import WeakSet

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


class Lock:
    """A lock that the same thread may take again; copied or pickled, it is another one, and open.

    So is it in a process made by ``fork`` while another thread held it.
    """

    _all: ClassVar[WeakSet[Lock]] = WeakSet()

    def __init__(self) -> None:
        self._open()
        self._all.add(self)

    def _open(self) -> None:
        lock = RLock()
        # The methods themselves: to look them up and call them by another would take longer than
        # they do.
        self.acquire, self.release = lock.acquire, lock.release

    def __reduce__(self) -> tuple[type[Lock], tuple[()]]:
        return Lock, ()

    @classmethod
    def open_all(cls) -> None:
        """Open every lock: the threads that held them are not in this process."""
        for lock in cls._all:
            lock._open()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Lock.open_all)


class Locked(Protocol):
    """What `locked` asks of an object."""

    _lock: Lock


Owner = TypeVar("Owner", bound=Locked)
Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


def locked(
    method: Callable[Concatenate[Owner, Parameters], Answer],
) -> Callable[Concatenate[Owner, Parameters], Answer]:
    """Let one thread at a time into the methods of an object; others wait."""

    @wraps(method)
    def call(self: Owner, *args: Parameters.args, **options: Parameters.kwargs) -> Answer:
        acquire, release = self._lock.acquire, self._lock.release
        acquire()
        try:
            return method(self, *args, **options)
        finally:
            release()

    return call
