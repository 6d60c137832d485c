"""Packages that only an extra installs: one way to ask for them, and one sentence where they are missing."""

from __future__ import annotations

import importlib.util
from typing import Any

__all__ = ["import_extra", "require_extra"]

# where PyPI knows a module by another name
_DISTRIBUTIONS = {"ignite": "pytorch-ignite"}


def import_extra(module: str, name: str = "") -> Any:
    """A module of the extra ``bundle``, or a name in it; where it is missing, the first use raises and says so.

    Raises:
        OptionalImportError: on use, an ``ImportError``.
    """
    # late: who only asks whether an extra is there need not wait for MONAI
    from monai.utils import optional_import

    return optional_import(module, name=name, descriptor=_sentence([module], "bundle"))[0]


def require_extra(*modules: str, extra: str = "bundle") -> None:
    """Ask for modules of an extra before any work.

    Raises:
        ImportError: one of them is not installed.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(_sentence(missing, extra) + ".")


def _sentence(modules: list[str], extra: str) -> str:
    roots = [module.partition(".")[0] for module in modules]
    missing = ", ".join(_DISTRIBUTIONS.get(root, root) for root in roots)
    return (
        f"Expected the extra `{extra}` to be installed, but got no {missing}: run "
        f'`pip install "monai_instance_loss[{extra}]"`'
    )
