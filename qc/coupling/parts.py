"""Sites and elements of a model with the weights that its scheme gives them."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from qc.atomistic.term import AtomisticTerm
from qc.continuum import ContinuumTerm
from qc.coupling.layout import Layout
from qc.coupling.predictor import Predictor
from qc.coupling.scheme import Scheme
from qc.coupling.slaved import slaved_fractions
from qc.coupling.terms import BlendedForces, Elements, Sites
from qc.coupling.weights import blended_weights, vertex_beta
from qc.materials.material import Material
from qc.materials.thermal import Thermal

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Parts:
    """The two terms of a coupling that the scheme weights.

    Parameters
    ----------
    layout : Layout
    predictor : Predictor
    scheme : Scheme
    thermal : Thermal, optional
        Adds the free energy of vibrations that are not explicit to the elements.
    material : Material, optional
        What elements are made of; the Cauchy-Born rule by default.
    pure : bool
        Full weights wherever blended forces need them, instead of blended ones.

    Attributes
    ----------
    sites : Sites
    elements : Elements
    n_counted : float
        How many sites the energy of the atoms counts.
    """

    def __init__(
        self,
        layout: Layout,
        predictor: Predictor,
        scheme: Scheme,
        thermal: Thermal | None = None,
        material: Material | None = None,
        *,
        pure: bool = False,
    ) -> None:
        rule, far_field, mean = predictor.rule, predictor.far_field, predictor.mean
        keep = ~layout.vacant
        site_weights, element_weights = _weights(layout, scheme, rule.potential.cutoff, pure)
        moving = layout.free.any(axis=1)
        atoms_only = not pure and not (scheme.weighting(layout.beta_nodes)[moving] > 0.0).any()
        if atoms_only:
            # Every unknown is a full atom: what elements there are at the rim hold a constant.
            element_weights = np.zeros_like(element_weights)
        continuum = ContinuumTerm(
            layout.space,
            rule if material is None else material,
            far_field,
            element_weights,
            layout.n_nodes,
            layout.sublattice_nodes,
        )
        if thermal is not None and thermal.expansion is not None:
            slaved = slaved_fractions(layout, thermal.quasi_static)
            continuum.set_vibration(thermal.expansion, slaved)
        self.n_counted = float(site_weights[keep].sum())
        sublattice = layout.sublattice[keep]
        bulk = rule.site_energies(mean[None], rule.predictor_shifts(mean)[None])[0]
        reference: float | Array = float(bulk[0])
        if len(bulk) > 1:
            reference = bulk[sublattice[site_weights[keep] > 0]]
        crystal = layout.mesh.crystal
        period = mean @ crystal.cell[2] if crystal.is_columns else None
        if atoms_only:
            rim = (site_weights > 0) & ~_moves(layout)
            self.n_counted -= float(site_weights[rim].sum())
            if not far_field.is_homogeneous:
                weighted = site_weights[keep] > 0
                reference = np.array(np.broadcast_to(reference, int(weighted.sum())))
                reference[rim[keep][weighted]] = _rim_energies(layout, predictor, rim, period)
        atoms = AtomisticTerm(
            rule.potential,
            np.ascontiguousarray(predictor.sites(layout.positions[keep], sublattice)),
            layout.types[keep],
            site_weights[keep],
            layout.interpolation[keep],
            reference=reference,
            period=period,
        )
        self.sites, self.elements = Sites(atoms, layout.node[keep]), Elements(continuum)

    def __copy__(self) -> Parts:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.sites, other.elements = copy.copy(self.sites), copy.copy(self.elements)
        return other

    @property
    def atoms(self) -> AtomisticTerm:
        """The sum over sites, in rows of atoms."""
        return self.sites.atoms

    @property
    def continuum(self) -> ContinuumTerm:
        """The sum over elements."""
        return self.elements.continuum

    def forces(self, u: Array) -> Array:
        """Return the forces of both, (n_nodes, 3) eV/Angstrom."""
        return self.sites.forces(u) + self.elements.forces(u)

    def energy_terms(self, u: Array) -> Array:
        """Return the addends of both energies, eV."""
        return np.concatenate([self.sites.energies(u), self.elements.energies(u)])

    def hessian_product(self, u: Array, du: Array) -> Array:
        """Return the second derivative of both times ``du``, (n_nodes, 3) eV/Angstrom."""
        return self.sites.hessian_product(u, du) + self.elements.hessian_product(u, du)

    def round_off(self, u: Array) -> float:
        """Return a bound on the round-off of both energies, eV."""
        return self.sites.round_off(u) + self.elements.round_off(u)

    def mixed(self, beta: Array) -> BlendedForces:
        """Return the forces of both, blended node by node with ``beta`` (n_nodes,)."""
        return BlendedForces(self.sites, self.elements, beta)


def _weights(layout: Layout, scheme: Scheme, cutoff: float, pure: bool) -> tuple[Array, Array]:
    """Weights of sites, vacant ones included, and of elements."""
    if not pure:
        # What is counted within the faces is not counted again beyond them.
        sites = (1.0 - scheme.weighting(layout.beta_cells)) * layout.counted
        return sites, blended_weights(layout, scheme.weighting, sites)
    # An atom's force needs the full energy of every site it belongs to.
    beta = scheme.weighting(layout.beta_atoms)
    distance = layout.blend.centres.distance(layout.positions)
    limit = distance[beta < 1.0].max(initial=-np.inf) + 1.1 * cutoff
    nodal = vertex_beta(layout, scheme.weighting(layout.beta_nodes), np.max)
    elements = (nodal[layout.mesh.elements] > 0).any(axis=1)
    return (distance <= limit).astype(float), elements.astype(float)


def _moves(layout: Layout) -> Mask:
    """Return which patch atoms are not held, (n,) bool; of a vacant site nothing is held."""
    has = layout.node >= 0
    out = layout.vacant.copy()
    out[has] |= layout.free[layout.node[has]].any(axis=1)
    return out


def _rim_energies(layout: Layout, predictor: Predictor, rim: Mask, period: Array | None) -> Array:
    """Energies of held sites at the predictor of the perfect crystal, eV.

    The sites that carry the neighbours of free atoms have a full energy, or forces would not be
    its gradient. What the predictor stores there belongs to the surroundings: it depends on how
    far the potential reaches, not on the state, and is counted as zero.
    """
    sites = ~layout.extra
    sublattice = layout.sublattice[sites]
    return AtomisticTerm(
        predictor.rule.potential,
        predictor.sites(layout.positions[sites], sublattice),
        layout.host_types[sublattice],
        rim[sites].astype(float),
        layout.interpolation[sites],
        reference=0.0,
        period=period,
    ).site_energies(np.zeros((layout.n_nodes, 3)))
