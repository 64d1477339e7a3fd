"""Single dislocations against full lattices relaxed by LAMMPS: convergence with the core radius."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import qc
from qc.farfield import DislocationSum, VolterraDislocation
from qc.materials import CauchyBorn

pytestmark = pytest.mark.physics

REFERENCE = Path(__file__).parents[1] / "reference"


AXES = {
    "screw_Fe": ("bcc", [1, 1, -2], [-1, 1, 0], [1, 1, 1]),
    "edge_Ni": ("fcc", [1, -1, 0], [1, 1, 1], [-1, -1, 2]),
}


class Dislocation:
    """A stored dislocation in a cylinder of 100 Angstrom."""

    def __init__(self, name):
        self.data = json.loads((REFERENCE / f"dislocation_{name}.json").read_text())
        structure, x, y, z = AXES[name]
        symbol = name.split("_")[1]
        self.potential = qc.potentials.zhou2004(symbol)
        assert self.potential.fingerprint() == self.data["potential"]["fingerprint"]
        build = getattr(qc.crystal, structure)
        a = self.data["crystal"]["lattice_constant"]
        self.crystal = build(symbol, a, x=x, y=y, z=z).as_columns()
        assert np.allclose(self.crystal.cell, self.data["geometry"]["cell"], atol=1e-8)
        one = self.data["far_field"]["dislocations"][0]
        elastic = CauchyBorn(self.crystal, self.potential).elastic_constants()
        self.field = DislocationSum(
            [VolterraDislocation(elastic, one["burgers"], one["position"], one["cut_direction"])]
        )
        rows = np.array(self.data["displacement"])
        m = np.rint(rows[:, :2]).astype(int)
        self.sites = np.column_stack([m, np.zeros(len(m), int)])
        self.u = rows[:, 2:5]
        self.relaxed = self.data["relaxation_energy"]

    def solve(self, core, blend):
        """Relax a model; return unknowns, error of the positions, error of the energy gained."""
        model = qc.QuasiContinuum(
            self.crystal,
            self.potential,
            far_field=self.field,
            core=core,
            blend=blend,
            outer=self.data["geometry"]["radius"],
        )
        before = model.coupling.defect_energy(model.U)
        result = qc.relax(model, fmax=1e-5)
        assert result.converged
        x = self.crystal.positions(self.sites)
        ours = self.field.displacement(x) + model.interpolate(self.sites)
        error = np.sqrt(((ours - self.u) ** 2).sum(axis=1).mean())
        return model.n_unknowns, error, result.defect_energy - before - self.relaxed


@pytest.mark.parametrize(
    ("name", "radii", "close", "gained"),
    [("screw_Fe", (8.0, 12.0, 18.0), 1e-4, 5e-5), ("edge_Ni", (15.0, 22.0), 5e-3, 1e-3)],
)
def test_core_converges(name, radii, close, gained):
    dislocation = Dislocation(name)
    rows = [dislocation.solve(r, 0.75 * r) for r in radii]
    errors = [r[1] for r in rows]
    energies = [abs(r[2]) for r in rows]
    # A split edge dislocation needs both partials in the core before energies settle.
    assert all(later < 0.5 * former for former, later in itertools.pairwise(errors))
    assert errors[-1] < close
    assert max(energies) < gained


@pytest.mark.parametrize("radius", [30.0, 40.0])
def test_a_block_of_atoms_has_the_energy_of_its_free_sites(radius):
    """LAMMPS's energies of all atoms within a radius, in a cylinder of 100 Angstrom."""
    one = Dislocation("screw_Fe")
    model = qc.QuasiContinuum(
        one.crystal, one.potential, far_field=one.field, scheme="atomistic", outer=radius
    )
    energy = qc.relax(model, fmax=1e-5).defect_energy
    free = int(model.layout.free.all(axis=1).sum())
    assert model.n_sites == pytest.approx(free)
    period = one.data["geometry"]["period"]
    # The circle of the same area; rim and all, the energy is 0.12 eV higher.
    same = np.sqrt(free * one.crystal.volume / period / np.pi)
    (burgers,) = (d.length for d in one.field.dislocations)
    expected = one.data["energy_prefactor"] * np.log(same / burgers) + one.data["core_energy"]
    assert energy == pytest.approx(period * expected, abs=1e-3)
