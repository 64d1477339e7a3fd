"""Half lists of small crystals by looking at every pair, and what kernels should make of them."""

import numpy as np

from qc.potentials import Bonds, Pairs, ToyEAM


def sample(potential, seed=0, n=5, periodic=True, disorder=0.05):
    """Half pairs of a disordered crystal with images, by looking at everything."""
    rng = np.random.default_rng(seed)
    spacing = max(potential.cutoff / 2.2, 1.0)
    spacing = 1.0 if isinstance(potential, ToyEAM) else spacing
    grid = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    y = spacing * (grid + disorder * rng.normal(size=grid.shape))
    count, box = len(y), n * spacing
    reach = 1.05 * potential.cutoff
    owners, points = [np.arange(count)], [y]
    layers = int(np.ceil(reach / box)) if periodic else 0
    span = np.arange(-layers, layers + 1)
    for shift in np.stack(np.meshgrid(span, span, span, indexing="ij"), axis=-1).reshape(-1, 3):
        if not shift.any():
            continue
        moved = y + box * shift
        near = ((moved > -reach) & (moved < box + reach)).all(axis=1)
        owners.append(np.nonzero(near)[0])
        points.append(moved[near])
    owners, points = np.concatenate(owners), np.concatenate(points)
    gaps = np.linalg.norm(points[None] - points[:count, None], axis=2)
    sites, ends = np.nonzero(gaps < reach)
    # One of two owned atoms keeps the pair, at random; of a pair with an image half the copies.
    own = ends < count
    keep = own & ((sites < ends) ^ ((sites + ends) % 3 == 0)) & (sites != ends)
    shift = np.rint((points[ends] - y[owners[ends]]) / box)
    first = np.where(shift[:, 0] != 0, shift[:, 0], np.where(shift[:, 1], shift[:, 1], shift[:, 2]))
    keep |= ~own & (first > 0)
    sites, ends = sites[keep], ends[keep]
    pairs = Pairs(
        np.searchsorted(sites, np.arange(count + 1)).astype(np.int64),
        ends.astype(np.int32),
        owners.astype(np.int32),
        True,
    )
    types = rng.integers(len(potential.species), size=count)
    weights = rng.uniform(0.2, 1.0, count)
    weights[rng.permutation(count)[: count // 4]] = 0.0
    return points, types[owners], weights[owners], pairs


def generic(potential, points, types, weights, pairs):
    """The same from bond gradients of both directions of every pair."""
    n = pairs.n_sites
    i = np.repeat(np.arange(n), np.diff(pairs.start))
    j = pairs.owners[pairs.neighbours]
    vectors = points[pairs.neighbours] - points[i]
    order = np.argsort(np.concatenate([i, j]), kind="stable")
    sites, ends = np.concatenate([i, j])[order], np.concatenate([j, i])[order]
    bonds = Bonds(
        np.searchsorted(sites, np.arange(n + 1)).astype(np.int64),
        np.concatenate([vectors, -vectors])[order],
        types[:n],
        types[ends],
    )
    energies, gradients = potential.bond_gradients(bonds)
    pulls = weights[sites, None] * gradients
    forces = np.zeros((n, 3))
    np.add.at(forces, sites, pulls)
    np.add.at(forces, ends, -pulls)
    return np.where(weights[:n] != 0, energies, 0.0), forces


def assert_same(found, expected, bound=1e-12):
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() <= bound * max(np.abs(other).max(), 1e-300)
