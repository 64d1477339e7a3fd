"""Conformance kit for potentials: run it on your own before trusting a simulation to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from qc.crystal import diamond
from qc.errors import QCError
from qc.materials.cell import SiteSum
from qc.numerics.checks import kind
from qc.potentials import Bonds, Pairs, Potential

from .report import Check, Report

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Central differences of a smooth function lose about two thirds of the digits to round-off.
DIFFERENCE_BOUND = 1e-7

#: Between the largest and the best step the error of a right derivative falls by orders.
FALL_BOUND = 1e-3

#: Two ways to sum the same terms.
SUM_BOUND = 1e-12

#: The same for cells, whose terms cancel in strained lattices of open structures.
CELL_BOUND = 1e-11


@dataclass(frozen=True)
class _Sample:
    """Environments to check on: sites with bonds, and a cluster with a neighbour list."""

    spacing: float
    bonds: Bonds
    star: Array
    star_types: IntArray
    positions: Array
    types: IntArray
    weights: Array
    start: IntArray
    neighbours: IntArray
    offsets: Array
    rng: np.random.Generator


Group = Callable[[Potential, _Sample], Iterator[Check]]


def check_potential(
    potential: Potential, spacing: float | None = None, dim: int = 3, seed: int = 0
) -> Report:
    """Check that a potential keeps the contract of `qc.potentials.Potential`.

    Gradients against differences with the step swept, Hessian products likewise and symmetric,
    rotation and permutation invariance, range and smoothness at the cutoff, what happens to a
    site without bonds and to NaN, unknown species, and, where offered, that the fused kernels
    agree with the generic path and do not depend on the number of threads. What the potential
    remarks of itself, such as tables that are noisy or too coarse, is listed.

    Parameters
    ----------
    potential : Potential
        Any implementation of the contract.
    spacing : float, optional
        Nearest-neighbour distance of the environments, Angstrom; ``cutoff / 2.2`` unless given.
        The cutoff must reach the first neighbours at least.
    dim : {3, 2}
        3 for fcc-like environments, 2 for a triangular monolayer, both disordered.
    seed : int
        Of the disorder; the outcome does not change from run to run.

    Returns
    -------
    Report
        Every check with its figure and bound; ``report.passed``, ``print(report)``.

    Examples
    --------
    >>> import qc
    >>> qc.verify.check_potential(qc.potentials.zhou2004("Cu")).passed
    True
    """
    kind("potential", potential, Potential)
    sample = _sample(potential, spacing or potential.cutoff / 2.2, dim, seed)
    checks: list[Check] = []
    groups: list[Group] = [
        _gradient, _hessian, _blocks, _rotation, _permutation, _range, _smoothness, _isolated,
        _bad_input, _purity, _remarks,
    ]  # fmt: skip
    fused: list[Group] = [_fused, _fused_gradient, _fused_bad_input]
    for method, offered, more in (
        ("energy_forces", potential.pair_list != "none", fused),
        ("deformed_star", potential.fused_star, [_star]),
        ("deformed_cell", potential.fused_cell, [_cell]),
    ):
        if offered:
            groups += more
        else:
            checks.append(Check(method, np.nan, None, "not offered, not checked"))
    groups.append(_threads)
    for group in groups:
        name = group.__name__.strip("_").replace("_", " ")
        try:
            # A figure that is NaN is a verdict; a warning about it would be noise.
            with np.errstate(all="ignore"):
                checks += group(potential, sample)
        except Exception as error:
            # A third party's potential may fail in any way; the kit reports it and goes on.
            checks.append(Check(name, np.inf, 0.0, f"{type(error).__name__}: {error}"))
    subject = f"{type(potential).__name__}({', '.join(potential.species)})"
    return Report(subject, tuple(checks))


def _gradient(potential: Potential, sample: _Sample) -> Iterator[Check]:
    bonds = sample.bonds
    energies, gradients = potential.bond_gradients(bonds)
    scale = _scale(gradients)
    yield Check(
        "energies agree",
        _worst(energies - potential.site_energies(bonds)) / _energy_scale(energies, gradients),
        SUM_BOUND,
        "site_energies against bond_gradients",
    )
    direction = sample.rng.normal(size=bonds.vectors.shape)
    slope = _site_sums(bonds, (gradients * direction).sum(axis=1))

    def value(h: float) -> Array:
        return potential.site_energies(replace(bonds, vectors=bonds.vectors + h * direction))

    width = np.sqrt(np.diff(bonds.start).max(initial=1))
    yield from _v_curve("gradient", value, slope, sample.spacing, scale * width)


def _hessian(potential: Potential, sample: _Sample) -> Iterator[Check]:
    bonds = sample.bonds
    one, two = (sample.rng.normal(size=bonds.vectors.shape) for _ in range(2))
    product = potential.bond_hessian_product(bonds, one)

    def value(h: float) -> Array:
        return potential.bond_gradients(replace(bonds, vectors=bonds.vectors + h * one))[1]

    yield from _v_curve("Hessian product", value, product, sample.spacing, _scale(product))
    other = potential.bond_hessian_product(bonds, two)
    gap = _site_sums(bonds, (two * product - one * other).sum(axis=1))
    size = _site_sums(bonds, np.abs(two * product).sum(axis=1))
    yield Check("Hessian symmetric", _worst(gap) / _scale(size), SUM_BOUND, "a H b - b H a")


def _blocks(potential: Potential, sample: _Sample) -> Iterator[Check]:
    count = int(sample.bonds.start[1])
    bonds = Bonds(
        np.array([0, count]),
        sample.bonds.vectors[:count],
        sample.bonds.site_types[:1],
        sample.bonds.bond_types[:count],
    )
    change = sample.rng.normal(size=bonds.vectors.shape)
    product = potential.bond_hessian_product(bonds, change)
    first, second, blocks = potential.bond_hessians(bonds)
    summed = np.zeros_like(product)
    np.add.at(summed, first, np.einsum("pcd,pd->pc", blocks, change[second]))
    yield Check("Hessian blocks", _worst(summed - product) / _scale(product), 1e-11)


def _rotation(potential: Potential, sample: _Sample) -> Iterator[Check]:
    bonds = sample.bonds
    rotation, _ = np.linalg.qr(sample.rng.normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    turned = replace(bonds, vectors=np.ascontiguousarray(bonds.vectors @ rotation.T))
    energies, gradients = potential.bond_gradients(bonds)
    same, rotated = potential.bond_gradients(turned)
    scale = _energy_scale(energies, gradients)
    yield Check("rotation: energy", _worst(same - energies) / scale, 1e-11)
    gap = _worst(rotated - gradients @ rotation.T)
    yield Check("rotation: gradient", gap / _scale(gradients), 1e-10)


def _permutation(potential: Potential, sample: _Sample) -> Iterator[Check]:
    bonds = sample.bonds
    order = np.concatenate(
        [
            sample.rng.permutation(np.arange(first, last))
            for first, last in zip(bonds.start[:-1], bonds.start[1:], strict=True)
        ]
    )
    shuffled = replace(bonds, vectors=bonds.vectors[order], bond_types=bonds.bond_types[order])
    energies, gradients = potential.bond_gradients(bonds)
    same, moved = potential.bond_gradients(shuffled)
    scale = _energy_scale(energies, gradients)
    yield Check("permutation: energy", _worst(same - energies) / scale, SUM_BOUND)
    gap = _worst(moved - gradients[order])
    yield Check("permutation: gradient", gap / _scale(gradients), 1e-11)


def _range(potential: Potential, sample: _Sample) -> Iterator[Check]:
    bonds = sample.bonds
    beyond = np.linalg.norm(bonds.vectors, axis=1) >= potential.cutoff
    inside = ~beyond
    kept = Bonds(
        np.concatenate([[0], np.cumsum(_site_sums(bonds, inside.astype(float)))]).astype(np.int64),
        bonds.vectors[inside],
        bonds.site_types,
        bonds.bond_types[inside],
    )
    energies, gradients = potential.bond_gradients(bonds)
    fewer, _ = potential.bond_gradients(kept)
    gap = _worst(energies - fewer) / _energy_scale(energies, gradients)
    yield Check("beyond cutoff: energy", gap, SUM_BOUND, f"{beyond.sum()} bonds dropped")
    yield Check("beyond cutoff: gradient", _worst(gradients[beyond]), 0.0)


def _smoothness(potential: Potential, sample: _Sample) -> Iterator[Check]:
    """Let one more neighbour come in from just beyond the cutoff."""
    ns = len(potential.species)
    jumps, pulls = [], []
    for s in range(ns):
        for t in range(ns):
            vectors = np.concatenate([sample.star, [[potential.cutoff * (1.0 - 1e-9), 0.0, 0.0]]])
            types = np.append(sample.star_types, t).astype(np.int64)
            near = Bonds(np.array([0, len(vectors)]), vectors, np.array([s]), types)
            far = Bonds(np.array([0, len(vectors) - 1]), vectors[:-1], near.site_types, types[:-1])
            energy, gradient = potential.bond_gradients(near)
            before, others = potential.bond_gradients(far)
            scale = _energy_scale(before, others)
            jumps.append(_worst(energy - before) / scale)
            pulls.append(_worst(gradient[-1]) * sample.spacing / scale)
    yield Check("at cutoff: energy", max(jumps), 1e-8, "jump, relative")
    yield Check("at cutoff: gradient", max(pulls), 1e-7, "jump, relative")


def _isolated(potential: Potential, sample: _Sample) -> Iterator[Check]:
    ns = len(potential.species)
    empty = np.empty(0, dtype=np.int64)
    alone = Bonds(
        np.zeros(ns + 1, dtype=np.int64), np.empty((0, 3)), np.arange(ns, dtype=np.int64), empty
    )
    energies, gradients = potential.bond_gradients(alone)
    bad = not (np.isfinite(energies).all() and energies.shape == (ns,))
    bad |= gradients.shape != (0, 3) or potential.bond_hessian_product(
        alone, np.empty((0, 3))
    ).shape != (0, 3)
    yield Check("site without bonds", float(bad), 0.0, "finite energy, empty gradient")


def _bad_input(potential: Potential, sample: _Sample) -> Iterator[Check]:
    vectors = sample.bonds.vectors.copy()
    vectors[int(np.argmin(np.linalg.norm(vectors, axis=1))), 1] = np.nan
    silent = _accepts(lambda: potential.bond_gradients(replace(sample.bonds, vectors=vectors))[0])
    yield Check("NaN bond", float(silent), 0.0, "raises, or gives NaN")
    silent = _accepts(lambda: potential.types_of(["no such element"]))
    yield Check("unknown species", float(silent), 0.0, "raises")


def _purity(potential: Potential, sample: _Sample) -> Iterator[Check]:
    bonds = sample.bonds
    arrays = (bonds.start, bonds.vectors, bonds.site_types, bonds.bond_types)
    before = [a.copy() for a in arrays]
    first = potential.bond_gradients(bonds)[1]
    changed = any(not np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))
    changed |= not np.array_equal(first, potential.bond_gradients(bonds)[1])
    changed |= potential.fingerprint() != potential.fingerprint()
    yield Check("repeatable", float(changed), 0.0, "inputs untouched, same answer twice")


def _remarks(potential: Potential, sample: _Sample) -> Iterator[Check]:
    """Pass on what the potential says of itself where the sample is; nothing is judged."""
    for remark in potential.remarks(sample.bonds):
        yield Check("remark", np.nan, None, remark)


def _fused(potential: Potential, sample: _Sample) -> Iterator[Check]:
    energies, forces = _weighted(potential, sample, sample.positions)
    again = _weighted(potential, sample, sample.positions)
    changed = not (np.array_equal(energies, again[0]) and np.array_equal(forces, again[1]))
    yield Check("fused: repeatable", float(changed), 0.0, "same answer twice")
    sites = np.repeat(np.arange(len(sample.types)), np.diff(sample.start))
    ends = sample.neighbours
    vectors = sample.positions[ends] + sample.offsets - sample.positions[sites]
    bonds = Bonds(sample.start, vectors, sample.types, sample.types[ends])
    generic, gradients = potential.bond_gradients(bonds)
    pulls = sample.weights[sites, None] * gradients
    expected = np.zeros_like(forces)
    np.add.at(expected, sites, pulls)
    np.add.at(expected, ends, -pulls)
    counted = sample.weights != 0.0
    scale = _energy_scale(generic, gradients)
    gap = _worst((energies - generic)[counted]) / scale
    yield Check("fused: energies", gap, SUM_BOUND, "against site_energies")
    gap = _worst(forces - expected) / _scale(expected)
    yield Check("fused: forces", gap, SUM_BOUND, "against bond_gradients")
    total = _worst(forces.sum(axis=0)) / np.abs(forces).sum()
    yield Check("fused: momentum", total, SUM_BOUND, "forces add up to zero")


def _fused_gradient(potential: Potential, sample: _Sample) -> Iterator[Check]:
    direction = sample.rng.normal(size=sample.positions.shape)
    forces = _weighted(potential, sample, sample.positions)[1]
    slope = -np.sum(forces * direction)

    def value(h: float) -> Array:
        energies = _weighted(potential, sample, sample.positions + h * direction)[0]
        return np.atleast_1d(np.dot(sample.weights, energies))

    scale = _scale(forces) * np.sqrt(forces.size)
    yield from _v_curve("fused: gradient", value, np.atleast_1d(slope), sample.spacing, scale)


def _fused_bad_input(potential: Potential, sample: _Sample) -> Iterator[Check]:
    positions = sample.positions.copy()
    positions[int(np.argmax(sample.weights)), 2] = np.nan
    silent = _accepts(lambda: _weighted(potential, sample, positions)[1])
    yield Check("fused: NaN position", float(silent), 0.0, "raises, or gives NaN")


def _star(potential: Potential, sample: _Sample) -> Iterator[Check]:
    star, types = sample.star, sample.star_types
    n, k = 5, len(star)
    F = np.eye(3) + 0.03 * sample.rng.normal(size=(n, 3, 3))
    bonds = Bonds(
        k * np.arange(n + 1, dtype=np.int64),
        np.einsum("nij,bj->nbi", F, star).reshape(-1, 3),
        np.zeros(n, dtype=np.int64),
        np.tile(types, n),
    )
    energies, stresses, tangents = potential.deformed_star(F, star, 0, types, tangent=True)
    assert tangents is not None
    generic, gradients = potential.bond_gradients(bonds)
    expected = np.einsum("nbi,bj->nij", gradients.reshape(n, k, 3), star)
    terms = np.einsum("nbi,bj->nij", np.abs(gradients).reshape(n, k, 3), np.abs(star))
    gap = _worst(energies - generic) / _energy_scale(generic, gradients)
    yield Check("star: energy", gap, SUM_BOUND, "against site_energies")
    gap = _worst(stresses - expected) / _scale(terms)
    yield Check("star: stress", gap, SUM_BOUND, "against bond_gradients")
    change = sample.rng.normal(size=F.shape)
    moved = np.einsum("nij,bj->nbi", change, star).reshape(-1, 3)
    products = potential.bond_hessian_product(bonds, moved).reshape(n, k, 3)
    expected = np.einsum("nbi,bj->nij", products, star)
    terms = np.einsum("nbi,bj->nij", np.abs(products), np.abs(star))
    gap = _worst(np.einsum("nijkl,nkl->nij", tangents, change) - expected) / _scale(terms)
    yield Check("star: tangent", gap, SUM_BOUND, "against bond_hessian_product")
    lean = potential.deformed_star(F, star, 0, types)
    same = lean[2] is None and np.array_equal(lean[0], energies)
    yield Check("star: without tangent", float(not same), 0.0, "same energy, no tangent")


def _cell(potential: Potential, sample: _Sample) -> Iterator[Check]:
    """Check cells of a crystal with a basis, strained and with shifted sublattices."""
    n = 4
    lattice = diamond(potential.species[0], 4.0 / np.sqrt(3.0) * sample.spacing)
    cells = SiteSum(lattice, potential, np.array([0, len(potential.species) - 1]))
    F = np.eye(3) + 0.03 * sample.rng.normal(size=(n, 3, 3))
    shifts = 0.03 * sample.spacing * sample.rng.normal(size=(n, lattice.n_sublattices, 3))
    shifts[:, 0] = 0.0
    found, expected = cells(F, shifts, "full"), cells.by_bonds(F, shifts, "full")
    assert found.hessian is not None
    assert expected.hessian is not None
    for name, one, other in (
        ("energy", found.sites, expected.sites),
        ("stress", found.dF, expected.dF),
        ("shifts", found.dp, expected.dp),
        ("hessian", found.hessian, expected.hessian),
    ):
        gap = _worst(one - other) / max(_scale(other), 1e-300)
        yield Check(f"cell: {name}", gap, CELL_BOUND, "against bonds")
    alone = cells(F[:1], shifts[:1])
    gap = _worst(alone.dF - found.dF[:1]) / max(_scale(expected.dF), 1e-300)
    yield Check("cell: one state", gap, CELL_BOUND, "as among others")


def _threads(potential: Potential, sample: _Sample) -> Iterator[Check]:
    def everything() -> list[Array]:
        found = [*potential.bond_gradients(sample.bonds)]
        found.append(potential.bond_hessian_product(sample.bonds, sample.bonds.vectors))
        if potential.fused_star:
            F = np.eye(3) + np.linspace(-0.02, 0.02, 40)[:, None, None] * np.ones((3, 3))
            star = potential.deformed_star(F, sample.star, 0, sample.star_types, True)
            found += [part for part in star if part is not None]
        return found

    def fused() -> list[Array]:
        if potential.pair_list == "none":
            return []
        return [*_weighted(potential, sample, sample.positions)]

    before = numba.get_num_threads()
    available = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    if available == 1:
        yield Check("threads", np.nan, None, "one thread only, not checked")
        return
    try:
        numba.set_num_threads(1)
        one, sums_one = everything(), fused()
        numba.set_num_threads(available)
        many, sums_many = everything(), fused()
    finally:
        numba.set_num_threads(before)
    gap = max(_worst(a - b) for a, b in zip(one, many, strict=True))
    yield Check("threads", gap, 0.0, f"1 against {available}, bit for bit")
    if sums_one:
        # Threads have accumulators of their own, so the order of a sum is another.
        gap = max(_worst(a - b) / _scale(a) for a, b in zip(sums_one, sums_many, strict=True))
        yield Check("fused: threads", gap, SUM_BOUND, f"1 against {available}")


def _sample(potential: Potential, spacing: float, dim: int, seed: int) -> _Sample:
    """Make disordered environments: four stars, and a cluster of atoms with weights."""
    rng = np.random.default_rng(seed)
    ns = len(potential.species)
    cell = {
        3: np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / np.sqrt(2.0),
        2: np.array([[1, 0, 0], [0.5, np.sqrt(0.75), 0], [0, 0, 0]]),
    }[dim]
    reach = 1.3 * potential.cutoff / spacing
    span = int(np.ceil(1.5 * reach)) + 1
    index = np.stack(np.meshgrid(*[np.arange(-span, span + 1)] * dim, indexing="ij"), axis=-1)
    lattice = spacing * index.reshape(-1, dim) @ cell[:dim]
    distance = np.linalg.norm(lattice, axis=1)
    star = lattice[(distance > 0) & (distance < reach * spacing)]
    star_types = rng.integers(ns, size=len(star))
    vectors, k, n = [], len(star), 4
    for _ in range(n):
        strain = np.eye(3) + 0.02 * rng.normal(size=(3, 3))
        vectors.append(star @ strain.T + 0.04 * spacing * rng.normal(size=star.shape))
    bonds = Bonds(
        k * np.arange(n + 1, dtype=np.int64),
        np.concatenate(vectors),
        np.arange(n, dtype=np.int64) % ns,
        rng.integers(ns, size=n * k),
    )
    order = np.argsort(distance, kind="stable")[:60]
    cluster = lattice[order] + 0.04 * spacing * rng.normal(size=(len(order), 3))
    # Two loners: rows without bonds are allowed, with weight and without.
    cluster = np.concatenate([cluster, 50.0 * potential.cutoff * np.eye(3)[:2]])
    # Wrapping by whole vectors of a box exercises the offsets without changing the cluster.
    image = np.rint(rng.normal(size=cluster.shape)) * 10.0 * potential.cutoff
    gaps = np.linalg.norm(cluster[None] - cluster[:, None], axis=2)
    sites, ends = np.nonzero((gaps < 1.05 * potential.cutoff) & (gaps > 0))
    weights = rng.uniform(0.1, 1.0, len(cluster))
    weights[rng.permutation(60)[:20]] = weights[-1] = 0.0
    return _Sample(
        spacing=spacing,
        bonds=bonds,
        star=star,
        star_types=star_types,
        positions=cluster - image,
        types=rng.integers(ns, size=len(cluster)),
        weights=weights,
        start=np.searchsorted(sites, np.arange(len(cluster) + 1)).astype(np.int64),
        neighbours=ends.astype(np.int64),
        offsets=image[ends] - image[sites],
        rng=rng,
    )


def _weighted(potential: Potential, sample: _Sample, positions: Array) -> tuple[Array, Array]:
    """Call the fused kernel: every neighbour that is offset becomes an image of its own."""
    n = len(positions)
    sites = np.repeat(np.arange(n), np.diff(sample.start))
    near = ~sample.offsets.any(axis=1)
    keys = np.column_stack([sample.neighbours, sample.offsets])
    images, place = np.unique(keys[~near], axis=0, return_inverse=True)
    ends = sample.neighbours.copy()
    ends[~near] = n + place.ravel()
    half = potential.pair_list == "half"
    w = sample.weights
    if half:
        # One of the two rows that hold a pair, by no rule that a kernel could rely on.
        lower = sites < sample.neighbours
        kept = lower ^ ((sites + sample.neighbours) % 3 == 0)
        kept &= (w[sites] != 0.0) | (w[sample.neighbours] != 0.0)
    else:
        kept = w[sites] != 0.0
    start = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(sites[kept], minlength=n), out=start[1:])
    owners = np.concatenate([np.arange(n), images[:, 0]]).astype(np.int32)
    pairs = Pairs(start, ends[kept].astype(np.int32), owners, half)
    rows = positions[owners]
    rows[n:] += images[:, 1:]
    return potential.energy_forces(rows, sample.types[owners], w[owners], pairs)


def _v_curve(
    name: str, value: Callable[[float], Array], slope: Array, spacing: float, scale: float
) -> Iterator[Check]:
    """Sweep the step of central differences: the error must fall by orders, and far enough."""
    steps = spacing * 10.0 ** -np.arange(2.0, 8.1, 0.5)
    errors = np.array([_worst((value(h) - value(-h)) / (2.0 * h) - slope) / scale for h in steps])
    best = int(np.argmin(errors))
    detail = f"best step {steps[best]:.0e} Angstrom"
    yield Check(name, float(errors[best]), DIFFERENCE_BOUND, detail)
    # A function that is quadratic in the step has nothing to fall from.
    fall = errors[best] / max(errors[0], DIFFERENCE_BOUND)
    yield Check(f"{name}: fall", float(fall), FALL_BOUND, "best error against the largest step's")


def _accepts(call: Callable[[], NDArray[Any]]) -> bool:
    """Return whether a call neither raises a typed error nor gives NaN."""
    try:
        result = call()
    except (QCError, ValueError):
        return False
    return not np.isnan(np.asarray(result, dtype=np.float64)).any()


def _site_sums(bonds: Bonds, values: Array) -> Array:
    return np.bincount(bonds.sites, values, bonds.n_sites).astype(np.float64)


def _worst(values: Array) -> float:
    """Return the largest magnitude; NaN if there is one, 0 for nothing."""
    return float(np.max(np.abs(values), initial=0.0))


def _scale(values: Array) -> float:
    return max(_worst(values), np.finfo(float).tiny)


def _energy_scale(energies: Array, gradients: Array) -> float:
    """Return an energy that differences are compared with, where energies happen to cancel."""
    return max(_worst(energies), _worst(gradients), np.finfo(float).tiny)
