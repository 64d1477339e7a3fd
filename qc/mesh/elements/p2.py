"""Quadratic elements: nodes at the corners and in the middle of the edges.

Masses are shared out in the ratio of the diagonal of the consistent mass matrix, which leaves all
of them positive. Source: E. Hinton, T. Rock & O. C. Zienkiewicz, Earthq. Eng. Struct. Dyn. 4 (1976)
245.
"""

import itertools

import numpy as np

from qc.mesh.elements.element import Array, Element


def _edges(d: int) -> Array:
    return np.array(list(itertools.combinations(range(d + 1), 2)))


def _nodes(d: int) -> Array:
    corners = np.eye(d + 1)
    return np.vstack([corners, corners[_edges(d)].mean(axis=1)])


def _values(b: Array) -> Array:
    i, j = _edges(b.shape[1] - 1).T
    return np.hstack([b * (2.0 * b - 1.0), 4.0 * b[:, i] * b[:, j]])


def _derivatives(b: Array) -> Array:
    n, corners = b.shape
    i, j = _edges(corners - 1).T
    out = np.zeros((n, corners + len(i), corners))
    own, edge = np.arange(corners), corners + np.arange(len(i))
    out[:, own, own] = 4.0 * b - 1.0
    out[:, edge, i], out[:, edge, j] = 4.0 * b[:, j], 4.0 * b[:, i]
    return out


def _sharing(d: int) -> Array:
    # Integrals of the squares, over that of one: 6 and 32 of 180 in the plane, 6 and 32 of 420 in
    # space.
    edges = len(_edges(d))
    weights = np.concatenate([np.full(d + 1, 6.0), np.full(edges, 32.0)])
    return weights.sum() / weights


ELEMENT = Element(2, _nodes, _values, _derivatives, _sharing)
