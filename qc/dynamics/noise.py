"""Gaussian noise that is a function of seed, stream and step: nothing to save, nothing to lose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qc.errors import InputError

Array = NDArray[np.float64]


class NoiseStream:
    """Independent standard normal numbers for every step, drawn from a counter.

    The counter-based generator Philox is set to the step before every draw, so a run goes on after
    a restart with the numbers it would have had, the number of threads does not matter, and two
    streams of one seed never share a number.

    Parameters
    ----------
    seed : int
        From 0 to 2^64 - 1.
    stream : int
        Which of the independent streams of that seed.

    Raises
    ------
    InputError
        A seed or stream out of range.

    Source: J. K. Salmon, M. A. Moraes, R. O. Dror & D. E. Shaw, SC11 (2011), Philox 4x64.
    """

    def __init__(self, seed: int, stream: int = 0) -> None:
        for name, value in (("seed", seed), ("stream", stream)):
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not whole or not 0 <= value < 2**64:
                raise InputError(f"{name} must be an integer from 0 to 2^64 - 1, got {value!r}")
        self.seed, self.stream = int(seed), int(stream)

    def normal(self, step: int, shape: tuple[int, ...]) -> Array:
        """Return the numbers of a step, in rows of the last axis."""
        key = np.array([self.seed, self.stream], dtype=np.uint64)
        # The step is the highest word: a draw counts up the lowest and never reaches the next.
        counter = np.array([0, 0, 0, step], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=counter)).standard_normal(
            shape
        )
