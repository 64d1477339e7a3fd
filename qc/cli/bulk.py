"""``qc bulk``: bulk properties of a potential, for people or as JSON."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from qc.errors import InputError, suggest

if TYPE_CHECKING:
    from qc.atomistic.bulk import BulkProperties
    from qc.potentials import Potential

STRUCTURES = ("fcc", "bcc", "hcp", "diamond")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``qc bulk``."""
    parser.description = (
        "Lattice constant, cohesive energy, elastic constants, vacancy and stacking-fault energy\n"
        "of a potential. Cells are relaxed to zero stress first; x, y, z are the cube axes."
    )
    parser.epilog = "examples:\n  qc bulk zhou2004:Cu\n  qc bulk Ni.eam.alloy --element Ni --json"
    parser.add_argument(
        "potential",
        metavar="POTENTIAL",
        help="a setfl or funcfl file, or zhou2004:ELEMENT for an embedded one",
    )
    parser.add_argument("--element", help="which element of a potential for several")
    parser.add_argument(
        "--structure", choices=STRUCTURES, help="crystal structure (default: the potential's own)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, in eV and Angstrom")


def run(args: argparse.Namespace) -> int:
    """Compute and print the properties."""
    from qc.atomistic.bulk import bulk_properties
    from qc.numerics.progress import Progress

    potential = load_potential(args.potential)
    element = choose_element(potential, args.element)
    structure = args.structure or choose_structure(potential, element)
    with Progress("bulk") as progress:
        properties = bulk_properties(potential, element, structure, progress.update)
    if args.json:
        print(json.dumps(as_json(properties, potential), indent=2))
    else:
        print(as_text(properties))
    return 0


def load_potential(name: str) -> Potential:
    """Return the potential that a word on the command line names.

    Parameters
    ----------
    name : str
        ``zhou2004:Cu``, ``zhou2004:Cu,Ni`` for several elements, or the path of a file.

    Raises
    ------
    PotentialError
        An unknown element, or a file that cannot be read as a potential.
    """
    from qc.potentials import EAM, zhou2004

    family, colon, elements = name.partition(":")
    if colon and family == "zhou2004":
        return zhou2004(*elements.split(","))
    return EAM.from_file(name)


def choose_element(potential: Potential, wanted: str | None) -> str:
    """Return the element asked for, or the only one.

    Raises
    ------
    InputError
        Several to choose from, or one that the potential does not have.
    """
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
    """Return the structure that the potential's file names, or else that of the element in nature.

    Raises
    ------
    InputError
        Neither is one that can be computed here.
    """
    from ase.data import atomic_numbers, reference_states

    names = getattr(potential, "structures", None)
    named = "" if names is None else str(names[potential.species.index(element)]).lower()
    if named in STRUCTURES:
        return named
    natural = (reference_states[atomic_numbers.get(element, 0)] or {}).get("symmetry", "")
    if natural in STRUCTURES:
        return str(natural)
    raise InputError(f"the structure of {element} is not known: choose one with --structure")


def as_json(properties: BulkProperties, potential: Potential) -> dict[str, Any]:
    """Return the properties in eV and Angstrom, ready for JSON."""
    p = properties
    fault = p.stacking_fault
    return {
        "element": p.element,
        "structure": p.structure,
        "potential": {"family": type(potential).__name__, "fingerprint": potential.fingerprint()},
        "units": {"length": "Angstrom", "energy": "eV"},
        "a": p.a,
        "c_over_a": p.c_over_a,
        "cohesive_energy": p.cohesive_energy,
        "bulk_modulus": p.bulk_modulus,
        "elastic_constants": p.elastic.tolist(),
        "vacancy": {
            "unrelaxed": p.vacancy.unrelaxed,
            "relaxed": p.vacancy.relaxed,
            "sites": p.vacancy_sites,
        },
        "stacking_fault": None
        if fault is None
        else {"unrelaxed": fault.unrelaxed, "relaxed": fault.relaxed},
    }


def as_text(properties: BulkProperties) -> str:
    """Return the properties as a table in GPa and mJ/m^2."""
    from ase import units

    p = properties
    surface = units.m**2 / (1e-3 * units.J)
    rows = [("lattice constant", f"{p.a:.5f} Angstrom")]
    if p.c_over_a is not None:
        rows.append(("c/a", f"{p.c_over_a:.5f}"))
    rows.append(("cohesive energy", f"{p.cohesive_energy:.4f} eV/atom"))
    rows.append(("bulk modulus", f"{p.bulk_modulus / units.GPa:.2f} GPa"))
    indices = ["11", "12", "44"]
    if p.structure == "hcp":
        indices = ["11", "12", "13", "33", "44", "66"]
    for index in indices:
        value = p.elastic[int(index[0]) - 1, int(index[1]) - 1] / units.GPa
        rows.append((f"C{index}", f"{value:.2f} GPa"))
    rows.append(
        (
            "vacancy formation",
            f"{p.vacancy.relaxed:.4f} eV ({p.vacancy.unrelaxed:.4f} unrelaxed, "
            f"{p.vacancy_sites} sites)",
        )
    )
    if p.stacking_fault is not None:
        rows.append(
            (
                "stacking fault",
                f"{p.stacking_fault.relaxed * surface:.2f} mJ/m^2 "
                f"({p.stacking_fault.unrelaxed * surface:.2f} unrelaxed)",
            )
        )
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(
        [f"{p.element} {p.structure}", *(f"  {name:<{width}}{text}" for name, text in rows)]
    )
