"""The hull of a mesh: its faces, and the answers to whatever is asked about its boundary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.mesh.boundaries.face import Face

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Hull:
    """All faces of a mesh of which something is said; elsewhere it is held at the predictor.

    Attributes
    ----------
    faces : tuple of Face
    """

    faces: tuple[Face, ...] = ()

    @property
    def ended(self) -> tuple[Face, ...]:
        """Faces where the crystal ends."""
        return tuple(face for face in self.faces if face.ends)

    @property
    def ends(self) -> bool:
        """Whether the crystal ends anywhere, so that some sites have not all neighbours."""
        return bool(self.ended)

    @property
    def repeats(self) -> tuple[Face, ...]:
        """Faces whose nodes follow those of opposite ones."""
        return tuple(face for face in self.faces if face.period is not None)

    @property
    def periodic(self) -> tuple[Face, ...]:
        """All faces, of both ends, beyond which the crystal repeats itself."""
        own = [tuple(-face.plane) for face in self.repeats]
        return (*self.repeats, *(face for face in self.faces if tuple(face.plane) in own))

    def exists(self, lattice: IntArray) -> Mask:
        """Return which cells (n, 2 or 3) have sites, (n,)."""
        out = np.ones(len(lattice), dtype=bool)
        for face in self.ended:
            out &= face.layers_below(lattice) >= 0
        return out

    def shares(self, lattice: IntArray) -> Array:
        """Return sites' worth of crystal in each cell, (n,): 1/2 where a face cuts through."""
        out = np.ones(len(lattice))
        for face in self.ended:
            out[face.layers_below(lattice) <= 0] *= 0.5
        return out

    def depth(self, x: Array) -> Array:
        """Return the distance (n,) of positions (n, 3) to where the crystal ends, Angstrom."""
        out = np.full(len(x), np.inf)
        for face in self.ended:
            out = np.minimum(out, face.depth(x))
        return out

    def project(self, x: Array) -> Array:
        """Return positions (n, 3), those beyond the crystal moved back onto its faces."""
        for face in self.ended:
            x = face.project(x)
        return x

    def image(self, lattice: IntArray) -> IntArray:
        """Return for cells (n, 2 or 3) those that they repeat; others are their own images."""
        for face in self.repeats:
            assert face.period is not None
            period = np.zeros(np.shape(lattice)[1], dtype=np.int64)
            period[: len(face.period)] = face.period
            steps = (face.layers_below(lattice) - 1) // (face.plane @ face.period)
            lattice = np.asarray(lattice + steps[:, None] * period, dtype=np.int64)
        return lattice

    def counted(self, lattice: IntArray) -> Mask:
        """Return which cells (n, 2 or 3) repeat no others, (n,)."""
        return (self.image(lattice) == lattice).all(axis=1)

    # -- facets and nodes, which are rows of cells (n_n, 3) ---------------------------------------

    def on(self, face: Face, lattice: IntArray, facets: IntArray) -> Mask:
        """Return which facets (n, k), by their nodes, lie on a face, (n,)."""
        return np.asarray((face.layers_below(lattice)[facets] == 0).all(axis=1))

    def rest(self, lattice: IntArray, facets: IntArray, of: Callable[[Face], bool]) -> IntArray:
        """Return the facets that lie on none of the faces that a function chooses."""
        out = np.ones(len(facets), dtype=bool)
        for face in filter(of, self.faces):
            out &= ~self.on(face, lattice, facets)
        return facets[out]

    def free(self, lattice: IntArray, facets: IntArray) -> Mask:
        """Return the components of nodes that nothing on the hull holds, (n_n, 3)."""
        out = np.ones((len(lattice), 3), dtype=bool)
        out[self.rest(lattice, facets, lambda _: True)] = False
        for face in self.faces:
            mine = np.unique(facets[self.on(face, lattice, facets)])
            out[mine] &= face.free
        return out

    def displacement(self, lattice: IntArray, facets: IntArray) -> Array | None:
        """Return where held nodes are, (n_n, 3) Angstrom; None for at the predictor."""
        out = np.zeros((len(lattice), 3))
        for face in self.faces:
            mine = np.unique(facets[self.on(face, lattice, facets)])
            out[mine] = np.where(face.free, out[mine], face.displacement)
        return out if out.any() else None
