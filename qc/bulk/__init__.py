"""Bulk properties: what a potential says about a perfect crystal and its simplest defects."""

from qc.bulk.faults import GammaLine, gamma_line
from qc.bulk.properties import BulkProperties, Vacancy, bulk_properties, vacancy_energy
from qc.bulk.sampled_lattice import SampledLattice, sampled_lattice
from qc.bulk.structures import SlipSystem
from qc.bulk.surfaces import Surface, surface_energy
from qc.materials.elastic import Elasticity, elasticity

__all__ = [
    "BulkProperties",
    "Elasticity",
    "GammaLine",
    "SampledLattice",
    "SlipSystem",
    "Surface",
    "Vacancy",
    "bulk_properties",
    "elasticity",
    "gamma_line",
    "sampled_lattice",
    "surface_energy",
    "vacancy_energy",
]
