"""What losses that weigh voxels by their class share: whose weight it is where a channel is the background."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch

from monai_instance_loss._checks import checked_number
from monai_instance_loss.losses.engine.region import RegionLoss, RegionSums

__all__ = ["ClassWeight", "ClassWeightedLoss", "checked_class_weight"]

# one for all channels, or one a scored channel
ClassWeight = float | tuple[float, ...]


def checked_class_weight(
    name: str, value: float | Sequence[float] | torch.Tensor, high: float = math.inf
) -> ClassWeight:
    """A number in [0, high], or a sequence (or 1-d tensor) of one or more of them.

    Raises:
        TypeError: what is neither.
        ValueError: no number at all, one that is not finite or outside [0, high].
    """
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        return checked_number(name, value, high=high)  # type: ignore[arg-type]
    if not value:
        raise ValueError(f"Expected `{name}` to be a number or one a scored channel, but got {value!r}.")
    return tuple(checked_number(name, number, high=high) for number in value)


class ClassWeightedLoss(RegionLoss):
    """A criterion with a weight for the target's voxels and one for all others; subclasses say which.

    A weight belongs to the foreground in whatever channel it is seen: on the channel of the background of exclusive
    classes, where the foreground is what is off the target, the two change places. Weights given channel by channel
    stay where they are given.
    """

    # the arguments that the weights on and off the target come from, for errors
    weight_names = ("pos_weight", "neg_weight")

    @property
    @abstractmethod
    def class_weights(self) -> tuple[ClassWeight, ClassWeight]:
        """Weights of the voxels on and off the target, each one number or one a scored channel."""

    @abstractmethod
    def weighted(
        self, sums: RegionSums, on: float | torch.Tensor, off: float | torch.Tensor, background: bool
    ) -> torch.Tensor:
        """The value (R,) on regions of which the target is the ``background``, or not, with weights on and off it."""

    @property
    def has_channel_weights(self) -> bool:
        """Whether a weight was given channel by channel."""
        return any(isinstance(weight, tuple) for weight in self.class_weights)

    def score(self, sums: RegionSums) -> torch.Tensor:
        """The value on each region, all of them of one class."""
        on, off = self._numbers()
        return self.weighted(sums, on, off, False)

    def score_background(self, sums: RegionSums) -> torch.Tensor:
        """The same with the weights the other way round: the foreground is off the target."""
        on, off = self._numbers()
        return self.weighted(sums, off, on, True)

    def score_false(self, sums: RegionSums, presence: torch.Tensor) -> torch.Tensor:
        """The same: what these losses sum over voxels is not flat without target."""
        return self.score(sums)

    def score_image(self, sums: RegionSums, channels: int, has_background: bool) -> torch.Tensor:
        """Values (B, channels) of the channels of B samples, each with its own weights where they were given so."""
        if not self.has_channel_weights:
            return super().score_image(sums, channels, has_background)
        on, off = (
            self._of_channels(name, weight, sums, channels)
            for name, weight in zip(self.weight_names, self.class_weights, strict=True)
        )
        values = self.weighted(sums, on, off, False).view(-1, channels)
        if not has_background:
            return values
        background = self.weighted(sums, on, off, True).view(-1, channels)
        return torch.cat([background[:, :1], values[:, 1:]], 1)

    def _numbers(self) -> tuple[float, float]:
        on, off = self.class_weights
        if isinstance(on, tuple) or isinstance(off, tuple):
            raise ValueError(
                f"Expected class weights to be numbers where regions of one class are scored, but got {(on, off)}."
            )
        return on, off

    @staticmethod
    def _of_channels(name: str, weight: ClassWeight, sums: RegionSums, channels: int) -> torch.Tensor:
        """The weight (B * channels,) of each sample's channel."""
        numbers = weight if isinstance(weight, tuple) else (weight,) * channels
        if len(numbers) != channels:
            raise ValueError(
                f"Expected `{name}` to be a number or one for each of {channels} scored channels, but got {numbers}."
            )
        like = next(iter((*sums.on.values(), *sums.off.values())))
        return like.new_tensor(numbers).repeat(sums.voxels.numel() // channels)
