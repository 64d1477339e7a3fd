"""Any ASE calculator as a potential: total forces of patches, responses of primitive cells.

A calculator gives one energy for all atoms, so there are no site energies here. Forces can be
blended with it and the Cauchy-Born rule works on strained primitive cells; an energy cannot be
blended.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from qc.errors import CapabilityError, InputError, PotentialError
from qc.numerics.checks import kind
from qc.numerics.threads import Lock, locked

from ..base import Array, Bonds, IntArray, Potential
from ..checks import check_types
from .cell_expansion import Expansions
from .checks import (
    atomic_numbers,
    check_calculator,
    checked_array,
    checked_flags,
    checked_number,
    checked_result,
    checked_stress,
    plain,
)

#: Responses of cells that are kept, the oldest go first; about 2 kB each with a Hessian.
CACHE_SIZE = 10_000

#: States are rounded to this before they are evaluated, so that a kept response is exactly the
#: response of every state it is given for.
ROUNDING = 1e-13

#: Energy per atom, eV, that a cell and its repetition may differ by (single precision included).
THIN_CELL_TOLERANCE = 1e-4

#: Asymmetry of the Hessian, relative to its largest entry, that is taken for noise. Networks whose
#: graph has a sharp cutoff reach 0.05; a stress of the wrong sign or unit is far beyond.
ASYMMETRY = 0.1


class ASEPotential(Potential):
    """An ASE calculator as a potential without site energies.

    Parameters
    ----------
    calculator : ASE calculator
        An instance with ``get_potential_energy``, ``get_forces`` and, for `cell_response`,
        ``get_stress``. Energies are the force-consistent ones (``free_energy``) where it has them.
    species : str or sequence of str
        Chemical symbols that the calculator may be asked about; their order gives type indices.
    cutoff : float, Angstrom
        How far the energy that belongs to one atom reaches: beyond twice this an atom's force
        does not change when another atom moves. For a network that passes messages, number of
        layers times the radius of its graph; for EAM or EMT the range of the functions.
    min_width : float, Angstrom
        Cells are repeated along their periodic directions until they are this wide. The default
        hands over cells as they are, thinner than the cutoff mostly, which calculators with
        complete neighbour lists take; ``2 * cutoff`` suits those that know nearest images only.
    step : float
        Step of the strains in the Hessian of `cell_response`; shifts are stepped by as much times
        the cube root of the cell's volume.
    noise : float, eV/Angstrom
        By how much forces are off at random. Sublattice shifts count as relaxed below it; about
        1e-4 for a network in single precision.
    tolerance : float, eV
        By how much derivatives of a cell's energy (``dE/dF``, and ``dE/dp`` in eV/Angstrom) may be
        off where many states are asked for at once, which then come from an expansion around one
        of them; 0 asks the calculator for each.
    label : str
        Goes into the fingerprint; tells calculators apart whose parameters cannot be read, such
        as files of weights.

    Notes
    -----
    Most elements of a model differ from their neighbours by strains of 1e-3 and less. Their
    responses come from an expansion (`potentials.cell_expansion`) that was compared with the
    calculator, and derive from one energy in it; which states these are depends on what was asked
    for before. Batches of up to a hundred states are evaluated one by one.

    The calculator is reset before every evaluation and sees a new `ase.Atoms` each time, so that
    results of other positions cannot come back. Responses of cells are kept in memory; after a
    change of the calculator's parameters call `forget`.

    Raises
    ------
    InputError
        Something that is no calculator; a cutoff, width, step or noise that is missing, not finite
        or of the wrong sign.
    UnknownSpeciesError
        A species that is no chemical symbol.
    CapabilityError
        The calculator declares that it has no energy or no forces.
    """

    has_site_energies: ClassVar[bool] = False
    whole_patches: ClassVar[bool] = True

    def __init__(
        self,
        calculator: Any,
        species: str | Sequence[str],
        cutoff: float | None = None,
        *,
        min_width: float = 0.0,
        step: float = 5e-4,
        noise: float = 1e-10,
        tolerance: float = 2e-5,
        label: str = "",
    ) -> None:
        check_calculator(calculator)
        # A calculator holds results of one set of atoms at a time.
        self._lock = Lock()
        self.calculator = calculator
        kind("species", species, Sequence)
        self.species = (species,) if isinstance(species, str) else tuple(species)
        self._numbers = atomic_numbers(self.species)
        if cutoff is None:
            raise InputError(
                "ASEPotential needs a cutoff: the distance in Angstrom over which the energy of "
                "one atom depends on the others"
            )
        self.cutoff = checked_number(cutoff, "cutoff", low=0.0)
        self.min_width = checked_number(min_width, "min_width", low=None)
        self.step = checked_number(step, "step", low=0.0)
        if self.step > 0.1:
            raise InputError(f"step is a strain and must not exceed 0.1, got {self.step}")
        self.noise = checked_number(noise, "noise", low=None)
        self.tolerance = checked_number(tolerance, "tolerance", low=None)
        self.label = str(label)
        self._expansions: dict[bytes, Expansions] = {}
        self._kept: OrderedDict[bytes, _Response] = OrderedDict()
        self._trusted: set[bytes] = set()

    # -- what a calculator cannot give --------------------------------------------------------

    def site_energies(self, bonds: Bonds) -> Array:
        """Raise `CapabilityError`: a calculator has no site energies."""
        self._refuse("site energies")

    def bond_gradients(self, bonds: Bonds) -> tuple[Array, Array]:
        """Raise `CapabilityError`: a calculator has no site energies."""
        self._refuse("gradients of site energies")

    def bond_hessian_product(self, bonds: Bonds, dvectors: Array) -> Array:
        """Raise `CapabilityError`: a calculator has no site energies."""
        self._refuse("Hessians of site energies")

    def _refuse(self, what: str) -> NoReturn:
        raise CapabilityError(
            f"{type(self).__name__} of {self._name} has no {what}, only total energies and "
            "forces; use scheme 'bqcf', which blends forces, or a potential of qc.potentials"
        )

    # -- identity -----------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return type(self.calculator).__name__

    def parameters(self) -> tuple[Array | float | str, ...]:
        """Return class and readable parameters of the calculator, and the label."""
        kind = type(self.calculator)
        found = getattr(self.calculator, "parameters", None)
        if not isinstance(found, dict):
            try:
                found = self.calculator.todict()
            except Exception:  # some calculators' todict needs a finished run
                found = {}
        inner = getattr(getattr(self.calculator, "potential", None), "fingerprint", None)
        text = json.dumps(plain(found), sort_keys=True)
        return (
            f"{kind.__module__}.{kind.__qualname__}",
            text,
            str(inner()) if callable(inner) else "",
            self.label,
        )

    @locked
    def forget(self) -> None:
        """Drop every response kept in memory."""
        self._kept.clear()
        self._trusted.clear()
        self._expansions.clear()

    # -- patches ------------------------------------------------------------------------------

    def cluster_forces(
        self,
        positions: ArrayLike,
        types: ArrayLike,
        cell: ArrayLike | None = None,
        pbc: Sequence[bool] = (False, False, False),
    ) -> tuple[float, Array]:
        """Return the total energy of a patch of atoms and the force on each of them.

        The force on an atom that is two cutoffs away from the surface of the patch is that in the
        infinite crystal; forces nearer to the surface belong to the patch.

        Parameters
        ----------
        positions : (n, 3) float, Angstrom
        types : (n,) int
            Indices into `species`.
        cell : (3, 3) float, Angstrom, optional
            Rows; only those of periodic directions count.
        pbc : three bool

        Returns
        -------
        energy : float, eV
        forces : (n, 3) float64, eV/Angstrom

        Raises
        ------
        InputError
            Shapes that do not fit, a position or cell that is not finite, a singular cell.
        UnknownSpeciesError
            A type index outside `species`.
        PotentialError
            The calculator raised (its exception is the cause), moved atoms, or returned something
            of the wrong shape.
        CapabilityError
            The calculator has no energy or no forces.
        NonFiniteError
            The calculator returned NaN or infinity.
        """
        y, t, h, periodic = self._checked_cluster(positions, types, cell, pbc)
        if len(y) == 0:
            return 0.0, np.zeros((0, 3))
        times = self._repeats(h, periodic)
        energy, forces, _ = self._evaluate(y, t, h, periodic, times, stress=False)
        return energy, forces

    def cluster_hessian_product(
        self,
        positions: ArrayLike,
        types: ArrayLike,
        cell: ArrayLike | None,
        pbc: Sequence[bool],
        directions: ArrayLike,
        step: float = 3e-4,
    ) -> Array:
        """Return ``d2E/dy2`` of a patch times displacements, by central differences of forces.

        Parameters
        ----------
        positions, types, cell, pbc
            As in `cluster_forces`.
        directions : (n, 3) float
            Displacements of any length.
        step : float, Angstrom
            By how much the atom that moves most is displaced, to either side.

        Returns
        -------
        (n, 3) float64, eV/Angstrom^2 times the unit of the directions
        """
        y, t, h, periodic = self._checked_cluster(positions, types, cell, pbc)
        d = checked_array(directions, "directions", (len(y), 3))
        size = float(np.abs(d).max(initial=0.0))
        if size == 0.0:
            return np.zeros_like(y)
        move = d * (checked_number(step, "step", low=0.0) / size)
        times = self._repeats(h, periodic)
        ahead, back = (
            self._evaluate(y + s * move, t, h, periodic, times, stress=False)[1] for s in (1, -1)
        )
        return (back - ahead) * (0.5 * size / step)

    def _checked_cluster(
        self, positions: ArrayLike, types: ArrayLike, cell: ArrayLike | None, pbc: Sequence[bool]
    ) -> tuple[Array, IntArray, Array, tuple[bool, bool, bool]]:
        y = checked_array(positions, "positions", (None, 3))
        t = np.asarray(types)
        if t.shape != (len(y),) or (len(t) and t.dtype.kind not in "iu"):
            raise InputError(f"types must be {len(y)} integers, got {t.dtype} {t.shape}")
        t = t.astype(np.int64)
        check_types(self, t, "atom")
        periodic = checked_flags(pbc)
        if cell is None and any(periodic):
            raise InputError("periodic directions need a cell")
        h = np.zeros((3, 3)) if cell is None else checked_array(cell, "cell", (3, 3))
        return y, t, self._boxed(y, h, periodic), periodic

    # -- primitive cells ----------------------------------------------------------------------

    def cell_response(
        self,
        F: ArrayLike,
        shifts: ArrayLike,
        cell: ArrayLike,
        basis: ArrayLike,
        types: ArrayLike,
        second: bool | Literal["shifts"] = False,
        pbc: Sequence[bool] = (True, True, True),
    ) -> tuple[Array, Array, Array, Array | None]:
        """Return energy and derivatives of homogeneously deformed primitive cells.

        Sites are ``F (m @ cell + basis[s]) + p_s``, energies are per primitive cell.

        Parameters
        ----------
        F : (n, 3, 3) float
            Deformation gradients.
        shifts : (n, n_s, 3) float, Angstrom
            ``p``, Cartesian and in the deformed crystal.
        cell : (3, 3) float, Angstrom
            Rows are primitive vectors of the undeformed crystal.
        basis : (n_s, 3) float, Angstrom
            Offsets of the sublattices.
        types : (n_s,) int
            Indices into `species`.
        second : bool or "shifts"
            Whether the Hessian is wanted: 4 (6 + 3 (n_s - 1)) further evaluations a state; for
            "shifts" 4 * 3 (n_s - 1), and what belongs to F is NaN.
        pbc : three bool
            ``(True, True, False)`` for a monolayer, whose ``cell[2]`` is a normalisation.

        Returns
        -------
        energy : (n,) float64, eV
        dF : (n, 3, 3) float64, eV
            ``dE/dF`` at fixed ``p``.
        dp : (n, n_s, 3) float64, eV/Angstrom
            ``dE/dp``: minus the forces.
        hessian : (n, 9 + 3 n_s, 9 + 3 n_s) float64, or None
            Second derivatives over F, row by row, then p; symmetric.

        Raises
        ------
        InputError, UnknownSpeciesError, PotentialError, CapabilityError, NonFiniteError
            As in `cluster_forces`. Also: a deformation that is not finite or turns the cell inside
            out, by row; a calculator without a stress; one for which a thin cell and its
            repetition differ; stress and forces whose derivatives are not symmetric.

        Notes
        -----
        ASE's stress ``s`` moves atoms with the cell: ``F -> (1 + e) F`` and ``p -> (1 + e) p``,
        ``V s : e = dE/dF : eF + sum_s dE/dp_s . e p_s``. With forces ``f_s = -dE/dp_s``

            dE/dF = (V s + sum_s f_s (x) p_s) F^-T .

        The Hessian is a central difference of fourth order of these along six strains ``F -> (1 +
        e) F`` and the shifts. Along a rotation ``(WF, Wp)`` it is ``(W dE/dF, W dE/dp)``, and
        along a translation of all sublattices zero.
        """
        h = checked_array(cell, "cell", (3, 3))
        b = checked_array(basis, "basis", (None, 3))
        n_s = len(b)
        if n_s == 0:
            raise InputError("the basis is empty")
        t = np.asarray(types)
        if t.shape != (n_s,) or t.dtype.kind not in "iu":
            raise InputError(f"types must be {n_s} integers, got {t.dtype} {t.shape}")
        t = t.astype(np.int64)
        check_types(self, t, "sublattice")
        periodic = checked_flags(pbc)
        if periodic[:2] != (True, True):
            raise InputError(f"pbc must be three times True, or False in z only; got {periodic}")
        if second not in (False, True, "shifts"):
            raise InputError(f"second must be True, False or 'shifts', not {second!r}")
        f = checked_array(F, "F", (None, 3, 3))
        p = checked_array(shifts, "shifts", (len(f), n_s, 3))
        determinants = np.linalg.det(f)
        if not (determinants > 0.0).all():
            row = int(np.argmin(determinants > 0.0))
            raise InputError(f"F of row {row} turns the cell inside out (det {determinants[row]})")
        unit = _Cell(self, h, b, t, periodic)
        n, size = len(f), 9 + 3 * n_s
        energy, gradient = np.empty(n), np.empty((n, size))
        hessian = np.empty((n, size, size)) if second else None
        rest = np.arange(n)
        if n and self.tolerance > 0.0 and second is not True and all(periodic):
            states = np.hstack([f.reshape(n, 9), p.reshape(n, -1)])
            known = self._expansions.setdefault(unit.key, Expansions(unit.length, self.tolerance))
            rest = known.fill(unit.gradient, states, energy, gradient, hessian)
        for k in rest:
            energy[k], gradient[k], tangent = self._response(unit, f[k], p[k], second)
            if hessian is not None:
                hessian[k] = tangent
        stress = gradient[:, :9].reshape(n, 3, 3).copy()
        return energy, stress, gradient[:, 9:].reshape(n, n_s, 3).copy(), hessian

    @locked
    def _response(
        self, unit: _Cell, f: Array, p: Array, second: bool | Literal["shifts"]
    ) -> tuple[float, Array, Array | None]:
        """Return energy, gradient and Hessian of one state, from memory if they are there."""
        state = np.rint(np.concatenate([f.ravel(), p.ravel()]) / ROUNDING)
        key = unit.key + state.astype(np.int64).tobytes()
        state *= ROUNDING
        entry = self._kept.get(key)
        if entry is None:
            if unit.key not in self._trusted:
                unit.check_thin(state)
                self._trusted.add(unit.key)
            energy, gradient = unit.gradient(state)
            entry = _Response(energy, gradient)
        if second is True and entry.hessian is None:
            entry.hessian = unit.hessian(state, entry.gradient)
        elif second == "shifts" and entry.hessian is None and entry.shifts is None:
            entry.shifts = unit.shift_hessian(state)
        self._kept[key] = entry
        self._kept.move_to_end(key)
        if len(self._kept) > CACHE_SIZE:
            self._kept.popitem(last=False)
        found = entry.shifts if entry.hessian is None else entry.hessian
        return entry.energy, entry.gradient, found

    # -- the calculator -----------------------------------------------------------------------

    def _boxed(self, y: Array, cell: Array, periodic: tuple[bool, bool, bool]) -> Array:
        """Return the cell with a box around the atoms in the directions that do not repeat.

        The box leaves a gap of two cutoffs, so that a calculator which takes every cell for
        periodic gives the same forces.
        """
        h = cell.copy()
        on = np.flatnonzero(periodic)
        off = np.flatnonzero(np.logical_not(periodic))
        if len(on):
            values = np.linalg.svd(h[on], compute_uv=False)
            if values[-1] <= 1e-9 * values[0] or values[0] == 0.0:
                raise InputError("the cell is singular")
        if len(off):
            # Orthonormal complement of the periodic vectors; Cartesian axes if there are none.
            normal = np.linalg.svd(h[on])[2][len(on) :] if len(on) else np.eye(3)
            for axis, row in zip(normal, off, strict=True):
                extent = float(np.ptp(y @ axis)) if len(y) else 0.0
                h[row] = (extent + 2.0 * self.cutoff + 1.0) * axis
            if np.linalg.det(h) < 0:
                h[off[-1]] *= -1.0
        return h

    def _repeats(self, cell: Array, periodic: Sequence[bool]) -> tuple[int, int, int]:
        """Return how often to repeat a cell along each vector for the least width."""
        widths = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        wanted = np.where(periodic, np.ceil(self.min_width / widths - 1e-9), 1.0)
        a, b, c = (int(max(1, k)) for k in wanted)
        return a, b, c

    @locked
    def _evaluate(
        self,
        y: Array,
        types: IntArray,
        cell: Array,
        periodic: tuple[bool, bool, bool],
        times: tuple[int, int, int],
        stress: bool,
    ) -> tuple[float, Array, Array]:
        """Return energy and forces (n, 3) of one cell, and its volume times stress (3, 3)."""
        # potentials/ depends on numpy and numba only; ASE is needed once a calculator is.
        from ase import Atoms

        copies = int(np.prod(times))
        grid = np.stack(np.meshgrid(*map(np.arange, times), indexing="ij"), -1).reshape(-1, 3)
        places = ((grid @ cell)[:, None] + _inside(y, cell, periodic)[None]).reshape(-1, 3)
        numbers = np.tile(self._numbers[types], copies)
        big = cell * np.array(times)[:, None]
        atoms = Atoms(numbers, positions=places, cell=big, pbc=periodic)
        reset = getattr(self.calculator, "reset", None)
        if callable(reset):
            self._ask("reset", reset)
        virial = np.zeros((3, 3))
        if stress:
            # First, because a calculation of the stress has energy and forces on the way.
            answer = self._ask("stress", self.calculator.get_stress, atoms)
            virial = checked_stress(answer, self._name) * (abs(np.linalg.det(big)) / copies)
        forces = checked_result(
            self._ask("forces", self.calculator.get_forces, atoms),
            "forces",
            (len(places), 3),
            self._name,
        )
        energy = self._energy(atoms)
        changed = (
            len(atoms) != len(places)
            or not np.array_equal(atoms.positions, places)
            or not np.array_equal(atoms.numbers, numbers)
            or not np.array_equal(atoms.cell[:], big)
        )
        if changed:
            raise PotentialError(
                f"{self._name} changed the atoms it was given; its forces belong to others"
            )
        return energy / copies, forces.reshape(copies, -1, 3).mean(axis=0), virial

    def _energy(self, atoms: Any) -> float:
        calculator = self.calculator
        value = None
        if "free_energy" in (getattr(calculator, "implemented_properties", None) or ()):
            try:
                value = self._ask(
                    "free energy", calculator.get_potential_energy, atoms, force_consistent=True
                )
            except CapabilityError:
                value = None
        if value is None:
            value = self._ask("energy", calculator.get_potential_energy, atoms)
        return float(checked_result(value, "energy", None, self._name).item())

    def _ask(self, what: str, method: Any, *arguments: Any, **options: Any) -> Any:
        from ase.calculators.calculator import PropertyNotImplementedError

        try:
            return method(*arguments, **options)
        except PropertyNotImplementedError as fault:
            raise CapabilityError(
                f"{self._name} has no {what}; ase.calculators.fd.FiniteDifferenceCalculator adds "
                "forces and stress to a calculator that has an energy"
            ) from fault
        except Exception as fault:
            count = f" of {len(arguments[0])} atoms" if arguments else ""
            raise PotentialError(
                f"{self._name} failed at {what}{count}: {type(fault).__name__}: {fault}"
            ) from fault


def _inside(y: Array, cell: Array, periodic: Sequence[bool]) -> Array:
    """Return positions moved into their cell: wrapped, or in its middle where it does not repeat.

    Calculators that bin atoms by their cell lose or crowd those outside.
    """
    scaled = y @ np.linalg.inv(cell)
    middle = 0.5 * (scaled.min(axis=0) + scaled.max(axis=0))
    return y - np.where(periodic, np.floor(scaled), middle - 0.5) @ cell


@dataclass
class _Response:
    """What is known of one state: its Hessian, whole or over the shifts, once it was asked for."""

    energy: float
    gradient: Array
    hessian: Array | None = None
    shifts: Array | None = None


class _Cell:
    """A primitive cell, the derivatives of whose energy are taken over ``state = (F, p)``."""

    def __init__(
        self,
        potential: ASEPotential,
        cell: Array,
        basis: Array,
        types: IntArray,
        periodic: tuple[bool, bool, bool],
    ) -> None:
        self.potential, self.cell, self.basis, self.types = potential, cell, basis, types
        self.periodic = periodic
        used = cell[: 3 if periodic[2] else 2]
        if np.linalg.svd(used, compute_uv=False)[-1] <= 1e-9 * np.abs(used).max(initial=0.0):
            raise InputError("the cell is singular")
        self.box = potential._boxed(basis, cell, periodic)
        self.times = potential._repeats(self.box, periodic)
        digest = hashlib.sha256(repr(periodic).encode())
        for array in (cell, basis, types):
            digest.update(array.tobytes())
        self.key = digest.digest()

    def _evaluate(
        self, state: Array, times: tuple[int, int, int], stress: bool
    ) -> tuple[float, Array, Array]:
        f, p = state[:9].reshape(3, 3), state[9:].reshape(-1, 3)
        y = self.basis @ f.T + p
        # A monolayer may leave the plane, its box then stands on the deformed one.
        cell = self.potential._boxed(y, self.cell @ f.T, self.periodic)
        return self.potential._evaluate(y, self.types, cell, self.periodic, times, stress)

    def gradient(self, state: Array) -> tuple[float, Array]:
        """Return energy and gradient (9 + 3 n_s,); see `ASEPotential.cell_response`."""
        f, p = state[:9].reshape(3, 3), state[9:].reshape(-1, 3)
        energy, forces, virial = self._evaluate(state, self.times, stress=True)
        stress = np.linalg.solve(f, (virial + forces.T @ p).T).T
        if not self.periodic[2]:
            # Sites have no third coordinate for the third column of F to act on.
            stress[:, 2] = 0.0
        return energy, np.concatenate([stress.ravel(), -forces.ravel()])

    @property
    def length(self) -> float:
        """The scale of shifts: how far apart primitive cells are, roughly."""
        if self.periodic[2]:
            return float(abs(np.linalg.det(self.cell))) ** (1 / 3)
        return float(np.linalg.norm(np.cross(self.cell[0], self.cell[1]))) ** 0.5

    def hessian(self, state: Array, gradient: Array) -> Array:
        """Return the symmetric Hessian (9 + 3 n_s, 9 + 3 n_s) from differences of gradients."""
        f, p = state[:9].reshape(3, 3), state[9:].reshape(-1, 3)
        stress, force = gradient[:9].reshape(3, 3), gradient[9:].reshape(-1, 3)
        along, products = [], []
        for i in range(3):
            for j in range(i, 3):
                strain = np.zeros((3, 3))
                strain[i, j] += 0.5
                strain[j, i] += 0.5
                along.append(np.concatenate([(strain @ f).ravel(), np.zeros(p.size)]))
                products.append(self._difference(state, along[-1]))
        for c in range(3):
            spin = np.cross(np.eye(3), np.eye(3)[c])
            along.append(np.concatenate([(spin @ f).ravel(), (p @ spin.T).ravel()]))
            products.append(np.concatenate([(spin @ stress).ravel(), (force @ spin.T).ravel()]))
        shifts, answers = self._along_shifts(state)
        tangent = np.linalg.solve(
            np.array(along + list(shifts)), np.array(products + list(answers))
        ).T
        return self._symmetric(tangent)

    def shift_hessian(self, state: Array) -> Array:
        """Return the Hessian over the shifts; what belongs to F is NaN."""
        shifts, answers = self._along_shifts(state)
        tangent = np.full((len(state), len(state)), np.nan)
        block = np.asarray(np.linalg.solve(shifts[:, 9:], answers[:, 9:]).T, dtype=np.float64)
        tangent[9:, 9:] = self._symmetric(block)
        return tangent

    def _along_shifts(self, state: Array) -> tuple[Array, Array]:
        """Return directions that span the shifts, (3 n_s, size), and the Hessian times them."""
        size = len(state)
        along = np.zeros((size - 9, size))
        answers = np.zeros((size - 9, size))
        along[: size - 12, 12:] = self.length * np.eye(size - 12)
        for k in range(size - 12):
            answers[k] = self._difference(state, along[k])
        # Nothing changes when all sublattices move together.
        for c in range(3):
            along[size - 12 + c, 9 + c :: 3] = self.length
        return along, answers

    def _symmetric(self, tangent: Array) -> Array:
        gap = float(np.abs(tangent - tangent.T).max())
        if gap > ASYMMETRY * float(np.abs(tangent).max()):
            raise PotentialError(
                f"{self.potential._name}: the second derivatives of a cell are asymmetric by "
                f"{gap:.3g}: its stress and forces do not derive from one energy, or the step "
                f"{self.potential.step:g} is too small for its noise"
            )
        return 0.5 * (tangent + tangent.T)

    def _difference(self, state: Array, direction: Array) -> Array:
        h = self.potential.step
        near, far = (
            self.gradient(state + s * direction)[1] - self.gradient(state - s * direction)[1]
            for s in (h, 2.0 * h)
        )
        return (8.0 * near - far) / (12.0 * h)

    def check_thin(self, state: Array) -> None:
        """Raise `PotentialError` if the calculator overlooks images in a thin cell."""
        widths = 1.0 / np.linalg.norm(np.linalg.inv(self.box), axis=0) * np.array(self.times)
        thin = np.array(self.periodic) & (widths < 2.0 * self.potential.cutoff)
        if not thin.any():
            return
        a, b, c = (int(k) for k in np.where(thin, 2 * np.array(self.times), self.times))
        one = self._evaluate(state, self.times, stress=False)[0]
        many = self._evaluate(state, (a, b, c), stress=False)[0]
        if not abs(one - many) <= THIN_CELL_TOLERANCE * len(self.basis):
            raise PotentialError(
                f"{self.potential._name} gives {one:.6f} eV for a primitive cell and {many:.6f} eV "
                f"for the same cell out of {a} x {b} x {c}: it overlooks images in a cell "
                f"thinner than its cutoff; set min_width={2.0 * self.potential.cutoff:g}"
            )
