"""Put the EMT of `emt_functions` in the place of ASE's, in this interpreter and its children.

Python imports this file at its start when its folder is on PYTHONPATH, so that ASE's command line,
which its tests run as a program, has the same calculator.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder

REPLACED = "ase.calculators.emt"


class Swap(MetaPathFinder, Loader):
    """Loads ASE's module, then replaces the class in it."""

    def find_spec(self, name, path, target=None):
        """Claim ASE's module of EMT and no other."""
        if name != REPLACED:
            return None
        spec = PathFinder.find_spec(name, path, target)
        self.inner, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        """Leave that to the ordinary loader."""
        return self.inner.create_module(spec)

    def exec_module(self, module):
        """Execute the module, then let its EMT be looked up here."""
        self.inner.exec_module(module)
        del module.EMT
        module.__getattr__ = stand_in


def stand_in(name):
    """Return the attribute EMT of ASE's module; imported late, as it needs that module itself."""
    if name != "EMT":
        raise AttributeError(name)
    from emt_functions import EMT

    return EMT


sys.meta_path.insert(0, Swap())
