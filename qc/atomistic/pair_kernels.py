"""Kernels of the pair list: gather positions, sort points into bins, fill neighbour rows.

Points are sorted by bin, z fastest, so the candidates in a column of bins are one contiguous run.
"""

from __future__ import annotations

import numba
import numpy as np

from qc.numerics.jit import kernel

# Indices are unsigned where it counts: numba checks signed ones for negative values.
_0, _1, _2, _3 = (np.uint64(k) for k in range(4))


@kernel(parallel=True)
def gather(positions, order, owners, shifts, reference, limit, cell, inverse, base, out):
    """Positions in the list's order, images behind; the number of atoms that moved too far.

    ``base`` (n, 3) is the translation from the caller's positions into the cell. An atom that was
    moved by periods (rows of ``cell``, zero where not periodic) keeps its place in the list:
    its translation changes.
    """
    n = len(order)
    stale = 0
    for p in numba.prange(n):
        i = order[p]
        x = positions[i, 0] + base[p, 0]
        y = positions[i, 1] + base[p, 1]
        z = positions[i, 2] + base[p, 2]
        dx = x - reference[p, 0]
        dy = y - reference[p, 1]
        dz = z - reference[p, 2]
        # Written so that NaN counts as too far.
        if not dx * dx + dy * dy + dz * dz <= limit:
            a = np.rint(dx * inverse[0, 0] + dy * inverse[1, 0] + dz * inverse[2, 0])
            b = np.rint(dx * inverse[0, 1] + dy * inverse[1, 1] + dz * inverse[2, 1])
            c = np.rint(dx * inverse[0, 2] + dy * inverse[1, 2] + dz * inverse[2, 2])
            sx = a * cell[0, 0] + b * cell[1, 0] + c * cell[2, 0]
            sy = a * cell[0, 1] + b * cell[1, 1] + c * cell[2, 1]
            sz = a * cell[0, 2] + b * cell[1, 2] + c * cell[2, 2]
            dx -= sx
            dy -= sy
            dz -= sz
            if not dx * dx + dy * dy + dz * dz <= limit:
                stale += 1
            base[p, 0] -= sx
            base[p, 1] -= sy
            base[p, 2] -= sz
            x -= sx
            y -= sy
            z -= sz
        out[p, 0] = x
        out[p, 1] = y
        out[p, 2] = z
    for k in numba.prange(len(shifts)):
        p = owners[n + k]
        out[n + k, 0] = out[p, 0] + shifts[k, 0]
        out[n + k, 1] = out[p, 1] + shifts[k, 1]
        out[n + k, 2] = out[p, 2] + shifts[k, 2]
    return stale


@kernel(parallel=True)
def scatter(order, sorted_energies, sorted_forces, energies, forces):
    """Back to the caller's order; the number of atoms with a result that is not finite."""
    bad = 0
    for p in numba.prange(len(order)):
        i = order[p]
        energies[i] = sorted_energies[p]
        total = sorted_energies[p]
        for c in range(3):
            forces[i, c] = sorted_forces[p, c]
            total += sorted_forces[p, c]
        if not np.isfinite(total):
            bad += 1
    return bad


@kernel()
def bin_points(points, origin, per_length, dims, bins, first, order):
    """Sort points by bin, stable: ``order`` lists them, ``first[b]:first[b + 1]`` are of bin b."""
    first[:] = 0
    for p in range(len(points)):
        b = 0
        for c in range(3):
            k = int((points[p, c] - origin[c]) * per_length[c])
            b = b * dims[c] + min(max(k, 0), dims[c] - 1)
        bins[p] = b
        first[b + 1] += 1
    for b in range(len(first) - 1):
        first[b + 1] += first[b]
    # Counted down from the end of each bin, then the ends are its starts again.
    for p in range(len(points) - 1, -1, -1):
        b = bins[p]
        first[b + 1] -= 1
        order[first[b + 1]] = p
    for b in range(len(first) - 2):
        first[b + 1] = first[b + 2]
    if len(first) > 1:
        first[len(first) - 1] = len(points)


@kernel()
def images(fractional, periodic, low, high, half, owners, shifts):
    """Owner (m,) and lattice shift (m, 3) of every image between ``low`` and ``high``.

    Returns their number; what does not fit into the arrays is only counted. For a half list only
    shifts whose first component that is not zero is positive.
    """
    found = 0
    first = np.zeros(3, np.int64)
    last = np.zeros(3, np.int64)
    for p in range(len(fractional)):
        for c in range(3):
            first[c] = 0
            last[c] = 0
            if periodic[c]:
                first[c] = int(np.ceil(low[c] - fractional[p, c]))
                last[c] = int(np.floor(high[c] - fractional[p, c]))
        for a in range(max(first[0], 0) if half else first[0], last[0] + 1):
            for b in range(max(first[1], 0) if half and a == 0 else first[1], last[1] + 1):
                lowest = 1 if half and a == 0 and b == 0 else first[2]
                for c in range(max(first[2], lowest), last[2] + 1):
                    if a == 0 and b == 0 and c == 0:
                        continue
                    if found < len(owners):
                        owners[found] = p
                        shifts[found, 0] = a
                        shifts[found, 1] = b
                        shifts[found, 2] = c
                    found += 1
    return found


@kernel()
def box(points, low, high):
    """Smallest and largest coordinates."""
    for c in range(3):
        low[c] = np.inf
        high[c] = -np.inf
    for p in range(len(points)):
        for c in range(3):
            low[c] = min(low[c], points[p, c])
            high[c] = max(high[c], points[p, c])


@kernel()
def _rows(
    rows, points, everyone, active, n, origin, per_length, dims, depth, first, first_image, reach,
    half, near, close, runs, row, start, neighbours,
):  # fmt: skip
    """Fill some rows; ``start`` is told from the first of them on. Returns the number of pairs."""
    capacity = np.uint64(len(neighbours))
    limit = reach * reach
    too_close = _0
    total = _0
    for i in range(rows[0], rows[1]):
        here = active[i]
        if not (half or here):
            start[i + 1] = total
            continue
        x = points[3 * i]
        y = points[3 * i + 1]
        z = points[3 * i + 2]
        sx = (x - origin[0]) * per_length[0]
        sy = (y - origin[1]) * per_length[1]
        sz = (z - origin[2]) * per_length[2]
        bx = min(max(int(sx), 0), dims[0] - 1)
        by = min(max(int(sy), 0), dims[1] - 1)
        # The runs of points, begin and end, in the columns of bins that the atom reaches.
        count = _0
        for kx in range(max(bx - depth[0], 0), min(bx + depth[0], dims[0] - 1) + 1):
            gap = max(kx - sx, sx - kx - 1.0, 0.0) / per_length[0]
            left = limit - gap * gap
            for ky in range(max(by - depth[1], 0), min(by + depth[1], dims[1] - 1) + 1):
                gap = max(ky - sy, sy - ky - 1.0, 0.0) / per_length[1]
                room = left - gap * gap
                # A little more than needed, for round-off.
                if room < -1e-9 * limit:
                    continue
                span = np.sqrt(max(room, 0.0)) * per_length[2] + 1e-6
                low = max(int(sz - span), 0)
                high = min(int(sz + span), dims[2] - 1) + 1
                column = (kx * dims[1] + ky) * dims[2]
                begin = first_image[column + low]
                end = first_image[column + high]
                if begin < end:
                    runs[count] = n + begin
                    runs[count + _1] = n + end
                    count += _2
                if half and (kx < bx or (kx == bx and ky < by)):
                    continue
                begin = first[column + low]
                end = first[column + high]
                if kx == bx and ky == by:
                    if not half:
                        runs[count] = begin
                        runs[count + _1] = i
                        count += _2
                    begin = i + 1
                runs[count] = begin
                runs[count + _1] = end
                count += _2
        found = _0
        for k in range(_0, count, _2):
            for j in range(np.uint64(runs[k]), np.uint64(runs[k + _1])):
                dx = points[_3 * j] - x
                dy = points[_3 * j + _1] - y
                dz = points[_3 * j + _2] - z
                r2 = dx * dx + dy * dy + dz * dz
                row[found] = j
                found += np.uint64((r2 <= limit) & (everyone | here | active[j]))
                too_close += np.uint64(r2 < near)
        if total + found <= capacity:
            for k in range(found):
                neighbours[total + k] = row[k]
        total += found
        start[i + 1] = total
    close[0] = too_close
    return total


@kernel(parallel=True)
def fill(
    parts, points, everyone, active, origin, per_length, dims, depth, first, first_image, reach,
    half, near, close, runs, row, counts, start, neighbours,
):  # fmt: skip
    """Rows of the owned points; the number of pairs in each part goes to ``counts``.

    ``points`` (flat) are sorted by bin, owned ones and then images. The rows are cut into
    ``parts``, each with a share of ``neighbours`` of the same size. If one did not fit, the counts
    say so, and ``start`` and ``neighbours`` mean nothing. ``close`` receives the number of pairs
    closer than ``near``; ``runs`` and ``row`` are scratch. A half list holds owned pairs in the row
    of the first, and all images it is given.
    """
    n = len(start) - 1
    share = len(neighbours) // parts
    for c in numba.prange(parts):
        rows = (n * c // parts, n * (c + 1) // parts)
        counts[c] = _rows(
            rows, points, everyone, active, n, origin, per_length, dims, depth, first, first_image,
            reach, half, near, close[c:], runs[c], row[c], start,
            neighbours[share * c : share * (c + 1)],
        )  # fmt: skip
    # Move the rows together, if all are there: what follows a part that did not fit would come to
    # lie beyond the end.
    for c in range(parts):
        if counts[c] > share:
            return
    start[0] = 0
    total = counts[0]
    for c in range(1, parts):
        for k in range(counts[c]):
            neighbours[total + k] = neighbours[share * c + k]
        for i in range(n * c // parts, n * (c + 1) // parts):
            start[i + 1] += total
        total += counts[c]
