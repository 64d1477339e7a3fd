"""The model a user holds: atoms where they are needed, continuum elsewhere, ASE at both ends."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from qc.coupling.as_atoms import every_atom, node_box, representative
from qc.coupling.embed import embed
from qc.coupling.model import Model
from qc.coupling.spec import WARM, ModelSpec, refuse_unknown
from qc.crystal import Crystal
from qc.mesh import Region
from qc.potentials import Potential

Array = NDArray[np.float64]


class QuasiContinuum(Model):
    """A crystal with atoms where they are needed and a continuum elsewhere.

    Parameters
    ----------
    crystal : Crystal
        Reference crystal; its mode decides between 3D, 2.5D and 2D.
    potential : Potential
    **options
        All others of `ModelSpec`: ``far_field``, ``scheme``, ``core``, ``blend``, ``outer``,
        ``centres``, ``defects``, ``temperature``, ``loads``, ...

    Attributes
    ----------
    spec : ModelSpec
        All of these, what was left open decided.
    layout : Layout
    coupling : Coupling
    U : (n_nodes, 3) float64, Angstrom
        Corrector displacements of the nodes: vertices first, then the atoms of further
        sublattices that vertices near the core carry, then extra atoms.

    Raises
    ------
    RegionError
        The core, blend or outer region is thinner than the potential needs.
    CrystalError
        No bond of the crystal under the mean deformation is within the potential's cutoff.
    UnknownSpeciesError
        An element the potential has no parameters for.
    InputError
        No such option, or one of another kind.

    Notes
    -----
    Crystals with a basis (hcp, diamond) have one mesh vertex for each primitive cell. Where atoms
    are, each sublattice moves on its own; in the continuum beyond, every element relaxes its
    sublattice shifts. Source: D. Olson, X. Li, C. Ortner & B. Van Koten, Numer. Math. 141 (2019)
    1 for blending of multilattices.
    """

    def __init__(self, crystal: Crystal, potential: Potential, **options: Any) -> None:
        refuse_unknown(options, "QuasiContinuum", ("crystal", "potential"))
        super().__init__(ModelSpec(crystal, potential, **options))

    @classmethod
    def from_atoms(cls, atoms: Atoms, potential: Potential, **options: Any) -> QuasiContinuum:
        """Find the defect in a set of atoms and embed it in a continuum.

        Recognises the crystal, its strain and rotation, finds vacancies, interstitials and foreign
        atoms, puts core, blend and halo around them, and meshes the surroundings.

        Parameters
        ----------
        atoms : ase.Atoms
            Periodic or free-standing, holding a point defect, a cluster of them or a void; fcc,
            bcc, hcp, diamond, or a compound B2, D0_3, L1_0, L1_2 or zincblende. A defect less than
            two cutoffs below a free surface is embedded with a warning in the log.
        potential : Potential
        **options
            Those of `ModelSpec` that the atoms do not decide (``scheme``, ``core``, ``blend``,
            ``outer``, ...). ``core`` counts from the non-affine atoms and the defective sites. With
            a ``temperature`` the atoms are taken for a static structure, and the model is what
            `with_temperature` makes of it.

        Raises
        ------
        CrystalError
            No crystal is recognised, the potential does not bind it, or the defect touches a
            surface; a monolayer.
        """
        warm = {name: options.pop(name) for name in WARM if name in options}
        found = embed(atoms, potential, options)
        model = build(found.spec)
        found.take_up(model)
        return model.with_temperature(**warm) if warm else model

    @property
    def offset(self) -> Array:
        """Translation from the model's frame to that of `to_ase`, (3,) Angstrom.

        The frame of the atoms given to `from_atoms`; else the nodes' box begins at the origin. The
        boxes of `all_atoms` have their own, in ``atoms.info["offset"]``.
        """
        return node_box(self).offset if self.given_offset is None else self.given_offset

    def to_ase(self) -> Atoms:
        """Return the representative atoms: one per occupied node, at its current position.

        Masses are the lumped ones. What the model holds is held by constraints of ASE, `FixAtoms`
        on the outer boundary and `FixCartesian` across a monolayer. The atoms lie in a cell that
        leaves a cutoff around all nodes, wrapped along the line in 2.5D; positions minus `offset`
        are in the model's frame. After `from_atoms` they are in the frame of the atoms given, and
        the cell begins at ``atoms.get_celldisp()``.
        """
        return representative(self)

    def all_atoms(self, region: Region | float | None = None) -> Atoms:
        """Return every atom of a part of the model, interpolated where the mesh is coarse.

        The atoms lie in a cell of their own that leaves a cutoff around them, wrapped along the
        line in 2.5D; positions minus ``atoms.info["offset"]`` are in the model's frame. After
        `from_atoms` they are in the frame of the atoms given, and the cell begins at
        ``atoms.get_celldisp()``.

        Parameters
        ----------
        region : Region or float, optional
            Part of the reference crystal; a number is a radius around the middle of the centres.
            Default: the patch of atoms.

        Raises
        ------
        RegionError
            More than 5e7 atoms were asked for.
        """
        return every_atom(self, region)


def build(spec: ModelSpec) -> QuasiContinuum:
    """Make the model of a specification."""
    model = QuasiContinuum.__new__(QuasiContinuum)
    Model.__init__(model, spec)
    return model
