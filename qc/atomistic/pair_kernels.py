"""Kernels of the pair list: gather positions, sort points into bins, fill neighbour rows.

Points are sorted by bin, z fastest, so the candidates in a column of bins are one contiguous run.
"""

from __future__ import annotations

import numpy as np

from qc.numerics.jit import kernel


@kernel()
def gather(positions, order, owners, shifts, reference, limit, cell, inverse, base, out):
    """Positions in the list's order, images behind; 1 if an atom has moved too far.

    ``base`` (n, 3) is the translation from the caller's positions into the cell. An atom that was
    moved by periods (rows of ``cell``, zero where not periodic) keeps its place in the list:
    its translation changes.
    """
    n = len(order)
    for p in range(n):
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
                return 1
            base[p, 0] -= sx
            base[p, 1] -= sy
            base[p, 2] -= sz
            x -= sx
            y -= sy
            z -= sz
        out[p, 0] = x
        out[p, 1] = y
        out[p, 2] = z
    for k in range(len(shifts)):
        p = owners[n + k]
        out[n + k, 0] = out[p, 0] + shifts[k, 0]
        out[n + k, 1] = out[p, 1] + shifts[k, 1]
        out[n + k, 2] = out[p, 2] + shifts[k, 2]
    return 0


@kernel()
def scatter(order, sorted_energies, sorted_forces, energies, forces):
    """Back to the caller's order; the number of atoms with a result that is not finite."""
    bad = 0
    for p in range(len(order)):
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
def fill(
    points, active, n, origin, per_length, dims, depth, first, first_image, reach, half, nearest,
    start, neighbours,
):  # fmt: skip
    """Rows of the ``n`` owned points; returns the number of pairs.

    ``points`` are sorted by bin, owned ones and then images. A number above the length of
    ``neighbours`` says that they did not fit. ``nearest`` (1,) receives the smallest squared
    distance. A half list holds owned pairs in the row of the first, and all images it is given.
    """
    capacity = len(neighbours)
    limit = reach * reach
    found = 0
    closest = np.inf
    start[0] = 0
    for i in range(n):
        if not (half or active[i]):
            start[i + 1] = found
            continue
        xi = points[i, 0]
        yi = points[i, 1]
        zi = points[i, 2]
        bx = min(max(int((xi - origin[0]) * per_length[0]), 0), dims[0] - 1)
        by = min(max(int((yi - origin[1]) * per_length[1]), 0), dims[1] - 1)
        bz = min(max(int((zi - origin[2]) * per_length[2]), 0), dims[2] - 1)
        low = max(bz - depth[2], 0)
        high = min(bz + depth[2], dims[2] - 1) + 1
        for image in range(2):
            for kx in range(max(bx - depth[0], 0), min(bx + depth[0], dims[0] - 1) + 1):
                for ky in range(max(by - depth[1], 0), min(by + depth[1], dims[1] - 1) + 1):
                    column = (kx * dims[1] + ky) * dims[2]
                    if image:
                        begin = n + first_image[column + low]
                        end = n + first_image[column + high]
                    else:
                        if half and (kx < bx or (kx == bx and ky < by)):
                            continue
                        begin = first[column + low]
                        end = first[column + high]
                        if half and kx == bx and ky == by:
                            begin = i + 1
                    fits = found + (end - begin) <= capacity
                    for j in range(begin, end):
                        x = points[j, 0] - xi
                        y = points[j, 1] - yi
                        z = points[j, 2] - zi
                        r2 = x * x + y * y + z * z
                        here = r2 <= limit and (active[i] or active[j]) and j != i
                        if here and r2 < closest:
                            closest = r2
                        if fits:
                            neighbours[found] = j
                        found += here
        start[i + 1] = found
    nearest[0] = closest
    return found
