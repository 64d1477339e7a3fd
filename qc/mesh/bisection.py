"""Lattice bisection: Kuhn simplices of coarse lattice cells, refined down to single lattice cells.

Everything is integer arithmetic in mesh coordinates ``q``, so meshes conform by construction, every
vertex is a lattice site, meshes of one forest are nested, and locating a site is a descent of the
forest.

Source: J. M. Maubach, SIAM J. Sci. Comput. 16 (1995) 210, tagged simplices; H. W. Kuhn (1960) for
the initial partition of a cell.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.errors import MeshError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Forest:
    """A bisection forest over a grid of macro cells.

    Attributes
    ----------
    lower : (d,) int64
        Mesh coordinates of the grid's lower corner.
    cells : (d,) int64
        Macro cells along each axis.
    edge : int
        Macro cell edge, a power of two.
    vertices : (nv, d) int64
        Mesh coordinates of all vertices ever made.
    simplices : (ns, d + 1) int64
        Vertices of every simplex, in Maubach's order.
    tags : (ns,) int64
        Maubach tag; the refinement edge joins vertices 0 and ``tag``.
    child : (ns,) int64
        First of the two children (they are consecutive), or -1 for a leaf.
    """

    lower: IntArray
    cells: IntArray
    edge: int
    vertices: IntArray
    simplices: IntArray
    tags: IntArray
    child: IntArray

    @property
    def dim(self) -> int:
        """Space dimension of the mesh, 2 or 3."""
        return self.vertices.shape[1]

    @property
    def leaves(self) -> IntArray:
        """Indices of the leaf simplices."""
        return np.nonzero(self.child < 0)[0]

    def locate(self, q: IntArray) -> tuple[IntArray, Array]:
        """Find the leaf that holds each site and its barycentric coordinates there.

        Parameters
        ----------
        q : (n, d) int64
            Mesh coordinates.

        Returns
        -------
        leaf : (n,) int64
            Simplex index, -1 outside the grid.
        weights : (n, d + 1) float64
            Barycentric coordinates, zero outside; exact (dyadic rationals).
        """
        n, d = q.shape
        cell = (q - self.lower) // self.edge
        local = (q - self.lower) - cell * self.edge
        # A site on the upper face of the grid belongs to the last cell.
        last = (cell == self.cells) & (local == 0)
        cell = np.where(last, cell - 1, cell)
        local = np.where(last, self.edge, local)
        inside = np.all((cell >= 0) & (cell < self.cells), axis=1)
        leaf = np.full(n, -1, dtype=np.int64)
        weights = np.zeros((n, d + 1))
        if not inside.any():
            return leaf, weights
        cell, local = cell[inside], local[inside]
        order = np.argsort(-local, axis=1, kind="stable")
        ranked = np.take_along_axis(local, order, axis=1) / self.edge
        bary = np.empty((len(local), d + 1))
        bary[:, 0] = 1.0 - ranked[:, 0]
        bary[:, 1:d] = ranked[:, :-1] - ranked[:, 1:]
        bary[:, d] = ranked[:, -1]
        perms = {p: k for k, p in enumerate(itertools.permutations(range(d)))}
        lookup = np.full((d,) * d, -1, dtype=np.int64)
        for p, k in perms.items():
            lookup[p] = k
        perm = lookup[tuple(order.T)]
        strides = np.array([int(np.prod(self.cells[k + 1 :])) for k in range(d)])
        current = (cell @ strides) * len(perms) + perm
        active = np.nonzero(self.child[current] >= 0)[0]
        while len(active):
            s = current[active]
            tag = self.tags[s]
            b = bary[active]
            rows = np.arange(len(active))
            first, other = b[:, 0], b[rows, tag]
            upper = other > first
            new = b.copy()
            # Child 0 keeps vertex 0 and puts the midpoint in place `tag`; child 1 drops vertex 0,
            # shifts 1..tag down by one and puts the midpoint in place `tag`.
            keep = ~upper
            new[keep, 0] = (first - other)[keep]
            new[rows[keep], tag[keep]] = 2.0 * other[keep]
            for t in range(1, d + 1):
                pick = np.nonzero(upper & (tag == t))[0]
                new[pick[:, None], np.arange(t)] = b[pick[:, None], np.arange(1, t + 1)]
                new[pick, t - 1] = (other - first)[pick]
                new[pick, t] = 2.0 * first[pick]
            bary[active] = new
            current[active] = self.child[s] + upper
            active = active[self.child[current[active]] >= 0]
        leaf[inside] = current
        weights[inside] = bary
        return leaf, weights


def grow_forest(
    lower: IntArray,
    cells: IntArray,
    edge: int,
    too_coarse: Callable[[IntArray], NDArray[np.bool_]],
    periodic: Sequence[int] = (),
) -> Forest:
    """Refine a grid of macro cells until no simplex is too coarse and the mesh conforms.

    Parameters
    ----------
    lower, cells, edge
        The grid, see `Forest`.
    too_coarse : callable
        Takes simplices as mesh coordinates (n, d + 1, d) and returns an (n,) mask. Simplices of a
        single lattice cell are never offered a second time: they cannot be bisected.
    periodic : sequence of int
        Axes along which the two ends of the grid are refined alike.

    Raises
    ------
    MeshError
        ``edge`` is not a power of two, or the grid is empty.
    """
    d = len(lower)
    if edge < 1 or edge & (edge - 1):
        raise MeshError(f"macro cell edge must be a power of two, got {edge}")
    if np.any(cells < 1):
        raise MeshError(f"macro grid is empty: {tuple(int(c) for c in cells)} cells")
    span = cells * edge + 1
    if float(np.prod(span.astype(float))) > 2.0**62:
        raise MeshError("domain too large: lattice coordinates overflow 62 bits")
    strides = np.array([int(np.prod(span[k + 1 :])) for k in range(d)], dtype=np.int64)

    grid = np.stack(np.meshgrid(*[np.arange(c) for c in cells], indexing="ij"), -1).reshape(-1, d)
    perms = np.array(list(itertools.permutations(range(d))))
    paths = np.zeros((len(perms), d + 1, d), dtype=np.int64)
    for k, p in enumerate(perms):
        for step, axis in enumerate(p):
            paths[k, step + 1] = paths[k, step]
            paths[k, step + 1, axis] = 1
    corners = (grid[:, None, None, :] + paths[None]).reshape(-1, d + 1, d) * edge
    keys, inverse = np.unique(corners.reshape(-1, d) @ strides, return_inverse=True)
    simplices = [inverse.reshape(-1, d + 1).astype(np.int64)]
    tags = [np.full(len(simplices[0]), d, dtype=np.int64)]
    vertex_keys = keys  # key of each vertex, in creation order
    sorted_keys, sorted_ids = keys.copy(), np.arange(len(keys))
    child = np.full(len(simplices[0]), -1, dtype=np.int64)
    all_simplices, all_tags = simplices[0], tags[0]

    leaves = np.arange(len(all_simplices))
    fresh = np.ones(len(leaves), dtype=bool)  # not yet judged by size
    pairs = np.array(list(itertools.combinations(range(d + 1), 2)))

    def decode(k: IntArray) -> IntArray:
        return np.stack([(k // strides[a]) % span[a] for a in range(d)], axis=-1)

    def repeated(k: IntArray) -> IntArray:
        """Return keys, those of the upper end of a periodic axis as at the lower one."""
        for a in periodic:
            at_end = (k // strides[a]) % span[a] == span[a] - 1
            k = np.where(at_end, k - (span[a] - 1) * strides[a], k)
        return k

    while True:
        s, t = all_simplices[leaves], all_tags[leaves]
        k0 = vertex_keys[s[:, 0]]
        k1 = vertex_keys[s[np.arange(len(s)), t]]
        ends = decode(k0) + decode(k1)
        divisible = np.all(ends % 2 == 0, axis=1)
        mark = np.zeros(len(leaves), dtype=bool)
        judged = np.nonzero(fresh & divisible)[0]
        if len(judged):
            mark[judged] = too_coarse(decode(vertex_keys[s[judged]]) + lower)
        # A leaf with a vertex in the middle of one of its edges does not conform: bisect it too.
        rest = np.nonzero(divisible & ~mark)[0]
        if len(rest):
            q = decode(vertex_keys[s[rest]])
            sums = q[:, pairs[:, 0]] + q[:, pairs[:, 1]]
            even = np.all(sums % 2 == 0, axis=2)
            middle = repeated((sums // 2) @ strides)
            known = np.unique(repeated(sorted_keys)) if periodic else sorted_keys
            at = np.minimum(np.searchsorted(known, middle), len(known) - 1)
            mark[rest] = np.any(even & (known[at] == middle), axis=1)
        fresh[:] = False
        if not mark.any():
            break
        parents = leaves[mark]
        ps, pt = s[mark], t[mark]
        mid_keys = (ends[mark] // 2) @ strides
        new_keys = np.unique(mid_keys)
        at = np.minimum(np.searchsorted(sorted_keys, new_keys), len(sorted_keys) - 1)
        new_keys = new_keys[sorted_keys[at] != new_keys]
        new_ids = np.arange(len(vertex_keys), len(vertex_keys) + len(new_keys))
        vertex_keys = np.concatenate([vertex_keys, new_keys])
        place = np.searchsorted(sorted_keys, new_keys)
        sorted_keys = np.insert(sorted_keys, place, new_keys)
        sorted_ids = np.insert(sorted_ids, place, new_ids)
        mid = sorted_ids[np.searchsorted(sorted_keys, mid_keys)]

        n = len(ps)
        kids = np.empty((n, 2, d + 1), dtype=np.int64)
        kids[:, 0] = ps
        kids[np.arange(n), 0, pt] = mid
        kids[:, 1] = ps
        for tag in range(1, d + 1):
            pick = np.nonzero(pt == tag)[0]
            kids[pick[:, None], 1, np.arange(tag)] = ps[pick[:, None], np.arange(1, tag + 1)]
            kids[pick, 1, tag] = mid[pick]
        new_tags = np.where(pt > 1, pt - 1, d)
        first = len(all_simplices) + 2 * np.arange(n)
        child[parents] = first
        child = np.concatenate([child, np.full(2 * n, -1, dtype=np.int64)])
        all_simplices = np.concatenate([all_simplices, kids.reshape(-1, d + 1)])
        all_tags = np.concatenate([all_tags, np.repeat(new_tags, 2)])
        added = first[:, None] + np.arange(2)
        leaves = np.concatenate([leaves[~mark], added.ravel()])
        fresh = np.concatenate([fresh[~mark], np.ones(2 * n, dtype=bool)])

    return Forest(
        lower=np.asarray(lower, dtype=np.int64),
        cells=np.asarray(cells, dtype=np.int64),
        edge=int(edge),
        vertices=decode(vertex_keys) + lower,
        simplices=all_simplices,
        tags=all_tags,
        child=child,
    )
