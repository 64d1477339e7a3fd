"""Far fields: homogeneous strain, dislocations and their sums."""

from qc.loads.dislocation import DislocationField, DislocationSum, VolterraDislocation
from qc.loads.elastic import cubic_elastic, elastic_tensor, isotropic_elastic
from qc.loads.farfield import FarField
from qc.loads.homogeneous import HomogeneousStrain, simple_shear, uniaxial_strain

__all__ = [
    "DislocationField",
    "DislocationSum",
    "FarField",
    "HomogeneousStrain",
    "VolterraDislocation",
    "cubic_elastic",
    "elastic_tensor",
    "isotropic_elastic",
    "simple_shear",
    "uniaxial_strain",
]
