"""``qc bulk``: bulk properties of a potential, for people or as JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from qc.errors import InputError, suggest
from qc.io.potentials import load_potential

if TYPE_CHECKING:
    from qc.crystal import Crystal
    from qc.potentials import Potential

#: One line of help about the name of a potential.
POTENTIAL = (
    "a setfl, funcfl, .sw, .tersoff or .table file, or a built-in potential such as zhou2004:Cu, "
    "zhou2004:Cu,Ni or stillinger1985:Si"
)

STRUCTURES = ("fcc", "bcc", "hcp", "diamond")

GROUPS = ("elastic", "phonons", "vacancy", "surfaces", "faults")

PICTURES = (".png", ".pdf", ".svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``qc bulk``."""
    parser.description = (
        "Lattice constants, cohesive energy, elastic constants, phonons at the zone boundary,\n"
        "vacancy, surface and stacking-fault energies of a potential. The crystal is relaxed to\n"
        "zero stress first; x, y, z are the cube axes (hcp: x along a, z along c)."
    )
    parser.epilog = (
        "examples:\n"
        "  qc bulk zhou2004:Cu\n"
        "  qc bulk stillinger1985:Si --only elastic,phonons\n"
        "  qc bulk Ni.eam.alloy --element Ni --json\n"
        "  qc bulk zhou2004:Mg --gamma-plot gamma.png\n"
        "  qc bulk zhou2004:Ni,Al --cell B2.extxyz"
    )
    parser.add_argument("potential", metavar="POTENTIAL", help=POTENTIAL)
    parser.add_argument("--element", help="which element of a potential for several")
    parser.add_argument(
        "--structure", choices=STRUCTURES, help="crystal structure (default: the potential's own)"
    )
    parser.add_argument(
        "--cell", metavar="FILE", help="a periodic cell to start from, instead of a structure"
    )
    parser.add_argument(
        "--elements", metavar="NAMES", help="elements of types 1, 2, ... of a cell from LAMMPS"
    )
    groups = ", ".join(GROUPS)
    parser.add_argument("--only", metavar="GROUPS", help=f"of {groups}: compute these only")
    parser.add_argument("--skip", metavar="GROUPS", help="leave these out; separate by commas")
    parser.add_argument(
        "--gamma-plot", metavar="FILE", help="draw the gamma lines (.png, .pdf or .svg)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, in eV and Angstrom")


def run(args: argparse.Namespace) -> int:
    """Compute and print the properties."""
    picture = None if args.gamma_plot is None else Path(args.gamma_plot)
    if picture is not None and picture.suffix.lower() not in PICTURES:
        raise InputError(f"--gamma-plot {picture}: the name must end in {', '.join(PICTURES)}")
    only = None if args.only is None else _words(args.only)
    skip = () if args.skip is None else _words(args.skip)

    from qc.bulk.properties import bulk_properties, chosen_groups
    from qc.cli.bulk_text import as_json, as_text, gamma_plot
    from qc.numerics.progress import Progress

    if picture is not None and "faults" not in chosen_groups(only, skip):
        raise InputError("--gamma-plot needs the group 'faults'")
    potential = load_potential(args.potential)
    crystal = choose_crystal(potential, args.element, args.structure, args.cell, args.elements)
    if picture is not None and crystal.name not in STRUCTURES:
        raise InputError(f"--gamma-plot: planes are known for {', '.join(STRUCTURES)} only")
    with Progress("bulk") as progress:
        found = bulk_properties(crystal, potential, only, skip, progress.update)
    # Lines that did not converge are named among the failures.
    if picture is not None and found.gamma_lines:
        from qc.io.files import write_atomically

        write_atomically(picture, gamma_plot(found, picture.suffix.lower()[1:]))
    if args.json:
        print(json.dumps(as_json(found, potential), indent=2, allow_nan=False))
    else:
        print(as_text(found))
    return 1 if found.failures else 0


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


def choose_crystal(
    potential: Potential,
    element: str | None,
    structure: str | None,
    cell: str | None,
    elements: str | None = None,
) -> Crystal:
    """Return the crystal that the options ask for, if they agree and the potential fits."""
    if cell is not None:
        for option, value in (("--element", element), ("--structure", structure)):
            if value is not None:
                raise InputError(f"{option} and --cell exclude each other")
        from qc.crystal import from_ase
        from qc.io.structures import read_structure

        crystal = from_ase(read_structure(cell, elements=elements))
        potential.types_of(crystal.symbols)
        return crystal
    if elements is not None:
        raise InputError("--elements names the types of a file: it needs --cell")
    from qc.crystal import standard_crystal

    chosen = choose_element(potential, element)
    return standard_crystal(chosen, structure or choose_structure(potential, chosen), 1.0)


def choose_element(potential: Potential, wanted: str | None) -> str:
    """Return the element asked for, or the only one."""
    known = ", ".join(potential.species)
    if wanted is None:
        if len(potential.species) > 1:
            raise InputError(f"choose one of {known} with --element")
        return potential.species[0]
    if wanted not in potential.species:
        raise InputError(
            f"the potential has no element '{wanted}', only {known}"
            f"{suggest(wanted, potential.species)}"
        )
    return wanted


def choose_structure(potential: Potential, element: str) -> str:
    """Return the structure that the potential's file names, or else the element's in nature."""
    from ase.data import atomic_numbers, reference_states

    stated = potential.stated_lattice(element)
    if stated is not None and stated[0] in STRUCTURES:
        return stated[0]
    natural = (reference_states[atomic_numbers.get(element, 0)] or {}).get("symmetry", "")
    if natural in STRUCTURES:
        return str(natural)
    raise InputError(f"the structure of {element} is not known: choose one with --structure")
