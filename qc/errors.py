"""Typed exceptions: every fault a user can cause has a class, and a message naming the culprit."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class QCError(Exception):
    """Base of every exception the package raises on purpose."""


class InputError(QCError, ValueError):
    """A value handed in is unusable: NaN, wrong shape, wrong sign, wrong type."""


class CaseError(InputError):
    """A case file has an unknown key, a wrong type or an impossible value."""


class PotentialError(InputError):
    """A potential or its parameters are unusable."""


class PotentialFileError(PotentialError):
    """A potential file cannot be read; the message carries file and line."""


class UnknownSpeciesError(PotentialError):
    """An element that the potential has no parameters for."""


class CapabilityError(QCError):
    """Something was asked of a potential or scheme that it cannot give, by name."""


class CrystalError(InputError):
    """A crystal cannot be built or recognised."""


class MeshError(QCError):
    """A mesh is not conforming, off the lattice, inverted or incomplete."""


class InvertedElementError(MeshError):
    """An element is inverted or flat in the current configuration; carries its id."""


class RegionError(InputError):
    """An atomistic region, blend or halo is thinner than the potential needs."""


class ConvergenceError(QCError):
    """A solver was required to converge and did not."""


class NonFiniteError(QCError):
    """A force or energy became NaN or infinite; the run stops at the last good state."""


class CheckpointError(QCError):
    """A checkpoint is truncated, altered, of another version or of another model."""


class CacheError(QCError):
    """Compiled kernels in numba's cache are damaged; the message names the folder to delete."""


class OutputError(QCError):
    """Output cannot be written: disk full, no permission, path outside the run directory."""


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known word, or an empty string."""
    names = [str(k) for k in known]
    # A slip of the shift key comes before any other.
    hits = [name for name in names if name.lower() == str(word).lower()]
    hits = hits or difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    return f"; did you mean '{hits[0]}'?" if hits else ""
