"""Constants of crystals against values that others published."""

import numpy as np
import pytest

from qc.potentials import LennardJones, ToyEAM, zhou2004
from qc.potentials.eam.zhou import zhou2004_table

pytestmark = pytest.mark.physics

GPA = 160.21766208  # eV/Angstrom^3

# Cohesive energies (eV) that embedded-atom potentials of these metals are fitted to: compiled in
# M. I. Baskes, Phys. Rev. B 46 (1992) 2727 (cubic metals) and M. I. Baskes, R. A. Johnson,
# Modelling Simul. Mater. Sci. Eng. 2 (1994) 147 (hcp metals).
COHESIVE = {
    "Cu": 3.54, "Ag": 2.85, "Au": 3.93, "Ni": 4.45, "Pd": 3.91, "Pt": 5.77, "Al": 3.58,
    "Pb": 2.04, "Fe": 4.29, "Mo": 6.81, "Ta": 8.09, "W": 8.66, "Mg": 1.55, "Co": 4.41,
    "Ti": 4.87, "Zr": 6.36,
}  # fmt: skip

# Experimental lattice constants (Angstrom) and elastic constants (GPa), as compiled in S. M.
# Foiles, M. I. Baskes, M. S. Daw, Phys. Rev. B 33 (1986) 7983.
FCC = {
    "Cu": (3.615, 170.0, 122.5, 75.8),
    "Ag": (4.09, 124.0, 93.4, 46.1),
    "Au": (4.08, 186.0, 157.0, 42.0),
    "Ni": (3.52, 246.5, 147.3, 124.7),
    "Pd": (3.89, 234.1, 176.0, 71.2),
    "Pt": (3.92, 347.0, 251.0, 76.5),
}

MOTIFS = {
    "fcc": (np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / np.sqrt(2), np.zeros((1, 3))),
    "bcc": (np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / np.sqrt(3), np.zeros((1, 3))),
    "hcp": (
        np.array([[1, 0, 0], [-0.5, np.sqrt(0.75), 0], [0, 0, np.sqrt(8 / 3)]]),
        np.array([[0, 0, 0], [0, np.sqrt(1 / 3), np.sqrt(2 / 3)]]),
    ),
}


def star(structure, spacing, reach):
    """Bonds of one site of a crystal with the given nearest-neighbour distance."""
    cell, basis = MOTIFS[structure]
    span = int(np.ceil(1.3 * reach / spacing)) + 1
    indices = np.arange(-span, span + 1)
    index = np.stack(np.meshgrid(*[indices] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    bonds = spacing * (index @ cell + basis).reshape(-1, 3)
    lengths = np.linalg.norm(bonds, axis=1)
    return bonds[(lengths > 1e-6) & (lengths < reach)]


def site_volume(structure, spacing):
    cell, basis = MOTIFS[structure]
    return abs(np.linalg.det(cell)) / len(basis) * spacing**3


def energy_curve(potential, bonds, scales):
    F = np.eye(3) * scales[:, None, None]
    return potential.deformed_star(F, bonds, 0, np.zeros(len(bonds), dtype=int))[0]


@pytest.mark.parametrize("symbol", COHESIVE)
def test_zhou_cohesive_energy_and_distance(symbol):
    """The parameter r_e is the equilibrium distance, and the energy there the cohesive energy."""
    element, potential = zhou2004_table()[symbol], zhou2004(symbol)
    bonds = star(element["structure"], element["r_e"], 1.1 * potential.cutoff)
    scales = np.linspace(0.98, 1.02, 4001)
    energies = energy_curve(potential, bonds, scales)
    lowest = int(np.argmin(energies))
    assert scales[lowest] == pytest.approx(1.0, abs=1e-4)
    # The tables give two decimals, and the fits were made to values of their own year.
    assert -energies[lowest] == pytest.approx(COHESIVE[symbol], rel=0.012)


@pytest.mark.parametrize("symbol", COHESIVE)
def test_zhou_density_at_equilibrium_is_rho_e(symbol):
    """F was made for a crystal whose density is rho_e: this ties r_e, f_e, beta and lambda."""
    element, potential = zhou2004_table()[symbol], zhou2004(symbol)
    bonds = star(element["structure"], element["r_e"], potential.cutoff)
    r = np.linalg.norm(bonds, axis=1)
    rho = np.interp(r, potential.dr * np.arange(potential.density.shape[1]), potential.density[0])
    assert rho.sum() == pytest.approx(element["rho_e"], rel=2e-4)


def elastic_constants(potential, bonds, volume):
    tangent = potential.deformed_star(
        np.eye(3)[None], bonds, 0, np.zeros(len(bonds), dtype=int), tangent=True
    )[2][0]
    c = tangent / volume * GPA
    return c[0, 0, 0, 0], c[0, 0, 1, 1], c[0, 1, 0, 1]


@pytest.mark.parametrize("symbol", FCC)
def test_zhou_lattice_and_elastic_constants(symbol):
    a, *expected = FCC[symbol]
    spacing = zhou2004_table()[symbol]["r_e"]
    assert np.sqrt(2) * spacing == pytest.approx(a, rel=5e-4)
    potential = zhou2004(symbol)
    bonds = star("fcc", spacing, 1.1 * potential.cutoff)
    found = elastic_constants(potential, bonds, site_volume("fcc", spacing))
    assert found == pytest.approx(expected, rel=0.01)


def test_misprinted_aluminium_would_miss_its_lattice_constant(monkeypatch):
    """A = 0.134873, as printed in the paper, has no crystal at r_e; 0.314873 has."""
    from qc.potentials.eam import zhou

    table = {**zhou2004_table(), "Al": {**zhou2004_table()["Al"], "A": 0.134873}}
    monkeypatch.setattr(zhou, "zhou2004_table", lambda: table)
    wrong = zhou.zhou2004("Al")
    bonds = star("fcc", table["Al"]["r_e"], 1.1 * wrong.cutoff)
    scales = np.linspace(0.9, 1.1, 2001)
    assert abs(scales[np.argmin(energy_curve(wrong, bonds, scales))] - 1.0) > 0.01


def test_lennard_jones_fcc():
    """Lattice sums A6 = 14.45392, A12 = 12.13188 of J. E. Lennard-Jones and A. E. Ingham.

    Proc. R. Soc. A 107 (1925) 636: with them the fcc crystal has r = (2 A12/A6)^(1/6) sigma and
    E = -A6^2 / (2 A12) epsilon per atom. A cutoff at r_c leaves out a tail of order r_c^-3.
    """
    a6, a12 = 14.45392, 12.13188
    cutoff = 7.6
    potential = LennardJones("Ar", 1.0, 1.0, cutoff=cutoff, switch=0.98)
    spacing = (2 * a12 / a6) ** (1 / 6)
    bonds = star("fcc", spacing, 1.05 * cutoff)
    energy = energy_curve(potential, bonds, np.array([1.0]))[0]
    # Tail of -4 r^-6 over a continuum of density sqrt(2)/spacing^3, half of it per atom.
    tail = -0.5 * 4 * 4 * np.pi / 3 * np.sqrt(2) / spacing**3 / (0.99 * cutoff) ** 3
    assert energy + tail == pytest.approx(-(a6**2) / (2 * a12), rel=2e-5)


def test_toy_crystal_is_isotropic_and_stable():
    """A triangular monolayer is isotropic in its plane: C11 - C12 = 2 C66 at zero pressure."""
    toy = ToyEAM()
    index = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 2, indexing="ij"), -1).reshape(-1, 2)
    bonds = index @ np.array([[1, 0, 0], [0.5, np.sqrt(0.75), 0]])
    bonds = bonds[np.linalg.norm(bonds, axis=1) > 0]
    spacing, width = 1.0, 0.1
    for _ in range(4):
        scales = spacing + width * np.linspace(-1, 1, 201)
        spacing = scales[np.argmin(energy_curve(toy, bonds, scales))]
        width *= 0.02
    assert spacing == pytest.approx(1.0, abs=0.05)
    c11, c12, c66 = elastic_constants(toy, spacing * bonds, np.sqrt(0.75) * spacing**2)
    assert c11 - c12 == pytest.approx(2 * c66, rel=1e-4)
    assert c66 > 0
    assert c11 > c12 > 0
