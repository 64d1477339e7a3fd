"""The core of a model at 300 K against a full lattice under LAMMPS: temperature, amplitudes, size.

Waves longer than a box or a model are missing in it, and a mean-square displacement is full of
them. Both sides are therefore compared less what harmonic vibrations have in the periodic cube and
in the model, where it is known.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase.units import fs, kB
from scipy.sparse.linalg import LinearOperator, cg

from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import fcc
from qc.dynamics import Dynamics, Langevin, ModelSystem, scaled_masses
from qc.materials import equilibrium_crystal
from qc.potentials import zhou2004
from qc.solve import Preconditioner
from tests.physics.energy_conservation.models import build
from tests.physics.energy_conservation.test_langevin_models import regions

pytestmark = pytest.mark.physics

STORED = Path(__file__).parents[2] / "reference" / "langevin_vacancy_Cu.json"


def configurational_temperature(model, x, nodes, rng) -> tuple[float, float]:
    """Return |grad E|^2 and an unbiased estimate of the Laplacian of E over some nodes.

    Hutchinson's trace of the Hessian. Their means have the ratio k_B T: H. H. Rugh, Phys. Rev.
    Lett. 78 (1997) 772; B. D. Butler et al., J. Chem. Phys. 109 (1998) 6519.
    """
    forces = model.energy_forces(x)[1][nodes]
    signs = np.zeros_like(x)
    signs[nodes] = rng.choice([-1.0, 1.0], forces.shape)
    # Twice the forces are cheaper than one product with generic second derivatives.
    step = 1e-4
    ends = [model.energy_forces(x + s * step * signs)[1] for s in (1.0, -1.0)]
    trace = float((signs * (ends[1] - ends[0])).sum()) / (2.0 * step)
    return float((forces**2).sum()), trace


def blocks(values, count=10):
    """Return the mean of a series and its standard error from the means of blocks."""
    n = len(values) // count * count
    means = np.asarray(values)[:n].reshape(count, -1).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(count))


def ratio(top, bottom, count=10):
    """Return the ratio of two means and its standard error."""
    n = len(top) // count * count
    a = np.asarray(top)[:n].reshape(count, -1).mean(axis=1)
    b = np.asarray(bottom)[:n].reshape(count, -1).mean(axis=1)
    each = a / b
    return float(np.sum(top) / np.sum(bottom)), float(each.std(ddof=1) / np.sqrt(count))


@pytest.mark.parametrize("planted", [False, True])
def test_configurational_temperature_is_the_baths_in_every_region(planted):
    """From positions alone: a bath that is hotter than it says is found out."""
    model = build("eam", "columns")
    kelvin = 300.0 * (1.1 if planted else 1.0)
    dynamics = Dynamics(
        model, 2.0 * fs, baths=[Langevin(kelvin, 0.03 / fs)], seed=2, check_timestep=False
    )
    dynamics.set_temperature(2.0 * kelvin)
    dynamics.run(400)
    rng, groups = np.random.default_rng(0), regions(model)
    rows = {name: [] for name in groups}

    def note(d):
        for name, nodes in groups.items():
            rows[name].append(configurational_temperature(model, d.x, nodes, rng))

    dynamics.run(3000, note, every=30)
    off = []
    for values in rows.values():
        top, bottom = np.array(values).T
        mean, error = ratio(top / kB, bottom)
        assert error < 12.0
        off.append((mean - 300.0) / error)
    assert (np.abs(off) < 3.5).all() != planted, off


def harmonic_msd(model) -> float:
    """Harmonic mean-square displacement of the node in the middle at 1 K, Angstrom^2/K."""
    precondition, free = Preconditioner(model), model.layout.free
    zero = np.zeros_like(model.U)

    def spread(v):
        out = np.zeros(free.shape)
        out[free] = v
        return out

    n = int(free.sum())
    middle = np.linalg.norm(model.layout.node_positions, axis=1)
    start = zero.copy()
    start[int(np.argmin(np.where(free.all(axis=1), middle, np.inf))), 0] = 1.0
    solved, info = cg(
        LinearOperator((n, n), lambda v: model.hessian_product(zero, spread(v))[free]),
        start[free], rtol=1e-5,
        M=LinearOperator((n, n), lambda v: precondition(spread(v))[free]),
    )  # fmt: skip
    assert info == 0
    return 3.0 * kB * float(start[free] @ solved)


@pytest.mark.long
def test_a_vacancy_at_300_K_is_that_of_the_full_lattice(figures):
    """Amplitudes, mean positions and temperature around a vacancy in copper, against LAMMPS."""
    stored = json.loads(STORED.read_text())
    reference, crystal_data = stored["vacancy"], stored["crystal"]
    potential = zhou2004("Cu")
    assert potential.fingerprint() == crystal_data["fingerprint"]
    crystal = equilibrium_crystal(fcc("Cu", 3.6), potential)
    a, hot = crystal.a, crystal_data["lattice_constant"]
    settings = {
        "core": 3.0 * a, "blend": 2.0 * a, "outer": 12.0 * a, "temperature": 300.0,
        "thermal_deformation": hot / a,
    }  # fmt: skip
    perfect = QuasiContinuum(crystal, potential, **settings)
    ours = 300.0 * harmonic_msd(perfect)
    harmonic = stored["perfect"]["harmonic_msd"]
    model = QuasiContinuum(
        crystal, potential, defects=PointDefects(vacant=[(0, 0, 0)]), **settings
    )
    dynamics = Dynamics(
        ModelSystem(model, masses=scaled_masses(model)), 2.0 * fs,
        baths=[Langevin(300.0, 0.005 / fs)], seed=1, check_timestep=False,
    )  # fmt: skip
    dynamics.set_temperature(600.0)
    dynamics.run(3000)
    nodes = np.nonzero(model.occupied & (model.layout.beta_nodes == 0.0))[0]
    reference_x = model.layout.node_positions[nodes]
    distance = np.linalg.norm(reference_x, axis=1) / a
    inside = nodes[distance < 2.0]
    sums, squares, count, thermal = 0.0, 0.0, 0, []
    rng = np.random.default_rng(0)
    series = []

    def note(d):
        nonlocal sums, squares, count
        u = d.x[nodes]
        sums, squares, count = sums + u, squares + (u**2).sum(axis=1), count + 1
        series.append((u[distance < 2.0] ** 2).sum(axis=1).mean())
        if d.step % 200 == 0:
            thermal.append(configurational_temperature(model, d.x, inside, rng))

    dynamics.run(30_000, note, every=10)
    mean = sums / count
    msd = squares / count - (mean**2).sum(axis=1)
    kelvin, error = ratio(np.array(thermal)[:, 0] / kB, np.array(thermal)[:, 1])
    # Mean displacements from the lattice at 300 K, by shell: distance, here and there.
    outward = np.einsum("ni,ni->n", mean, reference_x / (distance * a)[:, None])
    rows, number, amplitudes = [], [], []
    for shell in reference["shells"]:
        coordinates = np.sort(np.round(np.abs(reference_x) / a * 2.0).astype(int), axis=1)[:, ::-1]
        here = (coordinates == np.array(sorted(shell["site"], reverse=True))).all(axis=1)
        if here.sum() != shell["sites"] or distance[here].max() >= 2.0:
            continue
        rows.append((outward[here].mean(), shell["radial_displacement"]))
        amplitudes.append((msd[here].mean(), shell["msd"]))
        number.append(int(here.sum()))
    weights = np.array(number) / sum(number)
    here, there = (np.array(amplitudes) * weights[:, None]).sum(axis=0)
    infinite = harmonic["infinite"]
    corrected = (here - ours + infinite, there - harmonic["block"] + infinite)
    shift = np.abs(np.diff(np.array(rows), axis=1)).max()
    _, spread = blocks(series)
    found = {
        "msd here": here, "msd there": there, "msd error": spread, "harmonic model": ours,
        "corrected ratio": corrected[0] / corrected[1],
        "first shell ratio": (amplitudes[0][0] - ours + infinite)
        / (amplitudes[0][1] - harmonic["block"] + infinite),
        "configurational temperature": kelvin, "its error": error,
        "largest shift of a shell": shift,
    }  # fmt: skip
    figures("vacancy at 300 K", **found)
    assert corrected[0] == pytest.approx(corrected[1], rel=0.02), found
    there = reference["configurational_temperature"]["temperature"]
    assert kelvin == pytest.approx(there, rel=0.02)
    # Five percent of the thermal strain, over the distance of the farthest shell.
    assert shift < 0.05 * (hot / a - 1.0) * 2.0 * a, found


def own_amplitudes(model) -> np.ndarray:
    """Harmonic mean-square displacement along every free direction at 1 K, Angstrom^2/K."""
    free = model.layout.free
    zero, columns = np.zeros_like(model.U), []
    for unknown in np.argwhere(free):
        unit = zero.copy()
        unit[tuple(unknown)] = 1.0
        columns.append(model.hessian_product(zero, unit)[free])
    return kB * np.diag(np.linalg.inv(np.array(columns)))


@pytest.mark.long
@pytest.mark.parametrize("planted", [False, True])
def test_amplitudes_follow_the_models_own_vibrations_across_the_interface(planted, figures):
    """Neither scheme nor bath adds a step to what elements, stiffer to short waves, bring along.

    At 100 K, over what each node would do in a harmonic model; a bath that is thirty percent hotter
    on the atoms is found out.
    """
    model, kelvin = build("eam", "columns"), 100.0
    own = own_amplitudes(model)
    groups = {
        name: nodes[np.argwhere(model.layout.free)[:, 0]]
        for name, nodes in regions(model).items()
    }
    there = kelvin * (1.0 + 0.3 * planted * (model.layout.beta_nodes == 0.0))
    dynamics = Dynamics(
        model, 2.0 * fs, baths=[Langevin(there, 0.005 / fs)], seed=3, check_timestep=False
    )
    dynamics.set_temperature(2.0 * kelvin)
    dynamics.run(5000)
    rows: dict[str, list[float]] = {name: [] for name in groups}

    def note(d):
        squares = d.x[model.layout.free] ** 2 / (own * kelvin)
        for name, group in groups.items():
            rows[name].append(squares[group].mean())

    dynamics.run(100_000, note, every=10)
    means = {name: blocks(values, 20) for name, values in rows.items()}
    figures(
        f"amplitudes over harmonic ones{' planted' * planted}",
        **{name: mean for name, (mean, _) in means.items()},
        **{f"{name} error": error for name, (_, error) in means.items()},
    )
    # Steps between neighbouring regions, from blocks of their difference.
    steps = [
        blocks(np.array(rows[b]) - np.array(rows[a]), 20)
        for a, b in (("core", "blend"), ("blend", "continuum"))
    ]
    assert max(error for _, error in steps) < 0.02, means
    assert (max(abs(mean) / error for mean, error in steps) < 3.0) != planted, (means, steps)
