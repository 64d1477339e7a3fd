"""What a relaxation costs: the number of evaluations does not know how large the crystal is."""

import itertools

import pytest

from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import fcc
from qc.materials import equilibrium_lattice_constant
from qc.potentials import zhou2004
from qc.solve import relax

pytestmark = pytest.mark.physics


def test_vacancy_costs_the_same_in_any_domain():
    potential = zhou2004("Cu")
    a = equilibrium_lattice_constant(fcc("Cu", 3.6), potential)
    hole = PointDefects(vacant=[(0, 0, 0)])
    counts, energies = [], []
    for outer in (5, 10, 20, 40):
        model = QuasiContinuum(
            fcc("Cu", a), potential, core=1.75 * a, blend=1.5 * a, outer=outer * a, defects=hole
        )
        result = relax(model, fmax=1e-4)
        assert result.converged
        counts.append(result.evaluations)
        energies.append(result.defect_energy)
    assert max(counts) <= 40
    assert max(counts) <= 1.2 * min(counts)
    # The energy settles as the boundary goes away, the faster the farther it is.
    gaps = [abs(one - other) for one, other in itertools.pairwise(energies)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-4
