"""What is computed of each structure by default: its planes, its slip systems, its supercell.

A structure that is added to `KNOWN` has them; nothing else asks for a crystal's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from ase import Atoms
from ase.build import bulk

from qc.crystal import Crystal


@dataclass(frozen=True)
class SlipSystem:
    """A plane to cut a crystal on and a displacement of the upper half.

    Parameters
    ----------
    name : str
    plane : tuple of int
        Miller indices of the conventional cell.
    direction : tuple of int
        Miller indices; the full displacement is ``fraction`` times this vector.
    fraction : Fraction
    stable : str or None
        Name of the stable fault at the full displacement; None if that is a lattice vector.
    gap : {"widest", "narrowest"}
        Between which planes of atoms to cut, where they are not evenly spaced.
    """

    name: str
    plane: tuple[int, ...]
    direction: tuple[int, ...]
    fraction: Fraction
    stable: str | None = None
    gap: str = "widest"


@dataclass(frozen=True)
class Structure:
    """The defects of a structure that come with the bulk properties of a potential.

    Parameters
    ----------
    surfaces : tuple of (str, tuple of int)
        Names and Miller indices of the conventional cell.
    slip : tuple of SlipSystem
        Of its gamma lines.
    brick : callable
        Makes the orthogonal cell of a crystal that a vacancy's supercell is stacked of.
    has_growth_fault : bool
        Whether close-packed layers alternate so that one that is missing makes the fault I1.
    is_open : bool
        Whether the neighbours of a vacancy may bond to each other, which is tried then.
    """

    surfaces: tuple[tuple[str, tuple[int, ...]], ...]
    slip: tuple[SlipSystem, ...]
    brick: Callable[[Crystal], Atoms]
    has_growth_fault: bool = False
    is_open: bool = False


def _cube(crystal: Crystal) -> Atoms:
    return bulk(crystal.symbols[0], crystal.name, a=crystal.a, cubic=True)


def _hexagonal_brick(crystal: Crystal) -> Atoms:
    return bulk(crystal.symbols[0], crystal.name, a=crystal.a, c=crystal.c, orthorhombic=True)


_CUBIC = (("(100)", (1, 0, 0)), ("(110)", (1, 1, 0)), ("(111)", (1, 1, 1)))
_HALF, _THIRD, _SIXTH = Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)

#: By the name of the crystal.
KNOWN: dict[str, Structure] = {
    "fcc": Structure(
        surfaces=_CUBIC,
        slip=(
            SlipSystem("{111}<112>", (1, 1, 1), (1, 1, -2), _SIXTH, "intrinsic"),
            SlipSystem("{111}<110>", (1, 1, 1), (1, -1, 0), _HALF),
        ),
        brick=_cube,
    ),
    "bcc": Structure(
        surfaces=_CUBIC,
        slip=(
            SlipSystem("{110}<111>", (1, 1, 0), (1, -1, 1), _HALF),
            SlipSystem("{112}<111>", (1, 1, 2), (1, 1, -1), _HALF),
        ),
        brick=_cube,
    ),
    "hcp": Structure(
        surfaces=(
            ("basal (0001)", (0, 0, 0, 1)),
            ("prismatic (10-10)", (1, 0, -1, 0)),
            ("prismatic (11-20)", (1, 1, -2, 0)),
        ),
        slip=(
            SlipSystem("basal <10-10>", (0, 0, 0, 1), (1, 0, -1, 0), _THIRD, "intrinsic I2"),
            SlipSystem("basal <11-20>", (0, 0, 0, 1), (1, 1, -2, 0), _THIRD),
            SlipSystem("prismatic <11-20>", (1, 0, -1, 0), (1, -2, 1, 0), _THIRD),
        ),
        brick=_hexagonal_brick,
        has_growth_fault=True,
    ),
    "diamond": Structure(
        surfaces=_CUBIC,
        slip=(
            SlipSystem("glide {111}<112>", (1, 1, 1), (1, 1, -2), _SIXTH, "intrinsic", "narrowest"),
            SlipSystem("shuffle {111}<110>", (1, 1, 1), (1, -1, 0), _HALF),
        ),
        brick=_cube,
        is_open=True,
    ),
}

#: A crystal of any other structure: no planes are known.
OTHER = Structure(surfaces=(), slip=(), brick=Crystal.to_ase)


def structure_of(crystal: Crystal) -> Structure:
    """Return what is known of a crystal's structure."""
    return KNOWN.get(crystal.name, OTHER)
