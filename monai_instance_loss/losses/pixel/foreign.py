"""Options of MONAI's Dice that somebody gives to an instance loss: the error says where they belong."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from monai.losses import DiceCELoss

__all__ = ["explain_pixel_options"]

_OF_DICE_CE = inspect.signature(DiceCELoss.__init__).parameters


def explain_pixel_options(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that answers options of ``DiceCELoss`` that are not its own with the lines of a config to write.

    Source: ours, for configs that change the ``_target_`` of their Dice loss into an instance loss. Any other call is
    passed on as it is.

    Args:
        init: ``__init__`` of a loss with a ``pixel_loss``.

    Returns:
        ``init`` with its signature, which raises TypeError for such options.

    Example:
        >>> from monai_instance_loss.losses import InstanceLoss
        >>> InstanceLoss(sigmoid=True, squared_pred=True)
        Traceback (most recent call last):
        TypeError: Expected the options of InstanceLoss, but got `squared_pred`, of a Dice loss. Write instead
        "pixel_loss": {
          "_target_": "DiceCELoss", "sigmoid": true, "squared_pred": true
        }
    """
    parameters = inspect.signature(init).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())

    @wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        foreign = [name for name in kwargs if name not in parameters and name in _OF_DICE_CE]
        if foreign and not takes_all:
            raise TypeError(
                f"Expected the options of {type(self).__name__}, but got {', '.join(f'`{name}`' for name in foreign)}, "
                f"of a Dice loss. Write instead\n{_lines(kwargs)}"
            )
        init(self, *args, **kwargs)

    return checked


def _lines(options: Mapping[str, Any]) -> str:
    """Three lines that are JSON and YAML."""
    pixel = {"_target_": "DiceCELoss", **{name: value for name, value in options.items() if name in _OF_DICE_CE}}
    return '"pixel_loss": {\n  ' + ", ".join(f'"{name}": {_text(value)}' for name, value in pixel.items()) + "\n}"


def _text(value: Any) -> str:
    text = json.dumps(value, default=repr)
    # 1e-05 is a number in JSON, and a text in YAML 1.1 without the point
    return text.replace("e", ".0e") if isinstance(value, float) and "e" in text and "." not in text else text
