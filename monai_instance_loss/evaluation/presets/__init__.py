"""Presets: the rules by which challenges and toolkits score a case, each a declaration on shared parts.

A preset says which labels make a region, what a lesion is, when it is found, what is left out and what empty cases
score, and names its columns as the official scorer does. ``monai_instance_loss.evaluation.score_case`` scores one case
by it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_instance_loss.evaluation.presets.preset import Preset

__all__ = ["NAMES", "get_preset"]

# which module declares each; known without an import of torch, for a command's help
_MODULES = {
    "wmh": "wmh",
    "brats-gli": "brats",
    "brats-ssa": "brats",
    "brats-ped": "brats",
    "brats-men": "brats",
    "brats-met": "brats",
    "isles22": "isles",
    "isles24": "isles",
    "autopet": "autopet",
    "valdo": "valdo",
    "msseg": "msseg",
    "bicc": "bicc",
    "panoptica": "panoptica",
}

NAMES = tuple(_MODULES)


def get_preset(name: str, **overrides: Any) -> Preset:
    """The preset of a name, with options of its own overridden.

    Source: each preset names its own.

    Args:
        name: one of ``NAMES``.
        overrides: options of ``Preset`` that the preset has, such as ``connectivity`` or ``regions``; the rest stays.

    Returns:
        The preset; its ``resolved()`` is what a summary says of it.

    Raises:
        TypeError: an option has the wrong type.
        ValueError: the name is unknown, the preset has no such option, or a value is out of range.

    Example:
        >>> get_preset("isles22").connectivity, get_preset("isles22", connectivity=1).connectivity
        (3, 1)
    """
    if name not in _MODULES:
        raise ValueError(f"Expected `preset` to be one of {list(NAMES)}, but got {name!r}.")
    module = import_module(f"{__name__}.{_MODULES[name]}")
    preset: Preset = module.PRESETS[name]
    return preset.override(**overrides)
