"""Far fields: the predictors that a model corrects - homogeneous strain, dislocations, sums."""

from qc.farfield.dislocation import DislocationField, DislocationSum, VolterraDislocation
from qc.farfield.elastic import cubic_elastic, elastic_tensor, isotropic_elastic
from qc.farfield.field import FarField
from qc.farfield.homogeneous import HomogeneousStrain, simple_shear, uniaxial_strain

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
