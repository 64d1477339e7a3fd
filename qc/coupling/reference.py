"""What atoms are counted with: chemical potentials, and the energy of a defect over them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from ase.data import atomic_numbers

from qc.coupling.layout import Layout
from qc.crystal import Crystal
from qc.errors import InputError, suggest
from qc.farfield import FarField
from qc.materials import CauchyBorn, equilibrium_crystal
from qc.materials.lattice import isolated_energy
from qc.numerics.checks import kind, real
from qc.potentials import Potential

#: Sources of a chemical potential that nobody gave.
HOST, FREE_ATOM = "perfect host", "free atom"


class Reference(NamedTuple):
    """What the atoms of one element are counted with.

    Attributes
    ----------
    added : int
        Atoms that the defect has more than the perfect crystal; negative where atoms are missing.
    mu : float, eV
        Chemical potential: energy of one such atom where it comes from, or goes to.
    source : str
        Where that number is from.
    """

    added: int
    mu: float
    source: str


def atoms_added(layout: Layout) -> dict[int, int]:
    """Return, by type, how many atoms a layout has more than its perfect crystal."""
    n = int(max(layout.types.max(initial=0), layout.host_types.max())) + 1
    counted = layout.counted
    host = layout.host_types[layout.sublattice[counted & ~layout.extra]]
    change = np.bincount(layout.types[counted & ~layout.vacant], minlength=n)
    change -= np.bincount(host, minlength=n)
    return {int(t): int(change[t]) for t in np.flatnonzero(change)}


class References:
    """What the atoms that a defect adds or takes away are counted with.

    An element without a chemical potential counts as in the perfect crystal under the model's mean
    deformation, if that holds no other element, and as a free atom otherwise.

    Parameters
    ----------
    layout, rule, far_field
        Of the model.
    mu : mapping of str to float or Crystal, optional
        Chemical potentials in eV, or crystals of the element, which count with their energy per
        atom at rest.

    Attributes
    ----------
    elements : dict of str to Reference
        Of the elements whose number of atoms the defect changes.

    Raises
    ------
    InputError
        A chemical potential that is no finite number, or a crystal of another element.
    UnknownSpeciesError
        An element the potential does not know.
    CrystalError
        A crystal that the potential does not hold together.
    """

    def __init__(
        self,
        layout: Layout,
        rule: CauchyBorn,
        far_field: FarField,
        mu: Mapping[str, float | Crystal] | None = None,
    ) -> None:
        potential, mean = rule.potential, np.asarray(far_field.mean_deformation)[None]
        given = {} if mu is None else check_mu(mu)
        potential.types_of(list(given))
        host = set(rule.crystal.symbols)
        self.elements: dict[str, Reference] = {}
        for t, added in atoms_added(layout).items():
            symbol = potential.species[t]
            if symbol in given:
                found = _given(symbol, given[symbol], potential)
            elif host == {symbol}:
                found = float(rule.site_energy(mean)[0]), HOST
            else:
                found = isolated_energy(potential, symbol), FREE_ATOM
            self.elements[symbol] = Reference(added, *found)
        bulk = rule.site_energies(mean, rule.predictor_shifts(mean[0])[None])[0]
        sites = np.broadcast_to(bulk, rule.n_sublattices)[layout.sublattice]
        # What `Coupling.defect_energy` takes these atoms for: extra ones less missing ones.
        missing = layout.vacant & layout.counted
        self._host = math.fsum(sites[layout.extra]) - math.fsum(sites[missing])

    def energy(self, defect_energy: float) -> float:
        """Return a `Coupling.defect_energy`, eV, over these references instead of host sites."""
        counted = [-one.added * one.mu for one in self.elements.values()]
        return math.fsum([defect_energy, self._host, *counted])

    def warnings(self) -> list[str]:
        """Return a warning where atoms count as free ones because nothing was said."""
        free = {s: one for s, one in self.elements.items() if one.source == FREE_ATOM}
        if not free:
            return []
        words = ", ".join(f"{one.added:+d} {s} (mu = {one.mu:.4f} eV)" for s, one in free.items())
        return [
            f"defect_energy counts free atoms: {words}; for a formation energy give chemical "
            f"potentials, mu={{'{next(iter(free))}': ...}}"
        ]


def check_mu(mu: Mapping[str, float | Crystal]) -> dict[str, float | Crystal]:
    """Return chemical potentials as finite numbers, or crystals, by chemical symbol.

    Raises
    ------
    InputError
        No mapping, no chemical symbol, or a number that is not finite.
    """
    kind("mu", mu, Mapping)
    out: dict[str, float | Crystal] = {}
    for symbol, value in mu.items():
        if symbol not in atomic_numbers:
            raise InputError(
                f"mu: {symbol!r} is no chemical symbol{suggest(str(symbol), atomic_numbers)}"
            )
        if isinstance(value, Crystal):
            out[symbol] = value
            continue
        out[symbol] = real(f"mu of {symbol}, a number in eV or a Crystal,", value)
        if not math.isfinite(out[symbol]):  # type: ignore[arg-type]
            raise InputError(f"mu of {symbol} must be finite, got {value}")
    return out


def _given(symbol: str, value: float | Crystal, potential: Potential) -> tuple[float, str]:
    if not isinstance(value, Crystal):
        return value, "given"
    if set(value.symbols) != {symbol}:
        raise InputError(
            f"mu of {symbol}: a crystal of {'-'.join(dict.fromkeys(value.symbols))} says nothing "
            f"about {symbol} alone; give one of {symbol} or a number in eV"
        )
    found = equilibrium_crystal(value, potential)
    energy = float(CauchyBorn(found, potential).site_energy(np.eye(3)[None])[0])
    return energy, f"{found.name} {symbol} at rest, a = {found.a:.4f} Angstrom"
