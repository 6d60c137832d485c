"""How a loss reads input and target: MONAI's flags, checked, and what they make of a batch.

Every loss reads its input here and nowhere else, so that all of them take the flags the same way and refuse bad input
with the same words.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

from monai_instance_loss._ignored import holds, ignored_voxels
from monai_instance_loss.losses.engine.batch import Batch
from monai_instance_loss.losses.engine.target import (
    TargetMask,
    binary_mask,
    class_mask,
    instance_mask,
    value_range,
)
from monai_instance_loss.losses.engine.voxels import LogitVoxels, ProbabilityVoxels, SoftmaxVoxels, Voxels

__all__ = ["InputOptions", "check_tensors"]

# saturates a sigmoid or softmax and still fits into half precision
_CERTAIN = 1e4


@dataclass(frozen=True)
class InputOptions:
    """How to read input and target: MONAI's flags, ``ignore_index`` and ``target_is_instances``."""

    include_background: bool = True
    to_onehot_y: bool = False
    sigmoid: bool = False
    softmax: bool = False
    other_act: Callable[[torch.Tensor], torch.Tensor] | None = None
    ignore_index: int | None = None
    target_is_instances: bool = False

    def __post_init__(self) -> None:
        if self.other_act is not None and not callable(self.other_act):
            raise TypeError(f"Expected `other_act` to be None or callable, but got {type(self.other_act).__name__}.")
        if int(self.sigmoid) + int(self.softmax) + int(self.other_act is not None) > 1:
            raise ValueError(
                "Expected `sigmoid`, `softmax` and `other_act` to be given one at most, but got "
                f"sigmoid={self.sigmoid}, softmax={self.softmax}, other_act={self.other_act}."
            )
        if self.target_is_instances and self.to_onehot_y:
            raise ValueError("Expected `to_onehot_y` to be False with target_is_instances=True, but got True.")
        if self.target_is_instances and self.ignore_index is not None and self.ignore_index >= 0:
            raise ValueError(
                "Expected `ignore_index` to be negative with target_is_instances=True (0 and up are background and "
                f"instances), but got {self.ignore_index}."
            )

    def has_background(self, channels: int) -> bool:
        """Whether channel 0 of ``channels`` scored ones is the background of exclusive classes."""
        return channels > 1 and self.include_background and not self.sigmoid

    def prepare(self, input: torch.Tensor, target: torch.Tensor, threshold: float | None = None) -> Batch:
        """Check input and target, and read them as a batch; ``threshold`` tells what is predicted foreground.

        Raises:
            TypeError: an argument that is no tensor, an input that is not float, a complex target.
            ValueError: shapes, devices or class counts that do not fit, a target that is not what the options say,
                probabilities outside [0, 1].
        """
        check_tensors(input, target)
        channels = input.shape[1]
        onehot = self._reads_labels(channels)
        expected = (input.shape[0], 1 if onehot else channels, *input.shape[2:])
        if tuple(target.shape) != expected:
            raise ValueError(
                f"Expected `target` to have shape {expected} for an input of shape {tuple(input.shape)} with "
                f"to_onehot_y={self.to_onehot_y}, but got {tuple(target.shape)}."
            )
        plain = target.detach().as_subclass(torch.Tensor)
        ignored = ignored_voxels(plain, self.ignore_index)
        if ignored is not None:
            plain = plain.masked_fill(ignored, 0)
        first = 0 if self.include_background or channels == 1 else 1
        voxels = self._voxels(input.as_subclass(torch.Tensor), first, ignored)
        found = self._mask(plain, channels, onehot)
        if onehot and ignored is not None:
            # an ignored voxel belongs to no class, the background's included
            found = TargetMask(found.mask & ~ignored)
        if first:
            ids = None if found.ids is None else plain[:, 1:]
            found = instance_mask(ids, None) if ids is not None else TargetMask(found.mask[:, 1:])
        # one order in memory for all, or sums over voxels would have other last bits for another layout
        mask = found.mask.contiguous()
        return Batch(
            mask.shape,
            voxels,
            mask.flatten(0, 1),
            None if ignored is None else ignored.expand_as(mask).flatten(0, 1),
            found.position,
            found.ids,
            threshold,
        )

    def pixel_arguments(
        self,
        input: torch.Tensor,
        target: torch.Tensor,
        pixel_loss: Callable[..., torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the pixel loss gets: input and target untouched, but for instance maps and ignored voxels.

        An instance map becomes the binary mask that a pixel loss expects. Ignored voxels reach a pixel loss that does
        not know this ``ignore_index`` as certain and correct background, which adds nothing to a sum over voxels.
        """
        ignored = ignored_voxels(target.detach().as_subclass(torch.Tensor), self.ignore_index)
        if self.target_is_instances:
            mask = (target > 0).to(input.dtype)
            target = (
                mask
                if self.ignore_index is None
                else mask.masked_fill(holds(target, self.ignore_index), self.ignore_index)
            )
        if ignored is None or getattr(pixel_loss, "ignore_index", None) == self.ignore_index:
            return input, target
        return self._as_background(input, target, ignored)

    def _reads_labels(self, channels: int) -> bool:
        """Whether the target is class labels; flags that mean nothing for one channel are followed as MONAI does."""
        if channels > 1:
            return self.to_onehot_y
        if self.softmax:
            raise ValueError(
                "Expected `input` to have 2 or more channels with softmax=True, but got 1; use sigmoid=True for one."
            )
        for ignored, flag in (
            (self.to_onehot_y, "to_onehot_y=True"),
            (not self.include_background, "include_background=False"),
        ):
            if ignored:
                warnings.warn(f"single channel prediction, `{flag}` ignored.", stacklevel=_frames_to_caller())
        return False

    def _mask(self, target: torch.Tensor, channels: int, onehot: bool) -> TargetMask:
        if onehot:
            return class_mask(target, channels)
        return instance_mask(target, self.ignore_index) if self.target_is_instances else binary_mask(target)

    def _voxels(self, input: torch.Tensor, first: int, ignored: torch.Tensor | None) -> Voxels:
        if ignored is not None and (self.softmax or self.other_act is not None):
            # a NaN there would reach the gradient through the activation, whatever is masked behind it
            input = input.masked_fill(ignored, 0)
        input = input.contiguous()
        values = input if self.other_act is None else self.other_act(input)
        values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
        if self.softmax and input.shape[1] > 2:
            return SoftmaxVoxels(values, first)
        if self.softmax:
            # of two classes the other one is all the rest
            values = values - values.flip(1)
        rows = values[:, first:].flatten(0, 1)
        if self.sigmoid or self.softmax:
            return LogitVoxels(rows)
        if values.numel():
            low, high = map(float, torch.aminmax(values.detach()))
            # a hair of tolerance, for activations that round; NaN passes, since a NaN loss must come of it
            if low < -1e-3 or high > 1 + 1e-3:
                raise ValueError(
                    "Expected `input` to be probabilities in [0, 1] with neither sigmoid nor softmax set, but got "
                    f"{value_range(values.detach())}."
                )
        return ProbabilityVoxels(rows)

    def _as_background(
        self, input: torch.Tensor, target: torch.Tensor, ignored: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        low, high = (-_CERTAIN, _CERTAIN) if self.sigmoid or self.softmax else (0.0, 1.0)
        input = input.masked_fill(ignored, low)
        one_hot_target = target.shape[1] > 1
        target = target.masked_fill(ignored, 0)
        exclusive = self.to_onehot_y or not self.sigmoid
        if input.shape[1] > 1 and exclusive:
            first = torch.zeros(input.shape[1], dtype=torch.bool, device=input.device)
            first[0] = True
            background = ignored & first.view(1, -1, *[1] * (input.ndim - 2))
            input = input.masked_fill(background, high)
            if one_hot_target:
                target = target.masked_fill(background, 1)
        return input, target


def _frames_to_caller() -> int:
    """How far up the first frame is that is neither in this package nor in torch: the line that a warning is about."""
    ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    inner = (ours + os.sep, os.path.dirname(os.path.abspath(torch.__file__)) + os.sep)
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inner):
        level, frame = level + 1, frame.f_back
    return level


def check_tensors(input: torch.Tensor, target: torch.Tensor) -> None:
    """Refuse what is no batch of 2D or 3D images of a usable type, whatever the loss."""
    for name, value in (("input", input), ("target", target)):
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"Expected `{name}` to be a torch.Tensor, but got {type(value).__name__}.")
        if value.ndim not in (4, 5):
            raise ValueError(
                f"Expected `{name}` to be (B, C, H, W) or (B, C, H, W, D), but got shape {tuple(value.shape)}."
            )
    if not input.is_floating_point():
        raise TypeError(f"Expected `input` to be a float tensor, but got {input.dtype}.")
    if target.is_complex():
        raise TypeError(f"Expected `target` to be bool, integer or float, but got {target.dtype}.")
    if input.device != target.device:
        raise ValueError(f"Expected `target` to be on {input.device} as `input` is, but got {target.device}.")
