"""Stopping in good order: the first signal asks, the second insists."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Stop:
    """Whether to stop, and the number of the signal that asks for it, SIGINT or SIGTERM."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __bool__(self) -> bool:
        """Return whether to stop."""
        return self.number is not None

    @property
    def word(self) -> str:
        """What happened, in a word."""
        return "interrupted" if self.number == signal.SIGINT else "terminated"


@contextlib.contextmanager
def signals() -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM into a flag; the second raises `KeyboardInterrupt`.

    Outside the main thread, where Python allows no handlers, the flag stays down.
    """
    asked = Stop()

    def stop(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.number = number

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
