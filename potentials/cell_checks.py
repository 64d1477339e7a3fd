"""What deformed cells of every family share: orders of derivatives, and checks of the arrays."""

from __future__ import annotations

import numpy as np

from qc.errors import InputError
from qc.numerics.jit import plain

from .base import Array, IntArray, Potential
from .checks import check_types


def check_cell(
    potential: Potential,
    F: Array,
    shifts: Array,
    vectors: Array,
    source: IntArray,
    target: IntArray,
    types: IntArray,
) -> tuple[Array, Array, Array, IntArray, IntArray, IntArray]:
    """Return contiguous F, shifts, bonds, sources, targets and types of well-formed cells.

    Raises
    ------
    InputError
        Shapes that do not fit, a bond to a sublattice that there is not, or a value that is not
        finite; the message names the bond or element.
    UnknownSpeciesError
        A type index outside the potential's species.
    """
    f, p, r = (plain(x) for x in (F, shifts, vectors))
    s, t, a = (plain(x, np.int64) for x in (source, target, types))
    if f.ndim != 3 or f.shape[1:] != (3, 3):
        raise InputError(f"F must have shape (n, 3, 3), not {f.shape}")
    if a.ndim != 1 or not len(a) or p.shape != (len(f), len(a), 3):
        raise InputError(f"shifts of {len(a)} sublattices in {len(f)} states have shape {p.shape}")
    if r.ndim != 2 or r.shape[1] != 3 or s.shape != (len(r),) or t.shape != (len(r),):
        raise InputError(f"bonds {r.shape}, sources {s.shape} and targets {t.shape} do not fit")
    for ends in (s, t):
        if len(ends) and (ends.min() < 0 or ends.max() >= len(a)):
            raise InputError(f"a bond ends on a sublattice beyond the {len(a)} there are")
    check_types(potential, a, "sublattice")
    if not np.isfinite(r).all():
        raise InputError(f"bond {int(np.argmin(np.isfinite(r).all(axis=1)))} is not finite")
    for values, what in ((f, "F"), (p, "a shift")):
        # A cheap test first: a sum is finite unless a term is not, or a finite one is absurd.
        if not np.isfinite(values.sum()) and not np.isfinite(values).all():
            bad = int(np.argmin(np.isfinite(values).all(axis=(1, 2))))
            raise InputError(f"{what} of element {bad} is not finite")
    return f, p, r, s, t, a


def check_cell_apart(f: Array, p: Array, r: Array, s: IntArray, t: IntArray) -> None:
    """Raise `InputError` with the bond if two sublattices are on one place.

    To be called where energies are not finite; it is too slow for every call.
    """
    for e in range(len(f)):
        d = r @ f[e].T + p[e, t] - p[e, s]
        for b in np.flatnonzero(~(np.einsum("bi,bi->b", d, d) > 1e-24)):
            raise InputError(f"bond {b} of sublattice {s[b]} in element {e} has zero length")
