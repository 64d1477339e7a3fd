"""What the three-body families share: parameters by triple, and the way into a fused kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike

from qc.errors import InputError, PotentialError

from ..base import Array, IntArray, Pairs, Potential
from ..checks import check_types
from ..virial_kernels import fold, sum_virial

#: A cutoff beyond this many Angstrom is a typing error.
MAXIMUM_CUTOFF = 1e3

#: Fewer rows than this are not worth a thread of their own.
MINIMUM_SHARE = 64


def check_species(species: str | Sequence[str]) -> tuple[str, ...]:
    """Return species as a tuple.

    Raises
    ------
    PotentialError
        None, or one given twice.
    """
    names = (species,) if isinstance(species, str) else tuple(str(s) for s in species)
    if not names or len(set(names)) != len(names):
        raise PotentialError(f"species must be distinct and at least one, not {names}")
    return names


def triples(value: ArrayLike, name: str, species: Sequence[str], lowest: float | None) -> Array:
    """Return a read-only parameter for each triple, (ns, ns, ns), from anything that spreads to it.

    Raises
    ------
    PotentialError
        The wrong shape, not finite, or below ``lowest``; the message names the triple.
    """
    ns = len(species)
    try:
        given = np.broadcast_to(np.asarray(value, dtype=np.float64), (ns, ns, ns)).copy()
    except (TypeError, ValueError) as error:
        raise PotentialError(
            f"{name} must be a number or have shape {(ns, ns, ns)}: {error}"
        ) from error
    bad = ~np.isfinite(given)
    if lowest is not None:
        bad |= ~(given >= lowest)
    if bad.any():
        where = np.argwhere(bad)[0]
        triple = " ".join(species[k] for k in where)
        limit = "" if lowest is None else f" and at least {lowest:g}"
        raise PotentialError(
            f"{name} of {triple} must be finite{limit}, not {given[tuple(where)]:g}"
        )
    given.flags.writeable = False
    return given


def check_cutoff(cutoff: float) -> float:
    """Return the range of a potential.

    Raises
    ------
    PotentialError
        Not positive, or absurd.
    """
    if not 0.0 < cutoff <= MAXIMUM_CUTOFF:
        raise PotentialError(
            f"the cutoff must be positive and at most {MAXIMUM_CUTOFF:g} Angstrom, not {cutoff:g}"
        )
    return float(cutoff)


def find_asymmetry(values: Array, species: Sequence[str], swap: tuple[int, ...]) -> str | None:
    """Return a triple whose value changes when its indices are permuted by ``swap``, or None."""
    other = values.transpose(swap)
    size = np.maximum(np.abs(values), np.abs(other))
    uneven = np.abs(values - other) > 1e-12 * size
    if not uneven.any():
        return None
    triple = tuple(int(k) for k in np.argwhere(uneven)[0])
    one = " ".join(species[k] for k in triple)
    two = " ".join(species[triple[k]] for k in swap)
    return f"{one} and {two}"


def fused(
    potential: Potential,
    kernel: Callable[..., Any],
    tables: tuple[Any, ...],
    scratch: Callable[[int], tuple[tuple[int, int], tuple[int, int]]],
    positions: Array,
    types: IntArray,
    weights: Array,
    pairs: Pairs,
    virial: Array | None = None,
) -> tuple[Array, Array]:
    """Return site energies (n,) and forces (n, 3) from a kernel that works on full rows.

    Each thread has a static share of the rows, an accumulator of its own for forces, and two
    arrays of scratch, whose shapes ``scratch`` tells for the longest row.

    Raises
    ------
    InputError
        Arrays that do not fit, a half list, a value that is not finite, two atoms at one place.
    UnknownSpeciesError
        A type index outside the potential's species.
    """
    y, t, w, start, neighbours, owners = check_pairs(potential, positions, types, weights, pairs)
    n = len(start) - 1
    threads = max(1, min(numba.get_num_threads(), n // MINIMUM_SHARE))
    longest = int(np.diff(start).max(initial=0)) + 1
    one, two = (np.empty((threads, *shape)) for shape in scratch(longest))
    near = np.empty((threads, 2, longest), dtype=np.int64)
    # For a virial the forces on images are kept apart.
    rows = owners if virial is None else np.arange(len(y), dtype=np.int32)
    energies, forces = np.empty(n), np.zeros((threads, n if virial is None else len(y), 3))
    kernel(y, t, w, start, neighbours, rows, *tables, one, two, near, energies, forces)
    total = forces[0]
    for share in forces[1:]:
        total += share
    if virial is not None:
        total, images = total[:n], total[n:]
        fold(images, owners, total)
        sum_virial(y, total, images, owners, virial)
    if not np.isfinite(total.sum()) or not np.isfinite(energies.sum()):
        _explain(y, w, start, neighbours)
    return energies, total


def check_pairs(
    potential: Potential, positions: Array, types: IntArray, weights: Array, pairs: Pairs
) -> tuple[Array, IntArray, Array, IntArray, Any, Any]:
    """Return the contiguous arrays of a full list that a fused kernel can take.

    Raises
    ------
    InputError
        Arrays that do not fit, a half list, a value that is not finite.
    UnknownSpeciesError
        A type index outside the potential's species.
    """
    if pairs.half:
        raise InputError(f"{type(potential).__name__} needs a full list, this one is half")
    y = np.ascontiguousarray(positions, dtype=np.float64)
    t = np.ascontiguousarray(types, dtype=np.int64)
    w = np.ascontiguousarray(weights, dtype=np.float64)
    start = np.ascontiguousarray(pairs.start, dtype=np.int64)
    neighbours = np.ascontiguousarray(pairs.neighbours, dtype=np.int32)
    owners = np.ascontiguousarray(pairs.owners, dtype=np.int32)
    n_all, n = len(y), len(start) - 1
    if y.ndim != 2 or y.shape[1] != 3:
        raise InputError(f"positions must have shape (n, 3), not {y.shape}")
    if n < 0 or n > n_all or any(a.shape != (n_all,) for a in (t, w, owners)):
        raise InputError(
            f"types {t.shape}, weights {w.shape}, owners {owners.shape} and start {start.shape} "
            f"do not fit {n_all} atoms and images"
        )
    if start[0] != 0 or start[-1] != len(neighbours) or (np.diff(start) < 0).any():
        raise InputError(f"start must rise from 0 to the number of pairs, {len(neighbours)}")
    for name, rows, limit in (("neighbour", neighbours, n_all), ("owner", owners, n)):
        if len(rows) and (rows.min() < 0 or rows.max() >= limit):
            raise InputError(f"{name} {int(rows.max())} is named, there are {limit} atoms")
    check_types(potential, t, "atom")
    # A cheap test first: a sum is finite unless a term is not, or a finite one is absurd.
    for name, values in (("position", y), ("weight", w)):
        if not np.isfinite(values.sum()) and not np.isfinite(values).all():
            bad = int(np.argmin(np.isfinite(values).reshape(n_all, -1).all(axis=1)))
            raise InputError(f"{name} of atom {bad} is not finite: {values[bad]}")
    return y, t, w, start, neighbours, owners


def _explain(y: Array, weights: Array, start: IntArray, neighbours: Any) -> None:
    """Raise with the pair if two atoms are at the same place; else leave the result as it is."""
    sites = np.repeat(np.arange(len(start) - 1), np.diff(start))
    same = np.nonzero((y[neighbours] == y[sites]).all(axis=1) & (weights[sites] != 0.0))[0]
    if len(same):
        b = int(same[0])
        raise InputError(f"atoms {sites[b]} and {neighbours[b]} are at the same place")


def check_changes(dvectors: Array, vectors: Array) -> Array:
    """Return contiguous bond changes of the shape of the bonds.

    Raises
    ------
    InputError
        Another shape.
    """
    changes = np.ascontiguousarray(dvectors, dtype=np.float64)
    if changes.shape != vectors.shape:
        raise InputError(f"dvectors has shape {changes.shape}, the bonds {vectors.shape}")
    return changes
