"""Progress for people: one line on a terminal, nothing in a pipe."""

from __future__ import annotations

import sys
import time
from typing import ClassVar, TextIO


class Progress:
    """One line that is rewritten in place while something runs.

    Shown only where the stream is a terminal, so logs and pipes stay clean. Use it as a context
    manager: the line is wiped at the end, also when an exception passes through. It is a callback
    of solvers, ``with Progress("relax") as show: qc.relax(model, callback=show)``.

    Parameters
    ----------
    title : str
        What is running.
    stream : text stream, optional
        Standard error by default.
    interval : float, s
        Least time between two drawings.
    """

    #: The line that is on the terminal now.
    _on_show: ClassVar[Progress | None] = None

    def __init__(self, title: str, stream: TextIO | None = None, interval: float = 0.1) -> None:
        self.title = title
        self._stream = sys.stderr if stream is None else stream
        self._interval = interval
        self._shown = 0
        self._drawn = -float("inf")
        self.active = _is_terminal(self._stream)

    def __call__(self, state: object) -> None:
        """Show what has been reached, such as an `Iteration` of `qc.relax`: a callback of it."""
        if self.active:
            self.update(str(state))

    def update(self, text: str) -> None:
        """Show a text after the title, unless the last one is too fresh."""
        now = time.monotonic()
        if not self.active or now - self._drawn < self._interval:
            return
        self._drawn = now
        self._draw(f"{self.title}: {text}")

    def _draw(self, line: str) -> None:
        # Rewriting works on one row only, whatever the width of the terminal.
        line = line[:78]
        self._stream.write("\r" + line.ljust(self._shown) + ("\r" if not line else ""))
        self._stream.flush()
        self._shown = len(line)
        Progress._on_show = self if line else None

    def close(self) -> None:
        """Wipe the line."""
        if self.active and self._shown:
            self._draw("")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def note(text: str) -> None:
    """Leave a line on a terminal, nothing in a pipe; a line of `Progress` makes way for it."""
    if _is_terminal(sys.stderr):
        if Progress._on_show is not None:
            Progress._on_show.close()
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _is_terminal(stream: TextIO | None) -> bool:
    return bool(getattr(stream, "isatty", lambda: False)())
