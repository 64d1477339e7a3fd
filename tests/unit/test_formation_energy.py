"""What atoms are counted with: defect energies over chemical potentials."""

import json

import numpy as np
import pytest
from ase import Atom
from ase.build import bulk

import qc
from qc.cli.main import main
from qc.coupling import PointDefects
from qc.coupling.reference import FREE_ATOM, HOST
from qc.crystal import fcc, from_ase
from qc.errors import InputError, UnknownSpeciesError
from qc.materials import CauchyBorn, equilibrium_crystal
from qc.materials.lattice import isolated_energy
from qc.potentials import zhou2004
from qc.solve import relax

A = 3.6149603
B2 = 2.9


@pytest.fixture(scope="module")
def pair():
    """Cu and Ni."""
    return zhou2004("Cu", "Ni")


@pytest.fixture(scope="module")
def aluminide():
    """B2 NiAl and its potential."""
    cell = bulk("NiAl", "cesiumchloride", a=B2)
    return cell, from_ase(cell), zhou2004("Ni", "Al")


def supercell_energy(atoms, potential):
    bare = atoms.copy()
    bare.calc = qc.PotentialCalculator(potential)
    return bare.get_potential_energy()


DEFECTS = {
    "vacancy": (dict(vacant=[(0, 0, 0)]), {"Cu": -1}),
    "foreign": (dict(substitutions={(0, 0, 0): "Ni"}), {"Cu": -1, "Ni": 1}),
    "foreign interstitial": (dict(extra=[("Ni", (A / 2, 0, 0))]), {"Ni": 1}),
    "beside a vacancy": (
        dict(vacant=[(1, 0, 0)], extra=[("Ni", (A / 2, 0, 0))]),
        {"Cu": -1, "Ni": 1},
    ),
}


@pytest.mark.parametrize("scheme", ["bgfc", "bqcf"])
@pytest.mark.parametrize("name", DEFECTS)
def test_elements_against_a_supercell(pair, name, scheme):
    """E(defect) - E(perfect) - sum dN mu, with total energies of periodic cells of frozen atoms."""
    defects, added = DEFECTS[name]
    crystal = fcc("Cu", A)
    model = qc.QuasiContinuum(
        crystal, pair, scheme=scheme, core=1.75 * A, blend=1.5 * A, outer=5 * A,
        defects=PointDefects(**defects),
    )  # fmt: skip
    atoms = bulk("Cu", a=A, cubic=True) * (4, 4, 4)
    perfect = supercell_energy(atoms, pair)
    host = perfect / len(atoms)
    sites = {tuple(np.round(x, 4)): k for k, x in enumerate(atoms.positions)}
    gone = []
    for m in defects.get("vacant", []):
        gone.append(sites[tuple(np.round(crystal.positions(np.array([m]))[0] % (4 * A), 4))])
    if "substitutions" in defects:
        atoms.symbols[sites[(0.0, 0.0, 0.0)]] = "Ni"
    for symbol, x in defects.get("extra", []):
        atoms.append(Atom(symbol, x))
    del atoms[gone]
    made = supercell_energy(atoms, pair) - perfect
    mu = {"Ni": -4.3}
    expected = made + host * (added.get("Cu", 0) != 0) - mu["Ni"] * added.get("Ni", 0)
    assert model.defect_energy(mu=mu) == pytest.approx(expected, abs=1e-9)
    # Without a word foreign atoms are free ones, whose energy here is zero.
    expected += mu["Ni"] * added.get("Ni", 0)
    assert model.defect_energy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("defects", "change", "added"),
    [
        (dict(vacant=[(0, 0, 0, 0)]), "Ni vacancy", {"Ni": -1}),
        (dict(vacant=[(0, 0, 0, 1)]), "Al vacancy", {"Al": -1}),
        (dict(substitutions={(0, 0, 0, 1): "Ni"}), "antisite", {"Ni": 1, "Al": -1}),
        (dict(extra=[("Al", (B2 / 2, B2 / 2, 0.0))]), "interstitial", {"Al": 1}),
    ],
)
def test_compounds_against_a_supercell(aluminide, defects, change, added):
    cell, crystal, potential = aluminide
    atoms = cell * (5, 5, 5)
    perfect = supercell_energy(atoms, potential)
    symbols = atoms.get_chemical_symbols()
    first = symbols.index("Ni"), symbols.index("Al")
    assert np.allclose(atoms.positions[first[0]], 0)
    if change == "antisite":
        atoms.symbols[first[1]] = "Ni"
    elif change == "interstitial":
        atoms.append(Atom("Al", (B2 / 2, B2 / 2, 0.0)))
    else:
        del atoms[first[change.startswith("Al")]]
    made = supercell_energy(atoms, potential) - perfect
    model = qc.QuasiContinuum(crystal, potential, outer=8 * B2, defects=PointDefects(**defects))
    mu = {"Ni": -4.45, "Al": -3.58}
    expected = made - sum(n * mu[s] for s, n in added.items())
    assert model.defect_energy(mu=mu) == pytest.approx(expected, abs=1e-9)
    free = {s: isolated_energy(potential, s) for s in added}
    expected = made - sum(n * free[s] for s, n in added.items())
    assert model.defect_energy() == pytest.approx(expected, abs=1e-9)


@pytest.fixture(scope="module")
def nickel_in_copper(pair):
    model = qc.QuasiContinuum(
        fcc("Cu", A), pair, core=1.75 * A, blend=1.5 * A, outer=5 * A,
        defects=PointDefects(substitutions={(0, 0, 0): "Ni"}),
    )  # fmt: skip
    return model, relax(model)


class TestResult:
    def test_says_what_was_counted(self, nickel_in_copper):
        model, result = nickel_in_copper
        assert result.reference["Cu"].source == HOST
        assert result.reference["Cu"][:2] == (-1, pytest.approx(-3.54, abs=0.01))
        assert result.reference["Ni"][1:] == (pytest.approx(0.0, abs=1e-5), FREE_ATOM)
        assert "free atoms: +1 Ni" in result.warnings[0]
        assert result.defect_energy == model.defect_energy()

    def test_a_crystal_is_a_reference(self, nickel_in_copper, pair):
        model, _ = nickel_in_copper
        # A lattice constant that is off does no harm: the crystal counts at rest.
        result = relax(model, mu={"Ni": fcc("Ni", 3.6), "Cu": -3.5})
        at_rest = equilibrium_crystal(fcc("Ni", 3.52), pair)
        mu = float(CauchyBorn(at_rest, pair).site_energy(np.eye(3)[None])[0])
        assert result.reference["Ni"].mu == pytest.approx(mu, abs=1e-10)
        assert result.reference["Ni"].source.startswith("fcc Ni at rest")
        assert result.reference["Cu"] == (-1, -3.5, "given")
        assert result.warnings == ()

    def test_other_potentials_need_no_other_run(self, nickel_in_copper):
        model, result = nickel_in_copper
        mu = {"Ni": -4.4, "Cu": -3.6, "Al": -3.0}
        assert result.formation_energy(mu) == pytest.approx(
            model.defect_energy(mu={"Ni": -4.4, "Cu": -3.6}), abs=1e-9
        )
        assert result.formation_energy({}) == result.defect_energy

    def test_a_vacancy_counts_as_in_its_host(self, pair):
        f = np.eye(3) + 0.01 * np.diag([1.0, -0.3, 0.2])
        hole = PointDefects(vacant=[(0, 0, 0)])
        model = qc.QuasiContinuum(
            fcc("Cu", A), pair, core=1.75 * A, blend=1.5 * A, outer=5 * A, defects=hole
        ).with_strain(f)
        assert model.defect_energy() == pytest.approx(
            model.coupling.defect_energy(model.U), abs=1e-12
        )

    @pytest.mark.parametrize(
        ("mu", "error", "message"),
        [
            ({"Ni": np.nan}, InputError, "mu of Ni must be finite"),
            ({"Ni": "fcc"}, InputError, "mu of Ni, a number in eV or a Crystal"),
            ({"nickel": -4.4}, InputError, "no chemical symbol"),
            ({"Au": -3.9}, UnknownSpeciesError, "no parameters for 'Au'"),
            ({"Ni": fcc("Cu", A)}, InputError, "a crystal of Cu says nothing about Ni"),
            (-4.4, InputError, "mu must be a Mapping"),
        ],
    )
    def test_what_is_no_chemical_potential(self, nickel_in_copper, mu, error, message):
        model, _ = nickel_in_copper
        before = model.coupling.evaluations
        with pytest.raises(error, match=message):
            relax(model, mu=mu)
        assert model.coupling.evaluations == before

    def test_a_result_has_no_potential(self, nickel_in_copper):
        with pytest.raises(InputError, match="give it to relax"):
            nickel_in_copper[1].formation_energy({"Ni": fcc("Ni", 3.52)})


CASE = """
[crystal]
structure = "fcc"
element = "Cu"
[potential]
name = "zhou2004"
[[defects.substitutions]]
site = [0, 0, 0]
element = "Ni"
[defects.mu]
Ni = "-4400 meV"
[model]
core = "1.75 a"
blend = "1.5 a"
outer = "5 a"
[output]
vtu = false
extxyz = false
pictures = "none"
"""


def test_a_case_file_gives_chemical_potentials(tmp_path, capsys):
    case = tmp_path / "case.toml"
    case.write_text(CASE)
    assert main(["run", str(case), "--output", str(tmp_path / "out")]) == 0
    assert "+1 Ni at -4.4000 eV (given)" in capsys.readouterr().out
    step = json.loads((tmp_path / "out/result.json").read_text())["steps"][0]
    assert step["reference"]["Ni"] == {"added": 1, "mu": -4.4, "source": "given"}
    assert step["reference"]["Cu"]["source"] == HOST
    assert "mu]\nNi = -4.4\n" in (tmp_path / "out/case.toml").read_text()
    case.write_text(CASE.replace("Ni = ", "Pt = "))
    assert main(["run", str(case), "--output", str(tmp_path / "other")]) == 2
    assert "defects.mu: " in capsys.readouterr().err
