"""What tells a model, and a run of it, from another: hashes by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from ase.calculators.calculator import BaseCalculator

from qc.coupling import QuasiContinuum
from qc.coupling.slaved import slaved_fractions
from qc.dynamics import Dynamics
from qc.numerics.fingerprint import Fingerprint, fingerprint
from qc.potentials import Potential


def fingerprints(model: QuasiContinuum) -> dict[str, str]:
    """Return hashes of everything a state depends on, by name.

    ``potential``, ``material``, ``mesh`` (lattice, elements, defects, boundary), ``far field``
    (without the mean deformation, which is the load) and ``scheme`` (with the blending region,
    the temperature, if there is one, and further terms).
    """
    layout, mesh = model.layout, model.mesh
    digest = Fingerprint("mesh").add(
        model.crystal.cell, model.crystal.basis, mesh.lattice, mesh.elements, layout.free,
        layout.lattice, layout.sublattice, layout.positions[layout.extra], layout.types,
        layout.vacant, layout.extra, model.spec.order.order,
        layout.constraint.followers, layout.constraint.start(), layout.tractions(),
    )  # fmt: skip
    blend = layout.blend
    scheme = Fingerprint(model.scheme.name).add(blend.core, blend.width, layout.beta_nodes)
    # A dead load is found anew with new samples; what it is made for is the temperature.
    thermal = model.thermal
    if thermal is not None:
        scheme.add(thermal.temperature, str(thermal.vibrations), thermal.deformation)
        if thermal.quasi_static is not None:
            scheme.add(slaved_fractions(layout, thermal.quasi_static))
    for term in model.coupling.further:
        scheme.add(*term.described())
    far_field = model.far_field.with_mean_deformation(np.eye(3))
    material = model.spec.material
    return {
        "potential": model.potential.fingerprint(),
        "material": "of the potential" if material is None else material.fingerprint(),
        "mesh": digest.hex(),
        "far field": far_field.fingerprint(),
        "scheme": scheme.hex(),
    }


def dynamics_fingerprints(dynamics: Dynamics) -> dict[str, str]:
    """Return hashes of everything a run depends on: the model or atoms, and the settings."""
    system = dynamics.system
    model = system.model
    out = {} if model is None else fingerprints(model)
    mass = Fingerprint("mass").add(system.masses, system.free)
    atoms = system.atoms
    if atoms is not None:
        out["calculator"] = fingerprint("calculator", _describe_calculator(atoms.calc))
        mass.add(atoms.numbers, np.array(atoms.cell), atoms.pbc)
    out["mass"] = mass.hex()
    out["time step"] = fingerprint("time step", [dynamics.timestep])
    out["seed"] = str(dynamics.seed)
    for bath in dynamics.baths:
        out[f"bath '{bath.name}'"] = bath.fingerprint()
    # Noise goes by the order of the baths.
    out["set of baths"] = "; ".join(bath.name for bath in dynamics.baths)
    if dynamics.field is not None:
        stepping = f"{dynamics.conduct_every} {dynamics.close_field}"
        out["heat field"] = f"{dynamics.field.fingerprint()} {stepping}"
    else:
        out["heat field"] = "none"
    driven: set[int] | None = set()
    drives = Fingerprint("drives")
    for drive in dynamics.drives:
        drives.add(type(drive).__name__, *drive.described(dynamics.timestep))
        if drive.index is None:
            driven = None  # It may change any of them.
        elif driven is not None:
            driven.add(drive.index)
    out["moving load"] = drives.hex()
    if model is not None and driven is not None:
        still = [load for k, load in enumerate(model.loads) if k not in driven]
        loads = Fingerprint("loads").add(*(part for load in still for part in load.described()))
        # That of a mean force is made anew for every run, and may then differ by its samples.
        loads.add("thermal" if np.any(model.coupling.mean_force) else "")
        out["load"] = loads.hex()
        out["deformation"] = fingerprint("deformation", [model.far_field.mean_deformation])
    return out


@runtime_checkable
class OfPotential(Protocol):
    """A calculator that knows its potential."""

    potential: Any


def _describe_calculator(calculator: object) -> list[Any]:
    """Return what kind of calculator it is, and those of its parameters that are plain values."""
    parts: list[Any] = [type(calculator).__qualname__]
    if isinstance(calculator, OfPotential) and isinstance(calculator.potential, Potential):
        parts.append(calculator.potential.fingerprint())
    given = calculator.parameters if isinstance(calculator, BaseCalculator) else None
    if isinstance(given, Mapping):
        plain = {k: v for k, v in given.items() if isinstance(v, str | bool | int | float)}
        for k in sorted(plain, key=str):
            parts += [str(k), plain[k]]
    return parts
