"""The coupling schemes, one small file each, chosen by name."""

from __future__ import annotations

from qc.coupling.scheme import Scheme
from qc.coupling.schemes import atomistic, bgfc, bqce, bqcf, cauchy_born, qce, scgfc
from qc.errors import InputError, suggest

SCHEMES: dict[str, Scheme] = {
    module.SCHEME.name: module.SCHEME
    for module in (atomistic, cauchy_born, qce, bqce, bgfc, bqcf, scgfc)
}


def get_scheme(scheme: str | Scheme) -> Scheme:
    """Return a scheme by name; a `Scheme` passes through.

    Raises
    ------
    InputError
        No scheme of that name; the message lists the known ones.
    """
    if isinstance(scheme, Scheme):
        return scheme
    if not isinstance(scheme, str) or scheme not in SCHEMES:
        raise InputError(
            f"unknown scheme {scheme!r}{suggest(scheme, SCHEMES)}; known: {', '.join(SCHEMES)}"
        )
    return SCHEMES[scheme]
