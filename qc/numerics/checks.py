"""Checks of what is handed in, numbers above all, in the same words everywhere.

Messages call the value by the ``name`` that a check is given. What does not pass raises InputError,
or another class of it that is given as ``error``.
"""

from __future__ import annotations

import contextlib
import math
import operator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

Array = NDArray[np.float64]

#: Atomic number of the last element that there are symbols for.
HEAVIEST = 118

#: Angstrom; a coordinate farther out has no digits left below 1e-4 Angstrom.
FARTHEST = 1e12

#: Points, images included, above which a search is refused instead of filling the memory.
MOST_POINTS = 200_000_000

#: Images above which it is refused, and so many times the atoms: the cutoff is longer than any
#: potential's, or the cell is in other units.
MOST_IMAGES, MOST_COPIES = 2_000_000, 30

#: Heights of a cell that a search may reach along one direction: beyond, it is flat or sheared
#: out of all shape.
MOST_DEEP = 1000


def real(name: str, value: object, error: type[InputError] = InputError) -> float:
    """Return one number as a float, refusing text, None and arrays; NaN and infinities pass."""
    if not isinstance(value, (str, bytes, bytearray)):
        # Nested lists of unequal lengths have no number of dimensions.
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            if not np.ndim(value):  # type: ignore[arg-type]
                return float(value)  # type: ignore[arg-type]
    raise error(f"{name} must be a number, got {value!r}")


def positive(name: str, value: object, error: type[InputError] = InputError) -> float:
    """Return a number that is positive and finite as a float."""
    number = real(name, value, error)
    if not 0.0 < number < math.inf:
        raise error(f"{name} must be positive and finite, got {value}")
    return number


def not_negative(name: str, value: object, error: type[InputError] = InputError) -> float:
    """Return a finite number that is zero or positive as a float."""
    number = real(name, value, error)
    if not 0.0 <= number < math.inf:
        raise error(f"{name} must be finite and not negative, got {value}")
    return number


def whole(name: str, value: object, least: int, error: type[InputError] = InputError) -> int:
    """Return an integer from ``least`` on, such as a number of steps (100_000, but not 1e5)."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise error(f"{name} must be a whole number, got {value!r}") from None
    if number < least:
        raise error(f"{name} must be at least {least}, got {value}")
    return number


def numbers(name: str, values: object, error: type[InputError] = InputError) -> NDArray[np.float64]:
    """Return real numbers as a new float64 array of whatever shape; NaN and infinities pass.

    Refused are text, None, complex numbers and nested lists of unequal lengths.
    """
    try:
        raw = np.asarray(values)
        if np.iscomplexobj(raw):
            raise TypeError("complex numbers")
        if raw.dtype.kind in "USM":
            raise TypeError(f"{values!r}")
        return np.array(raw, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as reason:
        raise error(f"{name} must be real numbers: {reason}") from reason


def coordinates(
    name: str, values: object, error: type[InputError] = InputError
) -> NDArray[np.float64]:
    """Return coordinates within `FARTHEST` as a new float64 array of shape (..., 3)."""
    found = numbers(name, values, error)
    if not found.ndim or found.shape[-1] != 3:
        raise error(f"{name} must have three coordinates each, got shape {found.shape}")
    if not np.abs(found).max(initial=0.0) <= FARTHEST:
        bad = found.reshape(-1, 3)
        row = bad[int(np.argmin((np.abs(bad) <= FARTHEST).all(axis=1)))]
        raise error(f"{name}: {row.tolist()} is not finite, or beyond {FARTHEST:g} Angstrom")
    return found


def shaped(
    name: str, values: object, shape: tuple[int, ...], error: type[InputError] = InputError
) -> NDArray[np.float64]:
    """Return real numbers of one shape as float64, the array itself where it is one."""
    if isinstance(values, np.ndarray) and values.dtype == np.float64:
        found = values
    else:
        found = numbers(name, values, error)
    if found.shape != shape:
        raise error(f"{name} must have shape {shape}, got {found.shape}")
    return found


def check_atomic_numbers(values: NDArray[np.int64], error: type[InputError] = InputError) -> None:
    """Refuse atomic numbers that no element has; the message names the atom."""
    bad = np.flatnonzero((values < 0) | (values > HEAVIEST))
    if len(bad):
        raise error(f"atom {bad[0]} has the atomic number {values[bad[0]]}, which is no element's")


def check_masses(atoms: Atoms, error: type[InputError] = InputError) -> None:
    """Refuse masses with which dynamics would go on in silence.

    Those that are set have to be positive and finite; the message names the atom.
    """
    if "masses" in atoms.arrays:
        masses = atoms.arrays["masses"]
        bad = np.flatnonzero(~(np.isfinite(masses) & (masses > 0)))
        if len(bad):
            raise error(f"mass of atom {bad[0]} must be positive, got {masses[bad[0]]}")


def refuse_images(
    atoms: int, margins: NDArray[np.float64], error: type[InputError] = InputError, what: str = ""
) -> None:
    """Refuse a search among too many points, images of the atoms included.

    That is more than `MOST_POINTS`, images that are out of all proportion to the atoms, or more
    than `MOST_DEEP` along one direction.

    Parameters
    ----------
    atoms : int
    margins : (k,) float
        Reach of the search in heights of the cell, along its periodic directions.
    error : type, optional
    what : str, optional
        Begins the message.
    """
    expected = atoms * float(np.prod(1 + 2 * margins))
    most = min(MOST_POINTS, MOST_IMAGES + MOST_COPIES * atoms)
    if not expected <= most or not margins.max(initial=0.0) <= MOST_DEEP:
        raise error(
            f"{what}the cutoff needs about {expected:.3g} images of the atoms: the cell is too "
            "thin, or too much sheared, for it"
        )


def function(name: str, value: object, error: type[InputError] = InputError) -> None:
    """Refuse what is neither None nor can be called."""
    if value is not None and not callable(value):
        raise error(f"{name} must be a function, got {value!r}")


def kind(
    name: str, value: object, wanted: type | tuple[type, ...], error: type[InputError] = InputError
) -> None:
    """Refuse an object that is of no kind that is wanted."""
    # A protocol takes a class for one of its instances.
    if not isinstance(value, wanted) or isinstance(value, type):
        types = wanted if isinstance(wanted, tuple) else (wanted,)
        names = " or ".join(one.__name__ for one in types)
        article = "an" if names[0] in "AEIOUaeio" else "a"
        raise error(f"{name} must be {article} {names}, got {type(value).__name__}")


def check_points(points: ArrayLike, name: str) -> Array:
    """Return ``points`` as (n, 3) finite float64."""
    values = check_finite(points, name)
    if values.ndim != 2 or values.shape[1] != 3:
        raise InputError(f"{name} must have shape (n, 3), not {values.shape}")
    return values


def check_finite(given: ArrayLike, name: str) -> Array:
    """Return numbers as a new float64 array; the message gives the index of what is not finite."""
    values = numbers(name, given)
    finite = np.isfinite(values)
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InputError(f"{name} holds {values[index]} at index {index}")
    return values


def check_deformation(deformation: ArrayLike, name: str) -> Array:
    """Return a deformation of positive determinant as a read-only (3, 3) float64 array."""
    matrix = check_finite(deformation, name)
    if matrix.shape != (3, 3):
        raise InputError(f"{name} must have shape (3, 3), not {matrix.shape}")
    determinant = float(np.linalg.det(matrix))
    if not determinant > 0.0:
        raise InputError(f"{name} must have a positive determinant, not {determinant:.3g}")
    matrix.setflags(write=False)
    return matrix
