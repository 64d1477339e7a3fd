"""``qc detect``: find the atoms of a file that are not an affine image of a crystal."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qc.cli.bulk import POTENTIAL, STRUCTURES
from qc.errors import ConvergenceError, CrystalError, InputError
from qc.io.potentials import load_potential

if TYPE_CHECKING:
    from ase import Atoms

    from qc.crystal.recognition.defects import Defects
    from qc.crystal.recognition.recognise import Recognition
    from qc.potentials import Potential

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: What an atom is, by the numbers of the column ``defect``.
KINDS = ("", "non-affine", "extra", "foreign", "surface")

#: Threshold where none is given: above relaxation around a defect, below a missing neighbour.
LEAST_THRESHOLD, NOISE = 0.01, 6.0


@dataclass(frozen=True, eq=False)
class Detection:
    """What was found in a set of atoms.

    Attributes
    ----------
    crystal : str
        What the crystal is, in words.
    d2 : (n,) float64
        Lattice-matched non-affinity, squared nearest-neighbour distances.
    missing, extra : (n,) int64
        Neighbours too few and too many.
    kind : (n,) int64
        Index into `KINDS`.
    vacant : (k, 3) float64, Angstrom
        Where empty sites are.
    verdict : str
        What the defects are, or why point defects do not explain them.
    excess : (n,) float64 or None, eV
        Site energies above their median over affine atoms, with a potential.
    """

    atoms: Atoms
    crystal: str
    d2: Array
    missing: IntArray
    extra: IntArray
    kind: IntArray
    threshold: float
    vacant: Array
    verdict: str
    excess: Array | None

    @property
    def listed(self) -> IntArray:
        """Atoms that are not affine, the worst first."""
        found = np.flatnonzero(self.kind > 0)
        return found[np.argsort(-self.d2[found], kind="stable")]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``qc detect``."""
    parser.description = (
        "Find the atoms of any file of ASE or LAMMPS which are not part of a deformed crystal:\n"
        "neighbours of vacancies, interstitials, cores, faults, surfaces. Prints them as a table\n"
        "and writes every atom with its non-affinity as extended XYZ."
    )
    parser.epilog = (
        "examples:\n  qc detect block.extxyz\n"
        "  qc detect dump.lammpstrj --elements Cu --frame 0 --potential zhou2004:Cu"
    )
    parser.add_argument(
        "file", metavar="FILE", help="atoms, in any format of ASE; dumps and data files of LAMMPS"
    )
    parser.add_argument(
        "--potential",
        metavar="POTENTIAL",
        help=f"{POTENTIAL}; gives the lattice constant and the energy of each atom",
    )
    parser.add_argument("--structure", choices=STRUCTURES, help="crystal structure (default: any)")
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="D2",
        help="non-affinity above which an atom counts (default: 0.01, or 6 times the median)",
    )
    parser.add_argument("--frame", type=int, default=-1, help="which frame (default: the last)")
    parser.add_argument("--format", help="format of the file, as ASE names it")
    parser.add_argument(
        "--elements",
        metavar="NAMES",
        help="elements of types 1, 2, ... of a LAMMPS dump or data file, such as Ni,Al",
    )
    parser.add_argument("--rows", type=int, default=20, help="rows of the table (default: 20)")
    parser.add_argument(
        "--output", metavar="FILE", help="extended XYZ to write (default: NAME.nonaffine.extxyz)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Find the atoms, print them and write the file."""
    from qc.io.extxyz import write_atoms
    from qc.io.structures import read_structure
    from qc.numerics.progress import Progress

    if args.rows < 0:
        raise InputError(f"--rows {args.rows}: must not be negative")
    if args.threshold is not None and not (np.isfinite(args.threshold) and args.threshold > 0):
        raise InputError(f"--threshold {args.threshold}: must be positive and finite")
    atoms = read_structure(args.file, args.frame, args.format, args.elements)
    source = Path(args.file)
    target = Path(f"{source.stem}.nonaffine.extxyz" if args.output is None else args.output)
    if target.exists() and target.resolve() == source.resolve():
        raise InputError(f"--output {target}: would overwrite the input")
    potential = None if args.potential is None else load_potential(args.potential)
    with Progress("detect") as progress:
        progress.update("looking for the crystal")
        found = detect(atoms, args.structure, potential, args.threshold)
    write_atoms(target, *_dressed(found))
    if args.json:
        print(json.dumps(as_json(found, str(target)), indent=1))
    else:
        print(as_text(found, source.name, str(target), args.rows))
    return 0


def _read(atoms: Atoms) -> str:
    """Which frame of a LAMMPS file was read and where its elements are from; in words."""
    info, parts = atoms.info, []
    if "frames" in info:
        parts.append(f"frame {info['frame']} of 0 to {info['frames'] - 1}")
        parts.append(f"timestep {info['timestep']}")
    if "elements" in info:
        parts.append(f"elements {info['elements']}")
    return ", ".join(parts)


def detect(
    atoms: Atoms,
    structure: str | None = None,
    potential: Potential | None = None,
    threshold: float | None = None,
) -> Detection:
    """Find which atoms are not an affine image of a crystal.

    All of `STRUCTURES` are tried unless one is given. A potential gives the lattice constant and
    site energies. Atoms count whose non-affinity is above the threshold.

    Raises
    ------
    CrystalError
        No crystal is recognised; with a structure and a potential none needs to be.
    UnknownSpeciesError
        An element that the potential does not know.
    """
    from qc.crystal.nonaffinity import lattice_fit
    from qc.crystal.recognition.defects import find_defects
    from qc.crystal.recognition.ordering import has_compound
    from qc.crystal.recognition.recognise import recognise
    from qc.crystal.recognition.terraces import broken_layers

    structures = STRUCTURES if structure is None else (structure,)
    constants = None
    if potential is not None:
        potential.types_of(sorted(set(atoms.get_chemical_symbols())))
        # A compound lies at its own lattice constant, not at that of one of its elements.
        if not has_compound(atoms.get_chemical_symbols()):
            constants = _constants(atoms, potential, structures)
    recognition: Recognition | None = None
    try:
        recognition = recognise(atoms, structures, constants)
    except CrystalError:
        if structure is None or constants is None:
            raise
    if recognition is None:
        # Several grains, or dislocations in every corner: no one lattice holds the atoms, but the
        # crystal is known, and each neighbourhood can be compared with it.
        assert structure is not None
        crystal = _crystal(_majority(atoms), structure, constants)
        fit, _ = lattice_fit(atoms, crystal)
        words = f"{structure}, a = {crystal.a:.4f} Angstrom"
        verdict, defects = "no single lattice holds the atoms", None
    else:
        fit, _ = lattice_fit(atoms, recognition.crystal, F=recognition.F)
        words = _words(recognition)
        try:
            defects = find_defects(atoms, recognition, threshold)
            verdict = defects.summary
            if defects.is_empty and (broken := broken_layers(recognition)):
                verdict = f"a perfect crystal inside, but {broken}"
        except CrystalError as error:
            verdict, defects = f"not point defects alone: {error}", None
    if threshold is None:
        threshold = max(LEAST_THRESHOLD, NOISE * float(np.median(fit.d2)))
        threshold = threshold if defects is None else defects.threshold
    kind = (fit.d2 > threshold).astype(np.int64)
    vacant = np.zeros((0, 3))
    if defects is not None and recognition is not None:
        kind[defects.surface[fit.d2[defects.surface] > threshold]] = 4
        kind[defects.substitutional] = 3
        kind[defects.extra] = 2
        vacant = _vacant(atoms, recognition, defects)
    excess = None if potential is None else _excess(atoms, potential, kind == 0)
    return Detection(
        atoms,
        words,
        fit.d2,
        fit.missing,
        fit.extra,
        kind,
        float(threshold),
        vacant,
        verdict,
        excess,
    )


def _majority(atoms: Atoms) -> str:
    symbols = atoms.get_chemical_symbols()
    return max(sorted(set(symbols)), key=symbols.count)


def _constants(atoms: Atoms, potential: Potential, structures: tuple[str, ...]) -> dict[str, Any]:
    """Lattice constants of the host element under a potential, by structure."""
    from qc.materials import lattice_constants

    host = _majority(atoms)
    out: dict[str, Any] = {}
    for name in structures:
        try:
            a, ratio = lattice_constants(potential, host, name)
        except (CrystalError, ConvergenceError):
            # A structure that this potential does not bind, or that slides into another, is
            # not what the atoms are.
            continue
        out[name] = a if ratio is None else (a, a * ratio)
    if not out:
        raise CrystalError(f"the potential binds {host} in none of {', '.join(structures)}")
    return out


def _crystal(symbol: str, structure: str, constants: Any) -> Any:
    from qc import crystal

    value = constants[structure]
    sizes = value if isinstance(value, tuple) else (value,)
    return getattr(crystal, structure)(symbol, *sizes)


def _words(recognition: Recognition) -> str:
    strain = float(np.abs(np.linalg.svd(recognition.F, compute_uv=False) - 1.0).max())
    elements = "".join(dict.fromkeys(recognition.crystal.symbols))
    compound = f" {elements}" if len(set(recognition.crystal.symbols)) > 1 else ""
    text = f"{recognition.structure}{compound}, a = {recognition.crystal.a:.4f} Angstrom"
    return text if strain < 5e-5 else f"{text}, strained by up to {100 * strain:.2f} %"


def _vacant(atoms: Atoms, recognition: Recognition, defects: Defects) -> Array:
    """Positions of the empty sites, those of periodic directions within the cell."""
    from ase.geometry import wrap_positions

    if not len(defects.vacant_m):
        return np.zeros((0, 3))
    sites = recognition.positions(defects.vacant_m, defects.vacant_s)
    return np.asarray(wrap_positions(sites, atoms.cell.complete(), atoms.pbc))


def _excess(atoms: Atoms, potential: Potential, affine: NDArray[np.bool_]) -> Array:
    from qc.adapters.ase import PotentialCalculator

    energies = np.asarray(PotentialCalculator(potential).get_property("energies", atoms))
    return energies - float(np.median(energies[affine] if affine.any() else energies))


def _dressed(found: Detection) -> tuple[Atoms, list[str]]:
    """Atoms with a column per finding, and the names of the columns."""
    bare = found.atoms.copy()
    bare.calc = None
    bare.constraints = []
    bare.info = {"kinds": " ".join(f"{k}:{name or 'affine'}" for k, name in enumerate(KINDS))}
    for name in [n for n in bare.arrays if n not in ("numbers", "positions")]:
        del bare.arrays[name]
    columns = {
        "nonaffinity": found.d2, "missing": found.missing, "extra": found.extra,
        "defect": found.kind,
    }  # fmt: skip
    if found.excess is not None:
        columns["excess_energy"] = found.excess
    for name, values in columns.items():
        bare.set_array(name, np.asarray(values))
    return bare, list(columns)


def as_json(found: Detection, target: str) -> dict[str, Any]:
    """Return the findings in Angstrom and eV, ready for JSON."""
    symbols = found.atoms.get_chemical_symbols()
    return {
        "crystal": found.crystal,
        "verdict": found.verdict,
        "atoms": len(found.atoms),
        "read": _read(found.atoms),
        "threshold": found.threshold,
        "vacant_sites": found.vacant.tolist(),
        "non_affine": [
            {
                "index": int(i),
                "element": symbols[i],
                "position": found.atoms.positions[i].tolist(),
                "nonaffinity": float(found.d2[i]),
                "missing": int(found.missing[i]),
                "extra": int(found.extra[i]),
                "kind": KINDS[found.kind[i]],
                "excess_energy": None if found.excess is None else float(found.excess[i]),
            }
            for i in found.listed
        ],
        "file": target,
    }


def as_text(found: Detection, source: str, target: str, rows: int) -> str:
    """Return the findings as a table."""
    atoms, listed = found.atoms, found.listed
    symbols = atoms.get_chemical_symbols()
    lines = [f"{source}: {len(atoms)} atoms ({atoms.symbols.formula.format('hill')})"]
    if read := _read(atoms):
        lines.append(f"  read       {read}")
    lines += [
        f"  crystal    {found.crystal}",
        f"  found      {found.verdict}",
        f"  non-affine {len(listed)} of {len(atoms)} atoms, above {found.threshold:.3g}",
    ]
    for x in found.vacant[:rows]:
        lines.append(f"  vacant     {x[0]:10.3f} {x[1]:10.3f} {x[2]:10.3f}")
    if len(listed):
        energy = f" {'excess eV':>10}" if found.excess is not None else ""
        lines += [
            "",
            f"  {'atom':>8} {'':>2} {'x':>10} {'y':>10} {'z':>10} {'D2':>9} {'missing':>8} "
            f"{'extra':>6}{energy}  kind",
        ]
    for i in listed[:rows]:
        x = atoms.positions[i]
        # Adding zero takes the sign from a zero.
        energy = f" {found.excess[i].round(4) + 0.0:>10.4f}" if found.excess is not None else ""
        lines.append(
            f"  {i:>8} {symbols[i]:>2} {x[0]:>10.3f} {x[1]:>10.3f} {x[2]:>10.3f} "
            f"{found.d2[i]:>9.4f} {found.missing[i]:>8} {found.extra[i]:>6}{energy}  "
            f"{KINDS[found.kind[i]]}"
        )
    if len(listed) > rows:
        lines.append(f"  ... and {len(listed) - rows} more")
    lines += ["", f"  all atoms written to {target}"]
    return "\n".join(lines)
