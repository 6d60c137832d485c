"""Packages that only the extra ``bundle`` installs: one way to import them, and to say that one is missing."""

from __future__ import annotations

from typing import Any

from monai.utils import optional_import

__all__ = ["import_extra"]

_MISSING = "{} (install it with `pip install monai_instance_loss[bundle]`)"


def import_extra(module: str, name: str = "") -> Any:
    """A module, or a name in it; where it is missing, the first use raises and names the extra.

    Raises:
        OptionalImportError: on use, an ``ImportError``.
    """
    return optional_import(module, name=name, descriptor=_MISSING)[0]
