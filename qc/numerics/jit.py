"""One way to compile kernels: cached on disk where that is possible, in memory where it is not."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, event
from numba.extending import intrinsic
from numpy.typing import ArrayLike, DTypeLike, NDArray

from qc.errors import CacheError
from qc.numerics.progress import note

Kernel = Callable[..., Any]

#: Functions of the parallel kernels, and whether this process is a child that must not run them.
_parallel: list[FunctionType] = []
_forked = False


def kernel(
    *, parallel: bool = False, inline: bool = False, inner: bool = False
) -> Callable[[Any], Kernel]:
    """Return a decorator that compiles a kernel with numba, nopython, without fast-math.

    A kernel and every jitted helper it calls live in one file: a cached kernel keeps its old
    machine code when a helper in another file changes.

    Parameters
    ----------
    parallel : bool
        Honour ``numba.prange``. Such a kernel is called from Python, by the name it has in its
        module: in a forked process this name stands for a kernel of one thread, see `serial`.
    inline : bool
        Always expand a helper where it is called. Each array argument of a call is some ten words
        on the stack, which a short helper of many arrays does not earn back.
    inner : bool
        Called by other kernels only, so that Python's way in is not compiled.

    Notes
    -----
    Numba refuses to decorate when it finds no writable cache directory; the kernel is then
    compiled in memory, so that a read-only installation works.
    """

    def decorate(function: Any) -> Kernel:
        if parallel:
            _parallel.append(function)
            if _forked:
                return serial(function)
        options = {"parallel": parallel, "forceinline": inline}
        if inner:
            options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        return _compile(function, options)

    return decorate


def _compile(function: FunctionType, options: dict[str, Any]) -> Kernel:
    options = options | {"error_model": "numpy"}
    try:
        compiled = numba.njit(cache=True, **options)(function)
        _guard(compiled)
    except RuntimeError:
        compiled = numba.njit(cache=False, **options)(function)
        _announcer.uncached.add(compiled)
    _announcer.kernels.add(compiled)
    return compiled


def _guard(compiled: Any) -> None:
    """Make a damaged entry of the cache say what it is, and which folder to delete."""
    cache = compiled._cache
    load = cache.load_overload

    def guarded(*arguments: Any) -> Any:
        try:
            return load(*arguments)
        except (OSError, MemoryError):
            raise
        # Whatever the reading of a damaged file trips over, it is a damaged file.
        except Exception as error:
            raise CacheError(
                f"numba's cache of {compiled.py_func.__module__} is damaged: delete "
                f"{cache.cache_path} ({type(error).__name__}: {error})"
            ) from error

    cache.load_overload = guarded


def serial(function: FunctionType) -> Kernel:
    """Return a parallel kernel's function for one thread, compiled when it is first called.

    It does the parts of the work one after the other, with the same result to the last bit, and is
    cached under a name of its own, for numba tells kernels in its cache apart by nothing else.
    """
    twin = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__,
        function.__closure__,
    )  # fmt: skip
    twin.__module__, twin.__qualname__ = function.__module__, f"{function.__qualname__}_serial"
    compiled: list[Kernel] = []

    def call(*arguments: Any) -> Any:
        if not compiled:
            compiled.append(_compile(twin, {}))
        return compiled[0](*arguments)

    return call


def _after_fork() -> None:
    """Put serial kernels in place of parallel ones if the threads were left in the parent.

    Numba ends a process that was forked from one with OpenMP threads at its first parallel kernel,
    and a pool that starts it again waits for ever. The other threading layers start anew.
    """
    global _forked
    try:
        layer = numba.threading_layer()
    except ValueError:
        return  # no thread was ever started
    if layer == "omp" and not _forked:
        _forked = True
        for function in _parallel:
            function.__globals__[function.__name__] = serial(function)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Announcer(event.Listener):
    """Says on a terminal, once in a process, that kernels are compiled and not loaded."""

    def __init__(self) -> None:
        self.kernels: set[Any] = set()
        self.uncached: set[Any] = set()
        self.said = False

    def on_start(self, event: event.Event) -> None:
        """Numba begins to compile something."""
        compiled = event.data["dispatcher"]
        if self.said or compiled not in self.kernels:
            return
        self.said = True
        when = "first run only"
        if compiled in self.uncached:
            when = "in every run, for want of a place to keep them (see NUMBA_CACHE_DIR)"
        note(f"compiling kernels, {when} ...")

    def on_end(self, event: event.Event) -> None:
        """Numba is done with it."""


_announcer = _Announcer()
event.register("numba:compile", _announcer)


def plain(values: ArrayLike, dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """Return a contiguous array that can be written to, a copy only where need be.

    To numba a read-only array is of another type, for which a kernel is compiled once more.
    """
    array = np.ascontiguousarray(values, dtype=dtype)
    return array if array.flags.writeable else array.copy()


def _signature(typing: Any, function: Any, others: Any) -> Any:
    """Compile, if need be, for these arguments, and return how the function is called."""
    # The index of a loop over prange is unsigned, which would make another function of it.
    types = (numba.types.int64, *map(numba.types.unliteral, others.types))
    return function.get_call_type(typing, types, {})


@intrinsic
def apart(typing: Any, function: Any, first: Any, others: Any) -> Any:
    """Call ``function(first, *others)``, an inner kernel, without taking its code in.

    Numba makes four functions of a loop over ``numba.prange`` and compiles all that they call with
    each. Called like this, a body is compiled with none of them; `keep`, behind the loop, takes it
    in once, for the cache.
    """
    called = _signature(typing, function, others)

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        known = function.dispatcher.overloads[called.args].fndesc
        given = zip((first, *others.types), called.args, strict=True)
        items = [values[1], *cgutils.unpack_tuple(builder, values[2])]
        status, result = context.call_conv.call_function(
            builder,
            context.declare_function(builder.module, known),
            known.restype,
            known.argtypes,
            [context.cast(builder, item, a, b) for item, (a, b) in zip(items, given, strict=True)],
        )
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return result

    return called.return_type(function, first, others), code


@intrinsic
def keep(typing: Any, function: Any, others: Any) -> Any:
    """Take the code of a function called by `apart`, with the same types, into this one."""
    called = _signature(typing, function, others)

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        known = function.dispatcher.overloads[called.args]
        callee = context.declare_function(builder.module, known.fndesc)
        # Only what is referred to is taken in; this refers to it, and costs no instruction.
        word = ir.FunctionType(ir.VoidType(), [callee.type])
        builder.asm(word, "", "r", [callee], side_effect=True)
        context.add_linking_libs((known.library,))
        return context.get_dummy_value()

    return numba.types.none(function, others), code
