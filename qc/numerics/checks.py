"""Checks of what is handed in, numbers above all, in the same words everywhere."""

from __future__ import annotations

import math
import operator

import numpy as np
from numpy.typing import NDArray

from qc.errors import InputError

#: Angstrom; a coordinate farther out has no digits left below 1e-4 Angstrom.
FARTHEST = 1e12


def real(name: str, value: object, error: type[InputError] = InputError) -> float:
    """Return one number as a float; NaN and infinities pass.

    Parameters
    ----------
    name : str
        What the number is, for the message.
    value : object
    error : type, optional
        Class of the exception.

    Raises
    ------
    InputError
        Or the class given: the value is text, None, or more than one number.
    """
    if not isinstance(value, (str, bytes, bytearray)) and not np.ndim(value):  # type: ignore[arg-type]
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            pass
    raise error(f"{name} must be a number, got {value!r}")


def positive(name: str, value: object, error: type[InputError] = InputError) -> float:
    """Return a positive and finite number as a float.

    Parameters
    ----------
    name, value, error
        As `real`.

    Raises
    ------
    InputError
        Or the class given: not a number, zero, negative, NaN or infinite.
    """
    number = real(name, value, error)
    if not 0.0 < number < math.inf:
        raise error(f"{name} must be positive and finite, got {value}")
    return number


def not_negative(name: str, value: object, error: type[InputError] = InputError) -> float:
    """Return a finite number that is zero or positive as a float.

    Parameters
    ----------
    name, value, error
        As `real`.

    Raises
    ------
    InputError
        Or the class given: not a number, negative, NaN or infinite.
    """
    number = real(name, value, error)
    if not 0.0 <= number < math.inf:
        raise error(f"{name} must be finite and not negative, got {value}")
    return number


def whole(name: str, value: object, least: int, error: type[InputError] = InputError) -> int:
    """Return a whole number, such as one of steps, as an int.

    Parameters
    ----------
    name, value, error
        As `real`.
    least : int
        Smallest one allowed.

    Raises
    ------
    InputError
        Or the class given: not a whole number (1e5 is not, 100_000 is), or less than the least.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise error(f"{name} must be a whole number, got {value!r}") from None
    if number < least:
        raise error(f"{name} must be at least {least}, got {value}")
    return number


def numbers(
    name: str, values: object, error: type[InputError] = InputError
) -> NDArray[np.float64]:
    """Return real numbers as a new float64 array of whatever shape; NaN and infinities pass.

    Raises
    ------
    InputError
        Or the class given: text, None, complex numbers or nested lists of unequal lengths.
    """
    try:
        raw = np.asarray(values)
        if np.iscomplexobj(raw):
            raise TypeError("complex numbers")
        return np.array(raw, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as reason:
        raise error(f"{name} must be real numbers: {reason}") from reason


def coordinates(
    name: str, values: object, error: type[InputError] = InputError
) -> NDArray[np.float64]:
    """Return coordinates as a new float64 array of shape (..., 3).

    Raises
    ------
    InputError
        Or the class given: as `numbers`; not three to a row, NaN, infinite or beyond `FARTHEST`.
    """
    found = numbers(name, values, error)
    if not found.ndim or found.shape[-1] != 3:
        raise error(f"{name} must have three coordinates each, got shape {found.shape}")
    if not np.abs(found).max(initial=0.0) <= FARTHEST:
        bad = found.reshape(-1, 3)
        row = bad[int(np.argmin((np.abs(bad) <= FARTHEST).all(axis=1)))]
        raise error(f"{name}: {row.tolist()} is not finite, or beyond {FARTHEST:g} Angstrom")
    return found


def kind(
    name: str,
    value: object,
    wanted: type | tuple[type, ...],
    error: type[InputError] = InputError,
) -> None:
    """Refuse an object that is of another kind than the one wanted.

    Parameters
    ----------
    name : str
        What the object is, for the message.
    value : object
    wanted : type or tuple of types
    error : type, optional
        Class of the exception.

    Raises
    ------
    InputError
        Or the class given.
    """
    if not isinstance(value, wanted):
        types = wanted if isinstance(wanted, tuple) else (wanted,)
        names = " or ".join(one.__name__ for one in types)
        article = "an" if names[0] in "AEIOUaeio" else "a"
        raise error(f"{name} must be {article} {names}, got {type(value).__name__}")
