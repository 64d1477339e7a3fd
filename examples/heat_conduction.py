"""A hot spot in copper cools from the atoms into the continuum, as Fourier's equation has it.

Columns of atoms in the middle of a continuum, and over both a heat field, to which every node is
tied by friction and noise. Field and nodes start hot in the middle. The field carries ten times
the heat of the classical crystal here, so that a few hundred nodes stir it little.

The cooling is compared with a solution of the heat equation that shares nothing with the engine:
finite volumes on a square grid, with the capacity of the field and of the vibrations, k_B for each
component in which a node moves. One number is fitted to all curves, the conductivity; what it is
more than the field's own is what the vibrating nodes conduct.

    python examples/heat_conduction.py [--small] [--output DIR] [--resume]

Every run has a folder of its own, with history, ledger and checkpoint. A run that was stopped, by
Ctrl-C or otherwise, goes on with --resume and ends as if nothing had happened.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from ase.units import fs, kB
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.sparse.linalg import splu

import qc
from qc.dynamics import Dynamics, FieldBath, HeatField, ModelSystem, conductivity_from_SI
from qc.io import run_dynamics
from qc.materials import equilibrium_lattice_constant
from qc.mesh import LatticeBlock

Array = NDArray[np.float64]

CONDUCTIVITY = 20.0  # W/(m K), of the field
CAPACITY = 30.0  # k_B a site, of the field
FRICTION = 0.005  # 1/fs
COLD, RISE = 100.0, 100.0  # K
TIMESTEP = 2.0  # fs
EVERY = 10  # steps between rows of the history


@dataclass(frozen=True)
class Sizes:
    """Half the edge of the block in columns, radii in Angstrom, and how long to run how often."""

    half: int
    core: float
    blend: float
    spot: float
    steps: int
    seeds: tuple[int, ...]
    cells: int


FULL = Sizes(half=48, core=8.0, blend=8.0, spot=24.0, steps=2000, seeds=(1, 2, 3, 4), cells=64)
SMALL = Sizes(half=32, core=6.5, blend=6.0, spot=20.0, steps=500, seeds=(1, 2), cells=48)


@dataclass(frozen=True)
class Found:
    """What came out.

    Attributes
    ----------
    times : (n_t,) float64, ps
    radii : (n_r,) float64, Angstrom
    field, error : (n_t, n_r) float64, K
        Mean over the runs of the field's temperature in rings, and its standard error.
    nodes : (n_t, n_r) float64, K
        Kinetic temperature of the nodes in rings, NaN where there are few.
    continuum : (n_t, n_r) float64, K
        Solution of the heat equation with the fitted conductivity.
    given, alone, fitted, fitted_error : float, W/(m K)
        Conductivity of the field; that fitted to the field alone, without nodes; that fitted to
        the runs, and its standard error.
    deviation, noise, elements : float, K
        Root mean square over all rings and times: of ``field - continuum``, of ``error``, and of
        what the field alone deviates from its own fit, on elements as coarse as they are.
    closure, drift : float, eV
        Largest error of the books, and largest change of the total energy.
    """

    times: Array
    radii: Array
    field: Array
    error: Array
    nodes: Array
    continuum: Array
    given: float
    alone: float
    fitted: float
    fitted_error: float
    deviation: float
    noise: float
    elements: float
    closure: float
    drift: float


def copper(sizes: Sizes) -> qc.QuasiContinuum:
    """Return a square block of copper, columns of atoms in the middle."""
    potential = qc.potentials.zhou2004("Cu")
    a = equilibrium_lattice_constant(qc.crystal.fcc("Cu", 3.6), potential)
    n = sizes.half
    return qc.QuasiContinuum(
        qc.crystal.fcc("Cu", a, x=[1, 0, 0], y=[0, 1, 0], z=[0, 0, 1]).as_columns(),
        potential,
        core=sizes.core,
        blend=sizes.blend,
        outer=LatticeBlock((-n, -n), (n, n)),
        grading=1.25,
    )


def hot_spot(width: float) -> Callable[[Array], Array]:
    """Return the temperature at the start as a function of positions (n, 3), K."""
    return lambda x: COLD + RISE * np.exp(-0.5 * (x[:, :2] ** 2).sum(axis=1) / width**2)


def make_field(model: qc.QuasiContinuum, sizes: Sizes) -> HeatField:
    """Return the heat field of a model, hot in the middle."""
    return HeatField.of_model(
        model,
        conductivity=conductivity_from_SI(CONDUCTIVITY),
        capacity=CAPACITY * kB,
        size=2.0 * model.crystal.nearest_neighbour,
        where="everywhere",
        temperature=hot_spot(sizes.spot),
    )


# -- the heat equation, independently -------------------------------------------------------------


class HeatEquation:
    """Finite volumes on an insulated square: ``c dT/dt = kappa laplace T``.

    Parameters
    ----------
    edge : float, Angstrom
    cells : int
        Along an edge.
    thickness : float, Angstrom
    density : float, eV/(K Angstrom^3)
        Capacity that is everywhere.
    points, capacities : (n, 2) Angstrom, (n,) eV/K
        Capacity that sits at points.
    """

    def __init__(
        self, edge: float, cells: int, thickness: float, density: float, points: Array,
        capacities: Array,
    ) -> None:  # fmt: skip
        h = edge / cells
        self.axis = (np.arange(cells) + 0.5) * h - 0.5 * edge
        corners = np.linspace(-0.5 * edge, 0.5 * edge, cells + 1)
        held = np.histogram2d(*points.T, bins=[corners, corners], weights=capacities)[0]
        self.capacity = (density * h * h * thickness + held).ravel()
        chain = sp.diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(cells, cells)).tolil()
        chain[0, 0] = chain[-1, -1] = -1.0
        # Through a face: kappa times its area over the distance, which is the thickness.
        one = sp.identity(cells)
        self.laplace = (thickness * (sp.kron(chain, one) + sp.kron(one, chain))).tocsc()

    def solve(self, start: Array, conductivity: float, times: Array, at: Array) -> Array:
        """Return temperatures at ``times`` (n_t,) and points ``at`` (n, 2): (n_t, n) K.

        Crank and Nicolson's rule, equal steps.
        """
        dt = times[1] - times[0]
        matrix = (0.5 * dt * conductivity) * self.laplace
        left = splu((sp.diags(self.capacity) - matrix).tocsc())
        right = (sp.diags(self.capacity) + matrix).tocsr()
        t, n = start.copy(), len(self.axis)
        place = ((at - self.axis[0]) / (self.axis[1] - self.axis[0])).T
        out = np.empty((len(times), len(at)))
        for k in range(len(times)):
            if k:
                t = left.solve(right @ t)
            # Cubic between the middles of cells, mirrored at the walls.
            out[k] = map_coordinates(t.reshape(n, n), place, order=3, mode="reflect")
        return out

    def grid(self) -> Array:
        """Middles of the cells, (n, 3) Angstrom."""
        x, y = np.meshgrid(self.axis, self.axis, indexing="ij")
        return np.stack([x.ravel(), y.ravel(), 0.0 * x.ravel()], axis=1)


def fit(curves: Callable[[float], Array], data: Array, weights: Array, start: float) -> float:
    """Return the conductivity whose curves are closest to data, by Gauss-Newton steps."""
    kappa = start
    for _ in range(4):
        value = curves(kappa)
        slope = (curves(1.02 * kappa) - value) / (0.02 * kappa)
        step = (weights * slope * (data - value)).sum() / (weights * slope**2).sum()
        kappa += float(step)
        if abs(step) < 1e-5 * kappa:
            break
    return kappa


# -- the runs -------------------------------------------------------------------------------------


class Rings:
    """Means over rings around the middle."""

    def __init__(self, x: Array, weights: Array, edges: Array) -> None:
        r = np.linalg.norm(x[:, :2], axis=1)
        self.ring = np.digitize(r, edges) - 1
        n = len(edges) - 1
        self.inside = (self.ring >= 0) & (self.ring < n) & (weights > 0.0)
        self.ring, self.weights = self.ring[self.inside], weights[self.inside]
        self.total = np.bincount(self.ring, self.weights, n)
        self.radius = np.bincount(self.ring, self.weights * r[self.inside], n) / self.total

    def __call__(self, values: Array) -> Array:
        """Mean of values (n,) or (n_t, n) over the rings."""
        part = np.atleast_2d(values)[:, self.inside] * self.weights
        out = np.array([np.bincount(self.ring, row, len(self.total)) for row in part])
        return out[0] / self.total if values.ndim == 1 else out / self.total


def main(argv: Sequence[str] | None = None) -> Found:
    """Run the hot spot, print tables, and return what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a small block, in seconds")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write pictures and files there")
    parser.add_argument("--resume", action="store_true", help="go on with runs that were stopped")
    args = parser.parse_args(argv)
    sizes = SMALL if args.small else FULL
    if args.resume and args.output is None:
        parser.error("--resume needs the --output of the runs to go on with")
    with contextlib.ExitStack() as stack:
        home = args.output or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        return study(sizes, home, args.resume, args.output is not None)


def study(sizes: Sizes, home: Path, resume: bool, pictures: bool) -> Found:
    """Run all seeds, compare them with the heat equation, and print what was found."""
    model = copper(sizes)
    field = make_field(model, sizes)
    free = model.layout.free.sum(axis=1).astype(float)
    at = model.layout.node_positions
    edge = 2.0 * sizes.half * float(model.crystal.cell[0, 0])
    edges = np.arange(0.0, 0.5 * edge, 0.4 * sizes.spot)
    rings = Rings(field.positions, field.capacity, edges)
    # Rings further out hold too few nodes for a temperature.
    crowd = Rings(at, free, edges[: 1 + int(np.argmax(edges > sizes.core + sizes.blend))])
    print(f"{model.n_sites:,.0f} sites, {int((free > 0).sum())} moving nodes, "
          f"{len(field.capacity)} heat nodes; {free.sum() * kB / field.capacity.sum():.1%} of the "
          "field's capacity is in the nodes")  # fmt: skip

    runs, closure, drift = [], 0.0, 0.0
    for seed in sizes.seeds:
        field = make_field(model, sizes)
        dynamics = Dynamics(
            ModelSystem(model), TIMESTEP * fs, baths=[FieldBath(field, FRICTION / fs)], seed=seed,
            conduct_every=5,
        )  # fmt: skip
        model.U[:] = 0.0
        dynamics.set_state(x=np.zeros_like(model.U))
        # Half of it becomes potential energy within a few vibrations.
        dynamics.set_temperature(2.0 * hot_spot(sizes.spot)(at))
        columns = ring_columns(rings, crowd, dynamics.system.masses, free)
        outcome = run_dynamics(
            dynamics, sizes.steps, home / f"run_{seed}", every=EVERY, checkpoint_every=200,
            resume=resume, columns=columns,
        )  # fmt: skip
        outcome.leave_if_stopped()
        runs.append([outcome.column(name) for name in columns])
        closure = max(closure, float(np.abs(outcome.column("closure")).max()))
        drift = max(drift, float(np.ptp(outcome.column("total"))))
    n_r = len(rings.total)
    every = np.array(runs).transpose(0, 2, 1)  # seeds, times, columns
    times = outcome.column("time") * 1e-3
    found = compare(sizes, model, rings, every[:, :, :n_r], every[:, :, n_r:], times, free, at,
                    closure, drift)  # fmt: skip
    report(found)
    if pictures:
        draw(home / "profiles.png", found)
        print(f"pictures and files are in {home}")
    return found


def ring_columns(
    rings: Rings, crowd: Rings, masses: Array, free: Array
) -> dict[str, Callable[[Dynamics], float]]:
    """Return columns of the history: temperatures of the field and of the nodes in rings."""

    def stored(d: Dynamics) -> Array:
        return rings(d.field.temperature)

    def kinetic(d: Dynamics) -> Array:
        each = masses * (d.v**2).sum(axis=1) / (np.maximum(free, 1.0) * kB)
        return crowd(each)

    out = {}
    for name, values, radius in (("field", stored, rings.radius), ("nodes", kinetic, crowd.radius)):
        for k, r in enumerate(radius):
            out[f"{name} {r:.0f} A"] = lambda d, k=k, values=values: float(values(d)[k])
    return out


def compare(
    sizes: Sizes, model: qc.QuasiContinuum, rings: Rings, field: Array, nodes: Array, times: Array,
    free: Array, at: Array, closure: float, drift: float,
) -> Found:  # fmt: skip
    """Fit the conductivity to every run, and the heat equation's solution to all of them."""
    crystal = model.crystal
    edge, thickness = 2.0 * sizes.half * float(crystal.cell[0, 0]), float(crystal.cell[2, 2])
    density = CAPACITY * kB / crystal.site_volume
    spot, points = hot_spot(sizes.spot), make_field(model, sizes).positions[:, :2]
    clock = times * 1e3 * fs

    def curves(equation: HeatEquation) -> Callable[[float], Array]:
        start = spot(equation.grid())
        return lambda kappa: rings(
            equation.solve(start, conductivity_from_SI(kappa), clock, points)
        )

    whole = curves(HeatEquation(edge, sizes.cells, thickness, density, at[:, :2], kB * free))
    # The field without nodes tells what its own elements and steps do to the conductivity.
    bare = curves(HeatEquation(edge, sizes.cells, thickness, density, at[:, :2], 0.0 * free))
    quiet = make_field(model, sizes)
    lone = [rings(quiet.temperature)]
    for _ in times[1:]:
        quiet.conduct(EVERY * TIMESTEP * fs)
        lone.append(rings(quiet.temperature))
    alone = fit(bare, np.array(lone), rings.total, CONDUCTIVITY)
    single = [fit(whole, run, rings.total, CONDUCTIVITY) for run in field]
    mean, count = field.mean(axis=0), np.sqrt(len(field))
    fitted = fit(whole, mean, rings.total, CONDUCTIVITY)
    continuum, error = whole(fitted), field.std(axis=0, ddof=1) / count
    crowd = np.full_like(mean, np.nan)
    crowd[:, : nodes.shape[2]] = nodes.mean(axis=0)

    def rms(values: Array) -> float:
        return float(np.sqrt((values**2).mean()))

    return Found(
        times=times, radii=rings.radius, field=mean, error=error, nodes=crowd, continuum=continuum,
        given=CONDUCTIVITY, alone=alone, fitted=fitted,
        fitted_error=float(np.std(single, ddof=1) / count), deviation=rms(mean - continuum),
        noise=rms(error), elements=rms(np.array(lone) - bare(alone)), closure=closure, drift=drift,
    )  # fmt: skip


def smooth(found: Found) -> Array:
    """Kinetic temperatures averaged over a tenth of the run, (n_t, n_r) K."""
    width = max(len(found.times) // 10, 1)
    # The first vibrations turn half of the kinetic energy into potential energy.
    after = found.times > 0.15
    out = np.full_like(found.nodes, np.nan)
    for k in np.flatnonzero(after):
        window = slice(max(k - width // 2, int(np.argmax(after))), k + width // 2 + 1)
        out[k] = found.nodes[window].mean(axis=0)
    return out


def report(found: Found) -> None:
    """Print temperatures against time, and conductivities."""
    picked = range(0, len(found.radii), 2)
    nodes = smooth(found)
    print("\ntemperatures (K): field in rings, in brackets the heat equation; atoms in the middle")
    print(f"{'ps':>5} {'atoms':>6} " + " ".join(f"{found.radii[k]:>13.0f} Å" for k in picked))
    for t in range(0, len(found.times), (len(found.times) - 1) // 5):
        atoms = f"{nodes[t, 0]:6.1f}" if np.isfinite(nodes[t, 0]) else f"{'':6}"
        rings = (f"{found.field[t, k]:7.1f} ({found.continuum[t, k]:.1f})" for k in picked)
        print(f"{found.times[t]:5.2f} {atoms} " + " ".join(f"{r:>15}" for r in rings))
    print(f"\ndeviation of all curves from the heat equation, rms: {found.deviation:.2f} K; "
          f"statistical error {found.noise:.2f} K, coarse elements {found.elements:.2f} K")
    print(f"conductivity (W/(m K)): given {found.given:.2f}, fitted to the field alone "
          f"{found.alone:.2f}, fitted to the runs {found.fitted:.2f} ± {found.fitted_error:.2f}\n"
          f"of which the vibrating nodes conduct {found.fitted - found.alone:.2f} ± "
          f"{found.fitted_error:.2f}")  # fmt: skip
    print(f"books close to {found.closure:.1e} eV, the total energy is constant to "
          f"{found.drift:.1e} eV")  # fmt: skip


def draw(path: Path, found: Found) -> None:
    """Draw profiles at several times, and temperatures against time."""
    from matplotlib.figure import Figure

    from qc.io.plots import save_figure

    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    nodes, last = smooth(found), len(found.times) - 1
    colours = ("#28323a", "#4a6fa5", "#3f7f6f", "#f0b441", "#c8443c")
    for part, colour in zip((0.0, 0.125, 0.25, 0.5, 0.95), colours, strict=True):
        k = round(part * last)
        left.plot(found.radii, found.continuum[k], color=colour, lw=1.2,
                  label=f"{found.times[k]:.2g} ps")  # fmt: skip
        left.errorbar(found.radii, found.field[k], found.error[k], fmt="o", ms=3.5, color=colour)
        left.plot(found.radii, nodes[k], "s", ms=6, mfc="none", color=colour)
    left.set(xlabel="distance from the middle (Å)", ylabel="temperature (K)")
    left.set_title("lines: heat equation; dots: field; squares: nodes", loc="left", fontsize=9)
    left.legend(frameon=False, fontsize=8)
    for k, colour in zip(range(0, len(found.radii), 2), colours, strict=False):
        right.plot(found.times, found.field[:, k], color=colour, lw=0.7, alpha=0.8)
        right.plot(found.times, found.continuum[:, k], "--", color=colour, lw=1.2,
                   label=f"{found.radii[k]:.0f} Å")  # fmt: skip
    right.set(xlabel="time (ps)")
    right.set_title("full: field; dashed: heat equation", loc="left", fontsize=9)
    # Room for the legend above the hottest curve.
    low, high = right.get_ylim()
    right.set_ylim(low, high + 0.12 * (high - low))
    right.legend(frameon=False, fontsize=8, ncols=4, loc="upper right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(path, figure)


if __name__ == "__main__":
    main()
