"""Does a coupling do what couplings must do? A kit for schemes and potentials, ours and yours."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qc.coupling import Coupling, QuasiContinuum
from qc.farfield import HomogeneousStrain
from qc.numerics.checks import kind, positive
from qc.verify.report import Check, Report

Array = NDArray[np.float64]

#: Steps of the finite differences, Angstrom: truncation rules at one end, round-off at the other.
STEPS = tuple(10.0**-k for k in range(2, 8))

ENERGY_BOUND = 1e-12
RESIDUAL_BOUND = 1e-10
DIFFERENCE_BOUND = 1e-7
SYMMETRY_BOUND = 1e-10


def check_coupling(
    model: QuasiContinuum, *, strain: float = 0.03, amplitude: float = 0.05, seed: int = 0
) -> Report:
    """Run the conformance checks on a model; the model is left as it was.

    The patch test is made on the model's mesh and atoms without its point defects, under
    homogeneous deformation; the derivatives are taken on the model itself, at a random
    perturbation of its present state.

    Parameters
    ----------
    model : QuasiContinuum
        Any scheme, by name or a `Scheme` of your own, and any potential. Small ones do: each check
        takes a few dozen evaluations.
    strain : float
        Largest component of the random ``F - I`` of the patch test.
    amplitude : float, Angstrom
        Largest component of the random perturbation.
    seed : int

    Returns
    -------
    Report
        Checks by name; a scheme only gets those that apply to it.

        - ``sites counted once``: ``sum w_i + sum omega_e v_e / Omega`` against the number of
          sites, relative; for force blending, whether every force is a full one.
        - ``weights in [0, 1]``: by how much a weight leaves the interval.
        - ``patch energy``, ``patch energy, moved``: energy against ``N V(F)``, relative, with F in
          the predictor and with a part of it in the unknowns.
        - ``patch residual``, ``patch residual, moved``: largest force under F, eV/Angstrom. The
          second is asked only of schemes that correct the ghost force at any F.
        - ``forces: <term>``, ``hessian: <term>``: best relative error over a sweep of steps of
          the differences of energies and of forces, each term alone and all together.
        - ``symmetry``: of the Hessian; reported without judgement where no energy exists.
        - ``ghost force balance``, ``ghost force``: sum and size of the uncorrected forces on the
          perfect crystal under F, eV/Angstrom; the size is reported without judgement.

    Raises
    ------
    InputError
        A parameter is not positive and finite.

    Notes
    -----
    Schemes that leave their ghost force alone, ``"qce"`` and ``"bqce"``, fail ``patch residual``
    by design. A model with a free surface is asked only for ``patch residual``, of the nodes
    deeper than twice the cutoff. Source of the patch test: M. Luskin & C. Ortner, Acta Numerica 22
    (2013) 397, section 3; of the sweep: differences must converge before round-off sets in, so that
    no step has to be chosen.
    """
    kind("model", model, QuasiContinuum)
    for name, value in (("strain", strain), ("amplitude", amplitude)):
        positive(name, value)
    rng = np.random.default_rng(seed)
    checks = [*_books(model), *_patch(model, strain, rng), *_derivatives(model, amplitude, rng)]
    crystal, family = model.crystal, type(model.potential).__name__
    subject = f"{model.scheme.name}, {crystal.name} {crystal.mode}, {family}"
    return Report(subject, tuple(checks))


def random_deformation(crystal_mode: str, size: float, rng: np.random.Generator) -> Array:
    """Return a random deformation gradient (3, 3), in the plane for a monolayer."""
    f = np.eye(3)
    d = 2 if crystal_mode == "monolayer" else 3
    f[:d, :d] += rng.uniform(-size, size, (d, d))
    return f


# -- books ----------------------------------------------------------------------------------------


def _books(model: QuasiContinuum) -> Iterator[Check]:
    layout, terms = model.layout.without_defects(freed=True), model.coupling.blended
    crystal, mesh = model.crystal, layout.mesh
    beta = model.scheme.weighting(np.concatenate([layout.beta_atoms, layout.beta_nodes]))
    excess = _outside(beta)
    if terms is None:
        yield Check("sites counted once", _missing_forces(model), 0.0, "nodes without a full force")
        yield Check("weights in [0, 1]", excess, ENERGY_BOUND, "beta outside the interval")
        return
    perfect = Coupling(layout, model.rule, HomogeneousStrain(), model.scheme).blended
    assert perfect is not None
    site, element = perfect.atoms.weights, perfect.continuum.weights
    if len(perfect.continuum.active):
        sites = float(mesh.volumes.sum() / crystal.site_volume)
        site_sum = site @ layout.site_shares[~layout.vacant]
        counted = float(site_sum + element @ mesh.volumes / crystal.site_volume)
        figure, note = abs(counted / sites - 1.0), f"of {sites:.1f} sites, relative"
    else:
        # Atoms go on beyond the mesh here: every site that a free one can pull on counts fully.
        held = len(layout.site_nodes)
        free = layout.node_positions[:held][layout.free[:held].any(axis=1)]
        near = _within(perfect.atoms.y0, free, model.potential.cutoff, mesh.dim) & layout.counted
        figure = float(np.abs(site[near] - 1.0).max(initial=0.0))
        note = "sites near free ones, largest error of a weight"
    yield Check("sites counted once", figure, ENERGY_BOUND, note)
    outside = max(excess, _outside(site), _outside(element))
    yield Check("weights in [0, 1]", outside, ENERGY_BOUND, "outside the interval")


def _outside(weights: Array) -> float:
    return float(np.abs(weights - np.clip(weights, 0.0, 1.0)).max(initial=0.0))


def _missing_forces(model: QuasiContinuum) -> float:
    """Nodes of force blending whose atomistic or continuum force is not the full one."""
    layout, terms = model.layout, model.coupling.pure
    mesh = layout.mesh
    vertex = layout.site_nodes[:, 0]
    beta = model.coupling.beta_nodes[: len(vertex)]
    free = layout.free[: len(vertex)].any(axis=1)
    atoms = layout.node_positions[: len(vertex)][free & (beta < 1.0)]
    layer = _within(layout.positions[~layout.vacant], atoms, model.potential.cutoff, mesh.dim)
    partial = int((terms.atoms.weights[layer] < 1.0).sum())
    corner = np.zeros(mesh.n_vertices, dtype=bool)
    corner[mesh.elements[terms.continuum.weights < 1.0]] = True
    return float(partial + int((corner[vertex] & free & (beta > 0.0)).sum()))


def _within(x: Array, of: Array, reach: float, dim: int) -> NDArray[np.bool_]:
    from scipy.spatial import cKDTree

    if not len(of):
        return np.zeros(len(x), dtype=bool)
    near = cKDTree(of[:, :dim]).query(x[:, :dim], distance_upper_bound=reach)[0]
    return np.isfinite(near)


# -- patch test -----------------------------------------------------------------------------------


def _patch(model: QuasiContinuum, strain: float, rng: np.random.Generator) -> Iterator[Check]:
    layout, rule, scheme = model.layout.without_defects(freed=True), model.rule, model.scheme
    mode = model.crystal.mode
    f = random_deformation(mode, strain, rng)
    coupling = Coupling(layout, rule, HomogeneousStrain(f), scheme)
    zero = np.zeros((layout.n_nodes, 3))
    hull = layout.mesh.hull
    if hull.ends:
        # Atoms near a surface have other energies and feel forces; below their reach none may.
        deep = hull.depth(layout.node_positions) > 2.0 * model.potential.cutoff
        residual = float(np.abs(coupling.forces(zero)[deep]).max(initial=0.0))
        note = f"force under F on {int(deep.sum())} nodes below the surface's reach, eV/Angstrom"
        yield Check("patch residual", residual, RESIDUAL_BOUND, note)
        return
    if coupling.blended is not None:
        figure = _energy_error(coupling, zero, f)
        yield Check("patch energy", figure, ENERGY_BOUND, "N V(F), relative")
    residual = float(np.abs(coupling.forces(zero)).max(initial=0.0))
    yield Check("patch residual", residual, RESIDUAL_BOUND, "force under F, eV/Angstrom")

    # Half of F in the unknowns: P1 elements and interpolated atoms hold it exactly. Atoms beyond
    # the mesh cannot follow, and the columns of 2.5D cannot stretch along their line.
    moved = _affine_unknowns(coupling, random_deformation(mode, strain, rng) - np.eye(3))
    if moved is not None:
        u, h = moved
        if coupling.blended is not None:
            figure = _energy_error(coupling, u, f + h)
            yield Check("patch energy, moved", figure, ENERGY_BOUND, "N V(F), relative")
        mixed = 0 < len(layout.positions) and bool((coupling.beta_nodes > 0).any())
        if scheme.ghost == "self-consistent":
            coupling.refresh_ghost(u)
        if scheme.blends_forces or scheme.ghost == "self-consistent" or not mixed:
            residual = float(np.abs(coupling.forces(u)).max(initial=0.0))
            note = "force under F, eV/Angstrom"
            yield Check("patch residual, moved", residual, RESIDUAL_BOUND, note)
    bare = Coupling(layout, rule, HomogeneousStrain(f), replace(scheme, ghost="none")).forces(zero)
    if moved is not None:
        balance = float(np.abs(bare.sum(axis=0)).max())
        yield Check("ghost force balance", balance, RESIDUAL_BOUND, "sum, eV/Angstrom")
    ghost = float(np.abs(bare).max(initial=0.0))
    yield Check("ghost force", ghost, None, "uncorrected, under F, eV/Angstrom")


def _affine_unknowns(coupling: Coupling, h: Array) -> tuple[Array, Array] | None:
    """Unknowns ``H X``, sublattices relaxed, and H; None where something does not follow them."""
    layout = coupling.layout
    if layout.constraint.leaders is not None:
        return None
    covered = np.asarray(layout.interpolation.sum(axis=1)).ravel()
    if len(covered) and covered.min() < 1.0 - 1e-12:
        return None
    h = h.copy()
    h[:, layout.mesh.dim :] = 0.0
    rule, mean = coupling.rule, np.asarray(coupling.far_field.mean_deformation)
    change = rule.predictor_shifts(mean + h) - rule.predictor_shifts(mean)
    shifts = change[layout.node_sublattices]
    shifts[layout.whole_cells] = change.mean(axis=0)
    return layout.node_positions @ h.T + shifts, h


def _energy_error(coupling: Coupling, u: Array, f: Array) -> float:
    """Relative error of the whole energy, bulk included, against the number of sites."""
    terms, rule = coupling.blended, coupling.rule
    assert terms is not None
    atoms, continuum, mesh = terms.atoms, terms.continuum, coupling.layout.mesh
    site = atoms.weights[atoms.active] * atoms.site_energies(u)
    element = continuum.point_weight * continuum.energy_density(u)
    if len(continuum.active):
        exact = float(mesh.volumes.sum() / rule.crystal.volume * rule.site_energies(f[None]).sum())
    else:
        sublattice = coupling.layout.sublattice[~coupling.layout.vacant][atoms.active]
        exact = math.fsum(rule.site_energies(f[None])[0][sublattice])
    dead = coupling.ghost * u
    return abs(math.fsum([*site, *element, *dead.ravel(), -exact])) / abs(exact)


# -- derivatives ----------------------------------------------------------------------------------


def _derivatives(
    model: QuasiContinuum, amplitude: float, rng: np.random.Generator
) -> Iterator[Check]:
    coupling = copy.copy(model.coupling)
    free = coupling.layout.free
    u = model.U + np.where(free, rng.uniform(-amplitude, amplitude, free.shape), 0.0)
    if coupling.scheme.ghost == "self-consistent":
        coupling.refresh_ghost(model.U)
    terms = coupling.blended if coupling.blended is not None else coupling.pure
    atoms, continuum = terms.atoms, terms.continuum
    # Sites and elements alone may move at all nodes; the whole is held where the model holds it.
    loose = rng.uniform(-1.0, 1.0, free.shape)
    held = np.where(free, loose, 0.0)

    def site_energies(v: Array) -> Array:
        return atoms.weights[atoms.active] * (atoms.site_energies(v) - atoms.reference)

    if not atoms.empty and model.potential.has_site_energies:
        yield _forces("sites", site_energies, atoms.forces, u, loose)
    if len(continuum.active):
        yield _forces("elements", continuum.point_energies, continuum.forces, u, loose)
    if coupling.blended is not None:

        def rest_energies(v: Array) -> Array:
            own = np.concatenate([site_energies(v), continuum.point_energies(v)])
            return np.array([math.fsum([*coupling.energy_terms(v), *(-own)])])

        def rest_forces(v: Array) -> Array:
            own = atoms.forces(v) + continuum.forces(v)
            return np.where(free, coupling.forces(v) - own, 0.0)

        if np.any(coupling.ghost) or coupling.loads:
            name = "loads and ghost correction" if coupling.loads else "ghost correction"
            yield _forces(name, rest_energies, rest_forces, u, held)
        yield _forces("all", coupling.energy_terms, coupling.forces, u, held)

    if not atoms.empty:

        def atom_product(v: Array, dv: Array) -> Array:
            return np.asarray(atoms.transposed @ atoms.hessian_product(v, dv))

        yield _hessian("sites", atoms.forces, atom_product, u, loose)
    if len(continuum.active):
        yield _hessian("elements", continuum.forces, continuum.hessian_product, u, loose)
    yield _hessian("all", coupling.forces, coupling.hessian_product, u, held)
    yield _symmetry(coupling, u, held, rng)


def _forces(
    name: str,
    energies: Callable[[Array], Array],
    forces: Callable[[Array], Array],
    u: Array,
    direction: Array,
) -> Check:
    """Differences of the addends of an energy against the force along a direction."""
    f = forces(u)
    exact = -float(np.vdot(f, direction))
    # What the product of unrelated vectors of these sizes comes to.
    scale = float(np.linalg.norm(f * direction))
    errors = []
    for h in STEPS:
        change = energies(u + h * direction) - energies(u - h * direction)
        errors.append(abs(math.fsum(change) / (2.0 * h) - exact))
    return _sweep(f"forces: {name}", errors, scale)


def _hessian(
    name: str,
    forces: Callable[[Array], Array],
    product: Callable[[Array, Array], Array],
    u: Array,
    direction: Array,
) -> Check:
    exact = product(u, direction)
    errors = []
    for h in STEPS:
        change = forces(u - h * direction) - forces(u + h * direction)
        errors.append(float(np.linalg.norm(change / (2.0 * h) - exact)))
    return _sweep(f"hessian: {name}", errors, float(np.linalg.norm(exact)))


def _sweep(name: str, errors: list[float], scale: float) -> Check:
    best = int(np.argmin(errors))
    figure = errors[best] / scale if scale > 0 else errors[best]
    fall = errors[best] / errors[0] if errors[0] > 0 else 1.0
    note = f"relative; error fell to {fall:.0e} of that at {STEPS[0]:.0e} by {STEPS[best]:.0e}"
    return Check(name, figure, DIFFERENCE_BOUND, note)


def _symmetry(coupling: Coupling, u: Array, v: Array, rng: np.random.Generator) -> Check:
    w = np.where(coupling.layout.free, rng.uniform(-1.0, 1.0, v.shape), 0.0)
    hv, hw = coupling.hessian_product(u, v), coupling.hessian_product(u, w)
    scale = math.sqrt(np.linalg.norm(v) * np.linalg.norm(hw) * np.linalg.norm(w))
    scale *= math.sqrt(np.linalg.norm(hv))
    figure = abs(float(np.vdot(w, hv) - np.vdot(v, hw))) / scale if scale > 0 else 0.0
    bound = SYMMETRY_BOUND if coupling.conservative else None
    note = "of the Hessian, relative" + (
        "" if coupling.conservative else "; no energy, no symmetry"
    )
    return Check("symmetry", figure, bound, note)
