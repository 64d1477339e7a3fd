"""The virial from the forces of a fused kernel, which keeps those on images apart."""

from __future__ import annotations

from qc.numerics.jit import kernel


@kernel()
def sum_virial(positions, forces, images, owners, fold, virial):
    """Fill ``virial`` (3, 3) with ``dE/dF`` at F = I, eV, atoms and cell deformed together.

    ``-sum f (x) y`` over all rows; of an image only what it lies off its owner counts, as its force
    is in the owner's ``forces`` (n, 3), or with ``fold`` is added to it here. ``images`` holds the
    forces on rows n and beyond of ``positions`` (n_all, 3) in its first three columns.
    """
    n = len(forces)
    # One column of the virial at a time, in registers.
    for b in range(3):
        x = 0.0
        y = 0.0
        z = 0.0
        for k in range(len(positions) - n):
            off = positions[owners[n + k], b] - positions[n + k, b]
            x += images[k, 0] * off
            y += images[k, 1] * off
            z += images[k, 2] * off
        virial[0, b] = x
        virial[1, b] = y
        virial[2, b] = z
    if fold:
        for k in range(len(positions) - n):
            for a in range(3):
                forces[owners[n + k], a] += images[k, a]
    for b in range(3):
        x = 0.0
        y = 0.0
        z = 0.0
        for i in range(n):
            x -= forces[i, 0] * positions[i, b]
            y -= forces[i, 1] * positions[i, b]
            z -= forces[i, 2] * positions[i, b]
        virial[0, b] += x
        virial[1, b] += y
        virial[2, b] += z
