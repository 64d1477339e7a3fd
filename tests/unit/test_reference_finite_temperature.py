"""The reference files at finite temperature are complete, consistent, and of today's potentials."""

import copy
import functools
import json
from pathlib import Path

import numpy as np
import pytest

from qc.potentials import LennardJones, stillinger1985, zhou2004

FOLDER = Path(__file__).parents[1] / "reference"
KB = 8.617333262e-5  # eV/K

#: As the files name them.
POTENTIALS = {
    "zhou2004('Cu')": lambda: zhou2004("Cu"),
    "zhou2004('Al')": lambda: zhou2004("Al"),
    "zhou2004('Ni')": lambda: zhou2004("Ni"),
    "zhou2004('Fe')": lambda: zhou2004("Fe"),
    "LennardJones('Ar', epsilon=0.0104, sigma=3.405, cutoff=8.5)": lambda: LennardJones(
        "Ar", epsilon=0.0104, sigma=3.405, cutoff=8.5
    ),
    "stillinger1985('Si')": stillinger1985,
}


def load(name):
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


#: Relative standard error of any shell; the run in Al is half as long, its first shell is loose.
MSD_ERROR = {"Cu": 0.007, "Al": 0.02}

EXPANSION = load("thermal_expansion.json")["elements"]
NVE = load("nve.json")["elements"]
VACANCIES = {symbol: load(f"langevin_vacancy_{symbol}.json") for symbol in MSD_ERROR}


def numbers(value):
    """Every number in nested dictionaries and lists."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers(part)
    elif isinstance(value, int | float):
        yield value


@functools.cache
def potential_of(constructor):
    return POTENTIALS[constructor]()


def check_material(record):
    potential = potential_of(record["constructor"])
    assert potential.fingerprint() == record["fingerprint"]
    assert potential.cutoff == record["cutoff"]
    forces = record["forces_against_package"]
    assert forces["largest_difference"] < 1e-9 < 0.1 < forces["largest_force"]


def check_expansion(record):
    """Zero pressure, the right temperature, and a smooth curve that starts from rest."""
    points = record["points"]
    t, a, error, energy = (
        np.array([p[key] for p in points])
        for key in (
            "temperature",
            "lattice_constant",
            "lattice_constant_error",
            "potential_energy",
        )
    )
    assert len(points) >= 5
    assert (np.diff(t) > 0).all()
    assert len({p["atoms"] for p in points}) == 1
    growth = a - record["lattice_constant_0K"]
    assert (error < 0.01 * growth).all()
    # Expansion over temperature is nearly a straight line: its second differences are small.
    rate = growth / t
    fit = np.polyval(np.polyfit(t, rate, 2), t)
    assert np.abs(rate / fit - 1).max() < 0.02
    # A classical crystal has 3 kT / 2 of potential energy, and anharmonic terms that go to nothing.
    heat = (energy - record["energy_0K"]) / (1.5 * KB * t)
    assert np.polyval(np.polyfit(t, heat, 2), 0.0) == pytest.approx(1.0, abs=0.02)
    for p in points:
        assert p["kinetic_temperature"] == pytest.approx(
            p["temperature"], abs=5 * p["kinetic_temperature_error"], rel=0.006
        )
        assert abs(p["pressure_bar"]) < 5 * p["pressure_bar_error"]


@pytest.mark.parametrize("symbol", ["Cu", "Al", "Ni", "Fe", "Ar", "Si"])
def test_thermal_expansion(symbol):
    record = EXPANSION[symbol]
    assert np.isfinite(list(numbers(record))).all()
    check_material(record)
    check_expansion(record)


def test_thermal_expansion_starts_from_the_crystal_at_rest():
    bulk = load("bulk.json")["elements"]
    for symbol in ("Cu", "Al", "Ni", "Fe"):
        record = EXPANSION[symbol]
        assert record["fingerprint"] == bulk[symbol]["potential"]["fingerprint"]
        assert record["lattice_constant_0K"] == pytest.approx(
            bulk[symbol]["lattice_constant"], rel=1e-9
        )


def test_neither_size_nor_step_matters_to_the_expansion():
    record = EXPANSION["Cu"]
    for check in record["checks"].values():
        (same,) = [p for p in record["points"] if p["temperature"] == check["temperature"]]
        error = np.hypot(check["lattice_constant_error"], same["lattice_constant_error"])
        growth = same["lattice_constant"] - record["lattice_constant_0K"]
        margin = 3 * error + 0.003 * growth
        assert check["lattice_constant"] == pytest.approx(same["lattice_constant"], abs=margin)


@pytest.mark.parametrize("symbol", VACANCIES)
def test_vacancy(symbol):
    record = VACANCIES[symbol]
    crystal, perfect, vacancy = (record[k] for k in ("crystal", "perfect", "vacancy"))
    assert np.isfinite(list(numbers(record))).all()
    check_material(crystal)
    points = EXPANSION[symbol]["points"]
    (point,) = [p for p in points if p["temperature"] == crystal["temperature"]]
    assert crystal["lattice_constant"] == pytest.approx(point["lattice_constant"], abs=1e-5)
    a, cells = crystal["lattice_constant"], crystal["cells"]
    assert cells >= 8
    assert vacancy["atoms"] == perfect["atoms"] - 1 == 4 * cells**3 - 1

    # The shells are all the sites within three lattice constants.
    g = np.arange(-6, 7)
    sites = np.stack(np.meshgrid(g, g, g, indexing="ij"), -1).reshape(-1, 3)
    squares = (sites**2).sum(axis=1)[sites.sum(axis=1) % 2 == 0]
    assert sum(s["sites"] for s in vacancy["shells"]) == ((squares > 0) & (squares <= 36)).sum()
    for shell in vacancy["shells"]:
        assert shell["distance"] == pytest.approx(np.linalg.norm(shell["site"]) * a / 2)
        assert sum(shell["msd_tensor"][:3]) == pytest.approx(shell["msd"], abs=1e-6)
        assert shell["msd_error"] < MSD_ERROR[symbol] * shell["msd"]
    near = vacancy["shells"][0]
    assert near["site"] == [1, 1, 0]
    assert near["radial_displacement"] < -50 * near["radial_displacement_error"]
    assert near["msd"] > 1.05 * perfect["msd"]
    assert vacancy["far"]["msd"] == pytest.approx(perfect["msd"], rel=0.02)
    assert vacancy["largest_displacement"] < a / np.sqrt(8)
    assert vacancy["hops"] == 0

    for part in (perfect, vacancy):
        found = part["configurational_temperature"]
        margin = 4 * found["temperature_error"]
        assert found["temperature"] == pytest.approx(crystal["temperature"], abs=margin)
        assert margin < 0.02 * crystal["temperature"]
    assert perfect["msd_over_harmonic"] == pytest.approx(1.0, abs=0.1)
    waves = perfect["harmonic_msd"]
    assert waves["block"] < waves["infinite"] < 1.2 * waves["block"]


@pytest.mark.parametrize("symbol", ["Cu", "Ar", "Si"])
def test_energy_conservation(symbol):
    record = NVE[symbol]
    assert np.isfinite(list(numbers(record))).all()
    check_material(record)
    runs = sorted(record["runs"], key=lambda r: r["dt"])
    assert {0.5, 1.0, 2.0} <= {r["dt"] for r in runs}
    assert max(r["steps"] for r in runs) >= 100_000
    assert record["power_of_dt"] == pytest.approx(2.0, abs=0.05)
    for run in runs:
        # No drift beyond what a whole run hides in its fluctuations.
        assert abs(run["drift_per_atom_step"]) * run["steps"] * record["atoms"] < max(
            run["total_energy_std"],
            5 * run["drift_per_atom_step_error"] * run["steps"] * record["atoms"],
        )
        assert run["kinetic_temperature"] == pytest.approx(record["temperature"], rel=0.01)


def test_a_wrong_file_is_noticed():
    """Negative control: a slip in one lattice constant, and another potential."""
    record = copy.deepcopy(EXPANSION["Cu"])
    record["points"][2]["lattice_constant"] *= 1.0005
    with pytest.raises(AssertionError):
        check_expansion(record)
    record = EXPANSION["Cu"] | {"constructor": "zhou2004('Al')"}
    with pytest.raises(AssertionError):
        check_material(record)
