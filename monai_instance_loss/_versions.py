"""Which versions made a result."""

from __future__ import annotations

import importlib.metadata
import platform

__all__ = ["installed_versions", "version_of"]

_PACKAGES = ("monai_instance_loss", "monai", "torch", "numpy", "scipy", "nibabel", "connected-components-3d")


def installed_versions() -> dict[str, str]:
    """The version of Python and of each package that numbers depend on, by name.

    Example:
        >>> list(installed_versions())[:3]
        ['python', 'monai_instance_loss', 'monai']
    """
    return {"python": platform.python_version(), **{package: version_of(package) for package in _PACKAGES}}


def version_of(package: str) -> str:
    """The version of a package, ``unknown`` where it is not known.

    Example:
        >>> version_of("no such package")
        'unknown'
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # installed by other means than pip, and no reason to lose a result
        return "unknown"
