"""The resolved copy of a case: every default and unit written out, ready to be run again."""

from __future__ import annotations

import os
from pathlib import Path

from qc.farfield import DislocationSum
from qc.io.cases.schema import Length, to_toml
from qc.io.cases.setup import Setup, block_around, in_angstrom, potential_length
from qc.io.files import shown_name
from qc.io.runs.folder import HEAD


def resolved(setup: Setup, folder: str | os.PathLike[str]) -> str:
    """Return the case as TOML with every default and unit written out.

    A run of it repeats the run bit for bit. Lengths are in Angstrom.

    Parameters
    ----------
    setup : Setup
    folder : path-like
        Where the copy will lie; the name of a potential file is relative to it.
    """
    case, model = setup.case, setup.model
    crystal, blend = model.crystal, model.layout.blend
    p, c = case.potential, case.crystal
    file = None
    if p.file is not None:
        file = Path(os.path.relpath((case.source.parent / p.file).resolve(), folder)).as_posix()
    far_field = model.far_field
    members = far_field.dislocations if isinstance(far_field, DislocationSum) else ()
    m = case.model
    block = m.block
    if m.rectangle is not None:
        found = block_around(crystal, *(in_angstrom(v, crystal) for v in m.rectangle))
        lower, upper = found.lower, found.upper
    elif block is not None:
        lower, upper = block.lower, block.upper
    else:
        lower = upper = ()
    # Over a full lattice the blend is the model's own, beyond every free atom.
    atoms = m.scheme != "atomistic"

    def given(length: Length | None) -> float | None:
        return None if length is None else in_angstrom(length, crystal)

    values = {
        "title": case.title,
        "seed": case.seed,
        "crystal": {
            "structure": c.structure,
            "element": c.element,
            "lattice_constant": setup.constants[0],
            "c": setup.constants[1],
            "x": c.x, "y": c.y, "z": c.z,
            "columns": c.columns,
        },
        "potential": {
            "name": p.name,
            "file": file,
            "elements": None if file else list(model.potential.species),
            "epsilon": p.epsilon, "sigma": potential_length(p, "sigma"),
            "depth": p.depth, "stiffness": p.stiffness, "distance": potential_length(p, "distance"),
            "cutoff": potential_length(p, "cutoff"),
        },
        "dislocations": [
            {
                "burgers": list(one.burgers),
                "position": [in_angstrom(v, crystal) for v in one.position],
                "cut": member.cut_direction.tolist(),
                "partials": [
                    {
                        "burgers": list(partial.burgers),
                        "direction": list(partial.direction),
                        "distance": in_angstrom(partial.distance, crystal),
                    }
                    for partial in one.partials
                ],
            }
            for one, member in zip(case.dislocations, members, strict=True)
        ],
        "defects": {
            "vacancies": [list(v) for v in case.defects.vacancies],
            "inwards": in_angstrom(case.defects.inwards, crystal),
            "interstitials": [
                {
                    "position": [in_angstrom(v, crystal) for v in one.position],
                    "element": one.element or c.element,
                }
                for one in case.defects.interstitials
            ],
            "substitutions": [
                {"site": list(one.site), "element": one.element}
                for one in case.defects.substitutions
            ],
            "mu": dict(case.defects.mu) or None,
        },
        "model": {
            "scheme": m.scheme,
            "core": blend.core if atoms else given(m.core),
            "blend": blend.width if atoms else given(m.blend),
            "outer": given(m.outer),
            "grading": m.grading,
            "largest": m.largest,
            "block": {"lower": lower, "upper": upper} if lower else None,
        },
        "load": {
            "kind": case.load.kind,
            "plane": case.load.plane,
            "direction": case.load.direction,
            "values": case.load.values,
            "steps": case.load.steps,
        },
        "solver": {
            "fmax": case.solver.fmax,
            "method": case.solver.method,
            "max_steps": case.solver.max_steps,
            "longest": in_angstrom(case.solver.longest, crystal),
            "perturbation": in_angstrom(case.solver.perturbation, crystal),
        },
        "output": {
            "directory": case.output.directory,
            "vtu": case.output.vtu,
            "extxyz": case.output.extxyz,
            "pictures": case.output.pictures,
            "fields": list(case.output.fields),
        },
    }  # fmt: skip
    head = (
        f"{HEAD}: defaults and units written out. Lengths in Angstrom, forces in\n"
        f"# eV/Angstrom. From {shown_name(case.source.name)}, SHA-256 {case.digest}.\n\n"
    )
    return head + to_toml(values)
