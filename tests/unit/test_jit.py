"""Compiling kernels: bodies outside of parallel loops, one version of each, and what is said."""

import io
import subprocess
import sys

import numpy as np
import pytest
from ase.build import bulk

from qc.coupling import QuasiContinuum
from qc.crystal import fcc
from qc.numerics import jit
from qc.numerics.progress import Progress
from qc.potentials import zhou2004
from qc.potentials.eam import star_kernels as eam_star_kernels

PROGRAM = '''
"""A kernel whose loop calls its body apart."""

import numba
import numpy as np

from qc.numerics.jit import apart, keep, kernel


@kernel(inner=True)
def body(part, values, factor, out):
    if part > 5:
        raise ValueError("a part too many")
    out[part] = factor * values[part]


@kernel(parallel=True)
def scaled(values, factor, out):
    everything = (values, factor, out)
    for part in numba.prange(len(values)):
        apart(body, part, everything)
    keep(body, everything)


if __name__ == "__main__":
    out = np.zeros(4)
    scaled(np.arange(4.0), 2.0, out)
    print(out.tolist(), len(body.signatures), scaled.stats.cache_hits)
'''


def test_a_body_called_apart_is_compiled_once_and_comes_back_from_the_cache(tmp_path, monkeypatch):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    said = [
        subprocess.run([sys.executable, program], check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    # The second process compiles nothing, the body included: its code is in that of the kernel.
    assert said == ["[0.0, 2.0, 4.0, 6.0] 1 {}\n".replace("{}", "Counter()"), said[1]]
    assert said[1].startswith("[0.0, 2.0, 4.0, 6.0] 0 Counter({(")


def test_an_array_that_cannot_be_written_to_compiles_nothing_anew():
    potential, f = zhou2004("Cu"), np.eye(3)[None].copy()
    star = fcc("Cu", 3.615).star(potential.cutoff)
    types = np.zeros(len(star), dtype=np.int64)
    one = potential.deformed_star(f, star, 0, types)
    known = len(eam_star_kernels.deformed_star.signatures)
    f.flags.writeable = False
    assert np.array_equal(potential.deformed_star(f, star, 0, types)[1], one[1])
    assert len(eam_star_kernels.deformed_star.signatures) == known


def test_a_simple_lattice_among_the_atoms_asks_for_no_cell_with_a_basis(monkeypatch):
    """Whose kernels take longest to compile."""
    potential = zhou2004("Cu")

    def refuse(*arguments):
        raise AssertionError("a crystal with a basis was tried")

    monkeypatch.setattr(type(potential), "deformed_cell", refuse)
    atoms = bulk("Cu", a=3.615, cubic=True) * (4, 4, 4)
    del atoms[0]
    assert QuasiContinuum.from_atoms(atoms, potential, outer=20).crystal.name == "fcc"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def fresh(monkeypatch):
    """Return a kernel that is not compiled yet, and in no cache, of a process that said nothing."""
    monkeypatch.setattr(jit._announcer, "said", False)
    space = {}
    exec("def double(x):\n    return 2 * x", space)
    return jit.kernel()(space["double"])


def test_compiling_is_said_once_on_a_terminal(fresh, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("relax", interval=0) as progress:
        progress.update("step 1")
        assert fresh(1) == 2
        assert fresh(1.5) == 3.0
    # The line of the progress is wiped first. No cache holds functions that no file holds.
    words = "compiling kernels, in every run, for want of a place to keep them"
    assert terminal.getvalue().count(words) == 1
    assert f"\r{' ' * 13}\r{words}" in terminal.getvalue()
    assert terminal.getvalue().endswith("...\n")


def test_compiling_is_not_said_in_a_pipe_nor_of_what_is_not_ours(fresh, monkeypatch):
    import numba

    pipe, terminal = io.StringIO(), Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert numba.njit(lambda x: x + 1)(1) == 2
    monkeypatch.setattr(sys, "stderr", pipe)
    assert fresh(1) == 2
    assert pipe.getvalue() == terminal.getvalue() == ""


def test_a_kernel_with_a_cache_is_compiled_in_the_first_run_only(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(jit._announcer, "said", False)
    with jit.event.trigger_event(
        "numba:compile", {"dispatcher": eam_star_kernels.deformed_star}
    ):
        pass
    assert terminal.getvalue() == "compiling kernels, first run only ...\n"
