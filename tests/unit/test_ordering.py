"""Ordered compounds recognised in atoms, and words for what is not recognised."""

import logging

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, fcc111

from qc.adapters.ase import PotentialCalculator
from qc.cli.detect import detect
from qc.coupling import QuasiContinuum
from qc.crystal.recognition.defects import find_defects
from qc.crystal.recognition.recognise import recognise
from qc.errors import CrystalError
from qc.potentials import zhou2004

HALVES = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
QUARTERS = [[0, 0, 0], [0.5, 0.5, 0.5], [0.25, 0.25, 0.25], [0.75, 0.75, 0.75]]


def cell(symbols, places, vectors):
    return Atoms(symbols, scaled_positions=places, cell=vectors, pbc=True)


#: Compounds in a cell, how often it repeats, and the formula of the primitive cell.
COMPOUNDS = {
    "B2": (lambda: bulk("NiAl", "cesiumchloride", a=2.88), (6, 6, 6), "AlNi", 14),
    "D0_3": (lambda: cell("AlFe3", QUARTERS, 5.78 * np.array(HALVES[1:])), (5, 5, 5), "AlFe3", 14),
    "L1_0": (
        lambda: cell("TiAl", [[0, 0, 0], [0.5, 0.5, 0.5]], [2.83, 2.83, 4.07]), (6, 6, 5), "AlTi",
        12,
    ),
    "L1_2": (lambda: cell("AlNi3", HALVES, [3.57] * 3), (4, 4, 4), "AlNi3", 12),
    "zincblende": (lambda: bulk("SiC", "zincblende", a=4.36), (6, 6, 6), "CSi", 16),
}  # fmt: skip


def turned(atoms, seed=0, noise=0.03):
    """Return the atoms strained by a percent, turned, shaken and displaced."""
    rng = np.random.default_rng(seed)
    atoms = atoms.copy()
    strain = np.eye(3) + 0.01 * rng.uniform(-1, 1, (3, 3))
    atoms.set_cell(atoms.cell[:] @ strain, scale_atoms=True)
    atoms.rotate(77, (1, 2, 3), rotate_cell=True)
    atoms.positions += rng.normal(scale=noise, size=(len(atoms), 3)) + rng.normal(size=3)
    return atoms


@pytest.mark.parametrize("name", COMPOUNDS)
def test_vacancies_and_antisites_of_compounds(name):
    make, repeats, formula, non_affine = COMPOUNDS[name]
    atoms = make() * repeats
    k = len(atoms) // 2
    lost = str(atoms.symbols[k])
    wrong = k + 1 if atoms.symbols[k + 1] == lost else k + 2
    other = next(s for s in atoms.symbols if s != atoms.symbols[wrong])
    for defect in ("vacancy", "antisite"):
        sample = atoms.copy()
        if defect == "vacancy":
            del sample[k]
        else:
            sample.symbols[wrong] = other
        sample = turned(sample)
        recognition = recognise(sample)
        found = find_defects(sample, recognition)
        crystal = recognition.crystal
        assert recognition.structure == name
        assert Atoms(list(crystal.symbols)).symbols.formula.format("hill") == formula
        # The sites are the atoms' own: elements and positions agree, but for the defect.
        host = np.array(crystal.symbols)[found.s]
        rest = found.positions - recognition.positions(found.m, found.s)
        assert np.abs(rest).max() < 0.3
        if defect == "vacancy":
            assert (host == sample.get_chemical_symbols()).all()
            assert found.summary == f"1 vacant site; {non_affine} non-affine atoms"
            assert crystal.symbols[int(found.vacant_s[0])] == lost
        else:
            assert found.substitutional.tolist() == [wrong]
            assert found.summary.startswith("1 foreign atom;")


def test_order_that_is_not_there():
    rng = np.random.default_rng(1)
    random = bulk("Cu", cubic=True, a=3.6) * 4
    random.symbols[rng.choice(256, 128, replace=False)] = "Ni"
    with pytest.raises(CrystalError, match=r"an alloy or a compound.*no order of"):
        find_defects(random)
    # Two domains of B2, one displaced by half a cube diagonal.
    domains = bulk("NiAl", "cesiumchloride", a=2.88) * (6, 6, 8)
    upper = domains.positions[:, 2] > 4 * 2.88 - 0.1
    domains.numbers[upper] = 28 + 13 - domains.numbers[upper]
    with pytest.raises(CrystalError, match="an alloy or a compound"):
        find_defects(domains)
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * 3
    with pytest.raises(CrystalError, match=r"no lattice of .* \(and zincblende, B2, .* on these\)"):
        recognise(salt)


def test_a_vacancy_in_a_compound_is_embedded():
    potential = zhou2004("Ni", "Al")
    atoms = bulk("NiAl", "cesiumchloride", a=2.95) * 7
    k = 2 * 171
    whole = atoms.copy()
    del atoms[k]
    model = QuasiContinuum.from_atoms(atoms, potential, outer=40.0)
    assert model.found.summary.startswith("1 vacant site")
    # Relative to the compound at rest, which is 2.987 Angstrom wide in this potential.
    stretch = model.found.recognition.stretch
    np.testing.assert_allclose(stretch, np.eye(3) * 2.95 / model.crystal.a, atol=1e-9)
    assert model.crystal.a == pytest.approx(2.98705, abs=1e-4)
    # Unrelaxed, the energy is that of the lattice.
    energies = []
    for one in (whole, atoms):
        one.calc = PotentialCalculator(potential)
        energies.append(one.get_potential_energy())
    site = whole.calc.get_property("energies", whole)[k]
    assert np.abs(model.U).max() < 1e-6
    assert model.energy() == pytest.approx(energies[1] - (energies[0] - site), abs=1e-6)


def test_detect_knows_compounds():
    atoms = bulk("NiAl", "cesiumchloride", a=2.9) * 6
    del atoms[5]
    found = detect(atoms, potential=zhou2004("Ni", "Al"))
    assert found.crystal.startswith(("B2 NiAl", "B2 AlNi"))
    assert found.verdict.startswith("1 vacant site")


@pytest.mark.parametrize("pbc", [(1, 1, 0), (1, 1, 1), (0, 0, 0)])
def test_a_monolayer_is_named(pbc):
    sheet = fcc111("Cu", (6, 6, 1), a=3.6, vacuum=10)
    del sheet[7]
    sheet.pbc = pbc
    if pbc[2]:
        sheet.positions[:, 2] += 0.1 * (np.arange(35) % 2) - sheet.positions[0, 2]
        sheet.wrap()
    with pytest.raises(CrystalError, match=r"one layer.*qc\.crystal\.triangular"):
        recognise(sheet)


def slab(pbc=(1, 1, 0)):
    atoms = fcc100("Al", (5, 5, 9), a=4.05, vacuum=8)
    atoms.pbc = pbc
    return atoms


def without(atoms, layer):
    """Return the atoms without one of the middle of a layer, counted from above."""
    order = np.argsort(-atoms.positions[:, 2], kind="stable")
    del atoms[int(order[25 * layer + 12])]
    return atoms


def adatom(symbol, place):
    atoms = slab()
    add_adsorbate(atoms, symbol, 1.9, place, offset=2)
    return atoms


SURFACES = {
    "whole": (slab, "perfect crystal that ends at free surfaces"),
    "vacancy": (lambda: without(slab(), 0), "24 of the 25 sites .* a surface vacancy"),
    "vacancy in a box": (lambda: without(slab((1, 1, 1)), 0), "a surface vacancy"),
    "vacancy below": (lambda: without(slab(), 1), "touches the surface: the vacant site"),
    "adatom": (lambda: adatom("Al", "hollow"), "1 of the 25 sites .* an adatom"),
    "adatom on a bridge": (lambda: adatom("Al", "bridge"), "touches the surface: extra atom"),
    "foreign adatom": (lambda: adatom("Cu", "hollow"), "touches the surface: foreign atom"),
}


@pytest.mark.parametrize("name", SURFACES)
def test_defects_of_surfaces_lead_to_free_surface(name):
    make, message = SURFACES[name]
    with pytest.raises(CrystalError, match=f"{message}.*FreeSurface") as refused:
        QuasiContinuum.from_atoms(make(), zhou2004("Al", "Cu"))
    assert "\n" not in str(refused.value)


def test_detect_says_that_a_layer_is_broken():
    found = detect(without(slab(), 0))
    assert found.verdict.startswith("a perfect crystal inside, but 24 of the 25 sites")


def test_a_vacancy_near_a_surface_is_embedded_with_a_warning(caplog):
    atoms = without(slab(), 2)
    found = find_defects(atoms)
    # To the site beside the one above the vacancy's own column, one and a half edges up.
    assert found.depth == pytest.approx(4.05 * np.sqrt(1.5**2 + 0.5**2), abs=1e-6)
    with caplog.at_level(logging.WARNING):
        QuasiContinuum.from_atoms(atoms, zhou2004("Al"), outer=25.0)
    assert "the defect is 6.4" in caplog.text
    assert "nearer than two cutoffs" in caplog.text
    inside = bulk("Al", cubic=True, a=4.05) * 5
    del inside[250]
    assert find_defects(inside).depth == np.inf
