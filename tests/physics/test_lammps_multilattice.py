"""Defects of crystals with a basis against full lattices relaxed by LAMMPS."""

import itertools
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

import qc
from qc.farfield import DislocationSum, VolterraDislocation
from qc.materials import CauchyBorn

pytestmark = pytest.mark.physics

REFERENCE = Path(__file__).parents[1] / "reference"


@lru_cache
def stored(name):
    return json.loads((REFERENCE / f"{name}.json").read_text())


def silicon_with_a_vacancy(pull):
    """A supercell whose vacancy has its neighbours drawn in by ``pull`` Angstrom."""
    atoms = bulk(
        "Si", "diamond", stored("vacancy_3d_Si")["crystal"]["lattice_constant"], cubic=True
    )
    atoms = atoms.repeat(4)
    gone = int(np.argmin(np.linalg.norm(atoms.positions - atoms.cell.sum(axis=0) / 2, axis=1)))
    away = atoms.positions - atoms.positions[gone]
    near = np.argsort(np.linalg.norm(away, axis=1))[1:5]
    atoms.positions[near] -= pull * away[near] / np.linalg.norm(away[near], axis=1)[:, None]
    del atoms[gone]
    return atoms


@lru_cache
def silicon(core, pull=0.4):
    """Relax an embedded vacancy: model, result, energy error, relative error of displacements."""
    data = stored("vacancy_3d_Si")
    a, potential = data["crystal"]["lattice_constant"], qc.potentials.stillinger1985("Si")
    model = qc.QuasiContinuum.from_atoms(
        silicon_with_a_vacancy(pull), potential, core=core * a, blend=core * a, outer=14.0 * a
    )
    result = qc.relax(model, fmax=1e-5)
    assert result.converged
    layout = model.layout
    keep = ~layout.vacant
    x = layout.positions[keep] - layout.positions[layout.vacant][0]
    u = model.coupling.blended.atoms.positions(model.U) - layout.positions[keep]
    # The second sublattice has its neighbours the other way round.
    sign = -1.0 if layout.sublattice[layout.vacant][0] else 1.0
    wedge = np.array(data["displacements"])
    wedge = wedge[np.linalg.norm(wedge[:, :3], axis=1) < 12.0]  # within 3 a
    index = {tuple(k): i for i, k in enumerate(np.rint(4.0 * sign * x / a).astype(int).tolist())}
    rows = [index[tuple(k)] for k in wedge[:, :3].astype(int).tolist()]
    error = np.linalg.norm(sign * u[rows] - wedge[:, 3:]) / np.linalg.norm(wedge[:, 3:])
    return model, result, result.defect_energy - data["defect_energy"], error


def test_silicon_vacancy_from_atoms_converges():
    # 1.7, 0.32 and 0.026 meV at cores of 1.5, 2 and 3 a.
    (rough, _), (fine, strain) = [silicon(core)[2:] for core in (1.0, 2.0)]
    assert abs(fine) < 5e-4
    assert abs(fine) < 0.25 * abs(rough)
    assert strain < 0.01


def test_a_core_that_is_too_small_is_said():
    (_, rough, error, _), (_, fine, _, _) = silicon(1.0), silicon(2.0)
    assert "the coupling's error of defect_energy is about" in rough.warnings[-1]
    assert 0.3 * rough.estimated_error < abs(error) < rough.estimated_error
    assert not fine.warnings
    assert fine.estimated_error < 1e-3


def test_silicon_vacancy_left_alone_stays_at_the_upper_state():
    # Second neighbours are out of range: at the lattice sites every force is exactly zero.
    model = silicon(1.5, pull=0.0)[0]
    upper = 2.0 * stored("vacancy_3d_Si")["potential"]["epsilon"]
    assert model.coupling.defect_energy(model.U) == pytest.approx(upper, abs=1e-5)
    assert np.abs(model.U).max() < 1e-4


class Screw:
    """The stored basal screw dislocation of hcp Co."""

    def __init__(self):
        self.data = stored("dislocation_basal_screw_Co")
        self.potential = qc.potentials.zhou2004("Co")
        assert self.potential.fingerprint() == self.data["potential"]["fingerprint"]
        size = self.data["crystal"]
        axes = {"x": (1, 2, 0), "y": (0, 0, 1), "z": (1, 0, 0)}
        self.crystal = qc.crystal.hcp("Co", size["a"], size["c"], **axes).as_columns()
        assert np.allclose(self.crystal.cell, self.data["geometry"]["cell"], atol=1e-8)
        assert np.allclose(self.crystal.basis, self.data["geometry"]["basis"], atol=1e-8)
        one = self.data["far_field"]["dislocations"][0]
        moduli = CauchyBorn(self.crystal, self.potential).elastic_constants()
        self.field = DislocationSum(
            [VolterraDislocation(moduli, one["burgers"], one["position"], one["cut_direction"])]
        )
        rows = np.array(self.data["displacement"])
        self.sites = np.column_stack([rows[:, :2], np.zeros(len(rows))]).astype(int)
        self.sublattice, self.u = rows[:, 2].astype(int), rows[:, 3:6]

    def solve(self, scheme, core):
        """Relax; return the error of the energy gained, displacements and unknowns."""
        model = qc.QuasiContinuum(
            self.crystal, self.potential, far_field=self.field, scheme=scheme,
            core=core, blend=0.75 * core, outer=self.data["geometry"]["radius"],
        )  # fmt: skip
        before = model.coupling.defect_energy(model.U)
        result = qc.relax(model, fmax=1e-5)
        assert result.converged
        assert not result.warnings
        x = self.crystal.positions(self.sites, self.sublattice)
        u = model.predict(x, self.sublattice) - x
        u += model.interpolate(self.sites, self.sublattice)
        gained = result.defect_energy - before - self.data["relaxation_energy"]
        return gained, u, model.n_unknowns

    def width(self, u):
        """Distance of the partials: where the slip of the glide plane is 3/4 and 1/4 of b."""
        x = self.crystal.positions(self.sites, self.sublattice)
        y = self.data["dissociation"]["plane_y"]
        grid = np.linspace(-25.0, 25.0, 5001)
        height = self.crystal.basis[1, 1] / 2
        rows = [np.flatnonzero(np.abs(x[:, 1] - y + side * height) < 0.1) for side in (1, -1)]
        below, above = (
            np.interp(grid, x[r[np.argsort(x[r, 0])], 0], u[r[np.argsort(x[r, 0])], 2])
            for r in rows
        )
        slip = np.abs(above - below) / self.crystal.cell[2, 2]
        places = [grid[np.argmin(np.abs(slip - share))] for share in (0.75, 0.25)]
        return abs(places[1] - places[0])


def test_full_lattice_of_the_basal_screw_is_that_of_lammps():
    screw = Screw()
    gained, u, _ = screw.solve("atomistic", 16.0)
    assert abs(gained) < 5e-6
    assert np.sqrt(((u - screw.u) ** 2).sum(axis=1).mean()) < 5e-3


def test_basal_screw_converges():
    # Energies, and the width of the split core. Where along the glide plane the core stops is
    # decided by less than 1e-4 eV: the full lattice's own moves by an Angstrom with its radius.
    screw = Screw()
    rows = [screw.solve("bgfc", core) for core in (12.0, 16.0)]
    errors = [abs(row[0]) for row in rows]
    assert all(later < former for former, later in itertools.pairwise(errors))
    assert errors[-1] < 3e-4
    width = screw.width(screw.u)
    assert width == pytest.approx(screw.data["dissociation"]["separation"], abs=0.3)
    assert screw.width(rows[-1][1]) == pytest.approx(width, abs=0.8)
    assert rows[-1][2] < 6000
    assert np.sqrt(((rows[-1][1] - screw.u) ** 2).sum(axis=1).mean()) < 0.08
