"""The lattice that a cloud of atoms shares, found from the vectors between its atoms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial import cKDTree

from qc.crystal.bonds import BondList, Structure, bond_list, nearest_distance, take_rows
from qc.crystal.crystal import Crystal

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Largest deviation of a principal stretch from 1 (from the mean stretch if the lattice constant
#: is free). The Bain path from bcc to fcc needs 12 % and 21 %, so no two structures meet.
MOST_STRAIN = 0.11
#: Atoms whose neighbours are collected: enough to average thermal noise out.
_SAMPLE = 3000
#: Beyond this many atoms only a ball of them is looked at to find the orientation.
_BALL = 6000
#: How near each lattice vector has to find a translation, in nearest-neighbour distances. Strained
#: bcc is affine to hcp but for a shuffle of 0.29 between the sublattices.
_STAR_MATCH = 0.18
#: Range of the vectors in nearest-neighbour distances: holds c of hcp up to c/a = 1.9.
_RANGE = 2.25


@dataclass(frozen=True, eq=False)
class Translations:
    """Vectors that many atoms have to another atom: the lattice vectors, if there is a lattice.

    Parameters
    ----------
    vectors : (k, 3) float, Angstrom
    share : (k,) float
        Fraction of the atoms that have a neighbour there.
    spacing : float, Angstrom
        Nearest-neighbour distance (median over the atoms).
    """

    vectors: Array
    share: Array
    spacing: float


def shared_translations(structure: Structure) -> Translations:
    """Return the common translation vectors of a structure.

    The vectors between near atoms form clusters; noise and strain widen them, defects and
    surfaces thin them out, grains multiply them, and a glass has none.

    Raises
    ------
    CrystalError
        Atoms without neighbours, or overlapping.
    """
    structure, _ = central_ball(structure)
    spacing = nearest_distance(structure)
    bonds = bond_list(structure, _RANGE * spacing)
    vectors, n_rows = _sampled(bonds)
    centres = _cluster_centres(vectors, spacing, n_rows)
    if not len(centres):
        return Translations(np.zeros((0, 3)), np.zeros(0), spacing)
    tree = cKDTree(vectors)
    share = tree.query_ball_point(centres, 0.3 * spacing, return_length=True) / n_rows
    order = np.lexsort((*np.round(centres, 6).T, -share))
    return Translations(centres[order], share[order], spacing)


def central_ball(structure: Structure) -> tuple[Structure, IntArray]:
    """Return a ball of atoms around the middle, and which they are; all of a small structure."""
    if len(structure) <= _BALL:
        return structure, np.arange(len(structure), dtype=np.int64)
    distance = np.linalg.norm(structure.positions - structure.positions.mean(axis=0), axis=1)
    chosen = np.sort(np.argsort(distance, kind="stable")[:_BALL])
    ball = Structure(
        structure.positions[chosen], np.eye(3), (False, False, False), structure.symbols[chosen]
    )
    return ball, chosen


def _sampled(bonds: BondList) -> tuple[Array, int]:
    n = len(bonds.start) - 1
    if n <= _SAMPLE:
        return bonds.vectors, n
    rows = np.unique(np.linspace(0, n - 1, _SAMPLE).astype(np.int64))
    return bonds.vectors[take_rows(bonds.start, rows)[1]], len(rows)


def _cluster_centres(vectors: Array, spacing: float, n_rows: int) -> Array:
    """Return centroids (k, 3) of the dense spots of a cloud of vectors."""
    width = 0.12 * spacing
    half = int(np.ceil(_RANGE * spacing / width)) + 2
    edges = (np.arange(-half, half + 2) - 0.5) * width
    counts, _ = np.histogramdd(vectors, bins=(edges, edges, edges))
    smooth = gaussian_filter(counts, sigma=1.0, mode="constant")
    # A spot of the thinnest kind, one of several variants near a surface, keeps about a tenth of
    # the atoms; a Gaussian one bin wide, widened by noise, spreads it to a twentieth at its top.
    peak = (smooth >= maximum_filter(smooth, size=5)) & (smooth > 0.1 * 0.05 * n_rows)
    centres = (np.argwhere(peak) - half) * width
    if not len(centres):
        return np.zeros((0, 3))
    tree = cKDTree(vectors)
    for _ in range(6):
        balls = tree.query_ball_point(centres, 0.28 * spacing, return_sorted=True)
        centres = np.array(
            [vectors[b].mean(axis=0) if b else c for b, c in zip(balls, centres, strict=True)]
        )
    weight = np.array([len(b) for b in balls])
    order = np.lexsort((*np.round(centres, 6).T, -weight))
    kept: list[Array] = []
    for c in centres[order]:
        if all(np.linalg.norm(c - other) > 0.3 * spacing for other in kept):
            kept.append(c)
    return np.array(kept)


def lattice_gradients(
    translations: Translations, crystal: Crystal, free_scale: bool
) -> list[Array]:
    """Return deformation gradients that map the crystal's lattice onto shared translations.

    They differ by the lattice's point group; the one nearest to the unrotated crystal comes
    first. Empty if no affine image of the lattice within the allowed strain is among the
    translations.

    Parameters
    ----------
    translations : Translations
    crystal : Crystal
    free_scale : bool
        Leave the lattice constant open; only the shape is compared.
    """
    cell = crystal._reduction @ crystal.cell
    candidates = _triples(translations, crystal, cell, free_scale)
    if not len(candidates):
        return []
    star = np.vstack([crystal.star(crystal.star_radius, s) for s in range(crystal.n_sublattices)])
    lattice = _lattice_star(crystal, 1.02 * float(np.linalg.norm(cell, axis=1).max()))
    tree = cKDTree(translations.vectors)
    refined: list[tuple[float, float, Array]] = []
    for F in candidates:
        near, _ = tree.query(star @ F.T)
        if (near < _STAR_MATCH * translations.spacing).mean() < 0.8:
            continue
        F = _refined(F, lattice, translations, tree)
        strain, trace = _strain_and_trace(F, free_scale)
        if strain < 2 * MOST_STRAIN:
            refined.append((strain, trace, F))
    if not refined:
        return []
    least = min(strain for strain, _, _ in refined)
    equals = [(trace, F) for strain, trace, F in refined if strain < least + 0.004]
    equals.sort(key=lambda pair: (-round(pair[0], 5), *np.round(-pair[1], 4).ravel()))
    unique: list[Array] = []
    for _, F in equals:
        if all(np.abs(F - G).max() > 1e-2 for G in unique):
            unique.append(F)
    return unique


def _triples(
    translations: Translations, crystal: Crystal, cell: Array, free_scale: bool
) -> list[Array]:
    """Return gradients that map the three basis vectors onto translations with little strain."""
    v = translations.vectors
    length = np.linalg.norm(v, axis=1)
    reference = np.linalg.norm(cell, axis=1)
    inverse = np.linalg.inv(cell)
    # Lengths and angles may be off by the strain, and a little by noise in the centroids.
    slack = 1.3 * MOST_STRAIN
    expected = translations.spacing / crystal.nearest_neighbour if free_scale else 1.0
    wide = 0.35 if free_scale else slack
    found: list[Array] = []
    for i in np.flatnonzero(np.abs(length / (expected * reference[0]) - 1) < wide):
        scale = length[i] / reference[0]
        fits = [np.abs(length / (scale * reference[k]) - 1) < 2 * slack for k in (1, 2)]
        for j in np.flatnonzero(fits[0]):
            if abs(v[i] @ v[j] / scale**2 - cell[0] @ cell[1]) > 2 * slack * (
                reference[0] * reference[1]
            ):
                continue
            k = np.flatnonzero(fits[1])
            normal = np.cross(v[i], v[j])
            k = k[v[k] @ normal > 0.05 * length[i] * length[j] * length[k]]
            if not len(k):
                continue
            images = np.empty((len(k), 3, 3))
            images[:, 0], images[:, 1], images[:, 2] = v[i], v[j], v[k]
            F = (inverse @ images).transpose(0, 2, 1)
            stretch = np.linalg.svd(F, compute_uv=False)
            if free_scale:
                stretch = stretch / np.prod(stretch, axis=1, keepdims=True) ** (1 / 3)
            found.extend(F[np.abs(stretch - 1).max(axis=1) < MOST_STRAIN])
    return found


def _lattice_star(crystal: Crystal, radius: float) -> Array:
    """Return pure lattice vectors, without the basis, within a radius."""
    v, m, s = crystal.star_sites(radius)
    return v[s == 0] if len(m) else v


def _refined(F: Array, lattice: Array, translations: Translations, tree: cKDTree) -> Array:
    for _ in range(2):
        distance, nearest = tree.query(lattice @ F.T)
        use = distance < 0.3 * translations.spacing
        if np.linalg.matrix_rank(lattice[use]) < 3:
            return F
        w = translations.share[nearest[use]][:, None]
        solution, *_ = np.linalg.lstsq(
            w * lattice[use], w * translations.vectors[nearest[use]], rcond=None
        )
        F = solution.T
    return F


def _strain_and_trace(F: Array, free_scale: bool) -> tuple[float, float]:
    u, stretch, vt = np.linalg.svd(F)
    if free_scale:
        stretch = stretch / np.prod(stretch) ** (1 / 3)
    return float(np.linalg.norm(stretch - 1)), float(np.trace(u @ vt))


def orient(structure: Structure, crystal: Crystal) -> Array | None:
    """Return the deformation gradient, rotation included, of a crystal found in a structure.

    None if the structure holds no affine image of the crystal.
    """
    found = lattice_gradients(shared_translations(structure), crystal, free_scale=False)
    return found[0] if found else None
