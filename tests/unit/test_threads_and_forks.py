"""Several Python threads on one object, copies that share nothing, and processes made by fork."""

import copy
import multiprocessing
import os
import pickle
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones as Pairwise

import qc
from qc.atomistic.field import ForceField
from qc.atomistic.pairs import PairList
from qc.coupling.point_defects import PointDefects
from qc.crystal import diamond, fcc
from qc.loads import SphericalIndenter
from qc.numerics import jit
from qc.numerics.threads import Lock
from qc.potentials import EAM, ASEPotential, stillinger1985, zhou2004

A = 4.0


class Slow(EAM):
    """Lets go of the interpreter between its list and its kernel, as a busy machine does."""

    def energy_forces(self, *arguments):
        time.sleep(1e-3)
        return super().energy_forces(*arguments)


def slow():
    p = zhou2004("Al")
    return Slow(p.species, **{k: getattr(p, k) for k in (
        "dr", "rphi", "density", "drho", "embedding", "cutoff")})  # fmt: skip


def model(potential=None, crystal=None, **options):
    crystal = fcc("Al", 4.05) if crystal is None else crystal
    hole = PointDefects(vacant=[(0, 0, 0)])
    return qc.QuasiContinuum(
        crystal, zhou2004("Al") if potential is None else potential, defects=hole,
        **{"core": 8.0, "blend": 6.0, "outer": 26.0, **options},
    )  # fmt: skip


def displaced(m, seed, size=0.15):
    """Correctors that the next ones need a new list after."""
    return np.where(m.layout.free, size * np.random.default_rng(seed).normal(size=m.U.shape), 0.0)


@pytest.fixture(scope="module")
def metal():
    return model(slow())


def in_threads(function, arguments, threads=4):
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(function, arguments))
    finally:
        sys.setswitchinterval(before)


def test_one_model_in_four_threads(metal):
    states = [displaced(metal, k % 4) for k in range(16)]
    alone = [metal.energy_forces(u) for u in states[:4]]
    for k, (energy, forces) in enumerate(in_threads(metal.energy_forces, states)):
        assert energy == pytest.approx(alone[k % 4][0], abs=1e-9)
        np.testing.assert_allclose(forces, alone[k % 4][1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("shared", ["field", "calculator", "wrapped"])
def test_one_calculator_in_eight_threads(shared):
    start = bulk("Al", cubic=True, a=4.05) * (3, 3, 3)
    states = []
    for k in range(4):
        atoms = start.copy()
        atoms.rattle(0.2, seed=k)
        states.append(atoms)
    if shared == "calculator":
        calculator = qc.PotentialCalculator(slow())

        def evaluate(atoms):
            own = atoms.copy()
            own.calc = calculator
            return own.get_forces()

    elif shared == "field":
        field = ForceField(slow(), np.zeros(len(start), int), None, start.cell[:], True)

        def evaluate(atoms):
            return field.energy_forces(atoms.positions)[1]

    else:

        class Careless(Pairwise):
            def calculate(self, *arguments, **options):
                super().calculate(*arguments, **options)
                time.sleep(1e-3)

        wrapped = ASEPotential(Careless(sigma=2.5, epsilon=0.1, rc=5.0), "Al", 5.0)

        def evaluate(atoms):
            return wrapped.cluster_forces(
                atoms.positions[:20], np.zeros(20, int), atoms.cell[:], (False,) * 3
            )[1]

    alone = [evaluate(atoms) for atoms in states]
    for k, forces in enumerate(in_threads(evaluate, 6 * states, threads=8)):
        np.testing.assert_allclose(forces, alone[k % 4], rtol=0, atol=1e-9)


def test_shifts_that_are_relaxed_in_four_threads():
    m = model(stillinger1985(), diamond("Si", 5.431), core=9.0, blend=8.0, outer=40.0)
    states = [displaced(m, k, 0.02) for k in range(4)]
    alone = [m.forces(u) for u in states]
    for k, forces in enumerate(in_threads(m.forces, 3 * states)):
        np.testing.assert_allclose(forces, alone[k % 4], rtol=0, atol=1e-7)


COPIES = {
    "loads": lambda m: m.with_loads(SphericalIndenter(20.0, (0, 0, 28.0), 0.1)),
    "dead load": lambda m: m.without_mean_force(np.zeros_like(m.U)),
    "strain": lambda m: m.with_strain(1.001 * np.eye(3)),
    "temperature": lambda m: m.with_temperature(100.0, None),
}


@pytest.mark.parametrize("name", COPIES)
def test_evaluating_a_copy_leaves_the_original_as_it_is(name):
    m = model()
    u = displaced(m, 1, 0.05)
    forces, made = m.forces(u), m.coupling.memory()["list"].copy()
    other = COPIES[name](m)
    if name in ("loads", "dead load"):
        assert np.array_equal(other.coupling.memory()["list"], made)
        assert np.array_equal(other.coupling.blended.forces(u), m.coupling.blended.forces(u))
    other.forces(displaced(m, 2, 0.18))
    assert not np.array_equal(other.coupling.memory()["list"], made)
    assert np.array_equal(m.coupling.memory()["list"], made)
    # Other atoms in between, lest the forces kept from the last time answer.
    m.forces(0.9 * u)
    assert np.array_equal(m.forces(u), forces)


def test_shifts_of_a_copy_are_its_own():
    m = model(stillinger1985(), diamond("Si", 5.431), core=9.0, blend=8.0, outer=40.0)
    m.forces(m.U)
    kept = m.coupling.memory()["shifts"]
    m.with_loads().forces(displaced(m, 3, 0.05))
    assert np.array_equal(m.coupling.memory()["shifts"], kept)


@pytest.mark.parametrize("first", [0, 1])
def test_a_copied_list_and_its_original_are_made_anew_each_by_itself(first):
    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    one = PairList("half", 4.0, 0.3, atoms.cell[:], True)
    one.update(atoms.positions)
    lists = one, copy.copy(one)
    rows, positions = one.pairs.neighbours.copy(), one.positions.copy()
    moved = atoms.positions + 0.4 * np.random.default_rng(0).normal(size=atoms.positions.shape)
    assert lists[first].update(moved)
    assert not lists[1 - first].update(atoms.positions)
    assert np.array_equal(lists[1 - first].pairs.neighbours, rows)
    assert np.array_equal(lists[1 - first].positions, positions)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_whole_copies_work(copied):
    m = model()
    u = displaced(m, 1)
    forces = m.forces(u)
    np.testing.assert_allclose(copied(m).forces(u), forces, rtol=0, atol=1e-10)
    atoms = bulk("Al", cubic=True, a=4.05) * (2, 2, 2)
    atoms.rattle(0.1, seed=1)
    atoms.calc = qc.PotentialCalculator(zhou2004("Al"))
    expected = atoms.get_forces()
    again = copied(atoms.calc)
    np.testing.assert_allclose(again.get_forces(atoms), expected, rtol=0, atol=1e-10)


# -- processes made by fork -------------------------------------------------------------------


def forked(function, *arguments, seconds=240):
    """Return what a function gives in a forked child; fail if the child dies or hangs."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)

    def child():
        there.send(function(*arguments))

    process = fork.Process(target=child)
    process.start()
    there.close()
    try:
        assert here.poll(seconds), "no answer"
        return here.recv()
    except EOFError:
        process.join()
        pytest.fail(f"the child ended with {process.exitcode}")
    finally:
        process.kill()
        process.join()


needs_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system"
)


@needs_fork
def test_a_forked_child_gets_the_same_bits():
    atoms = bulk("Al", cubic=True, a=4.05) * (3, 3, 3)
    atoms.rattle(0.1, seed=1)

    def evaluate():
        atoms.calc = qc.PotentialCalculator(zhou2004("Al"))
        return atoms.get_potential_energy(), atoms.get_forces()

    energy, forces = evaluate()
    for found in (forked(evaluate), forked(lambda: forked(evaluate))):
        assert found[0] == energy
        assert np.array_equal(found[1], forces)


@needs_fork
def test_a_lock_held_by_another_thread_is_open_in_a_child():
    lock = Lock()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lock.acquire).result()

        def take():
            lock.acquire()
            return os.getpid()

        assert forked(take, seconds=20) != os.getpid()


def test_parallel_kernels_are_reached_by_their_modules_names():
    """A name bound elsewhere would still stand for the parallel kernel in a forked child."""
    kernels = {
        id(f.__globals__[f.__name__]): f for f in jit._parallel if f.__module__.startswith("qc.")
    }
    assert len(kernels) > 15
    for name, module in list(sys.modules.items()):
        if name.startswith("qc."):
            for value in vars(module).values():
                f = kernels.get(id(value))
                assert f is None or f.__module__ == name, f"{name} binds {f}"
