"""The package's calculators as ASE plugins: the entry point of the group ``ase.plugins``."""

from __future__ import annotations

from functools import cached_property

from ase._4.plugins.plugin import CalculatorPlugin

CITATION = (
    "C. Ortner and L. Zhang, SIAM J. Sci. Comput. 38 (2016) A346 (blended ghost-force correction)"
)


class QuasicontinuumPlugin(CalculatorPlugin):
    """A calculator of the distribution ``quasicontinuum``.

    ASE takes the distribution's name from the module's, which is ``qc``.
    """

    @cached_property
    def package(self) -> str:
        """Name of the installed distribution."""
        return "quasicontinuum"


__ase_plugins__ = {
    QuasicontinuumPlugin("qc_potential", implementation="qc.adapters.ase.PotentialCalculator"),
    QuasicontinuumPlugin(
        "qc_model", implementation="qc.adapters.ase_qc.QCCalculator", citation=CITATION
    ),
}
