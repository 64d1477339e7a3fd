"""The virial from the forces of a fused kernel, which keeps those on images apart."""

from __future__ import annotations

from qc.numerics.jit import kernel


@kernel()
def sum_virial(positions, forces, images, owners, virial):
    """Fill ``virial`` (3, 3) with ``dE/dF`` at F = I, eV, atoms and cell deformed together.

    ``-sum f (x) y`` over all rows; of an image only what it lies off its owner counts, as its force
    is in the owner's ``forces`` (n, 3). ``images`` holds the forces on rows n and beyond of
    ``positions`` (n_all, 3) in its first three columns.
    """
    n = len(forces)
    # Nine sums that do not wait for each other.
    xx = xy = xz = yx = yy = yz = zx = zy = zz = 0.0
    for k in range(len(positions)):
        if k < n:
            fx, fy, fz = forces[k, 0], forces[k, 1], forces[k, 2]
            x, y, z = positions[k, 0], positions[k, 1], positions[k, 2]
        else:
            j = owners[k]
            fx, fy, fz = images[k - n, 0], images[k - n, 1], images[k - n, 2]
            x = positions[k, 0] - positions[j, 0]
            y = positions[k, 1] - positions[j, 1]
            z = positions[k, 2] - positions[j, 2]
        xx -= fx * x
        xy -= fx * y
        xz -= fx * z
        yx -= fy * x
        yy -= fy * y
        yz -= fy * z
        zx -= fz * x
        zy -= fz * y
        zz -= fz * z
    virial[0, 0], virial[0, 1], virial[0, 2] = xx, xy, xz
    virial[1, 0], virial[1, 1], virial[1, 2] = yx, yy, yz
    virial[2, 0], virial[2, 1], virial[2, 2] = zx, zy, zz


@kernel()
def fold(images, owners, forces):
    """Add the forces on images, the rows behind those of ``forces`` (n, 3), to their owners."""
    n = len(forces)
    for k in range(len(images)):
        for c in range(3):
            forces[owners[n + k], c] += images[k, c]
