"""Elastic constants of a crystal with or without a basis, and what its basis does under strain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.crystal import Crystal
from qc.crystal.bonded import require_bonds
from qc.errors import NonFiniteError
from qc.farfield.elastic import VOIGT
from qc.materials.cauchy_born import CauchyBorn
from qc.potentials import Potential

Array = NDArray[np.float64]

#: Constants that are equal, by crystal class, in the class's usual axes; all others vanish.
_CLASSES: dict[str, tuple[tuple[str, ...], ...]] = {
    "cubic": (("11", "22", "33"), ("12", "13", "23"), ("44", "55", "66")),
    "tetragonal": (("11", "22"), ("12",), ("13", "23"), ("33",), ("44", "55"), ("66",)),
    "orthorhombic": tuple((name,) for name in "11 12 13 22 23 33 44 55 66".split()),
}

#: Relative to the largest constant: equal, or zero.
_SAME = 1e-6


@dataclass(frozen=True)
class Elasticity:
    """Second derivatives of the energy of a stress-free crystal.

    Parameters
    ----------
    stiffness : (6, 6) float64, eV/Angstrom^3
        In Voigt order xx yy zz yz xz xy (engineering shears), the basis relaxed.
    clamped : (6, 6) float64, eV/Angstrom^3
        The same with all atoms moving with the strain: the unrelaxed constants.
    inner_displacements : (n_s, 3, 6) float64, Angstrom
        How the sublattices move per unit of each strain, on top of the strain, their mean at rest.
    kleinman : float or None
        Inner-displacement parameter of the diamond structure, 0 where the atoms follow the
        strain, 1 where all bond lengths stay as they are under shear of the cube.
    """

    stiffness: Array
    clamped: Array
    inner_displacements: Array
    kleinman: float | None

    @property
    def bulk_modulus(self) -> float:
        """Modulus under hydrostatic pressure, shape and basis relaxed (Reuss), eV/Angstrom^3."""
        return bulk_modulus(self.stiffness)

    def constant(self, name: str, clamped: bool = False) -> float:
        """Return one constant by its two Voigt indices counted from 1, such as ``"44"``."""
        table = self.clamped if clamped else self.stiffness
        return float(table[int(name[0]) - 1, int(name[1]) - 1])


def independent_constants(elastic: Elasticity) -> tuple[str, ...] | None:
    """Return the names of the constants that say everything, or None if the matrix has to.

    That the matrices are those of a cubic, hexagonal, tetragonal or orthorhombic crystal is read
    off them, in the Cartesian axes that they are given in.

    Source: J. F. Nye, Physical Properties of Crystals (1957), table 9.
    """
    for classes in _CLASSES.values():
        if all(_fits(table, classes) for table in (elastic.stiffness, elastic.clamped)):
            names = tuple(group[0] for group in classes)
            if "66" in names and "22" not in names and _is_hexagonal(elastic):
                return tuple(name for name in names if name != "66")
            return names
    return None


def _fits(table: Array, classes: tuple[tuple[str, ...], ...]) -> bool:
    left = table.copy()
    small = _SAME * np.abs(table).max()
    for group in classes:
        places = [(int(name[0]) - 1, int(name[1]) - 1) for name in group]
        if np.ptp([table[place] for place in places]) > small:
            return False
        for i, j in places:
            left[i, j] = left[j, i] = 0.0
    return bool(np.abs(left).max() < small)


def _is_hexagonal(elastic: Elasticity) -> bool:
    return all(
        abs(t[5, 5] - 0.5 * (t[0, 0] - t[0, 1])) < _SAME * np.abs(t).max()
        for t in (elastic.stiffness, elastic.clamped)
    )


def bulk_modulus(stiffness: Array) -> float:
    """Return the bulk modulus under hydrostatic pressure from a (6, 6) stiffness (Reuss).

    Strains that cost nothing, as shear does in some models, take no part; zero if none costs any.
    """
    compliance = float(np.linalg.pinv(stiffness, rcond=1e-12, hermitian=True)[:3, :3].sum())
    return 1.0 / compliance if compliance else 0.0


def elasticity(crystal: Crystal, potential: Potential) -> Elasticity:
    """Return the elastic constants of a crystal at zero stress and zero force.

    With A = d2E/de2, B = d2E/de du and K = d2E/du2 over strains e and sublattice displacements
    u, all from the potential's own bond Hessians, ``C = (A - B K^-1 B^T) / V``.

    Source: M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954), section 11; the
    parameter of the diamond structure: L. Kleinman, Phys. Rev. 128 (1962) 2614.

    Raises
    ------
    CrystalError
        No bond is within the cutoff.
    NonFiniteError
        The energy or a derivative of it is not finite.
    """
    require_bonds(crystal, potential)
    n, rest = crystal.n_sublattices, np.eye(3)[None]
    cell = CauchyBorn(crystal, potential).at_shifts(rest, np.zeros((1, n, 3)), "full")
    hessian = cell.hessian
    assert hessian is not None
    if not np.isfinite(hessian).all():
        raise NonFiniteError(
            f"{type(potential).__name__}: derivatives of the energy of {crystal.name} "
            f"{'-'.join(crystal.symbols)} are not finite"
        )
    # Sums over pairs of tensor indices make derivatives by Voigt strains.
    pairs = np.array([3 * k + m for k, m in VOIGT]), np.array([3 * m + k for k, m in VOIGT])
    by_strain = 0.5 * (hessian[0, pairs[0]] + hessian[0, pairs[1]])
    clamped = 0.5 * (by_strain[:, pairs[0]] + by_strain[:, pairs[1]])
    coupling = by_strain[:, 9:]
    # Where a displacement of the basis costs nothing, strain causes none.
    moved = -np.linalg.pinv(hessian[0, 9:, 9:], rcond=1e-9, hermitian=True) @ coupling.T
    stiffness = (clamped + coupling @ moved) / crystal.volume
    inner = np.concatenate([np.zeros((1, 3, 6)), moved.reshape(n - 1, 3, 6)])
    inner -= inner.mean(axis=0)
    return Elasticity(
        stiffness=0.5 * (stiffness + stiffness.T),
        clamped=0.5 * (clamped + clamped.T) / crystal.volume,
        inner_displacements=inner,
        kleinman=_kleinman(crystal, inner) if crystal.name == "diamond" else None,
    )


def _kleinman(crystal: Crystal, inner: Array) -> float:
    """Return zeta: under a shear g_yz of the cube, sublattice 1 moves by -zeta g_yz a/4 along x.

    That is for a bond along [111] from sublattice 0 to 1, and the opposite for one along -[111].
    """
    axes = crystal.rotation
    y, z = axes[:, 1], axes[:, 2]
    shear = np.outer(y, z) + np.outer(z, y)
    strain = np.array([shear[k, m] * (0.5 if k == m else 1.0) for k, m in VOIGT])
    apart = axes[:, 0] @ (inner[1] - inner[0]) @ strain
    bond = crystal.star(1.01 * crystal.nearest_neighbour)[0] @ axes
    return float(-4.0 * apart / crystal.a * np.sign(bond.prod()))
