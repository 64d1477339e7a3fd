"""The Lomer dipole of ``tests/reference/lomer_dipole_Al.json`` as a model, and its errors."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import qc
from qc.farfield import DislocationSum, VolterraDislocation, simple_shear
from qc.mesh import LatticeBlock
from qc.solve import Preconditioner, relax
from qc.solve.model_system import strain_energy

Array = NDArray[np.float64]
REFERENCE = Path(__file__).parents[1] / "reference" / "lomer_dipole_Al.json"
#: Within this distance of a dislocation every column is stored; elsewhere one in six.
NEAR, SPARSE = 30.0, 6.0


def _dislocations(items: list[dict[str, Any]], elastic: Array, **options: Any) -> DislocationSum:
    return DislocationSum(
        VolterraDislocation(elastic, d["burgers"], d["position"], d["cut_direction"], **options)
        for d in items
    )


@dataclass
class LomerDipole:
    """Geometry, predictor, start and stored displacements of the reference."""

    data: dict[str, Any]

    @classmethod
    def load(cls) -> LomerDipole:
        """Read the stored reference."""
        return cls(json.loads(REFERENCE.read_text()))

    def __post_init__(self) -> None:
        """Build what every model of the dipole shares."""
        self.potential = qc.potentials.zhou2004("Al")
        assert self.potential.fingerprint() == self.data["potential"]["fingerprint"]
        a = self.a = self.data["crystal"]["lattice_constant"]
        self.crystal = qc.crystal.fcc("Al", a, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns()
        from qc.materials import CauchyBorn

        elastic = CauchyBorn(self.crystal, self.potential).elastic_constants()
        self.far_field = _dislocations(self.data["far_field"]["dislocations"], elastic)
        # The strips' cuts run along {111} planes through atoms; a hair off them no atom is on both
        # sides at once.
        strips = [
            {**d, "position": [d["position"][0] + 0.02, d["position"][1]]}
            for d in self.data["start"]["dislocations"]
        ]
        self.start = _dislocations(strips, elastic, self_consistent=False)
        bounds = tuple(self.data["geometry"]["bounds"])
        self.block = LatticeBlock(tuple(-b for b in bounds), bounds)
        self.shears = [s["shear"] for s in self.data["steps"]]
        rows = np.array(self.data["displacement"])
        self.columns = rows[:, :2].astype(int)
        self.sites = np.column_stack([self.columns, np.zeros(len(rows), int)])
        self.positions = self.crystal.positions(self.sites)
        names = [c for c in self.data["columns"] if c.startswith("ux")]
        self.stored = {
            float(n.split(" at ")[1]): rows[:, 2 + 2 * k : 4 + 2 * k] for k, n in enumerate(names)
        }
        # The two cores and the places where their partials start.
        self.cores = np.array([d["position"] for d in self.data["far_field"]["dislocations"]])
        places = {tuple(np.round(d["position"], 6)) for d in self.data["start"]["dislocations"]}
        self.centres = np.array([[x, y, 0.0] for x, y in sorted(places)])

    def model(self, scheme: str, core: float, blend: float, **options: Any) -> Any:
        """Return a model of the dipole, at the reference's start; core and blend in a."""
        model = qc.QuasiContinuum(
            self.crystal,
            self.potential,
            far_field=self.far_field,
            scheme=scheme,
            core=core * self.a,
            blend=blend * self.a,
            outer=self.block,
            centres=self.centres,
            **options,
        )
        model.displace(self.start)
        return model

    def follow(
        self, model: Any, shears: list[float] | None = None, **options: Any
    ) -> list[dict[str, float]]:
        """Relax along the shear path and return errors and cost, a row for each step."""
        rows = []
        inverse = Preconditioner(model)
        first = None
        for shear in self.shears if shears is None else shears:
            model = model.with_strain(simple_shear(shear))
            began = time.perf_counter()
            result = relax(model, preconditioner=inverse, **options)
            seconds = time.perf_counter() - began
            index = int(np.argmin([abs(s - shear) for s in self.shears]))
            ours = result.defect_energy + strain_energy(model)
            theirs = self.data["steps"][index]["block_energy"]
            first = (ours, theirs) if first is None else first
            change = theirs - first[1]
            rows.append(
                {
                    "shear": shear,
                    "converged": result.converged,
                    "evaluations": result.evaluations,
                    "seconds": seconds,
                    "energy": ours,
                    "change_error": (ours - first[0]) / change - 1.0 if change else 0.0,
                    **self.errors(model, shear, index),
                }
            )
        return rows

    def errors(self, model: Any, shear: float, index: int) -> dict[str, float]:
        """Displacement errors relative to the peak relaxation of the full lattice."""
        predictor = model.far_field.displacement(self.positions)
        u = (predictor + model.interpolate(self.sites))[:, :2]
        key = min(self.stored, key=lambda s: abs(s - shear))
        square = ((u - self.stored[key]) ** 2).sum(axis=1)
        peak = self.data["relaxation_norms"][index]["largest"]
        plane = self.positions[:, None, :2] - self.cores[None]
        near = np.linalg.norm(plane, axis=-1).min(axis=1) < NEAR
        weight = np.where(near, 1.0, SPARSE)
        return {
            "all": float(np.sqrt((weight * square).sum() / weight.sum()) / peak),
            "core": float(np.sqrt(square[near].mean()) / peak),
            "largest": float(np.sqrt(square.max()) / peak),
        }
