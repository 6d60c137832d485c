"""From (input, target) to probabilities and a checked target: activation, one-hot, background, ignored voxels.

Every loss prepares its input here and nowhere else, so that all of them read MONAI's flags the same way and refuse bad
input with the same words.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from monai.metrics.utils import create_ignore_mask
from monai.networks import one_hot

from monai_instance_loss.instances import Instances
from monai_instance_loss.instances.labelling import instances_at, label_mask, resolve_connectivity
from monai_instance_loss.instances.voxels import positions
from monai_instance_loss.losses.engine.voxels import Probability

__all__ = ["InputOptions", "Prepared"]

# saturates a sigmoid or softmax and still fits into half precision
_CERTAIN = 1e4


# types of device that check a target while the host goes on
_DEVICES = ("cuda",)


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a loss works on, background channel removed when asked for.

    Attributes:
        probability: the foreground probability of each voxel (B, C, *spatial).
        target: bool mask (B, C, *spatial), whichever way it came.
        ignored: bool (B, 1, *spatial), True on voxels to leave out, or None.
        position: int64 (T,), flat positions of the target's voxels, where they are known, or None.
        ids: ids (T,) of the target's voxels, where it came as an instance map, or None.
    """

    probability: Probability
    target: torch.Tensor
    ignored: torch.Tensor | None = None
    position: torch.Tensor | None = None
    ids: torch.Tensor | None = None

    @cached_property
    def target_position(self) -> torch.Tensor:
        """int64 (T,): flat positions of the target's voxels in (B, C, *spatial)."""
        return positions(self.target) if self.position is None else self.position

    def predicted(self, threshold: float) -> torch.Tensor:
        """Bool (B, C, *spatial): where the probability is at least ``threshold``, ignored voxels left out."""
        mask = self.probability.at_least(threshold)
        if self.ignored is not None:
            mask &= ~self.ignored
        return mask


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

    def prepare(self, input: torch.Tensor, target: torch.Tensor) -> Prepared:
        """Check input and target, activate the one and binarise the other; see the class that calls it."""
        _check_tensors(input, target)
        channels = input.shape[1]
        onehot = self._warn_about_single_channel(channels)
        expected = (input.shape[0], 1 if onehot else channels, *input.shape[2:])
        if tuple(target.shape) != expected:
            raise ValueError(
                f"Expected `target` to have shape {expected} for an input of shape {tuple(input.shape)} with "
                f"to_onehot_y={self.to_onehot_y}, but got {tuple(target.shape)}."
            )
        plain = target.detach().as_subclass(torch.Tensor)
        ignored = self._ignored(plain)
        if ignored is not None:
            plain = plain.masked_fill(ignored, 0)
        probability = self._probability(input.as_subclass(torch.Tensor))
        if onehot:
            mask = self._classes(plain, channels)
            # an ignored voxel belongs to no class, the background's included
            mask = mask if ignored is None else mask & ~ignored
            return Prepared(probability, mask[:, probability.first :], ignored)
        mask = plain.bool()
        if target.dtype == torch.bool and not self.target_is_instances:
            return Prepared(probability, mask[:, probability.first :], ignored)
        if mask.device.type in _DEVICES and not self.target_is_instances:
            # an error that the host need not wait for
            torch._assert_async((plain == mask).all(), "Expected `target` to be binary, values in {0, 1}.")
            return Prepared(probability, mask[:, probability.first :], ignored)
        position = positions(mask)
        # what is no foreground is 0, so only foreground, which is sparse, can break a rule
        values = plain.reshape(-1).index_select(0, position)
        if self.target_is_instances:
            self._check_ids(values, plain)
        else:
            self._check_binary(values, plain)
        if probability.first:
            mask, plain = mask[:, probability.first :], plain[:, probability.first :]
            position = positions(mask)
            values = plain.reshape(-1).index_select(0, position)
        return Prepared(probability, mask, ignored, position, values if self.target_is_instances else None)

    def pixel_arguments(
        self,
        input: torch.Tensor,
        target: torch.Tensor,
        pixel_loss: Callable[..., torch.Tensor],
        ignored: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the pixel loss gets: input and target untouched, but for instance maps and ignored voxels.

        An instance map becomes the binary mask that a pixel loss expects. Ignored voxels reach a pixel loss that does
        not know this ``ignore_index`` as certain and correct background, which adds nothing to a sum over voxels.
        """
        knows_ignored = ignored is None or getattr(pixel_loss, "ignore_index", None) == self.ignore_index
        if self.target_is_instances:
            mask = (target > 0).to(input.dtype)
            target = (
                mask if self.ignore_index is None else mask.masked_fill(target == self.ignore_index, self.ignore_index)
            )
        if knows_ignored or ignored is None:
            return input, target
        return self._as_background(input, target, ignored)

    def label_target(self, prepared: Prepared, connectivity: int | None) -> Instances:
        """The instances of the target: found, or read off the map that it is."""
        position, shape = prepared.target_position, prepared.target.shape
        if prepared.ids is not None:
            return instances_at(position, prepared.ids, shape)
        return label_mask(prepared.target, resolve_connectivity(connectivity, len(shape) - 2), position)

    def _warn_about_single_channel(self, channels: int) -> bool:
        """Follow MONAI on flags that mean nothing for one channel; returns whether to one-hot the target."""
        if channels > 1:
            return self.to_onehot_y
        if self.softmax:
            raise ValueError(
                "Expected `input` to have 2 or more channels with softmax=True, but got 1; use sigmoid=True for one."
            )
        if self.to_onehot_y:
            warnings.warn("single channel prediction, `to_onehot_y=True` ignored.", stacklevel=5)
        if not self.include_background:
            warnings.warn("single channel prediction, `include_background=False` ignored.", stacklevel=5)
        return False

    def _ignored(self, target: torch.Tensor) -> torch.Tensor | None:
        if self.ignore_index is None:
            return None
        if self.target_is_instances:
            return (target == self.ignore_index).any(1, keepdim=True)
        mask = create_ignore_mask(target, self.ignore_index)
        return None if mask is None else mask == 0

    def _check_binary(self, foreground: torch.Tensor, target: torch.Tensor) -> None:
        """Refuse a target with values that are neither 0 nor 1 (a NaN is neither)."""
        if not bool((foreground == 1).all()):
            raise ValueError(f"Expected `target` to be binary, values in {{0, 1}}, but got {_range(target)}.")

    def _classes(self, target: torch.Tensor, channels: int) -> torch.Tensor:
        """One bool channel a class, from class labels."""
        low, high = _extremes(target)
        whole = not target.is_floating_point() or torch.equal(target, target.round())
        if not (low >= 0 and high <= channels - 1 and whole):
            raise ValueError(
                f"Expected `target` to be class labels in 0..{channels - 1} with to_onehot_y=True, but got "
                f"{_range(target)}."
            )
        classes: torch.Tensor = one_hot(target, num_classes=channels, dtype=torch.bool)
        return classes

    def _check_ids(self, foreground: torch.Tensor, target: torch.Tensor) -> None:
        """Refuse an instance map with values that are negative or not whole."""
        low, high = _extremes(foreground)
        if not (low >= 0 and math.isfinite(high)):
            raise ValueError(
                "Expected `target` to be an instance map (0 background, ids above, ignore_index="
                f"{self.ignore_index}), but got {_range(target)}."
            )
        if foreground.is_floating_point() and not torch.equal(foreground, foreground.round()):
            raise ValueError(f"Expected `target` to be an instance map of whole numbers, but got {_range(target)}.")

    def _probability(self, input: torch.Tensor) -> Probability:
        first = 0 if self.include_background or input.shape[1] == 1 else 1
        if self.sigmoid or self.softmax:
            return Probability(input, "sigmoid" if self.sigmoid else "softmax", first)
        dense = input if self.other_act is None else self.other_act(input)
        low, high = _extremes(dense.detach())
        # a hair of tolerance, for activations that round; NaN passes, since a NaN loss must come of it
        if low < -1e-3 or high > 1 + 1e-3:
            raise ValueError(
                "Expected `input` to be probabilities in [0, 1] with neither sigmoid nor softmax set, but got "
                f"{_range(dense.detach())}."
            )
        return Probability(dense, "probability", first)

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


def _extremes(values: torch.Tensor) -> tuple[float, float]:
    if values.numel() == 0:
        return 0.0, 0.0
    low, high = torch.aminmax(values)
    return float(low), float(high)


def _range(values: torch.Tensor) -> str:
    low, high = _extremes(values)
    return f"{values.dtype} values from {low:g} to {high:g}"


def _check_tensors(input: torch.Tensor, target: torch.Tensor) -> None:
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
