"""Which cubics stand for a table: through its values, through smoothed ones, or LAMMPS's.

A C2 spline takes its curvature from second differences of the values. Rounding noise of size s
appears there as several s / h^2, and a feature narrower than a few spacings h (a steep start, a
joint of two pieces) makes the spline ring. Both are found by looking at the table alone:

- noise is white: its differences of every order have one size, once scaled; those of a smooth
  function fall with the order;
- where a table resolves its function, the slopes of the C2 spline and the five-point differences
  that LAMMPS takes agree to a small part of what the slope changes by from knot to knot.

Noisy values are smoothed by as much as the second derivative asks for and never by more than the
noise itself; where a table does not resolve its function the five-point slopes are taken, because
then the file means what LAMMPS makes of it. Every other table is left as it is, to the last bit.

Source: E. T. Whittaker, Proc. Edinburgh Math. Soc. 41 (1922) 63 (smoothing by third differences).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from qc.errors import PotentialError, suggest

from .splines import cubic_coefficients, spline_slopes

Array = NDArray[np.float64]

Interpolation = Literal["auto", "spline", "lammps"]

#: Error of the second derivative that noise may leave, relative to the derivative around.
CURVATURE_ERROR = 2e-5

#: Slopes of two rules that differ by more than this part of the change from knot to knot.
UNRESOLVED = 1e-2

#: Knots over which noise counts as of one size.
_BLOCK = 64

#: Noise after smoothing below the frequency w (radian per knot): 0.236 s w^2.5 / h^2 in curvature.
_GAIN = 0.236

#: Smoothing reaches over pi / w knots; below this frequency nothing is taken for a function.
_LOWEST, _HIGHEST = 0.05, 2.0

#: Noise of this size, relative to the values, is that of double precision.
_ROUND_OFF = 64.0 * float(np.finfo(np.float64).eps)

#: Differences of these orders must be of one size, scaled to that of a single value.
_ORDERS = (6, 8)
_WHITE = 1.6

#: Residuals, as an rms in units of the noise, that smoothing may leave over a block and over a few
#: knots: noise keeps both, and so does one wrong digit; a feature that is bent does not.
_SHORT = 8
_RMS = (1.6, 2.5)


@dataclass(frozen=True)
class Curve:
    """A table as a function: coefficients, and what was done to get them.

    Parameters
    ----------
    coefficients : (n, 4) float64
        As `cubic_coefficients`.
    noise : (n,) float64
        Standard deviation of the noise of each value that was smoothed, in the unit of the table;
        0 where the value stands as given.
    unresolved : (n,) bool
        Knots with five-point slopes, where the second derivative jumps.
    """

    coefficients: Array
    noise: Array = field(repr=False)
    unresolved: NDArray[np.bool_] = field(repr=False)

    @property
    def summary(self) -> str:
        """What was done, on one line; empty for the plain spline."""
        done = []
        if (self.noise > 0.0).any():
            done.append(f"smoothed, noise up to {self.noise.max():.1g}")
        if self.unresolved.any():
            n = int(self.unresolved.sum())
            done.append(f"LAMMPS's slopes at {n} of {len(self.unresolved)} knots")
        return ", ".join(done)

    def remark(self, p: Array, place: str, unit: str) -> str:
        """Return what is wrong with the table at some places, or an empty string.

        Parameters
        ----------
        p : (m,) float64
            Places in units of the spacing.
        place, unit : str
            What a place is called, and the unit of the values.
        """
        if len(p) == 0:
            return ""
        k = np.clip(p, 0, len(self.noise) - 2).astype(np.int64)
        wrong = []
        noise = float(np.maximum(self.noise[k], self.noise[k + 1]).max())
        if noise > 0.0:
            wrong.append(f"noise of {noise:.1g}{' ' if unit else ''}{unit}, smoothed")
        if (self.unresolved[k] | self.unresolved[k + 1]).any():
            wrong.append(
                f"too coarse at {place} that occurs; LAMMPS's slopes, the second derivative jumps"
            )
        return ", ".join(wrong)


def check_interpolation(interpolation: str) -> None:
    """Refuse a name that is no interpolation.

    Raises
    ------
    PotentialError
        The message lists what there is.
    """
    known = get_args(Interpolation)
    if interpolation not in known:
        raise PotentialError(
            f"interpolation must be one of {', '.join(known)}, not '{interpolation}'"
            f"{suggest(interpolation, known)}"
        )


def curve(values: Array, interpolation: Interpolation, end_slope: float | None = None) -> Curve:
    """Return the cubics that stand for a table of values at 0, h, 2h, ...

    Parameters
    ----------
    values : (n,) float64
        At least five finite values.
    interpolation : {"auto", "spline", "lammps"}
        By what the table is like; the C2 spline through the values; LAMMPS's cubics.
    end_slope : float, optional
        Slope of splines at the last knot per spacing, see `cubic_coefficients`.
    """
    f = np.asarray(values, dtype=np.float64)
    nothing, none = np.zeros(len(f)), np.zeros(len(f), dtype=np.bool_)
    if interpolation == "spline":
        return Curve(cubic_coefficients(f, end_slope), nothing, none)
    if interpolation == "lammps":
        return Curve(cubic_coefficients(f, slopes=five_point_slopes(f)), nothing, ~none)
    noise = noise_level(f)
    smooth, changed = smoothed(f, noise)
    slopes = spline_slopes(smooth, end_slope)
    local = five_point_slopes(smooth)
    unresolved = _unresolved(smooth, slopes, local, noise)
    if unresolved.any():
        slopes = spline_slopes(smooth, end_slope, np.where(unresolved, local, np.nan))
    coefficients = cubic_coefficients(smooth, slopes=slopes)
    # A constant is no matter of resolution, though the ringing of a spline runs into it.
    bent = _around(np.abs(np.diff(smooth, append=smooth[-1:])), 2) > 0.0
    return Curve(coefficients, np.where(changed, noise, 0.0), unresolved & bent)


def five_point_slopes(values: Array) -> Array:
    """Return LAMMPS's slopes per spacing: five-point differences, fewer points at the ends.

    Source: ``PairEAM::interpolate`` of LAMMPS.
    """
    f = values
    slopes = np.empty(len(f))
    slopes[0], slopes[1] = f[1] - f[0], 0.5 * (f[2] - f[0])
    slopes[-2], slopes[-1] = 0.5 * (f[-1] - f[-3]), f[-1] - f[-2]
    slopes[2:-2] = (f[:-4] - f[4:] + 8.0 * (f[3:-1] - f[1:-3])) / 12.0
    return slopes


def _unresolved(values: Array, slopes: Array, local: Array, noise: Array) -> NDArray[np.bool_]:
    """Return the knots at which two rules for the slope disagree by more than noise, (n,)."""
    bend = np.abs(np.diff(values, 2))
    scale = _around(np.concatenate([bend[:1], bend, bend[-1:]]), 2)
    apart = np.abs(slopes - local)
    # At the ends LAMMPS takes fewer points, a rule of its own: what holds next to them counts.
    apart[:2], apart[-2:] = apart[2], apart[-3]
    round_off = 1e-12 * _around(np.abs(values), 2)
    # The knots beside are as wrong, though a bend nearby may hide it, and at an end so are all
    # that lie beyond: no spline makes out there what it does not further in.
    wrong = _around(apart > UNRESOLVED * scale + 2.0 * noise + round_off, 2)
    wrong[:2] |= wrong[:3].any()
    wrong[-2:] |= wrong[-3:].any()
    return wrong


def _around(values: NDArray[Any], reach: int) -> NDArray[Any]:
    """Return the largest value within some knots of each."""
    padded = np.pad(values, reach, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)


def smoothed(values: Array, noise: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return values without the noise that second derivatives would see, and which were changed.

    Third differences are damped (Whittaker) below a length that varies along the table: so long
    that what noise is left in the second derivative is below `CURVATURE_ERROR` of it, and shorter
    where the residuals would exceed the noise, which tells of a feature of the function.

    Parameters
    ----------
    values, noise : (n,) float64
        The table, and the standard deviation of the noise of each value, see `noise_level`.

    Returns
    -------
    smooth : (n,) float64
        The values themselves, the same object, where there is nothing to do.
    changed : (n,) bool
    """
    f, noisy = values, noise > 0.0
    nothing = np.zeros(len(f), dtype=np.bool_)
    if not noisy.any():
        return f, nothing
    pilot = _damped(f, np.where(noisy, 0.3, _HIGHEST))
    bend = np.diff(pilot, 2)
    bend = _rms(np.concatenate([bend[:1], bend, bend[-1:]]), _BLOCK)
    # In a tail that has all but come to zero no more digits are wanted than elsewhere.
    bend = np.maximum(bend, 1e-6 * np.median(bend))
    w = np.full(len(f), _HIGHEST)
    w[noisy] = (CURVATURE_ERROR * bend[noisy] / (_GAIN * noise[noisy])) ** 0.4
    w = np.clip(w, _LOWEST, _HIGHEST)
    residual = np.zeros(len(f))
    while True:
        # A length that jumps would leave its trace in the second derivative.
        even = np.where(noisy, np.exp(_mean(np.log(w), _BLOCK)), _HIGHEST)
        changed = even < 0.999 * _HIGHEST
        if not changed.any():
            return f, nothing
        smooth = np.where(changed, _damped(f, even), f)
        residual[noisy] = np.abs(smooth - f)[noisy] / noise[noisy]
        bad = (_rms(residual, _BLOCK) > _RMS[0]) | (_rms(residual, _SHORT) > _RMS[1])
        bad &= w < _HIGHEST
        if not bad.any():
            return smooth, changed
        w = np.where(_around(bad, _BLOCK // 4), np.minimum(1.6 * w, _HIGHEST), w)


def noise_level(values: Array) -> Array:
    """Return the standard deviation of white noise in each value, (n,), 0 where there is none."""
    n = len(values)
    if n < 3 * _BLOCK:
        return np.zeros(n)
    levels = np.array([_levels(values, order) for order in _ORDERS])
    low, high = levels.min(axis=0), levels.max(axis=0)
    # The larger of neighbouring blocks: noise that is underrated would be taken for a feature.
    level = _around(np.where(high < _WHITE * low, levels[-1], 0.0), 1)
    noise = level[np.arange(n) * len(level) // n]
    # Double precision itself is none: what was computed with sixteen digits stays as it is.
    noise[noise < _ROUND_OFF * _around(np.abs(values), 2)] = 0.0
    # A run of equal values, such as the zeros beyond a cutoff, is exact.
    same = np.diff(values) == 0.0
    same = np.convolve(np.concatenate([[False], same[:-1] & same[1:], [False]]), [1, 1, 1], "same")
    return np.where(same > 0, 0.0, noise)


def _levels(values: Array, order: int) -> Array:
    """Return the size of the noise, block by block, as the differences of one order have it."""
    d = np.abs(np.diff(values, order)) / math.sqrt(math.comb(2 * order, order))
    # The median: a few knots at a joint of two functions do not count.
    rows = np.array_split(d, len(values) // _BLOCK)
    return np.array([np.median(row) / 0.6745 for row in rows])


def _mean(values: Array, reach: int) -> Array:
    """Return the mean over ``reach + 1`` knots around each, fewer at the ends."""
    kernel = np.ones(reach + 1)
    count = np.convolve(np.ones(len(values)), kernel, "same")
    return np.asarray(np.convolve(values, kernel, "same") / count)


def _rms(values: Array, reach: int) -> Array:
    return np.asarray(np.sqrt(_mean(values**2, reach)))


def _damped(f: Array, w: Array) -> Array:
    """Return the z of least ``sum (z - f)^2 + sum w^-6 (third difference of z)^2``."""
    from scipy.linalg import solveh_banded

    n = len(f)
    strength = np.where(w < 0.999 * _HIGHEST, w**-6.0, 0.0)
    rows = np.minimum.reduce([strength[k : n - 3 + k] for k in range(4)])
    stencil = np.array([-1.0, 3.0, -3.0, 1.0])
    bands = np.zeros((4, n))
    bands[0] = 1.0
    for i in range(4):
        for j in range(i, 4):
            bands[j - i, i : n - 3 + i] += stencil[i] * stencil[j] * rows
    # The change is solved for, which keeps the digits of what does not change.
    third = rows * np.diff(f, 3)
    right = np.zeros(n)
    for i in range(4):
        right[i : n - 3 + i] -= stencil[i] * third
    return f + solveh_banded(bands, right, lower=True, check_finite=False)
