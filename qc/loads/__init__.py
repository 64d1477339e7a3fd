"""Far fields (homogeneous strain, dislocations, their sums) and external loads (indenters)."""

from qc.loads.dislocation import DislocationField, DislocationSum, VolterraDislocation
from qc.loads.elastic import cubic_elastic, elastic_tensor, isotropic_elastic
from qc.loads.farfield import FarField
from qc.loads.homogeneous import HomogeneousStrain, simple_shear, uniaxial_strain
from qc.loads.indenter import CylindricalIndenter, SphericalIndenter
from qc.loads.load import DeadLoad, Load

__all__ = [
    "CylindricalIndenter",
    "DeadLoad",
    "DislocationField",
    "DislocationSum",
    "FarField",
    "HomogeneousStrain",
    "Load",
    "SphericalIndenter",
    "VolterraDislocation",
    "cubic_elastic",
    "elastic_tensor",
    "isotropic_elastic",
    "simple_shear",
    "uniaxial_strain",
]
