"""Fingerprints hang on what defines a thing, not on the last bits of what a processor computes."""

import os
import subprocess
import sys

import numpy as np
import pytest

from qc.numerics.fingerprint import Fingerprint, fingerprint, processor, rounded
from qc.potentials import EAM, zhou2004


def nudged(values, ulps):
    """Every value moved by some units in its last place, as another processor might."""
    rng = np.random.default_rng(0)
    return values * (1.0 + rng.integers(-ulps, ulps + 1, values.shape) * 2.0**-52)


def tables(values):
    return EAM(["X"], dr=0.01, rphi=values, density=values[0], drho=0.1, embedding=values[0])


def test_last_bits_do_not_count():
    values = np.exp(-np.linspace(0.0, 20.0, 3000)) - 0.1
    assert fingerprint("a", [values]) == fingerprint("a", [nudged(values, 8)])
    assert fingerprint("a", [values[:9]]) == fingerprint("a", [nudged(values[:9], 8)])
    # What should vanish and is round-off.
    rotation = np.array([[0.6, 0.8], [-0.8, 0.6]])
    assert fingerprint("a", [np.eye(2)]) == fingerprint("a", [rotation @ rotation.T + 1e-17])
    assert fingerprint("a", [0.0]) == fingerprint("a", [-0.0])


def test_everything_else_counts():
    numbers = np.array([1.0, 2.0, 3.0])
    base = [numbers, 3, True, "x"]
    others = [
        [numbers, 3, True, "y"], [numbers, 4, True, "x"], [numbers, 3, False, "x"],
        [numbers[None], 3, True, "x"], [numbers * (1 + 1e-8), 3, True, "x"],
        [numbers[::-1], 3, True, "x"], [np.append(numbers, 0.0), 3, True, "x"],
        [[np.nan, 2.0, 3.0], 3, True, "x"], [[np.inf, 2.0, 3.0], 3, True, "x"],
    ]  # fmt: skip
    found = {fingerprint("a", items) for items in (base, *others)}
    assert len(found) == len(others) + 1
    assert fingerprint("b", base) not in found
    assert fingerprint("a", ["ab", "c"]) != fingerprint("a", ["a", "bc"])
    assert Fingerprint("a").add(*base).hex() == fingerprint("a", base)


def test_a_table_counts_to_seven_digits():
    values = np.linspace(1.0, 2.0, 1000)
    other = values.copy()
    other[500] *= 1 + 3e-7
    assert fingerprint("a", [values]) != fingerprint("a", [other])
    assert np.abs(rounded(values) / values - 1).max() < 1e-7


def test_tables_computed_on_two_processors_are_one_potential():
    values = np.exp(-np.linspace(0.1, 5.0, 2000))[None, None]
    assert tables(values).fingerprint() == tables(nudged(values, 4)).fingerprint()
    assert tables(values).fingerprint() != tables(values * (1 + 1e-6)).fingerprint()


def test_a_definition_stands_for_its_tables():
    potential = zhou2004("Cu")
    assert not any(np.size(item) > 1 for item in potential.parameters())


@pytest.mark.parametrize("name", ["a third-generation vector unit", "plain"])
def test_another_processor_has_the_same_fingerprints(name):
    """As numpy and numba see it: their vector instructions are switched off."""
    code = (
        "from qc.numerics.fingerprint import processor\n"
        "from qc import potentials as p\n"
        "for one in (p.zhou2004('Cu'), p.zhou2004('Ni', 'Al'), p.stillinger1985(),"
        " p.tersoff1989('Si', 'C'), p.ToyEAM(), p.Morse('Cu', 0.3, 1.4, 2.8, 6.0)):\n"
        "    print(one.fingerprint())\n"
        "print(processor())\n"
    )
    seen = processor().rsplit(", numpy ", 1)[1]
    off = "" if seen == "baseline" else seen if name == "plain" else seen.split()[-1]
    found = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env={**os.environ, **more}, capture_output=True, text=True, check=True, timeout=120,
        ).stdout.splitlines()
        for more in ({}, {"NPY_DISABLE_CPU_FEATURES": off, "NUMBA_CPU_NAME": "generic"})
    ]  # fmt: skip
    assert len(set(found[0][:-1])) == 6
    assert found[0][:-1] == found[1][:-1]
    assert found[0][-1] != found[1][-1]
