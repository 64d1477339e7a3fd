"""Kernels of the elements: gradients of nodal fields, and stresses back to nodal forces."""

from __future__ import annotations

import numba

from qc.numerics.jit import kernel


@kernel(parallel=True)
def point_gradients(cells, elements, gradients, point_element, point_row, out):
    """Set ``out[q] = sum_a U_a (x) grad phi_a``; ``point_row`` tells the gradients of a point."""
    corners = elements.shape[1]
    for q in numba.prange(point_element.shape[0]):
        e = point_element[q]
        r = point_row[q]
        for i in range(3):
            xx = 0.0
            yy = 0.0
            zz = 0.0
            for a in range(corners):
                u = cells[elements[e, a], i]
                xx += u * gradients[r, a, 0]
                yy += u * gradients[r, a, 1]
                zz += u * gradients[r, a, 2]
            out[q, i, 0] = xx
            out[q, i, 1] = yy
            out[q, i, 2] = zz


@kernel(parallel=True)
def deform(f0, h, det, f):
    """Set ``F = F0 + H`` and its determinant."""
    for q in numba.prange(h.shape[0]):
        for i in range(3):
            for j in range(3):
                f[q, i, j] = f0[q, i, j] + h[q, i, j]
        det[q] = (
            f[q, 0, 0] * (f[q, 1, 1] * f[q, 2, 2] - f[q, 1, 2] * f[q, 2, 1])
            - f[q, 0, 1] * (f[q, 1, 0] * f[q, 2, 2] - f[q, 1, 2] * f[q, 2, 0])
            + f[q, 0, 2] * (f[q, 1, 0] * f[q, 2, 1] - f[q, 1, 1] * f[q, 2, 0])
        )


@kernel()
def add_forces(stress, elements, gradients, point_element, point_row, sign, out):
    """Add ``sign P_q grad phi_a`` of every point to the nodes of its element.

    In the order of the points, on one thread: the sums do not depend on the number of threads.
    """
    corners = elements.shape[1]
    for q in range(point_element.shape[0]):
        e = point_element[q]
        r = point_row[q]
        for a in range(corners):
            n = elements[e, a]
            x = sign * gradients[r, a, 0]
            y = sign * gradients[r, a, 1]
            z = sign * gradients[r, a, 2]
            for i in range(3):
                out[n, i] += stress[q, i, 0] * x + stress[q, i, 1] * y + stress[q, i, 2] * z
