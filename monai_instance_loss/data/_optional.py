"""Import of packages that only the extra ``bundle`` installs."""

from __future__ import annotations

from typing import Any

from monai.utils import optional_import

_MISSING = "{} (install it with `pip install monai_instance_loss[bundle]`)"


def import_extra(module: str, name: str = "") -> Any:
    """Import from a package of the extra ``bundle``; when it is missing, the first use raises, naming the extra."""
    return optional_import(module, name=name, descriptor=_MISSING)[0]
