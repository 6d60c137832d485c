"""Which versions made a result."""

from __future__ import annotations

import importlib.metadata
import platform

__all__ = ["installed_versions"]

_PACKAGES = ("monai_instance_loss", "monai", "torch", "numpy", "scipy", "nibabel", "connected-components-3d")


def installed_versions() -> dict[str, str]:
    """The version of Python and of each package that numbers depend on, by name.

    Example:
        >>> list(installed_versions())[:3]
        ['python', 'monai_instance_loss', 'monai']
    """
    return {"python": platform.python_version(), **{package: _version(package) for package in _PACKAGES}}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # installed by other means than pip, and no reason to lose a result
        return "unknown"
