"""What goes into an ASE calculator and what comes out of it, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.errors import (
    CapabilityError,
    InputError,
    NonFiniteError,
    PotentialError,
    UnknownSpeciesError,
)

from ..base import Array, IntArray


def check_calculator(calculator: Any) -> None:
    """Raise `InputError` for something else, `CapabilityError` for one without forces."""
    # ASE is imported where it is needed: a potential by itself depends on numpy and numba only.
    from ase import Atoms

    what = type(calculator).__name__
    if isinstance(calculator, type):
        raise InputError(f"pass an instance of {calculator.__name__}, not the class itself")
    if isinstance(calculator, Atoms):
        raise InputError("expected an ASE calculator, got Atoms; pass atoms.calc")
    for method in ("get_potential_energy", "get_forces", "get_stress"):
        if not callable(getattr(calculator, method, None)):
            raise InputError(f"expected an ASE calculator, but {what} has no method {method}")
    has = getattr(calculator, "implemented_properties", None)
    if isinstance(has, list | tuple | set) and has:
        for name, enough in (("energy", {"energy", "free_energy"}), ("forces", {"forces"})):
            if not enough & set(has):
                raise CapabilityError(f"{what} has no {name}; it has {', '.join(sorted(has))}")


def atomic_numbers(species: tuple[str, ...]) -> IntArray:
    """Return the atomic number of each chemical symbol, (n,) int64."""
    from ase.data import atomic_numbers as known

    if not all(isinstance(symbol, str) for symbol in species):
        raise UnknownSpeciesError(f"species must be chemical symbols, got {species!r}")
    if not species or len(set(species)) != len(species):
        raise InputError(f"species must be distinct chemical symbols, got {species!r}")
    for symbol in species:
        if not isinstance(symbol, str) or symbol not in known:
            raise UnknownSpeciesError(f"{symbol!r} is no chemical symbol")
    return np.array([known[s] for s in species], dtype=np.int64)


def checked_number(value: Any, what: str, low: float | None) -> float:
    """Return a finite float, above ``low``, or not negative where ``low`` is None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{what} must be a number, got {value!r}") from None
    if not np.isfinite(number) or number < 0 or (low is not None and number <= low):
        sign = "not negative" if low is None else "positive"
        raise InputError(f"{what} must be finite and {sign}, got {number}")
    return number


def checked_flags(pbc: Sequence[bool]) -> tuple[bool, bool, bool]:
    """Return periodicity as three booleans."""
    flags = np.asarray(pbc)
    if flags.shape != (3,) or flags.dtype.kind != "b":
        raise InputError(f"pbc must be three booleans, got {pbc!r}")
    return bool(flags[0]), bool(flags[1]), bool(flags[2])


def checked_array(values: ArrayLike, what: str, shape: tuple[int | None, ...]) -> Array:
    """Return a finite float64 array of the shape, None standing for any number of rows."""
    try:
        if np.iscomplexobj(values):
            raise TypeError
        array = np.ascontiguousarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{what} must be an array of numbers, real ones") from None
    wanted = tuple(got if k is None else k for k, got in zip(shape, array.shape, strict=False))
    if array.ndim != len(shape) or array.shape != wanted:
        text = ", ".join("n" if k is None else str(k) for k in shape)
        raise InputError(f"{what} must have shape ({text}), not {array.shape}")
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array).reshape(len(array), -1).all(axis=1)))
        raise InputError(f"{what}: row {row} is not finite")
    return array


def checked_result(value: Any, what: str, shape: tuple[int, ...] | None, name: str) -> Array:
    """Return a calculator's result as float64; a copy, because it may be a buffer it reuses."""
    if np.iscomplexobj(value):
        raise PotentialError(f"{name} returned {what} that are complex")
    try:
        array: NDArray[np.float64] = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as fault:
        raise PotentialError(f"{name} returned {what} that are no numbers") from fault
    if (array.size != 1) if shape is None else (array.shape != shape):
        wanted = "one number" if shape is None else f"shape {shape}"
        raise PotentialError(f"{name} returned {what} of shape {array.shape}, not {wanted}")
    if not np.isfinite(array).all():
        where = ""
        if what == "forces":
            where = f" on atom {int(np.argmin(np.isfinite(array).all(axis=1)))}"
        raise NonFiniteError(f"{name} returned {what}{where} that are not finite")
    return array


def checked_stress(value: Any, name: str) -> Array:
    """Return the stress (3, 3) from ASE's order xx, yy, zz, yz, xz, xy or from a matrix."""
    if np.shape(value) == (3, 3):
        matrix = checked_result(value, "stress", (3, 3), name)
        return 0.5 * (matrix + matrix.T)
    xx, yy, zz, yz, xz, xy = checked_result(value, "stress", (6,), name)
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def plain(value: Any) -> Any:
    """Return parameters as JSON can write them; of objects only the class is left."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return f"{type(value).__module__}.{type(value).__qualname__}"
