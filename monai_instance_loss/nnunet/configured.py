"""A loss from a YAML file, completed by what the data set decides."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pydoc import locate
from typing import Any

import torch
from monai.bundle import ConfigComponent, ConfigParser

__all__ = ["loss_from_yaml"]


def loss_from_yaml(path: str | os.PathLike[str], flags: Mapping[str, Any]) -> torch.nn.Module:
    """Build the ``loss`` of a MONAI config; arguments that it leaves out are taken from ``flags``.

    Source: ours, on MONAI's ``ConfigParser``; the file may be YAML or JSON, with references as in a bundle.

    Args:
        path: the file, with a component ``loss``: ``_target_`` names any class of losses, of any package.
        flags: what the data set decides, by argument: filled in where the class takes it and the file leaves it out.

    Returns:
        The loss.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has no component ``loss``, which is no module of torch, or which takes no ``ignore_index`` where
            the data set has one.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "loss.yaml")
        ...     _ = path.write_text("loss: {_target_: monai.losses.DiceLoss, batch: true}")
        ...     loss = loss_from_yaml(path, {"softmax": True, "ignore_index": None})
        >>> loss.batch, loss.softmax
        (True, True)
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"Expected `path` to be a file with a component `loss`, but got {os.fspath(path)}.")
    parser = ConfigParser()
    parser.read_config(os.fspath(path))
    component = parser.get_parsed_content("loss", instantiate=False) if "loss" in parser else None
    if not isinstance(component, ConfigComponent):
        raise ValueError(f"Expected {os.fspath(path)} to have a component `loss` with a `_target_`, but got none.")
    name = component.resolve_module_name()
    kind: Any = locate(name) if isinstance(name, str) else name
    takes = inspect.signature(kind).parameters if callable(kind) else {}
    if flags.get("ignore_index") is not None and "ignore_index" not in takes:
        raise ValueError(f"Expected the loss to take `ignore_index`, which the data set has, but got {name}.")
    parser["loss"] = {key: flags[key] for key in flags if key in takes} | parser["loss"]
    loss = parser.get_parsed_content("loss")
    if not isinstance(loss, torch.nn.Module):
        raise ValueError(f"Expected `loss` of {os.fspath(path)} to be a torch.nn.Module, but got {name}.")
    return loss
