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
    virial[:] = 0.0
    n = len(forces)
    for k in range(len(positions) - n):
        j = owners[n + k]
        for a in range(3):
            if fold:
                forces[j, a] += images[k, a]
            for b in range(3):
                virial[a, b] -= images[k, a] * (positions[n + k, b] - positions[j, b])
    for i in range(n):
        for a in range(3):
            for b in range(3):
                virial[a, b] -= forces[i, a] * positions[i, b]
