"""The version of the installed package."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """Return the version; a stand-in where the package runs from its tree uninstalled."""
    try:
        return metadata.version("quasicontinuum")
    except metadata.PackageNotFoundError:
        return "0+uninstalled"
