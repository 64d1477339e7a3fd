"""Where the predictor puts the sites and nodes of a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.continuum import starting_shifts
from qc.coupling.layout import Layout
from qc.coupling.surface import SurfaceRelaxation, relax_surface
from qc.farfield import FarField
from qc.materials import CauchyBorn
from qc.mesh import Hull

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Predictor:
    """Positions before any corrector: far field, sublattice shifts, relaxed surface layers.

    Parameters
    ----------
    rule : CauchyBorn
    far_field : FarField
    relaxations : sequence of SurfaceRelaxation
        What the layers of free surfaces add.
    """

    rule: CauchyBorn
    far_field: FarField
    relaxations: tuple[SurfaceRelaxation, ...] = ()

    @classmethod
    def of(cls, rule: CauchyBorn, far_field: FarField, hull: Hull) -> Predictor:
        """Return the predictor of a crystal with the free surfaces of a hull, relaxed."""
        mean = np.asarray(far_field.mean_deformation)
        return cls(rule, far_field, tuple(relax_surface(rule, one, mean) for one in hull.ended))

    @property
    def mean(self) -> Array:
        """Mean deformation gradient, (3, 3)."""
        return np.asarray(self.far_field.mean_deformation)

    def sites(self, x: Array, sublattice: IntArray | int) -> Array:
        """Positions of sites at reference positions ``x`` (n, 3), Angstrom."""
        if not len(x):
            return x
        rule = self.rule
        s = np.broadcast_to(np.asarray(sublattice, dtype=np.int64), len(x))
        y = np.asarray(x + self.far_field.displacement(x))
        for layers in self.relaxations:
            y = y + layers.displacement(x - rule.crystal.basis[s], s)
        if not rule.has_shifts:
            return y
        shifts = starting_shifts(rule, self.far_field, x - rule.crystal.basis[s])
        return np.asarray(y + shifts[np.arange(len(x)), s])

    def nodes(self, layout: Layout) -> Array:
        """Positions of all nodes, (n_nodes, 3) Angstrom."""
        y = self.sites(layout.node_positions, layout.node_sublattices)
        whole = np.nonzero(layout.whole_cells)[0]
        if len(whole):
            x = layout.mesh.positions[whole]
            every = enumerate(self.rule.crystal.basis)
            y[whole] = np.mean([self.sites(x + b, s) for s, b in every], axis=0)
        return y
